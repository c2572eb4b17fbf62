/* SPDX-License-Identifier: Apache-2.0 */
/* cli/main: finds the command and hands over. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* --help wins over everything else on the line, also over mistakes. */
static bool wants_help(int argc, char **argv) {
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

static int unknown_command(const char *word, const char *near) {
    if (near != NULL) {
        return tkr_cli_fail(TKR_EXIT_USAGE, "unknown command \"%s\", did you mean \"%s\"?", word, near);
    }
    tkr_buf names = {0};
    for (size_t i = 0; i < TKR_N_COMMANDS; i++) {
        tkr_buf_printf(&names, "%s%s", i > 0 ? ", " : "", tkr_cli_commands[i].name);
    }
    int status = tkr_cli_fail(TKR_EXIT_USAGE, "unknown command \"%s\", expected one of %s", word,
                              names.failed ? "--help" : names.data);
    tkr_buf_free(&names);
    return status;
}

static int run_command(tkr_cli_command_id id, int argc, char **argv) {
    tkr_cli_args args;
    tkr_error error = {0};
    if (wants_help(argc, argv)) {
        tkr_buf text = {0};
        tkr_cli_help_command(&text, id);
        return tkr_cli_print(&text);
    }
    int code = TKR_EXIT_USAGE;
    if (tkr_cli_parse(&args, id, argc, argv, &error) != TKR_OK) {
        tkr_cli_fail(code, "%s: %s", tkr_cli_commands[id].name, error.message);
    } else {
        code = tkr_cli_commands[id].run(&args);
    }
    tkr_cli_args_free(&args);
    return code;
}

int main(int argc, char **argv) {
    tkr_buf text = {0};
    const char *near = NULL;
    tkr_env_default("MLX_ENABLE_TF32", "0"); /* f32 means f32 on a GPU, too */
    if (argc < 2) {
        tkr_cli_help_short(&text);
        fputs(text.data != NULL ? text.data : "tkr-embed --help\n", stderr);
        tkr_buf_free(&text);
        return TKR_EXIT_USAGE;
    }
    const char *word = argv[1];
    bool help = strcmp(word, "help") == 0;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || (help && argc == 2)) {
        tkr_cli_help_full(&text);
        return tkr_cli_print(&text);
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0 || strcmp(word, "version") == 0) {
        tkr_buf_printf(&text, "tkr-embed %s\n", tkr_version());
        return tkr_cli_print(&text);
    }
    if (strcmp(word, "--generate") == 0) { /* for the build: not in the help */
        if (argc != 3 || !tkr_cli_generate(&text, argv[2])) {
            return tkr_cli_fail(TKR_EXIT_USAGE, "--generate needs one of man, bash, zsh, settings");
        }
        return tkr_cli_print(&text);
    }
    if (word[0] == '-') {
        return tkr_cli_fail(TKR_EXIT_USAGE, "the command comes first: `tkr-embed embed ...`; found \"%s\"", word);
    }
    tkr_cli_command_id id = tkr_cli_find_command(help ? argv[2] : word, &near);
    if (id == TKR_N_COMMANDS) {
        return unknown_command(help ? argv[2] : word, near);
    }
    if (help) {
        tkr_cli_help_command(&text, id);
        return tkr_cli_print(&text);
    }
    return run_command(id, argc - 2, argv + 2);
}
