/* SPDX-License-Identifier: Apache-2.0 */
/* Damages videos and animations at random, always the same way, and has them decoded: frames, or an error; a decoder
 * that dies fails the test (under ASan that is any bad access). */
#ifndef TKR_TEST_MEDIA_VIDEO_MUTATE_H
#define TKR_TEST_MEDIA_VIDEO_MUTATE_H

#include "clips.h"
#include "jail_helpers.h"

#include "../mutate.h"

static const char *const video_seeds[] = {"golden/video/files/moving_h264.mp4", "golden/video/files/moving_vp9.webm",
                                          "golden/video/files/ntsc_h264.mp4", "golden/images/formats/anim.gif",
                                          "golden/images/files/webp_animated.webp"};
enum { VIDEO_SEEDS = sizeof video_seeds / sizeof *video_seeds, FRAMES_WANTED = 5 };

/* A few frames all over the video. */
static inline tkr_status choose_some(void *user, tkr_buf *indices, const tkr_clip *clip, tkr_error *error) {
    (void)user, (void)error;
    const size_t n = clip->n_frames < FRAMES_WANTED ? clip->n_frames : FRAMES_WANTED;
    for (size_t i = 0; i < n; i++) {
        const size_t index = i * (clip->n_frames - 1) / (n > 1 ? n - 1 : 1);
        assert_true(tkr_buf_append(indices, &index, sizeof index));
    }
    return TKR_OK;
}

static inline tkr_status take_any(void *user, size_t i, tkr_image *image, tkr_error *error) {
    (void)i, (void)error;
    assert_true(image->width > 0 && image->height > 0 && image->rgb != NULL);
    ++*(size_t *)user;
    return TKR_OK;
}

static inline void mutate_videos(size_t count, uint64_t seed) {
    tkr_jail_options options = jail_options();
    options.kind = TKR_JAIL_VIDEOS;
    options.n_processes = 1;
    options.max_pixels = 1000000; /* larger frames are refused before they cost time */
    tkr_jail *jail = open_jail(&options);
    tkr_buf seeds[VIDEO_SEEDS];
    size_t n_decoded = 0;
    uint64_t state = seed;
    for (size_t i = 0; i < VIDEO_SEEDS; i++) seeds[i] = golden_bytes(video_seeds[i]);
    for (size_t i = 0; i < count; i++) {
        const tkr_buf *from = &seeds[i % VIDEO_SEEDS];
        size_t n_frames = 0;
        const tkr_clip_request request = {.choose = choose_some, .take = take_any, .user = &n_frames};
        tkr_error error = {TKR_OK, NULL, ""};
        tkr_buf bytes = {0};
        assert_true(tkr_buf_append(&bytes, from->data, from->size));
        for (uint32_t n = 1 + mutate_random(&state) % 4; n > 0; n--) mutate_once(&bytes, &state);
        const tkr_status status = tkr_jail_video(jail, "x", bytes.data, bytes.size, &request, &error);
        if (status != TKR_OK && strstr(error.message, "the decoder ")) {
            const char *path = TKR_BUILD_DIR "/video_mutation";
            (void)tkr_file_write_atomic(path, bytes.data, bytes.size, NULL);
            fail_msg("%s, change %zu: %s (%s)", video_seeds[i % VIDEO_SEEDS], i, error.message, path);
        }
        assert_true(status == TKR_OK || status == TKR_FORMAT || status == TKR_LIMIT || status == TKR_UNSUPPORTED ||
                    status == TKR_NO_MEMORY);
        assert_true((status == TKR_OK) == (n_frames > 0));
        n_decoded += status == TKR_OK;
        tkr_buf_free(&bytes);
    }
    print_message("%zu of %zu decoded\n", n_decoded, count);
    assert_true(n_decoded > 0 && n_decoded < count); /* the changes are neither all harmless nor all fatal */
    for (size_t i = 0; i < VIDEO_SEEDS; i++) tkr_buf_free(&seeds[i]);
    tkr_jail_free(&jail);
}

#endif
