/* SPDX-License-Identifier: Apache-2.0 */
/* x86/avx512: what the AVX-512 files offer to one another; the overlays put it into the table. */
#ifndef TKR_KERNELS_X86_AVX512_H
#define TKR_KERNELS_X86_AVX512_H

#include "kernels/kernels.h"

extern const tkr_gemm tkr_gemm_f32_avx512;
/* bf16 weights widened to f32 on the way: half the bytes, f32 speed. For CPUs without a (fast) bf16 multiplication. */
extern const tkr_gemm tkr_gemm_bf16_avx512;
extern const tkr_attention tkr_attention_f32_avx512;
TKR_DECL_LAYER_NORM(tkr_layer_norm_avx512);
TKR_DECL_RMS_NORM(tkr_rms_norm_avx512);
TKR_DECL_GATE(tkr_gate_avx512);
TKR_DECL_ROTATE(tkr_rotate_avx512);
TKR_DECL_ACTIVATE(tkr_activate_avx512);
TKR_DECL_AXPY(tkr_axpy_avx512);

extern const tkr_gemm tkr_gemm_q8_vnni;
extern const tkr_gemm tkr_gemm_q4_vnni;
extern const tkr_gemm tkr_gemm_bf16_avx512bf16;
extern const tkr_attention tkr_attention_bf16_avx512bf16;
extern const tkr_gemm tkr_gemm_bf16_amx;
extern const tkr_gemm tkr_gemm_q8_amx;
tkr_peak_fn tkr_peak_q8_amx;

/* All eight tiles 16 rows x 64 bytes, for the calling thread; and none. */
void tkr_amx_enter(void);
void tkr_amx_leave(void);

/* Encoders that AMX shares: u8 rows as generic/gemm_int has them, bit for bit; bf16 rows by rounding to nearest even.
 */
TKR_DECL_PACK_ROWS(tkr_pack_rows_u8_avx512);
TKR_DECL_PACK_ROWS(tkr_pack_rows_bf16_avx512bf16);

#endif
