/* SPDX-License-Identifier: Apache-2.0 */
/* core/net: see net.h. Refuses to take a Unix socket away from a server that still answers on it. */
#ifdef __linux__
#define _GNU_SOURCE /* accept4 */
#endif
#include "core/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/file.h"
#include "core/sys.h"

enum { BACKLOG = 4096 };

typedef union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
    struct sockaddr_storage room;
} address;

static bool set_flags(int fd) {
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

static void set_option(int fd, int level, int name, int value) {
    (void)setsockopt(fd, level, name, &value, sizeof value);
}

/* ---- TCP ---- */

static void write_url(tkr_listener *listener, const char *scheme) {
    address own;
    socklen_t size = sizeof own;
    char host[INET6_ADDRSTRLEN] = "?";
    memset(&own, 0, sizeof own);
    if (getsockname(listener->fd, &own.any, &size) != 0) return;
    if (own.any.sa_family == AF_UNIX) {
        (void)snprintf(listener->url, sizeof listener->url, "unix:%.108s", own.local.sun_path);
    } else if (own.any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &own.v6.sin6_addr, host, sizeof host);
        (void)snprintf(listener->url, sizeof listener->url, "%s://[%s]:%u", scheme, host, ntohs(own.v6.sin6_port));
    } else {
        (void)inet_ntop(AF_INET, &own.v4.sin_addr, host, sizeof host);
        (void)snprintf(listener->url, sizeof listener->url, "%s://%s:%u", scheme, host, ntohs(own.v4.sin_port));
    }
}

/* "host:port" and "[host]:port" into their parts; false when it is neither. */
static bool split(char *host, size_t size, const char **port, const char *text) {
    const char *colon = strrchr(text, ':');
    if (!colon || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1)) return false;
    const char *begin = text, *end = colon;
    if (*text == '[') {
        if (colon[-1] != ']') return false;
        begin++;
        end--;
    } else if (memchr(text, ':', (size_t)(colon - text))) {
        return false;
    }
    if (end == begin || (size_t)(end - begin) >= size) return false;
    memcpy(host, begin, (size_t)(end - begin));
    host[end - begin] = '\0';
    *port = colon + 1;
    return strtol(*port, NULL, 10) <= 65535;
}

static tkr_status open_tcp(tkr_listener *listener, const char *text, tkr_error *error) {
    char host[256];
    const char *port;
    if (!split(host, sizeof host, &port, text))
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "%s: not an address to listen on; right would be \"127.0.0.1:8000\", \"[::1]:8000\", "
                        "\"unix:/path\" or \"fd:3\"",
                        text);
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    const int code = getaddrinfo(host, port, &wanted, &found);
    if (code != 0) return TKR_FAIL(error, NETWORK, "%s: the host isn't known: %s", text, gai_strerror(code));
    int problem = 0;
    const int fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (fd >= 0) {
        set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        if (found->ai_family == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, strcmp(host, "::") != 0);
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* what is accepted inherits it */
    }
    if (fd < 0 || !set_flags(fd) || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)
        problem = errno;
    freeaddrinfo(found);
    if (problem != 0) {
        if (fd >= 0) (void)close(fd);
        return TKR_FAIL(error, NETWORK, "%s: can't listen there: %s", text, strerror(problem));
    }
    listener->fd = fd;
    return TKR_OK;
}

/* ---- Unix sockets ---- */

/* Removes the socket file that an ended server left; false when somebody answers there, or it is something else. */
static bool remove_stale(const struct sockaddr_un *at) {
    struct stat info;
    if (lstat(at->sun_path, &info) != 0) return errno == ENOENT;
    if (!S_ISSOCK(info.st_mode)) return false;
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) return false;
    const bool dead = connect(fd, (const struct sockaddr *)at, sizeof *at) != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    return dead && unlink(at->sun_path) == 0;
}

static tkr_status open_unix(tkr_listener *listener, const char *path, unsigned mode, tkr_error *error) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat info;
    if (strlen(path) >= sizeof at.sun_path || *path == '\0')
        return TKR_FAIL(error, INVALID_ARGUMENT, "unix:%s: the path must have 1 to %zu bytes", path,
                        sizeof at.sun_path - 1);
    memcpy(at.sun_path, path, strlen(path) + 1);
    if (!remove_stale(&at))
        return TKR_FAIL(error, BUSY, "unix:%s: another server answers there, or it isn't a socket", path);
    listener->path = tkr_strdup(path);
    if (!listener->path) return TKR_FAIL(error, NO_MEMORY, "no memory to listen on unix:%s", path);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    /* Nobody can connect before listen(), so nobody is let in by the permissions of the moment between. */
    if (fd < 0 || !set_flags(fd) || bind(fd, (const struct sockaddr *)&at, sizeof at) != 0 ||
        chmod(path, (mode_t)mode) != 0 || listen(fd, BACKLOG) != 0 || stat(path, &info) != 0) {
        const int problem = errno;
        if (fd >= 0) (void)close(fd);
        tkr_free(listener->path);
        listener->path = NULL;
        return TKR_FAIL(error, NETWORK, "unix:%s: can't listen there: %s", path, strerror(problem));
    }
    listener->fd = fd;
    listener->local = true;
    listener->device = (uint64_t)info.st_dev;
    listener->inode = (uint64_t)info.st_ino;
    return TKR_OK;
}

/* ---- adopted ones ---- */

