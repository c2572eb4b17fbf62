/* SPDX-License-Identifier: Apache-2.0 */
/* Row kernels of every rung that this CPU has. */
#include "check_rows.h"

static void test_rungs(void **state) {
    (void)state;
    check_each_rung(check_rows_kernels);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rungs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
