/* SPDX-License-Identifier: Apache-2.0 */
/* media/document_pictures: the pictures that stand in a document, from its jail. Believes nothing of the list. */
#ifndef TKR_MEDIA_DOCUMENT_PICTURES_H
#define TKR_MEDIA_DOCUMENT_PICTURES_H

#include "media/document.h"

typedef struct tkr_document_picture {
    tkr_picture_entry entry;
    size_t at_characters; /* code points of the document's text before it */
    const char *alt;      /* [entry.n_alt], valid UTF-8; what the document says in its place */
} tkr_document_picture;

typedef struct tkr_document_pictures {
    tkr_document_picture *list; /* [n], owned */
    size_t n, n_failed;         /* n_failed couldn't be read */
    tkr_arena alt;              /* owned */
    char note[320]; /* what is wrong with the first of those, or with the rest of the list; empty: nothing */
} tkr_document_pictures;

/* Lists pictures of at least TKR_LEAST_PICTURE pixels a side, each once, in the order in which they stand; at most
 * TKR_MAX_DOCUMENT_PICTURES. `document` is what the same bytes were read to. Fills *pictures, freed with
 * tkr_document_pictures_free. */
tkr_status tkr_document_pictures_list(tkr_document_pictures *pictures, const tkr_document *document, tkr_jail *jail,
                                      const char *name, const void *bytes, size_t n_bytes, const tkr_stop *stop,
                                      tkr_error *error);
void tkr_document_pictures_free(tkr_document_pictures *pictures);
/* The picture's pixels where entry.is_rgb is set, else its encoded bytes: the first entry.n_bytes of image->rgb. Fills
 * *image, freed with tkr_image_free. */
tkr_status tkr_document_picture_get(tkr_image *image, const tkr_document_picture *picture, tkr_jail *jail,
                                    const char *name, const void *bytes, size_t n_bytes, const tkr_stop *stop,
                                    tkr_error *error);

#endif
