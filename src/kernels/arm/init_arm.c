/* SPDX-License-Identifier: Apache-2.0 */
/* arm/init: the order of the ladder, lowest rung first. */
#include "kernels/arm/arm.h"

void tkr_kernels_init_arm(tkr_kernels *kernels, tkr_cpu_flags flags) {
    tkr_kernels_overlay_neon(kernels, flags);
    tkr_kernels_overlay_dotprod(kernels, flags);
    tkr_kernels_overlay_i8mm(kernels, flags);
    tkr_kernels_overlay_arm_bf16(kernels, flags);
    kernels->q8_fine = kernels->gemm[TKR_GEMM_BF16];
}
