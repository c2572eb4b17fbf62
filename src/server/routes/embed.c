/* SPDX-License-Identifier: Apache-2.0 */
/* routes/embed: POST /embed/text, /embed/image and /embed/multimodal. Refuses fields that it doesn't know. */
#include "server/routes/embed.h"

#include <stdio.h>
#include <string.h>

#include "server/routes/schema.h"
#include "server/routes/shape.h"
#include "server/settings.h"

/* ---- options of all routes ---- */

const char *const tkr_embed_option_names[] = {
    "model",    "normalize",  "dimensions",      "instruction",  "instruct", "prompt_name", "prompt",
    "truncate", "max_tokens", "encoding_format", "output_dtype", "priority", NULL};

/* true, false, "right", "left" or "error". */
static bool read_truncate(tkr_embed_options *options, const tkr_fields *fields) {
    static const char *const words[] = {"right", "left", "error", NULL};
    static const tkr_truncate values[] = {TKR_TRUNCATE_RIGHT, TKR_TRUNCATE_LEFT, TKR_TRUNCATE_ERROR};
    const json_t *value = tkr_fields_get(fields, "truncate");
    bool yes = true;
    size_t word = SIZE_MAX;
    if (value == NULL) {
        return true;
    }
    const char *text = json_string_value(value);
    const bool is_flag = json_is_boolean(value) || (fields->from_text && text != NULL &&
                                                    (strcmp(text, "true") == 0 || strcmp(text, "false") == 0));
    if (!is_flag && text == NULL) {
        return tkr_fields_refuse(fields, TKR_FAULT_TYPE, "truncate",
                                 "is %s, expected true, false, \"right\", \"left\" or \"error\"",
                                 tkr_json_type_name(value));
    }
    if (is_flag ? !tkr_fields_bool(&yes, fields, "truncate") : !tkr_fields_word(&word, fields, "truncate", words)) {
        return false;
    }
    options->truncate = !is_flag ? values[word] : yes ? TKR_TRUNCATE_RIGHT : TKR_TRUNCATE_ERROR;
    return true;
}

static bool read_lane(const tkr_fields *fields) {
    static const char *const words[] = {"normal", "bulk", NULL};
    size_t word = 0;
    if (!tkr_fields_word(&word, fields, "priority", words)) {
        return false;
    }
    fields->op->job.lane = word == 1 ? TKR_LANE_BULK : TKR_LANE_AUTO;
    return true;
}

/* What the reply is to be: the query's "format" decides, else the field Accept, else JSON. */
static bool read_format(tkr_embed_reply *reply, tkr_operation *op) {
    char word[16];
    if (tkr_read_query(word, sizeof word, op->request->query, "format")) {
        const bool npy = strcmp(word, "npy") == 0, bytes = strcmp(word, "bytes") == 0;
        reply->format = npy ? TKR_REPLY_NPY : bytes ? TKR_REPLY_BYTES : TKR_REPLY_JSON;
        return npy || bytes || strcmp(word, "json") == 0 ||
               tkr_refuse(op, VALUE, "format", "format: is \"%s\", expected \"json\", \"npy\" or \"bytes\"", word);
    }
    reply->format = tkr_accepts(op->request, "application/x-npy")          ? TKR_REPLY_NPY
                    : tkr_accepts(op->request, "application/octet-stream") ? TKR_REPLY_BYTES
                                                                           : TKR_REPLY_JSON;
    return true;
}

static bool read_reply(const tkr_fields *fields) {
    static const char *const formats[] = {"float", "base64", NULL};
    size_t format = 0;
    const char *type = NULL;
    tkr_embed_reply *reply = tkr_operation_alloc(fields->op, sizeof *reply);
    fields->op->state = reply;
    if (reply == NULL || !read_format(reply, fields->op) ||
        !tkr_fields_word(&format, fields, "encoding_format", formats) ||
        !tkr_fields_string(&type, fields, "output_dtype")) {
        return false;
    }
    reply->base64 = format == 1;
    return type == NULL || tkr_wire_type_parse(&reply->type, type) ||
           tkr_fields_refuse(fields, TKR_FAULT_VALUE, "output_dtype",
                             "is \"%.40s\", expected \"float\", \"float16\", \"int8\", \"uint8\", \"binary\" or "
                             "\"ubinary\"",
                             type);
}

bool tkr_embed_read_options(tkr_embed_options *options, const tkr_fields *fields) {
    options->normalize = TKR_YES; /* as in the APIs of others, of every checkpoint: the small types count on it */
    return tkr_fields_choice(&options->normalize, fields, "normalize") &&
           tkr_shape_dimensions(options, fields, "dimensions") &&
           tkr_embed_read_prompts(&options->prompt_name, &options->prompt, &options->instruction, fields) &&
           read_truncate(options, fields) &&
           tkr_fields_count(&options->max_tokens, fields, "max_tokens", 1, fields->op->model->info->max_tokens) &&
           read_lane(fields) && read_reply(fields);
}

