/* SPDX-License-Identifier: Apache-2.0 */
/* What every grouped 4-bit GEMM kernel must hold, whatever its layouts. check_gemm_q4(kernel) is the entry. */
#ifndef TKR_TESTS_KERNELS_CHECK_GEMM_Q4_H
#define TKR_TESTS_KERNELS_CHECK_GEMM_Q4_H

#include <math.h>

#include "check.h"
#include "kernels/generic/gemm_q4.h"
#include "kernels/generic/generic.h"
#include "quant/dtype.h"

enum { CHECK_Q4_ROWS = 70, CHECK_Q4_GUARD = 5 };

/* One packed problem: n_rows x n_cols x k. */
typedef struct q4_case {
    const tkr_gemm *g;
    size_t n_cols, k, k_padded, group, n_groups, stride, n_rows;
    tkr_scale_kind kind;
    float *a, *scale, *bias, *add; /* [n_rows, k], [n_cols, n_groups] twice, the epilogue's bias [nr] */
    uint8_t *codes;                /* [n_cols, k] */
    void *packed_a, *panel, *scratch;
    double *exact, *bound; /* [n_rows, n_cols]: from the row codes, in double; allowed error */
} q4_case;

static float q4_exact_scale(float x, tkr_scale_kind kind) {
    return kind == TKR_SCALE_F32   ? x
           : kind == TKR_SCALE_F16 ? tkr_f16_to_f32(tkr_f32_to_f16(x))
                                   : tkr_bf16_to_f32(tkr_f32_to_bf16(x));
}

/* Weights as MLX has them: one scale in two is negative, zero is (nearly) a code; some groups are all bias. */
static void q4_fill_weights(q4_case *c) {
    uint64_t state = c->k * 77 + c->n_cols + c->group;
    for (size_t i = 0; i < c->n_cols * c->n_groups; i++) {
        const float s = 0.02f + 0.01f * check_random(&state), z = floorf(8 + 3 * check_random(&state));
        c->scale[i] = q4_exact_scale(i % 17 == 5 ? 0 : i % 2 ? s : -s, c->kind);
        c->bias[i] = q4_exact_scale(i % 17 == 5 ? 0.03f : -c->scale[i] * z, c->kind);
    }
    for (size_t i = 0; i < c->n_cols * c->k; i++) {
        c->codes[i] = (uint8_t)(int)(8 + 7.999f * check_random(&state));
    }
}

/* Ordinary rows, and: an empty one, one without negative values, one with an outlier x1000, one of outlier channels,
 * one of values that are too small for a scale. */
static void q4_fill_rows(q4_case *c) {
    check_fill(c->a, c->n_rows * c->k, 1.5f, c->k * 31 + c->n_cols);
    for (size_t m = 0; m < c->n_rows; m++) {
        float *x = c->a + m * c->k;
        for (size_t i = 0; i < c->k; i++) {
            switch (m % 11) {
            case 1: x[i] = 0; break;
            case 2: x[i] = fabsf(x[i]); break;
            case 3: x[i] *= i == c->k / 2 ? 1000.0f : 1.0f; break;
            case 4: x[i] *= i % 37 == 5 ? 1000.0f : 1.0f; break;
            case 5: x[i] *= 1e-37f; break;
            default: break;
            }
        }
    }
}

/* From the reference encoder's codes. The bound is relative to the terms that a kernel adds, scale * code and bias: a
 * large activation times a weight of 0 is the difference of two large products. For ordinary numbers it is 1e-6 of
 * sum |x| |w|. */
static void q4_exact(q4_case *c) {
    char *bytes = check_alloc(tkr_q4_row_bytes(c->k_padded));
    const tkr_q4_row row = tkr_q4_row_at(bytes, c->k_padded);
    for (size_t m = 0; m < c->n_rows; m++) {
        tkr_q4_encode_row(bytes, c->a + m * c->k, c->k, c->k_padded);
        for (size_t n = 0; n < c->n_cols; n++) {
            double sum = 0, magnitude = 0;
            for (size_t i = 0; i < c->k; i++) {
                const size_t g = n * c->n_groups + i / c->group;
                const double w = (double)c->scale[g] * c->codes[n * c->k + i], b = (double)c->bias[g];
                const double x = (double)row.scale[i / TKR_Q4_BLOCK] * row.q[i];
                sum += x * (w + b);
                magnitude += fabs(x) * (fabs(w) + fabs(b));
            }
            c->exact[m * c->n_cols + n] = sum;
            c->bound[m * c->n_cols + n] = 2.5e-7 * magnitude + 1e-30;
        }
    }
    free(bytes);
}

