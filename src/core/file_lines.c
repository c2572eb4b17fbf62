/* SPDX-License-Identifier: Apache-2.0 */
/* core/file, line input: large reads, lines of any bytes. Refuses lines longer than max_line, one by one. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/sys.h"

enum { LINES_BUFFER = 1 << 18 };

struct tkr_lines {
    int fd;
    bool owned;    /* false for standard input */
    bool at_end;   /* read(2) said so */
    bool skipping; /* inside a line that is too long; its beginning is gone */
    size_t max_line;
    char *buffer; /* [room]; unread bytes are [start, filled), of which [start, scanned) hold no newline */
    size_t room, start, scanned, filled;
    uint64_t number, n_read, n_total;
    char *path;
};

tkr_status tkr_lines_open(tkr_lines **lines, const char *path, size_t max_line, tkr_error *error) {
    *lines = NULL;
    tkr_status status = TKR_OK;
    bool standard = strcmp(path, "-") == 0;
    tkr_lines *made = tkr_calloc(1, sizeof *made);
    if (made == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "%s: no memory for an input buffer", path);
    }
    made->fd = -1;
    made->owned = !standard;
    made->max_line = max_line;
    made->room = LINES_BUFFER;
    made->buffer = tkr_malloc(made->room);
    made->path = tkr_strdup(standard ? "standard input" : path);
    if (made->buffer == NULL || made->path == NULL) {
        status = TKR_FAIL(error, NO_MEMORY, "%s: no memory for an input buffer", path);
        goto fail;
    }
    made->fd = standard ? STDIN_FILENO : tkr_sys_open_read(path);
    struct stat info;
    if (made->fd < 0 || fstat(made->fd, &info) != 0) {
        status = TKR_SYS_FAIL(error, made->path, "cannot open", errno);
        goto fail;
    }
    if (S_ISDIR(info.st_mode)) {
        status = TKR_FAIL(error, IO, "%s: is a directory, expected a file", made->path);
        goto fail;
    }
    if (S_ISREG(info.st_mode)) {
        off_t position = standard ? lseek(made->fd, 0, SEEK_CUR) : 0;
        made->n_total = position >= 0 && info.st_size > position ? (uint64_t)(info.st_size - position) : 0;
    }
    *lines = made;
    return TKR_OK;
fail:
    tkr_lines_close(&made);
    return status;
}

void tkr_lines_close(tkr_lines **lines) {
    tkr_lines *old = *lines;
    if (old == NULL) {
        return;
    }
    *lines = NULL;
    if (old->owned && old->fd >= 0) {
        (void)close(old->fd);
    }
    tkr_free(old->buffer);
    tkr_free(old->path);
    tkr_free(old);
}

/* Makes room for more bytes: moves what is unread to the front, or doubles the buffer. */
static bool make_room(tkr_lines *lines) {
    if (lines->start > 0) {
        memmove(lines->buffer, lines->buffer + lines->start, lines->filled - lines->start);
        lines->scanned -= lines->start;
        lines->filled -= lines->start;
        lines->start = 0;
    }
    if (lines->filled < lines->room) {
        return true;
    }
    size_t room;
    char *buffer = tkr_mul_size(&room, lines->room, 2) ? tkr_realloc(lines->buffer, room) : NULL;
    if (buffer == NULL) {
        return false;
    }
    lines->buffer = buffer;
    lines->room = room;
    return true;
}

static tkr_status fill(tkr_lines *lines, tkr_error *error) {
    if (!make_room(lines)) {
        return TKR_FAIL(error, NO_MEMORY, "%s, line %" PRIu64 ": no memory for a line of more than %zu bytes",
                        lines->path, lines->number + 1, lines->filled);
    }
    ssize_t n = tkr_sys_read(lines->fd, lines->buffer + lines->filled, lines->room - lines->filled);
    if (n < 0 && errno == EINTR) { /* a handler without SA_RESTART: the program wants to be asked */
        return TKR_FAIL(error, CANCELLED, "%s, line %" PRIu64 ": reading was interrupted", lines->path,
                        lines->number + 1);
    }
    if (n < 0) {
        (void)TKR_SYS_FAIL(error, lines->path, "cannot read", errno);
        return TKR_IO;
    }
    lines->at_end = n == 0;
    lines->filled += (size_t)n;
    lines->n_read += (uint64_t)n;
    return TKR_OK;
}

static tkr_status too_long(tkr_lines *lines, tkr_error *error) {
    lines->skipping = false;
    lines->number++;
    return TKR_FAIL(error, LIMIT, "%s, line %" PRIu64 ": is longer than the limit of %zu bytes", lines->path,
                    lines->number, lines->max_line);
}

/* Hands out [start, end) as a line; `next` is where the following one begins. */
static tkr_status give(tkr_lines *lines, size_t end, size_t next, const char **line, size_t *size, tkr_error *error) {
    const char *text = lines->buffer + lines->start;
    size_t n = end - lines->start;
    if (next > end && n > 0 && text[n - 1] == '\r') {
        n--;
    }
    lines->start = next;
    lines->scanned = next;
    if (lines->skipping || n > lines->max_line) {
        return too_long(lines, error);
    }
    *line = text;
    *size = n;
    lines->number++;
    return TKR_OK;
}

tkr_status tkr_lines_next(tkr_lines *lines, const char **line, size_t *size, bool *end, tkr_error *error) {
    *line = NULL;
    *size = 0;
    *end = false;
    for (;;) {
        const char *from = lines->buffer + lines->scanned;
        const char *newline =
            lines->filled > lines->scanned ? memchr(from, '\n', lines->filled - lines->scanned) : NULL;
        if (newline != NULL) {
            size_t at = (size_t)(newline - lines->buffer);
            return give(lines, at, at + 1, line, size, error);
        }
        lines->scanned = lines->filled;
        if (lines->at_end) {
            if (lines->start < lines->filled || lines->skipping) {
                return give(lines, lines->filled, lines->filled, line, size, error);
            }
            *end = true;
            return TKR_OK;
        }
        /* One byte more may be the CR of CRLF; beyond it the line is too long for certain, so its bytes can go. */
        size_t held = lines->filled - lines->start;
        if (lines->skipping || (held > lines->max_line && held - lines->max_line > 1)) {
            lines->skipping = true;
            lines->start = lines->filled;
        }
        tkr_status status = fill(lines, error);
        if (status != TKR_OK) {
            return status;
        }
    }
}

uint64_t tkr_lines_number(const tkr_lines *lines) { return lines->number; }

uint64_t tkr_lines_bytes_read(const tkr_lines *lines) { return lines->n_read - (lines->filled - lines->start); }

uint64_t tkr_lines_bytes_total(const tkr_lines *lines) { return lines->n_total; }
