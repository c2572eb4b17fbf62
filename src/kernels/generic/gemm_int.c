/* SPDX-License-Identifier: Apache-2.0 */
/* generic/gemm_int: int8 weights against u8 (asymmetric) or s16 (symmetric) rows in plain C, panels [16][k]; exact s32
 * sums. */
#include "kernels/generic/generic.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "quant/dtype.h"

enum { NR = TKR_GENERIC_NR };

/* Defined for every float: a NaN gets the lowest code; a row with an infinity has an infinite scale, which poisons its
 * results. */
static int32_t to_code(float x, int32_t low, int32_t high) {
    float r = nearbyintf(x);
    return r > (float)low ? (r < (float)high ? (int32_t)r : high) : low;
}

void tkr_quantize_u8_row(uint8_t *q, tkr_row_quant *quant, const float *x, size_t k, size_t k_padded) {
    float low = 0, high = 0;
    for (size_t i = 0; i < k; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    float scale = high > low ? (high - low) / 255.0f : 1.0f;
    int32_t zero = to_code(-low / scale, 0, 255);
    float inverse = 1.0f / scale;
    for (size_t i = 0; i < k; i++) {
        q[i] = (uint8_t)to_code(x[i] * inverse + (float)zero, 0, 255);
    }
    memset(q + k, zero, k_padded - k);
    *quant = (tkr_row_quant){scale, zero};
}

int32_t tkr_s16_limit(size_t k) {
    size_t limit = (size_t)INT32_MAX / (127 * (k ? k : 1));
    return limit < 32767 ? (int32_t)limit : 32767;
}

void tkr_quantize_s16_row(int16_t *q, tkr_row_quant *quant, const float *x, size_t k, size_t k_padded) {
    int32_t limit = tkr_s16_limit(k);
    float high = 0;
    for (size_t i = 0; i < k; i++) {
        high = fabsf(x[i]) > high ? fabsf(x[i]) : high;
    }
    float scale = high > 0 ? high / (float)limit : 1.0f;
    float inverse = high > 0 ? (float)limit / high : 1.0f;
    for (size_t i = 0; i < k; i++) {
        q[i] = (int16_t)to_code(x[i] * inverse, -limit, limit);
    }
    memset(q + k, 0, (k_padded - k) * sizeof *q);
    *quant = (tkr_row_quant){scale, 0};
}

static void pack_rows_u8(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld, size_t n_rows,
                         size_t k, size_t k_padded) {
    for (size_t i = 0; i < n_rows; i++) {
        tkr_quantize_u8_row((uint8_t *)dst + i * dst_stride, quant + i, src + i * ld, k, k_padded);
    }
}

static void pack_rows_s16(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld,
                          size_t n_rows, size_t k, size_t k_padded) {
    for (size_t i = 0; i < n_rows; i++) {
        int16_t *row = (int16_t *)(void *)((char *)dst + i * dst_stride);
        tkr_quantize_s16_row(row, quant + i, src + i * ld, k, k_padded);
    }
}

float tkr_s8_scale(const float *w, size_t k) {
    float high = 0;
    for (size_t i = 0; i < k; i++) {
        high = fabsf(w[i]) > high ? fabsf(w[i]) : high;
    }
    return high / 127.0f >= FLT_MIN ? high / 127.0f : 1.0f;
}

int8_t tkr_s8_code(float w, float scale) { return (int8_t)to_code(w / scale, -127, 127); }

void tkr_quantize_panel(int8_t *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t nr,
                        size_t k, size_t k_padded) {
    memset(panel, 0, nr * k_padded);
    for (size_t j = 0; j < nr; j++) {
        scale[j] = 0;
        sum[j] = 0;
        if (j >= n_cols) {
            continue;
        }
        tkr_quantize_s8_row(panel + j * k_padded, scale + j, w + j * ld, k);
        for (size_t i = 0; i < k; i++) {
            sum[j] += panel[j * k_padded + i];
        }
    }
}

static void pack_panel_s8(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                          size_t k_padded) {
    tkr_quantize_panel(panel, scale, sum, w, ld, n_cols, NR, k, k_padded);
}

static void store(const tkr_gemm_args *args, size_t m, const int32_t *acc) {
    tkr_row_quant quant = args->a_quant[m];
    float x[NR];
    for (size_t j = 0; j < NR; j++) {
        x[j] = (float)(acc[j] - quant.zero * args->b_sum[j]) * (quant.scale * args->b_scale[j]);
    }
    tkr_gemm_store_generic(args, m, x);
}

static void panel_u8(const tkr_gemm_args *args) {
    const int8_t *b = args->b;
    for (size_t m = 0; m < args->n_rows; m++) {
        const uint8_t *a = (const uint8_t *)args->a + m * args->a_stride;
        int32_t acc[NR];
        for (size_t j = 0; j < NR; j++) {
            int32_t s = 0;
            for (size_t i = 0; i < args->k_padded; i++) {
                s += (int32_t)a[i] * b[j * args->k_padded + i];
            }
            acc[j] = s;
        }
        store(args, m, acc);
    }
}

static void panel_s16(const tkr_gemm_args *args) {
    const int8_t *b = args->b;
    for (size_t m = 0; m < args->n_rows; m++) {
        const int16_t *a = (const int16_t *)(const void *)((const char *)args->a + m * args->a_stride);
        int32_t acc[NR];
        for (size_t j = 0; j < NR; j++) {
            int32_t s = 0;
            for (size_t i = 0; i < args->k_padded; i++) {
                s += (int32_t)a[i] * b[j * args->k_padded + i];
            }
            acc[j] = s;
        }
        store(args, m, acc);
    }
}

const tkr_gemm tkr_gemm_q8_generic = {
    .name = "q8/generic",
    .nr = NR,
    .mr = 1,
    .k_align = 4,
    .act_bytes = 1,
    .weight_bits = 8,
    .integer = true,
    .pack_rows = pack_rows_u8,
    .pack_panel = pack_panel_s8,
    .panel = panel_u8,
};

const tkr_gemm tkr_gemm_s16_generic = {
    .name = "s16/generic",
    .nr = NR,
    .mr = 1,
    .k_align = 2,
    .act_bytes = 2,
    .weight_bits = 8,
    .integer = true,
    .pack_rows = pack_rows_s16,
    .pack_panel = pack_panel_s8,
    .panel = panel_s16,
};
