/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_config: prints the server's effective settings and where each value came from. */
#include "cli/cli.h"

int tkr_cmd_config(const tkr_cli_args *args) {
    static const char *const verbs[] = {"show", NULL};
    tkr_settings *settings = NULL;
    tkr_buf text = {0};
    size_t verb = 0;
    if (!tkr_cli_verb(args, verbs, &verb)) {
        return TKR_EXIT_USAGE;
    }
    int code = tkr_cli_settings(&settings, args);
    if (code == TKR_EXIT_OK) {
        bool json = tkr_cli_on(args, TKR_OPT_JSON);
        (void)(json ? tkr_settings_show_json(&text, settings) : tkr_settings_show(&text, settings));
        code = tkr_cli_print(&text);
    }
    tkr_settings_free(&settings);
    return code;
}
