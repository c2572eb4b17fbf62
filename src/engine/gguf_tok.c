/* SPDX-License-Identifier: Apache-2.0 */
/* engine/gguf_tok: the tokenizer inside a GGUF file, rewritten as what the tokenizer room reads: a tokenizer.json for
 * WordPiece and byte-level BPE, a SentencePiece model for the others. Refuses pre-tokenizers that it doesn't know. */
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "engine/gguf_model.h"

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE };

static const char mark[] = "\xe2\x96\x81"; /* U+2581: a word begins */
#define MARK_SIZE (sizeof mark - 1)

typedef struct source {
    const tkr_gguf *file;
    const char *path;
    const tkr_gguf_value *tokens, *types, *scores;
    tkr_error *error;
} source;

/* ---- reading ---- */

static const tkr_gguf_value *array_of(const source *s, const char *key, tkr_gguf_kind element) {
    const tkr_gguf_value *value = tkr_gguf_find(s->file, key);
    return value && value->kind == TKR_GGUF_ARRAY && (value->element == element || value->n == 0) ? value : NULL;
}

static int64_t type_of(const source *s, size_t id) {
    return s->types ? tkr_gguf_array_integer(s->types, id) : TYPE_NORMAL;
}

static bool piece_of(const source *s, size_t id, const char **text, size_t *n) {
    return tkr_gguf_array_string(text, n, s->tokens, id);
}

static bool is_piece(const source *s, size_t id, const char *name) {
    const char *text = "";
    size_t n = 0;
    return piece_of(s, id, &text, &n) && n == strlen(name) && memcmp(text, name, n) == 0;
}

/* The id under one of two keys; -1 when there is none. */
static tkr_status special_id(int64_t *id, const source *s, const char *key, const char *or_key) {
    const tkr_gguf_value *value = tkr_gguf_find(s->file, key);
    if (!value && or_key) value = tkr_gguf_find(s->file, or_key);
    *id = -1;
    if (!value) return TKR_OK;
    if (value->kind != TKR_GGUF_INT || value->integer < 0 || (uint64_t)value->integer >= s->tokens->n)
        return TKR_FAIL(s->error, FORMAT, "%s: %s is outside of the vocabulary of %zu", s->path, value->key,
                        s->tokens->n);
    *id = value->integer;
    return TKR_OK;
}

static bool flag_of(const source *s, const char *key, bool fallback) {
    const tkr_gguf_value *value = tkr_gguf_find(s->file, key);
    return value && (value->kind == TKR_GGUF_BOOL || value->kind == TKR_GGUF_INT) ? value->integer != 0 : fallback;
}

static bool is_text(const tkr_gguf_value *value, const char *text) {
    return value && value->kind == TKR_GGUF_STRING && value->n_text == strlen(text) &&
           memcmp(value->text, text, value->n_text) == 0;
}

static bool is_encoder(const source *s) {
    char name[64];
    tkr_gguf_arch_name(name, sizeof name, s->file);
    return strcmp(name, "bert") == 0 || strcmp(name, "nomic-bert") == 0 || strcmp(name, "modern-bert") == 0 ||
           strcmp(name, "eurobert") == 0;
}

/* ---- what stands around each text ---- */

typedef struct frame {
    int64_t prefix, suffix; /* ids, -1: none */
} frame;

static tkr_status read_frame(frame *out, const source *s, bool add_prefix, bool add_suffix) {
    *out = (frame){-1, -1};
    tkr_status status = TKR_OK;
    if (flag_of(s, "tokenizer.ggml.add_bos_token", add_prefix))
        status = special_id(&out->prefix, s, "tokenizer.ggml.bos_token_id", "tokenizer.ggml.cls_token_id");
    if (status == TKR_OK &&
        (flag_of(s, "tokenizer.ggml.add_eos_token", add_suffix) || flag_of(s, "tokenizer.ggml.add_sep_token", false)))
        status = special_id(&out->suffix, s, "tokenizer.ggml.eos_token_id", "tokenizer.ggml.seperator_token_id");
    return status;
}

