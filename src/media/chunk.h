/* SPDX-License-Identifier: Apache-2.0 */
/* media/chunk: cuts a document's text into passages of a number of tokens, at borders of sentences and paragraphs. */
#ifndef TKR_MEDIA_CHUNK_H
#define TKR_MEDIA_CHUNK_H

#include "core/mem.h"
#include "media/document.h"

typedef struct tkr_chunk {
    size_t begin, end;                       /* bytes of the text */
    size_t begin_characters, end_characters; /* code points of the text */
    uint32_t page, last_page;                /* from 1; 0: the document has none */
    char *heading; /* those that it stands under, "A > B", NUL-terminated, owned; NULL: none but what it begins with */
} tkr_chunk;

typedef struct tkr_chunks {
    tkr_chunk *list; /* [n], owned */
    size_t n;
} tkr_chunks;

typedef struct tkr_chunk_options {
    size_t max_tokens; /* of a chunk with its heading; at least TKR_LEAST_CHUNK */
    size_t max_chunks; /* of more the document is refused with TKR_LIMIT; 0: any number */
    size_t overlap;    /* tokens, in whole sentences, that a chunk repeats of the one before; less than half a chunk */
    /* Sets *n to the tokens of a text, without special ones. */
    tkr_status (*count)(size_t *n, void *user, const char *text, size_t n_text, tkr_error *error);
    void *user;
} tkr_chunk_options;

enum { TKR_LEAST_CHUNK = 8 };

/* Memory that cutting takes beside the document. */
size_t tkr_chunks_memory(const tkr_document *document);
/* A heading begins a chunk unless the one before is shorter than a quarter; slides, sheets and chapters end chunks,
 * pages don't. A sentence that is too long is cut between words, else between characters. Fills *chunks. */
tkr_status tkr_chunks_make(tkr_chunks *chunks, const tkr_document *document, const tkr_chunk_options *options,
                           tkr_error *error);
void tkr_chunks_free(tkr_chunks *chunks);

#endif
