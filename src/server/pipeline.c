/* SPDX-License-Identifier: Apache-2.0 */
/* server/pipeline: the steps of an operation and which thread takes them. */
#include "server/pipeline.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/file.h"
#include "server/multipart.h"
#include "server/parts.h"
#include "server/pipeline_internal.h"
#include "server/read.h"

#define INLINE_BYTES 65536u  /* of a body: parsing more takes the crew's time, not the loop's */
#define INLINE_VALUES 16384u /* of vectors: writing more */

/* An operation that no exchange carries. */
typedef struct own_operation {
    tkr_operation op;
    tkr_http_request request;
    tkr_http_response response;
    tkr_arena arena;
} own_operation;

/* ---- the end ---- */

void tkr_operation_fail(tkr_operation *op) {
    tkr_http_response *response = op->response;
    const tkr_fault *fault = &op->fault;
    response->body.size = 0;
    response->body.failed = false;
    response->status = 0;
    op->handler->api->error(op);
    if (response->status == 0 || response->body.failed) {
        response->status = response->status ? response->status : tkr_fault_status(fault->kind);
        response->body.size = 0;
    }
    if (fault->kind == TKR_FAULT_RATE || fault->kind == TKR_FAULT_OVERLOADED || fault->kind == TKR_FAULT_UNAVAILABLE) {
        const double after = fault->retry_after_s > 0 ? fault->retry_after_s : 1;
        tkr_http_add_field(response, "Retry-After", "%.0f", ceil(after));
        tkr_http_add_field(response, "retry-after-ms", "%.0f", ceil(after * 1000));
        response->again = after;
    }
}

/* A reply stays in memory until its client has taken it: one of more than max_reply can't. */
static void finish(tkr_operation *op) {
    const size_t n = op->response->body.size, most = op->server->max_reply;
    if (most > 0 && n > most) {
        tkr_buf_free(&op->response->body);
        tkr_refuse(op, TOO_LARGE, NULL,
                   "the reply has %zu bytes, at most %zu may wait for a client: ask for less at a time", n, most);
        tkr_operation_fail(op);
    }
    tkr_pipeline_run_of(op)->finished(op);
}

void tkr_pipeline_fail(tkr_operation *op) {
    tkr_operation_fail(op);
    finish(op);
}

/* Goes on with `step` on one of the crew's threads. */
static void go_on(tkr_operation *op, tkr_crew *crew, void (*step)(void *arg)) {
    tkr_pipeline_run_of(op)->on_crew = true;
    if (tkr_crew_run(crew, step, op)) return;
    tkr_refuse(op, OVERLOADED, NULL, "the server has too much to prepare at the moment");
    op->fault.retry_after_s = 1;
    tkr_pipeline_fail(op);
}

bool tkr_pipeline_is_cancelled(tkr_operation *op) {
    if (!atomic_load(&tkr_pipeline_run_of(op)->cancelled)) return false;
    tkr_refuse(op, CANCELLED, NULL, "the request was cancelled");
    return true;
}

/* ---- last step: the reply ---- */

static void keep_results(tkr_operation *op) {
    tkr_cache *cache = op->server->cache;
    const tkr_pipeline_run *r = tkr_pipeline_run_of(op);
    size_t n_tokens = 0;
    for (size_t i = 0; i < op->job.n_items; i++) {
        const tkr_job_item *item = &op->job.items[i];
        if (item->cached || !item->rows) continue; /* failed, or its job ended before its turn */
        n_tokens += item->n_tokens;
        if (!cache || !r->keyed || !r->keyed[i]) continue;
        const tkr_cached value = {.rows = item->rows,
                                  .n_rows = item->n_rows,
                                  .dimensions = item->dimensions,
                                  .n_tokens = item->n_tokens,
                                  .n_tokens_untruncated = item->n_tokens_untruncated};
        tkr_cache_put(cache, &r->keys[i], &value);
    }
    if (op->identity && n_tokens) tkr_auth_count_tokens(op->server->auth, op->identity, n_tokens);
}

void tkr_pipeline_name_item(char out[64], const tkr_operation *op, size_t index) {
    (void)snprintf(out, 64, op->job.n_items == 1 ? "%s" : "%s[%zu]", op->items_name ? op->items_name : "input", index);
}

