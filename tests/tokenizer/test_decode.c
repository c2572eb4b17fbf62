/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding: the texts that Hugging Face tokenizers and sentencepiece give for the ids of the 500 strings and for random
 * ids (golden/tokenizers/decode.jsonl.xz, written by tools/gen_golden_decode.py), byte for byte; ids without a piece;
 * decoders that can't be used. */
#include "support.h"

static bool ends_with(const char *text, const char *end) {
    const size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

/* With the decoder of `line`, where it names one. */
static tkr_tok *load_subject(const json_t *line) {
    const char *file = json_string_value(json_object_get(line, "file"));
    json_t *decoder = json_object_get(line, "decoder");
    char path[256];
    tkr_tok *tok = NULL;
    tkr_error error = {.status = TKR_OK};
    snprintf(path, sizeof path, "golden/%s", file);
    tkr_buf bytes = ends_with(file, ".xz") ? read_xz(path) : read_data(path);
    if (ends_with(file, ".model")) {
        if (tkr_tok_load_spm(&tok, bytes.data, bytes.size, file, NULL, &error) != TKR_OK) {
            fail_msg("%s", error.message);
        }
    } else if (decoder == NULL) {
        tok = load_bytes(bytes.data, bytes.size, false);
    } else {
        json_t *tree = json_loadb(bytes.data, bytes.size, JSON_ALLOW_NUL, NULL);
        assert_int_equal(json_object_set(tree, "decoder", decoder), 0);
        char *text = json_dumps(tree, JSON_COMPACT);
        tok = load_bytes(text, strlen(text), false);
        free(text);
        json_decref(tree);
    }
    tkr_buf_free(&bytes);
    return tok;
}

static void check_text(const json_t *line, size_t index, const tkr_tok *tok, tkr_tok_scratch *scratch,
                       const int32_t *ids, size_t n_ids, bool skip, const json_t *want) {
    tkr_buf text = {0};
    tkr_error error = {.status = TKR_OK};
    const char *file = json_string_value(json_object_get(line, "file")),
               *name = json_string_value(json_object_get(line, "name"));
    if (tkr_tok_decode(&text, tok, scratch, ids, n_ids, skip, &error) != TKR_OK) {
        fail_msg("%s: %s", file, error.message);
    }
    if (text.size != json_string_length(want) || memcmp(text.data, json_string_value(want), text.size) != 0) {
        fail_msg("%s %s, list %zu, skip %d: \"%s\", expected \"%s\"", file, name != NULL ? name : "", index, skip,
                 text.data, json_string_value(want));
    }
    assert_int_equal(text.data[text.size], '\0');
    tkr_buf_free(&text);
}

static size_t check_strings_back(const json_t *line, const tkr_tok *tok, tkr_tok_scratch *scratch) {
    const json_t *texts = json_object_get(line, "texts");
    tkr_buf strings = read_data("golden/tokenizers/strings.jsonl");
    size_t at = 0, n = 0;
    json_t *text;
    while (texts != NULL && (text = next_line(&strings, &at)) != NULL) {
        const tkr_tok_request request = {
            .text = json_string_value(text), .n_text = json_string_length(text), .special_tokens = true};
        const tkr_tok_result result = encode_or_fail(tok, scratch, &request);
        const json_t *pair = json_array_get(texts, n); /* null: the generator says when */
        for (size_t skip = 0; skip < json_array_size(pair); skip++) {
            check_text(line, n, tok, scratch, result.ids, result.n, skip == 1, json_array_get(pair, skip));
        }
        json_decref(text);
        n++;
    }
    assert_int_equal(n, json_array_size(texts));
    tkr_buf_free(&strings);
    return n;
}

static size_t check_lists(const json_t *line, const tkr_tok *tok, tkr_tok_scratch *scratch) {
    const json_t *lists = json_object_get(line, "lists");
    for (size_t i = 0; i < json_array_size(lists); i++) {
        const json_t *list = json_array_get(lists, i), *ids = json_array_get(list, 0);
        const size_t n = json_array_size(ids);
        int32_t *values = malloc((n + 1) * sizeof *values); /* exactly as long, for the sanitizer */
        assert_non_null(values);
        for (size_t k = 0; k < n; k++) {
            values[k] = (int32_t)json_integer_value(json_array_get(ids, k));
        }
        check_text(line, i, tok, scratch, values, n, json_is_true(json_array_get(list, 1)), json_array_get(list, 2));
        free(values);
    }
    return json_array_size(lists);
}

static void golden(void **state) {
    (void)state;
    tkr_buf golden = read_xz("golden/tokenizers/decode.jsonl.xz");
    size_t at = 0, n_lines = 0, n_strings = 0, n_lists = 0;
    json_t *line;
    while ((line = next_line(&golden, &at)) != NULL) {
        tkr_tok *tok = load_subject(line);
        tkr_tok_scratch *scratch = new_scratch(tok);
        n_strings += check_strings_back(line, tok, scratch);
        n_lists += check_lists(line, tok, scratch);
        tkr_tok_scratch_free(&scratch);
        tkr_tok_free(&tok);
        json_decref(line);
        n_lines++;
    }
    assert_true(n_lines >= 90);
    assert_true(n_strings >= 20 * 500);
    assert_true(n_lists >= 2500);
    tkr_buf_free(&golden);
}

/* "%s": the decoder. Id 2 has no piece; <s> is special, <t> is added only. */
static const char small[] =
    "{\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
    "\"normalized\":false,\"special\":true},{\"id\":4,\"content\":\"<t>\",\"single_word\":false,\"lstrip\":false,"
    "\"rstrip\":false,\"normalized\":false,\"special\":false}],\"decoder\":%s,\"model\":{\"type\":\"WordPiece\","
    "\"unk_token\":\"a\",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,\"vocab\":{\"a\":0,"
    "\"##b\":1,\"c\":5}}}";

static tkr_tok *load_small(const char *decoder) {
    char json[1024];
    snprintf(json, sizeof json, small, decoder);
    return load_bytes(json, strlen(json), false);
}

static void ids_without_a_piece(void **state) {
    (void)state;
    static const int32_t ids[] = {0, 1, 2, 3, 4, 5}, beyond[] = {0, 6}, negative[] = {-1};
    tkr_tok *tok = load_small("{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":false}");
    tkr_tok_scratch *scratch = new_scratch(tok);
    tkr_buf text = {0};
    tkr_error error = {.status = TKR_OK};
    assert_int_equal(tkr_tok_decode(&text, tok, scratch, ids, 6, false, &error), TKR_OK);
    assert_string_equal(text.data, "ab <s> <t> c");
    assert_int_equal(tkr_tok_decode(&text, tok, scratch, ids, 6, true, &error), TKR_OK); /* appends */
    assert_string_equal(text.data, "ab <s> <t> cab <t> c");
    tkr_buf_free(&text);
    assert_int_equal(tkr_tok_decode(&text, tok, scratch, ids + 2, 1, false, &error), TKR_OK);
    assert_int_equal(text.size, 0);
    assert_string_equal(text.data, "");
    assert_int_equal(tkr_tok_decode(&text, tok, scratch, NULL, 0, false, &error), TKR_OK);
    assert_int_equal(text.size, 0);
    assert_int_equal(tkr_tok_decode(&text, tok, scratch, beyond, 2, false, &error), TKR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "id 6 (number 1) is outside of the vocabulary: 0 to 5");
    assert_int_equal(tkr_tok_decode(&text, tok, scratch, negative, 1, true, &error), TKR_INVALID_ARGUMENT);
    assert_int_equal(text.size, 0);
    assert_true(tkr_tok_is_special(tok, 3));
    for (int32_t id = -1; id < 7; id++) {
        assert_true(id == 3 || !tkr_tok_is_special(tok, id));
    }
    tkr_buf_free(&text);
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
}

/* Such tokenizers load and encode: only decoding says what is wrong. */
static void unusable_decoders(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{\"type\":\"CTC\",\"pad_token\":\"a\",\"word_delimiter_token\":\"|\",\"cleanup\":true}",
         "test: decoder \"CTC\" is not supported, supported: BPEDecoder ByteFallback ByteLevel Fuse Metaspace Replace "
         "Strip WordPiece Sequence"},
        {"{\"type\":\"WordPiece\",\"cleanup\":true}", "test: field \"prefix\" is missing"},
        {"{\"type\":\"Strip\",\"content\":\"ab\",\"start\":1,\"stop\":0}", "content of Strip must be one character"},
        {"{\"type\":\"Strip\",\"content\":\"a\",\"start\":-1,\"stop\":0}", "\"start\""},
        {"{\"type\":\"BPEDecoder\",\"suffix\":\"\"}", "BPEDecoder with an empty suffix"},
        {"{\"type\":\"Metaspace\",\"replacement\":\"_\",\"add_prefix_space\":false}", "contradicts"},
        {"{\"type\":\"Sequence\"}", "\"decoders\""},
        {"[]", "decoder is an array"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static const int32_t ids[] = {0};
        tkr_tok *tok = load_small(cases[i][0]);
        tkr_tok_scratch *scratch = new_scratch(tok);
        const tkr_tok_request request = {.text = "a", .n_text = 1};
        assert_int_equal(encode_or_fail(tok, scratch, &request).n, 1);
        tkr_buf text = {0};
        tkr_error error = {.status = TKR_OK};
        assert_int_equal(tkr_tok_decode(&text, tok, scratch, ids, 1, false, &error), TKR_UNSUPPORTED);
        if (strstr(error.message, cases[i][1]) == NULL) {
            fail_msg("\"%s\" without \"%s\"", error.message, cases[i][1]);
        }
        tkr_buf_free(&text);
        tkr_tok_scratch_free(&scratch);
        tkr_tok_free(&tok);
    }
}

/* Where the reference panics: both ends of a text want the same character. */
static void strip_of_everything(void **state) {
    (void)state;
    static const int32_t ids[] = {0, 5};
    tkr_tok *tok = load_small("{\"type\":\"Strip\",\"content\":\"a\",\"start\":3,\"stop\":3}");
    tkr_tok_scratch *scratch = new_scratch(tok);
    tkr_buf text = {0};
    assert_int_equal(tkr_tok_decode(&text, tok, scratch, ids, 2, false, NULL), TKR_OK);
    assert_string_equal(text.data, "c");
    tkr_buf_free(&text);
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden), cmocka_unit_test(ids_without_a_piece),
                                       cmocka_unit_test(unusable_decoders), cmocka_unit_test(strip_of_everything)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
