/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86/attention_avx512: the parts of attention_blocks for AVX-512: K in panels of 64 keys, V in rows, both products in
 * register tiles. The including file has set up tile_avx512.h and says
 *   TKR_ATTENTION_PAIR            values of a granule: 1 (f32) or 2 (bf16)
 *   TKR_ATTENTION_LOAD(p, n)      16 granules from up to 16 * PAIR floats
 *   TKR_ATTENTION_VALUES(p, q)    a granule row of V from tokens p and q (q unused with PAIR 1)
 *   TKR_ATTENTION_EXP2(x)
 *   TKR_ATTENTION_WEIGHTS(dst, x0, x1)  16 * PAIR weights as granules
 */
#ifndef TKR_KERNELS_X86_ATTENTION_AVX512_H
#define TKR_KERNELS_X86_ATTENTION_AVX512_H

#include "kernels/x86/pack_avx512.h"
#include "kernels/x86/tile_avx512.h"

TKR_TILE_FUNCTIONS(1)
TKR_TILE_FUNCTIONS(2)
TKR_TILE_FUNCTIONS(3)
TKR_TILE_FUNCTIONS(4)

enum {
    PAIR = TKR_ATTENTION_PAIR,
    MR = TKR_TILE_MR,
    NR = TKR_TILE_NR,
    STEP = 16 * PAIR,
    ELEMENT = 4 / PAIR,
};
#include "kernels/attention_blocks.h"

/* Whole groups of 16 keys, zeros behind the last token. */
static void pack_keys(const tkr_attention_args *args, const work *w) {
    const size_t n = args->n_tokens, granules = args->head_dim / PAIR;
    for (size_t j = 0; j < w->n_padded && w->base + j < n; j += 16) {
        char *panel = w->keys + (j / NR * granules * NR + j % NR) * 4;
        for (size_t d = 0; d < granules; d += 16) {
            const size_t at = d * PAIR;
            __m512i r[16];
            for (size_t i = 0; i < 16; i++) {
                const size_t key = w->base + j + i;
                r[i] = key < n ? TKR_ATTENTION_LOAD(args->k + key * args->kv_stride + at, args->head_dim - at)
                               : _mm512_setzero_si512();
            }
            tkr_put_block(panel + d * NR * 4, NR * 4, granules - d, r);
        }
    }
}

/* Rows of granules, [n_padded / PAIR][dim_padded]. */
static void pack(const work *w) {
    const tkr_attention_args *args = w->args;
    pack_keys(args, w);
    for (size_t j = 0; j < w->n_padded; j += PAIR) {
        const size_t key = w->base + j;
        const float *v = args->v + key * args->kv_stride;
        char *out = w->values + j / PAIR * w->dim_padded * 4;
        for (size_t d = 0; d < args->head_dim; d += 16) {
            const size_t left = args->head_dim - d;
            const __m512 first = key < args->n_tokens ? tkr_load_f32(v + d, left) : _mm512_setzero_ps();
            const __m512 second = PAIR > 1 && key + 1 < args->n_tokens ? tkr_load_f32(v + args->kv_stride + d, left)
                                                                       : _mm512_setzero_ps();
            _mm512_storeu_si512(out + d * 4, TKR_ATTENTION_VALUES(first, second));
        }
    }
}

/* Copied where they are to be bf16 or rows would share cache sets. */
static const char *load_queries(const work *w, const float *q, size_t n_rows, size_t *stride) {
    *stride = w->args->q_stride * sizeof *q;
    if (PAIR == 1 && (*stride % 1024 || n_rows <= MR)) {
        return (const char *)q;
    }
    for (size_t r = 0; r < n_rows; r++) {
        const float *x = q + r * w->args->q_stride;
        for (size_t d = 0; d < w->args->head_dim; d += STEP) {
            _mm512_storeu_si512(w->queries + r * w->query_stride + d * ELEMENT,
                                TKR_ATTENTION_LOAD(x + d, w->args->head_dim - d));
        }
    }
    *stride = w->query_stride;
    return w->queries;
}

static tkr_tile_fn *tile_for(size_t rows, size_t cols) {
    return cols >= 4 ? tiles_x4[rows] : cols == 3 ? tiles_x3[rows] : cols == 2 ? tiles_x2[rows] : tiles_x1[rows];
}

static void score_panel(const work *w, const group *g, const char *q, size_t stride, size_t panel) {
    const key_range keys = clip(g->keys, (key_range){panel, panel + NR});
    const size_t granules = w->args->head_dim / PAIR;
    const tkr_tile t = {.a = q + g->row * stride,
                        .a_stride = stride,
                        .b = w->keys + ((panel - w->base) * granules + (keys.low - panel)) * 4,
                        .b_step = NR * 4,
                        .k = granules,
                        .out = w->scores + (g->row * w->ld + keys.low - w->origin) * 4,
                        .out_stride = w->ld * 4};
    tile_for(g->n_rows, (keys.high - keys.low + 15) / 16)(&t);
}

