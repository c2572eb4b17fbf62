/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: Strip, Prepend, Replace, whose "x+" and "x{n,}" for a character x need no regular expression. */
#include "tokenizer/engine.h"
#include "tokenizer/regex.h"
#include "tokenizer/unicode.h"

#include <string.h>

typedef struct strip {
    bool left, right;
} strip;

typedef struct replace {
    const tkr_tok_regex *regex; /* NULL: the pattern is a text */
    const char *pattern, *content;
    size_t n_pattern, n_content;
    size_t at_least; /* repetitions of the pattern that make a match: 0 means exactly one, else as many as there are */
} replace;

static tkr_status no_memory(const tkr_tok_loader *loader) {
    return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for a normalizer", loader->what);
}

static tkr_status parse_strip(void **out, tkr_tok_loader *loader, const json_t *config) {
    strip *self = tkr_arena_alloc(&loader->tok->arena, sizeof *self);
    if (self == NULL) {
        return no_memory(loader);
    }
    *out = self;
    const tkr_status status = tkr_json_get_bool(&self->left, config, "strip_left", true, loader->what, loader->error);
    return status != TKR_OK ? status
                            : tkr_json_get_bool(&self->right, config, "strip_right", true, loader->what, loader->error);
}

static bool run_strip(const void *data, tkr_tok_scratch *scratch) {
    const strip *self = data;
    const tkr_tok_text *text = &scratch->text;
    size_t begin = 0, end = 0, i = 0;
    for (bool leading = true; i < text->size;) {
        const size_t at = i;
        const bool space = (tkr_uni(tkr_tok_next(text->bytes, text->size, &i)) & TKR_UNI_SPACE) != 0;
        begin = leading && !space ? at : begin;
        leading = leading && space;
        begin = leading ? i : begin;
        end = space ? end : i;
    }
    begin = self->left ? begin : 0;
    end = self->right ? end : text->size;
    tkr_tok_edit edit;
    tkr_tok_edit_begin(&edit, scratch);
    if (begin < end) {
        edit.at = begin;
        tkr_tok_edit_copy(&edit, end);
    }
    return tkr_tok_edit_end(&edit);
}

static tkr_status copy_string(const char **out, size_t *n, tkr_tok_loader *loader, const json_t *value,
                              const char *field) {
    if (!json_is_string(value)) {
        return TKR_FAIL(loader->error, FORMAT, "%s: field \"%s\" of a normalizer or decoder is %s, expected a string",
                        loader->what, field, value == NULL ? "missing" : tkr_json_type_name(value));
    }
    *n = json_string_length(value);
    *out = tkr_arena_strndup(&loader->tok->arena, json_string_value(value), *n);
    return *out == NULL ? no_memory(loader) : TKR_OK;
}

static tkr_status parse_prepend(void **out, tkr_tok_loader *loader, const json_t *config) {
    replace *self = tkr_arena_alloc(&loader->tok->arena, sizeof *self);
    if (self == NULL) {
        return no_memory(loader);
    }
    *out = self;
    return copy_string(&self->content, &self->n_content, loader, json_object_get(config, "prepend"), "prepend");
}

static bool run_prepend(const void *data, tkr_tok_scratch *scratch) {
    const replace *self = data;
    const tkr_tok_text *text = &scratch->text;
    if (text->size == 0 || self->n_content == 0) {
        return true;
    }
    tkr_tok_edit edit;
    tkr_tok_edit_begin(&edit, scratch);
    tkr_tok_edit_bytes(&edit, self->content, self->n_content, text->align[0]);
    tkr_tok_edit_copy(&edit, text->size);
    return tkr_tok_edit_end(&edit);
}

/* "x+" or "x{n,}": keeps x as the pattern and n. */
static bool parse_run(replace *self, const char *regex, size_t n) {
    size_t used = 0;
    if (n == 0 || strchr(".^$*+?()[]{}|\\", regex[0]) != NULL) {
        return false;
    }
    (void)tkr_tok_next(regex, n, &used);
    self->n_pattern = used;
    if (n == used + 1 && regex[used] == '+') {
        self->at_least = 1;
        return true;
    }
    size_t i = used + 1, count = 0;
    while (i < n && regex[i] >= '0' && regex[i] <= '9' && count < 1000) {
        count = count * 10 + (size_t)(regex[i++] - '0');
    }
    self->at_least = count;
    return n > used && regex[used] == '{' && count > 0 && n == i + 2 && regex[i] == ',' && regex[i + 1] == '}';
}

