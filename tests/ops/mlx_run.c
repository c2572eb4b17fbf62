/* SPDX-License-Identifier: Apache-2.0 */
/* The MLX module's table and the life of a run: devices and versions, sticky errors, limits, deadlines, memory that
 * isn't there, other threads; after each failure the next run works. */
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "mlx_fixture.h"

static void expect_failure(const side *s, tkr_status status, const char *text) {
    tkr_error error = {TKR_OK, NULL, ""};
    assert_int_equal(s->ops->run_status(s->run, &error), status);
    assert_int_equal(error.status, status);
    if (!strstr(error.message, text)) fail_msg("\"%s\" says nothing of \"%s\"", error.message, text);
}

/* A small pass; the caller frees the values. */
static float *small_pass(const pair *p, const side *s, size_t *n) {
    const tkr_source part = plain("w", p->f->w, 32, 64);
    const tkr_linear_spec spec = {.parts = &part, .n_parts = 1};
    tkr_weight *weight = side_linear(s, &spec);
    side_begin(s);
    tkr_tensor *x = s->ops->input(s->run, p->f->a, 5, 64);
    float *values = side_values(s, s->ops->apply(s->run, x, weight, NULL), n);
    s->ops->weight_free(&weight);
    return values;
}

static void still_works(const pair *p) {
    size_t n = 0, m = 0;
    float *want = small_pass(p, &p->cpu, &n), *got = small_pass(p, &p->mlx, &m);
    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++) assert_true(fabs((double)want[i] - (double)got[i]) < 1e-5);
    free(want);
    free(got);
}

static void the_table(void **state) {
    const pair *p = *state;
    tkr_mlx_device device;
    tkr_mlx_memory memory;
    tkr_error error = {TKR_OK, NULL, ""};
    assert_string_equal(p->api->built_against, p->api->version());
    assert_int_equal(p->api->device(&device, false, 0, &error), TKR_OK);
    assert_string_equal(device.name, "cpu");
    assert_true(device.memory_bytes > (1u << 28));
    const unsigned beyond = (unsigned)p->api->n_gpus();
    const tkr_mlx_options options = {.gpu = true, .index = beyond};
    tkr_backend *backend = NULL;
    assert_int_equal(p->api->device(&device, true, beyond, &error), TKR_NOT_FOUND);
    assert_int_equal(p->api->backend_create(&backend, &options, &error), TKR_NOT_FOUND);
    assert_non_null(strstr(error.message, "GPU"));
    assert_null(backend);
    p->api->memory(&memory, p->mlx.backend);
    tkr_machine machine;
    tkr_machine_read(&machine);
    assert_int_equal(memory.limit, machine.memory / 4 * 3);
    assert_true(memory.peak >= memory.active);
    assert_string_equal(p->mlx.ops->name, "mlx");
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++)
        assert_non_null(p->mlx.ops->kernel_name(p->mlx.backend, (tkr_gemm_mode)mode, mode % 2));
    assert_true(p->mlx.ops->scratch_bytes(p->mlx.backend, 512, 128, 1536, 32) > 0);
}

static void limits(void **state) {
    const pair *p = *state;
    const side *s = &p->mlx;
    const tkr_run_options options = {.max_bytes = 100 * 64 * sizeof(float), .chunk_rows = 77};
    s->ops->run_begin(s->run, &options);
    assert_int_equal(s->ops->chunk_rows(s->run), 77);
    tkr_tensor *x = s->ops->empty(s->run, 90, 64);
    s->ops->release(s->run, &x);
    assert_null(x);
    x = s->ops->input(s->run, p->f->a, 90, 64); /* into the room that was given back */
    tkr_tensor *view = s->ops->view(s->run, x, 5, 80);
    assert_non_null(view); /* takes none */
    assert_null(s->ops->input(s->run, p->f->a, 11, 64));
    expect_failure(s, TKR_LIMIT, "--max-memory");
    side_begin(s);
    assert_true(s->ops->chunk_rows(s->run) > 4096);
    still_works(p);
}

static void failures_stay(void **state) {
    const pair *p = *state;
    const side *s = &p->mlx;
    const tkr_source source = plain("words", p->f->w, 20, 64);
    const int32_t ids[] = {0, 20};
    const int32_t *lists[] = {ids};
    tkr_weight *table = NULL;
    assert_int_equal(s->ops->table(&table, s->backend, &source, NULL), TKR_OK);
    const tkr_weight *tables[] = {table};
    side_begin(s);
    assert_null(s->ops->embed(s->run, tables, lists, 1, 2, 1.0f));
    expect_failure(s, TKR_INVALID_ARGUMENT, "words");
    assert_null(s->ops->input(s->run, p->f->a, 2, 2));
    float value = 7;
    assert_int_equal(s->ops->read(s->run, &value, NULL), TKR_INVALID_ARGUMENT);
    assert_true(value == 7);
    (s->ops->fail)(s->run, TKR_NO_MEMORY, "later");
    expect_failure(s, TKR_INVALID_ARGUMENT, "words"); /* the first one */
    side_begin(s);
    (s->ops->fail)(s->run, TKR_NO_MEMORY, "of a model's own");
    expect_failure(s, TKR_NO_MEMORY, "of a model's own");
    s->ops->weight_free(&table);
    still_works(p);
}