/* An input's failure is its request's: the first one is told. */
static bool check_results(tkr_operation *op) {
    const tkr_job *job = &op->job;
    char name[64];
    if (job->status == TKR_CANCELLED) return tkr_refuse(op, CANCELLED, NULL, "the request was cancelled");
    if (job->status == TKR_DEADLINE)
        return tkr_refuse(
            op, UNAVAILABLE, NULL,
            "the answer wasn't ready within the %.0f seconds of server.timeout; fewer inputs in a request take less",
            tkr_setting_of(op->server->settings, TKR_SET_TIMEOUT)->real);
    if (job->status != TKR_OK) return tkr_refuse(op, INTERNAL, NULL, "%s", tkr_status_text(job->status));
    for (size_t i = 0; i < job->n_items; i++) {
        const tkr_job_item *item = &job->items[i];
        if (item->status == TKR_OK) continue;
        tkr_pipeline_name_item(name, op, i);
        tkr_refuse_with(op, tkr_fault_of_status(item->status), name, "%s",
                        item->message ? item->message : tkr_status_text(item->status));
        return false;
    }
    return true;
}

static void step_render(void *arg) {
    tkr_operation *op = arg;
    keep_results(op);
    if (tkr_pipeline_is_cancelled(op) || !check_results(op) || !op->handler->render(op)) {
        tkr_pipeline_fail(op);
        return;
    }
    if (op->response->body.failed) {
        tkr_refuse(op, INTERNAL, NULL, "no memory for the reply");
        tkr_pipeline_fail(op);
        return;
    }
    finish(op);
}

static void render_posted(tkr_http_exchange *x) { step_render(x->app); }

/* Whether the reply takes too much of the loop's time. */
static bool is_large(const tkr_operation *op) {
    size_t n_values = 0;
    for (size_t i = 0; i < op->job.n_items; i++) n_values += op->job.items[i].n_rows * op->job.items[i].dimensions;
    /* To tell how long a text is that was too long takes as long as it is. */
    return n_values > INLINE_VALUES || op->request->n_body > INLINE_BYTES;
}

/* From the scheduler's thread: hands over. */
static void job_done(tkr_job *job) {
    tkr_operation *op = job->user;
    if ((!op->exchange || is_large(op)) && tkr_crew_run(op->server->crew, step_render, op)) return;
    if (op->exchange)
        tkr_http_post(op->exchange, render_posted);
    else
        step_render(op); /* the crew is full: late is better than lost */
}

/* ---- admission ---- */

void tkr_pipeline_submit(tkr_operation *op) {
    tkr_server *server = op->server;
    tkr_pipeline_run *r = tkr_pipeline_run_of(op);
    tkr_job *job = &op->job;
    bool wanted = false;
    for (size_t i = 0; i < job->n_items && !wanted; i++) wanted = !job->items[i].cached;
    if (!wanted) { /* no inputs, or all from the cache */
        if (r->on_crew || !is_large(op) || !tkr_crew_run(server->crew, step_render, op)) step_render(op);
        return;
    }
    job->model = op->model;
    job->done = job_done;
    job->user = op;
    if (job->deadline <= 0)
        job->deadline = op->exchange && op->exchange->deadline > 0
                            ? op->exchange->deadline
                            : tkr_now() + tkr_setting_of(server->settings, TKR_SET_TIMEOUT)->real;
    double retry_after = 0;
    tkr_error error;
    atomic_store(&r->submitted, true); /* first: a cancellation from here on reaches the job, too */
    if (tkr_pipeline_is_cancelled(op)) {
        tkr_pipeline_fail(op);
        return;
    }
    const tkr_status status = tkr_scheduler_submit(server->scheduler, job, &retry_after, &error);
    if (status == TKR_OK) return; /* the job may be done, and the operation freed, already */
    const tkr_fault_kind kind = status == TKR_LIMIT      ? TKR_FAULT_OVERLOADED
                                : status == TKR_DEADLINE ? TKR_FAULT_UNAVAILABLE
                                                         : tkr_fault_of_status(status);
    tkr_refuse_with(op, kind, NULL, "%s", error.message);
    op->fault.retry_after_s = retry_after;
    tkr_pipeline_fail(op);
}

/* ---- the cache ---- */

static void take(tkr_job_item *item, const tkr_cached *found) {
    item->rows = found->rows;
    item->n_rows = found->n_rows;
    item->dimensions = found->dimensions;
    item->n_tokens = found->n_tokens;
    item->n_tokens_untruncated = found->n_tokens_untruncated;
    item->status = TKR_OK;
    item->cached = true;
}

/* One question for all that memory doesn't have. */
static void look_far(tkr_operation *op) {
    const tkr_pipeline_run *r = tkr_pipeline_run_of(op);
    const size_t n = op->job.n_items - op->n_cached;
    tkr_cache_key *keys = tkr_arena_alloc(op->arena, n * sizeof *keys);
    tkr_cached *values = tkr_arena_alloc(op->arena, n * sizeof *values);
    bool *found = tkr_arena_alloc(op->arena, n * sizeof *found);
    size_t *items = tkr_arena_alloc(op->arena, n * sizeof *items), n_keys = 0;
    if (!keys || !values || !found || !items) return;
    for (size_t i = 0; i < op->job.n_items; i++) {
        if (op->job.items[i].cached || !r->keyed[i]) continue;
        items[n_keys] = i;
        keys[n_keys++] = r->keys[i];
    }
    tkr_cache_get_far(values, found, op->server->cache, keys, n_keys);
    for (size_t i = 0; i < n_keys; i++) {
        if (!found[i]) continue;
        take(&op->job.items[items[i]], &values[i]);
        op->n_cached++;
    }
}

