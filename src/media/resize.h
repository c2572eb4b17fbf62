/* SPDX-License-Identifier: Apache-2.0 */
/* media/resize: Pillow's resampling of 8-bit RGB, byte for byte. */
#ifndef TKR_MEDIA_RESIZE_H
#define TKR_MEDIA_RESIZE_H

#include "core/pool.h"
#include "kernels/kernels.h"
#include "media/image.h"

/* Values are Pillow's Resampling codes, as preprocessor_config.json has them. */
typedef enum tkr_filter {
    TKR_FILTER_NEAREST = 0,
    TKR_FILTER_LANCZOS = 1,
    TKR_FILTER_BILINEAR = 2,
    TKR_FILTER_BICUBIC = 3,
    TKR_FILTER_BOX = 4
} tkr_filter;

typedef struct tkr_resize_options {
    size_t width, height; /* of the result */
    tkr_filter filter;
    bool torchvision;           /* its antialiased resize of uint8 tensors: bilinear and bicubic, 16-bit weights */
    bool horizontal_first;      /* Pillow up to 12; false: Pillow 13's order of passes */
    const tkr_kernels *kernels; /* NULL: plain C */
    tkr_pool *pool;             /* rows are shared among its threads; NULL: the caller's alone */
} tkr_resize_options;

/* Fills *out (freed with tkr_image_free); `in` is borrowed. The bytes depend on neither kernels nor pool. */
tkr_status tkr_resize(tkr_image *out, const tkr_image *in, const tkr_resize_options *options, tkr_error *error);
/* torchvision's resize of a video's frames: bicubic with antialiasing in float32, whatever the CPU. Fills *out (freed
 * with tkr_image_free); `in` is borrowed; pool NULL: the calling thread alone. */
tkr_status tkr_resize_float(tkr_image *out, const tkr_image *in, size_t width, size_t height, tkr_pool *pool,
                            tkr_error *error);

#endif
