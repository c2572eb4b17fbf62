/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 there and back, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base64.h"

static void check(const char *text, const char *bytes, size_t n) {
    tkr_buf out = {0};
    assert_int_equal(tkr_base64_decode(&out, text, strlen(text), NULL), TKR_OK);
    assert_int_equal(out.size, n);
    assert_memory_equal(out.data, bytes, n);
    tkr_buf_free(&out);
}

/* RFC 4648, section 10 */
static void vectors(void **state) {
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tkr_buf out = {0};
        check(rows[i][1], rows[i][0], strlen(rows[i][0]));
        assert_true(tkr_base64_encode(&out, rows[i][0], strlen(rows[i][0])));
        assert_string_equal(out.data, rows[i][1]);
        tkr_buf_free(&out);
    }
}

static void liberties(void **state) {
    (void)state;
    check("Zg", "f", 1);                   /* no padding */
    check(" Zm9v\r\nYmFy\n", "foobar", 6); /* lines */
    check("-_-_", "\xfb\xff\xbf", 3);      /* the alphabet for URLs */
    check("+/+/", "\xfb\xff\xbf", 3);
}

static void every_byte(void **state) {
    unsigned char bytes[300];
    (void)state;
    for (size_t n = 0; n < sizeof bytes; n++) {
        tkr_buf text = {0}, back = {0};
        for (size_t i = 0; i < n; i++) bytes[i] = (unsigned char)(i * 7 + n);
        assert_true(tkr_base64_encode(&text, bytes, n));
        assert_int_equal(text.size, (n + 2) / 3 * 4);
        assert_int_equal(tkr_base64_decode(&back, text.data, text.size, NULL), TKR_OK);
        assert_int_equal(back.size, n);
        assert_memory_equal(back.data, bytes, n);
        tkr_buf_free(&text);
        tkr_buf_free(&back);
    }
}

static void refused(void **state) {
    static const char *const texts[] = {"Z", "Zm9vY", "Zm9v!", "Zg==Zg", "Zm\x01v", "Zm9v\xc3\xa9"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        tkr_buf out = {0};
        tkr_error error = {0};
        assert_int_equal(tkr_base64_decode(&out, texts[i], strlen(texts[i]), &error), TKR_FORMAT);
        assert_non_null(strstr(error.message, "base64"));
        tkr_buf_free(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors), cmocka_unit_test(liberties),
                                       cmocka_unit_test(every_byte), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
