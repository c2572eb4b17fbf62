/* SPDX-License-Identifier: Apache-2.0 */
/* decode/pixels: row conversions. */
#include "decode/pixels.h"

#include <stdbool.h>
#include <string.h>

void tkr_rgb_from_gray(uint8_t *rgb, const uint8_t *gray, size_t n) {
    for (size_t i = 0; i < n; i++) {
        rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = gray[i];
    }
}

void tkr_rgb_from_gray_x(uint8_t *rgb, const uint8_t *gray_x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = gray_x[2 * i];
    }
}

void tkr_rgb_from_gray16(uint8_t *rgb, const uint16_t *gray, size_t n) {
    for (size_t i = 0; i < n; i++) {
        rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = (uint8_t)(gray[i] > 255 ? 255 : gray[i]);
    }
}

void tkr_rgb_from_rgbx(uint8_t *rgb, const uint8_t *rgbx, size_t n) {
    for (size_t i = 0; i < n; i++) {
        rgb[3 * i] = rgbx[4 * i];
        rgb[3 * i + 1] = rgbx[4 * i + 1];
        rgb[3 * i + 2] = rgbx[4 * i + 2];
    }
}

/* white * (255 - alpha) + colour * alpha, over 255 and rounded once (Pillow's paste through a mask). */
static uint8_t over_white(unsigned colour, unsigned alpha) {
    const unsigned t = 255 * (255 - alpha) + colour * alpha + 128;
    return (uint8_t)(((t >> 8) + t) >> 8);
}

void tkr_rgb_from_rgba_on_white(uint8_t *rgb, const uint8_t *rgba, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const unsigned alpha = rgba[4 * i + 3];
        for (size_t c = 0; c < 3; c++) rgb[3 * i + c] = over_white(rgba[4 * i + c], alpha);
    }
}

void tkr_rgb_from_cmyk(uint8_t *rgb, const uint8_t *cmyk, size_t n, int inverted) {
    const unsigned flip = inverted ? 255 : 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned light = 255 - (cmyk[4 * i + 3] ^ flip);
        for (size_t c = 0; c < 3; c++) {
            rgb[3 * i + c] = (uint8_t)(light - tkr_mul_255(cmyk[4 * i + c] ^ flip, light));
        }
    }
}

void tkr_palette_gray(tkr_palette *palette) {
    for (size_t i = 0; i < 256; i++) memset(palette->rgb[i], (int)i, 3);
}

void tkr_palette_complete(tkr_palette *palette, size_t n) {
    bool gray = true;
    for (size_t i = 0; i < n && i < 256; i++) {
        for (size_t c = 0; c < 3; c++) gray = gray && palette->rgb[i][c] == i;
    }
    for (size_t i = n; i < 256; i++) memset(palette->rgb[i], gray ? (int)i : 0, 3);
}

void tkr_rgb_from_palette(uint8_t *rgb, const uint8_t *indices, size_t n, const tkr_palette *palette) {
    for (size_t i = 0; i < n; i++) memcpy(rgb + 3 * i, palette->rgb[indices[i]], 3);
}

void tkr_unpack_bits(uint8_t *out, const uint8_t *packed, size_t n, unsigned bits) {
    if (bits == 8) {
        memcpy(out, packed, n);
        return;
    }
    const unsigned per_byte = 8 / bits, mask = (1u << bits) - 1;
    for (size_t i = 0; i < n; i++) {
        const unsigned shift = 8 - bits - bits * (unsigned)(i % per_byte);
        out[i] = (uint8_t)(((unsigned)packed[i / per_byte] >> shift) & mask);
    }
}
