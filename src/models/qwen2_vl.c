/* SPDX-License-Identifier: Apache-2.0 */
/* models/qwen2_vl: Qwen2-VL as Ops-MM-embedding uses it: a fixed prompt with pictures before the text, the last token's
 * state. Reference: transformers Qwen2VLModel, ops_mm_embedding_v1.py of the published checkpoints. */
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "models/qwen_vision.h"

static tkr_status configure_vision(tkr_vision_config *vision, const tkr_arch_config *text, const json_t *json,
                                   const char *what, tkr_error *error) {
    static const tkr_qwen_tower tower = {"embed_dim", "quick_gelu", 14, 32, 1280, 16};
    const json_t *own = json_object_get(json, "vision_config");
    double ratio = 4;
    tkr_status status = tkr_qwen_vision_config(vision, text, json, &tower, what, error);
    if (status == TKR_OK) status = tkr_json_get_double(&ratio, own, "mlp_ratio", 1e-3, 64, false, what, error);
    if (status == TKR_OK) status = tkr_qwen_out_size(vision, text, own, "hidden_size", what, error);
    vision->tower.intermediate_size = (size_t)((double)vision->tower.hidden_size * ratio);
    if (status == TKR_OK && vision->tower.intermediate_size == 0)
        status = TKR_FAIL(error, FORMAT, "%s: mlp_ratio %g leaves no MLP", what, ratio);
    return status;
}

static const char *const model_types[] = {"qwen2_vl", NULL};
static const char *const prefixes[] = {"model.language_model.", "model.", "language_model.model.", NULL};
static const char *const ignored[] = {"lm_head.*", "*rotary_emb.inv_freq", "*rotary_pos_emb.inv_freq", NULL};

static const tkr_layout layout = {
    .prefixes = prefixes,
    .ignored = ignored,
    TKR_NAMES_OF_LLAMA,
    .before_mlp = "post_attention_layernorm",
};

static const char *const vision_prefixes[] = {"model.visual.", "visual.", NULL};

static const tkr_layout blocks = {
    TKR_NAMES_OF_QWEN_TOWERS,
    .up = "mlp.fc1",
    .down = "mlp.fc2",
};

static const tkr_qwen_names names = {
    .prefixes = vision_prefixes,
    .blocks = &blocks,
    .merger_norm = "merger.ln_q",
    .merger_first = "merger.mlp.0",
    .merger_second = "merger.mlp.2",
};

static tkr_status bind(void **weights, tkr_binder *binder, const tkr_vision_config *vision, const tkr_arch_config *text,
                       tkr_error *error) {
    return tkr_qwen_vision_bind(weights, binder, vision, text, &names, error);
}

static const tkr_recipe recipe = {
    .with_visuals = TKR_QWEN_CHAT "<|endoftext|>",
    .text_only = TKR_QWEN_CHAT "<|endoftext|>",
    .visual = TKR_QWEN_VISUAL,
    .video_fps = 2, /* frames are pictures of their own, as many as mteb takes */
    .video_min_frames = 1,
    .video_max_frames = 64,
    .default_instruction = "You are a helpful assistant.",
    .never_truncate = true, /* the last token gives the vector */
};

static const tkr_vision_arch vision = {
    .processor = "ops",
    .recipe = &recipe,
    .configure = configure_vision,
    .bind = bind,
    .free = tkr_qwen_vision_free,
    .encode = tkr_qwen_vision_encode,
};

const tkr_arch tkr_arch_qwen2_vl = {
    .name = "qwen2_vl",
    .model_types = model_types,
    .pooling = "lasttoken",
    .configure = tkr_qwen2_vl_text,
    .layout = &layout,
    .vision = &vision,
};
