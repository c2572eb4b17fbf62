/* SPDX-License-Identifier: Apache-2.0 */
/* ops/cpu/linear: blocks a matrix product over rows and panels. A row's bits depend on that row and the weights only.
 */
#include "ops/cpu/cpu_ops.h"

/* From this many rows on, cooperating workers take rows instead of panels: no row is encoded twice. */
#define SPLIT_ROWS_FROM 96
#define L2_SHARE (160u << 10)

size_t tkr_cpu_row_stride(const tkr_gemm *gemm, size_t k_padded) {
    size_t stride = tkr_align_up(k_padded * gemm->act_bytes, 4);
    return stride % 1024 == 0 ? stride + 64 : stride;
}

size_t tkr_cpu_row_block(const tkr_gemm *gemm, size_t k_padded) {
    size_t rows = L2_SHARE / (k_padded * gemm->act_bytes) / gemm->mr * gemm->mr;
    size_t least = (size_t)gemm->mr * 8, most = (size_t)gemm->mr * 32;
    return rows < least ? least : rows > most ? most : rows;
}

typedef struct apply_job {
    const tkr_tensor *x;
    const tkr_weight *weight;
    const tkr_linear_options *options;
    tkr_tensor *out;
    tkr_run *run;
    size_t row_block, stride;
    bool by_rows, in_place;
} apply_job;

static void apply_block(const apply_job *job, unsigned worker, size_t row, size_t n_rows, size_t panel_begin,
                        size_t panel_end) {
    const tkr_weight *w = job->weight;
    const tkr_gemm *gemm = w->gemm;
    const float *x = job->x->data + row * job->x->cols;
    char *packed = job->run->packed[worker].data;
    tkr_row_quant *quant = (tkr_row_quant *)(void *)packed;
    char *rows = packed + tkr_align_up(job->row_block * sizeof *quant, 64);
    tkr_gemm_args args = {.n_rows = n_rows, .k_padded = w->k_padded, .a_quant = quant};
    if (job->in_place) {
        args.a = x;
        args.a_stride = job->x->cols * sizeof(float);
    } else {
        gemm->pack_rows(rows, job->stride, quant, x, job->x->cols, n_rows, w->cols, w->k_padded);
        args.a = rows;
        args.a_stride = job->stride;
    }
    const tkr_tensor *residual = job->options->residual;
    args.activation = job->options->activation;
    args.ldc = job->out->cols;
    args.ld_residual = job->out->cols;
    args.scratch = job->run->kernel[worker].data;
    for (size_t panel = panel_begin; panel < panel_end; panel++) {
        size_t column = panel * gemm->nr;
        args.b = w->panels + panel * w->panel_bytes;
        args.b_scale = w->scale ? w->scale + column : NULL;
        args.b_sum = w->sums ? w->sums + column : NULL;
        args.bias = w->bias ? w->bias + column : NULL;
        args.n_cols = w->rows - column < gemm->nr ? w->rows - column : gemm->nr;
        args.c = job->out->data + row * job->out->cols + column;
        args.residual = residual ? residual->data + row * residual->cols + column : NULL;
        gemm->panel(&args);
    }
}

static void apply_worker(void *arg, unsigned worker, unsigned n_workers) {
    const apply_job *job = arg;
    size_t rows = job->x->rows, panels = job->weight->n_panels, mr = job->weight->gemm->mr;
    size_t row_begin = 0, row_end = rows, panel_begin = 0, panel_end = panels;
    if (job->by_rows) {
        size_t tiles = (rows + mr - 1) / mr;
        row_begin = tiles * worker / n_workers * mr;
        row_end = tiles * (worker + 1) / n_workers * mr;
        row_end = row_end < rows ? row_end : rows;
    } else {
        panel_begin = panels * worker / n_workers;
        panel_end = panels * (worker + 1) / n_workers;
    }
    for (size_t row = row_begin; row < row_end && panel_begin < panel_end; row += job->row_block) {
        size_t n = row_end - row < job->row_block ? row_end - row : job->row_block;
        apply_block(job, worker, row, n, panel_begin, panel_end);
    }
}

tkr_tensor *tkr_cpu_apply(tkr_run *run, const tkr_tensor *x, const tkr_weight *weight,
                          const tkr_linear_options *options) {
    static const tkr_linear_options none = {TKR_ACT_NONE, NULL};
    if (!tkr_run_proceed(run)) return NULL;
    const tkr_gemm *gemm = weight->gemm;
    options = options ? options : &none;
    if (weight->kind != TKR_WEIGHT_LINEAR || x->cols != weight->cols ||
        (options->residual && (options->residual->rows != x->rows || options->residual->cols != weight->rows))) {
        tkr_run_fail(run, TKR_INTERNAL, TKR_HERE, "a linear layer got an input of another width");
        return NULL;
    }
    apply_job job = {.x = x, .weight = weight, .options = options, .run = run};
    job.in_place = gemm->rows_in_place && weight->k_padded == weight->cols;
    job.row_block = tkr_cpu_row_block(gemm, weight->k_padded);
    job.row_block = x->rows < job.row_block ? (x->rows + gemm->mr - 1) / gemm->mr * gemm->mr : job.row_block;
    job.stride = tkr_cpu_row_stride(gemm, weight->k_padded);
    job.by_rows = x->rows >= SPLIT_ROWS_FROM;
    size_t packed =
        tkr_align_up(job.row_block * sizeof(tkr_row_quant), 64) + (job.in_place ? 0 : job.row_block * job.stride);
    size_t kernel = gemm->scratch_bytes ? gemm->scratch_bytes(weight->k_padded) : 64;
    if (!tkr_run_scratch(run, tkr_run_workers(run), packed, kernel)) return NULL;
    job.out = tkr_run_tensor(run, x->rows, weight->rows);
    if (!job.out) return NULL;
    tkr_run_parallel(run, true, apply_worker, &job);
    return job.out;
}
