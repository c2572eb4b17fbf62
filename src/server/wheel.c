/* SPDX-License-Identifier: Apache-2.0 */
/* server/wheel: see wheel.h. Goes by the clock it is told: a starved machine loses ticks of its timers. */
#include "server/wheel.h"

#include <stddef.h>

void tkr_wheel_init(tkr_wheel *wheel, uint64_t now_ms) { *wheel = (tkr_wheel){.tick = now_ms / TKR_WHEEL_MS}; }

static void link_in(tkr_wheel_entry **list, tkr_wheel_entry *entry) {
    entry->next = *list;
    if (*list) (*list)->link = &entry->next;
    *list = entry;
    entry->link = list;
}

void tkr_wheel_clear(tkr_wheel_entry *entry) {
    if (!entry->link) return;
    *entry->link = entry->next;
    if (entry->next) entry->next->link = entry->link;
    entry->link = NULL;
    entry->next = NULL;
}

void tkr_wheel_set(tkr_wheel *wheel, tkr_wheel_entry *entry, uint64_t now_ms, uint64_t after_ms) {
    tkr_wheel_clear(entry);
    entry->due = (now_ms + after_ms) / TKR_WHEEL_MS + 1;
    if (entry->due <= wheel->tick) entry->due = wheel->tick + 1;
    link_in(&wheel->slots[entry->due % TKR_WHEEL_SLOTS], entry);
}

void tkr_wheel_advance(tkr_wheel *wheel, uint64_t now_ms, void (*fn)(void *user, tkr_wheel_entry *entry), void *user) {
    const uint64_t now = now_ms / TKR_WHEEL_MS;
    if (now <= wheel->tick) return;
    uint64_t first = wheel->tick + 1;
    if (now - first >= TKR_WHEEL_SLOTS) first = now - TKR_WHEEL_SLOTS + 1; /* each slot once */
    /* Taken out before the first call: what fn does to other entries can't disturb the walk. */
    tkr_wheel_entry *due = NULL;
    for (uint64_t tick = first; tick <= now; tick++) {
        for (tkr_wheel_entry *entry = wheel->slots[tick % TKR_WHEEL_SLOTS], *next; entry; entry = next) {
            next = entry->next;
            if (entry->due > now) continue;
            tkr_wheel_clear(entry);
            link_in(&due, entry);
        }
    }
    wheel->tick = now;
    while (due) {
        tkr_wheel_entry *entry = due;
        tkr_wheel_clear(entry);
        fn(user, entry);
    }
}
