/* SPDX-License-Identifier: Apache-2.0 */
/* engine/documents: documents as what a model embeds: passages by its own tokens, pages as pictures. */
#include <stdio.h>
#include <string.h>

#include "engine/late.h"
#include "engine/tools.h"
#include "media/document_pictures.h"

enum { PROCESSES = 2, CHUNK_TOKENS = 512, PAGE_SIDE = 1344, MAX_SIDE = 4096 };

struct tkr_tools_document {
    tkr_model *model;
    char *name;
    const void *bytes; /* [n_bytes], borrowed */
    size_t n_bytes, side;
    const tkr_stop *stop;
    tkr_document document;
    tkr_chunks chunks;
    char **inputs;  /* [chunks.n]; NULL where the text is the input */
    tkr_late late;  /* in place of inputs */
    size_t n_pages; /* that are drawn */
    tkr_document_pictures pictures;
    char note[720];
};

tkr_status tkr_model_open_documents(tkr_model *model, const tkr_model_options *options, tkr_error *error) {
    const tkr_jail_options jail = {.kind = TKR_JAIL_DOCUMENTS,
                                   .unconfined = options->no_jail != 0,
                                   .n_processes = PROCESSES,
                                   .timeout_seconds = 120};
    const tkr_status status = tkr_jail_create(&model->document_jail, &jail, &model->document_error);
    return status == TKR_NO_MEMORY ? TKR_FAIL(error, NO_MEMORY, "no memory for the decoder of documents") : TKR_OK;
}

/* ---- passages ---- */

static tkr_status count_tokens(size_t *n, void *user, const char *text, size_t n_text, tkr_error *error) {
    const tkr_tools_document *d = user;
    const tkr_input input = {.kind = TKR_INPUT_TEXT, .text = text, .n_text = n_text, .prompt = ""};
    tkr_embed_options options;
    tkr_tokens tokens = {0};
    tkr_embed_options_init(&options);
    options.special_tokens = TKR_NO;
    options.max_tokens = SIZE_MAX;
    tkr_status status = tkr_stop_ask(d->stop);
    if (status != TKR_OK) return tkr_error_set(error, TKR_HERE, status, "%s: %s", d->name, tkr_status_text(status));
    status = tkr_tokenize(&tokens, &d->model->tokenizer, &input, &options, error);
    *n = tokens.n;
    tkr_tokens_free(&tokens);
    return status;
}

/* Tokens that the model puts around a text: specials, its prompt, its template. */
static tkr_status count_around(size_t *n, const tkr_tokenizer *tokenizer, const tkr_embed_options *embed,
                               tkr_error *error) {
    const tkr_input with = {.kind = TKR_INPUT_TEXT, .text = "a", .n_text = 1};
    tkr_embed_options options = *embed;
    tkr_tokens tokens = {0};
    options.special_tokens = TKR_DEFAULT;
    options.truncate = TKR_TRUNCATE_RIGHT;
    const tkr_status status = tkr_tokenize(&tokens, tokenizer, &with, &options, error);
    *n = tokens.n_untruncated;
    if (tokenizer->checkpoint->pad_piece) { /* padding is no text, and gives way to it */
        *n = tokens.n;
        while (*n > 1 && tokens.ids[*n - 1] == tokens.ids[*n - 2]) (*n)--;
    }
    tkr_tokens_free(&tokens);
    return status;
}

tkr_status tkr_tools_document_least_chunk(size_t *least, size_t *around, const tkr_model *model,
                                          const tkr_embed_options *embed, tkr_error *error) {
    const tkr_status status = count_around(around, &model->tokenizer, embed, error);
    if (status != TKR_OK) *around = 0;
    *least = *around + TKR_LEAST_CHUNK;
    return status;
}

/* What is embedded of each passage. */
static tkr_status make_inputs(tkr_tools_document *d, tkr_error *error) {
    d->inputs = tkr_calloc(d->chunks.n, sizeof *d->inputs);
    if (!d->inputs) return TKR_FAIL(error, NO_MEMORY, "no memory for passages");
    for (size_t i = 0; i < d->chunks.n; i++) {
        const tkr_chunk *chunk = &d->chunks.list[i];
        tkr_buf input = {0};
        if (!chunk->heading) continue;
        tkr_buf_printf(&input, "%s\n", chunk->heading);
        if (!tkr_buf_append(&input, d->document.text + chunk->begin, chunk->end - chunk->begin)) {
            tkr_buf_free(&input);
            return TKR_FAIL(error, NO_MEMORY, "no memory for passages");
        }
        d->inputs[i] = input.data;
    }
    return TKR_OK;
}

