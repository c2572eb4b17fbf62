/* SPDX-License-Identifier: Apache-2.0 */
/* engine/forward: second stage of a call: sorts inputs by length, packs them without padding into chunks of a token
 * budget, and computes each chunk on one worker, or on all workers together where there are too few chunks. Either way
 * gives the same bits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/batch.h"

#define LEAST_CHUNK 96
#define CHUNKS_PER_ROUND 8 /* a worker; between rounds the pool is free for more urgent work */

typedef struct forward_job {
    tkr_call *call;
    const tkr_order_entry *order;
    const tkr_chunk *chunks;
    size_t end; /* chunks below it belong to this round */
} forward_job;

static int longest_first(const void *a, const void *b) {
    const tkr_order_entry *x = a, *y = b;
    if (x->tower != y->tower) return x->tower ? -1 : 1;
    if (x->cost != y->cost) return x->cost < y->cost ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static tkr_status sort_inputs(tkr_call *call, size_t *n_order, tkr_error *error) {
    tkr_buf *buf = &call->session->order;
    buf->size = 0;
    size_t bytes = 0;
    if (!tkr_mul_size(&bytes, call->end - call->begin, sizeof(tkr_order_entry)) || !tkr_buf_reserve(buf, bytes))
        return TKR_FAIL(error, NO_MEMORY, "no memory to order %zu inputs", call->end - call->begin);
    tkr_order_entry *order = (tkr_order_entry *)(void *)buf->data;
    size_t n = 0;
    for (size_t i = call->begin; i < call->end; i++) {
        const tkr_item *item = &call->result->items[i];
        if (item->status == TKR_OK) order[n++] = (tkr_order_entry){tkr_item_cost(item), i, item->n_tokens == 0};
    }
    qsort(order, n, sizeof *order, longest_first);
    *n_order = n;
    return TKR_OK;
}

static tkr_status make_chunks(tkr_call *call, size_t n_order, size_t *n_chunks, tkr_error *error) {
    tkr_session *session = call->session;
    const tkr_order_entry *order = (const tkr_order_entry *)(const void *)session->order.data;
    size_t budget = call->cost / (session->n_workers * 4u), most = session->model->plan.chunk_tokens;
    budget = budget < LEAST_CHUNK ? LEAST_CHUNK : budget;
    budget = budget > most || session->model->device.mlx ? most : budget; /* a GPU takes all it can at a time */
    tkr_buf *buf = &session->chunks;
    buf->size = 0;
    *n_chunks = 0;
    for (size_t i = 0; i < n_order;) {
        tkr_chunk c = {.begin = i, .tower = order[i].tower};
        do {
            const tkr_item *item = &call->result->items[order[i].index];
            c.cost += order[i++].cost;
            c.n_tokens += item->n_tokens;
            c.n_patches += item->n_patches;
            c.n_pictures += item->n_pictures;
        } while (i < n_order && order[i].tower == c.tower && c.cost + order[i].cost <= budget);
        c.end = i;
        if (!tkr_buf_append(buf, &c, sizeof c)) {
            buf->failed = false;
            return TKR_FAIL(error, NO_MEMORY, "no memory to batch %zu inputs", n_order);
        }
        ++*n_chunks;
    }
    return TKR_OK;
}

/* ---- one chunk ---- */

/* Cuts to the dimensions asked for, normalises what the modules did not, and proves the vector usable: a NaN or a zero
 * vector never reaches the user. */
static void finish_row(tkr_call *call, tkr_item *item, float *out, const float *in) {
    size_t n = call->result->dimensions;
    bool done = tkr_post_get_info(call->session->model->post)->normalizes && call->options->dimensions == 0;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)in[i] * (double)in[i];
    tkr_error error;
    if (!isfinite(sum) || sum <= 0) {
        tkr_error_set(&error, TKR_HERE, TKR_NUMERIC, "the vector %s; the checkpoint or the number format is at fault",
                      sum <= 0 ? "is zero" : "holds NaN or infinity");
        tkr_item_fail(item, &error);
        return;
    }
    if (done || !call->normalize) {
        memcpy(out, in, n * sizeof *out);
        return;
    }
    double factor = 1.0 / sqrt(sum);
    for (size_t i = 0; i < n; i++) out[i] = (float)((double)in[i] * factor);
}

static void stop_call(tkr_call *call, tkr_status status) {
    int expected = TKR_OK;
    atomic_compare_exchange_strong(&call->stop, &expected, (int)status);
}

static void fail_chunk(tkr_call *call, const forward_job *job, const tkr_chunk *c, const tkr_error *error) {
    for (size_t i = c->begin; i < c->end; i++) tkr_item_fail(&call->result->items[job->order[i].index], error);
}

