/* SPDX-License-Identifier: Apache-2.0 */
/* server/pipeline: moves an operation through its steps: body -> handler's parse -> cache and pictures -> scheduler ->
 * handler's render; on the loop's thread where that is short, else on the crew's. */
#ifndef TKR_SERVER_PIPELINE_H
#define TKR_SERVER_PIPELINE_H

#include "server/operation.h"

/* Makes an operation that no HTTP exchange carries: a message on a WebSocket. Copies what it needs of `request` (the
 * one that opened it), retains `identity`, takes `body`. Its response is its own. NULL without memory (`body` is then
 * released). */
tkr_operation *tkr_operation_create(tkr_server *server, const tkr_http_request *request, const tkr_identity *identity,
                                    const tkr_handler *handler, json_t *body);
/* Of one made by tkr_operation_create, after `finished`. */
void tkr_operation_free(tkr_operation **op);

/* Leads to one call of `finished`, now or later, from any thread: then op->response is complete (its status may be an
 * error's). With op->body set that is the body; else op->request's. */
void tkr_pipeline_start(tkr_operation *op, void (*finished)(tkr_operation *op));
/* The answer isn't wanted any more: stop soon. From any thread, between start and `finished`'s return. */
void tkr_pipeline_cancel(tkr_operation *op);
/* Writes op->fault into op->response in the API's shape, with Retry-After where it belongs. */
void tkr_operation_fail(tkr_operation *op);
/* Frees what only work and answer need, once that is written: pictures, results, the body. */
void tkr_operation_shrink(tkr_operation *op);
/* Releases model, identity, body and results; the arena is its owner's. */
void tkr_operation_end(tkr_operation *op);

#endif
