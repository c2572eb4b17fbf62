/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer: TemplateProcessing, BertProcessing, RobertaProcessing, compiled to two templates; truncation; the result.
 * Refuses two of them in one Sequence. */
#include "tokenizer/engine.h"
#include "tokenizer/unicode.h"

#include <string.h>

enum { ITEM_A = -1, ITEM_B = -2, MAX_ITEMS = 64 };

static tkr_status no_memory(const tkr_tok_loader *loader) {
    return TKR_FAIL(loader->error, NO_MEMORY, "%s: no memory for the post-processor", loader->what);
}

static tkr_status claim(tkr_tok_loader *loader) {
    if (loader->tok->post.present) {
        return TKR_FAIL(loader->error, UNSUPPORTED, "%s: post_processor has more than one part that adds tokens",
                        loader->what);
    }
    loader->tok->post.present = true;
    return TKR_OK;
}

static tkr_status add_item(tkr_tok_template *template, tkr_tok_loader *loader, tkr_tok_item item) {
    if (template->items == NULL) {
        template->items = tkr_arena_alloc(&loader->tok->arena, MAX_ITEMS * sizeof *template->items);
        if (template->items == NULL) {
            return no_memory(loader);
        }
    }
    if (template->n_items == MAX_ITEMS) {
        return TKR_FAIL(loader->error, LIMIT, "%s: a template of the post-processor has more than %d tokens",
                        loader->what, MAX_ITEMS);
    }
    template->items[template->n_items++] = item;
    template->n_special += item.id >= 0;
    return TKR_OK;
}

static tkr_status check_special(const tkr_tok_loader *loader, const json_t *id) {
    if (!json_is_integer(id) || json_integer_value(id) < 0 || (size_t)json_integer_value(id) >= loader->tok->n_ids) {
        return TKR_FAIL(loader->error, FORMAT,
                        "%s: a special token of the post-processor has an id outside the vocabulary "
                        "of %zu",
                        loader->what, loader->tok->n_ids);
    }
    return TKR_OK;
}

/* {"SpecialToken": {"id": name, "type_id": n}}: all ids of special_tokens[name]. */
static tkr_status add_special(tkr_tok_template *template, tkr_tok_loader *loader, const json_t *specials,
                              const char *name, uint8_t type_id) {
    const json_t *ids = json_object_get(json_object_get(specials, name), "ids");
    if (!json_is_array(ids)) {
        return TKR_FAIL(loader->error, FORMAT, "%s: special_tokens of the post-processor has no ids for \"%.60s\"",
                        loader->what, name);
    }
    tkr_status status = TKR_OK;
    for (size_t i = 0; i < json_array_size(ids) && status == TKR_OK; i++) {
        const json_t *id = json_array_get(ids, i);
        status = check_special(loader, id);
        if (status == TKR_OK) {
            status = add_item(template, loader, (tkr_tok_item){(int32_t)json_integer_value(id), type_id});
        }
    }
    return status;
}

static tkr_status add_template_item(tkr_tok_template *template, tkr_tok_loader *loader, const json_t *specials,
                                    const json_t *item, bool is_pair) {
    const json_t *special = json_object_get(item, "SpecialToken"), *sequence = json_object_get(item, "Sequence");
    const json_t *body = special != NULL ? special : sequence;
    if (!json_is_object(body)) {
        return TKR_FAIL(loader->error, FORMAT,
                        "%s: an item of a template must be {\"SpecialToken\": ...} or "
                        "{\"Sequence\": ...}",
                        loader->what);
    }
    const char *id = NULL;
    int64_t type_id = 0;
    tkr_status status = tkr_json_get_string(&id, body, "id", true, loader->what, loader->error);
    if (status == TKR_OK) {
        status = tkr_json_get_int(&type_id, body, "type_id", 0, UINT8_MAX, true, loader->what, loader->error);
    }
    if (status != TKR_OK) {
        return status;
    }
    if (special != NULL) {
        return add_special(template, loader, specials, id, (uint8_t)type_id);
    }
    const bool is_b = strcmp(id, "B") == 0;
    if ((!is_b && strcmp(id, "A") != 0) || (is_b && !is_pair)) {
        return TKR_FAIL(loader->error, FORMAT, "%s: a template names sequence \"%.20s\", expected \"A\"%s",
                        loader->what, id, is_pair ? " or \"B\"" : "");
    }
    return add_item(template, loader, (tkr_tok_item){is_b ? ITEM_B : ITEM_A, (uint8_t)type_id});
}

