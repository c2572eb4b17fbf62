/* SPDX-License-Identifier: Apache-2.0 */
/* server/settings: every setting with its value and where that came from: flag, environment, file, profile, default. */
#ifndef TKR_SERVER_SETTINGS_H
#define TKR_SERVER_SETTINGS_H

#include <stdbool.h>

#include "core/mem.h"
#include "core/value.h"

typedef enum tkr_setting_id {
#define TKR_SETTING(id, key, flag, letter, argument, type, min, max, fallback, environment, help) TKR_SET_##id,
#include "server/settings.def"
#undef TKR_SETTING
    TKR_N_SETTINGS
} tkr_setting_id;

/* The columns are explained in settings.def. */
typedef struct tkr_setting {
    const char *key, *flag;
    char letter;
    const char *argument;
    tkr_value_type type;
    double min, max;
    const char *fallback, *environment, *help;
} tkr_setting;
extern const tkr_setting tkr_settings_table[TKR_N_SETTINGS];

typedef struct tkr_setting_value {
    bool set;                /* not the fallback */
    const char *text;        /* as given, NULL: none */
    uint64_t number;         /* COUNT, BYTES; index of the CHOICE; 1 for a FLAG that is on */
    double real;             /* REAL, and COUNT and BYTES too */
    const char *const *list; /* [n_list] of a LIST */
    size_t n_list;
    const char *origin; /* "default", "profile 16gb", "serve.yaml:12", "TKR_PORT", "--port" */
} tkr_setting_value;

/* The keys of a model in the `models:` list of the file, as they are shown. */
typedef enum tkr_model_key {
    TKR_KEY_NAME,
    TKR_KEY_ALIAS,
    TKR_KEY_QUANTIZATION,
    TKR_KEY_PRECISION,
    TKR_KEY_DEVICE,
    TKR_KEY_POOLING,
    TKR_KEY_MAX_TEXT_LENGTH,
    TKR_KEY_LAZY,
    TKR_N_MODEL_KEYS
} tkr_model_key;

/* One of several models: of the `models:` list of the file. The first model is that of the settings above; where they
 * name none, the first of the list has become it. */
typedef struct tkr_model_entry {
    const char *name, *alias, *quantization, *precision, *device; /* NULL: the setting's */
    const char *pooling;                                          /* the same; "": the checkpoint's */
    uint64_t max_tokens;                                          /* 0: the setting's */
    bool lazy;                                                    /* load with the first request */
    const char *origin;                                           /* "serve.yaml:12" */
    const char *origins[TKR_N_MODEL_KEYS];                        /* of what it says itself */
} tkr_model_entry;

typedef struct tkr_settings {
    tkr_setting_value value[TKR_N_SETTINGS];
    tkr_model_entry *models; /* [n_models] beyond the first */
    size_t n_models;
    /* Where the first of the list gave a setting its value: what the other models have. Without origin: the same. */
    tkr_setting_value others[TKR_N_SETTINGS];
    const char *file; /* that was read, or NULL */
    tkr_arena arena;  /* all texts */
} tkr_settings;

typedef struct tkr_setting_flag {
    tkr_setting_id id;
    const char *text; /* value of the flag; "true" for a FLAG */
} tkr_setting_flag;

/* Puts everything together by precedence and checks it. `file` NULL: TKR_CONFIG, else none. Unknown keys are errors
 * that name the line and the nearest key. Returns settings. */
tkr_status tkr_settings_load(tkr_settings **settings, const char *file, const tkr_setting_flag *flags, size_t n_flags,
                             tkr_error *error);
void tkr_settings_free(tkr_settings **settings);

/* What belongs together (load has called it): a certificate has its key, names of models differ, addresses are some. */
tkr_status tkr_settings_check(const tkr_settings *settings, tkr_error *error);
/* Whether certificate and key can be read, the user exists, and log and sockets are no folders; tkr_auth_create looks
 * at the keys file. */
tkr_status tkr_settings_check_files(const tkr_settings *settings, tkr_error *error);
/* Calls fn with each line that somebody should see before the server starts. */
void tkr_settings_each_warning(const tkr_settings *settings, void (*fn)(void *user, const char *line), void *user);
/* What requests call the model: its alias, else its name. 0 is the first one; index <= n_models. */
const char *tkr_settings_model_name(const tkr_settings *settings, size_t index);

static inline const tkr_setting_value *tkr_setting_of(const tkr_settings *settings, tkr_setting_id id) {
    return &settings->value[id];
}
/* What models beyond the first have where their entry says nothing. */
static inline const tkr_setting_value *tkr_setting_of_others(const tkr_settings *settings, tkr_setting_id id) {
    return settings->others[id].origin != NULL ? &settings->others[id] : &settings->value[id];
}
/* The text of a CHOICE's value: "q8". */
const char *tkr_setting_choice(const tkr_settings *settings, tkr_setting_id id);
/* Of settings with choices "true|false", and of FLAGs. */
bool tkr_setting_on(const tkr_settings *settings, tkr_setting_id id);

/* Appends the address with "***" in place of a password or token, as config show does. */
bool tkr_settings_show_url(tkr_buf *out, const char *url);
/* Appends the effective configuration as YAML, each line with a comment that says where its value came from; secrets as
 * "***". false: no memory. */
bool tkr_settings_show(tkr_buf *out, const tkr_settings *settings);
/* The same as JSON: {"server.port": {"value": 8000, "origin": "default"}, ...,
 * "models": [{"name": "minilm", "origin": {"name": "serve.yaml:4"}}]}. */
bool tkr_settings_show_json(tkr_buf *out, const tkr_settings *settings);

#endif
