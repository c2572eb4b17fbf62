/* SPDX-License-Identifier: Apache-2.0 */
/* How near the kernels come to the machine's own peak, one thread: each figure is the best short window of a kernel
 * over the best window of the rung's register-only peak loop, the two alternating, so that a busy machine slows both.
 * bench_kernels [CAP [FILTER]]: CAP as for TKR_CPU, FILTER a substring of the printed names. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cpu.h"
#include "core/file.h"
#include "core/mem.h"
#include "kernels/kernels.h"

enum { WINDOWS = 60 };

typedef struct bench {
    tkr_kernels kernels;
    const char *filter;
} bench;

typedef void job_fn(void *user);

/* Repetitions that make a window of about 2 ms. */
static size_t calibrate(job_fn *job, void *user) {
    for (size_t n = 1;; n *= 2) {
        double start = tkr_now();
        for (size_t i = 0; i < n; i++) {
            job(user);
        }
        if (tkr_now() - start > 1e-3) {
            return n * 2;
        }
    }
}

/* Best seconds of one job; *peak, if asked for, is the best rate of `mode` measured between the windows. */
static double measure(const bench *b, job_fn *job, void *user, tkr_gemm_mode mode, double *peak) {
    double best = 1e9, rate = 0;
    size_t n = calibrate(job, user);
    for (int w = 0; w < WINDOWS; w++) {
        double start = tkr_now();
        for (size_t i = 0; i < n; i++) {
            job(user);
        }
        double seconds = (tkr_now() - start) / (double)n;
        best = seconds < best ? seconds : best;
        if (peak) {
            start = tkr_now();
            double ops = b->kernels.peak[mode](40000);
            ops /= tkr_now() - start;
            rate = ops > rate ? ops : rate;
        }
    }
    if (peak) {
        *peak = rate;
    }
    return best;
}

static void fill(float *x, size_t n, float amplitude) {
    uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = amplitude * ((float)(state >> 8) * 0x1p-23f - 1.0f);
    }
}

static void *get(size_t size) {
    void *p = tkr_aligned_alloc(size ? size : 64);
    if (!p) {
        fprintf(stderr, "bench_kernels: no memory for %zu bytes\n", size);
        exit(1);
    }
    memset(p, 0, size ? size : 64);
    return p;
}

static bool wanted(const bench *b, const char *name) { return !b->filter || strstr(name, b->filter) != NULL; }

typedef struct gemm_job {
    const tkr_gemm *g;
    tkr_gemm_args args;
    char *panels;
    float *scales;
    int32_t *sums;
    float *out;
    size_t n_panels, panel_bytes;
    const float *src, *weights;
    const uint8_t *codes;
    void *rows;
    tkr_row_quant *quant;
    size_t k, k_padded;
} gemm_job;

static void run_gemm(void *user) {
    gemm_job *j = user;
    for (size_t p = 0; p < j->n_panels; p++) {
        j->args.b = j->panels + p * j->panel_bytes;
        j->args.b_scale = j->scales + p * j->g->nr;
        j->args.b_sum = j->sums + p * j->g->nr;
        j->args.c = j->out + p * j->g->nr;
        j->g->panel(&j->args);
    }
}

static void run_pack_rows(void *user) {
    gemm_job *j = user;
    j->g->pack_rows(j->rows, j->args.a_stride, j->quant, j->src, j->k, j->args.n_rows, j->k, j->k_padded);
}

enum { GROUP = 64 };

static void pack_codes(const gemm_job *j, size_t p) {
    size_t n_groups = (j->k + GROUP - 1) / GROUP, at = p * j->g->nr;
    const tkr_codes codes = {.codes = j->codes + at * j->k,
                             .scale = j->weights + at * n_groups,
                             .bias = j->weights + at * n_groups,
                             .n_cols = j->g->nr,
                             .k = j->k,
                             .k_padded = j->k_padded,
                             .group = GROUP,
                             .scale_kind = TKR_SCALE_F32};
    j->g->pack_codes(j->panels + p * j->panel_bytes, &codes);
}

static void run_pack_panels(void *user) {
    gemm_job *j = user;
    for (size_t p = 0; p < j->n_panels; p++) {
        if (j->g->pack_codes) {
            pack_codes(j, p);
            continue;
        }
        j->g->pack_panel(j->panels + p * j->panel_bytes, j->scales + p * j->g->nr, j->sums + p * j->g->nr,
                         j->weights + p * j->g->nr * j->k, j->k, j->g->nr, j->k, j->k_padded);
    }
}

