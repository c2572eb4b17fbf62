/* SPDX-License-Identifier: Apache-2.0 */
/* Broken tokenizer.json files: each is one error that names the thing. And every allocation may fail. */
#include "support.h"

#include "small_wordpiece.h"

static const char model[] = "{" SMALL_MODEL_FIELDS ",\"vocab\":" SMALL_VOCAB "}";

#define WITH_MODEL(text) SMALL_FILE(SMALL_NORMALIZER, SMALL_PRE, SMALL_POST, text)
#define WITH_VOCAB(text) WITH_MODEL("{" SMALL_MODEL_FIELDS ",\"vocab\":" text "}")
#define GOOD_MODEL "{" SMALL_MODEL_FIELDS ",\"vocab\":" SMALL_VOCAB "}"
#define WITH_NORMALIZER(text) SMALL_FILE(text, SMALL_PRE, SMALL_POST, GOOD_MODEL)
#define WITH_PRE(text) SMALL_FILE(SMALL_NORMALIZER, text, SMALL_POST, GOOD_MODEL)
#define WITH_POST(text) SMALL_FILE(SMALL_NORMALIZER, SMALL_PRE, text, GOOD_MODEL)
#define WITH_ADDED(text) "{\"added_tokens\":" text ",\"model\":" GOOD_MODEL "}"
#define ENTRY(fields) "[{" fields "}]"
#define WITH_BPE(merges) \
    WITH_MODEL("{\"type\":\"BPE\",\"vocab\":{\"\":9,\"a\":0,\"b\":1,\"ab\":2},\"merges\":" merges "}")
#define BYTE_POST "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true}"

