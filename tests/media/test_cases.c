/* SPDX-License-Identifier: Apache-2.0 */
/* The pictures of all multimodal cases, from their files to the rows that the vision tower reads: decoded by
 * tkr-decode, resized bytes by their SHA-256, grids, pixel values. */
#include "golden.h"
#include "jail_helpers.h"

#include "media/processor.h"

typedef struct vision_case {
    const char *folder, *processor; /* below golden/ */
    tkr_processor_options options;  /* as the model's config has them */
} vision_case;

#define FIXED(patch, image)                                                                            \
    {                                                                                                  \
        .family = TKR_PROCESSOR_FIXED, .patch_size = patch, .temporal_patch_size = 1, .merge_size = 1, \
        .image_size = image                                                                            \
    }
#define QWEN(kind, patch) \
    { .family = kind, .patch_size = patch, .temporal_patch_size = 2, .merge_size = 2 }
static const vision_case cases[] = {
    {"siglip/siglip", "siglip/siglip/model", FIXED(16, 64)},
    {"siglip/siglip2", "siglip/siglip2/model", FIXED(14, 56)},
    {"siglip/siglip_bf16", "siglip/siglip_bf16/model", FIXED(16, 64)},
    {"clip/clip", "clip/clip/model", FIXED(16, 64)},
    {"qwen2_vl/qwen2_vl", "qwen2_vl/qwen2_vl/model", QWEN(TKR_PROCESSOR_OPS, 14)},
    {"qwen2_vl/qwen2_vl_bf16", "qwen2_vl/qwen2_vl_bf16/model", QWEN(TKR_PROCESSOR_OPS, 14)},
    {"qwen2_5_vl/colqwen2_5", "qwen2_5_vl/colqwen2_5/model", QWEN(TKR_PROCESSOR_QWEN2, 14)},
    {"lora/colqwen2_5_lora", "lora/colqwen2_5_lora/adapter", QWEN(TKR_PROCESSOR_QWEN2, 14)},
    {"qwen3_vl/qwen3_vl", "qwen3_vl/qwen3_vl/model", QWEN(TKR_PROCESSOR_QWEN3_VL, 16)},
};

typedef struct counts {
    size_t hashes, grids, values, rows;
} counts;

static tkr_process_options options_of(const json_t *input) {
    const json_t *limits = json_object_get(input, "processor"), *size = json_object_get(input, "resized_size");
    tkr_process_options o = {.hub_limits = json_is_true(json_object_get(input, "hub_processor")),
                             .interpolate = json_is_true(json_object_get(input, "interpolate_pos_encoding"))};
    if (o.interpolate) {
        o.width = (size_t)json_integer_value(json_array_get(size, 0));
        o.height = (size_t)json_integer_value(json_array_get(size, 1));
    }
    if (!o.hub_limits) {
        o.min_pixels = (size_t)json_integer_value(json_object_get(limits, "min_pixels"));
        o.max_pixels = (size_t)json_integer_value(json_object_get(limits, "max_pixels"));
    }
    return o;
}

/* Where the value of channel c at x, y stands in the rows. */
static size_t place(const tkr_patches *p, const tkr_processor_options *model, size_t c, size_t y, size_t x) {
    const size_t side = model->patch_size, m = model->merge_size, gy = y / side, gx = x / side;
    const size_t row = ((gy / m) * (p->w / m) + gx / m) * m * m + gy % m * m + gx % m;
    return row * p->n_cols + c * model->temporal_patch_size * side * side + y % side * side + x % side;
}

/* The resized bytes, from the rows: a value of the table belongs to one byte. */
static uint8_t *resized_bytes(const tkr_patches *p, const tkr_processor_options *model, const json_t *config) {
    const json_t *means = json_object_get(config, "image_mean"), *stds = json_object_get(config, "image_std");
    uint8_t *rgb = malloc(p->width * p->height * 3);
    assert_non_null(rgb);
    for (size_t i = 0; i < p->width * p->height * 3; i++) {
        const size_t c = i % 3, x = i / 3 % p->width, y = i / 3 / p->width;
        const double mean = json_number_value(json_array_get(means, c)),
                     std = json_number_value(json_array_get(stds, c));
        rgb[i] = (uint8_t)(((double)p->rows[place(p, model, c, y, x)] * std + mean) * 255 + 0.5);
    }
    return rgb;
}

static void check_rows(const golden *expected, const char *id, const char *what, const tkr_patches *p, size_t first_row,
                       counts *n) {
    char name[64];
    size_t n_bytes = 0, n_rows = 0, shape[4] = {0};
    snprintf(name, sizeof name, "%s.%s", id, what);
    const char *rows = golden_find(expected, name, &n_bytes, shape);
    snprintf(name, sizeof name, "%s.%s_index", id, what);
    const char *index = golden_find(expected, name, &n_rows, (size_t[4]){0});
    for (size_t i = 0; index && i < n_rows / 4; i++) {
        int32_t row;
        memcpy(&row, index + 4 * i, sizeof row);
        if ((size_t)row < first_row || (size_t)row >= first_row + p->h * p->w) continue;
        assert_int_equal(shape[1], p->n_cols);
        assert_memory_equal(rows + i * p->n_cols * sizeof(float), p->rows + ((size_t)row - first_row) * p->n_cols,
                            p->n_cols * sizeof(float));
        n->rows++;
    }
}

