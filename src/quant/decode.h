/* SPDX-License-Identifier: Apache-2.0 */
/* quant/decode: private to quant: one row of a quantised matrix, by the family of its format. */
#ifndef TKR_QUANT_DECODE_H
#define TKR_QUANT_DECODE_H

#include "quant/matrix.h"

/* `row` is the first byte of the row's blocks, n a multiple of the block; dtype of class 2. */
void tkr_gguf_row(float *out, const uint8_t *row, tkr_dtype dtype, size_t n);
/* Codes 0..15, scale and bias of 32 values each. Q4_0, Q4_1, Q4_K. */
void tkr_gguf_row_group4(uint8_t *codes, float *scale, float *bias, const uint8_t *row, tkr_dtype dtype, size_t n);

/* Matrices whose mode is not NONE. */
void tkr_groups_row(float *out, const tkr_matrix *matrix, size_t row);
/* AFFINE of at most 4 bits. */
void tkr_groups_row_group4(uint8_t *codes, float *scale, float *bias, const tkr_matrix *matrix, size_t row);

#endif
