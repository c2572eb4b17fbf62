/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: WhitespaceSplit, Whitespace, Punctuation, Digits, Split with a fixed text or a regular expression; the
 * five ways to treat a delimiter. */
#include "tokenizer/engine.h"
#include "tokenizer/regex.h"
#include "tokenizer/unicode.h"

#include <string.h>

/* Receives the stretches of one span in order, says what becomes a span of its own. */
typedef struct splitter {
    tkr_tok_scratch *scratch;
    tkr_tok_behavior behavior;
    size_t n;      /* spans written to spare_spans */
    size_t first;  /* of them, where the current input span's begin */
    bool previous; /* the last stretch was a delimiter */
    bool held, failed;
    uint32_t held_begin, held_end; /* MERGED_WITH_NEXT: a delimiter that waits */
} splitter;

static void put(splitter *s, uint32_t begin, uint32_t end, int32_t token) {
    tkr_tok_scratch *scratch = s->scratch;
    if (begin == end && token < 0) {
        return;
    }
    if (!TKR_TOK_GROW(scratch->spare_spans, scratch->spare_spans_room, s->n + 1)) {
        s->failed = true;
        return;
    }
    scratch->spare_spans[s->n++] = (tkr_tok_span){begin, end, token};
}

static void put_or_extend(splitter *s, bool extend, uint32_t begin, uint32_t end) {
    if (extend && s->n > s->first) {
        s->scratch->spare_spans[s->n - 1].end = end;
    } else {
        put(s, begin, end, -1);
    }
}

static void stretch(splitter *s, size_t begin_at, size_t end_at, bool delimiter) {
    const uint32_t begin = (uint32_t)begin_at, end = (uint32_t)end_at;
    if (begin == end) {
        return;
    }
    switch (s->behavior) {
    case TKR_TOK_REMOVED:
        if (!delimiter) {
            put(s, begin, end, -1);
        }
        break;
    case TKR_TOK_ISOLATED: put(s, begin, end, -1); break;
    case TKR_TOK_CONTIGUOUS: put_or_extend(s, delimiter == s->previous, begin, end); break;
    case TKR_TOK_MERGED_WITH_PREVIOUS: put_or_extend(s, delimiter && !s->previous, begin, end); break;
    case TKR_TOK_MERGED_WITH_NEXT:
        if (s->held && delimiter) {
            put(s, s->held_begin, s->held_end, -1);
        }
        if (!delimiter) {
            put(s, s->held ? s->held_begin : begin, end, -1);
        }
        s->held = delimiter;
        s->held_begin = begin;
        s->held_end = end;
        break;
    }
    s->previous = delimiter;
}

/* Runs `cut` on every word; added tokens stay. */
static bool split_each(tkr_tok_scratch *scratch, tkr_tok_behavior behavior,
                       void (*cut)(splitter *s, const tkr_tok_span *span, const void *arg), const void *arg) {
    splitter s = {.scratch = scratch, .behavior = behavior};
    scratch->work += scratch->text.size;
    for (size_t i = 0; i < scratch->n_spans && !s.failed; i++) {
        const tkr_tok_span span = scratch->spans[i];
        if (span.token >= 0) {
            put(&s, span.begin, span.end, span.token);
            continue;
        }
        s.first = s.n;
        s.previous = false;
        s.held = false;
        cut(&s, &span, arg);
        if (s.held) {
            put(&s, s.held_begin, s.held_end, -1);
        }
    }
    tkr_tok_span *old = scratch->spans;
    const size_t old_room = scratch->spans_room;
    scratch->spans = scratch->spare_spans;
    scratch->spans_room = scratch->spare_spans_room;
    scratch->n_spans = s.n;
    scratch->spare_spans = old;
    scratch->spare_spans_room = old_room;
    return !s.failed;
}

static void cut_props(splitter *s, const tkr_tok_span *span, const void *arg) {
    const unsigned props = *(const unsigned *)arg;
    const char *bytes = s->scratch->text.bytes;
    size_t last = span->begin;
    for (size_t i = span->begin; i < span->end;) {
        const size_t at = i;
        if (tkr_uni(tkr_tok_next(bytes, span->end, &i)) & props) {
            stretch(s, last, at, false);
            stretch(s, at, i, true);
            last = i;
        }
    }
    stretch(s, last, span->end, false);
}

