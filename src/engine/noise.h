/* SPDX-License-Identifier: Apache-2.0 */
/* engine/noise: the built-in numbers of self-tests, the same on every machine. */
#ifndef TKR_ENGINE_NOISE_H
#define TKR_ENGINE_NOISE_H

#include <stddef.h>
#include <stdint.h>

/* From -1 to 1. */
static inline float tkr_noise(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * (1.0f / 2147483648.0f);
}

static inline void tkr_noise_fill(float *x, size_t n, uint32_t seed) {
    for (size_t i = 0; i < n; i++) x[i] = tkr_noise(&seed);
}

#endif
