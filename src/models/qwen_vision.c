/* SPDX-License-Identifier: Apache-2.0 */
/* models/qwen_vision: the vision tower of the Qwen-VL family: pictures of any size as rows of patches, attention inside
 * a frame or a window of it, and mergers that make one feature of merge_size^2 patches. Besides the states of the tower
 * only chunks of rows exist at a time. Reference: transformers modeling_qwen2_vl, _qwen2_5_vl, _qwen3_vl. */
#include "models/qwen_vision.h"

#include <stdio.h>
#include <string.h>

/* ---- binding ---- */

static tkr_status bind_merger_layer(tkr_binder *binder, tkr_weight **out, const char *name, size_t rows, size_t cols,
                                    tkr_error *error) {
    const tkr_bind_part part = {.name = name, .total = rows, .rows = rows};
    const tkr_bind_spec spec = {.parts = &part,
                                .n_parts = 1,
                                .cols = cols,
                                .bias = true,
                                .sensitivity = TKR_SENSITIVE_INPUT | TKR_SENSITIVE_WEIGHT};
    return tkr_bind_linear(binder, out, &spec, error);
}

/* Few weights that all of a picture passes through: as precise as quantisation can be (docs/numerics.md). */
static tkr_status bind_merger(tkr_merger *merger, tkr_binder *binder, const tkr_vision_config *v,
                              const char *const names[3], tkr_error *error) {
    const size_t wide = v->merge_size * v->merge_size * v->tower.hidden_size;
    tkr_status status =
        tkr_norm_bind(&merger->norm, binder, &v->tower, names[0], merger->grouped ? wide : v->tower.hidden_size, error);
    if (status == TKR_OK) status = bind_merger_layer(binder, &merger->first, names[1], wide, wide, error);
    if (status == TKR_OK) status = bind_merger_layer(binder, &merger->second, names[2], v->out_size, wide, error);
    return status;
}

static tkr_status bind_deep(tkr_qwen_vision *w, tkr_binder *binder, const tkr_qwen_names *names, tkr_error *error) {
    const char *const tails[3] = {names->deep_norm, names->deep_first, names->deep_second};
    tkr_status status = TKR_OK;
    for (size_t i = 0; status == TKR_OK && i < w->config.n_deepstack; i++) {
        char prefix[96], full[3][192];
        snprintf(prefix, sizeof prefix, names->deep, i); /* a constant of the architecture, not input */
        for (size_t k = 0; k < 3; k++) snprintf(full[k], sizeof full[k], "%s%s", prefix, tails[k]);
        w->deep[i].grouped = true;
        status = bind_merger(&w->deep[i], binder, &w->config, (const char *const[3]){full[0], full[1], full[2]}, error);
    }
    return status;
}

static tkr_status bind_patches(tkr_qwen_vision *w, tkr_binder *binder, const tkr_qwen_names *names, tkr_error *error) {
    const tkr_vision_config *v = &w->config;
    const size_t h = v->tower.hidden_size;
    const tkr_bind_part part = {.name = "patch_embed.proj", .total = h, .rows = h, .conv = true};
    const tkr_bind_spec spec = {.parts = &part,
                                .n_parts = 1,
                                .cols = v->patch_cols,
                                .bias = names->patch_bias,
                                .sensitivity = TKR_SENSITIVE_INPUT | TKR_SENSITIVE_WEIGHT};
    tkr_status status = tkr_bind_linear(binder, &w->patches, &spec, error);
    if (status == TKR_OK && names->positions)
        status = tkr_bind_matrix(binder, &w->positions, names->positions, v->n_positions, h, error);
    return status;
}