static void q4_case_init(q4_case *c, const tkr_gemm *g, size_t n_rows, size_t n_cols, size_t k, size_t group,
                         tkr_scale_kind kind) {
    *c = (q4_case){.g = g, .n_cols = n_cols, .k = k, .group = group, .kind = kind, .n_rows = n_rows};
    c->k_padded = (k + g->k_align - 1) / g->k_align * g->k_align;
    c->n_groups = (k + group - 1) / group;
    c->stride = (g->row_bytes(c->k_padded) + 3) / 4 * 4;
    c->a = check_alloc_exact(n_rows * k * sizeof(float));
    c->scale = check_alloc_exact(n_cols * c->n_groups * sizeof(float));
    c->bias = check_alloc_exact(n_cols * c->n_groups * sizeof(float));
    c->codes = check_alloc_exact(n_cols * k);
    c->add = check_alloc(g->nr * sizeof(float));
    c->packed_a = check_alloc(n_rows * c->stride);
    c->panel = check_alloc(g->panel_bytes(c->k_padded, group, kind));
    c->scratch = check_alloc(g->scratch_bytes ? g->scratch_bytes(c->k_padded) : 0);
    c->exact = check_alloc_exact(n_rows * n_cols * sizeof(double));
    c->bound = check_alloc_exact(n_rows * n_cols * sizeof(double));
    assert_true(g->panel_bytes(c->k_padded, group, kind) % 64 == 0);
    q4_fill_weights(c);
    q4_fill_rows(c);
    check_fill(c->add, n_cols, 0.5f, k + n_cols);
    memset(c->add + n_cols, 0, (g->nr - n_cols) * sizeof(float));
    q4_exact(c);
    g->pack_rows(c->packed_a, c->stride, NULL, c->a, k, n_rows, k, c->k_padded);
    const tkr_codes codes = {c->codes, c->scale, c->bias, n_cols, k, c->k_padded, group, kind};
    g->pack_codes(c->panel, &codes);
}

static void q4_case_free(q4_case *c) {
    void *all[] = {c->a, c->scale, c->bias, c->codes, c->add, c->packed_a, c->panel, c->scratch, c->exact, c->bound};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}

static tkr_gemm_args q4_args(const q4_case *c, size_t row, size_t n_rows, float *out, size_t ldc) {
    return (tkr_gemm_args){.a = (const char *)c->packed_a + row * c->stride,
                           .a_stride = c->stride,
                           .n_rows = n_rows,
                           .b = c->panel,
                           .k_padded = c->k_padded,
                           .c = out,
                           .ldc = ldc,
                           .n_cols = c->n_cols,
                           .activation = TKR_ACT_NONE,
                           .scratch = c->scratch,
                           .group = c->group,
                           .scale_kind = c->kind};
}

/* Plain product against the reference; returns it, [n_rows, n_cols]. */
static float *q4_product(const q4_case *c) {
    float *out = check_alloc_exact(c->n_rows * c->n_cols * sizeof(float));
    tkr_gemm_args args = q4_args(c, 0, c->n_rows, out, c->n_cols);
    c->g->panel(&args);
    for (size_t i = 0; i < c->n_rows * c->n_cols; i++) {
        if (!(fabs((double)out[i] - c->exact[i]) <= c->bound[i])) {
            fail_msg("%s n %zu k %zu group %zu kind %d: row %zu column %zu is %.9g, not %.9g (+- %.2g)", c->g->name,
                     c->n_cols, c->k, c->group, (int)c->kind, i / c->n_cols, i % c->n_cols, (double)out[i], c->exact[i],
                     c->bound[i]);
        }
    }
    return out;
}

/* Any row count gives the bits of the whole; nothing beyond n_cols or the last row is touched. */
static void q4_rows(const q4_case *c, const float *whole) {
    const size_t ldc = c->n_cols + CHECK_Q4_GUARD;
    uint32_t guard;
    memset(&guard, 0xa5, sizeof guard);
    for (size_t n = 1; n <= c->n_rows; n++) {
        const size_t row = n * 7 % (c->n_rows - n + 1);
        float *out = check_alloc_exact((n * ldc + CHECK_Q4_GUARD) * sizeof(float));
        tkr_gemm_args args = q4_args(c, row, n, out, ldc);
        c->g->panel(&args);
        for (size_t i = 0; i < n; i++) {
            assert_memory_equal(out + i * ldc, whole + (row + i) * c->n_cols, c->n_cols * sizeof(float));
            for (size_t j = c->n_cols; j < ldc; j++) {
                assert_memory_equal(out + i * ldc + j, &guard, sizeof guard);
            }
        }
        for (size_t j = 0; j < CHECK_Q4_GUARD; j++) {
            assert_memory_equal(out + n * ldc + j, &guard, sizeof guard);
        }
        free(out);
    }
}

/* activation(x + bias) + residual; the residual may be where the result goes. */
static void q4_epilogue(const q4_case *c, const float *whole) {
    const size_t n = c->n_rows * c->n_cols;
    float *residual = check_alloc_exact(n * sizeof(float)), *out = check_alloc_exact(n * sizeof(float));
    check_fill(residual, n, 2, 77);
    for (int act = TKR_ACT_NONE; act <= TKR_ACT_QUICK_GELU; act++) {
        memcpy(out, residual, n * sizeof(float));
        tkr_gemm_args args = q4_args(c, 0, c->n_rows, out, c->n_cols);
        args.activation = (tkr_activation)act;
        args.bias = c->add;
        args.residual = out;
        args.ld_residual = c->n_cols;
        c->g->panel(&args);
        for (size_t i = 0; i < n; i++) {
            const float x = whole[i] + c->add[i % c->n_cols];
            const double y = (double)tkr_activate_one(x, (tkr_activation)act) + (double)residual[i];
            assert_true(fabs((double)out[i] - y) <= 4e-7 * (fabs((double)x) + fabs(y)) + 1e-7);
        }
    }
    free(residual);
    free(out);
}

