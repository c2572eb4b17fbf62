/* SPDX-License-Identifier: Apache-2.0 */
/* engine/load: the load pipeline of design.md: reference, config, registry, plan, tensors, tokenizer, modules. */
#include <string.h>

#include "core/json.h"
#include "engine/engine.h"
#include "engine/gguf_model.h"
#include "engine/weight_cache.h"

#define LARGE_CHECKPOINT ((uint64_t)256 << 20) /* mapped bytes; beyond, pages are let go once they are packed */

static tkr_status open_machine(tkr_model *model, const tkr_model_options *options, tkr_error *error) {
    tkr_cpu_flags flags = 0;
    tkr_status status = tkr_cpu_detect(&flags, options->cpu ? options->cpu : tkr_env("TKR_CPU"), error);
    if (status != TKR_OK) return status;
    tkr_kernels_init(&model->kernels, flags);
    tkr_machine_read(&model->machine);
    if (options->threads > 1024) return TKR_FAIL(error, INVALID_ARGUMENT, "threads %u; at most 1024", options->threads);
    unsigned threads = options->threads ? options->threads : model->machine.n_threads;
    status = tkr_pool_create(&model->pool, threads, error);
    const tkr_device_request device = {
        .options = options, .machine = &model->machine, .kernels = &model->kernels, .pool = model->pool};
    if (status == TKR_OK) status = tkr_device_open(&model->device, &device, error);
    model->ops = model->device.ops;
    model->backend = model->device.backend;
    return status;
}

unsigned tkr_model_computing_workers(const tkr_model *model) {
    return model->device.mlx ? 1 : tkr_pool_size(model->pool);
}

/* Weights of one tensor; 0 for the scales and biases of a quantised one. */
static uint64_t parameters_of(const tkr_model *model, const tkr_tensor_view *view) {
    const json_t *settings = model->checkpoint.quantization;
    char name[256];
    size_t n = strlen(view->name);
    if (!settings || n >= sizeof name) return view->n_elements;
    const char *dot = strrchr(view->name, '.');
    if (dot && (strcmp(dot, ".scales") == 0 || strcmp(dot, ".biases") == 0)) return 0;
    if (!dot || strcmp(dot, ".weight") != 0 || view->dtype != TKR_DTYPE_U32) return view->n_elements;
    memcpy(name, view->name, (size_t)(dot - view->name));
    name[dot - view->name] = '\0';
    const json_t *own = json_object_get(settings, name);
    json_int_t bits = json_integer_value(json_object_get(json_is_object(own) ? own : settings, "bits"));
    return bits >= 1 && bits <= 32 ? view->n_elements * 32 / (uint64_t)bits : view->n_elements;
}

static void measure_tensors(tkr_plan_request *request, const tkr_model *model) {
    uint64_t stored = 0;
    request->quantised = model->checkpoint.quantization != NULL;
    for (size_t i = 0; i < tkr_tensors_count(model->tensors); i++) {
        const tkr_tensor_view *view = tkr_tensors_at(model->tensors, i);
        stored += view->size;
        request->n_parameters += parameters_of(model, view);
        request->quantised = request->quantised || tkr_dtype_class(view->dtype) == 2;
    }
    request->unquantised_bytes = request->quantised ? 2 * request->n_parameters : stored;
}

static tkr_status make_plan(tkr_model *model, const tkr_model_options *options, tkr_error *error) {
    tkr_plan_request request = {.options = options,
                                .machine = &model->machine,
                                .checkpoint = &model->checkpoint,
                                .tensors = model->tensors,
                                .kernels = &model->kernels,
                                .device = &model->device,
                                .n_workers = tkr_model_computing_workers(model),
                                .picture_patches = tkr_model_picture_patches(model),
                                .arena = &model->checkpoint.arena};
    measure_tensors(&request, model);
    return tkr_plan_make(&model->plan, &request, error);
}

static tkr_status bind_weights(tkr_model *model, const tkr_packed_store *store, uint64_t *n_parameters,
                               tkr_error *error) {
    tkr_binder *binder = NULL;
    const tkr_binder_options options = {.set = model->tensors,
                                        .ops = model->ops,
                                        .backend = model->backend,
                                        .mode = model->plan.mode,
                                        .group = model->plan.group,
                                        .spared = model->plan.spared,
                                        .quantization = model->checkpoint.quantization,
                                        .pool = model->pool,
                                        .store = store,
                                        .release_source = tkr_tensors_mapped_bytes(model->tensors) > LARGE_CHECKPOINT};
    tkr_status status = tkr_binder_create(&binder, &options, error);
    const tkr_arch_spec spec = tkr_checkpoint_spec(&model->checkpoint);
    if (status == TKR_OK) status = tkr_arch_bind(&model->weights, binder, &spec, error);
    if (status == TKR_OK)
        *n_parameters = tkr_binder_parameters(binder);
    else if (error && error->status != TKR_NO_MEMORY)
        tkr_error_prefix(error, status, "%s", model->checkpoint.folder);
    tkr_binder_free(&binder);
    return status;
}

