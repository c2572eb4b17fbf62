/* SPDX-License-Identifier: Apache-2.0 */
/* server/schedule_rate: how many tokens an input will have and how fast a model computes them, learnt from what was
 * computed. Estimates only: nothing here changes a result. */
#include <math.h>
#include <string.h>

#include "server/schedule_internal.h"

#define FIRST_TOKENS_PER_BYTE 0.3
#define FIRST_TOKENS_PER_S 2000.0
#define FIRST_TOKENS_PER_PICTURE 256.0
#define SPECIAL_TOKENS 2.0 /* around a text */
#define LEAST_PIECE 96     /* tokens: smaller batches waste the matrices that are read for them */
#define PIECE_QUANTA 10
#define INTERACTIVE_QUANTA 4
#define RATE_WEIGHT 0.2 /* of a batch in what is learnt */
#define TEXT_WEIGHT_BYTES 1024.0

static double learnt(const _Atomic double *value, double first) {
    const double now = atomic_load_explicit(value, memory_order_relaxed);
    return now > 0 ? now : first;
}

/* Only the scheduler's thread writes. */
static void learn(_Atomic double *value, double sample, double first, double weight) {
    const double before = learnt(value, first);
    atomic_store_explicit(value, before + weight * (sample - before), memory_order_relaxed);
}

/* ---- tokens ---- */

static size_t length_of(const char *text) { return text ? strlen(text) : 0; }

/* Bytes of text that an input has; its pictures go to *n_pictures. */
static double text_bytes(size_t *n_pictures, const tkr_job_item *item) {
    const tkr_input *in = &item->input;
    size_t bytes = 0;
    *n_pictures = 0;
    if (in->kind == TKR_INPUT_TEXT || in->kind == TKR_INPUT_PAIR) bytes = in->n_text;
    if (in->kind == TKR_INPUT_PAIR) bytes += in->n_pair;
    for (size_t i = 0; in->kind == TKR_INPUT_PARTS && i < in->n_parts; i++) {
        if (in->parts[i].kind == TKR_PART_TEXT)
            bytes += in->parts[i].n_data;
        else
            *n_pictures += in->parts[i].kind == TKR_PART_FRAMES ? in->parts[i].n_frames : 1;
    }
    const char *instruction = in->instruction ? in->instruction : item->options.instruction;
    const char *prompt = in->prompt ? in->prompt : item->options.prompt;
    return (double)bytes + (double)length_of(instruction ? instruction : prompt);
}

/* Patches of the input's pictures at most; frames that are pooled are inputs of their own. */
static size_t most_patches(const tkr_served_model *model, const tkr_input *input) {
    for (size_t i = 0; i < input->n_parts; i++) {
        if (input->parts[i].kind == TKR_PART_FRAMES && input->video_pooling != TKR_VIDEO_NATIVE) return 0;
    }
    return model->info->max_image_patches;
}

static double at_most(double value, size_t limit) { return limit > 0 && value > (double)limit ? (double)limit : value; }

static size_t estimate_item(const tkr_served_model *model, const tkr_job_item *item) {
    size_t n_pictures = 0;
    double tokens = 0;
    if (item->input.kind == TKR_INPUT_TOKENS) {
        tokens = (double)item->input.n_ids;
    } else {
        const double bytes = text_bytes(&n_pictures, item);
        tokens = bytes * learnt(&model->tokens_per_byte, FIRST_TOKENS_PER_BYTE) + SPECIAL_TOKENS;
    }
    tokens = at_most(at_most(tokens, model->info->max_tokens), item->options.max_tokens);
    if (n_pictures > 0) {
        const double each = learnt(&model->tokens_per_picture, FIRST_TOKENS_PER_PICTURE);
        tokens += at_most((double)n_pictures * each, most_patches(model, &item->input));
    }
    return tokens < 1 ? 1 : (size_t)tokens;
}

