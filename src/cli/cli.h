/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cli: what the files of the command line share: options, exit statuses, helpers. Knows tkr/embed.h, core,
 * engine/tools.h, and of the server how it is configured and started. */
#ifndef TKR_CLI_CLI_H
#define TKR_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/stop.h"
#include "core/value.h"
#include "server/settings.h"
#include "tkr/embed.h"

enum { TKR_EXIT_OK = 0, TKR_EXIT_RUNTIME = 1, TKR_EXIT_USAGE = 2, TKR_EXIT_SIGNAL = 128 };

/* ---- tables ---- */
typedef enum tkr_cli_option_id {
#define TKR_OPTION(id, flag, letter, argument, type, min, max, fallback, env, commands, help) TKR_OPT_##id,
#include "cli/options.def"
#undef TKR_OPTION
    TKR_N_OPTIONS,
    TKR_OPT_FIRST_SETTING = TKR_OPT_SERVE_MODEL /* from here on the rows of server/settings.def, in their order */
} tkr_cli_option_id;

typedef enum tkr_cli_command_id {
#define TKR_COMMAND(id, name, letter, operands, operand_text, summary, description, examples) TKR_CMD_##id,
#include "cli/commands.def"
#undef TKR_COMMAND
    TKR_N_COMMANDS
} tkr_cli_command_id;

/* The columns are explained in options.def. */
typedef struct tkr_cli_option {
    const char *flag; /* without dashes */
    char letter;      /* 0: none */
    const char *argument;
    tkr_value_type type;
    double min, max;
    const char *fallback;
    const char *env;
    unsigned commands; /* 1u << tkr_cli_command_id */
    const char *help;
} tkr_cli_option;

typedef struct tkr_cli_value {
    bool set;         /* by flag or environment; false: the fallback, if any */
    const char *text; /* as given; NULL when there is nothing. Borrowed from argv, environment or table */
    uint64_t number;  /* COUNT, BYTES; index of the CHOICE; 1 for a FLAG that is on */
    double real;      /* REAL */
} tkr_cli_value;

typedef enum tkr_cli_operand {
    TKR_CLI_TEXT = 0,
    TKR_CLI_PICTURE = 1, /* came behind --image */
    TKR_CLI_VIDEO = 2,   /* behind --video */
    TKR_CLI_DOCUMENT = 3 /* behind --document */
} tkr_cli_operand;

typedef struct tkr_cli_args {
    tkr_cli_command_id command;
    tkr_cli_value value[TKR_N_OPTIONS];
    char **operands; /* [n_operands], borrowed from argv, which parsing reorders */
    size_t n_operands;
    unsigned char *kinds;  /* [n_operands] tkr_cli_operand; NULL: all are texts */
    const char *hosts[16]; /* [n_hosts] of --allow-url, in host_text */
    size_t n_hosts;
    char host_text[512];
} tkr_cli_args;

typedef struct tkr_cli_command {
    const char *name;
    int (*run)(const tkr_cli_args *args); /* returns the exit status */
    size_t max_operands;
    const char *operands;
    const char *summary;
    const char *description;
    const char *examples; /* pairs of strings, each ended by NUL, an empty one at the end */
} tkr_cli_command;

extern const tkr_cli_option tkr_cli_options[TKR_N_OPTIONS];
extern const tkr_cli_command tkr_cli_commands[TKR_N_COMMANDS];

int tkr_cmd_embed(const tkr_cli_args *args);
int tkr_cmd_similarity(const tkr_cli_args *args);
int tkr_cmd_search(const tkr_cli_args *args);
int tkr_cmd_tokenize(const tkr_cli_args *args);
int tkr_cmd_info(const tkr_cli_args *args);
int tkr_cmd_models(const tkr_cli_args *args);
int tkr_cmd_pull(const tkr_cli_args *args);
int tkr_cmd_quantize(const tkr_cli_args *args);
int tkr_cmd_doctor(const tkr_cli_args *args);
int tkr_cmd_bench(const tkr_cli_args *args);
int tkr_cmd_serve(const tkr_cli_args *args);
int tkr_cmd_config(const tkr_cli_args *args);
int tkr_cmd_key(const tkr_cli_args *args);
int tkr_cmd_health(const tkr_cli_args *args);

/* ---- options.c ---- */
/* Parses what follows the command word. TKR_INVALID_ARGUMENT with a message that names the flag and what would be
 * right. */