static tkr_status load_weights(tkr_model *model, const tkr_model_options *options, uint64_t *n_parameters,
                               tkr_error *error) {
    const tkr_weight_cache_options cache = {.model = options,
                                            .tensors = model->tensors,
                                            .folder = model->checkpoint.folder,
                                            .plan = &model->plan,
                                            .kernels = &model->kernels,
                                            .ops = model->ops,
                                            .backend = model->backend,
                                            .log = &model->log};
    if (!model->device.mlx) model->cache = tkr_weight_cache_open(&cache);
    tkr_status status = bind_weights(model, tkr_weight_cache_store(model->cache), n_parameters, error);
    tkr_weight_cache_finish(model->cache, status == TKR_OK);
    if (status == TKR_OK || tkr_weight_cache_hits(model->cache) == 0) return status;
    tkr_weight_cache_free(&model->cache); /* the file is gone: pack as if it had never been there */
    return bind_weights(model, NULL, n_parameters, error);
}

static tkr_status open_tensors(tkr_model *model, tkr_error *error) {
    tkr_checkpoint *checkpoint = &model->checkpoint;
    tkr_status status = checkpoint->gguf ? tkr_gguf_model_tensors(&model->tensors, &model->dense, checkpoint->gguf,
                                                                  checkpoint->arch->layout, error)
                                         : tkr_tensors_open_folder(&model->tensors, checkpoint->folder, error);
    if (status != TKR_OK || !checkpoint->adapter) return status;
    status = tkr_adapter_apply(model->tensors, &checkpoint->adapter, error);
    return status == TKR_OK ? status : tkr_error_prefix(error, status, "adapter on the model %s", checkpoint->folder);
}

static tkr_status load_post(tkr_model *model, const tkr_model_options *options, tkr_error *error) {
    const char *pooling = options->pooling ? options->pooling : model->checkpoint.pooling;
    const tkr_recipe *recipe = tkr_checkpoint_recipe(&model->checkpoint);
    const bool multi_vector = recipe && recipe->multi_vector;
    if (options->pooling && multi_vector)
        return TKR_FAIL(error, INVALID_ARGUMENT, "pooling \"%s\" was asked for, but %s has one vector a token",
                        options->pooling, model->checkpoint.arch->name);
    if (multi_vector) pooling = "lasttoken"; /* each token is the last of its own span */
    if (model->checkpoint.gguf && !pooling) {
        pooling = model->checkpoint.arch->pooling;
        if (!pooling)
            return TKR_FAIL(error, INVALID_ARGUMENT,
                            "%s: the file has no pooling_type, so how token vectors become one is unknown; choose with "
                            "--pooling cls, mean, max or lasttoken (the model's page tells which)",
                            model->checkpoint.folder);
    }
    const tkr_post_options post = {.folder = model->checkpoint.gguf ? NULL : model->checkpoint.folder,
                                   .dense = model->dense,
                                   .pooling = pooling,
                                   .arch = model->checkpoint.arch,
                                   .hidden_size = model->checkpoint.config.hidden_size,
                                   .head_size = model->checkpoint.vision.head_size,
                                   .ops = model->ops,
                                   .backend = model->backend,
                                   .log = &model->log};
    return tkr_post_load(&model->post, &post, error);
}

tkr_status tkr_model_load(tkr_model **out, const char *reference, const tkr_model_options *options, tkr_error *error) {
    tkr_model_options defaults;
    tkr_model_options_init(&defaults);
    options = options ? options : &defaults;
    if (options->struct_size != sizeof *options)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "the model options were not filled by tkr_model_options_init of this version");
    tkr_model *model = tkr_calloc(1, sizeof *model);
    if (!model) return TKR_FAIL(error, NO_MEMORY, "no memory for the model");
    model->log = (tkr_log){options->log, options->log_user};
    uint64_t n_parameters = 0;
    tkr_status status = open_machine(model, options, error);
    if (status == TKR_OK) status = tkr_checkpoint_open(&model->checkpoint, reference, options, false, error);
    if (status == TKR_OK) status = tkr_checkpoint_config(&model->checkpoint, options, error);
    if (status == TKR_OK) status = open_tensors(model, error);
    if (status == TKR_OK) status = load_post(model, options, error);
    if (status == TKR_OK) status = tkr_model_open_pictures(model, options, error);
    if (status == TKR_OK) status = tkr_model_open_documents(model, options, error);
    if (status == TKR_OK) status = make_plan(model, options, error);
    if (status == TKR_OK) status = tkr_engine_load_tok(&model->tokenizer, &model->checkpoint, options, error);
    if (status == TKR_OK) status = load_weights(model, options, &n_parameters, error);
    if (status == TKR_OK) status = tkr_info_fill(model, reference, n_parameters, error);
    if (status != TKR_OK) {
        tkr_model_free(&model);
        return status;
    }
    *out = model;
    return TKR_OK;
}

void tkr_model_free(tkr_model **out) {
    if (!out || !*out) return;
    tkr_model *model = *out;
    tkr_arch_free(&model->weights);
    tkr_post_free(&model->post);
    tkr_processor_free(&model->processor);
    tkr_jail_free(&model->jail);
    tkr_jail_free(&model->video_jail);
    tkr_jail_free(&model->document_jail);
    tkr_weight_cache_free(&model->cache);
    tkr_engine_close_tok(&model->tokenizer);
    tkr_tensors_free(&model->tensors);
    tkr_tensors_free(&model->dense);
    tkr_device_close(&model->device);
    tkr_pool_free(&model->pool);
    tkr_checkpoint_close(&model->checkpoint);
    tkr_free(model);
    *out = NULL;
}
