/* SPDX-License-Identifier: Apache-2.0 */
/* decode/video_rgb: frames of any pixel format to 8-bit RGB, upright. */
#ifndef TKR_DECODE_VIDEO_RGB_H
#define TKR_DECODE_VIDEO_RGB_H

#include <libavutil/frame.h>
#include <libswscale/swscale.h>

#include "core/error.h"

/* What converts: bilinear chroma, exact in every step and the same on every CPU. docs/models.md names them. */
#define TKR_VIDEO_SWS_FLAGS (SWS_BILINEAR | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_BITEXACT)

/* Keeps its tables between frames; zero-initialise, release with tkr_rgb_converter_free. */
typedef struct tkr_rgb_converter {
    struct SwsContext *context;
    uint8_t *turned; /* room for a frame before it is turned */
    size_t room;
} tkr_rgb_converter;
void tkr_rgb_converter_free(tkr_rgb_converter *converter);

/* `quarters`: of a clockwise turn, 0 to 3. Writes [height, width, 3]; the frame has at most max_pixels. */
tkr_status tkr_rgb_from_frame(uint8_t *rgb, size_t *width, size_t *height, tkr_rgb_converter *converter,
                              const AVFrame *frame, unsigned quarters, size_t max_pixels, tkr_error *error);

#endif
