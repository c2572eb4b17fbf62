/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86/amx: blocks of 32 rows x 32 columns (2x2 tiles) over row-major A and weights packed as 1 KiB tiles, 16 granules
 * of k by 16 columns, in the order of the loop: [k / tile][2][16][16] granules. The including file defines
 * TKR_AMX_DP(c, a, b), the tile multiplication. Rows are independent inside a tile, so zero rows may stand in for
 * missing ones without changing others. Rows of A need their tiles loaded through memory: what is copied to scratch
 * first must not move past the loads, which gcc 12 does not know to read memory, hence the barrier.
 */
#ifndef TKR_KERNELS_X86_AMX_H
#define TKR_KERNELS_X86_AMX_H

#include <string.h>

#include "kernels/x86/epilogue_avx512.h"

enum { TKR_AMX_NR = 32, TKR_AMX_MR = 32, TKR_AMX_TILE = 1024, TKR_AMX_SUMS = TKR_AMX_MR * TKR_AMX_NR * 4 };

#define TKR_AMX_BARRIER() __asm__ volatile("" ::: "memory")

/* Tile registers: 0..3 sums (row major), 4 and 5 rows, 6 and 7 weights. `steps` of 64 bytes of k; sums [32][32]. */
#define TKR_AMX_DEFINE_BLOCKS                                                                     \
    static void block_32(void *sums, const char *a, size_t stride, const char *b, size_t steps) { \
        _tile_zero(0);                                                                            \
        _tile_zero(1);                                                                            \
        _tile_zero(2);                                                                            \
        _tile_zero(3);                                                                            \
        for (size_t i = 0; i < steps; i++) {                                                      \
            _tile_loadd(6, b, 64);                                                                \
            _tile_loadd(4, a, stride);                                                            \
            TKR_AMX_DP(0, 4, 6);                                                                  \
            _tile_loadd(7, b + TKR_AMX_TILE, 64);                                                 \
            TKR_AMX_DP(1, 4, 7);                                                                  \
            _tile_loadd(5, a + 16 * stride, stride);                                              \
            TKR_AMX_DP(2, 5, 6);                                                                  \
            TKR_AMX_DP(3, 5, 7);                                                                  \
            a += 64;                                                                              \
            b += 2 * TKR_AMX_TILE;                                                                \
        }                                                                                         \
        _tile_stored(0, sums, TKR_AMX_NR * 4);                                                    \
        _tile_stored(1, (char *)sums + 64, TKR_AMX_NR * 4);                                       \
        _tile_stored(2, (char *)sums + 16 * TKR_AMX_NR * 4, TKR_AMX_NR * 4);                      \
        _tile_stored(3, (char *)sums + 16 * TKR_AMX_NR * 4 + 64, TKR_AMX_NR * 4);                 \
    }                                                                                             \
    static void block_16(void *sums, const char *a, size_t stride, const char *b, size_t steps) { \
        _tile_zero(0);                                                                            \
        _tile_zero(1);                                                                            \
        for (size_t i = 0; i < steps; i++) {                                                      \
            _tile_loadd(4, a, stride);                                                            \
            _tile_loadd(6, b, 64);                                                                \
            TKR_AMX_DP(0, 4, 6);                                                                  \
            _tile_loadd(7, b + TKR_AMX_TILE, 64);                                                 \
            TKR_AMX_DP(1, 4, 7);                                                                  \
            a += 64;                                                                              \
            b += 2 * TKR_AMX_TILE;                                                                \
        }                                                                                         \
        _tile_stored(0, sums, TKR_AMX_NR * 4);                                                    \
        _tile_stored(1, (char *)sums + 64, TKR_AMX_NR * 4);                                       \
    }

typedef void tkr_amx_block_fn(void *sums, const char *a, size_t stride, const char *b, size_t steps);

/* Scratch: the block's sums, then room for a block of rows; k_bytes a multiple of 64. */
TKR_INLINE size_t tkr_amx_scratch(size_t k_bytes) { return TKR_AMX_SUMS + TKR_AMX_MR * k_bytes; }

TKR_INLINE void tkr_amx_panel(const tkr_gemm_args *args, size_t k_bytes, tkr_amx_block_fn *block32,
                              tkr_amx_block_fn *block16, const bool integer) {
    char *sums = args->scratch, *copy = sums + TKR_AMX_SUMS;
    for (size_t m = 0; m < args->n_rows; m += TKR_AMX_MR) {
        const size_t left = args->n_rows - m, rows = left < TKR_AMX_MR ? left : TKR_AMX_MR;
        const size_t whole = rows > 16 ? 32 : 16;
        const char *a = (const char *)args->a + m * args->a_stride;
        size_t stride = args->a_stride;
        if (rows < whole) {
            for (size_t i = 0; i < rows; i++) {
                memcpy(copy + i * k_bytes, a + i * stride, k_bytes);
            }
            memset(copy + rows * k_bytes, 0, (whole - rows) * k_bytes);
            a = copy;
            stride = k_bytes;
        }
        TKR_AMX_BARRIER();
        (whole > 16 ? block32 : block16)(sums, a, stride, args->b, k_bytes / 64);
        tkr_epilogue(args, m, rows, sums, TKR_AMX_NR, integer);
    }
}

/* Six independent sums; one step is 6 tile multiplications. */
#define TKR_AMX_DEFINE_PEAK                       \
    static void peak_loop(size_t iterations) {    \
        _tile_zero(0);                            \
        _tile_zero(1);                            \
        _tile_zero(2);                            \
        _tile_zero(3);                            \
        _tile_zero(4);                            \
        _tile_zero(5);                            \
        _tile_zero(6);                            \
        _tile_zero(7);                            \
        for (size_t i = 0; i < iterations; i++) { \
            TKR_AMX_DP(0, 6, 7);                  \
            TKR_AMX_DP(1, 6, 7);                  \
            TKR_AMX_DP(2, 6, 7);                  \
            TKR_AMX_DP(3, 6, 7);                  \
            TKR_AMX_DP(4, 6, 7);                  \
            TKR_AMX_DP(5, 6, 7);                  \
        }                                         \
    }

#endif
