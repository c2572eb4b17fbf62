/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86/gemm_q8_avx2: 8-bit weights x s8 rows in blocks of 32 or 16, vpmaddubsw. A block's products are added up in s16,
 * which the codes' norms keep exact modulo 2^16, then widened and multiplied by the weights' multiplier in one
 * vpmaddwd. Layouts and the order of operations are those of generic/gemm_q8_blocks.h, and so are the bits.
 */
#include <float.h>
#include <immintrin.h>
#include <string.h>

#include "kernels/generic/gemm_q8_blocks.h"
#include "kernels/x86/avx2.h"
#include "kernels/x86/dot_avx2.h"
#include "kernels/x86/math_avx2.h"

enum { MR = TKR_AVX2_MR, NR = TKR_AVX2_NR };

/* ---- tile ---- */

/* clang-format off */
/* The sums start with what takes the weights' centre out. */
#define START(r)                                                             \
    __asm__(TKR_BROADCAST_##r(s, "0")                                            \
            "vmovdqa %[x], %[c0]\n\t"                                        \
            "vmovdqa %[x], %[c1]"                                            \
            : [c0] "=&x"(c##r##0), [c1] "=&x"(c##r##1), [x] "=&x"(x)         \
            : [s] "r"(s), [s3] "r"(s3), [lda] "r"(lda)                       \
            : "memory")
/* b0, b1: multipliers of the columns, once for each lane; s + 4: scale of the row's block */
#define SCALE(r)                                                                                        \
    __asm__(TKR_BROADCAST_##r(s, "4")                                                                       \
            "vpmaddwd %[b0], %[c0], %[c0]\n\t"                                                          \
            "vpmaddwd %[b1], %[c1], %[c1]\n\t"                                                          \
            "vcvtdq2ps %[c0], %[c0]\n\t"                                                                \
            "vcvtdq2ps %[c1], %[c1]\n\t"                                                                \
            "vfmadd213ps %[y0], %[x], %[c0]\n\t"                                                        \
            "vfmadd213ps %[y1], %[x], %[c1]\n\t"                                                        \
            "vmovaps %[c0], %[y0]\n\t"                                                                  \
            "vmovaps %[c1], %[y1]"                                                                      \
            : [c0] "+x"(c##r##0), [c1] "+x"(c##r##1), [x] "=&x"(x), [y0] "+m"(*(__m256 *)(c + r * NR)), \
              [y1] "+m"(*(__m256 *)(c + r * NR + 8))                                                    \
            : [b0] "x"(b0), [b1] "x"(b1), [s] "r"(s), [s3] "r"(s3), [lda] "r"(lda)                      \
            : "memory")
/* clang-format on */
#define STEP(R, j)                  \
    b0 = TKR_HALF(b + 64 * j);      \
    b1 = TKR_HALF(b + 64 * j + 32); \
    TKR_ROWS_##R(TKR_DOT_##j)

#define VARS(r) __m256i c##r##0, c##r##1
#define ZERO(r)                                       \
    _mm256_store_ps(c + r * NR, _mm256_setzero_ps()); \
    _mm256_store_ps(c + r * NR + 8, _mm256_setzero_ps())
#define FINISH(r)                                                                   \
    _mm256_store_ps(c + r * NR, _mm256_mul_ps(_mm256_load_ps(c + r * NR), scale0)); \
    _mm256_store_ps(c + r * NR + 8, _mm256_mul_ps(_mm256_load_ps(c + r * NR + 8), scale1))

/* The panel's side of a tile. */
typedef struct panel_parts {
    const uint8_t *codes;
    const uint32_t *multiplier; /* [n_blocks][16], each twice in its halves */
    const float *scale;
    size_t n_blocks;
} panel_parts;

/* c[r][0..15] = the products, c 32-byte aligned. a: rows of s8, s: their tails, both lda bytes apart. */
#define DEFINE(R, block, MORE)                                                                                 \
    static void tile_##block##_##R(const char *a, const char *s, size_t lda, const panel_parts *p, float *c) { \
        const char *a3 = R > 3 ? a + 3 * lda : a, *s3 = R > 3 ? s + 3 * lda : s;                               \
        const uint8_t *b = p->codes;                                                                           \
        const uint32_t *w = p->multiplier, *end = w + p->n_blocks * NR;                                        \
        __m256i x, y, b0, b1;                                                                                  \
        TKR_ROWS_##R(VARS);                                                                                    \
        TKR_ROWS_##R(ZERO);                                                                                    \
        for (; w != end; w += NR) {                                                                            \
            TKR_ROWS_##R(START);                                                                               \
            STEP(R, 0);                                                                                        \
            STEP(R, 1);                                                                                        \
            STEP(R, 2);                                                                                        \
            STEP(R, 3);                                                                                        \
            MORE(R)                                                                                            \
            b0 = TKR_HALF(w);                                                                                  \
            b1 = TKR_HALF(w + 8);                                                                              \
            TKR_ROWS_##R(SCALE);                                                                               \
            a += block;                                                                                        \
            a3 += block;                                                                                       \
            s += sizeof(tkr_q8_block_tail);                                                                    \
            s3 += sizeof(tkr_q8_block_tail);                                                                   \
            b += block * NR;                                                                                   \
        }                                                                                                      \
        const __m256 scale0 = _mm256_load_ps(p->scale), scale1 = _mm256_load_ps(p->scale + 8);                 \
        TKR_ROWS_##R(FINISH);                                                                                  \
    }
#define NO_MORE(R)
#define FOUR_MORE(R) \
    STEP(R, 4);      \
    STEP(R, 5);      \
    STEP(R, 6);      \
    STEP(R, 7);
#define DEFINE_32(R) DEFINE(R, 32, FOUR_MORE)
#define DEFINE_16(R) DEFINE(R, 16, NO_MORE)
TKR_EACH_TILE(DEFINE_32)
TKR_EACH_TILE(DEFINE_16)

typedef void tile_fn(const char *a, const char *s, size_t lda, const panel_parts *p, float *c);
#define TILE_32(R) tile_32_##R,
#define TILE_16(R) tile_16_##R,
static tile_fn *const tiles_32[MR] = {TKR_EACH_TILE(TILE_32)};
static tile_fn *const tiles_16[MR] = {TKR_EACH_TILE(TILE_16)};

/* ---- scales of four blocks, whose reductions are as cheap as one's ---- */

TKR_V_INLINE __m128 fold_add(__m256 x) { return _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)); }

