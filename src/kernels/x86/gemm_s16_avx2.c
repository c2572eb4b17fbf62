/* SPDX-License-Identifier: Apache-2.0 */
/* x86/gemm_s16_avx2: s8 weights x s16 rows, vpmaddwd. Symmetric rows with as many bits as keep k products inside an
 * s32: the multiply rate of the u8 x s8 chain, without its saturation and with far smaller errors. Panels are
 * [k/2][16][2] s8; they are widened to s16 in the tile for few rows, once for the call in scratch for many. Sums are
 * exact either way. */
#include <float.h>
#include <immintrin.h>
#include <string.h>

#include "kernels/generic/generic.h"
#include "kernels/x86/avx2.h"
#include "kernels/x86/math_avx2.h"
#include "kernels/x86/tile_avx2.h"

enum { MR = TKR_AVX2_MR, NR = TKR_AVX2_NR };

/* From this many rows on it pays to widen the panel first. */
enum { WIDEN_ROWS = 3 * MR };

#define ZERO(r) __m256i c##r##0 = _mm256_setzero_si256(), c##r##1 = _mm256_setzero_si256()
#define MADD(r, j)                                                               \
    __asm__("vbroadcastss %[a], %[x]\n\t"                                        \
            "vpmaddwd %[b0], %[x], %[y]\n\t"                                     \
            "vpmaddwd %[b1], %[x], %[x]\n\t"                                     \
            "vpaddd %[y], %[c0], %[c0]\n\t"                                      \
            "vpaddd %[x], %[c1], %[c1]"                                          \
            : [c0] "+x"(c##r##0), [c1] "+x"(c##r##1), [x] "=&x"(x), [y] "=&x"(y) \
            : [b0] "x"(b0), [b1] "x"(b1), [a] "m"(*(TKR_ROW_##r(a) + j)))
#define MADD_0(r) MADD(r, 0)
#define MADD_1(r) MADD(r, 1)
#define MADD_2(r) MADD(r, 2)
#define MADD_3(r) MADD(r, 3)
#define STORE(r)                                          \
    _mm256_store_si256((__m256i *)(c + r * NR), c##r##0); \
    _mm256_store_si256((__m256i *)(c + r * NR + 8), c##r##1)

#define WIDE(p) _mm256_load_si256((const __m256i *)(p))
#define NARROW(p) _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(p)))
#define STEP(R, j, LOAD)            \
    b0 = LOAD(b + j * 2 * NR);      \
    b1 = LOAD(b + j * 2 * NR + NR); \
    TKR_ROWS_##R(MADD_##j)

/* a: rows as 32-bit pairs of s16, lda in pairs; k in pairs, a multiple of 4 */
#define DEFINE(R, name, type, LOAD)                                                               \
    static void name##_##R(const float *a, size_t lda, const void *panel, size_t k, int32_t *c) { \
        const type *b = panel, *end = b + k * 2 * NR;                                             \
        const float *a3 = R > 3 ? a + 3 * lda : a;                                                \
        __m256i x, y, b0, b1;                                                                     \
        TKR_ROWS_##R(ZERO);                                                                       \
        for (; b != end; b += 8 * NR, a += 4, a3 += 4) {                                          \
            STEP(R, 0, LOAD);                                                                     \
            STEP(R, 1, LOAD);                                                                     \
            STEP(R, 2, LOAD);                                                                     \
            STEP(R, 3, LOAD);                                                                     \
        }                                                                                         \
        TKR_ROWS_##R(STORE);                                                                      \
    }
#define DEFINE_WIDE(R) DEFINE(R, tile_wide, int16_t, WIDE)
#define DEFINE_NARROW(R) DEFINE(R, tile_narrow, int8_t, NARROW)
TKR_EACH_TILE(DEFINE_WIDE)
TKR_EACH_TILE(DEFINE_NARROW)

typedef void tile_fn(const float *a, size_t lda, const void *b, size_t k, int32_t *c);
#define TILE_WIDE(R) tile_wide_##R,
#define TILE_NARROW(R) tile_narrow_##R,
static tile_fn *const wide[MR] = {TKR_EACH_TILE(TILE_WIDE)};
static tile_fn *const narrow[MR] = {TKR_EACH_TILE(TILE_NARROW)};

static float absmax(const float *x, size_t k) {
    const __m256 sign = TKR_V_SET(-0.0f);
    __m256 m0 = _mm256_setzero_ps(), m1 = m0;
    size_t i = 0;
    for (; i + 16 <= k; i += 16) {
        m0 = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(x + i)), m0);
        m1 = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(x + i + 8)), m1);
    }
    for (; i < k; i += 8) {
        __m256i mask = tkr_v_mask(k - i < 8 ? k - i : 8);
        m0 = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_maskload_ps(x + i, mask)), m0);
    }
    m0 = _mm256_max_ps(m0, m1);
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(m0), _mm256_extractf128_ps(m0, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

/* Rounds to even like the scalar encoder; out of range (infinite rows) saturates. */
static __m256i encode(__m256 x, __m256 inverse, __m256 limit) {
    __m256 y = _mm256_min_ps(_mm256_mul_ps(x, inverse), limit);
    return _mm256_cvtps_epi32(_mm256_max_ps(y, _mm256_sub_ps(_mm256_setzero_ps(), limit)));
}

static void pack_rows(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld, size_t n_rows,
                      size_t k, size_t k_padded) {
    const float limit = (float)tkr_s16_limit(k);
    for (size_t row = 0; row < n_rows; row++) {
        int16_t *q = (int16_t *)(void *)((char *)dst + row * dst_stride);
        const float *x = src + row * ld;
        float high = absmax(x, k);
        quant[row] = (tkr_row_quant){high > 0 ? high / limit : 1.0f, 0};
        const __m256 inverse = TKR_V_SET(high > 0 ? limit / high : 1.0f), top = TKR_V_SET(limit);
        size_t i = 0;
        for (; i + 16 <= k; i += 16) {
            __m256i low = encode(_mm256_loadu_ps(x + i), inverse, top);
            __m256i hi = encode(_mm256_loadu_ps(x + i + 8), inverse, top);
            __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, hi), 0xd8);
            _mm256_storeu_si256((__m256i *)(void *)(q + i), packed);
        }
        for (; i < k; i += 8) {
            size_t n = k - i < 8 ? k - i : 8;
            __m256i low = encode(_mm256_maskload_ps(x + i, tkr_v_mask(n)), inverse, top);
            int16_t codes[8];
            _mm_storeu_si128((__m128i *)codes,
                             _mm_packs_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
            memcpy(q + i, codes, n * sizeof *codes);
        }
        memset(q + k, 0, (k_padded - k) * sizeof *q);
    }
}

