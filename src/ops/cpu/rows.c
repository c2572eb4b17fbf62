/* SPDX-License-Identifier: Apache-2.0 */
/* ops/cpu/rows: what works row by row: embedding sum, layer norm, pooling, L2 normalisation. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ops/cpu/cpu_ops.h"

/* Below this many values a second worker costs more than it saves. */
#define SPLIT_VALUES_FROM 32768

typedef struct rows_job {
    size_t n_rows;
    void (*fn)(const struct rows_job *job, unsigned worker, size_t begin, size_t end);
    tkr_run *run;
    const tkr_kernels *kernels;
    const tkr_tensor *x;
    tkr_tensor *out;
    const tkr_weight *gain, *shift;
    float eps, scale;
    const tkr_weight *const *tables;
    const int32_t *const *indices;
    size_t n_tables;
    const tkr_angle_options *angles;
    const tkr_rotate_options *rotate;
} rows_job;

static void rows_part(void *arg, unsigned worker, size_t part, size_t n_parts) {
    const rows_job *job = arg;
    job->fn(job, worker, job->n_rows * part / n_parts, job->n_rows * (part + 1) / n_parts);
}

static void share_rows(tkr_run *run, rows_job *job, bool split) {
    tkr_run_parallel(run, split ? tkr_run_workers(run) : 1, rows_part, job);
}

static void run_rows(tkr_run *run, rows_job *job) {
    share_rows(run, job, job->n_rows * job->out->cols >= SPLIT_VALUES_FROM);
}

/* ---- embedding ---- */

/* `row` receives the decoded numbers where they can't be read in place. */
static void add_row(float *restrict out, const tkr_matrix *table, size_t index, bool first, float *row) {
    size_t n = table->cols;
    if (first) {
        tkr_matrix_row(out, table, index);
        return;
    }
    const float *in = row;
    if (table->mode == TKR_GROUP_NONE && table->dtype == TKR_DTYPE_F32)
        in = (const float *)(const void *)((const char *)table->data + index * n * sizeof(float));
    else
        tkr_matrix_row(row, table, index);
    for (size_t i = 0; i < n; i++) out[i] += in[i];
}

static void embed_rows(const rows_job *job, unsigned worker, size_t begin, size_t end) {
    float *row = job->run->packed[worker].data;
    size_t n = job->out->cols;
    for (size_t t = begin; t < end; t++) {
        float *out = job->out->data + t * n;
        for (size_t i = 0; i < job->n_tables; i++)
            add_row(out, &job->tables[i]->source.matrix, (size_t)job->indices[i][t], i == 0, row);
        for (size_t i = 0; job->scale != 1.0f && i < n; i++) out[i] *= job->scale;
    }
}

static bool indices_fit(tkr_run *run, const tkr_weight *table, const int32_t *indices, size_t n) {
    for (size_t t = 0; t < n; t++) {
        if (indices[t] >= 0 && (size_t)indices[t] < table->rows) continue;
        char message[200];
        snprintf(message, sizeof message, "index %d is outside of \"%.100s\", which has %zu rows", (int)indices[t],
                 table->source.name, table->rows);
        tkr_run_fail(run, TKR_INVALID_ARGUMENT, TKR_HERE, message);
        return false;
    }
    return true;
}

tkr_tensor *tkr_cpu_embed(tkr_run *run, const tkr_weight *const *tables, const int32_t *const *indices, size_t n_tables,
                          size_t n_tokens, float scale) {
    if (!tkr_run_proceed(run)) return NULL;
    for (size_t i = 0; i < n_tables; i++)
        if (!indices_fit(run, tables[i], indices[i], n_tokens)) return NULL;
    size_t n = tables[0]->cols;
    rows_job job = {.n_rows = n_tokens, .fn = embed_rows, .run = run, .scale = scale, .tables = tables};
    job.indices = indices;
    job.n_tables = n_tables;
    if (!tkr_run_scratch(run, tkr_run_workers(run), n * sizeof(float), 64)) return NULL;
    job.out = tkr_run_tensor(run, n_tokens, n);
    if (job.out) run_rows(run, &job);
    return job.out;
}

/* ---- norms ---- */

