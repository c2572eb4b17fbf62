/* SPDX-License-Identifier: Apache-2.0 */
/* What every norm, rotation, activation, gate and axpy must hold. */
#ifndef TKR_TESTS_KERNELS_CHECK_ROWS_H
#define TKR_TESTS_KERNELS_CHECK_ROWS_H

#include <math.h>

#include "check.h"
#include "kernels/generic/generic.h"

static void check_layer_norm_case(tkr_layer_norm_fn *layer_norm, size_t dim, float mean, bool with_shift) {
    enum { ROWS = 5 };
    size_t n = ROWS * dim;
    float *x = check_alloc_exact(n * sizeof(float)), *y = check_alloc_exact(n * sizeof(float));
    float *one = check_alloc_exact(dim * sizeof(float));
    float *gain = check_alloc_exact(dim * sizeof(float)), *shift = check_alloc_exact(dim * sizeof(float));
    check_fill(x, n, 2, dim);
    check_fill(gain, dim, 1, dim + 1);
    check_fill(shift, dim, 1, dim + 2);
    for (size_t i = 0; i < n; i++) {
        x[i] += mean;
    }
    for (size_t i = 0; i < dim; i++) {
        x[i] = 0.25f; /* a constant row */
    }
    layer_norm(y, x, gain, with_shift ? shift : NULL, 1e-12f, ROWS, dim);
    for (size_t r = 0; r < ROWS; r++) {
        double sum = 0, square = 0;
        for (size_t i = 0; i < dim; i++) {
            sum += (double)x[r * dim + i];
        }
        for (size_t i = 0; i < dim; i++) {
            square += pow((double)x[r * dim + i] - sum / (double)dim, 2);
        }
        double deviation = sqrt(square / (double)dim + 1e-12);
        for (size_t i = 0; i < dim; i++) {
            double z = ((double)x[r * dim + i] - sum / (double)dim) / deviation;
            double want = z * (double)gain[i] + (with_shift ? (double)shift[i] : 0);
            /* the mean's own rounding, seen at the scale of the deviation */
            double bound = 4e-7 * (1 + fabs(z)) + (r ? 1.2e-7 * fabs((double)mean) / deviation : 0);
            if (!(fabs((double)y[r * dim + i] - want) <= bound)) {
                fail_msg("layer norm dim %zu mean %g: %.9g, not %.9g", dim, (double)mean, (double)y[r * dim + i], want);
            }
        }
        layer_norm(one, x + r * dim, gain, with_shift ? shift : NULL, 1e-12f, 1, dim);
        assert_memory_equal(one, y + r * dim, dim * sizeof(float));
    }
    layer_norm(x, x, gain, with_shift ? shift : NULL, 1e-12f, ROWS, dim);
    assert_memory_equal(x, y, n * sizeof(float));
    free(x);
    free(y);
    free(one);
    free(gain);
    free(shift);
}

/* Error allowed beside the exact value y at x: absolute + relative * |y|. */
typedef struct activation_bound {
    tkr_activation activation;
    double absolute, relative;
} activation_bound;

