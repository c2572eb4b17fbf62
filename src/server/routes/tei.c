/* SPDX-License-Identifier: Apache-2.0 */
/* routes/tei: vectors as Hugging Face's Text Embeddings Inference gives them: /embed, /embed_all, /similarity, and the
 * /rerank that no embedding model can do. */
#include "server/routes/tei.h"

#include <stdio.h>

#include "core/utf8.h"

/* ---- errors: {"error","error_type"} ---- */

typedef struct tei_kind {
    unsigned status; /* 0: the fault's own */
    const char *type;
} tei_kind;

static tei_kind kind_of(tkr_fault_kind kind) {
    switch (kind) {
    case TKR_FAULT_EMPTY: return (tei_kind){0, "Empty"};
    case TKR_FAULT_TYPE:
    case TKR_FAULT_VALUE: return (tei_kind){422, "Validation"};
    case TKR_FAULT_UNSUPPORTED: return (tei_kind){424, "Backend"};
    case TKR_FAULT_RATE:
    case TKR_FAULT_OVERLOADED: return (tei_kind){0, "Overloaded"};
    case TKR_FAULT_INTERNAL: return (tei_kind){0, "Backend"};
    case TKR_FAULT_NUMERIC: return (tei_kind){424, "Backend"};
    case TKR_FAULT_UNAVAILABLE: return (tei_kind){0, "Unhealthy"};
    default: return (tei_kind){0, "Validation"};
    }
}

/* Inputs of a request that has too many. */
static size_t batch_size(const tkr_operation *op) {
    const json_t *inputs = json_object_get(op->body, "inputs");
    if (!inputs) inputs = json_object_get(op->body, "ids");
    return json_is_object(inputs) ? json_array_size(json_object_get(inputs, "sentences")) + 1 : json_array_size(inputs);
}

static void error(tkr_operation *op) {
    const tei_kind kind = kind_of(op->fault.kind);
    size_t n_tokens, limit;
    tkr_buf *out = tkr_shape_reply(op, kind.status ? kind.status : tkr_fault_status(op->fault.kind));
    tkr_buf_printf(out, "{\"error\":");
    if (tkr_shape_too_long(&n_tokens, &limit, op))
        tkr_buf_printf(out, "\"Input validation error: `inputs` must have less than %zu tokens. Given: %zu\"", limit,
                       n_tokens);
    else if (op->fault.kind == TKR_FAULT_TOO_MANY)
        tkr_buf_printf(out, "\"batch size %zu > maximum allowed batch size %zu\"", batch_size(op),
                       (size_t)tkr_setting_of(tkr_server_settings(op->server), TKR_SET_MAX_CLIENT_BATCH)->number);
    else
        tkr_put_text(out, op->fault.kind == TKR_FAULT_OVERLOADED ? "Model is overloaded" : op->fault.message);
    tkr_buf_printf(out, ",\"error_type\":\"%s\"}", kind.type);
}

/* Its limit to what is tokenised at all. */
enum { CHARACTERS_A_TOKEN = 250 };

bool tkr_tei_lengths(tkr_operation *op) {
    const size_t limit = op->model->info->max_tokens * CHARACTERS_A_TOKEN;
    for (size_t i = 0; limit > 0 && i < op->job.n_items; i++) {
        const tkr_input *input = &op->job.items[i].input;
        const size_t n = input->n_text > limit ? tkr_utf8_count(input->text, input->n_text) : 0;
        if (n > limit)
            return tkr_refuse(op, VALUE, "inputs",
                              "Input validation error: `inputs` must have less than %zu characters. Given: %zu", limit,
                              n);
    }
    return true;
}

const tkr_api tkr_api_tei = {.name = "tei", .error = error};

/* ---- requests ---- */

const tkr_shape_empty tkr_tei_empty = {"`inputs` cannot be empty", "Input validation error: `inputs` cannot be empty"};

