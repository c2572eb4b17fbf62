/* SPDX-License-Identifier: Apache-2.0 */
/* arm/cmocka: the few cmocka names that the kernel checks use, for cross builds whose target has no cmocka. A failed
 * assertion ends the program with status 1. */
#ifndef TKR_TESTS_ARM_CMOCKA_H
#define TKR_TESTS_ARM_CMOCKA_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define print_message(...) ((void)printf(__VA_ARGS__), (void)fflush(stdout))
#define fail_msg(...) \
    (print_message("%s:%d: ", __FILE__, __LINE__), print_message(__VA_ARGS__), print_message("\n"), exit(1))
#define assert_true(c) ((c) ? (void)0 : fail_msg("not true: %s", #c))
#define assert_non_null(p) assert_true((p) != NULL)
#define assert_int_equal(a, b) \
    ((long long)(a) == (long long)(b) ? (void)0 : fail_msg("%s is %lld, not %lld", #a, (long long)(a), (long long)(b)))
#define assert_memory_equal(a, b, n) (memcmp(a, b, n) == 0 ? (void)0 : fail_msg("bytes differ: %s, %s", #a, #b))

#endif
