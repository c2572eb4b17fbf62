/* SPDX-License-Identifier: Apache-2.0 */
/* decode/video_webp: animated WebP by libwebp, which FFmpeg's libraries don't read. */
#ifndef TKR_DECODE_VIDEO_WEBP_H
#define TKR_DECODE_VIDEO_WEBP_H

#include "core/mem.h"
#include "decode/video.h"

typedef struct tkr_webp tkr_webp;

/* Whether the bytes are WebP, animated or still. */
bool tkr_webp_is(const uint8_t *bytes, size_t n_bytes);
/* Appends the second of each frame (double) to `times` and fills *info but for its times. Returns an animation. */
tkr_status tkr_webp_open(tkr_webp **webp, tkr_buf *times, tkr_video_info *info, const uint8_t *bytes, size_t n_bytes,
                         const tkr_video_options *options, tkr_error *error);
void tkr_webp_close(tkr_webp **webp);
/* Frame `index` on its canvas, transparency as black: [height, width, 3]. */
tkr_status tkr_webp_frame(uint8_t *rgb, tkr_webp *webp, size_t index, tkr_error *error);

#endif