/* Vectors of a batch, one for each of its spans, or for each picture of a tower. */
static tkr_tensor *vectors_of(const forward_job *job, const tkr_chunk *c, tkr_run *run, const tkr_batch *batch) {
    const tkr_model *model = job->call->session->model;
    const bool normalize = job->call->normalize;
    if (c->tower) return tkr_post_finish(model->post, run, tkr_arch_encode(model->weights, run, batch), normalize);
    tkr_tensor *hidden = tkr_arch_forward(model->weights, run, batch);
    tkr_tensor *out = tkr_post_apply(model->post, model->weights, run, hidden, batch, normalize);
    model->ops->release(run, &hidden);
    return out;
}

/* Puts the rows where the result has them. */
static void finish_rows(const forward_job *job, const tkr_chunk *c, const float *rows) {
    tkr_call *call = job->call;
    const size_t width = tkr_post_get_info(call->session->model->post)->dimensions, kept = call->result->dimensions;
    for (size_t i = c->begin; i < c->end; i++) {
        tkr_item *item = &call->result->items[job->order[i].index];
        const size_t n = call->result->multi_vector ? item->n_tokens : 1;
        float *out = NULL;
        if (call->result->multi_vector) {
            out = item->rows = tkr_malloc(n * kept * sizeof *out);
            item->n_rows = n;
            if (!out) {
                tkr_error error;
                TKR_FAIL(&error, NO_MEMORY, "no memory for %zu vectors of %zu values", n, kept);
                tkr_item_fail(item, &error);
            }
        } else {
            out = call->result->rows + job->order[i].index * kept;
        }
        for (size_t k = 0; out && item->status == TKR_OK && k < n; k++)
            finish_row(call, item, out + k * kept, rows + k * width);
        rows += n * width;
    }
}

static tkr_status compute_chunk(const forward_job *job, const tkr_chunk *c, tkr_worker *worker,
                                const tkr_run_options *options, tkr_error *error) {
    tkr_call *call = job->call;
    tkr_model *model = call->session->model;
    const tkr_ops *ops = model->ops;
    const tkr_batch_request request = {call, job->order, c};
    tkr_batch batch;
    tkr_status status = tkr_batch_fill(&batch, &worker->batch, &request, error);
    if (status != TKR_OK) return status;
    ops->run_begin(worker->run, options);
    tkr_tensor *vectors = vectors_of(job, c, worker->run, &batch);
    const size_t width = tkr_post_get_info(model->post)->dimensions, n = c->tower ? batch.n_visuals : batch.n_spans;
    worker->text.size = 0;
    status = ops->run_status(worker->run, error);
    if (status == TKR_OK && !tkr_buf_reserve(&worker->text, n * width * sizeof(float))) {
        worker->text.failed = false;
        status = TKR_FAIL(error, NO_MEMORY, "no memory for %zu vectors", n);
    }
    float *rows = (float *)(void *)worker->text.data;
    if (status == TKR_OK && ops->read(worker->run, rows, vectors) != TKR_OK) { /* a lazy backend computes only here */
        status = ops->run_status(worker->run, error);
        if (status == TKR_OK) status = TKR_FAIL(error, INTERNAL, "the device gave neither vectors nor a reason");
    }
    if (status == TKR_OK) finish_rows(job, c, rows);
    ops->release(worker->run, &vectors);
    return status;
}

/* ---- yield points ---- */

tkr_status tkr_call_ask(tkr_call *call, int may_block) {
    tkr_status stop = (tkr_status)atomic_load_explicit(&call->stop, memory_order_relaxed);
    if (stop != TKR_OK || !call->options->check) return stop;
    size_t n_tokens = call->total_tokens; /* and of the inputs to come as many as of those seen */
    if (call->n_seen > 0 && call->n_seen < call->n_inputs)
        n_tokens = (size_t)((double)n_tokens * (double)call->n_inputs / (double)call->n_seen);
    const tkr_progress progress = {.done_inputs = atomic_load_explicit(&call->done_inputs, memory_order_relaxed),
                                   .n_inputs = call->n_inputs,
                                   .done_tokens = atomic_load_explicit(&call->done_tokens, memory_order_relaxed),
                                   .n_tokens = n_tokens,
                                   .may_block = may_block};
    tkr_status status = call->options->check(call->options->check_user, &progress);
    if (status != TKR_OK) stop_call(call, status);
    return status;
}

static tkr_status check_alone(void *user) { return tkr_call_ask(user, 1); }
static tkr_status check_in_pool(void *user) { return tkr_call_ask(user, 0); }
static tkr_status check_worker(void *user) {
    return (tkr_status)atomic_load_explicit(&((tkr_call *)user)->stop, memory_order_relaxed);
}

