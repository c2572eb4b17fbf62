/* SPDX-License-Identifier: Apache-2.0 */
/* What sweeps of failures need: the N-th operation of a kind fails, and blocks of memory are counted. To be included
 * first. */
#ifndef TESTS_ENGINE_FAULT_H
#define TESTS_ENGINE_FAULT_H

#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "golden.h"

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

/* The status of one load + embed, whose failure left its words in `message`. */
typedef struct fault_case {
    tkr_status (*run)(void);
    const char *message;
} fault_case;

/* Fails each operation of the kind in turn: a clean error and no leak each time. Returns how many there were. */
static inline size_t fault_sweep(const fault_case *c, char kind) {
    size_t runs = 0;
    json_set_alloc_funcs(tkr_malloc, tkr_free); /* jansson's allocations fail in turn, too */
    assert_int_equal(c->run(), TKR_OK);         /* whatever libraries keep for themselves is kept now */
    const long before = atomic_load(&alive);
    assert_true(before > 0 || !COUNTS_BLOCKS);
    for (size_t n = 0;; n++) {
        fault f = {.kind = kind, .at = n};
        tkr_seam_set(allow, &f);
        const tkr_status status = c->run();
        tkr_seam_set(NULL, NULL);
        if (atomic_load(&alive) != before)
            fail_msg("failing operation %zu of kind '%c' leaks %ld blocks", n, kind, atomic_load(&alive) - before);
        if (!f.hit) {
            assert_int_equal(status, TKR_OK);
            break;
        }
        runs++;
        /* A few failures are survivable by design (an optional file, a message that could not be copied). */
        if (status != TKR_OK && kind == 'a' && status != TKR_NO_MEMORY)
            fail_msg("failing allocation %zu gives status \"%s\": %s", n, tkr_status_text(status), c->message);
    }
    json_set_alloc_funcs(malloc, free);
    return runs;
}

#endif
