/* SPDX-License-Identifier: Apache-2.0 */
/* engine/selftest: runs each kernel of the chosen rung on built-in numbers and compares with double-precision loops. */
#include "engine/selftest.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "engine/noise.h"

enum { ROWS = 13, COLS = 40, DEPTH = 100, TOKENS = 37, HEAD = 32, GROUP = 32, N_GROUPS = 4 };

/* |c - reference| relative to the largest reference value */
static double gemm_error(const float *c, const float *a, const float *w) {
    double worst = 0, largest = 0;
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < COLS; j++) {
            double sum = 0;
            for (size_t k = 0; k < DEPTH; k++) sum += (double)a[i * DEPTH + k] * (double)w[j * DEPTH + k];
            largest = fmax(largest, fabs(sum));
            worst = fmax(worst, fabs(sum - (double)c[i * COLS + j]));
        }
    return isfinite(worst) ? worst / largest : INFINITY;
}

/* Any codes and scales: rows of `columns` become what they stand for. */
static void pack_grouped(const tkr_gemm *gemm, void *panel, float *columns, size_t n, size_t k) {
    uint8_t codes[64 * DEPTH] = {0};
    float scale[64 * N_GROUPS] = {0}, bias[64 * N_GROUPS] = {0};
    uint32_t state = 3;
    for (size_t i = 0; i < n * N_GROUPS; i++) {
        scale[i] = (i % 2 ? 0.125f : -0.125f);
        bias[i] = -7.5f * scale[i];
    }
    for (size_t i = 0; i < n * DEPTH; i++) {
        const size_t g = i / DEPTH * N_GROUPS + i % DEPTH / GROUP;
        codes[i] = (uint8_t)(8 + 7 * tkr_noise(&state));
        columns[i] = scale[g] * (float)codes[i] + bias[g];
    }
    const tkr_codes grouped = {codes, scale, bias, n, DEPTH, k, GROUP, TKR_SCALE_F16};
    gemm->pack_codes(panel, &grouped);
}

double tkr_selftest_gemm(const tkr_gemm *gemm) {
    size_t k = (DEPTH + gemm->k_align - 1u) / gemm->k_align * gemm->k_align,
           stride = tkr_align_up(gemm->row_bytes ? gemm->row_bytes(k) : k * gemm->act_bytes, 64);
    size_t panel = gemm->panel_bytes ? gemm->panel_bytes(k, GROUP, TKR_SCALE_F16)
                                     : tkr_align_up((size_t)gemm->nr * k * gemm->weight_bits / 8, 64);
    size_t scratch = tkr_align_up(gemm->scratch_bytes ? gemm->scratch_bytes(k) : 64, 64);
    size_t total = (ROWS + COLS) * DEPTH * 4 + ROWS * COLS * 4 + 64 * 3 + ROWS * stride + panel + scratch + 4096;
    char *block = tkr_aligned_alloc(total);
    if (!block) return INFINITY;
    memset(block, 0, total);
    char *packed = block, *b = packed + tkr_align_up(ROWS * stride, 64), *work = b + panel;
    float *a = (float *)(void *)(work + scratch), *w = a + ROWS * DEPTH, *c = w + COLS * DEPTH,
          *scale = c + ROWS * COLS;
    tkr_row_quant quant[ROWS];
    int32_t sums[64] = {0};
    tkr_noise_fill(a, ROWS * DEPTH, 1);
    tkr_noise_fill(w, COLS * DEPTH, 2);
    gemm->pack_rows(packed, stride, quant, a, DEPTH, ROWS, DEPTH, k);
    for (size_t first = 0; first < COLS; first += gemm->nr) {
        size_t n = COLS - first < gemm->nr ? COLS - first : gemm->nr;
        if (gemm->pack_codes)
            pack_grouped(gemm, b, w + first * DEPTH, n, k);
        else
            gemm->pack_panel(b, gemm->integer ? scale : NULL, gemm->integer ? sums : NULL, w + first * DEPTH, DEPTH, n,
                             DEPTH, k);
        const tkr_gemm_args args = {.a = packed,
                                    .a_stride = stride,
                                    .a_quant = quant,
                                    .n_rows = ROWS,
                                    .b = b,
                                    .k_padded = k,
                                    .b_scale = scale,
                                    .b_sum = sums,
                                    .c = c + first,
                                    .ldc = COLS,
                                    .n_cols = n,
                                    .scratch = work,
                                    .group = GROUP,
                                    .scale_kind = TKR_SCALE_F16};
        gemm->panel(&args);
    }
    double error = gemm_error(c, a, w);
    tkr_aligned_free(block, total);
    return error;
}

