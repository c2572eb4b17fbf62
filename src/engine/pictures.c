/* SPDX-License-Identifier: Apache-2.0 */
/* engine/pictures: stage 0 of a call: reads, decodes and processes the pictures of as many inputs as memory is for,
 * just before they are needed. A picture that fails is its input's failure. */
#include <string.h>

#include "core/file.h"
#include "engine/engine.h"
#include "engine/fetch.h"

#define MOST_INPUTS 1024                  /* at hand at a time, when some have pictures */
#define KEPT_FILE_BYTES ((size_t)4 << 20) /* of a worker's buffer, between pictures */

typedef struct picture_job {
    tkr_call *call;
    tkr_picture *pictures;
    size_t n;
    atomic_size_t bytes; /* of patches so far */
} picture_job;

/* ---- which inputs ---- */

static bool add_picture(tkr_buf *list, size_t input, size_t number, const tkr_part *part) {
    const tkr_picture picture = {.input = input, .number = number, .part = part};
    return tkr_buf_append(list, &picture, sizeof picture);
}

/* Its parts in the order of the prompt: videos, two frames at a time, then pictures. */
static bool add_parts(tkr_buf *list, size_t *number, size_t input, const tkr_part *parts, size_t n_parts) {
    bool good = true;
    for (size_t p = 0; p < n_parts; p++) {
        const tkr_part *video = &parts[p];
        if (video->kind != TKR_PART_FRAMES) continue;
        for (size_t i = 0; good && i < video->n_frames; i += TKR_VIDEO_PAIR) {
            const tkr_part *first = &video->frames[i];
            const tkr_picture pair = {.input = input,
                                      .number = ++*number,
                                      .part = first,
                                      .second = i + 1 < video->n_frames ? first + 1 : first,
                                      .video = video};
            good = tkr_buf_append(list, &pair, sizeof pair);
        }
    }
    for (size_t p = 0; good && p < n_parts; p++)
        if (tkr_part_is_image(&parts[p]) && parts[p].kind != TKR_PART_FRAMES)
            good = add_picture(list, input, ++*number, &parts[p]);
    return good;
}

/* A picture in a tower of its own has no tokens of the text model. */
static tkr_status check_kind(const tkr_call *call, const tkr_input *input, tkr_error *error) {
    const tkr_checkpoint *c = &call->session->model->checkpoint;
    if (call->result->kind != TKR_RESULT_TOKENS || tkr_input_images(input) == 0 || !c->arch->vision->two_towers)
        return TKR_OK;
    return TKR_FAIL(error, INVALID_ARGUMENT,
                    "token states were asked for, but %s has them of texts alone; a picture has one vector",
                    c->arch->name);
}

/* Checks the inputs from call->begin on and lists their pictures. */
static tkr_status list_pictures(tkr_call *call, tkr_error *error) {
    tkr_buf *list = &call->session->pictures;
    const tkr_checkpoint *checkpoint = &call->session->model->checkpoint;
    bool good = true;
    list->size = 0;
    for (call->end = call->begin; good && call->end < call->n_inputs; call->end++) {
        const tkr_input *input = &call->inputs[call->end];
        tkr_item *item = &call->result->items[call->end];
        tkr_error why = {TKR_OK, NULL, ""};
        size_t number = 0;
        if (call->has_parts && call->end - call->begin == MOST_INPUTS) break;
        item->first_picture = list->size / sizeof(tkr_picture);
        if (item->status != TKR_OK) continue; /* seen before, when memory was for fewer */
        if (tkr_check_input(checkpoint, input, &why) != TKR_OK || check_kind(call, input, &why) != TKR_OK) {
            tkr_item_fail(item, &why);
            continue;
        }
        if (input->kind != TKR_INPUT_PARTS) continue;
        good = add_parts(list, &number, call->end, input->parts, input->n_parts);
        item->n_pictures = number;
        item->n_frames = 0;
        for (size_t p = 0; p < input->n_parts; p++) {
            if (input->parts[p].kind != TKR_PART_FRAMES) continue;
            item->n_frames += input->parts[p].n_frames;
            tkr_note_video(item, &input->parts[p]);
        }
    }
    call->n_pictures = list->size / sizeof(tkr_picture);
    list->failed = false;
    return good ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for a list of %zu pictures", call->n_pictures);
}

