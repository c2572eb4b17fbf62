/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/xml: libxml2's reader, without network, entities and document types. */
#include "decode/document/xml.h"

#include <stdio.h>

enum { MAX_DEPTH = 200 };

tkr_status tkr_xml_open(tkr_xml *xml, const tkr_member *member, tkr_error *error) {
    const int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA;
    *xml = (tkr_xml){.name = member->name};
    if (member->data.size == 0) return TKR_FAIL(error, FORMAT, "%.80s: is empty", member->name);
    xml->reader = xmlReaderForMemory(member->data.data, (int)member->data.size, NULL, NULL, options);
    return xml->reader ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory for %.80s", member->name);
}

void tkr_xml_close(tkr_xml *xml) {
    if (xml->reader) xmlFreeTextReader(xml->reader);
    xml->reader = NULL;
}

static bool fail(tkr_xml *xml, tkr_status *status, tkr_error *error) {
    const xmlError *why = xmlGetLastError();
    *status = TKR_FAIL(error, FORMAT, "%.80s: is no valid XML: %.120s (line %d)", xml->name,
                       why && why->message ? why->message : "damaged", why ? why->line : 0);
    return false;
}

bool tkr_xml_next(tkr_xml *xml, tkr_status *status, tkr_error *error) {
    if (xml->pending_end) {
        xml->pending_end = false;
        xml->kind = TKR_XML_END;
        return true;
    }
    for (;;) {
        const int code = xmlTextReaderRead(xml->reader);
        if (code < 0) return fail(xml, status, error);
        if (code == 0) return false;
        xml->depth = xmlTextReaderDepth(xml->reader);
        if (xml->depth > MAX_DEPTH) {
            *status = TKR_FAIL(error, LIMIT, "%.80s: elements lie more than %d deep", xml->name, (int)MAX_DEPTH);
            return false;
        }
        const int type = xmlTextReaderNodeType(xml->reader);
        xml->element = type == XML_READER_TYPE_ELEMENT || type == XML_READER_TYPE_END_ELEMENT
                           ? (const char *)xmlTextReaderConstLocalName(xml->reader)
                           : "";
        xml->text = NULL;
        switch (type) {
        case XML_READER_TYPE_ELEMENT:
            xml->kind = TKR_XML_BEGIN;
            xml->pending_end = xmlTextReaderIsEmptyElement(xml->reader) == 1;
            return xml->element ? true : fail(xml, status, error);
        case XML_READER_TYPE_END_ELEMENT:
            xml->kind = TKR_XML_END;
            return xml->element ? true : fail(xml, status, error);
        case XML_READER_TYPE_TEXT:
        case XML_READER_TYPE_CDATA:
        case XML_READER_TYPE_SIGNIFICANT_WHITESPACE:
        case XML_READER_TYPE_WHITESPACE:
            xml->kind = TKR_XML_TEXT;
            xml->text = (const char *)xmlTextReaderConstValue(xml->reader);
            if (xml->text) return true;
            break;
        case XML_READER_TYPE_DOCUMENT_TYPE:
        case XML_READER_TYPE_ENTITY_REFERENCE:
            *status = TKR_FAIL(error, FORMAT, "%.80s: declares a document type or entities, which are never resolved",
                               xml->name);
            return false;
        default: break;
        }
    }
}

bool tkr_xml_attribute(const tkr_xml *xml, char *out, size_t room, const char *name) {
    bool found = false;
    while (!found && xmlTextReaderMoveToNextAttribute(xml->reader) == 1) {
        const xmlChar *local = xmlTextReaderConstLocalName(xml->reader);
        const xmlChar *value = xmlTextReaderConstValue(xml->reader);
        if (!local || !value || strcmp((const char *)local, name) != 0) continue;
        (void)snprintf(out, room, "%s", (const char *)value);
        found = true;
    }
    (void)xmlTextReaderMoveToElement(xml->reader);
    return found;
}

bool tkr_xml_skip(tkr_xml *xml, tkr_status *status, tkr_error *error) {
    if (xml->pending_end) return tkr_xml_next(xml, status, error);
    const int depth = xml->depth;
    while (tkr_xml_next(xml, status, error)) {
        if (xml->kind == TKR_XML_END && xml->depth == depth) return true;
    }
    return false;
}

tkr_status tkr_relations_read(tkr_relations *relations, const tkr_package *package, const char *of, tkr_error *error) {
    char path[1024];
    const char *slash = strrchr(of, '/');
    const size_t folder = slash ? (size_t)(slash - of) + 1 : 0;
    tkr_status status = TKR_OK;
    tkr_xml xml;
    *relations = (tkr_relations){0};
    (void)snprintf(path, sizeof path, "%.*s_rels/%s.rels", (int)folder, of, of + folder);
    const tkr_member *member = tkr_package_find(package, path);
    if (!member) return TKR_OK;
    status = tkr_xml_open(&xml, member, error);
    while (status == TKR_OK && tkr_xml_next(&xml, &status, error)) {
        tkr_relation one = {0};
        char type[256] = "", mode[16] = "";
        if (xml.kind != TKR_XML_BEGIN || !tkr_xml_is(&xml, "Relationship")) continue;
        (void)tkr_xml_attribute(&xml, mode, sizeof mode, "TargetMode");
        (void)tkr_xml_attribute(&xml, type, sizeof type, "Type");
        if (strcmp(mode, "External") == 0 || !tkr_xml_attribute(&xml, one.id, sizeof one.id, "Id") ||
            !tkr_xml_attribute(&xml, one.target, sizeof one.target, "Target"))
            continue;
        const char *last = strrchr(type, '/');
        (void)snprintf(one.type, sizeof one.type, "%.60s", last ? last + 1 : type);
        if (!tkr_buf_append(&relations->list, &one, sizeof one))
            status = TKR_FAIL(error, NO_MEMORY, "no memory for %.80s", path);
    }
    tkr_xml_close(&xml);
    return status;
}

const tkr_relation *tkr_relations_find(const tkr_relations *relations, const char *id, const char *type) {
    const tkr_relation *list = (const tkr_relation *)(const void *)relations->list.data;
    for (size_t i = 0; i < relations->list.size / sizeof *list; i++) {
        if (id ? strcmp(list[i].id, id) == 0 : strcmp(list[i].type, type) == 0) return &list[i];
    }
    return NULL;
}

void tkr_relations_free(tkr_relations *relations) { tkr_buf_free(&relations->list); }
