/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode/document: what the files of tkr-decode-document share. One document's bytes become blocks of text in reading
 * order, or one of its pages a picture. Refuses passwords, entities, anything outside of the bytes given.
 */
#ifndef TKR_DECODE_DOCUMENT_H
#define TKR_DECODE_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/document_format.h"
#include "core/error.h"
#include "core/mem.h"

enum {
    TKR_MAX_DOCUMENT_PAGES = 10000,
    TKR_MAX_GAP = 16,            /* empty cells one behind the other that are shown */
    TKR_MAX_PAGE_POINTS = 14400, /* 200 inches, the largest that Acrobat makes */
};

typedef struct tkr_sentences tkr_sentences; /* sentence.c */
typedef struct tkr_pictures tkr_pictures;   /* pictures.h */

/* What the readers fill. Text is UTF-8. */
typedef struct tkr_doc {
    const uint8_t *bytes; /* [n_bytes], borrowed */
    size_t n_bytes;
    size_t max_text; /* bytes of text, and of blocks and sentences each */
    tkr_sentences *breaker;
    tkr_document_header header; /* type, unit, n_pages, n_failed, note: set by the readers */
    uint32_t page;              /* of the blocks that follow */
    tkr_pictures *pictures;     /* where readers note pictures; NULL: they aren't wanted */
    tkr_buf text, blocks, sentences;
} tkr_doc;

/* Tells the type by content and reads all of it. */
tkr_status tkr_doc_read(tkr_doc *doc, tkr_error *error);
bool tkr_doc_is_pdf(const tkr_doc *doc);
/* Draws page `page` (from 0) to RGB, its longer side `side` pixels; at most max_pixels. */
tkr_status tkr_doc_render(uint8_t *rgb, size_t *width, size_t *height, const tkr_doc *doc, size_t page, size_t side,
                          size_t max_pixels, tkr_error *error);
void tkr_doc_free(tkr_doc *doc);

/* ---- doc.c ---- */
/* Adds a block, without white space around it; nothing for empty text. Invalid UTF-8 becomes U+FFFD. */
tkr_status tkr_doc_block(tkr_doc *doc, tkr_block_kind kind, unsigned level, const char *text, size_t n,
                         tkr_error *error);
/* The block is what a buffer holds, which is emptied. TKR_NO_MEMORY when it failed. */
tkr_status tkr_doc_take(tkr_doc *doc, tkr_block_kind kind, unsigned level, tkr_buf *text, tkr_error *error);
/* Appends text with each run of white space as one blank, none at the beginning of the buffer. */
void tkr_doc_squeeze(tkr_buf *out, const char *text, size_t n);

/* A page, slide, sheet or chapter can't be read: it is counted, and the first of them noted with what `why` says, or
 * NULL.
 */
void tkr_doc_fail_page(tkr_doc *doc, uint32_t page, const tkr_error *why);
/* What became of a part of the document: one that is damaged costs itself alone. */
tkr_status tkr_doc_part(tkr_doc *doc, tkr_status status, tkr_error *error);

/* ---- bidi.c ---- */
/* U+202A to U+202E, which poppler puts around words that it has turned; they have no boxes. `n`: bytes that
 * are there, or 3 of a text that ends in NUL. */
static inline bool tkr_doc_is_mark(const char *at, size_t n) {
    return n >= 3 && at[0] == '\xE2' && at[1] == '\x80' && (unsigned char)at[2] >= 0xAA && (unsigned char)at[2] <= 0xAE;
}
/* Of lines as poppler gives them: words of right-to-left scripts in the order in which they are read. `failed` is set
 * where there is no memory. */
void tkr_doc_reading_order(tkr_buf *text);

/* ---- sentence.c ---- */
tkr_status tkr_sentences_create(tkr_sentences **sentences, tkr_error *error);
void tkr_sentences_free(tkr_sentences **sentences);
/* Appends where sentences of text[n] begin, uint64_t each, `base` added, 0 left out. */
tkr_status tkr_sentences_find(tkr_buf *out, tkr_sentences *sentences, const char *text, size_t n, uint64_t base,
                              tkr_error *error);

/* ---- charset.c ---- */
/* Appends the bytes as UTF-8: by their byte order mark, as `declared` says (NULL: nothing), as valid UTF-8, by
 * statistics, else as Windows-1252. */
tkr_status tkr_charset_to_utf8(tkr_buf *out, const uint8_t *bytes, size_t n, const char *declared, tkr_error *error);

/* ---- archive.c ---- the XML and HTML files of a ZIP archive, in memory ---- */
typedef struct tkr_package tkr_package;
typedef struct tkr_member {
    char *name;
    tkr_buf data;
} tkr_member;
tkr_status tkr_package_open(tkr_package **package, const uint8_t *bytes, size_t n, tkr_error *error);
void tkr_package_free(tkr_package **package);
/* NULL: there is none. */
const tkr_member *tkr_package_find(const tkr_package *package, const char *name);
/* The member that `target`, a reference in the member `from`, means: relative, "/" is the archive's root, a fragment is
 * left out. */
const tkr_member *tkr_package_follow(const tkr_package *package, const char *from, const char *target);
/* Puts the name of that member, which need not be there, and a NUL into `path`. */
bool tkr_package_path(tkr_buf *path, const char *from, const char *target);
/* Goes through the files of an archive, media too, and holds one of them at a time. */
typedef struct tkr_archive_visitor {
    bool (*wants)(void *user, const char *name, size_t number);
    /* `why`: NULL, or why it can't be read. false: enough seen. */
    bool (*take)(void *user, const char *name, size_t number, const tkr_buf *data, const tkr_error *why);
    void *user;
    size_t max_bytes, max_all; /* of one, of all together */
} tkr_archive_visitor;
tkr_status tkr_archive_visit(const uint8_t *bytes, size_t n, const tkr_archive_visitor *visitor, tkr_error *error);

/* ---- one type each ---- */
tkr_status tkr_doc_pdf(tkr_doc *doc, tkr_error *error);
tkr_status tkr_doc_docx(tkr_doc *doc, const tkr_package *package, tkr_error *error);
tkr_status tkr_doc_pptx(tkr_doc *doc, const tkr_package *package, tkr_error *error);
tkr_status tkr_doc_xlsx(tkr_doc *doc, const tkr_package *package, tkr_error *error);
tkr_status tkr_doc_odf(tkr_doc *doc, const tkr_package *package, tkr_error *error);
tkr_status tkr_doc_epub(tkr_doc *doc, const tkr_package *package, tkr_error *error);
/* Bytes of a page; adds to what the document has. `declared`: its charset as told from outside, or NULL. */
tkr_status tkr_doc_html(tkr_doc *doc, const uint8_t *bytes, size_t n, const char *declared, tkr_error *error);
/* UTF-8. */
tkr_status tkr_doc_text(tkr_doc *doc, const char *text, size_t n, bool markdown, tkr_error *error);
bool tkr_doc_is_markdown(const char *text, size_t n);
bool tkr_doc_is_mail(const uint8_t *bytes, size_t n);
tkr_status tkr_doc_mail(tkr_doc *doc, tkr_error *error);

#endif
