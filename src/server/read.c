/* SPDX-License-Identifier: Apache-2.0 */
/* server/read: fields, texts, token ids and pictures of a request's JSON. */
#include "server/read.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/base64.h"
#include "core/near.h"
#include "core/utf8.h"

enum { SHOWN = 60 }; /* bytes of a value in a message */

/* ---- fields ---- */

/* "items[2].text" */
static const char *join(char out[static 64], const tkr_fields *fields, const char *name) {
    (void)snprintf(out, 64, "%s%s", fields->path, name);
    return out;
}

bool tkr_fields_refuse(const tkr_fields *fields, tkr_fault_kind kind, const char *name, const char *format, ...) {
    char param[64], text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    join(param, fields, name);
    return tkr_refuse_with(fields->op, kind, param, "%s: %s", param, text);
}

bool tkr_fields_of(tkr_fields *fields, tkr_operation *op, const json_t *value, const char *path) {
    *fields = (tkr_fields){.op = op, .object = value, .path = path};
    if (json_is_object(value)) {
        return true;
    }
    char name[64];
    (void)snprintf(name, sizeof name, "%s", path);
    size_t n = strlen(name);
    if (n > 0 && name[n - 1] == '.') {
        name[n - 1] = '\0';
    }
    return tkr_refuse(op, TYPE, name, "%s: is %s, expected an object", n > 0 ? name : "the body",
                      tkr_json_type_name(value));
}

const json_t *tkr_fields_get(const tkr_fields *fields, const char *name) {
    const json_t *value = json_object_get(fields->object, name);
    return json_is_null(value) && !fields->null_is_wrong ? NULL : value;
}

bool tkr_fields_require(const json_t **value, const tkr_fields *fields, const char *name) {
    *value = tkr_fields_get(fields, name);
    return *value != NULL || tkr_fields_refuse(fields, TKR_FAULT_TYPE, name, "is missing");
}

bool tkr_fields_only(const tkr_fields *fields, const char *const *names) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)fields->object, key, value) {
        size_t i = 0;
        while (names[i] != NULL && strcmp(names[i], key) != 0) {
            i++;
        }
        if (names[i] != NULL) {
            continue;
        }
        char shown[SHOWN + 1];
        (void)snprintf(shown, sizeof shown, "%s", key);
        const char *near = tkr_nearest(key, names);
        return near != NULL ? tkr_fields_refuse(fields, TKR_FAULT_VALUE, shown,
                                                "there is no such field; did you mean \"%s\"?", near)
                            : tkr_fields_refuse(fields, TKR_FAULT_VALUE, shown, "there is no such field");
    }
    return true;
}

/* That a form's value is a string says nothing: all of them are. */
static bool wrong_type(const tkr_fields *fields, const char *name, const json_t *value, const char *expected) {
    if (fields->from_text && json_is_string(value)) {
        return tkr_fields_refuse(fields, TKR_FAULT_TYPE, name, "is \"%.*s\", expected %s", SHOWN,
                                 json_string_value(value), expected);
    }
    return tkr_fields_refuse(fields, TKR_FAULT_TYPE, name, "is %s, expected %s", tkr_json_type_name(value), expected);
}

bool tkr_fields_bool(bool *out, const tkr_fields *fields, const char *name) {
    const json_t *value = tkr_fields_get(fields, name);
    if (value == NULL) {
        return true;
    }
    const char *text = fields->from_text ? json_string_value(value) : NULL;
    const bool is_true = text != NULL && strcmp(text, "true") == 0;
    if (!json_is_boolean(value) && !is_true && (text == NULL || strcmp(text, "false") != 0)) {
        return wrong_type(fields, name, value, "true or false");
    }
    *out = json_is_true(value) || is_true;
    return true;
}

bool tkr_fields_choice(tkr_choice *out, const tkr_fields *fields, const char *name) {
    bool yes = *out == TKR_YES;
    if (tkr_fields_get(fields, name) == NULL) {
        return true;
    }
    if (!tkr_fields_bool(&yes, fields, name)) {
        return false;
    }
    *out = yes ? TKR_YES : TKR_NO;
    return true;
}

/* A whole number in a form, with or without a sign. */
static bool is_digits(const char *text) {
    text += *text == '-';
    return *text != '\0' && strspn(text, "0123456789") == strlen(text);
}

/* false: more digits than a number has. */
static bool read_digits(int64_t *out, const char *text) {
    const bool negative = *text == '-';
    int64_t value = 0;
    text += negative;
    if (strlen(text) > 18) {
        return false;
    }
    for (; *text != '\0'; text++) {
        value = 10 * value + (*text - '0');
    }
    *out = negative ? -value : value;
    return true;
}