TKR_V_INLINE __m128 fold_max(__m256 x) { return _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)); }

/* Four lanes whose maximum is that of the block's magnitudes, for rows of its pairs' too; NaN is skipped. *squares: its
 * squares added up to [lane 0, lane 0, lane 1, lane 1]. */
TKR_V_INLINE __m128 measure(__m128 *squares, const float *x, size_t block, bool pairs) {
    __m256 top = _mm256_setzero_ps(), pair = top, sum = top;
    for (size_t i = 0; i < block; i += 8) {
        const __m256 v = _mm256_loadu_ps(x + i), y = _mm256_andnot_ps(TKR_V_SET(-0.0f), v);
        sum = i == 0 ? _mm256_mul_ps(v, v) : _mm256_add_ps(sum, _mm256_mul_ps(v, v));
        top = _mm256_max_ps(y, top);
        pair = pairs ? _mm256_max_ps(_mm256_add_ps(y, _mm256_permute_ps(y, 0xb1)), pair) : pair;
    }
    *squares = fold_add(sum);
    top = pairs ? _mm256_max_ps(_mm256_mul_ps(pair, TKR_V_SET(TKR_Q8_ROW_MAX / TKR_Q8_PAIR)), top) : top;
    return fold_max(top);
}

/* Scales of four blocks; *plain: the reference's way of doing so is the same. most: the largest code. */
TKR_V_INLINE __m128 scales_of(bool *plain, const float *x, size_t block, bool pairs, float most) {
    __m128 s0, s1, s2, s3, t0 = measure(&s0, x, block, pairs), t1 = measure(&s1, x + block, block, pairs);
    __m128 t2 = measure(&s2, x + 2 * block, block, pairs), t3 = measure(&s3, x + 3 * block, block, pairs);
    t0 = _mm_max_ps(_mm_unpacklo_ps(t0, t1), _mm_unpackhi_ps(t0, t1));
    t2 = _mm_max_ps(_mm_unpacklo_ps(t2, t3), _mm_unpackhi_ps(t2, t3));
    const __m128 top = _mm_max_ps(_mm_movelh_ps(t0, t2), _mm_movehl_ps(t2, t0));
    s0 = _mm_hadd_ps(s0, s1);
    s2 = _mm_hadd_ps(s2, s3);
    const __m128 square = _mm_max_ps(_mm_shuffle_ps(s0, s2, 0x88), _mm_shuffle_ps(s0, s2, 0xdd));
    const __m128 low =
        _mm_and_ps(_mm_cmplt_ps(top, _mm_set1_ps(TKR_Q8_PLAIN_LEAST)), _mm_cmpgt_ps(top, _mm_setzero_ps()));
    *plain = _mm_movemask_ps(_mm_or_ps(low, _mm_cmpgt_ps(top, _mm_set1_ps(TKR_Q8_PLAIN_MOST)))) == 0;
    return _mm_max_ps(_mm_div_ps(_mm_sqrt_ps(square), _mm_set1_ps(TKR_Q8_LANE_NORM)),
                      _mm_div_ps(top, _mm_set1_ps(most)));
}

