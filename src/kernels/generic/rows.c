/* SPDX-License-Identifier: Apache-2.0 */
/* generic/rows: layer and RMS norm, rotation, activations, gate, axpy in plain C. */
#include "kernels/generic/generic.h"

#include <math.h>

float tkr_activate_one(float x, tkr_activation activation) {
    double v = (double)x;
    switch (activation) {
    case TKR_ACT_NONE: return x;
    case TKR_ACT_GELU_ERF: return (float)(0.5 * v * erfc(-v * 0.70710678118654752440));
    case TKR_ACT_GELU_TANH: return (float)(v / (1.0 + exp(-2.0 * 0.79788456080286535588 * (v + 0.044715 * v * v * v))));
    case TKR_ACT_RELU: return x < 0 ? 0 : x;
    case TKR_ACT_TANH: return tanhf(x);
    case TKR_ACT_SILU: return (float)(v / (1.0 + exp(-v)));
    case TKR_ACT_QUICK_GELU: return (float)(v / (1.0 + exp(-1.702 * v)));
    }
    return x;
}

void tkr_activate_generic(float *x, size_t n, tkr_activation activation) {
    for (size_t i = 0; i < n; i++) {
        x[i] = tkr_activate_one(x[i], activation);
    }
}

void tkr_axpy_generic(float *acc, const float *x, float weight, size_t n) {
    for (size_t i = 0; i < n; i++) {
        acc[i] = fmaf(x[i], weight, acc[i]);
    }
}

void tkr_layer_norm_generic(float *dst, const float *src, const float *gain, const float *shift, float eps,
                            size_t n_rows, size_t dim) {
    for (size_t i = 0; i < n_rows; i++) {
        const float *x = src + i * dim;
        float *y = dst + i * dim;
        double sum = 0, square = 0;
        for (size_t j = 0; j < dim; j++) {
            sum += (double)x[j];
        }
        double mean = sum / (double)dim;
        for (size_t j = 0; j < dim; j++) {
            square += ((double)x[j] - mean) * ((double)x[j] - mean);
        }
        double inverse = 1.0 / sqrt(square / (double)dim + (double)eps);
        for (size_t j = 0; j < dim; j++) {
            y[j] = (float)(((double)x[j] - mean) * inverse) * gain[j] + (shift ? shift[j] : 0);
        }
    }
}

void tkr_rms_norm_generic(float *dst, const float *src, const float *gain, float eps, size_t n_rows, size_t dim) {
    for (size_t i = 0; i < n_rows; i++) {
        const float *x = src + i * dim;
        float *y = dst + i * dim;
        double square = 0;
        for (size_t j = 0; j < dim; j++) {
            square += (double)x[j] * (double)x[j];
        }
        double inverse = 1.0 / sqrt(square / (double)dim + (double)eps);
        for (size_t j = 0; j < dim; j++) {
            y[j] = (float)((double)x[j] * inverse) * gain[j];
        }
    }
}

void tkr_gate_generic(float *dst, size_t ld_dst, const float *src, size_t ld_src, size_t up, size_t n_rows, size_t n,
                      tkr_activation activation) {
    for (size_t i = 0; i < n_rows; i++) {
        for (size_t j = 0; j < n; j++) {
            const float *x = src + i * ld_src + j;
            dst[i * ld_dst + j] = tkr_activate_one(x[0], activation) * x[up];
        }
    }
}

void tkr_rotate_generic(float *row, size_t n_heads, size_t head_dim, const float *gain, float eps, const float *angles,
                        size_t half) {
    for (size_t h = 0; h < n_heads; h++) {
        float *x = row + h * head_dim;
        if (gain) {
            tkr_rms_norm_generic(x, x, gain, eps, 1, head_dim);
        }
        for (size_t i = 0; i < half; i++) {
            double a = (double)x[i], b = (double)x[i + half];
            double c = (double)angles[i], s = (double)angles[half + i];
            x[i] = (float)(a * c - b * s);
            x[i + half] = (float)(b * c + a * s);
        }
    }
}
