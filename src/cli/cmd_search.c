/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_search: ranks pictures, moments of videos and documents by words or by a picture, as a table, JSON, or a
 * contact sheet. Keeps scores and texts of hits in memory, and nothing between runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/search.h"
#include "core/json.h"
#include "core/term.h"

enum { BLOCK_FILES = 32, DEFAULT_TOP = 10, THUMBNAIL = 320, RANK_COLUMNS = 4, SCORE_COLUMNS = 9, PIPE_COLUMNS = 100 };

static const char demo_note[] = "the built-in demo model was used: it knows emoji and their names, nothing else; "
                                "-m MODEL takes a real one, such as -m siglip";

typedef struct search_run {
    const tkr_cli_args *args;
    tkr_cli_search search;
    tkr_cli_progress progress;
    const char *query, *query_image;
    bool demo;
    size_t n_files; /* that gave hits */
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
        tkr_cli_fail(TKR_EXIT_USAGE, "search: where? Give --input-dir DIR, or files behind the words");
        return false;
    }
    return true;
}

static tkr_status list_files(search_run *run, size_t first_file, tkr_error *error) {
    tkr_cli_files *files = &run->search.files;
    const char *folder = tkr_cli_get(run->args, TKR_OPT_INPUT_DIR)->text;
    tkr_status status = TKR_OK;
    files->wanted = tkr_cli_get(run->args, TKR_OPT_MODALITY)->number;
    for (size_t i = first_file; status == TKR_OK && i < run->args->n_operands; i++) {
        const char *path = run->args->operands[i];
        tkr_cli_operand kind = (tkr_cli_operand)files->wanted; /* what is said it is */
        if (files->wanted == 0) {
            kind = tkr_cli_is_url(path, strlen(path)) ? TKR_CLI_PICTURE : tkr_cli_kind_of(path);
            kind = kind == TKR_CLI_TEXT ? TKR_CLI_DOCUMENT : kind; /* whose reader says what it isn't */
        }
        status = tkr_cli_files_add(files, path, kind, error);
    }
    return status == TKR_OK && folder != NULL ? tkr_cli_files_walk(files, folder, error) : status;
}

static tkr_status load(search_run *run, tkr_error *error) {
    tkr_cli_search *search = &run->search;
    tkr_model_options options;
    const char *reference = tkr_cli_get(run->args, TKR_OPT_MODEL)->text;
    run->demo = reference == NULL || reference[0] == '\0';
    tkr_cli_model_options(&options, run->args);
    tkr_status status = tkr_model_load(&search->model, run->demo ? "demo" : reference, &options, error);
    if (status != TKR_OK) {
        return status;
    }
    search->info = tkr_model_get_info(search->model);
    if (search->info->max_images == 0 && run->query_image != NULL) {
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "--query-image: %s reads %s only; a picture needs a model for pictures, "
                        "such as siglip",
                        search->info->reference, search->info->modalities);
    }
    status = tkr_cli_files_fit(&search->files, run->args, search->info, error);
    search->dimensions = search->options.dimensions != 0 ? search->options.dimensions : search->info->dimensions;
    search->options.check = check;
    search->options.check_user = run;
    if (status == TKR_OK) {
        status = tkr_cli_check_embed_options(&search->options, search->info, error);
    }
    return status == TKR_OK ? tkr_session_create(&search->session, search->model, error) : status;
}

/* ---- vectors ---- */

/* A file, or a URL, which messages name by itself. */
static tkr_part picture_part(const char *path) {
    const size_t n = strlen(path);
    return (tkr_part){
        .kind = tkr_cli_is_url(path, n) ? TKR_PART_URL : TKR_PART_FILE, .data = path, .n_data = n, .name = path};
}

static tkr_status embed_query(search_run *run, tkr_error *error) {
    tkr_cli_search *search = &run->search;
    const tkr_part part = picture_part(run->query_image != NULL ? run->query_image : "");
    tkr_input input = {.kind = TKR_INPUT_PARTS, .parts = &part, .n_parts = 1};
    if (run->query != NULL) {
        input = (tkr_input){.text = run->query, .n_text = strlen(run->query)};
        input.instruction = tkr_cli_get(run->args, TKR_OPT_INSTRUCT)->text;
        input.prompt_name = tkr_cli_get(run->args, TKR_OPT_QUERY_PROMPT_NAME)->text;
    }
    tkr_result *result = NULL;
    tkr_status status = tkr_embed(&result, search->session, &input, 1, &search->options, error);
    if (status != TKR_OK) {
        return status;
    }
    const tkr_result_item item = tkr_result_get(result, 0);
    if (item.status != TKR_OK) {
        status = tkr_error_set(error, TKR_HERE, item.status, "the query: %s", tkr_cli_why(&item));
    } else {
        search->n_query_rows = item.n_rows;
        search->query_rows = tkr_malloc(item.n_rows * search->dimensions * sizeof *search->query_rows);
        if (search->query_rows != NULL) {
            memcpy(search->query_rows, item.rows, item.n_rows * search->dimensions * sizeof *search->query_rows);
        } else {
            status = TKR_FAIL(error, NO_MEMORY, "no memory for the query's vector");
        }
    }
    tkr_result_free(&result);
    return status;
}

