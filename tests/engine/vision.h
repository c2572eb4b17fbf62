/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs of golden cases with pictures, as tkr/embed.h takes them. */
#ifndef TESTS_ENGINE_VISION_H
#define TESTS_ENGINE_VISION_H

#include <math.h>

#include "golden.h"

enum { MAX_INPUTS = 32, MAX_PARTS = 8, MAX_PATH = 1600 };

/* f32 on the CPU by two threads, nothing from outside. */
static inline tkr_model_options vision_options(void) {
    tkr_model_options options;
    tkr_model_options_init(&options);
    options.offline = 1;
    options.no_weight_cache = 1;
    options.device = "cpu";
    options.precision = TKR_PRECISION_F32;
    options.decoder = TKR_BUILD_DIR "/tkr-decode";
    options.threads = 2;
    return options;
}

/* One input; points into the case and into itself: fill it where it stays. */
typedef struct vision_input {
    tkr_input input;
    tkr_part parts[MAX_PARTS];
    tkr_part frames[MAX_PARTS];
    char paths[2 * MAX_PARTS][MAX_PATH];
} vision_input;

static inline size_t json_size(const json_t *json, const char *name) {
    return (size_t)json_integer_value(json_object_get(json, name));
}

static inline void vision_fill(vision_input *v, const golden *g, size_t index) {
    const json_t *row = golden_input(g, index), *images = json_object_get(row, "images");
    const json_t *processor = json_object_get(row, "processor"), *text = json_object_get(row, "text");
    const json_t *size = json_object_get(row, "resized_size");
    memset(v, 0, sizeof *v);
    if (!text) text = json_object_get(row, "query");
    v->input.instruction = json_string_value(json_object_get(row, "instruction"));
    v->input.prompt = json_string_value(json_object_get(row, "prefix"));
    const json_t *video = json_object_get(row, "video"), *limits = json_object_get(row, "video_options");
    if (!images && !video) {
        v->input.text = json_string_value(text);
        v->input.n_text = json_string_length(text);
        return;
    }
    v->input.kind = TKR_INPUT_PARTS;
    v->input.parts = v->parts;
    for (size_t i = 0; i < json_array_size(images); i++) {
        snprintf(v->paths[i], MAX_PATH, "%s/%s", g->folder, json_string_value(json_array_get(images, i)));
        v->parts[v->input.n_parts++] =
            (tkr_part){.kind = TKR_PART_FILE, .data = v->paths[i], .n_data = strlen(v->paths[i])};
    }
    for (size_t i = 0; i < json_array_size(video); i++) {
        char *path = v->paths[MAX_PARTS + i];
        snprintf(path, MAX_PATH, "%s/%s", g->folder, json_string_value(json_array_get(video, i)));
        v->frames[i] = (tkr_part){.kind = TKR_PART_FILE, .data = path, .n_data = strlen(path)};
    }
    if (video)
        v->parts[v->input.n_parts++] = (tkr_part){.kind = TKR_PART_FRAMES,
                                                  .frames = v->frames,
                                                  .n_frames = json_array_size(video),
                                                  .min_pixels = json_size(limits, "min_pixels"),
                                                  .max_pixels = json_size(limits, "max_pixels")};
    v->input.video_pooling = TKR_VIDEO_NATIVE;
    if (text)
        v->parts[v->input.n_parts++] =
            (tkr_part){.kind = TKR_PART_TEXT, .data = json_string_value(text), .n_data = json_string_length(text)};
    v->input.min_pixels = json_size(processor, "min_pixels");
    v->input.max_pixels = json_size(processor, "max_pixels");
    v->input.hub_limits = json_is_true(json_object_get(row, "hub_processor"));
    if (v->input.hub_limits) v->input.min_pixels = v->input.max_pixels = 0; /* it has its own */
    if (json_is_true(json_object_get(row, "interpolate_pos_encoding"))) {
        v->input.interpolate = 1;
        v->input.width = (size_t)json_integer_value(json_array_get(size, 0));
        v->input.height = (size_t)json_integer_value(json_array_get(size, 1));
    }
}

/* The first of "<index>.embedding<suffix>" and "<index>.embedding". */
static inline const tkr_tensor_view *vision_expected(const golden *g, size_t index, const char *suffix) {
    char name[96];
    snprintf(name, sizeof name, "%zu.embedding%s", index, suffix);
    const tkr_tensor_view *view = tkr_tensors_find(g->expected, name);
    if (view) return view;
    snprintf(name, sizeof name, "%zu.embedding", index);
    return tkr_tensors_find(g->expected, name);
}

/* Largest cosine distance of a row. */
static inline double vision_distance(const tkr_result_item *item, const tkr_tensor_view *want, size_t n) {
    double worst = 0;
    assert_int_equal(item->n_rows * n, want->n_elements);
    for (size_t r = 0; r < item->n_rows; r++) {
        const double d = 1 - tkr_cosine(item->rows + r * n, (const float *)want->data + r * n, n);
        worst = d > worst ? d : worst;
    }
    return worst;
}

#endif
