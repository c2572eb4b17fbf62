/* SPDX-License-Identifier: Apache-2.0 */
/* Small documents: strictness, typed fields and their messages, running out of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/json.h"

static json_t *parse(const char *text) {
    json_t *value;
    tkr_error error;
    tkr_status status = tkr_json_parse(&value, text, strlen(text), "t", &error);
    if (status != TKR_OK) {
        fail_msg("%s: %s", text, error.message);
    }
    return value;
}

static void refuse(const char *text, size_t size, const char *message) {
    json_t *value;
    tkr_error error;
    assert_int_equal(tkr_json_parse(&value, text, size, "t", &error), TKR_FORMAT);
    assert_null(value);
    assert_string_equal(error.message, message);
    assert_int_equal(tkr_json_parse(&value, text, size, "t", NULL), TKR_FORMAT);
}

static void documents_become_trees(void **state) {
    (void)state;
    json_t *value = parse(" {\"a\": [1, -2.5, \"x\\u0000y\", true, false, null, {}], \"\": {\"b\": []}} ");
    json_t *expected = json_pack("{s:[i,f,s%,b,b,n,{}],s:{s:[]}}", "a", 1, -2.5, "x\0y", (size_t)3, 1, 0, "", "b");
    assert_true(json_equal(value, expected));
    json_decref(value);
    json_decref(expected);
    value = parse("{\"model_max_length\": 1000000000000000019884624838656}"); /* stands in many tokenizer_config.json */
    double number = 0;
    tkr_error error;
    assert_int_equal(tkr_json_get_double(&number, value, "model_max_length", 0, 1e300, true, "t", &error), TKR_OK);
    assert_true(number == 1e30);
    int64_t integer = 5;
    assert_int_equal(tkr_json_get_int(&integer, value, "model_max_length", 1, 9, true, "t", &error), TKR_FORMAT);
    assert_string_equal(error.message, "t: field \"model_max_length\" is 1e+30, expected an integer from 1 to 9");
    assert_int_equal(integer, 5);
    json_decref(value);
}

static void bad_documents(void **state) {
    (void)state;
    refuse("", 0, "t, byte 0: ends too early, expected a value");
    refuse("{\"a\":1,\"a\":2}", 13, "t, byte 10: the key \"a\" comes twice");
    refuse("{\"a\":{\"b\":1,\"c\":2,\"b\":3}}", 25, "t, byte 21: the key \"b\" comes twice");
    refuse("{\"a\\u0000\":1}", 13, "t, byte 10: a key holds the character U+0000");
    refuse("[1] x", 5, "t, byte 4: unexpected 'x', expected the end of the text");
    refuse("[1,]", 4, "t, byte 3: unexpected ']', expected a value");
    char deep[200];
    memset(deep, '[', sizeof deep);
    refuse(deep, sizeof deep, "t, byte 64: is nested deeper than 64 levels");
}

static void files(void **state) {
    (void)state;
    json_t *value;
    tkr_error error;
    assert_int_equal(tkr_json_file(&value, TKR_TEST_DIR "/golden/core/sample.json", &error), TKR_OK);
    const char *text = NULL;
    assert_int_equal(tkr_json_get_string(&text, value, "greeting", true, "sample.json", &error), TKR_OK);
    assert_string_equal(text, "h\xC3\xA9llo \xF0\x9F\x98\x80");
    json_decref(value);
    assert_int_equal(tkr_json_file(&value, TKR_TEST_DIR "/golden/core/absent.json", &error), TKR_NOT_FOUND);
    assert_null(value);
    assert_int_equal(tkr_json_file(&value, TKR_TEST_DIR, &error), TKR_IO);
}

#define FIELDS "{\"i\":7,\"r\":0.5,\"s\":\"text\",\"b\":true,\"n\":null,\"o\":{},\"a\":[],\"z\":\"x\\u0000\"}"

