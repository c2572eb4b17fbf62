/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86/tile_avx512: the register tile of every AVX-512 multiplication, up to 6 rows x 4 vectors of 16 columns over
 * granules of 32 bits (one f32, two bf16, four 8-bit). The including file says with four macros what one step does:
 *   TKR_TILE_ACC       type of an accumulator;  TKR_TILE_ZERO  its zero
 *   TKR_TILE_A(p)      broadcast of the granule at p
 *   TKR_TILE_B(p, c)   16 columns of vector c of the panel row at p
 *   TKR_TILE_MAC(s, a, b)
 *   TKR_TILE_STORE(p, s)
 * gcc keeps an array of accumulators in memory, hence the named variables; `rows` and `cols` are constants after
 * inlining. One chain of ascending k per element, the same for every number of rows.
 */
#ifndef TKR_KERNELS_X86_TILE_AVX512_H
#define TKR_KERNELS_X86_TILE_AVX512_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/x86/simd.h"

typedef struct tkr_tile {
    const char *a;     /* first granule of row 0 */
    size_t a_stride;   /* bytes between rows */
    const char *b;     /* first row of the panel, at the wanted column */
    size_t b_step;     /* bytes between granules of the panel */
    size_t k;          /* granules */
    char *out;         /* [rows][16 * cols] 32-bit values */
    size_t out_stride; /* bytes */
} tkr_tile;
typedef void tkr_tile_fn(const tkr_tile *t);

TKR_INLINE float tkr_granule_f32(const char *p) {
    float x;
    memcpy(&x, p, sizeof x);
    return x;
}

TKR_INLINE int32_t tkr_granule(const char *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

#define TKR_TILE_VARS(r) TKR_TILE_ACC c##r##0 = TKR_TILE_ZERO, c##r##1 = c##r##0, c##r##2 = c##r##0, c##r##3 = c##r##0;
#define TKR_TILE_STEP(r)                              \
    if (rows > r) {                                   \
        const TKR_TILE_ACC x = TKR_TILE_A(a + r * s); \
        c##r##0 = TKR_TILE_MAC(c##r##0, x, b0);       \
        if (cols > 1) {                               \
            c##r##1 = TKR_TILE_MAC(c##r##1, x, b1);   \
        }                                             \
        if (cols > 2) {                               \
            c##r##2 = TKR_TILE_MAC(c##r##2, x, b2);   \
        }                                             \
        if (cols > 3) {                               \
            c##r##3 = TKR_TILE_MAC(c##r##3, x, b3);   \
        }                                             \
    }
#define TKR_TILE_OUT(r)                         \
    if (rows > r) {                             \
        char *out = t->out + r * t->out_stride; \
        TKR_TILE_STORE(out, c##r##0);           \
        if (cols > 1) {                         \
            TKR_TILE_STORE(out + 64, c##r##1);  \
        }                                       \
        if (cols > 2) {                         \
            TKR_TILE_STORE(out + 128, c##r##2); \
        }                                       \
        if (cols > 3) {                         \
            TKR_TILE_STORE(out + 192, c##r##3); \
        }                                       \
    }
#define TKR_TILE_ALL(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)

/* Put once into the including file. */
#define TKR_TILE_BODY                                                                    \
    TKR_INLINE void tile_body(const tkr_tile *t, const size_t rows, const size_t cols) { \
        TKR_TILE_ALL(TKR_TILE_VARS)                                                      \
        const char *a = t->a, *b = t->b;                                                 \
        const size_t s = t->a_stride, step = t->b_step;                                  \
        for (size_t k = t->k; k > 0; k--) {                                              \
            const TKR_TILE_ACC b0 = TKR_TILE_B(b, 0);                                    \
            const TKR_TILE_ACC b1 = cols > 1 ? TKR_TILE_B(b, 1) : b0;                    \
            const TKR_TILE_ACC b2 = cols > 2 ? TKR_TILE_B(b, 2) : b0;                    \
            const TKR_TILE_ACC b3 = cols > 3 ? TKR_TILE_B(b, 3) : b0;                    \
            TKR_TILE_ALL(TKR_TILE_STEP)                                                  \
            a += 4;                                                                      \
            b += step;                                                                   \
        }                                                                                \
        TKR_TILE_ALL(TKR_TILE_OUT)                                                       \
    }

#define TKR_TILE_FUNCTION(r, c) \
    static __attribute__((noinline)) void tile_##r##x##c(const tkr_tile *t) { tile_body(t, r, c); }
/* clang-format off */
#define TKR_TILE_FUNCTIONS(c)                                                                       \
    TKR_TILE_FUNCTION(1, c) TKR_TILE_FUNCTION(2, c) TKR_TILE_FUNCTION(3, c)                         \
    TKR_TILE_FUNCTION(4, c) TKR_TILE_FUNCTION(5, c) TKR_TILE_FUNCTION(6, c)                         \
    static tkr_tile_fn *const tiles_x##c[7] = {NULL,       tile_1x##c, tile_2x##c, tile_3x##c,      \
                                               tile_4x##c, tile_5x##c, tile_6x##c};
/* clang-format on */

enum { TKR_TILE_MR = 6, TKR_TILE_NR = 64 };

#endif
