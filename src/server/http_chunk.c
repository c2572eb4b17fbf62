/* SPDX-License-Identifier: Apache-2.0 */
/* server/http_chunk: see http_chunk.h. Refuses bare line feeds, signs, blanks and sizes of more than eight digits. */
#include "server/http_chunk.h"

#include "server/http_head.h"

enum { MAX_DIGITS = 8, MAX_EXTRA = 1024 };
enum state {
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER, /* at the start of a line behind the last chunk */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
    DONE
};

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* A byte of the line with a chunk's size: its next state, -1: malformed. */
static int size_byte(tkr_http_chunked *c, char byte) {
    const int value = digit(byte);
    if (value >= 0) {
        if (++c->digits > MAX_DIGITS) return -1;
        c->left = c->left << 4 | (unsigned)value;
        return SIZE;
    }
    if (c->digits == 0) return -1;
    return byte == ';' ? EXTENSION : byte == '\r' ? SIZE_LF : -1;
}

/* Any byte that isn't data. */
static int other_byte(tkr_http_chunked *c, char byte) {
    const bool value = tkr_http_is_value((uint8_t)byte), token = tkr_http_is_token((uint8_t)byte);
    switch ((enum state)c->state) {
    case SIZE: return size_byte(c, byte);
    case EXTENSION: return byte == '\r' ? SIZE_LF : value && ++c->extra <= MAX_EXTRA ? EXTENSION : -1;
    case SIZE_LF: c->digits = 0; return byte != '\n' ? -1 : c->left > 0 ? DATA : TRAILER;
    case DATA_CR: return byte == '\r' ? DATA_LF : -1;
    case DATA_LF: return byte == '\n' ? SIZE : -1;
    case TRAILER: return byte == '\r' ? END_LF : token && ++c->extra <= MAX_EXTRA ? TRAILER_NAME : -1;
    case TRAILER_NAME: return byte == ':' ? TRAILER_VALUE : token && ++c->extra <= MAX_EXTRA ? TRAILER_NAME : -1;
    case TRAILER_VALUE: return byte == '\r' ? TRAILER_LF : value && ++c->extra <= MAX_EXTRA ? TRAILER_VALUE : -1;
    case TRAILER_LF: return byte == '\n' ? TRAILER : -1;
    case END_LF: return byte == '\n' ? DONE : -1;
    case DATA:
    case DONE: break;
    }
    return -1;
}

size_t tkr_http_chunked_read(tkr_http_chunked *c, const char **piece, size_t *n_piece, const char *bytes, size_t n) {
    *piece = bytes;
    *n_piece = 0;
    for (size_t i = 0; i < n; i++) {
        if (c->state == DATA) {
            const size_t size = n - i < c->left ? n - i : (size_t)c->left;
            *piece = bytes + i;
            *n_piece = size;
            c->left -= size;
            if (c->left == 0) c->state = DATA_CR;
            return i + size;
        }
        const int next = other_byte(c, bytes[i]);
        if (next < 0) return SIZE_MAX;
        c->state = (uint8_t)next;
        if (next == DONE) return i + 1;
    }
    return n;
}

bool tkr_http_chunked_done(const tkr_http_chunked *c) { return c->state == DONE; }
