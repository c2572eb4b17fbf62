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
    void (*fn)(const struct rows_job *job, size_t begin, size_t end);
    const tkr_kernels *kernels;
    const tkr_tensor *x;
    tkr_tensor *out;
    const tkr_weight *gain, *shift;
    float eps;
    const tkr_weight *const *tables;
    const int32_t *const *indices;
    size_t n_tables;
} rows_job;

static void rows_worker(void *arg, unsigned worker, unsigned n_workers) {
    const rows_job *job = arg;
    job->fn(job, job->n_rows * worker / n_workers, job->n_rows * (worker + 1) / n_workers);
}

static void run_rows(tkr_run *run, rows_job *job) {
    tkr_run_parallel(run, job->n_rows * job->out->cols >= SPLIT_VALUES_FROM, rows_worker, job);
}

/* ---- embedding ---- */

static void add_row(float *restrict out, const tkr_weight *table, size_t row, bool first) {
    size_t n = table->cols;
    const char *data = (const char *)table->source.data + row * n * tkr_dtype_size(table->source.dtype);
    if (table->source.dtype == TKR_DTYPE_F32) {
        const float *in = (const float *)(const void *)data;
        if (first) memcpy(out, in, n * sizeof(float));
        for (size_t i = 0; !first && i < n; i++) out[i] += in[i];
        return;
    }
    if (first) {
        tkr_widen(out, data, table->source.dtype, n);
        return;
    }
    float part[256];
    size_t size = tkr_dtype_size(table->source.dtype);
    for (size_t at = 0; at < n; at += 256) {
        size_t m = n - at < 256 ? n - at : 256;
        tkr_widen(part, data + at * size, table->source.dtype, m);
        for (size_t i = 0; i < m; i++) out[at + i] += part[i];
    }
}

static void embed_rows(const rows_job *job, size_t begin, size_t end) {
    for (size_t t = begin; t < end; t++)
        for (size_t i = 0; i < job->n_tables; i++)
            add_row(job->out->data + t * job->out->cols, job->tables[i], (size_t)job->indices[i][t], i == 0);
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
                          size_t n_tokens) {
    if (!tkr_run_proceed(run)) return NULL;
    for (size_t i = 0; i < n_tables; i++)
        if (!indices_fit(run, tables[i], indices[i], n_tokens)) return NULL;
    rows_job job = {.n_rows = n_tokens, .fn = embed_rows, .tables = tables, .indices = indices, .n_tables = n_tables};
    job.out = tkr_run_tensor(run, n_tokens, tables[0]->cols);
    if (job.out) run_rows(run, &job);
    return job.out;
}

/* ---- layer norm ---- */

static void norm_rows(const rows_job *job, size_t begin, size_t end) {
    size_t n = job->x->cols;
    job->kernels->layer_norm(job->out->data + begin * n, job->x->data + begin * n, job->gain->values,
                             job->shift ? job->shift->values : NULL, job->eps, end - begin, n);
}

tkr_tensor *tkr_cpu_layer_norm(tkr_run *run, const tkr_tensor *x, const tkr_weight *gain, const tkr_weight *shift,
                               float eps) {
    if (!tkr_run_proceed(run)) return NULL;
    rows_job job = {.n_rows = x->rows, .fn = norm_rows, .x = x, .gain = gain, .shift = shift, .eps = eps};
    job.kernels = run->backend->kernels;
    job.out = tkr_run_tensor(run, x->rows, x->cols);
    if (job.out) run_rows(run, &job);
    return job.out;
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
