/* SPDX-License-Identifier: Apache-2.0 */
/* routes/cohere: POST /v2/embed: texts, pictures or both, in one or several number formats.
 * input_type chooses the checkpoint's prompt: search_query -> "search_query", "query" or "retrieval.query";
 * search_document -> "search_document", "document", "passage", "retrieval.passage" or "corpus"; classification and
 * clustering -> the prompt of that name; image and checkpoints without such a prompt: the server's default. */
#include <stdio.h>
#include <string.h>

#include "server/routes/shape.h"

/* ---- errors: {"message"} ---- */

static void error(tkr_operation *op) {
    size_t n_tokens, limit;
    const tkr_fault_kind kind = op->fault.kind;
    const bool refused = kind == TKR_FAULT_TYPE || kind == TKR_FAULT_TOO_MANY || kind == TKR_FAULT_TOO_LONG;
    tkr_buf *out = tkr_shape_reply(op, refused ? 400 : tkr_fault_status(kind));
    char message[TKR_SHAPE_MESSAGE];
    if (tkr_shape_too_long(&n_tokens, &limit, op))
        (void)snprintf(op->fault.message, sizeof op->fault.message,
                       "too many tokens: total number of tokens in the input cannot exceed %zu - received %zu", limit,
                       n_tokens);
    tkr_buf_printf(out, "{\"message\":");
    tkr_put_text(out, tkr_shape_message(message, op));
    tkr_buf_putc(out, '}');
}

const tkr_api tkr_api_cohere = {.name = "cohere", .error = error};

/* ---- requests ---- */

typedef struct cohere_state {
    bool wanted[TKR_N_WIRE_TYPES];
    bool base64;
    size_t n_images;
} cohere_state;

static bool read_types(cohere_state *state, const tkr_fields *fields) {
    const json_t *types = tkr_fields_get(fields, "embedding_types"), *type;
    size_t i;
    if (!types) {
        state->wanted[TKR_WIRE_FLOAT] = true;
        return true;
    }
    if (!json_is_array(types) || json_array_size(types) == 0)
        return tkr_fields_refuse(fields, TKR_FAULT_TYPE, "embedding_types", "is %s, expected a list of words",
                                 json_is_array(types) ? "empty" : tkr_json_type_name(types));
    json_array_foreach(types, i, type) {
        const char *word = json_string_value(type);
        tkr_wire_type which;
        if (word && strcmp(word, "base64") == 0)
            state->base64 = true;
        else if (word && tkr_wire_type_parse(&which, word))
            state->wanted[which] = true;
        else
            return tkr_fields_refuse(fields, TKR_FAULT_VALUE, "embedding_types",
                                     "%.40s is none of float, int8, uint8, binary, ubinary and base64",
                                     word ? word : tkr_json_type_name(type));
    }
    return true;
}

static bool take_images(cohere_state *state, tkr_operation *op, const json_t *images) {
    const size_t n = json_array_size(images);
    char path[64];
    if (!json_is_array(images))
        return tkr_refuse(op, TYPE, "images", "images: is %s, expected a list of data URIs",
                          tkr_json_type_name(images));
    if (n == 0) return tkr_refuse(op, EMPTY, "images", "images: is an empty list");
    tkr_input *inputs = tkr_operation_fits(op, n) ? tkr_operation_alloc(op, n * sizeof *inputs) : NULL;
    if (!inputs) return false;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(path, sizeof path, "images[%zu]", i);
        if (!tkr_shape_picture(&inputs[i], op, json_array_get(images, i), path, TKR_READ_DATA_URI | TKR_READ_URL))
            return false;
    }
    state->n_images = n;
    return tkr_shape_take(op, inputs, n, "images");
}

