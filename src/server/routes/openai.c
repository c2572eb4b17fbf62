/* SPDX-License-Identifier: Apache-2.0 */
/* routes/openai: POST /v1/embeddings and GET /v1/models as OpenAI's clients know them. */
#include <stdio.h>
#include <string.h>

#include "server/routes/shape.h"

/* ---- errors: {"error":{"message","type","param","code"}} ---- */

typedef struct openai_kind {
    unsigned status; /* 0: the fault's own */
    const char *type, *code;
} openai_kind;

static openai_kind kind_of(tkr_fault_kind kind) {
    switch (kind) {
    case TKR_FAULT_UNAUTHORIZED: return (openai_kind){0, "invalid_request_error", "invalid_api_key"};
    case TKR_FAULT_FORBIDDEN: return (openai_kind){0, "invalid_request_error", "missing_scope"};
    case TKR_FAULT_NO_MODEL: return (openai_kind){0, "invalid_request_error", "model_not_found"};
    case TKR_FAULT_METHOD: return (openai_kind){0, "invalid_request_error", "method_not_supported"};
    case TKR_FAULT_NOT_FOUND:
    case TKR_FAULT_TIMEOUT:
    case TKR_FAULT_CONFLICT:
    case TKR_FAULT_TOO_LARGE:
    case TKR_FAULT_MEDIA_TYPE:
    case TKR_FAULT_CANCELLED: return (openai_kind){0, "invalid_request_error", NULL};
    case TKR_FAULT_RATE: return (openai_kind){0, "requests", "rate_limit_exceeded"};
    case TKR_FAULT_OVERLOADED: return (openai_kind){0, "server_error", "overloaded"};
    case TKR_FAULT_INTERNAL:
    case TKR_FAULT_NUMERIC:
    case TKR_FAULT_UNAVAILABLE: return (openai_kind){0, "server_error", NULL};
    default: return (openai_kind){400, "invalid_request_error", NULL};
    }
}

static void error(tkr_operation *op) {
    const openai_kind kind = kind_of(op->fault.kind);
    size_t n_tokens, limit;
    tkr_buf *out = tkr_shape_reply(op, kind.status ? kind.status : tkr_fault_status(op->fault.kind));
    tkr_buf_printf(out, "{\"error\":{\"message\":");
    if (tkr_shape_too_long(&n_tokens, &limit, op))
        tkr_buf_printf(out,
                       "\"This model's maximum context length is %zu tokens, however you requested %zu tokens (%zu in "
                       "your prompt; 0 for the completion). Please reduce your prompt; or completion length.\"",
                       limit, n_tokens, n_tokens);
    else
        tkr_put_text(out, op->fault.message);
    tkr_buf_printf(out, ",\"type\":\"%s\",\"param\":", kind.type);
    tkr_put_text(out, op->fault.param[0] ? op->fault.param : NULL);
    tkr_buf_printf(out, ",\"code\":");
    tkr_put_text(out, kind.code);
    tkr_buf_putc(out, '}');
    /* It may have come from a client of Jina or Voyage, which looks for this. */
    if (!json_is_object(op->body) && op->handler->body == TKR_BODY_JSON) {
        tkr_buf_printf(out, ",\"detail\":");
        tkr_put_text(out, op->fault.message);
    }
    tkr_buf_putc(out, '}');
    /* The SDK tries again after every 500; the same numbers would come out. */
    if (op->fault.kind == TKR_FAULT_NUMERIC) tkr_http_add_field(op->response, "x-should-retry", "false");
}

const tkr_api tkr_api_openai = {.name = "openai", .error = error};

/* ---- POST /v1/embeddings ---- */

/* 0 is none: what clients of Infinity send where their user says nothing. */
static bool read_dimensions(tkr_embed_options *options, const tkr_fields *fields) {
    const size_t most = fields->op->model->info->dimensions;
    int64_t n = 0;
    if (!tkr_fields_integer(&n, fields, "dimensions", INT64_MIN, INT64_MAX)) return false;
    if (n == 0) return true;
    if (n >= 1 && (uint64_t)n <= most) {
        options->dimensions = (size_t)n;
        return true;
    }
    return tkr_refuse(fields->op, VALUE, "dimensions",
                      "Invalid value for 'dimensions' = %lld. Must be %s than or equal to %zu.", (long long)n,
                      n < 1 ? "greater" : "less", n < 1 ? (size_t)1 : most);
}