static const struct bad {
    tkr_status status;
    const char *word; /* that the message must hold */
    const char *file;
} bad[] = {
    {TKR_FORMAT, "ends too early", ""},
    {TKR_FORMAT, "must be a JSON object", "[]"},
    {TKR_FORMAT, "has no \"model\"", "{}"},
    {TKR_FORMAT, "\"model\" must be an object", "{\"model\":[]}"},
    {TKR_FORMAT, "\"model\" occurs twice", "{\"model\":" GOOD_MODEL ",\"model\":" GOOD_MODEL "}"},
    {TKR_FORMAT, "field \"type\"", "{\"model\":{}}"},
    {TKR_FORMAT, "field \"type\"", "{\"model\":{\"type\":3}}"},
    {TKR_UNSUPPORTED, "model \"WordLevel\" is not supported, supported: BPE Unigram WordPiece",
     "{\"model\":{\"type\":\"WordLevel\"}}"},
    {TKR_FORMAT, "missing, empty or a list", "{\"model\":{" SMALL_MODEL_FIELDS "}}"},
    {TKR_FORMAT, "missing, empty or a list", WITH_VOCAB("{}")},
    {TKR_FORMAT, "missing, empty or a list", WITH_VOCAB("[[\"[UNK]\",0]]")},
    {TKR_FORMAT, "\"vocab\" occurs twice",
     WITH_MODEL("{" SMALL_MODEL_FIELDS ",\"vocab\":{\"a\":1},\"vocab\":{\"a\":1}}")},
    {TKR_FORMAT, "id of piece \"a\" must be an integer", WITH_VOCAB("{\"a\":-1}")},
    {TKR_FORMAT, "id of piece \"a\" must be an integer", WITH_VOCAB("{\"a\":4194304}")},
    {TKR_FORMAT, "id of piece \"a\" must be an integer", WITH_VOCAB("{\"a\":99999999999999999999}")},
    {TKR_FORMAT, "id of piece \"a\" must be an integer", WITH_VOCAB("{\"a\":1.5}")},
    {TKR_FORMAT, "id of piece \"a\" must be an integer", WITH_VOCAB("{\"a\":\"1\"}")},
    {TKR_FORMAT, "id 7 belongs to \"a\" and to \"b\"", WITH_VOCAB("{\"a\":7,\"b\":7}")},
    {TKR_FORMAT, "piece \"a\" occurs twice", WITH_VOCAB("{\"a\":1,\"b\":2,\"a\":3}")},
    {TKR_FORMAT, "unk_token \"[UNK]\" is not in the vocabulary", WITH_VOCAB("{\"a\":0}")},
    {TKR_FORMAT, "unk_token", WITH_MODEL("{\"type\":\"WordPiece\",\"vocab\":" SMALL_VOCAB "}")},
    {TKR_FORMAT, "max_input_chars_per_word",
     WITH_MODEL("{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
                "\"max_input_chars_per_word\":-4,\"vocab\":" SMALL_VOCAB "}")},
    {TKR_FORMAT, "must be a list of [piece, score]", "{\"model\":{\"type\":\"Unigram\",\"vocab\":{\"a\":0}}}"},
    {TKR_FORMAT, "entry 0 of the vocabulary has no piece", "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[1,2]]}}"},
    {TKR_FORMAT, "entry 0 of the vocabulary has no score", "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}"},
    {TKR_FORMAT, "must be [piece, score]", "{\"model\":{\"type\":\"Unigram\",\"vocab\":[\"a\"]}}"},
    {TKR_FORMAT, "must be [piece, score]", "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0,1]]}}"},
    {TKR_FORMAT, "unk_id", "{\"model\":{\"type\":\"Unigram\",\"unk_id\":1,\"vocab\":[[\"a\",0]]}}"},
    {TKR_FORMAT, "missing, empty or a list", WITH_MODEL("{\"type\":\"BPE\",\"merges\":[]}")},
    {TKR_FORMAT, "merge 0 is \"a\", expected two pieces", WITH_BPE("[\"a\"]")},
    {TKR_FORMAT, "merge 1 is \"a b c\", expected two pieces", WITH_BPE("[\"a b\",\"a b c\"]")},
    {TKR_FORMAT, "merge 0 must be a pair of strings", WITH_BPE("[[\"a\"]]")},
    {TKR_FORMAT, "merge 0 must be a pair of strings", WITH_BPE("[[\"a\",1]]")},
    {TKR_FORMAT, "merge 0 must be a pair of strings", WITH_BPE("[[\"a\",\"b\",\"ab\"]]")},
    {TKR_FORMAT, "merge 0 must be", WITH_BPE("[1]")},
    {TKR_FORMAT, "merge 0, \"c\" with \"b\": the first isn't", WITH_BPE("[\"c b\"]")},
    {TKR_FORMAT, "merge 1, \"a\" with \"c\": the second isn't", WITH_BPE("[\"a b\",\"a c\"]")},
    {TKR_FORMAT, "merge 0, \"b\" with \"a\": what they give isn't", WITH_BPE("[\"b a\"]")},
    {TKR_FORMAT, "merge 0, \"\" with \"a\": they give one of themselves", WITH_BPE("[\" a\"]")},
    {TKR_FORMAT, "shorter than continuing_subword_prefix", WITH_BPE("[\"a b\"],\"continuing_subword_prefix\":\"##\"")},
    {TKR_FORMAT, "unk_token \"<unk>\" is not in the vocabulary", WITH_BPE("[],\"unk_token\":\"<unk>\"")},
    {TKR_UNSUPPORTED, "dropout 0.1", WITH_BPE("[],\"dropout\":0.1")},
    {TKR_UNSUPPORTED, "byte_fallback of BPE together",
     WITH_BPE("[],\"byte_fallback\":true,\"end_of_word_suffix\":\"x\"")},
    {TKR_FORMAT, "\"merges\" occurs twice", WITH_BPE("[\"a b\"],\"merges\":[\"a b\"]")},
    {TKR_FORMAT, "ignore_merges", WITH_BPE("[],\"ignore_merges\":3")},
    {TKR_FORMAT, "ends too early", "{\"model\":{\"type\":\"BPE\",\"merges\":[[\"a\","},
    {TKR_UNSUPPORTED, "normalizer \"Nmt\" is not supported", WITH_NORMALIZER("{\"type\":\"Nmt\"}")},
    {TKR_FORMAT, "clean_text", WITH_NORMALIZER("{\"type\":\"BertNormalizer\"}")},
    {TKR_FORMAT, "\"normalizer\" must be an object", WITH_NORMALIZER("\"NFC\"")},
    {TKR_FORMAT, "normalizer is an array", WITH_NORMALIZER("[]")},
    {TKR_FORMAT, "\"normalizers\" of a Sequence is missing", WITH_NORMALIZER("{\"type\":\"Sequence\"}")},
    {TKR_UNSUPPORTED, "regular expression \"(a|b\"",
     WITH_NORMALIZER("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(a|b\"},\"content\":\"\"}")},
    {TKR_UNSUPPORTED, "regular expression \"[a\"",
     WITH_PRE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a\"},\"behavior\":\"Removed\",\"invert\":false}")},
    {TKR_FORMAT, "\"pattern\" of Split",
     WITH_PRE("{\"type\":\"Split\",\"pattern\":{\"Regex\":3},\"behavior\":\"Removed\",\"invert\":false}")},
    {TKR_FORMAT, "isn't base64", WITH_NORMALIZER("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"****\"}")},
    {TKR_FORMAT, "claims a trie", WITH_NORMALIZER("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}")},
    {TKR_UNSUPPORTED, "pre_tokenizer \"UnicodeScripts\" is not supported", WITH_PRE("{\"type\":\"UnicodeScripts\"}")},
    {TKR_FORMAT, "add_prefix_space", WITH_PRE("{\"type\":\"ByteLevel\"}")},
    {TKR_FORMAT, "use_regex", WITH_PRE("{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":\"a\"}")},
    {TKR_UNSUPPORTED, "more than one part that trims",
     WITH_POST("{\"type\":\"Sequence\",\"processors\":[" BYTE_POST "," BYTE_POST "]}")},
    {TKR_UNSUPPORTED, "behavior \"Sideways\"",
     WITH_PRE("{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":\"Sideways\",\"invert\":false}")},
    {TKR_FORMAT, "must be one character", WITH_PRE("{\"type\":\"Metaspace\",\"replacement\":\"ab\"}")},
    {TKR_FORMAT, "contradicts prepend_scheme",
     WITH_PRE("{\"type\":\"Metaspace\",\"replacement\":\"a\",\"add_prefix_space\":false}")},
    {TKR_UNSUPPORTED, "post_processor \"X\" is not supported", WITH_POST("{\"type\":\"X\"}")},
    {TKR_FORMAT, "must be [token, id]", WITH_POST("{\"type\":\"BertProcessing\",\"sep\":3,\"cls\":[\"[CLS]\",2]}")},
    {TKR_FORMAT, "outside the vocabulary of 18",
     WITH_POST("{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",18],\"cls\":[\"[CLS]\",2]}")},
    {TKR_UNSUPPORTED, "more than one part",
     WITH_POST("{\"type\":\"Sequence\",\"processors\":[" SMALL_POST "," SMALL_POST "]}")},
    {TKR_FORMAT, "\"single\" of TemplateProcessing", WITH_POST("{\"type\":\"TemplateProcessing\"}")},
    {TKR_FORMAT, "names sequence \"B\"",
     WITH_POST("{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"B\",\"type_id\":0}}],\"pair\":[],"
               "\"special_tokens\":{}}")},
    {TKR_FORMAT, "no ids for \"[X]\"",
     WITH_POST("{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"[X]\",\"type_id\":0}}],"
               "\"pair\":[],\"special_tokens\":{}}")},
    {TKR_FORMAT, "added_tokens is an object", WITH_ADDED("{}")},
    {TKR_FORMAT, "entry of added_tokens is a", WITH_ADDED("[\"a\"]")},
    {TKR_FORMAT, "\"content\" of an added token is missing", WITH_ADDED(ENTRY("\"id\":1"))},
    {TKR_FORMAT, "field \"id\"", WITH_ADDED(ENTRY("\"content\":\"[UNK]\"," SMALL_FLAGS))},
    {TKR_FORMAT, "field \"id\"", WITH_ADDED(ENTRY("\"content\":\"x\",\"id\":99999999," SMALL_FLAGS))},
    {TKR_FORMAT, "field \"special\"",
     WITH_ADDED(ENTRY("\"content\":\"x\",\"id\":99,\"single_word\":false,\"lstrip\":false,"
                      "\"rstrip\":false,\"normalized\":false"))},
    {TKR_FORMAT, "has id 5, but the vocabulary gives it 1",
     WITH_ADDED(ENTRY("\"content\":\"[UNK]\",\"id\":5," SMALL_FLAGS))},
    {TKR_FORMAT, "has id 4, which belongs to \"a\"", WITH_ADDED(ENTRY("\"content\":\"x\",\"id\":4," SMALL_FLAGS))},
};

