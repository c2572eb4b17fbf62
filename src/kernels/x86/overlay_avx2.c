/* SPDX-License-Identifier: Apache-2.0 */
/* x86/overlay_avx2: the AVX2+FMA rung's rows of the table. */
#include "kernels/x86/avx2.h"
#include "kernels/x86/x86.h"

void tkr_kernels_overlay_avx2(tkr_kernels *k, tkr_cpu_flags flags) {
    if (!(flags & TKR_CPU_AVX2)) {
        return;
    }
    k->rung = "avx2";
    k->gemm[TKR_GEMM_F32] = &tkr_gemm_f32_avx2;
    k->gemm[TKR_GEMM_BF16] = &tkr_gemm_bf16_avx2;
    k->gemm[TKR_GEMM_Q8] = &tkr_gemm_q8_avx2;
    k->gemm[TKR_GEMM_Q4] = &tkr_gemm_q4_avx2;
    k->q8_fine = &tkr_gemm_q8_fine_avx2;
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        k->attention[mode] = &tkr_attention_avx2;
    }
    k->layer_norm = tkr_layer_norm_avx2;
    k->rms_norm = tkr_rms_norm_avx2;
    k->gate = tkr_gate_avx2;
    k->rotate = tkr_rotate_avx2;
    k->activate = tkr_activate_avx2;
    k->axpy = tkr_axpy_avx2;
    k->resample_x = tkr_resample_x_avx2;
    k->resample_y = tkr_resample_y_avx2;
    k->peak[TKR_GEMM_F32] = tkr_peak_f32_avx2;
    k->peak[TKR_GEMM_BF16] = tkr_peak_f32_avx2;
    k->peak[TKR_GEMM_Q8] = tkr_peak_q8_avx2;
    k->peak[TKR_GEMM_Q4] = tkr_peak_q8_avx2;
    k->bf16_is_fast = false;
}
