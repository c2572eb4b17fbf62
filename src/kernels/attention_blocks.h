/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/attention_blocks: the order of the work of every vector attention kernel: keys in chunks whose borders are
 * fixed places of the sequence, an online softmax over the chunks (Milakov and Gimelshein, arXiv 1805.02867), blocks of
 * queries that share a chunk in L2, groups of MR queries that share a register tile. Knows no instructions. The
 * including file says first
 *   MR       query rows of a tile
 *   NR       keys of a panel of packed K
 *   STEP     keys that the softmax takes at once; divides NR
 *   ELEMENT  bytes of a packed value, 4 or 2
 * and defines the functions declared here. A query's keys are summed in ascending order; weights of keys that it
 * doesn't see are 0.
 */
#ifndef TKR_KERNELS_ATTENTION_BLOCKS_H
#define TKR_KERNELS_ATTENTION_BLOCKS_H

#include "kernels/kernels.h"

/* Of a block. With few keys all stays near as it is; with many, a key that comes from far serves more rows. */
enum { SHORT_GROUPS = 4, LONG_GROUPS = 8, BLOCK = LONG_GROUPS * MR, SHORT_KEYS = 512 };

typedef struct key_range {
    size_t low, high; /* keys low .. high - 1 */
} key_range;

/* What a call has to hand; sizes in bytes, every part of scratch a multiple of 64. */
typedef struct work {
    const tkr_attention_args *args;
    size_t base, n_padded;   /* packed keys base .. base + n_padded - 1, both multiples of NR */
    size_t dim_padded;       /* head_dim up to a multiple of 16 */
    size_t chunk;            /* keys of a chunk, multiple of 64 */
    size_t query_stride, ld; /* ld: scores between rows, which are `ld` floats, of weights `ld` elements */
    char *keys;              /* panels [n_padded / NR][head_dim][NR] in the kernel's granules */
    char *values;            /* n_padded * dim_padded elements, as the kernel likes */
    char *queries;           /* [BLOCK] query_stride */
    size_t origin;           /* key of column 0 of scores and weights: the first of the chunk that is packed */
    char *scores;            /* [BLOCK][ld] f32 */
    char *weights;           /* [BLOCK][ld] elements; with ELEMENT 4 the scores themselves */
    size_t total;
} work;

/* Up to MR consecutive queries and the keys of a chunk that any of them sees. */
typedef struct group {
    size_t row, n_rows; /* row: in the block */
    key_range keys;     /* low a multiple of STEP; low == high: none */
} group;

/* The softmax of one query so far: weights are 2^(c * score + offset), offset = -c * the largest score. */
typedef struct row_state {
    float offset, sum;
    float keep;  /* what the sums of earlier chunks are multiplied by; 0: there are none; < 0: this chunk isn't seen */
    float scale; /* 1, after the last chunk 1 / sum */
} row_state;

/* Packs keys base .. n_tokens - 1 or base + n_padded - 1; beyond n_tokens K must be finite and V 0. */
static void pack(const work *w);
/* Rows of q as the tiles take them, and their stride in bytes: where they lie or in w->queries. */
static const char *load_queries(const work *w, const float *q, size_t n_rows, size_t *stride);
/* Scores of a group against what it sees of the panel of keys panel .. panel + NR - 1. */
static void score_panel(const work *w, const group *g, const char *q, size_t stride, size_t panel);
/* Scores of row `row` of the block, token `query` of the sequence, to weights. seen, a part of keys, is not empty.
 * Updates offset, sum and keep; keep 0 on entry says that there are no earlier chunks. */
static void softmax_row(const work *w, size_t row, size_t query, key_range keys, key_range seen, row_state *state);
/* Multiplies a group's weights by columns of the values from d on and finishes these columns of its rows of out (row 0
 * of the block): out = (out * keep + sums) * scale. Returns the next d. */
static size_t add_values(const work *w, const group *g, size_t d, const row_state *states, float *out);

static inline size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

static inline size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Of query i of the sequence. */
static inline key_range keys_of(const tkr_attention_args *args, size_t i) {
    key_range r = {0, args->causal ? i + 1 : args->n_tokens};
    if (args->window) {
        r.low = i > args->window ? i - args->window : 0;
        if (args->window < args->n_tokens - 1 - i && i + args->window + 1 < r.high) {
            r.high = i + args->window + 1;
        }
    }
    return r;
}

/* What of r lies in `in`; low == high if nothing does. */
static inline key_range clip(key_range r, key_range in) {
    r.low = r.low > in.low ? r.low : in.low;
    r.high = least(r.high, in.high);
    r.high = r.high > r.low ? r.high : r.low;
    return r;
}

/* The parts of scratch for n_keys keys; with scratch NULL only sizes. */
static work layout(size_t n_keys, size_t head_dim, char *scratch) {
    work w = {.n_padded = round_up(n_keys, NR), .dim_padded = round_up(head_dim, 16)};
    /* K and V of a chunk take half of a small L2. A function of head_dim alone: it decides a row's bits. */
    w.chunk = head_dim <= 64 ? 512 : head_dim <= 128 ? 256 : 128;
    w.query_stride = round_up(head_dim * ELEMENT, 64);
    w.ld = least(w.chunk, w.n_padded) + 16; /* off a power of two, or rows share cache sets */
    const size_t sizes[] = {w.n_padded * head_dim * ELEMENT, w.n_padded * w.dim_padded * ELEMENT,
                            BLOCK * w.query_stride, BLOCK * w.ld * sizeof(float),
                            ELEMENT == 4 ? 0 : BLOCK * w.ld * ELEMENT};
    char *parts[5];
    for (size_t i = 0; i < 5; i++) {
        parts[i] = scratch ? scratch + w.total : NULL;
        w.total += round_up(sizes[i], 64);
    }
    w.keys = parts[0];
    w.values = parts[1];
    w.queries = parts[2];
    w.scores = parts[3];
    w.weights = ELEMENT == 4 ? parts[3] : parts[4];
    return w;
}

