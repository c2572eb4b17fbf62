/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_similarity: cosine (or MaxSim) of texts and pictures with each other or with a query, for reading. Holds all
 * vectors in memory, so it refuses more inputs than a person or a JSON reader could take. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/stream.h"
#include "core/json.h"
#include "core/term.h"

enum { BLOCK_ITEMS = 512, BLOCK_BYTES = 512 * 1024, MAX_MATRIX = 10000, MAX_RANKED = 1000000 };
enum { TABLE_TEXTS = 20, PAIRS_SHOWN = 20, PIPE_COLUMNS = 100, MIN_INLINE_TEXT = 24, CELL_COLUMNS = 7 };

typedef struct known_text {
    char *text; /* or the pictures' names */
    size_t size;
    size_t first_row, n_rows; /* in the run's vectors */
} known_text;

typedef struct similarity_run {
    const tkr_cli_args *args;
    tkr_cli_source source;
    tkr_cli_block block;
    tkr_cli_progress progress;
    tkr_model *model;
    tkr_session *session;
    const tkr_model_info *info;
    tkr_embed_options options;
    tkr_arena strings;
    known_text *texts; /* [n] */
    float *vectors;    /* [n_rows, dimensions] */
    size_t n, room, n_rows, row_room, dimensions;
    const char *query, *query_image;
    known_text query_rows; /* of --query or --query-image; no rows without them */
    size_t n_cut;
} similarity_run;

typedef struct scored {
    size_t a, b; /* b only for pairs */
    double score;
} scored;

static tkr_status no_memory(tkr_error *error) { return TKR_FAIL(error, NO_MEMORY, "out of memory"); }

static tkr_status check(void *user, const tkr_progress *progress) {
    similarity_run *run = user;
    double part = progress->n_tokens > 0 ? (double)progress->done_tokens / (double)progress->n_tokens : 0;
    tkr_cli_progress_draw(&run->progress, progress->done_inputs, progress->done_tokens, part);
    return TKR_OK;
}

static bool has_query(const similarity_run *run) { return run->query != NULL || run->query_image != NULL; }

static tkr_status reserve(similarity_run *run, size_t extra, tkr_error *error) {
    size_t limit = has_query(run) ? MAX_RANKED : MAX_MATRIX;
    if (run->n + extra > limit) {
        return TKR_FAIL(error, LIMIT, "more than %zu inputs: `tkr-embed embed` writes the vectors of any number",
                        limit);
    }
    if (run->n + extra <= run->room) {
        return TKR_OK;
    }
    size_t room = (run->n + extra) * 2;
    known_text *texts = tkr_realloc(run->texts, room * sizeof *texts);
    if (texts == NULL) {
        return no_memory(error);
    }
    run->texts = texts;
    run->room = room;
    return TKR_OK;
}

/* Keeps the rows of item `index` of the result, or tells the reason why there are none. */
static tkr_status take_rows(known_text *to, similarity_run *run, const tkr_result *result, size_t index,
                            tkr_error *error) {
    tkr_result_item item = tkr_result_get(result, index);
    size_t bytes = run->dimensions * sizeof *run->vectors;
    if (item.status != TKR_OK) {
        return tkr_error_set(error, TKR_HERE, item.status, "%s", tkr_cli_why(&item));
    }
    if (run->n_rows + item.n_rows > run->row_room) {
        size_t room = (run->n_rows + item.n_rows) * 2;
        float *vectors = tkr_realloc(run->vectors, room * bytes);
        if (vectors == NULL) {
            return no_memory(error);
        }
        run->vectors = vectors;
        run->row_room = room;
    }
    memcpy(run->vectors + run->n_rows * run->dimensions, item.rows, item.n_rows * bytes);
    to->first_row = run->n_rows;
    to->n_rows = item.n_rows;
    run->n_rows += item.n_rows;
    run->n_cut += item.n_tokens_untruncated > item.n_tokens;
    return TKR_OK;
}

