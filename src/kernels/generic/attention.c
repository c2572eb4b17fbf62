/* SPDX-License-Identifier: Apache-2.0 */
/* generic/attention: a head in plain C: one row of scores at a time, two-pass softmax, sums in double. */
#include "kernels/generic/generic.h"

#include <math.h>

enum { MAX_HEAD_DIM = 256 };

static size_t scratch_bytes(size_t n_tokens, size_t head_dim) {
    (void)head_dim;
    return n_tokens * sizeof(float);
}

/* Query i of the sequence. */
static void attend(const tkr_attention_args *args, const float *q, size_t i, float *out) {
    float *p = args->scratch;
    size_t low = args->window && i > args->window ? i - args->window : 0;
    size_t high = args->causal ? i + 1 : args->n_tokens;
    if (args->window && args->window < args->n_tokens - i && i + args->window + 1 < high) {
        high = i + args->window + 1;
    }
    float top = -INFINITY;
    for (size_t j = low; j < high; j++) {
        double dot = 0;
        for (size_t d = 0; d < args->head_dim; d++) {
            dot += (double)q[d] * (double)args->k[j * args->kv_stride + d];
        }
        p[j] = (float)(dot * (double)args->scale);
        if (args->relative) {
            p[j] += args->relative[(ptrdiff_t)j - (ptrdiff_t)i];
        }
        top = p[j] > top ? p[j] : top;
    }
    double sum = 0, acc[MAX_HEAD_DIM] = {0};
    for (size_t j = low; j < high; j++) {
        p[j] = expf(p[j] - top);
        sum += (double)p[j];
        for (size_t d = 0; d < args->head_dim; d++) {
            acc[d] += (double)p[j] * (double)args->v[j * args->kv_stride + d];
        }
    }
    for (size_t d = 0; d < args->head_dim; d++) {
        out[d] = (float)(acc[d] / sum);
    }
}

static void head(const tkr_attention_args *args) {
    size_t n = args->n_queries ? args->n_queries : args->n_tokens - args->first_query;
    for (size_t h = 0; h < (args->n_heads_shared ? args->n_heads_shared : 1); h++) {
        for (size_t i = 0; i < n; i++) {
            attend(args, args->q + i * args->q_stride + h * args->head_dim, args->first_query + i,
                   args->out + i * args->out_stride + h * args->head_dim);
        }
    }
}

const tkr_attention tkr_attention_generic = {.name = "f32/generic", .head = head, .scratch_bytes = scratch_bytes};