/* The layer behind the text model has no prefix of its own, but several names. */
static tkr_status bind_head(tkr_qwen_vision *w, tkr_binder *binder, const tkr_arch_config *text,
                            const char *const *heads, tkr_error *error) {
    const tkr_bind_part part = {.name = "", .total = w->config.head_size, .rows = w->config.head_size};
    const tkr_bind_spec spec = {.parts = &part,
                                .n_parts = 1,
                                .cols = text->hidden_size,
                                .bias = true,
                                .sensitivity = TKR_SENSITIVE_INPUT | TKR_SENSITIVE_WEIGHT};
    if (tkr_bind_prefix(binder, heads, ".weight", NULL) != TKR_OK)
        return TKR_FAIL(error, FORMAT, "the checkpoint has no tensor \"%s.weight\": it gives no vectors for tokens",
                        heads[0]);
    return tkr_bind_linear(binder, &w->head, &spec, error);
}

tkr_status tkr_qwen_vision_bind(void **weights, tkr_binder *binder, const tkr_vision_config *vision,
                                const tkr_arch_config *text, const tkr_qwen_names *names, tkr_error *error) {
    tkr_qwen_vision *w = tkr_calloc(1, sizeof *w);
    if (!w) return TKR_FAIL(error, NO_MEMORY, "no memory for the vision tower");
    *weights = w;
    w->config = *vision;
    const char *const merger[3] = {names->merger_norm, names->merger_first, names->merger_second};
    tkr_status status = tkr_bind_prefix(binder, names->prefixes, "patch_embed.proj.weight", error);
    if (status == TKR_OK) status = bind_patches(w, binder, names, error);
    if (status == TKR_OK) status = tkr_stack_bind(&w->stack, binder, &w->config.tower, names->blocks, error);
    if (status == TKR_OK) status = bind_merger(&w->merger, binder, &w->config, merger, error);
    if (status == TKR_OK && names->deep) status = bind_deep(w, binder, names, error);
    if (status == TKR_OK && names->heads) status = bind_head(w, binder, text, names->heads, error);
    return status;
}

static void free_merger(tkr_merger *merger, const tkr_ops *ops) {
    tkr_norm_free(&merger->norm, ops);
    ops->weight_free(&merger->first);
    ops->weight_free(&merger->second);
}

void tkr_qwen_vision_free(void **weights, const tkr_ops *ops) {
    tkr_qwen_vision *w = *weights;
    if (!w) return;
    ops->weight_free(&w->patches);
    ops->weight_free(&w->head);
    tkr_stack_free(&w->stack);
    free_merger(&w->merger, ops);
    for (size_t i = 0; i < TKR_MAX_DEEPSTACK; i++) free_merger(&w->deep[i], ops);
    tkr_free(w);
    *weights = NULL;
}

/* ---- where patches go ---- */

/* One pass through the tower. Patches come in the processor's order: squares of merge_size^2 of them, row-major. In
 * towers with windows the squares of a window lie together, so that a window is a segment of rows. */
typedef struct vision_pass {
    const tkr_qwen_vision *w;
    const tkr_ops *ops;
    tkr_run *run;
    const tkr_batch *batch;
    size_t square;            /* patches that are merged */
    size_t side;              /* of the square table of learned positions, where there is one */
    size_t *frames, n_frames; /* [n_frames + 1] rows where frames begin */
    size_t *windows, n_windows;
    int32_t *positions;  /* [2, n_patches] row and column, in the tower's order */
    size_t *patch_row;   /* [n_patches] tower row of a patch, or NULL: its own */
    size_t *feature_row; /* [n_patches / square] feature row of the tower's square k, or NULL: k */
    float *table;        /* [chunk + 4, hidden] interpolated positions of a chunk, and four rows of the table */
    size_t chunk;
    tkr_deep_features *deep;
} vision_pass;

static void pass_free(vision_pass *p) {
    void *own[] = {p->frames, p->windows, p->positions, p->patch_row, p->feature_row, p->table};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) tkr_free(own[i]);
}

