/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/load: tokenizer.json to a tkr_tok. The vocabulary is streamed, the small blocks go through a tree. */
#include "tokenizer/engine.h"

#include <stdio.h>
#include <string.h>

typedef struct blocks {
    json_t *normalizer, *pre_tokenizer, *post_processor, *added_tokens; /* NULL: absent or null */
    bool has_model;
} blocks;

static tkr_status reader_status(const tkr_jr *jr) {
    return jr->error->status != TKR_OK ? jr->error->status : TKR_FORMAT;
}

/* Parses the object or array that comes next into a tree; null leaves *out alone. */
static tkr_status read_tree(json_t **out, tkr_jr *jr, const char *field, const char *what) {
    if (*out != NULL) {
        return tkr_jr_fail(jr, "\"%s\" occurs twice", field);
    }
    const tkr_jr_type type = tkr_jr_next(jr);
    if (type == TKR_JR_NULL) {
        return TKR_OK;
    }
    if (type == TKR_JR_ERROR) {
        return reader_status(jr);
    }
    if (type != TKR_JR_OBJECT && type != TKR_JR_ARRAY) {
        return tkr_jr_fail(jr, "\"%s\" must be an object, an array or null", field);
    }
    const char *begin = jr->at - 1;
    if (!tkr_jr_skip(jr)) {
        return reader_status(jr);
    }
    return tkr_json_parse(out, begin, (size_t)(jr->at - begin), what, jr->error);
}

static tkr_status no_memory(const tkr_jr *jr) {
    return TKR_FAIL(jr->error, NO_MEMORY, "%s: no memory for the vocabulary", jr->what);
}

/* The value of key "piece" comes next. */
static tkr_status read_id(tkr_jr *jr, tkr_tok *tok, const char *piece, size_t n) {
    const tkr_jr_type type = tkr_jr_next(jr);
    if (type == TKR_JR_ERROR) {
        return reader_status(jr);
    }
    const int shown = (int)(n < 60 ? n : 60);
    if (type != TKR_JR_NUMBER || !jr->is_integer || jr->integer < 0 || jr->integer > TKR_TOK_MAX_ID) {
        return tkr_jr_fail(jr, "the id of piece \"%.*s\" must be an integer from 0 to %d", shown, piece,
                           (int)TKR_TOK_MAX_ID);
    }
    switch (tkr_tok_vocab_add(&tok->vocab, (int32_t)jr->integer, piece, n)) {
    case TKR_TOK_PUT_TWICE:
        return tkr_jr_fail(jr, "id %d belongs to \"%.60s\" and to \"%.*s\"", (int)jr->integer,
                           tok->vocab.pool.data + tok->vocab.offset[jr->integer], shown, piece);
    case TKR_TOK_PUT_MEMORY: return no_memory(jr);
    case TKR_TOK_PUT_OK: break;
    }
    return TKR_OK;
}

/* {piece: id, ...}, the opening brace is read. */
static tkr_status read_vocab(tkr_jr *jr, tkr_tok *tok) {
    tkr_buf copy = {0};
    tkr_status status = TKR_OK;
    tkr_jr_type type;
    while (status == TKR_OK && (type = tkr_jr_next(jr)) != TKR_JR_OBJECT_END) {
        if (type == TKR_JR_ERROR) {
            status = reader_status(jr);
            break;
        }
        const char *piece = jr->string;
        const size_t n = jr->n_string;
        if (piece < jr->begin || piece >= jr->end) { /* decoded escapes: the next event overwrites them */
            copy.size = 0;
            if (!tkr_buf_append(&copy, piece, n)) {
                status = no_memory(jr);
                break;
            }
            piece = copy.data;
        }
        status = read_id(jr, tok, piece, n);
    }
    tkr_buf_free(&copy);
    return status;
}

