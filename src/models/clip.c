/* SPDX-License-Identifier: Apache-2.0 */
/* models/clip: CLIP: a causal text tower pooled at its end token and a picture tower with a class token, each with a
 * projection. Reference: transformers CLIPModel. */
#include "core/json.h"
#include "core/mem.h"
#include "models/towers.h"

static const tkr_tower_defaults text_defaults = {.hidden_size = 512,
                                                 .intermediate_size = 2048,
                                                 .n_layers = 12,
                                                 .n_heads = 8,
                                                 .vocab_size = 49408,
                                                 .max_positions = 77,
                                                 .activation = "quick_gelu",
                                                 .norm_eps = 1e-5};
static const tkr_tower_defaults vision_defaults = {.hidden_size = 768,
                                                   .intermediate_size = 3072,
                                                   .n_layers = 12,
                                                   .n_heads = 12,
                                                   .image_size = 224,
                                                   .patch_size = 32,
                                                   .activation = "quick_gelu",
                                                   .norm_eps = 1e-5};
enum { LEGACY_END = 2 }; /* a mistake in published config.json files, by which the highest id is meant */

static tkr_status configure(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    config->causal = true;
    return tkr_tower_config_text(config, json, &text_defaults, what, error);
}

static tkr_status configure_vision(tkr_vision_config *vision, const tkr_arch_config *text, const json_t *json,
                                   const char *what, tkr_error *error) {
    int64_t projection = 512, end = 49407;
    const json_t *section = NULL;
    vision->n_class = 1;
    tkr_status status = tkr_tower_config_vision(vision, json, &vision_defaults, what, error);
    if (status == TKR_OK) status = tkr_json_get_int(&projection, json, "projection_dim", 1, 65536, false, what, error);
    if (status == TKR_OK) status = tkr_tower_section(&section, json, "text_config", what, error);
    if (status == TKR_OK)
        status = tkr_json_get_int(&end, section, "eos_token_id", 0, (int64_t)text->vocab_size - 1,
                                  end >= (int64_t)text->vocab_size, what, error);
    vision->out_size = vision->head_size = (size_t)projection;
    vision->end_token = end == LEGACY_END ? -1 : (int32_t)end;
    return status;
}

static size_t text_end(const tkr_vision_config *vision, const int32_t *ids, size_t n) {
    size_t best = 0;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == vision->end_token) return i + 1;
        if (vision->end_token < 0 && ids[i] > ids[best]) best = i;
    }
    return best + 1;
}

static const char *const model_types[] = {"clip", NULL};
static const char *const root_prefixes[] = {"", "model.", NULL};
static const char *const ignored[] = {"*logit_scale", "*embeddings.position_ids", NULL};

static const tkr_layout layout = {TKR_LAYOUT_OF_TEXT_TOWER, .ignored = ignored};
static const tkr_layout vision_layout = {.prefixes = tkr_tower_vision_prefixes, TKR_NAMES_OF_TOWERS};

typedef struct clip_weights {
    tkr_tower tower;
    tkr_norm norm;               /* of the class token's last state */
    tkr_weight *projection;      /* [out, hidden] */
    tkr_weight *text_projection; /* [out, text's hidden] */
} clip_weights;

static tkr_status bind_projection(tkr_weight **out, tkr_binder *binder, const char *name, size_t rows, size_t cols,
                                  tkr_error *error) {
    const tkr_bind_part part = {.name = name, .total = rows, .rows = rows};
    const tkr_bind_spec spec = {
        .parts = &part, .n_parts = 1, .cols = cols, .sensitivity = TKR_SENSITIVE_INPUT | TKR_SENSITIVE_WEIGHT};
    return tkr_bind_linear(binder, out, &spec, error);
}

static tkr_status bind(void **weights, tkr_binder *binder, const tkr_vision_config *vision, const tkr_arch_config *text,
                       tkr_error *error) {
    const tkr_tower_spec spec = {
        .layout = &vision_layout, .class_row = "embeddings.class_embedding", .first_norm = "pre_layrnorm"};
    const size_t h = vision->tower.hidden_size, out = vision->out_size;
    clip_weights *w = *weights = tkr_calloc(1, sizeof *w);
    if (!w) return TKR_FAIL(error, NO_MEMORY, "no memory for the model");
    tkr_status status = tkr_tower_bind(&w->tower, binder, vision, &spec, error);
    if (status == TKR_OK) status = tkr_norm_bind(&w->norm, binder, &vision->tower, "post_layernorm", h, error);
    if (status == TKR_OK) status = tkr_bind_prefix(binder, root_prefixes, "visual_projection.weight", error);
    if (status == TKR_OK) status = bind_projection(&w->projection, binder, "visual_projection", out, h, error);
    if (status != TKR_OK) return status;
    return bind_projection(&w->text_projection, binder, "text_projection", out, text->hidden_size, error);
}

static void free_weights(void **weights, const tkr_ops *ops) {
    clip_weights *w = *weights;
    if (!w) return;
    tkr_norm_free(&w->norm, ops);
    ops->weight_free(&w->projection);
    ops->weight_free(&w->text_projection);
    tkr_tower_free(&w->tower);
    tkr_free(w);
    *weights = NULL;
}

static tkr_tensor *encode(const void *weights, tkr_run *run, const tkr_batch *batch, tkr_deep_features *deep) {
    const clip_weights *w = weights;
    const tkr_ops *ops = w->tower.ops;
    tkr_pictures pictures;
    (void)deep;
    if (!tkr_pictures_make(&pictures, &w->tower, run, batch)) return NULL;
    tkr_tensor *states = tkr_tower_states(&w->tower, run, batch, &pictures);
    tkr_tensor *first = ops->gather(run, states, pictures.cu, batch->n_visuals);
    ops->release(run, &states);
    tkr_pictures_free(&pictures);
    tkr_stack_norm(&w->tower.stack, run, first, &w->norm, first);
    tkr_tensor *out = ops->apply(run, first, w->projection, NULL);
    ops->release(run, &first);
    return out;
}

static tkr_tensor *head(const void *weights, tkr_run *run, tkr_tensor *x) {
    const clip_weights *w = weights;
    tkr_tensor *out = w->tower.ops->apply(run, x, w->text_projection, NULL);
    w->tower.ops->release(run, &x);
    return out;
}

static const tkr_recipe recipe = {0};

static const tkr_vision_arch vision_arch = {
    .two_towers = true,
    .processor = "fixed",
    .max_visuals = 1,
    .recipe = &recipe,
    .configure = configure_vision,
    .bind = bind,
    .free = free_weights,
    .encode = encode,
    .head = head,
    .text_end = text_end,
};

const tkr_arch tkr_arch_clip = {
    .name = "clip",
    .model_types = model_types,
    .pooling = "lasttoken",
    .configure = configure,
    .layout = &layout,
    .vision = &vision_arch,
};
