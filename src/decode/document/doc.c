/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/doc: the blocks of a document as they come, and which reader they come from. */
#include <stdio.h>
#include <string.h>

#include "core/utf8.h"
#include "decode/document/pictures.h"

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Bytes of the character at the beginning of a text, if it is a blank or becomes one, else 0. */
static size_t margin(const char *text, size_t n) {
    const unsigned char c = n > 0 ? (unsigned char)*text : 'x', next = n > 1 ? (unsigned char)text[1] : 'x';
    if (c == 0xC2 && next >= 0x80 && next < 0xA0) return 2; /* U+0080 to U+009F */
    return c <= ' ' || c == 0x7f;
}

/* The text without those around it. */
static void trim(const char **text, size_t *n) {
    for (size_t size; (size = margin(*text, *n)) > 0; *text += size) *n -= size;
    while (*n > 0) {
        if (*n > 1 && margin(*text + *n - 2, 2) == 2)
            *n -= 2;
        else if (margin(*text + *n - 1, 1) == 1)
            *n -= 1;
        else
            return;
    }
}

void tkr_doc_squeeze(tkr_buf *out, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!is_space(text[i])) {
            tkr_buf_putc(out, text[i]);
        } else if (out->size > 0 && out->data[out->size - 1] != ' ') {
            tkr_buf_putc(out, ' ');
        }
    }
}

