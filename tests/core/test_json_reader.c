/* SPDX-License-Identifier: Apache-2.0 */
/* Pull reader: events, strings, numbers, structure, limits, and what it refuses. */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/json.h"

/* All events as one line: { } [ ] k(key) s(string) i(integer) n(double) t f 0 . */
static void trace(char *out, size_t size, const char *text, size_t n) {
    tkr_error error;
    tkr_jr reader;
    tkr_jr_init(&reader, text, n, "t", &error);
    size_t used = 0;
    out[0] = '\0';
    tkr_jr_type type;
    do {
        static const char marks[] = "!.{}[]ksntf0";
        type = tkr_jr_next(&reader);
        if (type == TKR_JR_ERROR) {
            used += (size_t)snprintf(out + used, size - used, "! %s", error.message);
        } else if (type == TKR_JR_KEY || type == TKR_JR_STRING) {
            used += (size_t)snprintf(out + used, size - used, "%c(%.*s)", type == TKR_JR_KEY ? 'k' : 's',
                                     (int)reader.n_string, reader.string);
        } else if (type == TKR_JR_NUMBER && reader.is_integer) {
            used += (size_t)snprintf(out + used, size - used, "i(%lld)", (long long)reader.integer);
        } else if (type == TKR_JR_NUMBER) {
            used += (size_t)snprintf(out + used, size - used, "n(%.17g)", reader.number);
        } else {
            used += (size_t)snprintf(out + used, size - used, "%c", marks[type]);
        }
        assert_true(used < size);
    } while (type != TKR_JR_ERROR && type != TKR_JR_END);
    assert_int_equal(tkr_jr_next(&reader), type); /* both are final */
    tkr_jr_free(&reader);
}

static void expect(const char *text, const char *events) {
    char got[1024];
    trace(got, sizeof got, text, strlen(text));
    assert_string_equal(got, events);
}

static void events(void **state) {
    (void)state;
    expect("null", "0.");
    expect(" \t\r\n true \n", "t.");
    expect("\"\"", "s().");
    expect("[]", "[].");
    expect("{}", "{}.");
    expect("[[],{}]", "[[]{}].");
    expect("{\"a\":[1,2],\"b\":{\"c\":null},\"a\":false}", "{k(a)[i(1)i(2)]k(b){k(c)0}k(a)f}.");
    expect("{ \"a\" : 1 ,                         \"b\" :\n\n\n\n\n\n\n\n\n\n2 }", "{k(a)i(1)k(b)i(2)}.");
    expect("-12", "i(-12).");
}

static void broken_structure(void **state) {
    (void)state;
    expect("", "! t, byte 0: ends too early, expected a value");
    expect("  ", "! t, byte 2: ends too early, expected a value");
    expect("tru", "! t, byte 0: unexpected 't', expected a value");
    expect("truex", "t! t, byte 4: unexpected 'x', expected the end of the text");
    expect("[1,]", "[i(1)! t, byte 3: unexpected ']', expected a value");
    expect("[,1]", "[! t, byte 1: unexpected ',', expected a value");
    expect("[1 2]", "[i(1)! t, byte 3: unexpected '2', expected ',' or ']'");
    expect("[1}", "[i(1)! t, byte 2: unexpected '}', expected ',' or ']'");
    expect("{\"a\":1]", "{k(a)i(1)! t, byte 6: unexpected ']', expected ',' or '}'");
    expect("{\"a\":1,}", "{k(a)i(1)! t, byte 7: unexpected '}', expected a key in quotes");
    expect("{\"a\" 1}", "{k(a)! t, byte 5: unexpected '1', expected ':'");
    expect("{\"a\":}", "{k(a)! t, byte 5: unexpected '}', expected a value");
    expect("{a:1}", "{! t, byte 1: unexpected 'a', expected a key in quotes");
    expect("{1:1}", "{! t, byte 1: unexpected '1', expected a key in quotes");
    expect("[", "[! t, byte 1: ends too early, expected a value");
    expect("[1", "[i(1)! t, byte 2: ends too early, expected ',' or ']'");
    expect("]", "! t, byte 0: unexpected ']', expected a value");
    expect("1 2", "i(1)! t, byte 2: unexpected '2', expected the end of the text");
    expect("/**/1", "! t, byte 0: unexpected '/', expected a value");
    expect("NaN", "! t, byte 0: unexpected 'N', expected a value");
    expect("\xEF\xBB\xBF[]", "! t, byte 0: unexpected byte 0xef, expected a value");
    expect("\x01", "! t, byte 0: unexpected byte 0x01, expected a value");
    char got[256];
    trace(got, sizeof got, "1\0", 2);
    assert_string_equal(got, "i(1)! t, byte 1: unexpected byte 0x00, expected the end of the text");
    trace(got, sizeof got, NULL, 0);
    assert_string_equal(got, "! t, byte 0: ends too early, expected a value");
}

