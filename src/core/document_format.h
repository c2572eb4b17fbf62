/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/document_format: how tkr-decode-document hands over a document's text: header, blocks, where sentences begin,
 * text, without gaps; and the list of its pictures. Of one build and one machine. The reader believes none of it before
 * it has checked it.
 */
#ifndef TKR_CORE_DOCUMENT_FORMAT_H
#define TKR_CORE_DOCUMENT_FORMAT_H

#include <stdint.h>

enum {
    TKR_DOCUMENT_MAGIC = 0x746b7254,
    TKR_PICTURES_MAGIC = 0x746b7250,
    TKR_MAX_DOCUMENT_PICTURES = 1000,
    TKR_LEAST_PICTURE = 32 /* pixels of a side: what is smaller is a bullet or a rule */
};

typedef enum tkr_document_type {
    TKR_DOCUMENT_PDF = 1,
    TKR_DOCUMENT_DOCX,
    TKR_DOCUMENT_PPTX,
    TKR_DOCUMENT_XLSX,
    TKR_DOCUMENT_ODF,
    TKR_DOCUMENT_EPUB,
    TKR_DOCUMENT_HTML,
    TKR_DOCUMENT_MARKDOWN,
    TKR_DOCUMENT_TEXT,
    TKR_DOCUMENT_MAIL,
    TKR_N_DOCUMENT_TYPES
} tkr_document_type;

/* What the page of a block counts. */
typedef enum tkr_document_unit {
    TKR_UNIT_NONE = 0,
    TKR_UNIT_PAGE,
    TKR_UNIT_SLIDE,
    TKR_UNIT_SHEET,
    TKR_UNIT_CHAPTER,
    TKR_N_UNITS
} tkr_document_unit;

typedef enum tkr_block_kind { TKR_BLOCK_PARAGRAPH = 1, TKR_BLOCK_HEADING, TKR_BLOCK_ROW } tkr_block_kind;

typedef struct tkr_document_header {
    uint32_t magic, type; /* tkr_document_type */
    uint32_t unit;        /* tkr_document_unit */
    uint32_t n_pages;     /* 0: the document has none */
    uint32_t n_failed;    /* pages that can't be read */
    uint32_t n_blocks, n_sentences, reserved;
    uint64_t n_text;
    char note[256]; /* what is wrong with the failed pages; empty: nothing */
} tkr_document_header;

/* [begin, end) of the text, in bytes; blocks follow each other, what lies between is white space. */
typedef struct tkr_document_block {
    uint64_t begin, end;
    uint32_t kind, level; /* tkr_block_kind; level of a heading from 1 */
    uint32_t page;        /* from 1; 0: none */
    uint32_t reserved;
} tkr_document_block;

/* Then uint64_t [n_sentences], ascending: offsets in the text where a sentence begins; each block begins one. */

/* ---- pictures: a header, [n] entries, text ---- */

typedef enum tkr_coding {
    TKR_CODING_NONE = 0,
    TKR_CODING_BASE64,
    TKR_CODING_QUOTED,  /* quoted-printable */
    TKR_CODING_ARCHIVE, /* a file of the archive: its number, 0 */
    TKR_CODING_PDF      /* page and picture of a PDF, from 0: pixels */
} tkr_coding;

/* Where a picture lies: [begin, size] of the file, and of what that gives [begin, size], all of it where size is 0.
 * Only the decoder makes sense of it, and asks for it again. */
typedef struct tkr_picture_place {
    uint64_t outer[2], inner[2];
    uint32_t outer_coding, inner_coding;
} tkr_picture_place;

typedef struct tkr_picture_entry {
    tkr_picture_place place;
    uint64_t at;            /* where in the text it stands, in bytes, ascending; 0 in a PDF: where its page begins */
    uint64_t n_bytes;       /* encoded, or of pixels: width * height * 3 */
    uint64_t digest;        /* the same picture has the same */
    uint64_t alt, n_alt;    /* [alt, alt + n_alt) of the list's text: what the document says in its place */
    uint32_t width, height; /* 0: not known */
    uint32_t page;          /* from 1; 0: none */
    uint32_t is_rgb;        /* pixels */
} tkr_picture_entry;

typedef struct tkr_picture_header {
    uint32_t magic, n;
    uint32_t n_failed;  /* that can't be read */
    uint32_t next_page; /* of a PDF: the list goes on there, with picture next_picture; 0: it is over */
    uint32_t next_picture, reserved;
    uint64_t n_text;
    char note[256]; /* what is wrong with the first one that can't be read */
} tkr_picture_header;

#endif