/* [piece, score], the opening bracket is read. */
static tkr_status read_scored_piece(tkr_jr *jr, tkr_tok *tok) {
    tkr_tok_vocab *vocab = &tok->vocab;
    const size_t id = vocab->n_ids;
    tkr_jr_type type = tkr_jr_next(jr);
    if (type != TKR_JR_STRING) {
        return type == TKR_JR_ERROR ? reader_status(jr)
                                    : tkr_jr_fail(jr, "entry %zu of the vocabulary has no piece", id);
    }
    if (id > (size_t)TKR_TOK_MAX_ID) {
        return tkr_jr_fail(jr, "the vocabulary has more than %d pieces", (int)TKR_TOK_MAX_ID + 1);
    }
    if (tkr_tok_vocab_add(vocab, (int32_t)id, jr->string, jr->n_string) != TKR_TOK_PUT_OK ||
        !TKR_TOK_GROW(vocab->score, vocab->score_room, id + 1)) {
        return no_memory(jr);
    }
    type = tkr_jr_next(jr);
    if (type != TKR_JR_NUMBER) {
        return type == TKR_JR_ERROR ? reader_status(jr)
                                    : tkr_jr_fail(jr, "entry %zu of the vocabulary has no score", id);
    }
    vocab->score[id] = jr->number;
    type = tkr_jr_next(jr);
    if (type != TKR_JR_ARRAY_END) {
        return type == TKR_JR_ERROR ? reader_status(jr)
                                    : tkr_jr_fail(jr, "entry %zu of the vocabulary must be [piece, score]", id);
    }
    return TKR_OK;
}

/* [[piece, score], ...], the opening bracket is read. */
static tkr_status read_scored_vocab(tkr_jr *jr, tkr_tok *tok) {
    tkr_status status = TKR_OK;
    tkr_jr_type type;
    while (status == TKR_OK && (type = tkr_jr_next(jr)) != TKR_JR_ARRAY_END) {
        if (type != TKR_JR_ARRAY) {
            return type == TKR_JR_ERROR ? reader_status(jr)
                                        : tkr_jr_fail(jr, "an entry of the vocabulary must be [piece, score]");
        }
        status = read_scored_piece(jr, tok);
    }
    return status;
}

/* Keeps a scalar of the model block for its parser; lists and objects that no model here knows are passed over. */
static tkr_status keep_scalar(tkr_jr *jr, tkr_tok *tok, const char *field, tkr_jr_type type) {
    json_t *value = NULL;
    switch (type) {
    case TKR_JR_STRING: value = json_stringn(jr->string, jr->n_string); break;
    case TKR_JR_NUMBER: value = jr->is_integer ? json_integer(jr->integer) : json_real(jr->number); break;
    case TKR_JR_TRUE:
    case TKR_JR_FALSE: value = json_boolean(type == TKR_JR_TRUE); break;
    case TKR_JR_NULL: value = json_null(); break;
    default: return tkr_jr_skip(jr) ? TKR_OK : reader_status(jr);
    }
    if (json_object_get(tok->model_fields, field) != NULL) {
        json_decref(value);
        return tkr_jr_fail(jr, "\"%.40s\" occurs twice in the model", field);
    }
    if (value == NULL || json_object_set_new(tok->model_fields, field, value) != 0) {
        return TKR_FAIL(jr->error, NO_MEMORY, "%s: no memory for the model's fields", jr->what);
    }
    return TKR_OK;
}

static tkr_status read_model(tkr_jr *jr, tkr_tok *tok) {
    tkr_jr_type type = tkr_jr_next(jr);
    if (type != TKR_JR_OBJECT) {
        return type == TKR_JR_ERROR ? reader_status(jr) : tkr_jr_fail(jr, "\"model\" must be an object");
    }
    tok->model_fields = json_object();
    if (tok->model_fields == NULL) {
        return TKR_FAIL(jr->error, NO_MEMORY, "%s: no memory for the model", jr->what);
    }
    tkr_status status = TKR_OK;
    while (status == TKR_OK && (type = tkr_jr_next(jr)) != TKR_JR_OBJECT_END) {
        if (type == TKR_JR_ERROR) {
            return reader_status(jr);
        }
        char field[64];
        snprintf(field, sizeof field, "%.*s", (int)(jr->n_string < 63 ? jr->n_string : 63), jr->string);
        type = tkr_jr_next(jr);
        if (type == TKR_JR_ERROR) {
            return reader_status(jr);
        }
        if (strcmp(field, "vocab") == 0 && (type == TKR_JR_OBJECT || type == TKR_JR_ARRAY)) {
            status = tok->vocab.n_pieces != 0 ? tkr_jr_fail(jr, "\"vocab\" occurs twice")
                     : type == TKR_JR_OBJECT  ? read_vocab(jr, tok)
                                              : read_scored_vocab(jr, tok);
        } else {
            status = keep_scalar(jr, tok, field, type);
        }
    }
    return status;
}

