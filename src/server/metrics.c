/* SPDX-License-Identifier: Apache-2.0 */
/* server/metrics: counters that threads add to without a lock, and the page that tells them. */
#include "server/metrics.h"

#include <math.h>
#include <string.h>

#include "core/cpu.h"
#include "core/sync.h"
#include "server/cache.h"

typedef enum counter {
#define TKR_COUNTER(id, name, label, help) C_##id,
#define TKR_HISTOGRAM(id, name, unit, help)
#include "server/metrics.def"
#undef TKR_COUNTER
#undef TKR_HISTOGRAM
    N_COUNTERS
} counter;

typedef enum histogram_id {
#define TKR_COUNTER(id, name, label, help)
#define TKR_HISTOGRAM(id, name, unit, help) H_##id,
#include "server/metrics.def"
#undef TKR_COUNTER
#undef TKR_HISTOGRAM
    N_HISTOGRAMS
} histogram_id;

typedef enum unit { SECONDS, COUNT } unit;
#define SECONDS_BUCKETS 35 /* 1e-5 * 1.5^n seconds */
#define COUNT_BUCKETS 21   /* 2^n */
#define MOST_BUCKETS 36
#define LEAST_SPEED 0.01 /* tokens a second: what is less is what remains of an average */

static const struct {
    const char *name, *label, *help;
} counters[N_COUNTERS] = {
#define TKR_COUNTER(id, name, label, help) {name, label, help},
#define TKR_HISTOGRAM(id, name, unit, help)
#include "server/metrics.def"
#undef TKR_COUNTER
#undef TKR_HISTOGRAM
};

static const struct {
    const char *name;
    unit unit;
    const char *help;
} histograms[N_HISTOGRAMS] = {
#define TKR_COUNTER(id, name, label, help)
#define TKR_HISTOGRAM(id, name, unit, help) {name, unit, help},
#include "server/metrics.def"
#undef TKR_COUNTER
#undef TKR_HISTOGRAM
};

typedef struct histogram {
    _Atomic uint64_t buckets[MOST_BUCKETS]; /* the last one: above all bounds */
    _Atomic uint64_t sum;                   /* nanoseconds, or units */
} histogram;

static const unsigned statuses[] = {101, 200, 204, 400, 401, 403, 404, 405, 408, 409,
                                    413, 415, 422, 424, 426, 429, 499, 500, 503, 0};
#define N_STATUSES (sizeof statuses / sizeof statuses[0])
static const tkr_api *const apis[] = {&tkr_api_native, &tkr_api_openai, &tkr_api_tei,   &tkr_api_cohere, &tkr_api_jina,
                                      &tkr_api_voyage, &tkr_api_ollama, &tkr_api_llama, &tkr_api_plain,  NULL};
#define N_APIS (sizeof apis / sizeof apis[0])

struct tkr_metrics {
    _Atomic uint64_t counters[N_COUNTERS];
    _Atomic uint64_t requests[N_APIS][N_STATUSES];
    histogram histograms[N_HISTOGRAMS];
    double started; /* tkr_wall_clock() */
};

tkr_status tkr_metrics_create(tkr_metrics **out, tkr_error *error) {
    tkr_metrics *metrics = tkr_calloc(1, sizeof *metrics);
    if (!metrics) return TKR_FAIL(error, NO_MEMORY, "no memory for metrics");
    metrics->started = tkr_wall_clock();
    *out = metrics;
    return TKR_OK;
}

void tkr_metrics_free(tkr_metrics **metrics) {
    if (!metrics) return;
    tkr_free(*metrics);
    *metrics = NULL;
}

/* ---- counting ---- */

static void add(tkr_metrics *m, counter id, uint64_t n) {
    if (n) atomic_fetch_add_explicit(&m->counters[id], n, memory_order_relaxed);
}

static double bound_of(unit u, size_t i) { return u == SECONDS ? 1e-5 * pow(1.5, (double)i) : ldexp(1, (int)i); }
static size_t buckets_of(unit u) { return u == SECONDS ? SECONDS_BUCKETS : COUNT_BUCKETS; }

