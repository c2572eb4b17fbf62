/* SPDX-License-Identifier: Apache-2.0 */
/* x86/epilogue_avx512: what follows the multiplication: a tile of sums in L1 becomes rows of C. Integer tiles are
 * scaled with the same operations as generic/gemm_int, so their bits are the reference's up to the activation. */
#ifndef TKR_KERNELS_X86_EPILOGUE_AVX512_H
#define TKR_KERNELS_X86_EPILOGUE_AVX512_H

#include <stdbool.h>

#include "kernels/x86/math_avx512.h"

/* `tile` is [rows][ld] f32, or s32 with `integer`; it becomes rows row .. row + rows - 1 of C. */
TKR_INLINE void tkr_epilogue_as(const tkr_gemm_args *g, size_t row, size_t rows, const void *tile, size_t ld,
                                const bool integer, const tkr_activation activation) {
    for (size_t i = 0; i < rows; i++) {
        float *c = g->c + (row + i) * g->ldc;
        const float *residual = g->residual ? g->residual + (row + i) * g->ld_residual : NULL;
        const char *sums = (const char *)tile + i * ld * 4;
        for (size_t j = 0; j < g->n_cols; j += 16) {
            const __mmask16 mask = tkr_mask16(g->n_cols - j);
            __m512 x;
            if (integer) {
                const tkr_row_quant q = g->a_quant[row + i];
                const __m512i zero = _mm512_set1_epi32(q.zero);
                const __m512i sum = _mm512_loadu_si512(sums + j * 4);
                const __m512i fix = _mm512_mullo_epi32(zero, _mm512_loadu_si512(g->b_sum + j));
                const __m512 scale = _mm512_mul_ps(tkr_set(q.scale), _mm512_loadu_ps(g->b_scale + j));
                x = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sum, fix)), scale);
            } else {
                x = _mm512_castsi512_ps(_mm512_loadu_si512(sums + j * 4));
            }
            if (g->bias) {
                x = _mm512_add_ps(x, _mm512_loadu_ps(g->bias + j));
            }
            x = tkr_activate_vector(x, activation);
            if (residual) {
                x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(mask, residual + j));
            }
            if (mask == 0xffff) { /* masked stores are slow on Zen 4 */
                _mm512_storeu_ps(c + j, x);
            } else {
                _mm512_mask_storeu_ps(c + j, mask, x);
            }
        }
    }
}

TKR_INLINE void tkr_epilogue(const tkr_gemm_args *g, size_t row, size_t rows, const void *tile, size_t ld,
                             const bool integer) {
    switch (g->activation) {
    case TKR_ACT_NONE: tkr_epilogue_as(g, row, rows, tile, ld, integer, TKR_ACT_NONE); break;
    case TKR_ACT_GELU_ERF: tkr_epilogue_as(g, row, rows, tile, ld, integer, TKR_ACT_GELU_ERF); break;
    case TKR_ACT_GELU_TANH: tkr_epilogue_as(g, row, rows, tile, ld, integer, TKR_ACT_GELU_TANH); break;
    case TKR_ACT_RELU: tkr_epilogue_as(g, row, rows, tile, ld, integer, TKR_ACT_RELU); break;
    case TKR_ACT_TANH: tkr_epilogue_as(g, row, rows, tile, ld, integer, TKR_ACT_TANH); break;
    case TKR_ACT_SILU: tkr_epilogue_as(g, row, rows, tile, ld, integer, TKR_ACT_SILU); break;
    case TKR_ACT_QUICK_GELU: tkr_epilogue_as(g, row, rows, tile, ld, integer, TKR_ACT_QUICK_GELU); break;
    }
}

#endif
