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

static void field(tkr_buf *out, bool json, const char *name, const char *text) {
    if (text == NULL) return;
    tkr_buf_printf(out, json ? ", \"%s\": " : "    %s: ", name);
    string(out, text);
    if (!json) tkr_buf_putc(out, '\n');
}

/* What a model has by its entry, or because the first of the list gave the setting another value: where that is
 * written, too, it holds for all models that say nothing. NULL: the setting's. */
static const char *effective(const tkr_settings *settings, tkr_setting_id id, const char *own) {
    const tkr_setting_value *others = &settings->others[id];
    return own != NULL || others->origin == NULL ? own : others->text != NULL ? others->text : "";
}

static uint64_t effective_max_tokens(const tkr_settings *settings, uint64_t own) {
    const tkr_setting_value *others = &settings->others[TKR_SET_MAX_TEXT_LENGTH];
    if (own > 0 || others->origin == NULL) return own;
    /* The model's own limit, which a higher one is lowered to. */
    return others->number > 0 ? others->number : (uint64_t)tkr_settings_table[TKR_SET_MAX_TEXT_LENGTH].max;
}

static void write_models(tkr_buf *out, const tkr_settings *settings, bool json) {
    for (size_t i = 0; i < settings->n_models; i++) {
        const tkr_model_entry *model = &settings->models[i];
        tkr_buf_printf(out, !json ? "  - name: " : i > 0 ? ",\n    {\"name\": " : "\n    {\"name\": ");
        string(out, model->name);
        if (!json) tkr_buf_putc(out, '\n');
        field(out, json, "alias", model->alias);
        field(out, json, "quantization", effective(settings, TKR_SET_QUANTIZATION, model->quantization));
        field(out, json, "precision", effective(settings, TKR_SET_PRECISION, model->precision));
        field(out, json, "device", effective(settings, TKR_SET_DEVICE, model->device));
        field(out, json, "pooling", effective(settings, TKR_SET_POOLING, model->pooling));
        const uint64_t max_tokens = effective_max_tokens(settings, model->max_tokens);
        if (max_tokens > 0) {
            tkr_buf_printf(out, json ? ", \"max_text_length\": %llu" : "    max_text_length: %llu\n",
                           (unsigned long long)max_tokens);
        }
        if (model->lazy) tkr_buf_printf(out, json ? ", \"lazy\": true" : "    lazy: true\n");
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