static tkr_status parse_replace(void **out, tkr_tok_loader *loader, const json_t *config) {
    replace *self = tkr_arena_alloc(&loader->tok->arena, sizeof *self);
    if (self == NULL) {
        return no_memory(loader);
    }
    *out = self;
    const json_t *pattern = json_object_get(config, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    tkr_status status = copy_string(&self->pattern, &self->n_pattern, loader,
                                    regex != NULL ? regex : json_object_get(pattern, "String"), "pattern");
    if (status == TKR_OK && regex != NULL && !parse_run(self, self->pattern, self->n_pattern)) {
        status = tkr_tok_regex_add(&self->regex, loader, self->pattern, json_string_length(regex));
    }
    if (status == TKR_OK) {
        status = copy_string(&self->content, &self->n_content, loader, json_object_get(config, "content"), "content");
    }
    return status;
}

/* Bytes of the match that begins at `at`, 0 when none does; *next is where to look on. */
static size_t match(const replace *self, const char *text, size_t size, size_t at, size_t *next) {
    const size_t n = self->n_pattern;
    size_t count = 0, end = at;
    while (size - end >= n && memcmp(text + end, self->pattern, n) == 0) {
        end += n;
        count++;
        if (self->at_least == 0) {
            break;
        }
    }
    *next = count == 0 ? at + 1 : end;
    return count >= self->at_least ? end - at : 0;
}

/* Next match of the pattern in search->text; the search's `regex` is NULL for a pattern that is a text. */
static tkr_tok_found find_next(const replace *self, tkr_tok_search *search) {
    if (self->regex != NULL) {
        return tkr_tok_search_next(search);
    }
    while (self->n_pattern > 0 && search->from < search->size) {
        const char *hit = memchr(search->text + search->from, self->pattern[0], search->size - search->from);
        if (hit == NULL) {
            break;
        }
        search->begin = (size_t)(hit - search->text);
        search->end = search->begin + match(self, search->text, search->size, search->begin, &search->from);
        if (search->end > search->begin) {
            return TKR_TOK_FOUND;
        }
    }
    return TKR_TOK_NOT_FOUND;
}

static bool run_replace(const void *data, tkr_tok_scratch *scratch) {
    const replace *self = data;
    const tkr_tok_text *text = &scratch->text;
    tkr_tok_search search = TKR_TOK_SEARCH(self->regex, scratch, text->bytes, text->size);
    tkr_tok_found found;
    tkr_tok_edit edit;
    tkr_tok_edit_begin(&edit, scratch);
    while (!edit.failed && (found = find_next(self, &search)) != TKR_TOK_NOT_FOUND) {
        if (found == TKR_TOK_SEARCH_FAILED) {
            return false;
        }
        tkr_tok_edit_copy(&edit, search.begin);
        const size_t last = search.end > 0 ? search.end - 1 : 0; /* of an empty match: the character in front of it */
        const tkr_tok_range align = search.end > 0 ? text->align[last] : (tkr_tok_range){scratch->base, scratch->base};
        tkr_tok_edit_bytes(&edit, self->content, self->n_content, align);
        edit.at = search.end;
    }
    tkr_tok_edit_copy(&edit, text->size);
    return tkr_tok_edit_end(&edit);
}

static bool decode_replace(const void *data, tkr_tok_scratch *scratch, tkr_tok_texts *out, const tkr_tok_texts *in) {
    const replace *self = data;
    for (size_t i = 0; i < in->n; i++) {
        const size_t begin = tkr_tok_texts_begin(in, i);
        const char *text = in->bytes.data + begin;
        tkr_tok_search search = TKR_TOK_SEARCH(self->regex, scratch, text, in->ends[i] - begin);
        tkr_tok_found found;
        size_t at = 0;
        while (!out->bytes.failed && (found = find_next(self, &search)) != TKR_TOK_NOT_FOUND) {
            if (found == TKR_TOK_SEARCH_FAILED) {
                return false;
            }
            (void)tkr_buf_append(&out->bytes, text + at, search.begin - at);
            (void)tkr_buf_append(&out->bytes, self->content, self->n_content);
            at = search.end;
        }
        (void)tkr_buf_append(&out->bytes, text + at, search.size - at);
        if (!tkr_tok_texts_end(out)) {
            return false;
        }
    }
    return true;
}

extern const tkr_tok_component tkr_norm_strip, tkr_norm_prepend, tkr_norm_replace, tkr_decoder_replace;
const tkr_tok_component tkr_norm_strip = {.parse = parse_strip, .run = run_strip};
const tkr_tok_component tkr_norm_prepend = {.parse = parse_prepend, .run = run_prepend};
const tkr_tok_component tkr_norm_replace = {.parse = parse_replace, .run = run_replace};
const tkr_tok_component tkr_decoder_replace = {.parse = parse_replace, .decode = decode_replace};