double tkr_cli_score(const tkr_cli_search *search, const tkr_result_item *item) {
    return search->info->multi_vector
               ? tkr_maxsim(search->query_rows, search->n_query_rows, item->rows, item->n_rows, search->dimensions)
               : tkr_cosine(search->query_rows, item->rows, search->dimensions);
}

tkr_status tkr_cli_add_hit(tkr_cli_search *search, const tkr_cli_hit *hit, tkr_error *error) {
    search->n_hits++;
    return tkr_buf_append(&search->found, hit, sizeof *hit) ? TKR_OK
                                                            : TKR_FAIL(error, NO_MEMORY, "no memory for scores");
}

tkr_status tkr_cli_take_hit(tkr_cli_search *search, tkr_cli_hit *hit, const tkr_result_item *item, tkr_error *error) {
    if (item->status != TKR_OK) {
        tkr_cli_files_failed(&search->files, hit->path, tkr_cli_why(item));
        return TKR_OK;
    }
    hit->score = tkr_cli_score(search, item);
    return tkr_cli_add_hit(search, hit, error);
}

/* Up to BLOCK_FILES pictures with these numbers among the files. */
static tkr_status score_pictures(tkr_cli_search *search, const size_t *numbers, size_t n, tkr_error *error) {
    tkr_part parts[BLOCK_FILES];
    tkr_input inputs[BLOCK_FILES];
    tkr_result *result = NULL;
    memset(inputs, 0, sizeof inputs);
    for (size_t i = 0; i < n; i++) {
        parts[i] = picture_part(search->files.paths[numbers[i]]);
        inputs[i].kind = TKR_INPUT_PARTS;
        inputs[i].parts = &parts[i];
        inputs[i].n_parts = 1;
        inputs[i].min_pixels = (size_t)tkr_cli_get(search->args, TKR_OPT_MIN_PIXELS)->number;
    }
    tkr_status status = n > 0 ? tkr_embed(&result, search->session, inputs, n, &search->options, error) : TKR_OK;
    for (size_t i = 0; status == TKR_OK && i < n; i++) {
        const tkr_result_item item = tkr_result_get(result, i);
        tkr_cli_hit hit = {.path = search->files.paths[numbers[i]]};
        status = tkr_cli_take_hit(search, &hit, &item, error);
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
    const double times = x->start_s - y->start_s;
    const size_t i = x->page != y->page ? x->page : x->begin + x->picture;
    const size_t j = x->page != y->page ? y->page : y->begin + y->picture;
    return order != 0 ? order : times < 0 ? -1 : times > 0 ? 1 : i < j ? -1 : i > j;
}

static void say_left_out(const search_run *run) {
    const tkr_cli_search *search = &run->search;
    if (search->n_left_out > 0) {
        tkr_cli_note(run->args,
                     "%zu document%s without pages left out: %s has passages and pictures apart; --modality document "
                     "ranks passages",
                     search->n_left_out, search->n_left_out == 1 ? "" : "s", search->info->reference);
    }
}

/* Looks at the files of one kind; pictures several at a time. */
static tkr_status score_kind(search_run *run, tkr_cli_operand kind, size_t *done, tkr_error *error) {
    tkr_cli_search *search = &run->search;
    const tkr_cli_files *files = &search->files;
    size_t numbers[BLOCK_FILES], n = 0;
    tkr_status status = TKR_OK;
    for (size_t i = 0; status == TKR_OK && i < files->n; i++) {
        if (files->kinds[i] == kind) {
            numbers[n++] = i;
        }
        if (n == 0 || (kind == TKR_CLI_PICTURE && n < BLOCK_FILES && i + 1 < files->n)) {
            continue;
        }
        const size_t before = search->n_hits;
        run->progress.n_texts = *done;
        run->progress.fraction = (double)*done / (double)files->n;
        run->progress.step = (double)n / (double)files->n;
        status = kind == TKR_CLI_PICTURE ? score_pictures(search, numbers, n, error)
                 : kind == TKR_CLI_VIDEO ? tkr_cli_score_video(search, files->paths[numbers[0]], error)
                                         : tkr_cli_score_document(search, files->paths[numbers[0]], error);
        run->n_files += kind == TKR_CLI_PICTURE ? search->n_hits - before : search->n_hits > before;
        *done += n;
        n = 0;
    }
    return status;
}

static tkr_status score_all(search_run *run, tkr_error *error) {
    static const tkr_cli_operand order[] = {TKR_CLI_PICTURE, TKR_CLI_VIDEO, TKR_CLI_DOCUMENT};
    tkr_cli_search *search = &run->search;
    tkr_status status = TKR_OK;
    size_t done = 0;
    tkr_cli_progress_start(&run->progress, run->args, false);
    run->progress.unit = "files";
    /* Text and pictures of two towers lie apart: any passage would come before any picture. */
    search->pages_only = search->info->max_images > 0 && strstr(search->info->modalities, "text+image") == NULL &&
                         tkr_cli_files_count(&search->files, TKR_CLI_DOCUMENT) < search->files.n;
    for (size_t i = 0; status == TKR_OK && i < sizeof order / sizeof *order; i++) {
        status = score_kind(run, order[i], &done, error);
    }
    tkr_cli_progress_clear(&run->progress);
    say_left_out(run);
    if (status == TKR_OK && search->n_hits > 0) {
        qsort(search->found.data, search->n_hits, sizeof(tkr_cli_hit), best_first);
    }
    return status;
}

static const tkr_cli_hit *hits_of(const tkr_cli_search *search) {
    return (const tkr_cli_hit *)(const void *)search->found.data;
}

/* ---- what comes out ---- */

static void print_table(tkr_buf *out, const search_run *run, size_t top) {
    size_t columns = tkr_term_is(TKR_STREAM_OUT) ? tkr_term_columns(TKR_STREAM_OUT) : 0;
    columns = columns == 0 ? PIPE_COLUMNS : columns;
    const size_t taken = RANK_COLUMNS + SCORE_COLUMNS + 2, left = columns > taken + 20 ? columns - taken : 20;
    for (size_t i = 0; i < top; i++) {
        const tkr_cli_hit *hit = &hits_of(&run->search)[i];
        tkr_buf_printf(out, "%*zu %*.4f  ", RANK_COLUMNS, i + 1, SCORE_COLUMNS - 1, hit->score);
        if (tkr_term_is(TKR_STREAM_OUT)) {
            tkr_cli_cell(out, hit->path, strlen(hit->path), left, false);
        } else {
            tkr_buf_append(out, hit->path, strlen(hit->path));
        }
        tkr_cli_hit_place(out, hit);
        if (hit->text != NULL) {
            tkr_buf_printf(out, "\n%*s", (int)taken, "");
            tkr_cli_cell(out, hit->text, strlen(hit->text), left, false);
        }
        tkr_buf_putc(out, '\n');
    }
}

static void put_place(tkr_buf *out, const tkr_cli_hit *hit) {
    static const char *const kinds[] = {"image", "video", "page_image", "text", "picture"}; /* by tkr_cli_hit_kind */
    tkr_cli_json_text(out, "kind", kinds[hit->kind]);
    if (hit->unit != NULL && hit->page > 0) {
        tkr_cli_json_count(out, hit->unit, hit->page);
        if (hit->last_page > hit->page) {
            tkr_buf_printf(out, ", \"last_%s\": %zu", hit->unit, hit->last_page);
        }
    }
    if (hit->kind == TKR_CLI_HIT_VIDEO) {
        tkr_buf_printf(out, ", \"start_s\": %.3f, \"end_s\": %.3f, \"frame_s\": %.3f", hit->start_s, hit->end_s,
                       hit->frame_s);
    }
    if (hit->kind == TKR_CLI_HIT_INSIDE) {
        tkr_cli_json_count(out, "picture", hit->picture);
    }
    if (hit->kind == TKR_CLI_HIT_TEXT || hit->kind == TKR_CLI_HIT_INSIDE) {
        tkr_buf_printf(out, ", \"chars\": [%zu, %zu]", hit->begin, hit->end);
        if (hit->heading != NULL) {
            tkr_cli_json_text(out, "heading", hit->heading);
        }
        if (hit->text != NULL) {
            tkr_cli_json_text(out, "text", hit->text);
        }
    }
}

static void print_json(tkr_buf *out, const search_run *run, size_t top) {
    const tkr_cli_search *search = &run->search;
    tkr_buf_putc(out, '{');
    tkr_cli_json_text(out, "model", search->info->reference);
    tkr_cli_json_text(out, "fingerprint", search->info->fingerprint);
    tkr_cli_json_text(out, "query", run->query);
    tkr_cli_json_text(out, "query_image", run->query_image);
    tkr_cli_json_text(out, "score", search->info->multi_vector ? "maxsim" : "cosine");
    tkr_cli_json_count(out, "files", run->n_files);
    tkr_cli_json_count(out, "candidates", search->n_hits);
    tkr_cli_json_count(out, "failed", search->files.n_failures);
    tkr_cli_json_key(out, "results");
    tkr_buf_putc(out, '[');
    for (size_t i = 0; i < top; i++) {
        tkr_buf_printf(out, "%s\n{", i > 0 ? "," : "");
        tkr_cli_json_count(out, "rank", i + 1);
        tkr_cli_json_number(out, "score", hits_of(search)[i].score);
        tkr_cli_json_text(out, "source", hits_of(search)[i].path);
        put_place(out, &hits_of(search)[i]);
        tkr_buf_putc(out, '}');
    }
    tkr_buf_append(out, "\n]}\n", 4);
}

static tkr_status thumbnail(void *user, tkr_buf *png, size_t *width, size_t *height, const tkr_cli_hit *hit,
                            tkr_error *error) {
    const tkr_cli_search *search = user;
    if (hit->kind == TKR_CLI_HIT_PAGE || hit->kind == TKR_CLI_HIT_INSIDE) {
        return tkr_cli_page_thumbnail(png, width, height, search, hit, THUMBNAIL, error);
    }
    if (hit->kind == TKR_CLI_HIT_VIDEO) {
        return tkr_cli_frame_thumbnail(png, width, height, search, hit, THUMBNAIL, error);
    }
    const tkr_part part = picture_part(hit->path);
    return tkr_tools_thumbnail(png, width, height, search->model, &part, THUMBNAIL, error);
}

/* "pictures, video segments and passages": what was looked at. */
static void name_hits(char out[96], const tkr_cli_search *search) {
    static const char *const names[] = {"pictures", "video segments", "pages", "passages",
                                        "pictures inside documents"}; /* by tkr_cli_hit_kind */
    enum { N_KINDS = sizeof names / sizeof *names };
    size_t count[N_KINDS] = {0}, n = 0, at = 0, left = 0;
    for (size_t i = 0; i < search->n_hits; i++) {
        count[hits_of(search)[i].kind]++;
    }
    for (size_t k = 0; k < N_KINDS; k++) {
        left += count[k] > 0;
    }
    for (size_t k = 0; k < N_KINDS; k++) {
        if (count[k] > 0) {
            left--;
            at += (size_t)snprintf(out + at, 96 - at, "%s%s", n == 0 ? "" : left == 0 ? " and " : ", ", names[k]);
            n++;
        }
    }
}

static tkr_status write_sheet(search_run *run, size_t top, const char *path, tkr_error *error) {
    tkr_cli_search *search = &run->search;
    char what[96] = "";
    const tkr_cli_sheet sheet = {.query = run->query,
                                 .query_image = run->query_image,
                                 .hits = hits_of(search),
                                 .n_hits = top,
                                 .n_all = search->n_hits,
                                 .what = what,
                                 .model = search->info->reference,
                                 .note = run->demo ? demo_note : NULL,
                                 .maxsim = search->info->multi_vector != 0,
                                 .thumbnail = thumbnail,
                                 .user = search};
    tkr_buf page = {0};
    name_hits(what, search);
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
    const size_t n_hits = run->search.n_hits;
    size_t top = wanted->set ? (size_t)wanted->number : DEFAULT_TOP;
    tkr_buf out = {0};
    top = top < n_hits ? top : n_hits;
    if (n_hits == 0) {
        return TKR_FAIL(error, INVALID_ARGUMENT, "none of %zu files could be read as a picture, a video or a document",
                        run->search.files.n);
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
    search_run run = {.args = args, .search.args = args};
    tkr_cli_search *search = &run.search;
    tkr_error error = {0};
    int code = TKR_EXIT_OK;
    size_t first_file = 0;
    if (!read_operands(&run, &first_file)) {
        return TKR_EXIT_USAGE;
    }
    tkr_cli_embed_options(&search->options, args);
    search->options.instruction = NULL; /* of the query only */
    if (tkr_cli_videos_open(&search->videos, args, &error) != TKR_OK) {
        return tkr_cli_fail(TKR_EXIT_USAGE, "search: %s", error.message);
    }
    tkr_status status = list_files(&run, first_file, &error);
    if (status == TKR_OK) {
        status = load(&run, &error);
    }
    if (status == TKR_OK) {
        tkr_signals_note();
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
    tkr_cli_files_report(&search->files, args);
    if (status != TKR_OK) {
        code = tkr_cli_report(&error);
    }
    tkr_free(search->query_rows);
    tkr_buf_free(&search->found);
    tkr_arena_free(&search->strings);
    tkr_cli_files_free(&search->files);
    tkr_session_free(&search->session);
    tkr_model_free(&search->model);
    return code;
}