/* Control characters are blanks: they mean nothing in a text and spoil terminals. Lines end as in Unix. */
static void clean(tkr_buf *out, size_t from) {
    size_t to = from;
    for (size_t i = from; i < out->size; i++) {
        const unsigned char c = (unsigned char)out->data[i];
        if (c == '\r' && i + 1 < out->size && out->data[i + 1] == '\n') continue;
        if (c == 0xC2 && (unsigned char)out->data[i + 1] < 0xA0) i++; /* U+0080 to U+009F */
        const bool control =
            (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f || (c == 0xC2 && out->data[i] != (char)c);
        out->data[to++] = control ? ' ' : (char)c;
    }
    out->size = to;
}

static bool append_clean(tkr_buf *out, const char *text, size_t n) {
    for (size_t i = 0; i < n;) {
        const size_t valid = tkr_utf8_valid_prefix(text + i, n - i);
        if (!tkr_buf_append(out, text + i, valid)) return false;
        clean(out, out->size - valid);
        i += valid;
        if (i == n) break;
        (void)tkr_utf8_next(text, n, &i, NULL);
        tkr_buf_append(out, "\xEF\xBF\xBD", 3);
    }
    return !out->failed;
}

static tkr_status too_large(const tkr_doc *doc, tkr_error *error) {
    if (doc->text.size + 8 >= doc->max_text || doc->blocks.size + sizeof(tkr_document_block) >= doc->max_text ||
        doc->sentences.size + 4096 >= doc->max_text)
        return TKR_FAIL(error, LIMIT, "has more than %zu bytes of text", doc->max_text);
    return TKR_FAIL(error, LIMIT, "has more text than the limit of %zu bytes, or there is no memory", doc->max_text);
}

tkr_status tkr_doc_block(tkr_doc *doc, tkr_block_kind kind, unsigned level, const char *text, size_t n,
                         tkr_error *error) {
    const char *whole = text;
    trim(&text, &n);
    if (n == 0) {
        tkr_doc_settle_pictures(doc, doc->text.size, 0, 0);
        return TKR_OK;
    }
    tkr_document_block block = {.kind = kind, .level = level, .page = doc->page};
    tkr_document_block before = {0};
    if (doc->blocks.size > 0) memcpy(&before, doc->blocks.data + doc->blocks.size - sizeof before, sizeof before);
    doc->text.cap = doc->blocks.cap = doc->sentences.cap = doc->max_text;
    const bool same_table = kind == TKR_BLOCK_ROW && before.kind == TKR_BLOCK_ROW && before.page == doc->page;
    if (before.kind != 0) tkr_buf_append(&doc->text, "\n\n", same_table ? 1 : 2);
    block.begin = doc->text.size;
    if (!append_clean(&doc->text, text, n)) return too_large(doc, error);
    block.end = doc->text.size;
    tkr_doc_settle_pictures(doc, (size_t)block.begin, (size_t)(text - whole), (size_t)(block.end - block.begin));
    const uint64_t begin = block.begin;
    tkr_buf_append(&doc->sentences, &begin, sizeof begin);
    if (!tkr_buf_append(&doc->blocks, &block, sizeof block) || doc->sentences.failed) return too_large(doc, error);
    if (kind != TKR_BLOCK_PARAGRAPH) return TKR_OK;
    return tkr_sentences_find(&doc->sentences, doc->breaker, doc->text.data + block.begin,
                              (size_t)(block.end - block.begin), block.begin, error);
}

tkr_status tkr_doc_take(tkr_doc *doc, tkr_block_kind kind, unsigned level, tkr_buf *text, tkr_error *error) {
    const bool failed = text->failed;
    const tkr_status status = failed ? TKR_FAIL(error, NO_MEMORY, "no memory for a paragraph")
                                     : tkr_doc_block(doc, kind, level, text->data ? text->data : "", text->size, error);
    text->size = 0;
    text->failed = false;
    return status;
}

void tkr_doc_fail_page(tkr_doc *doc, uint32_t page, const tkr_error *why) {
    static const char *const units[TKR_N_UNITS] = {"part", "page", "slide", "sheet", "chapter"};
    if (doc->header.n_failed++ > 0) return;
    (void)snprintf(doc->header.note, sizeof doc->header.note, "%s %u can't be read%s%.180s", units[doc->header.unit],
                   page, why ? ": " : "", why ? why->message : "");
}

tkr_status tkr_doc_part(tkr_doc *doc, tkr_status status, tkr_error *error) {
    if (status != TKR_FORMAT) return status;
    tkr_doc_fail_page(doc, doc->page, error);
    return TKR_OK;
}

void tkr_doc_free(tkr_doc *doc) {
    tkr_buf_free(&doc->text);
    tkr_buf_free(&doc->blocks);
    tkr_buf_free(&doc->sentences);
}

/* ---- what it is ---- */

static bool holds(const uint8_t *bytes, size_t n, const char *word) {
    const size_t length = strlen(word);
    for (size_t i = 0; i + length <= n; i++) {
        if (memcmp(bytes + i, word, length) == 0) return true;
    }
    return false;
}

static bool begins(const uint8_t *bytes, size_t n, const char *word) {
    const size_t length = strlen(word);
    return n >= length && memcmp(bytes, word, length) == 0;
}

/* Lower case of the beginning, NULs left out, so that UTF-16 looks the same. */
static void beginning(char *out, size_t room, const uint8_t *bytes, size_t n) {
    size_t size = 0;
    for (size_t i = 0; i < n && size + 1 < room; i++) {
        const uint8_t c = bytes[i];
        if (c != 0 && c < 0x80) out[size++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    out[size] = '\0';
}

static bool is_html(const uint8_t *bytes, size_t n) {
    static const char *const marks[] = {"<!doctype html", "<html", "<head", "<body", "<title"};
    char start[2048];
    beginning(start, sizeof start, bytes, n);
    const char *at = start;
    while (is_space(*at)) at++;
    if (*at != '<') return false;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        if (strstr(at, marks[i])) return true;
    }
    return false;
}

static bool has_mark(const uint8_t *bytes, size_t n) {
    return begins(bytes, n, "\xFE\xFF") || begins(bytes, n, "\xFF\xFE") || begins(bytes, n, "\xEF\xBB\xBF");
}

/* ---- the readers ---- */

static tkr_status read_package(tkr_doc *doc, tkr_error *error) {
    static const struct {
        const char *member;
        tkr_document_type type;
        tkr_status (*read)(tkr_doc *doc, const tkr_package *package, tkr_error *error);
    } kinds[] = {
        {"word/document.xml", TKR_DOCUMENT_DOCX, tkr_doc_docx},
        {"ppt/presentation.xml", TKR_DOCUMENT_PPTX, tkr_doc_pptx},
        {"xl/workbook.xml", TKR_DOCUMENT_XLSX, tkr_doc_xlsx},
        {"META-INF/container.xml", TKR_DOCUMENT_EPUB, tkr_doc_epub},
        {"content.xml", TKR_DOCUMENT_ODF, tkr_doc_odf},
    };
    tkr_package *package = NULL;
    tkr_status status = tkr_package_open(&package, doc->bytes, doc->n_bytes, error);
    if (status != TKR_OK) return status;
    size_t i = 0;
    while (i < sizeof kinds / sizeof *kinds && !tkr_package_find(package, kinds[i].member)) i++;
    if (i == sizeof kinds / sizeof *kinds) {
        status = TKR_FAIL(error, UNSUPPORTED, "is a ZIP archive, but no DOCX, PPTX, XLSX, ODF or EPUB document");
    } else {
        doc->header.type = kinds[i].type;
        status = kinds[i].read(doc, package, error);
    }
    tkr_package_free(&package);
    return status;
}

static tkr_status read_text(tkr_doc *doc, tkr_error *error) {
    tkr_buf text = {.cap = doc->max_text};
    if (!has_mark(doc->bytes, doc->n_bytes) && memchr(doc->bytes, 0, doc->n_bytes < 8192 ? doc->n_bytes : 8192))
        return TKR_FAIL(
            error, UNSUPPORTED,
            "is no document of a known format: PDF, DOCX, PPTX, XLSX, ODF, EPUB, HTML, Markdown, mail, text");
    tkr_status status = tkr_charset_to_utf8(&text, doc->bytes, doc->n_bytes, NULL, error);
    if (status == TKR_OK) {
        const bool markdown = tkr_doc_is_markdown(text.data, text.size);
        doc->header.type = markdown ? TKR_DOCUMENT_MARKDOWN : TKR_DOCUMENT_TEXT;
        status = tkr_doc_text(doc, text.data, text.size, markdown, error);
    }
    tkr_buf_free(&text);
    return status;
}

bool tkr_doc_is_pdf(const tkr_doc *doc) {
    return holds(doc->bytes, doc->n_bytes < 1024 ? doc->n_bytes : 1024, "%PDF-");
}

static tkr_status read_any(tkr_doc *doc, tkr_error *error) {
    const uint8_t *bytes = doc->bytes;
    const size_t n = doc->n_bytes;
    if (tkr_doc_is_pdf(doc)) {
        doc->header.type = TKR_DOCUMENT_PDF;
        return tkr_doc_pdf(doc, error);
    }
    if (begins(bytes, n, "PK\3\4") || begins(bytes, n, "PK\5\6")) return read_package(doc, error);
    if (begins(bytes, n, "\xD0\xCF\x11\xE0"))
        return TKR_FAIL(error, UNSUPPORTED,
                        "is an old Office file (doc, xls, ppt) or one with a password: save it as docx, xlsx or pptx "
                        "without one");
    if (begins(bytes, n, "{\\rtf")) return TKR_FAIL(error, UNSUPPORTED, "is RTF, which isn't read: save it as docx");
    if (is_html(bytes, n)) {
        doc->header.type = TKR_DOCUMENT_HTML;
        return tkr_doc_html(doc, bytes, n, NULL, error);
    }
    if (tkr_doc_is_mail(bytes, n)) {
        doc->header.type = TKR_DOCUMENT_MAIL;
        return tkr_doc_mail(doc, error);
    }
    return read_text(doc, error);
}

tkr_status tkr_doc_read(tkr_doc *doc, tkr_error *error) {
    const tkr_status status = read_any(doc, error);
    const tkr_document_header *h = &doc->header;
    if (status != TKR_OK || h->n_failed == 0 || h->n_failed < h->n_pages) return status;
    return TKR_FAIL(error, FORMAT, "is damaged: %.200s, nor any other of %u", h->note, h->n_pages);
}
