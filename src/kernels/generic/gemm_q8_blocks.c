/* SPDX-License-Identifier: Apache-2.0 */
/* generic/gemm_q8_blocks: the reference of AVX2's q8 in plain C: encoders and product. */
#include "kernels/generic/gemm_q8_blocks.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/generic/generic.h"

enum { NR = TKR_Q8_BLOCKS_NR, MAX_BLOCK = TKR_Q8_BLOCK };

/* The larger of the two lanes' norms. top: of the magnitudes, to within a factor of 2. */
static float lane_norm(const float *x, size_t block, float top) {
    const bool low = top<TKR_Q8_PLAIN_LEAST, high = top> TKR_Q8_PLAIN_MOST;
    const float before = low ? 0x1p64f : high ? 0x1p-80f : 1.0f, after = low ? 0x1p-64f : high ? 0x1p80f : 1.0f;
    float sum[8];
    for (size_t i = 0; i < 8; i++) {
        const float first = x[i] * before;
        sum[i] = first * first;
        for (size_t t = i + 8; t < block; t += 8) {
            const float y = x[t] * before;
            sum[i] += y * y;
        }
    }
    const float even = (sum[0] + sum[4]) + (sum[1] + sum[5]), odd = (sum[2] + sum[6]) + (sum[3] + sum[7]);
    return sqrtf(even > odd ? even : odd) * after;
}

/* A block of k values, zeros beyond. */
static void load_block(float *out, const float *x, size_t begin, size_t k, size_t block) {
    const size_t n = k > begin ? (k - begin < block ? k - begin : block) : 0;
    memcpy(out, x + (n ? begin : 0), n * sizeof *out);
    memset(out + n, 0, (block - n) * sizeof *out);
}

/* ---- rows ---- */

/* A NaN gets the lowest code; a block with an infinity has an infinite scale, which poisons its results. */
tkr_q8_block_tail tkr_q8_encode_block(int8_t *q, const float *x, size_t block) {
    float top = 0, pair = 0;
    int32_t sum[2] = {0, 0};
    for (size_t i = 0; i < block; i += 2) {
        const float a = fabsf(x[i]), b = fabsf(x[i + 1]);
        top = a > top ? a : top;
        top = b > top ? b : top;
        pair = a + b > pair ? a + b : pair;
    }
    pair *= TKR_Q8_ROW_MAX / TKR_Q8_PAIR;
    top = pair > top ? pair : top;
    const float by_norm = lane_norm(x, block, top) / TKR_Q8_LANE_NORM, by_top = top / TKR_Q8_ROW_MAX;
    const float scale = by_norm > by_top ? by_norm : by_top;
    const bool some = scale >= FLT_MIN;
    const float inverse = some ? 1.0f / scale : 0;
    for (size_t i = 0; i < block; i++) {
        const float y = nearbyintf(x[i] * inverse);
        q[i] = (int8_t)(isnan(y) ? -128.0f : y);
        sum[i / 2 % 2] += q[i];
    }
    return (tkr_q8_block_tail){{(uint16_t)(-TKR_Q8_CENTRE * sum[0]), (uint16_t)(-TKR_Q8_CENTRE * sum[1])},
                               some ? scale : 0};
}

static void pack_rows(void *dst, size_t dst_stride, const float *src, size_t ld, size_t n_rows, size_t k,
                      size_t k_padded, size_t block) {
    for (size_t m = 0; m < n_rows; m++) {
        int8_t *q = (int8_t *)dst + m * dst_stride;
        tkr_q8_block_tail *tail = (tkr_q8_block_tail *)(void *)(q + k_padded);
        for (size_t b = 0; b < k_padded / block; b++) {
            float x[MAX_BLOCK];
            load_block(x, src + m * ld, b * block, k, block);
            tail[b] = tkr_q8_encode_block(q + b * block, x, block);
        }
    }
}

/* ---- panels ---- */

float tkr_q8_weight_scale(const float *w, size_t block) {
    float top = 0;
    for (size_t i = 0; i < block; i++) {
        top = fabsf(w[i]) > top ? fabsf(w[i]) : top;
    }
    const float by_norm = lane_norm(w, block, top) / TKR_Q8_LANE_NORM, by_top = top / TKR_Q8_WEIGHT_MAX;
    const float scale = by_norm > by_top ? by_norm : by_top;
    return scale >= FLT_MIN ? scale : 0;
}

