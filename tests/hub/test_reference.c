/* SPDX-License-Identifier: Apache-2.0 */
/* References, aliases, environment and the reading of the cache; touches no network. */
#define _XOPEN_SOURCE 700 /* mkdtemp, symlink, setenv */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../countdown.h"
#include "hub/hub_internal.h"

#define COMMIT_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define COMMIT_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static char root[64]; /* a folder of our own, fresh for each test */

static const char *const variables[] = {"HF_HOME",
                                        "HF_HUB_CACHE",
                                        "HUGGINGFACE_HUB_CACHE",
                                        "XDG_CACHE_HOME",
                                        "HF_ENDPOINT",
                                        "HF_TOKEN",
                                        "HF_TOKEN_PATH",
                                        "HUGGING_FACE_HUB_TOKEN",
                                        "HF_HUB_DISABLE_IMPLICIT_TOKEN",
                                        "HF_HUB_OFFLINE",
                                        "TRANSFORMERS_OFFLINE",
                                        "HF_HUB_DOWNLOAD_TIMEOUT"};

static void run(const char *command, const char *argument) {
    char line[600];
    (void)snprintf(line, sizeof line, "%s '%s'", command, argument);
    assert_int_equal(system(line), 0);
}

static int setup(void **state) {
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/tkr-hub-test-XXXXXX");
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        (void)unsetenv(variables[i]);
    }
    return mkdtemp(root) != NULL && setenv("HOME", root, 1) == 0 ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    run("rm -rf", root);
    return 0;
}

static const char *at(const char *tail) {
    static char paths[4][512];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", root, tail);
    return path;
}

