/* SPDX-License-Identifier: Apache-2.0 */
/* The result cache: keys differ where results may, entries and bytes stay within their bounds, what is asked for again
 * stays, and a shared level that is down only costs misses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/mem.h"
#include "server/cache.h"

static const tkr_model_info model = {.fingerprint = "m", .max_tokens = 512};

static tkr_cache *open_cache(tkr_settings **settings, const char *entries, const char *bytes, const char *url) {
    const tkr_setting_flag flags[] = {
        {TKR_SET_CACHE_SIZE, entries}, {TKR_SET_CACHE_BYTES, bytes}, {TKR_SET_CACHE_URL, url}};
    const tkr_log silent = {0};
    tkr_cache *cache = NULL;
    tkr_error error;
    assert_int_equal(tkr_settings_load(settings, NULL, flags, url ? 3 : 2, &error), TKR_OK);
    assert_int_equal(tkr_cache_create(&cache, *settings, &silent, &error), TKR_OK);
    assert_non_null(cache);
    return cache;
}

static tkr_cache_key key_of_number(size_t i) {
    char text[32];
    tkr_embed_options options;
    tkr_cache_key key;
    tkr_embed_options_init(&options);
    const tkr_input input = {.text = text, .n_text = (size_t)snprintf(text, sizeof text, "text %zu", i)};
    assert_true(tkr_cache_key_of(&key, &model, TKR_RESULT_DENSE, &input, &options));
    return key;
}

static void put_number(tkr_cache *cache, size_t i, size_t dimensions) {
    float rows[64];
    for (size_t k = 0; k < dimensions; k++) rows[k] = (float)(i * 100 + k);
    const tkr_cached value = {rows, 1, dimensions, i, i + 1};
    const tkr_cache_key key = key_of_number(i);
    tkr_cache_put(cache, &key, &value);
}

/* Whether the i-th entry is there; then it must be right. */
static bool has_number(tkr_cache *cache, size_t i, size_t dimensions) {
    tkr_cached value;
    const tkr_cache_key key = key_of_number(i);
    if (!tkr_cache_get(&value, cache, &key)) return false;
    assert_int_equal(value.n_rows, 1);
    assert_int_equal(value.dimensions, dimensions);
    assert_int_equal(value.n_tokens, i);
    assert_int_equal(value.n_tokens_untruncated, i + 1);
    for (size_t k = 0; k < dimensions; k++) assert_true(value.rows[k] == (float)(i * 100 + k));
    tkr_free(value.rows);
    return true;
}

static void close_cache(tkr_cache **cache, tkr_settings **settings) {
    tkr_cache_free(cache);
    tkr_settings_free(settings);
}

