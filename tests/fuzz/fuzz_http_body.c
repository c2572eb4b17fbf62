/* SPDX-License-Identifier: Apache-2.0 */
/* Compressed bodies: damaged ones and bombs stay within the limit; what we compress comes back. */
#include <stdlib.h>
#include <string.h>

#include "server/http_body.h"

enum { MAX = 1 << 20 };

static void demand(bool condition) {
    if (!condition) abort();
}

static unsigned decode(tkr_buf *out, bool *done, tkr_http_coding coding, const char *bytes, size_t size, size_t step) {
    tkr_http_decoder *decoder = tkr_http_decoder_new(coding);
    demand(decoder != NULL);
    unsigned status = 0;
    for (size_t at = 0; at < size && status == 0; at += step)
        status = tkr_http_decode(decoder, out, MAX, bytes + at, size - at < step ? size - at : step);
    demand(status == 0 || status == 400 || status == 413);
    demand(out->size <= MAX + 1 && (status != 0 || out->size <= MAX));
    *done = tkr_http_decoder_done(decoder);
    tkr_http_decoder_free(&decoder);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    static const tkr_http_coding codings[] = {TKR_CODING_GZIP, TKR_CODING_DEFLATE, TKR_CODING_ZSTD};
    const tkr_http_coding coding = codings[data[0] % 3];
    const char *bytes = (const char *)data + 1;
    tkr_buf whole = {0}, cut = {0}, small = {0};
    bool whole_done = false, cut_done = false;
    const unsigned status = decode(&whole, &whole_done, coding, bytes, size - 1, size);
    const unsigned again = decode(&cut, &cut_done, coding, bytes, size - 1, data[0] / 3 + 1u);
    if (status == 0 && whole_done) { /* what isn't whole may be found damaged sooner or later */
        demand(again == 0 && whole_done == cut_done && whole.size == cut.size);
        demand(whole.size == 0 || memcmp(whole.data, cut.data, whole.size) == 0);
    }
    whole.size = 0;
    if (coding != TKR_CODING_DEFLATE && tkr_http_compress(&small, coding, bytes, size - 1)) {
        demand(small.size < size - 1);
        demand(decode(&whole, &whole_done, coding, small.data, small.size, 7) == 0 && whole_done);
        demand(whole.size == size - 1 && memcmp(whole.data, bytes, size - 1) == 0);
    }
    char text[64] = "";
    memcpy(text, bytes, size - 1 < sizeof text - 1 ? size - 1 : sizeof text - 1);
    demand(tkr_http_coding_accepted(text) <= TKR_CODING_ZSTD && tkr_http_coding_of(text) <= TKR_CODING_UNKNOWN);
    tkr_buf_free(&whole);
    tkr_buf_free(&cut);
    tkr_buf_free(&small);
    return 0;
}
