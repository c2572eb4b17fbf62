/* SPDX-License-Identifier: Apache-2.0 */
/* routes/page: the page at "/", one file of its own that asks nobody else for anything. */
#include <stdio.h>
#include <string.h>

#include "core/sync.h"
#include "server/operation.h"
#include "server/web/page.h"

#define MARK "{{nonce}}"

/* Copies the page with the nonce in the places of its marks. */
static bool put_page(tkr_buf *out, const char *nonce) {
    const char *at = (const char *)tkr_page_html, *end = at + tkr_page_html_size;
    if (!tkr_buf_reserve(out, tkr_page_html_size)) return false;
    for (const char *mark; (mark = strstr(at, MARK)) != NULL; at = mark + sizeof MARK - 1) {
        tkr_buf_append(out, at, (size_t)(mark - at));
        tkr_buf_append(out, nonce, strlen(nonce));
    }
    return tkr_buf_append(out, at, (size_t)(end - at));
}

/* Scripts and styles run by a nonce that nobody else's markup can know. */
static bool answer_page(tkr_operation *op) {
    uint64_t random[2];
    char nonce[33];
    if (!tkr_random_bytes(random, sizeof random)) return tkr_refuse(op, INTERNAL, NULL, "no random numbers");
    (void)snprintf(nonce, sizeof nonce, "%016llx%016llx", (unsigned long long)random[0], (unsigned long long)random[1]);
    op->response->status = 200;
    op->response->content_type = tkr_handler_page.content_type;
    tkr_http_add_field(
        op->response, "Content-Security-Policy",
        "default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; img-src 'self' data: blob:; media-src blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        nonce, nonce);
    tkr_http_add_field(op->response, "Cache-Control", "no-store");
    tkr_http_add_field(op->response, "Referrer-Policy", "no-referrer");
    return put_page(&op->response->body, nonce) || tkr_refuse(op, INTERNAL, NULL, "no memory for the page");
}

const tkr_handler tkr_handler_page = {.name = "page",
                                      .api = &tkr_api_plain,
                                      .body = TKR_BODY_NONE,
                                      .parse = answer_page,
                                      .content_type = "text/html; charset=utf-8",
                                      .response_schema = "{\"type\":\"string\"}"};
