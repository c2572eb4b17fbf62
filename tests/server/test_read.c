/* SPDX-License-Identifier: Apache-2.0 */
/* Values of a request: what is read, and which fault names which field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/parts.h"
#include "server/read.h"

/* An operation of nothing but memory and a vocabulary of 100. */
typedef struct scene {
    tkr_server server;
    tkr_operation op;
    tkr_arena arena;
    tkr_model_info info;
    tkr_served_model model;
    json_t *body;
    tkr_fields fields;
} scene;

static tkr_settings *settings;

static void open_scene(scene *s, const char *json) {
    memset(s, 0, sizeof *s);
    s->server.settings = settings;
    s->op.server = &s->server;
    s->info.vocab_size = 100;
    s->model.info = &s->info;
    s->op.arena = &s->arena;
    s->op.model = &s->model;
    assert_int_equal(tkr_json_parse(&s->body, json, strlen(json), "test", NULL), TKR_OK);
    if (json_is_object(s->body)) {
        assert_true(tkr_fields_of(&s->fields, &s->op, s->body, "items[2]."));
    }
}

static void close_scene(scene *s) {
    json_decref(s->body);
    tkr_arena_free(&s->arena);
}

static void check_fault(const scene *s, tkr_fault_kind kind, const char *param, const char *message) {
    assert_string_equal(s->op.fault.message, message);
    assert_string_equal(s->op.fault.param, param);
    assert_int_equal(s->op.fault.kind, kind);
}

static void counts(void **state) {
    static const struct {
        const char *json;
        tkr_fault_kind kind;
        const char *says;
    } bad[] = {
        {"{\"n\":\"3\"}", TKR_FAULT_TYPE, "items[2].n: is a string, expected a whole number"},
        {"{\"n\":true}", TKR_FAULT_TYPE, "items[2].n: is true, expected a whole number"},
        {"{\"n\":[3]}", TKR_FAULT_TYPE, "items[2].n: is an array, expected a whole number"},
        {"{\"n\":1.5}", TKR_FAULT_TYPE, "items[2].n: is 1.5, expected a whole number"},
        {"{\"n\":0}", TKR_FAULT_VALUE, "items[2].n: is 0, expected 1 to 10"},
        {"{\"n\":-3}", TKR_FAULT_VALUE, "items[2].n: is -3, expected 1 to 10"},
        {"{\"n\":11}", TKR_FAULT_VALUE, "items[2].n: is 11, expected 1 to 10"},
        {"{\"n\":1e300}", TKR_FAULT_VALUE, "items[2].n: is 1e+300, expected 1 to 10"},
        {"{\"n\":99999999999999999999}", TKR_FAULT_VALUE, "items[2].n: is 1e+20, expected 1 to 10"},
    };
    scene s;
    size_t n = 7;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        open_scene(&s, bad[i].json);
        assert_false(tkr_fields_count(&n, &s.fields, "n", 1, 10));
        check_fault(&s, bad[i].kind, "items[2].n", bad[i].says);
        close_scene(&s);
    }
    assert_int_equal(n, 7);
    open_scene(&s, "{\"a\":10,\"b\":3.0,\"c\":null}");
    assert_true(tkr_fields_count(&n, &s.fields, "c", 1, 10) && n == 7);
    assert_true(tkr_fields_count(&n, &s.fields, "absent", 1, 10) && n == 7);
    assert_true(tkr_fields_count(&n, &s.fields, "a", 1, 10) && n == 10);
    assert_true(tkr_fields_count(&n, &s.fields, "b", 1, SIZE_MAX) && n == 3);
    s.fields.null_is_wrong = true;
    assert_false(tkr_fields_count(&n, &s.fields, "c", 1, 10));
    check_fault(&s, TKR_FAULT_TYPE, "items[2].c", "items[2].c: is null, expected a whole number");
    close_scene(&s);
}

