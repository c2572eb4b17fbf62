/* SPDX-License-Identifier: Apache-2.0 */
/* models: architectures written against ops, found through the registry (archs.def: one row and one file each). */
#ifndef TKR_MODELS_MODEL_H
#define TKR_MODELS_MODEL_H

#include <jansson.h>

#include "core/log.h"
#include "formats/safetensors.h"
#include "ops/ops.h"

/* What every architecture says about itself, filled by its `configure` from config.json. */
typedef struct tkr_arch_config {
    size_t hidden_size, n_layers, n_heads, head_dim, intermediate_size, vocab_size;
    size_t max_positions; /* usable length in tokens */
    size_t type_vocab_size;
    float norm_eps;
    tkr_activation activation;
} tkr_arch_config;

typedef struct tkr_binder tkr_binder;
typedef struct tkr_arch_model tkr_arch_model; /* an architecture's weights */

typedef struct tkr_arch {
    const char *name;
    const char *const *model_types; /* config.json model_type values, NULL-terminated */
    const char *pooling;            /* of a known model without 1_Pooling, or NULL: it must be said */
    bool native_adapter;            /* may stand in for a checkpoint's remote code */
    tkr_status (*configure)(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error);
    tkr_status (*bind)(tkr_arch_model **model, tkr_binder *binder, const tkr_arch_config *config, tkr_error *error);
    /* Last hidden state [n_tokens, hidden_size], NULL after a failure. */
    tkr_tensor *(*forward)(const tkr_arch_model *model, tkr_run *run, const tkr_batch *batch);
    void (*free)(tkr_arch_model **model);
    /* Columns of f32 activations alive at once per token: the workspace is n_tokens * this * 4 bytes. */
    size_t (*live_columns)(const tkr_arch_config *config);
    /* Matrix operations (2 per multiply-accumulate) of one sequence, attention included. */
    double (*operations)(const tkr_arch_config *config, size_t n_tokens);
    /* Packed bytes of all linear layers in `mode`. */
    size_t (*weight_bytes)(const tkr_arch_config *config, const tkr_ops *ops, const tkr_backend *backend,
                           tkr_gemm_mode mode);
} tkr_arch;

/* NULL-terminated. */
const tkr_arch *const *tkr_archs(void);
const tkr_arch *tkr_arch_find(const char *model_type);

/* ---- binding tensors ---- */

/* Takes nothing; borrows set, ops and backend. `prefixes` are tried in order on `probe` (a tensor every checkpoint
 * has). */
typedef struct tkr_binder_options {
    const tkr_tensors *set;
    const tkr_ops *ops;
    tkr_backend *backend;
    tkr_gemm_mode mode;
} tkr_binder_options;
tkr_status tkr_binder_create(tkr_binder **binder, const tkr_binder_options *options, tkr_error *error);
void tkr_binder_free(tkr_binder **binder);
/* Sets the prefix to the first of `prefixes` (NULL-terminated, "" allowed) under which `probe` exists. */
tkr_status tkr_bind_prefix(tkr_binder *binder, const char *const *prefixes, const char *probe, tkr_error *error);
/* Names are printf-formatted by the caller; each must exist with exactly this shape. */
tkr_status tkr_bind_table(tkr_binder *binder, tkr_weight **out, const char *name, size_t rows, size_t cols,
                          tkr_error *error);
/* Tries name, then alt (nullable). */
tkr_status tkr_bind_vector(tkr_binder *binder, tkr_weight **out, const char *name, const char *alt, size_t n,
                           tkr_error *error);
/* n_parts matrices "names[i].weight" [rows[i], cols] with "names[i].bias" [rows[i]] stacked to one linear layer. */
typedef struct tkr_bind_spec {
    const char *const *names; /* [n_parts] */
    const size_t *rows;       /* [n_parts] */
    size_t n_parts, cols;
    bool bias;
    bool fine; /* in q8: inputs need more than 8 bits */
} tkr_bind_spec;
tkr_status tkr_bind_linear(tkr_binder *binder, tkr_weight **out, const tkr_bind_spec *spec, tkr_error *error);
/* Describes a tensor after checking its exact shape (rows 0: a vector of `cols`) and that its type can be weights. */
tkr_status tkr_source_of(tkr_source *source, const tkr_tensor_view *view, size_t rows, size_t cols, tkr_error *error);
/* Every tensor not bound must match a pattern of `ignore` (NULL-terminated; '*' matches any run): else TKR_FORMAT. */
tkr_status tkr_bind_finish(tkr_binder *binder, const char *const *ignore, tkr_error *error);
uint64_t tkr_binder_parameters(const tkr_binder *binder);
const tkr_ops *tkr_binder_ops(const tkr_binder *binder);
tkr_backend *tkr_binder_backend(const tkr_binder *binder);
tkr_gemm_mode tkr_binder_mode(const tkr_binder *binder);

/* ---- what comes after the network: the sentence-transformers modules ---- */

typedef struct tkr_post tkr_post;
typedef struct tkr_post_info {
    tkr_pool_mode modes[TKR_POOL_MODES];
    size_t n_modes;
    bool include_prompt;
    bool normalizes;
    size_t dimensions;
    char pooling[96]; /* "mean", "cls+max" */
} tkr_post_info;

typedef struct tkr_post_options {
    const char *folder;
    const char *pooling; /* the caller's choice, or NULL */
    const tkr_arch *arch;
    size_t hidden_size;
    const tkr_ops *ops;
    tkr_backend *backend;
    const tkr_log *log;
} tkr_post_options;
/* Reads modules.json, 1_Pooling, Dense and Normalize folders. Returns the modules. */
tkr_status tkr_post_load(tkr_post **post, const tkr_post_options *options, tkr_error *error);
void tkr_post_free(tkr_post **post);
const tkr_post_info *tkr_post_get_info(const tkr_post *post);
/* hidden [n_tokens, hidden] -> [n_spans, dimensions]; normalize false leaves Normalize modules out. */
tkr_tensor *tkr_post_apply(const tkr_post *post, tkr_run *run, const tkr_tensor *hidden, const tkr_batch *batch,
                           bool normalize);
/* Parses "cls+max"; the message lists the modes. */
tkr_status tkr_pooling_parse(tkr_pool_mode *modes, size_t *n_modes, const char *text, tkr_error *error);

/* Parses a config.json activation name ("gelu", "gelu_new", "relu", ...). */
tkr_status tkr_activation_parse(tkr_activation *out, const char *name, const char *what, tkr_error *error);

#endif
