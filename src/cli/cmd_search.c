/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_search: ranks pictures and documents by words or by a picture, as a table, JSON, or a contact sheet. Holds
 * all vectors in memory; keeps nothing between runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/folder.h"
#include "cli/passages.h"
#include "core/json.h"
#include "core/term.h"
#include "engine/tools.h"

enum { ONLY_PICTURES = 1, ONLY_DOCUMENTS = 2 }; /* of --modality */
enum { BLOCK_FILES = 32, DEFAULT_TOP = 10, THUMBNAIL = 320, RANK_COLUMNS = 4, SCORE_COLUMNS = 9, PIPE_COLUMNS = 100 };

static const char demo_note[] = "the built-in demo model was used: it knows emoji and their names, nothing else; "
                                "-m MODEL takes a real one, such as -m siglip";

typedef struct search_run {
    const tkr_cli_args *args;
    tkr_model *model;
    tkr_session *session;
    const tkr_model_info *info;
    tkr_embed_options options;
    tkr_cli_files files, documents;
    tkr_cli_passages passages; /* texts of hits */
    tkr_cli_progress progress;
    const char *query, *query_image;
    bool demo;
    float *query_rows; /* [n_query_rows, dimensions] */
    size_t n_query_rows, dimensions;
    tkr_cli_hit *hits; /* [n_hits], in `found` */
    size_t n_hits;
    tkr_buf found;
} search_run;

static tkr_status check(void *user, const tkr_progress *progress) {
    search_run *run = user;
    tkr_cli_progress_draw(&run->progress, progress->done_inputs, progress->done_tokens,
                          progress->n_inputs > 0 ? (double)progress->done_inputs / (double)progress->n_inputs : 0);
    return tkr_signals_pending() != 0 ? TKR_CANCELLED : TKR_OK;
}

/* ---- what to search ---- */

static bool read_operands(search_run *run, size_t *first_file) {
    const tkr_cli_args *args = run->args;
    run->query_image = tkr_cli_get(args, TKR_OPT_QUERY_IMAGE)->text;
    *first_file = run->query_image != NULL ? 0 : 1;
    if (run->query_image == NULL && args->n_operands == 0) {
        tkr_cli_fail(TKR_EXIT_USAGE, "search: for what? Give words, or a picture with --query-image");
        return false;
    }
    if (run->query_image == NULL) {
        run->query = args->operands[0];
    }
    if (args->n_operands <= *first_file && tkr_cli_get(args, TKR_OPT_INPUT_DIR)->text == NULL) {
        tkr_cli_fail(TKR_EXIT_USAGE, "search: where? Give --input-dir DIR, or pictures behind the words");
        return false;
    }
    return true;
}

static tkr_status list_files(search_run *run, size_t first_file, tkr_error *error) {
    const char *folder = tkr_cli_get(run->args, TKR_OPT_INPUT_DIR)->text;
    const uint64_t modality = tkr_cli_get(run->args, TKR_OPT_MODALITY)->number;
    tkr_status status = TKR_OK;
    run->files.documents = modality != ONLY_PICTURES ? &run->documents : NULL;
    run->files.no_pictures = modality == ONLY_DOCUMENTS;
    for (size_t i = first_file; status == TKR_OK && i < run->args->n_operands; i++) {
        const char *path = run->args->operands[i];
        const bool picture =
            modality == ONLY_PICTURES || tkr_cli_is_url(path, strlen(path)) || tkr_cli_is_picture(path);
        status = tkr_cli_files_add(picture ? &run->files : &run->documents, path, error);
    }
    if (status == TKR_OK && folder != NULL) {
        status = tkr_cli_files_pictures(&run->files, folder, error);
    }
    return status;
}

static tkr_status load(search_run *run, tkr_error *error) {
    tkr_model_options options;
    const char *reference = tkr_cli_get(run->args, TKR_OPT_MODEL)->text;
    run->demo = reference == NULL || reference[0] == '\0';
    tkr_cli_model_options(&options, run->args);
    tkr_status status = tkr_model_load(&run->model, run->demo ? "demo" : reference, &options, error);
    if (status != TKR_OK) {
        return status;
    }
    run->info = tkr_model_get_info(run->model);
    if (run->info->max_images == 0 && (run->query_image != NULL || run->documents.n == 0)) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s reads %s only; search needs a model for pictures, such as siglip",
                        run->info->reference, run->info->modalities);
    }
    if (run->info->max_images == 0 && run->files.n > 0) {
        tkr_cli_note(run->args, "%zu picture%s left out: %s reads %s only", run->files.n,
                     run->files.n == 1 ? " was" : "s were", run->info->reference, run->info->modalities);
        run->files.n = 0;
    }
    run->dimensions = run->options.dimensions != 0 ? run->options.dimensions : run->info->dimensions;
    run->options.check = check;
    run->options.check_user = run;
    status = tkr_cli_check_embed_options(&run->options, run->info, error);
    return status == TKR_OK ? tkr_session_create(&run->session, run->model, error) : status;
}

