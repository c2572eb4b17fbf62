/* SPDX-License-Identifier: Apache-2.0 */
/* Line input: line ends, limits, buffer borders, pipes, failing reads. */
#define _DEFAULT_SOURCE 1
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"

static char path[64];

static int make_path(void **state) {
    (void)state;
    (void)snprintf(path, sizeof path, "/tmp/tkr-test-lines-XXXXXX");
    int fd = mkstemp(path);
    return fd >= 0 && close(fd) == 0 ? 0 : -1;
}

static int remove_path(void **state) {
    (void)state;
    tkr_seam_set(NULL, NULL);
    return unlink(path);
}

static void put(const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static tkr_lines *open_lines(size_t max_line) {
    tkr_lines *lines;
    tkr_error error;
    assert_int_equal(tkr_lines_open(&lines, path, max_line, &error), TKR_OK);
    return lines;
}

static void expect(tkr_lines *lines, const void *text, size_t n) {
    const char *line;
    size_t size;
    bool end;
    tkr_error error;
    uint64_t number = tkr_lines_number(lines);
    assert_int_equal(tkr_lines_next(lines, &line, &size, &end, &error), TKR_OK);
    assert_false(end);
    assert_int_equal(size, n);
    assert_memory_equal(line, text, n);
    assert_int_equal(tkr_lines_number(lines), number + 1);
}

static void expect_too_long(tkr_lines *lines, const char *what) {
    const char *line;
    size_t size;
    bool end;
    tkr_error error;
    assert_int_equal(tkr_lines_next(lines, &line, &size, &end, &error), TKR_LIMIT);
    assert_false(end);
    assert_non_null(strstr(error.message, what));
}

static void expect_end(tkr_lines *lines) {
    const char *line;
    size_t size;
    bool end;
    for (int i = 0; i < 2; i++) { /* the end stays the end */
        assert_int_equal(tkr_lines_next(lines, &line, &size, &end, NULL), TKR_OK);
        assert_true(end);
    }
    tkr_lines_close(&lines);
    assert_null(lines);
}

static void line_ends(void **state) {
    (void)state;
    put("", 0);
    expect_end(open_lines(10));
    put("one\ntwo\r\n\nth\0ree\n\r\n\r\r\nlast\r", 27);
    tkr_lines *lines = open_lines(10);
    assert_int_equal(tkr_lines_bytes_total(lines), 27);
    expect(lines, "one", 3);
    assert_int_equal(tkr_lines_bytes_read(lines), 4);
    expect(lines, "two", 3);
    expect(lines, "", 0);
    expect(lines, "th\0ree", 6);
    expect(lines, "", 0);
    expect(lines, "\r", 1);
    expect(lines, "last\r", 5); /* a CR alone ends no line */
    assert_int_equal(tkr_lines_bytes_read(lines), 27);
    assert_int_equal(tkr_lines_number(lines), 7);
    expect_end(lines);
    put("\n", 1);
    lines = open_lines(10);
    expect(lines, "", 0);
    expect_end(lines);
}

static void long_lines_fail_alone(void **state) {
    (void)state;
    put("1234\n12345\n1234\r\n12345\r\n123456\nok\n12345", 40);
    tkr_lines *lines = open_lines(4);
    expect(lines, "1234", 4);
    expect_too_long(lines, "line 2: is longer than the limit of 4 bytes");
    expect(lines, "1234", 4);
    expect_too_long(lines, "line 4: ");
    expect_too_long(lines, "line 5: ");
    expect(lines, "ok", 2);
    expect_too_long(lines, "line 7: ");
    expect_end(lines);
    put("\nx\n", 3);
    lines = open_lines(0);
    expect(lines, "", 0);
    expect_too_long(lines, "line 2: ");
    expect_end(lines);
}

/* Lines whose ends fall on and around the border of the 256 KiB buffer, and lines that are larger. */
static void buffer_borders(void **state) {
    (void)state;
    enum { BUFFER = 1 << 18 };
    const size_t lengths[] = {BUFFER - 2, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 5};
    const char *ends[] = {"\n", "\r\n"};
    char *text = malloc(8 * BUFFER);
    assert_non_null(text);
    for (size_t i = 0; i < 5; i++) {
        for (size_t e = 0; e < 2; e++) {
            size_t n = lengths[i], n_end = strlen(ends[e]);
            memset(text, 'a', n);
            memcpy(text + n, ends[e], n_end);
            memcpy(text + n + n_end, "after\n", 6);
            put(text, n + n_end + 6);
            tkr_lines *lines = open_lines(n); /* just fits */
            expect(lines, text, n);
            expect(lines, "after", 5);
            expect_end(lines);
            lines = open_lines(n - 1);
            expect_too_long(lines, "line 1: ");
            expect(lines, "after", 5);
            expect_end(lines);
            lines = open_lines(7); /* is thrown away in pieces */
            expect_too_long(lines, "line 1: ");
            expect(lines, "after", 5);
            expect_end(lines);
            lines = open_lines(SIZE_MAX);
            expect(lines, text, n);
            expect(lines, "after", 5);
            expect_end(lines);
        }
    }
    free(text);
}

static void many_lines(void **state) {
    (void)state;
    tkr_buf text = {0};
    for (int i = 0; i < 200000; i++) {
        assert_true(tkr_buf_printf(&text, "%d\n", i));
    }
    put(text.data, text.size);
    tkr_buf_free(&text);
    tkr_lines *lines = open_lines(100);
    for (int i = 0; i < 200000; i++) {
        char number[16];
        int n = snprintf(number, sizeof number, "%d", i);
        expect(lines, number, (size_t)n);
    }
    expect_end(lines);
}

static void pipes(void **state) {
    (void)state;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    int both = open(path, O_RDWR | O_CLOEXEC);
    assert_true(both >= 0);
    tkr_lines *lines = open_lines(100);
    assert_int_equal(tkr_lines_bytes_total(lines), 0);
    assert_int_equal(write(both, "one\ntw", 6), 6);
    expect(lines, "one", 3); /* without waiting for more */
    assert_int_equal(write(both, "o\nend", 5), 5);
    expect(lines, "two", 3);
    assert_int_equal(close(both), 0);
    expect(lines, "end", 3);
    expect_end(lines);
}

static void on_alarm(int number) { (void)number; }

/* A signal whose handler asks for it (no SA_RESTART) gets through, and nothing is lost. */
static void signals_interrupt_waiting(void **state) {
    (void)state;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    int both = open(path, O_RDWR | O_CLOEXEC);
    assert_true(both >= 0);
    tkr_lines *lines = open_lines(100);
    assert_int_equal(write(both, "half", 4), 4);
    struct sigaction action = {.sa_handler = on_alarm}, old;
    assert_int_equal(sigaction(SIGALRM, &action, &old), 0);
    struct itimerval again = {{0, 20000}, {0, 20000}}, off = {{0, 0}, {0, 0}};
    assert_int_equal(setitimer(ITIMER_REAL, &again, NULL), 0);
    const char *line;
    size_t size;
    bool end;
    tkr_error error;
    tkr_status status = tkr_lines_next(lines, &line, &size, &end, &error);
    assert_int_equal(setitimer(ITIMER_REAL, &off, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
    assert_int_equal(status, TKR_CANCELLED);
    assert_non_null(strstr(error.message, "line 1: reading was interrupted"));
    assert_int_equal(write(both, "-line\n", 6), 6);
    expect(lines, "half-line", 9);
    assert_int_equal(close(both), 0);
    expect_end(lines);
}

/* A non-blocking descriptor only means waiting. */
static void non_blocking_pipes_wait(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    pid_t writer = fork();
    if (writer == 0) {
        (void)usleep(20000);
        _exit(write(ends[1], "late\n", 5) == 5 ? 0 : 1);
    }
    assert_true(writer > 0);
    (void)close(ends[1]);
    int kept = dup(STDIN_FILENO);
    assert_true(dup2(ends[0], STDIN_FILENO) >= 0);
    tkr_lines *lines;
    assert_int_equal(tkr_lines_open(&lines, "-", 100, NULL), TKR_OK);
    expect(lines, "late", 4);
    expect_end(lines);
    if (kept >= 0) {
        (void)dup2(kept, STDIN_FILENO);
        (void)close(kept);
    }
    (void)close(ends[0]);
    int exit_status = -1;
    assert_true(waitpid(writer, &exit_status, 0) == writer && exit_status == 0);
}

static void a_dash_is_standard_input(void **state) {
    (void)state;
    put("skipped\none\n", 12);
    int kept = dup(STDIN_FILENO), file = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0 && lseek(file, 8, SEEK_SET) == 8 && dup2(file, STDIN_FILENO) >= 0);
    tkr_lines *lines;
    assert_int_equal(tkr_lines_open(&lines, "-", 100, NULL), TKR_OK);
    assert_int_equal(tkr_lines_bytes_total(lines), 4);
    expect(lines, "one", 3);
    expect_end(lines);
    assert_true(fcntl(STDIN_FILENO, F_GETFD) >= 0);
    if (kept >= 0) {
        (void)dup2(kept, STDIN_FILENO);
        (void)close(kept);
    }
    (void)close(file);
}

static void bad_sources(void **state) {
    (void)state;
    tkr_lines *lines;
    tkr_error error;
    assert_int_equal(tkr_lines_open(&lines, "/nonexistent/file", 9, &error), TKR_NOT_FOUND);
    assert_null(lines);
    assert_int_equal(tkr_lines_open(&lines, "/tmp", 9, &error), TKR_IO);
    assert_string_equal(error.message, "/tmp: is a directory, expected a file");
    tkr_lines_close(&lines);
}

typedef struct sweep {
    char kind;
    int left;
} sweep;

static bool allow_some(void *user, char kind) {
    sweep *s = user;
    return kind != s->kind || s->left-- > 0;
}

/* Reads everything; the first status that isn't TKR_OK, with its message checked. */
static tkr_status read_all(void) {
    tkr_lines *lines;
    tkr_error error;
    tkr_status status = tkr_lines_open(&lines, path, SIZE_MAX, &error);
    bool end = false;
    while (status == TKR_OK && !end) {
        const char *line;
        size_t size;
        status = tkr_lines_next(lines, &line, &size, &end, &error);
    }
    tkr_lines_close(&lines);
    if (status != TKR_OK) {
        assert_int_equal(error.status, status);
        assert_non_null(strstr(error.message, path));
    }
    return status;
}

static void every_step_may_fail(void **state) {
    (void)state;
    enum { N = 600000 };
    char *text = malloc(N);
    assert_non_null(text);
    memset(text, 'a', N);
    put(text, N);
    free(text);
    const char kinds[] = {'a', 'r'};
    for (size_t k = 0; k < sizeof kinds; k++) {
        int n = 0;
        for (;; n++) {
            sweep s = {kinds[k], n};
            tkr_seam_set(allow_some, &s);
            tkr_status status = read_all();
            tkr_seam_set(NULL, NULL);
            if (status == TKR_OK) {
                break;
            }
            assert_int_equal(status, kinds[k] == 'a' ? TKR_NO_MEMORY : TKR_IO);
        }
        assert_true(n >= 4);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_path, remove_path)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(line_ends),
        TEST(long_lines_fail_alone),
        TEST(buffer_borders),
        TEST(many_lines),
        TEST(pipes),
        TEST(a_dash_is_standard_input),
        TEST(bad_sources),
        TEST(every_step_may_fail),
        TEST(signals_interrupt_waiting),
        TEST(non_blocking_pipes_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
