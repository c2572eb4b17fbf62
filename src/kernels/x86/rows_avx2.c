/* SPDX-License-Identifier: Apache-2.0 */
/* x86/rows_avx2: what is done to rows of f32: tile epilogue, activations, gate, norms, rotation, axpy. */
#include <math.h>

#include "kernels/x86/avx2.h"
#include "kernels/x86/math_avx2.h"

enum { NR = TKR_AVX2_NR };

#define DEFINE_ACTIVATE(name)                                                                              \
    static void activate_##name(float *x, size_t n) {                                                      \
        size_t i = 0;                                                                                      \
        for (; i + 16 <= n; i += 16) {                                                                     \
            __m256 a = tkr_v_##name(_mm256_loadu_ps(x + i)), b = tkr_v_##name(_mm256_loadu_ps(x + i + 8)); \
            _mm256_storeu_ps(x + i, a);                                                                    \
            _mm256_storeu_ps(x + i + 8, b);                                                                \
        }                                                                                                  \
        for (; i < n; i += 8) {                                                                            \
            __m256i mask = tkr_v_mask(n - i < 8 ? n - i : 8);                                              \
            _mm256_maskstore_ps(x + i, mask, tkr_v_##name(_mm256_maskload_ps(x + i, mask)));               \
        }                                                                                                  \
    }
DEFINE_ACTIVATE(gelu_erf)
DEFINE_ACTIVATE(gelu_tanh)
DEFINE_ACTIVATE(relu)
DEFINE_ACTIVATE(tanh)
DEFINE_ACTIVATE(silu)
DEFINE_ACTIVATE(quick_gelu)

void tkr_activate_avx2(float *x, size_t n, tkr_activation activation) {
    switch (activation) {
    case TKR_ACT_NONE: break;
    case TKR_ACT_GELU_ERF: activate_gelu_erf(x, n); break;
    case TKR_ACT_GELU_TANH: activate_gelu_tanh(x, n); break;
    case TKR_ACT_RELU: activate_relu(x, n); break;
    case TKR_ACT_TANH: activate_tanh(x, n); break;
    case TKR_ACT_SILU: activate_silu(x, n); break;
    case TKR_ACT_QUICK_GELU: activate_quick_gelu(x, n); break;
    }
}

/* Works in place too, even to a smaller row stride: a value is read before anything is written at or behind it. */
#define DEFINE_GATE(name)                                                                                          \
    static void gate_##name(float *dst, size_t ld_dst, const float *src, size_t ld_src, size_t up, size_t n_rows,  \
                            size_t n) {                                                                            \
        for (size_t r = 0; r < n_rows; r++, dst += ld_dst, src += ld_src) {                                        \
            size_t i = 0;                                                                                          \
            for (; i + 16 <= n; i += 16) {                                                                         \
                __m256 a = tkr_v_##name(_mm256_loadu_ps(src + i)), b = tkr_v_##name(_mm256_loadu_ps(src + i + 8)); \
                a = _mm256_mul_ps(a, _mm256_loadu_ps(src + up + i));                                               \
                b = _mm256_mul_ps(b, _mm256_loadu_ps(src + up + i + 8));                                           \
                _mm256_storeu_ps(dst + i, a);                                                                      \
                _mm256_storeu_ps(dst + i + 8, b);                                                                  \
            }                                                                                                      \
            for (; i < n; i += 8) {                                                                                \
                __m256i mask = tkr_v_mask(n - i < 8 ? n - i : 8);                                                  \
                __m256 a = tkr_v_##name(_mm256_maskload_ps(src + i, mask));                                        \
                _mm256_maskstore_ps(dst + i, mask, _mm256_mul_ps(a, _mm256_maskload_ps(src + up + i, mask)));      \
            }                                                                                                      \
        }                                                                                                          \
    }
DEFINE_GATE(none)
DEFINE_GATE(gelu_erf)
DEFINE_GATE(gelu_tanh)
DEFINE_GATE(relu)
DEFINE_GATE(tanh)
DEFINE_GATE(silu)
DEFINE_GATE(quick_gelu)

