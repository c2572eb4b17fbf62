/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/vocab: pieces by id and by text. One pool of bytes, open addressing at a load of at most one half. */
#include "tokenizer/engine.h"

#include <string.h>

#define NO_PIECE UINT32_MAX

bool tkr_tok_grow(void *pointer_at, size_t *room, size_t count, size_t size) {
    size_t want = *room < 16 ? 16 : *room * 2, bytes;
    want = want < count ? count : want;
    if (!tkr_mul_size(&bytes, want, size)) {
        return false;
    }
    void *block; /* copied as bytes: it has another pointer type */
    memcpy(&block, pointer_at, sizeof block);
    void *grown = tkr_realloc(block, bytes);
    if (grown == NULL) {
        return false;
    }
    memcpy(pointer_at, &grown, sizeof grown);
    *room = want;
    return true;
}

static bool reserve_ids(tkr_tok_vocab *vocab, size_t count) {
    size_t lengths_room = vocab->room;
    if (!TKR_TOK_GROW(vocab->length, lengths_room, count) || !TKR_TOK_GROW(vocab->offset, vocab->room, count)) {
        return false;
    }
    while (vocab->n_ids < count) {
        vocab->offset[vocab->n_ids++] = NO_PIECE;
    }
    return true;
}

tkr_tok_put tkr_tok_vocab_add(tkr_tok_vocab *vocab, int32_t id, const char *piece, size_t n) {
    const size_t index = (size_t)id;
    if (index >= vocab->n_ids && !reserve_ids(vocab, index + 1)) {
        return TKR_TOK_PUT_MEMORY;
    }
    if (vocab->offset[index] != NO_PIECE) {
        return TKR_TOK_PUT_TWICE;
    }
    const size_t at = vocab->pool.size;
    if (at > NO_PIECE - 1 - n || !tkr_buf_append(&vocab->pool, piece, n) || !tkr_buf_putc(&vocab->pool, '\0')) {
        return TKR_TOK_PUT_MEMORY;
    }
    vocab->offset[index] = (uint32_t)at;
    vocab->length[index] = (uint32_t)n;
    vocab->n_pieces++;
    return TKR_TOK_PUT_OK;
}

static uint64_t mix(uint64_t hash) {
    hash ^= hash >> 32;
    hash *= 0xD6E8FEB86659FD93u;
    return hash ^ (hash >> 29);
}

uint64_t tkr_tok_hash(uint64_t hash, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        hash = TKR_TOK_HASH_STEP(hash, text[i]);
    }
    return hash;
}

void tkr_tok_index_warm_slot(const tkr_tok_index *index, uint64_t hash) {
    __builtin_prefetch(&index->slots[(size_t)mix(hash) & index->mask]);
}

void tkr_tok_index_warm_piece(const tkr_tok_index *index, const tkr_tok_vocab *vocab, uint64_t hash) {
    const int32_t id = index->slots[(size_t)mix(hash) & index->mask].id;
    if (id >= 0) {
        __builtin_prefetch(&vocab->offset[id]);
        __builtin_prefetch(&vocab->length[id]);
    }
}

static bool same_text(const tkr_tok_index *index, const tkr_tok_vocab *vocab, int32_t id, const char *text, size_t n) {
    return vocab->length[id] == n + index->skip &&
           memcmp(vocab->pool.data + vocab->offset[id] + index->skip, text, n) == 0;
}

int32_t tkr_tok_index_find(const tkr_tok_index *index, const tkr_tok_vocab *vocab, uint64_t hash, const char *text,
                           size_t n) {
    const uint64_t mixed = mix(hash);
    const uint32_t tag = (uint32_t)(mixed >> 32);
    for (size_t i = (size_t)mixed & index->mask; index->slots[i].id >= 0; i = (i + 1) & index->mask) {
        if (index->slots[i].tag == tag && same_text(index, vocab, index->slots[i].id, text, n)) {
            return index->slots[i].id;
        }
    }
    return -1;
}

