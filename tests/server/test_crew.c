/* SPDX-License-Identifier: Apache-2.0 */
/* The crew runs every task that it took, in order, refuses what it has no room for, and finishes before it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/mem.h"
#include "core/sync.h"
#include "server/crew.h"

#include "../countdown.h"

enum { N_TASKS = 2000, ROOM = 64 };

typedef struct log_book {
    atomic_uint n;
    unsigned order[N_TASKS];
    struct task {
        struct log_book *book;
        unsigned number;
    } tasks[N_TASKS];
} log_book;

static void write_down(void *arg) {
    struct task *task = arg;
    task->book->order[atomic_fetch_add(&task->book->n, 1)] = task->number;
}

static void runs_everything_in_order(void **state) {
    (void)state;
    static log_book book;
    tkr_crew *crew = NULL;
    assert_int_equal(tkr_crew_create(&crew, 1, ROOM, NULL), TKR_OK);
    for (unsigned i = 0; i < N_TASKS; i++) {
        book.tasks[i] = (struct task){&book, i};
        while (!tkr_crew_run(crew, write_down, &book.tasks[i])) continue;
    }
    tkr_crew_free(&crew);
    assert_null(crew);
    assert_int_equal(atomic_load(&book.n), N_TASKS);
    for (unsigned i = 0; i < N_TASKS; i++) assert_int_equal(book.order[i], i);
}

typedef struct gate {
    tkr_mutex lock;
    tkr_cond changed;
    bool open;
    unsigned n_inside, n_passed;
} gate;

static void pass(void *arg) {
    gate *g = arg;
    tkr_mutex_lock(&g->lock);
    g->n_inside++;
    tkr_cond_broadcast(&g->changed);
    while (!g->open) tkr_cond_wait(&g->changed, &g->lock);
    g->n_passed++;
    tkr_mutex_unlock(&g->lock);
}

static void refuses_beyond_its_room(void **state) {
    (void)state;
    gate g = {.open = false};
    tkr_crew *crew = NULL;
    tkr_mutex_init(&g.lock);
    tkr_cond_init(&g.changed);
    assert_int_equal(tkr_crew_create(&crew, 2, 3, NULL), TKR_OK);
    assert_true(tkr_crew_run(crew, pass, &g));
    assert_true(tkr_crew_run(crew, pass, &g));
    tkr_mutex_lock(&g.lock);
    while (g.n_inside < 2) tkr_cond_wait(&g.changed, &g.lock);
    tkr_mutex_unlock(&g.lock);
    for (unsigned i = 0; i < 3; i++) assert_true(tkr_crew_run(crew, pass, &g));
    assert_false(tkr_crew_run(crew, pass, &g));
    tkr_mutex_lock(&g.lock);
    g.open = true;
    tkr_cond_broadcast(&g.changed);
    tkr_mutex_unlock(&g.lock);
    tkr_crew_free(&crew);
    assert_int_equal(g.n_passed, 5);
    tkr_cond_destroy(&g.changed);
    tkr_mutex_destroy(&g.lock);
}

/* A task that hands in the next one, as a pipeline's steps do. */
typedef struct chain {
    tkr_crew *crew;
    unsigned left;
} chain;

static void step(void *arg) {
    chain *c = arg;
    if (--c->left > 0 && !tkr_crew_run(c->crew, step, c)) c->left = 0;
}

static void finishes_what_tasks_hand_in(void **state) {
    (void)state;
    tkr_crew *crew = NULL;
    assert_int_equal(tkr_crew_create(&crew, 3, 4, NULL), TKR_OK);
    chain c = {crew, 1000};
    assert_true(tkr_crew_run(crew, step, &c));
    tkr_crew_free(&crew);
    assert_int_equal(c.left, 0);
}

static void refuses_to_be_empty_or_without_memory(void **state) {
    (void)state;
    tkr_crew *crew = NULL;
    tkr_error error;
    assert_int_equal(tkr_crew_create(&crew, 0, 1, &error), TKR_INVALID_ARGUMENT);
    assert_int_equal(tkr_crew_create(&crew, 1, 0, &error), TKR_INVALID_ARGUMENT);
    assert_int_equal(tkr_crew_create(&crew, 1, SIZE_MAX / 2, &error), TKR_INVALID_ARGUMENT);
    for (long n = 0;; n++) {
        countdown count = {n};
        tkr_seam_set(fail_nth, &count);
        const tkr_status status = tkr_crew_create(&crew, 2, 8, &error);
        tkr_seam_set(NULL, NULL);
        if (status == TKR_OK) break;
        assert_int_equal(status, TKR_NO_MEMORY);
        assert_null(crew);
    }
    tkr_crew_free(&crew);
    tkr_crew_free(&crew);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_everything_in_order),
        cmocka_unit_test(refuses_beyond_its_room),
        cmocka_unit_test(finishes_what_tasks_hand_in),
        cmocka_unit_test(refuses_to_be_empty_or_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
