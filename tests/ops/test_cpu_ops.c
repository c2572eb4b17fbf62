/* SPDX-License-Identifier: Apache-2.0 */
/* Operations of the CPU backend against double-precision loops; same bits alone and shared by workers; limits and
 * errors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/ops.h"

enum { MAX_VALUES = 400 * 400 };

typedef struct fixture {
    tkr_kernels kernels;
    tkr_pool *pool;
    tkr_backend *backend;
    tkr_run *run;
    float *a, *w, *bias, *residual;
} fixture;

static uint32_t seed = 1;
static float noise(void) {
    seed = seed * 1664525u + 1013904223u;
    return (float)(int32_t)seed / 2147483648.0f;
}

static int open_fixture(void **state) {
    fixture *f = calloc(1, sizeof *f);
    tkr_cpu_flags flags = 0;
    float **blocks[] = {&f->a, &f->w, &f->bias, &f->residual};
    assert_int_equal(tkr_cpu_detect(&flags, NULL, NULL), TKR_OK);
    tkr_kernels_init(&f->kernels, flags);
    assert_int_equal(tkr_pool_create(&f->pool, 3, NULL), TKR_OK);
    assert_int_equal(tkr_backend_cpu_create(&f->backend, &f->kernels, f->pool, NULL), TKR_OK);
    assert_int_equal(tkr_ops_cpu.run_create(&f->run, f->backend, NULL), TKR_OK);
    for (size_t b = 0; b < 4; b++) {
        *blocks[b] = malloc(MAX_VALUES * sizeof(float));
        for (size_t i = 0; i < MAX_VALUES; i++) (*blocks[b])[i] = noise();
    }
    *state = f;
    return 0;
}

static int close_fixture(void **state) {
    fixture *f = *state;
    tkr_ops_cpu.run_free(&f->run);
    tkr_backend_cpu_free(&f->backend);
    tkr_pool_free(&f->pool);
    free(f->a);
    free(f->w);
    free(f->bias);
    free(f->residual);
    free(f);
    return 0;
}

static void begin(fixture *f, bool together, size_t max_bytes) {
    const tkr_run_options options = {.pool = together ? f->pool : NULL, .max_bytes = max_bytes};
    tkr_ops_cpu.run_begin(f->run, &options);
}

/* A tensor with the given values: an embedding of rows 0..n-1. */
static tkr_tensor *tensor_of(fixture *f, const float *values, size_t rows, size_t cols) {
    const tkr_source source = {"table", values, TKR_DTYPE_F32, rows, cols};
    tkr_weight *table = NULL;
    assert_int_equal(tkr_ops_cpu.table(&table, f->backend, &source, NULL), TKR_OK);
    int32_t *ids = calloc(rows, sizeof *ids);
    for (size_t i = 0; i < rows; i++) ids[i] = (int32_t)i;
    const tkr_weight *tables[1] = {table};
    const int32_t *lists[1] = {ids};
    tkr_tensor *x = tkr_ops_cpu.embed(f->run, tables, lists, 1, rows);
    free(ids);
    tkr_ops_cpu.weight_free(&table);
    return x;
}

static float *linear_result(fixture *f, const tkr_weight *weight, size_t rows, size_t cols, size_t out, bool together) {
    begin(f, together, 0);
    tkr_tensor *x = tensor_of(f, f->a, rows, cols), *residual = tensor_of(f, f->residual, rows, out);
    const tkr_linear_options options = {TKR_ACT_GELU_ERF, residual};
    tkr_tensor *y = tkr_ops_cpu.apply(f->run, x, weight, &options);
    assert_non_null(y);
    float *values = malloc(rows * out * sizeof *values);
    assert_int_equal(tkr_ops_cpu.read(f->run, values, y), TKR_OK);
    return values;
}

