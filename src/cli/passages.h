/* SPDX-License-Identifier: Apache-2.0 */
/* cli/passages: the passages and pages of documents with their vectors, for embed and search. */
#ifndef TKR_CLI_PASSAGES_H
#define TKR_CLI_PASSAGES_H

#include "cli/sheet.h"
#include "cli/stream.h"
#include "engine/tools.h"

/* Reads and cuts a file as the options say; `bytes` must live as long as the document. Returns a document. */
tkr_status tkr_cli_document_open(tkr_tools_document **document, tkr_buf *bytes, const tkr_cli_args *args,
                                 tkr_model *model, const char *path, tkr_tools_mode mode, tkr_error *error);
/* Takes one passage and its vectors, or why it has none. */
typedef tkr_status tkr_cli_passage_fn(void *user, const tkr_tools_passage *passage, const tkr_result_item *row,
                                      tkr_error *error);
/* Embeds all passages and pages, a few at a time, in their order. Stops at what `take` returns but TKR_OK. */
tkr_status tkr_cli_each_passage(const tkr_tools_document *document, tkr_session *session,
                                const tkr_embed_options *options, tkr_cli_passage_fn *take, void *user,
                                tkr_error *error);

/* What search finds in documents. */
typedef struct tkr_cli_passages {
    const tkr_cli_args *args;
    tkr_model *model;
    tkr_session *session;
    const tkr_embed_options *options;
    /* Takes a hit and its vectors, which it scores. */
    tkr_status (*take)(void *user, tkr_cli_hit *hit, const tkr_result_item *item, tkr_error *error);
    void *user;
    tkr_cli_files *files; /* that failures go to */
    tkr_arena strings;    /* of hits: free it after them */
    bool pages_only;      /* documents without pages are left out: passages aren't comparable with pictures */
    size_t n_left_out;
} tkr_cli_passages;
/* Embeds the pages of a PDF where the model reads pictures, else a document's passages. What can't be read is noted. */
tkr_status tkr_cli_score_document(tkr_cli_passages *passages, const char *path, tkr_error *error);
tkr_status tkr_cli_page_thumbnail(tkr_buf *png, size_t *width, size_t *height, const tkr_cli_passages *passages,
                                  const tkr_cli_hit *hit, size_t side, tkr_error *error);

#endif
