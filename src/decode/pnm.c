/* SPDX-License-Identifier: Apache-2.0 */
/* decode/pnm: PBM, PGM and PPM, plain and raw, any maximum up to 65535. */
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "decode/decode.h"
#include "decode/pixels.h"

typedef struct reader {
    const uint8_t *at, *end;
    unsigned n_samples; /* 1 or 3 */
    bool bits, plain;   /* black and white; numbers as text */
    uint32_t maximum;
} reader;

static tkr_status truncated(tkr_error *error) { return TKR_FAIL(error, FORMAT, "the PNM data ends too early"); }

static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void skip_space(reader *r) {
    while (r->at < r->end && (is_space(*r->at) || *r->at == '#')) {
        if (*r->at == '#') {
            while (r->at < r->end && *r->at != '\n' && *r->at != '\r') r->at++;
        } else {
            r->at++;
        }
    }
}

/* A decimal number of at most 10 digits and what ends it: one byte of space. */
static bool read_number(uint64_t *value, reader *r) {
    size_t n = 0;
    skip_space(r);
    for (*value = 0; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
        if (++n > 10) return false;
        *value = *value * 10 + (uint64_t)(*r->at - '0');
    }
    return n > 0 && (r->at == r->end || is_space(*r->at) || *r->at == '#');
}

static tkr_status read_header(reader *r, tkr_decoding *d, tkr_error *error) {
    uint64_t width = 0, height = 0, maximum = 1;
    const unsigned kind = d->bytes[1] - (unsigned)'0'; /* 1 to 6 */
    r->plain = kind <= 3;
    r->bits = kind == 1 || kind == 4;
    r->n_samples = kind == 3 || kind == 6 ? 3 : 1;
    r->at += 2;
    if (!read_number(&width, r) || !read_number(&height, r) || (!r->bits && !read_number(&maximum, r))) {
        return TKR_FAIL(error, FORMAT, "damaged PNM: no width, height and maximum after P%u", kind);
    }
    if (maximum < 1 || maximum > 65535) {
        return TKR_FAIL(error, FORMAT, "damaged PNM: a maximum of %llu, from 1 to 65535", (unsigned long long)maximum);
    }
    r->maximum = (uint32_t)maximum;
    if (r->at < r->end) r->at++; /* the one byte of space in front of raw samples */
    return tkr_decode_size(d, width, height, error);
}

/* Python's round() to the range of the mode: gray with a maximum over 255 is Pillow's mode I, which then clips. */
static uint8_t scale(uint64_t value, const reader *r) {
    const double top = r->maximum > 255 && r->n_samples == 1 ? 65535 : 255;
    const double scaled = nearbyint((double)value / (double)r->maximum * top);
    return scaled > 255 ? 255 : (uint8_t)scaled;
}

static tkr_status read_plain(reader *r, tkr_decoding *d, tkr_error *error) {
    for (size_t i = 0; i < d->width * d->height; i++) {
        for (size_t c = 0; c < r->n_samples; c++) {
            uint64_t value = 0;
            if (r->bits) {
                skip_space(r);
                if (r->at == r->end) return truncated(error);
                value = (uint64_t)(*r->at++ - '0');
            } else if (!read_number(&value, r)) {
                return r->at == r->end ? truncated(error) : TKR_FAIL(error, FORMAT, "damaged PNM: not a number");
            }
            if (value > r->maximum) {
                return TKR_FAIL(error, FORMAT, "damaged PNM: a sample over the maximum of %u", r->maximum);
            }
            d->out[3 * i + c] = r->bits ? (value ? 0 : 255) : scale(value, r);
        }
        if (r->n_samples == 1) d->out[3 * i + 1] = d->out[3 * i + 2] = d->out[3 * i];
    }
    return TKR_OK;
}

static void convert(uint8_t *rgb, const uint8_t *row, size_t n, const reader *r) {
    const size_t step = r->maximum > 255 ? 2 : 1;
    for (size_t i = 0; i < n; i++) {
        for (size_t c = 0; c < r->n_samples; c++) {
            const uint8_t *at = row + (i * r->n_samples + c) * step;
            rgb[3 * i + c] = scale(step == 2 ? (uint64_t)at[0] << 8 | at[1] : at[0], r);
        }
        if (r->n_samples == 1) rgb[3 * i + 1] = rgb[3 * i + 2] = rgb[3 * i];
    }
}

static tkr_status read_raw(reader *r, tkr_decoding *d, tkr_error *error) {
    const size_t bits = r->bits ? 1 : r->maximum > 255 ? 16 : 8;
    const size_t stride = (d->width * r->n_samples * bits + 7) / 8;
    for (size_t y = 0; y < d->height; y++, r->at += stride) {
        uint8_t *rgb = d->out + y * d->width * 3;
        if ((size_t)(r->end - r->at) < stride) return truncated(error);
        if (r->bits) {
            for (size_t x = 0; x < d->width; x++) {
                memset(rgb + 3 * x, (r->at[x / 8] >> (7 - x % 8) & 1) != 0 ? 0 : 255, 3);
            }
        } else if (r->maximum == 255 && r->n_samples == 3) {
            memcpy(rgb, r->at, stride);
        } else if (r->maximum == 255) {
            tkr_rgb_from_gray(rgb, r->at, d->width);
        } else {
            convert(rgb, r->at, d->width, r);
        }
    }
    return TKR_OK;
}

tkr_status tkr_decode_pnm(tkr_decoding *d, tkr_error *error) {
    reader r = {.at = d->bytes, .end = d->bytes + d->n_bytes};
    const tkr_status status = read_header(&r, d, error);
    if (status != TKR_OK) return status;
    return r.plain ? read_plain(&r, d, error) : read_raw(&r, d, error);
}
