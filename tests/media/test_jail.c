/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures through tkr-decode: every golden file has Pillow's bytes, every broken one its outcome, and what kills or
 * stops the decoder costs that input only. */
#include "golden.h"

#include <sys/stat.h>
#include <unistd.h>

#include "../countdown.h"
#include "core/task.h"
#include "jail_helpers.h"
#include "media/jail.h"

static void check_sha(const json_t *entry, const char *field, const tkr_image *image, const char *name) {
    char hex[65];
    golden_sha256(hex, image->rgb, image->width * image->height * 3);
    if (strcmp(hex, golden_string(entry, field)) != 0) fail_msg("%s: other pixels than Pillow's", name);
}

/* Every file of a list has Pillow's size and bytes, with alpha dropped and composited. Returns how many had alpha. */
static size_t check_list(const char *list, const char *folder, size_t n_files) {
    tkr_jail *jail = open_jail(NULL);
    json_t *doc = golden_json(list);
    const json_t *files = json_object_get(doc, "files");
    size_t n_white = 0;
    assert_int_equal(json_array_size(files), n_files);
    for (size_t i = 0; i < n_files; i++) {
        const json_t *entry = json_array_get(files, i);
        const char *name = golden_string(entry, "file");
        char relative[256];
        snprintf(relative, sizeof relative, "%s/%s", folder, name);
        tkr_buf bytes = picture("%s", relative);
        tkr_image image = decode_or_fail(jail, name, &bytes, TKR_ALPHA_DROP);
        assert_int_equal(image.width, json_integer_value(json_object_get(entry, "width")));
        assert_int_equal(image.height, json_integer_value(json_object_get(entry, "height")));
        check_sha(entry, "rgb_sha256", &image, name);
        tkr_image_free(&image);
        image = decode_or_fail(jail, name, &bytes, TKR_ALPHA_WHITE);
        const bool white = json_object_get(entry, "rgb_on_white_sha256") != NULL;
        check_sha(entry, white ? "rgb_on_white_sha256" : "rgb_sha256", &image, name);
        n_white += white;
        tkr_image_free(&image);
        tkr_buf_free(&bytes);
    }
    json_decref(doc);
    tkr_jail_free(&jail);
    return n_white;
}

static void golden_files(void **state) {
    (void)state;
    assert_true(check_list("golden/images/decode.json", "files", 59) >= 3);
}

/* What the golden files lack: every sample layout of TIFF, BMP and PNM, palettes that are too short, GIF canvases. */
static void more_formats(void **state) {
    (void)state;
    assert_true(check_list("golden/images/formats.json", "formats", 184) >= 8);
}

/* "error", "error, or exactly these pixels" (of the entry), "error, or exactly the pixels of FILE". */
static void broken_files(void **state) {
    (void)state;
    tkr_jail *jail = open_jail(NULL);
    json_t *doc = golden_json("golden/images/broken.json");
    const json_t *files = json_object_get(doc, "files");
    assert_int_equal(json_array_size(files), 27);
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *entry = json_array_get(files, i);
        const char *name = golden_string(entry, "file"), *required = golden_string(entry, "required");
        tkr_buf bytes = picture("%s", name);
        tkr_image image;
        tkr_error error = {0};
        const tkr_status status =
            tkr_jail_image(&image, jail, name, bytes.data, bytes.size, TKR_ALPHA_DROP, NULL, &error);
        if (status != TKR_OK) {
            assert_null(image.rgb);
            assert_ptr_equal(strstr(error.message, name), error.message);
            assert_true(strlen(error.message) > strlen(name) + 8);
        } else if (strstr(required, "these pixels")) {
            check_sha(json_object_get(entry, "pillow"), "rgb_sha256", &image, name);
        } else if (strstr(required, "the pixels of")) {
            tkr_buf other = picture("files/%s", strstr(required, "the pixels of ") + strlen("the pixels of "));
            tkr_image same = decode_or_fail(jail, "other", &other, TKR_ALPHA_DROP);
            assert_int_equal(same.width, image.width);
            assert_int_equal(same.height, image.height);
            assert_memory_equal(same.rgb, image.rgb, image.width * image.height * 3);
            tkr_image_free(&same);
            tkr_buf_free(&other);
        } else {
            fail_msg("%s: decoded, required is: %s", name, required);
        }
        tkr_image_free(&image);
        tkr_buf_free(&bytes);
    }
    json_decref(doc);
    tkr_jail_free(&jail);
}

