/* SPDX-License-Identifier: Apache-2.0 */
/* x86: the ladder's rungs. Each overlays what it has over the table of the rung below and returns at once when its flag
 * is missing. Only for files in x86/. */
#ifndef TKR_KERNELS_X86_X86_H
#define TKR_KERNELS_X86_X86_H

#include "core/cpu.h"
#include "kernels/kernels.h"

void tkr_kernels_overlay_avx2(tkr_kernels *k, tkr_cpu_flags flags);
void tkr_kernels_overlay_avx512(tkr_kernels *k, tkr_cpu_flags flags);
void tkr_kernels_overlay_vnni(tkr_kernels *k, tkr_cpu_flags flags);
void tkr_kernels_overlay_avx512bf16(tkr_kernels *k, tkr_cpu_flags flags);
void tkr_kernels_overlay_amx(tkr_kernels *k, tkr_cpu_flags flags);

#endif
