/* SPDX-License-Identifier: Apache-2.0 */
/* models/siglip: SigLIP and SigLIP 2 with fixed resolution: a text tower that sees its padding and a picture tower with
 * an attention-pooling head. Reference: transformers SiglipModel. */
#include "core/json.h"
#include "core/mem.h"
#include "models/towers.h"

static const tkr_tower_defaults defaults = {.hidden_size = 768,
                                            .intermediate_size = 3072,
                                            .n_layers = 12,
                                            .n_heads = 12,
                                            .vocab_size = 32000,
                                            .max_positions = 64,
                                            .image_size = 224,
                                            .patch_size = 16,
                                            .activation = "gelu_pytorch_tanh",
                                            .norm_eps = 1e-6};

static tkr_status configure(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    return tkr_tower_config_text(config, json, &defaults, what, error);
}

static tkr_status configure_vision(tkr_vision_config *vision, const tkr_arch_config *text, const json_t *json,
                                   const char *what, tkr_error *error) {
    static const tkr_json_flag head[] = {{"vision_use_head", true}};
    int64_t projection = (int64_t)text->hidden_size;
    const json_t *section = NULL;
    tkr_status status = tkr_tower_config_vision(vision, json, &defaults, what, error);
    if (status == TKR_OK) status = tkr_tower_section(&section, json, "vision_config", what, error);
    if (status == TKR_OK) status = tkr_json_require(section, head, 1, what, error);
    if (status == TKR_OK) status = tkr_tower_section(&section, json, "text_config", what, error);
    if (status == TKR_OK)
        status = tkr_json_get_int(&projection, section, "projection_size", 1, 65536, false, what, error);
    if (status != TKR_OK) return status;
    vision->out_size = vision->head_size = vision->tower.hidden_size;
    if ((size_t)projection != vision->out_size)
        return TKR_FAIL(error, FORMAT, "%s: texts have vectors of %lld values (projection_size), pictures of %zu", what,
                        (long long)projection, vision->out_size);
    return TKR_OK;
}

static const char *const model_types[] = {"siglip", NULL};
static const char *const ignored[] = {"*logit_scale", "*logit_bias", "*embeddings.position_ids", NULL};

static const tkr_layout layout = {TKR_LAYOUT_OF_TEXT_TOWER, .ignored = ignored};
static const tkr_layout vision_layout = {
    .prefixes = tkr_tower_vision_prefixes,
    .final_norm = "post_layernorm",
    TKR_NAMES_OF_TOWERS,
};

/* One learned query (the probe) attends to a picture's states; an MLP follows. */
typedef struct siglip_weights {
    tkr_tower tower;
    tkr_weight *text_head;       /* [out, text's hidden] */
    tkr_weight *probe;           /* table [1, hidden] */
    tkr_weight *q, *kv, *output; /* [hidden, hidden], [2 * hidden, hidden], [hidden, hidden] */
    tkr_norm norm;
    tkr_weight *up, *down; /* [intermediate, hidden], [hidden, intermediate] */
} siglip_weights;

static tkr_status bind_linear(tkr_weight **out, tkr_binder *binder, const tkr_bind_part *part, size_t cols,
                              unsigned sensitivity, tkr_error *error) {
    const tkr_bind_spec spec = {.parts = part, .n_parts = 1, .cols = cols, .bias = true, .sensitivity = sensitivity};
    return tkr_bind_linear(binder, out, &spec, error);
}

static tkr_status bind_pooling(siglip_weights *w, tkr_binder *binder, const tkr_arch_config *c, tkr_error *error) {
    static const char *const in_proj = "head.attention.in_proj";
    const unsigned precise = TKR_SENSITIVE_INPUT | TKR_SENSITIVE_WEIGHT; /* small, and every vector goes through it */
    const size_t h = c->hidden_size, f = c->intermediate_size;
    const tkr_bind_part q = {.name = in_proj, .total = 3 * h, .rows = h, .underscore = true},
                        kv = {.name = in_proj, .total = 3 * h, .first = h, .rows = 2 * h, .underscore = true},
                        output = {.name = "head.attention.out_proj", .total = h, .rows = h},
                        up = {.name = "head.mlp.fc1", .total = f, .rows = f},
                        down = {.name = "head.mlp.fc2", .total = h, .rows = h};
    tkr_status status = tkr_bind_rows(binder, &w->probe, "head.probe", 1, h, error);
    if (status == TKR_OK) status = bind_linear(&w->q, binder, &q, h, precise, error);
    if (status == TKR_OK) status = bind_linear(&w->kv, binder, &kv, h, precise, error);
    if (status == TKR_OK) status = bind_linear(&w->output, binder, &output, h, precise, error);
    if (status == TKR_OK) status = tkr_norm_bind(&w->norm, binder, c, "head.layernorm", h, error);
    if (status == TKR_OK) status = bind_linear(&w->up, binder, &up, h, precise, error);
    return status != TKR_OK ? status : bind_linear(&w->down, binder, &down, f, precise, error);
}

