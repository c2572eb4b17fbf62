/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/video: inputs with videos. Their frames are decoded one video at a time, and become pictures of the same
 * input, where the model reads a video as a whole, or of inputs of their own, whose vectors are pooled. Refuses what
 * the model can't read before it decodes anything.
 */
#include "engine/video.h"

#include <string.h>

/* ---- which inputs ---- */

static bool is_video(const tkr_part *part) {
    return part->kind == TKR_PART_VIDEO || part->kind == TKR_PART_VIDEO_FILE || part->kind == TKR_PART_FRAMES;
}

static bool needs_work(const tkr_model *model, const tkr_input *input, const tkr_part *part) {
    if (!is_video(part)) return false;
    const tkr_recipe *recipe = tkr_model_recipe(model);
    return part->kind != TKR_PART_FRAMES || input->video_pooling != TKR_VIDEO_NATIVE || !recipe || !recipe->frames ||
           part->n_frames > tkr_video_most_native(model, part);
}

static size_t count_videos(const tkr_model *model, const tkr_input *input) {
    size_t n = 0;
    for (size_t i = 0; input->kind == TKR_INPUT_PARTS && input->parts && i < input->n_parts; i++)
        n += needs_work(model, input, &input->parts[i]);
    return n;
}

bool tkr_call_has_videos(const tkr_call *call) {
    for (size_t i = 0; i < call->n_inputs; i++)
        if (count_videos(call->session->model, &call->inputs[i]) > 0) return true;
    return false;
}

/* ---- inputs of pictures ---- */

static bool is_empty(const tkr_part *part) {
    return part->kind == TKR_PART_FRAMES ? !part->frames || part->n_frames == 0 : !part->data;
}

/* What the model would say to pictures in the videos' places, and to videos that hold nothing. */
static tkr_status check(const tkr_video_job *j, tkr_error *error) {
    static const uint8_t pixel[3];
    const tkr_model *model = j->model;
    tkr_input plain = *j->input;
    const size_t n_videos = count_videos(model, j->input);
    tkr_part *parts = tkr_calloc(plain.n_parts, sizeof *parts);
    if (!parts) return TKR_FAIL(error, NO_MEMORY, "no memory for an input of %zu parts", plain.n_parts);
    for (size_t i = 0; i < plain.n_parts; i++) {
        parts[i] = plain.parts[i];
        if (is_video(&parts[i]) && !is_empty(&parts[i]))
            parts[i] = (tkr_part){.kind = TKR_PART_RGB, .data = pixel, .n_data = 3, .width = 1, .height = 1};
    }
    plain.parts = parts;
    tkr_status status = tkr_check_input(&model->checkpoint, &plain, error);
    tkr_free(parts);
    if (status != TKR_OK) return status;
    if (plain.video_pooling < TKR_VIDEO_MEAN || plain.video_pooling > TKR_VIDEO_NATIVE)
        return TKR_FAIL(error, INVALID_ARGUMENT, "video_pooling %d is unknown; known: mean, max, first, native",
                        (int)plain.video_pooling);
    status = tkr_video_check_native(j, error);
    if (status != TKR_OK) return status;
    if (!tkr_video_is_native(j) && n_videos > 1)
        return TKR_FAIL(error, INVALID_ARGUMENT, "the input has %zu videos; pooled by frames it may have one",
                        n_videos);
    if (!tkr_video_is_native(j) && j->call->result->kind == TKR_RESULT_TOKENS)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "token states of a video were asked for: native pooling alone has them");
    return TKR_OK;
}

/* The input's parts with pictures or lists of frames in place of the videos; frame SIZE_MAX: all. */
static tkr_status put_parts(tkr_buf *parts, const tkr_video_job *j, size_t frame, tkr_error *error) {
    const tkr_recipe *recipe = tkr_model_recipe(j->model);
    bool good = true;
    for (size_t i = 0; good && i < j->input->n_parts; i++) {
        const tkr_reel *r = &j->reels[i];
        tkr_part part = j->input->parts[i];
        if (r->n == 0) {
            good = tkr_buf_append(parts, &part, sizeof part);
        } else if (frame != SIZE_MAX) {
            good = tkr_buf_append(parts, &r->frames[frame], sizeof part);
        } else if (!recipe->frames) {
            good = tkr_buf_append(parts, r->frames, r->n * sizeof part);
        } else {
            part.kind = TKR_PART_FRAMES;
            part.frames = r->frames;
            part.n_frames = r->n;
            part.times = r->owned || part.times ? r->times : NULL;
            if (r->owned) part.data = TKR_DECODED;
            part.max_frames = r->n;
            good = tkr_buf_append(parts, &part, sizeof part);
        }
    }
    return good ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for an input of %zu parts", j->input->n_parts);
}

/* ---- calls of their own ---- */

/* The caller's check function as an inner call sees it: its inputs are the outer call's, or frames of one of them. */
typedef struct outer_check {
    const tkr_embed_options *options;
    size_t done, n;
    bool frames;
} outer_check;

