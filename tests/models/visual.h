/* SPDX-License-Identifier: Apache-2.0 */
/* Golden inputs of the Qwen-VL families as batches: prompts with pictures, patches made of the resized pixels that lie
 * beside the case (pixels.safetensors, tools/gen_golden_pixels.py). */
#ifndef TESTS_MODELS_VISUAL_H
#define TESTS_MODELS_VISUAL_H

#include "network.h"

enum { MAX_VISUALS = 16, MAX_SEQS = 16 };

/* Prompts one after another, with their pictures. */
typedef struct visual_sequence {
    tkr_batch batch;
    int32_t ids[MAX_TOKENS], types[MAX_TOKENS], positions[3 * MAX_TOKENS];
    size_t cu[MAX_SEQS + 1], first_visual[MAX_SEQS + 1];
    tkr_span spans[MAX_TOKENS];
    tkr_visual visuals[MAX_VISUALS];
    size_t rows[MAX_TOKENS];
    float *patches; /* freed with visual_free */
} visual_sequence;

static inline void visual_free(visual_sequence *s) {
    free(s->patches);
    s->patches = NULL;
}

static inline const json_t *visual_input(const network *n, size_t index) {
    return json_array_get(json_object_get(n->cases, "inputs"), index);
}

/* ---- prompts ---- */

static inline void visual_add_grids(visual_sequence *s, const json_t *grids) {
    for (size_t i = 0; i < json_array_size(grids); i++) {
        const json_t *g = json_array_get(grids, i);
        assert_true(s->batch.n_visuals < MAX_VISUALS);
        s->visuals[s->batch.n_visuals++] = (tkr_visual){(size_t)json_integer_value(json_array_get(g, 0)),
                                                        (size_t)json_integer_value(json_array_get(g, 1)),
                                                        (size_t)json_integer_value(json_array_get(g, 2))};
    }
}

/* Appends a prompt; a family's videos come before its pictures. */
static inline void visual_add_prompt(visual_sequence *s, const network *n, size_t index) {
    const json_t *ids = json_object_get(visual_input(n, index), "input_ids");
    tkr_batch *b = &s->batch;
    assert_true(b->n_seqs < MAX_SEQS && b->n_tokens + json_array_size(ids) <= MAX_TOKENS);
    s->first_visual[b->n_seqs] = b->n_visuals;
    for (size_t t = 0; t < json_array_size(ids); t++)
        s->ids[b->n_tokens++] = (int32_t)json_integer_value(json_array_get(ids, t));
    visual_add_grids(s, json_object_get(visual_input(n, index), "video_grid_thw"));
    visual_add_grids(s, json_object_get(visual_input(n, index), "image_grid_thw"));
    b->n_seqs++;
    s->first_visual[b->n_seqs] = b->n_visuals;
    s->cu[b->n_seqs] = b->n_tokens;
}

/* Positions, placeholders and spans: every token's, or each prompt's last one. */
static inline void visual_finish(visual_sequence *s, const network *n) {
    tkr_batch *b = &s->batch;
    const bool every = n->arch->vision->recipe->multi_vector;
    for (size_t i = 0; i < b->n_seqs; i++) {
        const size_t first = s->cu[i], count = s->cu[i + 1] - first;
        tkr_error error = {TKR_OK, NULL, ""};
        const tkr_mrope_options options = {.ids = s->ids + first,
                                           .n = count,
                                           .stride = b->n_tokens,
                                           .visuals = s->visuals + s->first_visual[i],
                                           .n_visuals = s->first_visual[i + 1] - s->first_visual[i],
                                           .frames_apart = n->arch->vision->frames_apart};
        if (tkr_mrope_positions(s->positions + first, &n->vision, &options, &error) != TKR_OK)
            fail_msg("%s", error.message);
        for (size_t t = first; t < first + count; t++) {
            const bool picture = s->ids[t] == n->vision.image_token || s->ids[t] == n->vision.video_token;
            if (picture && options.n_visuals > 0) s->rows[b->n_visual_tokens++] = t;
            if (every) s->spans[b->n_spans++] = (tkr_span){t, t + 1, t};
        }
        if (!every) s->spans[b->n_spans++] = (tkr_span){first, first + count, first};
    }
    b->ids = s->ids;
    b->type_ids = s->types;
    b->positions = s->positions;
    b->n_position_axes = 3;
    b->cu_seqlens = s->cu;
    b->spans = s->spans;
    b->visuals = s->visuals;
    b->visual_rows = s->rows;
    b->patch_cols = n->vision.patch_cols;
    for (size_t i = 0; i < b->n_visuals; i++) b->n_patches += s->visuals[i].t * s->visuals[i].h * s->visuals[i].w;
}

/* Without pixels. */
static inline void visual_ids_of_case(visual_sequence *s, const network *n, size_t index) {
    memset(s, 0, sizeof *s);
    visual_add_prompt(s, n, index);
    visual_finish(s, n);
}

/* ---- pixels ---- */

typedef struct visual_pixels {
    tkr_tensors *set;
    float mean[3], deviation[3];
} visual_pixels;

