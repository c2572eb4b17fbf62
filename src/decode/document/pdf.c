/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/pdf: text and pages of a PDF, by poppler. A page that can't be read costs that page. */
#include "decode/document/pdf.h"

#include <cairo.h>
#include <string.h>

#include "core/utf8.h"

tkr_status tkr_pdf_open(PopplerDocument **out, const tkr_doc *doc, tkr_error *error) {
    GError *why = NULL;
    GBytes *bytes = g_bytes_new_static(doc->bytes, doc->n_bytes);
    *out = poppler_document_new_from_bytes(bytes, NULL, &why);
    g_bytes_unref(bytes);
    if (*out) return TKR_OK;
    const bool encrypted = why && why->code == POPPLER_ERROR_ENCRYPTED;
    const tkr_status status =
        encrypted ? TKR_FAIL(error, UNSUPPORTED, "is encrypted: it needs a password")
                  : TKR_FAIL(error, FORMAT, "is a damaged PDF: %s", why ? why->message : "not readable");
    g_clear_error(&why);
    return status;
}

/* ---- text ---- */

static bool ends_sentence(const char *line, size_t n) {
    while (n > 0 && (line[n - 1] == ')' || line[n - 1] == '"')) n--;
    if (n == 0) return false;
    if (strchr(".!?:", line[n - 1])) return true;
    return n >= 3 && memcmp(line + n - 3, "\xE3\x80\x82", 3) == 0; /* ideographic full stop */
}

/* The lines of a page, a block a paragraph: it ends where a line that ends a sentence is shorter than most, or where a
 * line is empty. */
static tkr_status add_lines(tkr_doc *doc, const char *text, tkr_error *error) {
    size_t longest = 0, begin = 0;
    for (const char *at = text; *at;) {
        const size_t n = strcspn(at, "\n");
        if (n > longest) longest = n;
        at += n + (at[n] == '\n');
    }
    tkr_status status = TKR_OK;
    const size_t size = strlen(text);
    for (size_t at = 0; status == TKR_OK && at < size;) {
        const size_t n = strcspn(text + at, "\n"), next = at + n + 1;
        const bool over = n == 0 || (n * 10 < longest * 8 && ends_sentence(text + at, n));
        if (over || next >= size) {
            status = tkr_doc_block(doc, TKR_BLOCK_PARAGRAPH, 0, text + begin, at + n - begin, error);
            begin = next;
        }
        at = next;
    }
    return status;
}

static bool is_symbol(char c) { return c != '\0' && strchr("=<>+-*/^_|()[]{}", c) != NULL; }

/* Whether white space is missing between two characters: cells of a table come one behind another. Signs of a formula
 * stand apart without being words. */
static bool is_gap(const PopplerRectangle *a, const PopplerRectangle *b, char before, char after) {
    const double height = a->y2 - a->y1;
    double least = height / 10;
    if (b->x1 - a->x2 <= least && a->x1 - b->x2 <= height && b->y1 - a->y2 <= least && a->y1 - b->y2 <= least)
        return false;
    if (is_symbol(before) || is_symbol(after)) least = height / 2;
    return b->x1 - a->x2 > least || a->x1 - b->x2 > height || b->y1 - a->y2 > least || a->y1 - b->y2 > least;
}

/* A word that is divided at the end of a line is put together, as pdftotext does. */
static bool divides(const char *text, const char *at) {
    return *at == '-' && at[1] == '\n' && at > text && at[-1] != ' ' && at[-1] != '\n' && at[2] != '\0' &&
           at[2] != '\n';
}

/* Appends the page's text with blanks where it shows gaps. false: it can't be read. */
static bool page_text(tkr_buf *out, PopplerPage *page) {
    PopplerRectangle *boxes = NULL;
    guint n = 0, k = 0;
    char *text = poppler_page_get_text(page);
    if (!text) return false;
    if (!poppler_page_get_text_layout(page, &boxes, &n)) n = 0;
    char before = ' ';
    const char *from = text, *at = text; /* [from, at) isn't copied yet */
    for (; *at; at++) {
        if (tkr_utf8_goes_on(*at) || tkr_doc_is_mark(at, 3)) continue;
        const bool blank = *at == ' ' || *at == '\n'; /* a character begins: box k is its own */
        if (!blank && before != ' ' && before != '\n' && k > 0 && k < n &&
            is_gap(&boxes[k - 1], &boxes[k], before, *at)) {
            tkr_buf_append(out, from, (size_t)(at - from));
            tkr_buf_putc(out, ' ');
            from = at;
        }
        before = *at;
        k++;
        if (*at == '-' && divides(text, at)) {
            tkr_buf_append(out, from, (size_t)(at - from));
            from = ++at + 1;
            before = '\n'; /* which has a box, too */
            k++;
        }
    }
    tkr_buf_append(out, from, (size_t)(at - from));
    g_free(boxes);
    g_free(text);
    tkr_doc_reading_order(out);
    return true;
}

