/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_health: asks a running server whether it is ready, in one line and an exit status: for health checks of
 * containers and scripts. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "server/server.h"

/* "http://...", "https://..." or "unix:/path"; else a usage error. */
static bool is_address(const char *url) {
    if (strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0 || strncmp(url, "unix:/", 6) == 0) {
        return true;
    }
    (void)tkr_cli_fail(TKR_EXIT_USAGE,
                       "health: the address is \"%s\", expected http://HOST:PORT, https://HOST:PORT or "
                       "unix:/PATH",
                       url);
    return false;
}

/* Where a server with the settings of this environment would listen. Returns the exit status, after reporting. */
static int address_of_settings(char *out, size_t size, const tkr_cli_args *args) {
    tkr_settings *settings = NULL;
    const tkr_cli_value *port = tkr_cli_get(args, TKR_OPT_HEALTH_PORT);
    int code = tkr_cli_settings(&settings, args);
    if (code == TKR_EXIT_OK) {
        const char *host = tkr_setting_of(settings, TKR_SET_HOST)->text;
        const bool any = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 || strcmp(host, "[::]") == 0;
        const bool bare_v6 = strchr(host, ':') != NULL && host[0] != '[';
        const bool tls = tkr_setting_of(settings, TKR_SET_TLS_CERT)->text != NULL;
        const uint64_t number = port->set ? port->number : tkr_setting_of(settings, TKR_SET_PORT)->number;
        (void)snprintf(out, size, any || !bare_v6 ? "%s://%s:%llu" : "%s://[%s]:%llu", tls ? "https" : "http",
                       any ? "127.0.0.1" : host, (unsigned long long)number);
    }
    tkr_settings_free(&settings);
    return code;
}

int tkr_cmd_health(const tkr_cli_args *args) {
    char here[300];
    tkr_error error = {0};
    tkr_buf text = {0};
    const char *url = args->n_operands > 0 ? args->operands[0] : here;
    const int code = args->n_operands > 0 ? TKR_EXIT_OK : address_of_settings(here, sizeof here, args);
    if (code != TKR_EXIT_OK) {
        return code;
    }
    if (!is_address(url)) {
        return TKR_EXIT_USAGE;
    }
    if (tkr_server_probe(url, tkr_cli_get(args, TKR_OPT_HEALTH_TIMEOUT)->real, &error) != TKR_OK) {
        return tkr_cli_report(&error);
    }
    tkr_buf_printf(&text, "%s: ready\n", url);
    return tkr_cli_print(&text);
}
