/* SPDX-License-Identifier: Apache-2.0 */
/* decode/tiff_rows: a TIFF's samples to RGB, without its library. */
#ifndef TKR_DECODE_TIFF_ROWS_H
#define TKR_DECODE_TIFF_ROWS_H

#include "decode/decode.h"
#include "decode/pixels.h"

typedef enum tkr_tiff_kind {
    TKR_TIFF_GRAY,
    TKR_TIFF_PALETTE,
    TKR_TIFF_RGB, /* further samples don't count */
    TKR_TIFF_RGBA,
    TKR_TIFF_CMYK,
    TKR_TIFF_YCBCR /* 8 bits, not subsampled */
} tkr_tiff_kind;

typedef enum tkr_sample { TKR_SAMPLE_UNSIGNED, TKR_SAMPLE_SIGNED, TKR_SAMPLE_FLOAT } tkr_sample;

typedef struct tkr_tiff_rows {
    uint16_t bits, n_samples; /* 8 or 16; of a single sample also 1, 2, 4, and 32 of gray */
    tkr_tiff_kind kind;
    tkr_sample format;
    bool inverted;      /* gray whose 0 is white; of at most 8 bits */
    bool premultiplied; /* the sample after gray or RGB is alpha, which they carry already */
    bool on_white;
    tkr_palette palette;
} tkr_tiff_rows;

/* n pixels; samples of more than 8 bits are in this machine's byte order. */
void tkr_tiff_row(uint8_t *rgb, const uint8_t *samples, size_t n, const tkr_tiff_rows *rows);
/* n samples of one plane, 8 or 16 bits, to every step-th byte. */
void tkr_tiff_plane(uint8_t *out, size_t step, const uint8_t *samples, size_t n, unsigned bits);
/* Turns the result as tag Orientation says, which Pillow does for TIFF and for no other format. */
tkr_status tkr_tiff_orient(tkr_decoding *d, unsigned orientation, tkr_error *error);

#endif