static tkr_status ask_outer(void *user, const tkr_progress *inner) {
    const outer_check *c = user;
    tkr_progress progress = *inner;
    progress.done_inputs = c->done + (c->frames ? 0 : inner->done_inputs);
    progress.n_inputs = c->n;
    return c->options->check(c->options->check_user, &progress);
}

/* `inputs`: of the outer call from `done` on, or `frames` of that one. */
static tkr_status call_inner(tkr_result **sub, tkr_call *call, const tkr_input *inputs, size_t n, size_t done,
                             bool frames, tkr_error *error) {
    outer_check c = {.options = call->options, .done = done, .n = call->n_inputs, .frames = frames};
    tkr_embed_options options = *call->options;
    if (options.check) {
        options.check = ask_outer;
        options.check_user = &c;
    }
    const tkr_status status = tkr_embed(sub, call->session, inputs, n, &options, error);
    if (status != TKR_OK) return status;
    call->result->pictures_s += (*sub)->pictures_s;
    call->result->tokenize_s += (*sub)->tokenize_s;
    call->result->forward_s += (*sub)->forward_s;
    return TKR_OK;
}

static bool give_rows(tkr_item *to, const tkr_result *result, size_t n_rows) {
    to->n_rows = n_rows;
    if (result->rows) return true;
    size_t bytes = 0;
    to->rows = tkr_mul_size(&bytes, n_rows * to->dimensions, sizeof *to->rows) ? tkr_malloc(bytes) : NULL;
    return to->rows != NULL;
}

static void no_room(tkr_item *item) {
    tkr_error error;
    TKR_FAIL(&error, NO_MEMORY, "no memory for %zu vectors of %zu values", item->n_rows, item->dimensions);
    tkr_item_fail(item, &error);
}

/* One item of an inner call as the outer call's. */
static void copy_item(tkr_item *to, const tkr_result *result, const tkr_item *from) {
    to->n_tokens = from->n_tokens;
    to->n_untruncated = from->n_untruncated;
    to->n_patches = from->n_patches;
    if (from->status != TKR_OK) {
        tkr_error error;
        (void)tkr_error_set(&error, TKR_HERE, from->status, "%s",
                            from->message ? from->message : from->default_message);
        tkr_item_fail(to, &error);
    } else if (give_rows(to, result, from->n_rows)) {
        memcpy(to->rows, from->rows, from->n_rows * from->dimensions * sizeof *to->rows);
    } else {
        no_room(to);
    }
}

/* ---- pooling ---- */

/* Sum, or the largest; in double, frames in order. */
static void pool_value(double *sum, double value, bool first, bool largest) {
    if (first)
        *sum = value;
    else if (!largest)
        *sum += value;
    else if (value > *sum)
        *sum = value;
}

/* The frames' vectors become the input's; a frame that failed, or has another number of vectors, is left out. */
static void pool_items(tkr_video_job *j, const tkr_result *sub) {
    tkr_item *to = j->item;
    const tkr_item *first = NULL;
    const bool largest = j->input->video_pooling == TKR_VIDEO_MAX;
    size_t n = 0;
    for (size_t i = 0; i < sub->n_items; i++) {
        const tkr_item *from = &sub->items[i];
        to->n_tokens += from->n_tokens;
        to->n_untruncated += from->n_untruncated;
        to->n_patches += from->n_patches;
        if (from->status != TKR_OK || (first && from->n_rows != first->n_rows)) continue;
        first = first ? first : from;
        n++;
    }
    if (!first) {
        copy_item(to, j->call->result, &sub->items[0]);
        return;
    }
    to->n_frames = n;
    to->n_lost_frames += sub->n_items - n;
    const size_t size = first->n_rows * first->dimensions;
    double *sums = tkr_calloc(size, sizeof *sums);
    float *means = tkr_calloc(size, sizeof *means);
    if (!sums || !means || !give_rows(to, j->call->result, first->n_rows)) {
        no_room(to);
    } else {
        for (size_t i = 0; i < sub->n_items; i++) {
            const tkr_item *from = &sub->items[i];
            if (from->status != TKR_OK || from->n_rows != first->n_rows) continue;
            for (size_t k = 0; k < size; k++) pool_value(&sums[k], (double)from->rows[k], from == first, largest);
        }
        for (size_t k = 0; k < size; k++) means[k] = (float)(largest ? sums[k] : sums[k] / (double)n);
        for (size_t r = 0; to->status == TKR_OK && r < to->n_rows; r++)
            tkr_finish_row(to, to->rows + r * to->dimensions, means + r * to->dimensions,
                           tkr_call_normalizes(j->call, j->index));
    }
    tkr_free(sums);
    tkr_free(means);
}

/* ---- one input ---- */

