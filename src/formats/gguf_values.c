/* SPDX-License-Identifier: Apache-2.0 */
/* formats/gguf, metadata: keys with numbers, strings and flat arrays. Refuses nested arrays, unknown types and keys
 * that come twice; allocates nothing by a count before the bytes behind it are known to be there. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_read.h"

/* Types of values as the file numbers them. */
enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64, N_TYPES };

static const struct {
    uint8_t size; /* in the file; of a string: at least */
    uint8_t kind;
} types[N_TYPES] = {
    [U8] = {1, TKR_GGUF_INT},       [I8] = {1, TKR_GGUF_INT},    [U16] = {2, TKR_GGUF_INT},
    [I16] = {2, TKR_GGUF_INT},      [U32] = {4, TKR_GGUF_INT},   [I32] = {4, TKR_GGUF_INT},
    [F32] = {4, TKR_GGUF_FLOAT},    [BOOL] = {1, TKR_GGUF_BOOL}, [STRING] = {8, TKR_GGUF_STRING},
    [ARRAY] = {12, TKR_GGUF_ARRAY}, [U64] = {8, TKR_GGUF_INT},   [I64] = {8, TKR_GGUF_INT},
    [F64] = {8, TKR_GGUF_FLOAT},
};

/* What tkr_gguf_value.elements points to. */
typedef struct elements {
    uint32_t type;
    const uint8_t *first;    /* numbers, one behind the other */
    const uint8_t **strings; /* [n] where each string's length begins */
} elements;

/* Loads a number of any alignment; the file is little-endian, as are the machines that this program runs on. */
static int64_t integer_at(const uint8_t *at, uint32_t type) {
    int8_t i8;
    int16_t i16;
    uint16_t u16;
    int32_t i32;
    uint32_t u32;
    int64_t i64;
    switch (type) {
    case I8: memcpy(&i8, at, sizeof i8); return i8;
    case U16: memcpy(&u16, at, sizeof u16); return u16;
    case I16: memcpy(&i16, at, sizeof i16); return i16;
    case U32: memcpy(&u32, at, sizeof u32); return u32;
    case I32: memcpy(&i32, at, sizeof i32); return i32;
    case U64:
    case I64: memcpy(&i64, at, sizeof i64); return i64;
    default: return *at; /* U8, BOOL */
    }
}

static double number_at(const uint8_t *at, uint32_t type) {
    float f32;
    double f64;
    switch (type) {
    case F32: memcpy(&f32, at, sizeof f32); return (double)f32;
    case F64: memcpy(&f64, at, sizeof f64); return f64;
    default: return (double)integer_at(at, type);
    }
}

static tkr_status fail_memory(const tkr_gguf_reader *r) {
    return TKR_FAIL(r->error, NO_MEMORY, "%s: out of memory for the metadata", r->file->path);
}

/* Values that other numbers of the type may not have. */
static tkr_status check_number(const tkr_gguf_reader *r, const uint8_t *at, uint32_t type, const char *key) {
    if (type == BOOL && *at > 1) {
        return TKR_FAIL(r->error, FORMAT, "%s: key \"%.120s\": a bool is %u, expected 0 or 1", r->file->path, key, *at);
    }
    if (type == U64 && integer_at(at, type) < 0) {
        return TKR_FAIL(r->error, FORMAT, "%s: key \"%.120s\": %" PRIu64 " is beyond 2^63 - 1", r->file->path, key,
                        (uint64_t)integer_at(at, type));
    }
    return TKR_OK;
}

/* The name by which a message about the file's end calls a value. */
static const char *call(char out[160], const char *key) {
    snprintf(out, 160, "key \"%.120s\"", key);
    return out;
}

static tkr_status read_strings(tkr_gguf_reader *r, elements *e, size_t n, const char *key) {
    char what[160];
    call(what, key);
    e->strings = tkr_arena_alloc(&r->file->text, n * sizeof *e->strings);
    if (!e->strings) return fail_memory(r);
    for (size_t i = 0; i < n; i++) {
        const char *text;
        size_t length;
        e->strings[i] = r->at;
        const tkr_status status = tkr_gguf_text(&text, &length, r, what);
        if (status != TKR_OK) return status;
    }
    return TKR_OK;
}

