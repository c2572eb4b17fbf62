/* SPDX-License-Identifier: Apache-2.0 */
/* engine/cache_dir: the folder of files that can be made again (packed weights, compiled tokenizers), its privacy and
 * its size. Refuses a folder that other users may enter. */
#ifndef TKR_ENGINE_CACHE_DIR_H
#define TKR_ENGINE_CACHE_DIR_H

#include "core/log.h"
#include "core/mem.h"

#define TKR_CACHE_SUFFIX ".tkr"

/* The folder to use, made when it isn't there: options->weight_cache_dir, else XDG_CACHE_HOME/tkr-embed, else
 * ~/.cache/tkr-embed. Returns a path (tkr_free). */
tkr_status tkr_cache_dir_open(char **folder, const tkr_model_options *options, tkr_error *error);
/* Removes the least recently used files until the folder holds at most max_bytes, `keep` (a path) never, and what
 * crashed writers left behind. Best effort. */
void tkr_cache_dir_trim(const char *folder, uint64_t max_bytes, const char *keep, const tkr_log *log);
/* options->weight_cache_bytes or its default. */
uint64_t tkr_cache_dir_limit(const tkr_model_options *options);

#endif
