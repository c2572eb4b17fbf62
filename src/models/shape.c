/* SPDX-License-Identifier: Apache-2.0 */
/* models/shape: what follows from an architecture's configuration alone: memory, operations. */
#include "models/model.h"

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
