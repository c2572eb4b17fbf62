/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler answers every job once: in order, interactive work before bulk work, bulk jobs in turns; it refuses
 * what it can't do, stops what nobody wants, and computes the same bits as a plain call. */
#include "server/schedule_internal.h"
#include "serving.h"

/* The rows of a plain call are those of the job, bit by bit. */
static void expect_same_bits(const ticket *t, tkr_session *session) {
    for (size_t i = 0; i < t->job.n_items; i++) {
        const tkr_job_item *item = &t->job.items[i];
        tkr_input input = item->input;
        tkr_result *result = NULL;
        input.options = NULL;
        assert_int_equal(tkr_embed(&result, session, &input, 1, &item->options, NULL), TKR_OK);
        const tkr_result_item want = tkr_result_get(result, 0);
        assert_int_equal(item->n_rows, want.n_rows);
        assert_int_equal(item->dimensions, want.dimensions);
        assert_int_equal(item->n_tokens, want.n_tokens);
        assert_memory_equal(item->rows, want.rows, want.n_rows * want.dimensions * sizeof *want.rows);
        tkr_result_free(&result);
    }
}

static void bits_are_those_of_a_plain_call(void **state) {
    (void)state;
    enum { N = 24 };
    ends e;
    ticket tickets[N], bulk;
    ends_init(&e);
    tkr_scheduler *scheduler = start(&usual);
    ticket_open(&bulk, &e, &served, 500, 12, 99);
    bulk.job.lane = TKR_LANE_BULK;
    ticket_submit(&bulk, scheduler);
    for (unsigned i = 0; i < N; i++) {
        ticket_open(&tickets[i], &e, &served, 1 + i % 3, 1 + i * 2, i);
        tickets[i].job.items[0].options.dimensions = i % 2 ? 0 : 5;
        tickets[i].job.items[0].options.normalize = i % 4 == 3 ? TKR_NO : TKR_DEFAULT;
        ticket_submit(&tickets[i], scheduler);
    }
    for (unsigned i = 0; i < N; i++) ticket_wait(&tickets[i]);
    ticket_wait(&bulk);
    const tkr_scheduler_counts counts = counts_of(scheduler);
    tkr_scheduler_free(&scheduler);
    for (unsigned i = 0; i < N; i++) {
        ticket_expect_fine(&tickets[i]);
        expect_same_bits(&tickets[i], served.sessions[0]);
        ticket_close(&tickets[i]);
    }
    ticket_expect_fine(&bulk);
    expect_same_bits(&bulk, served.sessions[0]);
    ticket_close(&bulk);
    assert_int_equal(counts.queued_jobs + counts.queued_tokens + counts.running_items, 0);
    assert_int_equal(counts.items, 500 + 8 * (1 + 2 + 3));
    ends_destroy(&e);
}

static void token_states_and_failures_stay_with_their_items(void **state) {
    (void)state;
    ends e;
    ticket states, mixed;
    ends_init(&e);
    tkr_scheduler *scheduler = start(&usual);
    ticket_open(&states, &e, &served, 2, 4, 1);
    states.job.kind = TKR_RESULT_TOKENS;
    ticket_open(&mixed, &e, &served, 3, 4, 2);
    mixed.job.items[1].options.dimensions = 1000000; /* more than there are */
    mixed.job.items[2].cached = true;
    ticket_submit(&states, scheduler);
    ticket_submit(&mixed, scheduler);
    ticket_wait(&states);
    ticket_wait(&mixed);
    tkr_scheduler_free(&scheduler);
    ticket_expect_fine(&states);
    assert_int_equal(states.job.items[0].n_rows, states.job.items[0].n_tokens);
    assert_int_equal(states.job.n_tokens, states.job.items[0].n_tokens + states.job.items[1].n_tokens);
    assert_int_equal(mixed.job.status, TKR_OK);
    assert_int_equal(mixed.job.items[0].status, TKR_OK);
    assert_int_equal(mixed.job.items[1].status, TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(mixed.job.items[1].message, "1000000"));
    assert_null(mixed.job.items[1].rows);
    assert_null(mixed.job.items[2].rows);
    ticket_close(&states);
    ticket_close(&mixed);
    ends_destroy(&e);
}

static void nothing_to_compute_is_answered_at_once(void **state) {
    (void)state;
    ends e;
    ticket empty, cached;
    ends_init(&e);
    tkr_scheduler *scheduler = start(&usual);
    ticket_open(&empty, &e, &served, 0, 1, 1);
    ticket_open(&cached, &e, &served, 2, 1, 1);
    cached.job.items[0].cached = cached.job.items[1].cached = true;
    ticket_submit(&empty, scheduler);
    ticket_wait(&empty);
    ticket_submit(&cached, scheduler);
    ticket_wait(&cached);
    ticket_expect_fine(&cached);
    assert_int_equal(counts_of(scheduler).batches, 0);
    tkr_scheduler_free(&scheduler);
    ticket_close(&empty);
    ticket_close(&cached);
    ends_destroy(&e);
}

/* ---- order ---- */

