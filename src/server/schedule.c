/* SPDX-License-Identifier: Apache-2.0 */
/* server/schedule: the queues: who is let in, who comes next, how jobs end. Refuses early what can't be done in time.
 */
#include "server/schedule.h"

#include <math.h>

#include "core/cpu.h"
#include "core/file.h"
#include "core/relax.h"
#include "server/schedule_internal.h"

#define QUEUE_SECONDS 10.0 /* of work that may wait */
#define QUEUE_BATCHES 4    /* that may wait however long they take */
#define RATE_CHANGE 0.1    /* from which on the queue is reckoned anew */
#define LEAST_RETRY 0.01
/* An interactive job may be passed by those that come so many times its own time later: who asks for little waits
 * little, however long the texts are that others sent just before. */
#define PATIENCE 100.0
#define MOST_PATIENCE (QUEUE_SECONDS / 2)
#define MOST_RETRY (3 * QUEUE_SECONDS) /* beyond the time that makes room */
#define LITTLE_WAIT 0.1                /* of the time left: less than it isn't what makes a job late */
#define MOST_SHARE 0.95                /* of bulk work: something has to be left for the others */
#define LENT_QUANTA 0.25               /* that a submitting thread may compute for */
#define LENT_PAUSE 0.5e-3              /* since the last batch */
#define SPIN_SECONDS 60e-6
#define SPINS_PER_CLOCK 16

/* ---- queues, under the lock ---- */

static size_t length(const tkr_queue *queue) { return atomic_load_explicit(&queue->n_jobs, memory_order_relaxed); }

void tkr_queue_insert(tkr_queue *queue, tkr_job *job) {
    tkr_job *before = queue->tail;
    while (before && before->turn > job->turn) before = before->previous;
    job->where = TKR_JOB_QUEUED;
    job->previous = before;
    job->next = before ? before->next : queue->head;
    *(before ? &before->next : &queue->head) = job;
    *(job->next ? &job->next->previous : &queue->tail) = job;
    queue->n_tokens += job->estimate;
    queue->seconds += (double)job->estimate / job->rate;
    atomic_store_explicit(&queue->n_jobs, length(queue) + 1, memory_order_relaxed);
}

void tkr_queue_unlink(tkr_queue *queue, tkr_job *job) {
    *(job->previous ? &job->previous->next : &queue->head) = job->next;
    *(job->next ? &job->next->previous : &queue->tail) = job->previous;
    job->next = job->previous = NULL;
    queue->n_tokens -= job->estimate;
    queue->seconds = queue->head ? queue->seconds - (double)job->estimate / job->rate : 0;
    atomic_store_explicit(&queue->n_jobs, length(queue) - 1, memory_order_relaxed);
}

void tkr_scheduler_reckon(tkr_scheduler *s, tkr_served_model *model) {
    bool known = false;
    const double rate = tkr_served_rate(&known, model);
    if (fabs(rate - model->queued_rate) < RATE_CHANGE * model->queued_rate) return;
    model->queued_rate = rate;
    for (unsigned q = 0; q < TKR_N_QUEUES; q++) {
        s->queues[q].seconds = 0;
        for (tkr_job *job = s->queues[q].head; job; job = job->next) {
            if (job->model == model) job->rate = rate;
            s->queues[q].seconds += (double)job->estimate / job->rate;
        }
    }
}

void tkr_scheduler_end(tkr_scheduler *s, tkr_job *job) {
    job->where = TKR_JOB_DROPPED;
    if (job->status == TKR_CANCELLED) s->counts.cancelled++;
    if (job->status == TKR_DEADLINE) s->counts.expired++;
    job->next = s->ended;
    s->ended = job;
}

void tkr_scheduler_answer(tkr_scheduler *s) {
    while (s->ended) {
        tkr_job *job = s->ended, *in_order = NULL;
        s->ended = NULL;
        for (tkr_job *next = NULL; job; job = next) { /* the list has the last one first */
            next = job->next;
            job->next = in_order;
            in_order = job;
        }
        tkr_mutex_unlock(&s->lock);
        for (tkr_job *next = NULL; in_order; in_order = next) {
            next = in_order->next;
            in_order->next = NULL;
            in_order->done(in_order);
        }
        tkr_mutex_lock(&s->lock);
    }
}

