/* SPDX-License-Identifier: Apache-2.0 */
/*
 * formats/adapter: LoRA adapters as peft saves them (Hu et al. 2021): a folder with adapter_config.json and
 * adapter_model.safetensors, whose pairs of narrow matrices change linear layers of a base checkpoint: W + scale * B A.
 * The sums are made one layer at a time when the weights are packed. Refuses every other kind of adapter by name.
 */
#ifndef TKR_FORMATS_ADAPTER_H
#define TKR_FORMATS_ADAPTER_H

#include "core/pool.h"
#include "formats/safetensors.h"

/* What is added to a tensor [rows, cols]; the views are plain numbers. */
struct tkr_low_rank {
    const tkr_tensor_view *a, *b; /* [rank, cols], [rows, rank] */
    float scale;
};

typedef struct tkr_adapter tkr_adapter;

/* Whether the folder has an adapter_config.json. */
bool tkr_adapter_is(const char *folder);
/* Reads and checks the folder's files. Returns an adapter. */
tkr_status tkr_adapter_open(tkr_adapter **adapter, const char *folder, tkr_error *error);
void tkr_adapter_free(tkr_adapter **adapter);
/* base_model_name_or_path: a folder, relative to the adapter's or not, or a hub id; NULL where the file has none. */
const char *tkr_adapter_base(const tkr_adapter *adapter);
/* Lays the adapter over the base checkpoint's tensors: views that it changes get `low_rank`, and the set's files are
 * also the adapter's. Takes the adapter on success. A base that it doesn't fit is TKR_FORMAT and names the tensor. */
tkr_status tkr_adapter_apply(tkr_tensors *base, tkr_adapter **adapter, tkr_error *error);

/* Rows [first, first + n) of a tensor with `low_rank`, as they become, to out [n, cols]; shared by the workers of
 * `pool` unless it is NULL. */
tkr_status tkr_adapter_rows(float *out, const tkr_tensor_view *view, size_t first, size_t n, tkr_pool *pool,
                            tkr_error *error);

#endif
