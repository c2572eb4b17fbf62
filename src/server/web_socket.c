/* SPDX-License-Identifier: Apache-2.0 */
/* server/web_socket: the messages of /ws. A text frame is an object:
 *
 *   {"op": "embed", "id": 7, "items": [...] | "texts": [...] | "images": [...] | "videos": [...] |
 *    "documents": [...], options as in POST /embed/..., "encoding": "binary"?, "progress": true?}
 *                                                       -> {"embeddings": [...], "shape": ..., "id": 7}, when it is
 * done
 *   {"op": "ping", "id": 8}                             -> {"op": "pong", "id": 8}
 *   {"op": "cancel", "id": 7}                           -> {"op": "cancel", "id": 7, "found": true}, and 7's own error
 *
 * A binary frame is the length of such an object (4 bytes, little-endian), the object, and the bytes of the pictures,
 * videos or documents that its "media": [{"size": N, "type": "image"}, ...] lists; an item has them by number
 * ("media": 0 or [0, 1]), without items each is one. With "encoding": "binary" the reply comes that way, too: its
 * object, then the rows. Mistakes are answered as over HTTP, {"error": {...}, "id": 7}. Replies come as they are ready,
 * not in the order of the requests. */
#include "server/web_socket.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "server/parts.h"
#include "server/routes/embed.h"
#include "server/ws_message.h"

#define INLINE_BYTES 65536u /* of a message: reading more takes the crew's time, not the loop's */

/* A WebSocket. Lives until it is closed and its last request has been answered. */
typedef struct client {
    tkr_server *server;
    tkr_ws *ws;               /* held */
    tkr_http_request opening; /* what later operations need of it, in the arena */
    tkr_arena arena;
    char name[64];                           /* request id of the opening */
    tkr_mutex mutex;                         /* guards the rest */
    struct message *first;                   /* that are not answered yet */
    struct message *waiting, **last_waiting; /* that are done, but the peer must take earlier replies first */
    size_t n_messages, holders;
    uint64_t n_all;
    bool leaving; /* the server ends: no more requests, and it is closed behind the last reply */
    atomic_bool closed;
} client;

/* A message that asks for vectors. */
typedef struct message {
    client *client;
    char *data; /* owned: pictures borrow from it */
    size_t size;
    bool counted; /* its size, in the transport */
    bool binary;
    tkr_ws_pieces pieces;         /* of the data */
    const tkr_identity *identity; /* held */
    char id[TKR_WS_ID];           /* as JSON; "null" without; "" until it is known. By the client's mutex */
    bool binary_reply, progress;
    bool linked;       /* among the client's */
    bool late;         /* came when the server was ending */
    bool cancelled;    /* by the client's mutex */
    tkr_operation *op; /* by the client's mutex: while it may be cancelled */
    uint64_t number;
    struct message *previous, *next;
    tkr_buf reply;
    bool reply_is_binary;
    struct message *next_waiting; /* to be sent */
} message;

/* ---- clients ---- */

static void leave(client *c) {
    tkr_mutex_lock(&c->mutex);
    const bool last = --c->holders == 0;
    tkr_mutex_unlock(&c->mutex);
    if (last) {
        tkr_ws_release(c->ws);
        tkr_mutex_destroy(&c->mutex);
        tkr_arena_free(&c->arena);
        tkr_free(c);
    }
}

/* By the client's mutex. */
static void unlink_message(message *m) {
    client *c = m->client;
    m->op = NULL;
    m->linked = false;
    *(m->previous != NULL ? &m->previous->next : &c->first) = m->next;
    if (m->next != NULL) {
        m->next->previous = m->previous;
    }
    c->n_messages--;
}

/* What only its operation needs; counted bytes are given back. */
static void drop_data(message *m) {
    tkr_free(m->data);
    m->data = NULL;
    if (m->counted) {
        tkr_ws_give_back(m->client->ws, m->size);
    }
    m->counted = false;
}

static void close_leaving(const client *c) { tkr_ws_close(c->ws, 1001, "the server ends"); }

static void free_message(message *m) {
    client *c = m->client;
    tkr_mutex_lock(&c->mutex);
    if (m->linked) {
        unlink_message(m);
    }
    const bool last = c->leaving && c->n_messages == 0;
    tkr_mutex_unlock(&c->mutex);
    if (last) {
        close_leaving(c);
    }
    if (m->identity != NULL) {
        tkr_auth_release(c->server->auth, m->identity);
    }
    drop_data(m);
    tkr_buf_free(&m->reply);
    tkr_free(m);
    leave(c);
}

