/* SPDX-License-Identifier: Apache-2.0 */
/* models/arch: a whole model: embeddings, the text transformer and what reads pictures. */
#include <string.h>

#include "models/vision.h"

/* ---- binding ---- */

static tkr_status bind_embeddings(tkr_arch_model *model, tkr_binder *binder, const tkr_arch_config *c,
                                  const tkr_layout *l, tkr_error *error) {
    const size_t h = c->hidden_size, rows = c->max_positions + (c->positions_from_pad ? (size_t)c->pad_id + 1 : 0);
    tkr_status status = tkr_bind_table(binder, &model->words, l->words, c->vocab_size, h, error);
    if (status == TKR_OK && l->positions)
        status = tkr_bind_table(binder, &model->positions, l->positions, rows, h, error);
    if (status == TKR_OK && l->types && c->type_vocab_size)
        status = tkr_bind_table(binder, &model->types, l->types, c->type_vocab_size, h, error);
    if (status == TKR_OK && l->embedding_norm)
        status = tkr_norm_bind(&model->embedding_norm, binder, c, l->embedding_norm, h, error);
    return status;
}

tkr_status tkr_arch_bind(tkr_arch_model **out, tkr_binder *binder, const tkr_arch_spec *spec, tkr_error *error) {
    const tkr_layout *layout = spec->arch->layout;
    char probe[192];
    tkr_arch_model *model = tkr_calloc(1, sizeof *model);
    if (!model) return TKR_FAIL(error, NO_MEMORY, "no memory for the model");
    model->ops = tkr_binder_ops(binder);
    model->arch = spec->arch;
    snprintf(probe, sizeof probe, "%s.weight", layout->words);
    tkr_status status = tkr_bind_prefix(binder, layout->prefixes, probe, error);
    if (status == TKR_OK) status = bind_embeddings(model, binder, spec->config, layout, error);
    if (status == TKR_OK) status = tkr_stack_bind(&model->stack, binder, spec->config, layout, error);
    if (status == TKR_OK && spec->arch->vision)
        status = spec->arch->vision->bind(&model->vision, binder, spec->vision, spec->config, error);
    if (status == TKR_OK) status = tkr_bind_finish(binder, layout->ignored, error);
    if (status != TKR_OK) {
        tkr_arch_free(&model);
        return status;
    }
    *out = model;
    return TKR_OK;
}

void tkr_arch_free(tkr_arch_model **out) {
    if (!out || !*out) return;
    tkr_arch_model *model = *out;
    const tkr_ops *ops = model->ops;
    tkr_weight **own[] = {&model->words, &model->positions, &model->types};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) ops->weight_free(own[i]);
    tkr_norm_free(&model->embedding_norm, ops);
    tkr_stack_free(&model->stack);
    if (model->vision) model->arch->vision->free(&model->vision, ops);
    tkr_free(model);
    *out = NULL;
}

/* ---- forward ---- */

static tkr_tensor *embeddings(const tkr_arch_model *model, tkr_run *run, const tkr_batch *batch) {
    const tkr_weight *tables[3] = {model->words};
    const int32_t *indices[3] = {batch->ids};
    size_t n = 1;
    if (model->types) {
        tables[n] = model->types;
        indices[n++] = batch->type_ids;
    }
    if (model->positions) {
        tables[n] = model->positions;
        indices[n++] = batch->positions;
    }
    tkr_tensor *x = model->ops->embed(run, tables, indices, n, batch->n_tokens, model->stack.config.embedding_scale);
    if (model->embedding_norm.gain) tkr_stack_norm(&model->stack, run, x, &model->embedding_norm, x);
    return x;
}

/* Features of pictures on their way into the text's layers. */
typedef struct deep_pass {
    const tkr_arch_model *model;
    tkr_run *run;
    const tkr_batch *batch;
    tkr_deep_features features;
} deep_pass;

static void add_deep(void *user, size_t layer, tkr_tensor *x) {
    deep_pass *p = user;
    if (layer >= p->features.n) return;
    p->model->ops->scatter(p->run, x, p->features.of[layer], p->batch->visual_rows, true);
    p->model->ops->release(p->run, &p->features.of[layer]);
}

tkr_tensor *tkr_arch_forward(const tkr_arch_model *model, tkr_run *run, const tkr_batch *batch) {
    const tkr_ops *ops = model->ops;
    deep_pass deep = {.model = model, .run = run, .batch = batch};
    const tkr_stack_input input = {.batch = batch, .after_layer = add_deep, .user = &deep};
    tkr_tensor *seen = NULL;
    if (batch->n_visuals > 0) seen = model->arch->vision->encode(model->vision, run, batch, &deep.features);
    tkr_tensor *x = embeddings(model, run, batch);
    if (seen) ops->scatter(run, x, seen, batch->visual_rows, false);
    ops->release(run, &seen);
    tkr_stack_forward(&model->stack, run, x, &input);
    for (size_t i = 0; i < deep.features.n; i++) ops->release(run, &deep.features.of[i]);
    if (ops->run_status(run, NULL) != TKR_OK) ops->release(run, &x);
    return x;
}

tkr_tensor *tkr_arch_encode(const tkr_arch_model *model, tkr_run *run, const tkr_batch *batch) {
    tkr_deep_features none = {.n = 0};
    return model->arch->vision->encode(model->vision, run, batch, &none);
}

tkr_tensor *tkr_arch_head(const tkr_arch_model *model, tkr_run *run, tkr_tensor *x) {
    const tkr_vision_arch *vision = model->arch->vision;
    return vision && vision->head ? vision->head(model->vision, run, x) : x;
}