static bool put_piece(tkr_buf *out, const source *s, int64_t id) {
    const char *text = "";
    size_t n = 0;
    piece_of(s, (size_t)id, &text, &n);
    return tkr_json_write_string(out, text, n);
}

static bool put_special(tkr_buf *out, const source *s, int64_t id, int type_id, bool *first) {
    if (id < 0) return true;
    bool ok = tkr_buf_printf(out, "%s{\"SpecialToken\":{\"id\":", *first ? "" : ",") && put_piece(out, s, id) &&
              tkr_buf_printf(out, ",\"type_id\":%d}}", type_id);
    *first = false;
    return ok;
}

static bool put_sequence(tkr_buf *out, char name, int type_id, bool *first) {
    bool ok = tkr_buf_printf(out, "%s{\"Sequence\":{\"id\":\"%c\",\"type_id\":%d}}", *first ? "" : ",", name, type_id);
    *first = false;
    return ok;
}

/* BERT's pairs: one prefix, types 0 and 1; others: each text with what stands around it. */
static bool put_template(tkr_buf *out, const source *s, const frame *f, bool bert) {
    const int64_t ids[2] = {f->prefix, f->suffix};
    bool first = true, ok = tkr_buf_printf(out, "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[");
    ok = ok && put_special(out, s, f->prefix, 0, &first) && put_sequence(out, 'A', 0, &first) &&
         put_special(out, s, f->suffix, 0, &first) && tkr_buf_printf(out, "],\"pair\":[");
    first = true;
    ok = ok && put_special(out, s, f->prefix, 0, &first) && put_sequence(out, 'A', 0, &first) &&
         put_special(out, s, f->suffix, 0, &first) && (bert || put_special(out, s, f->prefix, 0, &first)) &&
         put_sequence(out, 'B', bert, &first) && put_special(out, s, f->suffix, bert, &first) &&
         tkr_buf_printf(out, "],\"special_tokens\":{");
    for (size_t i = 0; i < 2; i++) {
        if (ids[i] < 0 || (i == 1 && ids[0] == ids[1])) continue;
        ok = ok && (i == 0 || ids[0] < 0 || tkr_buf_putc(out, ',')) && put_piece(out, s, ids[i]) &&
             tkr_buf_printf(out, ":{\"id\":") && put_piece(out, s, ids[i]) &&
             tkr_buf_printf(out, ",\"ids\":[%lld],\"tokens\":[", (long long)ids[i]) && put_piece(out, s, ids[i]) &&
             tkr_buf_printf(out, "]}");
    }
    return ok && tkr_buf_printf(out, "}},");
}

/* "<mask>" takes the space before it, in RoBERTa and its kin. */
static bool put_added_tokens(tkr_buf *out, const source *s, bool user_defined) {
    bool ok = tkr_buf_printf(out, "\"added_tokens\":["), first = true;
    for (size_t id = 0; ok && id < s->tokens->n; id++) {
        int64_t type = type_of(s, id);
        bool special = type == TYPE_CONTROL || type == TYPE_UNKNOWN;
        if (!special && !(user_defined && type == TYPE_USER_DEFINED)) continue;
        ok = tkr_buf_printf(out, "%s{\"id\":%zu,\"content\":", first ? "" : ",", id) &&
             put_piece(out, s, (int64_t)id) &&
             tkr_buf_printf(out,
                            ",\"single_word\":false,\"lstrip\":%s,\"rstrip\":false,\"normalized\":false,"
                            "\"special\":%s}",
                            is_piece(s, id, "<mask>") ? "true" : "false", special ? "true" : "false");
        first = false;
    }
    return ok && tkr_buf_printf(out, "],");
}

/* ---- WordPiece ---- */

