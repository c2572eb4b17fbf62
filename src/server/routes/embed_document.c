/* SPDX-License-Identifier: Apache-2.0 */
/* routes/embed_document: POST /embed/document: files, of a form or in JSON, become passages and pages, which become
 * vectors. Fetches nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/utf8.h"
#include "engine/tools.h"
#include "server/routes/embed.h"
#include "server/routes/schema.h"
#include "server/routes/shape.h"

/* What parsing gathers of all files. */
typedef struct reader {
    tkr_operation *op;
    tkr_tools_document_options options;
    tkr_embed_options embed;
    tkr_stop stop;
    bool single;                 /* one document in JSON, no list */
    bool no_room;                /* told, as the request's fault */
    tkr_buf inputs;              /* tkr_input */
    size_t n_rows;               /* that they give */
    size_t n_failed[3];          /* of the file, by tkr_passage_kind */
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
    static const char *const kinds[] = {"text", "page_image", "picture"}; /* by tkr_passage_kind */
    tkr_buf_printf(out, "%s{\"file\":%zu,\"kind\":\"%s\"", out->size > 0 ? "," : "", file, kinds[passage->kind]);
    if (passage->kind == TKR_PASSAGE_PICTURE) {
        tkr_buf_printf(out, ",\"picture\":%zu", passage->picture);
    }
    if (passage->unit != NULL && passage->page > 0) {
        tkr_buf_printf(out, ",\"%s\":%zu", passage->unit, passage->page);
    }
    if (passage->last_page > passage->page) {
        tkr_buf_printf(out, ",\"last_%s\":%zu", passage->unit, passage->last_page);
    }
    if (passage->kind != TKR_PASSAGE_PAGE) {
        tkr_buf_printf(out, ",\"chars\":[%zu,%zu]", passage->begin, passage->end);
        if (passage->heading != NULL) {
            tkr_buf_printf(out, ",\"heading\":");
            tkr_put_text(out, passage->heading);
        }
        if (passage->kind == TKR_PASSAGE_TEXT || passage->n_text > 0) {
            tkr_buf_printf(out, ",\"text\":");
            tkr_json_write_string(out, passage->text, passage->n_text);
        }
    }
    tkr_buf_putc(out, '}');
}

static bool add_page(tkr_input *input, reader *r, const tkr_tools_document *document, size_t index, const char *param,
                     bool *failed) {
    tkr_operation *op = r->op;
    void *pixels = NULL;
    tkr_error error = {0};
    tkr_part *part = tkr_operation_alloc(op, sizeof *part);
    if (part == NULL) {
        return false;
    }
    *failed = tkr_tools_document_image(part, &pixels, document, index, &error) != TKR_OK;
    if (*failed) {
        r->n_failed[tkr_tools_document_get(document, index).kind]++;
        return true; /* one bad page or picture costs that one */
    }
    part->data = tkr_operation_hold(op, part->n_data) ? copy(op, pixels, part->n_data) : NULL;
    part->name = param;
    tkr_tools_free_pixels(&pixels);
    *input = (tkr_input){.kind = TKR_INPUT_PARTS, .parts = part, .n_parts = 1};
    return part->data != NULL;
}

/* With late chunking: in place of the texts of passages. */
static bool add_windows(reader *r, const tkr_tools_document *document) {
    tkr_operation *op = r->op;
    for (size_t i = 0; i < tkr_tools_document_n_windows(document); i++) {
        size_t first = 0;
        tkr_input window = tkr_tools_document_window(document, i, &first);
        const size_t n_ids = window.n_ids * sizeof *window.ids, n_spans = window.n_spans * 2 * sizeof *window.spans;
        if (!tkr_operation_hold(op, n_ids + n_spans)) {
            return false;
        }
        window.ids = copy(op, window.ids, n_ids);
        window.spans = copy(op, window.spans, n_spans);
        if (window.ids == NULL || window.spans == NULL) {
            return false;
        }
        if (!tkr_buf_append(&r->inputs, &window, sizeof window)) {
            return tkr_refuse(op, INTERNAL, NULL, "no memory for the document's passages");
        }
        r->n_rows += window.n_spans;
    }
    return true;
}

static bool add_text(tkr_input *input, const reader *r, const tkr_tools_passage *passage) {
    tkr_operation *op = r->op;
    *input = (tkr_input){.kind = TKR_INPUT_TEXT, .n_text = passage->n_input};
    input->text = tkr_operation_hold(op, passage->n_input) ? copy(op, passage->input, passage->n_input) : NULL;
    return input->text != NULL;
}

