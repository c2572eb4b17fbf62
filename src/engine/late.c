/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/late: late chunking (Guenther et al. 2024): the model reads the whole document, or as much of it as it can at
 * a time, and a passage's vector is the mean of the states of its own tokens. Refuses models that pool otherwise.
 */
#include "engine/late.h"

#include <string.h>

/* LONGEST: of a window, where neither the model nor the caller says one. */
enum { LONGEST = 8192, BYTES_A_TOKEN = 16, LONGEST_WORD = 64 };

/* ---- what can be pooled ---- */

tkr_status tkr_check_late(const tkr_model *model, tkr_error *error) {
    const tkr_post_info *post = tkr_post_get_info(model->post);
    if (model->info.multi_vector)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "late chunking was asked for: it makes one vector of a passage's tokens, %s gives each its own",
                        model->info.reference);
    if (post->n_modes != 1 || post->modes[0] != TKR_POOL_MEAN || tkr_checkpoint_recipe(&model->checkpoint))
        return TKR_FAIL(
            error, INVALID_ARGUMENT,
            "late chunking was asked for: it takes the mean of a passage's token states, and %s pools by %s",
            model->info.reference, post->pooling);
    return TKR_OK;
}

tkr_status tkr_check_spans(const tkr_call *call, const tkr_input *input, tkr_error *error) {
    if (input->kind != TKR_INPUT_TOKENS || !input->spans)
        return TKR_FAIL(error, INVALID_ARGUMENT, "the input has spans, which only token ids can have");
    if (call->options->kind != TKR_RESULT_DENSE)
        return TKR_FAIL(error, INVALID_ARGUMENT, "the input has spans, and the states of single tokens were asked for");
    for (size_t i = 0; i < input->n_spans; i++) {
        const size_t begin = input->spans[2 * i], end = input->spans[2 * i + 1];
        if (begin >= end || end > input->n_ids)
            return TKR_FAIL(error, INVALID_ARGUMENT, "span %zu is [%zu, %zu): it must be some of the %zu token ids", i,
                            begin, end, input->n_ids);
    }
    return tkr_check_late(call->session->model, error);
}

/* ---- tokens of a window ---- */

typedef struct maker {
    const tkr_late_request *r;
    size_t n_prompt, max_tokens; /* bytes of the prompt; tokens of a window */
    bool skips_prompt;           /* it isn't pooled */
    tkr_buf windows;             /* tkr_late_window */
    /* of the window at hand */
    size_t begin;            /* its first byte of the text */
    size_t last;             /* its text ends with this passage, or before */
    tkr_tokens tokens;       /* of the text from `begin` to there, and of what stands around it */
    size_t before, n, after; /* of the tokens: before the text, of it as many as the window has, behind it */
    bool whole;              /* these are all */
    tkr_buf places;          /* size_t [n]: of each the first byte that isn't blank */
} maker;

static tkr_status no_memory(tkr_error *error) { return TKR_FAIL(error, NO_MEMORY, "no memory for late chunking"); }

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static const tkr_chunk *chunk_at(const maker *m, size_t index) { return &m->r->chunks->list[index]; }

static size_t offset_of(const maker *m, size_t token, size_t side) {
    const size_t at = (size_t)m->tokens.offsets[2 * (m->before + token) + side];
    return m->begin + (at > m->n_prompt ? at - m->n_prompt : 0);
}

/* A token stands where its first letter does: many tokenizers put the blank before a word into its token. */
static bool place_tokens(maker *m) {
    size_t before = m->begin;
    m->places.size = 0;
    for (size_t t = 0; t < m->n; t++) {
        const size_t end = offset_of(m, t, 1);
        size_t at = offset_of(m, t, 0);
        while (at + 1 < end && is_blank(m->r->text[at])) at++;
        before = at > before ? at : before; /* whatever a tokenizer says */
        if (!tkr_buf_append(&m->places, &before, sizeof before)) return false;
    }
    return true;
}

