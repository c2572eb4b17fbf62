/* SPDX-License-Identifier: Apache-2.0 */
/* x86/tile_avx2: how the register tiles of this rung are written. Accumulators c<row><half> are named variables,
 * because gcc 12 keeps arrays of vectors in memory; the k loop is unrolled by hand, because gcc puts the remainder loop
 * first. */
#ifndef TKR_KERNELS_X86_TILE_AVX2_H
#define TKR_KERNELS_X86_TILE_AVX2_H

#include <immintrin.h>

#include "kernels/x86/avx2.h"

/* M(0); .. M(rows - 1) */
#define TKR_ROWS_1(M) M(0)
#define TKR_ROWS_2(M) \
    TKR_ROWS_1(M);    \
    M(1)
#define TKR_ROWS_3(M) \
    TKR_ROWS_2(M);    \
    M(2)
#define TKR_ROWS_4(M) \
    TKR_ROWS_3(M);    \
    M(3)
#define TKR_ROWS_5(M) \
    TKR_ROWS_4(M);    \
    M(4)
#define TKR_ROWS_6(M) \
    TKR_ROWS_5(M);    \
    M(5)
/* DEFINE(1) .. DEFINE(6) */
#define TKR_EACH_TILE(DEFINE) DEFINE(1) DEFINE(2) DEFINE(3) DEFINE(4) DEFINE(5) DEFINE(6)

/* Used inside a tile that has a (moving pointer to row 0), lda and x; b0 and b1 are this k's 16 columns. Two base
 * pointers, three rows each, keep the addresses in few registers. */
#define TKR_ROW_0(a) (a)
#define TKR_ROW_1(a) (a + lda)
#define TKR_ROW_2(a) (a + 2 * lda)
#define TKR_ROW_3(a) (a##3)
#define TKR_ROW_4(a) (a##3 + lda)
#define TKR_ROW_5(a) (a##3 + 2 * lda)

#define TKR_ZERO_PS(r) __m256 c##r##0 = _mm256_setzero_ps(), c##r##1 = _mm256_setzero_ps()
/* One row's step. In assembly, because a tile needs all 16 registers: compilers move loads and products of several rows
 * together or give sums new registers, and then spill. */
#define TKR_FMA_PS(r, j)                                           \
    __asm__("vbroadcastss %[a], %[x]\n\t"                          \
            "vfmadd231ps %[b0], %[x], %[c0]\n\t"                   \
            "vfmadd231ps %[b1], %[x], %[c1]"                       \
            : [c0] "+x"(c##r##0), [c1] "+x"(c##r##1), [x] "=&x"(x) \
            : [b0] "x"(b0), [b1] "x"(b1), [a] "m"(*(TKR_ROW_##r(a) + j)))
#define TKR_FMA_PS_0(r) TKR_FMA_PS(r, 0)
#define TKR_FMA_PS_1(r) TKR_FMA_PS(r, 1)
#define TKR_FMA_PS_2(r) TKR_FMA_PS(r, 2)
#define TKR_FMA_PS_3(r) TKR_FMA_PS(r, 3)
#define TKR_STORE_PS(r)                    \
    _mm256_store_ps(c + r * ldc, c##r##0); \
    _mm256_store_ps(c + r * ldc + 8, c##r##1)

/* Floats d .. d + 7 of 8 rows to 8 columns at dst (32-byte aligned), whose rows are TKR_AVX2_NR apart. */
static inline void tkr_avx2_transpose_8x8(float *dst, const float *const *src, size_t d) {
#define TKR_T_LOAD(n) __m256 r##n = _mm256_loadu_ps(src[n] + d)
#define TKR_T_PAIR(m, n, lo, hi) __m256 lo = _mm256_unpacklo_ps(r##m, r##n), hi = _mm256_unpackhi_ps(r##m, r##n)
#define TKR_T_QUAD(a, b, lo, hi) __m256 lo = _mm256_shuffle_ps(a, b, 0x44), hi = _mm256_shuffle_ps(a, b, 0xee)
#define TKR_T_OUT(n, a, b)                                                      \
    _mm256_store_ps(dst + n * TKR_AVX2_NR, _mm256_permute2f128_ps(a, b, 0x20)); \
    _mm256_store_ps(dst + (n + 4) * TKR_AVX2_NR, _mm256_permute2f128_ps(a, b, 0x31))
    TKR_T_LOAD(0);
    TKR_T_LOAD(1);
    TKR_T_LOAD(2);
    TKR_T_LOAD(3);
    TKR_T_LOAD(4);
    TKR_T_LOAD(5);
    TKR_T_LOAD(6);
    TKR_T_LOAD(7);
    TKR_T_PAIR(0, 1, t0, t1);
    TKR_T_PAIR(2, 3, t2, t3);
    TKR_T_PAIR(4, 5, t4, t5);
    TKR_T_PAIR(6, 7, t6, t7);
    TKR_T_QUAD(t0, t2, u0, u1);
    TKR_T_QUAD(t1, t3, u2, u3);
    TKR_T_QUAD(t4, t6, u4, u5);
    TKR_T_QUAD(t5, t7, u6, u7);
    TKR_T_OUT(0, u0, u4);
    TKR_T_OUT(1, u1, u5);
    TKR_T_OUT(2, u2, u6);
    TKR_T_OUT(3, u3, u7);
#undef TKR_T_LOAD
#undef TKR_T_PAIR
#undef TKR_T_QUAD
#undef TKR_T_OUT
}

#endif
