/* SPDX-License-Identifier: Apache-2.0 */
/* decode/tiff: libtiff, strips and tiles, in memory: the first picture of the file, laid out and oriented as Pillow
 * does it. Refuses LAB, 12-bit samples and other rarities that its modes don't name. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <tiffio.h>

#include "core/mem.h"
#include "decode/decode.h"
#include "decode/tiff_rows.h"

enum { SMALL_BLOCK = 16 << 20 }; /* bytes of a strip or tile that may be larger than the picture */

typedef struct source {
    const uint8_t *bytes;
    uint64_t size, at;
    char message[200]; /* the library's first error */
} source;

/* ---- the file, in memory ---- */

static tmsize_t read_bytes(thandle_t handle, void *out, tmsize_t n) {
    source *s = handle;
    if (n <= 0 || s->at >= s->size) return 0;
    const uint64_t left = s->size - s->at, taken = (uint64_t)n < left ? (uint64_t)n : left;
    memcpy(out, s->bytes + s->at, (size_t)taken);
    s->at += taken;
    return (tmsize_t)taken;
}

static tmsize_t write_bytes(thandle_t handle, void *data, tmsize_t n) {
    (void)handle, (void)data, (void)n;
    return 0;
}

static toff_t seek(thandle_t handle, toff_t offset, int whence) {
    source *s = handle;
    s->at = whence == 0 ? offset : whence == 1 ? s->at + offset : s->size + offset;
    return s->at;
}

static int close_file(thandle_t handle) {
    (void)handle;
    return 0;
}

static toff_t size_of(thandle_t handle) { return ((const source *)handle)->size; }

static int map(thandle_t handle, void **base, toff_t *size) {
    const source *s = handle;
    union {
        const uint8_t *given;
        void *taken; /* read-only: the file is opened for reading */
    } address = {.given = s->bytes};
    *base = address.taken;
    *size = s->size;
    return 1;
}

static void unmap(thandle_t handle, void *base, toff_t size) { (void)handle, (void)base, (void)size; }

__attribute__((format(printf, 3, 0))) static void on_error(thandle_t handle, const char *module, const char *format,
                                                           va_list list) {
    source *s = handle;
    (void)module;
    if (s && s->message[0] == '\0') (void)vsnprintf(s->message, sizeof s->message, format, list);
}

static tkr_status damaged(const source *s, tkr_error *error) {
    return TKR_FAIL(error, FORMAT, "damaged TIFF: %s", s->message[0] ? s->message : "its data ends too early");
}

/* ---- layout ---- */

static tkr_status read_colour_map(tkr_tiff_rows *rows, TIFF *tiff, tkr_error *error) {
    uint16_t *red = NULL, *green = NULL, *blue = NULL;
    tkr_palette_gray(&rows->palette);
    if (rows->bits > 8) return TKR_FAIL(error, UNSUPPORTED, "a TIFF palette of %u bits", rows->bits);
    if (!TIFFGetField(tiff, TIFFTAG_COLORMAP, &red, &green, &blue)) {
        return TKR_FAIL(error, FORMAT, "damaged TIFF: a palette picture without a palette");
    }
    for (size_t i = 0; i < (size_t)1 << rows->bits; i++) {
        rows->palette.rgb[i][0] = (uint8_t)(red[i] >> 8);
        rows->palette.rgb[i][1] = (uint8_t)(green[i] >> 8);
        rows->palette.rgb[i][2] = (uint8_t)(blue[i] >> 8);
    }
    return TKR_OK;
}

