/* SPDX-License-Identifier: Apache-2.0 */
/* arm/resample_neon: one pass of 8-bit resampling: widening multiply-adds of 16-bit taps, the two halves of the weights
 * summed apart. Sums are modulo 2^32, so neither their order nor an overflow on the way changes a byte. */
#include <arm_neon.h>

#include "kernels/arm/arm.h"
#include "kernels/generic/generic.h"

/* Low and high half of the sums of one channel. */
typedef struct sums {
    int32x4_t low, high;
} sums;

TKR_INLINE int32x4_t join(sums s) { return vaddq_s32(s.low, vshlq_n_s32(s.high, 15)); }

TKR_INLINE sums eight_taps(sums s, uint8x8_t pixels, int16x8_t low, int16x8_t high) {
    const int16x8_t x = vreinterpretq_s16_u16(vmovl_u8(pixels));
    s.low = vmlal_s16(s.low, vget_low_s16(x), vget_low_s16(low));
    s.high = vmlal_s16(s.high, vget_low_s16(x), vget_low_s16(high));
    s.low = vmlal_high_s16(s.low, x, low);
    s.high = vmlal_high_s16(s.high, x, high);
    return s;
}

TKR_INLINE uint8_t finish(sums s) {
    const int32_t value = (int32_t)((uint32_t)vaddvq_s32(join(s)) + (1u << 21)) >> 22;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

void tkr_resample_x_neon(const tkr_resample_args *args) {
    const tkr_windows *w = args->windows;
    if (!w->padded) {
        tkr_resample_x_generic(args);
        return;
    }
    for (size_t r = 0; r < args->n_rows; r++) {
        uint8_t *out = args->out + r * args->out_stride;
        for (size_t i = 0; i < w->n; i++, out += 3) {
            const uint8_t *in = args->in + r * args->in_stride + (size_t)w->first[i] * 3;
            const sums none = {vdupq_n_s32(0), vdupq_n_s32(0)};
            sums s[3] = {none, none, none};
            for (size_t tap = 0; tap < (size_t)w->n_taps[i]; tap += 8) {
                const uint8x8x3_t pixels = vld3_u8(in + 3 * tap);
                const int16x8_t low = vld1q_s16(w->low + i * w->ld + tap), high = vld1q_s16(w->high + i * w->ld + tap);
                for (size_t c = 0; c < 3; c++) {
                    s[c] = eight_taps(s[c], pixels.val[c], low, high);
                }
            }
            for (size_t c = 0; c < 3; c++) {
                out[c] = finish(s[c]);
            }
        }
    }
}

/* Bytes x .. x + 15 of output row i. */
TKR_INLINE void columns(const tkr_resample_args *args, size_t i, size_t x) {
    const tkr_windows *w = args->windows;
    const uint8_t *in = args->in + (size_t)w->first[i] * args->in_stride + x;
    const sums start = {vdupq_n_s32(1 << 21), vdupq_n_s32(0)};
    sums s[4] = {start, start, start, start};
    for (size_t tap = 0; tap < (size_t)w->n_taps[i]; tap++, in += args->in_stride) {
        const int16_t low = w->low[i * w->ld + tap], high = w->high[i * w->ld + tap];
        const uint8x16_t bytes = vld1q_u8(in);
        const int16x8_t words[2] = {vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes))),
                                    vreinterpretq_s16_u16(vmovl_high_u8(bytes))};
        for (size_t k = 0; k < 4; k++) {
            const int16x4_t part = k % 2 ? vget_high_s16(words[k / 2]) : vget_low_s16(words[k / 2]);
            s[k].low = vmlal_n_s16(s[k].low, part, low);
            s[k].high = vmlal_n_s16(s[k].high, part, high);
        }
    }
    int16x4_t narrow[4]; /* values of -512..511 */
    for (size_t k = 0; k < 4; k++) {
        narrow[k] = vmovn_s32(vshrq_n_s32(join(s[k]), 22));
    }
    const uint8x8_t a = vqmovun_s16(vcombine_s16(narrow[0], narrow[1]));
    vst1q_u8(args->out + i * args->out_stride + x, vcombine_u8(a, vqmovun_s16(vcombine_s16(narrow[2], narrow[3]))));
}

void tkr_resample_y_neon(const tkr_resample_args *args) {
    if (args->row_bytes < 16) {
        tkr_resample_y_generic(args);
        return;
    }
    for (size_t i = 0; i < args->windows->n; i++) {
        for (size_t x = 0; x + 16 <= args->row_bytes; x += 16) {
            columns(args, i, x);
        }
        if (args->row_bytes % 16 != 0) {
            columns(args, i, args->row_bytes - 16); /* some bytes twice, to the same values */
        }
    }
}
