/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/odf: text, tables, slides and sheets of OpenDocument: ODT, ODP, ODS. */
#include <stdlib.h>

#include "decode/document/pictures.h"

enum { MAX_BLANKS = 64 };

typedef struct reader {
    tkr_doc *doc;
    tkr_buf text;
    tkr_buf outer;    /* what the paragraph had before the note that we are in */
    tkr_buf notes;    /* of the paragraph, or of the row: they follow it */
    tkr_buf titles;   /* names of styles that come of "Title", each with a NUL */
    unsigned in_note; /* how deep: a note in a note is part of it */
    bool in_title;
    unsigned repeats;    /* columns that the cell stands for */
    unsigned gap;        /* of columns without text before the cell */
    size_t cell;         /* where its text begins */
    unsigned level;      /* of the paragraph; 0: no heading */
    unsigned paragraphs; /* that we are in: notes and frames lie in others */
    unsigned tables, cells;
    bool is_sheet;
} reader;

static tkr_status flush(reader *r, tkr_error *error) {
    const tkr_block_kind kind = r->level > 0 ? TKR_BLOCK_HEADING : TKR_BLOCK_PARAGRAPH;
    const tkr_status status = tkr_doc_take(r->doc, kind, r->level, &r->text, error);
    return status == TKR_OK ? tkr_doc_take(r->doc, TKR_BLOCK_PARAGRAPH, 0, &r->notes, error) : status;
}

static bool is_title(const reader *r, const char *style) {
    if (strcmp(style, "Title") == 0) return true;
    for (size_t at = 0; at < r->titles.size; at += strlen(r->titles.data + at) + 1) {
        if (strcmp(r->titles.data + at, style) == 0) return true;
    }
    return false;
}

static void note_style(reader *r, const tkr_xml *xml) {
    char name[128], parent[128];
    if (tkr_xml_attribute(xml, parent, sizeof parent, "parent-style-name") && is_title(r, parent) &&
        tkr_xml_attribute(xml, name, sizeof name, "name"))
        tkr_buf_append(&r->titles, name, strlen(name) + 1);
}

/* A note's text is put aside until its paragraph has ended. */
static void begin_note(reader *r) {
    const tkr_buf before = r->text;
    if (r->in_note++ > 0) return;
    r->text = r->outer;
    r->outer = before;
    r->text.size = 0;
}

static void end_note(reader *r) {
    const tkr_buf note = r->text;
    if (r->in_note == 0 || --r->in_note > 0) return;
    if (note.size > 0) {
        if (r->notes.size > 0) tkr_buf_putc(&r->notes, '\n');
        tkr_buf_append(&r->notes, note.data, note.size);
    }
    r->text = r->outer;
    r->outer = note;
}

static void begin_cell(reader *r, const tkr_xml *xml) {
    char value[32];
    r->repeats = 1;
    if (r->cells++ > 0) r->gap++;
    r->cell = r->text.size;
    if (!tkr_xml_attribute(xml, value, sizeof value, "number-columns-repeated")) return;
    const unsigned long n = strtoul(value, NULL, 10);
    r->repeats = n < TKR_MAX_GAP ? (unsigned)n : TKR_MAX_GAP;
}

/* A cell without text is only counted, so that a row doesn't end in bars. */
static void end_cell(reader *r) {
    if (r->cell > r->text.size) r->cell = r->text.size; /* a row in the cell has taken the text */
    while (r->text.size > r->cell && r->text.data[r->text.size - 1] == ' ') r->text.size--;
    const size_t n = r->text.size - r->cell;
    if (n == 0) {
        r->gap += r->repeats > 0 ? r->repeats - 1 : 0;
        if (r->gap > TKR_MAX_GAP) r->gap = TKR_MAX_GAP;
        return;
    }
    tkr_buf bars = {0};
    for (; r->gap > 0; r->gap--) tkr_buf_append(&bars, " | ", 3);
    if (bars.size > 0 && tkr_buf_append(&r->text, bars.data, bars.size)) {
        memmove(r->text.data + r->cell + bars.size, r->text.data + r->cell, n);
        memcpy(r->text.data + r->cell, bars.data, bars.size);
    }
    const size_t at = r->cell + bars.size;
    for (unsigned i = 1; i < r->repeats && tkr_buf_reserve(&r->text, n + 3); i++) {
        tkr_buf_append(&r->text, " | ", 3);
        tkr_buf_append(&r->text, r->text.data + at, n);
    }
    tkr_buf_free(&bars);
}

