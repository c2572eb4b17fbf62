/* SPDX-License-Identifier: Apache-2.0 */
/* x86/avx2: what the files of the AVX2+FMA rung share. */
#ifndef TKR_KERNELS_X86_AVX2_H
#define TKR_KERNELS_X86_AVX2_H

#include "kernels/kernels.h"

enum { TKR_AVX2_MR = 6, TKR_AVX2_NR = 16 };

/* c[r][0..15] = sum over k of a[r * lda + k] * b[k * 16 + 0..15], k a multiple of 4, k ascending, f32. ldc a multiple
 * of 8; b and c 32-byte aligned. Index 0 is one row, 5 is six. */
typedef void tkr_avx2_tile_f32_fn(const float *a, size_t lda, const float *b, size_t k, float *c, size_t ldc);
extern tkr_avx2_tile_f32_fn *const tkr_avx2_tile_f32[TKR_AVX2_MR];
/* The same sums; prefetches from `next` on, next_step bytes further at every 4 k. */
typedef void tkr_avx2_tile_ahead_fn(const float *a, size_t lda, const float *b, size_t k, float *c, size_t ldc,
                                    const char *next, size_t next_step);
extern tkr_avx2_tile_ahead_fn *const tkr_avx2_tile_ahead[TKR_AVX2_MR];

/* Rows of the next tile when n_rows (> 0) are left: all tiles of a call as even as can be, since one or two rows alone
 * wait for their own sums. */
static inline size_t tkr_avx2_tile_rows(size_t n_rows) {
    size_t n_tiles = (n_rows + TKR_AVX2_MR - 1) / TKR_AVX2_MR;
    return n_rows > 2 * TKR_AVX2_MR ? TKR_AVX2_MR : (n_rows + n_tiles - 1) / n_tiles;
}

/* Bytes of the next panel to prefetch at every 4 k of a panel's tiles, so that all of it is near when its turn comes:
 * the hardware's prefetcher starts anew at every page, and a panel is read at its fastest by its first tile. 0: so few
 * rows that the panels are read at that pace throughout, where the hardware does better. */
static inline size_t tkr_avx2_prefetch_step(size_t panel_bytes, size_t n_rows, size_t k) {
    size_t steps = (n_rows + TKR_AVX2_MR - 1) / TKR_AVX2_MR * (k / 4), bytes = (panel_bytes + steps - 1) / steps;
    return bytes <= 64 ? bytes : 0;
}

/* Finishes a tile of n_rows x 16 values x (rows of 16 floats, 32-byte aligned, overwritten): bias, activation,
 * residual, store of args->n_cols columns. */
void tkr_avx2_store_tile(const tkr_gemm_args *args, size_t row, size_t n_rows, float *x);
/* The same for int32 sums, which are first scaled by row and column. */
void tkr_avx2_store_int_tile(const tkr_gemm_args *args, size_t row, size_t n_rows, void *sums);

extern const tkr_gemm tkr_gemm_f32_avx2;
extern const tkr_gemm tkr_gemm_bf16_avx2;
extern const tkr_gemm tkr_gemm_q8_avx2;
extern const tkr_gemm tkr_gemm_q8_fine_avx2; /* the same in blocks of half the size */
extern const tkr_gemm tkr_gemm_s16_avx2;
extern const tkr_gemm tkr_gemm_q4_avx2;
/* The encoder of generic/gemm_q4.h, bit for bit; for the rungs above too. */
TKR_DECL_PACK_ROWS(tkr_pack_rows_q4_avx2);
extern const tkr_attention tkr_attention_avx2;
TKR_DECL_LAYER_NORM(tkr_layer_norm_avx2);
TKR_DECL_RMS_NORM(tkr_rms_norm_avx2);
TKR_DECL_GATE(tkr_gate_avx2);
TKR_DECL_ROTATE(tkr_rotate_avx2);
TKR_DECL_ACTIVATE(tkr_activate_avx2);
TKR_DECL_AXPY(tkr_axpy_avx2);
TKR_DECL_RESAMPLE(tkr_resample_x_avx2);
TKR_DECL_RESAMPLE(tkr_resample_y_avx2);
tkr_peak_fn tkr_peak_f32_avx2;
tkr_peak_fn tkr_peak_q8_avx2;

#endif