bool tkr_fields_integer(int64_t *out, const tkr_fields *fields, const char *name, int64_t min, int64_t max) {
    const json_t *value = tkr_fields_get(fields, name);
    if (value == NULL) {
        return true;
    }
    const double real = json_number_value(value);
    if (fields->from_text && json_is_string(value)) {
        const char *text = json_string_value(value);
        if (!is_digits(text)) {
            return wrong_type(fields, name, value, "a whole number");
        }
        if (!read_digits(out, text)) {
            return tkr_fields_refuse(fields, TKR_FAULT_VALUE, name, "is %.*s, expected %" PRId64 " to %" PRId64, SHOWN,
                                     text, min, max);
        }
    } else if (json_is_integer(value)) {
        *out = json_integer_value(value);
    } else if (!json_is_real(value)) {
        return wrong_type(fields, name, value, "a whole number");
    } else if (real != floor(real)) {
        return tkr_fields_refuse(fields, TKR_FAULT_TYPE, name, "is %.9g, expected a whole number", real);
    } else if (fabs(real) < 0x1p53) {
        *out = (int64_t)real;
    } else {
        *out = real < 0 ? INT64_MIN : INT64_MAX;
    }
    if (*out >= min && *out <= max) {
        return true;
    }
    if (json_is_real(value)) {
        return tkr_fields_refuse(fields, TKR_FAULT_VALUE, name, "is %.9g, expected %" PRId64 " to %" PRId64, real, min,
                                 max);
    }
    return tkr_fields_refuse(fields, TKR_FAULT_VALUE, name, "is %" PRId64 ", expected %" PRId64 " to %" PRId64, *out,
                             min, max);
}

bool tkr_fields_count(size_t *out, const tkr_fields *fields, const char *name, size_t min, size_t max) {
    int64_t value = 0;
    const int64_t most = max > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)max;
    if (tkr_fields_get(fields, name) == NULL) {
        return true;
    }
    if (!tkr_fields_integer(&value, fields, name, (int64_t)min, most)) {
        return false;
    }
    *out = (size_t)value;
    return true;
}

bool tkr_fields_string(const char **out, const tkr_fields *fields, const char *name) {
    const json_t *value = tkr_fields_get(fields, name);
    if (value == NULL) {
        return true;
    }
    if (!json_is_string(value)) {
        return wrong_type(fields, name, value, "a string");
    }
    const char *text = json_string_value(value);
    if (strlen(text) != json_string_length(value)) {
        return tkr_fields_refuse(fields, TKR_FAULT_VALUE, name, "holds the character U+0000");
    }
    *out = text;
    return true;
}

bool tkr_fields_word(size_t *out, const tkr_fields *fields, const char *name, const char *const *words) {
    const char *text = NULL;
    if (!tkr_fields_string(&text, fields, name)) {
        return false;
    }
    if (text == NULL) {
        return true;
    }
    char list[256] = "";
    size_t n = 0;
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], text) == 0) {
            *out = i;
            return true;
        }
        const char *between = i == 0 ? "" : words[i + 1] == NULL ? " or " : ", ";
        const int put = n < sizeof list ? snprintf(list + n, sizeof list - n, "%s\"%s\"", between, words[i]) : 0;
        n += put > 0 ? (size_t)put : 0;
    }
    return tkr_fields_refuse(fields, TKR_FAULT_VALUE, name, "is \"%.*s\", expected %s", SHOWN, text, list);
}

/* ---- texts and token ids ---- */

/* What a list of inputs is being read with. `at` is the input's place; SIZE_MAX: it stands alone. */
typedef struct input_reader {
    tkr_operation *op;
    const char *param;
    unsigned allow;
} input_reader;

/* "texts" or "texts[3]" */
static const char *place(char out[static 64], const input_reader *reader, size_t at) {
    if (at == SIZE_MAX) {
        (void)snprintf(out, 64, "%s", reader->param);
    } else {
        (void)snprintf(out, 64, "%s[%zu]", reader->param, at);
    }
    return out;
}

static const char *expected(const input_reader *reader) {
    switch (reader->allow & (TKR_READ_TEXT | TKR_READ_IDS)) {
    case TKR_READ_TEXT: return "a string or a list of strings";
    case TKR_READ_IDS: return "a list of token ids or a list of such lists";
    default: return "a string, a list of strings, or lists of token ids";
    }
}

