/* SPDX-License-Identifier: Apache-2.0 */
/* formats/safetensors: tensors of one file or of a sharded index, mapped read-only. Trusts nothing in the header. */
#ifndef TKR_FORMATS_SAFETENSORS_H
#define TKR_FORMATS_SAFETENSORS_H

#include "core/file.h"
#include "quant/dtype.h"

#define TKR_MAX_DIMS 8

typedef struct tkr_low_rank tkr_low_rank; /* formats/adapter.h */

typedef struct tkr_tensor_view {
    const char *name;
    const char *file; /* base name of the file that holds it */
    tkr_dtype dtype;
    unsigned n_dims;
    int64_t shape[TKR_MAX_DIMS];
    size_t n_elements;
    const void *data; /* in the map; aligned to the element size or refused, but blocks lie where they lie */
    size_t size;      /* bytes */
    const tkr_low_rank *low_rank; /* what an adapter adds to the values (formats/adapter.h), or NULL */
} tkr_tensor_view;

typedef struct tkr_tensors tkr_tensors;

/* Opens one .safetensors file. Returns a set. */
tkr_status tkr_tensors_open_file(tkr_tensors **set, const char *path, tkr_error *error);
/* Opens folder/model.safetensors, else the shards of folder/model.safetensors.index.json (every file of the index must
 * be there, every tensor of the index in the file it names; names may not leave the folder), else the same of
 * pytorch_model.bin. */
tkr_status tkr_tensors_open_folder(tkr_tensors **set, const char *folder, tkr_error *error);
void tkr_tensors_free(tkr_tensors **set);

const tkr_tensor_view *tkr_tensors_find(const tkr_tensors *set, const char *name);
size_t tkr_tensors_count(const tkr_tensors *set);
const tkr_tensor_view *tkr_tensors_at(const tkr_tensors *set, size_t index); /* sorted by name */
uint64_t tkr_tensors_mapped_bytes(const tkr_tensors *set);
/* The mapped files of the set. */
size_t tkr_tensors_n_files(const tkr_tensors *set);
const tkr_map *tkr_tensors_file(const tkr_tensors *set, size_t index);
/* Writes "[2, 3]" */
void tkr_shape_text(char *out, size_t size, const int64_t *shape, unsigned n_dims);

#endif
