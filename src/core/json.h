/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/json: two readers and one writer.
 *  - tkr_json_*: strict small documents (configs, requests) over jansson; duplicates rejected, depth and size limited.
 *  - tkr_jr_*: a pull reader over a byte range for big files (tokenizer.json, safetensors headers): no tree, strings
 * come decoded one at a time, numbers as doubles or int64. Refuses everything RFC 8259 refuses, depth over 64, bad
 * UTF-8.
 *  - tkr_json_write_*: escaped strings and shortest round-trip float32 into a tkr_buf.
 */
#ifndef TKR_CORE_JSON_H
#define TKR_CORE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/mem.h"

/* Parses `size` bytes into a new reference (json_decref). `what` names the source in messages ("config.json", "line
 * 12"). */
tkr_status tkr_json_parse(json_t **out, const char *text, size_t size, const char *what, tkr_error *error);
/* Reads and parses a file of at most 16 MiB. */
tkr_status tkr_json_file(json_t **out, const char *path, tkr_error *error);

/* Field access with one-line errors "what: field \"x\" is ..., expected ...". `required` false: absent or null leaves
 * *out. */
tkr_status tkr_json_get_int(int64_t *out, const json_t *object, const char *field, int64_t min, int64_t max,
                            bool required, const char *what, tkr_error *error);
tkr_status tkr_json_get_double(double *out, const json_t *object, const char *field, double min, double max,
                               bool required, const char *what, tkr_error *error);
tkr_status tkr_json_get_bool(bool *out, const json_t *object, const char *field, bool required, const char *what,
                             tkr_error *error);
/* Borrows the string from the object; rejects strings with embedded NUL. */
tkr_status tkr_json_get_string(const char **out, const json_t *object, const char *field, bool required,
                               const char *what, tkr_error *error);
/* A flag and the only value of it that the code stands for, which is also what its absence means. */
typedef struct tkr_json_flag {
    const char *name;
    bool value;
} tkr_json_flag;
/* TKR_UNSUPPORTED names the first flag that has another value. */
tkr_status tkr_json_require(const json_t *object, const tkr_json_flag *flags, size_t n_flags, const char *what,
                            tkr_error *error);
const char *tkr_json_type_name(const json_t *value); /* "an object", "a string", ... */

/* ---- pull reader ---- */
typedef enum tkr_jr_type {
    TKR_JR_ERROR,
    TKR_JR_END,
    TKR_JR_OBJECT,
    TKR_JR_OBJECT_END,
    TKR_JR_ARRAY,
    TKR_JR_ARRAY_END,
    TKR_JR_KEY,
    TKR_JR_STRING,
    TKR_JR_NUMBER,
    TKR_JR_TRUE,
    TKR_JR_FALSE,
    TKR_JR_NULL
} tkr_jr_type;

typedef struct tkr_jr {
    const char *at, *end, *begin;
    const char *what;   /* for messages */
    tkr_error *error;   /* filled on the first error */
    tkr_jr_type type;   /* of the last event */
    const char *string; /* decoded, KEY and STRING; valid until the next event; may hold NUL */
    size_t n_string;
    double number;   /* NUMBER */
    int64_t integer; /* NUMBER, when is_integer */
    bool is_integer;
    unsigned depth;
    uint64_t stack[2]; /* private: container kinds, expectation bits */
    uint8_t state;     /* private */
    tkr_buf scratch;   /* private: strings with escapes */
} tkr_jr;

void tkr_jr_init(tkr_jr *reader, const char *text, size_t size, const char *what, tkr_error *error);
void tkr_jr_free(tkr_jr *reader);
/* Next event. TKR_JR_ERROR is final and *error is filled. A KEY is followed by its value's event(s). */
tkr_jr_type tkr_jr_next(tkr_jr *reader);
/* With the last event at the start of a value (or at a KEY, then its value): passes over the whole value. false on
 * error. */
bool tkr_jr_skip(tkr_jr *reader);
/* Fills *error with "what, byte N: message" and returns TKR_FORMAT. */
tkr_status tkr_jr_fail(tkr_jr *reader, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- writer ---- */
/* Appends "..." with escapes; invalid UTF-8 becomes U+FFFD. */
bool tkr_json_write_string(tkr_buf *out, const char *text, size_t size);
/* Appends the shortest decimal that reads back as the same float (finite values only). */
bool tkr_json_write_float(tkr_buf *out, float value);
/* The same into `out`, of which more than the text may be overwritten. Returns its length, at most 16; 0 for values
 * that aren't finite. */
enum { TKR_JSON_FLOAT_ROOM = 32 };
size_t tkr_json_put_float(char out[TKR_JSON_FLOAT_ROOM], float value);

#endif
