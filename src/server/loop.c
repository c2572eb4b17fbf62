/* SPDX-License-Identifier: Apache-2.0 */
/* server/loop: a loop's thread: its clock, its timeouts, what other threads hand it, and its end. */
#include "server/conn.h"

#include <string.h>

#include "core/term.h"

#define CONN_OF(entry) ((tkr_conn *)(void *)((char *)(entry)-offsetof(tkr_conn, timer)))

/* The loop that this thread runs. */
static _Thread_local tkr_loop *current;

/* ---- tasks ---- */

bool tkr_loop_is_mine(const tkr_loop *loop) { return loop && current == loop; }

void tkr_loop_post(tkr_loop *loop, tkr_loop_task *task) {
    if (tkr_loop_is_mine(loop)) { /* before the loop waits again */
        task->next = NULL;
        *loop->local_end = task;
        loop->local_end = &task->next;
        return;
    }
    /* The loop doesn't end while senders are here: the task may be run before the loop is woken for it. */
    atomic_fetch_add(&loop->senders, 1);
    tkr_loop_task *head = atomic_load(&loop->remote);
    do {
        task->next = head;
    } while (!atomic_compare_exchange_weak(&loop->remote, &head, task));
    if (!head) (void)uv_async_send(&loop->wake); /* whoever was first wakes for those behind, too */
    atomic_fetch_sub(&loop->senders, 1);
}

static void run_local(tkr_loop *loop) {
    while (loop->local) {
        tkr_loop_task *task = loop->local;
        loop->local = task->next;
        if (!loop->local) loop->local_end = &loop->local;
        task->run(task);
    }
}

static void on_wake(uv_async_t *wake) {
    tkr_loop *loop = wake->data;
    tkr_loop_task *task = atomic_exchange(&loop->remote, NULL), *first = NULL;
    while (task) { /* back into the order they came in */
        tkr_loop_task *next = task->next;
        task->next = first;
        first = task;
        task = next;
    }
    uv_update_time(&loop->uv);
    while (first) {
        task = first;
        first = task->next;
        task->run(task);
    }
}

/* ---- the end ---- */

