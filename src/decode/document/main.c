/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tkr-decode-document: reads documents that nobody vouches for, one at a time, in a process of its own that can touch
 * nothing but fonts and poppler's tables. tkr-embed starts it (media/jail). The only program here that links poppler,
 * which is under the GPL, and therefore so is this program as a whole.
 */
#include <libxml/parser.h>
#include <libxml/xmlIO.h>
#include <string.h>

#include "core/process.h"
#include "decode/document/pictures.h"
#include "decode/serve.h"

/* Nothing outside of the document is ever part of it. */
static xmlParserInputPtr load_nothing(const char *url, const char *id, xmlParserCtxtPtr context) {
    (void)url;
    (void)id;
    (void)context;
    return NULL;
}

static void say_nothing(void *user, const char *format, ...) {
    (void)user;
    (void)format;
}

static tkr_status prepare(void *user, tkr_error *error) {
    xmlInitParser();
    xmlSetExternalEntityLoader(load_nothing);
    xmlSetGenericErrorFunc(NULL, say_nothing);
    return tkr_sentences_create(user, error);
}

static uint8_t *put(uint8_t *at, const void *data, size_t n) {
    if (n > 0) memcpy(at, data, n);
    return at + n;
}

/* Its text, as core/document_format has it, in the place of pixels: one row of as many as the bytes need. */
static tkr_status read_document(tkr_decoder_reply *reply, uint8_t *out, tkr_doc *doc, size_t room, tkr_error *error) {
    doc->max_text = room / 4;
    tkr_status status = tkr_doc_read(doc, error);
    if (status != TKR_OK) return status;
    doc->header.magic = TKR_DOCUMENT_MAGIC;
    doc->header.n_blocks = (uint32_t)(doc->blocks.size / sizeof(tkr_document_block));
    doc->header.n_sentences = (uint32_t)(doc->sentences.size / sizeof(uint64_t));
    doc->header.n_text = doc->text.size;
    const size_t size = sizeof doc->header + doc->blocks.size + doc->sentences.size + doc->text.size;
    if (size > room) return TKR_FAIL(error, LIMIT, "has more text than %zu bytes", room);
    uint8_t *at = put(out, &doc->header, sizeof doc->header);
    at = put(at, doc->blocks.data, doc->blocks.size);
    at = put(at, doc->sentences.data, doc->sentences.size);
    (void)put(at, doc->text.data, doc->text.size);
    reply->width = (size + 2) / 3;
    reply->height = 1;
    return TKR_OK;
}

static tkr_status list_pictures(tkr_decoder_reply *reply, uint8_t *out, tkr_doc *doc, size_t room,
                                const tkr_decoder_request *request, tkr_error *error) {
    size_t size = 0;
    doc->max_text = room / 4;
    const tkr_status status =
        tkr_doc_list_pictures(out, &size, doc, room, request->page, request->side, request->n_items, error);
    reply->width = (size + 2) / 3;
    reply->height = 1;
    return status;
}

static bool answer(void *user, const tkr_decode_room *room, const tkr_decoder_request *request) {
    tkr_error error = {0};
    tkr_decoder_reply reply = {.magic = TKR_DECODER_MAGIC, .kind = TKR_DECODER_DONE};
    tkr_status status = TKR_OK;
    size_t width = 0, height = 0;
    tkr_doc doc = {.bytes = room->bytes, .n_bytes = (size_t)request->n_bytes, .breaker = *(tkr_sentences **)user};
    switch (request->kind) {
    case TKR_DECODER_DOCUMENT: status = read_document(&reply, room->out, &doc, room->max_pixels * 3, &error); break;
    case TKR_DECODER_PICTURES:
        status = list_pictures(&reply, room->out, &doc, room->max_pixels * 3, request, &error);
        break;
    case TKR_DECODER_PAGE:
        status =
            tkr_doc_render(room->out, &width, &height, &doc, request->page, request->side, room->max_pixels, &error);
        break;
    case TKR_DECODER_PICTURE:
        status = tkr_doc_get_picture(room->out, &width, &height, &doc, &request->place, room->max_pixels, &error);
        break;
    default: return false;
    }
    tkr_doc_free(&doc);
    if (width > 0) {
        reply.width = width;
        reply.height = height;
    }
    tkr_decode_say(&reply, status, &error);
    reply.n_rows = reply.height;
    return tkr_helper_send(&reply, sizeof reply);
}

int main(int argc, char **argv) {
    static const char *const readable[] = {"/usr/share/fonts",
                                           "/usr/local/share/fonts",
                                           "/usr/share/fontconfig",
                                           "/var/cache/fontconfig",
                                           "/etc/fonts",
                                           "/usr/share/poppler",
                                           NULL};
    tkr_sentences *breaker = NULL;
    const tkr_decode_service service = {
        .name = "tkr-decode-document",
        .what = "documents",
        .answer = answer,
        .user = &breaker,
        .prepare = prepare,
        .readable = readable,
        .files = 64,
        /* poppler's fonts and pictures, the archive's files and the tree of a page, a page's surface */
        .memory = (uint64_t)1 << 30,
    };
    const int code = tkr_decode_serve(argc, argv, &service);
    tkr_sentences_free(&breaker);
    return code;
}
