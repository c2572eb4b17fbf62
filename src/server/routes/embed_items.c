/* SPDX-License-Identifier: Apache-2.0 */
/* routes/embed_items: one item of texts, pictures and videos, with settings of its own: the fields of the command
 * line's JSON lines, but for paths: a server reads no files for its clients. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/utf8.h"
#include "server/routes/embed.h"

enum { MAX_PARTS = 1024 };

const char *const tkr_embed_item_names[] = {
    "text",       "image",      "images",     "image_url", "video",  "parts",
    "media",      "min_pixels", "max_pixels", "width",     "height", "interpolate_pos_encoding",
    "hub_limits", "max_frames", "pooling",    "fps",       "id",     NULL};
/* An item of "items" has prompts of its own. */
static const char *const prompt_names[] = {"prompt_name", "prompt", "instruct", "instruction"};

/* A prompt that the model has. */
static bool read_prompt_name(const char **name, const tkr_fields *fields) {
    const tkr_model_info *info = fields->op->model->info;
    const char *given = NULL;
    char list[320] = "none";
    size_t n = 0;
    if (!tkr_fields_string(&given, fields, "prompt_name")) {
        return false;
    }
    if (given == NULL) {
        return true;
    }
    for (size_t i = 0; i < info->n_prompts; i++) {
        if (strcmp(info->prompts[i].name, given) == 0) {
            *name = given;
            return true;
        }
        const int put = n < sizeof list
                            ? snprintf(list + n, sizeof list - n, "%s\"%s\"", i == 0 ? "" : ", ", info->prompts[i].name)
                            : 0;
        n += put > 0 ? (size_t)put : 0;
    }
    return tkr_fields_refuse(fields, TKR_FAULT_VALUE, "prompt_name", "is \"%.40s\"; the prompts of this model: %s",
                             given, list);
}

bool tkr_embed_read_prompts(const char **prompt_name, const char **prompt, const char **instruction,
                            const tkr_fields *fields) {
    const char *other = NULL;
    if (!read_prompt_name(prompt_name, fields) || !tkr_fields_string(prompt, fields, "prompt") ||
        !tkr_fields_string(instruction, fields, "instruction") || !tkr_fields_string(&other, fields, "instruct")) {
        return false;
    }
    if (other != NULL && *instruction != NULL) {
        return tkr_fields_refuse(fields, TKR_FAULT_VALUE, "instruct", "means the same as instruction: give one");
    }
    *instruction = other != NULL ? other : *instruction;
    return true;
}

/* ---- pictures ---- */

bool tkr_embed_read_picture(tkr_part *part, tkr_operation *op, const json_t *value, const char *param) {
    static const char *const names[] = {"url", "base64", NULL};
    tkr_fields fields;
    char path[64];
    unsigned allow = TKR_READ_DATA_URI | TKR_READ_URL | TKR_READ_BASE64;
    if (json_is_object(value)) {
        (void)snprintf(path, sizeof path, "%.62s.", param);
        (void)tkr_fields_of(&fields, op, value, path);
        if (json_object_get(value, "path") != NULL) {
            return tkr_fields_refuse(&fields, TKR_FAULT_VALUE, "path",
                                     "the server reads no files; send the picture as \"base64\" or \"url\"");
        }
        if (!tkr_fields_only(&fields, names)) {
            return false;
        }
        const json_t *url = tkr_fields_get(&fields, "url"), *base64 = tkr_fields_get(&fields, "base64");
        if ((url != NULL) == (base64 != NULL)) {
            return tkr_refuse(op, VALUE, param, "%s: needs one of url and base64", param);
        }
        value = url != NULL ? url : base64;
        allow = url != NULL ? TKR_READ_DATA_URI | TKR_READ_URL : TKR_READ_BASE64;
    }
    if (!json_is_string(value)) {
        return tkr_refuse(op, TYPE, param, "%s: is %s, expected a data URI, a URL or base64", param,
                          tkr_json_type_name(value));
    }
    return tkr_read_picture(part, op, json_string_value(value), json_string_length(value), param, allow);
}