static void check_values(const golden *expected, const char *id, const tkr_patches *p,
                         const tkr_processor_options *model, counts *n) {
    char name[64];
    size_t n_bytes = 0, shape[4] = {0};
    snprintf(name, sizeof name, "%s.pixel_values", id);
    const char *want = golden_find(expected, name, &n_bytes, shape);
    if (!want) return;
    n->values++;
    assert_int_equal(n_bytes, p->h * p->w * p->n_cols * sizeof(float));
    if (model->family != TKR_PROCESSOR_FIXED) {
        assert_memory_equal(want, p->rows, n_bytes);
        return;
    }
    for (size_t i = 0; i < n_bytes / sizeof(float); i++) { /* [3, height, width] */
        const size_t x = i % shape[2], y = i / shape[2] % shape[1], c = i / shape[2] / shape[1];
        assert_memory_equal(want + i * sizeof(float), &p->rows[place(p, model, c, y, x)], sizeof(float));
    }
}

static void check_input(const vision_case *v, const tkr_processor *processor, const json_t *input, const json_t *config,
                        const golden *expected, tkr_jail *jail, counts *n) {
    const json_t *images = json_object_get(input, "images"), *hashes = json_object_get(input, "resized_sha256");
    const tkr_process_options o = options_of(input);
    char id[24];
    size_t row = 0;
    snprintf(id, sizeof id, "%lld", (long long)json_integer_value(json_object_get(input, "id")));
    for (size_t i = 0; i < json_array_size(images); i++) {
        char path[256];
        tkr_patches p;
        tkr_error error = {TKR_OK, NULL, ""};
        snprintf(path, sizeof path, "golden/%s/%s", v->folder, json_string_value(json_array_get(images, i)));
        tkr_buf bytes = golden_bytes(path);
        tkr_image image = decode_or_fail(jail, path, &bytes, tkr_processor_alpha(processor, &o));
        if (tkr_processor_apply(&p, processor, &image, &o, &error) != TKR_OK) fail_msg("%s: %s", path, error.message);
        const json_t *grid = json_array_get(json_object_get(input, "image_grid_thw"), i);
        if (grid) {
            assert_int_equal(p.t, json_integer_value(json_array_get(grid, 0)));
            assert_int_equal(p.h, json_integer_value(json_array_get(grid, 1)));
            assert_int_equal(p.w, json_integer_value(json_array_get(grid, 2)));
            n->grids++;
        }
        const char *want = json_string_value(json_array_get(hashes, i));
        if (want) {
            char hex[65];
            uint8_t *rgb = resized_bytes(&p, &v->options, config);
            golden_sha256(hex, rgb, p.width * p.height * 3);
            if (strcmp(hex, want) != 0) fail_msg("%s input %s picture %zu: other pixels", v->folder, id, i);
            free(rgb);
            n->hashes++;
        }
        check_rows(expected, id, "pixel_rows", &p, row, n);
        if (json_array_size(images) == 1) check_values(expected, id, &p, &v->options, n);
        row += p.h * p.w;
        tkr_patches_free(&p);
        tkr_image_free(&image);
        tkr_buf_free(&bytes);
    }
}

static void test_cases(void **state) {
    (void)state;
    tkr_jail *jail = open_jail(NULL);
    counts n = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const vision_case *v = &cases[i];
        char path[512];
        tkr_processor *processor = NULL;
        tkr_kernels kernels;
        tkr_error error = {TKR_OK, NULL, ""};
        snprintf(path, sizeof path, "golden/%s/cases.json", v->folder);
        json_t *json = golden_json(path);
        snprintf(path, sizeof path, "golden/%s/expected.safetensors", v->folder);
        golden expected = golden_open(path);
        snprintf(path, sizeof path, "golden/%s/preprocessor_config.json", v->processor);
        json_t *config = golden_json(path);
        snprintf(path, sizeof path, "%s/golden/%s", TKR_TEST_DIR, v->processor);
        tkr_processor_options options = v->options;
        golden_kernels(&kernels);
        options.folder = path;
        options.kernels = &kernels;
        if (tkr_processor_load(&processor, &options, &error) != TKR_OK) fail_msg("%s", error.message);
        const json_t *inputs = json_object_get(json, "inputs");
        for (size_t at = 0; at < json_array_size(inputs); at++) {
            check_input(v, processor, json_array_get(inputs, at), config, &expected, jail, &n);
        }
        tkr_processor_free(&processor);
        golden_close(&expected);
        json_decref(config);
        json_decref(json);
    }
    print_message("%zu hashes, %zu grids, %zu tensors, %zu rows\n", n.hashes, n.grids, n.values, n.rows);
    assert_true(n.hashes == 43 && n.grids == 29 && n.values == 11 && n.rows == 20);
    tkr_jail_free(&jail);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
