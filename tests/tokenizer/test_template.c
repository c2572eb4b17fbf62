/* SPDX-License-Identifier: Apache-2.0 */
/* What a request asks for: special tokens, pairs, limits, errors, invalid UTF-8, and what the scratch keeps. */
#include "support.h"

#include "small_wordpiece.h"
#include "tokenizer/engine.h"

static tkr_tok *small(void) { return load_bytes(SMALL_WORDPIECE, strlen(SMALL_WORDPIECE), false); }

static void expect(const tkr_tok_result *got, const int32_t *ids, size_t n) {
    assert_int_equal(got->n, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(got->ids[i], ids[i]);
    }
}
#define EXPECT(result, ...) \
    expect(result, (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void single_and_pair(void **state) {
    (void)state;
    tkr_tok *tok = small();
    tkr_tok_scratch *scratch = new_scratch(tok);
    assert_int_equal(tkr_tok_n_added(tok, false), 2);
    assert_int_equal(tkr_tok_n_added(tok, true), 3);
    tkr_tok_request request = {.text = "ab a!", .n_text = 5, .special_tokens = true, .want_offsets = true};
    tkr_tok_result result = encode_or_fail(tok, scratch, &request);
    EXPECT(&result, 2, 8, 4, 11, 3);
    assert_memory_equal(result.special, ((const uint8_t[]){1, 0, 0, 0, 1}), 5);
    assert_memory_equal(result.type_ids, ((const uint8_t[]){0, 0, 0, 0, 0}), 5);
    assert_memory_equal(result.offsets, ((const uint64_t[]){0, 0, 0, 2, 3, 4, 4, 5, 0, 0}), 10 * sizeof(uint64_t));
    request.pair = "b";
    request.n_pair = 1;
    result = encode_or_fail(tok, scratch, &request);
    EXPECT(&result, 2, 8, 4, 11, 3, 6, 3);
    assert_memory_equal(result.special, ((const uint8_t[]){1, 0, 0, 0, 1, 0, 1}), 7);
    assert_memory_equal(result.type_ids, ((const uint8_t[]){0, 0, 0, 0, 0, 1, 1}), 7);
    request.special_tokens = false;
    result = encode_or_fail(tok, scratch, &request);
    EXPECT(&result, 8, 4, 11, 6);
    assert_memory_equal(result.type_ids, ((const uint8_t[]){0, 0, 0, 1}), 4);
    request = (tkr_tok_request){.text = NULL, .n_text = 0, .special_tokens = true};
    result = encode_or_fail(tok, scratch, &request);
    EXPECT(&result, 2, 3);
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
}

static void typed_special_tokens(void **state) {
    (void)state;
    tkr_tok *tok = small();
    tkr_tok_scratch *scratch = new_scratch(tok);
    const tkr_tok_request request = {.text = "a[SEP]b [cls][CLS]", .n_text = 18, .want_offsets = true};
    const tkr_tok_result result = encode_or_fail(tok, scratch, &request);
    EXPECT(&result, 4, 3, 6, 1, 1, 1, 2); /* "[cls]" isn't the token, and its letters are unknown */
    assert_int_equal(result.special[1], 0);
    assert_memory_equal(result.offsets, ((const uint64_t[]){0, 1, 1, 6, 6, 7}), 6 * sizeof(uint64_t));
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
}

static void limits(void **state) {
    (void)state;
    tkr_tok *tok = small();
    tkr_tok_scratch *scratch = new_scratch(tok);
    tkr_error error = {.status = TKR_OK};
    tkr_tok_result result;
    tkr_tok_request request = {.text = "a b . ! ab", .n_text = 10, .max_tokens = 4, .special_tokens = true};
    result = encode_or_fail(tok, scratch, &request);
    EXPECT(&result, 2, 4, 6, 3);
    assert_int_equal(result.n_untruncated, 7);
    request.truncate = TKR_TRUNCATE_LEFT;
    result = encode_or_fail(tok, scratch, &request);
    EXPECT(&result, 2, 11, 8, 3);
    assert_int_equal(result.n_untruncated, 7);
    request.truncate = TKR_TRUNCATE_ERROR;
    assert_int_equal(tkr_tok_encode(&result, tok, scratch, &request, &error), TKR_LIMIT);
    assert_string_equal(error.message, "7 tokens, the limit is 4");
    request.max_tokens = 7;
    result = encode_or_fail(tok, scratch, &request);
    assert_int_equal(result.n, 7);
    request.max_tokens = 2;
    request.truncate = TKR_TRUNCATE_RIGHT;
    result = encode_or_fail(tok, scratch, &request);
    EXPECT(&result, 2, 3);
    request.max_tokens = 1;
    assert_int_equal(tkr_tok_encode(&result, tok, scratch, &request, &error), TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "special tokens alone are 2"));
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
}

/* A limit on a very long text keeps few tokens and still counts all of them. */
static void limit_of_long_text(void **state) {
    (void)state;
    tkr_tok *tok = small();
    tkr_tok_scratch *scratch = new_scratch(tok);
    const size_t n = 400000;
    char *text = tkr_malloc(2 * n);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) {
        memcpy(text + 2 * i, i + 3 < n ? "a " : "! ", 2);
    }
    tkr_tok_request request = {.text = text, .n_text = 2 * n, .max_tokens = 5, .want_offsets = true};
    tkr_tok_result result = encode_or_fail(tok, scratch, &request);
    EXPECT(&result, 4, 4, 4, 4, 4);
    assert_int_equal(result.n_untruncated, n);
    request.truncate = TKR_TRUNCATE_LEFT;
    result = encode_or_fail(tok, scratch, &request);
    EXPECT(&result, 4, 4, 11, 11, 11);
    assert_int_equal(result.offsets[9], 2 * n - 1);
    assert_int_equal(result.n_untruncated, n);
    assert_true(scratch->first.room < 10000);
    request.max_tokens = 0;
    result = encode_or_fail(tok, scratch, &request);
    assert_int_equal(result.n, n);
    request.n_text = 2; /* the next text gives the large arrays back */
    result = encode_or_fail(tok, scratch, &request);
    assert_true(scratch->offsets_room < 10000 && scratch->first.offsets_room < 10000);
    tkr_free(text);
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
}

