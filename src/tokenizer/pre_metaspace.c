/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: Metaspace: spaces become a visible mark, and a word begins at each mark; as decoder, marks become spaces.
 */
#include "tokenizer/engine.h"

#include <string.h>

typedef enum scheme { ALWAYS, FIRST, NEVER } scheme;

typedef struct metaspace {
    char mark[4];
    size_t n_mark;
    uint32_t code_point;
    scheme scheme;
    bool split;
} metaspace;

static tkr_status read_scheme(metaspace *self, tkr_tok_loader *loader, const json_t *config) {
    const char *name = "always";
    bool prefix = true;
    tkr_status status = tkr_json_get_string(&name, config, "prepend_scheme", false, loader->what, loader->error);
    if (status == TKR_OK) {
        status = tkr_json_get_bool(&prefix, config, "add_prefix_space", false, loader->what, loader->error);
    }
    if (status != TKR_OK) {
        return status;
    }
    if (strcmp(name, "always") != 0 && strcmp(name, "first") != 0 && strcmp(name, "never") != 0) {
        return TKR_FAIL(loader->error, FORMAT, "%s: prepend_scheme \"%.20s\", expected always, first or never",
                        loader->what, name);
    }
    self->scheme = name[0] == 'a' ? ALWAYS : name[0] == 'f' ? FIRST : NEVER;
    if (!prefix && self->scheme != NEVER) {
        return TKR_FAIL(loader->error, FORMAT, "%s: add_prefix_space false contradicts prepend_scheme \"%s\"",
                        loader->what, name);
    }
    return TKR_OK;
}

static tkr_status parse(void **out, tkr_tok_loader *loader, const json_t *config) {
    metaspace *self = tkr_arena_alloc(&loader->tok->arena, sizeof *self);
    if (self == NULL) {
        return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for Metaspace", loader->what);
    }
    *out = self;
    const char *mark = NULL;
    tkr_status status = tkr_json_get_string(&mark, config, "replacement", true, loader->what, loader->error);
    self->split = true;
    if (status == TKR_OK) {
        status = tkr_json_get_bool(&self->split, config, "split", false, loader->what, loader->error);
    }
    if (status != TKR_OK) {
        return status;
    }
    size_t used = 0;
    self->n_mark = strlen(mark);
    if (self->n_mark > 0) {
        self->code_point = tkr_tok_next(mark, self->n_mark, &used);
    }
    if (self->n_mark == 0 || used != self->n_mark) {
        return TKR_FAIL(loader->error, FORMAT, "%s: replacement of Metaspace must be one character", loader->what);
    }
    memcpy(self->mark, mark, self->n_mark);
    return read_scheme(self, loader, config);
}

typedef struct output {
    tkr_tok_edit edit;
    size_t n_spans;
    bool failed;
} output;

/* Closes the word that began at `begin` of the new text. */
static void end_span(output *o, size_t begin, int32_t token) {
    tkr_tok_scratch *scratch = o->edit.scratch;
    if (begin == scratch->spare.size) {
        return;
    }
    if (!TKR_TOK_GROW(scratch->spare_spans, scratch->spare_spans_room, o->n_spans + 1)) {
        o->failed = true;
        return;
    }
    scratch->spare_spans[o->n_spans++] = (tkr_tok_span){(uint32_t)begin, (uint32_t)scratch->spare.size, token};
}

static void rewrite_word(const metaspace *self, output *o, const tkr_tok_span *span) {
    tkr_tok_scratch *scratch = o->edit.scratch;
    const tkr_tok_text *text = &scratch->text;
    size_t begin = scratch->spare.size, i = span->begin, peek = i;
    const uint32_t first = tkr_tok_next(text->bytes, span->end, &peek);
    const bool marked = first == ' ' || first == self->code_point;
    if (!marked && (self->scheme == ALWAYS || (self->scheme == FIRST && text->align[i].begin == 0))) {
        tkr_tok_edit_bytes(&o->edit, self->mark, self->n_mark, text->align[i]);
    }
    while (i < span->end) {
        const size_t at = i;
        const uint32_t c = tkr_tok_next(text->bytes, span->end, &i);
        const bool mark = c == ' ' || c == self->code_point;
        if (mark && self->split) {
            end_span(o, begin, -1);
            begin = scratch->spare.size;
        }
        if (mark) {
            tkr_tok_edit_bytes(&o->edit, self->mark, self->n_mark, text->align[at]);
        } else {
            tkr_tok_edit_write(&o->edit, c, text->align[at]);
        }
    }
    end_span(o, begin, -1);
}

static bool run(const void *data, tkr_tok_scratch *scratch) {
    const metaspace *self = data;
    output o = {0};
    tkr_tok_edit_begin(&o.edit, scratch);
    for (size_t i = 0; i < scratch->n_spans; i++) {
        const tkr_tok_span span = scratch->spans[i];
        if (span.begin == span.end) {
            continue;
        }
        if (span.token < 0) {
            rewrite_word(self, &o, &span);
            continue;
        }
        const size_t begin = scratch->spare.size;
        o.edit.at = span.begin;
        tkr_tok_edit_copy(&o.edit, span.end);
        end_span(&o, begin, span.token);
    }
    tkr_tok_span *old = scratch->spans;
    const size_t old_room = scratch->spans_room;
    scratch->spans = scratch->spare_spans;
    scratch->spans_room = scratch->spare_spans_room;
    scratch->n_spans = o.n_spans;
    scratch->spare_spans = old;
    scratch->spare_spans_room = old_room;
    return !o.failed && tkr_tok_edit_end(&o.edit);
}

/* A mark of the first text stands for no space of the text, unless none is put in front. */
static bool decode(const void *data, tkr_tok_scratch *scratch, tkr_tok_texts *out, const tkr_tok_texts *in) {
    const metaspace *self = data;
    (void)scratch;
    for (size_t i = 0; i < in->n; i++) {
        const size_t end = in->ends[i];
        for (size_t at = tkr_tok_texts_begin(in, i); at < end;) {
            const char *rest = in->bytes.data + at;
            if (end - at >= self->n_mark && memcmp(rest, self->mark, self->n_mark) == 0) {
                if (i > 0 || self->scheme == NEVER) {
                    (void)tkr_buf_putc(&out->bytes, ' ');
                }
                at += self->n_mark;
                continue;
            }
            const char *next = memchr(rest + 1, self->mark[0], end - at - 1);
            const size_t n = next == NULL ? end - at : (size_t)(next - rest);
            (void)tkr_buf_append(&out->bytes, rest, n);
            at += n;
        }
        if (!tkr_tok_texts_end(out)) {
            return false;
        }
    }
    return true;
}

extern const tkr_tok_component tkr_pre_metaspace, tkr_decoder_metaspace;
const tkr_tok_component tkr_pre_metaspace = {.parse = parse, .run = run};
const tkr_tok_component tkr_decoder_metaspace = {.parse = parse, .decode = decode};
