/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: ByteLevel as normalizer, pre-tokenizer and post-processor: each byte becomes a visible character, and as
 * decoder a byte again. Before a BPE model the bytes stay as they are and the model takes them
 * (tkr_tok_byte_level_keep). */
#include "tokenizer/engine.h"
#include "tokenizer/regex.h"

#include <string.h>

/* A visible Latin-1 character stands for its own byte, the other 68 bytes are U+0100 and up in their order. */
static bool is_visible(uint32_t c) { return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xFF && c != 0xAD); }

uint32_t tkr_tok_byte_char(uint8_t byte) {
    if (is_visible(byte)) {
        return byte;
    }
    /* Invisible are 0 to 0x20, 0x7F to 0xA0 and 0xAD. */
    return byte <= 0x20 ? 0x100u + byte : byte <= 0xA0 ? 0x100u + 33 + (byte - 0x7Fu) : 0x100u + 67;
}

int tkr_tok_char_byte(uint32_t c) {
    if (c < 0x100) {
        return is_visible(c) ? (int)c : -1;
    }
    const uint32_t n = c - 0x100;
    return n <= 0x20 ? (int)n : n < 67 ? (int)(n - 33 + 0x7F) : n == 67 ? 0xAD : -1;
}

typedef struct byte_level {
    const tkr_tok_regex *regex; /* NULL: no splitting */
    bool add_prefix_space;
    bool keep; /* the model takes raw bytes */
} byte_level;

static tkr_status parse(void **out, tkr_tok_loader *loader, const json_t *config) {
    byte_level *self = tkr_arena_alloc(&loader->tok->arena, sizeof *self);
    if (self == NULL) {
        return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for ByteLevel", loader->what);
    }
    *out = self;
    bool use_regex = true;
    tkr_status status =
        tkr_json_get_bool(&self->add_prefix_space, config, "add_prefix_space", true, loader->what, loader->error);
    if (status == TKR_OK) {
        status = tkr_json_get_bool(&use_regex, config, "use_regex", false, loader->what, loader->error);
    }
    if (status == TKR_OK && use_regex) {
        status = tkr_tok_regex_add(&self->regex, loader, tkr_tok_gpt2_pattern, strlen(tkr_tok_gpt2_pattern));
    }
    return status;
}

/* Writes the alphabet's spelling of text[begin, end). */
static void spell(tkr_tok_edit *edit, const tkr_tok_text *text, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
        tkr_tok_edit_write(edit, tkr_tok_byte_char((uint8_t)text->bytes[i]), text->align[i]);
    }
}

/* Rewrites every word: a space in front when `space` and it has none, the alphabet's spelling when `letters`. */
static bool rewrite(tkr_tok_scratch *scratch, bool space, bool letters) {
    const tkr_tok_text *text = &scratch->text;
    tkr_tok_edit edit;
    tkr_tok_edit_begin(&edit, scratch);
    for (size_t i = 0; i < scratch->n_spans; i++) {
        tkr_tok_span *span = &scratch->spans[i];
        const size_t begin = scratch->spare.size;
        const bool word = span->token < 0 && span->begin < span->end;
        if (word && space && text->bytes[span->begin] != ' ') {
            tkr_tok_edit_write(&edit, ' ', text->align[span->begin]);
        }
        if (word && letters) {
            spell(&edit, text, span->begin, span->end);
        } else {
            edit.at = span->begin;
            tkr_tok_edit_copy(&edit, span->end);
        }
        span->begin = (uint32_t)begin;
        span->end = (uint32_t)scratch->spare.size;
    }
    return tkr_tok_edit_end(&edit);
}

static bool run(const void *data, tkr_tok_scratch *scratch) {
    const byte_level *self = data;
    return (!self->add_prefix_space || rewrite(scratch, true, false)) &&
           (self->regex == NULL || tkr_tok_split_regex(scratch, self->regex, TKR_TOK_ISOLATED, false)) &&
           (self->keep || rewrite(scratch, false, true));
}