static tkr_status embed_query(similarity_run *run, tkr_error *error) {
    tkr_part part;
    tkr_input input = {.text = run->query, .n_text = run->query != NULL ? strlen(run->query) : 0};
    tkr_result *result = NULL;
    tkr_status status = TKR_OK;
    if (run->query_image != NULL) {
        input = (tkr_input){.kind = TKR_INPUT_PARTS, .parts = &part, .n_parts = 1};
        input.min_pixels = (size_t)tkr_cli_get(run->args, TKR_OPT_MIN_PIXELS)->number;
        status = tkr_cli_fill_picture(&part, &run->block, run->query_image, strlen(run->query_image), NULL, error);
    }
    input.prompt_name = tkr_cli_get(run->args, TKR_OPT_QUERY_PROMPT_NAME)->text;
    input.instruction = tkr_cli_get(run->args, TKR_OPT_INSTRUCT)->text;
    if (status == TKR_OK) {
        status = tkr_embed(&result, run->session, &input, 1, &run->options, error);
    }
    if (status == TKR_OK) {
        status = take_rows(&run->query_rows, run, result, 0, error);
    }
    tkr_result_free(&result);
    return status == TKR_OK ? TKR_OK : tkr_error_prefix(error, status, "query");
}

/* Embeds one block and keeps texts and vectors. A text that fails ends the command: a table with holes misleads. */
static tkr_status keep_block(similarity_run *run, tkr_error *error) {
    tkr_result *result = NULL;
    size_t n = run->block.n;
    tkr_status status = reserve(run, n, error);
    if (status != TKR_OK) {
        return status;
    }
    tkr_input *inputs = tkr_calloc(n, sizeof *inputs);
    if (inputs == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < n && status == TKR_OK; i++) {
        const tkr_cli_item *item = &run->block.items[i];
        inputs[i] = item->input;
        if (item->status != TKR_OK) {
            status = tkr_error_set(error, TKR_HERE, item->status, "%s, line %llu: %s", run->source.name,
                                   (unsigned long long)item->line, item->message);
        }
    }
    if (status == TKR_OK) {
        status = tkr_embed(&result, run->session, inputs, n, &run->options, error);
    }
    for (size_t i = 0; i < n && status == TKR_OK; i++) {
        known_text *to = &run->texts[run->n];
        to->size = run->block.items[i].n_label;
        to->text = tkr_arena_strndup(&run->strings, run->block.items[i].label, to->size);
        status = to->text == NULL ? no_memory(error) : take_rows(to, run, result, i, error);
        if (status == TKR_OK) {
            run->n++;
        } else {
            tkr_error_prefix(error, status, "%s %zu", inputs[i].kind == TKR_INPUT_PARTS ? "input" : "text", run->n + 1);
        }
    }
    tkr_result_free(&result);
    tkr_free(inputs);
    return status;
}

static double score_of(const similarity_run *run, const known_text *a, const known_text *b) {
    const size_t n = run->dimensions;
    const float *x = run->vectors + a->first_row * n, *y = run->vectors + b->first_row * n;
    return run->info->multi_vector ? tkr_maxsim(x, a->n_rows, y, b->n_rows, n) : tkr_cosine(x, y, n);
}

static double similarity_of(const similarity_run *run, size_t a, size_t b) {
    return score_of(run, &run->texts[a], &run->texts[b]);
}

/* ---- tables ---- */
static size_t screen(void) {
    size_t columns = tkr_term_columns(TKR_STREAM_OUT);
    return columns == 0 ? PIPE_COLUMNS : columns;
}

static void text_cell(tkr_buf *out, const known_text *text, size_t columns) {
    tkr_cli_cell(out, text->text, text->size, columns, false);
    tkr_buf_putc(out, '\n');
}

