/* SPDX-License-Identifier: Apache-2.0 */
/* decode/video on videos made here: containers and codecs, B-frames, variable rate, rotation, missing durations, cut
 * ends, sizes from 1x1, and files without a video. Every frame shows its number as a gray level. */
#include "make_clip.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "decode/video.h"

static const tkr_video_options options = {.max_pixels = 1 << 20, .max_frames = 1000};

static tkr_video *open_or_fail(const uint8_t *bytes, size_t n) {
    tkr_video *video = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_video_open(&video, bytes, n, &options, &error) != TKR_OK) fail_msg("%s", error.message);
    return video;
}

/* Full range of the limited range's level. */
static int shown(int level) { return (int)lrint((level - 16) * 255.0 / 219.0); }

static void check_frame(tkr_video *video, const clip_recipe *r, size_t i, uint8_t *rgb) {
    size_t width = 0, height = 0;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_video_frame(rgb, &width, &height, video, i, &error) != TKR_OK) fail_msg("%s", error.message);
    const bool aside = r->rotation % 180 != 0;
    assert_int_equal(width, aside ? r->height : r->width);
    assert_int_equal(height, aside ? r->width : r->height);
    const int wanted = strcmp(r->codec, "mjpeg") == 0 ? level_of(i) : shown(level_of(i));
    if (abs((int)rgb[1] - wanted) > 6)
        fail_msg("%s/%s, frame %zu: level %d, wanted %d", r->format, r->codec, i, rgb[1], wanted);
}

static void check_times(const tkr_video *video, const clip_recipe *r) {
    const tkr_video_info *info = tkr_video_get_info(video);
    assert_int_equal(info->n_frames, r->n_frames);
    for (size_t i = 0; i < r->n_frames; i++) {
        const double wanted = r->times_ms ? (r->times_ms[i] - r->times_ms[0]) / 1000.0 : (double)i * 0.04;
        if (fabs(info->times[i] - wanted) > 1.1e-3)
            fail_msg("%s/%s, frame %zu: %g s, wanted %g s", r->format, r->codec, i, info->times[i], wanted);
    }
}

static const int uneven[] = {0, 40, 45, 200, 210, 1000, 1040, 1500, 4000, 4010, 4020, 9000};

static const clip_recipe recipes[] = {
    {.format = "mp4", .codec = "mpeg4", .width = 64, .height = 48, .n_frames = 40, .gop = 12},
    {.format = "mp4", .codec = "mpeg4", .width = 64, .height = 48, .n_frames = 40, .gop = 12, .b_frames = 2},
    {.format = "matroska", .codec = "mpeg4", .width = 64, .height = 48, .n_frames = 40, .gop = 8, .b_frames = 2},
    {.format = "matroska", .codec = "mjpeg", .width = 64, .height = 48, .n_frames = 20, .gop = 1},
    {.format = "mpegts", .codec = "mpeg2video", .width = 64, .height = 48, .n_frames = 40, .gop = 10, .b_frames = 2},
    {.format = "mov", .codec = "mjpeg", .width = 17, .height = 9, .n_frames = 12, .gop = 1},
    {.format = "mp4", .codec = "mpeg4", .width = 64, .height = 48, .n_frames = 12, .gop = 5, .times_ms = uneven},
    {.format = "matroska", .codec = "mpeg4", .width = 64, .height = 48, .n_frames = 12, .gop = 5, .times_ms = uneven},
    {.format = "matroska", .codec = "ffv1", .width = 1, .height = 1, .n_frames = 3, .gop = 1},
    {.format = "mp4", .codec = "mpeg4", .width = 64, .height = 48, .n_frames = 1, .gop = 1},
};

/* In leaps back and forth. */
static void every_container(void **state) {
    (void)state;
    uint8_t *rgb = malloc(64 * 48 * 3);
    assert_non_null(rgb);
    for (size_t k = 0; k < sizeof recipes / sizeof *recipes; k++) {
        const clip_recipe *r = &recipes[k];
        size_t n = 0;
        uint8_t *bytes = make_clip(&n, r);
        tkr_video *video = open_or_fail(bytes, n);
        check_times(video, r);
        for (size_t i = 0; i < 3 * r->n_frames; i++)
            check_frame(video, r, i < r->n_frames ? i : i * 13 % r->n_frames, rgb);
        tkr_video_close(&video);
        av_free(bytes);
    }
    free(rgb);
}

