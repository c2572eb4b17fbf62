/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: Unigram: the path with the best sum of scores, in doubles, ties to the path found first. Refuses
 * byte_fallback and vocabularies without scores. */
#include "tokenizer/engine.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN_PENALTY 10.0

/* A byte trie; the children of a node lie side by side, sorted by their byte. */
typedef struct node {
    uint32_t child; /* first */
    int32_t id;     /* piece that ends here, -1: none */
    uint16_t n_children;
    uint8_t byte;
} node;

typedef struct unigram {
    const tkr_tok *tok;
    node *nodes; /* in the arena, 0 is the root */
    int32_t unknown;
    double unknown_score;
} unigram;

/* ---- building ---- */

typedef struct entry {
    const char *text;
    size_t n;
    int32_t id;
} entry;

typedef struct builder {
    entry *entries; /* sorted */
    size_t n_entries;
    node *nodes;
    struct {
        size_t begin, end; /* entries below a node */
        uint32_t depth;
    } * work; /* [room] as nodes */
    size_t n, room, work_room;
} builder;

static int compare(const void *a, const void *b) {
    const entry *x = a, *y = b;
    const int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
    return order != 0 ? order : (x->n > y->n) - (x->n < y->n);
}

static bool add_node(builder *b, size_t begin, size_t end, uint32_t depth, uint8_t byte) {
    if (!TKR_TOK_GROW(b->nodes, b->room, b->n + 1) || !TKR_TOK_GROW(b->work, b->work_room, b->n + 1)) {
        return false;
    }
    b->nodes[b->n] = (node){.id = -1, .byte = byte};
    b->work[b->n].begin = begin;
    b->work[b->n].end = end;
    b->work[b->n++].depth = depth;
    return true;
}

/* Breadth first: a node's children are appended together. */
static bool expand(builder *b, size_t index) {
    size_t begin = b->work[index].begin;
    const size_t end = b->work[index].end;
    const uint32_t depth = b->work[index].depth;
    if (begin < end && b->entries[begin].n == depth) {
        b->nodes[index].id = depth == 0 ? -1 : b->entries[begin].id;
        begin++;
    }
    b->nodes[index].child = (uint32_t)b->n;
    while (begin < end) {
        const uint8_t byte = (uint8_t)b->entries[begin].text[depth];
        size_t next = begin + 1;
        while (next < end && (uint8_t)b->entries[next].text[depth] == byte) {
            next++;
        }
        if (!add_node(b, begin, next, depth + 1, byte)) {
            return false;
        }
        b->nodes[index].n_children++;
        begin = next;
    }
    return true;
}

static bool build_trie(unigram *self, tkr_tok *tok) {
    const tkr_tok_vocab *vocab = &tok->vocab;
    builder b = {.entries = tkr_malloc((vocab->n_pieces + 1) * sizeof(entry))};
    bool ok = b.entries != NULL;
    for (size_t id = 0; id < vocab->n_ids && ok; id++) {
        b.entries[b.n_entries++] = (entry){vocab->pool.data + vocab->offset[id], vocab->length[id], (int32_t)id};
    }
    if (ok && b.n_entries > 0) {
        qsort(b.entries, b.n_entries, sizeof *b.entries, compare);
    }
    ok = ok && add_node(&b, 0, b.n_entries, 0, 0);
    for (size_t i = 0; ok && i < b.n; i++) {
        ok = expand(&b, i);
    }
    self->nodes = ok ? tkr_arena_alloc(&tok->arena, b.n * sizeof *b.nodes) : NULL;
    if (self->nodes != NULL) {
        memcpy(self->nodes, b.nodes, b.n * sizeof *b.nodes);
    }
    tkr_free(b.entries);
    tkr_free(b.nodes);
    tkr_free(b.work);
    return self->nodes != NULL;
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
    if (byte_fallback) {
        return TKR_FAIL(error, UNSUPPORTED, "%s: byte_fallback of Unigram is not supported", what);
    }
    double lowest = DBL_MAX;
    for (size_t id = 0; id < tok->vocab.n_ids; id++) {
        lowest = tok->vocab.score[id] < lowest ? tok->vocab.score[id] : lowest;
    }
    self->unknown = (int32_t)unknown;
    self->unknown_score = lowest - UNKNOWN_PENALTY;
    return build_trie(self, tok) ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "%s: no memory for the vocabulary", what);
}

/* ---- encoding ---- */

static const node *child_of(const node *nodes, const node *parent, uint8_t byte) {
    const node *child = nodes + parent->child;
    size_t low = 0, high = parent->n_children;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (child[middle].byte < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < parent->n_children && child[low].byte == byte ? &child[low] : NULL;
}

static void offer(tkr_tok_path *target, double score, uint32_t start, int32_t id) {
    if (target->start == UINT32_MAX || score > target->score) {
        *target = (tkr_tok_path){score, start, id};
    }
}

static void find_path(const unigram *self, tkr_tok_scratch *scratch, const char *word, size_t n) {
    tkr_tok_path *best = scratch->path;
    for (size_t i = 0; i <= n; i++) {
        best[i] = (tkr_tok_path){0.0, UINT32_MAX, -1};
    }
    for (size_t at = 0; at < n;) {
        const size_t size = tkr_tok_char_size(word[at]);
        const double before = best[at].score;
        bool single = false;
        const node *here = &self->nodes[0];
        for (size_t i = at; i < n; i++) {
            here = child_of(self->nodes, here, (uint8_t)word[i]);
            scratch->work++;
            if (here == NULL) {
                break;
            }
            if (here->id >= 0) {
                offer(&best[i + 1], before + self->tok->vocab.score[here->id], (uint32_t)at, here->id);
                single = single || i + 1 == at + size;
            }
        }
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
