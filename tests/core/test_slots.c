/* SPDX-License-Identifier: Apache-2.0 */
/* Slots: the lowest free one first, never one twice, waiting when there is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/slots.h"
#include "core/task.h"

static unsigned take(tkr_slots *slots) {
    unsigned slot = TKR_MAX_SLOTS;
    return tkr_slots_take(&slot, slots, NULL) == TKR_OK ? slot : TKR_MAX_SLOTS;
}

static void in_order(void **state) {
    (void)state;
    tkr_slots *slots = NULL;
    tkr_error error;
    assert_int_equal(tkr_slots_create(&slots, 0, &error), TKR_INVALID_ARGUMENT);
    assert_int_equal(tkr_slots_create(&slots, TKR_MAX_SLOTS + 1, &error), TKR_INVALID_ARGUMENT);
    assert_int_equal(tkr_slots_create(&slots, TKR_MAX_SLOTS, &error), TKR_OK);
    for (unsigned i = 0; i < TKR_MAX_SLOTS; i++) assert_int_equal(take(slots), i);
    tkr_slots_give(slots, 9);
    tkr_slots_give(slots, 3);
    assert_int_equal(take(slots), 3);
    assert_int_equal(take(slots), 9);
    tkr_slots_free(&slots);
    assert_null(slots);
    tkr_slots_free(&slots);
}

enum { N_SLOTS = 3, N_TASKS = 8, N_TURNS = 2000 };

typedef struct user {
    tkr_slots *slots;
    atomic_int *holders; /* [N_SLOTS] */
    int n_wrong;
} user;

static void take_turns(void *arg) {
    user *u = arg;
    for (int i = 0; i < N_TURNS; i++) {
        const unsigned slot = take(u->slots);
        u->n_wrong += slot >= N_SLOTS || atomic_fetch_add(&u->holders[slot], 1) != 0;
        (void)atomic_fetch_sub(&u->holders[slot], 1);
        tkr_slots_give(u->slots, slot);
    }
}

static void shared(void **state) {
    (void)state;
    tkr_slots *slots = NULL;
    atomic_int holders[N_SLOTS] = {0};
    user users[N_TASKS];
    tkr_task *tasks[N_TASKS];
    assert_int_equal(tkr_slots_create(&slots, N_SLOTS, NULL), TKR_OK);
    for (size_t i = 0; i < N_TASKS; i++) users[i] = (user){.slots = slots, .holders = holders};
    for (size_t i = 0; i < N_TASKS; i++) tasks[i] = tkr_task_start(take_turns, &users[i]);
    for (size_t i = 0; i < N_TASKS; i++) {
        tkr_task_wait(&tasks[i]);
        assert_int_equal(users[i].n_wrong, 0);
    }
    tkr_slots_free(&slots);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_order), cmocka_unit_test(shared)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
