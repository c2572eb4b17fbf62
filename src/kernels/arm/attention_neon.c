/* SPDX-License-Identifier: Apache-2.0 */
/* arm/attention_neon: one head in f32, four queries at a time: scores of the keys that the four may see, two-pass
 * softmax, then the weighted values; both products are register tiles of 4x16. Keys are summed in ascending order. */
#include "kernels/arm/arm.h"
#include "kernels/arm/math_neon.h"

#define TKR_TILE_ACC float32x4_t
#define TKR_TILE_ZERO vdupq_n_f32(0)
#define TKR_TILE_STORE(p, s) vst1q_f32((float *)(void *)(p), s)
#define TKR_TILE_ROW float32x4_t
#define TKR_TILE_A(p) vld1q_f32((const float *)(const void *)(p))
#define TKR_TILE_COLS float32x4_t
#define TKR_TILE_B(p, c) vld1q_f32((const float *)(const void *)((p) + 16 * (c)))
#define TKR_TILE_MAC(s, b, a, lane) vfmaq_laneq_f32(s, b, a, lane)
#include "kernels/arm/tile_neon.h"

TKR_TILE_BODY

enum { MR = 4, NR = 16 };

/* Parts of scratch, in floats. */
typedef struct layout {
    size_t n_padded;   /* tokens, multiple of 16 */
    size_t dim_padded; /* multiple of 16 */
    size_t keys;       /* panels [n_padded / 16][head_dim][16] */
    size_t values;     /* [n_padded][dim_padded] */
    size_t scores;     /* [4][n_padded], then the weights */
    size_t sums;       /* [4][dim_padded] */
    size_t total;
} layout;

static layout layout_of(size_t n_tokens, size_t head_dim) {
    layout l;
    l.n_padded = (n_tokens + NR - 1) / NR * NR;
    l.dim_padded = (head_dim + NR - 1) / NR * NR;
    l.keys = 0;
    l.values = l.keys + l.n_padded * head_dim;
    l.scores = l.values + l.n_padded * l.dim_padded;
    l.sums = l.scores + MR * l.n_padded;
    l.total = l.sums + MR * l.dim_padded;
    return l;
}

static size_t scratch_bytes(size_t n_tokens, size_t head_dim) {
    return layout_of(n_tokens, head_dim).total * sizeof(float);
}

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

/* K to panels of 16 keys and V to rows of whole vectors, zeros behind the last token and dimension. */
static void pack(const tkr_attention_args *args, const layout *l, float *keys, float *values) {
    const size_t hd = args->head_dim;
    for (size_t j = 0; j < l->n_padded; j += 4) {
        float *panel = keys + j / NR * hd * NR + j % NR;
        for (size_t d = 0; d < hd; d += 4) {
            float32x4_t r[4];
            for (size_t i = 0; i < 4; i++) {
                r[i] = j + i < args->n_tokens ? vld1q_f32(args->k + (j + i) * args->kv_stride + d) : tkr_set(0);
            }
            const float32x4_t a = vtrn1q_f32(r[0], r[1]), b = vtrn2q_f32(r[0], r[1]);
            const float32x4_t c = vtrn1q_f32(r[2], r[3]), e = vtrn2q_f32(r[2], r[3]);
            vst1q_f32(panel + d * NR, vcombine_f32(vget_low_f32(a), vget_low_f32(c)));
            vst1q_f32(panel + (d + 1) * NR, vcombine_f32(vget_low_f32(b), vget_low_f32(e)));
            vst1q_f32(panel + (d + 2) * NR, vcombine_f32(vget_high_f32(a), vget_high_f32(c)));
            vst1q_f32(panel + (d + 3) * NR, vcombine_f32(vget_high_f32(b), vget_high_f32(e)));
        }
    }
    for (size_t j = 0; j < l->n_padded; j++) {
        float *row = values + j * l->dim_padded;
        const size_t n = j < args->n_tokens ? hd : 0;
        if (n) {
            memcpy(row, args->v + j * args->kv_stride, n * sizeof *row);
        }
        memset(row + n, 0, (l->dim_padded - n) * sizeof *row);
    }
}

