/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU backend and MLX's CPU device (the first GPU where TKR_MLX_GPU is set) side by side: a scenario runs on both
 * from the same inputs, and what it reads is compared. The module is loaded as the engine does it. */
#ifndef TESTS_OPS_MLX_FIXTURE_H
#define TESTS_OPS_MLX_FIXTURE_H

#include "core/mem.h"
#include "core/module.h"
#include "fixture.h"
#include "ops/mlx/module.h"

typedef struct side {
    const tkr_ops *ops;
    tkr_backend *backend;
    tkr_run *run;
} side;

typedef struct pair {
    fixture *f; /* numbers, and the CPU backend */
    side cpu, mlx;
    tkr_module *module;
    const tkr_mlx_module *api;
} pair;

static inline void open_module(pair *p) {
    char *path = NULL;
    tkr_module_fn *entry = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_module_find(&path, "libtkr-mlx.so", "TKR_MLX_MODULE", &error) != TKR_OK ||
        tkr_module_open(&p->module, path, &error) != TKR_OK ||
        tkr_module_symbol(&entry, p->module, TKR_MLX_ENTRY, &error) != TKR_OK)
        fail_msg("%s", error.message);
    tkr_free(path);
    p->api = ((tkr_mlx_module_fn *)entry)();
    assert_int_equal(p->api->abi, TKR_MLX_ABI);
    const tkr_mlx_options options = {.gpu = getenv("TKR_MLX_GPU") != NULL};
    if (p->api->backend_create(&p->mlx.backend, &options, &error) != TKR_OK) fail_msg("%s", error.message);
    p->mlx.ops = p->api->ops;
    assert_int_equal(p->mlx.ops->run_create(&p->mlx.run, p->mlx.backend, NULL), TKR_OK);
}

static inline int open_pair(void **state) {
    pair *p = calloc(1, sizeof *p);
    void *f = NULL;
    assert_non_null(p);
    fixture_open(&f, NULL);
    p->f = f;
    p->cpu = (side){&tkr_ops_cpu, p->f->backend, p->f->run};
    open_module(p);
    *state = p;
    return 0;
}

static inline int close_pair(void **state) {
    pair *p = *state;
    void *f = p->f;
    p->mlx.ops->run_free(&p->mlx.run);
    p->api->backend_free(&p->mlx.backend);
    tkr_module_close(&p->module);
    close_fixture(&f);
    free(p);
    return 0;
}

static inline void side_begin(const side *s) {
    const tkr_run_options options = {0};
    s->ops->run_begin(s->run, &options);
}

/* A tensor's values; the caller frees them. */
static inline float *side_values(const side *s, const tkr_tensor *x, size_t *n) {
    tkr_error error = {TKR_OK, NULL, ""};
    if (!x) s->ops->run_status(s->run, &error);
    if (!x) fail_msg("%s: no tensor: %s", s->ops->name, error.message);
    *n = s->ops->rows(x) * s->ops->cols(x);
    float *values = malloc((*n ? *n : 1) * sizeof *values);
    assert_non_null(values);
    if (s->ops->read(s->run, values, x) != TKR_OK) {
        s->ops->run_status(s->run, &error);
        fail_msg("%s: %s", s->ops->name, error.message);
    }
    return values;
}

static inline tkr_weight *side_vector(const side *s, const float *values, size_t n) {
    const tkr_source source = plain("vector", values, 1, n);
    tkr_weight *weight = NULL;
    assert_int_equal(s->ops->vector(&weight, s->backend, &source, 0, NULL), TKR_OK);
    return weight;
}

static inline tkr_weight *side_linear(const side *s, const tkr_linear_spec *spec) {
    tkr_weight *weight = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (s->ops->linear(&weight, s->backend, spec, &error) != TKR_OK) fail_msg("%s: %s", s->ops->name, error.message);
    return weight;
}

/* Everything that a scenario reads, of one side; the caller frees it. */
typedef float *scenario_fn(const fixture *f, const side *s, const void *arg, size_t *n);

/* Root of the squared difference over that of the values, below `bound`; and no single value is farther off than ten
 * times that share of the largest. The second MLX run must give the bits of the first. */
static inline void compare(const pair *p, scenario_fn *scenario, const void *arg, double bound, const char *what) {
    size_t n = 0, m = 0, again = 0;
    float *want = scenario(p->f, &p->cpu, arg, &n), *got = scenario(p->f, &p->mlx, arg, &m),
          *same = scenario(p->f, &p->mlx, arg, &again);
    assert_int_equal(n, m);
    assert_int_equal(n, again);
    assert_memory_equal(got, same, n * sizeof *got);
    double square = 0, off = 0, largest = 0, farthest = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)got[i] - (double)want[i];
        square += (double)want[i] * (double)want[i];
        off += d * d;
        largest = fmax(largest, fabs((double)want[i]));
        farthest = fmax(farthest, fabs(d));
    }
    if (!(sqrt(off) <= bound * sqrt(square)) || !(farthest <= 10 * bound * largest))
        fail_msg("%s: differs by %.3g of all, %.3g of the largest; bound %.3g", what, sqrt(off / square),
                 farthest / largest, bound);
    free(want);
    free(got);
    free(same);
}

#endif