static tkr_status embed_native(tkr_video_job *j, tkr_error *error) {
    tkr_buf parts = {0};
    tkr_result *sub = NULL;
    tkr_status status = put_parts(&parts, j, SIZE_MAX, error);
    if (status == TKR_OK) {
        tkr_input input = *j->input;
        input.parts = (const tkr_part *)(const void *)parts.data;
        input.n_parts = parts.size / sizeof(tkr_part);
        status = call_inner(&sub, j->call, &input, 1, j->index, false, error);
    }
    if (status == TKR_OK) copy_item(j->item, j->call->result, &sub->items[0]);
    tkr_result_free(&sub);
    tkr_buf_free(&parts);
    return status;
}

static tkr_status embed_frames(tkr_video_job *j, size_t n_frames, tkr_error *error) {
    tkr_buf parts = {0};
    tkr_result *sub = NULL;
    tkr_input *inputs = tkr_calloc(n_frames, sizeof *inputs);
    if (!inputs) return TKR_FAIL(error, NO_MEMORY, "no memory for %zu frames", n_frames);
    tkr_status status = TKR_OK;
    for (size_t k = 0; status == TKR_OK && k < n_frames; k++) status = put_parts(&parts, j, k, error);
    for (size_t k = 0; status == TKR_OK && k < n_frames; k++) {
        inputs[k] = *j->input;
        inputs[k].n_parts = parts.size / sizeof(tkr_part) / n_frames;
        inputs[k].parts = (const tkr_part *)(const void *)parts.data + k * inputs[k].n_parts;
    }
    if (status == TKR_OK) status = call_inner(&sub, j->call, inputs, n_frames, j->index, true, error);
    if (status == TKR_OK) pool_items(j, sub);
    tkr_result_free(&sub);
    tkr_buf_free(&parts);
    tkr_free(inputs);
    return status;
}

/* Only running out of memory, or a caller that gives up, is more than the input's failure. */
static tkr_status embed_input(tkr_video_job *j, tkr_error *error) {
    const tkr_input *input = j->input;
    tkr_error why = {TKR_OK, NULL, ""};
    const double began = tkr_now();
    tkr_status status = check(j, &why);
    j->reels = status == TKR_OK ? tkr_calloc(input->n_parts, sizeof *j->reels) : NULL;
    if (status == TKR_OK && !j->reels) status = TKR_FAIL(&why, NO_MEMORY, "no memory for %zu parts", input->n_parts);
    size_t n_frames = 0;
    for (size_t i = 0; status == TKR_OK && i < input->n_parts; i++) {
        if (!needs_work(j->model, input, &input->parts[i])) continue;
        status = tkr_reel_fill(j, &input->parts[i], &j->reels[i], &why);
        n_frames += j->reels[i].n;
        j->item->n_lost_frames += j->reels[i].room - j->reels[i].n;
    }
    j->call->result->pictures_s += tkr_now() - began;
    if (tkr_call_stopped(j->call) != TKR_OK) {
        status = tkr_error_set(error, TKR_HERE, tkr_call_stopped(j->call), "%s", why.message);
    } else if (status != TKR_OK) {
        tkr_item_fail(j->item, &why);
        status = TKR_OK;
    } else {
        j->item->n_frames = n_frames;
        status = tkr_video_is_native(j) ? embed_native(j, error) : embed_frames(j, n_frames, error);
    }
    for (size_t i = 0; j->reels && i < input->n_parts; i++) tkr_reel_free(&j->reels[i]);
    tkr_free(j->reels);
    return status;
}

static tkr_status ask(void *user) { return tkr_call_ask(user, 0); }

/* Inputs without videos in a row share a call. */
static tkr_status embed_plain(tkr_call *call, size_t begin, size_t end, tkr_error *error) {
    tkr_result *sub = NULL;
    const tkr_status status = call_inner(&sub, call, call->inputs + begin, end - begin, begin, false, error);
    for (size_t i = begin; status == TKR_OK && i < end; i++) {
        tkr_item *to = &call->result->items[i];
        const tkr_item *from = &sub->items[i - begin];
        if (to->status == TKR_OK) copy_item(to, call->result, from);
    }
    tkr_result_free(&sub);
    return status;
}

tkr_status tkr_call_videos(tkr_call *call, tkr_error *error) {
    const tkr_model *model = call->session->model;
    tkr_status status = TKR_OK;
    for (size_t i = 0; status == TKR_OK && i < call->n_inputs;) {
        size_t end = i;
        while (end < call->n_inputs && count_videos(model, &call->inputs[end]) == 0) end++;
        if (end > i) {
            status = embed_plain(call, i, end, error);
            i = end;
            continue;
        }
        const tkr_stop stop = {.ask = ask, .user = call};
        tkr_video_job j = {.model = model,
                           .call = call,
                           .stop = &stop,
                           .index = i,
                           .input = &call->inputs[i],
                           .item = &call->result->items[i]};
        if (j.item->status == TKR_OK) status = embed_input(&j, error);
        i++;
    }
    return status;
}
