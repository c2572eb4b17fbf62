/* SPDX-License-Identifier: Apache-2.0 */
/* engine/frames: the frames of a video that a model sees: chosen by the reference's rule, decoded in the jail, held
 * while memory is for them. */
#include <math.h>
#include <string.h>

#include "core/file.h"
#include "engine/video.h"

enum { POOLED_FRAMES = 8, MOST_FRAMES = 1024, FRAMES_SHARE = 4 /* of the memory, that a video's frames may take */ };

size_t tkr_video_most_native(const tkr_model *model, const tkr_part *part) {
    return part->max_frames ? part->max_frames : tkr_model_recipe(model)->video_max_frames;
}

tkr_status tkr_video_check_native(const tkr_video_job *j, tkr_error *error) {
    const tkr_recipe *recipe = tkr_model_recipe(j->model);
    if (!tkr_video_is_native(j) || (recipe && recipe->video_fps > 0)) return TKR_OK;
    return TKR_FAIL(error, INVALID_ARGUMENT,
                    "native pooling of a video was asked for, but %s has none; it takes mean, max and first",
                    j->model->checkpoint.arch->name);
}

static size_t most_frames(const tkr_video_job *j, const tkr_part *part) {
    if (j->input->video_pooling == TKR_VIDEO_FIRST) return 1;
    if (tkr_video_is_native(j)) return tkr_video_most_native(j->model, part);
    return part->max_frames ? part->max_frames : POOLED_FRAMES;
}

void tkr_reel_free(tkr_reel *r) {
    for (size_t i = 0; r->owned && i < r->n; i++) tkr_free((void *)(uintptr_t)r->frames[i].data);
    tkr_free(r->frames);
    tkr_free(r->times);
    tkr_free(r->shown);
    *r = (tkr_reel){0};
}

static tkr_status make_room(tkr_reel *r, size_t n, tkr_error *error) {
    r->frames = tkr_calloc(n, sizeof *r->frames);
    r->times = tkr_calloc(n, sizeof *r->times);
    r->shown = tkr_calloc(n, sizeof *r->shown);
    r->room = n;
    return r->frames && r->times && r->shown ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for %zu frames", n);
}

/* The rule for the frames of a part of `total` frames. */
static tkr_video_sampling sampling_of(const tkr_video_job *j, size_t total, double video_fps) {
    const tkr_recipe *recipe = tkr_model_recipe(j->model);
    tkr_video_sampling s = {.rule = TKR_VIDEO_QWEN3_VL,
                            .total_frames = total,
                            .video_fps = video_fps,
                            .fps = j->part->fps > 0 ? j->part->fps : video_fps,
                            .min_frames = 1,
                            .max_frames = most_frames(j, j->part)};
    if (!tkr_video_is_native(j)) return s;
    s.rule = recipe->frames ? TKR_VIDEO_UTILS : TKR_VIDEO_QWEN3_VL;
    s.min_frames = recipe->video_min_frames;
    if (!(j->part->fps > 0)) s.fps = recipe->video_fps;
    return s;
}

