/* SPDX-License-Identifier: Apache-2.0 */
/* arm/gemm_q8_dotprod: int8 GEMM by sdot, panels [k / 4][16][4]. Rows are u8 codes in memory as everywhere; sdot wants
 * both signed, so the tile multiplies code - 128, and adds 128 * b_sum back. Sums are exact. */
#include "kernels/arm/arm.h"
#include "kernels/arm/epilogue_neon.h"
#include "kernels/generic/generic.h"

TKR_INLINE int8x16_t load_signed(const char *p) {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8((const uint8_t *)p), vdupq_n_u8(0x80)));
}

#define TKR_TILE_ACC int32x4_t
#define TKR_TILE_ZERO vdupq_n_s32(0)
#define TKR_TILE_STORE(p, s) vst1q_s32((int32_t *)(void *)(p), s)
#define TKR_TILE_ROW int8x16_t
#define TKR_TILE_A(p) load_signed(p)
#define TKR_TILE_COLS int8x16_t
#define TKR_TILE_B(p, c) vld1q_s8((const int8_t *)(p) + 16 * (c))
#define TKR_TILE_MAC(s, b, a, lane) vdotq_laneq_s32(s, b, a, lane)
#include "kernels/arm/tile_neon.h"

TKR_TILE_BODY

static void pack_panel(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                       size_t k_padded) {
    int8_t *b = panel;
    memset(b, 0, k_padded * TKR_NEON_NR);
    for (size_t j = 0; j < TKR_NEON_NR; j++) {
        scale[j] = j < n_cols ? tkr_s8_scale(w + j * ld, k) : 0;
        sum[j] = 0;
        for (size_t i = 0; j < n_cols && i < k; i++) {
            const int8_t q = tkr_s8_code(w[j * ld + i], scale[j]);
            b[(i / 4 * TKR_NEON_NR + j) * 4 + i % 4] = q;
            sum[j] += q;
        }
    }
}

static void panel(const tkr_gemm_args *args) {
    /* acc + 128 sum - zero sum: fold the shift into the sums before the common epilogue sees them */
    _Alignas(64) int32_t sums[TKR_NEON_MR * TKR_NEON_NR];
    for (size_t m = 0; m < args->n_rows; m += TKR_NEON_MR) {
        const size_t left = args->n_rows - m, rows = left < TKR_NEON_MR ? left : TKR_NEON_MR;
        const tkr_tile tile = {(const char *)args->a + m * args->a_stride,
                               args->a_stride,
                               args->b,
                               TKR_NEON_NR * 4,
                               args->k_padded / 16,
                               (char *)sums,
                               TKR_NEON_NR * 4};
        tiles[rows](&tile);
        for (size_t i = 0; i < rows * TKR_NEON_NR; i += 4) {
            const int32x4_t shift = vshlq_n_s32(vld1q_s32(args->b_sum + i % TKR_NEON_NR), 7);
            vst1q_s32(sums + i, vaddq_s32(vld1q_s32(sums + i), shift));
        }
        tkr_epilogue(args, m, rows, sums, true);
    }
}

static const tkr_gemm gemm_q8_dotprod = {
    .name = "q8/dotprod",
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

/* Sixteen chains of 4 lanes of four products. */
static double peak_q8(size_t iterations) {
    const int8x16_t x = vdupq_n_s8(3);
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define DECLARE(n) int32x4_t s##n = vdupq_n_s32(n);
#define STEP(n) s##n = vdotq_s32(s##n, vreinterpretq_s8_s32(s##n), x);
#define SUM(n) total = vaddq_s32(total, s##n);
    EACH(DECLARE)
    for (size_t i = 0; i < iterations; i++) {
        EACH(STEP)
    }
    int32x4_t total = vdupq_n_s32(0);
    EACH(SUM)
    volatile int32_t sink = vaddvq_s32(total);
    (void)sink;
    return 16.0 * 4.0 * 8.0 * (double)iterations;
#undef EACH
#undef DECLARE
#undef STEP
#undef SUM
}

void tkr_kernels_overlay_dotprod(tkr_kernels *k, tkr_cpu_flags flags) {
    if (!(flags & TKR_CPU_DOTPROD)) {
        return;
    }
    k->rung = "dotprod";
    k->gemm[TKR_GEMM_Q8] = &gemm_q8_dotprod;
    k->gemm[TKR_GEMM_Q4] = &tkr_gemm_q4_dotprod;
    k->peak[TKR_GEMM_Q8] = peak_q8;
    k->peak[TKR_GEMM_Q4] = peak_q8;
}
