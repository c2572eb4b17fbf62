/* SPDX-License-Identifier: Apache-2.0 */
/* core/mem: the allocation seam, arena, growable buffer. Refuses nothing itself; limits and caps come from the caller.
 */
#define _DEFAULT_SOURCE 1
#include "core/mem.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TKR_MEM_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define TKR_MEM_ASAN 1
#endif

#define HUGE_PAGE ((size_t)2 << 20)
#define CACHE_LINE ((size_t)64)

/* ---- test seam: the only mutable globals of the library ---- */

static _Atomic(tkr_seam_fn) seam_fn;
static _Atomic(void *) seam_user;

void tkr_seam_set(tkr_seam_fn fn, void *user) {
    atomic_store(&seam_fn, (tkr_seam_fn)NULL);
    atomic_store(&seam_user, user);
    atomic_store(&seam_fn, fn);
}

bool tkr_seam_allows(char kind) {
    tkr_seam_fn fn = atomic_load_explicit(&seam_fn, memory_order_acquire);
    return fn == NULL || fn(atomic_load_explicit(&seam_user, memory_order_acquire), kind);
}

/* ---- malloc family ---- */

void *tkr_malloc(size_t size) { return tkr_seam_allows('a') ? malloc(size > 0 ? size : 1) : NULL; }

void *tkr_calloc(size_t count, size_t size) {
    if (!tkr_seam_allows('a')) {
        return NULL;
    }
    return count > 0 && size > 0 ? calloc(count, size) : calloc(1, 1);
}

void *tkr_realloc(void *block, size_t size) {
    return tkr_seam_allows('a') ? realloc(block, size > 0 ? size : 1) : NULL;
}

void tkr_free(void *block) { free(block); }

char *tkr_strndup(const char *text, size_t n) {
    size_t room;
    char *copy = tkr_add_size(&room, n, 1) ? tkr_malloc(room) : NULL;
    if (copy != NULL) {
        if (n > 0) {
            memcpy(copy, text, n);
        }
        copy[n] = '\0';
    }
    return copy;
}

char *tkr_strdup(const char *text) { return tkr_strndup(text, strlen(text)); }

/* ---- aligned blocks ---- */

#if defined(TKR_MEM_ASAN)
/* From the heap, so that the sanitizer sees leaks and overruns of large blocks too. */
static void *huge_alloc(size_t size) {
    void *block = NULL;
    return posix_memalign(&block, HUGE_PAGE, size) == 0 ? block : NULL;
}

static void huge_free(void *block, size_t size) {
    (void)size;
    free(block);
}
#else
#if defined(__APPLE__)
static void advise_huge(void *block, size_t size) {
    (void)block;
    (void)size; /* macOS chooses page sizes itself */
}
#else
static void advise_huge(void *block, size_t size) {
    (void)madvise(block, size, MADV_HUGEPAGE); /* a hint: a kernel without huge pages only runs slower */
}
#endif

/* Pages of 4 KiB up to 64 KiB exist; rounding to the largest keeps munmap exact on all of them. */
static size_t mapped_size(size_t size) { return tkr_align_up(size, (size_t)64 << 10); }

/* mmap gives no alignment, so map 2 MiB more and cut the ends off. */
static void *huge_alloc(size_t size) {
    size_t wanted = mapped_size(size);
    char *raw = mmap(NULL, wanted + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) {
        return NULL;
    }
    size_t before = (HUGE_PAGE - ((uintptr_t)raw & (HUGE_PAGE - 1))) & (HUGE_PAGE - 1);
    char *block = raw + before;
    if (before > 0) {
        (void)munmap(raw, before);
    }
    if (before < HUGE_PAGE) {
        (void)munmap(block + wanted, HUGE_PAGE - before);
    }
    advise_huge(block, wanted);
    return block;
}

static void huge_free(void *block, size_t size) { (void)munmap(block, mapped_size(size)); }
#endif

void *tkr_aligned_alloc(size_t size) {
    if (!tkr_seam_allows('a') || size > PTRDIFF_MAX - 2 * HUGE_PAGE) {
        return NULL;
    }
    if (size >= HUGE_PAGE) {
        return huge_alloc(size);
    }
    void *block = NULL;
    return posix_memalign(&block, CACHE_LINE, size > 0 ? size : 1) == 0 ? block : NULL;
}

void tkr_aligned_free(void *block, size_t size) {
    if (block == NULL) {
        return;
    }
    if (size >= HUGE_PAGE) {
        huge_free(block, size);
    } else {
        free(block);
    }
}

/* ---- arena ---- */

struct tkr_arena_block {
    tkr_arena_block *next;
    size_t used, room;
    size_t padding; /* keeps `data` 16-byte aligned */
    char data[];
};
_Static_assert(sizeof(tkr_arena_block) % 16 == 0, "arena data must be 16-byte aligned");

enum { ARENA_FIRST_BLOCK = 4096, ARENA_LAST_BLOCK = 1 << 20 };