static tkr_status make_passages(tkr_tools_document *d, const tkr_tools_document_options *o,
                                const tkr_embed_options *embed, tkr_error *error) {
    const tkr_tokenizer *tokenizer = &d->model->tokenizer;
    const size_t most = tkr_effective_max_tokens(tkr_tokenizer_max_tokens(tokenizer), embed->max_tokens);
    size_t around = 0, tokens = o->chunk_tokens ? o->chunk_tokens : CHUNK_TOKENS;
    tkr_status status = count_around(&around, tokenizer, embed, error);
    if (status != TKR_OK) return status;
    if (most > 0 && o->chunk_tokens > most)
        return TKR_FAIL(error, INVALID_ARGUMENT, "passages of %zu tokens were asked for, %zu are read of a text",
                        o->chunk_tokens, most);
    if (most > 0 && tokens > most) tokens = most;
    if (tokens < around + TKR_LEAST_CHUNK)
        return TKR_FAIL(error, INVALID_ARGUMENT,
                        "passages of %zu tokens: %zu of them stand around the text, at least "
                        "%d are for it",
                        tokens, around, (int)TKR_LEAST_CHUNK);
    const tkr_chunk_options options = {.max_tokens = tokens - around,
                                       .max_chunks = o->max_passages,
                                       .overlap = o->overlap,
                                       .count = count_tokens,
                                       .user = d};
    status = tkr_chunks_make(&d->chunks, &d->document, &options, error);
    if (status != TKR_OK || d->chunks.n == 0) return status;
    if (!o->late) return make_inputs(d, error);
    const tkr_late_request late = {.model = d->model,
                                   .options = embed,
                                   .text = d->document.text,
                                   .chunks = &d->chunks,
                                   .chunk_tokens = options.max_tokens,
                                   .stop = d->stop};
    return tkr_late_make(&d->late, &late, error);
}

/* ---- the document ---- */

/* Whether the caller has room for the document's text, what it is cut into, and the passages' own copies of it. */
static tkr_status ask_room(const tkr_tools_document *d, const tkr_tools_document_options *o, tkr_error *error) {
    const tkr_document_header *h = &d->document.header;
    const size_t n = 2 * (size_t)h->n_text + h->n_blocks * sizeof *d->document.blocks +
                     h->n_sentences * sizeof *d->document.sentences + tkr_chunks_memory(&d->document);
    return o->room ? o->room(o->room_user, n, error) : TKR_OK;
}

static bool has_passages(const tkr_tools_document *d, tkr_tools_mode mode) {
    return mode == TKR_TOOLS_TEXT || mode == TKR_TOOLS_BOTH ||
           (mode == TKR_TOOLS_PAGES_ELSE_TEXT && d->document.header.type != TKR_DOCUMENT_PDF);
}

static tkr_status prepare_pages(tkr_tools_document *d, tkr_tools_mode mode, bool pictures, tkr_error *error) {
    if (mode == TKR_TOOLS_TEXT) return TKR_OK;
    if (!d->model->processor)
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s reads no pictures, so no pages: mode text is possible",
                        d->model->info.reference);
    if (d->document.header.type == TKR_DOCUMENT_PDF) {
        d->n_pages = d->document.header.n_pages;
    } else if (mode == TKR_TOOLS_PAGE_IMAGE && !pictures) {
        return TKR_FAIL(error, UNSUPPORTED, "%s: only a PDF has pages to be drawn, this is %s: mode text is possible",
                        d->name, tkr_document_type_name(d->document.header.type));
    }
    return TKR_OK;
}

static tkr_status list_pictures(tkr_tools_document *d, tkr_error *error) {
    tkr_document_pictures *p = &d->pictures;
    if (!d->model->processor)
        return TKR_FAIL(error, INVALID_ARGUMENT, "%s reads no pictures, so none inside documents",
                        d->model->info.reference);
    const tkr_status status = tkr_document_pictures_list(p, &d->document, d->model->document_jail, d->name, d->bytes,
                                                         d->n_bytes, d->stop, error);
    const size_t n = strlen(d->note);
    if (status == TKR_OK && p->n_failed > 0)
        (void)snprintf(d->note + n, sizeof d->note - n, "%s%zu picture%s can't be read: %s", n > 0 ? "; " : "",
                       p->n_failed, p->n_failed == 1 ? "" : "s", p->note);
    return status;
}

