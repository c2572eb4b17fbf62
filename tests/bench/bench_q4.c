/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grouped 4-bit kernels beside the machine's limits: for each shape of known models and each number of rows the share
 * of the rung's int8 peak loop, and the share of the roofline max(weight bytes / measured read bandwidth, operations /
 * peak). Enough distinct copies of a matrix are used in turn that its weights come from memory, as in a model. Peak,
 * reads and kernel alternate in short windows; best and median of each.
 * bench_q4 [CAP [THREADS [FILTER]]]: CAP as for TKR_CPU, FILTER one shape, "NxK".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cpu.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/pool.h"
#include "kernels/kernels.h"

enum { WINDOWS = 21, MAX_ROWS = 512, GROUP = 64 };
static const size_t SET_BYTES = (size_t)192 << 20;
static const double WINDOW = 0.004; /* seconds */

typedef struct bench {
    tkr_kernels kernels;
    tkr_pool *pool;
    const tkr_gemm *g;
    tkr_gemm_args args;
    char *panels;
    size_t panel_bytes, n_panels, n_copies, copy; /* of the next run */
    size_t part;                                  /* eighth of the set that is read next */
    float *out, *x;
    void *rows;
    char *scratch;
    size_t scratch_bytes, ldc, k;
    double ops;
    uint64_t sink;
} bench;

typedef void job_fn(void *arg, unsigned worker, unsigned n_workers);

static void *get(size_t size) {
    void *p = tkr_aligned_alloc(size);
    if (!p) {
        fprintf(stderr, "bench_q4: no memory for %zu bytes\n", size);
        exit(1);
    }
    memset(p, 0, size);
    return p;
}

static void fill(float *x, size_t n, float amplitude) {
    uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = amplitude * ((float)(state >> 8) * 0x1p-23f - 1.0f);
    }
}

static void run_gemm(void *arg, unsigned worker, unsigned n_workers) {
    const bench *b = arg;
    tkr_gemm_args args = b->args;
    const char *panels = b->panels + b->copy * b->n_panels * b->panel_bytes;
    args.scratch = b->scratch + worker * b->scratch_bytes;
    for (size_t p = b->n_panels * worker / n_workers; p < b->n_panels * (worker + 1) / n_workers; p++) {
        args.b = panels + p * b->panel_bytes;
        args.c = b->out + p * b->g->nr;
        b->g->panel(&args);
    }
}

static void run_peak(void *arg, unsigned worker, unsigned n_workers) {
    bench *b = arg;
    const double ops = b->kernels.peak[TKR_GEMM_Q4](100000);
    if (worker == 0) {
        b->ops = ops * n_workers;
    }
}

/* Reads an eighth of the set. */
static void run_read(void *arg, unsigned worker, unsigned n_workers) {
    bench *b = arg;
    const size_t words = SET_BYTES / 8 / 8 / n_workers;
    const uint64_t *p = (const uint64_t *)(void *)b->panels + words * (b->part * n_workers + worker);
    uint64_t s[8] = {0};
    for (size_t i = 0; i + 8 <= words; i += 8) {
        for (size_t j = 0; j < 8; j++) {
            s[j] ^= p[i + j];
        }
    }
    for (size_t j = 1; j < 8; j++) {
        s[0] ^= s[j];
    }
    if (s[0] == 42) {
        b->sink++;
    }
}

static double once(bench *b, job_fn *job) {
    double start = tkr_now();
    if (tkr_pool_run(b->pool, job, b) != TKR_OK) {
        exit(1);
    }
    return tkr_now() - start;
}