/* The converter marks pieces that begin a word with U+2581, takes "##" from the others and leaves special ones. */
static bool put_wordpiece(tkr_buf *out, tkr_buf *scratch, const source *s, size_t id) {
    const char *text = "";
    size_t n = 0;
    piece_of(s, id, &text, &n);
    int64_t type = type_of(s, id);
    if (type == TYPE_CONTROL || type == TYPE_UNKNOWN || (n > 2 && text[0] == '[' && text[n - 1] == ']'))
        return tkr_json_write_string(out, text, n);
    if (n > MARK_SIZE && memcmp(text, mark, MARK_SIZE) == 0)
        return tkr_json_write_string(out, text + MARK_SIZE, n - MARK_SIZE);
    scratch->size = 0;
    return tkr_buf_append(scratch, "##", 2) && tkr_buf_append(scratch, text, n) &&
           tkr_json_write_string(out, scratch->data, scratch->size);
}

/* A vocabulary that has capital letters was made for text with them: the file doesn't say do_lower_case. */
static bool has_capitals(const source *s) {
    for (size_t id = 0; id < s->tokens->n; id++) {
        const char *text = "";
        size_t n = 0;
        piece_of(s, id, &text, &n);
        if (type_of(s, id) != TYPE_NORMAL || (n > 0 && text[0] == '[')) continue;
        if (n > MARK_SIZE && memcmp(text, mark, MARK_SIZE) == 0 && text[MARK_SIZE] == '[') continue; /* [unused1] */
        for (size_t i = 0; i < n; i++)
            if (text[i] >= 'A' && text[i] <= 'Z') return true;
    }
    return false;
}

/* An id by key, else by the spelling that BERT's vocabularies have. */
static tkr_status bert_special(int64_t *id, const source *s, const char *key, const char *or_key, const char *name) {
    tkr_status status = special_id(id, s, key, or_key);
    for (size_t i = 0; status == TKR_OK && *id < 0 && i < s->tokens->n; i++)
        if (is_piece(s, i, name)) *id = (int64_t)i;
    if (status == TKR_OK && *id < 0)
        status = TKR_FAIL(s->error, FORMAT, "%s: the vocabulary has neither %s nor a piece \"%s\"", s->path, key, name);
    return status;
}

static tkr_status write_wordpiece(tkr_buf *out, const source *s) {
    tkr_buf scratch = {0};
    frame f = {-1, -1};
    int64_t unknown = -1;
    tkr_status status =
        bert_special(&f.prefix, s, "tokenizer.ggml.cls_token_id", "tokenizer.ggml.bos_token_id", "[CLS]");
    if (status == TKR_OK)
        status =
            bert_special(&f.suffix, s, "tokenizer.ggml.seperator_token_id", "tokenizer.ggml.eos_token_id", "[SEP]");
    if (status == TKR_OK) status = bert_special(&unknown, s, "tokenizer.ggml.unknown_token_id", NULL, "[UNK]");
    if (status != TKR_OK) return status;
    bool ok = tkr_buf_putc(out, '{') && put_added_tokens(out, s, false) &&
              tkr_buf_printf(out,
                             "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,"
                             "\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":%s},"
                             "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},",
                             has_capitals(s) ? "false" : "true") &&
              tkr_buf_printf(out, "\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true},") &&
              put_template(out, s, &f, true) &&
              tkr_buf_printf(out, "\"model\":{\"type\":\"WordPiece\",\"unk_token\":") && put_piece(out, s, unknown) &&
              tkr_buf_printf(out, ",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,\"vocab\":{");
    bool first = true;
    for (size_t id = 0; ok && id < s->tokens->n; id++) {
        if (type_of(s, id) == TYPE_UNUSED) continue;
        ok =
            (first || tkr_buf_putc(out, ',')) && put_wordpiece(out, &scratch, s, id) && tkr_buf_printf(out, ":%zu", id);
        first = false;
    }
    ok = ok && tkr_buf_printf(out, "}}}");
    tkr_buf_free(&scratch);
    return ok ? TKR_OK : TKR_FAIL(s->error, NO_MEMORY, "no memory for the tokenizer of %s", s->path);
}

