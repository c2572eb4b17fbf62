/* SPDX-License-Identifier: Apache-2.0 */
/* models/qwen3_vl: Qwen3-VL (Qwen3-VL-Embedding): positions of a learned table stretched over the picture, features of
 * several tower layers added behind the text's first layers (DeepStack), interleaved M-RoPE. Reference: transformers
 * Qwen3VLModel, qwen3_vl_embedding.py of the published checkpoints. */
#include "core/json.h"
#include "models/qwen_vision.h"

static tkr_status configure(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    const json_t *text = tkr_qwen_text_json(json);
    const tkr_mrope_config mrope = {.interleaved = true};
    tkr_status status = tkr_config_llama(config, text, what, error);
    if (status == TKR_OK) status = tkr_config_mrope(config, text, &mrope, what, error);
    config->causal = true;
    config->split_qkv = true;
    config->mlp_bias = false;
    return status;
}

static tkr_status read_deepstack(tkr_vision_config *vision, const tkr_arch_config *text, const json_t *own,
                                 const char *what, tkr_error *error) {
    const json_t *list = json_object_get(own, "deepstack_visual_indexes"), *value;
    const size_t n = json_array_size(list),
                 most = text->n_layers < TKR_MAX_DEEPSTACK ? text->n_layers : TKR_MAX_DEEPSTACK;
    size_t i;
    if (!json_is_array(list) || n > most)
        return TKR_FAIL(error, FORMAT, "%s: deepstack_visual_indexes must be a list of at most %zu layers", what, most);
    json_array_foreach(list, i, value) {
        const json_int_t layer = json_integer_value(value);
        if (!json_is_integer(value) || layer < 0 || (size_t)layer >= vision->tower.n_layers ||
            (i > 0 && (size_t)layer <= vision->deepstack[i - 1]))
            return TKR_FAIL(error, FORMAT,
                            "%s: deepstack_visual_indexes[%zu] must be a layer below %zu, behind the one before", what,
                            i, vision->tower.n_layers);
        vision->deepstack[i] = (size_t)layer;
    }
    vision->n_deepstack = n;
    return TKR_OK;
}

static tkr_status configure_vision(tkr_vision_config *vision, const tkr_arch_config *text, const json_t *json,
                                   const char *what, tkr_error *error) {
    static const tkr_qwen_tower tower = {"hidden_size", "gelu_pytorch_tanh", 16, 27, 1152, 16};
    const json_t *own = json_object_get(json, "vision_config");
    size_t side = 1;
    tkr_status status = tkr_qwen_vision_config(vision, text, json, &tower, what, error);
    if (status == TKR_OK)
        status = tkr_qwen_size(&vision->tower.intermediate_size, own, "intermediate_size", 4304, what, error);
    if (status == TKR_OK) status = tkr_qwen_out_size(vision, text, own, "out_hidden_size", what, error);
    if (status == TKR_OK)
        status = tkr_qwen_size(&vision->n_positions, own, "num_position_embeddings", 2304, what, error);
    if (status == TKR_OK) status = read_deepstack(vision, text, own, what, error);
    while (side * side < vision->n_positions) side++;
    if (status == TKR_OK && side * side != vision->n_positions)
        status = TKR_FAIL(error, FORMAT, "%s: num_position_embeddings %zu is not the square of a number", what,
                          vision->n_positions);
    return status;
}

static const char *const model_types[] = {"qwen3_vl", NULL};
static const char *const prefixes[] = {"model.language_model.", "language_model.model.", "language_model.", "model.",
                                       NULL};
static const char *const ignored[] = {"lm_head.*", "*rotary_emb.inv_freq", "*rotary_pos_emb.inv_freq", NULL};

static const tkr_layout layout = {
    .prefixes = prefixes,
    .ignored = ignored,
    TKR_NAMES_OF_LLAMA,
    .before_mlp = "post_attention_layernorm",
    .q_norm = "self_attn.q_norm",
    .k_norm = "self_attn.k_norm",
};

static const char *const vision_prefixes[] = {"model.visual.", "visual.", NULL};

static const tkr_layout blocks = {
    TKR_NAMES_OF_QWEN_TOWERS,
    .up = "mlp.linear_fc1",
    .down = "mlp.linear_fc2",
};

static const tkr_qwen_names names = {
    .prefixes = vision_prefixes,
    .blocks = &blocks,
    .merger_norm = "merger.norm",
    .merger_first = "merger.linear_fc1",
    .merger_second = "merger.linear_fc2",
    .patch_bias = true,
    .positions = "pos_embed",
    .deep = "deepstack_merger_list.%zu.",
    .deep_norm = "norm",
    .deep_first = "linear_fc1",
    .deep_second = "linear_fc2",
};

static tkr_status bind(void **weights, tkr_binder *binder, const tkr_vision_config *vision, const tkr_arch_config *text,
                       tkr_error *error) {
    return tkr_qwen_vision_bind(weights, binder, vision, text, &names, error);
}

/* The tokenizer's post-processor appends the token that gives the vector. */
static const tkr_recipe recipe = {
    .with_visuals = TKR_QWEN_CHAT,
    .text_only = TKR_QWEN_CHAT,
    .visual = TKR_QWEN_VISUAL,
    .before_video = "<|vision_start|>",
    .frames = "<|vision_start|><|video_pad|><|vision_end|>",
    .after_video = "<|vision_end|>",
    .video_fps = 1,
    .video_min_frames = 4,
    .video_max_frames = 64,
    .default_instruction = "Represent the user's input.",
    .empty = "NULL",
    .instruction_ends_sentence = true,
    .never_truncate = true,
    .max_tokens = 8192, /* Qwen3-VL-Embedding's max_length */
};

static const tkr_vision_arch vision = {
    .processor = "qwen3_vl",
    .frames_apart = true,
    .recipe = &recipe,
    .configure = configure_vision,
    .bind = bind,
    .free = tkr_qwen_vision_free,
    .encode = tkr_qwen_vision_encode,
};

const tkr_arch tkr_arch_qwen3_vl = {
    .name = "qwen3_vl",
    .model_types = model_types,
    .pooling = "lasttoken",
    .configure = configure,
    .layout = &layout,
    .vision = &vision,
};