static tkr_status begin_page(reader *r, const tkr_xml *xml, bool sheet, tkr_error *error) {
    char name[256];
    if (r->doc->header.n_pages == TKR_MAX_DOCUMENT_PAGES)
        return TKR_FAIL(error, LIMIT, "has more than %d pages", (int)TKR_MAX_DOCUMENT_PAGES);
    r->doc->header.unit = sheet ? TKR_UNIT_SHEET : TKR_UNIT_SLIDE;
    r->doc->page = ++r->doc->header.n_pages;
    if (!sheet || !tkr_xml_attribute(xml, name, sizeof name, "name")) return TKR_OK;
    return tkr_doc_block(r->doc, TKR_BLOCK_HEADING, 1, name, strlen(name), error);
}

static tkr_status begin(reader *r, const tkr_xml *xml, tkr_error *error) {
    char value[32], href[512];
    if (tkr_xml_is(xml, "p") || tkr_xml_is(xml, "h")) {
        if (r->tables > 0 || r->paragraphs > 0) {
            const size_t from = r->tables > 0 && r->in_note == 0 ? r->cell : 0;
            if (r->text.size > from && r->text.data[r->text.size - 1] != ' ') tkr_buf_putc(&r->text, ' ');
        }
        if (r->paragraphs++ > 0 || r->tables > 0) return TKR_OK;
        r->level = r->in_title || (tkr_xml_attribute(xml, href, sizeof href, "style-name") && is_title(r, href));
        if (tkr_xml_is(xml, "h")) {
            r->level = 1;
            if (tkr_xml_attribute(xml, value, sizeof value, "outline-level"))
                r->level = (unsigned)strtoul(value, NULL, 10) % 16;
        }
    } else if (tkr_xml_is(xml, "s") && r->paragraphs > 0) {
        unsigned long n = tkr_xml_attribute(xml, value, sizeof value, "c") ? strtoul(value, NULL, 10) : 1;
        for (n = n < MAX_BLANKS ? n : MAX_BLANKS; n > 0; n--) tkr_buf_putc(&r->text, ' ');
    } else if (tkr_xml_is(xml, "tab") && r->paragraphs > 0) {
        tkr_buf_putc(&r->text, r->tables > 0 ? ' ' : '\t');
    } else if (tkr_xml_is(xml, "line-break")) {
        tkr_buf_putc(&r->text, r->tables > 0 ? ' ' : '\n');
    } else if (tkr_xml_is(xml, "frame")) {
        tkr_doc_picture_choice(r->doc, true);
        r->in_title = tkr_xml_attribute(xml, value, sizeof value, "class") && strcmp(value, "title") == 0;
    } else if (tkr_xml_is(xml, "style")) {
        note_style(r, xml);
    } else if (tkr_xml_is(xml, "note") && r->paragraphs > 0) {
        begin_note(r);
    } else if (tkr_xml_is(xml, "image") && tkr_xml_attribute(xml, href, sizeof href, "href")) {
        tkr_doc_picture(r->doc, xml->name, href, NULL, &r->text);
    } else if (tkr_xml_is(xml, "spreadsheet")) {
        r->is_sheet = true;
    } else if (tkr_xml_is(xml, "page")) {
        return begin_page(r, xml, false, error);
    } else if (tkr_xml_is(xml, "table")) {
        if (r->tables++ == 0 && r->is_sheet) return begin_page(r, xml, true, error);
    } else if (tkr_xml_is(xml, "table-row") && r->tables == 1) {
        r->cells = r->gap = 0;
    } else if ((tkr_xml_is(xml, "table-cell") || tkr_xml_is(xml, "covered-table-cell")) && r->tables == 1) {
        begin_cell(r, xml);
    }
    return TKR_OK;
}

