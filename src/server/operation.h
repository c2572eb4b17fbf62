/* SPDX-License-Identifier: Apache-2.0 */
/* server/operation: one request of any API on its way: parse -> validate -> cache, pictures -> admission -> batch ->
 * reply. What routes see; they know neither sockets nor threads. */
#ifndef TKR_SERVER_OPERATION_H
#define TKR_SERVER_OPERATION_H

#include "core/json.h"
#include "server/auth.h"
#include "server/schedule.h"
#include "server/transport.h"

typedef struct tkr_server tkr_server;
typedef struct tkr_operation tkr_operation;

/* ---- mistakes ---- */

/* What can be wrong, for every API. X(name, HTTP status that APIs without one of their own use, word).
 * The word is the machine-readable code of the native error shape. */
#define TKR_FAULT_LIST(X)                                                                     \
    X(MALFORMED, 400, "malformed")      /* no JSON, no multipart, bad UTF-8, duplicate key */ \
    X(TYPE, 400, "wrong_type")          /* a field of the wrong type, or missing */           \
    X(VALUE, 400, "invalid_value")      /* out of range, unknown word */                      \
    X(EMPTY, 400, "empty")              /* no inputs, an empty input where that is refused */ \
    X(TOO_MANY, 422, "too_many_inputs") /* inputs or pictures beyond a limit */               \
    X(TOO_LONG, 422, "too_many_tokens") /* a text beyond the model's limit, not truncated */  \
    X(MEDIA, 422, "bad_media")          /* a file that can't be decoded or fetched */         \
    X(UNSUPPORTED, 422, "unsupported")  /* the model can't do that */                         \
    X(UNAUTHORIZED, 401, "unauthorized")                                                      \
    X(FORBIDDEN, 403, "forbidden")                                                            \
    X(NOT_FOUND, 404, "not_found") /* no such route */                                        \
    X(NO_MODEL, 404, "model_not_found")                                                       \
    X(METHOD, 405, "method_not_allowed")                                                      \
    X(TIMEOUT, 408, "timeout")                                                                \
    X(CONFLICT, 409, "conflict")                                                              \
    X(TOO_LARGE, 413, "too_large")                                                            \
    X(MEDIA_TYPE, 415, "unsupported_media_type")                                              \
    X(UPGRADE, 426, "upgrade_required") /* /ws without a WebSocket */                         \
    X(RATE, 429, "rate_limited")        /* of a key or an address */                          \
    X(OVERLOADED, 429, "overloaded")    /* the queue is full */                               \
    X(CANCELLED, 499, "cancelled")                                                            \
    X(INTERNAL, 500, "internal")                                                              \
    X(NUMERIC, 500, "numeric")         /* the model gave no usable number */                  \
    X(UNAVAILABLE, 503, "unavailable") /* loading, draining, deadline passed */

typedef enum tkr_fault_kind {
#define TKR_X(name, status, word) TKR_FAULT_##name,
    TKR_FAULT_LIST(TKR_X)
#undef TKR_X
        TKR_N_FAULTS
} tkr_fault_kind;

typedef struct tkr_fault {
    tkr_fault_kind kind;
    char param[64];       /* field, such as "texts" or "input[3]"; "" when none */
    char message[640];    /* one line */
    double retry_after_s; /* RATE, OVERLOADED, UNAVAILABLE: 0 when not known */
} tkr_fault;

unsigned tkr_fault_status(tkr_fault_kind kind);
const char *tkr_fault_word(tkr_fault_kind kind);
/* The kind for a status of the library, about an input or a call. */
tkr_fault_kind tkr_fault_of_status(tkr_status status);

