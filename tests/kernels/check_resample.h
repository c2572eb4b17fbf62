/* SPDX-License-Identifier: Apache-2.0 */
/* What every resampling pass must hold: the bytes of the plain C, nothing read or written beyond the ends. */
#ifndef TKR_TESTS_KERNELS_CHECK_RESAMPLE_H
#define TKR_TESTS_KERNELS_CHECK_RESAMPLE_H

#include "check.h"
#include "kernels/generic/generic.h"

/* Windows of up to n_taps inputs of an axis of n_in, with any weights: sums wrap and clamp. */
typedef struct resample_case {
    int32_t *first, *n_taps;
    int16_t *low, *high;
    tkr_windows windows;
} resample_case;

static uint32_t check_bits(uint64_t *state) { return (uint32_t)(int32_t)(check_random(state) * 0x1p31f * 0.9999f); }

static void resample_case_init(resample_case *c, size_t n_in, size_t n_out, size_t n_taps, bool padded) {
    const size_t ld = (n_taps + 7) / 8 * 8;
    uint64_t state = n_in * 1000 + n_out * 10 + n_taps;
    c->first = check_alloc_exact(n_out * sizeof *c->first);
    c->n_taps = check_alloc_exact(n_out * sizeof *c->n_taps);
    c->low = check_alloc_exact(n_out * ld * sizeof *c->low);
    c->high = check_alloc_exact(n_out * ld * sizeof *c->high);
    memset(c->low, 0, n_out * ld * sizeof *c->low);
    memset(c->high, 0, n_out * ld * sizeof *c->high);
    for (size_t i = 0; i < n_out; i++) {
        const size_t n = 1 + (check_bits(&state) >> 8) % n_taps, room = padded ? (n + 7) / 8 * 8 : n;
        c->n_taps[i] = (int32_t)n;
        /* the first and last output touch the ends */
        c->first[i] = (int32_t)(i == 0           ? 0
                                : i + 1 == n_out ? n_in - room
                                                 : (check_bits(&state) >> 8) % (n_in - room + 1));
        for (size_t t = 0; t < n; t++) {
            const int32_t weight = (int32_t)(check_bits(&state) >> 9) - (1 << 21); /* -0.5 .. 1.5 */
            c->low[i * ld + t] = (int16_t)(weight & 0x7fff);
            c->high[i * ld + t] = (int16_t)(weight >> 15);
        }
    }
    c->windows = (tkr_windows){c->first, c->n_taps, c->low, c->high, n_out, ld, padded};
}

static void resample_case_free(resample_case *c) {
    free(c->first);
    free(c->n_taps);
    free(c->low);
    free(c->high);
}

/* Both ways of one pass; the strides leave a gap between the rows that stays as it is. */
static void check_pass(tkr_resample_fn *pass, tkr_resample_fn *reference, tkr_resample_args args, size_t in_size,
                       size_t out_size) {
    uint8_t *in = check_alloc_exact(in_size), *out = check_alloc_exact(out_size), *want = check_alloc_exact(out_size);
    uint64_t state = in_size + out_size;
    for (size_t i = 0; i < in_size; i++) {
        const uint32_t bits = check_bits(&state);
        in[i] = (uint8_t)(bits >> 30 ? bits >> 16 : bits >> 29 ? 255 : 0);
    }
    args.in = in;
    args.out = want;
    reference(&args);
    args.out = out;
    pass(&args);
    assert_memory_equal(out, want, out_size);
    free(in);
    free(out);
    free(want);
}

static void check_resample(const tkr_kernels *kernels) {
    static const size_t taps[] = {1, 2, 4, 5, 8, 9, 17, 73}, rows[] = {1, 2, 4, 5, 9},
                        widths[] = {1, 3, 10, 11, 22, 43};
    for (size_t t = 0; t < sizeof taps / sizeof *taps; t++) {
        for (int padded = 0; padded < 2; padded++) {
            const size_t n_in = padded ? (taps[t] + 7) / 8 * 8 + 3 * t : taps[t] + t;
            resample_case c;
            resample_case_init(&c, n_in, 12, taps[t], padded != 0);
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
                const tkr_resample_args args = {
                    .out_stride = 12 * 3 + 5, .in_stride = n_in * 3 + r, .windows = &c.windows, .n_rows = rows[r]};
                check_pass(kernels->resample_x, tkr_resample_x_generic, args, (rows[r] - 1) * args.in_stride + n_in * 3,
                           (rows[r] - 1) * args.out_stride + 12 * 3);
            }
            for (size_t x = 0; x < sizeof widths / sizeof *widths; x++) {
                const size_t bytes = widths[x] * 3;
                const tkr_resample_args args = {
                    .out_stride = bytes + 2, .in_stride = bytes + x, .windows = &c.windows, .row_bytes = bytes};
                check_pass(kernels->resample_y, tkr_resample_y_generic, args, (n_in - 1) * args.in_stride + bytes,
                           11 * args.out_stride + bytes);
            }
            resample_case_free(&c);
        }
    }
}

/* By hand: 22-bit weights, half added, both clamps. */
static void check_resample_values(const tkr_kernels *kernels) {
    const int32_t first[4] = {0, 1, 0, 7}, n_taps[4] = {2, 2, 3, 1};
    /* 0.5 0.5 | 1.5 -0.5 | -1 1 0.25 | 1 */
    const int32_t weights[4][3] = {
        {1 << 21, 1 << 21}, {3 << 21, -(1 << 21)}, {-(1 << 22), 1 << 22, 1 << 20}, {1 << 22}};
    int16_t low[4 * 8] = {0}, high[4 * 8] = {0};
    for (size_t i = 0; i < 4; i++) {
        for (size_t t = 0; t < 3; t++) {
            low[i * 8 + t] = (int16_t)(weights[i][t] & 0x7fff);
            high[i * 8 + t] = (int16_t)(weights[i][t] >> 15);
        }
    }
    const tkr_windows windows = {first, n_taps, low, high, 4, 8, false};
    const uint8_t in[8 * 3] = {10, 0, 255, 11, 200, 255, 13, 5, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 128, 255};
    const uint8_t want[4 * 3] = {11, 100, 255, 10, 255, 255, 4, 201, 1, 1, 128, 255};
    uint8_t out[4 * 3];
    const tkr_resample_args x = {
        .out = out, .in = in, .out_stride = 12, .in_stride = 24, .windows = &windows, .n_rows = 1};
    kernels->resample_x(&x);
    assert_memory_equal(out, want, sizeof want);
    const tkr_resample_args y = {
        .out = out, .in = in, .out_stride = 3, .in_stride = 3, .windows = &windows, .row_bytes = 3};
    kernels->resample_y(&y);
    assert_memory_equal(out, want, sizeof want);
}

static void check_resample_kernels(const tkr_kernels *kernels) {
    check_resample_values(kernels);
    check_resample(kernels);
}

#endif
