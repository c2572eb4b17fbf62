/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer/components: finds a component by its type and flattens Sequence. Refuses types that have no row. */
#include "tokenizer/engine.h"

#include <string.h>

#define X(kind, type, object) extern const tkr_tok_component object;
#include "tokenizer/components.def"
#undef X

typedef struct row {
    tkr_tok_kind kind;
    const char *type;
    const tkr_tok_component *component;
} row;

static const row rows[] = {
#define X(kind, type, object) {TKR_TOK_##kind, type, &object},
#include "tokenizer/components.def"
#undef X
};

/* Per kind: the word in messages and the field of Sequence that lists the parts. */
static const char *const kind_names[] = {"normalizer", "pre_tokenizer", "model", "post_processor", "decoder"};
static const char *const list_names[] = {"normalizers", "pretokenizers", NULL, "processors", "decoders"};

const tkr_tok_component *tkr_tok_component_find(tkr_tok_kind kind, const char *type) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].kind == kind && strcmp(rows[i].type, type) == 0) {
            return rows[i].component;
        }
    }
    return NULL;
}

static tkr_status fail_unknown(const tkr_tok_loader *loader, tkr_tok_kind kind, const char *type) {
    char list[320];
    size_t n = 0;
    list[0] = '\0';
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const size_t length = strlen(rows[i].type);
        if (rows[i].kind == kind && n + length + 2 < sizeof list) {
            memcpy(list + n, n == 0 ? "" : " ", n == 0 ? 0 : 1);
            n += n == 0 ? 0 : 1;
            memcpy(list + n, rows[i].type, length + 1);
            n += length;
        }
    }
    return TKR_FAIL(loader->error, UNSUPPORTED, "%s: %s \"%.60s\" is not supported, supported: %s%s", loader->what,
                    kind_names[kind], type, list, list_names[kind] != NULL ? " Sequence" : "");
}

static tkr_status add_stage(tkr_tok_loader *loader, tkr_tok_kind kind, const tkr_tok_component *component, void *self) {
    tkr_tok *tok = loader->tok;
    tkr_tok_stage *list = tok->normalizers;
    size_t *n = &tok->n_normalizers;
    switch (kind) {
    case TKR_TOK_MODEL: tok->model = (tkr_tok_stage){component, self}; return TKR_OK;
    case TKR_TOK_POST_PROCESSOR: return TKR_OK; /* its parser filled tok->post */
    case TKR_TOK_PRE_TOKENIZER:
        list = tok->pre_tokenizers;
        n = &tok->n_pre_tokenizers;
        break;
    case TKR_TOK_DECODER:
        list = tok->decoders;
        n = &tok->n_decoders;
        break;
    case TKR_TOK_NORMALIZER: break;
    }
    if (*n == TKR_TOK_MAX_STAGES) {
        return TKR_FAIL(loader->error, LIMIT, "%s: more than %d stages of kind %s", loader->what, TKR_TOK_MAX_STAGES,
                        kind_names[kind]);
    }
    list[(*n)++] = (tkr_tok_stage){component, self};
    return TKR_OK;
}

tkr_status tkr_tok_add_stages(tkr_tok_loader *loader, tkr_tok_kind kind, const json_t *config) {
    if (!json_is_object(config)) {
        return TKR_FAIL(loader->error, FORMAT, "%s: %s is %s, expected an object or null", loader->what,
                        kind_names[kind], tkr_json_type_name(config));
    }
    const char *type = NULL;
    tkr_status status = tkr_json_get_string(&type, config, "type", true, loader->what, loader->error);
    if (status != TKR_OK) {
        return status;
    }
    if (list_names[kind] != NULL && strcmp(type, "Sequence") == 0) {
        const json_t *parts = json_object_get(config, list_names[kind]);
        if (!json_is_array(parts)) {
            return TKR_FAIL(loader->error, FORMAT, "%s: field \"%s\" of a Sequence is %s, expected an array",
                            loader->what, list_names[kind], parts == NULL ? "missing" : tkr_json_type_name(parts));
        }
        for (size_t i = 0; i < json_array_size(parts) && status == TKR_OK; i++) {
            status = tkr_tok_add_stages(loader, kind, json_array_get(parts, i));
        }
        return status;
    }
    const tkr_tok_component *component = tkr_tok_component_find(kind, type);
    if (component == NULL) {
        return fail_unknown(loader, kind, type);
    }
    void *self = NULL;
    status = component->parse(&self, loader, config);
    return status == TKR_OK ? add_stage(loader, kind, component, self) : status;
}
