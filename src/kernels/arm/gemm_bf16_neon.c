/* SPDX-License-Identifier: Apache-2.0 */
/* arm/gemm_bf16_neon: bf16 GEMM without bf16 instructions: panels [k][16] of bf16, widened on the way into an f32 FMA;
 * rows are f32 values that were rounded to bf16. Products are exact, sums as in generic/gemm_float. */
#include "kernels/arm/arm.h"
#include "kernels/arm/epilogue_neon.h"
#include "quant/dtype.h"

TKR_INLINE float32x4_t widen4(const char *p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16((const uint16_t *)(const void *)p), 16));
}

#define TKR_TILE_ACC float32x4_t
#define TKR_TILE_ZERO vdupq_n_f32(0)
#define TKR_TILE_STORE(p, s) vst1q_f32((float *)(void *)(p), s)
#define TKR_TILE_ROW float32x4_t
#define TKR_TILE_A(p) vld1q_f32((const float *)(const void *)(p))
#define TKR_TILE_COLS float32x4_t
#define TKR_TILE_B(p, c) widen4((p) + 8 * (c))
#define TKR_TILE_MAC(s, b, a, lane) vfmaq_laneq_f32(s, b, a, lane)
#include "kernels/arm/tile_neon.h"

TKR_TILE_BODY

static void pack_rows(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld, size_t n_rows,
                      size_t k, size_t k_padded) {
    (void)quant;
    for (size_t i = 0; i < n_rows; i++) {
        float *row = (float *)(void *)((char *)dst + i * dst_stride);
        for (size_t j = 0; j < k; j++) {
            row[j] = tkr_bf16_to_f32(tkr_f32_to_bf16(src[i * ld + j]));
        }
        memset(row + k, 0, (k_padded - k) * sizeof *row);
    }
}

static void pack_panel(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                       size_t k_padded) {
    (void)scale;
    (void)sum;
    uint16_t *b = panel;
    memset(b, 0, k_padded * TKR_NEON_NR * sizeof *b);
    for (size_t j = 0; j < n_cols; j++) {
        for (size_t i = 0; i < k; i++) {
            b[i * TKR_NEON_NR + j] = tkr_f32_to_bf16(w[j * ld + i]);
        }
    }
}

static void panel(const tkr_gemm_args *args) { TKR_TILE_PANEL(args, args->k_padded * 4, TKR_NEON_NR * 2, false) }

const tkr_gemm tkr_gemm_bf16_neon = {
    .name = "bf16/neon",
    .nr = TKR_NEON_NR,
    .mr = TKR_NEON_MR,
    .k_align = 4,
    .act_bytes = 4,
    .weight_bits = 16,
    .pack_rows = pack_rows,
    .pack_panel = pack_panel,
    .panel = panel,
};
