/* SPDX-License-Identifier: Apache-2.0 */
/* Ids and byte offsets of every input of every golden case that has a tokenizer.json, truncated to the case's
 * max_seq_length; the 500 strings through those tokenizers that have goldens for them. */
#include "support.h"

typedef struct walk {
    const char *group; /* folder below golden/ */
    size_t n_cases;
    char names[2048]; /* of the cases, each between spaces */
} walk;

static json_t *read_tree(const char *path, bool required) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s/%s", TKR_TEST_DIR, path);
    if (!required && !tkr_path_exists(whole)) {
        return NULL;
    }
    tkr_buf text = read_data(path);
    json_t *tree = json_loadb(text.data, text.size, JSON_ALLOW_NUL, NULL);
    assert_non_null(tree);
    tkr_buf_free(&text);
    return tree;
}

static bool lowercases(const char *folder) {
    char path[256];
    snprintf(path, sizeof path, "%s/model/sentence_bert_config.json", folder);
    json_t *tree = read_tree(path, false);
    const bool lowercase = json_is_true(json_object_get(tree, "do_lower_case"));
    json_decref(tree);
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
    if (json_object_get(input, "offsets") != NULL) { /* the quantised checkpoints' cases have ids only */
        check_offsets(name, index, &result, json_object_get(input, "offsets"));
        assert_int_equal(result.n, json_integer_value(json_object_get(input, "n_tokens")));
        assert_int_equal(result.n_untruncated, json_integer_value(json_object_get(input, "n_tokens_untruncated")));
    }
    tkr_buf_free(&whole);
}

static void check_golden_strings(const char *name, const tkr_tok *tok) {
    char path[256], whole[512];
    snprintf(path, sizeof path, "golden/tokenizers/unigram-%s.jsonl.xz", name);
    snprintf(whole, sizeof whole, "%s/%s", TKR_TEST_DIR, path);
    if (tkr_path_exists(whole)) {
        tkr_buf golden = read_xz(path);
        check_strings(tok, &golden);
        tkr_buf_free(&golden);
    }
}

static tkr_status check_case(void *user, const char *name, bool is_dir) {
    walk *w = user;
    char folder[200], path[256], whole[512];
    snprintf(folder, sizeof folder, "golden/%s/%s", w->group, name);
    snprintf(path, sizeof path, "%s/model/tokenizer.json", folder);
    snprintf(whole, sizeof whole, "%s/%s", TKR_TEST_DIR, path);
    if (!is_dir || !tkr_path_exists(whole)) {
        return TKR_OK;
    }
    tkr_buf json = read_data(path);
    tkr_tok *tok = load_bytes(json.data, json.size, lowercases(folder));
    tkr_tok_scratch *scratch = new_scratch(tok);
    snprintf(path, sizeof path, "%s/cases.json", folder);
    json_t *tree = read_tree(path, true);
    const json_t *inputs = json_object_get(tree, "inputs");
    const size_t limit = (size_t)json_integer_value(json_object_get(tree, "max_seq_length"));
    const bool pictures = json_object_get(tree, "recipe") != NULL; /* ids of prompts: tests/engine/test_vision.c */
    assert_true(pictures || json_array_size(inputs) >= (strcmp(w->group, "quant") == 0 ? 10 : 16));
    for (size_t i = 0; !pictures && i < json_array_size(inputs); i++) {
        check_input(name, tok, scratch, json_array_get(inputs, i), limit);
    }
    check_golden_strings(name, tok);
    w->n_cases++;
    const size_t used = strlen(w->names);
    snprintf(w->names + used, sizeof w->names - used, " %s ", name);
    json_decref(tree);
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
    tkr_buf_free(&json);
    return TKR_OK;
}

static tkr_status check_group(void *user, const char *name, bool is_dir) {
    walk *w = user;
    tkr_error error = {.status = TKR_OK};
    char path[512];
    if (is_dir) {
        w->group = name;
        snprintf(path, sizeof path, "%s/golden/%s", TKR_TEST_DIR, name);
        assert_int_equal(tkr_dir_each(path, check_case, w, &error), TKR_OK);
    }
    return TKR_OK;
}

static void golden_cases(void **state) {
    (void)state;
    static const char *const needed[] = {" bert-mean ",      " bert-cased-lower ", " bert-xlmr-tokenizer ",
                                         " modernbert-cls ", " qwen3-last ",       " qwen2-last ",
                                         " gemma3-dense ",   " roberta ",          " mpnet ",
                                         " nomic-bert ",     " distilbert ",       " eurobert ",
                                         " xlmr-e5 ",        " xlmr-m3 "};
    walk w = {0};
    tkr_error error = {.status = TKR_OK};
    assert_int_equal(tkr_dir_each(TKR_TEST_DIR "/golden", check_group, &w, &error), TKR_OK);
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (strstr(w.names, needed[i]) == NULL) {
            fail_msg("no golden case%sbelow %s/golden", needed[i], TKR_TEST_DIR);
        }
    }
    assert_true(w.n_cases >= 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