static void test_keys(void **state) {
    (void)state;
    enum { N = 14 };
    tkr_cache_key keys[N];
    size_t n = 0;
    const tkr_part picture = {.kind = TKR_PART_IMAGE, .data = "abc", .n_data = 3};
    const tkr_part url = {.kind = TKR_PART_URL, .data = "https://example.org/a.png", .n_data = 25};
    const int32_t ids[] = {1, 2};
    const tkr_input inputs[] = {{.text = "ab", .n_text = 2},
                                {.text = "a", .n_text = 1},
                                {.kind = TKR_INPUT_PAIR, .text = "a", .n_text = 1, .pair = "b", .n_pair = 1},
                                {.kind = TKR_INPUT_TOKENS, .ids = ids, .n_ids = 2},
                                {.kind = TKR_INPUT_TOKENS, .ids = ids, .n_ids = 1},
                                {.kind = TKR_INPUT_PARTS, .parts = &picture, .n_parts = 1},
                                {.kind = TKR_INPUT_PARTS, .parts = &picture, .n_parts = 1, .max_pixels = 100},
                                {.text = "ab", .n_text = 2, .prompt = "p"},
                                {.text = "ab", .n_text = 2, .prompt_name = "p"}};
    const tkr_model_info other = {.fingerprint = "other", .max_tokens = 512};
    tkr_embed_options options;
    tkr_embed_options_init(&options);
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
        assert_true(tkr_cache_key_of(&keys[n++], &model, TKR_RESULT_DENSE, &inputs[i], &options));
    assert_true(tkr_cache_key_of(&keys[n++], &other, TKR_RESULT_DENSE, &inputs[0], &options));
    assert_true(tkr_cache_key_of(&keys[n++], &model, TKR_RESULT_TOKENS, &inputs[0], &options));
    options.dimensions = 8;
    assert_true(tkr_cache_key_of(&keys[n++], &model, TKR_RESULT_DENSE, &inputs[0], &options));
    options.dimensions = 0;
    options.normalize = TKR_NO;
    assert_true(tkr_cache_key_of(&keys[n++], &model, TKR_RESULT_DENSE, &inputs[0], &options));
    options.normalize = TKR_DEFAULT;
    options.truncate = TKR_TRUNCATE_LEFT;
    assert_true(tkr_cache_key_of(&keys[n++], &model, TKR_RESULT_DENSE, &inputs[0], &options));
    assert_int_equal(n, N);
    for (size_t a = 0; a < n; a++)
        for (size_t b = a + 1; b < n; b++) assert_memory_not_equal(&keys[a], &keys[b], sizeof keys[0]);
    options.truncate = TKR_TRUNCATE_RIGHT;
    tkr_cache_key again;
    assert_true(tkr_cache_key_of(&again, &model, TKR_RESULT_DENSE, &inputs[0], &options));
    assert_memory_equal(&again, &keys[0], sizeof again);
    const tkr_input fetched = {
        .kind = TKR_INPUT_PARTS, .parts = &url, .n_parts = 1}; /* may be another picture tomorrow */
    assert_false(tkr_cache_key_of(&again, &model, TKR_RESULT_DENSE, &fetched, &options));
}

static bool same_key(const tkr_model_info *a, const tkr_model_info *b, const char *prompt_name) {
    tkr_cache_key keys[2];
    tkr_embed_options options;
    const tkr_input input = {.text = "a", .n_text = 1};
    tkr_embed_options_init(&options);
    options.prompt_name = prompt_name;
    assert_true(tkr_cache_key_of(&keys[0], a, TKR_RESULT_DENSE, &input, &options));
    assert_true(tkr_cache_key_of(&keys[1], b, TKR_RESULT_DENSE, &input, &options));
    return memcmp(&keys[0], &keys[1], sizeof keys[0]) == 0;
}

/* Models of one fingerprint share what can't differ, and nothing else. */
static void test_keys_of_models(void **state) {
    (void)state;
    const tkr_pair here[] = {{"query", "query: "}, {"passage", "passage: "}},
                   there[] = {{"query", "search_query: "}, {"passage", "passage: "}};
    const tkr_model_info plain = {.fingerprint = "m", .max_tokens = 512, .prompts = here, .n_prompts = 2};
    tkr_model_info other = plain;
    other.reference = "another place";
    assert_true(same_key(&plain, &other, NULL));
    assert_true(same_key(&plain, &other, "query"));
    other.max_tokens = 16;
    assert_false(same_key(&plain, &other, NULL));
    other = plain;
    other.prompts = there;
    assert_true(same_key(&plain, &other, NULL));
    assert_true(same_key(&plain, &other, "passage"));
    assert_false(same_key(&plain, &other, "query"));
    other.default_prompt = "query";
    assert_false(same_key(&plain, &other, NULL));
    tkr_model_info third = plain;
    third.default_prompt = "query";
    assert_false(same_key(&third, &other, NULL));
    assert_true(same_key(&third, &third, NULL));
}

