/* SPDX-License-Identifier: Apache-2.0 */
/* The real all-MiniLM-L6-v2 tokenizer on 500 hostile strings: ids with and without special tokens, byte offsets. */
#include "support.h"

#include "core/mem.h"

#define MINILM "models--sentence-transformers--all-MiniLM-L6-v2"

/* Snapshot of refs/main in the Hugging Face cache. */
static char *in_cache(const char *hub) {
    tkr_buf ref = {0};
    tkr_error error = {.status = TKR_OK};
    char path[1024];
    char *found = NULL;
    snprintf(path, sizeof path, "%s/" MINILM "/refs/main", hub);
    if (tkr_file_read(&ref, path, 256, &error) == TKR_OK) {
        snprintf(path, sizeof path, "%s/" MINILM "/snapshots/%.*s/tokenizer.json", hub, (int)strcspn(ref.data, " \r\n"),
                 ref.data);
        found = tkr_path_exists(path) ? tkr_strdup(path) : NULL;
    }
    tkr_buf_free(&ref);
    return found;
}

static char *find_minilm(void) {
    const char *folder = tkr_env("TKR_MINILM");
    if (folder != NULL) {
        return tkr_path_join(folder, "tokenizer.json");
    }
    const char *hub = tkr_env("HF_HUB_CACHE"), *home = tkr_env("HF_HOME"), *user = tkr_env("HOME");
    char path[512];
    if (hub != NULL) {
        return in_cache(hub);
    }
    if (home != NULL) {
        snprintf(path, sizeof path, "%s/hub", home);
    } else {
        snprintf(path, sizeof path, "%s/.cache/huggingface/hub", user != NULL ? user : "");
    }
    return in_cache(path);
}

static void golden_strings(void **state) {
    (void)state;
    char *path = find_minilm();
    if (path == NULL) {
        fail_msg(
            "all-MiniLM-L6-v2 isn't in the Hugging Face cache: run scripts/get-model, or set TKR_MINILM to its folder");
    }
    tkr_buf json = {0};
    tkr_error error = {.status = TKR_OK};
    if (tkr_file_read(&json, path, (size_t)1 << 26, &error) != TKR_OK) {
        fail_msg("%s", error.message);
    }
    tkr_tok *tok = load_bytes(json.data, json.size, false);
    tkr_buf golden = read_data("golden/tokenizers/minilm-wordpiece.jsonl");
    check_strings(tok, &golden);
    assert_int_equal(tkr_tok_vocab_size(tok), 30522);
    assert_string_equal(tkr_tok_piece(tok, 101), "[CLS]");
    assert_int_equal(tkr_tok_id(tok, "##ing"), 2075);
    assert_int_equal(tkr_tok_id(tok, "no such piece"), -1);
    assert_null(tkr_tok_piece(tok, 30522));
    assert_null(tkr_tok_piece(tok, -1));
    tkr_buf_free(&golden);
    tkr_tok_free(&tok);
    tkr_buf_free(&json);
    tkr_free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden_strings)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
