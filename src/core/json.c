/* SPDX-License-Identifier: Apache-2.0 */
/* core/json, small documents: the strict pull reader builds a jansson tree; typed fields. Refuses duplicate keys. */
#include "core/json.h"

#include <inttypes.h>
#include <string.h>

#include "core/file.h"

enum { JSON_MAX_FILE = 16 << 20, JSON_MAX_TEXT = 64 << 20, JSON_MAX_DEPTH = 64, JSON_MAX_VALUES = 2 << 20 };

typedef struct builder {
    tkr_jr reader;
    tkr_buf key;                   /* of the value that comes next */
    json_t *root;                  /* owned */
    json_t *stack[JSON_MAX_DEPTH]; /* open containers, owned by their parents */
    unsigned depth;
    unsigned n_values; /* each takes some fifty bytes, however short its text */
} builder;

static bool fail_memory(builder *b) {
    if (b->reader.type != TKR_JR_ERROR) {
        (void)TKR_FAIL(b->reader.error, NO_MEMORY, "%s: no memory for its content", b->reader.what);
    }
    return false;
}

static json_t *make_value(const tkr_jr *reader) {
    switch (reader->type) {
    case TKR_JR_OBJECT: return json_object();
    case TKR_JR_ARRAY: return json_array();
    case TKR_JR_STRING: return json_stringn_nocheck(reader->string, reader->n_string);
    case TKR_JR_NUMBER: return reader->is_integer ? json_integer(reader->integer) : json_real(reader->number);
    case TKR_JR_TRUE: return json_true();
    case TKR_JR_FALSE: return json_false();
    default: return json_null();
    }
}

static bool take_key(builder *b) {
    b->key.size = 0;
    if (memchr(b->reader.string, '\0', b->reader.n_string) != NULL) {
        (void)tkr_jr_fail(&b->reader, "a key holds the character U+0000");
        return false;
    }
    if (!tkr_buf_append(&b->key, b->reader.string, b->reader.n_string)) {
        return fail_memory(b);
    }
    if (json_object_get(b->stack[b->depth - 1], b->key.data) != NULL) {
        (void)tkr_jr_fail(&b->reader, "the key \"%s\" comes twice", b->key.data);
        return false;
    }
    return true;
}

static bool take_value(builder *b) {
    if (b->n_values++ == JSON_MAX_VALUES) {
        (void)tkr_jr_fail(&b->reader, "more than %d values", JSON_MAX_VALUES);
        return false;
    }
    json_t *value = make_value(&b->reader);
    if (value == NULL) {
        return fail_memory(b);
    }
    if (b->depth == 0) {
        b->root = value;
    } else {
        json_t *parent = b->stack[b->depth - 1];
        int failed = json_is_object(parent) ? json_object_set_new_nocheck(parent, b->key.data, value)
                                            : json_array_append_new(parent, value);
        if (failed != 0) {
            return fail_memory(b);
        }
    }
    if (json_is_object(value) || json_is_array(value)) {
        b->stack[b->depth++] = value;
    }
    return true;
}

static bool build(builder *b) {
    for (;;) {
        bool good = true;
        switch (tkr_jr_next(&b->reader)) {
        case TKR_JR_END: return true;
        case TKR_JR_ERROR: return false;
        case TKR_JR_KEY: good = take_key(b); break;
        case TKR_JR_OBJECT_END:
        case TKR_JR_ARRAY_END: b->depth--; break;
        default: good = take_value(b); break;
        }
        if (!good) {
            return false;
        }
    }
}

tkr_status tkr_json_parse(json_t **out, const char *text, size_t size, const char *what, tkr_error *error) {
    *out = NULL;
    if (size > JSON_MAX_TEXT) {
        return TKR_FAIL(error, LIMIT, "%s: %zu bytes of JSON are more than the limit of %d", what, size, JSON_MAX_TEXT);
    }
    tkr_error own; /* so that the status is known when the caller wants no message */
    builder b = {.depth = 0};
    tkr_jr_init(&b.reader, text, size, what, error != NULL ? error : &own);
    bool good = build(&b);
    tkr_status status = good ? TKR_OK : b.reader.error->status;
    if (good) {
        *out = b.root;
    } else {
        json_decref(b.root);
    }
    tkr_buf_free(&b.key);
    tkr_jr_free(&b.reader);
    return status;
}

tkr_status tkr_json_file(json_t **out, const char *path, tkr_error *error) {
    *out = NULL;
    tkr_buf text = {0};
    tkr_status status = tkr_file_read(&text, path, JSON_MAX_FILE, error);
    if (status == TKR_OK) {
        status = tkr_json_parse(out, text.data, text.size, path, error);
    }
    tkr_buf_free(&text);
    return status;
}

/* ---- fields ---- */