static void strings(void **state) {
    (void)state;
    expect("\"plain, longer than one word\"", "s(plain, longer than one word).");
    expect("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "s(\"\\/\b\f\n\r\t).");
    expect("\"a\\u0041\\u00e9\\u20AC\\uFFFFz\"", "s(aA\xC3\xA9\xE2\x82\xAC\xEF\xBF\xBFz).");
    expect("\"\\ud83d\\ude00\\uD83D\\uDE00\"", "s(\xF0\x9F\x98\x80\xF0\x9F\x98\x80).");
    expect("\"\xC3\xA9 raw \xF0\x9F\x98\x80 and \x7F\"", "s(\xC3\xA9 raw \xF0\x9F\x98\x80 and \x7F).");
    expect("{\"k\\te\":\"v\\u0020\"}", "{k(k\te)s(v )}.");
    tkr_jr reader;
    const char text[] = "[\"a\\u0000b\",\"plain\",\"\\u0000\"]";
    tkr_jr_init(&reader, text, sizeof text - 1, "t", NULL);
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_ARRAY);
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_STRING);
    assert_int_equal(reader.n_string, 3);
    assert_memory_equal(reader.string, "a\0b", 3);
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_STRING);
    assert_ptr_equal(reader.string, strstr(text, "plain")); /* no copy */
    assert_int_equal(reader.n_string, 5);
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_STRING);
    assert_int_equal(reader.n_string, 1);
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_ARRAY_END);
    tkr_jr_free(&reader);
}

static void broken_strings(void **state) {
    (void)state;
    expect("\"abc", "! t, byte 4: ends within a string");
    expect("\"abc\\", "! t, byte 5: ends within a string");
    expect("\"abc\\\"", "! t, byte 6: ends within a string");
    expect("\"a\\x\"", "! t, byte 3: unknown escape in a string");
    expect("\"a\\U0041\"", "! t, byte 3: unknown escape in a string");
    expect("\"\\u12\"", "! t, byte 3: ends within a \\u escape");
    expect("\"\\u12g4\"", "! t, byte 3: a \\u escape needs four hex digits");
    expect("\"\\ud83d\"", "! t, byte 7: a \\u escape of half a surrogate pair");
    expect("\"\\ude00\"", "! t, byte 7: a \\u escape of half a surrogate pair");
    expect("\"\\ud83d\\n\"", "! t, byte 7: a \\u escape of half a surrogate pair");
    expect("\"\\ud83d\\u0041\"", "! t, byte 13: a \\u escape of half a surrogate pair");
    expect("\"\\ud83d\\ud83d\"", "! t, byte 13: a \\u escape of half a surrogate pair");
    expect("\"a\nb\"", "! t, byte 2: a control character in a string must be escaped");
    expect("\"abcdefghijk\x1F\"", "! t, byte 12: a control character in a string must be escaped");
    expect("\"ab\xFF\"", "! t, byte 3: invalid UTF-8 in a string");
    expect("\"\xC0\xAF\"", "! t, byte 1: invalid UTF-8 in a string");
    expect("\"\xC3\xA9\xED\xA0\x80\"", "! t, byte 3: invalid UTF-8 in a string"); /* a surrogate as bytes */
    expect("\"\xE2\x82\"", "! t, byte 1: invalid UTF-8 in a string");
    char got[256];
    trace(got, sizeof got, "\"a\0b\"", 5);
    assert_string_equal(got, "! t, byte 2: a control character in a string must be escaped");
    trace(got, sizeof got, "\"\\\0\"", 4);
    assert_string_equal(got, "! t, byte 2: unknown escape in a string");
}

