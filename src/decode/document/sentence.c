/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/sentence: where sentences begin, by Unicode's rules (UAX 29) as ICU has them. */
#include <unicode/ubrk.h>
#include <unicode/utext.h>

#include "decode/document/document.h"

/* "ss": no sentence ends behind abbreviations such as "Dr.". */
struct tkr_sentences {
    UBreakIterator *iterator;
    tkr_buf line; /* the text with its line breaks as blanks: a line that is full ends no sentence */
};

tkr_status tkr_sentences_create(tkr_sentences **out, tkr_error *error) {
    UErrorCode code = U_ZERO_ERROR;
    tkr_sentences *made = tkr_calloc(1, sizeof *made);
    if (!made) return TKR_FAIL(error, NO_MEMORY, "no memory for sentences");
    made->iterator = ubrk_open(UBRK_SENTENCE, "en@ss=standard", NULL, 0, &code);
    if (U_FAILURE(code)) {
        tkr_free(made);
        return TKR_FAIL(error, UNSUPPORTED, "ICU has no rules for sentences: %s", u_errorName(code));
    }
    *out = made;
    return TKR_OK;
}

void tkr_sentences_free(tkr_sentences **out) {
    if (!out || !*out) return;
    ubrk_close((*out)->iterator);
    tkr_buf_free(&(*out)->line);
    tkr_free(*out);
    *out = NULL;
}

tkr_status tkr_sentences_find(tkr_buf *out, tkr_sentences *sentences, const char *text, size_t n, uint64_t base,
                              tkr_error *error) {
    UErrorCode code = U_ZERO_ERROR;
    UText view = UTEXT_INITIALIZER;
    sentences->line.size = 0;
    if (!tkr_buf_append(&sentences->line, text, n)) {
        sentences->line.failed = false;
        return TKR_FAIL(error, NO_MEMORY, "no memory for a paragraph of %zu bytes", n);
    }
    for (size_t i = 0; i < n; i++) {
        if (sentences->line.data[i] == '\n') sentences->line.data[i] = ' ';
    }
    utext_openUTF8(&view, sentences->line.data, (int64_t)n, &code);
    ubrk_setUText(sentences->iterator, &view, &code);
    if (U_SUCCESS(code)) {
        for (int32_t at = ubrk_next(sentences->iterator); at != UBRK_DONE && (size_t)at < n;
             at = ubrk_next(sentences->iterator)) {
            const uint64_t begin = base + (uint64_t)at;
            if (at > 0) tkr_buf_append(out, &begin, sizeof begin);
        }
    }
    utext_close(&view);
    if (out->failed) return TKR_FAIL(error, LIMIT, "has too many sentences");
    return U_SUCCESS(code) ? TKR_OK : TKR_FAIL(error, INTERNAL, "ICU: %s", u_errorName(code));
}
