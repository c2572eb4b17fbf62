/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: BPE: of all neighbours the pair with the lowest rank merges first, the leftmost of equals. Short words by
 * scanning the ranks, longer ones by a heap, very long ones by a heap over a moving window. */
#include "tokenizer/bpe.h"

#include <string.h>

enum { SCAN_MOST = 48 /* symbols */ };

static bool put(tkr_tok_scratch *scratch, int32_t id, uint32_t begin, uint32_t end) {
    if (!TKR_TOK_GROW(scratch->pieces, scratch->pieces_room, scratch->n_pieces + 1)) {
        return false;
    }
    scratch->pieces[scratch->n_pieces++] = (tkr_tok_piece_out){id, begin, end};
    return true;
}

/* ---- the first symbols ---- */

typedef struct opening {
    const tkr_bpe *bpe;
    tkr_tok_scratch *scratch;
    size_t n;
    int32_t unknown; /* waits, -1: none does */
    uint32_t n_unknown;
} opening;

static void add(opening *f, int32_t id, uint32_t length) {
    f->scratch->first_symbols[f->n++] = (tkr_tok_first_symbol){id, length};
}

static void flush_unknown(opening *f) {
    if (f->unknown >= 0) {
        add(f, f->unknown, f->n_unknown);
        f->unknown = -1;
    }
}

static int32_t find_symbol(const tkr_bpe *self, tkr_tok_scratch *scratch, const char *text, size_t n, bool is_first,
                           bool is_last) {
    const size_t n_prefix = is_first ? 0 : self->n_prefix, n_suffix = is_last ? self->n_suffix : 0;
    if (n_prefix + n_suffix == 0) {
        return n == 1 && (uint8_t)text[0] < 0x80 ? self->ascii[(uint8_t)text[0]]
                                                 : tkr_tok_vocab_find(&self->tok->vocab, text, n);
    }
    tkr_buf *spelling = &scratch->spelling; /* reserved by the caller */
    spelling->size = 0;
    return tkr_buf_append(spelling, self->prefix, n_prefix) && tkr_buf_append(spelling, text, n) &&
                   tkr_buf_append(spelling, self->suffix, n_suffix)
               ? tkr_tok_vocab_find(&self->tok->vocab, spelling->data, spelling->size)
               : -1;
}

/* false: some byte has no piece. */
static bool add_bytes(opening *f, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (f->bpe->bytes[(uint8_t)text[i]] < 0) {
            return false;
        }
    }
    for (size_t i = 0; i < n; i++) {
        add(f, f->bpe->bytes[(uint8_t)text[i]], 1);
    }
    return true;
}

/* A character that isn't in the vocabulary. Like the reference, lets an unknown one wait behind byte pieces. */
static void add_stranger(opening *f, const char *text, size_t n) {
    const tkr_bpe *self = f->bpe;
    if ((self->byte_fallback && add_bytes(f, text, n)) || self->unknown < 0) {
        return;
    }
    if (f->unknown >= 0 && self->fuse_unknown) {
        f->n_unknown += (uint32_t)n;
        return;
    }
    flush_unknown(f);
    f->unknown = self->unknown;
    f->n_unknown = (uint32_t)n;
}

/* Fills scratch->first_symbols; returns how many, SIZE_MAX when out of memory. */
static size_t fill_first_symbols(const tkr_bpe *self, tkr_tok_scratch *scratch, const char *word, size_t n) {
    opening f = {.bpe = self, .scratch = scratch, .unknown = -1};
    scratch->work += n;
    if (!TKR_TOK_GROW(scratch->first_symbols, scratch->first_room, n) ||
        !tkr_buf_reserve(&scratch->spelling, self->n_prefix + self->n_suffix + 4)) {
        return SIZE_MAX;
    }
    if (self->takes_bytes) {
        for (size_t i = 0; i < n; i++) {
            add(&f, self->bytes[(uint8_t)word[i]], 1);
        }
        return n;
    }
    for (size_t i = 0; i < n;) {
        const size_t size = tkr_tok_char_size(word[i]);
        const int32_t id = find_symbol(self, scratch, word + i, size, i == 0, i + size >= n);
        if (id >= 0) {
            flush_unknown(&f);
            add(&f, id, (uint32_t)size);
        } else {
            add_stranger(&f, word + i, size);
        }
        i += size;
    }
    flush_unknown(&f);
    return f.n;
}

