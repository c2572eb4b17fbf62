/* SPDX-License-Identifier: Apache-2.0 */
/* server/conn: the transport's way in: a connection's life, from its bytes to requests. */

#include "server/conn.h"

#include <stddef.h>
#include <string.h>

#include "core/net.h"
#include "server/budget.h"

enum { RESERVED_BODY = 64 << 10 }; /* for a body that has yet to come, whatever its length is said to be */

#define OPTIONS(conn) (&(conn)->loop->transport->options)

void tkr_conn_set(tkr_conn *conn, tkr_conn_state state, double seconds) {
    tkr_loop *loop = conn->loop;
    conn->state = (uint8_t)state;
    conn->state_at = tkr_loop_now(loop);
    tkr_wheel_set(&loop->wheel, &conn->timer, conn->state_at, tkr_milliseconds(seconds));
}

const char *tkr_http_field_of(const tkr_http_request *request, const char *name) {
    for (size_t i = 0; i < request->n_fields; i++)
        if (strcmp(request->fields[i].name, name) == 0) return request->fields[i].value;
    return NULL;
}

/* ---- exchanges ---- */

static char *cut(char *text, tkr_http_span span) {
    text[span.at + span.size] = '\0';
    return text + span.at;
}

/* Makes an exchange of a head that was read; the bytes are copied. NULL: no memory. */
static tkr_http_exchange *exchange_new(tkr_conn *conn, const tkr_http_head *head, const char *bytes, size_t n) {
    tkr_http_exchange *x = tkr_calloc(1, sizeof *x);
    if (!x) return NULL;
    char *text = tkr_arena_strndup(&x->arena, bytes, n);
    char *peer = tkr_arena_strndup(&x->arena, conn->peer, strlen(conn->peer));
    tkr_http_field *fields = tkr_arena_alloc(&x->arena, head->n_fields * sizeof *fields);
    if (!text || !peer || !fields) {
        tkr_arena_free(&x->arena);
        tkr_free(x);
        return NULL;
    }
    for (uint32_t i = 0; i < head->n_fields; i++) {
        char *name = cut(text, head->fields[i].name);
        for (char *c = name; *c != '\0'; c++)
            if (*c >= 'A' && *c <= 'Z') *c = (char)(*c | 0x20);
        fields[i] = (tkr_http_field){name, cut(text, head->fields[i].value)};
    }
    char *path = text + head->path.at;
    const size_t n_path = tkr_http_percent_decode(path, head->path.size);
    const char *query = cut(text, head->query); /* may end where the path does */
    path[n_path] = '\0';
    x->request = (tkr_http_request){.method = cut(text, head->method),
                                    .path = path,
                                    .query = query,
                                    .fields = fields,
                                    .n_fields = head->n_fields,
                                    .body = "",
                                    .peer = peer,
                                    .listener = conn->listener,
                                    .tls = conn->ssl != NULL,
                                    .began = conn->began};
    x->conn = conn;
    x->loop = conn->loop;
    x->upgrade = head->websocket;
    return x;
}

void tkr_exchange_free(tkr_loop *loop, tkr_http_exchange *x) {
    const tkr_http_app *app = &loop->transport->app;
    app->release(app->user, x);
    atomic_fetch_sub(&loop->transport->body_bytes, x->counted);
    tkr_arena_free(&x->arena);
    tkr_buf_free(&x->response.fields);
    tkr_buf_free(&x->response.body);
    tkr_buf_free(&x->received);
    tkr_free(x);
}

/* The application's answer has come to the loop. */
static void on_reply(tkr_loop_task *task) {
    tkr_http_exchange *x = (tkr_http_exchange *)(void *)((char *)task - offsetof(tkr_http_exchange, reply));
    tkr_loop *loop = x->loop;
    const tkr_http_app *app = &loop->transport->app;
    loop->n_exchanges--;
    if (x->state == TKR_EXCHANGE_WAITING) {
        x->state = TKR_EXCHANGE_OWN;
        atomic_fetch_sub(&loop->transport->n_waiting, 1);
        tkr_conn_answer(x->conn, &x->response);
        return;
    }
    if (x->state == TKR_EXCHANGE_UNWANTED) app->sent(app->user, x, &x->response, 0);
    tkr_exchange_free(loop, x);
}

