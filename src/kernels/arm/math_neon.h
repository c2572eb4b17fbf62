/* SPDX-License-Identifier: Apache-2.0 */
/* arm/math_neon: exponentials and activations of 4 floats, operation for operation those of x86/math_avx2. NaN gives
 * NaN, infinities give the limits. */
#ifndef TKR_KERNELS_ARM_MATH_NEON_H
#define TKR_KERNELS_ARM_MATH_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "kernels/arm/arm.h"

#define TKR_LOG2E 1.44269504f
/* 1.5 * 2^23: adding it rounds to the nearest integer, which then stands in the low bits. */
#define TKR_MAGIC 12582912.0f

TKR_INLINE float32x4_t tkr_set(float x) { return vdupq_n_f32(x); }

/* a * b + c */
TKR_INLINE float32x4_t tkr_fma(float32x4_t a, float32x4_t b, float32x4_t c) { return vfmaq_f32(c, a, b); }

/* Up to 4 floats, zeros beyond n. */
TKR_INLINE float32x4_t tkr_load(const float *p, size_t n) {
    if (n >= 4) {
        return vld1q_f32(p);
    }
    float x[4] = {0};
    memcpy(x, p, n * sizeof *x);
    return vld1q_f32(x);
}

TKR_INLINE void tkr_store(float *p, float32x4_t x, size_t n) {
    if (n >= 4) {
        vst1q_f32(p, x);
        return;
    }
    float y[4];
    vst1q_f32(y, x);
    memcpy(p, y, n * sizeof *y);
}

/* p * 2^n for n in the low bits of `magic` */
TKR_INLINE float32x4_t tkr_scale_exponent(float32x4_t p, float32x4_t magic) {
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), vshlq_n_s32(vreinterpretq_s32_f32(magic), 23)));
}

/* 2^(k + f), k the integer in the low bits of `magic`, f in [-0.5, 0.5]; 7.5e-8 relative. */
TKR_INLINE float32x4_t tkr_exp2_split(float32x4_t magic, float32x4_t f) {
    float32x4_t p = tkr_fma(tkr_set(1.327640989e-3f), f, tkr_set(9.675540837e-3f));
    p = tkr_fma(p, f, tkr_set(5.550713466e-2f));
    p = tkr_fma(p, f, tkr_set(2.402211974e-1f));
    p = tkr_fma(p, f, tkr_set(6.931469669e-1f));
    p = tkr_fma(p, f, tkr_set(1.000000072f));
    return tkr_scale_exponent(p, magic);
}

/* 2^x for x in [-126, 127] */
TKR_INLINE float32x4_t tkr_exp2(float32x4_t x) {
    const float32x4_t n = vaddq_f32(x, tkr_set(TKR_MAGIC));
    return tkr_exp2_split(n, vsubq_f32(x, vsubq_f32(n, tkr_set(TKR_MAGIC))));
}

/* e^x to about one unit in the last place; x clamped to [-87.33, 88.72], never 0 or infinite. */
TKR_INLINE float32x4_t tkr_exp(float32x4_t x) {
    x = vmaxq_f32(tkr_set(-87.33f), vminq_f32(tkr_set(88.72f), x));
    const float32x4_t n = tkr_fma(x, tkr_set(TKR_LOG2E), tkr_set(TKR_MAGIC));
    const float32x4_t k = vsubq_f32(n, tkr_set(TKR_MAGIC));
    float32x4_t r = vfmsq_f32(x, k, tkr_set(0x1.62e4p-1f));
    r = vfmsq_f32(r, k, tkr_set(0x1.7f7d1cp-20f));
    float32x4_t p = tkr_fma(tkr_set(1.381459782e-3f), r, tkr_set(8.368716951e-3f));
    p = tkr_fma(p, r, tkr_set(4.166838806e-2f));
    p = tkr_fma(p, r, tkr_set(1.666652063e-1f));
    p = tkr_fma(p, r, tkr_set(4.999999345e-1f));
    p = tkr_fma(vmulq_f32(r, r), p, r);
    return tkr_scale_exponent(vaddq_f32(p, tkr_set(1.0f)), n);
}

/* x / (1 + e^y) */
TKR_INLINE float32x4_t tkr_gate(float32x4_t x, float32x4_t y) {
    return vdivq_f32(x, vaddq_f32(tkr_exp(y), tkr_set(1.0f)));
}

