/* SPDX-License-Identifier: Apache-2.0 */
/* decode/gif: the first frame of a GIF on its canvas; nothing behind it is read. LZW codes have at most 12 bits. */
#include <string.h>

#include "core/mem.h"
#include "decode/decode.h"
#include "decode/pixels.h"

enum { MAX_CODES = 4096, MAX_BITS = 12, NO_COLOUR = -1 };

typedef struct reader {
    const uint8_t *at, *end;
    /* of the first frame */
    tkr_palette palette;
    int transparent; /* index or NO_COLOUR */
    size_t x, y, width, height;
    bool interlaced;
    unsigned code_bits; /* of a pixel */
} reader;

/* Blocks of at most 255 bytes hold codes, least significant bit first. */
typedef struct codes {
    const uint8_t *at, *end;
    unsigned left_in_block, n_bits;
    uint32_t bits;
} codes;

typedef struct table {
    uint16_t prefix[MAX_CODES];
    uint8_t last[MAX_CODES];
    uint8_t stack[MAX_CODES + 1];
} table;

static tkr_status truncated(tkr_error *error) { return TKR_FAIL(error, FORMAT, "the GIF data ends too early"); }

static size_t left(const reader *r) { return (size_t)(r->end - r->at); }
static size_t word(const uint8_t *at) { return (size_t)at[0] | (size_t)at[1] << 8; }

/* ---- before the pixels ---- */

/* flags bit 7: there is a table of 2 << (flags & 7) colours. */
static bool read_palette(reader *r, unsigned flags) {
    if ((flags & 0x80) == 0) return true;
    const size_t n = (size_t)2 << (flags & 7);
    if (left(r) < n * 3) return false;
    memcpy(r->palette.rgb, r->at, n * 3);
    tkr_palette_complete(&r->palette, n);
    r->at += n * 3;
    return true;
}

/* Passes over blocks up to the empty one; *first is the first (NULL: none), its size in front of it. */
static bool skip_blocks(reader *r, const uint8_t **first) {
    *first = NULL;
    for (;;) {
        if (left(r) < 1) return false;
        const size_t n = *r->at;
        if (left(r) < n + 1) return false;
        if (n == 0) {
            r->at++;
            return true;
        }
        if (!*first) *first = r->at;
        r->at += n + 1;
    }
}

static bool read_extension(reader *r) {
    const uint8_t *first;
    if (left(r) < 1) return false;
    const unsigned label = *r->at++;
    if (!skip_blocks(r, &first)) return false;
    if (label == 0xf9 && first && first[0] >= 4 && (first[1] & 1) != 0) r->transparent = first[4];
    return true;
}

/* Up to the first code of the first frame. */
static tkr_status find_frame(reader *r, tkr_decoding *d, tkr_error *error) {
    if (left(r) < 13) return truncated(error);
    size_t width = word(r->at + 6), height = word(r->at + 8);
    const unsigned screen_flags = r->at[10];
    r->at += 13;
    tkr_palette_gray(&r->palette);
    if (!read_palette(r, screen_flags)) return truncated(error);
    for (;;) {
        if (left(r) < 1 || *r->at == ';') return TKR_FAIL(error, FORMAT, "the GIF has no frame");
        const uint8_t kind = *r->at++;
        if (kind == '!' && !read_extension(r)) return truncated(error);
        if (kind == ',') break;
    }
    if (left(r) < 10) return truncated(error);
    r->x = word(r->at);
    r->y = word(r->at + 2);
    r->width = word(r->at + 4);
    r->height = word(r->at + 6);
    const unsigned flags = r->at[8];
    r->interlaced = (flags & 0x40) != 0;
    r->at += 9;
    if (!read_palette(r, flags) || left(r) < 1) return truncated(error);
    r->code_bits = *r->at++;
    if (r->width == 0 || r->height == 0) return TKR_FAIL(error, FORMAT, "the GIF's first frame has no pixels");
    if (r->code_bits >= MAX_BITS) {
        return TKR_FAIL(error, FORMAT, "damaged GIF: pixels of %u bits, at most %d", r->code_bits, MAX_BITS - 1);
    }
    if (r->x + r->width > width) width = r->x + r->width;
    if (r->y + r->height > height) height = r->y + r->height;
    return tkr_decode_size(d, width, height, error);
}

/* ---- pixels ---- */

