/* SPDX-License-Identifier: Apache-2.0 */
/* The hard-coded patterns against PCRE2 on random texts of the code points whose classes both agree on; what is
 * refused; patterns that explode. */
#include "support.h"

#include "tokenizer/regex.h"
#include "tokenizer/unicode.h"

typedef struct home { /* of regular expressions */
    tkr_tok tok;
    tkr_error error;
    tkr_tok_loader loader;
} home;

static void open_home(home *h) {
    memset(h, 0, sizeof *h);
    h->loader = (tkr_tok_loader){&h->tok, "test", &h->error};
}

static void close_home(home *h) {
    tkr_tok_regexes_free(&h->tok);
    tkr_arena_free(&h->tok.arena);
}

static const tkr_tok_regex *compile(home *h, const char *pattern) {
    const tkr_tok_regex *regex = NULL;
    if (tkr_tok_regex_compile(&regex, &h->loader, pattern, strlen(pattern)) != TKR_OK) {
        fail_msg("%s", h->error.message);
    }
    return regex;
}

static uint64_t state = 3;
static uint32_t below(uint32_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

static bool matches(const tkr_tok_regex *regex, tkr_tok_scratch *scratch, uint32_t c) {
    char text[4];
    tkr_tok_search search = TKR_TOK_SEARCH(regex, scratch, text, tkr_utf8_put(text, c));
    return tkr_tok_search_next(&search) == TKR_TOK_FOUND;
}

/* agree[c]: PCRE2 and our tables give the code point the same classes. Debian's PCRE2 has Unicode 14, ours is newer. */
static uint8_t *find_agreement(home *h, tkr_tok_scratch *scratch) {
    uint8_t *agree = tkr_calloc(0x110000, 1);
    assert_non_null(agree);
    const struct {
        const tkr_tok_regex *regex;
        unsigned props;
    } classes[] = {{compile(h, "\\p{L}"), TKR_UNI_LETTER},
                   {compile(h, "\\p{N}"), TKR_UNI_NUMBER},
                   {compile(h, "\\s"), TKR_UNI_SPACE}};
    size_t n_different = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xD800 && c < 0xE000) {
            continue;
        }
        agree[c] = 1;
        for (size_t i = 0; i < 3; i++) {
            if (matches(classes[i].regex, scratch, c) != ((tkr_uni(c) & classes[i].props) != 0)) {
                agree[c] = 0;
                assert_true(c > 0x800 &&
                            classes[i].props != TKR_UNI_SPACE); /* only what is newer than PCRE2's tables */
            }
        }
        n_different += !agree[c];
    }
    assert_true(n_different < 20000);
    return agree;
}

static uint32_t random_code_point(const uint8_t *agree) {
    static const char common[] = "  \n\r\t'aeSsTtRrVvMmLlDd019.,!-_\v\f";
    for (;;) {
        uint32_t c;
        switch (below(8)) {
        case 0: c = below(0x250); break;
        case 1: c = below(0x3100); break;
        case 2: c = below(0x110000); break;
        case 3:
            c = (const uint32_t[]){0x17F, 0x85, 0xA0, 0x2003, 0x2028, 0x3000, 0x660, 0xB2, 0x301, 0x200B}[below(10)];
            break;
        default: c = (uint8_t)common[below(sizeof common - 1)]; break;
        }
        if (agree[c]) {
            return c;
        }
    }
}

static void same_as_pcre2(void **unused) {
    (void)unused;
#define MODERN(digits)                                                                                      \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    static const char *const patterns[] = {
        "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", MODERN("\\p{N}"),
        MODERN("\\p{N}{1,3}")};
    tkr_tok *tok = load_bytes("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}", 52, false);
    tkr_tok_scratch *scratch = new_scratch(tok);
    home h;
    open_home(&h);
    uint8_t *agree = find_agreement(&h, scratch);
    for (size_t p = 0; p < 3; p++) {
        const tkr_tok_tile_fn tile = tkr_tok_known_pattern(patterns[p], strlen(patterns[p]));
        const tkr_tok_regex *regex = compile(&h, patterns[p]);
        assert_non_null(tile);
        assert_null(tkr_tok_regex_tile(regex));
        for (size_t round = 0; round < 20000; round++) {
            char text[4 * 40];
            size_t n = 0;
            for (size_t i = below(40) + 1; i > 0; i--) {
                n += tkr_utf8_put(text + n, random_code_point(agree));
            }
            tkr_tok_search search = TKR_TOK_SEARCH(regex, scratch, text, n);
            for (size_t at = 0; at < n;) {
                const size_t end = tile(text, n, at);
                if (tkr_tok_search_next(&search) != TKR_TOK_FOUND || search.begin != at || search.end != end) {
                    fail_msg("pattern %zu: match [%zu, %zu), by hand [%zu, %zu) of %zu bytes", p, search.begin,
                             search.end, at, end, n);
                }
                at = end;
            }
            assert_int_equal(tkr_tok_search_next(&search), TKR_TOK_NOT_FOUND);
        }
    }
    tkr_free(agree);
    close_home(&h);
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
}

