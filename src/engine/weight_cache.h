/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/weight_cache: packed weights kept between starts, one file a model, number format and rung: written while a
 * model is packed for the first time, mapped when it is loaded again. Never a reason for a load to fail: whatever is
 * wrong with the cache means packing, and a line in the log.
 */
#ifndef TKR_ENGINE_WEIGHT_CACHE_H
#define TKR_ENGINE_WEIGHT_CACHE_H

#include "engine/engine.h"

/* All borrowed for the call. */
typedef struct tkr_weight_cache_options {
    const tkr_model_options *model;
    const tkr_tensors *tensors;
    const char *folder; /* of the checkpoint */
    const tkr_plan *plan;
    const tkr_kernels *kernels;
    const tkr_ops *ops;
    tkr_backend *backend;
    const tkr_log *log;
} tkr_weight_cache_options;

/* Returns a cache, NULL when this model has none: switched off, too small to be worth it, no private folder, ... */
tkr_weight_cache *tkr_weight_cache_open(const tkr_weight_cache_options *options);
/* What tkr_binder_options wants; NULL for a NULL cache. */
const tkr_packed_store *tkr_weight_cache_store(const tkr_weight_cache *cache);
/* Ends a load. When it succeeded, what was packed becomes a cache file and the least recently used files beyond the
 * size limit go, in a thread that tkr_weight_cache_free waits for. When it failed although weights came from the cache,
 * the cache's file goes. Accepts NULL. */
void tkr_weight_cache_finish(tkr_weight_cache *cache, bool succeeded);
/* Layers that came from the cache, and that were packed though there is a cache. 0 for NULL. */
size_t tkr_weight_cache_hits(const tkr_weight_cache *cache);
size_t tkr_weight_cache_misses(const tkr_weight_cache *cache);
/* Mapped bytes; 0 when the weights don't come from the cache. */
uint64_t tkr_weight_cache_mapped_bytes(const tkr_weight_cache *cache);
/* The file, whether mapped or written; NULL when there is none. */
const char *tkr_weight_cache_path(const tkr_weight_cache *cache);
/* Reads the mapped file whole; TKR_FORMAT when it isn't what was written. TKR_OK when nothing is mapped. */
tkr_status tkr_weight_cache_verify(const tkr_weight_cache *cache, tkr_error *error);
/* After the weights that were made from it. */
void tkr_weight_cache_free(tkr_weight_cache **cache);

#endif
