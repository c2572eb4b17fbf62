/* SPDX-License-Identifier: Apache-2.0 */
/* x86/gemm_bf16_avx2: bf16 inputs without bf16 instructions. Weights lie in pairs [k/2][16][2] and are widened in the
 * tile (even k: shift, odd k: mask); rows are rounded to bf16 but kept in f32, so that the tile can broadcast them. */
#include <immintrin.h>
#include <string.h>

#include "kernels/x86/avx2.h"
#include "kernels/x86/tile_avx2.h"
#include "quant/dtype.h"

enum { MR = TKR_AVX2_MR, NR = TKR_AVX2_NR };

#define EVEN(p) _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_load_si256((const __m256i *)(p)), 16))
#define ODD(p) _mm256_and_ps(mask, _mm256_load_ps((const float *)(p)))
/* The two asm statements keep clang from blending with a zero register instead of masking, and from holding the loaded
 * pairs for both halves: each takes registers that the tile lacks. */
#define STEP(R, pair, even, odd)       \
    b0 = EVEN(b + pair * 2 * NR);      \
    b1 = EVEN(b + pair * 2 * NR + NR); \
    TKR_ROWS_##R(TKR_FMA_PS_##even);   \
    __asm__("" : "+r"(b));             \
    b0 = ODD(b + pair * 2 * NR);       \
    b1 = ODD(b + pair * 2 * NR + NR);  \
    TKR_ROWS_##R(TKR_FMA_PS_##odd)

#define DEFINE_TILE(R)                                                                        \
    static void tile_##R(const float *a, size_t lda, const uint16_t *b, size_t k, float *c) { \
        __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32((int32_t)0xffff0000u));           \
        __asm__("" : "+x"(mask));                                                             \
        const float *a3 = R > 3 ? a + 3 * lda : a;                                            \
        const uint16_t *end = b + k * NR;                                                     \
        const size_t ldc = NR;                                                                \
        __m256 x, b0, b1;                                                                     \
        TKR_ROWS_##R(TKR_ZERO_PS);                                                            \
        for (; b != end; b += 4 * NR, a += 4, a3 += 4) {                                      \
            STEP(R, 0, 0, 1);                                                                 \
            STEP(R, 1, 2, 3);                                                                 \
        }                                                                                     \
        TKR_ROWS_##R(TKR_STORE_PS);                                                           \
        (void)ldc;                                                                            \
    }
TKR_EACH_TILE(DEFINE_TILE)

typedef void tile_fn(const float *a, size_t lda, const uint16_t *b, size_t k, float *c);
static tile_fn *const tiles[MR] = {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6};

/* To bf16 and back, nearest even; a NaN keeps its high half, quiet. */
static __m256 round_bf16(__m256 x) {
    __m256i u = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    __m256 y = _mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), nan);
    return _mm256_and_ps(y, _mm256_castsi256_ps(_mm256_set1_epi32((int32_t)0xffff0000u)));
}

static void pack_rows(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld, size_t n_rows,
                      size_t k, size_t k_padded) {
    (void)quant;
    for (size_t i = 0; i < n_rows; i++) {
        float *row = (float *)(void *)((char *)dst + i * dst_stride);
        const float *x = src + i * ld;
        size_t j = 0;
        for (; j + 8 <= k; j += 8) {
            _mm256_storeu_ps(row + j, round_bf16(_mm256_loadu_ps(x + j)));
        }
        for (; j < k; j++) {
            row[j] = tkr_bf16_to_f32(tkr_f32_to_bf16(x[j]));
        }
        memset(row + k, 0, (k_padded - k) * sizeof(float));
    }
}

static void pack_panel(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                       size_t k_padded) {
    (void)scale;
    (void)sum;
    uint16_t *b = panel;
    memset(b, 0, k_padded * NR * sizeof(uint16_t));
    for (size_t j = 0; j < n_cols; j++) {
        const float *x = w + j * ld;
        size_t i = 0;
        for (; i + 8 <= k; i += 8) {
            /* bits of k 2i in the low half, of k 2i + 1 in the high half of each 64-bit lane's two floats */
            __m256i u = _mm256_srli_epi32(_mm256_castps_si256(round_bf16(_mm256_loadu_ps(x + i))), 16);
            u = _mm256_or_si256(u, _mm256_srli_epi64(u, 16));
            uint16_t *pairs = b + (i / 2 * NR + j) * 2;
            const __m128i low = _mm256_castsi256_si128(u), high = _mm256_extracti128_si256(u, 1);
            const int32_t codes[4] = {_mm_cvtsi128_si32(low), _mm_extract_epi32(low, 2), _mm_cvtsi128_si32(high),
                                      _mm_extract_epi32(high, 2)};
            for (size_t t = 0; t < 4; t++) {
                memcpy(pairs + t * 2 * NR, codes + t, sizeof codes[t]);
            }
        }
        for (; i < k; i++) {
            b[(i / 2 * NR + j) * 2 + i % 2] = tkr_f32_to_bf16(x[i]);
        }
    }
}

static void panel(const tkr_gemm_args *args) {
    _Alignas(32) float x[MR * NR];
    const float *a = args->a;
    size_t lda = args->a_stride / sizeof(float);
    for (size_t m = 0, n; m < args->n_rows; m += n) {
        n = tkr_avx2_tile_rows(args->n_rows - m);
        tiles[n - 1](a + m * lda, lda, args->b, args->k_padded, x);
        tkr_avx2_store_tile(args, m, n, x);
    }
}

const tkr_gemm tkr_gemm_bf16_avx2 = {
    .name = "bf16/avx2",
    .nr = NR,
    .mr = MR,
    .k_align = 4,
    .act_bytes = 4,
    .weight_bits = 16,
    .pack_rows = pack_rows,
    .pack_panel = pack_panel,
    .panel = panel,
};