/* ---- cancelling and deadlines ---- */

bool tkr_scheduler_should_sweep(const tkr_scheduler *s, double now) {
    const double deadline = atomic_load_explicit(&s->next_deadline, memory_order_relaxed);
    return s->swept_cancels != atomic_load(&s->n_cancels) || (deadline > 0 && now >= deadline);
}

static void expect(tkr_scheduler *s, double deadline) {
    const double first = atomic_load_explicit(&s->next_deadline, memory_order_relaxed);
    if (deadline > 0 && (first <= 0 || deadline < first))
        atomic_store_explicit(&s->next_deadline, deadline, memory_order_relaxed);
}

static void drop(tkr_scheduler *s, tkr_queue *queue, tkr_job *job, tkr_status status) {
    tkr_queue_unlink(queue, job);
    job->where = TKR_JOB_DROPPED;
    job->status = status;
    if (job->started <= 0) job->queue_s = tkr_now() - job->submitted;
    if (job->n_taken == 0) tkr_scheduler_end(s, job);
}

/* Drops every queued job, or those that have reason to end. */
static void sweep(tkr_scheduler *s, bool all) {
    const double now = tkr_now();
    s->swept_cancels = atomic_load(&s->n_cancels);
    atomic_store_explicit(&s->next_deadline, 0, memory_order_relaxed);
    for (unsigned q = 0; q < TKR_N_QUEUES; q++) {
        for (tkr_job *next = NULL, *job = s->queues[q].head; job; job = next) {
            next = job->next;
            if (all || atomic_load(&job->cancelled))
                drop(s, &s->queues[q], job, TKR_CANCELLED);
            else if (job->deadline > 0 && now >= job->deadline)
                drop(s, &s->queues[q], job, TKR_DEADLINE);
            else
                expect(s, job->deadline);
        }
    }
}

void tkr_scheduler_sweep(tkr_scheduler *s) {
    if (tkr_scheduler_should_sweep(s, tkr_now())) sweep(s, false);
}

/* ---- the thread ---- */

static bool has_work(const tkr_scheduler *s) {
    return s->ended || s->queues[TKR_QUEUE_BULK].head || s->queues[TKR_QUEUE_INTERACTIVE].head ||
           atomic_load(&s->stopping);
}

/* The next request often comes right after an answer: waits awake for it where a CPU has nothing else to do. */
static void spin(tkr_scheduler *s) {
    const unsigned seen = atomic_load(&s->n_submits);
    const double end = tkr_now() + SPIN_SECONDS;
    tkr_mutex_unlock(&s->lock);
    do {
        for (unsigned i = 0; i < SPINS_PER_CLOCK && atomic_load_explicit(&s->n_submits, memory_order_relaxed) == seen;
             i++)
            TKR_RELAX();
    } while (atomic_load_explicit(&s->n_submits, memory_order_relaxed) == seen && tkr_now() < end);
    tkr_mutex_lock(&s->lock);
}

static void rest(tkr_scheduler *s) {
    if (s->n_threads > 2) spin(s);
    s->sleeping = true;
    while (!has_work(s) || s->lent) tkr_cond_wait(&s->wake, &s->lock);
    s->sleeping = false;
}

static void run(void *arg) {
    tkr_scheduler *s = arg;
    tkr_mutex_lock(&s->lock);
    while (!atomic_load(&s->stopping)) {
        tkr_scheduler_sweep(s);
        tkr_scheduler_answer(s);
        const bool interactive = s->queues[TKR_QUEUE_INTERACTIVE].head, bulk = s->queues[TKR_QUEUE_BULK].head;
        if (!interactive && !bulk)
            rest(s);
        else
            tkr_scheduler_compute(s, !bulk || (interactive && !s->bulk_turn) ? TKR_QUEUE_INTERACTIVE : TKR_QUEUE_BULK,
                                  false);
        s->lent_until = tkr_now();
    }
    sweep(s, true);
    tkr_scheduler_answer(s);
    tkr_mutex_unlock(&s->lock);
}

