/* SPDX-License-Identifier: Apache-2.0 */
/* Attention kernels of every rung that this CPU has. */
#include "check_attention.h"

static void check_modes(const tkr_kernels *kernels) {
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        const tkr_attention *kernel = kernels->attention[mode];
        if (mode > 0 && kernel == kernels->attention[mode - 1]) {
            continue;
        }
        bool exact = mode == TKR_GEMM_F32 || kernel == kernels->attention[TKR_GEMM_F32];
        check_attention(kernel, exact ? 1e-6 : 8e-3);
    }
}

static void test_rungs(void **state) {
    (void)state;
    check_each_rung(check_modes);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rungs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
