/* SPDX-License-Identifier: Apache-2.0 */
/* decode/image: tells what the bytes are and hands them to the format's reader; says what they are instead. */
#include <string.h>

#include "core/mem.h"
#include "decode/decode.h"

tkr_status tkr_decode_size(tkr_decoding *d, uint64_t width, uint64_t height, tkr_error *error) {
    if (width == 0 || height == 0) {
        return TKR_FAIL(error, FORMAT, "the picture has no pixels: %llu x %llu", (unsigned long long)width,
                        (unsigned long long)height);
    }
    if (width > d->max_pixels / height) {
        return TKR_FAIL(error, LIMIT, "the picture is %llu x %llu: more than %zu pixels", (unsigned long long)width,
                        (unsigned long long)height, d->max_pixels);
    }
    d->width = (size_t)width;
    d->height = (size_t)height;
    return TKR_OK;
}

void *tkr_decode_alloc(tkr_status *status, size_t count, size_t size, tkr_error *error) {
    size_t bytes;
    void *room = tkr_mul_size(&bytes, count, size) ? tkr_malloc(bytes) : NULL;
    *status = room ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory to decode a picture of this size");
    return room;
}

/* ---- by content ---- */

/* '?' in a signature stands for any byte. */
static bool begins_with(const tkr_decoding *d, const char *signature, size_t n) {
    if (d->n_bytes < n) return false;
    for (size_t i = 0; i < n; i++) {
        if (signature[i] != '?' && (uint8_t)signature[i] != d->bytes[i]) return false;
    }
    return true;
}

typedef struct known {
    const char *signature;
    size_t n;
    tkr_status (*decode)(tkr_decoding *d, tkr_error *error);
} known;

static const known formats[] = {
    {"\xff\xd8\xff", 3, tkr_decode_jpeg},  {"\x89PNG\r\n\x1a\n", 8, tkr_decode_png},
    {"RIFF????WEBP", 12, tkr_decode_webp}, {"GIF87a", 6, tkr_decode_gif},
    {"GIF89a", 6, tkr_decode_gif},         {"BM", 2, tkr_decode_bmp},
    {"II*\0", 4, tkr_decode_tiff},         {"MM\0*", 4, tkr_decode_tiff},
    {"II+\0", 4, tkr_decode_tiff},         {"MM\0+", 4, tkr_decode_tiff},
};

/* What people give in place of a picture. */
static const struct {
    const char *signature;
    size_t n;
    const char *what;
} others[] = {
    {"%PDF-", 5, "a PDF document"},
    {"PK\3\4", 4, "a zip archive or office document"},
    {"????ftypavif", 12, "an AVIF picture"},
    {"????ftypavis", 12, "an AVIF sequence"},
    {"????ftyphei", 11, "a HEIF picture"},
    {"????ftyphev", 11, "a HEIF sequence"},
    {"????ftypmif1", 12, "a HEIF picture"},
    {"????ftyp", 8, "an MP4 or QuickTime video"},
    {"\x1a\x45\xdf\xa3", 4, "a Matroska or WebM video"},
    {"RIFF????AVI ", 12, "an AVI video"},
    {"RIFF????WAVE", 12, "a WAVE sound"},
    {"\0\0\0\x0cJXL \r\n", 10, "a JPEG XL picture"},
    {"\xff\x0a", 2, "a JPEG XL picture"},
    {"\0\0\0\x0cjP  ", 8, "a JPEG 2000 picture"},
    {"\xff\x4f\xff\x51", 4, "a JPEG 2000 picture"},
    {"8BPS", 4, "a Photoshop document"},
    {"\0\0\1\0", 4, "a Windows icon"},
    {"\x1f\x8b", 2, "gzip data"},
    {"\x7f"
     "ELF",
     4, "a program"},
};

static bool contains(const char *text, size_t n, const char *word) {
    const size_t length = strlen(word);
    for (size_t i = 0; i + length <= n; i++) {
        if (memcmp(text + i, word, length) == 0) return true;
    }
    return false;
}

/* "P1" to "P6" and space. */
static bool is_pnm(const tkr_decoding *d) {
    static const char space[] = " \t\n\v\f\r#";
    return d->n_bytes > 2 && d->bytes[0] == 'P' && d->bytes[1] >= '1' && d->bytes[1] <= '6' &&
           memchr(space, d->bytes[2], sizeof space - 1) != NULL;
}

/* NULL: it isn't text either. */
static const char *kind_of_text(const tkr_decoding *d) {
    char head[1024];
    const size_t n = d->n_bytes < sizeof head ? d->n_bytes : sizeof head;
    for (size_t i = 0; i < n; i++) {
        const uint8_t c = d->bytes[i];
        if (c < 32 && c != '\t' && c != '\n' && c != '\r' && c != '\f') return NULL;
        head[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    if (contains(head, n, "<svg")) return "an SVG drawing (render it to pixels first)";
    if (contains(head, n, "<!doctype html") || contains(head, n, "<html")) return "an HTML page";
    if (contains(head, n, "<?xml")) return "an XML document";
    return "text";
}

tkr_status tkr_decode_image(tkr_decoding *d, tkr_error *error) {
    d->width = d->height = 0;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (begins_with(d, formats[i].signature, formats[i].n)) return formats[i].decode(d, error);
    }
    if (is_pnm(d)) return tkr_decode_pnm(d, error);
    const char *what = NULL;
    for (size_t i = 0; !what && i < sizeof others / sizeof *others; i++) {
        if (begins_with(d, others[i].signature, others[i].n)) what = others[i].what;
    }
    if (!what) what = kind_of_text(d);
    return TKR_FAIL(error, UNSUPPORTED, "is %s, not a JPEG, PNG, WebP, GIF, BMP, TIFF, PPM or PGM picture",
                    what ? what : "of an unknown format");
}
