/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/generic: the normative plain C kernels, one element at a time. What a vector rung computes is what these say,
 * within the tolerances of tests/kernels; integer sums are identical. */
#ifndef TKR_KERNELS_GENERIC_GENERIC_H
#define TKR_KERNELS_GENERIC_GENERIC_H

#include "kernels/kernels.h"

enum { TKR_GENERIC_NR = 16 };

extern const tkr_gemm tkr_gemm_f32_generic;
extern const tkr_gemm tkr_gemm_bf16_generic;
/* s8 weights x u8 rows, asymmetric: what dot-product instructions (VNNI, AMX, NEON) compute. */
extern const tkr_gemm tkr_gemm_q8_generic;
/* s8 weights x s16 rows, symmetric: the fine kernel of q8. */
extern const tkr_gemm tkr_gemm_s16_generic;
/* 8-bit weights x s8 rows in blocks, the reference of what AVX2 computes in q8: gemm_q8_blocks.h. */
extern const tkr_gemm tkr_gemm_q8_blocks_generic;
extern const tkr_gemm tkr_gemm_q8_fine_blocks_generic;
/* Grouped 4-bit weights x s8 rows of blocks: gemm_q4.h. */
extern const tkr_gemm tkr_gemm_q4_generic;
extern const tkr_attention tkr_attention_generic;

TKR_DECL_LAYER_NORM(tkr_layer_norm_generic);
TKR_DECL_RMS_NORM(tkr_rms_norm_generic);
TKR_DECL_GATE(tkr_gate_generic);
TKR_DECL_ROTATE(tkr_rotate_generic);
TKR_DECL_ACTIVATE(tkr_activate_generic);
TKR_DECL_AXPY(tkr_axpy_generic);
TKR_DECL_RESAMPLE(tkr_resample_x_generic);
TKR_DECL_RESAMPLE(tkr_resample_y_generic);

/* One value through the activation, computed in double where f32 would lose the tail. */
float tkr_activate_one(float x, tkr_activation activation);

/* Writes columns 0..n_cols-1 of row `row`: activation(x + bias) + residual. */
void tkr_gemm_store_generic(const tkr_gemm_args *args, size_t row, const float *x);

/* Encoders, the reference for every rung's pack_rows; one row each, k values padded to k_padded.
 * u8: range min..max of the row and 0, scale = (max - min) / 255 (1 for an all-zero row), zero = -min / scale rounded.
 */
void tkr_quantize_u8_row(uint8_t *q, tkr_row_quant *quant, const float *x, size_t k, size_t k_padded);
/* s16: scale = absmax / tkr_s16_limit(k) (1 for an all-zero row), zero = 0. */
void tkr_quantize_s16_row(int16_t *q, tkr_row_quant *quant, const float *x, size_t k, size_t k_padded);
/* Largest |q| for which k products with |w| <= 127 fit an s32. */
int32_t tkr_s16_limit(size_t k);

/* tkr_quantize_s8_row in two steps, for panels whose columns are not contiguous; the same bits. */
float tkr_s8_scale(const float *w, size_t k);
int8_t tkr_s8_code(float w, float scale);

/* W to s8 per column in k order: panel[j * k_padded + i]; scale and sum as pack_panel says. Needs no scratch. */
void tkr_quantize_panel(int8_t *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t nr,
                        size_t k, size_t k_padded);

#endif
