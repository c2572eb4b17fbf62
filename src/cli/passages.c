/* SPDX-License-Identifier: Apache-2.0 */
/* cli/passages: documents passage by passage; a page is drawn just before it is embedded. */
#include "cli/passages.h"

#include <string.h>

#include "cli/search.h"
#include "core/term.h"

enum { PASSAGES = 64, PAGES = 4, WINDOWS = 4 }; /* of one call */
static const size_t MAX_BYTES = (size_t)256 << 20;

typedef struct batch {
    const tkr_tools_document *document;
    tkr_input inputs[PASSAGES];
    size_t n, n_inputs;
    size_t window; /* the next one, with late chunking */
    size_t min_pixels;
    /* of pages */
    tkr_part parts[PAGES];
    void *pixels[PAGES];
    tkr_error errors[PAGES]; /* status TKR_OK: it could be drawn */
} batch;

tkr_status tkr_cli_document_open(tkr_tools_document **document, tkr_buf *bytes, const tkr_cli_args *args,
                                 tkr_model *model, const char *path, tkr_tools_mode mode,
                                 const tkr_embed_options *embed, tkr_error *error) {
    const tkr_tools_document_options options = {.mode = mode,
                                                .chunk_tokens = (size_t)tkr_cli_get(args, TKR_OPT_CHUNK_TOKENS)->number,
                                                .overlap = (size_t)tkr_cli_get(args, TKR_OPT_CHUNK_OVERLAP)->number,
                                                .late = tkr_cli_on(args, TKR_OPT_LATE_CHUNKING),
                                                .pictures = tkr_cli_on(args, TKR_OPT_PICTURES),
                                                .embed = embed,
                                                .stop = &tkr_cli_interrupt};
    const tkr_status status = bytes->size > 0 ? TKR_OK : tkr_file_read(bytes, path, MAX_BYTES, error);
    return status != TKR_OK ? status
                            : tkr_tools_document_open(document, model, path, bytes->data, bytes->size, &options, error);
}

static void add_passage(batch *b, size_t index, const tkr_tools_passage *passage) {
    const size_t i = b->n++;
    if (passage->kind == TKR_PASSAGE_TEXT) {
        b->inputs[b->n_inputs++] =
            (tkr_input){.kind = TKR_INPUT_TEXT, .text = passage->input, .n_text = passage->n_input};
        return;
    }
    const tkr_status status = tkr_tools_document_image(&b->parts[i], &b->pixels[i], b->document, index, &b->errors[i]);
    b->errors[i].status = status;
    if (status == TKR_OK) {
        b->inputs[b->n_inputs++] =
            (tkr_input){.kind = TKR_INPUT_PARTS, .parts = &b->parts[i], .n_parts = 1, .min_pixels = b->min_pixels};
    }
}

/* With late chunking: some windows, and all of their passages. */
static void add_windows(batch *b) {
    const size_t n = tkr_tools_document_n_windows(b->document);
    while (b->window < n && b->n_inputs < WINDOWS) {
        size_t first = 0;
        const tkr_input window = tkr_tools_document_window(b->document, b->window++, &first);
        b->inputs[b->n_inputs++] = window;
        b->n += window.n_spans;
    }
}

/* Adds passages, or pages, from `at` on. */
static void fill(batch *b, size_t at) {
    const size_t n = tkr_tools_document_n(b->document);
    tkr_tools_passage passage = tkr_tools_document_get(b->document, at);
    const tkr_passage_kind kind = passage.kind;
    const size_t most = kind == TKR_PASSAGE_TEXT ? PASSAGES : PAGES;
    b->n = b->n_inputs = 0;
    memset(b->pixels, 0, sizeof b->pixels);
    memset(b->errors, 0, sizeof b->errors);
    if (kind == TKR_PASSAGE_TEXT && tkr_tools_document_n_windows(b->document) > 0) {
        add_windows(b);
        return;
    }
    while (b->n < most && passage.kind == kind) {
        add_passage(b, at + b->n, &passage);
        if (at + b->n == n) {
            break;
        }
        passage = tkr_tools_document_get(b->document, at + b->n);
    }
}