static size_t first_from(const tkr_clip *clip, double second) {
    size_t low = 0, high = clip->n_frames;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (clip->times[middle] < second)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static tkr_status choose(void *user, tkr_buf *indices, const tkr_clip *clip, tkr_error *error) {
    tkr_video_job *j = user;
    const tkr_part *p = j->part;
    const bool ends = p->end_s > 0 && p->end_s < clip->seconds;
    size_t begin = p->start_s > 0 ? first_from(clip, p->start_s) : 0;
    const size_t end = ends ? first_from(clip, p->end_s) : clip->n_frames;
    if (begin >= end && end > 0 && p->start_s < clip->seconds) begin = end - 1; /* what is still shown then */
    if (begin >= end)
        return TKR_FAIL(error, LIMIT, "no frame from %g s on%s; the video has %.3f s", p->start_s,
                        ends ? " to the end that was given" : "", clip->seconds);
    const tkr_video_sampling sampling = sampling_of(j, end - begin, clip->fps);
    tkr_status status = tkr_video_sample(indices, &sampling, error);
    if (status != TKR_OK) return status;
    size_t *at = (size_t *)(void *)indices->data;
    const size_t n = indices->size / sizeof *at;
    for (size_t i = 0; i < n; i++) at[i] += begin;
    j->indices = at;
    j->first = begin;
    j->fps = clip->fps;
    j->item->start_s = p->start_s > 0 ? p->start_s : 0;
    j->item->end_s = ends ? p->end_s : clip->seconds;
    j->now->owned = true;
    status = make_room(j->now, n, error);
    for (size_t i = 0; status == TKR_OK && i < n; i++) j->now->shown[i] = clip->times[at[i]];
    return status;
}

/* A frame that the model reads as part of the whole is kept in the size that it is read in: a long list of large ones
 * would fill memory. Where that size would not stay, as limits may contradict each other, the frame does. */
static tkr_status shrink(const tkr_video_job *j, tkr_image *image, tkr_error *error) {
    const tkr_process_options options = {.min_pixels = j->part->min_pixels ? j->part->min_pixels : j->input->min_pixels,
                                         .max_pixels = j->part->max_pixels    ? j->part->max_pixels
                                                       : j->input->max_pixels ? j->input->max_pixels
                                                                              : j->model->process.max_pixels,
                                         .video_frames = (j->now->room + 1) / TKR_VIDEO_PAIR * TKR_VIDEO_PAIR};
    const size_t side = j->model->checkpoint.vision.patch_size;
    size_t t = 0, h = 0, w = 0, again_h = 0, again_w = 0;
    tkr_image small = {0};
    if (tkr_processor_grid(&t, &h, &w, j->model->processor, image->width, image->height, &options, NULL) != TKR_OK ||
        tkr_processor_grid(&t, &again_h, &again_w, j->model->processor, w * side, h * side, &options, NULL) != TKR_OK ||
        h != again_h || w != again_w || (image->width == w * side && image->height == h * side))
        return TKR_OK;
    const tkr_status status = tkr_resize_float(&small, image, w * side, h * side, NULL, error);
    if (status != TKR_OK) return status;
    tkr_image_free(image);
    *image = small;
    return TKR_OK;
}

static tkr_status take(void *user, size_t i, tkr_image *image, tkr_error *error) {
    tkr_video_job *j = user;
    tkr_reel *r = j->now;
    const uint64_t most = j->model->device.limit / FRAMES_SHARE;
    if (tkr_video_is_native(j) && tkr_model_recipe(j->model)->frames) {
        const tkr_status status = shrink(j, image, error);
        if (status != TKR_OK) return status;
    }
    const size_t n_bytes = image->width * image->height * 3;
    r->bytes += n_bytes;
    if (most > 0 && r->bytes > most)
        return TKR_FAIL(error, LIMIT,
                        "the video's frames take more than %llu MiB together: lower max_frames, or raise max_memory",
                        (unsigned long long)(most >> 20));
    if (j->pixels && !j->pixels->hold(j->pixels->user, n_bytes))
        return TKR_FAIL(error, LIMIT, "no room for the frames of the video");
    r->times[r->n] = (double)(j->indices[i] - j->first) / j->fps; /* as the reference counts, not as they are shown */
    r->shown[r->n] = r->shown[i];                                 /* damaged ones are left out */
    r->frames[r->n++] = tkr_rgb_part(image, j->part->name);
    *image = (tkr_image){0};
    return TKR_OK;
}

/* An encoded video, as bytes or as a file. */
static tkr_status decode(const tkr_model *model, const tkr_part *part, const char *name,
                         const tkr_clip_request *request, tkr_error *error) {
    tkr_clip_request of_file = *request;
    tkr_map map = {.data = part->data, .size = part->n_data};
    const bool file = part->kind == TKR_PART_VIDEO_FILE;
    if (!model->video_jail)
        return tkr_error_set(error, TKR_HERE, model->video_error.status, "%s: %s", name, model->video_error.message);
    if (!file) return tkr_jail_video(model->video_jail, name, map.data, map.size, request, error);
    char *path = tkr_strndup(part->data, part->n_data);
    if (!path) return TKR_FAIL(error, NO_MEMORY, "no memory to read a video");
    map = (tkr_map){0};
    tkr_status status = strlen(path) == part->n_data ? tkr_map_open(&map, path, error)
                                                     : TKR_FAIL(error, INVALID_ARGUMENT, "%s: holds a NUL", path);
    of_file.file = &map.id;
    if (status == TKR_OK) status = tkr_jail_video(model->video_jail, name, map.data, map.size, &of_file, error);
    tkr_map_close(&map);
    tkr_free(path);
    return status;
}

/* How messages name a video. */
static void name_video(char *out, size_t size, const tkr_part *part) {
    if (part->name || part->kind == TKR_PART_VIDEO_FILE)
        tkr_name_picture(out, size, part, 0);
    else
        snprintf(out, size, "video");
}

void tkr_note_video(tkr_item *item, const tkr_part *frames) {
    const bool known = frames->end_s > 0;
    if (!known && !frames->times) return;
    item->start_s = known ? frames->start_s : frames->times[0];
    item->end_s = known ? frames->end_s : frames->times[frames->n_frames - 1];
}

/* A list is thinned as the reference thins it. */
static tkr_status take_list(tkr_video_job *j, tkr_error *error) {
    const tkr_part *p = j->part;
    const size_t most = most_frames(j, p), n = p->n_frames < most ? p->n_frames : most;
    tkr_status status = make_room(j->now, n, error);
    for (size_t i = 0; status == TKR_OK && i < n; i++) {
        const size_t at = tkr_video_thinned(i, p->n_frames, most);
        j->now->frames[i] = p->frames[at];
        j->now->times[i] = p->times ? p->times[at] : 0;
        j->now->n++;
    }
    tkr_note_video(j->item, p);
    return status;
}

tkr_status tkr_reel_fill(tkr_video_job *j, const tkr_part *part, tkr_reel *reel, tkr_error *error) {
    char name[224];
    j->part = part;
    j->now = reel;
    name_video(name, sizeof name, j->part);
    if (j->part->max_frames > MOST_FRAMES)
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s: max_frames %zu; at most %d", name, j->part->max_frames,
                        MOST_FRAMES);
    if (j->part->kind == TKR_PART_FRAMES) return take_list(j, error);
    const tkr_clip_request request = {
        .choose = choose, .take = take, .user = j, .stop = j->stop, .more = part->end_s > 0};
    return decode(j->model, j->part, name, &request, error);
}

