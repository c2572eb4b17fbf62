/* SPDX-License-Identifier: Apache-2.0 */
/* routes/llama: llama-server's POST /embeddings with "content" (and /embedding), /tokenize and /detokenize. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "server/routes/shape.h"

/* ---- errors: {"error":{"code","message","type"}} ---- */

static const char *type_of(tkr_fault_kind kind) {
    switch (kind) {
    case TKR_FAULT_UNAUTHORIZED: return "authentication_error";
    case TKR_FAULT_FORBIDDEN: return "permission_error";
    case TKR_FAULT_NO_MODEL:
    case TKR_FAULT_NOT_FOUND: return "not_found_error";
    case TKR_FAULT_RATE:
    case TKR_FAULT_OVERLOADED:
    case TKR_FAULT_UNAVAILABLE: return "unavailable_error";
    case TKR_FAULT_INTERNAL:
    case TKR_FAULT_NUMERIC: return "server_error";
    default: return "invalid_request_error";
    }
}

static void error(tkr_operation *op) {
    size_t n_tokens, limit;
    const tkr_fault *fault = &op->fault;
    const unsigned own = tkr_fault_status(fault->kind), status = own == 422 ? 400 : own;
    char message[TKR_SHAPE_MESSAGE];
    tkr_buf *out = tkr_shape_reply(op, status);
    tkr_buf_printf(out, "{\"error\":{\"code\":%u,\"message\":", status);
    if (tkr_shape_too_long(&n_tokens, &limit, op)) {
        tkr_buf_printf(out,
                       "\"input (%zu tokens) is larger than the max context size (%zu tokens). skipping\","
                       "\"type\":\"exceed_context_size_error\",\"n_prompt_tokens\":%zu,\"n_ctx\":%zu}}",
                       n_tokens, limit, n_tokens, limit);
        return;
    }
    tkr_put_text(out, tkr_shape_message(message, op));
    tkr_buf_printf(out, ",\"type\":\"%s\"}}", type_of(fault->kind));
}

const tkr_api tkr_api_llama = {.name = "llama", .error = error, .any_content_type = true};

/* ---- inputs ---- */

static bool has_numbers(const json_t *list) {
    const json_t *value;
    size_t i;
    json_array_foreach(list, i, value) if (json_is_number(value)) return true;
    return false;
}

/* Appends the ids of a text inside of a list of ids, without the model's template: with special tokens around it only
 * where it begins the list. */
static bool append_text(tkr_buf *ids, tkr_operation *op, const json_t *value, const char *path, bool first) {
    tkr_input input;
    tkr_tokens tokens;
    if (!tkr_shape_one_text(&input, op, value, path) ||
        !tkr_shape_tokenize_alone(&tokens, op, input.text, input.n_text, first))
        return false;
    const bool good = tkr_buf_append(ids, tokens.ids, tokens.n * sizeof *tokens.ids);
    tkr_tokens_free(&tokens);
    return good || tkr_refuse(op, INTERNAL, NULL, "no memory for the request");
}

static bool append_id(tkr_buf *ids, tkr_operation *op, const json_t *value, const char *path) {
    const size_t most = op->model->info->vocab_size;
    const json_int_t number = json_integer_value(value);
    const int32_t id = (int32_t)number;
    if (!json_is_integer(value) || number < 0 || (uint64_t)number >= most)
        return tkr_refuse(op, VALUE, path, "%s: is no token id of the vocabulary (0 to %zu)", path, most - 1);
    return tkr_buf_append(ids, &id, sizeof id) || tkr_refuse(op, INTERNAL, NULL, "no memory for the request");
}

/* [12, "text", 34]: ids and texts of one input. */
static bool read_mixed(tkr_input *input, tkr_operation *op, const json_t *list, const char *path) {
    tkr_buf ids = {0};
    const json_t *value;
    char inside[96];
    size_t i;
    bool good = true;
    json_array_foreach(list, i, value) {
        (void)snprintf(inside, sizeof inside, "%s[%zu]", path, i);
        good =
            json_is_number(value) ? append_id(&ids, op, value, inside) : append_text(&ids, op, value, inside, i == 0);
        if (!good) break;
    }
    int32_t *kept = good ? tkr_operation_alloc(op, ids.size ? ids.size : 1) : NULL;
    if (kept && ids.size) memcpy(kept, ids.data, ids.size);
    *input = (tkr_input){.kind = TKR_INPUT_TOKENS, .ids = kept, .n_ids = ids.size / sizeof *kept};
    tkr_buf_free(&ids);
    return kept != NULL;
}

