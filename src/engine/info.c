/* SPDX-License-Identifier: Apache-2.0 */
/* engine/info: what tkr_model_get_info shows, and the fingerprint under which vectors are comparable bit for bit. */
#include <stdio.h>
#include <string.h>

#include "core/digest.h"
#include "engine/engine.h"
#include "engine/weight_cache.h"

#define SAMPLES 8
#define SAMPLE_BYTES 256
#define MAX_CONFIG ((size_t)16 << 20)
#define RELEASED_BYTES ((size_t)1 << 20)

const tkr_model_info *tkr_model_get_info(const tkr_model *model) { return &model->info; }

void tkr_model_get_device_memory(tkr_device_memory *out, const tkr_model *model) {
    const tkr_device *device = &model->device;
    tkr_mlx_memory memory;
    memset(out, 0, sizeof *out);
    if (!device->mlx) return;
    device->mlx->memory(&memory, device->backend);
    *out = (tkr_device_memory){.active = memory.active,
                               .peak = memory.peak,
                               .cached = memory.cached,
                               .limit = memory.limit,
                               .total = device->about.memory_bytes};
}

/* What becomes of a picture changes its vector as weights do. */
static void add_pictures(tkr_digest *digest, const tkr_model *model) {
    static const char *const names[] = {"processor_config.json", "preprocessor_config.json"};
    if (!model->processor) return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tkr_buf text = {0};
        char *path = tkr_path_join(tkr_checkpoint_folder(&model->checkpoint, names[i]), names[i]);
        if (path && tkr_file_read(&text, path, MAX_CONFIG, NULL) == TKR_OK)
            tkr_digest_add(digest, text.data, text.size);
        tkr_buf_free(&text);
        tkr_free(path);
    }
    tkr_digest_add(digest, &model->process, offsetof(tkr_process_options, pool));
}

/* A few samples of a tensor's bytes. */
static void add_samples(tkr_digest *digest, const tkr_tensor_view *view) {
    const size_t step = view->size / SAMPLES;
    if (view->size <= (size_t)SAMPLES * SAMPLE_BYTES) {
        tkr_digest_add(digest, view->data, view->size);
        return;
    }
    for (size_t s = 0; s < SAMPLES; s++) tkr_digest_add(digest, (const char *)view->data + s * step, SAMPLE_BYTES);
    if (view->size >= RELEASED_BYTES) tkr_map_release(view->data, view->size); /* a touch may map megabytes */
}

/* Names, shapes and a few samples of every tensor, and the files that change vectors: two checkpoints that differ
 * anywhere but between the samples get different hashes, without reading gigabytes at every start. */
static uint64_t model_hash(const tkr_model *model) {
    tkr_digest digest;
    tkr_digest_init(&digest);
    for (size_t i = 0; i < tkr_tensors_count(model->tensors); i++) {
        const tkr_tensor_view *view = tkr_tensors_at(model->tensors, i);
        tkr_digest_add(&digest, view->name, strlen(view->name) + 1);
        tkr_digest_add(&digest, view->shape, view->n_dims * sizeof *view->shape);
        tkr_digest_add(&digest, &view->dtype, sizeof view->dtype);
        add_samples(&digest, view);
        if (!view->low_rank) continue;
        tkr_digest_add(&digest, &view->low_rank->scale, sizeof view->low_rank->scale);
        add_samples(&digest, view->low_rank->a);
        add_samples(&digest, view->low_rank->b);
    }
    const tkr_post_info *post = tkr_post_get_info(model->post);
    tkr_digest_add(&digest, post->pooling, strlen(post->pooling));
    tkr_digest_add(&digest, &model->checkpoint.lowercase, sizeof model->checkpoint.lowercase);
    add_pictures(&digest, model);
    size_t pieces = tkr_tok_vocab_size(model->tokenizer.tok);
    tkr_digest_add(&digest, &pieces, sizeof pieces);
    return tkr_digest_end(&digest);
}

static tkr_status add_kernels(tkr_model *model, tkr_error *error) {
    static const char *const names[] = {"rung", "linear", "attention", "dense module"};
    tkr_pair *rows = tkr_arena_alloc(&model->checkpoint.arena, sizeof *rows * 4);
    if (!rows) return TKR_FAIL(error, NO_MEMORY, "no memory for the model's description");
    const char *rung = model->device.mlx ? model->device.id : model->kernels.rung;
    const char *values[] = {rung, model->ops->kernel_name(model->backend, model->plan.mode, false),
                            model->ops->kernel_name(model->backend, model->plan.mode, true),
                            model->ops->kernel_name(model->backend, TKR_GEMM_F32, false)};
    for (size_t i = 0; i < 4; i++) rows[i] = (tkr_pair){names[i], values[i]};
    model->info.kernels = rows;
    model->info.n_kernels = 4;
    return TKR_OK;
}