static void bench_gemm_shape(const bench *b, tkr_gemm_mode mode, size_t n, size_t k, tkr_activation activation) {
    static const size_t row_counts[] = {1, 4, 16, 64, 192, 512};
    const tkr_gemm *g = b->kernels.gemm[mode];
    size_t padded = (k + g->k_align - 1) / g->k_align * g->k_align;
    size_t stride = g->row_bytes ? g->row_bytes(padded) : (padded * g->act_bytes + 3) / 4 * 4;
    gemm_job j = {.g = g, .n_panels = n / g->nr, .panel_bytes = (size_t)g->nr * padded * g->weight_bits / 8};
    j.panel_bytes = g->panel_bytes ? g->panel_bytes(padded, GROUP, TKR_SCALE_F32) : j.panel_bytes;
    uint8_t *codes = get(n * k);
    for (size_t i = 0; i < n * k; i++) {
        codes[i] = (uint8_t)(i * 7 % 16);
    }
    float *w = get(n * k * sizeof(float)), *x = get(512 * k * sizeof(float)), *bias = get(n * sizeof(float));
    fill(w, n * k, 0.05f);
    fill(x, 512 * k, 1);
    j.panels = get(j.panel_bytes * j.n_panels);
    j.scales = get(n * sizeof(float));
    j.sums = get(n * sizeof(int32_t));
    j.out = get(512 * n * sizeof(float));
    j.rows = get(512 * stride);
    j.quant = get(512 * sizeof *j.quant);
    j.src = x;
    j.k = k;
    j.k_padded = padded;
    j.weights = w;
    j.codes = codes;
    run_pack_panels(&j);
    g->pack_rows(j.rows, stride, j.quant, x, k, 512, k, padded);
    size_t scratch = g->scratch_bytes ? g->scratch_bytes(padded) : 0;
    void *work = get(scratch);
    j.args = (tkr_gemm_args){.a = j.rows,
                             .a_stride = stride,
                             .a_quant = j.quant,
                             .k_padded = padded,
                             .bias = bias,
                             .ldc = n,
                             .n_cols = g->nr,
                             .activation = activation,
                             .scratch = work,
                             .group = GROUP,
                             .scale_kind = TKR_SCALE_F32};
    printf("%-14s %4zu x %4zu%s", g->name, n, k, activation == TKR_ACT_GELU_ERF ? " +gelu" : "      ");
    double peak = 0;
    for (size_t i = 0; i < sizeof row_counts / sizeof *row_counts; i++) {
        j.args.n_rows = row_counts[i];
        double seconds = measure(b, run_gemm, &j, mode, &peak);
        printf("  %zu: %4.1f%%", row_counts[i], 200.0 * (double)(n * k * row_counts[i]) / seconds / peak);
        fflush(stdout);
    }
    j.args.n_rows = 128;
    double pack_rows = measure(b, run_pack_rows, &j, mode, NULL) * 1e9 / (128.0 * (double)k);
    double pack_panels = measure(b, run_pack_panels, &j, mode, NULL) * 1e9 / (double)(n * k);
    printf("   (peak %.1f G/s; ns/value: pack rows %.3f, weights %.3f)\n", peak * 1e-9, pack_rows, pack_panels);
    tkr_aligned_free(codes, n * k);
    tkr_aligned_free(w, n * k * sizeof(float));
    tkr_aligned_free(x, 512 * k * sizeof(float));
    tkr_aligned_free(bias, n * sizeof(float));
    tkr_aligned_free(j.panels, j.panel_bytes * j.n_panels);
    tkr_aligned_free(j.scales, n * sizeof(float));
    tkr_aligned_free(j.sums, n * sizeof(int32_t));
    tkr_aligned_free(j.out, 512 * n * sizeof(float));
    tkr_aligned_free(j.rows, 512 * stride);
    tkr_aligned_free(j.quant, 512 * sizeof *j.quant);
    tkr_aligned_free(work, scratch ? scratch : 64);
}

