/* SPDX-License-Identifier: Apache-2.0 */
/* routes/docs_text: the style and the texts of GET /docs. */
#ifndef TKR_SERVER_ROUTES_DOCS_TEXT_H
#define TKR_SERVER_ROUTES_DOCS_TEXT_H

/* The whole of the page's <style>, and pieces of HTML. */
extern const char tkr_docs_style[], tkr_docs_intro[], tkr_docs_web_socket[];

#endif