static tkr_status parse_template(void **self, tkr_tok_loader *loader, const json_t *config) {
    *self = NULL;
    tkr_tok_post *post = &loader->tok->post;
    tkr_status status = claim(loader);
    const json_t *specials = json_object_get(config, "special_tokens");
    for (int pair = 0; pair < 2 && status == TKR_OK; pair++) {
        const char *field = pair ? "pair" : "single";
        const json_t *list = json_object_get(config, field);
        if (!json_is_array(list)) {
            return TKR_FAIL(loader->error, FORMAT, "%s: field \"%s\" of TemplateProcessing is %s, expected an array",
                            loader->what, field, list == NULL ? "missing" : tkr_json_type_name(list));
        }
        for (size_t i = 0; i < json_array_size(list) && status == TKR_OK; i++) {
            status =
                add_template_item(pair ? &post->pair : &post->single, loader, specials, json_array_get(list, i), pair);
        }
    }
    post->types_from_template = true;
    return status;
}

/* ["[SEP]", 102] */
static tkr_status read_token(int32_t *id, tkr_tok_loader *loader, const json_t *config, const char *field) {
    const json_t *pair = json_object_get(config, field);
    if (json_array_size(pair) != 2 || !json_is_string(json_array_get(pair, 0))) {
        return TKR_FAIL(loader->error, FORMAT, "%s: field \"%s\" of the post-processor must be [token, id]",
                        loader->what, field);
    }
    const json_t *value = json_array_get(pair, 1);
    const tkr_status status = check_special(loader, value);
    if (status == TKR_OK) {
        *id = (int32_t)json_integer_value(value);
    }
    return status;
}

/* "cls A sep" and "cls A sep B sep", with the separator doubled for RoBERTa. */
static tkr_status fill_pair(tkr_tok_loader *loader, const json_t *config, bool roberta) {
    tkr_tok_post *post = &loader->tok->post;
    int32_t sep = 0, cls = 0;
    tkr_status status = claim(loader);
    if (status == TKR_OK) {
        status = read_token(&sep, loader, config, "sep");
    }
    if (status == TKR_OK) {
        status = read_token(&cls, loader, config, "cls");
    }
    const uint8_t second = roberta ? 0 : 1;
    const tkr_tok_item items[] = {{cls, 0}, {ITEM_A, 0}, {sep, 0}, {sep, 0}, {ITEM_B, second}, {sep, second}};
    for (size_t i = 0; i < 3 && status == TKR_OK; i++) {
        status = add_item(&post->single, loader, items[i]);
    }
    for (size_t i = 0; i < 6 && status == TKR_OK; i++) {
        if (i != 3 || roberta) {
            status = add_item(&post->pair, loader, items[i]);
        }
    }
    return status;
}

static tkr_status parse_bert(void **self, tkr_tok_loader *loader, const json_t *config) {
    *self = NULL;
    return fill_pair(loader, config, false);
}

tkr_status tkr_tok_claim_trim(tkr_tok_loader *loader, bool add_prefix_space) {
    tkr_tok_post *post = &loader->tok->post;
    if (post->trim_offsets) {
        return TKR_FAIL(loader->error, UNSUPPORTED, "%s: post_processor has more than one part that trims offsets",
                        loader->what);
    }
    post->trim_offsets = true;
    post->add_prefix_space = add_prefix_space;
    return TKR_OK;
}

static tkr_status parse_roberta(void **self, tkr_tok_loader *loader, const json_t *config) {
    *self = NULL;
    loader->tok->post.types_from_template = true; /* all types are 0, special tokens or not */
    bool trim = false, prefix = false;
    tkr_status status = tkr_json_get_bool(&trim, config, "trim_offsets", true, loader->what, loader->error);
    if (status == TKR_OK) {
        status = tkr_json_get_bool(&prefix, config, "add_prefix_space", true, loader->what, loader->error);
    }
    if (status == TKR_OK && trim) {
        status = tkr_tok_claim_trim(loader, prefix);
    }
    return status != TKR_OK ? status : fill_pair(loader, config, true);
}

extern const tkr_tok_component tkr_post_template, tkr_post_bert, tkr_post_roberta;
const tkr_tok_component tkr_post_template = {.parse = parse_template};
const tkr_tok_component tkr_post_bert = {.parse = parse_bert};
const tkr_tok_component tkr_post_roberta = {.parse = parse_roberta};
