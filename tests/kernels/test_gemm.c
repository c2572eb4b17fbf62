/* SPDX-License-Identifier: Apache-2.0 */
/* GEMM kernels of every rung that this CPU has. */
#include "check_gemm.h"

static void check_modes(const tkr_kernels *kernels) {
    for (int mode = 0; mode <= TKR_GEMM_Q8; mode++) {
        check_gemm(kernels->gemm[mode], (tkr_gemm_mode)mode);
    }
}

static void test_rungs(void **state) {
    (void)state;
    check_each_rung(check_modes);
}

static void test_s16_reference(void **state) {
    (void)state;
    check_gemm(&tkr_gemm_s16_generic, TKR_GEMM_Q8);
}

static void test_s8_steps_match_reference(void **state) {
    (void)state;
    enum { N = 1000 };
    float w[N], scale = 0;
    int8_t q[N];
    check_fill(w, N, 0.3f, 5);
    tkr_quantize_s8_row(q, &scale, w, N);
    assert_true(tkr_s8_scale(w, N) == scale);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(tkr_s8_code(w[i], scale), q[i]);
    }
    memset(w, 0, sizeof w);
    tkr_quantize_s8_row(q, &scale, w, N);
    assert_true(tkr_s8_scale(w, N) == scale);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rungs),
        cmocka_unit_test(test_s16_reference),
        cmocka_unit_test(test_s8_steps_match_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
