/* SPDX-License-Identifier: Apache-2.0 */
/* server/probe: asks a running server whether it is ready: for health checks of containers without a shell. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "server/server.h"

static size_t ignore(char *data, size_t size, size_t n, void *user) {
    (void)data;
    (void)user;
    return size * n;
}

tkr_status tkr_server_probe(const char *url, double seconds, tkr_error *error) {
    char address[1024];
    long code = 0;
    const bool unix_socket = strncmp(url, "unix:", 5) == 0;
    const char *base = unix_socket ? "http://localhost" : url;
    size_t n_base = strlen(base);
    if (n_base > 0 && base[n_base - 1] == '/') n_base--;
    if (n_base > sizeof address) n_base = sizeof address;
    const int n = snprintf(address, sizeof address, "%.*s/health/ready", (int)n_base, base);
    if (n < 0 || (size_t)n >= sizeof address) return TKR_FAIL(error, INVALID_ARGUMENT, "the URL is too long");
    CURL *curl = curl_easy_init();
    if (!curl) return TKR_FAIL(error, NO_MEMORY, "no memory to ask %s", url);
    curl_easy_setopt(curl, CURLOPT_URL, address);
    if (unix_socket) curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, url + 5);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(seconds * 1000));
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    /* Nothing secret is sent and a status is all that is read: a server's own certificate will do. */
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore);
    const CURLcode done = curl_easy_perform(curl);
    if (done == CURLE_OK) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_cleanup(curl);
    if (done != CURLE_OK) return TKR_FAIL(error, NETWORK, "%s: %s", url, curl_easy_strerror(done));
    if (code == 200) return TKR_OK;
    if (code == 503) return TKR_FAIL(error, BUSY, "%s: not ready (503): loading or shutting down", url);
    return TKR_FAIL(error, NETWORK, "%s: answered with status %ld, which is no tkr-embed's", url, code);
}
