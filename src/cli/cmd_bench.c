/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_bench: speed of a model on this machine, beside what the machine could do. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "engine/tools.h"

typedef struct grid_cell {
    size_t batch, tokens; /* 0, 0: mixed lengths */
} grid_cell;

static const grid_cell default_grid[] = {{1, 16}, {1, 128}, {32, 32}, {32, 128}, {8, 512}, {0, 0}};

typedef struct bench_run {
    const tkr_cli_args *args;
    tkr_out *out;
    tkr_buf text;
    tkr_session *session;
    const tkr_model_info *info;
    bool json;
    size_t n_rows;
} bench_run;

/* Rows appear as they are measured. */
static tkr_status emit(bench_run *run, tkr_error *error) {
    tkr_status status = run->text.failed ? TKR_FAIL(error, NO_MEMORY, "out of memory")
                                         : tkr_out_write(run->out, run->text.data, run->text.size, error);
    run->text.size = 0;
    return status == TKR_OK ? tkr_out_flush(run->out, error) : status;
}

/* 1.23e11 as "123 G". */
static void rate(char out[32], double value) {
    static const char *const units[] = {"", " k", " M", " G", " T"};
    size_t unit = 0;
    while (value >= 999.5 && unit < 4) {
        value /= 1000;
        unit++;
    }
    snprintf(out, 32, value >= 99.5 ? "%.0f%s" : value >= 9.95 ? "%.1f%s" : "%.2f%s", value, units[unit]);
}

static tkr_status print_roofline(bench_run *run, const tkr_roofline *roof, tkr_error *error) {
    const struct {
        const char *name, *key;
        double value;
    } rows[] = {{"f32", "f32_ops_per_s", roof->f32},
                {"bf16", "bf16_ops_per_s", roof->bf16},
                {"q8", "q8_ops_per_s", roof->q8},
                {"memory", "bandwidth_bytes_per_s", roof->bandwidth}};
    char text[32];
    if (run->json) {
        tkr_buf_putc(&run->text, '{');
        tkr_cli_json_text(&run->text, "cpu", roof->cpu);
        tkr_cli_json_text(&run->text, "kernels", roof->rung);
        tkr_cli_json_count(&run->text, "threads", roof->threads);
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            tkr_cli_json_number(&run->text, rows[i].key, rows[i].value);
        }
        tkr_buf_append(&run->text, "}\n", 2);
        return emit(run, error);
    }
    if (roof->threads > 0) {
        tkr_buf_printf(&run->text, "%s, %s kernels, %u thread%s; measured just now:\n\n", roof->cpu, roof->rung,
                       roof->threads, roof->threads == 1 ? "" : "s");
    } else {
        tkr_buf_printf(&run->text, "%s; large matrix products, measured just now:\n\n", roof->cpu);
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rate(text, rows[i].value);
        bool memory = strcmp(rows[i].name, "memory") == 0;
        if (rows[i].value > 0) {
            tkr_buf_printf(&run->text, "  %-8s %10s%s\n", rows[i].name, text, memory ? "B/s read" : "FLOP/s");
        } else {
            tkr_buf_printf(&run->text, "  %-8s %10s\n", rows[i].name, "none");
        }
    }
    return emit(run, error);
}

static void json_row(bench_run *run, const grid_cell *cell, const tkr_bench_row *row) {
    tkr_buf_printf(&run->text, "%s\n  {", run->n_rows > 0 ? "," : "");
    tkr_cli_json_bool(&run->text, "mixed", cell->batch == 0);
    tkr_cli_json_count(&run->text, "batch", row->n_sequences);
    if (cell->batch != 0) {
        tkr_cli_json_count(&run->text, "tokens", cell->tokens);
    }
    tkr_cli_json_count(&run->text, "n_tokens", row->n_tokens);
    tkr_cli_json_count(&run->text, "n_passes", row->n_passes);
    tkr_cli_json_number(&run->text, "median_s", row->median_s);
    tkr_cli_json_number(&run->text, "best_s", row->best_s);
    tkr_cli_json_number(&run->text, "tokens_per_s", row->tokens_per_s);
    tkr_cli_json_number(&run->text, "texts_per_s", row->median_s > 0 ? (double)row->n_sequences / row->median_s : 0);
    tkr_cli_json_number(&run->text, "operations", row->operations);
    if (row->limit_ops_per_s > 0) {
        tkr_cli_json_number(&run->text, "limit_ops_per_s", row->limit_ops_per_s);
        tkr_cli_json_number(&run->text, "fraction", row->fraction);
    } else {
        tkr_cli_json_text(&run->text, "limit_ops_per_s", NULL);
        tkr_cli_json_text(&run->text, "fraction", NULL);
    }
    tkr_buf_putc(&run->text, '}');
}

