/* SPDX-License-Identifier: Apache-2.0 */
/* x86/attention_avx2: one head of one sequence in f32. K^T and V are packed to panels of 16 columns once, then blocks
 * of query rows go through Q.K^T, a two-pass softmax and P.V with the GEMM's tiles. A row's keys and their order depend
 * on its place in the sequence only. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/x86/avx2.h"
#include "kernels/x86/math_avx2.h"
#include "kernels/x86/tile_avx2.h"

/* BLOCK: query rows that share a pass over the panels. */
enum { MR = TKR_AVX2_MR, NR = TKR_AVX2_NR, BLOCK = 2 * MR };

typedef struct head_scratch {
    float *kt;     /* [n_padded / 16][head_dim][16] */
    float *v;      /* [head_dim_padded / 16][n_padded][16] */
    float *scores; /* [BLOCK][n_padded] */
    size_t n_padded;
} head_scratch;

/* Keys low..high-1 of one query or of a block. */
typedef struct key_range {
    size_t low, high;
} key_range;

static size_t pad(size_t n) { return (n + NR - 1) / NR * NR; }

static size_t scratch_bytes(size_t n_tokens, size_t head_dim) {
    return pad(n_tokens) * (head_dim + pad(head_dim) + BLOCK) * sizeof(float);
}

static key_range keys_of(const tkr_attention_args *args, size_t i) {
    key_range r = {0, args->causal ? i + 1 : args->n_tokens};
    if (args->window && i > args->window) {
        r.low = i - args->window;
    }
    if (args->window && args->window < args->n_tokens - i && i + args->window + 1 < r.high) {
        r.high = i + args->window + 1;
    }
    return r;
}