void tkr_gate_avx2(float *dst, size_t ld_dst, const float *src, size_t ld_src, size_t up, size_t n_rows, size_t n,
                   tkr_activation activation) {
    switch (activation) {
    case TKR_ACT_NONE: gate_none(dst, ld_dst, src, ld_src, up, n_rows, n); break;
    case TKR_ACT_GELU_ERF: gate_gelu_erf(dst, ld_dst, src, ld_src, up, n_rows, n); break;
    case TKR_ACT_GELU_TANH: gate_gelu_tanh(dst, ld_dst, src, ld_src, up, n_rows, n); break;
    case TKR_ACT_RELU: gate_relu(dst, ld_dst, src, ld_src, up, n_rows, n); break;
    case TKR_ACT_TANH: gate_tanh(dst, ld_dst, src, ld_src, up, n_rows, n); break;
    case TKR_ACT_SILU: gate_silu(dst, ld_dst, src, ld_src, up, n_rows, n); break;
    case TKR_ACT_QUICK_GELU: gate_quick_gelu(dst, ld_dst, src, ld_src, up, n_rows, n); break;
    }
}

/* Row `row` of c from its 16 values before (bias, activation) or after: residual and store only. */
TKR_V_INLINE void store_row(const tkr_gemm_args *args, size_t row, __m256 y0, __m256 y1) {
    float *c = args->c + row * args->ldc;
    const float *residual = args->residual ? args->residual + row * args->ld_residual : NULL;
    if (args->n_cols == NR) {
        if (residual) {
            y0 = _mm256_add_ps(y0, _mm256_loadu_ps(residual));
            y1 = _mm256_add_ps(y1, _mm256_loadu_ps(residual + 8));
        }
        _mm256_storeu_ps(c, y0);
        _mm256_storeu_ps(c + 8, y1);
        return;
    }
    size_t n = args->n_cols;
    __m256i mask0 = tkr_v_mask(n < 8 ? n : 8), mask1 = tkr_v_mask(n > 8 ? n - 8 : 0);
    if (residual) {
        y0 = _mm256_add_ps(y0, _mm256_maskload_ps(residual, mask0));
        y1 = _mm256_add_ps(y1, _mm256_maskload_ps(residual + 8, mask1));
    }
    _mm256_maskstore_ps(c, mask0, y0);
    _mm256_maskstore_ps(c + 8, mask1, y1);
}

/* A row of sums to f32; integer sums lie in the same place and have their scales. */
TKR_V_INLINE void load_row(const tkr_gemm_args *args, size_t row, const float *x, const __m256 *scale, __m256 *y0,
                           __m256 *y1) {
    *y0 = _mm256_load_ps(x);
    *y1 = _mm256_load_ps(x + 8);
    if (scale) {
        const __m256 row_scale = TKR_V_SET(args->a_quant[row].scale);
        *y0 = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_castps_si256(*y0)), _mm256_mul_ps(row_scale, scale[0]));
        *y1 = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_castps_si256(*y1)), _mm256_mul_ps(row_scale, scale[1]));
    }
}

TKR_V_INLINE void store_tile(const tkr_gemm_args *args, size_t row, size_t n_rows, float *x, const __m256 *scale) {
    __m256 y0, y1, bias0 = TKR_V_SET(-0.0f), bias1 = bias0; /* x + -0 is x, for -0 too */
    if (args->bias) {
        bias0 = _mm256_loadu_ps(args->bias);
        bias1 = _mm256_loadu_ps(args->bias + 8);
    }
    if (args->activation == TKR_ACT_NONE) {
        for (size_t i = 0; i < n_rows; i++) {
            load_row(args, row + i, x + i * NR, scale, &y0, &y1);
            store_row(args, row + i, _mm256_add_ps(y0, bias0), _mm256_add_ps(y1, bias1));
        }
        return;
    }
    for (size_t i = 0; i < n_rows; i++) {
        load_row(args, row + i, x + i * NR, scale, &y0, &y1);
        _mm256_store_ps(x + i * NR, _mm256_add_ps(y0, bias0));
        _mm256_store_ps(x + i * NR + 8, _mm256_add_ps(y1, bias1));
    }
    tkr_activate_avx2(x, n_rows * NR, args->activation);
    for (size_t i = 0; i < n_rows; i++) {
        store_row(args, row + i, _mm256_load_ps(x + i * NR), _mm256_load_ps(x + i * NR + 8));
    }
}

