/* SPDX-License-Identifier: Apache-2.0 */
/* models/qwen2: Qwen2 decoders (gte-Qwen2): causal, grouped keys and values, biases on them and on the queries.
 * Reference: transformers Qwen2Model. */
#include "models/model.h"

static tkr_status configure(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    tkr_status status = tkr_config_llama(config, json, what, error);
    if (status == TKR_OK) status = tkr_config_rope(config, json, 1e6, 0, what, error);
    if (status == TKR_OK) status = tkr_config_qwen_window(config, json, what, error);
    config->causal = true;
    config->split_qkv = true;
    config->qkv_bias = true; /* in the reference's code, not in config.json */
    config->output_bias = config->mlp_bias = false;
    return status;
}

static const char *const model_types[] = {"qwen2", NULL};
static const char *const prefixes[] = {"", "model.", NULL};
static const char *const ignored[] = {"lm_head.weight", "score.*", "*rotary_emb.inv_freq", NULL};

static const tkr_layout layout = {
    .prefixes = prefixes,
    .ignored = ignored,
    TKR_NAMES_OF_LLAMA,
    .before_mlp = "post_attention_layernorm",
};

const tkr_arch tkr_arch_qwen2 = {
    .name = "qwen2",
    .model_types = model_types,
    .gguf = "qwen2",
    .instruct_before = "Instruct: ",
    .instruct_after = "\nQuery: ",
    .configure = configure,
    .layout = &layout,
};
