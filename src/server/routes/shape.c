/* SPDX-License-Identifier: Apache-2.0 */
/* routes/shape: requests and replies of the APIs of others, as far as they are alike. */
#include "server/routes/shape.h"

#include <stdio.h>
#include <string.h>

#include "core/utf8.h"

/* ---- requests ---- */

bool tkr_shape_take(tkr_operation *op, const tkr_input *inputs, size_t n, const char *name) {
    tkr_job_item *items = tkr_operation_items(op, n);
    if (!items) return false;
    const bool foreign = op->handler->api != &tkr_api_native; /* our own routes have asked already */
    char param[64];
    op->items_name = name;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(param, sizeof param, n == 1 ? "%s" : "%s[%zu]", name, i);
        if (foreign && op->model->info->modalities && !tkr_read_fits(op, &inputs[i], param)) {
            op->fault.kind = TKR_FAULT_VALUE; /* a 400 in all of these APIs */
            return false;
        }
        const tkr_embed_options *options = items[i].input.options;
        items[i].input = inputs[i];
        items[i].input.options = options;
    }
    return true;
}

bool tkr_shape_inputs(tkr_operation *op, const json_t *value, const char *name, unsigned allow,
                      const tkr_shape_empty *empty) {
    tkr_input *inputs;
    size_t n;
    bool single;
    char param[64];
    if (!tkr_read_inputs(&inputs, &n, &single, op, value, name, allow | TKR_READ_NONE_OK)) return false;
    if (n == 0 && empty->list) return tkr_refuse(op, EMPTY, name, "%s", empty->list);
    for (size_t i = 0; i < n && empty->item; i++) {
        if (inputs[i].kind == TKR_INPUT_TOKENS ? inputs[i].n_ids > 0 : inputs[i].n_text > 0) continue;
        (void)snprintf(param, sizeof param, single ? "%s" : "%s[%zu]", name, i);
        return tkr_refuse(op, EMPTY, param, "%s", empty->item);
    }
    return tkr_shape_take(op, inputs, n, name);
}

tkr_embed_options *tkr_shape_options(tkr_operation *op) { return &op->job.items[0].options; }

void tkr_shape_share(tkr_operation *op) {
    for (size_t i = 1; i < op->job.n_items; i++) op->job.items[i].options = op->job.items[0].options;
}

bool tkr_shape_truncate(tkr_embed_options *options, const tkr_fields *fields, const char *name) {
    bool cut = options->truncate != TKR_TRUNCATE_ERROR;
    if (!tkr_fields_bool(&cut, fields, name)) return false;
    options->truncate = cut ? TKR_TRUNCATE_RIGHT : TKR_TRUNCATE_ERROR;
    return true;
}

bool tkr_shape_dimensions(tkr_embed_options *options, const tkr_fields *fields, const char *name) {
    return tkr_fields_count(&options->dimensions, fields, name, 1, fields->op->model->info->dimensions);
}

bool tkr_shape_format(tkr_form *form, const tkr_fields *fields, const char *name) {
    static const char *const formats[] = {"float", "base64", NULL};
    size_t format = form->base64;
    if (!tkr_fields_word(&format, fields, name, formats)) return false;
    form->base64 = format == 1;
    return true;
}

const char *const tkr_shape_query[] = {"search_query", "query", "retrieval.query", NULL};
const char *const tkr_shape_document[] = {"search_document",   "document", "passage",
                                          "retrieval.passage", "corpus",   NULL};

void tkr_shape_prompt(tkr_embed_options *options, const tkr_operation *op, const char *const *names) {
    const tkr_model_info *info = op->model->info;
    for (; *names; names++) {
        for (size_t i = 0; i < info->n_prompts; i++) {
            if (strcmp(info->prompts[i].name, *names) != 0) continue;
            options->prompt_name = *names;
            return;
        }
    }
}

bool tkr_shape_one_vector(tkr_operation *op, const char *api) {
    if (!op->model->info->multi_vector) return true;
    return tkr_refuse(
        op, UNSUPPORTED, "model",
        "the model \"%.100s\" gives one vector a token, which %s has no place for; use POST /embed/text, or "
        "Jina's \"return_multivector\": true on POST /v1/embeddings",
        op->model->name, api);
}

