/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/encode: the run through all stages; scratch and its bounds; invalid UTF-8. */
#include "tokenizer/engine.h"
#include "tokenizer/regex.h"

#include <inttypes.h>
#include <string.h>

tkr_status tkr_tok_scratch_create(tkr_tok_scratch **out, const tkr_tok *tok, tkr_error *error) {
    *out = NULL;
    tkr_tok_scratch *scratch = tkr_calloc(1, sizeof *scratch);
    const size_t size = sizeof(tkr_tok_cached) << TKR_TOK_CACHE_BITS;
    if (scratch != NULL) {
        scratch->tok = tok;
        scratch->cache = tkr_aligned_alloc(size);
    }
    if (scratch == NULL || scratch->cache == NULL) {
        tkr_tok_scratch_free(&scratch);
        return TKR_FAIL(error, NO_MEMORY, "no memory for a tokenizer's scratch");
    }
    memset(scratch->cache, 0, size);
    *out = scratch;
    return TKR_OK;
}

static void free_sink(tkr_tok_sink *sink) {
    tkr_free(sink->ids);
    tkr_free(sink->offsets);
    *sink = (tkr_tok_sink){0};
}

static void free_text(tkr_tok_text *text) {
    tkr_free(text->bytes);
    tkr_free(text->align);
    *text = (tkr_tok_text){0};
}

void tkr_tok_scratch_free(tkr_tok_scratch **out) {
    tkr_tok_scratch *s = *out;
    if (s == NULL) {
        return;
    }
    free_text(&s->text);
    free_text(&s->spare);
    free_sink(&s->first);
    free_sink(&s->second);
    tkr_free(s->spans);
    tkr_free(s->spare_spans);
    tkr_free(s->pending);
    tkr_free(s->sorted);
    tkr_free(s->pieces);
    tkr_free(s->hashes);
    tkr_free(s->path);
    tkr_free(s->first_symbols);
    tkr_free(s->symbols);
    tkr_free(s->heap);
    tkr_buf_free(&s->spelling);
    tkr_tok_matching_free(&s->matching);
    tkr_aligned_free(s->cache, sizeof(tkr_tok_cached) << TKR_TOK_CACHE_BITS);
    tkr_buf_free(&s->clean);
    tkr_tok_texts_free(&s->texts);
    tkr_tok_texts_free(&s->spare_texts);
    tkr_free(s->ids);
    tkr_free(s->type_ids);
    tkr_free(s->special);
    tkr_free(s->offsets);
    tkr_free(s);
    *out = NULL;
}

#define TRIM(pointer, room)                                    \
    do {                                                       \
        if ((room) > TKR_TOK_KEEP_BYTES / sizeof *(pointer)) { \
            tkr_free(pointer);                                 \
            (pointer) = NULL;                                  \
            (room) = 0;                                        \
        }                                                      \
    } while (0)

/* Work buffers, behind every text. */
static void trim_work(tkr_tok_scratch *s) {
    if (s->text.room > TKR_TOK_KEEP_BYTES / sizeof *s->text.align) {
        free_text(&s->text);
    }
    if (s->spare.room > TKR_TOK_KEEP_BYTES / sizeof *s->spare.align) {
        free_text(&s->spare);
    }
    TRIM(s->spans, s->spans_room);
    TRIM(s->spare_spans, s->spare_spans_room);
    TRIM(s->pending, s->pending_room);
    TRIM(s->sorted, s->sorted_room);
    TRIM(s->pieces, s->pieces_room);
    TRIM(s->hashes, s->hashes_room);
    TRIM(s->path, s->path_room);
    TRIM(s->first_symbols, s->first_room);
    TRIM(s->symbols, s->symbols_room);
    TRIM(s->heap, s->heap_room);
    TRIM(s->first.ids, s->first.room);
    TRIM(s->first.offsets, s->first.offsets_room);
    TRIM(s->second.ids, s->second.room);
    TRIM(s->second.offsets, s->second.offsets_room);
    if (s->clean.room > TKR_TOK_KEEP_BYTES) {
        tkr_buf_free(&s->clean);
    }
}

/* What the caller may still read: given back at the next text. */
static void trim_result(tkr_tok_scratch *s) {
    TRIM(s->ids, s->ids_room);
    TRIM(s->type_ids, s->types_room);
    TRIM(s->special, s->special_room);
    TRIM(s->offsets, s->offsets_room);
}

bool tkr_tok_normalize(const tkr_tok *tok, tkr_tok_scratch *scratch) {
    for (size_t i = 0; i < tok->n_normalizers; i++) {
        if (!tok->normalizers[i].component->run(tok->normalizers[i].self, scratch)) {
            return false;
        }
    }
    return true;
}

