/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_serve: starts the server, and tells on standard error what somebody needs to know to use it. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/json.h"
#include "core/process.h"
#include "core/sync.h"
#include "core/term.h"
#include "server/server.h"

typedef struct serve_run {
    const tkr_cli_args *args;
    const tkr_settings *settings;
    tkr_server *server;
    bool json; /* standard error is a log of JSON lines: so is what is said here */
    double began;
} serve_run;

/* One line: text to read, or an object like those of the log. */
static void tell(const serve_run *run, const char *level, const char *text) {
    tkr_buf line = {0};
    char now[25];
    if (tkr_cli_on(run->args, TKR_OPT_QUIET)) {
        return;
    }
    if (run->json) {
        tkr_wall_clock_text(now, tkr_wall_clock());
        tkr_buf_printf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":", now, level);
        tkr_json_write_string(&line, text, strlen(text));
        tkr_buf_append(&line, "}", 1);
    } else {
        tkr_buf_printf(&line, "tkr-embed: %s%s", strcmp(level, "warning") == 0 ? "warning: " : "", text);
    }
    fprintf(stderr, "%s\n", line.failed ? text : line.data);
    tkr_buf_free(&line);
}

static void warn(void *user, const char *line) { tell(user, "warning", line); }

static void tell_formatted(const serve_run *run, tkr_buf *text) {
    if (text->failed) {
        tell(run, "info", "out of memory");
    } else if (text->data != NULL) {
        tell(run, "info", text->data);
    }
    tkr_buf_free(text);
}

static void tell_addresses(const serve_run *run) {
    tkr_buf text = {0};
    const char *url = NULL, *first = NULL;
    for (size_t i = 0; (url = tkr_server_url(run->server, i)) != NULL; i++) {
        tkr_buf_printf(&text, "%s%s", i == 0 ? "listening on " : ", ", url);
        if (first == NULL && strncmp(url, "http", 4) == 0) {
            first = url;
        }
    }
    if (first != NULL) {
        tkr_buf_printf(&text, "; a page to try it: %s/, documentation: %s/docs", first, first);
    }
    tell_formatted(run, &text);
}

static void tell_model(void *user, const char *name, const tkr_model_info *info) {
    const serve_run *run = user;
    tkr_buf text = {0};
    char size[32];
    if (info == NULL) {
        tkr_buf_printf(&text, "%s: loaded with the first request", name);
    } else {
        tkr_cli_bytes(size, info->weights_bytes + info->mapped_bytes, true);
        tkr_buf_printf(&text, "%s: %s, %zu dimensions, %s on %s, %u threads, %s", name, info->modalities,
                       info->dimensions, strcmp(info->quantization, "none") == 0 ? info->precision : info->quantization,
                       info->device, info->threads, size);
    }
    tell_formatted(run, &text);
}

static void tell_started(void *user) {
    const serve_run *run = user;
    tkr_buf text = {0};
    tkr_server_each_model(run->server, tell_model, user);
    tkr_buf_printf(&text, "ready after %.2f s", tkr_now() - run->began);
    tell_formatted(run, &text);
}

static bool logs_json(const tkr_settings *settings) {
    const char *format = tkr_setting_choice(settings, TKR_SET_LOG_FORMAT);
    if (tkr_setting_of(settings, TKR_SET_LOG_FILE)->text != NULL) {
        return false;
    }
    return strcmp(format, "json") == 0 || (strcmp(format, "auto") == 0 && !tkr_term_is(TKR_STREAM_ERR));
}

static int check_only(serve_run *run) {
    tkr_buf text = {0};
    tkr_error error = {0};
    run->json = false;
    if (tkr_server_check_models(run->settings, warn, run, &error) != TKR_OK) {
        return tkr_cli_fail(TKR_EXIT_USAGE, "serve: %s", error.message);
    }
    tkr_settings_each_warning(run->settings, warn, run);
    tkr_buf_printf(&text, "ok\n");
    return tkr_cli_print(&text);
}

static int serve(serve_run *run) {
    tkr_error error = {0};
    const char *lacking = NULL;
    if (tkr_server_create(&run->server, run->settings, &error) != TKR_OK) {
        return tkr_cli_fail(TKR_EXIT_RUNTIME, "serve: %s", error.message);
    }
    tkr_settings_each_warning(run->settings, warn, run);
    if (!tkr_setting_on(run->settings, TKR_SET_NO_JAIL) && !tkr_process_can_confine(&lacking)) {
        tkr_buf text = {0};
        tkr_buf_printf(&text, "this system has no %s: pictures are refused unless --no-jail is given", lacking);
        warn(run, text.failed || text.data == NULL ? "no jail" : text.data);
        tkr_buf_free(&text);
    }
    tell_addresses(run);
    tkr_status status = tkr_server_run(run->server, tell_started, run, &error);
    tkr_server_free(&run->server);
    return status == TKR_OK ? TKR_EXIT_OK : tkr_cli_fail(TKR_EXIT_RUNTIME, "serve: %s", error.message);
}

int tkr_cmd_serve(const tkr_cli_args *args) {
    tkr_settings *settings = NULL;
    int code = tkr_cli_settings(&settings, args);
    if (code != TKR_EXIT_OK) {
        return code;
    }
    serve_run run = {.args = args, .settings = settings, .json = logs_json(settings), .began = tkr_now()};
    tkr_error error = {0};
    if (tkr_server_check(settings, &error) != TKR_OK) {
        code = tkr_cli_fail(TKR_EXIT_USAGE, "serve: %s", error.message);
    } else if (tkr_cli_on(args, TKR_OPT_CHECK_CONFIG)) {
        code = check_only(&run);
    } else {
        code = serve(&run);
    }
    tkr_settings_free(&settings);
    return code;
}
