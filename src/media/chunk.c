/* SPDX-License-Identifier: Apache-2.0 */
/* media/chunk: greedy, sentence by sentence; a paragraph that doesn't fit as a whole goes to the next chunk where this
 * one is half full. */
#include "media/chunk.h"

#include <string.h>

#include "core/utf8.h"

enum { MAX_LEVEL = 16, MAX_HEADING = 200 };

/* A sentence, or a piece of one that is too long. */
typedef struct unit {
    size_t begin, end;
    uint32_t tokens, block;
} unit;

typedef struct maker {
    const tkr_document *d;
    const tkr_chunk_options *options;
    tkr_buf units;                /* unit */
    tkr_buf chunks;               /* tkr_chunk */
    uint32_t path[MAX_LEVEL + 1]; /* block of the heading of each level that holds now, + 1; 0: none */
    size_t at_byte, at_character; /* that have been counted so far */
    tkr_buf text;                 /* of a heading with its chunk, to count */
} maker;

static tkr_status count(size_t *n, const maker *m, size_t begin, size_t end, tkr_error *error) {
    return m->options->count(n, m->options->user, m->d->text + begin, end - begin, error);
}

static tkr_status no_memory(tkr_error *error) { return TKR_FAIL(error, NO_MEMORY, "no memory for passages"); }

/* ---- units ---- */

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* The largest cut in (begin, at] between words, else between characters; never begin itself. */
static size_t cut_before(const char *text, size_t begin, size_t at, size_t end) {
    size_t cut = at;
    while (cut > begin && !is_space(text[cut - 1])) cut--;
    if (cut > begin) return cut;
    cut = at;
    while (cut > begin && tkr_utf8_goes_on(text[cut])) cut--;
    if (cut > begin) return cut;
    for (cut = at + 1; cut < end && tkr_utf8_goes_on(text[cut]);) cut++;
    return cut;
}

/* Adds [begin, end) in pieces of at most `most` tokens: halves what is too long, so that each byte is counted a few
 * times and no more. */
static tkr_status add_pieces(maker *m, size_t begin, size_t end, uint32_t block, size_t most, tkr_error *error) {
    while (begin < end) {
        size_t to = end, tokens = 0;
        tkr_status status = count(&tokens, m, begin, to, error);
        while (status == TKR_OK && tokens > most) {
            const size_t guess = begin + (size_t)((double)(to - begin) * 0.9 * (double)most / (double)tokens),
                         cut = cut_before(m->d->text, begin, guess > begin ? guess : begin + 1, end);
            if (cut >= to) break; /* a single character of many tokens */
            to = cut;
            status = count(&tokens, m, begin, to, error);
        }
        if (status != TKR_OK) return status;
        const unit one = {.begin = begin, .end = to, .tokens = (uint32_t)tokens, .block = block};
        if (!tkr_buf_append(&m->units, &one, sizeof one)) return no_memory(error);
        begin = to;
    }
    return TKR_OK;
}

static tkr_status find_units(maker *m, tkr_error *error) {
    const tkr_document_header *header = &m->d->header;
    tkr_status status = TKR_OK;
    uint32_t s = 0;
    for (uint32_t b = 0; b < header->n_blocks && status == TKR_OK; b++) {
        const tkr_document_block *block = &m->d->blocks[b];
        for (; s < header->n_sentences && m->d->sentences[s] < block->end && status == TKR_OK; s++) {
            const bool last = s + 1 == header->n_sentences || m->d->sentences[s + 1] >= block->end;
            const size_t end = (size_t)(last ? block->end : m->d->sentences[s + 1]);
            status = add_pieces(m, (size_t)m->d->sentences[s], end, b, m->options->max_tokens / 4 * 3, error);
        }
    }
    return status;
}

/* ---- headings ---- */

static void enter_heading(maker *m, uint32_t block) {
    const uint32_t level = m->d->blocks[block].level;
    if (level > MAX_LEVEL) return;
    m->path[level] = block + 1;
    for (uint32_t i = level + 1; i <= MAX_LEVEL; i++) m->path[i] = 0;
}

