/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_embed: texts, pictures, videos and documents in, vectors out, block by block. */
#include <string.h>

#include "cli/stream.h"
#include "core/term.h"

/* A block is the unit of loss at Ctrl-C and of waiting, so it adapts to about a second of work. */
enum { FIRST_ITEMS = 128, FIRST_PICTURES = 16, MIN_ITEMS = 4, MAX_ITEMS = 1024, BYTES_PER_ITEM = 1024 };
#define SHORT_SECONDS 0.7
#define LONG_SECONDS 3.0

typedef struct embed_run {
    const tkr_cli_args *args;
    tkr_cli_source source;
    tkr_cli_block block;
    tkr_cli_progress progress;
    tkr_cli_rows rows;
    const tkr_model_info *info;
    tkr_embed_options options;
    tkr_input *inputs; /* [MAX_ITEMS] those of the block that are not broken */
    uint64_t n_items;
} embed_run;

static tkr_status check(void *user, const tkr_progress *progress) {
    embed_run *run = user;
    double part = progress->n_tokens > 0 ? (double)progress->done_tokens / (double)progress->n_tokens : 0;
    tkr_cli_progress_draw(&run->progress, progress->done_inputs, progress->done_tokens, part);
    return tkr_signals_pending() != 0 ? TKR_CANCELLED : TKR_OK;
}

static tkr_status write_items(embed_run *run, size_t begin, size_t end, const tkr_result *result, tkr_error *error) {
    tkr_status status = TKR_OK;
    for (size_t i = begin, row = 0; i < end && status == TKR_OK; i++) {
        const tkr_cli_item *item = &run->block.items[i];
        tkr_result_item one = {.status = item->status, .message = item->message};
        if (item->status == TKR_OK) {
            one = tkr_result_get(result, row++);
        }
        status = tkr_cli_rows_put(&run->rows, item, &one, error);
    }
    return status;
}

/* Embeds items that are a row each in one call. */
static tkr_status embed_items(embed_run *run, size_t begin, size_t end, tkr_error *error) {
    tkr_result *result = NULL;
    size_t n = 0;
    tkr_status status = TKR_OK;
    for (size_t i = begin; i < end; i++) {
        if (run->block.items[i].status == TKR_OK) {
            run->inputs[n++] = run->block.items[i].input;
        } else if (!run->rows.skip) {
            break; /* what stands before the broken line is still done */
        }
    }
    if (n > 0) {
        status = tkr_embed(&result, run->rows.session, run->inputs, n, &run->options, error);
    }
    if (status == TKR_OK) {
        tkr_cli_progress_clear(&run->progress);
        status = write_items(run, begin, end, result, error);
        tkr_status sync = tkr_cli_writer_sync(run->rows.writer, status == TKR_OK ? error : NULL);
        status = status != TKR_OK ? status : sync;
    }
    tkr_result_free(&result);
    return status;
}

/* Whether the item is more than a row. */
static bool expands(const embed_run *run, const tkr_cli_item *item) {
    return item->status == TKR_OK && (item->kind == TKR_CLI_DOCUMENT || tkr_cli_has_segments(&run->rows, item));
}

/* Embeds and writes the block that was read. */
static tkr_status embed_block(embed_run *run, tkr_error *error) {
    tkr_status status = TKR_OK;
    for (size_t at = 0, end = 0; at < run->block.n && status == TKR_OK; at = end) {
        const tkr_cli_item *item = &run->block.items[at];
        end = at + 1;
        if (expands(run, item)) {
            status = item->kind == TKR_CLI_DOCUMENT ? tkr_cli_embed_document(&run->rows, item, error)
                                                    : tkr_cli_embed_segments(&run->rows, item, error);
            continue;
        }
        while (end < run->block.n && !expands(run, &run->block.items[end])) {
            end++;
        }
        status = embed_items(run, at, end, error);
    }
    return status;
}

/* Part of the input that has been read, negative while that can't be known. */
static double part_read(const tkr_cli_source *source) {
    if (source->lines == NULL) {
        return (double)source->next_operand / (double)source->n_operands;
    }
    uint64_t total = tkr_lines_bytes_total(source->lines);
    return total == 0 ? -1 : (double)tkr_lines_bytes_read(source->lines) / (double)total;
}