bool tkr_embed_take_file(tkr_part *part, tkr_operation *op, size_t index) {
    const tkr_form_part *file = &op->form[index];
    char param[64];
    (void)snprintf(param, sizeof param, "%s[%zu]", file->name, index);
    if (file->size == 0) {
        return tkr_refuse(op, MEDIA, param, "%s: the file%s%.80s is empty", param, file->file_name != NULL ? " " : "",
                          file->file_name != NULL ? file->file_name : "");
    }
    *part = (tkr_part){.kind = tkr_embed_is_type(file, "video") ? TKR_PART_VIDEO : TKR_PART_IMAGE,
                       .data = file->data,
                       .n_data = file->size,
                       .name = file->file_name};
    return true;
}

bool tkr_embed_is_type(const tkr_form_part *file, const char *type) {
    const size_t n = strlen(type);
    return file->content_type != NULL && strncasecmp(file->content_type, type, n) == 0 &&
           (file->content_type[n] == '\0' || file->content_type[n] == '/');
}

bool tkr_embed_count_files(size_t *n, const tkr_fields *fields, const json_t *list, const char *name,
                           const char *expected) {
    tkr_operation *op = fields->op;
    *n = op->n_form > 0 ? op->n_form : json_is_array(list) ? json_array_size(list) : list != NULL;
    if (op->n_form > 0 && list != NULL) {
        return tkr_refuse(op, VALUE, name, "%s: stand beside files; send one of both", name);
    }
    if (op->n_form == 0 && list == NULL) {
        return fields->from_text
                   ? tkr_refuse(op, TYPE, "file", "file: is missing: the form has no file")
                   : tkr_refuse(op, TYPE, name,
                                "%s: is missing, expected a list of %s; or send files as a multipart form", name,
                                expected);
    }
    return *n > 0 || tkr_refuse(op, EMPTY, name, "%s: is an empty list", name);
}

bool tkr_embed_read_sizes(tkr_input *input, const tkr_fields *fields) {
    const size_t most = (size_t)1 << 40;
    bool interpolate = false, hub_limits = false;
    if (!tkr_fields_count(&input->min_pixels, fields, "min_pixels", 1, most) ||
        !tkr_fields_count(&input->max_pixels, fields, "max_pixels", 1, most) ||
        !tkr_fields_count(&input->width, fields, "width", 1, 1u << 20) ||
        !tkr_fields_count(&input->height, fields, "height", 1, 1u << 20) ||
        !tkr_fields_bool(&interpolate, fields, "interpolate_pos_encoding") ||
        !tkr_fields_bool(&hub_limits, fields, "hub_limits")) {
        return false;
    }
    input->interpolate = interpolate;
    input->hub_limits = hub_limits;
    return true;
}

/* ---- parts ---- */

/* What an item's fields gave so far. */
typedef struct item_reader {
    const tkr_fields *fields;
    tkr_part *parts; /* [room] */
    size_t n, room;
} item_reader;

static const char *place(char out[static 64], const item_reader *reader, const char *name, size_t index) {
    (void)snprintf(out, 64, index == SIZE_MAX ? "%s%s" : "%s%s[%zu]", reader->fields->path, name, index);
    return out;
}

static bool add_picture(item_reader *reader, const json_t *value, const char *name, size_t index) {
    char param[64];
    tkr_part part;
    if (!tkr_embed_read_picture(&part, reader->fields->op, value, place(param, reader, name, index))) {
        return false;
    }
    reader->parts[reader->n++] = part;
    return true;
}

static bool add_video(item_reader *reader, const json_t *value, const char *name) {
    char param[64];
    tkr_part part;
    if (!tkr_embed_read_video(&part, reader->fields->op, value, place(param, reader, name, SIZE_MAX))) {
        return false;
    }
    reader->parts[reader->n++] = part;
    return true;
}

