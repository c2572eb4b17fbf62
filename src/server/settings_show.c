/* SPDX-License-Identifier: Apache-2.0 */
/* server/settings: the effective configuration as YAML or JSON, with the origin of each value; secrets are "***". */
#include <string.h>

#include "core/json.h"
#include "server/settings.h"

static void string(tkr_buf *out, const char *text) { tkr_json_write_string(out, text, strlen(text)); }

bool tkr_settings_show_url(tkr_buf *out, const char *url) {
    const char *begin = strstr(url, "://"), *host = strrchr(url, '@');
    if (begin == NULL || host == NULL || host < begin) return tkr_buf_append(out, url, strlen(url));
    const char *colon = memchr(begin + 3, ':', (size_t)(host - begin) - 3);
    tkr_buf_append(out, url, (size_t)((colon != NULL ? colon + 1 : begin + 3) - url)); /* without one it is a token */
    return tkr_buf_printf(out, "***%s", host);
}

static void url_without_password(tkr_buf *out, const char *url) {
    tkr_buf text = {0};
    string(out, tkr_settings_show_url(&text, url) ? text.data : "***");
    tkr_buf_free(&text);
}

/* A value that both YAML and JSON read. `exact`: sizes as numbers. */
static void write_value(tkr_buf *out, const tkr_settings *settings, size_t id, bool exact) {
    const tkr_setting_value *value = &settings->value[id];
    const tkr_setting *row = &tkr_settings_table[id];
    const bool truth = row->type == TKR_VALUE_CHOICE && strcmp(row->argument, "true|false") == 0;
    if (row->type == TKR_VALUE_FLAG || truth) {
        tkr_buf_printf(out, tkr_setting_on(settings, (tkr_setting_id)id) ? "true" : "false");
    } else if (value->text == NULL) {
        tkr_buf_printf(out, "null");
    } else if (id == TKR_SET_API_KEY) {
        string(out, "***");
    } else if (id == TKR_SET_CACHE_URL || id == TKR_SET_OTLP) {
        url_without_password(out, value->text);
    } else if (row->type == TKR_VALUE_LIST) {
        tkr_buf_putc(out, '[');
        for (size_t i = 0; i < value->n_list; i++) {
            if (i > 0) tkr_buf_printf(out, ", ");
            string(out, value->list[i]);
        }
        tkr_buf_putc(out, ']');
    } else if (row->type == TKR_VALUE_COUNT || (row->type == TKR_VALUE_BYTES && exact)) {
        tkr_buf_printf(out, "%llu", (unsigned long long)value->number);
    } else if (row->type == TKR_VALUE_REAL) {
        tkr_buf_printf(out, "%.10g", value->real);
    } else if (!exact && (row->type == TKR_VALUE_BYTES || row->type == TKR_VALUE_CHOICE)) {
        tkr_buf_printf(out, "%s", value->text);
    } else {
        string(out, value->text);
    }
}

/* A key of a model. */
typedef struct row {
    const char *key, *text, *origin; /* without an origin nothing is shown */
    uint64_t number;                 /* where text is NULL */
} row;

/* What a model has by its entry, or because the first of the list gave the setting another value: where that is
 * written, too, it holds for all models that say nothing. */
static row text_row(const tkr_settings *settings, const tkr_model_entry *model, tkr_model_key key, tkr_setting_id id,
                    const char *own) {
    const char *name = strchr(tkr_settings_table[id].key, '.') + 1;
    const tkr_setting_value *others = &settings->others[id];
    if (own != NULL) return (row){.key = name, .text = own, .origin = model->origins[key]};
    return (row){.key = name, .text = others->text != NULL ? others->text : "", .origin = others->origin};
}

static row max_tokens_row(const tkr_settings *settings, const tkr_model_entry *model) {
    const tkr_setting_value *others = &settings->others[TKR_SET_MAX_TEXT_LENGTH];
    row out = {.key = "max_text_length", .origin = others->origin, .number = others->number};
    if (model->max_tokens > 0) {
        out.origin = model->origins[TKR_KEY_MAX_TEXT_LENGTH];
        out.number = model->max_tokens;
    } else if (out.number == 0) {
        /* The model's own limit, which a higher one is lowered to. */
        out.number = (uint64_t)tkr_settings_table[TKR_SET_MAX_TEXT_LENGTH].max;
    }
    return out;
}

