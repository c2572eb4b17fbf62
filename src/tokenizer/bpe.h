/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/bpe: what loading and encoding of BPE share. */
#ifndef TKR_TOKENIZER_BPE_H
#define TKR_TOKENIZER_BPE_H

#include "tokenizer/engine.h"

/* A pair of ids and the rank of its merge share 64 bits. */
enum { TKR_BPE_ID_BITS = 22, TKR_BPE_RANK_BITS = 20, TKR_BPE_MAX_MERGES = (1 << TKR_BPE_RANK_BITS) - 1 };
_Static_assert(TKR_TOK_MAX_ID == ((int64_t)1 << TKR_BPE_ID_BITS) - 1, "an id takes 22 bits");
#define TKR_BPE_FREE UINT64_MAX
#define TKR_BPE_NO_RANK UINT32_MAX

typedef struct tkr_bpe {
    const tkr_tok *tok;
    const uint64_t *slots; /* open addressing: left << 42 | right << 20 | rank, TKR_BPE_FREE */
    const int32_t *merged; /* [n_merges] the id that a merge gives, by rank */
    uint64_t *table;       /* slots and merged, while they are being filled */
    int32_t *results;
    unsigned shift; /* 64 - log2 of the number of slots */
    size_t mask;    /* number of slots - 1 */
    size_t n_merges;
    int32_t bytes[256]; /* byte_fallback: ids of <0x00> to <0xFF>; taking raw bytes: ids of their characters; or -1 */
    int32_t ascii[128]; /* ids of ASCII characters, -1: none */
    int32_t unknown;    /* -1: what isn't in the vocabulary is dropped */
    const char *prefix, *suffix;
    size_t n_prefix, n_suffix;
    bool fuse_unknown, byte_fallback, ignore_merges;
    size_t window;    /* symbols that a long word is merged by */
    bool takes_bytes; /* words are raw bytes, the vocabulary is in the alphabet of ByteLevel */
    bool cut_at_mark; /* no piece goes over the border in front of a U+2581 that follows another character */
} tkr_bpe;

static inline size_t tkr_bpe_slot(const tkr_bpe *self, uint64_t pair) {
    return (size_t)((pair * 0x9E3779B97F4A7C15u) >> self->shift);
}

/* Rank of the merge of two neighbours, TKR_BPE_NO_RANK: none. */
static inline uint32_t tkr_bpe_rank(const tkr_bpe *self, int32_t left, int32_t right) {
    const uint64_t pair = (uint64_t)(uint32_t)left << TKR_BPE_ID_BITS | (uint32_t)right;
    for (size_t i = tkr_bpe_slot(self, pair);; i = (i + 1) & self->mask) {
        const uint64_t slot = self->slots[i];
        if (slot >> TKR_BPE_RANK_BITS == pair && slot != TKR_BPE_FREE) {
            return (uint32_t)slot & TKR_BPE_MAX_MERGES;
        }
        if (slot == TKR_BPE_FREE) {
            return TKR_BPE_NO_RANK;
        }
    }
}

/* U+2581, the visible space of SentencePiece, at text[at]. */
static inline bool tkr_bpe_is_mark(const char *text, size_t size, size_t at) {
    return size - at >= 3 && (uint8_t)text[at] == 0xE2 && (uint8_t)text[at + 1] == 0x96 &&
           (uint8_t)text[at + 2] == 0x81;
}

/* Appends the tokens of one word to scratch->pieces. false: out of memory. */
bool tkr_bpe_word(const void *data, tkr_tok_scratch *scratch, const char *word, size_t n);

#endif
