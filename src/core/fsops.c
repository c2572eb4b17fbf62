/* SPDX-License-Identifier: Apache-2.0 */
/* core/fsops: links, renames, flock, resumable appends. Refuses to follow a link where it writes. */
#define _GNU_SOURCE
#include "core/fsops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/sys.h"

enum { CHUNK_BYTES = 256 * 1024 };

struct tkr_fs_lock {
    int fd;
};

struct tkr_append {
    int fd;
    char *path; /* for messages */
};

tkr_status tkr_fs_symlink(const char *target, const char *link, tkr_error *error) {
    size_t size = 0;
    if (!tkr_add_size(&size, strlen(link), 64)) {
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    char *temporary = tkr_malloc(size);
    if (temporary == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    tkr_status status = TKR_OK;
    /* The address tells threads of one process apart. */
    (void)snprintf(temporary, size, "%s.%ld.%p", link, (long)getpid(), (void *)temporary);
    if (!tkr_seam_allows('w')) {
        status = TKR_SYS_FAIL(error, link, "cannot link", ENOSPC);
    } else if (symlink(target, temporary) != 0) {
        status = TKR_SYS_FAIL(error, link, "cannot link", errno);
    } else if (rename(temporary, link) != 0) {
        status = TKR_SYS_FAIL(error, link, "cannot link", errno);
        (void)unlink(temporary);
    }
    tkr_free(temporary);
    return status;
}

tkr_status tkr_fs_rename(const char *from, const char *to, tkr_error *error) {
    if (!tkr_seam_allows('w')) {
        return TKR_SYS_FAIL(error, to, "cannot rename", ENOSPC);
    }
    return rename(from, to) == 0 ? TKR_OK : TKR_SYS_FAIL(error, to, "cannot rename", errno);
}

tkr_status tkr_fs_remove(const char *path, tkr_error *error) {
    if (!tkr_seam_allows('w')) {
        return TKR_SYS_FAIL(error, path, "cannot remove", EIO);
    }
    if (unlink(path) != 0 && errno != ENOENT) {
        return TKR_SYS_FAIL(error, path, "cannot remove", errno);
    }
    return TKR_OK;
}

enum { TREE_DEPTH = 32 };

typedef struct tree {
    const char *path;
    unsigned depth;
    tkr_error *error;
} tree;

static tkr_status remove_tree(const char *path, unsigned depth, tkr_error *error);

static tkr_status remove_entry(void *user, const char *name, bool is_dir) {
    (void)is_dir;
    const tree *here = user;
    char *path = tkr_path_join(here->path, name);
    if (path == NULL) {
        return TKR_FAIL(here->error, NO_MEMORY, "out of memory");
    }
    tkr_status status = remove_tree(path, here->depth + 1, here->error);
    tkr_free(path);
    return status;
}

static tkr_status remove_tree(const char *path, unsigned depth, tkr_error *error) {
    if (unlink(path) == 0 || errno == ENOENT) {
        return TKR_OK;
    }
    if ((errno != EISDIR && errno != EPERM) || depth > TREE_DEPTH) { /* what Linux and POSIX say of folders */
        return TKR_SYS_FAIL(error, path, "cannot remove", errno);
    }
    tree here = {path, depth, error};
    tkr_status status = tkr_dir_each(path, remove_entry, &here, error);
    if (status == TKR_OK && rmdir(path) != 0) {
        status = TKR_SYS_FAIL(error, path, "cannot remove", errno);
    }
    return status;
}

tkr_status tkr_fs_remove_tree(const char *path, tkr_error *error) {
    if (!tkr_seam_allows('w')) {
        return TKR_SYS_FAIL(error, path, "cannot remove", EIO);
    }
    return remove_tree(path, 0, error);
}

tkr_status tkr_fs_id(tkr_file_id *id, const char *path, tkr_error *error) {
    struct stat info;
    if (!tkr_seam_allows('r')) {
        return TKR_SYS_FAIL(error, path, "cannot look at", EIO);
    }
    if (stat(path, &info) != 0) {
        return TKR_SYS_FAIL(error, path, "cannot look at", errno == ENOTDIR ? ENOENT : errno);
    }
    if (!S_ISREG(info.st_mode)) {
        return TKR_FAIL(error, NOT_FOUND, "%s: not a regular file", path);
    }
    tkr_sys_file_id(id, &info);
    return TKR_OK;
}

tkr_status tkr_fs_size(uint64_t *size, const char *path, tkr_error *error) {
    tkr_file_id id = {0};
    tkr_status status = tkr_fs_id(&id, path, error);
    if (status == TKR_OK) *size = id.size;
    return status;
}

tkr_status tkr_fs_access(tkr_file_access *access, const char *path, tkr_error *error) {
    struct stat info;
    if (!tkr_seam_allows('r')) {
        return TKR_SYS_FAIL(error, path, "cannot look at", EIO);
    }
    if (stat(path, &info) != 0) {
        return TKR_SYS_FAIL(error, path, "cannot look at", errno);
    }
    *access = (tkr_file_access){(unsigned)info.st_mode & 07777, info.st_uid == 0 || info.st_uid == geteuid()};
    return TKR_OK;
}

void tkr_fs_touch(const char *path) {
    if (tkr_seam_allows('w')) (void)utimensat(AT_FDCWD, path, NULL, 0);
}

tkr_status tkr_fs_private_dir(const char *path, tkr_error *error) {
    struct stat info;
    if (stat(path, &info) != 0) {
        char *parent = tkr_strdup(path), *slash = parent != NULL ? strrchr(parent, '/') : NULL;
        if (parent == NULL) {
            return TKR_FAIL(error, NO_MEMORY, "out of memory");
        }
        tkr_status status = TKR_OK;
        if (slash != NULL && slash != parent) {
            *slash = '\0';
            status = tkr_mkdirs(parent, error);
        }
        tkr_free(parent);
        if (status != TKR_OK) {
            return status;
        }
        if (!tkr_seam_allows('w')) {
            return TKR_SYS_FAIL(error, path, "cannot make this folder", ENOSPC);
        }
        if ((mkdir(path, 0700) != 0 && errno != EEXIST) || stat(path, &info) != 0) {
            return TKR_SYS_FAIL(error, path, "cannot make this folder", errno);
        }
    }
    if (!S_ISDIR(info.st_mode)) {
        return TKR_FAIL(error, IO, "%s: is not a folder", path);
    }
    if (info.st_uid != geteuid() || (info.st_mode & 077) != 0) {
        return TKR_FAIL(error, DENIED, "%s: is not private to this user (mode %o); chmod 700 makes it so", path,
                        (unsigned)info.st_mode & 07777);
    }
    return TKR_OK;
}

tkr_status tkr_fs_each_chunk(const char *path, tkr_status (*fn)(void *user, const void *data, size_t size), void *user,
                             tkr_error *error) {
    int fd = tkr_sys_open_read(path);
    if (fd < 0) {
        return TKR_SYS_FAIL(error, path, "cannot read", errno);
    }
    char *chunk = tkr_malloc(CHUNK_BYTES);
    tkr_status status = chunk != NULL ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "out of memory");
    while (status == TKR_OK) {
        ssize_t got = tkr_sys_read(fd, chunk, CHUNK_BYTES);
        if (got == 0) {
            break;
        }
        if (got > 0) {
            status = fn(user, chunk, (size_t)got);
        } else if (errno != EINTR) {
            status = TKR_SYS_FAIL(error, path, "cannot read", errno);
        }
    }
    tkr_free(chunk);
    (void)close(fd);
    return status;
}

tkr_status tkr_fs_lock_try(tkr_fs_lock **lock, const char *path, tkr_error *error) {
    if (!tkr_seam_allows('w')) {
        return TKR_SYS_FAIL(error, path, "cannot lock", EIO);
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) {
        return TKR_SYS_FAIL(error, path, "cannot lock", errno);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int number = errno;
        (void)close(fd);
        if (number == EWOULDBLOCK || number == EINTR) {
            return TKR_FAIL(error, BUSY, "%s: held by another process", path);
        }
        return TKR_SYS_FAIL(error, path, "cannot lock", number);
    }
    /* Some other programs remove their lock file: a lock on a file that has no name any more protects nothing. */
    struct stat mine, named;
    if (fstat(fd, &mine) != 0 || stat(path, &named) != 0 || mine.st_ino != named.st_ino ||
        mine.st_dev != named.st_dev) {
        (void)close(fd);
        return TKR_FAIL(error, BUSY, "%s: replaced by another process", path);
    }
    tkr_fs_lock *made = tkr_malloc(sizeof *made);
    if (made == NULL) {
        (void)close(fd);
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    made->fd = fd;
    *lock = made;
    return TKR_OK;
}

void tkr_fs_unlock(tkr_fs_lock **lock) {
    if (*lock != NULL) {
        (void)close((*lock)->fd); /* the lock goes with the descriptor */
        tkr_free(*lock);
        *lock = NULL;
    }
}

tkr_status tkr_append_open(tkr_append **out, uint64_t *size, const char *path, tkr_error *error) {
    tkr_append *made = tkr_calloc(1, sizeof *made);
    tkr_status status = TKR_OK;
    if (made == NULL || (made->fd = -1, made->path = tkr_strdup(path)) == NULL) {
        status = TKR_FAIL(error, NO_MEMORY, "out of memory");
        goto fail;
    }
    made->fd = tkr_sys_open_write(path, O_APPEND | O_NOFOLLOW);
    struct stat info;
    if (made->fd < 0 || fstat(made->fd, &info) != 0) {
        status = TKR_SYS_FAIL(error, path, "cannot open for writing", errno);
        goto fail;
    }
    if (!S_ISREG(info.st_mode)) {
        status = TKR_FAIL(error, IO, "%s: not a regular file; remove it", path);
        goto fail;
    }
    *size = (uint64_t)info.st_size;
    *out = made;
    return TKR_OK;
fail:
    tkr_append_close(&made);
    return status;
}

tkr_status tkr_append_open_stderr(tkr_append **out, tkr_error *error) {
    tkr_append *made = tkr_calloc(1, sizeof *made);
    if (made == NULL || (made->path = tkr_strdup("standard error")) == NULL) {
        tkr_free(made);
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    made->fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (made->fd < 0) {
        const tkr_status status = TKR_SYS_FAIL(error, made->path, "cannot open", errno);
        tkr_append_close(&made);
        return status;
    }
    *out = made;
    return TKR_OK;
}

tkr_status tkr_append_write(tkr_append *out, const void *data, size_t size, tkr_error *error) {
    return tkr_sys_write(out->fd, data, size) ? TKR_OK : TKR_SYS_FAIL(error, out->path, "cannot write", errno);
}

tkr_status tkr_append_reset(tkr_append *out, tkr_error *error) {
    if (!tkr_seam_allows('w')) {
        return TKR_SYS_FAIL(error, out->path, "cannot truncate", EIO);
    }
    return ftruncate(out->fd, 0) == 0 ? TKR_OK : TKR_SYS_FAIL(error, out->path, "cannot truncate", errno);
}

void tkr_append_start_sync(tkr_append *out) {
#if defined(__linux__)
    (void)sync_file_range(out->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
#else
    (void)out;
#endif
}

tkr_status tkr_append_sync(tkr_append *out, tkr_error *error) {
    if (!tkr_seam_allows('w')) {
        return TKR_SYS_FAIL(error, out->path, "cannot sync", EIO);
    }
    return tkr_sys_sync(out->fd) ? TKR_OK : TKR_SYS_FAIL(error, out->path, "cannot sync", errno);
}

void tkr_append_close(tkr_append **out) {
    if (*out != NULL) {
        if ((*out)->fd >= 0) {
            (void)close((*out)->fd);
        }
        tkr_free((*out)->path);
        tkr_free(*out);
        *out = NULL;
    }
}

void tkr_sleep(double seconds) {
    if (!(seconds > 0.0)) {
        return;
    }
    double whole = seconds < 3600.0 ? seconds : 3600.0;
    struct timespec wait = {.tv_sec = (time_t)whole};
    wait.tv_nsec = (long)((whole - (double)wait.tv_sec) * 1e9);
    (void)nanosleep(&wait, NULL);
}
