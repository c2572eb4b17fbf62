/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: runs a tokenizer.json (normalizer, pre-tokenizer, model, post-processor, and back: decoder). Unknown
 * components are errors; unknown decoders only for what needs them. */
#ifndef TKR_TOKENIZER_TOKENIZER_H
#define TKR_TOKENIZER_TOKENIZER_H

#include <stdbool.h>

#include "core/mem.h"

typedef struct tkr_tok tkr_tok;                 /* immutable, shared by threads */
typedef struct tkr_tok_scratch tkr_tok_scratch; /* one a thread: buffers and the word cache */

/* Which ids the pieces of a SentencePiece model have. */
typedef enum tkr_tok_spm_layout {
    TKR_TOK_SPM_PLAIN,  /* their place in the file */
    TKR_TOK_SPM_FAIRSEQ /* XLM-RoBERTa: <s> <pad> </s> <unk>, the pieces from the fourth on, <mask>; "<s> A </s>" */
} tkr_tok_spm_layout;

typedef struct tkr_tok_options {
    bool lowercase; /* sentence_bert_config's do_lower_case: a Lowercase normalizer in front of the file's own */
    tkr_tok_spm_layout spm_layout;
    bool spm_canonical; /* SigLIP: ASCII punctuation is removed and white space made one space, before all else */
    const char *spm_prefix, *spm_suffix; /* PLAIN: pieces put around each text ("<bos>", "</s>"), NULL: none */
} tkr_tok_options;

/* Parses the bytes of a tokenizer.json (borrowed for the call only). The truncation and padding blocks are ignored.
 * `what` names the file in messages. Returns a tokenizer. */
tkr_status tkr_tok_load(tkr_tok **tok, const char *json, size_t size, const char *what, const tkr_tok_options *options,
                        tkr_error *error);
/* The same from a SentencePiece model (spiece.model, sentencepiece.bpe.model, tokenizer.model). */
tkr_status tkr_tok_load_spm(tkr_tok **tok, const char *bytes, size_t size, const char *what,
                            const tkr_tok_options *options, tkr_error *error);
void tkr_tok_free(tkr_tok **tok);

/* The compiled form: appends it to `out` (a multiple of 64 bytes), and makes a tokenizer of it without parsing. The
 * bytes of tkr_tok_map are borrowed until tkr_tok_free and must lie at a multiple of 8; `size` is exactly what
 * tkr_tok_save wrote. It holds for one version of the format and one byte order: others are TKR_UNSUPPORTED, damaged
 * ones TKR_FORMAT. What isn't checked is whether the content is that of the right tokenizer. */
tkr_status tkr_tok_save(tkr_buf *out, const tkr_tok *tok, tkr_error *error);
tkr_status tkr_tok_map(tkr_tok **tok, const void *bytes, size_t size, const char *what, tkr_error *error);

/* Returns scratch for use with `tok` only. */
tkr_status tkr_tok_scratch_create(tkr_tok_scratch **scratch, const tkr_tok *tok, tkr_error *error);
void tkr_tok_scratch_free(tkr_tok_scratch **scratch);

typedef struct tkr_tok_request {
    const char *text;
    size_t n_text;
    const char *pair; /* NULL: single */
    size_t n_pair;
    size_t max_tokens;     /* 0: no limit; counts special tokens. Pairs: longest_first */
    tkr_truncate truncate; /* TKR_TRUNCATE_ERROR: TKR_LIMIT when longer */
    bool special_tokens;   /* run the post-processor */
    bool want_offsets;
    bool strict_utf8; /* invalid UTF-8: TKR_INVALID_ARGUMENT with the byte offset */
} tkr_tok_request;

/* Owned by the scratch, valid until its next use. */
typedef struct tkr_tok_result {
    const int32_t *ids;      /* [n] */
    const uint8_t *type_ids; /* [n] */
    const uint64_t *offsets; /* [n, 2] bytes in text (or in pair where type_ids say so); NULL unless wanted */
    const uint8_t *special;  /* [n] 1 for tokens that the post-processor added */
    size_t n;
    size_t n_untruncated;
} tkr_tok_result;

tkr_status tkr_tok_encode(tkr_tok_result *result, const tkr_tok *tok, tkr_tok_scratch *scratch,
                          const tkr_tok_request *request, tkr_error *error);

/* Appends to `text` what the ids stand for, valid UTF-8. Ids below tkr_tok_vocab_size that have no piece give nothing,
 * ids beyond are TKR_INVALID_ARGUMENT. `skip_special`: leaves out added tokens that are special. */
tkr_status tkr_tok_decode(tkr_buf *text, const tkr_tok *tok, tkr_tok_scratch *scratch, const int32_t *ids, size_t n_ids,
                          bool skip_special, tkr_error *error);
/* An added token that the file calls special. */
bool tkr_tok_is_special(const tkr_tok *tok, int32_t id);

/* Highest id + 1, added tokens included. */
size_t tkr_tok_vocab_size(const tkr_tok *tok);
/* The vocabulary's spelling, NUL-terminated, borrowed; NULL when the id has none. */
const char *tkr_tok_piece(const tkr_tok *tok, int32_t id);
/* -1 when the token isn't there. */
int32_t tkr_tok_id(const tkr_tok *tok, const char *piece);
/* Tokens that the post-processor adds to a single text. */
size_t tkr_tok_n_added(const tkr_tok *tok, bool pair);

#endif
