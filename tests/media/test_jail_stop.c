/* SPDX-License-Identifier: Apache-2.0 */
/* Several callers at once, as a server has them: beside each other, in turn, and given up. */
#include "golden.h"

#include <stdatomic.h>

#include "core/fsops.h"
#include "core/task.h"
#include "jail_fake.h"

typedef struct client {
    tkr_jail *jail;
    const char *what;
    tkr_stop stop;
    tkr_status status;
    tkr_error error;
    double seconds;
    unsigned turn; /* when it was done, among the others */
    atomic_uint *n_done;
} client;

static void run(void *arg) {
    client *c = arg;
    tkr_image image;
    const double began = tkr_now();
    c->status = ask(c->jail, c->what, &image, &c->stop, &c->error);
    c->seconds = tkr_now() - began;
    if (c->n_done) c->turn = atomic_fetch_add(c->n_done, 1);
    tkr_image_free(&image);
}

/* Each input takes 0.2 s: three of them together less than two. */
static void beside_each_other(void **state) {
    (void)state;
    enum { N = 3 };
    tkr_jail *jail = fake_jail(N, 10);
    client clients[N];
    tkr_task *tasks[N];
    for (int round = 0; round < 2; round++) { /* of which the first starts the processes */
        const double began = tkr_now();
        for (size_t i = 0; i < N; i++) clients[i] = (client){.jail = jail, .what = "w"};
        for (size_t i = 0; i < N; i++) tasks[i] = tkr_task_start(run, &clients[i]);
        for (size_t i = 0; i < N; i++) {
            tkr_task_wait(&tasks[i]);
            assert_int_equal(clients[i].status, TKR_OK);
        }
        if (round == 1) assert_true(tkr_now() - began < 0.55); /* one after another: 0.6 */
    }
    tkr_jail_free(&jail);
}

static tkr_status note_that_it_waits(void *user) {
    atomic_store((atomic_bool *)user, true);
    return TKR_OK;
}

/* One process, and callers that come one after another while it is at work. */
static void first_come_first_served(void **state) {
    (void)state;
    enum { N = 5 };
    tkr_jail *jail = fake_jail(1, 10);
    client clients[N];
    tkr_task *tasks[N];
    atomic_uint n_done = 0;
    atomic_bool waits[N];
    (void)who(jail);
    for (size_t i = 0; i < N; i++) {
        atomic_init(&waits[i], false);
        clients[i] = (client){.jail = jail, .what = "w", .stop = {note_that_it_waits, &waits[i], 0}, .n_done = &n_done};
    }
    for (size_t i = 0; i < N; i++) {
        tasks[i] = tkr_task_start(run, &clients[i]);
        const double until = tkr_now() + 5;
        while (!atomic_load(&waits[i]) && tkr_now() < until) tkr_sleep(0.001);
        assert_true(atomic_load(&waits[i]));
    }
    for (size_t i = 0; i < N; i++) {
        tkr_task_wait(&tasks[i]);
        assert_int_equal(clients[i].status, TKR_OK);
        assert_int_equal(clients[i].turn, i);
    }
    tkr_jail_free(&jail);
}

/* A decoder that hangs until its time is over has the other process's callers wait for nothing. */
static void beside_one_that_hangs(void **state) {
    (void)state;
    tkr_jail *jail = fake_jail(2, 1);
    client hangs = {.jail = jail, .what = "h"};
    tkr_task *task = tkr_task_start(run, &hangs);
    for (int i = 0; i < 20; i++) {
        client c = {.jail = jail, .what = "x"};
        run(&c);
        assert_int_equal(c.status, TKR_OK);
        assert_true(c.seconds < 0.5);
    }
    tkr_task_wait(&task);
    assert_int_equal(hangs.status, TKR_DEADLINE);
    assert_non_null(strstr(hangs.error.message, "decoding took longer than 1 s"));
    tkr_jail_free(&jail);
}

static tkr_status ask_flag(void *user) { return atomic_load((atomic_bool *)user) ? TKR_CANCELLED : TKR_OK; }

