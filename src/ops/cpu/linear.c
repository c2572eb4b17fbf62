/* SPDX-License-Identifier: Apache-2.0 */
/* ops/cpu/linear: blocks a matrix product over rows and panels. A row's bits depend on that row and the weights only.
 */
#include "ops/cpu/cpu_ops.h"

/* From this many rows on, cooperating workers take rows instead of panels: no row is encoded twice. */
#define SPLIT_ROWS_FROM 96
#define L2_SHARE (256u << 10)
/* Inputs of a gated layer: up to this many slices of 384. */
#define MAX_SLICES 64

size_t tkr_cpu_row_bytes(const tkr_gemm *gemm, size_t k_padded) {
    return gemm->row_bytes ? gemm->row_bytes(k_padded) : tkr_align_up(k_padded * gemm->act_bytes, 4);
}

size_t tkr_cpu_row_stride(const tkr_gemm *gemm, size_t k_padded) {
    size_t stride = tkr_align_up(tkr_cpu_row_bytes(gemm, k_padded), 4);
    return stride % 1024 == 0 ? stride + 64 : stride;
}

size_t tkr_cpu_row_block(const tkr_gemm *gemm, size_t k_padded) {
    size_t rows = L2_SHARE / tkr_cpu_row_bytes(gemm, k_padded) / gemm->mr * gemm->mr;
    size_t least = (size_t)gemm->mr * 8, most = (size_t)gemm->mr * 48;
    return rows < least ? least : rows > most ? most : rows;
}

typedef struct apply_job {
    const tkr_tensor *x;
    const tkr_weight *weight;
    const tkr_linear_options *options;
    tkr_tensor *out;
    tkr_run *run;
    size_t row_block, stride;
    size_t quant_bytes, slice_bytes; /* of one slice's packed rows: their scales, and all of it */
    bool by_rows, in_place;
} apply_job;

typedef struct row_range {
    size_t row, n_rows, panel_begin, panel_end;
} row_range;

/* Encodes the rows of one slice into the worker's buffer at `place`, and points args at them. */
static void pack_slice(const apply_job *job, unsigned worker, const row_range *range, size_t slice, size_t place,
                       tkr_gemm_args *args) {
    const tkr_weight *w = job->weight;
    size_t k = slice * w->slice_k, left = w->cols - k;
    const float *x = job->x->data + range->row * job->x->cols + k;
    char *packed = (char *)job->run->packed[worker].data + place * job->slice_bytes;
    tkr_row_quant *quant = (tkr_row_quant *)(void *)packed;
    *args = (tkr_gemm_args){.n_rows = range->n_rows, .k_padded = w->k_padded, .a_quant = quant};
    args->group = w->group;
    args->scale_kind = w->scale_kind;
    args->scratch = job->run->kernel[worker].data;
    if (job->in_place) {
        args->a = x;
        args->a_stride = job->x->cols * sizeof(float);
        return;
    }
    w->gemm->pack_rows(packed + job->quant_bytes, job->stride, quant, x, job->x->cols, range->n_rows,
                       left < w->slice_k ? left : w->slice_k, w->k_padded);
    args->a = packed + job->quant_bytes;
    args->a_stride = job->stride;
}

static void point_at_panel(tkr_gemm_args *args, const tkr_weight *w, size_t slice, size_t panel) {
    size_t column = panel * w->gemm->nr, at = slice * w->n_panels * w->gemm->nr + column;
    args->b = w->panels + (slice * w->n_panels + panel) * w->panel_bytes;
    args->b_scale = w->scale ? w->scale + at : NULL;
    args->b_sum = w->sums ? w->sums + at : NULL;
    args->bias = w->bias && slice == 0 ? w->bias + column : NULL;
}

/* Rows [row, row + n_rows) of slice `slice` against panels [panel_begin, panel_end). Slices after the first add to what
 * is there; an activation waits for the last. */
static void apply_slice(const apply_job *job, unsigned worker, const row_range *range, size_t slice) {
    const tkr_weight *w = job->weight;
    tkr_gemm_args args;
    pack_slice(job, worker, range, slice, 0, &args);
    const tkr_tensor *residual = slice == 0 ? job->options->residual : job->out;
    args.activation = w->n_slices == 1 ? job->options->activation : TKR_ACT_NONE;
    args.ldc = args.ld_residual = job->out->cols;
    for (size_t panel = range->panel_begin; panel < range->panel_end; panel++) {
        size_t column = panel * w->gemm->nr, to = range->row * job->out->cols + column;
        point_at_panel(&args, w, slice, panel);
        args.n_cols = w->rows - column < w->gemm->nr ? w->rows - column : w->gemm->nr;
        args.c = job->out->data + to;
        args.residual = residual ? residual->data + to : NULL;
        w->gemm->panel(&args);
    }
}

/* A gated layer: each panel's product stays in a tile, half gate and half partner, from which the outputs are made. */
static void apply_gated(const apply_job *job, unsigned worker, const row_range *range) {
    const tkr_weight *w = job->weight;
    size_t nr = w->gemm->nr, half = nr / 2;
    tkr_gemm_args slices[MAX_SLICES];
    for (size_t slice = 0; slice < w->n_slices; slice++) pack_slice(job, worker, range, slice, slice, &slices[slice]);
    float *tile = (float *)(void *)((char *)job->run->packed[worker].data + w->n_slices * job->slice_bytes);
    for (size_t panel = range->panel_begin; panel < range->panel_end; panel++) {
        for (size_t slice = 0; slice < w->n_slices; slice++) {
            tkr_gemm_args *args = &slices[slice];
            point_at_panel(args, w, slice, panel);
            args->c = tile;
            args->residual = slice > 0 ? tile : NULL;
            args->ldc = args->ld_residual = args->n_cols = nr;
            w->gemm->panel(args);
        }
        size_t column = panel * half, n = w->outputs - column < half ? w->outputs - column : half;
        job->run->backend->kernels->gate(job->out->data + range->row * job->out->cols + column, job->out->cols, tile,
                                         nr, half, range->n_rows, n, job->options->activation);
    }
}

