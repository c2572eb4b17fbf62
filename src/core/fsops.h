/* SPDX-License-Identifier: Apache-2.0 */
/* core/fsops: the file operations that a download cache needs (links, renames, locks, resumable appends). */
#ifndef TKR_CORE_FSOPS_H
#define TKR_CORE_FSOPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/file.h"

/* Makes `link` a symbolic link with the text `target`, replacing whatever file or link is there in one step. */
tkr_status tkr_fs_symlink(const char *target, const char *link, tkr_error *error);
/* Renames a file over `to`, in one step. */
tkr_status tkr_fs_rename(const char *from, const char *to, tkr_error *error);
/* Removes a file or link; TKR_OK when there is none. */
tkr_status tkr_fs_remove(const char *path, tkr_error *error);
/* Removes a file or link, or a folder with all it holds; follows no link. TKR_OK when there is none. */
tkr_status tkr_fs_remove_tree(const char *path, tkr_error *error);
/* Bytes of a regular file, links followed. TKR_NOT_FOUND when absent, dangling or not a regular file. */
tkr_status tkr_fs_size(uint64_t *size, const char *path, tkr_error *error);
/* Calls fn with the file's bytes in pieces, in order. Stops at a status other than TKR_OK and returns it. */
tkr_status tkr_fs_each_chunk(const char *path, tkr_status (*fn)(void *user, const void *data, size_t size), void *user,
                             tkr_error *error);

/* Of a regular file, links followed. TKR_NOT_FOUND when absent, dangling or not a regular file. */
tkr_status tkr_fs_id(tkr_file_id *id, const char *path, tkr_error *error);
typedef struct tkr_file_access {
    unsigned mode; /* permission bits, as 0640 */
    bool trusted;  /* it belongs to this user or to root */
} tkr_file_access;
/* Of a file or folder, links followed. */
tkr_status tkr_fs_access(tkr_file_access *access, const char *path, tkr_error *error);
/* Sets the time of the last change to now; best effort. */
void tkr_fs_touch(const char *path);
/* Makes a folder, and what is missing above it, that this user alone may enter (mode 0700). TKR_DENIED when it is there
 * and isn't private to this user. */
tkr_status tkr_fs_private_dir(const char *path, tkr_error *error);

/* Exclusive advisory lock between processes and threads (flock: the one that huggingface_hub takes on the same file).
 */
typedef struct tkr_fs_lock tkr_fs_lock;
/* TKR_BUSY at once when somebody else holds it. Returns a lock; tkr_fs_unlock frees it and leaves the file there. */
tkr_status tkr_fs_lock_try(tkr_fs_lock **lock, const char *path, tkr_error *error);
void tkr_fs_unlock(tkr_fs_lock **lock);

/* A file that grows at its end, and is there again with what it had after a crash. */
typedef struct tkr_append tkr_append;
/* Opens or creates; *size is what is there already. Follows no link in the last component. */
tkr_status tkr_append_open(tkr_append **out, uint64_t *size, const char *path, tkr_error *error);
/* Standard error in place of a file. */
tkr_status tkr_append_open_stderr(tkr_append **out, tkr_error *error);
tkr_status tkr_append_write(tkr_append *out, const void *data, size_t size, tkr_error *error);
/* Empties the file. */
tkr_status tkr_append_reset(tkr_append *out, tkr_error *error);
/* Lets the system begin to put on the disk what was written, so that tkr_append_sync has less to wait for. A hint. */
void tkr_append_start_sync(tkr_append *out);
/* Waits until the bytes are on the disk. */
tkr_status tkr_append_sync(tkr_append *out, tkr_error *error);
/* Accepts NULL; the file stays. */
void tkr_append_close(tkr_append **out);

/* Sleeps at least a little and at most about `seconds`; not an error when a signal cuts it short. */
void tkr_sleep(double seconds);

#endif
