/* SPDX-License-Identifier: Apache-2.0 */
/* decode/tiff_rows: samples to RGB; orientation. */
#include "decode/tiff_rows.h"

#include <string.h>

#include "core/mem.h"

static uint8_t clip(int64_t value) { return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value); }

/* Gray of 16 and 32 bits clips, as Pillow's modes I;16, I and F do. */
static uint8_t wide_gray(const uint8_t *sample, const tkr_tiff_rows *rows) {
    uint16_t half;
    int32_t word;
    float real;
    if (rows->bits == 16) {
        memcpy(&half, sample, sizeof half);
        return clip(rows->format == TKR_SAMPLE_SIGNED ? (int16_t)half : half);
    }
    if (rows->format != TKR_SAMPLE_FLOAT) {
        memcpy(&word, sample, sizeof word);
        return clip(word); /* Pillow's mode I is signed either way */
    }
    memcpy(&real, sample, sizeof real);
    return real >= 255 ? 255 : real > 0 ? (uint8_t)real : 0; /* a NaN is 0 */
}

/* Sample c of a pixel in 8 bits: the high byte of 16. */
static uint8_t sample_8(const uint8_t *pixel, size_t c, const tkr_tiff_rows *rows) {
    uint16_t wide;
    if (rows->bits == 8) return pixel[c];
    memcpy(&wide, pixel + 2 * c, 2);
    return (uint8_t)(wide >> 8);
}

static uint8_t unmultiply(unsigned colour, unsigned alpha) {
    return alpha == 0 ? 0 : clip((int64_t)(colour * 255 / alpha));
}

/* Indices and gray of 1, 2 and 4 bits. */
static void narrow_row(uint8_t *rgb, const uint8_t *samples, size_t n, const tkr_tiff_rows *rows) {
    const unsigned bits = rows->bits, top = (1u << bits) - 1, per_byte = 8 / bits;
    for (size_t i = 0; i < n; i++) {
        const unsigned value = ((unsigned)samples[i / per_byte] >> (8 - bits - bits * (unsigned)(i % per_byte))) & top;
        if (rows->kind == TKR_TIFF_PALETTE) {
            memcpy(rgb + 3 * i, rows->palette.rgb[value], 3);
        } else {
            const unsigned gray = value * (255 / top);
            memset(rgb + 3 * i, (int)(rows->inverted ? 255 - gray : gray), 3);
        }
    }
}

static void gray_row(uint8_t *rgb, const uint8_t *samples, size_t n, const tkr_tiff_rows *rows) {
    const size_t step = (size_t)rows->n_samples * rows->bits / 8;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *pixel = samples + i * step;
        uint8_t gray = rows->bits == 8 ? pixel[0] : wide_gray(pixel, rows);
        if (rows->premultiplied && rows->n_samples > 1) gray = unmultiply(gray, sample_8(pixel, 1, rows));
        memset(rgb + 3 * i, rows->inverted ? 255 - gray : gray, 3);
    }
}

static void rgb_row(uint8_t *rgb, const uint8_t *samples, size_t n, const tkr_tiff_rows *rows) {
    const size_t step = (size_t)rows->n_samples * rows->bits / 8;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *pixel = samples + i * step;
        uint8_t rgba[4] = {sample_8(pixel, 0, rows), sample_8(pixel, 1, rows), sample_8(pixel, 2, rows), 255};
        if (rows->kind == TKR_TIFF_RGBA) {
            rgba[3] = sample_8(pixel, 3, rows);
            for (size_t c = 0; rows->premultiplied && c < 3; c++) rgba[c] = unmultiply(rgba[c], rgba[3]);
        }
        if (rows->kind == TKR_TIFF_RGBA && rows->on_white) {
            tkr_rgb_from_rgba_on_white(rgb + 3 * i, rgba, 1);
        } else {
            memcpy(rgb + 3 * i, rgba, 3);
        }
    }
}