bool tkr_tok_split_props(tkr_tok_scratch *scratch, unsigned props, tkr_tok_behavior behavior) {
    return split_each(scratch, behavior, cut_props, &props);
}

tkr_status tkr_tok_parse_behavior(tkr_tok_behavior *behavior, tkr_tok_loader *loader, const json_t *config,
                                  bool required) {
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *name = NULL;
    const tkr_status status = tkr_json_get_string(&name, config, "behavior", required, loader->what, loader->error);
    if (status != TKR_OK || name == NULL) {
        return status;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) {
            *behavior = (tkr_tok_behavior)i;
            return TKR_OK;
        }
    }
    return TKR_FAIL(loader->error, UNSUPPORTED,
                    "%s: behavior \"%.40s\", expected Removed, Isolated, MergedWithPrevious, "
                    "MergedWithNext or Contiguous",
                    loader->what, name);
}

typedef struct regex_cut {
    const tkr_tok_regex *regex;
    bool invert;
} regex_cut;

static void cut_regex(splitter *s, const tkr_tok_span *span, const void *arg) {
    const regex_cut *cut = arg;
    tkr_tok_search search =
        TKR_TOK_SEARCH(cut->regex, s->scratch, s->scratch->text.bytes + span->begin, span->end - span->begin);
    tkr_tok_found found;
    size_t last = span->begin;
    while (!s->failed && (found = tkr_tok_search_next(&search)) != TKR_TOK_NOT_FOUND) {
        if (found == TKR_TOK_SEARCH_FAILED) {
            s->failed = true;
            return;
        }
        stretch(s, last, span->begin + search.begin, cut->invert);
        stretch(s, span->begin + search.begin, span->begin + search.end, !cut->invert);
        if (search.begin == search.end) { /* an empty delimiter still separates */
            s->previous = !cut->invert;
        }
        last = span->begin + search.end;
    }
    stretch(s, last, span->end, cut->invert);
}

bool tkr_tok_split_regex(tkr_tok_scratch *scratch, const tkr_tok_regex *regex, tkr_tok_behavior behavior, bool invert) {
    const regex_cut cut = {regex, invert};
    return split_each(scratch, behavior, cut_regex, &cut);
}

typedef struct split {
    const tkr_tok_regex *regex; /* NULL: a fixed text */
    const char *pattern;
    size_t n_pattern;
    tkr_tok_behavior behavior;
    bool invert, individual_digits;
} split;

static tkr_status new_split(split **self, void **out, tkr_tok_loader *loader) {
    *self = tkr_arena_alloc(&loader->tok->arena, sizeof **self);
    if (*self == NULL) {
        return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for a pre-tokenizer", loader->what);
    }
    (*self)->behavior = TKR_TOK_ISOLATED;
    *out = *self;
    return TKR_OK;
}

static tkr_status parse_nothing(void **self, tkr_tok_loader *loader, const json_t *config) {
    (void)loader;
    (void)config;
    *self = NULL;
    return TKR_OK;
}

static tkr_status parse_punctuation(void **out, tkr_tok_loader *loader, const json_t *config) {
    split *self;
    const tkr_status status = new_split(&self, out, loader);
    return status != TKR_OK ? status : tkr_tok_parse_behavior(&self->behavior, loader, config, false);
}

static tkr_status parse_digits(void **out, tkr_tok_loader *loader, const json_t *config) {
    split *self;
    const tkr_status status = new_split(&self, out, loader);
    return status != TKR_OK ? status
                            : tkr_json_get_bool(&self->individual_digits, config, "individual_digits", true,
                                                loader->what, loader->error);
}

