/* SPDX-License-Identifier: Apache-2.0 */
/* server/metrics: counters and histograms in Prometheus' text format: tkr_* of ours, te_* as Text Embeddings Inference
 * names them. Lock-free on the way in. */
#ifndef TKR_SERVER_METRICS_H
#define TKR_SERVER_METRICS_H

#include "server/operation.h"

typedef struct tkr_metrics tkr_metrics;
tkr_status tkr_metrics_create(tkr_metrics **metrics, tkr_error *error);
void tkr_metrics_free(tkr_metrics **metrics);
/* An operation has ended, over HTTP or a WebSocket: status, timings and inputs are read from it. `total_s` from its
 * first byte to its answer. Transport faults come with op NULL. */
void tkr_metrics_operation(tkr_metrics *metrics, const tkr_operation *op, unsigned status, double total_s);
void tkr_metrics_batch(tkr_metrics *metrics, size_t n_items, size_t n_tokens, double seconds);
/* Appends the page: also what scheduler, cache, models and transport count. */
bool tkr_metrics_write(tkr_buf *out, tkr_metrics *metrics, tkr_server *server);

#endif
