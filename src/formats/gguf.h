/* SPDX-License-Identifier: Apache-2.0 */
/*
 * formats/gguf: a GGUF file (versions 2 and 3, little-endian), mapped read-only: metadata and tensors. Trusts no count,
 * offset, type, length or alignment of the file. Knows no architecture: names are the file's own until renamed.
 */
#ifndef TKR_FORMATS_GGUF_H
#define TKR_FORMATS_GGUF_H

#include <stdbool.h>

#include "formats/safetensors.h"

typedef struct tkr_gguf tkr_gguf;

typedef enum tkr_gguf_kind {
    TKR_GGUF_INT, /* every integer type; a u64 beyond INT64_MAX is refused at open */
    TKR_GGUF_FLOAT,
    TKR_GGUF_BOOL,
    TKR_GGUF_STRING,
    TKR_GGUF_ARRAY
} tkr_gguf_kind;

/* Borrowed from the file. Strings are not NUL-terminated and may hold any byte. */
typedef struct tkr_gguf_value {
    const char *key; /* NUL-terminated */
    tkr_gguf_kind kind;
    int64_t integer; /* INT, BOOL (0 or 1) */
    double number;   /* FLOAT, and INT converted */
    const char *text;
    size_t n_text;
    tkr_gguf_kind element; /* ARRAY: never an array itself (nested arrays are refused) */
    size_t n;              /* ARRAY: elements */
    const void *elements;  /* private: read through the functions below */
} tkr_gguf_value;

/* Returns a file. Messages name the path, the key or tensor, and the value. */
tkr_status tkr_gguf_open(tkr_gguf **file, const char *path, tkr_error *error);
void tkr_gguf_free(tkr_gguf **file);

/* NULL when there is none. */
const tkr_gguf_value *tkr_gguf_find(const tkr_gguf *file, const char *key);
size_t tkr_gguf_count(const tkr_gguf *file);
const tkr_gguf_value *tkr_gguf_at(const tkr_gguf *file, size_t index);
/* Element of an array of numbers or bools; 0 when out of range or of another kind. */
double tkr_gguf_array_number(const tkr_gguf_value *value, size_t index);
int64_t tkr_gguf_array_integer(const tkr_gguf_value *value, size_t index);
/* Element of an array of strings; false when out of range or of another kind. */
bool tkr_gguf_array_string(const char **text, size_t *n, const tkr_gguf_value *value, size_t index);

/* Makes `new_name` (size bytes) from the file's tensor name; false: leave the tensor out of the set. */
typedef bool (*tkr_gguf_rename_fn)(void *user, char *new_name, size_t size, const char *name);
/* The file's tensors as a set, in row-major shapes (GGUF lists the fastest dimension first), renamed. The file must
 * outlive the set. Two tensors of one name are TKR_FORMAT. Returns a set. */
tkr_status tkr_gguf_tensors(tkr_tensors **set, const tkr_gguf *file, tkr_gguf_rename_fn renamer, void *user,
                            tkr_error *error);

#endif
