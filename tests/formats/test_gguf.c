/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF containers that lie: counts, lengths, offsets, types, alignment, nesting, duplicates, each refused with a
 * message that names what is wrong; every truncation and every flipped byte survived; memory in proportion to the file.
 */
#include "formats/gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/gguf_read.h"

/* ---- a writer -------------------------------------------------------------------------------------------------- */

enum { T_U8, T_I8, T_U16, T_I16, T_U32, T_I32, T_F32, T_BOOL, T_STRING, T_ARRAY, T_U64, T_I64, T_F64 };

static void put(tkr_buf *b, const void *data, size_t n) { assert_true(tkr_buf_append(b, data, n)); }
static void put32(tkr_buf *b, uint32_t v) { put(b, &v, 4); }
static void put64(tkr_buf *b, uint64_t v) { put(b, &v, 8); }
static void put_text(tkr_buf *b, const char *text) {
    put64(b, strlen(text));
    put(b, text, strlen(text));
}
static void put_head(tkr_buf *b, uint64_t n_tensors, uint64_t n_values) {
    put(b, "GGUF", 4);
    put32(b, 3);
    put64(b, n_tensors);
    put64(b, n_values);
}
static void put_key(tkr_buf *b, const char *key, uint32_t type) {
    put_text(b, key);
    put32(b, type);
}
static void put_array(tkr_buf *b, const char *key, uint32_t type, uint64_t n) {
    put_key(b, key, T_ARRAY);
    put32(b, type);
    put64(b, n);
}
static void put_tensor(tkr_buf *b, const char *name, uint64_t cols, uint64_t rows, uint32_t type, uint64_t offset) {
    put_text(b, name);
    put32(b, 2);
    put64(b, cols);
    put64(b, rows);
    put32(b, type);
    put64(b, offset);
}
static void pad(tkr_buf *b, size_t alignment) {
    while (b->size % alignment != 0) assert_true(tkr_buf_putc(b, 0));
}
static void put_data(tkr_buf *b, size_t n) {
    pad(b, 32);
    for (size_t i = 0; i < n; i++) assert_true(tkr_buf_putc(b, (char)i));
}

/* Opens what was built; an aligned copy, as a map is. Frees the buffer. */
static tkr_status open_built(tkr_gguf **file, tkr_buf *b, tkr_error *error, void **copy) {
    *copy = tkr_aligned_alloc(b->size + 1);
    assert_non_null(*copy);
    if (b->size > 0) memcpy(*copy, b->data, b->size);
    const tkr_status status = tkr_gguf_open_memory(file, *copy, b->size, "test.gguf", error);
    return status;
}

static void refuse(tkr_buf *b, tkr_status want, const char *message) {
    tkr_gguf *file = NULL;
    tkr_error error;
    void *copy = NULL;
    const tkr_status status = open_built(&file, b, &error, &copy);
    assert_null(file);
    if (status != want || !strstr(error.message, message) || strncmp(error.message, "test.gguf: ", 11) != 0) {
        fail_msg("got %d \"%s\", expected %d \"%s\"", (int)status, error.message, (int)want, message);
    }
    tkr_aligned_free(copy, b->size + 1);
    tkr_buf_free(b);
    *b = (tkr_buf){0};
}

/* ---- good ones ------------------------------------------------------------------------------------------------- */

/* Every type of value, alone and in an array, and two tensors. */
static void build_good(tkr_buf *b) {
    const float f32 = -1.5f;
    const double f64 = 1e300;
    const int64_t i64 = -5;
    put_head(b, 3, 15);
    put_key(b, "u8", T_U8), put(b, "\xff", 1);
    put_key(b, "i8", T_I8), put(b, "\xff", 1);
    put_key(b, "u16", T_U16), put(b, "\xfe\xff", 2);
    put_key(b, "i16", T_I16), put(b, "\xfe\xff", 2);
    put_key(b, "u32", T_U32), put32(b, 0xfffffffdu);
    put_key(b, "i32", T_I32), put32(b, 0xfffffffdu);
    put_key(b, "f32", T_F32), put(b, &f32, 4);
    put_key(b, "yes", T_BOOL), put(b, "\1", 1);
    put_key(b, "text", T_STRING), put64(b, 3), put(b, "a\0b", 3);
    put_key(b, "u64", T_U64), put64(b, INT64_MAX);
    put_key(b, "i64", T_I64), put(b, &i64, 8);
    put_key(b, "f64", T_F64), put(b, &f64, 8);
    put_array(b, "shorts", T_I16, 2), put(b, "\1\0\xff\xff", 4);
    put_array(b, "flags", T_BOOL, 2), put(b, "\0\1", 2);
    put_array(b, "nothing", T_STRING, 0);
    put_tensor(b, "second", 2, 1, 0, 64);
    put_tensor(b, "first", 32, 2, 2, 0);
    put_tensor(b, "empty", 5, 0, 0, 64);
    put_data(b, 72);
}

