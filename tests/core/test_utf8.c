/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 against Python's decoder (tests/golden/core/utf8_replace.txt), encoding, validation, terminal width. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/utf8.h"

static const unsigned char kinds[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF,
                                      0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFE, 0xFF};

enum { N_KINDS = sizeof kinds };

static size_t replace(char *out, const char *text, size_t size, bool *valid) {
    size_t n = 0;
    for (size_t pos = 0; pos < size;) {
        size_t before = pos;
        n += tkr_utf8_put(out + n, tkr_utf8_next(text, size, &pos, valid));
        assert_in_range(pos - before, 1, 4);
    }
    return n;
}

static uint64_t hash_one(uint64_t hash, const char *text, size_t size) {
    char out[16];
    bool valid = true;
    size_t n = replace(out, text, size, &valid);
    assert_int_equal(valid, tkr_utf8_valid_prefix(text, size) == size);
    out[n++] = (char)0xFF;
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ (unsigned char)out[i]) * UINT64_C(0x100000001B3);
    }
    return hash;
}

static uint64_t hash_group(unsigned a, unsigned b) {
    char text[4] = {(char)a, (char)b};
    uint64_t hash = hash_one(hash_one(UINT64_C(0xCBF29CE484222325), text, 1), text, 2);
    for (size_t i = 0; i < sizeof kinds; i++) {
        text[2] = (char)kinds[i];
        hash = hash_one(hash, text, 3);
    }
    for (size_t i = 0; i < sizeof kinds; i++) {
        for (size_t j = 0; j < sizeof kinds; j++) {
            text[2] = (char)kinds[i];
            text[3] = (char)kinds[j];
            hash = hash_one(hash, text, 4);
        }
    }
    return hash;
}

static size_t from_hex(char *out, const char *hex) {
    size_t n = 0;
    for (; hex[0] != '-' && hex[0] != '\0'; hex += 2) {
        char digits[3] = {hex[0], hex[1], '\0'};
        out[n++] = (char)strtoul(digits, NULL, 16);
    }
    return n;
}

static void check_case(const char *input, const char *expected) {
    char text[32], wanted[96], got[96];
    bool valid = true;
    size_t n = from_hex(text, input), n_wanted = from_hex(wanted, expected);
    assert_int_equal(replace(got, text, n, &valid), n_wanted);
    assert_memory_equal(got, wanted, n_wanted);
}

static void decodes_like_python(void **state) {
    (void)state;
    tkr_error error;
    tkr_lines *lines;
    assert_int_equal(tkr_lines_open(&lines, TKR_TEST_DIR "/golden/core/utf8_replace.txt", 4096, &error), TKR_OK);
    size_t n_cases = 0, n_groups = 0;
    for (;;) {
        const char *line;
        size_t size;
        bool end;
        assert_int_equal(tkr_lines_next(lines, &line, &size, &end, &error), TKR_OK);
        if (end) {
            break;
        }
        char copy[128], kind[8], first[64], second[64], third[24] = "";
        assert_true(size < sizeof copy);
        memcpy(copy, line, size);
        copy[size] = '\0';
        int n_words = sscanf(copy, "%7s %63s %63s %23s", kind, first, second, third);
        if (strcmp(kind, "group") == 0) {
            assert_int_equal(n_words, 4);
            uint64_t hash = hash_group((unsigned)strtoul(first, NULL, 16), (unsigned)strtoul(second, NULL, 16));
            assert_int_equal(hash, strtoull(third, NULL, 16));
            n_groups++;
        } else {
            assert_int_equal(n_words, 3);
            check_case(first, second);
            n_cases++;
        }
    }
    assert_int_equal(n_cases, 49);
    assert_int_equal(n_groups, N_KINDS * N_KINDS);
    tkr_lines_close(&lines);
}

static void every_code_point_comes_back(void **state) {
    (void)state;
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        if (c >= 0xD800 && c < 0xE000) {
            continue;
        }
        char text[4];
        size_t n = tkr_utf8_put(text, c), pos = 0;
        bool valid = true;
        if (tkr_utf8_next(text, n, &pos, &valid) != c || pos != n || !valid) {
            fail_msg("U+%04X does not come back", c);
        }
    }
}

static void valid_is_only_ever_cleared(void **state) {
    (void)state;
    bool valid = false;
    size_t pos = 0;
    assert_int_equal(tkr_utf8_next("a", 1, &pos, &valid), 'a');
    assert_false(valid);
    pos = 0;
    assert_int_equal(tkr_utf8_next("\xFF", 1, &pos, NULL), TKR_REPLACEMENT);
}

static void valid_prefix_finds_the_first_fault(void **state) {
    (void)state;
    char text[64];
    for (size_t at = 0; at < sizeof text; at++) {
        memset(text, 'x', sizeof text);
        text[at] = (char)0xC0;
        assert_int_equal(tkr_utf8_valid_prefix(text, sizeof text), at);
        assert_int_equal(tkr_utf8_valid_prefix(text, at), at);
    }
    assert_int_equal(tkr_utf8_valid_prefix("abcdefg\xE2\x82\xAC", 10), 10);
    assert_int_equal(tkr_utf8_valid_prefix("abcdefg\xE2\x82\xAC", 9), 7); /* cut within a character */
    assert_int_equal(tkr_utf8_valid_prefix("", 0), 0);
}

static size_t width(const char *text) { return tkr_utf8_width(text, strlen(text)); }

static void width_counts_columns(void **state) {
    (void)state;
    assert_int_equal(width(""), 0);
    assert_int_equal(width("hello"), 5);
    assert_int_equal(width("h\xC3\xA9llo"), 5);
    assert_int_equal(width("e\xCC\x81"), 1);                /* combining acute */
    assert_int_equal(width("\xE6\x97\xA5\xE6\x9C\xAC"), 4); /* two ideographs */
    assert_int_equal(width("\xED\x95\x9C"), 2);             /* Hangul syllable */
    assert_int_equal(width("\xF0\x9F\x98\x80"), 2);         /* emoji */
    assert_int_equal(width("\xEF\xBC\xA1"), 2);             /* fullwidth A */
    assert_int_equal(width("\xE2\x80\x8B"), 0);             /* zero width space */
    assert_int_equal(width("\xE2\x82\xAC"), 1);             /* euro sign */
    assert_int_equal(width("\xE2\x9D\xA4\xEF\xB8\x8F"), 1); /* heart, variation selector */
    assert_int_equal(width("\xF0\xA0\x80\x80"), 2);         /* ideograph of plane 2 */
    assert_int_equal(width("\xFF"), 1);                     /* shown as U+FFFD */
    assert_int_equal(width("\xE0\xB8\x81\xE0\xB8\xB1"), 1); /* Thai consonant and vowel sign */
    assert_int_equal(width("\xE1\x84\x80\xE1\x85\xA1"), 2); /* conjoining jamo */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_like_python),        cmocka_unit_test(every_code_point_comes_back),
        cmocka_unit_test(valid_is_only_ever_cleared), cmocka_unit_test(valid_prefix_finds_the_first_fault),
        cmocka_unit_test(width_counts_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