/* What the samples mean. */
static tkr_status read_layout(tkr_tiff_rows *rows, TIFF *tiff, uint16_t photometric, tkr_error *error) {
    uint16_t n_extra = 0, *extra = NULL, format = SAMPLEFORMAT_UINT;
    (void)TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &rows->bits);
    (void)TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &rows->n_samples);
    (void)TIFFGetFieldDefaulted(tiff, TIFFTAG_EXTRASAMPLES, &n_extra, &extra);
    (void)TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &format);
    const uint16_t first_extra = n_extra > 0 ? extra[0] : UINT16_MAX;
    unsigned needed = 1;
    rows->format = format == SAMPLEFORMAT_IEEEFP ? TKR_SAMPLE_FLOAT
                   : format == SAMPLEFORMAT_INT  ? TKR_SAMPLE_SIGNED
                                                 : TKR_SAMPLE_UNSIGNED;
    rows->kind = TKR_TIFF_GRAY;
    rows->premultiplied = first_extra == EXTRASAMPLE_ASSOCALPHA;
    switch (photometric) {
    case PHOTOMETRIC_MINISWHITE: rows->inverted = rows->bits <= 8; break;
    case PHOTOMETRIC_MINISBLACK: break;
    case PHOTOMETRIC_PALETTE: rows->kind = TKR_TIFF_PALETTE; break;
    case PHOTOMETRIC_YCBCR: /* converted by the JPEG codec, or by us */
    case PHOTOMETRIC_RGB:
        needed = 3;
        rows->kind = TKR_TIFF_RGB;
        if (rows->n_samples > 3 && (n_extra == 0 || first_extra == EXTRASAMPLE_ASSOCALPHA ||
                                    first_extra == EXTRASAMPLE_UNASSALPHA || first_extra == 999 /* Corel Draw */)) {
            rows->kind = TKR_TIFF_RGBA;
        }
        break;
    case PHOTOMETRIC_SEPARATED:
        needed = 4;
        rows->kind = TKR_TIFF_CMYK;
        break;
    default: return TKR_FAIL(error, UNSUPPORTED, "a TIFF of photometric interpretation %u", photometric);
    }
    const bool wide_gray =
        rows->n_samples == 1 && rows->kind == TKR_TIFF_GRAY && (rows->bits == 16 || rows->bits == 32);
    const bool narrow = rows->n_samples == 1 && (rows->bits == 1 || rows->bits == 2 || rows->bits == 4);
    if (rows->n_samples < needed || rows->n_samples > 8 ||
        !(rows->bits == 8 || narrow || wide_gray || (rows->bits == 16 && needed > 1)) ||
        (rows->format == TKR_SAMPLE_FLOAT && rows->bits != 32)) {
        return TKR_FAIL(error, UNSUPPORTED, "a TIFF of %u samples of %u bits in photometric interpretation %u",
                        rows->n_samples, rows->bits, photometric);
    }
    return rows->kind == TKR_TIFF_PALETTE ? read_colour_map(rows, tiff, error) : TKR_OK;
}

/* ---- blocks: strips and tiles alike ---- */

typedef struct blocks {
    bool tiled;
    uint32_t width, height; /* of a block, in pixels */
    uint32_t per_plane;
    size_t stride, size; /* bytes of a row of a block, and of a block */
} blocks;

static tkr_status read_blocks(blocks *b, TIFF *tiff, const tkr_decoding *d, tkr_error *error) {
    *b = (blocks){.tiled = TIFFIsTiled(tiff) != 0, .width = (uint32_t)d->width, .height = (uint32_t)d->height};
    uint64_t stride, size;
    if (b->tiled) {
        (void)TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &b->width);
        (void)TIFFGetField(tiff, TIFFTAG_TILELENGTH, &b->height);
        stride = TIFFTileRowSize64(tiff);
    } else {
        (void)TIFFGetFieldDefaulted(tiff, TIFFTAG_ROWSPERSTRIP, &b->height);
        if (b->height > d->height) b->height = (uint32_t)d->height;
        stride = TIFFScanlineSize64(tiff);
    }
    if (b->width == 0 || b->height == 0 || stride == 0 || __builtin_mul_overflow(stride, b->height, &size)) {
        return TKR_FAIL(error, FORMAT, "damaged TIFF: its strips or tiles have no size");
    }
    if (size > SMALL_BLOCK && size / 4 > d->max_pixels) {
        return TKR_FAIL(error, LIMIT, "the TIFF picture's strips or tiles of %u x %u pixels: more than %zu", b->width,
                        b->height, d->max_pixels);
    }
    b->stride = (size_t)stride;
    b->size = (size_t)size;
    const uint32_t across = ((uint32_t)d->width - 1) / b->width + 1, down = ((uint32_t)d->height - 1) / b->height + 1;
    b->per_plane = across * down; /* no more than there are pixels */
    return TKR_OK;
}