/* ---- one picture ---- */

typedef struct encoded {
    const void *bytes;
    size_t n;
} encoded;

static tkr_status read_file(encoded *out, tkr_buf *file, const tkr_part *part, size_t max_bytes, tkr_error *error) {
    char *path = tkr_strndup(part->data, part->n_data);
    if (!path) return TKR_FAIL(error, NO_MEMORY, "no memory to read a picture");
    tkr_status status = strlen(path) == part->n_data ? tkr_file_read(file, path, max_bytes, error)
                                                     : TKR_FAIL(error, INVALID_ARGUMENT, "%s: holds a NUL", path);
    *out = (encoded){file->data, file->size};
    tkr_free(path);
    return status;
}

static tkr_status read_picture(encoded *out, tkr_buf *file, const tkr_model *model, const tkr_part *part,
                               tkr_error *error) {
    file->size = 0;
    file->failed = false;
    if (part->kind == TKR_PART_FILE) return read_file(out, file, part, model->max_image_bytes, error);
    if (part->kind == TKR_PART_IMAGE) {
        *out = (encoded){part->data, part->n_data};
        return TKR_OK;
    }
    const tkr_fetch_options options = {
        .max_bytes = model->max_image_bytes, .hosts = model->allow_hosts, .n_hosts = model->n_allow_hosts};
    tkr_status status = tkr_fetch(file, part->data, part->n_data, &options, error);
    *out = (encoded){file->data, file->size};
    return status;
}

static tkr_status take_rgb(tkr_image *image, const tkr_part *part, const tkr_model *model, tkr_error *error) {
    size_t bytes = 0;
    if (part->width == 0 || part->height == 0 || !tkr_mul_size(&bytes, part->width, part->height) ||
        bytes > model->max_image_pixels || !tkr_mul_size(&bytes, bytes, 3) || bytes != part->n_data)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "%zu bytes of RGB were given for %zu x %zu pixels of 3 each; at most %zu pixels are taken",
                        part->n_data, part->width, part->height, model->max_image_pixels);
    *image = (tkr_image){part->width, part->height, (uint8_t *)(uintptr_t)part->data}; /* only read */
    return TKR_OK;
}

void tkr_name_picture(char *out, size_t size, const tkr_part *part, size_t number) {
    const bool path = (part->kind == TKR_PART_FILE || part->kind == TKR_PART_VIDEO_FILE) && !part->name;
    const int n = part->n_data > 200 ? 200 : (int)part->n_data;
    if (path)
        snprintf(out, size, "%.*s", n, (const char *)part->data);
    else if (part->name)
        snprintf(out, size, "%.200s", part->name);
    else
        snprintf(out, size, "picture %zu", number);
}

tkr_status tkr_decode_part(tkr_image *image, tkr_buf *file, const tkr_model *model, const tkr_part *part,
                           const char *name, tkr_alpha alpha, const tkr_stop *stop, tkr_error *error) {
    encoded bytes = {NULL, 0};
    if (!model->jail)
        return tkr_error_set(error, TKR_HERE, model->jail_error.status, "%s: %s", name, model->jail_error.message);
    tkr_status status = read_picture(&bytes, file, model, part, error);
    const bool named = part->kind == TKR_PART_FILE || (error && strncmp(error->message, name, strlen(name)) == 0);
    if (status != TKR_OK) return named ? status : tkr_error_prefix(error, status, "%s", name);
    return tkr_jail_image(image, model->jail, name, bytes.bytes, bytes.n, alpha, stop, error);
}

