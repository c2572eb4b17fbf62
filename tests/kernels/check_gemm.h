/* SPDX-License-Identifier: Apache-2.0 */
/* What every GEMM kernel must hold, whatever its layouts. check_gemm(kernel, mode) is the entry. */
#ifndef TKR_TESTS_KERNELS_CHECK_GEMM_H
#define TKR_TESTS_KERNELS_CHECK_GEMM_H

#include <math.h>

#include "check.h"
#include "kernels/generic/generic.h"
#include "quant/dtype.h"

enum { CHECK_ROWS = 13, CHECK_GUARD = 5 };

/* One packed problem: CHECK_ROWS x n_cols x k. */
typedef struct gemm_case {
    const tkr_gemm *g;
    tkr_gemm_mode mode;
    size_t n_cols, k, k_padded, stride, n_rows;
    float *a, *w, *bias, *b_scale; /* [n_rows, k], [n_cols, k], [nr], [nr] */
    int32_t *b_sum;
    void *packed_a, *panel, *scratch;
    tkr_row_quant *quant;
    double *exact, *bound; /* [n_rows, n_cols]: reference of the plain product, allowed error */
} gemm_case;

/* Code i of packed row m, without its zero point. */
static int64_t check_code(const gemm_case *c, size_t m, size_t i) {
    const char *row = (const char *)c->packed_a + m * c->stride;
    if (c->g->act_bytes == 1) {
        return (int64_t)((const uint8_t *)row)[i] - c->quant[m].zero;
    }
    return (int64_t)((const int16_t *)(const void *)row)[i] - c->quant[m].zero;
}

static void check_exact_float(gemm_case *c) {
    for (size_t m = 0; m < c->n_rows; m++) {
        for (size_t n = 0; n < c->n_cols; n++) {
            double sum = 0, magnitude = 0;
            for (size_t i = 0; i < c->k; i++) {
                float a = c->a[m * c->k + i], b = c->w[n * c->k + i];
                if (c->mode == TKR_GEMM_BF16) {
                    a = tkr_bf16_to_f32(tkr_f32_to_bf16(a));
                    b = tkr_bf16_to_f32(tkr_f32_to_bf16(b));
                }
                sum += (double)a * (double)b;
                magnitude += fabs((double)a * (double)b);
            }
            c->exact[m * c->n_cols + n] = sum;
            c->bound[m * c->n_cols + n] = 1.2e-7 * (2 + sqrt((double)c->k)) * magnitude + 1e-30;
        }
    }
}

/* From the kernel's own row codes and the scalar weight codes: the sum is exact, what is left is two or three
 * roundings. */
static void check_exact_int(gemm_case *c) {
    int8_t *q = check_alloc_exact(c->k);
    for (size_t n = 0; n < c->n_cols; n++) {
        float scale = 0;
        int64_t weights = 0;
        tkr_quantize_s8_row(q, &scale, c->w + n * c->k, c->k);
        for (size_t i = 0; i < c->k; i++) {
            weights += q[i];
        }
        assert_true(c->b_scale[n] == scale);
        assert_int_equal(c->b_sum[n], weights);
        for (size_t m = 0; m < c->n_rows; m++) {
            int64_t sum = 0;
            for (size_t i = 0; i < c->k; i++) {
                sum += check_code(c, m, i) * q[i];
            }
            double y = (double)sum * (double)scale * (double)c->quant[m].scale;
            c->exact[m * c->n_cols + n] = y;
            c->bound[m * c->n_cols + n] = 2.5e-7 * fabs(y);
        }
    }
    free(q);
}

/* Every value within half a step (and a rounding) of what its code says; the range is used. */
static void check_row_codes(const gemm_case *c) {
    for (size_t m = 0; m < c->n_rows; m++) {
        double scale = (double)c->quant[m].scale, low = 0, high = 0;
        for (size_t i = 0; i < c->k; i++) {
            double x = (double)c->a[m * c->k + i];
            low = x < low ? x : low;
            high = x > high ? x : high;
            double error = fabs((double)check_code(c, m, i) * scale - x);
            /* the two ends of an asymmetric range may lie half a step outside, by the zero point's own rounding */
            assert_true(error <= scale * (c->g->act_bytes == 1 ? 1.01 : 0.51));
        }
        for (size_t i = c->k; i < c->k_padded; i++) {
            assert_int_equal(check_code(c, m, i), 0);
        }
        if (high > low) {
            assert_true(scale <= (high - low) / (c->g->act_bytes == 1 ? 254.9 : (double)tkr_s16_limit(c->k) * 0.999));
        }
    }
}

