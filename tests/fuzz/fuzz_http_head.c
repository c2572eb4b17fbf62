/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of requests: what is accepted keeps the rules that smuggling breaks, and doesn't depend on how it arrived. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/http_head.h"

enum { MAX = 4096 };

static void demand(bool condition) {
    if (!condition) abort();
}

static bool named(const char *bytes, tkr_http_span span, const char *name) {
    return span.size == strlen(name) && strncasecmp(bytes + span.at, name, span.size) == 0;
}

static void check(const tkr_http_head *head, const char *bytes, size_t size) {
    size_t hosts = 0, lengths = 0, codings = 0;
    demand(head->n_fields <= TKR_HTTP_MAX_FIELDS && head->minor <= 1);
    demand(head->path.size > 0 && (bytes[head->path.at] == '/' || bytes[head->path.at] == '*'));
    demand((size_t)head->query.at + head->query.size <= size && (size_t)head->path.at + head->path.size <= size);
    for (uint32_t i = 0; i < head->n_fields; i++) {
        const tkr_http_span name = head->fields[i].name, value = head->fields[i].value;
        demand(name.size > 0 && bytes[name.at + name.size] == ':' && (size_t)value.at + value.size + 2 <= size);
        for (uint32_t k = 0; k < name.size; k++) demand(tkr_http_is_token((uint8_t)bytes[name.at + k]));
        for (uint32_t k = 0; k < value.size; k++) demand(tkr_http_is_value((uint8_t)bytes[value.at + k]));
        hosts += named(bytes, name, "host");
        lengths += named(bytes, name, "content-length");
        codings += named(bytes, name, "transfer-encoding");
    }
    demand(hosts <= 1 && lengths + codings <= 1 && (hosts == 1 || head->minor == 0));
    demand((lengths == 1) == (head->length >= 0) && (codings == 1) == head->chunked);
    for (size_t i = 0; i + 1 < size; i++) demand((bytes[i] == '\r') == (bytes[i + 1] == '\n'));
    char path[MAX];
    memcpy(path, bytes + head->path.at, head->path.size);
    demand(memchr(path, '\0', tkr_http_percent_decode(path, head->path.size)) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tkr_http_head whole, head;
    size_t scanned = 0;
    char *bytes = malloc(size > 0 ? size : 1); /* exactly so long: reading beyond shows */
    demand(bytes != NULL);
    memcpy(bytes, data, size);
    const int got = tkr_http_head_read(&whole, &scanned, bytes, size, MAX);
    demand(got <= (int)size && got <= MAX);
    if (got > 0) check(&whole, bytes, (size_t)got);
    scanned = 0;
    int again = 0;
    const size_t step = size > 0 ? data[0] % 7 + 1u : 1;
    for (size_t at = step < size ? step : size; again == 0; at = at + step < size ? at + step : size) {
        again = tkr_http_head_read(&head, &scanned, bytes, at, MAX);
        if (at == size) break;
    }
    demand((again > 0) == (got > 0) && (got <= 0 || again == got));
    free(bytes);
    return 0;
}
