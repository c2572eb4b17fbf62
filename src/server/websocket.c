/* SPDX-License-Identifier: Apache-2.0 */
/* server/websocket: a connection's life as a WebSocket: handshake, messages both ways, pings, the close. */
#include "server/conn.h"

#include <nettle/sha1.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/base64.h"
#include "core/utf8.h"
#include "server/budget.h"
#include "server/ws_reader.h"

enum {
    NORMAL = 1000,
    GOING_AWAY = 1001,
    POLICY = 1008,
    INTERNAL = 1011,
    NO_CODE = 1005,
    MAX_REASON = 123,
    CONTROLS = 100,        /* pings and pongs of a peer in a second */
    CLOSE_SECONDS = 5,     /* for the peer's close frame after ours */
    GATHERED = 256 * 1024, /* written as one */
};

/* A frame to be sent. */
typedef struct frame {
    struct frame *next;
    size_t size;
    bool close;
    char bytes[];
} frame;

struct tkr_ws {
    atomic_uint references;
    tkr_loop *loop;
    tkr_mutex mutex; /* guards these four */
    bool closed;     /* takes no more */
    bool posted;     /* the loop will look here */
    frame *first, **last;
    atomic_size_t listed, unsent; /* bytes: in the list; in the connection */
    atomic_size_t deferred;       /* bytes that the application keeps until there is room */
    atomic_bool refused;          /* a send, for too much was queued */
    tkr_loop_task task;
    /* the loop's thread only: */
    tkr_conn *conn; /* NULL: ended */
    void *app;
    tkr_ws_reader *reader;
    uint64_t heard_at, pinged_at; /* uv_now */
    uint64_t progress_at;         /* when the peer was last seen to take something, or to have all */
    int64_t last_taken;           /* bytes that the peer had taken at the last look; and had yet to take */
    size_t last_left;
    uint64_t controls_at;
    uint64_t look_at;    /* for silence and for replies that are not taken */
    uint64_t message_at; /* when the message began that is not whole; 0: none is */
    uint64_t stopped_at;
    unsigned controls;
    bool paused, stopped; /* stopped: not reading */
    bool held;            /* input waits to be read, in the reader or in conn->held */
    bool close_sent, feeding;
};

/* ---- references ---- */

void tkr_ws_hold(tkr_ws *ws) { atomic_fetch_add(&ws->references, 1); }

void tkr_ws_release(tkr_ws *ws) {
    if (atomic_fetch_sub(&ws->references, 1) > 1) return;
    for (frame *f = ws->first, *next; f; f = next) {
        next = f->next;
        tkr_free(f);
    }
    tkr_ws_reader_free(&ws->reader);
    tkr_mutex_destroy(&ws->mutex);
    tkr_free(ws);
}

/* ---- sending, from any thread ---- */

/* Adds a frame (NULL: none) to the list and has the loop look at it. false when it is closed; the frame is freed then.
 */
static bool post(tkr_ws *ws, frame *f) {
    tkr_mutex_lock(&ws->mutex);
    const bool open = !ws->closed;
    if (open && f) {
        *ws->last = f;
        ws->last = &f->next;
        ws->closed = f->close;
        atomic_fetch_add(&ws->listed, f->size);
    }
    if (open && !ws->posted) {
        ws->posted = true;
        tkr_ws_hold(ws);
        tkr_loop_post(ws->loop, &ws->task); /* within the lock: the loop doesn't end while this one is open */
    }
    tkr_mutex_unlock(&ws->mutex);
    if (!open) tkr_free(f);
    return open;
}

static frame *frame_new(unsigned opcode, const void *data, size_t size) {
    char head[TKR_WS_HEAD];
    const size_t n = tkr_ws_frame_head(head, opcode, size);
    size_t room;
    frame *f = tkr_add_size(&room, sizeof *f + n, size) ? tkr_malloc(room) : NULL;
    if (!f) return NULL;
    *f = (frame){.size = n + size};
    memcpy(f->bytes, head, n);
    if (size > 0) memcpy(f->bytes + n, data, size);
    return f;
}