/* Powers of two as scales and whole numbers as values: every sum is exact, whatever the order. */
static void q4_whole_numbers(const tkr_gemm *g, size_t group) {
    q4_case c;
    q4_case_init(&c, g, 9, g->nr, 416, group, TKR_SCALE_BF16);
    for (size_t i = 0; i < c.n_cols * c.n_groups; i++) {
        c.scale[i] = i % 3 == 1 ? -0.5f : 2.0f;
        c.bias[i] = (float)(i % 5) - 2;
    }
    for (size_t i = 0; i < c.n_cols * c.k; i++) {
        c.codes[i] = i % 7 == 0 ? 15 : c.codes[i]; /* the extremes meet */
    }
    for (size_t i = 0; i < c.n_rows * c.k; i++) {
        c.a[i] = i % 32 == 0 || i / c.k == 3 ? (i % 64 ? -127.0f : 127.0f) : rintf(c.a[i] * 0.08f);
    }
    for (size_t i = 0; i < c.k; i++) {
        c.a[4 * c.k + i] = 127;
    }
    q4_exact(&c);
    g->pack_rows(c.packed_a, c.stride, NULL, c.a, c.k, c.n_rows, c.k, c.k_padded);
    const tkr_codes codes = {c.codes, c.scale, c.bias, c.n_cols, c.k, c.k_padded, group, c.kind};
    g->pack_codes(c.panel, &codes);
    memset(c.bound, 0, c.n_rows * c.n_cols * sizeof *c.bound);
    free(q4_product(&c));
    q4_case_free(&c);
}

/* The rows are the reference encoder's: same codes, scales and sums. */
static void q4_row_bits(const tkr_gemm *g) {
    static const size_t ks[] = {1, 31, 32, 48, 100, 128, 416, 1000};
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        const size_t k = ks[i];
        q4_case c;
        q4_case_init(&c, g, 13, 1, k, 32, TKR_SCALE_F32);
        const size_t bytes = tkr_q4_row_bytes(c.k_padded);
        assert_int_equal(g->row_bytes(c.k_padded), bytes);
        c.a[1 * k] = NAN; /* in a block of zeros */
        c.a[7 * k] = NAN;
        c.a[8 * k] = -INFINITY;
        c.a[9 * k] = 3e38f;
        g->pack_rows(c.packed_a, c.stride, NULL, c.a, k, 13, k, c.k_padded);
        char *row = check_alloc(bytes);
        for (size_t m = 0; m < 13; m++) {
            tkr_q4_encode_row(row, c.a + m * k, k, c.k_padded);
            assert_memory_equal((char *)c.packed_a + m * c.stride, row, bytes);
        }
        free(row);
        q4_case_free(&c);
    }
}

/* Infinities poison their row and no other; a NaN is some code. */
static void q4_not_finite(const tkr_gemm *g) {
    q4_case c;
    q4_case_init(&c, g, 3, 5, 160, 64, TKR_SCALE_F32);
    c.a[1 * c.k + 40] = INFINITY;
    g->pack_rows(c.packed_a, c.stride, NULL, c.a, c.k, c.n_rows, c.k, c.k_padded);
    float out[15];
    tkr_gemm_args args = q4_args(&c, 0, 3, out, 5);
    g->panel(&args);
    for (size_t i = 0; i < 15; i++) {
        assert_true(isfinite(out[i]) ? i / 5 != 1 : i / 5 == 1);
    }
    q4_case_free(&c);
}

static void check_gemm_q4(const tkr_gemm *g) {
    static const struct {
        size_t rows, k;
    } shapes[] = {{CHECK_Q4_ROWS, 96}, {CHECK_Q4_ROWS, 48}, {13, 1}, {13, 416}, {7, 1024}, {9, 2208}};
    assert_true(g->nr % 16 == 0 && g->nr <= 64 && g->k_align % 32 == 0 && !g->integer && !g->rows_in_place);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const size_t cols[] = {g->nr, 1, 9, (size_t)g->nr - 1};
        for (size_t v = 0; v < 9; v++) { /* every group with every kind; the columns in turn */
            q4_case c;
            q4_case_init(&c, g, shapes[i].rows, cols[(v + i) % 4], shapes[i].k, (size_t)32 << v % 3,
                         (tkr_scale_kind)(v / 3));
            float *whole = q4_product(&c);
            q4_rows(&c, whole);
            if (i % 2 == 0) {
                q4_epilogue(&c, whole);
            }
            free(whole);
            q4_case_free(&c);
        }
    }
    for (size_t group = 32; group <= 128; group *= 2) {
        q4_whole_numbers(g, group);
    }
    q4_row_bits(g);
    q4_not_finite(g);
}

#endif