static void bench_gemm(const bench *b) {
    static const char *const names[] = {"gemm-f32", "gemm-bf16", "gemm-q8", "gemm-q4"};
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        if (wanted(b, names[mode])) {
            bench_gemm_shape(b, (tkr_gemm_mode)mode, 1152, 384, TKR_ACT_NONE);
            bench_gemm_shape(b, (tkr_gemm_mode)mode, 384, 384, TKR_ACT_NONE);
            bench_gemm_shape(b, (tkr_gemm_mode)mode, 1536, 384, TKR_ACT_NONE);
            bench_gemm_shape(b, (tkr_gemm_mode)mode, 1536, 384, TKR_ACT_GELU_ERF);
            bench_gemm_shape(b, (tkr_gemm_mode)mode, 384, 1536, TKR_ACT_NONE);
        }
    }
}

typedef struct attention_job {
    const tkr_attention *kernel;
    tkr_attention_args args;
    size_t n_heads;
    float *qkv, *out;
} attention_job;

static void run_attention(void *user) {
    attention_job *j = user;
    size_t hd = j->args.head_dim, width = j->n_heads * hd;
    for (size_t h = 0; h < j->n_heads; h++) {
        j->args.q = j->qkv + h * hd;
        j->args.k = j->qkv + width + h * hd;
        j->args.v = j->qkv + 2 * width + h * hd;
        j->args.out = j->out + h * hd;
        j->kernel->head(&j->args);
    }
}

typedef struct attention_shape {
    size_t n_tokens, head_dim, n_heads, window;
    bool causal;
} attention_shape;

static void bench_attention_shape(const bench *b, tkr_gemm_mode mode, const attention_shape *shape) {
    size_t n = shape->n_tokens, hd = shape->head_dim, width = hd * shape->n_heads, seen = 0;
    attention_job j = {.kernel = b->kernels.attention[mode], .n_heads = shape->n_heads};
    size_t size = j.kernel->scratch_bytes(n, hd);
    for (size_t i = 0; i < n; i++) {
        size_t low = shape->window && i > shape->window ? i - shape->window : 0, high = shape->causal ? i + 1 : n;
        seen += (shape->window && high > i + shape->window + 1 ? i + shape->window + 1 : high) - low;
    }
    j.qkv = get(n * 3 * width * sizeof(float));
    j.out = get(n * width * sizeof(float));
    fill(j.qkv, n * 3 * width, 1);
    j.args = (tkr_attention_args){.q_stride = 3 * width,
                                  .kv_stride = 3 * width,
                                  .out_stride = width,
                                  .n_tokens = n,
                                  .head_dim = hd,
                                  .scale = 0.2f,
                                  .window = shape->window,
                                  .causal = shape->causal,
                                  .scratch = get(size)};
    double peak = 0, seconds = measure(b, run_attention, &j, mode, &peak);
    printf("  S%zu %.0f ns/token %.0f%%", n, seconds * 1e9 / (double)n,
           400.0 * (double)(seen * width) / seconds / peak);
    fflush(stdout);
    tkr_aligned_free(j.args.scratch, size);
    tkr_aligned_free(j.qkv, n * 3 * width * sizeof(float));
    tkr_aligned_free(j.out, n * width * sizeof(float));
}

static void bench_attention(const bench *b) {
    static const attention_shape shapes[] = {
        {0, 32, 12, 0, false}, {0, 64, 12, 0, false}, {0, 64, 12, 64, false}, {0, 128, 16, 0, true}};
    static const size_t lengths[] = {4, 16, 17, 32, 128, 512, 4096};
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        if (!wanted(b, "attention") || (mode && b->kernels.attention[mode] == b->kernels.attention[mode - 1])) {
            continue;
        }
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            attention_shape shape = shapes[s];
            printf("attention %-12s hd%-3zu H%zu window %zu%s:", b->kernels.attention[mode]->name, shape.head_dim,
                   shape.n_heads, shape.window, shape.causal ? " causal" : "");
            for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
                shape.n_tokens = lengths[i];
                shape.n_heads = lengths[i] > 1000 ? 1 : shapes[s].n_heads;
                bench_attention_shape(b, (tkr_gemm_mode)mode, &shape);
            }
            printf("\n");
        }
    }
}

typedef struct rows_job {
    const tkr_kernels *kernels;
    float *x, *y, *gain, *angles;
    size_t rows, dim;
    tkr_activation activation;
} rows_job;

