/* SPDX-License-Identifier: Apache-2.0 */
/* quant/dtype: storage types of tensors and their scalar conversion, the reference for every vector version. */
#ifndef TKR_QUANT_DTYPE_H
#define TKR_QUANT_DTYPE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* X(name, bytes per element, safetensors name, may be weights) */
#define TKR_DTYPE_LIST(X)       \
    X(F32, 4, "F32", 1)         \
    X(F16, 2, "F16", 1)         \
    X(BF16, 2, "BF16", 1)       \
    X(F64, 8, "F64", 0)         \
    X(I64, 8, "I64", 0)         \
    X(I32, 4, "I32", 0)         \
    X(I16, 2, "I16", 0)         \
    X(I8, 1, "I8", 0)           \
    X(U64, 8, "U64", 0)         \
    X(U32, 4, "U32", 0)         \
    X(U16, 2, "U16", 0)         \
    X(U8, 1, "U8", 0)           \
    X(F8_E4M3, 1, "F8_E4M3", 0) \
    X(F8_E5M2, 1, "F8_E5M2", 0) \
    X(BOOL, 1, "BOOL", 0)

typedef enum tkr_dtype {
#define TKR_X(name, size, text, weights) TKR_DTYPE_##name,
    TKR_DTYPE_LIST(TKR_X)
#undef TKR_X
        TKR_DTYPE_COUNT
} tkr_dtype;

size_t tkr_dtype_size(tkr_dtype dtype);
const char *tkr_dtype_name(tkr_dtype dtype);
/* TKR_DTYPE_COUNT when the name is unknown. */
tkr_dtype tkr_dtype_parse(const char *name, size_t n);

float tkr_f16_to_f32(uint16_t h);
uint16_t tkr_f32_to_bf16(float f); /* round to nearest even; NaN stays NaN */
static inline float tkr_bf16_to_f32(uint16_t h) {
    union {
        uint32_t u;
        float f;
    } v = {(uint32_t)h << 16};
    return v.f;
}
/* Widens n elements of F32, F16 or BF16 (any alignment). */
void tkr_widen(float *out, const void *in, tkr_dtype dtype, size_t n);

/* Symmetric int8 of one output channel of finite values: *scale = absmax / 127, q = round-half-even(w / scale) in
 * -127..127. Where absmax / 127 is below FLT_MIN the row counts as zero: *scale = 1, q = 0. */
void tkr_quantize_s8_row(int8_t *q, float *scale, const float *w, size_t n);
/* Returns 1 when every value is finite. */
int tkr_all_finite(const float *x, size_t n);

#endif
