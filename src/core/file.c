/* SPDX-License-Identifier: Apache-2.0 */
/* core/file: maps, whole-file reads, atomic writes. Refuses directories, pipes and devices where a file is asked for.
 */
#define _DEFAULT_SOURCE 1
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/sys.h"

/* Opens a regular file; *id describes it now. Returns the descriptor, or -1 with *error filled and *status set. */
static int open_regular(const char *path, tkr_file_id *id, tkr_status *status, tkr_error *error) {
    struct stat info;
    /* stat first: opening a named pipe would wait for its other end. */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        *status = S_ISDIR(info.st_mode) ? TKR_FAIL(error, IO, "%s: is a directory, expected a file", path)
                                        : TKR_FAIL(error, IO, "%s: is not a regular file", path);
        return -1;
    }
    int fd = tkr_sys_open_read(path);
    if (fd < 0) {
        *status = TKR_SYS_FAIL(error, path, "cannot open", errno);
        return -1;
    }
    if (fstat(fd, &info) != 0) {
        *status = TKR_SYS_FAIL(error, path, "cannot read its size", errno);
        (void)close(fd);
        return -1;
    }
    tkr_sys_file_id(id, &info);
    return fd;
}

tkr_status tkr_map_open(tkr_map *map, const char *path, tkr_error *error) {
    map->data = NULL;
    map->size = 0;
    tkr_status status = TKR_OK;
    int fd = open_regular(path, &map->id, &status, error);
    if (fd < 0) {
        return status;
    }
    const uint64_t size = map->id.size;
    if (size > PTRDIFF_MAX) {
        status = TKR_FAIL(error, LIMIT, "%s: %" PRIu64 " bytes do not fit this machine's address space", path, size);
    } else if (size > 0) {
        void *data = MAP_FAILED;
        errno = EIO;
        if (tkr_seam_allows('r')) {
            data = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
        }
        if (data == MAP_FAILED) {
            status = TKR_SYS_FAIL(error, path, "cannot map", errno);
        } else {
            map->data = data;
            map->size = (size_t)size;
        }
    }
    (void)close(fd);
    return status;
}

void tkr_map_release(const void *data, size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = ((uintptr_t)data + page - 1) / page * page, end = ((uintptr_t)data + bytes) / page * page;
    if (end > begin) (void)madvise((void *)begin, end - begin, MADV_DONTNEED); /* a clean, private file map */
}

void tkr_map_close(tkr_map *map) {
    if (map->data != NULL) {
        (void)munmap((void *)(uintptr_t)map->data, map->size);
    }
    map->data = NULL;
    map->size = 0;
}

/* Reads to the end of the file, whatever size was announced: it may grow, and files in /proc announce 0. */
static tkr_status read_all(tkr_buf *out, int fd, const char *path, size_t max_size, tkr_error *error) {
    for (;;) {
        size_t room = out->room - out->size - 1;
        if (room == 0) {
            if (!tkr_buf_reserve(out, 4096)) {
                return TKR_FAIL(error, NO_MEMORY, "%s: no memory for more than %zu bytes", path, out->size);
            }
            room = out->room - out->size - 1;
        }
        ssize_t n = tkr_sys_read(fd, out->data + out->size, room);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return TKR_SYS_FAIL(error, path, "cannot read", errno);
        }
        if (n == 0) {
            return TKR_OK;
        }
        out->size += (size_t)n;
        out->data[out->size] = '\0';
        if (out->size > max_size) {
            return TKR_FAIL(error, LIMIT, "%s: is larger than the limit of %zu bytes", path, max_size);
        }
    }
}

tkr_status tkr_file_read(tkr_buf *out, const char *path, size_t max_size, tkr_error *error) {
    tkr_file_id id = {0};
    tkr_status status = TKR_OK;
    int fd = open_regular(path, &id, &status, error);
    if (fd < 0) {
        return status;
    }
    const uint64_t size = id.size;
    out->size = 0;
    if (size > max_size || size > PTRDIFF_MAX / 2) {
        status = TKR_FAIL(error, LIMIT, "%s: %" PRIu64 " bytes are more than the limit of %zu", path, size, max_size);
    } else if (!tkr_buf_reserve(out, (size_t)size + 1)) { /* one more, so that the end is seen without growing */
        status = TKR_FAIL(error, NO_MEMORY, "%s: no memory for its %" PRIu64 " bytes", path, size);
    } else {
        out->data[0] = '\0';
        status = read_all(out, fd, path, max_size, error);
    }
    (void)close(fd);
    return status;
}

