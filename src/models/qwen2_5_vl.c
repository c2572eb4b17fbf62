/* SPDX-License-Identifier: Apache-2.0 */
/* models/qwen2_5_vl: Qwen2.5-VL as ColQwen2.5 uses it: a tower whose layers mostly see windows, and a vector for every
 * token of the text model. Reference: transformers Qwen2_5_VLModel, colpali-engine ColQwen2_5. */
#include <string.h>

#include "core/json.h"
#include "models/qwen_vision.h"

static tkr_status read_full_layers(tkr_arch_config *tower, const json_t *own, const char *what, tkr_error *error) {
    const json_t *list = json_object_get(own, "fullatt_block_indexes"), *value;
    size_t i;
    if (!json_is_array(list)) return TKR_FAIL(error, FORMAT, "%s: fullatt_block_indexes must be a list", what);
    for (i = 0; i < tower->n_layers; i++) tower->local[i / 8] = (uint8_t)(tower->local[i / 8] | 1u << i % 8);
    json_array_foreach(list, i, value) {
        const json_int_t layer = json_integer_value(value);
        if (!json_is_integer(value) || layer < 0 || (size_t)layer >= tower->n_layers)
            return TKR_FAIL(error, FORMAT, "%s: fullatt_block_indexes[%zu] must be a layer below %zu", what, i,
                            tower->n_layers);
        tower->local[layer / 8] = (uint8_t)(tower->local[layer / 8] & ~(1u << layer % 8));
    }
    return TKR_OK;
}

/* transformers' own ColQwen2 format describes the model in vlm_config. */
static const json_t *inner_json(const json_t *json) {
    const json_t *inner = json_object_get(json, "vlm_config");
    return json_is_object(inner) ? inner : json;
}

static tkr_status configure(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    const json_t *inner = inner_json(json);
    const char *type = "qwen2_5_vl";
    tkr_status status = tkr_json_get_string(&type, inner, "model_type", false, what, error);
    if (status != TKR_OK) return status;
    if (inner != json && strcmp(type, "qwen2_5_vl") != 0)
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: vlm_config with model_type \"%.40s\" is not supported; supported: "
                        "qwen2_5_vl",
                        what, type);
    return tkr_qwen2_vl_text(config, inner, what, error);
}

static tkr_status configure_vision(tkr_vision_config *vision, const tkr_arch_config *text, const json_t *json,
                                   const char *what, tkr_error *error) {
    static const tkr_qwen_tower tower = {"hidden_size", "silu", 14, 32, 1280, 16};
    const json_t *top = inner_json(json), *own = json_object_get(top, "vision_config");
    tkr_arch_config *c = &vision->tower;
    tkr_status status = tkr_qwen_vision_config(vision, text, top, &tower, what, error);
    if (status == TKR_OK) status = tkr_qwen_size(&c->intermediate_size, own, "intermediate_size", 0, what, error);
    if (status == TKR_OK) status = tkr_qwen_out_size(vision, text, own, "out_hidden_size", what, error);
    if (status == TKR_OK) status = tkr_qwen_size(&vision->window_size, own, "window_size", 112, what, error);
    if (status == TKR_OK) status = read_full_layers(c, own, what, error);
    if (status == TKR_OK) status = tkr_qwen_size(&vision->head_size, json, "embedding_dim", 128, what, error);
    if (status == TKR_OK && vision->window_size / vision->merge_size / vision->patch_size == 0)
        status = TKR_FAIL(error, FORMAT, "%s: window_size %zu is less than one merged square of patches", what,
                          vision->window_size);
    c->norm = TKR_NORM_RMS;
    c->gated = true;
    return status;
}

static const char *const model_types[] = {"qwen2_5_vl", "colqwen2_5", "colqwen2", NULL};
/* The base repository, newer transformers, and merged conversions. */
static const char *const prefixes[] = {"model.language_model.", "model.",     "vlm.model.language_model.",
                                       "vlm.language_model.",   "vlm.model.", NULL};
static const char *const ignored[] = {"lm_head.*", "vlm.lm_head.*", "*rotary_emb.inv_freq", "*rotary_pos_emb.inv_freq",
                                      NULL};

static const tkr_layout layout = {
    .prefixes = prefixes,
    .ignored = ignored,
    TKR_NAMES_OF_LLAMA,
    .before_mlp = "post_attention_layernorm",
};

static const char *const vision_prefixes[] = {"visual.", "model.visual.", "vlm.model.visual.", "vlm.visual.", NULL};
static const char *const heads[] = {"custom_text_proj", "embedding_proj_layer", "model.custom_text_proj", NULL};

static const tkr_layout blocks = {
    TKR_NAMES_OF_QWEN_TOWERS,
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
};

static const tkr_qwen_names names = {
    .prefixes = vision_prefixes,
    .blocks = &blocks,
    .merger_norm = "merger.ln_q",
    .merger_first = "merger.mlp.0",
    .merger_second = "merger.mlp.2",
    .heads = heads,
};

static tkr_status bind(void **weights, tkr_binder *binder, const tkr_vision_config *vision, const tkr_arch_config *text,
                       tkr_error *error) {
    return tkr_qwen_vision_bind(weights, binder, vision, text, &names, error);
}

#define PAD "<|endoftext|>"

static const tkr_recipe recipe = {
    .with_visuals = "<|im_start|>user\n{visuals}Describe the image.<|im_end|>" PAD,
    .text_only = "{prefix}{text}" PAD PAD PAD PAD PAD PAD PAD PAD PAD PAD, /* 10 tokens that count like the text's */
    .visual = TKR_QWEN_VISUAL,
    .default_prefix = "Query: ",
    .never_truncate = true,
    .multi_vector = true,
};

static const tkr_vision_arch vision = {
    .processor = "qwen2",
    .max_visuals = 1,
    .recipe = &recipe,
    .configure = configure_vision,
    .bind = bind,
    .free = tkr_qwen_vision_free,
    .encode = tkr_qwen_vision_encode,
    .head = tkr_qwen_vision_head,
};

const tkr_arch tkr_arch_qwen2_5_vl = {
    .name = "qwen2_5_vl",
    .model_types = model_types,
    .pooling = "lasttoken", /* of one token each */
    .configure = configure,
    .layout = &layout,
    .vision = &vision,
};
