/* SPDX-License-Identifier: Apache-2.0 */
/* The compiled form: what is mapped encodes as what was saved; damaged bytes are errors or harmless, never a crash. */
#include "support.h"

#include "small_wordpiece.h"

/* At a multiple of 64, exactly as long as the content, so that a sanitizer sees reads behind it. */
typedef struct block {
    char *data;
    size_t size;
} block;

static block save(const tkr_tok *tok) {
    tkr_buf out = {0};
    tkr_error error = {.status = TKR_OK};
    assert_int_equal(tkr_tok_save(&out, tok, &error), TKR_OK);
    assert_int_equal(out.size % 64, 0);
    block b = {tkr_aligned_alloc(out.size), out.size};
    assert_non_null(b.data);
    memcpy(b.data, out.data, out.size);
    tkr_buf_free(&out);
    return b;
}

static void release(block *b) { tkr_aligned_free(b->data, b->size); }

static tkr_tok *map_or_fail(const block *b) {
    tkr_tok *tok = NULL;
    tkr_error error = {.status = TKR_OK};
    if (tkr_tok_map(&tok, b->data, b->size, "compiled", &error) != TKR_OK) {
        fail_msg("%s", error.message);
    }
    return tok;
}

static void compare(const tkr_tok *a, const tkr_tok *b, size_t max_strings) {
    tkr_tok_scratch *with_a = new_scratch(a), *with_b = new_scratch(b);
    tkr_buf strings = read_data("golden/tokenizers/strings.jsonl");
    size_t at = 0;
    json_t *text;
    assert_int_equal(tkr_tok_vocab_size(a), tkr_tok_vocab_size(b));
    for (size_t n = 0; n < max_strings && (text = next_line(&strings, &at)) != NULL; n++) {
        const tkr_tok_request request = {.text = json_string_value(text),
                                         .n_text = json_string_length(text),
                                         .special_tokens = true,
                                         .want_offsets = true};
        const tkr_tok_result x = encode_or_fail(a, with_a, &request), y = encode_or_fail(b, with_b, &request);
        assert_int_equal(x.n, y.n);
        if (x.n > 0) {
            assert_memory_equal(x.ids, y.ids, x.n * sizeof *x.ids);
            assert_memory_equal(x.offsets, y.offsets, 2 * x.n * sizeof *x.offsets);
        }
        tkr_buf back[2] = {{0}};
        assert_int_equal(tkr_tok_decode(&back[0], a, with_a, x.ids, x.n, n % 2 == 0, NULL), TKR_OK);
        assert_int_equal(tkr_tok_decode(&back[1], b, with_b, x.ids, x.n, n % 2 == 0, NULL), TKR_OK);
        assert_string_equal(back[0].data, back[1].data);
        tkr_buf_free(&back[0]);
        tkr_buf_free(&back[1]);
        json_decref(text);
    }
    tkr_buf_free(&strings);
    tkr_tok_scratch_free(&with_a);
    tkr_tok_scratch_free(&with_b);
}

static void round_trip(tkr_tok *tok) {
    block bytes = save(tok);
    tkr_tok *mapped = map_or_fail(&bytes);
    compare(tok, mapped, 500);
    block again = save(mapped); /* a mapped one can be saved too */
    assert_int_equal(again.size, bytes.size);
    assert_memory_equal(again.data, bytes.data, bytes.size);
    release(&again);
    tkr_tok_free(&mapped);
    release(&bytes);
    tkr_tok_free(&tok);
}

static tkr_tok *load_file(const char *relative, bool lowercase) {
    const size_t n = strlen(relative);
    tkr_buf json = n > 3 && strcmp(relative + n - 3, ".xz") == 0 ? read_xz(relative) : read_data(relative);
    tkr_tok *tok = load_bytes(json.data, json.size, lowercase);
    tkr_buf_free(&json);
    return tok;
}

static void round_trips(void **state) {
    (void)state;
    round_trip(load_file("golden/tokenizers/qwen3/tokenizer.json.xz", false));
    round_trip(load_file("golden/tokenizers/olmo/tokenizer.json.xz", false));
    round_trip(load_file("golden/bert/bert-xlmr-tokenizer/model/tokenizer.json", false));
    round_trip(load_file("golden/bert/bert-cased-lower/model/tokenizer.json", true));
    round_trip(load_bytes(SMALL_WORDPIECE, strlen(SMALL_WORDPIECE), false));
}

