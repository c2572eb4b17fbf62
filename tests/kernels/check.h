/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the kernel checks: random numbers, buffers with exact ends, the rungs of this machine. */
#ifndef TKR_TESTS_KERNELS_CHECK_H
#define TKR_TESTS_KERNELS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/cpu.h"
#include "kernels/kernels.h"

/* xorshift64*: the same numbers on every machine. */
static inline float check_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (float)(int32_t)((*state * 2685821657736338717ull) >> 32) * 0x1p-31f;
}

static inline void check_fill(float *x, size_t n, float amplitude, uint64_t seed) {
    uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
    for (size_t i = 0; i < n; i++) {
        x[i] = amplitude * check_random(&state);
    }
}

/* 64-byte aligned; use check_alloc_exact where a write beyond the end must show. */
static inline void *check_alloc(size_t size) {
    size_t padded = (size + 63) / 64 * 64 + (size ? 0 : 64);
    void *p = aligned_alloc(64, padded);
    assert_non_null(p);
    memset(p, 0xa5, padded);
    return p;
}

/* Ends exactly at `size`; aligned as malloc does. */
static inline void *check_alloc_exact(size_t size) {
    void *p = malloc(size ? size : 1);
    assert_non_null(p);
    memset(p, 0xa5, size ? size : 1);
    return p;
}

/* Calls check for the plain C rung and for every rung up to what this CPU has. */
static inline void check_each_rung(void (*check)(const tkr_kernels *kernels)) {
    static const char *const caps[] = {"generic", "avx2",    "avx512", "vnni",    "amx",
                                       "neon",    "dotprod", "i8mm",   "arm-bf16"};
    tkr_kernels kernels;
    int n = 0;
    for (size_t i = 0; i < sizeof caps / sizeof *caps; i++) {
        tkr_cpu_flags flags = 0;
        if (tkr_cpu_detect(&flags, caps[i], NULL) != TKR_OK) {
            continue; /* not this machine's; the emulated checks cover it */
        }
        tkr_kernels_init(&kernels, flags);
        print_message("rung %s (cap %s)\n", kernels.rung, caps[i]);
        tkr_kernels_thread_enter(&kernels);
        check(&kernels);
        tkr_kernels_thread_leave(&kernels);
        n++;
    }
    assert_true(n > 0);
}

#endif
