/* SPDX-License-Identifier: Apache-2.0 */
/* core/sync: pthreads behind names of ours. */
#ifdef __linux__
#define _GNU_SOURCE
#endif
#include "core/sync.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "core/mem.h"

void tkr_mutex_init(tkr_mutex *mutex) { (void)pthread_mutex_init(&mutex->it, NULL); }
void tkr_mutex_destroy(tkr_mutex *mutex) { (void)pthread_mutex_destroy(&mutex->it); }
void tkr_mutex_lock(tkr_mutex *mutex) { (void)pthread_mutex_lock(&mutex->it); }
void tkr_mutex_unlock(tkr_mutex *mutex) { (void)pthread_mutex_unlock(&mutex->it); }

void tkr_cond_init(tkr_cond *cond) {
#ifdef __APPLE__
    (void)pthread_cond_init(&cond->it, NULL);
#else
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&cond->it, &attributes);
    (void)pthread_condattr_destroy(&attributes);
#endif
}
void tkr_cond_destroy(tkr_cond *cond) { (void)pthread_cond_destroy(&cond->it); }
void tkr_cond_signal(tkr_cond *cond) { (void)pthread_cond_signal(&cond->it); }
void tkr_cond_broadcast(tkr_cond *cond) { (void)pthread_cond_broadcast(&cond->it); }
void tkr_cond_wait(tkr_cond *cond, tkr_mutex *mutex) { (void)pthread_cond_wait(&cond->it, &mutex->it); }

static struct timespec timespec_of(double seconds) {
    const double whole = floor(seconds);
    return (struct timespec){(time_t)whole, (long)((seconds - whole) * 1e9)};
}

bool tkr_cond_wait_until(tkr_cond *cond, tkr_mutex *mutex, double until) {
#ifdef __APPLE__ /* no monotonic conditions there: by the time that is left */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double left = until - ((double)now.tv_sec + (double)now.tv_nsec * 1e-9);
    if (left <= 0) return false;
    const struct timespec at = timespec_of(left);
    return pthread_cond_timedwait_relative_np(&cond->it, &mutex->it, &at) == 0;
#else
    const struct timespec at = timespec_of(until > 0 ? until : 0);
    return pthread_cond_timedwait(&cond->it, &mutex->it, &at) == 0;
#endif
}

struct tkr_thread {
    pthread_t it;
    void (*fn)(void *arg);
    void *arg;
    char name[16];
};

static void *run(void *arg) {
    tkr_thread *thread = arg;
#ifdef __APPLE__
    (void)pthread_setname_np(thread->name);
#endif
    thread->fn(thread->arg);
    return NULL;
}

tkr_status tkr_thread_start(tkr_thread **out, const char *name, void (*fn)(void *arg), void *arg, tkr_error *error) {
    tkr_thread *thread = tkr_calloc(1, sizeof *thread);
    if (!thread) return TKR_FAIL(error, NO_MEMORY, "no memory for a thread");
    thread->fn = fn;
    thread->arg = arg;
    (void)snprintf(thread->name, sizeof thread->name, "%s", name);
    sigset_t all, before;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int code = tkr_seam_allows('a') ? pthread_create(&thread->it, NULL, run, thread) : ENOMEM;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0) {
        tkr_free(thread);
        return TKR_FAIL(error, NO_MEMORY, "thread \"%s\" could not be started: %s", name, strerror(code));
    }
#ifdef __linux__
    (void)pthread_setname_np(thread->it, thread->name);
#endif
    *out = thread;
    return TKR_OK;
}

void tkr_thread_join(tkr_thread **thread) {
    if (!thread || !*thread) return;
    (void)pthread_join((*thread)->it, NULL);
    tkr_free(*thread);
    *thread = NULL;
}

double tkr_wall_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void tkr_wall_clock_text(char out[25], double wall) {
    const time_t seconds = (time_t)floor(wall);
    struct tm parts;
    char day[21];
    if (!gmtime_r(&seconds, &parts) || strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &parts) == 0) day[0] = '\0';
    (void)snprintf(out, 25, "%s.%03dZ", day, (int)((wall - floor(wall)) * 1000));
}

void tkr_wall_clock_http(char out[30], double wall) {
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const time_t seconds = (time_t)floor(wall);
    struct tm t;
    *out = '\0';
    if (!gmtime_r(&seconds, &t)) return;
    (void)snprintf(out, 30, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", days + (size_t)3 * (size_t)t.tm_wday,
                   (unsigned)t.tm_mday % 100, months + (size_t)3 * (size_t)t.tm_mon,
                   (unsigned)(t.tm_year + 1900) % 10000, (unsigned)t.tm_hour % 100, (unsigned)t.tm_min % 100,
                   (unsigned)t.tm_sec % 100);
}

bool tkr_random_bytes(void *out, size_t size) {
    unsigned char *at = out;
    while (size > 0) {
        const size_t n = size < 256 ? size : 256; /* what one call always gives whole */
        if (getentropy(at, n) != 0) return false;
        at += n;
        size -= n;
    }
    return true;
}
