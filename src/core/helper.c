/* SPDX-License-Identifier: Apache-2.0 */
/* core/process: the helper's side: its two descriptors and its limits. */
#define _GNU_SOURCE
#if defined(__APPLE__)
#define _DARWIN_C_SOURCE
#endif
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "core/process.h"
#include "core/sys.h"

#if !defined(MSG_NOSIGNAL)
#define MSG_NOSIGNAL 0
#endif

static void close_others(void) {
    enum { FIRST = TKR_HELPER_MEMORY + 1 };
#if defined(SYS_close_range)
    if (syscall(SYS_close_range, (unsigned)FIRST, ~0u, 0u) == 0) return;
#endif
    long n = sysconf(_SC_OPEN_MAX);
    if (n < 0 || n > 65536) n = 65536;
    for (int fd = FIRST; fd < (int)n; fd++) (void)close(fd);
}

/* A helper does the same again and again: memory that it freed stays mapped, within reason. */
static void keep_freed_memory(void) {
#if defined(__GLIBC__)
    (void)mallopt(M_MMAP_THRESHOLD, 16 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 64 << 20);
    (void)mallopt(M_TOP_PAD, 1 << 20);
#endif
}

tkr_status tkr_helper_attach(tkr_shared *shared, size_t size, tkr_error *error) {
    struct stat info;
    *shared = (tkr_shared){.fd = -1};
    close_others();
    keep_freed_memory();
    if (fstat(TKR_HELPER_MEMORY, &info) != 0 || (uint64_t)info.st_size < size) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "descriptor %d isn't memory of %zu bytes", TKR_HELPER_MEMORY, size);
    }
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, TKR_HELPER_MEMORY, 0);
    if (data == MAP_FAILED) return TKR_SYS_FAIL(error, "shared memory", "cannot be mapped", errno);
    *shared = (tkr_shared){.data = data, .size = size, .fd = TKR_HELPER_MEMORY};
    return TKR_OK;
}

bool tkr_helper_receive(void *data, size_t size, double awake) {
    char *at = data;
    const double awake_until = tkr_now() + awake;
    int flags = MSG_DONTWAIT;
    while (size > 0) {
        const ssize_t n = recv(TKR_HELPER_SOCKET, at, size, flags);
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            if (tkr_now() < awake_until) {
                tkr_sys_breathe();
            } else {
                flags = 0;
            }
        } else if (n == 0 || errno != EINTR) {
            return false;
        }
    }
    return true;
}

bool tkr_helper_send(const void *data, size_t size) {
    const char *at = data;
    while (size > 0) {
        const ssize_t n = send(TKR_HELPER_SOCKET, at, size, MSG_NOSIGNAL);
        if (n >= 0) {
            at += n;
            size -= (size_t)n;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

/* Pages of address space in use; 0 when unknown. */
static uint64_t mapped_bytes(void) {
    char text[128] = "";
#if defined(__linux__)
    const int fd = tkr_sys_open_read("/proc/self/statm");
    if (fd < 0) return 0;
    const ssize_t n = tkr_sys_read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    (void)close(fd);
#endif
    const unsigned long long pages = strtoull(text, NULL, 10);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

#if defined(__GLIBC__)
typedef __rlimit_resource_t limit_kind;
#else
typedef int limit_kind;
#endif

static bool limit(limit_kind resource, uint64_t value) {
    struct rlimit now;
    if (getrlimit(resource, &now) != 0) return false;
    if (now.rlim_max != RLIM_INFINITY && (uint64_t)now.rlim_max < value) value = (uint64_t)now.rlim_max;
    const struct rlimit wanted = {.rlim_cur = (rlim_t)value, .rlim_max = (rlim_t)value};
    return setrlimit(resource, &wanted) == 0;
}

tkr_status tkr_helper_limit(const tkr_helper_limits *limits, tkr_error *error) {
    const struct {
        limit_kind resource;
        uint64_t value;
        const char *name;
    } wanted[] = {
        {RLIMIT_AS, limits->memory ? mapped_bytes() + limits->memory : UINT64_MAX, "address space"},
        {RLIMIT_CPU, limits->cpu_seconds, "CPU time"},
        {RLIMIT_FSIZE, 0, "file size"},
        {RLIMIT_CORE, 0, "core size"},
        {RLIMIT_NPROC, 0, "processes"},
        {RLIMIT_NOFILE, TKR_HELPER_MEMORY + 1 + (limits->files ? limits->files : 1), "descriptors"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        if (wanted[i].value == UINT64_MAX) continue;
        if (!limit(wanted[i].resource, wanted[i].value)) {
            return TKR_SYS_FAIL(error, wanted[i].name, "cannot be limited", errno);
        }
    }
    return TKR_OK;
}
