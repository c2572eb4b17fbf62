/* SPDX-License-Identifier: Apache-2.0 */
/* server/pipeline_pictures: an operation's pictures: fetched and decoded by several of the crew before its turn comes,
 * so that a slow decoder or host delays nobody else; bounded in the memory that they take together. */
#include <string.h>

#include "core/file.h"
#include "server/parts.h"
#include "server/pipeline_internal.h"

/* For the jail, which asks while it waits for a decoder. */
static tkr_status ask_client(void *user) {
    return atomic_load(&((tkr_pipeline_run *)user)->cancelled) ? TKR_CANCELLED : TKR_OK;
}

static tkr_status read_picture(tkr_pipeline_picture *p, tkr_model *model, const tkr_stop *stop) {
    tkr_part rgb = {0}, part = *p->part;
    tkr_buf file = {0};
    tkr_status status = TKR_OK;
    if (part.kind == TKR_PART_URL && strncmp(part.data, "data:", part.n_data < 5 ? part.n_data : 5) != 0) {
        status = tkr_tools_fetch_picture(&file, model, part.data, &p->error);
        if (status == TKR_NOT_FOUND) status = TKR_NETWORK; /* the picture, not what decodes it */
        part = (tkr_part){.kind = TKR_PART_IMAGE, .data = file.data, .n_data = file.size, .name = part.name};
    }
    if (status == TKR_OK) status = tkr_tools_decode_picture(&rgb, &p->pixels, model, &part, stop, &p->error);
    tkr_buf_free(&file);
    if (status == TKR_OK) {
        rgb.name = p->part->name;
        *p->part = rgb;
    }
    return status;
}

tkr_stop tkr_operation_stop(tkr_operation *op) {
    const double seconds = tkr_setting_of(tkr_server_settings(op->server), TKR_SET_TIMEOUT)->real;
    return (tkr_stop){.ask = op->pipeline ? ask_client : NULL,
                      .user = op->pipeline,
                      .deadline = op->exchange ? op->exchange->deadline : op->request->began + seconds};
}

/* Whether what all requests hold, with this, is within its limit. Nobody waits for room here: requests that wait with
 * half of their pictures would wait for each other. */
static void count_bytes(tkr_operation *op, tkr_pipeline_run *r, size_t bytes) {
    atomic_fetch_add(&r->pixel_bytes, bytes);
    if (atomic_fetch_add(&op->server->pixel_bytes, bytes) + bytes > op->server->max_pixel_bytes)
        atomic_store(&r->no_room, true);
}

/* A frame of a video, before it is kept. */
static bool hold_frame(void *user, size_t n_bytes) {
    tkr_operation *op = user;
    tkr_pipeline_run *r = tkr_pipeline_run_of(op);
    count_bytes(op, r, n_bytes);
    return !atomic_load(&r->no_room);
}

static tkr_status read_video(tkr_operation *op, tkr_pipeline_picture *p, const tkr_stop *stop) {
    tkr_part frames = {0};
    const tkr_tools_room room = {hold_frame, op};
    const tkr_status status = tkr_tools_decode_video(&frames, &p->frames, &room, op->model->model,
                                                     &op->job.items[p->item].input, p->number, stop, &p->error);
    if (status == TKR_OK) *p->part = frames;
    return status;
}

static bool refuse_room(tkr_operation *op, const tkr_pipeline_run *r) {
    const size_t own = atomic_load(&r->pixel_bytes), most = op->server->max_pixel_bytes;
    if (own > most / 2)
        return tkr_refuse(op, TOO_LARGE, NULL,
                          "the pictures and documents of this request are larger than %zu MiB together when they are "
                          "decoded (half of server.max_picture_memory)",
                          most / 2 >> 20);
    tkr_refuse(op, OVERLOADED, NULL, "the server holds as many pictures and documents as it has memory for");
    op->fault.retry_after_s = 1;
    return false;
}

bool tkr_operation_hold(tkr_operation *op, size_t n_bytes) {
    tkr_pipeline_run *r = tkr_pipeline_run_of(op);
    if (!r) return true;
    count_bytes(op, r, n_bytes);
    return !atomic_load(&r->no_room) || refuse_room(op, r);
}

