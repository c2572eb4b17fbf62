/* SPDX-License-Identifier: Apache-2.0 */
/* One million four-token texts: memory stays flat. */
#include "memory.h"

static void a_million_texts(void **state) {
    (void)state;
    memory_stays_flat(1000 * MEMORY_BLOCK);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_million_texts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
