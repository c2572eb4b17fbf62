/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: the decoders that are nothing else: WordPiece, ByteFallback, Fuse, Strip, BPEDecoder. */
#include "tokenizer/engine.h"

#include <string.h>

#include "core/utf8.h"

static tkr_status no_memory(const tkr_tok_loader *loader) {
    return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for a decoder", loader->what);
}

/* A string field, into the tokenizer's arena. */
static tkr_status copy_field(const char **out, size_t *n, tkr_tok_loader *loader, const json_t *config,
                             const char *field) {
    const char *text = NULL;
    const tkr_status status = tkr_json_get_string(&text, config, field, true, loader->what, loader->error);
    if (status != TKR_OK) {
        return status;
    }
    *n = json_string_length(json_object_get(config, field));
    *out = tkr_arena_strndup(&loader->tok->arena, text, *n);
    return *out != NULL ? TKR_OK : no_memory(loader);
}

/* ---- WordPiece ---- */

typedef struct wordpiece {
    const char *prefix;
    size_t n_prefix;
    bool cleanup;
} wordpiece;

static tkr_status parse_wordpiece(void **out, tkr_tok_loader *loader, const json_t *config) {
    wordpiece *self = tkr_arena_alloc(&loader->tok->arena, sizeof *self);
    if (self == NULL) {
        return no_memory(loader);
    }
    *out = self;
    const tkr_status status = copy_field(&self->prefix, &self->n_prefix, loader, config, "prefix");
    return status != TKR_OK ? status
                            : tkr_json_get_bool(&self->cleanup, config, "cleanup", true, loader->what, loader->error);
}

/* Replaces in the bytes from `begin` on; `to` isn't longer than `from`. */
static void shorten(tkr_buf *bytes, size_t begin, const char *from, const char *to) {
    const size_t n_from = strlen(from), n_to = strlen(to);
    size_t write = begin;
    for (size_t read = begin; read < bytes->size;) {
        if (bytes->size - read >= n_from && memcmp(bytes->data + read, from, n_from) == 0) {
            memcpy(bytes->data + write, to, n_to);
            write += n_to;
            read += n_from;
        } else {
            bytes->data[write++] = bytes->data[read++];
        }
    }
    bytes->size = write;
}

