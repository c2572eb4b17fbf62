/* SPDX-License-Identifier: Apache-2.0 */
/* server/logging: lines are gathered under a lock and written by a thread, so that a slow disk delays nobody. What
 * doesn't fit is counted and told later. */
#include "server/logging.h"

#include <stdio.h>
#include <string.h>

#include "core/fsops.h"
#include "core/service.h"
#include "core/sync.h"
#include "core/term.h"

#define MOST_WAITING (1u << 20) /* bytes of lines */

struct tkr_logging {
    int level;
    bool json;
    char *path; /* NULL: standard error */
    tkr_mutex lock;
    tkr_cond wake;
    /* under the lock */
    tkr_buf lines;           /* to be written */
    uint64_t n_lost;         /* lines since the last one that was kept */
    tkr_append *fresh;       /* to be written to from now on; NULL: the same as before */
    bool fresh_empty;        /* it has nothing yet */
    bool stop, asleep, busy; /* busy: the writer has lines that it took */
    tkr_cond idle;
    /* the writer's */
    tkr_append *file;
    tkr_buf writing;
    bool torn; /* the file may end inside a line, because a write failed */
    tkr_thread *thread;
};

static const char *const levels[] = {"error", "warning", "info", "debug"};

/* ---- the writer ---- */

/* Takes what waits; false at the end. */
static bool take_lines(tkr_logging *l) {
    tkr_mutex_lock(&l->lock);
    l->busy = false;
    tkr_cond_broadcast(&l->idle);
    while (l->lines.size == 0 && !l->stop && !l->fresh) {
        l->asleep = true;
        tkr_cond_wait(&l->wake, &l->lock);
        l->asleep = false;
    }
    const tkr_buf full = l->lines;
    l->lines = l->writing;
    l->writing = full;
    if (l->fresh) {
        tkr_append_close(&l->file);
        l->file = l->fresh;
        l->fresh = NULL;
        if (l->fresh_empty) l->torn = false;
    }
    const bool more = !l->stop || l->writing.size > 0;
    l->busy = more;
    tkr_mutex_unlock(&l->lock);
    return more;
}

static void write_lines(void *arg) {
    tkr_logging *l = arg;
    while (take_lines(l)) {
        if (l->torn && l->writing.size > 0) l->torn = tkr_append_write(l->file, "\n", 1, NULL) != TKR_OK;
        if (l->writing.size > 0 &&
            (l->torn || tkr_append_write(l->file, l->writing.data, l->writing.size, NULL) != TKR_OK)) {
            l->torn = true;
            tkr_mutex_lock(&l->lock);
            for (size_t i = 0; i < l->writing.size; i++) l->n_lost += l->writing.data[i] == '\n';
            tkr_mutex_unlock(&l->lock);
        }
        l->writing.size = 0;
    }
}

/* ---- lines ---- */

static void begin_line(tkr_buf *out, const tkr_logging *l, int level) {
    char now[25];
    tkr_wall_clock_text(now, tkr_wall_clock());
    if (l->json)
        tkr_buf_printf(out, "{\"time\":\"%s\",\"level\":\"%s\"", now, levels[level]);
    else
        tkr_buf_printf(out, "%s %-7s ", now, levels[level]);
}

/* As JSON, without the control characters U+007F to U+009F, which JSON allows and terminals obey. */
static void put_string(tkr_buf *out, const char *text) {
    tkr_buf quoted = {0};
    if (!tkr_json_write_string(&quoted, text, strlen(text))) out->failed = true;
    for (size_t i = 0; i < quoted.size; i++) {
        const unsigned char c = (unsigned char)quoted.data[i];
        const bool pair = c == 0xc2 && i + 1 < quoted.size && (unsigned char)quoted.data[i + 1] < 0xa0;
        if (pair || c == 0x7f)
            tkr_buf_printf(out, "\\u00%02x", pair ? (unsigned char)quoted.data[++i] : c);
        else
            tkr_buf_append(out, &quoted.data[i], 1);
    }
    tkr_buf_free(&quoted);
}

static void put_field(tkr_buf *out, const char *name, const char *value) {
    tkr_buf_printf(out, ",\"%s\":", name);
    put_string(out, value);
}

