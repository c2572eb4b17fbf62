/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_tokenize: ids, byte offsets or readable pieces of texts; or the text of ids. */
#include <stdio.h>
#include <string.h>

#include "cli/stream.h"
#include "core/json.h"
#include "core/term.h"
#include "engine/tools.h"

enum { BLOCK_ITEMS = 1024, BLOCK_BYTES = 1024 * 1024, PIECE_COLUMNS = 24 };
enum { FORMAT_IDS, FORMAT_OFFSETS, FORMAT_TABLE }; /* as in options.def */

typedef struct tokenize_run {
    const tkr_cli_args *args;
    tkr_cli_source source;
    tkr_cli_block block;
    tkr_tokenizer *tokenizer;
    tkr_embed_options options;
    tkr_out *out;
    tkr_buf text; /* of one input's output */
    tkr_buf ids;  /* int32_t, to be decoded */
    uint64_t n_written, n_skipped, n_cut;
    bool skip, decode;
} tokenize_run;

static void write_ids(tkr_buf *out, const tkr_tokens *tokens) {
    tkr_buf_putc(out, '[');
    for (size_t i = 0; i < tokens->n; i++) {
        tkr_buf_printf(out, i > 0 ? ",%d" : "%d", (int)tokens->ids[i]);
    }
    tkr_buf_putc(out, ']');
}

static void write_offsets(tkr_buf *out, const tkr_tokens *tokens) {
    tkr_buf_append(out, "{\"ids\":", 7);
    write_ids(out, tokens);
    tkr_buf_append(out, ",\"offsets\":[", 12);
    for (size_t i = 0; i < tokens->n; i++) {
        tkr_buf_printf(out, i > 0 ? ",[%llu,%llu]" : "[%llu,%llu]", (unsigned long long)tokens->offsets[2 * i],
                       (unsigned long long)tokens->offsets[2 * i + 1]);
    }
    tkr_buf_append(out, "]}", 2);
}

static tkr_status write_table(tokenize_run *run, const tkr_cli_item *item, const tkr_tokens *tokens, tkr_error *error) {
    tkr_buf *out = &run->text;
    tkr_buf text = {0};
    tkr_status status = tkr_tools_text(&text, run->tokenizer, &item->input, &run->options, error);
    if (status != TKR_OK) {
        tkr_buf_free(&text);
        return status;
    }
    tkr_buf_printf(out, "%s%zu tokens", run->n_written > 0 ? "\n" : "", tokens->n);
    if (tokens->n_untruncated > tokens->n) {
        tkr_buf_printf(out, " of %zu", tokens->n_untruncated);
    }
    tkr_buf_append(out, ": ", 2);
    tkr_cli_cell(out, item->input.text, item->input.n_text, 60, false);
    tkr_buf_printf(out, "\n%8s  %-*s  %11s  text\n", "id", PIECE_COLUMNS, "piece", "bytes");
    for (size_t i = 0; i < tokens->n && !out->failed; i++) {
        const char *piece = tkr_tokenizer_piece(run->tokenizer, tokens->ids[i]);
        uint64_t from = tokens->offsets[2 * i], to = tokens->offsets[2 * i + 1];
        char bytes[48] = "";
        piece = piece != NULL ? piece : "?";
        if (to > from) {
            snprintf(bytes, sizeof bytes, "%llu..%llu", (unsigned long long)from, (unsigned long long)to);
        }
        tkr_buf_printf(out, "%8d  ", (int)tokens->ids[i]);
        tkr_cli_cell(out, piece, strlen(piece), PIECE_COLUMNS, to > from);
        if (to > from) {
            tkr_buf_printf(out, "  %11s  ", bytes);
            if (to <= text.size) {
                tkr_cli_cell(out, text.data + from, (size_t)(to - from), PIECE_COLUMNS, false);
            }
        }
        while (out->size > 0 && out->data[out->size - 1] == ' ') {
            out->size--;
        }
        tkr_buf_putc(out, '\n');
    }
    tkr_buf_free(&text);
    return TKR_OK;
}

