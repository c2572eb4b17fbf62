/* SPDX-License-Identifier: Apache-2.0 */
/* engine/late: windows of a document's text, and which of their tokens each of its passages has. */
#ifndef TKR_ENGINE_LATE_H
#define TKR_ENGINE_LATE_H

#include "engine/engine.h"
#include "media/chunk.h"

/* What the model reads at a time: some passages in a row, between what stands before and behind them. */
typedef struct tkr_late_window {
    int32_t *ids; /* [n_ids], those around the text included */
    size_t n_ids;
    size_t *spans;   /* [n, 2] the tokens of passages [first, first + n) */
    size_t first, n; /* n > 0 */
} tkr_late_window;
typedef struct tkr_late {
    tkr_late_window *list; /* [n], owned */
    size_t n;
} tkr_late;

typedef struct tkr_late_request {
    const tkr_model *model;
    const tkr_embed_options *options; /* prompt and max_tokens */
    const char *text;
    const tkr_chunks *chunks;
    size_t chunk_tokens; /* most of a passage */
    const tkr_stop *stop;
} tkr_late_request;
/* Each passage is in one window, with all of its tokens. Fills *late. */
tkr_status tkr_late_make(tkr_late *late, const tkr_late_request *request, tkr_error *error);
void tkr_late_free(tkr_late *late);

#endif