size_t tkr_ws_queued(const tkr_ws *ws) { return atomic_load(&ws->listed) + atomic_load(&ws->unsent); }

bool tkr_ws_send(tkr_ws *ws, bool binary, const void *data, size_t size) {
    const bool full = tkr_ws_queued(ws) > ws->loop->transport->options.max_ws_queue;
    frame *f = full ? NULL : frame_new(binary ? TKR_WS_BINARY : TKR_WS_TEXT, data, size);
    if (f) return post(ws, f);
    atomic_store(&ws->refused, true);
    (void)post(ws, NULL); /* it may have drained since, or there is memory again: the loop looks */
    return false;
}

bool tkr_ws_send_note(tkr_ws *ws, const void *data, size_t size) {
    frame *f = frame_new(TKR_WS_TEXT, data, size);
    return f && post(ws, f);
}

/* What a closed one had is given back already (leave). */
static void count_deferred(tkr_ws *ws, size_t more, size_t less) {
    tkr_mutex_lock(&ws->mutex);
    if (!ws->closed) {
        ws->deferred += more - less;
        atomic_fetch_add(&ws->loop->transport->reply_bytes, more - less); /* modulo SIZE_MAX + 1 */
    }
    tkr_mutex_unlock(&ws->mutex);
    (void)post(ws, NULL); /* the loop may have to stop reading, or go on */
}

void tkr_ws_defer(tkr_ws *ws, size_t n_bytes) { count_deferred(ws, n_bytes, 0); }

void tkr_ws_undefer(tkr_ws *ws, size_t n_bytes) { count_deferred(ws, 0, n_bytes); }

bool tkr_ws_keep(tkr_ws *ws, size_t n_bytes) {
    tkr_transport *t = ws->loop->transport;
    return tkr_budget_take(&t->body_bytes, t->options.max_bodies, n_bytes);
}

void tkr_ws_give_back(tkr_ws *ws, size_t n_bytes) { atomic_fetch_sub(&ws->loop->transport->body_bytes, n_bytes); }

/* The payload of a close frame; returns its bytes. */
static size_t close_payload(char out[2 + MAX_REASON], unsigned code, const char *reason) {
    if (code == NO_CODE) return 0;
    const size_t given = reason ? strlen(reason) : 0;
    const size_t n = reason ? tkr_utf8_valid_prefix(reason, given < MAX_REASON ? given : MAX_REASON) : 0;
    out[0] = (char)(code >> 8);
    out[1] = (char)code;
    if (n > 0) memcpy(out + 2, reason, n);
    return 2 + n;
}

void tkr_ws_close(tkr_ws *ws, unsigned code, const char *reason) {
    char payload[2 + MAX_REASON];
    frame *f = frame_new(TKR_WS_CLOSE_FRAME, payload, close_payload(payload, code, reason));
    if (!f) return; /* the next ping or the end of the server will end it */
    f->close = true;
    (void)post(ws, f);
}

/* ---- ends ---- */

/* The application hears no more of it. */
static void leave(tkr_ws *ws) {
    tkr_transport *t = ws->loop->transport;
    tkr_conn *conn = ws->conn;
    tkr_mutex_lock(&ws->mutex);
    ws->closed = true;
    tkr_mutex_unlock(&ws->mutex);
    ws->conn = NULL;
    conn->ws = NULL;
    atomic_fetch_sub(&t->n_ws, 1);
    tkr_peers_close_ws(&t->peers, conn->count);
    atomic_fetch_sub(&t->reply_bytes, ws->deferred);
    if (ws->app) t->app.ws_close(t->app.user, ws, ws->app);
    tkr_ws_reader_free(&ws->reader); /* the application may hold ws for long */
    tkr_ws_release(ws);
}

void tkr_ws_end(tkr_conn *conn) { leave(conn->ws); }

/* To the connection; the peer may take it later. */
static void give(tkr_ws *ws, const char *bytes, size_t n) {
    if (!ws->conn) return;
    tkr_conn_send(ws->conn, bytes, n);
}

