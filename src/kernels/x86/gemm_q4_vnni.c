/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86/gemm_q4_vnni: grouped 4-bit weights x s8 rows by vpdpbusd, whose unsigned operand the codes are. Row and panel
 * layouts and the order of operations are those of generic/gemm_q4.h, products fused with additions. Sums of a block
 * stay in registers, f32 results in L1: a tile that kept both would spill.
 */
#include <string.h>

#include "kernels/generic/gemm_q4.h"
#include "kernels/x86/avx2.h"
#include "kernels/x86/avx512.h"
#include "kernels/x86/epilogue_avx512.h"

enum { MR = 8, NR = 32, BLOCK = TKR_Q4_BLOCK, STEP_BYTES = 4 * NR /* 8 values of k */ };

/* ---- tile ---- */

typedef void q4_tile_fn(const tkr_q4_tile *t);

TKR_INLINE int32_t load_quad(const char *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

TKR_INLINE float load_float(const char *p) {
    float x;
    memcpy(&x, p, sizeof x);
    return x;
}

#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

#define BIAS_VARS(r) __m512 f##r##0 = _mm512_setzero_ps(), f##r##1 = f##r##0;
#define BIAS(r)                                                           \
    if (rows > r) {                                                       \
        const __m512 x = _mm512_set1_ps(load_float(sum + r * t->stride)); \
        f##r##0 = _mm512_fmadd_ps(x, w0, f##r##0);                        \
        f##r##1 = _mm512_fmadd_ps(x, w1, f##r##1);                        \
    }
#define BIAS_OUT(r)                                   \
    if (rows > r) {                                   \
        _mm512_storeu_ps(out + r * NR, f##r##0);      \
        _mm512_storeu_ps(out + r * NR + 16, f##r##1); \
    }

/* out = the sum over groups of bias times the row's sum. */
TKR_INLINE void bias_body(const tkr_q4_tile *t, const size_t rows) {
    EACH_ROW(BIAS_VARS)
    const char *sum = t->sum;
    float *out = t->out;
    for (size_t g = 0; g < t->n_groups; g++, sum += sizeof(float)) {
        const __m512 w0 = _mm512_loadu_ps(t->bias + g * NR), w1 = _mm512_loadu_ps(t->bias + g * NR + 16);
        EACH_ROW(BIAS)
    }
    EACH_ROW(BIAS_OUT)
}

#define VARS(r) __m512i c##r##0 = _mm512_setzero_si512(), c##r##1 = c##r##0;
#define DOT(r)                                                          \
    if (rows > r) {                                                     \
        const __m512i x = _mm512_set1_epi32(load_quad(q + r * stride)); \
        c##r##0 = _mm512_dpbusd_epi32(c##r##0, w0, x);                  \
        c##r##1 = _mm512_dpbusd_epi32(c##r##1, w1, x);                  \
    }
#define SCALE(r)                                                                   \
    if (rows > r) {                                                                \
        const __m512 x = _mm512_set1_ps(load_float(scale + r * stride));           \
        float *y = out + r * NR;                                                   \
        const __m512 y0 = _mm512_mul_ps(_mm512_cvtepi32_ps(c##r##0), s0);          \
        const __m512 y1 = _mm512_mul_ps(_mm512_cvtepi32_ps(c##r##1), s1);          \
        _mm512_storeu_ps(y, _mm512_fmadd_ps(y0, x, _mm512_loadu_ps(y)));           \
        _mm512_storeu_ps(y + 16, _mm512_fmadd_ps(y1, x, _mm512_loadu_ps(y + 16))); \
    }

/* out += every block's sums, scaled. */
TKR_INLINE void block_body(const tkr_q4_tile *t, const size_t rows) {
    const __m512i low = _mm512_set1_epi32(0x0f0f0f0f);
    const char *q = t->q, *scale = t->scale;
    const uint8_t *codes = t->codes;
    const size_t stride = t->stride;
    float *out = t->out;
    for (size_t b = 0; b < t->n_blocks; b++, scale += sizeof(float)) {
        EACH_ROW(VARS)
        for (size_t i = 0; i < BLOCK / 8; i++, codes += STEP_BYTES) {
            const __m512i v0 = _mm512_loadu_si512(codes), v1 = _mm512_loadu_si512(codes + 64);
            {
                const __m512i w0 = _mm512_and_si512(v0, low), w1 = _mm512_and_si512(v1, low);
                EACH_ROW(DOT)
                q += 4;
            }
            {
                const __m512i w0 = _mm512_and_si512(_mm512_srli_epi32(v0, 4), low);
                const __m512i w1 = _mm512_and_si512(_mm512_srli_epi32(v1, 4), low);
                EACH_ROW(DOT)
                q += 4;
            }
        }
        const float *s = t->b_scale + (b >> t->shift) * NR;
        const __m512 s0 = _mm512_loadu_ps(s), s1 = _mm512_loadu_ps(s + 16);
        EACH_ROW(SCALE)
        __asm__ volatile("" ::: "memory"); /* out stays in memory: the compiler would spill it instead */
    }
}

#define TILE(r)                                                            \
    static __attribute__((noinline)) void tile_##r(const tkr_q4_tile *t) { \
        bias_body(t, r);                                                   \
        block_body(t, r);                                                  \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
TILE(7)
TILE(8)
static q4_tile_fn *const tiles[MR + 1] = {NULL, tile_1, tile_2, tile_3, tile_4, tile_5, tile_6, tile_7, tile_8};

/* ---- panels ---- */

static size_t panel_bytes(size_t k_padded, size_t group, tkr_scale_kind scale_kind) {
    return tkr_q4_panel_bytes(NR, k_padded, group, scale_kind);
}

static void pack_codes(void *panel, const tkr_codes *codes) { tkr_q4_pack_panel(panel, NR, codes); }

/* n scales or biases to f32, n a multiple of 16. */
static void widen(float *dst, const void *src, size_t n, tkr_scale_kind kind) {
    if (kind == TKR_SCALE_F32) {
        memcpy(dst, src, n * sizeof *dst);
        return;
    }
    for (size_t i = 0; i < n; i += 16) {
        const __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)((const uint16_t *)src + i));
        _mm512_storeu_ps(dst + i, kind == TKR_SCALE_F16
                                      ? _mm512_cvtph_ps(half)
                                      : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16)));
    }
}

/* Scales and biases in f32, as if every block had its own. */
static size_t scratch_bytes(size_t k_padded) { return 2 * (k_padded / BLOCK) * NR * sizeof(float); }

static void panel(const tkr_gemm_args *args) {
    _Alignas(64) float out[MR * NR];
    tkr_q4_tile tile = tkr_q4_tile_of(args, NR, out);
    widen(args->scratch, args->b, 2 * tile.n_groups * NR, args->scale_kind);
    for (size_t m = 0; m < args->n_rows; m += MR) {
        const size_t rows = args->n_rows - m < MR ? args->n_rows - m : MR;
        tkr_q4_tile_at(&tile, args, m);
        tiles[rows](&tile);
        tkr_epilogue(args, m, rows, out, NR, false);
    }
}

const tkr_gemm tkr_gemm_q4_vnni = {
    .name = "q4/vnni",
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
