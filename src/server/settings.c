/* SPDX-License-Identifier: Apache-2.0 */
/* server/settings: the table, and the order in which flags, environment, file, profile and fallbacks win. */
#include "server/settings.h"

#include <string.h>

#include "core/cpu.h"
#include "core/file.h"
#include "core/utf8.h"
#include "server/config.h"

const tkr_setting tkr_settings_table[TKR_N_SETTINGS] = {
#define TKR_SETTING(id, key, flag, letter, argument, type, min, max, fallback, environment, help) \
    {key, flag, letter, argument, TKR_VALUE_##type, min, max, fallback, environment, help},
#include "server/settings.def"
#undef TKR_SETTING
};

/* What a memory size means, where nobody says anything else. `memory` is the most, in GiB, that picks the profile. */
static const struct profile {
    const char *name;
    double memory;
    struct {
        tkr_setting_id id;
        const char *text;
    } values[4];
} profiles[] = {
    {"16gb",
     16,
     {{TKR_SET_QUANTIZATION, "q4"},
      {TKR_SET_MAX_BATCH_SIZE, "16"},
      {TKR_SET_CACHE_SIZE, "500"},
      {TKR_SET_MAX_TEXT_LENGTH, "2048"}}},
    {"32gb",
     32,
     {{TKR_SET_QUANTIZATION, "q8"},
      {TKR_SET_MAX_BATCH_SIZE, "32"},
      {TKR_SET_CACHE_SIZE, "1000"},
      {TKR_SET_MAX_TEXT_LENGTH, "4096"}}},
    {"64gb",
     1e9,
     {{TKR_SET_QUANTIZATION, "none"},
      {TKR_SET_MAX_BATCH_SIZE, "64"},
      {TKR_SET_CACHE_SIZE, "2000"},
      {TKR_SET_MAX_TEXT_LENGTH, "8192"}}},
};

tkr_value_rule tkr_setting_rule(tkr_setting_id id) {
    const tkr_setting *row = &tkr_settings_table[id];
    return (tkr_value_rule){row->type, row->argument, row->min, row->max};
}

static tkr_status no_memory(tkr_error *error) { return TKR_FAIL(error, NO_MEMORY, "no memory for the settings"); }

tkr_status tkr_setting_check_text(const char *text, const char *source, tkr_error *error) {
    const size_t size = strlen(text);
    for (size_t at = 0; at < size;) {
        const uint32_t c = tkr_utf8_next(text, size, &at, NULL);
        if (c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0xFEFF || c == 0xFFFE || c == 0xFFFF) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "%s holds a line break or another control character", source);
        }
    }
    return TKR_OK;
}

/* Cuts "a, b" into value->list. */
static tkr_status split_list(tkr_setting_value *value, tkr_arena *arena, const char *source, tkr_error *error) {
    size_t most = 1;
    for (const char *at = value->text; *at != '\0'; at++) most += *at == ',';
    const char **list = tkr_arena_alloc(arena, most * sizeof *list);
    if (list == NULL) return no_memory(error);
    const char *at = value->text;
    for (size_t n = 0; n < most; n++) {
        size_t size = strcspn(at, ",");
        const char *next = at + size + (at[size] == ',');
        while (size > 0 && *at == ' ') at++, size--;
        while (size > 0 && at[size - 1] == ' ') size--;
        if (size == 0) {
            return TKR_FAIL(error, INVALID_ARGUMENT,
                            "%s has nothing before or behind a comma; expected \"one\" or \"one,another\"",
                            source); /* not the value: it may be keys */
        }
        list[n] = tkr_arena_strndup(arena, at, size);
        if (list[n] == NULL) return no_memory(error);
        at = next;
    }
    value->list = list;
    value->n_list = most;
    return TKR_OK;
}

