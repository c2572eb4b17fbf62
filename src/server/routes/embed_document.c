/* SPDX-License-Identifier: Apache-2.0 */
/* routes/embed_document: POST /embed/document: files of a form become passages and pages, which become vectors. */
#include <stdio.h>
#include <string.h>

#include "engine/tools.h"
#include "server/routes/embed.h"
#include "server/routes/schema.h"
#include "server/routes/shape.h"

/* op->state; `reply` first, so that embed_reply finds it. */
typedef struct state {
    tkr_embed_reply reply;
    const char *passages, *documents; /* JSON, without brackets */
} state;

/* What parsing gathers of all files. */
typedef struct reader {
    tkr_operation *op;
    tkr_tools_document_options options;
    tkr_buf inputs;              /* tkr_input */
    tkr_buf passages, documents; /* JSON */
} reader;

static void *copy(tkr_operation *op, const void *data, size_t n) {
    char *out = tkr_operation_alloc(op, n + 1);
    if (out != NULL && n > 0) {
        memcpy(out, data, n);
    }
    return out;
}

static void put_passage(tkr_buf *out, const tkr_tools_passage *passage, size_t file) {
    tkr_buf_printf(out, "%s{\"file\":%zu,\"kind\":\"%s\"", out->size > 0 ? "," : "", file,
                   passage->is_page ? "page_image" : "text");
    if (passage->unit != NULL && passage->page > 0) {
        tkr_buf_printf(out, ",\"%s\":%zu", passage->unit, passage->page);
    }
    if (passage->last_page > passage->page) {
        tkr_buf_printf(out, ",\"last_%s\":%zu", passage->unit, passage->last_page);
    }
    if (!passage->is_page) {
        tkr_buf_printf(out, ",\"chars\":[%zu,%zu]", passage->begin, passage->end);
        if (passage->heading != NULL) {
            tkr_buf_printf(out, ",\"heading\":");
            tkr_put_text(out, passage->heading);
        }
        tkr_buf_printf(out, ",\"text\":");
        tkr_json_write_string(out, passage->text, passage->n_text);
    }
    tkr_buf_putc(out, '}');
}

static bool add_page(tkr_input *input, const reader *r, const tkr_tools_document *document, size_t index,
                     const char *param, bool *failed) {
    tkr_operation *op = r->op;
    void *pixels = NULL;
    tkr_error error = {0};
    tkr_part *part = tkr_operation_alloc(op, sizeof *part);
    if (part == NULL) {
        return false;
    }
    *failed = tkr_tools_document_page(part, &pixels, document, index, &error) != TKR_OK;
    if (*failed) {
        return true; /* one bad page costs that page */
    }
    part->data = copy(op, pixels, part->n_data);
    part->name = param;
    tkr_tools_free_pixels(&pixels);
    *input = (tkr_input){.kind = TKR_INPUT_PARTS, .parts = part, .n_parts = 1};
    return part->data != NULL;
}

static bool add_all(reader *r, const tkr_tools_document *document, const char *param, size_t file, size_t *n_failed) {
    tkr_operation *op = r->op;
    const size_t n = tkr_tools_document_n(document);
    if (!tkr_operation_fits(op, r->inputs.size / sizeof(tkr_input) + n)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const tkr_tools_passage passage = tkr_tools_document_get(document, i);
        tkr_input input = {.kind = TKR_INPUT_TEXT, .n_text = passage.n_input};
        bool failed = false;
        if (passage.is_page) {
            if (!add_page(&input, r, document, i, param, &failed)) {
                return false;
            }
        } else {
            input.text = copy(op, passage.input, passage.n_input);
            op->n_characters += passage.end - passage.begin;
            if (input.text == NULL) {
                return false;
            }
        }
        *n_failed += failed;
        if (failed) {
            continue;
        }
        put_passage(&r->passages, &passage, file);
        if (!tkr_buf_append(&r->inputs, &input, sizeof input) || r->passages.failed) {
            return tkr_refuse(op, INTERNAL, NULL, "no memory for the document's passages");
        }
    }
    return true;
}

static void put_document(tkr_buf *out, const tkr_tools_document *document, const tkr_form_part *file, size_t n_failed) {
    const char *note = NULL;
    const char *type = tkr_tools_document_type(document, &note);
    size_t n_text = 0;
    const char *text = tkr_tools_document_text(document, &n_text);
    tkr_buf_printf(out, "%s{\"source\":", out->size > 0 ? "," : "");
    if (file->file_name != NULL) {
        tkr_put_text(out, file->file_name);
    } else {
        tkr_buf_printf(out, "null");
    }
    tkr_buf_printf(out, ",\"type\":\"%s\",\"characters\":%zu", type, tkr_count_characters(text, n_text));
    if (note != NULL) {
        tkr_buf_printf(out, ",\"note\":");
        tkr_put_text(out, note);
    }
    if (n_failed > 0) {
        tkr_buf_printf(out, ",\"pages_not_drawn\":%zu", n_failed);
    }
    tkr_buf_putc(out, '}');
}

