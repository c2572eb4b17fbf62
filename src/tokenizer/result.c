/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/result: tokens of one text as they come, truncation as in the reference, templates, the caller's arrays. */
#include "tokenizer/engine.h"
#include "tokenizer/unicode.h"

#include <string.h>

enum { ITEM_A = -1, ITEM_B = -2 };

bool tkr_tok_sink_push_slow(tkr_tok_sink *sink, int32_t id, size_t begin, size_t end) {
    sink->total++;
    if (sink->keep == 0 || (sink->n >= sink->keep && !sink->left)) {
        return true;
    }
    if (sink->left && sink->n >= sink->keep && sink->n - sink->keep > sink->keep + 1024) { /* forget what is cut off */
        const size_t cut = sink->n - sink->keep;
        memmove(sink->ids, sink->ids + cut, sink->keep * sizeof *sink->ids);
        if (sink->want_offsets) {
            memmove(sink->offsets, sink->offsets + 2 * cut, sink->keep * 2 * sizeof *sink->offsets);
        }
        sink->n = sink->keep;
    }
    if (!TKR_TOK_GROW(sink->ids, sink->room, sink->n + 1)) {
        return false;
    }
    if (sink->want_offsets) {
        if (!TKR_TOK_GROW(sink->offsets, sink->offsets_room, 2 * (sink->n + 1))) {
            return false;
        }
        sink->offsets[2 * sink->n] = begin;
        sink->offsets[2 * sink->n + 1] = end;
    }
    sink->ids[sink->n++] = id;
    return true;
}

static void cut_to(tkr_tok_sink *sink, size_t n) {
    if (sink->left && sink->n > n) {
        const size_t cut = sink->n - n;
        memmove(sink->ids, sink->ids + cut, n * sizeof *sink->ids);
        if (sink->want_offsets) {
            memmove(sink->offsets, sink->offsets + 2 * cut, n * 2 * sizeof *sink->offsets);
        }
    }
    sink->n = sink->n < n ? sink->n : n;
}

void tkr_tok_truncate(tkr_tok_sink *first, tkr_tok_sink *second, size_t budget) {
    if (second == NULL) {
        cut_to(first, budget);
        return;
    }
    if (first->total <= budget && second->total <= budget - first->total) {
        return;
    }
    const bool swap = first->total > second->total;
    size_t small = swap ? second->total : first->total, large;
    large = small > budget ? small : budget - small;
    large = large > small ? large : small;
    if (small > budget || large > budget - small) {
        small = budget / 2;
        large = small + budget % 2;
    }
    cut_to(first, swap ? large : small);
    cut_to(second, swap ? small : large);
}

typedef struct writer {
    tkr_tok_scratch *scratch;
    bool want_offsets;
    size_t n;
} writer;

static void write_special(writer *w, tkr_tok_item item) {
    tkr_tok_scratch *s = w->scratch;
    s->ids[w->n] = item.id;
    s->type_ids[w->n] = item.type_id;
    s->special[w->n] = 1;
    if (w->want_offsets) {
        s->offsets[2 * w->n] = 0;
        s->offsets[2 * w->n + 1] = 0;
    }
    w->n++;
}

static void write_text(writer *w, const tkr_tok_sink *sink, uint8_t type_id) {
    tkr_tok_scratch *s = w->scratch;
    if (sink->n == 0) {
        return;
    }
    memcpy(s->ids + w->n, sink->ids, sink->n * sizeof *s->ids);
    memset(s->type_ids + w->n, type_id, sink->n);
    memset(s->special + w->n, 0, sink->n);
    if (w->want_offsets) {
        memcpy(s->offsets + 2 * w->n, sink->offsets, sink->n * 2 * sizeof *s->offsets);
    }
    w->n += sink->n;
}

static bool is_trimmed(uint32_t c) { return c == 0x120 || (tkr_uni(c) & TKR_UNI_SPACE); }

/* White space that text[0, n) begins and ends with, in characters. */
static void measure_space(size_t *leading, size_t *trailing, const char *text, size_t n) {
    bool inner = false;
    *leading = 0;
    *trailing = 0;
    for (size_t i = 0; i < n;) {
        if (is_trimmed(tkr_tok_next(text, n, &i))) {
            *leading += !inner;
            (*trailing)++;
        } else {
            inner = true;
            *trailing = 0;
        }
    }
}

/* Where text[begin, end) begins without its first `count` characters. */
static size_t skip_forward(const char *text, size_t begin, size_t end, size_t count) {
    for (; count > 0 && begin < end; count--) {
        (void)tkr_tok_next(text, end, &begin);
    }
    return begin;
}

/* Where it ends without its last `count` characters, not in front of `begin`; unchanged when the whole text has less in
 * front of it. */
