/* SPDX-License-Identifier: Apache-2.0 */
/* core/file: the only room that touches files. Read-only maps, whole-file reads, atomic writes, paths. */
#ifndef TKR_CORE_FILE_H
#define TKR_CORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/mem.h"

/* What tells a file apart from another, and from itself after a change. */
typedef struct tkr_file_id {
    uint64_t device, inode, size;
    int64_t modified_ns; /* since 1970 */
} tkr_file_id;

typedef struct tkr_map {
    const void *data; /* NULL when size is 0 */
    size_t size;
    tkr_file_id id; /* of the file that was opened */
} tkr_map;

/* Maps a regular file read-only. TKR_NOT_FOUND when absent, TKR_IO otherwise; the message names path and reason. */
tkr_status tkr_map_open(tkr_map *map, const char *path, tkr_error *error);
void tkr_map_close(tkr_map *map);
/* Says that these bytes of a map won't be read soon: whole pages inside the range leave memory (they come back from the
 * file when touched). A hint; bytes outside of any map must not be named. */
void tkr_map_release(const void *data, size_t bytes);

/* Reads a whole regular file into `out` (NUL behind it), refusing more than max_size bytes (TKR_LIMIT). */
tkr_status tkr_file_read(tkr_buf *out, const char *path, size_t max_size, tkr_error *error);

/* Writes to a temporary beside `path`, syncs, renames. On failure `path` is as it was. */
tkr_status tkr_file_write_atomic(const char *path, const void *data, size_t size, tkr_error *error);
/* The same for what concerns this user alone: mode 0600, whatever was there. */
tkr_status tkr_file_write_private(const char *path, const void *data, size_t size, tkr_error *error);

/* Append-only output stream used for results; path "-" is standard output. Errors (ENOSPC, EPIPE) are statuses. After
 * one, a regular file that was opened by path is cut back to what the last tkr_out_flush handed over. */
typedef struct tkr_out tkr_out;
tkr_status tkr_out_open(tkr_out **out, const char *path, tkr_error *error);
tkr_status tkr_out_write(tkr_out *out, const void *data, size_t size, tkr_error *error);
tkr_status tkr_out_flush(tkr_out *out, tkr_error *error);
tkr_status tkr_out_patch(tkr_out *out, uint64_t offset, const void *data, size_t size,
                         tkr_error *error); /* seekable only */
bool tkr_out_seekable(const tkr_out *out);
tkr_status tkr_out_close(tkr_out **out, tkr_error *error);

/* Buffered line input from a path or "-"; a line has any length up to max_line (longer: TKR_LIMIT for that line and the
 * reader skips to the next). *line is valid until the next call, without its line end (LF or CRLF), may hold NUL.
 * *end is set when there is no further line. */
typedef struct tkr_lines tkr_lines;
tkr_status tkr_lines_open(tkr_lines **lines, const char *path, size_t max_line, tkr_error *error);
tkr_status tkr_lines_next(tkr_lines *lines, const char **line, size_t *size, bool *end, tkr_error *error);
uint64_t tkr_lines_number(const tkr_lines *lines); /* of the last line given, from 1 */
uint64_t tkr_lines_bytes_read(const tkr_lines *lines);
uint64_t tkr_lines_bytes_total(const tkr_lines *lines); /* 0 when unknown (a pipe) */
void tkr_lines_close(tkr_lines **lines);

bool tkr_path_exists(const char *path);
bool tkr_path_is_dir(const char *path);
/* An error when this user may not look whether `path` is there; TKR_OK when it is there or is absent. */
tkr_status tkr_path_check_access(const char *path, tkr_error *error);
/* Returns a new string "a/b" (one slash between), NULL on failure; free with tkr_free. */
char *tkr_path_join(const char *a, const char *b);
/* Returns the text of a symbolic link (free with tkr_free); NULL when `path` is none. */
char *tkr_path_link_target(const char *path);
tkr_status tkr_mkdirs(const char *path, tkr_error *error);
/* Calls fn with each entry's name (no "." and ".."), sorted. Stops at a status other than TKR_OK and returns it. */
tkr_status tkr_dir_each(const char *path, tkr_status (*fn)(void *user, const char *name, bool is_dir), void *user,
                        tkr_error *error);
/* Free bytes on the file system of `path`; 0 when unknown. */
uint64_t tkr_path_free_bytes(const char *path);
/* NULL when unset or empty. The only way to read the environment. */
const char *tkr_env(const char *name);
/* Sets a variable that is not there: for a program's start, before it has threads, and for libraries that read nothing
 * else. */
void tkr_env_default(const char *name, const char *value);
/* Seconds of a monotonic clock. */
double tkr_now(void);

#endif