static void norm_rows(const rows_job *job, unsigned worker, size_t begin, size_t end) {
    (void)worker;
    size_t n = job->x->cols;
    job->kernels->layer_norm(job->out->data + begin * n, job->x->data + begin * n, job->gain->values,
                             job->shift ? job->shift->values : NULL, job->eps, end - begin, n);
}

static void rms_rows(const rows_job *job, unsigned worker, size_t begin, size_t end) {
    (void)worker;
    size_t n = job->x->cols;
    job->kernels->rms_norm(job->out->data + begin * n, job->x->data + begin * n, job->gain->values, job->eps,
                           end - begin, n);
}

static tkr_tensor *run_norm(tkr_run *run, rows_job *job, tkr_tensor *into) {
    if (!tkr_run_proceed(run)) return NULL;
    if (job->gain->kind != TKR_WEIGHT_VECTOR || job->gain->cols != job->x->cols ||
        (job->shift && job->shift->cols != job->x->cols)) {
        tkr_run_fail(run, TKR_INTERNAL, TKR_HERE, "a norm got an input of another width");
        return NULL;
    }
    job->n_rows = job->x->rows;
    job->kernels = run->backend->kernels;
    job->out = tkr_run_target(run, into, job->x->rows, job->x->cols);
    if (job->out) run_rows(run, job);
    return job->out;
}

tkr_tensor *tkr_cpu_layer_norm(tkr_run *run, const tkr_tensor *x, const tkr_weight *gain, const tkr_weight *shift,
                               float eps, tkr_tensor *into) {
    rows_job job = {.fn = norm_rows, .x = x, .gain = gain, .shift = shift, .eps = eps};
    return run_norm(run, &job, into);
}

tkr_tensor *tkr_cpu_rms_norm(tkr_run *run, const tkr_tensor *x, const tkr_weight *gain, float eps, tkr_tensor *into) {
    rows_job job = {.fn = rms_rows, .x = x, .gain = gain, .eps = eps};
    return run_norm(run, &job, into);
}

static void add_rows(const rows_job *job, unsigned worker, size_t begin, size_t end) {
    (void)worker;
    float *restrict to = job->out->data;
    const float *restrict from = job->x->data;
    for (size_t i = begin * job->x->cols; i < end * job->x->cols; i++) to[i] += from[i];
}

void tkr_cpu_add(tkr_run *run, tkr_tensor *x, const tkr_tensor *y) {
    if (!tkr_run_proceed(run)) return;
    if (x == y || x->rows != y->rows || x->cols != y->cols) {
        tkr_run_fail(run, TKR_INTERNAL, TKR_HERE, "a sum of tensors of different shapes");
        return;
    }
    rows_job job = {.n_rows = x->rows, .fn = add_rows, .x = y, .out = x};
    run_rows(run, &job);
}

/* ---- rotary positions ---- */

static void angle_rows(const rows_job *job, unsigned worker, size_t begin, size_t end) {
    (void)worker;
    const tkr_angle_options *o = job->angles;
    for (size_t t = begin; t < end; t++) {
        float *out = job->out->data + t * 2 * o->half;
        for (size_t i = 0; i < o->half; i++) {
            size_t axis = o->axis ? o->axis[i] : 0;
            float angle = (float)o->positions[axis * o->n_tokens + t] * o->inv_freq[i];
            out[i] = (float)cos((double)angle);
            out[o->half + i] = (float)sin((double)angle);
        }
    }
}

tkr_tensor *tkr_cpu_angles(tkr_run *run, const tkr_angle_options *options) {
    if (!tkr_run_proceed(run)) return NULL;
    rows_job job = {.n_rows = options->n_tokens, .fn = angle_rows, .angles = options};
    job.out = tkr_run_tensor(run, options->n_tokens, 2 * options->half);
    if (job.out) share_rows(run, &job, options->n_tokens * options->half >= 4096);
    return job.out;
}

static void rotate_rows(const rows_job *job, unsigned worker, size_t begin, size_t end) {
    (void)worker;
    const tkr_rotate_options *o = job->rotate;
    size_t half = o->angles ? o->angles->cols / 2 : 0;
    for (size_t t = begin; t < end; t++)
        job->kernels->rotate(job->out->data + t * job->out->cols + o->column, o->n_heads, o->head_dim,
                             o->gain ? o->gain->values : NULL, o->eps,
                             o->angles ? o->angles->data + (o->first_row + t) * 2 * half : NULL, half);
}

