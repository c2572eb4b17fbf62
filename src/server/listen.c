/* SPDX-License-Identifier: Apache-2.0 */
/* server/listen: loop 0 accepts and deals connections to the loops; counts them, whole and by peer. */
#include "server/conn.h"

#include <string.h>

enum {
    ACCEPTS = 64,     /* in one go */
    MAX_TELLING = 64, /* refused connections that are told so; further ones are dropped */
};

/* ---- peers ---- */

static tkr_peer_count **slot_of(tkr_peers *peers, uint64_t key) {
    const uint64_t hash = (key ^ key >> 29) * 0x9E3779B97F4A7C15u;
    tkr_peer_count **at = &peers->slots[hash >> 54];
    while (*at && (*at)->key != key) at = &(*at)->next;
    return at;
}

/* Counts a connection of this peer. false: it has `max` already, or there is no memory. */
static bool enter(tkr_peers *peers, tkr_peer_count **count, uint64_t key, size_t max) {
    *count = NULL;
    if (key == 0) return true;
    tkr_mutex_lock(&peers->mutex);
    tkr_peer_count **at = slot_of(peers, key);
    if (!*at && (*at = tkr_calloc(1, sizeof **at)) != NULL) (*at)->key = key;
    const bool fits = *at && (max == 0 || (*at)->connections < max);
    if (fits) {
        *count = *at;
        (*at)->connections++;
    }
    tkr_mutex_unlock(&peers->mutex);
    return fits;
}

void tkr_peers_leave(tkr_peers *peers, tkr_peer_count *count) {
    if (!count) return;
    tkr_mutex_lock(&peers->mutex);
    if (--count->connections == 0) {
        tkr_peer_count **at = slot_of(peers, count->key);
        *at = count->next;
        tkr_free(count);
    }
    tkr_mutex_unlock(&peers->mutex);
}

bool tkr_peers_open_ws(tkr_peers *peers, tkr_peer_count *count, size_t max) {
    if (!count) return true;
    tkr_mutex_lock(&peers->mutex);
    const bool fits = max == 0 || count->web_sockets < max;
    if (fits) count->web_sockets++;
    tkr_mutex_unlock(&peers->mutex);
    return fits;
}

void tkr_peers_close_ws(tkr_peers *peers, tkr_peer_count *count) {
    if (!count) return;
    tkr_mutex_lock(&peers->mutex);
    count->web_sockets--;
    tkr_mutex_unlock(&peers->mutex);
}

void tkr_peers_free(tkr_peers *peers) {
    for (size_t i = 0; i < TKR_PEER_SLOTS; i++) {
        for (tkr_peer_count *count = peers->slots[i], *next; count; count = next) {
            next = count->next;
            tkr_free(count);
        }
    }
    tkr_mutex_destroy(&peers->mutex);
}

/* ---- dealing ---- */

typedef struct deal {
    tkr_loop_task task;
    tkr_loop *loop;
    tkr_conn_start start;
} deal;

static void on_deal(tkr_loop_task *task) {
    deal *dealt = (deal *)(void *)task;
    tkr_conn_open(dealt->loop, &dealt->start);
    tkr_free(dealt);
}

static void hand_out(tkr_transport *t, const tkr_conn_start *start) {
    tkr_loop *loop = &t->loops[t->next_loop];
    t->next_loop = (t->next_loop + 1) % t->options.n_loops;
    deal *dealt = loop->index > 0 ? tkr_malloc(sizeof *dealt) : NULL;
    if (!dealt) { /* our own, or no memory to hand it over */
        tkr_conn_open(t->loops, start);
        return;
    }
    *dealt = (deal){.task.run = on_deal, .loop = loop, .start = *start};
    tkr_loop_post(loop, &dealt->task);
}

/* ---- accepting ---- */

static void admit(tkr_transport *t, unsigned listener, int fd, const tkr_peer *peer) {
    const tkr_listener *from = &t->listeners[listener];
    tkr_conn_start start = {.fd = fd, .listener = listener, .local = from->local, .peer = *peer};
    const bool room = atomic_load(&t->n_connections) < t->options.max_connections;
    if (room && enter(&t->peers, &start.count, peer->key, t->options.max_connections_per_peer)) {
        atomic_fetch_add(&t->n_connections, 1);
        atomic_fetch_add_explicit(&t->accepted, 1, memory_order_relaxed);
        hand_out(t, &start);
        return;
    }
    atomic_fetch_add_explicit(&t->refused, 1, memory_order_relaxed);
    if ((t->tls && !from->local) || atomic_load(&t->telling) >= MAX_TELLING) {
        tkr_fd_close(fd);
        return;
    }
    start.tell = true;
    atomic_fetch_add(&t->telling, 1);
    hand_out(t, &start);
}

