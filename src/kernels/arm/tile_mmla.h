/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arm/tile_mmla: register tiles of up to 4 rows x 16 columns by the matrix instructions, which multiply 8 bytes of k of
 * two rows with 8 bytes of two columns. Panels [k / 8 bytes][16 columns][8 bytes]. The including file says
 *   TKR_MMLA_ACC, TKR_MMLA_ZERO, TKR_MMLA_STORE(p, s)  p gets the four sums r0c0 r0c1 r1c0 r1c1
 *   TKR_MMLA(s, a, b)                                  a, b: uint8x16_t with two rows and two columns
 * With an odd number of rows the last one stands in for its missing partner; that result is dropped.
 */
#ifndef TKR_KERNELS_ARM_TILE_MMLA_H
#define TKR_KERNELS_ARM_TILE_MMLA_H

#include <arm_neon.h>
#include <string.h>

#include "kernels/arm/arm.h"

typedef void tkr_mmla_fn(void *sums, const uint8_t *a, size_t s, const uint8_t *b, size_t steps);

#define TKR_MMLA_COLUMNS(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define TKR_MMLA_VARS(j) TKR_MMLA_ACC x##j = TKR_MMLA_ZERO, y##j = x##j;
#define TKR_MMLA_STEP(j)                           \
    {                                              \
        const uint8x16_t w = vld1q_u8(b + 16 * j); \
        x##j = TKR_MMLA(x##j, p, w);               \
        if (rows > 2) {                            \
            y##j = TKR_MMLA(y##j, q, w);           \
        }                                          \
    }
#define TKR_MMLA_OUT(j)                                      \
    {                                                        \
        char four[16];                                       \
        TKR_MMLA_STORE(four, x##j);                          \
        memcpy((char *)sums + 8 * j, four, 8);               \
        memcpy((char *)sums + 64 + 8 * j, four + 8, 8);      \
        if (rows > 2) {                                      \
            TKR_MMLA_STORE(four, y##j);                      \
            memcpy((char *)sums + 128 + 8 * j, four, 8);     \
            memcpy((char *)sums + 192 + 8 * j, four + 8, 8); \
        }                                                    \
    }

TKR_INLINE uint8x16_t tkr_first_halves(uint8x16_t a, uint8x16_t b) {
    return vreinterpretq_u8_u64(vzip1q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}

TKR_INLINE uint8x16_t tkr_second_halves(uint8x16_t a, uint8x16_t b) {
    return vreinterpretq_u8_u64(vzip2q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}

/* sums: [4][16]; `steps` of 16 bytes of a row. Put once into the including file. */
#define TKR_MMLA_BODY                                                                                                  \
    TKR_INLINE void mmla_body(void *sums, const uint8_t *a, size_t s, const uint8_t *b, size_t steps,                  \
                              const size_t rows) {                                                                     \
        TKR_MMLA_COLUMNS(TKR_MMLA_VARS)                                                                                \
        const uint8_t *a1 = a + (rows > 1 ? s : 0), *a2 = a + (rows > 2 ? 2 * s : 0), *a3 = rows > 3 ? a + 3 * s : a2; \
        for (size_t k = 0; k < steps; k++) {                                                                           \
            const uint8x16_t r0 = vld1q_u8(a + 16 * k), r1 = vld1q_u8(a1 + 16 * k);                                    \
            const uint8x16_t r2 = vld1q_u8(a2 + 16 * k), r3 = vld1q_u8(a3 + 16 * k);                                   \
            {                                                                                                          \
                const uint8x16_t p = tkr_first_halves(r0, r1), q = tkr_first_halves(r2, r3);                           \
                TKR_MMLA_COLUMNS(TKR_MMLA_STEP)                                                                        \
                b += 128;                                                                                              \
                (void)q;                                                                                               \
            }                                                                                                          \
            {                                                                                                          \
                const uint8x16_t p = tkr_second_halves(r0, r1), q = tkr_second_halves(r2, r3);                         \
                TKR_MMLA_COLUMNS(TKR_MMLA_STEP)                                                                        \
                b += 128;                                                                                              \
                (void)q;                                                                                               \
            }                                                                                                          \
        }                                                                                                              \
        TKR_MMLA_COLUMNS(TKR_MMLA_OUT)                                                                                 \
    }                                                                                                                  \
    static __attribute__((noinline)) void mmla_1(void *c, const uint8_t *a, size_t s, const uint8_t *b, size_t n) {    \
        mmla_body(c, a, s, b, n, 1);                                                                                   \
    }                                                                                                                  \
    static __attribute__((noinline)) void mmla_2(void *c, const uint8_t *a, size_t s, const uint8_t *b, size_t n) {    \
        mmla_body(c, a, s, b, n, 2);                                                                                   \
    }                                                                                                                  \
    static __attribute__((noinline)) void mmla_3(void *c, const uint8_t *a, size_t s, const uint8_t *b, size_t n) {    \
        mmla_body(c, a, s, b, n, 3);                                                                                   \
    }                                                                                                                  \
    static __attribute__((noinline)) void mmla_4(void *c, const uint8_t *a, size_t s, const uint8_t *b, size_t n) {    \
        mmla_body(c, a, s, b, n, 4);                                                                                   \
    }                                                                                                                  \
    static tkr_mmla_fn *const mmla_tiles[5] = {NULL, mmla_1, mmla_2, mmla_3, mmla_4};

/* All rows of `bytes` against one panel. */
#define TKR_MMLA_PANEL(args, bytes, integer)                                                                   \
    _Alignas(64) char sums[TKR_NEON_MR * TKR_NEON_NR * 4];                                                     \
    for (size_t m = 0; m < (args)->n_rows; m += TKR_NEON_MR) {                                                 \
        const size_t left = (args)->n_rows - m, rows = left < TKR_NEON_MR ? left : TKR_NEON_MR;                \
        mmla_tiles[rows](sums, (const uint8_t *)(args)->a + m * (args)->a_stride, (args)->a_stride, (args)->b, \
                         (bytes) / 16);                                                                        \
        tkr_epilogue(args, m, rows, sums, integer);                                                            \
    }

#endif