/* By the client's mutex. */
static message *find_message(client *c, const char *id) {
    message *m = c->first;
    while (m != NULL && strcmp(m->id, id) != 0) {
        m = m->next;
    }
    return m;
}

static void cancel_message(message *m) {
    m->cancelled = true;
    if (m->op != NULL) {
        tkr_pipeline_cancel(m->op);
    }
}

/* ---- replies ---- */

/* Of what is short. */
static void send_reply(client *c, const tkr_buf *text) {
    if (!atomic_load(&c->closed) && (text->failed || !tkr_ws_send_note(c->ws, text->data, text->size))) {
        tkr_ws_close(c->ws, 1011, "no memory for a reply");
    }
}

/* {"op": ..., "id": ...<more>} */
static void send_note(client *c, const char *op, const char *id, const char *more) {
    tkr_buf text = {0};
    tkr_buf_printf(&text, "{\"op\":\"%s\",\"id\":%s%s}", op, id, more);
    send_reply(c, &text);
    tkr_buf_free(&text);
}

/* A mistake before there is an operation. */
static void send_fault(client *c, const char *id, tkr_operation *spare) {
    tkr_api_native.error(spare);
    tkr_ws_add_id(&spare->response->body, id);
    send_reply(c, &spare->response->body);
    tkr_buf_free(&spare->response->body);
}

static bool render(tkr_operation *op) {
    const message *m = op->owner;
    return m->binary_reply ? tkr_ws_render_frame(op, m->id) : tkr_embed_render(op);
}

/* ---- a request's way ---- */

static void tell_progress(tkr_job *job, size_t done_items) {
    const tkr_operation *op = job->user;
    const message *m = op->owner;
    char text[TKR_WS_ID + 96];
    const int n = snprintf(text, sizeof text, "{\"op\":\"progress\",\"id\":%s,\"done\":%zu,\"total\":%zu}", m->id,
                           done_items, job->n_items);
    if (!atomic_load(&m->client->closed)) {
        (void)tkr_ws_send(m->client->ws, false, text, (size_t)n); /* one that doesn't fit is no loss */
    }
}

static bool parse(tkr_operation *op) {
    message *m = op->owner;
    client *c = m->client;
    tkr_mutex_lock(&c->mutex);
    const bool cancelled = m->cancelled;
    m->op = cancelled ? NULL : op; /* from here on the pipeline can be told */
    tkr_mutex_unlock(&c->mutex);
    if (cancelled) {
        return tkr_refuse(op, CANCELLED, NULL, "cancelled");
    }
    if (!tkr_ws_read_media(op, json_object_get(op->body, "media"), m->pieces.media, m->pieces.n_media)) {
        return false;
    }
    (void)json_object_del(op->body, "media");
    if (m->progress) {
        op->job.progress = tell_progress;
    }
    return tkr_embed_parse_any(op);
}

static const tkr_handler embed_handler = {.name = "web_socket_embed",
                                          .api = &tkr_api_native,
                                          .body = TKR_BODY_JSON,
                                          .parse = parse,
                                          .render = render,
                                          .wants_model = true};

/* Of requests with documents, which are read before there are inputs: that takes its time. */
static const tkr_handler documents_handler = {.name = "web_socket_document",
                                              .api = &tkr_api_native,
                                              .body = TKR_BODY_JSON,
                                              .parse = parse,
                                              .render = render,
                                              .blocks = true,
                                              .wants_model = true};

static bool refuse_upgrade(tkr_operation *op) {
    return tkr_refuse(op, UPGRADE, NULL, "/ws speaks WebSocket: send Upgrade: websocket");
}

const tkr_handler tkr_handler_web_socket = {
    .name = "web_socket", .api = &tkr_api_native, .body = TKR_BODY_NONE, .parse = refuse_upgrade};

/* By the client's mutex, so that its id is free before the peer can use it again. false: the peer must take earlier
 * replies first. */
static bool hand_over(message *m) {
    const client *c = m->client;
    if (!atomic_load(&c->closed) && !tkr_ws_send(c->ws, m->reply_is_binary, m->reply.data, m->reply.size)) {
        return false;
    }
    unlink_message(m);
    return true;
}