static void test_bounds(void **state) {
    (void)state;
    tkr_settings *settings = NULL;
    tkr_cache_counts counts;
    tkr_cache *cache = open_cache(&settings, "10", "1M", NULL);
    for (size_t i = 0; i < 100; i++) put_number(cache, i, 8);
    tkr_cache_get_counts(&counts, cache);
    assert_int_equal(counts.entries, 10);
    assert_int_equal(counts.evicted, 90);
    size_t n = 0;
    for (size_t i = 0; i < 100; i++) n += has_number(cache, i, 8);
    assert_int_equal(n, 10);
    tkr_cache_get_counts(&counts, cache);
    assert_int_equal(counts.hits, 10);
    assert_int_equal(counts.misses, 90);
    tkr_cache_clear(cache);
    tkr_cache_get_counts(&counts, cache);
    assert_int_equal(counts.entries + counts.bytes, 0);
    close_cache(&cache, &settings);
    cache = open_cache(&settings, "1000", "4096", NULL);
    for (size_t i = 0; i < 100; i++) put_number(cache, i, 64);
    tkr_cache_get_counts(&counts, cache);
    assert_true(counts.bytes <= 4096);
    assert_in_range(counts.entries, 5, 16);
    close_cache(&cache, &settings);
}

/* What is used survives a stream of things that are seen once. */
static void test_scan(void **state) {
    (void)state;
    tkr_settings *settings = NULL;
    tkr_cache *cache = open_cache(&settings, "20", "1M", NULL);
    for (size_t i = 0; i < 5; i++) put_number(cache, i, 4);
    for (size_t i = 100; i < 2000; i++) {
        put_number(cache, i, 4);
        for (size_t k = 0; k < 5; k++) assert_true(has_number(cache, k, 4));
    }
    close_cache(&cache, &settings);
}

static void test_same_key(void **state) {
    (void)state;
    tkr_settings *settings = NULL;
    tkr_cache_counts counts;
    tkr_cache *cache = open_cache(&settings, "10", "1M", NULL);
    for (size_t i = 0; i < 3; i++) put_number(cache, 7, 4);
    tkr_cache_get_counts(&counts, cache);
    assert_int_equal(counts.entries, 1);
    close_cache(&cache, &settings);
}

/* Nothing listens there: a miss at once, and the memory goes on. */
static void test_shared_down(void **state) {
    (void)state;
    tkr_settings *settings = NULL;
    tkr_cache_counts counts;
    tkr_cached value;
    bool found = true;
    tkr_cache *cache = open_cache(&settings, "10", "1M", "redis://127.0.0.1:1");
    const tkr_cache_key key = key_of_number(1);
    const double begin = tkr_now();
    for (size_t i = 0; i < 50; i++) {
        tkr_cache_get_far(&value, &found, cache, &key, 1);
        assert_false(found);
    }
    assert_true(tkr_now() - begin < 2); /* 50 tries of the network would take longer than this where it hangs */
    put_number(cache, 1, 4);
    assert_true(has_number(cache, 1, 4));
    tkr_cache_get_counts(&counts, cache);
    assert_true(counts.far_errors >= 1);
    assert_false(counts.far_up);
    close_cache(&cache, &settings);
}

static void test_urls(void **state) {
    (void)state;
    static const char *const bad[] = {"http://x",        "redis://",    "redis://:secret", "redis://h:0",
                                      "redis://h:99999", "redis://h/x", "unix://relative"};
    const tkr_log silent = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const tkr_setting_flag flag = {TKR_SET_CACHE_URL, bad[i]};
        tkr_settings *settings = NULL;
        tkr_cache *cache = NULL;
        tkr_error error;
        tkr_status status = tkr_settings_load(&settings, NULL, &flag, 1, &error); /* sees the worst by itself */
        if (status == TKR_OK) status = tkr_cache_create(&cache, settings, &silent, &error);
        assert_int_equal(status, TKR_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "cache"));
        assert_null(strstr(error.message, "secret"));
        tkr_settings_free(&settings);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_of_models), cmocka_unit_test(test_keys),     cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_scan),           cmocka_unit_test(test_same_key), cmocka_unit_test(test_shared_down),
        cmocka_unit_test(test_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
