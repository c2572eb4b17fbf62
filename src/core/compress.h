/* SPDX-License-Identifier: Apache-2.0 */
/* core/compress: zlib streams and checksums, for files that we write. */
#ifndef TKR_CORE_COMPRESS_H
#define TKR_CORE_COMPRESS_H

#include "core/mem.h"

/* zlib's memory, through the seam: zalloc and zfree of a stream. */
void *tkr_zlib_alloc(void *opaque, unsigned items, unsigned size);
void tkr_zlib_free(void *opaque, void *block);
/* Appends data, compressed in zlib's format (RFC 1950), to `out`. */
tkr_status tkr_deflate(tkr_buf *out, const void *data, size_t size, tkr_error *error);
/* CRC-32 of zip and PNG; start with 0 and go on with what it returned. */
uint32_t tkr_crc32(uint32_t crc, const void *data, size_t size);

#endif
