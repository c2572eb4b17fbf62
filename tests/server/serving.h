/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of the scheduler share: a model served without settings, jobs of made-up texts, waiting for their ends. */
#ifndef TESTS_SERVER_SERVING_H
#define TESTS_SERVER_SERVING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/sync.h"
#include "server/schedule.h"

/* A model with both of its sessions, as models.c would give it. */
static inline void served_open(tkr_served_model *served, const char *reference, tkr_quantization quantization) {
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_model_options options;
    tkr_model_options_init(&options);
    options.offline = 1;
    options.quantization = quantization;
    memset(served, 0, sizeof *served);
    served->name = served->reference = reference;
    if (tkr_model_load(&served->model, reference, &options, &error) != TKR_OK ||
        tkr_session_create(&served->sessions[0], served->model, &error) != TKR_OK ||
        tkr_session_create(&served->sessions[1], served->model, &error) != TKR_OK)
        fail_msg("%s: %s", reference, error.message);
    served->info = tkr_model_get_info(served->model);
    served->state = TKR_MODEL_READY;
}

static inline void served_close(tkr_served_model *served) {
    tkr_session_free(&served->sessions[0]);
    tkr_session_free(&served->sessions[1]);
    tkr_model_free(&served->model);
}

/* Counts the ends of jobs, and puts them in order. */
typedef struct ends {
    tkr_mutex lock;
    tkr_cond changed;
    unsigned n;
} ends;

static inline void ends_init(ends *e) {
    tkr_mutex_init(&e->lock);
    tkr_cond_init(&e->changed);
    e->n = 0;
}

static inline void ends_destroy(ends *e) {
    tkr_cond_destroy(&e->changed);
    tkr_mutex_destroy(&e->lock);
}

/* A job with what it takes to wait for it. */
typedef struct ticket {
    tkr_job job;
    ends *ends;
    char *text;     /* of all items: each takes a piece */
    unsigned place; /* 1: the first job that ended; 0: not yet */
    unsigned n_progress;
} ticket;

static inline void ticket_done(tkr_job *job) {
    ticket *t = job->user;
    ends *e = t->ends;
    tkr_mutex_lock(&e->lock);
    if (t->place) abort(); /* a second time */
    t->place = ++e->n;
    tkr_cond_broadcast(&e->changed);
    tkr_mutex_unlock(&e->lock);
}

/* A job of n texts of `words` words each, which differ by `seed`. */
static inline void ticket_open(ticket *t, ends *e, tkr_served_model *served, size_t n, size_t words, unsigned seed) {
    static const char *const vocabulary[] = {"river", "stone", "green", "seven", "walk", "house", "light", "under"};
    tkr_buf text = {0};
    memset(t, 0, sizeof *t);
    t->ends = e;
    t->job.items = calloc(n ? n : 1, sizeof *t->job.items);
    assert_non_null(t->job.items);
    size_t *starts = calloc(n + 1, sizeof *starts);
    assert_non_null(starts);
    for (size_t i = 0; i < n; i++) {
        starts[i] = text.size;
        for (size_t w = 0; w < words; w++) {
            seed = seed * 1664525u + 1013904223u;
            assert_true(tkr_buf_printf(&text, "%s ", vocabulary[seed >> 29]));
        }
    }
    starts[n] = text.size;
    t->text = text.data;
    for (size_t i = 0; i < n; i++) {
        t->job.items[i].input = (tkr_input){.text = t->text + starts[i], .n_text = starts[i + 1] - starts[i]};
        tkr_embed_options_init(&t->job.items[i].options);
    }
    free(starts);
    t->job.n_items = n;
    t->job.model = served;
    t->job.done = ticket_done;
    t->job.user = t;
}

static inline void ticket_close(ticket *t) {
    tkr_job_free_results(&t->job);
    free(t->job.items);
    tkr_free(t->text);
}

/* Waits until the job has ended: a minute at most. */
static inline void ticket_wait(ticket *t) {
    const double until = tkr_now() + 60;
    tkr_mutex_lock(&t->ends->lock);
    while (!t->place && tkr_cond_wait_until(&t->ends->changed, &t->ends->lock, until)) continue;
    const bool ended = t->place != 0;
    tkr_mutex_unlock(&t->ends->lock);
    if (!ended) fail_msg("a job has not ended after a minute");
}

static inline void ticket_submit(ticket *t, tkr_scheduler *scheduler) {
    tkr_error error = {TKR_OK, NULL, ""};
    double retry = 0;
    if (tkr_scheduler_submit(scheduler, &t->job, &retry, &error) != TKR_OK) fail_msg("%s", error.message);
}

/* Every item has its vector. */
static inline void ticket_expect_fine(const ticket *t) {
    assert_int_equal(t->job.status, TKR_OK);
    for (size_t i = 0; i < t->job.n_items; i++) {
        const tkr_job_item *item = &t->job.items[i];
        if (item->status != TKR_OK) fail_msg("item %zu: %s", i, item->message ? item->message : "no message");
        if (item->cached) continue;
        assert_non_null(item->rows);
        assert_true(item->n_rows > 0 && item->dimensions > 0 && item->n_tokens > 0);
    }
}

/* Room for everything, small batches, so that there are many. */
static const tkr_scheduler_options usual = {
    .max_queued_tokens = 100000000, .max_batch_items = 64, .quantum_s = 0.005, .bulk_share = 0.2};

static tkr_served_model served;

static inline int open_model(void **state) {
    (void)state;
    served_open(&served, TKR_TEST_DIR "/golden/bert/bert-mean/model", TKR_QUANTIZATION_NONE);
    return 0;
}

static inline int close_model(void **state) {
    (void)state;
    served_close(&served);
    return 0;
}

static inline tkr_scheduler *start(const tkr_scheduler_options *options) {
    tkr_scheduler *scheduler = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_scheduler_create(&scheduler, options, &error) != TKR_OK) fail_msg("%s", error.message);
    return scheduler;
}

static inline tkr_scheduler_counts counts_of(tkr_scheduler *scheduler) {
    tkr_scheduler_counts counts;
    tkr_scheduler_get_counts(&counts, scheduler);
    return counts;
}

/* Waits until the scheduler has begun to compute. */
static inline void wait_for_batches(tkr_scheduler *scheduler, uint64_t n) {
    const double until = tkr_now() + 60;
    while (counts_of(scheduler).batches < n)
        if (tkr_now() > until) fail_msg("nothing was computed for a minute");
}

#endif
