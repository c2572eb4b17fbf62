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
#include "quant/matrix.h"

typedef struct tkr_backend tkr_backend; /* device, kernels, workers */
typedef struct tkr_weight tkr_weight;   /* a matrix, vector or table that lives in the backend */
typedef struct tkr_run tkr_run;         /* the scratch of one worker and the state of its forward pass */
typedef struct tkr_tensor tkr_tensor;   /* activation [rows, cols], f32 to the outside */

/* A tensor of the checkpoint, borrowed: data stays mapped as long as the model lives. Vectors: rows 1. */
typedef struct tkr_source {
    const char *name;
    tkr_matrix matrix;
} tkr_source;

/* Which number format suits a linear layer when the model is quantised. */
typedef enum tkr_sensitivity {
    TKR_SENSITIVE_NONE = 0,
    TKR_SENSITIVE_INPUT = 1,  /* in q8: its inputs need more than 8 bits */
    TKR_SENSITIVE_WEIGHT = 2, /* in q4: its weights need 8 bits, where the plan can afford it */
    TKR_SENSITIVE_SMALL = 4   /* in q4: its weights need 8 bits in the smallest models */
} tkr_sensitivity;

/* Shape and format of a linear layer: what its memory depends on. */
typedef struct tkr_linear_shape {
    size_t rows, cols; /* outputs (both halves when gated) and inputs */
    tkr_gemm_mode mode;
    unsigned sensitivity; /* tkr_sensitivity flags */
    bool gated;           /* the outputs are [gate | up]; applying gives act(gate) * up, half as wide */
    bool bias;
    size_t group; /* q4: 32, 64 or 128 */
} tkr_linear_shape;

/* A linear layer: n_parts matrices [rows, cols] (same cols) stacked along rows; biases[i] (nullable as a whole or
 * singly) is [rows of part i]. */