/* Tokenises as much of the text as fills a window and a bit more. */
static tkr_status read_window(maker *m, size_t first, size_t begin, tkr_error *error) {
    const tkr_chunks *chunks = m->r->chunks;
    tkr_embed_options options = *m->r->options;
    tkr_input input = {.kind = TKR_INPUT_TEXT, .text = m->r->text + begin};
    m->begin = begin;
    m->last = first;
    while (m->last + 1 < chunks->n && chunk_at(m, m->last + 1)->end - begin <= m->max_tokens * BYTES_A_TOKEN) m->last++;
    input.n_text = chunk_at(m, m->last)->end - begin;
    options.max_tokens = SIZE_MAX;
    options.special_tokens = TKR_DEFAULT;
    tkr_tokens_free(&m->tokens);
    tkr_status status = tkr_tokenize(&m->tokens, &m->r->model->tokenizer, &input, &options, error);
    if (status != TKR_OK) return status;
    const tkr_tokens *t = &m->tokens;
    size_t text = 0;
    m->before = m->after = 0;
    while (m->before < t->n && (t->special[m->before] || t->offsets[2 * m->before] < m->n_prompt)) m->before++;
    while (m->after < t->n - m->before && t->special[t->n - 1 - m->after]) m->after++;
    text = t->n - m->before - m->after;
    if (m->before + m->after >= m->max_tokens)
        return TKR_FAIL(error, LIMIT, "the prompt fills the limit of %zu tokens; nothing of the text is left to pool",
                        m->max_tokens);
    m->n = m->max_tokens - m->before - m->after;
    m->whole = text <= m->n;
    if (m->whole) m->n = text;
    return place_tokens(m) ? TKR_OK : no_memory(error);
}

