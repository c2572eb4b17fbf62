/* SPDX-License-Identifier: Apache-2.0 */
/* Values a second that each stored format decodes to f32, and that the affine encoder takes, on one core. */
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "quant/matrix.h"

enum { ROWS = 64, COLS = 4096, ROUNDS = 20 };

static uint8_t data[ROWS * COLS * 4], scales[ROWS * COLS], biases[ROWS * COLS];
static float row[COLS];

static void measure(const char *name, const tkr_matrix *m) {
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        const double start = tkr_now();
        for (size_t r = 0; r < m->rows; r++) {
            tkr_matrix_row(row, m, r);
            __asm__ volatile("" : : "r"(row) : "memory");
        }
        const double time = tkr_now() - start;
        best = time < best ? time : best;
    }
    printf("%-12s %6.2f Gvalues/s\n", name, (double)m->rows * COLS / best * 1e-9);
}

static void measure_encoder(unsigned bits) {
    static uint8_t codes[COLS];
    static float s[COLS / 32], b[COLS / 32];
    double best = 1e9;
    for (size_t i = 0; i < COLS; i++) row[i] = (float)((i * 2654435761u) % 1000) - 500.0f;
    for (int round = 0; round < ROUNDS; round++) {
        const double start = tkr_now();
        for (size_t r = 0; r < ROWS; r++) {
            tkr_quantize_affine_row(codes, s, b, row, COLS, bits, 64);
            __asm__ volatile("" : : "r"(codes) : "memory");
        }
        const double time = tkr_now() - start;
        best = time < best ? time : best;
    }
    printf("encode b%u    %6.2f Gvalues/s\n", bits, (double)ROWS * COLS / best * 1e-9);
}

int main(void) {
    static const unsigned bits[] = {2, 3, 4, 5, 6, 8};
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)((i * 2654435761u) >> 13 & 0x3b); /* no NaN, no infinity */
    memset(scales, 0x38, sizeof scales);                     /* subnormal numbers would be slow */
    tkr_matrix m = {data, TKR_DTYPE_U32, ROWS, COLS, TKR_GROUP_AFFINE, 4, 64, TKR_DTYPE_F16, scales, biases};
    for (size_t i = 0; i < 6; i++) {
        char name[32];
        m.bits = bits[i];
        snprintf(name, sizeof name, "affine b%u", bits[i]);
        measure(name, &m);
    }
    m = (tkr_matrix){data, TKR_DTYPE_U32, ROWS, COLS, TKR_GROUP_MXFP4, 4, 32, TKR_DTYPE_U8, scales, NULL};
    measure("mxfp4", &m);
    m.mode = TKR_GROUP_MXFP8;
    m.bits = 8;
    measure("mxfp8", &m);
    m = (tkr_matrix){data, TKR_DTYPE_U32, ROWS, COLS, TKR_GROUP_NVFP4, 4, 16, TKR_DTYPE_U8, scales, NULL};
    measure("nvfp4", &m);
    for (int dtype = 0; dtype < TKR_DTYPE_COUNT; dtype++) {
        m = (tkr_matrix){.data = data, .dtype = (tkr_dtype)dtype, .rows = ROWS, .cols = COLS};
        if (tkr_dtype_class(m.dtype) != 0) measure(tkr_dtype_name(m.dtype), &m);
    }
    measure_encoder(4);
    measure_encoder(8);
    return 0;
}
