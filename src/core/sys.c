/* SPDX-License-Identifier: Apache-2.0 */
/* core/sys: open, read and write for core's files, through the test seam. Refuses to raise SIGPIPE. */
#define _POSIX_C_SOURCE 200809L
#define _DARWIN_C_SOURCE /* macOS hides st_mtimespec otherwise */
#include "core/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "core/relax.h"

tkr_status tkr_sys_fail(tkr_error *error, const char *origin, const char *path, const char *doing, int code) {
    char reason[128];
    if (strerror_r(code, reason, sizeof reason) != 0) {
        (void)memcpy(reason, "unknown reason", sizeof "unknown reason");
    }
    tkr_status status = code == ENOENT || code == ENOTDIR ? TKR_NOT_FOUND : TKR_IO;
    return tkr_error_set(error, origin, status, "%s: %s: %s", path, doing, reason);
}

void tkr_sys_file_id(tkr_file_id *id, const struct stat *info) {
#if defined(__APPLE__)
    const struct timespec *modified = &info->st_mtimespec;
#else
    const struct timespec *modified = &info->st_mtim;
#endif
    *id = (tkr_file_id){.device = (uint64_t)info->st_dev,
                        .inode = (uint64_t)info->st_ino,
                        .size = (uint64_t)info->st_size,
                        .modified_ns = (int64_t)modified->tv_sec * 1000000000 + modified->tv_nsec};
}

void tkr_sys_breathe(void) {
    for (int i = 0; i < 8; i++) TKR_RELAX();
    (void)sched_yield();
}

int tkr_sys_lift(int fd) {
    const int high = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    const int code = errno;
    (void)close(fd);
    errno = code;
    return high;
}

int tkr_sys_open_read(const char *path) {
    if (!tkr_seam_allows('r')) {
        errno = EIO;
        return -1;
    }
    return open(path, O_RDONLY | O_CLOEXEC);
}

int tkr_sys_open_write(const char *path, int flags) {
    if (!tkr_seam_allows('w')) {
        errno = ENOSPC;
        return -1;
    }
    return open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666);
}

/* A descriptor that somebody made non-blocking (a shared terminal or pipe) must not look like a failure. */
static bool wait_if_full(int fd, short events) {
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
        return false;
    }
    struct pollfd waiting = {.fd = fd, .events = events};
    return poll(&waiting, 1, -1) >= 0;
}

ssize_t tkr_sys_read(int fd, void *data, size_t size) {
    if (!tkr_seam_allows('r')) {
        errno = EIO;
        return -1;
    }
    ssize_t n;
    do {
        n = read(fd, data, size);
    } while (n < 0 && wait_if_full(fd, POLLIN));
    return n;
}

static bool write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n >= 0) {
            data += n;
            size -= (size_t)n;
        } else if (errno != EINTR && !wait_if_full(fd, POLLOUT) && errno != EINTR) {
            return false;
        }
    }
    return true;
}

bool tkr_sys_write(int fd, const void *data, size_t size) {
    if (!tkr_seam_allows('w')) {
        errno = ENOSPC;
        return false;
    }
    /* A library must not change the process's signal dispositions: hold SIGPIPE back in this thread and take it away.
     */
    sigset_t pipe_set, old_set, pending;
    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigemptyset(&pending);
    (void)sigpending(&pending);
    bool was_pending = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &pipe_set, &old_set);
    bool done = write_all(fd, data, size);
    int code = errno;
    if (!done && code == EPIPE && !was_pending) {
        (void)sigpending(&pending);
        int taken;
        if (sigismember(&pending, SIGPIPE) == 1) {
            (void)sigwait(&pipe_set, &taken);
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &old_set, NULL);
    errno = code;
    return done;
}

bool tkr_sys_pwrite(int fd, const void *data, size_t size, off_t offset) {
    if (!tkr_seam_allows('w')) {
        errno = ENOSPC;
        return false;
    }
    const char *at = data;
    while (size > 0) {
        ssize_t n = pwrite(fd, at, size, offset);
        if (n >= 0) {
            at += n;
            size -= (size_t)n;
            offset += n;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

bool tkr_sys_sync(int fd) {
#if defined(__APPLE__)
    if (fcntl(fd, F_FULLFSYNC) == 0) return true; /* fsync alone leaves them in the disk's own memory there */
#endif
    return fsync(fd) == 0;
}
