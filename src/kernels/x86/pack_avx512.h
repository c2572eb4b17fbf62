/* SPDX-License-Identifier: Apache-2.0 */
/* x86/pack_avx512: rows of granules (32 bits along k) to panels with the granules of 16 columns side by side. */
#ifndef TKR_KERNELS_X86_PACK_AVX512_H
#define TKR_KERNELS_X86_PACK_AVX512_H

#include "kernels/x86/math_avx512.h"

/* 16x16 transposition of 32-bit values. */
TKR_INLINE void tkr_transpose16(__m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

/* Turns r (16 columns of 16 granules) and writes the first n granules, `step` bytes apart. */
TKR_INLINE void tkr_put_block(char *dst, size_t step, size_t n, __m512i r[16]) {
    tkr_transpose16(r);
    for (size_t i = 0; i < n && i < 16; i++) {
        _mm512_storeu_si512(dst + i * step, r[i]);
    }
}

/* Up to 16 floats, zeros beyond n. */
TKR_INLINE __m512 tkr_load_f32(const float *p, size_t n) { return _mm512_maskz_loadu_ps(tkr_mask16(n), p); }

#endif
