/* SPDX-License-Identifier: Apache-2.0 */
/* x86/math_avx2: elementwise functions on 8 lanes. The coefficients are minimax fits (relative error unless said). NaN
 * gives NaN; infinities give the limits. */
#ifndef TKR_KERNELS_X86_MATH_AVX2_H
#define TKR_KERNELS_X86_MATH_AVX2_H

#include <immintrin.h>

#define TKR_V_INLINE static inline __attribute__((always_inline))
#define TKR_V_SET(x) _mm256_set1_ps(x)

/* 1.5 * 2^23: adding it rounds to the nearest integer, which then stands in the low bits. */
#define TKR_V_MAGIC 12582912.0f

/* p * 2^n for n in the low bits of `magic` */
TKR_V_INLINE __m256 tkr_v_scale(__m256 p, __m256 magic) {
    __m256i n = _mm256_slli_epi32(_mm256_castps_si256(magic), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), n));
}

/* 2^(k + f), k the integer in `magic`, f in [-0.5, 0.5]; 7.5e-8 */
TKR_V_INLINE __m256 tkr_v_exp2_split(__m256 magic, __m256 f) {
    __m256 p = _mm256_fmadd_ps(TKR_V_SET(1.327640989e-03f), f, TKR_V_SET(9.675540837e-03f));
    p = _mm256_fmadd_ps(p, f, TKR_V_SET(5.550713466e-02f));
    p = _mm256_fmadd_ps(p, f, TKR_V_SET(2.402211974e-01f));
    p = _mm256_fmadd_ps(p, f, TKR_V_SET(6.931469669e-01f));
    p = _mm256_fmadd_ps(p, f, TKR_V_SET(1.000000072e+00f));
    return tkr_v_scale(p, magic);
}

/* 2^x for x in [-126, 127], 7.5e-8 */
TKR_V_INLINE __m256 tkr_v_exp2(__m256 x) {
    __m256 n = _mm256_add_ps(x, TKR_V_SET(TKR_V_MAGIC));
    return tkr_v_exp2_split(n, _mm256_sub_ps(x, _mm256_sub_ps(n, TKR_V_SET(TKR_V_MAGIC))));
}

/* e^x to 1 ulp or so; clamped to [-87.33, 88.72], so never 0 and never infinite */
TKR_V_INLINE __m256 tkr_v_exp(__m256 x) {
    x = _mm256_max_ps(TKR_V_SET(-87.33f), _mm256_min_ps(TKR_V_SET(88.72f), x));
    __m256 n = _mm256_fmadd_ps(x, TKR_V_SET(1.44269504f), TKR_V_SET(TKR_V_MAGIC));
    __m256 k = _mm256_sub_ps(n, TKR_V_SET(TKR_V_MAGIC));
    __m256 r = _mm256_fnmadd_ps(k, TKR_V_SET(0x1.62e4p-1f), x);
    r = _mm256_fnmadd_ps(k, TKR_V_SET(0x1.7f7d1cp-20f), r);
    __m256 p = _mm256_fmadd_ps(TKR_V_SET(1.381459782e-03f), r, TKR_V_SET(8.368716951e-03f));
    p = _mm256_fmadd_ps(p, r, TKR_V_SET(4.166838806e-02f));
    p = _mm256_fmadd_ps(p, r, TKR_V_SET(1.666652063e-01f));
    p = _mm256_fmadd_ps(p, r, TKR_V_SET(4.999999345e-01f));
    p = _mm256_fmadd_ps(_mm256_mul_ps(r, r), p, r);
    return tkr_v_scale(_mm256_add_ps(p, TKR_V_SET(1.0f)), n);
}

/* x * Phi(x) = max(x, 0) - t * Phi(-t), t = |x|, with Phi(-t) = e^(-t^2/2) * R(1 / (1 + 0.35 t)): no cancellation in
 * the negative tail. 3.1e-7 of Phi(-t), hence about 5e-8 absolute. t is cut at 13, where the product is 1e-37. */
