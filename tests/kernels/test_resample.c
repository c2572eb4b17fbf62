/* SPDX-License-Identifier: Apache-2.0 */
/* Resampling passes of every rung that this CPU has. */
#include "check_resample.h"

static void test_rungs(void **state) {
    (void)state;
    check_each_rung(check_resample_kernels);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rungs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
