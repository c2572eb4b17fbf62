/* SPDX-License-Identifier: Apache-2.0 */
/* decode/pixels: rows of samples to rows of RGB, in Pillow's integer arithmetic. */
#ifndef TKR_DECODE_PIXELS_H
#define TKR_DECODE_PIXELS_H

#include <stddef.h>
#include <stdint.h>

/* a * b / 255, rounded, for a, b <= 255. */
static inline uint8_t tkr_mul_255(unsigned a, unsigned b) {
    const unsigned t = a * b + 128;
    return (uint8_t)(((t >> 8) + t) >> 8);
}

/* rgb [n, 3]; the other array is [n, samples]. */
void tkr_rgb_from_gray(uint8_t *rgb, const uint8_t *gray, size_t n);
/* Every second sample is left out: gray with alpha. */
void tkr_rgb_from_gray_x(uint8_t *rgb, const uint8_t *gray_x, size_t n);
/* 16-bit gray in this machine's byte order clips at 255, as Pillow's mode I;16 does. */
void tkr_rgb_from_gray16(uint8_t *rgb, const uint16_t *gray, size_t n);
void tkr_rgb_from_rgbx(uint8_t *rgb, const uint8_t *rgbx, size_t n);
/* Composited on white. */
void tkr_rgb_from_rgba_on_white(uint8_t *rgb, const uint8_t *rgba, size_t n);
/* Pillow's plain conversion: (255 - K) scaled by 255 - C, M, Y. `inverted`: the samples are stored as 255 - x. */
void tkr_rgb_from_cmyk(uint8_t *rgb, const uint8_t *cmyk, size_t n, int inverted);

/* A colour for each of 256 indices. */
typedef struct tkr_palette {
    uint8_t rgb[256][3];
} tkr_palette;
/* Colour i is gray i: a file without a palette. */
void tkr_palette_gray(tkr_palette *palette);
/* The file has n colours: the others become black; but if each colour i is gray i, Pillow sees no palette and they
 * become gray as well. */
void tkr_palette_complete(tkr_palette *palette, size_t n);
void tkr_rgb_from_palette(uint8_t *rgb, const uint8_t *indices, size_t n, const tkr_palette *palette);

/* Spreads samples of 1, 2, 4 or 8 bits, most significant first, to a byte each, values unchanged. */
void tkr_unpack_bits(uint8_t *out, const uint8_t *packed, size_t n, unsigned bits);

#endif
