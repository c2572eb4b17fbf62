/* SPDX-License-Identifier: Apache-2.0 */
/* hub/fetch: one document from a host that the caller named, for inputs that come as URLs. */
#ifndef TKR_HUB_FETCH_H
#define TKR_HUB_FETCH_H

#include <stdbool.h>

#include "core/mem.h"

typedef struct tkr_hub_fetch_options {
    size_t max_bytes;
    const char *const *hosts; /* [n_hosts] "example.org" (its usual ports) or "example.org:8080" */
    size_t n_hosts;
    double timeout_seconds; /* for all of it; 0: 30 */
    bool any_address;       /* for tests: private addresses, too */
} tkr_hub_fetch_options;

/* Appends the document at an http or https URL. Only hosts of the list are asked, at public addresses only (checked on
 * the address of each connection); redirects stay on the host. No proxy, no cookie, no token. */
tkr_status tkr_hub_fetch(tkr_buf *out, const char *url, const tkr_hub_fetch_options *options, tkr_error *error);

#endif