typedef struct tkr_linear_spec {
    const tkr_source *parts;
    const tkr_source *const *biases;
    size_t n_parts;
    tkr_linear_shape shape; /* rows and bias are filled from the parts */
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

/* One picture of a batch: its grid in patches (t frames of h x w). */
typedef struct tkr_visual {
    size_t t, h, w;
} tkr_visual;

/* Ragged: sequences one after another, no padding. Pictures lie beside them, patches of one after the other's. */
typedef struct tkr_batch {
    size_t n_tokens, n_seqs;
    const int32_t *ids;       /* [n_tokens] */
    const int32_t *type_ids;  /* [n_tokens] */
    const int32_t *positions; /* [n_position_axes, n_tokens] */
    unsigned n_position_axes; /* 1, or 3 for M-RoPE */
    const size_t *cu_seqlens; /* [n_seqs + 1], from 0 to n_tokens */
    const tkr_span *spans;    /* [n_spans] */
    size_t n_spans;
    const tkr_visual *visuals; /* [n_visuals] */
    size_t n_visuals;
    const float *patches; /* [n_patches, patch_cols], n_patches the sum of t * h * w */
    size_t n_patches, patch_cols;
    /* [n_visual_tokens] rows of the placeholder tokens that the pictures' features replace, in the pictures' order */
    const size_t *visual_rows;
    size_t n_visual_tokens;
    size_t group_patches; /* of pictures that a tower reads at a time, but always one picture; 0: all of them */
} tkr_batch;

typedef struct tkr_linear_options {
    tkr_activation activation;  /* of the gate where the layer is gated */
    const tkr_tensor *residual; /* added after the activation, or NULL */
    tkr_tensor *into;           /* receives the result (it may be the residual), or NULL: a new tensor */
} tkr_linear_options;

#define TKR_MAX_HEAD_DIM 256

/* Columns of heads that are normalised (gain not NULL) and rotated in place. */
typedef struct tkr_rotate_options {
    size_t column, n_heads, head_dim; /* first column of the block */
    const tkr_weight *gain;           /* [head_dim] RMS norm of each head before the rotation, or NULL */
    float eps;
    const tkr_tensor *angles; /* [rows of x or more, 2 * half] from `angles`, or NULL: no rotation */
    size_t first_row;         /* row of `angles` that belongs to x's row 0 */
} tkr_rotate_options;

/* q holds the queries of batch rows [first_row, first_row + rows of q); kv the keys and values of all rows of the
 * batch; both may be the same tensor. head_dim: 1 to TKR_MAX_HEAD_DIM. Query head h uses key head h * n_kv_heads /
 * n_heads. */
typedef struct tkr_attention_options {
    size_t n_heads, n_kv_heads, head_dim;
    size_t q_column, k_column, v_column; /* first column of each block in its tensor */
    size_t first_row;
    float scale;
    size_t window; /* 0: all keys; else |i - j| <= window */
    bool causal;
    tkr_gemm_mode mode; /* number format inside: that of the model's linear layers */
    /* T5-style bias of the logits by distance (Raffel et al. 2020): relative[buckets[j - i + n_distances]][head] is
     * added, |j - i| <= n_distances. NULL: none. */
    const tkr_weight *relative; /* vector [n_buckets * n_heads] */
    const int32_t *buckets;     /* [2 * n_distances + 1] */
    size_t n_distances;
    /* Queries of their own (a pooling head's): [n_seqs + 1] rows of q that belong to each sequence, which see all of
     * its keys. NULL: q's rows are the batch's. Not with first_row, window, causal or relative. */
    const size_t *cu_queries;
} tkr_attention_options;

/* Rotary angles (Su et al. 2021): angle = position * inverse frequency, both f32, product rounded to f32 as the
 * reference does. */
typedef struct tkr_angle_options {
    const int32_t *positions; /* [n_axes, n_tokens] */
    const float *inv_freq;    /* [half] */
    const uint8_t *axis;      /* [half] axis of each frequency, or NULL: axis 0 */
    size_t n_tokens, half;
} tkr_angle_options;

/* What a run needs to know before it may allocate: the memory plan. */
typedef struct tkr_run_options {
    size_t max_bytes;                /* workspace limit; an operation beyond it fails with TKR_LIMIT */
    size_t chunk_rows;               /* of `chunk_rows` below; 0: the backend's choice */
    tkr_pool *pool;                  /* workers that cooperate on each operation, or NULL: the calling thread alone */
    tkr_status (*check)(void *user); /* yield point before each operation, or NULL */
    void *check_user;
} tkr_run_options;

/* Most memory that a tensor of so many bytes may hold, since buffers are used again. */
static inline size_t tkr_tensor_room(size_t bytes) { return bytes + bytes / 8 + 4096; }

typedef struct tkr_ops {
    const char *name; /* "cpu", "mlx" */

    /* ---- load time ---- */
    /* Packs to the backend's own layout. Refuses non-finite weights. Returns a weight. */
    tkr_status (*linear)(tkr_weight **weight, tkr_backend *backend, const tkr_linear_spec *spec, tkr_error *error);
    /* `offset` is added to each value: 1 for norms that store gain - 1. */
    tkr_status (*vector)(tkr_weight **weight, tkr_backend *backend, const tkr_source *source, float offset,
                         tkr_error *error);
    /* Embedding table, used in place; any matrix format. */
    tkr_status (*table)(tkr_weight **weight, tkr_backend *backend, const tkr_source *source, tkr_error *error);
    void (*weight_free)(tkr_weight **weight);
    /* Memory that a linear layer will take; without parts (n_parts 0) what its shape takes when made from plain
     * numbers, biases included where the shape has them. */
    size_t (*linear_bytes)(const tkr_backend *backend, const tkr_linear_spec *spec);
    /* The packed form of a linear layer, for the weight cache: NULL and 0 for other weights. Borrowed. */
    const void *(*linear_packed)(size_t *bytes, const tkr_weight *weight);
    /* Makes a linear layer from packed bytes that linear_packed gave for the same shape, kernels and version; the bytes
     * are borrowed for the life of the weight, 64-byte aligned. TKR_FORMAT when their number is not what the shape
     * needs. */
    tkr_status (*linear_from_packed)(tkr_weight **weight, tkr_backend *backend, const tkr_linear_shape *shape,
                                     const void *packed, size_t bytes, tkr_error *error);

    /* ---- run time ---- */
    tkr_status (*run_create)(tkr_run **run, tkr_backend *backend, tkr_error *error);
    void (*run_free)(tkr_run **run);
    void (*run_begin)(tkr_run *run,
                      const tkr_run_options *options); /* clears the sticky status, takes back all tensors */
    tkr_status (*run_status)(const tkr_run *run, tkr_error *error);
    /* Sum of n_tables gathered rows per token, times `scale`: tables[t] row indices[t][token]. Indices are checked
     * against the table. */
    tkr_tensor *(*embed)(tkr_run *run, const tkr_weight *const *tables, const int32_t *const *indices, size_t n_tables,
                         size_t n_tokens, float scale);
    tkr_tensor *(*apply)(tkr_run *run, const tkr_tensor *x, const tkr_weight *weight,
                         const tkr_linear_options *options);
    /* shift NULL: none. `into` as in tkr_linear_options; it may be x. */
    tkr_tensor *(*layer_norm)(tkr_run *run, const tkr_tensor *x, const tkr_weight *gain, const tkr_weight *shift,
                              float eps, tkr_tensor *into);
    tkr_tensor *(*rms_norm)(tkr_run *run, const tkr_tensor *x, const tkr_weight *gain, float eps, tkr_tensor *into);
    /* Copies values [rows, cols] of the caller to a new tensor: pixels, interpolated positions. */
    tkr_tensor *(*input)(tkr_run *run, const float *values, size_t rows, size_t cols);
    /* A new tensor whose row i is row rows[i] of x. */
    tkr_tensor *(*gather)(tkr_run *run, const tkr_tensor *x, const size_t *rows, size_t n);
    /* Row i of x becomes row rows[i] of `into`, or is added to it. The rows are distinct. */
    void (*scatter)(tkr_run *run, tkr_tensor *into, const tkr_tensor *x, const size_t *rows, bool add);
    /* x's values in rows of another width, which divides rows * cols: a view, released before x. */
    tkr_tensor *(*reshape)(tkr_run *run, tkr_tensor *x, size_t cols);
    /* x + y, into x. */
    void (*add)(tkr_run *run, tkr_tensor *x, const tkr_tensor *y);
    /* [n_tokens, 2 * half]: cosines, then sines. */
    tkr_tensor *(*angles)(tkr_run *run, const tkr_angle_options *options);
    void (*rotate)(tkr_run *run, tkr_tensor *x, const tkr_rotate_options *options);
    /* [rows of q, n_heads * head_dim] */
    tkr_tensor *(*attention)(tkr_run *run, const tkr_tensor *q, const tkr_tensor *kv, const tkr_batch *batch,
                             const tkr_attention_options *options);
    /* A new tensor of undefined content, to be filled through views. */
    tkr_tensor *(*empty)(tkr_run *run, size_t rows, size_t cols);
    /* Rows [first, first + n) of x: writing through it changes x. Released like any tensor, before x. */
    tkr_tensor *(*view)(tkr_run *run, tkr_tensor *x, size_t first, size_t n);
    /* Rows that one pass through a layer should take at a time, so that its temporary tensors stay small. */
    size_t (*chunk_rows)(const tkr_run *run);
    /* Makes the run fail as an operation of its own would: for what a model itself can't get. */
    void (*fail)(tkr_run *run, tkr_status status, const char *message);
    /* [n_spans, n_modes * cols]: modes side by side in the order given. */
    tkr_tensor *(*pool)(tkr_run *run, const tkr_tensor *x, const tkr_span *spans, size_t n_spans,
                        const tkr_pool_mode *modes, size_t n_modes);
    /* x / max(|x|, 1e-12) per row */
    tkr_tensor *(*normalize)(tkr_run *run, const tkr_tensor *x);
    /* Copies [rows, cols] to out; the point where a lazy backend computes. */
    tkr_status (*read)(tkr_run *run, float *out, const tkr_tensor *x);
    void (*release)(tkr_run *run, tkr_tensor **x);
    size_t (*cols)(const tkr_tensor *x);
    size_t (*rows)(const tkr_tensor *x);
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
