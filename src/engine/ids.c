/* SPDX-License-Identifier: Apache-2.0 */
/* engine/ids: first stage of a call: the token ids of every input, shared out over the workers. */
#include <string.h>

#include "engine/engine.h"

#define INPUTS_PER_TURN 8
/* One text of a chat's length isn't worth waking a worker. */
#define PARALLEL_FROM_BYTES 8192

void tkr_item_fail(tkr_item *item, const tkr_error *error) {
    item->status = error->status;
    item->message = tkr_strdup(error->message);
    item->default_message = tkr_status_text(error->status);
    item->n_tokens = 0;
}

static bool keep_ids(tkr_worker *worker, tkr_item *item, const int32_t *ids, const uint8_t *types, size_t n) {
    item->at = worker->ids.size / sizeof *ids;
    item->n_tokens = n;
    return tkr_buf_append(&worker->ids, ids, n * sizeof *ids) && tkr_buf_append(&worker->types, types, n);
}

static bool keep_given_ids(tkr_worker *worker, tkr_item *item, const int32_t *ids, size_t n) {
    item->at = worker->ids.size / sizeof *ids;
    item->n_tokens = n;
    if (!tkr_buf_append(&worker->ids, ids, n * sizeof *ids) || !tkr_buf_reserve(&worker->types, n)) return false;
    memset(worker->types.data + worker->types.size, 0, n);
    worker->types.size += n;
    return true;
}

static tkr_status given_ids(tkr_call *call, tkr_worker *worker, size_t index, tkr_error *error) {
    const tkr_input *input = &call->inputs[index];
    const tkr_embed_options *options = tkr_call_options(call, index);
    tkr_item *item = &call->result->items[index];
    size_t n = input->n_ids, limit = tkr_effective_max_tokens(call->max_tokens, options->max_tokens);
    const int32_t *ids = input->ids;
    const tkr_vision_config *vision = &call->session->model->checkpoint.vision;
    for (size_t i = 0; tkr_checkpoint_recipe(&call->session->model->checkpoint) && vision->image_token > 0 && i < n;
         i++)
        if (ids && (ids[i] == vision->image_token || ids[i] == vision->video_token))
            return TKR_FAIL(error, INVALID_ARGUMENT,
                            "token %zu is %d, which stands for a picture; give the picture itself as a part", i,
                            (int)ids[i]);
    if (n == 0 || !ids)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "a list of token ids is empty; even an empty text has its special tokens");
    item->n_untruncated = n;
    if (limit && n > limit) {
        if (options->truncate == TKR_TRUNCATE_ERROR || input->n_spans > 0)
            return TKR_FAIL(error, LIMIT, "%zu tokens; the limit is %zu", n, limit);
        ids = options->truncate == TKR_TRUNCATE_LEFT ? ids + (n - limit) : ids;
        n = limit;
    }
    return keep_given_ids(worker, item, ids, n) ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for %zu token ids", n);
}

/* An id beyond the embedding table has no vector: the tokenizer and the weights don't belong together. */
static tkr_status check_ids(const tkr_model *model, const tkr_worker *worker, const tkr_item *item, tkr_error *error) {
    const int32_t *ids = (const int32_t *)(const void *)worker->ids.data + item->at;
    size_t vocab = model->checkpoint.config.vocab_size;
    for (size_t i = 0; i < item->n_tokens; i++) {
        if (ids[i] >= 0 && (size_t)ids[i] < vocab) continue;
        const char *piece = tkr_tok_piece(model->tokenizer.tok, ids[i]);
        return TKR_FAIL(error, INVALID_ARGUMENT, "token id %d (\"%.40s\") is outside of the model's vocabulary of %zu",
                        (int)ids[i], piece ? piece : "?", vocab);
    }
    return TKR_OK;
}

