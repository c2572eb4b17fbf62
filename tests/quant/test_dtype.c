/* SPDX-License-Identifier: Apache-2.0 */
/* Number formats against their arithmetic definitions: every f16, bf16 rounding, int8 rows, finiteness, names. */
#include "quant/dtype.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* IEEE 754 binary16: (-1)^s * 2^(e-15) * 1.m, or (-1)^s * 2^-14 * 0.m */
static double f16_by_definition(unsigned h) {
    const int exponent = (int)(h >> 10 & 31u);
    const double mantissa = (double)(h & 1023u) / 1024.0, sign = h >> 15 ? -1.0 : 1.0;
    if (exponent == 31) return mantissa == 0 ? sign * (double)INFINITY : (double)NAN;
    return exponent == 0 ? sign * ldexp(mantissa, -14) : sign * ldexp(1.0 + mantissa, exponent - 15);
}

static void test_f16_all(void **state) {
    (void)state;
    static uint8_t in[65536 * 2 + 1];
    static float out[65536];
    for (unsigned h = 0; h < 65536; h++) {
        const uint16_t value = (uint16_t)h;
        memcpy(in + 1 + 2 * h, &value, 2); /* odd address: any alignment is allowed */
    }
    tkr_widen(out, in + 1, TKR_DTYPE_F16, 65536);
    for (unsigned h = 0; h < 65536; h++) {
        const double want = f16_by_definition(h);
        const float one = tkr_f16_to_f32((uint16_t)h);
        if (isnan(want)) {
            assert_true(isnan(one) && isnan(out[h]));
        } else {
            assert_int_equal(bits_of(one), bits_of((float)want));
            assert_int_equal(bits_of(out[h]), bits_of((float)want));
        }
    }
}

static void test_bf16_all(void **state) {
    (void)state;
    static uint16_t in[65536];
    static float out[65536];
    for (unsigned h = 0; h < 65536; h++) in[h] = (uint16_t)h;
    tkr_widen(out, in, TKR_DTYPE_BF16, 65536);
    for (unsigned h = 0; h < 65536; h++) {
        assert_int_equal(bits_of(out[h]), h << 16);
        assert_int_equal(bits_of(tkr_bf16_to_f32((uint16_t)h)), h << 16);
        const uint16_t back = tkr_f32_to_bf16(out[h]);
        if (isnan(out[h]))
            assert_true(isnan(tkr_bf16_to_f32(back)));
        else
            assert_int_equal(back, h);
    }
}

static void test_bf16_rounding(void **state) {
    (void)state;
    static const struct {
        uint32_t f;
        uint16_t h;
    } cases[] = {
        {0x3f800000, 0x3f80},
        {0x3f808000, 0x3f80} /* tie to even: down */,
        {0x3f818000, 0x3f82} /* tie to even: up */,
        {0x3f808001, 0x3f81},
        {0x3f807fff, 0x3f80},
        {0x3f817fff, 0x3f81},
        {0xbf808000, 0xbf80},
        {0xbf818000, 0xbf82},
        {0x3fffffff, 0x4000} /* carry into the exponent */,
        {0x7f7fffff, 0x7f80} /* FLT_MAX rounds to infinity */,
        {0x7f7f7fff, 0x7f7f},
        {0x7f800000, 0x7f80},
        {0xff800000, 0xff80},
        {0x00000000, 0x0000},
        {0x80000000, 0x8000},
        {0x00008000, 0x0000},
        {0x00018000, 0x0002},
        {0x00008001, 0x0001} /* subnormals */,
        {0x7f800001, 0x7fc0} /* a NaN stays one */,
        {0xff800001, 0xffc0},
        {0x7fc12345, 0x7fc1},
        {0x7fffffff, 0x7fff},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(tkr_f32_to_bf16(float_of(cases[i].f)), cases[i].h);
    }
}

/* Every f16 comes back, and between two neighbours the middle goes to the even one, what lies beside it to the nearer.
 */