/* {"prompt_string": "... <__media__> ...", "multimodal_data": ["base64", ...]} */
static bool read_media(tkr_input *input, tkr_operation *op, const json_t *value, const char *path) {
    static const char marker[] = "<__media__>";
    const size_t n_marker = sizeof marker - 1;
    tkr_fields fields;
    tkr_input text;
    char inside[100], name[132];
    (void)snprintf(inside, sizeof inside, "%s.", path);
    if (!tkr_fields_of(&fields, op, value, inside)) return false;
    (void)snprintf(name, sizeof name, "%sprompt_string", inside);
    if (!tkr_shape_one_text(&text, op, tkr_fields_get(&fields, "prompt_string"), name)) return false;
    const json_t *data = tkr_fields_get(&fields, "multimodal_data");
    const size_t n = json_array_size(data);
    tkr_part *parts = tkr_operation_fits(op, n) ? tkr_operation_alloc(op, (2 * n + 1) * sizeof *parts) : NULL;
    if (!parts) return false;
    size_t n_parts = 0;
    const char *at = text.text, *end = at + text.n_text;
    for (size_t i = 0; i <= n; i++) {
        const char *next = i < n ? strstr(at, marker) : end;
        if (!next || (i == n && strstr(at, marker)))
            return tkr_fields_refuse(&fields, TKR_FAULT_VALUE, "prompt_string",
                                     "must hold \"%s\" once for each of the %zu of multimodal_data", marker, n);
        if (next > at) parts[n_parts++] = (tkr_part){.kind = TKR_PART_TEXT, .data = at, .n_data = (size_t)(next - at)};
        if (i == n) break;
        (void)snprintf(name, sizeof name, "%smultimodal_data[%zu]", inside, i);
        if (!tkr_shape_part(&parts[n_parts++], op, json_array_get(data, i), name, TKR_READ_BASE64 | TKR_READ_DATA_URI))
            return false;
        at = next + n_marker;
    }
    *input = n > 0 ? (tkr_input){.kind = TKR_INPUT_PARTS, .parts = parts, .n_parts = n_parts} : text;
    return true;
}

static bool read_prompt(tkr_input *input, tkr_operation *op, const json_t *value, const char *path) {
    if (json_is_object(value)) return read_media(input, op, value, path);
    return (json_is_array(value) ? read_mixed : tkr_shape_one_text)(input, op, value, path);
}

enum { MAX_NESTED = 8 }; /* lists of prompts in lists of prompts */

/* A list of prompts; what holds a number is one prompt, and so is what holds nothing. */
static bool is_list(const json_t *value) { return json_array_size(value) > 0 && !has_numbers(value); }

static size_t count_prompts(const json_t *value, unsigned depth) {
    const json_t *inner;
    size_t n = 0, i;
    if (!is_list(value) || depth == MAX_NESTED) return 1;
    json_array_foreach(value, i, inner) n += count_prompts(inner, depth + 1);
    return n;
}

/* Appends the prompts of `value` to inputs[*n]. */
static bool read_prompts(tkr_input *inputs, size_t *n, tkr_operation *op, const json_t *value, const char *path,
                         unsigned depth) {
    const json_t *inner;
    char inside[64];
    size_t i;
    if (!is_list(value)) return read_prompt(&inputs[(*n)++], op, value, path);
    if (depth == MAX_NESTED) return tkr_refuse(op, TYPE, path, "%s: lists of more than %d levels", path, MAX_NESTED);
    json_array_foreach(value, i, inner) {
        (void)snprintf(inside, sizeof inside, "%s[%zu]", path, i);
        if (!read_prompts(inputs, n, op, inner, inside, depth + 1)) return false;
    }
    return true;
}

