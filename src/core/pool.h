/* SPDX-License-Identifier: Apache-2.0 */
/* core/pool: persistent worker threads; the caller is worker 0. Short spin, then futex (condition variable elsewhere).
 */
#ifndef TKR_CORE_POOL_H
#define TKR_CORE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct tkr_pool tkr_pool;
typedef void (*tkr_pool_fn)(void *arg, unsigned worker, unsigned n_workers);
/* `part` of n_parts, by a worker: 0 is the caller. */
typedef void (*tkr_pool_part_fn)(void *arg, unsigned worker, size_t part, size_t n_parts);

/* n_threads >= 1, caller included, so 1 starts no thread. Returns a pool. Worker threads block all signals. */
tkr_status tkr_pool_create(tkr_pool **pool, unsigned n_threads, tkr_error *error);
void tkr_pool_free(tkr_pool **pool);
unsigned tkr_pool_size(const tkr_pool *pool);

/* Runs fn once on every worker and returns when all are done. Callers in several threads take turns.
 * TKR_BUSY when called from inside a job of any pool (nested use). Costs well under a microsecond while workers spin.
 */
tkr_status tkr_pool_run(tkr_pool *pool, tkr_pool_fn fn, void *arg);

/* Runs fn once for every part and returns when all are done: each worker that comes takes the next part until none is
 * left, and one that is late (asleep, or without a CPU) isn't waited for. Callers and TKR_BUSY as above. */
tkr_status tkr_pool_share(tkr_pool *pool, tkr_pool_part_fn fn, void *arg, size_t n_parts);

/* For a sequence of short jobs: between begin and end the pool belongs to the calling thread, and jobs need no
 * lock; workers spin in between as long as the bounded spin lasts. */
tkr_status tkr_pool_begin(tkr_pool *pool);
void tkr_pool_end(tkr_pool *pool);

#endif
