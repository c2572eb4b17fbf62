/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/trie: a double-array trie over the bytes of a vocabulary's pieces: one memory access a byte. */
#ifndef TKR_TOKENIZER_TRIE_H
#define TKR_TOKENIZER_TRIE_H

#include "tokenizer/engine.h"

/* The child of cell n by byte b is cell cells[n].base + b, if that one's check is n. Cell 0 is the root. */
typedef struct tkr_tok_cell {
    uint32_t base;  /* at most n_cells - 256 */
    uint32_t check; /* the parent; UINT32_MAX: free */
    int32_t id;     /* of the piece that ends here, -1: none */
} tkr_tok_cell;
#define TKR_TOK_NO_CELL UINT32_MAX

/* Returns the cells (tkr_free), NULL when out of memory. Empty pieces are left out. */
tkr_tok_cell *tkr_tok_trie_build(size_t *n_cells, const tkr_tok_vocab *vocab);
/* Whether cells from a file can be walked: all bases in range, all ids below n_ids. */
bool tkr_tok_trie_check(const tkr_tok_cell *cells, size_t n_cells, size_t n_ids);

/* TKR_TOK_NO_CELL when there is no such child. */
static inline uint32_t tkr_tok_trie_child(const tkr_tok_cell *cells, uint32_t cell, uint8_t byte) {
    const uint32_t child = cells[cell].base + byte;
    return cells[child].check == cell ? child : TKR_TOK_NO_CELL;
}

#endif
