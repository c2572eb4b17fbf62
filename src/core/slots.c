/* SPDX-License-Identifier: Apache-2.0 */
/* core/slots: a lock, a word of bits and a queue of those who wait: a slot goes from hand to hand, so that nobody who
 * comes later takes it away. */
#include "core/slots.h"

#include <math.h>
#include <stdint.h>

#include "core/mem.h"
#include "core/sync.h"

enum { NONE = TKR_MAX_SLOTS };

/* On the stack of its thread, in the queue while it waits. */
typedef struct waiter {
    struct waiter *next;
    tkr_cond given;
    unsigned slot; /* NONE until it was given one */
} waiter;

struct tkr_slots {
    tkr_mutex lock;
    uint64_t free_bits; /* 0 while anybody waits */
    waiter *first, **end;
};

tkr_status tkr_slots_create(tkr_slots **out, unsigned n, tkr_error *error) {
    if (n < 1 || n > TKR_MAX_SLOTS) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "%u slots: from 1 to %d", n, TKR_MAX_SLOTS);
    }
    tkr_slots *slots = tkr_calloc(1, sizeof *slots);
    if (!slots) return TKR_FAIL(error, NO_MEMORY, "no memory for %u slots", n);
    slots->free_bits = n == TKR_MAX_SLOTS ? UINT64_MAX : (UINT64_C(1) << n) - 1;
    slots->end = &slots->first;
    tkr_mutex_init(&slots->lock);
    *out = slots;
    return TKR_OK;
}

void tkr_slots_free(tkr_slots **slots) {
    if (!*slots) return;
    tkr_mutex_destroy(&(*slots)->lock);
    tkr_free(*slots);
    *slots = NULL;
}

static void leave(tkr_slots *slots, const waiter *self) {
    waiter **at = &slots->first;
    while (*at != self) at = &(*at)->next;
    *at = self->next;
    if (!*at) slots->end = at;
}

/* With the lock held. */
static tkr_status wait_for_turn(unsigned *slot, tkr_slots *slots, const tkr_stop *stop) {
    waiter self = {.slot = NONE};
    tkr_status status = TKR_OK;
    tkr_cond_init(&self.given);
    *slots->end = &self;
    slots->end = &self.next;
    for (;;) {
        tkr_mutex_unlock(&slots->lock); /* whom it asks is not ours */
        status = tkr_stop_ask(stop);
        tkr_mutex_lock(&slots->lock);
        if (status != TKR_OK || self.slot != NONE) break;
        const double until = tkr_stop_until(stop, INFINITY);
        if (isinf(until)) {
            tkr_cond_wait(&self.given, &slots->lock);
        } else {
            (void)tkr_cond_wait_until(&self.given, &slots->lock, until);
        }
    }
    if (self.slot == NONE) {
        leave(slots, &self);
    } else {
        *slot = self.slot;
        status = TKR_OK;
    }
    tkr_cond_destroy(&self.given);
    return status;
}

tkr_status tkr_slots_take(unsigned *slot, tkr_slots *slots, const tkr_stop *stop) {
    tkr_status status = TKR_OK;
    tkr_mutex_lock(&slots->lock);
    if (slots->free_bits != 0) {
        *slot = (unsigned)__builtin_ctzll(slots->free_bits);
        slots->free_bits &= ~(UINT64_C(1) << *slot);
    } else {
        status = wait_for_turn(slot, slots, stop);
    }
    tkr_mutex_unlock(&slots->lock);
    return status;
}

void tkr_slots_give(tkr_slots *slots, unsigned slot) {
    tkr_mutex_lock(&slots->lock);
    waiter *next = slots->first;
    if (next) {
        slots->first = next->next;
        if (!slots->first) slots->end = &slots->first;
        next->slot = slot;
        tkr_cond_signal(&next->given); /* with the lock held: it is on the stack of the one who wakes up */
    } else {
        slots->free_bits |= UINT64_C(1) << slot;
    }
    tkr_mutex_unlock(&slots->lock);
}
