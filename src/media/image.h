/* SPDX-License-Identifier: Apache-2.0 */
/* media/image: pixels between the decoder, the resize and the processors. */
#ifndef TKR_MEDIA_IMAGE_H
#define TKR_MEDIA_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tkr/embed.h"

/* Pillow refuses pictures of more pixels as decompression bombs. */
#define TKR_MAX_PIXELS 178956970
/* Of one encoded picture, where the caller doesn't say. */
#define TKR_MAX_IMAGE_BYTES ((size_t)256 << 20)
#define TKR_MAX_VIDEO_BYTES ((size_t)1 << 30)

/* What becomes of transparency on the way to RGB. */
typedef enum tkr_alpha {
    TKR_ALPHA_DROP = 0, /* Pillow's convert("RGB"): the colour stays, alpha goes */
    TKR_ALPHA_WHITE = 1 /* RGBA is composited on white (qwen-vl-utils' to_rgb); LA and palettes as above */
} tkr_alpha;

/* 8-bit RGB, rows without gaps. */
typedef struct tkr_image {
    size_t width, height;
    uint8_t *rgb; /* [height, width, 3], owned */
} tkr_image;

void tkr_image_free(tkr_image *image);

#endif
