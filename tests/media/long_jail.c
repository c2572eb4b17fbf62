/* SPDX-License-Identifier: Apache-2.0 */
/* 20,000 damaged pictures of each format. */
#include "jail_mutate.h"

static void mutations(void **state) {
    (void)state;
    tkr_jail_options options = jail_options();
    options.n_processes = 1;
    options.max_pixels = 4000000; /* of pictures of 2600: larger ones are refused before they cost time */
    tkr_jail *jail = open_jail(&options);
    for (size_t format = 0; format < MUTATE_FORMATS; format++) mutate_format(jail, format, 20000, 2);
    tkr_jail_free(&jail);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(mutations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
