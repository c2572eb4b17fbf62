/* SPDX-License-Identifier: Apache-2.0 */
/* models/post: the modules of a sentence-transformers folder behind the network: Pooling, Dense, Normalize, in the
 * order of modules.json. An unknown module is an error: leaving it out would give other vectors. */
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "models/pooling.h"

#define MAX_MODULES 8

typedef enum module_kind { MODULE_DENSE, MODULE_NORMALIZE } module_kind;
typedef struct module {
    module_kind kind;
    tkr_weight *weight; /* Dense: [out, in] */
    tkr_activation activation;
} module;

struct tkr_post {
    const tkr_ops *ops;
    tkr_post_info info;
    module modules[MAX_MODULES];
    size_t n_modules;
};

const tkr_post_info *tkr_post_get_info(const tkr_post *post) { return &post->info; }

void tkr_post_free(tkr_post **post) {
    if (!post || !*post) return;
    for (size_t i = 0; i < (*post)->n_modules; i++) (*post)->ops->weight_free(&(*post)->modules[i].weight);
    tkr_free(*post);
    *post = NULL;
}

/* ---- Dense ---- */

static tkr_status dense_activation(tkr_activation *out, const char *name, const char *what, tkr_error *error) {
    static const struct {
        const char *suffix;
        tkr_activation activation;
    } known[] = {
        {"Identity", TKR_ACT_NONE}, {"Tanh", TKR_ACT_TANH}, {"ReLU", TKR_ACT_RELU}, {"GELU", TKR_ACT_GELU_ERF}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; strncmp(name, "torch.", 6) == 0 && i < sizeof known / sizeof *known; i++) {
        if (dot && strcmp(dot + 1, known[i].suffix) == 0) {
            *out = known[i].activation;
            return TKR_OK;
        }
    }
    return TKR_FAIL(error, UNSUPPORTED,
                    "%s: activation_function \"%.100s\" is not supported; supported: torch.nn.modules.linear.Identity, "
                    "torch.nn.modules.activation.Tanh, ReLU, GELU",
                    what, name);
}

static tkr_status dense_tensor(tkr_source *source, const tkr_tensors *set, const char *name, size_t rows, size_t cols,
                               const char *path, tkr_error *error) {
    const tkr_tensor_view *view = tkr_tensors_find(set, name);
    if (!view) return TKR_FAIL(error, FORMAT, "%s: missing tensor \"%s\"", path, name);
    tkr_status status = tkr_source_of(source, view, rows, cols, error);
    return status == TKR_OK ? status : tkr_error_prefix(error, status, "%s", path);
}

typedef struct dense_config {
    int64_t in, out;
    bool bias;
    tkr_activation activation;
} dense_config;

static tkr_status dense_read(dense_config *dense, const char *path, tkr_error *error) {
    json_t *json = NULL;
    const char *activation = "torch.nn.modules.activation.Tanh";
    bool residual = false;
    tkr_status status = tkr_json_file(&json, path, error);
    if (status != TKR_OK) return status;
    dense->bias = true;
    status = tkr_json_get_int(&dense->in, json, "in_features", 1, 1 << 20, true, path, error);
    if (status == TKR_OK) status = tkr_json_get_int(&dense->out, json, "out_features", 1, 1 << 20, true, path, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&dense->bias, json, "bias", false, path, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&residual, json, "use_residual", false, path, error);
    if (status == TKR_OK) status = tkr_json_get_string(&activation, json, "activation_function", false, path, error);
    if (status == TKR_OK) status = dense_activation(&dense->activation, activation, path, error);
    if (status == TKR_OK && residual)
        status = TKR_FAIL(error, UNSUPPORTED, "%s: use_residual true is not supported", path);
    json_decref(json);
    return status;
}

