/* SPDX-License-Identifier: Apache-2.0 */
/* models/config: fields of config.json that many architectures share. Refuses what it does not understand by name. */
#include <math.h>
#include <string.h>

#include "core/json.h"
#include "models/model.h"

tkr_status tkr_config_sizes(tkr_arch_config *config, const json_t *json, const tkr_config_field *fields,
                            size_t n_fields, const char *what, tkr_error *error) {
    for (size_t i = 0; i < n_fields; i++) {
        int64_t value = fields[i].fallback;
        tkr_status status = tkr_json_get_int(&value, json, fields[i].name, fields[i].fallback == 0 ? 0 : 1,
                                             fields[i].max, fields[i].fallback < 0, what, error);
        if (status != TKR_OK) return status;
        *(size_t *)(void *)((char *)config + fields[i].offset) = (size_t)value;
    }
    return TKR_OK;
}

tkr_status tkr_config_heads(tkr_arch_config *c, const char *what, tkr_error *error) {
    if (c->n_kv_heads == 0) c->n_kv_heads = c->n_heads;
    if (c->head_dim == 0) {
        if (c->hidden_size % c->n_heads != 0)
            return TKR_FAIL(error, FORMAT, "%s: hidden_size %zu is not a multiple of num_attention_heads %zu", what,
                            c->hidden_size, c->n_heads);
        c->head_dim = c->hidden_size / c->n_heads;
    }
    if (c->n_heads % c->n_kv_heads != 0)
        return TKR_FAIL(error, FORMAT, "%s: num_attention_heads %zu is not a multiple of num_key_value_heads %zu", what,
                        c->n_heads, c->n_kv_heads);
    if (c->head_dim > TKR_MAX_HEAD_DIM)
        return TKR_FAIL(error, UNSUPPORTED, "%s: heads of %zu values; supported: up to %d", what, c->head_dim,
                        TKR_MAX_HEAD_DIM);
    c->attention_scale = (float)(1.0 / sqrt((double)c->head_dim));
    c->embedding_scale = c->rope_factor[0] = c->rope_factor[1] = 1.0f;
    return TKR_OK;
}

tkr_status tkr_config_common(tkr_arch_config *config, const json_t *json, const char *activation, const char *what,
                             tkr_error *error) {
    static const tkr_config_field fields[] = {
        {"hidden_size", offsetof(tkr_arch_config, hidden_size), 65536, -1},
        {"num_hidden_layers", offsetof(tkr_arch_config, n_layers), TKR_MAX_LAYERS, -1},
        {"num_attention_heads", offsetof(tkr_arch_config, n_heads), 1024, -1},
        {"num_key_value_heads", offsetof(tkr_arch_config, n_kv_heads), 1024, 0},
        {"head_dim", offsetof(tkr_arch_config, head_dim), 65536, 0},
        {"intermediate_size", offsetof(tkr_arch_config, intermediate_size), 1 << 20, -1},
        {"vocab_size", offsetof(tkr_arch_config, vocab_size), 1 << 26, -1},
        {"max_position_embeddings", offsetof(tkr_arch_config, max_positions), 1 << 24, -1},
    };
    tkr_status status = tkr_config_sizes(config, json, fields, sizeof fields / sizeof *fields, what, error);
    if (status == TKR_OK) status = tkr_json_get_string(&activation, json, "hidden_act", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_string(&activation, json, "hidden_activation", false, what, error);
    if (status == TKR_OK) status = tkr_activation_parse(&config->activation, activation, what, error);
    return status != TKR_OK ? status : tkr_config_heads(config, what, error);
}

tkr_status tkr_config_positions_from_pad(tkr_arch_config *config, int64_t pad_id, const char *what, tkr_error *error) {
    if (pad_id < 0 || (size_t)pad_id + 1 >= config->max_positions)
        return TKR_FAIL(error, FORMAT, "%s: pad_token_id %lld leaves none of the %zu max_position_embeddings", what,
                        (long long)pad_id, config->max_positions);
    config->positions_from_pad = true;
    config->pad_id = (int32_t)pad_id;
    config->max_positions -= (size_t)pad_id + 1;
    return TKR_OK;
}

/* ---- families ---- */

tkr_status tkr_config_bert(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    static const tkr_config_field types[] = {{"type_vocab_size", offsetof(tkr_arch_config, type_vocab_size), 4096, -1}};
    static const tkr_json_flag flags[] = {{"is_decoder", false}};
    double eps = 1e-12;
    const char *positions = "absolute";
    tkr_status status = tkr_config_common(config, json, "gelu", what, error);
    if (status == TKR_OK) status = tkr_config_sizes(config, json, types, 1, what, error);
    if (status == TKR_OK) status = tkr_json_require(json, flags, 1, what, error);
    if (status == TKR_OK) status = tkr_json_get_double(&eps, json, "layer_norm_eps", 0.0, 1.0, false, what, error);
    if (status == TKR_OK) status = tkr_json_get_string(&positions, json, "position_embedding_type", false, what, error);
    if (status != TKR_OK) return status;
    config->norm = TKR_NORM_LAYER;
    config->norm_place = TKR_NORM_POST;
    config->norm_eps = (float)eps;
    config->qkv_bias = config->output_bias = config->mlp_bias = config->norm_bias = true;
    if (strcmp(positions, "absolute") != 0)
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: position_embedding_type \"%s\" is not supported; supported: \"absolute\"", what,
                        positions);
    return TKR_OK;
}

