/* SPDX-License-Identifier: Apache-2.0 */
/* engine/checkpoint: the small files of a model folder. Executes nothing; refuses custom code without an adapter of our
 * own. */
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "engine/engine.h"
#include "engine/gguf_model.h"

tkr_hub_options tkr_engine_hub_options(const tkr_model_options *options) {
    return (tkr_hub_options){.cache_dir = options->cache_dir,
                             .offline = options->offline != 0,
                             .progress = options->download,
                             .progress_user = options->download_user,
                             .log = {options->log, options->log_user}};
}

const char *tkr_checkpoint_folder(const tkr_checkpoint *checkpoint, const char *name) {
    char *path = checkpoint->adapter_folder ? tkr_path_join(checkpoint->adapter_folder, name) : NULL;
    const bool own = path && tkr_path_exists(path);
    tkr_free(path);
    return own ? checkpoint->adapter_folder : checkpoint->folder;
}

static bool file_exists(const tkr_checkpoint *checkpoint, const char *name, char **path) {
    *path = tkr_path_join(tkr_checkpoint_folder(checkpoint, name), name);
    return *path && tkr_path_exists(*path);
}

/* Parses an optional file; *json stays NULL when it isn't there. */
static tkr_status read_optional(json_t **json, char **path, const tkr_checkpoint *checkpoint, const char *name,
                                tkr_error *error) {
    *json = NULL;
    if (!file_exists(checkpoint, name, path))
        return *path ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory to read %s", name);
    tkr_status status = tkr_json_file(json, *path, error);
    if (status == TKR_OK && !json_is_object(*json))
        status = TKR_FAIL(error, FORMAT, "%s: holds %s, expected an object", *path, tkr_json_type_name(*json));
    return status;
}

static tkr_status read_limits(tkr_checkpoint *checkpoint, tkr_error *error) {
    json_t *json = NULL;
    char *path = NULL;
    int64_t length = 0;
    tkr_status status = read_optional(&json, &path, checkpoint, "sentence_bert_config.json", error);
    if (status == TKR_OK && json)
        status = tkr_json_get_int(&length, json, "max_seq_length", 1, 1 << 24, false, path, error);
    if (status == TKR_OK && json)
        status = tkr_json_get_bool(&checkpoint->lowercase, json, "do_lower_case", false, path, error);
    json_decref(json);
    tkr_free(path);
    path = NULL;
    checkpoint->max_tokens = (size_t)length;
    if (status != TKR_OK || length > 0) return status;
    /* sentence-transformers then takes min(model_max_length, max_position_embeddings); the latter comes with
     * config.json */
    double model_max = 0;
    status = read_optional(&json, &path, checkpoint, "tokenizer_config.json", error);
    if (status == TKR_OK && json)
        status = tkr_json_get_double(&model_max, json, "model_max_length", 1, 1e300, false, path, error);
    if (model_max > 0 && model_max <= 1 << 24) /* transformers writes 1e30 for "none" */
        checkpoint->max_tokens = (size_t)model_max;
    json_decref(json);
    tkr_free(path);
    return status;
}

static tkr_status fill_prompts(tkr_checkpoint *checkpoint, json_t *prompts, const char *path, tkr_error *error) {
    size_t n = json_object_size(prompts);
    checkpoint->prompts = tkr_arena_alloc(&checkpoint->arena, (n ? n : 1) * sizeof *checkpoint->prompts);
    if (!checkpoint->prompts) return TKR_FAIL(error, NO_MEMORY, "no memory to read %s", path);
    const char *name;
    json_t *value;
    json_object_foreach(prompts, name, value) {
        if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
            return TKR_FAIL(error, FORMAT, "%s: prompt \"%.60s\" is %s, expected a string without NUL", path, name,
                            tkr_json_type_name(value));
        tkr_pair *pair = &checkpoint->prompts[checkpoint->n_prompts++];
        pair->name = tkr_arena_strndup(&checkpoint->arena, name, strlen(name));
        pair->value = tkr_arena_strndup(&checkpoint->arena, json_string_value(value), json_string_length(value));
        if (!pair->name || !pair->value) return TKR_FAIL(error, NO_MEMORY, "no memory to read %s", path);
    }
    return TKR_OK;
}