static int order(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Shares of the peak and of the roofline for one run of s seconds beside a peak loop and a read. */
static void report(const bench *b, const char *what, double s, double peak, double read) {
    const double operations = 2.0 * (double)(b->n_panels * b->g->nr * b->k * b->args.n_rows);
    const double bytes = (double)(b->n_panels * b->panel_bytes);
    const double limit = bytes / read > operations / peak ? bytes / read : operations / peak;
    printf("  %s %8.3f ms %5.1f Gop/s = %5.1f %% of peak, %4.1f of %4.1f GB/s, time / limit %.2f", what, s * 1e3,
           operations / s * 1e-9, 100 * operations / s / peak, bytes / s * 1e-9, read * 1e-9, s / limit);
}

/* Windows of one or more runs, with peak and reading beside each; best and median. */
static void measure(bench *b, size_t n_rows) {
    double seconds[WINDOWS], peaks[WINDOWS], reads[WINDOWS];
    b->args.n_rows = n_rows;
    for (size_t w = 0; w < WINDOWS; w++) {
        double total = 0;
        size_t times = 0;
        for (; total < WINDOW; times++) {
            total += once(b, run_gemm);
            b->copy = (b->copy + 1) % b->n_copies;
        }
        seconds[w] = total / (double)times;
        const double t = once(b, run_peak);
        peaks[w] = b->ops / t;
        reads[w] = (double)SET_BYTES / 8 / once(b, run_read);
        b->part = (b->part + 1) % 8;
    }
    qsort(seconds, WINDOWS, sizeof *seconds, order);
    qsort(peaks, WINDOWS, sizeof *peaks, order);
    qsort(reads, WINDOWS, sizeof *reads, order);
    printf("  M %3zu:", n_rows);
    report(b, "best", seconds[0], peaks[WINDOWS - 1], reads[WINDOWS - 1]);
    report(b, "; median", seconds[WINDOWS / 2], peaks[WINDOWS / 2], reads[WINDOWS / 2]);
    printf("\n");
    fflush(stdout);
}

static void pack_all(bench *b, size_t n, size_t k, size_t padded) {
    const size_t nr = b->g->nr, n_groups = (k + GROUP - 1) / GROUP;
    uint8_t *codes = get(nr * k);
    float *scale = get(nr * n_groups * sizeof *scale), *bias = get(nr * n_groups * sizeof *bias);
    for (size_t i = 0; i < nr * k; i++) {
        codes[i] = (uint8_t)(i * 2654435761u >> 20 & 15);
    }
    for (size_t i = 0; i < nr * n_groups; i++) {
        scale[i] = 0.03125f;
        bias[i] = -0.25f;
    }
    const tkr_codes c = {codes, scale, bias, nr, k, padded, GROUP, TKR_SCALE_BF16};
    double start = tkr_now();
    for (size_t p = 0; p < b->n_panels; p++) {
        b->g->pack_codes(b->panels + p * b->panel_bytes, &c);
    }
    const double pack = tkr_now() - start;
    for (size_t i = 1; i < b->n_copies; i++) {
        memcpy(b->panels + i * b->n_panels * b->panel_bytes, b->panels, b->n_panels * b->panel_bytes);
    }
    start = tkr_now();
    b->g->pack_rows(b->rows, b->args.a_stride, NULL, b->x, k, MAX_ROWS, k, padded);
    printf("%zux%zu, %u threads: pack %.0f Mcodes/s, rows %.3f ns/value\n", n, k, tkr_pool_size(b->pool),
           (double)(n * k) / pack * 1e-6, (tkr_now() - start) * 1e9 / (double)(MAX_ROWS * k));
    tkr_aligned_free(codes, nr * k);
    tkr_aligned_free(scale, nr * n_groups * sizeof *scale);
    tkr_aligned_free(bias, nr * n_groups * sizeof *bias);
}

static void bench_shape(bench *b, size_t n, size_t k) {
    static const size_t row_counts[] = {1, 4, 16, 64, 512};
    const tkr_gemm *g = b->g;
    const size_t padded = (k + g->k_align - 1u) / g->k_align * g->k_align;
    const size_t stride = (g->row_bytes(padded) + 63) / 64 * 64;
    b->k = k;
    b->n_panels = n / g->nr;
    b->panel_bytes = g->panel_bytes(padded, GROUP, TKR_SCALE_BF16);
    b->n_copies = SET_BYTES / (b->n_panels * b->panel_bytes) + 1;
    b->copy = 0;
    b->scratch_bytes = ((g->scratch_bytes ? g->scratch_bytes(padded) : 0) + 63) / 64 * 64;
    const size_t set = b->n_copies * b->n_panels * b->panel_bytes, scratch = b->scratch_bytes * 64 + 64;
    b->panels = get(set);
    b->rows = get(MAX_ROWS * stride);
    b->x = get(MAX_ROWS * k * sizeof(float));
    b->out = get(MAX_ROWS * n * sizeof(float));
    b->scratch = get(scratch);
    fill(b->x, MAX_ROWS * k, 1);
    b->args = (tkr_gemm_args){.a = b->rows,
                              .a_stride = stride,
                              .k_padded = padded,
                              .ldc = n,
                              .n_cols = g->nr,
                              .group = GROUP,
                              .scale_kind = TKR_SCALE_BF16};
    pack_all(b, n, k, padded);
    for (size_t i = 0; i < sizeof row_counts / sizeof *row_counts; i++) {
        measure(b, row_counts[i]);
    }
    tkr_aligned_free(b->panels, set);
    tkr_aligned_free(b->rows, MAX_ROWS * stride);
    tkr_aligned_free(b->x, MAX_ROWS * k * sizeof(float));
    tkr_aligned_free(b->out, MAX_ROWS * n * sizeof(float));
    tkr_aligned_free(b->scratch, scratch);
}

int main(int argc, char **argv) {
    static const size_t shapes[][2] = {{3584, 3584}, {18944, 3584}, {3584, 18944}, {1024, 512},
                                       {2048, 1024}, {1024, 2048},  {3072, 1024},  {1024, 3072}};
    bench b = {0};
    tkr_cpu_flags flags = 0;
    tkr_error error;
    const unsigned threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1;
    if (tkr_cpu_detect(&flags, argc > 1 && strcmp(argv[1], "auto") != 0 ? argv[1] : NULL, &error) != TKR_OK ||
        tkr_pool_create(&b.pool, threads > 0 && threads <= 64 ? threads : 1, &error) != TKR_OK) {
        fprintf(stderr, "bench_q4: %s\n", error.message);
        return 2;
    }
    tkr_kernels_init(&b.kernels, flags);
    b.g = b.kernels.gemm[TKR_GEMM_Q4];
    printf("%s, group %d, %d windows\n", b.g->name, GROUP, WINDOWS);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char name[32];
        snprintf(name, sizeof name, "%zux%zu", shapes[i][0], shapes[i][1]);
        if (argc < 4 || strcmp(argv[3], name) == 0) {
            bench_shape(&b, shapes[i][0], shapes[i][1]);
        }
    }
    tkr_pool_free(&b.pool);
    return 0;
}
