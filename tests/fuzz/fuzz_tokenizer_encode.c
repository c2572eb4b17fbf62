/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a text for a small WordPiece tokenizer: offsets lie in the text and in order, twice is the same, and a
 * limit gives the beginning or the end of the whole. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../tokenizer/small_wordpiece.h"
#include "tokenizer/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

/* Made once: loading would dominate. */
static tkr_tok *tok;
static tkr_tok_scratch *scratch, *other;

static tkr_tok_result encode(tkr_tok_scratch *with, const tkr_tok_request *request) {
    tkr_tok_result result;
    tkr_error error = {.status = TKR_OK};
    CHECK(tkr_tok_encode(&result, tok, with, request, &error) == TKR_OK);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tkr_error error = {.status = TKR_OK};
    if (tok == NULL) {
        CHECK(tkr_tok_load(&tok, SMALL_WORDPIECE, strlen(SMALL_WORDPIECE), "small", NULL, &error) == TKR_OK);
        CHECK(tkr_tok_scratch_create(&scratch, tok, &error) == TKR_OK);
        CHECK(tkr_tok_scratch_create(&other, tok, &error) == TKR_OK);
    }
    tkr_tok_request request = {.text = (const char *)data, .n_text = size, .want_offsets = true};
    const tkr_tok_result whole = encode(scratch, &request);
    CHECK(whole.n == whole.n_untruncated);
    for (size_t i = 0; i < whole.n; i++) {
        const uint64_t *range = &whole.offsets[2 * i];
        CHECK(whole.ids[i] >= 0 && (size_t)whole.ids[i] < tkr_tok_vocab_size(tok));
        CHECK(range[0] < range[1] && range[1] <= size);
        CHECK(i == 0 || (range[0] >= range[-2] && range[1] >= range[-1]));
    }
    tkr_tok_result again = encode(other, &request);
    CHECK(again.n == whole.n);
    CHECK(whole.n == 0 || memcmp(again.ids, whole.ids, whole.n * sizeof *whole.ids) == 0);
    CHECK(whole.n == 0 || memcmp(again.offsets, whole.offsets, whole.n * 2 * sizeof *whole.offsets) == 0);
    const size_t limit = size > 0 ? 1 + data[0] % 8u : 3;
    for (int left = 0; left < 2; left++) {
        request.max_tokens = limit;
        request.truncate = left ? TKR_TRUNCATE_LEFT : TKR_TRUNCATE_RIGHT;
        again = encode(other, &request);
        CHECK(again.n == (whole.n < limit ? whole.n : limit) && again.n_untruncated == whole.n);
        const int32_t *part = left ? whole.ids + (whole.n - again.n) : whole.ids;
        CHECK(again.n == 0 || memcmp(again.ids, part, again.n * sizeof *part) == 0);
    }
    return 0;
}
