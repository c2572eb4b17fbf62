/* SPDX-License-Identifier: Apache-2.0 */
/* cli/search: what looking at pictures, videos and documents shares; private to the files of search. */
#ifndef TKR_CLI_SEARCH_H
#define TKR_CLI_SEARCH_H

#include "cli/sheet.h"
#include "cli/stream.h"
#include "engine/tools.h"

typedef struct tkr_cli_search {
    const tkr_cli_args *args;
    tkr_model *model;
    tkr_session *session;
    const tkr_model_info *info;
    tkr_embed_options options;
    tkr_cli_files files;
    tkr_cli_videos videos;
    float *query_rows; /* [n_query_rows, dimensions] */
    size_t n_query_rows, dimensions;
    tkr_buf found; /* tkr_cli_hit, [n_hits] */
    size_t n_hits;
    tkr_arena strings; /* of hits */
    bool pages_only;   /* documents without pages are left out: passages aren't comparable with pictures */
    size_t n_left_out;
} tkr_cli_search;

/* ---- cmd_search.c ---- */
/* Cosine, or MaxSim, of a vector with the query's. */
double tkr_cli_score(const tkr_cli_search *search, const tkr_result_item *item);
/* Adds a hit that has its score. */
tkr_status tkr_cli_add_hit(tkr_cli_search *search, const tkr_cli_hit *hit, tkr_error *error);
/* Adds a hit with the score of its vectors, or notes why it has none. */
tkr_status tkr_cli_take_hit(tkr_cli_search *search, tkr_cli_hit *hit, const tkr_result_item *item, tkr_error *error);

/* ---- passages.c ---- */
/* Embeds the pages of a PDF where the model reads pictures, else a document's passages. What can't be read is noted. */
tkr_status tkr_cli_score_document(tkr_cli_search *search, const char *path, tkr_error *error);
tkr_status tkr_cli_page_thumbnail(tkr_buf *png, size_t *width, size_t *height, const tkr_cli_search *search,
                                  const tkr_cli_hit *hit, size_t side, tkr_error *error);

/* ---- moments.c ---- */
/* Embeds the frames of a video, segment by segment: each is a hit with the score of its best frame. What can't be read
 * is noted. */
tkr_status tkr_cli_score_video(tkr_cli_search *search, const char *path, tkr_error *error);
tkr_status tkr_cli_frame_thumbnail(tkr_buf *png, size_t *width, size_t *height, const tkr_cli_search *search,
                                   const tkr_cli_hit *hit, size_t side, tkr_error *error);

#endif