/* ---- byte-level BPE ---- */

#define WORDS_OF_QWEN                                                                                          \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]" \
    "+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define WORDS_OF_LLAMA3                                                                                             \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]" \
    "+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

/* tokenizer.ggml.pre names code of llama.cpp; the same in components of tokenizer.json. words NULL: GPT-2's. */
static const struct {
    const char *pre, *words;
    bool nfc, ignore_merges;
} pres[] = {
    {"gpt-2", NULL, false, false},
    {"roberta-bpe", NULL, false, false},
    {"modern-bert", NULL, true, false},
    {"qwen2", WORDS_OF_QWEN, true, false},
    {"llama-bpe", WORDS_OF_LLAMA3, false, true},
    {"llama-v3", WORDS_OF_LLAMA3, false, true},
    {"llama3", WORDS_OF_LLAMA3, false, true},
};

static tkr_status find_pre(size_t *index, const source *s) {
    const tkr_gguf_value *pre = tkr_gguf_find(s->file, "tokenizer.ggml.pre");
    char known[128];
    size_t at = 0;
    for (*index = 0; *index < sizeof pres / sizeof *pres; ++*index) {
        if (is_text(pre, pres[*index].pre)) return TKR_OK;
        if (at < sizeof known)
            at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", at ? ", " : "", pres[*index].pre);
    }
    if (!pre || pre->kind != TKR_GGUF_STRING)
        return TKR_FAIL(
            s->error, UNSUPPORTED,
            "%s: has no tokenizer.ggml.pre, so how text is cut into words is unknown; convert the model anew", s->path);
    return TKR_FAIL(s->error, UNSUPPORTED, "%s: tokenizer.ggml.pre \"%.*s\" is not supported; supported: %s", s->path,
                    (int)(pre->n_text < 40 ? pre->n_text : 40), pre->text, known);
}

static bool put_bpe_model(tkr_buf *out, const source *s, const tkr_gguf_value *merges, bool ignore_merges) {
    bool ok = tkr_buf_printf(out,
                             "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
                             "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,"
                             "\"byte_fallback\":false,\"ignore_merges\":%s,\"vocab\":{",
                             ignore_merges ? "true" : "false"),
         first = true;
    for (size_t id = 0; ok && id < s->tokens->n; id++) {
        if (type_of(s, id) != TYPE_NORMAL) continue;
        ok = (first || tkr_buf_putc(out, ',')) && put_piece(out, s, (int64_t)id) && tkr_buf_printf(out, ":%zu", id);
        first = false;
    }
    ok = ok && tkr_buf_printf(out, "},\"merges\":[");
    for (size_t i = 0; ok && i < merges->n; i++) {
        const char *text = "";
        size_t n = 0;
        tkr_gguf_array_string(&text, &n, merges, i);
        ok = (i == 0 || tkr_buf_putc(out, ',')) && tkr_json_write_string(out, text, n);
    }
    return ok && tkr_buf_printf(out, "]}}");
}

