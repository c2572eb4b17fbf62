/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of requests: what is read of right ones, with which status others are refused; any split gives the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/http_head.h"

enum { MAX = 2048 };
#define HOST "Host: x\r\n"

static const struct {
    const char *text;
    int status; /* 0: accepted */
} heads[] = {
    {"GET / HTTP/1.1\r\n" HOST "\r\n", 0},
    {"\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 0},
    {"\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 0},
    {"\r\n\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET / HTTP/1.0\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", 0},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400},
    {"GET  / HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET /  HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET / HTTP/1.1 \r\n" HOST "\r\n", 400},
    {"GET / HTTP/2.0\r\n" HOST "\r\n", 505},
    {"GET / HTTP/1.2\r\n" HOST "\r\n", 505},
    {"GET / HTTP/1.10\r\n" HOST "\r\n", 400},
    {"GET / http/1.1\r\n" HOST "\r\n", 400},
    {"GET /\r\n\r\n", 400},
    {"GET\r\n\r\n", 400},
    {"G(T / HTTP/1.1\r\n" HOST "\r\n", 400},
    {"AAAAAAAABBBBBBBBCCCCCCCCDDDDDDDD / HTTP/1.1\r\n" HOST "\r\n", 0},
    {"AAAAAAAABBBBBBBBCCCCCCCCDDDDDDDDE / HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET a HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET /%41%7e HTTP/1.1\r\n" HOST "\r\n", 0},
    {"GET /%4 HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET /%zz HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET /%0a HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET /%7f HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET /?%zz HTTP/1.1\r\n" HOST "\r\n", 0}, /* the query is handed on as sent */
    {"GET /\x80 HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET /a#b HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET http://x/ HTTP/1.1\r\n" HOST "\r\n", 0},
    {"GET HTTPS://x:1/a?b HTTP/1.1\r\n" HOST "\r\n", 0},
    {"GET http:///a HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET http://x HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET ftp://x/ HTTP/1.1\r\n" HOST "\r\n", 400},
    {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 0},
    {"GET * HTTP/1.1\r\n" HOST "\r\n", 400},
    {"GET / HTTP/1.1\n" HOST "\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: x\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "A : b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "A\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "A: \x7f\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "A: b\rc\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" HOST "A: \xff\r\n\r\n", 0},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 999999999999999999\r\n\r\n", 0},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1000000000000000000\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 0},
    {"POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\n\r\n", 417},
    {"POST / HTTP/1.1\r\n" HOST "Content-Type: a\r\ncontent-type: b\r\n\r\n", 400},
};

static int read_whole(tkr_http_head *head, const char *text, size_t n) {
    size_t scanned = 0;
    return tkr_http_head_read(head, &scanned, text, n, MAX);
}

static void test_table(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        tkr_http_head head;
        const size_t n = strlen(heads[i].text);
        const int got = read_whole(&head, heads[i].text, n), wanted = heads[i].status > 0 ? -heads[i].status : (int)n;
        if (got != wanted) fail_msg("%s: %d, not %d (%s)", heads[i].text, got, wanted, head.why);
        if (got < 0) assert_true(strlen(head.why) > 5);
    }
}

/* However it arrives: never accepted early, and at the end as when it came at once. */
static void test_every_split(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        const char *text = heads[i].text;
        const size_t n = strlen(text);
        tkr_http_head whole, head;
        const int wanted = read_whole(&whole, text, n);
        for (size_t step = 1; step < n; step++) {
            size_t scanned = 0;
            int got = 0;
            for (size_t at = step; got == 0; at += step) {
                const size_t given = at < n ? at : n;
                got = tkr_http_head_read(&head, &scanned, text, given, MAX);
                assert_true(got <= 0 || given == n);
                assert_true(got != 0 || given < n);
            }
            assert_int_equal(got, wanted);
            if (got > 0) assert_memory_equal(&head.path, &whole.path, sizeof head.path);
        }
    }
}

static void expect_span(const char *text, tkr_http_span span, const char *wanted) {
    assert_int_equal(span.size, strlen(wanted));
    assert_memory_equal(text + span.at, wanted, span.size);
}

