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
#ifdef __linux__
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "core/machine.h"
#include "core/mem.h"
#include "core/relax.h"

#define MAX_THREADS 1024u
/* Longer than the serial stretch between two jobs of a forward pass, shorter than what another process would miss. */
#define SPIN_NS 50000u
#define SPINS_PER_CLOCK 16u
/* Of larger pools: to place every worker would take longer than it saves. */
#define MOST_PLACED 8u

typedef struct worker {
    tkr_pool *pool;
    unsigned index;
    pthread_t thread;
#ifdef __linux__
    pid_t id;
    cpu_set_t cpus;       /* where it may be */
    atomic_bool sleeps;   /* on `generation`, or is about to */
    atomic_bool kept_off; /* one of them by the caller */
#endif
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
    /* The job: written before the door opens, read behind it. */
    tkr_pool_fn fn;
    tkr_pool_part_fn part_fn; /* NULL: fn */
    void *arg;
    size_t n_parts;
    atomic_size_t next_part;
    atomic_bool stop;
    /* The job's number, whether it is closed, and how many workers have entered. */
    alignas(64) _Atomic(uint64_t) door;
    atomic_uint generation;       /* the number, too, raised when the door has opened: what workers wait for */
    atomic_uint sleepers;         /* workers that sleep on `generation` or are about to */
    alignas(64) atomic_uint left; /* workers that have finished the job */
    atomic_uint caller_sleeps;
};

#define DOOR_CLOSED ((uint64_t)1 << 31)
#define DOOR_COUNT (DOOR_CLOSED - 1)
static unsigned door_number(uint64_t door) { return (unsigned)(door >> 32); }

/* Its address names the thread; its value says that a job runs in it. */
static _Thread_local bool in_job;

/* ---- sleeping on a word ---------------------------------------------------------------------------------------- */

#ifdef __linux__
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

/* ---- the caller's CPU ------------------------------------------------------------------------------------------ */

/* The kernel of a KVM guest takes CPUs that the host has put to sleep for busy ones, and would wake a worker where the
 * caller computes: one of them then waits until the next balancing, milliseconds later. So a worker is kept off that
 * CPU until it is awake. Where that isn't permitted, things stay as the kernel has them. */
#ifdef __linux__
static void note_place(worker *w) {
    w->id = (pid_t)syscall(SYS_gettid);
    if (sched_getaffinity(0, sizeof w->cpus, &w->cpus) != 0) CPU_ZERO(&w->cpus);
}

static void lie_down(worker *w) { atomic_store(&w->sleeps, true); }

/* By the caller. A worker that somebody else has placed since it began stays there. */
static void keep_off(worker *w, int cpu) {
    cpu_set_t now, others;
    if (cpu >= CPU_SETSIZE || !atomic_exchange(&w->sleeps, false)) return;
    const bool known =
        atomic_load(&w->kept_off) || (sched_getaffinity(w->id, sizeof now, &now) == 0 && CPU_EQUAL(&now, &w->cpus));
    others = w->cpus;
    CPU_CLR((size_t)cpu, &others);
    if (!known || CPU_COUNT(&others) == 0 || sched_setaffinity(w->id, sizeof others, &others) != 0) return;
    atomic_store(&w->kept_off, true);
}

static void get_up(worker *w) {
    atomic_store(&w->sleeps, false);
    if (atomic_exchange(&w->kept_off, false)) (void)sched_setaffinity(0, sizeof w->cpus, &w->cpus);
}

static int current_cpu(void) { return sched_getcpu(); }
#else
static void note_place(worker *w) { (void)w; }
static void lie_down(worker *w) { (void)w; }
static void keep_off(worker *w, int cpu) { (void)w, (void)cpu; }
static void get_up(worker *w) { (void)w; }
static int current_cpu(void) { return -1; }
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

/* Until there is a job behind number `seen`. */
static void wait_for_job(worker *self, unsigned seen) {
    tkr_pool *pool = self->pool;
    if (spin(&pool->generation, seen, false, pool->spin_ns) == seen) {
        /* Announced before the last look at `generation`; the caller raises it before it looks at `sleepers`. */
        atomic_fetch_add(&pool->sleepers, 1);
        lie_down(self);
        while (atomic_load(&pool->generation) == seen) park_wait(pool, &pool->generation, seen);
        atomic_fetch_sub(&pool->sleepers, 1);
    }
    get_up(self);
}

