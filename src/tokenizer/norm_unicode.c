/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: NFC, NFD, NFKC, NFKD, Lowercase, StripAccents. Linear time, also for endless runs of combining marks. */
#include "tokenizer/engine.h"
#include "tokenizer/unicode.h"

#include <string.h>

typedef struct form {
    tkr_tok_edit edit;
    unsigned flags;
    bool failed;
    bool has_base; /* composing: `base` waits for marks */
    tkr_tok_pending base;
    size_t n_blocked; /* marks behind the base that did not combine: scratch->sorted[0, n) */
    int last_class;   /* combining class of the last of them, -1: none */
} form;

static void write(form *f, const tkr_tok_pending *c) {
    const tkr_tok_range align = tkr_tok_edit_step(&f->edit, c->change);
    if (c->code_point < 0x80) {
        const bool upper = c->code_point - 'A' < 26 && (f->flags & TKR_TOK_NF_LOWER);
        tkr_tok_edit_write(&f->edit, upper ? c->code_point + 32 : c->code_point, align);
        return;
    }
    const unsigned props = tkr_uni(c->code_point);
    if ((f->flags & TKR_TOK_NF_DROP_MN) && (props & TKR_UNI_MN)) {
        return;
    }
    if ((f->flags & TKR_TOK_NF_LOWER) && (props & TKR_UNI_LOWER)) {
        uint32_t lower[TKR_UNI_MAX_PARTS];
        const size_t n = tkr_uni_lower(lower, c->code_point);
        for (size_t i = 0; i < n; i++) {
            tkr_tok_edit_write(&f->edit, lower[i], align);
        }
        return;
    }
    tkr_tok_edit_write(&f->edit, c->code_point, align);
}

static void flush_base(form *f) {
    if (f->has_base) {
        write(f, &f->base);
    }
    for (size_t i = 0; i < f->n_blocked; i++) {
        write(f, &f->edit.scratch->sorted[i]);
    }
    f->has_base = false;
    f->n_blocked = 0;
    f->last_class = -1;
}

static void block(form *f, const tkr_tok_pending *c) {
    tkr_tok_scratch *scratch = f->edit.scratch;
    if (!TKR_TOK_GROW(scratch->sorted, scratch->sorted_room, f->n_blocked + 1)) {
        f->failed = true;
        return;
    }
    scratch->sorted[f->n_blocked++] = *c;
    f->last_class = c->combining_class;
}

/* Canonical composition; the sum of the changes says how many old characters the composed one stands for. */
static void compose(form *f, const tkr_tok_pending *c) {
    if (!f->has_base) {
        if (c->combining_class != 0) {
            write(f, c);
        } else {
            f->base = *c;
            f->has_base = true;
        }
        return;
    }
    if (f->last_class < c->combining_class) {
        const uint32_t composed = tkr_uni_compose(f->base.code_point, c->code_point);
        if (composed != 0) {
            f->base.code_point = composed;
            f->base.change += c->change - 1;
            return;
        }
    }
    if (c->combining_class == 0) {
        flush_base(f);
        f->base = *c;
        f->has_base = true;
        return;
    }
    block(f, c);
}

/* Stable sort by combining class: insertion for the usual one or two marks, counting for long runs. */
static bool sort_pending(tkr_tok_scratch *scratch) {
    tkr_tok_pending *list = scratch->pending;
    const size_t n = scratch->n_pending;
    if (n <= 16) {
        for (size_t i = 1; i < n; i++) {
            const tkr_tok_pending item = list[i];
            size_t k = i;
            for (; k > 0 && list[k - 1].combining_class > item.combining_class; k--) {
                list[k] = list[k - 1];
            }
            list[k] = item;
        }
        return true;
    }
    tkr_tok_pending *copy = tkr_malloc(n * sizeof *copy);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, list, n * sizeof *copy);
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++) {
        start[copy[i].combining_class + 1u]++;
    }
    for (size_t k = 1; k < 257; k++) {
        start[k] += start[k - 1];
    }
    for (size_t i = 0; i < n; i++) {
        list[start[copy[i].combining_class]++] = copy[i];
    }
    tkr_free(copy);
    return true;
}

static void flush_pending(form *f) {
    tkr_tok_scratch *scratch = f->edit.scratch;
    if (scratch->n_pending > 1 && !sort_pending(scratch)) {
        f->failed = true;
        return;
    }
    for (size_t i = 0; i < scratch->n_pending; i++) {
        if (f->flags & TKR_TOK_NF_COMPOSE) {
            compose(f, &scratch->pending[i]);
        } else {
            write(f, &scratch->pending[i]);
        }
    }
    scratch->n_pending = 0;
}

static void push(form *f, const tkr_tok_pending *c) {
    tkr_tok_scratch *scratch = f->edit.scratch;
    if (c->combining_class == 0) {
        flush_pending(f);
    }
    if (!TKR_TOK_GROW(scratch->pending, scratch->pending_room, scratch->n_pending + 1)) {
        f->failed = true;
        return;
    }
    scratch->pending[scratch->n_pending++] = *c;
}

