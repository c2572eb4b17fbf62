/* SPDX-License-Identifier: Apache-2.0 */
/* cli/documents: a document in, a row for each passage, page and picture out. */
#include <string.h>

#include "cli/passages.h"
#include "core/json.h"

/* "source":...,"page":... in JSON: what a row says of where it comes from. */
static bool put_fields(tkr_buf *out, const tkr_cli_rows *rows, const tkr_cli_item *item, size_t number,
                       const tkr_tools_passage *passage) {
    if (item->source != NULL) {
        tkr_buf_printf(out, "\"source\":");
        tkr_json_write_string(out, item->source, item->n_source);
        tkr_buf_putc(out, ',');
    }
    tkr_buf_printf(out, "\"passage\":%zu", number);
    if (passage->unit != NULL && passage->page > 0) {
        tkr_buf_printf(out, ",\"%s\":%zu", passage->unit, passage->page);
    }
    if (passage->last_page > passage->page) {
        tkr_buf_printf(out, ",\"last_%s\":%zu", passage->unit, passage->last_page);
    }
    if (passage->kind == TKR_PASSAGE_PAGE) {
        return tkr_buf_printf(out, ",\"kind\":\"page_image\"");
    }
    const bool picture = passage->kind == TKR_PASSAGE_PICTURE;
    tkr_buf_printf(out, ",\"kind\":\"%s\"", picture ? "picture" : "text");
    if (picture) {
        tkr_buf_printf(out, ",\"picture\":%zu", passage->picture);
    }
    tkr_buf_printf(out, ",\"chars\":[%zu,%zu]", passage->begin, passage->end);
    if (passage->heading != NULL) {
        tkr_buf_printf(out, ",\"heading\":");
        tkr_json_write_string(out, passage->heading, strlen(passage->heading));
    }
    if (!tkr_cli_on(rows->args, TKR_OPT_NO_TEXT) && (!picture || passage->n_text > 0)) {
        tkr_buf_printf(out, ",\"text\":");
        tkr_json_write_string(out, passage->text, passage->n_text);
    }
    return !out->failed;
}

typedef struct writing {
    tkr_cli_rows *rows;
    const tkr_cli_item *document;
    size_t number; /* of the next passage, from 1 */
} writing;

static tkr_status write_row(void *user, const tkr_tools_passage *passage, const tkr_result_item *row,
                            tkr_error *error) {
    writing *w = user;
    tkr_buf fields = {0};
    tkr_cli_item item = *w->document;
    tkr_status status = put_fields(&fields, w->rows, &item, w->number++, passage)
                            ? TKR_OK
                            : TKR_FAIL(error, NO_MEMORY, "out of memory");
    item.source = NULL; /* in the fields, with a kind of its own */
    item.fields = fields.data;
    if (status == TKR_OK && row->status != TKR_OK && passage->kind != TKR_PASSAGE_TEXT) {
        tkr_cli_rows_note(w->rows, &item, tkr_cli_why(row)); /* one bad page or picture costs that one */
        w->rows->n_skipped++;
        status = tkr_cli_writer_failed(w->rows->writer, &item, tkr_cli_why(row), error);
    } else if (status == TKR_OK) {
        status = tkr_cli_rows_put(w->rows, &item, row, error);
    }
    tkr_buf_free(&fields);
    const tkr_status sync = tkr_cli_writer_sync(w->rows->writer, status == TKR_OK ? error : NULL);
    return status != TKR_OK ? status : sync;
}

/* The call's options with the item's own prompt. */
static tkr_embed_options options_of(const tkr_cli_rows *rows, const tkr_input *input) {
    tkr_embed_options options = *rows->options;
    if (input->prompt_name != NULL || input->prompt != NULL || input->instruction != NULL) {
        options.prompt_name = input->prompt_name;
        options.prompt = input->prompt;
        options.instruction = input->instruction;
    }
    return options;
}

static tkr_status embed_passages(tkr_cli_rows *rows, const tkr_cli_item *item, const tkr_tools_document *document,
                                 const tkr_embed_options *options, tkr_error *error) {
    const char *note = NULL;
    writing w = {.rows = rows, .document = item, .number = 1};
    (void)tkr_tools_document_type(document, &note);
    if (note != NULL || tkr_tools_document_n(document) == 0) {
        tkr_cli_rows_note(rows, item, note != NULL ? note : "has no text");
    }
    return tkr_cli_each_passage(document, rows->session, options, rows->source->min_pixels, write_row, &w, error);
}

tkr_status tkr_cli_embed_document(tkr_cli_rows *rows, const tkr_cli_item *item, tkr_error *error) {
    const tkr_tools_mode mode = (tkr_tools_mode)tkr_cli_get(rows->args, TKR_OPT_DOCUMENT_MODE)->number;
    const tkr_embed_options options = options_of(rows, &item->input);
    tkr_buf bytes = {0};
    tkr_tools_document *document = NULL;
    tkr_error why = {0};
    tkr_status status = item->bytes == NULL || tkr_buf_append(&bytes, item->bytes, item->n_bytes)
                            ? TKR_OK
                            : TKR_FAIL(&why, NO_MEMORY, "out of memory");
    if (status == TKR_OK) {
        status = tkr_cli_document_open(&document, &bytes, rows->args, rows->model, item->label, mode, &options, &why);
    }
    if (status == TKR_OK) {
        status = embed_passages(rows, item, document, &options, error);
    } else if (status == TKR_INVALID_ARGUMENT || status == TKR_CANCELLED || status == TKR_NO_MEMORY) {
        *error = why;
    } else {
        status = tkr_cli_rows_fail(rows, item, status, why.message, error);
    }
    tkr_tools_document_free(&document);
    tkr_buf_free(&bytes);
    return status;
}
