/* SPDX-License-Identifier: Apache-2.0 */
/* x86/math_avx512: exponentials and activations of 16 floats, operation for operation those of math_avx2. NaN gives NaN
 * (the constant stands first in min and max, which return their second operand then); infinities give the limits. */
#ifndef TKR_KERNELS_X86_MATH_AVX512_H
#define TKR_KERNELS_X86_MATH_AVX512_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "kernels/x86/simd.h"

#define TKR_LOG2E 1.44269504f
/* 1.5 * 2^23: adding it rounds to the nearest integer, which then stands in the low bits. */
#define TKR_MAGIC 12582912.0f

TKR_INLINE __m512 tkr_set(float x) { return _mm512_set1_ps(x); }

/* Lanes 0..n-1. */
TKR_INLINE __mmask16 tkr_mask16(size_t n) { return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1u); }

/* What is left of n from position i on. */
TKR_INLINE size_t tkr_left(size_t n, size_t i) { return n > i ? n - i : 0; }

/* p * 2^n for n in the low bits of `magic` */
TKR_INLINE __m512 tkr_scale_exponent(__m512 p, __m512 magic) {
    const __m512i n = _mm512_slli_epi32(_mm512_castps_si512(magic), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), n));
}

/* 2^(k + f), k the integer in the low bits of `magic`, f in [-0.5, 0.5]; 7.5e-8 relative. */
TKR_INLINE __m512 tkr_exp2_split(__m512 magic, __m512 f) {
    __m512 p = _mm512_fmadd_ps(tkr_set(1.327640989e-3f), f, tkr_set(9.675540837e-3f));
    p = _mm512_fmadd_ps(p, f, tkr_set(5.550713466e-2f));
    p = _mm512_fmadd_ps(p, f, tkr_set(2.402211974e-1f));
    p = _mm512_fmadd_ps(p, f, tkr_set(6.931469669e-1f));
    p = _mm512_fmadd_ps(p, f, tkr_set(1.000000072f));
    return tkr_scale_exponent(p, magic);
}

/* 2^x for x in [-126, 127] */
TKR_INLINE __m512 tkr_exp2(__m512 x) {
    const __m512 n = _mm512_add_ps(x, tkr_set(TKR_MAGIC));
    return tkr_exp2_split(n, _mm512_sub_ps(x, _mm512_sub_ps(n, tkr_set(TKR_MAGIC))));
}

/* The same with degree 3, 8e-4 relative: for values that are rounded to bf16 next. */
TKR_INLINE __m512 tkr_exp2_bf16(__m512 x) {
    const __m512 n = _mm512_add_ps(x, tkr_set(TKR_MAGIC));
    const __m512 f = _mm512_sub_ps(x, _mm512_sub_ps(n, tkr_set(TKR_MAGIC)));
    __m512 p = _mm512_fmadd_ps(tkr_set(5.583828295e-2f), f, tkr_set(2.426394785e-1f));
    p = _mm512_fmadd_ps(p, f, tkr_set(6.931367339e-1f));
    p = _mm512_fmadd_ps(p, f, tkr_set(9.999245570e-1f));
    return tkr_scale_exponent(p, n);
}

/* e^x to about one unit in the last place, by a two-part ln 2; x clamped to [-87.33, 88.72], never 0 or infinite. */
TKR_INLINE __m512 tkr_exp(__m512 x) {
    x = _mm512_max_ps(tkr_set(-87.33f), _mm512_min_ps(tkr_set(88.72f), x));
    const __m512 n = _mm512_fmadd_ps(x, tkr_set(TKR_LOG2E), tkr_set(TKR_MAGIC));
    const __m512 k = _mm512_sub_ps(n, tkr_set(TKR_MAGIC));
    __m512 r = _mm512_fnmadd_ps(k, tkr_set(0x1.62e4p-1f), x);
    r = _mm512_fnmadd_ps(k, tkr_set(0x1.7f7d1cp-20f), r);
    __m512 p = _mm512_fmadd_ps(tkr_set(1.381459782e-3f), r, tkr_set(8.368716951e-3f));
    p = _mm512_fmadd_ps(p, r, tkr_set(4.166838806e-2f));
    p = _mm512_fmadd_ps(p, r, tkr_set(1.666652063e-1f));
    p = _mm512_fmadd_ps(p, r, tkr_set(4.999999345e-1f));
    p = _mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r);
    return tkr_scale_exponent(_mm512_add_ps(p, tkr_set(1.0f)), n);
}

/* x / (1 + e^y) */
TKR_INLINE __m512 tkr_gate(__m512 x, __m512 y) { return _mm512_div_ps(x, _mm512_add_ps(tkr_exp(y), tkr_set(1.0f))); }