/* Ones in the lanes of keys j .. j + 3 that are in r. */
TKR_INLINE uint32x4_t lanes(range r, size_t j) {
    uint32_t m[4];
    for (size_t i = 0; i < 4; i++) {
        m[i] = j + i >= r.low && j + i < r.high ? 0xffffffffu : 0;
    }
    return vld1q_u32(m);
}

/* Scores of keys from .. to - 1 to weights 2^(scale * (x - max)), 0 outside r; returns 1 / sum. */
static float softmax_row(float *x, range r, size_t from, size_t to, float scale) {
    const float32x4_t lowest = tkr_set(-3.0e38f);
    float32x4_t top = lowest, sum = tkr_set(0);
    for (size_t j = from; j < to; j += 4) {
        top = vmaxq_f32(top, vbslq_f32(lanes(r, j), vld1q_f32(x + j), lowest));
    }
    const float32x4_t s = tkr_set(scale), shift = tkr_set(-scale * vmaxvq_f32(top));
    for (size_t j = from; j < to; j += 4) {
        const float32x4_t u = tkr_fma(vld1q_f32(x + j), s, shift);
        const float32x4_t p = vbslq_f32(lanes(r, j), tkr_exp2(vmaxq_f32(tkr_set(-126.0f), u)), tkr_set(0));
        sum = vaddq_f32(sum, p);
        vst1q_f32(x + j, p);
    }
    return 1.0f / vaddvq_f32(sum);
}

/* Queries i .. i + rows - 1. */
static void attend(const tkr_attention_args *args, const layout *l, size_t i, size_t rows) {
    float *s = args->scratch;
    const size_t from = keys_of(args, i).low / NR * NR, to = (keys_of(args, i + rows - 1).high + NR - 1) / NR * NR;
    for (size_t j = from; j < to; j += NR) {
        const tkr_tile t = {.a = (const char *)(args->q + i * args->q_stride),
                            .a_stride = args->q_stride * 4,
                            .b = (const char *)(s + l->keys + j * args->head_dim),
                            .b_step = NR * 4,
                            .steps = args->head_dim / 4,
                            .out = (char *)(s + l->scores + j),
                            .out_stride = l->n_padded * 4};
        tiles[rows](&t);
    }
    float inverse[MR];
    for (size_t r = 0; r < rows; r++) {
        inverse[r] =
            softmax_row(s + l->scores + r * l->n_padded, keys_of(args, i + r), from, to, args->scale * TKR_LOG2E);
    }
    for (size_t d = 0; d < l->dim_padded; d += NR) {
        const tkr_tile t = {.a = (const char *)(s + l->scores + from),
                            .a_stride = l->n_padded * 4,
                            .b = (const char *)(s + l->values + from * l->dim_padded + d),
                            .b_step = l->dim_padded * 4,
                            .steps = (to - from) / 4,
                            .out = (char *)(s + l->sums + d),
                            .out_stride = l->dim_padded * 4};
        tiles[rows](&t);
    }
    for (size_t r = 0; r < rows; r++) {
        float *out = args->out + (i + r) * args->out_stride;
        for (size_t d = 0; d < args->head_dim; d += 4) {
            vst1q_f32(out + d, vmulq_n_f32(vld1q_f32(s + l->sums + r * l->dim_padded + d), inverse[r]));
        }
    }
}

static void head(const tkr_attention_args *args) {
    const layout l = layout_of(args->n_tokens, args->head_dim);
    float *s = args->scratch;
    pack(args, &l, s + l.keys, s + l.values);
    for (size_t i = 0; i < args->n_tokens; i += MR) {
        attend(args, &l, i, args->n_tokens - i < MR ? args->n_tokens - i : MR);
    }
}

const tkr_attention tkr_attention_f32_neon = {.name = "f32/neon", .head = head, .scratch_bytes = scratch_bytes};
