/* SPDX-License-Identifier: Apache-2.0 */
/* engine/vision: what a model that reads pictures needs besides its weights: the processor, the decoder, limits. */
#include <string.h>

#include "engine/engine.h"

#define LEAST_MAX_PIXELS ((size_t)16 << 20)

static tkr_status family_of(tkr_processor_family *family, const char *name, tkr_error *error) {
    static const struct {
        const char *name;
        tkr_processor_family family;
    } families[] = {{"fixed", TKR_PROCESSOR_FIXED},
                    {"qwen2", TKR_PROCESSOR_QWEN2},
                    {"ops", TKR_PROCESSOR_OPS},
                    {"qwen3_vl", TKR_PROCESSOR_QWEN3_VL}};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        *family = families[i].family;
        if (strcmp(families[i].name, name) == 0) return TKR_OK;
    }
    return TKR_FAIL(error, INTERNAL, "an architecture with the unknown processor \"%s\"", name);
}

/* A decoded picture of each worker takes at most an eighth of the memory together. */
static size_t max_image_pixels(const tkr_model *model, const tkr_model_options *options) {
    if (options->max_image_pixels) return options->max_image_pixels;
    const uint64_t fit = model->device.limit / 8 / 3 / tkr_pool_size(model->pool);
    if (fit >= TKR_MAX_PIXELS) return TKR_MAX_PIXELS;
    return fit < LEAST_MAX_PIXELS ? LEAST_MAX_PIXELS : (size_t)fit;
}

/* A model without a decoder still embeds texts, so that its absence is no failure to load. */
static tkr_status open_jail(tkr_model *model, const tkr_model_options *options) {
    const tkr_jail_options jail = {.program = options->decoder,
                                   .unconfined = options->no_jail != 0,
                                   .n_processes = tkr_pool_size(model->pool) > 4 ? 4 : tkr_pool_size(model->pool),
                                   .max_pixels = model->max_image_pixels,
                                   .max_bytes = model->max_image_bytes};
    tkr_status status = tkr_jail_create(&model->jail, &jail, &model->jail_error);
    if (status == TKR_NO_MEMORY) return status;
    if (status != TKR_OK)
        tkr_log_line(&model->log, TKR_LOG_WARNING, "pictures can't be decoded: %s", model->jail_error.message);
    return TKR_OK;
}

/* That there is none shows with the first video: few have any. */
static tkr_status open_video_jail(tkr_model *model, const tkr_model_options *options) {
    const tkr_jail_options jail = {.program = options->decoder,
                                   .kind = TKR_JAIL_VIDEOS,
                                   .unconfined = options->no_jail != 0,
                                   .n_processes = tkr_pool_size(model->pool) > 2 ? 2 : tkr_pool_size(model->pool),
                                   .max_pixels = model->max_image_pixels,
                                   .max_bytes = model->max_video_bytes};
    return tkr_jail_create(&model->video_jail, &jail, &model->video_error) == TKR_NO_MEMORY ? TKR_NO_MEMORY : TKR_OK;
}

static tkr_status copy_hosts(tkr_model *model, const tkr_model_options *options, tkr_error *error) {
    const size_t n = options->n_allow_hosts;
    if (n == 0) return TKR_OK;
    const char **hosts = tkr_arena_alloc(&model->checkpoint.arena, n * sizeof *hosts);
    for (size_t i = 0; hosts && i < n; i++) {
        hosts[i] =
            tkr_arena_strndup(&model->checkpoint.arena, options->allow_hosts[i], strlen(options->allow_hosts[i]));
        if (!hosts[i]) hosts = NULL;
    }
    if (!hosts) return TKR_FAIL(error, NO_MEMORY, "no memory for a list of %zu hosts", n);
    model->allow_hosts = hosts;
    model->n_allow_hosts = n;
    return TKR_OK;
}

tkr_status tkr_model_open_pictures(tkr_model *model, const tkr_model_options *options, tkr_error *error) {
    const tkr_checkpoint *c = &model->checkpoint;
    const tkr_vision_arch *vision = c->arch->vision;
    if (!vision) return TKR_OK;
    const char *combined = tkr_checkpoint_folder(c, "processor_config.json"),
               *plain = tkr_checkpoint_folder(c, "preprocessor_config.json");
    tkr_processor_options processor = {.folder = plain == c->folder ? combined : plain,
                                       .patch_size = c->vision.patch_size,
                                       .temporal_patch_size = c->vision.temporal_patch_size,
                                       .merge_size = c->vision.merge_size,
                                       .image_size = c->vision.image_size,
                                       .kernels = &model->kernels};
    tkr_status status = family_of(&processor.family, vision->processor, error);
    if (status != TKR_OK) return status;
    if (processor.family == TKR_PROCESSOR_FIXED && options->max_pixels)
        return TKR_FAIL(error, INVALID_ARGUMENT, "max_pixels was given, but %s takes every picture at %zu x %zu pixels",
                        c->arch->name, c->vision.image_size, c->vision.image_size);
    status = tkr_processor_load(&model->processor, &processor, error);
    if (status == TKR_OK) status = copy_hosts(model, options, error);
    if (status != TKR_OK) return status;
    model->process.max_pixels = options->max_pixels;
    model->process.horizontal_first = options->horizontal_first != 0;
    model->max_image_bytes = options->max_image_bytes ? options->max_image_bytes : TKR_MAX_IMAGE_BYTES;
    model->max_video_bytes = options->max_video_bytes ? options->max_video_bytes : TKR_MAX_VIDEO_BYTES;
    model->max_image_pixels = max_image_pixels(model, options);
    return open_jail(model, options) == TKR_OK && open_video_jail(model, options) == TKR_OK
               ? TKR_OK
               : TKR_FAIL(error, NO_MEMORY, "no memory for the decoder of pictures");
}

/* The limit is on the area, which sides in whole patches meet more or less well: of many shapes the largest. */
size_t tkr_model_picture_patches(const tkr_model *model) {
    enum { SIDE = 60000, SHAPES = 100 };
    size_t most = 0;
    if (!model->processor) return 0;
    for (size_t k = 1; k <= SHAPES; k++) {
        size_t t = 0, h = 0, w = 0;
        if (tkr_processor_grid(&t, &h, &w, model->processor, SIDE, SIDE / k, &model->process, NULL) == TKR_OK &&
            t * h * w > most)
            most = t * h * w;
    }
    return most;
}
