/* SPDX-License-Identifier: Apache-2.0 */
/* core/half: IEEE binary16 and the bits of binary32, without the compiler's half type. */
#ifndef TKR_CORE_HALF_H
#define TKR_CORE_HALF_H

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

static inline float tkr_f16_to_f32(uint16_t h) { return tkr_float_of(tkr_widen_f16_bits(h)); }

/* Rounds to nearest even; NaN stays NaN. */
static inline uint16_t tkr_f32_to_f16(float f) {
    const uint32_t u = tkr_bits_of(f), magnitude = u & 0x7fffffffu, sign = u >> 16 & 0x8000u;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);  /* NaN */
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* from 65520 on the nearest is infinity */
    uint32_t h;
    if (magnitude < 0x38800000u) {
        /* Below 2^-14: with 0.5 added, the last bit of the sum is worth 2^-24, an f16 subnormal's own. */
        h = tkr_bits_of(tkr_float_of(magnitude) + 0.5f) - (126u << 23);
    } else {
        h = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    }
    return (uint16_t)(sign | h);
}

#endif