static void print_matrix(tkr_buf *out, const similarity_run *run) {
    size_t used = 4 + run->n * CELL_COLUMNS + 2;
    size_t columns = screen();
    bool inline_text = used + MIN_INLINE_TEXT <= columns;
    tkr_buf_printf(out, "    ");
    for (size_t i = 0; i < run->n; i++) {
        tkr_buf_printf(out, "%*zu", CELL_COLUMNS, i + 1);
    }
    tkr_buf_putc(out, '\n');
    for (size_t i = 0; i < run->n; i++) {
        tkr_buf_printf(out, "%4zu", i + 1);
        for (size_t j = 0; j < run->n; j++) {
            tkr_buf_printf(out, "%*.3f", CELL_COLUMNS, similarity_of(run, i, j));
        }
        if (inline_text) {
            tkr_buf_append(out, "  ", 2);
            text_cell(out, &run->texts[i], columns - used);
        } else {
            tkr_buf_putc(out, '\n');
        }
    }
    for (size_t i = 0; i < run->n && !inline_text; i++) {
        tkr_buf_printf(out, "%s%4zu  ", i == 0 ? "\n" : "", i + 1);
        text_cell(out, &run->texts[i], columns > 26 ? columns - 6 : 20);
    }
}

/* Best first; equal ones in input order, so that the output doesn't depend on the sort. */
static int by_score(const void *left, const void *right) {
    const scored *a = left, *b = right;
    if (a->score != b->score) {
        return a->score > b->score ? -1 : 1;
    }
    if (a->a != b->a) {
        return a->a < b->a ? -1 : 1;
    }
    return a->b < b->b ? -1 : a->b > b->b;
}

/* The closest pairs, kept sorted in `best` while all are looked at. */
static tkr_status print_pairs(tkr_buf *out, const similarity_run *run, tkr_error *error) {
    scored best[PAIRS_SHOWN + 1];
    size_t n_best = 0;
    for (size_t i = 0; i < run->n; i++) {
        for (size_t j = i + 1; j < run->n; j++) {
            scored pair = {i, j, similarity_of(run, i, j)};
            if (n_best == PAIRS_SHOWN && by_score(&pair, &best[n_best - 1]) > 0) {
                continue;
            }
            best[n_best++] = pair;
            qsort(best, n_best, sizeof best[0], by_score);
            n_best = n_best > PAIRS_SHOWN ? PAIRS_SHOWN : n_best;
        }
    }
    size_t half = (screen() > 60 ? screen() - 24 : 36) / 2;
    tkr_buf_printf(out, "The %zu closest pairs of %zu texts (--format json gives all numbers):\n\n", n_best, run->n);
    for (size_t i = 0; i < n_best; i++) {
        const known_text *a = &run->texts[best[i].a], *b = &run->texts[best[i].b];
        tkr_buf_printf(out, "%7.3f  %5zu  ", best[i].score, best[i].a + 1);
        tkr_cli_cell(out, a->text, a->size, half, false);
        tkr_buf_printf(out, "\n         %5zu  ", best[i].b + 1);
        text_cell(out, b, half);
    }
    return out->failed ? no_memory(error) : TKR_OK;
}

/* Returns the ranking (tkr_free), NULL when there is no memory. */
static scored *rank(const similarity_run *run) {
    scored *ranking = tkr_calloc(run->n > 0 ? run->n : 1, sizeof *ranking);
    for (size_t i = 0; i < run->n && ranking != NULL; i++) {
        ranking[i].a = i;
        ranking[i].score = score_of(run, &run->query_rows, &run->texts[i]);
    }
    if (ranking != NULL) {
        qsort(ranking, run->n, sizeof *ranking, by_score);
    }
    return ranking;
}