TKR_V_INLINE __m256 tkr_v_gelu_erf(__m256 x) {
    __m256 t = _mm256_min_ps(TKR_V_SET(13.0f), _mm256_andnot_ps(TKR_V_SET(-0.0f), x));
    __m256 u = _mm256_div_ps(TKR_V_SET(1.0f), _mm256_fmadd_ps(t, TKR_V_SET(0.35f), TKR_V_SET(1.0f)));
    /* t^2 as a rounded square and what the rounding lost: e^(-t^2/2) stays good where t^2 is large */
    const __m256 c = TKR_V_SET(-0.72134752f);
    __m256 square = _mm256_mul_ps(t, t), lost = _mm256_fmsub_ps(t, t, square);
    __m256 n = _mm256_fmadd_ps(square, c, TKR_V_SET(TKR_V_MAGIC));
    __m256 f = _mm256_fmsub_ps(square, c, _mm256_sub_ps(n, TKR_V_SET(TKR_V_MAGIC)));
    __m256 e = tkr_v_exp2_split(n, _mm256_fmadd_ps(lost, c, f));
    __m256 p = _mm256_fmadd_ps(TKR_V_SET(4.894264573e-02f), u, TKR_V_SET(-2.021193148e-01f));
    p = _mm256_fmadd_ps(p, u, TKR_V_SET(2.406396167e-01f));
    p = _mm256_fmadd_ps(p, u, TKR_V_SET(-1.702135330e-02f));
    p = _mm256_fmadd_ps(p, u, TKR_V_SET(1.559599880e-01f));
    p = _mm256_fmadd_ps(p, u, TKR_V_SET(1.333556293e-01f));
    p = _mm256_fmadd_ps(p, u, TKR_V_SET(1.402702522e-01f));
    p = _mm256_fmadd_ps(p, u, TKR_V_SET(-2.730957878e-05f));
    return _mm256_fnmadd_ps(_mm256_mul_ps(t, e), p, _mm256_max_ps(_mm256_setzero_ps(), x));
}

/* x / (1 + e^-y) */
TKR_V_INLINE __m256 tkr_v_gate(__m256 x, __m256 y) {
    __m256 e = tkr_v_exp(_mm256_xor_ps(TKR_V_SET(-0.0f), y));
    return _mm256_div_ps(x, _mm256_add_ps(e, TKR_V_SET(1.0f)));
}

TKR_V_INLINE __m256 tkr_v_silu(__m256 x) { return tkr_v_gate(x, x); }

TKR_V_INLINE __m256 tkr_v_quick_gelu(__m256 x) { return tkr_v_gate(x, _mm256_mul_ps(x, TKR_V_SET(1.702f))); }

/* 0.5 x (1 + tanh(z)) = x / (1 + e^(-2z)), z = sqrt(2/pi) (x + 0.044715 x^3) */
TKR_V_INLINE __m256 tkr_v_gelu_tanh(__m256 x) {
    __m256 inner = _mm256_fmadd_ps(_mm256_mul_ps(x, x), TKR_V_SET(0.044715f * 1.59576912f), TKR_V_SET(1.59576912f));
    return tkr_v_gate(x, _mm256_mul_ps(x, inner));
}

/* x + x^3 P(x^2) below 0.65, 1 - 2 / (1 + e^(2|x|)) above */
TKR_V_INLINE __m256 tkr_v_tanh(__m256 x) {
    const __m256 sign = TKR_V_SET(-0.0f), one = TKR_V_SET(1.0f);
    __m256 t = _mm256_andnot_ps(sign, x), s = _mm256_mul_ps(x, x);
    __m256 p = _mm256_fmadd_ps(TKR_V_SET(1.481190776e-02f), s, TKR_V_SET(-5.168966608e-02f));
    p = _mm256_fmadd_ps(p, s, TKR_V_SET(1.330305911e-01f));
    p = _mm256_fmadd_ps(p, s, TKR_V_SET(-3.333206354e-01f));
    __m256 small = _mm256_fmadd_ps(_mm256_mul_ps(p, s), x, x);
    __m256 e = tkr_v_exp(_mm256_add_ps(t, t));
    __m256 big = _mm256_sub_ps(one, _mm256_div_ps(TKR_V_SET(2.0f), _mm256_add_ps(e, one)));
    big = _mm256_or_ps(big, _mm256_and_ps(sign, x));
    return _mm256_blendv_ps(small, big, _mm256_cmp_ps(t, TKR_V_SET(0.65f), _CMP_GE_OQ));
}

TKR_V_INLINE __m256 tkr_v_none(__m256 x) { return x; }

TKR_V_INLINE __m256 tkr_v_relu(__m256 x) { return _mm256_max_ps(_mm256_setzero_ps(), x); }

/* First n of 8 lanes, n in 0..8. */
TKR_V_INLINE __m256i tkr_v_mask(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Sum and maximum of 8 lanes, in a fixed order. */
TKR_V_INLINE float tkr_v_sum(__m256 x) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#endif