static void run_layer_norm(void *user) {
    rows_job *j = user;
    j->kernels->layer_norm(j->y, j->x, j->gain, j->gain, 1e-12f, j->rows, j->dim);
}

static void run_activate(void *user) {
    rows_job *j = user;
    memcpy(j->y, j->x, j->rows * j->dim * sizeof(float));
    j->kernels->activate(j->y, j->rows * j->dim, j->activation);
}

static void run_rms_norm(void *user) {
    rows_job *j = user;
    j->kernels->rms_norm(j->y, j->x, j->gain, 1e-6f, j->rows, j->dim);
}

/* Rows of three heads of 128. */
static void run_rotate(void *user) {
    rows_job *j = user;
    for (size_t i = 0; i < j->rows; i++) {
        j->kernels->rotate(j->x + i * j->dim, j->dim / 128, 128, j->gain, 1e-6f, j->angles, 64);
    }
}

static void run_gate(void *user) {
    rows_job *j = user;
    j->kernels->gate(j->y, j->dim / 2, j->x, j->dim, j->dim / 2, j->rows, j->dim / 2, j->activation);
}

static void run_copy(void *user) {
    rows_job *j = user;
    memcpy(j->y, j->x, j->rows * j->dim * sizeof(float));
}

static void bench_rows(const bench *b) {
    static const char *const names[] = {"none", "gelu-erf", "gelu-tanh", "relu", "tanh", "silu", "quick-gelu"};
    rows_job j = {.kernels = &b->kernels, .rows = 8, .dim = 384};
    size_t n = j.rows * j.dim;
    j.x = get(n * sizeof(float));
    j.y = get(n * sizeof(float));
    j.gain = get(j.dim * sizeof(float));
    j.angles = get(128 * sizeof(float));
    fill(j.gain, j.dim, 1);
    fill(j.angles, 128, 0.7f);
    fill(j.x, n, 4);
    if (wanted(b, "rows")) {
        double copy = measure(b, run_copy, &j, TKR_GEMM_F32, NULL);
        printf("rows, ns/value: layer-norm %.3f", measure(b, run_layer_norm, &j, TKR_GEMM_F32, NULL) * 1e9 / (double)n);
        for (int a = TKR_ACT_GELU_ERF; a <= TKR_ACT_QUICK_GELU; a++) {
            j.activation = (tkr_activation)a;
            printf(", %s %.3f", names[a], (measure(b, run_activate, &j, TKR_GEMM_F32, NULL) - copy) * 1e9 / (double)n);
        }
        printf("\n      ns/result: rms-norm %.3f, norm and rotation %.3f",
               measure(b, run_rms_norm, &j, TKR_GEMM_F32, NULL) * 1e9 / (double)n,
               measure(b, run_rotate, &j, TKR_GEMM_F32, NULL) * 1e9 / (double)n);
        for (int a = TKR_ACT_GELU_ERF; a <= TKR_ACT_QUICK_GELU; a++) {
            j.activation = (tkr_activation)a;
            printf(", gate %s %.3f", names[a], measure(b, run_gate, &j, TKR_GEMM_F32, NULL) * 2e9 / (double)n);
        }
        printf("\n");
    }
    tkr_aligned_free(j.x, n * sizeof(float));
    tkr_aligned_free(j.y, n * sizeof(float));
    tkr_aligned_free(j.gain, j.dim * sizeof(float));
    tkr_aligned_free(j.angles, 128 * sizeof(float));
}

int main(int argc, char **argv) {
    bench b = {.filter = argc > 2 ? argv[2] : NULL};
    tkr_cpu_flags flags = 0;
    tkr_error error;
    if (tkr_cpu_detect(&flags, argc > 1 && strcmp(argv[1], "auto") != 0 ? argv[1] : NULL, &error) != TKR_OK) {
        fprintf(stderr, "bench_kernels: %s\n", error.message);
        return 2;
    }
    tkr_kernels_init(&b.kernels, flags);
    tkr_kernels_thread_enter(&b.kernels);
    printf("rung %s, one thread, best of %d windows, %% of the peak loop of the same format\n", b.kernels.rung,
           WINDOWS);
    bench_gemm(&b);
    bench_attention(&b);
    bench_rows(&b);
    tkr_kernels_thread_leave(&b.kernels);
    return 0;
}