static void refused(void **unused) {
    (void)unused;
    static const struct {
        const char *pattern, *word;
    } bad[] = {{"(a", "missing closing parenthesis"},
               {"\\p{Nothing}", "unknown"},
               {"\\h+", "hexadecimal"},
               {"[a-z&&[^e]]", "inside a class"},
               {"[a[bc]]", "inside a class"},
               {"(?m:a.b)", "inline option"},
               {"a{1,2}+", "possessive"},
               {"a\\Q.\\E", "differently"},
               {"[\\h]", "hexadecimal"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        home h;
        open_home(&h);
        const tkr_tok_regex *regex = NULL;
        assert_int_equal(tkr_tok_regex_compile(&regex, &h.loader, bad[i].pattern, strlen(bad[i].pattern)),
                         TKR_UNSUPPORTED);
        if (strstr(h.error.message, bad[i].word) == NULL || strstr(h.error.message, bad[i].pattern) == NULL) {
            fail_msg("pattern %zu: \"%s\", expected \"%s\"", i, h.error.message, bad[i].word);
        }
        close_home(&h);
    }
}

#define WITH_SPLIT(regex)                                                                                     \
    "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"Isolated\"," \
    "\"invert\":false},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}"

/* Backtracking without end is that text's error and names the pattern; the next text is as if nothing had been. */
static void explodes(void **unused) {
    (void)unused;
    static const char json[] = WITH_SPLIT("(?:a+)+(?:a+)+(?:a+)+c|b");
    char text[4000];
    memset(text, 'a', sizeof text);
    tkr_tok *tok = load_bytes(json, sizeof json - 1, false);
    tkr_tok_scratch *scratch = new_scratch(tok);
    tkr_tok_request request = {.text = text, .n_text = sizeof text};
    tkr_tok_result result;
    tkr_error error = {.status = TKR_OK};
    assert_int_equal(tkr_tok_encode(&result, tok, scratch, &request, &error), TKR_LIMIT);
    assert_non_null(strstr(error.message, "(?:a+)+c|b"));
    request.text = "aab";
    request.n_text = 3;
    result = encode_or_fail(tok, scratch, &request);
    assert_int_equal(result.n, 3);
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
}

static bool fail_at(void *user, char kind) {
    size_t *left = user;
    return kind != 'a' || *left == 0 || (*left)-- != 1;
}

/* Every allocation on the way may fail: PCRE2's, too. */
static void failing_allocations(void **unused) {
    (void)unused;
    static const char json[] =
        "{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"\\\\s+$|(?<=a)b\"},\"content\":\"x\"},"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"x\":2},\"merges\":[]}}";
    for (size_t n = 1;; n++) {
        tkr_tok *tok = NULL;
        tkr_tok_scratch *scratch = NULL;
        tkr_tok_result result;
        tkr_error error = {.status = TKR_OK};
        size_t left = n;
        tkr_seam_set(fail_at, &left);
        tkr_status status = tkr_tok_load(&tok, json, sizeof json - 1, "test", NULL, &error);
        if (status == TKR_OK) {
            status = tkr_tok_scratch_create(&scratch, tok, &error);
        }
        if (status == TKR_OK) {
            const tkr_tok_request request = {.text = "bab  ", .n_text = 5, .want_offsets = true};
            status = tkr_tok_encode(&result, tok, scratch, &request, &error);
        }
        tkr_seam_set(NULL, NULL);
        if (status == TKR_OK) {
            assert_int_equal(result.n, 4);
            assert_int_equal(result.ids[2], 2);
            assert_true(n > 10);
        } else {
            assert_int_equal(status, TKR_NO_MEMORY);
        }
        tkr_tok_scratch_free(&scratch);
        tkr_tok_free(&tok);
        if (status == TKR_OK && left > 0) {
            return;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_as_pcre2), cmocka_unit_test(refused),
                                       cmocka_unit_test(explodes), cmocka_unit_test(failing_allocations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