tkr_status tkr_scheduler_create(tkr_scheduler **out, const tkr_scheduler_options *options, tkr_error *error) {
    size_t inputs = 0, refs = 0;
    if (options->max_batch_items == 0 || options->quantum_s <= 0 || options->bulk_share < 0 || options->bulk_share > 1)
        return TKR_FAIL(
            error, INVALID_ARGUMENT,
            "batches of %zu inputs, a quantum of %g s and a bulk share of %g; expected at least one, more than "
            "0, and 0 to 1",
            options->max_batch_items, options->quantum_s, options->bulk_share);
    tkr_scheduler *s = tkr_calloc(1, sizeof *s);
    if (!s) return TKR_FAIL(error, NO_MEMORY, "no memory for the scheduler");
    s->options = *options;
    if (s->options.bulk_share > MOST_SHARE) s->options.bulk_share = MOST_SHARE;
    tkr_mutex_init(&s->lock);
    tkr_cond_init(&s->wake);
    tkr_machine machine;
    tkr_machine_read(&machine);
    s->n_threads = machine.n_threads;
    tkr_status status = TKR_OK;
    for (unsigned q = 0; q < TKR_N_QUEUES && status == TKR_OK; q++) {
        tkr_serve_batch *batch = &s->batches[q];
        batch->queue = q;
        if (tkr_mul_size(&inputs, options->max_batch_items, sizeof(tkr_input)) &&
            tkr_mul_size(&refs, options->max_batch_items, sizeof(tkr_batch_ref))) {
            batch->inputs = tkr_malloc(inputs);
            batch->refs = tkr_malloc(refs);
        }
        if (!batch->inputs || !batch->refs)
            status = TKR_FAIL(error, NO_MEMORY, "no memory for batches of %zu inputs", options->max_batch_items);
    }
    if (status == TKR_OK) status = tkr_thread_start(&s->thread, "tkr-schedule", run, s, error);
    if (status != TKR_OK) {
        tkr_scheduler_free(&s);
        return status;
    }
    *out = s;
    return TKR_OK;
}

void tkr_scheduler_stop(tkr_scheduler *s) {
    tkr_mutex_lock(&s->lock);
    atomic_store(&s->stopping, true);
    tkr_cond_signal(&s->wake);
    tkr_mutex_unlock(&s->lock);
    tkr_thread_join(&s->thread);
}

void tkr_scheduler_free(tkr_scheduler **out) {
    if (!out || !*out) return;
    tkr_scheduler *s = *out;
    tkr_scheduler_stop(s);
    for (unsigned q = 0; q < TKR_N_QUEUES; q++) {
        tkr_free(s->batches[q].inputs);
        tkr_free(s->batches[q].refs);
    }
    tkr_cond_destroy(&s->wake);
    tkr_mutex_destroy(&s->lock);
    tkr_free(s);
    *out = NULL;
}

/* ---- admission ---- */

/* Seconds of work in the queue beyond what may wait; 0: there is room. The job counts where it may be large, or tokens
 * are limited: else long texts would be refused more often than short ones. */
static double excess(const tkr_scheduler *s, const tkr_queue *queue, const tkr_job *job) {
    const double most = (double)s->options.max_queued_tokens;
    const size_t own = most > 0 || queue == &s->queues[TKR_QUEUE_BULK] ? job->estimate : 0;
    const double tokens = (double)queue->n_tokens + (double)own, seconds = queue->seconds + (double)own / job->rate;
    double over = 0;
    if (!queue->head) return 0;
    if (most > 0)
        over = tokens > most ? (tokens - most) * seconds / tokens : 0;
    else if (tokens > (double)(QUEUE_BATCHES * tkr_batch_budget(s, job->model, TKR_QUEUE_INTERACTIVE)))
        over = seconds > QUEUE_SECONDS ? seconds - QUEUE_SECONDS : 0;
    return over < queue->seconds ? over : queue->seconds;
}

/* Seconds until the job would be done: bulk jobs take turns, interactive ones come one after the other. */
static double time_until_done(const tkr_scheduler *s, const tkr_job *job, unsigned q) {
    const tkr_queue *interactive = &s->queues[TKR_QUEUE_INTERACTIVE];
    const double own = (double)job->estimate / job->rate;
    double before = interactive->seconds;
    if (q == TKR_QUEUE_INTERACTIVE) {
        for (const tkr_job *later = interactive->tail; later && later->turn > job->turn; later = later->previous)
            before -= (double)later->estimate / later->rate;
        return before + own;
    }
    for (const tkr_job *other = s->queues[q].head; other; other = other->next) {
        const double theirs = (double)other->estimate / other->rate;
        before += theirs < own ? theirs : own;
    }
    return before + own;
}

