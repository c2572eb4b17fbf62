/* SPDX-License-Identifier: Apache-2.0 */
/* server/pipeline_internal: private to pipeline.c and pipeline_pictures.c: what the steps of an operation share. */
#ifndef TKR_SERVER_PIPELINE_INTERNAL_H
#define TKR_SERVER_PIPELINE_INTERNAL_H

#include <stdatomic.h>

#include "server/cache.h"
#include "server/pipeline.h"

typedef struct tkr_pipeline_picture {
    tkr_part *part; /* becomes RGB */
    size_t item;
    void *pixels;             /* owned, borrowed by the part */
    tkr_tools_frames *frames; /* the same of a video */
    size_t number;            /* of the part in its input */
    tkr_status status;        /* of its decoding; the error tells more of what isn't TKR_OK */
    tkr_error error;
} tkr_pipeline_picture;

/* What the steps of one operation share; in its arena. */
typedef struct tkr_pipeline_run {
    void (*finished)(tkr_operation *op);
    bool on_crew; /* this step may take long */
    atomic_bool cancelled, submitted;
    tkr_cache_key *keys; /* [n_items] */
    bool *keyed;         /* [n_items] the key is there */
    tkr_pipeline_picture *pictures;
    size_t n_pictures;
    atomic_size_t next_picture, tasks_left;
    atomic_size_t pixel_bytes; /* in the server's count */
    atomic_bool no_room;       /* pictures are too large together */
} tkr_pipeline_run;

static inline tkr_pipeline_run *tkr_pipeline_run_of(const tkr_operation *op) { return op->pipeline; }

/* Ends the operation with op->fault. */
void tkr_pipeline_fail(tkr_operation *op);
/* Sets the fault when nobody wants the answer any more. */
bool tkr_pipeline_is_cancelled(tkr_operation *op);
/* "texts[3]" */
void tkr_pipeline_name_item(char out[64], const tkr_operation *op, size_t index);
/* Hands the job to the scheduler, or goes on to the reply when there is nothing to compute. */
void tkr_pipeline_submit(tkr_operation *op);

/* Makes pixels of all encoded pictures that aren't cached, then submits. On the crew. */
void tkr_pipeline_pictures(tkr_operation *op);
size_t tkr_pipeline_count_pictures(const tkr_job *job);
void tkr_pipeline_free_pictures(tkr_operation *op);

#endif