static tkr_status adopt(tkr_listener *listener, const char *number, tkr_error *error) {
    char *end = NULL;
    const long fd = strtol(number, &end, 10);
    if (end == number || *end != '\0' || fd < 0 || fd > 1 << 20)
        return TKR_FAIL(error, INVALID_ARGUMENT, "fd:%s: not the number of a descriptor", number);
    address own;
    socklen_t size = sizeof own, int_size = sizeof(int);
    int type = 0, listening = 0;
    memset(&own, 0, sizeof own);
    if (getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &int_size) != 0 || type != SOCK_STREAM ||
        getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &int_size) != 0 || !listening ||
        getsockname((int)fd, &own.any, &size) != 0)
        return TKR_FAIL(error, INVALID_ARGUMENT, "fd:%s: not a listening stream socket", number);
    if (!set_flags((int)fd)) return TKR_FAIL(error, NETWORK, "fd:%s: %s", number, strerror(errno));
    listener->fd = (int)fd;
    listener->local = own.any.sa_family == AF_UNIX;
    if (!listener->local) set_option((int)fd, IPPROTO_TCP, TCP_NODELAY, 1);
    return TKR_OK;
}

tkr_status tkr_listener_open(tkr_listener *listener, const char *text, const char *scheme, unsigned unix_mode,
                             tkr_error *error) {
    *listener = (tkr_listener){.fd = -1};
    tkr_status status;
    if (strncmp(text, "unix:", 5) == 0)
        status = open_unix(listener, text + 5, unix_mode, error);
    else if (strncmp(text, "private:", 8) == 0)
        status = open_unix(listener, text + 8, 0600, error);
    else if (strncmp(text, "fd:", 3) == 0)
        status = adopt(listener, text + 3, error);
    else
        status = open_tcp(listener, text, error);
    if (status == TKR_OK) write_url(listener, scheme);
    return status;
}

void tkr_listener_close(tkr_listener *listener) {
    if (listener->fd >= 0) (void)close(listener->fd);
    listener->fd = -1;
    struct stat info;
    if (listener->path && lstat(listener->path, &info) == 0 && (uint64_t)info.st_dev == listener->device &&
        (uint64_t)info.st_ino == listener->inode)
        (void)unlink(listener->path);
    tkr_free(listener->path);
    listener->path = NULL;
}

/* ---- accepting ---- */

static void name_peer(tkr_peer *peer, const address *from) {
    static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    const uint8_t *v6 = from->v6.sin6_addr.s6_addr;
    peer->key = 0;
    if (from->any.sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &from->v4.sin_addr, peer->text, sizeof peer->text);
        peer->key = (uint64_t)1 << 32 | ntohl(from->v4.sin_addr.s_addr);
    } else if (from->any.sa_family == AF_INET6 && memcmp(v6, mapped, sizeof mapped) == 0) {
        (void)inet_ntop(AF_INET, v6 + 12, peer->text, sizeof peer->text);
        peer->key =
            (uint64_t)1 << 32 | (uint64_t)v6[12] << 24 | (uint64_t)v6[13] << 16 | (uint64_t)v6[14] << 8 | v6[15];
    } else if (from->any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, v6, peer->text, sizeof peer->text);
        for (size_t i = 0; i < 8; i++) peer->key = peer->key << 8 | v6[i];
        if (peer->key == 0) peer->key = 1; /* ::1 */
    } else {
        memcpy(peer->text, "unix", sizeof "unix");
    }
}

tkr_accept_result tkr_listener_accept(int *out, tkr_peer *peer, const tkr_listener *listener) {
    address from;
    int fd;
    memset(&from, 0, sizeof from);
    do {
        socklen_t size = sizeof from;
#ifdef __linux__
        fd = accept4(listener->fd, &from.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
        fd = accept(listener->fd, &from.any, &size);
#endif
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO));
    if (fd < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) return TKR_ACCEPT_NONE;
        return errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM ? TKR_ACCEPT_FULL
                                                                                         : TKR_ACCEPT_FAILED;
    }
#ifndef __linux__
    if (!set_flags(fd)) {
        (void)close(fd);
        return TKR_ACCEPT_FAILED;
    }
#endif
    name_peer(peer, &from);
    *out = fd;
    return TKR_ACCEPT_ONE;
}

/* ---- descriptors ---- */

int tkr_fd_spare(void) { return tkr_sys_open_read("/dev/null"); }

void tkr_fd_close(int fd) {
    if (fd >= 0) (void)close(fd);
}

size_t tkr_fd_limit(size_t wanted) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
    if (limit.rlim_cur < wanted) {
        const struct rlimit raised = {limit.rlim_max < wanted ? limit.rlim_max : wanted, limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
    }
    return limit.rlim_cur < SIZE_MAX ? (size_t)limit.rlim_cur : SIZE_MAX;
}

int tkr_fd_high(size_t number) {
    const int any = socket(AF_UNIX, SOCK_STREAM, 0); /* unlike a file, it can be polled */
    const int high = any >= 0 && number < INT32_MAX ? fcntl(any, F_DUPFD_CLOEXEC, (int)number) : -1;
    tkr_fd_close(any);
    return high;
}

bool tkr_socket_has_input(int fd) {
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

size_t tkr_socket_unsent(int fd) {
    int n = 0;
#if defined __linux__
    const bool known = ioctl(fd, TIOCOUTQ, &n) == 0;
#elif defined SO_NWRITE
    socklen_t size = sizeof n;
    const bool known = getsockopt(fd, SOL_SOCKET, SO_NWRITE, &n, &size) == 0;
#else
    const bool known = false;
    (void)fd;
#endif
    return known && n > 0 ? (size_t)n : 0;
}

void tkr_ignore_broken_pipes(void) {
    struct sigaction ignore;
    memset(&ignore, 0, sizeof ignore);
    ignore.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &ignore, NULL);
}
