/* SPDX-License-Identifier: Apache-2.0 */
/* web/page: page.html as bytes; the build makes the source from the file. */
#ifndef TKR_SERVER_WEB_PAGE_H
#define TKR_SERVER_WEB_PAGE_H

#include <stddef.h>

extern const unsigned char tkr_page_html[]; /* NUL behind it */
extern const size_t tkr_page_html_size;

#endif
