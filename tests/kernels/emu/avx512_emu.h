/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emu/avx512_emu: plain C in place of the AVX-512 intrinsics that the kernels use, lane by lane as Intel's pseudo code
 * says, for machines that lack the instructions. Values are structs, so that code which treats them as compiler vectors
 * does not compile. Horizontal sums run in the order of gcc's <immintrin.h>.
 */
#ifndef TKR_TESTS_AVX512_EMU_H
#define TKR_TESTS_AVX512_EMU_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    float f[16];
} __m512;
typedef struct {
    int32_t i[16];
} __m512i;
typedef struct {
    uint16_t h[32];
} __m512bh;
typedef struct {
    int32_t i[8];
} __m256i;
typedef struct {
    int32_t i[4];
} __m128i;
typedef uint8_t __mmask8;
typedef uint16_t __mmask16;

enum { _CMP_LT_OQ = 17, _CMP_UNORD_Q = 3 };

#define EMU static inline __attribute__((unused))
#define EMU_LANES for (int l = 0; l < 16; l++)

/* ---- bits ---------------------------------------------------------------------------------------------------------
 */
EMU __m512i _mm512_castps_si512(__m512 a) {
    __m512i r;
    memcpy(&r, &a, sizeof r);
    return r;
}
EMU __m512 _mm512_castsi512_ps(__m512i a) {
    __m512 r;
    memcpy(&r, &a, sizeof r);
    return r;
}
EMU __m512bh TKR_AS_BF16(__m512i a) {
    __m512bh r;
    memcpy(&r, &a, sizeof r);
    return r;
}
EMU __m512i TKR_FROM_BF16(__m512bh a) {
    __m512i r;
    memcpy(&r, &a, sizeof r);
    return r;
}
EMU __m128i _mm512_castsi512_si128(__m512i a) {
    __m128i r;
    memcpy(&r, &a, sizeof r);
    return r;
}
EMU int32_t _mm_cvtsi128_si32(__m128i a) { return a.i[0]; }

/* ---- constants, loads, stores --------------------------------------------------------------------------------------
 */
EMU __m512 _mm512_set1_ps(float x) {
    __m512 r;
    EMU_LANES r.f[l] = x;
    return r;
}
EMU __m512 _mm512_setzero_ps(void) { return _mm512_set1_ps(0); }
EMU __m512i _mm512_set1_epi32(int32_t x) {
    __m512i r;
    EMU_LANES r.i[l] = x;
    return r;
}
EMU __m512i _mm512_setzero_si512(void) { return _mm512_set1_epi32(0); }
EMU __m512 _mm512_loadu_ps(const void *p) {
    __m512 r;
    memcpy(&r, p, sizeof r);
    return r;
}
EMU __m512i _mm512_loadu_si512(const void *p) {
    __m512i r;
    memcpy(&r, p, sizeof r);
    return r;
}
EMU __m256i _mm256_loadu_si256(const __m256i *p) {
    __m256i r;
    memcpy(&r, p, sizeof r);
    return r;
}
EMU void _mm512_storeu_ps(void *p, __m512 a) { memcpy(p, &a, sizeof a); }
EMU void _mm512_storeu_si512(void *p, __m512i a) { memcpy(p, &a, sizeof a); }
EMU void _mm256_storeu_si256(__m256i *p, __m256i a) { memcpy(p, &a, sizeof a); }
EMU void _mm_storeu_si128(__m128i *p, __m128i a) { memcpy(p, &a, sizeof a); }
/* Masked-out lanes are not touched in memory. */
EMU __m512 _mm512_maskz_loadu_ps(__mmask16 m, const float *p) {
    __m512 r = _mm512_setzero_ps();
    EMU_LANES if (m >> l & 1) { memcpy(&r.f[l], p + l, 4); }
    return r;
}
EMU void _mm512_mask_storeu_ps(void *p, __mmask16 m, __m512 a) {
    EMU_LANES if (m >> l & 1) { memcpy((char *)p + 4 * l, &a.f[l], 4); }
}
EMU void _mm512_mask_storeu_epi32(void *p, __mmask16 m, __m512i a) {
    EMU_LANES if (m >> l & 1) { memcpy((char *)p + 4 * l, &a.i[l], 4); }
}

/* ---- f32 -----------------------------------------------------------------------------------------------------------
 */
#define EMU_F32_2(name, expression)       \
    EMU __m512 name(__m512 a, __m512 b) { \
        __m512 r;                         \
        EMU_LANES r.f[l] = expression;    \
        return r;                         \
    }
EMU_F32_2(_mm512_add_ps, a.f[l] + b.f[l])
EMU_F32_2(_mm512_sub_ps, a.f[l] - b.f[l])
EMU_F32_2(_mm512_mul_ps, a.f[l] * b.f[l])
EMU_F32_2(_mm512_div_ps, a.f[l] / b.f[l])
/* The second operand when one is NaN or both are zeros. */
EMU_F32_2(_mm512_max_ps, a.f[l] > b.f[l] ? a.f[l] : b.f[l])
EMU_F32_2(_mm512_min_ps, a.f[l] < b.f[l] ? a.f[l] : b.f[l])
#define EMU_F32_3(name, expression)                 \
    EMU __m512 name(__m512 a, __m512 b, __m512 c) { \
        __m512 r;                                   \
        EMU_LANES r.f[l] = expression;              \
        return r;                                   \
    }