tkr_status tkr_tools_document_open(tkr_tools_document **out, tkr_model *model, const char *name, const void *bytes,
                                   size_t n_bytes, const tkr_tools_document_options *options, tkr_error *error) {
    if (!model->document_jail)
        return tkr_error_set(error, TKR_HERE, model->document_error.status, "%s: %s", name,
                             model->document_error.message);
    if (options->page_side > MAX_SIDE)
        return TKR_FAIL(error, INVALID_ARGUMENT, "pages of %zu pixels: at most %d", options->page_side, (int)MAX_SIDE);
    if (options->late && tkr_check_late(model, error) != TKR_OK) return TKR_INVALID_ARGUMENT;
    tkr_embed_options embed;
    tkr_embed_options_init(&embed);
    if (options->embed) embed = *options->embed;
    tkr_tools_document *d = tkr_calloc(1, sizeof *d);
    if (!d) return TKR_FAIL(error, NO_MEMORY, "no memory for a document");
    d->model = model;
    d->bytes = bytes;
    d->n_bytes = n_bytes;
    d->stop = options->stop;
    d->side = options->page_side ? options->page_side : PAGE_SIDE;
    d->name = tkr_strdup(name);
    tkr_status status = d->name ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for a document");
    if (status == TKR_OK)
        status = tkr_document_read(&d->document, model->document_jail, name, bytes, n_bytes, d->stop, error);
    const tkr_document_header *header = &d->document.header;
    if (status == TKR_OK && header->n_failed > 0)
        (void)snprintf(d->note, sizeof d->note, "%u of %u %ss can't be read%s%s", header->n_failed, header->n_pages,
                       tkr_document_unit_name(header->unit), header->note[0] ? ": " : "", header->note);
    if (status == TKR_OK) status = ask_room(d, options, error);
    if (status == TKR_OK) status = prepare_pages(d, options->mode, options->pictures, error);
    if (status == TKR_OK && has_passages(d, options->mode)) status = make_passages(d, options, &embed, error);
    if (status == TKR_OK && options->pictures) status = list_pictures(d, error);
    if (status != TKR_OK) tkr_tools_document_free(&d);
    *out = d;
    return status;
}

void tkr_tools_document_free(tkr_tools_document **out) {
    if (!out || !*out) return;
    tkr_tools_document *d = *out;
    for (size_t i = 0; d->inputs && i < d->chunks.n; i++) tkr_free(d->inputs[i]);
    tkr_free(d->inputs);
    tkr_late_free(&d->late);
    tkr_chunks_free(&d->chunks);
    tkr_document_pictures_free(&d->pictures);
    tkr_document_free(&d->document);
    tkr_free(d->name);
    tkr_free(d);
    *out = NULL;
}

size_t tkr_tools_document_n(const tkr_tools_document *d) { return d->chunks.n + d->n_pages + d->pictures.n; }

static tkr_tools_passage picture_at(const tkr_tools_document *d, size_t number) {
    const tkr_document_picture *p = &d->pictures.list[number];
    const size_t page = p->entry.page;
    return (tkr_tools_passage){.kind = TKR_PASSAGE_PICTURE,
                               .text = p->alt,
                               .n_text = (size_t)p->entry.n_alt,
                               .begin = p->at_characters,
                               .end = p->at_characters,
                               .unit = page > 0 ? tkr_document_unit_name(d->document.header.unit) : NULL,
                               .page = page,
                               .last_page = page,
                               .picture = number + 1};
}