/* More notes: the device that was chosen, the cache where there is one. */
static tkr_status add_notes(tkr_model *model, tkr_error *error) {
    tkr_plan *plan = &model->plan;
    const char *path = tkr_weight_cache_path(model->cache);
    const size_t most = sizeof plan->notes / sizeof *plan->notes;
    if (*model->device.note && plan->n_notes < most)
        plan->notes[plan->n_notes++] = (tkr_pair){"device", model->device.note};
    if (model->checkpoint.adapter_folder && plan->n_notes < most)
        plan->notes[plan->n_notes++] = (tkr_pair){"base model", model->checkpoint.folder};
    if (!path || plan->n_notes == most) return TKR_OK;
    const char *text =
        tkr_arena_printf(&model->checkpoint.arena, "%s %s",
                         tkr_weight_cache_mapped_bytes(model->cache) ? "mapped from" : "written to", path);
    if (!text) return TKR_FAIL(error, NO_MEMORY, "no memory for the model's description");
    plan->notes[plan->n_notes++] = (tkr_pair){"weight cache", text};
    return TKR_OK;
}

/* Tables are used where they lie in the file. */
static uint64_t table_bytes(const tkr_model *model) {
    const tkr_layout *layout = model->checkpoint.arch->layout;
    const char *const tables[] = {layout->words, layout->positions, layout->types};
    static const char *const parts[] = {"weight", "scales", "biases"};
    uint64_t bytes = 0;
    for (size_t p = 0; layout->prefixes[p]; p++)
        for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
            for (size_t i = 0; tables[t] && i < sizeof parts / sizeof *parts; i++) {
                char name[256];
                snprintf(name, sizeof name, "%s%s.%s", layout->prefixes[p], tables[t], parts[i]);
                const tkr_tensor_view *view = tkr_tensors_find(model->tensors, name);
                bytes += view ? view->size : 0;
            }
    return bytes;
}

static tkr_status describe_processor(const char **out, tkr_model *model, tkr_error *error) {
    const tkr_vision_config *v = &model->checkpoint.vision;
    const tkr_vision_arch *vision = model->checkpoint.arch->vision;
    const char *order = model->process.horizontal_first ? ", resized rows first as in Pillow up to 12" : "";
    if (!vision) return TKR_OK;
    *out = strcmp(vision->processor, "fixed") == 0
               ? tkr_arena_printf(&model->checkpoint.arena, "%zu x %zu pixels, patches of %zu%s", v->image_size,
                                  v->image_size, v->patch_size, order)
               : tkr_arena_printf(&model->checkpoint.arena,
                                  "%s: any size in steps of %zu, at most %zu patches of %zu a picture%s",
                                  vision->processor, v->patch_size * v->merge_size, tkr_model_picture_patches(model),
                                  v->patch_size, order);
    return *out ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for the model's description");
}

tkr_status tkr_info_fill(tkr_model *model, const char *reference, uint64_t n_parameters, tkr_error *error) {
    tkr_checkpoint *c = &model->checkpoint;
    const tkr_post_info *post = tkr_post_get_info(model->post);
    const tkr_recipe *recipe = tkr_checkpoint_recipe(c);
    const char *processor = NULL;
    tkr_status status = describe_processor(&processor, model, error);
    if (status == TKR_OK) status = add_kernels(model, error);
    if (status == TKR_OK) status = add_notes(model, error);
    if (status != TKR_OK) return status;
    const char *gemm =
        model->device.mlx ? model->device.id : model->ops->kernel_name(model->backend, model->plan.mode, false);
    char *fingerprint = tkr_arena_printf(&c->arena, "%016llx:%s:%s:%s", (unsigned long long)model_hash(model),
                                         model->plan.precision, model->plan.quantization, gemm);
    char *copy = tkr_arena_strndup(&c->arena, reference, strlen(reference));
    if (!fingerprint || !copy) return TKR_FAIL(error, NO_MEMORY, "no memory for the model's description");
    tkr_model_info *info = &model->info;
    info->reference = copy;
    info->path = c->adapter_folder ? c->adapter_folder : c->folder;
    info->architecture = c->arch->name;
    info->pooling = post->pooling;
    info->precision = model->plan.precision;
    info->quantization = model->plan.quantization;
    info->fingerprint = fingerprint;
    info->device = model->device.text;
    info->default_prompt = c->default_prompt;
    info->dimensions = post->dimensions;
    info->max_tokens = c->max_tokens;
    info->vocab_size = c->config.vocab_size;
    info->hidden_size = c->config.hidden_size;
    info->n_layers = c->config.n_layers;
    info->n_heads = c->config.n_heads;
    info->intermediate_size = c->config.intermediate_size;
    info->n_parameters = n_parameters;
    if (n_parameters)
        info->bits_per_weight = 8.0 * (double)(model->plan.weights_bytes + table_bytes(model)) / (double)n_parameters;
    info->weights_bytes = model->plan.weights_bytes;
    info->mapped_bytes = tkr_tensors_mapped_bytes(model->tensors) + tkr_weight_cache_mapped_bytes(model->cache);
    info->workspace_bytes = model->plan.workspace_bytes;
    info->memory_limit = model->plan.limit;
    info->threads = tkr_pool_size(model->pool);
    info->batch_tokens = model->plan.batch_tokens;
    info->normalizes = post->normalizes;
    info->multi_vector = recipe && recipe->multi_vector;
    if (info->multi_vector) info->pooling = "none: one vector a token";
    info->modalities = tkr_modalities(c);
    info->max_images = tkr_max_images(c);
    info->max_image_patches = model->plan.max_patches;
    info->processor = processor;
    info->prompts = c->prompts;
    info->n_prompts = c->n_prompts;
    info->notes = model->plan.notes;
    info->n_notes = model->plan.n_notes;
    return TKR_OK;
}
