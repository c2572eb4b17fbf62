/* SPDX-License-Identifier: Apache-2.0 */
/* arm/gemm_f32_neon: f32 GEMM, panels [k][16], tiles of 4x16; and the overlay of the NEON rung. */
#include "kernels/arm/arm.h"
#include "kernels/arm/epilogue_neon.h"

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

static void pack_rows(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld, size_t n_rows,
                      size_t k, size_t k_padded) {
    (void)quant;
    for (size_t i = 0; i < n_rows; i++) {
        char *row = (char *)dst + i * dst_stride;
        memcpy(row, src + i * ld, k * sizeof(float));
        memset(row + k * sizeof(float), 0, (k_padded - k) * sizeof(float));
    }
}

static void pack_panel(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                       size_t k_padded) {
    (void)scale;
    (void)sum;
    float *b = panel;
    memset(b, 0, k_padded * TKR_NEON_NR * sizeof *b);
    for (size_t j = 0; j < n_cols; j++) {
        for (size_t i = 0; i < k; i++) {
            b[i * TKR_NEON_NR + j] = w[j * ld + i];
        }
    }
}

static void panel(const tkr_gemm_args *args) { TKR_TILE_PANEL(args, args->k_padded * 4, TKR_NEON_NR * 4, false) }

static const tkr_gemm gemm_f32_neon = {
    .name = "f32/neon",
    .nr = TKR_NEON_NR,
    .mr = TKR_NEON_MR,
    .k_align = 4,
    .act_bytes = 4,
    .weight_bits = 32,
    .rows_in_place = true,
    .pack_rows = pack_rows,
    .pack_panel = pack_panel,
    .panel = panel,
};

/* Sixteen chains of 4 lanes. */
static double peak_f32(size_t iterations) {
    const float32x4_t x = vdupq_n_f32(0.5f), y = vdupq_n_f32(0.25f);
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define DECLARE(n) float32x4_t s##n = vdupq_n_f32(n);
#define STEP(n) s##n = vfmaq_f32(s##n, x, y);
#define SUM(n) total = vaddq_f32(total, s##n);
    EACH(DECLARE)
    for (size_t i = 0; i < iterations; i++) {
        EACH(STEP)
    }
    float32x4_t total = vdupq_n_f32(0);
    EACH(SUM)
    volatile float sink = vaddvq_f32(total);
    (void)sink;
    return 16.0 * 4.0 * 2.0 * (double)iterations;
#undef EACH
#undef DECLARE
#undef STEP
#undef SUM
}

void tkr_kernels_overlay_neon(tkr_kernels *k, tkr_cpu_flags flags) {
    if (!(flags & TKR_CPU_NEON)) {
        return;
    }
    k->rung = "neon";
    k->gemm[TKR_GEMM_F32] = &gemm_f32_neon;
    k->gemm[TKR_GEMM_BF16] = &tkr_gemm_bf16_neon;
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        k->attention[mode] = &tkr_attention_f32_neon;
    }
    k->layer_norm = tkr_layer_norm_neon;
    k->rms_norm = tkr_rms_norm_neon;
    k->gate = tkr_gate_neon;
    k->rotate = tkr_rotate_neon;
    k->activate = tkr_activate_neon;
    k->axpy = tkr_axpy_neon;
    k->resample_x = tkr_resample_x_neon;
    k->resample_y = tkr_resample_y_neon;
    k->peak[TKR_GEMM_F32] = peak_f32;
    k->peak[TKR_GEMM_BF16] = peak_f32;
}