static bool has_prefix(const tkr_tok_vocab *vocab, size_t id, const char *prefix, size_t n_prefix) {
    return vocab->offset[id] != NO_PIECE && vocab->length[id] >= n_prefix &&
           (n_prefix == 0 || memcmp(vocab->pool.data + vocab->offset[id], prefix, n_prefix) == 0);
}

/* Puts one key; returns the id that has the same, -1: none. */
static int32_t put_slot(tkr_tok_index *index, const tkr_tok_vocab *vocab, int32_t id, uint64_t mixed) {
    const char *text = vocab->pool.data + vocab->offset[id] + index->skip;
    const size_t n = vocab->length[id] - index->skip;
    const uint32_t tag = (uint32_t)(mixed >> 32);
    size_t slot = (size_t)mixed & index->mask;
    for (; index->slots[slot].id >= 0; slot = (slot + 1) & index->mask) {
        if (index->slots[slot].tag == tag && same_text(index, vocab, index->slots[slot].id, text, n)) {
            return index->slots[slot].id;
        }
    }
    index->slots[slot] = (tkr_tok_slot){tag, id};
    index->max_length = n > index->max_length ? (uint32_t)n : index->max_length;
    index->lengths |= (uint64_t)1 << (n < 63 ? n : 63);
    return -1;
}

tkr_tok_put tkr_tok_index_build(tkr_tok_index *index, const tkr_tok_vocab *vocab, const char *prefix, size_t n_prefix,
                                int32_t *twice) {
    size_t n_keys = 0, count = 16, bytes;
    for (size_t id = 0; id < vocab->n_ids; id++) {
        n_keys += has_prefix(vocab, id, prefix, n_prefix);
    }
    while (count < n_keys * 2) {
        count *= 2;
    }
    if (!tkr_mul_size(&bytes, count, sizeof *index->slots)) {
        return TKR_TOK_PUT_MEMORY;
    }
    index->slots = tkr_malloc(bytes);
    if (index->slots == NULL) {
        return TKR_TOK_PUT_MEMORY;
    }
    memset(index->slots, 0xFF, bytes);
    index->mask = count - 1;
    index->skip = (uint32_t)n_prefix;
    struct {
        size_t id;
        uint64_t mixed;
    } block[16]; /* put together, so that the memory's latency is paid once */
    for (size_t id = 0; id < vocab->n_ids;) {
        size_t n_block = 0;
        for (; id < vocab->n_ids && n_block < sizeof block / sizeof block[0]; id++) {
            if (has_prefix(vocab, id, prefix, n_prefix)) {
                const char *text = vocab->pool.data + vocab->offset[id] + n_prefix;
                block[n_block].id = id;
                block[n_block].mixed = mix(tkr_tok_hash(0, text, vocab->length[id] - n_prefix));
                __builtin_prefetch(&index->slots[(size_t)block[n_block++].mixed & index->mask], 1);
            }
        }
        for (size_t i = 0; i < n_block; i++) {
            *twice = put_slot(index, vocab, (int32_t)block[i].id, block[i].mixed);
            if (*twice >= 0) {
                return TKR_TOK_PUT_TWICE;
            }
        }
    }
    return TKR_TOK_PUT_OK;
}

int32_t tkr_tok_vocab_find(const tkr_tok_vocab *vocab, const char *text, size_t n) {
    return vocab->index.slots == NULL ? -1
                                      : tkr_tok_index_find(&vocab->index, vocab, tkr_tok_hash(0, text, n), text, n);
}

void tkr_tok_index_free(tkr_tok_index *index) {
    tkr_free(index->slots);
    *index = (tkr_tok_index){0};
}

void tkr_tok_vocab_free(tkr_tok_vocab *vocab) {
    tkr_buf_free(&vocab->pool);
    tkr_free(vocab->offset);
    tkr_free(vocab->length);
    tkr_free(vocab->score);
    tkr_tok_index_free(&vocab->index);
    *vocab = (tkr_tok_vocab){0};
}
