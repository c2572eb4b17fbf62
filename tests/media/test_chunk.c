/* SPDX-License-Identifier: Apache-2.0 */
/* Passages of documents made here, whose tokens are words: borders, headings, overlap, exact ranges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "media/chunk.h"

static tkr_status count_words(size_t *n, void *user, const char *text, size_t n_text, tkr_error *error) {
    bool inside = false;
    (void)user;
    (void)error;
    *n = 0;
    for (size_t i = 0; i < n_text; i++) {
        const bool space = text[i] == ' ' || text[i] == '\n';
        *n += !space && !inside;
        inside = !space;
    }
    return TKR_OK;
}

static tkr_status count_nothing(size_t *n, void *user, const char *text, size_t n_text, tkr_error *error) {
    (void)n;
    (void)user;
    (void)text;
    (void)n_text;
    return TKR_FAIL(error, NO_MEMORY, "none");
}

enum { ROOM = 64 };
typedef struct made {
    tkr_document document;
    tkr_document_block blocks[ROOM];
    uint64_t sentences[8 * ROOM];
    char text[16384];
} made;

/* A block whose sentences end with ". ". */
static void add(made *m, tkr_block_kind kind, uint32_t level, uint32_t page, const char *text) {
    tkr_document *d = &m->document;
    size_t at = (size_t)d->header.n_text;
    if (at > 0) {
        memcpy(m->text + at, "\n\n", 2);
        at += 2;
    }
    memcpy(m->text + at, text, strlen(text) + 1);
    d->header.n_text = at + strlen(text);
    m->blocks[d->header.n_blocks++] =
        (tkr_document_block){.begin = at, .end = d->header.n_text, .kind = kind, .level = level, .page = page};
    m->sentences[d->header.n_sentences++] = at;
    for (const char *stop = strstr(text, ". "); stop; stop = strstr(stop + 1, ". "))
        m->sentences[d->header.n_sentences++] = at + (size_t)(stop - text) + 2;
    d->blocks = m->blocks;
    d->sentences = m->sentences;
    d->text = m->text;
}

static tkr_chunks cut(const made *m, size_t max_tokens, size_t overlap) {
    const tkr_chunk_options options = {.max_tokens = max_tokens, .overlap = overlap, .count = count_words};
    tkr_chunks chunks;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_chunks_make(&chunks, &m->document, &options, &error) != TKR_OK) fail_msg("%s", error.message);
    for (size_t i = 0; i < chunks.n; i++) {
        size_t n = 0, heading = 0;
        const tkr_chunk *c = &chunks.list[i];
        assert_true(c->begin < c->end && c->end <= m->document.header.n_text);
        (void)count_words(&n, NULL, m->text + c->begin, c->end - c->begin, NULL);
        if (c->heading) (void)count_words(&heading, NULL, c->heading, strlen(c->heading), NULL);
        assert_true(n + heading <= max_tokens);
    }
    return chunks;
}

static void is_text(const made *m, const tkr_chunk *chunk, const char *text) {
    char got[4096];
    (void)snprintf(got, sizeof got, "%.*s", (int)(chunk->end - chunk->begin), m->text + chunk->begin);
    assert_string_equal(got, text);
}

static void keeps_sentences_and_paragraphs(void **state) {
    (void)state;
    made m = {0};
    m.document.header.unit = TKR_UNIT_PAGE;
    add(&m, TKR_BLOCK_PARAGRAPH, 0, 1, "One two three four. Five six seven eight. Nine ten.");
    add(&m, TKR_BLOCK_PARAGRAPH, 0, 2, "Eleven twelve thirteen. Fourteen.");
    tkr_chunks chunks = cut(&m, 16, 0);
    assert_int_equal(chunks.n, 1);
    assert_int_equal(chunks.list[0].page, 1);
    assert_int_equal(chunks.list[0].last_page, 2);
    tkr_chunks_free(&chunks);
    add(&m, TKR_BLOCK_PARAGRAPH, 0, 2, "Fifteen sixteen seventeen eighteen nineteen.");
    chunks = cut(&m, 16, 0); /* the third paragraph doesn't fit: whole to the next */
    assert_int_equal(chunks.n, 2);
    is_text(&m, &chunks.list[1], "Fifteen sixteen seventeen eighteen nineteen.");
    tkr_chunks_free(&chunks);
    chunks = cut(&m, 9, 0);
    is_text(&m, &chunks.list[0], "One two three four. Five six seven eight.");
    is_text(&m, &chunks.list[1], "Nine ten.\n\nEleven twelve thirteen. Fourteen.");
    tkr_chunks_free(&chunks);
}