/* The next row: of a window's that of its next passage. */
static tkr_result_item next_row(const batch *b, const tkr_result *result, size_t *index, size_t *span) {
    const tkr_input *input = &b->inputs[*index];
    tkr_result_item one = tkr_result_get(result, *index);
    if (input->n_spans > 0 && one.status == TKR_OK) {
        one.rows += *span * one.dimensions;
        one.n_rows = 1;
        one.n_tokens = one.n_tokens_untruncated = input->spans[2 * *span + 1] - input->spans[2 * *span];
    }
    if (++*span >= input->n_spans) {
        ++*index;
        *span = 0;
    }
    return one;
}

static tkr_status hand_over(const batch *b, size_t at, const tkr_result *result, tkr_cli_passage_fn *take, void *user,
                            tkr_error *error) {
    tkr_status status = TKR_OK;
    for (size_t i = 0, index = 0, span = 0; i < b->n && status == TKR_OK; i++) {
        const tkr_tools_passage passage = tkr_tools_document_get(b->document, at + i);
        tkr_result_item one = {.status = TKR_OK};
        if (passage.kind != TKR_PASSAGE_TEXT && b->errors[i].status != TKR_OK) {
            one.status = b->errors[i].status;
            one.message = b->errors[i].message;
        } else {
            one = next_row(b, result, &index, &span);
        }
        status = take(user, &passage, &one, error);
    }
    return status;
}

