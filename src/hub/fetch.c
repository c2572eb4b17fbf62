/* SPDX-License-Identifier: Apache-2.0 */
/* hub/fetch: URLs that come from strangers. Refuses hosts that nobody allowed, addresses inside the network, other
 * hosts behind redirects, and documents that are too large or too slow. */
#include "hub/fetch.h"

#include <stdio.h>
#include <string.h>

#include "core/address.h"
#include "hub/hub_internal.h"

enum { MAX_HOPS = 5, CONNECT_TIMEOUT_S = 10, SHOWN = 120 };
#define TIMEOUT_S 30.0

typedef struct fetch {
    const tkr_hub_fetch_options *options;
    tkr_buf *out;
    size_t begin; /* of the document in `out` */
    bool too_large, inside, no_memory;
} fetch;

/* Called for every address before it is connected to. */
static curl_socket_t open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address) {
    fetch *f = user;
    if (purpose != CURLSOCKTYPE_IPCXN) return CURL_SOCKET_BAD;
    if (!f->options->any_address && !tkr_address_is_public(&address->addr, address->addrlen)) {
        f->inside = true;
        return CURL_SOCKET_BAD;
    }
    return tkr_socket_open(address->family, address->socktype, address->protocol);
}

static size_t on_body(char *data, size_t size, size_t count, void *user) {
    fetch *f = user;
    const size_t n = size * count;
    if (n > f->options->max_bytes - (f->out->size - f->begin)) {
        f->too_large = true;
        return 0;
    }
    f->no_memory = !tkr_buf_append(f->out, data, n);
    return f->no_memory ? 0 : n;
}

/* ---- hosts ---- */

static bool host_is(const char *allowed, const char *host, const char *port, const char *scheme) {
    const size_t n = strlen(host);
    if (curl_strnequal(allowed, host, n) == 0) return false;
    if (allowed[n] == ':') return strcmp(allowed + n + 1, port) == 0;
    return allowed[n] == '\0' && strcmp(port, curl_strequal(scheme, "https") ? "443" : "80") == 0;
}

static tkr_status check_host(CURLU *url, const char *shown, const tkr_hub_fetch_options *o, tkr_error *error) {
    char *host = NULL, *port = NULL, *scheme = NULL;
    bool good = curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK;
    tkr_status status = TKR_OK;
    if (!good || (!curl_strequal(scheme, "http") && !curl_strequal(scheme, "https"))) {
        status = TKR_FAIL(error, INVALID_ARGUMENT, "%.*s: not an http or https URL", SHOWN, shown);
    } else {
        bool allowed = false;
        for (size_t i = 0; i < o->n_hosts && !allowed; i++) allowed = host_is(o->hosts[i], host, port, scheme);
        if (!allowed)
            status =
                TKR_FAIL(error, DENIED, "%.*s: host %.80s, port %.8s isn't allowed; --allow-url names those that are",
                         SHOWN, shown, host, port);
    }
    curl_free(host);
    curl_free(port);
    curl_free(scheme);
    return status;
}

/* ---- one hop ---- */

static bool set_options(CURL *curl, CURLU *url, fetch *f, double seconds, char *text) {
    const long ms = (long)(seconds * 1000);
    bool good = curl_easy_setopt(curl, CURLOPT_CURLU, url) == CURLE_OK;
#if LIBCURL_VERSION_NUM >= 0x075500
    good = good && curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
#else
    good = good && curl_easy_setopt(curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS)) == CURLE_OK;
#endif
    return good && curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_USERAGENT, "tkr-embed") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ms > 1 ? ms : 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)f->options->max_bytes) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, f) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEDATA, f) == CURLE_OK;
}

static tkr_status say(CURLcode result, const fetch *f, const char *text, const char *shown, tkr_error *error) {
    const size_t limit = f->options->max_bytes;
    if (f->inside)
        return TKR_FAIL(error, DENIED, "%.*s: its host has an address that isn't public, which is never asked", SHOWN,
                        shown);
    if (f->too_large || result == CURLE_FILESIZE_EXCEEDED)
        return TKR_FAIL(error, LIMIT, "%.*s: more than %zu bytes", SHOWN, shown, limit);
    if (f->no_memory) return TKR_FAIL(error, NO_MEMORY, "%.*s: no memory for it", SHOWN, shown);
    if (result == CURLE_OPERATION_TIMEDOUT)
        return TKR_FAIL(error, DEADLINE, "%.*s: took longer than %.3g s", SHOWN, shown,
                        f->options->timeout_seconds > 0 ? f->options->timeout_seconds : TIMEOUT_S);
    return TKR_FAIL(error, NETWORK, "%.*s: %.150s", SHOWN, shown, text[0] ? text : curl_easy_strerror(result));
}