/* Under the lock. */
static void tell_losses(tkr_logging *l) {
    if (l->n_lost == 0) return;
    const unsigned long long n = l->n_lost;
    begin_line(&l->lines, l, TKR_LOG_WARNING);
    tkr_buf_printf(
        &l->lines,
        l->json ? ",\"message\":\"%llu lines of this log were lost\"}\n" : "%llu lines of this log were lost\n", n);
    l->n_lost = 0;
}

static void add_line(tkr_logging *l, const tkr_buf *line) {
    tkr_mutex_lock(&l->lock);
    if (line->failed || l->lines.size + line->size > MOST_WAITING) {
        l->n_lost++;
    } else {
        tell_losses(l);
        if (!tkr_buf_append(&l->lines, line->data, line->size)) {
            l->lines.failed = false;
            l->n_lost++;
        }
    }
    if (l->asleep) tkr_cond_signal(&l->wake);
    tkr_mutex_unlock(&l->lock);
}

static void log_line(void *user, int level, const char *text) {
    tkr_logging *l = user;
    tkr_buf line = {0};
    if (level > l->level || level < TKR_LOG_ERROR) return;
    begin_line(&line, l, level);
    if (l->json) {
        put_field(&line, "message", text);
        tkr_buf_append(&line, "}\n", 2);
    } else {
        tkr_buf_printf(&line, "%s\n", text);
    }
    add_line(l, &line);
    tkr_buf_free(&line);
}

/* A path may hold anything: what isn't plain is written as a JSON string. */
static void put_path(tkr_buf *out, const char *path) {
    for (const char *at = path; *at; at++)
        if (*at <= ' ' || *at > '~' || *at == '"' || *at == '\\') {
            put_string(out, path);
            return;
        }
    tkr_buf_printf(out, "%s", path);
}

static void put_json_request(tkr_buf *out, const tkr_operation *op, const tkr_http_request *request, double total_s) {
    put_field(out, "event", "request");
    if (op) put_field(out, "request_id", op->request_id);
    put_field(out, "method", request->method ? request->method : "");
    put_field(out, "path", request->path ? request->path : "");
    put_field(out, "peer", request->peer ? request->peer : "");
    if (op && op->identity) put_field(out, "key", op->identity->name);
    if (op && op->handler) put_field(out, "api", op->handler->api->name);
    if (op && op->model) put_field(out, "model", op->model->name);
    if (op && op->job.n_items > 0)
        tkr_buf_printf(out, ",\"inputs\":%zu,\"tokens\":%zu,\"cached\":%zu,\"queue_ms\":%.3f,\"compute_ms\":%.3f",
                       op->job.n_items, op->job.n_tokens, op->n_cached, op->job.queue_s * 1e3,
                       (op->job.pictures_s + op->job.tokenize_s + op->job.forward_s) * 1e3);
    if (op && op->fault.message[0]) put_field(out, "error", tkr_fault_word(op->fault.kind));
    tkr_buf_printf(out, ",\"bytes_in\":%zu,\"ms\":%.3f", request->n_wire, total_s * 1e3);
}

static void put_text_request(tkr_buf *out, const tkr_operation *op, const tkr_http_request *request, unsigned status,
                             double total_s) {
    tkr_buf_printf(out, "%s ", request->method ? request->method : "-");
    put_path(out, request->path ? request->path : "-");
    tkr_buf_printf(out, " %u %.1f ms", status, total_s * 1e3);
    if (op && op->job.n_items > 0)
        tkr_buf_printf(out, ", %zu input%s, %zu tokens, %zu cached, waited %.1f ms", op->job.n_items,
                       op->job.n_items == 1 ? "" : "s", op->job.n_tokens, op->n_cached, op->job.queue_s * 1e3);
    if (op && op->fault.message[0]) tkr_buf_printf(out, ", %s", tkr_fault_word(op->fault.kind));
    tkr_buf_printf(out, ", %s", request->peer ? request->peer : "-");
    if (op && op->identity) tkr_buf_printf(out, ", key %s", op->identity->name);
    if (op) tkr_buf_printf(out, ", id %s", op->request_id);
    tkr_buf_putc(out, '\n');
}

