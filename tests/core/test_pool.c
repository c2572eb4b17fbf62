/* SPDX-License-Identifier: Apache-2.0 */
/* Thread pool: every worker runs once a job, jobs follow one another, shared parts are computed once, callers take
 * turns, nested use is refused. */
#define _GNU_SOURCE 1
#include "core/pool.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/fsops.h"
#include "core/mem.h"

#define MAX_WORKERS 8u
#define CACHE_LINE_WORDS 16

typedef struct job {
    /* Plain counters, a line each: ThreadSanitizer sees a missing hand-over. */
    unsigned runs[MAX_WORKERS][CACHE_LINE_WORDS];
    unsigned n_workers;
    atomic_uint inside;
    unsigned serial;
} job;

static void count_run(void *arg, unsigned worker, unsigned n_workers) {
    job *j = arg;
    j->runs[worker][0] += 1 + j->serial - j->serial;
    if (worker == 0) j->n_workers = n_workers;
}

static void run_many(unsigned n_threads, unsigned n_jobs, bool hold) {
    tkr_pool *pool = NULL;
    tkr_error error;
    assert_int_equal(tkr_pool_create(&pool, n_threads, &error), TKR_OK);
    assert_int_equal(tkr_pool_size(pool), n_threads);
    static job j;
    memset(&j, 0, sizeof j);
    if (hold) assert_int_equal(tkr_pool_begin(pool), TKR_OK);
    for (unsigned i = 1; i <= n_jobs; i++) {
        j.serial = i; /* written between jobs, read in them */
        assert_int_equal(tkr_pool_run(pool, count_run, &j), TKR_OK);
        assert_int_equal(j.n_workers, n_threads);
        for (unsigned w = 0; w < n_threads; w++) assert_int_equal(j.runs[w][0], i);
    }
    if (hold) tkr_pool_end(pool);
    tkr_pool_free(&pool);
    assert_null(pool);
    tkr_pool_free(&pool);
}

static void test_every_worker_once(void **state) {
    (void)state;
    static const unsigned threads[] = {1, 2, 4};
    for (size_t i = 0; i < 3; i++) {
        run_many(threads[i], 500, false);
        run_many(threads[i], 500, true);
    }
    tkr_pool_free(NULL);
}

/* Pauses longer than the spin: workers sleep in the kernel and must be woken. */
static void test_sleeping_workers(void **state) {
    (void)state;
    tkr_pool *pool = NULL;
    assert_int_equal(tkr_pool_create(&pool, 2, NULL), TKR_OK);
    static job j;
    memset(&j, 0, sizeof j);
    for (unsigned i = 1; i <= 50; i++) {
        const double until = tkr_now() + (i % 3) * 0.0005;
        while (tkr_now() < until) {
        }
        assert_int_equal(tkr_pool_run(pool, count_run, &j), TKR_OK);
        assert_int_equal(j.runs[1][0], i);
    }
    tkr_pool_free(&pool);
}

/* One worker takes longer than the caller spins: the caller sleeps and must be woken. */
static void slow_worker(void *arg, unsigned worker, unsigned n_workers) {
    count_run(arg, worker, n_workers);
    const double until = tkr_now() + (worker == n_workers - 1 ? 0.001 : 0);
    while (tkr_now() < until) {
    }
}

static void test_sleeping_caller(void **state) {
    (void)state;
    tkr_pool *pool = NULL;
    assert_int_equal(tkr_pool_create(&pool, 3, NULL), TKR_OK);
    static job j;
    memset(&j, 0, sizeof j);
    for (unsigned i = 1; i <= 50; i++) {
        assert_int_equal(tkr_pool_run(pool, slow_worker, &j), TKR_OK);
        for (unsigned w = 0; w < 3; w++) assert_int_equal(j.runs[w][0], i);
    }
    tkr_pool_free(&pool);
}

/* Parts: each counts where it was computed, in a line of its own. */
typedef struct parts {
    unsigned runs[64][CACHE_LINE_WORDS];
    unsigned by_worker[MAX_WORKERS][CACHE_LINE_WORDS];
    size_t n_parts;
    unsigned serial, n_workers;
    double seconds; /* that a worker who isn't the caller takes for a part */
} parts;

static void count_part(void *arg, unsigned worker, size_t part, size_t n_parts) {
    parts *p = arg;
    const double until = tkr_now() + (worker > 0 ? p->seconds : 0);
    if (n_parts == p->n_parts && worker < p->n_workers) p->runs[part][0] = p->serial;
    p->by_worker[worker][0]++;
    while (tkr_now() < until) {
    }
}