static tkr_status embed_all(embed_run *run, tkr_error *error) {
    size_t max_items = run->info->max_images > 0 ? FIRST_PICTURES : FIRST_ITEMS;
    double done = 0;
    for (;;) {
        tkr_status status = tkr_signals_pending() != 0 ? TKR_FAIL(error, CANCELLED, "interrupted")
                                                       : tkr_cli_source_read(&run->block, &run->source, max_items,
                                                                             max_items * BYTES_PER_ITEM, error);
        if (status != TKR_OK || run->block.n == 0) {
            return status;
        }
        double read = part_read(&run->source), started = tkr_now();
        run->progress.fraction = read < 0 ? -1 : done;
        run->progress.step = read - done;
        run->progress.n_texts = run->n_items;
        run->progress.n_tokens = run->rows.n_tokens;
        status = embed_block(run, error);
        if (status != TKR_OK) {
            return status;
        }
        run->n_items += run->block.n;
        done = read;
        double seconds = tkr_now() - started;
        if (seconds < SHORT_SECONDS && run->block.n == max_items && max_items < MAX_ITEMS) {
            max_items *= 2;
        } else if (seconds > LONG_SECONDS && max_items > MIN_ITEMS) {
            max_items /= 2;
        }
    }
}

static void summary(const embed_run *run) {
    char cut[32], skipped[32], written[32];
    const tkr_cli_rows *rows = &run->rows;
    tkr_cli_number(cut, rows->n_cut);
    tkr_cli_number(skipped, rows->n_skipped);
    tkr_cli_number(written, rows->n_written);
    if (rows->n_cut > 0) {
        size_t limit = run->info->max_tokens;
        limit = run->options.max_tokens != 0 && run->options.max_tokens < limit ? run->options.max_tokens : limit;
        tkr_cli_note(run->args, "%s of %s texts %s longer than %zu tokens and cut (--truncate error refuses them)", cut,
                     written, rows->n_cut == 1 ? "was" : "were", limit);
    }
    if (rows->n_skipped > 0 && rows->skip) {
        tkr_cli_note(run->args, "%s written, %s skipped", written, skipped);
    }
    tkr_cli_files_report(&run->source.files, run->args);
}

