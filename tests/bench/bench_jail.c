/* SPDX-License-Identifier: Apache-2.0 */
/* What the jail costs: a picture decoded in this process (the readers of tkr-decode, linked here) against the same
 * through tkr-decode, confined. usage: bench_jail [--quick | PICTURE...]; without one JPEGs that it makes itself,
 * --quick: 640x480 alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "core/file.h"
#include "decode/decode.h"
#include "media/jail.h"

/* Leaves, sky and noise of a sort: what a photo costs to decode, about 2 bits a pixel at quality 85. */
static uint8_t *make_photo(unsigned long *size, unsigned width, unsigned height) {
    struct jpeg_compress_struct codec;
    struct jpeg_error_mgr errors;
    unsigned char *out = NULL;
    uint8_t *row = malloc((size_t)width * 3);
    uint32_t noise = 1;
    if (!row) exit(1);
    codec.err = jpeg_std_error(&errors);
    jpeg_create_compress(&codec);
    jpeg_mem_dest(&codec, &out, size);
    codec.image_width = width;
    codec.image_height = height;
    codec.input_components = 3;
    codec.in_color_space = JCS_RGB;
    jpeg_set_defaults(&codec);
    jpeg_set_quality(&codec, 85, TRUE);
    jpeg_start_compress(&codec, TRUE);
    for (unsigned y = 0; y < height; y++) {
        for (unsigned x = 0; x < width; x++) {
            noise = noise * 1664525u + 1013904223u;
            const unsigned rough = y > height / 3 ? noise >> 27 : noise >> 30;
            row[3 * x] = (uint8_t)(((x / 9) ^ (y / 7)) % 61 * 2 + rough);
            row[3 * x + 1] = (uint8_t)(((x + y) / 11) % 47 * 3 + rough);
            row[3 * x + 2] = (uint8_t)((y * 160 / height) + rough);
        }
        JSAMPROW rows = row;
        (void)jpeg_write_scanlines(&codec, &rows, 1);
    }
    jpeg_finish_compress(&codec);
    jpeg_destroy_compress(&codec);
    free(row);
    return out;
}

/* As a program without a jail would: decode into memory of its own. Returns seconds. */
static double in_process(const uint8_t *bytes, size_t n, size_t pixels) {
    const double began = tkr_now();
    tkr_error error;
    tkr_decoding d = {.bytes = bytes, .n_bytes = n, .max_pixels = pixels};
    d.out = tkr_malloc(pixels * 3);
    if (!d.out || tkr_decode_image(&d, &error) != TKR_OK) exit(1);
    tkr_free(d.out);
    return tkr_now() - began;
}

static double through_jail(tkr_jail *jail, const uint8_t *bytes, size_t n, size_t *pixels) {
    const double began = tkr_now();
    tkr_image image;
    tkr_error error;
    if (tkr_jail_image(&image, jail, "picture", bytes, n, TKR_ALPHA_DROP, NULL, &error) != TKR_OK) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    *pixels = image.width * image.height;
    tkr_image_free(&image);
    return tkr_now() - began;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Turn by turn, so that the machine's mood hits both; the tenth percentile of each is what it costs undisturbed. */
static void measure(tkr_jail *jail, const char *name, const uint8_t *bytes, size_t n) {
    enum { MOST = 400 };
    static double inside[MOST], jailed[MOST];
    size_t pixels = 0;
    const double first = through_jail(jail, bytes, n, &pixels);
    const int repeats = first < 0.1 ? MOST : 30;
    for (int i = 0; i < repeats; i++) {
        inside[i] = in_process(bytes, n, pixels);
        jailed[i] = through_jail(jail, bytes, n, &pixels);
    }
    qsort(inside, (size_t)repeats, sizeof *inside, by_value);
    qsort(jailed, (size_t)repeats, sizeof *jailed, by_value);
    const double a = inside[repeats / 10], b = jailed[repeats / 10];
    printf("%-20s %9zu pixels %9zu bytes: in process %8.3f ms, jail %8.3f ms (%+.1f %%; fastest %+.1f %%, median %+.1f "
           "%%), "
           "first %.1f ms\n",
           name, pixels, n, a * 1e3, b * 1e3, (b / a - 1) * 100, (jailed[0] / inside[0] - 1) * 100,
           (jailed[repeats / 2] / inside[repeats / 2] - 1) * 100, first * 1e3);
}

int main(int argc, char **argv) {
    const tkr_jail_options options = {.program = TKR_BUILD_DIR "/tkr-decode", .n_processes = 1};
    tkr_jail *jail = NULL;
    tkr_error error;
    if (tkr_jail_create(&jail, &options, &error) != TKR_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    const bool quick = argc == 2 && strcmp(argv[1], "--quick") == 0;
    const int n_pictures = quick ? 0 : argc - 1;
    for (int i = 1; i <= n_pictures; i++) {
        tkr_buf bytes = {0};
        if (tkr_file_read(&bytes, argv[i], (size_t)256 << 20, &error) != TKR_OK) {
            fprintf(stderr, "%s\n", error.message);
            return 1;
        }
        measure(jail, argv[i], (const uint8_t *)bytes.data, bytes.size);
        tkr_buf_free(&bytes);
    }
    static const struct {
        const char *name;
        unsigned width, height;
    } made[] = {{"640x480 JPEG", 640, 480}, {"96x96 JPEG", 96, 96}, {"12-megapixel JPEG", 4000, 3000}};
    for (size_t i = 0; n_pictures == 0 && i < (quick ? 1 : sizeof made / sizeof *made); i++) {
        unsigned long size = 0;
        uint8_t *photo = make_photo(&size, made[i].width, made[i].height);
        measure(jail, made[i].name, photo, size);
        free(photo);
    }
    tkr_jail_free(&jail);
    return 0;
}
