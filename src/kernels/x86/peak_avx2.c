/* SPDX-License-Identifier: Apache-2.0 */
/* x86/peak_avx2: roofline probes: the multiply-add instructions of this rung's tiles, from registers, 12 chains. */
#include <immintrin.h>

#include "kernels/x86/avx2.h"

#define CHAINS(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

/* Hides a value from the optimiser, in a register. */
#define OPAQUE(x) __asm__ volatile("" : "+x"(x))

double tkr_peak_f32_avx2(size_t iterations) {
    __m256 x = _mm256_set1_ps(0.5f), y = _mm256_set1_ps(0.25f);
    OPAQUE(x);
    OPAQUE(y);
#define DECLARE(n) __m256 c##n = _mm256_setzero_ps();
#define STEP(n) c##n = _mm256_fmadd_ps(x, y, c##n);
#define SINK(n) OPAQUE(c##n);
    CHAINS(DECLARE)
    for (size_t i = 0; i < iterations; i++) {
        CHAINS(STEP)
        CHAINS(SINK)
    }
    return (double)iterations * 12 * 8 * 2;
#undef DECLARE
#undef STEP
}

/* vpmaddubsw + vpmaddwd + vpaddd, the fastest int8 multiply-add here: 3 instructions for 32 products, but pairs of u8 x
 * s8 saturate. The tiles use vpmaddwd + vpaddd, 4 instructions for 32 products and 0.82 of this rate on Zen 3. */
double tkr_peak_q8_avx2(size_t iterations) {
    __m256i x = _mm256_set1_epi16(3), y = _mm256_set1_epi16(-5), one = _mm256_set1_epi16(1);
    OPAQUE(x);
    OPAQUE(y);
    OPAQUE(one);
#define DECLARE(n) __m256i c##n = _mm256_setzero_si256();
#define STEP(n)                                                                        \
    c##n = _mm256_add_epi32(c##n, _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), one)); \
    OPAQUE(x);
    CHAINS(DECLARE)
    for (size_t i = 0; i < iterations; i++) {
        CHAINS(STEP)
        CHAINS(SINK)
    }
    return (double)iterations * 12 * 32 * 2;
}
