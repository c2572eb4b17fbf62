/* SPDX-License-Identifier: Apache-2.0 */
/* server/conn: private to the transport. Its loops, connections and what its files share. A connection, its exchange's
 * `conn` and all of a loop but `remote` and the counters belong to the loop's thread. */
#ifndef TKR_SERVER_CONN_H
#define TKR_SERVER_CONN_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* uv.h needs POSIX, which C17 alone doesn't show: include this header first */
#endif
#include <uv.h>

#include "core/file.h"
#include "core/fsops.h"
#include "core/net.h"
#include "core/sync.h"
#include "server/http_body.h"
#include "server/http_chunk.h"
#include "server/http_head.h"
#include "server/transport.h"
#include "server/wheel.h"

enum {
    TKR_READ_BYTES = 64 * 1024,  /* one read */
    TKR_PLAIN_BYTES = 16 * 1024, /* one TLS record */
    TKR_HELD_BYTES = 64 * 1024,  /* pipelined bytes that are kept while an answer is due */
    TKR_FLOOD_BYTES = 1 << 20,   /* further ones, after which the connection is reset */
    TKR_SMALL_BODY = 64 * 1024, /* read and thrown away where the answer doesn't need it; more: the connection closes */
    TKR_EARLY_MS = 250,         /* that a peer which comes again too early is kept waiting, at least */
    TKR_LINGER_MS = 2000,       /* reading on after the last answer, so that a reset doesn't eat it */
    TKR_MIN_RATE = 10 * 1024,   /* bytes a second of a body */
    TKR_OTHER_FDS = 512,        /* beside connections: models, helpers, logs */
    TKR_PROGRESS = 64 * 1024,   /* bytes that a slow reader must take in write_timeout */
};

/* What one address has: counted in loop 0, given back from any. */
typedef struct tkr_peer_count {
    struct tkr_peer_count *next;
    uint64_t key;
    size_t connections, web_sockets;
} tkr_peer_count;

enum { TKR_PEER_SLOTS = 1024 };
typedef struct tkr_peers {
    tkr_mutex mutex;
    tkr_peer_count *slots[TKR_PEER_SLOTS];
} tkr_peers;

typedef struct tkr_tls tkr_tls;

/* Written by one loop, read by anybody. */
typedef struct tkr_loop_counts {
    atomic_uint_fast64_t requests, faults, unread, bytes_in, bytes_out;
} tkr_loop_counts;

struct tkr_loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t timer;
    uv_prepare_t prepare;
    tkr_transport *transport;
    unsigned index;
    bool made; /* uv is initialised */
    tkr_thread *thread;
    _Atomic(tkr_loop_task *) remote; /* from other threads, last first */
    atomic_uint senders;             /* threads that are about to wake this loop */
    tkr_loop_task *local, **local_end;
    tkr_loop_task ended; /* for loop 0 */
    tkr_loop_task drain;
    tkr_loop_task shed;
    atomic_bool shedding;   /* that is posted */
    uint64_t unread_logged; /* uv_now */
    tkr_wheel wheel;
    tkr_conn *conns;
    size_t n_conns;
    size_t n_exchanges; /* that the application has not answered */
    bool draining, cut;
    atomic_uint_fast64_t cut_at; /* uv_now */
    uint64_t date_at;
    char date[30];
    tkr_buf head; /* of an answer */
    tkr_loop_counts counts;
    char input[TKR_READ_BYTES];
    char plain[TKR_PLAIN_BYTES];  /* what TLS has read */
    char record[TKR_PLAIN_BYTES]; /* what TLS is to write as one */
};

struct tkr_transport {
    tkr_transport_options options;
    tkr_http_app app;
    tkr_loop *loops;         /* [options.n_loops] */
    tkr_listener *listeners; /* [options.n_addresses] */
    uv_poll_t *polls;        /* [options.n_addresses] */
    uv_signal_t signals[3];
    unsigned next_loop, n_ended;
    size_t n_lingering; /* refused connections that are told so; loop 0 */
    int spare;          /* descriptor */
    bool paused;        /* not accepting until the next tick */
    bool draining, run;
    double full_logged; /* tkr_now() */
    tkr_peers peers;
    tkr_tls *tls; /* NULL: none */
    atomic_size_t n_connections, n_waiting, n_ws;
    atomic_size_t body_bytes;  /* memory of all requests' bodies */
    atomic_size_t reply_bytes; /* and of what peers have not taken yet of their answers */
    atomic_uint_fast64_t accepted, refused;
    atomic_size_t telling; /* connections that only get a 503 */
};

