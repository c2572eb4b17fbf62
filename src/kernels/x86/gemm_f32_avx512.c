/* SPDX-License-Identifier: Apache-2.0 */
/* x86/gemm_f32_avx512: f32 GEMM, panels [k][64], tiles of 6x64; and the overlay of the plain AVX-512 rung. */
#include "kernels/x86/avx512.h"
#include "kernels/x86/epilogue_avx512.h"
#include "kernels/x86/pack_avx512.h"
#include "kernels/x86/x86.h"

#define TKR_TILE_ACC __m512
#define TKR_TILE_ZERO _mm512_setzero_ps()
#define TKR_TILE_A(p) _mm512_set1_ps(tkr_granule_f32(p))
#define TKR_TILE_B(p, c) _mm512_loadu_ps((const float *)(const void *)((p) + 64 * (c)))
#define TKR_TILE_MAC(s, a, b) _mm512_fmadd_ps(a, b, s)
#define TKR_TILE_STORE(p, s) _mm512_storeu_ps((float *)(void *)(p), s)
#include "kernels/x86/tile_avx512.h"

TKR_TILE_BODY
TKR_TILE_FUNCTIONS(4)

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
    for (size_t j = 0; j < TKR_TILE_NR; j += 16) {
        for (size_t d = 0; d < k_padded; d += 16) {
            __m512i r[16];
            for (size_t i = 0; i < 16; i++) {
                r[i] = j + i < n_cols && d < k ? _mm512_castps_si512(tkr_load_f32(w + (j + i) * ld + d, k - d))
                                               : _mm512_setzero_si512();
            }
            tkr_put_block((char *)panel + (d * TKR_TILE_NR + j) * 4, TKR_TILE_NR * 4, k_padded - d, r);
        }
    }
}

static void panel(const tkr_gemm_args *args) {
    _Alignas(64) float sums[TKR_TILE_MR * TKR_TILE_NR];
    for (size_t m = 0; m < args->n_rows; m += TKR_TILE_MR) {
        const size_t rows = args->n_rows - m < TKR_TILE_MR ? args->n_rows - m : TKR_TILE_MR;
        const tkr_tile tile = {.a = (const char *)args->a + m * args->a_stride,
                               .a_stride = args->a_stride,
                               .b = args->b,
                               .b_step = TKR_TILE_NR * 4,
                               .k = args->k_padded,
                               .out = (char *)sums,
                               .out_stride = TKR_TILE_NR * 4};
        tiles_x4[rows](&tile);
        tkr_epilogue(args, m, rows, sums, TKR_TILE_NR, false);
    }
}

const tkr_gemm tkr_gemm_f32_avx512 = {
    .name = "f32/avx512",
    .nr = TKR_TILE_NR,
    .mr = TKR_TILE_MR,
    .k_align = 1,
    .act_bytes = 4,
    .weight_bits = 32,
    .rows_in_place = true,
    .pack_rows = pack_rows,
    .pack_panel = pack_panel,
    .panel = panel,
};

/* Twelve chains of 16 lanes. */
static double peak_f32(size_t iterations) {
    const __m512 x = _mm512_set1_ps(0.5f), y = _mm512_set1_ps(0.25f);
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define DECLARE(n) __m512 s##n = _mm512_set1_ps(n);
#define STEP(n) s##n = _mm512_fmadd_ps(s##n, x, y);
#define SUM(n) total = _mm512_add_ps(total, s##n);
    EACH(DECLARE)
    for (size_t i = 0; i < iterations; i++) {
        EACH(STEP)
    }
    __m512 total = _mm512_setzero_ps();
    EACH(SUM)
    volatile float sink = _mm512_reduce_add_ps(total);
    (void)sink;
    return 12.0 * 16.0 * 2.0 * (double)iterations;
#undef EACH
#undef DECLARE
#undef STEP
#undef SUM
}

void tkr_kernels_overlay_avx512(tkr_kernels *k, tkr_cpu_flags flags) {
    if (!(flags & TKR_CPU_AVX512)) {
        return;
    }
    k->rung = "avx512";
    k->gemm[TKR_GEMM_F32] = &tkr_gemm_f32_avx512;
    k->gemm[TKR_GEMM_BF16] = &tkr_gemm_bf16_avx512;
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        k->attention[mode] = &tkr_attention_f32_avx512;
    }
    k->layer_norm = tkr_layer_norm_avx512;
    k->rms_norm = tkr_rms_norm_avx512;
    k->gate = tkr_gate_avx512;
    k->rotate = tkr_rotate_avx512;
    k->activate = tkr_activate_avx512;
    k->axpy = tkr_axpy_avx512;
    k->peak[TKR_GEMM_F32] = peak_f32;
    k->peak[TKR_GEMM_BF16] = peak_f32;
}
