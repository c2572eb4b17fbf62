/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/pdf: what the readers of text, pages and pictures of a PDF share. */
#ifndef TKR_DECODE_DOCUMENT_PDF_H
#define TKR_DECODE_DOCUMENT_PDF_H

#include <poppler.h>

#include "decode/document/document.h"

/* Returns a document, freed with g_object_unref. */
tkr_status tkr_pdf_open(PopplerDocument **pdf, const tkr_doc *doc, tkr_error *error);

#endif
