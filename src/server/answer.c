/* SPDX-License-Identifier: Apache-2.0 */
/* server/answer: the transport's way out: writes answers and queues what the peer doesn't take at once. */
#include "server/conn.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    MIN_COMPRESSED = 1024,
    MAX_COMPRESSED = 8 << 20,    /* by another thread than the loop's: a fifth of a second */
    LOOP_COMPRESSED = 256 << 10, /* by the loop, which all others wait for: some milliseconds */
    TLS_QUEUE = 256 * 1024,      /* encrypted ahead of the peer */
    KEPT_HEAD = 64 * 1024
};

/* ---- bytes ---- */

/* What uv_write has to send yet: bytes of its own, then a body. */
typedef struct pending {
    uv_write_t request;
    tkr_conn *conn;
    tkr_buf body;
    size_t size; /* memory that this takes */
    char bytes[];
} pending;

size_t tkr_conn_queued(const tkr_conn *conn) {
    return uv_stream_get_write_queue_size(&conn->uv.stream) + (conn->rest.size - conn->rest_at);
}

size_t tkr_conn_untaken(const tkr_conn *conn) {
    uv_os_fd_t fd;
    const size_t queued = tkr_conn_queued(conn);
    return uv_fileno(&conn->uv.handle, &fd) == 0 ? queued + tkr_socket_unsent(fd) : queued;
}

int64_t tkr_conn_taken(const tkr_conn *conn) {
    const size_t plain = conn->rest.size - conn->rest_at; /* not given yet */
    return conn->n_given - (int64_t)(tkr_conn_untaken(conn) - plain);
}

bool tkr_conn_waits(tkr_conn *conn) {
    const bool waits = conn->state == TKR_CONN_WRITE && tkr_conn_queued(conn) > 0;
    if (waits) conn->last_taken = tkr_conn_taken(conn);
    return waits;
}

/* Encrypts what waits, as far ahead of the peer as it should be. */
static void pump(tkr_conn *conn) {
    while (conn->state != TKR_CONN_CLOSED && conn->rest_at < conn->rest.size &&
           uv_stream_get_write_queue_size(&conn->uv.stream) < TLS_QUEUE) {
        const size_t left = conn->rest.size - conn->rest_at, n = left < TKR_PLAIN_BYTES ? left : TKR_PLAIN_BYTES;
        if (!tkr_tls_write(conn, conn->rest.data + conn->rest_at, n)) {
            tkr_conn_close(conn);
            return;
        }
        conn->rest_at += n;
    }
    if (conn->state != TKR_CONN_CLOSED && conn->rest_at == conn->rest.size) {
        tkr_unread_taken(conn, conn->rest.size);
        tkr_buf_free(&conn->rest);
        conn->rest_at = 0;
    }
}

static void on_written(uv_write_t *request, int status) {
    pending *done = (pending *)(void *)request;
    tkr_conn *conn = done->conn;
    tkr_unread_taken(conn, done->size);
    conn->unread_at = tkr_loop_now(conn->loop);
    tkr_buf_free(&done->body);
    tkr_free(done);
    if (conn->state == TKR_CONN_CLOSED) return;
    if (status < 0) {
        tkr_conn_close(conn);
        return;
    }
    if (conn->rest.size > 0) pump(conn);
    if (conn->state == TKR_CONN_WS)
        tkr_ws_sent(conn);
    else if (conn->state == TKR_CONN_WRITE && tkr_conn_queued(conn) == 0)
        tkr_conn_sent(conn);
}

