/* SPDX-License-Identifier: Apache-2.0 */
/* What tkr_deflate writes, zlib's own inflate reads; checksums of the PNG specification; failures of memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "core/compress.h"

enum { LARGE = 300 * 1000 };

static void inflates_to_the_same(void **state) {
    (void)state;
    static unsigned char data[LARGE], back[LARGE];
    const size_t sizes[] = {0, 1, 1000, LARGE};
    uint32_t seed = 7;
    for (size_t i = 0; i < LARGE; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (unsigned char)(i % 3000 < 1500 ? i : seed >> 24); /* runs and noise */
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        tkr_buf out = {0};
        uLongf n = LARGE;
        assert_true(tkr_buf_append(&out, "head", 4)); /* it appends */
        assert_int_equal(tkr_deflate(&out, data, sizes[i], NULL), TKR_OK);
        assert_memory_equal(out.data, "head", 4);
        assert_int_equal(uncompress(back, &n, (const Bytef *)out.data + 4, out.size - 4), Z_OK);
        assert_int_equal(n, sizes[i]);
        assert_memory_equal(back, data, sizes[i]);
        tkr_buf_free(&out);
    }
}

static void checksums(void **state) {
    (void)state;
    assert_int_equal(tkr_crc32(0, "IEND", 4), 0xAE426082u); /* the end of every PNG */
    assert_int_equal(tkr_crc32(tkr_crc32(0, "IE", 2), "ND", 2), 0xAE426082u);
    assert_int_equal(tkr_crc32(0, "123456789", 9), 0xCBF43926u);
}

static bool fail_at(void *user, char kind) {
    int *left = user;
    return kind != 'a' || (*left)-- != 0;
}

static void without_memory(void **state) {
    (void)state;
    static const char data[5000];
    for (int n = 0;; n++) {
        int left = n;
        tkr_buf out = {0};
        tkr_error error = {TKR_OK, NULL, ""};
        tkr_seam_set(fail_at, &left);
        const tkr_status status = tkr_deflate(&out, data, sizeof data, &error);
        tkr_seam_set(NULL, NULL);
        tkr_buf_free(&out);
        if (left >= 0) {
            assert_int_equal(status, TKR_OK);
            assert_true(n > 1);
            return;
        }
        assert_int_equal(status, TKR_NO_MEMORY);
        assert_non_null(strstr(error.message, "no memory"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(inflates_to_the_same), cmocka_unit_test(checksums),
                                       cmocka_unit_test(without_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