/* ---- vectors ---- */

/* A file, or a URL, which messages name by itself. */
static tkr_part picture_part(const char *path) {
    const size_t n = strlen(path);
    return (tkr_part){
        .kind = tkr_cli_is_url(path, n) ? TKR_PART_URL : TKR_PART_FILE, .data = path, .n_data = n, .name = path};
}

static tkr_status embed_query(search_run *run, tkr_error *error) {
    const tkr_part part = picture_part(run->query_image != NULL ? run->query_image : "");
    tkr_input input = {.kind = TKR_INPUT_PARTS, .parts = &part, .n_parts = 1};
    if (run->query != NULL) {
        input = (tkr_input){.text = run->query, .n_text = strlen(run->query)};
        input.instruction = tkr_cli_get(run->args, TKR_OPT_INSTRUCT)->text;
        input.prompt_name = tkr_cli_get(run->args, TKR_OPT_QUERY_PROMPT_NAME)->text;
    }
    tkr_result *result = NULL;
    tkr_status status = tkr_embed(&result, run->session, &input, 1, &run->options, error);
    if (status != TKR_OK) {
        return status;
    }
    const tkr_result_item item = tkr_result_get(result, 0);
    if (item.status != TKR_OK) {
        status = tkr_error_set(error, TKR_HERE, item.status, "the query: %s",
                               item.message != NULL ? item.message : tkr_status_text(item.status));
    } else {
        run->n_query_rows = item.n_rows;
        run->query_rows = tkr_malloc(item.n_rows * run->dimensions * sizeof *run->query_rows);
        if (run->query_rows != NULL) {
            memcpy(run->query_rows, item.rows, item.n_rows * run->dimensions * sizeof *run->query_rows);
        } else {
            status = TKR_FAIL(error, NO_MEMORY, "no memory for the query's vector");
        }
    }
    tkr_result_free(&result);
    return status;
}

/* Adds a hit with the score of its vectors. */
static tkr_status take_score(void *user, tkr_cli_hit *hit, const tkr_result_item *item, tkr_error *error) {
    search_run *run = user;
    if (item->status != TKR_OK) {
        tkr_cli_files_failed(&run->files, hit->path,
                             item->message != NULL ? item->message : tkr_status_text(item->status));
        return TKR_OK;
    }
    hit->score = run->info->multi_vector
                     ? tkr_maxsim(run->query_rows, run->n_query_rows, item->rows, item->n_rows, run->dimensions)
                     : tkr_cosine(run->query_rows, item->rows, run->dimensions);
    run->n_hits++;
    return tkr_buf_append(&run->found, hit, sizeof *hit) ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for scores");
}

static tkr_status score_block(search_run *run, size_t first, size_t n, tkr_error *error) {
    tkr_part parts[BLOCK_FILES];
    tkr_input inputs[BLOCK_FILES];
    tkr_result *result = NULL;
    memset(inputs, 0, sizeof inputs);
    for (size_t i = 0; i < n; i++) {
        parts[i] = picture_part(run->files.paths[first + i]);
        inputs[i].kind = TKR_INPUT_PARTS;
        inputs[i].parts = &parts[i];
        inputs[i].n_parts = 1;
    }
    run->progress.n_texts = first;
    run->progress.fraction = (double)first / (double)run->files.n;
    run->progress.step = (double)n / (double)run->files.n;
    tkr_status status = tkr_embed(&result, run->session, inputs, n, &run->options, error);
    for (size_t i = 0; status == TKR_OK && i < n; i++) {
        const tkr_result_item item = tkr_result_get(result, i);
        tkr_cli_hit hit = {.path = run->files.paths[first + i]};
        status = take_score(run, &hit, &item, error);
    }
    tkr_result_free(&result);
    return status;
}

static int best_first(const void *a, const void *b) {
    const tkr_cli_hit *x = a, *y = b;
    if (x->score != y->score) {
        return x->score < y->score ? 1 : -1;
    }
    const int order = strcmp(x->path, y->path);
    return order != 0 ? order : x->page != y->page ? (x->page < y->page ? -1 : 1) : x->begin < y->begin ? -1 : 1;
}