static void repeats_sentences(void **state) {
    (void)state;
    made m = {0};
    add(&m, TKR_BLOCK_PARAGRAPH, 0, 0, "A b c. D e f. G h i. J k l. M n o.");
    tkr_chunks chunks = cut(&m, 9, 3);
    assert_int_equal(chunks.n, 2);
    is_text(&m, &chunks.list[0], "A b c. D e f. G h i.");
    is_text(&m, &chunks.list[1], "G h i. J k l. M n o.");
    tkr_chunks_free(&chunks);
}

static void carries_headings(void **state) {
    (void)state;
    made m = {0};
    add(&m, TKR_BLOCK_HEADING, 1, 0, "Book");
    add(&m, TKR_BLOCK_HEADING, 2, 0, "First");
    add(&m, TKR_BLOCK_PARAGRAPH, 0, 0, "One two three four five six. Seven eight nine ten eleven twelve. Thirteen.");
    add(&m, TKR_BLOCK_HEADING, 2, 0, "Second");
    add(&m, TKR_BLOCK_PARAGRAPH, 0, 0, "Fourteen fifteen.");
    tkr_chunks chunks = cut(&m, 12, 0);
    assert_int_equal(chunks.n, 3);
    assert_null(chunks.list[0].heading);
    is_text(&m, &chunks.list[0], "Book\n\nFirst\n\nOne two three four five six.");
    assert_string_equal(chunks.list[1].heading, "Book > First");
    is_text(&m, &chunks.list[1], "Seven eight nine ten eleven twelve. Thirteen.");
    assert_string_equal(chunks.list[2].heading, "Book"); /* it begins with "Second" itself */
    is_text(&m, &chunks.list[2], "Second\n\nFourteen fifteen.");
    tkr_chunks_free(&chunks);
}

static void ends_with_a_slide(void **state) {
    (void)state;
    made m = {0};
    m.document.header.unit = TKR_UNIT_SLIDE;
    add(&m, TKR_BLOCK_PARAGRAPH, 0, 1, "One.");
    add(&m, TKR_BLOCK_PARAGRAPH, 0, 2, "Two.");
    tkr_chunks chunks = cut(&m, 100, 50);
    assert_int_equal(chunks.n, 2);
    is_text(&m, &chunks.list[1], "Two.");
    assert_int_equal(chunks.list[1].page, 2);
    tkr_chunks_free(&chunks);
}

static void cuts_what_is_too_long(void **state) {
    (void)state;
    made m = {0};
    char text[4096] = "";
    for (int i = 0; i < 200; i++) (void)snprintf(text + strlen(text), 16, "w\xC3\xB6rd%d ", i);
    add(&m, TKR_BLOCK_PARAGRAPH, 0, 0, text);
    m.document.header.n_text--; /* without the last blank */
    m.blocks[0].end--;
    tkr_chunks chunks = cut(&m, 20, 0);
    size_t at = 0, characters = 0;
    assert_in_range(chunks.n, 10, 20);
    for (size_t i = 0; i < chunks.n; i++) { /* nothing is lost, no character is torn, the ranges agree */
        const tkr_chunk *c = &chunks.list[i];
        for (; at < c->begin; at++) {
            assert_int_equal(m.text[at], ' ');
            characters++;
        }
        assert_int_equal(c->begin_characters, characters);
        for (; at < c->end; at++) characters += ((unsigned char)m.text[at] & 0xC0) != 0x80;
        assert_int_equal(c->end_characters, characters);
        assert_int_not_equal((unsigned char)m.text[c->begin] & 0xC0, 0x80);
    }
    assert_int_equal(at, m.document.header.n_text);
    tkr_chunks_free(&chunks);
}