/* While it is decoded; the process that was at it is replaced. */
static void cancelled(void **state) {
    (void)state;
    tkr_jail *jail = fake_jail(1, 30);
    atomic_bool flag = false;
    client c = {.jail = jail, .what = "h", .stop = {ask_flag, &flag, 0}};
    const unsigned before = who(jail);
    tkr_task *task = tkr_task_start(run, &c);
    tkr_sleep(0.1);
    atomic_store(&flag, true);
    tkr_task_wait(&task);
    assert_int_equal(c.status, TKR_CANCELLED);
    assert_string_equal(c.error.message, "cat.jpg: not decoded: cancelled");
    assert_true(c.seconds < 1);
    assert_int_not_equal(who(jail), before);
    tkr_jail_free(&jail);
}

static void deadline(void **state) {
    (void)state;
    tkr_jail *jail = fake_jail(1, 30);
    (void)who(jail);
    client c = {.jail = jail, .what = "h", .stop = {.deadline = tkr_now() + 0.1}};
    run(&c);
    assert_int_equal(c.status, TKR_DEADLINE);
    assert_string_equal(c.error.message, "cat.jpg: not decoded: the time for the request is over");
    assert_true(c.seconds >= 0.09 && c.seconds < 1);
    assert_int_not_equal(who(jail), 0);
    tkr_jail_free(&jail);
}

/* Before its turn: nothing was begun, the process stays. */
static void given_up_in_the_queue(void **state) {
    (void)state;
    tkr_jail *jail = fake_jail(1, 30);
    atomic_bool waits = false;
    const unsigned before = who(jail);
    atomic_uint n_done = 0;
    client first = {.jail = jail, .what = "w", .stop = {note_that_it_waits, &waits, 0}, .n_done = &n_done};
    tkr_task *task = tkr_task_start(run, &first);
    while (!atomic_load(&waits)) tkr_sleep(0.001);
    client second = {.jail = jail, .what = "x", .stop = {.deadline = tkr_now() + 0.03}};
    run(&second);
    assert_int_equal(second.status, TKR_DEADLINE);
    assert_int_equal(atomic_load(&n_done), 0); /* it didn't wait for the first */
    tkr_task_wait(&task);
    assert_int_equal(first.status, TKR_OK);
    assert_int_equal(who(jail), before);
    tkr_jail_free(&jail);
}

typedef struct crowd {
    tkr_jail *jail;
    unsigned seed, n_wrong, n_stopped;
} crowd;

static tkr_status now_and_then(void *user) {
    unsigned *seed = user;
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 29 == 0 ? TKR_CANCELLED : TKR_OK;
}

static void come_and_go(void *arg) {
    crowd *c = arg;
    for (int i = 0; i < 40; i++) {
        tkr_image image;
        const tkr_stop stop = {.ask = now_and_then, .user = &c->seed};
        const tkr_status status = ask(c->jail, "x", &image, i % 2 ? &stop : NULL, NULL);
        c->n_stopped += status == TKR_CANCELLED;
        c->n_wrong += status != TKR_OK && (status != TKR_CANCELLED || i % 2 == 0);
        tkr_image_free(&image);
    }
}

/* Many callers, some of whom change their mind: the others get their pictures. */
static void a_crowd(void **state) {
    (void)state;
    enum { N = 8 };
    tkr_jail *jail = fake_jail(2, 30);
    crowd crowds[N];
    tkr_task *tasks[N];
    unsigned n_stopped = 0;
    for (unsigned i = 0; i < N; i++) crowds[i] = (crowd){.jail = jail, .seed = i};
    for (size_t i = 0; i < N; i++) tasks[i] = tkr_task_start(come_and_go, &crowds[i]);
    for (size_t i = 0; i < N; i++) {
        tkr_task_wait(&tasks[i]);
        assert_int_equal(crowds[i].n_wrong, 0);
        n_stopped += crowds[i].n_stopped;
    }
    assert_true(n_stopped > 0);
    tkr_jail_free(&jail);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beside_each_other),
        cmocka_unit_test(first_come_first_served),
        cmocka_unit_test(beside_one_that_hangs),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(deadline),
        cmocka_unit_test(given_up_in_the_queue),
        cmocka_unit_test(a_crowd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
