/* SPDX-License-Identifier: Apache-2.0 */
/* server/schedule_batch: forms batches, computes them, hands results to their items. At the points where bulk work can
 * be interrupted it computes the interactive work that has come, on the other session. */
#include <string.h>

#include "core/file.h"
#include "server/schedule_internal.h"

#define PROGRESS_SECONDS 0.1 /* of a job, between two tellings */

/* ---- forming, under the lock ---- */

/* Gives the batch as many of the job's items as there is room for; true when none are left. */
static bool take_items(tkr_serve_batch *batch, tkr_queue *queue, tkr_job *job, size_t budget) {
    const size_t room = batch->scheduler->options.max_batch_items;
    while (job->estimate > 0) {
        tkr_job_item *item = &job->items[job->next_item];
        if (item->cached) {
            job->next_item++;
            continue;
        }
        if (batch->n == room || (batch->n > 0 && batch->n_tokens + item->estimate > budget)) return false;
        item->input.options = &item->options;
        batch->inputs[batch->n] = item->input;
        batch->refs[batch->n++] = (tkr_batch_ref){job, job->next_item++};
        batch->n_tokens += item->estimate;
        queue->n_tokens -= item->estimate;
        queue->seconds -= (double)item->estimate / job->rate;
        job->estimate -= item->estimate;
        job->n_taken++;
    }
    return true;
}

/* Fills the batch from the head of the queue on with what can be computed together. A bulk job of which something is
 * left goes to the end, so that a large one doesn't keep the others. */
static void form(tkr_scheduler *s, tkr_serve_batch *batch, bool alone) {
    tkr_queue *queue = &s->queues[batch->queue];
    tkr_job *job = queue->head;
    const double now = tkr_now();
    bool endless = false, fits = true;
    *batch = (tkr_serve_batch){.scheduler = s,
                               .queue = batch->queue,
                               .inputs = batch->inputs,
                               .refs = batch->refs,
                               .model = job->model,
                               .kind = job->kind,
                               .n_cancels = s->swept_cancels,
                               .alone = alone,
                               .accounted_at = now};
    const size_t budget = tkr_batch_budget(s, batch->model, batch->queue);
    for (tkr_job *next = NULL; job && fits; job = next) {
        next = job->next;
        if (job->model != batch->model || job->kind != batch->kind) continue;
        fits = take_items(batch, queue, job, budget);
        if (job->n_taken == 0) break;
        if (job->started <= 0) job->started = now;
        job->queue_s = job->started - job->submitted;
        endless = endless || job->deadline <= 0;
        if (job->deadline > batch->deadline) batch->deadline = job->deadline;
        tkr_queue_unlink(queue, job);
        if (fits) {
            job->where = TKR_JOB_TAKEN;
        } else {
            if (batch->queue == TKR_QUEUE_BULK) job->turn = now;
            tkr_queue_insert(queue, job);
        }
    }
    if (endless) batch->deadline = 0;
    s->counts.running_items += batch->n;
}

/* ---- while it computes ---- */

/* Whether anybody still wants the batch. */
static tkr_status wanted(tkr_serve_batch *batch, double now) {
    const unsigned n = atomic_load(&batch->scheduler->n_cancels);
    if (atomic_load_explicit(&batch->scheduler->stopping, memory_order_relaxed)) return TKR_CANCELLED;
    if (batch->deadline > 0 && now >= batch->deadline) return TKR_DEADLINE;
    if (n == batch->n_cancels) return TKR_OK;
    batch->n_cancels = n;
    for (size_t i = 0; i < batch->n; i++)
        if (!atomic_load(&batch->refs[i].job->cancelled)) return TKR_OK;
    return TKR_CANCELLED;
}

static size_t waiting(const tkr_scheduler *s, unsigned queue) {
    return atomic_load_explicit(&s->queues[queue].n_jobs, memory_order_relaxed);
}

/* Bulk work has computed until now: that pays what it is owed. */
static void account_bulk(tkr_scheduler *s, tkr_serve_batch *batch, double now) {
    s->credit -= (1 - s->options.bulk_share) * (now - batch->accounted_at);
    batch->accounted_at = now;
    if (waiting(s, TKR_QUEUE_INTERACTIVE) == 0 || s->credit <= 0) {
        s->credit = 0;
        s->bulk_turn = false;
    }
}

/* Interactive work has computed while bulk work waited. */
static void account_interactive(tkr_scheduler *s, double seconds) {
    const double share = s->options.bulk_share;
    s->credit += share * seconds;
    if (share > 0 && s->credit >= (1 - share) * s->options.quantum_s) s->bulk_turn = true;
}

/* Whether the next interactive batch has a session that the bulk batch doesn't use. Under the lock. */
static bool can_interrupt(const tkr_scheduler *s, const tkr_serve_batch *bulk) {
    const tkr_job *job = s->queues[TKR_QUEUE_INTERACTIVE].head;
    return job && job->model->sessions[TKR_QUEUE_INTERACTIVE] != bulk->model->sessions[TKR_QUEUE_BULK];
}

