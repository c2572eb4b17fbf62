/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/xlsx: sheets of SpreadsheetML in their order: a heading with the name, a block a row. */
#include "decode/document/xlsx.h"

#include <stdlib.h>

#include "decode/document/pictures.h"

enum { MAX_COLUMNS = 1 << 14 };

typedef struct shared {
    tkr_buf text;    /* all strings */
    tkr_buf offsets; /* size_t [n + 1] */
} shared;

static bool mark(shared *s) { return tkr_buf_append(&s->offsets, &s->text.size, sizeof s->text.size); }

/* The table of strings that cells refer to; phonetic hints (rPh) are left out. */
static tkr_status read_shared(shared *s, const tkr_package *package, tkr_error *error) {
    const tkr_member *member = tkr_package_find(package, "xl/sharedStrings.xml");
    tkr_xml xml;
    bool in_text = false;
    if (!mark(s)) return TKR_FAIL(error, NO_MEMORY, "no memory for strings");
    if (!member) return TKR_OK;
    tkr_status status = tkr_xml_open(&xml, member, error);
    while (status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        if (xml.kind == TKR_XML_TEXT) {
            if (in_text) tkr_buf_append(&s->text, xml.text, strlen(xml.text));
        } else if (xml.kind == TKR_XML_BEGIN && tkr_xml_is(&xml, "rPh")) {
            (void)tkr_xml_skip(&xml, &status, error);
        } else if (tkr_xml_is(&xml, "t")) {
            in_text = xml.kind == TKR_XML_BEGIN;
        } else if (xml.kind == TKR_XML_END && tkr_xml_is(&xml, "si") && !mark(s)) {
            status = TKR_FAIL(error, NO_MEMORY, "no memory for strings");
        }
    }
    tkr_xml_close(&xml);
    if (status == TKR_OK && s->text.failed) status = TKR_FAIL(error, LIMIT, "has too much text");
    return status;
}

static void add_shared(tkr_buf *row, const shared *s, const char *index) {
    char *end;
    const unsigned long i = strtoul(index, &end, 10);
    const size_t *offsets = (const size_t *)(const void *)s->offsets.data;
    if (end == index || i + 1 >= s->offsets.size / sizeof *offsets) return;
    for (size_t k = offsets[i]; k < offsets[i + 1]; k++)
        tkr_buf_putc(row, s->text.data[k] == '\n' ? ' ' : s->text.data[k]);
}

typedef struct sheet {
    tkr_doc *doc;
    const shared *strings;
    tkr_buf row, value;
    tkr_buf styles; /* a byte each: what it shows a number as */
    bool from_1904;
    char type[16];   /* of the cell */
    uint8_t shown;   /* of the cell, by its style */
    unsigned column; /* of the cell, from 1 */
    unsigned filled; /* columns of the row up to the last with a value */
} sheet;

static void begin_cell(sheet *s, const tkr_xml *xml) {
    char value[32];
    unsigned column = 0;
    s->type[0] = '\0';
    s->shown = 0;
    (void)tkr_xml_attribute(xml, s->type, sizeof s->type, "t");
    if (tkr_xml_attribute(xml, value, sizeof value, "s")) {
        const unsigned long style = strtoul(value, NULL, 10);
        if (style < s->styles.size) s->shown = (uint8_t)s->styles.data[style];
    }
    if (tkr_xml_attribute(xml, value, sizeof value, "r")) {
        for (const char *at = value; *at >= 'A' && *at <= 'Z' && column < MAX_COLUMNS; at++)
            column = column * 26 + (unsigned)(*at - 'A') + 1;
    }
    s->column = column > 0 ? column : s->column + 1;
}

/* Before a value: one bar a column, so that it stands where it belongs; wide gaps are cut short. */
static void add_gap(sheet *s) {
    unsigned n = s->column > s->filled ? s->column - s->filled : 1;
    if (s->filled == 0) n--;
    for (n = n < TKR_MAX_GAP ? n : TKR_MAX_GAP; n > 0; n--) tkr_buf_append(&s->row, " | ", 3);
    s->filled = s->column;
}

