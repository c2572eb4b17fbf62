/* SPDX-License-Identifier: Apache-2.0 */
/* server/transport: HTTP/1.1 and WebSocket over TCP, Unix sockets and TLS. Knows bytes, connections and time; knows
 * neither routes nor models. Refuses everything that two readers could understand differently (RFC 9112). */
#ifndef TKR_SERVER_TRANSPORT_H
#define TKR_SERVER_TRANSPORT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/log.h"
#include "core/mem.h"

/* ---- a request and its answer ---- */

typedef struct tkr_http_field {
    const char *name, *value; /* name in lower case; value without blanks around it */
} tkr_http_field;

typedef struct tkr_http_request {
    const char *method; /* "GET" */
    const char *path;   /* percent-decoded, without the query; starts with '/', or is "*" (OPTIONS) */
    const char *query;  /* as sent, without '?'; "" when there is none */
    const tkr_http_field *fields;
    size_t n_fields;
    const char *body; /* whole, chunks joined, decompressed; NUL behind it */
    size_t n_body;
    size_t n_wire;     /* bytes of the body as sent */
    const char *peer;  /* "192.0.2.1", "2001:db8::1", "unix" */
    unsigned listener; /* index of the listener's address in tkr_transport_options */
    bool tls;
    double began, complete; /* tkr_now() at its first byte and when its body was whole */
} tkr_http_request;

/* The value of a field, NULL when absent; `name` in lower case. Of several with one name: the first. */
const char *tkr_http_field_of(const tkr_http_request *request, const char *name);

