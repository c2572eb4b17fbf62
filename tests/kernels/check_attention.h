/* SPDX-License-Identifier: Apache-2.0 */
/* What every attention kernel must hold. check_attention(kernel, tolerance): tolerance is absolute, for values of V in
 * -1..1; 1e-6 for f32, 8e-3 where weights are rounded to bf16. */
#ifndef TKR_TESTS_KERNELS_CHECK_ATTENTION_H
#define TKR_TESTS_KERNELS_CHECK_ATTENTION_H

#include <math.h>

#include "check.h"

typedef struct attention_case {
    size_t n, head_dim, window;
    bool causal;
    float amplitude; /* of q and k */
    bool relative;
    size_t first, n_queries; /* 0: all */
    size_t sampled;          /* compares every sampled-th query with the exact value; 0: every */
} attention_case;

/* A projection of 4 query heads and 2 heads of k and v, [n, 8 * head_dim]: heads 2 and 3 share the second k and v. */
enum { CHECK_HEADS = 4, CHECK_SHARED = 2 };

/* Head `head` (of the shared ones), query row i of the call: p[n_tokens] is room for the weights. */
static void check_attention_exact(double *out, const tkr_attention_args *a, size_t head, size_t row, double *p) {
    const float *q = a->q + row * a->q_stride + head * a->head_dim;
    size_t i = a->first_query + row;
    double top = -INFINITY, sum = 0;
    for (size_t j = 0; j < a->n_tokens; j++) {
        size_t distance = i > j ? i - j : j - i;
        if ((a->causal && j > i) || (a->window && distance > a->window)) {
            p[j] = -INFINITY;
            continue;
        }
        double dot = 0;
        for (size_t d = 0; d < a->head_dim; d++) {
            dot += (double)q[d] * (double)a->k[j * a->kv_stride + d];
        }
        p[j] = dot * (double)a->scale;
        if (a->relative) {
            p[j] += (double)a->relative[(ptrdiff_t)j - (ptrdiff_t)i];
        }
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
        out[d] = acc / sum;
    }
}

static void check_attention_values(const tkr_attention *kernel, const tkr_attention_args *a, size_t n_queries,
                                   const attention_case *c, double tolerance) {
    double *exact = check_alloc_exact(c->head_dim * sizeof(double)), *p = check_alloc_exact(c->n * sizeof(double));
    for (size_t i = 0; i < n_queries; i += c->sampled ? c->sampled : 1) {
        for (size_t h = 0; h < CHECK_SHARED; h++) {
            check_attention_exact(exact, a, h, i, p);
            for (size_t d = 0; d < c->head_dim; d++) {
                double got = (double)a->out[i * a->out_stride + h * c->head_dim + d];
                if (!(fabs(got - exact[d]) <= tolerance)) {
                    fail_msg(
                        "%s n %zu hd %zu window %zu causal %d relative %d: head %zu token %zu, %zu is %.9g, not %.9g",
                        kernel->name, c->n, c->head_dim, c->window, c->causal, c->relative, h, i, d, got, exact[d]);
                }
            }
        }
    }
    free(exact);
    free(p);
}

/* The same rows in calls of `piece` queries, of both heads or of each alone; scratch holds other garbage each time. */
static void check_attention_pieces(const tkr_attention *kernel, const tkr_attention_args *whole, float *again,
                                   size_t n_queries, size_t piece, size_t n_heads) {
    size_t size = kernel->scratch_bytes(whole->n_tokens, whole->head_dim);
    for (size_t h = 0; h < CHECK_SHARED; h += n_heads) {
        for (size_t i = 0; i < n_queries; i += piece) {
            tkr_attention_args args = *whole;
            args.n_heads_shared = n_heads == 1 && i % 2 ? 0 : n_heads;
            args.q += h * args.head_dim + i * args.q_stride;
            args.out = again + h * args.head_dim + i * args.out_stride;
            args.first_query += i;
            args.n_queries = n_queries - i < piece ? n_queries - i : piece;
            memset(args.scratch, (int)i, size);
            kernel->head(&args);
        }
    }
}