/* Of all of a model's threads, when one of them works `alone` for so long. */
static double share_of(const tkr_served_model *model, bool alone, double seconds) {
    return alone ? seconds / model->info->threads : seconds;
}

/* Whether a thread has soon done alone what waits. Under the lock. */
static bool is_short(const tkr_scheduler *s, const tkr_serve_batch *bulk) {
    return s->queues[TKR_QUEUE_INTERACTIVE].seconds * bulk->model->info->threads <= s->options.quantum_s;
}

/* Computes interactive work in the middle of bulk work: `alone`, the part of it that is short, while the model's other
 * threads go on with the bulk work. */
static void interrupt(tkr_scheduler *s, tkr_serve_batch *batch, bool alone) {
    const double begin = tkr_now();
    account_bulk(s, batch, begin);
    tkr_mutex_lock(&s->lock);
    tkr_scheduler_sweep(s);
    tkr_scheduler_answer(s);
    while (!s->bulk_turn && can_interrupt(s, batch) && (!alone || is_short(s, batch)) &&
           wanted(batch, tkr_now()) == TKR_OK) {
        s->counts.yields++;
        tkr_scheduler_compute(s, TKR_QUEUE_INTERACTIVE, alone);
        tkr_scheduler_sweep(s);
        tkr_scheduler_answer(s);
    }
    tkr_mutex_unlock(&s->lock);
    const double missed = share_of(batch->model, alone, tkr_now() - begin);
    batch->nested_s += missed;
    batch->accounted_at = begin + missed;
}

static bool is_urgent(const tkr_scheduler *s, const tkr_serve_batch *batch) {
    return batch->queue == TKR_QUEUE_BULK && waiting(s, TKR_QUEUE_INTERACTIVE) > 0;
}

/* Where the model's other threads are at work. What one thread can't do soon is for a point that may block. */
static tkr_status check_in_work(tkr_scheduler *s, tkr_serve_batch *batch, double now) {
    const bool paid = s->credit <= (1 - s->options.bulk_share) * (now - batch->accounted_at);
    if (!is_urgent(s, batch) || (s->bulk_turn && !paid)) return TKR_OK;
    if (s->bulk_turn) account_bulk(s, batch, now);
    if (!s->bulk_turn) interrupt(s, batch, true);
    const tkr_status status = wanted(batch, tkr_now());
    return status == TKR_OK && is_urgent(s, batch) && !s->bulk_turn ? TKR_BUSY : status;
}

static tkr_status check(void *user, const tkr_progress *progress) {
    tkr_serve_batch *batch = user;
    tkr_scheduler *s = batch->scheduler;
    const double now = tkr_now();
    const tkr_status status = wanted(batch, now);
    if (status != TKR_OK) return status;
    if (!progress->may_block) return check_in_work(s, batch, now);
    if (is_urgent(s, batch) && s->bulk_turn) account_bulk(s, batch, now);
    if (is_urgent(s, batch) && !s->bulk_turn) {
        interrupt(s, batch, false);
    } else if (tkr_scheduler_should_sweep(s, now)) {
        tkr_mutex_lock(&s->lock);
        tkr_scheduler_sweep(s);
        tkr_scheduler_answer(s);
        tkr_mutex_unlock(&s->lock);
    }
    return wanted(batch, now);
}

/* ---- results ---- */

static void fail_item(tkr_job_item *item, tkr_status status, const char *message) {
    item->status = status;
    item->message = message ? tkr_strdup(message) : NULL;
}

static void fill_item(tkr_job_item *item, const tkr_result_item *got) {
    size_t values = 0, bytes = 0;
    item->n_tokens = got->n_tokens;
    item->n_tokens_untruncated = got->n_tokens_untruncated;
    item->n_frames = got->n_frames;
    item->n_lost_frames += got->n_lost_frames;
    if (got->status != TKR_OK) {
        fail_item(item, got->status, got->message);
        return;
    }
    if (tkr_mul_size(&values, got->n_rows, got->dimensions) && tkr_mul_size(&bytes, values, sizeof *item->rows))
        item->rows = tkr_malloc(bytes);
    if (!item->rows) {
        fail_item(item, TKR_NO_MEMORY, "no memory for the vectors");
        return;
    }
    memcpy(item->rows, got->rows, bytes);
    item->status = TKR_OK;
    item->n_rows = got->n_rows;
    item->dimensions = got->dimensions;
}

/* Why a job has to end that was in a batch which was stopped. */
static tkr_status stopped_by(const tkr_job *job, tkr_status status) {
    if (atomic_load(&job->cancelled)) return TKR_CANCELLED;
    return job->deadline > 0 && tkr_now() >= job->deadline ? TKR_DEADLINE : status;
}