static bool take_prompts(tkr_operation *op, const json_t *value, const char *name) {
    const bool none = json_is_array(value) && json_array_size(value) == 0;
    const size_t most = none ? 0 : count_prompts(value, 0);
    size_t n = 0;
    tkr_input *inputs =
        tkr_operation_fits(op, most) ? tkr_operation_alloc(op, (most ? most : 1) * sizeof *inputs) : NULL;
    if (!inputs || (!none && !read_prompts(inputs, &n, op, value, name, 0))) return false;
    for (size_t i = 0; i < n; i++)
        if (inputs[i].n_text == 0 && inputs[i].n_ids == 0 && inputs[i].n_parts == 0)
            return tkr_refuse(op, EMPTY, name, "Input content cannot be empty");
    return n > 0 ? tkr_shape_take(op, inputs, n, name) : tkr_refuse(op, EMPTY, name, "Input content cannot be empty");
}

/* ---- POST /embeddings, /embedding, and /v1/embeddings ---- */

typedef struct llama_state {
    int64_t norm;
    tkr_form form;
    tkr_list_form list; /* n 0: llama-server's own list, else OpenAI's */
} llama_state;

static bool read_format(tkr_form *form, const tkr_fields *fields) {
    return tkr_shape_format(form, fields, "encoding_format") ||
           tkr_refuse(fields->op, VALUE, "encoding_format",
                      "The format to return the embeddings in. Can be either float or base64");
}

static bool embeddings_parse(tkr_operation *op) {
    tkr_fields fields;
    llama_state *state = tkr_operation_alloc(op, sizeof *state);
    if (!state || !tkr_fields_of(&fields, op, op->body, "")) return false;
    const json_t *input = tkr_fields_get(&fields, "input"), *content = tkr_fields_get(&fields, "content");
    const bool listed = !content && op->route && strcmp(op->route->path, "/v1/embeddings") == 0;
    state->norm = 2;
    if (!input && !content) return tkr_refuse(op, TYPE, NULL, "\"input\" or \"content\" must be provided");
    if (!take_prompts(op, input ? input : content, input ? "input" : "content") ||
        !tkr_fields_integer(&state->norm, &fields, "embd_normalize", -1, INT32_MAX) ||
        !read_format(&state->form, &fields))
        return false;
    if (!tkr_shape_dimensions(tkr_shape_options(op), &fields, "dimensions")) return false;
    if (listed && op->model->info->multi_vector)
        return tkr_refuse(op, VALUE, "model",
                          "Pooling type 'none' is not OAI compatible. Please use a different pooling type");
    tkr_shape_options(op)->normalize = state->norm == 2 ? TKR_YES : TKR_NO;
    tkr_shape_share(op);
    state->list = (tkr_list_form){.forms = &state->form, .n = listed, .named = true, .model = op->model_name};
    op->state = state;
    return true;
}

/* What the row is divided by: -1 nothing, 0 the largest value (to 32760), else a p-norm. */
static double row_norm(const float *row, size_t n, int64_t norm) {
    double sum = 0;
    if (norm < 0 || norm == 2) return 1;
    for (size_t i = 0; i < n; i++) {
        const double value = fabs((double)row[i]);
        sum = norm == 0 ? fmax(sum, value) : sum + pow(value, (double)norm);
    }
    return norm == 0 ? sum / 32760 : pow(sum, 1 / (double)norm);
}

static void scale_rows(const tkr_job_item *item, int64_t norm) {
    for (size_t r = 0; r < item->n_rows; r++) {
        float *row = item->rows + r * item->dimensions;
        const double by = row_norm(row, item->dimensions, norm);
        for (size_t k = 0; by > 0 && by != 1 && k < item->dimensions; k++) row[k] = (float)(row[k] / by);
    }
}

static bool embeddings_render(tkr_operation *op) {
    const llama_state *state = op->state;
    for (size_t i = 0; i < op->job.n_items; i++) scale_rows(&op->job.items[i], state->norm);
    if (state->list.n > 0) return tkr_list_render(op, &state->list);
    tkr_buf *out = tkr_shape_result(op);
    tkr_buf_putc(out, '[');
    for (size_t i = 0; i < op->job.n_items; i++) {
        const tkr_job_item *item = &op->job.items[i];
        tkr_put_comma(out, i);
        tkr_buf_printf(out, "{\"index\":%zu,\"embedding\":", i);
        tkr_put_rows(out, state->form, item);
        tkr_buf_putc(out, '}');
    }
    tkr_buf_putc(out, ']');
    return tkr_shape_done(op);
}

