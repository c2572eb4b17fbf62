/* SPDX-License-Identifier: Apache-2.0 */
/* models/blocks: the weights of a transformer; private to models. */
#ifndef TKR_MODELS_BLOCKS_H
#define TKR_MODELS_BLOCKS_H

#include <stdio.h>

#include "models/model.h"

typedef struct tkr_norm {
    tkr_weight *gain, *shift; /* [n]; shift NULL: none; gain NULL: no norm */
} tkr_norm;

typedef struct tkr_block {
    tkr_weight *q;      /* [q + 2 * kv, hidden], or [q, hidden] where kv is apart */
    tkr_weight *kv;     /* [2 * kv, hidden] or NULL */
    tkr_weight *output; /* [hidden, q] */
    tkr_weight *up;     /* [intermediate, hidden], gated: [2 * intermediate, hidden] */
    tkr_weight *down;   /* [hidden, intermediate] */
    tkr_norm before_attention, after_attention, before_mlp, after_mlp; /* [hidden] */
    tkr_weight *q_gain, *k_gain;                                       /* [head_dim] or NULL */
} tkr_block;

struct tkr_arch_model {
    const tkr_ops *ops;
    tkr_arch_config config;
    tkr_gemm_mode mode;
    tkr_weight *words, *positions,
        *types;           /* [vocab, hidden], [positions, hidden], [types, hidden]; the latter may be NULL */
    tkr_weight *relative; /* [n_buckets * n_heads] or NULL */
    tkr_norm embedding_norm, final_norm; /* [hidden] */
    tkr_block *blocks;                   /* [n_layers] */
    float inv_freq[2][TKR_MAX_HEAD_DIM / 2];
};

/* T5's bidirectional bucket of a distance (key's position less the query's), 0 to n_buckets - 1. */
int32_t tkr_relative_bucket(long distance, size_t n_buckets, size_t max_distance);

#endif
