/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops: the backend interface. Models are written once against these operations on opaque tensors; the CPU backend
 * computes at once, a lazy backend may build a graph that `read` evaluates. Refuses to know any architecture.
 *
 * Errors are sticky: after a failure every operation of the run returns NULL, and tkr_run_status tells why. A model
 * therefore chains operations without looking at each result. Every tensor that an operation returns is released by the
 * caller once.
 */
#ifndef TKR_OPS_OPS_H
#define TKR_OPS_OPS_H

#include "core/pool.h"
#include "kernels/kernels.h"
#include "quant/dtype.h"

typedef struct tkr_backend tkr_backend; /* device, kernels, workers */
typedef struct tkr_weight tkr_weight;   /* a matrix, vector or table that lives in the backend */
typedef struct tkr_run tkr_run;         /* the scratch of one worker and the state of its forward pass */
typedef struct tkr_tensor tkr_tensor;   /* activation [rows, cols], f32 to the outside */

/* A tensor of the checkpoint, borrowed: data stays mapped as long as the model lives. */
typedef struct tkr_source {
    const char *name;
    const void *data;
    tkr_dtype dtype;   /* F32, F16 or BF16 */
    size_t rows, cols; /* vectors: rows 1 */
} tkr_source;

/* A linear layer: n_parts matrices [rows, cols] (same cols) stacked along rows; biases[i] (nullable as a whole or
 * singly) is [rows of part i]. */
typedef struct tkr_linear_spec {
    const tkr_source *parts;
    const tkr_source *const *biases;
    size_t n_parts;
    tkr_gemm_mode mode;
    bool fine; /* in q8: this layer's inputs need more than 8 bits */
} tkr_linear_spec;

/* One pooled row: tokens [start, end) of the batch. first: the sequence's first token, from which weightedmean counts.
 */
typedef struct tkr_span {
    size_t start, end, first;
} tkr_span;

typedef enum tkr_pool_mode {
    TKR_POOL_CLS,
    TKR_POOL_MAX,
    TKR_POOL_MEAN,
    TKR_POOL_MEAN_SQRT_LEN,
    TKR_POOL_WEIGHTEDMEAN,
    TKR_POOL_LASTTOKEN,
    TKR_POOL_MODES
} tkr_pool_mode;

/* Ragged: sequences one after another, no padding. */
typedef struct tkr_batch {
    size_t n_tokens, n_seqs;
    const int32_t *ids;       /* [n_tokens] */
    const int32_t *type_ids;  /* [n_tokens] */
    const int32_t *positions; /* [n_position_axes, n_tokens] */
    unsigned n_position_axes; /* 1, or 3 for M-RoPE */
    const size_t *cu_seqlens; /* [n_seqs + 1], from 0 to n_tokens */
    const tkr_span *spans;    /* [n_spans] */
    size_t n_spans;
} tkr_batch;

typedef struct tkr_linear_options {
    tkr_activation activation;
    const tkr_tensor *residual; /* added after the activation, or NULL */
} tkr_linear_options;

#define TKR_MAX_HEAD_DIM 256

/* q, k and v are column blocks of one tensor. head_dim: 1 to TKR_MAX_HEAD_DIM. */
typedef struct tkr_attention_options {
    size_t n_heads, head_dim;
    size_t q_column, k_column, v_column; /* first column of each block in the tensor */
    float scale;
    size_t window; /* 0: all keys; else |i - j| <= window */
    bool causal;
    tkr_gemm_mode mode; /* number format inside: that of the model's linear layers */
} tkr_attention_options;

/* What a run needs to know before it may allocate: the memory plan. */
typedef struct tkr_run_options {
    size_t max_bytes;                /* workspace limit; an operation beyond it fails with TKR_LIMIT */
    tkr_pool *pool;                  /* workers that cooperate on each operation, or NULL: the calling thread alone */
    tkr_status (*check)(void *user); /* yield point before each operation, or NULL */
    void *check_user;
} tkr_run_options;

typedef struct tkr_ops {
    const char *name; /* "cpu", "mlx" */

    /* ---- load time ---- */
    /* Packs to the backend's own layout. Refuses non-finite weights. Returns a weight. */
    tkr_status (*linear)(tkr_weight **weight, tkr_backend *backend, const tkr_linear_spec *spec, tkr_error *error);
    tkr_status (*vector)(tkr_weight **weight, tkr_backend *backend, const tkr_source *source, tkr_error *error);
    /* Embedding table, used in place. */
    tkr_status (*table)(tkr_weight **weight, tkr_backend *backend, const tkr_source *source, tkr_error *error);
    void (*weight_free)(tkr_weight **weight);
    /* Memory that a linear layer of this shape will take. */
    size_t (*linear_bytes)(const tkr_backend *backend, size_t rows, size_t cols, tkr_gemm_mode mode, bool fine);

    /* ---- run time ---- */
    tkr_status (*run_create)(tkr_run **run, tkr_backend *backend, tkr_error *error);
    void (*run_free)(tkr_run **run);
    void (*run_begin)(tkr_run *run,
                      const tkr_run_options *options); /* clears the sticky status, takes back all tensors */
    tkr_status (*run_status)(const tkr_run *run, tkr_error *error);
    /* Sum of n_tables gathered rows per token: tables[t] row indices[t][token]. Indices are checked against the table.
     */
    tkr_tensor *(*embed)(tkr_run *run, const tkr_weight *const *tables, const int32_t *const *indices, size_t n_tables,
                         size_t n_tokens);
    tkr_tensor *(*apply)(tkr_run *run, const tkr_tensor *x, const tkr_weight *weight,
                         const tkr_linear_options *options);
    tkr_tensor *(*layer_norm)(tkr_run *run, const tkr_tensor *x, const tkr_weight *gain, const tkr_weight *shift,
                              float eps);
    tkr_tensor *(*attention)(tkr_run *run, const tkr_tensor *qkv, const tkr_batch *batch,
                             const tkr_attention_options *options);
    /* [n_spans, n_modes * cols]: modes side by side in the order given. */
    tkr_tensor *(*pool)(tkr_run *run, const tkr_tensor *x, const tkr_span *spans, size_t n_spans,
                        const tkr_pool_mode *modes, size_t n_modes);
    /* x / max(|x|, 1e-12) per row */
    tkr_tensor *(*normalize)(tkr_run *run, const tkr_tensor *x);
    /* Copies [rows, cols] to out; the point where a lazy backend computes. */
    tkr_status (*read)(tkr_run *run, float *out, const tkr_tensor *x);
    void (*release)(tkr_run *run, tkr_tensor **x);
    size_t (*cols)(const tkr_tensor *x);
    /* Largest bytes of scratch beside tensors: packed rows and attention scores, for one worker. */
    size_t (*scratch_bytes)(const tkr_backend *backend, size_t n_tokens, size_t max_seqlen, size_t max_cols,
                            size_t head_dim);
    /* Name of the kernel that a GEMM or the attention of `mode` uses here. */
    const char *(*kernel_name)(const tkr_backend *backend, tkr_gemm_mode mode, bool attention);
} tkr_ops;

extern const tkr_ops tkr_ops_cpu;

/* The CPU backend. `pool` is borrowed. Returns a backend. */
tkr_status tkr_backend_cpu_create(tkr_backend **backend, const tkr_kernels *kernels, tkr_pool *pool, tkr_error *error);
void tkr_backend_cpu_free(tkr_backend **backend);

#endif
