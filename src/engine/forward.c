/* SPDX-License-Identifier: Apache-2.0 */
/* engine/forward: second stage of a call: sorts inputs by length, packs them without padding into chunks of a token
 * budget, and computes each chunk on one worker, or on all workers together where there are too few chunks. Either way
 * gives the same bits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/batch.h"

#define LEAST_CHUNK 96
#define KEPT_ROW_BYTES ((size_t)16 << 20) /* of a worker's buffer, between chunks */
/* Where the caller has a check function, who may want a yield point: a chunk takes one worker about this long, */
#define CHUNK_SECONDS 0.012
/* and a worker computes as many between two yield points that nobody asked for. */
#define CHUNKS_PER_ROUND 4
/* Chunks that take one worker longer than this are computed by all together, with a yield point after every operation.
 */
#define LONGEST_ALONE 0.1

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
    size_t budget = call->cost / (call->n_workers * 4u), most = session->model->plan.chunk_tokens;
    budget = budget < LEAST_CHUNK ? LEAST_CHUNK : budget;
    budget = budget > most || session->model->device.mlx ? most : budget; /* a GPU takes all it can at a time */
    if (call->options->check && session->pace > 0 && !session->model->device.mlx) {
        const double quick = CHUNK_SECONDS / session->pace;
        if (quick < (double)budget) budget = quick < LEAST_CHUNK ? LEAST_CHUNK : (size_t)quick;
    }
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

bool tkr_call_normalizes(const tkr_call *call, size_t input) {
    const tkr_choice choice = tkr_call_options(call, input)->normalize;
    if (choice != TKR_DEFAULT) return choice == TKR_YES;
    return call->result->kind != TKR_RESULT_TOKENS && tkr_post_get_info(call->session->model->post)->normalizes;
}