tkr_status tkr_cli_parse(tkr_cli_args *args, tkr_cli_command_id command, int argc, char **argv, tkr_error *error);
/* Frees what parsing allocated. */
void tkr_cli_args_free(tkr_cli_args *args);
/* The command of that name; TKR_N_COMMANDS when there is none, and then *near is the closest name or NULL. */
tkr_cli_command_id tkr_cli_find_command(const char *name, const char **near);

/* ---- help.c, generate.c ---- All append to a buffer (look at out->failed). */
void tkr_cli_help_short(tkr_buf *out);
void tkr_cli_help_full(tkr_buf *out);
void tkr_cli_help_command(tkr_buf *out, tkr_cli_command_id command);
/* Appends text wrapped at spaces to `width` columns, each line indented by `indent`; the first by nothing. */
void tkr_cli_wrap(tkr_buf *out, const char *text, size_t indent, size_t width);
/* kind "man", "bash", "zsh" or "settings" (Markdown); false for another word. */
bool tkr_cli_generate(tkr_buf *out, const char *kind);

/* ---- common.c ---- */
/* The message as one line on standard error; returns `status`. */
int tkr_cli_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Ends a wait when a signal has come. */
extern const tkr_stop tkr_cli_interrupt;
/* A note on standard error unless --quiet. */
void tkr_cli_note(const tkr_cli_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Reports `error` and returns the exit status that belongs to it (130 or 143 when a signal came). */
int tkr_cli_report(const tkr_error *error);
/* The usage error of a command that needs a model: -m, its operand or TKR_MODEL. NULL after reporting. */
const char *tkr_cli_model(const tkr_cli_args *args, bool operand_allowed);
void tkr_cli_model_options(tkr_model_options *options, const tkr_cli_args *args);
void tkr_cli_embed_options(tkr_embed_options *options, const tkr_cli_args *args);
/* Names the prompts or sizes that are possible when prompt_name or dimensions are not. */
tkr_status tkr_cli_check_embed_options(const tkr_embed_options *options, const tkr_model_info *info, tkr_error *error);
/* Writes the buffer to standard output, frees it, reports a failure. Returns the exit status. */
int tkr_cli_print(tkr_buf *text);
/* Of --prompt, --prompt-name and --instruct at most one: false after a usage error. */
bool tkr_cli_one_prompt(const tkr_cli_args *args);
/* Both given: false after a usage error. */
bool tkr_cli_exclusive(const tkr_cli_args *args, tkr_cli_option_id a, tkr_cli_option_id b);

static inline const tkr_cli_value *tkr_cli_get(const tkr_cli_args *args, tkr_cli_option_id id) {
    return &args->value[id];
}
static inline bool tkr_cli_on(const tkr_cli_args *args, tkr_cli_option_id id) { return args->value[id].number != 0; }

/* ---- settings.c ---- */
/* The server's settings by this command's flags. Returns the exit status, after reporting. */
int tkr_cli_settings(tkr_settings **settings, const tkr_cli_args *args);
/* The first operand among `verbs` (NULL-terminated); false after a usage error. */
bool tkr_cli_verb(const tkr_cli_args *args, const char *const *verbs, size_t *index);

/* ---- table.c ---- */
/* Appends `text` on one line in exactly `columns` terminal columns (cut with "…", filled with blanks unless `pad` is
 * false). Control characters become blanks, invalid UTF-8 U+FFFD. */
void tkr_cli_cell(tkr_buf *out, const char *text, size_t size, size_t columns, bool pad);
/* "1,234,567" */
void tkr_cli_number(char out[32], uint64_t value);
/* "512 B", "12.3 MB", "4.6 GB" (powers of 1000 as downloads are counted, or with `binary` MiB of 1024). */
void tkr_cli_bytes(char out[32], uint64_t bytes, bool binary);
/* "0:07", "12:34", "3:02:01" */
void tkr_cli_duration(char out[32], double seconds);
/* JSON helpers: ,"name": in front of a value; first field when the buffer ends in '{'. */
void tkr_cli_json_key(tkr_buf *out, const char *name);
void tkr_cli_json_text(tkr_buf *out, const char *name, const char *value); /* null for NULL */
void tkr_cli_json_number(tkr_buf *out, const char *name, double value);    /* 17 digits at most; null when not finite */
void tkr_cli_json_count(tkr_buf *out, const char *name, uint64_t value);
void tkr_cli_json_bool(tkr_buf *out, const char *name, bool value);

#endif
