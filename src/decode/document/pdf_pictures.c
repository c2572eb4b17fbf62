/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/pdf_pictures: the pictures of a PDF's pages, as poppler decodes them. Masks are none. */
#include <cairo.h>
#include <math.h>
#include <stdio.h>

#include "core/digest.h"
#include "core/file.h"
#include "core/process.h"
#include "decode/document/pdf.h"
#include "decode/document/pictures.h"

/* Of one list: then it goes on in another, so that none takes too long. */
#define LIST_SECONDS 20.0
/* Points of a side as it is shown: 2 mm. */
#define LEAST_POINTS 6.0
static const size_t MAX_PIXELS = 178956970; /* as of any picture */

/* ---- pixels ---- */

static uint32_t pixel_at(const unsigned char *row, size_t x) {
    uint32_t pixel;
    memcpy(&pixel, row + 4 * x, 4);
    return pixel;
}

/* Whether one colour is all that it has, however dense: a mask, or a field. Compared with a densest pixel. */
static bool is_flat(const unsigned char *data, size_t stride, size_t width, size_t height) {
    uint32_t full = 0;
    for (size_t y = 0; y < height && full >> 24 < 255; y++) {
        for (size_t x = 0; x < width; x++) {
            const uint32_t pixel = pixel_at(data + y * stride, x);
            if (pixel >> 24 > full >> 24) full = pixel;
        }
    }
    const int32_t dense = (int32_t)(full >> 24);
    for (size_t y = 0; y < height; y++) {
        for (size_t x = 0; x < width; x++) {
            const uint32_t pixel = pixel_at(data + y * stride, x);
            for (unsigned shift = 0; shift < 24; shift += 8) {
                const int32_t wanted = (int32_t)(full >> shift & 255) * (int32_t)(pixel >> 24);
                const int32_t off = (int32_t)(pixel >> shift & 255) * dense - wanted;
                if (off > 2 * dense || off < -2 * dense) return false;
            }
        }
    }
    return true;
}

/* On white, each pixel the mean of step x step. */
static void to_rgb(uint8_t *rgb, const unsigned char *data, size_t stride, size_t width, size_t height, size_t step) {
    const uint32_t area = (uint32_t)(step * step);
    if (area == 0) return;
    for (size_t y = 0; y + step <= height; y += step) {
        for (size_t x = 0; x + step <= width; x += step, rgb += 3) {
            uint32_t sum[3] = {0};
            for (size_t k = 0; k < area; k++) {
                const uint32_t pixel = pixel_at(data + (y + k / step) * stride, x + k % step),
                               rest = 255 - (pixel >> 24);
                for (unsigned c = 0; c < 3; c++) sum[c] += (pixel >> (16 - 8 * c) & 255) + rest;
            }
            for (unsigned c = 0; c < 3; c++) {
                const uint32_t mean = (sum[c] + area / 2) / area;
                rgb[c] = (uint8_t)(mean < 255 ? mean : 255);
            }
        }
    }
}

/* NULL: it is none, or can't be decoded; then *why says so. */
static cairo_surface_t *get_surface(size_t *width, size_t *height, PopplerPage *page, int id, const char **why) {
    cairo_surface_t *surface = poppler_page_get_image(page, id);
    *why = NULL;
    if (!surface || cairo_surface_status(surface) != CAIRO_STATUS_SUCCESS ||
        cairo_image_surface_get_format(surface) != CAIRO_FORMAT_ARGB32) {
        *why = "has a picture that can't be decoded";
        if (surface) cairo_surface_destroy(surface);
        return NULL;
    }
    cairo_surface_flush(surface);
    *width = (size_t)cairo_image_surface_get_width(surface);
    *height = (size_t)cairo_image_surface_get_height(surface);
    if (*width * *height > MAX_PIXELS) *why = "has a picture that is too large";
    if (!*why && *width >= TKR_LEAST_PICTURE && *height >= TKR_LEAST_PICTURE &&
        !is_flat(cairo_image_surface_get_data(surface), (size_t)cairo_image_surface_get_stride(surface), *width,
                 *height))
        return surface;
    cairo_surface_destroy(surface);
    return NULL;
}

static size_t step_for(size_t width, size_t height, size_t max_pixels) {
    size_t step = 1;
    while ((width / step) * (height / step) > max_pixels) step++;
    return step;
}

/* ---- the list ---- */

static bool is_shown(const PopplerImageMapping *mapping) {
    return fabs(mapping->area.x2 - mapping->area.x1) >= LEAST_POINTS &&
           fabs(mapping->area.y2 - mapping->area.y1) >= LEAST_POINTS;
}