/* The first token of the window's text that stands at `byte` or behind it. */
static size_t token_at(const maker *m, size_t byte) {
    const size_t *places = (const size_t *)(const void *)m->places.data;
    size_t low = 0, high = m->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (places[middle] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- windows ---- */

/* The passage's tokens in the window; what stands around the text belongs to the first passage and the last. */
static void set_span(size_t span[2], const maker *m, size_t index) {
    const tkr_chunk *chunk = chunk_at(m, index);
    size_t begin = token_at(m, chunk->begin), end = token_at(m, chunk->end);
    if (begin >= end) { /* a text that gives no token has its neighbour's */
        begin = begin < m->n || m->n == 0 ? begin : m->n - 1;
        end = m->n == 0 ? 0 : begin + 1;
    }
    span[0] = m->before + begin;
    span[1] = m->before + end;
    if (index == 0) span[0] = m->skips_prompt ? m->before : 0;
    if (index + 1 == m->r->chunks->n) span[1] = m->before + m->n + m->after;
    if (span[0] >= span[1]) { /* nothing but what stands around it */
        span[0] = 0;
        span[1] = m->before + m->n + m->after;
    }
}

static bool is_inside(const maker *m, size_t index) {
    return index <= m->last && (m->whole || token_at(m, chunk_at(m, index)->end) < m->n);
}

static tkr_status add_window(maker *m, size_t first, tkr_error *error) {
    tkr_late_window w = {.first = first, .n = 1, .n_ids = m->before + m->n + m->after};
    while (first + w.n < m->r->chunks->n && is_inside(m, first + w.n)) w.n++;
    if (w.n_ids == 0)
        return TKR_FAIL(error, INVALID_ARGUMENT, "the text gives no token at all; this model has no vector for it");
    w.ids = tkr_malloc(w.n_ids * sizeof *w.ids);
    w.spans = tkr_malloc(w.n * 2 * sizeof *w.spans);
    if (!w.ids || !w.spans || !tkr_buf_append(&m->windows, &w, sizeof w)) {
        tkr_free(w.ids);
        tkr_free(w.spans);
        return no_memory(error);
    }
    memcpy(w.ids, m->tokens.ids, (m->before + m->n) * sizeof *w.ids);
    if (m->after > 0) /* an empty tail may have no address */
        memcpy(w.ids + m->before + m->n, m->tokens.ids + m->tokens.n - m->after, m->after * sizeof *w.ids);
    for (size_t i = 0; i < w.n; i++) set_span(w.spans + 2 * i, m, first + i);
    return TKR_OK;
}

/* Where a word begins from `at` on, in front of `end`; without one nearby the next character does. */
static size_t next_word(const char *text, size_t at, size_t end) {
    size_t to = at;
    while (to < end && to - at < LONGEST_WORD && !(to > 0 && is_blank(text[to - 1]))) to++;
    if (to < end && to - at < LONGEST_WORD) return to;
    while (at < end && ((unsigned char)text[at] & 0xC0) == 0x80) at++;
    return at;
}

/* Where the window of passage `next` begins: a quarter of a window before it, as far as there is room for it. */
static size_t next_begin(const maker *m, size_t next) {
    const size_t room = m->max_tokens - m->before - m->after, byte = chunk_at(m, next)->begin;
    size_t context = room > m->r->chunk_tokens ? room - m->r->chunk_tokens : 0;
    context = context < room / 4 ? context : room / 4;
    const size_t token = token_at(m, byte);
    if (context == 0 || token == 0) return byte;
    const size_t from = token > context ? offset_of(m, token - context, 0) : m->begin;
    return from < byte ? next_word(m->r->text, from, byte) : byte;
}

static tkr_status make_windows(maker *m, tkr_error *error) {
    const size_t n = m->r->chunks->n;
    tkr_status status = TKR_OK;
    for (size_t first = 0, begin = n > 0 ? chunk_at(m, 0)->begin : 0; first < n && status == TKR_OK;) {
        status = tkr_stop_ask(m->r->stop);
        if (status != TKR_OK) return tkr_error_set(error, TKR_HERE, status, "%s", tkr_status_text(status));
        status = read_window(m, first, begin, error);
        if (status == TKR_OK && !is_inside(m, first) && begin < chunk_at(m, first)->begin)
            status = read_window(m, first, chunk_at(m, first)->begin, error); /* cut elsewhere, it has more tokens */
        if (status == TKR_OK) status = add_window(m, first, error);
        if (status != TKR_OK) return status;
        first += ((const tkr_late_window *)(const void *)(m->windows.data + m->windows.size))[-1].n;
        if (first < n) begin = next_begin(m, first);
    }
    return status;
}

tkr_status tkr_late_make(tkr_late *late, const tkr_late_request *r, tkr_error *error) {
    const tkr_model *model = r->model;
    const tkr_input none = {0};
    tkr_prompt prompt;
    maker m = {.r = r};
    *late = (tkr_late){0};
    tkr_status status = tkr_prompt_find(&prompt, &model->checkpoint, &none, r->options, error);
    if (status != TKR_OK) return status;
    for (size_t i = 0; i < 3; i++) m.n_prompt += strlen(prompt.parts[i]);
    m.max_tokens = tkr_effective_max_tokens(model->checkpoint.max_tokens, r->options->max_tokens);
    if (m.max_tokens == 0) m.max_tokens = LONGEST;
    m.skips_prompt = m.n_prompt > 0 && !tkr_post_get_info(model->post)->include_prompt;
    status = make_windows(&m, error);
    late->list = (tkr_late_window *)(void *)m.windows.data;
    late->n = m.windows.size / sizeof *late->list;
    tkr_tokens_free(&m.tokens);
    tkr_buf_free(&m.places);
    if (status != TKR_OK) tkr_late_free(late);
    return status;
}

void tkr_late_free(tkr_late *late) {
    for (size_t i = 0; i < late->n; i++) {
        tkr_free(late->list[i].ids);
        tkr_free(late->list[i].spans);
    }
    tkr_free(late->list);
    *late = (tkr_late){0};
}
