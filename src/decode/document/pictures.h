/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode/document/pictures: the pictures that stand in a document: readers note them as they come by, then they are
 * looked for, and listed. Their formats are for others to decode. Fetches nothing; what isn't there costs that picture.
 */
#ifndef TKR_DECODE_DOCUMENT_PICTURES_H
#define TKR_DECODE_DOCUMENT_PICTURES_H

#include "decode/document/xml.h"

/* ---- for the readers; they do nothing where doc->pictures is NULL ---- */

/* A picture stands behind `pending`, what has been read of the next block; NULL: behind the last block. `source` is a
 * member, as the member `from` refers to it, or for HTML an address: "data:", "cid:"; others mean nothing. `alt` or
 * NULL: what is said in its place. */
void tkr_doc_picture(tkr_doc *doc, const char *from, const char *source, const char *alt, const tkr_buf *pending);
/* The part of a message that is a picture, or that one meant which named its id ("" or "<...>"). */
void tkr_doc_picture_part(tkr_doc *doc, const tkr_picture_place *place, const char *id);
/* What the pictures have in common that follow: one of them is shown, the first that is possible. */
void tkr_doc_picture_choice(tkr_doc *doc, bool begins);
/* What is said in place of the last picture of this choice. */
void tkr_doc_picture_alt(tkr_doc *doc, const char *alt, size_t n);
/* What `data:` addresses lie in from now on: bytes that come from a part of a message, or a member of that name. */
void tkr_doc_container(tkr_doc *doc, const tkr_picture_place *place, const char *member, const void *bytes, size_t n);
/* The member that HTML is read from, or NULL. */
const char *tkr_doc_member(const tkr_doc *doc);
/* A block is written now: `skipped` bytes at its beginning and all from `size` on are left out. n 0: it is none. */
void tkr_doc_settle_pictures(tkr_doc *doc, size_t begin, size_t skipped, size_t size);

/* Of Office Open XML: an element of a part, its pictures and what is said of them. */
typedef struct tkr_drawing {
    const char *part; /* name of the member, borrowed */
    tkr_relations relations;
    char alt[1024];
} tkr_drawing;
tkr_status tkr_drawing_open(tkr_drawing *drawing, const tkr_doc *doc, const tkr_package *package, const char *part,
                            tkr_error *error);
void tkr_drawing_see(tkr_drawing *drawing, tkr_doc *doc, const tkr_xml *xml, const tkr_buf *pending);
void tkr_drawing_close(tkr_drawing *drawing);
/* All pictures of the drawing that the member `of` names `id`. */
tkr_status tkr_drawing_read(tkr_doc *doc, const tkr_package *package, const char *of, const char *id, tkr_error *error);

/* ---- for main.c ---- */

/* Writes the list into out[room]; of a PDF from a page and a picture on, `most` that are looked at (0: as time allows).
 */
tkr_status tkr_doc_list_pictures(uint8_t *out, size_t *size, tkr_doc *doc, size_t room, uint32_t page, uint32_t picture,
                                 uint64_t most, tkr_error *error);
/* Writes what lies there: pixels, or bytes as one row. At most 3 * max_pixels bytes. */
tkr_status tkr_doc_get_picture(uint8_t *out, size_t *width, size_t *height, const tkr_doc *doc,
                               const tkr_picture_place *place, size_t max_pixels, tkr_error *error);

/* ---- between the files of this ---- */

/* Adds one that is known already; false: no memory. */
bool tkr_pictures_add(tkr_pictures *pictures, const tkr_picture_entry *entry);
bool tkr_pictures_full(const tkr_pictures *pictures);
/* One that can't be read; the first reason is told. */
void tkr_pictures_fail(tkr_pictures *pictures, const char *name, const char *why);
/* picture_size.c: whether tkr-decode knows the format; the size where that says one, else 0. */
bool tkr_picture_known(uint32_t *width, uint32_t *height, const void *bytes, size_t n);
/* pdf_pictures.c. *next_page and *next_picture: where to go on, 0: it is over. */
tkr_status tkr_pdf_list_pictures(tkr_pictures *pictures, const tkr_doc *doc, uint32_t *next_page,
                                 uint32_t *next_picture, uint64_t most, size_t max_pixels, tkr_error *error);
tkr_status tkr_pdf_picture(uint8_t *rgb, size_t *width, size_t *height, const tkr_doc *doc, uint64_t page,
                           uint64_t picture, size_t max_pixels, tkr_error *error);
/* mail.c: appends what a part's text stands for. */
void tkr_mail_decode(tkr_buf *out, uint32_t coding, const char *text, size_t n);

#endif