void tkr_cpu_rotate(tkr_run *run, tkr_tensor *x, const tkr_rotate_options *options) {
    if (!tkr_run_proceed(run)) return;
    const tkr_rotate_options *o = options;
    if (o->column + o->n_heads * o->head_dim > x->cols || (o->gain && o->gain->cols != o->head_dim) ||
        (o->angles && (o->angles->cols > o->head_dim || o->first_row + x->rows > o->angles->rows))) {
        tkr_run_fail(run, TKR_INTERNAL, TKR_HERE, "a rotation beyond the columns or rows of its tensors");
        return;
    }
    rows_job job = {.n_rows = x->rows, .fn = rotate_rows, .out = x, .rotate = options};
    job.kernels = run->backend->kernels;
    share_rows(run, &job, x->rows * o->n_heads * o->head_dim >= SPLIT_VALUES_FROM);
}

/* ---- pooling ---- */

static void pool_one(const tkr_kernels *kernels, float *out, const tkr_tensor *x, const tkr_span *span,
                     tkr_pool_mode mode) {
    size_t n = x->cols, count = span->end - span->start;
    const float *first = x->data + span->start * n;
    if (mode == TKR_POOL_CLS || mode == TKR_POOL_LASTTOKEN) {
        memcpy(out, mode == TKR_POOL_CLS ? first : first + (count - 1) * n, n * sizeof(float));
        return;
    }
    if (mode == TKR_POOL_MAX) {
        memcpy(out, first, n * sizeof(float));
        for (size_t t = 1; t < count; t++)
            for (size_t i = 0; i < n; i++) out[i] = first[t * n + i] > out[i] ? first[t * n + i] : out[i];
        return;
    }
    double total = 0;
    memset(out, 0, n * sizeof(float));
    for (size_t t = 0; t < count; t++) {
        float weight = mode == TKR_POOL_WEIGHTEDMEAN ? (float)(span->start + t - span->first + 1) : 1.0f;
        kernels->axpy(out, first + t * n, weight, n);
        total += (double)weight;
    }
    float divisor = (float)(mode == TKR_POOL_MEAN_SQRT_LEN ? sqrt(total) : total);
    for (size_t i = 0; i < n; i++) out[i] /= divisor;
}

tkr_tensor *tkr_cpu_pool(tkr_run *run, const tkr_tensor *x, const tkr_span *spans, size_t n_spans,
                         const tkr_pool_mode *modes, size_t n_modes) {
    if (!tkr_run_proceed(run)) return NULL;
    for (size_t s = 0; s < n_spans; s++) {
        if (spans[s].start >= spans[s].end || spans[s].end > x->rows || spans[s].first > spans[s].start) {
            tkr_run_fail(run, TKR_INVALID_ARGUMENT, TKR_HERE, "nothing is left to pool over");
            return NULL;
        }
    }
    tkr_tensor *out = tkr_run_tensor(run, n_spans, n_modes * x->cols);
    for (size_t s = 0; out && s < n_spans; s++)
        for (size_t m = 0; m < n_modes; m++)
            pool_one(run->backend->kernels, out->data + (s * n_modes + m) * x->cols, x, &spans[s], modes[m]);
    return out;
}

tkr_tensor *tkr_cpu_normalize(tkr_run *run, const tkr_tensor *x) {
    if (!tkr_run_proceed(run)) return NULL;
    tkr_tensor *out = tkr_run_tensor(run, x->rows, x->cols);
    for (size_t r = 0; out && r < x->rows; r++) {
        const float *in = x->data + r * x->cols;
        double sum = 0;
        for (size_t i = 0; i < x->cols; i++) sum += (double)in[i] * (double)in[i];
        double norm = sqrt(sum);
        double factor = 1.0 / (norm > 1e-12 ? norm : 1e-12);
        for (size_t i = 0; i < x->cols; i++) out->data[r * x->cols + i] = (float)((double)in[i] * factor);
    }
    return out;
}
