/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/pptx: slides of PresentationML in their order: titles, text, tables, notes. */
#include "decode/document/pictures.h"

typedef struct reader {
    tkr_doc *doc;
    tkr_buf text;
    bool is_title, skipped; /* of the shape */
    bool in_table, in_notes;
    unsigned cells;
    tkr_drawing drawing; /* of the slide */
} reader;

static void begin(reader *r, tkr_xml *xml) {
    char type[32];
    if (!r->in_notes) tkr_drawing_see(&r->drawing, r->doc, xml, &r->text);
    if (tkr_xml_is(xml, "sp")) {
        r->is_title = r->skipped = false;
    } else if (tkr_xml_is(xml, "ph") && tkr_xml_attribute(xml, type, sizeof type, "type")) {
        r->is_title = strcmp(type, "title") == 0 || strcmp(type, "ctrTitle") == 0;
        r->skipped = strcmp(type, "sldNum") == 0 || strcmp(type, "dt") == 0 || strcmp(type, "ftr") == 0;
    } else if (tkr_xml_is(xml, "tbl")) {
        r->in_table = true;
    } else if (tkr_xml_is(xml, "tr")) {
        r->cells = 0;
    } else if (tkr_xml_is(xml, "tc") && r->cells++ > 0) {
        tkr_buf_append(&r->text, " | ", 3);
    } else if (tkr_xml_is(xml, "br")) {
        tkr_buf_putc(&r->text, r->in_table ? ' ' : '\n');
    }
}

static tkr_status end(reader *r, const tkr_xml *xml, tkr_error *error) {
    if (tkr_xml_is(xml, "p")) {
        if (r->in_table) {
            tkr_buf_putc(&r->text, ' ');
            return TKR_OK;
        }
        if (r->skipped) r->text.size = 0;
        return tkr_doc_take(r->doc, r->is_title ? TKR_BLOCK_HEADING : TKR_BLOCK_PARAGRAPH, r->is_title, &r->text,
                            error);
    }
    if (tkr_xml_is(xml, "tc")) {
        while (r->text.size > 0 && r->text.data[r->text.size - 1] == ' ') r->text.size--;
        if (r->text.size > 0 && r->text.data[r->text.size - 1] == '|') tkr_buf_putc(&r->text, ' ');
    } else if (tkr_xml_is(xml, "tr")) {
        return tkr_doc_take(r->doc, TKR_BLOCK_ROW, 0, &r->text, error);
    } else if (tkr_xml_is(xml, "tbl")) {
        r->in_table = false;
    }
    return TKR_OK;
}

static tkr_status read_slide(reader *r, const tkr_member *member, tkr_error *error) {
    tkr_xml xml;
    bool in_text = false;
    tkr_status status = tkr_xml_open(&xml, member, error);
    r->is_title = r->skipped = r->in_table = false;
    r->text.size = 0;
    while (status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        if (xml.kind == TKR_XML_TEXT) {
            if (in_text) tkr_buf_append(&r->text, xml.text, strlen(xml.text));
        } else if (xml.kind == TKR_XML_BEGIN && tkr_xml_is(&xml, "Fallback")) {
            (void)tkr_xml_skip(&xml, &status, error);
        } else if (tkr_xml_is(&xml, "t")) {
            in_text = xml.kind == TKR_XML_BEGIN;
        } else if (xml.kind == TKR_XML_BEGIN) {
            begin(r, &xml);
        } else {
            status = end(r, &xml, error);
        }
    }
    tkr_xml_close(&xml);
    return status;
}

/* A slide whose relations are damaged still says what it says: the same whether pictures are wanted or not. */
static tkr_status read_with_notes(reader *r, const tkr_package *package, const tkr_member *slide, tkr_error *error) {
    tkr_error why = {TKR_OK, NULL, ""};
    r->drawing = (tkr_drawing){.part = slide->name};
    const tkr_status related = tkr_relations_read(&r->drawing.relations, package, slide->name, &why);
    tkr_status status = read_slide(r, slide, error);
    if (status == TKR_OK && related != TKR_OK) status = tkr_error_set(error, TKR_HERE, related, "%s", why.message);
    const tkr_relation *notes = tkr_relations_find(&r->drawing.relations, NULL, "notesSlide");
    const tkr_member *member = notes ? tkr_package_follow(package, slide->name, notes->target) : NULL;
    if (status == TKR_OK && member) {
        r->in_notes = true;
        status = read_slide(r, member, error);
        r->in_notes = false;
    }
    tkr_drawing_close(&r->drawing);
    return status;
}

tkr_status tkr_doc_pptx(tkr_doc *doc, const tkr_package *package, tkr_error *error) {
    static const char presentation[] = "ppt/presentation.xml";
    reader r = {.doc = doc, .text = {.cap = doc->max_text}};
    tkr_relations relations;
    tkr_xml xml = {0};
    tkr_status status = tkr_relations_read(&relations, package, presentation, error);
    doc->header.unit = TKR_UNIT_SLIDE;
    if (status == TKR_OK) status = tkr_xml_open(&xml, tkr_package_find(package, presentation), error);
    while (status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        char id[64];
        if (xml.kind != TKR_XML_BEGIN || !tkr_xml_is(&xml, "sldId")) continue;
        /* two attributes are called id; the relation's comes with a prefix, and is no number */
        xmlChar *value = xmlTextReaderGetAttributeNs(
            xml.reader, (const xmlChar *)"id",
            (const xmlChar *)"http://schemas.openxmlformats.org/officeDocument/2006/relationships");
        if (!value) continue;
        const size_t n = strlen((const char *)value);
        memcpy(id, value, n < sizeof id ? n + 1 : sizeof id);
        id[sizeof id - 1] = '\0';
        xmlFree(value);
        const tkr_relation *relation = tkr_relations_find(&relations, id, NULL);
        const tkr_member *slide = relation ? tkr_package_follow(package, presentation, relation->target) : NULL;
        if (doc->header.n_pages == TKR_MAX_DOCUMENT_PAGES)
            status = TKR_FAIL(error, LIMIT, "has more than %d slides", (int)TKR_MAX_DOCUMENT_PAGES);
        doc->page = ++doc->header.n_pages;
        if (status == TKR_OK && slide) status = tkr_doc_part(doc, read_with_notes(&r, package, slide, error), error);
        if (!slide) tkr_doc_fail_page(doc, doc->page, NULL);
    }
    tkr_xml_close(&xml);
    tkr_relations_free(&relations);
    tkr_buf_free(&r.text);
    return status;
}
