/* SPDX-License-Identifier: Apache-2.0 */
/* models/distilbert: DistilBERT encoders: BERT's block without token types, under config keys and tensor names of its
 * own. Reference: transformers DistilBertModel. */
#include "core/json.h"
#include "models/model.h"

static tkr_status configure(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    static const tkr_config_field fields[] = {
        {"dim", offsetof(tkr_arch_config, hidden_size), 65536, -1},
        {"n_layers", offsetof(tkr_arch_config, n_layers), TKR_MAX_LAYERS, -1},
        {"n_heads", offsetof(tkr_arch_config, n_heads), 1024, -1},
        {"hidden_dim", offsetof(tkr_arch_config, intermediate_size), 1 << 20, -1},
        {"vocab_size", offsetof(tkr_arch_config, vocab_size), 1 << 26, -1},
        {"max_position_embeddings", offsetof(tkr_arch_config, max_positions), 1 << 24, -1},
    };
    const char *activation = "gelu";
    tkr_status status = tkr_config_sizes(config, json, fields, sizeof fields / sizeof *fields, what, error);
    if (status == TKR_OK) status = tkr_json_get_string(&activation, json, "activation", false, what, error);
    if (status == TKR_OK) status = tkr_activation_parse(&config->activation, activation, what, error);
    config->norm = TKR_NORM_LAYER;
    config->norm_place = TKR_NORM_POST;
    config->norm_eps = 1e-12f; /* not in config.json */
    config->qkv_bias = config->output_bias = config->mlp_bias = config->norm_bias = true;
    return status != TKR_OK ? status : tkr_config_heads(config, what, error);
}

static const char *const model_types[] = {"distilbert", NULL};
static const char *const prefixes[] = {"", "distilbert.", "model.", NULL};
static const char *const ignored[] = {
    "vocab_*", "*embeddings.position_ids", "classifier.*", "pre_classifier.*", "qa_outputs.*", NULL};

static const tkr_layout layout = {
    .prefixes = prefixes,
    .ignored = ignored,
    .words = "embeddings.word_embeddings",
    .positions = "embeddings.position_embeddings",
    .embedding_norm = "embeddings.LayerNorm",
    .layer = "transformer.layer.%zu.",
    .q = "attention.q_lin",
    .k = "attention.k_lin",
    .v = "attention.v_lin",
    .output = "attention.out_lin",
    .up = "ffn.lin1",
    .down = "ffn.lin2",
    .after_attention = "sa_layer_norm",
    .after_mlp = "output_layer_norm",
};

const tkr_arch tkr_arch_distilbert = {
    .name = "distilbert",
    .model_types = model_types,
    .configure = configure,
    .layout = &layout,
};