static bool wrong_input(const input_reader *reader, const json_t *value, size_t at) {
    char param[64];
    const char *what = place(param, reader, at);
    return tkr_refuse(reader->op, TYPE, what, "%s: is %s, expected %s", what, tkr_json_type_name(value),
                      at == SIZE_MAX                         ? expected(reader)
                      : (reader->allow & TKR_READ_IDS) == 0  ? "a string"
                      : (reader->allow & TKR_READ_TEXT) == 0 ? "a list of token ids"
                                                             : "a string or a list of token ids");
}

static bool read_text(tkr_input *input, const input_reader *reader, const json_t *value, size_t at) {
    input->kind = TKR_INPUT_TEXT;
    input->text = json_string_value(value);
    input->n_text = json_string_length(value);
    reader->op->n_characters += tkr_utf8_count(input->text, input->n_text);
    if (input->n_text == 0 && (reader->allow & TKR_READ_NOT_EMPTY) != 0) {
        char param[64];
        const char *what = place(param, reader, at);
        return tkr_refuse(reader->op, EMPTY, what, "%s: is an empty string", what);
    }
    return true;
}

static bool read_ids(tkr_input *input, const input_reader *reader, const json_t *value, size_t at) {
    char param[64];
    const char *what = place(param, reader, at);
    const size_t n = json_array_size(value);
    tkr_operation *op = reader->op;
    const int64_t most =
        op->model != NULL && op->model->info != NULL ? (int64_t)op->model->info->vocab_size - 1 : INT32_MAX;
    if (n == 0 && (reader->allow & TKR_READ_NOT_EMPTY) != 0) {
        return tkr_refuse(op, EMPTY, what, "%s: is an empty list", what);
    }
    int32_t *ids = n <= SIZE_MAX / sizeof *ids ? tkr_operation_alloc(op, n * sizeof *ids) : NULL;
    if (ids == NULL) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(value, i);
        const int64_t number = json_integer_value(id);
        if (!json_is_integer(id)) {
            return tkr_refuse(op, TYPE, what, "%s[%zu]: is %s, expected a token id", what, i, tkr_json_type_name(id));
        }
        if (number < 0 || number > most) {
            return tkr_refuse(op, VALUE, what,
                              "%s[%zu]: token id %" PRId64 " is not in the vocabulary (0 to %" PRId64 ")", what, i,
                              number, most);
        }
        ids[i] = (int32_t)number;
    }
    *input = (tkr_input){.kind = TKR_INPUT_TOKENS, .ids = ids, .n_ids = n};
    return true;
}

static bool read_one(tkr_input *input, const input_reader *reader, const json_t *value, size_t at) {
    if (json_is_string(value) && (reader->allow & TKR_READ_TEXT) != 0) {
        return read_text(input, reader, value, at);
    }
    if (json_is_array(value) && (reader->allow & TKR_READ_IDS) != 0) {
        return read_ids(input, reader, value, at);
    }
    return wrong_input(reader, value, at);
}

bool tkr_read_inputs(tkr_input **inputs, size_t *n, bool *single, tkr_operation *op, const json_t *value,
                     const char *param, unsigned allow) {
    const input_reader reader = {.op = op, .param = param, .allow = allow};
    const json_t *first = json_array_get(value, 0);
    const bool list = json_is_array(value);
    /* [1, 2] is one input, [[1, 2]] and ["a"] are lists of them */
    const bool one = json_is_string(value) || (list && json_is_number(first) && (allow & TKR_READ_IDS) != 0);
    *n = one ? 1 : json_array_size(value);
    *inputs = NULL;
    if (single != NULL) {
        *single = one;
    }
    if (!one && !list) {
        return value == NULL ? tkr_refuse(op, TYPE, param, "%s: is missing, expected %s", param, expected(&reader))
                             : wrong_input(&reader, value, SIZE_MAX);
    }
    if (*n == 0) {
        return (allow & TKR_READ_NONE_OK) != 0 || tkr_refuse(op, EMPTY, param, "%s: is an empty list", param);
    }
    *inputs = tkr_operation_fits(op, *n) ? tkr_operation_alloc(op, *n * sizeof **inputs) : NULL;
    if (*inputs == NULL) {
        return false;
    }
    if (one) {
        return read_one(*inputs, &reader, value, SIZE_MAX);
    }
    for (size_t i = 0; i < *n; i++) {
        if (!read_one(*inputs + i, &reader, json_array_get(value, i), i)) {
            return false;
        }
    }
    return true;
}

/* ---- pictures ---- */