static bool add_all(reader *r, const tkr_tools_document *document, const char *param, size_t file) {
    tkr_operation *op = r->op;
    const size_t n = tkr_tools_document_n(document);
    const bool late = tkr_tools_document_n_windows(document) > 0;
    if (!tkr_operation_fits(op, r->n_rows + n) || !add_windows(r, document)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const tkr_tools_passage passage = tkr_tools_document_get(document, i);
        const bool is_text = passage.kind == TKR_PASSAGE_TEXT, has_input = !(late && is_text);
        tkr_input input;
        bool failed = false;
        op->n_characters += is_text ? passage.end - passage.begin : 0;
        if (!is_text ? !add_page(&input, r, document, i, param, &failed)
                     : has_input && !add_text(&input, r, &passage)) {
            return false;
        }
        if (failed) {
            continue;
        }
        put_passage(&r->passages, &passage, file);
        if ((has_input && !tkr_buf_append(&r->inputs, &input, sizeof input)) || r->passages.failed) {
            return tkr_refuse(op, INTERNAL, NULL, "no memory for the document's passages");
        }
        r->n_rows += has_input;
    }
    return true;
}

static void put_document(tkr_buf *out, const tkr_tools_document *document, const tkr_form_part *file,
                         const size_t n_failed[3]) {
    const char *note = NULL;
    const char *type = tkr_tools_document_type(document, &note);
    size_t n_text = 0;
    const char *text = tkr_tools_document_text(document, &n_text);
    tkr_buf_printf(out, "%s{\"source\":", out->size > 0 ? "," : "");
    tkr_put_text(out, file->file_name);
    tkr_buf_printf(out, ",\"type\":\"%s\",\"characters\":%zu", type, tkr_utf8_count(text, n_text));
    if (note != NULL) {
        tkr_buf_printf(out, ",\"note\":");
        tkr_put_text(out, note);
    }
    if (n_failed[TKR_PASSAGE_PAGE] > 0) {
        tkr_buf_printf(out, ",\"pages_not_drawn\":%zu", n_failed[TKR_PASSAGE_PAGE]);
    }
    if (n_failed[TKR_PASSAGE_PICTURE] > 0) {
        tkr_buf_printf(out, ",\"pictures_not_decoded\":%zu", n_failed[TKR_PASSAGE_PICTURE]);
    }
    tkr_buf_putc(out, '}');
}

static tkr_status ask_room(void *user, size_t n_bytes, tkr_error *error) {
    reader *r = user;
    r->no_room = !tkr_operation_hold(r->op, n_bytes);
    return r->no_room ? TKR_FAIL(error, LIMIT, "%s", r->op->fault.message) : TKR_OK;
}

/* Whose value the engine says doesn't go with the model: how many tokens stand around a text shows there only. */
static const char *blamed_option(const reader *r, const tkr_error *error) {
    if (strncmp(error->message, "an overlap", 10) == 0) {
        return "chunk_overlap";
    }
    if (strncmp(error->message, "passages", 8) != 0) {
        return "";
    }
    return r->options.chunk_tokens > 0 ? "chunk_tokens" : r->embed.max_tokens > 0 ? "max_tokens" : "";
}

/* Why a document couldn't be read. */
static bool refuse_file(const reader *r, tkr_status status, const char *param, const tkr_error *error) {
    tkr_operation *op = r->op;
    if (r->no_room) { /* told already */
        return false;
    }
    if (status == TKR_DEADLINE && tkr_now() >= r->stop.deadline) {
        return tkr_refuse(op, UNAVAILABLE, NULL, "the documents weren't read within the time limit of the server");
    }
    const tkr_fault_kind kind = status == TKR_LIMIT      ? TKR_FAULT_TOO_LARGE
                                : status == TKR_DEADLINE ? TKR_FAULT_MEDIA
                                                         : tkr_fault_of_status(status);
    const char *blamed = status == TKR_INVALID_ARGUMENT ? blamed_option(r, error) : NULL;
    return blamed != NULL && *blamed != '\0'
               ? tkr_refuse_with(op, kind, blamed, "%s: %s", blamed, error->message)
               : tkr_refuse_with(op, kind, blamed != NULL ? "" : param, "%s", error->message);
}

