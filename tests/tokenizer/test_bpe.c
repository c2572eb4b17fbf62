/* SPDX-License-Identifier: Apache-2.0 */
/* BPE's three ways (scan, heap, moving window) against merging by the definition, on texts that merge a lot. */
#include "support.h"

#include "tokenizer/bpe.h"

static uint64_t state = 1;
static uint32_t below(uint32_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

/* Of all neighbours the pair with the lowest rank, the leftmost of equals, until there is none. Returns how many. */
static size_t by_definition(const tkr_bpe *bpe, int32_t *ids, size_t n) {
    while (n > 1) {
        size_t at = 0;
        uint32_t best = TKR_BPE_NO_RANK;
        for (size_t i = 0; i + 1 < n; i++) {
            const uint32_t rank = tkr_bpe_rank(bpe, ids[i], ids[i + 1]);
            if (rank < best) {
                best = rank;
                at = i;
            }
        }
        if (best == TKR_BPE_NO_RANK) {
            break;
        }
        ids[at] = bpe->merged[best];
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
    return n;
}

/* Texts of one word for the pattern: letters of a few kinds, with runs and repetitions. */
static size_t make_word(char *text, size_t n) {
    static const char *const sets[] = {"a", "ab", "ein", "the", "abcdefghijklmnopqrstuvwxyz", "eta oin srh"};
    const char *set = sets[below(5)];
    const uint32_t n_set = (uint32_t)strlen(set);
    size_t at = 0;
    while (at < n) {
        const size_t run = 1 + (below(4) == 0 ? below(40) : 0), period = 1 + below(9);
        for (size_t i = 0; i < run && at < n; i++) {
            text[at] = at >= period && below(3) == 0 ? text[at - period] : set[below(n_set)];
            at++;
        }
    }
    return n;
}

static void compare(const tkr_tok *tok, tkr_bpe *bpe, size_t n, size_t window) {
    static char text[8192];
    static int32_t want[8192];
    tkr_tok_scratch *scratch = new_scratch(tok);
    bpe->window = window;
    (void)make_word(text, n);
    size_t n_want = 0;
    for (size_t i = 0; i < n; i++) {
        want[n_want++] = bpe->takes_bytes ? bpe->bytes[(uint8_t)text[i]] : bpe->ascii[(uint8_t)text[i]];
    }
    n_want = by_definition(bpe, want, n_want);
    assert_true(tkr_bpe_word(bpe, scratch, text, n));
    if (scratch->n_pieces != n_want) {
        fail_msg("window %zu, %zu bytes: %zu tokens, expected %zu: %.*s", window, n, scratch->n_pieces, n_want, (int)n,
                 text);
    }
    uint32_t end = 0;
    for (size_t i = 0; i < n_want; i++) {
        assert_int_equal(scratch->pieces[i].id, want[i]);
        assert_int_equal(scratch->pieces[i].begin, end);
        end = scratch->pieces[i].end;
    }
    assert_int_equal(end, n);
    tkr_tok_scratch_free(&scratch);
}

static void check(const char *file, bool compressed) {
    tkr_buf json = compressed ? read_xz(file) : read_data(file);
    tkr_tok *tok = load_bytes(json.data, json.size, false);
    tkr_buf_free(&json);
    tkr_bpe *bpe = tok->model.self;
    static const size_t windows[] = {8, 16, 50, 300, 2048};
    for (size_t round = 0; round < 150; round++) {
        compare(tok, bpe, 1 + below(60), 2048); /* around the border between scan and heap */
        compare(tok, bpe, 49 + below(700), windows[round % 5]);
    }
    for (size_t round = 0; round < 8; round++) {
        compare(tok, bpe, 2000 + below(6000), 2048);
    }
    tkr_tok_free(&tok);
}

static void qwen3(void **unused) {
    (void)unused;
    check("golden/tokenizers/qwen3/tokenizer.json.xz", true);
}

static void olmo(void **unused) {
    (void)unused;
    check("golden/tokenizers/olmo/tokenizer.json.xz", true);
}

static void small(void **unused) {
    (void)unused;
    check("golden/tokenizers/bases/qwen2-last.json", false);
    check("golden/tokenizers/bases/gemma3-dense.json", false);
}

/* Ranks that aren't in the order of the pieces' making, so that low ranks appear late and borders move far. */
static void absurd_ranks(void **unused) {
    (void)unused;
    for (int round = 0; round < 40; round++) {
        tkr_buf json = {0};
        char pieces[120][8] = {{0}};
        size_t n = 4;
        memcpy(pieces, (const char[4][8]){"a", "b", "e", "t"}, 4 * sizeof *pieces);
        assert_true(tkr_buf_printf(&json, "{\"model\":{\"type\":\"BPE\",\"merges\":["));
        for (size_t tries = 0; tries < 300 && n < 120; tries++) {
            const char *x = pieces[below((uint32_t)n)], *y = pieces[below((uint32_t)n)];
            char whole[16];
            snprintf(whole, sizeof whole, "%s%s", x, y);
            bool known = strlen(whole) > 7;
            for (size_t i = 0; i < n && !known; i++) {
                known = strcmp(pieces[i], whole) == 0 && below(2) == 0; /* some pieces can be made in two ways */
            }
            if (!known) {
                bool old = false;
                for (size_t i = 0; i < n; i++) {
                    old = old || strcmp(pieces[i], whole) == 0;
                }
                assert_true(
                    tkr_buf_printf(&json, "%s[\"%s\",\"%s\"]", json.data[json.size - 1] == '[' ? "" : ",", x, y));
                if (!old) {
                    memcpy(pieces[n++], whole, 8);
                }
            }
        }
        assert_true(tkr_buf_printf(&json, "],\"vocab\":{"));
        for (size_t i = 0; i < n; i++) {
            assert_true(tkr_buf_printf(&json, "%s\"%s\":%zu", i > 0 ? "," : "", pieces[i], i));
        }
        assert_true(tkr_buf_printf(&json, "}}}"));
        tkr_tok *tok = load_bytes(json.data, json.size, false);
        tkr_buf_free(&json);
        tkr_bpe *bpe = tok->model.self;
        static char text[600];
        static int32_t want[600];
        for (size_t k = 0; k < 60; k++) {
            const size_t size = 1 + below(599);
            bpe->window = 2 + below(60);
            size_t n_want = size;
            const uint32_t period = 1 + below(12);
            for (size_t i = 0; i < size; i++) {
                text[i] = i >= period && below(10) > 0 ? text[i - period] : "abet"[below(4)];
                want[i] = bpe->ascii[(uint8_t)text[i]];
            }
            n_want = by_definition(bpe, want, n_want);
            tkr_tok_scratch *scratch = new_scratch(tok);
            assert_true(tkr_bpe_word(bpe, scratch, text, size));
            assert_int_equal(scratch->n_pieces, n_want);
            for (size_t i = 0; i < n_want; i++) {
                assert_int_equal(scratch->pieces[i].id, want[i]);
            }
            tkr_tok_scratch_free(&scratch);
        }
        tkr_tok_free(&tok);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(qwen3), cmocka_unit_test(olmo), cmocka_unit_test(small),
                                       cmocka_unit_test(absurd_ranks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
