/* SPDX-License-Identifier: Apache-2.0 */
/* formats/gguf_read: private to gguf*.c, its tests and its fuzzer: a file while it is read. */
#ifndef TKR_FORMATS_GGUF_READ_H
#define TKR_FORMATS_GGUF_READ_H

#include "core/file.h"
#include "core/mem.h"
#include "formats/gguf.h"

enum { TKR_GGUF_MAX_ALIGNMENT = 1 << 16, TKR_GGUF_MAX_KEYS = 1 << 16, TKR_GGUF_MAX_NAME = 1 << 16 };

struct tkr_gguf {
    tkr_map map; /* empty for a file in memory */
    char *path;
    const char *file; /* base name, in `path` */
    tkr_gguf_value *values;
    size_t n_values, values_room;
    tkr_tensor_view *tensors; /* in the file's order, which is of no meaning */
    size_t n_tensors, tensors_room;
    tkr_arena text;
};

/* A place in the file. Every read checks what is left. */
typedef struct tkr_gguf_reader {
    tkr_gguf *file;
    const uint8_t *begin, *at, *end;
    tkr_error *error;
} tkr_gguf_reader;

/* Little-endian numbers and strings. `what` names what is read in the message about a file that ends too early. */
tkr_status tkr_gguf_u32(uint32_t *out, tkr_gguf_reader *reader, const char *what);
tkr_status tkr_gguf_u64(uint64_t *out, tkr_gguf_reader *reader, const char *what);
tkr_status tkr_gguf_text(const char **text, size_t *n, tkr_gguf_reader *reader, const char *what);
/* A string that is a name: 1 to 65,535 bytes, no NUL; a copy with NUL behind it. */
tkr_status tkr_gguf_name(const char **name, tkr_gguf_reader *reader, const char *what);
/* "path, byte N: ..." would tell nobody anything: messages name key or tensor instead. */
tkr_status tkr_gguf_truncated(const tkr_gguf_reader *reader, const char *what);

/* n entries of metadata, sorted by key afterwards. */
tkr_status tkr_gguf_read_values(tkr_gguf_reader *reader, uint64_t n);
/* n tensor descriptions and the checks of their places. */
tkr_status tkr_gguf_read_tensors(tkr_gguf_reader *reader, uint64_t n);

/* A file in memory, borrowed. Returns a file. */
tkr_status tkr_gguf_open_memory(tkr_gguf **file, const void *data, size_t size, const char *what, tkr_error *error);

#endif