static void put(const char *tail, const char *text) {
    char folder[512];
    (void)snprintf(folder, sizeof folder, "%s", at(tail));
    *strrchr(folder, '/') = '\0';
    run("mkdir -p", folder);
    FILE *file = fopen(at(tail), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void link_to(const char *target, const char *tail) {
    char folder[512];
    (void)snprintf(folder, sizeof folder, "%s", at(tail));
    *strrchr(folder, '/') = '\0';
    run("mkdir -p", folder);
    assert_int_equal(symlink(target, at(tail)), 0);
}

static void expect_message(const tkr_error *error, const char *part) {
    if (strstr(error->message, part) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", error->message, part);
    }
    assert_null(strchr(error->message, '\n'));
}

/* ---- references ---- */

static void alias_table(void **state) {
    (void)state;
    size_t n = 0;
    const tkr_hub_alias *aliases = tkr_hub_aliases(&n);
    assert_true(n >= 25);
    for (size_t i = 0; i < n; i++) {
        tkr_hub_ref ref;
        tkr_error error = {0};
        assert_int_equal(tkr_hub_ref_parse(&ref, aliases[i].alias, &error), TKR_OK);
        assert_string_equal(ref.repository, aliases[i].repository);
        assert_string_equal(ref.revision, "main");
        assert_int_equal(tkr_hub_ref_parse(&ref, aliases[i].repository, &error), TKR_OK);
        assert_string_equal(ref.repository, aliases[i].repository);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(aliases[i].alias, aliases[j].alias);
        }
    }
}

static void good_references(void **state) {
    (void)state;
    static const char *const cases[][3] = {{"minilm", "sentence-transformers/all-MiniLM-L6-v2", "main"},
                                           {"MiniLM", "sentence-transformers/all-MiniLM-L6-v2", "main"},
                                           {"minilm@v2.0", "sentence-transformers/all-MiniLM-L6-v2", "v2.0"},
                                           {"BAAI/bge-small-en-v1.5", "BAAI/bge-small-en-v1.5", "main"},
                                           {"a/b@refs/pr/12", "a/b", "refs/pr/12"},
                                           {"a_1/b.c-d@" COMMIT_A, "a_1/b.c-d", COMMIT_A},
                                           {"qwen3-0.6b", "Qwen/Qwen3-Embedding-0.6B", "main"},
                                           {"ops-mm-7b", "OpenSearch-AI/Ops-MM-embedding-v1-7B", "main"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tkr_hub_ref ref;
        tkr_error error = {0};
        if (tkr_hub_ref_parse(&ref, cases[i][0], &error) != TKR_OK) {
            fail_msg("%s: %s", cases[i][0], error.message);
        }
        assert_string_equal(ref.repository, cases[i][1]);
        assert_string_equal(ref.revision, cases[i][2]);
    }
}

static void bad_references(void **state) {
    (void)state;
    static const char *const cases[] = {"",           "a",        "/a/b",
                                        "../b",       "a/..",     "a/b/c",
                                        "a//b",       "a/",       "/b",
                                        "a/b c",      "a/b?x",    "a/b#x",
                                        "a/b\n",      "a\\b/c",   "a--b/c",
                                        "a/b..c",     "-a/b",     "a/.b",
                                        "a/b.git",    "a/b@",     "a/b@..",
                                        "a/b@/x",     "a/b@x/",   "a/b@x//y",
                                        "a/b@x/../y", "a/b@x y",  "a/b@x\ny",
                                        "a/b@./x",    "a/b@x@y",  "a/b@-x",
                                        "\xff/b",     "a/b@\xff", "https://huggingface.co/a/b"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tkr_hub_ref ref;
        tkr_error error = {0};
        if (tkr_hub_ref_parse(&ref, cases[i], &error) == TKR_OK) {
            fail_msg("\"%s\" was accepted", cases[i]);
        }
        assert_true(strlen(error.message) > 20);
    }
    char *big = malloc(10001);
    assert_non_null(big);
    memset(big, 'a', 10000);
    big[10000] = '\0';
    tkr_hub_ref ref;
    tkr_error error;
    assert_int_equal(tkr_hub_ref_parse(&ref, big, &error), TKR_NOT_FOUND);
    big[1] = '/';
    assert_int_equal(tkr_hub_ref_parse(&ref, big, &error), TKR_NOT_FOUND);
    big[3] = '@';
    assert_int_equal(tkr_hub_ref_parse(&ref, big, &error), TKR_INVALID_ARGUMENT);
    free(big);
}

static void suggestions(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"minlm", "\"minilm\" (sentence-transformers/all-MiniLM-L6-v2)"},
                                           {"all-MiniLM-L6-v2", "\"minilm\""},
                                           {"bge_small", "\"bge-small\""},
                                           {"bge-small-en", "\"bge-small\""},
                                           {"qwen3-06b", "\"qwen3-0.6b\""},
                                           {"zzzzzzzzzz", "`tkr-embed models`"},
                                           {"./nowhere", "no such folder"},
                                           {"/a/b/c", "no such folder"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tkr_hub_options options = {.cache_dir = root, .offline = true};
        tkr_error error = {0};
        char *folder = NULL;
        assert_int_equal(tkr_hub_resolve(&folder, cases[i][0], &options, &error), TKR_NOT_FOUND);
        assert_null(folder);
        expect_message(&error, cases[i][1]);
        options.offline = false;
        assert_int_equal(tkr_hub_check(cases[i][0], &options, &error), TKR_NOT_FOUND);
        expect_message(&error, cases[i][1]);
    }
}

/* What would be downloaded is fine, and no byte of it comes. */
static void checked(void **state) {
    (void)state;
    static const char *const fine[] = {"minilm", "a/b", "a/b@v1", "demo"};
    tkr_hub_options options = {.cache_dir = root};
    tkr_error error = {0};
    setenv("HF_ENDPOINT", "http://127.0.0.1:1", 1);
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        assert_int_equal(tkr_hub_check(fine[i], &options, &error), TKR_OK);
    options.offline = true;
    assert_int_equal(tkr_hub_check("a/b", &options, &error), TKR_NOT_FOUND);
    expect_message(&error, "a/b@main: is not in the cache");
    put("note.txt", "no model");
    assert_int_equal(tkr_hub_check(at("note.txt"), &options, &error), TKR_INVALID_ARGUMENT);
    expect_message(&error, "no GGUF file");
    assert_int_equal(tkr_hub_check(root, &options, &error), TKR_OK);
}

/* ---- environment ---- */

static void expect_cache(const char *expected) {
    tkr_hub_settings settings;
    tkr_hub_options options = {0};
    tkr_error error;
    assert_int_equal(tkr_hub_settings_open(&settings, &options, &error), TKR_OK);
    assert_string_equal(settings.cache_dir, expected);
    tkr_hub_settings_close(&settings);
}

static void cache_folder(void **state) {
    (void)state;
    expect_cache(at(".cache/huggingface/hub"));
    setenv("XDG_CACHE_HOME", "/xdg", 1);
    expect_cache("/xdg/huggingface/hub");
    setenv("HF_HOME", "~/hf", 1);
    expect_cache(at("hf/hub"));
    setenv("HUGGINGFACE_HUB_CACHE", "/old", 1);
    expect_cache("/old");
    setenv("HF_HUB_CACHE", "~/new", 1);
    expect_cache(at("new"));
    unsetenv("HUGGINGFACE_HUB_CACHE");
    unsetenv("HF_HUB_CACHE");
    unsetenv("HF_HOME");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    tkr_hub_settings settings;
    tkr_hub_options options = {0};
    tkr_error error;
    assert_int_equal(tkr_hub_settings_open(&settings, &options, &error), TKR_INVALID_ARGUMENT);
    expect_message(&error, "HF_HOME");
}

static void expect_online(const tkr_hub_options *options, const char *endpoint, const char *token, const char *source) {
    tkr_hub_settings settings;
    tkr_error error = {0};
    assert_int_equal(tkr_hub_settings_open(&settings, options, &error), TKR_OK);
    if (tkr_hub_settings_online(&settings, options, &error) != TKR_OK) {
        fail_msg("%s", error.message);
    }
    assert_string_equal(settings.endpoint, endpoint);
    if (token == NULL) {
        assert_null(settings.token);
    } else {
        assert_string_equal(settings.token, token);
        assert_string_equal(settings.token_source, source);
    }
    tkr_hub_settings_close(&settings);
}

static void endpoint_and_token(void **state) {
    (void)state;
    tkr_hub_options options = {0};
    expect_online(&options, "https://huggingface.co", NULL, NULL);
    put(".cache/huggingface/token", "hf_file\n");
    expect_online(&options, "https://huggingface.co", "hf_file", "HF_HOME/token");
    put("elsewhere", "  hf_path \n");
    setenv("HF_TOKEN_PATH", at("elsewhere"), 1);
    expect_online(&options, "https://huggingface.co", "hf_path", "HF_TOKEN_PATH");
    setenv("HF_TOKEN", " hf_env\n", 1);
    setenv("HF_ENDPOINT", "http://mirror.example:8080/hub//", 1);
    expect_online(&options, "http://mirror.example:8080/hub", "hf_env", "HF_TOKEN");
    setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1", 1);
    expect_online(&options, "http://mirror.example:8080/hub", NULL, NULL);
    options = (tkr_hub_options){.token = "hf_given", .endpoint = "https://x"};
    expect_online(&options, "https://x", "hf_given", "the options");
}

static void expect_refused(const tkr_hub_options *options, const char *part) {
    tkr_hub_settings settings;
    tkr_error error = {0};
    assert_int_equal(tkr_hub_settings_open(&settings, options, &error), TKR_OK);
    assert_int_equal(tkr_hub_settings_online(&settings, options, &error), TKR_INVALID_ARGUMENT);
    expect_message(&error, part);
    tkr_hub_settings_close(&settings);
}

static void bad_environment(void **state) {
    (void)state;
    tkr_hub_options options = {0};
    setenv("HF_TOKEN", "hf_x\r\nHost: evil", 1);
    expect_refused(&options, "HF_TOKEN");
    setenv("HF_TOKEN", "ok", 1);
    setenv("HF_HUB_DOWNLOAD_TIMEOUT", "soon", 1);
    expect_refused(&options, "HF_HUB_DOWNLOAD_TIMEOUT");
    unsetenv("HF_HUB_DOWNLOAD_TIMEOUT");
    static const char *const endpoints[] = {"ftp://x", "huggingface.co", "https://a b", "https://u@h", "file:///etc"};
    for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++) {
        setenv("HF_ENDPOINT", endpoints[i], 1);
        expect_refused(&options, "HF_ENDPOINT");
    }
}

