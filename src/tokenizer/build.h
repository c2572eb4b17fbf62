/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/build: what the readers of tokenizer.json, SentencePiece files and compiled tokenizers share. A reader
 * calls tkr_tok_begin, fills loader.tok's vocabulary, merges and model_fields, then tkr_tok_build and, whatever came of
 * it, tkr_tok_finish. */
#ifndef TKR_TOKENIZER_BUILD_H
#define TKR_TOKENIZER_BUILD_H

#include "tokenizer/engine.h"

/* The blocks of a tokenizer.json; references owned by the reader, NULL: absent or null. */
typedef struct tkr_tok_blocks {
    json_t *normalizer, *pre_tokenizer, *post_processor, *decoder, *added_tokens;
    bool has_model;
    bool lowercase; /* tkr_tok_options */
} tkr_tok_blocks;

/* A new loader.tok; messages go to *local (never NULL). */
tkr_status tkr_tok_begin(tkr_tok **out, tkr_tok_loader *loader, const char *what, tkr_error *local);
/* The index of the vocabulary, if it isn't there yet. A piece that occurs twice is TKR_FORMAT. */
tkr_status tkr_tok_index_vocab(const tkr_tok_loader *loader);
tkr_status tkr_tok_build(tkr_tok_loader *loader, const tkr_tok_blocks *blocks);
/* Frees what building needed; gives the tokenizer out, or frees it and copies the loader's error. Returns `status`. */
tkr_status tkr_tok_finish(tkr_tok **out, tkr_tok_loader *loader, tkr_tok_blocks *blocks, tkr_status status,
                          tkr_error *error);

#endif
