/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler answers every job once, whatever happens: cancelling, deadlines, full queues, its own end, many
 * threads, failing allocations. It refuses what it can't do in time. */
#include "core/fsops.h"
#include "serving.h"

#include "../countdown.h"

/* ---- what doesn't come to its end ---- */

static void cancelled_jobs_end(void **state) {
    (void)state;
    ends e;
    ticket running, waiting, fine, late;
    ends_init(&e);
    tkr_scheduler *scheduler = start(&usual);
    ticket_open(&running, &e, &served, 20000, 20, 1);
    ticket_open(&waiting, &e, &served, 20000, 20, 2);
    ticket_open(&fine, &e, &served, 10, 5, 3);
    ticket_open(&late, &e, &served, 10, 5, 4);
    running.job.lane = waiting.job.lane = fine.job.lane = TKR_LANE_BULK;
    atomic_store(&waiting.job.cancelled, true); /* before it was handed in */
    ticket_submit(&running, scheduler);
    wait_for_batches(scheduler, 1);
    ticket_submit(&waiting, scheduler);
    ticket_wait(&waiting);
    assert_int_equal(waiting.job.status, TKR_CANCELLED);
    assert_int_equal(waiting.job.n_tokens, 0);
    tkr_scheduler_cancel(scheduler, &running.job);
    ticket_wait(&running);
    assert_int_equal(running.job.status, TKR_CANCELLED);
    assert_true(running.job.n_tokens < 20000 * 20);
    ticket_submit(&fine, scheduler);
    ticket_wait(&fine);
    ticket_expect_fine(&fine);
    tkr_scheduler_cancel(scheduler, &fine.job); /* too late, and harmless */
    ticket_submit(&late, scheduler);
    ticket_wait(&late);
    ticket_expect_fine(&late);
    const tkr_scheduler_counts counts = counts_of(scheduler);
    assert_int_equal(counts.cancelled, 2);
    assert_int_equal(counts.queued_jobs + counts.queued_tokens + counts.running_items, 0);
    tkr_scheduler_free(&scheduler);
    ticket_close(&running);
    ticket_close(&waiting);
    ticket_close(&fine);
    ticket_close(&late);
    ends_destroy(&e);
}

static void deadlines_end_jobs(void **state) {
    (void)state;
    ends e;
    ticket bulk, waiting;
    ends_init(&e);
    tkr_scheduler *scheduler = start(&usual);
    served.tokens_per_s = 1e9; /* far from true: both are let in */
    ticket_open(&bulk, &e, &served, 50000, 20, 1);
    ticket_open(&waiting, &e, &served, 50000, 20, 2);
    bulk.job.deadline = tkr_now() + 0.6;
    waiting.job.deadline = tkr_now() + 0.3;
    ticket_submit(&bulk, scheduler);
    ticket_submit(&waiting, scheduler);
    ticket_wait(&waiting);
    ticket_wait(&bulk);
    assert_int_equal(waiting.job.status, TKR_DEADLINE);
    assert_int_equal(bulk.job.status, TKR_DEADLINE);
    assert_int_equal(counts_of(scheduler).expired, 2);
    tkr_scheduler_free(&scheduler);
    served.tokens_per_s = 0;
    ticket_close(&bulk);
    ticket_close(&waiting);
    ends_destroy(&e);
}

/* ---- refusals, with the scheduler held still: the queues and the speed are what a test says ---- */

typedef struct still {
    ends ends;
    ticket gate;
    tkr_scheduler *scheduler;
    atomic_bool open;
} still;

static void wait_at_the_gate(tkr_job *job) {
    ticket *t = job->user;
    still *s = (still *)((char *)t - offsetof(still, gate));
    ticket_done(job);
    while (!atomic_load(&s->open)) tkr_sleep(0.001);
}

static void still_open(still *s, const tkr_scheduler_options *options, double tokens_per_s) {
    atomic_store(&s->open, false);
    ends_init(&s->ends);
    s->scheduler = start(options);
    ticket_open(&s->gate, &s->ends, &served, 1, 5, 1);
    s->gate.job.lane = TKR_LANE_BULK;
    s->gate.job.done = wait_at_the_gate;
    ticket_submit(&s->gate, s->scheduler);
    ticket_wait(&s->gate);
    served.tokens_per_s = tokens_per_s;
}

