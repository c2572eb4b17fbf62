/* SPDX-License-Identifier: Apache-2.0 */
/* cli/help: help texts, made from the tables. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/term.h"

enum { MIN_WIDTH = 60, MAX_WIDTH = 100, COMMAND_COLUMN = 12, OPTION_INDENT = 6 };

static const char what_it_is[] = "tkr-embed turns text into vectors on this computer's CPU.";

static size_t help_width(void) {
    size_t columns = tkr_term_columns(TKR_STREAM_OUT);
    if (columns == 0) {
        return 80;
    }
    return columns < MIN_WIDTH ? MIN_WIDTH : columns > MAX_WIDTH ? MAX_WIDTH : columns;
}

void tkr_cli_wrap(tkr_buf *out, const char *text, size_t indent, size_t width) {
    size_t used = indent;
    bool first = true;
    while (*text != '\0') {
        size_t n = strcspn(text, " ");
        if (!first && used + 1 + n > width) {
            tkr_buf_printf(out, "\n%*s", (int)indent, "");
            used = indent;
        } else if (!first) {
            tkr_buf_putc(out, ' ');
            used++;
        }
        tkr_buf_append(out, text, n);
        used += n;
        text += n + (text[n] == ' ');
        first = false;
    }
    tkr_buf_putc(out, '\n');
}

static void command_list(tkr_buf *out) {
    for (size_t i = 0; i < TKR_N_COMMANDS; i++) {
        tkr_buf_printf(out, "  %-*s%s\n", COMMAND_COLUMN, tkr_cli_commands[i].name, tkr_cli_commands[i].summary);
    }
}

void tkr_cli_help_short(tkr_buf *out) {
    tkr_buf_printf(out,
                   "%s\n\n"
                   "  tkr-embed similarity -m minilm \"A man eats.\" \"Someone has lunch.\" \"The sky is blue.\"\n"
                   "  tkr-embed embed -m minilm --input texts.txt --format npy -o texts.npy\n\n"
                   "Commands:\n",
                   what_it_is);
    command_list(out);
    tkr_buf_printf(out, "\n`tkr-embed --help` says more, `tkr-embed COMMAND --help` all about one command.\n");
}

void tkr_cli_help_full(tkr_buf *out) {
    size_t width = help_width();
    tkr_buf_printf(out, "%s\n\nUsage: tkr-embed COMMAND [options] [arguments]\n\nCommands:\n", what_it_is);
    command_list(out);
    tkr_buf_printf(out, "\nExamples:\n");
    for (size_t i = 0; i < TKR_N_COMMANDS; i++) {
        const char *example = tkr_cli_commands[i].examples;
        const char *text = example + strlen(example) + 1;
        tkr_buf_printf(out, "  %s\n      ", example);
        tkr_cli_wrap(out, text, OPTION_INDENT, width);
    }
    tkr_buf_printf(out, "\nOther:\n  --help, help [COMMAND]   help, also as `tkr-embed COMMAND --help`\n"
                        "  --version                the version\n\n");
    tkr_cli_wrap(out,
                 "Options have the forms --flag value and --flag=value; \"--\" ends them. Many can also be set in the "
                 "environment, such as TKR_MODEL for -m; the flag wins. Exit status: 0 done, 1 something failed, 2 the "
                 "command line was wrong; 128 + signal when interrupted.",
                 0, width);
}

static void option_help(tkr_buf *out, const tkr_cli_option *option, size_t width) {
    tkr_buf line = {0};
    if (option->letter != 0) {
        tkr_buf_printf(out, "  -%c, ", option->letter);
    } else {
        tkr_buf_printf(out, "      ");
    }
    tkr_buf_printf(out, "--%s", option->flag);
    if (option->argument != NULL) {
        tkr_buf_printf(out, " %s", option->argument);
    }
    tkr_buf_printf(&line, "%s", option->help);
    if (option->fallback != NULL && strcmp(option->fallback, "-") != 0) {
        tkr_buf_printf(&line, " [default: %s]", option->fallback);
    }
    if (option->env != NULL) {
        tkr_buf_printf(&line, " [env: %s]", option->env);
    }
    tkr_buf_printf(out, "\n%*s", 2 * OPTION_INDENT - 2, "");
    out->failed = out->failed || line.failed;
    tkr_cli_wrap(out, line.failed ? "" : line.data, 2 * OPTION_INDENT - 2, width);
    tkr_buf_free(&line);
}

void tkr_cli_help_command(tkr_buf *out, tkr_cli_command_id command) {
    const tkr_cli_command *row = &tkr_cli_commands[command];
    size_t width = help_width();
    tkr_buf_printf(out, "tkr-embed %s: %s\n\nUsage: tkr-embed %s [options]%s%s\n\n", row->name, row->summary, row->name,
                   row->operands[0] != '\0' ? " " : "", row->operands);
    tkr_cli_wrap(out, row->description, 0, width);
    tkr_buf_printf(out, "\nExamples:\n");
    for (const char *example = row->examples; *example != '\0';) {
        const char *text = example + strlen(example) + 1;
        tkr_buf_printf(out, "  %s\n%*s", example, OPTION_INDENT, "");
        tkr_cli_wrap(out, text, OPTION_INDENT, width);
        example = text + strlen(text) + 1;
    }
    tkr_buf_printf(out, "\nOptions:\n");
    for (size_t i = 0; i < TKR_N_OPTIONS; i++) {
        if ((tkr_cli_options[i].commands & (1u << command)) != 0) {
            option_help(out, &tkr_cli_options[i], width);
        }
    }
}