/* Reads block i of a plane; false when it isn't whole. */
static bool read_block(uint8_t *data, TIFF *tiff, const blocks *b, uint32_t i, size_t n_rows) {
    const tmsize_t wanted = (tmsize_t)(b->tiled ? b->size : n_rows * b->stride);
    const tmsize_t n =
        b->tiled ? TIFFReadEncodedTile(tiff, i, data, wanted) : TIFFReadEncodedStrip(tiff, i, data, wanted);
    return n >= wanted;
}

/* Pixels packed together: each block's rows become RGB at once. */
static tkr_status decode_packed(tkr_decoding *d, tkr_tiff_rows *rows, TIFF *tiff, const source *s, const blocks *b,
                                uint8_t *block, tkr_error *error) {
    const uint32_t across = ((uint32_t)d->width - 1) / b->width + 1;
    for (uint32_t i = 0; i < b->per_plane; i++) {
        const size_t x = (size_t)(i % across) * b->width, y = (size_t)(i / across) * b->height;
        const size_t n_rows = d->height - y < b->height ? d->height - y : b->height;
        const size_t n = d->width - x < b->width ? d->width - x : b->width;
        if (!read_block(block, tiff, b, i, n_rows)) return damaged(s, error);
        for (size_t row = 0; row < n_rows; row++) {
            tkr_tiff_row(d->out + ((y + row) * d->width + x) * 3, block + row * b->stride, n, rows);
        }
    }
    return TKR_OK;
}

/* One plane a sample: gathered to [height, width, n_samples] of 8 bits, then as above. */
static tkr_status decode_planes(tkr_decoding *d, tkr_tiff_rows *rows, TIFF *tiff, const source *s, const blocks *b,
                                uint8_t *block, tkr_error *error) {
    const uint32_t across = ((uint32_t)d->width - 1) / b->width + 1;
    const size_t n_samples = rows->n_samples;
    tkr_status status;
    uint8_t *gathered = tkr_decode_alloc(&status, d->width * d->height, n_samples, error);
    for (uint32_t i = 0; gathered && status == TKR_OK && i < b->per_plane * (uint32_t)n_samples; i++) {
        const uint32_t in_plane = i % b->per_plane, plane = i / b->per_plane;
        const size_t x = (size_t)(in_plane % across) * b->width, y = (size_t)(in_plane / across) * b->height;
        const size_t n_rows = d->height - y < b->height ? d->height - y : b->height;
        const size_t n = d->width - x < b->width ? d->width - x : b->width;
        if (!read_block(block, tiff, b, i, n_rows)) status = damaged(s, error);
        for (size_t row = 0; status == TKR_OK && row < n_rows; row++) {
            uint8_t *out = gathered + ((y + row) * d->width + x) * n_samples + plane;
            tkr_tiff_plane(out, n_samples, block + row * b->stride, n, rows->bits);
        }
    }
    rows->bits = 8;
    for (size_t y = 0; status == TKR_OK && y < d->height; y++) {
        tkr_tiff_row(d->out + y * d->width * 3, gathered + y * d->width * n_samples, d->width, rows);
    }
    tkr_free(gathered);
    return status;
}

static tkr_status decode_samples(tkr_decoding *d, TIFF *tiff, const source *s, uint16_t photometric, bool plain_ycbcr,
                                 tkr_error *error) {
    tkr_tiff_rows rows = {.on_white = d->on_white};
    uint16_t planar = PLANARCONFIG_CONTIG;
    blocks b = {0};
    tkr_status status = read_layout(&rows, tiff, photometric, error);
    if (status == TKR_OK) status = read_blocks(&b, tiff, d, error);
    if (status != TKR_OK) return status;
    if (plain_ycbcr) {
        if (rows.bits != 8 || rows.n_samples != 3) {
            return TKR_FAIL(error, UNSUPPORTED, "a YCbCr TIFF of %u samples of %u bits", rows.n_samples, rows.bits);
        }
        rows.kind = TKR_TIFF_YCBCR;
    }
    (void)TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &planar);
    const bool planes = planar == PLANARCONFIG_SEPARATE && rows.n_samples > 1;
    const size_t bits = (size_t)b.width * rows.bits * (planes ? 1u : rows.n_samples);
    if (b.stride < (bits + 7) / 8) return TKR_FAIL(error, FORMAT, "damaged TIFF: its rows are too short");
    uint8_t *block = tkr_decode_alloc(&status, b.size, 1, error);
    if (block) {
        status = planes ? decode_planes(d, &rows, tiff, s, &b, block, error)
                        : decode_packed(d, &rows, tiff, s, &b, block, error);
    }
    tkr_free(block);
    return status;
}

