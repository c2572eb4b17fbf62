/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation seam, aligned blocks, arena limits, buffer caps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/mem.h"

typedef struct counter {
    int n, fail_from; /* calls from this one on fail; 0: none */
} counter;

static bool count(void *user, char kind) {
    counter *c = user;
    assert_int_equal(kind, 'a');
    return ++c->n < c->fail_from || c->fail_from == 0;
}

static void checked_sizes(void **state) {
    (void)state;
    size_t out = 7;
    assert_false(tkr_mul_size(&out, SIZE_MAX / 2, 3));
    assert_true(tkr_mul_size(&out, 6, 7));
    assert_int_equal(out, 42);
    assert_false(tkr_add_size(&out, SIZE_MAX, 1));
    assert_true(tkr_add_size(&out, SIZE_MAX - 1, 1));
    assert_int_equal(tkr_align_up(0, 64), 0);
    assert_int_equal(tkr_align_up(1, 64), 64);
    assert_int_equal(tkr_align_up(64, 64), 64);
}

static void empty_blocks_are_unique(void **state) {
    (void)state;
    void *a = tkr_malloc(0), *b = tkr_calloc(0, 8), *c = tkr_realloc(NULL, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    assert_ptr_not_equal(a, b);
    c = tkr_realloc(c, 0);
    assert_non_null(c);
    tkr_free(a);
    tkr_free(b);
    tkr_free(c);
    tkr_free(NULL);
    volatile size_t huge = SIZE_MAX / 2; /* volatile: the compiler would object to the product */
    assert_null(tkr_calloc(huge, 3));
    assert_null(tkr_strndup("x", SIZE_MAX));
    char *copy = tkr_strndup("a\0bc", 3);
    assert_memory_equal(copy, "a\0b", 4);
    tkr_free(copy);
}

static void the_seam_fails_every_allocation(void **state) {
    (void)state;
    counter c = {0, 1};
    tkr_seam_set(count, &c);
    assert_null(tkr_malloc(1));
    assert_null(tkr_calloc(1, 1));
    assert_null(tkr_realloc(NULL, 1));
    assert_null(tkr_strdup("x"));
    assert_null(tkr_aligned_alloc(64));
    assert_null(tkr_aligned_alloc((size_t)4 << 20));
    tkr_arena arena = {0};
    assert_null(tkr_arena_alloc(&arena, 1));
    assert_null(tkr_arena_printf(&arena, "%d", 1));
    tkr_buf buf = {0};
    assert_false(tkr_buf_append(&buf, "x", 1));
    assert_true(buf.failed);
    assert_int_equal(c.n, 9);
    tkr_seam_set(NULL, NULL);
    void *block = tkr_malloc(1);
    assert_non_null(block);
    assert_int_equal(c.n, 9);
    tkr_free(block);
    assert_false(tkr_buf_append(&buf, "x", 1)); /* sticky */
    tkr_buf_free(&buf);
    assert_true(tkr_buf_append(&buf, "x", 1));
    tkr_buf_free(&buf);
}

static void aligned_blocks(void **state) {
    (void)state;
    const size_t huge = (size_t)2 << 20;
    const size_t sizes[] = {0, 1, 63, 64, 65, 4096, huge - 1, huge, huge + 1, 3 * huge - 4096, 5 * huge + 12345};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *block = tkr_aligned_alloc(sizes[i]);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % (sizes[i] >= huge ? huge : 64), 0);
        if (sizes[i] > 0) {
            memset(block, 0xA5, sizes[i]);
            assert_int_equal(block[sizes[i] - 1], 0xA5);
        }
        tkr_aligned_free(block, sizes[i]);
    }
    tkr_aligned_free(NULL, 7);
    assert_null(tkr_aligned_alloc(SIZE_MAX));
    assert_null(tkr_aligned_alloc(SIZE_MAX / 2));
}

static void arena_gives_zeroed_aligned_pieces(void **state) {
    (void)state;
    tkr_arena arena = {0};
    unsigned char *pieces[300];
    size_t total = 0;
    for (size_t i = 0; i < 300; i++) {
        size_t size = i % 37 == 0 ? 20000 + i : i; /* some larger than a block */
        pieces[i] = tkr_arena_alloc(&arena, size);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        for (size_t j = 0; j < size; j++) {
            assert_int_equal(pieces[i][j], 0);
        }
        memset(pieces[i], (int)(i & 0xFF), size);
        total += tkr_align_up(size > 0 ? size : 1, 16);
    }
    assert_int_equal(arena.used, total);
    for (size_t i = 0; i < 300; i++) { /* nothing moved, nothing overlaps */
        size_t size = i % 37 == 0 ? 20000 + i : i;
        for (size_t j = 0; j < size; j++) {
            assert_int_equal(pieces[i][j], i & 0xFF);
        }
    }
    assert_string_equal(tkr_arena_strndup(&arena, "hello", 4), "hell");
    assert_string_equal(tkr_arena_strndup(&arena, NULL, 0), "");
    assert_string_equal(tkr_arena_printf(&arena, "%s-%d", "x", 42), "x-42");
    tkr_arena_free(&arena);
    assert_int_equal(arena.used, 0);
    assert_non_null(tkr_arena_alloc(&arena, 8));
    tkr_arena_free(&arena);
}