typedef enum tkr_conn_state {
    TKR_CONN_HEAD, /* idle, or in a request's head */
    TKR_CONN_BODY,
    TKR_CONN_WAIT,  /* for the application */
    TKR_CONN_EARLY, /* the answer is there, and kept back */
    TKR_CONN_WRITE,
    TKR_CONN_WS,
    TKR_CONN_LINGER,
    TKR_CONN_CLOSED
} tkr_conn_state;

/* Who has an exchange. */
typedef enum tkr_exchange_state {
    TKR_EXCHANGE_OWN,      /* the transport */
    TKR_EXCHANGE_WAITING,  /* the application, which is to answer */
    TKR_EXCHANGE_UNWANTED, /* the application, whose answer nobody will get */
    TKR_EXCHANGE_FAULTED   /* the application, too late: the transport has answered */
} tkr_exchange_state;

struct tkr_conn {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    tkr_loop *loop;
    tkr_conn *next, **link; /* of the loop */
    tkr_wheel_entry timer;
    tkr_peer_count *count; /* NULL: not limited */
    tkr_http_exchange *x;  /* from its head to its answer; of a WebSocket: to its end */
    tkr_ws *ws;
    struct ssl_st *ssl;
    const char *cipher; /* what SSL may read now */
    size_t n_cipher;
    tkr_http_decoder *decoder;
    tkr_http_chunked chunked;
    uint64_t left;       /* bytes of the body that are to come */
    uint64_t state_at;   /* uv_now when the state began */
    uint64_t away_until; /* uv_now until which the peer was told to stay away */
    double began;        /* tkr_now() at the head's first byte; 0: idle */
    tkr_buf held;        /* an unfinished head; while an answer is due, what was pipelined */
    size_t scanned;      /* of held */
    size_t dropped;
    tkr_buf rest; /* what TLS has to send yet */
    size_t rest_at;
    int64_t n_given, last_taken; /* bytes to the socket; of them taken when write_timeout last looked */
    size_t unread;               /* memory that waits for the peer to take it, in reply_bytes */
    int64_t unread_taken;        /* bytes taken when unread.c last looked */
    uint64_t unread_at;          /* uv_now when it was last seen to take some */
    uv_shutdown_t shutdown;
    char peer[46];
    unsigned listener;
    uint8_t state;   /* tkr_conn_state */
    uint8_t minor;   /* of the request: HTTP/1.x */
    bool keep;       /* open after this answer */
    bool is_chunked; /* the body */
    bool discard;    /* the body: the answer is there already */
    bool ended;      /* the peer sends no more */
    bool tell;       /* refused, and told so */
    bool shaken;     /* TLS handshake done, or none needed */
};

/* ---- loop.c ---- */
tkr_status tkr_loop_init(tkr_loop *loop, tkr_transport *transport, unsigned index, tkr_error *error);
/* Until it has drained. */
void tkr_loop_run(tkr_loop *loop);
void tkr_loop_free(tkr_loop *loop);
/* Runs the task in the loop's thread, soon; from any thread. Those of one thread keep their order. */
void tkr_loop_post(tkr_loop *loop, tkr_loop_task *task);
/* Whether this thread runs it. */
bool tkr_loop_is_mine(const tkr_loop *loop);
static inline uint64_t tkr_loop_now(const tkr_loop *loop) { return uv_now(&loop->uv); }
/* For timers: whole milliseconds, none for less than none, and no more than can be added to a clock. */
static inline uint64_t tkr_milliseconds(double seconds) {
    return seconds > 0 ? (uint64_t)((seconds < 1e8 ? seconds : 1e8) * 1e3) : 0;
}
/* Adds to a counter that only this loop's thread writes. */
static inline void tkr_count(atomic_uint_fast64_t *counter, uint64_t n) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}
/* "Sun, 06 Nov 1994 08:49:37 GMT" */
const char *tkr_loop_date(tkr_loop *loop);

/* ---- listen.c ---- */
tkr_status tkr_listen_open(tkr_transport *transport, tkr_error *error);
tkr_status tkr_listen_start(tkr_transport *transport, tkr_error *error);
void tkr_listen_stop(tkr_transport *transport);
void tkr_listen_tick(tkr_transport *transport);
void tkr_peers_free(tkr_peers *peers);
void tkr_peers_leave(tkr_peers *peers, tkr_peer_count *count);
/* Counts a WebSocket of this peer, unless it has `max` already (0: no limit). */
bool tkr_peers_open_ws(tkr_peers *peers, tkr_peer_count *count, size_t max);
void tkr_peers_close_ws(tkr_peers *peers, tkr_peer_count *count);