static void check_linear(fixture *f, size_t rows, size_t cols, size_t out, tkr_gemm_mode mode, double bound) {
    size_t first = out / 3 + 1; /* two stacked parts of unlike sizes */
    const tkr_source parts[2] = {{"w0", f->w, TKR_DTYPE_F32, first, cols},
                                 {"w1", f->w + first * cols, TKR_DTYPE_F32, out - first, cols}};
    const tkr_source b0 = {"b0", f->bias, TKR_DTYPE_F32, 1, first},
                     b1 = {"b1", f->bias + first, TKR_DTYPE_F32, 1, out - first};
    const tkr_source *biases[2] = {&b0, &b1};
    tkr_weight *weight = NULL;
    const tkr_linear_spec spec = {.parts = parts, .biases = biases, .n_parts = 2, .mode = mode, .fine = rows % 2 == 0};
    assert_int_equal(tkr_ops_cpu.linear(&weight, f->backend, &spec, NULL), TKR_OK);
    float *alone = linear_result(f, weight, rows, cols, out, false),
          *together = linear_result(f, weight, rows, cols, out, true);
    assert_memory_equal(alone, together, rows * out * sizeof(float));
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < out; j++) {
            double sum = (double)f->bias[j];
            for (size_t k = 0; k < cols; k++) sum += (double)f->a[i * cols + k] * (double)f->w[j * cols + k];
            double want = 0.5 * sum * (1 + erf(sum / sqrt(2.0))) + (double)f->residual[i * out + j];
            if (!(fabs(want - (double)alone[i * out + j]) <= bound * sqrt((double)cols)))
                fail_msg("%zux%zux%zu mode %d at %zu, %zu: %g, expected %g", rows, cols, out, (int)mode, i, j,
                         (double)alone[i * out + j], want);
        }
    free(alone);
    free(together);
    tkr_ops_cpu.weight_free(&weight);
}

static void linear(void **state) {
    static const size_t shapes[][3] = {{1, 1, 3},     {1, 36, 108},   {5, 48, 144}, {7, 97, 50},
                                       {100, 64, 65}, {203, 130, 96}, {397, 32, 17}};
    static const double bounds[] = {2e-6, 2e-2, 3e-2};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int mode = TKR_GEMM_F32; mode <= TKR_GEMM_Q8; mode++)
            check_linear(*state, shapes[s][0], shapes[s][1], shapes[s][2], (tkr_gemm_mode)mode, bounds[mode]);
}

static void attention_of_any_head_width(void **state) {
    fixture *f = *state;
    static const size_t widths[] = {1, 9, 12, 32, 64};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        size_t d = widths[w], heads = 2, n = 23, cols = 3 * heads * d;
        const size_t cu[3] = {0, 9, n};
        const tkr_batch batch = {.n_tokens = n, .n_seqs = 2, .cu_seqlens = cu};
        const tkr_attention_options options = {.n_heads = heads,
                                               .head_dim = d,
                                               .k_column = heads * d,
                                               .v_column = 2 * heads * d,
                                               .scale = 0.5f,
                                               .mode = TKR_GEMM_F32};
        float *got = malloc(n * heads * d * sizeof *got);
        begin(f, true, 0);
        tkr_tensor *y = tkr_ops_cpu.attention(f->run, tensor_of(f, f->a, n, cols), &batch, &options);
        assert_int_equal(tkr_ops_cpu.read(f->run, got, y), TKR_OK);
        for (size_t i = 0; i < n; i++)
            for (size_t h = 0; h < heads; h++)
                for (size_t c = 0; c < d; c++) {
                    size_t from = i < 9 ? 0 : 9, to = i < 9 ? 9 : n;
                    double sum = 0, total = 0;
                    for (size_t j = from; j < to; j++) {
                        double logit = 0;
                        for (size_t k = 0; k < d; k++)
                            logit += (double)f->a[i * cols + h * d + k] * (double)f->a[j * cols + (heads + h) * d + k];
                        total += exp(0.5 * logit);
                        sum += exp(0.5 * logit) * (double)f->a[j * cols + (2 * heads + h) * d + c];
                    }
                    assert_true(fabs(sum / total - (double)got[(i * heads + h) * d + c]) < 2e-6);
                }
        free(got);
    }
}

