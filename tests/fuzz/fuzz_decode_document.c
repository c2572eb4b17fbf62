/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes every reader of tkr-decode-document in process, not the jail; pages of what turns out to be a PDF are drawn,
 * pictures listed and the first one got. */
#include <string.h>

#include "core/mem.h"
#include "decode/document/pictures.h"

/* fontconfig keeps what it read for the process's life. */
const char *__lsan_default_suppressions(void) { return "leak:libfontconfig\n"; }

static void pictures(uint8_t *out, size_t max_pixels, tkr_doc *doc) {
    tkr_error error;
    tkr_picture_header header;
    tkr_picture_entry entry;
    size_t size = 0, width, height;
    if (tkr_doc_list_pictures(out, &size, doc, max_pixels * 3, 0, 0, 4, &error) != TKR_OK) return;
    if (size < sizeof header || size > max_pixels * 3) __builtin_trap();
    memcpy(&header, out, sizeof header);
    if (header.n == 0) return;
    memcpy(&entry, out + sizeof header, sizeof entry);
    (void)tkr_doc_get_picture(out, &width, &height, doc, &entry.place, max_pixels, &error);
}

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
        doc = (tkr_doc){.bytes = copy, .n_bytes = size, .max_text = MAX_TEXT, .breaker = breaker};
        if (status == TKR_OK) pictures(rgb, MAX_PIXELS, &doc);
        tkr_doc_free(&doc);
    }
    tkr_free(copy);
    tkr_free(rgb);
    return 0;
}