void tkr_logging_request(tkr_logging *l, const tkr_operation *op, const tkr_http_request *request, unsigned status,
                         size_t n_bytes, double total_s) {
    const int level = status >= 500 && status != 503 ? TKR_LOG_ERROR : TKR_LOG_INFO;
    tkr_buf line = {0};
    if (level > l->level) return;
    begin_line(&line, l, level);
    if (l->json) {
        put_json_request(&line, op, request, total_s);
        tkr_buf_printf(&line, ",\"status\":%u,\"bytes_out\":%zu}\n", status, n_bytes);
    } else {
        put_text_request(&line, op, request, status, total_s);
    }
    add_line(l, &line);
    tkr_buf_free(&line);
}

/* ---- opening ---- */

tkr_log tkr_logging_hook(tkr_logging *l) { return (tkr_log){log_line, l}; }

tkr_status tkr_logging_reopen(tkr_logging *l, tkr_error *error) {
    tkr_append *fresh = NULL;
    uint64_t size = 0;
    if (!l->path) return TKR_OK;
    const tkr_status status = tkr_append_open(&fresh, &size, l->path, error);
    if (status != TKR_OK) return status;
    tkr_mutex_lock(&l->lock);
    tkr_append *unused = l->fresh;
    l->fresh = fresh;
    l->fresh_empty = size == 0;
    if (l->asleep) tkr_cond_signal(&l->wake);
    tkr_mutex_unlock(&l->lock);
    tkr_append_close(&unused);
    return TKR_OK;
}

void tkr_logging_flush(tkr_logging *l, double seconds) {
    const double until = tkr_now() + seconds;
    tkr_mutex_lock(&l->lock);
    while ((l->lines.size > 0 || l->busy) && tkr_cond_wait_until(&l->idle, &l->lock, until)) {
    }
    tkr_mutex_unlock(&l->lock);
}

tkr_status tkr_logging_open(tkr_logging **out, const tkr_settings *settings, tkr_error *error) {
    const char *path = tkr_setting_of(settings, TKR_SET_LOG_FILE)->text;
    const char *user = tkr_setting_of(settings, TKR_SET_USER)->text;
    const char *format = tkr_setting_choice(settings, TKR_SET_LOG_FORMAT);
    tkr_logging *l = tkr_calloc(1, sizeof *l);
    if (!l) return TKR_FAIL(error, NO_MEMORY, "no memory for the log");
    tkr_mutex_init(&l->lock);
    tkr_cond_init(&l->wake);
    tkr_cond_init(&l->idle);
    l->level = (int)tkr_setting_of(settings, TKR_SET_LOG_LEVEL)->number;
    l->json = strcmp(format, "json") == 0 || (strcmp(format, "auto") == 0 && (path || !tkr_term_is(TKR_STREAM_ERR)));
    tkr_status status = TKR_OK;
    if (path && !(l->path = tkr_strdup(path))) status = TKR_FAIL(error, NO_MEMORY, "no memory for the log");
    uint64_t size = 0;
    const bool made = path && !tkr_path_exists(path);
    if (status == TKR_OK)
        status = path ? tkr_append_open(&l->file, &size, path, error) : tkr_append_open_stderr(&l->file, error);
    if (status == TKR_OK && made && user) (void)tkr_user_give(user, path, NULL); /* that opens it again at SIGHUP */
    if (status == TKR_OK) status = tkr_thread_start(&l->thread, "tkr-log", write_lines, l, error);
    if (status != TKR_OK) {
        tkr_logging_close(&l);
        return status;
    }
    *out = l;
    return TKR_OK;
}

void tkr_logging_close(tkr_logging **out) {
    if (!out || !*out) return;
    tkr_logging *l = *out;
    tkr_mutex_lock(&l->lock);
    l->stop = true;
    tkr_cond_signal(&l->wake);
    tkr_mutex_unlock(&l->lock);
    tkr_thread_join(&l->thread);
    tkr_append_close(&l->file);
    tkr_append_close(&l->fresh);
    tkr_buf_free(&l->lines);
    tkr_buf_free(&l->writing);
    tkr_cond_destroy(&l->wake);
    tkr_cond_destroy(&l->idle);
    tkr_mutex_destroy(&l->lock);
    tkr_free(l->path);
    tkr_free(l);
    *out = NULL;
}
