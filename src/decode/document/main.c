/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tkr-decode-document: reads documents that nobody vouches for, one at a time, in a process of its own that can touch
 * nothing but fonts and poppler's tables. tkr-embed starts it (media/jail). The only program here that links poppler,
 * which is under the GPL, and therefore so is this program as a whole.
 */
#include <errno.h>
#include <libxml/parser.h>
#include <libxml/xmlIO.h>
#include <stdlib.h>
#include <string.h>

#include "core/decoder_protocol.h"
#include "core/file.h"
#include "core/process.h"
#include "decode/decode.h"
#include "decode/document/pictures.h"

typedef struct options {
    uint64_t max_bytes, max_pixels, cpu_seconds;
    bool unconfined;
} options;

static bool read_number(uint64_t *out, const char *text) {
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0') return false;
    *out = value;
    return true;
}

static bool read_options(options *o, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--unconfined") == 0) {
            o->unconfined = true;
            continue;
        }
        uint64_t *number = strcmp(argv[i], "--max-bytes") == 0     ? &o->max_bytes
                           : strcmp(argv[i], "--max-pixels") == 0  ? &o->max_pixels
                           : strcmp(argv[i], "--cpu-seconds") == 0 ? &o->cpu_seconds
                                                                   : NULL;
        if (!number || i + 1 == argc || !read_number(number, argv[++i])) return false;
    }
    return o->max_bytes > 0 && o->max_pixels > 0 && o->cpu_seconds > 0;
}

static void say_what_this_is(void) {
    static const char text[] =
        "tkr-decode-document reads documents for tkr-embed, which starts it; it is of no use by hand.\n";
    tkr_out *out = NULL;
    if (tkr_out_open(&out, "-", NULL) != TKR_OK) return;
    (void)tkr_out_write(out, text, sizeof text - 1, NULL);
    (void)tkr_out_close(&out, NULL);
}

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

/* Address space: poppler's fonts and pictures, the archive's files and the tree of a page, a page's surface. */
static tkr_status prepare(tkr_shared *shared, tkr_sentences **breaker, const options *o, tkr_error *error) {
    static const char *const readable[] = {"/usr/share/fonts",
                                           "/usr/local/share/fonts",
                                           "/usr/share/fontconfig",
                                           "/var/cache/fontconfig",
                                           "/etc/fonts",
                                           "/usr/share/poppler",
                                           NULL};
    size_t size;
    if (!tkr_decoder_shared_size(&size, (size_t)o->max_bytes, (size_t)o->max_pixels))
        return TKR_FAIL(error, INVALID_ARGUMENT, "limits larger than this machine");
    tkr_status status = tkr_helper_attach(shared, size, error);
    if (status == TKR_OK) status = tkr_sentences_create(breaker, error);
    xmlInitParser();
    xmlSetExternalEntityLoader(load_nothing);
    xmlSetGenericErrorFunc(NULL, say_nothing);
    if (status != TKR_OK || !tkr_decode_confinable()) return status;
    const tkr_helper_limits limits = {.memory = ((uint64_t)1 << 30) + 2 * o->max_bytes + 12 * o->max_pixels,
                                      .cpu_seconds = o->cpu_seconds,
                                      .files = 64};
    status = tkr_helper_limit(&limits, error);
    return status == TKR_OK && !o->unconfined ? tkr_decode_confine_reading(readable, error) : status;
}

static void set_message(tkr_decoder_reply *reply, tkr_status status, const tkr_error *error) {
    reply->status = (uint32_t)status;
    if (status == TKR_OK) return;
    const size_t n = strlen(error->message), room = sizeof reply->message - 1;
    memcpy(reply->message, error->message, n < room ? n : room);
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

static bool answer(const tkr_shared *shared, tkr_sentences *breaker, const options *o,
                   const tkr_decoder_request *request) {
    tkr_error error = {0};
    tkr_decoder_reply reply = {.magic = TKR_DECODER_MAGIC, .kind = TKR_DECODER_DONE};
    tkr_status status = TKR_OK;
    if (request->magic != TKR_DECODER_MAGIC || request->n_bytes > o->max_bytes) return false;
    uint8_t *out = shared->data + tkr_decoder_result_offset((size_t)o->max_bytes);
    tkr_doc doc = {.bytes = shared->data, .n_bytes = (size_t)request->n_bytes, .breaker = breaker};
    if (request->kind == TKR_DECODER_DOCUMENT) {
        status = read_document(&reply, out, &doc, (size_t)o->max_pixels * 3, &error);
    } else if (request->kind == TKR_DECODER_PAGE) {
        size_t width = 0, height = 0;
        status =
            tkr_doc_render(out, &width, &height, &doc, request->page, request->side, (size_t)o->max_pixels, &error);
        reply.width = width;
        reply.height = height;
    } else if (request->kind == TKR_DECODER_PICTURES) {
        status = list_pictures(&reply, out, &doc, (size_t)o->max_pixels * 3, request, &error);
    } else if (request->kind == TKR_DECODER_PICTURE) {
        size_t width = 0, height = 0;
        status = tkr_doc_get_picture(out, &width, &height, &doc, &request->place, (size_t)o->max_pixels, &error);
        reply.width = width;
        reply.height = height;
    } else {
        return false;
    }
    tkr_doc_free(&doc);
    set_message(&reply, status, &error);
    reply.n_rows = reply.height;
    return tkr_helper_send(&reply, sizeof reply);
}

int main(int argc, char **argv) {
    options o = {0};
    tkr_error error = {0};
    tkr_shared shared = {.fd = -1};
    tkr_sentences *breaker = NULL;
    tkr_decoder_request request;
    if (!read_options(&o, argc, argv)) {
        say_what_this_is();
        return 2;
    }
    tkr_decoder_reply hello = {.magic = TKR_DECODER_MAGIC, .kind = TKR_DECODER_READY, .width = TKR_DECODER_VERSION};
    const tkr_status status = prepare(&shared, &breaker, &o, &error);
    set_message(&hello, status, &error);
    if (!tkr_helper_send(&hello, sizeof hello) || status != TKR_OK || !shared.data) return 1;
    while (tkr_helper_receive(&request, sizeof request, 0)) {
        if (!answer(&shared, breaker, &o, &request)) return 1;
    }
    tkr_sentences_free(&breaker);
    return 0;
}
