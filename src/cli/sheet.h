/* SPDX-License-Identifier: Apache-2.0 */
/* cli/sheet: a contact sheet in one HTML file that needs nothing else. */
#ifndef TKR_CLI_SHEET_H
#define TKR_CLI_SHEET_H

#include "cli/cli.h"

/* A picture, a page or a passage. */
typedef struct tkr_cli_hit {
    const char *path;
    double score;
    const char *text, *heading; /* of a passage: its text; the headings above it or NULL */
    const char *unit;           /* of a document that has them: "page", "slide", ...; NULL: none */
    size_t page;                /* from 1 */
    size_t begin, end;          /* of a passage: code points of the document's text */
    bool is_page;               /* drawn */
} tkr_cli_hit;

typedef struct tkr_cli_sheet {
    const char *query;       /* words, or NULL */
    const char *query_image; /* path, or NULL */
    const tkr_cli_hit *hits; /* [n_hits], best first */
    size_t n_hits, n_files;
    const char *what;         /* n_files are: "pictures" */
    const char *model, *note; /* note: NULL or a line to show */
    bool maxsim;              /* scores are sums of cosines, not cosines */
    /* Appends a PNG thumbnail of a picture or page. */
    tkr_status (*thumbnail)(void *user, tkr_buf *png, size_t *width, size_t *height, const tkr_cli_hit *hit,
                            tkr_error *error);
    void *user;
} tkr_cli_sheet;

/* Appends the page. A picture without a thumbnail is shown by its name and the reason. */
tkr_status tkr_cli_sheet_write(tkr_buf *out, const tkr_cli_sheet *sheet, tkr_error *error);

#endif