/* Codes of 8 weights in the low 8 bytes; adds them up in *sums. The division is the scalar encoder's. */
static __m128i encode_weights(const float *w, __m256 scale, __m256i *sums) {
    __m256i q = _mm256_cvtps_epi32(_mm256_div_ps(_mm256_loadu_ps(w), scale));
    *sums = _mm256_add_epi32(*sums, q);
    __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    return _mm_packs_epi16(half, half);
}

static int32_t sum_s32(__m256i x) {
    int32_t lanes[8], sum = 0;
    _mm256_storeu_si256((__m256i *)(void *)lanes, x);
    for (size_t i = 0; i < 8; i++) {
        sum += lanes[i];
    }
    return sum;
}

static void pack_panel(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                       size_t k_padded) {
    int8_t *b = panel;
    memset(b, 0, k_padded * NR);
    memset(scale, 0, NR * sizeof *scale);
    memset(sum, 0, NR * sizeof *sum);
    for (size_t j = 0; j < n_cols; j++) {
        const float *x = w + j * ld, high = absmax(x, k) / 127.0f;
        scale[j] = high >= FLT_MIN ? high : 1.0f;
        const __m256 divisor = TKR_V_SET(scale[j]);
        __m256i sums = _mm256_setzero_si256();
        size_t i = 0;
        for (; i + 8 <= k; i += 8) {
            uint64_t codes = (uint64_t)_mm_cvtsi128_si64(encode_weights(x + i, divisor, &sums));
            for (size_t t = 0; t < 4; t++) {
                uint16_t pair = (uint16_t)(codes >> (16 * t));
                memcpy(b + ((i / 2 + t) * NR + j) * 2, &pair, sizeof pair);
            }
        }
        sum[j] = sum_s32(sums);
        for (; i < k; i++) {
            int8_t q = tkr_s8_code(x[i], scale[j]);
            b[(i / 2 * NR + j) * 2 + i % 2] = q;
            sum[j] += q;
        }
    }
}

static size_t scratch_bytes(size_t k_padded) { return k_padded * NR * sizeof(int16_t); }

static void widen(int16_t *dst, const int8_t *src, size_t n) {
    for (size_t i = 0; i < n; i += 32) {
        __m256i low = NARROW(src + i), high = NARROW(src + i + 16);
        _mm256_store_si256((__m256i *)(void *)(dst + i), low);
        _mm256_store_si256((__m256i *)(void *)(dst + i + 16), high);
    }
}

static void panel(const tkr_gemm_args *args) {
    _Alignas(32) int32_t acc[MR * NR];
    const float *a = args->a;
    const void *b = args->b;
    size_t lda = args->a_stride / 4, k = args->k_padded / 2;
    tile_fn *const *tiles = narrow;
    if (args->n_rows >= WIDEN_ROWS) {
        widen(args->scratch, b, args->k_padded * NR);
        b = args->scratch;
        tiles = wide;
    }
    for (size_t m = 0, n; m < args->n_rows; m += n) {
        n = tkr_avx2_tile_rows(args->n_rows - m);
        tiles[n - 1](a + m * lda, lda, b, k, acc);
        tkr_avx2_store_int_tile(args, m, n, acc);
    }
}

const tkr_gemm tkr_gemm_s16_avx2 = {
    .name = "s16/avx2",
    .nr = NR,
    .mr = MR,
    .k_align = 8,
    .act_bytes = 2,
    .weight_bits = 8,
    .integer = true,
    .pack_rows = pack_rows,
    .pack_panel = pack_panel,
    .panel = panel,
    .scratch_bytes = scratch_bytes,
};
