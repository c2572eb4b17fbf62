/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/text: paragraphs of plain text; headings, tables and fences of Markdown, otherwise left as it is. */
#include <string.h>

#include "decode/document/document.h"

typedef struct line {
    const char *text;
    size_t n; /* without its end */
} line;

static bool next_line(line *out, const char *text, size_t size, size_t *at) {
    if (*at >= size) return false;
    const char *begin = text + *at, *end = memchr(begin, '\n', size - *at);
    const size_t n = end ? (size_t)(end - begin) : size - *at;
    *at += n + (end != NULL);
    *out = (line){.text = begin, .n = n > 0 && begin[n - 1] == '\r' ? n - 1 : n};
    return true;
}

static bool is_blank(const line *l) {
    for (size_t i = 0; i < l->n; i++) {
        if (l->text[i] != ' ' && l->text[i] != '\t' && l->text[i] != '\f') return false;
    }
    return true;
}

/* Level of an ATX heading; 0: none. */
static unsigned heading(const line *l) {
    unsigned level = 0;
    while (level < l->n && level < 7 && l->text[level] == '#') level++;
    return level >= 1 && level <= 6 && level < l->n && l->text[level] == ' ' ? level : 0;
}

static bool is_fence(const line *l) {
    return l->n >= 3 && (memcmp(l->text, "```", 3) == 0 || memcmp(l->text, "~~~", 3) == 0);
}

/* A heading with nothing before and after it, a fence or a link: program text with '#' has none of them. */
bool tkr_doc_is_markdown(const char *text, size_t n) {
    line l, before = {.text = "", .n = 0};
    unsigned headings = 0, fences = 0, links = 0;
    bool after_heading = false;
    for (size_t at = 0; next_line(&l, text, n, &at); before = l) {
        if (after_heading && is_blank(&l)) headings++;
        after_heading = heading(&l) > 0 && is_blank(&before);
        fences += is_fence(&l);
        for (size_t i = 0; i + 1 < l.n; i++) links += l.text[i] == ']' && l.text[i + 1] == '(';
    }
    return headings > 0 || after_heading || fences >= 2 || links > 1;
}

typedef struct reader {
    tkr_doc *doc;
    const char *begin; /* of the paragraph; NULL: none */
    const char *end;
} reader;

static tkr_status flush(reader *r, tkr_error *error) {
    const char *begin = r->begin;
    r->begin = NULL;
    return begin ? tkr_doc_block(r->doc, TKR_BLOCK_PARAGRAPH, 0, begin, (size_t)(r->end - begin), error) : TKR_OK;
}

static void extend(reader *r, const line *l) {
    if (!r->begin) r->begin = l->text;
    r->end = l->text + l->n;
}

/* "|---|:--|" says nothing. */
static bool is_rule(const line *l) { return strspn(l->text, "|-: ") >= l->n; }

tkr_status tkr_doc_text(tkr_doc *doc, const char *text, size_t n, bool markdown, tkr_error *error) {
    reader r = {.doc = doc};
    line l;
    bool fenced = false;
    tkr_status status = TKR_OK;
    for (size_t at = 0; status == TKR_OK && next_line(&l, text, n, &at);) {
        const unsigned level = markdown && !fenced ? heading(&l) : 0;
        if (markdown && is_fence(&l)) {
            if (!fenced) status = flush(&r, error);
            fenced = !fenced;
            extend(&r, &l);
            if (status == TKR_OK && !fenced) status = flush(&r, error);
        } else if (fenced) {
            extend(&r, &l);
        } else if (level > 0) {
            status = flush(&r, error);
            while (l.n > level && (l.text[l.n - 1] == '#' || l.text[l.n - 1] == ' ')) l.n--;
            if (status == TKR_OK)
                status = tkr_doc_block(doc, TKR_BLOCK_HEADING, level, l.text + level, l.n - level, error);
        } else if (markdown && l.n > 1 && l.text[0] == '|') {
            status = flush(&r, error);
            if (status == TKR_OK && !is_rule(&l)) status = tkr_doc_block(doc, TKR_BLOCK_ROW, 0, l.text, l.n, error);
        } else if (is_blank(&l)) {
            status = flush(&r, error);
        } else {
            extend(&r, &l);
        }
    }
    return status == TKR_OK ? flush(&r, error) : status;
}
