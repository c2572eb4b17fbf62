/* SPDX-License-Identifier: Apache-2.0 */
/* Ids and byte offsets of every input of every BERT golden case, truncated to the case's max_seq_length. */
#include "support.h"

static bool lowercases(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "golden/bert/%s/model/sentence_bert_config.json", name);
    tkr_buf config = read_data(path);
    json_t *tree = json_loadb(config.data, config.size, 0, NULL);
    assert_non_null(tree);
    const bool lowercase = json_is_true(json_object_get(tree, "do_lower_case"));
    json_decref(tree);
    tkr_buf_free(&config);
    return lowercase;
}

static void check_input(const char *name, const tkr_tok *tok, tkr_tok_scratch *scratch, const json_t *input,
                        size_t limit) {
    const json_t *text = json_object_get(input, "text"), *prompt = json_object_get(input, "prompt");
    const size_t index = (size_t)json_integer_value(json_object_get(input, "index"));
    tkr_buf whole = {0};
    assert_true(
        tkr_buf_append(&whole, json_is_string(prompt) ? json_string_value(prompt) : "", json_string_length(prompt)));
    assert_true(tkr_buf_append(&whole, json_string_value(text), json_string_length(text)));
    const tkr_tok_request request = {
        .text = whole.data, .n_text = whole.size, .max_tokens = limit, .special_tokens = true, .want_offsets = true};
    const tkr_tok_result result = encode_or_fail(tok, scratch, &request);
    check_ids(name, index, &result, json_object_get(input, "ids"));
    check_offsets(name, index, &result, json_object_get(input, "offsets"));
    assert_int_equal(result.n, json_integer_value(json_object_get(input, "n_tokens")));
    assert_int_equal(result.n_untruncated, json_integer_value(json_object_get(input, "n_tokens_untruncated")));
    tkr_buf_free(&whole);
}

static tkr_status check_case(void *user, const char *name, bool is_dir) {
    size_t *n_cases = user;
    char path[256];
    if (!is_dir) {
        return TKR_OK;
    }
    snprintf(path, sizeof path, "golden/bert/%s/model/tokenizer.json", name);
    tkr_buf json = read_data(path);
    (*n_cases)++;
    tkr_tok *tok = load_bytes(json.data, json.size, lowercases(name));
    tkr_tok_scratch *scratch = new_scratch(tok);
    snprintf(path, sizeof path, "golden/bert/%s/cases.json", name);
    tkr_buf cases = read_data(path);
    json_t *tree = json_loadb(cases.data, cases.size, JSON_ALLOW_NUL, NULL);
    assert_non_null(tree);
    const json_t *inputs = json_object_get(tree, "inputs");
    const size_t limit = (size_t)json_integer_value(json_object_get(tree, "max_seq_length"));
    assert_true(json_array_size(inputs) >= 16);
    for (size_t i = 0; i < json_array_size(inputs); i++) {
        check_input(name, tok, scratch, json_array_get(inputs, i), limit);
    }
    json_decref(tree);
    tkr_buf_free(&cases);
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
    tkr_buf_free(&json);
    return TKR_OK;
}

static void golden_cases(void **state) {
    (void)state;
    size_t n_cases = 0;
    tkr_error error = {.status = TKR_OK};
    assert_int_equal(tkr_dir_each(TKR_TEST_DIR "/golden/bert", check_case, &n_cases, &error), TKR_OK);
    assert_true(n_cases >= 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