/* Sends bytes and a body (NULL: none), which it takes; below TLS. */
static void send_both(tkr_conn *conn, const char *bytes, size_t n, tkr_buf *body) {
    if (conn->state == TKR_CONN_CLOSED) return;
    const size_t n_body = body ? body->size : 0;
    uv_buf_t parts[2] = {uv_buf_init((char *)(uintptr_t)bytes, (unsigned)n),
                         uv_buf_init(body ? body->data : NULL, (unsigned)n_body)};
    int sent = uv_try_write(&conn->uv.stream, parts, n_body > 0 ? 2 : 1);
    if (sent == UV_EAGAIN) sent = 0;
    if (sent < 0) {
        tkr_conn_close(conn);
        return;
    }
    tkr_count(&conn->loop->counts.bytes_out, n + n_body);
    conn->n_given += (int64_t)(n + n_body);
    if ((size_t)sent == n + n_body) return;
    const size_t left = (size_t)sent < n ? n - (size_t)sent : 0, skip = (size_t)sent > n ? (size_t)sent - n : 0;
    pending *rest = tkr_calloc(1, sizeof *rest + left);
    if (!rest) {
        tkr_conn_close(conn);
        return;
    }
    rest->conn = conn;
    rest->size = left + n_body;
    if (left > 0) memcpy(rest->bytes, bytes + (n - left), left);
    if (body) {
        rest->body = *body;
        *body = (tkr_buf){0};
    }
    parts[0] = uv_buf_init(rest->bytes, (unsigned)left);
    parts[1] = uv_buf_init(n_body > 0 ? rest->body.data + skip : NULL, (unsigned)(n_body - skip));
    const unsigned first = left > 0 ? 0 : 1, count = (left > 0 ? 1u : 0u) + (n_body > skip ? 1u : 0u);
    if (uv_write(&rest->request, &conn->uv.stream, parts + first, count, on_written) == 0) {
        tkr_unread_add(conn, rest->size);
        return;
    }
    tkr_buf_free(&rest->body);
    tkr_free(rest);
    tkr_conn_close(conn);
}

void tkr_conn_send_raw(tkr_conn *conn, const char *bytes, size_t n) { send_both(conn, bytes, n, NULL); }

void tkr_conn_send(tkr_conn *conn, const char *bytes, size_t n) {
    if (conn->state == TKR_CONN_CLOSED) return;
    if (!conn->ssl) {
        send_both(conn, bytes, n, NULL);
    } else if (conn->rest.size > 0) { /* behind what isn't encrypted yet */
        if (tkr_buf_append(&conn->rest, bytes, n))
            tkr_unread_add(conn, n);
        else
            tkr_conn_close(conn);
    } else if (!tkr_tls_write(conn, bytes, n)) {
        tkr_conn_close(conn);
    }
}

/* Sends a head and a body, which it takes. */
static void send_answer(tkr_conn *conn, const tkr_buf *head, tkr_buf *body) {
    tkr_loop *loop = conn->loop;
    if (!conn->ssl) {
        send_both(conn, head->data, head->size, body);
    } else if (head->size + body->size <= sizeof loop->record) { /* one record, one write */
        memcpy(loop->record, head->data, head->size);
        if (body->size > 0) memcpy(loop->record + head->size, body->data, body->size);
        tkr_conn_send(conn, loop->record, head->size + body->size);
    } else {
        tkr_conn_send(conn, head->data, head->size);
        if (conn->state != TKR_CONN_CLOSED && body->size > 0) {
            conn->rest = *body;
            *body = (tkr_buf){0};
            tkr_unread_add(conn, conn->rest.size);
            if (conn->state != TKR_CONN_CLOSED) pump(conn);
        }
    }
    tkr_buf_free(body);
}

/* ---- answers ---- */