/* Enters the job that is open now, unless this worker was in it. *seen: its number. */
static bool enter(tkr_pool *pool, unsigned *seen) {
    uint64_t door = atomic_load(&pool->door);
    do {
        if (door_number(door) == *seen) return false;
        if (door & DOOR_CLOSED) break;
    } while (!atomic_compare_exchange_weak(&pool->door, &door, door + 1));
    *seen = door_number(door);
    return !(door & DOOR_CLOSED);
}

static void work(tkr_pool *pool, unsigned index) {
    if (!pool->part_fn) {
        pool->fn(pool->arg, index, pool->n_threads);
        return;
    }
    for (;;) {
        const size_t part = atomic_fetch_add_explicit(&pool->next_part, 1, memory_order_relaxed);
        if (part >= pool->n_parts) return;
        pool->part_fn(pool->arg, index, part, pool->n_parts);
    }
}

static void *worker_main(void *user) {
    worker *self = user;
    note_place(self);
    tkr_pool *pool = self->pool;
    in_job = true; /* whatever runs here is inside a job */
    for (unsigned seen = 0;;) {
        wait_for_job(self, seen);
        if (atomic_load(&pool->stop)) return NULL;
        if (!enter(pool, &seen)) continue;
        work(pool, self->index);
        atomic_fetch_add(&pool->left, 1);
        if (atomic_load(&pool->caller_sleeps)) park_wake(pool, &pool->left);
    }
}

static void raise_generation(tkr_pool *pool, unsigned number) {
    const bool place = pool->n_threads <= MOST_PLACED && atomic_load(&pool->sleepers) > 0;
    const int cpu = place ? current_cpu() : -1;
    for (unsigned i = 0; cpu >= 0 && i < pool->n_threads - 1; i++) keep_off(&pool->workers[i], cpu);
    atomic_store(&pool->generation, number);
    if (atomic_load(&pool->sleepers) > 0) park_wake(pool, &pool->generation);
}

static void open_door(tkr_pool *pool) {
    const unsigned number = door_number(atomic_load(&pool->door)) + 1;
    atomic_store(&pool->left, 0);
    atomic_store(&pool->door, (uint64_t)number << 32);
    raise_generation(pool, number);
}

/* Nobody enters any more; returns how many have. */
static unsigned close_door(tkr_pool *pool) {
    return (unsigned)(atomic_fetch_or(&pool->door, DOOR_CLOSED) & DOOR_COUNT);
}

static void wait_for_workers(tkr_pool *pool, unsigned n) {
    if (spin(&pool->left, n, true, pool->spin_ns) == n) return;
    atomic_store(&pool->caller_sleeps, 1);
    for (unsigned left; (left = atomic_load(&pool->left)) != n;) park_wait(pool, &pool->left, left);
    atomic_store(&pool->caller_sleeps, 0);
}

static void stop_workers(tkr_pool *pool, unsigned n_started) {
    atomic_store(&pool->stop, true);
    raise_generation(pool, door_number(atomic_load(&pool->door)) + 1);
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

/* fn by every worker, or where that is NULL part_fn for n_parts; one part is the caller's. */
static tkr_status run_job(tkr_pool *pool, tkr_pool_fn fn, tkr_pool_part_fn part_fn, void *arg, size_t n_parts) {
    if (in_job) return TKR_BUSY;
    const bool owned = owned_by_caller(pool), together = pool->n_threads > 1 && n_parts != 1;
    if (!owned) pthread_mutex_lock(&pool->turn);
    pool->fn = fn;
    pool->part_fn = part_fn;
    pool->arg = arg;
    pool->n_parts = n_parts;
    atomic_store(&pool->next_part, 0);
    if (together) open_door(pool);
    in_job = true;
    work(pool, 0);
    in_job = false;
    if (together) wait_for_workers(pool, part_fn ? close_door(pool) : pool->n_threads - 1);
    if (!owned) pthread_mutex_unlock(&pool->turn);
    return TKR_OK;
}

tkr_status tkr_pool_run(tkr_pool *pool, tkr_pool_fn fn, void *arg) { return run_job(pool, fn, NULL, arg, 0); }

tkr_status tkr_pool_share(tkr_pool *pool, tkr_pool_part_fn fn, void *arg, size_t n_parts) {
    return run_job(pool, NULL, fn, arg, n_parts);
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