/* Seconds until the queues in front have let go of so much that `slack` seconds of them are left: of jobs that are
 * computed, or late themselves. */
static double time_until_left(const tkr_scheduler *s, unsigned q, double pace, double slack, double now) {
    const unsigned lanes[] = {TKR_QUEUE_INTERACTIVE, q};
    double seconds = 0, last = 0;
    for (unsigned i = q == TKR_QUEUE_INTERACTIVE; i < 2; i++) {
        const tkr_queue *queue = &s->queues[lanes[i]];
        seconds += queue->seconds / pace;
        for (const tkr_job *job = queue->head; job; job = job->next) {
            const double deadline = job->deadline > 0 ? job->deadline : HUGE_VAL;
            last = deadline > last ? deadline : last;
        }
    }
    const double after = seconds - slack < last - now ? seconds - slack : last - now;
    return after > LEAST_RETRY ? after : LEAST_RETRY;
}

/* When a refused job is to come again. All that were refused will: each is told a time after those before it, so that
 * they find room one after the other. What was told is forgotten in the time in which the present queue is done: who
 * comes early, again and again, doesn't push the others away. */
static double promise(tkr_queue *queue, double now, double over, double own, double drain) {
    const double age = now > queue->promised_at ? now - queue->promised_at : 0;
    const double told = queue->promised * exp(-age / (drain > LEAST_RETRY ? drain : LEAST_RETRY));
    const double after = over + (told < MOST_RETRY ? told : MOST_RETRY);
    queue->promised = after - over + own;
    queue->promised_at = now;
    return after > LEAST_RETRY ? after : LEAST_RETRY;
}

/* For its deadline a job is refused only because of what waits: alone it has its chance, however long it seems to take.
 * The estimate may be wrong, only computing mends it, and nobody else has a use for the time. */
static tkr_status admit(tkr_scheduler *s, const tkr_job *job, unsigned q, double *retry_after_s, tkr_error *error) {
    tkr_queue *queue = &s->queues[q];
    const double now = job->submitted;
    bool known = false;
    (void)tkr_served_rate(&known, job->model);
    /* What the other queue leaves. */
    const bool shared = q == TKR_QUEUE_INTERACTIVE && s->queues[TKR_QUEUE_BULK].head;
    const double pace = shared ? 1 - s->options.bulk_share : 1;
    const double over = excess(s, queue, job) / pace, own = (double)job->estimate / job->rate / pace;
    const double before = time_until_done(s, job, q) / pace - own;
    const double left = job->deadline > now ? job->deadline - now : 0;
    if (atomic_load(&s->stopping)) return TKR_FAIL(error, CANCELLED, "the server ends");
    if (over > 0) {
        const double drain = queue->seconds / pace;
        *retry_after_s = promise(queue, now, over, own, drain);
        return TKR_FAIL(
            error, LIMIT, "too much work waits: %zu tokens, %.2f seconds%s; try again in %.2f seconds", queue->n_tokens,
            drain, *retry_after_s - over > LEAST_RETRY ? ", and others were told to come before" : "", *retry_after_s);
    }
    if (job->deadline > 0 && known && before + own > left && before > LITTLE_WAIT * left) {
        *retry_after_s = time_until_left(s, q, pace, left > own ? left - own : 0, now);
        return TKR_FAIL(error, DEADLINE,
                        "it would take %.2f seconds after %.2f of what waits before it, %.2f are left; try again in "
                        "%.2f seconds",
                        own, before, left, *retry_after_s);
    }
    return TKR_OK;
}

/* Two threads that wake each other cost more than a short text does. So a thread that finds nothing at work computes
 * its short job itself; not right after another job, as then more are likely to be there, which are faster together. */
static bool may_lend(const tkr_scheduler *s, const tkr_job *job, unsigned q) {
    bool known = false;
    (void)tkr_served_rate(&known, job->model);
    return known && q == TKR_QUEUE_INTERACTIVE && s->sleeping && !s->lent && !has_work(s) &&
           (double)job->estimate / job->rate <= LENT_QUANTA * s->options.quantum_s &&
           job->submitted - s->lent_until >= LENT_PAUSE;
}

