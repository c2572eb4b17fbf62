/* SPDX-License-Identifier: Apache-2.0 */
/* core/spool: a temporary file without a name. Refuses to leave anything behind. */
#define _GNU_SOURCE
#include "core/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/sys.h"

enum { CHUNK_BYTES = 64 * 1024 };

struct tkr_spool {
    int fd;
};

tkr_status tkr_spool_open(tkr_spool **spool, tkr_error *error) {
    *spool = NULL;
    const char *folder = tkr_env("TMPDIR");
    char *path = tkr_path_join(folder != NULL ? folder : "/tmp", "tkr-embed-XXXXXX");
    tkr_spool *made = tkr_malloc(sizeof *made);
    tkr_status status = TKR_OK;
    if (path == NULL || made == NULL) {
        status = TKR_FAIL(error, NO_MEMORY, "out of memory");
        goto fail;
    }
    made->fd = tkr_seam_allows('w') ? mkostemp(path, O_CLOEXEC) : (errno = EIO, -1);
    if (made->fd < 0) {
        status = TKR_SYS_FAIL(error, path, "cannot create a temporary file (TMPDIR says where)", errno);
        goto fail;
    }
    (void)unlink(path);
    tkr_free(path);
    *spool = made;
    return TKR_OK;
fail:
    tkr_free(path);
    tkr_free(made);
    return status;
}

tkr_status tkr_spool_write(tkr_spool *spool, const void *data, size_t size, tkr_error *error) {
    return tkr_sys_write(spool->fd, data, size) ? TKR_OK : TKR_SYS_FAIL(error, "temporary file", "cannot write", errno);
}

tkr_status tkr_spool_each(tkr_spool *spool,
                          tkr_status (*fn)(void *user, const void *data, size_t size, tkr_error *error), void *user,
                          tkr_error *error) {
    char *chunk = tkr_malloc(CHUNK_BYTES);
    if (chunk == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    tkr_status status = TKR_OK;
    if (lseek(spool->fd, 0, SEEK_SET) != 0) {
        status = TKR_SYS_FAIL(error, "temporary file", "cannot rewind", errno);
    }
    while (status == TKR_OK) {
        ssize_t got = tkr_sys_read(spool->fd, chunk, CHUNK_BYTES);
        if (got == 0) {
            break;
        }
        if (got > 0) {
            status = fn(user, chunk, (size_t)got, error);
        } else if (errno != EINTR) {
            status = TKR_SYS_FAIL(error, "temporary file", "cannot read", errno);
        }
    }
    tkr_free(chunk);
    return status;
}

void tkr_spool_close(tkr_spool **spool) {
    if (*spool != NULL) {
        (void)close((*spool)->fd);
        tkr_free(*spool);
        *spool = NULL;
    }
}