/* ---- probing ---- */

static tkr_status note(void *user, tkr_buf *indices, const tkr_clip *clip, tkr_error *error) {
    (void)indices, (void)error;
    *(double *)user = clip->seconds;
    return TKR_OK;
}

tkr_status tkr_tools_video_seconds(double *seconds, tkr_model *model, const tkr_part *part, tkr_error *error) {
    char name[224];
    const tkr_clip_request request = {.choose = note, .user = seconds, .more = true};
    if (!model->processor)
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s reads no pictures, and no videos", model->info.reference);
    name_video(name, sizeof name, part);
    return decode(model, part, name, &request, error);
}

/* ---- ahead of a call ---- */

struct tkr_tools_frames {
    tkr_reel reel;
};

tkr_status tkr_tools_decode_video(tkr_part *part, tkr_tools_frames **out, const tkr_tools_room *room, tkr_model *model,
                                  const tkr_input *input, size_t index, const tkr_stop *stop, tkr_error *error) {
    const tkr_part *from = &input->parts[index];
    tkr_item item = {.status = TKR_OK};
    tkr_video_job j = {.model = model, .stop = stop, .pixels = room, .input = input, .item = &item};
    *out = NULL;
    if (!model->processor)
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s reads no pictures, and no videos", model->info.reference);
    tkr_status status = tkr_video_check_native(&j, error);
    if (status != TKR_OK) return status;
    tkr_tools_frames *frames = tkr_calloc(1, sizeof *frames);
    if (!frames) return TKR_FAIL(error, NO_MEMORY, "no memory to decode a video");
    status = tkr_reel_fill(&j, from, &frames->reel, error);
    if (status != TKR_OK) {
        tkr_tools_free_frames(&frames);
        return status;
    }
    *part = *from;
    part->kind = TKR_PART_FRAMES;
    part->data = TKR_DECODED;
    part->n_data = 0;
    part->frames = frames->reel.frames;
    part->n_frames = part->max_frames = frames->reel.n;
    part->times = frames->reel.times;
    part->start_s = item.start_s;
    part->end_s = item.end_s;
    *out = frames;
    return TKR_OK;
}

double tkr_tools_frame_second(const tkr_tools_frames *frames, size_t index) { return frames->reel.shown[index]; }

size_t tkr_tools_lost_frames(const tkr_tools_frames *frames) { return frames->reel.room - frames->reel.n; }

void tkr_tools_free_frames(tkr_tools_frames **frames) {
    if (!*frames) return;
    tkr_reel_free(&(*frames)->reel);
    tkr_free(*frames);
    *frames = NULL;
}
