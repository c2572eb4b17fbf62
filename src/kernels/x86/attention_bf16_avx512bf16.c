/* SPDX-License-Identifier: Apache-2.0 */
/* x86/attention_bf16_avx512bf16: attention with both products in bf16 (f32 sums, f32 softmax). */
#include "kernels/x86/avx512.h"
#include "kernels/x86/pack_bf16.h"

#define TKR_TILE_ACC __m512
#define TKR_TILE_ZERO _mm512_setzero_ps()
#define TKR_TILE_A(p) _mm512_castsi512_ps(_mm512_set1_epi32(tkr_granule(p)))
#define TKR_TILE_B(p, c) _mm512_loadu_ps((const float *)(const void *)((p) + 64 * (c)))
#define TKR_TILE_MAC(s, a, b) \
    _mm512_dpbf16_ps(s, TKR_AS_BF16(_mm512_castps_si512(a)), TKR_AS_BF16(_mm512_castps_si512(b)))
#define TKR_TILE_STORE(p, s) _mm512_storeu_ps((float *)(void *)(p), s)
#include "kernels/x86/tile_avx512.h"

TKR_TILE_BODY

/* Two rows of 16 values to 16 pairs. */
TKR_INLINE __m512i pairs(__m512 first, __m512 second) {
    static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i both = TKR_FROM_BF16(_mm512_cvtne2ps_pbh(second, first));
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(order), both);
}

#define TKR_ATTENTION_PAIR 2
#define TKR_ATTENTION_LOAD(p, n) tkr_load_bf16(p, n)
#define TKR_ATTENTION_VALUES(p, q) pairs(p, q)
#define TKR_ATTENTION_EXP2(x) tkr_exp2_bf16(x)
#define TKR_ATTENTION_WEIGHTS(dst, x0, x1) _mm512_storeu_si512(dst, TKR_FROM_BF16(_mm512_cvtne2ps_pbh(x1, x0)))
#include "kernels/x86/attention_avx512.h"

const tkr_attention tkr_attention_bf16_avx512bf16 = {
    .name = "bf16/avx512bf16", .head = head, .scratch_bytes = scratch_bytes};