static void interactive_work_overtakes_bulk_work(void **state) {
    (void)state;
    enum { N = 20 };
    ends e;
    ticket bulk, small[N];
    ends_init(&e);
    tkr_scheduler *scheduler = start(&usual);
    ticket_open(&bulk, &e, &served, 6000, 10, 7);
    ticket_submit(&bulk, scheduler); /* by its size */
    for (unsigned i = 0; i < N; i++) {
        wait_for_batches(scheduler, 2 * (i + 1));
        ticket_open(&small[i], &e, &served, 1, 5, i);
        ticket_submit(&small[i], scheduler);
        ticket_wait(&small[i]);
        tkr_mutex_lock(&e.lock);
        assert_int_equal(small[i].place, i + 1);
        assert_int_equal(bulk.place, 0);
        tkr_mutex_unlock(&e.lock);
    }
    ticket_wait(&bulk);
    ticket_expect_fine(&bulk);
    assert_int_equal(bulk.place, N + 1);
    tkr_scheduler_free(&scheduler);
    for (unsigned i = 0; i < N; i++) {
        ticket_expect_fine(&small[i]);
        ticket_close(&small[i]);
    }
    ticket_close(&bulk);
    ends_destroy(&e);
}

static void queues_keep_turns(void **state) {
    (void)state;
    static const double turns[] = {5, 3, 4, 3, 9, 1, 4};
    static const unsigned order[] = {5, 1, 3, 2, 6, 0, 4};
    enum { N = sizeof turns / sizeof *turns };
    tkr_queue queue = {0};
    tkr_job jobs[N];
    memset(jobs, 0, sizeof jobs);
    for (unsigned i = 0; i < N; i++) {
        jobs[i].turn = turns[i];
        jobs[i].estimate = 1 + i;
        jobs[i].rate = 2;
        tkr_queue_insert(&queue, &jobs[i]);
    }
    assert_int_equal(queue.n_tokens, N * (N + 1) / 2);
    const tkr_job *job = queue.head, *last = NULL;
    for (unsigned i = 0; i < N; i++, last = job, job = job->next) {
        assert_ptr_equal(job, &jobs[order[i]]);
        assert_ptr_equal(job->previous, last);
    }
    assert_null(job);
    assert_ptr_equal(queue.tail, last);
    for (unsigned i = 0; i < N; i++) tkr_queue_unlink(&queue, &jobs[i]);
    assert_null(queue.head);
    assert_null(queue.tail);
    assert_int_equal(queue.n_tokens, 0);
}

static void interactive_jobs_keep_their_order(void **state) {
    (void)state;
    enum { N = 200 };
    ends e;
    static ticket tickets[N];
    ends_init(&e);
    const tkr_scheduler_options options = {.max_batch_items = 7, .quantum_s = 0.005, .bulk_share = 0.2};
    tkr_scheduler *scheduler = start(&options);
    for (unsigned i = 0; i < N; i++) ticket_open(&tickets[i], &e, &served, 1, 5, 1);
    for (unsigned i = 0; i < N; i++) ticket_submit(&tickets[i], scheduler);
    for (unsigned i = 0; i < N; i++) {
        ticket_wait(&tickets[i]);
        assert_int_equal(tickets[i].place, i + 1);
        ticket_close(&tickets[i]);
    }
    assert_true(counts_of(scheduler).batches >= N / 7);
    tkr_scheduler_free(&scheduler);
    ends_destroy(&e);
}

static void short_jobs_pass_long_ones(void **state) {
    (void)state;
    enum { N = 20 };
    ends e;
    ticket large, small[N];
    ends_init(&e);
    const tkr_scheduler_options options = {.max_batch_items = 4, .quantum_s = 0.005, .bulk_share = 0.2};
    tkr_scheduler *scheduler = start(&options);
    ticket_open(&large, &e, &served, 3000, 10, 1);
    large.job.lane = TKR_LANE_INTERACTIVE;
    ticket_submit(&large, scheduler);
    wait_for_batches(scheduler, 1);
    for (unsigned i = 0; i < N; i++) {
        ticket_open(&small[i], &e, &served, 1, 5, 2);
        ticket_submit(&small[i], scheduler);
    }
    ticket_wait(&large);
    for (unsigned i = 0; i < N; i++) {
        ticket_wait(&small[i]);
        assert_int_equal(small[i].place, i + 1);
        ticket_expect_fine(&small[i]);
    }
    ticket_expect_fine(&large);
    tkr_scheduler_free(&scheduler);
    for (unsigned i = 0; i < N; i++) ticket_close(&small[i]);
    ticket_close(&large);
    ends_destroy(&e);
}

static void small_bulk_jobs_pass_giant_ones(void **state) {
    (void)state;
    ends e;
    ticket giant, small;
    ends_init(&e);
    tkr_scheduler *scheduler = start(&usual);
    ticket_open(&giant, &e, &served, 6000, 10, 1);
    ticket_open(&small, &e, &served, 200, 10, 2);
    giant.job.lane = small.job.lane = TKR_LANE_BULK;
    ticket_submit(&giant, scheduler);
    wait_for_batches(scheduler, 1);
    ticket_submit(&small, scheduler);
    ticket_wait(&small);
    ticket_wait(&giant);
    assert_int_equal(small.place, 1);
    ticket_expect_fine(&small);
    ticket_expect_fine(&giant);
    tkr_scheduler_free(&scheduler);
    ticket_close(&giant);
    ticket_close(&small);
    ends_destroy(&e);
}