static bool check_pictures(tkr_operation *op) {
    const tkr_pipeline_run *r = tkr_pipeline_run_of(op);
    char name[64];
    if (atomic_load(&r->no_room)) return refuse_room(op, r);
    for (size_t i = 0; i < r->n_pictures; i++) {
        const tkr_pipeline_picture *p = &r->pictures[i];
        if (p->frames) op->job.items[p->item].n_lost_frames += tkr_tools_lost_frames(p->frames);
        if (p->status == TKR_OK) continue;
        tkr_pipeline_name_item(name, op, r->pictures[i].item);
        const bool ours = tkr_fault_of_status(p->status) == TKR_FAULT_INTERNAL; /* no decoder, for one */
        const bool late = p->status == TKR_DEADLINE && tkr_now() >= tkr_operation_stop(op).deadline;
        const bool cannot = p->status == TKR_INVALID_ARGUMENT && p->part->kind == TKR_PART_VIDEO; /* native pooling */
        const tkr_fault_kind kind = ours     ? TKR_FAULT_INTERNAL
                                    : late   ? TKR_FAULT_UNAVAILABLE
                                    : cannot ? TKR_FAULT_UNSUPPORTED
                                             : TKR_FAULT_MEDIA;
        tkr_refuse_with(op, kind, name, "%s", p->error.message);
        return false;
    }
    return true;
}

/* Several of the crew do this for one operation; the last one to leave goes on. */
static void step_picture(void *arg) {
    tkr_operation *op = arg;
    tkr_pipeline_run *r = tkr_pipeline_run_of(op);
    const tkr_stop stop = tkr_operation_stop(op);
    for (;;) {
        const size_t i = atomic_fetch_add(&r->next_picture, 1);
        if (i >= r->n_pictures) break;
        tkr_pipeline_picture *p = &r->pictures[i];
        if (atomic_load(&r->cancelled))
            p->status = tkr_error_set(&p->error, TKR_HERE, TKR_CANCELLED, "the request was cancelled");
        else if (atomic_load(&r->no_room))
            break;
        else if (p->part->kind == TKR_PART_VIDEO)
            p->status = read_video(op, p, &stop);
        else if ((p->status = read_picture(p, op->model->model, &stop)) == TKR_OK)
            count_bytes(op, r, p->part->n_data);
    }
    if (atomic_fetch_sub(&r->tasks_left, 1) != 1) return;
    if (tkr_pipeline_is_cancelled(op) || !check_pictures(op))
        tkr_pipeline_fail(op);
    else
        tkr_pipeline_submit(op);
}

static bool is_encoded(const tkr_part *part) {
    return part->kind == TKR_PART_IMAGE || part->kind == TKR_PART_URL || part->kind == TKR_PART_VIDEO;
}

size_t tkr_pipeline_count_pictures(const tkr_job *job) {
    size_t n = 0;
    for (size_t i = 0; i < job->n_items; i++)
        for (size_t k = 0; !job->items[i].cached && k < job->items[i].input.n_parts; k++)
            n += is_encoded(&job->items[i].input.parts[k]);
    return n;
}

/* Lists what must be decoded, in parts that are the pipeline's own. */
static bool list_pictures(tkr_operation *op, size_t n) {
    tkr_pipeline_run *r = tkr_pipeline_run_of(op);
    r->pictures = tkr_operation_alloc(op, n * sizeof *r->pictures);
    if (!r->pictures) return false;
    for (size_t i = 0; i < op->job.n_items; i++) {
        tkr_input *input = &op->job.items[i].input;
        if (op->job.items[i].cached || input->n_parts == 0) continue;
        tkr_part *parts = tkr_operation_alloc(op, input->n_parts * sizeof *parts);
        if (!parts) return false;
        memcpy(parts, input->parts, input->n_parts * sizeof *parts);
        for (size_t k = 0; k < input->n_parts; k++)
            if (is_encoded(&parts[k]))
                r->pictures[r->n_pictures++] = (tkr_pipeline_picture){.part = &parts[k], .item = i, .number = k};
        input->parts = parts;
    }
    return true;
}

void tkr_pipeline_pictures(tkr_operation *op) {
    tkr_pipeline_run *r = tkr_pipeline_run_of(op);
    const size_t n = op->model && op->model->info->max_images ? tkr_pipeline_count_pictures(&op->job) : 0;
    if (n == 0) { /* the model itself says what it can't do */
        tkr_pipeline_submit(op);
        return;
    }
    if (!list_pictures(op, n)) {
        tkr_pipeline_fail(op);
        return;
    }
    r->on_crew = true;
    const size_t helpers = n < 8 ? n - 1 : 7;
    atomic_store(&r->tasks_left, 1);
    for (size_t i = 0; i < helpers; i++) {
        atomic_fetch_add(&r->tasks_left, 1);
        if (tkr_crew_run(op->server->crew, step_picture, op)) continue;
        atomic_fetch_sub(&r->tasks_left, 1);
        break;
    }
    step_picture(op);
}

void tkr_pipeline_free_pictures(tkr_operation *op) {
    tkr_pipeline_run *r = tkr_pipeline_run_of(op);
    if (!r) return;
    for (size_t i = 0; i < r->n_pictures; i++) {
        tkr_tools_free_pixels(&r->pictures[i].pixels);
        tkr_tools_free_frames(&r->pictures[i].frames);
    }
    atomic_fetch_sub(&op->server->pixel_bytes, atomic_exchange(&r->pixel_bytes, 0));
}