/* Lets it go on, and ends it. */
static void still_close(still *s) {
    atomic_store(&s->open, true);
    tkr_scheduler_free(&s->scheduler);
    served.tokens_per_s = 0;
    ticket_close(&s->gate);
    ends_destroy(&s->ends);
}

/* A bulk job that by its estimate takes about so many seconds of 1000 tokens each. */
static void ticket_of_seconds(ticket *t, still *s, double seconds, double deadline) {
    ticket_open(t, &s->ends, &served, (size_t)(seconds * 50), 1, 1);
    t->job.lane = TKR_LANE_BULK;
    t->job.deadline = deadline > 0 ? tkr_now() + deadline : 0;
    for (size_t i = 0; i < t->job.n_items; i++) { /* 20 tokens, whatever was learnt of texts */
        static const int32_t ids[20] = {0};
        t->job.items[i].input = (tkr_input){.kind = TKR_INPUT_TOKENS, .ids = ids, .n_ids = sizeof ids / sizeof *ids};
    }
}

static double refused(still *s, ticket *t, tkr_status expected, const char *message) {
    tkr_error error = {TKR_OK, NULL, ""};
    double retry = 0;
    assert_int_equal(tkr_scheduler_submit(s->scheduler, &t->job, &retry, &error), expected);
    if (!strstr(error.message, message)) fail_msg("%s", error.message);
    assert_int_equal(t->place, 0); /* never taken */
    return retry;
}

static void with_nothing_waiting_any_deadline_has_its_chance(void **state) {
    (void)state;
    still s;
    ticket slow, passed;
    still_open(&s, &usual, 1000);
    ticket_of_seconds(&slow, &s, 200, 60);
    ticket_submit(&slow, s.scheduler);
    tkr_scheduler_cancel(s.scheduler, &slow.job);
    atomic_store(&s.open, true);
    ticket_wait(&slow);
    ticket_of_seconds(&passed, &s, 1, 1e-9);
    ticket_submit(&passed, s.scheduler);
    ticket_wait(&passed);
    assert_int_equal(passed.job.status, TKR_DEADLINE); /* which decides */
    still_close(&s);
    ticket_close(&slow);
    ticket_close(&passed);
}

static void late_because_of_others_is_told_when_they_are_gone(void **state) {
    (void)state;
    still s;
    ticket first, fits, fitting, late, hopeless;
    still_open(&s, &usual, 1000);
    ticket_of_seconds(&first, &s, 8, 0);
    ticket_of_seconds(&fits, &s, 5, 30);
    ticket_of_seconds(&fitting, &s, 1, 20);
    ticket_of_seconds(&late, &s, 6, 10);
    ticket_of_seconds(&hopeless, &s, 300, 10);
    ticket_submit(&first, s.scheduler);
    ticket_submit(&fits, s.scheduler);
    ticket_submit(&fitting, s.scheduler);
    late.job.deadline = tkr_now() + 10;
    const double some = refused(&s, &late, TKR_DEADLINE, "after 12.00 of what waits before it"); /* in turns */
    assert_true(some > 9.99 && some < 11);                                                       /* 14 wait, 4 may */
    for (unsigned i = 0; i < 2; i++) { /* and asking again moves nothing */
        const double all = refused(&s, &hopeless, TKR_DEADLINE, "it would take 300.00 seconds after 14.00");
        assert_true(all > 13.99 && all < 14.01);
    }
    still_close(&s);
    ticket_close(&first);
    ticket_close(&fits);
    ticket_close(&fitting);
    ticket_close(&late);
    ticket_close(&hopeless);
}

