/* SPDX-License-Identifier: Apache-2.0 */
/* generic/resample: one pass of Pillow's 8-bit resampling, one value at a time. */
#include "kernels/generic/generic.h"

static int32_t weight_at(const tkr_windows *w, size_t i, size_t tap) {
    return w->high[i * w->ld + tap] * (1 << 15) + w->low[i * w->ld + tap];
}

static uint8_t finish(uint32_t sum) {
    const int32_t value = (int32_t)(sum + (1u << 21)) >> 22; /* arithmetic shift: gcc and clang promise it */
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

void tkr_resample_x_generic(const tkr_resample_args *args) {
    const tkr_windows *w = args->windows;
    for (size_t r = 0; r < args->n_rows; r++) {
        uint8_t *out = args->out + r * args->out_stride;
        for (size_t i = 0; i < w->n; i++, out += 3) {
            const uint8_t *in = args->in + r * args->in_stride + (size_t)w->first[i] * 3;
            uint32_t sum[3] = {0, 0, 0};
            for (size_t tap = 0; tap < (size_t)w->n_taps[i]; tap++, in += 3) {
                const uint32_t weight = (uint32_t)weight_at(w, i, tap);
                for (size_t c = 0; c < 3; c++) {
                    sum[c] += weight * in[c];
                }
            }
            for (size_t c = 0; c < 3; c++) {
                out[c] = finish(sum[c]);
            }
        }
    }
}

void tkr_resample_y_generic(const tkr_resample_args *args) {
    const tkr_windows *w = args->windows;
    for (size_t i = 0; i < w->n; i++) {
        const uint8_t *in = args->in + (size_t)w->first[i] * args->in_stride;
        for (size_t x = 0; x < args->row_bytes; x++) {
            uint32_t sum = 0;
            for (size_t tap = 0; tap < (size_t)w->n_taps[i]; tap++) {
                sum += (uint32_t)weight_at(w, i, tap) * in[tap * args->in_stride + x];
            }
            args->out[i * args->out_stride + x] = finish(sum);
        }
    }
}