static void text_row(bench_run *run, const grid_cell *cell, const tkr_bench_row *row) {
    char name[32] = "mixed", tokens[32], texts[32], speed[32], limit[32] = "n/a", reached[32] = "n/a";
    if (cell->batch != 0) {
        snprintf(name, sizeof name, "%zux%zu", cell->batch, cell->tokens);
    }
    tkr_cli_number(tokens, (uint64_t)row->tokens_per_s);
    tkr_cli_number(texts, (uint64_t)(row->median_s > 0 ? (double)row->n_sequences / row->median_s : 0));
    rate(speed, row->median_s > 0 ? row->operations / row->median_s : 0);
    if (row->limit_ops_per_s > 0) {
        rate(limit, row->limit_ops_per_s);
        snprintf(reached, sizeof reached, "%.1f %%", row->fraction * 100);
    }
    tkr_buf_printf(&run->text, "%-10s %11.3f %11.3f %11s %10s %10s %10s %10s\n", name, row->median_s * 1e3,
                   row->best_s * 1e3, tokens, texts, speed, limit, reached);
}

static tkr_status measure(bench_run *run, const grid_cell *cell, tkr_error *error) {
    tkr_bench_row row;
    memset(&row, 0, sizeof row);
    tkr_bench_options options = {.batch = cell->batch,
                                 .tokens = cell->tokens,
                                 .mixed = cell->batch == 0,
                                 .seconds = tkr_cli_get(run->args, TKR_OPT_SECONDS)->real};
    tkr_status status = tkr_tools_bench(&row, run->session, &options, error);
    if (status != TKR_OK) {
        return status;
    }
    (run->json ? json_row : text_row)(run, cell, &row);
    run->n_rows++;
    return emit(run, error);
}

static tkr_status begin_rows(bench_run *run, tkr_error *error) {
    const tkr_model_info *info = run->info;
    if (run->json) {
        tkr_buf_putc(&run->text, '{');
        tkr_cli_json_text(&run->text, "model", info->reference);
        tkr_cli_json_text(&run->text, "precision", info->precision);
        tkr_cli_json_text(&run->text, "quantization", info->quantization);
        tkr_cli_json_text(&run->text, "fingerprint", info->fingerprint);
        tkr_cli_json_text(&run->text, "version", tkr_version());
        tkr_cli_json_text(&run->text, "device", info->device);
        tkr_cli_json_count(&run->text, "threads", info->threads);
        tkr_buf_printf(&run->text, ", \"rows\": [");
    } else {
        tkr_buf_printf(&run->text, "%s, %s, quantization %s, %u thread%s, %s\n\n", info->reference, info->precision,
                       info->quantization, info->threads, info->threads == 1 ? "" : "s", info->device);
        tkr_buf_printf(&run->text, "%-10s %11s %11s %11s %10s %10s %10s %10s\n", "batch", "median ms", "best ms",
                       "tokens/s", "texts/s", "FLOP/s", "limit", "reached");
    }
    return emit(run, error);
}