void tkr_job_estimate(tkr_job *job) {
    job->estimate = 0;
    for (size_t i = 0; i < job->n_items; i++) {
        tkr_job_item *item = &job->items[i];
        item->estimate = item->cached ? 0 : estimate_item(job->model, item);
        job->estimate += item->estimate;
    }
}

/* ---- speed ---- */

double tkr_served_rate(bool *known, const tkr_served_model *model) {
    const double rate = learnt(&model->tokens_per_s, 0);
    *known = rate > 0;
    return *known ? rate : FIRST_TOKENS_PER_S;
}

static size_t quantum_tokens(const tkr_scheduler *scheduler, const tkr_served_model *model) {
    bool known = false;
    return (size_t)(tkr_served_rate(&known, model) * scheduler->options.quantum_s);
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Interactive: all there is, up to what keeps the next ones waiting for a few quanta. Bulk: many quanta, as a call is
 * interrupted in the middle when it has to be; jobs take turns by pieces of this size. */
size_t tkr_batch_budget(const tkr_scheduler *scheduler, const tkr_served_model *model, unsigned queue) {
    const size_t quantum = quantum_tokens(scheduler, model), batch = model->info->batch_tokens;
    if (queue == TKR_QUEUE_INTERACTIVE) return larger(batch, INTERACTIVE_QUANTA * quantum);
    return larger(PIECE_QUANTA * quantum, LEAST_PIECE);
}

size_t tkr_bulk_limit(const tkr_scheduler *scheduler, const tkr_served_model *model) {
    if (scheduler->options.bulk_tokens > 0) return scheduler->options.bulk_tokens;
    return larger(quantum_tokens(scheduler, model), model->info->batch_tokens);
}

/* ---- learning ---- */

/* Batches of a few tokens say little about speed: they teach only what is faster than known. The first one, which may
 * be cold as well, counts by its size. */
static void learn_rate(tkr_served_model *model, size_t tokens, double seconds) {
    bool known = false;
    const double before = tkr_served_rate(&known, model), sample = (double)tokens / (seconds > 1e-9 ? seconds : 1e-9);
    if (tokens == 0) return;
    if (!known)
        learn(&model->tokens_per_s, sample, before, (double)tokens / (double)(tokens + LEAST_PIECE));
    else if (tokens >= LEAST_PIECE || sample > before)
        learn(&model->tokens_per_s, sample, before, RATE_WEIGHT);
}

void tkr_batch_learn(const tkr_serve_batch *batch, size_t tokens, double seconds) {
    tkr_served_model *model = batch->model;
    double bytes = 0, text_tokens = 0, picture_tokens = 0, pictures = 0;
    if (!batch->alone) learn_rate(model, tokens, seconds);
    for (size_t i = 0; i < batch->n; i++) {
        const tkr_job_item *item = &batch->refs[i].job->items[batch->refs[i].item];
        size_t n_pictures = 0;
        if (item->status != TKR_OK || item->input.kind == TKR_INPUT_TOKENS) continue;
        const double text = text_bytes(&n_pictures, item), n = (double)item->n_tokens_untruncated;
        if (n_pictures == 0) {
            bytes += text;
            text_tokens += n > SPECIAL_TOKENS ? n - SPECIAL_TOKENS : 0;
        } else {
            const double words = text * learnt(&model->tokens_per_byte, FIRST_TOKENS_PER_BYTE);
            pictures += (double)n_pictures;
            picture_tokens += n > words ? n - words : 1;
        }
    }
    if (bytes > 0 && text_tokens > 0)
        learn(&model->tokens_per_byte, text_tokens / bytes, FIRST_TOKENS_PER_BYTE,
              RATE_WEIGHT * bytes / (bytes + TEXT_WEIGHT_BYTES));
    if (pictures > 0)
        learn(&model->tokens_per_picture, picture_tokens / pictures, FIRST_TOKENS_PER_PICTURE, RATE_WEIGHT);
}

double tkr_recent_tokens(const tkr_scheduler *scheduler, double now) {
    return scheduler->recent_tokens * exp((scheduler->recent_at - now) / TKR_RECENT_SECONDS);
}
