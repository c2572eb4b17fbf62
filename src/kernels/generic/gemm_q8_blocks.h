/* SPDX-License-Identifier: Apache-2.0 */
/*
 * generic/gemm_q8_blocks: weights and rows of s8 codes in blocks along k whose sums of products fit 16 bits: what AVX2
 * computes in q8, where vpmaddubsw and vpaddw add products in s16. Layouts, encoders and the order of operations. A
 * block is 32 values of k, or 16 in the finer kernel.
 *
 * A block's products fall into two lanes, k % 4 < 2 and k % 4 >= 2. Both sides keep the Euclidean norm of each lane's
 * codes within 181, so by Cauchy-Schwarz a lane's sum is within 181^2 = 32761, whatever the codes are. It may be
 * computed modulo 2^16: weights are stored as code + 112, and a row holds, for each block, -112 * (sum of its codes) of
 * each lane, which takes the 112 out again. vpmaddubsw itself saturates no pair: weights are at most 223, neighbours
 * (even k first) of a row have |q| + |q'| <= 146, and 223 * 146 = 32558. That split of the range between weights and
 * rows makes the error of a product of normally distributed numbers least.
 *
 * Row: k_padded s8 codes, then for each block { the two lanes' -112 * sum, low half first; f32 scale }.
 * Panel of 16 columns: scale f32 [16]; for each 4 values of k 16 times 4 bytes of code + 112; multipliers u16
 * [n_blocks][16]; zeros up to a multiple of 64 bytes. A block's weights are code * multiplier * scale: with multipliers
 * of 15 bits a lane's sum times its multiplier, and that of two lanes, fit an s32.
 *
 * y[m, n] = acc * scale[n]; acc = 0; for blocks b ascending: acc = fma((float)(dot(m, n, b) * multiplier[n, b]),
 * scale[m, b], acc), in f32, every rung alike.
 */
#ifndef TKR_KERNELS_GENERIC_GEMM_Q8_BLOCKS_H
#define TKR_KERNELS_GENERIC_GEMM_Q8_BLOCKS_H

#include "kernels/kernels.h"

enum {
    TKR_Q8_BLOCK = 32,
    TKR_Q8_FINE_BLOCK = 16,
    TKR_Q8_BLOCKS_NR = 16,
    TKR_Q8_CENTRE = 112,
    TKR_Q8_MULTIPLIER_MAX = 32767
};

/* Bounds before rounding: 16 roundings of at most a half add at most 2 to a norm, two add 1 to a pair. */
#define TKR_Q8_LANE_NORM 179.0f
#define TKR_Q8_PAIR 145.0f
#define TKR_Q8_ROW_MAX 127.0f
#define TKR_Q8_WEIGHT_MAX 111.0f
/* Where squares neither overflow nor vanish. */
#define TKR_Q8_PLAIN_LEAST 0x1p-60f
#define TKR_Q8_PLAIN_MOST 0x1p60f

typedef struct tkr_q8_block_tail {
    uint16_t fix[2]; /* what takes the centre of the weights out */
    float scale;
} tkr_q8_block_tail;

static inline size_t tkr_q8_blocks_row_bytes(size_t k_padded, size_t block) {
    return k_padded + k_padded / block * sizeof(tkr_q8_block_tail);
}

static inline size_t tkr_q8_blocks_panel_bytes(size_t k_padded, size_t block) {
    const size_t n_blocks = k_padded / block;
    return TKR_Q8_BLOCKS_NR * (sizeof(float) + k_padded + (n_blocks + n_blocks % 2) * sizeof(uint16_t));
}

/* Parts of a panel. */
typedef struct tkr_q8_blocks_panel {
    float *scale;         /* [16] */
    uint8_t *codes;       /* [k_padded / 4][16][4] */
    uint16_t *multiplier; /* [n_blocks][16] */
} tkr_q8_blocks_panel;

static inline tkr_q8_blocks_panel tkr_q8_blocks_panel_at(void *panel, size_t k_padded) {
    uint8_t *codes = (uint8_t *)panel + TKR_Q8_BLOCKS_NR * sizeof(float);
    return (tkr_q8_blocks_panel){panel, codes, (uint16_t *)(void *)(codes + TKR_Q8_BLOCKS_NR * k_padded)};
}

/* Defines the kernel `variable` of a rung that has pack_rows and pack_panel, told the block, and panel_<block>; what
 * follows `rows` is more members. */
#define TKR_Q8_BLOCKS_KERNEL(variable, label, block, rows, ...)                                                    \
    static void pack_rows_##block(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld, \
                                  size_t n_rows, size_t k, size_t k_padded) {                                      \
        (void)quant;                                                                                               \
        pack_rows(dst, dst_stride, src, ld, n_rows, k, k_padded, block);                                           \
    }                                                                                                              \
    static void pack_panel_##block(void *p, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols,  \
                                   size_t k, size_t k_padded) {                                                    \
        (void)scale;                                                                                               \
        (void)sum;                                                                                                 \
        pack_panel(p, w, ld, n_cols, k, k_padded, block);                                                          \
    }                                                                                                              \
    static size_t row_bytes_##block(size_t k_padded) { return tkr_q8_blocks_row_bytes(k_padded, block); }          \
    static size_t panel_bytes_##block(size_t k_padded, size_t group, tkr_scale_kind scale_kind) {                  \
        (void)group;                                                                                               \
        (void)scale_kind;                                                                                          \
        return tkr_q8_blocks_panel_bytes(k_padded, block);                                                         \
    }                                                                                                              \
    const tkr_gemm variable = {.name = label,                                                                      \
                               .nr = TKR_Q8_BLOCKS_NR,                                                             \
                               .mr = rows,                                                                         \
                               .k_align = block,                                                                   \
                               .act_bytes = 1,                                                                     \
                               .weight_bits = 8,                                                                   \
                               .pack_rows = pack_rows_##block,                                                     \
                               .pack_panel = pack_panel_##block,                                                   \
                               .panel = panel_##block,                                                             \
                               .row_bytes = row_bytes_##block,                                                     \
                               .panel_bytes = panel_bytes_##block,                                                 \
                               __VA_ARGS__}

/* The encoders that every rung's equal bit for bit; block is 32 or 16. */
tkr_q8_block_tail tkr_q8_encode_block(int8_t *q, const float *x, size_t block);
/* Scale of a block of weights on its own; 0: too small for one. */
float tkr_q8_weight_scale(const float *w, size_t block);
/* Multiplier of a block whose own scale is `scale`. */
uint16_t tkr_q8_multiplier(float scale, float unit);
/* Fills everything but the valid columns. */
void tkr_q8_blocks_clear(void *panel, size_t k_padded, size_t block);
/* Column j from k weights. */
void tkr_q8_pack_column(const tkr_q8_blocks_panel *panel, size_t j, const float *w, size_t k, size_t block);

#endif
