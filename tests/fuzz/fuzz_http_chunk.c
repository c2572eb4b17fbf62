/* SPDX-License-Identifier: Apache-2.0 */
/* Chunked bodies: whatever comes, pieces lie within what was given, and the way it was cut changes nothing. */
#include <stdlib.h>
#include <string.h>

#include "server/http_chunk.h"

static void demand(bool condition) {
    if (!condition) abort();
}

/* Sums up the body; returns what was taken, SIZE_MAX: malformed. */
static size_t read_all(uint64_t *sum, bool *done, const char *bytes, size_t size, size_t step) {
    tkr_http_chunked chunked = {0};
    size_t at = 0;
    *sum = 1;
    while (at < size && !tkr_http_chunked_done(&chunked)) {
        const char *piece;
        size_t n_piece;
        const size_t given = size - at < step ? size - at : step;
        const size_t used = tkr_http_chunked_read(&chunked, &piece, &n_piece, bytes + at, given);
        if (used == SIZE_MAX) return SIZE_MAX;
        demand(used > 0 && used <= given && n_piece <= used);
        demand(n_piece == 0 || (piece >= bytes + at && piece + n_piece <= bytes + at + used));
        for (size_t i = 0; i < n_piece; i++) *sum = *sum * 1099511628211u + (uint8_t)piece[i];
        at += used;
    }
    *done = tkr_http_chunked_done(&chunked);
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *bytes = (const char *)data;
    uint64_t whole, cut;
    bool whole_done = false, cut_done = false;
    const size_t taken = read_all(&whole, &whole_done, bytes, size, SIZE_MAX);
    for (size_t step = 1; step < 6; step++) {
        demand(read_all(&cut, &cut_done, bytes, size, step) == taken);
        demand(taken == SIZE_MAX || (cut == whole && cut_done == whole_done));
    }
    return 0;
}
