/* SPDX-License-Identifier: Apache-2.0 */
/* ops/cpu: private types of the CPU backend. */
#ifndef TKR_OPS_CPU_CPU_OPS_H
#define TKR_OPS_CPU_CPU_OPS_H

#include "core/mem.h"
#include "ops/ops.h"

#define TKR_RUN_MAX_TENSORS 24
#define TKR_RUN_MAX_VIEWS 16
#define TKR_MAX_WORKERS 1024

struct tkr_backend {
    const tkr_kernels *kernels;
    tkr_pool *pool;
};

typedef enum tkr_weight_kind { TKR_WEIGHT_LINEAR, TKR_WEIGHT_VECTOR, TKR_WEIGHT_TABLE } tkr_weight_kind;

struct tkr_weight {
    tkr_weight_kind kind;
    size_t rows, cols; /* linear: n rows of the matrix, k inputs; vector: 1, n; table: vocabulary, width */
    /* linear */
    const tkr_gemm *gemm;
    size_t outputs; /* columns that applying gives: rows, or half of them when gated */
    bool gated;
    size_t n_slices, slice_k;               /* integer kernels cut long rows into slices with scales of their own */
    size_t k_padded, n_panels, panel_bytes; /* of one slice */
    char *panels;                           /* [n_slices, n_panels] panel_bytes each */
    float *bias;                            /* [n_panels * nr] zero-padded, or NULL */
    float *scale;                           /* [n_slices, n_panels * nr], integer kernels */
    int32_t *sums;                          /* [n_slices, n_panels * nr], integer kernels */
    size_t group;                           /* grouped kernels */
    tkr_scale_kind scale_kind;
    const void *packed; /* all of the above, as the weight cache keeps it */
    size_t packed_bytes;
    void *block; /* the allocation behind `packed`; NULL where it lies in the cache's map */
    size_t block_bytes;
    /* vector */
    float *values; /* [cols] */
    /* table */
    tkr_source source;
};

struct tkr_tensor {
    size_t rows, cols;
    float *data; /* [rows, cols] */
    size_t bytes;
    bool in_use;
};

/* A buffer that only grows, owned by one worker of a run. */
typedef struct tkr_scratch {
    void *data;
    size_t bytes;
} tkr_scratch;

struct tkr_run {
    tkr_backend *backend;
    tkr_run_options options;
    tkr_status status;
    tkr_error error;
    tkr_tensor tensors[TKR_RUN_MAX_TENSORS]; /* that own memory, in use or left for the next of their size */
    tkr_tensor views[TKR_RUN_MAX_VIEWS];
    size_t n_workers;    /* that scratch exists for */
    tkr_scratch *packed; /* [n_workers] encoded rows of A */
    tkr_scratch *kernel; /* [n_workers] what a kernel asks for */
    size_t used_bytes;
};

/* New [rows, cols] tensor with undefined content, or NULL with the sticky status set. */
tkr_tensor *tkr_run_tensor(tkr_run *run, size_t rows, size_t cols);
/* `into` when it is given and has this shape, else a new tensor. */
tkr_tensor *tkr_run_target(tkr_run *run, tkr_tensor *into, size_t rows, size_t cols);
/* false after a failure or when the yield point says stop. Every operation asks first. */
bool tkr_run_proceed(tkr_run *run);
/* Sets the sticky status if none is set. */
void tkr_run_fail(tkr_run *run, tkr_status status, const char *origin, const char *message);
/* Makes each of `workers` workers own at least these bytes. */
bool tkr_run_scratch(tkr_run *run, size_t workers, size_t packed_bytes, size_t kernel_bytes);
/* Runs fn for n_parts on the cooperating workers, or for all in one on the caller alone. */
void tkr_run_parallel(tkr_run *run, size_t n_parts, tkr_pool_part_fn fn, void *arg);
size_t tkr_run_workers(const tkr_run *run);

/* Bytes of one packed row of A. */
size_t tkr_cpu_row_bytes(const tkr_gemm *gemm, size_t k_padded);
/* Bytes between packed rows of A: off a large power of two, so that rows don't share cache sets. */
size_t tkr_cpu_row_stride(const tkr_gemm *gemm, size_t k_padded);
/* Rows of A that stay in the L2 cache while all panels pass over them. */
size_t tkr_cpu_row_block(const tkr_gemm *gemm, size_t k_padded);
size_t tkr_cpu_k_padded(const tkr_gemm *gemm, size_t k);

/* The operations, one file each family. */
tkr_status tkr_cpu_linear(tkr_weight **weight, tkr_backend *backend, const tkr_linear_spec *spec, tkr_error *error);
tkr_status tkr_cpu_vector(tkr_weight **weight, tkr_backend *backend, const tkr_source *source, float offset,
                          tkr_error *error);
tkr_status tkr_cpu_table(tkr_weight **weight, tkr_backend *backend, const tkr_source *source, tkr_error *error);
void tkr_cpu_weight_free(tkr_weight **weight);
size_t tkr_cpu_linear_bytes(const tkr_backend *backend, const tkr_linear_spec *spec);
const void *tkr_cpu_linear_packed(size_t *bytes, const tkr_weight *weight);
tkr_status tkr_cpu_linear_from_packed(tkr_weight **weight, tkr_backend *backend, const tkr_linear_shape *shape,
                                      const void *packed, size_t bytes, tkr_error *error);
tkr_tensor *tkr_cpu_embed(tkr_run *run, const tkr_weight *const *tables, const int32_t *const *indices, size_t n_tables,
                          size_t n_tokens, float scale);
tkr_tensor *tkr_cpu_apply(tkr_run *run, const tkr_tensor *x, const tkr_weight *weight,
                          const tkr_linear_options *options);
tkr_tensor *tkr_cpu_layer_norm(tkr_run *run, const tkr_tensor *x, const tkr_weight *gain, const tkr_weight *shift,
                               float eps, tkr_tensor *into);
tkr_tensor *tkr_cpu_rms_norm(tkr_run *run, const tkr_tensor *x, const tkr_weight *gain, float eps, tkr_tensor *into);
tkr_tensor *tkr_cpu_input(tkr_run *run, const float *values, size_t rows, size_t cols);
tkr_tensor *tkr_cpu_gather(tkr_run *run, const tkr_tensor *x, const size_t *rows, size_t n);
void tkr_cpu_scatter(tkr_run *run, tkr_tensor *into, const tkr_tensor *x, const size_t *rows, bool add);
void tkr_cpu_add(tkr_run *run, tkr_tensor *x, const tkr_tensor *y);
tkr_tensor *tkr_cpu_angles(tkr_run *run, const tkr_angle_options *options);
void tkr_cpu_rotate(tkr_run *run, tkr_tensor *x, const tkr_rotate_options *options);
tkr_tensor *tkr_cpu_attention(tkr_run *run, const tkr_tensor *q, const tkr_tensor *kv, const tkr_batch *batch,
                              const tkr_attention_options *options);
tkr_tensor *tkr_cpu_pool(tkr_run *run, const tkr_tensor *x, const tkr_span *spans, size_t n_spans,
                         const tkr_pool_mode *modes, size_t n_modes);
tkr_tensor *tkr_cpu_normalize(tkr_run *run, const tkr_tensor *x);

#endif