typedef struct tkr_http_response {
    unsigned status;
    const char *content_type; /* NULL: none. Static or in the exchange's arena */
    tkr_buf fields;           /* "Name: value\r\n" each; not Content-Length, Content-Type, Connection, Date */
    tkr_buf body;
    bool close;   /* close the connection after it */
    double again; /* seconds to stay away: who comes earlier and is refused again gets that late. 0: not told to */
} tkr_http_response;
/* Appends a field; false without memory or when the value holds control characters. */
bool tkr_http_add_field(tkr_http_response *response, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

typedef struct tkr_conn tkr_conn;
typedef struct tkr_loop tkr_loop;
typedef struct tkr_ws tkr_ws;

/* Private to the transport: something that a loop's thread is to do. */
typedef struct tkr_loop_task {
    struct tkr_loop_task *next;
    void (*run)(struct tkr_loop_task *task);
} tkr_loop_task;

/* One request on its way. Made by the transport, freed by it after the answer. The arena lives as long. */
typedef struct tkr_http_exchange {
    tkr_http_request request;
    tkr_http_response response; /* filled by the application before tkr_http_reply */
    tkr_arena arena;
    void *app;        /* the application's; the transport calls `release` before it frees the exchange */
    size_t max_body;  /* set by the application's `head`: most bytes of body, as sent and decompressed */
    double deadline;  /* set by `head`: tkr_now() at which the answer is late; 0: the transport's own timeout */
    atomic_bool gone; /* the answer isn't wanted any more: the peer left, the deadline passed, the server ends */
    bool upgrade;     /* the request asks for a WebSocket, and all its fields are right */
    /* private to the transport */
    tkr_conn *conn; /* NULL once the connection is gone; belongs to the loop's thread */
    tkr_loop *loop;
    tkr_loop_task reply, post;
    void (*posted)(struct tkr_http_exchange *x);
    tkr_buf received; /* the body */
    size_t counted;   /* of the body, in the transport's count */
    bool packed;      /* the response's body is compressed, or stays as it is */
    uint8_t state;
} tkr_http_exchange;

/* What the application answers. All are called on the connection's loop thread and must not block. */
typedef struct tkr_http_app {
    void *user;
    /* The head has come, the body has not. Sets x->max_body and x->deadline; or sets x->response.status (with all of
     * the response) to answer without reading the body. With x->upgrade, status 101 accepts the WebSocket. */
    void (*head)(void *user, tkr_http_exchange *x);
    /* The request is whole. Leads to exactly one tkr_http_reply, now or later, from any thread. */
    void (*request)(void *user, tkr_http_exchange *x);
    /* x->gone was just set while the request waited: stop working on it. tkr_http_reply must still be called. */
    void (*gone)(void *user, tkr_http_exchange *x);
    /* The transport itself must answer a request whose head was read: 408 body too slow, 413 body too large, 415
     * unknown Content-Encoding, 400 damaged body, 503 deadline passed, 500 no memory. `out` is empty; left empty, a
     * plain text is sent. x->response isn't touched: another thread may be writing it. */
    void (*fault)(void *user, tkr_http_exchange *x, unsigned status, const char *why, tkr_http_response *out);
    /* The answer is written, and kept back for a while: free what it took to write it. NULL: nothing to free. */
    void (*kept_back)(void *user, tkr_http_exchange *x);
    /* The exchange will be freed: free x->app. */
    void (*release)(void *user, tkr_http_exchange *x);
    /* After each answer, for logs and counters: bytes sent, head included; 0 when nobody was there to take it. */
    void (*sent)(void *user, tkr_http_exchange *x, const tkr_http_response *response, size_t n_bytes);
    /* A WebSocket was opened by x (which is released only after the close); returns the application's object, NULL: no
     * memory, close with 1011. */
    void *(*ws_open)(void *user, tkr_ws *ws, tkr_http_exchange *x);
    /* A whole message; data is borrowed for the call. Text is valid UTF-8. */
    void (*ws_message)(void *user, tkr_ws *ws, void *app, bool binary, const char *data, size_t size);
    /* tkr_ws_send was refused for what was queued, and half of that is sent by now: try again. NULL: not wanted. */
    void (*ws_drained)(void *user, tkr_ws *ws, void *app);
    /* The WebSocket has ended; nothing is called for it any more. tkr_ws_send from other threads stays harmless until
     * the last tkr_ws_release. */
    void (*ws_close)(void *user, tkr_ws *ws, void *app);
    /* tkr_transport_drain was called: the application calls tkr_ws_close(ws, 1001, ...) once the last reply is sent.
     * NULL: the transport closes it at once. */
    void (*ws_drain)(void *user, tkr_ws *ws, void *app);
    /* Every quarter of a second on loop 0. */
    void (*tick)(void *user);
    /* SIGHUP came (loop 0), after certificates were read again. */
    void (*reload)(void *user);
    /* SIGTERM or SIGINT came (loop 0). The application calls tkr_transport_drain when it is time. */
    void (*terminate)(void *user);
} tkr_http_app;

/* Sends x->response; from any thread, once (compressed there, if it isn't the loop's, whose time is everybody's: a
 * large body should come from elsewhere). The exchange belongs to the transport afterwards. When its loop has ended
 * it is released at once, in the calling thread (until tkr_transport_free, which comes after all answers). */
void tkr_http_reply(tkr_http_exchange *x);
/* Runs fn(x) on the loop thread of x's connection, soon; from any thread, one at a time. When that loop has ended: at
 * once, in the calling thread. */
void tkr_http_post(tkr_http_exchange *x, void (*fn)(tkr_http_exchange *x));

/* ---- WebSocket ---- */

/* Thread-safe; copies. false when it is closed, or has more than the limit queued. */
bool tkr_ws_send(tkr_ws *ws, bool binary, const void *data, size_t size);
/* As tkr_ws_send, a short text in answer to a message: it is sent however much is queued, for beyond the limit no
 * further message is read. false when it is closed or there is no memory. */
bool tkr_ws_send_note(tkr_ws *ws, const void *data, size_t size);
/* Thread-safe. Sends a close frame after what is queued. */
void tkr_ws_close(tkr_ws *ws, unsigned code, const char *reason);
/* Bytes queued and not yet sent; from any thread. */
size_t tkr_ws_queued(const tkr_ws *ws);
/* Stops or goes on reading from its peer (loop thread only): back-pressure. */
void tkr_ws_pause(tkr_ws *ws, bool pause);
/* Thread-safe. Counts what the application has to send, but keeps until ws_drained: no message is read while that and
 * what is queued are more than the limit. */
void tkr_ws_defer(tkr_ws *ws, size_t n_bytes);
void tkr_ws_undefer(tkr_ws *ws, size_t n_bytes);
/* Thread-safe. Counts what the application keeps of a message among all bodies in memory, before it takes the memory;
 * false, and nothing counted, beyond max_bodies. Whoever has counted gives back, by a `ws` that is held. */
bool tkr_ws_keep(tkr_ws *ws, size_t n_bytes);
void tkr_ws_give_back(tkr_ws *ws, size_t n_bytes);
/* Whoever keeps `ws` beyond a callback holds it. */
void tkr_ws_hold(tkr_ws *ws);
void tkr_ws_release(tkr_ws *ws);

/* ---- the whole ---- */

typedef struct tkr_transport tkr_transport;

/* All text is borrowed until tkr_transport_free. Where to listen: "127.0.0.1:8000", "[::1]:8000", "unix:/run/tkr.sock",
 * "private:/run/admin.sock" (a Unix socket of mode 0600), "fd:3" (adopted, from systemd). */
typedef struct tkr_transport_options {
    const char *const *addresses; /* [n_addresses] */
    size_t n_addresses;
    unsigned unix_mode;                    /* permissions of Unix sockets, as 0660 */
    unsigned n_loops;                      /* threads */
    const char *tls_certificate, *tls_key; /* PEM files; NULL: no TLS. TCP listeners and adopted TCP sockets use it */
    size_t max_head;                       /* bytes of request line and fields */
    /* Bytes of all bodies and messages that are in memory, and as many of answers that peers don't take; 0: no limit.
     */
    size_t max_bodies;
    /* Of a peer: of one IPv4 address, of one /64 of IPv6; Unix sockets aren't limited. 0: no limit a peer. */
    size_t max_connections, max_connections_per_peer;
    double read_timeout;  /* seconds for a head, and for a body beyond what the minimum rate allows */
    double write_timeout; /* seconds without progress */
    double idle_timeout;  /* keep-alive */
    double wait_timeout;  /* for an answer, where the application sets no deadline */
    double ping_interval; /* WebSocket; 0: none */
    size_t max_message;   /* bytes of a WebSocket message */
    size_t max_ws_queue;  /* bytes queued to a WebSocket */
    size_t max_ws, max_ws_per_peer;
    bool compress; /* answers over 1 KiB for peers that accept zstd or gzip */
    tkr_log log;
} tkr_transport_options;

/* Whether certificate and key are some that could be used. */
tkr_status tkr_transport_check_tls(const char *certificate, const char *key, tkr_error *error);
/* Binds and listens, starts no thread yet. Messages name the address. Returns a transport. */
tkr_status tkr_transport_create(tkr_transport **transport, const tkr_transport_options *options,
                                const tkr_http_app *app, tkr_error *error);
/* "http://127.0.0.1:8000" of listener i, with the port that the system chose for port 0; NULL beyond the last. */
const char *tkr_transport_url(const tkr_transport *transport, size_t i);
/* Runs loop 0 in this thread (and takes SIGTERM, SIGINT, SIGHUP) until tkr_transport_drain has finished. */
tkr_status tkr_transport_run(tkr_transport *transport, tkr_error *error);
/* Loop 0's thread: stops listening, closes idle connections; waiting requests get their answers with
 * "Connection: close"; after `seconds` the rest is cut. Called again it can only bring that nearer. */
void tkr_transport_drain(tkr_transport *transport, double seconds);
/* Reads the certificate again, as SIGHUP does, and logs it; where it can't be used the old one stays. TKR_OK without
 * TLS. From any thread. */
tkr_status tkr_transport_reload(tkr_transport *transport, tkr_error *error);
void tkr_transport_free(tkr_transport **transport);

typedef struct tkr_transport_counts {
    uint64_t accepted, refused, requests, faults; /* since the start; faults: answers that the transport made itself */
    uint64_t unread; /* connections that were closed because replies that nobody reads fill memory */
    size_t connections, waiting, web_sockets; /* now */
    uint64_t bytes_in, bytes_out;
} tkr_transport_counts;
/* From any thread. */
void tkr_transport_get_counts(tkr_transport_counts *counts, const tkr_transport *transport);

#endif
