/* SPDX-License-Identifier: Apache-2.0 */
/* engine/session: sessions, results and tkr_embed. */
#include <string.h>

#include "engine/engine.h"

tkr_status tkr_session_create(tkr_session **out, tkr_model *model, tkr_error *error) {
    tkr_session *session = tkr_calloc(1, sizeof *session);
    if (!session) return TKR_FAIL(error, NO_MEMORY, "no memory for a session");
    session->model = model;
    session->n_workers = tkr_pool_size(model->pool);
    session->workers = tkr_calloc(session->n_workers, sizeof *session->workers);
    tkr_status status = session->workers ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for a session");
    for (unsigned i = 0; status == TKR_OK && i < session->n_workers; i++) {
        status = tkr_tok_scratch_create(&session->workers[i].scratch, model->tokenizer.tok, error);
        if (status == TKR_OK && i < tkr_model_computing_workers(model))
            status = model->ops->run_create(&session->workers[i].run, model->backend, error);
    }
    if (status != TKR_OK) {
        tkr_session_free(&session);
        return status;
    }
    *out = session;
    return TKR_OK;
}

void tkr_session_free(tkr_session **out) {
    if (!out || !*out) return;
    tkr_session *session = *out;
    for (unsigned i = 0; session->workers && i < session->n_workers; i++) {
        tkr_worker *worker = &session->workers[i];
        tkr_tok_scratch_free(&worker->scratch);
        if (worker->run) session->model->ops->run_free(&worker->run);
        tkr_buf_free(&worker->ids);
        tkr_buf_free(&worker->types);
        tkr_buf_free(&worker->text);
        tkr_buf_free(&worker->batch);
        tkr_buf_free(&worker->wide);
        tkr_buf_free(&worker->file);
    }
    tkr_free(session->workers);
    tkr_buf_free(&session->order);
    tkr_buf_free(&session->chunks);
    tkr_buf_free(&session->pictures);
    tkr_free(session);
    *out = NULL;
}

/* ---- results ---- */

static tkr_result_kind kind_of(const tkr_model *model, const tkr_embed_options *options) {
    if (options->kind == TKR_RESULT_TOKENS) return TKR_RESULT_TOKENS;
    return model->info.multi_vector ? TKR_RESULT_MULTI_VECTOR : TKR_RESULT_DENSE;
}

/* NULL: no memory. */
static tkr_result *result_create(const tkr_model *model, size_t n_items, const tkr_embed_options *options) {
    tkr_result *result = tkr_calloc(1, sizeof *result);
    if (!result) return NULL;
    result->n_items = n_items;
    result->kind = kind_of(model, options);
    result->items = tkr_calloc(n_items ? n_items : 1, sizeof *result->items);
    result->fingerprint = tkr_strdup(model->info.fingerprint);
    if (!result->items || !result->fingerprint) tkr_result_free(&result);
    return result;
}

/* Gives every item, of one row or of one a span, its place. */
static tkr_status place_rows(tkr_call *call, tkr_error *error) {
    tkr_result *result = call->result;
    size_t values = 0, bytes = 0;
    for (size_t i = 0; i < result->n_items; i++) {
        tkr_item *item = &result->items[i];
        size_t own = 0;
        item->n_rows = item->status == TKR_OK && call->inputs[i].n_spans > 0 ? call->inputs[i].n_spans : 1;
        if (!tkr_mul_size(&own, item->n_rows, item->dimensions) || !tkr_add_size(&values, values, own))
            values = SIZE_MAX;
    }
    if (tkr_mul_size(&bytes, values, sizeof(float))) result->rows = tkr_malloc(bytes ? bytes : 1);
    if (!result->rows)
        return TKR_FAIL(error, NO_MEMORY, "no memory for %zu vectors of %zu values together", result->n_items, values);
    float *at = result->rows;
    for (size_t i = 0; i < result->n_items; i++) {
        result->items[i].rows = at;
        at += result->items[i].n_rows * result->items[i].dimensions;
    }
    return TKR_OK;
}

void tkr_result_free(tkr_result **out) {
    if (!out || !*out) return;
    tkr_result *result = *out;
    for (size_t i = 0; result->items && i < result->n_items; i++) {
        tkr_free(result->items[i].message);
        if (!result->rows) tkr_free(result->items[i].rows);
    }
    tkr_free(result->items);
    tkr_free(result->rows);
    tkr_free(result->fingerprint);
    tkr_free(result);
    *out = NULL;
}

tkr_result_kind tkr_result_get_kind(const tkr_result *result) { return result->kind; }
size_t tkr_result_n_items(const tkr_result *result) { return result->n_items; }
size_t tkr_result_dimensions(const tkr_result *result) { return result->dimensions; }
const char *tkr_result_fingerprint(const tkr_result *result) { return result->fingerprint; }

tkr_result_item tkr_result_get(const tkr_result *result, size_t index) {
    if (index >= result->n_items)
        return (tkr_result_item){.status = TKR_INVALID_ARGUMENT, .message = "the result has no such item"};
    const tkr_item *item = &result->items[index];
    tkr_result_item out = {
        .status = item->status, .n_tokens = item->n_tokens, .n_tokens_untruncated = item->n_untruncated};
    if (item->status == TKR_OK) {
        out.n_frames = item->n_frames;
        out.start_s = item->start_s;
        out.end_s = item->end_s;
        out.n_lost_frames = item->n_lost_frames;
        out.rows = item->rows;
        out.n_rows = item->n_rows;
        out.dimensions = item->dimensions;
        if (item->n_tokens == 0) out.n_tokens = out.n_tokens_untruncated = item->n_patches; /* a tower of its own */
    } else {
        out.message = item->message ? item->message : item->default_message;
    }
    return out;
}