static void invalid_utf8(void **state) {
    (void)state;
    static const char file[] = SMALL_FILE("null", "{\"type\":\"WhitespaceSplit\"}", "null",
                                          "{" SMALL_MODEL_FIELDS ",\"vocab\":" SMALL_VOCAB "}");
    tkr_tok *tok = load_bytes(file, strlen(file), false);
    tkr_tok_scratch *scratch = new_scratch(tok);
    /* A stray byte, a cut sequence (one U+FFFD for its two bytes), an encoded surrogate (three). */
    static const char text[] = "\xff"
                               "a \xe4\xb8 b\xed\xa0\x80";
    tkr_tok_request request = {.text = text, .n_text = sizeof text - 1, .want_offsets = true};
    const tkr_tok_result result = encode_or_fail(tok, scratch, &request);
    EXPECT(&result, 13, 5, 13, 6, 14, 14, 14);
    assert_memory_equal(result.offsets, ((const uint64_t[]){0, 1, 1, 2, 3, 5, 6, 7, 7, 8, 8, 9, 9, 10}),
                        14 * sizeof(uint64_t));
    request.strict_utf8 = true;
    tkr_error error = {.status = TKR_OK};
    tkr_tok_result none;
    assert_int_equal(tkr_tok_encode(&none, tok, scratch, &request, &error), TKR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "invalid UTF-8 at byte 0");
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(single_and_pair), cmocka_unit_test(typed_special_tokens),
                                       cmocka_unit_test(limits), cmocka_unit_test(limit_of_long_text),
                                       cmocka_unit_test(invalid_utf8)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