/* ---- contents ---- */

bool tkr_shape_one_text(tkr_input *input, tkr_operation *op, const json_t *value, const char *path) {
    if (!json_is_string(value))
        return tkr_refuse(op, TYPE, path, "%s: is %s, expected a string", path, tkr_json_type_name(value));
    *input = (tkr_input){.kind = TKR_INPUT_TEXT, .text = json_string_value(value), .n_text = json_string_length(value)};
    op->n_characters += tkr_utf8_count(input->text, input->n_text);
    return true;
}

bool tkr_shape_part(tkr_part *part, tkr_operation *op, const json_t *value, const char *path, unsigned allow) {
    if (!json_is_string(value))
        return tkr_refuse(op, TYPE, path, "%s: is %s, expected a string", path, tkr_json_type_name(value));
    return tkr_read_picture(part, op, json_string_value(value), json_string_length(value), path, allow);
}

bool tkr_shape_picture(tkr_input *input, tkr_operation *op, const json_t *value, const char *path, unsigned allow) {
    tkr_part *part = tkr_operation_alloc(op, sizeof *part);
    *input = (tkr_input){.kind = TKR_INPUT_PARTS, .parts = part, .n_parts = 1};
    return part && tkr_shape_part(part, op, value, path, allow);
}

/* "image_url" holds a text, or an object with one as "url". */
static bool read_image(tkr_part *part, const tkr_fields *fields, const char *field) {
    const json_t *value;
    char param[64];
    if (!tkr_fields_require(&value, fields, field)) return false;
    const bool nested = json_is_object(value);
    (void)snprintf(param, sizeof param, "%s%s%s", fields->path, field, nested ? ".url" : "");
    return tkr_shape_part(part, fields->op, nested ? json_object_get(value, "url") : value, param,
                          TKR_READ_DATA_URI | TKR_READ_URL);
}

static bool read_piece(tkr_part *part, tkr_operation *op, const json_t *value, const char *path) {
    static const char *const types[] = {"text", "image_url", "image_base64", NULL};
    tkr_fields fields;
    tkr_input input = {0};
    const char *type = NULL;
    char inside[100], param[108];
    (void)snprintf(inside, sizeof inside, "%s.", path);
    if (!tkr_fields_of(&fields, op, value, inside) || !tkr_fields_string(&type, &fields, "type")) return false;
    if (type && strncmp(type, "video", 5) == 0)
        return tkr_fields_refuse(&fields, TKR_FAULT_UNSUPPORTED, "type",
                                 "\"%.40s\": this server reads no videos in this API", type);
    size_t which = SIZE_MAX;
    if (!tkr_fields_word(&which, &fields, "type", types)) return false;
    if (which == SIZE_MAX) return tkr_fields_refuse(&fields, TKR_FAULT_TYPE, "type", "is missing");
    if (which > 0) return read_image(part, &fields, types[which]);
    (void)snprintf(param, sizeof param, "%stext", inside);
    if (!tkr_shape_one_text(&input, op, tkr_fields_get(&fields, "text"), param)) return false;
    *part = (tkr_part){.kind = TKR_PART_TEXT, .data = input.text, .n_data = input.n_text};
    return true;
}

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* Makes one text of the n that begin at parts[0], a blank between two that have none there. */
static bool join_texts(tkr_part *out, tkr_operation *op, const tkr_part *parts, size_t n) {
    size_t size = 0, used = 0;
    for (size_t i = 0; i < n; i++) size += parts[i].n_data + 1;
    char *text = tkr_operation_alloc(op, size);
    if (!text) return false;
    for (size_t i = 0; i < n; i++) {
        const char *data = parts[i].data;
        if (parts[i].n_data == 0) continue;
        if (used > 0 && !is_blank(text[used - 1]) && !is_blank(data[0])) text[used++] = ' ';
        memcpy(text + used, data, parts[i].n_data);
        used += parts[i].n_data;
    }
    *out = (tkr_part){.kind = TKR_PART_TEXT, .data = text, .n_data = used};
    return true;
}

