/* SPDX-License-Identifier: Apache-2.0 */
/* The readers of tkr-decode in this process (so that emulators test them too): every golden file has Pillow's bytes,
 * and an allocation that fails is an error. Nothing beyond the result's room is written. */
#include "../media/golden.h"

#include "../countdown.h"
#include "decode/decode.h"

/* Decodes with the n-th allocation failing; returns whether there was an n-th. */
static bool decode_with_fault(const tkr_buf *bytes, uint8_t *out, size_t max_pixels, long n) {
    countdown count = {n};
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_decoding d = {
        .bytes = (const uint8_t *)bytes->data, .n_bytes = bytes->size, .out = out, .max_pixels = max_pixels};
    tkr_seam_set(fail_nth, &count);
    const tkr_status status = tkr_decode_image(&d, &error);
    tkr_seam_set(NULL, NULL);
    if (count.left >= 0) return false;
    assert_int_equal(status, TKR_NO_MEMORY);
    assert_true(error.message[0] != '\0');
    return true;
}

static void check_file(const json_t *entry, const char *folder) {
    const char *name = golden_string(entry, "file");
    char relative[512], hex[65];
    snprintf(relative, sizeof relative, "golden/images/%s/%s", folder, name);
    tkr_buf bytes = golden_bytes(relative);
    const size_t width = (size_t)json_integer_value(json_object_get(entry, "width"));
    const size_t height = (size_t)json_integer_value(json_object_get(entry, "height"));
    for (int white = 0; white < 2; white++) {
        uint8_t *out = tkr_malloc(width * height * 3); /* exactly: a sanitizer sees a byte too many */
        tkr_error error = {TKR_OK, NULL, ""};
        tkr_decoding d = {.bytes = (const uint8_t *)bytes.data,
                          .n_bytes = bytes.size,
                          .out = out,
                          .max_pixels = width * height,
                          .on_white = white == 1};
        assert_non_null(out);
        if (tkr_decode_image(&d, &error) != TKR_OK) fail_msg("%s: %s", name, error.message);
        assert_int_equal(d.width, width);
        assert_int_equal(d.height, height);
        golden_sha256(hex, out, width * height * 3);
        const bool composited = white && json_object_get(entry, "rgb_on_white_sha256");
        const char *expected = golden_string(entry, composited ? "rgb_on_white_sha256" : "rgb_sha256");
        if (strcmp(hex, expected) != 0) fail_msg("%s: other pixels than Pillow's", name);
        for (long n = 0; decode_with_fault(&bytes, out, width * height, n); n++) {
        }
        tkr_free(out);
    }
    tkr_buf_free(&bytes);
}

static void check_list(const char *list, const char *folder, size_t n_files) {
    json_t *doc = golden_json(list);
    const json_t *files = json_object_get(doc, "files");
    assert_int_equal(json_array_size(files), n_files);
    for (size_t i = 0; i < n_files; i++) check_file(json_array_get(files, i), folder);
    json_decref(doc);
}

static void golden_files(void **state) {
    (void)state;
    check_list("golden/images/decode.json", "files", 59);
    check_list("golden/images/formats.json", "formats", 184);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
