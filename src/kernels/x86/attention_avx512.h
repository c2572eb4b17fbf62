/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86/attention_avx512: one head of one sequence, six queries at a time: scores of the keys that the six may see in L1,
 * two-pass softmax, then the weighted values; both products are register tiles. The including file has set up
 * tile_avx512.h and says TKR_ATTENTION_PAIR           values of a granule: 1 (f32) or 2 (bf16) TKR_ATTENTION_LOAD(p, n)
 * 16 granules from up to 16 * PAIR floats TKR_ATTENTION_VALUES(p, q)   a granule row of V from tokens p and q (q unused
 * with PAIR 1) TKR_ATTENTION_EXP2(x) TKR_ATTENTION_WEIGHTS(dst, x0, x1)  16 * PAIR weights as granules Keys per query
 * are summed in ascending order; the order depends on the query and the sequence only.
 */
#ifndef TKR_KERNELS_X86_ATTENTION_AVX512_H
#define TKR_KERNELS_X86_ATTENTION_AVX512_H

#include "kernels/x86/pack_avx512.h"
#include "kernels/x86/tile_avx512.h"

TKR_TILE_FUNCTIONS(1)
TKR_TILE_FUNCTIONS(2)
TKR_TILE_FUNCTIONS(3)
TKR_TILE_FUNCTIONS(4)

enum { STEP = 16 * TKR_ATTENTION_PAIR, MR = TKR_TILE_MR, NR = TKR_TILE_NR };

/* All in bytes from the start of scratch; every part a multiple of 64. */
typedef struct layout {
    size_t k_granules; /* of a query or key */
    size_t n_padded;   /* tokens, multiple of 64 */
    size_t dim_padded; /* multiple of 16 */
    size_t keys;       /* panels [n_padded / 64][k_granules][64] */
    size_t values;     /* [n_padded / PAIR][dim_padded] granules */
    size_t queries;    /* [6][k_granules up to a multiple of 16] granules, PAIR 2 only */
    size_t query_stride;
    size_t scores;  /* [6][n_padded] f32 */
    size_t weights; /* [6][n_padded / PAIR] granules; with PAIR 1 the scores themselves */
    size_t sums;    /* [6][dim_padded] f32 */
    size_t total;
} layout;

static layout layout_of(size_t n_tokens, size_t head_dim) {
    layout l;
    l.k_granules = head_dim / TKR_ATTENTION_PAIR;
    l.n_padded = (n_tokens + NR - 1) / NR * NR;
    l.dim_padded = (head_dim + 15) / 16 * 16;
    l.query_stride = (l.k_granules + 15) / 16 * 64;
    l.keys = 0;
    l.values = l.keys + l.n_padded * l.k_granules * 4;
    l.queries = l.values + l.n_padded / TKR_ATTENTION_PAIR * l.dim_padded * 4;
    l.scores = l.queries + (TKR_ATTENTION_PAIR > 1 ? MR * l.query_stride : 0);
    l.weights = l.scores + (TKR_ATTENTION_PAIR > 1 ? MR * l.n_padded * 4 : 0);
    l.sums = l.weights + MR * l.n_padded / TKR_ATTENTION_PAIR * 4;
    l.total = l.sums + MR * l.dim_padded * 4;
    return l;
}

static size_t scratch_bytes(size_t n_tokens, size_t head_dim) { return layout_of(n_tokens, head_dim).total; }

/* Keys low .. high - 1 of a query. */
typedef struct range {
    size_t low, high;
} range;

static range keys_of(const tkr_attention_args *args, size_t i) {
    range r = {0, args->causal ? i + 1 : args->n_tokens};
    if (args->window) {
        r.low = i > args->window ? i - args->window : 0;
        if (args->window < args->n_tokens - 1 - i && i + args->window + 1 < r.high) {
            r.high = i + args->window + 1;
        }
    }
    return r;
}

