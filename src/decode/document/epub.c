/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/epub: the chapters of an EPUB in the order of its spine. */
#include "decode/document/pictures.h"

typedef struct item {
    char id[128], href[512];
} item;

static tkr_status find_book(char href[512], const tkr_package *package, tkr_error *error) {
    tkr_xml xml;
    bool found = false;
    tkr_status status = tkr_xml_open(&xml, tkr_package_find(package, "META-INF/container.xml"), error);
    while (status == TKR_OK && !found && tkr_xml_next(&xml, &status, error)) {
        found = xml.kind == TKR_XML_BEGIN && tkr_xml_is(&xml, "rootfile") &&
                tkr_xml_attribute(&xml, href, 512, "full-path");
    }
    tkr_xml_close(&xml);
    return status != TKR_OK || found ? status : TKR_FAIL(error, FORMAT, "is an EPUB that names no book");
}

static const item *find_item(const tkr_buf *items, const char *id) {
    const item *list = (const item *)(const void *)items->data;
    for (size_t i = 0; i < items->size / sizeof *list; i++) {
        if (strcmp(list[i].id, id) == 0) return &list[i];
    }
    return NULL;
}

static tkr_status read_chapter(tkr_doc *doc, const tkr_package *package, const char *book, const item *chapter,
                               tkr_error *error) {
    const tkr_member *member = chapter ? tkr_package_follow(package, book, chapter->href) : NULL;
    if (doc->header.n_pages == TKR_MAX_DOCUMENT_PAGES)
        return TKR_FAIL(error, LIMIT, "has more than %d chapters", (int)TKR_MAX_DOCUMENT_PAGES);
    doc->page = ++doc->header.n_pages;
    const tkr_picture_place place = {.outer_coding = TKR_CODING_ARCHIVE};
    if (member) tkr_doc_container(doc, &place, member->name, member->data.data, member->data.size);
    if (member)
        return tkr_doc_part(doc, tkr_doc_html(doc, (const uint8_t *)member->data.data, member->data.size, NULL, error),
                            error);
    tkr_doc_fail_page(doc, doc->page, NULL);
    return TKR_OK;
}

tkr_status tkr_doc_epub(tkr_doc *doc, const tkr_package *package, tkr_error *error) {
    char book[512] = "", id[128];
    tkr_buf items = {0};
    tkr_xml xml = {0};
    if (tkr_package_find(package, "META-INF/rights.xml"))
        return TKR_FAIL(error, UNSUPPORTED, "is encrypted: it has digital rights management");
    tkr_status status = find_book(book, package, error);
    if (status != TKR_OK) return status;
    const tkr_member *member = tkr_package_find(package, book);
    doc->header.unit = TKR_UNIT_CHAPTER;
    status = member ? tkr_xml_open(&xml, member, error)
                    : TKR_FAIL(error, FORMAT, "is an EPUB without its book, %.80s", book);
    while (status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        item one = {0};
        if (xml.kind != TKR_XML_BEGIN) continue;
        if (tkr_xml_is(&xml, "item") && tkr_xml_attribute(&xml, one.id, sizeof one.id, "id") &&
            tkr_xml_attribute(&xml, one.href, sizeof one.href, "href")) {
            if (!tkr_buf_append(&items, &one, sizeof one)) status = TKR_FAIL(error, NO_MEMORY, "no memory for a list");
        } else if (tkr_xml_is(&xml, "itemref") && tkr_xml_attribute(&xml, id, sizeof id, "idref")) {
            status = read_chapter(doc, package, book, find_item(&items, id), error);
        }
    }
    tkr_xml_close(&xml);
    tkr_buf_free(&items);
    return status;
}
