/* SPDX-License-Identifier: Apache-2.0 */
/* What a service manager hands over: sockets by number, who can reach them, where readiness goes; and users. */
#define _XOPEN_SOURCE 700 /* setenv */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/service.h"

/* A child has the descriptors of systemd for itself: exits with what `check` gives. */
static int in_child(int (*check)(void)) {
    int status = 0;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char text[16];
        (void)snprintf(text, sizeof text, "%ld", (long)getpid());
        (void)setenv("LISTEN_PID", text, 1);
        _exit(check());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool bind_at(int fd, int family, const char *address) {
    struct sockaddr_storage at = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&at;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&at;
    at.ss_family = (sa_family_t)family;
    const int made = socket(family, SOCK_STREAM, 0);
    if (made < 0 || inet_pton(family, address, family == AF_INET ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr) != 1)
        return false;
    const socklen_t size = family == AF_INET ? sizeof *v4 : sizeof *v6;
    if (bind(made, (const struct sockaddr *)&at, size) != 0 || (made != fd && dup2(made, fd) != fd)) return false;
    if (made != fd) (void)close(made);
    return true;
}

static int local_and_public(void) {
    (void)setenv("LISTEN_FDS", "2", 1);
    if (!bind_at(3, AF_INET, "127.0.0.1") || !bind_at(4, AF_INET, "127.0.0.2")) return 1;
    if (tkr_service_sockets_reach() != TKR_SERVICE_LOCAL) return 2;
    if (!bind_at(4, AF_INET, "0.0.0.0")) return 3;
    if (tkr_service_sockets_reach() != TKR_SERVICE_PUBLIC) return 4;
    if (tkr_service_sockets() != 2) return 5;
    if ((fcntl(3, F_GETFD) & FD_CLOEXEC) == 0 || (fcntl(4, F_GETFD) & FD_CLOEXEC) == 0) return 6;
    if (getenv("LISTEN_PID") != NULL || getenv("LISTEN_FDS") != NULL) return 7;
    return tkr_service_sockets() == 0 && tkr_service_sockets_reach() == TKR_SERVICE_NO_SOCKETS ? 0 : 8;
}

static int unix_and_none(void) {
    (void)setenv("LISTEN_FDS", "1", 1);
    const int made = socket(AF_UNIX, SOCK_STREAM, 0);
    if (made < 0 || (made != 3 && dup2(made, 3) != 3)) return 1;
    if (tkr_service_sockets_reach() != TKR_SERVICE_LOCAL) return 2;
    (void)setenv("LISTEN_FDS", "many", 1);
    if (tkr_service_sockets_reach() != TKR_SERVICE_NO_SOCKETS) return 3;
    (void)setenv("LISTEN_FDS", "1", 1);
    (void)setenv("LISTEN_PID", "1", 1); /* meant for somebody else */
    return tkr_service_sockets() == 0 ? 0 : 4;
}

static void sockets(void **state) {
    (void)state;
    assert_int_equal(in_child(local_and_public), 0);
    assert_int_equal(in_child(unix_and_none), 0);
}

static void readiness(void **state) {
    char path[64], got[64] = "";
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)state;
    (void)snprintf(path, sizeof path, "/tmp/tkr-notify-%ld", (long)getpid());
    memcpy(at.sun_path, path, strlen(path) + 1);
    const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
    tkr_service_notify("READY=1"); /* nobody wants to know */
    (void)setenv("NOTIFY_SOCKET", path, 1);
    tkr_service_notify("READY=1");
    assert_int_equal(recv(fd, got, sizeof got, MSG_DONTWAIT), 7);
    assert_string_equal(got, "READY=1");
    assert_true(recv(fd, got, sizeof got, MSG_DONTWAIT) < 0);
    (void)setenv("NOTIFY_SOCKET", "/no/such/socket", 1);
    tkr_service_notify("READY=1");
    (void)setenv("NOTIFY_SOCKET", "relative", 1);
    tkr_service_notify("READY=1");
    (void)unsetenv("NOTIFY_SOCKET");
    (void)close(fd);
    (void)unlink(path);
}

static int become_nobody(void) {
    if (tkr_user_become("nobody", NULL) != TKR_OK) return 1;
    if (geteuid() == 0 || getuid() == 0 || getegid() == 0 || setuid(0) == 0) return 2;
    gid_t groups[64];
    const int n = getgroups(64, groups);
    for (int i = 0; i < n; i++)
        if (groups[i] == 0) return 3;
    if (tkr_user_become("nobody", NULL) != TKR_OK) return 4; /* it is that user */
    return tkr_user_become("root", NULL) == TKR_DENIED ? 0 : 5;
}

static void users(void **state) {
    tkr_error error = {0};
    (void)state;
    assert_int_equal(tkr_user_find("root", &error), TKR_OK);
    assert_int_equal(tkr_user_find("no-such-user", &error), TKR_NOT_FOUND);
    assert_string_equal(error.message, "no user \"no-such-user\" on this system");
    if (tkr_user_is_root()) {
        assert_int_equal(in_child(become_nobody), 0);
    } else {
        assert_int_equal(tkr_user_become("root", &error), TKR_DENIED);
    }
}

/* A file that was just made goes to the user; a link, and a file that others may know by another name, don't. */
static void given_files(void **state) {
    char folder[] = "/tmp/tkr-service-XXXXXX", path[64], other[64];
    tkr_error error = {0};
    struct stat info;
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/file", folder);
    (void)snprintf(other, sizeof other, "%s/other", folder);
    const int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0 && close(fd) == 0);
    assert_int_equal(tkr_user_give("no-such-user", path, &error), TKR_NOT_FOUND);
    if (tkr_user_is_root()) {
        assert_int_equal(link(path, other), 0);
        assert_int_equal(tkr_user_give("nobody", path, &error), TKR_DENIED);
        assert_int_equal(unlink(other), 0);
        assert_int_equal(symlink(path, other), 0);
        assert_int_equal(tkr_user_give("nobody", other, &error), TKR_DENIED);
        assert_int_equal(tkr_user_give("nobody", folder, &error), TKR_DENIED);
        assert_true(stat(path, &info) == 0 && info.st_uid == 0 && !tkr_user_owns("nobody", path));
        assert_int_equal(tkr_user_give("nobody", path, &error), TKR_OK);
        assert_true(tkr_user_owns("nobody", path));
        assert_true(stat(path, &info) == 0 && info.st_uid != 0 && (info.st_mode & 07777) == 0600);
        assert_int_equal(unlink(other), 0);
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sockets), cmocka_unit_test(readiness), cmocka_unit_test(users),
                                       cmocka_unit_test(given_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
