/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a SentencePiece model, in both layouts; one that loads also encodes a text and decodes ids. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check_decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = "Ab a ab\xe2\x96\x81 \xc3\xa9\xcc\x81 \xe4\xb8\xad<unk> \xff  ";
    const tkr_tok_options layouts[] = {{.spm_layout = TKR_TOK_SPM_PLAIN}, {.spm_layout = TKR_TOK_SPM_FAIRSEQ}};
    for (int i = 0; i < 2; i++) {
        tkr_tok *tok = NULL;
        tkr_tok_scratch *scratch = NULL;
        tkr_error error = {.status = TKR_OK};
        const tkr_status status = tkr_tok_load_spm(&tok, (const char *)data, size, "fuzz", &layouts[i], &error);
        if ((status == TKR_OK) != (tok != NULL) || (status != TKR_OK && error.message[0] == '\0')) {
            abort();
        }
        if (status == TKR_OK && tkr_tok_scratch_create(&scratch, tok, &error) == TKR_OK) {
            const tkr_tok_request request = {
                .text = text, .n_text = sizeof text - 1, .special_tokens = true, .want_offsets = true};
            tkr_tok_result result;
            if (tkr_tok_encode(&result, tok, scratch, &request, &error) != TKR_OK) {
                abort();
            }
            for (size_t k = 0; k < result.n; k++) {
                if (result.ids[k] < 0 || (size_t)result.ids[k] >= tkr_tok_vocab_size(tok) ||
                    result.offsets[2 * k + 1] > sizeof text - 1) {
                    abort();
                }
            }
            check_decode(tok, scratch, data, size);
        }
        tkr_tok_scratch_free(&scratch);
        tkr_tok_free(&tok);
    }
    return 0;
}