static void words(void **state) {
    static const char *const choices[] = {"float", "base64", "bytes", NULL};
    scene s;
    size_t word = 9;
    const char *text = "before";
    bool flag = false;
    tkr_choice choice = TKR_DEFAULT;
    (void)state;
    open_scene(&s,
               "{\"a\":\"base64\",\"b\":\"Base64\",\"c\":3,\"d\":\"x\\u0000y\",\"e\":true,\"f\":\"true\",\"g\":null}");
    assert_true(tkr_fields_word(&word, &s.fields, "a", choices) && word == 1);
    assert_true(tkr_fields_word(&word, &s.fields, "g", choices) && word == 1);
    assert_false(tkr_fields_word(&word, &s.fields, "b", choices));
    check_fault(&s, TKR_FAULT_VALUE, "items[2].b",
                "items[2].b: is \"Base64\", expected \"float\", \"base64\" or \"bytes\"");
    assert_false(tkr_fields_string(&text, &s.fields, "c"));
    check_fault(&s, TKR_FAULT_TYPE, "items[2].c", "items[2].c: is an integer, expected a string");
    assert_false(tkr_fields_string(&text, &s.fields, "d"));
    check_fault(&s, TKR_FAULT_VALUE, "items[2].d", "items[2].d: holds the character U+0000");
    assert_string_equal(text, "before");
    assert_true(tkr_fields_string(&text, &s.fields, "a"));
    assert_string_equal(text, "base64");
    assert_true(tkr_fields_bool(&flag, &s.fields, "e") && flag);
    assert_true(tkr_fields_choice(&choice, &s.fields, "g") && choice == TKR_DEFAULT);
    assert_true(tkr_fields_choice(&choice, &s.fields, "e") && choice == TKR_YES);
    assert_false(tkr_fields_bool(&flag, &s.fields, "f"));
    check_fault(&s, TKR_FAULT_TYPE, "items[2].f", "items[2].f: is a string, expected true or false");
    close_scene(&s);
}

/* A form's fields are texts. */
static void texts_of_forms(void **state) {
    scene s;
    bool flag = true;
    size_t n = 0;
    (void)state;
    open_scene(&s,
               "{\"a\":\"false\",\"b\":\"128\",\"c\":\"12x\",\"d\":\"yes\",\"e\":\"\",\"f\":\"99999999999999999999\"}");
    s.fields.from_text = true;
    assert_true(tkr_fields_bool(&flag, &s.fields, "a") && !flag);
    assert_true(tkr_fields_count(&n, &s.fields, "b", 1, 1000) && n == 128);
    assert_false(tkr_fields_count(&n, &s.fields, "c", 1, 1000));
    check_fault(&s, TKR_FAULT_TYPE, "items[2].c", "items[2].c: is \"12x\", expected a whole number");
    assert_false(tkr_fields_count(&n, &s.fields, "e", 1, 1000));
    check_fault(&s, TKR_FAULT_TYPE, "items[2].e", "items[2].e: is \"\", expected a whole number");
    assert_false(tkr_fields_count(&n, &s.fields, "f", 1, 1000));
    check_fault(&s, TKR_FAULT_VALUE, "items[2].f", "items[2].f: is 99999999999999999999, expected 1 to 1000");
    assert_false(tkr_fields_bool(&flag, &s.fields, "d"));
    check_fault(&s, TKR_FAULT_TYPE, "items[2].d", "items[2].d: is \"yes\", expected true or false");
    close_scene(&s);
}

static void known(void **state) {
    static const char *const names[] = {"texts", "normalize", NULL};
    scene s;
    const json_t *value;
    (void)state;
    open_scene(&s, "{\"texts\":1,\"normalise\":2}");
    assert_false(tkr_fields_only(&s.fields, names));
    check_fault(&s, TKR_FAULT_VALUE, "items[2].normalise",
                "items[2].normalise: there is no such field; did you mean \"normalize\"?");
    assert_false(tkr_fields_require(&value, &s.fields, "model"));
    check_fault(&s, TKR_FAULT_TYPE, "items[2].model", "items[2].model: is missing");
    assert_true(tkr_fields_require(&value, &s.fields, "texts"));
    close_scene(&s);
    open_scene(&s, "{\"texts\":1,\"pooling\":2}");
    assert_false(tkr_fields_only(&s.fields, names));
    check_fault(&s, TKR_FAULT_VALUE, "items[2].pooling", "items[2].pooling: there is no such field");
    close_scene(&s);
    open_scene(&s, "[]");
    assert_false(tkr_fields_of(&s.fields, &s.op, s.body, ""));
    check_fault(&s, TKR_FAULT_TYPE, "", "the body: is an array, expected an object");
    assert_false(tkr_fields_of(&s.fields, &s.op, s.body, "items[0]."));
    check_fault(&s, TKR_FAULT_TYPE, "items[0]", "items[0]: is an array, expected an object");
    close_scene(&s);
}

