/* SPDX-License-Identifier: Apache-2.0 */
/* Two programs in one: without arguments, tests of what the download is made of; with arguments, the driver of
 * test_pull.py: test_hub_pull_driver pull|resolve|list|sha256|sweep REFERENCE [name=value...] which prints one line,
 * "ok FOLDER" or "error STATUS MESSAGE", and on standard error every line of the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hub/hub_internal.h"

#define N_OF(array) (sizeof(array) / sizeof(array)[0])

static uint64_t cancel_at = UINT64_MAX;

static int on_progress(void *user, const char *file, uint64_t done, uint64_t total) {
    (void)user;
    if (done > total && total != 0) {
        printf("error 14 progress of %s beyond its end\n", file);
        exit(3);
    }
    return strcmp(file, "model.safetensors") == 0 && done >= cancel_at;
}

static void on_log(void *user, int level, const char *line) {
    (void)user;
    fprintf(stderr, "log %d %s\n", level, line);
}

static tkr_status on_model(void *user, const tkr_hub_cached *model) {
    (void)user;
    printf("%s %s %s %llu\n", model->repository, model->revision, model->complete ? "complete" : "incomplete",
           (unsigned long long)model->bytes);
    return TKR_OK;
}

static const char *value_of(const char *argument, const char *name) {
    size_t n = strlen(name);
    return strncmp(argument, name, n) == 0 && argument[n] == '=' ? argument + n + 1 : NULL;
}

static bool fail_nth(void *user, char kind) {
    long *left = user;
    (void)kind;
    return (*left)-- != 0;
}

/* Pulls again and again, each time into a fresh cache and with the next allocation or file operation failing. */
static tkr_status sweep(const char *reference, const tkr_hub_options *options, const tkr_hub_tuning *tuning,
                        tkr_error *error) {
    for (long n = 0;; n++) {
        char cache[512], *folder = NULL;
        long left = n;
        tkr_hub_options fresh = *options;
        (void)snprintf(cache, sizeof cache, "%.480s/%ld", options->cache_dir, n);
        fresh.cache_dir = cache;
        *error = (tkr_error){0};
        tkr_seam_set(fail_nth, &left);
        tkr_status status = tkr_hub_pull_tuned(&folder, reference, &fresh, tuning, error);
        tkr_seam_set(NULL, NULL);
        bool clean = status == TKR_OK ? folder != NULL : folder == NULL && error->message[0] != '\0';
        tkr_free(folder);
        if (!clean || (status != TKR_OK && status != TKR_NO_MEMORY && status != TKR_IO)) {
            return TKR_FAIL(error, INTERNAL, "operation %ld: status %d, \"%.200s\"", n, (int)status, error->message);
        }
        if (left >= 0) {
            printf("%ld operations\n", n);
            return status;
        }
    }
}

