/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/load: tokenizer.json to a tkr_tok. The vocabulary is streamed, the small blocks go through a tree. */
#include "tokenizer/build.h"

#include <stdio.h>
#include <string.h>

/* A block that goes through a tree; the vocabulary does not. */
enum { MAX_BLOCK = 16 << 20 };

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
    if (jr->at - begin > MAX_BLOCK) {
        return TKR_FAIL(jr->error, LIMIT, "%s: \"%s\" has %zu bytes, the limit is %d", what, field,
                        (size_t)(jr->at - begin), MAX_BLOCK);
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

/* Old files don't say what model they have: the reference tells them apart by their fields, too. */
static tkr_status infer_type(const tkr_jr *jr, tkr_tok *tok) {
    json_t *fields = tok->model_fields;
    const char *type = tok->merge_list.n > 0                                         ? "BPE"
                       : tok->vocab.score != NULL                                    ? "Unigram"
                       : json_object_get(fields, "max_input_chars_per_word") != NULL ? "WordPiece"
                                                                                     : NULL;
    if (type == NULL || json_object_get(fields, "type") != NULL) {
        return TKR_OK;
    }
    return json_object_set_new(fields, "type", json_string(type)) == 0
               ? TKR_OK
               : TKR_FAIL(jr->error, NO_MEMORY, "%s: no memory for the model", jr->what);
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
        } else if (strcmp(field, "merges") == 0 && type == TKR_JR_ARRAY) {
            status = tok->merge_list.n != 0 ? tkr_jr_fail(jr, "\"merges\" occurs twice")
                                            : tkr_tok_read_merges(jr, &tok->merge_list);
        } else {
            status = keep_scalar(jr, tok, field, type);
        }
    }
    return status == TKR_OK ? infer_type(jr, tok) : status;
}

static tkr_status read_field(tkr_jr *jr, tkr_tok *tok, tkr_tok_blocks *b, const char *field) {
    const struct {
        const char *name;
        json_t **tree;
    } trees[] = {{"normalizer", &b->normalizer},
                 {"pre_tokenizer", &b->pre_tokenizer},
                 {"post_processor", &b->post_processor},
                 {"decoder", &b->decoder},
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

static tkr_status read_file(tkr_jr *jr, tkr_tok *tok, tkr_tok_blocks *b) {
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

tkr_status tkr_tok_load(tkr_tok **out, const char *json, size_t size, const char *what, const tkr_tok_options *options,
                        tkr_error *error) {
    tkr_tok_loader loader;
    tkr_tok_blocks blocks = {0};
    tkr_error local = {.status = TKR_OK}; /* the caller's stays as it is on success */
    tkr_status status = tkr_tok_begin(out, &loader, what, &local);
    if (status == TKR_OK) {
        tkr_jr jr;
        tkr_jr_init(&jr, json, size, what, &local);
        status = read_file(&jr, loader.tok, &blocks);
        tkr_jr_free(&jr);
    }
    if (status == TKR_OK) {
        blocks.lowercase = options != NULL && options->lowercase;
        status = tkr_tok_build(&loader, &blocks);
    }
    return tkr_tok_finish(out, &loader, &blocks, status, error);
}