static void send_close(tkr_ws *ws, unsigned code, const char *reason) {
    char bytes[TKR_WS_HEAD + 2 + MAX_REASON], payload[2 + MAX_REASON];
    const size_t n = close_payload(payload, code, reason), head = tkr_ws_frame_head(bytes, TKR_WS_CLOSE_FRAME, n);
    memcpy(bytes + head, payload, n);
    ws->close_sent = true;
    give(ws, bytes, head + n);
}

/* Sends a close frame (code 0: that was done) and ends the WebSocket, then the connection. */
static void finish(tkr_ws *ws, unsigned code, const char *reason) {
    tkr_conn *conn = ws->conn;
    if (code != 0 && !ws->close_sent) send_close(ws, code, reason);
    if (conn->state == TKR_CONN_CLOSED) return;
    tkr_http_exchange *x = conn->x;
    conn->x = NULL;
    conn->keep = false;
    tkr_buf_free(&conn->held);
    tkr_conn_set(conn, TKR_CONN_WRITE, conn->loop->transport->options.write_timeout);
    const bool waits = tkr_conn_waits(conn);
    if (ws->stopped) tkr_conn_read(conn, true); /* to see the peer's end */
    leave(ws);
    tkr_exchange_free(conn->loop, x);
    if (conn->state == TKR_CONN_WRITE && !waits) tkr_conn_sent(conn);
}

/* ---- the loop's side ---- */

/* When the message that is under way has to be whole, by uv_now. */
static uint64_t message_end(const tkr_ws *ws) {
    size_t size;
    (void)tkr_ws_reader_is_within(ws->reader, &size);
    const double seconds = ws->loop->transport->options.read_timeout + (double)size / TKR_MIN_RATE;
    return ws->message_at + tkr_milliseconds(seconds);
}

/* Sets the timer for what comes first: a look at the whole, or the end of a message's time. */
static void set_timer(tkr_ws *ws) {
    const uint64_t now = tkr_loop_now(ws->loop), due = ws->look_at;
    const uint64_t end = ws->message_at && !ws->stopped ? message_end(ws) : due;
    const uint64_t first = end < due ? end : due;
    tkr_wheel_set(&ws->loop->wheel, &ws->conn->timer, now, first > now ? first - now : 0);
}

/* Notes whether a message is under way: it has as long as a body. */
static void note_message(tkr_ws *ws) {
    size_t size;
    const bool within = tkr_ws_reader_is_within(ws->reader, &size);
    const bool begins = within && !ws->message_at;
    if (begins) ws->message_at = tkr_loop_now(ws->loop);
    if (!within) ws->message_at = 0;
    if (begins && !ws->close_sent) set_timer(ws);
}

static void count_unsent(tkr_ws *ws) { atomic_store(&ws->unsent, tkr_conn_queued(ws->conn)); }

/* Whether messages have to wait: somebody asked for it, or the peer does not take what it is sent. */
static bool must_wait(tkr_ws *ws) {
    count_unsent(ws);
    const size_t waiting = tkr_ws_queued(ws) + atomic_load(&ws->deferred);
    return ws->paused || waiting > ws->loop->transport->options.max_ws_queue;
}

static void stop_reading(tkr_ws *ws, bool stop) {
    ws->stopped = stop;
    if (stop) {
        ws->stopped_at = tkr_loop_now(ws->loop);
    } else if (ws->message_at) { /* it could not come meanwhile */
        ws->message_at += tkr_loop_now(ws->loop) - ws->stopped_at;
        if (!ws->close_sent) set_timer(ws);
    }
    tkr_conn_read(ws->conn, !stop);
}

static void read_messages(tkr_ws *ws, const char *bytes, size_t n);