/* Exactly one of texts, images and inputs. */
static bool take_inputs(cohere_state *state, const tkr_fields *fields) {
    static const tkr_shape_empty empty = {"texts: is an empty list", NULL};
    tkr_operation *op = fields->op;
    const json_t *texts = tkr_fields_get(fields, "texts"), *images = tkr_fields_get(fields, "images"),
                 *inputs = tkr_fields_get(fields, "inputs");
    if ((texts != NULL) + (images != NULL) + (inputs != NULL) != 1)
        return tkr_refuse(op, VALUE, NULL, "invalid request: exactly one of texts, images and inputs must be given");
    if (images) return take_images(state, op, images);
    if (inputs) return tkr_shape_contents(op, &state->n_images, inputs);
    return tkr_shape_inputs(op, texts, "texts", TKR_READ_TEXT, &empty);
}

static bool read_purpose(tkr_embed_options *options, const tkr_fields *fields) {
    static const char *const types[] = {"search_document", "search_query", "classification",
                                        "clustering",      "image",        NULL};
    static const char *const classification[] = {"classification", NULL}, *const clustering[] = {"clustering", NULL},
                             *const none[] = {NULL};
    const char *const *const prompts[] = {tkr_shape_document, tkr_shape_query, classification, clustering, none};
    size_t type = 4;
    if (!tkr_fields_word(&type, fields, "input_type", types)) return false;
    tkr_shape_prompt(options, fields->op, prompts[type]);
    return true;
}

static bool read_options(tkr_embed_options *options, const tkr_fields *fields) {
    static const char *const ways[] = {"NONE", "START", "END", NULL};
    static const tkr_truncate truncate[] = {TKR_TRUNCATE_ERROR, TKR_TRUNCATE_LEFT, TKR_TRUNCATE_RIGHT};
    size_t way = SIZE_MAX;
    if (!tkr_fields_word(&way, fields, "truncate", ways) ||
        !tkr_fields_count(&options->max_tokens, fields, "max_tokens", 1, INT32_MAX) ||
        !tkr_shape_dimensions(options, fields, "output_dimension"))
        return false;
    if (way != SIZE_MAX) options->truncate = truncate[way];
    if (options->max_tokens >= fields->op->model->info->max_tokens) options->max_tokens = 0;
    options->normalize = TKR_YES; /* the small types count on it */
    return true;
}

static bool embed_parse(tkr_operation *op) {
    tkr_fields fields;
    cohere_state *state = tkr_operation_alloc(op, sizeof *state);
    if (!state || !tkr_fields_of(&fields, op, op->body, "") || !take_inputs(state, &fields) ||
        !read_types(state, &fields))
        return false;
    tkr_embed_options *options = tkr_shape_options(op);
    if (!read_purpose(options, &fields) || !read_options(options, &fields) || !tkr_shape_one_vector(op, "Cohere's API"))
        return false;
    tkr_shape_share(op);
    op->state = state;
    return true;
}

/* ---- reply ---- */

static void put_type(tkr_buf *out, const tkr_operation *op, tkr_form form, size_t *n) {
    tkr_put_comma(out, (*n)++);
    tkr_buf_printf(out, "\"%s\":[", form.base64 ? "base64" : tkr_wire_type_name(form.type));
    for (size_t i = 0; i < op->job.n_items; i++) {
        tkr_put_comma(out, i);
        tkr_put_vector(out, form, op->job.items[i].rows, op->job.items[i].dimensions);
    }
    tkr_buf_putc(out, ']');
}

static void put_unit(tkr_buf *out, const char *name, size_t units, size_t *n) {
    if (units == 0) return;
    tkr_put_comma(out, (*n)++);
    tkr_buf_printf(out, "\"%s\":%zu", name, units);
}

/* Tokens of pictures, and of what a model's template puts around them, are no input tokens here. */
static void put_units(tkr_buf *out, const tkr_operation *op, size_t n_text_tokens, size_t n_images) {
    const size_t n_tokens = tkr_shape_tokens(op);
    size_t n = 0;
    tkr_buf_printf(out, "\"billed_units\":{");
    put_unit(out, "input_tokens", n_text_tokens, &n);
    put_unit(out, "images", n_images, &n);
    put_unit(out, "image_tokens", n_tokens > n_text_tokens ? n_tokens - n_text_tokens : 0, &n);
    tkr_buf_putc(out, '}');
}

