/* SPDX-License-Identifier: Apache-2.0 */
/* quant/bits: private to quant: the bits of small float formats, branch-free so that loops over them vectorise. */
#ifndef TKR_QUANT_BITS_H
#define TKR_QUANT_BITS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t tkr_bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float tkr_float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint16_t tkr_load_u16(const uint8_t *at) {
    uint16_t u;
    memcpy(&u, at, sizeof u);
    return u;
}

/* IEEE binary16 to the bits of the same binary32. All three cases are computed and one is chosen by masks: no branch,
 * and nothing that a flush-to-zero mode would change. */
static inline uint32_t tkr_widen_f16_bits(uint32_t h) {
    const uint32_t magnitude = h & 0x7fffu, moved = magnitude << 13;
    const uint32_t is_subnormal = 0u - ((magnitude - 0x0400u) >> 31),
                   is_not_finite = 0u - ((0x7bffu - magnitude) >> 31);
    /* Exponent bias 15 -> 127; exponent 31 of infinities and NaNs -> 255. */
    const uint32_t normal = moved + (112u << 23) + (is_not_finite & 112u << 23);
    /* A subnormal m * 2^-24 is (2^-14 + m * 2^-24) - 2^-14, exact and without subnormal f32 on the way. */
    const uint32_t subnormal = tkr_bits_of(tkr_float_of((113u << 23) + moved) - tkr_float_of(113u << 23));
    return (normal & ~is_subnormal) | (subnormal & is_subnormal) | (h & 0x8000u) << 16;
}

static inline float tkr_load_f16(const uint8_t *at) { return tkr_float_of(tkr_widen_f16_bits(tkr_load_u16(at))); }

/* OCP 8-bit float E4M3 (no infinities; 0x7f and 0xff are NaN): an f16 with the exponent's bias off by 8. */
static inline float tkr_widen_e4m3(uint32_t h) {
    const uint32_t magnitude = h & 0x7fu, is_nan = 0u - ((0x7eu - magnitude) >> 31);
    const float value = tkr_float_of(tkr_widen_f16_bits((h & 0x80u) << 8 | magnitude << 7)) * 256.0f;
    return tkr_float_of(tkr_bits_of(value) | (is_nan & 0x7fc00000u));
}

#endif
