/* SPDX-License-Identifier: Apache-2.0 */
/* How near a model's picture tower comes to the machine's own peak, pixels in, vectors out: each figure is
 * the best (and the median) pass over the best window of the rung's register-only peak loop, the two alternating; by
 * the clock, and by processor time, which says more on a busy machine.
 * One picture: all threads on each operation. Many: each thread takes some of them at a time.
 * bench_vit FOLDER [THREADS [SECONDS [PICTURES]]]: a checkpoint folder, such as tools/make_checkpoint vit-b-16 writes.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/cpu.h"
#include "core/json.h"
#include "core/mem.h"
#include "models/vision.h"

enum { MAX_PASSES = 400, AT_A_TIME = 4 };

typedef struct bench {
    json_t *json;
    tkr_tensors *tensors;
    tkr_kernels kernels;
    tkr_pool *pool;
    tkr_backend *backend;
    tkr_arch_config config;
    tkr_vision_config vision;
    tkr_arch_spec spec;
    tkr_arch_model *model;
    tkr_run *runs[64];
    unsigned n_threads;
    double seconds;
} bench;

static void check(tkr_status status, const tkr_error *error) {
    if (status == TKR_OK) return;
    fprintf(stderr, "bench_vit: %s\n", error->message);
    exit(1);
}

static void open_model(bench *b, const char *folder) {
    char path[4096];
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_cpu_flags flags = 0;
    snprintf(path, sizeof path, "%s/config.json", folder);
    check(tkr_json_file(&b->json, path, &error), &error);
    check(tkr_tensors_open_folder(&b->tensors, folder, &error), &error);
    const char *type = json_string_value(json_object_get(b->json, "model_type"));
    const tkr_arch *arch = type ? tkr_arch_find(type) : NULL;
    if (!arch || !arch->vision) {
        fprintf(stderr, "bench_vit: %s reads no pictures\n", folder);
        exit(1);
    }
    check(arch->configure(&b->config, b->json, path, &error), &error);
    check(arch->vision->configure(&b->vision, &b->config, b->json, path, &error), &error);
    b->spec = (tkr_arch_spec){.arch = arch, .config = &b->config, .vision = &b->vision};
    check(tkr_cpu_detect(&flags, tkr_env("TKR_CPU"), &error), &error);
    tkr_kernels_init(&b->kernels, flags);
    check(tkr_pool_create(&b->pool, b->n_threads, &error), &error);
    check(tkr_backend_cpu_create(&b->backend, &b->kernels, b->pool, &error), &error);
    for (unsigned i = 0; i < b->n_threads; i++) check(tkr_ops_cpu.run_create(&b->runs[i], b->backend, &error), &error);
}

static void bind_model(bench *b, tkr_gemm_mode mode) {
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_binder *binder = NULL;
    const tkr_binder_options options = {
        .set = b->tensors, .ops = &tkr_ops_cpu, .backend = b->backend, .mode = mode, .group = 64};
    check(tkr_binder_create(&binder, &options, &error), &error);
    check(tkr_arch_bind(&b->model, binder, &b->spec, &error), &error);
    tkr_binder_free(&binder);
}

/* ---- one pass ---- */

typedef struct pass {
    bench *b;
    tkr_visual *visuals; /* all alike */
    const float *patches;
    size_t n;
    atomic_size_t next;
    bool together;
} pass;

static void encode(const pass *p, unsigned worker, size_t first, size_t n) {
    const bench *b = p->b;
    tkr_error error = {TKR_OK, NULL, ""};
    const size_t each = p->visuals[0].h * p->visuals[0].w;
    const tkr_run_options options = {.pool = p->together ? b->pool : NULL};
    const tkr_batch batch = {.visuals = p->visuals,
                             .n_visuals = n,
                             .patches = p->patches + first * each * b->vision.patch_cols,
                             .n_patches = n * each,
                             .n_visual_tokens = n * tkr_visual_tokens(&b->vision, &p->visuals[0]),
                             .patch_cols = b->vision.patch_cols};
    tkr_ops_cpu.run_begin(b->runs[worker], &options);
    tkr_tensor *x = tkr_arch_encode(b->model, b->runs[worker], &batch);
    check(tkr_ops_cpu.run_status(b->runs[worker], &error), &error);
    tkr_ops_cpu.release(b->runs[worker], &x);
}

static void worker(void *user, unsigned index, unsigned n_workers) {
    (void)n_workers;
    pass *p = user;
    tkr_kernels_thread_enter(&p->b->kernels);
    for (;;) {
        const size_t at = atomic_fetch_add(&p->next, AT_A_TIME);
        if (at >= p->n) return;
        encode(p, index, at, p->n - at < AT_A_TIME ? p->n - at : AT_A_TIME);
    }
}

/* By the clock, and of all threads' processors. */
typedef struct seconds {
    double wall, processor;
} seconds;

static seconds now(void) { return (seconds){tkr_now(), (double)clock() / CLOCKS_PER_SEC}; }

