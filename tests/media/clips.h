/* SPDX-License-Identifier: Apache-2.0 */
/* The golden clips: what is known of them, and the number that each of their frames shows. */
#ifndef TKR_TEST_MEDIA_CLIPS_H
#define TKR_TEST_MEDIA_CLIPS_H

#include <stdbool.h>

#include "golden.h"

static const char *const clip_names[] = {"moving_h264.mp4", "moving_vp9.webm", "ntsc_h264.mp4"};
enum { N_CLIPS = 3, CLIP_WIDTH = 160, CLIP_HEIGHT = 120, SQUARE = 20 };

static inline tkr_buf clip_bytes(const char *name) {
    char relative[128];
    snprintf(relative, sizeof relative, "golden/video/files/%s", name);
    return golden_bytes(relative);
}

/* The entry of videos.json, borrowed from `videos`. */
static inline const json_t *clip_facts(const json_t *videos, const char *name) {
    const json_t *row, *list = json_object_get(videos, "videos");
    size_t i;
    json_array_foreach(list, i, row) {
        const char *file = json_string_value(json_object_get(row, "file"));
        if (strcmp(file + strlen("files/"), name) == 0) return row;
    }
    fail_msg("videos.json does not know %s", name);
    return NULL;
}

/* Eight squares in the top strip, black 0, white 1, most significant first. */
static inline unsigned number_shown(const uint8_t *rgb) {
    unsigned number = 0;
    for (size_t bit = 0; bit < 8; bit++) {
        const uint8_t *middle = rgb + ((SQUARE / 2) * CLIP_WIDTH + bit * SQUARE + SQUARE / 2) * 3;
        number = 2 * number + (middle[1] > 127);
    }
    return number;
}

#endif
