/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes every reader of tkr-decode-document in process, not the jail; pages of what turns out to be a PDF are drawn. */
#include <string.h>

#include "core/mem.h"
#include "decode/document/document.h"

/* fontconfig keeps what it read for the process's life. */
const char *__lsan_default_suppressions(void) { return "leak:libfontconfig\n"; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { MAX_PIXELS = 1 << 16, SIDE = 200, MAX_TEXT = 1 << 20 };
    static tkr_sentences *breaker; /* slow to make */
    tkr_error error;
    uint8_t *copy = tkr_malloc(size), *rgb = tkr_malloc((size_t)MAX_PIXELS * 3);
    if (!breaker && tkr_sentences_create(&breaker, &error) != TKR_OK) __builtin_trap();
    if (copy && rgb && size > 0) {
        memcpy(copy, data, size); /* its end is where the sanitizer looks */
        tkr_doc doc = {.bytes = copy, .n_bytes = size, .max_text = MAX_TEXT, .breaker = breaker};
        size_t width = 0, height = 0;
        const tkr_status status = tkr_doc_read(&doc, &error);
        if (status == TKR_OK && doc.text.size > MAX_TEXT) __builtin_trap();
        if (status == TKR_OK && doc.header.type == TKR_DOCUMENT_PDF)
            (void)tkr_doc_render(rgb, &width, &height, &doc, 0, SIDE, MAX_PIXELS, &error);
        tkr_doc_free(&doc);
    }
    tkr_free(copy);
    tkr_free(rgb);
    return 0;
}
