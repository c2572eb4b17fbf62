/* SPDX-License-Identifier: Apache-2.0 */
/* A small program on the transport alone: answers after a delay from another thread, echoes bodies and WebSocket
 * messages, says on standard error what the transport tells it. Driven by test_transport.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/net.h"
#include "core/service.h"
#include "core/sync.h"
#include "server/transport.h"

enum { MAX_ADDRESSES = 8, ANSWER_BYTES = 4200 };

typedef struct job {
    struct job *next;
    double due;
    tkr_http_exchange *x;
    tkr_ws *ws; /* in place of x: sends n messages */
    unsigned long n;
    bool undefer; /* n bytes, in place of sending */
} job;

typedef struct app {
    tkr_transport *transport;
    tkr_mutex mutex;
    tkr_cond cond;
    job *jobs;
    bool stop;
    double delay, drain;
    size_t max_body;
    bool quiet;
    size_t fail_every; /* 0: never; else each so manieth allocation fails */
    atomic_size_t n_allocations;
} app;

static bool may_allocate(void *user, char kind) {
    app *a = user;
    return kind != 'a' || atomic_fetch_add(&a->n_allocations, 1) % a->fail_every != a->fail_every - 1;
}

static void say(const app *a, const char *event, const char *detail) {
    if (!a->quiet) fprintf(stderr, "EV %.6f %s %s\n", tkr_now(), event, detail);
}

/* ---- the worker ---- */

static void add(app *a, job given, double delay) {
    job *j = calloc(1, sizeof *j);
    if (!j) abort();
    *j = given;
    j->due = tkr_now() + delay;
    tkr_mutex_lock(&a->mutex);
    j->next = a->jobs;
    a->jobs = j;
    tkr_cond_signal(&a->cond);
    tkr_mutex_unlock(&a->mutex);
}

static void add_job(app *a, tkr_http_exchange *x, tkr_ws *ws, unsigned long n, double delay) {
    add(a, (job){.x = x, .ws = ws, .n = n}, delay);
}

static job **earliest(app *a) {
    job **best = &a->jobs;
    for (job **at = &a->jobs; *at; at = &(*at)->next)
        if ((*at)->due <= (*best)->due) best = at;
    return best;
}

static void embed(tkr_http_exchange *x) {
    tkr_http_response *out = &x->response;
    out->status = 200;
    out->content_type = "application/json";
    (void)tkr_buf_printf(&out->body, "{\"n\":%zu,\"pad\":\"", x->request.n_body);
    if (tkr_buf_reserve(&out->body, ANSWER_BYTES)) {
        memset(out->body.data + out->body.size, 'x', ANSWER_BYTES - 2 - out->body.size);
        out->body.size = ANSWER_BYTES - 2;
        (void)tkr_buf_append(&out->body, "\"}", 2);
    }
}

static void on_posted(tkr_http_exchange *x) {
    embed(x);
    tkr_http_reply(x);
}

static void run_job(app *a, job *j) {
    if (j->undefer) {
        tkr_ws_undefer(j->ws, j->n);
        tkr_ws_release(j->ws);
    } else if (j->ws) {
        char text[32];
        unsigned long sent = 0;
        for (unsigned long i = 0; i < j->n; i++) {
            const int n = snprintf(text, sizeof text, "message %lu", i);
            sent += tkr_ws_send(j->ws, false, text, (size_t)n);
        }
        (void)snprintf(text, sizeof text, "%lu", sent);
        say(a, "ws_sent", text);
        tkr_ws_release(j->ws);
    } else if (strcmp(j->x->request.path, "/post") == 0) {
        tkr_http_post(j->x, on_posted);
    } else {
        if (atomic_load(&j->x->gone)) say(a, "worker_skips", "");
        embed(j->x);
        tkr_http_reply(j->x);
    }
}

static void work(void *arg) {
    app *a = arg;
    tkr_mutex_lock(&a->mutex);
    while (!a->stop || a->jobs) {
        job **at = earliest(a);
        job *j = *at;
        if (!j) {
            tkr_cond_wait(&a->cond, &a->mutex);
        } else if (j->due > tkr_now()) {
            (void)tkr_cond_wait_until(&a->cond, &a->mutex, j->due);
        } else {
            *at = j->next;
            tkr_mutex_unlock(&a->mutex);
            run_job(a, j);
            free(j);
            tkr_mutex_lock(&a->mutex);
        }
    }
    tkr_mutex_unlock(&a->mutex);
}

/* ---- requests ---- */

