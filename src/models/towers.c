/* SPDX-License-Identifier: Apache-2.0 */
/* models/towers: the pictures' encoder of two-tower models. Refuses batches whose patches don't add up. */
#include <string.h>

#include "core/mem.h"
#include "models/towers.h"

const char *const tkr_tower_text_prefixes[] = {"text_model.", "model.text_model.", NULL};
const char *const tkr_tower_vision_prefixes[] = {"vision_model.", "model.vision_model.", NULL};

/* ---- binding ---- */

tkr_status tkr_tower_bind(tkr_tower *tower, tkr_binder *binder, const tkr_vision_config *vision,
                          const tkr_tower_spec *spec, tkr_error *error) {
    static const char *const positions = "embeddings.position_embedding";
    const size_t h = vision->tower.hidden_size;
    const tkr_bind_part part = {.name = "embeddings.patch_embedding", .total = h, .rows = h, .conv = true};
    /* One small layer that everything goes through. */
    const tkr_bind_spec patch = {.parts = &part,
                                 .n_parts = 1,
                                 .cols = vision->patch_cols,
                                 .bias = spec->patch_bias,
                                 .sensitivity = TKR_SENSITIVE_INPUT | TKR_SENSITIVE_WEIGHT};
    tower->ops = tkr_binder_ops(binder);
    tower->side = vision->image_size / vision->patch_size;
    tower->n_class = vision->n_class;
    tower->patch_cols = vision->patch_cols;
    tkr_status status = tkr_bind_prefix(binder, spec->layout->prefixes, "embeddings.patch_embedding.weight", error);
    if (status == TKR_OK) status = tkr_bind_linear(binder, &tower->patch, &patch, error);
    if (status == TKR_OK) status = tkr_bind_table(binder, &tower->positions, positions, vision->n_positions, h, error);
    if (status == TKR_OK) status = tkr_bind_matrix(binder, &tower->table, positions, vision->n_positions, h, error);
    if (status == TKR_OK && spec->class_row)
        status = tkr_bind_rows(binder, &tower->class_row, spec->class_row, 1, h, error);
    if (status == TKR_OK && spec->first_norm)
        status = tkr_norm_bind(&tower->first_norm, binder, &vision->tower, spec->first_norm, h, error);
    return status != TKR_OK ? status : tkr_stack_bind(&tower->stack, binder, &vision->tower, spec->layout, error);
}

void tkr_tower_free(tkr_tower *tower) {
    const tkr_ops *ops = tower->ops;
    if (!ops) return;
    ops->weight_free(&tower->patch);
    ops->weight_free(&tower->positions);
    ops->weight_free(&tower->class_row);
    tkr_norm_free(&tower->first_norm, ops);
    tkr_stack_free(&tower->stack);
}

/* ---- pictures as sequences ---- */

static bool is_square_grid(const tkr_tower *tower, const tkr_visual *v) {
    return v->h == tower->side && v->w == tower->side;
}

static bool batch_fits(const tkr_tower *tower, const tkr_batch *batch) {
    size_t n = 0;
    for (size_t i = 0; i < batch->n_visuals; i++) {
        const tkr_visual *v = &batch->visuals[i];
        if (v->t != 1 || v->h == 0 || v->w == 0 || v->h > (batch->n_patches - n) / v->w) return false;
        n += v->h * v->w;
    }
    return n > 0 && n == batch->n_patches && batch->patch_cols == tower->patch_cols;
}

static void fill_pictures(tkr_pictures *p, const tkr_tower *tower, const tkr_batch *batch) {
    size_t token = 0, patch = 0;
    for (size_t i = 0; i < batch->n_visuals; i++) {
        const bool own = is_square_grid(tower, &batch->visuals[i]);
        const size_t n = batch->visuals[i].h * batch->visuals[i].w;
        p->cu[i] = token;
        p->each[i] = i;
        for (size_t c = 0; c < tower->n_class; c++) p->positions[token++] = (int32_t)c;
        for (size_t k = 0; k < n; k++) {
            p->rows[patch++] = token;
            p->positions[token++] = own ? (int32_t)(tower->n_class + k) : 0;
        }
    }
    p->cu[batch->n_visuals] = token;
    p->each[batch->n_visuals] = batch->n_visuals;
}

