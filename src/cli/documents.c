/* SPDX-License-Identifier: Apache-2.0 */
/* cli/documents: documents in, a row for each passage and page out. */
#include <stdio.h>
#include <string.h>

#include "cli/stream.h"
#include "core/json.h"
#include "engine/tools.h"

enum { PASSAGES = 64, PAGES = 4 }; /* of one call */
static const size_t MAX_BYTES = (size_t)256 << 20;

/* ,"source":...,"page":... in JSON: what a row says of where it comes from. */
static bool put_fields(tkr_buf *out, const tkr_cli_documents *d, const char *path, const tkr_tools_passage *passage) {
    tkr_buf_printf(out, "\"source\":");
    tkr_json_write_string(out, path, strlen(path));
    if (passage->unit != NULL && passage->page > 0) {
        tkr_buf_printf(out, ",\"%s\":%zu", passage->unit, passage->page);
    }
    if (passage->last_page > passage->page) {
        tkr_buf_printf(out, ",\"last_%s\":%zu", passage->unit, passage->last_page);
    }
    if (passage->is_page) {
        return tkr_buf_printf(out, ",\"kind\":\"page_image\"");
    }
    tkr_buf_printf(out, ",\"kind\":\"text\",\"chars\":[%zu,%zu]", passage->begin, passage->end);
    if (passage->heading != NULL) {
        tkr_buf_printf(out, ",\"heading\":");
        tkr_json_write_string(out, passage->heading, strlen(passage->heading));
    }
    if (!tkr_cli_on(d->args, TKR_OPT_NO_TEXT)) {
        tkr_buf_printf(out, ",\"text\":");
        tkr_json_write_string(out, passage->text, passage->n_text);
    }
    return !out->failed;
}

/* Tells a failure; TKR_OK to go on. */
static tkr_status fail(tkr_cli_documents *d, const char *message, tkr_status status, tkr_error *error) {
    d->n_skipped++;
    if (!d->skip) {
        return error->message == message ? status : tkr_error_set(error, TKR_HERE, status, "%s", message);
    }
    tkr_cli_note(d->args, "%s", message);
    return TKR_OK;
}

static tkr_status write_row(tkr_cli_documents *d, const char *path, const tkr_tools_passage *passage,
                            const tkr_result_item *row, tkr_error *error) {
    tkr_buf fields = {0};
    tkr_cli_item item = {.index = d->index++};
    tkr_status status = put_fields(&fields, d, path, passage) ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "out of memory");
    item.fields = fields.data;
    if (status == TKR_OK && row->status == TKR_OK) {
        status = tkr_cli_writer_row(d->writer, &item, row, error);
        d->n_written++;
        d->n_tokens += row->n_tokens;
    } else if (status == TKR_OK) {
        const char *message = row->message != NULL ? row->message : tkr_status_text(row->status);
        char where[400];
        const bool named = strncmp(message, path, strlen(path)) == 0;
        (void)snprintf(where, sizeof where, named ? "%.0s%.380s" : "%.180s: %.200s", path, message);
        if (passage->is_page) { /* one bad page costs that page */
            tkr_cli_note(d->args, "%s", where);
            d->n_skipped++;
        } else {
            status = fail(d, where, row->status, error);
        }
        if (status == TKR_OK) {
            status = tkr_cli_writer_failed(d->writer, &item, message, error);
        }
    }
    tkr_buf_free(&fields);
    return status;
}

typedef struct batch {
    tkr_input inputs[PASSAGES];
    tkr_part parts[PASSAGES];
    void *pixels[PASSAGES];
    tkr_result_item failed[PASSAGES]; /* pages that can't be drawn; status TKR_OK: it could */
    char messages[PAGES][TKR_ERROR_MESSAGE_SIZE];
    size_t n, n_inputs;
} batch;

static void add_passage(batch *b, const tkr_tools_document *document, size_t index, const tkr_tools_passage *passage) {
    const size_t i = b->n++;
    tkr_error why = {0};
    b->failed[i] = (tkr_result_item){.status = TKR_OK};
    if (!passage->is_page) {
        b->inputs[b->n_inputs++] =
            (tkr_input){.kind = TKR_INPUT_TEXT, .text = passage->input, .n_text = passage->n_input};
        return;
    }
    b->failed[i].status = tkr_tools_document_page(&b->parts[i], &b->pixels[i], document, index, &why);
    if (b->failed[i].status == TKR_OK) {
        b->inputs[b->n_inputs++] = (tkr_input){.kind = TKR_INPUT_PARTS, .parts = &b->parts[i], .n_parts = 1};
    } else {
        memcpy(b->messages[i], why.message, sizeof why.message);
        b->failed[i].message = b->messages[i];
    }
}