/* vLLM's: the tokens that a text is cut to; -1: the model's limit. */
static bool read_truncation(tkr_embed_options *options, const tkr_fields *fields) {
    static const char *const sides[] = {"right", "left", NULL};
    int64_t n = 0;
    size_t side = 0;
    if (!tkr_fields_integer(&n, fields, "truncate_prompt_tokens", INT64_MIN, INT64_MAX) ||
        !tkr_fields_word(&side, fields, "truncation_side", sides))
        return false;
    if (tkr_fields_get(fields, "truncate_prompt_tokens")) {
        if (n < 1 && n != -1)
            return tkr_fields_refuse(fields, TKR_FAULT_VALUE, "truncate_prompt_tokens",
                                     "is %lld, expected -1 (the model's limit) or at least 1", (long long)n);
        options->truncate = TKR_TRUNCATE_RIGHT;
        if (n >= 1 && (uint64_t)n < fields->op->model->info->max_tokens) options->max_tokens = (size_t)n;
    }
    if (side == 1 && options->truncate != TKR_TRUNCATE_ERROR) options->truncate = TKR_TRUNCATE_LEFT;
    return true;
}

/* Fields of vLLM and Infinity that would change a vector: what isn't done is refused, not passed over. */
static bool read_extras(tkr_embed_options *options, const tkr_fields *fields) {
    static const char *const modalities[] = {"text", NULL}, *const types[] = {"float32", NULL},
                             *const orders[] = {"native", "little", NULL};
    size_t word = 0;
    bool special = true;
    if (!tkr_fields_word(&word, fields, "modality", modalities) ||
        !tkr_fields_word(&word, fields, "embed_dtype", types) ||
        !tkr_fields_word(&word, fields, "endianness", orders) ||
        !tkr_fields_bool(&special, fields, "add_special_tokens") || !read_truncation(options, fields))
        return false;
    return special || tkr_fields_refuse(fields, TKR_FAULT_VALUE, "add_special_tokens",
                                        "false is not done here; give token ids as \"input\"");
}

static bool embeddings_parse(tkr_operation *op) {
    static const tkr_shape_empty empty = {"'input' is an empty list. It must hold at least one text or list of tokens.",
                                          "'input' holds an empty text or list of tokens, which has no embedding."};
    tkr_form *form = tkr_operation_alloc(op, sizeof *form);
    tkr_list_form *list = tkr_operation_alloc(op, sizeof *list);
    tkr_fields fields;
    const json_t *input;
    if (!form || !list || !tkr_fields_of(&fields, op, op->body, "") || !tkr_fields_require(&input, &fields, "input") ||
        !tkr_shape_inputs(op, input, "input", TKR_READ_TEXT | TKR_READ_IDS, &empty) ||
        !tkr_shape_format(form, &fields, "encoding_format"))
        return false;
    tkr_embed_options *options = tkr_shape_options(op);
    options->normalize = TKR_YES;
    if (!read_dimensions(options, &fields) || !read_extras(options, &fields) ||
        !tkr_shape_one_vector(op, "OpenAI's API"))
        return false;
    tkr_shape_share(op);
    *list = (tkr_list_form){.forms = form, .n = 1};
    op->state = list;
    return true;
}

static bool embeddings_render(tkr_operation *op) { return tkr_list_render(op, op->state); }