static bool add_text(item_reader *reader, const json_t *value, const char *name, size_t index) {
    char param[64];
    tkr_operation *op = reader->fields->op;
    if (!json_is_string(value)) {
        place(param, reader, name, index);
        return tkr_refuse(op, TYPE, param, "%s: is %s, expected a string", param, tkr_json_type_name(value));
    }
    const tkr_part part = {
        .kind = TKR_PART_TEXT, .data = json_string_value(value), .n_data = json_string_length(value)};
    op->n_characters += tkr_utf8_count(part.data, part.n_data);
    reader->parts[reader->n++] = part;
    return true;
}

static bool add_media(item_reader *reader, const json_t *value, size_t index) {
    char param[64];
    tkr_operation *op = reader->fields->op;
    const json_int_t number = json_integer_value(value);
    place(param, reader, "media", index);
    if (!json_is_integer(value)) {
        return tkr_refuse(op, TYPE, param, "%s: is %s, expected the number of a medium", param,
                          tkr_json_type_name(value));
    }
    if (number < 0 || (uint64_t)number >= op->n_form) {
        return tkr_refuse(op, VALUE, param, "%s: is %lld; the frame has %zu media, counted from 0", param,
                          (long long)number, op->n_form);
    }
    if (tkr_embed_is_type(&op->form[number], "document")) {
        return tkr_refuse(op, VALUE, param, "%s: is a document, which has vectors of its own: send it without items",
                          param);
    }
    return tkr_embed_take_file(&reader->parts[reader->n++], op, (size_t)number);
}

/* {"text": ...}, {"image": ...}, {"video": ...} or a string, which is a text. */
static bool add_piece(item_reader *reader, const json_t *value, size_t index) {
    static const char *const names[] = {"text", "image", "image_url", "video", "media", NULL};
    tkr_fields fields;
    char path[96];
    if (json_is_string(value)) {
        return add_text(reader, value, "parts", index);
    }
    (void)snprintf(path, sizeof path, "%.40sparts[%zu].", reader->fields->path, index);
    if (!tkr_fields_of(&fields, reader->fields->op, value, path) || !tkr_fields_only(&fields, names)) {
        return false;
    }
    if (json_object_size(value) != 1) {
        return tkr_fields_refuse(&fields, TKR_FAULT_VALUE, "text", "a part is one of text, image, image_url and video");
    }
    item_reader inner = {.fields = &fields, .parts = reader->parts, .n = reader->n, .room = reader->room};
    const char *name = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)value));
    const json_t *content = json_object_get(value, name);
    const bool good = strcmp(name, "text") == 0    ? add_text(&inner, content, name, SIZE_MAX)
                      : strcmp(name, "media") == 0 ? add_media(&inner, content, SIZE_MAX)
                      : strcmp(name, "video") == 0 ? add_video(&inner, content, name)
                                                   : add_picture(&inner, content, name, SIZE_MAX);
    reader->n = inner.n;
    return good;
}

/* A list of a field, or a single value. */
static bool add_all(item_reader *reader, const char *name, const json_t *value) {
    const bool list = json_is_array(value);
    const size_t n = list ? json_array_size(value) : value != NULL;
    if (strcmp(name, "media") == 0) {
        for (size_t i = 0; i < n; i++) {
            if (!add_media(reader, list ? json_array_get(value, i) : value, list ? i : SIZE_MAX)) {
                return false;
            }
        }
        return true;
    }
    if (value != NULL && !list) {
        return tkr_fields_refuse(reader->fields, TKR_FAULT_TYPE, name, "is %s, expected a list",
                                 tkr_json_type_name(value));
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *entry = json_array_get(value, i);
        if (!(strcmp(name, "parts") == 0 ? add_piece(reader, entry, i) : add_picture(reader, entry, name, i))) {
            return false;
        }
    }
    return true;
}

/* ---- the item ---- */

static bool only_known(const tkr_fields *fields, bool top) {
    const char *names[48];
    size_t n = 0;
    if (top) {
        return true; /* options stand beside: the caller has looked */
    }
    for (size_t i = 0; tkr_embed_item_names[i] != NULL; i++) {
        names[n++] = tkr_embed_item_names[i];
    }
    for (size_t i = 0; i < sizeof prompt_names / sizeof *prompt_names; i++) {
        names[n++] = prompt_names[i];
    }
    names[n] = NULL;
    return tkr_fields_only(fields, names);
}