/* K to panels of 64 keys; whole groups of 16 keys, zeros behind the last token. */
static void pack_keys(const tkr_attention_args *args, const layout *l, char *keys) {
    const size_t n = args->n_tokens;
    for (size_t j = 0; j < n; j += 16) {
        char *panel = keys + j / NR * l->k_granules * NR * 4 + j % NR * 4;
        for (size_t d = 0; d < l->k_granules; d += 16) {
            const size_t at = d * TKR_ATTENTION_PAIR;
            __m512i r[16];
            for (size_t i = 0; i < 16; i++) {
                r[i] = j + i < n ? TKR_ATTENTION_LOAD(args->k + (j + i) * args->kv_stride + at, args->head_dim - at)
                                 : _mm512_setzero_si512();
            }
            tkr_put_block(panel + d * NR * 4, NR * 4, l->k_granules - d, r);
        }
    }
}

/* V to rows of granules, zeros behind the last token up to the step of the softmax. */
static void pack_values(const tkr_attention_args *args, const layout *l, char *values) {
    const size_t n = args->n_tokens, n_stepped = (n + STEP - 1) / STEP * STEP;
    for (size_t j = 0; j < n_stepped; j += TKR_ATTENTION_PAIR) {
        char *out = values + j / TKR_ATTENTION_PAIR * l->dim_padded * 4;
        const float *v = args->v + j * args->kv_stride;
        for (size_t d = 0; d < args->head_dim; d += 16) {
            const size_t left = args->head_dim - d;
            const __m512 zero = _mm512_setzero_ps();
            const __m512 first = j < n ? tkr_load_f32(v + d, left) : zero;
            const __m512 second =
                TKR_ATTENTION_PAIR > 1 && j + 1 < n ? tkr_load_f32(v + args->kv_stride + d, left) : zero;
            _mm512_storeu_si512(out + d * 4, TKR_ATTENTION_VALUES(first, second));
        }
    }
}

/* Lanes of keys j .. j + 15 that are in r. */
TKR_INLINE __mmask16 lanes(range r, size_t j) {
    const unsigned from = r.low > j ? (r.low - j < 16 ? 0xffffu << (r.low - j) : 0u) : 0xffffu;
    return (__mmask16)(from & tkr_mask16(tkr_left(r.high, j)));
}

/* Scores of keys from .. to - 1 (whole steps) to weights 2^(scale * (x - max)), 0 outside r; returns 1 / sum. */
static float softmax_row(char *weights, const float *x, range r, size_t from, size_t to, float scale) {
    __m512 top = tkr_set(-3.0e38f);
    for (size_t j = from; j < to; j += 16) {
        top = _mm512_mask_max_ps(top, lanes(r, j), top, _mm512_loadu_ps(x + j));
    }
    const __m512 s = tkr_set(scale), shift = tkr_set(-scale * _mm512_reduce_max_ps(top));
    __m512 sum = _mm512_setzero_ps();
    for (size_t j = from; j < to; j += STEP) {
        __m512 e[2];
        for (size_t c = 0; c < TKR_ATTENTION_PAIR; c++) {
            const __m512 u = _mm512_fmadd_ps(_mm512_loadu_ps(x + j + 16 * c), s, shift);
            const __m512 p = TKR_ATTENTION_EXP2(_mm512_max_ps(tkr_set(-126.0f), u));
            e[c] = _mm512_mask_mov_ps(_mm512_setzero_ps(), lanes(r, j + 16 * c), p);
            sum = _mm512_add_ps(sum, e[c]);
        }
        TKR_ATTENTION_WEIGHTS(weights + j / TKR_ATTENTION_PAIR * 4, e[0], e[1]);
    }
    return 1.0f / _mm512_reduce_add_ps(sum);
}

static tkr_tile_fn *tile_for(size_t rows, size_t cols) {
    return cols >= 4 ? tiles_x4[rows] : cols == 3 ? tiles_x3[rows] : cols == 2 ? tiles_x2[rows] : tiles_x1[rows];
}

