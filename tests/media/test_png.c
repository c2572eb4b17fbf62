/* SPDX-License-Identifier: Apache-2.0 */
/* A written PNG, taken apart by the specification: signature, chunks with right checksums, pixels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "core/compress.h"
#include "media/png.h"

enum { MAX_SIDE = 70 };

static uint32_t get32(const char *at) {
    const unsigned char *p = (const unsigned char *)at;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The chunk of that type at `at`, checked; returns where the next one is. */
static size_t expect_chunk(const tkr_buf *file, size_t at, const char *type, const char **data, size_t *size) {
    assert_true(at + 12 <= file->size);
    *size = get32(file->data + at);
    *data = file->data + at + 8;
    assert_memory_equal(file->data + at + 4, type, 4);
    assert_true(at + 12 + *size <= file->size);
    assert_int_equal(get32(*data + *size), tkr_crc32(0, file->data + at + 4, 4 + *size));
    return at + 12 + *size;
}

static void check(size_t width, size_t height) {
    static uint8_t rgb[MAX_SIDE * MAX_SIDE * 3], rows[MAX_SIDE * (MAX_SIDE * 3 + 1)];
    const tkr_image image = {width, height, rgb};
    const size_t stride = width * 3;
    tkr_buf file = {0};
    const char *data = NULL;
    size_t size = 0;
    uLongf n = sizeof rows;
    for (size_t i = 0; i < stride * height; i++) rgb[i] = (uint8_t)(i * 37 + i / 11);
    assert_int_equal(tkr_png_encode(&file, &image, NULL), TKR_OK);
    assert_memory_equal(file.data, "\x89PNG\r\n\x1a\n", 8);
    size_t at = expect_chunk(&file, 8, "IHDR", &data, &size);
    assert_int_equal(size, 13);
    assert_int_equal(get32(data), width);
    assert_int_equal(get32(data + 4), height);
    assert_memory_equal(data + 8, "\x08\x02\0\0\0", 5);
    at = expect_chunk(&file, at, "IDAT", &data, &size);
    assert_int_equal(uncompress(rows, &n, (const Bytef *)data, size), Z_OK);
    assert_int_equal(n, (stride + 1) * height);
    at = expect_chunk(&file, at, "IEND", &data, &size);
    assert_int_equal(at, file.size);
    for (size_t y = 0; y < height; y++) {
        uint8_t *row = rows + y * (stride + 1);
        assert_int_equal(row[0], 1);
        for (size_t i = 3; i < stride; i++) row[1 + i] = (uint8_t)(row[1 + i] + row[1 + i - 3]);
        assert_memory_equal(row + 1, rgb + y * stride, stride);
    }
    tkr_buf_free(&file);
}

static void pictures_come_back(void **state) {
    (void)state;
    check(1, 1);
    check(2, 1);
    check(1, 70);
    check(70, 33);
}

static void empty_pictures_are_refused(void **state) {
    (void)state;
    const tkr_image none = {0, 5, NULL};
    tkr_buf file = {0};
    tkr_error error = {TKR_OK, NULL, ""};
    assert_int_equal(tkr_png_encode(&file, &none, &error), TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "0 x 5"));
    assert_int_equal(file.size, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pictures_come_back),
                                       cmocka_unit_test(empty_pictures_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
