/* SPDX-License-Identifier: Apache-2.0 */
/* x86/rows_avx512: norms, rotation, activations, gate and axpy; each element's operations are the same at every
 * position and length. */
#include "kernels/x86/avx512.h"

#include <math.h>

#include "kernels/x86/math_avx512.h"

TKR_INLINE void store(float *p, __m512 x, size_t n) {
    if (n >= 16) {
        _mm512_storeu_ps(p, x);
    } else {
        _mm512_mask_storeu_ps(p, tkr_mask16(n), x);
    }
}

TKR_INLINE __m512 load(const float *p, size_t n) {
    return n >= 16 ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(tkr_mask16(n), p);
}

/* Sum over the row of x - mean (shift) or of its square; four chains, lanes beyond dim count nothing. */
TKR_INLINE float row_sum(const float *x, size_t dim, float mean, const int square) {
    __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    const __m512 m = tkr_set(mean);
    size_t j = 0;
    for (; j + 64 <= dim; j += 64) {
        for (size_t c = 0; c < 4; c++) {
            const __m512 d = _mm512_sub_ps(_mm512_loadu_ps(x + j + 16 * c), m);
            s[c] = square ? _mm512_fmadd_ps(d, d, s[c]) : _mm512_add_ps(s[c], d);
        }
    }
    for (; j < dim; j += 16) {
        const __mmask16 mask = tkr_mask16(dim - j);
        __m512 d = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + j), m);
        d = _mm512_mask_mov_ps(_mm512_setzero_ps(), mask, d);
        s[0] = square ? _mm512_fmadd_ps(d, d, s[0]) : _mm512_add_ps(s[0], d);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
}

void tkr_layer_norm_avx512(float *dst, const float *src, const float *gain, const float *shift, float eps,
                           size_t n_rows, size_t dim) {
    for (size_t i = 0; i < n_rows; i++) {
        const float *x = src + i * dim;
        float *y = dst + i * dim;
        const float mean = row_sum(x, dim, 0.0f, 0) / (float)dim;
        const float inverse = 1.0f / sqrtf(row_sum(x, dim, mean, 1) / (float)dim + eps);
        const __m512 m = tkr_set(mean), r = tkr_set(inverse);
        for (size_t j = 0; j < dim; j += 16) {
            const size_t n = dim - j;
            const __m512 d = _mm512_mul_ps(_mm512_sub_ps(load(x + j, n), m), r);
            const __m512 add = shift ? load(shift + j, n) : _mm512_setzero_ps();
            store(y + j, _mm512_fmadd_ps(d, load(gain + j, n), add), n);
        }
    }
}

void tkr_rms_norm_avx512(float *dst, const float *src, const float *gain, float eps, size_t n_rows, size_t dim) {
    for (size_t i = 0; i < n_rows; i++) {
        const float *x = src + i * dim;
        float *y = dst + i * dim;
        const __m512 r = tkr_set(1.0f / sqrtf(row_sum(x, dim, 0.0f, 1) / (float)dim + eps));
        for (size_t j = 0; j < dim; j += 16) {
            const size_t n = dim - j;
            store(y + j, _mm512_mul_ps(_mm512_mul_ps(load(x + j, n), r), load(gain + j, n)), n);
        }
    }
}

void tkr_rotate_avx512(float *row, size_t n_heads, size_t head_dim, const float *gain, float eps, const float *angles,
                       size_t half) {
    for (size_t h = 0; h < n_heads; h++, row += head_dim) {
        if (gain) {
            tkr_rms_norm_avx512(row, row, gain, eps, 1, head_dim);
        }
        for (size_t i = 0; i < half; i += 16) {
            const size_t n = half - i;
            const __m512 a = load(row + i, n), b = load(row + half + i, n);
            const __m512 cosine = load(angles + i, n), sine = load(angles + half + i, n);
            store(row + i, _mm512_fnmadd_ps(b, sine, _mm512_mul_ps(a, cosine)), n);
            store(row + half + i, _mm512_fmadd_ps(a, sine, _mm512_mul_ps(b, cosine)), n);
        }
    }
}

TKR_INLINE void activate_as(float *x, size_t n, const tkr_activation activation) {
    for (size_t i = 0; i < n; i += 16) {
        store(x + i, tkr_activate_vector(load(x + i, n - i), activation), n - i);
    }
}

void tkr_activate_avx512(float *x, size_t n, tkr_activation activation) {
    switch (activation) {
    case TKR_ACT_NONE: break;
    case TKR_ACT_GELU_ERF: activate_as(x, n, TKR_ACT_GELU_ERF); break;
    case TKR_ACT_GELU_TANH: activate_as(x, n, TKR_ACT_GELU_TANH); break;
    case TKR_ACT_RELU: activate_as(x, n, TKR_ACT_RELU); break;
    case TKR_ACT_TANH: activate_as(x, n, TKR_ACT_TANH); break;
    case TKR_ACT_SILU: activate_as(x, n, TKR_ACT_SILU); break;
    case TKR_ACT_QUICK_GELU: activate_as(x, n, TKR_ACT_QUICK_GELU); break;
    }
}

/* Works in place too, even to a smaller row stride: a value is read before anything is written at or behind it. */
TKR_INLINE void gate_as(float *dst, size_t ld_dst, const float *src, size_t ld_src, size_t up, size_t n_rows, size_t n,
                        const tkr_activation activation) {
    for (size_t r = 0; r < n_rows; r++, dst += ld_dst, src += ld_src) {
        for (size_t i = 0; i < n; i += 16) {
            const __m512 x = tkr_activate_vector(load(src + i, n - i), activation);
            store(dst + i, _mm512_mul_ps(x, load(src + up + i, n - i)), n - i);
        }
    }
}

void tkr_gate_avx512(float *dst, size_t ld_dst, const float *src, size_t ld_src, size_t up, size_t n_rows, size_t n,
                     tkr_activation activation) {
    switch (activation) {
    case TKR_ACT_NONE: gate_as(dst, ld_dst, src, ld_src, up, n_rows, n, TKR_ACT_NONE); break;
    case TKR_ACT_GELU_ERF: gate_as(dst, ld_dst, src, ld_src, up, n_rows, n, TKR_ACT_GELU_ERF); break;
    case TKR_ACT_GELU_TANH: gate_as(dst, ld_dst, src, ld_src, up, n_rows, n, TKR_ACT_GELU_TANH); break;
    case TKR_ACT_RELU: gate_as(dst, ld_dst, src, ld_src, up, n_rows, n, TKR_ACT_RELU); break;
    case TKR_ACT_TANH: gate_as(dst, ld_dst, src, ld_src, up, n_rows, n, TKR_ACT_TANH); break;
    case TKR_ACT_SILU: gate_as(dst, ld_dst, src, ld_src, up, n_rows, n, TKR_ACT_SILU); break;
    case TKR_ACT_QUICK_GELU: gate_as(dst, ld_dst, src, ld_src, up, n_rows, n, TKR_ACT_QUICK_GELU); break;
    }
}

void tkr_axpy_avx512(float *acc, const float *x, float weight, size_t n) {
    const __m512 w = tkr_set(weight);
    for (size_t i = 0; i < n; i += 16) {
        store(acc + i, _mm512_fmadd_ps(load(x + i, n - i), w, load(acc + i, n - i)), n - i);
    }
}
