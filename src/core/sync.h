/* SPDX-License-Identifier: Apache-2.0 */
/* core/sync: threads, locks and conditions for the server. Locks can't fail; only starting a thread can. */
#ifndef TKR_CORE_SYNC_H
#define TKR_CORE_SYNC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

typedef struct tkr_mutex {
    pthread_mutex_t it;
} tkr_mutex;
#define TKR_MUTEX_INIT \
    { PTHREAD_MUTEX_INITIALIZER }
void tkr_mutex_init(tkr_mutex *mutex);
void tkr_mutex_destroy(tkr_mutex *mutex);
void tkr_mutex_lock(tkr_mutex *mutex);
void tkr_mutex_unlock(tkr_mutex *mutex);

/* Waits by the monotonic clock. */
typedef struct tkr_cond {
    pthread_cond_t it;
} tkr_cond;
void tkr_cond_init(tkr_cond *cond);
void tkr_cond_destroy(tkr_cond *cond);
void tkr_cond_signal(tkr_cond *cond);
void tkr_cond_broadcast(tkr_cond *cond);
void tkr_cond_wait(tkr_cond *cond, tkr_mutex *mutex);
/* Until tkr_now() reaches `until`; false when it has. */
bool tkr_cond_wait_until(tkr_cond *cond, tkr_mutex *mutex, double until);

typedef struct tkr_thread tkr_thread;
/* Runs fn(arg) in a thread of its own, which blocks all signals. `name` (at most 15 bytes) shows in ps -T. Returns a
 * thread. */
tkr_status tkr_thread_start(tkr_thread **thread, const char *name, void (*fn)(void *arg), void *arg, tkr_error *error);
/* Waits until fn has returned, and frees. Accepts NULL. */
void tkr_thread_join(tkr_thread **thread);

/* Seconds since 1970, for logs and certificates; tkr_now() in core/file.h is for measuring. */
double tkr_wall_clock(void);
/* "2026-11-26T07:51:29.123Z" */
void tkr_wall_clock_text(char out[25], double wall);
/* "Sun, 06 Nov 1994 08:49:37 GMT", as HTTP writes it */
void tkr_wall_clock_http(char out[30], double wall);
/* Bytes that nobody can guess; false when the system gives none. */
bool tkr_random_bytes(void *out, size_t size);

#endif