static void close_handle(uv_handle_t *handle) {
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void close_signals(tkr_transport *t) {
    tkr_signals_block(); /* one that comes now must not end the process otherwise than its drain does */
    for (size_t i = 0; i < sizeof t->signals / sizeof *t->signals; i++)
        if (t->signals[i].type == UV_SIGNAL) close_handle((uv_handle_t *)&t->signals[i]);
}

/* Closes the loop's own handles once nothing else is left; uv_run then returns. */
static void try_end(tkr_loop *loop) {
    tkr_transport *t = loop->transport;
    if (loop->n_conns > 0 || loop->n_exchanges > 0 || loop->local || atomic_load(&loop->remote)) return;
    if (loop->index == 0 && t->n_ended + 1 < t->options.n_loops) return;
    while (atomic_load(&loop->senders) > 0) tkr_sleep(1e-4);
    if (atomic_load(&loop->remote)) return;
    if (loop->index == 0) close_signals(t);
    close_handle((uv_handle_t *)&loop->wake);
    close_handle((uv_handle_t *)&loop->timer);
    close_handle((uv_handle_t *)&loop->prepare);
}

static void on_ended(tkr_loop_task *task) {
    tkr_loop *loop = (tkr_loop *)(void *)((char *)task - offsetof(tkr_loop, ended));
    loop->transport->n_ended++;
}

static void on_drain(tkr_loop_task *task) {
    tkr_loop *loop = (tkr_loop *)(void *)((char *)task - offsetof(tkr_loop, drain));
    loop->draining = true;
    for (tkr_conn *conn = loop->conns, *next; conn; conn = next) {
        next = conn->next;
        tkr_conn_drain(conn);
    }
}

static void cut_all(tkr_loop *loop) {
    loop->cut = true;
    for (tkr_conn *conn = loop->conns, *next; conn; conn = next) {
        next = conn->next;
        tkr_conn_cut(conn);
    }
}

/* ---- time ---- */

const char *tkr_loop_date(tkr_loop *loop) {
    const uint64_t second = tkr_loop_now(loop) / 1000;
    if (second != loop->date_at || loop->date[0] == '\0') {
        loop->date_at = second;
        tkr_wall_clock_http(loop->date, tkr_wall_clock());
    }
    return loop->date;
}

static void on_due(void *user, tkr_wheel_entry *entry) {
    (void)user;
    tkr_conn_timeout(CONN_OF(entry));
}

static void on_timer(uv_timer_t *timer) {
    tkr_loop *loop = timer->data;
    tkr_transport *t = loop->transport;
    tkr_wheel_advance(&loop->wheel, tkr_loop_now(loop), on_due, NULL);
    tkr_unread_tick(loop);
    if (loop->index == 0) {
        tkr_listen_tick(t);
        if (t->app.tick) t->app.tick(t->app.user);
    }
    if (loop->draining && !loop->cut && tkr_loop_now(loop) >= loop->cut_at) cut_all(loop);
}

/* Before the loop waits. */
static void on_prepare(uv_prepare_t *prepare) {
    tkr_loop *loop = prepare->data;
    run_local(loop);
    if (loop->draining) try_end(loop);
}

/* ---- life ---- */

static void on_high(uv_poll_t *poll, int status, int events) {
    (void)poll;
    (void)status;
    (void)events;
}

/* libuv ends the process when its table of watchers can't grow while serving: let it grow now. */
static void grow_watchers(tkr_loop *loop) {
    uv_poll_t high;
    const int fd = tkr_fd_high(loop->transport->options.max_connections + TKR_OTHER_FDS - 1);
    if (fd < 0) return;
    if (uv_poll_init(&loop->uv, &high, fd) == 0) {
        (void)uv_poll_start(&high, UV_READABLE, on_high);
        (void)uv_poll_stop(&high);
        uv_close((uv_handle_t *)&high, NULL);
        (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
    }
    tkr_fd_close(fd);
}

tkr_status tkr_loop_init(tkr_loop *loop, tkr_transport *transport, unsigned index, tkr_error *error) {
    loop->transport = transport;
    loop->index = index;
    loop->local_end = &loop->local;
    loop->ended.run = on_ended;
    loop->drain.run = on_drain;
    tkr_unread_init(loop);
    int code = uv_loop_init(&loop->uv);
    if (code != 0) return TKR_FAIL(error, NO_MEMORY, "an event loop could not be made: %s", uv_strerror(code));
    loop->made = true;
    grow_watchers(loop);
    loop->wake.data = loop->timer.data = loop->prepare.data = loop;
    code = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (code != 0) return TKR_FAIL(error, NO_MEMORY, "an event loop could not be made: %s", uv_strerror(code));
    (void)uv_timer_init(&loop->uv, &loop->timer);
    (void)uv_prepare_init(&loop->uv, &loop->prepare);
    tkr_wheel_init(&loop->wheel, tkr_loop_now(loop));
    return TKR_OK;
}

void tkr_loop_run(tkr_loop *loop) {
    current = loop;
    uv_update_time(&loop->uv);
    (void)uv_timer_start(&loop->timer, on_timer, TKR_WHEEL_MS, TKR_WHEEL_MS);
    (void)uv_prepare_start(&loop->prepare, on_prepare);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    current = NULL;
    if (loop->index > 0) tkr_loop_post(loop->transport->loops, &loop->ended);
}

static void close_walked(uv_handle_t *handle, void *user) {
    (void)user;
    close_handle(handle);
}

void tkr_loop_free(tkr_loop *loop) {
    if (!loop->made) return;
    uv_walk(&loop->uv, close_walked, NULL); /* of a loop that never ran */
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop->uv);
    tkr_buf_free(&loop->head);
    loop->made = false;
}
