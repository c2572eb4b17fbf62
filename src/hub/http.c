/* SPDX-License-Identifier: Apache-2.0 */
/* hub/http: one GET over libcurl, redirects followed by hand. Refuses to show the token to any host but the endpoint.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/hub_internal.h"

enum { MAX_HOPS = 10, MAX_ERROR_BODY = 1 << 20, CONNECT_TIMEOUT_S = 10 };
#define REPORT_INTERVAL_S 0.05

/* One hop, as the callbacks see it. */
typedef struct hop {
    tkr_hub_client *client;
    const tkr_hub_request *request;
    tkr_hub_response *response;
    tkr_error *error;
    curl_off_t last_bytes;
    double last_change;
    uint64_t discarded;
    bool begun, cancelled, stalled;
} hop;

tkr_status tkr_hub_client_open(tkr_hub_client *client, const tkr_hub_settings *settings, const tkr_hub_options *options,
                               const tkr_hub_tuning *tuning, tkr_error *error) {
    *client = (tkr_hub_client){.settings = settings, .options = options, .tuning = *tuning};
    if (client->tuning.stall_s <= 0.0) {
        client->tuning.stall_s = settings->stall_s;
    }
    double now = tkr_now() * 1e6;
    client->random_state = (uint64_t)(now > 0.0 ? now : 0.0) * 2654435761u + (uint64_t)(uintptr_t)client + 1;
    client->global = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    client->curl = client->global ? curl_easy_init() : NULL;
    if (client->curl == NULL) {
        tkr_hub_client_close(client);
        return TKR_FAIL(error, NO_MEMORY, "libcurl could not start");
    }
    return TKR_OK;
}

void tkr_hub_client_close(tkr_hub_client *client) {
    if (client->curl != NULL) {
        curl_easy_cleanup(client->curl);
    }
    if (client->global) {
        curl_global_cleanup();
    }
    *client = (tkr_hub_client){0};
}

tkr_status tkr_hub_report(tkr_hub_client *client, const char *label, uint64_t done, uint64_t total, bool now,
                          tkr_error *error) {
    double time = tkr_now();
    if (client->options->progress == NULL || (!now && time - client->last_report < REPORT_INTERVAL_S)) {
        return TKR_OK;
    }
    client->last_report = time;
    if (client->options->progress(client->options->progress_user, label, done, total) != 0) {
        return TKR_FAIL(error, CANCELLED, "download of %.200s cancelled; it goes on from there next time", label);
    }
    return TKR_OK;
}

tkr_status tkr_hub_wait(tkr_hub_client *client, double seconds, const char *label, uint64_t done, uint64_t total,
                        tkr_error *error) {
    double end = tkr_now() + seconds;
    double left = seconds;
    while (left > 0.0) {
        tkr_status status = tkr_hub_report(client, label, done, total, false, error);
        if (status != TKR_OK) {
            return status;
        }
        tkr_sleep(left < 0.1 ? left : 0.1);
        left = end - tkr_now();
    }
    return TKR_OK;
}

/* 0.5 to 1: two programs that failed together should not come back together. */
static double jitter(tkr_hub_client *client) {
    client->random_state ^= client->random_state << 13;
    client->random_state ^= client->random_state >> 7;
    client->random_state ^= client->random_state << 17;
    return 0.5 + 0.5 * (double)(client->random_state >> 11) * 0x1p-53;
}

tkr_status tkr_hub_retry(tkr_hub_client *client, unsigned *failures, const tkr_hub_request *request,
                         const tkr_hub_response *response, tkr_error *error) {
    double seconds = client->tuning.backoff_s;
    for (unsigned i = 0; i < *failures && seconds < client->tuning.backoff_max_s; i++) {
        seconds *= 2.0;
    }
    *failures += response->no_connection ? 2 : 1; /* no network at all: don't keep a person waiting */
    if (*failures >= client->tuning.attempts) {
        return TKR_FAIL(error, NETWORK, "%.200s: %s; gave up after several attempts, try again later (it resumes)",
                        request->label, response->reason);
    }
    seconds = (seconds < client->tuning.backoff_max_s ? seconds : client->tuning.backoff_max_s) * jitter(client);
    if (response->retry_after >= 0.0) {
        seconds = response->retry_after;
        seconds = seconds < client->tuning.retry_after_max_s ? seconds : client->tuning.retry_after_max_s;
    }
    tkr_log_line(&client->options->log, TKR_LOG_WARNING, "%s: %s; next attempt in %.1f s", request->label,
                 response->reason, seconds);
    return tkr_hub_wait(client, seconds, request->label, request->done != NULL ? *request->done : 0, request->total,
                        error);
}