static tkr_status load(const char *json, size_t size, tkr_error *error) {
    tkr_tok *tok = NULL;
    const tkr_status status = tkr_tok_load(&tok, json, size, "tokenizer.json", NULL, error);
    assert_true((status == TKR_OK) == (tok != NULL));
    tkr_tok_free(&tok);
    return status;
}

static void broken_files(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        tkr_error error = {.status = TKR_OK};
        const tkr_status status = load(bad[i].file, strlen(bad[i].file), &error);
        if (status != bad[i].status || error.status != status || strstr(error.message, bad[i].word) == NULL ||
            strstr(error.message, "tokenizer.json") == NULL) {
            fail_msg("file %zu: status %d, \"%s\", expected \"%s\"", i, (int)status, error.message, bad[i].word);
        }
        assert_int_equal(load(bad[i].file, strlen(bad[i].file), NULL), bad[i].status);
    }
}

static void cut_anywhere(void **state) {
    (void)state;
    const char *file = SMALL_WORDPIECE;
    for (size_t n = 0; n < strlen(file); n++) {
        tkr_error error = {.status = TKR_OK};
        assert_int_equal(load(file, n, &error), TKR_FORMAT);
        assert_true(error.message[0] != '\0');
    }
}

static void deep_nesting(void **state) {
    (void)state;
    tkr_buf file = {0};
    assert_true(tkr_buf_printf(&file, "{\"model\":%s,\"normalizer\":", model));
    for (int i = 0; i < 1000; i++) {
        assert_true(tkr_buf_printf(&file, "{\"type\":\"Sequence\",\"normalizers\":["));
    }
    tkr_error error = {.status = TKR_OK};
    assert_int_equal(load(file.data, file.size, &error), TKR_FORMAT);
    assert_non_null(strstr(error.message, "nested deeper"));
    tkr_buf_free(&file);
}

