/* SPDX-License-Identifier: Apache-2.0 */
/* media/document: what the decoder of documents answers, checked before anybody reads it. */
#include "media/document.h"

#include <string.h>

#include "core/mem.h"
#include "core/utf8.h"

/* Whether no character is cut in two there. */
static bool is_between(const tkr_document *d, uint64_t at) {
    return at == d->header.n_text || (at < d->header.n_text && !tkr_utf8_goes_on(d->text[at]));
}

static bool blocks_are_sound(const tkr_document *d) {
    uint64_t before = 0;
    uint32_t page = 0;
    for (uint32_t i = 0; i < d->header.n_blocks; i++) {
        const tkr_document_block *b = &d->blocks[i];
        if (b->begin < before || b->end <= b->begin || !is_between(d, b->end) || b->page < page ||
            b->kind < TKR_BLOCK_PARAGRAPH || b->kind > TKR_BLOCK_ROW || b->level > 16)
            return false;
        before = b->end;
        page = b->page;
    }
    return true;
}

/* Each block begins a sentence, and each sentence begins in a block, where a character begins. */
static bool sentences_are_sound(const tkr_document *d) {
    uint32_t block = 0;
    for (uint32_t i = 0; i < d->header.n_sentences; i++) {
        const uint64_t at = d->sentences[i];
        if (i > 0 && at <= d->sentences[i - 1]) return false;
        if (at == d->header.n_text || !is_between(d, at)) return false;
        if (block < d->header.n_blocks && at == d->blocks[block].begin) {
            block++;
        } else if (block == 0 || at >= d->blocks[block - 1].end) {
            return false;
        }
    }
    return block == d->header.n_blocks;
}

static bool take(tkr_document *d, const tkr_image *raw) {
    const size_t room = raw->width * raw->height * 3;
    tkr_document_header *header = &d->header;
    if (room < sizeof *header) return false;
    memcpy(header, raw->rgb, sizeof *header);
    header->note[sizeof header->note - 1] = '\0';
    const uint64_t n_blocks = (uint64_t)header->n_blocks * sizeof *d->blocks,
                   n_sentences = (uint64_t)header->n_sentences * sizeof *d->sentences,
                   size = sizeof *header + n_blocks + n_sentences;
    if (header->magic != TKR_DOCUMENT_MAGIC || header->type == 0 || header->type >= TKR_N_DOCUMENT_TYPES ||
        header->unit >= TKR_N_UNITS || header->n_failed > header->n_pages ||
        (header->n_failed > 0 && header->unit == TKR_UNIT_NONE) || size > room || header->n_text > room - size)
        return false;
    const uint8_t *at = raw->rgb + sizeof *header; /* aligned: the sizes of all before it are multiples of 8 */
    d->blocks = (const tkr_document_block *)(const void *)at;
    d->sentences = (const uint64_t *)(const void *)(at + n_blocks);
    d->text = (const char *)at + n_blocks + n_sentences;
    d->memory = raw->rgb;
    return tkr_utf8_valid_prefix(d->text, (size_t)header->n_text) == header->n_text && blocks_are_sound(d) &&
           sentences_are_sound(d);
}

tkr_status tkr_document_senseless(const char *name, tkr_error *error) {
    return TKR_FAIL(error, FORMAT, "%s: the decoder gave a senseless answer; the file is damaged or hostile", name);
}

tkr_status tkr_document_read(tkr_document *document, tkr_jail *jail, const char *name, const void *bytes,
                             size_t n_bytes, const tkr_stop *stop, tkr_error *error) {
    const tkr_jail_job job = {
        .kind = TKR_DECODER_DOCUMENT, .name = name, .bytes = bytes, .n_bytes = n_bytes, .stop = stop};
    tkr_image raw;
    *document = (tkr_document){0};
    const tkr_status status = tkr_jail_run(&raw, jail, &job, error);
    if (status != TKR_OK) return status;
    if (take(document, &raw)) return TKR_OK;
    tkr_image_free(&raw);
    *document = (tkr_document){0};
    return tkr_document_senseless(name, error);
}

void tkr_document_free(tkr_document *document) {
    tkr_free(document->memory);
    *document = (tkr_document){0};
}

const char *tkr_document_type_name(uint32_t type) {
    static const char *const names[TKR_N_DOCUMENT_TYPES] = {
        [TKR_DOCUMENT_PDF] = "pdf",   [TKR_DOCUMENT_DOCX] = "docx", [TKR_DOCUMENT_PPTX] = "pptx",
        [TKR_DOCUMENT_XLSX] = "xlsx", [TKR_DOCUMENT_ODF] = "odf",   [TKR_DOCUMENT_EPUB] = "epub",
        [TKR_DOCUMENT_HTML] = "html", [TKR_DOCUMENT_TEXT] = "text", [TKR_DOCUMENT_MARKDOWN] = "markdown",
        [TKR_DOCUMENT_MAIL] = "mail"};
    return type < TKR_N_DOCUMENT_TYPES && names[type] ? names[type] : "unknown";
}

const char *tkr_document_unit_name(uint32_t unit) {
    static const char *const names[TKR_N_UNITS] = {[TKR_UNIT_PAGE] = "page",
                                                   [TKR_UNIT_SLIDE] = "slide",
                                                   [TKR_UNIT_SHEET] = "sheet",
                                                   [TKR_UNIT_CHAPTER] = "chapter"};
    return unit < TKR_N_UNITS ? names[unit] : NULL;
}
