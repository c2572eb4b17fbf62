/* SPDX-License-Identifier: Apache-2.0 */
/* models: architectures written against ops, found through the registry (archs.def: one row and one file each). */
#ifndef TKR_MODELS_MODEL_H
#define TKR_MODELS_MODEL_H

#include <jansson.h>

#include "core/log.h"
#include "formats/safetensors.h"
#include "ops/ops.h"

typedef enum tkr_norm_kind { TKR_NORM_LAYER, TKR_NORM_RMS } tkr_norm_kind;
typedef enum tkr_norm_place {
    TKR_NORM_POST,    /* x = N(x + f(x)) */
    TKR_NORM_PRE,     /* x = x + f(N(x)) */
    TKR_NORM_SANDWICH /* x = x + N(f(N(x))) */
} tkr_norm_place;

#define TKR_MAX_LAYERS 1024

/* What every architecture says about itself, filled by its `configure` from config.json; zeroed before. */
typedef struct tkr_arch_config {
    size_t hidden_size, n_layers, n_heads, n_kv_heads, head_dim, intermediate_size, vocab_size;
    size_t max_positions; /* usable length in tokens */
    size_t type_vocab_size;
    /* RoBERTa-style positions: those of padding tokens are pad_id, the others count on from pad_id + 1. */
    bool positions_from_pad;
    int32_t pad_id;
    tkr_norm_kind norm;
    tkr_norm_place norm_place;
    float norm_eps, norm_offset; /* offset: the stored gain is gain - offset */
    tkr_activation activation;
    bool gated; /* the MLP is down(act(gate(x)) * up(x)) */
    bool causal;
    bool qkv_bias, output_bias, mlp_bias, norm_bias; /* the layers' linear and norm weights have biases */
    bool split_qkv;        /* keep keys and values in a tensor of their own: long inputs then hold no queries */
    float attention_scale; /* of the logits */
    float embedding_scale; /* of the summed embeddings; 1 as a rule */
    size_t rotary_dim;     /* of a head, 0: no rotary positions */
    float rope_theta[2];   /* of layers with full and with local attention */
    float rope_factor[2];  /* positions are divided by it; 1 as a rule */
    size_t window;         /* of local layers: |i - j| <= window; 0: no layer is local */
    uint8_t local[TKR_MAX_LAYERS / 8]; /* bit i: layer i is local */
    size_t n_buckets, max_distance;    /* T5-style attention bias (mpnet) */
    /* Positions of several axes. Each frequency turns by the axis that rope_axis names. 0 and 1: one axis. */
    unsigned n_position_axes;
    uint8_t rope_axis[TKR_MAX_HEAD_DIM / 2];
    /* Axis a has frequencies of its own: theta^(-2 i n_position_axes / rotary_dim), i from 0 in each axis (2-D
     * positions of pictures); false: all axes share out one list (M-RoPE). */
    bool rope_own_frequencies;
} tkr_arch_config;
static inline bool tkr_arch_is_local(const tkr_arch_config *c, size_t layer) {
    return c->local[layer / 8] >> layer % 8 & 1;
}

typedef struct tkr_binder tkr_binder;
typedef struct tkr_arch_model tkr_arch_model; /* an architecture's weights */

/* Names of a checkpoint's tensors: what blocks.c needs to bind a transformer. Names have no ".weight"; NULL: the model
 * has no such tensor. Names below `layer` follow its text, in which %zu is the layer's number. */
typedef struct tkr_layout {
    const char *const *prefixes; /* NULL-terminated, "" allowed, tried in order */
    const char *const *ignored;  /* NULL-terminated patterns of tensors that other tasks leave behind */
    const char *words, *positions, *types, *embedding_norm, *final_norm, *relative;
    const char *layer;
    const char *q, *k, *v, *qkv; /* qkv: one matrix [q | k | v] in place of three */
    const char *output;
    const char *gate, *up, *gate_up, *down;                                  /* gate_up: one matrix [gate | up] */
    const char *before_attention, *after_attention, *before_mlp, *after_mlp; /* norms */
    const char *q_norm, *k_norm;                                             /* of each head */
    bool first_layer_has_no_attention_norm;                                  /* ModernBERT: the embedding norm is it */
} tkr_layout;

typedef struct tkr_vision_arch tkr_vision_arch;     /* models/vision.h */
typedef struct tkr_vision_config tkr_vision_config; /* models/vision.h */

