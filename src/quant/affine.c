/* SPDX-License-Identifier: Apache-2.0 */
/* quant/affine: encoding of rows as MLX's affine quantize does (mlx/backend/cpu/quantized.cpp), and their packing. */
#include <math.h>
#include <string.h>

#include "quant/bits.h"
#include "quant/matrix.h"

/* Finite floats in their order as signed integers: integer minima vectorise where those of floats would not. */
static inline int32_t order_of(float f) {
    const int32_t bits = (int32_t)tkr_bits_of(f);
    return bits ^ (bits >> 31 & 0x7fffffff);
}

static inline float float_of_order(int32_t order) {
    return tkr_float_of((uint32_t)(order ^ (order >> 31 & 0x7fffffff)));
}

static void encode_group(uint8_t *restrict codes, float *scale, float *bias, const float *restrict w, size_t n,
                         float levels) {
    int32_t low = INT32_MAX, high = INT32_MIN;
    for (size_t i = 0; i < n; i++) {
        const int32_t order = order_of(w[i]);
        low = order < low ? order : low;
        high = order > high ? order : high;
    }
    const float lo = float_of_order(low), hi = float_of_order(high), step = (hi - lo) / levels;
    float s = step > 1e-7f ? step : 1e-7f, b = 0.0f;
    /* The end of larger magnitude becomes exact; above zero that takes a negative scale. */
    const float edge = fabsf(lo) > fabsf(hi) ? lo : hi;
    if (fabsf(lo) <= fabsf(hi)) s = -s;
    const float q0 = rintf(edge / s);
    if (q0 != 0.0f) {
        s = edge / q0;
        b = edge;
    }
    /* Adding 1.5 * 2^23 rounds half to even and leaves the integer in the low bits; |w - b| is at most `levels` steps
     * and s at least half a step, so the sum stays in that range. A NaN (0 / 0: s of a huge constant underflows)
     * compares false and becomes code 0. */
    const float shift = 12582912.0f;
    for (size_t i = 0; i < n; i++) {
        float q = (w[i] - b) / s;
        q = q > 0.0f ? q : 0.0f;
        q = q < levels ? q : levels;
        codes[i] = (uint8_t)(tkr_bits_of(q + shift) & 0xffu);
    }
    *scale = s;
    *bias = b;
}

void tkr_quantize_affine_row(uint8_t *codes, float *scale, float *bias, const float *w, size_t n, unsigned bits,
                             size_t group) {
    const float levels = (float)((1u << bits) - 1u);
    for (size_t at = 0, g = 0; at < n; at += group, g++) {
        encode_group(codes + at, scale + g, bias + g, w + at, n - at < group ? n - at : group, levels);
    }
}

void tkr_pack_codes(uint8_t *out, const uint8_t *codes, size_t n, unsigned bits) {
    if (bits == 8) {
        memcpy(out, codes, n);
        return;
    }
    for (size_t i = 0; i < n / 2; i++) out[i] = (uint8_t)(codes[2 * i] | codes[2 * i + 1] << 4);
}
