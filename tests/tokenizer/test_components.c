/* SPDX-License-Identifier: Apache-2.0 */
/* Every component against the reference: variants of two tiny tokenizers, hostile strings, pairs, truncation on both
 * sides, added tokens typed by users (golden/tokenizers/components.jsonl, written by tools/diff_tokenizers.py). */
#include "support.h"

static json_t *patched(const json_t *variant) {
    char path[256];
    snprintf(path, sizeof path, "golden/%s", json_string_value(json_object_get(variant, "base")));
    tkr_buf json = read_data(path);
    json_t *tree = json_loadb(json.data, json.size, JSON_ALLOW_NUL, NULL);
    assert_non_null(tree);
    tkr_buf_free(&json);
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(variant, "patch"), key, value) {
        if (strcmp(key, "model") == 0) {
            assert_int_equal(json_object_update(json_object_get(tree, key), value), 0);
        } else if (strcmp(key, "added_tokens") == 0) {
            assert_int_equal(json_array_extend(json_object_get(tree, key), value), 0);
        } else {
            assert_int_equal(json_object_set(tree, key, value), 0);
        }
    }
    return tree;
}

static void check_case(const char *name, size_t index, const tkr_tok *tok, tkr_tok_scratch *scratch,
                       const json_t *want) {
    const json_t *text = json_object_get(want, "text"), *pair = json_object_get(want, "pair");
    const tkr_tok_request request = {.text = json_string_value(text),
                                     .n_text = json_string_length(text),
                                     .pair = json_is_string(pair) ? json_string_value(pair) : NULL,
                                     .n_pair = json_string_length(pair),
                                     .max_tokens = (size_t)json_integer_value(json_object_get(want, "limit")),
                                     .truncate = json_is_true(json_object_get(want, "left")) ? TKR_TRUNCATE_LEFT
                                                                                             : TKR_TRUNCATE_RIGHT,
                                     .special_tokens = json_is_true(json_object_get(want, "special")),
                                     .want_offsets = true};
    const tkr_tok_result result = encode_or_fail(tok, scratch, &request);
    check_ids(name, index, &result, json_object_get(want, "ids"));
    check_offsets(name, index, &result, json_object_get(want, "offsets"));
    const json_t *types = json_object_get(want, "types");
    for (size_t i = 0; i < result.n; i++) {
        if (result.type_ids[i] != json_integer_value(json_array_get(types, i))) {
            fail_msg("%s, input %zu, token %zu: type %d", name, index, i, result.type_ids[i]);
        }
    }
    assert_int_equal(result.n_untruncated, json_integer_value(json_object_get(want, "whole")));
}

static void variants(void **state) {
    (void)state;
    tkr_buf golden = read_data("golden/tokenizers/components.jsonl");
    size_t at = 0, n = 0;
    json_t *variant;
    while ((variant = next_line(&golden, &at)) != NULL) {
        json_t *tree = patched(variant);
        char *text = json_dumps(tree, JSON_COMPACT);
        assert_non_null(text);
        tkr_tok *tok = load_bytes(text, strlen(text), json_is_true(json_object_get(variant, "lowercase")));
        tkr_tok_scratch *scratch = new_scratch(tok);
        const json_t *cases = json_object_get(variant, "cases");
        const char *name = json_string_value(json_object_get(variant, "name"));
        assert_true(json_array_size(cases) >= 20);
        for (size_t i = 0; i < json_array_size(cases); i++) {
            check_case(name, i, tok, scratch, json_array_get(cases, i));
        }
        tkr_tok_scratch_free(&scratch);
        tkr_tok_free(&tok);
        free(text);
        json_decref(tree);
        json_decref(variant);
        n++;
    }
    assert_true(n >= 40);
    tkr_buf_free(&golden);
}

/* The tokenizer of multilingual-e5-small in miniature on the 500 strings. */
static void unigram_strings(void **state) {
    (void)state;
    tkr_buf json = read_data("golden/bert/bert-xlmr-tokenizer/model/tokenizer.json");
    tkr_tok *tok = load_bytes(json.data, json.size, false);
    tkr_buf golden = read_data("golden/tokenizers/unigram-bert-xlmr-tokenizer.jsonl");
    check_strings(tok, &golden);
    tkr_buf_free(&golden);
    tkr_tok_free(&tok);
    tkr_buf_free(&json);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(variants), cmocka_unit_test(unigram_strings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
