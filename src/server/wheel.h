/* SPDX-License-Identifier: Apache-2.0 */
/* server/wheel: many timeouts, each moved often and seldom run out: a hashed wheel by the clock, setting is O(1). */
#ifndef TKR_SERVER_WHEEL_H
#define TKR_SERVER_WHEEL_H

#include <stdint.h>

enum { TKR_WHEEL_SLOTS = 64, TKR_WHEEL_MS = 250 };

/* Zero-initialise. */
typedef struct tkr_wheel_entry {
    struct tkr_wheel_entry *next, **link; /* link: what points to this one; NULL: not set */
    uint64_t due;                         /* tick */
} tkr_wheel_entry;

typedef struct tkr_wheel {
    tkr_wheel_entry *slots[TKR_WHEEL_SLOTS];
    uint64_t tick; /* up to which all was done */
} tkr_wheel;

void tkr_wheel_init(tkr_wheel *wheel, uint64_t now_ms);
/* Sets or moves: it runs out at least `after_ms` from now, at most two ticks later. */
void tkr_wheel_set(tkr_wheel *wheel, tkr_wheel_entry *entry, uint64_t now_ms, uint64_t after_ms);
void tkr_wheel_clear(tkr_wheel_entry *entry);
/* Calls fn for each entry that has run out, which is cleared before. fn may set and clear any entry. */
void tkr_wheel_advance(tkr_wheel *wheel, uint64_t now_ms, void (*fn)(void *user, tkr_wheel_entry *entry), void *user);

#endif
