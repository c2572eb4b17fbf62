/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that move rows, and attention whose queries are apart from the keys, against plain loops. */
#include "fixture.h"

enum { ROWS = 37, COLS = 12 };

static void values_from_the_host(void **state) {
    fixture *f = *state;
    begin(f, true, 0);
    tkr_tensor *x = tkr_ops_cpu.input(f->run, f->a, ROWS, COLS);
    float *values = values_of(f, x);
    assert_int_equal(tkr_ops_cpu.rows(x), ROWS);
    assert_int_equal(tkr_ops_cpu.cols(x), COLS);
    assert_memory_equal(values, f->a, ROWS * COLS * sizeof *values);
    free(values);
}

static void gather_picks_rows(void **state) {
    fixture *f = *state;
    const size_t rows[] = {36, 0, 5, 5, 17};
    begin(f, true, 0);
    tkr_tensor *x = tkr_ops_cpu.input(f->run, f->a, ROWS, COLS);
    float *values = values_of(f, tkr_ops_cpu.gather(f->run, x, rows, 5));
    for (size_t i = 0; i < 5; i++) assert_memory_equal(values + i * COLS, f->a + rows[i] * COLS, COLS * sizeof *values);
    free(values);
    const size_t beyond[] = {1, ROWS};
    assert_null(tkr_ops_cpu.gather(f->run, x, beyond, 2));
    assert_int_equal(tkr_ops_cpu.run_status(f->run, NULL), TKR_INTERNAL);
}

static void scatter_sets_or_adds(void **state) {
    fixture *f = *state;
    const size_t rows[] = {3, 36, 0};
    for (int add = 0; add < 2; add++) {
        begin(f, true, 0);
        tkr_tensor *into = tkr_ops_cpu.input(f->run, f->a, ROWS, COLS);
        tkr_tensor *x = tkr_ops_cpu.input(f->run, f->w, 3, COLS);
        tkr_ops_cpu.scatter(f->run, into, x, rows, add);
        float *values = values_of(f, into);
        for (size_t i = 0; i < ROWS; i++)
            for (size_t c = 0; c < COLS; c++) {
                float want = f->a[i * COLS + c];
                for (size_t r = 0; r < 3; r++)
                    if (rows[r] == i) want = add ? want + f->w[r * COLS + c] : f->w[r * COLS + c];
                assert_true(values[i * COLS + c] == want);
            }
        free(values);
    }
    tkr_tensor *wide = tkr_ops_cpu.input(f->run, f->a, 3, COLS + 1);
    tkr_ops_cpu.scatter(f->run, wide, tkr_ops_cpu.input(f->run, f->w, 2, COLS), rows, true);
    assert_int_equal(tkr_ops_cpu.run_status(f->run, NULL), TKR_INTERNAL);
}

static void reshape_is_a_view(void **state) {
    fixture *f = *state;
    begin(f, false, 0);
    tkr_tensor *x = tkr_ops_cpu.input(f->run, f->a, 36, COLS), *wide = tkr_ops_cpu.reshape(f->run, x, 4 * COLS);
    assert_int_equal(tkr_ops_cpu.rows(wide), 9);
    assert_int_equal(tkr_ops_cpu.cols(wide), 4 * COLS);
    tkr_tensor *ones = tkr_ops_cpu.input(f->run, f->bias, 9, 4 * COLS);
    tkr_ops_cpu.add(f->run, wide, ones);
    float *values = values_of(f, x);
    for (size_t i = 0; i < 36 * COLS; i++) assert_true(values[i] == f->a[i] + f->bias[i]);
    free(values);
    assert_null(tkr_ops_cpu.reshape(f->run, x, 5 * COLS + 1));
    assert_int_equal(tkr_ops_cpu.run_status(f->run, NULL), TKR_INTERNAL);
}

/* ---- queries of their own ---- */

static const size_t cu[] = {0, 20, 21, ROWS}, own[] = {0, 2, 3, 3};
static const tkr_batch batch = {.n_tokens = ROWS, .n_seqs = 3, .cu_seqlens = cu};

static double expected_value(const fixture *f, size_t n_heads, size_t dim, size_t query, size_t head, size_t c) {
    const size_t width = n_heads * dim, seq = query < own[1] ? 0 : 1;
    double sum = 0, total = 0;
    for (size_t j = cu[seq]; j < cu[seq + 1]; j++) {
        double logit = 0;
        for (size_t k = 0; k < dim; k++)
            logit += (double)f->w[query * width + head * dim + k] * (double)f->a[j * 2 * width + head * dim + k];
        const double weight = exp(0.5 * logit);
        total += weight;
        sum += weight * (double)f->a[j * 2 * width + width + head * dim + c];
    }
    return sum / total;
}

static tkr_tensor *probe(fixture *f, tkr_attention_options *o, size_t n_heads, size_t dim) {
    const size_t width = n_heads * dim;
    *o = (tkr_attention_options){.n_heads = n_heads,
                                 .n_kv_heads = n_heads,
                                 .head_dim = dim,
                                 .v_column = width,
                                 .scale = 0.5f,
                                 .mode = TKR_GEMM_F32,
                                 .cu_queries = own};
    tkr_tensor *kv = tkr_ops_cpu.input(f->run, f->a, ROWS, 2 * width), *q = tkr_ops_cpu.input(f->run, f->w, 3, width);
    return tkr_ops_cpu.attention(f->run, q, kv, &batch, o);
}

static void attention_of_probes(void **state) {
    fixture *f = *state;
    const size_t dims[] = {8, 6, 40}; /* 6: through padded copies */
    for (size_t d = 0; d < 3; d++) {
        const size_t width = 3 * dims[d];
        tkr_attention_options o;
        begin(f, true, 0);
        float *values = values_of(f, probe(f, &o, 3, dims[d]));
        for (size_t i = 0; i < 3; i++)
            for (size_t c = 0; c < width; c++)
                assert_true(fabs((double)values[i * width + c] -
                                 expected_value(f, 3, dims[d], i, c / dims[d], c % dims[d])) < 2e-6);
        free(values);
    }
}

static void probes_that_do_not_fit(void **state) {
    fixture *f = *state;
    const size_t many[] = {0, 1, 3, 3}; /* two queries for one key */
    tkr_attention_options o;
    for (int kind = 0; kind < 2; kind++) {
        begin(f, true, 0);
        probe(f, &o, 2, 8);
        if (kind == 0) o.causal = true;
        if (kind == 1) o.cu_queries = many;
        tkr_tensor *kv = tkr_ops_cpu.input(f->run, f->a, ROWS, 32), *q = tkr_ops_cpu.input(f->run, f->w, 3, 16);
        assert_null(tkr_ops_cpu.attention(f->run, q, kv, &batch, &o));
        assert_int_equal(tkr_ops_cpu.run_status(f->run, NULL), TKR_INTERNAL);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_from_the_host), cmocka_unit_test(gather_picks_rows),
        cmocka_unit_test(scatter_sets_or_adds), cmocka_unit_test(reshape_is_a_view),
        cmocka_unit_test(attention_of_probes),  cmocka_unit_test(probes_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, open_native, close_fixture);
}
