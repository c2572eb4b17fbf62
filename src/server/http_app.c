/* SPDX-License-Identifier: Apache-2.0 */
/* server/http_app: what the transport asks of the application: routes, keys and limits before a body is read; the
 * fields that every answer has; the transport's own refusals in the API's words. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/address.h"
#include "core/file.h"
#include "server/parts.h"

static tkr_operation *op_of(const tkr_http_exchange *x) { return x->app; }

/* ---- fields of answers ---- */

/* A client's id is echoed when it can stand in a log and a header. */
static void name_request(tkr_operation *op) {
    const char *given = tkr_http_field_of(op->request, "x-request-id");
    size_t n = given ? strlen(given) : 0;
    for (size_t i = 0; i < n; i++)
        if (given[i] <= ' ' || given[i] > '~' || given[i] == '"' || given[i] == '\\') n = 0;
    if (n > 0 && n < sizeof op->request_id) {
        memcpy(op->request_id, given, n + 1);
        return;
    }
    uint64_t words[2] = {0};
    if (!tkr_random_bytes(words, sizeof words)) words[0] = (uint64_t)(op->request->began * 1e9);
    (void)snprintf(op->request_id, sizeof op->request_id, "%016llx%016llx", (unsigned long long)words[0],
                   (unsigned long long)words[1]);
}

static bool origin_allowed(const tkr_operation *op, const char *origin) {
    const tkr_setting_value *allowed = tkr_setting_of(op->server->settings, TKR_SET_CORS);
    for (size_t i = 0; i < allowed->n_list; i++)
        if (strcmp(allowed->list[i], "*") == 0 || strcmp(allowed->list[i], origin) == 0) return true;
    return false;
}

static void add_cors(tkr_operation *op) {
    const char *origin = tkr_http_field_of(op->request, "origin");
    if (!origin || !origin_allowed(op, origin)) return;
    tkr_http_add_field(op->response, "Access-Control-Allow-Origin", "%s", origin);
    tkr_http_add_field(op->response, "Vary", "Origin");
    tkr_http_add_field(op->response, "Access-Control-Expose-Headers",
                       "x-request-id, x-model, x-shape, x-dtype, x-rows, x-truncated, x-frames, x-truncated-inputs, "
                       "x-tkr-fingerprint, x-tkr-cache, x-total-time, x-queue-time, x-inference-time, retry-after, "
                       "retry-after-ms, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, "
                       "x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, "
                       "x-ratelimit-reset-tokens");
}

static uint64_t milliseconds(double seconds) { return seconds > 0 ? (uint64_t)(seconds * 1000 + 0.5) : 0; }

/* Where the time went, as Text Embeddings Inference tells it, and whose vectors these are. */
static void add_timings(tkr_operation *op) {
    const tkr_job *job = &op->job;
    const double total = tkr_now() - op->request->complete;
    size_t n_tokens = 0; /* cached ones too: what the reply says under "usage" */
    for (size_t i = 0; i < job->n_items; i++) n_tokens += job->items[i].n_tokens;
    tkr_http_response *r = op->response;
    tkr_http_add_field(r, "x-compute-type", "%s", strncmp(op->model->info->device, "cpu", 3) == 0 ? "cpu" : "gpu");
    tkr_http_add_field(r, "x-compute-time", "%" PRIu64, milliseconds(total));
    tkr_http_add_field(r, "x-compute-characters", "%zu", op->n_characters);
    tkr_http_add_field(r, "x-compute-tokens", "%zu", n_tokens);
    tkr_http_add_field(r, "x-total-time", "%" PRIu64, milliseconds(total));
    tkr_http_add_field(r, "x-tokenization-time", "%" PRIu64, milliseconds(job->tokenize_s));
    tkr_http_add_field(r, "x-queue-time", "%" PRIu64, milliseconds(job->queue_s));
    tkr_http_add_field(r, "x-inference-time", "%" PRIu64, milliseconds(job->forward_s + job->pictures_s));
    tkr_http_add_field(r, "x-tkr-fingerprint", "%s", op->model->info->fingerprint);
    if (op->server->cache) tkr_http_add_field(r, "x-tkr-cache", "%zu/%zu", op->n_cached, job->n_items);
}

static void add_common(tkr_operation *op) {
    tkr_http_response *response = op->response;
    tkr_http_add_field(response, "x-request-id", "%s", op->request_id);
    if (op->job.n_items > 0 && op->model && response->status == 200) add_timings(op);
    if (op->identity) tkr_auth_add_fields(&response->fields, op->server->auth, op->identity);
    if (response->status == 401) tkr_http_add_field(response, "WWW-Authenticate", "Bearer");
    add_cors(op);
    tkr_http_add_field(response, "X-Content-Type-Options", "nosniff");
}

/* ---- before the body ---- */

static void refuse_head(tkr_operation *op) {
    tkr_operation_fail(op);
    add_common(op);
}

