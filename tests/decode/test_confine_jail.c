/* SPDX-License-Identifier: Apache-2.0 */
/* What a confined decoder can't do: a child confines itself as tkr-decode does, then tries it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/process.h"
#include "decode/decode.h"

enum { REFUSED = 3, DONE = 4, NOT_CONFINED = 5 };

static int outcome(bool done) { return done ? DONE : errno == EPERM || errno == EACCES ? REFUSED : NOT_CONFINED; }

static int try_open(void) { return outcome(open("/etc/passwd", O_RDONLY) >= 0); }
static int try_create(void) { return outcome(open("/tmp/tkr-decode-was-here", O_WRONLY | O_CREAT, 0600) >= 0); }
static int try_proc(void) { return outcome(open("/proc/self/mem", O_RDWR) >= 0); }
static int try_socket(void) { return outcome(socket(AF_INET, SOCK_STREAM, 0) >= 0); }
static int try_unix_socket(void) { return outcome(socket(AF_UNIX, SOCK_STREAM, 0) >= 0); }
static int try_exec(void) {
    char *const argv[] = {"true", NULL};
    return outcome(execv("/bin/true", argv) == 0);
}
static int try_fork(void) {
    const pid_t pid = fork();
    if (pid == 0) _exit(0);
    return outcome(pid > 0);
}
static int try_kill(void) { return outcome(kill(getppid(), 0) == 0); }
static int try_code(void) {
    return outcome(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
                   MAP_FAILED);
}
static int try_mprotect(void) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return outcome(page != MAP_FAILED && mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
}
static int try_map_file(void) { return outcome(mmap(NULL, 4096, PROT_READ, MAP_SHARED, 4, 0) != MAP_FAILED); }
static int try_setrlimit(void) {
    const struct rlimit limit = {1, 1};
    return outcome(setrlimit(RLIMIT_CPU, &limit) == 0);
}
static int try_other_descriptor(void) { return outcome(write(1, "x", 1) == 1); }
static int try_memory(void) {
    char *block = malloc((size_t)8 << 20); /* allowed: decoding needs it */
    if (!block) return NOT_CONFINED;
    memset(block, 1, (size_t)8 << 20);
    const int sum = block[12345];
    free(block);
    return sum == 1 ? DONE : NOT_CONFINED;
}
static int try_abort(void) { abort(); }

/* Exit status of a confined child that runs fn; -signal when one ended it. `folders`: NULL, or what it may read. */
static int confined_to(const char *const *folders, int (*fn)(void)) {
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        tkr_error error;
        if (tkr_decode_confine(folders, &error) != TKR_OK) _exit(NOT_CONFINED);
        _exit(fn());
    }
    int state = 0;
    assert_int_equal(waitpid(pid, &state, 0), pid);
    return WIFSIGNALED(state) ? -WTERMSIG(state) : WEXITSTATUS(state);
}

static int confined(int (*fn)(void)) { return confined_to(NULL, fn); }

static int try_read_allowed(void) { /* as fontconfig and FreeType do */
    char byte;
    const int fd = open("/usr/share/common-licenses/GPL-3", O_RDONLY);
    const bool done = fd >= 0 && read(fd, &byte, 1) == 1 && lseek(fd, 0, SEEK_SET) == 0 &&
                      mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED;
    return outcome(done);
}
static int try_write_allowed(void) { return outcome(open("/usr/share/common-licenses/GPL-3", O_RDWR) >= 0); }
static int try_create_allowed(void) {
    return outcome(open("/usr/share/common-licenses/here", O_WRONLY | O_CREAT, 0600) >= 0);
}
static int try_mkdir(void) { return outcome(mkdir("/usr/share/common-licenses/here", 0700) == 0); }
static int try_unlink(void) { return outcome(unlink("/usr/share/common-licenses/here") == 0); }
static int try_map_to_write(void) {
    const int fd = open("/usr/share/common-licenses/GPL-3", O_RDONLY);
    return outcome(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) != MAP_FAILED);
}
static int try_own_signals(void) { return outcome(fcntl(TKR_HELPER_SOCKET, F_SETOWN, getppid()) == 0); }

/* With folders to read: these and nothing more. */
static void readable(void **state) {
    (void)state;
    static const char *const folders[] = {"/usr/share/common-licenses", "/nowhere", NULL};
    static const struct {
        int (*fn)(void);
        int expected;
        const char *what;
    } cases[] = {
        {try_read_allowed, DONE, "read below the folder"},
        {try_open, REFUSED, "read elsewhere"},
        {try_proc, REFUSED, "open its own memory"},
        {try_write_allowed, REFUSED, "write below the folder"},
        {try_create_allowed, REFUSED, "create below the folder"},
        {try_create, REFUSED, "create a file"},
        {try_mkdir, REFUSED, "make a folder"},
        {try_unlink, REFUSED, "remove a file"},
        {try_map_to_write, -SIGSYS, "map a file to write"},
        {try_own_signals, -SIGSYS, "have signals sent"},
        {try_socket, -SIGSYS, "make a socket"},
        {try_exec, -SIGSYS, "start a program"},
        {try_fork, -SIGSYS, "fork"},
        {try_code, -SIGSYS, "map memory for code"},
        {try_other_descriptor, -SIGSYS, "write elsewhere"},
        {try_memory, DONE, "use memory"},
    };
    const char *lacking = NULL;
    if (!tkr_decode_confinable()) skip();
    if (!tkr_process_can_confine(&lacking)) fail_msg("this system has no %s", lacking);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int got = confined_to(folders, cases[i].fn);
        if (got != cases[i].expected) fail_msg("%s: %d, expected %d", cases[i].what, got, cases[i].expected);
    }
}

static void forbidden(void **state) {
    (void)state;
    static const struct {
        int (*fn)(void);
        int expected;
        const char *what;
    } cases[] = {
        {try_open, REFUSED, "read a file"},
        {try_create, REFUSED, "create a file"},
        {try_proc, REFUSED, "open its own memory"},
        {try_socket, -SIGSYS, "make a socket"},
        {try_unix_socket, -SIGSYS, "make a local socket"},
        {try_exec, -SIGSYS, "start a program"},
        {try_fork, -SIGSYS, "fork"},
        {try_kill, -SIGSYS, "signal its parent"},
        {try_code, -SIGSYS, "map memory for code"},
        {try_mprotect, -SIGSYS, "make memory executable"},
        {try_map_file, -SIGSYS, "map a descriptor"},
        {try_setrlimit, REFUSED, "change its limits"},
        {try_other_descriptor, -SIGSYS, "write elsewhere"},
        {try_memory, DONE, "use memory"},
        {try_abort, -SIGABRT, "abort"},
    };
    const char *lacking = NULL;
    if (!tkr_decode_confinable()) skip(); /* a sanitizer's runtime can't live in there */
    if (!tkr_process_can_confine(&lacking)) fail_msg("this system has no %s", lacking);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int got = confined(cases[i].fn);
        if (got != cases[i].expected) fail_msg("%s: %d, expected %d", cases[i].what, got, cases[i].expected);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(forbidden), cmocka_unit_test(readable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
