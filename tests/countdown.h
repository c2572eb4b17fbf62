/* SPDX-License-Identifier: Apache-2.0 */
/* Fails the n-th operation of the seam, whatever its kind. */
#ifndef TESTS_COUNTDOWN_H
#define TESTS_COUNTDOWN_H

#include <stdatomic.h>
#include <stdbool.h>

typedef struct countdown {
    atomic_long left; /* several threads may ask */
} countdown;

static inline bool fail_nth(void *user, char kind) {
    countdown *count = user;
    (void)kind;
    return count->left-- != 0;
}

#endif