static tkr_status score_all(search_run *run, tkr_error *error) {
    tkr_status status = TKR_OK;
    tkr_cli_progress_start(&run->progress, run->args, false);
    run->progress.unit = run->documents.n > 0 ? "files" : "pictures";
    for (size_t i = 0; status == TKR_OK && i < run->files.n; i += BLOCK_FILES) {
        status = score_block(run, i, run->files.n - i < BLOCK_FILES ? run->files.n - i : BLOCK_FILES, error);
    }
    run->passages = (tkr_cli_passages){.args = run->args,
                                       .model = run->model,
                                       .session = run->session,
                                       .options = &run->options,
                                       .take = take_score,
                                       .user = run,
                                       .files = &run->files};
    /* Text and pictures of two towers lie apart: any passage would come before any picture. */
    run->passages.pages_only =
        run->info->max_images > 0 && strstr(run->info->modalities, "text+image") == NULL && run->files.n > 0;
    for (size_t i = 0; status == TKR_OK && i < run->documents.n; i++) {
        run->progress.n_texts = run->files.n + i;
        run->progress.fraction = (double)i / (double)run->documents.n;
        run->progress.step = 1 / (double)run->documents.n;
        status = tkr_cli_score_document(&run->passages, run->documents.paths[i], error);
    }
    tkr_cli_progress_clear(&run->progress);
    if (run->passages.n_left_out > 0) {
        tkr_cli_note(run->args,
                     "%zu document%s without pages left out: %s has passages and pictures apart; --modality document "
                     "ranks passages",
                     run->passages.n_left_out, run->passages.n_left_out == 1 ? "" : "s", run->info->reference);
    }
    run->hits = (tkr_cli_hit *)(void *)run->found.data;
    if (status == TKR_OK && run->n_hits > 0) {
        qsort(run->hits, run->n_hits, sizeof *run->hits, best_first);
    }
    return status;
}

/* ---- what comes out ---- */

static void print_table(tkr_buf *out, const search_run *run, size_t top) {
    size_t columns = tkr_term_is(TKR_STREAM_OUT) ? tkr_term_columns(TKR_STREAM_OUT) : 0;
    columns = columns == 0 ? PIPE_COLUMNS : columns;
    const size_t taken = RANK_COLUMNS + SCORE_COLUMNS + 2, left = columns > taken + 20 ? columns - taken : 20;
    for (size_t i = 0; i < top; i++) {
        tkr_buf_printf(out, "%*zu %*.4f  ", RANK_COLUMNS, i + 1, SCORE_COLUMNS - 1, run->hits[i].score);
        const char *path = run->hits[i].path;
        if (tkr_term_is(TKR_STREAM_OUT)) {
            tkr_cli_cell(out, path, strlen(path), left, false);
        } else {
            tkr_buf_append(out, path, strlen(path));
        }
        if (run->hits[i].unit != NULL && run->hits[i].page > 0) {
            tkr_buf_printf(out, "  %s %zu", run->hits[i].unit, run->hits[i].page);
        }
        if (run->hits[i].text != NULL) {
            tkr_buf_printf(out, "\n%*s", (int)taken, "");
            tkr_cli_cell(out, run->hits[i].text, strlen(run->hits[i].text), left, false);
        }
        tkr_buf_putc(out, '\n');
    }
}

static void put_place(tkr_buf *out, const tkr_cli_hit *hit) {
    if (hit->unit != NULL && hit->page > 0) {
        tkr_cli_json_count(out, hit->unit, hit->page);
    }
    if (hit->is_page) {
        tkr_cli_json_text(out, "kind", "page_image");
    } else if (hit->text != NULL) {
        tkr_cli_json_text(out, "kind", "text");
        tkr_buf_printf(out, ", \"chars\": [%zu, %zu]", hit->begin, hit->end);
        if (hit->heading != NULL) {
            tkr_cli_json_text(out, "heading", hit->heading);
        }
        tkr_cli_json_text(out, "text", hit->text);
    }
}

