/* SPDX-License-Identifier: Apache-2.0 */
/* quant/mlx_groups: rows of matrices as MLX quantises them: a little-endian stream of codes, and a scale (and bias) for
 * every group of columns. Decoded as mlx.core.dequantize defines it, in f32. */
#include <string.h>

#include "quant/bits.h"
#include "quant/decode.h"

enum { CHUNK = 512 }; /* columns decoded at a time: a multiple of every group size, small enough for the stack and L1 */

/* Eight codes of a constant number of bits lie in that number of bytes, the first in the lowest bits. They are spread
 * to bytes in three steps: four codes to each half of the word, two to each quarter, one to each byte. */
static inline void unpack(uint8_t *restrict codes, const uint8_t *restrict in, size_t n, unsigned bits) {
    const uint64_t one = (UINT64_C(1) << bits) - 1, two = (UINT64_C(1) << (2 * bits)) - 1,
                   four = (UINT64_C(1) << (4 * bits)) - 1;
    const uint64_t halves = two | two << 32, quarters = (one | one << 16) | (one | one << 16) << 32;
    for (size_t i = 0; i < n; i += 8, in += bits) {
        uint64_t word = 0;
        for (unsigned k = 0; k < bits; k++) word |= (uint64_t)in[k] << (8 * k);
        word = (word & four) | (word >> (4 * bits)) << 32;
        word = (word & halves) | (word >> (2 * bits) & halves) << 16;
        word = (word & quarters) | (word >> bits & quarters) << 8;
        memcpy(codes + i, &word, 8);
    }
}

static void unpack2(uint8_t *restrict codes, const uint8_t *restrict in, size_t n) {
    for (size_t i = 0; i < n / 4; i++) {
        codes[4 * i] = in[i] & 3u;
        codes[4 * i + 1] = in[i] >> 2 & 3u;
        codes[4 * i + 2] = in[i] >> 4 & 3u;
        codes[4 * i + 3] = in[i] >> 6;
    }
}

static void unpack4(uint8_t *restrict codes, const uint8_t *restrict in, size_t n) {
    for (size_t i = 0; i < n / 2; i++) {
        codes[2 * i] = in[i] & 15u;
        codes[2 * i + 1] = in[i] >> 4;
    }
}

/* n a multiple of 8. */
static void unpack_codes(uint8_t *codes, const uint8_t *in, size_t n, unsigned bits) {
    switch (bits) {
    case 2: unpack2(codes, in, n); break;
    case 3: unpack(codes, in, n, 3); break;
    case 4: unpack4(codes, in, n); break;
    case 5: unpack(codes, in, n, 5); break;
    case 6: unpack(codes, in, n, 6); break;
    default: memcpy(codes, in, n); break;
    }
}

/* value = code * scale + bias, rounded twice. */
static inline void affine(float *restrict out, const uint8_t *restrict codes, const float *restrict scale,
                          const float *restrict bias, size_t n, size_t group) {
    for (size_t g = 0; g < n / group; g++) {
        const float s = scale[g], b = bias[g];
        for (size_t i = 0; i < group; i++) out[g * group + i] = (float)codes[g * group + i] * s + b;
    }
}

static void affine_row(float *out, const tkr_matrix *m, size_t row) {
    const size_t size = tkr_dtype_size(m->scale_dtype), first = row * (m->cols / m->group_size);
    const uint8_t *in = (const uint8_t *)m->data + row * tkr_matrix_row_bytes(m);
    const uint8_t *scales = (const uint8_t *)m->scales + first * size,
                  *biases = (const uint8_t *)m->biases + first * size;
    uint8_t buffer[CHUNK];
    float scale[CHUNK / 32], bias[CHUNK / 32];
    for (size_t at = 0; at < m->cols; at += CHUNK) {
        const size_t n = m->cols - at < CHUNK ? m->cols - at : CHUNK, n_groups = n / m->group_size;
        const uint8_t *codes = in + at; /* of 8 bits: as they are */
        if (m->bits != 8) {
            unpack_codes(buffer, in + at * m->bits / 8, n, m->bits);
            codes = buffer;
        }
        tkr_widen(scale, scales + at / m->group_size * size, m->scale_dtype, n_groups);
        tkr_widen(bias, biases + at / m->group_size * size, m->scale_dtype, n_groups);
        if (m->group_size == 32) /* constant lengths: no remainder loops */
            affine(out + at, codes, scale, bias, n, 32);
        else if (m->group_size == 64)
            affine(out + at, codes, scale, bias, n, 64);
        else
            affine(out + at, codes, scale, bias, n, 128);
    }
}

/* 2^(scale - 127); 255 is NaN (OCP Microscaling Formats 1.0, E8M0). */
static float widen_e8m0(uint32_t scale) {
    const uint32_t bits = scale == 0 ? 0x00400000u : scale << 23;
    return tkr_float_of(scale == 255 ? 0x7fc00000u : bits);
}

/* OCP E2M1 */
static const float e2m1[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                               -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

static void scale_e4m3(float *restrict out, const uint8_t *restrict in, size_t n, float scale) {
    for (size_t i = 0; i < n; i++) out[i] = tkr_widen_e4m3(in[i]) * scale;
}

static void scale_e2m1(float *restrict out, const uint8_t *restrict in, size_t n, float scale) {
    for (size_t i = 0; i < n / 2; i++) {
        out[2 * i] = e2m1[in[i] & 15u] * scale;
        out[2 * i + 1] = e2m1[in[i] >> 4] * scale;
    }
}

static void float_row(float *out, const tkr_matrix *m, size_t row) {
    const size_t group = m->group_size, n_groups = m->cols / group;
    const uint8_t *in = (const uint8_t *)m->data + row * tkr_matrix_row_bytes(m);
    const uint8_t *scales = (const uint8_t *)m->scales + row * n_groups;
    for (size_t g = 0; g < n_groups; g++, in += group * m->bits / 8, out += group) {
        const float scale = m->mode == TKR_GROUP_NVFP4 ? tkr_widen_e4m3(scales[g]) : widen_e8m0(scales[g]);
        if (m->mode == TKR_GROUP_MXFP8)
            scale_e4m3(out, in, group, scale);
        else
            scale_e2m1(out, in, group, scale);
    }
}

void tkr_groups_row(float *out, const tkr_matrix *m, size_t row) {
    if (m->mode == TKR_GROUP_AFFINE)
        affine_row(out, m, row);
    else
        float_row(out, m, row);
}

void tkr_groups_row_group4(uint8_t *codes, float *scale, float *bias, const tkr_matrix *m, size_t row) {
    const size_t n_groups = m->cols / m->group_size, first = row * n_groups * tkr_dtype_size(m->scale_dtype);
    unpack_codes(codes, (const uint8_t *)m->data + row * tkr_matrix_row_bytes(m), m->cols, m->bits);
    tkr_widen(scale, (const uint8_t *)m->scales + first, m->scale_dtype, n_groups);
    tkr_widen(bias, (const uint8_t *)m->biases + first, m->scale_dtype, n_groups);
}
