/* SPDX-License-Identifier: Apache-2.0 */
/* formats/tensors: private to formats, its tests and its fuzzers: a set of tensors under construction, whatever the
 * files' format is. */
#ifndef TKR_FORMATS_TENSORS_H
#define TKR_FORMATS_TENSORS_H

#include "core/file.h"
#include "core/mem.h"
#include "formats/safetensors.h"

#define TKR_MAX_TENSORS 200000u
#define TKR_NAME_SHOWN 120 /* bytes of a tensor's name in a message */

struct tkr_tensors {
    tkr_map *maps; /* [n_maps] */
    size_t n_maps;
    tkr_tensor_view *views; /* [n_views], sorted by name once the set is complete */
    size_t n_views, room;
    uint64_t borrowed;           /* bytes of maps that belong to somebody else */
    struct tkr_adapter *adapter; /* what the views' low_rank belong to, or NULL */
    tkr_arena text;              /* names of tensors and files */
};

/* The bytes of one file; all borrowed, `data` and `file` for the life of the set. */
typedef struct tkr_tensor_source {
    const void *data;
    size_t size;
    const char *path; /* for messages */
    const char *file; /* base name */
} tkr_tensor_source;

/* Checks a whole file and appends its tensors. On failure the set is only good for freeing. */
typedef tkr_status (*tkr_tensor_reader)(tkr_tensors *set, const tkr_tensor_source *source, tkr_error *error);

/* An empty set with room for the maps of n_files files. Returns a set, NULL without memory. */
tkr_tensors *tkr_tensors_new(size_t n_files);
/* Maps a file and reads it into the set; `file` lives as long as the set. */
tkr_status tkr_tensors_add_file(tkr_tensors *set, tkr_tensor_reader reader, const char *path, const char *file,
                                tkr_error *error);
/* Zeroed room for one more view, which counts once the caller raises n_views; its address changes with the next call.
 * NULL with *error filled: no memory, or more than TKR_MAX_TENSORS. */
tkr_tensor_view *tkr_tensors_next(tkr_tensors *set, const char *path, tkr_error *error);
/* Elements and bytes of a shape; false on overflow or when the last dimension is no multiple of the type's block. */
bool tkr_tensor_measure(size_t *n_elements, size_t *size, const int64_t *shape, unsigned n_dims, tkr_dtype dtype);
/* Sorts by name and refuses duplicates. `what` names the set in messages. */
tkr_status tkr_tensors_finish(tkr_tensors *set, const char *what, tkr_error *error);

/* A whole set from one file. Returns a set. */
tkr_status tkr_tensors_open_with(tkr_tensors **set, tkr_tensor_reader reader, const char *path, tkr_error *error);
/* A set over a file in memory (borrowed until the set is freed), as the fuzzers need it. */
tkr_status tkr_tensors_open_memory(tkr_tensors **set, tkr_tensor_reader reader, const void *data, size_t size,
                                   const char *what, tkr_error *error);

#endif