/* ---- cache ---- */

#define MODEL "hub/models--a--b/"
#define SNAPSHOT MODEL "snapshots/" COMMIT_A "/"

/* As huggingface_hub lays it out. */
static void make_model(void) {
    setenv("HF_HUB_CACHE", at("hub"), 1);
    put(MODEL "refs/main", COMMIT_A);
    put(MODEL "blobs/b1", "{}");
    put(MODEL "blobs/b2", "weights");
    link_to("../../blobs/b1", SNAPSHOT "config.json");
    link_to("../../blobs/b1", SNAPSHOT "tokenizer.json");
    link_to("../../blobs/b2", SNAPSHOT "model.safetensors");
    link_to("../../../blobs/b1", SNAPSHOT "1_Pooling/config.json");
}

static tkr_status resolve(const char *reference, bool tokenizer_only, tkr_error *error) {
    tkr_hub_options options = {.offline = true, .tokenizer_only = tokenizer_only};
    char *folder = NULL;
    tkr_status status = tkr_hub_resolve(&folder, reference, &options, error);
    if (status == TKR_OK) {
        char expected[512];
        (void)snprintf(expected, sizeof expected, "%s/%s", root, SNAPSHOT);
        expected[strlen(expected) - 1] = '\0';
        assert_string_equal(folder, expected);
    }
    tkr_free(folder);
    return status;
}