static void apply_block(const apply_job *job, unsigned worker, const row_range *range) {
    const tkr_weight *w = job->weight;
    if (w->gated) {
        apply_gated(job, worker, range);
        return;
    }
    for (size_t slice = 0; slice < w->n_slices; slice++) apply_slice(job, worker, range, slice);
    if (w->n_slices == 1 || job->options->activation == TKR_ACT_NONE) return;
    size_t first = range->panel_begin * w->gemm->nr, end = range->panel_end * w->gemm->nr;
    end = end < w->rows ? end : w->rows;
    for (size_t row = range->row; row < range->row + range->n_rows; row++)
        job->run->backend->kernels->activate(job->out->data + row * job->out->cols + first, end - first,
                                             job->options->activation);
}

static void apply_part(void *arg, unsigned worker, size_t part, size_t n_parts) {
    const apply_job *job = arg;
    size_t rows = job->x->rows, panels = job->weight->n_panels, mr = job->weight->gemm->mr;
    size_t row_begin = 0, row_end = rows, panel_begin = 0, panel_end = panels;
    if (job->by_rows) {
        size_t tiles = (rows + mr - 1) / mr;
        row_begin = tiles * part / n_parts * mr;
        row_end = tiles * (part + 1) / n_parts * mr;
        row_end = row_end < rows ? row_end : rows;
    } else {
        panel_begin = panels * part / n_parts;
        panel_end = panels * (part + 1) / n_parts;
    }
    /* Blocks of about one size: the weights that a short one streams through the cache would serve few rows. */
    const size_t n_blocks = (row_end - row_begin + job->row_block - 1) / job->row_block;
    const size_t block = n_blocks > 0 ? ((row_end - row_begin + n_blocks - 1) / n_blocks + mr - 1) / mr * mr : mr;
    for (size_t row = row_begin; row < row_end && panel_begin < panel_end; row += block) {
        size_t n = row_end - row < block ? row_end - row : block;
        const row_range range = {row, n, panel_begin, panel_end};
        apply_block(job, worker, &range);
    }
}

/* A gated layer keeps all slices of its rows at once. */
static size_t slices_at_once(const tkr_weight *weight) { return weight->gated ? weight->n_slices : 1; }

static bool shapes_agree(tkr_run *run, const tkr_tensor *x, const tkr_weight *weight,
                         const tkr_linear_options *options) {
    const tkr_tensor *residual = options->residual;
    const char *message = NULL;
    if (weight->kind != TKR_WEIGHT_LINEAR || x->cols != weight->cols ||
        (residual && (residual->rows != x->rows || residual->cols != weight->outputs)))
        message = "a linear layer got an input of another width";
    else if (residual && weight->gated)
        message = "a gated layer with a residual";
    else if (weight->n_slices > 1 && residual && options->activation != TKR_ACT_NONE)
        message = "a sliced layer with both an activation and a residual";
    else if (slices_at_once(weight) > MAX_SLICES)
        message = "a gated layer wider than this backend's limit";
    if (message) tkr_run_fail(run, TKR_INTERNAL, TKR_HERE, message);
    return !message;
}

tkr_tensor *tkr_cpu_apply(tkr_run *run, const tkr_tensor *x, const tkr_weight *weight,
                          const tkr_linear_options *options) {
    static const tkr_linear_options none = {TKR_ACT_NONE, NULL, NULL};
    if (!tkr_run_proceed(run)) return NULL;
    const tkr_gemm *gemm = weight->gemm;
    options = options ? options : &none;
    if (!shapes_agree(run, x, weight, options)) return NULL;
    apply_job job = {.x = x, .weight = weight, .options = options, .run = run};
    size_t at_once = slices_at_once(weight);
    /* Rows a multiple of a page apart share their cache sets; those are copied to a better stride, too. */
    job.in_place = gemm->rows_in_place && weight->k_padded == weight->cols && weight->cols * sizeof(float) % 4096 != 0;
    job.row_block = tkr_cpu_row_block(gemm, weight->k_padded * at_once);
    job.row_block = x->rows < job.row_block ? (x->rows + gemm->mr - 1) / gemm->mr * gemm->mr : job.row_block;
    job.stride = tkr_cpu_row_stride(gemm, weight->k_padded);
    job.by_rows = x->rows >= SPLIT_ROWS_FROM;
    job.quant_bytes = tkr_align_up(job.row_block * sizeof(tkr_row_quant), 64);
    job.slice_bytes = tkr_align_up(job.quant_bytes + (job.in_place ? 0 : job.row_block * job.stride), 64);
    size_t tile = weight->gated ? job.row_block * gemm->nr * sizeof(float) : 0;
    size_t kernel = gemm->scratch_bytes ? gemm->scratch_bytes(weight->k_padded) : 64;
    if (!tkr_run_scratch(run, tkr_run_workers(run), at_once * job.slice_bytes + tile, kernel)) return NULL;
    job.out = tkr_run_target(run, options->into, x->rows, weight->outputs);
    if (!job.out) return NULL;
    tkr_run_parallel(run, tkr_run_workers(run), apply_part, &job);
    return job.out;
}
