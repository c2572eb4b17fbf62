/* SPDX-License-Identifier: Apache-2.0 */
/* decode/bmp: Windows and OS/2 bitmaps: 1 to 32 bits, bit fields, run lengths. Refuses embedded JPEG and PNG. */
#include <string.h>

#include "core/mem.h"
#include "decode/decode.h"
#include "decode/pixels.h"

enum { RAW = 0, RLE8 = 1, RLE4 = 2, BITFIELDS = 3 };

typedef struct reader {
    const uint8_t *bytes;
    size_t n_bytes;
    size_t header_size;
    unsigned bits;
    uint32_t compression, n_colours;
    bool top_down, has_alpha;
    uint32_t masks[4]; /* red, green, blue, alpha */
    size_t position;   /* behind what was read so far */
    size_t data;       /* where the pixels begin */
    tkr_palette palette;
} reader;

static uint32_t word(const uint8_t *at) { return (uint32_t)at[0] | (uint32_t)at[1] << 8; }
static uint32_t dword(const uint8_t *at) { return word(at) | word(at + 2) << 16; }

static tkr_status truncated(tkr_error *error) { return TKR_FAIL(error, FORMAT, "the BMP data ends too early"); }

/* ---- header ---- */

static bool header_is_known(size_t size) {
    static const uint8_t known[] = {12, 40, 52, 56, 64, 108, 124};
    return memchr(known, (int)size, sizeof known) != NULL && size < 256;
}

static tkr_status read_info(reader *r, tkr_decoding *d, tkr_error *error) {
    if (r->n_bytes < 18) return truncated(error);
    const uint8_t *info = r->bytes + 14;
    r->header_size = dword(info);
    if (!header_is_known(r->header_size)) {
        return TKR_FAIL(error, UNSUPPORTED, "a BMP header of %zu bytes", r->header_size);
    }
    if (r->n_bytes < 14 + r->header_size) return truncated(error);
    uint32_t width, height;
    if (r->header_size == 12) {
        width = word(info + 4);
        height = word(info + 6);
        r->bits = word(info + 10);
    } else {
        width = dword(info + 4);
        height = dword(info + 8);
        r->top_down = info[11] == 0xff;
        if (r->top_down) height = 0 - height;
        r->bits = word(info + 14);
        r->compression = dword(info + 16);
        r->n_colours = dword(info + 32);
    }
    r->position = 14 + r->header_size;
    return tkr_decode_size(d, width, height, error);
}

/* The byte of a pixel that a mask selects; -1: the mask isn't one whole byte. */
static int byte_of(uint32_t mask) {
    for (int i = 0; i < 4; i++) {
        if (mask == UINT32_C(0xff) << (8 * i)) return i;
    }
    return -1;
}

static tkr_status read_masks(reader *r, tkr_error *error) {
    static const uint32_t bgra[4] = {0xff0000, 0xff00, 0xff, 0xff000000};
    memcpy(r->masks, bgra, sizeof bgra);
    if (r->compression != BITFIELDS) return TKR_OK;
    const size_t n = r->header_size >= 56 ? 4 : 3;
    const uint8_t *at = r->bytes + 14 + 40; /* inside of a longer header, behind a short one */
    if (r->header_size == 40) r->position += 12;
    if (r->n_bytes < 14 + 40 + 4 * n) return truncated(error);
    r->masks[3] = 0;
    for (size_t i = 0; i < n; i++) r->masks[i] = dword(at + 4 * i);
    const uint32_t *m = r->masks;
    if (r->bits == 32) {
        if ((m[0] | m[1] | m[2] | m[3]) == 0) memcpy(r->masks, bgra, sizeof bgra);
        r->has_alpha = m[3] != 0;
        if (byte_of(m[0]) >= 0 && byte_of(m[1]) >= 0 && byte_of(m[2]) >= 0 && (m[3] == 0 || byte_of(m[3]) >= 0)) {
            return TKR_OK;
        }
    } else if ((r->bits == 24 && m[0] == 0xff0000 && m[1] == 0xff00 && m[2] == 0xff) ||
               (r->bits == 16 && m[0] == 0xf800 && m[1] == 0x7e0 && m[2] == 0x1f) ||
               (r->bits == 16 && m[0] == 0x7c00 && m[1] == 0x3e0 && m[2] == 0x1f)) {
        return TKR_OK;
    }
    return TKR_FAIL(error, UNSUPPORTED, "a BMP of %u bits with masks %08x %08x %08x %08x", r->bits, m[0], m[1], m[2],
                    m[3]);
}

