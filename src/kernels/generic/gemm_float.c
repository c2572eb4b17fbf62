/* SPDX-License-Identifier: Apache-2.0 */
/* generic/gemm_float: f32 and bf16 GEMM in plain C, panels [k][16]; bf16 multiplies exactly and accumulates in f32. */
#include "kernels/generic/generic.h"

#include <string.h>

#include "quant/dtype.h"

enum { NR = TKR_GENERIC_NR };

void tkr_gemm_store_generic(const tkr_gemm_args *args, size_t row, const float *x) {
    float *c = args->c + row * args->ldc;
    const float *residual = args->residual ? args->residual + row * args->ld_residual : NULL;
    for (size_t j = 0; j < args->n_cols; j++) {
        float y = tkr_activate_one(args->bias ? x[j] + args->bias[j] : x[j], args->activation);
        c[j] = residual ? y + residual[j] : y;
    }
}

static void pack_rows_f32(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld,
                          size_t n_rows, size_t k, size_t k_padded) {
    (void)quant;
    for (size_t i = 0; i < n_rows; i++) {
        char *row = (char *)dst + i * dst_stride;
        memcpy(row, src + i * ld, k * sizeof(float));
        memset(row + k * sizeof(float), 0, (k_padded - k) * sizeof(float));
    }
}

static void pack_panel_f32(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                           size_t k_padded) {
    (void)scale;
    (void)sum;
    float *b = panel;
    memset(b, 0, k_padded * NR * sizeof(float));
    for (size_t j = 0; j < n_cols; j++) {
        for (size_t i = 0; i < k; i++) {
            b[i * NR + j] = w[j * ld + i];
        }
    }
}

static void panel_f32(const tkr_gemm_args *args) {
    const float *b = args->b;
    for (size_t m = 0; m < args->n_rows; m++) {
        const float *a = (const float *)(const void *)((const char *)args->a + m * args->a_stride);
        float acc[NR] = {0};
        for (size_t i = 0; i < args->k_padded; i++) {
            for (size_t j = 0; j < NR; j++) {
                acc[j] += a[i] * b[i * NR + j];
            }
        }
        tkr_gemm_store_generic(args, m, acc);
    }
}

static void pack_rows_bf16(void *dst, size_t dst_stride, tkr_row_quant *quant, const float *src, size_t ld,
                           size_t n_rows, size_t k, size_t k_padded) {
    (void)quant;
    for (size_t i = 0; i < n_rows; i++) {
        uint16_t *row = (uint16_t *)(void *)((char *)dst + i * dst_stride);
        for (size_t j = 0; j < k; j++) {
            row[j] = tkr_f32_to_bf16(src[i * ld + j]);
        }
        memset(row + k, 0, (k_padded - k) * sizeof(uint16_t));
    }
}

static void pack_panel_bf16(void *panel, float *scale, int32_t *sum, const float *w, size_t ld, size_t n_cols, size_t k,
                            size_t k_padded) {
    (void)scale;
    (void)sum;
    uint16_t *b = panel;
    memset(b, 0, k_padded * NR * sizeof(uint16_t));
    for (size_t j = 0; j < n_cols; j++) {
        for (size_t i = 0; i < k; i++) {
            b[i * NR + j] = tkr_f32_to_bf16(w[j * ld + i]);
        }
    }
}

static void panel_bf16(const tkr_gemm_args *args) {
    const uint16_t *b = args->b;
    for (size_t m = 0; m < args->n_rows; m++) {
        const uint16_t *a = (const uint16_t *)(const void *)((const char *)args->a + m * args->a_stride);
        float acc[NR] = {0};
        for (size_t i = 0; i < args->k_padded; i++) {
            float x = tkr_bf16_to_f32(a[i]);
            for (size_t j = 0; j < NR; j++) {
                acc[j] += x * tkr_bf16_to_f32(b[i * NR + j]);
            }
        }
        tkr_gemm_store_generic(args, m, acc);
    }
}

const tkr_gemm tkr_gemm_f32_generic = {
    .name = "f32/generic",
    .nr = NR,
    .mr = 1,
    .k_align = 1,
    .act_bytes = 4,
    .weight_bits = 32,
    .rows_in_place = true,
    .pack_rows = pack_rows_f32,
    .pack_panel = pack_panel_f32,
    .panel = panel_f32,
};

const tkr_gemm tkr_gemm_bf16_generic = {
    .name = "bf16/generic",
    .nr = NR,
    .mr = 1,
    .k_align = 2,
    .act_bytes = 2,
    .weight_bits = 16,
    .pack_rows = pack_rows_bf16,
    .pack_panel = pack_panel_bf16,
    .panel = panel_bf16,
};
