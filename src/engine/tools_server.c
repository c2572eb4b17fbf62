/* SPDX-License-Identifier: Apache-2.0 */
/* engine/tools_server: what the server needs of a model besides embedding: pictures read ahead of their turn, times,
 * the tokenizer, a warm start. */
#include <string.h>

#include "engine/engine.h"
#include "engine/fetch.h"
#include "engine/tools.h"

#define MAX_NAME 224
#define WARM_UP_SECONDS 1.0 /* that one step may be expected to take */
#define WARM_UP_TEXT "the quick brown fox jumps over the lazy dog "
#define WARM_UP_SIDE 64 /* pixels */

tkr_status tkr_tools_check_names(const char *device, const char *pooling, const char *cpu, tkr_error *error) {
    tkr_pool_mode modes[TKR_POOL_MODES];
    tkr_device_kind kind;
    tkr_cpu_flags flags;
    size_t n_modes;
    unsigned index;
    tkr_status status = tkr_device_parse(&kind, &index, device, error);
    if (status == TKR_OK && pooling) status = tkr_pooling_parse(modes, &n_modes, pooling, error);
    if (status == TKR_OK && cpu) status = tkr_cpu_detect(&flags, cpu, error);
    return status;
}

/* ---- pictures ---- */

tkr_status tkr_tools_decode_picture(tkr_part *rgb, void **pixels, tkr_model *model, const tkr_part *part,
                                    const tkr_stop *stop, tkr_error *error) {
    char name[MAX_NAME];
    tkr_buf file = {0};
    tkr_image image = {0};
    if (!model->processor) return TKR_FAIL(error, INVALID_ARGUMENT, "%s reads no pictures", model->info.reference);
    if (!part->data || part->kind <= TKR_PART_TEXT || part->kind >= TKR_PART_RGB)
        return TKR_FAIL(error, INVALID_ARGUMENT, "a part of kind %d is no picture to be decoded", (int)part->kind);
    tkr_name_picture(name, sizeof name, part, 1);
    const tkr_alpha alpha = tkr_processor_alpha(model->processor, &model->process);
    const tkr_status status = tkr_decode_part(&image, &file, model, part, name, alpha, stop, error);
    tkr_buf_free(&file);
    if (status != TKR_OK) return status;
    *pixels = image.rgb;
    *rgb = tkr_rgb_part(&image, part->name);
    return TKR_OK;
}

void tkr_tools_free_pixels(void **pixels) {
    tkr_image image = {.rgb = *pixels};
    tkr_image_free(&image);
    *pixels = NULL;
}

tkr_status tkr_tools_fetch_picture(tkr_buf *out, tkr_model *model, const char *url, tkr_error *error) {
    const tkr_fetch_options options = {
        .max_bytes = model->max_image_bytes, .hosts = model->allow_hosts, .n_hosts = model->n_allow_hosts};
    if (!model->processor) return TKR_FAIL(error, INVALID_ARGUMENT, "%s reads no pictures", model->info.reference);
    return tkr_fetch(out, url, strlen(url), &options, error);
}

/* ---- what the model and a result know ---- */

const tkr_tokenizer *tkr_tools_tokenizer(const tkr_model *model) { return &model->tokenizer; }

void tkr_tools_result_times(const tkr_result *result, double *pictures_s, double *tokenize_s, double *forward_s) {
    *pictures_s = result->pictures_s;
    *tokenize_s = result->tokenize_s;
    *forward_s = result->forward_s;
}

/* ---- warm start ---- */

/* Embeds n inputs and tells how long it took. A single input's failure is none of a warm-up. */
static tkr_status timed(double *seconds, tkr_session *session, const tkr_input *inputs, size_t n, tkr_error *error) {
    tkr_result *result = NULL;
    const double begin = tkr_now();
    const tkr_status status = tkr_embed(&result, session, inputs, n, NULL, error);
    *seconds = tkr_now() - begin;
    tkr_result_free(&result);
    return status;
}

enum { BATCH_TEXTS = 64, BATCH_TOKENS = 108 }; /* at most, each */

/* As many texts as one pass over all workers takes. */
static size_t full_batch(const tkr_model *model) {
    const size_t n = model->plan.batch_tokens / BATCH_TOKENS + 1;
    return n > BATCH_TEXTS ? BATCH_TEXTS : n;
}

static tkr_status many_texts(tkr_session *session, size_t n, tkr_error *error) {
    enum { REPEATS = BATCH_TOKENS / 9 };
    char text[REPEATS * (sizeof WARM_UP_TEXT - 1) + 1] = "";
    double seconds = 0;
    for (size_t i = 0; i < REPEATS; i++)
        memcpy(text + i * (sizeof WARM_UP_TEXT - 1), WARM_UP_TEXT, sizeof WARM_UP_TEXT);
    tkr_input inputs[BATCH_TEXTS];
    for (size_t i = 0; i < n; i++) inputs[i] = (tkr_input){.text = text, .n_text = sizeof text - 1};
    return timed(&seconds, session, inputs, n, error);
}

/* A black square, whose size the processor changes as it sees fit. */
static tkr_status one_picture(tkr_session *session, tkr_error *error) {
    static const uint8_t black[WARM_UP_SIDE * WARM_UP_SIDE * 3];
    const tkr_part part = {
        .kind = TKR_PART_RGB, .data = black, .n_data = sizeof black, .width = WARM_UP_SIDE, .height = WARM_UP_SIDE};
    const tkr_input input = {.kind = TKR_INPUT_PARTS, .parts = &part, .n_parts = 1};
    double seconds = 0;
    return timed(&seconds, session, &input, 1, error);
}

static double picture_operations(const tkr_model *model) {
    size_t t = 0, h = 0, w = 0;
    if (tkr_processor_grid(&t, &h, &w, model->processor, WARM_UP_SIDE, WARM_UP_SIDE, &model->process, NULL) != TKR_OK)
        return 0;
    return tkr_vision_operations(&model->checkpoint.vision, &(tkr_visual){t, h, w});
}

tkr_status tkr_tools_warm_up(tkr_session *session, tkr_error *error) {
    const tkr_model *model = session->model;
    const tkr_arch_config *config = &model->checkpoint.config;
    const tkr_input small = {.text = WARM_UP_TEXT, .n_text = sizeof WARM_UP_TEXT - 1};
    double first = 0, seconds = 0;
    tkr_status status = timed(&first, session, &small, 1, error);
    if (status == TKR_OK) status = timed(&seconds, session, &small, 1, error);
    const double most = WARM_UP_SECONDS * tkr_arch_operations(config, 9) / (seconds > 1e-6 ? seconds : 1e-6);
    const size_t n = full_batch(model);
    if (status == TKR_OK && (double)n * tkr_arch_operations(config, BATCH_TOKENS) < most)
        status = many_texts(session, n, error);
    if (status == TKR_OK && model->processor && picture_operations(model) < most) status = one_picture(session, error);
    return status;
}