bool tkr_tei_fields(tkr_fields *fields, tkr_operation *op, const json_t *value, const char *path) {
    if (!tkr_fields_of(fields, op, value, path)) return false;
    fields->null_is_wrong = true; /* but for what tkr_tei_nullable reads */
    return true;
}

tkr_fields tkr_tei_nullable(const tkr_fields *fields) {
    tkr_fields nullable = *fields;
    nullable.null_is_wrong = false;
    return nullable;
}

/* truncate, truncation_direction and prompt_name: of every request. */
static bool read_common(tkr_embed_options *options, const tkr_fields *fields) {
    static const char *const sides[] = {"Right", "right", "Left", "left", NULL};
    const tkr_fields nullable = tkr_tei_nullable(fields);
    size_t side = 0;
    if (!tkr_shape_truncate(options, &nullable, "truncate") ||
        !tkr_fields_word(&side, fields, "truncation_direction", sides) ||
        !tkr_fields_string(&options->prompt_name, &nullable, "prompt_name"))
        return false;
    if (options->truncate == TKR_TRUNCATE_RIGHT && side >= 2) options->truncate = TKR_TRUNCATE_LEFT;
    return true;
}

static bool read_dimensions(tkr_embed_options *options, const tkr_fields *fields) {
    const tkr_fields nullable = tkr_tei_nullable(fields);
    const size_t most = fields->op->model->info->dimensions;
    int64_t n = 1;
    if (!tkr_fields_integer(&n, &nullable, "dimensions", INT64_MIN, INT64_MAX)) return false;
    if (n <= 0) return tkr_refuse(fields->op, VALUE, "dimensions", "`dimensions` should be positive");
    if ((uint64_t)n > most)
        return tkr_refuse(fields->op, VALUE, "dimensions",
                          "`dimensions` should be smaller than the maximum embedding dimension.");
    if (tkr_fields_get(&nullable, "dimensions")) options->dimensions = (size_t)n;
    return true;
}

/* ---- POST /embed, / ---- */

static bool embed_parse(tkr_operation *op) {
    tkr_fields fields;
    const json_t *inputs;
    bool normalize = true;
    if (!tkr_tei_fields(&fields, op, op->body, "") || !tkr_fields_require(&inputs, &fields, "inputs") ||
        !tkr_shape_inputs(op, inputs, "inputs", TKR_READ_TEXT | TKR_READ_IDS, &tkr_tei_empty) || !tkr_tei_lengths(op))
        return false;
    tkr_embed_options *options = tkr_shape_options(op);
    if (!read_common(options, &fields) || !tkr_fields_bool(&normalize, &fields, "normalize") ||
        !read_dimensions(options, &fields) || !tkr_shape_one_vector(op, "/embed"))
        return false;
    options->normalize = normalize ? TKR_YES : TKR_NO;
    tkr_shape_share(op);
    return true;
}

static bool embed_render(tkr_operation *op) {
    tkr_buf *out = tkr_shape_result(op);
    tkr_buf_putc(out, '[');
    for (size_t i = 0; i < op->job.n_items; i++) {
        const tkr_job_item *item = &op->job.items[i];
        tkr_put_comma(out, i);
        if (op->job.kind == TKR_RESULT_TOKENS)
            tkr_put_rows(out, (tkr_form){0}, item);
        else
            tkr_put_vector(out, (tkr_form){0}, item->rows, item->dimensions);
    }
    tkr_buf_putc(out, ']');
    return tkr_shape_done(op);
}

#define COMMON_SCHEMA                                                                                                 \
    "\"truncate\":{\"type\":[\"boolean\",\"null\"]},\"truncation_direction\":{\"enum\":[\"Left\",\"left\",\"Right\"," \
    "\"right\"]},\"prompt_name\":{\"type\":[\"string\",\"null\"]}"
