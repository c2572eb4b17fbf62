/* SPDX-License-Identifier: Apache-2.0 */
/* formats/safetensors_parse: private to formats, its tests and its fuzzers: one file's header, and the shard index. */
#ifndef TKR_FORMATS_SAFETENSORS_PARSE_H
#define TKR_FORMATS_SAFETENSORS_PARSE_H

#include "formats/tensors.h"

#define TKR_MAX_HEADER ((size_t)100 << 20) /* bytes; the reference implementation's limit */

/* A tkr_tensor_reader. */
tkr_status tkr_safetensors_read(tkr_tensors *set, const tkr_tensor_source *source, tkr_error *error);

/* One row of an index's weight_map. */
typedef struct tkr_tensor_entry {
    const char *name, *file; /* in the arena given */
} tkr_tensor_entry;
/* Parses an index. Returns entries (tkr_free) sorted by name, at least one, names unique, file names without folders.
 */
tkr_status tkr_tensor_index_parse(tkr_tensor_entry **entries, size_t *n_entries, tkr_arena *text, const char *json,
                                  size_t size, const char *what, tkr_error *error);

#endif