static tkr_process_options settings_of(const tkr_call *call, const tkr_input *input, const tkr_part *video) {
    const tkr_model *model = call->session->model;
    tkr_process_options options = model->process;
    options.min_pixels = input->min_pixels;
    options.max_pixels = input->max_pixels ? input->max_pixels : options.max_pixels;
    options.hub_limits = input->hub_limits != 0;
    options.interpolate = input->interpolate != 0;
    options.width = input->width;
    options.height = input->height;
    if (video) {
        options.min_pixels = video->min_pixels ? video->min_pixels : options.min_pixels;
        options.max_pixels = video->max_pixels ? video->max_pixels : options.max_pixels;
        options.video_frames = (video->n_frames + 1) / TKR_VIDEO_PAIR * TKR_VIDEO_PAIR;
        options.video_list = !video->data;
    }
    /* Of several pictures each worker has one of its own. */
    options.pool = call->n_pictures == 1 && call->n_workers > 1 ? model->pool : NULL;
    return options;
}

/* `second` NULL: a picture; else two frames. */
static tkr_status process(tkr_picture *picture, const tkr_model *model, const tkr_process_options *options,
                          const tkr_image *image, const tkr_image *second, tkr_error *error) {
    size_t t = 0, h = 0, w = 0;
    tkr_status status = tkr_processor_grid(&t, &h, &w, model->processor, image->width, image->height, options, error);
    if (status == TKR_OK && t * h * w > model->plan.group_patches)
        status = TKR_FAIL(
            error, LIMIT,
            "%zu x %zu pixels give %zu patches; memory is planned for %zu a picture: lower the input's max_pixels, or "
            "raise the model's max_pixels or max_memory",
            image->width, image->height, t * h * w, model->plan.group_patches);
    if (status != TKR_OK) return status;
    if (!second) return tkr_processor_apply(&picture->patches, model->processor, image, options, error);
    const tkr_image *const frames[2] = {image, second};
    return tkr_processor_apply_pair(&picture->patches, model->processor, frames, options, error);
}

/* The calling thread may ask the caller; the others see what it was told. */
static tkr_status ask_caller(void *user) { return tkr_call_ask(user, 0); }

/* Pixels of one part, decoded where it isn't RGB already; what release_image is for. */
static tkr_status get_image(tkr_image *image, tkr_worker *worker, const tkr_picture *picture, const tkr_part *part,
                            const tkr_model *model, const tkr_process_options *options, const tkr_stop *stop,
                            tkr_error *error) {
    char name[224];
    tkr_name_picture(name, sizeof name, part, picture->number);
    if (part->kind != TKR_PART_RGB)
        return tkr_decode_part(image, &worker->file, model, part, name, tkr_processor_alpha(model->processor, options),
                               stop, error);
    const tkr_status status = take_rgb(image, part, model, error);
    return status == TKR_OK ? status : tkr_error_prefix(error, status, "%s", name);
}

static void release_image(tkr_image *image, const tkr_part *part) {
    if (part->kind != TKR_PART_RGB) tkr_image_free(image);
}

static tkr_status make_picture(tkr_call *call, tkr_worker *worker, tkr_picture *picture, tkr_error *error) {
    const tkr_model *model = call->session->model;
    const tkr_process_options options = settings_of(call, &call->inputs[picture->input], picture->video);
    const tkr_stop stop = {.ask = worker == call->session->workers ? ask_caller : tkr_call_stopped, .user = call};
    const bool two = picture->second && picture->second != picture->part;
    char name[224];
    tkr_image image = {0}, second = {0};
    tkr_status status = get_image(&image, worker, picture, picture->part, model, &options, &stop, error);
    if (status != TKR_OK) return status;
    if (two) status = get_image(&second, worker, picture, picture->second, model, &options, &stop, error);
    if (status == TKR_OK) {
        status = process(picture, model, &options, &image, two ? &second : picture->second ? &image : NULL, error);
        tkr_name_picture(name, sizeof name, picture->part, picture->number);
        if (status != TKR_OK) status = tkr_error_prefix(error, status, "%s", name);
    }
    release_image(&image, picture->part);
    if (two) release_image(&second, picture->second);
    if (worker->file.room > KEPT_FILE_BYTES) tkr_buf_free(&worker->file);
    return status;
}

