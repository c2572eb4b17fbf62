/* SPDX-License-Identifier: Apache-2.0 */
/* core/file, output streams: one buffer, sticky failures. Refuses to patch what is not a seekable file. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/sys.h"

enum { OUT_BUFFER = 1 << 16 };

struct tkr_out {
    int fd;
    bool owned; /* false for standard output */
    bool seekable;
    bool failed; /* after a failure nothing more is written: the output would have a hole */
    int code;    /* errno of that failure */
    off_t base;  /* position of the file at open: offset 0 of the stream */
    off_t whole; /* position that the last tkr_out_flush reached; what follows may be half a record */
    char *path;
    size_t used;
    char buffer[OUT_BUFFER];
};

tkr_status tkr_out_open(tkr_out **out, const char *path, tkr_error *error) {
    *out = NULL;
    tkr_out *made = tkr_calloc(1, sizeof *made);
    if (made == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "%s: no memory for an output buffer", path);
    }
    made->fd = -1;
    bool standard = strcmp(path, "-") == 0;
    made->path = tkr_strdup(standard ? "standard output" : path);
    tkr_status status = TKR_OK;
    if (made->path == NULL) {
        status = TKR_FAIL(error, NO_MEMORY, "%s: no memory for an output buffer", path);
        goto fail;
    }
    made->owned = !standard;
    made->fd = standard ? STDOUT_FILENO : tkr_sys_open_write(path, O_TRUNC);
    if (made->fd < 0) {
        status = TKR_SYS_FAIL(error, path, "cannot open for writing", errno);
        goto fail;
    }
    struct stat info;
    int flags = fcntl(made->fd, F_GETFL);
    off_t position = lseek(made->fd, 0, SEEK_CUR);
    /* With O_APPEND, pwrite appends too, so such a file can't be patched. */
    made->seekable =
        fstat(made->fd, &info) == 0 && S_ISREG(info.st_mode) && position >= 0 && flags >= 0 && (flags & O_APPEND) == 0;
    made->base = position >= 0 ? position : 0;
    made->whole = made->base;
    *out = made;
    return TKR_OK;
fail:
    tkr_free(made->path);
    tkr_free(made);
    return status;
}

static tkr_status out_fail(tkr_out *out, int code, tkr_error *error) {
    if (!out->failed && out->owned && out->seekable) {
        (void)!ftruncate(out->fd, out->whole); /* best effort: the failure is reported in any case */
    }
    out->failed = true;
    out->code = code;
    out->used = 0;
    (void)TKR_SYS_FAIL(error, out->path, "cannot write", code);
    if (error != NULL) {
        error->status = TKR_IO;
    }
    return TKR_IO;
}

static tkr_status out_raw(tkr_out *out, const void *data, size_t size, tkr_error *error) {
    return size == 0 || tkr_sys_write(out->fd, data, size) ? TKR_OK : out_fail(out, errno, error);
}

/* Empties the buffer, wherever in a record it ends. */
static tkr_status out_drain(tkr_out *out, tkr_error *error) {
    size_t used = out->used;
    out->used = 0;
    return out_raw(out, out->buffer, used, error);
}

tkr_status tkr_out_flush(tkr_out *out, tkr_error *error) {
    if (out->failed) {
        return out_fail(out, out->code, error);
    }
    tkr_status status = out_drain(out, error);
    if (status == TKR_OK && out->seekable) {
        out->whole = lseek(out->fd, 0, SEEK_CUR);
    }
    return status;
}

tkr_status tkr_out_write(tkr_out *out, const void *data, size_t size, tkr_error *error) {
    if (out->failed) {
        return out_fail(out, out->code, error);
    }
    if (size > OUT_BUFFER - out->used) {
        tkr_status status = out_drain(out, error);
        if (status != TKR_OK) {
            return status;
        }
    }
    if (size >= OUT_BUFFER) {
        return out_raw(out, data, size, error);
    }
    if (size > 0) {
        memcpy(out->buffer + out->used, data, size);
        out->used += size;
    }
    return TKR_OK;
}

tkr_status tkr_out_patch(tkr_out *out, uint64_t offset, const void *data, size_t size, tkr_error *error) {
    if (!out->seekable) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s: cannot be changed at a position, expected a regular file",
                        out->path);
    }
    tkr_status status = tkr_out_flush(out, error);
    if (status != TKR_OK) {
        return status;
    }
    off_t end = lseek(out->fd, 0, SEEK_CUR);
    uint64_t written = end >= out->base ? (uint64_t)(end - out->base) : 0;
    if (size > written || offset > written - size) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s: bytes %llu to %llu are not written yet", out->path,
                        (unsigned long long)offset, (unsigned long long)offset + size);
    }
    return tkr_sys_pwrite(out->fd, data, size, out->base + (off_t)offset) ? TKR_OK : out_fail(out, errno, error);
}

bool tkr_out_seekable(const tkr_out *out) { return out->seekable; }

tkr_status tkr_out_close(tkr_out **out, tkr_error *error) {
    tkr_out *old = *out;
    if (old == NULL) {
        return TKR_OK;
    }
    *out = NULL;
    tkr_status status = tkr_out_flush(old, error);
    if (old->owned && close(old->fd) != 0 && status == TKR_OK) {
        status = out_fail(old, errno, error);
    }
    tkr_free(old->path);
    tkr_free(old);
    return status;
}
