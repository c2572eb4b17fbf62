/* SPDX-License-Identifier: Apache-2.0 */
/*
 * formats/safetensors_write: a folder's tensors written as safetensors, in a stream: all tensors are declared first,
 * then their bytes come in the writer's order, in pieces of any size, so that no more than a piece is ever in memory.
 * One file, or shards with their index. Nothing has its final name before everything is on the disk.
 */
#ifndef TKR_FORMATS_SAFETENSORS_WRITE_H
#define TKR_FORMATS_SAFETENSORS_WRITE_H

#include "formats/safetensors.h"

#define TKR_SHARD_BYTES UINT64_C(5000000000) /* of a file, as other writers cut them */

typedef struct tkr_tensor_plan {
    const char *name;
    tkr_dtype dtype; /* plain numbers */
    unsigned n_dims;
    int64_t shape[TKR_MAX_DIMS];
} tkr_tensor_plan;

typedef struct tkr_tensor_writer tkr_tensor_writer;

/* Begins to write n > 0 tensors into a folder that is there and holds no others: model.safetensors, or where the data
 * is more than max_shard bytes model-00001-of-0000N.safetensors ... and model.safetensors.index.json. `plans` is
 * copied; names must differ. `format` goes into the metadata ("mlx", "pt"). Returns a writer. */
tkr_status tkr_tensor_writer_open(tkr_tensor_writer **writer, const char *folder, const tkr_tensor_plan *plans,
                                  size_t n, const char *format, uint64_t max_shard, tkr_error *error);
/* Which plan's bytes come next; n when all are there. The order is that of the plans but for tensors whose bytes are no
 * multiple of 8: those come last, so that every tensor lies aligned. */
size_t tkr_tensor_writer_next(const tkr_tensor_writer *writer);
/* The next bytes, little-endian, of the tensor that tkr_tensor_writer_next names; not beyond its end. */
tkr_status tkr_tensor_writer_append(tkr_tensor_writer *writer, const void *data, size_t size, tkr_error *error);
/* Bytes of data written and in all, for a progress bar. */
void tkr_tensor_writer_progress(const tkr_tensor_writer *writer, uint64_t *done, uint64_t *total);
/* Waits until all is on the disk, then gives the files their names. All bytes must be there. On failure nothing of
 * it is left behind. Frees the writer in any case. */
tkr_status tkr_tensor_writer_finish(tkr_tensor_writer **writer, tkr_error *error);
/* Removes what was written. Accepts NULL and a finished writer. */
void tkr_tensor_writer_abort(tkr_tensor_writer **writer);

#endif
