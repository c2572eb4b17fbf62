/* SPDX-License-Identifier: Apache-2.0 */
/* quant/gguf_blocks: rows of the block formats of GGUF files, decoded as ggml's reference (ggml-quants.c) defines them:
 * every function takes one block. Products are taken in its order, so that the bits are the same. */
#include <string.h>

#include "quant/bits.h"
#include "quant/decode.h"

enum { SMALL = 32, SUPER = 256 }; /* values of a block */

/* Values of the 4-bit codes of IQ4_NL and IQ4_XS, and of E2M1 doubled. */
static const int8_t nonlinear4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const int8_t doubled_e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static inline void scale_signed(float *restrict out, const int8_t *restrict q, size_t n, float d) {
    for (size_t i = 0; i < n; i++) out[i] = (float)q[i] * d;
}

static inline void scale_minus(float *restrict out, const uint8_t *restrict q, size_t n, float d, float min) {
    for (size_t i = 0; i < n; i++) out[i] = (float)q[i] * d - min;
}

/* n bytes to 2n codes: all low nibbles, then all high ones. */
static inline void split_nibbles(uint8_t *restrict codes, const uint8_t *restrict in, size_t n) {
    for (size_t i = 0; i < n; i++) codes[i] = in[i] & 15u;
    for (size_t i = 0; i < n; i++) codes[n + i] = in[i] >> 4;
}

/* ---- 32 values ---- */

static void q4_0(float *out, const uint8_t *in) {
    uint8_t codes[SMALL];
    int8_t q[SMALL];
    split_nibbles(codes, in + 2, SMALL / 2);
    for (size_t i = 0; i < SMALL; i++) q[i] = (int8_t)(codes[i] - 8);
    scale_signed(out, q, SMALL, tkr_load_f16(in));
}

static void q4_1(float *out, const uint8_t *in) {
    uint8_t codes[SMALL];
    const float d = tkr_load_f16(in), m = tkr_load_f16(in + 2);
    split_nibbles(codes, in + 4, SMALL / 2);
    scale_minus(out, codes, SMALL, d, -m);
}

/* Adds the fifth bits: bit i of four bytes belongs to value i. Eight at a time: the byte in all eight places, of which
 * each keeps its own bit; adding 127 brings it to the top, whichever it was. */
static inline void add_fifth(uint8_t *restrict codes, const uint8_t *restrict in) {
    for (size_t i = 0; i < SMALL / 8; i++) {
        uint64_t word, bits = (in[i] * UINT64_C(0x0101010101010101)) & UINT64_C(0x8040201008040201);
        bits = ((bits + UINT64_C(0x7f7f7f7f7f7f7f7f)) & UINT64_C(0x8080808080808080)) >> 3;
        memcpy(&word, codes + 8 * i, 8);
        word |= bits;
        memcpy(codes + 8 * i, &word, 8);
    }
}

static void q5_0(float *out, const uint8_t *in) {
    uint8_t codes[SMALL];
    int8_t q[SMALL];
    split_nibbles(codes, in + 6, SMALL / 2);
    add_fifth(codes, in + 2);
    for (size_t i = 0; i < SMALL; i++) q[i] = (int8_t)(codes[i] - 16);
    scale_signed(out, q, SMALL, tkr_load_f16(in));
}

static void q5_1(float *out, const uint8_t *in) {
    uint8_t codes[SMALL];
    const float d = tkr_load_f16(in), m = tkr_load_f16(in + 2);
    split_nibbles(codes, in + 8, SMALL / 2);
    add_fifth(codes, in + 4);
    scale_minus(out, codes, SMALL, d, -m);
}

static void q8_0(float *out, const uint8_t *in) { scale_signed(out, (const int8_t *)in + 2, SMALL, tkr_load_f16(in)); }

static inline void look_up(float *out, const uint8_t *in, const int8_t table[16], float d) {
    for (size_t i = 0; i < SMALL / 2; i++) {
        out[i] = (float)table[in[i] & 15u] * d;
        out[i + SMALL / 2] = (float)table[in[i] >> 4] * d;
    }
}

static void iq4_nl(float *out, const uint8_t *in) { look_up(out, in + 2, nonlinear4, tkr_load_f16(in)); }

