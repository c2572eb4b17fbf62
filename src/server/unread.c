/* SPDX-License-Identifier: Apache-2.0 */
/* server/unread: memory of answers that peers don't take. It is bounded for all loops together, by options.max_bodies:
 * from three quarters of it on, connections are closed whose peers have taken nothing for a second; at the whole, those
 * of the loop at hand that have taken nothing for longest, whoever they are: memory must end somewhere, and who reads
 * keeps it for a short time only. */
#include "server/conn.h"

enum { SILENT_MS = 1000, LOG_MS = 10000 };

static bool above(const tkr_transport *t, size_t limit) {
    return t->options.max_bodies > 0 && atomic_load(&t->reply_bytes) > limit;
}

static size_t first_limit(const tkr_transport *t) { return t->options.max_bodies - t->options.max_bodies / 4; }

/* Looks at who has taken something since the last look. Returns the one of this loop whose peer has taken nothing for
 * longest; NULL: none waits. */
static tkr_conn *look(tkr_loop *loop) {
    tkr_conn *found = NULL;
    for (tkr_conn *c = loop->conns; c; c = c->next) {
        if (c->unread == 0) continue;
        const int64_t taken = tkr_conn_taken(c);
        if (taken > c->unread_taken) c->unread_at = tkr_loop_now(loop);
        c->unread_taken = taken;
        if (!found || c->unread_at < found->unread_at) found = c;
    }
    return found;
}

static void give_up(tkr_conn *conn) {
    tkr_loop *loop = conn->loop;
    const tkr_transport *t = loop->transport;
    const uint64_t now = tkr_loop_now(loop);
    tkr_count(&loop->counts.unread, 1);
    if (loop->unread_logged == 0 || now - loop->unread_logged >= LOG_MS) {
        loop->unread_logged = now;
        tkr_log_line(&t->options.log, TKR_LOG_WARNING,
                     "replies that clients don't read fill %zu MiB: connections of those who read least are closed",
                     t->options.max_bodies >> 20);
    }
    tkr_conn_close(conn);
}

static void shed(tkr_loop *loop) {
    tkr_conn *c;
    while (above(loop->transport, first_limit(loop->transport)) && (c = look(loop)) &&
           tkr_loop_now(loop) - c->unread_at >= SILENT_MS)
        give_up(c);
}

static void on_shed(tkr_loop_task *task) {
    tkr_loop *loop = (tkr_loop *)(void *)((char *)task - offsetof(tkr_loop, shed));
    atomic_store(&loop->shedding, false);
    shed(loop);
}

void tkr_unread_init(tkr_loop *loop) { loop->shed.run = on_shed; }

static void enforce(tkr_loop *loop, size_t limit) {
    tkr_transport *t = loop->transport;
    if (!above(t, first_limit(t))) return;
    shed(loop);
    for (unsigned i = 0; i < t->options.n_loops && above(t, first_limit(t)) && !loop->draining; i++)
        if (i != loop->index && !atomic_exchange(&t->loops[i].shedding, true))
            tkr_loop_post(&t->loops[i], &t->loops[i].shed);
    tkr_conn *c;
    while (above(t, limit) && (c = look(loop))) give_up(c);
}

/* A quarter more until the next tick: other loops need a moment to close those that read nothing. */
void tkr_unread_shed(tkr_loop *loop) {
    const size_t limit = loop->transport->options.max_bodies;
    enforce(loop, loop->transport->options.n_loops > 1 ? limit + limit / 4 : limit);
}

void tkr_unread_tick(tkr_loop *loop) {
    if (above(loop->transport, first_limit(loop->transport) / 2)) (void)look(loop);
    enforce(loop, loop->transport->options.max_bodies);
}

void tkr_unread_add(tkr_conn *conn, size_t n) {
    if (conn->unread == 0) {
        conn->unread_at = tkr_loop_now(conn->loop);
        conn->unread_taken = tkr_conn_taken(conn);
    }
    conn->unread += n;
    atomic_fetch_add(&conn->loop->transport->reply_bytes, n);
    tkr_unread_shed(conn->loop);
}

void tkr_unread_taken(tkr_conn *conn, size_t n) {
    if (n > conn->unread) n = conn->unread; /* it was forgotten */
    atomic_fetch_sub(&conn->loop->transport->reply_bytes, n);
    conn->unread -= n;
}

void tkr_unread_forget(tkr_conn *conn) { tkr_unread_taken(conn, conn->unread); }