void tkr_avx2_store_tile(const tkr_gemm_args *args, size_t row, size_t n_rows, float *x) {
    store_tile(args, row, n_rows, x, NULL);
}

void tkr_avx2_store_int_tile(const tkr_gemm_args *args, size_t row, size_t n_rows, void *sums) {
    const __m256 scale[2] = {_mm256_loadu_ps(args->b_scale), _mm256_loadu_ps(args->b_scale + 8)};
    store_tile(args, row, n_rows, sums, scale);
}

void tkr_axpy_avx2(float *acc, const float *x, float weight, size_t n) {
    const __m256 w = TKR_V_SET(weight);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(acc + i, _mm256_fmadd_ps(_mm256_loadu_ps(x + i), w, _mm256_loadu_ps(acc + i)));
    }
    if (i < n) {
        __m256i mask = tkr_v_mask(n - i);
        __m256 y = _mm256_fmadd_ps(_mm256_maskload_ps(x + i, mask), w, _mm256_maskload_ps(acc + i, mask));
        _mm256_maskstore_ps(acc + i, mask, y);
    }
}

/* Four sums of 8 lanes: short chains, and errors that grow with dim / 32 only. */
static float sum_row(const float *x, size_t dim) {
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 32 <= dim; i += 32) {
        s0 = _mm256_add_ps(s0, _mm256_loadu_ps(x + i));
        s1 = _mm256_add_ps(s1, _mm256_loadu_ps(x + i + 8));
        s2 = _mm256_add_ps(s2, _mm256_loadu_ps(x + i + 16));
        s3 = _mm256_add_ps(s3, _mm256_loadu_ps(x + i + 24));
    }
    for (; i < dim; i += 8) {
        s0 = _mm256_add_ps(s0, _mm256_maskload_ps(x + i, tkr_v_mask(dim - i < 8 ? dim - i : 8)));
    }
    return tkr_v_sum(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
}

static float sum_squares(const float *x, __m256 mean, size_t dim) {
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 32 <= dim; i += 32) {
        __m256 d0 = _mm256_sub_ps(_mm256_loadu_ps(x + i), mean), d1 = _mm256_sub_ps(_mm256_loadu_ps(x + i + 8), mean);
        __m256 d2 = _mm256_sub_ps(_mm256_loadu_ps(x + i + 16), mean),
               d3 = _mm256_sub_ps(_mm256_loadu_ps(x + i + 24), mean);
        s0 = _mm256_fmadd_ps(d0, d0, s0);
        s1 = _mm256_fmadd_ps(d1, d1, s1);
        s2 = _mm256_fmadd_ps(d2, d2, s2);
        s3 = _mm256_fmadd_ps(d3, d3, s3);
    }
    for (; i < dim; i += 8) {
        __m256i mask = tkr_v_mask(dim - i < 8 ? dim - i : 8);
        __m256 d = _mm256_and_ps(_mm256_sub_ps(_mm256_maskload_ps(x + i, mask), mean), _mm256_castsi256_ps(mask));
        s0 = _mm256_fmadd_ps(d, d, s0);
    }
    return tkr_v_sum(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
}

TKR_V_INLINE __m256 normalize(__m256 x, __m256 mean, __m256 inverse, __m256 gain, __m256 add) {
    return _mm256_fmadd_ps(_mm256_mul_ps(_mm256_sub_ps(x, mean), inverse), gain, add);
}