bool tkr_tok_normal_form(tkr_tok_scratch *scratch, unsigned flags) {
    form f = {.flags = flags, .last_class = -1};
    const tkr_tok_text *text = &scratch->text;
    const unsigned touched =
        TKR_UNI_NFD | TKR_UNI_CCC | ((flags & TKR_TOK_NF_COMPATIBLE) ? (unsigned)TKR_UNI_NFKD : 0u);
    tkr_tok_edit_begin(&f.edit, scratch);
    scratch->n_pending = 0;
    for (size_t i = 0; i < text->size && !f.failed;) {
        tkr_tok_pending c = {.code_point = tkr_tok_next(text->bytes, text->size, &i)};
        const bool syllable = c.code_point - 0xAC00u < 11172u;
        if (c.code_point < 0x80 || (!syllable && !(tkr_uni(c.code_point) & touched))) {
            push(&f, &c);
            continue;
        }
        uint32_t parts[TKR_UNI_MAX_PARTS];
        const size_t n = tkr_uni_decompose(parts, c.code_point, (flags & TKR_TOK_NF_COMPATIBLE) != 0);
        for (size_t k = 0; k < n; k++) {
            c = (tkr_tok_pending){parts[k], k > 0, tkr_uni_combining_class(parts[k])};
            push(&f, &c);
        }
    }
    flush_pending(&f);
    flush_base(&f);
    return !f.failed && tkr_tok_edit_end(&f.edit);
}

bool tkr_tok_lowercase(tkr_tok_scratch *scratch) {
    form f = {.flags = TKR_TOK_NF_LOWER};
    const tkr_tok_text *text = &scratch->text;
    tkr_tok_edit_begin(&f.edit, scratch);
    for (size_t i = 0; i < text->size;) {
        const tkr_tok_pending c = {.code_point = tkr_tok_next(text->bytes, text->size, &i)};
        write(&f, &c);
    }
    return tkr_tok_edit_end(&f.edit);
}

static tkr_status parse_nothing(void **self, tkr_tok_loader *loader, const json_t *config) {
    (void)loader;
    (void)config;
    *self = NULL;
    return TKR_OK;
}

static bool run_nfc(const void *self, tkr_tok_scratch *scratch) {
    (void)self;
    scratch->work += scratch->text.size;
    return tkr_tok_is_nfc(scratch->text.bytes, scratch->text.size) || tkr_tok_normal_form(scratch, TKR_TOK_NF_COMPOSE);
}

static bool run_nfd(const void *self, tkr_tok_scratch *scratch) {
    (void)self;
    return tkr_tok_normal_form(scratch, 0);
}

static bool run_nfkc(const void *self, tkr_tok_scratch *scratch) {
    (void)self;
    return tkr_tok_normal_form(scratch, TKR_TOK_NF_COMPATIBLE | TKR_TOK_NF_COMPOSE);
}

static bool run_nfkd(const void *self, tkr_tok_scratch *scratch) {
    (void)self;
    return tkr_tok_normal_form(scratch, TKR_TOK_NF_COMPATIBLE);
}

static bool run_lowercase(const void *self, tkr_tok_scratch *scratch) {
    (void)self;
    return tkr_tok_lowercase(scratch);
}

static void ascii_lowercase(const void *self, tkr_tok_ascii *plan) {
    (void)self;
    for (size_t c = 0; c < 128; c++) {
        if (plan->to[c] >= 'A' && plan->to[c] <= 'Z') {
            plan->to[c] = (uint8_t)(plan->to[c] + 32);
        }
    }
}

static void ascii_unchanged(const void *self, tkr_tok_ascii *plan) {
    (void)self;
    (void)plan;
}

static bool run_strip_accents(const void *self, tkr_tok_scratch *scratch) {
    (void)self;
    const tkr_tok_text *text = &scratch->text;
    tkr_tok_edit edit;
    tkr_tok_edit_begin(&edit, scratch);
    for (size_t i = 0; i < text->size;) {
        const uint32_t c = tkr_tok_next(text->bytes, text->size, &i);
        const tkr_tok_range align = tkr_tok_edit_step(&edit, 0);
        if (!(tkr_uni(c) & TKR_UNI_MARK)) {
            tkr_tok_edit_write(&edit, c, align);
        }
    }
    return tkr_tok_edit_end(&edit);
}

/* NFC and NFKC compose ASCII characters with what follows them, so they have no ASCII plan. */
extern const tkr_tok_component tkr_norm_nfc, tkr_norm_nfd, tkr_norm_nfkc, tkr_norm_nfkd;
extern const tkr_tok_component tkr_norm_lowercase, tkr_norm_strip_accents;
const tkr_tok_component tkr_norm_nfc = {.parse = parse_nothing, .run = run_nfc};
const tkr_tok_component tkr_norm_nfd = {.parse = parse_nothing, .run = run_nfd, .ascii = ascii_unchanged};
const tkr_tok_component tkr_norm_nfkc = {.parse = parse_nothing, .run = run_nfkc};
const tkr_tok_component tkr_norm_nfkd = {.parse = parse_nothing, .run = run_nfkd};
const tkr_tok_component tkr_norm_lowercase = {.parse = parse_nothing, .run = run_lowercase, .ascii = ascii_lowercase};
const tkr_tok_component tkr_norm_strip_accents = {
    .parse = parse_nothing, .run = run_strip_accents, .ascii = ascii_unchanged};