static void test_parts(void **state) {
    (void)state;
    const char *text = "POST http://h/a%20b?c=%20d HTTP/1.1\r\nHost: h\r\nA:\t b c \t\r\nContent-Length: 12\r\n"
                       "Connection: keep-alive, Close\r\nExpect: 100-Continue\r\n\r\nbody";
    tkr_http_head head;
    const int got = read_whole(&head, text, strlen(text));
    assert_int_equal(got, (int)strlen(text) - 4);
    expect_span(text, head.method, "POST");
    expect_span(text, head.path, "/a%20b");
    expect_span(text, head.query, "c=%20d");
    assert_int_equal(head.n_fields, 5);
    expect_span(text, head.fields[1].name, "A");
    expect_span(text, head.fields[1].value, "b c");
    assert_int_equal(head.length, 12);
    assert_true(head.expect && !head.keep_alive && !head.chunked && !head.upgrade && head.minor == 1);
    char path[] = "/a%20b%c3%bc%";
    const size_t n = tkr_http_percent_decode(path, strlen(path) - 1);
    assert_int_equal(n, 6);
    assert_memory_equal(path, "/a b\xc3\xbc", 6);
}

static void test_handshakes(void **state) {
    (void)state;
    static const char *const right =
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tkr_http_head head;
    assert_true(read_whole(&head, right, strlen(right)) > 0);
    assert_true(head.upgrade && head.websocket);
    static const char *const wrong[] = {"POST", "dGhlIHNhbXBsZSBub25jZQ=a", " 12", "HTTP/1.0"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "%s", right);
        const char *found = i == 0   ? strstr(text, "GET")
                            : i == 1 ? strstr(text, "dGhl")
                            : i == 2 ? strstr(text, " 13")
                                     : strstr(text, "HTTP/1.1");
        char other[320];
        const size_t before = (size_t)(found - text), skip = i == 0 ? 3 : strlen(wrong[i]);
        (void)snprintf(other, sizeof other, "%.*s%s%s", (int)before, text, wrong[i], found + skip);
        assert_true(read_whole(&head, other, strlen(other)) > 0);
        assert_false(head.websocket);
        assert_int_equal(head.upgrade, i < 3);
        assert_int_equal(head.version13, i != 2);
    }
}

static void test_limits(void **state) {
    (void)state;
    char text[8192];
    tkr_http_head head;
    size_t n = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: x\r\nA: ");
    memset(text + n, 'a', sizeof text - n);
    assert_int_equal(read_whole(&head, text, MAX), 0);
    assert_int_equal(read_whole(&head, text, MAX + 1), -431);
    memcpy(text + MAX - 4, "\r\n\r\n", 4);
    assert_int_equal(read_whole(&head, text, sizeof text), MAX);
    memset(text + n, 'a', sizeof text - n);
    memcpy(text + MAX - 3, "\r\n\r\n", 4);
    assert_int_equal(read_whole(&head, text, sizeof text), -431);
    for (int fields = 99; fields <= 101; fields++) {
        n = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: x\r\n");
        for (int i = 1; i < fields; i++) n += (size_t)snprintf(text + n, sizeof text - n, "A: b\r\n");
        n += (size_t)snprintf(text + n, sizeof text - n, "\r\n");
        assert_int_equal(read_whole(&head, text, n), fields <= 100 ? (int)n : -431);
    }
}

static void test_lists(void **state) {
    (void)state;
    static const struct {
        const char *list;
        bool has;
    } cases[] = {{"close", true},    {"Close ", true}, {"a, close", true}, {"a,\tCLOSE\t,b", true}, {"closed", false},
                 {"a close", false}, {"", false},      {",,", false},      {"clos", false},         {", ,close", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(tkr_http_list_has(cases[i].list, strlen(cases[i].list), "close"), cases[i].has);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table),  cmocka_unit_test(test_every_split),
                                       cmocka_unit_test(test_parts),  cmocka_unit_test(test_handshakes),
                                       cmocka_unit_test(test_limits), cmocka_unit_test(test_lists)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
