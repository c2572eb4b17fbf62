/* SPDX-License-Identifier: Apache-2.0 */
/* cli/settings: from the command line to the server's settings. Knows none of them by name: the table does. */
#include <string.h>

#include "cli/cli.h"

int tkr_cli_settings(tkr_settings **settings, const tkr_cli_args *args) {
    tkr_setting_flag flags[TKR_N_SETTINGS];
    size_t n = 0;
    tkr_error error = {0};
    for (size_t i = 0; i < TKR_N_SETTINGS; i++) {
        const tkr_cli_value *value = &args->value[TKR_OPT_FIRST_SETTING + i];
        if (value->set) {
            flags[n++] = (tkr_setting_flag){(tkr_setting_id)i, value->text};
        }
    }
    if (tkr_settings_load(settings, tkr_cli_get(args, TKR_OPT_CONFIG)->text, flags, n, &error) != TKR_OK) {
        return tkr_cli_fail(TKR_EXIT_USAGE, "%s: %s", tkr_cli_commands[args->command].name, error.message);
    }
    return TKR_EXIT_OK;
}

bool tkr_cli_verb(const tkr_cli_args *args, const char *const *verbs, size_t *index) {
    tkr_buf all = {0};
    const char *command = tkr_cli_commands[args->command].name;
    const char *verb = args->n_operands > 0 ? args->operands[0] : NULL;
    for (*index = 0; verbs[*index] != NULL; (*index)++) {
        if (verb != NULL && strcmp(verbs[*index], verb) == 0) {
            return true;
        }
        tkr_buf_printf(&all, "%s`%s %s`", *index > 0 ? ", " : "", command, verbs[*index]);
    }
    if (verb == NULL) {
        tkr_cli_fail(TKR_EXIT_USAGE, "%s: what? Expected %s", command, all.failed ? "--help" : all.data);
    } else {
        tkr_cli_fail(TKR_EXIT_USAGE, "%s: unknown word \"%s\", expected %s", command, verb,
                     all.failed ? "--help" : all.data);
    }
    tkr_buf_free(&all);
    return false;
}