static void what_waits_is_gone_by_its_deadline(void **state) {
    (void)state;
    still s;
    ticket first, late;
    still_open(&s, &usual, 1000);
    ticket_of_seconds(&first, &s, 200, 60);
    ticket_of_seconds(&late, &s, 100, 60);
    ticket_submit(&first, s.scheduler);
    const double retry = refused(&s, &late, TKR_DEADLINE, "it would take 100.00 seconds after 100.00");
    assert_true(retry > 50 && retry <= 60);
    still_close(&s);
    ticket_close(&first);
    ticket_close(&late);
}

static void a_little_in_front_makes_nobody_late(void **state) {
    (void)state;
    still s;
    ticket first, slow;
    still_open(&s, &usual, 1000);
    ticket_of_seconds(&first, &s, 1, 60);
    ticket_of_seconds(&slow, &s, 200, 60);
    ticket_submit(&first, s.scheduler);
    ticket_submit(&slow, s.scheduler);
    still_close(&s);
    ticket_close(&first);
    ticket_close(&slow);
}

static void refusals_are_told_one_after_the_other_and_forgotten(void **state) {
    (void)state;
    still s;
    ticket first, next;
    double most = 0;
    tkr_scheduler_options options = usual;
    options.max_queued_tokens = 100;
    still_open(&s, &options, 2000);
    ticket_of_seconds(&first, &s, 4, 0); /* 2 at this speed */
    ticket_of_seconds(&next, &s, 1, 0);  /* 0.5 */
    ticket_submit(&first, s.scheduler);
    const double one = refused(&s, &next, TKR_LIMIT, "4000 tokens, 2.00 seconds; try again in 2.00");
    const double two = refused(&s, &next, TKR_LIMIT, "2.00 seconds, and others were told to come before; try again");
    assert_true(two > one && two < one + 0.51);
    served.tokens_per_s = 40000; /* 0.1 and 0.025 */
    tkr_sleep(1);
    for (const double end = tkr_now() + 1; tkr_now() < end;) { /* at least four times what can be done */
        const double again = refused(&s, &next, TKR_LIMIT, "try again in");
        most = again > most ? again : most;
        tkr_sleep(0.006);
    }
    assert_true(most < 1); /* not ever more */
    tkr_sleep(1);
    assert_true(refused(&s, &next, TKR_LIMIT, "try again in") < 0.11);
    still_close(&s);
    ticket_close(&first);
    ticket_close(&next);
}

static void a_full_queue_refuses(void **state) {
    (void)state;
    ends e;
    ticket first, second, third, small;
    tkr_error error = {TKR_OK, NULL, ""};
    double retry = 0;
    ends_init(&e);
    const tkr_scheduler_options options = {
        .max_queued_tokens = 300000, .max_batch_items = 64, .quantum_s = 0.005, .bulk_share = 0.2};
    tkr_scheduler *scheduler = start(&options);
    ticket_open(&first, &e, &served, 20000, 20, 1);
    ticket_open(&second, &e, &served, 1000, 20, 2);
    ticket_open(&third, &e, &served, 20000, 20, 3);
    ticket_open(&small, &e, &served, 1, 5, 4);
    first.job.lane = second.job.lane = third.job.lane = TKR_LANE_BULK;
    ticket_submit(&first, scheduler); /* larger than the queue, which is empty */
    wait_for_batches(scheduler, 4);
    assert_int_equal(tkr_scheduler_submit(scheduler, &third.job, &retry, &error), TKR_LIMIT);
    const tkr_scheduler_counts counts = counts_of(scheduler);
    const double drains = (double)counts.queued_tokens / served.tokens_per_s; /* the whole queue */
    assert_true(retry > drains / 2 && retry < drains * 2);
    assert_non_null(strstr(error.message, "try again"));
    ticket_submit(&small, scheduler); /* the other lane is open */
    ticket_wait(&small);
    tkr_scheduler_cancel(scheduler, &first.job);
    ticket_wait(&first);
    ticket_submit(&second, scheduler);
    ticket_wait(&second);
    ticket_expect_fine(&second);
    tkr_scheduler_free(&scheduler);
    ticket_close(&first);
    ticket_close(&second);
    ticket_close(&third);
    ticket_close(&small);
    ends_destroy(&e);
}

