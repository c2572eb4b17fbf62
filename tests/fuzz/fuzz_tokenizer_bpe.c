/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a text for a small byte-level BPE: the direct way and all stages give the same, offsets lie in the text
 * and in order, and a limit gives the beginning of the whole. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../tokenizer/small_bpe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

/* Made once: loading would dominate. */
static tkr_tok *direct, *staged;
static tkr_tok_scratch *with_direct, *with_staged;

static void make(void) {
    tkr_buf json = {0};
    tkr_error error = {.status = TKR_OK};
    CHECK(small_bpe(&json));
    CHECK(tkr_tok_load(&direct, json.data, json.size, "small", NULL, &error) == TKR_OK);
    CHECK(tkr_tok_load(&staged, json.data, json.size, "small", NULL, &error) == TKR_OK);
    CHECK(direct->bytes.tile != NULL);
    staged->bytes.tile = NULL;
    CHECK(tkr_tok_scratch_create(&with_direct, direct, &error) == TKR_OK);
    CHECK(tkr_tok_scratch_create(&with_staged, staged, &error) == TKR_OK);
    tkr_buf_free(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (direct == NULL) {
        make();
    }
    tkr_error error = {.status = TKR_OK};
    tkr_tok_request request = {.text = (const char *)data, .n_text = size, .want_offsets = true};
    tkr_tok_result a, b;
    CHECK(tkr_tok_encode(&a, direct, with_direct, &request, &error) == TKR_OK);
    CHECK(tkr_tok_encode(&b, staged, with_staged, &request, &error) == TKR_OK);
    CHECK(a.n == b.n && a.n == a.n_untruncated);
    for (size_t i = 0; i < a.n; i++) {
        const uint64_t *range = &a.offsets[2 * i];
        CHECK(a.ids[i] == b.ids[i] && range[0] == b.offsets[2 * i] && range[1] == b.offsets[2 * i + 1]);
        CHECK(range[0] <= range[1] && range[1] <= size && (i == 0 || range[1] >= range[-1]));
    }
    request.max_tokens = size > 0 ? 1 + data[0] % 8u : 3;
    CHECK(tkr_tok_encode(&b, staged, with_staged, &request, &error) == TKR_OK);
    CHECK(b.n == (a.n < request.max_tokens ? a.n : request.max_tokens) && b.n_untruncated == a.n);
    CHECK(b.n == 0 || memcmp(a.ids, b.ids, b.n * sizeof *a.ids) == 0);
    return 0;
}
