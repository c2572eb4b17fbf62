/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/docx: paragraphs, headings and tables of WordprocessingML; then foot- and endnotes. */
#include <stdio.h>
#include <stdlib.h>

#include "decode/document/pictures.h"

typedef struct style {
    char id[64];
    unsigned level; /* of a heading */
} style;

typedef struct reader {
    tkr_doc *doc;
    tkr_buf styles;         /* style */
    tkr_buf text;           /* of the paragraph, or of the row */
    unsigned level;         /* of the paragraph */
    unsigned tables, cells; /* tables that we are in; cells of the outer one's row so far */
    tkr_drawing drawing;    /* of the part */
} reader;

/* ---- styles: the heading's level by outline or by its English name, which Word keeps in every language ---- */

static unsigned level_of_name(const char *name) {
    if (strcmp(name, "Title") == 0 || strcmp(name, "title") == 0) return 1;
    if ((strncmp(name, "heading ", 8) == 0 || strncmp(name, "Heading ", 8) == 0) && name[8] >= '1' && name[8] <= '9')
        return (unsigned)(name[8] - '0');
    return 0;
}

static tkr_status read_styles(reader *r, const tkr_package *package, tkr_error *error) {
    const tkr_member *member = tkr_package_find(package, "word/styles.xml");
    tkr_xml xml;
    style one = {0};
    char value[64];
    if (!member) return TKR_OK;
    tkr_status status = tkr_xml_open(&xml, member, error);
    while (status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        const bool begins = xml.kind == TKR_XML_BEGIN;
        if (begins && tkr_xml_is(&xml, "style")) {
            one = (style){0};
            (void)tkr_xml_attribute(&xml, one.id, sizeof one.id, "styleId");
        } else if (begins && tkr_xml_is(&xml, "name") && tkr_xml_attribute(&xml, value, sizeof value, "val")) {
            if (level_of_name(value) > 0) one.level = level_of_name(value);
        } else if (begins && tkr_xml_is(&xml, "outlineLvl") && tkr_xml_attribute(&xml, value, sizeof value, "val")) {
            const unsigned long level = strtoul(value, NULL, 10);
            if (one.level == 0 && level < 9) one.level = (unsigned)level + 1;
        } else if (xml.kind == TKR_XML_END && tkr_xml_is(&xml, "style") && one.level > 0) {
            if (!tkr_buf_append(&r->styles, &one, sizeof one)) status = TKR_FAIL(error, NO_MEMORY, "no memory: styles");
        }
    }
    tkr_xml_close(&xml);
    return status;
}

static unsigned level_of(const reader *r, const char *id) {
    const style *list = (const style *)(const void *)r->styles.data;
    for (size_t i = 0; i < r->styles.size / sizeof *list; i++) {
        if (strcmp(list[i].id, id) == 0) return list[i].level;
    }
    return 0;
}

/* ---- text ---- */

static void begin(reader *r, const tkr_xml *xml) {
    char value[64];
    tkr_drawing_see(&r->drawing, r->doc, xml, &r->text);
    if (tkr_xml_is(xml, "p")) {
        r->level = 0;
        if (r->tables > 0 && r->text.size > 0 && r->text.data[r->text.size - 1] != ' ') tkr_buf_putc(&r->text, ' ');
    } else if (tkr_xml_is(xml, "pStyle") && tkr_xml_attribute(xml, value, sizeof value, "val")) {
        r->level = level_of(r, value);
    } else if (tkr_xml_is(xml, "outlineLvl") && tkr_xml_attribute(xml, value, sizeof value, "val")) {
        const unsigned long level = strtoul(value, NULL, 10);
        if (level < 9) r->level = (unsigned)level + 1;
    } else if (tkr_xml_is(xml, "tab")) {
        tkr_buf_putc(&r->text, r->tables > 0 ? ' ' : '\t');
    } else if (tkr_xml_is(xml, "br") || tkr_xml_is(xml, "cr")) {
        tkr_buf_putc(&r->text, r->tables > 0 ? ' ' : '\n');
    } else if (tkr_xml_is(xml, "noBreakHyphen")) {
        tkr_buf_putc(&r->text, '-');
    } else if (tkr_xml_is(xml, "tbl")) {
        r->tables++;
    } else if (tkr_xml_is(xml, "tr") && r->tables == 1) {
        r->cells = 0;
    } else if (tkr_xml_is(xml, "tc") && r->tables == 1 && r->cells++ > 0) {
        tkr_buf_append(&r->text, " | ", 3);
    }
}

static tkr_status end(reader *r, const tkr_xml *xml, tkr_error *error) {
    if (tkr_xml_is(xml, "p") && r->tables == 0)
        return tkr_doc_take(r->doc, r->level > 0 ? TKR_BLOCK_HEADING : TKR_BLOCK_PARAGRAPH, r->level, &r->text, error);
    if (tkr_xml_is(xml, "tr") && r->tables == 1) return tkr_doc_take(r->doc, TKR_BLOCK_ROW, 0, &r->text, error);
    if (tkr_xml_is(xml, "tbl") && r->tables > 0) r->tables--;
    return TKR_OK;
}

static tkr_status read_part(reader *r, const tkr_member *member, tkr_error *error) {
    tkr_xml xml;
    bool in_text = false, in_tabs = false;
    tkr_status status = tkr_xml_open(&xml, member, error);
    r->tables = 0;
    while (status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        if (xml.kind == TKR_XML_TEXT) {
            if (in_text) tkr_buf_append(&r->text, xml.text, strlen(xml.text));
            continue;
        }
        const bool begins = xml.kind == TKR_XML_BEGIN;
        if (begins && tkr_xml_is(&xml, "Fallback")) { /* the same once more, for older programs */
            (void)tkr_xml_skip(&xml, &status, error);
        } else if (tkr_xml_is(&xml, "t")) {
            in_text = begins;
        } else if (tkr_xml_is(&xml, "tabs")) {
            in_tabs = begins; /* stops of the ruler, no text */
        } else if (begins && !in_tabs) {
            begin(r, &xml);
        } else if (!begins) {
            status = end(r, &xml, error);
        }
    }
    tkr_xml_close(&xml);
    return status;
}

tkr_status tkr_doc_docx(tkr_doc *doc, const tkr_package *package, tkr_error *error) {
    static const char *const parts[] = {"word/document.xml", "word/footnotes.xml", "word/endnotes.xml"};
    reader r = {.doc = doc, .text = {.cap = doc->max_text}};
    tkr_status status = read_styles(&r, package, error);
    for (size_t i = 0; status == TKR_OK && i < sizeof parts / sizeof *parts; i++) {
        const tkr_member *member = tkr_package_find(package, parts[i]);
        if (!member) continue;
        status = tkr_drawing_open(&r.drawing, doc, package, member->name, error);
        if (status == TKR_OK) status = read_part(&r, member, error);
        tkr_drawing_close(&r.drawing);
    }
    tkr_buf_free(&r.styles);
    tkr_buf_free(&r.text);
    return status;
}
