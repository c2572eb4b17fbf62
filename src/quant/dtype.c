/* SPDX-License-Identifier: Apache-2.0 */
/* quant/dtype: conversion of stored numbers to f32 and to int8. Loops are branch-free so that the compiler vectorises
 * them; nothing here depends on the flush-to-zero mode that a host may have set. */
#include "quant/dtype.h"

#include <float.h>
#include <string.h>

#include "quant/bits.h"

size_t tkr_dtype_size(tkr_dtype dtype) {
    static const uint8_t sizes[] = {
#define TKR_X(name, block, bytes, text, class) bytes,
        TKR_DTYPE_LIST(TKR_X)
#undef TKR_X
    };
    return (unsigned)dtype < TKR_DTYPE_COUNT ? sizes[dtype] : 0;
}

size_t tkr_dtype_block(tkr_dtype dtype) {
    static const uint16_t blocks[] = {
#define TKR_X(name, block, bytes, text, class) block,
        TKR_DTYPE_LIST(TKR_X)
#undef TKR_X
    };
    return (unsigned)dtype < TKR_DTYPE_COUNT ? blocks[dtype] : 0;
}

int tkr_dtype_class(tkr_dtype dtype) {
    static const uint8_t classes[] = {
#define TKR_X(name, block, bytes, text, class) class,
        TKR_DTYPE_LIST(TKR_X)
#undef TKR_X
    };
    return (unsigned)dtype < TKR_DTYPE_COUNT ? classes[dtype] : 0;
}

const char *tkr_dtype_name(tkr_dtype dtype) {
    static const char *const names[] = {
#define TKR_X(name, block, bytes, text, class) text,
        TKR_DTYPE_LIST(TKR_X)
#undef TKR_X
    };
    return (unsigned)dtype < TKR_DTYPE_COUNT ? names[dtype] : "unknown";
}

tkr_dtype tkr_dtype_parse(const char *name, size_t n) {
    for (int i = 0; i < TKR_DTYPE_COUNT; i++) {
        const char *text = tkr_dtype_name((tkr_dtype)i);
        if (tkr_dtype_class((tkr_dtype)i) != 2 && strlen(text) == n && memcmp(text, name, n) == 0) return (tkr_dtype)i;
    }
    return TKR_DTYPE_COUNT;
}

uint16_t tkr_f32_to_bf16(float f) {
    const uint32_t u = tkr_bits_of(f);
    const uint32_t rounded = (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
    const uint32_t quiet = u >> 16 | 0x40u; /* keeps a NaN whose payload sits in the lost half from becoming infinity */
    return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

static void widen_bf16(float *restrict out, const uint8_t *restrict in, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, in + 2 * i, 2);
        const uint32_t u = (uint32_t)h << 16;
        memcpy(out + i, &u, 4);
    }
}

static void widen_f16(float *restrict out, const uint8_t *restrict in, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, in + 2 * i, 2);
        const uint32_t u = tkr_widen_f16_bits(h);
        memcpy(out + i, &u, 4);
    }
}

void tkr_widen(float *out, const void *in, tkr_dtype dtype, size_t n) {
    if (n == 0) return; /* memcpy takes no NULL, whatever the size */
    if (dtype == TKR_DTYPE_F32) memcpy(out, in, n * sizeof *out);
    if (dtype == TKR_DTYPE_BF16) widen_bf16(out, in, n);
    if (dtype == TKR_DTYPE_F16) widen_f16(out, in, n);
}

void tkr_quantize_s8_row(int8_t *q, float *scale, const float *w, size_t n) {
    /* Magnitudes of finite floats order like their bits, which vectorises where a float maximum would not. */
    int32_t max_bits = 0;
    for (size_t i = 0; i < n; i++) {
        const int32_t bits = (int32_t)(tkr_bits_of(w[i]) & 0x7fffffffu);
        max_bits = bits > max_bits ? bits : max_bits;
    }
    const float ratio = tkr_float_of((uint32_t)max_bits) / 127.0f;
    const float s = ratio >= FLT_MIN ? ratio : 1.0f; /* see the header: such a row is all zero */
    /* Adding 1.5 * 2^23 rounds |x| <= 127 half to even and leaves the integer in the low byte. */
    const float shift = 12582912.0f;
    for (size_t i = 0; i < n; i++) q[i] = (int8_t)(uint8_t)(tkr_bits_of(w[i] / s + shift) & 0xffu);
    *scale = s;
}

int tkr_all_finite(const float *x, size_t n) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) bad |= (tkr_bits_of(x[i]) & 0x7f800000u) == 0x7f800000u;
    return bad == 0;
}