/* ---- embed ---- */

static tkr_status check_options(const tkr_call *call, const tkr_embed_options *options, tkr_error *error) {
    const tkr_model *model = call->session->model;
    if (options->struct_size != sizeof *options)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "the embed options were not filled by tkr_embed_options_init of this version");
    if (options->dimensions > call->width)
        return TKR_FAIL(error, INVALID_ARGUMENT, "dimensions %zu; this model's %s have %zu", options->dimensions,
                        call->options->kind == TKR_RESULT_TOKENS ? "token states" : "vectors", call->width);
    if (options->truncate < TKR_TRUNCATE_RIGHT || options->truncate > TKR_TRUNCATE_ERROR)
        return TKR_FAIL(error, INVALID_ARGUMENT, "truncate %d is unknown; known: right, left, error",
                        (int)options->truncate);
    if (options->normalize < TKR_DEFAULT || options->normalize > TKR_YES)
        return TKR_FAIL(error, INVALID_ARGUMENT, "normalize %d is unknown; known: default, no, yes",
                        (int)options->normalize);
    const tkr_input none = {0};
    tkr_prompt prompt;
    return tkr_prompt_find(&prompt, &model->checkpoint, &none, options, error);
}

/* Shortened vectors of a model that may not be made for them. */
static void warn_dimensions(const tkr_call *call, const tkr_embed_options *options) {
    tkr_model *model = call->session->model;
    if (options->dimensions == 0 || options->dimensions == call->width || model->checkpoint.matryoshka ||
        atomic_exchange(&model->warned_dimensions, true))
        return;
    tkr_log_line(&model->log, TKR_LOG_WARNING,
                 "%s is not known to be trained for shortened vectors: the first %zu of %zu values may represent "
                 "texts badly",
                 model->info.reference, options->dimensions, call->width);
}

/* Checks the options of the call and those of single inputs, and makes the result that they ask for. */
static tkr_status begin_call(tkr_call *call, tkr_error *error) {
    const tkr_model *model = call->session->model;
    const tkr_result_kind kind = call->options->kind;
    if (kind != TKR_RESULT_DENSE && kind != TKR_RESULT_TOKENS)
        return TKR_FAIL(error, INVALID_ARGUMENT, "results of kind %d can't be asked for; known: dense, tokens",
                        (int)kind);
    call->max_tokens = model->checkpoint.max_tokens;
    call->width =
        kind == TKR_RESULT_TOKENS ? model->checkpoint.config.hidden_size : tkr_post_get_info(model->post)->dimensions;
    tkr_status status = check_options(call, call->options, error);
    if (status != TKR_OK) return status;
    tkr_result *result = call->result = result_create(model, call->n_inputs, call->options);
    if (!result) return TKR_FAIL(error, NO_MEMORY, "no memory for %zu results", call->n_inputs);
    warn_dimensions(call, call->options);
    result->dimensions = call->options->dimensions ? call->options->dimensions : call->width;
    for (size_t i = 0; i < call->n_inputs; i++) {
        const tkr_embed_options *own = call->inputs[i].options;
        tkr_item *item = &result->items[i];
        tkr_error why = {TKR_OK, NULL, ""};
        call->has_parts = call->has_parts || call->inputs[i].kind == TKR_INPUT_PARTS;
        item->dimensions = result->dimensions;
        if (call->inputs[i].n_spans > 0 && tkr_check_spans(call, &call->inputs[i], &why) != TKR_OK)
            tkr_item_fail(item, &why);
        if (!own || item->status != TKR_OK) continue;
        if (check_options(call, own, &why) != TKR_OK) {
            tkr_item_fail(item, &why);
            item->dimensions = 0;
            continue;
        }
        warn_dimensions(call, own);
        item->dimensions = own->dimensions ? own->dimensions : call->width;
    }
    return result->kind == TKR_RESULT_DENSE ? place_rows(call, error) : TKR_OK;
}

/* One stage, with its time; the caller's check function may then have let others go first. */
static tkr_status run_stage(tkr_call *call, double *seconds, tkr_status (*stage)(tkr_call *call, tkr_error *error),
                            tkr_error *error) {
    const double begin = tkr_now() - call->waited_s;
    const tkr_status status = stage(call, error);
    *seconds += tkr_now() - call->waited_s - begin;
    return status;
}

/* Stage by stage; with pictures, as many inputs at a time as memory is for. */
static tkr_status embed_all(tkr_call *call, tkr_result *result, tkr_error *error) {
    tkr_status status = TKR_OK;
    while (status == TKR_OK && call->end < call->n_inputs) {
        status = run_stage(call, &result->pictures_s, tkr_call_pictures, error);
        if (status == TKR_OK) status = run_stage(call, &result->tokenize_s, tkr_call_tokenize, error);
        if (status == TKR_OK) status = run_stage(call, &result->forward_s, tkr_call_forward, error);
        tkr_call_release_pictures(call);
    }
    return status;
}

tkr_status tkr_embed(tkr_result **out, tkr_session *session, const tkr_input *inputs, size_t n_inputs,
                     const tkr_embed_options *options, tkr_error *error) {
    tkr_embed_options defaults;
    tkr_embed_options_init(&defaults);
    tkr_call call = {
        .session = session, .inputs = inputs, .n_inputs = n_inputs, .options = options ? options : &defaults};
    call.n_workers = call.options->alone ? 1 : session->n_workers;
    tkr_status status = begin_call(&call, error);
    if (status == TKR_OK && call.result)
        status = tkr_call_has_videos(&call) ? tkr_call_videos(&call, error) : embed_all(&call, call.result, error);
    if (status != TKR_OK) {
        tkr_result_free(&call.result);
        return status;
    }
    *out = call.result;
    return TKR_OK;
}