const tkr_handler tkr_handler_llama_embeddings = {
    .name = "llama_embeddings",
    .api = &tkr_api_llama,
    .body = TKR_BODY_JSON,
    .parse = embeddings_parse,
    .render = embeddings_render,
    .wants_model = true,
    .request_schema = TKR_SCHEMA({
        "type" : "object",
        "anyOf" : [ {"required" : ["content"]}, {"required" : ["input"]} ],
        "properties" : {
            "content" : {
                "description" : "A text, token ids, both mixed, a picture with its text, or a list of such.",
                "anyOf" : [
                    {"type" : "string", "minLength" : 1}, {"type" : "array", "minItems" : 1}, {
                        "type" : "object",
                        "required" : ["prompt_string"],
                        "properties" : {
                            "prompt_string" : {"type" : "string"},
                            "multimodal_data" : {"type" : "array", "items" : {"type" : "string"}}
                        }
                    }
                ]
            },
            "input" : {"description" : "the same as content; on /v1/embeddings the reply is then OpenAI's list"},
            "encoding_format" : {"enum" : [ "float", "base64" ], "default" : "float"},
            "dimensions" : {"type" : "integer", "minimum" : 1},
            "embd_normalize" : {
                "type" : "integer",
                "minimum" : -1,
                "default" : 2,
                "description" : "-1 none, 0 largest value to 32760, 2 length 1, else p-norm"
            }
        }
    }),
    .response_schema = TKR_SCHEMA({
        "type" : "array",
        "items" : {
            "type" : "object",
            "required" : [ "index", "embedding" ],
            "properties" : {
                "index" : {"type" : "integer"},
                "embedding" : {
                    "type" : "array",
                    "items" :
                        {"anyOf" : [ {"type" : "array", "items" : {"type" : "number"}}, {"type" : "string"} ]}
                }
            }
        }
    }),
};

/* ---- POST /tokenize, /detokenize ---- */

enum { MAX_WINDOW = 16 }; /* ids that are decoded together: no two characters have as many */

/* Pieces are what each id adds to the text of those before it, so that they join to the text of all. The ids of one
 * character before say enough: whether a word begins. */
typedef struct piece_reader {
    tkr_operation *op;
    const tkr_tokens *tokens;
    size_t from;  /* the first id of the window */
    size_t begin; /* the first id whose piece isn't written */
    char *said;   /* the text of ids from..begin, or NULL */
    size_t n_said;
} piece_reader;

/* The next id has a part of this one's character, too. */
static bool is_unfinished(const tkr_tokens *tokens, size_t i, const char *text, size_t n) {
    return i + 1 < tokens->n && !tokens->special[i + 1] && tokens->offsets[2 * (i + 1)] < tokens->offsets[2 * i + 1] &&
           n >= 3 && memcmp(text + n - 3, "\xEF\xBF\xBD", 3) == 0;
}

static size_t n_common(const piece_reader *r, const char *text, size_t n) {
    size_t k = 0;
    while (k < r->n_said && k < n && r->said[k] == text[k]) k++;
    while (k > 0 && k < n && ((unsigned char)text[k] & 0xC0) == 0x80) k--; /* whole characters */
    return k;
}

/* A character of several ids is the piece of its last one; those of the others are empty. */
static bool put_piece(tkr_buf *out, piece_reader *r, size_t i) {
    const int32_t *ids = r->tokens->ids;
    char *text = NULL;
    size_t n = 0;
    if (!tkr_shape_text_of(&text, &n, r->op, ids + r->from, i + 1 - r->from, false)) return false;
    const bool unfinished = i - r->from < MAX_WINDOW && is_unfinished(r->tokens, i, text, n);
    const size_t said = unfinished ? n : n_common(r, text, n);
    tkr_json_write_string(out, text + said, n - said);
    tkr_text_free(&text);
    if (unfinished) return true;
    r->from = r->begin;
    r->begin = i + 1;
    tkr_text_free(&r->said);
    return tkr_shape_text_of(&r->said, &r->n_said, r->op, ids + r->from, r->begin - r->from, false);
}