static void the_end_answers_everybody(void **state) {
    (void)state;
    enum { N = 30 };
    ends e;
    ticket bulk, small[N];
    ends_init(&e);
    tkr_scheduler *scheduler = start(&usual);
    ticket_open(&bulk, &e, &served, 20000, 20, 1);
    bulk.job.lane = TKR_LANE_BULK;
    ticket_submit(&bulk, scheduler);
    for (unsigned i = 0; i < N; i++) {
        ticket_open(&small[i], &e, &served, 3, 20, i);
        ticket_submit(&small[i], scheduler);
    }
    tkr_scheduler_free(&scheduler);
    assert_int_equal(e.n, N + 1);
    assert_int_equal(bulk.job.status, TKR_CANCELLED);
    for (unsigned i = 0; i < N; i++) {
        assert_true(small[i].job.status == TKR_OK || small[i].job.status == TKR_CANCELLED);
        ticket_close(&small[i]);
    }
    ticket_close(&bulk);
    ends_destroy(&e);
}

/* ---- many at once ---- */

enum { N_THREADS = 4, N_ROUNDS = 400, N_OPEN = 8 };

typedef struct crowd {
    tkr_scheduler *scheduler;
    ends *ends;
    unsigned seed;
    unsigned n_fine, n_ended, n_refused;
} crowd;