/* Reads while no message has to wait, first what was held meanwhile. */
static void steer(tkr_ws *ws) {
    const tkr_transport *t = ws->loop->transport;
    tkr_ws_hold(ws);
    while (ws->conn) {
        count_unsent(ws);
        if (atomic_load(&ws->refused) && tkr_ws_queued(ws) <= t->options.max_ws_queue / 2) {
            atomic_store(&ws->refused, false);
            if (t->app.ws_drained) t->app.ws_drained(t->app.user, ws, ws->app);
        }
        const bool stop = must_wait(ws);
        if (stop != ws->stopped) stop_reading(ws, stop);
        if (stop || !ws->conn || !ws->held) break;
        tkr_buf held = ws->conn->held;
        ws->conn->held = (tkr_buf){0};
        ws->held = false;
        read_messages(ws, held.data, held.size); /* without bytes, too: the reader may have some */
        tkr_buf_free(&held);
    }
    tkr_ws_release(ws);
}

/* What was in the list is with the connection now, or with nobody. */
static void unlist(tkr_ws *ws, size_t *n_bytes) {
    if (ws->conn) count_unsent(ws); /* first: no thread finds less queued than there is */
    atomic_fetch_sub(&ws->listed, *n_bytes);
    *n_bytes = 0;
}

static void flush(tkr_ws *ws) {
    tkr_mutex_lock(&ws->mutex);
    frame *list = ws->first;
    ws->first = NULL;
    ws->last = &ws->first;
    ws->posted = false;
    tkr_mutex_unlock(&ws->mutex);
    tkr_buf all = {0};
    size_t n_bytes = 0;
    for (frame *f = list, *next; f; f = next) {
        next = f->next;
        n_bytes += f->size;
        tkr_conn *conn = ws->conn;
        if (conn && !ws->close_sent) {
            ws->close_sent = f->close;
            const bool gather = (next || all.size > 0) && all.size + f->size <= GATHERED;
            if (gather && !tkr_buf_append(&all, f->bytes, f->size)) tkr_conn_close(conn);
            if (!gather || !next || f->close) {
                if (all.size > 0) give(ws, all.data, all.size);
                all.size = 0;
                if (!gather) give(ws, f->bytes, f->size);
            }
            if (f->close && ws->conn) tkr_conn_set(conn, TKR_CONN_WS, CLOSE_SECONDS);
        }
        if (all.size == 0) unlist(ws, &n_bytes);
        tkr_free(f);
    }
    unlist(ws, &n_bytes);
    tkr_buf_free(&all);
}

static void on_task(tkr_loop_task *task) {
    tkr_ws *ws = (tkr_ws *)(void *)((char *)task - offsetof(tkr_ws, task));
    tkr_loop *loop = ws->loop;
    flush(ws);
    tkr_unread_shed(loop);
    steer(ws);
    tkr_ws_release(ws);
}

void tkr_ws_pause(tkr_ws *ws, bool pause) {
    ws->paused = pause;
    (void)post(ws, NULL); /* not at once: this may be within a message */
}

void tkr_ws_sent(tkr_conn *conn) {
    if (!conn->ws->feeding) steer(conn->ws);
}

static void pong(tkr_ws *ws, const char *data, size_t size) {
    char bytes[TKR_WS_HEAD + 125];
    const size_t head = tkr_ws_frame_head(bytes, TKR_WS_PONG_FRAME, size);
    memcpy(bytes + head, data, size);
    give(ws, bytes, head + size);
}

/* Whether the peer has sent too many pings and pongs. */
static bool is_flood(tkr_ws *ws) {
    const uint64_t second = tkr_loop_now(ws->loop) / 1000;
    if (second != ws->controls_at) {
        ws->controls_at = second;
        ws->controls = 0;
    }
    return ++ws->controls > CONTROLS;
}

static const char *text_of(unsigned code) {
    return code == 1002   ? "protocol error"
           : code == 1007 ? "text that is not UTF-8"
           : code == 1009 ? "the message is too large"
           : code == 1013 ? "too many large messages at a time"
                          : "internal error";
}

