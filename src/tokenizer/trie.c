/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/trie: building the double array in linear time: a node tries a bounded number of free places for its
 * children, then takes new ones at the end. */
#include "tokenizer/trie.h"

#include <stdlib.h>
#include <string.h>

enum { BYTES = 256, MOST_TRIES = 24, GROWTH = 512 };

typedef struct key {
    const char *text;
    size_t n;
    int32_t id;
} key;

typedef struct range { /* a cell whose children are to be placed: the keys below it */
    uint32_t begin, end, depth, cell;
} range;

typedef struct builder {
    key *keys; /* sorted */
    range *ranges;
    size_t n_ranges, ranges_room;
    tkr_tok_cell *cells;
    uint32_t *next, *previous; /* free cells, in a ring through cell 0 */
    size_t n, room, next_room, previous_room;
    uint32_t top; /* no cell from here on is taken */
} builder;

static int compare(const void *a, const void *b) {
    const key *x = a, *y = b;
    const int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
    return order != 0 ? order : (x->n > y->n) - (x->n < y->n);
}

/* Cells [0, count) exist afterwards, the new ones free. */
static bool grow(builder *b, size_t count) {
    if (count <= b->n) {
        return true;
    }
    if (count >= TKR_TOK_NO_CELL || !TKR_TOK_GROW(b->cells, b->room, count) ||
        !TKR_TOK_GROW(b->next, b->next_room, count) || !TKR_TOK_GROW(b->previous, b->previous_room, count)) {
        return false;
    }
    for (; b->n < count; b->n++) {
        const uint32_t cell = (uint32_t)b->n, last = cell == 0 ? 0 : b->previous[0];
        b->cells[cell] = (tkr_tok_cell){0, TKR_TOK_NO_CELL, -1};
        b->previous[cell] = last;
        b->next[cell] = 0;
        b->next[last] = cell;
        b->previous[0] = cell;
    }
    return true;
}

static void take(builder *b, uint32_t cell, uint32_t parent) {
    b->top = cell >= b->top ? cell + 1 : b->top;
    b->cells[cell].check = parent;
    b->next[b->previous[cell]] = b->next[cell];
    b->previous[b->next[cell]] = b->previous[cell];
}

/* Where the children by bytes[0, n), in order, all find free cells; all that such a base may reach exists then. */
static bool find_base(builder *b, uint32_t *base, const uint8_t *bytes, size_t n) {
    uint32_t cell = b->next[0];
    for (int tries = 0; cell != 0 && tries < MOST_TRIES; tries++, cell = b->next[cell]) {
        if (cell < BYTES) { /* so that no base is negative */
            continue;
        }
        *base = cell - bytes[0];
        size_t i = 1;
        while (i < n && *base + bytes[i] < b->n && b->cells[*base + bytes[i]].check == TKR_TOK_NO_CELL) {
            i++;
        }
        if (i == n) {
            return grow(b, *base + (size_t)BYTES);
        }
    }
    *base = (b->top > BYTES ? b->top : BYTES) - bytes[0];
    return grow(b, *base + (size_t)GROWTH);
}

/* Places the children of a cell; those that have children of their own wait in b->ranges. */
static bool place(builder *b, range r) {
    uint8_t bytes[BYTES];
    uint32_t starts[BYTES + 1];
    size_t n = 0;
    if (b->keys[r.begin].n == r.depth) { /* the piece that ends here */
        b->cells[r.cell].id = b->keys[r.begin++].id;
    }
    for (uint32_t i = r.begin; i < r.end; i++) {
        const uint8_t byte = (uint8_t)b->keys[i].text[r.depth];
        if (n == 0 || bytes[n - 1] != byte) {
            starts[n] = i;
            bytes[n++] = byte;
        }
    }
    starts[n] = r.end;
    uint32_t base = 0;
    if (n == 0) {
        return true;
    }
    if (!find_base(b, &base, bytes, n)) {
        return false;
    }
    b->cells[r.cell].base = base;
    for (size_t i = 0; i < n; i++) {
        const uint32_t cell = base + bytes[i];
        take(b, cell, r.cell);
        if (!TKR_TOK_GROW(b->ranges, b->ranges_room, b->n_ranges + 1)) {
            return false;
        }
        b->ranges[b->n_ranges++] = (range){starts[i], starts[i + 1], r.depth + 1, cell};
    }
    return true;
}

tkr_tok_cell *tkr_tok_trie_build(size_t *n_cells, const tkr_tok_vocab *vocab) {
    builder b = {.keys = tkr_malloc((vocab->n_pieces + 1) * sizeof(key))};
    bool ok = b.keys != NULL;
    size_t n = 0;
    for (size_t id = 0; id < vocab->n_ids && ok; id++) {
        if (vocab->offset[id] != UINT32_MAX && vocab->length[id] > 0) {
            b.keys[n++] = (key){vocab->pool.data + vocab->offset[id], vocab->length[id], (int32_t)id};
        }
    }
    if (ok && n > 0) {
        qsort(b.keys, n, sizeof *b.keys, compare);
    }
    ok = ok && grow(&b, GROWTH);
    if (ok) {
        b.cells[0].check = 0;
    }
    ok = ok && (n == 0 || place(&b, (range){0, (uint32_t)n, 0, 0}));
    while (ok && b.n_ranges > 0) { /* the last first: what lies below a cell comes near it */
        ok = place(&b, b.ranges[--b.n_ranges]);
    }
    tkr_free(b.keys);
    tkr_free(b.ranges);
    tkr_free(b.next);
    tkr_free(b.previous);
    if (!ok) {
        tkr_free(b.cells);
        return NULL;
    }
    *n_cells = b.n;
    return b.cells;
}

bool tkr_tok_trie_check(const tkr_tok_cell *cells, size_t n_cells, size_t n_ids) {
    bool ok = n_cells > BYTES;
    for (size_t i = 0; i < n_cells && ok; i++) {
        ok = cells[i].base <= n_cells - BYTES && cells[i].id >= -1 && (cells[i].id < 0 || (size_t)cells[i].id < n_ids);
    }
    return ok;
}
