/* SPDX-License-Identifier: Apache-2.0 */
/* core/near: which of the words that we know a misspelt one was probably meant to be. */
#ifndef TKR_CORE_NEAR_H
#define TKR_CORE_NEAR_H

#include <stddef.h>

/* Letters to insert, delete, change or swap with their neighbour to get from a to b; cap + 1 when more than `cap`, and
 * for words of more than 64 bytes that differ. */
size_t tkr_distance(const char *a, const char *b, size_t cap);
/* What may differ in a word: a third of its letters, one at least. */
size_t tkr_tolerance(const char *word);
/* The nearest within the tolerance, the first of equals; NULL: none. `words` is NULL-terminated. */
const char *tkr_nearest(const char *word, const char *const *words);

#endif
