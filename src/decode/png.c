/* SPDX-License-Identifier: Apache-2.0 */
/* decode/png: libpng. Of the ancillary chunks none is looked at: gamma, transparency of palettes and colour keys do not
 * count in Pillow's convert("RGB"), and texts are where bombs hide. */
#include <png.h>
#include <setjmp.h>
#include <string.h>

#include "core/mem.h"
#include "decode/decode.h"
#include "decode/pixels.h"

typedef struct reader {
    png_structp png;
    png_infop info;
    const uint8_t *at;
    size_t left;
    char message[160];
    /* after the header */
    int colour, depth, passes;
    size_t stride; /* of a row as libpng gives it */
    size_t n_rows; /* that `rows` holds: 1, or all of an interlaced picture */
    uint8_t *rows; /* owned; NULL: rows go straight to the result */
    tkr_palette palette;
} reader;

/* ---- callbacks ---- */

static void on_error(png_structp png, png_const_charp text) {
    reader *r = png_get_error_ptr(png);
    const size_t n = strlen(text), room = sizeof r->message - 1;
    memcpy(r->message, text, n < room ? n : room);
    r->message[n < room ? n : room] = '\0';
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) { (void)png, (void)text; }

static void read_bytes(png_structp png, png_bytep out, size_t n) {
    reader *r = png_get_io_ptr(png);
    if (n > r->left) png_error(png, "the data ends too early");
    memcpy(out, r->at, n);
    r->at += n;
    r->left -= n;
}

/* ---- header ---- */

static void ignore_ancillary(png_structp png) {
    static const png_byte names[][5] = {"bKGD", "cHRM", "eXIf", "gAMA", "hIST", "iCCP", "iTXt", "oFFs", "pCAL",
                                        "pHYs", "sBIT", "sCAL", "sPLT", "sRGB", "sTER", "tEXt", "tIME", "tRNS",
                                        "zTXt", "cICP", "mDCV", "cLLI", "acTL", "fcTL", "fdAT"};
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, names[0], (int)(sizeof names / sizeof *names));
}

static void read_palette(reader *r) {
    png_colorp colours = NULL;
    int n = 0;
    memset(&r->palette, 0, sizeof r->palette); /* an index beyond the palette is black */
    if (png_get_PLTE(r->png, r->info, &colours, &n) == 0) return;
    for (int i = 0; i < n && i < 256; i++) {
        r->palette.rgb[i][0] = colours[i].red;
        r->palette.rgb[i][1] = colours[i].green;
        r->palette.rgb[i][2] = colours[i].blue;
    }
}

/* Samples of 8 bits, except gray of 16; indices stay indices. */
static void choose_transforms(reader *r) {
    if (r->colour == PNG_COLOR_TYPE_PALETTE) {
        read_palette(r);
        if (r->depth < 8) png_set_packing(r->png);
    } else if (r->depth < 8) {
        png_set_expand_gray_1_2_4_to_8(r->png);
    } else if (r->depth == 16 && r->colour != PNG_COLOR_TYPE_GRAY) {
        png_set_strip_16(r->png);
    } else if (r->depth == 16) {
        const uint16_t one = 1;
        uint8_t first;
        memcpy(&first, &one, 1);
        if (first == 1) png_set_swap(r->png);
    }
    r->passes = png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
    r->stride = png_get_rowbytes(r->png, r->info);
}

static tkr_status read_header(reader *r, tkr_decoding *d, tkr_error *error) {
    png_set_user_limits(r->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* ours follows, before a row is allocated */
    ignore_ancillary(r->png);
    png_read_info(r->png, r->info);
    const tkr_status status =
        tkr_decode_size(d, png_get_image_width(r->png, r->info), png_get_image_height(r->png, r->info), error);
    if (status != TKR_OK) return status;
    r->colour = png_get_color_type(r->png, r->info);
    r->depth = png_get_bit_depth(r->png, r->info);
    choose_transforms(r);
    return TKR_OK;
}

/* ---- pixels ---- */

static void convert(const reader *r, const tkr_decoding *d, uint8_t *rgb, const uint8_t *row) {
    switch (r->colour) {
    case PNG_COLOR_TYPE_PALETTE: tkr_rgb_from_palette(rgb, row, d->width, &r->palette); break;
    case PNG_COLOR_TYPE_GRAY:
        if (r->depth == 16) {
            tkr_rgb_from_gray16(rgb, (const uint16_t *)(const void *)row, d->width);
        } else {
            tkr_rgb_from_gray(rgb, row, d->width);
        }
        break;
    case PNG_COLOR_TYPE_GRAY_ALPHA:
        tkr_rgb_from_gray_x(rgb, row, d->width);
        if (d->on_white && r->depth == 16) { /* Pillow has no 16-bit LA: it is RGBA there, so it is composited */
            for (size_t i = 0; i < d->width; i++) {
                const uint8_t pixel[4] = {row[2 * i], row[2 * i], row[2 * i], row[2 * i + 1]};
                tkr_rgb_from_rgba_on_white(rgb + 3 * i, pixel, 1);
            }
        }
        break;
    case PNG_COLOR_TYPE_RGB_ALPHA:
        if (d->on_white) {
            tkr_rgb_from_rgba_on_white(rgb, row, d->width);
        } else {
            tkr_rgb_from_rgbx(rgb, row, d->width);
        }
        break;
    default: memcpy(rgb, row, d->width * 3); break;
    }
}

static tkr_status read_pixels(reader *r, tkr_decoding *d, tkr_error *error) {
    const bool direct = r->colour == PNG_COLOR_TYPE_RGB && r->stride == d->width * 3;
    if (!direct) {
        tkr_status status;
        r->n_rows = r->passes > 1 ? d->height : 1;
        r->rows = tkr_decode_alloc(&status, r->n_rows, r->stride, error);
        if (!r->rows) return status;
    }
    for (int pass = 0; pass < r->passes; pass++) {
        for (size_t y = 0; y < d->height; y++) {
            uint8_t *rgb = d->out + y * d->width * 3;
            uint8_t *row = direct ? rgb : r->rows + (r->n_rows == 1 ? 0 : y) * r->stride;
            png_read_row(r->png, row, NULL);
            if (pass < r->passes - 1) continue;
            if (!direct) convert(r, d, rgb, row);
            tkr_decode_progress(d, y + 1);
        }
    }
    return TKR_OK;
}

/* The frame that longjmp returns to: nothing of it changes between. */
static tkr_status guarded(reader *r, tkr_decoding *d, tkr_error *error) {
    if (setjmp(png_jmpbuf(r->png))) return TKR_FAIL(error, FORMAT, "damaged PNG: %s", r->message);
    png_set_read_fn(r->png, r, read_bytes);
    const tkr_status status = read_header(r, d, error);
    return status == TKR_OK ? read_pixels(r, d, error) : status;
}

tkr_status tkr_decode_png(tkr_decoding *d, tkr_error *error) {
    reader r = {.at = d->bytes, .left = d->n_bytes};
    tkr_status status;
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning);
    r.info = r.png ? png_create_info_struct(r.png) : NULL;
    if (r.info) {
        status = guarded(&r, d, error);
    } else {
        status = TKR_FAIL(error, NO_MEMORY, "no memory to decode a PNG");
    }
    tkr_free(r.rows);
    png_destroy_read_struct(&r.png, &r.info, NULL);
    return status;
}
