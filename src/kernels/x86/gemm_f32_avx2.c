/* SPDX-License-Identifier: Apache-2.0 */
/* x86/gemm_f32_avx2: f32 GEMM in tiles of 6 rows x 16 columns, panels [k][16]. Rows are used where they lie. */
#include <immintrin.h>
#include <string.h>

#include "kernels/x86/avx2.h"
#include "kernels/x86/tile_avx2.h"

enum { MR = TKR_AVX2_MR, NR = TKR_AVX2_NR };

#define STEP(R, j)                       \
    b0 = _mm256_load_ps(b + j * NR);     \
    b1 = _mm256_load_ps(b + j * NR + 8); \
    TKR_ROWS_##R(TKR_FMA_PS_##j)

#define NOTHING
#define PREFETCH _mm_prefetch(next, _MM_HINT_T0), next += next_step;
/* AHEAD: what is done at every 4 k. */
#define TILE_BODY(R, AHEAD)                                       \
    const float *a3 = R > 3 ? a + 3 * lda : a, *end = b + k * NR; \
    __m256 x, b0, b1;                                             \
    TKR_ROWS_##R(TKR_ZERO_PS);                                    \
    for (; b != end; b += 4 * NR, a += 4, a3 += 4) {              \
        AHEAD                                                     \
        STEP(R, 0);                                               \
        STEP(R, 1);                                               \
        STEP(R, 2);                                               \
        STEP(R, 3);                                               \
    }                                                             \
    TKR_ROWS_##R(TKR_STORE_PS);                                   \
    (void)ldc;

#define DEFINE_TILE(R)                                                                                     \
    static void tile_##R(const float *a, size_t lda, const float *b, size_t k, float *c, size_t ldc) {     \
        TILE_BODY(R, NOTHING)                                                                              \
    }                                                                                                      \
    static void tile_ahead_##R(const float *a, size_t lda, const float *b, size_t k, float *c, size_t ldc, \
                               const char *next, size_t next_step) {                                       \
        TILE_BODY(R, PREFETCH)                                                                             \
    }
TKR_EACH_TILE(DEFINE_TILE)

tkr_avx2_tile_f32_fn *const tkr_avx2_tile_f32[MR] = {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6};
tkr_avx2_tile_ahead_fn *const tkr_avx2_tile_ahead[MR] = {tile_ahead_1, tile_ahead_2, tile_ahead_3,
                                                         tile_ahead_4, tile_ahead_5, tile_ahead_6};

static void pack_rows(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld, size_t n_rows,
                      size_t k, size_t k_padded) {
    (void)quant;
    for (size_t i = 0; i < n_rows; i++) {
        char *row = (char *)dst + i * dst_stride;
        memcpy(row, src + i * ld, k * sizeof(float));
        memset(row + k * sizeof(float), 0, (k_padded - k) * sizeof(float));
    }
}

static void pack_panel(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                       size_t k_padded) {
    (void)scale;
    (void)sum;
    float *b = panel;
    memset(b, 0, k_padded * NR * sizeof(float));
    size_t j = 0;
    for (; j + 8 <= n_cols; j += 8) {
        const float *rows[8];
        for (size_t t = 0; t < 8; t++) {
            rows[t] = w + (j + t) * ld;
        }
        size_t i = 0;
        for (; i + 8 <= k; i += 8) {
            tkr_avx2_transpose_8x8(b + i * NR + j, rows, i);
        }
        for (; i < k; i++) {
            for (size_t t = 0; t < 8; t++) {
                b[i * NR + j + t] = rows[t][i];
            }
        }
    }
    for (; j < n_cols; j++) {
        for (size_t i = 0; i < k; i++) {
            b[i * NR + j] = w[j * ld + i];
        }
    }
}

static void panel(const tkr_gemm_args *args) {
    _Alignas(32) float x[MR * NR];
    const float *a = args->a;
    const size_t lda = args->a_stride / sizeof(float), k = args->k_padded, bytes = k * NR * sizeof(float);
    const size_t step = tkr_avx2_prefetch_step(bytes, args->n_rows, k);
    const char *next = (const char *)args->b + bytes;
    for (size_t m = 0, n; m < args->n_rows; m += n) {
        n = tkr_avx2_tile_rows(args->n_rows - m);
        if (step) {
            tkr_avx2_tile_ahead[n - 1](a + m * lda, lda, args->b, k, x, NR, next, step);
            next += k / 4 * step;
        } else {
            tkr_avx2_tile_f32[n - 1](a + m * lda, lda, args->b, k, x, NR);
        }
        tkr_avx2_store_tile(args, m, n, x);
    }
}

const tkr_gemm tkr_gemm_f32_avx2 = {
    .name = "f32/avx2",
    .nr = NR,
    .mr = MR,
    .k_align = 4,
    .act_bytes = 4,
    .weight_bits = 32,
    .rows_in_place = true,
    .pack_rows = pack_rows,
    .pack_panel = pack_panel,
    .panel = panel,
};
