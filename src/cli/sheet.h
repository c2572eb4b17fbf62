/* SPDX-License-Identifier: Apache-2.0 */
/* cli/sheet: a contact sheet in one HTML file that needs nothing else. */
#ifndef TKR_CLI_SHEET_H
#define TKR_CLI_SHEET_H

#include "cli/cli.h"

typedef enum tkr_cli_hit_kind {
    TKR_CLI_HIT_IMAGE = 0,
    TKR_CLI_HIT_VIDEO, /* a segment */
    TKR_CLI_HIT_PAGE,  /* drawn */
    TKR_CLI_HIT_TEXT,
    TKR_CLI_HIT_INSIDE /* a picture inside a document */
} tkr_cli_hit_kind;

typedef struct tkr_cli_hit {
    tkr_cli_hit_kind kind;
    const char *path;
    double score;
    const char *text, *heading; /* of a passage: its text; the headings above it or NULL; of a picture inside what is
                                 * said in its place or NULL */
    const char *unit;           /* of a document that has them: "page", "slide", ...; NULL: none */
    size_t page, last_page;     /* from 1 */
    size_t picture;             /* of one inside: its number in the document, from 1 */
    size_t begin, end;          /* of a passage: code points of the document's text */
    double start_s, end_s;      /* of a segment */
    double frame_s;             /* when its best frame is shown */
} tkr_cli_hit;

/* Where in its file a hit is, to read: ", page 3", ", 0:10 to 0:20"; empty for a picture. */
void tkr_cli_hit_place(tkr_buf *out, const tkr_cli_hit *hit);

typedef struct tkr_cli_sheet {
    const char *query;       /* words, or NULL */
    const char *query_image; /* path, or NULL */
    const tkr_cli_hit *hits; /* [n_hits], best first */
    size_t n_hits, n_all;
    const char *what;         /* all are: "pictures" */
    const char *model, *note; /* note: NULL or a line to show */
    bool maxsim;              /* scores are sums of cosines, not cosines */
    /* Appends a PNG thumbnail of a picture, a frame or a page. */
    tkr_status (*thumbnail)(void *user, tkr_buf *png, size_t *width, size_t *height, const tkr_cli_hit *hit,
                            tkr_error *error);
    void *user;
} tkr_cli_sheet;

/* Appends the page. What has no thumbnail is shown by its name and the reason. */
tkr_status tkr_cli_sheet_write(tkr_buf *out, const tkr_cli_sheet *sheet, tkr_error *error);

#endif