static void cmyk_row(uint8_t *rgb, const uint8_t *samples, size_t n, const tkr_tiff_rows *rows) {
    const size_t step = (size_t)rows->n_samples * rows->bits / 8;
    for (size_t i = 0; i < n; i++) {
        uint8_t cmyk[4];
        for (size_t c = 0; c < 4; c++) cmyk[c] = sample_8(samples + i * step, c, rows);
        tkr_rgb_from_cmyk(rgb + 3 * i, cmyk, 1, 0);
    }
}

/* ITU-R BT.601 at full range in Pillow's fixed point: coefficients times 64, rounded towards zero after adding a half.
 */
static void ycbcr_row(uint8_t *rgb, const uint8_t *samples, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const int y = samples[3 * i], cb = samples[3 * i + 1] - 128, cr = samples[3 * i + 2] - 128;
        const int red = (int)(1.402 * cr * 64 + 0.5), blue = (int)(1.772 * cb * 64 + 0.5);
        const int green = (int)(-0.34414 * cb * 64 + 0.5) + (int)(-0.71414 * cr * 64 + 0.5);
        rgb[3 * i] = clip(y + (red >> 6));
        rgb[3 * i + 1] = clip(y + (green >> 6));
        rgb[3 * i + 2] = clip(y + (blue >> 6));
    }
}

void tkr_tiff_row(uint8_t *rgb, const uint8_t *samples, size_t n, const tkr_tiff_rows *rows) {
    if (rows->bits < 8) {
        narrow_row(rgb, samples, n, rows);
        return;
    }
    switch (rows->kind) {
    case TKR_TIFF_GRAY: gray_row(rgb, samples, n, rows); break;
    case TKR_TIFF_PALETTE:
        for (size_t i = 0; i < n; i++) memcpy(rgb + 3 * i, rows->palette.rgb[samples[i * rows->n_samples]], 3);
        break;
    case TKR_TIFF_RGB:
        if (rows->bits == 8 && rows->n_samples == 3) {
            memcpy(rgb, samples, n * 3);
            break;
        }
        rgb_row(rgb, samples, n, rows);
        break;
    case TKR_TIFF_RGBA: rgb_row(rgb, samples, n, rows); break;
    case TKR_TIFF_YCBCR: ycbcr_row(rgb, samples, n); break;
    case TKR_TIFF_CMYK: cmyk_row(rgb, samples, n, rows); break;
    }
}

void tkr_tiff_plane(uint8_t *out, size_t step, const uint8_t *samples, size_t n, unsigned bits) {
    for (size_t i = 0; i < n; i++) {
        if (bits == 8) {
            out[i * step] = samples[i];
        } else {
            uint16_t wide;
            memcpy(&wide, samples + 2 * i, 2);
            out[i * step] = (uint8_t)(wide >> 8);
        }
    }
}

/* Values of tag 274: 2 mirrors, 3 turns by 180 degrees, 4 mirrors top and bottom, 5 to 8 also swap the axes. */
tkr_status tkr_tiff_orient(tkr_decoding *d, unsigned orientation, tkr_error *error) {
    if (orientation < 2 || orientation > 8) return TKR_OK;
    const size_t width = d->width, height = d->height;
    const bool swap = orientation >= 5;
    const bool flip_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool flip_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    tkr_status status;
    uint8_t *copy = tkr_decode_alloc(&status, width * height, 3, error);
    if (!copy) return status;
    memcpy(copy, d->out, width * height * 3);
    d->width = swap ? height : width;
    d->height = swap ? width : height;
    for (size_t y = 0; y < d->height; y++) {
        for (size_t x = 0; x < d->width; x++) {
            size_t from_x = swap ? y : x, from_y = swap ? x : y;
            if (flip_x) from_x = width - 1 - from_x;
            if (flip_y) from_y = height - 1 - from_y;
            memcpy(d->out + (y * d->width + x) * 3, copy + (from_y * width + from_x) * 3, 3);
        }
    }
    tkr_free(copy);
    return TKR_OK;
}