/* What is asked for: one cell, mixed lengths, both, or everything. */
static tkr_status measure_all(bench_run *run, tkr_error *error) {
    grid_cell asked[2];
    const grid_cell *cells = default_grid;
    size_t n = sizeof default_grid / sizeof default_grid[0], n_asked = 0;
    if (tkr_cli_get(run->args, TKR_OPT_BATCH)->set) {
        asked[n_asked].batch = (size_t)tkr_cli_get(run->args, TKR_OPT_BATCH)->number;
        asked[n_asked++].tokens = (size_t)tkr_cli_get(run->args, TKR_OPT_TOKENS)->number;
        if (asked[0].tokens > run->info->max_tokens) {
            return TKR_FAIL(error, INVALID_ARGUMENT, "--tokens is %zu, but %s takes %zu at most", asked[0].tokens,
                            run->info->reference, run->info->max_tokens);
        }
    }
    if (tkr_cli_on(run->args, TKR_OPT_MIXED)) {
        asked[n_asked++] = (grid_cell){0, 0};
    }
    if (n_asked > 0) {
        cells = asked;
        n = n_asked;
    }
    tkr_status status = begin_rows(run, error);
    for (size_t i = 0; i < n && status == TKR_OK; i++) {
        if (cells[i].tokens > run->info->max_tokens) {
            tkr_cli_note(run->args, "%zux%zu left out: %s takes %zu tokens at most", cells[i].batch, cells[i].tokens,
                         run->info->reference, run->info->max_tokens);
            continue;
        }
        status = measure(run, &cells[i], error);
    }
    if (status == TKR_OK && run->json) {
        tkr_buf_append(&run->text, "\n]}\n", 4);
        status = emit(run, error);
    } else if (status == TKR_OK) {
        tkr_buf_printf(&run->text,
                       "\nreached: matrix operations a second, as a part of the peak of the number format, measured "
                       "within the same seconds\n");
        status = emit(run, error);
    }
    return status;
}

static tkr_status bench_model(bench_run *run, const char *reference, const tkr_model_options *options,
                              tkr_error *error) {
    tkr_model *model = NULL;
    tkr_status status = tkr_model_load(&model, reference, options, error);
    if (status == TKR_OK) {
        run->info = tkr_model_get_info(model);
        status = tkr_session_create(&run->session, model, error);
    }
    if (status == TKR_OK) {
        status = measure_all(run, error);
    }
    tkr_session_free(&run->session);
    tkr_model_free(&model);
    return status;
}

int tkr_cmd_bench(const tkr_cli_args *args) {
    bench_run run = {.args = args, .json = tkr_cli_on(args, TKR_OPT_JSON)};
    tkr_model_options options;
    tkr_roofline roof;
    tkr_error error = {0};
    bool roofline = tkr_cli_on(args, TKR_OPT_ROOFLINE);
    const char *reference = NULL;
    if (tkr_cli_get(args, TKR_OPT_BATCH)->set != tkr_cli_get(args, TKR_OPT_TOKENS)->set) {
        return tkr_cli_fail(TKR_EXIT_USAGE, "bench: --batch and --tokens go together");
    }
    if (!tkr_cli_exclusive(args, TKR_OPT_ROOFLINE, TKR_OPT_BATCH) ||
        !tkr_cli_exclusive(args, TKR_OPT_ROOFLINE, TKR_OPT_MIXED)) {
        return TKR_EXIT_USAGE;
    }
    if (!roofline && (reference = tkr_cli_model(args, false)) == NULL) {
        return TKR_EXIT_USAGE;
    }
    tkr_cli_model_options(&options, args);
    memset(&roof, 0, sizeof roof);
    tkr_status status = tkr_out_open(&run.out, "-", &error);
    if (status == TKR_OK && roofline) {
        status = tkr_tools_roofline(&roof, &options, &error);
        status = status == TKR_OK ? print_roofline(&run, &roof, &error) : status;
    } else if (status == TKR_OK) {
        status = bench_model(&run, reference, &options, &error);
    }
    tkr_status closed = tkr_out_close(&run.out, status == TKR_OK ? &error : NULL);
    status = status != TKR_OK ? status : closed;
    tkr_buf_free(&run.text);
    return status == TKR_OK ? TKR_EXIT_OK : tkr_cli_report(&error);
}