/* A special byte at every place of strings of every short length: the word scan sees each lane. */
static void every_lane_of_the_scan(void **state) {
    (void)state;
    for (size_t n = 1; n < 40; n++) {
        for (size_t at = 0; at < n; at++) {
            char text[64], got[256], expected[256];
            memset(text, '!', sizeof text); /* 0x21 is next to the quote */
            text[0] = '"';
            text[n + 1] = '"';
            text[at + 1] = '"';
            trace(got, sizeof got, text, n + 2);
            (void)snprintf(expected, sizeof expected, "s(%.*s)!", (int)at, text + 1);
            assert_memory_equal(got, expected, strlen(expected));
            text[at + 1] = '\x1F';
            trace(got, sizeof got, text, n + 2);
            (void)snprintf(expected, sizeof expected, "! t, byte %zu: a control", at + 1);
            assert_memory_equal(got, expected, strlen(expected));
        }
    }
}

static void numbers(void **state) {
    (void)state;
    expect("[0,-0,7,9223372036854775807,-9223372036854775808]",
           "[i(0)i(0)i(7)i(9223372036854775807)i(-9223372036854775808)].");
    expect("9223372036854775808", "n(9.2233720368547758e+18).");
    expect("-9223372036854775809", "n(-9.2233720368547758e+18).");
    expect("1000000000000000019884624838656", "n(1e+30).");
    expect("0.1", "n(0.10000000000000001).");
    expect("-1.5e3", "n(-1500).");
    expect("1E+2", "n(100).");
    expect("1e-2", "n(0.01).");
    expect("1e22", "n(1e+22).");
    expect("1e23", "n(9.9999999999999992e+22).");
    expect("123456789012345678901234567890e-10", "n(1.2345678901234567e+19).");
    expect("2.2250738585072014e-308", "n(2.2250738585072014e-308).");
    expect("4.9e-324", "n(4.9406564584124654e-324).");
    expect("1e-999", "n(0).");
    expect("1e-99999999999999999999", "n(0).");
    expect("0e99999999999999999999", "n(0).");
    expect("0.000", "n(0).");
    expect("1.7976931348623157e308", "n(1.7976931348623157e+308).");
    expect("9007199254740993.0", "n(9007199254740992).");
    expect("0.30000000000000004", "n(0.30000000000000004).");
    tkr_jr reader;
    tkr_jr_init(&reader, "-0.0", 4, "t", NULL);
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_NUMBER);
    assert_true(signbit(reader.number));
    tkr_jr_free(&reader);
    tkr_jr_init(&reader, "12", 2, "t", NULL);
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_NUMBER);
    assert_true(reader.is_integer && reader.number == 12);
    tkr_jr_free(&reader);
}

static void broken_numbers(void **state) {
    (void)state;
    expect("01", "i(0)! t, byte 1: unexpected '1', expected the end of the text");
    expect("-", "! t, byte 1: ends too early, expected a digit");
    expect("-a", "! t, byte 1: unexpected 'a', expected a digit");
    expect("+1", "! t, byte 0: unexpected '+', expected a value");
    expect(".5", "! t, byte 0: unexpected '.', expected a value");
    expect("1.", "! t, byte 2: ends too early, expected a digit");
    expect("1.e5", "! t, byte 2: unexpected 'e', expected a digit");
    expect("1e", "! t, byte 2: ends too early, expected a digit");
    expect("1e+", "! t, byte 3: ends too early, expected a digit");
    expect("0x10", "i(0)! t, byte 1: unexpected 'x', expected the end of the text");
    expect("1e999", "! t, byte 0: a number is too large for a double");
    expect("[-1e309]", "[! t, byte 1: a number is too large for a double");
    expect("1e99999999999999999999", "! t, byte 0: a number is too large for a double");
}