static unsigned next_random(unsigned *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

static void settle(crowd *c, ticket *t) {
    ticket_wait(t);
    if (t->job.status == TKR_OK) {
        ticket_expect_fine(t);
        c->n_fine++;
    } else {
        assert_true(t->job.status == TKR_CANCELLED || t->job.status == TKR_DEADLINE);
        c->n_ended++;
    }
    ticket_close(t);
}

/* Submits, cancels and waits at random. */
static void visit(void *arg) {
    crowd *c = arg;
    ticket tickets[N_OPEN];
    bool open[N_OPEN] = {false};
    for (unsigned round = 0; round < N_ROUNDS; round++) {
        const unsigned k = next_random(&c->seed) % N_OPEN, what = next_random(&c->seed) % 8;
        if (open[k] && what < 2) tkr_scheduler_cancel(c->scheduler, &tickets[k].job);
        if (open[k]) settle(c, &tickets[k]);
        const unsigned n = what == 7 ? 60 : 1 + next_random(&c->seed) % 3;
        ticket_open(&tickets[k], c->ends, &served, n, 1 + next_random(&c->seed) % 12, c->seed);
        tickets[k].job.lane = (tkr_lane)(next_random(&c->seed) % 3);
        if (what == 6) tickets[k].job.deadline = tkr_now() + 1e-4 * (next_random(&c->seed) % 20);
        double retry = 0;
        open[k] = tkr_scheduler_submit(c->scheduler, &tickets[k].job, &retry, NULL) == TKR_OK;
        if (!open[k]) {
            c->n_refused++;
            ticket_close(&tickets[k]);
        }
        const unsigned other = next_random(&c->seed) % N_OPEN;
        if (open[other] && what == 5) tkr_scheduler_cancel(c->scheduler, &tickets[other].job);
    }
    for (unsigned k = 0; k < N_OPEN; k++)
        if (open[k]) settle(c, &tickets[k]);
}

static void crowds_are_answered(void **state) {
    (void)state;
    ends e;
    crowd crowds[N_THREADS];
    tkr_thread *threads[N_THREADS];
    ends_init(&e);
    tkr_scheduler *scheduler = start(&usual);
    for (unsigned i = 0; i < N_THREADS; i++) {
        crowds[i] = (crowd){.scheduler = scheduler, .ends = &e, .seed = i + 1};
        assert_int_equal(tkr_thread_start(&threads[i], "visitor", visit, &crowds[i], NULL), TKR_OK);
    }
    unsigned n_fine = 0, n_ended = 0, n_refused = 0;
    for (unsigned i = 0; i < N_THREADS; i++) {
        tkr_thread_join(&threads[i]);
        n_fine += crowds[i].n_fine;
        n_ended += crowds[i].n_ended;
        n_refused += crowds[i].n_refused;
    }
    const tkr_scheduler_counts counts = counts_of(scheduler);
    print_message("%u jobs fine, %u cancelled or late, %u refused, %llu yields\n", n_fine, n_ended, n_refused,
                  (unsigned long long)counts.yields);
    assert_int_equal(n_fine + n_ended + n_refused, N_THREADS * N_ROUNDS);
    assert_int_equal(n_fine + n_ended, e.n);
    assert_true(n_fine > N_THREADS * N_ROUNDS / 4);
    assert_int_equal(counts.cancelled + counts.expired, n_ended);
    assert_int_equal(counts.queued_jobs + counts.queued_tokens + counts.running_items, 0);
    tkr_scheduler_free(&scheduler);
    ends_destroy(&e);
}

/* ---- without memory ---- */

/* Whatever allocation fails, each job ends, and each item has its vector or its reason. */
static void failing_allocations_leave_no_job_unanswered(void **state) {
    (void)state;
    ends e;
    ends_init(&e);
    tkr_scheduler *scheduler = start(&usual);
    unsigned n_failed = 0;
    for (long n = 0;; n++) {
        ticket t;
        countdown count = {n};
        ticket_open(&t, &e, &served, 5, 4, 1);
        t.job.items[4].options.dimensions = 1000000; /* fails, with a message that needs memory */
        tkr_seam_set(fail_nth, &count);
        ticket_submit(&t, scheduler);
        ticket_wait(&t);
        tkr_seam_set(NULL, NULL);
        assert_int_equal(t.job.status, TKR_OK);
        for (size_t i = 0; i < 4; i++) {
            const tkr_job_item *item = &t.job.items[i];
            assert_true(item->status == TKR_OK || item->status == TKR_NO_MEMORY);
            assert_true((item->status == TKR_OK) == (item->rows != NULL));
            n_failed += item->status != TKR_OK;
        }
        assert_true(t.job.items[4].status == TKR_INVALID_ARGUMENT || t.job.items[4].status == TKR_NO_MEMORY);
        ticket_close(&t);
        if (count.left >= 0) break;
    }
    assert_true(n_failed > 0);
    tkr_scheduler_free(&scheduler);
    for (long n = 0;; n++) {
        countdown count = {n};
        tkr_seam_set(fail_nth, &count);
        const tkr_status status = tkr_scheduler_create(&scheduler, &usual, NULL);
        tkr_seam_set(NULL, NULL);
        if (status == TKR_OK) break;
        assert_int_equal(status, TKR_NO_MEMORY);
        assert_null(scheduler);
    }
    tkr_scheduler_free(&scheduler);
    ends_destroy(&e);
}

static void bad_options_are_refused(void **state) {
    (void)state;
    static const tkr_scheduler_options bad[] = {
        {.max_batch_items = 0, .quantum_s = 0.01, .bulk_share = 0.2},
        {.max_batch_items = 1, .quantum_s = 0, .bulk_share = 0.2},
        {.max_batch_items = 1, .quantum_s = 0.01, .bulk_share = 1.5},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tkr_scheduler *scheduler = NULL;
        tkr_error error = {TKR_OK, NULL, ""};
        assert_int_equal(tkr_scheduler_create(&scheduler, &bad[i], &error), TKR_INVALID_ARGUMENT);
        assert_null(scheduler);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancelled_jobs_end),
        cmocka_unit_test(deadlines_end_jobs),
        cmocka_unit_test(with_nothing_waiting_any_deadline_has_its_chance),
        cmocka_unit_test(late_because_of_others_is_told_when_they_are_gone),
        cmocka_unit_test(what_waits_is_gone_by_its_deadline),
        cmocka_unit_test(a_little_in_front_makes_nobody_late),
        cmocka_unit_test(refusals_are_told_one_after_the_other_and_forgotten),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(the_end_answers_everybody),
        cmocka_unit_test(crowds_are_answered),
        cmocka_unit_test(failing_allocations_leave_no_job_unanswered),
        cmocka_unit_test(bad_options_are_refused),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