static void says_what_it_is(void **state) {
    (void)state;
    static const struct {
        const char *text, *said;
        tkr_status status;
    } cases[] = {
        {"<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>", "SVG", TKR_UNSUPPORTED},
        {"<!DOCTYPE html><html><body>404</body></html>", "HTML", TKR_UNSUPPORTED},
        {"%PDF-1.7\n", "PDF", TKR_UNSUPPORTED},
        {"just some words", "is text", TKR_UNSUPPORTED},
        {"P7 is not a picture", "is text", TKR_UNSUPPORTED},
        {"\x01\x02\x03\x04\x05", "unknown format", TKR_UNSUPPORTED},
        {"abcdftypavif", "AVIF", TKR_UNSUPPORTED},
    };
    tkr_jail *jail = open_jail(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tkr_image image;
        tkr_error error = {0};
        const tkr_status status =
            tkr_jail_image(&image, jail, "cat.jpg", cases[i].text, strlen(cases[i].text), TKR_ALPHA_DROP, NULL, &error);
        assert_int_equal(status, cases[i].status);
        assert_ptr_equal(strstr(error.message, "cat.jpg: "), error.message);
        if (!strstr(error.message, cases[i].said)) fail_msg("%s", error.message);
    }
    tkr_jail_free(&jail);
}

static void limits(void **state) {
    (void)state;
    tkr_jail_options options = jail_options();
    tkr_error error = {0};
    tkr_image image;
    tkr_buf bytes = picture("files/%s", "png_rgb.png"); /* 61 x 43 */
    options.max_pixels = 61 * 43;
    tkr_jail *jail = open_jail(&options);
    image = decode_or_fail(jail, "exact", &bytes, TKR_ALPHA_DROP);
    tkr_image_free(&image);
    tkr_jail_free(&jail);
    options.max_pixels--;
    jail = open_jail(&options);
    assert_int_equal(tkr_jail_image(&image, jail, "a.png", bytes.data, bytes.size, TKR_ALPHA_DROP, NULL, &error),
                     TKR_LIMIT);
    assert_string_equal(error.message, "a.png: the picture is 61 x 43: more than 2622 pixels");
    tkr_jail_free(&jail);
    options.max_pixels = 0;
    options.max_bytes = bytes.size - 1;
    jail = open_jail(&options);
    assert_int_equal(tkr_jail_image(&image, jail, "a.png", bytes.data, bytes.size, TKR_ALPHA_DROP, NULL, &error),
                     TKR_LIMIT);
    assert_true(strstr(error.message, "bytes") != NULL);
    assert_int_equal(tkr_jail_image(&image, jail, "a.png", bytes.data, 0, TKR_ALPHA_DROP, NULL, &error), TKR_FORMAT);
    tkr_jail_free(&jail);
    tkr_buf_free(&bytes);
}

typedef struct client {
    tkr_jail *jail;
    const tkr_buf *bytes;
    const tkr_image *expected;
    unsigned n_wrong;
} client;

static void decode_many(void *arg) {
    client *c = arg;
    for (int i = 0; i < 40; i++) {
        tkr_image image;
        const size_t size = i % 4 == 3 ? c->bytes->size / 2 : c->bytes->size; /* some of them damaged */
        const tkr_status status =
            tkr_jail_image(&image, c->jail, "x", c->bytes->data, size, TKR_ALPHA_DROP, NULL, NULL);
        if (i % 4 == 3) {
            c->n_wrong += status == TKR_OK;
        } else {
            c->n_wrong += status != TKR_OK || image.width != c->expected->width ||
                          memcmp(image.rgb, c->expected->rgb, image.width * image.height * 3) != 0;
        }
        tkr_image_free(&image);
    }
}

/* More threads than processes. */
static void threads(void **state) {
    (void)state;
    static const char *const names[] = {"jpeg_420.jpg", "png_rgba.png", "webp_lossy.webp", "gif_static.gif"};
    enum { N = 8 };
    tkr_jail_options options = jail_options();
    options.n_processes = 3;
    tkr_jail *jail = open_jail(&options);
    tkr_buf bytes[N];
    tkr_image expected[N];
    client clients[N];
    tkr_task *tasks[N];
    for (size_t i = 0; i < N; i++) {
        bytes[i] = picture("files/%s", names[i % 4]);
        expected[i] = decode_or_fail(jail, names[i % 4], &bytes[i], TKR_ALPHA_DROP);
        clients[i] = (client){.jail = jail, .bytes = &bytes[i], .expected = &expected[i]};
    }
    for (size_t i = 0; i < N; i++) tasks[i] = tkr_task_start(decode_many, &clients[i]);
    for (size_t i = 0; i < N; i++) {
        tkr_task_wait(&tasks[i]);
        assert_int_equal(clients[i].n_wrong, 0);
        tkr_image_free(&expected[i]);
        tkr_buf_free(&bytes[i]);
    }
    tkr_jail_free(&jail);
}