static void cached_model(void **state) {
    (void)state;
    tkr_error error = {0};
    make_model();
    assert_int_equal(resolve("a/b", false, &error), TKR_OK);
    assert_int_equal(resolve("a/b@main", false, &error), TKR_OK);
    assert_int_equal(resolve("a/b@" COMMIT_A, false, &error), TKR_OK);
    assert_int_equal(resolve("a/b@" COMMIT_B, false, &error), TKR_NOT_FOUND);
    expect_message(&error, "offline was asked for");
    assert_int_equal(resolve("a/b@v1", false, &error), TKR_NOT_FOUND);
    expect_message(&error, "tkr-embed pull a/b@v1");
    put(MODEL "refs/refs/pr/1", COMMIT_A "\n");
    assert_int_equal(resolve("a/b@refs/pr/1", false, &error), TKR_OK);
    put(MODEL "refs/bad", "../../../../../../../../../../etc/passwd");
    assert_int_equal(resolve("a/b@bad", false, &error), TKR_FORMAT);
    expect_message(&error, "refs/bad");
}

static void offline_variables(void **state) {
    (void)state;
    tkr_hub_options options = {.cache_dir = root};
    tkr_error error = {0};
    char *folder = NULL;
    setenv("TRANSFORMERS_OFFLINE", "yes", 1);
    assert_int_equal(tkr_hub_resolve(&folder, "minilm", &options, &error), TKR_NOT_FOUND);
    expect_message(&error, "TRANSFORMERS_OFFLINE is set");
    setenv("HF_HUB_OFFLINE", "1", 1);
    assert_int_equal(tkr_hub_resolve(&folder, "minilm", &options, &error), TKR_NOT_FOUND);
    expect_message(&error, "HF_HUB_OFFLINE is set");
    expect_message(&error, "tkr-embed pull sentence-transformers/all-MiniLM-L6-v2");
    assert_int_equal(tkr_hub_pull(&folder, "minilm", &options, &error), TKR_DENIED);
    expect_message(&error, "HF_HUB_OFFLINE is set");
}

static void incomplete_model(void **state) {
    (void)state;
    tkr_error error = {0};
    make_model();
    assert_int_equal(unlink(at(MODEL "blobs/b2")), 0);
    assert_int_equal(resolve("a/b", false, &error), TKR_NOT_FOUND);
    expect_message(&error, "model.safetensors is not in the cache");
    assert_int_equal(resolve("a/b", true, &error), TKR_OK); /* the tokenizer needs no weights */
    assert_int_equal(unlink(at(SNAPSHOT "model.safetensors")), 0);
    assert_int_equal(resolve("a/b", false, &error), TKR_NOT_FOUND);
    expect_message(&error, "model.safetensors is not");
    put(SNAPSHOT "model.safetensors.index.json",
        "{\"weight_map\": {\"x\": \"model-00001-of-00002.safetensors\", \"y\": \"model-00002-of-00002.safetensors\"}}");
    put(SNAPSHOT "model-00001-of-00002.safetensors", "x");
    assert_int_equal(resolve("a/b", false, &error), TKR_NOT_FOUND);
    expect_message(&error, "model-00002-of-00002.safetensors is not");
    put(SNAPSHOT "model-00002-of-00002.safetensors", "x");
    assert_int_equal(resolve("a/b", false, &error), TKR_OK);
    put(SNAPSHOT "model.safetensors.index.json", "{\"weight_map\": {\"x\": \"../../../secret\"}}");
    assert_int_equal(resolve("a/b", false, &error), TKR_FORMAT);
    put(SNAPSHOT "model.safetensors", "x");
    assert_int_equal(unlink(at(SNAPSHOT "1_Pooling/config.json")), 0);
    link_to("../../../blobs/gone", SNAPSHOT "1_Pooling/config.json");
    assert_int_equal(resolve("a/b", false, &error), TKR_NOT_FOUND);
    expect_message(&error, "1_Pooling/config.json is not");
}

