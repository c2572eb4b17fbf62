/* SPDX-License-Identifier: Apache-2.0 */
/* routes/tei_tokens: /tokenize and /decode of Text Embeddings Inference. */
#include <inttypes.h>
#include <string.h>

#include "server/routes/tei.h"

/* ---- POST /tokenize ---- */

static void put_token(tkr_buf *out, const tkr_operation *op, const tkr_tokens *tokens, size_t i, const tkr_buf *text) {
    const int32_t id = tokens->ids[i];
    const uint64_t start = tokens->offsets[2 * i], stop = tokens->offsets[2 * i + 1];
    tkr_put_comma(out, i);
    tkr_buf_printf(out, "{\"id\":%" PRId32 ",\"text\":", id);
    if (tokens->special[i]) {
        const char *piece = tkr_tokenizer_piece(op->model->tokenizer, id);
        tkr_put_text(out, piece ? piece : "");
        tkr_buf_printf(out, ",\"special\":true,\"start\":null,\"stop\":null}");
        return;
    }
    tkr_json_write_string(out, text->data + start, (size_t)(stop - start));
    tkr_buf_printf(out, ",\"special\":false,\"start\":%" PRIu64 ",\"stop\":%" PRIu64 "}", start, stop);
}

static bool put_tokens(tkr_buf *out, tkr_operation *op, const tkr_input *input, const tkr_embed_options *options) {
    tkr_tokens tokens;
    tkr_buf text = {0};
    tkr_error error;
    if (!tkr_shape_tokenize(&tokens, op, input, options)) return false;
    const tkr_status status = tkr_tools_text(&text, op->model->tokenizer, input, options, &error);
    if (status == TKR_OK) {
        tkr_buf_putc(out, '[');
        for (size_t i = 0; i < tokens.n; i++) put_token(out, op, &tokens, i, &text);
        tkr_buf_putc(out, ']');
    } else {
        tkr_refuse_with(op, tkr_fault_of_status(status), NULL, "%s", error.message);
    }
    tkr_buf_free(&text);
    tkr_tokens_free(&tokens);
    return status == TKR_OK;
}

static bool tokenize_parse(tkr_operation *op) {
    static const tkr_shape_empty empty = {"`inputs` cannot be empty", NULL};
    tkr_fields fields;
    const json_t *inputs;
    bool special = true;
    if (!tkr_tei_fields(&fields, op, op->body, "") || !tkr_fields_require(&inputs, &fields, "inputs") ||
        !tkr_shape_inputs(op, inputs, "inputs", TKR_READ_TEXT, &empty) || !tkr_tei_lengths(op) ||
        !tkr_fields_bool(&special, &fields, "add_special_tokens"))
        return false;
    tkr_embed_options *options = tkr_shape_options(op);
    const tkr_fields nullable = tkr_tei_nullable(&fields);
    if (!tkr_fields_string(&options->prompt_name, &nullable, "prompt_name")) return false;
    options->special_tokens = special ? TKR_DEFAULT : TKR_NO;
    tkr_buf *out = tkr_shape_reply(op, 200);
    tkr_buf_putc(out, '[');
    for (size_t i = 0; i < op->job.n_items; i++) {
        tkr_put_comma(out, i);
        if (!put_tokens(out, op, &op->job.items[i].input, options)) return false;
    }
    tkr_buf_putc(out, ']');
    return tkr_shape_done(op);
}

const tkr_handler tkr_handler_tei_tokenize = {
    .name = "tei_tokenize",
    .api = &tkr_api_tei,
    .body = TKR_BODY_JSON,
    .parse = tokenize_parse,
    .wants_model = true,
    .request_schema = TKR_SCHEMA({
        "type" : "object",
        "required" : ["inputs"],
        "properties" : {
            "inputs" :
                {"anyOf" : [ {"type" : "string"}, {"type" : "array", "minItems" : 1, "items" : {"type" : "string"}} ]},
            "add_special_tokens" : {"type" : "boolean", "default" : true},
            "prompt_name" : {"type" : [ "string", "null" ]}
        }
    }),
    .response_schema = TKR_SCHEMA({
        "type" : "array",
        "items" : {
            "type" : "array",
            "items" : {
                "type" : "object",
                "required" : [ "id", "text", "special", "start", "stop" ],
                "properties" : {
                    "id" : {"type" : "integer"},
                    "text" : {"type" : "string"},
                    "special" : {"type" : "boolean"},
                    "start" : {"type" : [ "integer", "null" ], "description" : "byte of the UTF-8 text"},
                    "stop" : {"type" : [ "integer", "null" ]}
                }
            }
        }
    }),
};

/* ---- POST /decode ---- */

static bool decode_parse(tkr_operation *op) {
    static const tkr_shape_empty empty = {"`ids` cannot be empty", "`input_ids` cannot be empty"};
    tkr_fields fields;
    const json_t *ids;
    bool skip = true;
    if (!tkr_tei_fields(&fields, op, op->body, "") || !tkr_fields_require(&ids, &fields, "ids") ||
        !tkr_shape_inputs(op, ids, "ids", TKR_READ_IDS, &empty) ||
        !tkr_fields_bool(&skip, &fields, "skip_special_tokens"))
        return false;
    tkr_buf *out = tkr_shape_reply(op, 200);
    tkr_buf_putc(out, '[');
    for (size_t i = 0; i < op->job.n_items; i++) {
        const tkr_input *input = &op->job.items[i].input;
        tkr_put_comma(out, i);
        if (!tkr_shape_decode(out, op, input->ids, input->n_ids, skip)) return false;
    }
    tkr_buf_putc(out, ']');
    return tkr_shape_done(op);
}

const tkr_handler tkr_handler_tei_decode = {
    .name = "tei_decode",
    .api = &tkr_api_tei,
    .body = TKR_BODY_JSON,
    .parse = decode_parse,
    .wants_model = true,
    .request_schema = TKR_SCHEMA({
        "type" : "object",
        "required" : ["ids"],
        "properties" : {
            "ids" : {
                "anyOf" : [
                    {"type" : "array", "minItems" : 1, "items" : {"type" : "integer", "minimum" : 0}}, {
                        "type" : "array",
                        "minItems" : 1,
                        "items" : {"type" : "array", "minItems" : 1, "items" : {"type" : "integer", "minimum" : 0}}
                    }
                ]
            },
            "skip_special_tokens" : {"type" : "boolean", "default" : true}
        }
    }),
    .response_schema = TKR_SCHEMA({"type" : "array", "items" : {"type" : "string"}}),
};
