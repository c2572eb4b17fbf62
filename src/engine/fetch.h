/* SPDX-License-Identifier: Apache-2.0 */
/* engine/fetch: the bytes behind a URL of a picture. */
#ifndef TKR_ENGINE_FETCH_H
#define TKR_ENGINE_FETCH_H

#include "core/mem.h"
#include "tkr/embed.h"

typedef struct tkr_fetch_options {
    size_t max_bytes;
    const char *const *hosts; /* [n_hosts] that may be asked; none: no request is made */
    size_t n_hosts;
} tkr_fetch_options;

/* Appends what a "data:" URL holds, or what an "http:" or "https:" one gives where its host is allowed. */
tkr_status tkr_fetch(tkr_buf *out, const char *url, size_t n_url, const tkr_fetch_options *options, tkr_error *error);

#endif