/* Sets op->fault; returns false, so that `return tkr_refuse(op, TYPE, "texts", "...")` reads well in parse. */
bool tkr_refuse_with(tkr_operation *op, tkr_fault_kind kind, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define tkr_refuse(op, kind, ...) tkr_refuse_with((op), TKR_FAULT_##kind, __VA_ARGS__)

/* ---- APIs, handlers, routes ---- */

/* How an API writes its errors: fills op->response (status, content type, body) from op->fault. The pipeline adds
 * Retry-After and the like. */
typedef struct tkr_api {
    const char *name; /* "native", "openai", "tei", ... */
    void (*error)(tkr_operation *op);
    bool any_content_type; /* its clients send JSON without saying so */
} tkr_api;
extern const tkr_api tkr_api_native, tkr_api_openai, tkr_api_tei, tkr_api_cohere, tkr_api_jina, tkr_api_voyage,
    tkr_api_ollama, tkr_api_llama, tkr_api_plain;

typedef enum tkr_body_kind {
    TKR_BODY_NONE,    /* GET */
    TKR_BODY_IGNORED, /* POST without content: whatever is sent */
    TKR_BODY_JSON,    /* parsed into op->body, application/json only */
    TKR_BODY_EITHER   /* JSON, or multipart/form-data: op->form are its files, op->body its other fields, as strings */
} tkr_body_kind;

typedef struct tkr_handler {
    const char *name;
    const tkr_api *api;
    tkr_body_kind body;
    /* Reads the request: fills op->model_name and op->job (items, kind, lane), or answers at once by filling
     * op->response. false after tkr_refuse. Runs on a loop thread or, for large bodies, on the crew; doesn't block. */
    bool (*parse)(tkr_operation *op);
    /* Writes op->response of a job whose items are all fine. NULL where parse always answers. false after tkr_refuse.
     */
    bool (*render)(tkr_operation *op);
    /* With `blocks`: parse may block (loading a model) and runs on the crew. */
    bool blocks;
    /* Needs op->model held before parse (prompts, limits, tokenizer); the name is read from the body's field "model",
     * without a body from the query's. */
    bool wants_model;
    const char *request_schema, *response_schema; /* JSON Schema objects for /openapi.json, or NULL */
    const char *content_type;                     /* of what `parse` answers; NULL: application/json */
} tkr_handler;
#define TKR_HANDLER(name) extern const tkr_handler tkr_handler_##name;
#include "server/handlers.def"
#undef TKR_HANDLER

typedef struct tkr_route {
    const char *method, *path;
    const tkr_handler *handler; /* when no dialect fits, and for mistakes before the body is understood */
    tkr_scope scope;
    const char *summary; /* for /openapi.json and docs/api.md */
} tkr_route;
extern const tkr_route tkr_routes[];
extern const size_t tkr_n_routes;

/* The route of a request; NULL and *allow = the path's other methods ("GET, POST"; "" when the path is unknown). HEAD
 * finds GET. */
const tkr_route *tkr_route_find(const char *method, const char *path, char allow[64]);
/* Same path, several APIs: the handler that this body means, by dialects.def. */
const tkr_handler *tkr_dialect_find(const tkr_route *route, const json_t *body);

/* ---- an operation ---- */

/* A part of a multipart/form-data body; all borrowed from the body. */
typedef struct tkr_form_part {
    const char *name, *file_name, *content_type; /* file_name and content_type NULL when absent. Of a WebSocket's media
                                                  * the name is "media" and the type image, video or document */
    const char *data;
    size_t size;
} tkr_form_part;

struct tkr_operation {
    tkr_server *server;
    const tkr_http_request *request; /* of a WebSocket's operation: the one that opened it */
    tkr_http_exchange *exchange;     /* that carries it; NULL on a WebSocket */
    tkr_http_response *response;
    tkr_arena *arena; /* lives as long as the operation: parsed values, texts, options */
    const tkr_route *route;
    const tkr_handler *handler;
    json_t *body;        /* owned; NULL without JSON */
    tkr_form_part *form; /* [n_form] files of a form, or media of a WebSocket's frame; NULL: neither */
    size_t n_form;
    tkr_fault fault;
    char request_id[64];
    const tkr_identity *identity; /* held; NULL without keys */
    const char *model_name;       /* what the request names, NULL: none */
    tkr_served_model *model;      /* held */
    tkr_job job;
    const char
        *items_name;     /* set by parse: the field of the inputs, for messages: "texts" -> "texts[3]"; NULL: "input" */
    void *state;         /* the handler's own, in the arena */
    size_t n_cached;     /* items that came from the cache */
    size_t n_documents;  /* files that became the inputs */
    size_t n_characters; /* of all texts, for x-compute-characters; parse counts them */
    void *owner;         /* of an operation without exchange: its maker's */
    void *pipeline;      /* private to pipeline.c */
};

/* Whether n inputs may be in one request; ask before allocating for them. false after tkr_refuse. */
bool tkr_operation_fits(tkr_operation *op, size_t n);
/* Adds n items to op->job, zeroed but for the defaults of the server (truncation, prompt). Arena memory. NULL after
 * tkr_refuse. Call once. */
tkr_job_item *tkr_operation_items(tkr_operation *op, size_t n);
/* Arena memory, zeroed; NULL after tkr_refuse (INTERNAL). */
void *tkr_operation_alloc(tkr_operation *op, size_t size);
/* Ends the waits of parse: the client has gone, or its time is over. `op` must live as long. */
tkr_stop tkr_operation_stop(tkr_operation *op);
/* Counts memory that the request holds until its end, beside its arena's small things, with what pictures take of all
 * requests. false after tkr_refuse: there is no room. */
bool tkr_operation_hold(tkr_operation *op, size_t n_bytes);
/* The server's parts, for routes that tell about it. */
tkr_models *tkr_server_models(tkr_server *server);
tkr_scheduler *tkr_server_scheduler(tkr_server *server);
const tkr_settings *tkr_server_settings(const tkr_server *server);
struct tkr_metrics *tkr_server_metrics(tkr_server *server);
struct tkr_cache *tkr_server_cache(tkr_server *server);
tkr_transport *tkr_server_transport(tkr_server *server);
/* What SIGHUP does: certificates, keys and log file. What fails is logged, and the rest done. false: why in *error. */
bool tkr_server_reload(tkr_server *server, tkr_error *error);
bool tkr_server_is_ready(const tkr_server *server, const char **why);

#endif