/* The table is doubled, so the scale is 2^(e - 128). */
static void mxfp4(float *out, const uint8_t *in) {
    const uint32_t e = in[0];
    look_up(out, in + 1, doubled_e2m1, tkr_float_of(e < 2 ? 0x00200000u << e : (e - 1) << 23));
}

/* ---- 256 values ---- */

/* 64 bytes to 256 codes of two bits: in each half of 32 bytes the lowest pairs first. */
static inline void split_pairs(uint8_t *restrict codes, const uint8_t *restrict in) {
    for (size_t half = 0; half < 2; half++) {
        for (unsigned j = 0; j < 4; j++) {
            for (size_t i = 0; i < 32; i++)
                codes[half * 128 + j * 32 + i] = (uint8_t)(in[half * 32 + i] >> (2 * j)) & 3u;
        }
    }
}

static void q2_k(float *out, const uint8_t *in) {
    const uint8_t *scales = in;
    const float d = tkr_load_f16(in + 80), dmin = tkr_load_f16(in + 82);
    uint8_t codes[SUPER];
    split_pairs(codes, in + 16);
    for (size_t g = 0; g < 16; g++) {
        scale_minus(out + 16 * g, codes + 16 * g, 16, d * (float)(scales[g] & 15), dmin * (float)(scales[g] >> 4));
    }
}

static void q3_k(float *out, const uint8_t *in) {
    const uint8_t *mask = in, *scales = in + 96;
    const float d = tkr_load_f16(in + 108);
    uint8_t codes[SUPER];
    int8_t q[SUPER];
    split_pairs(codes, in + 32);
    for (unsigned j = 0; j < 8; j++) { /* bit j of the 32 bytes: the third bits of 32 values, inverted */
        for (size_t i = 0; i < 32; i++) {
            const uint8_t high = (uint8_t)(mask[i] >> j & 1u);
            q[32 * j + i] = (int8_t)(codes[32 * j + i] + 4 * high - 4);
        }
    }
    for (size_t g = 0; g < 16; g++) { /* four low bits of the 16 scales in 8 bytes, two high bits in 4 */
        const int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4, high = scales[8 + g % 4] >> (2 * (g / 4)) & 3;
        scale_signed(out + 16 * g, q + 16 * g, 16, d * (float)((low | high << 4) - 32));
    }
}

/* Scale and minimum number j of 8, six bits each in 12 bytes. */
static inline void scale_min_k(unsigned *scale, unsigned *min, const uint8_t *in, size_t j) {
    *scale = j < 4 ? in[j] & 63u : (in[j + 4] & 15u) | (in[j - 4] >> 6 & 3u) << 4;
    *min = j < 4 ? in[j + 4] & 63u : (unsigned)in[j + 4] >> 4 | (in[j] >> 6 & 3u) << 4;
}

/* Codes in four runs of 64: low nibbles of 32 bytes, then the high ones. Scales and minima of 32 values each. */
static inline void q4_k_parts(uint8_t *restrict codes, float scale[8], float min[8], const uint8_t *restrict in) {
    const float d = tkr_load_f16(in), dmin = tkr_load_f16(in + 2);
    for (size_t j = 0; j < 4; j++) split_nibbles(codes + 64 * j, in + 16 + 32 * j, 32);
    for (size_t j = 0; j < 8; j++) {
        unsigned s, m;
        scale_min_k(&s, &m, in + 4, j);
        scale[j] = d * (float)s;
        min[j] = dmin * (float)m;
    }
}

static void q4_k(float *out, const uint8_t *in) {
    uint8_t codes[SUPER];
    float scale[8], min[8];
    q4_k_parts(codes, scale, min, in);
    for (size_t j = 0; j < 8; j++) scale_minus(out + 32 * j, codes + 32 * j, 32, scale[j], min[j]);
}

static void q5_k(float *out, const uint8_t *in) {
    const float d = tkr_load_f16(in), dmin = tkr_load_f16(in + 2);
    const uint8_t *high = in + 16;
    uint8_t codes[SUPER];
    for (size_t j = 0; j < 4; j++) split_nibbles(codes + 64 * j, in + 48 + 32 * j, 32);
    for (unsigned j = 0; j < 8; j++) {
        unsigned s, m;
        for (size_t i = 0; i < 32; i++) codes[32 * j + i] |= (uint8_t)((high[i] >> j & 1u) << 4);
        scale_min_k(&s, &m, in + 4, j);
        scale_minus(out + 32 * j, codes + 32 * j, 32, d * (float)s, dmin * (float)m);
    }
}

