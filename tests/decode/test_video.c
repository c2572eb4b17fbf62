/* SPDX-License-Identifier: Apache-2.0 */
/* decode/video in this process, without a jail: times and frames of the golden clips, against what FFmpeg's libraries
 * give when all is decoded in order; any order of frames; broken files. */
#include "../media/clips.h"

#include <math.h>

#include <libavcodec/avcodec.h>

#include "decode/video.h"
#include "decode/video_rgb.h"
#include "decode/video_source.h"

enum { FRAME_BYTES = CLIP_WIDTH * CLIP_HEIGHT * 3, MAX_FRAMES = 128 };

static const tkr_video_options options = {.max_pixels = 1 << 20, .max_frames = 1000};

static tkr_video *open_clip(const tkr_buf *bytes) {
    tkr_video *video = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_video_open(&video, (const uint8_t *)bytes->data, bytes->size, &options, &error) != TKR_OK)
        fail_msg("%s", error.message);
    return video;
}

static void frame_or_fail(uint8_t *rgb, tkr_video *video, size_t index) {
    size_t width = 0, height = 0;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_video_frame(rgb, &width, &height, video, index, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_int_equal(width, CLIP_WIDTH);
    assert_int_equal(height, CLIP_HEIGHT);
}

static void times_of_the_clips(void **state) {
    (void)state;
    json_t *videos = golden_json("golden/video/videos.json");
    for (size_t c = 0; c < N_CLIPS; c++) {
        tkr_buf bytes = clip_bytes(clip_names[c]);
        const json_t *facts = clip_facts(videos, clip_names[c]), *pts = json_object_get(facts, "pts_seconds");
        tkr_video *video = open_clip(&bytes);
        const tkr_video_info *info = tkr_video_get_info(video);
        const json_t *sample = json_array_get(json_object_get(facts, "samples"), 0);
        assert_int_equal(info->n_frames, json_array_size(pts));
        assert_int_equal(info->width, CLIP_WIDTH);
        assert_int_equal(info->height, CLIP_HEIGHT);
        assert_true(info->fps == json_number_value(json_object_get(sample, "video_fps")));
        for (size_t i = 0; i < info->n_frames; i++)
            assert_true(fabs(info->times[i] - json_number_value(json_array_get(pts, i))) < 6e-7);
        tkr_video_close(&video);
        tkr_buf_free(&bytes);
    }
    json_decref(videos);
}

/* All frames in order, by the libraries alone and the documented flags. */
static size_t decode_plainly(uint8_t *out, const tkr_buf *bytes) {
    tkr_video_source source = {.bytes = (const uint8_t *)bytes->data, .size = bytes->size};
    assert_int_equal(tkr_video_source_open(&source, NULL), TKR_OK);
    const AVCodecParameters *p = source.stream->codecpar;
    const AVCodec *codec = avcodec_find_decoder(p->codec_id);
    AVCodecContext *decoder = avcodec_alloc_context3(codec);
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    size_t n = 0;
    assert_int_equal(avcodec_parameters_to_context(decoder, p), 0);
    assert_int_equal(avcodec_open2(decoder, codec, NULL), 0);
    struct SwsContext *sws = sws_getContext(CLIP_WIDTH, CLIP_HEIGHT, (enum AVPixelFormat)p->format, CLIP_WIDTH,
                                            CLIP_HEIGHT, AV_PIX_FMT_RGB24, TKR_VIDEO_SWS_FLAGS, NULL, NULL, NULL);
    assert_non_null(sws);
    for (bool more = true; more;) {
        more = av_read_frame(source.format, packet) >= 0;
        assert_int_equal(avcodec_send_packet(decoder, more ? packet : NULL), 0);
        av_packet_unref(packet);
        while (avcodec_receive_frame(decoder, frame) == 0) {
            uint8_t *const planes[4] = {out + n++ * FRAME_BYTES};
            const int strides[4] = {CLIP_WIDTH * 3};
            assert_true(n <= MAX_FRAMES);
            assert_int_equal(
                sws_scale(sws, (const uint8_t *const *)frame->data, frame->linesize, 0, CLIP_HEIGHT, planes, strides),
                CLIP_HEIGHT);
        }
    }
    sws_freeContext(sws);
    av_frame_free(&frame);
    av_packet_free(&packet);
    avcodec_free_context(&decoder);
    tkr_video_source_close(&source);
    return n;
}

/* In order, backwards, and in leaps over key frames: the bytes of plain decoding, and the number that the frame shows.
 */
static void any_order_gives_the_same_frames(void **state) {
    (void)state;
    uint8_t *all = malloc((size_t)MAX_FRAMES * FRAME_BYTES), *rgb = malloc(FRAME_BYTES);
    assert_true(all && rgb);
    for (size_t c = 0; c < N_CLIPS; c++) {
        tkr_buf bytes = clip_bytes(clip_names[c]);
        const size_t n = decode_plainly(all, &bytes);
        tkr_video *video = open_clip(&bytes);
        assert_int_equal(tkr_video_get_info(video)->n_frames, n);
        for (size_t k = 0; k < 4 * n; k++) {
            const size_t index = k < n ? k : k < 2 * n ? 2 * n - 1 - k : k < 3 * n ? k * 17 % n : k * 29 % n;
            frame_or_fail(rgb, video, index);
            assert_memory_equal(rgb, all + index * FRAME_BYTES, FRAME_BYTES);
            assert_int_equal(number_shown(rgb), index);
        }
        tkr_video_close(&video);
        tkr_buf_free(&bytes);
    }
    free(all);
    free(rgb);
}

/* Frames that FFmpeg gave when the goldens were made; decoders of other makes differ by up to 64 levels. */
static void near_the_reference(void **state) {
    (void)state;
    golden g = golden_open("golden/video/frames.safetensors");
    uint8_t rgb[FRAME_BYTES];
    size_t n_checked = 0;
    for (size_t c = 0; c < N_CLIPS; c++) {
        tkr_buf bytes = clip_bytes(clip_names[c]);
        tkr_video *video = open_clip(&bytes);
        for (size_t i = 0; i < tkr_video_get_info(video)->n_frames; i++) {
            char name[64];
            snprintf(name, sizeof name, "%s/%zu", clip_names[c], i);
            size_t shape[4] = {0}, n = 0;
            const uint8_t *want = golden_find(&g, name, &n, shape);
            if (!want) continue;
            assert_int_equal(n, FRAME_BYTES);
            double sum = 0;
            int most = 0;
            frame_or_fail(rgb, video, i);
            for (size_t k = 0; k < FRAME_BYTES; k++) {
                const int d = abs((int)rgb[k] - (int)want[k]);
                sum += d;
                most = d > most ? d : most;
            }
            print_message("%s: mean %.4f, most %d\n", name, sum / FRAME_BYTES, most);
            assert_true(sum / FRAME_BYTES <= 0.5 && most <= 8); /* 0 with FFmpeg 5.1 */
            n_checked++;
        }
        tkr_video_close(&video);
        tkr_buf_free(&bytes);
    }
    assert_int_equal(n_checked, 6);
    golden_close(&g);
}

/* Broken files give an error or whole frames, and nothing else. */
static void broken_files(void **state) {
    (void)state;
    static const struct {
        const char *name;
        tkr_status status;
    } files[] = {{"empty.webm", TKR_UNSUPPORTED},
                 {"text.mp4", TKR_UNSUPPORTED},
                 {"truncated.mp4", TKR_OK},
                 {"truncated.webm", TKR_OK}};
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        char relative[128];
        snprintf(relative, sizeof relative, "golden/video/broken/%s", files[f].name);
        tkr_buf bytes = golden_bytes(relative);
        tkr_video *video = NULL;
        tkr_error error = {TKR_OK, NULL, ""};
        const tkr_status status = tkr_video_open(&video, (const uint8_t *)bytes.data, bytes.size, &options, &error);
        print_message("%s: %s\n", files[f].name, status == TKR_OK ? "opens" : error.message);
        if (files[f].status != TKR_OK) assert_int_equal(status, files[f].status);
        for (size_t i = 0; status == TKR_OK && i < tkr_video_get_info(video)->n_frames; i++) {
            uint8_t rgb[FRAME_BYTES];
            size_t width, height;
            if (tkr_video_frame(rgb, &width, &height, video, i, &error) == TKR_OK)
                assert_int_equal(number_shown(rgb), i);
        }
        tkr_video_close(&video);
        tkr_buf_free(&bytes);
    }
}

