/* SPDX-License-Identifier: Apache-2.0 */
/* engine/batch: the tkr_batch of some inputs of a call. */
#ifndef TKR_ENGINE_BATCH_H
#define TKR_ENGINE_BATCH_H

#include "engine/engine.h"

/* An input in the order of computing. */
typedef struct tkr_order_entry {
    size_t cost, index;
    bool tower; /* a picture for a tower of its own, not a text */
} tkr_order_entry;

/* Inputs that are computed in one pass; never texts and pictures for towers of their own together. */
typedef struct tkr_chunk {
    size_t begin, end; /* in the order */
    size_t cost, n_tokens, n_patches, n_pictures;
    bool tower;
} tkr_chunk;

typedef struct tkr_batch_request {
    const tkr_call *call;
    const tkr_order_entry *order;
    const tkr_chunk *chunk;
} tkr_batch_request;

/* Fills *batch; its arrays lie in `buf` or are the call's. */
tkr_status tkr_batch_fill(tkr_batch *batch, tkr_buf *buf, const tkr_batch_request *request, tkr_error *error);

#endif
