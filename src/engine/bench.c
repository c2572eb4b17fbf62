/* SPDX-License-Identifier: Apache-2.0 */
/* engine/bench: times whole passes over token ids, and the machine's limit beside them within the same seconds. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/roofline.h"
#include "engine/tools.h"

#define MIXED_SEQUENCES 512
#define MAX_PASSES 4096
#define PEAK_EVERY_SECONDS 0.25

/* xorshift64*: the same numbers on every machine. */
static double next_uniform(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return ((double)(*state * 0x2545f4914f6cdd1du >> 11) + 0.5) / 9007199254740992.0;
}

/* Log-normal lengths, median 40, sigma 0.9, cut to [4, limit]: Box-Muller. */
static size_t mixed_length(uint64_t *state, size_t limit) {
    double u = next_uniform(state), v = next_uniform(state);
    double length = 40.0 * exp(0.9 * sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
    size_t n = length < 4 ? 4 : length > 512 ? 512 : (size_t)length;
    return n > limit ? limit : n;
}

typedef struct bench_data {
    tkr_input *inputs;
    int32_t *ids;
    size_t n, total;
    double operations;
} bench_data;

static tkr_status make_data(bench_data *data, const tkr_session *session, const tkr_bench_options *options,
                            tkr_error *error) {
    const tkr_model *model = session->model;
    size_t limit = model->checkpoint.max_tokens, vocab = model->checkpoint.config.vocab_size;
    uint64_t state = 0x9e3779b97f4a7c15u;
    if (!options->mixed &&
        (options->batch == 0 || options->batch > 1u << 20 || options->tokens == 0 || options->tokens > limit))
        return TKR_FAIL(error, INVALID_ARGUMENT, "bench of %zu x %zu tokens; batch is 1 to 1048576 and tokens 1 to %zu",
                        options->batch, options->tokens, limit);
    data->n = options->mixed ? MIXED_SEQUENCES : options->batch;
    data->inputs = tkr_calloc(data->n, sizeof *data->inputs);
    data->ids = tkr_calloc(data->n * (options->mixed ? 512 : options->tokens), sizeof *data->ids);
    if (!data->inputs || !data->ids) return TKR_FAIL(error, NO_MEMORY, "no memory for the bench's inputs");
    for (size_t i = 0; i < data->n; i++) {
        size_t n = options->mixed ? mixed_length(&state, limit) : options->tokens;
        data->inputs[i] = (tkr_input){.kind = TKR_INPUT_TOKENS, .ids = data->ids + data->total, .n_ids = n};
        for (size_t t = 0; t < n; t++) data->ids[data->total++] = (int32_t)(next_uniform(&state) * (double)vocab);
        data->operations += tkr_arch_operations(&model->checkpoint.config, n);
    }
    return TKR_OK;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static tkr_status one_pass(double *seconds, tkr_session *session, const bench_data *data, tkr_error *error) {
    tkr_result *result = NULL;
    double start = tkr_now();
    tkr_status status = tkr_embed(&result, session, data->inputs, data->n, NULL, error);
    *seconds = tkr_now() - start;
    for (size_t i = 0; status == TKR_OK && i < data->n; i++) {
        tkr_result_item item = tkr_result_get(result, i);
        if (item.status != TKR_OK) status = tkr_error_set(error, TKR_HERE, item.status, "%s", item.message);
    }
    tkr_result_free(&result);
    return status;
}

static tkr_status timed_passes(tkr_bench_row *row, double *times, tkr_session *session, const bench_data *data,
                               double budget, tkr_error *error) {
    tkr_model *model = session->model;
    /* A device's limit can't be measured between passes without taking its memory: once, before them. */
    tkr_peak_fn *peak = model->device.mlx ? NULL : model->kernels.peak[model->plan.mode];
    if (model->device.mlx) row->limit_ops_per_s = tkr_device_peak(&model->device, model->plan.mode);
    double begin = tkr_now(), measured_at = -1, seconds = 0;
    tkr_status status = one_pass(&seconds, session, data, error); /* warm-up */
    while (status == TKR_OK && row->n_passes < MAX_PASSES && (tkr_now() - begin < budget || row->n_passes < 3)) {
        if (peak && (measured_at < 0 || tkr_now() - measured_at > PEAK_EVERY_SECONDS)) {
            double now = tkr_measure_peak(peak, model->pool);
            row->limit_ops_per_s = now > row->limit_ops_per_s ? now : row->limit_ops_per_s;
            measured_at = tkr_now();
            if ((status = one_pass(&seconds, session, data, error)) != TKR_OK) /* caches back to the model */
                break;
        }
        status = one_pass(&times[row->n_passes++], session, data, error);
    }
    return status;
}

tkr_status tkr_tools_bench(tkr_bench_row *row, tkr_session *session, const tkr_bench_options *options,
                           tkr_error *error) {
    bench_data data = {0};
    memset(row, 0, sizeof *row);
    double *times = tkr_calloc(MAX_PASSES, sizeof *times);
    if (!times) return TKR_FAIL(error, NO_MEMORY, "no memory for the bench's times");
    tkr_status status = make_data(&data, session, options, error);
    if (status == TKR_OK)
        status = timed_passes(row, times, session, &data, options->seconds > 0 ? options->seconds : 1.0, error);
    if (status == TKR_OK) {
        qsort(times, row->n_passes, sizeof *times, by_value);
        row->n_sequences = data.n;
        row->n_tokens = data.total;
        row->operations = data.operations;
        row->best_s = times[0];
        row->median_s = times[row->n_passes / 2];
        row->tokens_per_s = (double)data.total / row->median_s;
        row->fraction = row->limit_ops_per_s > 0 ? data.operations / row->median_s / row->limit_ops_per_s : 0;
    }
    tkr_free(times);
    tkr_free(data.inputs);
    tkr_free(data.ids);
    return status;
}