static void observe(tkr_metrics *m, histogram_id id, double value) {
    const unit u = histograms[id].unit;
    const size_t n = buckets_of(u);
    value = value > 0 ? value : 0;
    const double steps = u == SECONDS ? log(value / 1e-5) / log(1.5) : log2(value);
    size_t i = value > 0 && steps > 0 ? (size_t)ceil(steps - 1e-9) : 0;
    i = i < n ? i : n;
    atomic_fetch_add_explicit(&m->histograms[id].buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->histograms[id].sum, (uint64_t)(value * (u == SECONDS ? 1e9 : 1)),
                              memory_order_relaxed);
}

static size_t index_of_status(unsigned status) {
    size_t i = 0;
    while (statuses[i] != 0 && statuses[i] != status) i++;
    return i;
}

static size_t index_of_api(const tkr_api *api) {
    size_t i = 0;
    while (apis[i] && apis[i] != api) i++;
    return i;
}

static counter failure_of(tkr_fault_kind kind) {
    switch (kind) {
    case TKR_FAULT_OVERLOADED:
    case TKR_FAULT_RATE:
    case TKR_FAULT_UNAVAILABLE: return C_TE_FAIL_OVERLOADED;
    case TKR_FAULT_TOO_MANY: return C_TE_FAIL_BATCH;
    case TKR_FAULT_CANCELLED: return C_TE_FAIL_DROPPED;
    case TKR_FAULT_UNSUPPORTED: return C_TE_FAIL_MODEL_TYPE;
    case TKR_FAULT_INTERNAL:
    case TKR_FAULT_NUMERIC: return C_TE_FAIL_INFERENCE;
    default: return C_TE_FAIL_VALIDATION;
    }
}

static bool is_video(const tkr_part *part) { return part->kind == TKR_PART_VIDEO || part->kind == TKR_PART_FRAMES; }

static void count_items(tkr_metrics *m, const tkr_operation *op) {
    const tkr_job *job = &op->job;
    uint64_t cached = 0, pictures = 0, truncated = 0, videos = 0, frames = 0, passages = 0;
    for (size_t i = 0; i < job->n_items; i++) {
        const tkr_job_item *item = &job->items[i];
        cached += item->cached;
        truncated += item->n_tokens < item->n_tokens_untruncated;
        frames += item->n_frames;
        passages += item->input.n_spans > 0 ? item->input.n_spans : 1; /* late chunking: several an input */
        for (size_t k = 0; k < item->input.n_parts; k++) {
            const tkr_part *part = &item->input.parts[k];
            videos += is_video(part);
            pictures += part->kind != TKR_PART_TEXT && !is_video(part);
        }
        observe(m, H_TE_LENGTH, (double)item->n_tokens);
    }
    add(m, C_INPUTS, job->n_items);
    add(m, C_TE_EMBED_OK, job->n_items);
    add(m, C_CACHED, cached);
    add(m, C_PICTURES, pictures);
    add(m, C_VIDEOS, videos);
    add(m, C_FRAMES, frames);
    add(m, C_DOCUMENTS, op->n_documents);
    add(m, C_PASSAGES, op->n_documents > 0 ? passages : 0);
    add(m, C_TRUNCATED, truncated);
}

static void count_times(tkr_metrics *m, const tkr_job *job, double total_s) {
    const double inference = job->forward_s + job->pictures_s;
    observe(m, H_TE_DURATION, total_s);
    observe(m, H_TE_TOKENIZE, job->tokenize_s);
    observe(m, H_TE_QUEUE, job->queue_s);
    observe(m, H_TE_INFERENCE, inference);
    observe(m, H_TE_EMBED_DURATION, total_s);
    observe(m, H_TE_EMBED_TOKENIZE, job->tokenize_s);
    observe(m, H_TE_EMBED_QUEUE, job->queue_s);
    observe(m, H_TE_EMBED_INFERENCE, inference);
    if (job->pictures_s > 0) observe(m, H_PICTURES_TIME, job->pictures_s);
}

void tkr_metrics_operation(tkr_metrics *m, const tkr_operation *op, unsigned status, double total_s) {
    const tkr_api *api = op && op->handler ? op->handler->api : NULL;
    atomic_fetch_add_explicit(&m->requests[index_of_api(api)][index_of_status(status)], 1, memory_order_relaxed);
    if (!op) {
        add(m, C_FAULTS, 1);
        return;
    }
    if (!op->handler || !op->handler->render) return; /* nothing was embedded */
    const bool single = op->job.n_items <= 1, fine = status == 200;
    add(m, single ? C_TE_SINGLE : C_TE_BATCH, 1);
    add(m, C_TE_EMBED, op->job.n_items);
    if (fine) {
        add(m, single ? C_TE_SINGLE_OK : C_TE_BATCH_OK, 1);
        count_items(m, op);
        count_times(m, &op->job, total_s);
    } else {
        add(m, failure_of(op->fault.kind), 1);
    }
}