void tkr_layer_norm_avx2(float *dst, const float *src, const float *gain, const float *shift, float eps, size_t n_rows,
                         size_t dim) {
    for (size_t row = 0; row < n_rows; row++) {
        const float *x = src + row * dim;
        float *y = dst + row * dim;
        const __m256 mean = TKR_V_SET(sum_row(x, dim) / (float)dim);
        const __m256 inverse = TKR_V_SET(1.0f / sqrtf(sum_squares(x, mean, dim) / (float)dim + eps));
        size_t i = 0;
        for (; i + 8 <= dim; i += 8) {
            __m256 add = shift ? _mm256_loadu_ps(shift + i) : _mm256_setzero_ps();
            _mm256_storeu_ps(y + i, normalize(_mm256_loadu_ps(x + i), mean, inverse, _mm256_loadu_ps(gain + i), add));
        }
        if (i < dim) {
            __m256i mask = tkr_v_mask(dim - i);
            __m256 add = shift ? _mm256_maskload_ps(shift + i, mask) : _mm256_setzero_ps();
            __m256 z =
                normalize(_mm256_maskload_ps(x + i, mask), mean, inverse, _mm256_maskload_ps(gain + i, mask), add);
            _mm256_maskstore_ps(y + i, mask, z);
        }
    }
}

void tkr_rms_norm_avx2(float *dst, const float *src, const float *gain, float eps, size_t n_rows, size_t dim) {
    for (size_t row = 0; row < n_rows; row++) {
        const float *x = src + row * dim;
        float *y = dst + row * dim;
        const __m256 inverse = TKR_V_SET(1.0f / sqrtf(sum_squares(x, _mm256_setzero_ps(), dim) / (float)dim + eps));
        size_t i = 0;
        for (; i + 8 <= dim; i += 8) {
            __m256 z = _mm256_mul_ps(_mm256_loadu_ps(x + i), inverse);
            _mm256_storeu_ps(y + i, _mm256_mul_ps(z, _mm256_loadu_ps(gain + i)));
        }
        if (i < dim) {
            __m256i mask = tkr_v_mask(dim - i);
            __m256 z = _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), inverse);
            _mm256_maskstore_ps(y + i, mask, _mm256_mul_ps(z, _mm256_maskload_ps(gain + i, mask)));
        }
    }
}

/* a and b, i and i + half, turned; one multiplication and one fma each. */
TKR_V_INLINE void turn(__m256 *a, __m256 *b, __m256 cosine, __m256 sine) {
    __m256 x = _mm256_fnmadd_ps(*b, sine, _mm256_mul_ps(*a, cosine));
    *b = _mm256_fmadd_ps(*a, sine, _mm256_mul_ps(*b, cosine));
    *a = x;
}

void tkr_rotate_avx2(float *row, size_t n_heads, size_t head_dim, const float *gain, float eps, const float *angles,
                     size_t half) {
    const float *sines = angles ? angles + half : NULL;
    for (size_t h = 0; h < n_heads; h++, row += head_dim) {
        if (gain) {
            tkr_rms_norm_avx2(row, row, gain, eps, 1, head_dim);
        }
        size_t i = 0;
        for (; i + 8 <= half; i += 8) {
            __m256 a = _mm256_loadu_ps(row + i), b = _mm256_loadu_ps(row + half + i);
            turn(&a, &b, _mm256_loadu_ps(angles + i), _mm256_loadu_ps(sines + i));
            _mm256_storeu_ps(row + i, a);
            _mm256_storeu_ps(row + half + i, b);
        }
        if (i < half) {
            __m256i mask = tkr_v_mask(half - i);
            __m256 a = _mm256_maskload_ps(row + i, mask), b = _mm256_maskload_ps(row + half + i, mask);
            turn(&a, &b, _mm256_maskload_ps(angles + i, mask), _mm256_maskload_ps(sines + i, mask));
            _mm256_maskstore_ps(row + i, mask, a);
            _mm256_maskstore_ps(row + half + i, mask, b);
        }
    }
}
