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

tkr_status tkr_base64_decode(tkr_buf *out, const char *text, size_t size, tkr_error *error) {
    uint32_t bits = 0;
    unsigned n_bits = 0;
    bool ended = false;
    if (!tkr_buf_reserve(out, size / 4 * 3 + 3)) return TKR_FAIL(error, NO_MEMORY, "no memory for %zu bytes", size);
    for (size_t i = 0; i < size; i++) {
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
    for (size_t i = 0; i < size; i += 3) {
        const uint32_t second = i + 1 < size ? in[i + 1] : 0, third = i + 2 < size ? in[i + 2] : 0;
        const uint32_t bits = (uint32_t)in[i] << 16 | second << 8 | third;
        out->data[out->size++] = alphabet[bits >> 18];
        out->data[out->size++] = alphabet[bits >> 12 & 63];
        out->data[out->size++] = i + 1 < size ? alphabet[bits >> 6 & 63] : '=';
        out->data[out->size++] = i + 2 < size ? alphabet[bits & 63] : '=';
    }
    out->data[out->size] = '\0';
    return true;
}