static void answer_text(tkr_http_exchange *x, unsigned status, const char *text) {
    x->response.status = status;
    x->response.content_type = "application/json";
    (void)tkr_buf_printf(&x->response.body, "{\"error\":\"%s\"}", text);
}

static bool is(const tkr_http_exchange *x, const char *path) { return strcmp(x->request.path, path) == 0; }

static void on_head(void *user, tkr_http_exchange *x) {
    app *a = user;
    x->max_body = a->max_body;
    x->app = a;
    if (is(x, "/ws")) {
        if (x->upgrade)
            x->response.status = 101;
        else
            answer_text(x, 426, "own426");
    } else if (is(x, "/early")) {
        answer_text(x, 403, "own403");
    } else if (is(x, "/busy")) { /* knows before the body */
        answer_text(x, 429, "own429");
        x->response.again = 60;
    } else if (is(x, "/soon")) {
        x->deadline = tkr_now() + 0.5;
    } else if (is(x, "/embed") && strcmp(x->request.method, "POST") != 0) {
        answer_text(x, 405, "own405");
        (void)tkr_http_add_field(&x->response, "Allow", "POST");
    }
}

static void show(tkr_http_exchange *x) {
    const tkr_http_request *r = &x->request;
    tkr_buf *out = &x->response.body;
    (void)tkr_buf_printf(out, "%s|%s|%s|%s|%u|%d|%zu|%zu\n", r->method, r->path, r->query, r->peer, r->listener, r->tls,
                         r->n_body, r->n_wire);
    for (size_t i = 0; i < r->n_fields; i++)
        (void)tkr_buf_printf(out, "%s=%s\n", r->fields[i].name, r->fields[i].value);
}

static void count(const app *a, tkr_http_exchange *x) {
    tkr_transport_counts c;
    tkr_transport_get_counts(&c, a->transport);
    (void)tkr_buf_printf(&x->response.body,
                         "{\"accepted\":%llu,\"refused\":%llu,\"requests\":%llu,\"faults\":%llu,\"connections\":%zu,"
                         "\"waiting\":%zu,\"web_sockets\":%zu,\"in\":%llu,\"out\":%llu}",
                         (unsigned long long)c.accepted, (unsigned long long)c.refused, (unsigned long long)c.requests,
                         (unsigned long long)c.faults, c.connections, c.waiting, c.web_sockets,
                         (unsigned long long)c.bytes_in, (unsigned long long)c.bytes_out);
}

static void on_request(void *user, tkr_http_exchange *x) {
    app *a = user;
    tkr_http_response *out = &x->response;
    if (is(x, "/embed") || is(x, "/soon") || is(x, "/post")) {
        const char *delay = strstr(x->request.query, "delay=");
        add_job(a, x, NULL, 0, delay ? strtod(delay + 6, NULL) : a->delay);
        return;
    }
    out->status = 200;
    out->content_type = "text/plain";
    if (is(x, "/echo")) {
        (void)tkr_buf_append(&out->body, x->request.body, x->request.n_body);
    } else if (is(x, "/big")) {
        const size_t n = strtoul(x->request.query, NULL, 10);
        if (tkr_buf_reserve(&out->body, n)) {
            for (size_t i = 0; i < n; i++) out->body.data[i] = (char)('a' + i % 26);
            out->body.size = n;
            out->body.data[n] = '\0';
        }
    } else if (is(x, "/block")) { /* this loop does nothing else meanwhile */
        for (const double until = tkr_now() + strtod(x->request.query, NULL); tkr_now() < until;) continue;
    } else if (is(x, "/show")) {
        show(x);
    } else if (is(x, "/counts")) {
        count(a, x);
    } else if (is(x, "/away")) {
        answer_text(x, 429, "own429");
        out->again = strtod(x->request.query, NULL);
    } else if (is(x, "/close")) {
        out->close = true;
    } else {
        out->status = 0;
        answer_text(x, 404, "own404");
    }
    tkr_http_reply(x);
}

static void on_gone(void *user, tkr_http_exchange *x) {
    app *a = user;
    say(a, "peer_gone", x->request.path);
    tkr_mutex_lock(&a->mutex);
    for (job *j = a->jobs; j; j = j->next)
        if (j->x == x) j->due = 0;
    tkr_cond_signal(&a->cond);
    tkr_mutex_unlock(&a->mutex);
}

