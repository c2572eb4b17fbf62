/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/cache_file: a file of named byte blocks that is written once and mapped afterwards. It holds only what can be
 * made again, so any doubt about it ends in TKR_FORMAT and the caller makes it again.
 *
 * Layout (little-endian, as the machine that wrote it: others see a wrong magic):
 *   head     magic, version, bytes of the identity, the identity's text; zeros up to a page
 *   blocks   each at a multiple of 64, the first one at a page
 *   table    [n] record {hash of the name, offset, bytes, hash of the content}
 *   tail     offset of the table, n, hash of head + table + the tail's first two fields, magic
 * The identity says what the content was made from and by; a file of another identity is not opened.
 */
#ifndef TKR_ENGINE_CACHE_FILE_H
#define TKR_ENGINE_CACHE_FILE_H

#include "core/file.h"

#define TKR_CACHE_FILE_VERSION 1

typedef struct tkr_cache_file tkr_cache_file;

/* Maps `path` and checks everything but the content of the blocks. TKR_NOT_FOUND when there is none, TKR_FORMAT when it
 * is cut off, damaged, of another version or of another identity. Returns a file. */
tkr_status tkr_cache_file_open(tkr_cache_file **file, const char *path, const char *identity, tkr_error *error);
void tkr_cache_file_close(tkr_cache_file **file);
/* Block `name`, borrowed until the file is closed; NULL when it isn't there. Fastest in the order of writing. */
const void *tkr_cache_file_find(tkr_cache_file *file, const char *name, size_t *bytes);
/* Bytes of the whole file. */
uint64_t tkr_cache_file_bytes(const tkr_cache_file *file);
/* Reads every block; TKR_FORMAT names the first that isn't what was written. */
tkr_status tkr_cache_file_verify(const tkr_cache_file *file, tkr_error *error);

typedef struct tkr_cache_writer tkr_cache_writer;

/* Begins `path`.tmp, locked against other writers (TKR_BUSY: somebody else is writing it). Returns a writer. */
tkr_status tkr_cache_writer_open(tkr_cache_writer **writer, const char *path, const char *identity, tkr_error *error);
/* Appends a block. After a failure nothing more is written and tkr_cache_writer_finish tells of it. */
void tkr_cache_writer_add(tkr_cache_writer *writer, const char *name, const void *data, size_t bytes);
/* keep: writes the table, waits for the disk and renames the file to its path. Otherwise, and on failure, removes what
 * was written. Frees the writer. */
tkr_status tkr_cache_writer_finish(tkr_cache_writer **writer, bool keep, tkr_error *error);

#endif