static tkr_status one_input(tkr_call *call, tkr_worker *worker, size_t index, tkr_error *error) {
    tkr_model *model = call->session->model;
    const tkr_input *input = &call->inputs[index];
    tkr_item *item = &call->result->items[index];
    tkr_status status = TKR_OK;
    if (item->n_pictures > 0 && model->checkpoint.arch->vision->two_towers) return TKR_OK; /* has no tokens */
    if (input->kind == TKR_INPUT_TOKENS) {
        status = given_ids(call, worker, index, error);
    } else if (input->kind == TKR_INPUT_TEXT || input->kind == TKR_INPUT_PAIR || input->kind == TKR_INPUT_PARTS) {
        const tkr_picture *pictures = (const tkr_picture *)(const void *)call->session->pictures.data;
        const tkr_encode_request request = {.checkpoint = &model->checkpoint,
                                            .tok = model->tokenizer.tok,
                                            .scratch = worker->scratch,
                                            .text = &worker->text,
                                            .input = input,
                                            .options = tkr_call_options(call, index),
                                            .max_tokens = call->max_tokens,
                                            .count_prompt = call->result->kind == TKR_RESULT_DENSE &&
                                                            !tkr_post_get_info(model->post)->include_prompt,
                                            .wide = &worker->wide,
                                            .pictures = item->n_pictures ? pictures + item->first_picture : NULL,
                                            .n_pictures = item->n_pictures};
        tkr_tok_result result;
        if (request.options->special_tokens == TKR_NO)
            return TKR_FAIL(error, INVALID_ARGUMENT,
                            "special_tokens is off; a model embeds texts with its special tokens: give ids instead");
        status = tkr_encode_input(&result, &item->n_prompt_tokens, &request, error);
        if (status == TKR_OK) {
            item->n_untruncated = result.n_untruncated;
            if (result.n == 0)
                status = TKR_FAIL(error, INVALID_ARGUMENT,
                                  "the text gives no token at all; this model has no vector for it");
            else if (!keep_ids(worker, item, result.ids, result.type_ids, result.n))
                status = TKR_FAIL(error, NO_MEMORY, "no memory for %zu tokens", result.n);
        }
    } else {
        status = TKR_FAIL(error, INVALID_ARGUMENT, "input kind %d is unknown", (int)input->kind);
    }
    if (status == TKR_OK) status = check_ids(model, worker, item, error);
    if (status == TKR_OK && item->n_prompt_tokens >= item->n_tokens)
        status = TKR_FAIL(error, LIMIT, "the prompt fills the limit of %zu tokens; nothing of the text is left to pool",
                          item->n_tokens);
    return status;
}

static void tokenize_worker(void *arg, unsigned index, unsigned n_workers) {
    tkr_call *call = arg;
    tkr_worker *worker = &call->session->workers[index];
    while (!tkr_call_yields(call)) {
        size_t begin = atomic_fetch_add_explicit(&call->next, INPUTS_PER_TURN, memory_order_relaxed);
        if (begin >= call->end || atomic_load_explicit(&call->stop, memory_order_relaxed) != TKR_OK) return;
        size_t end = call->end - begin < INPUTS_PER_TURN ? call->end : begin + INPUTS_PER_TURN;
        for (size_t i = begin; i < end; i++) {
            tkr_error error = {TKR_OK, NULL, ""};
            tkr_item *item = &call->result->items[i];
            if (item->status != TKR_OK) continue; /* stage 0 found out already */
            item->worker = index;
            const size_t n_ids = worker->ids.size / sizeof(int32_t);
            if (one_input(call, worker, i, &error) != TKR_OK) {
                tkr_item_fail(item, &error);
                worker->ids.failed = worker->types.failed = worker->text.failed = false;
                worker->ids.size = n_ids * sizeof(int32_t); /* one of the two may have been filled: keep them in step */
                worker->types.size = n_ids;
            }
        }
        if (index == 0) (void)tkr_call_ask(call, n_workers == 1);
    }
}

/* Of the texts among the parts. */
static size_t input_parts_bytes(const tkr_input *input) {
    size_t n = 0;
    if (input->kind != TKR_INPUT_PARTS) return 0;
    for (size_t i = 0; i < input->n_parts; i++)
        if (!tkr_part_is_image(&input->parts[i])) n += input->parts[i].n_data;
    return n;
}

tkr_status tkr_call_tokenize(tkr_call *call, tkr_error *error) {
    tkr_session *session = call->session;
    size_t bytes = 0;
    for (unsigned i = 0; i < session->n_workers; i++) session->workers[i].ids.size = session->workers[i].types.size = 0;
    for (size_t i = call->begin; i < call->end && bytes < PARALLEL_FROM_BYTES; i++)
        bytes += call->inputs[i].n_text + call->inputs[i].n_pair + input_parts_bytes(&call->inputs[i]);
    atomic_store(&call->next, call->begin);
    const bool alone =
        call->n_workers == 1 || call->end - call->begin <= INPUTS_PER_TURN || bytes < PARALLEL_FROM_BYTES;
    const tkr_status status = tkr_call_share(call, tokenize_worker, call, alone, error);
    if (status != TKR_OK) return status;
    call->cost = 0;
    for (size_t i = call->begin; i < call->end; i++)
        if (call->result->items[i].status == TKR_OK) call->cost += tkr_item_cost(&call->result->items[i]);
    call->total_tokens += call->cost;
    call->n_seen = call->end;
    return TKR_OK;
}
