/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: Unigram: the path with the best sum of scores, in doubles, ties to the path found first. Refuses
 * vocabularies without scores. */
#include "tokenizer/trie.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

#define UNKNOWN_PENALTY 10.0

typedef struct unigram {
    const tkr_tok *tok;
    const tkr_tok_cell *cells; /* in the arena or mapped */
    int32_t unknown;
    double unknown_score;
    bool byte_fallback;
    int32_t bytes[256]; /* with byte_fallback: ids of <0x00> to <0xFF>, -1: none */
} unigram;

/* ---- building ---- */

static tkr_status build_trie(unigram *self, const tkr_tok_loader *loader) {
    tkr_tok *tok = loader->tok;
    size_t n = 0;
    tkr_tok_cell *cells = tkr_tok_trie_build(&n, &tok->vocab);
    tkr_tok_cell *kept = cells != NULL ? tkr_arena_alloc(&tok->arena, n * sizeof *cells) : NULL;
    if (kept != NULL) {
        memcpy(kept, cells, n * sizeof *cells);
        tok->parts[TKR_TOK_PART_TRIE] = (tkr_tok_block){kept, n * sizeof *cells};
        self->cells = kept;
    }
    tkr_free(cells);
    return kept != NULL ? TKR_OK : TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for the vocabulary", loader->what);
}

/* The trie of a compiled tokenizer. */
static tkr_status map_trie(unigram *self, const tkr_tok_loader *loader) {
    const tkr_tok_block *part = &loader->tok->parts[TKR_TOK_PART_TRIE];
    self->cells = part->data;
    return part->size % sizeof *self->cells == 0 &&
                   tkr_tok_trie_check(self->cells, part->size / sizeof *self->cells, loader->tok->vocab.n_ids)
               ? TKR_OK
               : TKR_FAIL(loader->error, FORMAT, "%s: the compiled trie is damaged", loader->what);
}

static tkr_status parse(void **out, tkr_tok_loader *loader, const json_t *config) {
    tkr_tok *tok = loader->tok;
    const char *what = loader->what;
    tkr_error *error = loader->error;
    unigram *self = tkr_arena_alloc(&tok->arena, sizeof *self);
    if (self == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "%s: no memory for Unigram", what);
    }
    *out = self;
    self->tok = tok;
    if (tok->vocab.score == NULL) {
        return TKR_FAIL(error, FORMAT, "%s: the vocabulary of Unigram must be a list of [piece, score]", what);
    }
    bool byte_fallback = false;
    int64_t unknown = -1;
    tkr_status status = tkr_json_get_bool(&byte_fallback, config, "byte_fallback", false, what, error);
    if (status == TKR_OK) {
        status = tkr_json_get_int(&unknown, config, "unk_id", 0, (int64_t)tok->vocab.n_ids - 1, true, what, error);
    }
    if (status != TKR_OK) {
        return status;
    }
    self->byte_fallback = byte_fallback;
    for (size_t i = 0; i < 256; i++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        self->bytes[i] = tkr_tok_vocab_find(&tok->vocab, name, 6);
    }
    double lowest = DBL_MAX;
    for (size_t id = 0; id < tok->vocab.n_ids; id++) {
        lowest = tok->vocab.score[id] < lowest ? tok->vocab.score[id] : lowest;
    }
    self->unknown = (int32_t)unknown;
    self->unknown_score = lowest - UNKNOWN_PENALTY;
    return tok->mapped ? map_trie(self, loader) : build_trie(self, loader);
}

/* ---- encoding ---- */

static void offer(tkr_tok_path *target, double score, uint32_t start, int32_t id) {
    if (target->start == UINT32_MAX || score > target->score) {
        *target = (tkr_tok_path){score, start, id};
    }
}