static void on_event(tkr_ws *ws, const tkr_ws_event *event) {
    const tkr_http_app *app = &ws->loop->transport->app;
    switch (event->kind) {
    case TKR_WS_MESSAGE:
        ws->message_at = 0;
        if (!ws->close_sent) app->ws_message(app->user, ws, ws->app, event->binary, event->data, event->size);
        break;
    case TKR_WS_PING:
    case TKR_WS_PONG:
        if (is_flood(ws))
            finish(ws, POLICY, "too many pings");
        else if (event->kind == TKR_WS_PING && !ws->close_sent)
            pong(ws, event->data, event->size);
        break;
    case TKR_WS_CLOSE:
        flush(ws);
        if (ws->conn) finish(ws, event->code, NULL);
        break;
    case TKR_WS_ERROR: finish(ws, event->code, text_of(event->code)); break;
    case TKR_WS_NONE: break;
    }
}

/* Reads messages until one has to wait: the rest is held then. The caller holds ws. */
static void read_messages(tkr_ws *ws, const char *bytes, size_t n) {
    const char *at = bytes;
    size_t left = n;
    ws->feeding = true;
    while (ws->conn) {
        if (must_wait(ws)) { /* for what the last message said, or for replies to it */
            ws->held = true;
            if (left > 0) (void)tkr_conn_hold(ws->conn, at, left);
            break;
        }
        const tkr_ws_event event = tkr_ws_read(ws->reader, &at, &left);
        if (event.kind == TKR_WS_NONE) break;
        on_event(ws, &event);
    }
    ws->feeding = false;
    if (ws->conn) note_message(ws);
}

size_t tkr_ws_feed(tkr_conn *conn, const char *bytes, size_t n) {
    tkr_ws *ws = conn->ws;
    ws->heard_at = tkr_loop_now(conn->loop);
    if (ws->held) { /* TLS gives more of what it had read already */
        (void)tkr_conn_hold(conn, bytes, n);
        return n;
    }
    tkr_ws_hold(ws);
    read_messages(ws, bytes, n);
    steer(ws);
    tkr_ws_release(ws);
    return n;
}

/* ---- time ---- */

static uint64_t period_ms(const tkr_transport_options *options) {
    const double ping = options->ping_interval, write = options->write_timeout;
    return tkr_milliseconds(ping > 0 && ping < write ? ping : write);
}

/* Looks at what the peer has taken since the last look: how much is left says nothing where more is sent meanwhile.
 * true: it has taken nothing for too long. */
static bool is_stuck(tkr_ws *ws, size_t left) {
    const uint64_t now = tkr_loop_now(ws->loop);
    const int64_t taken = tkr_conn_taken(ws->conn);
    if (left == 0 || ws->last_left == 0 || taken > ws->last_taken) ws->progress_at = now;
    ws->last_left = left;
    ws->last_taken = taken;
    return now - ws->progress_at >= tkr_milliseconds(ws->loop->transport->options.write_timeout);
}

void tkr_ws_timeout(tkr_conn *conn) {
    tkr_ws *ws = conn->ws;
    const tkr_transport_options *o = &conn->loop->transport->options;
    const uint64_t now = tkr_loop_now(conn->loop), heard = ws->heard_at;
    if (ws->close_sent) { /* the peer's close frame is missing */
        finish(ws, 0, NULL);
        return;
    }
    if (ws->message_at && !ws->stopped && now >= message_end(ws)) {
        finish(ws, POLICY, "the message was not sent in time");
        return;
    }
    if (now < ws->look_at) {
        set_timer(ws);
        return;
    }
    const size_t left = tkr_conn_untaken(conn);
    const bool dead = ws->pinged_at > heard && !ws->stopped;
    if (is_stuck(ws, left) || dead) {
        tkr_conn_close(conn);
        return;
    }
    if (o->ping_interval > 0 && (double)(now - heard) * 1e-3 >= o->ping_interval && left == 0) {
        char bytes[TKR_WS_HEAD];
        ws->pinged_at = now;
        give(ws, bytes, tkr_ws_frame_head(bytes, TKR_WS_PING_FRAME, 0));
    }
    if (conn->state != TKR_CONN_WS) return;
    ws->look_at = now + period_ms(o);
    set_timer(ws);
}