/* A BPE with byte_fallback, unknown tokens and marks, small enough to damage each of its bytes. */
static const char small_bpe[] =
    "{\"added_tokens\":[],\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
    "\"String\":"
    "\"\xe2\x96\x81\"},\"content\":\" "
    "\"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]},\"normalizer\":{\"type\":\"Replace\",\"pattern\":{"
    "\"String\":\" \"},\"content\":"
    "\"\xe2\x96\x81\"},\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,"
    "\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"\xe2\x96\x81\":3,\"ab\":4,\"\xe2\x96\x81"
    "a\":5,\"<0xC3>\":6,\"<0xA9>\":7},\"merges\":[\"a b\",\"\xe2\x96\x81 a\"]}}";
static const char small_unigram[] =
    "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"a\",-1],[\"ab\",-1.5],[\"b\",-2]]}}";

/* Maps and, when that works, encodes: the sanitizers watch. */
static tkr_status try_map(const block *b) {
    static const char text[] = "ab [SEP] \xc3\xa9! aab abab \xe4\xb8\xad  b";
    tkr_tok *tok = NULL;
    tkr_error error = {.status = TKR_OK};
    const tkr_status status = tkr_tok_map(&tok, b->data, b->size, "compiled", &error);
    assert_true((status == TKR_OK) == (tok != NULL));
    if (status != TKR_OK) {
        assert_int_equal(error.status, status);
        assert_non_null(strstr(error.message, "compiled"));
        return status;
    }
    tkr_tok_scratch *scratch = new_scratch(tok);
    const tkr_tok_request request = {
        .text = text, .n_text = sizeof text - 1, .special_tokens = true, .want_offsets = true};
    const tkr_tok_result result = encode_or_fail(tok, scratch, &request);
    for (size_t i = 0; i < result.n; i++) {
        assert_in_range(result.offsets[2 * i + 1], result.offsets[2 * i], sizeof text - 1);
        (void)tkr_tok_piece(tok, result.ids[i]);
    }
    tkr_buf back = {0};
    (void)tkr_tok_decode(&back, tok, scratch, result.ids, result.n, false, &error);
    tkr_buf_free(&back);
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
    return status;
}

static void damage(const char *json) {
    tkr_tok *tok = load_bytes(json, strlen(json), false);
    block whole = save(tok);
    tkr_tok_free(&tok);
    for (size_t i = 0; i < whole.size; i += i < 2048 ? 1 : 5) {
        static const uint8_t flips[] = {0x01, 0xFF, 0x80};
        for (size_t k = 0; k < (i < 2048 ? 3 : 1 + i % 2); k++) {
            whole.data[i] = (char)((uint8_t)whole.data[i] ^ flips[k]);
            const tkr_status status = try_map(&whole);
            if (i < 200 && status == TKR_OK) { /* the header, its checksum included */
                fail_msg("a damaged byte %zu of the header went unnoticed", i);
            }
            whole.data[i] = (char)((uint8_t)whole.data[i] ^ flips[k]);
        }
    }
    for (size_t n = 0; n < whole.size; n += n < 300 ? 1 : 61) {
        const block part = {tkr_aligned_alloc(n + 1), n};
        memcpy(part.data, whole.data, n);
        assert_int_not_equal(try_map(&part), TKR_OK);
        tkr_aligned_free(part.data, n + 1);
    }
    assert_int_equal(try_map(&whole), TKR_OK);
    release(&whole);
}

static void damaged(void **state) {
    (void)state;
    damage(small_bpe);
    damage(small_unigram);
    damage(SMALL_WORDPIECE);
}

static void unaligned(void **state) {
    (void)state;
    tkr_tok *tok = load_bytes(small_bpe, strlen(small_bpe), false);
    block whole = save(tok);
    const block moved = {tkr_aligned_alloc(whole.size + 1), whole.size + 1};
    memcpy(moved.data + 1, whole.data, whole.size);
    const block odd = {moved.data + 1, whole.size};
    assert_int_equal(try_map(&odd), TKR_INVALID_ARGUMENT);
    tkr_aligned_free(moved.data, moved.size);
    release(&whole);
    tkr_tok_free(&tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trips), cmocka_unit_test(damaged),
                                       cmocka_unit_test(unaligned)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
