/* SPDX-License-Identifier: Apache-2.0 */
/* What sweeps of failures need: the N-th operation of a kind fails, and blocks of memory are counted. To be included
 * first. */
#ifndef TESTS_ENGINE_FAULT_H
#define TESTS_ENGINE_FAULT_H

#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Blocks alive, counted by standing in for malloc; under the sanitizers their own leak check does it. */
static atomic_long alive;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && defined(__GLIBC__)
#define COUNTS_BLOCKS 1
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *block);

#pragma GCC visibility push(default) /* the C library and jansson shall call these, too */
static void *count_block(void *block) {
    atomic_fetch_add(&alive, block != NULL);
    return block;
}
void *malloc(size_t size) { return count_block(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return count_block(__libc_calloc(count, size)); }
void *realloc(void *block, size_t size) {
    return block ? __libc_realloc(block, size) : count_block(__libc_malloc(size));
}
void *aligned_alloc(size_t align, size_t size) { return count_block(__libc_memalign(align, size)); }
void *memalign(size_t align, size_t size);
void *memalign(size_t align, size_t size) { return count_block(__libc_memalign(align, size)); }
int posix_memalign(void **out, size_t align, size_t size);
int posix_memalign(void **out, size_t align, size_t size) {
    *out = count_block(__libc_memalign(align, size));
    return *out ? 0 : 12;
}
void free(void *block) {
    atomic_fetch_sub(&alive, block != NULL);
    __libc_free(block);
}
#pragma GCC visibility pop
#else
#define COUNTS_BLOCKS 0
#endif

typedef struct fault {
    char kind;
    size_t at, seen;
    bool hit;
} fault;

static bool allow(void *user, char kind) {
    fault *f = user;
    if (kind != f->kind) return true;
    if (f->seen++ != f->at) return true;
    f->hit = true;
    return false;
}

#endif
