/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged and oversized pictures: cut at every byte, bombs, thousands of frames, random changes. */
#include "jail_mutate.h"

/* Each beginning of the file is an error or, where only trailing bytes are missing, gives the same pixels. */
static void cut_everywhere(void **state) {
    (void)state;
    static const char *const names[] = {"jpeg_q5.jpg",     "jpeg_progressive_444_q30.jpg",
                                        "png_gray2.png",   "png_palette2.png",
                                        "webp_lossy.webp", "webp_alpha.webp",
                                        "gif_static.gif",  "bmp_palette.bmp",
                                        "ppm.ppm",         "tiff_gray_deflate.tif"};
    tkr_jail_options options = jail_options();
    options.n_processes = 1;
    tkr_jail *jail = open_jail(&options);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tkr_buf bytes = picture("files/%s", names[i]);
        tkr_image whole = decode_or_fail(jail, names[i], &bytes, TKR_ALPHA_DROP);
        size_t n_errors = 0;
        for (size_t n = 0; n < bytes.size; n++) {
            tkr_image image;
            tkr_error error = {0};
            if (tkr_jail_image(&image, jail, "x", bytes.data, n, TKR_ALPHA_DROP, NULL, &error) == TKR_OK) {
                assert_int_equal(image.width, whole.width);
                assert_int_equal(image.height, whole.height);
                if (memcmp(image.rgb, whole.rgb, whole.width * whole.height * 3) != 0) {
                    fail_msg("%s: the first %zu bytes give other pixels", names[i], n);
                }
            } else {
                n_errors++;
                if (strstr(error.message, "the decoder ")) fail_msg("%s, %zu bytes: %s", names[i], n, error.message);
            }
            tkr_image_free(&image);
        }
        assert_true(n_errors > bytes.size * 9 / 10);
        tkr_image_free(&whole);
        tkr_buf_free(&bytes);
    }
    tkr_jail_free(&jail);
}

/* ---- PNG bombs ---- */

static void put_chunk(tkr_buf *out, const char *type, const uint8_t *data, size_t size) {
    uint8_t word[4];
    uLong crc = crc32(crc32(0, NULL, 0), (const Bytef *)type, 4);
    if (size > 0) crc = crc32(crc, data, (uInt)size);
    for (size_t i = 0; i < 4; i++) word[i] = (uint8_t)(size >> (24 - 8 * i));
    assert_true(tkr_buf_append(out, word, 4) && tkr_buf_append(out, type, 4) && tkr_buf_append(out, data, size));
    for (size_t i = 0; i < 4; i++) word[i] = (uint8_t)(crc >> (24 - 8 * i));
    assert_true(tkr_buf_append(out, word, 4));
}

/* RGBA of zeros; the compressed data unpack to `n_raw` bytes. */
static tkr_buf make_png(uint32_t width, uint32_t height, size_t n_raw) {
    tkr_buf out = {0};
    uint8_t header[13] = {0};
    for (size_t i = 0; i < 4; i++) {
        header[i] = (uint8_t)(width >> (24 - 8 * i));
        header[4 + i] = (uint8_t)(height >> (24 - 8 * i));
    }
    header[8] = 8;
    header[9] = 6;
    uint8_t *raw = tkr_calloc(n_raw, 1);
    uLongf packed_size = compressBound(n_raw);
    uint8_t *packed = tkr_malloc(packed_size);
    assert_non_null(raw);
    assert_non_null(packed);
    assert_int_equal(compress2(packed, &packed_size, raw, n_raw, 9), Z_OK);
    assert_true(tkr_buf_append(&out, "\x89PNG\r\n\x1a\n", 8));
    put_chunk(&out, "IHDR", header, sizeof header);
    put_chunk(&out, "IDAT", packed, packed_size);
    put_chunk(&out, "IEND", header, 0);
    tkr_free(raw);
    tkr_free(packed);
    return out;
}

static void png_bombs(void **state) {
    (void)state;
    tkr_jail *jail = open_jail(NULL);
    tkr_image image;
    tkr_error error = {0};
    const double began = tkr_now();
    tkr_buf bytes = make_png(60000, 60000, 1000);
    assert_int_equal(tkr_jail_image(&image, jail, "x.png", bytes.data, bytes.size, TKR_ALPHA_DROP, NULL, &error),
                     TKR_LIMIT);
    assert_string_equal(error.message, "x.png: the picture is 60000 x 60000: more than 178956970 pixels");
    tkr_buf_free(&bytes);
    bytes = make_png(0x7fffffff, 0x7fffffff, 1000);
    assert_int_equal(tkr_jail_image(&image, jail, "x.png", bytes.data, bytes.size, TKR_ALPHA_DROP, NULL, &error),
                     TKR_LIMIT);
    tkr_buf_free(&bytes);
    bytes = make_png(13000, 13000, 1000); /* allowed, but the data aren't there: no memory is touched for it */
    assert_int_equal(tkr_jail_image(&image, jail, "x.png", bytes.data, bytes.size, TKR_ALPHA_DROP, NULL, &error),
                     TKR_FORMAT);
    tkr_buf_free(&bytes);
    bytes = make_png(10, 10, (size_t)64 << 20); /* 64 MiB behind the last row: nobody unpacks them */
    if (tkr_jail_image(&image, jail, "x.png", bytes.data, bytes.size, TKR_ALPHA_WHITE, NULL, &error) == TKR_OK) {
        assert_int_equal(image.rgb[0], 255);
    }
    tkr_image_free(&image);
    tkr_buf_free(&bytes);
    bytes = make_png(2000, 2000, (size_t)2000 * 8001); /* 16 MB from 16 kB: a picture like others */
    image = decode_or_fail(jail, "x.png", &bytes, TKR_ALPHA_DROP);
    for (size_t i = 0; i < (size_t)2000 * 2000 * 3; i++) assert_true(image.rgb[i] == 0);
    tkr_image_free(&image);
    tkr_buf_free(&bytes);
    assert_true(tkr_now() - began < 60); /* sanitizers, a busy machine */
    tkr_jail_free(&jail);
}

/* 10,000 frames: the first one is decoded, the others aren't even looked at. */
static void many_frames(void **state) {
    (void)state;
    static const uint8_t head[] = {'G', 'I', 'F', '8', '9', 'a', 1, 0, 1, 0, 0x80, 0, 0, 10, 20, 30, 40, 50, 60};
    static const uint8_t frame[] = {',', 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x4c, 0x01, 0};
    tkr_buf bytes = {0};
    assert_true(tkr_buf_append(&bytes, head, sizeof head));
    for (size_t i = 0; i < 10000; i++) assert_true(tkr_buf_append(&bytes, frame, sizeof frame));
    assert_true(tkr_buf_append(&bytes, ";", 1));
    tkr_jail *jail = open_jail(NULL);
    tkr_image image = decode_or_fail(jail, "x.gif", &bytes, TKR_ALPHA_DROP);
    assert_int_equal(image.width * image.height, 1);
    assert_int_equal(image.rgb[0], 40);
    assert_int_equal(image.rgb[2], 60);
    tkr_image_free(&image);
    tkr_buf_free(&bytes);
    tkr_jail_free(&jail);
}

static void mutations(void **state) {
    (void)state;
    mutate_all(200, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_everywhere),
        cmocka_unit_test(png_bombs),
        cmocka_unit_test(many_frames),
        cmocka_unit_test(mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