void tkr_http_reply(tkr_http_exchange *x) {
    x->reply.run = on_reply;
    if (!tkr_loop_is_mine(x->loop) && !atomic_load(&x->gone)) tkr_exchange_pack(x);
    tkr_loop_post(x->loop, &x->reply);
}

static void on_post(tkr_loop_task *task) {
    tkr_http_exchange *x = (tkr_http_exchange *)(void *)((char *)task - offsetof(tkr_http_exchange, post));
    x->posted(x);
}

void tkr_http_post(tkr_http_exchange *x, void (*fn)(tkr_http_exchange *x)) {
    x->posted = fn;
    x->post.run = on_post;
    tkr_loop_post(x->loop, &x->post);
}

/* ---- bodies ---- */

static void request_whole(tkr_conn *conn) {
    tkr_loop *loop = conn->loop;
    tkr_http_exchange *x = conn->x;
    const bool cut_short = conn->decoder && !tkr_http_decoder_done(conn->decoder) && x->request.n_wire > 0;
    tkr_http_decoder_free(&conn->decoder);
    if (conn->discard) {
        tkr_conn_answer(conn, &x->response);
        return;
    }
    if (cut_short) {
        tkr_conn_fault(conn, 400, "the compressed body ends too early");
        return;
    }
    if (x->received.size > 0) x->request.body = x->received.data;
    x->request.n_body = x->received.size;
    x->request.complete = tkr_now();
    tkr_count(&loop->counts.requests, 1);
    tkr_conn_set(conn, TKR_CONN_WAIT,
                 x->deadline > 0 ? x->deadline - x->request.complete : OPTIONS(conn)->wait_timeout);
    x->state = TKR_EXCHANGE_WAITING;
    loop->n_exchanges++;
    atomic_fetch_add(&loop->transport->n_waiting, 1);
    loop->transport->app.request(loop->transport->app.user, x);
}

/* Counts what has come of a body, not what it reserves: nobody fills the limit with promises. false when all bodies
 * together take too much. */
static bool count_body(tkr_conn *conn) {
    tkr_http_exchange *x = conn->x;
    const size_t more = x->received.size - x->counted, limit = OPTIONS(conn)->max_bodies;
    if (more == 0) return true;
    if (!tkr_budget_take(&conn->loop->transport->body_bytes, limit, more)) return false;
    x->counted += more;
    return true;
}

/* Takes a piece of the body: 0, or the status that refuses it. */
static unsigned take(tkr_conn *conn, const char *piece, size_t n) {
    tkr_http_exchange *x = conn->x;
    x->request.n_wire += n;
    if (conn->discard) return 0;
    if (x->request.n_wire > x->max_body) return 413;
    unsigned status = 0;
    if (conn->decoder)
        status = tkr_http_decode(conn->decoder, &x->received, x->max_body, piece, n);
    else if (!tkr_buf_append(&x->received, piece, n))
        status = 500;
    return status == 0 && !count_body(conn) ? 503 : status;
}

static void refuse_body(tkr_conn *conn, unsigned status) {
    char large[80] = "this takes no body";
    if (conn->x->max_body > 0)
        (void)snprintf(large, sizeof large, "the body is too large: at most %zu bytes are taken", conn->x->max_body);
    const char *why = status == 413   ? large
                      : status == 400 ? "the body is damaged"
                      : status == 500 ? "no memory for the body"
                      : status == 503 ? "too many large bodies at a time"
                                      : "the body was not sent in time";
    tkr_http_decoder_free(&conn->decoder);
    conn->keep = false;
    if (conn->discard)
        tkr_conn_answer(conn, &conn->x->response);
    else
        tkr_conn_fault(conn, status, why);
}