void tkr_finish_row(tkr_item *item, float *out, const float *in, bool normalize) {
    const size_t n = item->dimensions;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)in[i] * (double)in[i];
    tkr_error error;
    if (!isfinite(sum) || sum <= 0) {
        tkr_error_set(&error, TKR_HERE, TKR_NUMERIC, "the vector %s; the checkpoint or the number format is at fault",
                      sum <= 0 ? "is zero" : "holds NaN or infinity");
        tkr_item_fail(item, &error);
        return;
    }
    if (!normalize) {
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

/* Vectors of a batch, one for each of its spans, or for each picture of a tower; or the states of its tokens. */
static tkr_tensor *vectors_of(const forward_job *job, const tkr_chunk *c, tkr_run *run, const tkr_batch *batch) {
    const tkr_model *model = job->call->session->model;
    if (c->tower) return tkr_post_finish(model->post, run, tkr_arch_encode(model->weights, run, batch));
    tkr_tensor *hidden = tkr_arch_forward(model->weights, run, batch);
    if (job->call->result->kind == TKR_RESULT_TOKENS) return hidden;
    tkr_tensor *out = tkr_post_apply(model->post, model->weights, run, hidden, batch);
    model->ops->release(run, &hidden);
    return out;
}

/* Puts the rows where the result has them. */
static void finish_rows(const forward_job *job, const tkr_chunk *c, const float *rows) {
    tkr_call *call = job->call;
    const size_t width = call->width;
    for (size_t i = c->begin; i < c->end; i++) {
        tkr_item *item = &call->result->items[job->order[i].index];
        const bool normalize = tkr_call_normalizes(call, job->order[i].index);
        if (!call->result->rows) {
            item->n_rows = item->n_tokens;
            item->rows = tkr_malloc(item->n_rows * item->dimensions * sizeof *item->rows);
        }
        if (!item->rows) {
            tkr_error error;
            TKR_FAIL(&error, NO_MEMORY, "no memory for %zu vectors of %zu values", item->n_rows, item->dimensions);
            tkr_item_fail(item, &error);
        }
        for (size_t k = 0; item->status == TKR_OK && k < item->n_rows; k++)
            tkr_finish_row(item, item->rows + k * item->dimensions, rows + k * width, normalize);
        rows += item->n_rows * width;
    }
}

static size_t rows_of(const tkr_call *call, const tkr_chunk *c, const tkr_batch *batch) {
    if (c->tower) return batch->n_visuals;
    return call->result->kind == TKR_RESULT_TOKENS ? batch->n_tokens : batch->n_spans;
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
    const size_t width = call->width, n = rows_of(call, c, &batch);
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
    if (worker->text.room > KEPT_ROW_BYTES) tkr_buf_free(&worker->text);
    return status;
}

/* Of the forward pass. */
static unsigned computing_workers(const tkr_call *call) {
    const unsigned n = tkr_model_computing_workers(call->session->model);
    return n < call->n_workers ? n : call->n_workers;
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
    const double begin = may_block ? tkr_now() : 0;
    tkr_status status = call->options->check(call->options->check_user, &progress);
    if (may_block) call->waited_s += tkr_now() - begin;
    if (status == TKR_BUSY) { /* where it may not block yet: it wants to */
        atomic_store_explicit(&call->yield, !may_block, memory_order_relaxed);
        return TKR_OK;
    }
    if (status != TKR_OK) stop_call(call, status);
    return status;
}

/* Work that takes its pieces itself. */
typedef struct shared_work {
    tkr_pool_fn fn;
    void *arg;
} shared_work;

static void take_part(void *arg, unsigned worker, size_t part, size_t n_parts) {
    const shared_work *work = arg;
    (void)part;
    work->fn(work->arg, worker, (unsigned)n_parts);
}

tkr_status tkr_call_share(tkr_call *call, tkr_pool_fn fn, void *arg, bool alone, tkr_error *error) {
    tkr_pool *pool = call->session->model->pool;
    shared_work work = {fn, arg};
    bool again = false;
    do {
        atomic_store_explicit(&call->yield, false, memory_order_relaxed);
        if (alone)
            fn(arg, 0, 1);
        else if (tkr_pool_share(pool, take_part, &work, tkr_pool_size(pool)) != TKR_OK)
            return TKR_FAIL(error, BUSY, "tkr_embed was called from inside a worker thread of the library");
        again = tkr_call_yields(call);
    } while (tkr_call_ask(call, 1) == TKR_OK && again);
    return TKR_OK;
}

static tkr_status check_alone(void *user) { return tkr_call_ask(user, 1); }
static tkr_status check_in_pool(void *user) { return tkr_call_ask(user, 0); }
tkr_status tkr_call_stopped(void *user) {
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
    forward_job *job = arg;
    tkr_call *call = job->call;
    tkr_model *model = call->session->model;
    const tkr_run_options options = {.max_bytes = model->plan.workspace_per_worker,
                                     .chunk_rows = model->plan.chunk_rows,
                                     .check = n_workers == 1 ? check_alone
                                              : worker == 0  ? check_in_pool
                                                             : tkr_call_stopped,
                                     .check_user = call};
    enter(model);
    while (!tkr_call_yields(call)) {
        size_t index = atomic_fetch_add_explicit(&call->next, 1, memory_order_relaxed);
        if (index >= job->end || atomic_load_explicit(&call->stop, memory_order_relaxed) != TKR_OK) break;
        run_chunk(job, index, worker, &options);
    }
}

/* What a token took a worker. The best that was seen counts, since other processes only ever make it longer; it fades
 * as inputs of another kind come. */
static void note_pace(tkr_call *call, double seconds, size_t cost, unsigned workers) {
    double *pace = &call->session->pace;
    if (cost == 0 || atomic_load(&call->stop) != TKR_OK) return;
    const double now = seconds * workers / (double)cost;
    *pace = *pace == 0 || now < *pace ? now : *pace + (now - *pace) / 16;
}

static void run_together(const forward_job *job, size_t index) {
    tkr_call *call = job->call;
    tkr_model *model = call->session->model;
    const unsigned workers = computing_workers(call);
    const tkr_run_options options = {.max_bytes = model->plan.workspace_together,
                                     .chunk_rows = model->plan.chunk_rows,
                                     .pool = workers > 1 ? model->pool : NULL,
                                     .check = check_alone,
                                     .check_user = call};
    const double begin = tkr_now() - call->waited_s;
    enter(model);
    run_chunk(job, index, 0, &options);
    note_pace(call, tkr_now() - call->waited_s - begin, job->chunks[index].cost, workers);
    (void)tkr_call_ask(call, 1);
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

/* ---- rounds ---- */

/* Whether yield points would be too far apart if each worker computed a chunk alone. */
static bool is_slow(const forward_job *job, size_t at) {
    const tkr_call *call = job->call;
    return call->options->check && call->session->pace * (double)job->chunks[at].cost > LONGEST_ALONE;
}

/* Shares out some of the chunks [at, end) and tells up to where. */
static tkr_status run_round(forward_job *job, size_t *at, size_t end, unsigned workers, tkr_error *error) {
    tkr_call *call = job->call;
    const size_t most = (size_t)CHUNKS_PER_ROUND * workers;
    const size_t done = atomic_load(&call->done_tokens);
    const double begin = tkr_now() - call->waited_s;
    job->end = call->options->check && end - *at > most ? *at + most : end;
    atomic_store(&call->next, *at);
    tkr_status status = tkr_call_share(call, forward_worker, job, workers == 1, error);
    note_pace(call, tkr_now() - call->waited_s - begin, atomic_load(&call->done_tokens) - done, workers);
    *at = job->end;
    return status;
}

tkr_status tkr_call_forward(tkr_call *call, tkr_error *error) {
    tkr_session *session = call->session;
    size_t n_order = 0, n_chunks = 0;
    unsigned workers = computing_workers(call);
    tkr_status status = sort_inputs(call, &n_order, error);
    if (status == TKR_OK) status = make_chunks(call, n_order, &n_chunks, error);
    if (status != TKR_OK) return status;
    forward_job job = {.call = call,
                       .order = (const tkr_order_entry *)(const void *)session->order.data,
                       .chunks = (const tkr_chunk *)(const void *)session->chunks.data};
    size_t at = 0, first = leading_long_chunks(&job, n_chunks, call->cost, workers);
    while (at < first && atomic_load(&call->stop) == TKR_OK) run_together(&job, at++);
    size_t left = n_chunks - at, shared = workers > 1 && left < 4u * workers ? left / workers * workers : left;
    for (size_t end = at + shared; at < end && atomic_load(&call->stop) == TKR_OK;) {
        if (workers > 1 && is_slow(&job, at))
            run_together(&job, at++);
        else if ((status = run_round(&job, &at, end, workers, error)) != TKR_OK)
            return status;
    }
    for (; at < n_chunks && atomic_load(&call->stop) == TKR_OK; at++) run_together(&job, at);
    tkr_status stop = (tkr_status)atomic_load(&call->stop);
    if (stop != TKR_OK)
        return tkr_error_set(error, TKR_HERE, stop, "%s after %zu of %zu inputs", tkr_status_text(stop),
                             atomic_load(&call->done_inputs), call->n_inputs);
    return TKR_OK;
}
