/* SPDX-License-Identifier: Apache-2.0 */
/* arm/gemm_q4_dotprod: grouped 4-bit weights x s8 rows by sdot; codes are small enough to be signed. Row and panel
 * layouts and the order of operations are those of generic/gemm_q4.h, products fused with additions. Sums of a block
 * stay in registers, f32 results in L1. */
#include <float.h>
#include <string.h>

#include "kernels/arm/arm.h"
#include "kernels/arm/epilogue_neon.h"
#include "kernels/generic/gemm_q4.h"

enum { MR = TKR_NEON_MR, NR = TKR_NEON_NR, BLOCK = TKR_Q4_BLOCK, STEP_BYTES = 4 * NR /* 8 values of k */ };

/* ---- tile ---- */

typedef void q4_tile_fn(const tkr_q4_tile *t);

TKR_INLINE float load_float(const char *p) {
    float x;
    memcpy(&x, p, sizeof x);
    return x;
}

#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3)

#define BIAS_VARS(r) float32x4_t f##r##0 = tkr_set(0), f##r##1 = f##r##0, f##r##2 = f##r##0, f##r##3 = f##r##0;
#define BIAS(r)                                       \
    if (rows > r) {                                   \
        const float x = load_float(sum + r * stride); \
        f##r##0 = vfmaq_n_f32(f##r##0, w0, x);        \
        f##r##1 = vfmaq_n_f32(f##r##1, w1, x);        \
        f##r##2 = vfmaq_n_f32(f##r##2, w2, x);        \
        f##r##3 = vfmaq_n_f32(f##r##3, w3, x);        \
    }