static const char *reason(unsigned status) {
    static const struct {
        unsigned status;
        const char *text;
    } known[] = {{100, "Continue"},
                 {101, "Switching Protocols"},
                 {200, "OK"},
                 {201, "Created"},
                 {202, "Accepted"},
                 {204, "No Content"},
                 {206, "Partial Content"},
                 {301, "Moved Permanently"},
                 {302, "Found"},
                 {303, "See Other"},
                 {304, "Not Modified"},
                 {307, "Temporary Redirect"},
                 {308, "Permanent Redirect"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {406, "Not Acceptable"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {413, "Content Too Large"},
                 {414, "URI Too Long"},
                 {415, "Unsupported Media Type"},
                 {417, "Expectation Failed"},
                 {422, "Unprocessable Content"},
                 {424, "Failed Dependency"},
                 {426, "Upgrade Required"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {499, "Client Closed Request"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {502, "Bad Gateway"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {505, "HTTP Version Not Supported"},
                 {507, "Insufficient Storage"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].status == status) return known[i].text;
    return "Unknown";
}

bool tkr_http_add_field(tkr_http_response *response, const char *name, const char *format, ...) {
    char text[2048];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0 || n >= (int)sizeof text) return false;
    for (int i = 0; i < n; i++)
        if (!tkr_http_is_value((uint8_t)text[i])) return false;
    return tkr_buf_printf(&response->fields, "%s: %s\r\n", name, text);
}

static bool has_field(const tkr_buf *fields, const char *name) {
    const size_t n = strlen(name);
    for (const char *line = fields->data; line && *line != '\0';) {
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') return true;
        line = strchr(line, '\n');
        if (line) line++;
    }
    return false;
}

static bool is_text(const char *type) {
    return type && (strncmp(type, "text/", 5) == 0 || strstr(type, "json") || strstr(type, "javascript") ||
                    strstr(type, "xml"));
}

/* Compresses the body where that is wanted and helps. */
static void compress(const tkr_transport *t, const tkr_http_request *request, tkr_http_response *response,
                     size_t most) {
    if (!t->options.compress || response->body.failed || response->body.size <= MIN_COMPRESSED ||
        response->body.size > most || !is_text(response->content_type) ||
        has_field(&response->fields, "content-encoding"))
        return;
    (void)tkr_http_add_field(response, "Vary", "Accept-Encoding");
    const tkr_http_coding coding = tkr_http_coding_accepted(tkr_http_field_of(request, "accept-encoding"));
    if (coding == TKR_CODING_IDENTITY) return;
    tkr_buf small = {0};
    if (tkr_http_compress(&small, coding, response->body.data, response->body.size) &&
        tkr_http_add_field(response, "Content-Encoding", "%s", tkr_http_coding_name(coding))) {
        tkr_buf_free(&response->body);
        response->body = small;
    } else {
        tkr_buf_free(&small);
    }
}

void tkr_exchange_pack(tkr_http_exchange *x) {
    compress(x->loop->transport, &x->request, &x->response, MAX_COMPRESSED);
    x->packed = true;
}

/* The head of an answer, into loop->head. */
static bool write_head(tkr_conn *conn, const tkr_http_response *response, unsigned minor) {
    tkr_buf *out = &conn->loop->head;
    if (out->failed || out->room > KEPT_HEAD) tkr_buf_free(out);
    out->size = 0;
    (void)tkr_buf_printf(out, "HTTP/1.1 %u %s\r\nDate: %s\r\n", response->status, reason(response->status),
                         tkr_loop_date(conn->loop));
    if (response->content_type) (void)tkr_buf_printf(out, "Content-Type: %s\r\n", response->content_type);
    if (response->status != 204 && response->status != 304)
        (void)tkr_buf_printf(out, "Content-Length: %zu\r\n", response->body.size);
    if (!conn->keep)
        (void)tkr_buf_append(out, "Connection: close\r\n", 19);
    else if (minor == 0)
        (void)tkr_buf_append(out, "Connection: keep-alive\r\n", 24);
    (void)tkr_buf_append(out, response->fields.data, response->fields.size);
    return tkr_buf_append(out, "\r\n", 2);
}

void tkr_conn_answer_now(tkr_conn *conn, tkr_http_response *response) {
    tkr_loop *loop = conn->loop;
    tkr_http_exchange *x = conn->x;
    /* One write takes 32 bits of length. */
    if (response->body.failed || response->body.size > UINT32_MAX || response->fields.failed ||
        response->status < 200) {
        tkr_buf_free(&response->body);
        tkr_buf_free(&response->fields);
        response->status = 500;
        response->content_type = NULL;
    }
    conn->keep = conn->keep && !response->close && !loop->draining;
    if (response != &x->response || !x->packed) compress(loop->transport, &x->request, response, LOOP_COMPRESSED);
    conn->x = NULL;
    tkr_conn_set(conn, TKR_CONN_WRITE, loop->transport->options.write_timeout);
    size_t n_bytes = 0;
    if (write_head(conn, response, conn->minor)) {
        tkr_buf body = response->body;
        response->body = (tkr_buf){0};
        if (strcmp(x->request.method, "HEAD") == 0 || response->status == 204 || response->status == 304)
            tkr_buf_free(&body);
        n_bytes = loop->head.size + body.size;
        send_answer(conn, &loop->head, &body);
    } else {
        tkr_conn_close(conn);
    }
    const bool waits = tkr_conn_waits(conn);
    loop->transport->app.sent(loop->transport->app.user, x, response, n_bytes);
    if (x->state == TKR_EXCHANGE_OWN) tkr_exchange_free(loop, x);
    if (conn->state == TKR_CONN_WRITE && !waits) tkr_conn_sent(conn);
}

/* A refusal costs next to nothing, but peers that ask again as soon as they are refused would take the processor from
 * those who were let in. */
void tkr_conn_answer(tkr_conn *conn, tkr_http_response *response) {
    tkr_transport *t = conn->loop->transport;
    tkr_http_exchange *x = conn->x;
    const uint64_t now = tkr_loop_now(conn->loop);
    const bool early = now < conn->away_until;
    if (response->again > 0) conn->away_until = now + tkr_milliseconds(response->again);
    if (response->again <= 0 || !early || !conn->keep || conn->loop->cut) {
        tkr_conn_answer_now(conn, response);
        return;
    }
    if (t->app.kept_back) t->app.kept_back(t->app.user, x);
    atomic_fetch_sub(&t->body_bytes, x->counted);
    x->counted = 0;
    tkr_buf_free(&x->received);
    x->request.body = "";
    x->request.n_body = 0;
    tkr_conn_set(conn, TKR_CONN_EARLY, TKR_EARLY_MS * 1e-3);
}

void tkr_conn_fault(tkr_conn *conn, unsigned status, const char *why) {
    tkr_loop *loop = conn->loop;
    const tkr_http_app *app = &loop->transport->app;
    tkr_http_exchange *x = conn->x;
    tkr_count(&loop->counts.faults, 1);
    if (x->state == TKR_EXCHANGE_WAITING) {
        x->state = TKR_EXCHANGE_FAULTED;
        x->conn = NULL;
        atomic_fetch_sub(&loop->transport->n_waiting, 1);
        atomic_store(&x->gone, true);
        app->gone(app->user, x);
    }
    tkr_http_response out = {.close = true};
    app->fault(app->user, x, status, why, &out);
    if (out.status == 0) {
        out.status = status;
        out.content_type = "text/plain; charset=utf-8";
        (void)tkr_buf_printf(&out.body, "%s\n", why);
    }
    if (status == 415) (void)tkr_http_add_field(&out, "Accept-Encoding", TKR_HTTP_CODINGS);
    if (status == 503 && !has_field(&out.fields, "retry-after")) (void)tkr_http_add_field(&out, "Retry-After", "1");
    out.close = true;
    tkr_conn_answer_now(conn, &out);
    tkr_buf_free(&out.fields);
    tkr_buf_free(&out.body);
}

void tkr_conn_refuse(tkr_conn *conn, unsigned status, const char *why, const char *field) {
    char text[768];
    tkr_loop *loop = conn->loop;
    tkr_count(&loop->counts.faults, 1);
    conn->keep = false;
    tkr_buf_free(&conn->held);
    const int n = snprintf(text, sizeof text,
                           "HTTP/1.1 %u %s\r\nDate: %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
                           "Content-Length: %zu\r\nConnection: close\r\n%s\r\n%s\n",
                           status, reason(status), tkr_loop_date(loop), strlen(why) + 1, field, why);
    tkr_conn_set(conn, TKR_CONN_WRITE, loop->transport->options.write_timeout);
    tkr_conn_send(conn, text, (size_t)n);
    if (conn->state == TKR_CONN_WRITE && !tkr_conn_waits(conn)) tkr_conn_sent(conn);
}

/* ---- after an answer ---- */

static void on_shutdown(uv_shutdown_t *request, int status) {
    tkr_conn *conn = request->data;
    if (status < 0) tkr_conn_close(conn);
}

void tkr_conn_sent(tkr_conn *conn) {
    if (conn->keep) {
        conn->began = 0;
        conn->scanned = 0;
        tkr_conn_set(conn, TKR_CONN_HEAD, conn->loop->transport->options.idle_timeout);
        if (conn->held.size > 0) tkr_conn_feed_held(conn);
        return;
    }
    tkr_buf_free(&conn->held);
    if (conn->ended) {
        tkr_conn_close(conn);
        return;
    }
    tkr_conn_set(conn, TKR_CONN_LINGER, TKR_LINGER_MS * 1e-3);
    if (conn->ssl) tkr_tls_shutdown(conn);
    if (conn->state == TKR_CONN_CLOSED) return;
    conn->shutdown.data = conn;
    if (uv_shutdown(&conn->shutdown, &conn->uv.stream, on_shutdown) != 0) tkr_conn_close(conn);
}
