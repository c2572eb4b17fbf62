/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86/gemm_q4_avx2: grouped 4-bit weights x s8 rows, vpmaddubsw. A pair of products is at most 2 * 15 * 127, so the 8
 * pairs of a block of 32 are summed in s16, then widened by one vpmaddwd, and scaled. Row and panel layouts and the
 * order of operations are those of generic/gemm_q4.h, products fused with additions.
 */
#include <float.h>
#include <immintrin.h>
#include <string.h>

#include "kernels/generic/gemm_q4.h"
#include "kernels/x86/avx2.h"
#include "kernels/x86/dot_avx2.h"
#include "kernels/x86/math_avx2.h"

enum { MR = TKR_AVX2_MR, NR = TKR_AVX2_NR, BLOCK = TKR_Q4_BLOCK, BLOCK_BYTES = NR * BLOCK / 2 };

/* ---- tile ---- */

static const _Alignas(32) int16_t ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
static const _Alignas(32) uint32_t nibbles[8] = {0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f,
                                                 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f};

/* clang-format off */
#define DOT_FIRST(r)                                                               \
    __asm__(TKR_BROADCAST_##r(a, "0")                                                  \
            "vpmaddubsw %[x], %[b0], %[c0]\n\t"                                    \
            "vpmaddubsw %[x], %[b1], %[c1]"                                        \
            : [c0] "=&x"(c##r##0), [c1] "=&x"(c##r##1), [x] "=&x"(x)               \
            : [b0] "x"(b0), [b1] "x"(b1), [a] "r"(a), [a3] "r"(a3), [lda] "r"(lda) \
            : "memory")
/* b0, b1: scales of the columns; s: scale of the row's block */
#define SCALE(r)                                                                                          \
    __asm__(TKR_BROADCAST_##r(s, "0")                                                                         \
            "vpmaddwd %[one], %[c0], %[c0]\n\t"                                                           \
            "vpmaddwd %[one], %[c1], %[c1]\n\t"                                                           \
            "vcvtdq2ps %[c0], %[c0]\n\t"                                                                  \
            "vcvtdq2ps %[c1], %[c1]\n\t"                                                                  \
            "vmulps %[b0], %[c0], %[c0]\n\t"                                                              \
            "vmulps %[b1], %[c1], %[c1]\n\t"                                                              \
            "vfmadd213ps %[y0], %[x], %[c0]\n\t"                                                          \
            "vfmadd213ps %[y1], %[x], %[c1]\n\t"                                                          \
            "vmovaps %[c0], %[y0]\n\t"                                                                    \
            "vmovaps %[c1], %[y1]"                                                                        \
            : [c0] "+x"(c##r##0), [c1] "+x"(c##r##1), [x] "=&x"(x), [y0] "+m"(*(__m256 *)(c + r * NR)),   \
              [y1] "+m"(*(__m256 *)(c + r * NR + 8))                                                      \
            : [b0] "x"(b0), [b1] "x"(b1), [s] "r"(s), [s3] "r"(s3), [lda] "r"(lda), [one] "m"(TKR_HALF(ones)) \
            : "memory")
/* clang-format on */
#define LOW(p)                               \
    __asm__("vmovdqa %[m], %[b1]\n\t"        \
            "vpand %[p0], %[b1], %[b0]\n\t"  \
            "vpand %[p1], %[b1], %[b1]"      \
            : [b0] "=&x"(b0), [b1] "=&x"(b1) \
            : [p0] "m"(TKR_HALF(p)), [p1] "m"(TKR_HALF(p + 32)), [m] "m"(TKR_HALF(nibbles)))
#define HIGH(p)                              \
    __asm__("vmovdqa %[p0], %[b0]\n\t"       \
            "vmovdqa %[p1], %[b1]\n\t"       \
            "vpsrlw $4, %[b0], %[b0]\n\t"    \
            "vpsrlw $4, %[b1], %[b1]\n\t"    \
            "vpand %[m], %[b0], %[b0]\n\t"   \
            "vpand %[m], %[b1], %[b1]"       \
            : [b0] "=&x"(b0), [b1] "=&x"(b1) \
            : [p0] "m"(TKR_HALF(p)), [p1] "m"(TKR_HALF(p + 32)), [m] "m"(TKR_HALF(nibbles)))

/* c[r][0..15] += scaled products, c 32-byte aligned. a: rows of s8, s: their block scales, both lda bytes apart; w:
 * scales [G][16], one row for each 1 << shift blocks. */
#define VARS(r) __m256i c##r##0, c##r##1
#define DEFINE(R)                                                                                                    \
    static void tile_##R(const char *a, const char *s, size_t lda, const uint8_t *b, const float *w, unsigned shift, \
                         size_t n_blocks, float *c) {                                                                \
        const char *a3 = R > 3 ? a + 3 * lda : a, *s3 = R > 3 ? s + 3 * lda : s;                                     \
        __m256i x, y, b0, b1;                                                                                        \
        TKR_ROWS_##R(VARS);                                                                                          \
        for (size_t i = 0; i < n_blocks; i++) {                                                                      \
            LOW(b);                                                                                                  \
            TKR_ROWS_##R(DOT_FIRST);                                                                                 \
            HIGH(b);                                                                                                 \
            TKR_ROWS_##R(TKR_DOT_1);                                                                                 \
            LOW(b + 64);                                                                                             \
            TKR_ROWS_##R(TKR_DOT_2);                                                                                 \
            HIGH(b + 64);                                                                                            \
            TKR_ROWS_##R(TKR_DOT_3);                                                                                 \
            LOW(b + 128);                                                                                            \
            TKR_ROWS_##R(TKR_DOT_4);                                                                                 \
            HIGH(b + 128);                                                                                           \
            TKR_ROWS_##R(TKR_DOT_5);                                                                                 \
            LOW(b + 192);                                                                                            \
            TKR_ROWS_##R(TKR_DOT_6);                                                                                 \
            HIGH(b + 192);                                                                                           \
            TKR_ROWS_##R(TKR_DOT_7);                                                                                 \
            b0 = TKR_HALF(w + (i >> shift) * NR);                                                                    \
            b1 = TKR_HALF(w + (i >> shift) * NR + 8);                                                                \
            TKR_ROWS_##R(SCALE);                                                                                     \
            a += BLOCK;                                                                                              \
            a3 += BLOCK;                                                                                             \
            s += sizeof(float);                                                                                      \
            s3 += sizeof(float);                                                                                     \
            b += BLOCK_BYTES;                                                                                        \
        }                                                                                                            \
    }
TKR_EACH_TILE(DEFINE)

typedef void tile_fn(const char *a, const char *s, size_t lda, const uint8_t *b, const float *w, unsigned shift,
                     size_t n_blocks, float *c);
#define TILE(R) tile_##R,
static tile_fn *const tiles[MR] = {TKR_EACH_TILE(TILE)};

/* ---- rows ---- */

/* A NaN becomes the lowest code, since max returns its second operand then. */
TKR_V_INLINE __m256i encode(const float *x, __m256 inverse) {
    __m256 y = _mm256_max_ps(_mm256_mul_ps(_mm256_loadu_ps(x), inverse), TKR_V_SET(-127.0f));
    return _mm256_cvtps_epi32(_mm256_min_ps(y, TKR_V_SET(127.0f)));
}

/* Four lanes whose maximum is that of |x[0..32)|; NaN is skipped. */
TKR_V_INLINE __m128 block_top(const float *x) {
    const __m256 sign = TKR_V_SET(-0.0f);
    __m256 top = _mm256_setzero_ps();
    for (size_t i = 0; i < BLOCK; i += 8) {
        top = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(x + i)), top);
    }
    return _mm_max_ps(_mm256_castps256_ps128(top), _mm256_extractf128_ps(top, 1));
}