static bool embed_render(tkr_operation *op) {
    const cohere_state *state = op->state;
    const json_t *texts = json_object_get(op->body, "texts");
    tkr_buf *out = tkr_shape_result(op);
    size_t n = 0, n_text_tokens;
    if (!tkr_shape_text_tokens(&n_text_tokens, op)) return false;
    tkr_buf_printf(out, "{\"id\":");
    tkr_put_text(out, op->request_id);
    tkr_buf_printf(out, ",\"response_type\":\"embeddings_by_type\",\"embeddings\":{");
    for (int type = 0; type < TKR_N_WIRE_TYPES; type++)
        if (state->wanted[type]) put_type(out, op, (tkr_form){.type = (tkr_wire_type)type}, &n);
    if (state->base64) put_type(out, op, (tkr_form){.base64 = true}, &n);
    tkr_buf_printf(out, "},");
    for (size_t i = 0; json_is_array(texts) && i < op->job.n_items; i++) {
        const tkr_input *input = &op->job.items[i].input;
        tkr_buf_printf(out, i ? "," : "\"texts\":[");
        tkr_json_write_string(out, input->text, input->n_text);
        if (i + 1 == op->job.n_items) tkr_buf_printf(out, "],");
    }
    tkr_buf_printf(out, "\"meta\":{\"api_version\":{\"version\":\"2\"},");
    put_units(out, op, n_text_tokens, state->n_images);
    tkr_buf_printf(out, "}}");
    return tkr_shape_done(op);
}

const tkr_handler tkr_handler_cohere_embed = {
    .name = "cohere_embed",
    .api = &tkr_api_cohere,
    .body = TKR_BODY_JSON,
    .parse = embed_parse,
    .render = embed_render,
    .wants_model = true,
    .request_schema = TKR_SCHEMA({
        "type" : "object",
        "oneOf" : [ {"required" : ["texts"]}, {"required" : ["images"]}, {"required" : ["inputs"]} ],
        "properties" : {
            "model" : {"type" : "string"},
            "input_type" : {"enum" : [ "search_document", "search_query", "classification", "clustering", "image" ]},
            "texts" : {"type" : "array", "minItems" : 1, "items" : {"type" : "string"}},
            "images" : {"type" : "array", "minItems" : 1, "items" : {"type" : "string"}},
            "inputs" : {
                "type" : "array",
                "minItems" : 1,
                "items" : {
                    "type" : "object",
                    "required" : ["content"],
                    "properties" : {
                        "content" : {
                            "type" : "array",
                            "minItems" : 1,
                            "items" : {
                                "oneOf" : [
                                    {
                                        "type" : "object",
                                        "required" : [ "type", "text" ],
                                        "properties" : {"type" : {"const" : "text"}, "text" : {"type" : "string"}}
                                    },
                                    {
                                        "type" : "object",
                                        "required" : [ "type", "image_url" ],
                                        "properties" : {
                                            "type" : {"const" : "image_url"},
                                            "image_url" : {
                                                "type" : "object",
                                                "required" : ["url"],
                                                "properties" : {"url" : {"type" : "string"}}
                                            }
                                        }
                                    }
                                ]
                            }
                        }
                    }
                }
            },
            "max_tokens" : {"type" : "integer", "minimum" : 1},
            "output_dimension" : {"type" : "integer", "minimum" : 1},
            "embedding_types" : {
                "type" : "array",
                "minItems" : 1,
                "items" : {"enum" : [ "float", "float16", "int8", "uint8", "binary", "ubinary", "base64" ]}
            },
            "truncate" : {"enum" : [ "NONE", "START", "END" ]},
            "priority" : {"type" : "integer"}
        }
    }),
    .response_schema = TKR_SCHEMA({
        "type" : "object",
        "required" : [ "id", "embeddings", "meta" ],
        "properties" : {
            "id" : {"type" : "string"},
            "response_type" : {"const" : "embeddings_by_type"},
            "embeddings" : {"type" : "object", "additionalProperties" : {"type" : "array"}},
            "texts" : {"type" : "array", "items" : {"type" : "string"}},
            "meta" : {"type" : "object"}
        }
    }),
};