static void check_attention_case(const tkr_attention *kernel, attention_case c, double tolerance) {
    static const size_t pieces[] = {1, 5, 64};
    size_t hd = c.head_dim, width = CHECK_HEADS * hd, ld = 2 * width, n = c.n_queries ? c.n_queries : c.n;
    size_t size = n * width * sizeof(float), n_relative = 2 * c.n - 1;
    float *qkv = check_alloc_exact(c.n * ld * sizeof(float)), *relative = check_alloc_exact(n_relative * sizeof(float));
    float *out = check_alloc_exact(size), *again = check_alloc_exact(size);
    void *scratch = check_alloc(kernel->scratch_bytes(c.n, hd));
    uint32_t guard;
    memset(&guard, 0xa5, sizeof guard);
    check_fill(qkv, c.n * ld, 1, c.n * 1000 + hd);
    check_fill(relative, n_relative, 2, c.n);
    for (size_t i = 0; i < c.n * ld; i++) {
        qkv[i] *= i % ld < 6 * hd ? c.amplitude : 1;
    }
    const tkr_attention_args args = {
        .q = qkv + c.first * ld + 2 * hd,
        .k = qkv + 5 * hd,
        .v = qkv + 7 * hd,
        .q_stride = ld,
        .kv_stride = ld,
        .out = out + 2 * hd,
        .out_stride = width,
        .n_tokens = c.n,
        .head_dim = hd,
        .first_query = c.first,
        .n_queries = c.n_queries,
        .scale = 1.0f / sqrtf((float)hd),
        .window = c.window,
        .causal = c.causal,
        .relative = c.relative ? relative + (c.n - 1) : NULL,
        .n_heads_shared = CHECK_SHARED,
        .scratch = scratch,
    };
    kernel->head(&args);
    check_attention_values(kernel, &args, n, &c, tolerance);
    for (size_t i = 0; i < n; i++) {
        for (size_t d = 0; d < 2 * hd; d++) {
            assert_memory_equal(out + i * width + d, &guard, sizeof guard);
        }
    }
    check_attention_pieces(kernel, &args, again + 2 * hd, n, n, 1);
    assert_memory_equal(again, out, size);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        if (n <= pieces[i] || n > 70 * pieces[i]) {
            continue; /* one piece; or all keys packed too often */
        }
        memset(again, 0xa5, size);
        check_attention_pieces(kernel, &args, again + 2 * hd, n, pieces[i], CHECK_SHARED);
        assert_memory_equal(again, out, size);
    }
    free(qkv);
    free(relative);
    free(out);
    free(again);
    free(scratch);
}

static void check_attention_shapes(const tkr_attention *kernel, double tolerance) {
    static const size_t dims[] = {4, 12, 16, 20, 32, 64, 80, 128, 256};
    static const size_t lengths[] = {1, 2, 3, 5, 7, 13, 16, 17, 33, 100};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        for (size_t j = 0; j < sizeof lengths / sizeof *lengths; j++) {
            attention_case c = {
                .n = lengths[j], .head_dim = dims[i], .amplitude = 1.5f, .sampled = lengths[j] > 40 ? 7 : 1};
            check_attention_case(kernel, c, tolerance);
            c.causal = true;
            check_attention_case(kernel, c, tolerance);
            c.window = 5;
            c.relative = true;
            check_attention_case(kernel, c, tolerance);
            c.causal = false;
            check_attention_case(kernel, c, tolerance);
            c.window = 40;
            c.relative = false;
            check_attention_case(kernel, c, tolerance);
        }
    }
}

static void check_attention(const tkr_attention *kernel, double tolerance) {
    static const size_t windows[] = {1, 8, 64};
    check_attention_shapes(kernel, tolerance);
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++) {
        attention_case c = {.n = 300, .head_dim = 64, .window = windows[i], .amplitude = 1.5f, .sampled = 7};
        check_attention_case(kernel, c, tolerance);
        c.causal = true;
        c.relative = i == 1;
        check_attention_case(kernel, c, tolerance);
    }
    check_attention_case(kernel,
                         (attention_case){.n = 280, .head_dim = 128, .causal = true, .amplitude = 1.5f, .sampled = 7},
                         tolerance);
    check_attention_case(kernel,
                         (attention_case){.n = 140, .head_dim = 256, .relative = true, .amplitude = 1.5f, .sampled = 7},
                         tolerance);
    check_attention_case(kernel,
                         (attention_case){.n = 700, .head_dim = 32, .amplitude = 1.5f, .n_queries = 150, .sampled = 11},
                         tolerance);
    /* long: some queries of all keys, all of a window */
    attention_case c = {.n = 3000, .head_dim = 64, .amplitude = 2, .first = 1500, .n_queries = 67, .sampled = 9};
    check_attention_case(kernel, c, tolerance);
    c.causal = c.relative = true;
    check_attention_case(kernel, c, tolerance);
    c = (attention_case){.n = 3000, .head_dim = 12, .window = 64, .amplitude = 1.5f, .sampled = 97};
    check_attention_case(kernel, c, tolerance);
    /* logits in the hundreds: nearly one-hot rows, where an unshifted softmax overflows. Their rounding is 2^-24 of the
     * logit, times the width of V. */
    check_attention_case(kernel, (attention_case){.n = 50, .head_dim = 32, .amplitude = 12}, tolerance * 60);
    c = (attention_case){.n = 1100, .head_dim = 32, .amplitude = 12, .n_queries = 20, .sampled = 1};
    check_attention_case(kernel, c, tolerance * 60);
}

#endif