#define INPUTS_SCHEMA                                                                                     \
    TKR_SCHEMA({                                                                                          \
        "anyOf" : [                                                                                       \
            {"type" : "string", "minLength" : 1},                                                         \
            {"type" : "array", "minItems" : 1, "items" : {"type" : "integer", "minimum" : 0}}, {          \
                "type" : "array",                                                                         \
                "minItems" : 1,                                                                           \
                "items" : {                                                                               \
                    "anyOf" : [                                                                           \
                        {"type" : "string", "minLength" : 1},                                             \
                        {"type" : "array", "minItems" : 1, "items" : {"type" : "integer", "minimum" : 0}} \
                    ]                                                                                     \
                }                                                                                         \
            }                                                                                             \
        ]                                                                                                 \
    })

const tkr_handler tkr_handler_tei_embed = {
    .name = "tei_embed",
    .api = &tkr_api_tei,
    .body = TKR_BODY_JSON,
    .parse = embed_parse,
    .render = embed_render,
    .wants_model = true,
    .request_schema = "{\"type\":\"object\",\"required\":[\"inputs\"],\"properties\":{\"inputs\":" INPUTS_SCHEMA
                      "," COMMON_SCHEMA ",\"normalize\":{\"type\":\"boolean\",\"default\":true},"
                      "\"dimensions\":{\"type\":[\"integer\",\"null\"],\"minimum\":1}}}",
    .response_schema = TKR_SCHEMA({"type" : "array", "items" : {"type" : "array", "items" : {"type" : "number"}}}),
};

/* ---- POST /embed_all ---- */

static bool embed_all_parse(tkr_operation *op) {
    tkr_fields fields;
    const json_t *inputs;
    if (!tkr_tei_fields(&fields, op, op->body, "") || !tkr_fields_require(&inputs, &fields, "inputs") ||
        !tkr_shape_inputs(op, inputs, "inputs", TKR_READ_TEXT | TKR_READ_IDS, &tkr_tei_empty) || !tkr_tei_lengths(op) ||
        !read_common(tkr_shape_options(op), &fields))
        return false;
    tkr_shape_options(op)->normalize = TKR_NO;
    tkr_shape_share(op);
    op->job.kind = TKR_RESULT_TOKENS;
    return true;
}

const tkr_handler tkr_handler_tei_embed_all = {
    .name = "tei_embed_all",
    .api = &tkr_api_tei,
    .body = TKR_BODY_JSON,
    .parse = embed_all_parse,
    .render = embed_render,
    .wants_model = true,
    .request_schema = "{\"type\":\"object\",\"required\":[\"inputs\"],\"properties\":{\"inputs\":" INPUTS_SCHEMA
                      "," COMMON_SCHEMA "}}",
    .response_schema = TKR_SCHEMA(
        {"type" : "array", "items" : {"type" : "array", "items" : {"type" : "array", "items" : {"type" : "number"}}}}),
};

/* ---- POST /similarity ---- */

/* The source sentence, then the others. */
static bool take_sentences(tkr_operation *op, const tkr_fields *inputs) {
    const json_t *sentences;
    char path[64];
    if (!tkr_fields_require(&sentences, inputs, "sentences")) return false;
    if (!json_is_array(sentences))
        return tkr_fields_refuse(inputs, TKR_FAULT_TYPE, "sentences", "is %s, expected a list of strings",
                                 tkr_json_type_name(sentences));
    const size_t n = json_array_size(sentences);
    if (n == 0) return tkr_refuse(op, EMPTY, "inputs.sentences", "`inputs.sentences` cannot be empty");
    tkr_input *all = tkr_operation_fits(op, n + 1) ? tkr_operation_alloc(op, (n + 1) * sizeof *all) : NULL;
    if (!all || !tkr_shape_one_text(&all[0], op, tkr_fields_get(inputs, "source_sentence"), "inputs.source_sentence"))
        return false;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(path, sizeof path, "inputs.sentences[%zu]", i);
        if (!tkr_shape_one_text(&all[i + 1], op, json_array_get(sentences, i), path)) return false;
    }
    for (size_t i = 0; i <= n; i++)
        if (all[i].n_text == 0) return tkr_refuse(op, EMPTY, "inputs", "%s", tkr_tei_empty.item);
    return tkr_shape_take(op, all, n + 1, "inputs") && tkr_tei_lengths(op);
}