static size_t read_body(tkr_conn *conn, const char *bytes, size_t n) {
    const char *piece = bytes;
    size_t n_piece = conn->left < n ? (size_t)conn->left : n, used = n_piece;
    if (conn->is_chunked) {
        used = tkr_http_chunked_read(&conn->chunked, &piece, &n_piece, bytes, n);
        if (used == SIZE_MAX) {
            refuse_body(conn, 400);
            return n;
        }
    } else {
        conn->left -= n_piece;
    }
    const unsigned status = n_piece > 0 ? take(conn, piece, n_piece) : 0;
    if (status != 0) {
        refuse_body(conn, status);
        return n;
    }
    if (conn->is_chunked ? tkr_http_chunked_done(&conn->chunked) : conn->left == 0) request_whole(conn);
    return used;
}

/* Seconds that a body may still take: as slow as the minimum rate, and no longer than its answer would be waited for.
 */
static double body_seconds(const tkr_conn *conn) {
    const tkr_http_exchange *x = conn->x;
    const double elapsed = (double)(tkr_loop_now(conn->loop) - conn->state_at) * 1e-3;
    const double slow = OPTIONS(conn)->read_timeout + (double)x->request.n_wire / TKR_MIN_RATE - elapsed;
    const double late = x->deadline > 0 ? x->deadline - tkr_now() : slow;
    return slow < late ? slow : late;
}