/* A chunk's failure is its inputs' failure; only a stop ends the call. */
static void run_chunk(const forward_job *job, size_t index, unsigned worker, const tkr_run_options *options) {
    const tkr_chunk *c = &job->chunks[index];
    tkr_call *call = job->call;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_status status = compute_chunk(job, c, &call->session->workers[worker], options, &error);
    if (status != TKR_OK && atomic_load(&call->stop) == TKR_OK) fail_chunk(call, job, c, &error);
    atomic_fetch_add_explicit(&call->done_inputs, c->end - c->begin, memory_order_relaxed);
    atomic_fetch_add_explicit(&call->done_tokens, c->cost, memory_order_relaxed);
}

/* What the CPU's kernels want of a thread. */
static void enter(const tkr_model *model) {
    if (!model->device.mlx) tkr_kernels_thread_enter(&model->kernels);
}

static void forward_worker(void *arg, unsigned worker, unsigned n_workers) {
    (void)n_workers;
    forward_job *job = arg;
    tkr_call *call = job->call;
    tkr_model *model = call->session->model;
    const tkr_run_options options = {.max_bytes = model->plan.workspace_per_worker,
                                     .chunk_rows = model->plan.chunk_rows,
                                     .check = worker == 0 ? check_in_pool : check_worker,
                                     .check_user = call};
    enter(model);
    for (;;) {
        size_t index = atomic_fetch_add_explicit(&call->next, 1, memory_order_relaxed);
        if (index >= job->end || atomic_load_explicit(&call->stop, memory_order_relaxed) != TKR_OK) break;
        run_chunk(job, index, worker, &options);
    }
}

static void run_together(const forward_job *job, size_t index) {
    tkr_session *session = job->call->session;
    tkr_model *model = session->model;
    const tkr_run_options options = {.max_bytes = model->plan.workspace_together,
                                     .chunk_rows = model->plan.chunk_rows,
                                     .pool = tkr_model_computing_workers(model) > 1 ? model->pool : NULL,
                                     .check = check_alone,
                                     .check_user = job->call};
    enter(model);
    run_chunk(job, index, 0, &options);
}

/* Chunks that no worker has room for, or so long that one would still compute them when the others have finished. */
static size_t leading_long_chunks(const forward_job *job, size_t n_chunks, size_t total, unsigned workers) {
    const size_t alone = job->call->session->model->plan.alone_tokens;
    size_t i = 0;
    while (i < n_chunks && (job->chunks[i].cost > alone || job->chunks[i].cost * workers > total + total / 5)) {
        total -= job->chunks[i].cost;
        i++;
    }
    return i;
}

tkr_status tkr_call_forward(tkr_call *call, tkr_error *error) {
    tkr_session *session = call->session;
    size_t n_order = 0, n_chunks = 0;
    unsigned workers = tkr_model_computing_workers(session->model);
    tkr_status status = sort_inputs(call, &n_order, error);
    if (status == TKR_OK) status = make_chunks(call, n_order, &n_chunks, error);
    if (status != TKR_OK) return status;
    forward_job job = {.call = call,
                       .order = (const tkr_order_entry *)(const void *)session->order.data,
                       .chunks = (const tkr_chunk *)(const void *)session->chunks.data};
    size_t at = 0, first = leading_long_chunks(&job, n_chunks, call->cost, workers);
    while (at < first && atomic_load(&call->stop) == TKR_OK) run_together(&job, at++);
    size_t left = n_chunks - at, shared = workers > 1 && left < 4u * workers ? left / workers * workers : left;
    size_t round = call->options->check ? (size_t)CHUNKS_PER_ROUND * workers : shared;
    for (size_t end = at + shared; at < end && atomic_load(&call->stop) == TKR_OK; at = job.end) {
        job.end = end - at < round ? end : at + round;
        atomic_store(&call->next, at);
        if (workers == 1)
            forward_worker(&job, 0, 1);
        else if (tkr_pool_run(session->model->pool, forward_worker, &job) != TKR_OK)
            return TKR_FAIL(error, BUSY, "tkr_embed was called from inside a worker thread of the library");
        tkr_call_ask(call, 1);
    }
    for (; at < n_chunks && atomic_load(&call->stop) == TKR_OK; at++) run_together(&job, at);
    tkr_status stop = (tkr_status)atomic_load(&call->stop);
    if (stop != TKR_OK)
        return tkr_error_set(error, TKR_HERE, stop, "%s after %zu of %zu inputs", tkr_status_text(stop),
                             atomic_load(&call->done_inputs), call->n_inputs);
    return TKR_OK;
}