/* Queries i .. i + rows - 1. */
static void attend(const tkr_attention_args *args, const layout *l, size_t i, size_t rows) {
    char *s = args->scratch;
    const range block = {keys_of(args, i).low / STEP * STEP, keys_of(args, i + rows - 1).high};
    const size_t end = (block.high + STEP - 1) / STEP * STEP;
    const char *q = (const char *)(args->q + i * args->q_stride);
    size_t q_stride = args->q_stride * 4;
    if (TKR_ATTENTION_PAIR > 1) {
        for (size_t r = 0; r < rows; r++) {
            const float *x = args->q + (i + r) * args->q_stride;
            for (size_t d = 0; d < args->head_dim; d += STEP) {
                char *out = s + l->queries + r * l->query_stride + d / TKR_ATTENTION_PAIR * 4;
                _mm512_storeu_si512(out, TKR_ATTENTION_LOAD(x + d, args->head_dim - d));
            }
        }
        q = s + l->queries;
        q_stride = l->query_stride;
    }
    for (size_t j = block.low; j < block.high;) {
        const size_t in_panel = (NR - j % NR) / 16, left = (block.high - j + 15) / 16;
        const size_t cols = in_panel < left ? in_panel : left;
        const tkr_tile t = {.a = q,
                            .a_stride = q_stride,
                            .b = s + l->keys + (j / NR * l->k_granules * NR + j % NR) * 4,
                            .b_step = NR * 4,
                            .k = l->k_granules,
                            .out = s + l->scores + j * 4,
                            .out_stride = l->n_padded * 4};
        tile_for(rows, cols)(&t);
        j += cols * 16;
    }
    float inverse[MR];
    const size_t w_stride = l->n_padded / TKR_ATTENTION_PAIR * 4;
    for (size_t r = 0; r < rows; r++) {
        const float *x = (const float *)(const void *)(s + l->scores) + r * l->n_padded;
        inverse[r] = softmax_row(s + l->weights + r * w_stride, x, keys_of(args, i + r), block.low, end,
                                 args->scale * TKR_LOG2E);
    }
    for (size_t d = 0; d < l->dim_padded; d += NR) {
        const tkr_tile t = {.a = s + l->weights + block.low / TKR_ATTENTION_PAIR * 4,
                            .a_stride = w_stride,
                            .b = s + l->values + (block.low / TKR_ATTENTION_PAIR * l->dim_padded + d) * 4,
                            .b_step = l->dim_padded * 4,
                            .k = (end - block.low) / TKR_ATTENTION_PAIR,
                            .out = s + l->sums + d * 4,
                            .out_stride = l->dim_padded * 4};
        tile_for(rows, (l->dim_padded - d) / 16)(&t);
    }
    for (size_t r = 0; r < rows; r++) {
        const float *x = (const float *)(const void *)(s + l->sums) + r * l->dim_padded;
        float *out = args->out + (i + r) * args->out_stride;
        for (size_t d = 0; d < args->head_dim; d += 16) {
            const __m512 y = _mm512_mul_ps(_mm512_loadu_ps(x + d), tkr_set(inverse[r]));
            if (args->head_dim - d >= 16) {
                _mm512_storeu_ps(out + d, y);
            } else {
                _mm512_mask_storeu_ps(out + d, tkr_mask16(args->head_dim - d), y);
            }
        }
    }
}

static void head(const tkr_attention_args *args) {
    const layout l = layout_of(args->n_tokens, args->head_dim);
    char *s = args->scratch;
    pack_keys(args, &l, s + l.keys);
    pack_values(args, &l, s + l.values);
    for (size_t i = 0; i < args->n_tokens; i += MR) {
        attend(args, &l, i, args->n_tokens - i < MR ? args->n_tokens - i : MR);
    }
}

#endif
