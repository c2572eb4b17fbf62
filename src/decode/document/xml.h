/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/xml: a member's XML, node by node. Refuses document types, and with them entities. */
#ifndef TKR_DECODE_DOCUMENT_XML_H
#define TKR_DECODE_DOCUMENT_XML_H

#include <libxml/xmlreader.h>
#include <string.h>

#include "decode/document/document.h"

typedef struct tkr_xml {
    xmlTextReaderPtr reader;
    const char *name; /* of the member, borrowed */
    /* the node */
    enum { TKR_XML_BEGIN, TKR_XML_END, TKR_XML_TEXT } kind;
    const char *element; /* local name, without its prefix; of TEXT "" */
    const char *text;    /* of TEXT */
    int depth;
    bool pending_end; /* an empty element: its end follows */
} tkr_xml;

tkr_status tkr_xml_open(tkr_xml *xml, const tkr_member *member, tkr_error *error);
/* false at the end, or with *status set after a failure. */
bool tkr_xml_next(tkr_xml *xml, tkr_status *status, tkr_error *error);
/* Copies the attribute of that local name, cut to the room; false: there is none. Of BEGIN. */
bool tkr_xml_attribute(const tkr_xml *xml, char *out, size_t room, const char *name);
void tkr_xml_close(tkr_xml *xml);
static inline bool tkr_xml_is(const tkr_xml *xml, const char *element) { return strcmp(xml->element, element) == 0; }
/* Reads on to the end of the element that begins here. */
bool tkr_xml_skip(tkr_xml *xml, tkr_status *status, tkr_error *error);

/* Of Office Open XML: ids of relations to members. */
typedef struct tkr_relation {
    char id[64], target[512];
    char type[64]; /* last part of the type's name: "slide", "notesSlide" */
} tkr_relation;
typedef struct tkr_relations {
    tkr_buf list; /* tkr_relation */
} tkr_relations;
/* Those of the member `of`; none when there are none. */
tkr_status tkr_relations_read(tkr_relations *relations, const tkr_package *package, const char *of, tkr_error *error);
/* NULL: not there. By id, or by type where id is NULL: the first. */
const tkr_relation *tkr_relations_find(const tkr_relations *relations, const char *id, const char *type);
void tkr_relations_free(tkr_relations *relations);

#endif
