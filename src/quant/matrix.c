/* SPDX-License-Identifier: Apache-2.0 */
/* quant/matrix: which decoder a stored row needs. */
#include "quant/matrix.h"

#include "quant/decode.h"

enum { GGUF_GROUP4 = 32 }; /* values under one scale and minimum in Q4_0, Q4_1 and Q4_K */

size_t tkr_matrix_row_bytes(const tkr_matrix *m) {
    if (m->mode != TKR_GROUP_NONE) return m->cols * m->bits / 8;
    return m->cols / tkr_dtype_block(m->dtype) * tkr_dtype_size(m->dtype);
}

static const uint8_t *row_of(const tkr_matrix *m, size_t row) {
    return (const uint8_t *)m->data + row * tkr_matrix_row_bytes(m);
}

void tkr_matrix_row(float *out, const tkr_matrix *m, size_t row) {
    if (m->mode != TKR_GROUP_NONE)
        tkr_groups_row(out, m, row);
    else if (tkr_dtype_class(m->dtype) == 2)
        tkr_gguf_row(out, row_of(m, row), m->dtype, m->cols);
    else
        tkr_widen(out, row_of(m, row), m->dtype, m->cols);
}

size_t tkr_matrix_group4(const tkr_matrix *m) {
    if (m->mode == TKR_GROUP_AFFINE) return m->bits <= 4 ? m->group_size : 0;
    if (m->mode != TKR_GROUP_NONE) return 0;
    return m->dtype == TKR_DTYPE_Q4_0 || m->dtype == TKR_DTYPE_Q4_1 || m->dtype == TKR_DTYPE_Q4_K ? GGUF_GROUP4 : 0;
}

void tkr_matrix_row_group4(uint8_t *codes, float *scale, float *bias, const tkr_matrix *m, size_t row) {
    if (m->mode == TKR_GROUP_AFFINE)
        tkr_groups_row_group4(codes, scale, bias, m, row);
    else
        tkr_gguf_row_group4(codes, scale, bias, row_of(m, row), m->dtype, m->cols);
}
