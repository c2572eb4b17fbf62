/* SPDX-License-Identifier: Apache-2.0 */
/* Fetching what a URL of an input names: from a server of this test that is well behaved, slow, endless or points
 * elsewhere, and from addresses that are never asked. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/fsops.h"
#include "hub/fetch.h"

/* ---- a server of one connection at a time ---- */

static int listener = -1;
static unsigned port;
static pthread_t thread;

static bool send_text(int fd, const char *text) { return send(fd, text, strlen(text), MSG_NOSIGNAL) > 0; }

static void answer(int fd, const char *path) {
    char text[256];
    if (strcmp(path, "/good") == 0) {
        send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    } else if (strcmp(path, "/large") == 0) {
        send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    } else if (strcmp(path, "/endless") == 0) {
        send_text(fd, "HTTP/1.1 200 OK\r\n\r\n");
        while (send_text(fd, "0123456789012345678901234567890123456789")) {
        }
    } else if (strcmp(path, "/slow") == 0) {
        send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        for (int i = 0; i < 100 && send_text(fd, "x"); i++) tkr_sleep(0.1);
    } else if (strcmp(path, "/silent") == 0) {
        tkr_sleep(0.7);
    } else if (strcmp(path, "/moved") == 0) {
        send_text(fd, "HTTP/1.1 302 Found\r\nLocation: /good\r\nContent-Length: 0\r\n\r\n");
    } else if (strcmp(path, "/round") == 0) {
        send_text(fd, "HTTP/1.1 302 Found\r\nLocation: /round\r\nContent-Length: 0\r\n\r\n");
    } else if (strcmp(path, "/away") == 0) {
        snprintf(text, sizeof text,
                 "HTTP/1.1 302 Found\r\nLocation: http://localhost:%u/good\r\nContent-Length: 0\r\n\r\n", port);
        send_text(fd, text);
    } else if (strcmp(path, "/file") == 0) {
        send_text(fd, "HTTP/1.1 302 Found\r\nLocation: file:///etc/hostname\r\nContent-Length: 0\r\n\r\n");
    } else {
        send_text(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    }
}

static void *serve(void *unused) {
    (void)unused;
    for (;;) {
        char request[2048], path[256] = "";
        const int fd = accept(listener, NULL, NULL);
        if (fd < 0) return NULL;
        const ssize_t n = recv(fd, request, sizeof request - 1, 0);
        if (n > 0) {
            request[n] = '\0';
            if (strncmp(request, "GET /quit ", 10) == 0) {
                (void)close(fd);
                return NULL;
            }
            if (sscanf(request, "GET %255s ", path) == 1) answer(fd, path);
        }
        (void)close(fd);
    }
}

static int start(void **state) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    (void)state;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 8) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        return -1;
    port = ntohs(address.sin_port);
    return pthread_create(&thread, NULL, serve, NULL);
}

static int stop(void **state) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    (void)state;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) return -1;
    send_text(fd, "GET /quit HTTP/1.1\r\n\r\n");
    pthread_join(thread, NULL);
    (void)close(fd);
    return close(listener);
}

/* ---- */

static tkr_buf body;
static tkr_error error;

static tkr_status fetch_with(const char *url, const char *host, bool any_address, double seconds) {
    const char *const hosts[] = {"example.org", host};
    const tkr_hub_fetch_options options = {.max_bytes = 1000,
                                           .hosts = hosts,
                                           .n_hosts = host ? 2 : 1,
                                           .timeout_seconds = seconds,
                                           .any_address = any_address};
    tkr_buf_free(&body);
    memset(&error, 0, sizeof error);
    tkr_status status = tkr_hub_fetch(&body, url, &options, &error);
    if (status != TKR_OK) assert_true(strlen(error.message) > 10);
    return status;
}

