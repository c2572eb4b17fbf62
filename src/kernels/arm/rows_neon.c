/* SPDX-License-Identifier: Apache-2.0 */
/* arm/rows_neon: norms, rotation, activations, gate, axpy and the u8 row encoder; each element's operations are the
 * same at every position and length. */
#include "kernels/arm/arm.h"
#include "kernels/arm/math_neon.h"

#include <math.h>

/* Sum over the row of x - mean, or of its square; four chains. */
TKR_INLINE float row_sum(const float *x, size_t dim, float mean, const int square) {
    float32x4_t s[4] = {tkr_set(0), tkr_set(0), tkr_set(0), tkr_set(0)};
    const float32x4_t m = tkr_set(mean);
    size_t j = 0;
    for (; j + 16 <= dim; j += 16) {
        for (size_t c = 0; c < 4; c++) {
            const float32x4_t d = vsubq_f32(vld1q_f32(x + j + 4 * c), m);
            s[c] = square ? tkr_fma(d, d, s[c]) : vaddq_f32(s[c], d);
        }
    }
    float tail = 0;
    for (; j < dim; j++) {
        const float d = x[j] - mean;
        tail = square ? fmaf(d, d, tail) : tail + d;
    }
    return vaddvq_f32(vaddq_f32(vaddq_f32(s[0], s[1]), vaddq_f32(s[2], s[3]))) + tail;
}

void tkr_layer_norm_neon(float *dst, const float *src, const float *gain, const float *shift, float eps, size_t n_rows,
                         size_t dim) {
    for (size_t i = 0; i < n_rows; i++) {
        const float *x = src + i * dim;
        float *y = dst + i * dim;
        const float mean = row_sum(x, dim, 0.0f, 0) / (float)dim;
        const float inverse = 1.0f / sqrtf(row_sum(x, dim, mean, 1) / (float)dim + eps);
        const float32x4_t m = tkr_set(mean), r = tkr_set(inverse);
        for (size_t j = 0; j < dim; j += 4) {
            const size_t n = dim - j;
            const float32x4_t d = vmulq_f32(vsubq_f32(tkr_load(x + j, n), m), r);
            const float32x4_t add = shift ? tkr_load(shift + j, n) : tkr_set(0);
            tkr_store(y + j, tkr_fma(d, tkr_load(gain + j, n), add), n);
        }
    }
}

void tkr_rms_norm_neon(float *dst, const float *src, const float *gain, float eps, size_t n_rows, size_t dim) {
    for (size_t i = 0; i < n_rows; i++) {
        const float *x = src + i * dim;
        float *y = dst + i * dim;
        const float32x4_t r = tkr_set(1.0f / sqrtf(row_sum(x, dim, 0.0f, 1) / (float)dim + eps));
        for (size_t j = 0; j < dim; j += 4) {
            const size_t n = dim - j;
            tkr_store(y + j, vmulq_f32(vmulq_f32(tkr_load(x + j, n), r), tkr_load(gain + j, n)), n);
        }
    }
}

void tkr_rotate_neon(float *row, size_t n_heads, size_t head_dim, const float *gain, float eps, const float *angles,
                     size_t half) {
    for (size_t h = 0; h < n_heads; h++, row += head_dim) {
        if (gain) {
            tkr_rms_norm_neon(row, row, gain, eps, 1, head_dim);
        }
        for (size_t i = 0; i < half; i += 4) {
            const size_t n = half - i;
            const float32x4_t a = tkr_load(row + i, n), b = tkr_load(row + half + i, n);
            const float32x4_t cosine = tkr_load(angles + i, n), sine = tkr_load(angles + half + i, n);
            tkr_store(row + i, vfmsq_f32(vmulq_f32(a, cosine), b, sine), n);
            tkr_store(row + half + i, tkr_fma(a, sine, vmulq_f32(b, cosine)), n);
        }
    }
}

TKR_INLINE void activate_as(float *x, size_t n, const tkr_activation activation) {
    for (size_t i = 0; i < n; i += 4) {
        tkr_store(x + i, tkr_activate_vector(tkr_load(x + i, n - i), activation), n - i);
    }
}

void tkr_activate_neon(float *x, size_t n, tkr_activation activation) {
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
        for (size_t i = 0; i < n; i += 4) {
            const float32x4_t x = tkr_activate_vector(tkr_load(src + i, n - i), activation);
            tkr_store(dst + i, vmulq_f32(x, tkr_load(src + up + i, n - i)), n - i);
        }
    }
}

void tkr_gate_neon(float *dst, size_t ld_dst, const float *src, size_t ld_src, size_t up, size_t n_rows, size_t n,
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

void tkr_axpy_neon(float *acc, const float *x, float weight, size_t n) {
    const float32x4_t w = tkr_set(weight);
    for (size_t i = 0; i < n; i += 4) {
        tkr_store(acc + i, tkr_fma(tkr_load(x + i, n - i), w, tkr_load(acc + i, n - i)), n - i);
    }
}

/* Clamped before the conversion, NaN to 0, as the reference does. */
TKR_INLINE int32x4_t codes(float32x4_t x, float32x4_t inverse, float32x4_t zero) {
    const float32x4_t y = vaddq_f32(vmulq_f32(x, inverse), zero);
    return vcvtnq_s32_f32(vminnmq_f32(vmaxnmq_f32(y, tkr_set(0)), tkr_set(255.0f)));
}

void tkr_pack_rows_u8_neon(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld,
                           size_t n_rows, size_t k, size_t k_padded) {
    for (size_t i = 0; i < n_rows; i++) {
        const float *x = src + i * ld;
        uint8_t *q = (uint8_t *)dst + i * dst_stride;
        float32x4_t low = tkr_set(0), high = tkr_set(0);
        for (size_t j = 0; j < k; j += 4) {
            low = vminnmq_f32(low, tkr_load(x + j, k - j));
            high = vmaxnmq_f32(high, tkr_load(x + j, k - j));
        }
        const float bottom = vminnmvq_f32(low), top = vmaxnmvq_f32(high);
        const float scale = top > bottom ? (top - bottom) / 255.0f : 1.0f;
        quant[i].scale = scale;
        quant[i].zero = vgetq_lane_s32(codes(tkr_set(-bottom / scale), tkr_set(1.0f), tkr_set(0)), 0);
        const float32x4_t inverse = tkr_set(1.0f / scale), zero = tkr_set((float)quant[i].zero);
        for (size_t j = 0; j < k_padded; j += 4) {
            const float32x4_t v = j < k ? tkr_load(x + j, k - j) : tkr_set(0);
            const uint16x4_t half = vqmovun_s32(codes(v, inverse, zero));
            const uint8x8_t bytes = vqmovn_u16(vcombine_u16(half, half));
            vst1_lane_u32((uint32_t *)(void *)(q + j), vreinterpret_u32_u8(bytes), 0);
        }
    }
}
