/* SPDX-License-Identifier: Apache-2.0 */
/* server/schedule_internal: what the scheduler's files share. schedule.c owns the queues: admission, order, ends of
 * jobs; schedule_batch.c computes; schedule_rate.c knows what work costs. */
#ifndef TKR_SERVER_SCHEDULE_INTERNAL_H
#define TKR_SERVER_SCHEDULE_INTERNAL_H

#include "core/sync.h"
#include "server/schedule.h"

/* Both lanes have a queue, a batch and one of a model's sessions. */
enum { TKR_QUEUE_BULK, TKR_QUEUE_INTERACTIVE, TKR_N_QUEUES };

/* Where a job is: in a queue, with items that no batch took yet; all taken by the batch that computes; out of its queue
 * before its time, and at its end when that batch is. */
enum { TKR_JOB_QUEUED, TKR_JOB_TAKEN, TKR_JOB_DROPPED };

/* In the order of their turns, of equal ones that in which they came. */
typedef struct tkr_queue {
    tkr_job *head, *tail;
    size_t n_tokens;      /* of items that no batch took yet, estimated; */
    double seconds;       /* and how long they will take */
    double promised;      /* seconds of work of those that were refused of late and told to come again, */
    double promised_at;   /* and when it was so: it fades */
    atomic_size_t n_jobs; /* changed under the lock, looked at without */
} tkr_queue;

typedef struct tkr_batch_ref {
    tkr_job *job;
    size_t item;
} tkr_batch_ref;

/* Inputs of one call of tkr_embed. Items of a job lie together. */
typedef struct tkr_serve_batch {
    tkr_scheduler *scheduler;
    unsigned queue;
    tkr_input *inputs;   /* [max_batch_items] */
    tkr_batch_ref *refs; /* [max_batch_items] */
    size_t n, n_tokens;  /* n_tokens: estimated */
    tkr_served_model *model;
    tkr_result_kind kind;
    double deadline;     /* the last of its jobs'; 0: one has none */
    unsigned n_cancels;  /* the scheduler's when its jobs were last looked at */
    bool alone;          /* one thread computes it, within a bulk batch that the others go on with */
    double nested_s;     /* spent on interactive batches meanwhile */
    double accounted_at; /* until when its time is in the scheduler's credit */
} tkr_serve_batch;

struct tkr_scheduler {
    tkr_scheduler_options options;
    unsigned n_threads; /* CPUs that this process may use */
    tkr_thread *thread;
    tkr_mutex lock;
    tkr_cond wake;
    bool sleeping;     /* under the lock, as all up to the batches */
    bool lent;         /* a submitting thread computes in the place of this one, which sleeps */
    double lent_until; /* tkr_now() when that, or the last batch, ended */
    atomic_bool stopping;
    atomic_uint n_cancels, n_submits;
    tkr_queue queues[TKR_N_QUEUES];
    tkr_job *ended;               /* whose `done` comes next */
    _Atomic double next_deadline; /* that of no queued job is before it; 0: none has one. Looked at without the lock */
    void (*on_batch)(void *user, size_t n_items, size_t n_tokens, double s);
    void *on_batch_user;
    tkr_scheduler_counts counts;
    double recent_tokens, recent_at; /* a sum that fades, and when */
    tkr_serve_batch batches[TKR_N_QUEUES];
    /* the thread's own */
    unsigned swept_cancels;
    double credit;  /* seconds that bulk work is owed while interactive work waits, too */
    bool bulk_turn; /* now they are paid back */
};

/* ---- schedule.c: for the scheduler's thread, which holds the lock ---- */

/* Takes a job out of its queue. */
void tkr_queue_unlink(tkr_queue *queue, tkr_job *job);
/* Takes it to its place. */
void tkr_queue_insert(tkr_queue *queue, tkr_job *job);
/* Reckons the queued jobs of a model anew, when its rate has changed by much. */
void tkr_scheduler_reckon(tkr_scheduler *scheduler, tkr_served_model *model);
/* Drops jobs that were cancelled or whose deadline has passed from their queues. */
void tkr_scheduler_sweep(tkr_scheduler *scheduler);
/* Whether a sweep would find something; without the lock, too. */
bool tkr_scheduler_should_sweep(const tkr_scheduler *scheduler, double now);
/* A job's end: its `done` is called by the next tkr_scheduler_answer. */
void tkr_scheduler_end(tkr_scheduler *scheduler, tkr_job *job);
/* The fading sum of computed tokens at that time. */
#define TKR_RECENT_SECONDS 5.0 /* in which it fades to 1/e */
double tkr_recent_tokens(const tkr_scheduler *scheduler, double now);
/* Calls `done` of the jobs that have ended, without the lock meanwhile. */
void tkr_scheduler_answer(tkr_scheduler *scheduler);

/* ---- schedule_batch.c: for the same ---- */

/* Computes one batch of a queue that isn't empty, without the lock meanwhile; with all of the model's threads or
 * `alone` with the calling one. */
void tkr_scheduler_compute(tkr_scheduler *scheduler, unsigned queue, bool alone);

/* ---- schedule_rate.c ---- */

/* Sets the estimates of a job and its items from what is known of its model. Without the lock. */
void tkr_job_estimate(tkr_job *job);
/* Tokens a second; *known tells whether they were measured. */
double tkr_served_rate(bool *known, const tkr_served_model *model);
/* Tokens of a batch. */
size_t tkr_batch_budget(const tkr_scheduler *scheduler, const tkr_served_model *model, unsigned queue);
/* Above it a job is bulk work. */
size_t tkr_bulk_limit(const tkr_scheduler *scheduler, const tkr_served_model *model);
/* Learns from a batch whose items are filled: `tokens` in `seconds`. */
void tkr_batch_learn(const tkr_serve_batch *batch, size_t tokens, double seconds);

#endif