/* Schemes of URIs and names of their attributes may be written either way. */
static bool begins(const char *text, size_t size, const char *with) {
    const size_t n = strlen(with);
    return size >= n && strncasecmp(text, with, n) == 0;
}

/* What is decoded, for messages: "picture". */
static bool decode_base64(tkr_part *part, tkr_operation *op, const char *text, size_t size, const char *param,
                          const char *what) {
    const size_t room = size / 4 * 3 + 4; /* what the decoder reserves, so that the bytes land in the arena at once */
    tkr_buf bytes = {.data = tkr_operation_alloc(op, room), .room = room};
    tkr_error error = {0};
    if (bytes.data == NULL) {
        return false;
    }
    if (tkr_base64_decode(&bytes, text, size, &error) != TKR_OK) {
        return tkr_refuse(op, MEDIA, param, "%s: %s", param, error.message);
    }
    if (bytes.size == 0) {
        return tkr_refuse(op, MEDIA, param, "%s: the %s is empty", param, what);
    }
    *part = (tkr_part){.kind = TKR_PART_IMAGE, .data = bytes.data, .n_data = bytes.size};
    return true;
}

/* data:[<type>][;<attribute>...];base64,<text> */
static bool decode_data_uri(tkr_part *part, tkr_operation *op, const char *text, size_t size, const char *param,
                            const char *what) {
    const char *comma = memchr(text, ',', size);
    const size_t head = comma != NULL ? (size_t)(comma - text) : 0;
    if (comma == NULL) {
        return tkr_refuse(op, MEDIA, param, "%s: a data URI without a comma; expected \"data:TYPE;base64,...\"", param);
    }
    if (head < 7 || !begins(comma - 7, 7, ";base64")) {
        return tkr_refuse(op, MEDIA, param, "%s: a data URI that isn't base64; expected \"data:TYPE;base64,...\"",
                          param);
    }
    return decode_base64(part, op, comma + 1, size - head - 1, param, what);
}

/* A path or a URL of another scheme, which deserves a better message than base64 has. */
static bool looks_like_a_name(const char *text, size_t size) {
    for (size_t i = 0; i < size && i < 128; i++) {
        if (text[i] == '.' || text[i] == ':') {
            return true;
        }
    }
    return false;
}

static bool read_media(tkr_part *part, tkr_operation *op, const char *text, size_t size, const char *param,
                       unsigned allow, const char *what) {
    const bool url = begins(text, size, "http://") || begins(text, size, "https://");
    bool good = true;
    *part = (tkr_part){0};
    if (size == 0) {
        return tkr_refuse(op, EMPTY, param, "%s: the %s is an empty string", param, what);
    }
    if ((allow & TKR_READ_DATA_URI) != 0 && begins(text, size, "data:")) {
        good = decode_data_uri(part, op, text, size, param, what);
    } else if ((allow & TKR_READ_URL) != 0 && url) {
        if (memchr(text, '\0', size) != NULL) {
            return tkr_refuse(op, VALUE, param, "%s: the URL holds the character U+0000", param);
        }
        *part = (tkr_part){.kind = TKR_PART_URL, .data = text, .n_data = size};
    } else if ((allow & TKR_READ_BASE64) != 0 && !url && !begins(text, size, "data:") &&
               !looks_like_a_name(text, size)) {
        good = decode_base64(part, op, text, size, param, what);
    } else {
        return tkr_refuse(op, VALUE, param, "%s: begins with \"%.*s\", expected a %s as %s", param,
                          (int)(size < 16 ? size : 16), text, what,
                          allow == TKR_READ_BASE64                         ? "base64"
                          : allow == (TKR_READ_DATA_URI | TKR_READ_BASE64) ? "a data URI or base64"
                          : (allow & TKR_READ_BASE64) != 0                 ? "a data URI, a URL or base64"
                          : (allow & TKR_READ_URL) == 0                    ? "a data URI"
                          : (allow & TKR_READ_DATA_URI) == 0               ? "a URL"
                                                                           : "a data URI or a URL");
    }
    if (good) {
        char *name = tkr_operation_alloc(op, strlen(param) + 1);
        if (name == NULL) {
            return false;
        }
        memcpy(name, param, strlen(param));
        part->name = name;
    }
    return good;
}

bool tkr_read_picture(tkr_part *part, tkr_operation *op, const char *text, size_t size, const char *param,
                      unsigned allow) {
    return read_media(part, op, text, size, param, allow, "picture");
}