/* ---- conn.c: what comes in ---- */
typedef struct tkr_conn_start {
    int fd;
    unsigned listener;
    bool local;
    bool tell; /* one too many: is told 503 */
    tkr_peer peer;
    tkr_peer_count *count;
} tkr_conn_start;
/* Takes fd and the count. */
void tkr_conn_open(tkr_loop *loop, const tkr_conn_start *start);
void tkr_conn_close(tkr_conn *conn);
/* Closes with a reset, for floods. */
void tkr_conn_reset(tkr_conn *conn);
void tkr_conn_set(tkr_conn *conn, tkr_conn_state state, double seconds);
/* Plain bytes from the peer. */
void tkr_conn_feed(tkr_conn *conn, const char *bytes, size_t n);
/* Feeds what was held. */
void tkr_conn_feed_held(tkr_conn *conn);
bool tkr_conn_hold(tkr_conn *conn, const char *bytes, size_t n);
/* The peer has closed its side. */
void tkr_conn_end(tkr_conn *conn);
/* Its timer ran out. */
void tkr_conn_timeout(tkr_conn *conn);
/* The server ends: closes it when it is idle. */
void tkr_conn_drain(tkr_conn *conn);
/* The server ends now. */
void tkr_conn_cut(tkr_conn *conn);
void tkr_conn_read(tkr_conn *conn, bool on);
void tkr_exchange_free(tkr_loop *loop, tkr_http_exchange *x);

/* ---- answer.c: what goes out ---- */
/* Sends the answer to conn's exchange, whose body it takes. */
void tkr_conn_answer(tkr_conn *conn, tkr_http_response *response);
/* Compresses the body of x's response, where its peer accepts that; by any thread that has x. */
void tkr_exchange_pack(tkr_http_exchange *x);
/* As tkr_conn_answer; does not keep it back from a peer that came too early. */
void tkr_conn_answer_now(tkr_conn *conn, tkr_http_response *response);
/* Answers by the application's `fault` and closes. */
void tkr_conn_fault(tkr_conn *conn, unsigned status, const char *why);
/* Answers in plain text, without an exchange, and closes; `field` is "Name: value\r\n" or "". */
void tkr_conn_refuse(tkr_conn *conn, unsigned status, const char *why, const char *field);
/* Sends bytes, copying what can't go at once. */
void tkr_conn_send(tkr_conn *conn, const char *bytes, size_t n);
/* As tkr_conn_send, below TLS. */
void tkr_conn_send_raw(tkr_conn *conn, const char *bytes, size_t n);
/* Bytes that wait for the peer. */
size_t tkr_conn_queued(const tkr_conn *conn);
/* The same and what the kernel has of them. */
size_t tkr_conn_untaken(const tkr_conn *conn);
/* Bytes that the peer has taken since the beginning: what it left to the kernel isn't, which takes megabytes at once.
 */
int64_t tkr_conn_taken(const tkr_conn *conn);
/* Whether an answer waits for the peer; if so, write_timeout counts what is taken from now on. */
bool tkr_conn_waits(tkr_conn *conn);
/* Answers that peers don't take (unread.c): n more bytes wait, which may close this connection or others of its loop; n
 * don't any more; none do, for it closes. */
void tkr_unread_add(tkr_conn *conn, size_t n);
void tkr_unread_taken(tkr_conn *conn, size_t n);
void tkr_unread_forget(tkr_conn *conn);
/* Closes connections if too much waits, of other loops soon; the loop's look at it from time to time. */
void tkr_unread_shed(tkr_loop *loop);
void tkr_unread_tick(tkr_loop *loop);
void tkr_unread_init(tkr_loop *loop);
/* The answer is sent: goes on with the next request, or ends. */
void tkr_conn_sent(tkr_conn *conn);

/* ---- tls.c ---- */
tkr_status tkr_tls_create(tkr_tls **tls, const char *certificate, const char *key, tkr_error *error);
/* Reads the files again; on failure the old ones stay in use. */
tkr_status tkr_tls_reload(tkr_tls *tls, tkr_error *error);
void tkr_tls_free(tkr_tls **tls);
bool tkr_tls_accept(tkr_tls *tls, tkr_conn *conn);
void tkr_tls_drop(tkr_conn *conn);
void tkr_tls_input(tkr_conn *conn, const char *bytes, size_t n);
/* false: the connection is broken. */
bool tkr_tls_write(tkr_conn *conn, const char *bytes, size_t n);
void tkr_tls_shutdown(tkr_conn *conn);

/* ---- websocket.c ---- */
/* Accepts conn's exchange as a WebSocket. */
void tkr_ws_start(tkr_conn *conn);
/* Returns how many bytes it took. */
size_t tkr_ws_feed(tkr_conn *conn, const char *bytes, size_t n);
/* Some of what was queued has gone. */
void tkr_ws_sent(tkr_conn *conn);
void tkr_ws_timeout(tkr_conn *conn);
void tkr_ws_drain(tkr_conn *conn);
void tkr_ws_cut(tkr_conn *conn);
/* The connection has gone. */
void tkr_ws_end(tkr_conn *conn);

#endif