static void check_inputs(const char *json, unsigned allow, size_t n, bool single) {
    scene s;
    tkr_input *inputs;
    size_t n_read;
    bool one;
    open_scene(&s, json);
    if (!tkr_read_inputs(&inputs, &n_read, &one, &s.op, s.body, "input", allow)) {
        fail_msg("%s: %s", json, s.op.fault.message);
    }
    assert_int_equal(n_read, n);
    assert_int_equal(one, single);
    close_scene(&s);
}

static void bad_inputs(const char *json, unsigned allow, tkr_fault_kind kind, const char *param, const char *says) {
    scene s;
    tkr_input *inputs;
    size_t n;
    open_scene(&s, json);
    assert_false(tkr_read_inputs(&inputs, &n, NULL, &s.op, s.body, "input", allow));
    check_fault(&s, kind, param, says);
    close_scene(&s);
}

static void inputs(void **state) {
    const unsigned both = TKR_READ_TEXT | TKR_READ_IDS;
    (void)state;
    check_inputs("\"a\"", TKR_READ_TEXT, 1, true);
    check_inputs("\"\"", TKR_READ_TEXT, 1, true);
    check_inputs("[\"a\",\"\"]", TKR_READ_TEXT, 2, false);
    check_inputs("[1,2,99]", both, 1, true);
    check_inputs("[[1],[2,3]]", TKR_READ_IDS, 2, false);
    check_inputs("[\"a\",[2,3]]", both, 2, false);
    check_inputs("[]", both | TKR_READ_NONE_OK, 0, false);
    bad_inputs("[]", both, TKR_FAULT_EMPTY, "input", "input: is an empty list");
    bad_inputs("5", both, TKR_FAULT_TYPE, "input",
               "input: is an integer, expected a string, a list of strings, or lists of token ids");
    bad_inputs("{}", TKR_READ_TEXT, TKR_FAULT_TYPE, "input",
               "input: is an object, expected a string or a list of strings");
    bad_inputs("[\"a\",5]", TKR_READ_TEXT, TKR_FAULT_TYPE, "input[1]", "input[1]: is an integer, expected a string");
    bad_inputs("[\"a\",null]", both, TKR_FAULT_TYPE, "input[1]",
               "input[1]: is null, expected a string or a list of token ids");
    bad_inputs("[1,\"a\"]", both, TKR_FAULT_TYPE, "input", "input[1]: is a string, expected a token id");
    bad_inputs("[[1],[2,100]]", both, TKR_FAULT_VALUE, "input[1]",
               "input[1][1]: token id 100 is not in the vocabulary (0 to 99)");
    bad_inputs("[-1]", both, TKR_FAULT_VALUE, "input", "input[0]: token id -1 is not in the vocabulary (0 to 99)");
    bad_inputs("[1.5]", both, TKR_FAULT_TYPE, "input", "input[0]: is a number, expected a token id");
    bad_inputs("\"a\"", TKR_READ_IDS, TKR_FAULT_TYPE, "input",
               "input: is a string, expected a list of token ids or a list of such lists");
    bad_inputs("[\"a\",\"\"]", both | TKR_READ_NOT_EMPTY, TKR_FAULT_EMPTY, "input[1]", "input[1]: is an empty string");
    bad_inputs("[[]]", both | TKR_READ_NOT_EMPTY, TKR_FAULT_EMPTY, "input[0]", "input[0]: is an empty list");
}