static void pooling_modes(void **state) {
    fixture *f = *state;
    enum { N = 5, D = 3 };
    static const tkr_pool_mode modes[] = {TKR_POOL_CLS,           TKR_POOL_MAX,          TKR_POOL_MEAN,
                                          TKR_POOL_MEAN_SQRT_LEN, TKR_POOL_WEIGHTEDMEAN, TKR_POOL_LASTTOKEN};
    const tkr_span span = {2, 5, 1}; /* tokens 2, 3, 4 of a sequence that starts at 1 */
    float got[6 * D];
    begin(f, false, 0);
    tkr_tensor *y = tkr_ops_cpu.pool(f->run, tensor_of(f, f->a, N, D), &span, 1, modes, 6);
    assert_int_equal(tkr_ops_cpu.read(f->run, got, y), TKR_OK);
    for (size_t d = 0; d < D; d++) {
        double x[3] = {(double)f->a[2 * D + d], (double)f->a[3 * D + d], (double)f->a[4 * D + d]};
        double want[6] = {x[0],
                          fmax(fmax(x[0], x[1]), x[2]),
                          (x[0] + x[1] + x[2]) / 3,
                          (x[0] + x[1] + x[2]) / sqrt(3.0),
                          (2 * x[0] + 3 * x[1] + 4 * x[2]) / 9,
                          x[2]};
        for (size_t m = 0; m < 6; m++) assert_true(fabs(want[m] - (double)got[m * D + d]) < 1e-6);
    }
}

static void errors_are_sticky(void **state) {
    fixture *f = *state;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_span empty = {3, 3, 0};
    const tkr_pool_mode mode = TKR_POOL_MEAN;
    begin(f, false, 0);
    tkr_tensor *x = tensor_of(f, f->a, 4, 8);
    assert_null(tkr_ops_cpu.pool(f->run, x, &empty, 1, &mode, 1));
    assert_null(tkr_ops_cpu.normalize(f->run, x));
    assert_int_equal(tkr_ops_cpu.run_status(f->run, &error), TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "pool"));
    begin(f, false, 100); /* the limit of the workspace */
    assert_null(tensor_of(f, f->a, 300, 300));
    assert_int_equal(tkr_ops_cpu.run_status(f->run, &error), TKR_LIMIT);
    begin(f, false, 0);
    assert_non_null(tensor_of(f, f->a, 4, 8));
}

static void ids_outside_of_a_table(void **state) {
    fixture *f = *state;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_source source = {"words", f->a, TKR_DTYPE_F32, 10, 4};
    tkr_weight *table = NULL;
    assert_int_equal(tkr_ops_cpu.table(&table, f->backend, &source, NULL), TKR_OK);
    const tkr_weight *tables[1] = {table};
    static const int32_t bad[2][1] = {{10}, {-1}};
    for (size_t i = 0; i < 2; i++) {
        const int32_t *lists[1] = {bad[i]};
        begin(f, false, 0);
        assert_null(tkr_ops_cpu.embed(f->run, tables, lists, 1, 1));
        assert_int_equal(tkr_ops_cpu.run_status(f->run, &error), TKR_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "words"));
    }
    tkr_ops_cpu.weight_free(&table);
}

static void weights_must_be_finite(void **state) {
    fixture *f = *state;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_weight *weight = NULL;
    float w[20 * 4];
    memcpy(w, f->a, sizeof w);
    w[37] = INFINITY;
    const tkr_source source = {"layer.weight", w, TKR_DTYPE_F32, 20, 4}, vector = {"norm", w, TKR_DTYPE_F32, 1, 80};
    for (int mode = TKR_GEMM_F32; mode <= TKR_GEMM_Q8; mode++) {
        const tkr_linear_spec spec = {.parts = &source, .n_parts = 1, .mode = (tkr_gemm_mode)mode};
        assert_int_equal(tkr_ops_cpu.linear(&weight, f->backend, &spec, &error), TKR_NUMERIC);
    }
    assert_non_null(strstr(error.message, "layer.weight"));
    assert_int_equal(tkr_ops_cpu.vector(&weight, f->backend, &vector, &error), TKR_NUMERIC);
    assert_null(weight);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear),
        cmocka_unit_test(attention_of_any_head_width),
        cmocka_unit_test(pooling_modes),
        cmocka_unit_test(errors_are_sticky),
        cmocka_unit_test(ids_outside_of_a_table),
        cmocka_unit_test(weights_must_be_finite),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
