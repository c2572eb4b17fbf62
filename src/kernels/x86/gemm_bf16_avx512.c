/* SPDX-License-Identifier: Apache-2.0 */
/* x86/gemm_bf16_avx512: bf16 GEMM without bf16 instructions: panels [k][64] of bf16, widened to f32 on the way into an
 * f32 FMA; rows are f32 values that were rounded to bf16. Products are exact, sums as in generic/gemm_float. */
#include "kernels/x86/avx512.h"
#include "kernels/x86/epilogue_avx512.h"
#include "kernels/x86/pack_avx512.h"
#include "quant/dtype.h"

TKR_INLINE __m512 widen16(const char *p) {
    const __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

#define TKR_TILE_ACC __m512
#define TKR_TILE_ZERO _mm512_setzero_ps()
#define TKR_TILE_A(p) _mm512_set1_ps(tkr_granule_f32(p))
#define TKR_TILE_B(p, c) widen16((p) + 32 * (c))
#define TKR_TILE_MAC(s, a, b) _mm512_fmadd_ps(a, b, s)
#define TKR_TILE_STORE(p, s) _mm512_storeu_ps((float *)(void *)(p), s)
#include "kernels/x86/tile_avx512.h"

TKR_TILE_BODY
TKR_TILE_FUNCTIONS(4)

/* Adds half a unit in the last kept place, ties to even, and clears the rest; NaN becomes the quiet one of its sign. */
TKR_INLINE __m512i round_bits(__m512 x) {
    const __m512i u = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
    return _mm512_and_si512(_mm512_mask_mov_epi32(r, nan, quiet), _mm512_set1_epi32((int32_t)0xffff0000u));
}

static void pack_rows(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld, size_t n_rows,
                      size_t k, size_t k_padded) {
    (void)quant;
    for (size_t i = 0; i < n_rows; i++) {
        float *row = (float *)(void *)((char *)dst + i * dst_stride);
        for (size_t d = 0; d < k_padded; d += 16) {
            const __m512 x = d < k ? tkr_load_f32(src + i * ld + d, k - d) : _mm512_setzero_ps();
            _mm512_mask_storeu_ps(row + d, tkr_mask16(k_padded - d), _mm512_castsi512_ps(round_bits(x)));
        }
    }
}

static void pack_panel(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                       size_t k_padded) {
    (void)scale;
    (void)sum;
    for (size_t j = 0; j < TKR_TILE_NR; j += 16) {
        for (size_t d = 0; d < k_padded; d += 16) {
            __m512i r[16];
            for (size_t i = 0; i < 16; i++) {
                r[i] = j + i < n_cols && d < k ? round_bits(tkr_load_f32(w + (j + i) * ld + d, k - d))
                                               : _mm512_setzero_si512();
            }
            tkr_transpose16(r);
            for (size_t i = 0; i < 16 && d + i < k_padded; i++) {
                uint16_t *out = (uint16_t *)panel + (d + i) * TKR_TILE_NR + j;
                const __m256i h = _mm512_cvtepi32_epi16(_mm512_srli_epi32(r[i], 16));
                _mm256_storeu_si256((__m256i *)(void *)out, h);
            }
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
                               .b_step = TKR_TILE_NR * 2,
                               .k = args->k_padded,
                               .out = (char *)sums,
                               .out_stride = TKR_TILE_NR * 4};
        tiles_x4[rows](&tile);
        tkr_epilogue(args, m, rows, sums, TKR_TILE_NR, false);
    }
}

const tkr_gemm tkr_gemm_bf16_avx512 = {
    .name = "bf16/avx512",
    .nr = TKR_TILE_NR,
    .mr = TKR_TILE_MR,
    .k_align = 1,
    .act_bytes = 4,
    .weight_bits = 16,
    .pack_rows = pack_rows,
    .pack_panel = pack_panel,
    .panel = panel,
};