static tkr_tok_tile_fn tile(const void *data) {
    const byte_level *self = data;
    return self->keep && !self->add_prefix_space && self->regex != NULL ? tkr_tok_regex_tile(self->regex) : NULL;
}

void tkr_tok_byte_level_keep(void *self) { ((byte_level *)self)->keep = true; }

bool tkr_tok_byte_level_is_plain(const void *data) {
    const byte_level *self = data;
    return !self->add_prefix_space && self->regex == NULL;
}

static tkr_status parse_normalizer(void **self, tkr_tok_loader *loader, const json_t *config) {
    (void)loader;
    (void)config;
    *self = NULL;
    return TKR_OK;
}

static bool run_normalizer(const void *self, tkr_tok_scratch *scratch) {
    (void)self;
    tkr_tok_edit edit;
    tkr_tok_edit_begin(&edit, scratch);
    spell(&edit, &scratch->text, 0, scratch->text.size);
    return tkr_tok_edit_end(&edit);
}

/* Adds no tokens; its trim_offsets is that of RobertaProcessing. */
static tkr_status parse_post(void **self, tkr_tok_loader *loader, const json_t *config) {
    *self = NULL;
    bool trim = false, prefix = false;
    tkr_status status = tkr_json_get_bool(&trim, config, "trim_offsets", true, loader->what, loader->error);
    if (status == TKR_OK) {
        status = tkr_json_get_bool(&prefix, config, "add_prefix_space", true, loader->what, loader->error);
    }
    return status != TKR_OK || !trim ? status : tkr_tok_claim_trim(loader, prefix);
}

/* Nothing is configurable. */
static tkr_status parse_decoder(void **self, tkr_tok_loader *loader, const json_t *config) {
    (void)loader;
    (void)config;
    *self = NULL;
    return TKR_OK;
}

/* Appends the bytes that text[0, n) spells, or itself when one of its characters is of another alphabet. */
static void append_spelled(tkr_buf *out, const char *text, size_t n) {
    const size_t before = out->size;
    for (size_t i = 0; i < n && !out->failed;) {
        const int byte = tkr_tok_char_byte(tkr_tok_next(text, n, &i));
        if (byte < 0) {
            out->size = before;
            (void)tkr_buf_append(out, text, n);
            return;
        }
        (void)tkr_buf_putc(out, (char)byte);
    }
}

/* All bytes make one text: a character may lie in several pieces. */
static bool decode(const void *self, tkr_tok_scratch *scratch, tkr_tok_texts *out, const tkr_tok_texts *in) {
    (void)self;
    for (size_t i = 0; i < in->n; i++) {
        const size_t begin = tkr_tok_texts_begin(in, i);
        append_spelled(&out->bytes, in->bytes.data + begin, in->ends[i] - begin);
    }
    const size_t size = out->bytes.size;
    if (size > 0 && tkr_utf8_valid_prefix(out->bytes.data, size) < size) {
        if (!tkr_tok_replace_invalid(&scratch->clean, out->bytes.data, size)) {
            return false;
        }
        out->bytes.size = 0;
        (void)tkr_buf_append(&out->bytes, scratch->clean.data, scratch->clean.size);
    }
    return tkr_tok_texts_end(out);
}

extern const tkr_tok_component tkr_norm_byte_level, tkr_pre_byte_level, tkr_post_byte_level, tkr_decoder_byte_level;
const tkr_tok_component tkr_norm_byte_level = {.parse = parse_normalizer, .run = run_normalizer};
const tkr_tok_component tkr_pre_byte_level = {.parse = parse, .run = run, .tile = tile};
const tkr_tok_component tkr_post_byte_level = {.parse = parse_post};
const tkr_tok_component tkr_decoder_byte_level = {.parse = parse_decoder, .decode = decode};