/* Pictures first, then a video, then the text, as the command line has it; or "parts" in their order. */
static bool read_parts(item_reader *reader) {
    const tkr_fields *fields = reader->fields;
    const json_t *text = tkr_fields_get(fields, "text"), *parts = tkr_fields_get(fields, "parts");
    const json_t *image = tkr_fields_get(fields, "image"), *url = tkr_fields_get(fields, "image_url");
    const json_t *images = tkr_fields_get(fields, "images"), *media = tkr_fields_get(fields, "media");
    const json_t *video = tkr_fields_get(fields, "video");
    tkr_operation *op = fields->op;
    const bool files = op->n_form > 0 && op->exchange != NULL; /* of a form: all belong to its one item */
    if (parts != NULL &&
        (text != NULL || image != NULL || url != NULL || images != NULL || media != NULL || video != NULL || files)) {
        return tkr_fields_refuse(fields, TKR_FAULT_VALUE, "parts",
                                 "stands beside text, pictures or a video; give one of both");
    }
    reader->room = json_array_size(parts) + json_array_size(images) + json_array_size(media) + op->n_form + 5;
    if (reader->room > MAX_PARTS + 5) {
        return tkr_fields_refuse(fields, TKR_FAULT_TOO_MANY, parts != NULL ? "parts" : "images", "more than %d parts",
                                 (int)MAX_PARTS);
    }
    reader->parts = tkr_operation_alloc(op, reader->room * sizeof *reader->parts);
    if (reader->parts == NULL || (image != NULL && !add_picture(reader, image, "image", SIZE_MAX)) ||
        (url != NULL && !add_picture(reader, url, "image_url", SIZE_MAX)) || !add_all(reader, "images", images) ||
        !add_all(reader, "media", media) || (video != NULL && !add_video(reader, video, "video")) ||
        !add_all(reader, "parts", parts)) {
        return false;
    }
    for (size_t i = 0; files && i < op->n_form; i++) {
        if (!tkr_embed_take_file(&reader->parts[reader->n++], op, i)) {
            return false;
        }
    }
    return text == NULL || add_text(reader, text, "text", SIZE_MAX);
}

bool tkr_embed_read_item(tkr_input *input, tkr_operation *op, const json_t *value, const char *path, bool top) {
    tkr_fields fields;
    *input = (tkr_input){.kind = TKR_INPUT_TEXT};
    if (json_is_string(value)) {
        input->text = json_string_value(value);
        input->n_text = json_string_length(value);
        op->n_characters += tkr_utf8_count(input->text, input->n_text);
        return true;
    }
    if (!tkr_fields_of(&fields, op, value, path)) {
        return false;
    }
    fields.from_text = top && op->exchange != NULL && op->form != NULL;
    item_reader reader = {.fields = &fields};
    if (!only_known(&fields, top) || !read_parts(&reader) || !tkr_embed_read_sizes(input, &fields) ||
        !tkr_embed_read_frames(input, reader.parts, reader.n, &fields) ||
        (!top && !tkr_embed_read_prompts(&input->prompt_name, &input->prompt, &input->instruction, &fields))) {
        return false;
    }
    if (reader.n == 0) {
        return tkr_fields_refuse(&fields, TKR_FAULT_EMPTY, "text", "an item needs a text, an image, a video or parts");
    }
    const tkr_part *last = &reader.parts[reader.n - 1];
    if (reader.n == 1 && last->kind == TKR_PART_TEXT) {
        input->text = last->data;
        input->n_text = last->n_data;
        return true;
    }
    input->kind = TKR_INPUT_PARTS;
    input->parts = reader.parts;
    input->n_parts =
        reader.n - (last->kind == TKR_PART_TEXT && last->n_data == 0); /* "" beside a picture says nothing */
    return true;
}
