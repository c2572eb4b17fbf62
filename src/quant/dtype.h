/* SPDX-License-Identifier: Apache-2.0 */
/* quant/dtype: storage types of tensors and their scalar conversion, the reference for every vector version. */
#ifndef TKR_QUANT_DTYPE_H
#define TKR_QUANT_DTYPE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/half.h"

/* X(name, elements per block, bytes per block, text, class). Plain numbers have blocks of one. Class 1: plain numbers
 * that may be weights; 2: blocks of a GGUF file, rows of whole blocks; 0: neither. */
#define TKR_DTYPE_LIST(X)            \
    X(F32, 1, 4, "F32", 1)           \
    X(F16, 1, 2, "F16", 1)           \
    X(BF16, 1, 2, "BF16", 1)         \
    X(F64, 1, 8, "F64", 0)           \
    X(I64, 1, 8, "I64", 0)           \
    X(I32, 1, 4, "I32", 0)           \
    X(I16, 1, 2, "I16", 0)           \
    X(I8, 1, 1, "I8", 0)             \
    X(U64, 1, 8, "U64", 0)           \
    X(U32, 1, 4, "U32", 0)           \
    X(U16, 1, 2, "U16", 0)           \
    X(U8, 1, 1, "U8", 0)             \
    X(F8_E4M3, 1, 1, "F8_E4M3", 0)   \
    X(F8_E5M2, 1, 1, "F8_E5M2", 0)   \
    X(BOOL, 1, 1, "BOOL", 0)         \
    X(Q4_0, 32, 18, "Q4_0", 2)       \
    X(Q4_1, 32, 20, "Q4_1", 2)       \
    X(Q5_0, 32, 22, "Q5_0", 2)       \
    X(Q5_1, 32, 24, "Q5_1", 2)       \
    X(Q8_0, 32, 34, "Q8_0", 2)       \
    X(Q2_K, 256, 84, "Q2_K", 2)      \
    X(Q3_K, 256, 110, "Q3_K", 2)     \
    X(Q4_K, 256, 144, "Q4_K", 2)     \
    X(Q5_K, 256, 176, "Q5_K", 2)     \
    X(Q6_K, 256, 210, "Q6_K", 2)     \
    X(IQ4_NL, 32, 18, "IQ4_NL", 2)   \
    X(IQ4_XS, 256, 136, "IQ4_XS", 2) \
    X(MXFP4, 32, 17, "MXFP4", 2)

typedef enum tkr_dtype {
#define TKR_X(name, block, bytes, text, class) TKR_DTYPE_##name,
    TKR_DTYPE_LIST(TKR_X)
#undef TKR_X
        TKR_DTYPE_COUNT
} tkr_dtype;

/* Bytes of a block: of one element for plain numbers. 0 for values outside of the list. */
size_t tkr_dtype_size(tkr_dtype dtype);
/* Elements of a block. */
size_t tkr_dtype_block(tkr_dtype dtype);
/* 0, 1 or 2 as in the list. */
int tkr_dtype_class(tkr_dtype dtype);
const char *tkr_dtype_name(tkr_dtype dtype);
/* By the name that safetensors uses: plain numbers only. TKR_DTYPE_COUNT when unknown. */
tkr_dtype tkr_dtype_parse(const char *name, size_t n);

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