static void shapes_that_do_not_agree(void **state) {
    const pair *p = *state;
    const side *s = &p->mlx;
    const size_t far[] = {3}, near[] = {0, 1};
    const tkr_span empty = {1, 1, 0};
    const tkr_pool_mode mean = TKR_POOL_MEAN;
    tkr_weight *gain = side_vector(s, p->f->w, 5);
    for (int i = 0; i < 9; i++) {
        side_begin(s);
        tkr_tensor *x = s->ops->input(s->run, p->f->a, 3, 4), *y = s->ops->input(s->run, p->f->a, 2, 6);
        switch (i) {
        case 0: assert_null(s->ops->view(s->run, x, 2, 2)); break;
        case 1: assert_null(s->ops->reshape(s->run, x, 5)); break;
        case 2: assert_null(s->ops->gather(s->run, x, far, 1)); break;
        case 3: s->ops->scatter(s->run, x, y, near, false); break;
        case 4: s->ops->add(s->run, x, y); break;
        case 5: s->ops->add(s->run, x, x); break;
        case 6: assert_null(s->ops->rms_norm(s->run, x, gain, 1e-5f, NULL)); break;
        case 7: s->ops->rotate(s->run, x, &(tkr_rotate_options){.column = 1, .n_heads = 1, .head_dim = 4}); break;
        default: assert_null(s->ops->pool(s->run, x, &empty, 1, &mean, 1)); break;
        }
        assert_int_equal(s->ops->run_status(s->run, NULL), i == 8 ? TKR_INVALID_ARGUMENT : TKR_INTERNAL);
    }
    s->ops->weight_free(&gain);
    still_works(p);
}

/* ---- yield points ---- */

static tkr_status stop_at_third(void *user) { return ++*(int *)user == 3 ? TKR_DEADLINE : TKR_OK; }

static void deadlines(void **state) {
    const pair *p = *state;
    const side *s = &p->mlx;
    int calls = 0;
    const tkr_run_options options = {.check = stop_at_third, .check_user = &calls};
    s->ops->run_begin(s->run, &options);
    tkr_tensor *x = s->ops->input(s->run, p->f->a, 3, 4);
    assert_non_null(s->ops->normalize(s->run, x));
    assert_null(s->ops->normalize(s->run, x));
    expect_failure(s, TKR_DEADLINE, "deadline");
    assert_null(s->ops->normalize(s->run, x));
    assert_int_equal(calls, 3);
    still_works(p);
}

/* A long chain is computed while it is built, so that a deadline ends it in time: tensors that are released hold
 * nothing, and the bits are those of a short one. */
static void long_chains(void **state) {
    const pair *p = *state;
    const side *s = &p->mlx;
    enum { WIDTH = 512, ROWS = 200, STEPS = 12 };
    const tkr_source part = plain("w", p->f->w, WIDTH, WIDTH);
    const tkr_linear_spec spec = {.parts = &part, .n_parts = 1};
    tkr_weight *weight = side_linear(s, &spec), *gain = side_vector(s, p->f->bias, WIDTH);
    float *values[2];
    size_t n = 0;
    for (int twice = 0; twice < 2; twice++) {
        side_begin(s);
        tkr_tensor *x = s->ops->input(s->run, p->f->a, ROWS, WIDTH);
        for (int i = 0; i < STEPS; i++) {
            tkr_tensor *y = s->ops->apply(s->run, x, weight, NULL);
            s->ops->rms_norm(s->run, y, gain, 1e-6f, x);
            s->ops->release(s->run, &y);
            if (twice) free(side_values(s, x, &n)); /* reading in between changes nothing */
        }
        values[twice] = side_values(s, x, &n);
    }
    assert_memory_equal(values[0], values[1], n * sizeof(float));
    free(values[0]);
    free(values[1]);
    s->ops->weight_free(&weight);
    s->ops->weight_free(&gain);
}

/* ---- memory ---- */