typedef struct tkr_arch {
    const char *name;
    const char *const *model_types; /* config.json model_type values, NULL-terminated */
    const char *gguf;               /* general.architecture of GGUF files, or NULL: not in GGUF */
    const char *pooling;            /* of a known model without 1_Pooling, or NULL: it must be said */
    bool native_adapter;            /* may stand in for a checkpoint's remote code */
    /* The family's form of an instructed query: text before and after the task, e.g. "Instruct: " and "\nQuery:". NULL:
     * the family has none. */
    const char *instruct_before, *instruct_after;
    tkr_status (*configure)(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error);
    const tkr_layout *layout;
    const tkr_vision_arch *vision; /* what reads pictures, or NULL: texts only */
} tkr_arch;

/* What config.json made of an architecture. Borrows everything. */
typedef struct tkr_arch_spec {
    const tkr_arch *arch;
    const tkr_arch_config *config;
    const tkr_vision_config *vision; /* of architectures with a vision part, else NULL */
} tkr_arch_spec;

/* Binds the text transformer, then the vision part where there is one (arch.c). Returns a model. */
tkr_status tkr_arch_bind(tkr_arch_model **model, tkr_binder *binder, const tkr_arch_spec *spec, tkr_error *error);
/* Last hidden state [n_tokens, hidden_size] of the batch's texts, with the features of its pictures in the place of
 * their placeholders; NULL after a failure. */
tkr_tensor *tkr_arch_forward(const tkr_arch_model *model, tkr_run *run, const tkr_batch *batch);
/* Models with a tower for pictures alone: their vectors [n_visuals, vectors' size], not normalised. */
tkr_tensor *tkr_arch_encode(const tkr_arch_model *model, tkr_run *run, const tkr_batch *batch);
/* What the architecture itself has between pooled states and vectors (SigLIP's text head, CLIP's projection, ColQwen's
 * custom_text_proj): consumes x; x itself where there is no such thing. */
tkr_tensor *tkr_arch_head(const tkr_arch_model *model, tkr_run *run, tkr_tensor *x);
void tkr_arch_free(tkr_arch_model **model);
/* Bytes that the tensors of a forward pass of n_tokens take at most, whatever passes its run has seen before; worker
 * scratch (tkr_ops.scratch_bytes) comes on top. */
size_t tkr_arch_workspace(const tkr_arch_config *config, size_t n_tokens, size_t chunk_rows);
/* Matrix operations (2 per multiply-accumulate) of one sequence, attention (visible keys only) included. */
double tkr_arch_operations(const tkr_arch_config *config, size_t n_tokens);
/* The widest input of a linear layer: what scratch for packed rows depends on. */
size_t tkr_arch_widest(const tkr_arch_config *config);
/* Which half of the MLP loses more to 4-bit weights: measured on all-MiniLM-L6-v2 the first (docs/numerics.md); in
 * gated ones the second, whose inputs have outliers. */
static inline unsigned tkr_arch_up_sensitivity(const tkr_arch_config *c) {
    return c->gated ? TKR_SENSITIVE_SMALL : TKR_SENSITIVE_WEIGHT;
}
/* What a gate multiplies holds the outlier channels of trained models: 8 bits a row lose the others (docs/numerics.md).
 */
static inline unsigned tkr_arch_down_sensitivity(const tkr_arch_config *c) {
    return c->gated ? TKR_SENSITIVE_WEIGHT | TKR_SENSITIVE_INPUT : TKR_SENSITIVE_SMALL;
}

/* Helpers of `configure`. Reads positive integers to size_t fields; a row with `fallback` >= 0 may be missing. */
typedef struct tkr_config_field {
    const char *name;
    size_t offset; /* in tkr_arch_config */
    int64_t max;
    int64_t fallback; /* -1: the field must be there */
} tkr_config_field;
tkr_status tkr_config_sizes(tkr_arch_config *config, const json_t *json, const tkr_config_field *fields,
                            size_t n_fields, const char *what, tkr_error *error);
/* Head counts and widths that follow from others; attention_scale 1/sqrt(head_dim), embedding_scale and rope_factors 1.
 * Every `configure` ends up here, through tkr_config_common or by itself. */
tkr_status tkr_config_heads(tkr_arch_config *config, const char *what, tkr_error *error);
/* hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, vocab_size, max_position_embeddings;
 * n_kv_heads from num_key_value_heads and head_dim from head_dim where there are such, else derived; activation from
 * hidden_activation or hidden_act, else `activation`. */
