/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/text: the text under work and the one way to rewrite it, with the alignment rules of the reference. */
#include "tokenizer/engine.h"

#include <string.h>

static bool reserve(tkr_tok_text *text, size_t extra) {
    size_t align_room = text->room;
    return TKR_TOK_GROW(text->align, align_room, text->size + extra) &&
           TKR_TOK_GROW(text->bytes, text->room, text->size + extra);
}

bool tkr_tok_text_load(tkr_tok_scratch *scratch, const char *input, size_t begin, size_t end) {
    tkr_tok_text *text = &scratch->text;
    text->size = 0;
    scratch->base = (uint32_t)begin;
    scratch->work += end - begin;
    if (!reserve(text, end - begin)) {
        return false;
    }
    if (end > begin) {
        memcpy(text->bytes, input + begin, end - begin);
    }
    text->size = end - begin;
    for (size_t i = 0; i < text->size;) {
        const size_t n = tkr_tok_char_size(text->bytes[i]);
        const tkr_tok_range range = {(uint32_t)(begin + i), (uint32_t)(begin + i + n)};
        for (size_t k = 0; k < n && i + k < text->size; k++) {
            text->align[i + k] = range;
        }
        i += n;
    }
    return true;
}

void tkr_tok_edit_begin(tkr_tok_edit *edit, tkr_tok_scratch *scratch) {
    *edit = (tkr_tok_edit){.scratch = scratch};
    scratch->spare.size = 0;
    scratch->work += scratch->text.size;
    edit->failed = !reserve(&scratch->spare, scratch->text.size);
}

tkr_tok_range tkr_tok_edit_step(tkr_tok_edit *edit, int32_t change) {
    const tkr_tok_text *old = &edit->scratch->text;
    if (change > 0) {
        const tkr_tok_range none = {edit->scratch->base, edit->scratch->base};
        return edit->at == 0 ? none : old->align[edit->at - 1];
    }
    if (edit->at >= old->size) {
        return old->size == 0 ? (tkr_tok_range){edit->scratch->base, edit->scratch->base} : old->align[old->size - 1];
    }
    const tkr_tok_range align = old->align[edit->at];
    for (int32_t i = change; i <= 0 && edit->at < old->size; i++) {
        edit->at += tkr_tok_char_size(old->bytes[edit->at]);
    }
    return align;
}

void tkr_tok_edit_bytes(tkr_tok_edit *edit, const char *bytes, size_t n, tkr_tok_range align) {
    tkr_tok_text *text = &edit->scratch->spare;
    if (edit->failed || (text->size + n > text->room && !reserve(text, n))) {
        edit->failed = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        text->bytes[text->size + i] = bytes[i];
        text->align[text->size + i] = align;
    }
    text->size += n;
}

void tkr_tok_edit_write(tkr_tok_edit *edit, uint32_t code_point, tkr_tok_range align) {
    tkr_tok_text *text = &edit->scratch->spare;
    if (code_point < 0x80 && text->size < text->room && !edit->failed) {
        text->bytes[text->size] = (char)code_point;
        text->align[text->size++] = align;
        return;
    }
    char bytes[4];
    tkr_tok_edit_bytes(edit, bytes, tkr_utf8_put(bytes, code_point), align);
}

void tkr_tok_edit_copy(tkr_tok_edit *edit, size_t end) {
    const tkr_tok_text *old = &edit->scratch->text;
    tkr_tok_text *text = &edit->scratch->spare;
    const size_t n = end - edit->at;
    if (n == 0) {
        return;
    }
    if (edit->failed || !reserve(text, n)) {
        edit->failed = true;
        return;
    }
    memcpy(text->bytes + text->size, old->bytes + edit->at, n);
    memcpy(text->align + text->size, old->align + edit->at, n * sizeof *text->align);
    text->size += n;
    edit->at = end;
}

bool tkr_tok_edit_end(tkr_tok_edit *edit) {
    if (edit->failed) {
        return false;
    }
    const tkr_tok_text old = edit->scratch->text;
    edit->scratch->text = edit->scratch->spare;
    edit->scratch->spare = old;
    return true;
}
