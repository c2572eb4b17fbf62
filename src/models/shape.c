/* SPDX-License-Identifier: Apache-2.0 */
/* models/shape: what follows from an architecture's configuration alone: memory, operations. */
#include "models/vision.h"

size_t tkr_arch_workspace(const tkr_arch_config *c, size_t n_tokens, size_t chunk_rows) {
    const size_t q = c->n_heads * c->head_dim, kv = 2 * c->n_kv_heads * c->head_dim, h = c->hidden_size;
    const size_t f = c->intermediate_size, chunk = n_tokens < chunk_rows ? n_tokens : chunk_rows;
    const size_t tensors[] = {
        /* Of all tokens: the residual stream, keys and values (with queries where they are not split off), angles. */
        n_tokens * h, n_tokens * (kv + (c->split_qkv ? 0 : q)), n_tokens * c->rotary_dim, n_tokens * c->rotary_dim,
        /* Of a chunk: normed rows, queries, heads, the MLP's inside, a result before it is added. */
        chunk * h, chunk * q, chunk * q, chunk * f, chunk * h,
        /* Buckets of a relative bias. */
        c->n_buckets ? 2 * n_tokens : 0};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        bytes += tkr_tensor_room(tensors[i] * sizeof(float) + 128);
    return bytes;
}

size_t tkr_arch_widest(const tkr_arch_config *c) {
    const size_t q = c->n_heads * c->head_dim, widest = c->hidden_size > q ? c->hidden_size : q;
    return widest > c->intermediate_size ? widest : c->intermediate_size;
}

/* Keys that the queries of one sequence see, summed. */
static double visible_keys(const tkr_arch_config *c, size_t n_tokens, bool local) {
    const double n = (double)n_tokens, w = (double)c->window;
    if (local && c->window + 1 < n_tokens) {
        const double one_side = w * (w + 1) / 2 + (n - 1 - w) * w; /* keys strictly before the query */
        return n + (c->causal ? one_side : 2 * one_side);
    }
    return c->causal ? n * (n + 1) / 2 : n * n;
}

double tkr_arch_operations(const tkr_arch_config *c, size_t n_tokens) {
    const double n = (double)n_tokens, h = (double)c->hidden_size, f = (double)c->intermediate_size;
    const double q = (double)(c->n_heads * c->head_dim), kv = (double)(2 * c->n_kv_heads * c->head_dim);
    const double linear = 2 * n * (h * (q + kv) + q * h + (c->gated ? 3 : 2) * h * f);
    double sum = 0;
    for (size_t i = 0; i < c->n_layers; i++) sum += linear + 4 * visible_keys(c, n_tokens, tkr_arch_is_local(c, i)) * q;
    return sum;
}

size_t tkr_vision_workspace(const tkr_vision_config *v, size_t n_patches, size_t chunk_rows) {
    const size_t merged = v->merge_size * v->merge_size, n_features = n_patches / merged + 1, h = v->tower.hidden_size;
    const size_t chunk = n_patches < chunk_rows ? n_patches : chunk_rows < merged ? merged : chunk_rows;
    /* Towers that merge read their patches in chunks, others at once. */
    const size_t rows = merged > 1 ? chunk : n_patches;
    const size_t tensors[] = {/* pixels, positions, states on the way to their place */
                              rows * v->patch_cols, rows * h, rows * h,
                              /* the merger's input and inside */
                              rows * h, rows * h, rows / merged * v->out_size + v->out_size,
                              /* features, those for other layers too */
                              n_features * v->out_size * (1 + v->n_deepstack)};
    size_t bytes = tkr_arch_workspace(&v->tower, n_patches, chunk_rows);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        bytes += tkr_tensor_room(tensors[i] * sizeof(float) + 128);
    bytes += v->n_deepstack * tkr_tensor_room(128);
    /* On the host: rows, columns and places of patches, and where frames and windows begin. */
    return bytes + 48 * n_patches + 5 * rows * h * (v->n_positions > 0 ? sizeof(float) : 0);
}

size_t tkr_vision_widest(const tkr_vision_config *v) {
    const size_t square = v->merge_size * v->merge_size * v->tower.hidden_size;
    const size_t tower = tkr_arch_widest(&v->tower), widest = tower > square ? tower : square;
    return widest > v->patch_cols ? widest : v->patch_cols;
}

/* Squares of the lengths that windows of `side` cut `n` into, summed. */
static double squared_pieces(size_t n, size_t side) {
    const size_t whole = n / side, rest = n % side;
    return (double)(whole * side * side + rest * rest);
}

/* Operations of one frame's attention inside of windows, beyond those of each patch with itself. */
static double within_windows(const tkr_vision_config *v, const tkr_visual *visual) {
    const size_t side = v->window_size / v->patch_size / v->merge_size * v->merge_size;
    const double n = (double)(visual->h * visual->w), q = (double)(v->tower.n_heads * v->tower.head_dim);
    size_t n_local = 0;
    if (side == 0) return 0;
    for (size_t i = 0; i < v->tower.n_layers; i++) n_local += tkr_arch_is_local(&v->tower, i);
    return 4 * q * (double)n_local * (squared_pieces(visual->h, side) * squared_pieces(visual->w, side) - n);
}

double tkr_vision_operations(const tkr_vision_config *v, const tkr_visual *visual) {
    const size_t frame = visual->h * visual->w + v->n_class, n = visual->t * frame,
                 merged = v->merge_size * v->merge_size;
    const double h = (double)v->tower.hidden_size, wide = h * (double)merged, features = (double)n / (double)merged;
    double sum = 2 * (double)n * (double)v->patch_cols * h;
    sum += (double)visual->t * (tkr_arch_operations(&v->tower, frame) + within_windows(v, visual));
    if (merged > 1) sum += (double)(1 + v->n_deepstack) * 2 * features * wide * (wide + (double)v->out_size);
    return sum;
}