static tkr_status write_text(tokenize_run *run, tkr_error *error) {
    if (run->text.failed) {
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    run->n_written++;
    return tkr_out_write(run->out, run->text.data, run->text.size, error);
}

static tkr_status write_item(tokenize_run *run, const tkr_cli_item *item, const tkr_tokens *tokens, tkr_error *error) {
    tkr_status status = TKR_OK;
    run->text.size = 0;
    switch (tkr_cli_get(run->args, TKR_OPT_TOKENS_FORMAT)->number) {
    case FORMAT_IDS:
        write_ids(&run->text, tokens);
        tkr_buf_putc(&run->text, '\n');
        break;
    case FORMAT_OFFSETS:
        write_offsets(&run->text, tokens);
        tkr_buf_putc(&run->text, '\n');
        break;
    default: status = write_table(run, item, tokens, error); break;
    }
    if (status != TKR_OK) {
        return status;
    }
    run->n_cut += tokens->n_untruncated > tokens->n;
    return write_text(run, error);
}

/* ---- the other way ---- */

/* Fills run->ids with those of a JSON array. */
static tkr_status read_ids(tokenize_run *run, const tkr_cli_item *item, tkr_error *error) {
    json_t *list = NULL;
    tkr_status status = tkr_json_parse(&list, item->input.text, item->input.n_text, "ids", error);
    run->ids.size = 0;
    if (status == TKR_OK && !json_is_array(list)) {
        status = TKR_FAIL(error, INVALID_ARGUMENT, "%s, expected an array of ids", tkr_json_type_name(list));
    }
    for (size_t i = 0; status == TKR_OK && i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        const json_int_t number = json_integer_value(value);
        const int32_t id = (int32_t)number;
        if (!json_is_integer(value)) {
            status = TKR_FAIL(error, INVALID_ARGUMENT, "id %zu is %s, expected a whole number", i,
                              tkr_json_type_name(value));
        } else if (number != id) {
            status = TKR_FAIL(error, INVALID_ARGUMENT, "id %zu is %" JSON_INTEGER_FORMAT ", which no vocabulary has", i,
                              number);
        } else if (!tkr_buf_append(&run->ids, &id, sizeof id)) {
            status = TKR_FAIL(error, NO_MEMORY, "out of memory");
        }
    }
    json_decref(list);
    return status;
}

static tkr_status decode_item(tokenize_run *run, const tkr_cli_item *item, tkr_error *error) {
    char *text = NULL;
    size_t n = 0;
    tkr_status status = read_ids(run, item, error);
    if (status == TKR_OK) {
        status = tkr_decode(&text, &n, run->tokenizer, (const int32_t *)(const void *)run->ids.data,
                            run->ids.size / sizeof(int32_t), tkr_cli_on(run->args, TKR_OPT_NO_SPECIAL), error);
    }
    if (status == TKR_OK) {
        run->text.size = 0;
        const bool ok = tkr_cli_on(run->args, TKR_OPT_JSON) ? tkr_json_write_string(&run->text, text, n)
                                                            : tkr_buf_append(&run->text, text, n);
        if (!ok || !tkr_buf_putc(&run->text, '\n')) {
            status = TKR_FAIL(error, NO_MEMORY, "out of memory");
        }
    }
    tkr_text_free(&text);
    return status;
}

/* Numbers as arguments make one list: *own becomes *args with that. */
static tkr_status join_numbers(tkr_cli_args *own, tkr_buf *list, const tkr_cli_args *args, tkr_error *error) {
    *own = *args;
    if (args->n_operands == 0 || args->operands[0][0] == '[') {
        return TKR_OK;
    }
    for (size_t i = 0; i < args->n_operands; i++) {
        tkr_buf_printf(list, i > 0 ? ",%s" : "[%s", args->operands[i]);
    }
    own->operands = &list->data;
    own->n_operands = 1;
    return tkr_buf_putc(list, ']') ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "out of memory");
}

/* ---- all of it ---- */

static tkr_status tokenize_block(tokenize_run *run, bool *reported, tkr_error *error) {
    for (size_t i = 0; i < run->block.n; i++) {
        const tkr_cli_item *item = &run->block.items[i];
        tkr_tokens tokens = {0};
        tkr_error why = {.status = item->status};
        tkr_status status = item->status;
        const char *message = item->message;
        if (status == TKR_OK) {
            status = run->decode ? decode_item(run, item, &why)
                                 : tkr_tokenize(&tokens, run->tokenizer, &item->input, &run->options, &why);
            message = why.message;
        }
        if (status == TKR_NO_MEMORY) {
            return TKR_FAIL(error, NO_MEMORY, "%s", message);
        }
        if (status != TKR_OK) {
            tkr_cli_item_report(&run->source, item, message);
            run->n_skipped++;
            *reported = !run->skip;
            status = run->skip ? TKR_OK : status;
        } else {
            status = run->decode ? write_text(run, error) : write_item(run, item, &tokens, error);
        }
        tkr_tokens_free(&tokens);
        if (status != TKR_OK) {
            return status;
        }
    }
    return TKR_OK;
}

