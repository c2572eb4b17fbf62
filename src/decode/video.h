/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode/video: what the files of tkr-decode-video share: a video in memory, the times of its frames, any of them as
 * 8-bit RGB. Opens nothing but the bytes that it is given.
 */
#ifndef TKR_DECODE_VIDEO_H
#define TKR_DECODE_VIDEO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct tkr_video tkr_video;

typedef struct tkr_video_options {
    size_t max_pixels; /* of a frame */
    size_t max_frames; /* of the video */
} tkr_video_options;

/* The bytes are borrowed for the video's life. TKR_UNSUPPORTED: no video that is known; TKR_FORMAT: damaged. Returns a
 * video; free with tkr_video_close. */
tkr_status tkr_video_open(tkr_video **video, const uint8_t *bytes, size_t n_bytes, const tkr_video_options *options,
                          tkr_error *error);
void tkr_video_close(tkr_video **video);

/* As containers state it, or as its packets show. */
typedef struct tkr_video_info {
    size_t n_frames;      /* at least 1 */
    const double *times;  /* [n_frames] seconds from the first one's, ascending; lives as long as the video */
    double fps;           /* the stated average rate; else of the times */
    double seconds;       /* of all frames, the last one's own time included */
    size_t width, height; /* as shown: rotated */
} tkr_video_info;
const tkr_video_info *tkr_video_get_info(const tkr_video *video);

/* Decodes frame `index`, upright, into `rgb`, which has room for max_pixels * 3 bytes: [height, width, 3]. Ascending
 * indices are cheapest; a seek saves decoding what lies between, and gives the same bytes. */
tkr_status tkr_video_frame(uint8_t *rgb, size_t *width, size_t *height, tkr_video *video, size_t index,
                           tkr_error *error);

#endif
