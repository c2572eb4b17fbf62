/* SPDX-License-Identifier: Apache-2.0 */
/* x86/pack_bf16: f32 to pairs of bf16, for the files that have AVX512-BF16. */
#ifndef TKR_KERNELS_X86_PACK_BF16_H
#define TKR_KERNELS_X86_PACK_BF16_H

#include "kernels/x86/pack_avx512.h"

/* 16 pairs from up to 32 floats, zeros beyond n. */
TKR_INLINE __m512i tkr_load_bf16(const float *p, size_t n) {
    const __m512 low = tkr_load_f32(p, n);
    const __m512 high = n > 16 ? tkr_load_f32(p + 16, n - 16) : _mm512_setzero_ps();
    return TKR_FROM_BF16(_mm512_cvtne2ps_pbh(high, low));
}

/* 16 columns of W from column `from` on as pairs k / 2 .. k / 2 + 15; missing columns and k are zeros. */
TKR_INLINE void tkr_load_block_bf16(__m512i r[16], const float *w, size_t ld, size_t n_cols, size_t k, size_t from,
                                    size_t at) {
    for (size_t i = 0; i < 16; i++) {
        r[i] = from + i < n_cols && at < k ? tkr_load_bf16(w + (from + i) * ld + at, k - at) : _mm512_setzero_si512();
    }
}

#endif
