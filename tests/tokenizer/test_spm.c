/* SPDX-License-Identifier: Apache-2.0 */
/* SentencePiece files: ids as the sentencepiece package gives them (tools/make_spm_golden.py), the layout of XLM-R,
 * broken files. */
#include "support.h"

#include "tokenizer/engine.h"

static tkr_buf read_model(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "golden/tokenizers/spm/%s.model", name);
    return read_data(path);
}

static tkr_tok *load_spm(const tkr_buf *model, const tkr_tok_options *options) {
    tkr_tok *tok = NULL;
    tkr_error error = {.status = TKR_OK};
    if (tkr_tok_load_spm(&tok, model->data, model->size, "test.model", options, &error) != TKR_OK) {
        fail_msg("%s", error.message);
    }
    return tok;
}

static void same_ids(void **state) {
    (void)state;
    static const char *const names[] = {"unigram", "unigram-bytes", "bpe", "bpe-plain"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        tkr_buf model = read_model(names[i]);
        tkr_tok *tok = load_spm(&model, NULL);
        tkr_tok_scratch *scratch = new_scratch(tok);
        snprintf(path, sizeof path, "golden/tokenizers/spm/%s.jsonl", names[i]);
        tkr_buf golden = read_data(path);
        size_t at = 0, n = 0;
        json_t *want;
        while ((want = next_line(&golden, &at)) != NULL) {
            const json_t *text = json_object_get(want, "text");
            const tkr_tok_request request = {.text = json_string_value(text), .n_text = json_string_length(text)};
            const tkr_tok_result result = encode_or_fail(tok, scratch, &request);
            check_ids(names[i], n++, &result, json_object_get(want, "ids"));
            json_decref(want);
        }
        assert_true(n > 100);
        tkr_buf_free(&golden);
        tkr_tok_scratch_free(&scratch);
        tkr_tok_free(&tok);
        tkr_buf_free(&model);
    }
}

/* XLM-RoBERTa: all ids one up, four pieces of its own in front, <mask> behind, "<s> A </s></s> B </s>". */
static void fairseq_layout(void **state) {
    (void)state;
    tkr_buf model = read_model("unigram");
    const tkr_tok_options fairseq = {.spm_layout = TKR_TOK_SPM_FAIRSEQ};
    tkr_tok *plain = load_spm(&model, NULL), *tok = load_spm(&model, &fairseq);
    assert_int_equal(tkr_tok_vocab_size(tok), tkr_tok_vocab_size(plain) + 2);
    assert_string_equal(tkr_tok_piece(tok, 1), "<pad>");
    assert_string_equal(tkr_tok_piece(tok, 3), "<unk>");
    assert_int_equal(tkr_tok_id(tok, "<mask>"), tkr_tok_vocab_size(plain) + 1);
    for (int32_t id = 3; id < (int32_t)tkr_tok_vocab_size(plain); id++) {
        assert_string_equal(tkr_tok_piece(tok, id + 1), tkr_tok_piece(plain, id));
    }
    tkr_tok_scratch *scratch = new_scratch(tok);
    tkr_tok_request request = {.text = "a <mask>", .n_text = 8, .pair = "b", .n_pair = 1, .special_tokens = true};
    tkr_tok_result result = encode_or_fail(tok, scratch, &request);
    const int32_t mask = tkr_tok_id(tok, "<mask>");
    assert_int_equal(result.ids[0], 0);
    assert_int_equal(result.ids[result.n - 1], 2);
    assert_int_equal(tkr_tok_n_added(tok, true), 4);
    size_t n_masks = 0;
    for (size_t i = 0; i < result.n; i++) {
        n_masks += result.ids[i] == mask;
    }
    assert_int_equal(n_masks, 1);
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
    tkr_tok_free(&plain);
    tkr_buf_free(&model);
}

/* SigLIP: a folder without tokenizer.json gives the ids that one with it gives. */
static void canonical_text(void **state) {
    (void)state;
    static const char *const texts[] = {"a photo of a cat",
                                        "Two dogs, playing in the SNOW!",
                                        "  y-axis \t of\n(a) graph? ",
                                        "\xef\xbc\xa6ull [width] `x` {1} ~",
                                        "...",
                                        "caf\xc3\xa9 don't \\ stop"};
    static const char folder[] = "golden/siglip/siglip/model";
    char path[300];
    snprintf(path, sizeof path, "%s/spiece.model", folder);
    tkr_buf model = read_data(path);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    tkr_buf json = read_data(path);
    const tkr_tok_options options = {.lowercase = true, .spm_canonical = true, .spm_suffix = "</s>"};
    tkr_tok *tok = load_spm(&model, &options), *other = NULL;
    assert_int_equal(tkr_tok_load(&other, json.data, json.size, "tokenizer.json", NULL, NULL), TKR_OK);
    tkr_tok_scratch *scratch = new_scratch(tok), *others = new_scratch(other);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const tkr_tok_request request = {.text = texts[i], .n_text = strlen(texts[i]), .special_tokens = true};
        const tkr_tok_result got = encode_or_fail(tok, scratch, &request),
                             want = encode_or_fail(other, others, &request);
        assert_int_equal(got.n, want.n);
        assert_memory_equal(got.ids, want.ids, got.n * sizeof *got.ids);
    }
    tkr_tok_scratch_free(&scratch);
    tkr_tok_scratch_free(&others);
    tkr_tok_free(&tok);
    tkr_tok_free(&other);
    tkr_buf_free(&model);
    tkr_buf_free(&json);
}

