/* SPDX-License-Identifier: Apache-2.0 */
/* server/trace: spans to an OpenTelemetry collector, OTLP over HTTP as JSON, sent in the background in batches. Losing
 * them never delays a request. */
#ifndef TKR_SERVER_TRACE_H
#define TKR_SERVER_TRACE_H

#include "server/operation.h"

typedef struct tkr_trace tkr_trace;
/* NULL in *trace without an endpoint in the settings. Returns a tracer. */
tkr_status tkr_trace_create(tkr_trace **trace, const tkr_settings *settings, const tkr_log *log, tkr_error *error);
/* Sends what is left for at most a second. */
void tkr_trace_free(tkr_trace **trace);
/* One server span with children (queue, pictures, tokenize, forward) for an ended operation; the request's traceparent
 * header (W3C Trace Context) gives its parent and whether it is sampled. Accepts trace NULL. */
void tkr_trace_operation(tkr_trace *trace, const tkr_operation *op, unsigned status, double total_s);

#endif
