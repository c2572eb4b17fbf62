/* SPDX-License-Identifier: Apache-2.0 */
/* core/sys: private to core. What its files share: one-line texts, errno texts, guarded system calls. */
#ifndef TKR_CORE_SYS_H
#define TKR_CORE_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "core/file.h"
#include "core/mem.h"

/* Copies n bytes of text into out[size] as one clean line: control characters and invalid UTF-8 become '?'. What does
 * not fit, and `cut`, show as "..." at the end. Returns the length; out is NUL-terminated. */
size_t tkr_line_clean(char *out, size_t size, const char *text, size_t n, bool cut);

/* "path: doing: reason" with the status for this errno: TKR_NOT_FOUND for ENOENT and ENOTDIR, else TKR_IO. */
tkr_status tkr_sys_fail(tkr_error *error, const char *origin, const char *path, const char *doing, int code);
#define TKR_SYS_FAIL(error, path, doing, code) tkr_sys_fail((error), TKR_HERE, (path), (doing), (code))

void tkr_sys_file_id(tkr_file_id *id, const struct stat *info);

/* The same file at a descriptor of at least 10, so that a child can be given low ones; fd is closed. -1 and errno on
 * failure. */
int tkr_sys_lift(int fd);

/* A breath, less than a microsecond, of a thread that waits awake; whoever else wants this CPU gets it. */
void tkr_sys_breathe(void);

/* open(2), read(2) and write(2) through the test seam. They wait out EAGAIN. -1 and errno on failure. */
int tkr_sys_open_read(const char *path);
int tkr_sys_open_write(const char *path, int flags);
ssize_t tkr_sys_read(int fd, void *data, size_t size);
/* Writes everything; a broken pipe is EPIPE and raises no signal. */
bool tkr_sys_write(int fd, const void *data, size_t size);
bool tkr_sys_pwrite(int fd, const void *data, size_t size, off_t offset);
/* Waits until the file's bytes are on the disk; false and errno on failure. */
bool tkr_sys_sync(int fd);

#endif
