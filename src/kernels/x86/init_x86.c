/* SPDX-License-Identifier: Apache-2.0 */
/* x86/init: the order of the ladder, lowest rung first. */
#include "kernels/kernels.h"
#include "kernels/x86/x86.h"

void tkr_kernels_init_x86(tkr_kernels *kernels, tkr_cpu_flags flags) {
    tkr_kernels_overlay_avx2(kernels, flags);
    tkr_kernels_overlay_avx512(kernels, flags);
    tkr_kernels_overlay_vnni(kernels, flags);
    tkr_kernels_overlay_avx512bf16(kernels, flags);
    tkr_kernels_overlay_amx(kernels, flags);
}
