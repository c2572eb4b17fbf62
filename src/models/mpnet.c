/* SPDX-License-Identifier: Apache-2.0 */
/* models/mpnet: MPNet encoders (all-mpnet-base): RoBERTa's positions, no token types, and one relative attention bias
 * for all layers. Reference: transformers MPNetModel. */
#include "core/json.h"
#include "models/model.h"

/* The reference's code fixes these, whatever config.json says. */
#define BUCKETS 32
#define MAX_DISTANCE 128
#define PAD_ID 1

static tkr_status configure(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    int64_t buckets = BUCKETS;
    double eps = 1e-12;
    tkr_status status = tkr_config_common(config, json, "gelu", what, error);
    if (status == TKR_OK) status = tkr_json_get_double(&eps, json, "layer_norm_eps", 0.0, 1.0, false, what, error);
    if (status == TKR_OK)
        status = tkr_json_get_int(&buckets, json, "relative_attention_num_buckets", 1, 4096, false, what, error);
    if (status != TKR_OK) return status;
    if (buckets != BUCKETS)
        return TKR_FAIL(error, UNSUPPORTED, "%s: relative_attention_num_buckets %d is not supported; supported: %d",
                        what, (int)buckets, BUCKETS);
    config->norm = TKR_NORM_LAYER;
    config->norm_place = TKR_NORM_POST;
    config->norm_eps = (float)eps;
    config->qkv_bias = config->output_bias = config->mlp_bias = config->norm_bias = true;
    config->n_buckets = BUCKETS;
    config->max_distance = MAX_DISTANCE;
    return tkr_config_positions_from_pad(config, PAD_ID, what, error);
}

static const char *const model_types[] = {"mpnet", NULL};
static const char *const prefixes[] = {"", "mpnet.", "model.", NULL};
static const char *const ignored[] = {"*pooler.dense.*", "lm_head.*",    "*embeddings.position_ids",
                                      "classifier.*",    "qa_outputs.*", NULL};

static const tkr_layout layout = {
    .prefixes = prefixes,
    .ignored = ignored,
    .words = "embeddings.word_embeddings",
    .positions = "embeddings.position_embeddings",
    .embedding_norm = "embeddings.LayerNorm",
    .relative = "encoder.relative_attention_bias",
    .layer = "encoder.layer.%zu.",
    .q = "attention.attn.q",
    .k = "attention.attn.k",
    .v = "attention.attn.v",
    .output = "attention.attn.o",
    .up = "intermediate.dense",
    .down = "output.dense",
    .after_attention = "attention.LayerNorm",
    .after_mlp = "output.LayerNorm",
};

const tkr_arch tkr_arch_mpnet = {
    .name = "mpnet",
    .model_types = model_types,
    .configure = configure,
    .layout = &layout,
};