/* ---- merging ---- */

/* Merges n <= SCAN_MOST symbols and puts the tokens. */
static bool put_by_scan(const tkr_bpe *self, tkr_tok_scratch *scratch, size_t n, size_t at_byte) {
    int32_t id[SCAN_MOST];
    uint32_t length[SCAN_MOST], rank[SCAN_MOST];
    for (size_t i = 0; i < n; i++) {
        id[i] = scratch->first_symbols[i].id;
        length[i] = scratch->first_symbols[i].length;
        rank[i] = i + 1 < n ? tkr_bpe_rank(self, id[i], scratch->first_symbols[i + 1].id) : TKR_BPE_NO_RANK;
    }
    scratch->work += n;
    while (n > 1) {
        size_t at = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            at = rank[i] < rank[at] ? i : at;
        }
        if (rank[at] == TKR_BPE_NO_RANK) {
            break;
        }
        id[at] = self->merged[rank[at]];
        length[at] += length[at + 1];
        n--;
        for (size_t i = at + 1; i < n; i++) {
            id[i] = id[i + 1];
            length[i] = length[i + 1];
            rank[i] = rank[i + 1];
        }
        rank[at] = at + 1 < n ? tkr_bpe_rank(self, id[at], id[at + 1]) : TKR_BPE_NO_RANK;
        if (at > 0) {
            rank[at - 1] = tkr_bpe_rank(self, id[at - 1], id[at]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (!put(scratch, id[i], (uint32_t)at_byte, (uint32_t)(at_byte + length[i]))) {
            return false;
        }
        at_byte += length[i];
    }
    return true;
}

/* A heap of rank << 32 | position, the least on top. An entry whose pair has changed since is passed over. */
static void sift_down(uint64_t *heap, size_t n, size_t at) {
    const uint64_t item = heap[at];
    for (size_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        child += child + 1 < n && heap[child + 1] < heap[child];
        if (heap[child] >= item) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = item;
}

static void push_heap(uint64_t *heap, size_t *n, uint64_t item) {
    size_t at = (*n)++;
    while (at > 0 && heap[(at - 1) / 2] > item) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = item;
}

typedef struct window {
    const tkr_bpe *bpe;
    tkr_tok_scratch *scratch;
    tkr_tok_symbol *symbols; /* [n]; of those merged into another the length becomes 0 */
    size_t n;
    size_t n_heap;
} window;

/* Sets the rank of symbol `at` with its neighbour and queues it. Each merge queues at most two and uses one up, so that
 * twice the symbols are room enough. */
static void renew(window *w, uint32_t at) {
    tkr_tok_symbol *symbol = &w->symbols[at];
    symbol->rank =
        symbol->next < w->n ? tkr_bpe_rank(w->bpe, symbol->id, w->symbols[symbol->next].id) : TKR_BPE_NO_RANK;
    if (symbol->rank != TKR_BPE_NO_RANK) {
        push_heap(w->scratch->heap, &w->n_heap, (uint64_t)symbol->rank << 32 | at);
    }
    w->scratch->work++;
}

/* Merges the first symbols [from, from + w->n) in w->symbols. The heap has room for twice as many. */
static void merge_window(window *w, size_t from) {
    uint64_t *heap = w->scratch->heap;
    const tkr_tok_first_symbol *first = w->scratch->first_symbols + from;
    w->n_heap = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        const uint32_t rank = i + 1 < w->n ? tkr_bpe_rank(w->bpe, first[i].id, first[i + 1].id) : TKR_BPE_NO_RANK;
        w->symbols[i] = (tkr_tok_symbol){first[i].id, first[i].length, rank, i - 1, i + 1}; /* -1: beyond any */
        if (rank != TKR_BPE_NO_RANK) {
            heap[w->n_heap++] = (uint64_t)rank << 32 | i;
        }
    }
    for (size_t i = w->n_heap / 2; i > 0; i--) {
        sift_down(heap, w->n_heap, i - 1);
    }
    w->scratch->work += w->n;
    while (w->n_heap > 0) {
        const uint64_t top = heap[0];
        heap[0] = heap[--w->n_heap];
        if (w->n_heap > 0) {
            sift_down(heap, w->n_heap, 0);
        }
        w->scratch->work++;
        const uint32_t at = (uint32_t)top;
        tkr_tok_symbol *symbol = &w->symbols[at];
        if (symbol->length == 0 || symbol->rank != (uint32_t)(top >> 32)) {
            continue;
        }
        tkr_tok_symbol *gone = &w->symbols[symbol->next];
        symbol->id = w->bpe->merged[symbol->rank];
        symbol->length += gone->length;
        symbol->next = gone->next;
        gone->length = 0;
        if (symbol->next < w->n) {
            w->symbols[symbol->next].previous = at;
        }
        renew(w, at);
        if (symbol->previous < w->n) {
            renew(w, symbol->previous);
        }
    }
}

/*
 * A long word goes through a window of bpe->window symbols, so that the work stays near the CPU and linear. That this
 * gives the tokens of the whole: as long as no merge crosses a border, each side merges as if it were alone, and
 * whether one crosses is decided by the two tokens at the border alone (only merges inside them have changed what lies
 * at it). So if the tokens x and y of neighbouring texts, merged together, give x and y again, the texts' tokens are
 * those of both together. Where they don't, the window begins some tokens earlier.
 */
enum { MOST_RETRIES = 8 };

/* Whether the token of first symbols [a, b) and the one of [b, c) stay two when merged together. */
static bool stay_apart(const window *w, size_t a, size_t b, size_t c) {
    window both = {w->bpe, w->scratch, w->scratch->symbols + w->bpe->window, c - a, 0};
    if (c - a > w->bpe->window) {
        return false;
    }
    merge_window(&both, a);
    return both.symbols[0].next == b - a && both.symbols[b - a].next == c - a;
}

/* First symbols that the last `count` of scratch->pieces, but not those in front of `oldest`, are made of; these are
 * taken off. The last of them ends in front of first symbol `at`. */
static size_t take_back(tkr_tok_scratch *scratch, size_t oldest, size_t at, size_t count) {
    const size_t before = at;
    for (; count > 0 && scratch->n_pieces > oldest; count--) {
        const tkr_tok_piece_out *piece = &scratch->pieces[--scratch->n_pieces];
        for (size_t bytes = piece->end - piece->begin; bytes > 0;) {
            bytes -= scratch->first_symbols[--at].length;
        }
    }
    return before - at;
}

static bool put_by_window(const tkr_bpe *self, tkr_tok_scratch *scratch, size_t n, size_t at_byte) {
    size_t size = n < self->window ? n : self->window;
    const size_t oldest = scratch->n_pieces, first_byte = at_byte;
    size_t last = 0;               /* first symbols of the token put last */
    size_t stuck = 0, retries = 0; /* the farthest border that was wrong, and how often since it was passed */
    for (size_t at = 0; at < n;) {
        if (!TKR_TOK_GROW(scratch->symbols, scratch->symbols_room, size + self->window) ||
            !TKR_TOK_GROW(scratch->heap, scratch->heap_room, 2 * (size + self->window))) {
            return false;
        }
        window w = {self, scratch, scratch->symbols, size < n - at ? size : n - at, 0};
        merge_window(&w, at);
        if (last > 0 && !stay_apart(&w, at - last, at, at + w.symbols[0].next)) {
            stuck = at > stuck ? at : stuck;
            at -= take_back(scratch, oldest, at, retries < MOST_RETRIES ? (size_t)1 << retries : SIZE_MAX);
            size = retries++ < MOST_RETRIES ? size : n; /* this word has all in one window */
            at_byte = scratch->n_pieces > oldest ? scratch->pieces[scratch->n_pieces - 1].end : first_byte;
            last = scratch->n_pieces > oldest ? take_back(scratch, oldest, at, 1) : 0;
            scratch->n_pieces += last > 0;
            continue;
        }
        /* Tokens near the end of the window may still change with what follows. */
        const size_t sure = at + w.n == n ? n : w.n - w.n / 4;
        uint32_t i = 0;
        for (uint32_t next; i < w.n && i < sure; i = next) {
            next = w.symbols[i].next;
            if (!put(scratch, w.symbols[i].id, (uint32_t)at_byte, (uint32_t)(at_byte + w.symbols[i].length))) {
                return false;
            }
            at_byte += w.symbols[i].length;
            last = next - i;
        }
        at += i;
        retries = at > stuck ? 0 : retries;
    }
    return true;
}

/* ---- a word ---- */

/* The id of the whole word, -1: it is no piece. */
static int32_t find_whole(const tkr_bpe *self, tkr_tok_scratch *scratch, const char *word, size_t n) {
    if (n > self->tok->vocab.index.max_length) {
        return -1;
    }
    if (!self->takes_bytes) {
        return tkr_tok_vocab_find(&self->tok->vocab, word, n);
    }
    scratch->spelling.size = 0;
    for (size_t i = 0; i < n; i++) {
        char bytes[4];
        if (!tkr_buf_append(&scratch->spelling, bytes, tkr_utf8_put(bytes, tkr_tok_byte_char((uint8_t)word[i])))) {
            return -1;
        }
    }
    return tkr_tok_vocab_find(&self->tok->vocab, scratch->spelling.data, scratch->spelling.size);
}

static bool encode_part(const tkr_bpe *self, tkr_tok_scratch *scratch, const char *word, size_t begin, size_t n) {
    const size_t count = fill_first_symbols(self, scratch, word + begin, n);
    return count != SIZE_MAX && (count <= SCAN_MOST ? put_by_scan : put_by_window)(self, scratch, count, begin);
}

/* End of the part that begins at `at`: in front of the next mark behind something else. */
static size_t part_end(const char *word, size_t n, size_t at) {
    bool marks = true;
    while (at < n) {
        const bool mark = tkr_bpe_is_mark(word, n, at);
        if (mark && !marks) {
            break;
        }
        marks = mark;
        at += tkr_tok_char_size(word[at]);
    }
    return at;
}

/* One of several parts, through the word cache. */
static bool encode_cached(const tkr_bpe *self, tkr_tok_scratch *scratch, const char *word, size_t begin, size_t n) {
    if (n > TKR_TOK_CACHE_WORD) {
        return encode_part(self, scratch, word, begin, n);
    }
    uint64_t key[2] = {0, 0};
    memcpy(key, word + begin, n);
    tkr_tok_cached *entry = tkr_tok_cache_at(scratch->cache, key[0], key[1]);
    const size_t first = scratch->n_pieces;
    if (entry->length != n || entry->key[0] != key[0] || entry->key[1] != key[1]) {
        const bool ok = encode_part(self, scratch, word, begin, n);
        if (ok) {
            tkr_tok_cache_store(entry, key, n, scratch, first, begin);
        }
        return ok;
    }
    if (!TKR_TOK_GROW(scratch->pieces, scratch->pieces_room, first + entry->n)) {
        return false;
    }
    uint32_t at = (uint32_t)begin;
    for (size_t i = 0; i < entry->n; i++) {
        const uint32_t end = (uint32_t)begin + entry->ends[i];
        scratch->pieces[scratch->n_pieces++] = (tkr_tok_piece_out){entry->ids[i], at, end};
        at = end;
    }
    return true;
}

bool tkr_bpe_word(const void *data, tkr_tok_scratch *scratch, const char *word, size_t n) {
    const tkr_bpe *self = data;
    if (self->ignore_merges) {
        if (!tkr_buf_reserve(&scratch->spelling, 2 * (n < 4096 ? n : 4096))) {
            return false;
        }
        const int32_t id = find_whole(self, scratch, word, n);
        if (scratch->spelling.failed || id >= 0) {
            return id >= 0 && put(scratch, id, 0, (uint32_t)n);
        }
    }
    for (size_t at = 0; at < n;) {
        const size_t end = self->cut_at_mark ? part_end(word, n, at) : n;
        const bool whole = at == 0 && end == n;
        if (!(whole ? encode_part : encode_cached)(self, scratch, word, at, end - at)) {
            return false;
        }
        at = end;
    }
    return true;
}
