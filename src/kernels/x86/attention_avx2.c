/* SPDX-License-Identifier: Apache-2.0 */
/* x86/attention_avx2: attention in f32 with the GEMM's tiles: K^T and V are packed to panels of 16 columns. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/x86/avx2.h"
#include "kernels/x86/math_avx2.h"
#include "kernels/x86/tile_avx2.h"

#define LOG2E 1.44269504f

enum { MR = TKR_AVX2_MR, NR = TKR_AVX2_NR, STEP = NR, ELEMENT = sizeof(float) };
#include "kernels/attention_blocks.h"

/* Columns beyond the last key repeat it or are 0: finite whenever the keys are, and masked before the softmax. */
static void pack_keys(const work *w) {
    const tkr_attention_args *args = w->args;
    size_t hd = args->head_dim, n = args->n_tokens;
    for (size_t j = 0; j < w->n_padded; j += 8) {
        float *dst = (float *)(void *)w->keys + j / NR * NR * hd + j % NR;
        const float *src[8];
        size_t d = 0;
        if (w->base + j >= n) {
            for (; d < hd; d++) {
                _mm256_store_ps(dst + d * NR, _mm256_setzero_ps());
            }
            continue;
        }
        for (size_t t = 0; t < 8; t++) {
            src[t] = args->k + least(w->base + j + t, n - 1) * args->kv_stride;
        }
        for (; d + 8 <= hd; d += 8) {
            tkr_avx2_transpose_8x8(dst + d * NR, src, d);
        }
        for (; d < hd; d++) {
            for (size_t t = 0; t < 8; t++) {
                dst[d * NR + t] = src[t][d];
            }
        }
    }
}

/* V to panels of 16 columns, [dim_padded / 16][n_padded][16]. */
static void pack(const work *w) {
    const tkr_attention_args *args = w->args;
    const size_t hd = args->head_dim, n = least(args->n_tokens - w->base, w->n_padded);
    pack_keys(w);
    for (size_t d = 0; d < hd; d += NR) {
        float *dst = (float *)(void *)w->values + d * w->n_padded;
        size_t width = hd - d < NR ? hd - d : NR;
        for (size_t j = 0; j < n; j++, dst += NR) {
            const float *src = args->v + (w->base + j) * args->kv_stride + d;
            if (width == NR) {
                _mm256_store_ps(dst, _mm256_loadu_ps(src));
                _mm256_store_ps(dst + 8, _mm256_loadu_ps(src + 8));
            } else {
                memset(dst, 0, NR * sizeof *dst);
                memcpy(dst, src, width * sizeof *dst);
            }
        }
        memset(dst, 0, (w->n_padded - n) * NR * sizeof *dst);
    }
}

/* Copied where rows would share cache sets. */
static const char *load_queries(const work *w, const float *q, size_t n_rows, size_t *stride) {
    *stride = w->args->q_stride * sizeof *q;
    if (*stride % 1024 || n_rows <= MR) {
        return (const char *)q;
    }
    for (size_t r = 0; r < n_rows; r++) {
        memcpy(w->queries + r * w->query_stride, q + r * w->args->q_stride, w->args->head_dim * sizeof *q);
    }
    *stride = w->query_stride;
    return w->queries;
}

/* A group's tile. The block's groups read what lies at `next`, for the panel of their next tiles, ahead together. */
TKR_V_INLINE void multiply(const work *w, const group *g, const float *a, size_t lda, const float *b, size_t k,
                           float *c, size_t ldc, const float *next) {
    enum { AHEAD = 64 * 4 / LONG_GROUPS };
    if (w->n_padded <= SHORT_KEYS) {
        tkr_avx2_tile_f32[g->n_rows - 1](a, lda, b, k, c, ldc);
    } else {
        tkr_avx2_tile_ahead[g->n_rows - 1](a, lda, b, k, c, ldc, (const char *)next + g->row / MR * (k / 4 * AHEAD),
                                           AHEAD);
    }
}

static void score_panel(const work *w, const group *g, const char *q, size_t stride, size_t panel) {
    const size_t hd = w->args->head_dim, lda = stride / sizeof(float);
    const float *rows = (const float *)(const void *)q + g->row * lda;
    const float *keys = (const float *)(const void *)w->keys + (panel - w->base) * hd;
    float *scores = (float *)(void *)w->scores + g->row * w->ld + (panel - w->origin);
    multiply(w, g, rows, lda, keys, hd, scores, w->ld, keys + NR * hd);
}

static float max_lanes(__m256 x) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

/* 2^x, 0 below 2^-126 (and for -inf, which marks a masked key). */
TKR_V_INLINE __m256 exp2_or_zero(__m256 x) {
    return _mm256_and_ps(tkr_v_exp2(x), _mm256_cmp_ps(x, TKR_V_SET(-126.0f), _CMP_NLT_UQ));
}

/* x = x * scale + bias; the bias of keys beyond n isn't there to be read. width a multiple of 8. */
static void add_bias(float *x, size_t width, float scale, const float *bias, size_t n) {
    const __m256 factor = TKR_V_SET(scale);
    for (size_t j = 0; j < width; j += 8) {
        __m256 b = j + 8 <= n ? _mm256_loadu_ps(bias + j) : _mm256_maskload_ps(bias + j, tkr_v_mask(j < n ? n - j : 0));
        _mm256_store_ps(x + j, _mm256_fmadd_ps(_mm256_load_ps(x + j), factor, b));
    }
}