static size_t address_space(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu", &pages), 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Tensors of 256 MiB where 64 MiB are left, computed and from the host, and a weight of 128: each fails by itself, and
 * what comes after it doesn't. */
static void memory_that_is_not_there(void **state) {
    const pair *p = *state;
    const side *s = &p->mlx;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    float *many = calloc(64 * 1024 * 1024, sizeof *many);
    assert_non_null(many);
    const tkr_source part = plain("w", many, 32 * 1024, 1024);
    const tkr_linear_spec spec = {.parts = &part, .n_parts = 1};
    tkr_weight *weight = NULL;
    const struct rlimit tight = {address_space() + (64u << 20), before.rlim_max};
    side_begin(s);
    tkr_tensor *y = s->ops->empty(s->run, 256 * 1024, 256);
    s->ops->add(s->run, y, s->ops->empty(s->run, 256 * 1024, 256));
    static float out[256];
    assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
    tkr_tensor *n = s->ops->normalize(s->run, y), *row = s->ops->view(s->run, n, 0, 1);
    const tkr_status computed = s->ops->read(s->run, out, row);
    side_begin(s);
    const tkr_tensor *given = s->ops->input(s->run, many, 64 * 1024, 1024);
    const tkr_status copied = s->ops->run_status(s->run, NULL),
                     loaded = s->ops->linear(&weight, s->backend, &spec, NULL);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_int_equal(computed, TKR_NO_MEMORY);
    assert_int_equal(copied, TKR_NO_MEMORY);
    assert_int_equal(loaded, TKR_NO_MEMORY);
    assert_null(given);
    assert_null(weight);
    expect_failure(s, TKR_NO_MEMORY, "memory");
    free(many);
    still_works(p);
}

static void weights_beyond_the_limit(void **state) {
    const pair *p = *state;
    const side *s = &p->mlx;
    const tkr_source part = plain("large.weight", p->f->w, 512, 512);
    const tkr_linear_spec spec = {.parts = &part, .n_parts = 1};
    const tkr_mlx_options small = {.memory_limit = 1u << 19}, usual = {0};
    tkr_backend *backend = NULL;
    tkr_weight *weight = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    assert_int_equal(p->api->backend_create(&backend, &small, NULL), TKR_OK);
    assert_int_equal(s->ops->linear(&weight, backend, &spec, &error), TKR_NO_MEMORY);
    assert_non_null(strstr(error.message, "large.weight"));
    assert_non_null(strstr(error.message, "1048576"));
    p->api->backend_free(&backend);
    assert_null(backend);
    assert_int_equal(p->api->backend_create(&backend, &usual, NULL), TKR_OK);
    p->api->backend_free(&backend);
    still_works(p);
}

/* ---- threads ---- */

typedef struct thread_job {
    const pair *p;
    side s;
    tkr_weight *weight;
    float *values;
    size_t n;
} thread_job;

static void *run_thread(void *arg) {
    thread_job *job = arg;
    for (int i = 0; i < 20; i++) {
        const tkr_run_options options = {0};
        job->s.ops->run_begin(job->s.run, &options);
        tkr_tensor *x = job->s.ops->input(job->s.run, job->p->f->a, 50, 256);
        tkr_tensor *y = job->s.ops->apply(job->s.run, x, job->weight, NULL);
        tkr_tensor *z = job->s.ops->normalize(job->s.run, y);
        job->n = 50 * 256;
        if (job->s.ops->read(job->s.run, job->values, z) != TKR_OK) job->n = 0;
    }
    return NULL;
}

/* A model loaded here serves sessions of other threads, at the same time; their threads end. */
static void other_threads(void **state) {
    const pair *p = *state;
    enum { THREADS = 3 };
    const tkr_source part = plain("w", p->f->w, 256, 256);
    const tkr_linear_spec spec = {.parts = &part, .n_parts = 1};
    tkr_weight *weight = side_linear(&p->mlx, &spec);
    for (int round = 0; round < 2; round++) {
        thread_job jobs[THREADS];
        pthread_t threads[THREADS];
        for (size_t i = 0; i < THREADS; i++) {
            jobs[i] = (thread_job){p, p->mlx, weight, malloc(50 * 256 * sizeof(float)), 0};
            assert_non_null(jobs[i].values);
            assert_int_equal(p->mlx.ops->run_create(&jobs[i].s.run, p->mlx.backend, NULL), TKR_OK);
            assert_int_equal(pthread_create(&threads[i], NULL, run_thread, &jobs[i]), 0);
        }
        for (size_t i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_int_equal(jobs[i].n, 50 * 256);
            assert_memory_equal(jobs[i].values, jobs[0].values, jobs[0].n * sizeof(float));
        }
        for (size_t i = 0; i < THREADS; i++) {
            p->mlx.ops->run_free(&jobs[i].s.run);
            free(jobs[i].values);
        }
    }
    p->mlx.ops->weight_free(&weight);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table),
        cmocka_unit_test(limits),
        cmocka_unit_test(failures_stay),
        cmocka_unit_test(shapes_that_do_not_agree),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(long_chains),
        cmocka_unit_test(memory_that_is_not_there),
        cmocka_unit_test(weights_beyond_the_limit),
        cmocka_unit_test(other_threads),
    };
    return cmocka_run_group_tests(tests, open_pair, close_pair);
}
