/* SPDX-License-Identifier: Apache-2.0 */
/* x86/gemm_q8_vnni: int8 GEMM by vpdpbusd, u8 rows (asymmetric) x s8 weights, panels [k / 4][64][4], exact s32 sums;
 * and the overlay of that rung. */
#include "kernels/x86/avx2.h"
#include "kernels/x86/avx512.h"
#include "kernels/x86/epilogue_avx512.h"
#include "kernels/x86/pack_s8.h"
#include "kernels/x86/x86.h"

#define TKR_TILE_ACC __m512i
#define TKR_TILE_ZERO _mm512_setzero_si512()
#define TKR_TILE_A(p) _mm512_set1_epi32(tkr_granule(p))
#define TKR_TILE_B(p, c) _mm512_loadu_si512((p) + 64 * (c))
#define TKR_TILE_MAC(s, a, b) _mm512_dpbusd_epi32(s, a, b)
#define TKR_TILE_STORE(p, s) _mm512_storeu_si512(p, s)
#include "kernels/x86/tile_avx512.h"

TKR_TILE_BODY
TKR_TILE_FUNCTIONS(4)

/* Range of a row and 0. NaN is skipped: the instructions keep their second operand then. */
TKR_INLINE void row_range(float *low, float *high, const float *x, size_t k) {
    __m512 top0 = _mm512_setzero_ps(), top1 = top0, bottom0 = top0, bottom1 = top0;
    size_t i = 0;
    for (; i + 32 <= k; i += 32) {
        const __m512 a = _mm512_loadu_ps(x + i), b = _mm512_loadu_ps(x + i + 16);
        top0 = _mm512_max_ps(a, top0);
        top1 = _mm512_max_ps(b, top1);
        bottom0 = _mm512_min_ps(a, bottom0);
        bottom1 = _mm512_min_ps(b, bottom1);
    }
    for (; i < k; i += 16) {
        const __m512 a = tkr_load_f32(x + i, k - i);
        top0 = _mm512_max_ps(a, top0);
        bottom0 = _mm512_min_ps(a, bottom0);
    }
    *high = _mm512_reduce_max_ps(_mm512_max_ps(top0, top1));
    *low = _mm512_reduce_min_ps(_mm512_min_ps(bottom0, bottom1));
}

/* Codes as s32 in 0..255, clamped before the conversion so that no value overflows it. */
TKR_INLINE __m512i codes(__m512 x, __m512 inverse, __m512 zero) {
    const __m512 y = _mm512_add_ps(_mm512_mul_ps(x, inverse), zero);
    return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(y, _mm512_setzero_ps()), tkr_set(255.0f)));
}

void tkr_pack_rows_u8_avx512(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld,
                             size_t n_rows, size_t k, size_t k_padded) {
    for (size_t i = 0; i < n_rows; i++) {
        const float *x = src + i * ld;
        uint8_t *q = (uint8_t *)dst + i * dst_stride;
        float low, high;
        row_range(&low, &high, x, k);
        const float scale = high > low ? (high - low) / 255.0f : 1.0f;
        const __m512i first = codes(tkr_set(-low / scale), tkr_set(1.0f), _mm512_setzero_ps());
        quant[i] = (tkr_row_quant){scale, _mm_cvtsi128_si32(_mm512_castsi512_si128(first))};
        const __m512 inverse = tkr_set(1.0f / scale), zero = tkr_set((float)quant[i].zero);
        size_t d = 0;
        for (; d + 16 <= k; d += 16) {
            const __m512i c = codes(_mm512_loadu_ps(x + d), inverse, zero);
            _mm_storeu_si128((__m128i *)(void *)(q + d), _mm512_cvtepi32_epi8(c));
        }
        for (; d < k_padded; d += 16) {
            const __m512 v = d < k ? tkr_load_f32(x + d, k - d) : _mm512_setzero_ps();
            _mm512_mask_cvtepi32_storeu_epi8(q + d, tkr_mask16(k_padded - d), codes(v, inverse, zero));
        }
    }
}

static void pack_panel(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                       size_t k_padded) {
    tkr_s8_scales(scale, w, ld, n_cols, TKR_TILE_NR, k);
    memset(sum, 0, TKR_TILE_NR * sizeof *sum);
    for (size_t j = 0; j < TKR_TILE_NR; j += 16) {
        for (size_t d = 0; d < k_padded; d += 64) {
            __m512i r[16];
            tkr_load_block_s8(r, w, ld, n_cols, k, j, d, scale, sum);
            tkr_put_block((char *)panel + (d / 4 * TKR_TILE_NR + j) * 4, TKR_TILE_NR * 4, (k_padded - d) / 4, r);
        }
    }
}

static void panel(const tkr_gemm_args *args) {
    _Alignas(64) int32_t sums[TKR_TILE_MR * TKR_TILE_NR];
    for (size_t m = 0; m < args->n_rows; m += TKR_TILE_MR) {
        const size_t rows = args->n_rows - m < TKR_TILE_MR ? args->n_rows - m : TKR_TILE_MR;
        const tkr_tile tile = {.a = (const char *)args->a + m * args->a_stride,
                               .a_stride = args->a_stride,
                               .b = args->b,
                               .b_step = TKR_TILE_NR * 4,
                               .k = args->k_padded / 4,
                               .out = (char *)sums,
                               .out_stride = TKR_TILE_NR * 4};
        tiles_x4[rows](&tile);
        tkr_epilogue(args, m, rows, sums, TKR_TILE_NR, true);
    }
}

const tkr_gemm tkr_gemm_q8_vnni = {
    .name = "q8/vnni",
    .nr = TKR_TILE_NR,
    .mr = TKR_TILE_MR,
    .k_align = 4,
    .act_bytes = 1,
    .weight_bits = 8,
    .integer = true,
    .pack_rows = tkr_pack_rows_u8_avx512,
    .pack_panel = pack_panel,
    .panel = panel,
};

/* Twelve chains of 16 lanes of four products. */
static double peak_q8(size_t iterations) {
    const __m512i x = _mm512_set1_epi32(0x01020304);
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define DECLARE(n) __m512i s##n = _mm512_set1_epi32(n);
#define STEP(n) s##n = _mm512_dpbusd_epi32(s##n, s##n, x);
#define SUM(n) total = _mm512_add_epi32(total, s##n);
    EACH(DECLARE)
    for (size_t i = 0; i < iterations; i++) {
        EACH(STEP)
    }
    __m512i total = _mm512_setzero_si512();
    EACH(SUM)
    volatile int32_t sink = _mm_cvtsi128_si32(_mm512_castsi512_si128(total));
    (void)sink;
    return 12.0 * 16.0 * 8.0 * (double)iterations;
#undef EACH
#undef DECLARE
#undef STEP
#undef SUM
}

void tkr_kernels_overlay_vnni(tkr_kernels *k, tkr_cpu_flags flags) {
    if (!(flags & TKR_CPU_VNNI)) {
        return;
    }
    k->rung = "vnni";
    k->gemm[TKR_GEMM_Q8] = &tkr_gemm_q8_vnni;
    k->gemm[TKR_GEMM_Q4] = &tkr_gemm_q4_vnni;
    k->q8_fine = &tkr_gemm_s16_avx2; /* 16-bit activations */
    k->peak[TKR_GEMM_Q8] = peak_q8;
    k->peak[TKR_GEMM_Q4] = peak_q8;
}
