/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged compiled tokenizers: the input is a list of edits (16 bits of place, 8 of value) of a good one behind its
 * header, whose checksum guards the rest; with a first byte of 0xFF the input itself is mapped. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../tokenizer/small_bpe.h"
#include "../tokenizer/small_wordpiece.h"
#include "check_decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char unigram[] =
    "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"a\",-1],[\"ab\",-1.5],[\"b\",-2]]}}";
static tkr_buf good[3];

static void make(void) {
    tkr_buf json[3] = {{0}};
    if (!small_bpe(&json[0]) || !tkr_buf_append(&json[1], SMALL_WORDPIECE, strlen(SMALL_WORDPIECE)) ||
        !tkr_buf_append(&json[2], unigram, sizeof unigram - 1)) {
        abort();
    }
    for (int i = 0; i < 3; i++) {
        tkr_tok *tok = NULL;
        tkr_error error = {.status = TKR_OK};
        if (tkr_tok_load(&tok, json[i].data, json[i].size, "small", NULL, &error) != TKR_OK ||
            tkr_tok_save(&good[i], tok, &error) != TKR_OK) {
            abort();
        }
        tkr_tok_free(&tok);
        tkr_buf_free(&json[i]);
    }
}

static void map(const char *bytes, size_t size) {
    static const char text[] = "the abab [SEP] \xc3\xa9! aab \xf0\x9f\x98\x80 \xe4\xb8\xad   b's 12\r\n \xff";
    tkr_tok *tok = NULL;
    tkr_tok_scratch *scratch = NULL;
    tkr_error error = {.status = TKR_OK};
    const tkr_status status = tkr_tok_map(&tok, bytes, size, "fuzz", &error);
    if ((status == TKR_OK) != (tok != NULL) || (status != TKR_OK && error.message[0] == '\0')) {
        abort();
    }
    if (status == TKR_OK && tkr_tok_scratch_create(&scratch, tok, &error) == TKR_OK) {
        const tkr_tok_request request = {
            .text = text, .n_text = sizeof text - 1, .special_tokens = true, .want_offsets = true};
        tkr_tok_result result;
        if (tkr_tok_encode(&result, tok, scratch, &request, &error) == TKR_OK) {
            for (size_t i = 0; i < result.n; i++) {
                (void)tkr_tok_piece(tok, result.ids[i]);
                if (result.offsets[2 * i + 1] > sizeof text - 1) {
                    abort();
                }
            }
        }
        check_decode(tok, scratch, (const uint8_t *)bytes, size);
    }
    tkr_tok_scratch_free(&scratch);
    tkr_tok_free(&tok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { HEADER = 256 };
    if (good[0].size == 0) {
        make();
    }
    if (size == 0) {
        return 0;
    }
    const bool raw = data[0] == 0xFF;
    const tkr_buf *base = &good[data[0] % 3];
    const size_t n = raw ? size - 1 : base->size;
    char *bytes = tkr_aligned_alloc(n);
    if (bytes == NULL) {
        return 0;
    }
    memcpy(bytes, raw ? (const char *)data + 1 : base->data, n);
    for (size_t i = 1; i + 3 <= size && !raw; i += 3) {
        const size_t place = (size_t)data[i] << 8 | data[i + 1];
        bytes[HEADER + place % (n - HEADER)] = (char)data[i + 2];
    }
    map(bytes, n);
    tkr_aligned_free(bytes, n);
    return 0;
}