bool tkr_pictures_make(tkr_pictures *p, const tkr_tower *tower, tkr_run *run, const tkr_batch *batch) {
    const size_t n = batch->n_visuals, n_tokens = batch->n_patches + n * tower->n_class;
    memset(p, 0, sizeof *p);
    if (!batch_fits(tower, batch)) {
        tower->ops->fail(run, TKR_INTERNAL, "pictures whose patches are not those that their grids say");
        return false;
    }
    p->cu = tkr_calloc(n + 1, sizeof *p->cu);
    p->each = tkr_calloc(n + 1, sizeof *p->each);
    p->rows = tkr_calloc(batch->n_patches, sizeof *p->rows);
    p->positions = tkr_calloc(n_tokens, sizeof *p->positions);
    p->zeros = tkr_calloc(n, sizeof *p->zeros);
    if (!p->cu || !p->each || !p->rows || !p->positions || !p->zeros) {
        tkr_pictures_free(p);
        tower->ops->fail(run, TKR_NO_MEMORY, "no memory for the pictures of a batch");
        return false;
    }
    fill_pictures(p, tower, batch);
    p->batch = (tkr_batch){.n_tokens = n_tokens, .n_seqs = n, .cu_seqlens = p->cu};
    return true;
}

void tkr_pictures_free(tkr_pictures *p) {
    tkr_free(p->cu);
    tkr_free(p->each);
    tkr_free(p->rows);
    tkr_free(p->positions);
    tkr_free(p->zeros);
    memset(p, 0, sizeof *p);
}

/* ---- forward ---- */

#define GRID_ROWS 64 /* interpolated at a time */

/* Positions of one picture with a grid of its own, in place of what x has in these rows. */
static void put_interpolated(const tkr_tower *tower, tkr_run *run, tkr_tensor *x, const tkr_visual *visual,
                             const size_t *rows) {
    const size_t cols = tower->table.cols, n = visual->h * visual->w;
    const tkr_grid grid = {
        .table = &tower->table, .first_row = tower->n_class, .side = tower->side, .h = visual->h, .w = visual->w};
    float *values = tkr_calloc((GRID_ROWS + 2) * cols, sizeof *values);
    if (!values) {
        tower->ops->fail(run, TKR_NO_MEMORY, "no memory for a picture's positions");
        return;
    }
    for (size_t at = 0; at < n && tower->ops->run_status(run, NULL) == TKR_OK; at += GRID_ROWS) {
        const size_t some = n - at < GRID_ROWS ? n - at : GRID_ROWS;
        tkr_grid_interpolate(values, &grid, at, some, values + GRID_ROWS * cols);
        tkr_tensor *part = tower->ops->input(run, values, some, cols);
        tower->ops->scatter(run, x, part, rows + at, false);
        tower->ops->release(run, &part);
    }
    tkr_free(values);
}

/* x[rows] += patch embedding. */
static void add_patches(const tkr_tower *tower, tkr_run *run, tkr_tensor *x, const tkr_batch *batch,
                        const size_t *rows) {
    const tkr_ops *ops = tower->ops;
    const size_t step = ops->chunk_rows(run);
    for (size_t at = 0; at < batch->n_patches && ops->run_status(run, NULL) == TKR_OK; at += step) {
        const size_t n = batch->n_patches - at < step ? batch->n_patches - at : step;
        tkr_tensor *pixels = ops->input(run, batch->patches + at * tower->patch_cols, n, tower->patch_cols);
        tkr_tensor *part = ops->apply(run, pixels, tower->patch, NULL);
        ops->release(run, &pixels);
        ops->scatter(run, x, part, rows + at, true);
        ops->release(run, &part);
    }
}

tkr_tensor *tkr_tower_states(const tkr_tower *tower, tkr_run *run, const tkr_batch *batch, const tkr_pictures *p) {
    const tkr_ops *ops = tower->ops;
    const tkr_weight *const table[] = {tower->positions}, *const class_table[] = {tower->class_row};
    const int32_t *const indices[] = {p->positions}, *const zeros[] = {p->zeros};
    const tkr_stack_input input = {.batch = &p->batch};
    size_t patch = 0;
    tkr_tensor *x = ops->embed(run, table, indices, 1, p->batch.n_tokens, 1.0f);
    for (size_t i = 0; i < batch->n_visuals; i++) {
        const tkr_visual *v = &batch->visuals[i];
        if (!is_square_grid(tower, v)) put_interpolated(tower, run, x, v, p->rows + patch);
        patch += v->h * v->w;
    }
    add_patches(tower, run, x, batch, p->rows);
    if (tower->class_row) {
        tkr_tensor *first = ops->embed(run, class_table, zeros, 1, batch->n_visuals, 1.0f);
        ops->scatter(run, x, first, p->cu, true);
        ops->release(run, &first);
    }
    if (tower->first_norm.gain) tkr_stack_norm(&tower->stack, run, x, &tower->first_norm, x);
    tkr_stack_forward(&tower->stack, run, x, &input);
    return x;
}
