/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of the tokenizer tests: files, tokenizers, comparisons that say which input differs. */
#ifndef TKR_TEST_TOKENIZER_SUPPORT_H
#define TKR_TEST_TOKENIZER_SUPPORT_H

#define _DEFAULT_SOURCE 1 /* popen */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/json.h"
#include "tokenizer/tokenizer.h"

/* Reads TKR_TEST_DIR/relative or fails. */
static inline tkr_buf read_data(const char *relative) {
    tkr_buf buf = {0};
    tkr_error error = {.status = TKR_OK};
    char path[512];
    snprintf(path, sizeof path, "%s/%s", TKR_TEST_DIR, relative);
    if (tkr_file_read(&buf, path, (size_t)1 << 26, &error) != TKR_OK) {
        fail_msg("%s", error.message);
    }
    return buf;
}

/* Decompresses TKR_TEST_DIR/relative, an .xz file, or fails. */
static inline tkr_buf read_xz(const char *relative) {
    tkr_buf buf = {0};
    char command[600], block[1 << 14];
    size_t n;
    snprintf(command, sizeof command, "xz -dc '%s/%s'", TKR_TEST_DIR, relative);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    while ((n = fread(block, 1, sizeof block, pipe)) > 0) {
        assert_true(tkr_buf_append(&buf, block, n));
    }
    if (pclose(pipe) != 0 || buf.size == 0) {
        fail_msg("%s: failed", command);
    }
    return buf;
}

static inline tkr_tok *load_bytes(const char *json, size_t size, bool lowercase) {
    tkr_tok *tok = NULL;
    tkr_error error = {.status = TKR_OK};
    const tkr_tok_options options = {.lowercase = lowercase};
    if (tkr_tok_load(&tok, json, size, "test", &options, &error) != TKR_OK) {
        fail_msg("%s", error.message);
    }
    return tok;
}

static inline tkr_tok_scratch *new_scratch(const tkr_tok *tok) {
    tkr_tok_scratch *scratch = NULL;
    tkr_error error = {.status = TKR_OK};
    if (tkr_tok_scratch_create(&scratch, tok, &error) != TKR_OK) {
        fail_msg("%s", error.message);
    }
    return scratch;
}

static inline tkr_tok_result encode_or_fail(const tkr_tok *tok, tkr_tok_scratch *scratch,
                                            const tkr_tok_request *request) {
    tkr_tok_result result;
    tkr_error error = {.status = TKR_OK};
    if (tkr_tok_encode(&result, tok, scratch, request, &error) != TKR_OK) {
        fail_msg("%s", error.message);
    }
    return result;
}

static inline void check_ids(const char *what, size_t index, const tkr_tok_result *got, const json_t *want) {
    if (got->n != json_array_size(want)) {
        fail_msg("%s, input %zu: %zu tokens, expected %zu", what, index, got->n, json_array_size(want));
    }
    for (size_t i = 0; i < got->n; i++) {
        const json_int_t id = json_integer_value(json_array_get(want, i));
        if (got->ids[i] != id) {
            fail_msg("%s, input %zu, token %zu: id %d, expected %d", what, index, i, (int)got->ids[i], (int)id);
        }
    }
}

static inline void check_offsets(const char *what, size_t index, const tkr_tok_result *got, const json_t *want) {
    assert_int_equal(got->n, json_array_size(want));
    for (size_t i = 0; i < got->n; i++) {
        for (size_t k = 0; k < 2; k++) {
            const uint64_t value = (uint64_t)json_integer_value(json_array_get(json_array_get(want, i), k));
            if (got->offsets[2 * i + k] != value) {
                fail_msg("%s, input %zu, token %zu: offset %zu is %llu, expected %llu", what, index, i, k,
                         (unsigned long long)got->offsets[2 * i + k], (unsigned long long)value);
            }
        }
    }
}

/* Next line of a JSONL text as a tree, NULL at the end. */
static inline json_t *next_line(const tkr_buf *text, size_t *at) {
    if (*at >= text->size) {
        return NULL;
    }
    const char *line = text->data + *at;
    const char *end = memchr(line, '\n', text->size - *at);
    const size_t n = end == NULL ? text->size - *at : (size_t)(end - line);
    *at += n + 1;
    json_t *value = json_loadb(line, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(value);
    return value;
}

/* Runs the 500 strings through `tok` and compares with a golden file: ids with and without special tokens, offsets. */
static inline void check_strings(const tkr_tok *tok, const tkr_buf *golden) {
    tkr_tok_scratch *scratch = new_scratch(tok);
    tkr_buf strings = read_data("golden/tokenizers/strings.jsonl");
    size_t at = 0, golden_at = 0, n = 0;
    json_t *text;
    while ((text = next_line(&strings, &at)) != NULL) {
        json_t *want = next_line(golden, &golden_at);
        assert_non_null(want);
        tkr_tok_request request = {.text = json_string_value(text), .n_text = json_string_length(text)};
        tkr_tok_result result = encode_or_fail(tok, scratch, &request);
        assert_null(result.offsets);
        check_ids("plain", n, &result, json_object_get(want, "plain"));
        request.special_tokens = true;
        request.want_offsets = true;
        result = encode_or_fail(tok, scratch, &request);
        check_ids("with special tokens", n, &result, json_object_get(want, "ids"));
        check_offsets("offsets", n, &result, json_object_get(want, "offsets"));
        assert_int_equal(result.n_untruncated, result.n);
        json_decref(want);
        json_decref(text);
        n++;
    }
    assert_int_equal(n, 500);
    tkr_buf_free(&strings);
    tkr_tok_scratch_free(&scratch);
}

#endif