static void find_path(const unigram *self, tkr_tok_scratch *scratch, const char *word, size_t n) {
    tkr_tok_path *best = scratch->path;
    const tkr_tok_cell *cells = self->cells;
    const double *score = self->tok->vocab.score;
    for (size_t i = 0; i <= n; i++) {
        best[i] = (tkr_tok_path){0.0, UINT32_MAX, -1};
    }
    for (size_t at = 0; at < n;) {
        const size_t size = tkr_tok_char_size(word[at]);
        const double before = best[at].score;
        bool single = false;
        uint32_t here = 0;
        size_t i = at;
        for (; i < n; i++) {
            here = tkr_tok_trie_child(cells, here, (uint8_t)word[i]);
            if (here == TKR_TOK_NO_CELL) {
                break;
            }
            const int32_t id = cells[here].id;
            if (id >= 0) {
                offer(&best[i + 1], before + score[id], (uint32_t)at, id);
                single = single || i + 1 == at + size;
            }
        }
        scratch->work += i - at + 1;
        if (!single) {
            offer(&best[at + size], before + self->unknown_score, (uint32_t)at, self->unknown);
        }
        at += size;
    }
}

static bool put(tkr_tok_scratch *scratch, int32_t id, size_t begin, size_t end) {
    if (!TKR_TOK_GROW(scratch->pieces, scratch->pieces_room, scratch->n_pieces + 1)) {
        return false;
    }
    scratch->pieces[scratch->n_pieces++] = (tkr_tok_piece_out){id, (uint32_t)begin, (uint32_t)end};
    return true;
}

/* Unknown text as its bytes, the last first, each with the offsets of the whole. false: some byte has no piece. */
static bool put_bytes(const unigram *self, tkr_tok_scratch *scratch, const char *word, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
        if (self->bytes[(uint8_t)word[i]] < 0) {
            return false;
        }
    }
    for (size_t i = end; i > begin; i--) { /* room is reserved */
        scratch->pieces[scratch->n_pieces++] =
            (tkr_tok_piece_out){self->bytes[(uint8_t)word[i - 1]], (uint32_t)begin, (uint32_t)end};
    }
    return true;
}

/* Neighbouring unknown characters become one token; a text of theirs that is a piece is that piece. */
static bool put_path(const unigram *self, tkr_tok_scratch *scratch, const char *word, size_t n) {
    const size_t first = scratch->n_pieces;
    for (size_t end = n; end > 0;) {
        const tkr_tok_path *step = &scratch->path[end];
        size_t begin = step->start;
        int32_t id = step->id;
        if (id == self->unknown) {
            while (begin > 0 && scratch->path[begin].id == self->unknown) {
                begin = scratch->path[begin].start;
            }
            const int32_t known = tkr_tok_vocab_find(&self->tok->vocab, word + begin, end - begin);
            id = known >= 0 ? known : id;
            if (known < 0 && self->byte_fallback) {
                if (!TKR_TOK_GROW(scratch->pieces, scratch->pieces_room, scratch->n_pieces + (end - begin))) {
                    return false;
                }
                if (put_bytes(self, scratch, word, begin, end)) {
                    end = begin;
                    continue;
                }
            }
        }
        if (!put(scratch, id, begin, end)) {
            return false;
        }
        end = begin;
    }
    for (size_t i = first, k = scratch->n_pieces; i + 1 < k; i++) {
        const tkr_tok_piece_out swap = scratch->pieces[i];
        scratch->pieces[i] = scratch->pieces[--k];
        scratch->pieces[k] = swap;
    }
    return true;
}

static bool encode(const void *data, tkr_tok_scratch *scratch, const char *word, size_t n) {
    const unigram *self = data;
    if (!TKR_TOK_GROW(scratch->path, scratch->path_room, n + 1)) {
        return false;
    }
    find_path(self, scratch, word, n);
    return put_path(self, scratch, word, n);
}

extern const tkr_tok_component tkr_model_unigram;
const tkr_tok_component tkr_model_unigram = {.parse = parse, .word = encode};
