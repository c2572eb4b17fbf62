/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86/dot_avx2: the step of tiles whose products of bytes are added in s16: 4 values of k of row r times 16 columns, b0
 * and b1. In assembly for the reason given in tile_avx2.h; the addresses too, or gcc keeps one for each row and step. p
 * and p3 point into rows 0 and 3, lda is the bytes between rows. The clobber stands for the rows that are read.
 */
#ifndef TKR_KERNELS_X86_DOT_AVX2_H
#define TKR_KERNELS_X86_DOT_AVX2_H

#include "kernels/x86/tile_avx2.h"

#define TKR_HALF(p) (*(const __m256i *)(const void *)(p))

#define TKR_BROADCAST_0(p, at) "vbroadcastss " at "(%[" #p "]), %[x]\n\t"
#define TKR_BROADCAST_1(p, at) "vbroadcastss " at "(%[" #p "],%[lda]), %[x]\n\t"
#define TKR_BROADCAST_2(p, at) "vbroadcastss " at "(%[" #p "],%[lda],2), %[x]\n\t"
#define TKR_BROADCAST_3(p, at) "vbroadcastss " at "(%[" #p "3]), %[x]\n\t"
#define TKR_BROADCAST_4(p, at) "vbroadcastss " at "(%[" #p "3],%[lda]), %[x]\n\t"
#define TKR_BROADCAST_5(p, at) "vbroadcastss " at "(%[" #p "3],%[lda],2), %[x]\n\t"
/* clang-format off */
#define TKR_DOT(r, at)                                                             \
    __asm__(TKR_BROADCAST_##r(a, at)                                               \
            "vpmaddubsw %[x], %[b0], %[y]\n\t"                                     \
            "vpmaddubsw %[x], %[b1], %[x]\n\t"                                     \
            "vpaddw %[y], %[c0], %[c0]\n\t"                                        \
            "vpaddw %[x], %[c1], %[c1]"                                            \
            : [c0] "+x"(c##r##0), [c1] "+x"(c##r##1), [x] "=&x"(x), [y] "=&x"(y)   \
            : [b0] "x"(b0), [b1] "x"(b1), [a] "r"(a), [a3] "r"(a3), [lda] "r"(lda) \
            : "memory")
/* clang-format on */
#define TKR_DOT_0(r) TKR_DOT(r, "0")
#define TKR_DOT_1(r) TKR_DOT(r, "4")
#define TKR_DOT_2(r) TKR_DOT(r, "8")
#define TKR_DOT_3(r) TKR_DOT(r, "12")
#define TKR_DOT_4(r) TKR_DOT(r, "16")
#define TKR_DOT_5(r) TKR_DOT(r, "20")
#define TKR_DOT_6(r) TKR_DOT(r, "24")
#define TKR_DOT_7(r) TKR_DOT(r, "28")

#endif