static tkr_status write_bpe(tkr_buf *out, const source *s) {
    const tkr_gguf_value *merges = array_of(s, "tokenizer.ggml.merges", TKR_GGUF_STRING);
    frame f;
    size_t pre = 0;
    if (!merges) return TKR_FAIL(s->error, FORMAT, "%s: has no list tokenizer.ggml.merges", s->path);
    tkr_status status = find_pre(&pre, s);
    if (status == TKR_OK) status = read_frame(&f, s, is_encoder(s), is_encoder(s));
    if (status != TKR_OK) return status;
    bool ok = tkr_buf_putc(out, '{') && put_added_tokens(out, s, true) &&
              tkr_buf_printf(out, "\"decoder\":{\"type\":\"ByteLevel\"},") &&
              tkr_buf_printf(out, pres[pre].nfc ? "\"normalizer\":{\"type\":\"NFC\"}," : "\"normalizer\":null,");
    if (ok && pres[pre].words)
        ok = tkr_buf_printf(out,
                            "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
                            "\"pattern\":{\"Regex\":\"%s\"},\"behavior\":\"Isolated\",\"invert\":false},"
                            "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false,"
                            "\"use_regex\":false}]},",
                            pres[pre].words);
    else
        ok = ok && tkr_buf_printf(out, "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                                       "\"trim_offsets\":true,\"use_regex\":true},");
    if (f.prefix < 0 && f.suffix < 0)
        ok = ok && tkr_buf_printf(out, "\"post_processor\":null,");
    else
        ok = ok && put_template(out, s, &f, false);
    ok = ok && put_bpe_model(out, s, merges, pres[pre].ignore_merges);
    return ok ? TKR_OK : TKR_FAIL(s->error, NO_MEMORY, "no memory for the tokenizer of %s", s->path);
}

/* ---- SentencePiece ---- */

static bool put_varint(tkr_buf *out, uint64_t value) {
    bool ok = true;
    for (; ok && value > 127; value >>= 7) ok = tkr_buf_putc(out, (char)((value & 127) | 128));
    return ok && tkr_buf_putc(out, (char)value);
}

/* A field of the wire types that the model uses: 0 number, 2 bytes. */
static bool put_number(tkr_buf *out, unsigned field, uint64_t value) {
    return put_varint(out, field << 3) && put_varint(out, value);
}

static bool put_bytes(tkr_buf *out, unsigned field, const void *data, size_t n) {
    return put_varint(out, field << 3 | 2) && put_varint(out, n) && tkr_buf_append(out, data, n);
}

static bool put_scored_piece(tkr_buf *out, tkr_buf *scratch, const source *s, size_t id) {
    const char *text = "";
    size_t n = 0;
    const float score = s->scores ? (float)tkr_gguf_array_number(s->scores, id) : 0;
    piece_of(s, id, &text, &n);
    scratch->size = 0;
    return put_bytes(scratch, 1, text, n) && put_varint(scratch, 2u << 3 | 5) &&
           tkr_buf_append(scratch, &score, sizeof score) && put_number(scratch, 3, (uint64_t)type_of(s, id)) &&
           put_bytes(out, 1, scratch->data, scratch->size);
}

/* ModelProto of sentencepiece_model.proto: pieces, trainer (model type, byte fallback), normalizer. */
static bool put_model(tkr_buf *out, const source *s, bool bpe) {
    const tkr_gguf_value *map = array_of(s, "tokenizer.ggml.precompiled_charsmap", TKR_GGUF_INT);
    tkr_buf scratch = {0}, bytes = {0};
    bool ok = true, byte_pieces = false;
    for (size_t id = 0; ok && id < s->tokens->n; id++) {
        byte_pieces = byte_pieces || type_of(s, id) == TYPE_BYTE;
        ok = put_scored_piece(out, &scratch, s, id);
    }
    scratch.size = 0;
    ok = ok && put_number(&scratch, 3, bpe ? 2 : 1) && put_number(&scratch, 35, byte_pieces) &&
         put_bytes(out, 2, scratch.data, scratch.size);
    for (size_t i = 0; ok && map && i < map->n; i++) ok = tkr_buf_putc(&bytes, (char)tkr_gguf_array_integer(map, i));
    scratch.size = 0;
    ok = ok && put_bytes(&scratch, 2, bytes.size ? bytes.data : "", bytes.size) &&
         put_number(&scratch, 3, flag_of(s, "tokenizer.ggml.add_space_prefix", true)) &&
         put_number(&scratch, 4, flag_of(s, "tokenizer.ggml.remove_extra_whitespaces", !bpe)) &&
         put_bytes(out, 3, scratch.data, scratch.size);
    tkr_buf_free(&scratch);
    tkr_buf_free(&bytes);
    return ok;
}