static inline void visual_pixels_open(visual_pixels *p, const char *folder, const char *model) {
    char path[900];
    tkr_error error = {TKR_OK, NULL, ""};
    json_t *json = NULL;
    snprintf(path, sizeof path, "%s/golden/%s/pixels.safetensors", TKR_TEST_DIR, folder);
    if (tkr_tensors_open_file(&p->set, path, &error) != TKR_OK) fail_msg("%s", error.message);
    snprintf(path, sizeof path, "%s/golden/%s/preprocessor_config.json", TKR_TEST_DIR, model);
    if (tkr_json_file(&json, path, &error) != TKR_OK) fail_msg("%s", error.message);
    for (size_t c = 0; c < 3; c++) {
        p->mean[c] = (float)json_number_value(json_array_get(json_object_get(json, "image_mean"), c));
        p->deviation[c] = (float)json_number_value(json_array_get(json_object_get(json, "image_std"), c));
        assert_true(p->deviation[c] > 0);
    }
    json_decref(json);
}

/* Rows of one picture, or of a video's pairs of frames: squares of merge_size^2 patches, each patch (channel, frame, y,
 * x). A picture is its own second frame. */
static inline void visual_patchify(float *out, const network *n, const visual_pixels *p, const tkr_tensor_view *pixels,
                                   const tkr_visual *v) {
    const size_t side = n->vision.patch_size, m = n->vision.merge_size, width = v->w * side;
    const uint8_t *bytes = pixels->data;
    const bool video = pixels->n_dims == 4;
    const size_t frame = v->h * side * width * 3;
    assert_int_equal(pixels->n_elements, frame * (video ? 2 * v->t : 1));
    for (size_t t = 0; t < v->t; t++)
        for (size_t r = 0; r < v->h * v->w; r++) {
            const size_t cell = r / (m * m), j = r % (m * m), top = (cell / (v->w / m) * m + j / m) * side,
                         left = (cell % (v->w / m) * m + j % m) * side;
            for (size_t c = 0; c < 3; c++)
                for (size_t two = 0; two < n->vision.temporal_patch_size; two++)
                    for (size_t y = 0; y < side; y++)
                        for (size_t x = 0; x < side; x++) {
                            const size_t at = ((top + y) * width + left + x) * 3 + c;
                            const uint8_t value = bytes[(video ? (2 * t + two) * frame : 0) + at];
                            *out++ = ((float)value / 255.0f - p->mean[c]) / p->deviation[c];
                        }
        }
}

static inline const tkr_tensor_view *visual_pixels_find(const visual_pixels *p, size_t index, const char *video,
                                                        size_t picture) {
    char name[32];
    snprintf(name, sizeof name, video ? "%zu.frames" : "%zu.%zu", index, picture);
    return tkr_tensors_find(p->set, name);
}

/* Batch of golden inputs, one sequence each. false: the pixels of one aren't kept. */
static inline bool visual_batch(visual_sequence *s, const network *n, const visual_pixels *p, const size_t *indices,
                                size_t count) {
    memset(s, 0, sizeof *s);
    for (size_t i = 0; i < count; i++) visual_add_prompt(s, n, indices[i]);
    visual_finish(s, n);
    s->patches = calloc(s->batch.n_patches * n->vision.patch_cols + 1, sizeof *s->patches);
    assert_non_null(s->patches);
    s->batch.patches = s->patches;
    float *out = s->patches;
    for (size_t i = 0; i < count; i++) {
        const char *video = json_object_get(visual_input(n, indices[i]), "video") ? "video" : NULL;
        for (size_t v = s->first_visual[i], picture = 0; v < s->first_visual[i + 1]; v++, video = NULL) {
            const tkr_tensor_view *pixels = visual_pixels_find(p, indices[i], video, picture);
            if (!pixels) {
                visual_free(s);
                return false;
            }
            picture += video ? 0 : 1;
            visual_patchify(out, n, p, pixels, &s->visuals[v]);
            out += s->visuals[v].t * s->visuals[v].h * s->visuals[v].w * n->vision.patch_cols;
        }
    }
    return true;
}

/* ---- what the network makes of them ---- */

static inline void visual_check_run(const network *n) {
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_ops_cpu.run_status(n->run, &error) != TKR_OK) fail_msg("%s", error.message);
}

/* A tensor's values, which is released; the caller frees them. */
static inline float *visual_read(network *n, tkr_tensor **x, size_t n_values) {
    float *out = calloc(n_values ? n_values : 1, sizeof *out);
    assert_non_null(out);
    visual_check_run(n);
    assert_int_equal(tkr_ops_cpu.rows(*x) * tkr_ops_cpu.cols(*x), n_values);
    assert_int_equal(tkr_ops_cpu.read(n->run, out, *x), TKR_OK);
    tkr_ops_cpu.release(n->run, x);
    return out;
}

static inline size_t visual_vector_size(const network *n) {
    return n->vision.head_size ? n->vision.head_size : n->config.hidden_size;
}

/* Unit vectors [n_spans, visual_vector_size]. */
static inline float *visual_vectors(network *n, const visual_sequence *s, const tkr_run_options *options) {
    const tkr_pool_mode last = TKR_POOL_LASTTOKEN;
    tkr_ops_cpu.run_begin(n->run, options);
    tkr_tensor *x = tkr_arch_forward(n->model, n->run, &s->batch);
    visual_check_run(n);
    tkr_tensor *pooled = tkr_ops_cpu.pool(n->run, x, s->batch.spans, s->batch.n_spans, &last, 1);
    tkr_ops_cpu.release(n->run, &x);
    pooled = tkr_arch_head(n->model, n->run, pooled);
    tkr_tensor *unit = tkr_ops_cpu.normalize(n->run, pooled);
    if (unit != pooled) tkr_ops_cpu.release(n->run, &pooled);
    return visual_read(n, &unit, s->batch.n_spans * visual_vector_size(n));
}

#endif
