/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/decode: from ids to one text: their pieces, then the decoders one after another. Refuses ids beyond the
 * vocabulary. */
#include "tokenizer/engine.h"

#include <string.h>

/* Of one text, in any stage: a decoder may make much of little. */
#define MAX_BYTES ((size_t)256 << 20)

void tkr_tok_texts_free(tkr_tok_texts *texts) {
    tkr_buf_free(&texts->bytes);
    tkr_free(texts->ends);
    *texts = (tkr_tok_texts){0};
}

static void clear(tkr_tok_texts *texts) {
    texts->bytes.size = 0;
    texts->bytes.failed = false;
    texts->bytes.cap = MAX_BYTES;
    (void)tkr_buf_reserve(&texts->bytes,
                          0); /* also empty texts have an address; a failure shows at the first of them */
    texts->n = 0;
}

/* NULL: the id has no piece. */
static const char *spelling(size_t *n, const tkr_tok *tok, const tkr_tok_added *added, int32_t id) {
    const tkr_tok_vocab *vocab = &tok->vocab;
    if (added != NULL) {
        *n = added->n_content;
        return added->content;
    }
    if ((size_t)id >= vocab->n_ids || vocab->offset[id] == UINT32_MAX) {
        return NULL;
    }
    *n = vocab->length[id];
    return vocab->pool.data + vocab->offset[id];
}

static tkr_status no_memory(size_t n_ids, tkr_error *error) {
    return TKR_FAIL(error, NO_MEMORY, "no memory for the text of %zu ids, which may have %zu bytes", n_ids, MAX_BYTES);
}

static tkr_status spell(tkr_tok_texts *out, const tkr_tok *tok, const int32_t *ids, size_t n_ids, bool skip_special,
                        tkr_error *error) {
    for (size_t i = 0; i < n_ids; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= tok->n_ids) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "id %d (number %zu) is outside of the vocabulary: 0 to %zu",
                            (int)ids[i], i, tok->n_ids == 0 ? 0 : tok->n_ids - 1);
        }
        const tkr_tok_added *added = tok->n_added > 0 ? tkr_tok_find_added(tok, ids[i]) : NULL;
        size_t n = 0;
        const char *piece = spelling(&n, tok, added, ids[i]);
        if (piece == NULL || (skip_special && added != NULL && added->special)) {
            continue;
        }
        if (!tok->has_decoder && out->n > 0) {
            (void)tkr_buf_putc(&out->bytes, ' ');
        }
        (void)tkr_buf_append(&out->bytes, piece, n);
        if (!tkr_tok_texts_end(out)) {
            return no_memory(n_ids, error);
        }
    }
    return TKR_OK;
}

static tkr_status run_decoders(tkr_tok_scratch *scratch, const tkr_tok *tok, size_t n_ids, tkr_error *error) {
    for (size_t i = 0; i < tok->n_decoders; i++) {
        const tkr_tok_stage *stage = &tok->decoders[i];
        clear(&scratch->spare_texts);
        if (!stage->component->decode(stage->self, scratch, &scratch->spare_texts, &scratch->texts)) {
            if (scratch->problem != NULL) {
                return TKR_FAIL(error, LIMIT, "the decoder's regular expression \"%.80s\" needs too many steps",
                                scratch->problem);
            }
            return no_memory(n_ids, error);
        }
        const tkr_tok_texts old = scratch->texts;
        scratch->texts = scratch->spare_texts;
        scratch->spare_texts = old;
    }
    return TKR_OK;
}

static void trim(tkr_tok_texts *texts) {
    if (texts->bytes.room > TKR_TOK_KEEP_BYTES || texts->room > TKR_TOK_KEEP_BYTES / sizeof *texts->ends) {
        tkr_tok_texts_free(texts);
    }
}

/* Pieces may come from files that nobody checked for valid UTF-8. */
static bool append_valid(tkr_buf *text, tkr_tok_scratch *scratch) {
    const tkr_buf *bytes = &scratch->texts.bytes;
    if (bytes->size == 0) {
        return tkr_buf_append(text, "", 0); /* not even an address until now */
    }
    if (tkr_utf8_valid_prefix(bytes->data, bytes->size) == bytes->size) {
        return tkr_buf_append(text, bytes->data, bytes->size);
    }
    return tkr_tok_replace_invalid(&scratch->clean, bytes->data, bytes->size) &&
           tkr_buf_append(text, scratch->clean.data, scratch->clean.size);
}

tkr_status tkr_tok_decode(tkr_buf *text, const tkr_tok *tok, tkr_tok_scratch *scratch, const int32_t *ids, size_t n_ids,
                          bool skip_special, tkr_error *error) {
    if (tok->decoder_problem != NULL) {
        return TKR_FAIL(error, UNSUPPORTED, "%s", tok->decoder_problem);
    }
    scratch->problem = NULL;
    clear(&scratch->texts);
    tkr_status status = spell(&scratch->texts, tok, ids, n_ids, skip_special, error);
    if (status == TKR_OK) {
        status = run_decoders(scratch, tok, n_ids, error);
    }
    if (status == TKR_OK && !append_valid(text, scratch)) {
        status = no_memory(n_ids, error);
    }
    trim(&scratch->texts);
    trim(&scratch->spare_texts);
    return status;
}
