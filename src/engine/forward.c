/* SPDX-License-Identifier: Apache-2.0 */
/* engine/forward: second stage of a call: sorts inputs by length, packs them without padding into chunks of a token
 * budget, and computes each chunk on one worker, or on all workers together where there are too few chunks. Either way
 * gives the same bits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

#define LEAST_CHUNK 96
#define CHUNKS_PER_ROUND 8 /* a worker; between rounds the pool is free for more urgent work */

typedef struct order_entry {
    size_t n_tokens, index;
} order_entry;

typedef struct chunk {
    size_t begin, end; /* in the order */
    size_t n_tokens;
} chunk;

typedef struct forward_job {
    tkr_call *call;
    const order_entry *order;
    const chunk *chunks;
    size_t end; /* chunks below it belong to this round */
} forward_job;

static int longest_first(const void *a, const void *b) {
    const order_entry *x = a, *y = b;
    if (x->n_tokens != y->n_tokens) return x->n_tokens < y->n_tokens ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static tkr_status sort_inputs(tkr_call *call, size_t *n_order, tkr_error *error) {
    tkr_buf *buf = &call->session->order;
    buf->size = 0;
    size_t bytes = 0;
    if (!tkr_mul_size(&bytes, call->n_inputs, sizeof(order_entry)) || !tkr_buf_reserve(buf, bytes))
        return TKR_FAIL(error, NO_MEMORY, "no memory to order %zu inputs", call->n_inputs);
    order_entry *order = (order_entry *)(void *)buf->data;
    size_t n = 0;
    for (size_t i = 0; i < call->n_inputs; i++)
        if (call->result->items[i].status == TKR_OK) order[n++] = (order_entry){call->result->items[i].n_tokens, i};
    qsort(order, n, sizeof *order, longest_first);
    *n_order = n;
    return TKR_OK;
}

static tkr_status make_chunks(tkr_call *call, size_t n_order, size_t *n_chunks, tkr_error *error) {
    tkr_session *session = call->session;
    const order_entry *order = (const order_entry *)(const void *)session->order.data;
    size_t budget = call->total_tokens / (session->n_workers * 4u), most = session->model->plan.chunk_tokens;
    budget = budget < LEAST_CHUNK ? LEAST_CHUNK : budget;
    budget = budget > most ? most : budget;
    tkr_buf *buf = &session->chunks;
    buf->size = 0;
    *n_chunks = 0;
    for (size_t i = 0; i < n_order;) {
        chunk c = {.begin = i};
        do c.n_tokens += order[i++].n_tokens;
        while (i < n_order && c.n_tokens + order[i].n_tokens <= budget);
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

typedef struct chunk_arrays {
    int32_t *ids, *types, *positions;
    size_t *cu_seqlens;
    tkr_span *spans;
} chunk_arrays;

static bool carve_arrays(chunk_arrays *arrays, tkr_buf *buf, size_t n_tokens, size_t n_seqs) {
    size_t tokens = tkr_align_up(n_tokens * sizeof(int32_t), 64),
           seqs = tkr_align_up((n_seqs + 1) * sizeof(size_t), 64);
    buf->size = 0;
    if (!tkr_buf_reserve(buf, 3 * tokens + seqs + n_seqs * sizeof(tkr_span) + 64)) {
        buf->failed = false;
        return false;
    }
    char *at = (char *)(((uintptr_t)buf->data + 63) & ~(uintptr_t)63);
    arrays->ids = (int32_t *)(void *)at;
    arrays->types = (int32_t *)(void *)(at + tokens);
    arrays->positions = (int32_t *)(void *)(at + 2 * tokens);
    arrays->cu_seqlens = (size_t *)(void *)(at + 3 * tokens);
    arrays->spans = (tkr_span *)(void *)(at + 3 * tokens + seqs);
    return true;
}

/* Positions from 0; or, as RoBERTa has them, from behind the padding id, which is the position of padding itself: the
 * reference counts ids, so a padding token that a user typed is left out, too. */
static void fill_positions(int32_t *positions, const tkr_arch_config *config, const int32_t *ids, size_t n) {
    int32_t next = config->positions_from_pad ? config->pad_id + 1 : 0;
    for (size_t t = 0; t < n; t++) {
        const bool pad = config->positions_from_pad && ids[t] == config->pad_id;
        positions[t] = pad ? config->pad_id : next++;
    }
}

static void fill_batch(tkr_batch *batch, const chunk_arrays *arrays, const forward_job *job, const chunk *c) {
    tkr_call *call = job->call;
    const tkr_arch_config *config = &call->session->model->checkpoint.config;
    const bool one_type = config->type_vocab_size == 1; /* RoBERTa: both texts of a pair have it */
    size_t token = 0;
    arrays->cu_seqlens[0] = 0;
    for (size_t i = c->begin; i < c->end; i++) {
        const tkr_item *item = &call->result->items[job->order[i].index];
        const tkr_worker *owner = &call->session->workers[item->worker];
        const int32_t *ids = (const int32_t *)(const void *)owner->ids.data + item->at;
        const uint8_t *types = (const uint8_t *)owner->types.data + item->at;
        for (size_t t = 0; t < item->n_tokens; t++) {
            arrays->ids[token + t] = ids[t];
            arrays->types[token + t] = one_type ? 0 : types[t];
        }
        fill_positions(arrays->positions + token, config, ids, item->n_tokens);
        arrays->spans[i - c->begin] = (tkr_span){token + item->n_prompt_tokens, token + item->n_tokens, token};
        token += item->n_tokens;
        arrays->cu_seqlens[i - c->begin + 1] = token;
    }
    *batch = (tkr_batch){.n_tokens = token,
                         .n_seqs = c->end - c->begin,
                         .ids = arrays->ids,
                         .type_ids = arrays->types,
                         .positions = arrays->positions,
                         .n_position_axes = 1,
                         .cu_seqlens = arrays->cu_seqlens,
                         .spans = arrays->spans,
                         .n_spans = c->end - c->begin};
}

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

static void fail_chunk(tkr_call *call, const forward_job *job, const chunk *c, const tkr_error *error) {
    for (size_t i = c->begin; i < c->end; i++) tkr_item_fail(&call->result->items[job->order[i].index], error);
}

static tkr_status compute_chunk(const forward_job *job, const chunk *c, tkr_worker *worker,
                                const tkr_run_options *options, tkr_error *error) {
    tkr_call *call = job->call;
    tkr_model *model = call->session->model;
    const tkr_ops *ops = model->ops;
    chunk_arrays arrays;
    tkr_batch batch;
    if (!carve_arrays(&arrays, &worker->batch, c->n_tokens, c->end - c->begin))
        return TKR_FAIL(error, NO_MEMORY, "no memory for a batch of %zu tokens", c->n_tokens);
    fill_batch(&batch, &arrays, job, c);
    ops->run_begin(worker->run, options);
    tkr_tensor *hidden = tkr_arch_forward(model->weights, worker->run, &batch);
    tkr_tensor *pooled = tkr_post_apply(model->post, model->weights, worker->run, hidden, &batch, call->normalize);
    ops->release(worker->run, &hidden);
    size_t width = tkr_post_get_info(model->post)->dimensions;
    worker->text.size = 0;
    tkr_status status = ops->run_status(worker->run, error);
    if (status == TKR_OK && !tkr_buf_reserve(&worker->text, batch.n_spans * width * sizeof(float))) {
        worker->text.failed = false;
        status = TKR_FAIL(error, NO_MEMORY, "no memory for %zu vectors", batch.n_spans);
    }
    float *rows = (float *)(void *)worker->text.data;
    if (status == TKR_OK) status = ops->read(worker->run, rows, pooled);
    if (status == TKR_OK)
        for (size_t i = c->begin; i < c->end; i++) {
            size_t index = job->order[i].index;
            finish_row(call, &call->result->items[index], call->result->rows + index * call->result->dimensions,
                       rows + (i - c->begin) * width);
        }
    ops->release(worker->run, &pooled);
    return status;
}

/* ---- yield points ---- */

static tkr_status ask_user(tkr_call *call, int may_block) {
    tkr_status stop = (tkr_status)atomic_load_explicit(&call->stop, memory_order_relaxed);
    if (stop != TKR_OK || !call->options->check) return stop;
    const tkr_progress progress = {.done_inputs = atomic_load_explicit(&call->done_inputs, memory_order_relaxed),
                                   .n_inputs = call->n_inputs,
                                   .done_tokens = atomic_load_explicit(&call->done_tokens, memory_order_relaxed),
                                   .n_tokens = call->total_tokens,
                                   .may_block = may_block};
    tkr_status status = call->options->check(call->options->check_user, &progress);
    if (status != TKR_OK) stop_call(call, status);
    return status;
}

static tkr_status check_alone(void *user) { return ask_user(user, 1); }
static tkr_status check_in_pool(void *user) { return ask_user(user, 0); }
static tkr_status check_worker(void *user) {
    return (tkr_status)atomic_load_explicit(&((tkr_call *)user)->stop, memory_order_relaxed);
}

/* A chunk's failure is its inputs' failure; only a stop ends the call. */
static void run_chunk(const forward_job *job, size_t index, unsigned worker, const tkr_run_options *options) {
    const chunk *c = &job->chunks[index];
    tkr_call *call = job->call;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_status status = compute_chunk(job, c, &call->session->workers[worker], options, &error);
    if (status != TKR_OK && atomic_load(&call->stop) == TKR_OK) fail_chunk(call, job, c, &error);
    atomic_fetch_add_explicit(&call->done_inputs, c->end - c->begin, memory_order_relaxed);
    atomic_fetch_add_explicit(&call->done_tokens, c->n_tokens, memory_order_relaxed);
}

static void forward_worker(void *arg, unsigned worker, unsigned n_workers) {
    (void)n_workers;
    forward_job *job = arg;
    tkr_call *call = job->call;
    tkr_model *model = call->session->model;
    const tkr_run_options options = {.max_bytes = model->plan.workspace_per_worker,
                                     .check = worker == 0 ? check_in_pool : check_worker,
                                     .check_user = call};
    tkr_kernels_thread_enter(&model->kernels);
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
                                     .pool = session->n_workers > 1 ? model->pool : NULL,
                                     .check = check_alone,
                                     .check_user = job->call};
    tkr_kernels_thread_enter(&model->kernels);
    run_chunk(job, index, 0, &options);
}

/* Chunks that no worker has room for, or so long that one would still compute them when the others have finished. */
static size_t leading_long_chunks(const forward_job *job, size_t n_chunks, size_t total, unsigned workers) {
    const size_t alone = job->call->session->model->plan.alone_tokens;
    size_t i = 0;
    while (i < n_chunks && (job->chunks[i].n_tokens > alone || job->chunks[i].n_tokens * workers > total + total / 5)) {
        total -= job->chunks[i].n_tokens;
        i++;
    }
    return i;
}

tkr_status tkr_call_forward(tkr_call *call, tkr_error *error) {
    tkr_session *session = call->session;
    size_t n_order = 0, n_chunks = 0;
    unsigned workers = session->n_workers;
    tkr_status status = sort_inputs(call, &n_order, error);
    if (status == TKR_OK) status = make_chunks(call, n_order, &n_chunks, error);
    if (status != TKR_OK) return status;
    forward_job job = {.call = call,
                       .order = (const order_entry *)(const void *)session->order.data,
                       .chunks = (const chunk *)(const void *)session->chunks.data};
    size_t at = 0, first = leading_long_chunks(&job, n_chunks, call->total_tokens, workers);
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
        ask_user(call, 1);
    }
    for (; at < n_chunks && atomic_load(&call->stop) == TKR_OK; at++) run_together(&job, at);
    tkr_status stop = (tkr_status)atomic_load(&call->stop);
    if (stop != TKR_OK)
        return tkr_error_set(error, TKR_HERE, stop, "%s after %zu of %zu inputs", tkr_status_text(stop),
                             atomic_load(&call->done_inputs), call->n_inputs);
    return TKR_OK;
}
