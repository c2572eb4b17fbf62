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
        status = tkr_tok_scratch_create(&session->workers[i].scratch, model->tok, error);
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

static tkr_status result_create(tkr_result **out, const tkr_model *model, size_t n_items, size_t dimensions,
                                tkr_error *error) {
    size_t bytes = 0;
    tkr_result *result = tkr_calloc(1, sizeof *result);
    if (!result) return TKR_FAIL(error, NO_MEMORY, "no memory for the result");
    result->n_items = n_items;
    result->dimensions = dimensions;
    result->multi_vector = model->info.multi_vector != 0;
    if (result->multi_vector) dimensions = 0; /* each item has rows of its own */
    result->items = tkr_calloc(n_items ? n_items : 1, sizeof *result->items);
    result->fingerprint = tkr_strdup(model->info.fingerprint);
    if (tkr_mul_size(&bytes, n_items, dimensions) && tkr_mul_size(&bytes, bytes, sizeof(float)))
        result->rows = tkr_malloc(bytes ? bytes : 1);
    if (!result->items || !result->rows || !result->fingerprint) {
        tkr_result_free(&result);
        return TKR_FAIL(error, NO_MEMORY, "no memory for %zu vectors of %zu values", n_items, dimensions);
    }
    *out = result;
    return TKR_OK;
}

void tkr_result_free(tkr_result **out) {
    if (!out || !*out) return;
    tkr_result *result = *out;
    for (size_t i = 0; result->items && i < result->n_items; i++) {
        tkr_free(result->items[i].message);
        tkr_free(result->items[i].rows);
    }
    tkr_free(result->items);
    tkr_free(result->rows);
    tkr_free(result->fingerprint);
    tkr_free(result);
    *out = NULL;
}

tkr_result_kind tkr_result_get_kind(const tkr_result *result) {
    return result->multi_vector ? TKR_RESULT_MULTI_VECTOR : TKR_RESULT_DENSE;
}

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
        out.rows = result->multi_vector ? item->rows : result->rows + index * result->dimensions;
        out.n_rows = result->multi_vector ? item->n_rows : 1;
        if (item->n_tokens == 0) out.n_tokens = out.n_tokens_untruncated = item->n_patches; /* a tower of its own */
    } else {
        out.message = item->message ? item->message : item->default_message;
    }
    return out;
}

/* ---- embed ---- */

static tkr_status check_options(const tkr_model *model, const tkr_embed_options *options, tkr_error *error) {
    size_t width = tkr_post_get_info(model->post)->dimensions;
    if (options->struct_size != sizeof *options)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "the embed options were not filled by tkr_embed_options_init of this version");
    if (options->dimensions > width)
        return TKR_FAIL(error, INVALID_ARGUMENT, "dimensions %zu; this model's vectors have %zu", options->dimensions,
                        width);
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

/* Stage by stage; with pictures, as many inputs at a time as memory is for. */
static tkr_status embed_all(tkr_call *call, tkr_error *error) {
    tkr_status status = TKR_OK;
    while (status == TKR_OK && call->end < call->n_inputs) {
        status = tkr_call_pictures(call, error);
        if (status == TKR_OK) status = tkr_call_tokenize(call, error);
        if (status == TKR_OK) status = tkr_call_forward(call, error);
        tkr_call_release_pictures(call);
    }
    return status;
}

tkr_status tkr_embed(tkr_result **out, tkr_session *session, const tkr_input *inputs, size_t n_inputs,
                     const tkr_embed_options *options, tkr_error *error) {
    tkr_embed_options defaults;
    tkr_embed_options_init(&defaults);
    options = options ? options : &defaults;
    tkr_model *model = session->model;
    tkr_status status = check_options(model, options, error);
    if (status != TKR_OK) return status;
    const tkr_post_info *post = tkr_post_get_info(model->post);
    tkr_call call = {.session = session, .inputs = inputs, .n_inputs = n_inputs, .options = options};
    call.max_tokens = model->checkpoint.max_tokens;
    if (options->dimensions && options->dimensions < post->dimensions && !model->checkpoint.matryoshka &&
        !atomic_exchange(&model->warned_dimensions, true))
        tkr_log_line(&model->log, TKR_LOG_WARNING,
                     "%s is not known to be trained for shortened vectors: the first %zu of %zu values may represent "
                     "texts badly",
                     model->info.reference, options->dimensions, post->dimensions);
    call.normalize = options->normalize == TKR_DEFAULT ? post->normalizes : options->normalize == TKR_YES;
    status = result_create(&call.result, model, n_inputs, options->dimensions ? options->dimensions : post->dimensions,
                           error);
    for (size_t i = 0; i < n_inputs && !call.has_parts; i++) call.has_parts = inputs[i].kind == TKR_INPUT_PARTS;
    if (status == TKR_OK) status = embed_all(&call, error);
    if (status != TKR_OK) {
        tkr_result_free(&call.result);
        return status;
    }
    *out = call.result;
    return TKR_OK;
}
