/* SPDX-License-Identifier: Apache-2.0 */
/* Chunked bodies: right and hostile ones, each in pieces of every size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/http_chunk.h"

static const struct {
    const char *text, *body; /* NULL: refused */
} bodies[] = {
    {"0\r\n\r\n", ""},
    {"5\r\nhello\r\n0\r\n\r\n", "hello"},
    {"00000005\r\nhello\r\n00\r\n\r\n", "hello"},
    {"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"},
    {"5;a=b;c\r\nhello\r\n0;x\r\n\r\n", "hello"},
    {"5\r\nhello\r\n0\r\nA: b\r\nC: \r\n\r\n", "hello"},
    {"000000005\r\nhello\r\n0\r\n\r\n", NULL},
    {"\r\nhello", NULL},
    {"+5\r\n", NULL},
    {"0x5\r\n", NULL},
    {" 5\r\n", NULL},
    {"5 \r\n", NULL},
    {"5\nhello", NULL},
    {"5\r\r", NULL},
    {"5;a\n", NULL},
    {"5;a\rb", NULL},
    {"5;\x01\r\n", NULL},
    {"5\r\nhelloX", NULL},
    {"5\r\nhello\n", NULL},
    {"5\r\nhello\rX", NULL},
    {"5\r\nhello\r\n\r\n", NULL},
    {"0\r\n\n", NULL},
    {"0\r\n\rX", NULL},
    {"0\r\n: b\r\n\r\n", NULL},
    {"0\r\nA b\r\n\r\n", NULL},
    {"0\r\nA: \x7f\r\n\r\n", NULL},
    {"0\r\nA: b\n\r\n", NULL},
    {"g\r\n", NULL},
};

/* Reads text in pieces of `step` bytes; returns whether it was right, and what it took. */
static bool read_all(char *out, size_t *n_out, size_t *taken, const char *text, size_t n, size_t step) {
    tkr_http_chunked chunked = {0};
    *n_out = *taken = 0;
    while (*taken < n && !tkr_http_chunked_done(&chunked)) {
        const char *piece;
        size_t n_piece, given = n - *taken < step ? n - *taken : step;
        while (given > 0 && !tkr_http_chunked_done(&chunked)) {
            const size_t used = tkr_http_chunked_read(&chunked, &piece, &n_piece, text + *taken, given);
            if (used == SIZE_MAX) return false;
            assert_true(used > 0 && used <= given);
            memcpy(out + *n_out, piece, n_piece);
            *n_out += n_piece;
            *taken += used;
            given -= used;
        }
    }
    return tkr_http_chunked_done(&chunked);
}

static void test_table(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        const size_t n = strlen(bodies[i].text);
        for (size_t step = 1; step <= n; step++) {
            char out[256];
            size_t n_out, taken;
            const bool right = read_all(out, &n_out, &taken, bodies[i].text, n, step);
            if (right != (bodies[i].body != NULL)) fail_msg("%s in steps of %zu: %d", bodies[i].text, step, right);
            if (!right) continue;
            assert_int_equal(taken, n);
            assert_int_equal(n_out, strlen(bodies[i].body));
            assert_memory_equal(out, bodies[i].body, n_out);
        }
    }
}

static void test_what_follows_is_not_taken(void **state) {
    (void)state;
    const char *text = "1\r\na\r\n0\r\n\r\nGET / HTTP/1.1";
    char out[64];
    size_t n_out, taken;
    assert_true(read_all(out, &n_out, &taken, text, strlen(text), 64));
    assert_int_equal(taken, 11);
}

/* Of extensions and trailers 1,024 bytes pass, whether in one or in many. */
static void test_extras_are_limited(void **state) {
    (void)state;
    char text[4096], out[1024];
    size_t n_out, taken;
    for (size_t extra = 1023; extra <= 1025; extra++) {
        memcpy(text, "1;", 2);
        memset(text + 2, 'x', extra);
        memcpy(text + 2 + extra, "\r\na\r\n0\r\n\r\n", 10);
        assert_int_equal(read_all(out, &n_out, &taken, text, extra + 12, 4096), extra <= 1024);
        size_t n = 0;
        for (; n < 2560; n += 10) memcpy(text + n, "1;abc\r\na\r\n", 10);
        memcpy(text + n, "0;", 2);
        n += 2;
        memset(text + n, 'x', extra - 768);
        n += extra - 768;
        memcpy(text + n, "\r\n\r\n", 4);
        assert_int_equal(read_all(out, &n_out, &taken, text, n + 4, 4096), extra <= 1024);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_what_follows_is_not_taken),
                                       cmocka_unit_test(test_extras_are_limited)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
