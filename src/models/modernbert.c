/* SPDX-License-Identifier: Apache-2.0 */
/* models/modernbert: ModernBERT encoders (gte-modernbert, modernbert-embed): pre-norm without biases, GeGLU, layers
 * with full attention between layers with a window, each kind with rotary angles of its own. Reference: transformers
 * ModernBertModel. Ignores classifier_pooling, which belongs to another task. */
#include "core/json.h"
#include "models/model.h"

static tkr_status configure(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    double eps = 1e-5, full = 160000, local = 10000;
    int64_t window = 128, every = 3;
    bool attention_bias = false;
    tkr_status status = tkr_config_common(config, json, "gelu", what, error);
    if (status == TKR_OK) status = tkr_json_get_double(&eps, json, "norm_eps", 0.0, 1.0, false, what, error);
    if (status == TKR_OK)
        status = tkr_json_get_double(&full, json, "global_rope_theta", 1e-3, 1e12, false, what, error);
    if (status == TKR_OK)
        status = tkr_json_get_double(&local, json, "local_rope_theta", 1e-3, 1e12, false, what, error);
    if (status == TKR_OK) status = tkr_json_get_int(&window, json, "local_attention", 2, 1 << 24, false, what, error);
    if (status == TKR_OK)
        status = tkr_json_get_int(&every, json, "global_attn_every_n_layers", 1, TKR_MAX_LAYERS, false, what, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&attention_bias, json, "attention_bias", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&config->mlp_bias, json, "mlp_bias", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&config->norm_bias, json, "norm_bias", false, what, error);
    if (status == TKR_OK) status = tkr_config_rope(config, json, full, local, what, error);
    if (status == TKR_OK) status = tkr_config_local(config, json, (size_t)every, 0, what, error);
    config->norm = TKR_NORM_LAYER;
    config->norm_place = TKR_NORM_PRE;
    config->norm_eps = (float)eps;
    config->gated = true;
    config->qkv_bias = config->output_bias = attention_bias;
    config->window = (size_t)window / 2; /* on each side */
    return status;
}

static const char *const model_types[] = {"modernbert", NULL};
static const char *const prefixes[] = {"", "model.", NULL};
static const char *const ignored[] = {"head.*", "decoder.*", "classifier.*", NULL};

static const tkr_layout layout = {
    .prefixes = prefixes,
    .ignored = ignored,
    .words = "embeddings.tok_embeddings",
    .embedding_norm = "embeddings.norm",
    .final_norm = "final_norm",
    .layer = "layers.%zu.",
    .qkv = "attn.Wqkv",
    .output = "attn.Wo",
    .gate_up = "mlp.Wi",
    .down = "mlp.Wo",
    .before_attention = "attn_norm",
    .before_mlp = "mlp_norm",
    .first_layer_has_no_attention_norm = true,
};

const tkr_arch tkr_arch_modernbert = {
    .name = "modernbert",
    .model_types = model_types,
    .gguf = "modern-bert",
    .configure = configure,
    .layout = &layout,
};