/* ---- requests ---- */

bool tkr_embed_begin(tkr_fields *fields, tkr_operation *op, const char *const *more) {
    const char *names[48];
    size_t n = 0;
    if (!tkr_fields_of(fields, op, op->body, "")) {
        return false;
    }
    fields->from_text = op->exchange != NULL && op->form != NULL;
    for (; *more != NULL; more++) {
        names[n++] = *more;
    }
    for (size_t i = 0; tkr_embed_option_names[i] != NULL; i++) {
        names[n++] = tkr_embed_option_names[i];
    }
    names[n] = NULL;
    return tkr_fields_only(fields, names);
}

bool tkr_embed_take(const tkr_fields *fields, const tkr_input *inputs, size_t n, const char *name, bool list) {
    tkr_operation *op = fields->op;
    char param[64];
    char *first = tkr_operation_alloc(op, sizeof param);
    if (first == NULL || !tkr_shape_take(op, inputs, n, name) ||
        !tkr_embed_read_options(tkr_shape_options(op), fields)) {
        return false;
    }
    tkr_shape_share(op);
    (void)snprintf(first, sizeof param, "%s[0]", name);
    op->items_name = list && n == 1 ? first : name;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(param, sizeof param, list ? "%s[%zu]" : "%s", name, i);
        if (inputs[i].n_parts > 0 && !tkr_read_fits(op, &inputs[i], param)) {
            return false;
        }
    }
    return true;
}

bool tkr_embed_parse_texts(tkr_operation *op) {
    static const char *const names[] = {"texts", "ids", "input_ids", NULL};
    tkr_fields fields;
    tkr_input *inputs = NULL;
    size_t n = 0, given = 0;
    bool single = false;
    const char *name = "texts";
    if (!tkr_embed_begin(&fields, op, names)) {
        return false;
    }
    for (size_t i = 0; names[i] != NULL; i++) {
        if (tkr_fields_get(&fields, names[i]) != NULL) {
            name = names[i];
            given++;
        }
    }
    if (given > 1) {
        return tkr_refuse(op, VALUE, name, "%s: give one of texts, ids and input_ids", name);
    }
    /* An empty text has the model's special tokens; an empty list of ids has nothing. */
    const unsigned allow = strcmp(name, "texts") == 0 ? TKR_READ_TEXT : TKR_READ_IDS | TKR_READ_NOT_EMPTY;
    return tkr_read_inputs(&inputs, &n, &single, op, tkr_fields_get(&fields, name), name, allow) &&
           tkr_embed_take(&fields, inputs, n, name, !single);
}

static bool read_images(tkr_operation *op, const json_t *list, tkr_input *inputs, size_t n) {
    char path[64];
    for (size_t i = 0; i < n; i++) {
        const bool one = !json_is_array(list);
        tkr_part *part = tkr_operation_alloc(op, sizeof *part);
        (void)snprintf(path, sizeof path, one ? "images" : "images[%zu]", i);
        if (part == NULL || !tkr_embed_read_picture(part, op, one ? list : json_array_get(list, i), path)) {
            return false;
        }
        inputs[i] = (tkr_input){.kind = TKR_INPUT_PARTS, .parts = part, .n_parts = 1};
    }
    return true;
}

/* Files of a form, or the media of a WebSocket's frame: an input each. */
static bool read_files(tkr_operation *op, tkr_input *inputs) {
    for (size_t i = 0; i < op->n_form; i++) {
        tkr_part *part = tkr_operation_alloc(op, sizeof *part);
        if (part == NULL || !tkr_embed_take_file(part, op, i)) {
            return false;
        }
        part->kind = TKR_PART_IMAGE; /* whatever it calls itself */
        inputs[i] = (tkr_input){.kind = TKR_INPUT_PARTS, .parts = part, .n_parts = 1};
    }
    return true;
}

bool tkr_embed_parse_images(tkr_operation *op) {
    static const char *const names[] = {
        "images", "min_pixels", "max_pixels", "width", "height", "interpolate_pos_encoding", "hub_limits", NULL};
    tkr_fields fields;
    if (!tkr_embed_begin(&fields, op, names)) {
        return false;
    }
    const json_t *list = tkr_fields_get(&fields, "images");
    const bool files = op->n_form > 0;
    const char *name = files && op->exchange != NULL ? "file" : "images";
    size_t n;
    if (!tkr_embed_count_files(&n, &fields, list, "images", "data URIs or URLs") || !tkr_operation_fits(op, n)) {
        return false;
    }
    tkr_input *inputs = tkr_operation_alloc(op, n * sizeof *inputs);
    if (inputs == NULL || !(files ? read_files(op, inputs) : read_images(op, list, inputs, n))) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!tkr_embed_read_sizes(&inputs[i], &fields)) {
            return false;
        }
    }
    return tkr_embed_take(&fields, inputs, n, name, files || json_is_array(list));
}