static tkr_status load_dense(tkr_post *post, const tkr_post_options *options, const char *folder, tkr_error *error) {
    module *m = &post->modules[post->n_modules];
    dense_config dense = {0};
    tkr_tensors *set = NULL;
    tkr_source weight, bias;
    const tkr_source *bias_list[1] = {&bias};
    char *config = tkr_path_join(folder, "config.json");
    tkr_status status = config ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory to load %s", folder);
    if (status == TKR_OK) status = dense_read(&dense, config, error);
    if (status == TKR_OK && (size_t)dense.in != post->info.dimensions)
        status = TKR_FAIL(error, FORMAT, "%s: in_features is %lld, the module before gives %zu values", config,
                          (long long)dense.in, post->info.dimensions);
    if (status == TKR_OK) status = tkr_tensors_open_folder(&set, folder, error);
    if (status == TKR_OK)
        status = dense_tensor(&weight, set, "linear.weight", (size_t)dense.out, (size_t)dense.in, folder, error);
    if (status == TKR_OK && dense.bias)
        status = dense_tensor(&bias, set, "linear.bias", 0, (size_t)dense.out, folder, error);
    const tkr_linear_spec linear = {
        .parts = &weight, .biases = dense.bias ? bias_list : NULL, .n_parts = 1, .shape = {.mode = TKR_GEMM_F32}};
    if (status == TKR_OK) /* a few thousand weights: always in f32 */
        status = options->ops->linear(&m->weight, options->backend, &linear, error);
    if (status == TKR_OK) {
        m->kind = MODULE_DENSE;
        m->activation = dense.activation;
        post->info.dimensions = (size_t)dense.out;
        post->info.normalizes = false;
        post->n_modules++;
    }
    tkr_tensors_free(&set);
    tkr_free(config);
    return status;
}

/* The Dense modules of a GGUF file, which have no activation (EmbeddingGemma's). */
static tkr_status load_dense_tensors(tkr_post *post, const tkr_post_options *options, tkr_error *error) {
    tkr_status status = TKR_OK;
    post->info.dimensions = post->info.n_modes * options->hidden_size;
    for (size_t i = 2; status == TKR_OK && options->dense && i < MAX_MODULES; i++) {
        char name[32], bias_name[32];
        tkr_source weight, bias;
        const tkr_source *bias_list[1] = {&bias};
        snprintf(name, sizeof name, "dense_%zu.weight", i);
        snprintf(bias_name, sizeof bias_name, "dense_%zu.bias", i);
        const tkr_tensor_view *view = tkr_tensors_find(options->dense, name);
        const bool biased = tkr_tensors_find(options->dense, bias_name) != NULL;
        if (!view) break;
        if (view->n_dims != 2)
            return TKR_FAIL(error, FORMAT, "%s: tensor \"%s\" has %u dimensions, expected 2", view->file, name,
                            view->n_dims);
        const size_t rows = (size_t)view->shape[0];
        status = dense_tensor(&weight, options->dense, name, rows, post->info.dimensions, view->file, error);
        if (status == TKR_OK && biased)
            status = dense_tensor(&bias, options->dense, bias_name, 0, rows, view->file, error);
        const tkr_linear_spec linear = {
            .parts = &weight, .biases = biased ? bias_list : NULL, .n_parts = 1, .shape = {.mode = TKR_GEMM_F32}};
        module *m = &post->modules[post->n_modules];
        if (status == TKR_OK) status = options->ops->linear(&m->weight, options->backend, &linear, error);
        if (status != TKR_OK) return status;
        m->kind = MODULE_DENSE;
        m->activation = TKR_ACT_NONE;
        post->info.dimensions = rows;
        post->n_modules++;
    }
    return TKR_OK;
}

/* ---- modules.json ---- */

