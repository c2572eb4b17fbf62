/* SPDX-License-Identifier: Apache-2.0 */
/* quant/bits: private to quant: the bits of small float formats, branch-free so that loops over them vectorise. */
#ifndef TKR_QUANT_BITS_H
#define TKR_QUANT_BITS_H

#include <stdint.h>
#include <string.h>

#include "core/half.h"

static inline uint16_t tkr_load_u16(const uint8_t *at) {
    uint16_t u;
    memcpy(&u, at, sizeof u);
    return u;
}

static inline float tkr_load_f16(const uint8_t *at) { return tkr_float_of(tkr_widen_f16_bits(tkr_load_u16(at))); }

/* OCP 8-bit float E4M3 (no infinities; 0x7f and 0xff are NaN): an f16 with the exponent's bias off by 8. */
static inline float tkr_widen_e4m3(uint32_t h) {
    const uint32_t magnitude = h & 0x7fu, is_nan = 0u - ((0x7eu - magnitude) >> 31);
    const float value = tkr_float_of(tkr_widen_f16_bits((h & 0x80u) << 8 | magnitude << 7)) * 256.0f;
    return tkr_float_of(tkr_bits_of(value) | (is_nan & 0x7fc00000u));
}

#endif
