/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a tokenizer.json; one that loads also encodes a text and decodes ids. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check_decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "Ab [SEP]a! \xc3\xa9\xcc\x81 \xe4\xb8\xad\xed\x95\x9c <mask> \xff";
    tkr_tok *tok = NULL;
    tkr_error error = {.status = TKR_OK};
    const tkr_status status = tkr_tok_load(&tok, (const char *)data, size, "fuzz", NULL, &error);
    if (status != TKR_OK) {
        if (error.status != status || error.message[0] == '\0' || tok != NULL) {
            abort();
        }
        return 0;
    }
    tkr_tok_scratch *scratch = NULL;
    if (tkr_tok_scratch_create(&scratch, tok, &error) == TKR_OK) {
        const tkr_tok_request request = {.text = text,
                                         .n_text = sizeof text - 1,
                                         .pair = "a b",
                                         .n_pair = 3,
                                         .special_tokens = true,
                                         .want_offsets = true};
        tkr_tok_result result;
        if (tkr_tok_encode(&result, tok, scratch, &request, &error) == TKR_OK) {
            for (size_t i = 0; i < result.n; i++) {
                if (result.ids[i] < 0 || (size_t)result.ids[i] >= tkr_tok_vocab_size(tok) ||
                    result.offsets[2 * i] > result.offsets[2 * i + 1] || result.offsets[2 * i + 1] > sizeof text - 1) {
                    abort();
                }
            }
        }
        check_decode(tok, scratch, data, size);
    }
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
    return 0;
}