static void gemm_case_init(gemm_case *c, const tkr_gemm *g, tkr_gemm_mode mode, size_t n_cols, size_t k) {
    *c = (gemm_case){.g = g, .mode = mode, .n_cols = n_cols, .k = k, .n_rows = CHECK_ROWS};
    c->k_padded = (k + g->k_align - 1) / g->k_align * g->k_align;
    c->stride = (c->k_padded * g->act_bytes + 3) / 4 * 4;
    c->a = check_alloc_exact(c->n_rows * k * sizeof(float));
    c->w = check_alloc_exact(n_cols * k * sizeof(float));
    c->bias = check_alloc(g->nr * sizeof(float));
    c->b_scale = check_alloc(g->nr * sizeof(float));
    c->b_sum = check_alloc(g->nr * sizeof(int32_t));
    c->quant = check_alloc_exact(c->n_rows * sizeof *c->quant);
    c->packed_a = check_alloc(c->n_rows * c->stride);
    c->panel = check_alloc((size_t)g->nr * c->k_padded * g->weight_bits / 8);
    c->scratch = check_alloc(g->scratch_bytes ? g->scratch_bytes(c->k_padded) : 0);
    c->exact = check_alloc_exact(c->n_rows * n_cols * sizeof(double));
    c->bound = check_alloc_exact(c->n_rows * n_cols * sizeof(double));
    check_fill(c->a, c->n_rows * k, 1.5f, k * 31 + n_cols);
    check_fill(c->w, n_cols * k, 0.6f, k * 17 + n_cols + 1);
    check_fill(c->bias, n_cols, 0.5f, k + n_cols);
    memset(c->bias + n_cols, 0, (g->nr - n_cols) * sizeof(float));
    for (size_t i = 0; i < k; i++) {
        c->a[1 * k + i] = 0;                                    /* an empty row, */
        c->a[2 * k + i] = fabsf(c->a[2 * k + i]);               /* one without negative values, */
        c->a[3 * k + i] = i == k / 2 ? 60.0f : c->a[3 * k + i]; /* one with an outlier */
    }
    g->pack_rows(c->packed_a, c->stride, g->integer ? c->quant : NULL, c->a, k, c->n_rows, k, c->k_padded);
    g->pack_panel(c->panel, g->integer ? c->b_scale : NULL, g->integer ? c->b_sum : NULL, c->w, k, n_cols, k,
                  c->k_padded);
    if (g->integer) {
        check_row_codes(c);
        check_exact_int(c);
    } else {
        check_exact_float(c);
    }
}

static void gemm_case_free(gemm_case *c) {
    void *all[] = {c->a,        c->w,     c->bias,    c->b_scale, c->b_sum, c->quant,
                   c->packed_a, c->panel, c->scratch, c->exact,   c->bound};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}

static tkr_gemm_args gemm_case_args(const gemm_case *c, size_t row, size_t n_rows, float *out, size_t ldc) {
    return (tkr_gemm_args){
        .a = (const char *)c->packed_a + row * c->stride,
        .a_stride = c->stride,
        .a_quant = c->g->integer ? c->quant + row : NULL,
        .n_rows = n_rows,
        .b = c->panel,
        .k_padded = c->k_padded,
        .b_scale = c->g->integer ? c->b_scale : NULL,
        .b_sum = c->g->integer ? c->b_sum : NULL,
        .c = out,
        .ldc = ldc,
        .n_cols = c->n_cols,
        .activation = TKR_ACT_NONE,
        .scratch = c->scratch,
    };
}

/* Plain product against the reference; returns it, [n_rows, n_cols]. */
static float *check_product(const gemm_case *c) {
    float *out = check_alloc_exact(c->n_rows * c->n_cols * sizeof(float));
    tkr_gemm_args args = gemm_case_args(c, 0, c->n_rows, out, c->n_cols);
    c->g->panel(&args);
    for (size_t i = 0; i < c->n_rows * c->n_cols; i++) {
        if (!(fabs((double)out[i] - c->exact[i]) <= c->bound[i])) {
            fail_msg("%s n %zu k %zu: row %zu column %zu is %.9g, not %.9g (+- %.2g)", c->g->name, c->n_cols, c->k,
                     i / c->n_cols, i % c->n_cols, (double)out[i], c->exact[i], c->bound[i]);
        }
    }
    return out;
}

/* Any row count from any row on gives the bits of the whole; nothing beyond n_cols or the last row is touched. */
static void check_rows(const gemm_case *c, const float *whole) {
    size_t ldc = c->n_cols + CHECK_GUARD;
    for (size_t n = 1; n <= c->n_rows; n++) {
        for (size_t row = 0; row + n <= c->n_rows; row += n < 4 ? 1 : 2) {
            float *out = check_alloc_exact((n * ldc + CHECK_GUARD) * sizeof(float));
            uint32_t guard;
            memset(&guard, 0xa5, sizeof guard);
            tkr_gemm_args args = gemm_case_args(c, row, n, out, ldc);
            c->g->panel(&args);
            for (size_t i = 0; i < n; i++) {
                assert_memory_equal(out + i * ldc, whole + (row + i) * c->n_cols, c->n_cols * sizeof(float));
                for (size_t j = c->n_cols; j < ldc; j++) {
                    assert_memory_equal(out + i * ldc + j, &guard, sizeof guard);
                }
            }
            for (size_t j = 0; j < CHECK_GUARD; j++) {
                assert_memory_equal(out + n * ldc + j, &guard, sizeof guard);
            }
            free(out);
        }
    }
}