static tkr_status end(reader *r, const tkr_xml *xml, tkr_error *error) {
    if (tkr_xml_is(xml, "p") || tkr_xml_is(xml, "h")) {
        if (r->paragraphs > 0) r->paragraphs--;
        return r->paragraphs == 0 && r->tables == 0 ? flush(r, error) : TKR_OK;
    }
    if (tkr_xml_is(xml, "table-row") && r->tables == 1) {
        const tkr_status status = tkr_doc_take(r->doc, TKR_BLOCK_ROW, 0, &r->text, error);
        return status == TKR_OK && r->notes.size > 0 ? tkr_doc_take(r->doc, TKR_BLOCK_PARAGRAPH, 0, &r->notes, error)
                                                     : status;
    }
    if (tkr_xml_is(xml, "table") && r->tables > 0) r->tables--;
    if ((tkr_xml_is(xml, "table-cell") || tkr_xml_is(xml, "covered-table-cell")) && r->tables == 1) end_cell(r);
    if (tkr_xml_is(xml, "note")) end_note(r);
    if (tkr_xml_is(xml, "frame")) {
        tkr_doc_picture_choice(r->doc, false);
        r->in_title = false;
    }
    return TKR_OK;
}

static bool is_encrypted(const tkr_package *package) {
    const tkr_member *manifest = tkr_package_find(package, "META-INF/manifest.xml");
    return manifest && manifest->data.size > 0 && strstr(manifest->data.data, "encryption-data");
}

/* What is said in place of a picture: no part of the text. */
static tkr_status read_alt(reader *r, tkr_xml *xml, tkr_error *error) {
    tkr_buf words = {.cap = 4096};
    tkr_status status = TKR_OK;
    const int depth = xml->depth;
    while (!(xml->kind == TKR_XML_END && xml->depth == depth) && tkr_xml_next(xml, &status, error)) {
        if (xml->kind == TKR_XML_TEXT) tkr_buf_append(&words, xml->text, strlen(xml->text));
    }
    if (words.size > 0) tkr_doc_picture_alt(r->doc, words.data, words.size);
    tkr_buf_free(&words);
    return status;
}

static bool is_alt(const tkr_xml *xml) {
    const xmlChar *prefix = xmlTextReaderConstPrefix(xml->reader);
    return (tkr_xml_is(xml, "title") || tkr_xml_is(xml, "desc")) && prefix && strcmp((const char *)prefix, "svg") == 0;
}

tkr_status tkr_doc_odf(tkr_doc *doc, const tkr_package *package, tkr_error *error) {
    reader r = {
        .doc = doc, .text = {.cap = doc->max_text}, .outer = {.cap = doc->max_text}, .notes = {.cap = doc->max_text}};
    tkr_xml xml;
    if (is_encrypted(package)) return TKR_FAIL(error, UNSUPPORTED, "is encrypted: it needs a password");
    tkr_status status = tkr_xml_open(&xml, tkr_package_find(package, "content.xml"), error);
    while (status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        if (xml.kind == TKR_XML_TEXT) {
            if (r.paragraphs > 0) tkr_doc_squeeze(&r.text, xml.text, strlen(xml.text));
        } else if (xml.kind == TKR_XML_BEGIN &&
                   (tkr_xml_is(&xml, "annotation") || tkr_xml_is(&xml, "tracked-changes") ||
                    tkr_xml_is(&xml, "note-citation"))) {
            (void)tkr_xml_skip(&xml, &status, error);
        } else if (xml.kind == TKR_XML_BEGIN && is_alt(&xml)) {
            status = read_alt(&r, &xml, error);
        } else if (xml.kind == TKR_XML_BEGIN) {
            status = begin(&r, &xml, error);
        } else {
            status = end(&r, &xml, error);
        }
    }
    tkr_xml_close(&xml);
    tkr_buf_free(&r.text);
    tkr_buf_free(&r.outer);
    tkr_buf_free(&r.notes);
    tkr_buf_free(&r.titles);
    return status;
}