static void many_stages(void **state) {
    (void)state;
    tkr_buf file = {0};
    assert_true(tkr_buf_printf(&file, "{\"model\":%s,\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[", model));
    for (int i = 0; i < 100; i++) {
        assert_true(tkr_buf_printf(&file, "%s{\"type\":\"NFC\"}", i > 0 ? "," : ""));
    }
    assert_true(tkr_buf_printf(&file, "]}}"));
    tkr_error error = {.status = TKR_OK};
    assert_int_equal(load(file.data, file.size, &error), TKR_LIMIT);
    tkr_buf_free(&file);
}

/* Added tokens without end are refused or cost in proportion to their number. */
static void many_added_tokens(void **state) {
    (void)state;
    for (int large = 0; large < 2; large++) {
        const size_t n = large ? 200000 : 50000; /* 25 MB and 6 MB */
        tkr_buf file = {0};
        assert_true(tkr_buf_printf(&file, "{\"model\":%s,\"added_tokens\":[", model));
        for (size_t i = 0; i < n; i++) {
            assert_true(tkr_buf_printf(&file, "%s{\"id\":%zu,\"content\":\"<added token %zu>\"," SMALL_FLAGS "}",
                                       i > 0 ? "," : "", 100 + i, i));
        }
        assert_true(tkr_buf_printf(&file, "]}"));
        tkr_error error = {.status = TKR_OK};
        assert_int_equal(load(file.data, file.size, &error), large ? TKR_LIMIT : TKR_OK);
        assert_true(!large || strstr(error.message, "\"added_tokens\" has") != NULL);
        tkr_buf_free(&file);
    }
    tkr_buf file = {0};
    assert_true(tkr_buf_printf(
        &file, "{\"model\":%s,\"added_tokens\":[{\"id\":50," SMALL_FLAGS ",\"content\":\"%02000d\"}]}", model, 0));
    tkr_error error = {.status = TKR_OK};
    assert_int_equal(load(file.data, file.size, &error), TKR_LIMIT);
    assert_non_null(strstr(error.message, "added token 50 has 2000 bytes"));
    tkr_buf_free(&file);
}