static void print_ranking(tkr_buf *out, const similarity_run *run, const scored *ranking, size_t shown, bool json) {
    if (json) {
        tkr_buf_putc(out, '{');
        tkr_cli_json_text(out, "model", run->info->reference);
        tkr_cli_json_text(out, "fingerprint", run->info->fingerprint);
        tkr_cli_json_text(out, run->query != NULL ? "query" : "query_image",
                          run->query != NULL ? run->query : run->query_image);
        tkr_buf_printf(out, ", \"results\": [");
    }
    size_t columns = screen();
    for (size_t i = 0; i < shown; i++) {
        const known_text *text = &run->texts[ranking[i].a];
        if (!json) {
            tkr_buf_printf(out, "%7.3f  %5zu  ", ranking[i].score, ranking[i].a + 1);
            text_cell(out, text, columns > 40 ? columns - 17 : 24);
            continue;
        }
        tkr_buf_printf(out, "%s\n{\"index\": %zu", i > 0 ? "," : "", ranking[i].a);
        tkr_cli_json_key(out, "score");
        tkr_json_write_float(out, (float)ranking[i].score);
        tkr_cli_json_key(out, "text");
        tkr_json_write_string(out, text->text, text->size);
        tkr_buf_putc(out, '}');
    }
    if (json) {
        tkr_buf_append(out, "\n]}\n", 4);
    }
}

/* The matrix goes out row by row: of many texts it may be large. */
static tkr_status print_matrix_json(const similarity_run *run, tkr_error *error) {
    tkr_out *out = NULL;
    tkr_buf line = {0};
    tkr_status status = tkr_out_open(&out, "-", error);
    tkr_buf_putc(&line, '{');
    tkr_cli_json_text(&line, "model", run->info->reference);
    tkr_cli_json_text(&line, "fingerprint", run->info->fingerprint);
    tkr_buf_printf(&line, ", \"texts\": [");
    for (size_t i = 0; i < run->n; i++) {
        tkr_buf_append(&line, ", ", i > 0 ? 2 : 0);
        tkr_json_write_string(&line, run->texts[i].text, run->texts[i].size);
    }
    tkr_buf_printf(&line, "], \"similarity\": [");
    for (size_t i = 0; i < run->n && status == TKR_OK; i++) {
        tkr_buf_printf(&line, i > 0 ? ",\n[" : "\n[");
        for (size_t j = 0; j < run->n; j++) {
            tkr_buf_append(&line, ", ", j > 0 ? 2 : 0);
            tkr_json_write_float(&line, (float)similarity_of(run, i, j));
        }
        tkr_buf_putc(&line, ']');
        status = line.failed ? no_memory(error) : tkr_out_write(out, line.data, line.size, error);
        line.size = 0;
    }
    tkr_buf_append(&line, "\n]}\n", 4);
    if (status == TKR_OK) {
        status = line.failed ? no_memory(error) : tkr_out_write(out, line.data, line.size, error);
    }
    tkr_status closed = tkr_out_close(&out, status == TKR_OK ? error : NULL);
    tkr_buf_free(&line);
    return status != TKR_OK ? status : closed;
}

static tkr_status load(similarity_run *run, const char *reference, tkr_error *error) {
    tkr_model_options options;
    tkr_cli_model_options(&options, run->args);
    tkr_status status = tkr_model_load(&run->model, reference, &options, error);
    if (status != TKR_OK) {
        return status;
    }
    run->info = tkr_model_get_info(run->model);
    tkr_embed_options query_options = run->options;
    if (tkr_cli_get(run->args, TKR_OPT_QUERY_PROMPT_NAME)->set) {
        query_options.prompt_name = tkr_cli_get(run->args, TKR_OPT_QUERY_PROMPT_NAME)->text;
        status = tkr_cli_check_embed_options(&query_options, run->info, error);
    }
    if (status == TKR_OK) {
        status = tkr_cli_check_embed_options(&run->options, run->info, error);
    }
    run->options.check = check;
    run->options.check_user = run;
    run->dimensions = run->options.dimensions != 0 ? run->options.dimensions : run->info->dimensions;
    return status == TKR_OK ? tkr_session_create(&run->session, run->model, error) : status;
}

