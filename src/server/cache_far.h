/* SPDX-License-Identifier: Apache-2.0 */
/* server/cache_far: private to the cache: the shared second level in Valkey or Redis. */
#ifndef TKR_SERVER_CACHE_FAR_H
#define TKR_SERVER_CACHE_FAR_H

#include "server/cache.h"

typedef struct tkr_far tkr_far;
/* `url` as in the setting; connects later, in the background. Returns a level. */
tkr_status tkr_far_create(tkr_far **far, const char *url, const tkr_log *log, tkr_error *error);
void tkr_far_free(tkr_far **far);
/* Asks for n keys at once; blocks for at most 0.1 s. Sets found[i] and out[i] (rows owned by the caller). */
void tkr_far_get(tkr_cached *out, bool *found, tkr_far *far, const tkr_cache_key *keys, size_t n);
/* Copies; written later, or dropped when too much waits. */
void tkr_far_put(tkr_far *far, const tkr_cache_key *key, const tkr_cached *value);
/* Fills the far_ fields. */
void tkr_far_get_counts(tkr_cache_counts *counts, tkr_far *far);

#endif
