/* SPDX-License-Identifier: Apache-2.0 */
/* core/pool: worker threads that spin for a short while, then sleep in the kernel. Refuses nested jobs. */
#ifdef __linux__
#define _GNU_SOURCE 1
#endif
#include "core/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "core/machine.h"
#include "core/mem.h"
#include "core/relax.h"

#define MAX_THREADS 1024u
/* Longer than the serial stretch between two jobs of a forward pass, shorter than what another process would miss. */
#define SPIN_NS 50000u
#define SPINS_PER_CLOCK 16u

typedef struct worker {
    tkr_pool *pool;
    unsigned index;
    pthread_t thread;
} worker;

struct tkr_pool {
    unsigned n_threads;
    unsigned spin_ns;     /* 0 when there are more threads than CPUs: spinning would keep the others from running */
    pthread_mutex_t turn; /* held during a job, and from begin to end */
    _Atomic(const void *) owner; /* marker of the thread between begin and end */
    worker *workers;             /* [n_threads - 1] */
#ifndef __linux__
    pthread_mutex_t park;
    pthread_cond_t unpark;
#endif
    /* The job: written before `generation` is raised, read after it was seen. */
    tkr_pool_fn fn;
    void *arg;
    bool stop;
    alignas(64) atomic_uint generation;
    atomic_uint sleepers;            /* workers that sleep on `generation` or are about to */
    alignas(64) atomic_uint pending; /* workers that have not finished the job */
    atomic_uint caller_sleeps;
};

/* Its address names the thread; its value says that a job runs in it. */
static _Thread_local bool in_job;

/* ---- sleeping on a word ---------------------------------------------------------------------------------------- */

#ifdef __linux__
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool park_init(tkr_pool *pool) {
    (void)pool;
    return true;
}
static void park_destroy(tkr_pool *pool) { (void)pool; }

/* Returns at once when *word is not `value`; may return early for no reason. */
static void park_wait(tkr_pool *pool, atomic_uint *word, unsigned value) {
    (void)pool;
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}
static void park_wake(tkr_pool *pool, atomic_uint *word) {
    (void)pool;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
#else
static bool park_init(tkr_pool *pool) {
    if (pthread_mutex_init(&pool->park, NULL) != 0) return false;
    if (pthread_cond_init(&pool->unpark, NULL) == 0) return true;
    pthread_mutex_destroy(&pool->park);
    return false;
}
static void park_destroy(tkr_pool *pool) {
    pthread_cond_destroy(&pool->unpark);
    pthread_mutex_destroy(&pool->park);
}
static void park_wait(tkr_pool *pool, atomic_uint *word, unsigned value) {
    pthread_mutex_lock(&pool->park);
    if (atomic_load(word) == value) pthread_cond_wait(&pool->unpark, &pool->park);
    pthread_mutex_unlock(&pool->park);
}
static void park_wake(tkr_pool *pool, atomic_uint *word) {
    (void)word;
    pthread_mutex_lock(&pool->park);
    pthread_cond_broadcast(&pool->unpark);
    pthread_mutex_unlock(&pool->park);
}
#endif

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Spins until (*word == value) == want, for at most `ns`; returns the last value seen. */
static unsigned spin(atomic_uint *word, unsigned value, bool want, unsigned ns) {
    unsigned seen = atomic_load_explicit(word, memory_order_acquire);
    if ((seen == value) == want || ns == 0) return seen;
    const uint64_t end = now_ns() + ns;
    do {
        for (unsigned i = 0; i < SPINS_PER_CLOCK; i++) {
            TKR_RELAX();
            seen = atomic_load_explicit(word, memory_order_acquire);
            if ((seen == value) == want) return seen;
        }
    } while (now_ns() < end);
    return seen;
}

/* ---- workers --------------------------------------------------------------------------------------------------- */

static unsigned wait_for_job(tkr_pool *pool, unsigned seen) {
    unsigned now = spin(&pool->generation, seen, false, pool->spin_ns);
    if (now != seen) return now;
    /* Announced before the last look at `generation`; the caller raises it before it looks at `sleepers`. */
    atomic_fetch_add(&pool->sleepers, 1);
    while ((now = atomic_load(&pool->generation)) == seen) park_wait(pool, &pool->generation, seen);
    atomic_fetch_sub(&pool->sleepers, 1);
    return now;
}

static void *worker_main(void *user) {
    const worker *self = user;
    tkr_pool *pool = self->pool;
    in_job = true; /* whatever runs here is inside a job */
    for (unsigned seen = 0;;) {
        seen = wait_for_job(pool, seen);
        if (pool->stop) return NULL;
        pool->fn(pool->arg, self->index, pool->n_threads);
        if (atomic_fetch_sub(&pool->pending, 1) == 1 && atomic_load(&pool->caller_sleeps)) {
            park_wake(pool, &pool->pending);
        }
    }
}

static void raise_generation(tkr_pool *pool) {
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleepers) > 0) park_wake(pool, &pool->generation);
}