static void q6_k(float *out, const uint8_t *in) {
    const uint8_t *low = in, *high = in + 128;
    const int8_t *scales = (const int8_t *)in + 192;
    const float d = tkr_load_f16(in + 208);
    int8_t q[SUPER];
    for (size_t half = 0; half < 2; half++, low += 64, high += 32) {
        int8_t *at = q + 128 * half;
        for (size_t i = 0; i < 32; i++) {
            at[i] = (int8_t)(((low[i] & 15) | (high[i] & 3) << 4) - 32);
            at[i + 32] = (int8_t)(((low[i + 32] & 15) | (high[i] >> 2 & 3) << 4) - 32);
            at[i + 64] = (int8_t)((low[i] >> 4 | (high[i] >> 4 & 3) << 4) - 32);
            at[i + 96] = (int8_t)((low[i + 32] >> 4 | high[i] >> 6 << 4) - 32);
        }
    }
    for (size_t g = 0; g < 16; g++) scale_signed(out + 16 * g, q + 16 * g, 16, d * (float)scales[g]);
}

static void iq4_xs(float *out, const uint8_t *in) {
    const float d = tkr_load_f16(in);
    const unsigned high = tkr_load_u16(in + 2);
    for (unsigned j = 0; j < 8; j++) {
        const unsigned low = (unsigned)in[4 + j / 2] >> (4 * (j % 2)) & 15u, scale = low | (high >> (2 * j) & 3u) << 4;
        look_up(out + 32 * j, in + 8 + 16 * j, nonlinear4, d * (float)((int)scale - 32));
    }
}

/* ---- rows ---- */

typedef void (*block_fn)(float *out, const uint8_t *in);

void tkr_gguf_row(float *out, const uint8_t *row, tkr_dtype dtype, size_t n) {
    static const block_fn blocks[TKR_DTYPE_COUNT] = {
        [TKR_DTYPE_Q4_0] = q4_0,   [TKR_DTYPE_Q4_1] = q4_1, [TKR_DTYPE_Q5_0] = q5_0,     [TKR_DTYPE_Q5_1] = q5_1,
        [TKR_DTYPE_Q8_0] = q8_0,   [TKR_DTYPE_Q2_K] = q2_k, [TKR_DTYPE_Q3_K] = q3_k,     [TKR_DTYPE_Q4_K] = q4_k,
        [TKR_DTYPE_Q5_K] = q5_k,   [TKR_DTYPE_Q6_K] = q6_k, [TKR_DTYPE_IQ4_NL] = iq4_nl, [TKR_DTYPE_IQ4_XS] = iq4_xs,
        [TKR_DTYPE_MXFP4] = mxfp4,
    };
    const block_fn block = blocks[dtype];
    const size_t values = tkr_dtype_block(dtype), bytes = tkr_dtype_size(dtype);
    for (size_t i = 0; i < n / values; i++) block(out + i * values, row + i * bytes);
}

void tkr_gguf_row_group4(uint8_t *codes, float *scale, float *bias, const uint8_t *row, tkr_dtype dtype, size_t n) {
    const size_t bytes = tkr_dtype_size(dtype), values = tkr_dtype_block(dtype);
    for (size_t i = 0; i < n / values; i++, row += bytes) {
        if (dtype == TKR_DTYPE_Q4_K) {
            float min[8];
            q4_k_parts(codes + i * values, scale + 8 * i, min, row);
            for (size_t j = 0; j < 8; j++) bias[8 * i + j] = -min[j];
            continue;
        }
        const bool has_min = dtype == TKR_DTYPE_Q4_1;
        scale[i] = tkr_load_f16(row);
        bias[i] = has_min ? tkr_load_f16(row + 2) : -8.0f * scale[i];
        split_nibbles(codes + i * values, row + (has_min ? 4 : 2), values / 2);
    }
}