static void share_many(tkr_pool *pool, parts *p, unsigned n_jobs) {
    static const size_t n_parts[] = {0, 1, 2, 3, 7, 64};
    unsigned n_done = 0, n_wanted = 0;
    for (unsigned w = 0; w < MAX_WORKERS; w++) p->by_worker[w][0] = 0;
    for (unsigned i = 1; i <= n_jobs; i++) {
        p->n_parts = n_parts[i % 6];
        p->serial = i; /* written between jobs, read in them */
        assert_int_equal(tkr_pool_share(pool, count_part, p, p->n_parts), TKR_OK);
        for (size_t k = 0; k < p->n_parts; k++) assert_int_equal(p->runs[k][0], i);
        n_wanted += (unsigned)p->n_parts;
    }
    for (unsigned w = 0; w < p->n_workers; w++) n_done += p->by_worker[w][0];
    assert_int_equal(n_done, n_wanted);
}

static void test_every_part_once(void **state) {
    (void)state;
    static const unsigned threads[] = {1, 2, 4};
    static parts p;
    static job j;
    for (size_t i = 0; i < 3; i++) {
        tkr_pool *pool = NULL;
        memset(&p, 0, sizeof p);
        memset(&j, 0, sizeof j);
        p.n_workers = threads[i];
        assert_int_equal(tkr_pool_create(&pool, threads[i], NULL), TKR_OK);
        share_many(pool, &p, 600);
        for (unsigned k = 1; k <= 300; k++) { /* both kinds, one after the other */
            share_many(pool, &p, 2);
            assert_int_equal(tkr_pool_run(pool, count_run, &j), TKR_OK);
            for (unsigned w = 0; w < threads[i]; w++) assert_int_equal(j.runs[w][0], k);
        }
        p.seconds = threads[i] > 1 ? 0.0005 : 0; /* longer than the caller spins */
        share_many(pool, &p, 30);
        tkr_pool_free(&pool);
    }
}

#ifdef __linux__
static void look_at_cpus(void *arg, unsigned worker, unsigned n_workers) {
    (void)n_workers;
    cpu_set_t *sets = arg;
    assert_int_equal(sched_getaffinity(0, sizeof sets[worker], &sets[worker]), 0);
}

/* However often workers were woken beside the caller, they may run where they might before. */
static void test_workers_keep_their_cpus(void **state) {
    (void)state;
    enum { N = 3 };
    cpu_set_t before, sets[N];
    static parts p;
    tkr_pool *pool = NULL;
    memset(&p, 0, sizeof p);
    p.n_workers = N;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(tkr_pool_create(&pool, N, NULL), TKR_OK);
    for (unsigned i = 0; i < 200; i++) {
        tkr_sleep(i % 4 * 0.0002);
        share_many(pool, &p, 6);
    }
    tkr_sleep(0.002);
    assert_int_equal(tkr_pool_run(pool, look_at_cpus, sets), TKR_OK);
    for (unsigned w = 0; w < N; w++) assert_true(CPU_EQUAL(&before, &sets[w]));
    tkr_pool_free(&pool);
}
#else
static void test_workers_keep_their_cpus(void **state) { (void)state; }
#endif

typedef struct nested {
    tkr_pool *same, *other;
    tkr_status run_same[MAX_WORKERS], run_other[MAX_WORKERS], share[MAX_WORKERS], begin[MAX_WORKERS];
} nested;

static void run_nested(void *arg, unsigned worker, unsigned n_workers) {
    (void)n_workers;
    nested *n = arg;
    n->run_same[worker] = tkr_pool_run(n->same, count_run, NULL);
    n->run_other[worker] = tkr_pool_run(n->other, count_run, NULL);
    n->share[worker] = tkr_pool_share(n->other, count_part, NULL, 2);
    n->begin[worker] = tkr_pool_begin(n->other);
}

static void test_nested_is_refused(void **state) {
    (void)state;
    nested n;
    static job j;
    memset(&n, 0, sizeof n);
    assert_int_equal(tkr_pool_create(&n.same, 2, NULL), TKR_OK);
    assert_int_equal(tkr_pool_create(&n.other, 1, NULL), TKR_OK);
    assert_int_equal(tkr_pool_run(n.same, run_nested, &n), TKR_OK);
    for (unsigned w = 0; w < 2; w++) {
        assert_int_equal(n.run_same[w], TKR_BUSY);
        assert_int_equal(n.run_other[w], TKR_BUSY);
        assert_int_equal(n.share[w], TKR_BUSY);
        assert_int_equal(n.begin[w], TKR_BUSY);
    }
    assert_int_equal(tkr_pool_begin(n.same), TKR_OK);
    assert_int_equal(tkr_pool_begin(n.same), TKR_BUSY);             /* it is this thread's already */
    assert_int_equal(tkr_pool_run(n.other, count_run, &j), TKR_OK); /* another pool is free to use */
    tkr_pool_end(n.same);
    tkr_pool_end(n.same); /* without effect */
    assert_int_equal(tkr_pool_run(n.same, count_run, &j), TKR_OK);
    tkr_pool_free(&n.same);
    tkr_pool_free(&n.other);
}

