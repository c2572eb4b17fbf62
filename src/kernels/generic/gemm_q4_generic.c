/* SPDX-License-Identifier: Apache-2.0 */
/* generic/gemm_q4_generic: grouped 4-bit weights in plain C, and the encoder of their s8 rows. A panel is scale
 * [G][16], bias [G][16], codes [16][k / 2] with the even k in the low nibble; G = ceil(k_padded / group). */
#include "kernels/generic/gemm_q4.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/generic/generic.h"
#include "quant/dtype.h"

enum { NR = TKR_GENERIC_NR, BLOCK = TKR_Q4_BLOCK };

/* ---- scales ---- */

static void put_scale(void *dst, float x, tkr_scale_kind kind) {
    if (kind == TKR_SCALE_F32) {
        memcpy(dst, &x, sizeof x);
        return;
    }
    uint16_t half = kind == TKR_SCALE_F16 ? tkr_f32_to_f16(x) : tkr_f32_to_bf16(x);
    memcpy(dst, &half, sizeof half);
}

static float get_scale(const void *src, tkr_scale_kind kind) {
    uint16_t half;
    float x;
    if (kind == TKR_SCALE_F32) {
        memcpy(&x, src, sizeof x);
        return x;
    }
    memcpy(&half, src, sizeof half);
    return kind == TKR_SCALE_F16 ? tkr_f16_to_f32(half) : tkr_bf16_to_f32(half);
}

/* ---- rows ---- */

/* A NaN gets the lowest code; a block with an infinity has an infinite scale, which poisons its results. */
static int8_t to_code(float x) {
    float r = nearbyintf(x);
    return (int8_t)(r > -127.0f ? (r < 127.0f ? r : 127.0f) : -127.0f);
}

static void encode_block(int8_t *q, float *scale, float *sum, const float *x, size_t n) {
    float high = 0;
    int32_t total = 0;
    for (size_t i = 0; i < n; i++) {
        high = fabsf(x[i]) > high ? fabsf(x[i]) : high;
    }
    const bool some = high / 127.0f >= FLT_MIN;
    const float inverse = some ? 127.0f / high : 0;
    for (size_t i = 0; i < n; i++) {
        q[i] = to_code(x[i] * inverse);
        total += q[i];
    }
    memset(q + n, 0, BLOCK - n);
    *scale = some ? high / 127.0f : 0;
    *sum = *scale * (float)total;
}

void tkr_q4_fold_sums(const tkr_q4_row *row, size_t k_padded) {
    float *sums[3] = {row->sum32, row->sum64, row->sum128};
    for (size_t level = 0; level < 3; level++) {
        const size_t group = (size_t)BLOCK << level, n = (k_padded + group - 1) / group;
        for (size_t g = 0; level && g < n; g++) {
            sums[level][g] = sums[level - 1][2 * g] + sums[level - 1][2 * g + 1];
        }
        for (size_t g = n; g < tkr_q4_sums(k_padded, group); g++) {
            sums[level][g] = 0;
        }
    }
}

void tkr_q4_encode_row(void *row, const float *x, size_t k, size_t k_padded) {
    const tkr_q4_row r = tkr_q4_row_at(row, k_padded);
    for (size_t b = 0; b < k_padded / BLOCK; b++) {
        const size_t begin = b * BLOCK, n = k > begin ? (k - begin < BLOCK ? k - begin : BLOCK) : 0;
        encode_block(r.q + begin, r.scale + b, r.sum32 + b, x + (n ? begin : 0), n);
    }
    tkr_q4_fold_sums(&r, k_padded);
}

static void pack_rows(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld, size_t n_rows,
                      size_t k, size_t k_padded) {
    (void)quant;
    for (size_t i = 0; i < n_rows; i++) {
        tkr_q4_encode_row((char *)dst + i * dst_stride, src + i * ld, k, k_padded);
    }
}

/* ---- panels ---- */