/* "A > B" of the headings that hold before block `first`, which are no part of the chunk. */
static tkr_status set_heading(tkr_chunk *chunk, const maker *m, uint32_t first, tkr_error *error) {
    const tkr_document_block *begins = &m->d->blocks[first];
    const uint32_t below = begins->kind == TKR_BLOCK_HEADING ? begins->level : MAX_LEVEL + 1;
    tkr_buf text = {0};
    for (uint32_t level = 0; level < below && level <= MAX_LEVEL; level++) {
        if (m->path[level] == 0 || m->path[level] > first) continue;
        const tkr_document_block *b = &m->d->blocks[m->path[level] - 1];
        size_t n = (size_t)(b->end - b->begin);
        if (n > MAX_HEADING) n = MAX_HEADING;
        while (n > 0 && n < b->end - b->begin && tkr_utf8_goes_on(m->d->text[b->begin + n])) n--;
        if (text.size > 0) tkr_buf_append(&text, " > ", 3);
        for (size_t i = 0; i < n; i++)
            tkr_buf_putc(&text, is_space(m->d->text[b->begin + i]) ? ' ' : m->d->text[b->begin + i]);
    }
    if (text.failed) {
        tkr_buf_free(&text);
        return no_memory(error);
    }
    chunk->heading = text.size > 0 ? text.data : NULL;
    if (text.size == 0) tkr_buf_free(&text);
    return TKR_OK;
}

/* ---- chunks ---- */

static size_t characters_to(maker *m, size_t byte) {
    if (byte < m->at_byte)
        m->at_character -= tkr_utf8_count(m->d->text + byte, m->at_byte - byte);
    else
        m->at_character += tkr_utf8_count(m->d->text + m->at_byte, byte - m->at_byte);
    m->at_byte = byte;
    return m->at_character;
}

static size_t trimmed_end(const maker *m, const unit *last) {
    size_t end = last->end;
    while (end > last->begin + 1 && is_space(m->d->text[end - 1])) end--;
    return end;
}

/* Sets *n to the tokens of units [from, to) as one text, and sets *chunk's range. */
static tkr_status measure(size_t *n, tkr_chunk *chunk, maker *m, const unit *units, size_t from, size_t to,
                          tkr_error *error) {
    chunk->begin = units[from].begin;
    chunk->end = trimmed_end(m, &units[to - 1]);
    m->text.size = 0;
    if (chunk->heading) tkr_buf_printf(&m->text, "%s\n", chunk->heading);
    if (!tkr_buf_append(&m->text, m->d->text + chunk->begin, chunk->end - chunk->begin)) return no_memory(error);
    return m->options->count(n, m->options->user, m->text.data, m->text.size, error);
}

static bool starts_block(const maker *m, const unit *u) { return u->begin == m->d->blocks[u->block].begin; }

/* Whether a chunk of so many tokens ends before this unit, which would fit. */
static bool ends_before(const maker *m, const unit *before, const unit *u, size_t tokens) {
    const tkr_document_block *a = &m->d->blocks[before->block], *b = &m->d->blocks[u->block];
    if (!starts_block(m, u)) return false;
    if (a->page != b->page && m->d->header.unit != TKR_UNIT_PAGE) return true;
    return b->kind == TKR_BLOCK_HEADING && a->kind != TKR_BLOCK_HEADING && tokens >= m->options->max_tokens / 4;
}

/* Tokens of what is left of the block that begins with unit i. */
static size_t block_tokens(const unit *units, size_t n, size_t i) {
    size_t tokens = 0;
    for (size_t k = i; k < n && units[k].block == units[i].block; k++) tokens += units[k].tokens;
    return tokens;
}

/* Where the chunk that begins with unit `from` ends, by the sum of its units' tokens. */
static size_t find_end(const maker *m, const unit *units, size_t n, size_t from, size_t room) {
    size_t tokens = units[from].tokens, to = from + 1;
    for (; to < n; to++) {
        const size_t more = starts_block(m, &units[to]) ? units[to].tokens + 1 : units[to].tokens;
        if (ends_before(m, &units[to - 1], &units[to], tokens) || tokens + more > room) break;
        if (starts_block(m, &units[to]) && tokens * 2 >= room && tokens + block_tokens(units, n, to) > room) break;
        tokens += more;
    }
    while (to > from + 1 && to < n && m->d->blocks[units[to - 1].block].kind == TKR_BLOCK_HEADING) to--;
    return to;
}

