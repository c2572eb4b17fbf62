/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/build: from the parts of a file, whatever its format, to a tkr_tok; what callers ask about one. */
#include "tokenizer/build.h"

#include <string.h>

#include "tokenizer/regex.h"

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

tkr_status tkr_tok_index_vocab(const tkr_tok_loader *loader) {
    tkr_tok *tok = loader->tok;
    int32_t twice = -1;
    if (tok->vocab.index.slots != NULL) {
        return TKR_OK;
    }
    switch (tkr_tok_index_build(&tok->vocab.index, &tok->vocab, "", 0, &twice)) {
    case TKR_TOK_PUT_TWICE:
        return TKR_FAIL(loader->error, FORMAT, "%s: piece \"%.60s\" occurs twice in the vocabulary", loader->what,
                        tok->vocab.pool.data + tok->vocab.offset[twice]);
    case TKR_TOK_PUT_MEMORY:
        return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for the vocabulary", loader->what);
    case TKR_TOK_PUT_OK: break;
    }
    return TKR_OK;
}

static int append_json(const char *text, size_t n, void *user) { return tkr_buf_append(user, text, n) ? 0 : -1; }

/* Everything but the arrays, as JSON, for the compiled form. */
static tkr_status keep_skeleton(tkr_tok_loader *loader, const tkr_tok_blocks *b) {
    json_t *tree = json_object();
    const struct {
        const char *name;
        json_t *value;
    } fields[] = {{"normalizer", b->normalizer},
                  {"pre_tokenizer", b->pre_tokenizer},
                  {"post_processor", b->post_processor},
                  {"decoder", b->decoder},
                  {"added_tokens", b->added_tokens},
                  {"model", loader->tok->model_fields},
                  {"lowercase", b->lowercase ? json_true() : json_false()}};
    bool ok = tree != NULL;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0] && ok; i++) {
        ok = fields[i].value == NULL || json_object_set(tree, fields[i].name, fields[i].value) == 0;
    }
    ok = ok && json_dump_callback(tree, append_json, &loader->tok->skeleton, JSON_COMPACT) == 0;
    json_decref(tree);
    return ok ? TKR_OK : TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for its description", loader->what);
}

tkr_status tkr_tok_begin(tkr_tok **out, tkr_tok_loader *loader, const char *what, tkr_error *local) {
    *out = NULL;
    *loader = (tkr_tok_loader){tkr_calloc(1, sizeof(tkr_tok)), what, local};
    return loader->tok != NULL ? TKR_OK : TKR_FAIL(local, NO_MEMORY, "%s: no memory for a tokenizer", what);
}

tkr_status tkr_tok_finish(tkr_tok **out, tkr_tok_loader *loader, tkr_tok_blocks *b, tkr_status status,
                          tkr_error *error) {
    json_decref(b->normalizer);
    json_decref(b->pre_tokenizer);
    json_decref(b->post_processor);
    json_decref(b->decoder);
    json_decref(b->added_tokens);
    if (loader->tok != NULL) {
        json_decref(loader->tok->model_fields);
        loader->tok->model_fields = NULL;
        tkr_tok_merge_list_free(&loader->tok->merge_list);
    }
    if (status != TKR_OK) {
        if (error != NULL) {
            *error = *loader->error;
        }
        tkr_tok_free(&loader->tok);
        return status;
    }
    *out = loader->tok;
    return TKR_OK;
}

/* Embedding needs no decoder: one that can't be used fails what needs it, not the load. */
static tkr_status add_decoders(const tkr_tok_loader *loader, const json_t *config) {
    tkr_tok *tok = loader->tok;
    tkr_error problem = {.status = TKR_OK};
    tkr_tok_loader own = {tok, loader->what, &problem};
    tok->has_decoder = config != NULL;
    if (config == NULL || tkr_tok_add_stages(&own, TKR_TOK_DECODER, config) == TKR_OK) {
        return TKR_OK;
    }
    tok->decoder_problem = tkr_arena_strndup(&tok->arena, problem.message, strlen(problem.message));
    if (problem.status == TKR_NO_MEMORY || tok->decoder_problem == NULL) {
        return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for the decoder", loader->what);
    }
    return TKR_OK;
}

tkr_status tkr_tok_build(tkr_tok_loader *loader, const tkr_tok_blocks *b) {
    tkr_tok *tok = loader->tok;
    tkr_status status = tkr_tok_index_vocab(loader);
    if (status == TKR_OK) {
        status = tkr_tok_add_stages(loader, TKR_TOK_MODEL, tok->model_fields);
    }
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
    if (status == TKR_OK && b->lowercase) {
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
        status = add_decoders(loader, b->decoder);
    }
    if (status == TKR_OK) {
        status = tkr_tok_build_matchers(loader);
    }
    if (status == TKR_OK) {
        status = keep_skeleton(loader, b);
    }
    if (status == TKR_OK) {
        tkr_tok_plan_bytes(tok);
        tkr_tok_plan_ascii(tok);
    }
    return status;
}

void tkr_tok_free(tkr_tok **tok) {
    if (*tok == NULL) {
        return;
    }
    if (!(*tok)->mapped) {
        tkr_tok_vocab_free(&(*tok)->vocab);
        tkr_tok_index_free(&(*tok)->continuing);
    }
    tkr_buf_free(&(*tok)->skeleton);
    tkr_tok_matcher_free(&(*tok)->raw);
    tkr_tok_matcher_free(&(*tok)->normalized);
    tkr_tok_regexes_free(*tok);
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
    const tkr_tok_added *added = tkr_tok_find_added(tok, id);
    return added != NULL ? added->content : NULL;
}

int32_t tkr_tok_id(const tkr_tok *tok, const char *piece) {
    for (size_t i = 0; i < tok->n_added; i++) {
        if (strcmp(tok->added[i].content, piece) == 0) {
            return tok->added[i].id;
        }
    }
    return tkr_tok_vocab_find(&tok->vocab, piece, strlen(piece));
}

bool tkr_tok_is_special(const tkr_tok *tok, int32_t id) {
    const tkr_tok_added *added = tkr_tok_find_added(tok, id);
    return added != NULL && added->special;
}

size_t tkr_tok_n_added(const tkr_tok *tok, bool pair) {
    return pair ? tok->post.pair.n_special : tok->post.single.n_special;
}