bool tkr_hub_put_escaped(tkr_buf *out, const char *text, bool keep_slash) {
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
                     strchr("-._~", *c) != NULL || (keep_slash && *c == '/');
        if (!(plain ? tkr_buf_putc(out, (char)*c) : tkr_buf_printf(out, "%%%02X", (unsigned)*c))) {
            return false;
        }
    }
    return true;
}

bool tkr_hub_same_origin(const char *a, const char *b) {
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
    CURLU *left = curl_url(), *right = curl_url();
    bool same = left != NULL && right != NULL && curl_url_set(left, CURLUPART_URL, a, 0) == CURLUE_OK &&
                curl_url_set(right, CURLUPART_URL, b, 0) == CURLUE_OK;
    for (size_t i = 0; same && i < sizeof parts / sizeof parts[0]; i++) {
        char *x = NULL, *y = NULL;
        same = curl_url_get(left, parts[i], &x, CURLU_DEFAULT_PORT) == CURLUE_OK &&
               curl_url_get(right, parts[i], &y, CURLU_DEFAULT_PORT) == CURLUE_OK && curl_strequal(x, y) != 0;
        curl_free(x);
        curl_free(y);
    }
    curl_url_cleanup(left);
    curl_url_cleanup(right);
    return same;
}

/* ---- callbacks ---- */

static int on_progress(void *user, curl_off_t total, curl_off_t done, curl_off_t up_total, curl_off_t up) {
    hop *here = user;
    const tkr_hub_request *request = here->request;
    (void)total;
    (void)up_total;
    (void)up;
    double now = tkr_now();
    if (done != here->last_bytes) {
        here->last_bytes = done;
        here->last_change = now;
    } else if (now - here->last_change > here->client->tuning.stall_s) {
        here->stalled = true;
        return 1;
    }
    uint64_t bytes = request->done != NULL ? *request->done : 0;
    here->cancelled = tkr_hub_report(here->client, request->label, bytes, request->total, false, here->error) != TKR_OK;
    return here->cancelled ? 1 : 0;
}

/* The value when `line` (not terminated) is this header, without white space around it. */
static bool header_value(char *out, size_t out_size, const char *line, size_t n, const char *name) {
    size_t m = strlen(name);
    if (n <= m || line[m] != ':' || curl_strnequal(line, name, m) == 0) {
        return false;
    }
    for (m++; m < n && (line[m] == ' ' || line[m] == '\t'); m++) {
    }
    while (n > m && (unsigned char)line[n - 1] <= ' ') {
        n--;
    }
    size_t length = n - m < out_size - 1 ? n - m : out_size - 1;
    memcpy(out, line + m, length);
    out[length] = '\0';
    return true;
}

static bool to_number(uint64_t *out, const char *text, const char **end) {
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value)) {
            return false;
        }
    }
    *out = value;
    *end = at;
    return at != text;
}

static size_t on_header(char *line, size_t size, size_t count, void *user) {
    hop *here = user;
    char value[80] = "";
    const char *end = NULL;
    uint64_t number = 0;
    size_t n = size * count;
    if (n >= 5 && memcmp(line, "HTTP/", 5) == 0) { /* a new answer begins (100 Continue came before) */
        here->response->content_length = here->response->range_start = UINT64_MAX;
        here->response->error_code[0] = '\0';
    } else if (header_value(value, sizeof value, line, n, "Content-Length")) {
        if (to_number(&number, value, &end) && *end == '\0') {
            here->response->content_length = number;
        }
    } else if (header_value(value, sizeof value, line, n, "Content-Range")) {
        if (strncmp(value, "bytes ", 6) == 0 && to_number(&number, value + 6, &end) && *end == '-') {
            here->response->range_start = number;
        }
    } else if (header_value(value, sizeof here->response->error_code, line, n, "X-Error-Code")) {
        memcpy(here->response->error_code, value, sizeof here->response->error_code);
    }
    return n;
}

static bool begin_body(hop *here) {
    if (!here->begun) {
        here->begun = true;
        here->response->stopped = !here->request->begin(here->request->user, here->response);
    }
    return !here->response->stopped;
}

static size_t on_body(char *data, size_t size, size_t count, void *user) {
    hop *here = user;
    size_t n = size * count;
    if (curl_easy_getinfo(here->client->curl, CURLINFO_RESPONSE_CODE, &here->response->code) != CURLE_OK) {
        return 0;
    }
    if (here->response->code != 200 && here->response->code != 206) {
        here->discarded += n;
        return here->discarded <= MAX_ERROR_BODY ? n : 0; /* an error page needs no more */
    }
    if (!begin_body(here)) {
        return 0;
    }
    here->response->stopped = !here->request->write(here->request->user, data, n);
    return here->response->stopped ? 0 : n;
}