/* Makes the request. *next: where a redirect leads, else NULL. */
static tkr_status do_hop(char **next, CURL *curl, CURLU *url, fetch *f, double seconds, const char *shown,
                         tkr_error *error) {
    char text[CURL_ERROR_SIZE] = "";
    long code = 0;
    char *target = NULL;
    f->out->size = f->begin;
    curl_easy_reset(curl);
    if (!set_options(curl, url, f, seconds, text))
        return TKR_FAIL(error, NO_MEMORY, "libcurl could not prepare the request");
    const CURLcode result = seconds > 0 ? curl_easy_perform(curl) : CURLE_OPERATION_TIMEDOUT;
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    if (result != CURLE_OK) return say(result, f, text, shown, error);
    if (code >= 300 && code < 400 && curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &target) == CURLE_OK && target) {
        *next = tkr_strdup(target);
        return *next ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    return code == 200 ? TKR_OK
                       : tkr_error_set(error, TKR_HERE, code == 404 ? TKR_NOT_FOUND : TKR_NETWORK,
                                       "%.*s: the server answered %ld", SHOWN, shown, code);
}

/* A redirect stays on its host and never leaves https. */
static bool may_follow(const char *from, CURLU *to) {
    CURLU *first = curl_url();
    char *a = NULL, *b = NULL, *from_scheme = NULL, *scheme = NULL;
    const bool read = first && curl_url_set(first, CURLUPART_URL, from, 0) == CURLUE_OK &&
                      curl_url_get(first, CURLUPART_HOST, &a, 0) == CURLUE_OK &&
                      curl_url_get(to, CURLUPART_HOST, &b, 0) == CURLUE_OK &&
                      curl_url_get(first, CURLUPART_SCHEME, &from_scheme, 0) == CURLUE_OK &&
                      curl_url_get(to, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK;
    const bool may = read && curl_strequal(a, b) != 0 &&
                     (curl_strequal(from_scheme, scheme) != 0 || curl_strequal(scheme, "https") != 0);
    curl_free(a);
    curl_free(b);
    curl_free(from_scheme);
    curl_free(scheme);
    curl_url_cleanup(first);
    return may;
}

static tkr_status follow(CURL *curl, const char *url, fetch *f, tkr_error *error) {
    const double end = tkr_now() + (f->options->timeout_seconds > 0 ? f->options->timeout_seconds : TIMEOUT_S);
    char *at = NULL, *next = NULL;
    tkr_status status = TKR_OK;
    for (unsigned hops = 0; status == TKR_OK; hops++) {
        CURLU *parsed = curl_url();
        const char *here = at ? at : url;
        next = NULL;
        if (!parsed)
            status = TKR_FAIL(error, NO_MEMORY, "out of memory");
        else if (curl_url_set(parsed, CURLUPART_URL, here, CURLU_DISALLOW_USER) != CURLUE_OK)
            status = TKR_FAIL(error, INVALID_ARGUMENT, "%.*s: not a URL that is read, such as https://host/path", SHOWN,
                              url);
        else if (at && !may_follow(url, parsed))
            status = TKR_FAIL(error, DENIED, "%.*s: redirects to another host, which is not followed", SHOWN, url);
        if (status == TKR_OK) status = check_host(parsed, url, f->options, error);
        if (status == TKR_OK) status = do_hop(&next, curl, parsed, f, end - tkr_now(), url, error);
        curl_url_cleanup(parsed);
        if (status == TKR_OK && next && hops == MAX_HOPS)
            status = TKR_FAIL(error, NETWORK, "%.*s: more than %d redirects", SHOWN, url, (int)MAX_HOPS);
        tkr_free(at);
        at = next;
        if (!next) break;
    }
    tkr_free(at);
    return status;
}

tkr_status tkr_hub_fetch(tkr_buf *out, const char *url, const tkr_hub_fetch_options *options, tkr_error *error) {
    fetch f = {.options = options, .out = out, .begin = out->size};
    if (options->n_hosts == 0)
        return TKR_FAIL(error, DENIED, "%.*s: nothing is fetched unless --allow-url names its host", SHOWN, url);
    const bool global = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    CURL *curl = global ? curl_easy_init() : NULL;
    tkr_status status = curl ? follow(curl, url, &f, error) : TKR_FAIL(error, NO_MEMORY, "libcurl could not start");
    curl_easy_cleanup(curl);
    if (global) curl_global_cleanup();
    return status;
}