/* "documents[1]"; NULL after tkr_refuse. */
static const char *place(const reader *r, const char *name, size_t index) {
    const char *out = tkr_arena_printf(r->op->arena, r->single ? "%.40s" : "%.40s[%zu]", name, index);
    if (out == NULL) {
        tkr_refuse(r->op, INTERNAL, NULL, "no memory for the documents");
    }
    return out;
}

static bool add_file(reader *r, const tkr_form_part *file, size_t index) {
    tkr_operation *op = r->op;
    tkr_tools_document *document = NULL;
    tkr_error error = {0};
    const char *param = place(r, file->name, index);
    memset(r->n_failed, 0, sizeof r->n_failed);
    if (param == NULL) {
        return false;
    }
    const tkr_status status =
        tkr_tools_document_open(&document, op->model->model, param, file->data, file->size, &r->options, &error);
    if (status != TKR_OK) {
        return refuse_file(r, status, param, &error);
    }
    const bool good = add_all(r, document, param, index);
    if (good) {
        put_document(&r->documents, document, file, r->n_failed);
    }
    tkr_tools_document_free(&document);
    return good;
}

/* Late chunking, and what passages will be embedded with. */
static bool read_late(reader *r, const tkr_fields *fields) {
    const tkr_model_info *info = fields->op->model->info;
    tkr_embed_options *embed = &r->embed;
    tkr_embed_options_init(embed);
    embed->prompt_name = tkr_setting_of(tkr_server_settings(fields->op->server), TKR_SET_DEFAULT_PROMPT)->text;
    /* All of them, so that a mistake is told before the documents are read. */
    if (!tkr_fields_bool(&r->options.late, fields, "late_chunking") || !tkr_embed_read_options(embed, fields)) {
        return false;
    }
    embed->truncate = TKR_TRUNCATE_RIGHT; /* while passages are counted nothing is cut */
    r->options.embed = embed;
    return !r->options.late || (strcmp(info->pooling, "mean") == 0 && !info->multi_vector) ||
           tkr_fields_refuse(fields, TKR_FAULT_UNSUPPORTED, "late_chunking",
                             "needs a model with mean pooling, one vector a text; %s pools by %s%s", info->architecture,
                             info->pooling, info->multi_vector ? ", one vector a token" : "");
}

/* Too few are told with what takes them. Where the least isn't known, or is beyond the model's limit, opening the
 * document says more. */
static bool read_chunk_tokens(reader *r, const tkr_fields *fields) {
    static const char name[] = "chunk_tokens";
    const tkr_served_model *model = fields->op->model;
    const size_t most = model->info->max_tokens;
    size_t least = 0, around = 0;
    int64_t n = 0;
    if (tkr_fields_get(fields, name) == NULL) {
        return true;
    }
    if (tkr_tools_document_least_chunk(&least, &around, model->model, &r->embed, NULL) != TKR_OK || least > most) {
        return tkr_fields_count(&r->options.chunk_tokens, fields, name, least - around, most);
    }
    if (!tkr_fields_integer(&n, fields, name, INT64_MIN, INT64_MAX)) {
        return false;
    }
    if (n < (int64_t)least && around > 0) {
        return tkr_fields_refuse(fields, TKR_FAULT_VALUE, name,
                                 "is %" PRId64 ", expected %zu to %zu: %zu of them stand around the text, at least "
                                 "%zu are for it",
                                 n, least, most, around, least - around);
    }
    return tkr_fields_count(&r->options.chunk_tokens, fields, name, least, most);
}

static bool read_options(reader *r, const tkr_fields *fields) {
    static const char *const modes[] = {"text", "page_image", "both", NULL};
    const size_t most = fields->op->model->info->max_tokens;
    tkr_tools_document_options *options = &r->options;
    size_t mode = 0;
    if (!tkr_fields_word(&mode, fields, "mode", modes) || !tkr_fields_bool(&options->pictures, fields, "pictures") ||
        !tkr_fields_count(&options->overlap, fields, "chunk_overlap", 0, most / 2)) {
        return false;
    }
    options->mode = (tkr_tools_mode)mode;
    options->max_passages =
        (size_t)tkr_setting_of(tkr_server_settings(fields->op->server), TKR_SET_MAX_CLIENT_BATCH)->number;
    options->room = ask_room;
    options->room_user = r;
    options->stop = &r->stop;
    if (!read_late(r, fields) || !read_chunk_tokens(r, fields)) {
        return false;
    }
    if (fields->op->model->info->max_images > 0) {
        return true;
    }
    if (options->pictures) {
        return tkr_fields_refuse(fields, TKR_FAULT_UNSUPPORTED, "pictures", "is true, but %s reads no pictures",
                                 fields->op->model->info->architecture);
    }
    return mode == TKR_TOOLS_TEXT ||
           tkr_fields_refuse(fields, TKR_FAULT_UNSUPPORTED, "mode", "is \"%s\", but %s reads no pictures, so no pages",
                             modes[mode], fields->op->model->info->architecture);
}