static tkr_status read_palette(reader *r, tkr_error *error) {
    const size_t step = r->header_size == 12 ? 3 : 4;
    if (r->n_colours > 65536) return TKR_FAIL(error, FORMAT, "damaged BMP: a palette of %u colours", r->n_colours);
    size_t i = 0;
    for (; i < r->n_colours && i < 256 && r->position + step * (i + 1) <= r->n_bytes; i++) {
        const uint8_t *bgr = r->bytes + r->position + step * i;
        const uint8_t rgb[3] = {bgr[2], bgr[1], bgr[0]};
        memcpy(r->palette.rgb[i], rgb, 3);
    }
    tkr_palette_complete(&r->palette, i);
    r->position += step * r->n_colours;
    return TKR_OK;
}

static tkr_status read_header(reader *r, tkr_decoding *d, tkr_error *error) {
    tkr_status status = read_info(r, d, error);
    if (status != TKR_OK) return status;
    const bool indexed = r->bits == 1 || r->bits == 4 || r->bits == 8;
    if (!indexed && r->bits != 16 && r->bits != 24 && r->bits != 32) {
        return TKR_FAIL(error, UNSUPPORTED, "a BMP of %u bits a pixel", r->bits);
    }
    const bool runs = (r->compression == RLE8 && r->bits == 8) || (r->compression == RLE4 && r->bits == 4);
    if (r->compression != RAW && r->compression != BITFIELDS && !runs) {
        return TKR_FAIL(error, UNSUPPORTED, "a BMP of %u bits with compression %u", r->bits, r->compression);
    }
    if (r->n_colours == 0 && indexed) r->n_colours = 1u << r->bits;
    r->data = dword(r->bytes + 10);
    if (r->data == 14 + r->header_size && indexed) { /* some writers forget the palette here */
        r->data += (r->header_size == 12 ? 3 : 4) * (size_t)r->n_colours;
    }
    status = read_masks(r, error);
    if (status == TKR_OK && indexed) status = read_palette(r, error);
    if (r->data == 0) r->data = r->position;
    return status;
}

/* ---- pixels ---- */

static void row_16(uint8_t *rgb, const uint8_t *row, size_t n, const reader *r) {
    const bool six = r->masks[1] == 0x7e0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t p = word(row + 2 * i);
        rgb[3 * i] = (uint8_t)((p >> (six ? 11 : 10) & 31) * 255 / 31);
        rgb[3 * i + 1] = (uint8_t)(six ? (p >> 5 & 63) * 255 / 63 : (p >> 5 & 31) * 255 / 31);
        rgb[3 * i + 2] = (uint8_t)((p & 31) * 255 / 31);
    }
}

static void row_32(uint8_t *rgb, const uint8_t *row, size_t n, const reader *r, bool on_white) {
    const int at[3] = {byte_of(r->masks[0]), byte_of(r->masks[1]), byte_of(r->masks[2])};
    const int alpha = r->has_alpha ? byte_of(r->masks[3]) : -1;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = row + 4 * i;
        const uint8_t rgba[4] = {p[at[0]], p[at[1]], p[at[2]], alpha < 0 ? 255 : p[alpha]};
        if (on_white && alpha >= 0) {
            tkr_rgb_from_rgba_on_white(rgb + 3 * i, rgba, 1);
        } else {
            memcpy(rgb + 3 * i, rgba, 3);
        }
    }
}

