/* SPDX-License-Identifier: Apache-2.0 */
/* engine/fetch: data URLs are decoded here, others are the hub room's business. Refuses every other scheme. */
#include "engine/fetch.h"

#include <string.h>

#include "core/base64.h"
#include "hub/fetch.h"

static bool has_scheme(const char *url, size_t n, const char *scheme) {
    const size_t length = strlen(scheme);
    if (n < length) return false;
    for (size_t i = 0; i < length; i++) {
        const char c = url[i] >= 'A' && url[i] <= 'Z' ? (char)(url[i] - 'A' + 'a') : url[i];
        if (c != scheme[i]) return false;
    }
    return true;
}

/* data:[<type>][;parameters];base64,<data> (RFC 2397) */
static tkr_status read_data_url(tkr_buf *out, const char *url, size_t n, size_t max_bytes, tkr_error *error) {
    const char *comma = memchr(url, ',', n);
    static const char mark[] = ";base64";
    const size_t n_mark = sizeof mark - 1;
    if (!comma || (size_t)(comma - url) < n_mark || memcmp(comma - n_mark, mark, n_mark) != 0)
        return TKR_FAIL(error, FORMAT, "a data URL must hold base64: \"data:image/png;base64,...\"");
    const size_t left = n - (size_t)(comma + 1 - url);
    if (left / 4 * 3 > max_bytes)
        return TKR_FAIL(error, LIMIT, "a data URL of %zu characters; at most %zu bytes are read", left, max_bytes);
    return tkr_base64_decode(out, comma + 1, left, error);
}

tkr_status tkr_fetch(tkr_buf *out, const char *url, size_t n_url, const tkr_fetch_options *options, tkr_error *error) {
    if (has_scheme(url, n_url, "data:")) return read_data_url(out, url, n_url, options->max_bytes, error);
    const int shown = n_url > 100 ? 100 : (int)n_url;
    if (!has_scheme(url, n_url, "http://") && !has_scheme(url, n_url, "https://"))
        return TKR_FAIL(error, INVALID_ARGUMENT, "\"%.*s\" is no URL that pictures are read from: data, http or https",
                        shown, url);
    char *copy = tkr_strndup(url, n_url);
    if (!copy) return TKR_FAIL(error, NO_MEMORY, "no memory for a URL");
    const tkr_hub_fetch_options request = {
        .max_bytes = options->max_bytes, .hosts = options->hosts, .n_hosts = options->n_hosts};
    tkr_status status = strlen(copy) == n_url ? tkr_hub_fetch(out, copy, &request, error)
                                              : TKR_FAIL(error, INVALID_ARGUMENT, "a URL holds a NUL");
    tkr_free(copy);
    return status;
}