void tkr_metrics_batch(tkr_metrics *m, size_t n_items, size_t n_tokens, double seconds) {
    observe(m, H_TE_BATCH_SIZE, (double)n_items);
    observe(m, H_TE_BATCH_TOKENS, (double)n_tokens);
    observe(m, H_BATCH_TIME, seconds);
}

/* ---- the page ---- */

static void put_head(tkr_buf *out, const char *name, const char *type, const char *help) {
    tkr_buf_printf(out, "# HELP %s %s.\n# TYPE %s %s\n", name, help, name, type);
}

static void put_number(tkr_buf *out, const char *name, const char *type, const char *help, double value) {
    put_head(out, name, type, help);
    tkr_buf_printf(out, "%s %.17g\n", name, value);
}

static void put_counters(tkr_buf *out, tkr_metrics *m) {
    const char *last = "";
    for (size_t i = 0; i < N_COUNTERS; i++) {
        const unsigned long long value = atomic_load_explicit(&m->counters[i], memory_order_relaxed);
        if (strcmp(last, counters[i].name) != 0) put_head(out, counters[i].name, "counter", counters[i].help);
        last = counters[i].name;
        tkr_buf_printf(out, counters[i].label[0] ? "%s{%s} %llu\n" : "%s%s %llu\n", counters[i].name, counters[i].label,
                       value);
    }
}

static void put_requests(tkr_buf *out, tkr_metrics *m) {
    put_head(out, "tkr_requests_total", "counter", "Answered requests by API and HTTP status (0: another)");
    for (size_t a = 0; a < N_APIS; a++)
        for (size_t s = 0; s < N_STATUSES; s++) {
            const unsigned long long n = atomic_load_explicit(&m->requests[a][s], memory_order_relaxed);
            if (n)
                tkr_buf_printf(out, "tkr_requests_total{api=\"%s\",status=\"%u\"} %llu\n",
                               apis[a] ? apis[a]->name : "none", statuses[s], n);
        }
}

static void put_histograms(tkr_buf *out, tkr_metrics *m) {
    for (size_t h = 0; h < N_HISTOGRAMS; h++) {
        const unit u = histograms[h].unit;
        const char *name = histograms[h].name;
        unsigned long long n = 0;
        put_head(out, name, "histogram", histograms[h].help);
        for (size_t i = 0; i < buckets_of(u); i++) {
            n += atomic_load_explicit(&m->histograms[h].buckets[i], memory_order_relaxed);
            tkr_buf_printf(out, "%s_bucket{le=\"%.9g\"} %llu\n", name, bound_of(u, i), n);
        }
        n += atomic_load_explicit(&m->histograms[h].buckets[buckets_of(u)], memory_order_relaxed);
        const double sum = (double)atomic_load_explicit(&m->histograms[h].sum, memory_order_relaxed);
        tkr_buf_printf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9g\n%s_count %llu\n", name, n, name,
                       u == SECONDS ? sum * 1e-9 : sum, name, n);
    }
}

static void put_scheduler(tkr_buf *out, tkr_server *server) {
    tkr_scheduler_counts c;
    tkr_scheduler_get_counts(&c, tkr_server_scheduler(server));
    put_number(out, "te_queue_size", "gauge", "Requests that wait", (double)c.queued_jobs);
    put_number(out, "tkr_queue_tokens", "gauge", "Estimated tokens that wait", (double)c.queued_tokens);
    put_number(out, "tkr_queue_oldest_seconds", "gauge", "Age of the oldest request that waits", c.oldest_s);
    put_number(out, "tkr_running_inputs", "gauge", "Inputs of the batch at hand", (double)c.running_items);
    put_number(out, "tkr_batches_total", "counter", "Batches computed", (double)c.batches);
    put_number(out, "tkr_tokens_total", "counter", "Tokens computed", (double)c.tokens);
    put_number(out, "tkr_busy_seconds_total", "counter", "Time spent computing", c.busy_s);
    put_number(out, "tkr_tokens_per_second", "gauge", "Speed of late",
               c.tokens_per_s < LEAST_SPEED ? 0 : c.tokens_per_s);
    put_number(out, "tkr_yields_total", "counter", "Times that short requests went before bulk work", (double)c.yields);
    put_number(out, "tkr_cancelled_total", "counter", "Requests whose client went away", (double)c.cancelled);
    put_number(out, "tkr_expired_total", "counter", "Requests whose deadline passed", (double)c.expired);
}

