/* SPDX-License-Identifier: Apache-2.0 */
/* cli/passages: the passages and pages of documents with their vectors, for embed and search. */
#ifndef TKR_CLI_PASSAGES_H
#define TKR_CLI_PASSAGES_H

#include "cli/stream.h"
#include "engine/tools.h"

/* Reads and cuts a file, or the `bytes` that are there, as the options say, for passages that will be embedded with
 * `embed`; `bytes` must live as long as the document. Ends when a signal has come. Returns a document. */
tkr_status tkr_cli_document_open(tkr_tools_document **document, tkr_buf *bytes, const tkr_cli_args *args,
                                 tkr_model *model, const char *path, tkr_tools_mode mode,
                                 const tkr_embed_options *embed, tkr_error *error);
/* Takes one passage and its vectors, or why it has none. */
typedef tkr_status tkr_cli_passage_fn(void *user, const tkr_tools_passage *passage, const tkr_result_item *row,
                                      tkr_error *error);
/* Embeds all passages and pages, a few at a time, in their order; min_pixels: of pages and pictures, 0: as they are.
 * Stops at what `take` returns but TKR_OK. */
tkr_status tkr_cli_each_passage(const tkr_tools_document *document, tkr_session *session,
                                const tkr_embed_options *options, size_t min_pixels, tkr_cli_passage_fn *take,
                                void *user, tkr_error *error);

#endif