static int drive(int argc, char **argv) {
    tkr_hub_options options = {.progress = on_progress, .log = {on_log, NULL}};
    tkr_hub_tuning tuning = {
        .backoff_s = 0.02, .backoff_max_s = 0.1, .retry_after_max_s = 1.0, .stall_s = 20.0, .attempts = 5};
    tkr_error error = {0};
    char *folder = NULL, hex[65] = "";
    for (int i = 3; i < argc; i++) {
        const char *value;
        if ((value = value_of(argv[i], "cache")) != NULL) {
            options.cache_dir = value;
        } else if ((value = value_of(argv[i], "endpoint")) != NULL) {
            options.endpoint = value;
        } else if ((value = value_of(argv[i], "token")) != NULL) {
            options.token = value;
        } else if ((value = value_of(argv[i], "cancel_at")) != NULL) {
            cancel_at = strtoull(value, NULL, 10);
        } else if ((value = value_of(argv[i], "stall")) != NULL) {
            tuning.stall_s = strtod(value, NULL);
        } else if (strcmp(argv[i], "offline") == 0) {
            options.offline = true;
        } else if (strcmp(argv[i], "tokenizer_only") == 0) {
            options.tokenizer_only = true;
        } else {
            fprintf(stderr, "unknown argument %s\n", argv[i]);
            return 2;
        }
    }
    tkr_status status;
    if (strcmp(argv[1], "list") == 0) {
        status = tkr_hub_list(on_model, NULL, &options, &error);
    } else if (strcmp(argv[1], "resolve") == 0) {
        status = tkr_hub_resolve(&folder, argv[2], &options, &error);
    } else if (strcmp(argv[1], "sweep") == 0) {
        status = sweep(argv[2], &options, &tuning, &error);
    } else if (strcmp(argv[1], "sha256") == 0) {
        status = tkr_hub_sha256(hex, argv[2], &error);
    } else {
        status = tkr_hub_pull_tuned(&folder, argv[2], &options, &tuning, &error);
    }
    if (status == TKR_OK) {
        printf("ok %s\n", folder != NULL ? folder : hex);
    } else {
        printf("error %d %s\n", (int)status, error.message);
    }
    tkr_free(folder);
    return status == TKR_OK ? 0 : 1;
}

/* ---- tests ---- */

static void same_origin(void **state) {
    (void)state;
    assert_true(tkr_hub_same_origin("https://huggingface.co/a/b", "https://HuggingFace.co"));
    assert_true(tkr_hub_same_origin("https://huggingface.co:443/a", "https://huggingface.co"));
    assert_false(tkr_hub_same_origin("http://huggingface.co/a", "https://huggingface.co"));
    assert_false(tkr_hub_same_origin("https://huggingface.co:8443/a", "https://huggingface.co"));
    assert_false(tkr_hub_same_origin("https://huggingface.co.evil.example/a", "https://huggingface.co"));
    assert_false(tkr_hub_same_origin("https://cdn.huggingface.co/a", "https://huggingface.co"));
    assert_false(tkr_hub_same_origin("https://huggingface.co@evil.example/a", "https://huggingface.co"));
    assert_false(tkr_hub_same_origin("not a url", "not a url"));
}

static void redirects(void **state) {
    (void)state;
    tkr_error error = {0};
    assert_int_equal(tkr_hub_redirect_check("https://a/x", "https://b/y", true, "x", &error), TKR_OK);
    assert_int_equal(tkr_hub_redirect_check("http://a/x", "http://b/y", true, "x", &error), TKR_OK);
    assert_int_equal(tkr_hub_redirect_check("https://a/x", "http://b/y", false, "x", &error), TKR_OK);
    assert_int_equal(tkr_hub_redirect_check("https://a/x", "http://b/y", true, "x", &error), TKR_DENIED);
    assert_int_equal(tkr_hub_redirect_check("https://a/x", "ftp://b/y", false, "x", &error), TKR_DENIED);
}

static void escapes(void **state) {
    (void)state;
    tkr_buf out = {0};
    assert_true(tkr_hub_put_escaped(&out, "refs/pr/1", false));
    assert_string_equal(out.data, "refs%2Fpr%2F1");
    out.size = 0;
    assert_true(tkr_hub_put_escaped(&out, "1_Pooling/a b#?%\xc3\xa9.json", true));
    assert_string_equal(out.data, "1_Pooling/a%20b%23%3F%25%C3%A9.json");
    tkr_buf_free(&out);
}