uint16_t tkr_q8_multiplier(float scale, float unit) {
    const float many = ceilf(scale / unit);
    return (uint16_t)(many < (float)TKR_Q8_MULTIPLIER_MAX ? many : (float)TKR_Q8_MULTIPLIER_MAX);
}

void tkr_q8_pack_column(const tkr_q8_blocks_panel *p, size_t j, const float *w, size_t k, size_t block) {
    float x[MAX_BLOCK], top = 0;
    for (size_t i = 0; i < k; i += block) {
        load_block(x, w, i, k, block);
        const float scale = tkr_q8_weight_scale(x, block);
        top = scale > top ? scale : top;
    }
    const float unit = top / (float)TKR_Q8_MULTIPLIER_MAX;
    if (unit < FLT_MIN) {
        return;
    }
    p->scale[j] = unit;
    for (size_t i = 0; i < k; i += block) {
        load_block(x, w, i, k, block);
        const uint16_t multiplier = tkr_q8_multiplier(tkr_q8_weight_scale(x, block), unit);
        const float inverse = multiplier ? 1.0f / (unit * (float)multiplier) : 0;
        p->multiplier[i / block * NR + j] = multiplier;
        for (size_t t = 0; t < block; t++) {
            const int code = (int)nearbyintf(x[t] * inverse);
            p->codes[((i + t) / 4 * NR + j) * 4 + t % 4] = (uint8_t)(TKR_Q8_CENTRE + code);
        }
    }
}

void tkr_q8_blocks_clear(void *panel, size_t k_padded, size_t block) {
    memset(panel, 0, tkr_q8_blocks_panel_bytes(k_padded, block));
    memset(tkr_q8_blocks_panel_at(panel, k_padded).codes, TKR_Q8_CENTRE, NR * k_padded);
}

static void pack_panel(void *panel, const float *w, size_t ld, size_t n_cols, size_t k, size_t k_padded, size_t block) {
    const tkr_q8_blocks_panel p = tkr_q8_blocks_panel_at(panel, k_padded);
    tkr_q8_blocks_clear(panel, k_padded, block);
    for (size_t j = 0; j < n_cols; j++) {
        tkr_q8_pack_column(&p, j, w + j * ld, k, block);
    }
}

/* ---- product ---- */

static int32_t dot_block(const uint8_t *codes, const int8_t *q, size_t block) {
    int32_t s = 0;
    for (size_t i = 0; i < block; i += 4, codes += 4 * NR) {
        for (size_t t = 0; t < 4; t++) {
            s += (codes[t] - TKR_Q8_CENTRE) * q[i + t];
        }
    }
    return s;
}

static void panel(const tkr_gemm_args *args, size_t block) {
    const size_t k = args->k_padded;
    const tkr_q8_blocks_panel p = tkr_q8_blocks_panel_at((void *)(uintptr_t)args->b, k); /* only read */
    for (size_t m = 0; m < args->n_rows; m++) {
        const int8_t *q = (const int8_t *)args->a + m * args->a_stride;
        const tkr_q8_block_tail *tail = (const tkr_q8_block_tail *)(const void *)(q + k);
        float y[NR];
        for (size_t j = 0; j < NR; j++) {
            float acc = 0;
            for (size_t b = 0; b < k / block; b++) {
                const int32_t dot = dot_block(p.codes + (b * block / 4 * NR + j) * 4, q + b * block, block);
                acc = fmaf((float)(dot * p.multiplier[b * NR + j]), tail[b].scale, acc);
            }
            y[j] = acc * p.scale[j];
        }
        tkr_gemm_store_generic(args, m, y);
    }
}

static void panel_32(const tkr_gemm_args *args) { panel(args, 32); }
static void panel_16(const tkr_gemm_args *args) { panel(args, 16); }
TKR_Q8_BLOCKS_KERNEL(tkr_gemm_q8_blocks_generic, "q8-blocks/generic", 32, 1, .scratch_bytes = NULL);
TKR_Q8_BLOCKS_KERNEL(tkr_gemm_q8_fine_blocks_generic, "q8-fine-blocks/generic", 16, 1, .scratch_bytes = NULL);