static tkr_status read_field(tkr_jr *jr, tkr_tok *tok, blocks *b, const char *field) {
    const struct {
        const char *name;
        json_t **tree;
    } trees[] = {{"normalizer", &b->normalizer},
                 {"pre_tokenizer", &b->pre_tokenizer},
                 {"post_processor", &b->post_processor},
                 {"added_tokens", &b->added_tokens}};
    for (size_t i = 0; i < sizeof trees / sizeof trees[0]; i++) {
        if (strcmp(field, trees[i].name) == 0) {
            return read_tree(trees[i].tree, jr, field, jr->what);
        }
    }
    if (strcmp(field, "model") == 0) {
        if (b->has_model) {
            return tkr_jr_fail(jr, "\"model\" occurs twice");
        }
        b->has_model = true;
        return read_model(jr, tok);
    }
    const tkr_jr_type type = tkr_jr_next(jr);
    return type != TKR_JR_ERROR && tkr_jr_skip(jr) ? TKR_OK : reader_status(jr);
}

static tkr_status read_file(tkr_jr *jr, tkr_tok *tok, blocks *b) {
    tkr_jr_type type = tkr_jr_next(jr);
    if (type != TKR_JR_OBJECT) {
        return type == TKR_JR_ERROR ? reader_status(jr) : tkr_jr_fail(jr, "a tokenizer must be a JSON object");
    }
    while ((type = tkr_jr_next(jr)) != TKR_JR_OBJECT_END) {
        if (type == TKR_JR_ERROR) {
            return reader_status(jr);
        }
        char field[32];
        snprintf(field, sizeof field, "%.*s", (int)(jr->n_string < 31 ? jr->n_string : 31), jr->string);
        const tkr_status status = read_field(jr, tok, b, field);
        if (status != TKR_OK) {
            return status;
        }
    }
    if (tkr_jr_next(jr) != TKR_JR_END) {
        return reader_status(jr);
    }
    return b->has_model ? TKR_OK : tkr_jr_fail(jr, "has no \"model\"");
}

/* An id has one text. */
static tkr_status check_added(tkr_tok_loader *loader) {
    tkr_tok *tok = loader->tok;
    tok->n_ids = tok->vocab.n_ids;
    for (size_t i = 0; i < tok->n_added; i++) {
        const tkr_tok_added *token = &tok->added[i];
        const char *other = tkr_tok_piece(tok, token->id);
        if (other != NULL && strcmp(other, token->content) != 0) {
            return TKR_FAIL(loader->error, FORMAT, "%s: id %d belongs to \"%.60s\" and to \"%.60s\"", loader->what,
                            (int)token->id, other, token->content);
        }
        tok->n_ids = tok->n_ids > (size_t)token->id + 1 ? tok->n_ids : (size_t)token->id + 1;
    }
    return TKR_OK;
}

static tkr_status build_model(tkr_tok_loader *loader) {
    tkr_tok *tok = loader->tok;
    int32_t twice = -1;
    switch (tkr_tok_index_build(&tok->vocab.index, &tok->vocab, "", 0, &twice)) {
    case TKR_TOK_PUT_TWICE:
        return TKR_FAIL(loader->error, FORMAT, "%s: piece \"%.60s\" occurs twice in the vocabulary", loader->what,
                        tok->vocab.pool.data + tok->vocab.offset[twice]);
    case TKR_TOK_PUT_MEMORY:
        return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for the vocabulary", loader->what);
    case TKR_TOK_PUT_OK: break;
    }
    return tkr_tok_add_stages(loader, TKR_TOK_MODEL, tok->model_fields);
}

