/* SPDX-License-Identifier: Apache-2.0 */
/* server/openapi: this server's routes as OpenAPI 3.1, made from the tables of routes, dialects and handlers. */
#ifndef TKR_SERVER_OPENAPI_H
#define TKR_SERVER_OPENAPI_H

#include "server/operation.h"

/* A handler that a path may lead to: the route's own, or that of one of its dialects. */
typedef struct tkr_meaning {
    const tkr_handler *handler;
    char when[160]; /* what in the body decides for it, to read: "objects in input, task"; "": the route's own */
} tkr_meaning;
enum { TKR_MAX_MEANINGS = 8 };
/* Fills meanings; returns how many. */
size_t tkr_route_meanings(tkr_meaning meanings[TKR_MAX_MEANINGS], const tkr_route *route);
/* A request's body to try, as JSON; NULL: the handler takes none. */
const char *tkr_handler_example(const tkr_handler *handler);
/* "ours", "OpenAI", ... for people. */
const char *tkr_api_title(const tkr_api *api);

/* Appends the document. false without memory. */
bool tkr_openapi_write(tkr_buf *out);

#endif
