/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the server's configuration file: refused with one line that names the file, or settings within their
 * ranges. What is shown of them is read again without a complaint. */
#include <stdlib.h>
#include <string.h>

#include "server/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_values(const tkr_settings *settings) {
    for (size_t i = 0; i < TKR_N_SETTINGS; i++) {
        const tkr_setting *row = &tkr_settings_table[i];
        const tkr_setting_value *value = &settings->value[i];
        const bool number = row->type == TKR_VALUE_COUNT || row->type == TKR_VALUE_BYTES || row->type == TKR_VALUE_REAL;
        if (value->origin == NULL || (value->n_list > 0 && row->type != TKR_VALUE_LIST)) abort();
        if (number && value->text != NULL && !(value->real >= row->min && value->real <= row->max)) abort();
        for (size_t j = 0; value->text != NULL && value->text[j] != '\0'; j++)
            if ((unsigned char)value->text[j] < ' ') abort();
    }
    for (size_t i = 0; i < settings->n_models; i++)
        if (settings->models[i].name == NULL) abort();
}

static void show_again(const tkr_settings *settings) {
    tkr_settings *again = NULL;
    tkr_buf text = {0};
    tkr_error error = {0};
    if (tkr_settings_create(&again, NULL) != TKR_OK || !tkr_settings_show(&text, settings)) abort();
    if (tkr_config_parse(again, text.data, text.size, "shown", &error) != TKR_OK) abort();
    if (again->n_models != settings->n_models) abort();
    tkr_settings_free(&again);
    tkr_buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tkr_settings *settings = NULL;
    tkr_error error = {0};
    if (tkr_settings_create(&settings, NULL) != TKR_OK) return 0;
    if (tkr_config_parse(settings, (const char *)data, size, "f", &error) == TKR_OK) {
        check_values(settings);
        show_again(settings);
        (void)tkr_settings_check(settings, NULL);
    } else if (strncmp(error.message, "f:", 2) != 0 || strchr(error.message, '\n') != NULL) {
        abort();
    }
    tkr_settings_free(&settings);
    return 0;
}
