/* SPDX-License-Identifier: Apache-2.0 */
/* cli/options: the option and command tables, and the parser over them. Refuses abbreviations and guesses. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "core/near.h"

/* One bit for each letter of options.def, made from commands.def so that the two can't drift apart. */
enum {
#define TKR_COMMAND(id, name, letter, operands, operand_text, summary, description, examples) \
    letter = 1u << TKR_CMD_##id,
#include "cli/commands.def"
#undef TKR_COMMAND
};

const tkr_cli_option tkr_cli_options[TKR_N_OPTIONS] = {
#define TKR_OPTION(id, flag, letter, argument, type, min, max, fallback, env, commands, help) \
    {flag, letter, argument, TKR_VALUE_##type, min, max, fallback, env, commands, help},
#include "cli/options.def"
#undef TKR_OPTION
};

const tkr_cli_command tkr_cli_commands[TKR_N_COMMANDS] = {
#define TKR_COMMAND(id, name, letter, operands, operand_text, summary, description, examples) \
    {#name, tkr_cmd_##name, operands, operand_text, summary, description, examples},
#include "cli/commands.def"
#undef TKR_COMMAND
};

tkr_cli_command_id tkr_cli_find_command(const char *name, const char **near) {
    size_t best = tkr_tolerance(name) + 1;
    *near = NULL;
    for (size_t c = 0; c < TKR_N_COMMANDS; c++) {
        const char *other = tkr_cli_commands[c].name;
        if (strcmp(other, name) == 0) {
            return (tkr_cli_command_id)c;
        }
        size_t distance = tkr_distance(name, other, tkr_tolerance(name));
        if (distance < best) {
            best = distance;
            *near = other;
        }
    }
    return TKR_N_COMMANDS;
}

/* Sets the option from `text`; `source` is the flag or variable that it came from. */
static tkr_status set_value(tkr_cli_value *value, const tkr_cli_option *option, const char *text, const char *source,
                            tkr_error *error) {
    const tkr_value_rule rule = {option->type, option->argument, option->min, option->max};
    tkr_status status = tkr_value_read(&value->number, &value->real, &rule, text, source, error);
    if (status == TKR_OK) {
        value->text = text;
        value->set = true;
    }
    return status;
}

/* A setting of the server: server/settings puts flags, environment, file and fallbacks together. */
static bool is_setting(size_t id) { return id >= TKR_OPT_FIRST_SETTING && id < TKR_OPT_FIRST_SETTING + TKR_N_SETTINGS; }

/* Fallbacks, then the environment. */
static tkr_status set_defaults(tkr_cli_args *args, tkr_error *error) {
    for (size_t i = 0; i < TKR_N_OPTIONS; i++) {
        const tkr_cli_option *option = &tkr_cli_options[i];
        tkr_cli_value *value = &args->value[i];
        if (is_setting(i)) {
            continue;
        }
        if (option->fallback != NULL) {
            tkr_status status = set_value(value, option, option->fallback, option->flag, error);
            if (status != TKR_OK) {
                return status;
            }
            value->set = false;
        }
        const char *text = option->env != NULL ? tkr_env(option->env) : NULL;
        if (text != NULL && (option->commands & (1u << args->command)) != 0) {
            tkr_status status = set_value(value, option, text, option->env, error);
            if (status != TKR_OK) {
                return status;
            }
        }
    }
    return TKR_OK;
}

enum { MAX_FLAG_LENGTH = 64 };

/* Says what was probably meant by a flag that this command doesn't have. */
static tkr_status unknown_flag(const tkr_cli_args *args, const char *flag, size_t n, tkr_error *error) {
    const char *command = tkr_cli_commands[args->command].name;
    char name[MAX_FLAG_LENGTH + 1];
    const char *near = NULL;
    size_t cut = n < MAX_FLAG_LENGTH ? n : MAX_FLAG_LENGTH;
    memcpy(name, flag, cut);
    name[cut] = '\0';
    size_t best = tkr_tolerance(name) + 1;
    for (size_t i = 0; i < TKR_N_OPTIONS; i++) {
        const tkr_cli_option *option = &tkr_cli_options[i];
        if ((option->commands & (1u << args->command)) == 0) {
            if (option->commands != 0 && strcmp(option->flag, name) == 0) {
                const char *owner = "another command";
                for (size_t c = 0; c < TKR_N_COMMANDS; c++) {
                    if ((option->commands & (1u << c)) != 0) {
                        owner = tkr_cli_commands[c].name;
                        break;
                    }
                }
                return TKR_FAIL(error, INVALID_ARGUMENT, "--%s is not an option of `%s` but of `%s`", name, command,
                                owner);
            }
            continue;
        }
        size_t distance = tkr_distance(name, option->flag, tkr_tolerance(name));
        if (distance < best) {
            best = distance;
            near = option->flag;
        }
    }
    if (near != NULL) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "unknown option --%s, did you mean --%s?", name, near);
    }
    return TKR_FAIL(
        error, INVALID_ARGUMENT,
        "unknown option --%s (`tkr-embed %s --help` lists them; \"--\" goes before a text that begins with \"-\")",
        name, command);
}

/* The option of this command with that flag, or that letter when n is 1 and `is_letter`; TKR_N_OPTIONS for none. */
static size_t find_option(const tkr_cli_args *args, const char *flag, size_t n, bool is_letter) {
    for (size_t i = 0; i < TKR_N_OPTIONS; i++) {
        const tkr_cli_option *option = &tkr_cli_options[i];
        if ((option->commands & (1u << args->command)) == 0) {
            continue;
        }
        if (is_letter ? option->letter == *flag : strlen(option->flag) == n && memcmp(option->flag, flag, n) == 0) {
            return i;
        }
    }
    return TKR_N_OPTIONS;
}