static void put_cache(tkr_buf *out, tkr_cache *cache) {
    tkr_cache_counts c;
    if (!cache) return;
    tkr_cache_get_counts(&c, cache);
    put_number(out, "tkr_cache_hits_total", "counter", "Inputs found in memory", (double)c.hits);
    put_number(out, "tkr_cache_misses_total", "counter", "Inputs not found in memory", (double)c.misses);
    put_number(out, "tkr_cache_evicted_total", "counter", "Results that made room", (double)c.evicted);
    put_number(out, "tkr_cache_entries", "gauge", "Results kept", (double)c.entries);
    put_number(out, "tkr_cache_bytes", "gauge", "Bytes of results kept", (double)c.bytes);
    put_number(out, "tkr_cache_shared_up", "gauge", "Whether the shared cache answers", c.far_up ? 1 : 0);
    put_number(out, "tkr_cache_shared_hits_total", "counter", "Inputs found in the shared cache", (double)c.far_hits);
    put_number(out, "tkr_cache_shared_misses_total", "counter", "Inputs not found there", (double)c.far_misses);
    put_number(out, "tkr_cache_shared_errors_total", "counter", "Failures of the shared cache", (double)c.far_errors);
}

static void put_label(tkr_buf *out, const char *text) {
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') tkr_buf_putc(out, '\\');
        tkr_buf_putc(out, c < ' ' || c == 0x7F ? ' ' : *text);
    }
}

static void put_model(void *user, const tkr_served_model *model) {
    tkr_buf *out = user;
    const bool ready = model->state == TKR_MODEL_READY;
    tkr_buf_printf(out, "tkr_model_ready{model=\"");
    put_label(out, model->name);
    tkr_buf_printf(out, "\",fingerprint=\"%s\"} %d\n", ready ? model->info->fingerprint : "", ready ? 1 : 0);
}

static void put_transport(tkr_buf *out, const tkr_transport *transport) {
    tkr_transport_counts c;
    tkr_transport_get_counts(&c, transport);
    put_number(out, "tkr_connections", "gauge", "Open connections", (double)c.connections);
    put_number(out, "tkr_connections_total", "counter", "Connections taken", (double)c.accepted);
    put_number(out, "tkr_connections_refused_total", "counter", "Connections over a limit", (double)c.refused);
    put_number(out, "tkr_connections_unread_total", "counter", "Connections closed because unread replies fill memory",
               (double)c.unread);
    put_number(out, "tkr_web_sockets", "gauge", "Open WebSockets", (double)c.web_sockets);
    put_number(out, "tkr_requests_waiting", "gauge", "Requests whose answer isn't ready", (double)c.waiting);
    put_number(out, "tkr_received_bytes_total", "counter", "Bytes received", (double)c.bytes_in);
    put_number(out, "tkr_sent_bytes_total", "counter", "Bytes sent", (double)c.bytes_out);
}

bool tkr_metrics_write(tkr_buf *out, tkr_metrics *m, tkr_server *server) {
    put_head(out, "tkr_build_info", "gauge", "Version");
    tkr_buf_printf(out, "tkr_build_info{version=\"%s\"} 1\n", tkr_version());
    put_counters(out, m);
    put_requests(out, m);
    put_histograms(out, m);
    put_scheduler(out, server);
    put_cache(out, tkr_server_cache(server));
    put_head(out, "tkr_model_ready", "gauge", "Whether a model is loaded");
    tkr_models_each(tkr_server_models(server), put_model, out);
    put_transport(out, tkr_server_transport(server));
    put_number(out, "tkr_anonymous_memory_bytes", "gauge", "Memory of this process beyond mapped files",
               (double)tkr_rss_anon());
    put_number(out, "process_start_time_seconds", "gauge", "When the process started, since 1970", m->started);
    return !out->failed;
}
