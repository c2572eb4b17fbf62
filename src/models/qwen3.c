/* SPDX-License-Identifier: Apache-2.0 */
/* models/qwen3: Qwen3 decoders (Qwen3-Embedding): causal, grouped keys and values, normalised heads. Reference:
 * transformers Qwen3Model. */
#include "models/model.h"

static tkr_status configure(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    tkr_status status = tkr_config_llama(config, json, what, error);
    if (status == TKR_OK) status = tkr_config_rope(config, json, 1e6, 0, what, error);
    if (status == TKR_OK) status = tkr_config_qwen_window(config, json, what, error);
    config->causal = true;
    config->split_qkv = true;
    config->mlp_bias = false;
    return status;
}

static const char *const model_types[] = {"qwen3", NULL};
static const char *const prefixes[] = {"", "model.", NULL};
static const char *const ignored[] = {"lm_head.weight", "score.*", "*rotary_emb.inv_freq", NULL};

static const tkr_layout layout = {
    .prefixes = prefixes,
    .ignored = ignored,
    TKR_NAMES_OF_LLAMA,
    .before_mlp = "post_attention_layernorm",
    .q_norm = "self_attn.q_norm",
    .k_norm = "self_attn.k_norm",
};

const tkr_arch tkr_arch_qwen3 = {
    .name = "qwen3",
    .model_types = model_types,
    .gguf = "qwen3",
    .pooling = "lasttoken",
    .instruct_before = "Instruct: ",
    .instruct_after = "\nQuery:", /* no space: the model's page */
    .configure = configure,
    .layout = &layout,
};