static tkr_status read_prompts(tkr_checkpoint *checkpoint, tkr_error *error) {
    json_t *json = NULL;
    char *path = NULL;
    const char *name = NULL;
    tkr_status status = read_optional(&json, &path, checkpoint, "config_sentence_transformers.json", error);
    json_t *prompts = json ? json_object_get(json, "prompts") : NULL;
    if (status == TKR_OK && prompts && !json_is_null(prompts)) {
        if (!json_is_object(prompts))
            status = TKR_FAIL(error, FORMAT, "%s: field \"prompts\" is %s, expected an object", path,
                              tkr_json_type_name(prompts));
        else
            status = fill_prompts(checkpoint, prompts, path, error);
    }
    if (status == TKR_OK && json) status = tkr_json_get_string(&name, json, "default_prompt_name", false, path, error);
    for (size_t i = 0; status == TKR_OK && name && i < checkpoint->n_prompts; i++)
        if (strcmp(checkpoint->prompts[i].name, name) == 0) checkpoint->default_prompt = checkpoint->prompts[i].name;
    if (status == TKR_OK && name && !checkpoint->default_prompt)
        status = TKR_FAIL(error, FORMAT, "%s: default_prompt_name \"%.60s\" is not among its prompts", path, name);
    json_decref(json);
    tkr_free(path);
    return status;
}

/* Models trained for shortened vectors whose family is not. */
static bool is_matryoshka_name(const char *reference) {
    static const char *const parts[] = {"modernbert-embed", "mxbai-embed", "arctic-embed-m-v1.5", "arctic-embed-m-v2",
                                        "arctic-embed-l-v2"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(reference, parts[i])) return true;
    return false;
}

/* ---- GGUF files ---- */

typedef struct gguf_search {
    char name[256]; /* of the first .gguf file */
    size_t n;
} gguf_search;

static tkr_status note_gguf(void *user, const char *name, bool is_dir) {
    gguf_search *search = user;
    size_t n = strlen(name);
    if (is_dir || n < 6 || n >= sizeof search->name || strcmp(name + n - 5, ".gguf") != 0) return TKR_OK;
    if (search->n++ == 0) memcpy(search->name, name, n + 1);
    return TKR_OK;
}

/* A folder that holds nothing but a GGUF file means that file. */
static tkr_status find_gguf(tkr_checkpoint *checkpoint, tkr_error *error) {
    gguf_search search = {{0}, 0};
    char *config = NULL, *tokenizer = NULL;
    bool checkpoint_folder = file_exists(checkpoint, "config.json", &config);
    checkpoint_folder = file_exists(checkpoint, "tokenizer.json", &tokenizer) || checkpoint_folder;
    tkr_status status =
        config && tokenizer ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory to look into %s", checkpoint->folder);
    tkr_free(config);
    tkr_free(tokenizer);
    if (status != TKR_OK || checkpoint_folder) return status;
    status = tkr_dir_each(checkpoint->folder, note_gguf, &search, error);
    if (status != TKR_OK || search.n == 0) return status;
    if (search.n > 1)
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s: holds %zu GGUF files; name one of them, such as %s/%s",
                        checkpoint->folder, search.n, checkpoint->folder, search.name);
    char *path = tkr_path_join(checkpoint->folder, search.name);
    if (!path) return TKR_FAIL(error, NO_MEMORY, "no memory to look into %s", checkpoint->folder);
    tkr_free(checkpoint->folder);
    checkpoint->folder = path;
    return TKR_OK;
}

static tkr_status open_gguf(tkr_checkpoint *checkpoint, tkr_error *error) {
    tkr_status status = tkr_path_is_dir(checkpoint->folder) ? find_gguf(checkpoint, error) : TKR_OK;
    if (status != TKR_OK || tkr_path_is_dir(checkpoint->folder)) return status;
    status = tkr_gguf_open(&checkpoint->gguf, checkpoint->folder, error);
    if (status == TKR_OK) status = tkr_gguf_arch(&checkpoint->arch, checkpoint->gguf, checkpoint->folder, error);
    if (status == TKR_OK) status = tkr_gguf_pooling(&checkpoint->pooling, checkpoint->gguf, checkpoint->folder, error);
    if (status == TKR_OK) checkpoint->max_tokens = tkr_gguf_context_length(checkpoint->gguf);
    return status;
}

/* ---- */

/* ---- adapters ---- */

