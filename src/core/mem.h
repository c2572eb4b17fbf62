/* SPDX-License-Identifier: Apache-2.0 */
/* core/mem: the one seam for allocation, checked size arithmetic, arena, growable capped buffer. */
#ifndef TKR_CORE_MEM_H
#define TKR_CORE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* Test seam: when set, called before every allocation (kind 'a') and every file operation (kind 'r' read/map/open,
 * 'w' write); a false makes that operation fail as the operating system would (NULL, EIO, ENOSPC).
 * Process-wide, for tests; NULL switches it off. */
typedef bool (*tkr_seam_fn)(void *user, char kind);
void tkr_seam_set(tkr_seam_fn fn, void *user);
bool tkr_seam_allows(char kind);

/* malloc family through the seam. size 0 gives a unique pointer. All return NULL on failure. */
void *tkr_malloc(size_t size);
void *tkr_calloc(size_t count, size_t size);
void *tkr_realloc(void *block, size_t size);
void tkr_free(void *block);
char *tkr_strndup(const char *text, size_t n);
char *tkr_strdup(const char *text);

/* 64-byte aligned (2 MiB aligned and advised for huge pages from 2 MiB up), not zeroed; free with tkr_aligned_free. */
void *tkr_aligned_alloc(size_t size);
void tkr_aligned_free(void *block, size_t size);

/* false on overflow, *out then untouched. */
static inline bool tkr_mul_size(size_t *out, size_t a, size_t b) { return !__builtin_mul_overflow(a, b, out); }
static inline bool tkr_add_size(size_t *out, size_t a, size_t b) { return !__builtin_add_overflow(a, b, out); }
/* Rounds up to a multiple of `align`, a power of two; callers keep size small enough (checked sizes only). */
static inline size_t tkr_align_up(size_t size, size_t align) { return (size + align - 1) & ~(align - 1); }

/* Arena: blocks freed together. Never moves what it gave. */
typedef struct tkr_arena_block tkr_arena_block;
typedef struct tkr_arena {
    tkr_arena_block *head;
    size_t used, limit; /* limit 0: none; beyond it tkr_arena_alloc returns NULL */
} tkr_arena;
void *tkr_arena_alloc(tkr_arena *arena, size_t size); /* 16-byte aligned, zeroed; NULL on failure */
char *tkr_arena_strndup(tkr_arena *arena, const char *text, size_t n);
char *tkr_arena_printf(tkr_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
void tkr_arena_free(tkr_arena *arena); /* frees all blocks; the arena can be used again */

/* Growable byte buffer with a cap. Zero-initialise; cap 0 means none. Always keeps a NUL behind the content. */
typedef struct tkr_buf {
    char *data;
    size_t size, room, cap;
    bool failed; /* sticky: an append failed (memory or cap) */
} tkr_buf;
bool tkr_buf_reserve(tkr_buf *buf, size_t extra);
bool tkr_buf_append(tkr_buf *buf, const void *data, size_t n);
bool tkr_buf_putc(tkr_buf *buf, char c);
bool tkr_buf_printf(tkr_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void tkr_buf_free(tkr_buf *buf);

#endif
