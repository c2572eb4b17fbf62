/* SPDX-License-Identifier: Apache-2.0 */
/* What a decoder of documents answers, as fake_decoder repeats it: only what is sound becomes a document. */
#include "jail_helpers.h"
#include "media/document.h"

/* As the decoder writes it, behind what tells fake_decoder to repeat it. */
typedef struct answer {
    char what[8];
    tkr_document_header header;
    tkr_document_block blocks[2];
    uint64_t sentences[2];
    char text[16];
} answer;

static answer good(void) {
    static const char text[] = "k\xC3\xA9\n\nk\xC3\xA9";
    answer a = {.what = "E",
                .header = {.magic = TKR_DOCUMENT_MAGIC,
                           .type = TKR_DOCUMENT_TEXT,
                           .n_blocks = 2,
                           .n_sentences = 2,
                           .n_text = sizeof text - 1},
                .blocks = {{.begin = 0, .end = 3, .kind = TKR_BLOCK_PARAGRAPH},
                           {.begin = 5, .end = 8, .kind = TKR_BLOCK_PARAGRAPH}},
                .sentences = {0, 5}};
    memcpy(a.text, text, sizeof text);
    return a;
}

static tkr_status read_it(const answer *a) {
    const tkr_jail_options options = {.program = TKR_BUILD_DIR "/tests/fake_decoder",
                                      .kind = TKR_JAIL_DOCUMENTS,
                                      .n_processes = 1,
                                      .max_pixels = 1 << 20,
                                      .max_bytes = 1 << 20};
    tkr_jail *jail = open_jail(&options);
    tkr_document document;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_status status = tkr_document_read(&document, jail, "it", a, sizeof *a, NULL, &error);
    if (status != TKR_OK) assert_non_null(strstr(error.message, "it: the decoder gave a senseless answer"));
    tkr_document_free(&document);
    tkr_jail_free(&jail);
    return status;
}

static void takes_what_is_sound(void **state) {
    (void)state;
    answer a = good();
    assert_int_equal(read_it(&a), TKR_OK);
    a.header.unit = TKR_UNIT_PAGE;
    a.header.n_pages = a.header.n_failed = 2;
    assert_int_equal(read_it(&a), TKR_OK);
}

static void refuses_torn_characters(void **state) {
    (void)state;
    answer a = good();
    a.blocks[0].end = 2;
    assert_int_equal(read_it(&a), TKR_FORMAT);
    a = good();
    a.blocks[1].end = 7;
    assert_int_equal(read_it(&a), TKR_FORMAT);
    a.blocks[1].end = 9;
    assert_int_equal(read_it(&a), TKR_FORMAT);
    a = good();
    a.blocks[0].begin = a.sentences[0] = 2;
    assert_int_equal(read_it(&a), TKR_FORMAT);
}

static void refuses_failed_pages_of_nothing(void **state) {
    (void)state;
    answer a = good();
    a.header.n_pages = 2;
    a.header.n_failed = 1;
    assert_int_equal(read_it(&a), TKR_FORMAT);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(takes_what_is_sound), cmocka_unit_test(refuses_torn_characters),
                                       cmocka_unit_test(refuses_failed_pages_of_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