/* Hands over; false: it waits for room, and another thread may free it. */
static bool hand_over_or_wait(message *m) {
    client *c = m->client;
    tkr_mutex_lock(&c->mutex);
    const bool sent = c->waiting == NULL && hand_over(m);
    if (!sent) {
        drop_data(m); /* the reply may wait for long */
        tkr_ws_defer(c->ws, m->reply.room);
        *c->last_waiting = m;
        c->last_waiting = &m->next_waiting;
    }
    tkr_mutex_unlock(&c->mutex);
    return sent;
}

static void free_waiting(message *list) {
    for (message *m = list, *next; m != NULL; m = next) {
        next = m->next_waiting;
        free_message(m);
    }
}

static void finished(tkr_operation *op) {
    message *m = op->owner;
    client *c = m->client;
    const unsigned status = op->response->status;
    tkr_buf *body = &op->response->body;
    const double total = tkr_now() - op->request->began;
    if (!m->binary_reply || status != 200) {
        tkr_ws_add_id(body, m->id);
    }
    tkr_metrics_operation(c->server->metrics, op, status, total);
    tkr_logging_request(c->server->logging, op, op->request, status, body->size, total);
    tkr_trace_operation(c->server->trace, op, status, total);
    tkr_mutex_lock(&c->mutex);
    m->op = NULL; /* nobody cancels what is being freed */
    m->reply = *body;
    m->reply_is_binary = m->binary_reply && status == 200;
    *body = (tkr_buf){0};
    tkr_mutex_unlock(&c->mutex);
    tkr_operation_free(&op); /* the reply may wait for long, what it took to write it needn't */
    if (m->reply.failed || hand_over_or_wait(m)) {
        if (m->reply.failed) {
            tkr_ws_close(c->ws, 1011, "no memory for a reply");
        }
        free_message(m);
    }
}

static void on_drained(void *user, tkr_ws *ws, void *app) {
    client *c = app;
    (void)user;
    tkr_mutex_lock(&c->mutex);
    message *sent = c->waiting, **end = &sent;
    while (*end != NULL && hand_over(*end)) {
        tkr_ws_undefer(ws, (*end)->reply.room);
        end = &(*end)->next_waiting;
    }
    c->waiting = *end;
    if (c->waiting == NULL) {
        c->last_waiting = &c->waiting;
    }
    *end = NULL;
    tkr_mutex_unlock(&c->mutex);
    free_waiting(sent);
}

/* ---- reading a message ---- */

/* "encoding" and "progress": fields of the WebSocket alone. */
static bool read_manner(message *m, tkr_operation *spare, const json_t *body) {
    static const char *const encodings[] = {"json", "binary", NULL};
    tkr_fields fields;
    size_t encoding = 0;
    if (!tkr_fields_of(&fields, spare, body, "") || !tkr_fields_word(&encoding, &fields, "encoding", encodings) ||
        !tkr_fields_bool(&m->progress, &fields, "progress")) {
        return false;
    }
    m->binary_reply = encoding == 1;
    return true;
}

/* The key may have been taken back since the opening, and each request counts. */
static bool check_key(message *m, tkr_operation *spare) {
    tkr_server *server = m->client->server;
    const tkr_http_request *request = &m->client->opening;
    double after = 0;
    if (request->listener == server->admin_listener) {
        return true;
    }
    switch (tkr_auth_check(&m->identity, &after, server->auth, TKR_SCOPE_EMBED,
                           tkr_http_field_of(request, "authorization"), tkr_http_field_of(request, "x-api-key"),
                           request->peer)) {
    case TKR_PASS: return true;
    case TKR_TOO_FAST:
        tkr_refuse(spare, RATE, NULL, "too many requests or tokens a minute; go on in %.0f s", after);
        spare->fault.retry_after_s = after;
        return false;
    default: return tkr_refuse(spare, UNAUTHORIZED, NULL, "the API key is not valid any more");
    }
}

/* It stays in memory until it is answered. false after tkr_refuse. */
static bool count_message(message *m, tkr_operation *spare) {
    m->counted = tkr_ws_keep(m->client->ws, m->size);
    if (!m->counted) {
        tkr_refuse(spare, OVERLOADED, NULL, "too many large requests are in memory");
        spare->fault.retry_after_s = 1;
    }
    return m->counted;
}

