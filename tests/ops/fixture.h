/* SPDX-License-Identifier: Apache-2.0 */
/* A CPU backend with three workers, pseudo-random values, and tensors made of them. */
#ifndef TESTS_OPS_FIXTURE_H
#define TESTS_OPS_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/ops.h"

enum { MAX_VALUES = 400 * 1024 };

typedef struct fixture {
    tkr_kernels kernels;
    tkr_pool *pool;
    tkr_backend *backend;
    tkr_run *run;
    float *a, *w, *bias, *residual; /* [MAX_VALUES], each in -1..1 */
} fixture;

static uint32_t fixture_seed = 1;
static inline uint32_t random_bits(void) {
    fixture_seed = fixture_seed * 1664525u + 1013904223u;
    return fixture_seed >> 8;
}
static inline float noise(void) { return (float)(int32_t)(random_bits() << 8) / 2147483648.0f; }

static inline int fixture_open(void **state, const char *cpu) {
    fixture *f = calloc(1, sizeof *f);
    tkr_cpu_flags flags = 0;
    assert_non_null(f);
    float **blocks[] = {&f->a, &f->w, &f->bias, &f->residual};
    assert_int_equal(tkr_cpu_detect(&flags, cpu, NULL), TKR_OK);
    tkr_kernels_init(&f->kernels, flags);
    assert_int_equal(tkr_pool_create(&f->pool, 3, NULL), TKR_OK);
    assert_int_equal(tkr_backend_cpu_create(&f->backend, &f->kernels, f->pool, NULL), TKR_OK);
    assert_int_equal(tkr_ops_cpu.run_create(&f->run, f->backend, NULL), TKR_OK);
    for (size_t b = 0; b < 4; b++) {
        *blocks[b] = malloc(MAX_VALUES * sizeof(float));
        assert_non_null(*blocks[b]);
        for (size_t i = 0; i < MAX_VALUES; i++) (*blocks[b])[i] = noise();
    }
    *state = f;
    return 0;
}

static inline int open_native(void **state) { return fixture_open(state, NULL); }
static inline int open_generic(void **state) { return fixture_open(state, "generic"); }

static inline int close_fixture(void **state) {
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

static inline void begin(fixture *f, bool together, size_t max_bytes) {
    const tkr_run_options options = {.pool = together ? f->pool : NULL, .max_bytes = max_bytes};
    tkr_ops_cpu.run_begin(f->run, &options);
}

static inline tkr_source plain(const char *name, const float *values, size_t rows, size_t cols) {
    return (tkr_source){name, {.data = values, .dtype = TKR_DTYPE_F32, .rows = rows, .cols = cols}};
}

/* A tensor with the given values: an embedding of rows 0..n-1. */
static inline tkr_tensor *tensor_of(fixture *f, const float *values, size_t rows, size_t cols) {
    const tkr_source source = plain("table", values, rows, cols);
    tkr_weight *table = NULL;
    assert_int_equal(tkr_ops_cpu.table(&table, f->backend, &source, NULL), TKR_OK);
    int32_t *ids = calloc(rows, sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < rows; i++) ids[i] = (int32_t)i;
    const tkr_weight *tables[1] = {table};
    const int32_t *lists[1] = {ids};
    tkr_tensor *x = tkr_ops_cpu.embed(f->run, tables, lists, 1, rows, 1.0f);
    free(ids);
    tkr_ops_cpu.weight_free(&table);
    return x;
}

/* A tensor's values; the caller frees them. */
static inline float *values_of(fixture *f, const tkr_tensor *x) {
    tkr_error error = {TKR_OK, NULL, ""};
    if (!x) tkr_ops_cpu.run_status(f->run, &error);
    if (!x) fail_msg("no tensor: %s", error.message);
    float *values = malloc(tkr_ops_cpu.rows(x) * tkr_ops_cpu.cols(x) * sizeof *values);
    assert_non_null(values);
    assert_int_equal(tkr_ops_cpu.read(f->run, values, x), TKR_OK);
    return values;
}

static inline tkr_weight *vector_of(fixture *f, const float *values, size_t n) {
    const tkr_source source = plain("vector", values, 1, n);
    tkr_weight *weight = NULL;
    assert_int_equal(tkr_ops_cpu.vector(&weight, f->backend, &source, 0, NULL), TKR_OK);
    return weight;
}

#endif