/* ---- one hop ---- */

static bool add_header(struct curl_slist **list, const char *text) {
    struct curl_slist *longer = curl_slist_append(*list, text);
    *list = longer != NULL ? longer : *list;
    return longer != NULL;
}

static tkr_status set_headers(struct curl_slist **list, const hop *here, const char *url, tkr_error *error) {
    const tkr_hub_settings *settings = here->client->settings;
    char text[64];
    bool good = add_header(list, "User-Agent: tkr-embed/" TKR_STRINGIFY(TKR_VERSION_MAJOR) "." TKR_STRINGIFY(
                                     TKR_VERSION_MINOR) "." TKR_STRINGIFY(TKR_VERSION_PATCH)) &&
                add_header(list, "Accept-Encoding: identity"); /* sizes and hashes are of the plain bytes */
    if (good && here->request->range_from > 0) {
        (void)snprintf(text, sizeof text, "Range: bytes=%llu-", (unsigned long long)here->request->range_from);
        good = add_header(list, text);
    }
    if (good && settings->token != NULL && tkr_hub_same_origin(url, settings->endpoint)) {
        tkr_buf line = {0};
        good = tkr_buf_printf(&line, "Authorization: Bearer %s", settings->token) && add_header(list, line.data);
        if (line.data != NULL) {
            memset(line.data, 0, line.size);
        }
        tkr_buf_free(&line);
    }
    return good ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "out of memory");
}

static bool set_options(CURL *curl, hop *here, const char *url, struct curl_slist *headers, char *text) {
    curl_easy_reset(curl); /* keeps connections */
    bool good = curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK;
#if LIBCURL_VERSION_NUM >= 0x075500
    good = good && curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
#else
    good = good && curl_easy_setopt(curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS)) == CURLE_OK;
#endif
    if (good && here->client->settings->ca_bundle != NULL) {
        good = curl_easy_setopt(curl, CURLOPT_CAINFO, here->client->settings->ca_bundle) == CURLE_OK;
    }
    /* A hint: libcurl 7.88 refuses it on a handle whose last request failed before it got a connection. */
    (void)curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L * 1024L);
    return good && curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_XFERINFODATA, here) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_HEADERDATA, here) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEDATA, here) == CURLE_OK;
}

/* Sorts what libcurl says into: final, worth another attempt, or fine. */
static tkr_status classify(const hop *here, CURLcode result, const char *text, tkr_error *error) {
    tkr_hub_response *response = here->response;
    const char *reason = text[0] != '\0' ? text : curl_easy_strerror(result);
    if (here->cancelled) {
        return TKR_CANCELLED; /* the report filled *error */
    }
    if (response->stopped || result == CURLE_OK) {
        return TKR_OK;
    }
    if (here->discarded > MAX_ERROR_BODY) {
        return TKR_OK; /* the status is known; the rest of the page is of no use */
    }
    response->transient = true;
    response->no_connection = result == CURLE_COULDNT_RESOLVE_HOST || result == CURLE_COULDNT_CONNECT ||
                              result == CURLE_COULDNT_RESOLVE_PROXY;
    if (here->stalled) {
        (void)snprintf(response->reason, sizeof response->reason, "no byte came for %.0f s",
                       here->client->tuning.stall_s);
        return TKR_OK;
    }
    (void)snprintf(response->reason, sizeof response->reason, "%.150s", reason);
    switch (result) {
    case CURLE_OUT_OF_MEMORY: return TKR_FAIL(error, NO_MEMORY, "out of memory");
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_TOO_MANY_REDIRECTS: return TKR_FAIL(error, NETWORK, "%.200s: %.200s", here->request->label, reason);
    default: return TKR_OK;
    }
}