static void test_f16_rounding(void **state) {
    (void)state;
    for (unsigned h = 0; h < 0x7c00; h++) {
        const float low = (float)f16_by_definition(h);
        const float middle = (float)((f16_by_definition(h) + (h == 0x7bff ? 65536.0 : f16_by_definition(h + 1))) / 2);
        assert_int_equal(tkr_f32_to_f16(low), h);
        assert_int_equal(tkr_f32_to_f16(-low), h | 0x8000);
        assert_int_equal(tkr_f32_to_f16(middle), h + h % 2);
        assert_int_equal(tkr_f32_to_f16(-middle), (h + h % 2) | 0x8000);
        assert_int_equal(tkr_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(tkr_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
    }
    assert_int_equal(tkr_f32_to_f16(INFINITY), 0x7c00);
    assert_int_equal(tkr_f32_to_f16(-FLT_MAX), 0xfc00);
    assert_int_equal(tkr_f32_to_f16(FLT_MIN / 8), 0);
    assert_true(isnan(tkr_f16_to_f32(tkr_f32_to_f16(float_of(0x7f800001)))));
    assert_true(isnan(tkr_f16_to_f32(tkr_f32_to_f16(float_of(0xffffffff)))));
}

static void test_widen_f32(void **state) {
    (void)state;
    const float in[3] = {1.5f, -0.0f, FLT_MIN / 4};
    uint8_t raw[13];
    memcpy(raw + 1, in, sizeof in);
    float out[3] = {7, 7, 7};
    tkr_widen(out, raw + 1, TKR_DTYPE_F32, 3);
    assert_memory_equal(out, in, sizeof in);
    tkr_widen(NULL, NULL, TKR_DTYPE_F32, 0);
}

static uint32_t next_random(uint32_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* The definition, one value at a time: rint rounds half to even in the default mode. */
static void check_row(const float *w, size_t n) {
    int8_t q[512];
    float scale = 0, absmax = 0;
    assert_true(n <= sizeof q);
    tkr_quantize_s8_row(q, &scale, w, n);
    for (size_t i = 0; i < n; i++) absmax = fmaxf(absmax, fabsf(w[i]));
    const float want = absmax / 127.0f >= FLT_MIN ? absmax / 127.0f : 1.0f;
    assert_int_equal(bits_of(scale), bits_of(want));
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(q[i], (int)rintf(w[i] / want));
        assert_true(q[i] >= -127);
    }
}

static void test_s8_rows(void **state) {
    (void)state;
    uint32_t seed = 12345;
    float w[512];
    for (int round = 0; round < 200; round++) {
        const size_t n = next_random(&seed) % 512 + 1;
        const float size = ldexpf(1.0f, (int)(next_random(&seed) % 240) - 120);
        for (size_t i = 0; i < n; i++) w[i] = ((float)(next_random(&seed) >> 8) / 8388608.0f - 1.0f) * size;
        check_row(w, n);
    }
    for (int i = 0; i < 509; i++) w[i] = (float)(i - 254) * 0.5f; /* every tie between -127 and 127 */
    check_row(w, 509);
    int8_t q[4];
    float scale;
    const float ties[4] = {127.0f, 0.5f, 1.5f, -2.5f};
    tkr_quantize_s8_row(q, &scale, ties, 4);
    assert_true(scale == 1.0f && q[0] == 127 && q[1] == 0 && q[2] == 2 && q[3] == -2);
    const float extremes[4] = {FLT_MAX, -FLT_MAX, 0.0f, -0.0f};
    check_row(extremes, 4);
}

static void test_s8_zero_rows(void **state) {
    (void)state;
    int8_t q[3] = {9, 9, 9};
    float scale = 0;
    const float zero[3] = {0.0f, -0.0f, 0.0f}, tiny[3] = {FLT_MIN, -FLT_MIN / 1024, 0.0f};
    tkr_quantize_s8_row(q, &scale, zero, 3);
    assert_true(scale == 1.0f && q[0] == 0 && q[1] == 0 && q[2] == 0);
    tkr_quantize_s8_row(q, &scale, tiny, 3);
    assert_true(scale == 1.0f && q[0] == 0 && q[1] == 0 && q[2] == 0);
    tkr_quantize_s8_row(q, &scale, zero, 0);
    assert_true(scale == 1.0f);
}

static void test_all_finite(void **state) {
    (void)state;
    float x[67];
    for (size_t i = 0; i < 67; i++) x[i] = i % 2 ? FLT_MAX : -FLT_MIN / 8;
    assert_int_equal(tkr_all_finite(x, 67), 1);
    static const uint32_t bad[] = {0x7f800000, 0xff800000, 0x7f800001, 0xffffffff, 0x7fc00000};
    for (size_t b = 0; b < sizeof bad / sizeof bad[0]; b++) {
        for (size_t i = 0; i < 67; i++) {
            const float keep = x[i];
            x[i] = float_of(bad[b]);
            assert_int_equal(tkr_all_finite(x, 67), 0);
            assert_int_equal(tkr_all_finite(x, i), 1);
            x[i] = keep;
        }
    }
    assert_int_equal(tkr_all_finite(NULL, 0), 1);
}

static void test_names(void **state) {
    (void)state;
    for (int i = 0; i < TKR_DTYPE_COUNT; i++) {
        const char *name = tkr_dtype_name((tkr_dtype)i);
        const bool blocks = tkr_dtype_class((tkr_dtype)i) == 2; /* safetensors files know no blocks */
        assert_int_equal(tkr_dtype_parse(name, strlen(name)), blocks ? TKR_DTYPE_COUNT : i);
        assert_int_equal(tkr_dtype_block((tkr_dtype)i) > 1, blocks);
    }
    assert_int_equal(tkr_dtype_class(TKR_DTYPE_F16), 1);
    assert_int_equal(tkr_dtype_class(TKR_DTYPE_I64), 0);
    assert_int_equal(tkr_dtype_class(TKR_DTYPE_COUNT), 0);
    assert_int_equal(tkr_dtype_block(TKR_DTYPE_Q6_K), 256);
    assert_int_equal(tkr_dtype_size(TKR_DTYPE_Q6_K), 210);
    assert_int_equal(tkr_dtype_block(TKR_DTYPE_COUNT), 0);
    assert_int_equal(tkr_dtype_size(TKR_DTYPE_BF16), 2);
    assert_int_equal(tkr_dtype_size(TKR_DTYPE_F64), 8);
    assert_int_equal(tkr_dtype_size(TKR_DTYPE_COUNT), 0);
    assert_string_equal(tkr_dtype_name(TKR_DTYPE_COUNT), "unknown");
    assert_int_equal(tkr_dtype_parse("F3", 2), TKR_DTYPE_COUNT);
    assert_int_equal(tkr_dtype_parse("F322", 4), TKR_DTYPE_COUNT);
    assert_int_equal(tkr_dtype_parse("f32", 3), TKR_DTYPE_COUNT);
    assert_int_equal(tkr_dtype_parse("", 0), TKR_DTYPE_COUNT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16_all),    cmocka_unit_test(test_bf16_all),     cmocka_unit_test(test_bf16_rounding),
        cmocka_unit_test(test_widen_f32),  cmocka_unit_test(test_s8_rows),      cmocka_unit_test(test_s8_zero_rows),
        cmocka_unit_test(test_all_finite), cmocka_unit_test(test_f16_rounding), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
