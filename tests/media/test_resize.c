/* SPDX-License-Identifier: Apache-2.0 */
/* The resize against Pillow's bytes: both orders of the passes, every filter, plain C and this CPU's kernels, one
 * thread and several. */
#include "golden.h"

#include "core/pool.h"
#include "media/resize.h"

static tkr_image resize_or_fail(const tkr_image *in, const tkr_resize_options *options) {
    tkr_image out;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_resize(&out, in, options, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_int_equal(out.width, options->width);
    assert_int_equal(out.height, options->height);
    return out;
}

static tkr_filter filter_named(const char *name) {
    static const char *const names[] = {"nearest", "lanczos", "bilinear", "bicubic", "box"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) return (tkr_filter)i;
    }
    fail_msg("no filter %s", name);
    return TKR_FILTER_NEAREST;
}

/* The bytes of `tensor`, in plain C, with this CPU's kernels, and shared by three threads. */
static void check_tensor(const golden *g, const char *tensor, const tkr_image *in, tkr_resize_options options) {
    tkr_kernels kernels;
    tkr_pool *pool = NULL;
    tkr_image want = golden_image(g, tensor);
    assert_int_equal(tkr_pool_create(&pool, 3, NULL), TKR_OK);
    golden_kernels(&kernels);
    for (int way = 0; way < 3; way++) {
        options.kernels = way ? &kernels : NULL;
        options.pool = way == 2 ? pool : NULL;
        tkr_image out = resize_or_fail(in, &options);
        if (memcmp(out.rgb, want.rgb, want.width * want.height * 3) != 0) fail_msg("%s: differs, way %d", tensor, way);
        tkr_image_free(&out);
    }
    tkr_pool_free(&pool);
    tkr_image_free(&want);
}

static void test_pillow(void **state) {
    (void)state;
    golden pixels = golden_open("golden/images/rgb.safetensors.xz");
    golden expected = golden_open("golden/images/resize.safetensors.xz");
    json_t *cases = golden_json("golden/images/resize.json");
    const json_t *rows = json_object_get(cases, "rows");
    size_t n_first = 0;
    assert_true(json_array_size(rows) > 40);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i), *to = json_object_get(row, "to");
        tkr_image in = golden_image(&pixels, golden_string(row, "file"));
        tkr_resize_options options = {.width = (size_t)json_integer_value(json_array_get(to, 0)),
                                      .height = (size_t)json_integer_value(json_array_get(to, 1)),
                                      .filter = filter_named(golden_string(row, "filter"))};
        check_tensor(&expected, golden_string(row, "tensor"), &in, options);
        options.horizontal_first = true;
        const char *other = json_string_value(json_object_get(row, "horizontal_first_tensor"));
        check_tensor(&expected, other ? other : golden_string(row, "tensor"), &in, options);
        n_first += other != NULL;
        tkr_image_free(&in);
    }
    assert_true(n_first > 5);
    json_decref(cases);
    golden_close(&pixels);
    golden_close(&expected);
}

/* SHA-256 of what Pillow 13.0.0 makes of a picture whose bytes are (x * x * 7 + y * 13 + c * 61) % 251 (x < width, y <
 * height, channel c); horizontal_first: of Pillow 12.1.1. Sizes that take every way through the kernels, too large to
 * be stored. */
typedef struct hashed {
    size_t width, height, to_width, to_height;
    tkr_filter filter;
    bool horizontal_first;
    const char *sha256;
} hashed;
static const hashed hashes[] = {
#include "resize_hashes.inc"
};

static void test_hashes(void **state) {
    (void)state;
    tkr_kernels kernels;
    golden_kernels(&kernels);
    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++) {
        const hashed *h = &hashes[i];
        tkr_image in = {h->width, h->height, tkr_malloc(h->width * h->height * 3)};
        assert_non_null(in.rgb);
        for (size_t at = 0; at < h->width * h->height * 3; at++) {
            const size_t x = at / 3 % h->width, y = at / 3 / h->width;
            in.rgb[at] = (uint8_t)((x * x * 7 + y * 13 + at % 3 * 61) % 251);
        }
        const tkr_resize_options options = {.width = h->to_width,
                                            .height = h->to_height,
                                            .filter = h->filter,
                                            .horizontal_first = h->horizontal_first,
                                            .kernels = &kernels};
        tkr_image out = resize_or_fail(&in, &options);
        char hex[65];
        golden_sha256(hex, out.rgb, out.width * out.height * 3);
        if (strcmp(hex, h->sha256) != 0) {
            fail_msg("%zu x %zu to %zu x %zu, filter %d: %s, not %s", h->width, h->height, h->to_width, h->to_height,
                     (int)h->filter, hex, h->sha256);
        }
        tkr_image_free(&in);
        tkr_image_free(&out);
    }
}

static bool fail_at(void *user, char kind) {
    size_t *left = user;
    return kind != 'a' || (*left)-- != 0;
}

static void test_errors(void **state) {
    (void)state;
    uint8_t pixels[9 * 7 * 3] = {0};
    const tkr_image in = {9, 7, pixels};
    tkr_image out;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_resize_options nothing = {.width = 3, .height = 0};
    assert_int_equal(tkr_resize(&out, &in, &nothing, &error), TKR_LIMIT);
    assert_string_equal(error.message, "resize of 9 x 7 to 3 x 0 pixels: sides must be 1 to 536870911");
    assert_null(out.rgb);
    const tkr_resize_options torchvision = {.width = 3, .height = 3, .filter = TKR_FILTER_BOX, .torchvision = true};
    assert_int_equal(tkr_resize(&out, &in, &torchvision, &error), TKR_UNSUPPORTED);
    assert_string_equal(error.message,
                        "resize by torchvision's arithmetic: filter 4; supported: 2 bilinear, 3 bicubic");
    for (int filter = TKR_FILTER_NEAREST; filter <= TKR_FILTER_BICUBIC; filter += TKR_FILTER_BICUBIC) {
        for (size_t side = 5; side <= 9; side += 4) { /* both axes, a copy */
            const tkr_resize_options options = {.width = side, .height = side - 2, .filter = (tkr_filter)filter};
            for (size_t n = 0;; n++) {
                size_t left = n;
                tkr_seam_set(fail_at, &left);
                const tkr_status status = tkr_resize(&out, &in, &options, &error);
                tkr_seam_set(NULL, NULL);
                if (status == TKR_OK) {
                    assert_true(n > 0);
                    tkr_image_free(&out);
                    break;
                }
                assert_int_equal(status, TKR_NO_MEMORY);
                assert_null(out.rgb);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pillow),
        cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