/* The left half is bright in the file: where it is on the screen. */
static void rotation(void **state) {
    (void)state;
    static const struct {
        int degrees;
        size_t x, y; /* a bright pixel */
    } turns[] = {{90, 20, 5}, {180, 60, 20}, {270, 20, 60}};
    uint8_t *rgb = malloc(64 * 48 * 3);
    assert_non_null(rgb);
    for (size_t k = 0; k < 3; k++) {
        const clip_recipe r = {.format = "mov",
                               .codec = "mjpeg",
                               .width = 64,
                               .height = 48,
                               .n_frames = 2,
                               .gop = 1,
                               .rotation = turns[k].degrees,
                               .split = 1};
        size_t n = 0, width = 0, height = 0;
        uint8_t *bytes = make_clip(&n, &r);
        tkr_video *video = open_or_fail(bytes, n);
        assert_int_equal(tkr_video_get_info(video)->width, k == 1 ? 64 : 48);
        assert_int_equal(tkr_video_frame(rgb, &width, &height, video, 1, NULL), TKR_OK);
        const uint8_t *bright = rgb + (turns[k].y * width + turns[k].x) * 3;
        const uint8_t *dark = rgb + ((height - 1 - turns[k].y) * width + width - 1 - turns[k].x) * 3;
        if (bright[1] < 60 || dark[1] > 30) fail_msg("%d degrees: %d and %d", turns[k].degrees, bright[1], dark[1]);
        tkr_video_close(&video);
        av_free(bytes);
    }
    free(rgb);
}

/* Cut behind each of many bytes: an error, or whole frames of the beginning. */
static void cut_ends(void **state) {
    (void)state;
    static const clip_recipe streams[] = {
        {.format = "matroska", .codec = "mpeg4", .width = 64, .height = 48, .n_frames = 20, .gop = 6, .b_frames = 1},
        {.format = "mpegts", .codec = "mpeg2video", .width = 64, .height = 48, .n_frames = 20, .gop = 6},
        {.format = "mp4", .codec = "mpeg4", .width = 64, .height = 48, .n_frames = 20, .gop = 6}};
    uint8_t *rgb = malloc(64 * 48 * 3);
    assert_non_null(rgb);
    for (size_t k = 0; k < 3; k++) {
        size_t n = 0, opened = 0;
        uint8_t *bytes = make_clip(&n, &streams[k]);
        for (size_t cut = 0; cut < n; cut += n / 23 + 1) {
            tkr_video *video = NULL;
            if (tkr_video_open(&video, bytes, cut, &options, NULL) != TKR_OK) continue;
            const size_t n_frames = tkr_video_get_info(video)->n_frames;
            size_t width, height, good = 0;
            assert_true(n_frames <= 21);
            for (size_t i = 0; i < n_frames; i++)
                good += tkr_video_frame(rgb, &width, &height, video, i, NULL) == TKR_OK;
            assert_true(good + 3 >= n_frames); /* the last ones may be spoilt */
            opened++;
            tkr_video_close(&video);
        }
        assert_true(k == 2 || opened > 10); /* an mp4 ends with its table */
        av_free(bytes);
    }
    free(rgb);
}

/* A RIFF file of two samples of sound. */
static void no_video(void **state) {
    (void)state;
    static const uint8_t wave[] = "RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0"
                                  "data\4\0\0\0\1\0\2\0";
    static const uint8_t playlist[] =
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n";
    static const uint8_t concat[] = "ffconcat version 1.0\nfile /etc/passwd\n";
    tkr_video *video = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    assert_int_equal(tkr_video_open(&video, wave, sizeof wave - 1, &options, &error), TKR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "without a video stream"));
    assert_int_not_equal(tkr_video_open(&video, playlist, sizeof playlist - 1, &options, &error), TKR_OK);
    assert_int_not_equal(tkr_video_open(&video, concat, sizeof concat - 1, &options, &error), TKR_OK);
    assert_null(video);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_container), cmocka_unit_test(rotation),
                                       cmocka_unit_test(cut_ends), cmocka_unit_test(no_video)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
