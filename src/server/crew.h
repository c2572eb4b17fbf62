/* SPDX-License-Identifier: Apache-2.0 */
/* server/crew: a few threads for what may block or takes long beside the loops and the model: decoding pictures,
 * fetching, parsing and writing large bodies, loading models. */
#ifndef TKR_SERVER_CREW_H
#define TKR_SERVER_CREW_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

typedef struct tkr_crew tkr_crew;
/* Returns a crew of n >= 1 threads with room for `max_queued` >= 1 waiting tasks. */
tkr_status tkr_crew_create(tkr_crew **crew, unsigned n_threads, size_t max_queued, tkr_error *error);
/* Thread-safe. false when the queue is full; fn(arg) will run on one of the threads otherwise. Tasks begin in the order
 * of the calls. */
bool tkr_crew_run(tkr_crew *crew, void (*fn)(void *arg), void *arg);
/* Waits for the tasks that were taken in, those that they hand in themselves included. Accepts NULL. */
void tkr_crew_free(tkr_crew **crew);

#endif