/* Known values: `git hash-object`, `sha256sum`. */
static void hashes(void **state) {
    (void)state;
    tkr_hub_hash hash;
    char hex[65];
    tkr_hub_hash_init(&hash, false, 12);
    tkr_hub_hash_update(&hash, "hello ", 6);
    tkr_hub_hash_update(&hash, "world\n", 6);
    tkr_hub_hash_hex(&hash, hex);
    assert_string_equal(hex, "3b18e512dba79e4c8300dd08aeb37f8e728b8dad");
    tkr_hub_hash_init(&hash, true, 0);
    tkr_hub_hash_update(&hash, "abc", 3);
    tkr_hub_hash_hex(&hash, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void safe_paths(void **state) {
    (void)state;
    static const char *const good[] = {"config.json", "1_Pooling/config.json", "a/b/c", "..a", "a..", "...", "a b"};
    static const char *const bad[] = {"",   "/etc/passwd", "..",  "../x", "a/../b", "a/..",  "a//b",
                                      "a/", ".",           "./a", "a\\b", "a\nb",   "a\x7f", "\xff\xfe"};
    for (size_t i = 0; i < N_OF(good); i++) {
        assert_true(tkr_hub_safe_path(good[i]));
    }
    for (size_t i = 0; i < N_OF(bad); i++) {
        assert_false(tkr_hub_safe_path(bad[i]));
    }
}

#define SHA "\"sha\": \"0123456789012345678901234567890123456789\""
#define BLOB "ce013625030ba8dba906f756967f9e9ca394464a"

/* Parses a listing with these files, as JSON string contents. */
static tkr_status list_files(tkr_hub_listing *listing, const char *const *names, size_t n, tkr_error *error) {
    tkr_buf text = {0};
    (void)tkr_buf_printf(&text, "{" SHA ", \"siblings\": [");
    for (size_t i = 0; i < n; i++) {
        (void)tkr_buf_printf(&text, "%s{\"rfilename\": \"%s\", \"size\": 5, \"blobId\": \"" BLOB "\"}",
                             i > 0 ? "," : "", names[i]);
    }
    assert_true(tkr_buf_printf(&text, "]}"));
    tkr_status status = tkr_hub_listing_parse(listing, text.data, text.size, "test", error);
    tkr_buf_free(&text);
    return status;
}
static bool kept(const tkr_hub_listing *listing, const char *path) {
    for (size_t i = 0; i < listing->n; i++) {
        if (strcmp(listing->files[i].path, path) == 0) {
            return true;
        }
    }
    return false;
}

static void selection(void **state) {
    (void)state;
    /* The first four are what a tokenizer needs, the first six are what a model needs. */
    static const char *const names[] = {"config.json",
                                        "tokenizer.json",
                                        "1_Pooling/config.json",
                                        "modules.json",
                                        "model.safetensors",
                                        "2_Dense/model.safetensors",
                                        "model.fp16.safetensors",
                                        "pytorch_model.bin",
                                        "onnx/config.json",
                                        "modeling_x.py",
                                        "README.md",
                                        "a/b/config.json",
                                        ".cache/config.json"};
    tkr_hub_listing listing;
    tkr_error error;
    assert_int_equal(list_files(&listing, names, N_OF(names), &error), TKR_OK);
    assert_int_equal(listing.n, N_OF(names));
    assert_int_equal(tkr_hub_listing_select(&listing, false, "test", &error), TKR_OK);
    assert_int_equal(listing.n, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_true(kept(&listing, names[i]));
    }
    assert_int_equal(tkr_hub_listing_select(&listing, true, "test", &error), TKR_OK);
    assert_int_equal(listing.n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(kept(&listing, names[i]));
    }
    tkr_hub_listing_free(&listing);
}

static void shards_and_pickles(void **state) {
    (void)state;
    static const char *const shards[] = {"config.json", "model.safetensors.index.json",
                                         "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                         "consolidated.safetensors"};
    static const char *const pickle[] = {"config.json", "pytorch_model.bin", "training_args.bin", "optimizer.bin",
                                         "pytorch_model-00001-of-00001.bin"};
    static const char *const parts[] = {"config.json", "pytorch_model.bin.index.json",
                                        "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin",
                                        "pytorch_model-1-of-2.bin"};
    static const char *const none[] = {"config.json", "model.gguf", "tf_model.h5", "training_args.bin"};
    tkr_hub_listing listing;
    tkr_error error;
    assert_int_equal(list_files(&listing, shards, N_OF(shards), &error), TKR_OK);
    assert_int_equal(tkr_hub_listing_select(&listing, false, "test", &error), TKR_OK);
    assert_int_equal(listing.n, 4);
    assert_false(kept(&listing, "consolidated.safetensors"));
    tkr_hub_listing_free(&listing);
    assert_int_equal(list_files(&listing, pickle, N_OF(pickle), &error), TKR_OK);
    assert_int_equal(tkr_hub_listing_select(&listing, false, "a/b", &error), TKR_OK);
    assert_int_equal(listing.n, 2);
    assert_true(kept(&listing, "pytorch_model.bin"));
    tkr_hub_listing_free(&listing);
    assert_int_equal(list_files(&listing, parts, N_OF(parts), &error), TKR_OK);
    assert_int_equal(tkr_hub_listing_select(&listing, false, "a/b", &error), TKR_OK);
    assert_int_equal(listing.n, 4);
    assert_false(kept(&listing, "pytorch_model-1-of-2.bin"));
    tkr_hub_listing_free(&listing);
    assert_int_equal(list_files(&listing, none, N_OF(none), &error), TKR_OK);
    assert_int_equal(tkr_hub_listing_select(&listing, false, "a/b", &error), TKR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "a/b has neither *.safetensors nor pytorch_model.bin (only model.gguf)"));
    tkr_hub_listing_free(&listing);
}

static void bad_listings(void **state) {
    (void)state;
    static const char *const names[] = {"../config.json", "/config.json", "a\\\\config.json", "a\\u0000config.json",
                                        "a\\nconfig.json"};
    static const char *const texts[] = {
        "",
        "[]",
        "{}",
        "{" SHA "}",
        "{\"sha\": \"main\", \"siblings\": []}",
        "{\"sha\": \"../../../../../../../../../../../../etc\", \"siblings\": []}",
        "{" SHA ", \"siblings\": [1]}",
        "{" SHA ", \"siblings\": [{\"rfilename\": \"config.json\"}]}",
        "{" SHA ", \"siblings\": [{\"rfilename\": \"c\", \"size\": -1, \"blobId\": \"" BLOB "\"}]}",
        "{" SHA ", \"siblings\": [{\"rfilename\": \"c\", \"size\": 9007199254740993, \"blobId\": \"" BLOB "\"}]}",
        "{" SHA ", \"siblings\": [{\"rfilename\": \"c\", \"size\": 1, \"blobId\": \"../../x\"}]}",
        "{" SHA ", \"siblings\": [{\"rfilename\": \"c\", \"lfs\": {\"size\": 1, \"sha256\": \"AB\"}}]}"};
    tkr_hub_listing listing;
    tkr_error error = {0};
    for (size_t i = 0; i < N_OF(names); i++) {
        assert_int_equal(list_files(&listing, &names[i], 1, &error), TKR_FORMAT);
        assert_non_null(strstr(error.message, i != 3 ? "unsafe" : "test")); /* jansson refuses the NUL itself */
    }
    for (size_t i = 0; i < N_OF(texts); i++) {
        error.message[0] = '\0';
        tkr_status status = tkr_hub_listing_parse(&listing, texts[i], strlen(texts[i]), "test", &error);
        if (status != TKR_FORMAT || strlen(error.message) < 10) {
            fail_msg("%s: status %d, \"%s\"", texts[i], (int)status, error.message);
        }
    }
}

int main(int argc, char **argv) {
    if (argc >= 3) {
        return drive(argc, argv);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_origin),
                                       cmocka_unit_test(redirects),
                                       cmocka_unit_test(escapes),
                                       cmocka_unit_test(hashes),
                                       cmocka_unit_test(safe_paths),
                                       cmocka_unit_test(selection),
                                       cmocka_unit_test(shards_and_pickles),
                                       cmocka_unit_test(bad_listings)};
    return cmocka_run_group_tests_name("hub/pull", tests, NULL, NULL);
}