static void step_cache(void *arg) {
    tkr_operation *op = arg;
    tkr_pipeline_run *r = tkr_pipeline_run_of(op);
    tkr_cache *cache = op->server->cache;
    const size_t n = op->job.n_items;
    if (cache && n > 0 && op->model) {
        r->keys = tkr_operation_alloc(op, n * sizeof *r->keys);
        r->keyed = tkr_operation_alloc(op, n * sizeof *r->keyed);
        if (!r->keys || !r->keyed) {
            tkr_pipeline_fail(op);
            return;
        }
        for (size_t i = 0; i < n; i++) {
            tkr_job_item *item = &op->job.items[i];
            tkr_cached found;
            r->keyed[i] = tkr_cache_key_of(&r->keys[i], op->model->info, op->job.kind, &item->input, &item->options);
            if (!r->keyed[i] || !tkr_cache_get(&found, cache, &r->keys[i])) continue;
            take(item, &found);
            op->n_cached++;
        }
        if (tkr_cache_has_far(cache) && op->n_cached < n && r->on_crew) look_far(op);
    }
    tkr_pipeline_pictures(op);
}

/* ---- the handler ---- */

static void step_parse(void *arg) {
    tkr_operation *op = arg;
    const bool fine = !tkr_pipeline_is_cancelled(op) && op->handler->parse(op);
    if (!fine) {
        tkr_pipeline_fail(op);
        return;
    }
    if (op->response->status != 0) {
        finish(op);
        return;
    }
    tkr_pipeline_run *r = tkr_pipeline_run_of(op);
    const tkr_cache *cache = op->server->cache;
    const bool slow =
        tkr_pipeline_count_pictures(&op->job) > 0 || (cache && tkr_cache_has_far(cache) && op->job.n_items > 0);
    if (slow && !r->on_crew)
        go_on(op, op->server->crew, step_cache);
    else
        step_cache(op);
}

/* ---- the model ---- */

static void step_wake(void *arg) {
    tkr_operation *op = arg;
    tkr_error error;
    const tkr_status status = tkr_models_wake(op->server->models, op->model, &error);
    if (status != TKR_OK) {
        tkr_refuse(op, UNAVAILABLE, "model", "%s", error.message);
        tkr_pipeline_fail(op);
        return;
    }
    go_on(op, op->server->crew, step_parse); /* the loader's thread has other models to load */
}

static void step_model(tkr_operation *op) {
    tkr_server *server = op->server;
    tkr_error error;
    const json_t *name = json_object_get(op->body, "model");
    if (op->handler->body == TKR_BODY_NONE && !tkr_read_query_text(&op->model_name, op, "model")) {
        tkr_pipeline_fail(op);
        return;
    }
    if (name && json_is_string(name))
        op->model_name = json_string_value(name);
    else if (name && !json_is_null(name)) {
        tkr_refuse(op, TYPE, "model", "\"model\" is %s, expected a string", tkr_json_type_name(name));
        tkr_pipeline_fail(op);
        return;
    }
    const tkr_status status = tkr_models_hold(&op->model, server->models, op->model_name, &error);
    if (status == TKR_BUSY && atomic_load(&server->phase) == TKR_PHASE_LOADING) {
        tkr_refuse(op, UNAVAILABLE, "model", "the model is being loaded");
        tkr_pipeline_fail(op);
    } else if (status == TKR_BUSY) {
        go_on(op, server->loader, step_wake);
    } else if (status != TKR_OK) {
        tkr_refuse_with(op, status == TKR_NOT_FOUND ? TKR_FAULT_NO_MODEL : tkr_fault_of_status(status), "model", "%s",
                        error.message);
        tkr_pipeline_fail(op);
    } else {
        step_parse(op);
    }
}

/* ---- the body ---- */

static bool is_json_type(const char *type) {
    const size_t n = strcspn(type, "; \t");
    return (n == 16 && strncasecmp(type, "application/json", n) == 0) ||
           (n > 5 && strncasecmp(type + n - 5, "+json", 5) == 0);
}

