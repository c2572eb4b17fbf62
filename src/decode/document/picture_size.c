/* SPDX-License-Identifier: Apache-2.0 */
/* decode/document/picture_size: what a picture's first bytes say of its format and size. Decodes nothing. */
#include "decode/document/pictures.h"

typedef struct head {
    const uint8_t *bytes;
    size_t n;
} head;

static uint32_t little(const head *h, size_t at, unsigned n) {
    uint32_t value = 0;
    for (unsigned i = n; i-- > 0;) value = value << 8 | (at + i < h->n ? h->bytes[at + i] : 0u);
    return value;
}

static uint32_t big(const head *h, size_t at, unsigned n) {
    uint32_t value = 0;
    for (unsigned i = 0; i < n; i++) value = value << 8 | (at + i < h->n ? h->bytes[at + i] : 0u);
    return value;
}

static bool begins(const head *h, size_t at, const char *word, size_t n) {
    return h->n >= at + n && memcmp(h->bytes + at, word, n) == 0;
}

/* The first frame header among the markers. */
static void jpeg_size(uint32_t *width, uint32_t *height, const head *h) {
    for (size_t at = 2; at + 9 < h->n && h->bytes[at] == 0xFF;) {
        const uint8_t marker = h->bytes[at + 1];
        if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC) {
            *height = big(h, at + 5, 2);
            *width = big(h, at + 7, 2);
            return;
        }
        const bool bare = marker == 0xFF || marker == 1 || (marker >= 0xD0 && marker <= 0xD8);
        at += marker == 0xFF ? 1 : bare ? 2 : 2 + (size_t)big(h, at + 2, 2);
    }
}

static void webp_size(uint32_t *width, uint32_t *height, const head *h) {
    if (begins(h, 12, "VP8X", 4)) {
        *width = little(h, 24, 3) + 1;
        *height = little(h, 27, 3) + 1;
    } else if (begins(h, 12, "VP8L", 4)) {
        *width = (little(h, 21, 4) & 0x3FFF) + 1;
        *height = (little(h, 21, 4) >> 14 & 0x3FFF) + 1;
    } else if (begins(h, 12, "VP8 ", 4)) {
        *width = little(h, 26, 2) & 0x3FFF;
        *height = little(h, 28, 2) & 0x3FFF;
    }
}

static void bmp_size(uint32_t *width, uint32_t *height, const head *h) {
    const bool old = little(h, 14, 4) == 12;
    *width = old ? little(h, 18, 2) : little(h, 18, 4);
    *height = old ? little(h, 20, 2) : little(h, 22, 4);
    if (*height > INT32_MAX) *height = 0 - *height; /* from the top down */
}

static bool is_pnm(const head *h) {
    return h->n > 2 && h->bytes[0] == 'P' && h->bytes[1] >= '1' && h->bytes[1] <= '6' && h->bytes[2] != 0 &&
           strchr(" \t\n\v\f\r#", h->bytes[2]) != NULL;
}

bool tkr_picture_known(uint32_t *width, uint32_t *height, const void *bytes, size_t n) {
    const head h = {bytes, n};
    *width = *height = 0;
    if (begins(&h, 0, "\x89PNG\r\n\x1a\n", 8)) {
        *width = big(&h, 16, 4);
        *height = big(&h, 20, 4);
    } else if (begins(&h, 0, "\xff\xd8\xff", 3)) {
        jpeg_size(width, height, &h);
    } else if (begins(&h, 0, "GIF87a", 6) || begins(&h, 0, "GIF89a", 6)) {
        *width = little(&h, 6, 2);
        *height = little(&h, 8, 2);
    } else if (begins(&h, 0, "RIFF", 4) && begins(&h, 8, "WEBP", 4)) {
        webp_size(width, height, &h);
    } else if (begins(&h, 0, "BM", 2)) {
        bmp_size(width, height, &h);
    } else {
        return begins(&h, 0, "II*\0", 4) || begins(&h, 0, "MM\0*", 4) || begins(&h, 0, "II+\0", 4) ||
               begins(&h, 0, "MM\0+", 4) || is_pnm(&h);
    }
    return true;
}
