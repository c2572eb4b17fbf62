/* SPDX-License-Identifier: Apache-2.0 */
/* server/trace: spans as OTLP's JSON encoding, posted by a thread through libcurl a few times a second at most. */
#include "server/trace.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/sync.h"

#define MOST_WAITING (1u << 20) /* bytes of spans */
#define BATCH_BYTES (128u << 10)
#define EVERY_S 2.0

struct tkr_trace {
    char url[1024];
    tkr_log log;
    tkr_mutex lock;
    tkr_cond wake;
    tkr_buf spans; /* joined by commas */
    uint64_t n_lost;
    bool stop, failing;
    tkr_buf sending;
    tkr_thread *thread;
    CURL *curl;
};

/* ---- W3C Trace Context ---- */

typedef struct context {
    char trace_id[33], parent_id[17]; /* parent_id "" without a parent */
    bool sampled;
} context;

static bool is_hex(const char *text, size_t n) {
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        const char c = text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        any |= c != '0';
    }
    return any;
}

static void random_hex(char *out, size_t n_bytes) {
    uint8_t bytes[16] = {1};
    (void)tkr_random_bytes(bytes, n_bytes);
    for (size_t i = 0; i < n_bytes; i++) (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* "00-<32 hex>-<16 hex>-<2 hex>"; anything else begins a trace of its own. */
static void read_context(context *c, const char *header) {
    const size_t n = header ? strlen(header) : 0;
    c->parent_id[0] = '\0';
    c->sampled = true;
    if (n >= 55 && header[2] == '-' && header[35] == '-' && header[52] == '-' && memcmp(header, "ff", 2) != 0 &&
        is_hex(header + 3, 32) && is_hex(header + 36, 16)) {
        (void)snprintf(c->trace_id, sizeof c->trace_id, "%.32s", header + 3);
        (void)snprintf(c->parent_id, sizeof c->parent_id, "%.16s", header + 36);
        const char low = header[54];
        c->sampled = (low >= '0' && low <= '9') ? (low & 1) : !(low & 1); /* the lowest bit of a hex digit */
        return;
    }
    random_hex(c->trace_id, 16);
}

/* ---- spans ---- */

typedef struct span {
    const char *name;
    int kind; /* OTLP: 1 internal, 2 server */
    double start, end;
} span;

static void put_time(tkr_buf *out, const char *name, double wall) {
    const double whole = (double)(uint64_t)wall;
    tkr_buf_printf(out, ",\"%s\":\"%llu%09u\"", name, (unsigned long long)wall, (unsigned)((wall - whole) * 1e9));
}

static void begin_span(tkr_buf *out, const context *c, const char *id, const char *parent, const span *s) {
    if (out->size) tkr_buf_putc(out, ',');
    tkr_buf_printf(out, "{\"traceId\":\"%s\",\"spanId\":\"%s\"", c->trace_id, id);
    if (parent[0]) tkr_buf_printf(out, ",\"parentSpanId\":\"%s\"", parent);
    tkr_buf_printf(out, ",\"name\":\"%s\",\"kind\":%d", s->name, s->kind);
    put_time(out, "startTimeUnixNano", s->start);
    put_time(out, "endTimeUnixNano", s->end);
}

static void put_string(tkr_buf *out, const char *key, const char *value) {
    tkr_buf_printf(out, "{\"key\":\"%s\",\"value\":{\"stringValue\":", key);
    tkr_json_write_string(out, value, strlen(value));
    tkr_buf_append(out, "}},", 3);
}

static void put_count(tkr_buf *out, const char *key, size_t value) {
    tkr_buf_printf(out, "{\"key\":\"%s\",\"value\":{\"intValue\":\"%zu\"}},", key, value);
}

static void put_spans(tkr_buf *out, const tkr_operation *op, unsigned status, double total_s) {
    context c;
    char id[17], child[17];
    read_context(&c, tkr_http_field_of(op->request, "traceparent"));
    if (!c.sampled) return;
    random_hex(id, 8);
    const double end = tkr_wall_clock(), start = end - total_s;
    const span whole = {op->route ? op->route->path : "websocket", 2, start, end};
    begin_span(out, &c, id, c.parent_id, &whole);
    tkr_buf_printf(out, ",\"attributes\":[");
    put_string(out, "http.request.method", op->request->method);
    put_string(out, "http.route", whole.name);
    put_string(out, "tkr.api", op->handler->api->name);
    put_string(out, "tkr.request_id", op->request_id);
    if (op->model) put_string(out, "tkr.model", op->model->name);
    put_count(out, "tkr.inputs", op->job.n_items);
    put_count(out, "tkr.tokens", op->job.n_tokens);
    put_count(out, "tkr.cached", op->n_cached);
    tkr_buf_printf(out,
                   "{\"key\":\"http.response.status_code\",\"value\":{\"intValue\":\"%u\"}}],\"status\":{\"code\":%d}}",
                   status, status >= 500 ? 2 : 0);
    const struct {
        const char *name;
        double seconds;
    } stages[] = {{"queue", op->job.queue_s},
                  {"pictures", op->job.pictures_s},
                  {"tokenize", op->job.tokenize_s},
                  {"forward", op->job.forward_s}};
    double at = op->job.submitted > 0 ? end - (tkr_now() - op->job.submitted) : start;
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
        if (stages[i].seconds <= 0) continue;
        const span stage = {stages[i].name, 1, at, at + stages[i].seconds};
        random_hex(child, 8);
        begin_span(out, &c, child, id, &stage);
        tkr_buf_putc(out, '}');
        at += stages[i].seconds;
    }
}

void tkr_trace_operation(tkr_trace *trace, const tkr_operation *op, unsigned status, double total_s) {
    if (!trace || !op->handler || !op->handler->render) return;
    tkr_mutex_lock(&trace->lock);
    const size_t before = trace->spans.size;
    if (before < MOST_WAITING) put_spans(&trace->spans, op, status, total_s);
    if (trace->spans.failed || before >= MOST_WAITING) {
        trace->spans.failed = false;
        trace->spans.size = before;
        trace->n_lost++;
    }
    if (trace->spans.size >= BATCH_BYTES) tkr_cond_signal(&trace->wake);
    tkr_mutex_unlock(&trace->lock);
}

/* ---- sending ---- */

static size_t ignore(char *data, size_t size, size_t n, void *user) {
    (void)data;
    (void)user;
    return size * n;
}

static void send_spans(tkr_trace *trace, uint64_t n_lost) {
    tkr_buf body = {0};
    long code = 0;
    tkr_buf_printf(&body,
                   "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{"
                   "\"stringValue\":\"tkr-embed\"}},{\"key\":\"service.version\",\"value\":{\"stringValue\":\"%s\"}}]},"
                   "\"scopeSpans\":[{\"scope\":{\"name\":\"tkr-embed\"},\"spans\":[",
                   tkr_version());
    tkr_buf_append(&body, trace->sending.data, trace->sending.size);
    tkr_buf_append(&body, "]}]}]}", 6);
    struct curl_slist *fields = curl_slist_append(NULL, "Content-Type: application/json");
    CURLcode done = CURLE_OUT_OF_MEMORY;
    if (!body.failed && fields) {
        curl_easy_setopt(trace->curl, CURLOPT_URL, trace->url);
        curl_easy_setopt(trace->curl, CURLOPT_HTTPHEADER, fields);
        curl_easy_setopt(trace->curl, CURLOPT_POSTFIELDS, body.data);
        curl_easy_setopt(trace->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.size);
        curl_easy_setopt(trace->curl, CURLOPT_WRITEFUNCTION, ignore);
        curl_easy_setopt(trace->curl, CURLOPT_TIMEOUT_MS, 1000L);
        curl_easy_setopt(trace->curl, CURLOPT_NOSIGNAL, 1L);
        done = curl_easy_perform(trace->curl);
        if (done == CURLE_OK) curl_easy_getinfo(trace->curl, CURLINFO_RESPONSE_CODE, &code);
    }
    const bool fine = done == CURLE_OK && code >= 200 && code < 300;
    if (!fine && !trace->failing) {
        tkr_buf url = {0};
        const bool shown = tkr_settings_show_url(&url, trace->url);
        tkr_log_line(&trace->log, TKR_LOG_WARNING, "traces can't be sent to %s (%s, status %ld)",
                     shown ? url.data : "the collector", curl_easy_strerror(done), code);
        tkr_buf_free(&url);
    }
    if (n_lost) tkr_log_line(&trace->log, TKR_LOG_WARNING, "%llu traces were lost", (unsigned long long)n_lost);
    trace->failing = !fine;
    curl_slist_free_all(fields);
    tkr_buf_free(&body);
}

static void send_all(void *arg) {
    tkr_trace *trace = arg;
    for (bool stop = false; !stop;) {
        tkr_mutex_lock(&trace->lock);
        const double until = tkr_now() + EVERY_S;
        while (!trace->stop && trace->spans.size < BATCH_BYTES)
            if (!tkr_cond_wait_until(&trace->wake, &trace->lock, until)) break;
        const tkr_buf full = trace->spans;
        trace->spans = trace->sending;
        trace->spans.size = 0;
        trace->sending = full;
        const uint64_t n_lost = trace->n_lost;
        trace->n_lost = 0;
        stop = trace->stop;
        tkr_mutex_unlock(&trace->lock);
        if (trace->sending.size > 0) send_spans(trace, n_lost);
        trace->sending.size = 0;
    }
}

tkr_status tkr_trace_create(tkr_trace **out, const tkr_settings *settings, const tkr_log *log, tkr_error *error) {
    const char *endpoint = tkr_setting_of(settings, TKR_SET_OTLP)->text;
    *out = NULL;
    if (!endpoint) return TKR_OK;
    if (strncmp(endpoint, "http://", 7) != 0 && strncmp(endpoint, "https://", 8) != 0)
        return TKR_FAIL(
            error, INVALID_ARGUMENT,
            "monitoring.otlp_endpoint is no URL such as http://localhost:4318"); /* it may hold a password */
    tkr_trace *trace = tkr_calloc(1, sizeof *trace);
    if (!trace) return TKR_FAIL(error, NO_MEMORY, "no memory for traces");
    size_t n = strlen(endpoint);
    while (n > 0 && endpoint[n - 1] == '/') n--;
    tkr_mutex_init(&trace->lock);
    tkr_cond_init(&trace->wake);
    trace->log = *log;
    (void)snprintf(trace->url, sizeof trace->url, "%.*s/v1/traces", (int)(n < 900 ? n : 900), endpoint);
    trace->curl = curl_easy_init();
    tkr_status status = trace->curl ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for traces");
    if (status == TKR_OK) status = tkr_thread_start(&trace->thread, "tkr-trace", send_all, trace, error);
    if (status != TKR_OK) {
        tkr_trace_free(&trace);
        return status;
    }
    *out = trace;
    return TKR_OK;
}

void tkr_trace_free(tkr_trace **out) {
    if (!out || !*out) return;
    tkr_trace *trace = *out;
    tkr_mutex_lock(&trace->lock);
    trace->stop = true;
    tkr_cond_signal(&trace->wake);
    tkr_mutex_unlock(&trace->lock);
    tkr_thread_join(&trace->thread);
    if (trace->curl) curl_easy_cleanup(trace->curl);
    tkr_buf_free(&trace->spans);
    tkr_buf_free(&trace->sending);
    tkr_cond_destroy(&trace->wake);
    tkr_mutex_destroy(&trace->lock);
    tkr_free(trace);
    *out = NULL;
}