/* Counts the message among those to be answered; false after tkr_refuse. */
static bool admit(message *m, tkr_operation *spare, const char *id) {
    client *c = m->client;
    const size_t most = (size_t)tkr_setting_of(c->server->settings, TKR_SET_WS_IN_FLIGHT)->number;
    tkr_mutex_lock(&c->mutex);
    const bool taken = strcmp(id, "null") != 0 && find_message(c, id) != NULL;
    const bool full = c->n_messages > most;
    if (!taken && !full && !m->late) {
        memcpy(m->id, id, TKR_WS_ID);
    }
    tkr_mutex_unlock(&c->mutex);
    if (m->late) {
        return tkr_refuse(spare, UNAVAILABLE, NULL, "the server ends");
    }
    if (full) {
        tkr_refuse(spare, OVERLOADED, NULL, "%zu requests of this WebSocket wait for their answers already", most);
        spare->fault.retry_after_s = 0.1;
    }
    return !full && (!taken || tkr_refuse(spare, CONFLICT, "id", "id: %.80s is still being answered", id)) &&
           (m->counted || count_message(m, spare));
}

/* Starts what the body asks for, and then owns body and message. */
static bool start_embed(message *m, tkr_operation *spare, const char *id, json_t **body) {
    static const char *const own_fields[] = {"op", "id", "encoding", "progress"};
    client *c = m->client;
    if (!admit(m, spare, id) || !read_manner(m, spare, *body) || !check_key(m, spare)) {
        return false;
    }
    for (size_t i = 0; i < sizeof own_fields / sizeof *own_fields; i++) {
        (void)json_object_del(*body, own_fields[i]);
    }
    const tkr_handler *handler = tkr_ws_has_documents(*body) ? &documents_handler : &embed_handler;
    tkr_operation *op = tkr_operation_create(c->server, &c->opening, m->identity, handler, *body);
    *body = NULL;
    if (op == NULL) {
        return tkr_refuse(spare, INTERNAL, NULL, "no memory for the request");
    }
    op->owner = m;
    memcpy(op->request_id, spare->request_id, sizeof op->request_id);
    tkr_pipeline_start(op, finished);
    return true;
}

static void cancel(client *c, const char *id) {
    tkr_mutex_lock(&c->mutex);
    message *found = strcmp(id, "null") != 0 ? find_message(c, id) : NULL;
    if (found != NULL) {
        cancel_message(found);
    }
    tkr_mutex_unlock(&c->mutex);
    send_note(c, "cancel", id, found != NULL ? ",\"found\":true" : ",\"found\":false");
}

static bool read_object(json_t **body, tkr_operation *spare, message *m) {
    tkr_error error;
    m->pieces = (tkr_ws_pieces){.object = m->data, .n_object = m->size};
    if (m->binary && !tkr_ws_split(&m->pieces, spare, m->data, m->size)) {
        return false;
    }
    const tkr_status status = tkr_json_parse(body, m->pieces.object, m->pieces.n_object, "message", &error);
    if (status != TKR_OK) {
        return status == TKR_NO_MEMORY ? tkr_refuse(spare, INTERNAL, NULL, "%s", error.message)
                                       : tkr_refuse(spare, MALFORMED, NULL, "%s", error.message);
    }
    return json_is_object(*body) ||
           tkr_refuse(spare, TYPE, NULL, "the message is %s, expected an object", tkr_json_type_name(*body));
}

/* Answers the message, or starts to; false after tkr_refuse. *started: the message belongs to its operation. */
static bool answer(message *m, tkr_operation *spare, char id[TKR_WS_ID], json_t **body, bool *started) {
    static const char *const ops[] = {"embed", "ping", "cancel", NULL};
    const json_t *given;
    tkr_fields fields;
    size_t op = 0;
    if (!read_object(body, spare, m) || !tkr_ws_read_id(id, spare, *body) ||
        !tkr_fields_of(&fields, spare, *body, "") || !tkr_fields_require(&given, &fields, "op") ||
        !tkr_fields_word(&op, &fields, "op", ops)) {
        return false;
    }
    if (op == 1) {
        send_note(m->client, "pong", id, "");
    } else if (op == 2) {
        cancel(m->client, id);
    } else {
        *started = start_embed(m, spare, id, body);
        return *started;
    }
    return true;
}

static void read_message(void *arg) {
    message *m = arg;
    client *c = m->client;
    char id[TKR_WS_ID] = "null";
    json_t *body = NULL;
    bool started = false;
    tkr_http_response response = {0};
    tkr_operation spare = {.server = c->server, .response = &response};
    (void)snprintf(spare.request_id, sizeof spare.request_id, "%.40s-%llu", c->name, (unsigned long long)m->number);
    if (!answer(m, &spare, id, &body, &started)) {
        send_fault(c, id, &spare);
    }
    json_decref(body);
    if (!started) {
        free_message(m);
    }
}

