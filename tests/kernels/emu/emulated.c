/* SPDX-License-Identifier: Apache-2.0 */
/* The shared kernel checks over one x86 rung whose instructions are emulated in plain C: the kernels' own sources,
 * compiled with another header. What the rung adds to the table below it is checked; TKR_EMULATED_* say which rung this
 * program is. */
#include "../check_attention.h"
#include "../check_gemm.h"
#include "../check_gemm_q4.h"
#include "../check_rows.h"
#include "kernels/x86/avx512.h"
#include "kernels/x86/x86.h"

static tkr_kernels below, rung;

static int setup(void **state) {
    (void)state;
    tkr_kernels_init_generic(&below);
    tkr_kernels_init_generic(&rung);
    TKR_EMULATED_OVERLAY(&rung, TKR_EMULATED_FLAGS);
    if (rung.thread_enter) {
        rung.thread_enter();
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    if (rung.thread_leave) {
        rung.thread_leave();
    }
    return 0;
}

static void test_overlay(void **state) {
    (void)state;
    tkr_kernels without;
    memset(&without, 0, sizeof without);
    const tkr_kernels zero = without;
    TKR_EMULATED_OVERLAY(&without, 0);
    assert_memory_equal(&without, &zero, sizeof zero);
    assert_int_equal(rung.bf16_is_fast, TKR_EMULATED_FAST_BF16);
    int n = 0;
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        n += rung.gemm[mode] != below.gemm[mode];
    }
    assert_int_equal(n, TKR_EMULATED_GEMMS);
}

static void test_gemm(void **state) {
    (void)state;
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        if (rung.gemm[mode] != below.gemm[mode]) {
            print_message("%s\n", rung.gemm[mode]->name);
            mode == TKR_GEMM_Q4 ? check_gemm_q4(rung.gemm[mode]) : check_gemm(rung.gemm[mode], (tkr_gemm_mode)mode);
        }
    }
}

/* Block edges of the widest tiles, by repeated rows: a row's bits are those it has in the first block. */
static void check_edges(const tkr_gemm *g, tkr_gemm_mode mode) {
    static const size_t counts[] = {14, 15, 16, 17, 18, 31, 32, 33, 47, 48, 49, 64, 65};
    gemm_case c;
    gemm_case_init(&c, g, mode, g->nr - 3u, 70);
    float *whole = check_product(&c);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        const size_t n = counts[i];
        char *a = check_alloc_exact(n * c.stride);
        tkr_row_quant *quant = check_alloc_exact(n * sizeof *quant);
        float *out = check_alloc_exact(n * c.n_cols * sizeof(float));
        for (size_t m = 0; m < n; m++) {
            memcpy(a + m * c.stride, (char *)c.packed_a + m % c.n_rows * c.stride, c.stride);
            quant[m] = c.quant[m % c.n_rows];
        }
        tkr_gemm_args args = gemm_case_args(&c, 0, n, out, c.n_cols);
        args.a = a;
        args.a_quant = g->integer ? quant : NULL;
        g->panel(&args);
        for (size_t m = 0; m < n; m++) {
            assert_memory_equal(out + m * c.n_cols, whole + m % c.n_rows * c.n_cols, c.n_cols * sizeof(float));
        }
        free(a);
        free(quant);
        free(out);
    }
    free(whole);
    gemm_case_free(&c);
}

static void test_row_counts(void **state) {
    (void)state;
    for (int mode = 0; mode <= TKR_GEMM_Q8; mode++) {
        if (rung.gemm[mode] != below.gemm[mode]) {
            check_edges(rung.gemm[mode], (tkr_gemm_mode)mode);
        }
    }
}

/* VNNI and AMX give the same sums and share the epilogue: the same bits, whatever their panels look like. */
static void test_integer_rungs_agree(void **state) {
    (void)state;
    enum { N = 29, K = 200 };
    const tkr_gemm *const kernels[2] = {&tkr_gemm_q8_vnni, &tkr_gemm_q8_amx};
    float *out[2];
    for (int i = 0; i < 2; i++) {
        gemm_case c;
        gemm_case_init(&c, kernels[i], TKR_GEMM_Q8, N, K);
        out[i] = check_alloc_exact(c.n_rows * N * sizeof(float));
        tkr_gemm_args args = gemm_case_args(&c, 0, c.n_rows, out[i], N);
        args.bias = c.bias;
        args.activation = TKR_ACT_GELU_ERF;
        tkr_amx_enter();
        c.g->panel(&args);
        tkr_amx_leave();
        gemm_case_free(&c);
    }
    assert_memory_equal(out[0], out[1], CHECK_ROWS * N * sizeof(float));
    free(out[0]);
    free(out[1]);
}

static void test_attention(void **state) {
    (void)state;
    const tkr_attention *last = NULL;
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        const tkr_attention *kernel = rung.attention[mode];
        if (kernel != below.attention[mode] && kernel != last) {
            print_message("%s\n", kernel->name);
            check_attention(kernel, mode == TKR_GEMM_F32 ? 1e-6 : 8e-3);
        }
        last = kernel;
    }
}

static void test_rows(void **state) {
    (void)state;
    if (rung.layer_norm != below.layer_norm) {
        check_rows_kernels(&rung);
    }
}

static void test_peak(void **state) {
    (void)state;
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        const double one = rung.peak[mode](1), nine = rung.peak[mode](9);
        assert_true(one > 0 && nine == 9 * one);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overlay),
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_row_counts),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_peak),
        cmocka_unit_test(test_integer_rungs_agree), /* last: it releases the tiles */
    };
    return cmocka_run_group_tests_name("emulated " TKR_EMULATED_NAME, tests, setup, teardown);
}