static void print_json(tkr_buf *out, const search_run *run, size_t top) {
    tkr_buf_putc(out, '{');
    tkr_cli_json_text(out, "model", run->info->reference);
    tkr_cli_json_text(out, "fingerprint", run->info->fingerprint);
    tkr_cli_json_text(out, "query", run->query);
    tkr_cli_json_text(out, "query_image", run->query_image);
    tkr_cli_json_text(out, "score", run->info->multi_vector ? "maxsim" : "cosine");
    tkr_cli_json_count(out, "files", run->n_hits);
    tkr_cli_json_count(out, "failed", run->files.n_failures);
    tkr_cli_json_key(out, "results");
    tkr_buf_putc(out, '[');
    for (size_t i = 0; i < top; i++) {
        tkr_buf_printf(out, "%s\n{", i > 0 ? "," : "");
        tkr_cli_json_count(out, "rank", i + 1);
        tkr_cli_json_number(out, "score", run->hits[i].score);
        tkr_cli_json_text(out, "source", run->hits[i].path);
        put_place(out, &run->hits[i]);
        tkr_buf_putc(out, '}');
    }
    tkr_buf_append(out, "\n]}\n", 4);
}

static tkr_status thumbnail(void *user, tkr_buf *png, size_t *width, size_t *height, const tkr_cli_hit *hit,
                            tkr_error *error) {
    search_run *run = user;
    const tkr_part part = picture_part(hit->path);
    if (hit->is_page) {
        return tkr_cli_page_thumbnail(png, width, height, &run->passages, hit, THUMBNAIL, error);
    }
    return tkr_tools_thumbnail(png, width, height, run->model, &part, THUMBNAIL, error);
}

static tkr_status write_sheet(search_run *run, size_t top, const char *path, tkr_error *error) {
    const tkr_cli_sheet sheet = {.query = run->query,
                                 .query_image = run->query_image,
                                 .hits = run->hits,
                                 .n_hits = top,
                                 .n_files = run->n_hits,
                                 .what = run->documents.n > 0 ? "pictures, pages and passages" : "pictures",
                                 .model = run->info->reference,
                                 .note = run->demo ? demo_note : NULL,
                                 .maxsim = run->info->multi_vector != 0,
                                 .thumbnail = thumbnail,
                                 .user = run};
    tkr_buf page = {0};
    tkr_status status = tkr_cli_sheet_write(&page, &sheet, error);
    if (status == TKR_OK) {
        status = tkr_file_write_atomic(path, page.data, page.size, error);
    }
    tkr_buf_free(&page);
    return status;
}

static tkr_status show(search_run *run, int *code, tkr_error *error) {
    const char *html = tkr_cli_get(run->args, TKR_OPT_HTML)->text;
    const tkr_cli_value *wanted = tkr_cli_get(run->args, TKR_OPT_TOP);
    size_t top = wanted->set ? (size_t)wanted->number : DEFAULT_TOP;
    tkr_buf out = {0};
    top = top < run->n_hits ? top : run->n_hits;
    if (run->n_hits == 0) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "none of %zu files could be read as a picture%s",
                        run->files.n + run->documents.n, run->documents.n > 0 ? " or a document" : "");
    }
    tkr_status status = html != NULL ? write_sheet(run, top, html, error) : TKR_OK;
    if (status != TKR_OK) {
        return status;
    }
    if (tkr_cli_on(run->args, TKR_OPT_JSON)) {
        print_json(&out, run, top);
    } else {
        print_table(&out, run, top);
    }
    *code = tkr_cli_print(&out);
    if (html != NULL && *code == TKR_EXIT_OK) {
        tkr_cli_note(run->args, "the contact sheet is in %s", html);
    }
    return TKR_OK;
}

int tkr_cmd_search(const tkr_cli_args *args) {
    search_run run = {.args = args};
    tkr_error error = {0};
    int code = TKR_EXIT_OK;
    size_t first_file = 0;
    if (!read_operands(&run, &first_file)) {
        return TKR_EXIT_USAGE;
    }
    tkr_cli_embed_options(&run.options, args);
    run.options.instruction = NULL; /* of the query only */
    tkr_status status = list_files(&run, first_file, &error);
    if (status == TKR_OK) {
        status = load(&run, &error);
    }
    if (status == TKR_OK) {
        status = embed_query(&run, &error);
    }
    if (status == TKR_OK) {
        status = score_all(&run, &error);
    }
    if (status == TKR_OK) {
        status = show(&run, &code, &error);
    }
    if (status == TKR_OK && run.demo) {
        tkr_cli_note(args, "%s", demo_note);
    }
    tkr_cli_files_report(&run.files, args);
    if (status != TKR_OK) {
        code = tkr_cli_report(&error);
    }
    tkr_free(run.query_rows);
    tkr_buf_free(&run.found);
    tkr_arena_free(&run.passages.strings);
    tkr_cli_files_free(&run.documents);
    tkr_cli_files_free(&run.files);
    tkr_session_free(&run.session);
    tkr_model_free(&run.model);
    return code;
}