/* ---- the transport's calls ---- */

static void *on_open(void *user, tkr_ws *ws, tkr_http_exchange *x) {
    client *c = tkr_calloc(1, sizeof *c);
    const tkr_operation *op = x->app;
    if (c == NULL || !tkr_ws_copy_opening(&c->opening, &c->arena, &x->request)) {
        if (c != NULL) {
            tkr_arena_free(&c->arena);
        }
        tkr_free(c);
        return NULL;
    }
    tkr_mutex_init(&c->mutex);
    tkr_ws_hold(ws);
    c->server = user;
    c->ws = ws;
    c->holders = 1;
    c->last_waiting = &c->waiting;
    if (op != NULL) {
        memcpy(c->name, op->request_id, sizeof c->name);
    }
    return c;
}

/* A message among those to be answered; NULL without memory, or with `count` and no room for it. */
static message *add_message(client *c, bool binary, const char *data, size_t size, bool count) {
    if (count && !tkr_ws_keep(c->ws, size)) {
        return NULL;
    }
    message *m = tkr_calloc(1, sizeof *m);
    if (m == NULL || (m->data = tkr_malloc(size + 1)) == NULL) {
        tkr_free(m);
        if (count) {
            tkr_ws_give_back(c->ws, size);
        }
        return NULL;
    }
    m->counted = count;
    if (size > 0) {
        memcpy(m->data, data, size);
    }
    m->data[size] = '\0';
    m->size = size;
    m->binary = binary;
    m->client = c;
    tkr_mutex_lock(&c->mutex);
    m->number = ++c->n_all;
    m->late = c->leaving;
    m->linked = true;
    m->next = c->first;
    if (c->first != NULL) {
        c->first->previous = m;
    }
    c->first = m;
    c->n_messages++;
    c->holders++;
    tkr_mutex_unlock(&c->mutex);
    return m;
}

/* Large messages wait for the crew; too many of them, or no memory, and there is no reading who asked. */
static void on_message(void *user, tkr_ws *ws, void *app, bool binary, const char *data, size_t size) {
    client *c = app;
    tkr_server *server = user;
    const size_t most = (size_t)tkr_setting_of(server->settings, TKR_SET_WS_IN_FLIGHT)->number;
    (void)ws;
    tkr_mutex_lock(&c->mutex);
    const bool large = size > INLINE_BYTES, room = !large || c->n_messages < most;
    tkr_mutex_unlock(&c->mutex);
    message *m = room ? add_message(c, binary, data, size, large) : NULL; /* others count once they are admitted */
    if (m != NULL && !large) {
        read_message(m);
    } else if (m == NULL || !tkr_crew_run(server->crew, read_message, m)) {
        tkr_http_response response = {0};
        tkr_operation spare = {.server = server, .response = &response};
        tkr_refuse(&spare, OVERLOADED, NULL, "too many requests wait already for this one to be read");
        spare.fault.retry_after_s = 0.1;
        send_fault(c, "null", &spare);
        if (m != NULL) {
            free_message(m);
        }
    }
}

static void on_drain(void *user, tkr_ws *ws, void *app) {
    client *c = app;
    (void)user;
    (void)ws;
    tkr_mutex_lock(&c->mutex);
    c->leaving = true;
    const bool idle = c->n_messages == 0;
    tkr_mutex_unlock(&c->mutex);
    if (idle) {
        close_leaving(c);
    }
}

static void on_close(void *user, tkr_ws *ws, void *app) {
    client *c = app;
    (void)user;
    (void)ws;
    atomic_store(&c->closed, true);
    tkr_mutex_lock(&c->mutex);
    for (message *m = c->first; m != NULL; m = m->next) {
        cancel_message(m);
    }
    message *waiting = c->waiting;
    c->waiting = NULL;
    c->last_waiting = &c->waiting;
    tkr_mutex_unlock(&c->mutex);
    free_waiting(waiting);
    leave(c);
}

void tkr_web_socket_app_init(tkr_http_app *app) {
    app->ws_open = on_open;
    app->ws_message = on_message;
    app->ws_drained = on_drained;
    app->ws_drain = on_drain;
    app->ws_close = on_close;
}