static tkr_arena_block *arena_block_new(tkr_arena *arena, size_t size) {
    size_t room = arena->head == NULL ? ARENA_FIRST_BLOCK : 2 * arena->head->room;
    room = room < ARENA_LAST_BLOCK ? room : ARENA_LAST_BLOCK;
    /* A large piece gets a block of its own size behind the head, whose free rest stays in use. */
    bool own = size > room / 4;
    room = own ? size : room;
    tkr_arena_block *block = tkr_calloc(1, sizeof *block + room);
    if (block == NULL) {
        return NULL;
    }
    block->room = room;
    if (own && arena->head != NULL) {
        block->next = arena->head->next;
        arena->head->next = block;
    } else {
        block->next = arena->head;
        arena->head = block;
    }
    return block;
}

void *tkr_arena_alloc(tkr_arena *arena, size_t size) {
    if (size > PTRDIFF_MAX / 2) {
        return NULL;
    }
    size = tkr_align_up(size > 0 ? size : 1, 16);
    if (arena->limit > 0 && (arena->used > arena->limit || size > arena->limit - arena->used)) {
        return NULL;
    }
    tkr_arena_block *block = arena->head;
    if (block == NULL || size > block->room - block->used) {
        block = arena_block_new(arena, size);
        if (block == NULL) {
            return NULL;
        }
    }
    void *piece = block->data + block->used;
    block->used += size;
    arena->used += size;
    return piece;
}

char *tkr_arena_strndup(tkr_arena *arena, const char *text, size_t n) {
    size_t room;
    char *copy = tkr_add_size(&room, n, 1) ? tkr_arena_alloc(arena, room) : NULL;
    if (copy != NULL && n > 0) {
        memcpy(copy, text, n);
    }
    return copy;
}

char *tkr_arena_printf(tkr_arena *arena, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = n >= 0 ? tkr_arena_alloc(arena, (size_t)n + 1) : NULL;
    if (text != NULL) {
        (void)vsnprintf(text, (size_t)n + 1, format, again);
    }
    va_end(again);
    return text;
}

void tkr_arena_free(tkr_arena *arena) {
    tkr_arena_block *block = arena->head;
    while (block != NULL) {
        tkr_arena_block *next = block->next;
        tkr_free(block);
        block = next;
    }
    arena->head = NULL;
    arena->used = 0;
}

/* ---- growable buffer ---- */

static bool buf_grow(tkr_buf *buf, size_t extra) {
    size_t wanted, room;
    if (!tkr_add_size(&wanted, buf->size, extra) || (buf->cap > 0 && wanted > buf->cap) ||
        !tkr_add_size(&room, wanted, 1)) {
        return false;
    }
    if (room > buf->room) {
        size_t twice = buf->room < SIZE_MAX / 2 ? 2 * buf->room : room;
        if (buf->cap > 0 && buf->cap < SIZE_MAX && twice > buf->cap + 1) {
            twice = buf->cap + 1;
        }
        room = room > twice ? room : twice;
        char *data = tkr_realloc(buf->data, room);
        if (data == NULL) {
            return false;
        }
        buf->data = data;
        buf->room = room;
        buf->data[buf->size] = '\0';
    }
    return true;
}

bool tkr_buf_reserve(tkr_buf *buf, size_t extra) {
    if (buf->failed) {
        return false;
    }
    bool fits = buf->room > buf->size && extra <= buf->room - buf->size - 1 &&
                (buf->cap == 0 || (buf->size <= buf->cap && extra <= buf->cap - buf->size));
    if (!fits && !buf_grow(buf, extra)) {
        buf->failed = true;
        return false;
    }
    return true;
}

bool tkr_buf_append(tkr_buf *buf, const void *data, size_t n) {
    if (!tkr_buf_reserve(buf, n)) {
        return false;
    }
    if (n > 0) {
        memcpy(buf->data + buf->size, data, n);
    }
    buf->size += n;
    buf->data[buf->size] = '\0';
    return true;
}

bool tkr_buf_putc(tkr_buf *buf, char c) { return tkr_buf_append(buf, &c, 1); }

bool tkr_buf_printf(tkr_buf *buf, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const size_t left = buf->room - buf->size; /* mostly enough: one pass then */
    const int n = vsnprintf(left > 0 ? buf->data + buf->size : NULL, left, format, args);
    va_end(args);
    const bool done = n >= 0 && tkr_buf_reserve(buf, (size_t)n);
    if (done && (size_t)n >= left) (void)vsnprintf(buf->data + buf->size, (size_t)n + 1, format, again);
    va_end(again);
    if (done) buf->size += (size_t)n;
    if (buf->data) buf->data[buf->size] = '\0';
    buf->failed = buf->failed || !done;
    return done;
}

void tkr_buf_free(tkr_buf *buf) {
    tkr_free(buf->data);
    buf->data = NULL;
    buf->size = 0;
    buf->room = 0;
    buf->failed = false;
}
