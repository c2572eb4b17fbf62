/* SPDX-License-Identifier: Apache-2.0 */
/* What the jail reads in documents, as JSON lines, for tests/media/test_documents.py; one jail for all files.
 * usage: document_dump DECODER [--page N SIDE] FILE... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "media/document.h"

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

static void one(tkr_buf *out, tkr_jail *jail, const char *path, long page, long side) {
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_buf bytes = {0};
    tkr_document document = {0};
    tkr_image image = {0};
    tkr_status status = tkr_file_read(&bytes, path, (size_t)1 << 30, &error);
    const double began = tkr_now();
    if (status == TKR_OK && page < 0)
        status = tkr_document_read(&document, jail, "it", bytes.data, bytes.size, NULL, &error);
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
    const tkr_jail_options options = {.program = argv[1], .kind = TKR_JAIL_DOCUMENTS, .n_processes = 1};
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_jail *jail = NULL;
    long page = -1, side = 0;
    int first = 2;
    if (argc > 5 && strcmp(argv[2], "--page") == 0) {
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
        one(&out, jail, argv[i], page, side);
        (void)fwrite(out.data, 1, out.size, stdout);
        (void)fflush(stdout);
        tkr_buf_free(&out);
    }
    tkr_jail_free(&jail);
    return 0;
}