/* The pictures must fill the patches and the placeholders exactly. */
static bool pass_check(const vision_pass *p) {
    const tkr_vision_config *v = &p->w->config;
    const tkr_batch *b = p->batch;
    size_t n = 0;
    bool good = b->patch_cols == v->patch_cols;
    for (size_t i = 0; good && i < b->n_visuals; i++) {
        const tkr_visual *s = &b->visuals[i];
        size_t frame = 0, all = 0;
        good = s->t > 0 && s->h > 0 && s->w > 0 && s->h % v->merge_size == 0 && s->w % v->merge_size == 0 &&
               s->h <= INT32_MAX && s->w <= INT32_MAX && tkr_mul_size(&frame, s->h, s->w) &&
               tkr_mul_size(&all, frame, s->t) && tkr_add_size(&n, n, all);
    }
    if (good && n == b->n_patches && n / p->square == b->n_visual_tokens) return true;
    p->ops->fail(p->run, TKR_INTERNAL, "the grids of a batch's pictures don't agree with its patches or placeholders");
    return false;
}

static bool pass_allocate(vision_pass *p) {
    const tkr_vision_config *v = &p->w->config;
    const size_t n = p->batch->n_patches, squares = n / p->square, h = v->tower.hidden_size;
    for (size_t i = 0; i < p->batch->n_visuals; i++) p->n_frames += p->batch->visuals[i].t;
    p->frames = tkr_calloc(p->n_frames + 1, sizeof *p->frames);
    p->positions = tkr_calloc(n, 2 * sizeof *p->positions);
    bool good = p->frames && p->positions;
    if (good && v->window_size > 0) {
        p->windows = tkr_calloc(squares + 1, sizeof *p->windows);
        p->patch_row = tkr_calloc(n, sizeof *p->patch_row);
        p->feature_row = tkr_calloc(squares, sizeof *p->feature_row);
        good = p->windows && p->patch_row && p->feature_row;
    }
    if (good && p->w->positions.data) {
        while (p->side * p->side < p->w->positions.rows) p->side++;
        p->table = tkr_calloc((p->chunk < n ? p->chunk : n) + 4, h * sizeof *p->table);
        good = p->table != NULL;
    }
    if (!good) p->ops->fail(p->run, TKR_NO_MEMORY, "no memory for the vision tower");
    return good;
}

/* Square `cell` of a frame of `across` squares a row, whose first patch is patch `first`, becomes the tower's square
 * `to`. */
static void place_square(vision_pass *p, size_t first, size_t cell, size_t across, size_t to) {
    const size_t m = p->w->config.merge_size, n = p->batch->n_patches;
    for (size_t j = 0; j < p->square; j++) {
        const size_t row = to * p->square + j;
        p->positions[row] = (int32_t)(cell / across * m + j / m);
        p->positions[n + row] = (int32_t)(cell % across * m + j % m);
        if (p->patch_row) p->patch_row[first + cell * p->square + j] = row;
    }
    if (p->feature_row) p->feature_row[to] = first / p->square + cell;
}

/* Windows of a frame from the left and from the top, the last ones smaller. */
static void place_windows(vision_pass *p, size_t first, size_t down, size_t across) {
    const tkr_vision_config *v = &p->w->config;
    const size_t side = v->window_size / v->merge_size / v->patch_size;
    size_t to = first / p->square;
    for (size_t top = 0; top < down; top += side)
        for (size_t left = 0; left < across; left += side) {
            for (size_t y = top; y < top + side && y < down; y++)
                for (size_t x = left; x < left + side && x < across; x++)
                    place_square(p, first, y * across + x, across, to++);
            p->windows[++p->n_windows] = to * p->square;
        }
}

static void place_frames(vision_pass *p) {
    const size_t m = p->w->config.merge_size;
    size_t first = 0, frame = 0;
    for (size_t i = 0; i < p->batch->n_visuals; i++) {
        const tkr_visual *s = &p->batch->visuals[i];
        for (size_t t = 0; t < s->t; t++) {
            const size_t cells = s->h * s->w / p->square;
            for (size_t c = 0; !p->windows && c < cells; c++)
                place_square(p, first, c, s->w / m, first / p->square + c);
            if (p->windows) place_windows(p, first, s->h / m, s->w / m);
            first += s->h * s->w;
            p->frames[++frame] = first;
        }
    }
}

