/* SPDX-License-Identifier: Apache-2.0 */
/* server/encode: one vector into the bytes or the text of a reply. */
#include "server/encode.h"

#include <string.h>

#include "core/base64.h"
#include "core/half.h"
#include "core/json.h"
#include "core/npy.h"

static const char *const names[TKR_N_WIRE_TYPES] = {"float", "float16", "int8", "uint8", "binary", "ubinary"};

const char *tkr_wire_type_name(tkr_wire_type type) { return names[type]; }

bool tkr_wire_type_parse(tkr_wire_type *type, const char *word) {
    for (size_t i = 0; i < TKR_N_WIRE_TYPES; i++) {
        if (strcmp(word, names[i]) == 0) {
            *type = (tkr_wire_type)i;
            return true;
        }
    }
    if (strcmp(word, "float32") == 0) {
        *type = TKR_WIRE_FLOAT;
        return true;
    }
    return false;
}

size_t tkr_wire_bytes(tkr_wire_type type, size_t n) {
    switch (type) {
    case TKR_WIRE_FLOAT: return 4 * n;
    case TKR_WIRE_FLOAT16: return 2 * n;
    case TKR_WIRE_BINARY:
    case TKR_WIRE_UBINARY: return n / 8 + (n % 8 > 0);
    default: return n;
    }
}

/* ---- values ---- */

/* Never infinity, which JSON has not: at most 65504. */
static uint16_t half_of(float value) {
    const float most = 65504.0f;
    return tkr_f32_to_f16(value > most ? most : value < -most ? -most : value);
}

/* 127 times the value to nearest even, by adding a number whose last bit is worth 1. */
static int int8_of(float value) {
    float scaled = value * 127.0f;
    scaled = scaled > 127.0f ? 127.0f : scaled < -127.0f ? -127.0f : scaled;
    return (int)((scaled + 12582912.0f) - 12582912.0f);
}

static unsigned eight_bits(const float *values, size_t n) {
    unsigned bits = 0;
    for (size_t i = 0; i < 8; i++) {
        bits = bits << 1 | (i < n && values[i] > 0.0f);
    }
    return bits;
}

void tkr_wire_pack(void *out, tkr_wire_type type, const float *values, size_t n) {
    unsigned char *to = out;
    switch (type) {
    case TKR_WIRE_FLOAT:
        for (size_t i = 0; i < n; i++, to += 4) { /* one move where bytes are in this order */
            const uint32_t bits = tkr_bits_of(values[i]);
            to[0] = (unsigned char)(bits & 0xFF);
            to[1] = (unsigned char)(bits >> 8 & 0xFF);
            to[2] = (unsigned char)(bits >> 16 & 0xFF);
            to[3] = (unsigned char)(bits >> 24);
        }
        return;
    case TKR_WIRE_FLOAT16:
        for (size_t i = 0; i < n; i++, to += 2) {
            const unsigned half = half_of(values[i]);
            to[0] = (unsigned char)(half & 0xFF);
            to[1] = (unsigned char)(half >> 8);
        }
        return;
    case TKR_WIRE_INT8:
        for (size_t i = 0; i < n; i++) {
            to[i] = (unsigned char)(int8_of(values[i]) & 0xFF);
        }
        return;
    case TKR_WIRE_UINT8:
        for (size_t i = 0; i < n; i++) {
            to[i] = (unsigned char)(int8_of(values[i]) + 128);
        }
        return;
    default:
        for (size_t i = 0; i < n; i += 8) {
            const unsigned bits = eight_bits(values + i, n - i);
            *to++ = (unsigned char)(type == TKR_WIRE_BINARY ? bits ^ 0x80u : bits);
        }
        return;
    }
}

/* ---- JSON ---- */

/* A small whole number, -128 to 255; at most 4 characters. */
static size_t put_integer(char *out, int value) {
    char *at = out;
    unsigned size = (unsigned)(value < 0 ? -value : value);
    if (value < 0) {
        *at++ = '-';
    }
    if (size >= 100) {
        *at++ = (char)('0' + size / 100);
    }
    if (size >= 10) {
        *at++ = (char)('0' + size / 10 % 10);
    }
    *at++ = (char)('0' + size % 10);
    return (size_t)(at - out);
}

static int integer_at(tkr_wire_type type, const float *values, size_t i, size_t n) {
    switch (type) {
    case TKR_WIRE_INT8: return int8_of(values[i]);
    case TKR_WIRE_UINT8: return int8_of(values[i]) + 128;
    case TKR_WIRE_UBINARY: return (int)eight_bits(values + 8 * i, n - 8 * i);
    default: return (int)eight_bits(values + 8 * i, n - 8 * i) - 128;
    }
}

bool tkr_put_json_vector(tkr_buf *out, tkr_wire_type type, const float *values, size_t n) {
    enum { LONGEST = 17 }; /* sixteen characters of a float and a comma */
    const bool real = type == TKR_WIRE_FLOAT || type == TKR_WIRE_FLOAT16;
    const size_t count = real ? n : tkr_wire_bytes(type, n);
    size_t room = 0;
    if (!tkr_mul_size(&room, count, LONGEST) || !tkr_add_size(&room, room, TKR_JSON_FLOAT_ROOM + 2) ||
        !tkr_buf_reserve(out, room)) {
        out->failed = true;
        return false;
    }
    char *at = out->data + out->size;
    *at++ = '[';
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            *at++ = ',';
        }
        if (!real) {
            at += put_integer(at, integer_at(type, values, i, n));
            continue;
        }
        const size_t put =
            tkr_json_put_float(at, type == TKR_WIRE_FLOAT ? values[i] : tkr_f16_to_f32(half_of(values[i])));
        if (put == 0) { /* JSON has neither NaN nor infinity; who got here should have refused them */
            out->failed = true;
            return false;
        }
        at += put;
    }
    *at++ = ']';
    *at = '\0';
    out->size = (size_t)(at - out->data);
    return true;
}

bool tkr_put_base64_vector(tkr_buf *out, tkr_wire_type type, const float *values, size_t n) {
    enum { PIECE = 768 }; /* values at a time: whole bytes and whole groups of three */
    unsigned char bytes[4 * PIECE];
    bool good = tkr_buf_reserve(out, tkr_wire_bytes(type, n) / 3 * 4 + 8) && tkr_buf_putc(out, '"');
    for (size_t at = 0; good && at < n; at += PIECE) {
        const size_t some = n - at < PIECE ? n - at : PIECE;
        tkr_wire_pack(bytes, type, values + at, some);
        good = tkr_base64_encode(out, bytes, tkr_wire_bytes(type, some));
    }
    return good && tkr_buf_putc(out, '"');
}

bool tkr_put_npy_header(tkr_buf *out, tkr_wire_type type, size_t n_rows, size_t n) {
    static const char *const types[TKR_N_WIRE_TYPES] = {"<f4", "<f2", "|i1", "|u1", "|i1", "|u1"};
    const size_t columns = type >= TKR_WIRE_BINARY ? tkr_wire_bytes(type, n) : n;
    char header[TKR_NPY_HEADER];
    tkr_npy_header(header, types[type], n_rows, columns);
    return tkr_buf_append(out, header, sizeof header);
}