tkr_tools_passage tkr_tools_document_get(const tkr_tools_document *d, size_t index) {
    const char *unit = tkr_document_unit_name(d->document.header.unit);
    if (index >= d->chunks.n + d->n_pages) return picture_at(d, index - d->chunks.n - d->n_pages);
    if (index >= d->chunks.n) {
        const size_t page = index - d->chunks.n + 1;
        return (tkr_tools_passage){.kind = TKR_PASSAGE_PAGE, .unit = unit, .page = page, .last_page = page};
    }
    const tkr_chunk *chunk = &d->chunks.list[index];
    tkr_tools_passage passage = {.text = d->document.text + chunk->begin,
                                 .n_text = chunk->end - chunk->begin,
                                 .begin = chunk->begin_characters,
                                 .end = chunk->end_characters,
                                 .heading = chunk->heading,
                                 .unit = unit,
                                 .page = chunk->page,
                                 .last_page = chunk->last_page};
    if (!d->inputs) return passage; /* late chunking */
    const bool own = d->inputs[index] != NULL;
    passage.input = own ? d->inputs[index] : passage.text;
    passage.n_input = own ? strlen(chunk->heading) + 1 + passage.n_text : passage.n_text;
    return passage;
}

size_t tkr_tools_document_n_windows(const tkr_tools_document *d) { return d->late.n; }

tkr_input tkr_tools_document_window(const tkr_tools_document *d, size_t index, size_t *first) {
    const tkr_late_window *w = &d->late.list[index];
    *first = w->first;
    return (tkr_input){.kind = TKR_INPUT_TOKENS, .ids = w->ids, .n_ids = w->n_ids, .spans = w->spans, .n_spans = w->n};
}

const char *tkr_tools_document_type(const tkr_tools_document *d, const char **note) {
    *note = d->note[0] ? d->note : NULL;
    return tkr_document_type_name(d->document.header.type);
}

const char *tkr_tools_document_text(const tkr_tools_document *d, size_t *n) {
    *n = (size_t)d->document.header.n_text;
    return d->document.text;
}

/* Pixels that are the decoder's, or what the pictures' own decoder makes of the bytes. */
static tkr_status get_picture(tkr_image *image, const tkr_tools_document *d, size_t number, tkr_error *error) {
    const tkr_document_picture *picture = &d->pictures.list[number];
    char name[256];
    tkr_image raw;
    tkr_part rgb;
    void *pixels = NULL;
    (void)snprintf(name, sizeof name, "%.200s: picture %zu", d->name, number + 1);
    tkr_status status =
        tkr_document_picture_get(&raw, picture, d->model->document_jail, name, d->bytes, d->n_bytes, d->stop, error);
    if (status != TKR_OK || picture->entry.is_rgb) {
        *image = raw;
        return status;
    }
    const tkr_part part = {
        .kind = TKR_PART_IMAGE, .data = raw.rgb, .n_data = (size_t)picture->entry.n_bytes, .name = name};
    status = tkr_tools_decode_picture(&rgb, &pixels, d->model, &part, d->stop, error);
    tkr_image_free(&raw);
    if (status == TKR_OK) *image = (tkr_image){rgb.width, rgb.height, pixels};
    return status;
}

tkr_status tkr_tools_draw_page(tkr_part *rgb, void **pixels, tkr_model *model, const char *name, const void *bytes,
                               size_t n_bytes, size_t page, size_t side, const tkr_stop *stop, tkr_error *error) {
    const tkr_jail_job job = {.kind = TKR_DECODER_PAGE,
                              .name = name,
                              .bytes = bytes,
                              .n_bytes = n_bytes,
                              .page = (uint32_t)(page - 1),
                              .side = (uint32_t)side,
                              .stop = stop};
    tkr_image image;
    if (!model->document_jail)
        return tkr_error_set(error, TKR_HERE, model->document_error.status, "%s: %s", name,
                             model->document_error.message);
    const tkr_status status = tkr_jail_run(&image, model->document_jail, &job, error);
    if (status != TKR_OK) return status;
    *pixels = image.rgb;
    *rgb = tkr_rgb_part(&image, name);
    return TKR_OK;
}

tkr_status tkr_tools_document_image(tkr_part *rgb, void **pixels, const tkr_tools_document *d, size_t index,
                                    tkr_error *error) {
    const size_t first = d->chunks.n + d->n_pages;
    tkr_image image;
    if (index < first)
        return tkr_tools_draw_page(rgb, pixels, d->model, d->name, d->bytes, d->n_bytes, index - d->chunks.n + 1,
                                   d->side, d->stop, error);
    const tkr_status status = get_picture(&image, d, index - first, error);
    if (status != TKR_OK) return status;
    *pixels = image.rgb;
    *rgb = tkr_rgb_part(&image, d->name);
    return TKR_OK;
}