bool tkr_read_file(tkr_part *part, const char **name, tkr_operation *op, const json_t *value, const char *param,
                   const char *what) {
    static const char *const names[] = {"base64", "name", NULL};
    unsigned allow = TKR_READ_DATA_URI | TKR_READ_BASE64;
    *name = NULL;
    if (json_is_object(value)) {
        tkr_fields fields;
        char path[64];
        const json_t *given;
        (void)snprintf(path, sizeof path, "%.62s.", param);
        if (!tkr_fields_of(&fields, op, value, path) || !tkr_fields_only(&fields, names) ||
            !tkr_fields_require(&given, &fields, "base64") || !tkr_fields_string(name, &fields, "name")) {
            return false;
        }
        value = given;
        allow = TKR_READ_BASE64;
    }
    if (!json_is_string(value)) {
        return tkr_refuse(op, TYPE, param, "%s: is %s, expected a data URI or base64", param,
                          tkr_json_type_name(value));
    }
    return read_media(part, op, json_string_value(value), json_string_length(value), param, allow, what);
}

bool tkr_read_fits(tkr_operation *op, const tkr_input *input, const char *param) {
    const tkr_model_info *info = op->model->info;
    const char *what = "a picture";
    size_t n_pictures = 0;
    bool text = false;
    for (size_t i = 0; i < input->n_parts; i++) {
        what = input->parts[i].kind == TKR_PART_VIDEO ? "a video" : what;
        n_pictures += input->parts[i].kind != TKR_PART_TEXT;
        text = text || (input->parts[i].kind == TKR_PART_TEXT && input->parts[i].n_data > 0);
    }
    if (n_pictures == 0) {
        return true;
    }
    if (info->max_images == 0) {
        return tkr_refuse(op, UNSUPPORTED, param, "%s: has %s, but %s reads %s only", param, what, info->architecture,
                          info->modalities);
    }
    if (text && strstr(info->modalities, "text+image") == NULL) {
        return tkr_refuse(op, UNSUPPORTED, param,
                          "%s: has text and %s; %s has a vector for either, not for both together (it reads: %s)",
                          param, what, info->architecture, info->modalities);
    }
    if (n_pictures > info->max_images) {
        return tkr_refuse(op, TOO_MANY, param, "%s: has %zu pictures; %s takes %zu at most", param, n_pictures,
                          info->architecture, info->max_images);
    }
    return true;
}

/* ---- what a reply may be ---- */

static bool same_word(const char *text, size_t n, const char *word) {
    size_t i = 0;
    while (i < n && word[i] != '\0' && (text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]) == word[i]) {
        i++;
    }
    return i == n && word[i] == '\0';
}

/* The weight of a range's parameters ("; q=0.5"), in thousandths; 1000 without one. */
static unsigned weight_of(const char *at, const char *end) {
    while (at < end && (at = memchr(at, ';', (size_t)(end - at))) != NULL) {
        at += 1 + strspn(at + 1, " \t");
        if (at + 1 >= end || (*at != 'q' && *at != 'Q') || at[1] != '=') {
            continue;
        }
        unsigned weight = at + 2 < end && at[2] == '1' ? 1000 : 0, unit = 100;
        if (at + 3 < end && at[3] == '.') {
            for (at += 4; at < end && *at >= '0' && *at <= '9'; at++, unit /= 10) {
                weight += unit * (unsigned)(*at - '0');
            }
        }
        return weight < 1000 ? weight : 1000;
    }
    return 1000;
}

/* The weight that "Accept" gives to a range by this name; -1: it doesn't name it. */
static int accepted(const tkr_http_request *request, const char *range) {
    const char *at = tkr_http_field_of(request, "accept");
    while (at != NULL && *at != '\0') {
        at += strspn(at, " \t,");
        const size_t all = strcspn(at, ","), n = strcspn(at, ",; \t");
        if (n > 0 && same_word(at, n, range)) {
            return (int)weight_of(at, at + all);
        }
        at += all;
    }
    return -1;
}

bool tkr_accepts(const tkr_http_request *request, const char *type) {
    /* JSON goes to who accepts everything; the others want to be named. */
    static const char *const json[] = {"application/json", "application/*", "*/*"};
    static const char *const others[] = {"application/octet-stream", "application/x-npy"};
    const int weight = accepted(request, type);
    int most = -1;
    if (weight <= 0) return false;
    for (size_t i = 0; i < sizeof json / sizeof *json && most < 0; i++) {
        most = accepted(request, json[i]);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const int other = accepted(request, others[i]);
        most = other > most ? other : most;
    }
    return weight >= most;
}
