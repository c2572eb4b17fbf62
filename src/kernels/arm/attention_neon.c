/* SPDX-License-Identifier: Apache-2.0 */
/* arm/attention_neon: attention in f32: K in panels of 16 keys, V in rows, both products in register tiles of 4x16. */
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

enum { MR = 4, NR = 16, STEP = NR, ELEMENT = sizeof(float) };
#include "kernels/attention_blocks.h"

/* K transposed, [n_padded / 16][head_dim][16], zeros behind the last token. */
static void pack_keys(const work *w) {
    const tkr_attention_args *args = w->args;
    const size_t hd = args->head_dim;
    for (size_t j = 0; j < w->n_padded; j += 4) {
        float *panel = (float *)(void *)w->keys + j / NR * hd * NR + j % NR;
        for (size_t d = 0; d < hd; d += 4) {
            float32x4_t r[4];
            for (size_t i = 0; i < 4; i++) {
                const size_t key = w->base + j + i;
                r[i] = key < args->n_tokens ? vld1q_f32(args->k + key * args->kv_stride + d) : tkr_set(0);
            }
            const float32x4_t a = vtrn1q_f32(r[0], r[1]), b = vtrn2q_f32(r[0], r[1]);
            const float32x4_t c = vtrn1q_f32(r[2], r[3]), e = vtrn2q_f32(r[2], r[3]);
            vst1q_f32(panel + d * NR, vcombine_f32(vget_low_f32(a), vget_low_f32(c)));
            vst1q_f32(panel + (d + 1) * NR, vcombine_f32(vget_low_f32(b), vget_low_f32(e)));
            vst1q_f32(panel + (d + 2) * NR, vcombine_f32(vget_high_f32(a), vget_high_f32(c)));
            vst1q_f32(panel + (d + 3) * NR, vcombine_f32(vget_high_f32(b), vget_high_f32(e)));
        }
    }
}

/* V in rows, [n_padded][dim_padded]. */
static void pack(const work *w) {
    const tkr_attention_args *args = w->args;
    pack_keys(w);
    for (size_t j = 0; j < w->n_padded; j++) {
        float *row = (float *)(void *)w->values + j * w->dim_padded;
        const size_t key = w->base + j, n = key < args->n_tokens ? args->head_dim : 0;
        if (n) {
            memcpy(row, args->v + key * args->kv_stride, n * sizeof *row);
        }
        memset(row + n, 0, (w->dim_padded - n) * sizeof *row);
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

static void score_panel(const work *w, const group *g, const char *q, size_t stride, size_t panel) {
    const tkr_tile t = {.a = q + g->row * stride,
                        .a_stride = stride,
                        .b = w->keys + (panel - w->base) * w->args->head_dim * sizeof(float),
                        .b_step = NR * sizeof(float),
                        .steps = w->args->head_dim / 4,
                        .out = w->scores + (g->row * w->ld + panel - w->origin) * sizeof(float),
                        .out_stride = w->ld * sizeof(float)};
    tiles[g->n_rows](&t);
}

/* Ones in the lanes of keys j .. j + 3 that are in r. */
TKR_INLINE uint32x4_t lanes(key_range r, size_t j) {
    static const uint32_t order[4] = {0, 1, 2, 3};
    const uint32x4_t from = vdupq_n_u32((uint32_t)(r.low > j ? least(r.low - j, 4) : 0));
    const uint32x4_t to = vdupq_n_u32((uint32_t)(r.high > j ? least(r.high - j, 4) : 0)), at = vld1q_u32(order);
    return vandq_u32(vcgeq_u32(at, from), vcltq_u32(at, to));
}

static void softmax_row(const work *w, size_t row, size_t query, key_range keys, key_range seen, row_state *state) {
    const tkr_attention_args *args = w->args;
    const size_t end = keys.low + round_up(keys.high - keys.low, 4);
    const float32x4_t lowest = tkr_set(-3.0e38f);
    float *x = (float *)(void *)w->scores + row * w->ld, c = args->scale * TKR_LOG2E;
    float32x4_t top = lowest, sum = tkr_set(0);
    for (size_t j = keys.low; j < end; j += 4) {
        float32x4_t y = vld1q_f32(x + (j - w->origin));
        if (args->relative) {
            const float *bias = args->relative + ((ptrdiff_t)j - (ptrdiff_t)query);
            y = tkr_fma(y, tkr_set(args->scale), tkr_load(bias, args->n_tokens - j));
            vst1q_f32(x + (j - w->origin), y);
            c = TKR_LOG2E;
        }
        top = vmaxq_f32(top, vbslq_f32(lanes(seen, j), y, lowest));
    }
    const float offset = -c * vmaxvq_f32(top);
    if (state->keep > 0 && offset < state->offset) {
        const float32x4_t step = vmaxq_f32(tkr_set(-126.0f), tkr_set(offset - state->offset));
        state->keep = vgetq_lane_f32(tkr_exp2(step), 0);
    }
    state->offset = state->keep > 0 && state->offset < offset ? state->offset : offset;
    const float32x4_t factor = tkr_set(c), shift = tkr_set(state->offset);
    for (size_t j = keys.low; j < end; j += 4) {
        const float32x4_t u = tkr_fma(vld1q_f32(x + (j - w->origin)), factor, shift);
        const float32x4_t p = vbslq_f32(lanes(seen, j), tkr_exp2(vmaxq_f32(tkr_set(-126.0f), u)), tkr_set(0));
        sum = vaddq_f32(sum, p);
        vst1q_f32(x + (j - w->origin), p);
    }
    state->sum = state->keep > 0 ? state->sum * state->keep + vaddvq_f32(sum) : vaddvq_f32(sum);
}

static size_t add_values(const work *w, const group *g, size_t d, const row_state *states, float *out) {
    float sums[MR * NR];
    const size_t n_cols = least(w->args->head_dim - d, NR);
    const tkr_tile t = {.a = w->weights + (g->row * w->ld + g->keys.low - w->origin) * sizeof(float),
                        .a_stride = w->ld * sizeof(float),
                        .b = w->values + ((g->keys.low - w->base) * w->dim_padded + d) * sizeof(float),
                        .b_step = w->dim_padded * sizeof(float),
                        .steps = (g->keys.high - g->keys.low + 3) / 4,
                        .out = (char *)sums,
                        .out_stride = NR * sizeof(float)};
    tiles[g->n_rows](&t);
    for (size_t r = 0; r < g->n_rows; r++) {
        const row_state *state = &states[g->row + r];
        float *p = out + (g->row + r) * w->args->out_stride + d;
        for (size_t i = 0; i < n_cols && state->keep >= 0; i += 4) {
            float32x4_t y = vld1q_f32(sums + r * NR + i);
            if (state->keep > 0) {
                y = tkr_fma(vld1q_f32(p + i), tkr_set(state->keep), y);
            }
            vst1q_f32(p + i, vmulq_n_f32(y, state->scale));
        }
    }
    return d + NR;
}

const tkr_attention tkr_attention_f32_neon = {.name = "f32/neon", .head = head, .scratch_bytes = scratch_bytes};