/* ---- subsampled colour: the library converts ---- */

static tkr_status decode_ycbcr(tkr_decoding *d, TIFF *tiff, const source *s, tkr_error *error) {
    TIFFRGBAImage image;
    char message[1024] = "";
    tkr_status status;
    if (!TIFFRGBAImageOK(tiff, message) || !TIFFRGBAImageBegin(&image, tiff, 1, message)) {
        return TKR_FAIL(error, UNSUPPORTED, "this TIFF isn't supported: %.200s", message);
    }
    image.orientation = image.req_orientation = ORIENTATION_TOPLEFT;
    uint32_t *raster = tkr_decode_alloc(&status, d->width * d->height, sizeof *raster, error);
    if (raster && !TIFFRGBAImageGet(&image, raster, (uint32_t)d->width, (uint32_t)d->height)) {
        status = damaged(s, error);
    }
    TIFFRGBAImageEnd(&image);
    for (size_t i = 0; raster && status == TKR_OK && i < d->width * d->height; i++) {
        d->out[3 * i] = (uint8_t)TIFFGetR(raster[i]);
        d->out[3 * i + 1] = (uint8_t)TIFFGetG(raster[i]);
        d->out[3 * i + 2] = (uint8_t)TIFFGetB(raster[i]);
    }
    tkr_free(raster);
    return status;
}

static tkr_status decode(tkr_decoding *d, TIFF *tiff, const source *s, tkr_error *error) {
    uint32_t width = 0, height = 0;
    uint16_t photometric = PHOTOMETRIC_MINISWHITE, compression = COMPRESSION_NONE, planar = PLANARCONFIG_CONTIG;
    uint16_t orientation = ORIENTATION_TOPLEFT;
    (void)TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &width);
    (void)TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &height);
    (void)TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &photometric);
    (void)TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &compression);
    (void)TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &planar);
    (void)TIFFGetFieldDefaulted(tiff, TIFFTAG_ORIENTATION, &orientation);
    tkr_status status = tkr_decode_size(d, width, height, error);
    if (status != TKR_OK) return status;
    uint16_t subsampling[2] = {2, 2};
    (void)TIFFGetFieldDefaulted(tiff, TIFFTAG_YCBCRSUBSAMPLING, &subsampling[0], &subsampling[1]);
    const bool plain = compression == COMPRESSION_NONE && subsampling[0] == 1 && subsampling[1] == 1;
    const bool jpeg = compression == COMPRESSION_JPEG && planar == PLANARCONFIG_CONTIG;
    if (photometric == PHOTOMETRIC_YCBCR && jpeg) (void)TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    if ((photometric == PHOTOMETRIC_YCBCR && !jpeg && !plain) || compression == COMPRESSION_OJPEG) {
        status = decode_ycbcr(d, tiff, s, error);
    } else {
        status = decode_samples(d, tiff, s, photometric, photometric == PHOTOMETRIC_YCBCR && plain, error);
    }
    return status == TKR_OK ? tkr_tiff_orient(d, orientation, error) : status;
}

tkr_status tkr_decode_tiff(tkr_decoding *d, tkr_error *error) {
    source s = {.bytes = d->bytes, .size = d->n_bytes};
    (void)TIFFSetErrorHandler(NULL);
    (void)TIFFSetWarningHandler(NULL);
    (void)TIFFSetErrorHandlerExt(on_error);
    TIFF *tiff = TIFFClientOpen("picture", "r", &s, read_bytes, write_bytes, seek, close_file, size_of, map, unmap);
    if (!tiff) return damaged(&s, error);
    const tkr_status status = decode(d, tiff, &s, error);
    TIFFClose(tiff);
    return status;
}
