/* SPDX-License-Identifier: Apache-2.0 */
/* cli/common: from options to the library's structs, and what is said on standard error. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/log.h"
#include "core/term.h"

/* One line; tkr_error_set takes control characters out of what may come from files or the network. */
static void say(const char *text) {
    tkr_error line = {0};
    tkr_error_set(&line, TKR_HERE, TKR_INVALID_ARGUMENT, "%s", text);
    fprintf(stderr, "tkr-embed: %s\n", line.message);
}

int tkr_cli_fail(int status, const char *format, ...) {
    char text[TKR_ERROR_MESSAGE_SIZE];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    say(text);
    return status;
}

void tkr_cli_note(const tkr_cli_args *args, const char *format, ...) {
    char text[TKR_ERROR_MESSAGE_SIZE];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (!tkr_cli_on(args, TKR_OPT_QUIET)) {
        say(text);
    }
}

static tkr_status ask_signals(void *user) {
    (void)user;
    return tkr_signals_pending() != 0 ? TKR_CANCELLED : TKR_OK;
}

const tkr_stop tkr_cli_interrupt = {.ask = ask_signals};

int tkr_cli_report(const tkr_error *error) {
    int signal_number = tkr_signals_pending();
    if (error->status == TKR_CANCELLED && signal_number != 0) {
        return TKR_EXIT_SIGNAL + signal_number;
    }
    if (error->status == TKR_IO && strstr(error->message, strerror(EPIPE)) != NULL) {
        return TKR_EXIT_RUNTIME; /* the reader, such as `head`, has enough: nothing to complain about */
    }
    return tkr_cli_fail(TKR_EXIT_RUNTIME, "%s", error->message);
}

const char *tkr_cli_model(const tkr_cli_args *args, bool operand_allowed) {
    const tkr_cli_value *value = tkr_cli_get(args, TKR_OPT_MODEL);
    const char *name = tkr_cli_commands[args->command].name;
    if (operand_allowed && args->n_operands > 0) {
        return args->operands[0];
    }
    if (value->text == NULL || value->text[0] == '\0') {
        tkr_cli_fail(TKR_EXIT_USAGE,
                     "%s: which model? Give -m MODEL, such as -m minilm for texts or -m demo for a try with pictures, "
                     "or set TKR_MODEL "
                     "(`tkr-embed models` lists more)",
                     name);
        return NULL;
    }
    return value->text;
}

static void print_log(void *user, int level, const char *line) {
    static const char *const names[] = {"error", "warning", "info", "debug"};
    const tkr_cli_args *args = user;
    uint64_t limit = tkr_cli_on(args, TKR_OPT_QUIET) ? TKR_LOG_ERROR : tkr_cli_get(args, TKR_OPT_LOG_LEVEL)->number;
    if (level >= TKR_LOG_ERROR && level <= TKR_LOG_DEBUG && (uint64_t)level <= limit) {
        fprintf(stderr, "tkr-embed: %s: %s\n", names[level], line);
    }
}

void tkr_cli_model_options(tkr_model_options *options, const tkr_cli_args *args) {
    tkr_model_options_init(options);
    options->precision = (tkr_precision)tkr_cli_get(args, TKR_OPT_PRECISION)->number;
    options->quantization = (tkr_quantization)tkr_cli_get(args, TKR_OPT_QUANTIZATION)->number;
    options->threads = (unsigned)tkr_cli_get(args, TKR_OPT_THREADS)->number;
    options->max_memory = tkr_cli_get(args, TKR_OPT_MAX_MEMORY)->number;
    options->batch_tokens = (size_t)tkr_cli_get(args, TKR_OPT_BATCH_TOKENS)->number;
    options->pooling = tkr_cli_get(args, TKR_OPT_POOLING)->text;
    options->max_tokens = (size_t)tkr_cli_get(args, TKR_OPT_MAX_TOKENS)->number;
    options->trust_remote_code = tkr_cli_on(args, TKR_OPT_TRUST_REMOTE_CODE);
    options->offline = tkr_cli_on(args, TKR_OPT_OFFLINE);
    options->cache_dir = tkr_cli_get(args, TKR_OPT_CACHE_DIR)->text;
    options->weight_cache_dir = tkr_cli_get(args, TKR_OPT_WEIGHT_CACHE)->text;
    options->weight_cache_bytes = tkr_cli_get(args, TKR_OPT_WEIGHT_CACHE_SIZE)->number;
    options->no_weight_cache = tkr_cli_on(args, TKR_OPT_NO_WEIGHT_CACHE);
    options->cpu = tkr_cli_get(args, TKR_OPT_CPU)->text;
    options->device = tkr_cli_get(args, TKR_OPT_DEVICE)->text;
    options->device_cache = tkr_cli_get(args, TKR_OPT_DEVICE_CACHE)->number;
    options->base = tkr_cli_get(args, TKR_OPT_BASE)->text;
    options->no_jail = tkr_cli_on(args, TKR_OPT_NO_JAIL);
    options->horizontal_first = tkr_cli_get(args, TKR_OPT_RESIZE_ORDER)->number == 1;
    options->max_pixels = (size_t)tkr_cli_get(args, TKR_OPT_MAX_PIXELS)->number;
    options->max_image_pixels = (size_t)tkr_cli_get(args, TKR_OPT_MAX_IMAGE_PIXELS)->number;
    options->max_image_bytes = (size_t)tkr_cli_get(args, TKR_OPT_MAX_IMAGE_BYTES)->number;
    options->max_video_bytes = (size_t)tkr_cli_get(args, TKR_OPT_MAX_VIDEO_BYTES)->number;
    options->allow_hosts = args->hosts;
    options->n_allow_hosts = args->n_hosts;
    options->log = print_log;
    options->log_user = (void *)(uintptr_t)args; /* only read */
}

