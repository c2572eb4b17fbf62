/* SPDX-License-Identifier: Apache-2.0 */
/* Texts and pictures of a two-tower golden, from token ids and pixel values to vectors, for tests of the network. */
#ifndef TESTS_MODELS_TWO_TOWERS_H
#define TESTS_MODELS_TWO_TOWERS_H

#include "models/towers.h"
#include "network.h"

enum { MAX_PICTURES = 8 };

/* Pictures as the tower reads them. */
typedef struct pictures {
    tkr_visual visuals[MAX_PICTURES];
    size_t n, n_patches, cols;
    float *patches; /* [n_patches, cols] */
} pictures;

static inline void pictures_free(pictures *p) {
    free(p->patches);
    memset(p, 0, sizeof *p);
}

static inline float *pictures_add(pictures *p, const network *n, size_t h, size_t w) {
    assert_true(p->n < MAX_PICTURES);
    p->cols = n->vision.patch_cols;
    p->patches = realloc(p->patches, (p->n_patches + h * w) * p->cols * sizeof(float));
    assert_non_null(p->patches);
    float *rows = p->patches + p->n_patches * p->cols;
    p->visuals[p->n++] = (tkr_visual){1, h, w};
    p->n_patches += h * w;
    return rows;
}

/* pixels [3, h * patch, w * patch] to rows (channel, y, x). */
static inline void pictures_add_pixels(pictures *p, const network *n, const float *pixels, size_t h, size_t w) {
    const size_t side = n->vision.patch_size, height = h * side, width = w * side;
    float *row = pictures_add(p, n, h, w);
    for (size_t i = 0; i < h * w; i++)
        for (size_t c = 0; c < 3; c++)
            for (size_t y = 0; y < side; y++, row += side)
                memcpy(row, pixels + (c * height + i / w * side + y) * width + i % w * side, side * sizeof *row);
}

/* RGB bytes of a resized picture, "<input>.rgb", normalised as SigLIP's processor does. */
static inline void pictures_add_rgb(pictures *p, const network *n, const char *folder, size_t input) {
    const json_t *size = json_object_get(json_array_get(json_object_get(n->cases, "inputs"), input), "resized_size");
    const size_t width = (size_t)json_integer_value(json_array_get(size, 0)),
                 height = (size_t)json_integer_value(json_array_get(size, 1)), area = width * height;
    char path[700];
    tkr_map map = {0};
    tkr_error error = {TKR_OK, NULL, ""};
    snprintf(path, sizeof path, "%s/golden/%s/%zu.rgb", TKR_TEST_DIR, folder, input);
    if (tkr_map_open(&map, path, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_int_equal(map.size, 3 * area);
    const uint8_t *bytes = (const uint8_t *)map.data;
    float *pixels = calloc(3 * area, sizeof *pixels);
    assert_non_null(pixels);
    for (size_t i = 0; i < 3 * area; i++) pixels[i % 3 * area + i / 3] = ((float)bytes[i] / 255.0f - 0.5f) / 0.5f;
    pictures_add_pixels(p, n, pixels, height / n->vision.patch_size, width / n->vision.patch_size);
    free(pixels);
    tkr_map_close(&map);
}

static inline void pictures_add_random(pictures *p, const network *n, size_t h, size_t w) {
    uint32_t seed = (uint32_t)(h * 31 + w);
    float *row = pictures_add(p, n, h, w);
    for (size_t i = 0; i < h * w * p->cols; i++) {
        seed = seed * 1664525u + 1013904223u;
        row[i] = (float)(seed >> 8) / (float)(1u << 23) - 1;
    }
}

/* All pictures that the golden has the pixels of; inputs[i]: which input the i-th is. */
static inline void pictures_of_case(pictures *p, size_t *inputs, const network *n, const char *folder) {
    for (size_t i = 0; i < network_inputs(n); i++) {
        const tkr_tensor_view *values = network_expected(n, i, "pixel_values");
        const json_t *input = json_array_get(json_object_get(n->cases, "inputs"), i);
        const bool other_size = json_is_true(json_object_get(input, "interpolate_pos_encoding"));
        if (!values && !other_size) continue;
        inputs[p->n] = i;
        const size_t side = n->vision.image_size / n->vision.patch_size;
        if (values)
            pictures_add_pixels(p, n, values->data, side, side);
        else
            pictures_add_rgb(p, n, folder, i);
    }
    assert_true(p->n > 0);
}

static inline tkr_batch pictures_batch(const pictures *p) {
    return (tkr_batch){.visuals = p->visuals,
                       .n_visuals = p->n,
                       .patches = p->patches,
                       .n_patches = p->n_patches,
                       .patch_cols = p->cols};
}

/* Vectors [n, out_size], not normalised; the caller frees them. */
static inline float *pictures_encode(network *n, const pictures *p, const tkr_run_options *options) {
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_batch batch = pictures_batch(p);
    float *out = calloc(p->n * n->vision.out_size, sizeof *out);
    assert_non_null(out);
    tkr_ops_cpu.run_begin(n->run, options);
    tkr_tensor *x = tkr_arch_encode(n->model, n->run, &batch);
    if (tkr_ops_cpu.read(n->run, out, x) != TKR_OK) {
        tkr_ops_cpu.run_status(n->run, &error);
        fail_msg("%s", error.message);
    }
    assert_int_equal(tkr_ops_cpu.rows(x), p->n);
    assert_int_equal(tkr_ops_cpu.cols(x), n->vision.out_size);
    tkr_ops_cpu.release(n->run, &x);
    return out;
}

#endif
