/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/odf: text, tables, slides and sheets of OpenDocument: ODT, ODP, ODS. */
#include <stdlib.h>

#include "decode/document/xml.h"

enum { MAX_BLANKS = 64 };

typedef struct reader {
    tkr_doc *doc;
    tkr_buf text;
    unsigned level;      /* of the paragraph; 0: no heading */
    unsigned paragraphs; /* that we are in: notes and frames lie in others */
    unsigned tables, cells;
    bool is_sheet;
} reader;

static tkr_status flush(reader *r, tkr_error *error) {
    return tkr_doc_take(r->doc, r->level > 0 ? TKR_BLOCK_HEADING : TKR_BLOCK_PARAGRAPH, r->level, &r->text, error);
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
    char value[32];
    if (tkr_xml_is(xml, "p") || tkr_xml_is(xml, "h")) {
        if (r->tables > 0 || r->paragraphs > 0) {
            if (r->text.size > 0 && r->text.data[r->text.size - 1] != ' ') tkr_buf_putc(&r->text, ' ');
        }
        if (r->paragraphs++ > 0 || r->tables > 0) return TKR_OK;
        r->level = 0;
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
    } else if (tkr_xml_is(xml, "spreadsheet")) {
        r->is_sheet = true;
    } else if (tkr_xml_is(xml, "page")) {
        return begin_page(r, xml, false, error);
    } else if (tkr_xml_is(xml, "table")) {
        if (r->tables++ == 0 && r->is_sheet) return begin_page(r, xml, true, error);
    } else if (tkr_xml_is(xml, "table-row") && r->tables == 1) {
        r->cells = 0;
    } else if (tkr_xml_is(xml, "table-cell") && r->tables == 1 && r->cells++ > 0) {
        tkr_buf_append(&r->text, " | ", 3);
    }
    return TKR_OK;
}

/* Empty cells at the end of a row of a sheet mean nothing. */
static void trim_row(reader *r) {
    while (r->text.size > 0 && (r->text.data[r->text.size - 1] == ' ' || r->text.data[r->text.size - 1] == '|'))
        r->text.size--;
}

static tkr_status end(reader *r, const tkr_xml *xml, tkr_error *error) {
    if (tkr_xml_is(xml, "p") || tkr_xml_is(xml, "h")) {
        if (r->paragraphs > 0) r->paragraphs--;
        return r->paragraphs == 0 && r->tables == 0 ? flush(r, error) : TKR_OK;
    }
    if (tkr_xml_is(xml, "table-row") && r->tables == 1) {
        trim_row(r);
        return tkr_doc_take(r->doc, TKR_BLOCK_ROW, 0, &r->text, error);
    }
    if (tkr_xml_is(xml, "table") && r->tables > 0) r->tables--;
    return TKR_OK;
}

static bool is_encrypted(const tkr_package *package) {
    const tkr_member *manifest = tkr_package_find(package, "META-INF/manifest.xml");
    return manifest && manifest->data.size > 0 && strstr(manifest->data.data, "encryption-data");
}

tkr_status tkr_doc_odf(tkr_doc *doc, const tkr_package *package, tkr_error *error) {
    reader r = {.doc = doc, .text = {.cap = doc->max_text}};
    tkr_xml xml;
    if (is_encrypted(package)) return TKR_FAIL(error, UNSUPPORTED, "is encrypted: it needs a password");
    tkr_status status = tkr_xml_open(&xml, tkr_package_find(package, "content.xml"), error);
    while (status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        if (xml.kind == TKR_XML_TEXT) {
            if (r.paragraphs > 0) tkr_doc_squeeze(&r.text, xml.text, strlen(xml.text));
        } else if (xml.kind == TKR_XML_BEGIN &&
                   (tkr_xml_is(&xml, "annotation") || tkr_xml_is(&xml, "tracked-changes"))) {
            (void)tkr_xml_skip(&xml, &status, error);
        } else if (xml.kind == TKR_XML_BEGIN) {
            status = begin(&r, &xml, error);
        } else {
            status = end(&r, &xml, error);
        }
    }
    tkr_xml_close(&xml);
    tkr_buf_free(&r.text);
    return status;
}