tkr_status tkr_cli_each_passage(const tkr_tools_document *document, tkr_session *session,
                                const tkr_embed_options *options, size_t min_pixels, tkr_cli_passage_fn *take,
                                void *user, tkr_error *error) {
    const size_t n = tkr_tools_document_n(document);
    batch *b = tkr_calloc(1, sizeof *b);
    tkr_status status = TKR_OK;
    if (b == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    for (size_t at = 0; at < n && status == TKR_OK; at += b->n) {
        tkr_result *result = NULL;
        b->document = document;
        b->min_pixels = min_pixels;
        fill(b, at);
        if (tkr_signals_pending() != 0) { /* what was drawn until then isn't the document's fault */
            status = TKR_FAIL(error, CANCELLED, "interrupted");
        } else if (b->n_inputs > 0) {
            status = tkr_embed(&result, session, b->inputs, b->n_inputs, options, error);
        }
        if (status == TKR_OK) {
            status = hand_over(b, at, result, take, user, error);
        }
        for (size_t i = 0; i < PAGES; i++) {
            tkr_tools_free_pixels(&b->pixels[i]);
        }
        tkr_result_free(&result);
    }
    tkr_free(b);
    return status;
}

/* ---- search ---- */

typedef struct scoring {
    tkr_cli_search *search;
    const char *path;
} scoring;

static tkr_status score(void *user, const tkr_tools_passage *passage, const tkr_result_item *row, tkr_error *error) {
    const scoring *s = user;
    tkr_arena *strings = &s->search->strings;
    static const tkr_cli_hit_kind kinds[] = {TKR_CLI_HIT_TEXT, TKR_CLI_HIT_PAGE, TKR_CLI_HIT_INSIDE};
    tkr_cli_hit hit = {.kind = kinds[passage->kind],
                       .path = s->path,
                       .unit = passage->unit,
                       .page = passage->page,
                       .picture = passage->picture,
                       .last_page = passage->last_page,
                       .begin = passage->begin,
                       .end = passage->end};
    if (passage->kind == TKR_PASSAGE_TEXT || passage->n_text > 0) {
        hit.text = tkr_arena_strndup(strings, passage->text, passage->n_text);
        hit.heading =
            passage->heading != NULL ? tkr_arena_strndup(strings, passage->heading, strlen(passage->heading)) : NULL;
        if (hit.text == NULL || (passage->heading != NULL && hit.heading == NULL)) {
            return TKR_FAIL(error, NO_MEMORY, "no memory for passages");
        }
    }
    return tkr_cli_take_hit(s->search, &hit, row, error);
}

tkr_status tkr_cli_score_document(tkr_cli_search *search, const char *path, tkr_error *error) {
    const tkr_tools_mode mode = search->info->max_images == 0 ? TKR_TOOLS_TEXT
                                : search->pages_only          ? TKR_TOOLS_ANY_PAGES
                                                              : TKR_TOOLS_PAGES_ELSE_TEXT;
    const size_t min_pixels = (size_t)tkr_cli_get(search->args, TKR_OPT_MIN_PIXELS)->number;
    scoring s = {.search = search, .path = path};
    tkr_buf bytes = {0};
    tkr_tools_document *document = NULL;
    tkr_error why = {0};
    const char *note = NULL;
    tkr_status status =
        tkr_cli_document_open(&document, &bytes, search->args, search->model, path, mode, &search->options, &why);
    if (status == TKR_OK) {
        const bool pdf = strcmp(tkr_tools_document_type(document, &note), "pdf") == 0;
        search->n_left_out += search->pages_only && !pdf && tkr_tools_document_n(document) == 0;
        if (note != NULL) {
            tkr_cli_files_failed(&search->files, path, note);
        }
        status = tkr_cli_each_passage(document, search->session, &search->options, min_pixels, score, &s, error);
    } else if (status == TKR_INVALID_ARGUMENT || status == TKR_NO_MEMORY || status == TKR_CANCELLED) {
        status = tkr_error_set(error, TKR_HERE, status, "%s", why.message);
    } else {
        tkr_cli_files_failed(&search->files, path, why.message);
        status = TKR_OK;
    }
    tkr_tools_document_free(&document);
    tkr_buf_free(&bytes);
    return status;
}

/* The pixels of a picture inside a document, which has to be read for it. */
static tkr_status inside_pixels(tkr_part *part, void **pixels, const tkr_cli_search *search, const tkr_cli_hit *hit,
                                tkr_buf *bytes, tkr_error *error) {
    tkr_tools_document *document = NULL;
    size_t index = 0;
    tkr_status status = tkr_cli_document_open(&document, bytes, search->args, search->model, hit->path,
                                              TKR_TOOLS_ANY_PAGES, &search->options, error);
    if (status != TKR_OK) {
        return status;
    }
    while (index < tkr_tools_document_n(document) && tkr_tools_document_get(document, index).picture != hit->picture) {
        index++;
    }
    status = index < tkr_tools_document_n(document) ? tkr_tools_document_image(part, pixels, document, index, error)
                                                    : TKR_FAIL(error, FORMAT, "%s: has changed", hit->path);
    tkr_tools_document_free(&document);
    part->name = hit->path; /* the document's own is gone */
    return status;
}

tkr_status tkr_cli_page_thumbnail(tkr_buf *png, size_t *width, size_t *height, const tkr_cli_search *search,
                                  const tkr_cli_hit *hit, size_t side, tkr_error *error) {
    tkr_buf bytes = {0};
    tkr_part part = {0};
    void *pixels = NULL;
    tkr_status status = tkr_file_read(&bytes, hit->path, MAX_BYTES, error);
    if (status == TKR_OK) {
        status = hit->kind == TKR_CLI_HIT_PAGE
                     ? tkr_tools_draw_page(&part, &pixels, search->model, hit->path, bytes.data, bytes.size, hit->page,
                                           side, &tkr_cli_interrupt, error)
                     : inside_pixels(&part, &pixels, search, hit, &bytes, error);
    }
    if (status == TKR_OK) {
        status = tkr_tools_thumbnail(png, width, height, search->model, &part, side, error);
    }
    tkr_tools_free_pixels(&pixels);
    tkr_buf_free(&bytes);
    return status;
}
