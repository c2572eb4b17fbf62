/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: BertNormalizer. */
#include "tokenizer/engine.h"
#include "tokenizer/unicode.h"

typedef struct bert {
    bool clean_text, chinese, strip_accents, lowercase;
} bert;

static tkr_status parse(void **out, tkr_tok_loader *loader, const json_t *config) {
    bert *self = tkr_arena_alloc(&loader->tok->arena, sizeof *self);
    if (self == NULL) {
        return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for BertNormalizer", loader->what);
    }
    *out = self;
    tkr_status status = tkr_json_get_bool(&self->clean_text, config, "clean_text", true, loader->what, loader->error);
    if (status == TKR_OK) {
        status = tkr_json_get_bool(&self->chinese, config, "handle_chinese_chars", true, loader->what, loader->error);
    }
    if (status == TKR_OK) {
        status = tkr_json_get_bool(&self->lowercase, config, "lowercase", true, loader->what, loader->error);
    }
    self->strip_accents = self->lowercase;
    if (status == TKR_OK) {
        status = tkr_json_get_bool(&self->strip_accents, config, "strip_accents", false, loader->what, loader->error);
    }
    return status;
}

static bool clean(const bert *self, tkr_tok_scratch *scratch) {
    const tkr_tok_text *text = &scratch->text;
    tkr_tok_edit edit;
    tkr_tok_edit_begin(&edit, scratch);
    for (size_t i = 0; i < text->size;) {
        const uint32_t c = tkr_tok_next(text->bytes, text->size, &i);
        const unsigned props = tkr_uni(c);
        const tkr_tok_range align = tkr_tok_edit_step(&edit, 0);
        if (self->clean_text && (props & TKR_UNI_CLEAN_DROP)) {
            continue;
        }
        if (self->chinese && (props & TKR_UNI_CJK)) {
            tkr_tok_edit_write(&edit, ' ', align);
            tkr_tok_edit_write(&edit, c, align);
            tkr_tok_edit_write(&edit, ' ', align);
            continue;
        }
        tkr_tok_edit_write(&edit, self->clean_text && (props & TKR_UNI_CLEAN_SPACE) ? ' ' : c, align);
    }
    return tkr_tok_edit_end(&edit);
}

static bool run(const void *data, tkr_tok_scratch *scratch) {
    const bert *self = data;
    if ((self->clean_text || self->chinese) && !clean(self, scratch)) {
        return false;
    }
    if (self->strip_accents) {
        return tkr_tok_normal_form(scratch, TKR_TOK_NF_DROP_MN | (self->lowercase ? (unsigned)TKR_TOK_NF_LOWER : 0u));
    }
    return !self->lowercase || tkr_tok_lowercase(scratch);
}

static void ascii(const void *data, tkr_tok_ascii *plan) {
    const bert *self = data;
    for (size_t c = 0; c < 128; c++) {
        const uint8_t to = plan->to[c];
        const unsigned props = tkr_uni(to);
        if (self->clean_text && (props & TKR_UNI_CLEAN_DROP)) {
            plan->class[c] = TKR_TOK_ASCII_SLOW;
        } else if (self->clean_text && (props & TKR_UNI_CLEAN_SPACE)) {
            plan->to[c] = ' ';
        } else if (self->lowercase && to >= 'A' && to <= 'Z') {
            plan->to[c] = (uint8_t)(to + 32);
        }
    }
}

extern const tkr_tok_component tkr_norm_bert;
const tkr_tok_component tkr_norm_bert = {.parse = parse, .run = run, .ascii = ascii};
