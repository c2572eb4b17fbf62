/* SPDX-License-Identifier: Apache-2.0 */
/* x86/gemm_bf16_avx512bf16: bf16 GEMM by vdpbf16ps, panels [k / 2][64][2]; and the overlay for CPUs on which that is
 * fast. */
#include "kernels/x86/avx512.h"
#include "kernels/x86/epilogue_avx512.h"
#include "kernels/x86/pack_bf16.h"
#include "kernels/x86/x86.h"

/* Granules stay integers until the multiplication, which wants the bf16 type. */
#define TKR_TILE_ACC __m512
#define TKR_TILE_ZERO _mm512_setzero_ps()
#define TKR_TILE_A(p) _mm512_castsi512_ps(_mm512_set1_epi32(tkr_granule(p)))
#define TKR_TILE_B(p, c) _mm512_loadu_ps((const float *)(const void *)((p) + 64 * (c)))
#define TKR_TILE_MAC(s, a, b) \
    _mm512_dpbf16_ps(s, TKR_AS_BF16(_mm512_castps_si512(a)), TKR_AS_BF16(_mm512_castps_si512(b)))
#define TKR_TILE_STORE(p, s) _mm512_storeu_ps((float *)(void *)(p), s)
#include "kernels/x86/tile_avx512.h"

TKR_TILE_BODY
TKR_TILE_FUNCTIONS(4)

void tkr_pack_rows_bf16_avx512bf16(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld,
                                   size_t n_rows, size_t k, size_t k_padded) {
    (void)quant;
    for (size_t i = 0; i < n_rows; i++) {
        const float *x = src + i * ld;
        char *row = (char *)dst + i * dst_stride;
        size_t d = 0;
        for (; d + 32 <= k; d += 32) {
            const __m512 low = _mm512_loadu_ps(x + d), high = _mm512_loadu_ps(x + d + 16);
            _mm512_storeu_si512(row + d * 2, TKR_FROM_BF16(_mm512_cvtne2ps_pbh(high, low)));
        }
        for (; d < k_padded; d += 32) {
            const __m512i pairs = d < k ? tkr_load_bf16(x + d, k - d) : _mm512_setzero_si512();
            _mm512_mask_storeu_epi32(row + d * 2, tkr_mask16((k_padded - d) / 2), pairs);
        }
    }
}

static void pack_panel(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                       size_t k_padded) {
    (void)scale;
    (void)sum;
    for (size_t j = 0; j < TKR_TILE_NR; j += 16) {
        for (size_t d = 0; d < k_padded; d += 32) {
            __m512i r[16];
            tkr_load_block_bf16(r, w, ld, n_cols, k, j, d);
            tkr_put_block((char *)panel + (d / 2 * TKR_TILE_NR + j) * 4, TKR_TILE_NR * 4, (k_padded - d) / 2, r);
        }
    }
}

static void panel(const tkr_gemm_args *args) {
    _Alignas(64) float sums[TKR_TILE_MR * TKR_TILE_NR];
    for (size_t m = 0; m < args->n_rows; m += TKR_TILE_MR) {
        const size_t rows = args->n_rows - m < TKR_TILE_MR ? args->n_rows - m : TKR_TILE_MR;
        const tkr_tile tile = {.a = (const char *)args->a + m * args->a_stride,
                               .a_stride = args->a_stride,
                               .b = args->b,
                               .b_step = TKR_TILE_NR * 4,
                               .k = args->k_padded / 2,
                               .out = (char *)sums,
                               .out_stride = TKR_TILE_NR * 4};
        tiles_x4[rows](&tile);
        tkr_epilogue(args, m, rows, sums, TKR_TILE_NR, false);
    }
}

const tkr_gemm tkr_gemm_bf16_avx512bf16 = {
    .name = "bf16/avx512bf16",
    .nr = TKR_TILE_NR,
    .mr = TKR_TILE_MR,
    .k_align = 2,
    .act_bytes = 2,
    .weight_bits = 16,
    .pack_rows = tkr_pack_rows_bf16_avx512bf16,
    .pack_panel = pack_panel,
    .panel = panel,
};

/* Twelve chains of 16 lanes of two products. */
static double peak_bf16(size_t iterations) {
    const __m512i half = _mm512_set1_epi32(0x3f003f00);
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define DECLARE(n) __m512 s##n = _mm512_set1_ps(n);
#define STEP(n) s##n = _mm512_dpbf16_ps(s##n, TKR_AS_BF16(half), TKR_AS_BF16(half));
#define SUM(n) total = _mm512_add_ps(total, s##n);
    EACH(DECLARE)
    for (size_t i = 0; i < iterations; i++) {
        EACH(STEP)
    }
    __m512 total = _mm512_setzero_ps();
    EACH(SUM)
    volatile float sink = _mm512_reduce_add_ps(total);
    (void)sink;
    return 12.0 * 16.0 * 4.0 * (double)iterations;
#undef EACH
#undef DECLARE
#undef STEP
#undef SUM
}

void tkr_kernels_overlay_avx512bf16(tkr_kernels *k, tkr_cpu_flags flags) {
    if (!(flags & TKR_CPU_AVX512BF16) || flags & TKR_CPU_SLOW_BF16) {
        return;
    }
    k->gemm[TKR_GEMM_BF16] = &tkr_gemm_bf16_avx512bf16;
    k->attention[TKR_GEMM_BF16] = &tkr_attention_bf16_avx512bf16;
    k->attention[TKR_GEMM_Q8] = &tkr_attention_bf16_avx512bf16;
    k->attention[TKR_GEMM_Q4] = &tkr_attention_bf16_avx512bf16;
    k->peak[TKR_GEMM_BF16] = peak_bf16;
    k->bf16_is_fast = true;
}