static void limits(void **state) {
    (void)state;
    tkr_buf bytes = clip_bytes(clip_names[0]);
    const tkr_video_options small[] = {{.max_pixels = 100, .max_frames = 100},
                                       {.max_pixels = 1 << 20, .max_frames = 7}};
    for (size_t i = 0; i < 2; i++) {
        tkr_video *video = NULL;
        assert_int_equal(tkr_video_open(&video, (const uint8_t *)bytes.data, bytes.size, &small[i], NULL), TKR_LIMIT);
        assert_null(video);
    }
    tkr_buf_free(&bytes);
}

/* ---- no memory ---- */

typedef struct failing {
    size_t at, seen;
} failing;

static bool allow(void *user, char kind) {
    failing *f = user;
    return kind != 'a' || f->seen++ != f->at;
}

/* Each allocation of ours fails in turn; FFmpeg's own aren't reached. */
static void every_allocation_fails(void **state) {
    (void)state;
    static const char *const names[] = {"golden/video/files/moving_h264.mp4", "golden/images/formats/anim.webp"};
    uint8_t *rgb = malloc((size_t)3 * options.max_pixels);
    assert_non_null(rgb);
    for (size_t c = 0; c < sizeof names / sizeof *names; c++) {
        tkr_buf bytes = golden_bytes(names[c]);
        bool hit = true;
        for (size_t at = 0; hit; at++) {
            failing f = {.at = at};
            tkr_video *video = NULL;
            tkr_error error = {TKR_OK, NULL, ""};
            size_t width, height;
            tkr_seam_set(allow, &f);
            tkr_status status = tkr_video_open(&video, (const uint8_t *)bytes.data, bytes.size, &options, &error);
            for (size_t i = 0; status == TKR_OK && i < tkr_video_get_info(video)->n_frames; i += 5)
                status = tkr_video_frame(rgb, &width, &height, video, i, &error);
            tkr_video_close(&video);
            tkr_seam_set(NULL, NULL);
            hit = f.seen > at;
            assert_int_equal(status, hit ? TKR_NO_MEMORY : TKR_OK);
            if (!hit) assert_true(at > 1);
        }
        tkr_buf_free(&bytes);
    }
    free(rgb);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(times_of_the_clips),
                                       cmocka_unit_test(any_order_gives_the_same_frames),
                                       cmocka_unit_test(near_the_reference),
                                       cmocka_unit_test(broken_files),
                                       cmocka_unit_test(limits),
                                       cmocka_unit_test(every_allocation_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
