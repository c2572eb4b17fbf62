/* SPDX-License-Identifier: Apache-2.0 */
/* server/schedule: one admission queue for all models and APIs, bounded by tokens; ragged batches across requests;
 * interactive work before bulk work; deadlines and cancelling. One thread computes: it runs tkr_embed for a batch while
 * the next one gathers, and at the yield points of a bulk batch it computes the interactive work that has come. */
#ifndef TKR_SERVER_SCHEDULE_H
#define TKR_SERVER_SCHEDULE_H

#include <stdatomic.h>

#include "server/models.h"

/* AUTO: bulk beyond the options' bulk_tokens, else interactive. */
typedef enum tkr_lane { TKR_LANE_AUTO, TKR_LANE_INTERACTIVE, TKR_LANE_BULK } tkr_lane;

/* One input of a job and its outcome. */
typedef struct tkr_job_item {
    tkr_input input;           /* borrows from the job's owner; .options is the scheduler's: set to the next field */
    tkr_embed_options options; /* .kind and .check are not used */
    tkr_status status;
    char *message; /* owned; NULL when fine, and when there was no memory for it */
    float *rows;   /* [n_rows, dimensions] owned, when fine */
    size_t n_rows, dimensions, n_tokens, n_tokens_untruncated;
    size_t n_frames;      /* of a video, else 0 */
    size_t n_lost_frames; /* of a video; those that its owner lost in decoding stand there before */
    bool cached;          /* filled from the cache by the job's owner: the scheduler passes it over */
    size_t estimate;      /* tokens, the scheduler's */
} tkr_job_item;

/* What one request wants computed. Zero-initialise, fill the first part; the owner keeps it until `done`. */
typedef struct tkr_job {
    tkr_served_model *model; /* held by the owner, READY */
    tkr_job_item *items;     /* [n_items] */
    size_t n_items;
    tkr_result_kind kind; /* TKR_RESULT_DENSE, or TKR_RESULT_TOKENS */
    tkr_lane lane;
    double deadline; /* tkr_now(); 0: none */
    /* Called once, from the scheduler's thread or one that submits, after tkr_scheduler_submit took the job (it may run
     * before that returns). The scheduler doesn't touch the job afterwards. Must not block. */
    void (*done)(struct tkr_job *job);
    /* Items computed so far; NULL: none wanted. From the scheduler's thread, at most ten a second a job. Must not
     * block. */
    void (*progress)(struct tkr_job *job, size_t done_items);
    void *user;
    /* results */
    tkr_status status; /* TKR_OK: look at each item; or TKR_CANCELLED, TKR_DEADLINE for the whole */
    /* Waiting until its first batch; stages of the batches that it was in, its share of their tokens. */
    double queue_s, pictures_s, tokenize_s, forward_s;
    size_t n_tokens; /* of all items that were computed */
    /* private to the scheduler */
    atomic_bool cancelled;
    size_t estimate;                   /* of the items that no batch took yet */
    size_t next_item, n_done, n_taken; /* n_taken: items of the batch that computes now */
    double submitted, started, reported, rate;
    double turn; /* tkr_now(), or somewhat later: the earliest is the next */
    struct tkr_job *next, *previous;
    uint8_t where;
} tkr_job;

typedef struct tkr_scheduler tkr_scheduler;

typedef struct tkr_scheduler_options {
    /* Of waiting work, in each of the two lanes; a job that finds its lane empty is always taken. 0: what about ten
     * seconds compute, and no less than four batches. */
    size_t max_queued_tokens;
    size_t max_batch_items; /* inputs of one batch */
    double quantum_s;       /* longest that interactive work waits for bulk work: about one yield */
    /* TKR_LANE_AUTO: a job of more estimated tokens is bulk; 0: what one quantum computes, and no less than one
     * batch of the model, as a text alone is rarely bulk. */
    size_t bulk_tokens;
    double bulk_share; /* of the time that bulk work gets at least while both wait, such as 0.2 */
} tkr_scheduler_options;

/* Starts its thread. Returns a scheduler. */
tkr_status tkr_scheduler_create(tkr_scheduler **scheduler, const tkr_scheduler_options *options, tkr_error *error);
/* Ends what waits and what computes with TKR_CANCELLED, then the thread. From now on jobs are refused with that. */
void tkr_scheduler_stop(tkr_scheduler *scheduler);
/* Stops it first. Nobody may be submitting. Accepts NULL. */
void tkr_scheduler_free(tkr_scheduler **scheduler);

/* Thread-safe. While nothing else is at work, a short job may be computed, and `done` called, in this very call.
 * TKR_LIMIT when the queue is full: then *retry_after_s is when it will have room, by the measured rate
 * and after those that were told so of late. TKR_DEADLINE when, by that rate, the job can't be done before its deadline
 * because of what waits: then *retry_after_s is when enough of that will be gone; all of it, where the job alone seems
 * to take longer than it may. In both cases `done` isn't called. A job that finds nothing waiting is taken. */
tkr_status tkr_scheduler_submit(tkr_scheduler *scheduler, tkr_job *job, double *retry_after_s, tkr_error *error);
/* Thread-safe; the job ends soon with TKR_CANCELLED (`done` is still called), or as if nothing had happened. Harmless
 * after `done` while the job's memory is there. */
void tkr_scheduler_cancel(tkr_scheduler *scheduler, tkr_job *job);
/* Frees rows and messages of the items. */
void tkr_job_free_results(tkr_job *job);

typedef struct tkr_scheduler_counts {
    size_t queued_jobs, queued_tokens, running_items;
    uint64_t batches, items, tokens, yields, cancelled, expired;
    double busy_s;       /* time spent computing */
    double tokens_per_s; /* computed of late (a few seconds), of all models */
    double oldest_s;     /* age of the oldest waiting job */
} tkr_scheduler_counts;
/* Thread-safe. */
void tkr_scheduler_get_counts(tkr_scheduler_counts *counts, tkr_scheduler *scheduler);
/* Called from the scheduler's thread after each batch: inputs, tokens, seconds. Set before the first submit. */
void tkr_scheduler_on_batch(tkr_scheduler *scheduler, void (*fn)(void *user, size_t n_items, size_t n_tokens, double s),
                            void *user);

#endif