tkr_status tkr_config_common(tkr_arch_config *config, const json_t *json, const char *activation, const char *what,
                             tkr_error *error);
/* rope_theta (or rope_parameters, also per layer type) with rope_scaling of type default or linear; others are refused
 * by name. theta_local 0: local layers have the angles of full ones. Sets rotary_dim to head_dim where it is 0. */
tkr_status tkr_config_rope(tkr_arch_config *config, const json_t *json, double theta_full, double theta_local,
                           const char *what, tkr_error *error);
/* layer_types ("full_attention", "sliding_attention") where config.json has them; else every layer whose number is no
 * multiple of `every` (counted from `phase`) is local; every 0: none. */
tkr_status tkr_config_local(tkr_arch_config *config, const json_t *json, size_t every, size_t phase, const char *what,
                            tkr_error *error);
/* use_sliding_window, sliding_window and max_window_layers as the Qwen family has them: a window of w keys, the query's
 * own included. */
tkr_status tkr_config_qwen_window(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error);
/* RoBERTa-style positions; the position table has max_position_embeddings rows, of which pad_id + 1 are not usable. */
tkr_status tkr_config_positions_from_pad(tkr_arch_config *config, int64_t pad_id, const char *what, tkr_error *error);

/* Families whose members differ by little. BERT: post-norm with biases (layer_norm_eps, type_vocab_size), learned
 * positions. Llama: RMS pre-norm, gated MLP, rotary positions (rms_norm_eps, attention_bias, mlp_bias). */
tkr_status tkr_config_bert(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error);
tkr_status tkr_config_roberta(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error);
tkr_status tkr_config_llama(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error);
#define TKR_NAMES_OF_BERT                                                                        \
    .words = "embeddings.word_embeddings", .positions = "embeddings.position_embeddings",        \
    .types = "embeddings.token_type_embeddings", .embedding_norm = "embeddings.LayerNorm",       \
    .layer = "encoder.layer.%zu.", .q = "attention.self.query", .k = "attention.self.key",       \
    .v = "attention.self.value", .output = "attention.output.dense", .up = "intermediate.dense", \
    .down = "output.dense", .after_attention = "attention.output.LayerNorm", .after_mlp = "output.LayerNorm"
#define TKR_NAMES_OF_LLAMA                                                                                   \
    .words = "embed_tokens", .final_norm = "norm", .layer = "layers.%zu.", .q = "self_attn.q_proj",          \
    .k = "self_attn.k_proj", .v = "self_attn.v_proj", .output = "self_attn.o_proj", .gate = "mlp.gate_proj", \
    .up = "mlp.up_proj", .down = "mlp.down_proj", .before_attention = "input_layernorm"

/* NULL-terminated. */
const tkr_arch *const *tkr_archs(void);
const tkr_arch *tkr_arch_find(const char *model_type);

/* ---- binding tensors ---- */

/* Where packed layers are kept between starts (engine/weight_cache). Both are called in the order of binding. */
typedef struct tkr_packed_store {
    void *user;
    /* Packed bytes of the layer `key`, 64-byte aligned, alive as long as the model; NULL: not there. */
    const void *(*get)(void *user, const char *key, size_t *bytes);
    /* Told of every layer packed afresh; may fail silently: a cache is never needed. */
    void (*put)(void *user, const char *key, const void *packed, size_t bytes);
} tkr_packed_store;

/* Takes nothing; borrows everything. */
typedef struct tkr_binder_options {
    const tkr_tensors *set;
    const tkr_ops *ops;
    tkr_backend *backend;
    tkr_gemm_mode mode;
    size_t group;                  /* q4: 32, 64 or 128 */
    unsigned spared;               /* q4: layers with one of these tkr_sensitivity flags get q8 */
    const json_t *quantization;    /* config.json's "quantization" of an MLX checkpoint, or NULL */
    const tkr_packed_store *store; /* or NULL */
    bool release_source;           /* drop the checkpoint's pages once a layer is packed */
    tkr_pool *pool;                /* workers that add an adapter to a layer, or NULL: the calling thread alone */
} tkr_binder_options;
/* Bytes that the model's weights will take beside the mapped checkpoint, to the last one: binds without packing. Fails
 * like tkr_arch_bind does, but for non-finite values. */
tkr_status tkr_arch_measure(uint64_t *n_bytes, const tkr_binder_options *options, const tkr_arch_spec *spec,
                            tkr_error *error);
