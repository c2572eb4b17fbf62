/* SPDX-License-Identifier: Apache-2.0 */
/* server/logging: the server's log: one line an event, readable or JSON, to standard error or a file that SIGHUP opens
 * again. Never holds texts, keys or picture bytes. A full disk loses lines, never requests. */
#ifndef TKR_SERVER_LOGGING_H
#define TKR_SERVER_LOGGING_H

#include "core/log.h"
#include "server/operation.h"

typedef struct tkr_logging tkr_logging;
/* Returns a log. */
tkr_status tkr_logging_open(tkr_logging **logging, const tkr_settings *settings, tkr_error *error);
void tkr_logging_close(tkr_logging **logging);
/* For the library, the transport and the rest: thread-safe. */
tkr_log tkr_logging_hook(tkr_logging *logging);
/* A line for an answered request (level info; 5xx: error): method, path, status, request id, key's name, peer, bytes,
 * inputs, tokens, timings. op may be NULL: then only what x says. */
void tkr_logging_request(tkr_logging *logging, const tkr_operation *op, const tkr_http_request *request,
                         unsigned status, size_t n_bytes, double total_s);
/* Waits until what was logged so far is written, for `seconds` at most. */
void tkr_logging_flush(tkr_logging *logging, double seconds);
/* Opens the file again (log rotation); where that fails it goes on in the old one. */
tkr_status tkr_logging_reopen(tkr_logging *logging, tkr_error *error);

#endif
