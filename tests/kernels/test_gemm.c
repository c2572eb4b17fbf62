/* SPDX-License-Identifier: Apache-2.0 */
/* GEMM kernels of every rung that this CPU has. */
#include "check_gemm.h"
#include "check_gemm_q8.h"
#ifdef __x86_64__
#include "kernels/x86/avx2.h"
#endif

static void check_modes(const tkr_kernels *kernels) {
    check_gemm(kernels->gemm[TKR_GEMM_F32], TKR_GEMM_F32);
    check_gemm(kernels->gemm[TKR_GEMM_BF16], TKR_GEMM_BF16);
    if (kernels->gemm[TKR_GEMM_Q8]->integer) {
        check_gemm(kernels->gemm[TKR_GEMM_Q8], TKR_GEMM_Q8);
    } else {
        check_gemm_q8(kernels->gemm[TKR_GEMM_Q8]);
    }
    if (kernels->q8_fine->integer) {
        check_gemm(kernels->q8_fine, TKR_GEMM_Q8);
    } else if (kernels->q8_fine->row_bytes) {
        check_gemm_q8(kernels->q8_fine);
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

/* The fine kernel of rungs with VNNI, which this CPU may lack. */
static void test_s16_avx2(void **state) {
    (void)state;
#ifdef __x86_64__
    tkr_cpu_flags flags = 0;
    assert_int_equal(tkr_cpu_detect(&flags, NULL, NULL), TKR_OK);
    if (flags & TKR_CPU_AVX2) {
        check_gemm(&tkr_gemm_s16_avx2, TKR_GEMM_Q8);
        return;
    }
#endif
    skip();
}

static void test_q8_blocks_reference(void **state) {
    (void)state;
    check_gemm_q8(&tkr_gemm_q8_blocks_generic);
    check_gemm_q8(&tkr_gemm_q8_fine_blocks_generic);
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
        cmocka_unit_test(test_s16_avx2),
        cmocka_unit_test(test_q8_blocks_reference),
        cmocka_unit_test(test_s8_steps_match_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