static void check_numbers(const tkr_gguf *file) {
    static const struct {
        const char *key;
        tkr_gguf_kind kind;
        int64_t integer;
        double number;
    } want[] = {{"u8", TKR_GGUF_INT, 255, 255},
                {"i8", TKR_GGUF_INT, -1, -1},
                {"u16", TKR_GGUF_INT, 65534, 65534},
                {"i16", TKR_GGUF_INT, -2, -2},
                {"u32", TKR_GGUF_INT, 4294967293, 4294967293.0},
                {"i32", TKR_GGUF_INT, -3, -3},
                {"f32", TKR_GGUF_FLOAT, 0, -1.5},
                {"yes", TKR_GGUF_BOOL, 1, 1},
                {"u64", TKR_GGUF_INT, INT64_MAX, 9223372036854775807.0},
                {"i64", TKR_GGUF_INT, -5, -5},
                {"f64", TKR_GGUF_FLOAT, 0, 1e300}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const tkr_gguf_value *value = tkr_gguf_find(file, want[i].key);
        assert_non_null(value);
        assert_int_equal(value->kind, want[i].kind);
        assert_true(value->integer == want[i].integer);
        assert_true(value->number == want[i].number);
    }
}

static void test_good(void **state) {
    (void)state;
    tkr_buf b = {0};
    tkr_gguf *file = NULL;
    tkr_tensors *set = NULL;
    tkr_error error;
    void *copy = NULL;
    build_good(&b);
    assert_int_equal(open_built(&file, &b, &error, &copy), TKR_OK);
    assert_int_equal(tkr_gguf_count(file), 15);
    check_numbers(file);
    const tkr_gguf_value *text = tkr_gguf_find(file, "text"), *shorts = tkr_gguf_find(file, "shorts");
    assert_int_equal(text->n_text, 3);
    assert_memory_equal(text->text, "a\0b", 3);
    assert_int_equal(tkr_gguf_array_integer(shorts, 0), 1);
    assert_int_equal(tkr_gguf_array_integer(shorts, 1), -1);
    assert_true(tkr_gguf_array_number(shorts, 1) == -1.0);
    assert_int_equal(tkr_gguf_array_integer(tkr_gguf_find(file, "flags"), 1), 1);
    assert_int_equal(tkr_gguf_find(file, "nothing")->n, 0);
    assert_int_equal(tkr_gguf_array_integer(text, 0), 0);
    assert_int_equal(tkr_gguf_tensors(&set, file, NULL, NULL, &error), TKR_OK);
    const tkr_tensor_view *first = tkr_tensors_find(set, "first"), *second = tkr_tensors_find(set, "second");
    assert_true(first->dtype == TKR_DTYPE_Q4_0 && first->shape[0] == 2 && first->shape[1] == 32 && first->size == 36);
    assert_true(second->dtype == TKR_DTYPE_F32 && second->shape[0] == 1 && second->shape[1] == 2);
    assert_int_equal(((const uint8_t *)first->data)[35], 35);
    assert_int_equal(((const uint8_t *)second->data)[7], 71);
    assert_int_equal(tkr_tensors_find(set, "empty")->n_elements, 0);
    tkr_tensors_free(&set);
    tkr_gguf_free(&file);
    tkr_aligned_free(copy, b.size + 1);
    tkr_buf_free(&b);
}

static void test_no_tensors(void **state) {
    (void)state;
    for (uint32_t version = 2; version < 4; version++) {
        tkr_buf b = {0};
        tkr_gguf *file = NULL;
        tkr_tensors *set = NULL;
        tkr_error error;
        void *copy = NULL;
        put_head(&b, 0, 0);
        b.data[4] = (char)version;
        assert_int_equal(open_built(&file, &b, &error, &copy), TKR_OK);
        assert_int_equal(tkr_gguf_count(file), 0);
        assert_null(tkr_gguf_find(file, "x"));
        assert_int_equal(tkr_gguf_tensors(&set, file, NULL, NULL, &error), TKR_OK);
        assert_int_equal(tkr_tensors_count(set), 0);
        tkr_tensors_free(&set);
        tkr_gguf_free(&file);
        tkr_aligned_free(copy, b.size + 1);
        tkr_buf_free(&b);
    }
}