tkr_status tkr_config_roberta(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    int64_t pad = 1;
    tkr_status status = tkr_config_bert(config, json, what, error);
    if (status == TKR_OK) status = tkr_json_get_int(&pad, json, "pad_token_id", 0, 1 << 20, false, what, error);
    return status != TKR_OK ? status : tkr_config_positions_from_pad(config, pad, what, error);
}

tkr_status tkr_config_llama(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    double eps = 0;
    bool attention_bias = false;
    tkr_status status = tkr_config_common(config, json, "silu", what, error);
    if (status == TKR_OK) status = tkr_json_get_double(&eps, json, "rms_norm_eps", 0.0, 1.0, true, what, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&attention_bias, json, "attention_bias", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&config->mlp_bias, json, "mlp_bias", false, what, error);
    config->norm = TKR_NORM_RMS;
    config->norm_place = TKR_NORM_PRE;
    config->norm_eps = (float)eps;
    config->gated = true;
    config->qkv_bias = config->output_bias = attention_bias;
    return status;
}

/* ---- rotary positions ---- */

/* One rope description: "rope_theta", and a scaling that must be none, "default" or "linear". */
static tkr_status read_rope(float *theta, float *factor, const json_t *rope, const char *what, tkr_error *error) {
    double base = (double)*theta, scale = 1.0, part = 1.0;
    const char *type = "default";
    tkr_status status = tkr_json_get_double(&base, rope, "rope_theta", 1e-3, 1e12, false, what, error);
    if (status == TKR_OK) status = tkr_json_get_string(&type, rope, "type", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_string(&type, rope, "rope_type", false, what, error);
    if (status != TKR_OK) return status;
    const bool linear = strcmp(type, "linear") == 0;
    if (!linear && strcmp(type, "default") != 0)
        return TKR_FAIL(error, UNSUPPORTED, "%s: rope_type \"%.40s\" is not supported; supported: default, linear",
                        what, type);
    if (linear) status = tkr_json_get_double(&scale, rope, "factor", 1e-3, 1e6, true, what, error);
    if (status == TKR_OK) status = tkr_json_get_double(&part, rope, "partial_rotary_factor", 0, 1, false, what, error);
    if (status == TKR_OK && part < 1)
        return TKR_FAIL(error, UNSUPPORTED, "%s: partial_rotary_factor %g is not supported; supported: 1", what, part);
    *theta = (float)base;
    *factor = (float)scale;
    return status;
}

tkr_status tkr_config_rope(tkr_arch_config *config, const json_t *json, double theta_full, double theta_local,
                           const char *what, tkr_error *error) {
    const json_t *parameters = json_object_get(json, "rope_parameters");
    const json_t *full = json_object_get(parameters, "full_attention"),
                 *local = json_object_get(parameters, "sliding_attention");
    float theta[2] = {(float)theta_full, (float)theta_local}, factor[2] = {1.0f, 1.0f};
    tkr_status status = TKR_OK;
    if (json_is_object(full) || json_is_object(local)) {
        if (json_is_object(full)) status = read_rope(&theta[0], &factor[0], full, what, error);
        if (status == TKR_OK && json_is_object(local)) status = read_rope(&theta[1], &factor[1], local, what, error);
    } else if (json_is_object(parameters)) {
        status = read_rope(&theta[0], &factor[0], parameters, what, error);
    } else {
        double base = theta_full;
        const json_t *scaling = json_object_get(json, "rope_scaling");
        status = tkr_json_get_double(&base, json, "rope_theta", 1e-3, 1e12, false, what, error);
        theta[0] = (float)base;
        if (status == TKR_OK && json_is_object(scaling))
            status = read_rope(&theta[0], &factor[0], scaling, what, error);
    }
    if (theta[1] <= 0) {
        theta[1] = theta[0];
        factor[1] = factor[0];
    }
    memcpy(config->rope_theta, theta, sizeof theta);
    memcpy(config->rope_factor, factor, sizeof factor);
    if (config->rotary_dim == 0) config->rotary_dim = config->head_dim;
    if (status == TKR_OK && config->rotary_dim % 2 != 0)
        status = TKR_FAIL(error, FORMAT, "%s: rotary positions turn pairs of values, a head has %zu", what,
                          config->rotary_dim);
    return status;
}

tkr_status tkr_config_local(tkr_arch_config *config, const json_t *json, size_t every, size_t phase, const char *what,
                            tkr_error *error) {
    const json_t *types = json_object_get(json, "layer_types");
    if (types && !json_is_null(types) && (!json_is_array(types) || json_array_size(types) != config->n_layers))
        return TKR_FAIL(error, FORMAT, "%s: layer_types must be a list of %zu names, one a layer", what,
                        config->n_layers);
    memset(config->local, 0, sizeof config->local);
    for (size_t i = 0; i < config->n_layers; i++) {
        bool local = every > 0 && (i + phase) % every != 0;
        if (json_is_array(types)) {
            const char *type = json_string_value(json_array_get(types, i));
            local = type && strcmp(type, "sliding_attention") == 0;
            if (!type || (!local && strcmp(type, "full_attention") != 0))
                return TKR_FAIL(error, UNSUPPORTED,
                                "%s: layer_types[%zu] is \"%.40s\"; supported: full_attention, sliding_attention", what,
                                i, type ? type : "no string");
        }
        if (local) config->local[i / 8] = (uint8_t)(config->local[i / 8] | 1u << i % 8);
    }
    return TKR_OK;
}

tkr_status tkr_config_qwen_window(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    bool use = false, any = false;
    int64_t window = 0, first = (int64_t)config->n_layers;
    tkr_status status = tkr_json_get_bool(&use, json, "use_sliding_window", false, what, error);
    if (status == TKR_OK && use)
        status = tkr_json_get_int(&window, json, "sliding_window", 2, 1 << 24, true, what, error);
    if (status == TKR_OK && use)
        status = tkr_json_get_int(&first, json, "max_window_layers", 0, TKR_MAX_LAYERS, true, what, error);
    if (status == TKR_OK) status = tkr_config_local(config, json, 0, 0, what, error);
    if (status != TKR_OK) return status;
    if (use && !json_is_array(json_object_get(json, "layer_types")))
        for (size_t i = (size_t)first; i < config->n_layers; i++)
            config->local[i / 8] = (uint8_t)(config->local[i / 8] | 1u << i % 8);
    for (size_t i = 0; i < config->n_layers; i++) any = any || tkr_arch_is_local(config, i);
    if (any && !use)
        return TKR_FAIL(error, FORMAT, "%s: layer_types has sliding_attention, but use_sliding_window is false", what);
    config->window = any ? (size_t)window - 1 : 0; /* the reference: i - j < window */
    return TKR_OK;
}