static void arena_keeps_its_limit(void **state) {
    (void)state;
    tkr_arena arena = {.limit = 1000};
    assert_null(tkr_arena_alloc(&arena, 1001));
    assert_non_null(tkr_arena_alloc(&arena, 496));
    assert_non_null(tkr_arena_alloc(&arena, 496));
    assert_null(tkr_arena_alloc(&arena, 9));
    assert_null(tkr_arena_alloc(&arena, SIZE_MAX));
    assert_null(tkr_arena_strndup(&arena, "x", SIZE_MAX));
    assert_int_equal(arena.used, 992);
    tkr_arena_free(&arena);
    assert_non_null(tkr_arena_alloc(&arena, 992));
    tkr_arena_free(&arena);
}

static void buffers_grow_and_end_in_nul(void **state) {
    (void)state;
    tkr_buf buf = {0};
    assert_true(tkr_buf_append(&buf, NULL, 0));
    assert_string_equal(buf.data, "");
    for (int i = 0; i < 1000; i++) {
        assert_true(tkr_buf_putc(&buf, (char)('a' + i % 26)));
        assert_int_equal(buf.data[buf.size], '\0');
    }
    assert_int_equal(buf.size, 1000);
    assert_true(tkr_buf_printf(&buf, "<%s|%05d>", "text", 42));
    assert_string_equal(buf.data + 1000, "<text|00042>");
    assert_true(tkr_buf_reserve(&buf, 100000));
    assert_true(buf.room > 101000);
    assert_string_equal(buf.data + 1000, "<text|00042>");
    assert_false(tkr_buf_reserve(&buf, SIZE_MAX));
    assert_true(buf.failed);
    tkr_buf_free(&buf);
    assert_null(buf.data);
}

static void what_is_printed_fits_at_every_length(void **state) {
    (void)state;
    for (int n = 0; n < 200; n++) {
        tkr_buf buf = {0};
        for (int i = 0; i < 3; i++) assert_true(tkr_buf_printf(&buf, "%0*d.", n, i));
        const size_t each = (size_t)(n > 0 ? n : 1) + 1;
        assert_int_equal(buf.size, 3 * each);
        assert_int_equal(strlen(buf.data), 3 * each);
        for (int i = 0; i < 3; i++) assert_int_equal(strtol(buf.data + (size_t)i * each, NULL, 10), i);
        tkr_buf_free(&buf);
    }
}

static void buffers_keep_their_cap(void **state) {
    (void)state;
    tkr_buf buf = {.cap = 10};
    assert_true(tkr_buf_append(&buf, "12345", 5));
    assert_false(tkr_buf_printf(&buf, "%d", 678901));
    assert_true(buf.failed);
    assert_string_equal(buf.data, "12345");
    buf.failed = false;
    assert_true(tkr_buf_append(&buf, "67890", 5));
    assert_false(tkr_buf_putc(&buf, 'x'));
    assert_true(buf.failed);
    assert_string_equal(buf.data, "1234567890");
    tkr_buf_free(&buf);
    assert_int_equal(buf.cap, 10);
    assert_false(tkr_buf_printf(&buf, "%s", "12345678901"));
    assert_true(buf.failed);
    tkr_buf_free(&buf);
    buf.cap = SIZE_MAX;
    assert_true(tkr_buf_append(&buf, "a", 1));
    assert_true(tkr_buf_append(&buf, "b", 1));
    assert_false(tkr_buf_reserve(&buf, SIZE_MAX - 2));
    tkr_buf_free(&buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checked_sizes),
        cmocka_unit_test(empty_blocks_are_unique),
        cmocka_unit_test(the_seam_fails_every_allocation),
        cmocka_unit_test(aligned_blocks),
        cmocka_unit_test(arena_gives_zeroed_aligned_pieces),
        cmocka_unit_test(arena_keeps_its_limit),
        cmocka_unit_test(buffers_grow_and_end_in_nul),
        cmocka_unit_test(what_is_printed_fits_at_every_length),
        cmocka_unit_test(buffers_keep_their_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
