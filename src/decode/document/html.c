/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/html: what a page says, by libxml2's forgiving parser. Runs no script and fetches nothing. */
#include <libxml/HTMLparser.h>
#include <stdio.h>
#include <string.h>

#include "decode/document/pictures.h"

typedef struct reader {
    tkr_doc *doc;
    tkr_buf text;
    unsigned level; /* of the heading that we are in */
    unsigned rows, cells, pre;
} reader;

static bool is_one_of(const char *name, const char *const *names) {
    for (; *names; names++) {
        if (strcmp(name, *names) == 0) return true;
    }
    return false;
}

static const char *const hidden[] = {"script", "style",  "template", "noscript", "head", "svg",
                                     "math",   "object", "iframe",   "select",   NULL};
static const char *const blocks[] = {"p",     "div",     "section", "article", "header", "footer",     "main",
                                     "nav",   "aside",   "li",      "ul",      "ol",     "dl",         "dt",
                                     "dd",    "table",   "caption", "figure",  "pre",    "blockquote", "figcaption",
                                     "form",  "address", "hr",      "body",    "html",   "fieldset",   "tbody",
                                     "thead", "tfoot",   "details", "summary", NULL};

static unsigned level_of(const char *name) {
    return name[0] == 'h' && name[1] >= '1' && name[1] <= '6' && name[2] == '\0' ? (unsigned)(name[1] - '0') : 0;
}

static tkr_status flush(reader *r, tkr_error *error) {
    if (r->rows > 0) { /* blocks in a cell are words apart */
        if (r->text.size > 0 && r->text.data[r->text.size - 1] != ' ') tkr_buf_putc(&r->text, ' ');
        return TKR_OK;
    }
    return tkr_doc_take(r->doc, r->level > 0 ? TKR_BLOCK_HEADING : TKR_BLOCK_PARAGRAPH, r->level, &r->text, error);
}

static void add_picture(reader *r, xmlNode *node, const char *attribute) {
    xmlChar *source = xmlGetProp(node, (const xmlChar *)attribute), *alt = xmlGetProp(node, (const xmlChar *)"alt");
    if (source) tkr_doc_picture(r->doc, tkr_doc_member(r->doc), (const char *)source, (const char *)alt, &r->text);
    xmlFree(source);
    xmlFree(alt);
}

/* A picture is all that covers of books have in a drawing. */
static void add_drawn(reader *r, const xmlNode *svg) {
    for (xmlNode *node = svg->children; node; node = node->next) {
        if (node->type != XML_ELEMENT_NODE || strcmp((const char *)node->name, "image") != 0) continue;
        add_picture(r, node, xmlHasProp(node, (const xmlChar *)"xlink:href") ? "xlink:href" : "href");
    }
}

static void add_alternative(reader *r, xmlNode *node) {
    xmlChar *text = xmlGetProp(node, (const xmlChar *)"alt");
    if (text) tkr_doc_squeeze(&r->text, (const char *)text, strlen((const char *)text));
    xmlFree(text);
}

/* The arrow from a note back to where it belongs. */
static bool is_backlink(xmlNode *node) {
    xmlChar *role = xmlGetProp(node, (const xmlChar *)"role");
    const bool is = role && strcmp((const char *)role, "doc-backlink") == 0;
    xmlFree(role);
    return is;
}

/* What is in it is not for readers. */
static bool is_skipped(xmlNode *node) { return is_one_of((const char *)node->name, hidden) || is_backlink(node); }

/* false: nothing in it is read. */
static bool enter(reader *r, xmlNode *node, tkr_status *status, tkr_error *error) {
    const char *name = (const char *)node->name;
    if (strcmp(name, "svg") == 0) add_drawn(r, node);
    if (is_skipped(node)) return false;
    if (is_one_of(name, blocks) || level_of(name) > 0) {
        *status = flush(r, error);
        r->pre += strcmp(name, "pre") == 0;
        if (level_of(name) > 0) r->level = level_of(name);
    } else if (strcmp(name, "tr") == 0) {
        if (r->rows == 0) *status = flush(r, error);
        if (r->rows++ == 0) r->cells = 0;
    } else if (strcmp(name, "td") == 0 || strcmp(name, "th") == 0) {
        if (r->rows != 1 || r->cells++ == 0) return *status == TKR_OK;
        while (r->text.size > 0 && r->text.data[r->text.size - 1] == ' ') r->text.size--;
        tkr_buf_append(&r->text, " | ", 3);
    } else if (strcmp(name, "br") == 0) {
        tkr_buf_putc(&r->text, r->rows > 0 ? ' ' : '\n');
    } else if (strcmp(name, "img") == 0) {
        add_picture(r, node, "src");
        add_alternative(r, node);
    }
    return *status == TKR_OK;
}