/* false when the data has ended. */
static bool next_code(unsigned *code, codes *c, unsigned n_bits) {
    while (c->n_bits < n_bits) {
        if (c->left_in_block == 0) {
            if (c->at == c->end || (size_t)(c->end - c->at) < (size_t)*c->at + 1) return false;
            c->left_in_block = *c->at++;
            if (c->left_in_block == 0) return false;
        }
        c->bits |= (uint32_t)*c->at++ << c->n_bits;
        c->left_in_block--;
        c->n_bits += 8;
    }
    *code = c->bits & ((1u << n_bits) - 1);
    c->bits >>= n_bits;
    c->n_bits -= n_bits;
    return true;
}

/* Where the pixels go. */
typedef struct sink {
    const reader *r;
    tkr_decoding *d;
    size_t x, y;
    unsigned pass; /* of an interlaced frame */
    bool full;
} sink;

static void next_row(sink *s) {
    static const uint8_t first[] = {0, 4, 2, 1}, step[] = {8, 8, 4, 2};
    s->x = 0;
    if (!s->r->interlaced) {
        s->full = ++s->y == s->r->height;
        return;
    }
    s->y += step[s->pass];
    while (s->y >= s->r->height && ++s->pass < 4) s->y = first[s->pass];
    s->full = s->pass >= 4;
}

static void put(sink *s, uint8_t index) {
    if (s->full) return;
    const size_t at = (s->r->y + s->y) * s->d->width + s->r->x + s->x;
    memcpy(s->d->out + at * 3, s->r->palette.rgb[index], 3);
    if (++s->x == s->r->width) next_row(s);
}

/* The string of a code, first index last on the stack. Returns its length, 0 for a code that isn't there. */
static size_t expand(table *t, unsigned code, unsigned clear, unsigned next, unsigned previous, uint8_t first) {
    size_t n = 0;
    if (code > next || (code == next && previous == MAX_CODES)) return 0;
    if (code == next) { /* the string being made: the previous one and its own first index */
        t->stack[n++] = first;
        code = previous;
    }
    while (code >= clear + 2) {
        if (n >= MAX_CODES) return 0;
        t->stack[n++] = t->last[code];
        code = t->prefix[code];
    }
    if (code >= clear) return 0;
    t->stack[n++] = (uint8_t)code;
    return n;
}

static tkr_status read_pixels(const reader *r, tkr_decoding *d, table *t, tkr_error *error) {
    codes c = {.at = r->at, .end = r->end};
    sink s = {.r = r, .d = d};
    const unsigned clear = 1u << r->code_bits, stop = clear + 1;
    unsigned n_bits = r->code_bits + 1, next = clear + 2, previous = MAX_CODES, code;
    uint8_t first = 0;
    while (!s.full) {
        if (!next_code(&code, &c, n_bits) || code == stop) return truncated(error);
        if (code == clear) {
            n_bits = r->code_bits + 1;
            next = clear + 2;
            previous = MAX_CODES;
            continue;
        }
        size_t n = previous == MAX_CODES && code > clear ? 0 : expand(t, code, clear, next, previous, first);
        if (n == 0) return TKR_FAIL(error, FORMAT, "damaged GIF: a code without a meaning");
        first = t->stack[n - 1];
        if (previous != MAX_CODES && next < MAX_CODES) {
            t->prefix[next] = (uint16_t)previous;
            t->last[next] = first;
            if (next == (1u << n_bits) - 1 && n_bits < MAX_BITS) n_bits++;
            next++;
        }
        previous = code;
        while (n > 0) put(&s, t->stack[--n]);
    }
    return TKR_OK;
}

tkr_status tkr_decode_gif(tkr_decoding *d, tkr_error *error) {
    reader r = {.at = d->bytes, .end = d->bytes + d->n_bytes, .transparent = NO_COLOUR};
    tkr_status status = find_frame(&r, d, error);
    if (status != TKR_OK) return status;
    table *t = tkr_decode_alloc(&status, 1, sizeof *t, error);
    if (!t) return status;
    if (r.width != d->width || r.height != d->height) { /* the canvas around the frame */
        const uint8_t *colour = r.palette.rgb[r.transparent == NO_COLOUR ? 0 : r.transparent];
        for (size_t i = 0; i < d->width * d->height; i++) memcpy(d->out + 3 * i, colour, 3);
    }
    status = read_pixels(&r, d, t, error);
    tkr_free(t);
    return status;
}
