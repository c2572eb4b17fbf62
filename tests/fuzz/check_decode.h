/* SPDX-License-Identifier: Apache-2.0 */
/* Decodes ids drawn from bytes, all of the vocabulary's and one beyond: what comes out is UTF-8, or there is a reason.
 */
#ifndef TESTS_FUZZ_CHECK_DECODE_H
#define TESTS_FUZZ_CHECK_DECODE_H

#include <stdlib.h>

#include "core/utf8.h"
#include "tokenizer/tokenizer.h"

static inline void check_decode(const tkr_tok *tok, tkr_tok_scratch *scratch, const uint8_t *data, size_t size) {
    enum { MAX_IDS = 256 };
    const size_t n_vocab = tkr_tok_vocab_size(tok), n = n_vocab > 0 ? (size / 2 < MAX_IDS ? size / 2 : MAX_IDS) : 0;
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    if (ids == NULL) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const size_t drawn = (size_t)data[2 * i] << 8 | data[2 * i + 1];
        ids[i] = (int32_t)((i < MAX_IDS / 2 ? drawn : i) % n_vocab);
    }
    for (int skip = 0; skip < 2; skip++) {
        tkr_buf text = {0};
        tkr_error error = {.status = TKR_OK};
        const tkr_status status = tkr_tok_decode(&text, tok, scratch, ids, n, skip == 1, &error);
        if (status != TKR_OK ? error.message[0] == '\0' || status == TKR_INVALID_ARGUMENT
                             : text.size > 0 && tkr_utf8_valid_prefix(text.data, text.size) != text.size) {
            abort();
        }
        tkr_buf_free(&text);
    }
    ids[n] = (int32_t)n_vocab;
    tkr_buf text = {0};
    const tkr_status status = tkr_tok_decode(&text, tok, scratch, ids, n + 1, false, NULL);
    if (status != TKR_INVALID_ARGUMENT && status != TKR_UNSUPPORTED) {
        abort();
    }
    tkr_buf_free(&text);
    free(ids);
}

#endif