/* x * Phi(x) = max(x, 0) - t * Phi(-t), t = |x|, Phi(-t) = e^(-t^2 / 2) * R(1 / (1 + 0.35 t)): relative accuracy in the
 * negative tail too, 5e-8 absolute. Cut at t = 13, where the product is 1e-37. */
TKR_INLINE __m512 tkr_gelu_erf(__m512 x) {
    const __m512 t = _mm512_min_ps(tkr_set(13.0f), _mm512_abs_ps(x)), c = tkr_set(-0.72134752f);
    const __m512 u = _mm512_div_ps(tkr_set(1.0f), _mm512_fmadd_ps(t, tkr_set(0.35f), tkr_set(1.0f)));
    /* the square and what its rounding lost, or the tail would lose digits where t^2 is large */
    const __m512 square = _mm512_mul_ps(t, t), lost = _mm512_fmsub_ps(t, t, square);
    const __m512 n = _mm512_fmadd_ps(square, c, tkr_set(TKR_MAGIC));
    const __m512 f = _mm512_fmsub_ps(square, c, _mm512_sub_ps(n, tkr_set(TKR_MAGIC)));
    const __m512 e = tkr_exp2_split(n, _mm512_fmadd_ps(lost, c, f));
    __m512 p = _mm512_fmadd_ps(tkr_set(4.894264573e-2f), u, tkr_set(-2.021193148e-1f));
    p = _mm512_fmadd_ps(p, u, tkr_set(2.406396167e-1f));
    p = _mm512_fmadd_ps(p, u, tkr_set(-1.702135330e-2f));
    p = _mm512_fmadd_ps(p, u, tkr_set(1.559599880e-1f));
    p = _mm512_fmadd_ps(p, u, tkr_set(1.333556293e-1f));
    p = _mm512_fmadd_ps(p, u, tkr_set(1.402702522e-1f));
    p = _mm512_fmadd_ps(p, u, tkr_set(-2.730957878e-5f));
    return _mm512_fnmadd_ps(_mm512_mul_ps(t, e), p, _mm512_max_ps(_mm512_setzero_ps(), x));
}

/* 0.5 x (1 + tanh(z)) = x / (1 + e^(-2 z)), z = sqrt(2 / pi) (x + 0.044715 x^3) */
TKR_INLINE __m512 tkr_gelu_tanh(__m512 x) {
    const float c = -1.59576912f;
    const __m512 u = _mm512_fmadd_ps(_mm512_mul_ps(x, x), tkr_set(c * 0.044715f), tkr_set(c));
    return tkr_gate(x, _mm512_mul_ps(x, u));
}

TKR_INLINE __m512 tkr_silu(__m512 x) { return tkr_gate(x, _mm512_sub_ps(_mm512_setzero_ps(), x)); }

/* x + x^3 P(x^2) below 0.65, where 1 - 2 / (1 + e^(2 |x|)) would cancel. */
TKR_INLINE __m512 tkr_tanh(__m512 x) {
    const __m512 t = _mm512_abs_ps(x), s = _mm512_mul_ps(x, x), one = tkr_set(1.0f);
    __m512 p = _mm512_fmadd_ps(tkr_set(1.481190776e-2f), s, tkr_set(-5.168966608e-2f));
    p = _mm512_fmadd_ps(p, s, tkr_set(1.330305911e-1f));
    p = _mm512_fmadd_ps(p, s, tkr_set(-3.333206354e-1f));
    const __m512 small = _mm512_fmadd_ps(_mm512_mul_ps(p, s), x, x);
    const __m512 e = tkr_exp(_mm512_add_ps(t, t));
    __m512 big = _mm512_sub_ps(one, _mm512_div_ps(tkr_set(2.0f), _mm512_add_ps(e, one)));
    const __mmask16 negative = _mm512_movepi32_mask(_mm512_castps_si512(x));
    big = _mm512_mask_sub_ps(big, negative, _mm512_setzero_ps(), big);
    return _mm512_mask_mov_ps(big, _mm512_cmp_ps_mask(t, tkr_set(0.65f), _CMP_LT_OQ), small);
}

/* `activation` is a constant where this is inlined. */
TKR_INLINE __m512 tkr_activate_vector(__m512 x, const tkr_activation activation) {
    switch (activation) {
    case TKR_ACT_GELU_ERF: return tkr_gelu_erf(x);
    case TKR_ACT_GELU_TANH: return tkr_gelu_tanh(x);
    case TKR_ACT_RELU: return _mm512_max_ps(_mm512_setzero_ps(), x);
    case TKR_ACT_TANH: return tkr_tanh(x);
    case TKR_ACT_SILU: return tkr_silu(x);
    case TKR_ACT_QUICK_GELU: return tkr_gate(x, _mm512_mul_ps(x, tkr_set(-1.702f)));
    case TKR_ACT_NONE: break;
    }
    return x;
}

#endif
