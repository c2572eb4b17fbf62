/* SPDX-License-Identifier: Apache-2.0 */
/* What a kernel of generic/gemm_q8_blocks.h must hold: the reference's bits. check_gemm_q8(kernel) is the entry. */
#ifndef TKR_TESTS_KERNELS_CHECK_GEMM_Q8_H
#define TKR_TESTS_KERNELS_CHECK_GEMM_Q8_H

#include <math.h>

#include "check.h"
#include "kernels/generic/gemm_q8_blocks.h"
#include "kernels/generic/generic.h"

enum { CHECK_Q8_ROWS = 40, CHECK_Q8_GUARD = 5 };

/* One problem, packed by the reference and by the kernel. */
typedef struct q8_case {
    const tkr_gemm *g, *want;
    size_t block, n_cols, k, k_padded, stride, n_rows, row_bytes, panel_bytes;
    float *a, *w, *bias; /* [n_rows, k], [n_cols, k], [nr] */
    void *rows, *panel, *want_rows, *want_panel, *scratch;
} q8_case;

/* Ordinary rows, and: an empty one, one without negative values, outliers, values too small for a scale, values of
 * one size, whose norm is as large as can be. */
static void q8_fill(float *x, size_t n, size_t k, float amplitude, uint64_t seed) {
    check_fill(x, n * k, amplitude, seed);
    for (size_t m = 0; m < n; m++, x += k) {
        for (size_t i = 0; i < k; i++) {
            switch (m % 11) {
            case 1: x[i] = 0; break;
            case 2: x[i] = fabsf(x[i]); break;
            case 3: x[i] *= i == k / 2 ? 1000.0f : 1.0f; break;
            case 4: x[i] *= i % 37 == 5 ? 1000.0f : 1.0f; break;
            case 5: x[i] *= 1e-37f; break;
            case 6: x[i] = amplitude; break;
            case 7: x[i] = i % 4 < 2 ? -amplitude : 0; break; /* all in one lane */
            case 8: x[i] *= i < k / 2 ? 1e-4f : 1.0f; break;
            default: break;
            }
        }
    }
}

static bool q8_ordinary(size_t row) { return row % 11 == 0 || row % 11 > 8; }

static void q8_case_init(q8_case *c, const tkr_gemm *g, size_t n_rows, size_t n_cols, size_t k) {
    const tkr_gemm *want = g->k_align == 32 ? &tkr_gemm_q8_blocks_generic : &tkr_gemm_q8_fine_blocks_generic;
    *c = (q8_case){.g = g, .want = want, .block = g->k_align, .n_cols = n_cols, .k = k, .n_rows = n_rows};
    c->k_padded = (k + g->k_align - 1) / g->k_align * g->k_align;
    c->row_bytes = g->row_bytes(c->k_padded);
    c->panel_bytes = g->panel_bytes(c->k_padded, 0, TKR_SCALE_F32);
    assert_int_equal(c->row_bytes, want->row_bytes(c->k_padded));
    assert_int_equal(c->panel_bytes, want->panel_bytes(c->k_padded, 0, TKR_SCALE_F32));
    assert_true(c->panel_bytes % 64 == 0 && c->row_bytes % 4 == 0);
    c->stride = c->row_bytes + 8;
    c->a = check_alloc_exact(n_rows * k * sizeof(float));
    c->w = check_alloc_exact(n_cols * k * sizeof(float));
    c->bias = check_alloc(g->nr * sizeof(float));
    c->rows = check_alloc(n_rows * c->stride);
    c->want_rows = check_alloc(n_rows * c->stride);
    c->panel = check_alloc(c->panel_bytes);
    c->want_panel = check_alloc(c->panel_bytes);
    c->scratch = check_alloc(g->scratch_bytes ? g->scratch_bytes(c->k_padded) : 0);
    q8_fill(c->a, n_rows, k, 1.5f, k * 31 + n_cols);
    q8_fill(c->w, n_cols, k, 0.6f, k * 17 + n_cols + 1);
    check_fill(c->bias, g->nr, 0.5f, k + n_cols);
    g->pack_rows(c->rows, c->stride, NULL, c->a, k, n_rows, k, c->k_padded);
    g->pack_panel(c->panel, NULL, NULL, c->w, k, n_cols, k, c->k_padded);
    want->pack_rows(c->want_rows, c->stride, NULL, c->a, k, n_rows, k, c->k_padded);
    want->pack_panel(c->want_panel, NULL, NULL, c->w, k, n_cols, k, c->k_padded);
    assert_memory_equal(c->rows, c->want_rows, n_rows * c->stride);
    assert_memory_equal(c->panel, c->want_panel, c->panel_bytes);
}

