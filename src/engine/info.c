/* SPDX-License-Identifier: Apache-2.0 */
/* engine/info: what tkr_model_get_info shows, and the fingerprint under which vectors are comparable bit for bit. */
#include <stdio.h>
#include <string.h>

#include "core/digest.h"
#include "core/json.h"
#include "engine/engine.h"
#include "engine/gguf_model.h"
#include "engine/weight_cache.h"

#define SAMPLES 8
#define SAMPLE_BYTES 256
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

static void add_file(tkr_digest *digest, const char *folder, const char *name) {
    tkr_map map = {0};
    char *path = tkr_path_join(folder, name);
    if (path && tkr_map_open(&map, path, NULL) == TKR_OK) {
        tkr_digest_add(digest, name, strlen(name));
        tkr_digest_add(digest, map.data, map.size);
    }
    tkr_map_close(&map);
    tkr_free(path);
}

/* What becomes of a picture changes its vector as weights do. */
static void add_pictures(tkr_digest *digest, const tkr_model *model) {
    static const char *const names[] = {"processor_config.json", "preprocessor_config.json"};
    if (!model->processor) return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        add_file(digest, tkr_checkpoint_folder(&model->checkpoint, names[i]), names[i]);
    tkr_digest_add(digest, &model->process, offsetof(tkr_process_options, pool));
}

static void add_metadata(tkr_digest *digest, const tkr_gguf_value *value) {
    tkr_digest_add(digest, value->key, strlen(value->key));
    tkr_digest_word(digest, value->kind);
    tkr_digest_word(digest, (uint64_t)value->integer);
    tkr_digest_add(digest, &value->number, sizeof value->number);
    tkr_digest_add(digest, value->text, value->n_text);
    for (size_t i = 0; i < value->n && value->kind == TKR_GGUF_ARRAY; i++) {
        const double number = tkr_gguf_array_number(value, i);
        const char *text = NULL;
        size_t n = 0;
        if (tkr_gguf_array_string(&text, &n, value, i))
            tkr_digest_add(digest, text, n);
        else
            tkr_digest_add(digest, &number, sizeof number);
    }
}

/* What computes with the tensors, and what makes ids of texts. Prompts and limits aren't there: they are the input's.
 */
static void add_settings(tkr_digest *digest, const tkr_checkpoint *c) {
    static const char *const names[] = {
        "config.json",  "tokenizer.json",  "tokenizer_config.json", "sentencepiece.bpe.model",
        "spiece.model", "tokenizer.model", "adapter_config.json"};
    for (size_t i = 0; c->gguf && i < tkr_gguf_count(c->gguf); i++) add_metadata(digest, tkr_gguf_at(c->gguf, i));
    for (size_t i = 0; !c->gguf && i < sizeof names / sizeof *names; i++)
        add_file(digest, tkr_checkpoint_folder(c, names[i]), names[i]);
    tkr_digest_add(digest, &c->lowercase, sizeof c->lowercase);
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

static void add_tensors(tkr_digest *digest, const tkr_tensors *tensors) {
    for (size_t i = 0; i < tkr_tensors_count(tensors); i++) {
        const tkr_tensor_view *view = tkr_tensors_at(tensors, i);
        tkr_digest_add(digest, view->name, strlen(view->name) + 1);
        tkr_digest_add(digest, view->shape, view->n_dims * sizeof *view->shape);
        tkr_digest_add(digest, &view->dtype, sizeof view->dtype);
        add_samples(digest, view);
        if (!view->low_rank) continue;
        tkr_digest_add(digest, &view->low_rank->scale, sizeof view->low_rank->scale);
        add_samples(digest, view->low_rank->a);
        add_samples(digest, view->low_rank->b);
    }
}

/* The modules behind the network; that their paths stay inside is known. */
static void add_modules(tkr_digest *digest, const tkr_model *model) {
    const tkr_post_info *post = tkr_post_get_info(model->post);
    const char *root = model->checkpoint.folder;
    json_t *list = NULL;
    tkr_digest_add(digest, post->pooling, strlen(post->pooling));
    tkr_digest_add(digest, &post->include_prompt, sizeof post->include_prompt);
    tkr_digest_add(digest, &post->normalizes, sizeof post->normalizes);
    if (model->dense) add_tensors(digest, model->dense);
    if (model->checkpoint.gguf) return;
    char *path = tkr_path_join(root, "modules.json");
    if (path && tkr_path_exists(path)) (void)tkr_json_file(&list, path, NULL);
    for (size_t i = 1; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(list, i), "path"));
        char *folder = name && *name ? tkr_path_join(root, name) : NULL;
        tkr_tensors *tensors = NULL;
        if (folder) add_file(digest, folder, "config.json");
        if (folder && tkr_tensors_open_folder(&tensors, folder, NULL) == TKR_OK) add_tensors(digest, tensors);
        tkr_tensors_free(&tensors);
        tkr_free(folder);
    }
    json_decref(list);
    tkr_free(path);
}

/* Names, shapes and a few samples of every tensor, and the files that change vectors: two checkpoints that differ
 * anywhere but between the samples get different hashes, without reading gigabytes at every start. */
static uint64_t model_hash(const tkr_model *model) {
    tkr_digest digest;
    tkr_digest_init(&digest);
    add_tensors(&digest, model->tensors);
    add_modules(&digest, model);
    add_pictures(&digest, model);
    add_settings(&digest, &model->checkpoint);
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