/* Passages that overlap begin before the last one's end: characters are counted from there, not from the beginning. */
static void overlaps_in_linear_time(void **state) {
    static const char words[] = "The k\xC3\xA9\xC3\xA9per climbs the stairs of the light.\n\n";
    enum { N_BLOCKS = 40000, SIZE = sizeof words - 1 };
    (void)state;
    char *text = tkr_malloc((size_t)N_BLOCKS * SIZE);
    tkr_document_block *blocks = tkr_calloc(N_BLOCKS, sizeof *blocks);
    uint64_t *sentences = tkr_calloc(N_BLOCKS, sizeof *sentences);
    assert_true(text && blocks && sentences);
    for (size_t i = 0; i < N_BLOCKS; i++) {
        memcpy(text + i * SIZE, words, SIZE);
        blocks[i] = (tkr_document_block){.begin = i * SIZE, .end = i * SIZE + SIZE - 2, .kind = TKR_BLOCK_PARAGRAPH};
        sentences[i] = i * SIZE;
    }
    const tkr_document document = {
        .header = {.n_blocks = N_BLOCKS, .n_sentences = N_BLOCKS, .n_text = (uint64_t)N_BLOCKS * SIZE},
        .blocks = blocks,
        .sentences = sentences,
        .text = text};
    const tkr_chunk_options options = {.max_tokens = 26, .overlap = 12, .count = count_words};
    tkr_chunks chunks;
    tkr_error error = {TKR_OK, NULL, ""};
    const clock_t began = clock();
    if (tkr_chunks_make(&chunks, &document, &options, &error) != TKR_OK) fail_msg("%s", error.message);
    const double seconds = (double)(clock() - began) / (double)CLOCKS_PER_SEC;
    assert_in_range(chunks.n, N_BLOCKS / 4, N_BLOCKS);
    for (size_t i = 0; i < chunks.n; i++) {
        const tkr_chunk *c = &chunks.list[i];
        assert_true(i == 0 || c->begin < c[-1].end);
        assert_int_equal(c->begin_characters, c->begin / SIZE * (SIZE - 2));
        assert_int_equal(c->end_characters, (c->end + 2) / SIZE * (SIZE - 2) - 2);
    }
    print_message("%zu passages: %.2f s\n", chunks.n, seconds);
    assert_true(seconds < 3); /* many of them where each passage counts from the beginning */
    tkr_chunks_free(&chunks);
    tkr_free(text);
    tkr_free(blocks);
    tkr_free(sentences);
}

static void refuses(void **state) {
    (void)state;
    made m = {0};
    add(&m, TKR_BLOCK_PARAGRAPH, 0, 0, "One two.");
    const tkr_chunk_options wrong[] = {{.max_tokens = 7, .count = count_words},
                                       {.max_tokens = 20, .overlap = 11, .count = count_words},
                                       {.max_tokens = 20, .count = count_nothing}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        tkr_chunks chunks;
        tkr_error error = {TKR_OK, NULL, ""};
        assert_int_not_equal(tkr_chunks_make(&chunks, &m.document, &wrong[i], &error), TKR_OK);
        assert_int_equal(chunks.n, 0);
        assert_null(chunks.list);
    }
}

static void of_nothing(void **state) {
    (void)state;
    const made m = {0};
    tkr_chunks chunks = cut(&m, 20, 5);
    assert_int_equal(chunks.n, 0);
    tkr_chunks_free(&chunks);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_sentences_and_paragraphs),
                                       cmocka_unit_test(repeats_sentences),
                                       cmocka_unit_test(carries_headings),
                                       cmocka_unit_test(ends_with_a_slide),
                                       cmocka_unit_test(cuts_what_is_too_long),
                                       cmocka_unit_test(overlaps_in_linear_time),
                                       cmocka_unit_test(refuses),
                                       cmocka_unit_test(of_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