/* Texts that follow each other become one. */
static bool join_parts(tkr_part *parts, size_t *n, tkr_operation *op) {
    size_t kept = 0;
    for (size_t i = 0, run; i < *n; i += run) {
        run = 0;
        while (i + run < *n && parts[i + run].kind == TKR_PART_TEXT) run++;
        if (run > 1) {
            if (!join_texts(&parts[kept++], op, parts + i, run)) return false;
        } else {
            run = 1;
            parts[kept++] = parts[i];
        }
    }
    *n = kept;
    return true;
}

static bool read_content(tkr_input *input, tkr_operation *op, const json_t *content, const char *path) {
    const size_t n = json_array_size(content);
    size_t n_parts = n;
    char name[96];
    if (!json_is_array(content))
        return tkr_refuse(op, TYPE, path, "%s: is %s, expected a list of pieces", path, tkr_json_type_name(content));
    if (n == 0) return tkr_refuse(op, EMPTY, path, "%s: is an empty list", path);
    tkr_part *parts = tkr_operation_alloc(op, n * sizeof *parts);
    if (!parts) return false;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(name, sizeof name, "%s[%zu]", path, i);
        if (!read_piece(&parts[i], op, json_array_get(content, i), name)) return false;
    }
    if (!join_parts(parts, &n_parts, op)) return false;
    *input = n_parts == 1 && parts[0].kind == TKR_PART_TEXT
                 ? (tkr_input){.kind = TKR_INPUT_TEXT, .text = parts[0].data, .n_text = parts[0].n_data}
                 : (tkr_input){.kind = TKR_INPUT_PARTS, .parts = parts, .n_parts = n_parts};
    return true;
}

bool tkr_shape_contents(tkr_operation *op, size_t *n_images, const json_t *list) {
    const size_t n = json_array_size(list);
    char path[64];
    tkr_fields fields;
    const json_t *content;
    if (!json_is_array(list))
        return tkr_refuse(op, TYPE, "inputs", "inputs: is %s, expected a list of objects with \"content\"",
                          tkr_json_type_name(list));
    if (n == 0) return tkr_refuse(op, EMPTY, "inputs", "inputs: is an empty list");
    tkr_input *inputs = tkr_operation_fits(op, n) ? tkr_operation_alloc(op, n * sizeof *inputs) : NULL;
    if (!inputs) return false;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(path, sizeof path, "inputs[%zu].", i);
        if (!tkr_fields_of(&fields, op, json_array_get(list, i), path) ||
            !tkr_fields_require(&content, &fields, "content"))
            return false;
        (void)snprintf(path, sizeof path, "inputs[%zu].content", i);
        if (!read_content(&inputs[i], op, content, path)) return false;
        for (size_t k = 0; k < inputs[i].n_parts; k++) *n_images += inputs[i].parts[k].kind != TKR_PART_TEXT;
    }
    return tkr_shape_take(op, inputs, n, "inputs");
}

/* ---- tokens ---- */

bool tkr_shape_tokenize(tkr_tokens *tokens, tkr_operation *op, const tkr_input *input,
                        const tkr_embed_options *options) {
    tkr_embed_options whole = *options;
    tkr_input own = *input;
    tkr_error error;
    whole.max_tokens = SIZE_MAX;
    own.options = &whole;
    *tokens = (tkr_tokens){0};
    const tkr_status status = tkr_tokenize(tokens, op->model->tokenizer, &own, NULL, &error);
    if (status != TKR_OK) tkr_refuse_with(op, tkr_fault_of_status(status), NULL, "%s", error.message);
    return status == TKR_OK;
}

bool tkr_shape_tokenize_alone(tkr_tokens *tokens, tkr_operation *op, const char *text, size_t n_text, bool special) {
    tkr_error error;
    *tokens = (tkr_tokens){0};
    const tkr_status status = tkr_tools_tokenize(tokens, op->model->tokenizer, text, n_text, special, &error);
    if (status != TKR_OK) tkr_refuse_with(op, tkr_fault_of_status(status), NULL, "%s", error.message);
    return status == TKR_OK;
}