void tkr_cli_embed_options(tkr_embed_options *options, const tkr_cli_args *args) {
    tkr_embed_options_init(options);
    options->prompt_name = tkr_cli_get(args, TKR_OPT_PROMPT_NAME)->text;
    options->prompt = tkr_cli_get(args, TKR_OPT_PROMPT)->text;
    options->instruction = tkr_cli_get(args, TKR_OPT_INSTRUCT)->text;
    options->dimensions = (size_t)tkr_cli_get(args, TKR_OPT_DIMENSIONS)->number;
    options->normalize = tkr_cli_on(args, TKR_OPT_NO_NORMALIZE) ? TKR_NO : TKR_DEFAULT;
    options->truncate = (tkr_truncate)tkr_cli_get(args, TKR_OPT_TRUNCATE)->number;
    options->max_tokens = (size_t)tkr_cli_get(args, TKR_OPT_MAX_TOKENS)->number;
    options->strict_utf8 = tkr_cli_on(args, TKR_OPT_STRICT);
}

tkr_status tkr_cli_check_embed_options(const tkr_embed_options *options, const tkr_model_info *info, tkr_error *error) {
    if (options->dimensions > info->dimensions) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "--dimensions is %zu, but vectors of %s have %zu: expected 1 to %zu",
                        options->dimensions, info->reference, info->dimensions, info->dimensions);
    }
    if (options->prompt_name == NULL || options->prompt != NULL || options->instruction != NULL) {
        return TKR_OK;
    }
    tkr_buf names = {0};
    for (size_t i = 0; i < info->n_prompts; i++) {
        if (strcmp(info->prompts[i].name, options->prompt_name) == 0) {
            tkr_buf_free(&names);
            return TKR_OK;
        }
        tkr_buf_printf(&names, "%s\"%s\"", i > 0 ? ", " : "", info->prompts[i].name);
    }
    tkr_status status =
        info->n_prompts == 0
            ? TKR_FAIL(error, INVALID_ARGUMENT, "no prompt \"%s\": %s has no prompts; --prompt gives the text itself",
                       options->prompt_name, info->reference)
            : TKR_FAIL(error, INVALID_ARGUMENT, "no prompt \"%s\": %s has %s", options->prompt_name, info->reference,
                       names.failed ? "others" : names.data);
    tkr_buf_free(&names);
    return status;
}

int tkr_cli_print(tkr_buf *text) {
    tkr_error error = {0};
    tkr_out *out = NULL;
    tkr_status status = text->failed ? TKR_FAIL(&error, NO_MEMORY, "out of memory") : tkr_out_open(&out, "-", &error);
    if (status == TKR_OK && text->size > 0) {
        status = tkr_out_write(out, text->data, text->size, &error);
    }
    if (status == TKR_OK) {
        status = tkr_out_close(&out, &error);
    } else if (out != NULL) {
        (void)tkr_out_close(&out, NULL);
    }
    tkr_buf_free(text);
    return status == TKR_OK ? TKR_EXIT_OK : tkr_cli_report(&error);
}

bool tkr_cli_one_prompt(const tkr_cli_args *args) {
    return tkr_cli_exclusive(args, TKR_OPT_PROMPT, TKR_OPT_PROMPT_NAME) &&
           tkr_cli_exclusive(args, TKR_OPT_INSTRUCT, TKR_OPT_PROMPT_NAME) &&
           tkr_cli_exclusive(args, TKR_OPT_INSTRUCT, TKR_OPT_PROMPT) &&
           tkr_cli_exclusive(args, TKR_OPT_INSTRUCT, TKR_OPT_QUERY_PROMPT_NAME);
}

bool tkr_cli_exclusive(const tkr_cli_args *args, tkr_cli_option_id a, tkr_cli_option_id b) {
    if (!args->value[a].set || !args->value[b].set) {
        return true;
    }
    tkr_cli_fail(TKR_EXIT_USAGE, "%s: --%s and --%s exclude each other", tkr_cli_commands[args->command].name,
                 tkr_cli_options[a].flag, tkr_cli_options[b].flag);
    return false;
}
