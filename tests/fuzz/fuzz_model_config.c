/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as config.json, through every architecture's `configure`: a one-line error, or sizes that the network, the
 * memory plan and the positions of pictures can count on. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "models/vision.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds) {
    if (!holds) abort();
}

static void check_error(const tkr_error *error) { require(error->message[0] != '\0' && !strchr(error->message, '\n')); }

static void check_transformer(const tkr_arch_config *c) {
    require(c->hidden_size > 0 && c->n_layers > 0 && c->n_layers <= TKR_MAX_LAYERS && c->intermediate_size > 0);
    require(c->n_heads > 0 && c->n_kv_heads > 0 && c->n_heads % c->n_kv_heads == 0);
    require(c->head_dim > 0 && c->head_dim <= TKR_MAX_HEAD_DIM && c->rotary_dim <= c->head_dim &&
            c->rotary_dim % 2 == 0);
    for (size_t i = 0; i < c->rotary_dim / 2; i++)
        require(c->rope_axis[i] == 0 || c->rope_axis[i] < c->n_position_axes);
    require(tkr_arch_workspace(c, 4096, 1024) > 0 && isfinite(tkr_arch_operations(c, 4096)));
    require(tkr_arch_widest(c) > 0);
}

static void check_pictures(const tkr_vision_config *v, const tkr_arch_config *text) {
    const tkr_visual visual = {1, 8 * v->merge_size, 4 * v->merge_size};
    int32_t ids[40], positions[3 * 40];
    require(v->patch_size > 0 && v->temporal_patch_size > 0 && v->merge_size > 0 && v->out_size > 0);
    require(v->patch_cols == v->n_channels * v->temporal_patch_size * v->patch_size * v->patch_size);
    require(v->n_deepstack <= TKR_MAX_DEEPSTACK && v->n_deepstack <= text->n_layers);
    for (size_t i = 0; i < v->n_deepstack; i++) require(v->deepstack[i] < v->tower.n_layers);
    check_transformer(&v->tower);
    require(tkr_vision_workspace(v, 4096, 1024) > 0 && tkr_vision_widest(v) > 0);
    require(isfinite(tkr_vision_operations(v, &visual)) && tkr_visual_tokens(v, &visual) == 32);
    for (size_t i = 0; i < 40; i++) ids[i] = i < 4 || i >= 36 ? -1 : v->image_token;
    const tkr_mrope_options options = {.ids = ids, .n = 40, .stride = 40, .visuals = &visual, .n_visuals = 1};
    require(tkr_mrope_positions(positions, v, &options, NULL) == TKR_OK);
}

static void check(const tkr_arch *arch, const json_t *json) {
    tkr_arch_config config;
    tkr_vision_config vision;
    tkr_error error = {TKR_OK, NULL, ""};
    memset(&config, 0, sizeof config);
    memset(&vision, 0, sizeof vision);
    if (arch->configure(&config, json, "config.json", &error) != TKR_OK) {
        check_error(&error);
        return;
    }
    check_transformer(&config);
    if (!arch->vision) return;
    if (arch->vision->configure(&vision, &config, json, "config.json", &error) == TKR_OK)
        check_pictures(&vision, &config);
    else
        check_error(&error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *json = NULL;
    if (tkr_json_parse(&json, (const char *)data, size, "config.json", NULL) != TKR_OK) return 0;
    const char *type = json_is_object(json) ? json_string_value(json_object_get(json, "model_type")) : NULL;
    const tkr_arch *own = type ? tkr_arch_find(type) : NULL;
    if (own) check(own, json);
    json_decref(json);
    return 0;
}