/* ---- rows ---- */

/* Eight codes; a NaN becomes the lowest integer, and stays the lowest code when packed. */
TKR_V_INLINE __m256i encode(const float *x, __m256 inverse) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse));
}

/* Codes of a block; returns four pairs of s16 that add up to its lanes' sums. */
TKR_V_INLINE __m128i encode_block(int8_t *q, const float *x, size_t block, __m256 inverse) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7), one = _mm256_set1_epi8(1);
    const __m256i low = _mm256_packs_epi32(encode(x, inverse), encode(x + 8, inverse));
    if (block == 16) {
        const __m128i four = _mm_packs_epi16(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
        const __m128i codes = _mm_shuffle_epi32(four, 0xd8);
        _mm_storeu_si128((__m128i *)(void *)q, codes);
        return _mm_maddubs_epi16(_mm256_castsi256_si128(one), codes);
    }
    const __m256i high = _mm256_packs_epi32(encode(x + 16, inverse), encode(x + 24, inverse));
    const __m256i codes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
    const __m256i sums = _mm256_maddubs_epi16(one, codes);
    _mm256_storeu_si256((__m256i *)(void *)q, codes);
    return _mm_add_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
}

/* The pairs of four blocks, from what encode_block returned. */
TKR_V_INLINE __m128i fixes(__m128i s0, __m128i s1, __m128i s2, __m128i s3) {
    const __m128i low = _mm_add_epi16(_mm_unpacklo_epi32(s0, s1), _mm_unpackhi_epi32(s0, s1));
    const __m128i high = _mm_add_epi16(_mm_unpacklo_epi32(s2, s3), _mm_unpackhi_epi32(s2, s3));
    const __m128i sums = _mm_add_epi16(_mm_unpacklo_epi64(low, high), _mm_unpackhi_epi64(low, high));
    return _mm_mullo_epi16(sums, _mm_set1_epi16(-TKR_Q8_CENTRE));
}

#define LANE(x, i) _mm256_broadcastss_ps(_mm_shuffle_ps(x, x, (i)*0x55))

