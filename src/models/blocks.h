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

/* The layers of a transformer, of text or pictures: everything between embeddings and last hidden state. */
typedef struct tkr_stack {
    const tkr_ops *ops;
    tkr_arch_config config;
    tkr_gemm_mode mode;
    tkr_weight *relative; /* [n_buckets * n_heads] or NULL */
    tkr_norm final_norm;  /* [hidden] */
    tkr_block *blocks;    /* [n_layers] */
    float inv_freq[2][TKR_MAX_HEAD_DIM / 2];
} tkr_stack;

/* Binds layers, final norm and relative bias by the names of `layout` below the binder's present prefix. *stack, zeroed
 * by the caller, is freed with tkr_stack_free, also after a failure. */
tkr_status tkr_stack_bind(tkr_stack *stack, tkr_binder *binder, const tkr_arch_config *config, const tkr_layout *layout,
                          tkr_error *error);
void tkr_stack_free(tkr_stack *stack);

typedef struct tkr_stack_input {
    const tkr_batch *batch; /* n_tokens, cu_seqlens, positions [n_position_axes, n_tokens] */
    /* Segments that local layers attend within in place of a window, or NULL. */
    const tkr_batch *local;
    /* Called behind each layer, to add to x; or NULL. */
    void (*after_layer)(void *user, size_t layer, tkr_tensor *x);
    void *user;
} tkr_stack_input;
/* x [n_tokens, hidden] becomes the last hidden state, final norm included. Failures are the run's. */
void tkr_stack_forward(const tkr_stack *stack, tkr_run *run, tkr_tensor *x, const tkr_stack_input *input);
/* x through a norm, as the stack's configuration has it. */
tkr_tensor *tkr_stack_norm(const tkr_stack *stack, tkr_run *run, const tkr_tensor *x, const tkr_norm *norm,
                           tkr_tensor *into);

/* "name.weight" (or ".gamma") [n] and, for layer norms with biases, "name.bias"; freed with tkr_norm_free. */
tkr_status tkr_norm_bind(tkr_norm *norm, tkr_binder *binder, const tkr_arch_config *config, const char *name, size_t n,
                         tkr_error *error);
void tkr_norm_free(tkr_norm *norm, const tkr_ops *ops);

struct tkr_arch_model {
    const tkr_ops *ops;
    const tkr_arch *arch;
    tkr_weight *words, *positions,
        *types;              /* [vocab, hidden], [positions, hidden], [types, hidden]; the latter may be NULL */
    tkr_norm embedding_norm; /* [hidden] */
    tkr_stack stack;
    void *vision; /* of arch->vision, or NULL */
};

/* T5's bidirectional bucket of a distance (key's position less the query's), 0 to n_buckets - 1. */
int32_t tkr_relative_bucket(long distance, size_t n_buckets, size_t max_distance);

#endif
