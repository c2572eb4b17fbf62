/* SPDX-License-Identifier: Apache-2.0 */
/* models/nomic_bert: Nomic's BERT (nomic-embed-text): post-norm with rotary positions and SwiGLU. Reference:
 * transformers NomicBertModel. Reads its config keys and those of the published checkpoints, which ask for custom code
 * that this stands for; refuses mixtures of experts. */
#include <string.h>

#include "core/json.h"
#include "models/model.h"

/* config.json of the published checkpoints: n_embd and its like. */
static tkr_status configure_published(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    static const tkr_config_field fields[] = {
        {"n_embd", offsetof(tkr_arch_config, hidden_size), 65536, -1},
        {"n_layer", offsetof(tkr_arch_config, n_layers), TKR_MAX_LAYERS, -1},
        {"n_head", offsetof(tkr_arch_config, n_heads), 1024, -1},
        {"n_inner", offsetof(tkr_arch_config, intermediate_size), 1 << 20, -1},
        {"vocab_size", offsetof(tkr_arch_config, vocab_size), 1 << 26, -1},
        {"n_positions", offsetof(tkr_arch_config, max_positions), 1 << 24, -1},
    };
    static const tkr_json_flag flags[] = {
        {"prenorm", false},          {"parallel_block", false},         {"causal", false},
        {"use_rms_norm", false},     {"rotary_emb_interleaved", false}, {"scale_attn_by_inverse_layer_idx", false},
        {"scale_attn_weights", true}};
    const char *activation = "gelu";
    bool fc1_bias = true, fc2_bias = true, qkv_bias = true;
    double base = 10000, fraction = 0, scaling = 0;
    int64_t trained = 0;
    tkr_status status = tkr_config_sizes(config, json, fields, sizeof fields / sizeof *fields, what, error);
    if (status == TKR_OK) status = tkr_json_require(json, flags, sizeof flags / sizeof *flags, what, error);
    if (status == TKR_OK) status = tkr_json_get_string(&activation, json, "activation_function", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&fc1_bias, json, "mlp_fc1_bias", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&fc2_bias, json, "mlp_fc2_bias", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&qkv_bias, json, "qkv_proj_bias", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_double(&base, json, "rotary_emb_base", 1e-3, 1e12, false, what, error);
    if (status == TKR_OK) status = tkr_json_get_double(&fraction, json, "rotary_emb_fraction", 0, 1, true, what, error);
    if (status == TKR_OK)
        status = tkr_json_get_double(&scaling, json, "rotary_scaling_factor", 0, 1e6, false, what, error);
    if (status == TKR_OK)
        status = tkr_json_get_int(&trained, json, "max_trained_positions", 1, 1 << 24, scaling > 0, what, error);
    if (status == TKR_OK) status = tkr_config_heads(config, what, error);
    if (status != TKR_OK) return status;
    if (strcmp(activation, "swiglu") != 0)
        return TKR_FAIL(error, UNSUPPORTED, "%s: activation_function \"%.40s\" is not supported; supported: \"swiglu\"",
                        what, activation);
    if (fc1_bias != fc2_bias)
        return TKR_FAIL(error, UNSUPPORTED, "%s: mlp_fc1_bias and mlp_fc2_bias differ; supported: both the same", what);
    config->rotary_dim = (size_t)((double)config->head_dim * fraction);
    if (config->rotary_dim == 0 || config->rotary_dim % 2 != 0)
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: rotary_emb_fraction %g of heads of %zu values; supported: an even number above 0", what,
                        fraction, config->head_dim);
    config->activation = TKR_ACT_SILU;
    config->qkv_bias = config->output_bias = qkv_bias;
    config->mlp_bias = fc1_bias;
    config->rope_theta[0] = config->rope_theta[1] = (float)base;
    /* With a scaling factor the angles of longer inputs depend on their length: not implemented, so not reachable. */
    if (scaling > 0 && config->max_positions > (size_t)trained) config->max_positions = (size_t)trained;
    return TKR_OK;
}

static tkr_status configure(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    static const tkr_config_field types[] = {{"type_vocab_size", offsetof(tkr_arch_config, type_vocab_size), 4096, 0}};
    double eps = 1e-12;
    int64_t experts = 0;
    const bool published = json_object_get(json, "n_embd") != NULL;
    tkr_status status = tkr_json_get_int(&experts, json, "num_experts", 0, 1 << 20, false, what, error);
    if (status == TKR_OK && experts > 0)
        return TKR_FAIL(error, UNSUPPORTED, "%s: num_experts %d: mixtures of experts are not supported", what,
                        (int)experts);
    if (status == TKR_OK)
        status = published ? configure_published(config, json, what, error)
                           : tkr_config_common(config, json, "silu", what, error);
    if (status == TKR_OK && !published) status = tkr_config_rope(config, json, 1000, 0, what, error);
    if (status == TKR_OK) status = tkr_config_sizes(config, json, types, 1, what, error);
    if (status == TKR_OK)
        status = tkr_json_get_double(&eps, json, published ? "layer_norm_epsilon" : "layer_norm_eps", 0.0, 1.0, false,
                                     what, error);
    config->norm = TKR_NORM_LAYER;
    config->norm_place = TKR_NORM_POST;
    config->norm_eps = (float)eps;
    config->norm_bias = true;
    config->gated = true;
    return status;
}

static const char *const model_types[] = {"nomic_bert", NULL};
static const char *const prefixes[] = {"", "bert.", "model.", NULL};
static const char *const ignored[] = {"*pooler.dense.*", "cls.*", "classifier.*", "*rotary_emb.inv_freq", NULL};

static const tkr_layout layout = {
    .prefixes = prefixes,
    .ignored = ignored,
    .words = "embeddings.word_embeddings",
    .types = "embeddings.token_type_embeddings",
    .embedding_norm = "emb_ln",
    .layer = "encoder.layers.%zu.",
    .qkv = "attn.Wqkv",
    .output = "attn.out_proj",
    .gate = "mlp.fc12",
    .up = "mlp.fc11",
    .down = "mlp.fc2",
    .after_attention = "norm1",
    .after_mlp = "norm2",
};

const tkr_arch tkr_arch_nomic_bert = {
    .name = "nomic_bert",
    .model_types = model_types,
    .gguf = "nomic-bert",
    .native_adapter = true,
    .configure = configure,
    .layout = &layout,
};