const tkr_handler tkr_handler_openai_embeddings = {
    .name = "openai_embeddings",
    .api = &tkr_api_openai,
    .body = TKR_BODY_JSON,
    .parse = embeddings_parse,
    .render = embeddings_render,
    .wants_model = true,
    .request_schema = TKR_SCHEMA({
        "type" : "object",
        "required" : ["input"],
        "properties" : {
            "input" : {
                "oneOf" : [
                    {"type" : "string", "minLength" : 1},
                    {"type" : "array", "minItems" : 1, "items" : {"type" : "integer", "minimum" : 0}},
                    {"type" : "array", "minItems" : 1, "items" : {"type" : "string", "minLength" : 1}}, {
                        "type" : "array",
                        "minItems" : 1,
                        "items" : {"type" : "array", "minItems" : 1, "items" : {"type" : "integer", "minimum" : 0}}
                    }
                ]
            },
            "model" : {"type" : "string"},
            "encoding_format" : {"enum" : [ "float", "base64" ], "default" : "float"},
            "dimensions" : {"type" : "integer", "minimum" : 0, "description" : "0: all, as without it"},
            "user" : {"type" : "string"},
            "truncate_prompt_tokens" : {
                "type" : "integer",
                "minimum" : -1,
                "description" : "vLLM's: what a text is cut to; -1: the model's limit"
            },
            "truncation_side" : {"enum" : [ "right", "left" ], "default" : "right"},
            "add_special_tokens" : {"const" : true},
            "modality" : {"const" : "text"},
            "embed_dtype" : {"const" : "float32"},
            "endianness" : {"enum" : [ "native", "little" ]}
        }
    }),
    .response_schema = TKR_SCHEMA({
        "type" : "object",
        "required" : [ "object", "data", "model", "usage" ],
        "properties" : {
            "object" : {"const" : "list"},
            "data" : {
                "type" : "array",
                "items" : {
                    "type" : "object",
                    "required" : [ "object", "index", "embedding" ],
                    "properties" : {
                        "object" : {"const" : "embedding"},
                        "index" : {"type" : "integer"},
                        "embedding" :
                            {"oneOf" : [ {"type" : "array", "items" : {"type" : "number"}}, {"type" : "string"} ]}
                    }
                }
            },
            "model" : {"type" : "string"},
            "usage" : {
                "type" : "object",
                "required" : [ "prompt_tokens", "total_tokens" ],
                "properties" : {"prompt_tokens" : {"type" : "integer"}, "total_tokens" : {"type" : "integer"}}
            }
        }
    }),
};

/* ---- GET /v1/models, /v1/models/{name}, and both without /v1 ---- */

typedef struct model_list {
    tkr_buf *out;
    const char *only; /* NULL: all */
    size_t n;
} model_list;

static void put_model(void *user, const tkr_served_model *model) {
    model_list *list = user;
    if (list->only && strcmp(list->only, model->name) != 0 && strcmp(list->only, model->reference) != 0) return;
    if (list->only && list->n > 0) return;
    tkr_put_comma(list->out, list->n++);
    tkr_buf_printf(list->out, "{\"id\":");
    tkr_put_text(list->out, model->name);
    tkr_buf_printf(list->out, ",\"object\":\"model\",\"created\":%.0f,\"owned_by\":\"tkr-embed\"}", model->loaded_at);
}

static bool models_parse(tkr_operation *op) {
    model_list list = {.out = tkr_shape_reply(op, 200)};
    tkr_buf_printf(list.out, "{\"object\":\"list\",\"data\":[");
    tkr_models_each(tkr_server_models(op->server), put_model, &list);
    tkr_buf_printf(list.out, "]}");
    return tkr_shape_done(op);
}

static bool model_parse(tkr_operation *op) {
    static const char before[] = "/models/"; /* /v1 in front of it, or nothing */
    const char *at = strstr(op->request->path, before);
    model_list list = {.out = tkr_shape_reply(op, 200), .only = at ? at + sizeof before - 1 : ""};
    tkr_models_each(tkr_server_models(op->server), put_model, &list);
    return list.n > 0 || tkr_refuse(op, NO_MODEL, "model",
                                    "The model '%.200s' does not exist or you do not have access to it.", list.only);
}

#define MODEL_SCHEMA                                            \
    TKR_SCHEMA({                                                \
        "type" : "object",                                      \
        "required" : [ "id", "object", "created", "owned_by" ], \
        "properties" : {                                        \
            "id" : {"type" : "string"},                         \
            "object" : {"const" : "model"},                     \
            "created" : {"type" : "integer"},                   \
            "owned_by" : {"type" : "string"}                    \
        }                                                       \
    })

const tkr_handler tkr_handler_openai_models = {
    .name = "openai_models",
    .api = &tkr_api_openai,
    .body = TKR_BODY_NONE,
    .parse = models_parse,
    .response_schema = "{\"type\":\"object\",\"required\":[\"object\",\"data\"],\"properties\":{\"object\":{\"const\":"
                       "\"list\"},\"data\":{\"type\":\"array\",\"items\":" MODEL_SCHEMA "}}}",
};

const tkr_handler tkr_handler_openai_model = {
    .name = "openai_model",
    .api = &tkr_api_openai,
    .body = TKR_BODY_NONE,
    .parse = model_parse,
    .response_schema = MODEL_SCHEMA,
};