static bool add_file(reader *r, size_t index) {
    tkr_operation *op = r->op;
    const tkr_form_part *file = &op->form[index];
    tkr_tools_document *document = NULL;
    tkr_error error = {0};
    char *param = tkr_operation_alloc(op, 64);
    size_t n_failed = 0;
    if (param == NULL) {
        return false;
    }
    (void)snprintf(param, 64, "%.40s[%zu]", file->name, index);
    const tkr_status status =
        tkr_tools_document_open(&document, op->model->model, param, file->data, file->size, &r->options, &error);
    if (status != TKR_OK) {
        const tkr_fault_kind kind = status == TKR_LIMIT ? TKR_FAULT_TOO_LARGE : tkr_fault_of_status(status);
        return tkr_refuse_with(op, kind, status == TKR_INVALID_ARGUMENT ? "" : param, "%s", error.message);
    }
    const bool good = add_all(r, document, param, index, &n_failed);
    if (good) {
        put_document(&r->documents, document, file, n_failed);
    }
    tkr_tools_document_free(&document);
    return good;
}

static bool read_options(tkr_tools_document_options *options, const tkr_fields *fields) {
    static const char *const modes[] = {"text", "page_image", "both", NULL};
    const size_t most = fields->op->model->info->max_tokens;
    size_t mode = 0;
    if (!tkr_fields_word(&mode, fields, "mode", modes) ||
        !tkr_fields_count(&options->chunk_tokens, fields, "chunk_tokens", 8, most) ||
        !tkr_fields_count(&options->overlap, fields, "chunk_overlap", 0, most / 2)) {
        return false;
    }
    options->mode = (tkr_tools_mode)mode;
    return true;
}

/* The files become inputs and the JSON about them. */
static bool read_files(reader *r, const tkr_fields *fields) {
    tkr_operation *op = r->op;
    for (size_t i = 0; i < op->n_form; i++) {
        if (!add_file(r, i)) {
            return false;
        }
    }
    const size_t n = r->inputs.size / sizeof(tkr_input);
    if (n == 0) {
        return tkr_refuse(op, EMPTY, "file", "file: has no text");
    }
    if (!tkr_embed_take(fields, (const tkr_input *)(const void *)r->inputs.data, n, "passages", true)) {
        return false;
    }
    state *s = tkr_operation_alloc(op, sizeof *s);
    if (s == NULL || r->documents.failed) {
        return s != NULL && tkr_refuse(op, INTERNAL, NULL, "no memory for the reply");
    }
    s->reply = *(const tkr_embed_reply *)op->state;
    s->passages = copy(op, r->passages.data, r->passages.size);
    s->documents = copy(op, r->documents.data, r->documents.size);
    op->state = s;
    return s->passages != NULL && s->documents != NULL;
}

static bool parse(tkr_operation *op) {
    static const char *const names[] = {"mode", "chunk_tokens", "chunk_overlap", NULL};
    tkr_fields fields;
    reader r = {.op = op};
    if (!tkr_embed_begin(&fields, op, names) || !read_options(&r.options, &fields)) {
        return false;
    }
    if (op->n_form == 0) {
        return tkr_refuse(op, TYPE, "file",
                          "file: is missing: documents come as files of a form (multipart/form-data)");
    }
    const bool good = read_files(&r, &fields);
    tkr_buf_free(&r.inputs);
    tkr_buf_free(&r.passages);
    tkr_buf_free(&r.documents);
    return good;
}

static bool render(tkr_operation *op) {
    const state *s = op->state;
    if (!tkr_embed_render(op)) {
        return false;
    }
    tkr_buf *out = &op->response->body;
    if (s->reply.format == TKR_REPLY_JSON && out->size > 0) { /* two members more, before the last brace */
        out->size--;
        tkr_buf_printf(out, ",\"passages\":[%s],\"documents\":[%s]}", s->passages, s->documents);
    }
    return !out->failed || tkr_refuse(op, INTERNAL, NULL, "no memory for the reply");
}

const tkr_handler tkr_handler_embed_document = {.name = "embed_document",
                                                .api = &tkr_api_native,
                                                .body = TKR_BODY_EITHER,
                                                .parse = parse,
                                                .render = render,
                                                .blocks = true,
                                                .wants_model = true,
                                                .request_schema = tkr_schema_embed_document,
                                                .response_schema = tkr_schema_document};
