/* SPDX-License-Identifier: Apache-2.0 */
/* Distances of words, and the nearest one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/near.h"

static void distances(void **state) {
    (void)state;
    assert_int_equal(tkr_distance("format", "format", 3), 0);
    assert_int_equal(tkr_distance("formt", "format", 3), 1);
    assert_int_equal(tkr_distance("fromat", "format", 3), 1);
    assert_int_equal(tkr_distance("kitten", "sitting", 9), 3);
    assert_int_equal(tkr_distance("abc", "xyz", 2), 3);
    assert_int_equal(tkr_distance("", "abc", 5), 3);
}

static void nearest(void **state) {
    static const char *const words[] = {"texts", "normalize", "dimensions", "truncate", NULL};
    (void)state;
    assert_string_equal(tkr_nearest("normalise", words), "normalize");
    assert_string_equal(tkr_nearest("text", words), "texts");
    assert_string_equal(tkr_nearest("dimension", words), "dimensions");
    assert_null(tkr_nearest("pooling", words));
    assert_null(tkr_nearest("", words));
    assert_int_equal(tkr_tolerance("a"), 1);
    assert_int_equal(tkr_tolerance("dimensions"), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(distances), cmocka_unit_test(nearest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