static tkr_status parse_split(void **out, tkr_tok_loader *loader, const json_t *config) {
    split *self;
    tkr_status status = new_split(&self, out, loader);
    if (status == TKR_OK) {
        status = tkr_tok_parse_behavior(&self->behavior, loader, config, true);
    }
    if (status == TKR_OK) {
        status = tkr_json_get_bool(&self->invert, config, "invert", true, loader->what, loader->error);
    }
    if (status != TKR_OK) {
        return status;
    }
    const json_t *pattern = json_object_get(config, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex"), *text = json_object_get(pattern, "String");
    if (json_is_string(regex)) {
        return tkr_tok_regex_add(&self->regex, loader, json_string_value(regex), json_string_length(regex));
    }
    if (!json_is_string(text)) {
        return TKR_FAIL(loader->error, FORMAT,
                        "%s: field \"pattern\" of Split must be {\"String\": text} or {\"Regex\": text}", loader->what);
    }
    self->n_pattern = json_string_length(text);
    self->pattern = tkr_arena_strndup(&loader->tok->arena, json_string_value(text), self->n_pattern);
    return self->pattern != NULL ? TKR_OK : TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for Split", loader->what);
}

static bool run_whitespace_split(const void *self, tkr_tok_scratch *scratch) {
    (void)self;
    return tkr_tok_split_props(scratch, TKR_UNI_SPACE, TKR_TOK_REMOVED);
}

static bool run_punctuation(const void *data, tkr_tok_scratch *scratch) {
    const split *self = data;
    return tkr_tok_split_props(scratch, TKR_UNI_PUNCT, self->behavior);
}

static bool run_digits(const void *data, tkr_tok_scratch *scratch) {
    const split *self = data;
    return tkr_tok_split_props(scratch, TKR_UNI_DIGIT, self->individual_digits ? TKR_TOK_ISOLATED : TKR_TOK_CONTIGUOUS);
}

/* Runs of \w and runs of what is neither \w nor white space. */
static void cut_words(splitter *s, const tkr_tok_span *span, const void *arg) {
    (void)arg;
    const char *bytes = s->scratch->text.bytes;
    size_t last = span->begin;
    int last_class = -1;
    for (size_t i = span->begin; i < span->end;) {
        const size_t at = i;
        const unsigned props = tkr_uni(tkr_tok_next(bytes, span->end, &i));
        const int class = (props & TKR_UNI_WORD) ? 1 : (props & TKR_UNI_SPACE) ? 0 : 2;
        if (class != last_class) {
            stretch(s, last, at, last_class == 0);
            last = at;
            last_class = class;
        }
    }
    stretch(s, last, span->end, last_class == 0);
}

static bool run_whitespace(const void *self, tkr_tok_scratch *scratch) {
    (void)self;
    return split_each(scratch, TKR_TOK_REMOVED, cut_words, NULL);
}

static void cut_text(splitter *s, const tkr_tok_span *span, const void *arg) {
    const split *self = arg;
    const char *bytes = s->scratch->text.bytes;
    const size_t n = self->n_pattern;
    size_t last = span->begin;
    for (size_t i = span->begin; n > 0 && i + n <= span->end;) {
        if (bytes[i] != self->pattern[0] || memcmp(bytes + i, self->pattern, n) != 0) {
            i++;
            continue;
        }
        stretch(s, last, i, self->invert);
        stretch(s, i, i + n, !self->invert);
        i += n;
        last = i;
    }
    stretch(s, last, span->end, self->invert);
}

static bool run_split(const void *data, tkr_tok_scratch *scratch) {
    const split *self = data;
    return self->regex != NULL ? tkr_tok_split_regex(scratch, self->regex, self->behavior, self->invert)
                               : split_each(scratch, self->behavior, cut_text, self);
}

static tkr_tok_tile_fn tile(const void *data) {
    const split *self = data;
    return self->regex != NULL && self->behavior == TKR_TOK_ISOLATED ? tkr_tok_regex_tile(self->regex) : NULL;
}

extern const tkr_tok_component tkr_pre_whitespace_split, tkr_pre_whitespace, tkr_pre_punctuation, tkr_pre_digits,
    tkr_pre_split;
const tkr_tok_component tkr_pre_whitespace_split = {.parse = parse_nothing, .run = run_whitespace_split};
const tkr_tok_component tkr_pre_whitespace = {.parse = parse_nothing, .run = run_whitespace};
const tkr_tok_component tkr_pre_punctuation = {.parse = parse_punctuation, .run = run_punctuation};
const tkr_tok_component tkr_pre_digits = {.parse = parse_digits, .run = run_digits};
const tkr_tok_component tkr_pre_split = {.parse = parse_split, .run = run_split, .tile = tile};
