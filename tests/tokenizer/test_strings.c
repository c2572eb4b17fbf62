/* SPDX-License-Identifier: Apache-2.0 */
/* The real tokenizers of Qwen3 and OLMo on 500 hostile strings: ids with and without special tokens, byte offsets. */
#include "support.h"

#include "tokenizer/engine.h"

static tkr_tok *load_xz(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "golden/tokenizers/%s/tokenizer.json.xz", name);
    tkr_buf json = read_xz(path);
    tkr_tok *tok = load_bytes(json.data, json.size, false);
    tkr_buf_free(&json);
    return tok;
}

/* Through the direct way for byte-level BPE, then through all stages. */
static void check_both_ways(tkr_tok *tok, const tkr_buf *golden) {
    assert_non_null(tok->bytes.tile);
    check_strings(tok, golden);
    tok->bytes.tile = NULL;
    check_strings(tok, golden);
}

static void qwen3(void **state) {
    (void)state;
    tkr_tok *tok = load_xz("qwen3");
    tkr_buf golden = read_xz("golden/tokenizers/qwen3.jsonl.xz");
    check_both_ways(tok, &golden);
    assert_int_equal(tkr_tok_id(tok, "<|im_start|>"), 151644);
    assert_int_equal(tkr_tok_id(tok, "\xc4\xa0hello"), 23811);
    assert_string_equal(tkr_tok_piece(tok, 151643), "<|endoftext|>");
    tkr_buf_free(&golden);
    tkr_tok_free(&tok);
}

static void olmo(void **state) {
    (void)state;
    tkr_tok *tok = load_xz("olmo");
    tkr_buf golden = read_xz("golden/tokenizers/olmo.jsonl.xz");
    check_both_ways(tok, &golden);
    tkr_buf_free(&golden);
    tkr_tok_free(&tok);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(qwen3), cmocka_unit_test(olmo)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