static bool similarity_parse(tkr_operation *op) {
    tkr_fields fields, inputs, parameters;
    if (!tkr_tei_fields(&fields, op, op->body, "")) return false;
    const tkr_fields nullable = tkr_tei_nullable(&fields);
    const json_t *given = tkr_fields_get(&nullable, "parameters"), *value;
    if (!tkr_fields_require(&value, &fields, "inputs") || !tkr_tei_fields(&inputs, op, value, "inputs.") ||
        !take_sentences(op, &inputs))
        return false;
    if (given &&
        (!tkr_tei_fields(&parameters, op, given, "parameters.") || !read_common(tkr_shape_options(op), &parameters)))
        return false;
    tkr_shape_options(op)->normalize = TKR_YES;
    tkr_shape_share(op);
    return tkr_shape_one_vector(op, "/similarity");
}

static bool similarity_render(tkr_operation *op) {
    const tkr_job_item *source = &op->job.items[0];
    tkr_buf *out = tkr_shape_result(op);
    tkr_buf_putc(out, '[');
    for (size_t i = 1; i < op->job.n_items; i++) {
        tkr_put_comma(out, i - 1);
        tkr_json_write_float(out, (float)tkr_cosine(source->rows, op->job.items[i].rows, source->dimensions));
    }
    tkr_buf_putc(out, ']');
    return tkr_shape_done(op);
}

const tkr_handler tkr_handler_tei_similarity = {
    .name = "tei_similarity",
    .api = &tkr_api_tei,
    .body = TKR_BODY_JSON,
    .parse = similarity_parse,
    .render = similarity_render,
    .wants_model = true,
    .request_schema =
        "{\"type\":\"object\",\"required\":[\"inputs\"],\"properties\":{\"inputs\":{\"type\":\"object\",\"required\":"
        "[\"source_sentence\",\"sentences\"],\"properties\":{\"source_sentence\":{\"type\":\"string\",\"minLength\":1},"
        "\"sentences\":{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"string\",\"minLength\":1}}}},"
        "\"parameters\":{\"type\":[\"object\",\"null\"],\"properties\":{" COMMON_SCHEMA "}}}}",
    .response_schema = TKR_SCHEMA({"type" : "array", "items" : {"type" : "number"}}),
};

/* ---- POST /rerank ---- */

static bool rerank_parse(tkr_operation *op) {
    tkr_fields fields;
    const char *query = NULL;
    const json_t *texts;
    if (!tkr_tei_fields(&fields, op, op->body, "") || !tkr_fields_require(&texts, &fields, "query") ||
        !tkr_fields_string(&query, &fields, "query") || !tkr_fields_require(&texts, &fields, "texts"))
        return false;
    if (!json_is_array(texts))
        return tkr_fields_refuse(&fields, TKR_FAULT_TYPE, "texts", "is %s, expected a list of strings",
                                 tkr_json_type_name(texts));
    if (json_array_size(texts) == 0) return tkr_refuse(op, EMPTY, "texts", "`texts` cannot be empty");
    return tkr_refuse(op, UNSUPPORTED, NULL, "Backend error: model is not a re-ranker model");
}

const tkr_handler tkr_handler_tei_rerank = {
    .name = "tei_rerank",
    .api = &tkr_api_tei,
    .body = TKR_BODY_JSON,
    .parse = rerank_parse,
    .wants_model = true,
    .request_schema = TKR_SCHEMA({
        "type" : "object",
        "required" : [ "query", "texts" ],
        "properties" :
            {"query" : {"type" : "string"},
             "texts" : {"type" : "array", "minItems" : 1, "items" : {"type" : "string"}}}
    }),
};