/* The base model that the adapter's file names: a folder beside the adapter, one as it is said, or a hub's id. */
static tkr_status resolve_base(char **folder, const tkr_checkpoint *checkpoint, const tkr_hub_options *hub,
                               tkr_error *error) {
    const char *name = tkr_adapter_base(checkpoint->adapter);
    if (!name)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "%s: an adapter whose adapter_config.json names no base model; --base "
                        "MODEL names it",
                        checkpoint->adapter_folder);
    char *beside = name[0] != '/' ? tkr_path_join(checkpoint->adapter_folder, name) : NULL;
    tkr_status status = tkr_hub_resolve(folder, beside && tkr_path_is_dir(beside) ? beside : name, hub, error);
    tkr_free(beside);
    if (status == TKR_OK || status == TKR_NO_MEMORY) return status;
    return tkr_error_prefix(error, status,
                            "%s: an adapter for the model %.100s, which isn't there (--base MODEL names "
                            "another place)",
                            checkpoint->adapter_folder, name);
}

static tkr_status is_adapter(bool *out, const char *folder, tkr_error *error) {
    char *path = tkr_path_join(folder, "adapter_config.json");
    *out = path && tkr_path_exists(path);
    tkr_free(path);
    return path ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory to look into %s", folder);
}

/* Where the folder is an adapter's, puts its base model's in its place. */
static tkr_status open_adapter(tkr_checkpoint *checkpoint, const tkr_model_options *options, const tkr_hub_options *hub,
                               tkr_error *error) {
    char *base = NULL;
    bool adapter = false;
    tkr_status status = is_adapter(&adapter, checkpoint->folder, error);
    if (status == TKR_OK && !adapter && options->base)
        status =
            TKR_FAIL(error, INVALID_ARGUMENT,
                     "a base model was given, but %s is no adapter: it has no adapter_config.json", checkpoint->folder);
    if (status != TKR_OK || !adapter) return status;
    checkpoint->adapter_folder = checkpoint->folder;
    checkpoint->folder = NULL;
    status = tkr_adapter_open(&checkpoint->adapter, checkpoint->adapter_folder, error);
    if (status == TKR_OK)
        status = options->base ? tkr_hub_resolve(&base, options->base, hub, error)
                               : resolve_base(&base, checkpoint, hub, error);
    if (status != TKR_OK) return status;
    checkpoint->folder = base;
    status = is_adapter(&adapter, base, error);
    if (status == TKR_OK && adapter)
        status = TKR_FAIL(error, UNSUPPORTED, "%s: the base model %s is an adapter itself", checkpoint->adapter_folder,
                          base);
    return status;
}

/* ---- models that read pictures ---- */

/* A token of tokenizer_config.json: its text, or an object with its "content". */
static tkr_status read_token(const char **out, const json_t *json, const char *field, const char *path,
                             tkr_error *error) {
    const json_t *value = json_object_get(json, field);
    return json_is_object(value) ? tkr_json_get_string(out, value, "content", true, path, error)
                                 : tkr_json_get_string(out, json, field, true, path, error);
}

static tkr_status read_pad_token(tkr_checkpoint *checkpoint, tkr_error *error) {
    json_t *json = NULL;
    char *path = NULL;
    const char *piece = NULL;
    tkr_status status = read_optional(&json, &path, checkpoint, "tokenizer_config.json", error);
    if (status == TKR_OK && !json)
        status = TKR_FAIL(error, NOT_FOUND, "%s: no such file; it names the token that texts are padded with", path);
    if (status == TKR_OK) status = read_token(&piece, json, "pad_token", path, error);
    if (status == TKR_OK) {
        checkpoint->pad_piece = tkr_arena_strndup(&checkpoint->arena, piece, strlen(piece));
        if (!checkpoint->pad_piece) status = TKR_FAIL(error, NO_MEMORY, "no memory to read %s", path);
    }
    json_decref(json);
    tkr_free(path);
    return status;
}

/* What the architecture says about pictures and about texts beside them, once its config is known. */
static tkr_status configure_vision(tkr_checkpoint *checkpoint, const json_t *json, const char *path, tkr_error *error) {
    const tkr_vision_arch *vision = checkpoint->arch->vision;
    if (!vision) return TKR_OK;
    tkr_status status = vision->configure(&checkpoint->vision, &checkpoint->config, json, path, error);
    if (status == TKR_OK && vision->recipe->pad_text) status = read_pad_token(checkpoint, error);
    checkpoint->lowercase = checkpoint->lowercase || vision->recipe->lowercase;
    return status;
}

/* ---- */

