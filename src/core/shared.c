/* SPDX-License-Identifier: Apache-2.0 */
/* core/process: memory that two processes see: a sealed memfd on Linux, an unlinked shared-memory object elsewhere. */
#if defined(__linux__)
#define _GNU_SOURCE
#elif defined(__APPLE__)
#define _DARWIN_C_SOURCE
#else
#define _POSIX_C_SOURCE 200809L
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/process.h"
#include "core/sys.h"

#if defined(__linux__)

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* Linux 6.3 */
#endif

static int open_memory(void) {
    int fd = memfd_create("tkr-embed", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) fd = memfd_create("tkr-embed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

/* A mapped file that the other side makes shorter would be a SIGBUS here. */
static bool seal(int fd) { return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0; }

#else

static int open_memory(void) {
    char name[64];
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof name, "/tkr-%ld-%p-%u", (long)getpid(), (void *)name, i);
        const int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd >= 0) {
            (void)shm_unlink(name);
            (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
            return fd;
        }
        if (errno != EEXIST) return -1;
    }
    return -1;
}

static bool seal(int fd) { return fd >= 0; } /* there, such an object has its size once and for all */

#endif

tkr_status tkr_shared_create(tkr_shared *shared, size_t size, tkr_error *error) {
    *shared = (tkr_shared){.fd = -1};
    if (!tkr_seam_allows('a')) return TKR_FAIL(error, NO_MEMORY, "no memory to share %zu bytes with a helper", size);
    int code;
    int fd = open_memory();
    if (fd >= 0) fd = tkr_sys_lift(fd);
    if (fd < 0) goto fail;
    if (ftruncate(fd, (off_t)size) != 0 || !seal(fd)) goto fail;
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) goto fail;
#if defined(MADV_DONTDUMP)
    (void)madvise(data, size, MADV_DONTDUMP);
#endif
    *shared = (tkr_shared){.data = data, .size = size, .fd = fd};
    return TKR_OK;
fail:
    code = errno;
    if (fd >= 0) (void)close(fd);
    return TKR_SYS_FAIL(error, "memory shared with a helper", "cannot be made", code);
}

void tkr_shared_release(tkr_shared *shared, size_t offset, size_t size) {
#if defined(MADV_REMOVE)
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t from = tkr_align_up(offset, page), to = (offset + size) & ~(page - 1);
    if (from < to) (void)madvise(shared->data + from, to - from, MADV_REMOVE);
#else
    (void)shared, (void)offset, (void)size;
#endif
}

void tkr_shared_free(tkr_shared *shared) {
    if (!shared->data) return;
    (void)munmap(shared->data, shared->size);
    (void)close(shared->fd);
    *shared = (tkr_shared){.fd = -1};
}
