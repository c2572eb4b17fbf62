/* SPDX-License-Identifier: Apache-2.0 */
/*
 * generic/gemm_q4: grouped 4-bit weights against s8 rows, what all rungs share: the row layout, its encoder and
 * the order of operations.
 *
 * Row: k_padded s8 codes; scale [B] f32; sum32 [B], sum64, sum128 f32, where B = k_padded / 32 and each sum array has
 * the number of its groups rounded up to 4, the rest zeros. Block b has scale[b] = absmax / 127 and codes
 * round-half-even(x * (127 / absmax)) in -127..127; where absmax / 127 is below FLT_MIN both factors are 0.
 * sum32[b] = scale[b] * (sum of the block's codes), sum64[i] = sum32[2 i] + sum32[2 i + 1], sum128 the same of sum64:
 * sumG[g] is what the bias of group g is multiplied by.
 *
 * y[m, n] = acc, all in f32, where each rung may or may not fuse a product with the addition that follows:
 *   acc = 0; for g ascending: acc += bias[n, g] * sumG[m, g];
 *   for b ascending: acc += ((float)dot(codes[n, b], q[m, b]) * scale[n, g of b]) * scale[m, b]
 * dot is exact: |dot| <= 32 * 15 * 127.
 */
#ifndef TKR_KERNELS_GENERIC_GEMM_Q4_H
#define TKR_KERNELS_GENERIC_GEMM_Q4_H

#include "kernels/kernels.h"

enum { TKR_Q4_BLOCK = 32 };

/* Arrays of one row. */
typedef struct tkr_q4_row {
    int8_t *q;                     /* [k_padded] */
    float *scale;                  /* [k_padded / 32] */
    float *sum32, *sum64, *sum128; /* by group; padded as above */
} tkr_q4_row;

/* Number of groups as the sum arrays have it: rounded up to 4. */
static inline size_t tkr_q4_sums(size_t k_padded, size_t group) { return ((k_padded + group - 1) / group + 3) / 4 * 4; }

/* Bytes from the row's start to the sums of `group`. */
static inline size_t tkr_q4_sum_offset(size_t k_padded, size_t group) {
    size_t n = k_padded / TKR_Q4_BLOCK; /* floats before: scales, then the smaller groups' sums */
    n += group > 32 ? tkr_q4_sums(k_padded, 32) : 0;
    n += group > 64 ? tkr_q4_sums(k_padded, 64) : 0;
    return k_padded + n * sizeof(float);
}

static inline size_t tkr_q4_row_bytes(size_t k_padded) {
    return tkr_q4_sum_offset(k_padded, 128) + tkr_q4_sums(k_padded, 128) * sizeof(float);
}

static inline tkr_q4_row tkr_q4_row_at(void *row, size_t k_padded) {
    char *p = row;
    return (tkr_q4_row){.q = row,
                        .scale = (float *)(void *)(p + k_padded),
                        .sum32 = (float *)(void *)(p + tkr_q4_sum_offset(k_padded, 32)),
                        .sum64 = (float *)(void *)(p + tkr_q4_sum_offset(k_padded, 64)),
                        .sum128 = (float *)(void *)(p + tkr_q4_sum_offset(k_padded, 128))};
}

/* Encoder of one row, the reference of every rung's: same bits. */
void tkr_q4_encode_row(void *row, const float *x, size_t k, size_t k_padded);
/* sum64, sum128 and the padding of all sums, from sum32. */
void tkr_q4_fold_sums(const tkr_q4_row *row, size_t k_padded);

/* Bytes of one scale or bias. */
static inline size_t tkr_q4_scale_bytes(tkr_scale_kind kind) { return kind == TKR_SCALE_F32 ? 4 : 2; }

/* The panel of every rung, nr columns: scale [G][nr], bias [G][nr], G = ceil(k_padded / group), in their kind; then for
 * each 8 values of k nr times 4 bytes, k 0..3 in the low nibbles, 4..7 in the high ones. */
static inline size_t tkr_q4_panel_bytes(size_t nr, size_t k_padded, size_t group, tkr_scale_kind kind) {
    return ((k_padded + group - 1) / group * 2 * tkr_q4_scale_bytes(kind) + k_padded / 2) * nr;
}
void tkr_q4_pack_panel(void *panel, size_t nr, const tkr_codes *codes);

/* Some rows against one panel, for rungs whose tiles add biases and blocks in one pass. */
typedef struct tkr_q4_tile {
    const char *q, *scale, *sum; /* of the first row: codes, block scales, group sums */
    size_t stride;               /* bytes between rows */
    const uint8_t *codes;        /* panel */
    const float *b_scale, *bias; /* [n_groups][nr], one after the other */
    size_t n_groups, n_blocks;
    unsigned shift; /* log2 of blocks in a group */
    float *out;     /* [rows][nr] */
} tkr_q4_tile;

/* The panel's side of a tile. b_scale and bias lie in the kernel's scratch: 2 * n_groups * nr floats, which the caller
 * fills from the same number of scales and biases at args->b. */
static inline tkr_q4_tile tkr_q4_tile_of(const tkr_gemm_args *args, size_t nr, float *out) {
    const size_t k = args->k_padded, n_groups = (k + args->group - 1) / args->group;
    const float *scale = args->scratch;
    return (tkr_q4_tile){.stride = args->a_stride,
                         .codes = (const uint8_t *)args->b + 2 * n_groups * nr * tkr_q4_scale_bytes(args->scale_kind),
                         .b_scale = scale,
                         .bias = scale + n_groups * nr,
                         .n_groups = n_groups,
                         .n_blocks = k / TKR_Q4_BLOCK,
                         .shift = args->group == 128 ? 2 : args->group == 64,
                         .out = out};
}

/* Points the tile at row m. */
static inline void tkr_q4_tile_at(tkr_q4_tile *tile, const tkr_gemm_args *args, size_t m) {
    tile->q = (const char *)args->a + m * args->a_stride;
    tile->scale = tile->q + args->k_padded;
    tile->sum = tile->q + tkr_q4_sum_offset(args->k_padded, args->group);
}

#endif
