/* SPDX-License-Identifier: Apache-2.0 */
/* Status texts, one-line messages, prefixes, the log hook. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/error.h"
#include "core/log.h"

static void status_texts(void **state) {
    (void)state;
    assert_string_equal(tkr_status_text(TKR_OK), "ok");
    assert_string_equal(tkr_status_text(TKR_NO_MEMORY), "out of memory");
    assert_string_equal(tkr_status_text((tkr_status)15), "unknown status");
    assert_string_equal(tkr_status_text((tkr_status)-1), "unknown status");
    assert_string_equal(tkr_version(), TKR_STRINGIFY(TKR_VERSION_MAJOR) "." TKR_STRINGIFY(
                                           TKR_VERSION_MINOR) "." TKR_STRINGIFY(TKR_VERSION_PATCH));
}

static void fail_fills_the_error(void **state) {
    (void)state;
    tkr_error error;
    assert_int_equal(TKR_FAIL(&error, FORMAT, "%s: field \"%s\" is %d, expected 1 to 9", "config.json", "n", 12),
                     TKR_FORMAT);
    assert_int_equal(error.status, TKR_FORMAT);
    assert_string_equal(error.message, "config.json: field \"n\" is 12, expected 1 to 9");
    assert_non_null(strstr(error.origin, "test_error.c:"));
    assert_int_equal(TKR_FAIL(NULL, IO, "nobody listens"), TKR_IO);
}

static void messages_are_one_clean_line(void **state) {
    (void)state;
    tkr_error error;
    (void)TKR_FAIL(&error, IO, "%s", "a\nb\tc\x1B[31m\x7F\xC2\x9B\xFF\xE2\x82\xE2\x80\xA8 \xC3\xA9\xF0\x9F\x98\x80");
    assert_string_equal(error.message, "a?b?c?[31m????? \xC3\xA9\xF0\x9F\x98\x80");
}

static void long_messages_end_in_dots(void **state) {
    (void)state;
    tkr_error error;
    char text[3000];
    size_t longest = TKR_ERROR_MESSAGE_SIZE - 1;
    memset(text, 'x', sizeof text);
    text[longest] = '\0';
    (void)TKR_FAIL(&error, IO, "%s", text);
    assert_string_equal(error.message, text); /* just fits */
    text[longest] = 'x';
    text[sizeof text - 1] = '\0';
    for (size_t n = longest + 1; n < sizeof text; n += 97) {
        (void)TKR_FAIL(&error, IO, "%.*s", (int)n, text);
        assert_int_equal(strlen(error.message), longest);
        assert_string_equal(error.message + longest - 4, "x...");
    }
    for (size_t i = 0; i + 4 < sizeof text; i += 4) { /* characters of four bytes are not cut in two */
        memcpy(text + i, "\xF0\x9F\x98\x80", 4);
    }
    (void)TKR_FAIL(&error, IO, "%s", text);
    assert_int_equal(strlen(error.message), 4 * ((longest - 3) / 4) + 3);
}

static void own_message_may_be_an_argument(void **state) {
    (void)state;
    tkr_error error;
    (void)TKR_FAIL(&error, IO, "inner");
    (void)TKR_FAIL(&error, FORMAT, "outer: %s", error.message);
    assert_string_equal(error.message, "outer: inner");
}

static void prefix_goes_in_front(void **state) {
    (void)state;
    tkr_error error;
    (void)TKR_FAIL(&error, LIMIT, "too long");
    assert_int_equal(tkr_error_prefix(&error, TKR_IO, "file %s, line %d", "a", 7), TKR_LIMIT);
    assert_string_equal(error.message, "file a, line 7: too long");
    assert_int_equal(error.status, TKR_LIMIT);
    assert_int_equal(tkr_error_prefix(NULL, TKR_IO, "x"), TKR_IO);
    char text[TKR_ERROR_MESSAGE_SIZE];
    memset(text, 'y', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    (void)tkr_error_prefix(&error, TKR_IO, "%s", text);
    assert_int_equal(strlen(error.message), TKR_ERROR_MESSAGE_SIZE - 1);
    assert_string_equal(error.message + TKR_ERROR_MESSAGE_SIZE - 5, "y...");
}

typedef struct heard {
    int level, n;
    char line[2048];
} heard;

static void hear(void *user, int level, const char *line) {
    heard *h = user;
    h->level = level;
    h->n++;
    assert_true(strlen(line) < sizeof h->line);
    memcpy(h->line, line, strlen(line) + 1);
}

static void log_speaks_through_the_hook(void **state) {
    (void)state;
    heard h = {.n = 0};
    tkr_log log = {hear, &h};
    tkr_log_line(&log, TKR_LOG_WARNING, "%s %d\n", "line", 3);
    assert_int_equal(h.n, 1);
    assert_int_equal(h.level, TKR_LOG_WARNING);
    assert_string_equal(h.line, "line 3?");
    char text[3000];
    memset(text, 'z', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    tkr_log_line(&log, TKR_LOG_INFO, "%s", text);
    assert_int_equal(strlen(h.line), 1023);
    assert_string_equal(h.line + 1019, "z...");
    tkr_log silent = {NULL, NULL};
    tkr_log_line(&silent, TKR_LOG_ERROR, "nobody");
    tkr_log_line(NULL, TKR_LOG_ERROR, "nobody");
    assert_int_equal(h.n, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_texts),
        cmocka_unit_test(fail_fills_the_error),
        cmocka_unit_test(messages_are_one_clean_line),
        cmocka_unit_test(long_messages_end_in_dots),
        cmocka_unit_test(own_message_may_be_an_argument),
        cmocka_unit_test(prefix_goes_in_front),
        cmocka_unit_test(log_speaks_through_the_hook),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
