/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quant/matrix: a weight matrix as a checkpoint stores it (plain numbers, GGUF blocks, MLX groups) and its exact
 * decoding: the one place that knows how codes become numbers. Refuses nothing: whoever makes a tkr_matrix has checked
 * its sizes.
 */
#ifndef TKR_QUANT_MATRIX_H
#define TKR_QUANT_MATRIX_H

#include <stdbool.h>

#include "quant/dtype.h"

/* How the codes of an MLX-quantised matrix become numbers (docs of mlx.core.quantize). */
typedef enum tkr_group_mode {
    TKR_GROUP_NONE,   /* data holds `dtype` */
    TKR_GROUP_AFFINE, /* code * scale + bias; bits 2, 3, 4, 5, 6, 8; group 32, 64, 128; scales F32, F16 or BF16 */
    TKR_GROUP_MXFP4,  /* E2M1 * 2^(scale - 127), group 32, scales U8 */
    TKR_GROUP_MXFP8,  /* E4M3 * 2^(scale - 127), group 32, scales U8 */
    TKR_GROUP_NVFP4   /* E2M1 * E4M3 scale, group 16, scales U8 */
} tkr_group_mode;

/* Borrowed, any alignment. Vectors have rows 1. */
typedef struct tkr_matrix {
    const void *data;
    tkr_dtype dtype; /* of plain numbers or GGUF blocks; U32 words of codes where `mode` is not NONE */
    size_t rows, cols;
    tkr_group_mode mode;
    unsigned bits, group_size;
    tkr_dtype scale_dtype;
    const void *scales; /* [rows, cols / group_size] */
    const void *biases; /* [rows, cols / group_size], affine only */
} tkr_matrix;

/* Bytes of one row of `data`. */
size_t tkr_matrix_row_bytes(const tkr_matrix *matrix);
/* Decodes row `row` to out [cols], exactly as the format defines it in f32 (product and sum rounded apart, no fma). */
void tkr_matrix_row(float *out, const tkr_matrix *matrix, size_t row);

/* Groups of an affine matrix whose codes fit 4 bits: what a q4 kernel can take without another rounding. Returns the
 * group size (32, 64 or 128), 0 for every other matrix: MLX affine of at most 4 bits, Q4_0, Q4_1, Q4_K, Q2_K is not
 * (its groups are 16). */
size_t tkr_matrix_group4(const tkr_matrix *matrix);
/* codes [cols] 0..15, scale and bias [cols / group]: value = code * scale + bias. Only where tkr_matrix_group4 > 0. */
void tkr_matrix_row_group4(uint8_t *codes, float *scale, float *bias, const tkr_matrix *matrix, size_t row);

/* Affine codes of one row of finite values below 1e38 as MLX's quantize makes them: bits 2 to 8, group 32, 64 or 128.
 * Scale and bias are kept in f32; a caller that stores them in 16 bits rounds them. n a multiple of group, or the last
 * group is shorter. */
void tkr_quantize_affine_row(uint8_t *codes, float *scale, float *bias, const float *w, size_t n, unsigned bits,
                             size_t group);
/* Packs n codes of 4 or 8 bits, an even number of them, to n * bits / 8 bytes as MLX lays them out. */
void tkr_pack_codes(uint8_t *out, const uint8_t *codes, size_t n, unsigned bits);

#endif
