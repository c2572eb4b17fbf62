/* SPDX-License-Identifier: Apache-2.0 */
/* routes/embed_video: POST /embed/video, and the fields of videos wherever they stand. Fetches nothing. */
#include <stdio.h>

#include "server/routes/embed.h"
#include "server/routes/schema.h"
#include "server/settings.h"

static const char *const frame_names[] = {"max_frames", "pooling", "fps", NULL};

bool tkr_embed_read_frames(tkr_input *input, tkr_part *parts, size_t n, const tkr_fields *fields) {
    static const char *const words[] = {"mean", "max", "first", "native", NULL};
    const tkr_settings *settings = tkr_server_settings(fields->op->server);
    size_t pooling = (size_t)tkr_setting_of(settings, TKR_SET_VIDEO_POOLING)->number, fps = 0;
    size_t max_frames = (size_t)tkr_setting_of(settings, TKR_SET_MAX_VIDEO_FRAMES)->number, n_videos = 0;
    if (!tkr_fields_count(&max_frames, fields, "max_frames", 1, 1024) ||
        !tkr_fields_word(&pooling, fields, "pooling", words) || !tkr_fields_count(&fps, fields, "fps", 1, 1000)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (parts[i].kind == TKR_PART_VIDEO) {
            parts[i].max_frames = max_frames;
            parts[i].fps = (double)fps;
            n_videos++;
        }
    }
    if (n_videos == 0) { /* what says nothing is a mistake */
        for (size_t i = 0; frame_names[i] != NULL; i++) {
            if (tkr_fields_get(fields, frame_names[i]) != NULL) {
                return tkr_fields_refuse(fields, TKR_FAULT_VALUE, frame_names[i], "is of videos, but there is none");
            }
        }
        return true;
    }
    input->video_pooling = (tkr_video_pooling)pooling;
    return true;
}

bool tkr_embed_read_video(tkr_part *part, tkr_operation *op, const json_t *value, const char *param) {
    const char *name;
    if (!tkr_read_file(part, &name, op, value, param, "video")) {
        return false;
    }
    part->kind = TKR_PART_VIDEO;
    return true;
}

/* A file of the form, or one of the list. */
static bool read_video(tkr_part *part, tkr_operation *op, const json_t *list, size_t index) {
    char path[64];
    if (list == NULL) {
        const bool good = tkr_embed_take_file(part, op, index);
        part->kind = TKR_PART_VIDEO;
        return good;
    }
    (void)snprintf(path, sizeof path, json_is_array(list) ? "videos[%zu]" : "videos", index);
    return tkr_embed_read_video(part, op, json_is_array(list) ? json_array_get(list, index) : list, path);
}

bool tkr_embed_parse_videos(tkr_operation *op) {
    static const char *const names[] = {"videos", "max_frames", "pooling", "fps", "min_pixels", "max_pixels", NULL};
    tkr_fields fields;
    if (!tkr_embed_begin(&fields, op, names)) {
        return false;
    }
    const json_t *list = tkr_fields_get(&fields, "videos");
    size_t n;
    if (!tkr_embed_count_files(&n, &fields, list, "videos", "data URIs") || !tkr_operation_fits(op, n)) {
        return false;
    }
    tkr_input *inputs = tkr_operation_alloc(op, n * sizeof *inputs);
    if (inputs == NULL) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        tkr_part *part = tkr_operation_alloc(op, sizeof *part);
        if (part == NULL || !read_video(part, op, list, i)) {
            return false;
        }
        inputs[i] = (tkr_input){.kind = TKR_INPUT_PARTS, .parts = part, .n_parts = 1};
        if (!tkr_embed_read_frames(&inputs[i], part, 1, &fields) || !tkr_embed_read_sizes(&inputs[i], &fields)) {
            return false;
        }
    }
    const char *name = list != NULL ? "videos" : op->form[0].name;
    return tkr_embed_take(&fields, inputs, n, name, list == NULL || json_is_array(list));
}

const tkr_handler tkr_handler_embed_video = {.name = "embed_video",
                                             .api = &tkr_api_native,
                                             .body = TKR_BODY_EITHER,
                                             .parse = tkr_embed_parse_videos,
                                             .render = tkr_embed_render,
                                             .wants_model = true,
                                             .request_schema = tkr_schema_embed_video,
                                             .response_schema = tkr_schema_embeddings};