EMU_F32_3(_mm512_fmadd_ps, fmaf(a.f[l], b.f[l], c.f[l]))
EMU_F32_3(_mm512_fmsub_ps, fmaf(a.f[l], b.f[l], -c.f[l]))
EMU_F32_3(_mm512_fnmadd_ps, fmaf(-a.f[l], b.f[l], c.f[l]))
EMU __m512 _mm512_abs_ps(__m512 a) {
    EMU_LANES a.f[l] = fabsf(a.f[l]);
    return a;
}
EMU __m512 _mm512_mask_mov_ps(__m512 source, __mmask16 m, __m512 a) {
    EMU_LANES a.f[l] = m >> l & 1 ? a.f[l] : source.f[l];
    return a;
}
EMU __m512 _mm512_mask_sub_ps(__m512 source, __mmask16 m, __m512 a, __m512 b) {
    return _mm512_mask_mov_ps(source, m, _mm512_sub_ps(a, b));
}
EMU __m512 _mm512_mask_max_ps(__m512 source, __mmask16 m, __m512 a, __m512 b) {
    return _mm512_mask_mov_ps(source, m, _mm512_max_ps(a, b));
}
EMU __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int predicate) {
    unsigned m = 0;
    EMU_LANES {
        const int unordered = isnan(a.f[l]) || isnan(b.f[l]);
        m |= (unsigned)(predicate == _CMP_UNORD_Q ? unordered : !unordered && a.f[l] < b.f[l]) << l;
    }
    return (__mmask16)m;
}
#define EMU_REDUCE(name, op)               \
    EMU float name(__m512 a) {             \
        float x[16];                       \
        memcpy(x, &a, sizeof x);           \
        for (int n = 8; n >= 1; n /= 2) {  \
            for (int l = 0; l < n; l++) {  \
                x[l] = op(x[l + n], x[l]); \
            }                              \
        }                                  \
        return x[0];                       \
    }
#define EMU_ADD(a, b) ((a) + (b))
#define EMU_MAX(a, b) ((a) > (b) ? (a) : (b))
#define EMU_MIN(a, b) ((a) < (b) ? (a) : (b))
EMU_REDUCE(_mm512_reduce_add_ps, EMU_ADD)
EMU_REDUCE(_mm512_reduce_max_ps, EMU_MAX)
EMU_REDUCE(_mm512_reduce_min_ps, EMU_MIN)

/* ---- integers ------------------------------------------------------------------------------------------------------
 */
#define EMU_I32_2(name, expression)               \
    EMU __m512i name(__m512i a, __m512i b) {      \
        __m512i r;                                \
        EMU_LANES r.i[l] = (int32_t)(expression); \
        return r;                                 \
    }
EMU_I32_2(_mm512_add_epi32, (uint32_t)a.i[l] + (uint32_t)b.i[l])
EMU_I32_2(_mm512_sub_epi32, (uint32_t)a.i[l] - (uint32_t)b.i[l])
EMU_I32_2(_mm512_mullo_epi32, (uint32_t)a.i[l] * (uint32_t)b.i[l])
EMU_I32_2(_mm512_and_si512, a.i[l] & b.i[l])
EMU_I32_2(_mm512_or_si512, a.i[l] | b.i[l])
/* 128-bit lanes of four: low or high halves of a and b in turn. */
EMU_I32_2(_mm512_unpacklo_epi32, (l & 1 ? b : a).i[(l & 12) + (l & 3) / 2])
EMU_I32_2(_mm512_unpackhi_epi32, (l & 1 ? b : a).i[(l & 12) + 2 + (l & 3) / 2])
EMU_I32_2(_mm512_unpacklo_epi64, (l & 2 ? b : a).i[(l & 12) + (l & 1)])
EMU_I32_2(_mm512_unpackhi_epi64, (l & 2 ? b : a).i[(l & 12) + 2 + (l & 1)])
EMU __m512i _mm512_shuffle_i32x4(__m512i a, __m512i b, int control) {
    __m512i r;
    EMU_LANES r.i[l] = (l < 8 ? a : b).i[(control >> (l / 4 * 2) & 3) * 4 + l % 4];
    return r;
}
EMU __m512i _mm512_slli_epi32(__m512i a, unsigned n) {
    EMU_LANES a.i[l] = (int32_t)((uint32_t)a.i[l] << n);
    return a;
}
EMU __m512i _mm512_srli_epi32(__m512i a, unsigned n) {
    EMU_LANES a.i[l] = (int32_t)((uint32_t)a.i[l] >> n);
    return a;
}
EMU __m512i _mm512_mask_mov_epi32(__m512i source, __mmask16 m, __m512i a) {
    EMU_LANES a.i[l] = m >> l & 1 ? a.i[l] : source.i[l];
    return a;
}
EMU __mmask16 _mm512_movepi32_mask(__m512i a) {
    unsigned m = 0;
    EMU_LANES m |= (unsigned)(a.i[l] < 0) << l;
    return (__mmask16)m;
}
EMU int32_t _mm512_reduce_add_epi32(__m512i a) {
    uint32_t s = 0;
    EMU_LANES s += (uint32_t)a.i[l];
    return (int32_t)s;
}
EMU __m512i _mm512_permutexvar_epi16(__m512i index, __m512i a) {
    uint16_t x[32], n[32], r[32];
    memcpy(x, &a, sizeof x);
    memcpy(n, &index, sizeof n);
    for (int l = 0; l < 32; l++) {
        r[l] = x[n[l] & 31];
    }
    return _mm512_loadu_si512(r);
}

