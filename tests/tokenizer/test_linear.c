/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile texts cost work in proportion to their length: counted in characters and trie steps, not in seconds. */
#include "support.h"

#include "small_wordpiece.h"
#include "tokenizer/engine.h"

static uint64_t work_of(const tkr_tok *tok, const char *unit, size_t repeat) {
    const size_t n = strlen(unit);
    char *text = tkr_malloc(n * repeat);
    assert_non_null(text);
    for (size_t i = 0; i < repeat; i++) {
        memcpy(text + i * n, unit, n);
    }
    tkr_tok_scratch *scratch = new_scratch(tok);
    const tkr_tok_request request = {.text = text, .n_text = n * repeat, .max_tokens = 16, .special_tokens = true};
    (void)encode_or_fail(tok, scratch, &request);
    const uint64_t work = scratch->work;
    tkr_tok_scratch_free(&scratch);
    tkr_free(text);
    return work;
}

static void check_linear(const tkr_tok *tok) {
    static const char *const units[] = {"a",
                                        " ",
                                        "!",
                                        "ab ",
                                        "\xf0\x9f\x98\x80",
                                        "\xf0\x9f\x91\xa9\xe2\x80\x8d",
                                        "\xcc\x81",
                                        "\xcc\xa7\xcc\x81",
                                        "\xe4\xb8\xad",
                                        "\xed\x95\x9c",
                                        "[SEP]",
                                        "[SEP",
                                        "[",
                                        "</s",
                                        "  <mask>",
                                        "a\xcc\x81",
                                        "\xff",
                                        "\xe0\xa5\x8d\xe0\xa4\x95",
                                        "\xef\xb7\xba"};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        const size_t repeat = 20000;
        const uint64_t once = work_of(tok, units[i], repeat), twice = work_of(tok, units[i], 2 * repeat);
        if (twice > 2 * once + once / 25 + 1000 || once > 64 * repeat * strlen(units[i])) {
            fail_msg("unit %zu: %llu steps for %zu, %llu for %zu repetitions", i, (unsigned long long)once, repeat,
                     (unsigned long long)twice, 2 * repeat);
        }
    }
}

static void wordpiece(void **state) {
    (void)state;
    tkr_tok *tok = load_bytes(SMALL_WORDPIECE, strlen(SMALL_WORDPIECE), false);
    check_linear(tok);
    tkr_tok_free(&tok);
}

static void unigram(void **state) {
    (void)state;
    tkr_buf json = read_data("golden/bert/bert-xlmr-tokenizer/model/tokenizer.json");
    tkr_tok *tok = load_bytes(json.data, json.size, false);
    check_linear(tok);
    tkr_tok_free(&tok);
    tkr_buf_free(&json);
}

static void bpe(void **state) {
    (void)state;
    static const char *const names[] = {"bases/qwen2-last.json", "bases/gemma3-dense.json", "qwen3/tokenizer.json.xz",
                                        "olmo/tokenizer.json.xz"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, "golden/tokenizers/%s", names[i]);
        tkr_buf json = i < 2 ? read_data(path) : read_xz(path);
        tkr_tok *tok = load_bytes(json.data, json.size, false);
        check_linear(tok);
        tkr_tok_free(&tok);
        tkr_buf_free(&json);
    }
}

/* 10 MB of one letter, of emoji, of spaces, of one long word take ten times the work of 1 MB, whatever the model. */
static void ten_megabytes(void **state) {
    (void)state;
    static const char *const files[] = {"golden/tokenizers/bases/qwen2-last.json",
                                        "golden/tokenizers/bases/gemma3-dense.json",
                                        "golden/bert/bert-xlmr-tokenizer/model/tokenizer.json", NULL};
    static const char *const units[] = {"a", "\xf0\x9f\x98\x80", " ", "abcdefghijklmnopqrstuvwxyz"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        tkr_buf json = {0};
        if (files[i] != NULL) {
            json = read_data(files[i]);
        }
        tkr_tok *tok = files[i] != NULL ? load_bytes(json.data, json.size, false)
                                        : load_bytes(SMALL_WORDPIECE, strlen(SMALL_WORDPIECE), false);
        for (size_t k = 0; k < sizeof units / sizeof units[0]; k++) {
            const size_t repeat = 1000000 / strlen(units[k]);
            const uint64_t once = work_of(tok, units[k], repeat), ten = work_of(tok, units[k], 10 * repeat);
            if (ten > 10 * once + once / 2 || once > 16 * 1000000) {
                fail_msg("tokenizer %zu, unit %zu: %llu steps for 1 MB, %llu for 10 MB", i, k, (unsigned long long)once,
                         (unsigned long long)ten);
            }
        }
        tkr_tok_free(&tok);
        tkr_buf_free(&json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(wordpiece), cmocka_unit_test(unigram), cmocka_unit_test(bpe),
                                       cmocka_unit_test(ten_megabytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
