/* SPDX-License-Identifier: Apache-2.0 */
/* engine/tok_cache: the compiled form of a large tokenizer kept between starts, in the folder of the weight cache.
 * Never a reason for a load to fail. */
#ifndef TKR_ENGINE_TOK_CACHE_H
#define TKR_ENGINE_TOK_CACHE_H

#include "core/log.h"
#include "engine/cache_file.h"
#include "tokenizer/tokenizer.h"

typedef struct tkr_tok_cache {
    char *folder, *path;
    tkr_buf identity;
    tkr_log log;
    uint64_t limit;
} tkr_tok_cache;

/* Whether the tokenizer that `options` make of the file `source` is kept; fills *cache (tkr_tok_cache_close). */
bool tkr_tok_cache_open(tkr_tok_cache *cache, const tkr_model_options *model, const tkr_file_id *source,
                        const tkr_tok_options *options);
/* Returns the tokenizer and the file that it lies in (to be closed after it); false when it isn't there. */
bool tkr_tok_cache_get(tkr_tok **tok, tkr_cache_file **file, const tkr_tok_cache *cache);
void tkr_tok_cache_put(const tkr_tok_cache *cache, const tkr_tok *tok);
void tkr_tok_cache_close(tkr_tok_cache *cache);

#endif
