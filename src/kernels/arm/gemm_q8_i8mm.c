/* SPDX-License-Identifier: Apache-2.0 */
/* arm/gemm_q8_i8mm: int8 GEMM by usmmla, u8 rows (asymmetric) x s8 weights, panels [k / 8][16][8], exact s32 sums. */
#include "kernels/arm/arm.h"
#include "kernels/arm/epilogue_neon.h"
#include "kernels/generic/generic.h"

#define TKR_MMLA_ACC int32x4_t
#define TKR_MMLA_ZERO vdupq_n_s32(0)
#define TKR_MMLA_STORE(p, s) vst1q_s32((int32_t *)(void *)(p), s)
#define TKR_MMLA(s, a, b) vusmmlaq_s32(s, a, vreinterpretq_s8_u8(b))
#include "kernels/arm/tile_mmla.h"

TKR_MMLA_BODY

static void pack_panel(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                       size_t k_padded) {
    int8_t *b = panel;
    memset(b, 0, k_padded * TKR_NEON_NR);
    for (size_t j = 0; j < TKR_NEON_NR; j++) {
        scale[j] = j < n_cols ? tkr_s8_scale(w + j * ld, k) : 0;
        sum[j] = 0;
        for (size_t i = 0; j < n_cols && i < k; i++) {
            const int8_t q = tkr_s8_code(w[j * ld + i], scale[j]);
            b[(i / 8 * TKR_NEON_NR + j) * 8 + i % 8] = q;
            sum[j] += q;
        }
    }
}

static void panel(const tkr_gemm_args *args) { TKR_MMLA_PANEL(args, args->k_padded, true) }

static const tkr_gemm gemm_q8_i8mm = {
    .name = "q8/i8mm",
    .nr = TKR_NEON_NR,
    .mr = TKR_NEON_MR,
    .k_align = 16,
    .act_bytes = 1,
    .weight_bits = 8,
    .integer = true,
    .pack_rows = tkr_pack_rows_u8_neon,
    .pack_panel = pack_panel,
    .panel = panel,
};

/* Sixteen chains of 4 sums of eight products. */
static double peak_q8(size_t iterations) {
    const int8x16_t x = vdupq_n_s8(3);
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define DECLARE(n) int32x4_t s##n = vdupq_n_s32(n);
#define STEP(n) s##n = vusmmlaq_s32(s##n, vreinterpretq_u8_s32(s##n), x);
#define SUM(n) total = vaddq_s32(total, s##n);
    EACH(DECLARE)
    for (size_t i = 0; i < iterations; i++) {
        EACH(STEP)
    }
    int32x4_t total = vdupq_n_s32(0);
    EACH(SUM)
    volatile int32_t sink = vaddvq_s32(total);
    (void)sink;
    return 16.0 * 4.0 * 16.0 * (double)iterations;
#undef EACH
#undef DECLARE
#undef STEP
#undef SUM
}

void tkr_kernels_overlay_i8mm(tkr_kernels *k, tkr_cpu_flags flags) {
    if (!(flags & TKR_CPU_I8MM)) {
        return;
    }
    k->rung = "i8mm";
    k->gemm[TKR_GEMM_Q8] = &gemm_q8_i8mm;
    k->peak[TKR_GEMM_Q8] = peak_q8;
    k->peak[TKR_GEMM_Q4] = peak_q8;
}