void tkr_tok_cache_store(tkr_tok_cached *entry, const uint64_t key[2], size_t length, const tkr_tok_scratch *scratch,
                         size_t first, size_t base) {
    const size_t n = scratch->n_pieces - first;
    if (n == 0 || n > TKR_TOK_CACHE_IDS) {
        return;
    }
    size_t at = base;
    for (size_t i = 0; i < n; i++) {
        const tkr_tok_piece_out *piece = &scratch->pieces[first + i];
        if (piece->begin != at) { /* an entry can only say where tokens end */
            entry->length = 0;
            return;
        }
        at = piece->end;
        entry->ids[i] = piece->id;
        entry->ends[i] = (uint8_t)(at - base);
    }
    entry->key[0] = key[0];
    entry->key[1] = key[1];
    entry->length = (uint8_t)length;
    entry->n = (uint8_t)n;
}

bool tkr_tok_word(const tkr_tok *tok, tkr_tok_scratch *scratch, const char *word, size_t n) {
    scratch->n_pieces = 0;
    if (n > TKR_TOK_CACHE_WORD) {
        return tok->model.component->word(tok->model.self, scratch, word, n);
    }
    uint64_t key[2] = {0, 0};
    memcpy(key, word, n);
    tkr_tok_cached *entry = tkr_tok_cache_at(scratch->cache, key[0], key[1]);
    if (entry->length != n || entry->key[0] != key[0] || entry->key[1] != key[1]) {
        if (!tok->model.component->word(tok->model.self, scratch, word, n)) {
            return false;
        }
        tkr_tok_cache_store(entry, key, n, scratch, 0, 0);
        return true;
    }
    if (!TKR_TOK_GROW(scratch->pieces, scratch->pieces_room, entry->n)) {
        return false;
    }
    uint32_t begin = 0;
    for (size_t i = 0; i < entry->n; i++) {
        scratch->pieces[i] = (tkr_tok_piece_out){entry->ids[i], begin, entry->ends[i]};
        begin = entry->ends[i];
    }
    scratch->n_pieces = entry->n;
    return true;
}

static bool add_span(void *user, const tkr_tok_added *token, size_t begin, size_t end) {
    tkr_tok_scratch *scratch = user;
    if (!TKR_TOK_GROW(scratch->spans, scratch->spans_room, scratch->n_spans + 1)) {
        return false;
    }
    scratch->spans[scratch->n_spans++] = (tkr_tok_span){(uint32_t)begin, (uint32_t)end, token != NULL ? token->id : -1};
    return true;
}

static bool push_span(const tkr_tok *tok, tkr_tok_scratch *scratch, tkr_tok_sink *sink, const tkr_tok_span *span) {
    const tkr_tok_range *align = scratch->text.align;
    if (span->begin >= span->end) {
        return true;
    }
    if (span->token >= 0) {
        return tkr_tok_sink_push(sink, span->token, align[span->begin].begin, align[span->end - 1].end);
    }
    if (!tkr_tok_word(tok, scratch, scratch->text.bytes + span->begin, span->end - span->begin)) {
        return false;
    }
    for (size_t i = 0; i < scratch->n_pieces; i++) {
        const tkr_tok_piece_out *piece = &scratch->pieces[i];
        if (!tkr_tok_sink_push(sink, piece->id, align[span->begin + piece->begin].begin,
                               align[span->begin + piece->end - 1].end)) {
            return false;
        }
    }
    return true;
}

bool tkr_tok_general(const tkr_tok *tok, tkr_tok_scratch *scratch, tkr_tok_sink *sink, const char *raw, size_t begin,
                     size_t end) {
    scratch->n_spans = 0;
    if (!tkr_tok_text_load(scratch, raw, begin, end) || !tkr_tok_normalize(tok, scratch) ||
        !tkr_tok_split_added(tok, &tok->normalized, scratch, scratch->text.bytes, scratch->text.size, add_span,
                             scratch)) {
        return false;
    }
    for (size_t i = 0; i < tok->n_pre_tokenizers; i++) {
        if (!tok->pre_tokenizers[i].component->run(tok->pre_tokenizers[i].self, scratch)) {
            return false;
        }
    }
    for (size_t i = 0; i < scratch->n_spans; i++) {
        if (!push_span(tok, scratch, sink, &scratch->spans[i])) {
            return false;
        }
    }
    return true;
}

typedef struct stretches {
    const tkr_tok *tok;
    tkr_tok_scratch *scratch;
    tkr_tok_sink *sink;
    const char *text;
} stretches;

static bool add_stretch(void *user, const tkr_tok_added *token, size_t begin, size_t end) {
    const stretches *s = user;
    if (token != NULL) {
        return tkr_tok_sink_push(s->sink, token->id, begin, end);
    }
    const tkr_tok_bytes *bytes = &s->tok->bytes;
    if (bytes->tile != NULL && (!bytes->nfc || tkr_tok_is_nfc(s->text + begin, end - begin))) {
        return tkr_tok_encode_bytes(s->tok, s->scratch, s->sink, s->text, begin, end);
    }
    return (s->tok->ascii.usable ? tkr_tok_encode_ascii : tkr_tok_general)(s->tok, s->scratch, s->sink, s->text, begin,
                                                                           end);
}

bool tkr_tok_replace_invalid(tkr_buf *clean, const char *text, size_t size) {
    clean->size = 0;
    for (size_t pos = 0; pos < size;) {
        char bytes[4];
        const uint32_t c = tkr_utf8_next(text, size, &pos, NULL);
        if (!tkr_buf_append(clean, bytes, tkr_utf8_put(bytes, c))) {
            return false;
        }
    }
    return true;
}

