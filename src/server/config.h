/* SPDX-License-Identifier: Apache-2.0 */
/* server/config: between the settings and the reader of their YAML file. */
#ifndef TKR_SERVER_CONFIG_H
#define TKR_SERVER_CONFIG_H

#include "server/settings.h"

/* Reads the file into settings (settings.c has filled in the fallbacks). */
tkr_status tkr_config_read(tkr_settings *settings, const char *path, tkr_error *error);
/* The same of a text; `name` stands in messages and origins. */
tkr_status tkr_config_parse(tkr_settings *settings, const char *text, size_t size, const char *name, tkr_error *error);

/* Sets one value, copied and checked against its row. `source` is what messages call it: "--port",
 * "serve.yaml:12: server.port". An empty TEXT or LIST means none. */
typedef struct tkr_setting_source {
    const char *source, *origin;
} tkr_setting_source;
tkr_status tkr_setting_set(tkr_settings *settings, tkr_setting_id id, const char *text, const tkr_setting_source *from,
                           tkr_error *error);
/* Refuses control characters, which could break a line of a log or a header. */
tkr_status tkr_setting_check_text(const char *text, const char *source, tkr_error *error);
tkr_value_rule tkr_setting_rule(tkr_setting_id id);
/* Settings with every value at its fallback. Returns settings. */
tkr_status tkr_settings_create(tkr_settings **settings, tkr_error *error);

#endif
