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
    const size_t merged = v->merge_size * v->merge_size, n_features = n_patches / merged + 1;
    const size_t tensors[] = {/* pixels, positions, and the states in another order */
                              n_patches * v->patch_cols, n_patches * v->tower.hidden_size,
                              n_patches * v->tower.hidden_size,
                              /* the merger's inside, features and those for other layers */
                              n_patches * v->tower.hidden_size, n_patches * v->tower.hidden_size,
                              n_features * v->out_size * (1 + v->n_deepstack)};
    size_t bytes = tkr_arch_workspace(&v->tower, n_patches, chunk_rows);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        bytes += tkr_tensor_room(tensors[i] * sizeof(float) + 128);
    return bytes;
}

double tkr_vision_operations(const tkr_vision_config *v, const tkr_visual *visual) {
    const size_t frame = visual->h * visual->w, n = visual->t * frame, merged = v->merge_size * v->merge_size;
    const double h = (double)v->tower.hidden_size, wide = h * (double)merged, features = (double)n / (double)merged;
    double sum = 2 * (double)n * (double)v->patch_cols * h;
    sum += (double)visual->t * tkr_arch_operations(&v->tower, frame);
    if (merged > 1) sum += (double)(1 + v->n_deepstack) * 2 * features * wide * (wide + (double)v->out_size);
    return sum;
}