static tkr_status leave(reader *r, const xmlNode *node, tkr_error *error) {
    const char *name = (const char *)node->name;
    tkr_status status = TKR_OK;
    if (is_one_of(name, blocks) || level_of(name) > 0) {
        status = flush(r, error);
        r->pre -= strcmp(name, "pre") == 0;
        if (level_of(name) > 0) r->level = 0;
    } else if (strcmp(name, "tr") == 0 && r->rows > 0 && --r->rows == 0) {
        status = tkr_doc_take(r->doc, TKR_BLOCK_ROW, 0, &r->text, error);
    }
    return status;
}

/* Through the tree without recursion: a page may nest as deep as it likes. */
static tkr_status walk(reader *r, xmlNode *root, tkr_error *error) {
    tkr_status status = TKR_OK;
    xmlNode *node = root;
    while (node && status == TKR_OK) {
        bool down = false;
        if (node->type == XML_ELEMENT_NODE) {
            down = enter(r, node, &status, error) && node->children;
            if (!down && status == TKR_OK && !is_skipped(node)) status = leave(r, node, error);
        } else if (node->type == XML_TEXT_NODE || node->type == XML_CDATA_SECTION_NODE) {
            const char *text = (const char *)node->content;
            if (text && r->pre > 0 && r->rows == 0) tkr_buf_append(&r->text, text, strlen(text));
            if (text && !(r->pre > 0 && r->rows == 0)) tkr_doc_squeeze(&r->text, text, strlen(text));
        }
        if (down) {
            node = node->children;
            continue;
        }
        while (node && node != root && !node->next) {
            node = node->parent;
            if (status == TKR_OK && node && node->type == XML_ELEMENT_NODE) status = leave(r, node, error);
        }
        node = node && node != root ? node->next : NULL;
    }
    return status;
}

/* What the page says of its charset within its first 2 KiB. */
static bool declared_charset(char out[64], const uint8_t *bytes, size_t n) {
    static const char *const words[] = {"charset=", "encoding="};
    char start[2049];
    const size_t size = n < sizeof start - 1 ? n : sizeof start - 1;
    for (size_t i = 0; i < size; i++) {
        const uint8_t c = bytes[i];
        start[i] = (char)(c == 0 ? ' ' : c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    start[size] = '\0';
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *at = strstr(start, words[i]);
        if (!at) continue;
        at += strlen(words[i]);
        at += *at == '"' || *at == '\'';
        const size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789-_:.");
        if (length == 0 || length >= 64) continue;
        memcpy(out, at, length);
        out[length] = '\0';
        return true;
    }
    return false;
}

tkr_status tkr_doc_html(tkr_doc *doc, const uint8_t *bytes, size_t n, const char *declared, tkr_error *error) {
    const int options = HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NONET |
                        HTML_PARSE_IGNORE_ENC | HTML_PARSE_NODEFDTD;
    char charset[64];
    reader r = {.doc = doc, .text = {.cap = doc->max_text}};
    tkr_buf utf8 = {.cap = (size_t)1 << 30};
    if (!declared && declared_charset(charset, bytes, n)) declared = charset;
    tkr_status status = tkr_charset_to_utf8(&utf8, bytes, n, declared, error);
    htmlDocPtr tree = NULL;
    if (status == TKR_OK && utf8.size > 0) {
        tree = htmlReadMemory(utf8.data, (int)utf8.size, NULL, "UTF-8", options);
        if (!tree) status = TKR_FAIL(error, FORMAT, "is no HTML that can be read");
    }
    xmlNode *root = tree ? xmlDocGetRootElement(tree) : NULL;
    if (root) status = walk(&r, root, error);
    if (root && status == TKR_OK) status = flush(&r, error);
    xmlFreeDoc(tree);
    tkr_buf_free(&r.text);
    tkr_buf_free(&utf8);
    return status;
}
