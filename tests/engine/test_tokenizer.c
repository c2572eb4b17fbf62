/* SPDX-License-Identifier: Apache-2.0 */
/* The public tokenizer: there and back, special tokens or none, one tokenizer used by many threads at once. */
#include <pthread.h>

#include "golden.h"

static tkr_tokenizer *load(const char *relative) {
    char path[600];
    tkr_tokenizer *tokenizer = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    snprintf(path, sizeof path, "%s/golden/%s", TKR_TEST_DIR, relative);
    if (tkr_tokenizer_load(&tokenizer, path, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
    return tokenizer;
}

static tkr_tokens tokenize(const tkr_tokenizer *tokenizer, const char *text, tkr_choice special) {
    tkr_tokens tokens;
    tkr_embed_options options;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_input input = {.text = text, .n_text = strlen(text)};
    tkr_embed_options_init(&options);
    options.special_tokens = special;
    if (tkr_tokenize(&tokens, tokenizer, &input, &options, &error) != TKR_OK) fail_msg("%s", error.message);
    return tokens;
}

static void check_decoded(const tkr_tokenizer *tokenizer, const int32_t *ids, size_t n, int skip, const char *want) {
    char *text = NULL;
    size_t n_text = 0;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_decode(&text, &n_text, tokenizer, ids, n, skip, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_string_equal(text, want);
    assert_int_equal(n_text, strlen(want));
    tkr_text_free(&text);
    assert_null(text);
    tkr_text_free(&text);
}

static void there_and_back(void **state) {
    (void)state;
    static const struct {
        const char *folder, *text, *whole, *plain;
    } cases[] = {{"bert/bert-mean/model", "the museum is old.", "[CLS] the museum is old. [SEP]", "the museum is old."},
                 {"roberta/roberta/model", "a  caf\xc3\xa9 \xf0\x9f\x98\x80", "<s>a  caf\xc3\xa9 \xf0\x9f\x98\x80</s>",
                  "a  caf\xc3\xa9 \xf0\x9f\x98\x80"},
                 {"gemma3_text/gemma3-dense/model", " a b", "<bos> a b<eos>", " a b"},
                 {"quant/gguf-qwen3-q8_0/model.gguf", "one, two", "one, two<|endoftext|>", "one, two"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tkr_tokenizer *tokenizer = load(cases[i].folder);
        tkr_tokens tokens = tokenize(tokenizer, cases[i].text, TKR_DEFAULT);
        check_decoded(tokenizer, tokens.ids, tokens.n, 0, cases[i].whole);
        check_decoded(tokenizer, tokens.ids, tokens.n, 1, cases[i].plain);
        check_decoded(tokenizer, NULL, 0, 1, "");
        tkr_tokens_free(&tokens);
        tkr_tokenizer_free(&tokenizer);
    }
}

static void outside_of_the_vocabulary(void **state) {
    (void)state;
    static const int32_t ids[] = {5, 1000000}, negative[] = {-7};
    tkr_tokenizer *tokenizer = load("bert/bert-mean/model");
    tkr_error error = {TKR_OK, NULL, ""};
    char *text = NULL;
    size_t n_text = 0;
    assert_int_equal(tkr_decode(&text, &n_text, tokenizer, ids, 2, 1, &error), TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "id 1000000 (number 1) is outside of the vocabulary: 0 to "));
    assert_int_equal(tkr_decode(&text, &n_text, tokenizer, negative, 1, 1, &error), TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "id -7"));
    assert_null(text);
    tkr_tokenizer_free(&tokenizer);
}

static void special_tokens(void **state) {
    (void)state;
    tkr_tokenizer *tokenizer = load("bert/bert-mean/model");
    tkr_tokens with = tokenize(tokenizer, "a [SEP] b", TKR_DEFAULT), without = tokenize(tokenizer, "a [SEP] b", TKR_NO);
    static const uint8_t special[] = {1, 0, 0, 0, 1};
    assert_int_equal(with.n, 5);
    assert_memory_equal(with.special, special, 5);
    assert_int_equal(with.ids[2], with.ids[4]); /* the one is read in the text, the other put behind it */
    assert_int_equal(without.n, 3);
    assert_int_equal(without.n_untruncated, 3);
    assert_memory_equal(without.ids, with.ids + 1, 3 * sizeof *with.ids);
    assert_memory_equal(without.offsets, with.offsets + 2, 6 * sizeof *with.offsets);
    assert_memory_equal(without.special, special + 1, 3);
    for (size_t i = 0; i < with.n; i++)
        assert_int_equal(tkr_tokenizer_is_special(tokenizer, with.ids[i]), i != 1 && i != 3);
    assert_int_equal(tkr_tokenizer_is_special(tokenizer, -1), 0);
    assert_int_equal(tkr_tokenizer_is_special(tokenizer, INT32_MAX), 0);
    tkr_tokens_free(&with);
    tkr_tokens_free(&without);
    without = tokenize(tokenizer, "", TKR_NO);
    assert_int_equal(without.n, 0);
    tkr_tokens_free(&without);
    tkr_tokenizer_free(&tokenizer);
}

/* Padding belongs to the special tokens, a template doesn't. */
static void towers_and_templates(void **state) {
    (void)state;
    tkr_tokenizer *tokenizer = load("siglip/siglip/model");
    tkr_tokens with = tokenize(tokenizer, "a cat", TKR_DEFAULT), without = tokenize(tokenizer, "a cat", TKR_NO);
    assert_true(without.n > 0);
    assert_true(with.n > without.n + 1);
    assert_memory_equal(with.ids, without.ids, without.n * sizeof *with.ids);
    for (size_t i = 0; i < with.n; i++) assert_int_equal(with.special[i], i >= without.n);
    check_decoded(tokenizer, without.ids, without.n, 0, "a cat");
    tkr_tokens_free(&with);
    tkr_tokens_free(&without);
    tkr_tokenizer_free(&tokenizer);
    tokenizer = load("qwen3_vl/qwen3_vl/model");
    with = tokenize(tokenizer, "a cat", TKR_DEFAULT);
    without = tokenize(tokenizer, "a cat", TKR_NO);
    assert_int_equal(with.n, without.n + 1);
    assert_memory_equal(with.ids, without.ids, without.n * sizeof *with.ids);
    tkr_tokens_free(&with);
    tkr_tokens_free(&without);
    tkr_tokenizer_free(&tokenizer);
}

static void not_for_vectors(void **state) {
    (void)state;
    embedder e = {0};
    const embedder_options model = {.threads = 1};
    char path[600];
    tkr_embed_options options;
    snprintf(path, sizeof path, "%s/golden/bert/bert-mean/model", TKR_TEST_DIR);
    embedder_open(&e, path, &model);
    tkr_embed_options_init(&options);
    options.special_tokens = TKR_NO;
    const tkr_input inputs[] = {{.text = "a", .n_text = 1}};
    tkr_result *result = NULL;
    assert_int_equal(tkr_embed(&result, e.session, inputs, 1, &options, NULL), TKR_OK);
    assert_int_equal(tkr_result_get(result, 0).status, TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(tkr_result_get(result, 0).message, "give ids"));
    tkr_result_free(&result);
    embedder_close(&e);
}

/* ---- threads ---- */

enum { N_THREADS = 8, ROUNDS = 40, LONG_TEXT = 80000 };

typedef struct shared {
    const tkr_tokenizer *tokenizer;
    const json_t *texts;
    tkr_tokens *wanted; /* [n texts] */
    char *long_text;    /* its scratch isn't kept */
    size_t long_tokens;
    int differ[N_THREADS];
} shared;

typedef struct worker {
    shared *shared;
    size_t index;
} worker;

static int one_text(const shared *s, const char *text, size_t n_text, const tkr_tokens *want, size_t n_tokens) {
    tkr_tokens tokens;
    char *decoded = NULL;
    size_t n_decoded = 0;
    const tkr_input input = {.text = text, .n_text = n_text};
    if (tkr_tokenize(&tokens, s->tokenizer, &input, NULL, NULL) != TKR_OK) return 1;
    int differ = tokens.n != n_tokens || (want && memcmp(tokens.ids, want->ids, tokens.n * sizeof *tokens.ids) != 0);
    differ += tkr_decode(&decoded, &n_decoded, s->tokenizer, tokens.ids, tokens.n, 1, NULL) != TKR_OK;
    tkr_text_free(&decoded);
    tkr_tokens_free(&tokens);
    return differ;
}

static void *work(void *arg) {
    worker *w = arg;
    shared *s = w->shared;
    const size_t n = json_array_size(s->texts);
    for (size_t i = 0; i < ROUNDS * n; i++) {
        const size_t at = (i * 7 + w->index) % n;
        const json_t *text = json_object_get(json_array_get(s->texts, at), "text");
        s->differ[w->index] +=
            one_text(s, json_string_value(text), json_string_length(text), &s->wanted[at], s->wanted[at].n);
        if (i % 100 == w->index) s->differ[w->index] += one_text(s, s->long_text, LONG_TEXT, NULL, s->long_tokens);
    }
    return NULL;
}

static void share(const char *relative) {
    golden g;
    golden_open(&g, relative);
    char model[256];
    snprintf(model, sizeof model, "%s/model", relative);
    tkr_tokenizer *tokenizer = load(model);
    shared s = {.tokenizer = tokenizer, .texts = json_object_get(g.cases, "inputs")};
    s.wanted = calloc(g.n, sizeof *s.wanted);
    s.long_text = malloc(LONG_TEXT);
    assert_true(s.wanted && s.long_text);
    for (size_t i = 0; i < LONG_TEXT; i++) s.long_text[i] = i % 6 == 5 ? ' ' : (char)('a' + i % 26);
    for (size_t i = 0; i < g.n; i++) {
        const json_t *text = json_object_get(golden_input(&g, i), "text");
        const tkr_input input = {.text = json_string_value(text), .n_text = json_string_length(text)};
        assert_int_equal(tkr_tokenize(&s.wanted[i], tokenizer, &input, NULL, NULL), TKR_OK);
    }
    tkr_tokens tokens;
    assert_int_equal(
        tkr_tokenize(&tokens, tokenizer, &(tkr_input){.text = s.long_text, .n_text = LONG_TEXT}, NULL, NULL), TKR_OK);
    s.long_tokens = tokens.n;
    tkr_tokens_free(&tokens);
    pthread_t threads[N_THREADS];
    worker workers[N_THREADS];
    for (size_t i = 0; i < N_THREADS; i++) {
        workers[i] = (worker){&s, i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < N_THREADS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < N_THREADS; i++) assert_int_equal(s.differ[i], 0);
    for (size_t i = 0; i < g.n; i++) tkr_tokens_free(&s.wanted[i]);
    free(s.wanted);
    free(s.long_text);
    tkr_tokenizer_free(&tokenizer);
    golden_close(&g);
}

static void many_threads(void **state) {
    (void)state;
    share("bert/bert-mean");
    share("clip/clip"); /* its pattern runs on PCRE2 */
    share("xlm_roberta/xlmr-e5");
    share("qwen3/qwen3-last");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back),  cmocka_unit_test(outside_of_the_vocabulary),
                                       cmocka_unit_test(special_tokens),  cmocka_unit_test(towers_and_templates),
                                       cmocka_unit_test(not_for_vectors), cmocka_unit_test(many_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