/* A browser asks first whether a page of another origin may call. */
static bool answer_preflight(tkr_operation *op) {
    const char *origin = tkr_http_field_of(op->request, "origin");
    if (strcmp(op->request->method, "OPTIONS") != 0 || !origin ||
        !tkr_http_field_of(op->request, "access-control-request-method"))
        return false;
    op->response->status = origin_allowed(op, origin) ? 204 : 403;
    if (op->response->status == 204) {
        tkr_http_add_field(op->response, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
        /* Which fields a client sends is its own affair (openai's has a dozen): the origin is what is judged. */
        const char *wanted = tkr_http_field_of(op->request, "access-control-request-headers");
        tkr_http_add_field(op->response, "Access-Control-Allow-Headers", "%s",
                           wanted ? wanted : "authorization, content-type, x-api-key");
        tkr_http_add_field(op->response, "Vary", "Access-Control-Request-Headers");
        tkr_http_add_field(op->response, "Access-Control-Max-Age", "600");
    }
    add_common(op);
    return true;
}

/* The shape of errors on a path that has no route for this method, or none at all: an API's rather than a page's. */
static const tkr_handler *nearest_handler(const char *path) {
    const tkr_handler *found = NULL;
    for (size_t i = 0; i < tkr_n_routes; i++)
        if (strcmp(tkr_routes[i].path, path) == 0 && (!found || strcmp(tkr_routes[i].method, "POST") == 0))
            found = tkr_routes[i].handler;
    return found ? found : &tkr_handler_embed_text;
}

static bool find_route(tkr_operation *op) {
    char allow[64];
    const tkr_http_request *request = op->request;
    op->route = tkr_route_find(request->method, request->path, allow);
    op->handler = op->route ? op->route->handler : nearest_handler(request->path);
    if (op->route) return true;
    if (allow[0] == '\0') return tkr_refuse(op, NOT_FOUND, NULL, "no route %s; GET /docs lists them", request->path);
    tkr_http_add_field(op->response, "Allow", "%s", allow);
    return tkr_refuse(op, METHOD, NULL, "%s takes %s, not %s", request->path, allow, request->method);
}

static bool check_key(tkr_operation *op) {
    const tkr_http_request *request = op->request;
    const char *authorization = tkr_http_field_of(request, "authorization");
    double after = 0;
    if (request->listener == op->server->admin_listener) return true; /* who may open that socket may do all */
    const tkr_verdict verdict = tkr_auth_check(&op->identity, &after, op->server->auth, op->route->scope, authorization,
                                               tkr_http_field_of(request, "x-api-key"), request->peer);
    switch (verdict) {
    case TKR_PASS: return true;
    case TKR_NO_KEY:
        return tkr_refuse(op, UNAUTHORIZED, NULL, "%s",
                          authorization || tkr_http_field_of(request, "x-api-key")
                              ? "the API key is not valid"
                              : "an API key is needed: Authorization: Bearer KEY, or X-Api-Key: KEY");
    case TKR_WRONG_SCOPE: return tkr_refuse(op, FORBIDDEN, NULL, "this API key may not use %s", request->path);
    case TKR_TOO_FAST: break;
    }
    tkr_refuse(op, RATE, NULL, "too many requests or tokens a minute; go on in %.0f s", ceil(after));
    op->fault.retry_after_s = after;
    return false;
}

/* Whether "name", "name:port" or "[::1]:port" can't be made to point elsewhere: an address, or localhost. */
static bool is_fixed_name(const char *authority) {
    char name[64];
    unsigned char network[16];
    const bool bracket = *authority == '[';
    authority += bracket;
    const size_t n = strcspn(authority, bracket ? "]" : ":");
    if (n >= sizeof name) return false;
    memcpy(name, authority, n);
    name[n] = '\0';
    return tkr_address_is_loopback(name) || tkr_address_network(network, name);
}

/* A page elsewhere must not use a browser's way to a local server. What it asks by fetch it can't read (CORS); for
 * WebSockets there is no such rule (RFC 6455, 10.2); and a name of its own that is made to point here (DNS rebinding)
 * makes it this server's own page, which only a key would stop. An Origin without a name ("null": a page that hides its
 * referrer, a sandbox, a file) may be such a page, too. */
static bool check_origin(tkr_operation *op) {
    const char *origin = tkr_http_field_of(op->request, "origin");
    if (!origin || op->route->scope == TKR_SCOPE_NONE || origin_allowed(op, origin)) return true;
    const char *name = strstr(origin, "://"), *host = tkr_http_field_of(op->request, "host");
    const bool own = name && host && strcmp(name + 3, host) == 0, hidden = !name;
    if (!own && op->handler == &tkr_handler_web_socket)
        return tkr_refuse(op, FORBIDDEN, NULL,
                          "the origin %s may not open a WebSocket unless server.cors_origins names it", origin);
    if ((!own && !hidden) || op->identity || (host && is_fixed_name(host)) ||
        !tkr_address_is_loopback(op->request->peer))
        return true;
    return tkr_refuse(op, FORBIDDEN, NULL,
                      "pages of %s may not use a server without API keys by way of this machine unless "
                      "server.cors_origins names them",
                      origin);
}

static void on_head(void *user, tkr_http_exchange *x) {
    tkr_server *server = user;
    tkr_operation *op = tkr_arena_alloc(&x->arena, sizeof *op);
    if (!op) {
        x->response.status = 500;
        return;
    }
    x->app = op;
    op->server = server;
    op->exchange = x;
    op->request = &x->request;
    op->response = &x->response;
    op->arena = &x->arena;
    name_request(op);
    const bool routed = find_route(op);
    if (answer_preflight(op)) return;
    if (!routed || !check_key(op) || !check_origin(op)) {
        refuse_head(op);
        return;
    }
    x->max_body =
        op->handler->body == TKR_BODY_NONE ? 0 : (size_t)tkr_setting_of(server->settings, TKR_SET_MAX_BODY)->number;
    x->deadline = tkr_now() + tkr_setting_of(server->settings, TKR_SET_TIMEOUT)->real;
    if (op->handler != &tkr_handler_web_socket) return;
    if (x->upgrade) {
        x->response.status = 101;
    } else {
        tkr_http_add_field(&x->response, "Upgrade", "websocket");
        tkr_http_add_field(&x->response, "Sec-WebSocket-Version", "13");
        tkr_refuse(op, UPGRADE, NULL, "/ws speaks WebSocket: send Upgrade: websocket");
        refuse_head(op);
    }
}

/* ---- the request and after ---- */

static void finished(tkr_operation *op) {
    add_common(op);
    tkr_http_reply(op->exchange);
}

static void on_request(void *user, tkr_http_exchange *x) {
    (void)user;
    tkr_pipeline_start(op_of(x), finished);
}

static void on_gone(void *user, tkr_http_exchange *x) {
    (void)user;
    if (x->app) tkr_pipeline_cancel(op_of(x));
}

static void on_kept_back(void *user, tkr_http_exchange *x) {
    (void)user;
    if (x->app) tkr_operation_shrink(op_of(x));
}

static void on_release(void *user, tkr_http_exchange *x) {
    (void)user;
    if (x->app) tkr_operation_end(op_of(x));
}

static tkr_fault_kind kind_of_status(unsigned status) {
    for (int kind = 0; kind < TKR_N_FAULTS; kind++)
        if (tkr_fault_status((tkr_fault_kind)kind) == status) return (tkr_fault_kind)kind;
    return status < 500 ? TKR_FAULT_MALFORMED : TKR_FAULT_INTERNAL;
}

/* Of an operation that may be in another thread's hands: what no longer changes. */
static void copy_settled(tkr_operation *out, const tkr_operation *op) {
    memcpy(out->request_id, op->request_id, sizeof out->request_id);
    out->route = op->route;
    out->handler = op->route ? op->route->handler : NULL;
}

/* A copy of the operation writes the answer, in an arena of its own. */
static void on_fault(void *user, tkr_http_exchange *x, unsigned status, const char *why, tkr_http_response *out) {
    const tkr_operation *from = x->app;
    tkr_arena arena = {0};
    if (!from || !from->route) return;
    tkr_operation op = {.server = user, .exchange = x, .request = from->request, .response = out, .arena = &arena};
    copy_settled(&op, from);
    tkr_refuse_with(&op, kind_of_status(status), NULL, "%s", why);
    refuse_head(&op);
    tkr_arena_free(&arena);
}

static void on_sent(void *user, tkr_http_exchange *x, const tkr_http_response *response, size_t n_bytes) {
    tkr_server *server = user;
    const tkr_operation *op = x->app;
    tkr_operation settled = {0};
    const double total = tkr_now() - x->request.began;
    /* An answer of the transport's own leaves the operation to whoever works on it. */
    const tkr_operation *whole = response == &x->response ? op : NULL;
    if (op && !whole) {
        copy_settled(&settled, op);
        settled.identity = op->identity;
        tkr_refuse_with(&settled, kind_of_status(response->status), NULL, "refused by the transport");
    }
    tkr_metrics_operation(server->metrics, whole, response->status, total);
    tkr_logging_request(server->logging, op && !whole ? &settled : op, &x->request, response->status, n_bytes, total);
    if (whole) tkr_trace_operation(server->trace, whole, response->status, total);
}

void tkr_http_app_init(tkr_http_app *app, tkr_server *server) {
    app->user = server;
    app->head = on_head;
    app->request = on_request;
    app->gone = on_gone;
    app->fault = on_fault;
    app->kept_back = on_kept_back;
    app->release = on_release;
    app->sent = on_sent;
}