static tkr_status embed_all(similarity_run *run, tkr_error *error) {
    tkr_cli_progress_start(&run->progress, run->args, false);
    tkr_status status = has_query(run) ? embed_query(run, error) : TKR_OK;
    while (status == TKR_OK) {
        status = tkr_cli_source_read(&run->block, &run->source, BLOCK_ITEMS, BLOCK_BYTES, error);
        if (status != TKR_OK || run->block.n == 0) {
            break;
        }
        status = keep_block(run, error);
        run->progress.n_texts = run->n;
    }
    tkr_cli_progress_clear(&run->progress);
    if (status == TKR_OK && run->n_cut > 0) {
        tkr_cli_note(run->args,
                     "%zu of %zu texts %s longer than the model takes and cut (--truncate error refuses them)",
                     run->n_cut, run->n + has_query(run), run->n_cut == 1 ? "was" : "were");
    }
    return status;
}

static tkr_status print_result(similarity_run *run, int *code, tkr_error *error) {
    bool json = tkr_cli_on(run->args, TKR_OPT_SIMILARITY_FORMAT);
    tkr_buf out = {0};
    tkr_status status = TKR_OK;
    if (has_query(run)) {
        scored *ranking = rank(run);
        if (ranking == NULL) {
            return no_memory(error);
        }
        size_t top = (size_t)tkr_cli_get(run->args, TKR_OPT_TOP)->number;
        print_ranking(&out, run, ranking, top > 0 && top < run->n ? top : run->n, json);
        tkr_free(ranking);
    } else if (json) {
        return print_matrix_json(run, error);
    } else if (run->n <= TABLE_TEXTS) {
        print_matrix(&out, run);
    } else {
        status = print_pairs(&out, run, error);
    }
    if (status == TKR_OK) {
        *code = tkr_cli_print(&out);
    }
    tkr_buf_free(&out);
    return status;
}

int tkr_cmd_similarity(const tkr_cli_args *args) {
    similarity_run run = {.args = args,
                          .query = tkr_cli_get(args, TKR_OPT_QUERY)->text,
                          .query_image = tkr_cli_get(args, TKR_OPT_QUERY_IMAGE)->text};
    tkr_error error = {0};
    int code = TKR_EXIT_OK;
    const char *reference = tkr_cli_model(args, false);
    if (reference == NULL || !tkr_cli_one_prompt(args) ||
        !tkr_cli_exclusive(args, TKR_OPT_PROMPT, TKR_OPT_QUERY_PROMPT_NAME) ||
        !tkr_cli_exclusive(args, TKR_OPT_QUERY, TKR_OPT_QUERY_IMAGE)) {
        return TKR_EXIT_USAGE;
    }
    for (int i = 0; i < 2 && !has_query(&run); i++) {
        tkr_cli_option_id id = i == 0 ? TKR_OPT_TOP : TKR_OPT_QUERY_PROMPT_NAME;
        if (tkr_cli_get(args, id)->set) {
            return tkr_cli_fail(TKR_EXIT_USAGE, "similarity: --%s needs --query", tkr_cli_options[id].flag);
        }
    }
    tkr_cli_embed_options(&run.options, args);
    if (has_query(&run)) {
        run.options.instruction = NULL; /* of the query only */
    }
    tkr_status status = tkr_cli_source_open(&run.source, args, &error);
    if (status == TKR_INVALID_ARGUMENT) {
        return tkr_cli_fail(TKR_EXIT_USAGE, "similarity: %s", error.message);
    }
    if (status == TKR_OK) {
        status = load(&run, reference, &error);
    }
    if (status == TKR_OK) {
        status = embed_all(&run, &error);
    }
    if (status == TKR_OK && run.n == 0) {
        status = TKR_FAIL(&error, INVALID_ARGUMENT, "no text in %s", run.source.name);
    }
    if (status == TKR_OK) {
        status = print_result(&run, &code, &error);
    }
    if (status != TKR_OK) {
        code = tkr_cli_report(&error);
    }
    tkr_free(run.texts);
    tkr_free(run.vectors);
    tkr_arena_free(&run.strings);
    tkr_cli_block_free(&run.block);
    tkr_cli_source_close(&run.source);
    tkr_session_free(&run.session);
    tkr_model_free(&run.model);
    return code;
}