/* activation(x + bias) + residual for each activation, residual apart from c and in it. */
static void check_epilogue(const gemm_case *c, const float *whole) {
    size_t n = c->n_rows * c->n_cols;
    float *residual = check_alloc_exact(n * sizeof(float)), *out = check_alloc_exact(n * sizeof(float));
    float *in_place = check_alloc_exact(n * sizeof(float));
    check_fill(residual, n, 2, 77);
    for (int act = TKR_ACT_NONE; act <= TKR_ACT_QUICK_GELU; act++) {
        for (int with = 0; with < 4; with++) {
            tkr_gemm_args args = gemm_case_args(c, 0, c->n_rows, out, c->n_cols);
            args.activation = (tkr_activation)act;
            args.bias = with & 1 ? c->bias : NULL;
            args.residual = with & 2 ? residual : NULL;
            args.ld_residual = c->n_cols;
            c->g->panel(&args);
            for (size_t i = 0; i < n; i++) {
                float x = whole[i] + (with & 1 ? c->bias[i % c->n_cols] : 0);
                double y = (double)tkr_activate_one(x, (tkr_activation)act);
                y += with & 2 ? (double)residual[i] : 0;
                /* an integer kernel may fuse scale and bias: its x has one rounding less */
                double bound = 4e-7 * (fabs((double)x) + fabs((double)whole[i]) + fabs(y)) + 1e-7;
                if (!(fabs((double)out[i] - y) <= bound)) {
                    fail_msg("%s activation %d bias/residual %d: %.9g, not %.9g", c->g->name, act, with, (double)out[i],
                             y);
                }
            }
            if (with & 2) {
                memcpy(in_place, residual, n * sizeof(float));
                args.residual = args.c = in_place;
                c->g->panel(&args);
                assert_memory_equal(in_place, out, n * sizeof(float));
            }
        }
    }
    free(residual);
    free(out);
    free(in_place);
}

/* Rows where they lie, when the kernel says that it can. */
static void check_in_place(const gemm_case *c, const float *whole) {
    if (!c->g->rows_in_place || c->k != c->k_padded) {
        return;
    }
    float *out = check_alloc_exact(c->n_rows * c->n_cols * sizeof(float));
    tkr_gemm_args args = gemm_case_args(c, 0, c->n_rows, out, c->n_cols);
    args.a = c->a;
    args.a_stride = c->k * sizeof(float);
    c->g->panel(&args);
    assert_memory_equal(out, whole, c->n_rows * c->n_cols * sizeof(float));
    free(out);
}

/* Many rows: kernels may prepare the panel differently, the bits stay. */
static void check_many_rows(const gemm_case *c, const float *whole) {
    enum { TIMES = 9 };
    size_t n = c->n_rows * TIMES;
    char *a = check_alloc(n * c->stride);
    tkr_row_quant *quant = check_alloc_exact(n * sizeof *quant);
    float *out = check_alloc_exact(n * c->n_cols * sizeof(float));
    for (size_t t = 0; t < TIMES; t++) {
        memcpy(a + t * c->n_rows * c->stride, c->packed_a, c->n_rows * c->stride);
        memcpy(quant + t * c->n_rows, c->quant, c->n_rows * sizeof *quant);
    }
    tkr_gemm_args args = gemm_case_args(c, 0, n, out, c->n_cols);
    args.a = a;
    args.a_quant = c->g->integer ? quant : NULL;
    c->g->panel(&args);
    for (size_t t = 0; t < TIMES; t++) {
        assert_memory_equal(out + t * c->n_rows * c->n_cols, whole, c->n_rows * c->n_cols * sizeof(float));
    }
    free(a);
    free(quant);
    free(out);
}

static void check_gemm(const tkr_gemm *g, tkr_gemm_mode mode) {
    static const size_t ks[] = {1, 4, 7, 32, 33, 130, 384, 1536};
    assert_true(g->nr % 16 == 0 && g->nr <= 64 && g->k_align > 0);
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        const size_t cols[] = {g->nr, 1, 7, 8, 9, (size_t)g->nr - 1};
        for (size_t j = 0; j < sizeof cols / sizeof *cols && (ks[i] < 1000 || j == 0); j++) {
            gemm_case c;
            gemm_case_init(&c, g, mode, cols[j], ks[i]);
            float *whole = check_product(&c);
            check_rows(&c, whole);
            check_epilogue(&c, whole);
            check_in_place(&c, whole);
            check_many_rows(&c, whole);
            free(whole);
            gemm_case_free(&c);
        }
    }
}

#endif
