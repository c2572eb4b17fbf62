/* SPDX-License-Identifier: Apache-2.0 */
/* Escaped strings; float32 decimals: round trip, shortest, closest. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/json.h"

static void check_string(const char *text, size_t n, const char *expected) {
    tkr_buf out = {0};
    assert_true(tkr_json_write_string(&out, text, n));
    assert_string_equal(out.data, expected);
    tkr_buf_free(&out);
}

static void strings(void **state) {
    (void)state;
    check_string(NULL, 0, "\"\"");
    check_string("plain", 5, "\"plain\"");
    check_string("\"\\/\b\f\n\r\t", 8, "\"\\\"\\\\/\\b\\f\\n\\r\\t\"");
    check_string("\0\x01\x1F\x7F", 4, "\"\\u0000\\u0001\\u001f\x7F\"");
    check_string("\xC3\xA9\xF0\x9F\x98\x80", 6, "\"\xC3\xA9\xF0\x9F\x98\x80\"");
    check_string("a\xFF\xE2\x82z", 5, "\"a\xEF\xBF\xBD\xEF\xBF\xBDz\"");
    for (unsigned c = 0; c < 0x20; c++) { /* every escape reads back */
        char one = (char)c;
        tkr_buf out = {0};
        assert_true(tkr_json_write_string(&out, &one, 1));
        json_t *value;
        assert_int_equal(tkr_json_parse(&value, out.data, out.size, "t", NULL), TKR_OK);
        assert_int_equal(json_string_length(value), 1);
        assert_int_equal(json_string_value(value)[0], one);
        json_decref(value);
        tkr_buf_free(&out);
    }
    tkr_buf small = {.cap = 4};
    assert_false(tkr_json_write_string(&small, "abcd", 4));
    assert_true(small.failed);
    tkr_buf_free(&small);
}

static void check_text(float value, const char *expected) {
    tkr_buf out = {0};
    assert_true(tkr_json_write_float(&out, value));
    assert_string_equal(out.data, expected);
    tkr_buf_free(&out);
}

static void known_floats(void **state) {
    (void)state;
    check_text(0.0f, "0");
    check_text(-0.0f, "-0.0");
    check_text(1.0f, "1");
    check_text(-1.5f, "-1.5");
    check_text(0.1f, "0.1");
    check_text(0.3f, "0.3");
    check_text(1.0f / 3.0f, "0.33333334");
    check_text(100.0f, "100");
    check_text(16777216.0f, "16777216");
    check_text(123456789.0f, "123456790");
    check_text(999999999.0f, "1e9");
    check_text(1.0e10f, "1e10");
    check_text(0.0001f, "0.0001");
    check_text(0.00012345f, "0.00012345");
    check_text(0.000012345f, "1.2345e-5");
    check_text(3.4028235e38f, "3.4028235e38");
    check_text(1.17549435e-38f, "1.1754944e-38");
    check_text(1.17549421e-38f, "1.1754942e-38"); /* largest subnormal */
    check_text(1.40129846e-45f, "1e-45");
    check_text(9.5367431640625e-7f, "9.536743e-7"); /* a power of two: its lower neighbour is nearer */
    check_text(33554432.0f, "33554432");
    check_text(8388608.5f, "8388608"); /* halfway to even */
    check_text(2097151.875f, "2097151.9");
    tkr_buf out = {0};
    assert_false(tkr_json_write_float(&out, NAN));
    assert_false(tkr_json_write_float(&out, INFINITY));
    assert_false(tkr_json_write_float(&out, -INFINITY));
    assert_int_equal(out.size, 0);
    tkr_buf_free(&out);
}

static unsigned count_digits(const char *text) {
    unsigned n = 0, zeros = 0;
    for (; *text != '\0' && *text != 'e'; text++) {
        if (*text >= '0' && *text <= '9' && (n > 0 || *text != '0')) {
            n++;
            zeros = *text == '0' ? zeros + 1 : 0;
        }
    }
    return n > zeros ? n - zeros : 1;
}

/* Reads back to the same bits; no decimal with one digit less does; none of its length is closer. */
static void check_float(tkr_buf *out, uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    if (!isfinite(value)) {
        return;
    }
    out->size = 0;
    assert_true(tkr_json_write_float(out, value));
    float back = strtof(out->data, NULL);
    uint32_t back_bits;
    memcpy(&back_bits, &back, sizeof back_bits);
    if (back_bits != bits) {
        fail_msg("%s is not %a", out->data, (double)value);
    }
    char text[40];
    unsigned n = count_digits(out->data);
    if (n > 1 && snprintf(text, sizeof text, "%.*e", (int)n - 2, (double)value) > 0 && strtof(text, NULL) == value) {
        fail_msg("%s is longer than %s", out->data, text);
    }
    (void)snprintf(text, sizeof text, "%.*e", (int)n - 1, (double)value);
    if (strtof(text, NULL) == value && strtod(text, NULL) != strtod(out->data, NULL)) {
        fail_msg("%s is closer than %s", text, out->data);
    }
}

static void floats_round_trip(void **state) {
    (void)state;
    tkr_buf out = {0};
    uint64_t random = 88172645463325252u;
    for (uint32_t exponent = 0; exponent < 255; exponent++) { /* around every power of two */
        for (uint32_t delta = 0; delta < 9; delta++) {
            check_float(&out, (exponent << 23) + delta);
            check_float(&out, (exponent << 23) - delta);
        }
    }
    for (int i = 0; i < 100000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        check_float(&out, (uint32_t)(random >> 16));
    }
    for (int i = 0; i < 100000; i++) { /* values of normalised vectors */
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        float value = ((float)(random >> 40) / 16777216.0f - 0.5f) * 0.2f;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        check_float(&out, bits);
    }
    tkr_buf_free(&out);
}

static void the_cap_counts_only_what_is_written(void **state) {
    (void)state;
    tkr_buf out = {.cap = 3};
    assert_true(tkr_json_write_float(&out, 0.5f));
    assert_false(tkr_json_write_float(&out, 1.0f));
    assert_true(out.failed);
    assert_string_equal(out.data, "0.5");
    tkr_buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings),
        cmocka_unit_test(known_floats),
        cmocka_unit_test(floats_round_trip),
        cmocka_unit_test(the_cap_counts_only_what_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