/* A program may have chosen a locale with a decimal comma; where none is installed this only repeats the number test.
 */
static void locale_does_not_matter(void **state) {
    (void)state;
    const char text[] = "3.14159265358979323846"; /* too long for the fast path */
    tkr_jr reader;
    tkr_jr_init(&reader, text, sizeof text - 1, "t", NULL);
    (void)setlocale(LC_NUMERIC, "de_DE.UTF-8");
    tkr_jr_type type = tkr_jr_next(&reader);
    (void)setlocale(LC_NUMERIC, "C");
    assert_int_equal(type, TKR_JR_NUMBER);
    assert_true(reader.number == 3.14159265358979323846);
    tkr_jr_free(&reader);
}

static void depth(void **state) {
    (void)state;
    char text[2 * 65 + 1], got[512];
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    trace(got, sizeof got, text, 128);
    assert_int_equal(strlen(got), 129);
    assert_int_equal(got[128], '.');
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    trace(got, sizeof got, text, 130);
    assert_string_equal(got + 64, "! t, byte 64: is nested deeper than 64 levels");
    expect("[{\"a\":[{\"b\":[[{}]]}]}]", "[{k(a)[{k(b)[[{}]]}]}].");
}

static void skipping(void **state) {
    (void)state;
    const char text[] = "{\"a\":{\"x\":[1,{\"y\":2}]},\"b\":[[],{}],\"c\":3,\"d\":4}";
    tkr_error error;
    tkr_jr reader;
    tkr_jr_init(&reader, text, sizeof text - 1, "t", &error);
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_OBJECT);
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_KEY);
    assert_true(tkr_jr_skip(&reader)); /* at a key */
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_KEY);
    assert_int_equal(reader.string[0], 'b');
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_ARRAY);
    assert_true(tkr_jr_skip(&reader)); /* at a container */
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_KEY);
    assert_int_equal(reader.string[0], 'c');
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_NUMBER);
    assert_true(tkr_jr_skip(&reader)); /* at a scalar: nothing to pass over */
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_KEY);
    assert_int_equal(reader.string[0], 'd');
    assert_int_equal(tkr_jr_fail(&reader, "key \"%s\" is not known", "d"), TKR_FORMAT);
    assert_string_equal(error.message, "t, byte 44: key \"d\" is not known");
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_ERROR);
    assert_int_equal(tkr_jr_fail(&reader, "another"), TKR_FORMAT);
    assert_string_equal(error.message, "t, byte 44: key \"d\" is not known"); /* the first one stays */
    tkr_jr_free(&reader);
    tkr_jr_init(&reader, "[[1,}", 5, "t", &error);
    assert_int_equal(tkr_jr_next(&reader), TKR_JR_ARRAY);
    assert_false(tkr_jr_skip(&reader));
    assert_int_equal(reader.type, TKR_JR_ERROR);
    tkr_jr_free(&reader);
}

static bool deny(void *user, char kind) {
    (void)user;
    return kind != 'a';
}

static void no_memory(void **state) {
    (void)state;
    const char *texts[] = {"\"a\\n\"", "1.23456789012345678901"};
    for (int i = 0; i < 2; i++) {
        tkr_error error;
        tkr_jr reader;
        tkr_jr_init(&reader, texts[i], strlen(texts[i]), "t", &error);
        tkr_seam_set(deny, NULL);
        tkr_jr_type type = tkr_jr_next(&reader);
        tkr_seam_set(NULL, NULL);
        assert_int_equal(type, TKR_JR_ERROR);
        assert_int_equal(error.status, TKR_NO_MEMORY);
        assert_int_equal(tkr_jr_fail(&reader, "x"), TKR_NO_MEMORY);
        tkr_jr_free(&reader);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events),         cmocka_unit_test(broken_structure),
        cmocka_unit_test(strings),        cmocka_unit_test(broken_strings),
        cmocka_unit_test(numbers),        cmocka_unit_test(every_lane_of_the_scan),
        cmocka_unit_test(broken_numbers), cmocka_unit_test(locale_does_not_matter),
        cmocka_unit_test(depth),          cmocka_unit_test(skipping),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
