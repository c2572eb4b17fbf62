/* SPDX-License-Identifier: Apache-2.0 */
/* routes/ollama: POST /api/embed and /api/embeddings, GET /api/tags and /api/version. keep_alive and options are taken
 * and mean nothing: models stay as the server's settings say. */
#include <string.h>

#include "core/digest.h"
#include "core/file.h"
#include "core/sync.h"
#include "server/routes/shape.h"

/* ---- errors: {"error"} ---- */

static unsigned status_of(const tkr_fault *fault) {
    switch (fault->kind) {
    case TKR_FAULT_TYPE:
    case TKR_FAULT_TOO_MANY:
    case TKR_FAULT_TOO_LONG:
    case TKR_FAULT_MEDIA:
    case TKR_FAULT_UNSUPPORTED:
    case TKR_FAULT_NUMERIC: return 400;
    case TKR_FAULT_OVERLOADED: return 503;
    default: return tkr_fault_status(fault->kind);
    }
}

static const char *message_of(const tkr_operation *op) {
    switch (op->fault.kind) {
    case TKR_FAULT_MALFORMED: return op->request->n_body == 0 ? "missing request body" : op->fault.message;
    case TKR_FAULT_TOO_LONG: return "the input length exceeds the context length";
    case TKR_FAULT_OVERLOADED: return "server busy, please try again.  maximum pending requests exceeded";
    case TKR_FAULT_CANCELLED: return "request canceled";
    case TKR_FAULT_NUMERIC: return "embedding contains NaN or Inf values";
    default: return op->fault.message;
    }
}

static void error(tkr_operation *op) {
    tkr_buf *out = tkr_shape_reply(op, status_of(&op->fault));
    tkr_buf text = {.cap = 1024};
    const char *name = op->model_name ? op->model_name : "", *message = message_of(op);
    if (op->fault.kind == TKR_FAULT_NO_MODEL) {
        const bool older = op->handler == &tkr_handler_ollama_embeddings;
        if (tkr_buf_printf(
                &text, older ? "model \"%.200s\" not found, try pulling it first" : "model '%.200s' not found", name))
            message = text.data;
    }
    tkr_buf_printf(out, "{\"error\":");
    tkr_put_text(out, message);
    tkr_buf_putc(out, '}');
    tkr_buf_free(&text);
}

const tkr_api tkr_api_ollama = {.name = "ollama", .error = error, .any_content_type = true};

/* ---- POST /api/embed ---- */

static bool wrong_input(tkr_operation *op) { return tkr_refuse(op, TYPE, "input", "invalid input type"); }

/* A text, a list of texts, or nothing; "" alone is nothing, too. */
static bool take_input(tkr_operation *op, const json_t *input) {
    static const tkr_shape_empty fine = {NULL, NULL};
    const json_t *text;
    size_t i;
    if (!input || (json_is_string(input) && json_string_length(input) == 0))
        return tkr_shape_take(op, NULL, 0, "input");
    if (!json_is_string(input) && !json_is_array(input)) return wrong_input(op);
    json_array_foreach(input, i, text) if (!json_is_string(text)) return wrong_input(op);
    return tkr_shape_inputs(op, input, "input", TKR_READ_TEXT, &fine);
}

/* options and keep_alive of any kind are taken, as long as they have their form. */
static bool check_extras(const tkr_fields *fields) {
    const json_t *options = tkr_fields_get(fields, "options"), *keep = tkr_fields_get(fields, "keep_alive");
    if (options && !json_is_object(options))
        return tkr_fields_refuse(fields, TKR_FAULT_TYPE, "options", "is %s, expected an object",
                                 tkr_json_type_name(options));
    if (keep && !json_is_string(keep) && !json_is_number(keep))
        return tkr_fields_refuse(fields, TKR_FAULT_TYPE, "keep_alive", "is %s, expected a duration such as \"5m\"",
                                 tkr_json_type_name(keep));
    return true;
}

static bool embed_parse(tkr_operation *op) {
    tkr_fields fields;
    int64_t dimensions = 0;
    if (!tkr_fields_of(&fields, op, op->body, "") || !take_input(op, tkr_fields_get(&fields, "input")) ||
        !check_extras(&fields) || !tkr_fields_integer(&dimensions, &fields, "dimensions", INT64_MIN, INT64_MAX))
        return false;
    tkr_embed_options *options = tkr_shape_options(op);
    if (!tkr_shape_truncate(options, &fields, "truncate") || !tkr_shape_one_vector(op, "Ollama's API")) return false;
    if (dimensions > 0 && (uint64_t)dimensions < op->model->info->dimensions) options->dimensions = (size_t)dimensions;
    options->normalize = TKR_YES;
    tkr_shape_share(op);
    return true;
}

