/* SPDX-License-Identifier: Apache-2.0 */
/* core/file, names: paths, folders, environment, clock. Refuses nothing: absent things are answers, not errors. */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "core/file.h"
#include "core/sys.h"

bool tkr_path_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

bool tkr_path_is_dir(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

tkr_status tkr_path_check_access(const char *path, tkr_error *error) {
    struct stat info;
    if (stat(path, &info) == 0 || errno != EACCES) {
        return TKR_OK;
    }
    return TKR_SYS_FAIL(error, path, "cannot look for it", errno);
}

char *tkr_path_join(const char *a, const char *b) {
    size_t n = strlen(a);
    while (n > 1 && a[n - 1] == '/') {
        n--;
    }
    while (n > 0 && *b == '/') {
        b++;
    }
    bool slash = n > 0 && a[n - 1] != '/';
    tkr_buf joined = {0};
    if (!tkr_buf_append(&joined, a, n) || (slash && !tkr_buf_putc(&joined, '/')) ||
        !tkr_buf_append(&joined, b, strlen(b))) {
        tkr_buf_free(&joined);
        return NULL;
    }
    return joined.data;
}

static bool make_dir(const char *path) {
    if (!tkr_seam_allows('w')) {
        errno = ENOSPC;
        return false;
    }
    return mkdir(path, 0777) == 0 || (errno == EEXIST && tkr_path_is_dir(path));
}

tkr_status tkr_mkdirs(const char *path, tkr_error *error) {
    if (tkr_path_is_dir(path)) {
        return TKR_OK;
    }
    char *part = tkr_strdup(path);
    if (part == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "%s: no memory to make this folder", path);
    }
    tkr_status status = TKR_OK;
    for (size_t i = 1; part[0] != '\0' && status == TKR_OK; i++) {
        char c = part[i];
        if (c == '/' || c == '\0') {
            part[i] = '\0';
            /* An existing parent may refuse mkdir for another reason (read-only file system), so look first. */
            if (!tkr_path_is_dir(part) && !make_dir(part)) {
                status = TKR_SYS_FAIL(error, part, "cannot make this folder", errno);
            }
            part[i] = c;
        }
        if (c == '\0') {
            break;
        }
    }
    tkr_free(part);
    return status;
}

/* ---- folders ---- */

typedef struct dir_entry {
    char *name;
    bool is_dir;
} dir_entry;

static int compare_entries(const void *a, const void *b) {
    return strcmp(((const dir_entry *)a)->name, ((const dir_entry *)b)->name);
}

/* Symbolic links count as what they point to: a Hugging Face snapshot is a folder of links. */
static bool entry_is_dir(int folder, const char *name) {
    struct stat info;
    return fstatat(folder, name, &info, 0) == 0 && S_ISDIR(info.st_mode);
}

/* Appends every entry to `entries` (dir_entry records), names in `names`. */
static tkr_status list_dir(tkr_buf *entries, tkr_arena *names, DIR *dir, const char *path, tkr_error *error) {
    for (;;) {
        errno = 0;
        struct dirent *found = readdir(dir);
        if (found == NULL) {
            return errno == 0 ? TKR_OK : TKR_SYS_FAIL(error, path, "cannot list", errno);
        }
        const char *name = found->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
            continue;
        }
        dir_entry entry = {tkr_arena_strndup(names, name, strlen(name)), entry_is_dir(dirfd(dir), name)};
        if (entry.name == NULL || !tkr_buf_append(entries, &entry, sizeof entry)) {
            return TKR_FAIL(error, NO_MEMORY, "%s: no memory to list this folder", path);
        }
    }
}

tkr_status tkr_dir_each(const char *path, tkr_status (*fn)(void *user, const char *name, bool is_dir), void *user,
                        tkr_error *error) {
    DIR *dir = NULL;
    errno = EIO;
    if (tkr_seam_allows('r')) {
        dir = opendir(path);
    }
    if (dir == NULL) {
        return TKR_SYS_FAIL(error, path, "cannot open this folder", errno);
    }
    tkr_buf entries = {0};
    tkr_arena names = {0};
    tkr_status status = list_dir(&entries, &names, dir, path, error);
    (void)closedir(dir);
    size_t n = entries.size / sizeof(dir_entry);
    const dir_entry *list = (const dir_entry *)(const void *)entries.data;
    if (status == TKR_OK && n > 0) {
        qsort(entries.data, n, sizeof(dir_entry), compare_entries);
    }
    for (size_t i = 0; i < n && status == TKR_OK; i++) {
        status = fn(user, list[i].name, list[i].is_dir);
    }
    tkr_buf_free(&entries);
    tkr_arena_free(&names);
    return status;
}

uint64_t tkr_path_free_bytes(const char *path) {
    struct statvfs info;
    char *part = tkr_strdup(path);
    uint64_t n = 0;
    while (part != NULL) {
        if (statvfs(part[0] != '\0' ? part : ".", &info) == 0) {
            n = (uint64_t)info.f_bavail * (uint64_t)info.f_frsize;
            break;
        }
        /* The path itself may not exist yet: ask for the nearest folder that does. */
        char *slash = strrchr(part, '/');
        if (errno != ENOENT || part[0] == '\0' || strcmp(part, "/") == 0) {
            break;
        }
        if (slash == part) {
            slash++;
        }
        *(slash != NULL ? slash : part) = '\0';
    }
    tkr_free(part);
    return n;
}

/* ---- process ---- */

const char *tkr_env(const char *name) {
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

void tkr_env_default(const char *name, const char *value) { (void)setenv(name, value, 0); }

double tkr_now(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