TKR_V_INLINE void encode_four(int8_t *q, tkr_q8_block_tail *tail, const float *x, size_t block) {
    bool plain;
    const __m128 scale = scales_of(&plain, x, block, true, TKR_Q8_ROW_MAX);
    if (!plain) {
        for (size_t i = 0; i < 4; i++) {
            tail[i] = tkr_q8_encode_block(q + i * block, x + i * block, block);
        }
        return;
    }
    const __m128 some = _mm_cmpge_ps(scale, _mm_set1_ps(FLT_MIN));
    const __m128 inverse = _mm_and_ps(_mm_div_ps(_mm_set1_ps(1.0f), scale), some);
    const __m128i s0 = encode_block(q, x, block, LANE(inverse, 0));
    const __m128i s1 = encode_block(q + block, x + block, block, LANE(inverse, 1));
    const __m128i s2 = encode_block(q + 2 * block, x + 2 * block, block, LANE(inverse, 2));
    const __m128i s3 = encode_block(q + 3 * block, x + 3 * block, block, LANE(inverse, 3));
    const __m128i fix = fixes(s0, s1, s2, s3), bits = _mm_castps_si128(_mm_and_ps(scale, some));
    _mm_storeu_si128((__m128i *)(void *)tail, _mm_unpacklo_epi32(fix, bits));
    _mm_storeu_si128((__m128i *)(void *)(tail + 2), _mm_unpackhi_epi32(fix, bits));
}

TKR_V_INLINE void pack_rows(void *dst, size_t dst_stride, const float *src, size_t ld, size_t n_rows, size_t k,
                            size_t k_padded, const size_t block) {
    const size_t four = 4 * block;
    for (size_t row = 0; row < n_rows; row++) {
        int8_t *q = (int8_t *)dst + row * dst_stride;
        tkr_q8_block_tail *tail = (tkr_q8_block_tail *)(void *)(q + k_padded);
        const float *x = src + row * ld;
        size_t i = 0;
        for (; i + four <= k; i += four) {
            encode_four(q + i, tail + i / block, x + i, block);
        }
        if (i < k_padded) { /* fewer than four blocks are left */
            float rest[4 * TKR_Q8_BLOCK] = {0};
            int8_t codes[4 * TKR_Q8_BLOCK];
            tkr_q8_block_tail tails[4];
            memcpy(rest, x + i, (k - i) * sizeof *rest);
            encode_four(codes, tails, rest, block);
            memcpy(q + i, codes, k_padded - i);
            memcpy(tail + i / block, tails, (k_padded - i) / block * sizeof *tails);
        }
    }
}

/* ---- panels ---- */

/* Blocks of the longest column whose scales are kept; longer ones go the reference's way. */
enum { MAX_BLOCKS = 2048 };

/* Scales of all blocks of a column; returns the largest. */
static float column_scales(float *scales, const float *w, size_t k, size_t block) {
    __m128 top = _mm_setzero_ps();
    for (size_t i = 0; i < k; i += 4 * block, scales += 4) {
        float rest[4 * TKR_Q8_BLOCK] = {0};
        const float *x = w + i;
        bool plain;
        if (k - i < 4 * block) {
            memcpy(rest, x, (k - i) * sizeof *rest);
            x = rest;
        }
        __m128 scale = scales_of(&plain, x, block, false, TKR_Q8_WEIGHT_MAX);
        scale = _mm_and_ps(scale, _mm_cmpge_ps(scale, _mm_set1_ps(FLT_MIN)));
        if (!plain) {
            scale = _mm_setr_ps(tkr_q8_weight_scale(x, block), tkr_q8_weight_scale(x + block, block),
                                tkr_q8_weight_scale(x + 2 * block, block), tkr_q8_weight_scale(x + 3 * block, block));
        }
        top = _mm_max_ps(scale, top);
        _mm_storeu_ps(scales, scale);
    }
    top = _mm_max_ps(top, _mm_movehl_ps(top, top));
    return _mm_cvtss_f32(_mm_max_ss(top, _mm_movehdup_ps(top)));
}

