/* SPDX-License-Identifier: Apache-2.0 */
/* x86/tile_avx2: how the register tiles of this rung are written. Accumulators c<row><half> are named variables,
 * because gcc 12 keeps arrays of vectors in memory; the k loop is unrolled by hand, because gcc puts the remainder loop
 * first. */
#ifndef TKR_KERNELS_X86_TILE_AVX2_H
#define TKR_KERNELS_X86_TILE_AVX2_H

/* M(0) .. M(rows - 1) */
#define TKR_ROWS_1(M) M(0)
#define TKR_ROWS_2(M) TKR_ROWS_1(M) M(1)
#define TKR_ROWS_3(M) TKR_ROWS_2(M) M(2)
#define TKR_ROWS_4(M) TKR_ROWS_3(M) M(3)
#define TKR_ROWS_5(M) TKR_ROWS_4(M) M(4)
#define TKR_ROWS_6(M) TKR_ROWS_5(M) M(5)
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

#define TKR_ZERO_PS(r) __m256 c##r##0 = _mm256_setzero_ps(), c##r##1 = _mm256_setzero_ps();
/* One row's step. In assembly, because a tile needs all 16 registers: compilers move loads and products of several rows
 * together or give sums new registers, and then spill. */
#define TKR_FMA_PS(r, j)                                           \
    __asm__("vbroadcastss %[a], %[x]\n\t"                          \
            "vfmadd231ps %[b0], %[x], %[c0]\n\t"                   \
            "vfmadd231ps %[b1], %[x], %[c1]"                       \
            : [c0] "+x"(c##r##0), [c1] "+x"(c##r##1), [x] "=&x"(x) \
            : [b0] "x"(b0), [b1] "x"(b1), [a] "m"(*(TKR_ROW_##r(a) + j)));
#define TKR_FMA_PS_0(r) TKR_FMA_PS(r, 0)
#define TKR_FMA_PS_1(r) TKR_FMA_PS(r, 1)
#define TKR_FMA_PS_2(r) TKR_FMA_PS(r, 2)
#define TKR_FMA_PS_3(r) TKR_FMA_PS(r, 3)
#define TKR_STORE_PS(r)                    \
    _mm256_store_ps(c + r * ldc, c##r##0); \
    _mm256_store_ps(c + r * ldc + 8, c##r##1);

#endif