/* Codes of 32 values; returns eight lanes that add up to their sum. */
TKR_V_INLINE __m256i encode_block(int8_t *q, const float *x, __m256 inverse) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i low = _mm256_packs_epi32(encode(x, inverse), encode(x + 8, inverse));
    __m256i high = _mm256_packs_epi32(encode(x + 16, inverse), encode(x + 24, inverse));
    __m256i codes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
    _mm256_storeu_si256((__m256i *)(void *)q, codes);
    return _mm256_madd_epi16(_mm256_add_epi16(low, high), TKR_HALF(ones));
}

/* Four blocks, 128 values: the reductions of four are as cheap as one's. */
static void encode_four(int8_t *q, float *scale, float *sum, const float *x) {
    __m128 t0 = block_top(x), t1 = block_top(x + BLOCK), t2 = block_top(x + 2 * BLOCK), t3 = block_top(x + 3 * BLOCK);
    t0 = _mm_max_ps(_mm_unpacklo_ps(t0, t1), _mm_unpackhi_ps(t0, t1));
    t2 = _mm_max_ps(_mm_unpacklo_ps(t2, t3), _mm_unpackhi_ps(t2, t3));
    const __m128 top = _mm_max_ps(_mm_movelh_ps(t0, t2), _mm_movehl_ps(t2, t0));
    const __m128 ratio = _mm_div_ps(top, _mm_set1_ps(127.0f)), some = _mm_cmpge_ps(ratio, _mm_set1_ps(FLT_MIN));
    const __m128 scales = _mm_and_ps(ratio, some), inverse = _mm_and_ps(_mm_div_ps(_mm_set1_ps(127.0f), top), some);
    const __m256i s0 = encode_block(q, x, _mm256_broadcastss_ps(inverse));
    const __m256i s1 =
        encode_block(q + BLOCK, x + BLOCK, _mm256_broadcastss_ps(_mm_shuffle_ps(inverse, inverse, 0x55)));
    const __m256i s2 =
        encode_block(q + 2 * BLOCK, x + 2 * BLOCK, _mm256_broadcastss_ps(_mm_shuffle_ps(inverse, inverse, 0xaa)));
    const __m256i s3 =
        encode_block(q + 3 * BLOCK, x + 3 * BLOCK, _mm256_broadcastss_ps(_mm_shuffle_ps(inverse, inverse, 0xff)));
    const __m256i both = _mm256_hadd_epi32(_mm256_hadd_epi32(s0, s1), _mm256_hadd_epi32(s2, s3));
    const __m128i total = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    _mm_storeu_ps(scale, scales);
    _mm_storeu_ps(sum, _mm_mul_ps(scales, _mm_cvtepi32_ps(total)));
}

