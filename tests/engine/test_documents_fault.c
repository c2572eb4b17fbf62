/* SPDX-License-Identifier: Apache-2.0 */
/* Fails the N-th allocation of reading a document, cutting it and embedding its passages, for every N: a clean error
 * and no leak each time. */
#include "fault.h"

#include "engine/tools.h"

static embedder shared;
static tkr_tools_document_options options;
static const char *name;
static char last_message[TKR_ERROR_MESSAGE_SIZE];

static tkr_status embed_windows(const tkr_tools_document *d, tkr_error *error) {
    tkr_status status = TKR_OK;
    for (size_t w = 0; status == TKR_OK && w < tkr_tools_document_n_windows(d); w++) {
        size_t first = 0;
        tkr_result *result = NULL;
        const tkr_input window = tkr_tools_document_window(d, w, &first);
        status = tkr_embed(&result, shared.session, &window, 1, NULL, error);
        if (status == TKR_OK && tkr_result_get(result, 0).status != TKR_OK) {
            const tkr_result_item item = tkr_result_get(result, 0);
            status = tkr_error_set(error, TKR_HERE, item.status, "%s", item.message);
        }
        tkr_result_free(&result);
    }
    return status;
}

static tkr_status open_and_embed(void) {
    char path[1400];
    tkr_buf bytes = {0};
    tkr_tools_document *d = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    snprintf(path, sizeof path, "%s/golden/documents/%s", TKR_TEST_DIR, name);
    tkr_status status = tkr_file_read(&bytes, path, 1 << 20, &error);
    if (status == TKR_OK)
        status = tkr_tools_document_open(&d, shared.model, name, bytes.data, bytes.size, &options, &error);
    if (status == TKR_OK) status = embed_windows(d, &error);
    for (size_t i = 0; status == TKR_OK && i < tkr_tools_document_n(d); i++) {
        const tkr_tools_passage passage = tkr_tools_document_get(d, i);
        tkr_part part;
        void *pixels = NULL;
        if (passage.kind != TKR_PASSAGE_TEXT) status = tkr_tools_document_image(&part, &pixels, d, i, &error);
        tkr_tools_free_pixels(&pixels);
    }
    if (status != TKR_OK) {
        assert_true(strlen(error.message) > 3);
        assert_int_equal(error.status, status);
        memcpy(last_message, error.message, sizeof last_message);
    }
    tkr_tools_document_free(&d);
    tkr_buf_free(&bytes);
    return status;
}

static void sweep(const char *folder, const char *document, const tkr_tools_document_options *with) {
    char path[1400];
    snprintf(path, sizeof path, "%s/golden/%s/model", TKR_TEST_DIR, folder);
    embedder_open(&shared, path, &(embedder_options){.threads = 1, .device = "cpu"});
    name = document;
    options = *with;
    const size_t runs = fault_sweep(&(fault_case){open_and_embed, last_message}, 'a');
    print_message("%s: %zu allocations failed in turn\n", document, runs);
    assert_true(runs > 4);
    embedder_close(&shared);
}

static void every_allocation(void **state) {
    (void)state;
    sweep("bert/bert-mean", "report.odt", &(tkr_tools_document_options){.chunk_tokens = 30});
    sweep("bert/bert-mean", "notes.md", &(tkr_tools_document_options){.chunk_tokens = 20, .late = true});
    sweep("siglip/siglip", "report.pdf", &(tkr_tools_document_options){.mode = TKR_TOOLS_PAGE_IMAGE, .page_side = 64});
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
