/* SPDX-License-Identifier: Apache-2.0 */
/* core/service: socket activation and readiness as sd_listen_fds(3) and sd_notify(3) define them, without libsystemd;
 * setuid in the order that leaves nothing behind. */
#ifdef __linux__
#define _GNU_SOURCE
#endif
#include "core/service.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/address.h"
#include "core/file.h"
#include "core/mem.h"

enum { MAX_SOCKETS = 64, MAX_USER_BYTES = 1 << 16 };

/* A whole positive number; 0 for anything else. */
static unsigned long number(const char *text) {
    char *end = NULL;
    if (text == NULL || text[0] < '0' || text[0] > '9') return 0;
    const unsigned long value = strtoul(text, &end, 10);
    return *end == '\0' ? value : 0;
}

static size_t count_sockets(void) {
    const bool ours = number(tkr_env("LISTEN_PID")) == (unsigned long)getpid();
    const unsigned long n = ours ? number(tkr_env("LISTEN_FDS")) : 0;
    return n <= MAX_SOCKETS ? n : MAX_SOCKETS;
}

/* Loopback or no network at all. */
static bool is_local(int fd) {
    struct sockaddr_storage at = {0};
    socklen_t size = sizeof at;
    char text[INET6_ADDRSTRLEN] = "";
    if (getsockname(fd, (struct sockaddr *)&at, &size) != 0) return false;
    if (at.ss_family == AF_UNIX) return true;
    const void *address = at.ss_family == AF_INET ? (const void *)&((const struct sockaddr_in *)&at)->sin_addr
                                                  : (const void *)&((const struct sockaddr_in6 *)&at)->sin6_addr;
    if (at.ss_family != AF_INET && at.ss_family != AF_INET6) return false;
    return inet_ntop(at.ss_family, address, text, sizeof text) != NULL && tkr_address_is_loopback(text);
}

tkr_service_reach tkr_service_sockets_reach(void) {
    const int n = (int)count_sockets();
    for (int i = 0; i < n; i++)
        if (!is_local(TKR_SERVICE_FIRST_SOCKET + i)) return TKR_SERVICE_PUBLIC;
    return n > 0 ? TKR_SERVICE_LOCAL : TKR_SERVICE_NO_SOCKETS;
}

size_t tkr_service_sockets(void) {
    const size_t n = count_sockets();
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    for (int fd = TKR_SERVICE_FIRST_SOCKET; fd < TKR_SERVICE_FIRST_SOCKET + (int)n; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    return n;
}

void tkr_service_notify(const char *state) {
    const char *path = tkr_env("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (path == NULL || (path[0] != '/' && path[0] != '@')) return;
    const size_t n = strlen(path);
    if (n >= sizeof to.sun_path) return;
    memcpy(to.sun_path, path, n);
    if (path[0] == '@') to.sun_path[0] = '\0'; /* the abstract name space of Linux */
    const int fd = tkr_socket_open(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0) return;
    (void)sendto(fd, state, strlen(state), 0, (const struct sockaddr *)&to,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    (void)close(fd);
}

typedef struct user {
    uid_t uid;
    gid_t gid;
} user;

static tkr_status find(user *found, const char *name, tkr_error *error) {
    struct passwd row, *result = NULL;
    char *text = tkr_malloc(MAX_USER_BYTES);
    if (text == NULL) return TKR_FAIL(error, NO_MEMORY, "out of memory");
    const int code = getpwnam_r(name, &row, text, MAX_USER_BYTES, &result);
    if (result != NULL) *found = (user){row.pw_uid, row.pw_gid};
    const bool missing = result == NULL;
    tkr_free(text);
    if (!missing) return TKR_OK;
    return code == 0 || code == ENOENT ? TKR_FAIL(error, NOT_FOUND, "no user \"%s\" on this system", name)
                                       : TKR_FAIL(error, IO, "user \"%s\": %s", name, strerror(code));
}

tkr_status tkr_user_find(const char *name, tkr_error *error) {
    user found;
    return find(&found, name, error);
}

bool tkr_user_is_root(void) { return geteuid() == 0; }

bool tkr_user_owns(const char *name, const char *path) {
    user owner = {0, 0};
    struct stat info;
    return geteuid() == 0 && find(&owner, name, NULL) == TKR_OK && stat(path, &info) == 0 && info.st_uid == owner.uid;
}

/* By descriptor, so that nobody puts something else in the path's place between the look and the change. */
tkr_status tkr_user_give(const char *name, const char *path, tkr_error *error) {
    user to = {0, 0};
    struct stat info;
    const tkr_status status = find(&to, name, error);
    if (status != TKR_OK || geteuid() != 0) return status;
#ifdef __linux__
    const int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    const bool seen = fd >= 0 && fstat(fd, &info) == 0;
#else
    const bool seen = lstat(path, &info) == 0;
#endif
    int code = seen ? 0 : errno;
    if (seen && ((!S_ISREG(info.st_mode) && !S_ISSOCK(info.st_mode)) || info.st_nlink != 1 || info.st_uid != 0)) {
        code = EPERM;
    } else if (seen) {
#ifdef __linux__
        code = fchownat(fd, "", to.uid, to.gid, AT_EMPTY_PATH) == 0 ? 0 : errno;
#else
        code = lchown(path, to.uid, to.gid) == 0 ? 0 : errno;
#endif
    }
#ifdef __linux__
    if (fd >= 0) (void)close(fd);
#endif
    if (code == 0) return TKR_OK;
    return TKR_FAIL(error, DENIED, "%s: cannot be given to user \"%s\": %s", path, name, strerror(code));
}

tkr_status tkr_user_become(const char *name, tkr_error *error) {
    user to = {0, 0};
    tkr_status status = find(&to, name, error);
    if (status != TKR_OK || (geteuid() == to.uid && getuid() == to.uid)) return status;
    if (geteuid() != 0) return TKR_FAIL(error, DENIED, "cannot become user \"%s\": only root can", name);
        /* Groups first: afterwards there is no right to change them. Then all three ids, so that there is no way back.
         */
#ifdef __APPLE__
    const int groups = initgroups(name, (int)to.gid);
#else
    const int groups = initgroups(name, to.gid);
#endif
    if (groups != 0 || setgid(to.gid) != 0 || setuid(to.uid) != 0)
        return TKR_FAIL(error, DENIED, "cannot become user \"%s\": %s", name, strerror(errno));
    if (to.uid != 0 && setuid(0) == 0) return TKR_FAIL(error, DENIED, "user \"%s\" could become root again", name);
    return TKR_OK;
}
