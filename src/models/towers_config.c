/* SPDX-License-Identifier: Apache-2.0 */
/* models/towers_config: text_config and vision_config of two-tower models. Refuses sections that are no objects. */
#include <stdio.h>

#include "core/json.h"
#include "models/towers.h"

tkr_status tkr_tower_section(const json_t **out, const json_t *json, const char *name, const char *what,
                             tkr_error *error) {
    char older[64];
    snprintf(older, sizeof older, "%s_dict", name);
    const json_t *section = json_object_get(json, older);
    if (!json_is_object(section)) section = json_object_get(json, name);
    *out = section;
    if (json_is_object(section)) return TKR_OK;
    return TKR_FAIL(error, FORMAT, "%s: field \"%s\" is %s, expected an object", what, name,
                    tkr_json_type_name(section));
}

/* What both towers have, from their section. */
static tkr_status read_tower(tkr_arch_config *config, const json_t *section, const tkr_tower_defaults *d,
                             const char *what, tkr_error *error) {
    const tkr_config_field fields[] = {
        {"hidden_size", offsetof(tkr_arch_config, hidden_size), 65536, (int64_t)d->hidden_size},
        {"intermediate_size", offsetof(tkr_arch_config, intermediate_size), 1 << 20, (int64_t)d->intermediate_size},
        {"num_hidden_layers", offsetof(tkr_arch_config, n_layers), TKR_MAX_LAYERS, (int64_t)d->n_layers},
        {"num_attention_heads", offsetof(tkr_arch_config, n_heads), 1024, (int64_t)d->n_heads},
    };
    const char *activation = d->activation;
    double eps = d->norm_eps;
    tkr_status status = tkr_config_sizes(config, section, fields, sizeof fields / sizeof *fields, what, error);
    if (status == TKR_OK) status = tkr_json_get_string(&activation, section, "hidden_act", false, what, error);
    if (status == TKR_OK) status = tkr_activation_parse(&config->activation, activation, what, error);
    if (status == TKR_OK) status = tkr_json_get_double(&eps, section, "layer_norm_eps", 0.0, 1.0, false, what, error);
    config->norm = TKR_NORM_LAYER;
    config->norm_place = TKR_NORM_PRE;
    config->norm_eps = (float)eps;
    config->qkv_bias = config->output_bias = config->mlp_bias = config->norm_bias = true;
    return status != TKR_OK ? status : tkr_config_heads(config, what, error);
}

tkr_status tkr_tower_config_text(tkr_arch_config *config, const json_t *json, const tkr_tower_defaults *d,
                                 const char *what, tkr_error *error) {
    const tkr_config_field fields[] = {
        {"vocab_size", offsetof(tkr_arch_config, vocab_size), 1 << 26, (int64_t)d->vocab_size},
        {"max_position_embeddings", offsetof(tkr_arch_config, max_positions), 1 << 20, (int64_t)d->max_positions},
    };
    const json_t *section = NULL;
    char where[512];
    snprintf(where, sizeof where, "%.480s, text_config", what);
    tkr_status status = tkr_tower_section(&section, json, "text_config", what, error);
    if (status == TKR_OK)
        status = tkr_config_sizes(config, section, fields, sizeof fields / sizeof *fields, where, error);
    return status != TKR_OK ? status : read_tower(config, section, d, where, error);
}

tkr_status tkr_tower_config_vision(tkr_vision_config *vision, const json_t *json, const tkr_tower_defaults *d,
                                   const char *what, tkr_error *error) {
    const json_t *section = NULL;
    int64_t image = (int64_t)d->image_size, patch = (int64_t)d->patch_size, channels = 3;
    char where[512];
    snprintf(where, sizeof where, "%.480s, vision_config", what);
    tkr_status status = tkr_tower_section(&section, json, "vision_config", what, error);
    if (status == TKR_OK) status = tkr_json_get_int(&image, section, "image_size", 1, 16384, false, where, error);
    if (status == TKR_OK) status = tkr_json_get_int(&patch, section, "patch_size", 1, 1024, false, where, error);
    if (status == TKR_OK) status = tkr_json_get_int(&channels, section, "num_channels", 3, 3, false, where, error);
    if (status == TKR_OK) status = read_tower(&vision->tower, section, d, where, error);
    if (status != TKR_OK) return status;
    if (patch > image)
        return TKR_FAIL(error, FORMAT, "%s: patch_size %lld is larger than image_size %lld", where, (long long)patch,
                        (long long)image);
    vision->n_channels = (size_t)channels;
    vision->image_size = (size_t)image;
    vision->patch_size = (size_t)patch;
    vision->temporal_patch_size = vision->merge_size = 1;
    vision->patch_cols = vision->n_channels * vision->patch_size * vision->patch_size;
    const size_t side = vision->image_size / vision->patch_size;
    vision->n_positions = side * side + vision->n_class;
    vision->tower.max_positions = vision->n_positions;
    return TKR_OK;
}