tkr_status tkr_setting_set(tkr_settings *settings, tkr_setting_id id, const char *text, const tkr_setting_source *from,
                           tkr_error *error) {
    const tkr_setting *row = &tkr_settings_table[id];
    const tkr_value_rule rule = tkr_setting_rule(id);
    const bool textual = row->type == TKR_VALUE_TEXT || row->type == TKR_VALUE_LIST;
    tkr_setting_value value = {.set = true};
    value.origin = tkr_arena_strndup(&settings->arena, from->origin, strlen(from->origin));
    value.text = tkr_arena_strndup(&settings->arena, text, strlen(text));
    if (value.origin == NULL || value.text == NULL) return no_memory(error);
    tkr_status status = tkr_setting_check_text(text, from->source, error);
    if (status == TKR_OK) {
        status = tkr_value_read(&value.number, &value.real, &rule, text, from->source, error);
    }
    if (status == TKR_OK && textual && text[0] == '\0') {
        value.text = NULL;
    } else if (status == TKR_OK && row->type == TKR_VALUE_LIST) {
        status = split_list(&value, &settings->arena, from->source, error);
    }
    if (status == TKR_OK) settings->value[id] = value;
    return status;
}

tkr_status tkr_settings_create(tkr_settings **settings, tkr_error *error) {
    tkr_settings *made = tkr_calloc(1, sizeof *made);
    if (made == NULL) return no_memory(error);
    tkr_status status = TKR_OK;
    for (size_t i = 0; i < TKR_N_SETTINGS && status == TKR_OK; i++) {
        const tkr_setting *row = &tkr_settings_table[i];
        const tkr_setting_source from = {row->key, "default"};
        if (row->fallback != NULL) status = tkr_setting_set(made, (tkr_setting_id)i, row->fallback, &from, error);
        made->value[i].set = false;
        made->value[i].origin = "default";
    }
    if (status != TKR_OK) tkr_settings_free(&made);
    *settings = made;
    return status;
}

void tkr_settings_free(tkr_settings **settings) {
    if (*settings == NULL) return;
    tkr_arena_free(&(*settings)->arena);
    tkr_free(*settings);
    *settings = NULL;
}

/* Whether flags or environment set this. */
static bool is_given(tkr_setting_id id, const tkr_setting_flag *flags, size_t n_flags) {
    const char *name = tkr_settings_table[id].environment;
    for (size_t i = 0; i < n_flags; i++)
        if (flags[i].id == id) return true;
    return name != NULL && tkr_env(name) != NULL;
}

/* Where only the list names models, its first one is the default one: its fields become the settings' but for what
 * flags and environment say. The other models keep what was there before. */
static tkr_status adopt_first_model(tkr_settings *settings, const tkr_setting_flag *flags, size_t n_flags,
                                    tkr_error *error) {
    const tkr_model_entry model = settings->models[0];
    const char *max_tokens = NULL;
    if (model.max_tokens > 0) {
        max_tokens = tkr_arena_printf(&settings->arena, "%llu", (unsigned long long)model.max_tokens);
        if (max_tokens == NULL) return no_memory(error);
    }
    const struct {
        tkr_setting_id id;
        tkr_model_key key;
        const char *text;
    } fields[] = {{TKR_SET_MODEL, TKR_KEY_NAME, model.name},
                  {TKR_SET_MODEL_ALIAS, TKR_KEY_ALIAS, model.alias},
                  {TKR_SET_QUANTIZATION, TKR_KEY_QUANTIZATION, model.quantization},
                  {TKR_SET_PRECISION, TKR_KEY_PRECISION, model.precision},
                  {TKR_SET_DEVICE, TKR_KEY_DEVICE, model.device},
                  {TKR_SET_POOLING, TKR_KEY_POOLING, model.pooling},
                  {TKR_SET_MAX_TEXT_LENGTH, TKR_KEY_MAX_TEXT_LENGTH, max_tokens}};
    tkr_status status = TKR_OK;
    if (model.lazy) {
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "%s: the first model is the default one and can't be lazy; model.name would name another",
                        model.origin);
    }
    for (size_t i = 0; i < sizeof fields / sizeof *fields && status == TKR_OK; i++) {
        const tkr_setting_id id = fields[i].id;
        if (fields[i].text == NULL || is_given(id, flags, n_flags)) continue;
        const tkr_setting_source from = {model.origin, model.origins[fields[i].key]};
        settings->others[id] = settings->value[id];
        status = tkr_setting_set(settings, id, fields[i].text, &from, error);
    }
    settings->models++;
    settings->n_models--;
    return status;
}