static void q8_case_free(q8_case *c) {
    void *all[] = {c->a, c->w, c->bias, c->rows, c->want_rows, c->panel, c->want_panel, c->scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}

static tkr_gemm_args q8_args(const q8_case *c, size_t row, size_t n_rows, float *out, size_t ldc) {
    return (tkr_gemm_args){.a = (const char *)c->rows + row * c->stride,
                           .a_stride = c->stride,
                           .n_rows = n_rows,
                           .b = c->panel,
                           .k_padded = c->k_padded,
                           .c = out,
                           .ldc = ldc,
                           .n_cols = c->n_cols,
                           .scratch = c->scratch};
}

/* What the layouts promise of the codes: norms and pairs, hence that no sum leaves its 16 bits. */
static void q8_promises(const q8_case *c) {
    const tkr_q8_blocks_panel p = tkr_q8_blocks_panel_at(c->panel, c->k_padded);
    for (size_t b = 0; b < c->k_padded / c->block; b++) {
        for (size_t m = 0; m < c->n_rows; m++) {
            const int8_t *q = (const int8_t *)c->rows + m * c->stride + b * c->block;
            int32_t square[2] = {0, 0};
            for (size_t i = 0; i < c->block; i += 2) {
                assert_true(abs(q[i]) + abs(q[i + 1]) <= 146);
                square[i / 2 % 2] += q[i] * q[i] + q[i + 1] * q[i + 1];
            }
            assert_true(square[0] < 32767 && square[1] < 32767);
        }
        for (size_t j = 0; j < TKR_Q8_BLOCKS_NR; j++) {
            int32_t square[2] = {0, 0};
            for (size_t i = 0; i < c->block; i++) {
                const int32_t w = p.codes[((b * c->block + i) / 4 * TKR_Q8_BLOCKS_NR + j) * 4 + i % 4] - TKR_Q8_CENTRE;
                square[i / 2 % 2] += w * w;
            }
            assert_true(square[0] < 32767 && square[1] < 32767);
            assert_true(p.multiplier[b * TKR_Q8_BLOCKS_NR + j] <= TKR_Q8_MULTIPLIER_MAX);
        }
    }
}

/* Decoded values are within half a step of the originals, and the step is what block and norm ask for: the root of the
 * mean square error of ordinary values is at most 1.5 % of theirs. */
static void q8_decoded(const q8_case *c) {
    const tkr_q8_blocks_panel p = tkr_q8_blocks_panel_at(c->panel, c->k_padded);
    for (size_t m = 0; m < c->n_rows; m++) {
        const int8_t *q = (const int8_t *)c->rows + m * c->stride;
        const tkr_q8_block_tail *tail = (const tkr_q8_block_tail *)(const void *)(q + c->k_padded);
        double error = 0, square = 0;
        for (size_t i = 0; i < c->k; i++) {
            const double step = (double)tail[i / c->block].scale, x = (double)c->a[m * c->k + i];
            assert_true(fabs(step * q[i] - x) <= 0.5001 * step || (step == 0 && fabs(x) < 2e-36));
            error += pow(step * q[i] - x, 2);
            square += x * x;
        }
        assert_true(!q8_ordinary(m) || error <= 2.25e-4 * square);
    }
    for (size_t j = 0; j < c->n_cols; j++) {
        double error = 0, square = 0;
        for (size_t i = 0; i < c->k; i++) {
            const int32_t code = p.codes[(i / 4 * TKR_Q8_BLOCKS_NR + j) * 4 + i % 4] - TKR_Q8_CENTRE;
            const double unit = (double)p.scale[j], step = unit * p.multiplier[i / c->block * TKR_Q8_BLOCKS_NR + j];
            const double w = (double)c->w[j * c->k + i];
            assert_true(fabs(step * code - w) <= 0.5001 * step || (step == 0 && fabs(w) < 5e-32));
            error += pow(step * code - w, 2);
            square += w * w;
        }
        assert_true(!q8_ordinary(j) || error <= 2.25e-4 * square);
    }
}

/* The reference's bits for any number of rows; nothing beyond n_cols or the last row is touched. */
static void q8_bits(const q8_case *c) {
    const size_t ldc = c->n_cols + CHECK_Q8_GUARD;
    float *want = check_alloc_exact(c->n_rows * c->n_cols * sizeof(float));
    tkr_gemm_args args = q8_args(c, 0, c->n_rows, want, c->n_cols);
    c->want->panel(&args);
    for (size_t n = 1; n <= c->n_rows; n += n < 14 ? 1 : 5) {
        const size_t row = c->n_rows - n;
        float *out = check_alloc_exact(n * ldc * sizeof(float)), *same = check_alloc_exact(n * ldc * sizeof(float));
        for (size_t i = 0; i < n; i++) {
            memcpy(same + i * ldc, want + (row + i) * c->n_cols, c->n_cols * sizeof(float));
        }
        args = q8_args(c, row, n, out, ldc);
        c->g->panel(&args);
        assert_memory_equal(out, same, n * ldc * sizeof(float));
        free(out);
        free(same);
    }
    free(want);
}

/* activation(x + bias) + residual, residual apart from c and in it. */
static void q8_epilogue(const q8_case *c) {
    const size_t n = c->n_rows * c->n_cols;
    float *residual = check_alloc_exact(n * sizeof(float)), *out = check_alloc_exact(n * sizeof(float));
    float *want = check_alloc_exact(n * sizeof(float));
    check_fill(residual, n, 2, 77);
    for (int act = TKR_ACT_NONE; act <= TKR_ACT_QUICK_GELU; act++) {
        tkr_gemm_args args = q8_args(c, 0, c->n_rows, want, c->n_cols);
        args.activation = (tkr_activation)act;
        args.bias = act % 2 ? c->bias : NULL;
        args.residual = residual;
        args.ld_residual = c->n_cols;
        c->want->panel(&args);
        memcpy(out, residual, n * sizeof(float));
        args.residual = args.c = out;
        c->g->panel(&args);
        for (size_t i = 0; i < n; i++) {
            const double y = (double)want[i];
            if (!(fabs((double)out[i] - y) <= 1e-6 * (fabs(y) + fabs((double)residual[i])) + 1e-6)) {
                fail_msg("%s activation %d: %.9g, not %.9g", c->g->name, act, (double)out[i], y);
            }
        }
    }
    free(residual);
    free(out);
    free(want);
}

/* The worst that the codes can do: rows and columns of one size and sign, whose sums are next to 2^15. */
static void q8_largest_sums(const tkr_gemm *g) {
    q8_case c;
    q8_case_init(&c, g, 7, 16, 96);
    for (size_t i = 0; i < 7 * 96; i++) {
        c.a[i] = i / 96 % 2 ? -3.0f : 3.0f;
    }
    for (size_t i = 0; i < 16 * 96; i++) {
        c.w[i] = i / 96 % 3 ? 2.0f : -2.0f;
    }
    g->pack_rows(c.rows, c.stride, NULL, c.a, 96, 7, 96, 96);
    g->pack_panel(c.panel, NULL, NULL, c.w, 96, 16, 96, 96);
    float out[7 * 16];
    tkr_gemm_args args = q8_args(&c, 0, 7, out, 16);
    g->panel(&args);
    for (size_t i = 0; i < 7 * 16; i++) {
        const float sign = (i / 16 % 2 ? -1.0f : 1.0f) * (i % 16 % 3 ? 1.0f : -1.0f);
        assert_true(fabsf(out[i] * sign - 6.0f * 96) <= 0.03f * 6 * 96);
    }
    q8_promises(&c);
    q8_bits(&c);
    q8_case_free(&c);
}

/* An infinity poisons its row and no other; a NaN is some code, the reference's. */
static void q8_not_finite(const tkr_gemm *g) {
    q8_case c;
    q8_case_init(&c, g, 3, 5, 160);
    c.a[1 * c.k + 40] = INFINITY;
    c.a[2 * c.k + 90] = NAN;
    g->pack_rows(c.rows, c.stride, NULL, c.a, c.k, c.n_rows, c.k, c.k_padded);
    c.want->pack_rows(c.want_rows, c.stride, NULL, c.a, c.k, c.n_rows, c.k, c.k_padded);
    assert_memory_equal(c.rows, c.want_rows, c.n_rows * c.stride);
    float out[15];
    tkr_gemm_args args = q8_args(&c, 0, 3, out, 5);
    g->panel(&args);
    for (size_t i = 0; i < 15; i++) {
        assert_true(isfinite(out[i]) ? i / 5 != 1 : i / 5 == 1);
    }
    q8_case_free(&c);
}

static void check_gemm_q8(const tkr_gemm *g) {
    static const size_t ks[] = {1, 31, 32, 48, 96, 128, 416, 1000, 3000};
    assert_true(g->nr == TKR_Q8_BLOCKS_NR && (g->k_align == 32 || g->k_align == 16) && !g->integer &&
                !g->rows_in_place);
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        const size_t cols[] = {g->nr, 1, 9, (size_t)g->nr - 1};
        q8_case c;
        q8_case_init(&c, g, CHECK_Q8_ROWS, cols[i % 4], ks[i]);
        q8_promises(&c);
        q8_decoded(&c);
        q8_bits(&c);
        q8_epilogue(&c);
        q8_case_free(&c);
    }
    q8_largest_sums(g);
    q8_not_finite(g);
}

#endif
