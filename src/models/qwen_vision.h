/* SPDX-License-Identifier: Apache-2.0 */
/* models/qwen_vision: what the members of the Qwen-VL family share: configuration, and a tower that reads patches of
 * pictures of any size, merges squares of them and gives features to the text model; private to models. */
#ifndef TKR_MODELS_QWEN_VISION_H
#define TKR_MODELS_QWEN_VISION_H

#include "models/vision.h"

/* ---- data that the members share ---- */

/* Names below the tower's layers, but for the MLP's. */
#define TKR_NAMES_OF_QWEN_TOWERS \
    .layer = "blocks.%zu.", .qkv = "attn.qkv", .output = "attn.proj", .before_attention = "norm1", .before_mlp = "norm2"
/* One picture in a prompt, and the chat up to where an answer would begin. */
#define TKR_QWEN_VISUAL "<|vision_start|><|image_pad|><|vision_end|>"
#define TKR_QWEN_CHAT                                                                            \
    "<|im_start|>system\n{instruction}<|im_end|>\n<|im_start|>user\n{visuals}{text}<|im_end|>\n" \
    "<|im_start|>assistant\n"

/* ---- configuration (qwen_config.c) ---- */

/* The object that describes the text model: "text_config" where there is one, else `json` itself. */
const json_t *tkr_qwen_text_json(const json_t *json);

/* Rotary positions of three axes: rope_theta and mrope_section of rope_parameters or rope_scaling. Sections follow one
 * another, or are interleaved (Qwen3-VL): frequency i turns by i % 3 as long as its axis has any left, else by time. */
typedef struct tkr_mrope_config {
    double theta; /* where config.json has none; 0: it must be there */
    bool interleaved;
} tkr_mrope_config;
tkr_status tkr_config_mrope(tkr_arch_config *config, const json_t *text, const tkr_mrope_config *options,
                            const char *what, tkr_error *error);

/* The Qwen2 decoder of Qwen2-VL and Qwen2.5-VL. */
tkr_status tkr_qwen2_vl_text(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error);

/* Names and values that config.json may leave out. 0: it must have the value. */
typedef struct tkr_qwen_tower {
    const char *hidden_size; /* name of the tower's width */
    const char *activation;
    size_t patch_size, depth, hidden, heads;
} tkr_qwen_tower;
/* What all towers of the family have: sizes of patches, layers and heads, rotary positions of two axes, placeholder
 * tokens. Leaves out: intermediate_size and out_hidden_size. Norms are layer norms, weights have biases. */
tkr_status tkr_qwen_vision_config(tkr_vision_config *vision, const tkr_arch_config *text, const json_t *json,
                                  const tkr_qwen_tower *tower, const char *what, tkr_error *error);
/* A positive integer of config.json; fallback 0: it must be there. */
tkr_status tkr_qwen_size(size_t *out, const json_t *json, const char *name, size_t fallback, const char *what,
                         tkr_error *error);
/* Refuses a tower whose features don't have the text model's width. */
tkr_status tkr_qwen_out_size(tkr_vision_config *vision, const tkr_arch_config *text, const json_t *json,
                             const char *name, const char *what, tkr_error *error);

/* ---- the tower (qwen_vision.c) ---- */

/* Names below the tower's prefix. */
typedef struct tkr_qwen_names {
    const char *const *prefixes; /* NULL-terminated */
    const tkr_layout *blocks;
    const char *merger_norm, *merger_first, *merger_second;
    bool patch_bias;
    const char *positions;                            /* table of learned positions, or NULL */
    const char *deep;                                 /* printf of a feature's merger, or NULL */
    const char *deep_norm, *deep_first, *deep_second; /* below it */
    const char *const *heads;                         /* names of the layer behind the text model, or NULL: none */
} tkr_qwen_names;

typedef struct tkr_merger {
    tkr_norm norm;              /* [hidden], or grouped: [merge_size^2 * hidden] */
    tkr_weight *first, *second; /* [wide, wide], [out_size, wide]; wide = merge_size^2 * hidden */
    bool grouped;               /* the norm comes behind the grouping */
} tkr_merger;

typedef struct tkr_qwen_vision {
    tkr_vision_config config;
    tkr_stack stack;
    tkr_weight *patches;  /* [hidden, patch_cols] */
    tkr_matrix positions; /* [n_positions, hidden], read on the host; data NULL: none */
    tkr_merger merger, deep[TKR_MAX_DEEPSTACK];
    tkr_weight *head; /* [head_size, text's hidden] or NULL */
} tkr_qwen_vision;

/* The hooks of tkr_vision_arch; *weights is a tkr_qwen_vision. */
tkr_status tkr_qwen_vision_bind(void **weights, tkr_binder *binder, const tkr_vision_config *vision,
                                const tkr_arch_config *text, const tkr_qwen_names *names, tkr_error *error);
void tkr_qwen_vision_free(void **weights, const tkr_ops *ops);
tkr_tensor *tkr_qwen_vision_encode(const void *weights, tkr_run *run, const tkr_batch *batch, tkr_deep_features *deep);
tkr_tensor *tkr_qwen_vision_head(const void *weights, tkr_run *run, tkr_tensor *x);

#endif