static seconds since(seconds start) {
    const seconds t = now();
    return (seconds){t.wall - start.wall, t.processor - start.processor};
}

static seconds one_pass(pass *p) {
    const seconds start = now();
    p->together = p->n < AT_A_TIME * p->b->n_threads;
    atomic_store(&p->next, 0);
    if (p->together)
        encode(p, 0, 0, p->n);
    else if (tkr_pool_run(p->b->pool, worker, p) != TKR_OK)
        exit(1);
    return since(start);
}

/* ---- peak ---- */

typedef struct peak_job {
    tkr_peak_fn *fn;
    double operations[64];
} peak_job;

static void peak_worker(void *user, unsigned index, unsigned n_workers) {
    (void)n_workers;
    peak_job *job = user;
    job->operations[index] = job->fn(5000000);
}

/* Operations per second of all threads, and of one processor. */
static void raise_peak(seconds *peak, const bench *b, tkr_gemm_mode mode) {
    peak_job job = {.fn = b->kernels.peak[mode]};
    double sum = 0;
    const seconds start = now();
    if (tkr_pool_run(b->pool, peak_worker, &job) != TKR_OK) exit(1);
    const seconds took = since(start);
    for (unsigned i = 0; i < b->n_threads; i++) sum += job.operations[i];
    peak->wall = sum / took.wall > peak->wall ? sum / took.wall : peak->wall;
    peak->processor = sum / took.processor > peak->processor ? sum / took.processor : peak->processor;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(bench *b, tkr_gemm_mode mode, size_t n) {
    static const char *const names[TKR_GEMM_MODES] = {"f32", "bf16", "q8", "q4"};
    static double times[MAX_PASSES], processor[MAX_PASSES];
    const size_t pixels = b->vision.image_size ? b->vision.image_size : 448; /* where pictures may have any size */
    const size_t side = pixels / b->vision.patch_size, values = side * side * b->vision.patch_cols;
    tkr_visual *visuals = calloc(n, sizeof *visuals);
    float *patches = calloc(n * values, sizeof *patches);
    if (!visuals || !patches) exit(1);
    for (size_t i = 0; i < n; i++) visuals[i] = (tkr_visual){1, side, side};
    uint32_t seed = 1;
    for (size_t i = 0; i < n * values; i++) {
        seed = seed * 1664525u + 1013904223u;
        patches[i] = (float)(seed >> 24) / 127.5f - 1;
    }
    pass p = {.b = b, .visuals = visuals, .patches = patches, .n = n};
    seconds limit = {0, 0};
    size_t count = 0;
    one_pass(&p);
    const double begin = tkr_now();
    while (count < MAX_PASSES && (count < 3 || tkr_now() - begin < b->seconds)) {
        raise_peak(&limit, b, mode);
        const seconds took = one_pass(&p);
        times[count] = took.wall;
        processor[count++] = took.processor;
    }
    qsort(times, count, sizeof *times, by_value);
    qsort(processor, count, sizeof *processor, by_value);
    const double operations = (double)n * tkr_vision_operations(&b->vision, &visuals[0]);
    const double ideal = 100 * operations / limit.wall, own = 100 * operations / limit.processor;
    printf("%-5s %3zu pictures: best %5.1f %%, median %5.1f %% of the limit of %.0f G/s; %.1f ms, %.2f pictures/s; by "
           "processor time best %5.1f %%, median %5.1f %% of %.0f G/s\n",
           names[mode], n, ideal / times[0], ideal / times[count / 2], limit.wall / 1e9, 1e3 * times[0],
           (double)n / times[0], own / processor[0], own / processor[count / 2], limit.processor / 1e9);
    fflush(stdout);
    free(visuals);
    free(patches);
}

int main(int argc, char **argv) {
    static bench b;
    b.n_threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 2;
    b.seconds = argc > 3 ? strtod(argv[3], NULL) : 10;
    const size_t many = argc > 4 ? strtoul(argv[4], NULL, 10) : 32;
    if (argc < 2 || many < 1 || b.n_threads < 1 || b.n_threads > 64) {
        fprintf(stderr, "usage: bench_vit FOLDER [THREADS [SECONDS [PICTURES]]]\n");
        return 2;
    }
    open_model(&b, argv[1]);
    for (int mode = TKR_GEMM_F32; mode <= TKR_GEMM_Q8; mode++) {
        bind_model(&b, (tkr_gemm_mode)mode);
        measure(&b, (tkr_gemm_mode)mode, many);
        measure(&b, (tkr_gemm_mode)mode, 1);
        tkr_arch_free(&b.model);
    }
    for (unsigned i = 0; i < b.n_threads; i++) tkr_ops_cpu.run_free(&b.runs[i]);
    tkr_backend_cpu_free(&b.backend);
    tkr_pool_free(&b.pool);
    tkr_tensors_free(&b.tensors);
    json_decref(b.json);
    return 0;
}