/* x * Phi(x) = max(x, 0) - t * Phi(-t), t = |x|, Phi(-t) = e^(-t^2 / 2) * R(1 / (1 + 0.35 t)); cut at t = 13, see
 * math_avx2. */
TKR_INLINE float32x4_t tkr_gelu_erf(float32x4_t x) {
    const float32x4_t t = vminq_f32(tkr_set(13.0f), vabsq_f32(x)), c = tkr_set(-0.72134752f);
    const float32x4_t u = vdivq_f32(tkr_set(1.0f), tkr_fma(t, tkr_set(0.35f), tkr_set(1.0f)));
    /* the square and what its rounding lost, or the tail would lose digits where t^2 is large */
    const float32x4_t square = vmulq_f32(t, t), lost = tkr_fma(t, t, vnegq_f32(square));
    const float32x4_t n = tkr_fma(square, c, tkr_set(TKR_MAGIC));
    const float32x4_t f = tkr_fma(square, c, vsubq_f32(tkr_set(TKR_MAGIC), n));
    const float32x4_t e = tkr_exp2_split(n, tkr_fma(lost, c, f));
    float32x4_t p = tkr_fma(tkr_set(4.894264573e-2f), u, tkr_set(-2.021193148e-1f));
    p = tkr_fma(p, u, tkr_set(2.406396167e-1f));
    p = tkr_fma(p, u, tkr_set(-1.702135330e-2f));
    p = tkr_fma(p, u, tkr_set(1.559599880e-1f));
    p = tkr_fma(p, u, tkr_set(1.333556293e-1f));
    p = tkr_fma(p, u, tkr_set(1.402702522e-1f));
    p = tkr_fma(p, u, tkr_set(-2.730957878e-5f));
    return vfmsq_f32(vmaxq_f32(tkr_set(0.0f), x), vmulq_f32(t, e), p);
}

/* 0.5 x (1 + tanh(z)) = x / (1 + e^(-2 z)), z = sqrt(2 / pi) (x + 0.044715 x^3) */
TKR_INLINE float32x4_t tkr_gelu_tanh(float32x4_t x) {
    const float c = -1.59576912f;
    return tkr_gate(x, vmulq_f32(x, tkr_fma(vmulq_f32(x, x), tkr_set(c * 0.044715f), tkr_set(c))));
}

/* x + x^3 P(x^2) below 0.65, where 1 - 2 / (1 + e^(2 |x|)) would cancel. */
TKR_INLINE float32x4_t tkr_tanh(float32x4_t x) {
    const float32x4_t t = vabsq_f32(x), s = vmulq_f32(x, x), one = tkr_set(1.0f);
    float32x4_t p = tkr_fma(tkr_set(1.481190776e-2f), s, tkr_set(-5.168966608e-2f));
    p = tkr_fma(p, s, tkr_set(1.330305911e-1f));
    p = tkr_fma(p, s, tkr_set(-3.333206354e-1f));
    const float32x4_t small = tkr_fma(vmulq_f32(p, s), x, x);
    const float32x4_t big = vsubq_f32(one, vdivq_f32(tkr_set(2.0f), vaddq_f32(tkr_exp(vaddq_f32(t, t)), one)));
    const float32x4_t signed_big = vbslq_f32(vdupq_n_u32(0x80000000u), x, big);
    return vbslq_f32(vcltq_f32(t, tkr_set(0.65f)), small, signed_big);
}

/* `activation` is a constant where this is inlined. */
TKR_INLINE float32x4_t tkr_activate_vector(float32x4_t x, const tkr_activation activation) {
    switch (activation) {
    case TKR_ACT_GELU_ERF: return tkr_gelu_erf(x);
    case TKR_ACT_GELU_TANH: return tkr_gelu_tanh(x);
    case TKR_ACT_RELU: return vmaxq_f32(tkr_set(0.0f), x);
    case TKR_ACT_TANH: return tkr_tanh(x);
    case TKR_ACT_SILU: return tkr_gate(x, vnegq_f32(x));
    case TKR_ACT_QUICK_GELU: return tkr_gate(x, vmulq_n_f32(x, -1.702f));
    case TKR_ACT_NONE: break;
    }
    return x;
}

#endif