/* ---- bad ones -------------------------------------------------------------------------------------------------- */

static void test_header(void **state) {
    (void)state;
    tkr_buf b = {0};
    refuse(&b, TKR_FORMAT, "does not begin with \"GGUF\"");
    put(&b, "GGML", 4), put32(&b, 3);
    refuse(&b, TKR_FORMAT, "does not begin with \"GGUF\"");
    put(&b, "GGUF", 4);
    refuse(&b, TKR_FORMAT, "the file ends inside of the header");
    put(&b, "GGUF", 4), put32(&b, 1);
    refuse(&b, TKR_UNSUPPORTED, "is of GGUF version 1, supported are 2 and 3");
    put(&b, "GGUF", 4), put32(&b, 0x03000000);
    refuse(&b, TKR_UNSUPPORTED, "is big-endian");
    put_head(&b, UINT64_MAX, 0);
    refuse(&b, TKR_LIMIT, "18446744073709551615 tensors, expected at most");
    put_head(&b, 0, UINT64_MAX);
    refuse(&b, TKR_LIMIT, "18446744073709551615 keys, expected at most");
    put_head(&b, 0, 1);
    refuse(&b, TKR_FORMAT, "the file ends inside of a key");
    put_head(&b, 1, 0);
    refuse(&b, TKR_FORMAT, "the file ends inside of a tensor's name");
}

static void test_keys(void **state) {
    (void)state;
    tkr_buf b = {0};
    put_head(&b, 0, 1), put64(&b, UINT64_MAX);
    refuse(&b, TKR_FORMAT, "a key is a string of 18446744073709551615 bytes, but only 0 are left");
    put_head(&b, 0, 1), put_key(&b, "", T_U8);
    refuse(&b, TKR_FORMAT, "a key has 0 bytes");
    put_head(&b, 0, 1), put64(&b, 3), put(&b, "a\0b", 3), put32(&b, T_U8);
    refuse(&b, TKR_FORMAT, "a key holds a NUL");
    put_head(&b, 0, 1), put_key(&b, "k", 13);
    refuse(&b, TKR_FORMAT, "key \"k\" is of type 13, which GGUF does not define");
    put_head(&b, 0, 1), put_key(&b, "k", T_U64), put32(&b, 0);
    refuse(&b, TKR_FORMAT, "the file ends inside of key \"k\"");
    put_head(&b, 0, 1), put_key(&b, "k", T_U64), put64(&b, UINT64_MAX);
    refuse(&b, TKR_FORMAT, "key \"k\": 18446744073709551615 is beyond 2^63 - 1");
    put_head(&b, 0, 1), put_key(&b, "k", T_BOOL), put(&b, "\2", 1);
    refuse(&b, TKR_FORMAT, "key \"k\": a bool is 2, expected 0 or 1");
    put_head(&b, 0, 1), put_key(&b, "k", T_STRING), put64(&b, 5), put(&b, "abcd", 4);
    refuse(&b, TKR_FORMAT, "key \"k\" is a string of 5 bytes, but only 4 are left");
    put_head(&b, 0, 2), put_key(&b, "k", T_U8), put(&b, "\1", 1), put_key(&b, "k", T_I8), put(&b, "\1", 1);
    refuse(&b, TKR_FORMAT, "key \"k\" is there twice");
    put_head(&b, 0, 1), put_key(&b, "split.count", T_U16), put(&b, "\3", 2);
    refuse(&b, TKR_UNSUPPORTED, "is one of the 3 parts of a split file");
}

