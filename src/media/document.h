/* SPDX-License-Identifier: Apache-2.0 */
/* media/document: a document's text with blocks and sentences, and its pages, from the jail. Believes nothing of it. */
#ifndef TKR_MEDIA_DOCUMENT_H
#define TKR_MEDIA_DOCUMENT_H

#include "core/document_format.h"
#include "media/jail.h"

typedef struct tkr_document {
    tkr_document_header header;
    const tkr_document_block *blocks; /* [header.n_blocks] */
    const uint64_t *sentences;        /* [header.n_sentences] */
    const char *text;                 /* [header.n_text], valid UTF-8 */
    uint8_t *memory;                  /* of all these, owned */
} tkr_document;

/* Reads a document of any known type, told by its content. `jail` is one for documents. Pages that can't be read are
 * counted in the header. Fills *document, freed with tkr_document_free. Thread-safe. */
tkr_status tkr_document_read(tkr_document *document, tkr_jail *jail, const char *name, const void *bytes,
                             size_t n_bytes, const tkr_stop *stop, tkr_error *error);
/* What an answer that can't be is told as. */
tkr_status tkr_document_senseless(const char *name, tkr_error *error);
void tkr_document_free(tkr_document *document);
/* "pdf", "docx", ...; "page", "slide", "sheet", "chapter" or NULL. Static. */
const char *tkr_document_type_name(uint32_t type);
const char *tkr_document_unit_name(uint32_t unit);

#endif