/* Short interactive work that never ends. */
typedef struct stream {
    tkr_scheduler *scheduler;
    ticket *ticket;
    atomic_bool stop;
} stream;

static void submit_again(tkr_job *job) {
    ticket *t = job->user;
    stream *s = (stream *)(void *)t->ends;
    double retry = 0;
    tkr_job_free_results(job);
    if (atomic_load(&s->stop) || tkr_scheduler_submit(s->scheduler, job, &retry, NULL) != TKR_OK) t->place = 1;
}

enum { STREAMS = 3 };

static void ends_beside_a_stream(const tkr_scheduler_options *options, size_t n_items, tkr_lane lane) {
    enum { N = STREAMS };
    ends e;
    ticket large, others[N];
    stream s = {.scheduler = start(options)};
    ends_init(&e);
    for (unsigned i = 0; i < N; i++) {
        ticket_open(&others[i], (ends *)(void *)&s, &served, 1, 20, i);
        others[i].job.done = submit_again;
        others[i].job.lane = TKR_LANE_INTERACTIVE;
        ticket_submit(&others[i], s.scheduler);
    }
    ticket_open(&large, &e, &served, n_items, 10, 5);
    large.job.lane = lane;
    ticket_submit(&large, s.scheduler);
    ticket_wait(&large);
    ticket_expect_fine(&large);
    assert_true(counts_of(s.scheduler).items > n_items + 100);
    atomic_store(&s.stop, true);
    tkr_scheduler_free(&s.scheduler);
    for (unsigned i = 0; i < N; i++) ticket_close(&others[i]);
    ticket_close(&large);
    ends_destroy(&e);
}

static void bulk_work_has_its_share(void **state) {
    (void)state;
    ends_beside_a_stream(&usual, 1500, TKR_LANE_BULK);
}

static void long_jobs_are_not_passed_for_ever(void **state) {
    (void)state;
    const tkr_scheduler_options options = {/* the stream fills every batch */
                                           .max_batch_items = STREAMS,
                                           .quantum_s = 0.005,
                                           .bulk_share = 0.2};
    ends_beside_a_stream(&options, 1000, TKR_LANE_INTERACTIVE);
}

static void tell(tkr_job *job, size_t done_items) {
    ticket *t = job->user;
    assert_true(done_items > 0 && done_items < job->n_items);
    t->n_progress++;
}

static void progress_is_told(void **state) {
    (void)state;
    ends e;
    ticket bulk;
    ends_init(&e);
    tkr_scheduler *scheduler = start(&usual);
    ticket_open(&bulk, &e, &served, 5000, 10, 1);
    bulk.job.progress = tell;
    ticket_submit(&bulk, scheduler);
    ticket_wait(&bulk);
    assert_true(bulk.n_progress >= 1);
    assert_true(bulk.job.queue_s >= 0 && bulk.job.forward_s > 0 && bulk.job.tokenize_s > 0);
    tkr_scheduler_free(&scheduler);
    ticket_close(&bulk);
    ends_destroy(&e);
}

/* ---- speed ---- */

static void a_cold_start_is_forgotten(void **state) {
    (void)state;
    tkr_served_model model = {0};
    const tkr_serve_batch batch = {.model = &model};
    bool known = false;
    const double first = tkr_served_rate(&known, &model);
    assert_false(known);
    tkr_batch_learn(&batch, 8, 2); /* cold and small: 4 a second */
    assert_true(tkr_served_rate(&known, &model) > first * 0.9);
    assert_true(known);
    tkr_batch_learn(&batch, 8, 2);
    assert_true(tkr_served_rate(&known, &model) > first * 0.9);
    model.tokens_per_s = 300; /* measured on a busy machine */
    for (unsigned i = 0; i < 12; i++) tkr_batch_learn(&batch, 500, 0.1);
    assert_true(tkr_served_rate(&known, &model) > 4500);
    for (unsigned i = 0; i < 12; i++) tkr_batch_learn(&batch, 500, 1);
    assert_true(tkr_served_rate(&known, &model) < 900);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_are_those_of_a_plain_call),
        cmocka_unit_test(token_states_and_failures_stay_with_their_items),
        cmocka_unit_test(nothing_to_compute_is_answered_at_once),
        cmocka_unit_test(interactive_work_overtakes_bulk_work),
        cmocka_unit_test(queues_keep_turns),
        cmocka_unit_test(interactive_jobs_keep_their_order),
        cmocka_unit_test(short_jobs_pass_long_ones),
        cmocka_unit_test(small_bulk_jobs_pass_giant_ones),
        cmocka_unit_test(bulk_work_has_its_share),
        cmocka_unit_test(long_jobs_are_not_passed_for_ever),
        cmocka_unit_test(progress_is_told),
        cmocka_unit_test(a_cold_start_is_forgotten),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