/* Sets op->body, of forms also op->form. */
static bool read_body(tkr_operation *op) {
    const tkr_http_request *request = op->request;
    const tkr_handler *handler = op->handler;
    const char *type = tkr_http_field_of(request, "content-type");
    if (handler->body == TKR_BODY_NONE || handler->body == TKR_BODY_IGNORED || op->body) return true;
    if (handler->body == TKR_BODY_EITHER && type && strncasecmp(type, "multipart/form-data", 19) == 0)
        return tkr_form_read(op);
    if (!handler->api->any_content_type && (!type || !is_json_type(type)))
        return tkr_refuse(op, MEDIA_TYPE, NULL, "Content-Type is %s%s%s, expected application/json%s", type ? "\"" : "",
                          type ? type : "missing", type ? "\"" : "",
                          handler->body == TKR_BODY_EITHER ? " or multipart/form-data" : "");
    if (request->n_body == 0) return tkr_refuse(op, MALFORMED, NULL, "the body is empty, expected JSON");
    tkr_error error;
    const tkr_status status = tkr_json_parse(&op->body, request->body, request->n_body, "body", &error);
    if (status == TKR_NO_MEMORY) return tkr_refuse(op, INTERNAL, NULL, "%s", error.message);
    if (status != TKR_OK) return tkr_refuse(op, MALFORMED, NULL, "%s", error.message);
    return true;
}

static void step_body(void *arg) {
    tkr_operation *op = arg;
    if (tkr_pipeline_is_cancelled(op) || !read_body(op)) {
        tkr_pipeline_fail(op);
        return;
    }
    if (op->body && op->route) op->handler = tkr_dialect_find(op->route, op->body);
    if (op->handler->wants_model)
        step_model(op);
    else
        step_parse(op);
}

void tkr_pipeline_start(tkr_operation *op, void (*finished)(tkr_operation *op)) {
    tkr_pipeline_run *r = op->pipeline = tkr_arena_alloc(op->arena, sizeof *r);
    if (!r) {
        tkr_refuse(op, INTERNAL, NULL, "no memory for the request");
        tkr_operation_fail(op);
        finished(op);
        return;
    }
    r->finished = finished;
    if (op->handler->blocks || (!op->body && op->request->n_body > INLINE_BYTES))
        go_on(op, op->server->crew, step_body);
    else
        step_body(op);
}

void tkr_pipeline_cancel(tkr_operation *op) {
    tkr_pipeline_run *r = tkr_pipeline_run_of(op);
    if (!r) return;
    atomic_store(&r->cancelled, true);
    if (atomic_load(&r->submitted)) tkr_scheduler_cancel(op->server->scheduler, &op->job);
}

void tkr_operation_shrink(tkr_operation *op) {
    tkr_pipeline_free_pictures(op);
    tkr_job_free_results(&op->job);
    json_decref(op->body);
    op->body = NULL;
    op->model_name = NULL; /* in the body */
}

void tkr_operation_end(tkr_operation *op) {
    tkr_operation_shrink(op);
    if (op->model) tkr_models_release(op->server->models, op->model);
    if (op->identity) tkr_auth_release(op->server->auth, op->identity);
    op->model = NULL;
    op->identity = NULL;
    op->pipeline = NULL;
}

/* ---- without an exchange ---- */

tkr_operation *tkr_operation_create(tkr_server *server, const tkr_http_request *request, const tkr_identity *identity,
                                    const tkr_handler *handler, json_t *body) {
    own_operation *own = tkr_calloc(1, sizeof *own);
    if (!own) {
        json_decref(body);
        return NULL;
    }
    tkr_operation *op = &own->op;
    tkr_http_field *fields = tkr_arena_alloc(&own->arena, sizeof *fields);
    const char *parent = tkr_http_field_of(request, "traceparent");
    own->request.method = tkr_arena_strndup(&own->arena, request->method, strlen(request->method));
    own->request.path = tkr_arena_strndup(&own->arena, request->path, strlen(request->path));
    own->request.peer = tkr_arena_strndup(&own->arena, request->peer, strlen(request->peer));
    own->request.query = "";
    own->request.listener = request->listener;
    own->request.began = own->request.complete = tkr_now();
    if (fields && parent) {
        *fields = (tkr_http_field){"traceparent", tkr_arena_strndup(&own->arena, parent, strlen(parent))};
        own->request.fields = fields;
        own->request.n_fields = fields->value != NULL;
    }
    if (!fields || !own->request.method || !own->request.path || !own->request.peer) {
        json_decref(body);
        tkr_arena_free(&own->arena);
        tkr_free(own);
        return NULL;
    }
    op->server = server;
    op->request = &own->request;
    op->response = &own->response;
    op->arena = &own->arena;
    op->handler = handler;
    op->body = body;
    op->identity = tkr_auth_retain(server->auth, identity);
    return op;
}

void tkr_operation_free(tkr_operation **out) {
    if (!out || !*out) return;
    own_operation *own = (own_operation *)*out; /* its first member */
    tkr_operation_end(&own->op);
    tkr_buf_free(&own->response.fields);
    tkr_buf_free(&own->response.body);
    tkr_arena_free(&own->arena);
    tkr_free(own);
    *out = NULL;
}