static double check_activation_exact(double x, tkr_activation activation) {
    switch (activation) {
    case TKR_ACT_NONE: return x;
    case TKR_ACT_GELU_ERF: return 0.5 * x * erfc(-x * 0.70710678118654752440);
    case TKR_ACT_GELU_TANH: return x / (1.0 + exp(-2.0 * 0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case TKR_ACT_RELU: return x > 0 ? x : 0;
    case TKR_ACT_TANH: return tanh(x);
    case TKR_ACT_SILU: return x / (1.0 + exp(-x));
    case TKR_ACT_QUICK_GELU: return x / (1.0 + exp(-1.702 * x));
    }
    return NAN;
}

static void check_activation(tkr_activate_fn *activate, activation_bound bound) {
    enum { N = 1 << 16 };
    float *x = check_alloc_exact(N * sizeof(float)), *y = check_alloc_exact(N * sizeof(float));
    double worst = 0, worst_tail = 0;
    for (size_t i = 0; i < N; i++) {
        x[i] = -12.0f + 24.0f * (float)i / N;
    }
    memcpy(y, x, N * sizeof(float));
    activate(y, N, bound.activation);
    for (size_t i = 0; i < N; i++) {
        double want = check_activation_exact((double)x[i], bound.activation), error = fabs((double)y[i] - want);
        worst = error > worst ? error : worst;
        if (x[i] > -5 && x[i] < 0 && error / fabs(want) > worst_tail) {
            worst_tail = error / fabs(want);
        }
        if (!(error <= bound.absolute + bound.relative * fabs(want))) {
            fail_msg("activation %d at %.9g: %.9g, not %.9g", bound.activation, (double)x[i], (double)y[i], want);
        }
    }
    print_message("activation %d: error %.2g absolute, %.2g of the value in -5..0\n", bound.activation, worst,
                  worst_tail);
    /* a value's bits don't depend on its place or on n */
    for (size_t n = 1; n <= 37; n++) {
        float *z = check_alloc_exact(n * sizeof(float));
        memcpy(z, x + 30000 + n, n * sizeof(float));
        activate(z, n, bound.activation);
        assert_memory_equal(z, y + 30000 + n, n * sizeof(float));
        free(z);
    }
    float special[] = {0.0f, -0.0f, 100.0f, -100.0f, 1e30f, -1e30f, INFINITY, NAN};
    activate(special, sizeof special / sizeof *special, bound.activation);
    bool same = bound.activation != TKR_ACT_TANH;
    assert_true(special[0] == 0 && special[1] == 0);
    assert_true(special[2] == (same ? 100.0f : 1.0f) && special[4] == (same ? 1e30f : 1.0f));
    assert_true(special[6] == (same ? INFINITY : 1.0f));
    if (bound.activation != TKR_ACT_NONE) {
        float low = same ? 0 : -1.0f;
        assert_true(fabsf(special[3] - low) < 1e-30f && fabsf(special[5] - low) < 1e-7f);
    }
    assert_true(isnan(special[7]));
    free(x);
    free(y);
}

/* Not a bound of the sum of squares, whose error is far below: 1e-6 of each value. */
static void check_close(const char *what, size_t dim, size_t at, float got, double want) {
    if (!(fabs((double)got - want) <= 1e-6 * fabs(want) + 1e-38)) {
        fail_msg("%s %zu at %zu: %.9g, not %.9g", what, dim, at, (double)got, want);
    }
}

static double check_rms(const float *x, size_t dim, double eps) {
    double square = 0;
    for (size_t i = 0; i < dim; i++) {
        square += (double)x[i] * (double)x[i];
    }
    return sqrt(square / (double)dim + eps);
}

static void check_rms_norm_case(tkr_rms_norm_fn *rms_norm, size_t dim, float eps) {
    enum { ROWS = 5 };
    size_t n = ROWS * dim;
    float *x = check_alloc_exact(n * sizeof(float)), *y = check_alloc_exact(n * sizeof(float));
    float *one = check_alloc_exact(dim * sizeof(float)), *gain = check_alloc_exact(dim * sizeof(float));
    check_fill(x, n, 3, dim);
    check_fill(gain, dim, 2, dim + 1);
    memset(x, 0, dim * sizeof(float)); /* a row of zeros stays one */
    rms_norm(y, x, gain, eps, ROWS, dim);
    for (size_t r = 0; r < ROWS; r++) {
        double rms = check_rms(x + r * dim, dim, (double)eps);
        for (size_t i = 0; i < dim; i++) {
            check_close("RMS norm", dim, i, y[r * dim + i], (double)x[r * dim + i] / rms * (double)gain[i]);
        }
        rms_norm(one, x + r * dim, gain, eps, 1, dim);
        assert_memory_equal(one, y + r * dim, dim * sizeof(float));
    }
    rms_norm(x, x, gain, eps, ROWS, dim);
    assert_memory_equal(x, y, n * sizeof(float));
    free(x);
    free(y);
    free(one);
    free(gain);
}

/* The product is that of the activation, which has its own bounds, and the other half: one rounding. */
static void check_gate_case(const tkr_kernels *kernels, tkr_activation activation, size_t n) {
    enum { ROWS = 3 };
    size_t up = n + 3, ld = 2 * n + 5, ld_dst = n + 1;
    size_t size = (ROWS - 1) * ld + up + n, size_dst = (ROWS - 1) * ld_dst + n;
    float *x = check_alloc_exact(size * sizeof(float)), *y = check_alloc_exact(size_dst * sizeof(float));
    float *want = check_alloc_exact(size_dst * sizeof(float)), *row = check_alloc_exact(n * sizeof(float));
    check_fill(x, size, 6, n);
    for (size_t r = 0; r < ROWS; r++) {
        memcpy(row, x + r * ld, n * sizeof(float));
        kernels->activate(row, n, activation);
        for (size_t i = 0; i < n; i++) {
            want[r * ld_dst + i] = row[i] * x[r * ld + up + i];
        }
    }
    kernels->gate(y, ld_dst, x, ld, up, ROWS, n, activation);
    assert_memory_equal(y, want, size_dst * sizeof(float)); /* and nothing between the rows */
    kernels->gate(x, ld_dst, x, ld, up, ROWS, n, activation);
    for (size_t r = 0; r < ROWS; r++) {
        assert_memory_equal(x + r * ld_dst, want + r * ld_dst, n * sizeof(float));
    }
    free(x);
    free(y);
    free(want);
    free(row);
}

/* Values of a turned pair may cancel: the bound is relative to the length of the pair. */
static void check_rotate_case(tkr_rotate_fn *rotate, size_t head_dim, size_t half, bool with_gain) {
    enum { HEADS = 3 };
    const float eps = 1e-6f;
    size_t n = HEADS * head_dim;
    float *x = check_alloc_exact(n * sizeof(float)), *y = check_alloc_exact(n * sizeof(float));
    float *gain = check_alloc_exact(head_dim * sizeof(float)), *angles = check_alloc_exact(2 * half * sizeof(float));
    check_fill(x, n, 2, head_dim);
    check_fill(gain, head_dim, 2, half);
    for (size_t i = 0; i < half; i++) {
        angles[i] = (float)cos(0.37 * (double)i + 1);
        angles[half + i] = (float)sin(0.37 * (double)i + 1);
    }
    memcpy(y, x, n * sizeof(float));
    rotate(y, HEADS, head_dim, with_gain ? gain : NULL, eps, half ? angles : NULL, half);
    for (size_t h = 0; h < HEADS; h++) {
        const float *in = x + h * head_dim, *out = y + h * head_dim;
        double rms = with_gain ? check_rms(in, head_dim, (double)eps) : 1;
        for (size_t i = 2 * half; i < head_dim; i++) {
            check_close("unrotated", head_dim, i, out[i], (double)in[i] / rms * (with_gain ? (double)gain[i] : 1));
        }
        for (size_t i = 0; i < half; i++) {
            double a = (double)in[i] / rms, b = (double)in[i + half] / rms;
            a *= with_gain ? (double)gain[i] : 1;
            b *= with_gain ? (double)gain[i + half] : 1;
            double c = (double)angles[i], s = (double)angles[half + i], bound = 1e-6 * (fabs(a) + fabs(b));
            if (!(fabs((double)out[i] - (a * c - b * s)) <= bound) ||
                !(fabs((double)out[i + half] - (b * c + a * s)) <= bound)) {
                fail_msg("rotate head_dim %zu half %zu: pair %zu is %.9g, %.9g, not %.9g, %.9g", head_dim, half, i,
                         (double)out[i], (double)out[i + half], a * c - b * s, b * c + a * s);
            }
        }
        rotate(x + h * head_dim, 1, head_dim, with_gain ? gain : NULL, eps, half ? angles : NULL, half);
    }
    assert_memory_equal(x, y, n * sizeof(float)); /* head by head, the same bits */
    free(x);
    free(y);
    free(gain);
    free(angles);
}

static void check_rotate(tkr_rotate_fn *rotate) {
    static const size_t dims[] = {4, 12, 16, 20, 32, 64, 80, 128, 256};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        for (int with_gain = 0; with_gain < 2; with_gain++) {
            check_rotate_case(rotate, dims[i], dims[i] / 2, with_gain);
            check_rotate_case(rotate, dims[i], dims[i] / 4, with_gain);
            check_rotate_case(rotate, dims[i], 1, with_gain);
            check_rotate_case(rotate, dims[i], 0, with_gain);
        }
    }
}

static void check_axpy(tkr_axpy_fn *axpy) {
    enum { N = 67 };
    float x[N], acc[N], want[N];
    for (size_t n = 0; n <= N; n++) {
        check_fill(x, N, 1, n + 1);
        check_fill(acc, N, 1, n + 2);
        memcpy(want, acc, sizeof want);
        for (size_t i = 0; i < n; i++) {
            want[i] = fmaf(x[i], 0.37f, want[i]);
        }
        axpy(acc, x, 0.37f, n);
        assert_memory_equal(acc, want, sizeof want);
    }
}

static void check_rows_kernels(const tkr_kernels *kernels) {
    static const size_t dims[] = {1, 4, 7, 8, 9, 32, 36, 63, 100, 384, 768, 1024};
    static const activation_bound bounds[] = {
        {TKR_ACT_NONE, 0, 0},
        {TKR_ACT_GELU_ERF, 2e-8, 1.2e-6},
        {TKR_ACT_GELU_TANH, 2e-8, 3e-6},
        {TKR_ACT_RELU, 0, 0},
        {TKR_ACT_TANH, 0, 4e-7},
        {TKR_ACT_SILU, 1e-9, 4e-7},
        {TKR_ACT_QUICK_GELU, 2e-8, 1.2e-6},
    };
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        check_layer_norm_case(kernels->layer_norm, dims[i], 0, true);
        check_layer_norm_case(kernels->layer_norm, dims[i], 0, false);
        check_layer_norm_case(kernels->layer_norm, dims[i], 30, true);
        check_rms_norm_case(kernels->rms_norm, dims[i], 1e-6f);
        check_rms_norm_case(kernels->rms_norm, dims[i], 1e-12f);
    }
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        check_activation(kernels->activate, bounds[i]);
        for (size_t n = 1; n <= 40; n += n < 20 ? 1 : 7) {
            check_gate_case(kernels, bounds[i].activation, n);
        }
    }
    check_rotate(kernels->rotate);
    check_axpy(kernels->axpy);
}

#endif