static tkr_status build(tkr_tok_loader *loader, const blocks *b, const tkr_tok_options *options) {
    tkr_tok *tok = loader->tok;
    tkr_status status = build_model(loader);
    if (status == TKR_OK && b->added_tokens != NULL && !json_is_array(b->added_tokens)) {
        status = TKR_FAIL(loader->error, FORMAT, "%s: added_tokens is %s, expected an array", loader->what,
                          tkr_json_type_name(b->added_tokens));
    }
    if (status == TKR_OK) {
        status = tkr_tok_load_added(loader, b->added_tokens);
    }
    if (status == TKR_OK) {
        status = check_added(loader);
    }
    if (status == TKR_OK && options != NULL && options->lowercase) {
        tok->normalizers[tok->n_normalizers++] =
            (tkr_tok_stage){tkr_tok_component_find(TKR_TOK_NORMALIZER, "Lowercase"), NULL};
    }
    const struct {
        tkr_tok_kind kind;
        const json_t *config;
    } parts[] = {{TKR_TOK_NORMALIZER, b->normalizer},
                 {TKR_TOK_PRE_TOKENIZER, b->pre_tokenizer},
                 {TKR_TOK_POST_PROCESSOR, b->post_processor}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && status == TKR_OK; i++) {
        if (parts[i].config != NULL) {
            status = tkr_tok_add_stages(loader, parts[i].kind, parts[i].config);
        }
    }
    if (status == TKR_OK) {
        status = tkr_tok_build_matchers(loader);
    }
    return status;
}

tkr_status tkr_tok_load(tkr_tok **out, const char *json, size_t size, const char *what, const tkr_tok_options *options,
                        tkr_error *error) {
    *out = NULL;
    tkr_error local = {.status = TKR_OK}; /* the caller's stays as it is on success */
    tkr_tok *tok = tkr_calloc(1, sizeof *tok);
    if (tok == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "%s: no memory for a tokenizer", what);
    }
    blocks b = {0};
    tkr_jr jr;
    tkr_jr_init(&jr, json, size, what, &local);
    tkr_status status = read_file(&jr, tok, &b);
    tkr_jr_free(&jr);
    if (status == TKR_OK) {
        tkr_tok_loader loader = {tok, what, &local};
        status = build(&loader, &b, options);
    }
    json_decref(b.normalizer);
    json_decref(b.pre_tokenizer);
    json_decref(b.post_processor);
    json_decref(b.added_tokens);
    json_decref(tok->model_fields);
    tok->model_fields = NULL;
    if (status != TKR_OK) {
        if (error != NULL) {
            *error = local;
        }
        tkr_tok_free(&tok);
        return status;
    }
    tkr_tok_plan_ascii(tok);
    *out = tok;
    return TKR_OK;
}

void tkr_tok_free(tkr_tok **tok) {
    if (*tok == NULL) {
        return;
    }
    tkr_tok_vocab_free(&(*tok)->vocab);
    tkr_tok_index_free(&(*tok)->continuing);
    tkr_tok_matcher_free(&(*tok)->raw);
    tkr_tok_matcher_free(&(*tok)->normalized);
    tkr_arena_free(&(*tok)->arena);
    tkr_free(*tok);
    *tok = NULL;
}

size_t tkr_tok_vocab_size(const tkr_tok *tok) { return tok->n_ids; }

const char *tkr_tok_piece(const tkr_tok *tok, int32_t id) {
    const tkr_tok_vocab *vocab = &tok->vocab;
    if (id >= 0 && (size_t)id < vocab->n_ids && vocab->offset[id] != UINT32_MAX) {
        return vocab->pool.data + vocab->offset[id];
    }
    for (size_t i = 0; i < tok->n_added; i++) {
        if (tok->added[i].id == id) {
            return tok->added[i].content;
        }
    }
    return NULL;
}

int32_t tkr_tok_id(const tkr_tok *tok, const char *piece) {
    for (size_t i = 0; i < tok->n_added; i++) {
        if (strcmp(tok->added[i].content, piece) == 0) {
            return tok->added[i].id;
        }
    }
    return tkr_tok_vocab_find(&tok->vocab, piece, strlen(piece));
}

size_t tkr_tok_n_added(const tkr_tok *tok, bool pair) {
    return pair ? tok->post.pair.n_special : tok->post.single.n_special;
}