static void folders_win(void **state) {
    (void)state;
    tkr_hub_options options = {.cache_dir = root, .offline = true};
    tkr_error error = {0};
    char *folder = NULL, before[512];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(root), 0);
    run("mkdir -p", "minilm");
    run("mkdir -p", "a/b");
    put("file", "x");
    assert_int_equal(tkr_hub_resolve(&folder, "minilm", &options, &error), TKR_OK);
    assert_string_equal(folder, "minilm");
    tkr_free(folder);
    assert_int_equal(tkr_hub_resolve(&folder, "a/b", &options, &error), TKR_OK);
    assert_string_equal(folder, "a/b");
    tkr_free(folder);
    assert_int_equal(tkr_hub_resolve(&folder, "file", &options, &error), TKR_INVALID_ARGUMENT);
    expect_message(&error, "is a file");
    assert_int_equal(chdir(before), 0);
}

static tkr_status collect(void *user, const tkr_hub_cached *model) {
    char *text = user;
    size_t n = strlen(text);
    (void)snprintf(text + n, 1024 - n, "%s@%.8s %llu %d\n", model->repository, model->revision,
                   (unsigned long long)model->bytes, model->complete);
    return TKR_OK;
}

static void list(void **state) {
    (void)state;
    char text[1024] = "";
    tkr_hub_options options = {0};
    tkr_error error = {0};
    setenv("HF_HUB_CACHE", at("hub"), 1);
    assert_int_equal(tkr_hub_list(collect, text, &options, &error), TKR_OK); /* no cache yet: an empty list */
    assert_string_equal(text, "");
    make_model();
    put("hub/models--a--b/snapshots/" COMMIT_B "/config.json", "{}");
    put("hub/models--a--b/refs/refs/pr/1", COMMIT_A);
    put("hub/datasets--x--y/refs/main", COMMIT_A);
    put("hub/version.txt", "1");
    run("mkdir -p", at("hub/models--c--d/blobs"));
    assert_int_equal(tkr_hub_list(collect, text, &options, &error), TKR_OK);
    assert_string_equal(text, "a/b@main 13 1\na/b@refs/pr/ 13 1\na/b@bbbbbbbb 2 0\n");
}

/* Every allocation and file operation of a resolve fails once: a clean error each time, or success that it didn't need.
 */
static void faults(void **state) {
    (void)state;
    make_model();
    for (long i = 0;; i++) {
        countdown count = {i};
        tkr_hub_options options = {.offline = true};
        tkr_error error = {0};
        char *folder = NULL;
        tkr_seam_set(fail_nth, &count);
        tkr_status status = tkr_hub_resolve(&folder, "a/b", &options, &error);
        tkr_seam_set(NULL, NULL);
        if (status != TKR_OK) {
            assert_null(folder);
            assert_true(status == TKR_NO_MEMORY || status == TKR_IO);
            assert_true(error.message[0] != '\0');
        }
        tkr_free(folder);
        if (count.left >= 0) {
            assert_int_equal(status, TKR_OK);
            assert_true(i > 10);
            return;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(alias_table),
                                       cmocka_unit_test(good_references),
                                       cmocka_unit_test(bad_references),
                                       cmocka_unit_test_setup_teardown(suggestions, setup, teardown),
                                       cmocka_unit_test_setup_teardown(checked, setup, teardown),
                                       cmocka_unit_test_setup_teardown(cache_folder, setup, teardown),
                                       cmocka_unit_test_setup_teardown(endpoint_and_token, setup, teardown),
                                       cmocka_unit_test_setup_teardown(bad_environment, setup, teardown),
                                       cmocka_unit_test_setup_teardown(cached_model, setup, teardown),
                                       cmocka_unit_test_setup_teardown(offline_variables, setup, teardown),
                                       cmocka_unit_test_setup_teardown(incomplete_model, setup, teardown),
                                       cmocka_unit_test_setup_teardown(folders_win, setup, teardown),
                                       cmocka_unit_test_setup_teardown(list, setup, teardown),
                                       cmocka_unit_test_setup_teardown(faults, setup, teardown)};
    return cmocka_run_group_tests_name("hub/reference", tests, NULL, NULL);
}