static void write_row(tkr_buf *out, bool json, const row *of, bool first) {
    const char *before = json ? first ? "" : ", " : first ? "  - " : "    ";
    tkr_buf_printf(out, json ? "%s\"%s\": " : "%s%s: ", before, of->key);
    if (of->text != NULL)
        string(out, of->text);
    else if (strcmp(of->key, "lazy") == 0)
        tkr_buf_printf(out, "true");
    else
        tkr_buf_printf(out, "%llu", (unsigned long long)of->number);
    if (!json) tkr_buf_printf(out, "  # %s\n", of->origin);
}

static void write_model(tkr_buf *out, const tkr_settings *settings, const tkr_model_entry *model, bool json) {
    const row rows[TKR_N_MODEL_KEYS] = {
        {.key = "name", .text = model->name, .origin = model->origins[TKR_KEY_NAME]},
        {.key = "alias", .text = model->alias, .origin = model->origins[TKR_KEY_ALIAS]},
        text_row(settings, model, TKR_KEY_QUANTIZATION, TKR_SET_QUANTIZATION, model->quantization),
        text_row(settings, model, TKR_KEY_PRECISION, TKR_SET_PRECISION, model->precision),
        text_row(settings, model, TKR_KEY_DEVICE, TKR_SET_DEVICE, model->device),
        text_row(settings, model, TKR_KEY_POOLING, TKR_SET_POOLING, model->pooling),
        max_tokens_row(settings, model),
        {.key = "lazy", .origin = model->lazy ? model->origins[TKR_KEY_LAZY] : NULL},
    };
    for (size_t i = 0; i < TKR_N_MODEL_KEYS; i++)
        if (rows[i].origin != NULL) write_row(out, json, &rows[i], i == 0);
    if (!json) return;
    tkr_buf_printf(out, ", \"origin\": {");
    for (size_t i = 0; i < TKR_N_MODEL_KEYS; i++) {
        if (rows[i].origin == NULL) continue;
        tkr_buf_printf(out, "%s\"%s\": ", i > 0 ? ", " : "", rows[i].key);
        string(out, rows[i].origin);
    }
    tkr_buf_putc(out, '}');
}

static void write_models(tkr_buf *out, const tkr_settings *settings, bool json) {
    for (size_t i = 0; i < settings->n_models; i++) {
        if (json) tkr_buf_printf(out, i > 0 ? ",\n    {" : "\n    {");
        write_model(out, settings, &settings->models[i], json);
        if (json) tkr_buf_putc(out, '}');
    }
}

bool tkr_settings_show(tkr_buf *out, const tkr_settings *settings) {
    size_t n_section = 0; /* of the section that was begun last, with its dot */
    const char *section = "";
    for (size_t i = 0; i < TKR_N_SETTINGS; i++) {
        const char *key = tkr_settings_table[i].key;
        const size_t n = strcspn(key, ".") + (strchr(key, '.') != NULL);
        if (key[n] != '\0' && (n != n_section || memcmp(key, section, n) != 0)) {
            tkr_buf_append(out, key, n - 1);
            tkr_buf_printf(out, ":\n");
            section = key;
            n_section = n;
        }
        tkr_buf_printf(out, key[n] != '\0' ? "  %s: " : "%s: ", key[n] != '\0' ? key + n : key);
        write_value(out, settings, i, false);
        tkr_buf_printf(out, "  # %s\n", settings->value[i].origin);
    }
    if (settings->n_models > 0) tkr_buf_printf(out, "models:\n");
    write_models(out, settings, false);
    return !out->failed;
}

bool tkr_settings_show_json(tkr_buf *out, const tkr_settings *settings) {
    tkr_buf_putc(out, '{');
    for (size_t i = 0; i < TKR_N_SETTINGS; i++) {
        tkr_buf_printf(out, "%s\n  \"%s\": {\"value\": ", i > 0 ? "," : "", tkr_settings_table[i].key);
        write_value(out, settings, i, true);
        tkr_buf_printf(out, ", \"origin\": ");
        string(out, settings->value[i].origin);
        tkr_buf_putc(out, '}');
    }
    tkr_buf_printf(out, ",\n  \"models\": [");
    write_models(out, settings, true);
    tkr_buf_printf(out, settings->n_models > 0 ? "\n  ]\n}\n" : "]\n}\n");
    return !out->failed;
}
