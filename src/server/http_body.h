/* SPDX-License-Identifier: Apache-2.0 */
/* server/http_body: content codings: bodies of requests are decompressed while they arrive, answers compressed. */
#ifndef TKR_SERVER_HTTP_BODY_H
#define TKR_SERVER_HTTP_BODY_H

#include "core/mem.h"

typedef enum tkr_http_coding {
    TKR_CODING_IDENTITY,
    TKR_CODING_GZIP,
    TKR_CODING_DEFLATE, /* zlib's format, as RFC 9110 has it */
    TKR_CODING_ZSTD,
    TKR_CODING_UNKNOWN
} tkr_http_coding;

/* What the transport reads, as a value of Accept-Encoding. */
#define TKR_HTTP_CODINGS "gzip, deflate, zstd"

/* Of a Content-Encoding; NULL: identity. More than one coding is unknown. */
tkr_http_coding tkr_http_coding_of(const char *content_encoding);
/* The best of zstd, gzip and identity that an Accept-Encoding takes; NULL: identity. */
tkr_http_coding tkr_http_coding_accepted(const char *accept_encoding);
/* "gzip" */
const char *tkr_http_coding_name(tkr_http_coding coding);

typedef struct tkr_http_decoder tkr_http_decoder;
/* For GZIP, DEFLATE and ZSTD; NULL without memory. */
tkr_http_decoder *tkr_http_decoder_new(tkr_http_coding coding);
/* Appends what bytes[n] decompress to. Returns 0; 400: damaged; 413: out would exceed max bytes; 500: no memory. */
unsigned tkr_http_decode(tkr_http_decoder *decoder, tkr_buf *out, size_t max, const char *bytes, size_t n);
/* The compressed data has ended where it should. */
bool tkr_http_decoder_done(const tkr_http_decoder *decoder);
void tkr_http_decoder_free(tkr_http_decoder **decoder);

/* Replaces *out by the data, compressed by GZIP or ZSTD. false without memory or when it isn't smaller. */
bool tkr_http_compress(tkr_buf *out, tkr_http_coding coding, const char *data, size_t size);

#endif