static void fields_are_read(void **state) {
    (void)state;
    json_t *o = parse(FIELDS);
    tkr_error error;
    int64_t i = -1;
    double d = -1;
    bool b = false;
    const char *s = NULL;
    assert_int_equal(tkr_json_get_int(&i, o, "i", 7, 7, true, "t", &error), TKR_OK);
    assert_int_equal(i, 7);
    assert_int_equal(tkr_json_get_double(&d, o, "r", 0, 1, true, "t", &error), TKR_OK);
    assert_true(d == 0.5);
    assert_int_equal(tkr_json_get_double(&d, o, "i", 0, 10, true, "t", &error), TKR_OK);
    assert_true(d == 7);
    assert_int_equal(tkr_json_get_bool(&b, o, "b", true, "t", &error), TKR_OK);
    assert_true(b);
    assert_int_equal(tkr_json_get_string(&s, o, "s", true, "t", &error), TKR_OK);
    assert_string_equal(s, "text");
    const char *absent[] = {"n", "absent"};
    for (int k = 0; k < 2; k++) { /* what is optional stays as it was */
        assert_int_equal(tkr_json_get_int(&i, o, absent[k], 0, 1, false, "t", &error), TKR_OK);
        assert_int_equal(tkr_json_get_double(&d, o, absent[k], 0, 1, false, "t", &error), TKR_OK);
        assert_int_equal(tkr_json_get_bool(&b, o, absent[k], false, "t", &error), TKR_OK);
        assert_int_equal(tkr_json_get_string(&s, o, absent[k], false, "t", &error), TKR_OK);
    }
    assert_true(i == 7 && d == 7 && b);
    assert_string_equal(s, "text");
    json_decref(o);
}

static void wrong_fields_are_named(void **state) {
    (void)state;
    json_t *o = parse(FIELDS);
    tkr_error e;
    int64_t i;
    double d;
    bool b;
    const char *s;
#define WRONG(call, text)                     \
    do {                                      \
        assert_int_equal(call, TKR_FORMAT);   \
        assert_string_equal(e.message, text); \
    } while (0)
    WRONG(tkr_json_get_int(&i, o, "absent", 0, 1, true, "t", &e), "t: field \"absent\" is missing, but needed");
    WRONG(tkr_json_get_int(&i, o, "n", 0, 1, true, "t", &e), "t: field \"n\" is null, but needed");
    WRONG(tkr_json_get_int(&i, o, "s", 0, 1, false, "t", &e), "t: field \"s\" is a string, expected an integer");
    WRONG(tkr_json_get_int(&i, o, "i", 8, 9, true, "t", &e), "t: field \"i\" is 7, expected an integer from 8 to 9");
    WRONG(tkr_json_get_int(&i, o, "r", 8, 9, true, "t", &e), "t: field \"r\" is 0.5, expected an integer from 8 to 9");
    WRONG(tkr_json_get_double(&d, o, "a", 0, 1, true, "t", &e), "t: field \"a\" is an array, expected a number");
    WRONG(tkr_json_get_double(&d, o, "r", 1, 2, true, "t", &e), "t: field \"r\" is 0.5, expected a number from 1 to 2");
    WRONG(tkr_json_get_bool(&b, o, "i", true, "t", &e), "t: field \"i\" is an integer, expected true or false");
    WRONG(tkr_json_get_string(&s, o, "b", true, "t", &e), "t: field \"b\" is true, expected a string");
    WRONG(tkr_json_get_string(&s, o, "o", true, "t", &e), "t: field \"o\" is an object, expected a string");
    WRONG(tkr_json_get_string(&s, o, "z", true, "t", &e),
          "t: field \"z\" holds the character U+0000, expected text without it");
    WRONG(tkr_json_get_string(&s, json_object_get(o, "a"), "z", true, "t", &e),
          "t: is an array, expected an object with the field \"z\"");
    WRONG(tkr_json_get_string(&s, NULL, "z", false, "t", &e), "t: is missing, expected an object with the field \"z\"");
    json_decref(o);
    assert_string_equal(tkr_json_type_name(NULL), "missing");
}

static bool allow_some(void *user, char kind) {
    int *left = user;
    return kind != 'a' || (*left)-- > 0;
}

/* jansson too allocates through the seam here. */
static void every_allocation_may_fail(void **state) {
    (void)state;
    const char text[] = "{\"key\\n\": [1, \"string\\twith escape\", {\"k\": 1.5}, 12345678901234567890123], \"b\": {}}";
    json_set_alloc_funcs(tkr_malloc, tkr_free);
    int n = 0;
    for (;; n++) {
        json_t *value;
        tkr_error error;
        int left = n;
        tkr_seam_set(allow_some, &left);
        tkr_status status = tkr_json_parse(&value, text, sizeof text - 1, "t", &error);
        tkr_seam_set(NULL, NULL);
        if (status == TKR_OK) {
            json_decref(value);
            break;
        }
        assert_int_equal(status, TKR_NO_MEMORY);
        assert_int_equal(error.status, TKR_NO_MEMORY);
        assert_null(value);
    }
    assert_true(n > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_become_trees),
        cmocka_unit_test(bad_documents),
        cmocka_unit_test(files),
        cmocka_unit_test(fields_are_read),
        cmocka_unit_test(wrong_fields_are_named),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