static tkr_status read_environment(tkr_settings *settings, tkr_error *error) {
    tkr_status status = TKR_OK;
    for (size_t i = 0; i < TKR_N_SETTINGS && status == TKR_OK; i++) {
        const char *name = tkr_settings_table[i].environment;
        const char *text = name != NULL ? tkr_env(name) : NULL;
        const tkr_setting_source from = {name, name};
        if (text != NULL) status = tkr_setting_set(settings, (tkr_setting_id)i, text, &from, error);
    }
    return status;
}

static tkr_status read_flags(tkr_settings *settings, const tkr_setting_flag *flags, size_t n_flags, tkr_error *error) {
    tkr_status status = TKR_OK;
    for (size_t i = 0; i < n_flags && status == TKR_OK; i++) {
        const char *name = tkr_arena_printf(&settings->arena, "--%s", tkr_settings_table[flags[i].id].flag);
        const tkr_setting_source from = {name, name};
        if (name == NULL) return no_memory(error);
        status = tkr_setting_set(settings, flags[i].id, flags[i].text, &from, error);
    }
    return status;
}

static const struct profile *find_profile(const char *name) {
    tkr_machine machine;
    const size_t n = sizeof profiles / sizeof *profiles;
    if (strcmp(name, "auto") == 0) {
        tkr_machine_read(&machine);
        for (size_t i = 0; i + 1 < n; i++)
            if ((double)machine.memory <= profiles[i].memory * 1073741824.0) return &profiles[i];
        return &profiles[n - 1];
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(profiles[i].name, name) == 0) return &profiles[i];
    return NULL; /* "none" */
}

static tkr_status apply_profile(tkr_settings *settings, tkr_error *error) {
    const struct profile *profile = find_profile(settings->value[TKR_SET_PROFILE].text);
    if (profile == NULL) return TKR_OK;
    const char *origin = tkr_arena_printf(&settings->arena, "profile %s", profile->name);
    const tkr_setting_source from = {origin, origin};
    if (origin == NULL) return no_memory(error);
    tkr_status status = TKR_OK;
    for (size_t i = 0; i < sizeof profile->values / sizeof *profile->values && status == TKR_OK; i++) {
        if (settings->value[profile->values[i].id].set) continue;
        status = tkr_setting_set(settings, profile->values[i].id, profile->values[i].text, &from, error);
    }
    return status;
}

tkr_status tkr_settings_load(tkr_settings **settings, const char *file, const tkr_setting_flag *flags, size_t n_flags,
                             tkr_error *error) {
    tkr_settings *made = NULL;
    tkr_status status = tkr_settings_create(&made, error);
    const char *path = file != NULL ? file : tkr_env("TKR_CONFIG");
    *settings = NULL;
    if (made == NULL) return status;
    if (path != NULL) {
        made->file = tkr_arena_strndup(&made->arena, path, strlen(path));
        status = made->file != NULL ? tkr_config_read(made, path, error) : no_memory(error);
    }
    if (status == TKR_OK) status = read_environment(made, error);
    if (status == TKR_OK) status = read_flags(made, flags, n_flags, error);
    if (status == TKR_OK) status = apply_profile(made, error);
    if (status == TKR_OK && made->n_models > 0 && !made->value[TKR_SET_MODEL].set) {
        status = adopt_first_model(made, flags, n_flags, error);
    }
    if (status == TKR_OK) status = tkr_settings_check(made, error);
    if (status != TKR_OK) tkr_settings_free(&made);
    *settings = made;
    return status;
}

const char *tkr_setting_choice(const tkr_settings *settings, tkr_setting_id id) { return settings->value[id].text; }

bool tkr_setting_on(const tkr_settings *settings, tkr_setting_id id) {
    const bool choice = tkr_settings_table[id].type == TKR_VALUE_CHOICE; /* "true|false" */
    return choice ? settings->value[id].number == 0 : settings->value[id].number != 0;
}
