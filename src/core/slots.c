/* SPDX-License-Identifier: Apache-2.0 */
/* core/slots: a lock, a condition and a word of bits. */
#define _POSIX_C_SOURCE 200809L
#include "core/slots.h"

#include <pthread.h>
#include <stdint.h>

#include "core/mem.h"

struct tkr_slots {
    pthread_mutex_t lock;
    pthread_cond_t given;
    uint64_t free_bits;
};

tkr_status tkr_slots_create(tkr_slots **out, unsigned n, tkr_error *error) {
    if (n < 1 || n > TKR_MAX_SLOTS) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "%u slots: from 1 to %d", n, TKR_MAX_SLOTS);
    }
    tkr_slots *slots = tkr_malloc(sizeof *slots);
    if (!slots) return TKR_FAIL(error, NO_MEMORY, "no memory for %u slots", n);
    slots->free_bits = n == TKR_MAX_SLOTS ? UINT64_MAX : (UINT64_C(1) << n) - 1;
    if (pthread_mutex_init(&slots->lock, NULL) != 0) goto fail;
    if (pthread_cond_init(&slots->given, NULL) != 0) {
        (void)pthread_mutex_destroy(&slots->lock);
        goto fail;
    }
    *out = slots;
    return TKR_OK;
fail:
    tkr_free(slots);
    return TKR_FAIL(error, NO_MEMORY, "no memory for a lock");
}

void tkr_slots_free(tkr_slots **slots) {
    if (!*slots) return;
    (void)pthread_cond_destroy(&(*slots)->given);
    (void)pthread_mutex_destroy(&(*slots)->lock);
    tkr_free(*slots);
    *slots = NULL;
}

unsigned tkr_slots_take(tkr_slots *slots) {
    (void)pthread_mutex_lock(&slots->lock);
    while (slots->free_bits == 0) (void)pthread_cond_wait(&slots->given, &slots->lock);
    const unsigned slot = (unsigned)__builtin_ctzll(slots->free_bits);
    slots->free_bits &= ~(UINT64_C(1) << slot);
    (void)pthread_mutex_unlock(&slots->lock);
    return slot;
}

void tkr_slots_give(tkr_slots *slots, unsigned slot) {
    (void)pthread_mutex_lock(&slots->lock);
    slots->free_bits |= UINT64_C(1) << slot;
    (void)pthread_cond_signal(&slots->given);
    (void)pthread_mutex_unlock(&slots->lock);
}