static void characters(void **state) {
    scene s;
    tkr_input *read;
    size_t n;
    (void)state;
    open_scene(&s, "[\"a\\u00e9\\ud83d\\ude00\",\"b\"]");
    assert_true(tkr_read_inputs(&read, &n, NULL, &s.op, s.body, "input", TKR_READ_TEXT));
    assert_int_equal(s.op.n_characters, 4);
    assert_int_equal(read[0].n_text, 7);
    close_scene(&s);
}

static bool read_picture(scene *s, tkr_part *part, const char *text, unsigned allow) {
    open_scene(s, "{}");
    return tkr_read_picture(part, &s->op, text, strlen(text), "image", allow);
}

static void pictures(void **state) {
    static const struct {
        const char *text;
        unsigned allow;
        tkr_fault_kind kind;
        const char *says;
    } bad[] = {
        {"", 7, TKR_FAULT_EMPTY, "image: the picture is an empty string"},
        {"data:image/png;base64", 7, TKR_FAULT_MEDIA,
         "image: a data URI without a comma; expected \"data:TYPE;base64,...\""},
        {"data:image/png,abc", 7, TKR_FAULT_MEDIA,
         "image: a data URI that isn't base64; expected \"data:TYPE;base64,...\""},
        {"data:image/png;base64,", 7, TKR_FAULT_MEDIA, "image: the picture is empty"},
        {"data:image/png;base64,ab*d", 7, TKR_FAULT_MEDIA, "image: base64: byte 2 is 0x2a, which has no meaning there"},
        {"abcde", 7, TKR_FAULT_MEDIA, "image: base64: the last byte is cut in two"},
        {"photo.jpg", 7, TKR_FAULT_VALUE,
         "image: begins with \"photo.jpg\", expected a picture as a data URI, a URL or base64"},
        {"/etc/passwd.jpg", 7, TKR_FAULT_VALUE,
         "image: begins with \"/etc/passwd.jpg\", expected a picture as a data URI, a URL or base64"},
        {"file:///etc/passwd", 3, TKR_FAULT_VALUE,
         "image: begins with \"file:///etc/pass\", expected a picture as a data URI or a URL"},
        {"https://a/b", TKR_READ_DATA_URI, TKR_FAULT_VALUE,
         "image: begins with \"https://a/b\", expected a picture as a data URI"},
    };
    scene s;
    tkr_part part;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(read_picture(&s, &part, bad[i].text, bad[i].allow));
        check_fault(&s, bad[i].kind, "image", bad[i].says);
        close_scene(&s);
    }
    assert_true(read_picture(&s, &part, "data:image/png;charset=x;base64,iVBO\nRw==", TKR_READ_DATA_URI));
    assert_int_equal(part.kind, TKR_PART_IMAGE);
    assert_int_equal(part.n_data, 4);
    assert_memory_equal(part.data, "\x89PNG", 4);
    assert_string_equal(part.name, "image");
    close_scene(&s);
    assert_true(read_picture(&s, &part, "iVBORw", TKR_READ_BASE64));
    assert_int_equal(part.n_data, 4);
    close_scene(&s);
    assert_true(read_picture(&s, &part, "https://example.org/a.png", TKR_READ_URL | TKR_READ_BASE64));
    assert_int_equal(part.kind, TKR_PART_URL);
    close_scene(&s);
}

static void query(void **state) {
    char out[8];
    (void)state;
    assert_true(tkr_read_query(out, sizeof out, "a=1&format=npy&b", "format"));
    assert_string_equal(out, "npy");
    assert_true(tkr_read_query(out, sizeof out, "format=%6e+y", "format"));
    assert_string_equal(out, "n y");
    assert_true(tkr_read_query(out, sizeof out, "format=", "format"));
    assert_string_equal(out, "");
    assert_false(tkr_read_query(out, sizeof out, "xformat=a&format", "format"));
    assert_false(tkr_read_query(out, sizeof out, "format=%6", "format"));
    assert_false(tkr_read_query(out, sizeof out, "format=%00", "format"));
    assert_false(tkr_read_query(out, sizeof out, "format=12345678", "format"));
    assert_false(tkr_read_query(out, sizeof out, "", "format"));
}

