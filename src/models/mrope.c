/* SPDX-License-Identifier: Apache-2.0 */
/* models/mrope: positions of three axes (time, row, column) for prompts with pictures: M-RoPE (Wang et al. 2024,
 * Qwen2-VL, section 2.1; transformers get_rope_index). Refuses placeholders that don't match the pictures. */
#include "models/vision.h"

typedef struct walk {
    int32_t *axis[3];
    const tkr_vision_config *vision;
    const tkr_mrope_options *o;
    size_t at;        /* token */
    size_t next;      /* position that comes next */
    size_t visual;    /* picture at hand */
    size_t frames;    /* of it, that are done */
    tkr_error *error; /* nullable */
} walk;

static bool is_placeholder(const walk *w, size_t at) { return tkr_is_placeholder(w->vision, w->o->ids[at]); }

static void set(walk *w, size_t t, size_t h, size_t c) {
    w->axis[0][w->at] = (int32_t)t;
    w->axis[1][w->at] = (int32_t)h;
    w->axis[2][w->at] = (int32_t)c;
    w->at++;
}

static tkr_status mismatch(const walk *w) {
    size_t found = 0, wanted = 0;
    for (size_t i = 0; i < w->o->n; i++) found += is_placeholder(w, i);
    for (size_t i = 0; i < w->o->n_visuals; i++) wanted += tkr_visual_tokens(w->vision, &w->o->visuals[i]);
    return TKR_FAIL(w->error, INVALID_ARGUMENT,
                    "the prompt has %zu placeholder tokens of pictures, its %zu pictures have %zu: a placeholder must "
                    "not be typed into the text",
                    found, w->o->n_visuals, wanted);
}

/* The tokens of a picture, or of one frame of a video where frames are apart. */
static tkr_status place_picture(walk *w) {
    const size_t m = w->vision->merge_size, base = w->next;
    if (w->visual == w->o->n_visuals) return mismatch(w);
    const tkr_visual *v = &w->o->visuals[w->visual];
    const size_t rows = v->h / m, cols = v->w / m, t = w->o->frames_apart ? 1 : v->t;
    for (size_t i = 0; i < t * rows * cols; i++) {
        if (w->at == w->o->n || !is_placeholder(w, w->at)) return mismatch(w);
        set(w, base + i / (rows * cols), base + i / cols % rows, base + i % cols);
    }
    const size_t across = rows > cols ? rows : cols;
    w->next = base + (across > t ? across : t);
    w->frames += t;
    if (w->frames == v->t) {
        w->visual++;
        w->frames = 0;
    }
    return TKR_OK;
}

tkr_status tkr_mrope_positions(int32_t *positions, const tkr_vision_config *vision, const tkr_mrope_options *options,
                               tkr_error *error) {
    walk w = {.axis = {positions, positions + options->stride, positions + 2 * options->stride},
              .vision = vision,
              .o = options,
              .error = error};
    while (w.at < options->n) {
        if (options->n_visuals > 0 && is_placeholder(&w, w.at)) {
            tkr_status status = place_picture(&w);
            if (status != TKR_OK) return status;
        } else {
            set(&w, w.next, w.next, w.next);
            w.next++;
        }
    }
    return w.visual == options->n_visuals ? TKR_OK : mismatch(&w);
}