/* What a tokenizer alone can use of config.json, where there happens to be one. */
static tkr_status read_config_softly(tkr_checkpoint *checkpoint, tkr_error *error) {
    json_t *json = NULL;
    char *path = NULL;
    int64_t positions = 0;
    const char *type = NULL;
    tkr_status status = read_optional(&json, &path, checkpoint, "config.json", error);
    if (status == TKR_OK && json)
        status = tkr_json_get_int(&positions, json, "max_position_embeddings", 1, 1 << 24, false, path, error);
    if (status == TKR_OK && json) status = tkr_json_get_string(&type, json, "model_type", false, path, error);
    if (status == TKR_OK && type) checkpoint->arch = tkr_arch_find(type);
    if (status == TKR_OK && checkpoint->arch && checkpoint->arch->vision) {
        status = checkpoint->arch->configure(&checkpoint->config, json, path, error);
        if (status == TKR_OK) status = configure_vision(checkpoint, json, path, error);
        positions = (int64_t)tkr_effective_max_tokens(checkpoint->config.max_positions,
                                                      checkpoint->arch->vision->recipe->max_tokens);
    }
    if (positions > 0 && (checkpoint->max_tokens == 0 || checkpoint->max_tokens > (size_t)positions))
        checkpoint->max_tokens = (size_t)positions;
    json_decref(json);
    tkr_free(path);
    return status;
}

tkr_status tkr_checkpoint_open(tkr_checkpoint *checkpoint, const char *reference, const tkr_model_options *options,
                               bool tokenizer_only, tkr_error *error) {
    if (!reference || !*reference)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "no model given; name a folder, a Hugging Face id such as "
                        "sentence-transformers/all-MiniLM-L6-v2, or an alias such as minilm");
    tkr_hub_options hub = tkr_engine_hub_options(options);
    hub.tokenizer_only = tokenizer_only;
    tkr_status status = tkr_hub_resolve(&checkpoint->folder, reference, &hub, error);
    if (status == TKR_OK) status = open_adapter(checkpoint, options, &hub, error);
    if (status == TKR_OK) status = open_gguf(checkpoint, error);
    if (status == TKR_OK && !checkpoint->gguf) {
        status = read_limits(checkpoint, error);
        if (status == TKR_OK) status = read_prompts(checkpoint, error);
        if (status == TKR_OK && tokenizer_only) status = read_config_softly(checkpoint, error);
    }
    checkpoint->matryoshka = checkpoint->matryoshka || is_matryoshka_name(reference);
    if (status == TKR_OK)
        checkpoint->max_tokens = tkr_effective_max_tokens(checkpoint->max_tokens, options->max_tokens);
    return status;
}

void tkr_list_architectures(char *out, size_t size, bool pictures) {
    size_t at = 0;
    out[0] = '\0';
    for (const tkr_arch *const *arch = tkr_archs(); *arch && at < size; arch++)
        for (size_t t = 0; (*arch)->model_types[t] && (!pictures || (*arch)->vision) && at < size; t++)
            at += (size_t)snprintf(out + at, size - at, "%s%s", at ? ", " : "", (*arch)->model_types[t]);
}

static tkr_status check_remote_code(const json_t *json, const char *path, const char *type, const tkr_arch *arch,
                                    bool trust, tkr_error *error) {
    const json_t *map = json_object_get(json, "auto_map");
    if (!map || json_is_null(map)) return TKR_OK;
    if (!arch || !arch->native_adapter)
        return TKR_FAIL(error, DENIED,
                        "%s: model_type \"%.60s\" asks for custom code (auto_map), which tkr-embed never executes, and "
                        "it has no adapter of "
                        "its own for it; use a checkpoint without auto_map",
                        path, type);
    if (!trust)
        return TKR_FAIL(
            error, DENIED,
            "%s: asks for custom code (auto_map); --trust-remote-code uses tkr-embed's own \"%s\" adapter in its place",
            path, arch->name);
    return TKR_OK;
}

/* MLX writes its settings as "quantization", and again as "quantization_config"; others write only the latter. */
static tkr_status read_quantization(tkr_checkpoint *checkpoint, json_t *json, const char *path, tkr_error *error) {
    json_t *own = json_object_get(json, "quantization"), *common = json_object_get(json, "quantization_config");
    const char *method = NULL;
    if (!own || json_is_null(own)) own = common;
    if (!own || json_is_null(own)) return TKR_OK;
    if (!json_is_object(own))
        return TKR_FAIL(error, FORMAT, "%s: field \"quantization\" is %s, expected an object", path,
                        tkr_json_type_name(own));
    tkr_status status = tkr_json_get_string(&method, own, "quant_method", false, path, error);
    if (status == TKR_OK && method)
        status = TKR_FAIL(error, UNSUPPORTED,
                          "%s: quant_method \"%.40s\" is not supported; supported: MLX's quantisation, GGUF files, and "
                          "unquantised checkpoints, which --quantization q8 or q4 quantises while loading",
                          path, method);
    if (status == TKR_OK) checkpoint->quantization = json_incref(own);
    return status;
}