tkr_status tkr_binder_create(tkr_binder **binder, const tkr_binder_options *options, tkr_error *error);
void tkr_binder_free(tkr_binder **binder);
/* Sets the prefix to the first of `prefixes` (NULL-terminated, "" allowed) under which tensor `probe` exists. */
tkr_status tkr_bind_prefix(tkr_binder *binder, const char *const *prefixes, const char *probe, tkr_error *error);
/* "name.weight" [rows, cols]; each must exist with exactly this shape, or be MLX-quantised to it. */
tkr_status tkr_bind_table(tkr_binder *binder, tkr_weight **out, const char *name, size_t rows, size_t cols,
                          tkr_error *error);
/* Tensor `name`, or `alt` (nullable), a vector of n; `offset` is added to its values. */
tkr_status tkr_bind_vector(tkr_binder *binder, tkr_weight **out, const char *name, const char *alt, size_t n,
                           float offset, tkr_error *error);
/* "name.weight" [rows, cols] as one vector of rows * cols values. */
tkr_status tkr_bind_flat(tkr_binder *binder, tkr_weight **out, const char *name, size_t rows, size_t cols,
                         tkr_error *error);
/* Tensor `name` of rows * cols plain numbers whose first dimensions make up `rows`, for use on the host; borrowed from
 * the checkpoint. */
tkr_status tkr_bind_values(tkr_binder *binder, tkr_source *source, const char *name, size_t rows, size_t cols,
                           tkr_error *error);
/* The same of tensor `name` as a table of the backend; and of "name.weight", plain or MLX-quantised, on the host. */
tkr_status tkr_bind_rows(tkr_binder *binder, tkr_weight **out, const char *name, size_t rows, size_t cols,
                         tkr_error *error);
tkr_status tkr_bind_matrix(tkr_binder *binder, tkr_matrix *matrix, const char *name, size_t rows, size_t cols,
                           tkr_error *error);
/* Rows [first, first + rows) of the matrix "name.weight" [total, cols], with the same of "name.bias" where the layer
 * has biases. */
typedef struct tkr_bind_part {
    const char *name;
    size_t total, first, rows;
    bool conv;       /* stored as a convolution's kernel, [total, ...] with cols values a row */
    bool underscore; /* named "name_weight" and "name_bias", as PyTorch's MultiheadAttention has them */
} tkr_bind_part;
typedef struct tkr_bind_spec {
    const tkr_bind_part *parts; /* [n_parts], stacked to one linear layer */
    size_t n_parts, cols;
    bool bias, gated;
    unsigned sensitivity;
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
    bool normalizes; /* the last module is Normalize */
    size_t dimensions;
    char pooling[96]; /* "mean", "cls+max" */
} tkr_post_info;

typedef struct tkr_post_options {
    const char *folder;       /* NULL: no files; `pooling`, then the Dense modules of `dense`, then normalisation */
    const tkr_tensors *dense; /* "dense_2.weight", "dense_3.weight", ..., or NULL; alive as long as the modules */
    const char *pooling;      /* the caller's choice, or NULL */
    const tkr_arch *arch;
    size_t hidden_size;
    size_t head_size; /* width after tkr_arch_head, 0: the architecture has no head */
    const tkr_ops *ops;
    tkr_backend *backend;
    const tkr_log *log;
} tkr_post_options;
/* Reads modules.json, 1_Pooling, Dense and Normalize folders. Returns the modules. */
tkr_status tkr_post_load(tkr_post **post, const tkr_post_options *options, tkr_error *error);
void tkr_post_free(tkr_post **post);
const tkr_post_info *tkr_post_get_info(const tkr_post *post);
/* hidden [n_tokens, hidden] of `model` -> [n_spans, dimensions]. A Normalize module at the end is left to the caller,
 * who may want it for some rows only. */
tkr_tensor *tkr_post_apply(const tkr_post *post, const tkr_arch_model *model, tkr_run *run, const tkr_tensor *hidden,
                           const tkr_batch *batch);
/* The same for what tkr_arch_encode gave: the modules without the pooling. Consumes x. */
tkr_tensor *tkr_post_finish(const tkr_post *post, tkr_run *run, tkr_tensor *x);
/* Parses "cls+max"; the message lists the modes. */
tkr_status tkr_pooling_parse(tkr_pool_mode *modes, size_t *n_modes, const char *text, tkr_error *error);

/* Parses a config.json activation name ("gelu", "gelu_new", "relu", ...). */
tkr_status tkr_activation_parse(tkr_activation *out, const char *name, const char *what, tkr_error *error);

#endif