/* Performs one request. *next is set to a new string when the answer is a redirect. */
static tkr_status do_hop(tkr_hub_client *client, const tkr_hub_request *request, const char *url, char **next,
                         tkr_hub_response *response, tkr_error *error) {
    hop here = {.client = client, .request = request, .response = response, .error = error, .last_change = tkr_now()};
    char text[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = NULL;
    tkr_status status = set_headers(&headers, &here, url, error);
    *response = (tkr_hub_response){.retry_after = -1.0, .content_length = UINT64_MAX, .range_start = UINT64_MAX};
    if (status == TKR_OK && !set_options(client->curl, &here, url, headers, text)) {
        status = TKR_FAIL(error, NO_MEMORY, "libcurl could not prepare the request");
    }
    if (status == TKR_OK) {
        CURLcode result = curl_easy_perform(client->curl);
        (void)curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &response->code);
        if (result == CURLE_OK && (response->code == 200 || response->code == 206)) {
            (void)begin_body(&here);
        }
        status = classify(&here, result, text, error);
    }
    char *target = NULL;
    if (status == TKR_OK && response->code >= 300 && response->code < 400 &&
        curl_easy_getinfo(client->curl, CURLINFO_REDIRECT_URL, &target) == CURLE_OK && target != NULL) {
        *next = tkr_strdup(target);
        status = *next != NULL ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    curl_off_t wait = 0;
    if (curl_easy_getinfo(client->curl, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK && wait > 0) {
        response->retry_after = (double)wait;
    }
    (void)curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, NULL);
    (void)curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, NULL);
    curl_slist_free_all(headers);
    if (status == TKR_OK && !response->transient && !response->stopped &&
        (response->code == 429 || response->code == 408 || (response->code >= 500 && response->code != 501))) {
        response->transient = true;
        (void)snprintf(response->reason, sizeof response->reason, "the server answered %ld%s", response->code,
                       response->code == 429 ? " (too many requests)" : "");
    }
    return status;
}

tkr_status tkr_hub_redirect_check(const char *from, const char *to, bool has_token, const char *label,
                                  tkr_error *error) {
    bool https = strncmp(to, "https://", 8) == 0;
    /* Addresses of a content network hold signatures: they stay out of messages. */
    if (!https && strncmp(to, "http://", 7) != 0) {
        return TKR_FAIL(error, DENIED, "%.200s: redirected to something that is not http or https", label);
    }
    if (!https && has_token && strncmp(from, "https://", 8) == 0) {
        return TKR_FAIL(error, DENIED, "%.200s: redirected from https to http, refused while a token is set", label);
    }
    return TKR_OK;
}

tkr_status tkr_hub_http_get(tkr_hub_client *client, const tkr_hub_request *request, tkr_hub_response *response,
                            tkr_error *error) {
    char *url = tkr_strdup(request->url), *next = NULL;
    if (url == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    tkr_status status = TKR_OK;
    for (unsigned hops = 0; status == TKR_OK; hops++) {
        next = NULL;
        status = do_hop(client, request, url, &next, response, error);
        if (status != TKR_OK || next == NULL) {
            break;
        }
        status = hops < MAX_HOPS
                     ? tkr_hub_redirect_check(url, next, client->settings->token != NULL, request->label, error)
                     : TKR_FAIL(error, NETWORK, "%.200s: more than %d redirects", request->label, (int)MAX_HOPS);
        tkr_free(url);
        url = next;
        next = NULL;
    }
    tkr_free(next);
    tkr_free(url);
    return status;
}

tkr_status tkr_hub_http_fail(const tkr_hub_client *client, const tkr_hub_response *response, const tkr_hub_ref *ref,
                             const char *path, tkr_error *error) {
    const tkr_hub_settings *settings = client->settings;
    const char *id = ref->repository;
    long code = response->code;
    if (strcmp(response->error_code, "GatedRepo") == 0 || code == 403) {
        return TKR_FAIL(error, DENIED,
                        "%s is gated: accept its terms at %.80s/%s, then set HF_TOKEN to a token of that account%s%s%s",
                        id, settings->endpoint, id, settings->token != NULL ? " (the token from " : "",
                        settings->token != NULL ? settings->token_source : "",
                        settings->token != NULL ? " has no access)" : "");
    }
    if (code == 401 && settings->token != NULL) {
        return TKR_FAIL(error, DENIED,
                        "%s: the server refuses the token from %s, or there is no such repository for it", id,
                        settings->token_source);
    }
    if (code == 401) {
        return TKR_FAIL(error, DENIED,
                        "%s: no such repository at %.80s, or a private or gated one; check the name, or set HF_TOKEN",
                        id, settings->endpoint);
    }
    if (code == 404 && path != NULL) {
        return TKR_FAIL(error, NOT_FOUND, "%s@%s: the server lists %.120s but has no such file", id, ref->revision,
                        path);
    }
    if (code == 404 && strcmp(response->error_code, "RevisionNotFound") == 0) {
        return TKR_FAIL(error, NOT_FOUND, "%s has no revision \"%s\"", id, ref->revision);
    }
    if (code == 404) {
        return TKR_FAIL(error, NOT_FOUND, "%s@%s: not found at %.80s; check the name", id, ref->revision,
                        settings->endpoint);
    }
    return TKR_FAIL(error, NETWORK, "%s%s%.120s: the server answered %ld", id, path != NULL ? ": " : "",
                    path != NULL ? path : "", code);
}