/* Columns beyond n repeat the last key or are 0: finite whenever the keys are, and masked before the softmax. */
static void pack_k(const head_scratch *s, const tkr_attention_args *args) {
    size_t hd = args->head_dim, n = args->n_tokens;
    for (size_t j = 0; j < s->n_padded; j += 8) {
        float *dst = s->kt + j / NR * NR * hd + j % NR;
        const float *src[8];
        size_t d = 0;
        if (j >= n) {
            for (; d < hd; d++) {
                _mm256_store_ps(dst + d * NR, _mm256_setzero_ps());
            }
            continue;
        }
        for (size_t t = 0; t < 8; t++) {
            src[t] = args->k + (j + t < n ? j + t : n - 1) * args->kv_stride;
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

static void pack_v(const head_scratch *s, const tkr_attention_args *args) {
    size_t hd = args->head_dim, n = args->n_tokens;
    for (size_t d = 0; d < hd; d += NR) {
        float *dst = s->v + d * s->n_padded;
        size_t width = hd - d < NR ? hd - d : NR;
        for (size_t j = 0; j < n; j++, dst += NR) {
            const float *src = args->v + j * args->kv_stride + d;
            if (width == NR) {
                _mm256_store_ps(dst, _mm256_loadu_ps(src));
                _mm256_store_ps(dst + 8, _mm256_loadu_ps(src + 8));
            } else {
                memset(dst, 0, NR * sizeof *dst);
                memcpy(dst, src, width * sizeof *dst);
            }
        }
        memset(dst, 0, (s->n_padded - n) * NR * sizeof *dst);
    }
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

/* x[0..width): scores to unnormalised weights, returns 1 / their sum. c = scale * log2(e); width a multiple of 8. */
static float softmax_row(float *x, size_t width, float c) {
    __m256 m0 = _mm256_load_ps(x), m1 = m0;
    size_t j = 8;
    for (; j + 16 <= width; j += 16) {
        m0 = _mm256_max_ps(m0, _mm256_load_ps(x + j));
        m1 = _mm256_max_ps(m1, _mm256_load_ps(x + j + 8));
    }
    if (j < width) {
        m0 = _mm256_max_ps(m0, _mm256_load_ps(x + j));
    }
    const __m256 factor = TKR_V_SET(c), offset = TKR_V_SET(-c * max_lanes(_mm256_max_ps(m0, m1)));
    __m256 s0 = _mm256_setzero_ps(), s1 = s0;
    for (j = 0; j + 16 <= width; j += 16) {
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
    return 1.0f / tkr_v_sum(_mm256_add_ps(s0, s1));
}

static void mask_row(float *x, size_t width, size_t first, size_t last) {
    for (size_t j = 0; j < first; j++) {
        x[j] = -INFINITY;
    }
    for (size_t j = last; j < width; j++) {
        x[j] = -INFINITY;
    }
}

/* n_rows x up to 16 values of one panel of the output, times 1 / sum. Full panels apart: vmaskmovps stores are slow. */
static void store_out(float *out, size_t stride, const float *x, const float *inverse, size_t n_rows, size_t n_cols) {
    __m256i mask0 = tkr_v_mask(n_cols < 8 ? n_cols : 8), mask1 = tkr_v_mask(n_cols > 8 ? n_cols - 8 : 0);
    for (size_t r = 0; r < n_rows; r++, out += stride) {
        const __m256 f = TKR_V_SET(inverse[r]);
        __m256 y0 = _mm256_mul_ps(f, _mm256_load_ps(x + r * NR)), y1 = _mm256_mul_ps(f, _mm256_load_ps(x + r * NR + 8));
        if (n_cols == NR) {
            _mm256_storeu_ps(out, y0);
            _mm256_storeu_ps(out + 8, y1);
        } else {
            _mm256_maskstore_ps(out, mask0, y0);
            _mm256_maskstore_ps(out + 8, mask1, y1);
        }
    }
}

/* Query rows i .. i + n_rows - 1, at most BLOCK. */
static void block(const head_scratch *s, const tkr_attention_args *args, size_t i, size_t n_rows) {
    _Alignas(32) float x[MR * NR];
    float inverse[BLOCK];
    size_t hd = args->head_dim, ld = s->n_padded;
    size_t first = keys_of(args, i).low / NR * NR, width = keys_of(args, i + n_rows - 1).high - first;
    size_t softmax_width = (width + 7) / 8 * 8, sum_width = (width + 3) / 4 * 4;
    const float *q = args->q + i * args->q_stride;
    for (size_t j = 0; j < width; j += NR) {
        for (size_t r = 0, n; r < n_rows; r += n) {
            n = tkr_avx2_tile_rows(n_rows - r);
            tkr_avx2_tile_f32[n - 1](q + r * args->q_stride, args->q_stride, s->kt + (first + j) * hd, hd,
                                     s->scores + r * ld + j, ld);
        }
    }
    for (size_t r = 0; r < n_rows; r++) {
        key_range keys = keys_of(args, i + r);
        mask_row(s->scores + r * ld, softmax_width, keys.low - first, keys.high - first);
        inverse[r] = softmax_row(s->scores + r * ld, softmax_width, args->scale * 1.44269504f);
    }
    for (size_t d = 0; d < hd; d += NR) {
        for (size_t r = 0, n; r < n_rows; r += n) {
            n = tkr_avx2_tile_rows(n_rows - r);
            tkr_avx2_tile_f32[n - 1](s->scores + r * ld, ld, s->v + d * s->n_padded + first * NR, sum_width, x, NR);
            store_out(args->out + (i + r) * args->out_stride + d, args->out_stride, x, inverse + r, n,
                      hd - d < NR ? hd - d : NR);
        }
    }
}

/* BLOCK rows, but no last block of one to three, which would wait for its own sums. */
static size_t block_rows(size_t left) { return left <= BLOCK ? left : left < BLOCK + 4 ? BLOCK - 3 : BLOCK; }

static void head(const tkr_attention_args *args) {
    head_scratch s = {.kt = args->scratch, .n_padded = pad(args->n_tokens)};
    s.v = s.kt + s.n_padded * args->head_dim;
    s.scores = s.v + s.n_padded * pad(args->head_dim);
    pack_k(&s, args);
    pack_v(&s, args);
    for (size_t i = 0, n; i < args->n_tokens; i += n) {
        n = block_rows(args->n_tokens - i);
        block(&s, args, i, n);
    }
}

const tkr_attention tkr_attention_avx2 = {.name = "f32/avx2", .head = head, .scratch_bytes = scratch_bytes};
