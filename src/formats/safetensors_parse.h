/* SPDX-License-Identifier: Apache-2.0 */
/* formats/safetensors_parse: private to safetensors*.c, its tests and its fuzzer: a set under construction. */
#ifndef TKR_FORMATS_SAFETENSORS_PARSE_H
#define TKR_FORMATS_SAFETENSORS_PARSE_H

#include "core/file.h"
#include "core/mem.h"
#include "formats/safetensors.h"

#define TKR_MAX_TENSORS 200000u
#define TKR_MAX_HEADER ((size_t)100 << 20) /* bytes; the reference implementation's limit */

struct tkr_tensors {
    tkr_map *maps; /* [n_maps] */
    size_t n_maps;
    tkr_tensor_view *views; /* [n_views], sorted by name once the set is complete */
    size_t n_views, room;
    tkr_arena text; /* names of tensors and files */
};

/* The bytes of one file; all borrowed, `data` and `file` for the life of the set. */
typedef struct tkr_tensor_source {
    const void *data;
    size_t size;
    const char *path; /* for messages */
    const char *file; /* base name */
} tkr_tensor_source;

/* Checks a whole file and appends its tensors. On failure the set is only good for freeing. */
tkr_status tkr_tensors_add(tkr_tensors *set, const tkr_tensor_source *source, tkr_error *error);
/* Sorts by name and refuses duplicates. `what` names the set in messages. */
tkr_status tkr_tensors_finish(tkr_tensors *set, const char *what, tkr_error *error);
/* A set over a file in memory (borrowed until the set is freed), as the fuzzer needs it. */
tkr_status tkr_tensors_open_memory(tkr_tensors **set, const void *data, size_t size, const char *what,
                                   tkr_error *error);

/* One row of an index's weight_map. */
typedef struct tkr_tensor_entry {
    const char *name, *file; /* in the arena given */
} tkr_tensor_entry;
/* Parses an index. Returns entries (tkr_free) sorted by name, at least one, names unique, file names without folders.
 */
tkr_status tkr_tensor_index_parse(tkr_tensor_entry **entries, size_t *n_entries, tkr_arena *text, const char *json,
                                  size_t size, const char *what, tkr_error *error);

#endif
