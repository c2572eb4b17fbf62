/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/spm: pieces with scores and types, as SentencePiece models and GGUF files list them, on their way to a
 * tokenizer: tkr_spm_start, tkr_spm_add for each piece in order, tkr_spm_describe, then tkr_tok_build. */
#ifndef TKR_TOKENIZER_SPM_H
#define TKR_TOKENIZER_SPM_H

#include "tokenizer/build.h"

typedef enum tkr_spm_type {
    TKR_SPM_NORMAL = 1,
    TKR_SPM_UNKNOWN,
    TKR_SPM_CONTROL,
    TKR_SPM_USER_DEFINED,
    TKR_SPM_UNUSED,
    TKR_SPM_BYTE
} tkr_spm_type;

typedef struct tkr_spm {
    const tkr_tok_options *options; /* NULL: none */
    bool bpe, byte_fallback;
    bool add_dummy_prefix, remove_extra_whitespaces;
    const uint8_t *charsmap; /* borrowed, n_charsmap 0: none */
    size_t n_charsmap;
    int32_t unknown; /* id, -1: no piece of that type yet */
    size_t n_listed; /* pieces seen */
    uint8_t *types;  /* [n_ids] tkr_spm_type */
    size_t types_room;
} tkr_spm;

tkr_status tkr_spm_start(tkr_spm *spm, const tkr_tok_loader *loader, const tkr_tok_options *options);
/* Adds a piece to the vocabulary under the id that the options' layout gives it. */
tkr_status tkr_spm_add(tkr_spm *spm, tkr_tok *tok, const char *text, size_t n, double score, tkr_spm_type type,
                       const char *what, tkr_error *error);
/* After the last piece: the model's fields, merges, added tokens and the other blocks. */
tkr_status tkr_spm_describe(tkr_spm *spm, const tkr_tok_loader *loader, tkr_tok_blocks *blocks);
void tkr_spm_free(tkr_spm *spm);

#endif
