/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/init: fills the table bottom up (plain C, then what the CPU has) and forwards the per-thread hooks. */
#include "kernels/kernels.h"

#include <string.h>

#if defined(__x86_64__)
#define TKR_INIT_MACHINE tkr_kernels_init_x86
#elif defined(__aarch64__)
#define TKR_INIT_MACHINE tkr_kernels_init_arm
#else
#define TKR_INIT_MACHINE init_nothing
static void init_nothing(tkr_kernels *kernels, tkr_cpu_flags flags) {
    (void)kernels;
    (void)flags;
}
#endif

void tkr_kernels_init(tkr_kernels *kernels, tkr_cpu_flags flags) {
    memset(kernels, 0, sizeof *kernels);
    tkr_kernels_init_generic(kernels);
    TKR_INIT_MACHINE(kernels, flags);
}

void tkr_kernels_thread_enter(const tkr_kernels *kernels) {
    if (kernels->thread_enter) {
        kernels->thread_enter();
    }
}

void tkr_kernels_thread_leave(const tkr_kernels *kernels) {
    if (kernels->thread_leave) {
        kernels->thread_leave();
    }
}
