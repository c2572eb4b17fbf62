/* SPDX-License-Identifier: Apache-2.0 */
/* 20,000 damaged videos. */
#include "video_mutate.h"

static void mutations(void **state) {
    (void)state;
    mutate_videos(20000, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(mutations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