/* ---- all of them ---- */

/* The next picture; false when there is none, or when memory is for no further input. */
static bool take(size_t *index, picture_job *job) {
    tkr_call *call = job->call;
    const size_t most = call->session->model->plan.picture_bytes;
    size_t at = atomic_load(&call->next);
    do {
        if (at >= job->n || atomic_load_explicit(&call->stop, memory_order_relaxed) != TKR_OK) return false;
        const bool new_input = at > 0 && job->pictures[at].input != job->pictures[at - 1].input;
        if (new_input && atomic_load(&job->bytes) >= most) return false;
    } while (!atomic_compare_exchange_weak(&call->next, &at, at + 1));
    *index = at;
    return true;
}

static void picture_worker(void *arg, unsigned worker, unsigned n_workers) {
    picture_job *job = arg;
    size_t at = 0;
    while (!tkr_call_yields(job->call) && take(&at, job)) {
        tkr_picture *picture = &job->pictures[at];
        if (make_picture(job->call, &job->call->session->workers[worker], picture, &picture->error) == TKR_OK) {
            const tkr_patches *p = &picture->patches;
            atomic_fetch_add(&job->bytes, p->t * p->h * p->w * p->n_cols * sizeof *p->rows);
        }
        if (worker == 0) (void)tkr_call_ask(job->call, n_workers == 1);
    }
}

/* What the pictures mean for their inputs. */
static void settle(tkr_call *call, const tkr_picture *pictures) {
    const tkr_plan *plan = &call->session->model->plan;
    for (size_t i = call->begin; i < call->end; i++) {
        tkr_item *item = &call->result->items[i];
        for (size_t p = item->first_picture; item->status == TKR_OK && p < item->first_picture + item->n_pictures;
             p++) {
            const tkr_patches *patches = &pictures[p].patches;
            item->n_patches += patches->t * patches->h * patches->w;
            if (pictures[p].error.status != TKR_OK) tkr_item_fail(item, &pictures[p].error);
        }
        if (item->status == TKR_OK && item->n_patches > plan->max_patches) {
            tkr_error error;
            TKR_FAIL(&error, LIMIT,
                     "%zu pictures have %zu patches together; memory is planned for %zu an input: give fewer pictures, "
                     "lower max_pixels, or raise max_pixels or max_memory of the model",
                     item->n_pictures, item->n_patches, plan->max_patches);
            tkr_item_fail(item, &error);
        }
    }
}

tkr_status tkr_call_pictures(tkr_call *call, tkr_error *error) {
    call->begin = call->end;
    call->n_pictures = 0;
    tkr_status status = list_pictures(call, error);
    if (status != TKR_OK || call->n_pictures == 0) {
        if (status != TKR_OK) call->n_pictures = 0;
        return status;
    }
    tkr_session *session = call->session;
    picture_job job = {
        .call = call, .pictures = (tkr_picture *)(void *)session->pictures.data, .n = call->n_pictures, .bytes = 0};
    atomic_store(&call->next, 0);
    status = tkr_call_share(call, picture_worker, &job, call->n_workers == 1 || job.n == 1, error);
    if (status != TKR_OK) return status;
    const size_t taken = atomic_load(&call->next);
    if (taken < job.n) call->end = job.pictures[taken].input;
    settle(call, job.pictures);
    for (size_t i = call->end; i < call->n_inputs && i < call->begin + MOST_INPUTS; i++)
        call->result->items[i].n_pictures = 0; /* listed again next time */
    return TKR_OK;
}

void tkr_call_release_pictures(tkr_call *call) {
    tkr_picture *pictures = (tkr_picture *)(void *)call->session->pictures.data;
    for (size_t i = 0; i < call->n_pictures; i++) tkr_patches_free(&pictures[i].patches);
    call->n_pictures = 0;
}