/* The head has been read, the application has seen it: goes on to the body. */
static void begin_body(tkr_conn *conn, const tkr_http_head *head) {
    tkr_http_exchange *x = conn->x;
    const bool has_body = head->chunked || head->length > 0;
    const tkr_http_coding coding = tkr_http_coding_of(tkr_http_field_of(&x->request, "content-encoding"));
    conn->discard = x->response.status != 0;
    conn->is_chunked = head->chunked;
    conn->chunked = (tkr_http_chunked){0};
    conn->left = head->length > 0 ? (uint64_t)head->length : 0;
    if (has_body && conn->discard && (head->chunked || head->expect || head->length > TKR_SMALL_BODY)) {
        conn->keep = false; /* reading it only to throw it away would cost more than a new connection */
        tkr_conn_answer(conn, &x->response);
    } else if (!conn->discard && conn->left > x->max_body) {
        refuse_body(conn, 413);
    } else if (!conn->discard && coding == TKR_CODING_UNKNOWN) {
        tkr_conn_fault(conn, 415, "of content codings only " TKR_HTTP_CODINGS " are known here");
    } else if (!has_body) {
        request_whole(conn);
    } else if (!conn->discard &&
               ((coding != TKR_CODING_IDENTITY && !(conn->decoder = tkr_http_decoder_new(coding))) ||
                !tkr_buf_reserve(&x->received, conn->left < RESERVED_BODY ? (size_t)conn->left : RESERVED_BODY))) {
        refuse_body(conn, 500);
    } else {
        conn->state_at = tkr_loop_now(conn->loop); /* body_seconds counts from here */
        tkr_conn_set(conn, TKR_CONN_BODY, body_seconds(conn));
        if (head->expect && head->minor == 1) tkr_conn_send(conn, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    }
}

/* ---- heads ---- */

static void begin_request(tkr_conn *conn, const tkr_http_head *head, const char *bytes, size_t n) {
    const tkr_http_app *app = &conn->loop->transport->app;
    conn->minor = (uint8_t)head->minor;
    conn->keep = head->keep_alive && !conn->loop->draining;
    if (head->upgrade && !head->websocket) {
        if (head->version13)
            tkr_conn_refuse(conn, 400, "the WebSocket handshake is malformed", "");
        else
            tkr_conn_refuse(conn, 426, "only version 13 of WebSocket is spoken here", "Sec-WebSocket-Version: 13\r\n");
        return;
    }
    tkr_http_exchange *x = exchange_new(conn, head, bytes, n);
    tkr_buf_free(&conn->held);
    conn->scanned = 0;
    if (!x) {
        tkr_conn_refuse(conn, 500, "out of memory", "");
        return;
    }
    conn->x = x;
    app->head(app->user, x);
    if (x->response.status == 101 && x->upgrade)
        tkr_ws_start(conn);
    else
        begin_body(conn, head);
}

/* Reads on in a head; returns how many bytes it took. */
static size_t read_head(tkr_conn *conn, const char *bytes, size_t n) {
    const size_t held = conn->held.size, max = OPTIONS(conn)->max_head;
    size_t blank = 0; /* line ends before a request are none of it: RFC 9112, 2.2 */
    while (blank < n && (bytes[blank] == '\r' || bytes[blank] == '\n')) blank++;
    if (conn->began == 0 && blank < n) {
        conn->began = tkr_now();
        tkr_conn_set(conn, TKR_CONN_HEAD, OPTIONS(conn)->read_timeout);
    }
    const char *at = bytes;
    size_t size = n;
    if (held > 0) {
        const size_t more = n < max + 1 - held ? n : max + 1 - held;
        if (!tkr_buf_append(&conn->held, bytes, more)) {
            tkr_conn_refuse(conn, 500, "out of memory", "");
            return n;
        }
        at = conn->held.data;
        size = conn->held.size;
    }
    tkr_http_head head;
    const int got = tkr_http_head_read(&head, &conn->scanned, at, size, max);
    if (got < 0) {
        tkr_conn_refuse(conn, (unsigned)-got, head.why, "");
        return n;
    }
    if (got == 0) {
        if (held == 0 && !tkr_buf_append(&conn->held, bytes, n)) tkr_conn_refuse(conn, 500, "out of memory", "");
        return n;
    }
    begin_request(conn, &head, at, (size_t)got);
    return (size_t)got - held;
}

/* ---- bytes ---- */

bool tkr_conn_hold(tkr_conn *conn, const char *bytes, size_t n) {
    if (tkr_buf_append(&conn->held, bytes, n)) return true;
    tkr_conn_close(conn);
    return false;
}

/* Bytes that come while an answer is due: reading goes on so that the peer's end is seen. */
static void hold_pipelined(tkr_conn *conn, const char *bytes, size_t n) {
    if (conn->dropped == 0 && conn->keep && conn->held.size + n <= TKR_HELD_BYTES) {
        (void)tkr_conn_hold(conn, bytes, n);
        return;
    }
    tkr_buf_free(&conn->held);
    conn->keep = false;
    conn->dropped += n;
    if (conn->dropped > TKR_FLOOD_BYTES) tkr_conn_reset(conn);
}

void tkr_conn_feed(tkr_conn *conn, const char *bytes, size_t n) {
    while (n > 0) {
        size_t used = n;
        switch ((tkr_conn_state)conn->state) {
        case TKR_CONN_HEAD: used = read_head(conn, bytes, n); break;
        case TKR_CONN_BODY: used = read_body(conn, bytes, n); break;
        case TKR_CONN_WAIT:
        case TKR_CONN_EARLY:
        case TKR_CONN_WRITE: hold_pipelined(conn, bytes, n); break;
        case TKR_CONN_WS: used = tkr_ws_feed(conn, bytes, n); break;
        case TKR_CONN_LINGER:
        case TKR_CONN_CLOSED: break;
        }
        bytes += used;
        n -= used;
    }
}

void tkr_conn_feed_held(tkr_conn *conn) {
    tkr_buf held = conn->held;
    conn->held = (tkr_buf){0};
    tkr_conn_feed(conn, held.data, held.size);
    tkr_buf_free(&held);
}

void tkr_conn_end(tkr_conn *conn) {
    if (conn->state == TKR_CONN_WRITE) { /* the answer is under way: let it arrive */
        conn->ended = true;
        conn->keep = false;
    } else {
        tkr_conn_close(conn);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    tkr_conn *conn = handle->data;
    *buf = uv_buf_init(conn->loop->input, sizeof conn->loop->input);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    tkr_conn *conn = stream->data;
    if (n == 0 || conn->state == TKR_CONN_CLOSED) return;
    if (n == UV_EOF) {
        tkr_conn_end(conn);
    } else if (n < 0) {
        tkr_conn_close(conn);
    } else {
        uv_update_time(&conn->loop->uv); /* what ran before in this round may have taken long */
        tkr_count(&conn->loop->counts.bytes_in, (uint64_t)n);
        if (conn->ssl)
            tkr_tls_input(conn, buf->base, (size_t)n);
        else
            tkr_conn_feed(conn, buf->base, (size_t)n);
    }
}

void tkr_conn_read(tkr_conn *conn, bool on) {
    if (conn->state == TKR_CONN_CLOSED) return;
    if (!on)
        (void)uv_read_stop(&conn->uv.stream);
    else if (uv_read_start(&conn->uv.stream, on_alloc, on_read) != 0)
        tkr_conn_close(conn);
}

/* ---- opening and closing ---- */

void tkr_conn_open(tkr_loop *loop, const tkr_conn_start *start) {
    tkr_transport *t = loop->transport;
    tkr_conn *conn = tkr_calloc(1, sizeof *conn);
    if (!conn) {
        tkr_fd_close(start->fd);
        tkr_peers_leave(&t->peers, start->count);
        atomic_fetch_sub(start->tell ? &t->telling : &t->n_connections, 1);
        return;
    }
    conn->loop = loop;
    conn->listener = start->listener;
    conn->count = start->count;
    conn->tell = start->tell;
    conn->keep = true;
    memcpy(conn->peer, start->peer.text, sizeof conn->peer);
    conn->next = loop->conns;
    if (loop->conns) loop->conns->link = &conn->next;
    conn->link = &loop->conns;
    loop->conns = conn;
    loop->n_conns++;
    int code;
    if (start->local) {
        (void)uv_pipe_init(&loop->uv, &conn->uv.pipe, 0);
        code = uv_pipe_open(&conn->uv.pipe, start->fd);
    } else {
        (void)uv_tcp_init(&loop->uv, &conn->uv.tcp);
        code = uv_tcp_open(&conn->uv.tcp, start->fd);
    }
    conn->uv.handle.data = conn;
    const bool tls = t->tls && !start->local && !start->tell;
    conn->shaken = !tls;
    tkr_conn_set(conn, TKR_CONN_HEAD, tls ? t->options.read_timeout : t->options.idle_timeout);
    if (code != 0) tkr_fd_close(start->fd);
    if (code != 0 || (tls && !tkr_tls_accept(t->tls, conn))) {
        tkr_conn_close(conn);
        return;
    }
    tkr_conn_read(conn, true);
    if (start->tell && conn->state == TKR_CONN_HEAD)
        tkr_conn_refuse(conn, 503, "too many connections", "Retry-After: 1\r\n");
}

static void on_closed(uv_handle_t *handle) {
    tkr_conn *conn = handle->data;
    tkr_loop *loop = conn->loop;
    tkr_transport *t = loop->transport;
    *conn->link = conn->next;
    if (conn->next) conn->next->link = conn->link;
    loop->n_conns--;
    tkr_peers_leave(&t->peers, conn->count);
    atomic_fetch_sub(conn->tell ? &t->telling : &t->n_connections, 1);
    tkr_tls_drop(conn);
    tkr_http_decoder_free(&conn->decoder);
    tkr_buf_free(&conn->held);
    tkr_buf_free(&conn->rest);
    tkr_free(conn);
}

/* What ends with a connection, before its handle is closed; false when that was done. */
static bool leave(tkr_conn *conn) {
    tkr_loop *loop = conn->loop;
    tkr_transport *t = loop->transport;
    tkr_http_exchange *x = conn->x;
    const tkr_conn_state state = (tkr_conn_state)conn->state;
    if (state == TKR_CONN_CLOSED) return false;
    conn->state = TKR_CONN_CLOSED;
    tkr_wheel_clear(&conn->timer);
    tkr_unread_forget(conn);
    if (state == TKR_CONN_WS) tkr_ws_end(conn);
    conn->x = NULL;
    if (x && x->state == TKR_EXCHANGE_WAITING) {
        x->state = TKR_EXCHANGE_UNWANTED;
        x->conn = NULL;
        atomic_fetch_sub(&t->n_waiting, 1);
        atomic_store(&x->gone, true);
        t->app.gone(t->app.user, x);
    } else if (x) {
        if (state == TKR_CONN_EARLY) t->app.sent(t->app.user, x, &x->response, 0);
        tkr_exchange_free(loop, x);
    }
    return true;
}

void tkr_conn_close(tkr_conn *conn) {
    if (leave(conn)) uv_close(&conn->uv.handle, on_closed);
}

void tkr_conn_reset(tkr_conn *conn) {
    if (!leave(conn)) return;
    if (conn->uv.handle.type != UV_TCP || uv_tcp_close_reset(&conn->uv.tcp, on_closed) != 0)
        uv_close(&conn->uv.handle, on_closed);
}

/* ---- time ---- */

static void body_timeout(tkr_conn *conn) {
    const double left = body_seconds(conn);
    if (left <= 0)
        refuse_body(conn, 408);
    else
        tkr_wheel_set(&conn->loop->wheel, &conn->timer, tkr_loop_now(conn->loop), tkr_milliseconds(left) + 1);
}

static void write_timeout(tkr_conn *conn) {
    const int64_t before = conn->last_taken;
    if (!tkr_conn_waits(conn) || conn->last_taken - before < TKR_PROGRESS) {
        tkr_conn_close(conn);
        return;
    }
    tkr_conn_set(conn, TKR_CONN_WRITE, OPTIONS(conn)->write_timeout);
}

/* An unused connection, unless bytes have come that the loop has yet to read (while it closed a thousand others, say):
 * closing it would reset the request that they begin. */
static void close_unused(tkr_conn *conn) {
    uv_os_fd_t fd;
    if (conn->shaken && uv_fileno(&conn->uv.handle, &fd) == 0 && tkr_socket_has_input(fd))
        tkr_conn_set(conn, TKR_CONN_HEAD, OPTIONS(conn)->read_timeout);
    else
        tkr_conn_close(conn);
}

void tkr_conn_timeout(tkr_conn *conn) {
    switch ((tkr_conn_state)conn->state) {
    case TKR_CONN_HEAD:
        if (conn->began > 0 && conn->shaken)
            tkr_conn_refuse(conn, 408, "the request's head was not sent in time", "");
        else
            close_unused(conn);
        break;
    case TKR_CONN_BODY: body_timeout(conn); break;
    case TKR_CONN_WAIT: tkr_conn_fault(conn, 503, "the answer was not ready in time"); break;
    case TKR_CONN_EARLY: tkr_conn_answer_now(conn, &conn->x->response); break;
    case TKR_CONN_WRITE: write_timeout(conn); break;
    case TKR_CONN_WS: tkr_ws_timeout(conn); break;
    case TKR_CONN_LINGER: tkr_conn_close(conn); break;
    case TKR_CONN_CLOSED: break;
    }
}

void tkr_conn_drain(tkr_conn *conn) {
    conn->keep = false;
    if (conn->state == TKR_CONN_HEAD && conn->began == 0)
        close_unused(conn);
    else if (conn->state == TKR_CONN_WS)
        tkr_ws_drain(conn);
}

void tkr_conn_cut(tkr_conn *conn) {
    if (conn->state == TKR_CONN_WAIT)
        tkr_conn_fault(conn, 503, "the server ends");
    else if (conn->state == TKR_CONN_EARLY)
        tkr_conn_answer_now(conn, &conn->x->response);
    else if (conn->state == TKR_CONN_WS)
        tkr_ws_cut(conn);
    tkr_conn_close(conn);
}