typedef struct caller {
    tkr_pool *pool;
    job *j;
    unsigned n_jobs;
    bool hold;
    unsigned failures;
} caller;

static void count_alone(void *arg, unsigned worker, unsigned n_workers) {
    job *j = arg;
    if (worker == 0) {
        if (atomic_fetch_add(&j->inside, 1) != 0) j->serial++; /* someone else's job is running */
        atomic_fetch_sub(&j->inside, 1);
    }
    count_run(arg, worker, n_workers);
}

static void *call_often(void *user) {
    caller *c = user;
    for (unsigned i = 0; i < c->n_jobs; i += 10) {
        if (c->hold && tkr_pool_begin(c->pool) != TKR_OK) c->failures++;
        for (unsigned k = 0; k < 10; k++) {
            if (tkr_pool_run(c->pool, count_alone, c->j) != TKR_OK) c->failures++;
        }
        if (c->hold) tkr_pool_end(c->pool);
    }
    return NULL;
}

static void test_concurrent_callers(void **state) {
    (void)state;
    enum { N = 3, JOBS = 500 };
    static job j;
    memset(&j, 0, sizeof j);
    tkr_pool *pool = NULL;
    assert_int_equal(tkr_pool_create(&pool, 2, NULL), TKR_OK);
    pthread_t threads[N];
    caller callers[N];
    for (unsigned i = 0; i < N; i++) {
        callers[i] = (caller){pool, &j, JOBS, i == 1, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    }
    for (unsigned i = 0; i < N; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (unsigned i = 0; i < N; i++) assert_int_equal(callers[i].failures, 0);
    assert_int_equal(j.serial, 0);
    assert_int_equal(j.runs[0][0], N * JOBS);
    assert_int_equal(j.runs[1][0], N * JOBS);
    tkr_pool_free(&pool);
}

static void look_at_signals(void *arg, unsigned worker, unsigned n_workers) {
    (void)n_workers;
    sigset_t *sets = arg;
    pthread_sigmask(SIG_SETMASK, NULL, &sets[worker]);
}

static void test_signals_stay_with_the_host(void **state) {
    (void)state;
    tkr_pool *pool = NULL;
    assert_int_equal(tkr_pool_create(&pool, 2, NULL), TKR_OK);
    sigset_t sets[2];
    assert_int_equal(tkr_pool_run(pool, look_at_signals, sets), TKR_OK);
    assert_int_equal(sigismember(&sets[0], SIGINT), 0);
    assert_int_equal(sigismember(&sets[1], SIGINT), 1);
    assert_int_equal(sigismember(&sets[1], SIGTERM), 1);
    tkr_pool_free(&pool);
}

static bool fail_nth(void *user, char kind) {
    int *left = user;
    return kind != 'a' || (*left)-- != 0;
}

static void test_bad_arguments_and_no_memory(void **state) {
    (void)state;
    tkr_pool *pool = NULL;
    tkr_error error;
    assert_int_equal(tkr_pool_create(&pool, 0, &error), TKR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "threads is 0, expected 1 to 1024");
    assert_int_equal(tkr_pool_create(&pool, 100000, &error), TKR_INVALID_ARGUMENT);
    int n_failed = 0;
    for (int n = 0;; n++) {
        int left = n;
        tkr_seam_set(fail_nth, &left);
        const tkr_status status = tkr_pool_create(&pool, 2, &error);
        tkr_seam_set(NULL, NULL);
        if (status == TKR_OK) break;
        assert_int_equal(status, TKR_NO_MEMORY);
        assert_null(pool);
        n_failed++;
    }
    assert_int_equal(n_failed, 2);
    tkr_pool_free(&pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_worker_once),
        cmocka_unit_test(test_sleeping_workers),
        cmocka_unit_test(test_sleeping_caller),
        cmocka_unit_test(test_every_part_once),
        cmocka_unit_test(test_workers_keep_their_cpus),
        cmocka_unit_test(test_nested_is_refused),
        cmocka_unit_test(test_concurrent_callers),
        cmocka_unit_test(test_signals_stay_with_the_host),
        cmocka_unit_test(test_bad_arguments_and_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