static void listen_on(tkr_transport *t, bool on);

/* No descriptor is left: the spare one is given up to take one client and drop it, so that it doesn't wait for nothing.
 */
static void drop_one(tkr_transport *t, unsigned listener) {
    int fd;
    tkr_peer peer;
    const double now = tkr_now();
    if (t->full_logged == 0 || now - t->full_logged > 10) {
        t->full_logged = now;
        tkr_log_line(&t->options.log, TKR_LOG_ERROR, "%s: no descriptors left for connections: raise LimitNOFILE",
                     t->listeners[listener].url);
    }
    tkr_fd_close(t->spare);
    if (tkr_listener_accept(&fd, &peer, &t->listeners[listener]) == TKR_ACCEPT_ONE) {
        tkr_fd_close(fd);
        atomic_fetch_add_explicit(&t->refused, 1, memory_order_relaxed);
    }
    t->spare = tkr_fd_spare();
}

static void on_readable(uv_poll_t *poll, int status, int events) {
    (void)events;
    tkr_transport *t = poll->data;
    const unsigned listener = (unsigned)(poll - t->polls);
    for (int i = 0; status == 0 && i < ACCEPTS && !t->draining; i++) {
        int fd;
        tkr_peer peer;
        const tkr_accept_result result = tkr_listener_accept(&fd, &peer, &t->listeners[listener]);
        if (result == TKR_ACCEPT_NONE) return;
        if (result == TKR_ACCEPT_ONE) {
            admit(t, listener, fd, &peer);
            continue;
        }
        if (result == TKR_ACCEPT_FULL) drop_one(t, listener);
        listen_on(t, false); /* until the next tick: trying at once would only burn time */
        t->paused = true;
        return;
    }
}

static void listen_on(tkr_transport *t, bool on) {
    for (size_t i = 0; i < t->options.n_addresses; i++) {
        if (uv_is_closing((uv_handle_t *)&t->polls[i])) continue;
        if (on)
            (void)uv_poll_start(&t->polls[i], UV_READABLE, on_readable);
        else
            (void)uv_poll_stop(&t->polls[i]);
    }
}

void tkr_listen_tick(tkr_transport *t) {
    if (!t->paused || t->draining) return;
    t->paused = false;
    listen_on(t, true);
}

/* ---- life ---- */

tkr_status tkr_listen_open(tkr_transport *t, tkr_error *error) {
    const tkr_transport_options *o = &t->options;
    for (size_t i = 0; i < o->n_addresses; i++) t->listeners[i].fd = -1;
    for (size_t i = 0; i < o->n_addresses; i++) {
        const tkr_status status = tkr_listener_open(&t->listeners[i], o->addresses[i],
                                                    o->tls_certificate ? "https" : "http", o->unix_mode, error);
        if (status != TKR_OK) return status;
    }
    return TKR_OK;
}

tkr_status tkr_listen_start(tkr_transport *t, tkr_error *error) {
    for (size_t i = 0; i < t->options.n_addresses; i++) {
        const int code = uv_poll_init(&t->loops[0].uv, &t->polls[i], t->listeners[i].fd);
        if (code != 0) return TKR_FAIL(error, NETWORK, "%s: can't listen: %s", t->listeners[i].url, uv_strerror(code));
        t->polls[i].data = t;
    }
    listen_on(t, true);
    return TKR_OK;
}

static void on_poll_closed(uv_handle_t *handle) {
    tkr_transport *t = handle->data;
    tkr_listener_close(&t->listeners[(uv_poll_t *)(void *)handle - t->polls]);
}

void tkr_listen_stop(tkr_transport *t) {
    for (size_t i = 0; i < t->options.n_addresses; i++)
        if (t->polls[i].type == UV_POLL && !uv_is_closing((uv_handle_t *)&t->polls[i]))
            uv_close((uv_handle_t *)&t->polls[i], on_poll_closed);
}