/* From the test's server, which is allowed. */
static tkr_status fetch(const char *path) {
    char url[300], host[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", port, path);
    snprintf(host, sizeof host, "127.0.0.1:%u", port);
    return fetch_with(url, host, true, 0.5);
}

static void good(void **state) {
    (void)state;
    assert_int_equal(fetch("/good"), TKR_OK);
    assert_int_equal(body.size, 5);
    assert_memory_equal(body.data, "hello", 5);
    assert_int_equal(fetch("/moved"), TKR_OK);
    assert_memory_equal(body.data, "hello", 5);
}

static void bad_answers(void **state) {
    static const struct {
        const char *path;
        tkr_status status;
        const char *says;
    } rows[] = {{"/none", TKR_NOT_FOUND, "404"},           {"/large", TKR_LIMIT, "more than 1000 bytes"},
                {"/endless", TKR_LIMIT, "more than 1000"}, {"/round", TKR_NETWORK, "redirects"},
                {"/away", TKR_DENIED, "another host"},     {"/file", TKR_DENIED, "another host"},
                {"/slow", TKR_DEADLINE, "0.5 s"},          {"/silent", TKR_DEADLINE, "0.5 s"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const tkr_status status = fetch(rows[i].path);
        if (status != rows[i].status || !strstr(error.message, rows[i].says))
            fail_msg("%s: %s: %s", rows[i].path, tkr_status_text(status), error.message);
        assert_true(body.size <= 1000);
    }
}

static void hosts_that_nobody_allowed(void **state) {
    (void)state;
    char url[64], host[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/good", port);
    snprintf(host, sizeof host, "127.0.0.1:%u", port + 1);
    assert_int_equal(fetch_with(url, NULL, true, 0.5), TKR_DENIED);
    assert_int_equal(fetch_with(url, "127.0.0.1", true, 0.5), TKR_DENIED); /* not its usual port */
    assert_int_equal(fetch_with(url, host, true, 0.5), TKR_DENIED);
    assert_int_equal(fetch_with("http://example.org.evil.test/", NULL, true, 0.5), TKR_DENIED);
    assert_int_equal(fetch_with("http://evil.test/?example.org", NULL, true, 0.5), TKR_DENIED);
    assert_int_equal(fetch_with("http://example.org:81/", NULL, true, 0.5), TKR_DENIED);
    assert_int_equal(fetch_with("http://example.org@evil.test/", NULL, true, 0.5), TKR_INVALID_ARGUMENT);
    assert_int_equal(fetch_with("file:///etc/passwd", NULL, true, 0.5), TKR_INVALID_ARGUMENT);
    assert_int_equal(fetch_with("ftp://example.org/", NULL, true, 0.5), TKR_INVALID_ARGUMENT);
    const tkr_hub_fetch_options off = {.max_bytes = 1000};
    assert_int_equal(tkr_hub_fetch(&body, url, &off, &error), TKR_DENIED);
    assert_non_null(strstr(error.message, "--allow-url"));
}

static void addresses_inside(void **state) {
    static const char *const hosts[] = {
        "127.0.0.1",   "[::1]",     "[::ffff:127.0.0.1]", "10.0.0.1",   "169.254.169.254", "0.0.0.0",
        "192.168.1.1", "localhost", "[::ffff:a9fe:a9fe]", "2130706433", "0x7f.1",          "127.1"};
    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        char url[96], host[64];
        snprintf(url, sizeof url, "http://%s:%u/good", hosts[i], port);
        snprintf(host, sizeof host, "%s:%u", hosts[i], port);
        const tkr_status status = fetch_with(url, host, false, 0.5);
        if (status != TKR_DENIED) fail_msg("%s: %s: %s", url, tkr_status_text(status), error.message);
    }
}

static int drop(void **state) {
    (void)state;
    tkr_buf_free(&body);
    return stop(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(good), cmocka_unit_test(bad_answers),
                                       cmocka_unit_test(hosts_that_nobody_allowed), cmocka_unit_test(addresses_inside)};
    return cmocka_run_group_tests(tests, start, drop);
}
