/* SPDX-License-Identifier: Apache-2.0 */
/* ops/cpu/move: what changes no number: values from the host, rows picked and put elsewhere. */
#include <string.h>

#include "ops/cpu/cpu_ops.h"

tkr_tensor *tkr_cpu_input(tkr_run *run, const float *values, size_t rows, size_t cols) {
    if (!tkr_run_proceed(run)) return NULL;
    tkr_tensor *out = tkr_run_tensor(run, rows, cols);
    if (out) memcpy(out->data, values, rows * cols * sizeof *values);
    return out;
}

static bool rows_fit(tkr_run *run, const tkr_tensor *x, const size_t *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (rows[i] < x->rows) continue;
        tkr_run_fail(run, TKR_INTERNAL, TKR_HERE, "rows are moved from or to beyond a tensor's end");
        return false;
    }
    return true;
}

tkr_tensor *tkr_cpu_gather(tkr_run *run, const tkr_tensor *x, const size_t *rows, size_t n) {
    if (!tkr_run_proceed(run) || !rows_fit(run, x, rows, n)) return NULL;
    tkr_tensor *out = tkr_run_tensor(run, n, x->cols);
    for (size_t i = 0; out && i < n; i++)
        memcpy(out->data + i * x->cols, x->data + rows[i] * x->cols, x->cols * sizeof(float));
    return out;
}

void tkr_cpu_scatter(tkr_run *run, tkr_tensor *into, const tkr_tensor *x, const size_t *rows, bool add) {
    if (!tkr_run_proceed(run) || !rows_fit(run, into, rows, x->rows)) return;
    if (into->cols != x->cols) {
        tkr_run_fail(run, TKR_INTERNAL, TKR_HERE, "rows are moved to a tensor of another width");
        return;
    }
    const size_t n = x->cols;
    for (size_t i = 0; i < x->rows; i++) {
        float *restrict to = into->data + rows[i] * n;
        const float *restrict from = x->data + i * n;
        if (!add) memcpy(to, from, n * sizeof *to);
        for (size_t j = 0; add && j < n; j++) to[j] += from[j];
    }
}
