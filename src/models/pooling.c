/* SPDX-License-Identifier: Apache-2.0 */
/* models/pooling: names and configuration of the pooling modes. Never guesses one. */
#include "models/pooling.h"

#include <stdio.h>
#include <string.h>

#include "core/json.h"

static const char *const mode_names[TKR_POOL_MODES] = {"cls",           "max",          "mean",
                                                       "mean_sqrt_len", "weightedmean", "lasttoken"};

static tkr_status parse_one(tkr_pool_mode *mode, const char *name, size_t n, tkr_error *error) {
    for (size_t i = 0; i < TKR_POOL_MODES; i++) {
        if (strlen(mode_names[i]) == n && memcmp(mode_names[i], name, n) == 0) {
            *mode = (tkr_pool_mode)i;
            return TKR_OK;
        }
    }
    return TKR_FAIL(
        error, INVALID_ARGUMENT,
        "unknown pooling \"%.*s\"; known: cls, mean, max, mean_sqrt_len, weightedmean, lasttoken (joined by '+')",
        n > 64 ? 64 : (int)n, name);
}

static tkr_status add_mode(tkr_pool_mode *modes, size_t *n_modes, const char *name, size_t n, tkr_error *error) {
    if (*n_modes == TKR_POOL_MODES)
        return TKR_FAIL(error, INVALID_ARGUMENT, "more than %d pooling modes", TKR_POOL_MODES);
    tkr_status status = parse_one(&modes[*n_modes], name, n, error);
    if (status == TKR_OK) ++*n_modes;
    return status;
}

tkr_status tkr_pooling_parse(tkr_pool_mode *modes, size_t *n_modes, const char *text, tkr_error *error) {
    *n_modes = 0;
    for (;;) {
        size_t n = strcspn(text, "+");
        tkr_status status = add_mode(modes, n_modes, text, n, error);
        if (status != TKR_OK || text[n] == '\0') return status;
        text += n + 1;
    }
}

void tkr_pooling_text(char *out, size_t size, const tkr_pool_mode *modes, size_t n_modes) {
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n_modes && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i ? "+" : "", mode_names[modes[i]]);
}

/* The older files say one boolean a mode; their order of concatenation is that of this table. */
static tkr_status legacy_modes(tkr_post_info *info, const json_t *json, const char *what, tkr_error *error) {
    static const char *const fields[TKR_POOL_MODES] = {
        "pooling_mode_cls_token",           "pooling_mode_max_tokens",
        "pooling_mode_mean_tokens",         "pooling_mode_mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken"};
    for (size_t i = 0; i < TKR_POOL_MODES; i++) {
        bool on = false;
        tkr_status status = tkr_json_get_bool(&on, json, fields[i], false, what, error);
        if (status != TKR_OK) return status;
        if (on) info->modes[info->n_modes++] = (tkr_pool_mode)i;
    }
    return TKR_OK;
}

static tkr_status listed_modes(tkr_post_info *info, const json_t *list, const char *what, tkr_error *error) {
    size_t n = json_is_array(list) ? json_array_size(list) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_is_array(list) ? json_array_get(list, i) : list;
        if (!json_is_string(item))
            return TKR_FAIL(error, FORMAT,
                            "%s: field \"pooling_mode\" holds %s, expected a string or a list of strings", what,
                            tkr_json_type_name(item));
        tkr_status status =
            add_mode(info->modes, &info->n_modes, json_string_value(item), json_string_length(item), error);
        if (status != TKR_OK) return tkr_error_prefix(error, status, "%s", what);
    }
    return TKR_OK;
}

/* A field that looks like a mode we don't know must not be passed over: its vectors would be others. */
static tkr_status refuse_unknown(const json_t *json, const char *what, tkr_error *error) {
    static const char *const known[] = {"cls_token",           "max_tokens", "mean_tokens", "mean_sqrt_len_tokens",
                                        "weightedmean_tokens", "lasttoken"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)json, key, value) {
        if (strncmp(key, "pooling_mode_", 13) != 0) continue;
        bool found = !json_is_true(value);
        for (size_t i = 0; !found && i < sizeof known / sizeof *known; i++) found = strcmp(key + 13, known[i]) == 0;
        if (!found)
            return TKR_FAIL(
                error, UNSUPPORTED,
                "%s: unknown pooling \"%.80s\"; known: cls, mean, max, mean_sqrt_len, weightedmean, lasttoken", what,
                key);
    }
    return TKR_OK;
}

tkr_status tkr_pooling_read(tkr_post_info *info, int64_t *width, const char *path, tkr_error *error) {
    json_t *json = NULL;
    tkr_status status = tkr_json_file(&json, path, error);
    if (status != TKR_OK) return status;
    info->n_modes = 0;
    info->include_prompt = true;
    status = tkr_json_get_bool(&info->include_prompt, json, "include_prompt", false, path, error);
    const json_t *list = json_object_get(json, "pooling_mode");
    if (status == TKR_OK && list)
        status = listed_modes(info, list, path, error);
    else if (status == TKR_OK)
        status = refuse_unknown(json, path, error);
    if (status == TKR_OK && !list) status = legacy_modes(info, json, path, error);
    if (status == TKR_OK && info->n_modes == 0) /* the file's own default, as sentence-transformers reads it */
        info->modes[info->n_modes++] = TKR_POOL_MEAN;
    const char *field =
        json_object_get(json, "embedding_dimension") ? "embedding_dimension" : "word_embedding_dimension";
    if (status == TKR_OK) status = tkr_json_get_int(width, json, field, 1, 1 << 20, false, path, error);
    json_decref(json);
    return status;
}
