/* SPDX-License-Identifier: Apache-2.0 */
/* Damages pictures at random, always the same way, and has them decoded: each is decoded or is an error; a decoder that
 * dies fails the test (under ASan that is any bad access). */
#ifndef TKR_TEST_MEDIA_JAIL_MUTATE_H
#define TKR_TEST_MEDIA_JAIL_MUTATE_H

#include "jail_helpers.h"

#include "../mutate.h"

#include <zlib.h>

/* Of each format some that differ in how they are read. */
static const char *const mutate_seeds[][4] = {
    {"jpeg_420.jpg", "jpeg_progressive.jpg", "jpeg_cmyk_adobe.jpg", "jpeg_optimized_restart.jpg"},
    {"png_rgb.png", "png_interlaced.png", "png_palette4.png", "png_gray16.png"},
    {"webp_lossy.webp", "webp_lossless_alpha.webp", "webp_animated.webp", "webp_alpha.webp"},
    {"gif_static.gif", "gif_animated.gif", "gif_transparent.gif", "gif_static.gif"},
    {"bmp_rgb.bmp", "bmp_palette.bmp", "bmp_palette.bmp", "bmp_rgb.bmp"},
    {"tiff_rgb_lzw.tif", "tiff_gray_deflate.tif", "tiff_rgb_raw.tif", "tiff_rgb_lzw.tif"},
    {"ppm.ppm", "ppm.ppm", "ppm.ppm", "ppm.ppm"},
};
enum { MUTATE_FORMATS = sizeof mutate_seeds / sizeof *mutate_seeds };

/* Makes the checksums of a PNG's chunks right, so that a change gets past them. */
static inline void mutate_repair_png(tkr_buf *bytes) {
    uint8_t *data = (uint8_t *)bytes->data;
    for (size_t at = 8; at + 12 <= bytes->size;) {
        const size_t n = (size_t)data[at] << 24 | (size_t)data[at + 1] << 16 | (size_t)data[at + 2] << 8 | data[at + 3];
        if (n > bytes->size - at - 12) return;
        const uLong crc = crc32(crc32(0, NULL, 0), data + at + 4, (uInt)n + 4);
        for (size_t i = 0; i < 4; i++) data[at + 8 + n + i] = (uint8_t)(crc >> (24 - 8 * i));
        at += n + 12;
    }
}

static inline void mutate_format(tkr_jail *jail, size_t format, size_t count, uint64_t seed) {
    uint64_t state = seed * 977 + format;
    size_t n_decoded = 0;
    tkr_buf seeds[4];
    for (size_t i = 0; i < 4; i++) seeds[i] = picture("files/%s", mutate_seeds[format][i]);
    for (size_t i = 0; i < count; i++) {
        tkr_buf bytes = {0};
        tkr_image image;
        tkr_error error = {0};
        assert_true(tkr_buf_append(&bytes, seeds[i % 4].data, seeds[i % 4].size));
        for (uint32_t n = 1 + mutate_random(&state) % 4; n > 0; n--) mutate_once(&bytes, &state);
        if (i % 8 != 7 && bytes.size > 8 && memcmp(bytes.data, "\x89PNG", 4) == 0) mutate_repair_png(&bytes);
        const tkr_alpha alpha = mutate_random(&state) % 2 ? TKR_ALPHA_WHITE : TKR_ALPHA_DROP;
        const tkr_status status = tkr_jail_image(&image, jail, "x", bytes.data, bytes.size, alpha, NULL, &error);
        n_decoded += status == TKR_OK;
        if (status != TKR_OK && strstr(error.message, "the decoder ")) {
            const char *path = TKR_BUILD_DIR "/jail_mutation";
            (void)tkr_file_write_atomic(path, bytes.data, bytes.size, NULL);
            fail_msg("%s, change %zu: %s (%s)", mutate_seeds[format][i % 4], i, error.message, path);
        }
        assert_true(status == TKR_OK || status == TKR_FORMAT || status == TKR_LIMIT || status == TKR_UNSUPPORTED ||
                    status == TKR_NO_MEMORY);
        assert_true((status == TKR_OK) == (image.rgb != NULL));
        tkr_image_free(&image);
        tkr_buf_free(&bytes);
    }
    assert_true(n_decoded > 0 && n_decoded < count); /* the changes are neither all harmless nor all fatal */
    for (size_t i = 0; i < 4; i++) tkr_buf_free(&seeds[i]);
}

/* `count` damaged pictures of each format. */
static inline void mutate_all(size_t count, uint64_t seed) {
    tkr_jail_options options = jail_options();
    options.n_processes = 1;
    options.max_pixels = 4000000; /* of pictures of 2600: larger ones are refused before they cost time */
    tkr_jail *jail = open_jail(&options);
    for (size_t format = 0; format < MUTATE_FORMATS; format++) mutate_format(jail, format, count, seed);
    tkr_jail_free(&jail);
}

#endif