bool tkr_shape_text_of(char **text, size_t *n_text, tkr_operation *op, const int32_t *ids, size_t n,
                       bool skip_special) {
    tkr_error error;
    const tkr_status status = tkr_decode(text, n_text, op->model->tokenizer, ids, n, skip_special, &error);
    if (status != TKR_OK) tkr_refuse_with(op, tkr_fault_of_status(status), NULL, "%s", error.message);
    return status == TKR_OK;
}

bool tkr_shape_decode(tkr_buf *out, tkr_operation *op, const int32_t *ids, size_t n, bool skip_special) {
    char *text = NULL;
    size_t n_text = 0;
    if (!tkr_shape_text_of(&text, &n_text, op, ids, n, skip_special)) return false;
    tkr_json_write_string(out, text, n_text);
    tkr_text_free(&text);
    return true;
}

/* ---- replies ---- */

tkr_buf *tkr_shape_reply(tkr_operation *op, unsigned status) {
    op->response->status = status;
    op->response->content_type = "application/json";
    op->response->body.size = 0;
    return &op->response->body;
}

tkr_buf *tkr_shape_result(tkr_operation *op) {
    size_t n_cut = 0;
    for (size_t i = 0; i < op->job.n_items; i++)
        n_cut += op->job.items[i].n_tokens_untruncated > op->job.items[i].n_tokens;
    if (n_cut > 0) tkr_http_add_field(op->response, "x-truncated-inputs", "%zu", n_cut);
    return tkr_shape_reply(op, 200);
}

bool tkr_shape_done(tkr_operation *op) {
    return !op->response->body.failed || tkr_refuse(op, INTERNAL, NULL, "no memory for the reply");
}

bool tkr_put_text(tkr_buf *out, const char *text) {
    return text ? tkr_json_write_string(out, text, strlen(text)) : tkr_buf_append(out, "null", 4);
}

void tkr_put_comma(tkr_buf *out, size_t index) {
    if (index > 0) tkr_buf_putc(out, ',');
}

void tkr_put_vector(tkr_buf *out, tkr_form form, const float *values, size_t n) {
    if (!(form.base64 ? tkr_put_base64_vector : tkr_put_json_vector)(out, form.type, values, n)) out->failed = true;
}

void tkr_put_rows(tkr_buf *out, tkr_form form, const tkr_job_item *item) {
    tkr_buf_putc(out, '[');
    for (size_t i = 0; i < item->n_rows; i++) {
        tkr_put_comma(out, i);
        tkr_put_vector(out, form, item->rows + i * item->dimensions, item->dimensions);
    }
    tkr_buf_putc(out, ']');
}

size_t tkr_shape_tokens(const tkr_operation *op) {
    size_t n = 0;
    for (size_t i = 0; i < op->job.n_items; i++) n += op->job.items[i].n_tokens;
    return n;
}

/* What an item's texts have without its pictures: they are tokenised alone, where there are pictures beside them. */
static bool count_text_tokens(size_t *n, tkr_operation *op, const tkr_job_item *item) {
    const tkr_input *input = &item->input;
    size_t n_images = 0;
    for (size_t i = 0; i < input->n_parts; i++) n_images += input->parts[i].kind != TKR_PART_TEXT;
    if (n_images == 0) {
        *n += item->n_tokens;
        return true;
    }
    for (size_t i = 0; i < input->n_parts; i++) {
        const tkr_part *part = &input->parts[i];
        tkr_tokens tokens;
        if (part->kind != TKR_PART_TEXT || part->n_data == 0) continue;
        if (!tkr_shape_tokenize_alone(&tokens, op, part->data, part->n_data, false)) return false;
        *n += tokens.n;
        tkr_tokens_free(&tokens);
    }
    return true;
}

bool tkr_shape_text_tokens(size_t *n, tkr_operation *op) {
    *n = 0;
    for (size_t i = 0; i < op->job.n_items; i++)
        if (!count_text_tokens(n, op, &op->job.items[i])) return false;
    return true;
}

/* ---- the list ---- */