static void test_arrays(void **state) {
    (void)state;
    tkr_buf b = {0};
    put_head(&b, 0, 1), put_array(&b, "k", T_ARRAY, 1), put32(&b, T_U8), put64(&b, 0);
    refuse(&b, TKR_UNSUPPORTED, "key \"k\" is an array of arrays");
    put_head(&b, 0, 1), put_array(&b, "k", 99, 1);
    refuse(&b, TKR_FORMAT, "key \"k\" is an array of type 99");
    put_head(&b, 0, 1), put_array(&b, "k", T_U32, (uint64_t)1 << 62);
    refuse(&b, TKR_FORMAT, "key \"k\" is an array of 4611686018427387904 elements, but only 0 bytes are left");
    put_head(&b, 0, 1), put_array(&b, "k", T_STRING, UINT64_MAX), put64(&b, 0);
    refuse(&b, TKR_FORMAT, "elements, but only 8 bytes are left");
    put_head(&b, 0, 1), put_array(&b, "k", T_STRING, 2), put_text(&b, "x"), put64(&b, 8), put(&b, "1234567", 7);
    refuse(&b, TKR_FORMAT, "key \"k\" is a string of 8 bytes, but only 7 are left");
    put_head(&b, 0, 1), put_array(&b, "k", T_STRING, 2), put64(&b, 8), put64(&b, 0);
    refuse(&b, TKR_FORMAT, "the file ends inside of key \"k\"");
    put_head(&b, 0, 1), put_array(&b, "k", T_BOOL, 2), put(&b, "\1\3", 2);
    refuse(&b, TKR_FORMAT, "key \"k\": a bool is 3");
    put_head(&b, 0, 1), put_array(&b, "k", T_U64, 1), put64(&b, (uint64_t)1 << 63);
    refuse(&b, TKR_FORMAT, "key \"k\": 9223372036854775808 is beyond 2^63 - 1");
    put_head(&b, 0, 1), put_key(&b, "k", T_ARRAY), put32(&b, T_U8);
    refuse(&b, TKR_FORMAT, "the file ends inside of key \"k\"");
}

static void test_alignment(void **state) {
    (void)state;
    static const uint32_t bad[] = {0, 1, 4, 24, 33, 1u << 17, UINT32_MAX};
    tkr_buf b = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_head(&b, 0, 1), put_key(&b, "general.alignment", T_U32), put32(&b, bad[i]);
        refuse(&b, TKR_FORMAT, "expected a power of two from 8 to 65536");
    }
    put_head(&b, 0, 1), put_key(&b, "general.alignment", T_STRING), put_text(&b, "32");
    refuse(&b, TKR_FORMAT, "general.alignment is not a whole number");
    put_head(&b, 1, 1), put_key(&b, "general.alignment", T_U32), put32(&b, 64);
    put_tensor(&b, "t", 8, 1, 0, 32), pad(&b, 64), put_data(&b, 128);
    refuse(&b, TKR_FORMAT, "tensor \"t\" begins at byte 32 of the data, which is not a multiple of the alignment, 64");
}

/* One tensor of 8 by 1 f32 unless a case says otherwise, and 64 bytes of data. */
static void test_tensors(void **state) {
    (void)state;
    static const struct {
        uint64_t cols, rows;
        uint32_t type;
        uint64_t offset;
        tkr_status status;
        const char *message;
    } cases[] = {
        {8, 1, 4, 0, TKR_UNSUPPORTED, "tensor \"t\" is of type number 4, which is not known"},
        {8, 1, 1000, 0, TKR_UNSUPPORTED, "tensor \"t\" is of type number 1000, which is not known"},
        {256, 1, 16, 0, TKR_UNSUPPORTED, "tensor \"t\" is of type IQ2_XXS, which is not supported; supported are F32"},
        {256, 1, 34, 0, TKR_UNSUPPORTED, "tensor \"t\" is of type TQ1_0, which is not supported"},
        {33, 1, 2, 0, TKR_FORMAT, "tensor \"t\" has shape [1, 33], but rows of Q4_0 are whole blocks of 32"},
        {32, 8, 12, 0, TKR_FORMAT, "has shape [8, 32], but rows of Q4_K are whole blocks of 256"},
        {UINT64_MAX, 1, 0, 0, TKR_FORMAT, "tensor \"t\" has a dimension of 18446744073709551615"},
        {(uint64_t)1 << 40, (uint64_t)1 << 40, 0, 0, TKR_FORMAT, "is beyond any memory"},
        {(uint64_t)1 << 62, 1, 0, 0, TKR_FORMAT, "is beyond any memory"},
        {17, 1, 0, 0, TKR_FORMAT, "tensor \"t\" has 68 bytes from byte 0 of the data on, but the data has only 64"},
        {8, 1, 0, 64, TKR_FORMAT, "tensor \"t\" has 32 bytes from byte 64 of the data on"},
        {8, 1, 0, UINT64_MAX - 31, TKR_FORMAT, "tensor \"t\" has 32 bytes from byte 18446744073709551584"},
        {8, 1, 0, 8, TKR_FORMAT, "which is not a multiple of the alignment, 32"},
        {0, 1, 0, 96, TKR_FORMAT, "tensor \"t\" has 0 bytes from byte 96"},
    };
    tkr_buf b = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_head(&b, 1, 0);
        put_tensor(&b, "t", cases[i].cols, cases[i].rows, cases[i].type, cases[i].offset);
        put_data(&b, 64);
        refuse(&b, cases[i].status, cases[i].message);
    }
    put_head(&b, 1, 0), put_text(&b, "t"), put32(&b, 5);
    refuse(&b, TKR_FORMAT, "tensor \"t\" has 5 dimensions, expected at most 4");
    put_head(&b, 1, 0), put_text(&b, "t"), put32(&b, 0), put32(&b, 2), put64(&b, 0), put_data(&b, 64);
    refuse(&b, TKR_FORMAT, "has shape [], but rows of Q4_0 are whole blocks");
    put_head(&b, 1, 0), put_text(&b, ""), put32(&b, 0);
    refuse(&b, TKR_FORMAT, "a tensor's name has 0 bytes");
    put_head(&b, 2, 0), put_tensor(&b, "t", 8, 1, 0, 0), put_tensor(&b, "u", 4, 4, 0, 0), put_data(&b, 64);
    refuse(&b, TKR_FORMAT, "tensors \"t\" and \"u\" overlap");
    put_head(&b, 2, 0), put_tensor(&b, "t", 8, 1, 0, 0), put_tensor(&b, "t", 8, 1, 0, 32), put_data(&b, 64);
    refuse(&b, TKR_FORMAT, "tensor \"t\" is there twice");
    put_head(&b, 1, 0), put_tensor(&b, "t", 8, 1, 0, 0); /* no data at all */
    refuse(&b, TKR_FORMAT, "but the data has only 0 (truncated?)");
}

