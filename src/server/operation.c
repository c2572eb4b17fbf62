/* SPDX-License-Identifier: Apache-2.0 */
/* server/operation: what handlers share: mistakes and their HTTP statuses, memory, inputs with the server's defaults.
 */
#include "server/operation.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    unsigned status;
    const char *word;
} faults[TKR_N_FAULTS] = {
#define TKR_X(name, status, word) {status, word},
    TKR_FAULT_LIST(TKR_X)
#undef TKR_X
};

unsigned tkr_fault_status(tkr_fault_kind kind) { return faults[kind].status; }
const char *tkr_fault_word(tkr_fault_kind kind) { return faults[kind].word; }

tkr_fault_kind tkr_fault_of_status(tkr_status status) {
    switch (status) {
    case TKR_INVALID_ARGUMENT: return TKR_FAULT_VALUE;
    case TKR_NOT_FOUND:
    case TKR_FORMAT:
    case TKR_NETWORK:
    case TKR_DENIED: return TKR_FAULT_MEDIA;
    case TKR_UNSUPPORTED: return TKR_FAULT_UNSUPPORTED;
    case TKR_LIMIT: return TKR_FAULT_TOO_LONG;
    case TKR_CANCELLED: return TKR_FAULT_CANCELLED;
    case TKR_DEADLINE:
    case TKR_BUSY: return TKR_FAULT_UNAVAILABLE;
    case TKR_NUMERIC: return TKR_FAULT_NUMERIC;
    case TKR_OK:
    case TKR_IO:
    case TKR_NO_MEMORY:
    case TKR_INTERNAL: break;
    }
    return TKR_FAULT_INTERNAL;
}

bool tkr_refuse_with(tkr_operation *op, tkr_fault_kind kind, const char *param, const char *format, ...) {
    tkr_error line; /* takes out control characters that came from the request */
    char text[sizeof op->fault.message];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    tkr_error_set(&line, TKR_HERE, TKR_INVALID_ARGUMENT, "%s", text);
    op->fault.kind = kind;
    (void)snprintf(op->fault.param, sizeof op->fault.param, "%s", param ? param : "");
    (void)snprintf(op->fault.message, sizeof op->fault.message, "%s", line.message);
    op->fault.retry_after_s = 0;
    return false;
}

void *tkr_operation_alloc(tkr_operation *op, size_t size) {
    void *out = tkr_arena_alloc(op->arena, size);
    if (!out) tkr_refuse(op, INTERNAL, NULL, "no memory for the request");
    return out;
}

bool tkr_operation_fits(tkr_operation *op, size_t n) {
    const uint64_t most = tkr_setting_of(tkr_server_settings(op->server), TKR_SET_MAX_CLIENT_BATCH)->number;
    return n <= most || tkr_refuse(op, TOO_MANY, NULL, "%zu inputs; at most %zu go into one request", n, (size_t)most);
}

tkr_job_item *tkr_operation_items(tkr_operation *op, size_t n) {
    const tkr_settings *settings = tkr_server_settings(op->server);
    size_t bytes = 0;
    if (!tkr_operation_fits(op, n) || !tkr_mul_size(&bytes, n ? n : 1, sizeof(tkr_job_item))) return NULL;
    tkr_job_item *items = tkr_operation_alloc(op, bytes);
    if (!items) return NULL;
    const tkr_truncate truncate =
        tkr_setting_on(settings, TKR_SET_AUTO_TRUNCATE) ? TKR_TRUNCATE_RIGHT : TKR_TRUNCATE_ERROR;
    for (size_t i = 0; i < n; i++) {
        tkr_embed_options_init(&items[i].options);
        items[i].options.truncate = truncate;
        items[i].options.prompt_name = tkr_setting_of(settings, TKR_SET_DEFAULT_PROMPT)->text;
        items[i].input.options = &items[i].options;
    }
    op->job.items = items;
    op->job.n_items = n;
    return items;
}
