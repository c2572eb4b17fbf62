/* SPDX-License-Identifier: Apache-2.0 */
/* routes/voyage: POST /v1/embeddings with Voyage's fields, and POST /v1/multimodalembeddings.
 * input_type chooses the checkpoint's prompt: query -> "search_query", "query" or "retrieval.query"; document ->
 * "search_document", "document", "passage", "retrieval.passage" or "corpus"; null, and checkpoints without such a
 * prompt: the server's default. */
#include <stdio.h>
#include <string.h>

#include "server/routes/shape.h"

/* ---- errors: {"detail"} ---- */

static void error(tkr_operation *op) {
    const unsigned status = tkr_fault_status(op->fault.kind);
    /* Its client knows no other status of a mistake. */
    const bool mistake = status == 404 || status == 413 || status == 415 || status == 422;
    tkr_shape_detail(op, mistake ? 400 : status);
}

const tkr_api tkr_api_voyage = {.name = "voyage", .error = error};

/* ---- requests ---- */

/* Its client sends encoding_format on both routes; what the multimodal one calls output_encoding comes first. */
static bool read_form(tkr_form *form, const tkr_fields *fields, bool multimodal) {
    static const char *const types[] = {"float", "int8", "uint8", "binary", "ubinary", NULL};
    static const tkr_wire_type wire[] = {TKR_WIRE_FLOAT, TKR_WIRE_INT8, TKR_WIRE_UINT8, TKR_WIRE_BINARY,
                                         TKR_WIRE_UBINARY};
    size_t type = 0;
    if (!tkr_fields_word(&type, fields, "output_dtype", types) || !tkr_shape_format(form, fields, "encoding_format") ||
        (multimodal && !tkr_shape_format(form, fields, "output_encoding")))
        return false;
    form->type = wire[type];
    return true;
}

/* output_dimension, or OpenAI's name for it. */
static bool read_dimensions(tkr_embed_options *options, const tkr_fields *fields) {
    size_t other = 0;
    if (!tkr_shape_dimensions(options, fields, "output_dimension") ||
        !tkr_fields_count(&other, fields, "dimensions", 1, fields->op->model->info->dimensions))
        return false;
    if (other && options->dimensions && other != options->dimensions)
        return tkr_fields_refuse(fields, TKR_FAULT_VALUE, "dimensions", "is %zu, but output_dimension is %zu", other,
                                 options->dimensions);
    if (other) options->dimensions = other;
    return true;
}

/* What both routes have. */
static bool read_common(tkr_operation *op, const tkr_fields *fields, bool multimodal) {
    static const char *const types[] = {"query", "document", NULL};
    tkr_form *form = tkr_operation_alloc(op, sizeof *form);
    tkr_embed_options *options = tkr_shape_options(op);
    size_t type = SIZE_MAX;
    if (!form || !read_form(form, fields, multimodal) || !tkr_fields_word(&type, fields, "input_type", types) ||
        !tkr_shape_truncate(options, fields, "truncation") || !read_dimensions(options, fields) ||
        !tkr_shape_one_vector(op, "Voyage's API"))
        return false;
    if (type != SIZE_MAX) tkr_shape_prompt(options, op, type == 0 ? tkr_shape_query : tkr_shape_document);
    options->normalize = TKR_YES;
    tkr_shape_share(op);
    op->state = form;
    return true;
}

static bool embeddings_parse(tkr_operation *op) {
    static const tkr_shape_empty empty = {"input: is an empty list", "input: an empty text has no embedding"};
    tkr_fields fields;
    const json_t *input;
    return tkr_fields_of(&fields, op, op->body, "") && tkr_fields_require(&input, &fields, "input") &&
           tkr_shape_inputs(op, input, "input", TKR_READ_TEXT | TKR_READ_IDS, &empty) &&
           read_common(op, &fields, false);
}

static bool embeddings_render(tkr_operation *op) {
    return tkr_list_render(op, &(tkr_list_form){.forms = op->state, .n = 1});
}

#define COMMON_SCHEMA                                                                                                 \
    "\"model\":{\"type\":\"string\"},\"input_type\":{\"enum\":[null,\"query\",\"document\"]},"                        \
    "\"truncation\":{\"type\":[\"boolean\",\"null\"]},\"output_dimension\":{\"type\":[\"integer\",\"null\"],"         \
    "\"minimum\":1},\"dimensions\":{\"type\":[\"integer\",\"null\"],\"minimum\":1},\"output_dtype\":{\"enum\":[null," \
    "\"float\",\"int8\",\"uint8\",\"binary\",\"ubinary\"]}"