static tkr_status read_array(tkr_gguf_reader *r, tkr_gguf_value *value) {
    char what[160];
    uint32_t type = 0;
    uint64_t n = 0;
    call(what, value->key);
    tkr_status status = tkr_gguf_u32(&type, r, what);
    if (status == TKR_OK) status = tkr_gguf_u64(&n, r, what);
    if (status != TKR_OK) return status;
    if (type == ARRAY) {
        return TKR_FAIL(r->error, UNSUPPORTED, "%s: %s is an array of arrays, which is not supported", r->file->path,
                        what);
    }
    if (type >= N_TYPES) {
        return TKR_FAIL(r->error, FORMAT, "%s: %s is an array of type %" PRIu32 ", which GGUF does not define",
                        r->file->path, what, type);
    }
    const size_t left = (size_t)(r->end - r->at);
    if (n > left / types[type].size) { /* so whatever is allocated below is no larger than the file */
        return TKR_FAIL(r->error, FORMAT, "%s: %s is an array of %" PRIu64 " elements, but only %zu bytes are left",
                        r->file->path, what, n, left);
    }
    elements *e = tkr_arena_alloc(&r->file->text, sizeof *e);
    if (!e) return fail_memory(r);
    e->type = type;
    e->first = r->at;
    value->element = (tkr_gguf_kind)types[type].kind;
    value->n = (size_t)n;
    value->elements = e;
    if (type == STRING) return read_strings(r, e, value->n, value->key);
    for (size_t i = 0; i < value->n && (type == BOOL || type == U64); i++) {
        status = check_number(r, r->at + i * types[type].size, type, value->key);
        if (status != TKR_OK) return status;
    }
    r->at += value->n * types[type].size;
    return TKR_OK;
}

static tkr_status read_value(tkr_gguf_reader *r, tkr_gguf_value *value) {
    char what[160];
    uint32_t type = 0;
    tkr_status status = tkr_gguf_name(&value->key, r, "a key");
    if (status != TKR_OK) return status;
    call(what, value->key);
    status = tkr_gguf_u32(&type, r, what);
    if (status != TKR_OK) return status;
    if (type >= N_TYPES) {
        return TKR_FAIL(r->error, FORMAT, "%s: %s is of type %" PRIu32 ", which GGUF does not define", r->file->path,
                        what, type);
    }
    value->kind = (tkr_gguf_kind)types[type].kind;
    if (type == STRING) return tkr_gguf_text(&value->text, &value->n_text, r, what);
    if (type == ARRAY) return read_array(r, value);
    if ((size_t)(r->end - r->at) < types[type].size) return tkr_gguf_truncated(r, what);
    status = check_number(r, r->at, type, value->key);
    if (status != TKR_OK) return status;
    if (value->kind != TKR_GGUF_FLOAT) value->integer = integer_at(r->at, type);
    value->number = number_at(r->at, type);
    r->at += types[type].size;
    return TKR_OK;
}

static int by_key(const void *left, const void *right) {
    return strcmp(((const tkr_gguf_value *)left)->key, ((const tkr_gguf_value *)right)->key);
}

tkr_status tkr_gguf_read_values(tkr_gguf_reader *r, uint64_t n) {
    tkr_gguf *file = r->file;
    if (n > TKR_GGUF_MAX_KEYS) {
        return TKR_FAIL(r->error, LIMIT, "%s: %" PRIu64 " keys, expected at most %d", file->path, n, TKR_GGUF_MAX_KEYS);
    }
    for (uint64_t i = 0; i < n; i++) {
        if (file->n_values == file->values_room) {
            const size_t room = file->values_room ? file->values_room * 2 : 32;
            tkr_gguf_value *values = tkr_realloc(file->values, room * sizeof *values);
            if (!values) return fail_memory(r);
            file->values = values;
            file->values_room = room;
        }
        tkr_gguf_value *value = memset(&file->values[file->n_values], 0, sizeof *value);
        const tkr_status status = read_value(r, value);
        if (status != TKR_OK) return status;
        file->n_values++;
    }
    if (n > 1) qsort(file->values, file->n_values, sizeof *file->values, by_key);
    for (size_t i = 1; i < file->n_values; i++) {
        if (strcmp(file->values[i - 1].key, file->values[i].key) == 0) {
            return TKR_FAIL(r->error, FORMAT, "%s: key \"%.120s\" is there twice", file->path, file->values[i].key);
        }
    }
    return TKR_OK;
}

/* ---- elements -------------------------------------------------------------------------------------------------- */

static const uint8_t *element_at(const tkr_gguf_value *value, size_t index, uint32_t *type) {
    if (value->kind != TKR_GGUF_ARRAY || index >= value->n || value->element == TKR_GGUF_STRING) return NULL;
    const elements *e = value->elements;
    *type = e->type;
    return e->first + index * types[e->type].size;
}

double tkr_gguf_array_number(const tkr_gguf_value *value, size_t index) {
    uint32_t type = 0;
    const uint8_t *at = element_at(value, index, &type);
    return at ? number_at(at, type) : 0.0;
}

int64_t tkr_gguf_array_integer(const tkr_gguf_value *value, size_t index) {
    uint32_t type = 0;
    const uint8_t *at = element_at(value, index, &type);
    return at && value->element != TKR_GGUF_FLOAT ? integer_at(at, type) : 0;
}

bool tkr_gguf_array_string(const char **text, size_t *n, const tkr_gguf_value *value, size_t index) {
    if (value->kind != TKR_GGUF_ARRAY || index >= value->n || value->element != TKR_GGUF_STRING) return false;
    const uint8_t *at = ((const elements *)value->elements)->strings[index];
    *n = (size_t)integer_at(at, U64);
    *text = (const char *)at + 8;
    return true;
}
