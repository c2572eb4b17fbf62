/* SPDX-License-Identifier: Apache-2.0 */
/* x86/attention_f32_avx512: attention in f32 throughout. */
#include "kernels/x86/avx512.h"
#include "kernels/x86/pack_avx512.h"

#define TKR_TILE_ACC __m512
#define TKR_TILE_ZERO _mm512_setzero_ps()
#define TKR_TILE_A(p) _mm512_set1_ps(tkr_granule_f32(p))
#define TKR_TILE_B(p, c) _mm512_loadu_ps((const float *)(const void *)((p) + 64 * (c)))
#define TKR_TILE_MAC(s, a, b) _mm512_fmadd_ps(a, b, s)
#define TKR_TILE_STORE(p, s) _mm512_storeu_ps((float *)(void *)(p), s)
#include "kernels/x86/tile_avx512.h"

TKR_TILE_BODY

#define TKR_ATTENTION_PAIR 1
#define TKR_ATTENTION_LOAD(p, n) _mm512_castps_si512(tkr_load_f32(p, n))
#define TKR_ATTENTION_VALUES(p, q) _mm512_castps_si512(((void)(q), p))
#define TKR_ATTENTION_EXP2(x) tkr_exp2(x)
#define TKR_ATTENTION_WEIGHTS(dst, x0, x1) _mm512_storeu_ps((float *)(void *)(dst), x0)
#include "kernels/x86/attention_avx512.h"

const tkr_attention tkr_attention_f32_avx512 = {.name = "f32/avx512", .head = head, .scratch_bytes = scratch_bytes};