static tkr_status end(sheet *s, const tkr_xml *xml, tkr_error *error) {
    if (tkr_xml_is(xml, "c")) {
        if (s->value.size == 0) return TKR_OK;
        add_gap(s);
        tkr_buf_putc(&s->value, '\0');
        s->value.size -= !s->value.failed;
        if (strcmp(s->type, "s") == 0) {
            add_shared(&s->row, s->strings, s->value.data);
        } else if (strcmp(s->type, "b") == 0) {
            const bool yes = s->value.data[0] == '1';
            tkr_buf_append(&s->row, yes ? "TRUE" : "FALSE", yes ? 4 : 5);
        } else if ((s->type[0] != '\0' && strcmp(s->type, "n") != 0) ||
                   !tkr_xlsx_date(&s->row, s->value.data, s->shown, s->from_1904)) {
            tkr_buf_append(&s->row, s->value.data, s->value.size);
        }
        s->value.size = 0;
    } else if (tkr_xml_is(xml, "row")) {
        s->filled = s->column = 0;
        return tkr_doc_take(s->doc, TKR_BLOCK_ROW, 0, &s->row, error);
    }
    return TKR_OK;
}

static tkr_status read_sheet(sheet *s, const tkr_package *package, const tkr_member *member, tkr_error *error) {
    tkr_xml xml;
    bool in_value = false;
    char id[64];
    tkr_status status = tkr_xml_open(&xml, member, error);
    s->filled = s->column = 0;
    s->row.size = s->value.size = 0;
    while (status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        const bool begins = xml.kind == TKR_XML_BEGIN;
        if (xml.kind == TKR_XML_TEXT) {
            if (in_value) tkr_buf_append(&s->value, xml.text, strlen(xml.text));
        } else if (begins && (tkr_xml_is(&xml, "f") || tkr_xml_is(&xml, "rPh"))) { /* a formula; its value follows */
            (void)tkr_xml_skip(&xml, &status, error);
        } else if (tkr_xml_is(&xml, "v") || tkr_xml_is(&xml, "t")) {
            in_value = begins;
        } else if (begins && tkr_xml_is(&xml, "c")) {
            begin_cell(s, &xml);
        } else if (begins && tkr_xml_is(&xml, "drawing") && tkr_xml_attribute(&xml, id, sizeof id, "id")) {
            status = tkr_drawing_read(s->doc, package, member->name, id, error);
        } else if (!begins) {
            status = end(s, &xml, error);
        }
    }
    tkr_xml_close(&xml);
    return status;
}

tkr_status tkr_doc_xlsx(tkr_doc *doc, const tkr_package *package, tkr_error *error) {
    static const char workbook[] = "xl/workbook.xml";
    shared strings = {.text = {.cap = doc->max_text}};
    sheet s = {.doc = doc, .strings = &strings, .row = {.cap = doc->max_text}, .value = {.cap = doc->max_text}};
    tkr_relations relations = {0};
    tkr_xml xml = {0};
    tkr_status status = read_shared(&strings, package, error);
    doc->header.unit = TKR_UNIT_SHEET;
    if (status == TKR_OK) status = tkr_relations_read(&relations, package, workbook, error);
    if (status == TKR_OK) status = tkr_xml_open(&xml, tkr_package_find(package, workbook), error);
    if (status == TKR_OK) status = tkr_xlsx_styles(&s.styles, package, error);
    while (status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        char id[64], name[256];
        if (xml.kind == TKR_XML_BEGIN && tkr_xml_is(&xml, "workbookPr") &&
            tkr_xml_attribute(&xml, id, sizeof id, "date1904"))
            s.from_1904 = id[0] == '1' || id[0] == 't';
        if (xml.kind != TKR_XML_BEGIN || !tkr_xml_is(&xml, "sheet")) continue;
        if (!tkr_xml_attribute(&xml, id, sizeof id, "id")) continue;
        const tkr_relation *relation = tkr_relations_find(&relations, id, NULL);
        const tkr_member *member = relation ? tkr_package_follow(package, workbook, relation->target) : NULL;
        if (doc->header.n_pages == TKR_MAX_DOCUMENT_PAGES)
            status = TKR_FAIL(error, LIMIT, "has more than %d sheets", (int)TKR_MAX_DOCUMENT_PAGES);
        if (status != TKR_OK) break;
        doc->page = ++doc->header.n_pages;
        if (tkr_xml_attribute(&xml, name, sizeof name, "name"))
            status = tkr_doc_block(doc, TKR_BLOCK_HEADING, 1, name, strlen(name), error);
        if (status == TKR_OK && member) status = tkr_doc_part(doc, read_sheet(&s, package, member, error), error);
        if (!member) tkr_doc_fail_page(doc, doc->page, NULL);
    }
    tkr_xml_close(&xml);
    tkr_relations_free(&relations);
    tkr_buf_free(&s.styles);
    tkr_buf_free(&s.row);
    tkr_buf_free(&s.value);
    tkr_buf_free(&strings.text);
    tkr_buf_free(&strings.offsets);
    return status;
}