/* ---- conversions ---------------------------------------------------------------------------------------------------
 */
/* Round to nearest even; what does not fit, and NaN, become INT32_MIN. */
EMU __m512i _mm512_cvtps_epi32(__m512 a) {
    __m512i r;
    EMU_LANES {
        const float x = nearbyintf(a.f[l]);
        r.i[l] = x >= -2147483648.0f && x < 2147483648.0f ? (int32_t)x : INT32_MIN;
    }
    return r;
}
EMU __m512 _mm512_cvtepi32_ps(__m512i a) {
    __m512 r;
    EMU_LANES r.f[l] = (float)a.i[l];
    return r;
}
EMU __m512i _mm512_cvtepu16_epi32(__m256i a) {
    uint16_t x[16];
    memcpy(x, &a, sizeof x);
    __m512i r;
    EMU_LANES r.i[l] = x[l];
    return r;
}
/* Exact; denormal halves are normal floats. */
EMU __m512 _mm512_cvtph_ps(__m256i a) {
    uint16_t x[16];
    memcpy(x, &a, sizeof x);
    __m512 r;
    EMU_LANES {
        const int exponent = x[l] >> 10 & 31, fraction = x[l] & 1023;
        float y = exponent ? ldexpf((float)(1024 + fraction), exponent - 25) : ldexpf((float)fraction, -24);
        y = exponent == 31 ? (fraction ? NAN : INFINITY) : y;
        r.f[l] = x[l] >> 15 ? -y : y;
    }
    return r;
}
EMU __m256i _mm512_cvtepi32_epi16(__m512i a) {
    uint16_t x[16];
    EMU_LANES x[l] = (uint16_t)((uint32_t)a.i[l] & 0xffff);
    __m256i r;
    memcpy(&r, x, sizeof r);
    return r;
}
EMU __m128i _mm512_cvtepi32_epi8(__m512i a) {
    uint8_t x[16];
    EMU_LANES x[l] = (uint8_t)((uint32_t)a.i[l] & 0xff);
    __m128i r;
    memcpy(&r, x, sizeof r);
    return r;
}
EMU void _mm512_mask_cvtepi32_storeu_epi8(void *p, __mmask16 m, __m512i a) {
    EMU_LANES if (m >> l & 1) { ((uint8_t *)p)[l] = (uint8_t)((uint32_t)a.i[l] & 0xff); }
}

/* ---- VNNI, BF16 ----------------------------------------------------------------------------------------------------
 */
/* Unsigned a x signed b, no saturation. */
EMU __m512i _mm512_dpbusd_epi32(__m512i s, __m512i a, __m512i b) {
    uint8_t x[64];
    int8_t y[64];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    EMU_LANES {
        int32_t t = 0;
        for (int j = 0; j < 4; j++) {
            t += x[4 * l + j] * y[4 * l + j];
        }
        s.i[l] = (int32_t)((uint32_t)s.i[l] + (uint32_t)t);
    }
    return s;
}

/* Denormal inputs and results are zeros of their sign, whatever MXCSR says. */
EMU float emu_flush(float x) { return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x; }
EMU float emu_widen(uint16_t h) {
    const uint32_t u = (uint32_t)h << 16;
    float x;
    memcpy(&x, &u, sizeof x);
    return emu_flush(x);
}
EMU uint16_t emu_to_bf16(float x) {
    uint32_t u;
    x = emu_flush(x);
    memcpy(&u, &x, sizeof u);
    if (isnan(x)) {
        return (uint16_t)(u >> 16 | 0x40);
    }
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
/* a becomes the upper half. */
EMU __m512bh _mm512_cvtne2ps_pbh(__m512 a, __m512 b) {
    __m512bh r;
    EMU_LANES {
        r.h[l] = emu_to_bf16(b.f[l]);
        r.h[l + 16] = emu_to_bf16(a.f[l]);
    }
    return r;
}
/* Two fused steps, the odd element first; each rounds to nearest even. */
EMU __m512 _mm512_dpbf16_ps(__m512 s, __m512bh a, __m512bh b) {
    EMU_LANES {
        const float t = emu_flush(fmaf(emu_widen(a.h[2 * l + 1]), emu_widen(b.h[2 * l + 1]), emu_flush(s.f[l])));
        s.f[l] = emu_flush(fmaf(emu_widen(a.h[2 * l]), emu_widen(b.h[2 * l]), t));
    }
    return s;
}

#endif
