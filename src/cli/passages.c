/* SPDX-License-Identifier: Apache-2.0 */
/* cli/passages: documents passage by passage; a page is drawn just before it is embedded. */
#include "cli/passages.h"

#include <string.h>

enum { PASSAGES = 64, PAGES = 4 }; /* of one call */
static const size_t MAX_BYTES = (size_t)256 << 20;

typedef struct batch {
    const tkr_tools_document *document;
    tkr_input inputs[PASSAGES];
    size_t n, n_inputs;
    /* of pages */
    tkr_part parts[PAGES];
    void *pixels[PAGES];
    tkr_error errors[PAGES]; /* status TKR_OK: it could be drawn */
} batch;

tkr_status tkr_cli_document_open(tkr_tools_document **document, tkr_buf *bytes, const tkr_cli_args *args,
                                 tkr_model *model, const char *path, tkr_tools_mode mode, tkr_error *error) {
    const tkr_tools_document_options options = {.mode = mode,
                                                .chunk_tokens = (size_t)tkr_cli_get(args, TKR_OPT_CHUNK_TOKENS)->number,
                                                .overlap = (size_t)tkr_cli_get(args, TKR_OPT_CHUNK_OVERLAP)->number};
    const tkr_status status = tkr_file_read(bytes, path, MAX_BYTES, error);
    return status != TKR_OK ? status
                            : tkr_tools_document_open(document, model, path, bytes->data, bytes->size, &options, error);
}

static void add_passage(batch *b, size_t index, const tkr_tools_passage *passage) {
    const size_t i = b->n++;
    if (!passage->is_page) {
        b->inputs[b->n_inputs++] =
            (tkr_input){.kind = TKR_INPUT_TEXT, .text = passage->input, .n_text = passage->n_input};
        return;
    }
    const tkr_status status = tkr_tools_document_page(&b->parts[i], &b->pixels[i], b->document, index, &b->errors[i]);
    b->errors[i].status = status;
    if (status == TKR_OK) {
        b->inputs[b->n_inputs++] = (tkr_input){.kind = TKR_INPUT_PARTS, .parts = &b->parts[i], .n_parts = 1};
    }
}

/* Adds passages, or pages, from `at` on. */
static void fill(batch *b, size_t at) {
    const size_t n = tkr_tools_document_n(b->document);
    tkr_tools_passage passage = tkr_tools_document_get(b->document, at);
    const int kind = passage.is_page;
    const size_t most = kind ? PAGES : PASSAGES;
    b->n = b->n_inputs = 0;
    memset(b->pixels, 0, sizeof b->pixels);
    memset(b->errors, 0, sizeof b->errors);
    while (at + b->n < n && b->n < most && passage.is_page == kind) {
        add_passage(b, at + b->n, &passage);
        passage = tkr_tools_document_get(b->document, at + b->n);
    }
}

static tkr_status hand_over(const batch *b, size_t at, const tkr_result *result, tkr_cli_passage_fn *take, void *user,
                            tkr_error *error) {
    tkr_status status = TKR_OK;
    for (size_t i = 0, row = 0; i < b->n && status == TKR_OK; i++) {
        const tkr_tools_passage passage = tkr_tools_document_get(b->document, at + i);
        tkr_result_item one = {.status = TKR_OK};
        if (passage.is_page && b->errors[i].status != TKR_OK) {
            one.status = b->errors[i].status;
            one.message = b->errors[i].message;
        } else {
            one = tkr_result_get(result, row++);
        }
        status = take(user, &passage, &one, error);
    }
    return status;
}

