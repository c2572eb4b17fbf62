/* SPDX-License-Identifier: Apache-2.0 */
/* arm/epilogue_neon: a tile of sums in L1, 16 columns wide, becomes rows of C. Integer tiles are scaled with the
 * operations of generic/gemm_int, so their bits are the reference's up to the activation. */
#ifndef TKR_KERNELS_ARM_EPILOGUE_NEON_H
#define TKR_KERNELS_ARM_EPILOGUE_NEON_H

#include "kernels/arm/math_neon.h"

enum { TKR_NEON_NR = 16, TKR_NEON_MR = 4 };

/* `tile` is [rows][16] f32, or s32 with `integer`; it becomes rows row .. row + rows - 1 of C. */
TKR_INLINE void tkr_epilogue_as(const tkr_gemm_args *g, size_t row, size_t rows, const void *tile, const bool integer,
                                const tkr_activation activation) {
    for (size_t i = 0; i < rows; i++) {
        float *c = g->c + (row + i) * g->ldc;
        const float *residual = g->residual ? g->residual + (row + i) * g->ld_residual : NULL;
        for (size_t j = 0; j < g->n_cols; j += 4) {
            const size_t left = g->n_cols - j;
            float32x4_t x;
            if (integer) {
                const tkr_row_quant q = g->a_quant[row + i];
                const int32x4_t sum = vld1q_s32((const int32_t *)tile + i * TKR_NEON_NR + j);
                const int32x4_t exact = vsubq_s32(sum, vmulq_n_s32(vld1q_s32(g->b_sum + j), q.zero));
                x = vmulq_f32(vcvtq_f32_s32(exact), vmulq_n_f32(vld1q_f32(g->b_scale + j), q.scale));
            } else {
                x = vld1q_f32((const float *)tile + i * TKR_NEON_NR + j);
            }
            if (g->bias) {
                x = vaddq_f32(x, vld1q_f32(g->bias + j));
            }
            x = tkr_activate_vector(x, activation);
            if (residual) {
                x = vaddq_f32(x, tkr_load(residual + j, left));
            }
            tkr_store(c + j, x, left);
        }
    }
}

TKR_INLINE void tkr_epilogue(const tkr_gemm_args *g, size_t row, size_t rows, const void *tile, const bool integer) {
    switch (g->activation) {
    case TKR_ACT_NONE: tkr_epilogue_as(g, row, rows, tile, integer, TKR_ACT_NONE); break;
    case TKR_ACT_GELU_ERF: tkr_epilogue_as(g, row, rows, tile, integer, TKR_ACT_GELU_ERF); break;
    case TKR_ACT_GELU_TANH: tkr_epilogue_as(g, row, rows, tile, integer, TKR_ACT_GELU_TANH); break;
    case TKR_ACT_RELU: tkr_epilogue_as(g, row, rows, tile, integer, TKR_ACT_RELU); break;
    case TKR_ACT_TANH: tkr_epilogue_as(g, row, rows, tile, integer, TKR_ACT_TANH); break;
    case TKR_ACT_SILU: tkr_epilogue_as(g, row, rows, tile, integer, TKR_ACT_SILU); break;
    case TKR_ACT_QUICK_GELU: tkr_epilogue_as(g, row, rows, tile, integer, TKR_ACT_QUICK_GELU); break;
    }
}

#endif