static void on_fault(void *user, tkr_http_exchange *x, unsigned status, const char *why, tkr_http_response *out) {
    char text[64];
    (void)snprintf(text, sizeof text, "%u %s", status, x->request.path);
    say(user, "fault", text);
    out->status = status;
    out->content_type = "application/json";
    (void)tkr_buf_printf(&out->body, "{\"error\":\"own%u %s\"}", status, why);
}

static void on_release(void *user, tkr_http_exchange *x) {
    if (x->app != user) abort();
    x->app = NULL;
}

static void on_sent(void *user, tkr_http_exchange *x, const tkr_http_response *response, size_t n_bytes) {
    (void)x;
    if (n_bytes > 0 && response->status < 500) return;
    char text[64];
    (void)snprintf(text, sizeof text, "%u %zu", response->status, n_bytes);
    say(user, "sent", text);
}

/* ---- WebSockets ---- */

static void *on_ws_open(void *user, tkr_ws *ws, tkr_http_exchange *x) {
    if (strcmp(x->request.query, "greet") == 0) (void)tkr_ws_send(ws, false, "hello", 5);
    say(user, "ws_open", "");
    return user;
}

static void on_ws_message(void *user, tkr_ws *ws, void *object, bool binary, const char *data, size_t size) {
    (void)object;
    char text[64] = "";
    if (size < sizeof text) memcpy(text, data, size);
    if (strncmp(text, "close ", 6) == 0) {
        tkr_ws_close(ws, (unsigned)strtoul(text + 6, NULL, 10), "as you wish");
    } else if (strncmp(text, "send ", 5) == 0) { /* so many messages, by another thread */
        tkr_ws_hold(ws);
        add_job(user, NULL, ws, strtoul(text + 5, NULL, 10), 0);
    } else if (strncmp(text, "big ", 4) == 0) { /* a message of so many bytes, and a note behind it */
        const size_t n = strtoul(text + 4, NULL, 10);
        char *big = calloc(n + 1, 1);
        if (!big) abort();
        if (!tkr_ws_send(ws, true, big, n) || !tkr_ws_send_note(ws, "sent", 4)) say(user, "ws_full", "");
        free(big);
    } else if (strncmp(text, "defer ", 6) == 0) { /* so many bytes, for half a second */
        const unsigned long n = strtoul(text + 6, NULL, 10);
        tkr_ws_hold(ws);
        tkr_ws_defer(ws, n);
        (void)tkr_ws_send(ws, false, "deferred", 8);
        add(user, (job){.ws = ws, .n = n, .undefer = true}, 0.5);
    } else if (strncmp(text, "keep ", 5) == 0) {
        (void)tkr_ws_send(ws, false, tkr_ws_keep(ws, strtoul(text + 5, NULL, 10)) ? "kept" : "full", 4);
    } else if (strncmp(text, "give ", 5) == 0) {
        tkr_ws_give_back(ws, strtoul(text + 5, NULL, 10));
        (void)tkr_ws_send(ws, false, "given", 5);
    } else if (strcmp(text, "pause") == 0) {
        tkr_ws_pause(ws, true);
        tkr_ws_pause(ws, false);
        (void)tkr_ws_send(ws, false, "paused", 6);
    } else if (!tkr_ws_send(ws, binary, data, size)) {
        say(user, "ws_full", "");
    }
}

static void on_ws_drained(void *user, tkr_ws *ws, void *object) {
    (void)ws;
    (void)object;
    say(user, "ws_drained", "");
}

static void on_ws_close(void *user, tkr_ws *ws, void *object) {
    (void)ws;
    (void)object;
    say(user, "ws_close", "");
}

static void on_tick(void *user) { (void)user; }
static void on_reload(void *user) { say(user, "reload", ""); }

static void on_terminate(void *user) {
    app *a = user;
    say(a, "terminate", "");
    tkr_transport_drain(a->transport, a->drain);
}

static void on_log(void *user, int level, const char *line) {
    (void)user;
    fprintf(stderr, "LOG %d %s\n", level, line);
}

/* ---- options ---- */

typedef struct setting {
    const char *name;
    double *real;
    size_t *size;
    const char **text;
} setting;

