/* SPDX-License-Identifier: Apache-2.0 */
/* core/near: the distance of Damerau and Levenshtein, by three rows of its table. */
#include "core/near.h"

#include <string.h>

enum { MAX_DISTANCE_LENGTH = 64 };

size_t tkr_distance(const char *a, const char *b, size_t cap) {
    size_t n = strlen(a), m = strlen(b);
    size_t rows[3][MAX_DISTANCE_LENGTH + 1]; /* two rows back, one row back, this row */
    if (n > MAX_DISTANCE_LENGTH || m > MAX_DISTANCE_LENGTH || n > m + cap || m > n + cap) {
        return cap + 1;
    }
    memset(rows, 0, sizeof rows);
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= m; j++) {
        last[j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            best = last[j] + 1 < best ? last[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best) {
                best = before[j - 2] + 1;
            }
            now[j] = best;
        }
        size_t *swap = before;
        before = last;
        last = now;
        now = swap;
    }
    return last[m] > cap ? cap + 1 : last[m];
}

size_t tkr_tolerance(const char *word) {
    size_t n = strlen(word) / 3;
    return n < 1 ? 1 : n;
}

const char *tkr_nearest(const char *word, const char *const *words) {
    const char *nearest = NULL;
    size_t best = tkr_tolerance(word) + 1;
    for (; *words != NULL; words++) {
        size_t distance = tkr_distance(word, *words, best - 1);
        if (distance < best) {
            best = distance;
            nearest = *words;
        }
    }
    return nearest;
}