static tkr_status load_pooling(tkr_post *post, const tkr_post_options *options, const char *folder, tkr_error *error) {
    char *path = tkr_path_join(folder, "config.json");
    int64_t width = (int64_t)options->hidden_size;
    if (!path) return TKR_FAIL(error, NO_MEMORY, "no memory to load %s", folder);
    tkr_status status = tkr_pooling_read(&post->info, &width, path, error);
    if (status == TKR_OK && width != (int64_t)options->hidden_size)
        status = TKR_FAIL(error, FORMAT, "%s: word_embedding_dimension is %lld, the model's hidden_size is %zu", path,
                          (long long)width, options->hidden_size);
    tkr_free(path);
    post->info.dimensions = post->info.n_modes * options->hidden_size;
    return status;
}

static bool path_stays_inside(const char *path) {
    if (path[0] == '/' || strchr(path, '\\')) return false;
    for (const char *at = path; at; at = strchr(at, '/') ? strchr(at, '/') + 1 : NULL)
        if (at[0] == '.' && at[1] == '.' && (at[2] == '/' || at[2] == '\0')) return false;
    return true;
}

static tkr_status load_module(tkr_post *post, const tkr_post_options *options, const json_t *entry, size_t index,
                              const char *what, tkr_error *error) {
    const char *type = NULL, *path = NULL;
    tkr_status status = tkr_json_get_string(&type, entry, "type", true, what, error);
    if (status == TKR_OK) status = tkr_json_get_string(&path, entry, "path", true, what, error);
    if (status != TKR_OK) return status;
    if (!path_stays_inside(path))
        return TKR_FAIL(error, FORMAT, "%s: path \"%.100s\" leaves the model's folder", what, path);
    const char *dot = strrchr(type, '.');
    const char *name = dot ? dot + 1 : type;
    bool ours = strncmp(type, "sentence_transformers.", 22) == 0;
    if (ours && strcmp(name, "Transformer") == 0 && index == 0) return TKR_OK;
    if (post->n_modules == MAX_MODULES)
        return TKR_FAIL(error, UNSUPPORTED, "%s: more than %d modules", what, MAX_MODULES);
    char *folder = tkr_path_join(options->folder, path);
    if (!folder) return TKR_FAIL(error, NO_MEMORY, "no memory to load %s", what);
    if (ours && strcmp(name, "Pooling") == 0 && index == 1) {
        status = load_pooling(post, options, folder, error);
    } else if (ours && strcmp(name, "Dense") == 0 && index >= 2) {
        status = load_dense(post, options, folder, error);
    } else if (ours && strcmp(name, "Normalize") == 0 && index >= 2) {
        post->modules[post->n_modules++].kind = MODULE_NORMALIZE;
        post->info.normalizes = true;
    } else {
        status = TKR_FAIL(
            error, UNSUPPORTED,
            "%s: module %zu of type \"%.120s\" is not supported; supported: Transformer, then Pooling, then Dense "
            "and Normalize of sentence_transformers",
            what, index, type);
    }
    tkr_free(folder);
    return status;
}

static tkr_status load_modules(tkr_post *post, const tkr_post_options *options, const char *path, tkr_error *error) {
    json_t *json = NULL;
    tkr_status status = tkr_json_file(&json, path, error);
    if (status == TKR_OK && !json_is_array(json))
        status = TKR_FAIL(error, FORMAT, "%s: holds %s, expected a list of modules", path, tkr_json_type_name(json));
    for (size_t i = 0; status == TKR_OK && i < json_array_size(json); i++)
        status = load_module(post, options, json_array_get(json, i), i, path, error);
    json_decref(json);
    while (post->n_modules > 0 && post->modules[post->n_modules - 1].kind == MODULE_NORMALIZE)
        post->n_modules--; /* the caller's business, see tkr_post_apply */
    return status;
}

/* No folder at all. */
static tkr_status load_tensors_only(tkr_post *post, const tkr_post_options *options, tkr_error *error) {
    tkr_status status = tkr_pooling_parse(post->info.modes, &post->info.n_modes, options->pooling, error);
    if (status == TKR_OK) status = load_dense_tensors(post, options, error);
    post->info.normalizes = true;
    return status;
}