static void convert(uint8_t *rgb, const uint8_t *row, const reader *r, const tkr_decoding *d) {
    uint8_t index[256];
    switch (r->bits) {
    case 16: row_16(rgb, row, d->width, r); break;
    case 24:
        for (size_t i = 0; i < d->width; i++) {
            rgb[3 * i] = row[3 * i + 2];
            rgb[3 * i + 1] = row[3 * i + 1];
            rgb[3 * i + 2] = row[3 * i];
        }
        break;
    case 32: row_32(rgb, row, d->width, r, d->on_white); break;
    default:
        for (size_t x = 0; x < d->width; x += sizeof index) {
            const size_t n = d->width - x < sizeof index ? d->width - x : sizeof index;
            tkr_unpack_bits(index, row + x * r->bits / 8, n, r->bits);
            tkr_rgb_from_palette(rgb + 3 * x, index, n, &r->palette);
        }
        break;
    }
}

static uint8_t *row_at(const tkr_decoding *d, const reader *r, size_t y) {
    return d->out + (r->top_down ? y : d->height - 1 - y) * d->width * 3;
}

static tkr_status read_raw(reader *r, tkr_decoding *d, tkr_error *error) {
    const size_t used = (d->width * r->bits + 7) / 8, stride = (d->width * r->bits + 31) / 32 * 4;
    for (size_t y = 0; y < d->height; y++) {
        const size_t at = r->data + y * stride;
        if (at > r->n_bytes || r->n_bytes - at < used) return truncated(error);
        convert(row_at(d, r, y), r->bytes + at, r, d);
    }
    return TKR_OK;
}

/* Up to n nibbles or bytes of a run; false when the data has ended. */
static bool copy_run(uint8_t *out, size_t n, reader *r) {
    const size_t n_bytes = r->bits == 4 ? (n + 1) / 2 : n;
    if (r->n_bytes - r->data < n_bytes) return false;
    tkr_unpack_bits(out, r->bytes + r->data, n, r->bits);
    r->data += n_bytes;
    return true;
}

/* Indices of all pixels, rows without gaps; what the runs leave out is missing. Returns how many there are. */
static size_t read_runs(uint8_t *index, reader *r, size_t width, size_t total) {
    size_t n = 0, x = 0;
    while (n < total && r->data <= r->n_bytes && r->n_bytes - r->data >= 2) {
        const unsigned count = r->bytes[r->data], value = r->bytes[r->data + 1];
        r->data += 2;
        if (count > 0) {
            size_t run = x + count > width ? (x < width ? width - x : 0) : count;
            if (run > total - n) run = total - n;
            for (size_t i = 0; i < run; i++) {
                index[n++] = (uint8_t)(r->bits == 8 ? value : i % 2 == 0 ? value >> 4 : value & 15);
            }
            x += run;
        } else if (value == 0) {
            while (n % width != 0) index[n++] = 0;
            x = 0;
        } else if (value == 1) {
            break;
        } else if (value == 2) {
            if (r->n_bytes - r->data < 2) break;
            size_t skipped = r->bytes[r->data] + r->bytes[r->data + 1] * width;
            r->data += 2;
            if (skipped > total - n) skipped = total - n;
            memset(index + n, 0, skipped);
            n += skipped;
            x = n % width;
        } else {
            const size_t run = value < total - n ? value : total - n;
            if (!copy_run(index + n, run, r)) break;
            n += run;
            x += value;
            if (r->data % 2 != 0) r->data++;
        }
    }
    return n;
}

static tkr_status read_compressed(reader *r, tkr_decoding *d, tkr_error *error) {
    const size_t total = d->width * d->height;
    tkr_status status;
    uint8_t *index = tkr_decode_alloc(&status, total, 1, error);
    if (!index) return status;
    if (read_runs(index, r, d->width, total) == total) {
        for (size_t y = 0; y < d->height; y++) {
            tkr_rgb_from_palette(row_at(d, r, y), index + y * d->width, d->width, &r->palette);
        }
    } else {
        status = truncated(error);
    }
    tkr_free(index);
    return status;
}

tkr_status tkr_decode_bmp(tkr_decoding *d, tkr_error *error) {
    reader r = {.bytes = d->bytes, .n_bytes = d->n_bytes};
    const tkr_status status = read_header(&r, d, error);
    if (status != TKR_OK) return status;
    if (r.compression == RLE8 || r.compression == RLE4) return read_compressed(&r, d, error);
    return read_raw(&r, d, error);
}