static void read_options(int argc, char **argv, app *a, tkr_transport_options *o, const char **addresses) {
    size_t loops = 1, mode = 0600;
    const setting settings[] = {{"--delay", &a->delay, NULL, NULL},
                                {"--drain", &a->drain, NULL, NULL},
                                {"--fail-every", NULL, &a->fail_every, NULL},
                                {"--max-body", NULL, &a->max_body, NULL},
                                {"--certificate", NULL, NULL, &o->tls_certificate},
                                {"--key", NULL, NULL, &o->tls_key},
                                {"--loops", NULL, &loops, NULL},
                                {"--unix-mode", NULL, &mode, NULL},
                                {"--max-head", NULL, &o->max_head, NULL},
                                {"--max-connections", NULL, &o->max_connections, NULL},
                                {"--max-per-peer", NULL, &o->max_connections_per_peer, NULL},
                                {"--read-timeout", &o->read_timeout, NULL, NULL},
                                {"--write-timeout", &o->write_timeout, NULL, NULL},
                                {"--idle-timeout", &o->idle_timeout, NULL, NULL},
                                {"--wait-timeout", &o->wait_timeout, NULL, NULL},
                                {"--ping-interval", &o->ping_interval, NULL, NULL},
                                {"--max-bodies", NULL, &o->max_bodies, NULL},
                                {"--max-message", NULL, &o->max_message, NULL},
                                {"--max-ws-queue", NULL, &o->max_ws_queue, NULL},
                                {"--max-ws", NULL, &o->max_ws, NULL},
                                {"--max-ws-per-peer", NULL, &o->max_ws_per_peer, NULL}};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quiet") == 0) a->quiet = true;
        if (strcmp(argv[i], "--compress") == 0) o->compress = true;
        if (i + 1 == argc) break;
        if (strcmp(argv[i], "--listen") == 0 && o->n_addresses < MAX_ADDRESSES) addresses[o->n_addresses++] = argv[++i];
        for (size_t k = 0; k < sizeof settings / sizeof *settings; k++) {
            if (strcmp(argv[i], settings[k].name) != 0) continue;
            if (settings[k].real) *settings[k].real = strtod(argv[i + 1], NULL);
            if (settings[k].size) *settings[k].size = strtoul(argv[i + 1], NULL, 0);
            if (settings[k].text) *settings[k].text = argv[i + 1];
        }
    }
    o->n_loops = (unsigned)loops;
    o->unix_mode = (unsigned)mode;
}

int main(int argc, char **argv) {
    const char *addresses[MAX_ADDRESSES];
    app a = {.delay = 0.005, .drain = 5, .max_body = 1 << 20};
    tkr_transport_options o = {.addresses = addresses,
                               .max_head = 16384,
                               .max_connections = 12000,
                               .read_timeout = 5,
                               .write_timeout = 5,
                               .idle_timeout = 60,
                               .wait_timeout = 60,
                               .max_message = 1 << 20,
                               .max_ws_queue = 2 << 20,
                               .max_ws = 1000,
                               .log = {on_log, NULL}};
    read_options(argc, argv, &a, &o, addresses);
    const tkr_http_app hooks = {.user = &a,
                                .head = on_head,
                                .request = on_request,
                                .gone = on_gone,
                                .fault = on_fault,
                                .release = on_release,
                                .sent = on_sent,
                                .ws_open = on_ws_open,
                                .ws_message = on_ws_message,
                                .ws_drained = on_ws_drained,
                                .ws_close = on_ws_close,
                                .tick = on_tick,
                                .reload = on_reload,
                                .terminate = on_terminate};
    tkr_error error = {.status = TKR_OK};
    tkr_thread *worker = NULL;
    tkr_mutex_init(&a.mutex);
    tkr_cond_init(&a.cond);
    fprintf(stderr, "LISTEN_FDS %zu\n", tkr_service_sockets());
    if (tkr_transport_create(&a.transport, &o, &hooks, &error) != TKR_OK ||
        tkr_thread_start(&worker, "worker", work, &a, &error) != TKR_OK) {
        fprintf(stderr, "ERROR %s\n", error.message);
        tkr_transport_free(&a.transport);
        return 1;
    }
    for (size_t i = 0; tkr_transport_url(a.transport, i); i++)
        fprintf(stderr, "URL %s\n", tkr_transport_url(a.transport, i));
    fprintf(stderr, "ready\n");
    if (a.fail_every > 0) tkr_seam_set(may_allocate, &a);
    const tkr_status status = tkr_transport_run(a.transport, &error);
    tkr_seam_set(NULL, NULL);
    tkr_mutex_lock(&a.mutex);
    a.stop = true;
    tkr_cond_signal(&a.cond);
    tkr_mutex_unlock(&a.mutex);
    tkr_thread_join(&worker);
    tkr_transport_free(&a.transport);
    tkr_cond_destroy(&a.cond);
    tkr_mutex_destroy(&a.mutex);
    fprintf(stderr, "ended %d\n", (int)status);
    return status == TKR_OK ? 0 : 1;
}
