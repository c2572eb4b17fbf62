/* SPDX-License-Identifier: Apache-2.0 */
/* x86/rows_avx512: layer norm, activations and axpy; each element's operations are the same at every position and
 * length. */
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
    }
}

void tkr_axpy_avx512(float *acc, const float *x, float weight, size_t n) {
    const __m512 w = tkr_set(weight);
    for (size_t i = 0; i < n; i += 16) {
        store(acc + i, _mm512_fmadd_ps(load(x + i, n - i), w, load(acc + i, n - i)), n - i);
    }
}