/* Row `i` of softmax(q k' / sqrt(HEAD)) v by plain loops. */
static void attention_row(double *out, const float *qkv, size_t i) {
    double logits[TOKENS], sum = 0, top = -INFINITY;
    const float *q = qkv + i * 3 * HEAD;
    for (size_t j = 0; j < TOKENS; j++) {
        logits[j] = 0;
        for (size_t d = 0; d < HEAD; d++) logits[j] += (double)q[d] * (double)qkv[j * 3 * HEAD + HEAD + d];
        logits[j] /= sqrt((double)HEAD);
        top = fmax(top, logits[j]);
    }
    memset(out, 0, HEAD * sizeof *out);
    for (size_t j = 0; j < TOKENS; j++) {
        double p = exp(logits[j] - top);
        sum += p;
        for (size_t d = 0; d < HEAD; d++) out[d] += p * (double)qkv[j * 3 * HEAD + 2 * HEAD + d];
    }
    for (size_t d = 0; d < HEAD; d++) out[d] /= sum;
}

double tkr_selftest_attention(const tkr_attention *attention) {
    size_t scratch = tkr_align_up(attention->scratch_bytes(TOKENS, HEAD), 64), values = TOKENS * 4 * HEAD;
    size_t total = scratch + values * sizeof(float) + 64;
    char *block = tkr_aligned_alloc(total);
    if (!block) return INFINITY;
    float *qkv = (float *)(void *)(block + scratch), *out = qkv + TOKENS * 3 * HEAD;
    tkr_noise_fill(qkv, TOKENS * 3 * HEAD, 3);
    const tkr_attention_args args = {.q = qkv,
                                     .k = qkv + HEAD,
                                     .v = qkv + 2 * HEAD,
                                     .q_stride = 3 * HEAD,
                                     .kv_stride = 3 * HEAD,
                                     .out = out,
                                     .out_stride = HEAD,
                                     .n_tokens = TOKENS,
                                     .head_dim = HEAD,
                                     .scale = (float)(1.0 / sqrt((double)HEAD)),
                                     .scratch = block};
    attention->head(&args);
    double worst = 0, row[HEAD];
    for (size_t i = 0; i < TOKENS; i++) {
        attention_row(row, qkv, i);
        for (size_t d = 0; d < HEAD; d++)
            worst = fmax(worst, isfinite(out[i * HEAD + d]) ? fabs(row[d] - (double)out[i * HEAD + d]) : INFINITY);
    }
    tkr_aligned_free(block, total);
    return worst;
}

double tkr_selftest_layer_norm(tkr_layer_norm_fn *layer_norm) {
    float x[3 * DEPTH], gain[DEPTH], shift[DEPTH], y[3 * DEPTH];
    double worst = 0;
    tkr_noise_fill(x, 3 * DEPTH, 4);
    tkr_noise_fill(gain, DEPTH, 5);
    tkr_noise_fill(shift, DEPTH, 6);
    layer_norm(y, x, gain, shift, 1e-12f, 3, DEPTH);
    for (size_t r = 0; r < 3; r++) {
        double mean = 0, var = 0;
        for (size_t i = 0; i < DEPTH; i++) mean += (double)x[r * DEPTH + i] / DEPTH;
        for (size_t i = 0; i < DEPTH; i++)
            var += ((double)x[r * DEPTH + i] - mean) * ((double)x[r * DEPTH + i] - mean) / DEPTH;
        for (size_t i = 0; i < DEPTH; i++) {
            double want = ((double)x[r * DEPTH + i] - mean) / sqrt(var + 1e-12) * (double)gain[i] + (double)shift[i];
            worst = fmax(worst, fabs(want - (double)y[r * DEPTH + i]));
        }
    }
    return isfinite(worst) ? worst : INFINITY;
}