#define LIST_SCHEMA                                                    \
    TKR_SCHEMA({                                                       \
        "type" : "object",                                             \
        "required" : [ "object", "data", "model", "usage" ],           \
        "properties" : {                                               \
            "object" : {"const" : "list"},                             \
            "data" : {                                                 \
                "type" : "array",                                      \
                "items" : {                                            \
                    "type" : "object",                                 \
                    "required" : [ "object", "index", "embedding" ],   \
                    "properties" : {                                   \
                        "object" : {"const" : "embedding"},            \
                        "index" : {"type" : "integer"},                \
                        "embedding" : {"type" : [ "array", "string" ]} \
                    }                                                  \
                }                                                      \
            },                                                         \
            "model" : {"type" : "string"},                             \
            "usage" : {"type" : "object"}                              \
        }                                                              \
    })

const tkr_handler tkr_handler_voyage_embeddings = {
    .name = "voyage_embeddings",
    .api = &tkr_api_voyage,
    .body = TKR_BODY_JSON,
    .parse = embeddings_parse,
    .render = embeddings_render,
    .wants_model = true,
    .request_schema =
        "{\"type\":\"object\",\"required\":[\"input\"],\"properties\":{\"input\":{\"anyOf\":[{\"type\":"
        "\"string\",\"minLength\":1},{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"string\","
        "\"minLength\":1}}]}," COMMON_SCHEMA ",\"encoding_format\":{\"enum\":[null,\"float\",\"base64\"]}}}",
    .response_schema = LIST_SCHEMA,
};

/* ---- POST /v1/multimodalembeddings ---- */

static bool has_content(tkr_operation *op) {
    for (size_t i = 0; i < op->job.n_items; i++) {
        const tkr_input *input = &op->job.items[i].input;
        char param[64];
        (void)snprintf(param, sizeof param, "inputs[%zu]", i);
        if (input->n_parts == 0 && input->n_text == 0)
            return tkr_refuse(op, EMPTY, param, "%s: an empty text has no embedding", param);
    }
    return true;
}

static bool multimodal_parse(tkr_operation *op) {
    tkr_fields fields;
    const json_t *inputs;
    size_t n_images = 0;
    return tkr_fields_of(&fields, op, op->body, "") && tkr_fields_require(&inputs, &fields, "inputs") &&
           tkr_shape_contents(op, &n_images, inputs) && has_content(op) && read_common(op, &fields, true);
}

/* Pictures are counted in pixels where this request decoded them; their tokens are in the total. */
static bool multimodal_render(tkr_operation *op) {
    size_t text_tokens = 0, pixels = 0;
    for (size_t i = 0; i < op->job.n_items; i++) {
        const tkr_job_item *item = &op->job.items[i];
        for (size_t k = 0; k < item->input.n_parts; k++) {
            const tkr_part *part = &item->input.parts[k];
            if (part->kind == TKR_PART_RGB) pixels += part->width * part->height;
        }
    }
    if (!tkr_shape_text_tokens(&text_tokens, op)) return false;
    tkr_buf *out = tkr_list_begin(op, &(tkr_list_form){.forms = op->state, .n = 1});
    tkr_buf_printf(out, "{\"text_tokens\":%zu,\"image_pixels\":%zu,\"video_pixels\":0,\"total_tokens\":%zu}}",
                   text_tokens, pixels, tkr_shape_tokens(op));
    return tkr_shape_done(op);
}

const tkr_handler tkr_handler_voyage_multimodal = {
    .name = "voyage_multimodal",
    .api = &tkr_api_voyage,
    .body = TKR_BODY_JSON,
    .parse = multimodal_parse,
    .render = multimodal_render,
    .wants_model = true,
    .request_schema =
        "{\"type\":\"object\",\"required\":[\"inputs\"],\"properties\":{\"inputs\":{\"type\":\"array\",\"minItems\":1,"
        "\"items\":{\"type\":\"object\",\"required\":[\"content\"],\"properties\":{\"content\":{\"type\":\"array\","
        "\"minItems\":1,\"items\":{\"oneOf\":[{\"type\":\"object\",\"required\":[\"type\",\"text\"],\"properties\":{"
        "\"type\":{\"const\":\"text\"},\"text\":{\"type\":\"string\"}}},{\"type\":\"object\",\"required\":[\"type\","
        "\"image_url\"],\"properties\":{\"type\":{\"const\":\"image_url\"},\"image_url\":{\"type\":\"string\"}}},"
        "{\"type\":\"object\",\"required\":[\"type\",\"image_base64\"],\"properties\":{\"type\":{\"const\":"
        "\"image_base64\"},\"image_base64\":{\"type\":\"string\"}}}]}}}}}," COMMON_SCHEMA
        ",\"encoding_format\":{\"enum\":[null,\"float\",\"base64\"]},\"output_encoding\":{\"enum\":[null,\"float\","
        "\"base64\"]}}}",
    .response_schema = LIST_SCHEMA,
};