void tkr_ws_drain(tkr_conn *conn) {
    const tkr_http_app *app = &conn->loop->transport->app;
    if (app->ws_drain)
        app->ws_drain(app->user, conn->ws, conn->ws->app);
    else
        tkr_ws_close(conn->ws, GOING_AWAY, "the server ends");
}

void tkr_ws_cut(tkr_conn *conn) {
    flush(conn->ws);
    if (conn->ws && !conn->ws->close_sent) send_close(conn->ws, GOING_AWAY, "the server ends");
}

/* ---- the handshake ---- */

static bool write_accept(tkr_buf *out, const char *key) {
    static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    struct sha1_ctx sha;
    uint8_t digest[SHA1_DIGEST_SIZE];
    sha1_init(&sha);
    sha1_update(&sha, strlen(key), (const uint8_t *)key);
    sha1_update(&sha, sizeof magic - 1, (const uint8_t *)magic);
    sha1_digest(&sha, sizeof digest, digest);
    return tkr_base64_encode(out, digest, sizeof digest);
}

static tkr_ws *ws_new(tkr_conn *conn) {
    tkr_ws *ws = tkr_calloc(1, sizeof *ws);
    if (!ws) return NULL;
    atomic_store(&ws->references, 1);
    ws->loop = conn->loop;
    tkr_mutex_init(&ws->mutex);
    ws->last = &ws->first;
    ws->task.run = on_task;
    ws->heard_at = ws->progress_at = tkr_loop_now(conn->loop);
    tkr_transport *t = conn->loop->transport;
    ws->reader = tkr_ws_reader_new(t->options.max_message, &t->body_bytes, t->options.max_bodies);
    if (ws->reader) return ws;
    tkr_ws_release(ws);
    return NULL;
}

void tkr_ws_start(tkr_conn *conn) {
    tkr_loop *loop = conn->loop;
    tkr_transport *t = loop->transport;
    tkr_http_exchange *x = conn->x;
    const tkr_transport_options *o = &t->options;
    if (atomic_fetch_add(&t->n_ws, 1) >= o->max_ws || !tkr_peers_open_ws(&t->peers, conn->count, o->max_ws_per_peer)) {
        atomic_fetch_sub(&t->n_ws, 1);
        tkr_conn_fault(conn, 503, "too many WebSockets");
        return;
    }
    tkr_ws *ws = ws_new(conn);
    tkr_buf head = {0};
    (void)tkr_buf_printf(&head, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                "Sec-WebSocket-Accept: ");
    (void)write_accept(&head, tkr_http_field_of(&x->request, "sec-websocket-key"));
    (void)tkr_buf_append(&head, "\r\n", 2);
    (void)tkr_buf_append(&head, x->response.fields.data, x->response.fields.size);
    if (!ws || !tkr_buf_append(&head, "\r\n", 2)) {
        if (ws) tkr_ws_release(ws);
        tkr_buf_free(&head);
        atomic_fetch_sub(&t->n_ws, 1);
        tkr_peers_close_ws(&t->peers, conn->count);
        tkr_conn_fault(conn, 500, "no memory for a WebSocket");
        return;
    }
    ws->conn = conn;
    conn->ws = ws;
    ws->look_at = tkr_loop_now(loop) + period_ms(o);
    tkr_conn_set(conn, TKR_CONN_WS, (double)period_ms(o) * 1e-3);
    t->app.sent(t->app.user, x, &x->response, head.size); /* first: sending to one who has left frees x */
    tkr_conn_send(conn, head.data, head.size);
    tkr_buf_free(&head);
    if (conn->state != TKR_CONN_WS) return;
    ws->app = t->app.ws_open(t->app.user, ws, x);
    if (!ws->app)
        finish(ws, INTERNAL, "out of memory");
    else if (loop->draining)
        tkr_ws_drain(conn);
}