/* The unit that the next chunk begins with: sentences of the overlap before `to`, unless a new part begins there. */
static size_t step_back(const maker *m, const unit *units, size_t n, size_t from, size_t to) {
    size_t tokens = 0, at = to;
    if (to >= n || ends_before(m, &units[to - 1], &units[to], SIZE_MAX)) return to;
    while (at > from + 1 && tokens + units[at - 1].tokens <= m->options->overlap) tokens += units[--at].tokens;
    return at;
}

static tkr_status add_chunk(size_t *next, maker *m, size_t from, size_t before, tkr_error *error) {
    const unit *units = (const unit *)(const void *)m->units.data;
    const size_t n = m->units.size / sizeof *units;
    tkr_chunk chunk = {0};
    size_t heading = 0, tokens = 0;
    for (size_t i = before; i < from; i++) {
        if (m->d->blocks[units[i].block].kind == TKR_BLOCK_HEADING) enter_heading(m, units[i].block);
    }
    tkr_status status = set_heading(&chunk, m, units[from].block, error);
    if (status == TKR_OK && chunk.heading)
        status = m->options->count(&heading, m->options->user, chunk.heading, strlen(chunk.heading), error);
    if (status == TKR_OK && heading > m->options->max_tokens / 4) { /* context, not the thing itself */
        tkr_free(chunk.heading);
        chunk.heading = NULL;
        heading = 0;
    }
    size_t to = find_end(m, units, n, from, m->options->max_tokens - heading);
    if (status == TKR_OK) status = measure(&tokens, &chunk, m, units, from, to, error);
    while (status == TKR_OK && tokens > m->options->max_tokens && to > from + 1)
        status = measure(&tokens, &chunk, m, units, from, --to, error);
    chunk.begin_characters = characters_to(m, chunk.begin);
    chunk.end_characters = characters_to(m, chunk.end);
    chunk.page = m->d->blocks[units[from].block].page;
    chunk.last_page = m->d->blocks[units[to - 1].block].page;
    if (status == TKR_OK && !tkr_buf_append(&m->chunks, &chunk, sizeof chunk)) status = no_memory(error);
    if (status != TKR_OK) tkr_free(chunk.heading);
    *next = to >= n ? n : step_back(m, units, n, from, to);
    return status;
}

size_t tkr_chunks_memory(const tkr_document *document) {
    return 2 * sizeof(unit) * document->header.n_sentences; /* a list that grows */
}

tkr_status tkr_chunks_make(tkr_chunks *chunks, const tkr_document *document, const tkr_chunk_options *options,
                           tkr_error *error) {
    maker m = {.d = document, .options = options};
    *chunks = (tkr_chunks){0};
    if (options->max_tokens < TKR_LEAST_CHUNK)
        return TKR_FAIL(error, INVALID_ARGUMENT, "passages of %zu tokens: at least %d", options->max_tokens,
                        (int)TKR_LEAST_CHUNK);
    if (options->overlap > options->max_tokens / 2)
        return TKR_FAIL(error, INVALID_ARGUMENT, "an overlap of %zu tokens: at most half of the passage's %zu",
                        options->overlap, options->max_tokens);
    tkr_status status = find_units(&m, error);
    const size_t n = m.units.size / sizeof(unit);
    for (size_t at = 0, before = 0, next = 0; at < n && status == TKR_OK; before = at, at = next) {
        status = add_chunk(&next, &m, at, before, error);
        if (status == TKR_OK && options->max_chunks && m.chunks.size > options->max_chunks * sizeof(tkr_chunk))
            status = TKR_FAIL(error, LIMIT, "more than %zu passages of %zu tokens: larger ones would be fewer",
                              options->max_chunks, options->max_tokens);
    }
    chunks->list = (tkr_chunk *)(void *)m.chunks.data;
    chunks->n = m.chunks.size / sizeof *chunks->list;
    tkr_buf_free(&m.units);
    tkr_buf_free(&m.text);
    if (status != TKR_OK) tkr_chunks_free(chunks);
    return status;
}

void tkr_chunks_free(tkr_chunks *chunks) {
    for (size_t i = 0; i < chunks->n; i++) tkr_free(chunks->list[i].heading);
    tkr_free(chunks->list);
    *chunks = (tkr_chunks){0};
}