static size_t scratch_bytes(size_t n_tokens, size_t head_dim) { return layout(n_tokens, head_dim, NULL).total; }

/* As even as can be at the end: one or two rows alone would wait for their own sums. */
static size_t split_groups(group *groups, size_t n_rows) {
    size_t n = 0;
    for (size_t row = 0; row < n_rows; row += groups[n++].n_rows) {
        size_t left = n_rows - row, n_tiles = (left + MR - 1) / MR;
        groups[n] = (group){.row = row, .n_rows = left > 2 * MR ? MR : (left + n_tiles - 1) / n_tiles};
    }
    return n;
}

/* The softmax of a group's rows; query: of row 0 of the block. */
static void weigh_group(const work *w, const group *g, size_t query, key_range chunk, row_state *states) {
    for (size_t row = g->row; row < g->row + g->n_rows; row++) {
        const key_range all = keys_of(w->args, query + row), seen = clip(all, chunk);
        row_state *state = &states[row];
        if (seen.low == seen.high) {
            state->keep = -1;
            continue;
        }
        const bool first = all.low >= chunk.low, last = all.high <= chunk.high;
        state->keep = first ? 0 : 1;
        softmax_row(w, row, query + row, g->keys, seen, state);
        state->scale = last ? 1.0f / state->sum : 1.0f;
    }
}

static void attend_chunk(const work *w, const char *q, size_t stride, size_t query, group *groups, size_t n_groups,
                         key_range chunk, row_state *states, float *out) {
    key_range any = {SIZE_MAX, 0};
    for (group *g = groups; g < groups + n_groups; g++) {
        const size_t first = query + g->row, last = first + g->n_rows - 1;
        g->keys = clip((key_range){keys_of(w->args, first).low, keys_of(w->args, last).high}, chunk);
        if (g->keys.low < g->keys.high) {
            g->keys.low = g->keys.low / STEP * STEP;
            any.low = least(any.low, g->keys.low);
            any.high = g->keys.high;
        }
    }
    for (size_t panel = any.low / NR * NR; panel < any.high; panel += NR) {
        for (size_t i = 0; i < n_groups; i++) {
            if (groups[i].keys.low < panel + NR && groups[i].keys.high > panel) {
                score_panel(w, &groups[i], q, stride, panel);
            }
        }
    }
    for (size_t i = 0; i < n_groups; i++) {
        if (groups[i].keys.low < groups[i].keys.high) {
            weigh_group(w, &groups[i], query, chunk, states);
        }
    }
    for (size_t d = 0, next = w->args->head_dim; d < w->args->head_dim; d = next) {
        for (size_t i = 0; i < n_groups; i++) {
            if (groups[i].keys.low < groups[i].keys.high) {
                next = add_values(w, &groups[i], d, states, out);
            }
        }
    }
}

/* Query rows i .. i + n_rows - 1 of the call, at most BLOCK, of one of the heads that share k and v. */
static void attend(work *w, size_t head, size_t i, size_t n_rows) {
    const tkr_attention_args *args = w->args;
    const size_t query = args->first_query + i, first = head * args->head_dim;
    const key_range keys = {keys_of(args, query).low, keys_of(args, query + n_rows - 1).high};
    group groups[BLOCK];
    row_state states[BLOCK];
    size_t n_groups = split_groups(groups, n_rows), stride = 0;
    const char *q = load_queries(w, args->q + i * args->q_stride + first, n_rows, &stride);
    for (size_t c = keys.low / w->chunk * w->chunk; c < keys.high; c += w->chunk) {
        const key_range chunk = {c, c + w->chunk};
        w->origin = c > w->base ? c : w->base;
        attend_chunk(w, q, stride, query, groups, n_groups, chunk, states, args->out + i * args->out_stride + first);
    }
}

static void head(const tkr_attention_args *args) {
    const size_t first = args->first_query, n = args->n_queries ? args->n_queries : args->n_tokens - first;
    const size_t n_heads = args->n_heads_shared ? args->n_heads_shared : 1;
    const size_t low = keys_of(args, first).low / NR * NR, high = keys_of(args, first + n - 1).high;
    const size_t block = high - low <= SHORT_KEYS ? SHORT_GROUPS * MR : BLOCK;
    work w = layout(high - low, args->head_dim, args->scratch);
    w.args = args;
    w.base = low;
    pack(&w);
    for (size_t i = 0, rows; i < n; i += rows) {
        const size_t left = n - i; /* no last block of one to three */
        rows = left <= block ? left : left < block + MR / 2 + 1 ? block - MR / 2 : block;
        for (size_t h = 0; h < n_heads; h++) {
            attend(&w, h, i, rows);
        }
    }
}

#endif
