/* SPDX-License-Identifier: Apache-2.0 */
/* x86/pack_s8: f32 weights to s8, one scale a column, as tkr_quantize_s8_row says. */
#ifndef TKR_KERNELS_X86_PACK_S8_H
#define TKR_KERNELS_X86_PACK_S8_H

#include <float.h>

#include "kernels/x86/pack_avx512.h"

TKR_INLINE float tkr_s8_scale_vector(const float *w, size_t n) {
    __m512 top = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        top = _mm512_max_ps(top, _mm512_abs_ps(tkr_load_f32(w + i, n - i)));
    }
    const float ratio = _mm512_reduce_max_ps(top) / 127.0f;
    return ratio >= FLT_MIN ? ratio : 1.0f;
}

/* Scales of nr columns, 0 for missing ones. */
TKR_INLINE void tkr_s8_scales(float *scale, const float *w, size_t ld, size_t n_cols, size_t nr, size_t k) {
    for (size_t j = 0; j < nr; j++) {
        scale[j] = j < n_cols ? tkr_s8_scale_vector(w + j * ld, k) : 0.0f;
    }
}

/* 64 codes of one column, zeros beyond n; adds them to *sum. */
TKR_INLINE __m512i tkr_load_s8(const float *w, size_t n, float scale, int32_t *sum) {
    _Alignas(64) int8_t codes[64];
    __m512i total = _mm512_setzero_si512();
    for (size_t i = 0; i < 64; i += 16) {
        const __m512 x = n > i ? tkr_load_f32(w + i, n - i) : _mm512_setzero_ps();
        const __m512i q = _mm512_cvtps_epi32(_mm512_div_ps(x, tkr_set(scale)));
        total = _mm512_add_epi32(total, q);
        _mm_storeu_si128((__m128i *)(void *)(codes + i), _mm512_cvtepi32_epi8(q));
    }
    *sum += _mm512_reduce_add_epi32(total);
    return _mm512_loadu_si512(codes);
}

/* 16 columns of W from column `from` on as groups of four, k / 4 .. k / 4 + 15. */
TKR_INLINE void tkr_load_block_s8(__m512i r[16], const float *w, size_t ld, size_t n_cols, size_t k, size_t from,
                                  size_t at, const float *scale, int32_t *sum) {
    for (size_t i = 0; i < 16; i++) {
        const size_t j = from + i;
        r[i] = j < n_cols && at < k ? tkr_load_s8(w + j * ld + at, k - at, scale[j], sum + j) : _mm512_setzero_si512();
    }
}

#endif