static void query_text(void **state) {
    char query[600] = "format=npy&model=a%2Fb";
    tkr_http_request request = {.query = query};
    scene s;
    const char *text = NULL;
    (void)state;
    open_scene(&s, "{}");
    s.op.request = &request;
    assert_true(tkr_read_query_text(&text, &s.op, "model"));
    assert_string_equal(text, "a/b");
    assert_true(tkr_read_query_text(&text, &s.op, "mode")); /* absent: as it was */
    assert_string_equal(text, "a/b");
    memset(query, 'x', sizeof query - 1);
    memcpy(query, "model=", 6);
    assert_true(tkr_read_query_text(&text, &s.op, "model"));
    assert_int_equal(strlen(text), sizeof query - 1 - 6);
    static const char *const bad[] = {"model=%6", "model=%00", "model=%zz", "model=%ff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        request.query = bad[i];
        assert_false(tkr_read_query_text(&text, &s.op, "model"));
        check_fault(&s, TKR_FAULT_VALUE, "model", "model: isn't UTF-8, percent-encoded");
    }
    close_scene(&s);
}

static bool accepts(const char *value, const char *type) {
    const tkr_http_field field = {"accept", value};
    const tkr_http_request request = {.fields = &field, .n_fields = 1};
    return tkr_accepts(&request, type);
}

static void accept(void **state) {
    (void)state;
    assert_true(accepts("application/octet-stream", "application/octet-stream"));
    assert_true(accepts("text/html, Application/X-NPY;q=0.5", "application/x-npy"));
    assert_false(accepts("application/json, application/octet-stream;q=0.1", "application/octet-stream"));
    assert_true(accepts("application/json;q=0.1, application/octet-stream", "application/octet-stream"));
    assert_true(accepts("application/json, application/octet-stream", "application/octet-stream"));
    assert_true(accepts("application/json;q=0.10, application/octet-stream;q=0.1", "application/octet-stream"));
    assert_false(accepts("application/json;q=0.011, application/octet-stream;q=0.01", "application/octet-stream"));
    assert_true(accepts("application/octet-stream;v=1 ; Q=0.9, application/json;q=0.8", "application/octet-stream"));
    assert_false(accepts("*/*, application/octet-stream;q=0.9", "application/octet-stream"));
    assert_true(accepts("*/*, application/json;q=0, application/octet-stream;q=0.9", "application/octet-stream"));
    assert_false(accepts("application/x-npy;q=0.5, application/octet-stream;q=0.9", "application/x-npy"));
    assert_false(accepts("application/octet-stream;q=", "application/octet-stream"));
    assert_false(accepts("application/octet-stream;q=x", "application/octet-stream"));
    assert_false(accepts("application/x-npy;q=0, */*", "application/x-npy"));
    assert_false(accepts("application/x-npy;q=0.000", "application/x-npy"));
    assert_true(accepts("application/x-npy;q=0.001", "application/x-npy"));
    assert_false(accepts("*/*", "application/x-npy"));
    assert_false(accepts("application/x-npyz", "application/x-npy"));
    assert_false(accepts("", "application/x-npy"));
}

static int load_settings(void **state) {
    (void)state;
    return tkr_settings_load(&settings, NULL, NULL, 0, NULL) == TKR_OK ? 0 : -1;
}

static int free_settings(void **state) {
    (void)state;
    tkr_settings_free(&settings);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(counts),         cmocka_unit_test(words),
                                       cmocka_unit_test(texts_of_forms), cmocka_unit_test(known),
                                       cmocka_unit_test(inputs),         cmocka_unit_test(characters),
                                       cmocka_unit_test(pictures),       cmocka_unit_test(query),
                                       cmocka_unit_test(query_text),     cmocka_unit_test(accept)};
    return cmocka_run_group_tests(tests, load_settings, free_settings);
}