static char *copy_piece(const source *s, int64_t id) {
    const char *text = "";
    size_t n = 0;
    piece_of(s, (size_t)id, &text, &n);
    return tkr_strndup(text, n);
}

static tkr_status load_sentencepiece(tkr_tok **tok, const source *s, bool bpe, const tkr_tok_options *options) {
    tkr_buf model = {0};
    frame f;
    char *prefix = NULL, *suffix = NULL;
    if (!s->scores) return TKR_FAIL(s->error, FORMAT, "%s: has no list tokenizer.ggml.scores", s->path);
    tkr_status status = read_frame(&f, s, bpe || is_encoder(s), is_encoder(s));
    if (status != TKR_OK) return status;
    bool ok = put_model(&model, s, bpe);
    if (ok && f.prefix >= 0) ok = (prefix = copy_piece(s, f.prefix)) != NULL;
    if (ok && f.suffix >= 0) ok = (suffix = copy_piece(s, f.suffix)) != NULL;
    tkr_tok_options own = *options;
    own.spm_prefix = prefix;
    own.spm_suffix = suffix;
    status = ok ? tkr_tok_load_spm(tok, model.data, model.size, s->path, &own, s->error)
                : TKR_FAIL(s->error, NO_MEMORY, "no memory for the tokenizer of %s", s->path);
    tkr_free(prefix);
    tkr_free(suffix);
    tkr_buf_free(&model);
    return status;
}

/* ---- the one or the other ---- */

static tkr_status open_source(source *s) {
    s->tokens = array_of(s, "tokenizer.ggml.tokens", TKR_GGUF_STRING);
    s->types = array_of(s, "tokenizer.ggml.token_type", TKR_GGUF_INT);
    s->scores = array_of(s, "tokenizer.ggml.scores", TKR_GGUF_FLOAT);
    if (!s->tokens || s->tokens->n == 0)
        return TKR_FAIL(s->error, FORMAT, "%s: has no vocabulary (tokenizer.ggml.tokens)", s->path);
    const tkr_gguf_value *lists[] = {s->types, s->scores};
    for (size_t i = 0; i < 2; i++)
        if (lists[i] && lists[i]->n != s->tokens->n)
            return TKR_FAIL(s->error, FORMAT, "%s: %s has %zu entries, the vocabulary %zu", s->path, lists[i]->key,
                            lists[i]->n, s->tokens->n);
    return TKR_OK;
}

tkr_status tkr_gguf_load_tok(tkr_tok **tok, const tkr_gguf *file, const char *path, const tkr_tok_options *options,
                             tkr_error *error) {
    source s = {.file = file, .path = path, .error = error};
    const tkr_gguf_value *model = tkr_gguf_find(file, "tokenizer.ggml.model");
    tkr_buf json = {0};
    tkr_status status = open_source(&s);
    if (status != TKR_OK) return status;
    if (is_text(model, "t5") || is_text(model, "llama"))
        return load_sentencepiece(tok, &s, is_text(model, "llama"), options);
    if (is_text(model, "bert"))
        status = write_wordpiece(&json, &s);
    else if (is_text(model, "gpt2"))
        status = write_bpe(&json, &s);
    else
        status = TKR_FAIL(error, UNSUPPORTED,
                          "%s: tokenizer.ggml.model \"%.*s\" is not supported; supported: bert, gpt2, llama, t5", path,
                          model && model->kind == TKR_GGUF_STRING ? (int)(model->n_text < 40 ? model->n_text : 40) : 0,
                          model && model->kind == TKR_GGUF_STRING ? model->text : "");
    if (status == TKR_OK) status = tkr_tok_load(tok, json.data, json.size, path, options, error);
    tkr_buf_free(&json);
    return status;
}
