/* SPDX-License-Identifier: Apache-2.0 */
/* server/http_chunk: the chunked transfer coding (RFC 9112, 7.1), read strictly. Extensions and trailers are skipped,
 * of both together at most 1 KiB. A pure function of bytes. */
#ifndef TKR_SERVER_HTTP_CHUNK_H
#define TKR_SERVER_HTTP_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialise. */
typedef struct tkr_http_chunked {
    uint64_t left;  /* bytes of this chunk that are to come */
    uint16_t extra; /* bytes of extensions and trailers */
    uint8_t state;
    uint8_t digits;
} tkr_http_chunked;

/* Reads from bytes[n]. Returns how many it took (at least 1 of n > 0); SIZE_MAX: malformed. piece[n_piece] is body
 * within bytes. Call again with the rest until tkr_http_chunked_done. */
size_t tkr_http_chunked_read(tkr_http_chunked *chunked, const char **piece, size_t *n_piece, const char *bytes,
                             size_t n);
/* The last chunk and the trailers were read. */
bool tkr_http_chunked_done(const tkr_http_chunked *chunked);

#endif