static void faults(void **state) {
    (void)state;
    tkr_buf bytes = picture("files/%s", "jpeg_420.jpg");
    for (long i = 0;; i++) {
        countdown count = {i};
        tkr_jail_options options = jail_options();
        tkr_jail *jail = NULL;
        tkr_image image = {0};
        tkr_error error = {0};
        options.n_processes = 1;
        tkr_seam_set(fail_nth, &count);
        tkr_status status = tkr_jail_create(&jail, &options, &error);
        if (status == TKR_OK) {
            status = tkr_jail_image(&image, jail, "x", bytes.data, bytes.size, TKR_ALPHA_DROP, NULL, &error);
        }
        tkr_seam_set(NULL, NULL);
        if (status != TKR_OK) {
            assert_true(status == TKR_NO_MEMORY || status == TKR_IO || status == TKR_NOT_FOUND);
            assert_true(error.message[0] != '\0');
            assert_null(image.rgb);
            if (jail) { /* and it goes on afterwards */
                image = decode_or_fail(jail, "x", &bytes, TKR_ALPHA_DROP);
            }
        }
        tkr_image_free(&image);
        tkr_jail_free(&jail);
        if (count.left >= 0) {
            assert_true(i > 4);
            break;
        }
    }
    tkr_buf_free(&bytes);
}

static void bad_options(void **state) {
    (void)state;
    tkr_jail *jail = NULL;
    tkr_error error = {0};
    tkr_jail_options options = jail_options();
    options.program = TKR_BUILD_DIR "/no-such-program";
    assert_int_equal(tkr_jail_create(&jail, &options, &error), TKR_IO);
    assert_null(jail);
    assert_true(strstr(error.message, "no-such-program") != NULL);
    options = jail_options();
    options.n_processes = 1000;
    assert_int_equal(tkr_jail_create(&jail, &options, &error), TKR_INVALID_ARGUMENT);
    options = jail_options();
    options.max_pixels = SIZE_MAX;
    assert_int_equal(tkr_jail_create(&jail, &options, &error), TKR_INVALID_ARGUMENT);
    options = jail_options();
    options.unconfined = true;
    jail = open_jail(&options);
    tkr_buf bytes = picture("files/%s", "jpeg_420.jpg");
    tkr_image image = decode_or_fail(jail, "x", &bytes, TKR_ALPHA_DROP);
    tkr_image_free(&image);
    tkr_buf_free(&bytes);
    tkr_jail_free(&jail);
    tkr_jail_free(&jail);
}

/* A file that may be run but isn't a program, and a program that isn't tkr-decode. */
static void other_programs(void **state) {
    (void)state;
    static const char *const programs[] = {TKR_TEST_DIR "/golden/images/decode.json", "/bin/true"};
    tkr_buf bytes = picture("files/%s", "jpeg_420.jpg");
    for (size_t i = 0; i < 2; i++) {
        tkr_jail_options options = jail_options();
        tkr_image image;
        tkr_error error = {0};
        options.program = programs[i];
        tkr_jail *jail = open_jail(&options);
        assert_int_not_equal(tkr_jail_image(&image, jail, "x", bytes.data, bytes.size, TKR_ALPHA_DROP, NULL, &error),
                             TKR_OK);
        assert_true(strstr(error.message, programs[i]) != NULL);
        tkr_jail_free(&jail);
    }
    tkr_buf_free(&bytes);
}

/* What something ends before it has the input is started once more, and only once. */
static void ended_at_its_start(void **state) {
    (void)state;
    tkr_buf bytes = picture("files/%s", "jpeg_420.jpg");
    for (int n_ended = 1; n_ended <= 2; n_ended++) {
        char program[] = "/tmp/tkr-jail-XXXXXX", mark[64];
        const int fd = mkstemp(program);
        assert_true(fd >= 0 && fchmod(fd, 0700) == 0);
        dprintf(fd, "#!/bin/sh\n");
        for (int i = 0; i < n_ended; i++) dprintf(fd, "/bin/mkdir \"$0.%d\" 2> /dev/null && kill -9 $$\n", i);
        dprintf(fd, "exec '" TKR_BUILD_DIR "/tkr-decode' \"$@\"\n");
        close(fd);
        tkr_jail_options options = jail_options();
        options.program = program;
        tkr_jail *jail = open_jail(&options);
        tkr_image image;
        tkr_error error = {0};
        const tkr_status status =
            tkr_jail_image(&image, jail, "a.jpg", bytes.data, bytes.size, TKR_ALPHA_DROP, NULL, &error);
        assert_int_equal(status, n_ended == 1 ? TKR_OK : TKR_IO);
        assert_int_equal(error.status, status);
        if (status != TKR_OK) assert_non_null(strstr(error.message, "SIGKILL"));
        tkr_image_free(&image);
        tkr_jail_free(&jail);
        for (int i = 0; i < n_ended; i++) {
            snprintf(mark, sizeof mark, "%s.%d", program, i);
            assert_int_equal(rmdir(mark), 0);
        }
        unlink(program);
    }
    tkr_buf_free(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_files),   cmocka_unit_test(more_formats),
        cmocka_unit_test(broken_files),   cmocka_unit_test(says_what_it_is),
        cmocka_unit_test(limits),         cmocka_unit_test(threads),
        cmocka_unit_test(faults),         cmocka_unit_test(bad_options),
        cmocka_unit_test(other_programs), cmocka_unit_test(ended_at_its_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