static bool has_list(const json_t *json, const char *field) {
    return json_array_size(json_object_get(json, field)) > 0;
}

/* Families whose models are trained for shortened vectors. */
static bool is_matryoshka_family(const tkr_arch *arch) {
    static const char *const names[] = {"qwen3", "qwen3_vl", "gemma3_text", "nomic_bert"};
    for (size_t i = 0; arch && i < sizeof names / sizeof *names; i++)
        if (strcmp(arch->name, names[i]) == 0) return true;
    return false;
}

static tkr_status read_config(json_t **json, const tkr_checkpoint *checkpoint, const char *path, tkr_error *error) {
    if (checkpoint->gguf) return tkr_gguf_config(json, checkpoint->gguf, path, error);
    tkr_status status = tkr_json_file(json, path, error);
    if (status == TKR_OK && !json_is_object(*json))
        status = TKR_FAIL(error, FORMAT, "%s: holds %s, expected an object", path, tkr_json_type_name(*json));
    return status;
}

static void adjust(tkr_checkpoint *checkpoint, const json_t *json) {
    if (checkpoint->gguf) tkr_gguf_adjust(&checkpoint->config, json, checkpoint->gguf);
    checkpoint->matryoshka = checkpoint->matryoshka || is_matryoshka_family(checkpoint->arch) ||
                             has_list(json, "matryoshka_dims") || has_list(json, "matryoshka_dimensions");
    checkpoint->max_tokens = tkr_effective_max_tokens(checkpoint->max_tokens, checkpoint->config.max_positions);
    if (tkr_checkpoint_recipe(checkpoint))
        checkpoint->max_tokens =
            tkr_effective_max_tokens(checkpoint->max_tokens, tkr_checkpoint_recipe(checkpoint)->max_tokens);
}

tkr_status tkr_checkpoint_config(tkr_checkpoint *checkpoint, const tkr_model_options *options, tkr_error *error) {
    json_t *json = NULL;
    const char *type = NULL;
    char *path = checkpoint->gguf ? tkr_strdup(checkpoint->folder) : tkr_path_join(checkpoint->folder, "config.json");
    if (!path) return TKR_FAIL(error, NO_MEMORY, "no memory to read config.json");
    tkr_status status = read_config(&json, checkpoint, path, error);
    if (status == TKR_OK) status = tkr_json_get_string(&type, json, "model_type", true, path, error);
    if (status == TKR_OK) {
        checkpoint->arch = tkr_arch_find(type);
        status = check_remote_code(json, path, type, checkpoint->arch, options->trust_remote_code != 0, error);
    }
    if (status == TKR_OK && !checkpoint->arch) {
        char known[320];
        tkr_list_architectures(known, sizeof known, false);
        status =
            TKR_FAIL(error, UNSUPPORTED, "%s: model_type \"%.60s\" is not supported; supported: %s", path, type, known);
    }
    if (status == TKR_OK && checkpoint->arch)
        status = checkpoint->arch->configure(&checkpoint->config, json, path, error);
    if (status == TKR_OK && checkpoint->arch) status = configure_vision(checkpoint, json, path, error);
    if (status == TKR_OK) status = read_quantization(checkpoint, json, path, error);
    if (status == TKR_OK) adjust(checkpoint, json);
    json_decref(json);
    tkr_free(path);
    return status;
}

void tkr_checkpoint_close(tkr_checkpoint *checkpoint) {
    tkr_gguf_free(&checkpoint->gguf);
    json_decref(checkpoint->quantization);
    tkr_arena_free(&checkpoint->arena);
    tkr_free(checkpoint->folder);
    tkr_free(checkpoint->adapter_folder);
    tkr_adapter_free(&checkpoint->adapter);
    memset(checkpoint, 0, sizeof *checkpoint);
}

size_t tkr_effective_max_tokens(size_t model, size_t caller) {
    return caller == 0 ? model : model == 0 ? caller : caller < model ? caller : model;
}
