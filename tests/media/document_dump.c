/* SPDX-License-Identifier: Apache-2.0 */
/* What the jail reads in documents, as JSON lines, for tests/media/test_documents.py; one jail for all files.
 * usage: document_dump DECODER [--pictures[=SECONDS] | --page N SIDE] FILE... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base64.h"
#include "core/file.h"
#include "core/json.h"
#include "media/document_pictures.h"

static void text_field(tkr_buf *out, const char *name, const char *text, size_t n) {
    tkr_buf_printf(out, ",\"%s\":", name);
    tkr_json_write_string(out, text, n);
}

static void dump(tkr_buf *out, const tkr_document *d) {
    const char *unit = tkr_document_unit_name(d->header.unit);
    uint32_t s = 0;
    tkr_buf_printf(out, ",\"type\":\"%s\",\"unit\":\"%s\",\"pages\":%u,\"failed\":%u,\"note\":\"%s\",\"blocks\":[",
                   tkr_document_type_name(d->header.type), unit ? unit : "", d->header.n_pages, d->header.n_failed,
                   d->header.note);
    for (uint32_t i = 0; i < d->header.n_blocks; i++) {
        const tkr_document_block *b = &d->blocks[i];
        tkr_buf_printf(out, "%s{\"kind\":%u,\"level\":%u,\"page\":%u,\"begin\":%zu,\"end\":%zu,\"sentences\":[",
                       i > 0 ? "," : "", b->kind, b->level, b->page, (size_t)b->begin, (size_t)b->end);
        for (bool first = true; s < d->header.n_sentences && d->sentences[s] < b->end; s++, first = false)
            tkr_buf_printf(out, "%s%zu", first ? "" : ",", (size_t)d->sentences[s]);
        tkr_buf_printf(out, "]}");
    }
    tkr_buf_putc(out, ']');
    text_field(out, "text", d->text, (size_t)d->header.n_text);
}

/* Lists a document's pictures with their bytes in base64. */
static tkr_status dump_pictures(tkr_buf *out, tkr_jail *jail, const tkr_document *document, const tkr_buf *bytes,
                                tkr_error *error) {
    tkr_document_pictures pictures;
    tkr_status status =
        tkr_document_pictures_list(&pictures, document, jail, "it", bytes->data, bytes->size, NULL, error);
    if (status != TKR_OK) return status;
    tkr_buf_printf(out, ",\"pictures_failed\":%zu", pictures.n_failed);
    text_field(out, "pictures_note", pictures.note, strlen(pictures.note));
    tkr_buf_printf(out, ",\"pictures\":[");
    for (size_t i = 0; i < pictures.n; i++) {
        const tkr_document_picture *p = &pictures.list[i];
        tkr_image image = {0};
        tkr_error why = {TKR_OK, NULL, ""};
        tkr_buf_printf(out, "%s{\"at\":%zu,\"page\":%u,\"width\":%u,\"height\":%u,\"rgb\":%u", i > 0 ? "," : "",
                       p->at_characters, p->entry.page, p->entry.width, p->entry.height, p->entry.is_rgb);
        text_field(out, "alt", p->alt, (size_t)p->entry.n_alt);
        if (tkr_document_picture_get(&image, p, jail, "it", bytes->data, bytes->size, NULL, &why) == TKR_OK) {
            tkr_buf_printf(out, ",\"data\":\"");
            (void)tkr_base64_encode(out, image.rgb, (size_t)p->entry.n_bytes);
            tkr_buf_putc(out, '"');
        } else {
            text_field(out, "error", why.message, strlen(why.message));
        }
        tkr_image_free(&image);
        tkr_buf_putc(out, '}');
    }
    tkr_buf_putc(out, ']');
    tkr_document_pictures_free(&pictures);
    return TKR_OK;
}

static void one(tkr_buf *out, tkr_jail *jail, const char *path, bool with_pictures, long page, long side) {
    tkr_buf listed = {0};
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_buf bytes = {0};
    tkr_document document = {0};
    tkr_image image = {0};
    tkr_status status = tkr_file_read(&bytes, path, (size_t)1 << 30, &error);
    const double began = tkr_now();
    if (status == TKR_OK && page < 0)
        status = tkr_document_read(&document, jail, "it", bytes.data, bytes.size, NULL, &error);
    if (status == TKR_OK && with_pictures) status = dump_pictures(&listed, jail, &document, &bytes, &error);
    if (status == TKR_OK && page >= 0) {
        const tkr_jail_job job = {.kind = TKR_DECODER_PAGE,
                                  .name = "it",
                                  .bytes = bytes.data,
                                  .n_bytes = bytes.size,
                                  .page = (uint32_t)page,
                                  .side = (uint32_t)side};
        status = tkr_jail_run(&image, jail, &job, &error);
    }
    tkr_buf_printf(out, "{\"seconds\":%.6f,\"status\":%d", tkr_now() - began, (int)status);
    if (status != TKR_OK) text_field(out, "error", error.message, strlen(error.message));
    if (status == TKR_OK && page < 0) dump(out, &document);
    if (status == TKR_OK && listed.size > 0) tkr_buf_append(out, listed.data, listed.size);
    tkr_buf_free(&listed);
    if (image.rgb) {
        size_t dark = 0;
        for (size_t i = 0; i < image.width * image.height; i++) dark += image.rgb[3 * i + 1] < 128;
        tkr_buf_printf(out, ",\"width\":%zu,\"height\":%zu,\"dark\":%zu", image.width, image.height, dark);
    }
    tkr_buf_printf(out, "}\n");
    tkr_document_free(&document);
    tkr_image_free(&image);
    tkr_buf_free(&bytes);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    tkr_jail_options options = {.program = argv[1], .kind = TKR_JAIL_DOCUMENTS, .n_processes = 1};
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_jail *jail = NULL;
    long page = -1, side = 0;
    int first = 2;
    const bool pictures = argc > 3 && strncmp(argv[2], "--pictures", 10) == 0;
    if (pictures) {
        first = 3;
        if (argv[2][10] == '=') options.timeout_seconds = (unsigned)strtoul(argv[2] + 11, NULL, 10);
    } else if (argc > 5 && strcmp(argv[2], "--page") == 0) {
        page = strtol(argv[3], NULL, 10);
        side = strtol(argv[4], NULL, 10);
        first = 5;
    }
    if (tkr_jail_create(&jail, &options, &error) != TKR_OK) {
        (void)fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    for (int i = first; i < argc; i++) {
        tkr_buf out = {0};
        one(&out, jail, argv[i], pictures, page, side);
        (void)fwrite(out.data, 1, out.size, stdout);
        (void)fflush(stdout);
        tkr_buf_free(&out);
    }
    tkr_jail_free(&jail);
    return 0;
}