tkr_status tkr_doc_pdf(tkr_doc *doc, tkr_error *error) {
    PopplerDocument *pdf;
    tkr_buf text = {.cap = doc->max_text};
    tkr_status status = tkr_pdf_open(&pdf, doc, error);
    if (status != TKR_OK) return status;
    const int n = poppler_document_get_n_pages(pdf);
    if (n <= 0) status = TKR_FAIL(error, FORMAT, "is a PDF without pages");
    if (n > TKR_MAX_DOCUMENT_PAGES)
        status = TKR_FAIL(error, LIMIT, "has %d pages: at most %d are read", n, (int)TKR_MAX_DOCUMENT_PAGES);
    doc->header.unit = TKR_UNIT_PAGE;
    doc->header.n_pages = n > 0 ? (uint32_t)n : 0;
    for (int i = 0; status == TKR_OK && i < n; i++) {
        PopplerPage *page = poppler_document_get_page(pdf, i);
        doc->page = (uint32_t)i + 1;
        text.size = 0;
        if (page && page_text(&text, page)) {
            status = text.failed ? TKR_FAIL(error, LIMIT, "page %d has more than %zu bytes of text", i + 1, text.cap)
                                 : add_lines(doc, text.size > 0 ? text.data : "", error);
        } else {
            tkr_doc_fail_page(doc, doc->page, NULL);
        }
        if (page) g_object_unref(page);
    }
    tkr_buf_free(&text);
    g_object_unref(pdf);
    return status;
}

/* ---- pages ---- */

static void to_rgb(uint8_t *rgb, cairo_surface_t *surface, size_t width, size_t height) {
    const unsigned char *data = cairo_image_surface_get_data(surface);
    const size_t stride = (size_t)cairo_image_surface_get_stride(surface);
    for (size_t y = 0; y < height; y++) {
        for (size_t x = 0; x < width; x++, rgb += 3) {
            uint32_t pixel;
            memcpy(&pixel, data + y * stride + 4 * x, 4);
            rgb[0] = (uint8_t)(pixel >> 16);
            rgb[1] = (uint8_t)(pixel >> 8);
            rgb[2] = (uint8_t)pixel;
        }
    }
}

static tkr_status draw(uint8_t *rgb, PopplerPage *page, double scale, size_t width, size_t height, tkr_error *error) {
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)width, (int)height);
    cairo_t *context = cairo_create(surface);
    cairo_set_source_rgb(context, 1, 1, 1);
    cairo_paint(context);
    cairo_scale(context, scale, scale);
    poppler_page_render(page, context);
    const cairo_status_t code = cairo_status(context);
    cairo_surface_flush(surface);
    if (code == CAIRO_STATUS_SUCCESS) to_rgb(rgb, surface, width, height);
    cairo_destroy(context);
    cairo_surface_destroy(surface);
    return code == CAIRO_STATUS_SUCCESS ? TKR_OK
                                        : TKR_FAIL(error, FORMAT, "can't be drawn: %s", cairo_status_to_string(code));
}

tkr_status tkr_doc_render(uint8_t *rgb, size_t *width, size_t *height, const tkr_doc *doc, size_t number, size_t side,
                          size_t max_pixels, tkr_error *error) {
    PopplerDocument *pdf;
    double points_x = 0, points_y = 0;
    tkr_status status = tkr_pdf_open(&pdf, doc, error);
    if (status != TKR_OK) return status;
    const int n = poppler_document_get_n_pages(pdf);
    PopplerPage *page = n > 0 && number < (size_t)n ? poppler_document_get_page(pdf, (int)number) : NULL;
    if (!page) {
        status = TKR_FAIL(error, FORMAT, "page %zu of %d can't be read", number + 1, n);
    } else {
        poppler_page_get_size(page, &points_x, &points_y);
        if (!(points_x > 0 && points_y > 0 && points_x <= TKR_MAX_PAGE_POINTS && points_y <= TKR_MAX_PAGE_POINTS))
            status = TKR_FAIL(error, LIMIT, "page %zu has a size of %.0f x %.0f points: at most %d", number + 1,
                              points_x, points_y, (int)TKR_MAX_PAGE_POINTS);
    }
    if (status == TKR_OK) {
        const double scale = (double)side / (points_x > points_y ? points_x : points_y);
        *width = points_x * scale >= 1 ? (size_t)(points_x * scale + 0.5) : 1;
        *height = points_y * scale >= 1 ? (size_t)(points_y * scale + 0.5) : 1;
        status = *width * *height <= max_pixels
                     ? draw(rgb, page, scale, *width, *height, error)
                     : TKR_FAIL(error, LIMIT, "a page of %zu x %zu pixels: at most %zu", *width, *height, max_pixels);
    }
    if (page) g_object_unref(page);
    g_object_unref(pdf);
    return status;
}