/* Computes what this thread has just appended, and answers. Under the lock. */
static void lend(tkr_scheduler *s) {
    s->lent = true;
    tkr_scheduler_compute(s, TKR_QUEUE_INTERACTIVE, false);
    tkr_scheduler_sweep(s);
    tkr_scheduler_answer(s);
    s->lent = false;
    s->lent_until = tkr_now();
    if (has_work(s)) tkr_cond_signal(&s->wake);
}

tkr_status tkr_scheduler_submit(tkr_scheduler *s, tkr_job *job, double *retry_after_s, tkr_error *error) {
    size_t n_wanted = 0;
    tkr_job_estimate(job);
    for (size_t i = 0; i < job->n_items; i++) n_wanted += !job->items[i].cached;
    job->submitted = tkr_now();
    job->started = job->reported = 0;
    job->status = TKR_OK;
    job->next_item = job->n_taken = job->n_tokens = 0;
    job->queue_s = job->pictures_s = job->tokenize_s = job->forward_s = 0;
    job->n_done = job->n_items - n_wanted;
    unsigned q = job->lane == TKR_LANE_BULK ? TKR_QUEUE_BULK : TKR_QUEUE_INTERACTIVE;
    if (job->lane == TKR_LANE_AUTO && job->estimate > tkr_bulk_limit(s, job->model)) q = TKR_QUEUE_BULK;
    tkr_mutex_lock(&s->lock);
    tkr_scheduler_reckon(s, job->model);
    job->rate = job->model->queued_rate;
    const double patience = PATIENCE * (double)job->estimate / job->rate;
    job->turn = job->submitted;
    if (q == TKR_QUEUE_INTERACTIVE) job->turn += patience < MOST_PATIENCE ? patience : MOST_PATIENCE;
    const tkr_status status = admit(s, job, q, retry_after_s, error);
    const bool sleeping = s->sleeping, lends = status == TKR_OK && n_wanted > 0 && may_lend(s, job, q);
    if (status == TKR_OK && n_wanted > 0) {
        tkr_queue_insert(&s->queues[q], job);
        expect(s, job->deadline);
    } else if (status == TKR_OK) {
        tkr_scheduler_end(s, job);
    }
    /* After the lock the job may be gone. One that was cancelled before it was seen is to be seen. */
    if (status == TKR_OK && atomic_load(&job->cancelled)) atomic_fetch_add(&s->n_cancels, 1);
    atomic_fetch_add(&s->n_submits, 1);
    if (lends)
        lend(s);
    else if (status == TKR_OK && sleeping)
        tkr_cond_signal(&s->wake); /* within the lock: behind it s may be freed */
    tkr_mutex_unlock(&s->lock);
    return status;
}

void tkr_scheduler_cancel(tkr_scheduler *s, tkr_job *job) {
    atomic_store(&job->cancelled, true);
    atomic_fetch_add(&s->n_cancels, 1); /* the thread is awake while there are jobs */
}

void tkr_job_free_results(tkr_job *job) {
    for (size_t i = 0; i < job->n_items; i++) {
        tkr_free(job->items[i].rows);
        tkr_free(job->items[i].message);
        job->items[i].rows = NULL;
        job->items[i].message = NULL;
    }
}

/* ---- figures ---- */

void tkr_scheduler_get_counts(tkr_scheduler_counts *counts, tkr_scheduler *s) {
    const double now = tkr_now();
    tkr_mutex_lock(&s->lock);
    *counts = s->counts;
    for (unsigned q = 0; q < TKR_N_QUEUES; q++) {
        counts->queued_jobs += length(&s->queues[q]);
        counts->queued_tokens += s->queues[q].n_tokens;
        for (const tkr_job *job = s->queues[q].head; job; job = job->next)
            if (now - job->submitted > counts->oldest_s) counts->oldest_s = now - job->submitted;
    }
    counts->tokens_per_s = tkr_recent_tokens(s, now) / TKR_RECENT_SECONDS;
    tkr_mutex_unlock(&s->lock);
}

void tkr_scheduler_on_batch(tkr_scheduler *s, void (*fn)(void *user, size_t n_items, size_t n_tokens, double seconds),
                            void *user) {
    tkr_mutex_lock(&s->lock);
    s->on_batch = fn;
    s->on_batch_user = user;
    tkr_mutex_unlock(&s->lock);
}