void tkr_q4_pack_panel(void *panel, size_t nr, const tkr_codes *c) {
    const size_t n_groups = (c->k + c->group - 1) / c->group, all = (c->k_padded + c->group - 1) / c->group;
    const size_t bytes = tkr_q4_scale_bytes(c->scale_kind);
    char *scale = panel, *bias = scale + all * nr * bytes, *b = bias + all * nr * bytes;
    memset(panel, 0, tkr_q4_panel_bytes(nr, c->k_padded, c->group, c->scale_kind));
    for (size_t j = 0; j < c->n_cols; j++) {
        const uint8_t *codes = c->codes + j * c->k;
        for (size_t g = 0; g < n_groups; g++) {
            put_scale(scale + (g * nr + j) * bytes, c->scale[j * n_groups + g], c->scale_kind);
            put_scale(bias + (g * nr + j) * bytes, c->bias[j * n_groups + g], c->scale_kind);
        }
        size_t i = 0;
        for (; i + 8 <= c->k; i += 8) {
            uint8_t four[4];
            for (size_t t = 0; t < 4; t++) {
                four[t] = (uint8_t)(codes[i + t] | codes[i + t + 4] << 4);
            }
            memcpy(b + (i / 8 * nr + j) * 4, four, sizeof four);
        }
        for (; i < c->k; i++) {
            uint8_t *pair = (uint8_t *)b + (i / 8 * nr + j) * 4 + i % 4;
            *pair = (uint8_t)(*pair | codes[i] << (i & 4));
        }
    }
}

static size_t panel_bytes(size_t k_padded, size_t group, tkr_scale_kind scale_kind) {
    return tkr_q4_panel_bytes(NR, k_padded, group, scale_kind);
}

static void pack_codes(void *panel, const tkr_codes *codes) { tkr_q4_pack_panel(panel, NR, codes); }

/* One column's block: 4 bytes of every 4 * NR. */
static int32_t dot_block(const uint8_t *codes, const int8_t *q) {
    int32_t s = 0;
    for (size_t i = 0; i < BLOCK; i += 8, codes += 4 * NR) {
        for (size_t t = 0; t < 4; t++) {
            s += (codes[t] & 15) * q[i + t] + (codes[t] >> 4) * q[i + t + 4];
        }
    }
    return s;
}

static void panel(const tkr_gemm_args *args) {
    const size_t k = args->k_padded, group = args->group, n_groups = (k + group - 1) / group;
    const size_t bytes = tkr_q4_scale_bytes(args->scale_kind);
    const char *scale = args->b, *bias = scale + n_groups * NR * bytes;
    const uint8_t *codes = (const uint8_t *)bias + n_groups * NR * bytes;
    for (size_t m = 0; m < args->n_rows; m++) {
        const char *row = (const char *)args->a + m * args->a_stride;
        const int8_t *q = (const int8_t *)row;
        const float *row_scale = (const float *)(const void *)(row + k);
        const float *sums = (const float *)(const void *)(row + tkr_q4_sum_offset(k, group));
        float acc[NR] = {0};
        for (size_t j = 0; j < NR; j++) {
            for (size_t g = 0; g < n_groups; g++) {
                acc[j] += get_scale(bias + (g * NR + j) * bytes, args->scale_kind) * sums[g];
            }
            for (size_t b = 0; b < k / BLOCK; b++) {
                const size_t g = b * BLOCK / group;
                const int32_t dot = dot_block(codes + (b * BLOCK / 8 * NR + j) * 4, q + b * BLOCK);
                acc[j] += (float)dot * get_scale(scale + (g * NR + j) * bytes, args->scale_kind) * row_scale[b];
            }
        }
        tkr_gemm_store_generic(args, m, acc);
    }
}

const tkr_gemm tkr_gemm_q4_generic = {
    .name = "q4/generic",
    .nr = NR,
    .mr = 1,
    .k_align = BLOCK,
    .act_bytes = 1,
    .weight_bits = 4,
    .pack_rows = pack_rows,
    .panel = panel,
    .pack_codes = pack_codes,
    .row_bytes = tkr_q4_row_bytes,
    .panel_bytes = panel_bytes,
};