static void around_each_text(void **state) {
    (void)state;
    tkr_buf model = read_model("bpe");
    const tkr_tok_options options = {.spm_prefix = "<s>", .spm_suffix = "</s>"};
    tkr_tok *tok = load_spm(&model, &options);
    tkr_tok_scratch *scratch = new_scratch(tok);
    const tkr_tok_request request = {.text = "a", .n_text = 1, .special_tokens = true};
    const tkr_tok_result result = encode_or_fail(tok, scratch, &request);
    assert_int_equal(result.ids[0], tkr_tok_id(tok, "<s>"));
    assert_int_equal(result.ids[result.n - 1], tkr_tok_id(tok, "</s>"));
    assert_int_equal(tkr_tok_n_added(tok, false), 2);
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
    const tkr_tok_options missing = {.spm_suffix = "<nothing>"};
    tkr_error error = {.status = TKR_OK};
    assert_int_equal(tkr_tok_load_spm(&tok, model.data, model.size, "test.model", &missing, &error), TKR_FORMAT);
    assert_non_null(strstr(error.message, "<nothing>"));
    tkr_buf_free(&model);
}

static void expect_error(const char *bytes, size_t n, tkr_status want, const char *word) {
    tkr_tok *tok = NULL;
    tkr_error error = {.status = TKR_OK};
    const tkr_status status = tkr_tok_load_spm(&tok, bytes, n, "test.model", NULL, &error);
    if (status != want || strstr(error.message, word) == NULL || strstr(error.message, "test.model") == NULL) {
        fail_msg("status %d, \"%s\", expected \"%s\"", (int)status, error.message, word);
    }
}

static void broken_files(void **state) {
    (void)state;
#define PIECE_UNK "\x0a\x07\x0a\x03<u>\x18\x02"
#define BAD(bytes, status, word) expect_error(bytes, sizeof(bytes) - 1, status, word)
    BAD("", TKR_FORMAT, "no pieces");
    BAD("\x0a", TKR_FORMAT, "beyond the end");
    BAD("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", TKR_FORMAT, "beyond the end");
    BAD("\x0b", TKR_FORMAT, "unknown kind");
    BAD("\x08\xff", TKR_FORMAT, "broken number");
    BAD("\x0d\x01", TKR_FORMAT, "ends within a number");
    BAD("\x0a\x02\x18\x09", TKR_FORMAT, "unknown type");
    BAD("\x0a\x04\x0a\x02\xff\xff", TKR_FORMAT, "UTF-8");
    BAD("\x0a\x05\x15\x00\x00\xc0\x7f", TKR_FORMAT, "no number");
    BAD("\x0a\x03\x0a\x01"
        "a",
        TKR_FORMAT, "no unknown piece");
    BAD(PIECE_UNK PIECE_UNK, TKR_FORMAT, "two unknown");
    BAD(PIECE_UNK "\x0a\x03\x0a\x01"
                  "a"
                  "\x0a\x03\x0a\x01"
                  "a",
        TKR_FORMAT, "occurs twice");
    BAD(PIECE_UNK "\x12\x02\x18\x03", TKR_UNSUPPORTED, "Word");
    BAD(PIECE_UNK "\x12\x03\xc0\x01\x01", TKR_UNSUPPORTED, "treat_whitespace_as_suffix");
    BAD(PIECE_UNK "\x1a\x02\x28\x00", TKR_UNSUPPORTED, "escape_whitespaces");
    tkr_buf model = read_model("bpe");
    for (size_t n = 0; n < 2000; n++) { /* cut anywhere: an error, or fewer pieces */
        tkr_tok *tok = NULL;
        tkr_error error = {.status = TKR_OK};
        const tkr_status status = tkr_tok_load_spm(&tok, model.data, n, "test.model", NULL, &error);
        assert_true((status == TKR_OK) == (tok != NULL));
        tkr_tok_free(&tok);
    }
    tkr_buf_free(&model);
}

static bool fail_at(void *user, char kind) {
    size_t *left = user;
    return kind != 'a' || (*left)-- != 1;
}

static void failing_allocations(void **state) {
    (void)state;
    static const char *const names[] = {"unigram", "bpe-plain"};
    for (size_t i = 0; i < 2; i++) {
        tkr_buf model = read_model(names[i]);
        const tkr_tok_options options = {.spm_prefix = "<s>", .spm_suffix = "</s>"};
        tkr_status status = TKR_NO_MEMORY;
        size_t n = 1;
        for (; status != TKR_OK; n++) {
            size_t left = n;
            tkr_tok *tok = NULL;
            tkr_error error = {.status = TKR_OK};
            tkr_seam_set(fail_at, &left);
            status = tkr_tok_load_spm(&tok, model.data, model.size, "test.model", &options, &error);
            tkr_seam_set(NULL, NULL);
            assert_true(status == TKR_OK || status == TKR_NO_MEMORY);
            tkr_tok_free(&tok);
        }
        assert_true(n > 20);
        tkr_buf_free(&model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_ids),       cmocka_unit_test(fairseq_layout),
                                       cmocka_unit_test(canonical_text), cmocka_unit_test(around_each_text),
                                       cmocka_unit_test(broken_files),   cmocka_unit_test(failing_allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
