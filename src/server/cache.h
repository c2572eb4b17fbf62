/* SPDX-License-Identifier: Apache-2.0 */
/* server/cache: results of inputs that came before: in memory, bounded by entries and bytes, scan-resistant; behind it
 * optionally Valkey or Redis. Keyed by model, options and content. Never fails: a miss is its worst. */
#ifndef TKR_SERVER_CACHE_H
#define TKR_SERVER_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/log.h"
#include "server/settings.h"
#include "tkr/embed.h"

typedef struct tkr_cache tkr_cache;

typedef struct tkr_cache_key {
    uint8_t digest[32];        /* SHA-256 */
    size_t n_rows, dimensions; /* that the result will have, 0: as many as it has tokens; not hashed */
} tkr_cache_key;
/* Hashes what a result depends on: the model's fingerprint, limit and prompts, kind of result, all options that change
 * bits, and the input's content (texts, ids, bytes of pictures). false for inputs that aren't cached (RGB, files, URLs
 * that aren't data:). */
bool tkr_cache_key_of(tkr_cache_key *key, const tkr_model_info *model, tkr_result_kind kind, const tkr_input *input,
                      const tkr_embed_options *options);

typedef struct tkr_cached {
    float *rows; /* [n_rows, dimensions]; from get: owned by the caller, free with tkr_free */
    size_t n_rows, dimensions, n_tokens, n_tokens_untruncated;
} tkr_cached;

/* NULL in *cache when the settings switch it off. Returns a cache. */
tkr_status tkr_cache_create(tkr_cache **cache, const tkr_settings *settings, const tkr_log *log, tkr_error *error);
void tkr_cache_free(tkr_cache **cache);
/* Memory only: doesn't block, thread-safe. */
bool tkr_cache_get(tkr_cached *out, tkr_cache *cache, const tkr_cache_key *key);
/* The second level, for keys that missed in memory: blocks for at most some milliseconds; hits go into memory, too.
 * Sets found[i]. Does nothing without one, or while it is down. */
void tkr_cache_get_far(tkr_cached *out, bool *found, tkr_cache *cache, const tkr_cache_key *keys, size_t n);
bool tkr_cache_has_far(const tkr_cache *cache);
/* Copies. The second level is written in the background. */
void tkr_cache_put(tkr_cache *cache, const tkr_cache_key *key, const tkr_cached *value);
void tkr_cache_clear(tkr_cache *cache);

typedef struct tkr_cache_counts {
    uint64_t hits, misses, far_hits, far_misses, far_errors, evicted;
    size_t entries, bytes;
    bool far_up;
} tkr_cache_counts;
void tkr_cache_get_counts(tkr_cache_counts *counts, tkr_cache *cache);

#endif