/* No prefix of a good file is a good one, and no flipped byte does harm. */
static void test_damage(void **state) {
    (void)state;
    tkr_buf b = {0};
    tkr_gguf *file = NULL;
    tkr_error error;
    build_good(&b);
    uint8_t *copy = tkr_aligned_alloc(b.size);
    assert_non_null(copy);
    for (size_t n = 0; n < b.size; n++) {
        memcpy(copy, b.data, n);
        assert_int_equal(tkr_gguf_open_memory(&file, copy, n, "cut", &error), TKR_FORMAT);
        assert_null(file);
    }
    memcpy(copy, b.data, b.size);
    for (size_t i = 0; i < b.size - 72; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            copy[i] ^= (uint8_t)(1u << bit);
            if (tkr_gguf_open_memory(&file, copy, b.size, "flipped", &error) == TKR_OK) tkr_gguf_free(&file);
            assert_null(file);
            copy[i] ^= (uint8_t)(1u << bit);
        }
    }
    tkr_aligned_free(copy, b.size);
    tkr_buf_free(&b);
}

/* ---- allocation ------------------------------------------------------------------------------------------------ */

static size_t n_allowed, n_seen;

static bool count_allocations(void *user, char kind) {
    (void)user;
    return kind != 'a' || n_seen++ < n_allowed;
}

static void test_memory_faults(void **state) {
    (void)state;
    tkr_buf b = {0};
    tkr_gguf *file = NULL;
    tkr_tensors *set = NULL;
    tkr_error error;
    build_good(&b);
    void *copy = tkr_aligned_alloc(b.size);
    memcpy(copy, b.data, b.size);
    tkr_status status = TKR_NO_MEMORY;
    for (n_allowed = 0; status != TKR_OK; n_allowed++) {
        assert_true(n_allowed < 200);
        n_seen = 0;
        tkr_seam_set(count_allocations, NULL);
        status = tkr_gguf_open_memory(&file, copy, b.size, "test.gguf", &error);
        if (status == TKR_OK) status = tkr_gguf_tensors(&set, file, NULL, NULL, &error);
        tkr_seam_set(NULL, NULL);
        if (status != TKR_OK) assert_int_equal(status, TKR_NO_MEMORY);
        tkr_tensors_free(&set);
        tkr_gguf_free(&file);
    }
    assert_true(n_allowed > 5);
    tkr_aligned_free(copy, b.size);
    tkr_buf_free(&b);
}

static void test_no_file(void **state) {
    (void)state;
    tkr_gguf *file = NULL;
    tkr_error error;
    assert_int_equal(tkr_gguf_open(&file, TKR_TEST_DIR "/golden/quant/gguf/absent.gguf", &error), TKR_NOT_FOUND);
    assert_int_equal(tkr_gguf_open(&file, TKR_TEST_DIR "/golden/quant/gguf", &error), TKR_IO);
    assert_null(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),    cmocka_unit_test(test_no_tensors), cmocka_unit_test(test_header),
        cmocka_unit_test(test_keys),    cmocka_unit_test(test_arrays),     cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_tensors), cmocka_unit_test(test_damage),     cmocka_unit_test(test_memory_faults),
        cmocka_unit_test(test_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
