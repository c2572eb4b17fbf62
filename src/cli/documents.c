/* SPDX-License-Identifier: Apache-2.0 */
/* cli/documents: documents in, a row for each passage and page out. */
#include <stdio.h>
#include <string.h>

#include "cli/passages.h"
#include "core/json.h"

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

typedef struct writing {
    tkr_cli_documents *d;
    const char *path;
} writing;

static tkr_status write_row(void *user, const tkr_tools_passage *passage, const tkr_result_item *row,
                            tkr_error *error) {
    const writing *w = user;
    tkr_cli_documents *d = w->d;
    const char *path = w->path;
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
    const tkr_status sync = tkr_cli_writer_sync(d->writer, status == TKR_OK ? error : NULL);
    return status != TKR_OK ? status : sync;
}

static tkr_status embed_one(tkr_cli_documents *d, const char *path, tkr_error *error) {
    const tkr_tools_mode mode = (tkr_tools_mode)tkr_cli_get(d->args, TKR_OPT_DOCUMENT_MODE)->number;
    tkr_buf bytes = {0};
    tkr_tools_document *document = NULL;
    const char *note = NULL;
    tkr_error why = {0};
    tkr_status status = tkr_cli_document_open(&document, &bytes, d->args, d->model, path, mode, &why);
    if (status == TKR_OK) {
        (void)tkr_tools_document_type(document, &note);
        if (note != NULL) {
            tkr_cli_note(d->args, "%s: %s", path, note);
        }
        if (tkr_tools_document_n(document) == 0) {
            tkr_cli_note(d->args, "%s: has no text", path);
        }
        writing w = {.d = d, .path = path};
        status = tkr_cli_each_passage(document, d->session, d->options, write_row, &w, error);
    } else {
        *error = why;
        status = status == TKR_INVALID_ARGUMENT ? status : fail(d, error->message, status, error);
    }
    tkr_tools_document_free(&document);
    tkr_buf_free(&bytes);
    return status;
}

tkr_status tkr_cli_embed_documents(tkr_cli_documents *d, tkr_error *error) {
    tkr_status status = TKR_OK;
    for (size_t i = 0; i < d->args->n_operands && status == TKR_OK; i++) {
        status = embed_one(d, d->args->operands[i], error);
    }
    return status;
}