static tkr_status bind(void **weights, tkr_binder *binder, const tkr_vision_config *vision, const tkr_arch_config *text,
                       tkr_error *error) {
    const tkr_tower_spec spec = {.layout = &vision_layout, .patch_bias = true};
    const tkr_bind_part head = {.name = "head", .total = vision->head_size, .rows = vision->head_size};
    siglip_weights *w = *weights = tkr_calloc(1, sizeof *w);
    if (!w) return TKR_FAIL(error, NO_MEMORY, "no memory for the model");
    /* The prefix is still the text tower's. */
    tkr_status status =
        bind_linear(&w->text_head, binder, &head, text->hidden_size, TKR_SENSITIVE_INPUT | TKR_SENSITIVE_WEIGHT, error);
    if (status == TKR_OK) status = tkr_tower_bind(&w->tower, binder, vision, &spec, error);
    return status != TKR_OK ? status : bind_pooling(w, binder, &vision->tower, error);
}

static void free_weights(void **weights, const tkr_ops *ops) {
    siglip_weights *w = *weights;
    if (!w) return;
    tkr_weight **own[] = {&w->text_head, &w->probe, &w->q, &w->kv, &w->output, &w->up, &w->down};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) ops->weight_free(own[i]);
    tkr_norm_free(&w->norm, ops);
    tkr_tower_free(&w->tower);
    tkr_free(w);
    *weights = NULL;
}

/* x += MLP(norm(x)), some rows at a time. */
static void feed_forward(const siglip_weights *w, tkr_run *run, tkr_tensor *x) {
    const tkr_ops *ops = w->tower.ops;
    const size_t n = ops->rows(x), step = ops->chunk_rows(run);
    for (size_t at = 0; at < n && ops->run_status(run, NULL) == TKR_OK; at += step) {
        tkr_tensor *rows = ops->view(run, x, at, n - at < step ? n - at : step);
        tkr_tensor *normed = tkr_stack_norm(&w->tower.stack, run, rows, &w->norm, NULL);
        const tkr_linear_options activate = {w->tower.stack.config.activation, NULL, NULL},
                                 sum = {TKR_ACT_NONE, rows, rows};
        tkr_tensor *inner = ops->apply(run, normed, w->up, &activate);
        ops->release(run, &normed);
        ops->apply(run, inner, w->down, &sum);
        ops->release(run, &inner);
        ops->release(run, &rows);
    }
}

/* [n_visuals, hidden] from the pictures' states, which it releases. */
static tkr_tensor *pool(const siglip_weights *w, tkr_run *run, tkr_tensor *states, const tkr_pictures *p) {
    const tkr_ops *ops = w->tower.ops;
    const tkr_arch_config *c = &w->tower.stack.config;
    const tkr_weight *const table[] = {w->probe};
    const int32_t *const zeros[] = {p->zeros};
    const tkr_attention_options attention = {.n_heads = c->n_heads,
                                             .n_kv_heads = c->n_heads,
                                             .head_dim = c->head_dim,
                                             .v_column = c->hidden_size,
                                             .scale = c->attention_scale,
                                             .mode = w->tower.stack.mode,
                                             .cu_queries = p->each};
    tkr_tensor *kv = ops->apply(run, states, w->kv, NULL);
    ops->release(run, &states);
    tkr_tensor *probe = ops->embed(run, table, zeros, 1, p->batch.n_seqs, 1.0f);
    tkr_tensor *q = ops->apply(run, probe, w->q, NULL);
    ops->release(run, &probe);
    tkr_tensor *heads = ops->attention(run, q, kv, &p->batch, &attention);
    ops->release(run, &q);
    ops->release(run, &kv);
    tkr_tensor *out = ops->apply(run, heads, w->output, NULL);
    ops->release(run, &heads);
    feed_forward(w, run, out);
    return out;
}

static tkr_tensor *encode(const void *weights, tkr_run *run, const tkr_batch *batch, tkr_deep_features *deep) {
    const siglip_weights *w = weights;
    tkr_pictures pictures;
    (void)deep;
    if (!tkr_pictures_make(&pictures, &w->tower, run, batch)) return NULL;
    tkr_tensor *states = tkr_tower_states(&w->tower, run, batch, &pictures);
    tkr_tensor *out = pool(w, run, states, &pictures);
    tkr_pictures_free(&pictures);
    if (w->tower.ops->run_status(run, NULL) != TKR_OK) w->tower.ops->release(run, &out);
    return out;
}

static tkr_tensor *head(const void *weights, tkr_run *run, tkr_tensor *x) {
    const siglip_weights *w = weights;
    tkr_tensor *out = w->tower.ops->apply(run, x, w->text_head, NULL);
    w->tower.ops->release(run, &x);
    return out;
}

static const tkr_recipe recipe = {.pad_text = true, .lowercase = true};

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
};

const tkr_arch tkr_arch_siglip = {
    .name = "siglip",
    .model_types = model_types,
    .pooling = "lasttoken",
    .configure = configure,
    .layout = &layout,
    .vision = &vision_arch,
};