/* Seconds that this request waited for its model to load. */
static double load_time(const tkr_operation *op) {
    const double began = tkr_wall_clock() - (tkr_now() - op->request->began);
    return op->model->loaded_at > began ? op->model->loaded_at - began : 0;
}

static bool embed_render(tkr_operation *op) {
    tkr_buf *out = tkr_shape_result(op);
    const size_t n_tokens = tkr_shape_tokens(op);
    const double load_s = load_time(op);
    tkr_buf_printf(out, "{\"model\":");
    tkr_put_text(out, op->model_name ? op->model_name : op->model->name);
    tkr_buf_printf(out, ",\"embeddings\":[");
    for (size_t i = 0; i < op->job.n_items; i++) {
        tkr_put_comma(out, i);
        tkr_put_vector(out, (tkr_form){0}, op->job.items[i].rows, op->job.items[i].dimensions);
    }
    tkr_buf_putc(out, ']');
    if (op->job.n_items > 0) tkr_buf_printf(out, ",\"total_duration\":%.0f", (tkr_now() - op->request->began) * 1e9);
    if (op->job.n_items > 0 && load_s > 0) tkr_buf_printf(out, ",\"load_duration\":%.0f", load_s * 1e9);
    if (n_tokens > 0) tkr_buf_printf(out, ",\"prompt_eval_count\":%zu", n_tokens);
    tkr_buf_putc(out, '}');
    return tkr_shape_done(op);
}

const tkr_handler tkr_handler_ollama_embed = {
    .name = "ollama_embed",
    .api = &tkr_api_ollama,
    .body = TKR_BODY_JSON,
    .parse = embed_parse,
    .render = embed_render,
    .wants_model = true,
    .request_schema = TKR_SCHEMA({
        "type" : "object",
        "properties" : {
            "model" : {"type" : "string"},
            "input" : {"anyOf" : [ {"type" : "string"}, {"type" : "array", "items" : {"type" : "string"}} ]},
            "truncate" : {"type" : "boolean", "default" : true},
            "dimensions" : {"type" : "integer"},
            "keep_alive" : {"type" : [ "string", "number" ]},
            "options" : {"type" : "object"}
        }
    }),
    .response_schema = TKR_SCHEMA({
        "type" : "object",
        "required" : [ "model", "embeddings" ],
        "properties" : {
            "model" : {"type" : "string"},
            "embeddings" : {"type" : "array", "items" : {"type" : "array", "items" : {"type" : "number"}}},
            "total_duration" : {"type" : "integer", "description" : "nanoseconds"},
            "load_duration" : {"type" : "integer"},
            "prompt_eval_count" : {"type" : "integer"}
        }
    }),
};

/* ---- POST /api/embeddings ---- */

static bool embeddings_parse(tkr_operation *op) {
    static const tkr_shape_empty fine = {NULL, NULL};
    tkr_fields fields;
    if (!tkr_fields_of(&fields, op, op->body, "")) return false;
    const json_t *prompt = tkr_fields_get(&fields, "prompt");
    if (!prompt || (json_is_string(prompt) && json_string_length(prompt) == 0))
        return tkr_shape_take(op, NULL, 0, "prompt");
    if (!json_is_string(prompt))
        return tkr_fields_refuse(&fields, TKR_FAULT_TYPE, "prompt", "is %s, expected a string",
                                 tkr_json_type_name(prompt));
    if (!tkr_shape_inputs(op, prompt, "prompt", TKR_READ_TEXT, &fine) || !check_extras(&fields) ||
        !tkr_shape_one_vector(op, "Ollama's API"))
        return false;
    tkr_shape_options(op)->normalize = TKR_NO;
    return true;
}

static bool embeddings_render(tkr_operation *op) {
    tkr_buf *out = tkr_shape_result(op);
    tkr_buf_printf(out, "{\"embedding\":");
    if (op->job.n_items > 0)
        tkr_put_vector(out, (tkr_form){0}, op->job.items[0].rows, op->job.items[0].dimensions);
    else
        tkr_buf_printf(out, "[]");
    tkr_buf_putc(out, '}');
    return tkr_shape_done(op);
}

const tkr_handler tkr_handler_ollama_embeddings = {
    .name = "ollama_embeddings",
    .api = &tkr_api_ollama,
    .body = TKR_BODY_JSON,
    .parse = embeddings_parse,
    .render = embeddings_render,
    .wants_model = true,
    .request_schema = TKR_SCHEMA({
        "type" : "object",
        "properties" : {
            "model" : {"type" : "string"},
            "prompt" : {"type" : "string"},
            "keep_alive" : {"type" : [ "string", "number" ]},
            "options" : {"type" : "object"}
        }
    }),
    .response_schema = TKR_SCHEMA({
        "type" : "object",
        "required" : ["embedding"],
        "properties" :
            {"embedding" : {"type" : "array", "items" : {"type" : "number"}, "description" : "not normalised"}}
    }),
};

