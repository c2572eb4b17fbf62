/* SPDX-License-Identifier: Apache-2.0 */
/* arm/gemm_bf16_bf16: bf16 GEMM by bfmmla, panels [k / 4][16][4]; and the overlay of that rung. */
#include "kernels/arm/arm.h"
#include "kernels/arm/epilogue_neon.h"
#include "quant/dtype.h"

#define TKR_MMLA_ACC float32x4_t
#define TKR_MMLA_ZERO vdupq_n_f32(0)
#define TKR_MMLA_STORE(p, s) vst1q_f32((float *)(void *)(p), s)
#define TKR_MMLA(s, a, b) vbfmmlaq_f32(s, vreinterpretq_bf16_u8(a), vreinterpretq_bf16_u8(b))
#include "kernels/arm/tile_mmla.h"

TKR_MMLA_BODY

static void pack_rows(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld, size_t n_rows,
                      size_t k, size_t k_padded) {
    (void)quant;
    for (size_t i = 0; i < n_rows; i++) {
        uint16_t *row = (uint16_t *)(void *)((char *)dst + i * dst_stride);
        for (size_t j = 0; j < k_padded; j += 4) {
            const float32x4_t x = j < k ? tkr_load(src + i * ld + j, k - j) : vdupq_n_f32(0);
            vst1_u16(row + j, vreinterpret_u16_bf16(vcvt_bf16_f32(x)));
        }
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
            b[(i / 4 * TKR_NEON_NR + j) * 4 + i % 4] = tkr_f32_to_bf16(w[j * ld + i]);
        }
    }
}

static void panel(const tkr_gemm_args *args) { TKR_MMLA_PANEL(args, args->k_padded * 2, false) }

static const tkr_gemm gemm_bf16_bf16 = {
    .name = "bf16/arm-bf16",
    .nr = TKR_NEON_NR,
    .mr = TKR_NEON_MR,
    .k_align = 8,
    .act_bytes = 2,
    .weight_bits = 16,
    .pack_rows = pack_rows,
    .pack_panel = pack_panel,
    .panel = panel,
};

/* Sixteen chains of 4 sums of four products. */
static double peak_bf16(size_t iterations) {
    volatile float half = 0.5f; /* as a constant, gcc 12 writes an instruction that the assembler refuses */
    const bfloat16x8_t x = vdupq_n_bf16(vcvth_bf16_f32(half));
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define DECLARE(n) float32x4_t s##n = vdupq_n_f32(n);
#define STEP(n) s##n = vbfmmlaq_f32(s##n, x, x);
#define SUM(n) total = vaddq_f32(total, s##n);
    EACH(DECLARE)
    for (size_t i = 0; i < iterations; i++) {
        EACH(STEP)
    }
    float32x4_t total = vdupq_n_f32(0);
    EACH(SUM)
    volatile float sink = vaddvq_f32(total);
    (void)sink;
    return 16.0 * 4.0 * 8.0 * (double)iterations;
#undef EACH
#undef DECLARE
#undef STEP
#undef SUM
}

void tkr_kernels_overlay_arm_bf16(tkr_kernels *k, tkr_cpu_flags flags) {
    if (!(flags & TKR_CPU_ARM_BF16)) {
        return;
    }
    k->gemm[TKR_GEMM_BF16] = &gemm_bf16_bf16;
    k->peak[TKR_GEMM_BF16] = peak_bf16;
    k->bf16_is_fast = true;
}
