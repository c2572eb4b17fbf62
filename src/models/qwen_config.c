/* SPDX-License-Identifier: Apache-2.0 */
/* models/qwen_config: what the config.json of the Qwen-VL family have in common, in the spelling of old files (text
 * fields at the top) and of new ones (text_config). */
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "models/qwen_vision.h"

const json_t *tkr_qwen_text_json(const json_t *json) {
    const json_t *text = json_object_get(json, "text_config");
    return json_is_object(text) ? text : json;
}

/* ---- text ---- */

static tkr_status read_sections(size_t *sections, const json_t *rope, size_t half, const char *what, tkr_error *error) {
    const json_t *list = json_object_get(rope, "mrope_section");
    size_t sum = 0;
    for (size_t i = 0; i < 3; i++) {
        const json_t *value = json_array_get(list, i);
        const json_int_t n = json_integer_value(value);
        if (json_array_size(list) != 3 || !json_is_integer(value) || n < 0 || n > (json_int_t)half)
            return TKR_FAIL(error, FORMAT,
                            "%s: mrope_section must be a list of three numbers, which add up to half of head_dim (%zu)",
                            what, half);
        sections[i] = (size_t)n;
        sum += (size_t)n;
    }
    if (sum == half) return TKR_OK;
    return TKR_FAIL(error, FORMAT, "%s: mrope_section adds up to %zu, expected half of head_dim, %zu", what, sum, half);
}

static void set_axes(tkr_arch_config *config, const size_t *sections, bool interleaved) {
    const size_t half = config->rotary_dim / 2;
    for (size_t i = 0; i < half; i++) {
        size_t axis = i < sections[0] ? 0 : i < sections[0] + sections[1] ? 1 : 2;
        if (interleaved) axis = i / 3 < sections[i % 3] ? i % 3 : 0;
        config->rope_axis[i] = (uint8_t)axis;
    }
    config->n_position_axes = 3;
}

tkr_status tkr_config_mrope(tkr_arch_config *config, const json_t *text, const tkr_mrope_config *options,
                            const char *what, tkr_error *error) {
    const json_t *rope = json_object_get(text, "rope_parameters");
    const char *type = "default", *old_type = NULL;
    bool interleaved = options->interleaved;
    double theta = options->theta;
    size_t sections[3] = {0};
    if (!json_is_object(rope)) rope = json_object_get(text, "rope_scaling");
    if (!json_is_object(rope))
        return TKR_FAIL(error, FORMAT, "%s: rope_scaling (or rope_parameters) is missing, with an mrope_section", what);
    const json_t *place = json_object_get(rope, "rope_theta") ? rope : text;
    tkr_status status = tkr_json_get_double(&theta, place, "rope_theta", 1e-3, 1e12, theta <= 0, what, error);
    if (status == TKR_OK) status = tkr_json_get_string(&old_type, rope, "type", false, what, error);
    if (old_type) type = old_type;
    if (status == TKR_OK) status = tkr_json_get_string(&type, rope, "rope_type", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&interleaved, rope, "mrope_interleaved", false, what, error);
    if (status != TKR_OK) return status;
    if (strcmp(type, "default") != 0 && strcmp(type, "mrope") != 0)
        return TKR_FAIL(error, UNSUPPORTED, "%s: rope_type \"%.40s\" is not supported; supported: default, mrope", what,
                        type);
    if (interleaved != options->interleaved)
        return TKR_FAIL(error, UNSUPPORTED, "%s: mrope_interleaved %s is not supported; supported: %s", what,
                        interleaved ? "true" : "false", interleaved ? "false" : "true");
    if (config->head_dim % 2 != 0)
        return TKR_FAIL(error, FORMAT, "%s: rotary positions turn pairs of values, a head has %zu", what,
                        config->head_dim);
    status = read_sections(sections, rope, config->head_dim / 2, what, error);
    if (status != TKR_OK) return status;
    config->rotary_dim = config->head_dim;
    config->rope_theta[0] = config->rope_theta[1] = (float)theta;
    set_axes(config, sections, interleaved);
    return TKR_OK;
}

tkr_status tkr_qwen2_vl_text(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    const json_t *text = tkr_qwen_text_json(json);
    const tkr_mrope_config mrope = {.theta = 1e6};
    tkr_status status = tkr_config_llama(config, text, what, error);
    if (status == TKR_OK) status = tkr_config_mrope(config, text, &mrope, what, error);
    if (status == TKR_OK) status = tkr_config_qwen_window(config, text, what, error);
    config->causal = true;
    config->split_qkv = true;
    config->qkv_bias = true; /* in the reference's code, not in config.json */
    config->output_bias = config->mlp_bias = false;
    return status;
}

/* ---- vision ---- */

tkr_status tkr_qwen_size(size_t *out, const json_t *json, const char *name, size_t fallback, const char *what,
                         tkr_error *error) {
    int64_t value = (int64_t)fallback;
    tkr_status status = tkr_json_get_int(&value, json, name, 1, 1 << 20, fallback == 0, what, error);
    *out = (size_t)value;
    return status;
}