static void put_form(tkr_buf *out, tkr_form form, bool rows, const tkr_job_item *item) {
    if (rows)
        tkr_put_rows(out, form, item);
    else
        tkr_put_vector(out, form, item->rows, item->dimensions);
}

static void put_entry(tkr_buf *out, const tkr_list_form *list, const tkr_job_item *item, size_t index) {
    tkr_buf_printf(out, "{\"object\":\"embedding\",\"index\":%zu,\"%s\":", index,
                   list->rows ? "embeddings" : "embedding");
    for (size_t i = 0; i < list->n; i++) {
        const tkr_form form = list->forms[i];
        if (list->n > 1)
            tkr_buf_printf(out, "%c\"%s\":", i ? ',' : '{', form.base64 ? "base64" : tkr_wire_type_name(form.type));
        put_form(out, form, list->rows, item);
    }
    if (list->named && list->forms->base64) tkr_buf_printf(out, ",\"encoding_format\":\"base64\"");
    tkr_buf_printf(out, list->n > 1 ? "}}" : "}");
}

tkr_buf *tkr_list_begin(tkr_operation *op, const tkr_list_form *form) {
    tkr_buf *out = tkr_shape_result(op);
    tkr_buf_printf(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < op->job.n_items; i++) {
        tkr_put_comma(out, i);
        put_entry(out, form, &op->job.items[i], i);
    }
    tkr_buf_printf(out, "],\"model\":");
    tkr_put_text(out, form->model ? form->model : op->model->name);
    tkr_buf_printf(out, ",\"usage\":");
    return out;
}

bool tkr_list_render(tkr_operation *op, const tkr_list_form *form) {
    const size_t n = tkr_shape_tokens(op);
    tkr_buf_printf(tkr_list_begin(op, form), "{\"prompt_tokens\":%zu,\"total_tokens\":%zu}}", n, n);
    return tkr_shape_done(op);
}

/* ---- errors ---- */

bool tkr_shape_too_long(size_t *n_tokens, size_t *limit, tkr_operation *op) {
    if (op->fault.kind != TKR_FAULT_TOO_LONG || !op->model || !op->model->info) return false;
    for (size_t i = 0; i < op->job.n_items; i++) {
        const tkr_job_item *item = &op->job.items[i];
        if (item->status != TKR_LIMIT) continue;
        *limit = item->options.max_tokens ? item->options.max_tokens : op->model->info->max_tokens;
        *n_tokens = item->n_tokens_untruncated;
        if (*n_tokens <= *limit && item->input.kind == TKR_INPUT_TOKENS) *n_tokens = item->input.n_ids;
        if (*n_tokens > *limit) return true;
        /* The engine gave up before it knew; counting is cheap beside what was refused. */
        tkr_embed_options options = item->options;
        tkr_input input = item->input;
        tkr_tokens tokens = {0};
        options.max_tokens = SIZE_MAX;
        input.options = &options;
        if (tkr_tokenize(&tokens, op->model->tokenizer, &input, NULL, NULL) != TKR_OK) return false;
        *n_tokens = tokens.n;
        tkr_tokens_free(&tokens);
        return true;
    }
    return false;
}

const char *tkr_shape_message(char out[static TKR_SHAPE_MESSAGE], const tkr_operation *op) {
    const char *param = op->fault.param, *message = op->fault.message;
    const size_t n = strlen(param), n_list = strcspn(param, "[");
    if (n_list == n || strncmp(message, param, n) == 0) return message;
    /* "input: is empty" of input[2] */
    if (strncmp(message, param, n_list) == 0 && strncmp(message + n_list, ": ", 2) == 0) message += n_list + 2;
    (void)snprintf(out, TKR_SHAPE_MESSAGE, "%s: %s", param, message);
    return out;
}

void tkr_shape_detail(tkr_operation *op, unsigned status) {
    char message[TKR_SHAPE_MESSAGE];
    tkr_buf *out = tkr_shape_reply(op, status);
    tkr_buf_printf(out, "{\"detail\":");
    tkr_put_text(out, tkr_shape_message(message, op));
    tkr_buf_putc(out, '}');
}