/* ---- patches in ---- */

/* torch.linspace(0, last, n)[i] in f32, which counts from both ends. */
static float evenly(size_t i, size_t n, size_t last) {
    if (n < 2) return 0;
    const float step = (float)last / (float)(n - 1);
    return i < n / 2 ? step * (float)i : (float)last - step * (float)(n - 1 - i);
}

/* Learned positions of a square table, stretched over a grid of h x w patches: bilinear, corners on corners. */
static void interpolate(const vision_pass *p, float *out, const tkr_visual *grid, size_t row) {
    const tkr_matrix *table = &p->w->positions;
    const size_t n = p->batch->n_patches, hidden = table->cols, side = p->side;
    const float y = evenly((size_t)p->positions[row], grid->h, side - 1);
    const float x = evenly((size_t)p->positions[n + row], grid->w, side - 1);
    const size_t top = (size_t)y, left = (size_t)x, bottom = top + 1 < side ? top + 1 : top,
                 right = left + 1 < side ? left + 1 : left;
    const float dy = y - (float)top, dx = x - (float)left;
    const float weight[4] = {(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx};
    const size_t at[4] = {top * side + left, top * side + right, bottom * side + left, bottom * side + right};
    float *corner = p->table;
    for (size_t k = 0; k < 4; k++) tkr_matrix_row(corner + k * hidden, table, at[k]);
    for (size_t i = 0; i < hidden; i++)
        out[i] = corner[i] * weight[0] + corner[hidden + i] * weight[1] + corner[2 * hidden + i] * weight[2] +
                 corner[3 * hidden + i] * weight[3];
}

/* Which picture patch `row` belongs to; the search goes on from *visual, whose first patch is *first. */
static const tkr_visual *picture_of(const vision_pass *p, size_t row, size_t *visual, size_t *first) {
    const tkr_visual *s = &p->batch->visuals[*visual];
    while (row - *first >= s->t * s->h * s->w) {
        *first += s->t * s->h * s->w;
        s = &p->batch->visuals[++*visual];
    }
    return s;
}

static tkr_tensor *embed_patches(const vision_pass *p) {
    const tkr_ops *ops = p->ops;
    const size_t n = p->batch->n_patches, cols = p->batch->patch_cols, h = p->w->config.tower.hidden_size;
    size_t visual = 0, first = 0;
    tkr_tensor *x = ops->empty(p->run, n, h);
    for (size_t at = 0; x && at < n; at += p->chunk) {
        const size_t rows = n - at < p->chunk ? n - at : p->chunk;
        tkr_tensor *pixels = ops->input(p->run, p->batch->patches + at * cols, rows, cols);
        tkr_tensor *part = p->patch_row ? NULL : ops->view(p->run, x, at, rows), *place = NULL;
        const tkr_linear_options into = {TKR_ACT_NONE, NULL, part};
        tkr_tensor *out = ops->apply(p->run, pixels, p->w->patches, &into);
        ops->release(p->run, &pixels);
        if (p->patch_row && out) ops->scatter(p->run, x, out, p->patch_row + at, false);
        if (p->patch_row) ops->release(p->run, &out);
        if (p->table && out) {
            float *values = p->table + 4 * h;
            for (size_t i = 0; i < rows; i++)
                interpolate(p, values + i * h, picture_of(p, at + i, &visual, &first), at + i);
            place = ops->input(p->run, values, rows, h);
            ops->add(p->run, part, place);
            ops->release(p->run, &place);
        }
        ops->release(p->run, &part);
        if (ops->run_status(p->run, NULL) != TKR_OK) break;
    }
    return x;
}

/* ---- features out ---- */

static tkr_tensor *merge(const vision_pass *p, tkr_tensor *x, const tkr_merger *m) {
    const tkr_ops *ops = p->ops;
    const tkr_vision_config *v = &p->w->config;
    const size_t n = p->batch->n_patches / p->square, wide = p->square * v->tower.hidden_size;
    const size_t step = p->chunk / p->square > 0 ? p->chunk / p->square : 1;
    tkr_tensor *out = ops->empty(p->run, n, v->out_size);
    for (size_t at = 0; out && x && at < n; at += step) {
        const size_t count = n - at < step ? n - at : step;
        tkr_tensor *rows = ops->view(p->run, x, at * p->square, count * p->square);
        tkr_tensor *grouped = m->grouped ? ops->reshape(p->run, rows, wide) : NULL;
        tkr_tensor *own = tkr_stack_norm(&p->w->stack, p->run, m->grouped ? grouped : rows, &m->norm, NULL);
        tkr_tensor *square = ops->reshape(p->run, own, wide);
        const tkr_linear_options activate = {TKR_ACT_GELU_ERF, NULL, NULL};
        tkr_tensor *inner = ops->apply(p->run, square, m->first, &activate);
        ops->release(p->run, &square);
        ops->release(p->run, &own);
        ops->release(p->run, &grouped);
        ops->release(p->run, &rows);
        tkr_tensor *part = p->feature_row ? NULL : ops->view(p->run, out, at, count);
        const tkr_linear_options into = {TKR_ACT_NONE, NULL, part};
        tkr_tensor *done = ops->apply(p->run, inner, m->second, &into);
        ops->release(p->run, &inner);
        if (p->feature_row && done) ops->scatter(p->run, out, done, p->feature_row + at, false);
        ops->release(p->run, p->feature_row ? &done : &part);
        if (ops->run_status(p->run, NULL) != TKR_OK) break;
    }
    return out;
}

static void take_deep(void *user, size_t layer, tkr_tensor *x) {
    const vision_pass *p = user;
    for (size_t k = 0; k < p->w->config.n_deepstack; k++)
        if (p->w->config.deepstack[k] == layer) p->deep->of[k] = merge(p, x, &p->w->deep[k]);
}

static tkr_tensor *pass_run(vision_pass *p) {
    place_frames(p);
    const tkr_batch full = {.n_tokens = p->batch->n_patches,
                            .n_seqs = p->n_frames,
                            .positions = p->positions,
                            .n_position_axes = 2,
                            .cu_seqlens = p->frames};
    tkr_batch local = full;
    local.n_seqs = p->n_windows;
    local.cu_seqlens = p->windows;
    const tkr_stack_input input = {
        .batch = &full, .local = p->windows ? &local : NULL, .after_layer = take_deep, .user = p};
    p->deep->n = p->w->config.n_deepstack;
    tkr_tensor *x = embed_patches(p);
    tkr_stack_forward(&p->w->stack, p->run, x, &input);
    tkr_tensor *out = merge(p, x, &p->w->merger);
    p->ops->release(p->run, &x);
    return out;
}

tkr_tensor *tkr_qwen_vision_encode(const void *weights, tkr_run *run, const tkr_batch *batch, tkr_deep_features *deep) {
    const tkr_qwen_vision *w = weights;
    vision_pass p = {.w = w,
                     .ops = w->stack.ops,
                     .run = run,
                     .batch = batch,
                     .square = w->config.merge_size * w->config.merge_size,
                     .chunk = w->stack.ops->chunk_rows(run),
                     .deep = deep};
    tkr_tensor *out = pass_check(&p) && pass_allocate(&p) ? pass_run(&p) : NULL;
    pass_free(&p);
    return out;
}

tkr_tensor *tkr_qwen_vision_head(const void *weights, tkr_run *run, tkr_tensor *x) {
    const tkr_qwen_vision *w = weights;
    if (!w->head) return x;
    tkr_tensor *out = w->stack.ops->apply(run, x, w->head, NULL);
    w->stack.ops->release(run, &x);
    return out;
}