static bool add(tkr_pictures *pictures, PopplerPage *page, uint32_t number, uint32_t id, size_t max_pixels) {
    size_t width = 0, height = 0;
    const char *why = NULL;
    char where[32];
    cairo_surface_t *surface = get_surface(&width, &height, page, (int)id, &why);
    if (!surface) {
        (void)snprintf(where, sizeof where, "page %u", number + 1);
        if (why) tkr_pictures_fail(pictures, where, why);
        return true;
    }
    const size_t stride = (size_t)cairo_image_surface_get_stride(surface), step = step_for(width, height, max_pixels);
    const unsigned char *data = cairo_image_surface_get_data(surface);
    tkr_digest digest;
    tkr_digest_init(&digest);
    tkr_digest_word(&digest, width);
    for (size_t y = 0; y < height; y++) tkr_digest_add(&digest, data + y * stride, 4 * width);
    const tkr_picture_entry entry = {.place = {.outer = {number, id}, .outer_coding = TKR_CODING_PDF},
                                     .n_bytes = (width / step) * (height / step) * 3,
                                     .digest = tkr_digest_end(&digest),
                                     .width = (uint32_t)(width / step),
                                     .height = (uint32_t)(height / step),
                                     .page = number + 1,
                                     .is_rgb = 1};
    cairo_surface_destroy(surface);
    return tkr_pictures_add(pictures, &entry);
}

static int by_id(gconstpointer a, gconstpointer b) {
    const PopplerImageMapping *x = a, *y = b;
    return x->image_id < y->image_id ? -1 : x->image_id > y->image_id;
}

/* What bounds a list. */
typedef struct bounds {
    double until;
    uint64_t most, n;       /* that are looked at; 0: as many as there are */
    uint32_t page, picture; /* where it began */
    size_t max_pixels;
    bool stopped; /* before the page's end */
} bounds;

static bool is_over(const bounds *b, const tkr_pictures *pictures) {
    return (b->n > 0 && tkr_now() > b->until) || (b->most > 0 && b->n >= b->most) || tkr_pictures_full(pictures);
}

/* Of a few that are looked at, the one where the list began comes first: else the host wouldn't know which of them
 * ended the decoder. */
static bool is_elsewhere(const bounds *b, uint32_t number, uint32_t id) {
    return b->most > 0 && b->n == 0 && (number != b->page || id != b->picture);
}

/* From picture *picture on; that is where it stopped, or 0 again when the page is done. */
static bool list_page(tkr_pictures *pictures, PopplerPage *page, uint32_t number, uint32_t *picture, bounds *b) {
    bool good = true;
    GList *mappings = g_list_sort(poppler_page_get_image_mapping(page), by_id);
    const uint32_t from = *picture;
    *picture = 0;
    for (GList *at = mappings; good && at; at = at->next) {
        const PopplerImageMapping *mapping = at->data;
        const uint32_t id = (uint32_t)mapping->image_id;
        if (mapping->image_id < 0 || id < from || !is_shown(mapping)) continue;
        b->stopped = is_over(b, pictures) || is_elsewhere(b, number, id);
        if (b->stopped) {
            *picture = id;
            break;
        }
        b->n++;
        good = add(pictures, page, number, id, b->max_pixels);
    }
    poppler_page_free_image_mapping(mappings);
    return good;
}

tkr_status tkr_pdf_list_pictures(tkr_pictures *pictures, const tkr_doc *doc, uint32_t *next_page,
                                 uint32_t *next_picture, uint64_t most, size_t max_pixels, tkr_error *error) {
    bounds b = {.until = tkr_now() + LIST_SECONDS,
                .most = most,
                .page = *next_page,
                .picture = *next_picture,
                .max_pixels = max_pixels};
    PopplerDocument *pdf;
    tkr_status status = tkr_pdf_open(&pdf, doc, error);
    if (status != TKR_OK) return status;
    const uint32_t n = (uint32_t)poppler_document_get_n_pages(pdf);
    uint32_t number = *next_page, picture = *next_picture;
    for (; status == TKR_OK && number < n; number++) {
        if (number > *next_page && (tkr_now() > b.until || is_over(&b, pictures))) break;
        PopplerPage *page = poppler_document_get_page(pdf, (int)number);
        if (page && !list_page(pictures, page, number, &picture, &b))
            status = TKR_FAIL(error, NO_MEMORY, "no memory for a list of pictures");
        if (page) g_object_unref(page);
        if (b.stopped) break;
        picture = 0;
    }
    *next_page = number < n ? number : 0;
    *next_picture = picture;
    g_object_unref(pdf);
    return status;
}

tkr_status tkr_pdf_picture(uint8_t *rgb, size_t *width, size_t *height, const tkr_doc *doc, uint64_t number,
                           uint64_t picture, size_t max_pixels, tkr_error *error) {
    PopplerDocument *pdf;
    size_t w = 0, h = 0;
    const char *why = NULL;
    tkr_status status = tkr_pdf_open(&pdf, doc, error);
    if (status != TKR_OK) return status;
    const int n = poppler_document_get_n_pages(pdf);
    PopplerPage *page = number < (uint64_t)n ? poppler_document_get_page(pdf, (int)number) : NULL;
    cairo_surface_t *surface = page && picture <= INT32_MAX ? get_surface(&w, &h, page, (int)picture, &why) : NULL;
    if (surface) {
        const size_t step = step_for(w, h, max_pixels);
        to_rgb(rgb, cairo_image_surface_get_data(surface), (size_t)cairo_image_surface_get_stride(surface), w, h, step);
        *width = w / step;
        *height = h / step;
        cairo_surface_destroy(surface);
    } else {
        status = TKR_FAIL(error, FORMAT, "page %llu %s", (unsigned long long)number + 1,
                          why ? why : "has a picture that can't be found again");
    }
    if (page) g_object_unref(page);
    g_object_unref(pdf);
    return status;
}