/* A folder without modules.json: pooling from 1_Pooling, the caller or the registry; the vector is normalised. */
static tkr_status load_plain(tkr_post *post, const tkr_post_options *options, tkr_error *error) {
    char *folder = tkr_path_join(options->folder, "1_Pooling");
    if (!folder) return TKR_FAIL(error, NO_MEMORY, "no memory to load %s", options->folder);
    tkr_status status = TKR_OK;
    if (tkr_path_is_dir(folder))
        status = load_pooling(post, options, folder, error);
    else if (options->arch->pooling && !options->pooling)
        status = tkr_pooling_parse(post->info.modes, &post->info.n_modes, options->arch->pooling, error);
    tkr_free(folder);
    post->info.normalizes = true;
    return status;
}

tkr_status tkr_post_load(tkr_post **out, const tkr_post_options *options, tkr_error *error) {
    tkr_post *post = tkr_calloc(1, sizeof *post);
    char *path = tkr_path_join(options->folder ? options->folder : "", "modules.json");
    tkr_status status = TKR_OK;
    if (!post || !path) {
        status = TKR_FAIL(error, NO_MEMORY, "no memory to load the model's modules");
        goto fail;
    }
    post->ops = options->ops;
    post->info.include_prompt = true;
    status = !options->folder        ? load_tensors_only(post, options, error)
             : tkr_path_exists(path) ? load_modules(post, options, path, error)
                                     : load_plain(post, options, error);
    if (status != TKR_OK) goto fail;
    if (options->folder && options->pooling) {
        bool dense = false;
        for (size_t i = 0; i < post->n_modules; i++) dense = dense || post->modules[i].kind == MODULE_DENSE;
        size_t before = post->info.n_modes;
        status = tkr_pooling_parse(post->info.modes, &post->info.n_modes, options->pooling, error);
        if (status == TKR_OK && dense && post->info.n_modes != before)
            status =
                TKR_FAIL(error, INVALID_ARGUMENT,
                         "pooling \"%s\" gives another width than the model's Dense module takes", options->pooling);
        if (status != TKR_OK) goto fail;
        if (!dense) post->info.dimensions = post->info.n_modes * options->hidden_size;
    }
    if (post->info.n_modes == 0) {
        status = TKR_FAIL(
            error, INVALID_ARGUMENT,
            "%s: no 1_Pooling/config.json says how token vectors become one; choose with --pooling cls, mean, max or "
            "lasttoken (the model's page tells which)",
            options->folder);
        goto fail;
    }
    if (post->info.dimensions == 0) post->info.dimensions = post->info.n_modes * options->hidden_size;
    if (options->head_size) post->info.dimensions = options->head_size;
    tkr_pooling_text(post->info.pooling, sizeof post->info.pooling, post->info.modes, post->info.n_modes);
    tkr_free(path);
    *out = post;
    return TKR_OK;
fail:
    tkr_free(path);
    tkr_post_free(&post);
    return status;
}

tkr_tensor *tkr_post_finish(const tkr_post *post, tkr_run *run, tkr_tensor *x) {
    const tkr_ops *ops = post->ops;
    for (size_t i = 0; i < post->n_modules; i++) {
        const module *m = &post->modules[i];
        const tkr_linear_options options = {m->activation, NULL, NULL};
        tkr_tensor *next =
            m->kind == MODULE_NORMALIZE ? ops->normalize(run, x) : ops->apply(run, x, m->weight, &options);
        ops->release(run, &x);
        x = next;
    }
    return x;
}

tkr_tensor *tkr_post_apply(const tkr_post *post, const tkr_arch_model *model, tkr_run *run, const tkr_tensor *hidden,
                           const tkr_batch *batch) {
    tkr_tensor *x = post->ops->pool(run, hidden, batch->spans, batch->n_spans, post->info.modes, post->info.n_modes);
    return tkr_post_finish(post, run, tkr_arch_head(model, run, x));
}