typedef struct walker { /* a place in the caller's text and the same place in the copy */
    const char *text;
    size_t size, at, clean_at;
} walker;

static uint64_t walk_to(walker *w, uint64_t clean_target) {
    if (clean_target < w->clean_at) {
        w->at = 0;
        w->clean_at = 0;
    }
    while (w->clean_at < clean_target && w->at < w->size) {
        char bytes[4];
        w->clean_at += tkr_utf8_put(bytes, tkr_utf8_next(w->text, w->size, &w->at, NULL));
    }
    return w->at;
}

/* From offsets in the copy to offsets in the caller's text. */
static void restore_offsets(tkr_tok_sink *sink, const char *text, size_t size) {
    walker begin = {.text = text, .size = size}, end = begin;
    for (size_t i = 0; i < sink->n; i++) {
        sink->offsets[2 * i] = walk_to(&begin, sink->offsets[2 * i]);
        sink->offsets[2 * i + 1] = walk_to(&end, sink->offsets[2 * i + 1]);
    }
}

static tkr_status encode_text(tkr_tok_sink *sink, const tkr_tok *tok, tkr_tok_scratch *scratch, const char *text,
                              size_t size, bool strict, tkr_error *error) {
    if (size > TKR_TOK_MAX_TEXT) {
        return TKR_FAIL(error, LIMIT, "a text of %zu bytes, the limit is %zu", size, TKR_TOK_MAX_TEXT);
    }
    const size_t valid = size == 0 ? 0 : tkr_utf8_valid_prefix(text, size);
    stretches s = {tok, scratch, sink, size == 0 ? "" : text};
    size_t n = size;
    if (valid < size) {
        if (strict) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "invalid UTF-8 at byte %zu", valid);
        }
        if (!tkr_tok_replace_invalid(&scratch->clean, text, size)) {
            return TKR_FAIL(error, NO_MEMORY, "no memory to tokenise %zu bytes", size);
        }
        s.text = scratch->clean.data;
        n = scratch->clean.size;
    }
    if (!tkr_tok_split_added(tok, &tok->raw, scratch, s.text, n, add_stretch, &s)) {
        if (scratch->problem != NULL) {
            return TKR_FAIL(
                error, LIMIT,
                "the tokenizer's regular expression \"%.80s\" needs too many steps on this text of %zu bytes",
                scratch->problem, size);
        }
        return TKR_FAIL(error, NO_MEMORY, "no memory to tokenise %zu bytes", size);
    }
    if (valid < size && sink->want_offsets) {
        restore_offsets(sink, text, size);
    }
    return TKR_OK;
}

static void reset_sink(tkr_tok_sink *sink, const tkr_tok_request *request, size_t budget) {
    sink->n = 0;
    sink->total = 0;
    sink->keep = budget;
    sink->left = request->truncate == TKR_TRUNCATE_LEFT;
    sink->want_offsets = request->want_offsets;
}

static tkr_status encode(tkr_tok_result *result, const tkr_tok *tok, tkr_tok_scratch *scratch,
                         const tkr_tok_request *request, tkr_error *error) {
    const bool is_pair = request->pair != NULL;
    const size_t n_added = request->special_tokens ? tkr_tok_n_added(tok, is_pair) : 0;
    if (request->max_tokens != 0 && request->max_tokens < n_added) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "max_tokens is %zu, but the special tokens alone are %zu",
                        request->max_tokens, n_added);
    }
    const size_t budget = request->max_tokens == 0 ? SIZE_MAX : request->max_tokens - n_added;
    reset_sink(&scratch->first, request, budget);
    reset_sink(&scratch->second, request, budget);
    tkr_status status =
        encode_text(&scratch->first, tok, scratch, request->text, request->n_text, request->strict_utf8, error);
    if (status == TKR_OK && is_pair) {
        status =
            encode_text(&scratch->second, tok, scratch, request->pair, request->n_pair, request->strict_utf8, error);
    }
    if (status != TKR_OK) {
        return status;
    }
    const size_t total = scratch->first.total + scratch->second.total;
    if (request->truncate == TKR_TRUNCATE_ERROR && total > budget) {
        return TKR_FAIL(error, LIMIT, "%zu tokens, the limit is %zu", total + n_added, request->max_tokens);
    }
    if (budget != SIZE_MAX) {
        tkr_tok_truncate(&scratch->first, is_pair ? &scratch->second : NULL, budget);
    }
    return tkr_tok_post_process(result, tok, scratch, request, error);
}

tkr_status tkr_tok_encode(tkr_tok_result *result, const tkr_tok *tok, tkr_tok_scratch *scratch,
                          const tkr_tok_request *request, tkr_error *error) {
    *result = (tkr_tok_result){0};
    scratch->problem = NULL;
    trim_result(scratch);
    const tkr_status status = encode(result, tok, scratch, request, error);
    trim_work(scratch);
    return status;
}
