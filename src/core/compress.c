/* SPDX-License-Identifier: Apache-2.0 */
/* core/compress: see compress.h; zlib does the work, with memory through the seam. */
#include "core/compress.h"

#define ZLIB_CONST /* next_in points to const */
#include <zlib.h>

enum { STEP = 64 * 1024 };

void *tkr_zlib_alloc(void *opaque, unsigned items, unsigned size) {
    (void)opaque;
    return tkr_calloc(items, size);
}

void tkr_zlib_free(void *opaque, void *block) {
    (void)opaque;
    tkr_free(block);
}

tkr_status tkr_deflate(tkr_buf *out, const void *data, size_t size, tkr_error *error) {
    z_stream stream = {.zalloc = tkr_zlib_alloc, .zfree = tkr_zlib_free};
    const Bytef *at = data;
    size_t left = size;
    int code = deflateInit(&stream, Z_DEFAULT_COMPRESSION);
    if (code != Z_OK) return TKR_FAIL(error, NO_MEMORY, "no memory to compress");
    do {
        if (stream.avail_in == 0 && left > 0) {
            stream.next_in = at;
            stream.avail_in = (uInt)(left < STEP ? left : STEP);
            at += stream.avail_in;
            left -= stream.avail_in;
        }
        if (!tkr_buf_reserve(out, STEP)) {
            (void)deflateEnd(&stream);
            return TKR_FAIL(error, NO_MEMORY, "no memory to compress %zu bytes", size);
        }
        stream.next_out = (Bytef *)(void *)(out->data + out->size);
        stream.avail_out = STEP;
        code = deflate(&stream, left > 0 ? Z_NO_FLUSH : Z_FINISH);
        out->size += STEP - stream.avail_out;
    } while (code == Z_OK || code == Z_BUF_ERROR);
    (void)deflateEnd(&stream);
    if (code != Z_STREAM_END) return TKR_FAIL(error, INTERNAL, "zlib failed with code %d", code);
    out->data[out->size] = '\0';
    return TKR_OK;
}

uint32_t tkr_crc32(uint32_t crc, const void *data, size_t size) { return (uint32_t)crc32_z(crc, data, size); }
