/* SPDX-License-Identifier: Apache-2.0 */
/* generic/attention: one head of one sequence in plain C; a row of scores at a time, two-pass softmax. */
#include "kernels/generic/generic.h"

#include <math.h>

static size_t scratch_bytes(size_t n_tokens, size_t head_dim) {
    (void)head_dim;
    return n_tokens * sizeof(float);
}

static void head(const tkr_attention_args *args) {
    float *p = args->scratch;
    for (size_t i = 0; i < args->n_tokens; i++) {
        size_t low = args->window && i > args->window ? i - args->window : 0;
        size_t high = args->causal ? i + 1 : args->n_tokens;
        if (args->window && args->window < args->n_tokens - i && i + args->window + 1 < high) {
            high = i + args->window + 1;
        }
        float top = -INFINITY;
        for (size_t j = low; j < high; j++) {
            float dot = 0;
            for (size_t d = 0; d < args->head_dim; d++) {
                dot += args->q[i * args->q_stride + d] * args->k[j * args->kv_stride + d];
            }
            p[j] = dot * args->scale;
            top = p[j] > top ? p[j] : top;
        }
        float sum = 0;
        for (size_t j = low; j < high; j++) {
            p[j] = expf(p[j] - top);
            sum += p[j];
        }
        float *out = args->out + i * args->out_stride;
        for (size_t d = 0; d < args->head_dim; d++) {
            float acc = 0;
            for (size_t j = low; j < high; j++) {
                acc += p[j] * args->v[j * args->kv_stride + d];
            }
            out[d] = acc / sum;
        }
    }
}

const tkr_attention tkr_attention_generic = {.name = "f32/generic", .head = head, .scratch_bytes = scratch_bytes};