/* Operands never get ahead of what has been read of argv, so they can lie in it. */
static tkr_status add_operand(tkr_cli_args *args, char *word, tkr_cli_operand kind, int argc, tkr_error *error) {
    if (kind != TKR_CLI_TEXT && args->kinds == NULL) {
        args->kinds = tkr_calloc((size_t)argc, sizeof *args->kinds);
        if (args->kinds == NULL) {
            return TKR_FAIL(error, NO_MEMORY, "out of memory");
        }
    }
    if (kind != TKR_CLI_TEXT) {
        args->kinds[args->n_operands] = (unsigned char)kind;
    }
    args->operands[args->n_operands++] = word;
    return TKR_OK;
}

/* Parses argv[*at], an option, and moves *at to its last word. *list: what the words that follow are; TEXT: no
 * business of the option's. */
static tkr_status parse_option(tkr_cli_args *args, int argc, char **argv, int *at, tkr_cli_operand *list,
                               tkr_error *error) {
    const char *word = argv[*at];
    bool is_letter = word[1] != '-';
    const char *flag = word + (is_letter ? 1 : 2);
    const char *equals = is_letter ? NULL : strchr(flag, '=');
    size_t n = is_letter ? 1 : equals != NULL ? (size_t)(equals - flag) : strlen(flag);
    size_t id = find_option(args, flag, n, is_letter);
    if (id == TKR_N_OPTIONS) {
        if (is_letter) {
            return TKR_FAIL(
                error, INVALID_ARGUMENT,
                "unknown option %s (`tkr-embed %s --help` lists them; \"--\" goes before a text that begins with "
                "\"-\")",
                word, tkr_cli_commands[args->command].name);
        }
        return unknown_flag(args, flag, n, error);
    }
    const tkr_cli_option *option = &tkr_cli_options[id];
    char source[80] = "--";
    strncat(source, option->flag, sizeof source - 3);
    const char *value = equals != NULL ? equals + 1 : is_letter && flag[1] != '\0' ? flag + 1 : NULL;
    *list = option->type != TKR_VALUE_WORDS ? TKR_CLI_TEXT
            : id == TKR_OPT_DOCUMENT        ? TKR_CLI_DOCUMENT
            : id == TKR_OPT_VIDEO           ? TKR_CLI_VIDEO
                                            : TKR_CLI_PICTURE;
    if (option->type == TKR_VALUE_FLAG) {
        if (value != NULL) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "%s takes no value, found \"%s\"", source, value);
        }
        value = "1";
    } else if (value == NULL) {
        if (*at + 1 >= argc) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "%s needs a value: %s %s", source, source, option->argument);
        }
        value = argv[++*at];
    }
    tkr_status status = set_value(&args->value[id], option, value, source, error);
    return status == TKR_OK && *list != TKR_CLI_TEXT ? add_operand(args, (char *)(uintptr_t)value, *list, argc, error)
                                                     : status;
}

/* Cuts "a,b" into args->hosts. */
static tkr_status split_hosts(tkr_cli_args *args, tkr_error *error) {
    const char *text = args->value[TKR_OPT_ALLOW_URL].text;
    const size_t most = sizeof args->hosts / sizeof *args->hosts;
    if (text == NULL) {
        return TKR_OK;
    }
    if (strlen(text) >= sizeof args->host_text) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "--allow-url has %zu characters; at most %zu are read", strlen(text),
                        sizeof args->host_text - 1);
    }
    memcpy(args->host_text, text, strlen(text) + 1);
    for (char *at = args->host_text; *at != '\0';) {
        size_t n = strcspn(at, ",");
        if (args->n_hosts == most) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "--allow-url names more than %zu hosts", most);
        }
        if (n == 0 || strcspn(at, "/ @") < n) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "--allow-url is \"%s\", expected host names such as example.org",
                            text);
        }
        args->hosts[args->n_hosts++] = at;
        at += n;
        if (*at == ',') {
            *at++ = '\0';
        }
    }
    return TKR_OK;
}

void tkr_cli_args_free(tkr_cli_args *args) {
    tkr_free(args->kinds);
    args->kinds = NULL;
}

tkr_status tkr_cli_parse(tkr_cli_args *args, tkr_cli_command_id command, int argc, char **argv, tkr_error *error) {
    memset(args, 0, sizeof *args);
    args->command = command;
    args->operands = argv;
    tkr_status status = set_defaults(args, error);
    tkr_cli_operand list = TKR_CLI_TEXT;
    bool options_end = false;
    for (int i = 0; i < argc && status == TKR_OK; i++) {
        if (options_end || argv[i][0] != '-' || argv[i][1] == '\0') {
            status = add_operand(args, argv[i], list, argc, error);
        } else if (strcmp(argv[i], "--") == 0) {
            options_end = true;
            list = TKR_CLI_TEXT;
        } else {
            status = parse_option(args, argc, argv, &i, &list, error);
        }
    }
    if (status == TKR_OK) {
        status = split_hosts(args, error);
    }
    const tkr_cli_command *row = &tkr_cli_commands[command];
    if (status == TKR_OK && args->n_operands > row->max_operands && !tkr_cli_on(args, TKR_OPT_HELP)) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "unexpected argument \"%s\": `%s` takes %s",
                        args->operands[row->max_operands], row->name,
                        row->max_operands == 0                  ? "options only"
                        : strcmp(row->operands, "[MODEL]") == 0 ? "one model"
                                                                : row->operands);
    }
    return status;
}