static void mask_row(float *x, size_t width, size_t first, size_t last) {
    for (size_t j = 0; j < first; j++) {
        x[j] = -INFINITY;
    }
    for (size_t j = last; j < width; j++) {
        x[j] = -INFINITY;
    }
}

static float max_row(const float *x, size_t width) {
    __m256 m0 = _mm256_load_ps(x), m1 = m0;
    size_t j = 8;
    for (; j + 16 <= width; j += 16) {
        m0 = _mm256_max_ps(m0, _mm256_load_ps(x + j));
        m1 = _mm256_max_ps(m1, _mm256_load_ps(x + j + 8));
    }
    if (j < width) {
        m0 = _mm256_max_ps(m0, _mm256_load_ps(x + j));
    }
    return max_lanes(_mm256_max_ps(m0, m1));
}

/* x = 2^(c * x + offset), returns the sum. */
static float weigh_row(float *x, size_t width, float c, float shift) {
    const __m256 factor = TKR_V_SET(c), offset = TKR_V_SET(shift);
    __m256 s0 = _mm256_setzero_ps(), s1 = s0;
    size_t j = 0;
    for (; j + 16 <= width; j += 16) {
        __m256 p0 = exp2_or_zero(_mm256_fmadd_ps(_mm256_load_ps(x + j), factor, offset));
        __m256 p1 = exp2_or_zero(_mm256_fmadd_ps(_mm256_load_ps(x + j + 8), factor, offset));
        _mm256_store_ps(x + j, p0);
        _mm256_store_ps(x + j + 8, p1);
        s0 = _mm256_add_ps(s0, p0);
        s1 = _mm256_add_ps(s1, p1);
    }
    if (j < width) {
        __m256 p0 = exp2_or_zero(_mm256_fmadd_ps(_mm256_load_ps(x + j), factor, offset));
        _mm256_store_ps(x + j, p0);
        s0 = _mm256_add_ps(s0, p0);
    }
    return tkr_v_sum(_mm256_add_ps(s0, s1));
}

static void softmax_row(const work *w, size_t row, size_t query, key_range keys, key_range seen, row_state *state) {
    const tkr_attention_args *args = w->args;
    float *x = (float *)(void *)w->scores + row * w->ld + (keys.low - w->origin);
    const size_t width = round_up(keys.high - keys.low, 8);
    float c = args->scale * LOG2E;
    if (args->relative) {
        add_bias(x, width, args->scale, args->relative + ((ptrdiff_t)keys.low - (ptrdiff_t)query),
                 args->n_tokens - keys.low);
        c = LOG2E;
    }
    mask_row(x, width, seen.low - keys.low, seen.high - keys.low);
    float offset = -c * max_row(x, width);
    if (state->keep > 0) {
        if (offset < state->offset) {
            state->keep = _mm256_cvtss_f32(exp2_or_zero(TKR_V_SET(offset - state->offset)));
        } else {
            offset = state->offset;
        }
    }
    const float sum = weigh_row(x, width, c, offset);
    state->sum = state->keep > 0 ? fmaf(state->sum, state->keep, sum) : sum;
    state->offset = offset;
}

/* y of row r of the group to 8 columns at p. Full panels apart: vmaskmovps stores are slow. */
TKR_V_INLINE void store_part(float *p, const float *x, const row_state *state, __m256i mask, bool full) {
    __m256 y = _mm256_load_ps(x);
    if (state->keep > 0) {
        const __m256 old = full ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, mask);
        y = _mm256_fmadd_ps(old, TKR_V_SET(state->keep), y);
    }
    y = _mm256_mul_ps(y, TKR_V_SET(state->scale));
    if (full) {
        _mm256_storeu_ps(p, y);
    } else {
        _mm256_maskstore_ps(p, mask, y);
    }
}

static size_t add_values(const work *w, const group *g, size_t d, const row_state *states, float *out) {
    _Alignas(32) float x[MR * NR];
    const size_t n_cols = w->args->head_dim - d, n_keys = round_up(g->keys.high - g->keys.low, 4);
    const bool full = n_cols >= NR;
    const __m256i mask0 = tkr_v_mask(n_cols < 8 ? n_cols : 8),
                  mask1 = tkr_v_mask(n_cols > 8 ? least(n_cols - 8, 8) : 0);
    const float *weights = (const float *)(const void *)w->weights + g->row * w->ld + (g->keys.low - w->origin);
    const float *values = (const float *)(const void *)w->values + d * w->n_padded + (g->keys.low - w->base) * NR;
    const bool last = d + NR >= w->dim_padded; /* then to the next chunk */
    const float *next = last ? values - d * w->n_padded + w->chunk * NR : values + NR * w->n_padded;
    multiply(w, g, weights, w->ld, values, n_keys, x, NR, next);
    for (size_t r = 0; r < g->n_rows; r++) {
        const row_state *state = &states[g->row + r];
        float *p = out + (g->row + r) * w->args->out_stride + d;
        if (state->keep >= 0) {
            store_part(p, x + r * NR, state, mask0, full);
            store_part(p + 8, x + r * NR + 8, state, mask1, full);
        }
    }
    return d + NR;
}

const tkr_attention tkr_attention_avx2 = {.name = "f32/avx2", .head = head, .scratch_bytes = scratch_bytes};