static tkr_status tokenize_all(tokenize_run *run, bool *reported, tkr_error *error) {
    for (;;) {
        tkr_status status = tkr_signals_pending() != 0
                                ? TKR_FAIL(error, CANCELLED, "interrupted")
                                : tkr_cli_source_read(&run->block, &run->source, BLOCK_ITEMS, BLOCK_BYTES, error);
        if (status != TKR_OK || run->block.n == 0) {
            return status;
        }
        status = tokenize_block(run, reported, error);
        tkr_status flushed = tkr_out_flush(run->out, status == TKR_OK ? error : NULL);
        status = status != TKR_OK ? status : flushed;
        if (status != TKR_OK) {
            return status;
        }
    }
}

static bool check_usage(const tkr_cli_args *args) {
    if (tkr_cli_on(args, TKR_OPT_JSON) && !tkr_cli_on(args, TKR_OPT_DECODE)) {
        tkr_cli_fail(TKR_EXIT_USAGE, "tokenize: --json needs --decode; ids are JSON without it");
        return false;
    }
    return tkr_cli_one_prompt(args) && tkr_cli_exclusive(args, TKR_OPT_DECODE, TKR_OPT_JSONL) &&
           tkr_cli_exclusive(args, TKR_OPT_DECODE, TKR_OPT_TOKENS_FORMAT);
}

static void summary(const tokenize_run *run) {
    char cut[32], written[32], skipped[32];
    tkr_cli_number(cut, run->n_cut);
    tkr_cli_number(written, run->n_written);
    tkr_cli_number(skipped, run->n_skipped);
    if (run->n_cut > 0) {
        tkr_cli_note(run->args, "%s of %s texts %s too long and cut (--truncate error refuses them)", cut, written,
                     run->n_cut == 1 ? "was" : "were");
    }
    if (run->skip && run->n_skipped > 0) {
        tkr_cli_note(run->args, "%s written, %s skipped", written, skipped);
    }
}

int tkr_cmd_tokenize(const tkr_cli_args *args) {
    tokenize_run run = {.args = args,
                        .skip = tkr_cli_get(args, TKR_OPT_ON_ERROR)->number == 1,
                        .decode = tkr_cli_on(args, TKR_OPT_DECODE)};
    tkr_cli_args own;
    tkr_buf numbers = {0};
    tkr_model_options options;
    tkr_error error = {0};
    bool reported = false;
    const char *reference = tkr_cli_model(args, false);
    if (reference == NULL || !check_usage(args)) {
        return TKR_EXIT_USAGE;
    }
    tkr_cli_model_options(&options, args);
    tkr_cli_embed_options(&run.options, args);
    run.options.special_tokens = tkr_cli_on(args, TKR_OPT_NO_SPECIAL) ? TKR_NO : TKR_DEFAULT;
    tkr_status status = run.decode ? join_numbers(&own, &numbers, args, &error) : TKR_OK;
    if (status == TKR_OK) {
        status = tkr_cli_source_open(&run.source, run.decode ? &own : args, &error);
    }
    if (status == TKR_INVALID_ARGUMENT) {
        tkr_buf_free(&numbers);
        return tkr_cli_fail(TKR_EXIT_USAGE, "tokenize: %s", error.message);
    }
    if (status == TKR_OK) {
        status = tkr_tokenizer_load(&run.tokenizer, reference, &options, &error);
    }
    if (status == TKR_OK) {
        status = tkr_out_open(&run.out, tkr_cli_get(args, TKR_OPT_OUTPUT)->text, &error);
    }
    if (status == TKR_OK) {
        tkr_signals_note();
        status = tokenize_all(&run, &reported, &error);
        summary(&run);
    }
    tkr_status closed = tkr_out_close(&run.out, status == TKR_OK ? &error : NULL);
    status = status != TKR_OK ? status : closed;
    int code = TKR_EXIT_OK;
    if (status != TKR_OK) {
        error.status = status;
        code = reported ? TKR_EXIT_RUNTIME : tkr_cli_report(&error);
    } else if (run.n_skipped > 0 && run.n_written == 0) {
        code = TKR_EXIT_RUNTIME;
    }
    tkr_buf_free(&run.text);
    tkr_buf_free(&run.ids);
    tkr_buf_free(&numbers);
    tkr_cli_block_free(&run.block);
    tkr_cli_source_close(&run.source);
    tkr_tokenizer_free(&run.tokenizer);
    return code;
}
