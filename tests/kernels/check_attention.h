/* SPDX-License-Identifier: Apache-2.0 */
/* What every attention kernel must hold. check_attention(kernel, tolerance): tolerance is absolute, for values of V in
 * -1..1; 1e-6 for f32, 4e-3 where weights are rounded to bf16. */
#ifndef TKR_TESTS_KERNELS_CHECK_ATTENTION_H
#define TKR_TESTS_KERNELS_CHECK_ATTENTION_H

#include <math.h>

#include "check.h"

typedef struct attention_case {
    size_t n, head_dim, window;
    bool causal;
    float amplitude; /* of q and k */
} attention_case;

static void check_attention_exact(double *out, const tkr_attention_args *a) {
    double *p = check_alloc_exact(a->n_tokens * sizeof(double));
    for (size_t i = 0; i < a->n_tokens; i++) {
        double top = -INFINITY, sum = 0;
        for (size_t j = 0; j < a->n_tokens; j++) {
            size_t distance = i > j ? i - j : j - i;
            if ((a->causal && j > i) || (a->window && distance > a->window)) {
                p[j] = -INFINITY;
                continue;
            }
            double dot = 0;
            for (size_t d = 0; d < a->head_dim; d++) {
                dot += (double)a->q[i * a->q_stride + d] * (double)a->k[j * a->kv_stride + d];
            }
            p[j] = dot * (double)a->scale;
            top = p[j] > top ? p[j] : top;
        }
        for (size_t j = 0; j < a->n_tokens; j++) {
            p[j] = exp(p[j] - top);
            sum += p[j];
        }
        for (size_t d = 0; d < a->head_dim; d++) {
            double acc = 0;
            for (size_t j = 0; j < a->n_tokens; j++) {
                acc += p[j] * (double)a->v[j * a->kv_stride + d];
            }
            out[i * a->head_dim + d] = acc / sum;
        }
    }
    free(p);
}

/* Heads lie as in a fused [n, 3 * width] projection; the second of two heads is computed, the first must stay. */
static void check_attention_case(const tkr_attention *kernel, attention_case c, double tolerance) {
    size_t hd = c.head_dim, width = 2 * hd, ld = 3 * width;
    float *qkv = check_alloc_exact(c.n * ld * sizeof(float));
    float *out = check_alloc_exact(c.n * width * sizeof(float)),
          *again = check_alloc_exact(c.n * width * sizeof(float));
    double *exact = check_alloc_exact(c.n * hd * sizeof(double));
    void *scratch = check_alloc(kernel->scratch_bytes(c.n, hd));
    uint32_t guard;
    memset(&guard, 0xa5, sizeof guard);
    check_fill(qkv, c.n * ld, 1, c.n * 1000 + hd);
    for (size_t i = 0; i < c.n; i++) {
        for (size_t j = 0; j < 2 * width; j++) {
            qkv[i * ld + j] *= c.amplitude;
        }
    }
    tkr_attention_args args = {
        .q = qkv + hd,
        .k = qkv + width + hd,
        .v = qkv + 2 * width + hd,
        .q_stride = ld,
        .kv_stride = ld,
        .out = out + hd,
        .out_stride = width,
        .n_tokens = c.n,
        .head_dim = hd,
        .scale = 1.0f / sqrtf((float)hd),
        .window = c.window,
        .causal = c.causal,
        .scratch = scratch,
    };
    kernel->head(&args);
    check_attention_exact(exact, &args);
    for (size_t i = 0; i < c.n; i++) {
        for (size_t d = 0; d < hd; d++) {
            double got = (double)out[i * width + hd + d], want = exact[i * hd + d];
            if (!(fabs(got - want) <= tolerance)) {
                fail_msg("%s n %zu hd %zu window %zu causal %d: token %zu, %zu is %.9g, not %.9g", kernel->name, c.n,
                         hd, c.window, c.causal, i, d, got, want);
            }
            assert_memory_equal(out + i * width + d, &guard, sizeof guard);
        }
    }
    /* other garbage in scratch, same bits */
    memset(scratch, 0x5a, kernel->scratch_bytes(c.n, hd));
    args.out = again + hd;
    kernel->head(&args);
    assert_memory_equal(again, out, c.n * width * sizeof(float));
    free(qkv);
    free(out);
    free(again);
    free(exact);
    free(scratch);
}

static void check_attention(const tkr_attention *kernel, double tolerance) {
    static const size_t dims[] = {4, 12, 16, 20, 32, 64, 80, 128, 256};
    static const size_t lengths[] = {1, 2, 3, 5, 7, 12, 13, 16, 17, 33, 100};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        for (size_t j = 0; j < sizeof lengths / sizeof *lengths; j++) {
            attention_case c = {lengths[j], dims[i], 0, false, 1.5f};
            check_attention_case(kernel, c, tolerance);
            c.causal = true;
            check_attention_case(kernel, c, tolerance);
            c.window = 5;
            check_attention_case(kernel, c, tolerance);
            c.causal = false;
            check_attention_case(kernel, c, tolerance);
            c.window = 40;
            check_attention_case(kernel, c, tolerance);
        }
    }
    check_attention_case(kernel, (attention_case){700, 32, 0, false, 1.5f}, tolerance);
    check_attention_case(kernel, (attention_case){300, 64, 64, false, 1.5f}, tolerance);
    /* logits in the hundreds: nearly one-hot rows, where an unshifted softmax overflows. Their rounding is 2^-24 of the
     * logit, times the width of V. */
    check_attention_case(kernel, (attention_case){50, 32, 0, false, 12}, tolerance * 60);
}

#endif