/* The reference's order: each sees what those before it left. */
static void clean_up(tkr_buf *bytes, size_t begin) {
    static const char *const pairs[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                           {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                           {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    bool any = false; /* most texts hold none of them */
    for (size_t i = begin; i + 1 < bytes->size && !any; i++) {
        any = bytes->data[i] == ' ' && bytes->data[i + 1] != '\0' && strchr(".?!,'nd", bytes->data[i + 1]) != NULL;
    }
    for (size_t i = 0; any && i < sizeof pairs / sizeof pairs[0]; i++) {
        shorten(bytes, begin, pairs[i][0], pairs[i][1]);
    }
}

static bool decode_wordpiece(const void *data, tkr_tok_scratch *scratch, tkr_tok_texts *out, const tkr_tok_texts *in) {
    const wordpiece *self = data;
    (void)scratch;
    for (size_t i = 0; i < in->n; i++) {
        const char *text = in->bytes.data + tkr_tok_texts_begin(in, i);
        size_t n = in->ends[i] - tkr_tok_texts_begin(in, i);
        const size_t begin = out->bytes.size;
        const bool continues = n >= self->n_prefix && memcmp(text, self->prefix, self->n_prefix) == 0;
        if (i > 0 && continues) {
            text += self->n_prefix;
            n -= self->n_prefix;
        } else if (i > 0) {
            (void)tkr_buf_putc(&out->bytes, ' ');
        }
        (void)tkr_buf_append(&out->bytes, text, n);
        if (self->cleanup) {
            clean_up(&out->bytes, begin);
        }
        if (!tkr_tok_texts_end(out)) {
            return false;
        }
    }
    return true;
}

/* ---- ByteFallback ---- */

static tkr_status parse_nothing(void **self, tkr_tok_loader *loader, const json_t *config) {
    (void)loader;
    (void)config;
    *self = NULL;
    return TKR_OK;
}

/* The byte that "<0xE4>" stands for, -1: something else. */
static int fallback_byte(const char *text, size_t n) {
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') {
        return -1;
    }
    const int high = text[3] == '+' ? 0 : tkr_hex_digit(text[3]),
              low = tkr_hex_digit(text[4]); /* the reference reads "+5" */
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A run of bytes from `begin` on becomes one text, or when it isn't UTF-8 as many U+FFFD as it has bytes. */
static bool end_run(tkr_tok_texts *out, size_t begin) {
    const size_t n = out->bytes.size - begin;
    if (n == 0 || tkr_utf8_valid_prefix(out->bytes.data + begin, n) == n) {
        return n == 0 || tkr_tok_texts_end(out);
    }
    out->bytes.size = begin;
    for (size_t i = 0; i < n; i++) {
        char bytes[4];
        (void)tkr_buf_append(&out->bytes, bytes, tkr_utf8_put(bytes, TKR_REPLACEMENT));
        if (!tkr_tok_texts_end(out)) {
            return false;
        }
    }
    return true;
}

static bool decode_byte_fallback(const void *self, tkr_tok_scratch *scratch, tkr_tok_texts *out,
                                 const tkr_tok_texts *in) {
    size_t run = 0; /* where the run of bytes begins */
    (void)self;
    (void)scratch;
    for (size_t i = 0; i < in->n; i++) {
        const char *text = in->bytes.data + tkr_tok_texts_begin(in, i);
        const size_t n = in->ends[i] - tkr_tok_texts_begin(in, i);
        const int byte = fallback_byte(text, n);
        if (byte >= 0) {
            (void)tkr_buf_putc(&out->bytes, (char)byte);
            continue;
        }
        if (out->bytes.failed || !end_run(out, run)) {
            return false;
        }
        (void)tkr_buf_append(&out->bytes, text, n);
        if (!tkr_tok_texts_end(out)) {
            return false;
        }
        run = out->bytes.size;
    }
    return !out->bytes.failed && end_run(out, run);
}

/* ---- Fuse ---- */

static bool decode_fuse(const void *self, tkr_tok_scratch *scratch, tkr_tok_texts *out, const tkr_tok_texts *in) {
    (void)self;
    (void)scratch;
    (void)tkr_buf_append(&out->bytes, in->bytes.data, in->bytes.size);
    return tkr_tok_texts_end(out);
}

/* ---- Strip ---- */

typedef struct strip {
    const char *content; /* one character */
    size_t n_content;
    int64_t start, stop; /* how many at most */
} strip;

static tkr_status parse_strip(void **out, tkr_tok_loader *loader, const json_t *config) {
    strip *self = tkr_arena_alloc(&loader->tok->arena, sizeof *self);
    size_t used = 0;
    if (self == NULL) {
        return no_memory(loader);
    }
    *out = self;
    tkr_status status = copy_field(&self->content, &self->n_content, loader, config, "content");
    if (status == TKR_OK && self->n_content > 0) {
        (void)tkr_tok_next(self->content, self->n_content, &used);
    }
    if (status == TKR_OK && (used == 0 || used != self->n_content)) {
        status = TKR_FAIL(loader->error, FORMAT, "%s: content of Strip must be one character", loader->what);
    }
    if (status == TKR_OK) {
        status = tkr_json_get_int(&self->start, config, "start", 0, INT64_MAX, true, loader->what, loader->error);
    }
    if (status == TKR_OK) {
        status = tkr_json_get_int(&self->stop, config, "stop", 0, INT64_MAX, true, loader->what, loader->error);
    }
    return status;
}

static bool decode_strip(const void *data, tkr_tok_scratch *scratch, tkr_tok_texts *out, const tkr_tok_texts *in) {
    const strip *self = data;
    const size_t n = self->n_content;
    (void)scratch;
    for (size_t i = 0; i < in->n; i++) {
        size_t begin = tkr_tok_texts_begin(in, i), end = in->ends[i];
        const char *bytes = in->bytes.data;
        for (int64_t k = 0; k < self->start && end - begin >= n && memcmp(bytes + begin, self->content, n) == 0; k++) {
            begin += n;
        }
        for (int64_t k = 0; k < self->stop && end - begin >= n && memcmp(bytes + end - n, self->content, n) == 0; k++) {
            end -= n;
        }
        (void)tkr_buf_append(&out->bytes, bytes + begin, end - begin);
        if (!tkr_tok_texts_end(out)) {
            return false;
        }
    }
    return true;
}

/* ---- BPEDecoder ---- */

typedef struct bpe_suffix {
    const char *text; /* "</w>": a word ends */
    size_t n;
} bpe_suffix;

static tkr_status parse_bpe(void **out, tkr_tok_loader *loader, const json_t *config) {
    bpe_suffix *self = tkr_arena_alloc(&loader->tok->arena, sizeof *self);
    if (self == NULL) {
        return no_memory(loader);
    }
    *out = self;
    const tkr_status status = copy_field(&self->text, &self->n, loader, config, "suffix");
    return status == TKR_OK && self->n == 0
               ? TKR_FAIL(loader->error, UNSUPPORTED, "%s: BPEDecoder with an empty suffix", loader->what)
               : status;
}

/* Suffixes become spaces, those of the last text nothing. */
static bool decode_bpe(const void *data, tkr_tok_scratch *scratch, tkr_tok_texts *out, const tkr_tok_texts *in) {
    const bpe_suffix *self = data;
    (void)scratch;
    for (size_t i = 0; i < in->n; i++) {
        for (size_t at = tkr_tok_texts_begin(in, i); at < in->ends[i];) {
            const char *rest = in->bytes.data + at;
            const bool ends = in->ends[i] - at >= self->n && memcmp(rest, self->text, self->n) == 0;
            if (!ends || i + 1 < in->n) {
                (void)tkr_buf_putc(&out->bytes, ends ? ' ' : *rest);
            }
            at += ends ? self->n : 1;
        }
        if (!tkr_tok_texts_end(out)) {
            return false;
        }
    }
    return true;
}

extern const tkr_tok_component tkr_decoder_bpe, tkr_decoder_byte_fallback, tkr_decoder_fuse, tkr_decoder_strip,
    tkr_decoder_wordpiece;
const tkr_tok_component tkr_decoder_bpe = {.parse = parse_bpe, .decode = decode_bpe};
const tkr_tok_component tkr_decoder_byte_fallback = {.parse = parse_nothing, .decode = decode_byte_fallback};
const tkr_tok_component tkr_decoder_fuse = {.parse = parse_nothing, .decode = decode_fuse};
const tkr_tok_component tkr_decoder_strip = {.parse = parse_strip, .decode = decode_strip};
const tkr_tok_component tkr_decoder_wordpiece = {.parse = parse_wordpiece, .decode = decode_wordpiece};
