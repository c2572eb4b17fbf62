/* SPDX-License-Identifier: Apache-2.0 */
/* core/base64: six bits a character, four characters for three bytes. */
#include "core/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum { SKIP = 64, END = 65, BAD = 66 };

static unsigned value_of(unsigned char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26u;
    if (c >= '0' && c <= '9') return c - '0' + 52u;
    if (c == '+' || c == '-') return 62;
    if (c == '/' || c == '_') return 63;
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n') return SKIP;
    return c == '=' ? END : BAD;
}

/* Whole groups of four plain characters, from text[*at]: the usual case, without a decision a character. Returns the
 * end of what was written. */
static char *decode_groups(char *to, const char *text, size_t size, size_t *at) {
    unsigned char values[256];
    for (unsigned c = 0; c < 256; c++) {
        values[c] = (unsigned char)value_of((unsigned char)c);
    }
    const unsigned char *in = (const unsigned char *)text;
    size_t i = *at;
    for (; i + 4 <= size; i += 4, to += 3) {
        const uint32_t a = values[in[i]], b = values[in[i + 1]], c = values[in[i + 2]], d = values[in[i + 3]];
        if ((a | b | c | d) >= SKIP) break;
        const uint32_t bits = a << 18 | b << 12 | c << 6 | d;
        to[0] = (char)(bits >> 16 & 0xFFu);
        to[1] = (char)(bits >> 8 & 0xFFu);
        to[2] = (char)(bits & 0xFFu);
    }
    *at = i;
    return to;
}

tkr_status tkr_base64_decode(tkr_buf *out, const char *text, size_t size, tkr_error *error) {
    uint32_t bits = 0;
    unsigned n_bits = 0;
    bool ended = false;
    if (!tkr_buf_reserve(out, size / 4 * 3 + 3)) return TKR_FAIL(error, NO_MEMORY, "no memory for %zu bytes", size);
    for (size_t i = 0; i < size; i++) {
        if (n_bits == 0 && !ended && size - i >= 64) {
            out->size = (size_t)(decode_groups(out->data + out->size, text, size, &i) - out->data);
            if (i == size) break;
        }
        const unsigned value = value_of((unsigned char)text[i]);
        if (value == SKIP) continue;
        if (value == END) {
            ended = true;
            continue;
        }
        if (value == BAD || ended)
            return TKR_FAIL(error, FORMAT, "base64: byte %zu is 0x%02x, which has no meaning there", i,
                            (unsigned)(unsigned char)text[i]);
        bits = (bits << 6 | value) & 0xFFFFFFu;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            out->data[out->size++] = (char)(bits >> n_bits & 0xFFu);
        }
    }
    if (n_bits >= 6) return TKR_FAIL(error, FORMAT, "base64: the last byte is cut in two");
    out->data[out->size] = '\0';
    return TKR_OK;
}

bool tkr_base64_encode(tkr_buf *out, const void *bytes, size_t size) {
    const unsigned char *in = bytes;
    size_t n = 0;
    if (!tkr_mul_size(&n, size / 3 + 1, 4) || !tkr_buf_reserve(out, n)) return false;
    char *to = out->data + out->size;
    size_t i = 0;
    for (; i + 3 <= size; i += 3, to += 4) {
        const uint32_t bits = (uint32_t)in[i] << 16 | (uint32_t)in[i + 1] << 8 | in[i + 2];
        to[0] = alphabet[bits >> 18];
        to[1] = alphabet[bits >> 12 & 63];
        to[2] = alphabet[bits >> 6 & 63];
        to[3] = alphabet[bits & 63];
    }
    if (i < size) {
        const uint32_t bits = (uint32_t)in[i] << 16 | (i + 1 < size ? (uint32_t)in[i + 1] << 8 : 0);
        to[0] = alphabet[bits >> 18];
        to[1] = alphabet[bits >> 12 & 63];
        to[2] = i + 1 < size ? alphabet[bits >> 6 & 63] : '=';
        to[3] = '=';
        to += 4;
    }
    *to = '\0';
    out->size = (size_t)(to - out->data);
    return true;
}
