/* SPDX-License-Identifier: Apache-2.0 */
/* Matrices by hand: sizes, plain rows, the small float formats against their definitions, the encoder's corners. The
 * formats as other programs write them are in tests/formats (golden files). */
#include "quant/matrix.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_plain(void **state) {
    (void)state;
    const uint16_t data[6] = {0x3f80, 0xbf80, 0, 0x4000, 0x4040, 0x3f00};
    const tkr_matrix m = {.data = data, .dtype = TKR_DTYPE_BF16, .rows = 2, .cols = 3};
    float row[3];
    assert_int_equal(tkr_matrix_row_bytes(&m), 6);
    assert_int_equal(tkr_matrix_group4(&m), 0);
    tkr_matrix_row(row, &m, 1);
    assert_true(row[0] == 2.0f && row[1] == 3.0f && row[2] == 0.5f);
}

static void test_sizes(void **state) {
    (void)state;
    tkr_matrix m = {.dtype = TKR_DTYPE_Q4_K, .rows = 3, .cols = 512};
    assert_int_equal(tkr_matrix_row_bytes(&m), 288);
    assert_int_equal(tkr_matrix_group4(&m), 32);
    m.dtype = TKR_DTYPE_Q4_0;
    assert_int_equal(tkr_matrix_row_bytes(&m), 288);
    assert_int_equal(tkr_matrix_group4(&m), 32);
    m.dtype = TKR_DTYPE_Q2_K;
    assert_int_equal(tkr_matrix_group4(&m), 0);
    m = (tkr_matrix){.mode = TKR_GROUP_AFFINE, .cols = 128, .bits = 3, .group_size = 64};
    assert_int_equal(tkr_matrix_row_bytes(&m), 48);
    assert_int_equal(tkr_matrix_group4(&m), 64);
    m.bits = 5;
    assert_int_equal(tkr_matrix_row_bytes(&m), 80);
    assert_int_equal(tkr_matrix_group4(&m), 0);
}

/* Sign, 4 bits of exponent (bias 7), 3 bits of mantissa; no infinity. */
static double e4m3_by_definition(unsigned h) {
    const int exponent = (int)(h >> 3 & 15u);
    const double mantissa = (h & 7u) / 8.0, sign = h >> 7 ? -1.0 : 1.0;
    if ((h & 0x7f) == 0x7f) return (double)NAN;
    return exponent == 0 ? sign * ldexp(mantissa, -6) : sign * ldexp(1.0 + mantissa, exponent - 7);
}

/* All 256 elements under all 256 scales. */
static void test_mxfp8(void **state) {
    (void)state;
    uint8_t data[256], scales[8];
    float row[256];
    for (unsigned i = 0; i < 256; i++) data[i] = (uint8_t)i;
    const tkr_matrix m = {.data = data,
                          .dtype = TKR_DTYPE_U32,
                          .rows = 1,
                          .cols = 256,
                          .mode = TKR_GROUP_MXFP8,
                          .bits = 8,
                          .group_size = 32,
                          .scale_dtype = TKR_DTYPE_U8,
                          .scales = scales};
    for (unsigned scale = 0; scale < 256; scale++) {
        memset(scales, (int)scale, sizeof scales);
        tkr_matrix_row(row, &m, 0);
        for (unsigned i = 0; i < 256; i++) {
            const double element = e4m3_by_definition(i), want = element * ldexp(1.0, (int)scale - 127);
            if (scale == 255 || isnan(element))
                assert_true(isnan(row[i]));
            else
                assert_true(row[i] == (float)want && signbit(row[i]) == signbit((float)want));
        }
    }
}

/* All 16 elements under all 256 scales. */
static void test_nvfp4(void **state) {
    (void)state;
    static const float values[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    uint8_t data[8];
    float row[16];
    for (unsigned i = 0; i < 8; i++) data[i] = (uint8_t)(2 * i | (2 * i + 1) << 4);
    for (unsigned h = 0; h < 256; h++) {
        const uint8_t scale = (uint8_t)h;
        const tkr_matrix m = {.data = data,
                              .dtype = TKR_DTYPE_U32,
                              .rows = 1,
                              .cols = 16,
                              .mode = TKR_GROUP_NVFP4,
                              .bits = 4,
                              .group_size = 16,
                              .scale_dtype = TKR_DTYPE_U8,
                              .scales = &scale};
        tkr_matrix_row(row, &m, 0);
        for (unsigned i = 0; i < 16; i++) {
            const double want = (double)(i < 8 ? values[i] : -values[i - 8]) * e4m3_by_definition(h);
            if ((h & 0x7f) == 0x7f)
                assert_true(isnan(row[i]));
            else
                assert_true(row[i] == (float)want);
        }
    }
}

static void test_encoder_corners(void **state) {
    (void)state;
    uint8_t codes[40];
    float scale[2], bias[2], w[40] = {0};
    tkr_quantize_affine_row(codes, scale, bias, w, 32, 4, 32); /* all zero: bias 0, codes 0 */
    assert_true(bias[0] == 0.0f && fabsf(scale[0]) == 1e-7f && codes[0] == 0 && codes[31] == 0);
    for (int i = 0; i < 40; i++) w[i] = 0.37f;
    tkr_quantize_affine_row(codes, scale, bias, w, 32, 4, 32); /* constant: exact */
    assert_true(bias[0] == 0.37f && codes[0] == 0);
    for (int i = 0; i < 40; i++) w[i] = (float)(i - 20);
    tkr_quantize_affine_row(codes, scale, bias, w, 40, 8, 32); /* the last group has 8 values */
    assert_true(bias[0] == -20.0f && codes[0] == 0 && bias[1] == 19.0f && codes[39] == 0 && scale[1] < 0.0f);
    for (int i = 0; i < 40; i++) { /* half a step, but more where the exact end leaves the other one out of reach */
        assert_true(fabsf((float)codes[i] * scale[i / 32] + bias[i / 32] - w[i]) <=
                    fabsf(scale[i / 32]) * (w[i] == 11.0f ? 0.76f : 0.51f));
    }
    for (int i = 0; i < 40; i++) w[i] = FLT_MAX; /* beyond the promise, but nothing undefined */
    tkr_quantize_affine_row(codes, scale, bias, w, 32, 8, 32);
    assert_true(codes[0] == 0 && bias[0] == FLT_MAX);
    uint8_t packed[4];
    const uint8_t nibbles[8] = {1, 2, 3, 4, 5, 6, 15, 8}, want[4] = {0x21, 0x43, 0x65, 0x8f};
    tkr_pack_codes(packed, nibbles, 8, 4);
    assert_memory_equal(packed, want, 4);
    tkr_pack_codes(packed, nibbles, 4, 8);
    assert_memory_equal(packed, nibbles, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain), cmocka_unit_test(test_sizes),           cmocka_unit_test(test_mxfp8),
        cmocka_unit_test(test_nvfp4), cmocka_unit_test(test_encoder_corners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
