/* SPDX-License-Identifier: Apache-2.0 */
/* models/gemma3_text: Gemma 3 text networks (EmbeddingGemma): norms before and after each part, gains stored less one,
 * scaled embeddings, layers with a window between layers without. Reference: transformers Gemma3TextModel. */
#include <math.h>

#include "core/json.h"
#include "models/model.h"

static tkr_status refuse_softcapping(const json_t *json, const char *what, tkr_error *error) {
    const json_t *cap = json_object_get(json, "attn_logit_softcapping");
    if (!cap || json_is_null(cap)) return TKR_OK;
    return TKR_FAIL(error, UNSUPPORTED, "%s: attn_logit_softcapping is not supported; supported: null", what);
}

static tkr_status configure(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    int64_t window = 0, every = 6;
    double query_scalar = 256, local_theta = 10000;
    bool bidirectional = false;
    tkr_status status = tkr_config_llama(config, json, what, error);
    if (status == TKR_OK) status = refuse_softcapping(json, what, error);
    if (status == TKR_OK) status = tkr_json_get_int(&window, json, "sliding_window", 2, 1 << 24, true, what, error);
    if (status == TKR_OK)
        status = tkr_json_get_int(&every, json, "sliding_window_pattern", 1, TKR_MAX_LAYERS, false, what, error);
    if (status == TKR_OK)
        status = tkr_json_get_int(&every, json, "_sliding_window_pattern", 1, TKR_MAX_LAYERS, false, what, error);
    if (status == TKR_OK)
        status = tkr_json_get_double(&query_scalar, json, "query_pre_attn_scalar", 1e-6, 1e9, false, what, error);
    if (status == TKR_OK)
        status = tkr_json_get_bool(&bidirectional, json, "use_bidirectional_attention", false, what, error);
    if (status == TKR_OK)
        status = tkr_json_get_double(&local_theta, json, "rope_local_base_freq", 1e-3, 1e12, false, what, error);
    if (status == TKR_OK) status = tkr_config_rope(config, json, 1e6, local_theta, what, error);
    if (status == TKR_OK) status = tkr_config_local(config, json, (size_t)every, 1, what, error);
    config->norm_place = TKR_NORM_SANDWICH;
    config->norm_offset = 1.0f;
    config->mlp_bias = false;
    config->causal = !bidirectional;
    /* The reference: |i - j| <= window / 2 in both directions, i - j < window when causal. */
    config->window = (size_t)(bidirectional ? window / 2 : window - 1);
    config->attention_scale = (float)(1.0 / sqrt(query_scalar));
    config->embedding_scale = sqrtf((float)config->hidden_size);
    return status;
}

static const char *const model_types[] = {"gemma3_text", NULL};
static const char *const prefixes[] = {"", "model.", NULL};
static const char *const ignored[] = {"lm_head.weight", "score.*", "*rotary_emb*.inv_freq", NULL};

static const tkr_layout layout = {
    .prefixes = prefixes,
    .ignored = ignored,
    TKR_NAMES_OF_LLAMA,
    .after_attention = "post_attention_layernorm",
    .before_mlp = "pre_feedforward_layernorm",
    .after_mlp = "post_feedforward_layernorm",
    .q_norm = "self_attn.q_norm",
    .k_norm = "self_attn.k_norm",
};

const tkr_arch tkr_arch_gemma3_text = {
    .name = "gemma3_text",
    .model_types = model_types,
    .gguf = "gemma-embedding",
    .configure = configure,
    .layout = &layout,
};