static size_t skip_backward(const char *text, size_t begin, size_t end, size_t count) {
    size_t at = end;
    for (; count > 0 && at > 0; count--) {
        do {
            at--;
        } while (at > 0 && ((uint8_t)text[at] & 0xC0) == 0x80);
    }
    return count > 0 ? end : at > begin ? at : begin;
}

/* Whether text[0, n) is an added token and the white space that it swallowed: the model may give its id too. */
static bool is_added(const tkr_tok_added *token, const char *text, size_t n) {
    size_t leading, trailing;
    measure_space(&leading, &trailing, text, n);
    const size_t begin = skip_forward(text, 0, n, leading);
    const size_t end = begin < n ? skip_backward(text, begin, n, trailing) : n;
    measure_space(&leading, &trailing, token->content, token->n_content);
    const size_t from = skip_forward(token->content, 0, token->n_content, leading);
    const size_t to = from < token->n_content ? skip_backward(token->content, from, token->n_content, trailing) : from;
    return end - begin == to - from && memcmp(text + begin, token->content + from, to - from) == 0;
}

/* RoBERTa: the offsets of a token leave out the white space that it begins or ends with, counted in its piece, or for
 * an added token in what it swallowed of the text. */
static void trim_offsets(const tkr_tok *tok, tkr_tok_sink *sink, const char *text, size_t size) {
    for (size_t i = 0; i < sink->n; i++) {
        uint64_t *range = &sink->offsets[2 * i];
        const size_t begin = (size_t)range[0], end = (size_t)range[1];
        const tkr_tok_added *added = tkr_tok_find_added(tok, sink->ids[i]);
        const char *piece = tkr_tok_piece(tok, sink->ids[i]);
        size_t leading, trailing;
        if (end > size) {
            continue;
        }
        if (added != NULL && is_added(added, text + begin, end - begin)) {
            measure_space(&leading, &trailing, text + begin, end - begin);
        } else {
            measure_space(&leading, &trailing, piece, piece == NULL ? 0 : strlen(piece));
        }
        if (leading == 1 && (i == 0 || begin == 0) && tok->post.add_prefix_space) {
            leading = 0; /* that one isn't in the text */
        }
        range[0] = skip_forward(text, begin, end, leading);
        range[1] = skip_backward(text, (size_t)range[0], end, trailing);
    }
}

static bool reserve_result(tkr_tok_scratch *s, size_t n, bool want_offsets) {
    return TKR_TOK_GROW(s->ids, s->ids_room, n + 1) && TKR_TOK_GROW(s->type_ids, s->types_room, n + 1) &&
           TKR_TOK_GROW(s->special, s->special_room, n + 1) &&
           (!want_offsets || TKR_TOK_GROW(s->offsets, s->offsets_room, 2 * n + 2));
}

tkr_status tkr_tok_post_process(tkr_tok_result *result, const tkr_tok *tok, tkr_tok_scratch *scratch,
                                const tkr_tok_request *request, tkr_error *error) {
    static const tkr_tok_item plain[] = {{ITEM_A, 0}, {ITEM_B, 1}};
    const bool is_pair = request->pair != NULL;
    const tkr_tok_template *template = is_pair ? &tok->post.pair : &tok->post.single;
    const bool use = tok->post.present && (request->special_tokens || tok->post.types_from_template);
    const tkr_tok_item *items = use ? template->items : plain;
    const size_t n_items = use ? template->n_items : is_pair ? 2 : 1;
    const bool specials = use && request->special_tokens;
    size_t n = 0;
    for (size_t i = 0; i < n_items; i++) {
        n += items[i].id == ITEM_A ? scratch->first.n : items[i].id == ITEM_B ? scratch->second.n : specials ? 1 : 0;
    }
    if (!reserve_result(scratch, n, request->want_offsets)) {
        return TKR_FAIL(error, NO_MEMORY, "no memory for %zu tokens", n);
    }
    if (tok->post.trim_offsets && request->want_offsets) {
        trim_offsets(tok, &scratch->first, request->text, request->n_text);
        if (is_pair) trim_offsets(tok, &scratch->second, request->pair, request->n_pair);
    }
    writer w = {.scratch = scratch, .want_offsets = request->want_offsets};
    for (size_t i = 0; i < n_items; i++) {
        if (items[i].id == ITEM_A || items[i].id == ITEM_B) {
            write_text(&w, items[i].id == ITEM_A ? &scratch->first : &scratch->second, items[i].type_id);
        } else if (specials) {
            write_special(&w, items[i]);
        }
    }
    *result = (tkr_tok_result){.ids = scratch->ids,
                               .type_ids = scratch->type_ids,
                               .offsets = request->want_offsets ? scratch->offsets : NULL,
                               .special = scratch->special,
                               .n = n,
                               .n_untruncated = scratch->first.total + (is_pair ? scratch->second.total : 0) +
                                                (specials ? template->n_special : 0)};
    return TKR_OK;
}