static void wait_for_workers(tkr_pool *pool) {
    if (spin(&pool->pending, 0, true, pool->spin_ns) == 0) return;
    atomic_store(&pool->caller_sleeps, 1);
    for (unsigned left; (left = atomic_load(&pool->pending)) != 0;) park_wait(pool, &pool->pending, left);
    atomic_store(&pool->caller_sleeps, 0);
}

static void stop_workers(tkr_pool *pool, unsigned n_started) {
    pool->stop = true;
    raise_generation(pool);
    for (unsigned i = 0; i < n_started; i++) pthread_join(pool->workers[i].thread, NULL);
}

static int start_workers(tkr_pool *pool) {
    sigset_t all, before;
    sigfillset(&all);
    int code =
        pthread_sigmask(SIG_SETMASK, &all, &before); /* threads inherit it: signals stay with the host's threads */
    if (code != 0) return code;
    unsigned n = 0;
    for (; code == 0 && n < pool->n_threads - 1; n++) {
        worker *w = &pool->workers[n];
        w->pool = pool;
        w->index = n + 1;
        code = pthread_create(&w->thread, NULL, worker_main, w);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0) stop_workers(pool, n - 1);
    return code;
}

/* ---- interface ------------------------------------------------------------------------------------------------- */

static void pool_release(tkr_pool *pool) {
    tkr_free(pool->workers);
    tkr_aligned_free(pool, sizeof *pool);
}

tkr_status tkr_pool_create(tkr_pool **out, unsigned n_threads, tkr_error *error) {
    if (n_threads < 1 || n_threads > MAX_THREADS) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "threads is %u, expected 1 to %u", n_threads, MAX_THREADS);
    }
    tkr_pool *pool = tkr_aligned_alloc(sizeof *pool);
    if (!pool) return TKR_FAIL(error, NO_MEMORY, "out of memory for a thread pool");
    memset(pool, 0, sizeof *pool);
    pool->n_threads = n_threads;
    pool->spin_ns = n_threads <= tkr_affinity_count() ? SPIN_NS : 0;
    pool->workers = tkr_calloc(n_threads, sizeof *pool->workers);
    if (!pool->workers) {
        pool_release(pool);
        return TKR_FAIL(error, NO_MEMORY, "out of memory for %u threads", n_threads);
    }
    if (pthread_mutex_init(&pool->turn, NULL) != 0) {
        pool_release(pool);
        return TKR_FAIL(error, NO_MEMORY, "out of memory for a lock");
    }
    if (!park_init(pool)) {
        pthread_mutex_destroy(&pool->turn);
        pool_release(pool);
        return TKR_FAIL(error, NO_MEMORY, "out of memory for a lock");
    }
    const int code = start_workers(pool);
    if (code != 0) {
        park_destroy(pool);
        pthread_mutex_destroy(&pool->turn);
        pool_release(pool);
        return TKR_FAIL(error, LIMIT, "could not start %u threads (%s): ask for fewer threads", n_threads,
                        code == EAGAIN ? "the system's limit is reached" : "not permitted");
    }
    *out = pool;
    return TKR_OK;
}

void tkr_pool_free(tkr_pool **slot) {
    tkr_pool *pool = slot ? *slot : NULL;
    if (!pool) return;
    *slot = NULL;
    stop_workers(pool, pool->n_threads - 1);
    park_destroy(pool);
    pthread_mutex_destroy(&pool->turn);
    pool_release(pool);
}

unsigned tkr_pool_size(const tkr_pool *pool) { return pool->n_threads; }

static bool owned_by_caller(const tkr_pool *pool) {
    /* Relaxed will do: only this thread can have stored its own marker. */
    return atomic_load_explicit(&pool->owner, memory_order_relaxed) == (const void *)&in_job;
}

tkr_status tkr_pool_run(tkr_pool *pool, tkr_pool_fn fn, void *arg) {
    if (in_job) return TKR_BUSY;
    const bool owned = owned_by_caller(pool);
    if (!owned) pthread_mutex_lock(&pool->turn);
    if (pool->n_threads > 1) {
        pool->fn = fn;
        pool->arg = arg;
        atomic_store_explicit(&pool->pending, pool->n_threads - 1, memory_order_relaxed);
        raise_generation(pool);
    }
    in_job = true;
    fn(arg, 0, pool->n_threads);
    in_job = false;
    if (pool->n_threads > 1) wait_for_workers(pool);
    if (!owned) pthread_mutex_unlock(&pool->turn);
    return TKR_OK;
}

tkr_status tkr_pool_begin(tkr_pool *pool) {
    if (in_job || owned_by_caller(pool)) return TKR_BUSY;
    pthread_mutex_lock(&pool->turn);
    atomic_store_explicit(&pool->owner, (const void *)&in_job, memory_order_relaxed);
    return TKR_OK;
}

void tkr_pool_end(tkr_pool *pool) {
    if (!owned_by_caller(pool)) return;
    atomic_store_explicit(&pool->owner, NULL, memory_order_relaxed);
    pthread_mutex_unlock(&pool->turn);
}
