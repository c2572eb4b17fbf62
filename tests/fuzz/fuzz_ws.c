/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket frames: messages keep their limit, text is UTF-8, and the way the bytes were cut changes nothing. */
#include <stdlib.h>
#include <string.h>

#include "core/utf8.h"
#include "server/ws_reader.h"

enum { MAX = 40000, OTHERS = 1000, PLENTY = 100000, SCARCE = 20000 };

static void demand(bool condition) {
    if (!condition) abort();
}

/* Sums up all events. */
static uint64_t read_all(const char *bytes, size_t size, size_t step, size_t limit) {
    atomic_size_t taken = OTHERS;
    tkr_ws_reader *reader = tkr_ws_reader_new(MAX, &taken, limit);
    demand(reader != NULL);
    uint64_t sum = 1;
    bool ended = false;
    for (size_t at = 0; at < size && !ended; at += step) {
        const char *in = bytes + at;
        size_t n = size - at < step ? size - at : step;
        for (;;) {
            const tkr_ws_event event = tkr_ws_read(reader, &in, &n);
            demand(atomic_load(&taken) <= limit);
            if (event.kind == TKR_WS_NONE) break;
            ended = event.kind == TKR_WS_CLOSE || event.kind == TKR_WS_ERROR;
            demand(ended ? event.code >= 1000 && event.code <= 4999 : event.size <= MAX);
            if (event.kind == TKR_WS_MESSAGE && !event.binary)
                demand(tkr_utf8_valid_prefix(event.data, event.size) == event.size);
            sum = sum * 1099511628211u + (uint64_t)event.kind * 8192 + event.code + event.binary;
            for (size_t i = 0; !ended && i < event.size; i++) sum = sum * 1099511628211u + (uint8_t)event.data[i];
        }
        demand(n == 0);
    }
    tkr_ws_reader_free(&reader);
    demand(atomic_load(&taken) == OTHERS);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *bytes = (const char *)data;
    const uint64_t whole = read_all(bytes, size, SIZE_MAX / 2, PLENTY);
    demand(read_all(bytes, size, 1, PLENTY) == whole);
    demand(read_all(bytes, size, 5, PLENTY) == whole);
    (void)read_all(bytes, size, 4000, SCARCE); /* where it ends depends on the pieces */
    return 0;
}
