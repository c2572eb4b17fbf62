/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: WordPiece, greedy longest match from the left. Refuses a vocabulary without the unknown token. */
#include "tokenizer/engine.h"

#include <string.h>

typedef struct wordpiece {
    const tkr_tok *tok;
    size_t max_chars; /* a longer word is unknown */
    int32_t unknown;
} wordpiece;

static tkr_status parse(void **out, tkr_tok_loader *loader, const json_t *config) {
    tkr_tok *tok = loader->tok;
    const char *what = loader->what;
    tkr_error *error = loader->error;
    wordpiece *self = tkr_arena_alloc(&tok->arena, sizeof *self);
    if (self == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "%s: no memory for WordPiece", what);
    }
    *out = self;
    self->tok = tok;
    const char *unknown = NULL, *prefix = NULL;
    int64_t max_chars = 0;
    tkr_status status = tkr_json_get_string(&unknown, config, "unk_token", true, what, error);
    if (status == TKR_OK) {
        status = tkr_json_get_string(&prefix, config, "continuing_subword_prefix", true, what, error);
    }
    if (status == TKR_OK) {
        status = tkr_json_get_int(&max_chars, config, "max_input_chars_per_word", 0, INT32_MAX, true, what, error);
    }
    if (status != TKR_OK) {
        return status;
    }
    self->max_chars = (size_t)max_chars;
    if (tok->vocab.n_pieces == 0 || tok->vocab.score != NULL) {
        return TKR_FAIL(error, FORMAT,
                        "%s: the vocabulary of WordPiece is missing, empty or a list, expected {piece: id}", what);
    }
    self->unknown = tkr_tok_vocab_find(&tok->vocab, unknown, strlen(unknown));
    if (self->unknown < 0) {
        return TKR_FAIL(error, FORMAT, "%s: unk_token \"%.40s\" is not in the vocabulary", what, unknown);
    }
    int32_t twice;
    if (tok->mapped) {
        return tkr_tok_map_index(&tok->continuing, loader, TKR_TOK_PART_CONTINUING, strlen(prefix));
    }
    if (tkr_tok_index_build(&tok->continuing, &tok->vocab, prefix, strlen(prefix), &twice) != TKR_TOK_PUT_OK) {
        return TKR_FAIL(error, NO_MEMORY, "%s: no memory for the vocabulary", what);
    }
    return TKR_OK;
}

static bool has_length(const tkr_tok_index *index, size_t n) { return (index->lengths >> (n < 63 ? n : 63)) & 1; }

/* Longest piece that word[begin, n) starts with; *end is set when there is one. */
static int32_t longest(const wordpiece *self, tkr_tok_scratch *scratch, const char *word, tkr_tok_range rest,
                       uint32_t *end) {
    const tkr_tok_index *index = rest.begin == 0 ? &self->tok->vocab.index : &self->tok->continuing;
    size_t n = rest.end - rest.begin;
    n = n < index->max_length ? n : index->max_length;
    const char *text = word + rest.begin;
    uint64_t *hashes = scratch->hashes;
    uint64_t hash = 0;
    for (size_t i = 0; i < n; i++) {
        hash = TKR_TOK_HASH_STEP(hash, text[i]);
        hashes[i] = hash;
    }
    scratch->work += n;
    for (size_t i = n; i > 0; i--) {
        const bool whole = rest.begin + i == rest.end || ((unsigned char)text[i] & 0xC0) != 0x80;
        if (whole && has_length(index, i)) {
            const int32_t id = tkr_tok_index_find(index, &self->tok->vocab, hashes[i - 1], text, i);
            if (id >= 0) {
                *end = rest.begin + (uint32_t)i;
                return id;
            }
        }
    }
    return -1;
}

static bool put(tkr_tok_scratch *scratch, int32_t id, uint32_t begin, uint32_t end) {
    if (!TKR_TOK_GROW(scratch->pieces, scratch->pieces_room, scratch->n_pieces + 1)) {
        return false;
    }
    scratch->pieces[scratch->n_pieces++] = (tkr_tok_piece_out){id, begin, end};
    return true;
}

static bool encode(const void *data, tkr_tok_scratch *scratch, const char *word, size_t n) {
    const wordpiece *self = data;
    const size_t before = scratch->n_pieces;
    size_t chars = 0;
    for (size_t i = 0; i < n; i++) {
        chars += ((unsigned char)word[i] & 0xC0) != 0x80;
    }
    scratch->work += n;
    if (chars > self->max_chars) {
        return put(scratch, self->unknown, 0, (uint32_t)n);
    }
    const tkr_tok_vocab *vocab = &self->tok->vocab;
    const size_t a = vocab->index.max_length, b = self->tok->continuing.max_length;
    if (!TKR_TOK_GROW(scratch->hashes, scratch->hashes_room, (a > b ? a : b) + 1)) {
        return false;
    }
    for (uint32_t begin = 0; begin < n;) {
        uint32_t end = 0;
        const int32_t id = longest(self, scratch, word, (tkr_tok_range){begin, (uint32_t)n}, &end);
        if (id < 0) { /* what can't be spelled makes the whole word unknown */
            scratch->n_pieces = before;
            return put(scratch, self->unknown, 0, (uint32_t)n);
        }
        if (!put(scratch, id, begin, end)) {
            return false;
        }
        begin = end;
    }
    return true;
}

extern const tkr_tok_component tkr_model_wordpiece;
const tkr_tok_component tkr_model_wordpiece = {.parse = parse, .word = encode};