#define BIAS_OUT(r)                            \
    if (rows > r) {                            \
        vst1q_f32(out + r * NR, f##r##0);      \
        vst1q_f32(out + r * NR + 4, f##r##1);  \
        vst1q_f32(out + r * NR + 8, f##r##2);  \
        vst1q_f32(out + r * NR + 12, f##r##3); \
    }

/* out = the sum over groups of bias times the row's sum. */
TKR_INLINE void bias_body(const tkr_q4_tile *t, const size_t rows) {
    EACH_ROW(BIAS_VARS)
    const char *sum = t->sum;
    const float *w = t->bias;
    const size_t stride = t->stride;
    float *out = t->out;
    for (size_t g = 0; g < t->n_groups; g++, sum += sizeof(float), w += NR) {
        const float32x4_t w0 = vld1q_f32(w), w1 = vld1q_f32(w + 4), w2 = vld1q_f32(w + 8), w3 = vld1q_f32(w + 12);
        EACH_ROW(BIAS)
    }
    EACH_ROW(BIAS_OUT)
}

#define VARS(r) int32x4_t c##r##0 = vdupq_n_s32(0), c##r##1 = c##r##0, c##r##2 = c##r##0, c##r##3 = c##r##0;
#define LOAD(r) const int8x16_t a##r = vld1q_s8((const int8_t *)(q + (rows > r ? r * stride : 0)));
#define LANE(r, lane)                                       \
    if (rows > r) {                                         \
        c##r##0 = vdotq_laneq_s32(c##r##0, w0, a##r, lane); \
        c##r##1 = vdotq_laneq_s32(c##r##1, w1, a##r, lane); \
        c##r##2 = vdotq_laneq_s32(c##r##2, w2, a##r, lane); \
        c##r##3 = vdotq_laneq_s32(c##r##3, w3, a##r, lane); \
    }
/* Four values of k; the nibble is taken by low or high. */
#define QUAD(NIBBLE, lane)                                                                  \
    {                                                                                       \
        const int8x16_t w0 = NIBBLE(v0), w1 = NIBBLE(v1), w2 = NIBBLE(v2), w3 = NIBBLE(v3); \
        LANE(0, lane)                                                                       \
        LANE(1, lane)                                                                       \
        LANE(2, lane)                                                                       \
        LANE(3, lane)                                                                       \
    }
#define LOW(v) vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15)))
#define HIGH(v) vreinterpretq_s8_u8(vshrq_n_u8(v, 4))
/* Keeps gcc from loading and unpacking ahead, and from holding `out` in registers: both spill. */
#define ORDER __asm__ volatile("" ::: "memory")
#define EIGHT(lane)                                                                                  \
    {                                                                                                \
        const uint8x16_t v0 = vld1q_u8(codes), v1 = vld1q_u8(codes + 16), v2 = vld1q_u8(codes + 32), \
                         v3 = vld1q_u8(codes + 48);                                                  \
        QUAD(LOW, lane)                                                                              \
        ORDER;                                                                                       \
        QUAD(HIGH, lane + 1)                                                                         \
        ORDER;                                                                                       \
        codes += STEP_BYTES;                                                                         \
    }
#define SCALE_COLUMNS(r, v, j)  \
    vst1q_f32(out + r * NR + j, \
              vfmaq_n_f32(vld1q_f32(out + r * NR + j), vmulq_f32(vcvtq_f32_s32(c##r##v), vld1q_f32(s + j)), x));
#define SCALE(r)                                        \
    if (rows > r) {                                     \
        const float x = load_float(scale + r * stride); \
        SCALE_COLUMNS(r, 0, 0)                          \
        SCALE_COLUMNS(r, 1, 4)                          \
        SCALE_COLUMNS(r, 2, 8)                          \
        SCALE_COLUMNS(r, 3, 12)                         \
    }

/* out += every block's sums, scaled. */
TKR_INLINE void block_body(const tkr_q4_tile *t, const size_t rows) {
    const char *q = t->q, *scale = t->scale;
    const uint8_t *codes = t->codes;
    const size_t stride = t->stride;
    float *out = t->out;
    for (size_t b = 0; b < t->n_blocks; b++, scale += sizeof(float)) {
        EACH_ROW(VARS)
        for (size_t i = 0; i < BLOCK; i += 16, q += 16) {
            EACH_ROW(LOAD)
            EIGHT(0)
            EIGHT(2)
        }
        const float *s = t->b_scale + (b >> t->shift) * NR;
        EACH_ROW(SCALE)
        ORDER;
    }
}

#define TILE(r)                                                            \
    static __attribute__((noinline)) void tile_##r(const tkr_q4_tile *t) { \
        bias_body(t, r);                                                   \
        block_body(t, r);                                                  \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
static q4_tile_fn *const tiles[MR + 1] = {NULL, tile_1, tile_2, tile_3, tile_4};

/* ---- rows ---- */

/* Codes of 16 values; adds them to *sum. A NaN becomes the lowest: maxnm takes the number. */
TKR_INLINE int8x16_t encode(const float *x, float inverse, int32_t *sum) {
    int32x4_t q[4];
    for (size_t i = 0; i < 4; i++) {
        const float32x4_t y = vmaxnmq_f32(vmulq_n_f32(vld1q_f32(x + 4 * i), inverse), tkr_set(-127.0f));
        q[i] = vcvtnq_s32_f32(vminnmq_f32(y, tkr_set(127.0f)));
    }
    *sum += vaddvq_s32(vaddq_s32(vaddq_s32(q[0], q[1]), vaddq_s32(q[2], q[3])));
    return vcombine_s8(vmovn_s16(vcombine_s16(vmovn_s32(q[0]), vmovn_s32(q[1]))),
                       vmovn_s16(vcombine_s16(vmovn_s32(q[2]), vmovn_s32(q[3]))));
}

static void encode_block(int8_t *q, float *scale, float *sum, const float *x) {
    float32x4_t top = tkr_set(0);
    for (size_t i = 0; i < BLOCK; i += 4) {
        top = vmaxnmq_f32(vabsq_f32(vld1q_f32(x + i)), top);
    }
    const float high = vmaxvq_f32(top);
    const bool some = high / 127.0f >= FLT_MIN;
    const float inverse = some ? 127.0f / high : 0;
    int32_t total = 0;
    vst1q_s8(q, encode(x, inverse, &total));
    vst1q_s8(q + 16, encode(x + 16, inverse, &total));
    *scale = some ? high / 127.0f : 0;
    *sum = *scale * (float)total;
}

static void pack_rows(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld, size_t n_rows,
                      size_t k, size_t k_padded) {
    (void)quant;
    for (size_t row = 0; row < n_rows; row++) {
        const tkr_q4_row r = tkr_q4_row_at((char *)dst + row * dst_stride, k_padded);
        const float *x = src + row * ld;
        for (size_t b = 0; b < k_padded / BLOCK; b++) {
            float tail[BLOCK] = {0};
            const float *block = x + b * BLOCK;
            if ((b + 1) * BLOCK > k) {
                memcpy(tail, block, (k - b * BLOCK) * sizeof *tail);
                block = tail;
            }
            encode_block(r.q + b * BLOCK, r.scale + b, r.sum32 + b, block);
        }
        tkr_q4_fold_sums(&r, k_padded);
    }
}

/* ---- panels ---- */

static size_t panel_bytes(size_t k_padded, size_t group, tkr_scale_kind scale_kind) {
    return tkr_q4_panel_bytes(NR, k_padded, group, scale_kind);
}

static void pack_codes(void *panel, const tkr_codes *codes) { tkr_q4_pack_panel(panel, NR, codes); }

/* n scales or biases to f32, n a multiple of 4. */
static void widen(float *dst, const void *src, size_t n, tkr_scale_kind kind) {
    if (kind == TKR_SCALE_F32) {
        memcpy(dst, src, n * sizeof *dst);
        return;
    }
    for (size_t i = 0; i < n; i += 4) {
        const uint16x4_t half = vld1_u16((const uint16_t *)src + i);
        vst1q_f32(dst + i, kind == TKR_SCALE_F16 ? vcvt_f32_f16(vreinterpret_f16_u16(half))
                                                 : vreinterpretq_f32_u32(vshll_n_u16(half, 16)));
    }
}

/* Scales and biases in f32, as if every block had its own. */
static size_t scratch_bytes(size_t k_padded) { return 2 * (k_padded / BLOCK) * NR * sizeof(float); }

static void panel(const tkr_gemm_args *args) {
    _Alignas(64) float out[MR * NR];
    tkr_q4_tile tile = tkr_q4_tile_of(args, NR, out);
    widen(args->scratch, args->b, 2 * tile.n_groups * NR, args->scale_kind);
    for (size_t m = 0; m < args->n_rows; m += MR) {
        const size_t rows = args->n_rows - m < MR ? args->n_rows - m : MR;
        tkr_q4_tile_at(&tile, args, m);
        tiles[rows](&tile);
        tkr_epilogue(args, m, rows, out, false);
    }
}

const tkr_gemm tkr_gemm_q4_dotprod = {
    .name = "q4/dotprod",
    .nr = NR,
    .mr = MR,
    .k_align = BLOCK,
    .act_bytes = 1,
    .weight_bits = 4,
    .pack_rows = pack_rows,
    .panel = panel,
    .scratch_bytes = scratch_bytes,
    .pack_codes = pack_codes,
    .row_bytes = tkr_q4_row_bytes,
    .panel_bytes = panel_bytes,
};