void tkr_pack_rows_q4_avx2(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld,
                           size_t n_rows, size_t k, size_t k_padded) {
    enum { FOUR = 4 * BLOCK };
    (void)quant;
    for (size_t row = 0; row < n_rows; row++) {
        const tkr_q4_row r = tkr_q4_row_at((char *)dst + row * dst_stride, k_padded);
        const float *x = src + row * ld;
        size_t i = 0;
        for (; i + FOUR <= k; i += FOUR) {
            encode_four(r.q + i, r.scale + i / BLOCK, r.sum32 + i / BLOCK, x + i);
        }
        if (i < k_padded) { /* fewer than four blocks are left */
            float tail[FOUR] = {0}, scale[4], sum[4];
            int8_t q[FOUR];
            memcpy(tail, x + i, (k - i) * sizeof *tail);
            encode_four(q, scale, sum, tail);
            memcpy(r.q + i, q, k_padded - i);
            memcpy(r.scale + i / BLOCK, scale, (k_padded - i) / BLOCK * sizeof *scale);
            memcpy(r.sum32 + i / BLOCK, sum, (k_padded - i) / BLOCK * sizeof *sum);
        }
        tkr_q4_fold_sums(&r, k_padded);
    }
}

/* ---- panels ---- */

static size_t panel_bytes(size_t k_padded, size_t group, tkr_scale_kind scale_kind) {
    return tkr_q4_panel_bytes(NR, k_padded, group, scale_kind);
}

static void pack_codes(void *panel, const tkr_codes *codes) { tkr_q4_pack_panel(panel, NR, codes); }

/* n_groups rows of 16 scales or biases to f32. */
static void widen(float *dst, const void *src, size_t n_groups, tkr_scale_kind kind) {
    if (kind == TKR_SCALE_F32) {
        memcpy(dst, src, n_groups * NR * sizeof *dst);
        return;
    }
    for (size_t i = 0; i < n_groups * NR; i += 8) {
        __m128i half = _mm_load_si128((const __m128i *)(const void *)((const uint16_t *)src + i));
        __m256 x = kind == TKR_SCALE_F16 ? _mm256_cvtph_ps(half)
                                         : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
        _mm256_store_ps(dst + i, x);
    }
}

/* Scales and biases in f32, as if every block had its own. */
static size_t scratch_bytes(size_t k_padded) { return 2 * tkr_q4_sums(k_padded, BLOCK) * NR * sizeof(float); }

static void panel(const tkr_gemm_args *args) {
    _Alignas(32) float acc[MR * NR];
    const size_t k = args->k_padded, n_groups = (k + args->group - 1) / args->group;
    const size_t n_sums = tkr_q4_sums(k, args->group), bytes = tkr_q4_scale_bytes(args->scale_kind);
    const unsigned shift = args->group == 128 ? 2 : args->group == 64;
    const char *bias16 = (const char *)args->b + n_groups * NR * bytes;
    const uint8_t *codes = (const uint8_t *)bias16 + n_groups * NR * bytes;
    float *scale = args->scratch, *bias = scale + n_sums * NR;
    widen(scale, args->b, n_groups, args->scale_kind);
    widen(bias, bias16, n_groups, args->scale_kind);
    memset(bias + n_groups * NR, 0, (n_sums - n_groups) * NR * sizeof *bias);
    for (size_t m = 0, n; m < args->n_rows; m += n) {
        n = tkr_avx2_tile_rows(args->n_rows - m);
        const char *row = (const char *)args->a + m * args->a_stride;
        const float *sums = (const float *)(const void *)(row + tkr_q4_sum_offset(k, args->group));
        tkr_avx2_tile_f32[n - 1](sums, args->a_stride / 4, bias, n_sums, acc, NR);
        tiles[n - 1](row, row + k, args->a_stride, codes, scale, shift, k / BLOCK, acc);
        tkr_avx2_store_tile(args, m, n, acc);
    }
}

const tkr_gemm tkr_gemm_q4_avx2 = {
    .name = "q4/avx2",
    .nr = NR,
    .mr = MR,
    .k_align = BLOCK,
    .act_bytes = 1,
    .weight_bits = 4,
    .pack_rows = tkr_pack_rows_q4_avx2,
    .panel = panel,
    .scratch_bytes = scratch_bytes,
    .pack_codes = pack_codes,
    .row_bytes = tkr_q4_row_bytes,
    .panel_bytes = panel_bytes,
};