/* Eight weights of a column to the panel. */
static void store_codes(uint8_t *codes, __m256 w, __m256 inverse) {
    const __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(w, inverse));
    const __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    const __m128i code = _mm_add_epi8(_mm_packs_epi16(half, half), _mm_set1_epi8(TKR_Q8_CENTRE));
    const uint64_t eight = (uint64_t)_mm_cvtsi128_si64(code);
    memcpy(codes, &eight, 4);
    memcpy(codes + 4 * NR, (const char *)&eight + 4, 4);
}

static void pack_column(const tkr_q8_blocks_panel *p, size_t j, const float *w, size_t k, size_t block) {
    float scales[MAX_BLOCKS];
    const float unit = column_scales(scales, w, k, block) / (float)TKR_Q8_MULTIPLIER_MAX;
    if (unit < FLT_MIN) {
        return;
    }
    p->scale[j] = unit;
    for (size_t i = 0; i < k; i += block) {
        const uint16_t multiplier = tkr_q8_multiplier(scales[i / block], unit);
        const __m256 inverse = TKR_V_SET(multiplier ? 1.0f / (unit * (float)multiplier) : 0);
        uint8_t *codes = p->codes + i * NR + j * 4;
        p->multiplier[i / block * NR + j] = multiplier;
        for (size_t t = 0; t < block && i + t < k; t += 8) {
            const size_t left = k - i - t;
            const __m256 x = left < 8 ? _mm256_maskload_ps(w + i + t, tkr_v_mask(left)) : _mm256_loadu_ps(w + i + t);
            store_codes(codes + t * NR, x, inverse);
        }
    }
}

static void pack_panel(void *panel, const float *w, size_t ld, size_t n_cols, size_t k, size_t k_padded, size_t block) {
    const tkr_q8_blocks_panel p = tkr_q8_blocks_panel_at(panel, k_padded);
    tkr_q8_blocks_clear(panel, k_padded, block);
    for (size_t j = 0; j < n_cols; j++) {
        (k <= (MAX_BLOCKS - 4) * block ? pack_column : tkr_q8_pack_column)(&p, j, w + j * ld, k, block);
    }
}

TKR_V_INLINE void panel(const tkr_gemm_args *args, size_t block, tile_fn *const *tiles) {
    _Alignas(32) float acc[MR * NR];
    const size_t k = args->k_padded;
    const tkr_q8_blocks_panel p = tkr_q8_blocks_panel_at((void *)(uintptr_t)args->b, k); /* only read */
    uint32_t *twice = args->scratch;
    for (size_t i = 0; i < k / block * NR; i += 8) {
        const __m256i m = _mm256_cvtepu16_epi32(_mm_load_si128((const __m128i *)(const void *)(p.multiplier + i)));
        _mm256_store_si256((__m256i *)(void *)(twice + i), _mm256_or_si256(m, _mm256_slli_epi32(m, 16)));
    }
    const panel_parts parts = {p.codes, twice, p.scale, k / block};
    for (size_t m = 0, n; m < args->n_rows; m += n) {
        n = tkr_avx2_tile_rows(args->n_rows - m);
        const char *row = (const char *)args->a + m * args->a_stride;
        tiles[n - 1](row, row + k, args->a_stride, &parts, acc);
        tkr_avx2_store_tile(args, m, n, acc);
    }
}

static void panel_32(const tkr_gemm_args *args) { panel(args, 32, tiles_32); }
static void panel_16(const tkr_gemm_args *args) { panel(args, 16, tiles_16); }
/* Multipliers for both lanes. */
static size_t scratch_bytes_32(size_t k_padded) { return k_padded / 32 * NR * sizeof(uint32_t); }
static size_t scratch_bytes_16(size_t k_padded) { return k_padded / 16 * NR * sizeof(uint32_t); }
TKR_Q8_BLOCKS_KERNEL(tkr_gemm_q8_avx2, "q8/avx2", 32, MR, .scratch_bytes = scratch_bytes_32);
TKR_Q8_BLOCKS_KERNEL(tkr_gemm_q8_fine_avx2, "q8-fine/avx2", 16, MR, .scratch_bytes = scratch_bytes_16);