/* What the reply has beside the vectors. */
static bool put_more(const reader *r) {
    tkr_operation *op = r->op;
    tkr_embed_reply *reply = op->state;
    const bool good = !r->passages.failed && !r->documents.failed;
    reply->more =
        good ? tkr_arena_printf(op->arena, ",\"passages\":[%s],\"documents\":[%s]", r->passages.data, r->documents.data)
             : NULL;
    return reply->more != NULL || tkr_refuse(op, INTERNAL, NULL, "no memory for the reply");
}

/* None of the files has a text: the first is told, by its place where they are a list. */
static bool refuse_empty(const reader *r, const char *name, size_t n_files) {
    const char *param = place(r, name, 0);
    return param != NULL &&
           tkr_refuse(r->op, EMPTY, param, "%s: has no text%s", param, n_files > 1 ? ", nor have the others" : "");
}

/* The files become inputs and the JSON about them. */
static bool read_files(reader *r, const tkr_fields *fields, const tkr_form_part *files, size_t n_files) {
    tkr_operation *op = r->op;
    for (size_t i = 0; i < n_files; i++) {
        if (!add_file(r, &files[i], i)) {
            return false;
        }
    }
    const size_t n = r->inputs.size / sizeof(tkr_input);
    if (n == 0) {
        return refuse_empty(r, files->name, n_files);
    }
    op->n_documents = n_files;
    return tkr_embed_take(fields, (const tkr_input *)(const void *)r->inputs.data, n,
                          r->options.late ? "windows" : "passages", true) &&
           put_more(r);
}

/* "documents" of JSON, as a form would have them. */
static bool read_list(tkr_form_part *files, size_t n, tkr_operation *op, const json_t *list) {
    for (size_t i = 0; i < n; i++) {
        char path[64];
        tkr_part part;
        (void)snprintf(path, sizeof path, json_is_array(list) ? "documents[%zu]" : "documents", i);
        files[i].name = "documents";
        if (!tkr_read_file(&part, &files[i].file_name, op, json_is_array(list) ? json_array_get(list, i) : list, path,
                           "document")) {
            return false;
        }
        files[i].data = part.data;
        files[i].size = part.n_data;
    }
    return true;
}

bool tkr_embed_parse_documents(tkr_operation *op) {
    static const char *const names[] = {"documents",     "mode",          "pictures", "chunk_tokens",
                                        "chunk_overlap", "late_chunking", NULL};
    tkr_fields fields;
    reader r = {.op = op, .stop = tkr_operation_stop(op)};
    size_t n;
    if (!tkr_embed_begin(&fields, op, names) || !read_options(&r, &fields)) {
        return false;
    }
    const json_t *list = tkr_fields_get(&fields, "documents");
    r.single = list != NULL && !json_is_array(list);
    if (!tkr_embed_count_files(&n, &fields, list, "documents", "data URIs") || !tkr_operation_fits(op, n)) {
        return false;
    }
    tkr_form_part *files = list == NULL ? op->form : tkr_operation_alloc(op, n * sizeof *files);
    if (files == NULL || (list != NULL && !read_list(files, n, op, list))) {
        return false;
    }
    const bool good = read_files(&r, &fields, files, n);
    tkr_buf_free(&r.inputs);
    tkr_buf_free(&r.passages);
    tkr_buf_free(&r.documents);
    return good;
}

const tkr_handler tkr_handler_embed_document = {.name = "embed_document",
                                                .api = &tkr_api_native,
                                                .body = TKR_BODY_EITHER,
                                                .parse = tkr_embed_parse_documents,
                                                .render = tkr_embed_render,
                                                .blocks = true,
                                                .wants_model = true,
                                                .request_schema = tkr_schema_embed_document,
                                                .response_schema = tkr_schema_document};