static bool put_tokens(tkr_buf *out, tkr_operation *op, const tkr_tokens *tokens, bool pieces) {
    piece_reader reader = {.op = op, .tokens = tokens};
    bool good = true;
    for (size_t i = 0; good && i < tokens->n; i++) {
        tkr_put_comma(out, i);
        tkr_buf_printf(out, pieces ? "{\"id\":%d,\"piece\":" : "%d", (int)tokens->ids[i]);
        if (!pieces) continue;
        good = put_piece(out, &reader, i);
        tkr_buf_putc(out, '}');
    }
    tkr_text_free(&reader.said);
    return good;
}

static bool tokenize_parse(tkr_operation *op) {
    tkr_fields fields;
    tkr_input input;
    tkr_tokens tokens = {0};
    bool special = false, pieces = false;
    if (!tkr_fields_of(&fields, op, op->body, "") || !tkr_fields_bool(&special, &fields, "add_special") ||
        !tkr_fields_bool(&pieces, &fields, "with_pieces"))
        return false;
    const json_t *content = tkr_fields_get(&fields, "content");
    if (content && (!tkr_shape_one_text(&input, op, content, "content") ||
                    !tkr_shape_tokenize_alone(&tokens, op, input.text, input.n_text, special)))
        return false;
    tkr_buf *out = tkr_shape_reply(op, 200);
    tkr_buf_printf(out, "{\"tokens\":[");
    const bool good = put_tokens(out, op, &tokens, pieces);
    tkr_buf_printf(out, "]}");
    tkr_tokens_free(&tokens);
    return good && tkr_shape_done(op);
}

const tkr_handler tkr_handler_llama_tokenize = {
    .name = "llama_tokenize",
    .api = &tkr_api_llama,
    .body = TKR_BODY_JSON,
    .parse = tokenize_parse,
    .wants_model = true,
    .request_schema = TKR_SCHEMA({
        "type" : "object",
        "required" : ["content"],
        "properties" : {
            "content" : {"type" : "string"},
            "add_special" : {"type" : "boolean", "default" : false},
            "with_pieces" : {"type" : "boolean", "default" : false}
        }
    }),
    .response_schema =
        TKR_SCHEMA({"type" : "object", "required" : ["tokens"], "properties" : {"tokens" : {"type" : "array"}}}),
};

static bool detokenize_parse(tkr_operation *op) {
    static const tkr_shape_empty fine = {NULL, NULL};
    tkr_fields fields;
    if (!tkr_fields_of(&fields, op, op->body, "")) return false;
    const json_t *tokens = tkr_fields_get(&fields, "tokens");
    if (tokens && !tkr_shape_inputs(op, tokens, "tokens", TKR_READ_IDS, &fine)) return false;
    if (op->job.n_items > 1 || json_is_array(json_array_get(tokens, 0)))
        return tkr_refuse(op, TYPE, "tokens", "tokens: expected a list of token ids");
    const tkr_input *input = op->job.n_items ? &op->job.items[0].input : &(tkr_input){0};
    tkr_buf *out = tkr_shape_reply(op, 200);
    tkr_buf_printf(out, "{\"content\":");
    if (!tkr_shape_decode(out, op, input->ids, input->n_ids, false)) return false;
    tkr_buf_putc(out, '}');
    return tkr_shape_done(op);
}

const tkr_handler tkr_handler_llama_detokenize = {
    .name = "llama_detokenize",
    .api = &tkr_api_llama,
    .body = TKR_BODY_JSON,
    .parse = detokenize_parse,
    .wants_model = true,
    .request_schema = TKR_SCHEMA({
        "type" : "object",
        "properties" : {"tokens" : {"type" : "array", "items" : {"type" : "integer", "minimum" : 0}}}
    }),
    .response_schema =
        TKR_SCHEMA({"type" : "object", "required" : ["content"], "properties" : {"content" : {"type" : "string"}}}),
};
