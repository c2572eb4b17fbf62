/* SPDX-License-Identifier: Apache-2.0 */
/* engine/load: the load pipeline of design.md: reference, config, registry, plan, tensors, tokenizer, modules. */
#include <string.h>

#include "engine/engine.h"

static tkr_status open_machine(tkr_model *model, const tkr_model_options *options, tkr_error *error) {
    tkr_cpu_flags flags = 0;
    tkr_status status = tkr_cpu_detect(&flags, options->cpu ? options->cpu : tkr_env("TKR_CPU"), error);
    if (status != TKR_OK) return status;
    tkr_kernels_init(&model->kernels, flags);
    tkr_machine_read(&model->machine);
    if (options->threads > 1024) return TKR_FAIL(error, INVALID_ARGUMENT, "threads %u; at most 1024", options->threads);
    unsigned threads = options->threads ? options->threads : model->machine.n_threads;
    status = tkr_pool_create(&model->pool, threads, error);
    if (status == TKR_OK) status = tkr_backend_cpu_create(&model->backend, &model->kernels, model->pool, error);
    model->ops = &tkr_ops_cpu;
    return status;
}

static uint64_t stored_bytes(const tkr_tensors *tensors, uint64_t *n_parameters) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < tkr_tensors_count(tensors); i++) {
        bytes += tkr_tensors_at(tensors, i)->size;
        *n_parameters += tkr_tensors_at(tensors, i)->n_elements;
    }
    return bytes;
}

static tkr_status make_plan(tkr_model *model, const tkr_model_options *options, tkr_error *error) {
    tkr_plan_request request = {.options = options,
                                .machine = &model->machine,
                                .checkpoint = &model->checkpoint,
                                .kernels = &model->kernels,
                                .backend = model->backend,
                                .ops = model->ops,
                                .n_workers = tkr_pool_size(model->pool),
                                .arena = &model->checkpoint.arena};
    request.checkpoint_bytes = stored_bytes(model->tensors, &request.n_parameters);
    return tkr_plan_make(&model->plan, &request, error);
}

static tkr_status bind_weights(tkr_model *model, uint64_t *n_parameters, tkr_error *error) {
    tkr_binder *binder = NULL;
    const tkr_binder_options options = {
        .set = model->tensors, .ops = model->ops, .backend = model->backend, .mode = model->plan.mode};
    tkr_status status = tkr_binder_create(&binder, &options, error);
    if (status == TKR_OK)
        status = model->checkpoint.arch->bind(&model->weights, binder, &model->checkpoint.config, error);
    if (status == TKR_OK)
        *n_parameters = tkr_binder_parameters(binder);
    else if (error && error->status != TKR_NO_MEMORY)
        tkr_error_prefix(error, status, "%s", model->checkpoint.folder);
    tkr_binder_free(&binder);
    return status;
}

static tkr_status load_post(tkr_model *model, const tkr_model_options *options, tkr_error *error) {
    const tkr_post_options post = {.folder = model->checkpoint.folder,
                                   .pooling = options->pooling,
                                   .arch = model->checkpoint.arch,
                                   .hidden_size = model->checkpoint.config.hidden_size,
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
    if (status == TKR_OK) status = tkr_tensors_open_folder(&model->tensors, model->checkpoint.folder, error);
    if (status == TKR_OK) status = make_plan(model, options, error);
    if (status == TKR_OK) status = tkr_engine_load_tok(&model->tok, &model->checkpoint, error);
    if (status == TKR_OK) status = load_post(model, options, error);
    if (status == TKR_OK) status = bind_weights(model, &n_parameters, error);
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
    if (model->checkpoint.arch) model->checkpoint.arch->free(&model->weights);
    tkr_post_free(&model->post);
    tkr_tok_free(&model->tok);
    tkr_tensors_free(&model->tensors);
    tkr_backend_cpu_free(&model->backend);
    tkr_pool_free(&model->pool);
    tkr_checkpoint_close(&model->checkpoint);
    tkr_free(model);
    *out = NULL;
}
