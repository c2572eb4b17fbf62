/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arm/tile_neon: register tiles of up to 4 rows x 16 columns that multiply by a lane of the row's vector: f32 by FMA,
 * 8-bit by dot product. A step is 16 bytes of each row, four granules of 32 bits. The including file says TKR_TILE_ACC,
 * TKR_TILE_ZERO, TKR_TILE_STORE(p, s) TKR_TILE_ROW, TKR_TILE_A(p)      type and load of 16 bytes of a row
 *   TKR_TILE_COLS, TKR_TILE_B(p, c)  type and load of 4 columns of vector c of one granule row of the panel
 *   TKR_TILE_MAC(s, b, a, lane)
 * `rows` is a constant after inlining; one chain of ascending k per element, the same for every number of rows.
 */
#ifndef TKR_KERNELS_ARM_TILE_NEON_H
#define TKR_KERNELS_ARM_TILE_NEON_H

#include <stddef.h>

#include "kernels/arm/arm.h"

typedef struct tkr_tile {
    const char *a;     /* row 0 */
    size_t a_stride;   /* bytes between rows */
    const char *b;     /* first granule row of the panel */
    size_t b_step;     /* bytes between granule rows */
    size_t steps;      /* of 16 bytes of a row */
    char *out;         /* [rows][16] 32-bit values */
    size_t out_stride; /* bytes */
} tkr_tile;
typedef void tkr_tile_fn(const tkr_tile *t);

#define TKR_TILE_VARS(r) TKR_TILE_ACC c##r##0 = TKR_TILE_ZERO, c##r##1 = c##r##0, c##r##2 = c##r##0, c##r##3 = c##r##0;
#define TKR_TILE_LOAD(r) const TKR_TILE_ROW a##r = TKR_TILE_A(a + (rows > r ? r * s : 0));
#define TKR_TILE_LANE(r, lane)                           \
    if (rows > r) {                                      \
        c##r##0 = TKR_TILE_MAC(c##r##0, b0, a##r, lane); \
        c##r##1 = TKR_TILE_MAC(c##r##1, b1, a##r, lane); \
        c##r##2 = TKR_TILE_MAC(c##r##2, b2, a##r, lane); \
        c##r##3 = TKR_TILE_MAC(c##r##3, b3, a##r, lane); \
    }
#define TKR_TILE_GRANULE(lane)                     \
    {                                              \
        const TKR_TILE_COLS b0 = TKR_TILE_B(b, 0); \
        const TKR_TILE_COLS b1 = TKR_TILE_B(b, 1); \
        const TKR_TILE_COLS b2 = TKR_TILE_B(b, 2); \
        const TKR_TILE_COLS b3 = TKR_TILE_B(b, 3); \
        TKR_TILE_LANE(0, lane)                     \
        TKR_TILE_LANE(1, lane)                     \
        TKR_TILE_LANE(2, lane)                     \
        TKR_TILE_LANE(3, lane)                     \
        b += step;                                 \
    }
#define TKR_TILE_OUT(r)                         \
    if (rows > r) {                             \
        char *out = t->out + r * t->out_stride; \
        TKR_TILE_STORE(out, c##r##0);           \
        TKR_TILE_STORE(out + 16, c##r##1);      \
        TKR_TILE_STORE(out + 32, c##r##2);      \
        TKR_TILE_STORE(out + 48, c##r##3);      \
    }

/* Put once into the including file. */
#define TKR_TILE_BODY                                                                    \
    TKR_INLINE void tile_body(const tkr_tile *t, const size_t rows) {                    \
        TKR_TILE_VARS(0)                                                                 \
        TKR_TILE_VARS(1)                                                                 \
        TKR_TILE_VARS(2)                                                                 \
        TKR_TILE_VARS(3)                                                                 \
        const char *a = t->a, *b = t->b;                                                 \
        const size_t s = t->a_stride, step = t->b_step;                                  \
        for (size_t k = t->steps; k > 0; k--) {                                          \
            TKR_TILE_LOAD(0)                                                             \
            TKR_TILE_LOAD(1)                                                             \
            TKR_TILE_LOAD(2)                                                             \
            TKR_TILE_LOAD(3)                                                             \
            TKR_TILE_GRANULE(0)                                                          \
            TKR_TILE_GRANULE(1)                                                          \
            TKR_TILE_GRANULE(2)                                                          \
            TKR_TILE_GRANULE(3)                                                          \
            a += 16;                                                                     \
        }                                                                                \
        TKR_TILE_OUT(0)                                                                  \
        TKR_TILE_OUT(1)                                                                  \
        TKR_TILE_OUT(2)                                                                  \
        TKR_TILE_OUT(3)                                                                  \
    }                                                                                    \
    static __attribute__((noinline)) void tile_1(const tkr_tile *t) { tile_body(t, 1); } \
    static __attribute__((noinline)) void tile_2(const tkr_tile *t) { tile_body(t, 2); } \
    static __attribute__((noinline)) void tile_3(const tkr_tile *t) { tile_body(t, 3); } \
    static __attribute__((noinline)) void tile_4(const tkr_tile *t) { tile_body(t, 4); } \
    static tkr_tile_fn *const tiles[5] = {NULL, tile_1, tile_2, tile_3, tile_4};

/* All rows against one panel of 16 columns whose granule rows are `step` bytes. */
#define TKR_TILE_PANEL(args, bytes, step, integer)                                              \
    _Alignas(64) char sums[TKR_NEON_MR * TKR_NEON_NR * 4];                                      \
    for (size_t m = 0; m < (args)->n_rows; m += TKR_NEON_MR) {                                  \
        const size_t left = (args)->n_rows - m, rows = left < TKR_NEON_MR ? left : TKR_NEON_MR; \
        const tkr_tile tile = {(const char *)(args)->a + m * (args)->a_stride,                  \
                               (args)->a_stride,                                                \
                               (args)->b,                                                       \
                               step,                                                            \
                               (bytes) / 16,                                                    \
                               sums,                                                            \
                               TKR_NEON_NR * 4};                                                \
        tiles[rows](&tile);                                                                     \
        tkr_epilogue(args, m, rows, sums, integer);                                             \
    }

#endif
