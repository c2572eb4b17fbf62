/* SPDX-License-Identifier: Apache-2.0 */
/* server/http_head: the head of an HTTP/1.1 request (RFC 9112), read strictly: where the RFC lets a server be lenient,
 * this one isn't, since what two readers understand differently smuggles requests. A pure function of bytes. */
#ifndef TKR_SERVER_HTTP_HEAD_H
#define TKR_SERVER_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TKR_HTTP_MAX_FIELDS = 100 };

typedef struct tkr_http_span {
    uint32_t at, size; /* offset into the head, bytes */
} tkr_http_span;

typedef struct tkr_http_head {
    tkr_http_span method, path, query; /* path: "/..." (valid percent-encoding) or "*" */
    uint32_t n_fields;
    unsigned minor; /* of HTTP/1.x: 0 or 1 */
    int64_t length; /* Content-Length; -1: none */
    bool chunked, keep_alive;
    bool expect;    /* 100-continue */
    bool upgrade;   /* "Connection: upgrade" and "Upgrade: websocket" */
    bool websocket; /* upgrade, and the handshake is right (RFC 6455, 4.2.1) */
    bool version13; /* Sec-WebSocket-Version is 13 */
    struct {
        tkr_http_span name, value; /* value without blanks around it */
    } fields[TKR_HTTP_MAX_FIELDS];
    const char *why; /* it was refused */
} tkr_http_head;

/* Looks for a head at the start of bytes[n]. Returns its size; 0: not complete yet; below 0: refused, minus the status
 * (400, 417, 431, 501, 505) and head->why. *scanned (0 at first) remembers between calls with the same bytes and more
 * how far was searched. Heads above max bytes are refused. */
int tkr_http_head_read(tkr_http_head *head, size_t *scanned, const char *bytes, size_t n, size_t max);

/* Whether a comma-separated list of tokens holds one, in any case. */
bool tkr_http_list_has(const char *value, size_t size, const char *token);
/* Decodes %XX in place (which tkr_http_head_read found valid); returns the new size. */
size_t tkr_http_percent_decode(char *text, size_t size);
/* May stand in a token (a method, a field's name). */
bool tkr_http_is_token(uint8_t c);
/* May stand in a field's value. */
bool tkr_http_is_value(uint8_t c);

#endif
