/* SPDX-License-Identifier: Apache-2.0 */
/* tests/core/test_spool: what is written comes back in order; every failing operation is a clean error. */
#define _DEFAULT_SOURCE 1 /* setenv */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/mem.h"
#include "core/spool.h"

enum { N_WRITES = 200, WRITE_BYTES = 331 };

/* Appends to the tkr_buf in `user`. */
static tkr_status collect(void *user, const void *data, size_t size, tkr_error *error) {
    return tkr_buf_append(user, data, size) ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "out of memory");
}

static tkr_status stop(void *user, const void *data, size_t size, tkr_error *error) {
    (void)user;
    (void)data;
    (void)size;
    return TKR_FAIL(error, CANCELLED, "enough");
}

static tkr_status write_all(tkr_spool *spool, tkr_error *error) {
    tkr_status status = TKR_OK;
    for (int i = 0; i < N_WRITES && status == TKR_OK; i++) {
        char line[WRITE_BYTES];
        memset(line, 'a' + i % 26, sizeof line);
        status = tkr_spool_write(spool, line, sizeof line, error);
    }
    return status;
}

static void test_round_trip(void **state) {
    tkr_spool *spool = NULL;
    tkr_error error = {0};
    tkr_buf got = {0};
    (void)state;
    assert_int_equal(tkr_spool_open(&spool, &error), TKR_OK);
    assert_int_equal(write_all(spool, &error), TKR_OK);
    assert_int_equal(tkr_spool_each(spool, collect, &got, &error), TKR_OK);
    assert_int_equal(got.size, N_WRITES * WRITE_BYTES);
    for (size_t i = 0; i < got.size; i++) {
        assert_int_equal(got.data[i], 'a' + (int)(i / WRITE_BYTES % 26));
    }
    assert_int_equal(tkr_spool_each(spool, stop, NULL, &error), TKR_CANCELLED);
    assert_string_equal(error.message, "enough");
    tkr_buf_free(&got);
    tkr_spool_close(&spool);
    assert_null(spool);
    tkr_spool_close(&spool);
}

static void test_no_folder(void **state) {
    tkr_spool *spool = NULL;
    tkr_error error = {0};
    (void)state;
    assert_int_equal(setenv("TMPDIR", "/no/such/folder", 1), 0);
    assert_int_equal(tkr_spool_open(&spool, &error), TKR_NOT_FOUND);
    assert_null(spool);
    assert_non_null(strstr(error.message, "/no/such/folder"));
    assert_int_equal(unsetenv("TMPDIR"), 0);
}

static bool count_down(void *user, char kind) {
    int *left = user;
    (void)kind;
    return --*left != 0;
}

/* Fails the n-th operation, for every n. */
static void test_faults(void **state) {
    tkr_status status = TKR_INTERNAL;
    (void)state;
    for (int n = 1; status != TKR_OK; n++) {
        tkr_spool *spool = NULL;
        tkr_error error = {0};
        tkr_buf got = {0};
        int left = n;
        tkr_seam_set(count_down, &left);
        status = tkr_spool_open(&spool, &error);
        if (status == TKR_OK) {
            status = write_all(spool, &error);
        }
        if (status == TKR_OK) {
            status = tkr_spool_each(spool, collect, &got, &error);
        }
        tkr_spool_close(&spool);
        tkr_buf_free(&got);
        tkr_seam_set(NULL, NULL);
        if (status != TKR_OK) {
            assert_true(error.message[0] != '\0');
        }
        assert_true(n < 100000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_no_folder),
                                       cmocka_unit_test(test_faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