bool tkr_embed_parse_items(tkr_operation *op) {
    static const char *const list_names[] = {"items", NULL};
    tkr_fields fields;
    const json_t *list = json_object_get(op->body, "items");
    for (size_t i = 0; list != NULL && tkr_embed_item_names[i] != NULL; i++) {
        const char *other = tkr_embed_item_names[i];
        if (json_object_get(op->body, other) != NULL) {
            return tkr_refuse(op, VALUE, other, "%s: belongs into an item of \"items\", not beside them", other);
        }
    }
    if (!tkr_embed_begin(&fields, op, list != NULL ? list_names : tkr_embed_item_names)) {
        return false;
    }
    if (list != NULL && !json_is_array(list)) {
        return tkr_refuse(op, TYPE, "items", "items: is %s, expected a list", tkr_json_type_name(list));
    }
    const size_t n = list != NULL ? json_array_size(list) : 1;
    if (n == 0) {
        return tkr_refuse(op, EMPTY, "items", "items: is an empty list");
    }
    tkr_input *inputs = tkr_operation_fits(op, n) ? tkr_operation_alloc(op, n * sizeof *inputs) : NULL;
    if (inputs == NULL) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        char path[64] = "";
        if (list != NULL) {
            (void)snprintf(path, sizeof path, "items[%zu].", i);
        }
        if (!tkr_embed_read_item(&inputs[i], op, list != NULL ? json_array_get(list, i) : op->body, path,
                                 list == NULL)) {
            return false;
        }
    }
    return tkr_embed_take(&fields, inputs, n, list != NULL ? "items" : "item", list != NULL);
}

/* Media of a frame that no item names: an input each, all of one type. */
static bool parse_media(tkr_operation *op) {
    for (size_t i = 1; i < op->n_form; i++) {
        if (strcmp(op->form[i].content_type, op->form[0].content_type) != 0) {
            return tkr_refuse(op, VALUE, "media",
                              "media: are of several types; name pictures and videos in \"items\", and send documents "
                              "apart");
        }
    }
    return tkr_embed_is_type(&op->form[0], "video")      ? tkr_embed_parse_videos(op)
           : tkr_embed_is_type(&op->form[0], "document") ? tkr_embed_parse_documents(op)
                                                         : tkr_embed_parse_images(op);
}

bool tkr_embed_parse_any(tkr_operation *op) {
    static const struct {
        const char *name;
        bool (*parse)(tkr_operation *op);
    } meanings[] = {{"texts", tkr_embed_parse_texts},         {"ids", tkr_embed_parse_texts},
                    {"input_ids", tkr_embed_parse_texts},     {"items", tkr_embed_parse_items},
                    {"text", tkr_embed_parse_items},          {"media", tkr_embed_parse_items},
                    {"parts", tkr_embed_parse_items},         {"image", tkr_embed_parse_items},
                    {"video", tkr_embed_parse_items},         {"videos", tkr_embed_parse_videos},
                    {"documents", tkr_embed_parse_documents}, {"images", tkr_embed_parse_images}};
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
        if (json_object_get(op->body, meanings[i].name) != NULL) {
            return meanings[i].parse(op);
        }
    }
    return op->n_form > 0 ? parse_media(op) : tkr_embed_parse_items(op);
}

const tkr_handler tkr_handler_embed_text = {.name = "embed_text",
                                            .api = &tkr_api_native,
                                            .body = TKR_BODY_JSON,
                                            .parse = tkr_embed_parse_texts,
                                            .render = tkr_embed_render,
                                            .wants_model = true,
                                            .request_schema = tkr_schema_embed_text,
                                            .response_schema = tkr_schema_embeddings};

const tkr_handler tkr_handler_embed_image = {.name = "embed_image",
                                             .api = &tkr_api_native,
                                             .body = TKR_BODY_EITHER,
                                             .parse = tkr_embed_parse_images,
                                             .render = tkr_embed_render,
                                             .wants_model = true,
                                             .request_schema = tkr_schema_embed_image,
                                             .response_schema = tkr_schema_embeddings};

const tkr_handler tkr_handler_embed_multimodal = {.name = "embed_multimodal",
                                                  .api = &tkr_api_native,
                                                  .body = TKR_BODY_EITHER,
                                                  .parse = tkr_embed_parse_items,
                                                  .render = tkr_embed_render,
                                                  .wants_model = true,
                                                  .request_schema = tkr_schema_embed_multimodal,
                                                  .response_schema = tkr_schema_embeddings};
