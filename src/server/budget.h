/* SPDX-License-Identifier: Apache-2.0 */
/* server/budget: bytes that many take together, counted before they are taken. */
#ifndef TKR_SERVER_BUDGET_H
#define TKR_SERVER_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Adds to *taken; false, and nothing added, where that would be more than the limit (0: none). */
static inline bool tkr_budget_take(atomic_size_t *taken, size_t limit, size_t more) {
    if (atomic_fetch_add(taken, more) + more <= limit || limit == 0) return true;
    atomic_fetch_sub(taken, more);
    return false;
}

#endif
