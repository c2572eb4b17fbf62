/* SPDX-License-Identifier: Apache-2.0 */
/* models/eurobert: EuroBERT encoders: Llama's block without a causal mask. Reference: transformers EuroBertModel; the
 * published checkpoints ask for custom code, in whose place this stands. */
#include "models/model.h"

static tkr_status configure(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    tkr_status status = tkr_config_llama(config, json, what, error);
    return status != TKR_OK ? status : tkr_config_rope(config, json, 250000, 0, what, error);
}

static const char *const model_types[] = {"eurobert", NULL};
static const char *const prefixes[] = {"", "model.", NULL};
static const char *const ignored[] = {"lm_head.weight", "classifier.*", "dense.*", "*rotary_emb.inv_freq", NULL};

static const tkr_layout layout = {
    .prefixes = prefixes,
    .ignored = ignored,
    TKR_NAMES_OF_LLAMA,
    .before_mlp = "post_attention_layernorm",
};

const tkr_arch tkr_arch_eurobert = {
    .name = "eurobert",
    .model_types = model_types,
    .gguf = "eurobert",
    .native_adapter = true,
    .configure = configure,
    .layout = &layout,
};