const char *tkr_json_type_name(const json_t *value) {
    if (value == NULL) {
        return "missing";
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: return "null";
    }
    return "unknown";
}

/* *value is NULL when an optional field is absent or null. */
static tkr_status find_field(const json_t **value, const json_t *object, const char *field, bool required,
                             const char *what, tkr_error *error) {
    *value = NULL;
    if (!json_is_object(object)) {
        return TKR_FAIL(error, FORMAT, "%s: is %s, expected an object with the field \"%s\"", what,
                        tkr_json_type_name(object), field);
    }
    const json_t *found = json_object_get(object, field);
    if (found == NULL || json_is_null(found)) {
        return required ? TKR_FAIL(error, FORMAT, "%s: field \"%s\" is %s, but needed", what, field,
                                   tkr_json_type_name(found))
                        : TKR_OK;
    }
    *value = found;
    return TKR_OK;
}

tkr_status tkr_json_get_int(int64_t *out, const json_t *object, const char *field, int64_t min, int64_t max,
                            bool required, const char *what, tkr_error *error) {
    const json_t *value;
    tkr_status status = find_field(&value, object, field, required, what, error);
    if (status != TKR_OK || value == NULL) {
        return status;
    }
    if (json_is_real(value)) {
        return TKR_FAIL(error, FORMAT, "%s: field \"%s\" is %.9g, expected an integer from %" PRId64 " to %" PRId64,
                        what, field, json_real_value(value), min, max);
    }
    if (!json_is_integer(value)) {
        return TKR_FAIL(error, FORMAT, "%s: field \"%s\" is %s, expected an integer", what, field,
                        tkr_json_type_name(value));
    }
    int64_t number = json_integer_value(value);
    if (number < min || number > max) {
        return TKR_FAIL(error, FORMAT,
                        "%s: field \"%s\" is %" PRId64 ", expected an integer from %" PRId64 " to %" PRId64, what,
                        field, number, min, max);
    }
    *out = number;
    return TKR_OK;
}

tkr_status tkr_json_get_double(double *out, const json_t *object, const char *field, double min, double max,
                               bool required, const char *what, tkr_error *error) {
    const json_t *value;
    tkr_status status = find_field(&value, object, field, required, what, error);
    if (status != TKR_OK || value == NULL) {
        return status;
    }
    if (!json_is_number(value)) {
        return TKR_FAIL(error, FORMAT, "%s: field \"%s\" is %s, expected a number", what, field,
                        tkr_json_type_name(value));
    }
    double number = json_number_value(value);
    if (number < min || number > max) {
        return TKR_FAIL(error, FORMAT, "%s: field \"%s\" is %.9g, expected a number from %.9g to %.9g", what, field,
                        number, min, max);
    }
    *out = number;
    return TKR_OK;
}

tkr_status tkr_json_get_bool(bool *out, const json_t *object, const char *field, bool required, const char *what,
                             tkr_error *error) {
    const json_t *value;
    tkr_status status = find_field(&value, object, field, required, what, error);
    if (status != TKR_OK || value == NULL) {
        return status;
    }
    if (!json_is_boolean(value)) {
        return TKR_FAIL(error, FORMAT, "%s: field \"%s\" is %s, expected true or false", what, field,
                        tkr_json_type_name(value));
    }
    *out = json_is_true(value);
    return TKR_OK;
}

tkr_status tkr_json_get_string(const char **out, const json_t *object, const char *field, bool required,
                               const char *what, tkr_error *error) {
    const json_t *value;
    tkr_status status = find_field(&value, object, field, required, what, error);
    if (status != TKR_OK || value == NULL) {
        return status;
    }
    if (!json_is_string(value)) {
        return TKR_FAIL(error, FORMAT, "%s: field \"%s\" is %s, expected a string", what, field,
                        tkr_json_type_name(value));
    }
    const char *text = json_string_value(value);
    if (strlen(text) != json_string_length(value)) {
        return TKR_FAIL(error, FORMAT, "%s: field \"%s\" holds the character U+0000, expected text without it", what,
                        field);
    }
    *out = text;
    return TKR_OK;
}

tkr_status tkr_json_require(const json_t *object, const tkr_json_flag *flags, size_t n_flags, const char *what,
                            tkr_error *error) {
    for (size_t i = 0; i < n_flags; i++) {
        bool value = flags[i].value;
        tkr_status status = tkr_json_get_bool(&value, object, flags[i].name, false, what, error);
        if (status != TKR_OK) return status;
        if (value != flags[i].value)
            return TKR_FAIL(error, UNSUPPORTED, "%s: %s %s is not supported; supported: %s", what, flags[i].name,
                            value ? "true" : "false", flags[i].value ? "true" : "false");
    }
    return TKR_OK;
}
