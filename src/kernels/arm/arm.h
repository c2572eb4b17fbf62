/* SPDX-License-Identifier: Apache-2.0 */
/* arm: the ladder's rungs on arm64. Each overlays what it has over the table of the rung below and returns at once when
 * its flag is missing. Only for files in arm/. */
#ifndef TKR_KERNELS_ARM_ARM_H
#define TKR_KERNELS_ARM_ARM_H

#include "core/cpu.h"
#include "kernels/kernels.h"

#define TKR_INLINE static inline __attribute__((always_inline))

void tkr_kernels_overlay_neon(tkr_kernels *k, tkr_cpu_flags flags);
void tkr_kernels_overlay_dotprod(tkr_kernels *k, tkr_cpu_flags flags);
void tkr_kernels_overlay_i8mm(tkr_kernels *k, tkr_cpu_flags flags);
void tkr_kernels_overlay_arm_bf16(tkr_kernels *k, tkr_cpu_flags flags);

/* bf16 weights widened to f32 on the way: half the bytes, f32 speed. */
extern const tkr_gemm tkr_gemm_bf16_neon;
extern const tkr_gemm tkr_gemm_q4_dotprod;
extern const tkr_attention tkr_attention_f32_neon;
TKR_DECL_LAYER_NORM(tkr_layer_norm_neon);
TKR_DECL_RMS_NORM(tkr_rms_norm_neon);
TKR_DECL_GATE(tkr_gate_neon);
TKR_DECL_ROTATE(tkr_rotate_neon);
TKR_DECL_ACTIVATE(tkr_activate_neon);
TKR_DECL_AXPY(tkr_axpy_neon);
TKR_DECL_RESAMPLE(tkr_resample_x_neon);
TKR_DECL_RESAMPLE(tkr_resample_y_neon);
/* u8 rows as generic/gemm_int has them, bit for bit. */
TKR_DECL_PACK_ROWS(tkr_pack_rows_u8_neon);

#endif