/* Fills the items of a batch; returns their tokens. `result` NULL: the call failed. */
static size_t fill(const tkr_serve_batch *batch, const tkr_result *result, const tkr_error *error) {
    size_t tokens = 0;
    for (size_t i = 0; i < batch->n; i++) {
        tkr_job_item *item = &batch->refs[i].job->items[batch->refs[i].item];
        if (result) {
            const tkr_result_item got = tkr_result_get(result, i);
            fill_item(item, &got);
            tokens += item->n_tokens;
        } else {
            fail_item(item, error->status, error->message);
        }
    }
    return tokens;
}

/* Adds the job's part of a batch: its items from `first` to `end`. */
static void count_part(tkr_job *job, const tkr_serve_batch *batch, size_t first, size_t end, const tkr_result *result,
                       size_t tokens) {
    double pictures_s = 0, tokenize_s = 0, forward_s = 0;
    size_t own = 0;
    for (size_t i = first; i < end; i++) own += job->items[batch->refs[i].item].n_tokens;
    job->n_tokens += own;
    job->n_done += end - first;
    job->n_taken = 0;
    if (!result || tokens == 0) return;
    const double part = (double)own / (double)tokens;
    tkr_tools_result_times(result, &pictures_s, &tokenize_s, &forward_s);
    job->pictures_s += part * pictures_s;
    job->tokenize_s += part * tokenize_s;
    job->forward_s += part * forward_s;
}

static void tell_progress(tkr_job *job) {
    const double now = tkr_now();
    if (!job->progress || job->n_done == job->n_items || now - job->reported < PROGRESS_SECONDS) return;
    job->reported = now;
    job->progress(job, job->n_done);
}

/* One past the last of the batch's items from `first` on that belong to the same job. */
static size_t part_end(const tkr_serve_batch *batch, size_t first) {
    size_t end = first + 1;
    while (end < batch->n && batch->refs[end].job == batch->refs[first].job) end++;
    return end;
}

/* Ends jobs that have all they wanted, or are to end for another reason. Under the lock. */
static void settle(tkr_scheduler *s, const tkr_serve_batch *batch, tkr_status stop) {
    for (size_t i = 0; i < batch->n; i = part_end(batch, i)) {
        tkr_job *job = batch->refs[i].job;
        if (stop != TKR_OK && job->status == TKR_OK) job->status = stopped_by(job, stop);
        if (job->status == TKR_OK && job->n_done < job->n_items) continue;
        if (job->where == TKR_JOB_QUEUED) tkr_queue_unlink(&s->queues[batch->queue], job);
        tkr_scheduler_end(s, job);
    }
    s->counts.running_items -= batch->n;
}

static void count_batch(tkr_scheduler *s, const tkr_serve_batch *batch, size_t tokens, double seconds) {
    s->counts.batches++;
    s->counts.items += batch->n;
    s->counts.tokens += tokens;
    s->counts.busy_s += seconds;
    s->recent_tokens = tkr_recent_tokens(s, tkr_now()) + (double)tokens;
    s->recent_at = tkr_now();
}

/* ---- computing ---- */

void tkr_scheduler_compute(tkr_scheduler *s, unsigned queue, bool alone) {
    tkr_serve_batch *batch = &s->batches[queue];
    form(s, batch, alone);
    tkr_mutex_unlock(&s->lock);
    tkr_embed_options options;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_result *result = NULL;
    tkr_embed_options_init(&options);
    options.kind = batch->kind;
    options.check = check;
    options.check_user = batch;
    options.alone = alone;
    const double begin = tkr_now();
    const tkr_status status =
        tkr_embed(&result, batch->model->sessions[queue], batch->inputs, batch->n, &options, &error);
    const tkr_status stop = status == TKR_CANCELLED || status == TKR_DEADLINE ? status : TKR_OK;
    const size_t tokens = stop == TKR_OK ? fill(batch, result, &error) : 0;
    const double now = tkr_now(), seconds = now - begin - batch->nested_s;
    for (size_t i = 0, end = 0; i < batch->n; i = end) {
        end = part_end(batch, i);
        count_part(batch->refs[i].job, batch, i, end, result, tokens);
        if (stop == TKR_OK) tell_progress(batch->refs[i].job);
    }
    if (result) tkr_batch_learn(batch, tokens, seconds);
    tkr_result_free(&result);
    if (queue == TKR_QUEUE_BULK)
        account_bulk(s, batch, now);
    else if (waiting(s, TKR_QUEUE_BULK) > 0 || s->batches[TKR_QUEUE_BULK].n > 0)
        account_interactive(s, share_of(batch->model, alone, seconds));
    if (s->on_batch && stop == TKR_OK) s->on_batch(s->on_batch_user, batch->n, tokens, seconds);
    tkr_mutex_lock(&s->lock);
    count_batch(s, batch, tokens, share_of(batch->model, alone, seconds));
    tkr_scheduler_reckon(s, batch->model);
    settle(s, batch, stop);
    batch->n = 0;
}