/* ---- atomic writes ---- */

enum { TEMP_TRIES = 64 };

/* Length of the folder part of path, its slash included. */
static size_t folder_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (size_t)(slash - path) + 1;
}

/* Creates a new file beside path; O_EXCL makes it ours whatever other processes and threads do. *temp is its name. */
static int open_temp(char **temp, const char *path) {
    for (int i = 0; i < TEMP_TRIES; i++) {
        struct timespec now;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        tkr_buf name = {0};
        if (!tkr_buf_append(&name, path, folder_length(path)) ||
            !tkr_buf_printf(&name, ".tkr-tmp-%ld-%ld-%d", (long)getpid(), now.tv_nsec, i)) {
            tkr_buf_free(&name);
            errno = ENOMEM;
            return -1;
        }
        int fd = tkr_sys_open_write(name.data, O_EXCL);
        if (fd >= 0) {
            *temp = name.data;
            return fd;
        }
        int code = errno;
        tkr_buf_free(&name);
        errno = code;
        if (code != EEXIST) {
            return -1;
        }
    }
    return -1;
}

static bool seam_rename(const char *from, const char *to) {
    if (!tkr_seam_allows('w')) {
        errno = ENOSPC;
        return false;
    }
    return rename(from, to) == 0;
}

/* Makes the new name itself durable. A file system that can't is no reason to fail: the content is written. */
static void sync_folder(const char *path) {
    char *folder = folder_length(path) > 0 ? tkr_strndup(path, folder_length(path)) : tkr_strdup(".");
    int fd = folder != NULL ? open(folder, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)tkr_sys_sync(fd);
        (void)close(fd);
    }
    tkr_free(folder);
}

static tkr_status write_atomic(const char *path, const void *data, size_t size, bool is_private, tkr_error *error) {
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (exists && !S_ISREG(info.st_mode)) { /* renaming over /dev/null would be a disaster */
        return TKR_FAIL(error, IO, "%s: is %s, expected a regular file", path,
                        S_ISDIR(info.st_mode) ? "a directory" : "a device or pipe");
    }
    char *temp = NULL;
    int fd = open_temp(&temp, path);
    if (fd < 0) {
        return errno == ENOMEM ? TKR_FAIL(error, NO_MEMORY, "%s: no memory for a temporary name", path)
                               : TKR_SYS_FAIL(error, path, "cannot create a temporary file beside it", errno);
    }
    const char *doing = "cannot make it private";
    bool done = true;
    if (is_private) {
        done = fchmod(fd, 0600) == 0;
    } else if (exists) {
        (void)!fchown(fd, info.st_uid, info.st_gid); /* root can, others have no need to */
        (void)fchmod(fd, info.st_mode & 07777);      /* file systems without modes refuse: nothing is lost */
    }
    if (done) {
        doing = "cannot write";
        done = tkr_sys_write(fd, data, size);
    }
    if (done) {
        doing = "cannot sync";
        done = tkr_sys_sync(fd);
    }
    int code = errno;
    if (close(fd) != 0 && done) {
        doing = "cannot close";
        code = errno;
        done = false;
    }
    if (done) {
        doing = "cannot rename into place";
        done = seam_rename(temp, path);
        code = errno;
    }
    tkr_status status = TKR_OK;
    if (done) {
        sync_folder(path);
    } else {
        (void)unlink(temp);
        status = TKR_SYS_FAIL(error, path, doing, code);
    }
    tkr_free(temp);
    return status;
}

tkr_status tkr_file_write_atomic(const char *path, const void *data, size_t size, tkr_error *error) {
    return write_atomic(path, data, size, false, error);
}

tkr_status tkr_file_write_private(const char *path, const void *data, size_t size, tkr_error *error) {
    return write_atomic(path, data, size, true, error);
}
