/* SPDX-License-Identifier: Apache-2.0 */
/* engine/checkpoint: the small files of a model folder. Executes nothing; refuses custom code without an adapter of our
 * own. */
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "engine/engine.h"

tkr_hub_options tkr_engine_hub_options(const tkr_model_options *options) {
    return (tkr_hub_options){.cache_dir = options->cache_dir,
                             .offline = options->offline != 0,
                             .progress = options->download,
                             .progress_user = options->download_user,
                             .log = {options->log, options->log_user}};
}

static bool file_exists(const tkr_checkpoint *checkpoint, const char *name, char **path) {
    *path = tkr_path_join(checkpoint->folder, name);
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

tkr_status tkr_checkpoint_open(tkr_checkpoint *checkpoint, const char *reference, const tkr_model_options *options,
                               bool tokenizer_only, tkr_error *error) {
    if (!reference || !*reference)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "no model given; name a folder, a Hugging Face id such as "
                        "sentence-transformers/all-MiniLM-L6-v2, or an alias such as minilm");
    tkr_hub_options hub = tkr_engine_hub_options(options);
    hub.tokenizer_only = tokenizer_only;
    tkr_status status = tkr_hub_resolve(&checkpoint->folder, reference, &hub, error);
    if (status == TKR_OK) status = read_limits(checkpoint, error);
    if (status == TKR_OK) status = read_prompts(checkpoint, error);
    if (status == TKR_OK && tokenizer_only) { /* the position limit, where config.json happens to say it */
        json_t *json = NULL;
        char *path = NULL;
        int64_t positions = 0;
        status = read_optional(&json, &path, checkpoint, "config.json", error);
        if (status == TKR_OK && json)
            status = tkr_json_get_int(&positions, json, "max_position_embeddings", 1, 1 << 24, false, path, error);
        if (positions > 0 && (checkpoint->max_tokens == 0 || checkpoint->max_tokens > (size_t)positions))
            checkpoint->max_tokens = (size_t)positions;
        json_decref(json);
        tkr_free(path);
    }
    if (status == TKR_OK)
        checkpoint->max_tokens = tkr_effective_max_tokens(checkpoint->max_tokens, options->max_tokens);
    return status;
}

static void list_architectures(char *out, size_t size) {
    size_t at = 0;
    out[0] = '\0';
    for (const tkr_arch *const *arch = tkr_archs(); *arch && at < size; arch++)
        for (size_t t = 0; (*arch)->model_types[t] && at < size; t++)
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

tkr_status tkr_checkpoint_config(tkr_checkpoint *checkpoint, const tkr_model_options *options, tkr_error *error) {
    json_t *json = NULL;
    const char *type = NULL;
    char *path = tkr_path_join(checkpoint->folder, "config.json");
    if (!path) return TKR_FAIL(error, NO_MEMORY, "no memory to read config.json");
    tkr_status status = tkr_json_file(&json, path, error);
    if (status == TKR_OK && !json_is_object(json))
        status = TKR_FAIL(error, FORMAT, "%s: holds %s, expected an object", path, tkr_json_type_name(json));
    if (status == TKR_OK) status = tkr_json_get_string(&type, json, "model_type", true, path, error);
    if (status == TKR_OK) {
        checkpoint->arch = tkr_arch_find(type);
        status = check_remote_code(json, path, type, checkpoint->arch, options->trust_remote_code != 0, error);
    }
    if (status == TKR_OK && !checkpoint->arch) {
        char known[256];
        list_architectures(known, sizeof known);
        status =
            TKR_FAIL(error, UNSUPPORTED, "%s: model_type \"%.60s\" is not supported; supported: %s", path, type, known);
    }
    if (status == TKR_OK && checkpoint->arch)
        status = checkpoint->arch->configure(&checkpoint->config, json, path, error);
    if (status == TKR_OK)
        checkpoint->max_tokens = tkr_effective_max_tokens(checkpoint->max_tokens, checkpoint->config.max_positions);
    json_decref(json);
    tkr_free(path);
    return status;
}

void tkr_checkpoint_close(tkr_checkpoint *checkpoint) {
    tkr_arena_free(&checkpoint->arena);
    tkr_free(checkpoint->folder);
    memset(checkpoint, 0, sizeof *checkpoint);
}

size_t tkr_effective_max_tokens(size_t model, size_t caller) {
    return caller == 0 ? model : model == 0 ? caller : caller < model ? caller : model;
}