static tkr_status write_batch(tkr_cli_documents *d, const char *path, const batch *b,
                              const tkr_tools_document *document, size_t first, const tkr_result *result,
                              tkr_error *error) {
    tkr_status status = TKR_OK;
    for (size_t i = 0, row = 0; i < b->n && status == TKR_OK; i++) {
        const tkr_tools_passage passage = tkr_tools_document_get(document, first + i);
        tkr_result_item one = b->failed[i];
        if (one.status == TKR_OK) {
            one = tkr_result_get(result, row++);
        }
        status = write_row(d, path, &passage, &one, error);
    }
    return status;
}

static tkr_status embed_all(tkr_cli_documents *d, const char *path, const tkr_tools_document *document, batch *b,
                            tkr_error *error) {
    const size_t n = tkr_tools_document_n(document);
    tkr_status status = TKR_OK;
    for (size_t at = 0; at < n && status == TKR_OK; at += b->n) {
        tkr_result *result = NULL;
        b->n = b->n_inputs = 0;
        memset(b->pixels, 0, sizeof b->pixels);
        tkr_tools_passage passage = tkr_tools_document_get(document, at);
        const int kind = passage.is_page;
        const size_t most = kind ? PAGES : PASSAGES;
        while (b->n < most && at + b->n < n) {
            passage = tkr_tools_document_get(document, at + b->n);
            if (passage.is_page != kind) {
                break;
            }
            add_passage(b, document, at + b->n, &passage);
        }
        if (b->n_inputs > 0) {
            status = tkr_embed(&result, d->session, b->inputs, b->n_inputs, d->options, error);
        }
        if (status == TKR_OK) {
            status = write_batch(d, path, b, document, at, result, error);
        }
        for (size_t i = 0; i < b->n; i++) {
            tkr_tools_free_pixels(&b->pixels[i]);
        }
        tkr_result_free(&result);
        if (status == TKR_OK) {
            status = tkr_cli_writer_sync(d->writer, error);
        }
    }
    return status;
}

static tkr_status embed_one(tkr_cli_documents *d, const char *path, batch *b, tkr_error *error) {
    const tkr_tools_document_options options = {
        .mode = (tkr_tools_mode)tkr_cli_get(d->args, TKR_OPT_DOCUMENT_MODE)->number,
        .chunk_tokens = (size_t)tkr_cli_get(d->args, TKR_OPT_CHUNK_TOKENS)->number,
        .overlap = (size_t)tkr_cli_get(d->args, TKR_OPT_CHUNK_OVERLAP)->number};
    tkr_buf bytes = {0};
    tkr_tools_document *document = NULL;
    const char *note = NULL;
    tkr_error why = {0};
    tkr_status status = tkr_file_read(&bytes, path, MAX_BYTES, &why);
    if (status == TKR_OK) {
        status = tkr_tools_document_open(&document, d->model, path, bytes.data, bytes.size, &options, &why);
    }
    if (status == TKR_OK) {
        (void)tkr_tools_document_type(document, &note);
        if (note != NULL) {
            tkr_cli_note(d->args, "%s: %s", path, note);
        }
        if (tkr_tools_document_n(document) == 0) {
            tkr_cli_note(d->args, "%s: has no text", path);
        }
        status = embed_all(d, path, document, b, error);
    } else {
        *error = why;
        status = status == TKR_INVALID_ARGUMENT ? status : fail(d, error->message, status, error);
    }
    tkr_tools_document_free(&document);
    tkr_buf_free(&bytes);
    return status;
}

tkr_status tkr_cli_embed_documents(tkr_cli_documents *d, tkr_error *error) {
    batch *b = tkr_calloc(1, sizeof *b);
    tkr_status status = b != NULL ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "out of memory");
    for (size_t i = 0; i < d->args->n_operands && status == TKR_OK; i++) {
        status = embed_one(d, d->args->operands[i], b, error);
    }
    tkr_free(b);
    return status;
}
