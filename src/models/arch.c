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

/* Pictures on their way into the text model. */
typedef struct picture_pass {
    const tkr_arch_model *model;
    tkr_run *run;
    const tkr_batch *batch;
    tkr_deep_features deep; /* of all pictures */
    size_t *order;          /* [n_visual_tokens] 0, 1, ...; where there are several groups */
} picture_pass;

static size_t patches_of(const tkr_visual *v) { return v->t * v->h * v->w; }

/* Takes the first pictures from *rest, as many as the tower reads at a time. The last group has all that is left, so
 * that what doesn't add up shows there. */
static tkr_batch next_group(tkr_batch *rest, size_t square) {
    size_t n = 1, n_patches = patches_of(rest->visuals);
    while (n < rest->n_visuals &&
           (rest->group_patches == 0 || n_patches + patches_of(&rest->visuals[n]) <= rest->group_patches))
        n_patches += patches_of(&rest->visuals[n++]);
    tkr_batch group = *rest;
    rest->n_visuals -= n;
    if (rest->n_visuals == 0) return group;
    group.n_visuals = n;
    group.n_patches = n_patches;
    group.n_visual_tokens = n_patches / square;
    rest->visuals += n;
    rest->patches += n_patches * rest->patch_cols;
    rest->n_patches -= n_patches;
    rest->visual_rows += group.n_visual_tokens;
    rest->n_visual_tokens -= group.n_visual_tokens;
    return group;
}

static bool make_order(picture_pass *p) {
    const size_t n = p->batch->n_visual_tokens;
    p->order = tkr_calloc(n ? n : 1, sizeof *p->order);
    if (!p->order) p->model->ops->fail(p->run, TKR_NO_MEMORY, "no memory for the pictures of a batch");
    for (size_t i = 0; p->order && i < n; i++) p->order[i] = i;
    return p->order != NULL;
}

/* Keeps a group's features for deeper layers beside those of the groups before. */
static void keep_deep(picture_pass *p, tkr_deep_features *own, const tkr_batch *group) {
    const tkr_ops *ops = p->model->ops;
    const size_t first = (size_t)(group->visual_rows - p->batch->visual_rows);
    if (group->n_visuals == p->batch->n_visuals) {
        p->deep = *own; /* they are all there is */
        return;
    }
    const bool good = own->n == 0 || p->order || make_order(p);
    p->deep.n = own->n;
    for (size_t i = 0; i < own->n; i++) {
        if (good && first == 0 && own->of[i])
            p->deep.of[i] = ops->empty(p->run, p->batch->n_visual_tokens, ops->cols(own->of[i]));
        if (p->deep.of[i] && own->of[i]) ops->scatter(p->run, p->deep.of[i], own->of[i], p->order + first, false);
        ops->release(p->run, &own->of[i]);
    }
}

/* Puts features in the place of their placeholders' embeddings. */
static void see_pictures(picture_pass *p, tkr_tensor *x) {
    const tkr_ops *ops = p->model->ops;
    const tkr_batch *all = p->batch;
    const size_t merged = all->n_visual_tokens ? all->n_patches / all->n_visual_tokens : 0,
                 square = merged ? merged : 1;
    tkr_batch rest = *all;
    while (rest.n_visuals > 0 && ops->run_status(p->run, NULL) == TKR_OK) {
        tkr_deep_features deep = {.n = 0};
        const tkr_batch group = next_group(&rest, square);
        tkr_tensor *seen = p->model->arch->vision->encode(p->model->vision, p->run, &group, &deep);
        if (seen) ops->scatter(p->run, x, seen, group.visual_rows, false);
        ops->release(p->run, &seen);
        keep_deep(p, &deep, &group);
    }
}

static void add_deep(void *user, size_t layer, tkr_tensor *x) {
    picture_pass *p = user;
    if (layer >= p->deep.n) return;
    p->model->ops->scatter(p->run, x, p->deep.of[layer], p->batch->visual_rows, true);
    p->model->ops->release(p->run, &p->deep.of[layer]);
}

tkr_tensor *tkr_arch_forward(const tkr_arch_model *model, tkr_run *run, const tkr_batch *batch) {
    const tkr_ops *ops = model->ops;
    picture_pass pictures = {.model = model, .run = run, .batch = batch};
    const tkr_stack_input input = {.batch = batch, .after_layer = add_deep, .user = &pictures};
    tkr_tensor *x = embeddings(model, run, batch);
    see_pictures(&pictures, x);
    tkr_stack_forward(&model->stack, run, x, &input);
    for (size_t i = 0; i < pictures.deep.n; i++) ops->release(run, &pictures.deep.of[i]);
    tkr_free(pictures.order);
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