/* ---- failing allocations ---- */

static bool fail_at(void *user, char kind) {
    size_t *left = user;
    if (kind != 'a') {
        return true;
    }
    return (*left)-- != 1;
}

static tkr_status load_and_encode(const char *json, size_t size, tkr_error *error) {
    tkr_tok *tok = NULL;
    tkr_tok_scratch *scratch = NULL;
    tkr_status status = tkr_tok_load(&tok, json, size, "tokenizer.json", NULL, error);
    if (status == TKR_OK) {
        status = tkr_tok_scratch_create(&scratch, tok, error);
    }
    if (status == TKR_OK) {
        tkr_tok_result result;
        const char *text = "ab [SEP] \xc3\xa9! \xff ab\xcc\x81 aaaaaaaaaaaaaaaaaaaa b.";
        const tkr_tok_request request = {.text = text,
                                         .n_text = strlen(text),
                                         .pair = "a b",
                                         .n_pair = 3,
                                         .special_tokens = true,
                                         .want_offsets = true};
        status = tkr_tok_encode(&result, tok, scratch, &request, error);
    }
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
    return status;
}

static void sweep(const char *json, size_t size) {
    for (size_t n = 1;; n++) {
        size_t left = n;
        tkr_error error = {.status = TKR_OK};
        tkr_seam_set(fail_at, &left);
        const tkr_status status = load_and_encode(json, size, &error);
        tkr_seam_set(NULL, NULL);
        if (status == TKR_OK) {
            assert_true(n > 20 && left > 0);
            return;
        }
        assert_int_equal(status, TKR_NO_MEMORY);
        assert_int_equal(error.status, TKR_NO_MEMORY);
    }
}

static void failing_allocations(void **state) {
    (void)state;
    sweep(SMALL_WORDPIECE, strlen(SMALL_WORDPIECE));
    tkr_buf unigram = read_data("golden/bert/bert-xlmr-tokenizer/model/tokenizer.json");
    sweep(unigram.data, unigram.size);
    tkr_buf_free(&unigram);
    static const char *const bpe[] = {"qwen2-last", "gemma3-dense"};
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        snprintf(path, sizeof path, "golden/tokenizers/bases/%s.json", bpe[i]);
        tkr_buf json = read_data(path);
        sweep(json.data, json.size);
        tkr_buf_free(&json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(broken_files),      cmocka_unit_test(cut_anywhere),
                                       cmocka_unit_test(deep_nesting),      cmocka_unit_test(many_stages),
                                       cmocka_unit_test(many_added_tokens), cmocka_unit_test(failing_allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