tkr_status tkr_qwen_out_size(tkr_vision_config *vision, const tkr_arch_config *text, const json_t *json,
                             const char *name, const char *what, tkr_error *error) {
    tkr_status status = tkr_qwen_size(&vision->out_size, json, name, text->hidden_size, what, error);
    if (status != TKR_OK || vision->out_size == text->hidden_size) return status;
    return TKR_FAIL(error, FORMAT, "%s: %s %zu differs from the text model's hidden_size %zu", what, name,
                    vision->out_size, text->hidden_size);
}

static tkr_status read_token(int32_t *out, const json_t *json, const char *name, int64_t fallback,
                             const tkr_arch_config *text, const char *what, tkr_error *error) {
    int64_t value = fallback;
    tkr_status status = tkr_json_get_int(&value, json, name, 0, INT32_MAX, false, what, error);
    if (status == TKR_OK && (uint64_t)value >= text->vocab_size)
        status = TKR_FAIL(error, FORMAT, "%s: %s %lld is beyond the vocabulary of %zu", what, name, (long long)value,
                          text->vocab_size);
    *out = (int32_t)value;
    return status;
}

static tkr_status read_patches(tkr_vision_config *v, const json_t *json, size_t patch_size, const char *what,
                               tkr_error *error) {
    const char *channels = json_object_get(json, "in_channels") ? "in_channels" : "in_chans";
    const char *side = json_object_get(json, "patch_size") ? "patch_size" : "spatial_patch_size";
    tkr_status status = tkr_qwen_size(&v->n_channels, json, channels, 3, what, error);
    if (status == TKR_OK) status = tkr_qwen_size(&v->patch_size, json, side, patch_size, what, error);
    if (status == TKR_OK) status = tkr_qwen_size(&v->temporal_patch_size, json, "temporal_patch_size", 2, what, error);
    if (status == TKR_OK) status = tkr_qwen_size(&v->merge_size, json, "spatial_merge_size", 2, what, error);
    if (status != TKR_OK) return status;
    if (v->n_channels != 3 || v->patch_size > 64 || v->temporal_patch_size > 8 || v->merge_size > 8)
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: %zu channels, patches of %zu pixels and %zu frames merged by %zu are not supported; "
                        "supported: 3 channels, up to 64, 8 and 8",
                        what, v->n_channels, v->patch_size, v->temporal_patch_size, v->merge_size);
    v->patch_cols = v->n_channels * v->temporal_patch_size * v->patch_size * v->patch_size;
    return TKR_OK;
}

/* Rows and columns of pictures: half of a head's frequencies each, both from 10000^0 on. */
static tkr_status set_rope(tkr_arch_config *tower, const char *what, tkr_error *error) {
    if (tower->head_dim % 4 != 0)
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: heads of %zu values; rotary positions of two axes need a multiple of 4", what,
                        tower->head_dim);
    tower->rotary_dim = tower->head_dim;
    tower->rope_theta[0] = tower->rope_theta[1] = 10000.0f;
    tower->n_position_axes = 2;
    tower->rope_own_frequencies = true;
    for (size_t i = 0; i < tower->head_dim / 2; i++) tower->rope_axis[i] = i >= tower->head_dim / 4;
    return TKR_OK;
}

tkr_status tkr_qwen_vision_config(tkr_vision_config *vision, const tkr_arch_config *text, const json_t *json,
                                  const tkr_qwen_tower *tower, const char *what, tkr_error *error) {
    const json_t *own = json_object_get(json, "vision_config");
    tkr_arch_config *c = &vision->tower;
    const char *activation = tower->activation;
    if (!json_is_object(own)) return TKR_FAIL(error, FORMAT, "%s: vision_config is missing", what);
    tkr_status status = read_patches(vision, own, tower->patch_size, what, error);
    if (status == TKR_OK) status = tkr_qwen_size(&c->hidden_size, own, tower->hidden_size, tower->hidden, what, error);
    if (status == TKR_OK) status = tkr_qwen_size(&c->n_layers, own, "depth", tower->depth, what, error);
    if (status == TKR_OK) status = tkr_qwen_size(&c->n_heads, own, "num_heads", tower->heads, what, error);
    if (status == TKR_OK) status = tkr_json_get_string(&activation, own, "hidden_act", false, what, error);
    if (status == TKR_OK) status = tkr_activation_parse(&c->activation, activation, what, error);
    if (status == TKR_OK) status = tkr_config_heads(c, what, error);
    if (status == TKR_OK) status = set_rope(c, what, error);
    if (status == TKR_OK) status = read_token(&vision->image_token, json, "image_token_id", 151655, text, what, error);
    if (status == TKR_OK) status = read_token(&vision->video_token, json, "video_token_id", 151656, text, what, error);
    if (status == TKR_OK && (c->n_layers > TKR_MAX_LAYERS || c->hidden_size > 65536))
        status = TKR_FAIL(error, UNSUPPORTED, "%s: a tower of %zu layers of %zu values; supported: up to %d and 65536",
                          what, c->n_layers, c->hidden_size, TKR_MAX_LAYERS);
    c->norm = TKR_NORM_LAYER;
    c->norm_place = TKR_NORM_PRE;
    c->norm_eps = 1e-6f; /* in the reference's code, not in config.json */
    c->qkv_bias = c->output_bias = c->mlp_bias = c->norm_bias = true;
    return status;
}