/* Lanes of keys j .. j + 15 that are in r. */
TKR_INLINE __mmask16 lanes(key_range r, size_t j) {
    const unsigned from = r.low > j ? (r.low - j < 16 ? 0xffffu << (r.low - j) : 0u) : 0xffffu;
    return (__mmask16)(from & tkr_mask16(tkr_left(r.high, j)));
}

static void softmax_row(const work *w, size_t row, size_t query, key_range keys, key_range seen, row_state *state) {
    const tkr_attention_args *args = w->args;
    const size_t end = keys.low + round_up(keys.high - keys.low, STEP);
    float *x = (float *)(void *)w->scores + row * w->ld;
    char *weights = w->weights + row * w->ld * ELEMENT;
    float c = args->scale * TKR_LOG2E;
    __m512 top = tkr_set(-3.0e38f);
    for (size_t j = keys.low; j < end; j += 16) {
        __m512 y = _mm512_loadu_ps(x + (j - w->origin));
        if (args->relative) {
            const float *bias = args->relative + ((ptrdiff_t)j - (ptrdiff_t)query);
            y = _mm512_fmadd_ps(y, tkr_set(args->scale), tkr_load_f32(bias, tkr_left(args->n_tokens, j)));
            _mm512_storeu_ps(x + (j - w->origin), y);
            c = TKR_LOG2E;
        }
        top = _mm512_mask_max_ps(top, lanes(seen, j), top, y);
    }
    const float offset = -c * _mm512_reduce_max_ps(top);
    if (state->keep > 0 && offset < state->offset) {
        const __m512 step = tkr_set(offset - state->offset);
        state->keep = _mm512_reduce_max_ps(tkr_exp2(_mm512_max_ps(tkr_set(-126.0f), step)));
    }
    state->offset = state->keep > 0 && state->offset < offset ? state->offset : offset;
    const __m512 factor = tkr_set(c), shift = tkr_set(state->offset);
    __m512 sum = _mm512_setzero_ps();
    for (size_t j = keys.low; j < end; j += STEP) {
        __m512 e[2];
        for (size_t i = 0; i < PAIR; i++) {
            const size_t at = j + 16 * i;
            const __m512 u = _mm512_fmadd_ps(_mm512_loadu_ps(x + (at - w->origin)), factor, shift);
            const __m512 p = TKR_ATTENTION_EXP2(_mm512_max_ps(tkr_set(-126.0f), u));
            e[i] = _mm512_mask_mov_ps(_mm512_setzero_ps(), lanes(seen, at), p);
            sum = _mm512_add_ps(sum, e[i]);
        }
        TKR_ATTENTION_WEIGHTS(weights + (j - w->origin) * ELEMENT, e[0], e[1]);
    }
    const float total = _mm512_reduce_add_ps(sum);
    state->sum = state->keep > 0 ? state->sum * state->keep + total : total;
}

static size_t add_values(const work *w, const group *g, size_t d, const row_state *states, float *out) {
    _Alignas(64) float sums[MR * NR];
    const size_t head_dim = w->args->head_dim, n_keys = round_up(g->keys.high - g->keys.low, STEP);
    const tkr_tile t = {.a = w->weights + (g->row * w->ld + g->keys.low - w->origin) * ELEMENT,
                        .a_stride = w->ld * ELEMENT,
                        .b = w->values + ((g->keys.low - w->base) / PAIR * w->dim_padded + d) * 4,
                        .b_step = w->dim_padded * 4,
                        .k = n_keys / PAIR,
                        .out = (char *)sums,
                        .out_stride = NR * 4};
    tile_for(g->n_rows, (w->dim_padded - d) / 16)(&t);
    for (size_t r = 0; r < g->n_rows; r++) {
        const row_state *state = &states[g->row + r];
        float *p = out + (g->row + r) * w->args->out_stride;
        for (size_t i = 0; i < NR && d + i < head_dim && state->keep >= 0; i += 16) {
            const __mmask16 mask = tkr_mask16(head_dim - d - i);
            __m512 y = _mm512_loadu_ps(sums + r * NR + i);
            if (state->keep > 0) {
                y = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, p + d + i), tkr_set(state->keep), y);
            }
            _mm512_mask_storeu_ps(p + d + i, mask, _mm512_mul_ps(y, tkr_set(state->scale)));
        }
    }
    return d + NR;
}

#endif