/* ---- GET /api/tags ---- */

typedef struct tag_list {
    tkr_buf *out;
    size_t n;
} tag_list;

static void put_parameters(tkr_buf *out, uint64_t n) {
    if (n >= 1000000000)
        tkr_buf_printf(out, "\"%.1fB\"", (double)n / 1e9);
    else
        tkr_buf_printf(out, "\"%.2fM\"", (double)n / 1e6);
}

/* Hexadecimal digits that tell models apart, in the form of a digest. */
static void put_digest(tkr_buf *out, const char *text) {
    tkr_buf_putc(out, '"');
    for (uint64_t i = 0; i < 4; i++) {
        tkr_digest digest;
        tkr_digest_init(&digest);
        tkr_digest_word(&digest, i);
        tkr_digest_add(&digest, text, strlen(text));
        tkr_buf_printf(out, "%016llx", (unsigned long long)tkr_digest_end(&digest));
    }
    tkr_buf_putc(out, '"');
}

static void put_tag(void *user, const tkr_served_model *model) {
    tag_list *list = user;
    tkr_buf *out = list->out;
    const tkr_model_info *info = model->state == TKR_MODEL_READY ? model->info : NULL;
    const size_t n = strlen(model->reference);
    const bool gguf = n > 5 && strcmp(model->reference + n - 5, ".gguf") == 0;
    char when[25];
    tkr_wall_clock_text(when, model->loaded_at);
    tkr_put_comma(out, list->n++);
    tkr_buf_printf(out, "{\"name\":");
    tkr_put_text(out, model->name);
    tkr_buf_printf(out, ",\"model\":");
    tkr_put_text(out, model->name);
    tkr_buf_printf(out, ",\"modified_at\":\"%s\",\"size\":%llu,\"digest\":", when,
                   info ? (unsigned long long)info->weights_bytes : 0);
    put_digest(out, info ? info->fingerprint : model->reference);
    tkr_buf_printf(out,
                   ",\"details\":{\"parent_model\":\"\",\"format\":\"%s\",\"family\":", gguf ? "gguf" : "safetensors");
    tkr_put_text(out, info ? info->architecture : "");
    tkr_buf_printf(out, ",\"families\":[");
    if (info) tkr_put_text(out, info->architecture);
    tkr_buf_printf(out, "],\"parameter_size\":");
    put_parameters(out, info ? info->n_parameters : 0);
    tkr_buf_printf(out, ",\"quantization_level\":");
    tkr_put_text(out, !info ? "" : strcmp(info->quantization, "none") == 0 ? info->precision : info->quantization);
    tkr_buf_printf(out, "}}");
}

static bool tags_parse(tkr_operation *op) {
    tag_list list = {.out = tkr_shape_reply(op, 200)};
    tkr_buf_printf(list.out, "{\"models\":[");
    tkr_models_each(tkr_server_models(op->server), put_tag, &list);
    tkr_buf_printf(list.out, "]}");
    return tkr_shape_done(op);
}

const tkr_handler tkr_handler_ollama_tags = {
    .name = "ollama_tags",
    .api = &tkr_api_ollama,
    .body = TKR_BODY_NONE,
    .parse = tags_parse,
    .response_schema = TKR_SCHEMA({
        "type" : "object",
        "required" : ["models"],
        "properties" : {
            "models" : {
                "type" : "array",
                "items" : {
                    "type" : "object",
                    "required" : [ "name", "model", "modified_at", "size", "digest", "details" ],
                    "properties" : {
                        "name" : {"type" : "string"},
                        "model" : {"type" : "string"},
                        "modified_at" : {"type" : "string", "format" : "date-time"},
                        "size" : {"type" : "integer"},
                        "digest" : {"type" : "string"},
                        "details" : {"type" : "object"}
                    }
                }
            }
        }
    }),
};

/* ---- GET /api/version ---- */

static bool version_parse(tkr_operation *op) {
    tkr_buf *out = tkr_shape_reply(op, 200);
    tkr_buf_printf(out, "{\"version\":\"%s\"}", tkr_version());
    return tkr_shape_done(op);
}

const tkr_handler tkr_handler_ollama_version = {
    .name = "ollama_version",
    .api = &tkr_api_ollama,
    .body = TKR_BODY_NONE,
    .parse = version_parse,
    .response_schema =
        TKR_SCHEMA({"type" : "object", "required" : ["version"], "properties" : {"version" : {"type" : "string"}}}),
};
