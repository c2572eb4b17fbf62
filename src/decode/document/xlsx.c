/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/xlsx: sheets of SpreadsheetML in their order: a heading with the name, a block a row. */
#include <stdlib.h>

#include "decode/document/xml.h"

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
    char type[16];   /* of the cell */
    unsigned filled; /* cells of the row with a value */
} sheet;

static tkr_status end(sheet *s, const tkr_xml *xml, tkr_error *error) {
    if (tkr_xml_is(xml, "c")) {
        if (s->value.size == 0) return TKR_OK;
        if (s->filled++ > 0) tkr_buf_append(&s->row, " | ", 3);
        if (strcmp(s->type, "s") == 0) {
            tkr_buf_putc(&s->value, '\0');
            add_shared(&s->row, s->strings, s->value.data);
        } else if (strcmp(s->type, "b") == 0) {
            const bool yes = s->value.data[0] == '1';
            tkr_buf_append(&s->row, yes ? "TRUE" : "FALSE", yes ? 4 : 5);
        } else {
            tkr_buf_append(&s->row, s->value.data, s->value.size);
        }
        s->value.size = 0;
    } else if (tkr_xml_is(xml, "row")) {
        s->filled = 0;
        return tkr_doc_take(s->doc, TKR_BLOCK_ROW, 0, &s->row, error);
    }
    return TKR_OK;
}

static tkr_status read_sheet(sheet *s, const tkr_member *member, tkr_error *error) {
    tkr_xml xml;
    bool in_value = false;
    tkr_status status = tkr_xml_open(&xml, member, error);
    s->filled = 0;
    while (status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        const bool begins = xml.kind == TKR_XML_BEGIN;
        if (xml.kind == TKR_XML_TEXT) {
            if (in_value) tkr_buf_append(&s->value, xml.text, strlen(xml.text));
        } else if (begins && (tkr_xml_is(&xml, "f") || tkr_xml_is(&xml, "rPh"))) { /* a formula; its value follows */
            (void)tkr_xml_skip(&xml, &status, error);
        } else if (tkr_xml_is(&xml, "v") || tkr_xml_is(&xml, "t")) {
            in_value = begins;
        } else if (begins && tkr_xml_is(&xml, "c")) {
            s->type[0] = '\0';
            (void)tkr_xml_attribute(&xml, s->type, sizeof s->type, "t");
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
    while (status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        char id[64], name[256];
        if (xml.kind != TKR_XML_BEGIN || !tkr_xml_is(&xml, "sheet")) continue;
        if (!tkr_xml_attribute(&xml, id, sizeof id, "id")) continue;
        const tkr_relation *relation = tkr_relations_find(&relations, id, NULL);
        const tkr_member *member = relation ? tkr_package_follow(package, workbook, relation->target) : NULL;
        doc->page = ++doc->header.n_pages;
        if (tkr_xml_attribute(&xml, name, sizeof name, "name"))
            status = tkr_doc_block(doc, TKR_BLOCK_HEADING, 1, name, strlen(name), error);
        if (status == TKR_OK && member) status = read_sheet(&s, member, error);
        if (!member) doc->header.n_failed++;
    }
    tkr_xml_close(&xml);
    tkr_relations_free(&relations);
    tkr_buf_free(&s.row);
    tkr_buf_free(&s.value);
    tkr_buf_free(&strings.text);
    tkr_buf_free(&strings.offsets);
    return status;
}