tkr_status tkr_cli_each_passage(const tkr_tools_document *document, tkr_session *session,
                                const tkr_embed_options *options, tkr_cli_passage_fn *take, void *user,
                                tkr_error *error) {
    const size_t n = tkr_tools_document_n(document);
    batch *b = tkr_calloc(1, sizeof *b);
    tkr_status status = TKR_OK;
    if (b == NULL) {
        return TKR_FAIL(error, NO_MEMORY, "out of memory");
    }
    for (size_t at = 0; at < n && status == TKR_OK; at += b->n) {
        tkr_result *result = NULL;
        b->document = document;
        fill(b, at);
        if (b->n_inputs > 0) {
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
    tkr_cli_passages *passages;
    const char *path;
} scoring;

static tkr_status score(void *user, const tkr_tools_passage *passage, const tkr_result_item *row, tkr_error *error) {
    const scoring *s = user;
    tkr_arena *strings = &s->passages->strings;
    tkr_cli_hit hit = {.path = s->path,
                       .unit = passage->unit,
                       .page = passage->page,
                       .begin = passage->begin,
                       .end = passage->end,
                       .is_page = passage->is_page};
    if (!passage->is_page) {
        hit.text = tkr_arena_strndup(strings, passage->text, passage->n_text);
        hit.heading =
            passage->heading != NULL ? tkr_arena_strndup(strings, passage->heading, strlen(passage->heading)) : NULL;
        if (hit.text == NULL || (passage->heading != NULL && hit.heading == NULL)) {
            return TKR_FAIL(error, NO_MEMORY, "no memory for passages");
        }
    }
    return s->passages->take(s->passages->user, &hit, row, error);
}

tkr_status tkr_cli_score_document(tkr_cli_passages *passages, const char *path, tkr_error *error) {
    const bool pictures = tkr_model_get_info(passages->model)->max_images > 0;
    scoring s = {.passages = passages, .path = path};
    tkr_buf bytes = {0};
    tkr_tools_document *document = NULL;
    tkr_error why = {0};
    const char *note = NULL;
    tkr_status status = tkr_cli_document_open(&document, &bytes, passages->args, passages->model, path,
                                              pictures ? TKR_TOOLS_PAGE_IMAGE : TKR_TOOLS_TEXT, &why);
    const bool pdf = bytes.size > 4 && memcmp(bytes.data, "%PDF", 4) == 0;
    if (pictures && status == TKR_UNSUPPORTED && !pdf) {
        passages->n_left_out += passages->pages_only;
        tkr_buf_free(&bytes);
        if (passages->pages_only) {
            return TKR_OK;
        }
        status = tkr_cli_document_open(&document, &bytes, passages->args, passages->model, path, TKR_TOOLS_TEXT, &why);
    }
    if (status == TKR_OK) {
        (void)tkr_tools_document_type(document, &note);
        if (note != NULL) {
            tkr_cli_files_failed(passages->files, path, note);
        }
        status = tkr_cli_each_passage(document, passages->session, passages->options, score, &s, error);
    } else if (status == TKR_INVALID_ARGUMENT || status == TKR_NO_MEMORY) {
        status = tkr_error_set(error, TKR_HERE, status, "%s", why.message);
    } else {
        tkr_cli_files_failed(passages->files, path, why.message);
        status = TKR_OK;
    }
    tkr_tools_document_free(&document);
    tkr_buf_free(&bytes);
    return status;
}

tkr_status tkr_cli_page_thumbnail(tkr_buf *png, size_t *width, size_t *height, const tkr_cli_passages *passages,
                                  const tkr_cli_hit *hit, size_t side, tkr_error *error) {
    tkr_buf bytes = {0};
    tkr_tools_document *document = NULL;
    tkr_part part;
    void *pixels = NULL;
    tkr_status status = tkr_cli_document_open(&document, &bytes, passages->args, passages->model, hit->path,
                                              TKR_TOOLS_PAGE_IMAGE, error);
    if (status == TKR_OK) {
        status = tkr_tools_document_page(&part, &pixels, document, hit->page - 1, error);
    }
    if (status == TKR_OK) {
        status = tkr_tools_thumbnail(png, width, height, passages->model, &part, side, error);
    }
    tkr_tools_free_pixels(&pixels);
    tkr_tools_document_free(&document);
    tkr_buf_free(&bytes);
    return status;
}
