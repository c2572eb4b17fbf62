/* SPDX-License-Identifier: Apache-2.0 */
/* Grouped 4-bit kernels of every rung that this CPU has. */
#include "check_gemm_q4.h"

static void check_rung(const tkr_kernels *kernels) { check_gemm_q4(kernels->gemm[TKR_GEMM_Q4]); }

static void test_rungs(void **state) {
    (void)state;
    check_each_rung(check_rung);
}

/* The longest rows of known models (7B down projection), several K blocks of any rung. */
static void check_long(const tkr_kernels *kernels) {
    q4_case c;
    q4_case_init(&c, kernels->gemm[TKR_GEMM_Q4], 27, 3, 18944, 64, TKR_SCALE_BF16);
    float *whole = q4_product(&c);
    for (size_t n = 1; n < 27; n += 6) {
        float out[27 * 3];
        tkr_gemm_args args = q4_args(&c, 27 - n, n, out, 3);
        c.g->panel(&args);
        assert_memory_equal(out, whole + (27 - n) * 3, n * 3 * sizeof(float));
    }
    free(whole);
    q4_case_free(&c);
}

static void test_long_rows(void **state) {
    (void)state;
    check_each_rung(check_long);
}

/* Every code comes back within half a step, and the sums are those of the codes. */
static void test_encoder(void **state) {
    (void)state;
    enum { K = 352 };
    float x[K];
    char *bytes = check_alloc(tkr_q4_row_bytes(K));
    const tkr_q4_row row = tkr_q4_row_at(bytes, K);
    check_fill(x, K, 3, 12);
    x[40] = 900;
    tkr_q4_encode_row(bytes, x, K, K);
    for (size_t b = 0; b < K / 32; b++) {
        int32_t sum = 0, top = 0;
        for (size_t i = 0; i < 32; i++) {
            const int32_t q = row.q[b * 32 + i];
            assert_true(fabs((double)row.scale[b] * q - (double)x[b * 32 + i]) <= 0.5001 * (double)row.scale[b]);
            sum += q;
            top = abs(q) > top ? abs(q) : top;
        }
        assert_int_equal(top, 127);
        assert_true(row.sum32[b] == row.scale[b] * (float)sum);
    }
    assert_true(row.sum64[2] == row.sum32[4] + row.sum32[5] && row.sum128[1] == row.sum64[2] + row.sum64[3]);
    assert_true(row.sum64[5] == row.sum32[10] && row.sum128[2] == row.sum32[8] + row.sum32[9] + row.sum32[10]);
    assert_true(row.sum64[6] == 0 && row.sum128[3] == 0 && row.sum32[11] == 0);
    assert_true((char *)(row.sum128 + 4) == bytes + tkr_q4_row_bytes(K));
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encoder),
        cmocka_unit_test(test_rungs),
        cmocka_unit_test(test_long_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