/* Loads the model and opens the output. Nothing of an existing output file is lost before all this went well. */
static tkr_status prepare(embed_run *run, const char *reference, tkr_error *error) {
    tkr_model_options options;
    tkr_cli_model_options(&options, run->args);
    tkr_cli_rows *rows = &run->rows;
    tkr_status status = tkr_model_load(&rows->model, reference, &options, error);
    if (status != TKR_OK) {
        return status;
    }
    run->info = tkr_model_get_info(rows->model);
    run->options.check = check;
    run->options.check_user = run;
    status = tkr_cli_check_embed_options(&run->options, run->info, error);
    if (status == TKR_OK) {
        status = tkr_cli_source_fit(&run->source, run->args, run->info, error);
    }
    if (status == TKR_OK) {
        status = tkr_session_create(&rows->session, rows->model, error);
    }
    if (status == TKR_OK) {
        run->inputs = tkr_calloc(MAX_ITEMS, sizeof *run->inputs);
        status = run->inputs != NULL ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    if (status == TKR_OK && run->info->multi_vector && !tkr_cli_on(run->args, TKR_OPT_MULTIVECTOR)) {
        status = TKR_FAIL(error, INVALID_ARGUMENT, "%s gives one vector a token: --multivector writes them all",
                          run->info->reference);
    }
    if (status == TKR_OK) {
        status =
            tkr_cli_writer_open(&rows->writer, tkr_cli_get(run->args, TKR_OPT_OUTPUT)->text,
                                (tkr_cli_format)tkr_cli_get(run->args, TKR_OPT_FORMAT)->number,
                                tkr_cli_on(run->args, TKR_OPT_MULTIVECTOR), run->info, run->options.dimensions, error);
    }
    return status;
}

static bool usage_ok(const tkr_cli_args *args) {
    const char *output = tkr_cli_get(args, TKR_OPT_OUTPUT)->text;
    const tkr_cli_value *input = tkr_cli_get(args, TKR_OPT_INPUT);
    uint64_t format = tkr_cli_get(args, TKR_OPT_FORMAT)->number;
    if (!tkr_cli_one_prompt(args)) {
        return false;
    }
    if (tkr_cli_on(args, TKR_OPT_MULTIVECTOR) && (format == TKR_CLI_NPY || format == TKR_CLI_F32)) {
        tkr_cli_fail(TKR_EXIT_USAGE, "embed: --multivector goes with --format json or jsonl: inputs differ in their "
                                     "number of vectors");
        return false;
    }
    if (strcmp(output, "-") == 0 && tkr_term_is(TKR_STREAM_OUT) && (format == TKR_CLI_NPY || format == TKR_CLI_F32)) {
        tkr_cli_fail(TKR_EXIT_USAGE, "embed: --format %s is no text for a terminal: give -o FILE",
                     format == TKR_CLI_NPY ? "npy" : "f32");
        return false;
    }
    if (input->set && strcmp(output, "-") != 0 && strcmp(input->text, output) == 0) {
        tkr_cli_fail(TKR_EXIT_USAGE, "embed: --input and --output are the same file, %s", output);
        return false;
    }
    return true;
}

int tkr_cmd_embed(const tkr_cli_args *args) {
    embed_run run = {.args = args};
    tkr_cli_rows *rows = &run.rows;
    tkr_error error = {0};
    const char *reference = tkr_cli_model(args, false);
    if (reference == NULL || !usage_ok(args)) {
        return TKR_EXIT_USAGE;
    }
    *rows = (tkr_cli_rows){.args = args, .options = &run.options, .source = &run.source, .progress = &run.progress};
    /* a folder's broken file is nobody's line: what can be embedded is */
    rows->skip = tkr_cli_get(args, TKR_OPT_ON_ERROR)->number == 1 ||
                 (tkr_cli_get(args, TKR_OPT_INPUT_DIR)->set && !tkr_cli_get(args, TKR_OPT_ON_ERROR)->set);
    tkr_cli_embed_options(&run.options, args);
    tkr_status status = tkr_cli_source_open(&run.source, args, &error);
    if (status == TKR_INVALID_ARGUMENT) {
        return tkr_cli_fail(TKR_EXIT_USAGE, "embed: %s", error.message);
    }
    if (status == TKR_OK) {
        status = prepare(&run, reference, &error);
    }
    if (status == TKR_OK) {
        bool to_terminal = strcmp(tkr_cli_get(args, TKR_OPT_OUTPUT)->text, "-") == 0 && tkr_term_is(TKR_STREAM_OUT);
        tkr_signals_note();
        tkr_cli_progress_start(&run.progress, args, to_terminal);
        run.progress.unit = run.info->max_images > 0 || args->kinds != NULL ? "inputs" : "texts";
        status = embed_all(&run, &error);
        tkr_cli_progress_clear(&run.progress);
    }
    tkr_status closed = tkr_cli_writer_close(&rows->writer, status == TKR_OK ? &error : NULL);
    status = status != TKR_OK ? status : closed;
    if (run.info != NULL) {
        summary(&run);
    }
    if (status == TKR_CANCELLED && tkr_signals_pending() != 0) {
        char written[32];
        tkr_cli_number(written, rows->n_written);
        tkr_cli_note(args, "interrupted: %s texts written", written);
    }
    int code = TKR_EXIT_OK;
    if (status != TKR_OK) {
        error.status = status;
        code = rows->reported ? TKR_EXIT_RUNTIME : tkr_cli_report(&error);
    } else if (rows->n_skipped > 0 && rows->n_written == 0) {
        code = TKR_EXIT_RUNTIME;
    }
    tkr_free(run.inputs);
    tkr_cli_block_free(&run.block);
    tkr_cli_source_close(&run.source);
    tkr_session_free(&rows->session);
    tkr_model_free(&rows->model);
    return code;
}
