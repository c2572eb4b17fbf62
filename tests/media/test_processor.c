/* SPDX-License-Identifier: Apache-2.0 */
/* Processors against transformers' (Pillow backend): pixel values, grids, smart_resize; and what
 * preprocessor_config.json may say. */
#include "golden.h"

#include <math.h>

#include "core/fsops.h"
#include "core/pool.h"
#include "media/processor_internal.h"

/* A processor of a model with these sizes from the text of a file, or fails. */
static tkr_processor read_or_fail(tkr_processor model, json_t *json) {
    tkr_error error = {TKR_OK, NULL, ""};
    golden_kernels(&model.kernels);
    if (tkr_processor_read(&model, json, "file", &error) != TKR_OK) fail_msg("%s", error.message);
    return model;
}

static tkr_patches apply_or_fail(const tkr_processor *p, const tkr_image *image, const tkr_process_options *options) {
    tkr_patches patches;
    size_t t = 0, h = 0, w = 0;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_processor_apply(&patches, p, image, options, &error) != TKR_OK) fail_msg("%s", error.message);
    if (tkr_processor_grid(&t, &h, &w, p, image->width, image->height, options, &error) != TKR_OK) {
        fail_msg("%s", error.message);
    }
    assert_true(t == patches.t && h == patches.h && w == patches.w);
    assert_int_equal(patches.n_cols, 3 * p->temporal_patch_size * p->patch_size * p->patch_size);
    return patches;
}

/* The same values as [channel, y, x] of a picture without temporal patches. */
static float *to_planes(const tkr_patches *patches, size_t side) {
    const size_t width = patches->w * side, height = patches->h * side;
    float *planes = malloc(3 * width * height * sizeof *planes);
    assert_non_null(planes);
    for (size_t i = 0; i < 3 * width * height; i++) {
        const size_t c = i / (width * height), y = i / width % height, x = i % width;
        const size_t row = y / side * patches->w + x / side, column = c * side * side + y % side * side + x % side;
        planes[i] = patches->rows[row * patches->n_cols + column];
    }
    return planes;
}

static tkr_processor model_of(const char *name) {
    if (strcmp(name, "siglip") == 0)
        return (tkr_processor){.family = TKR_PROCESSOR_FIXED,
                               .patch_size = 8,
                               .temporal_patch_size = 1,
                               .merge_size = 1,
                               .image_size = 32};
    if (strcmp(name, "siglip2") == 0)
        return (tkr_processor){.family = TKR_PROCESSOR_FIXED,
                               .patch_size = 16,
                               .temporal_patch_size = 1,
                               .merge_size = 1,
                               .image_size = 48};
    if (strcmp(name, "clip") == 0)
        return (tkr_processor){.family = TKR_PROCESSOR_FIXED,
                               .patch_size = 16,
                               .temporal_patch_size = 1,
                               .merge_size = 1,
                               .image_size = 32};
    return (tkr_processor){.family = TKR_PROCESSOR_QWEN2,
                           .patch_size = strcmp(name, "qwen2_vl") == 0 ? 14 : 16,
                           .temporal_patch_size = 2,
                           .merge_size = 2};
}

static const char *type_of(const char *name) {
    return strncmp(name, "siglip", 6) == 0 ? "SiglipImageProcessor"
           : strcmp(name, "clip") == 0     ? "CLIPImageProcessor"
                                           : "Qwen2VLImageProcessorFast";
}

/* The reference of these rows (transformers 5.23) lays every kind of transparency on white. */
static tkr_image picture_of(const char *file, const golden *pixels, const golden *on_white) {
    return golden_image(json_object_get(on_white->header, file) ? on_white : pixels, file);
}

static void check_row(const json_t *row, const golden *pixels, const golden *on_white, const golden *expected) {
    const char *name = golden_string(row, "processor"), *tensor = golden_string(row, "tensor");
    json_t *json = json_deep_copy(json_object_get(row, "options"));
    json_object_set_new(json, "image_processor_type", json_string(type_of(name)));
    const tkr_processor p = read_or_fail(model_of(name), json);
    tkr_image image = picture_of(golden_string(row, "file"), pixels, on_white);
    tkr_patches patches = apply_or_fail(&p, &image, NULL);
    const size_t n = patches.h * patches.w * patches.n_cols;
    float *planes = p.family == TKR_PROCESSOR_FIXED ? to_planes(&patches, p.patch_size) : NULL;
    const float *got = planes ? planes : patches.rows;
    char hex[65];
    golden_sha256(hex, got, n * sizeof *got);
    if (strcmp(hex, golden_string(row, "pixel_values_sha256")) != 0) fail_msg("%s: other bits", tensor);
    const json_t *grid = json_array_get(json_object_get(row, "image_grid_thw"), 0);
    if (grid) {
        assert_int_equal(patches.t, json_integer_value(json_array_get(grid, 0)));
        assert_int_equal(patches.h, json_integer_value(json_array_get(grid, 1)));
        assert_int_equal(patches.w, json_integer_value(json_array_get(grid, 2)));
    }
    size_t n_bytes = 0, shape[4] = {0};
    const char *want = golden_find(expected, tensor, &n_bytes, shape);
    if (json_is_true(json_object_get(row, "stored"))) {
        assert_non_null(want);
        assert_int_equal(n_bytes, n * sizeof *got);
        assert_memory_equal(got, want, n_bytes);
    }
    free(planes);
    tkr_patches_free(&patches);
    tkr_image_free(&image);
    json_decref(json);
}

/* processors.json: the golden rows; processors_more.json: further settings, of tools/gen_golden_processors.py. */
static void check_rows(const char *file, size_t n) {
    golden pixels = golden_open("golden/images/rgb.safetensors.xz");
    golden on_white = golden_open("golden/images/rgb_on_white.safetensors.xz");
    golden expected = golden_open("golden/images/processors.safetensors.xz");
    json_t *cases = golden_json(file);
    const json_t *rows = json_object_get(cases, "rows");
    assert_int_equal(json_array_size(rows), n);
    for (size_t i = 0; i < n; i++) {
        check_row(json_array_get(rows, i), &pixels, &on_white, &expected);
    }
    json_decref(cases);
    golden_close(&pixels);
    golden_close(&on_white);
    golden_close(&expected);
}

/* The torchvision backend: every stored tensor, 1 in 255 levels apart from the Pillow backend's at most. */
static void test_torchvision(void **state) {
    (void)state;
    golden pixels = golden_open("golden/images/rgb.safetensors.xz");
    golden expected = golden_open("golden/images/torchvision.safetensors.xz");
    json_t *cases = golden_json("golden/images/processors.json");
    const json_t *rows = json_object_get(cases, "rows");
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *name = golden_string(row, "processor");
        size_t n_bytes = 0, shape[4] = {0};
        const float *want = golden_find(&expected, golden_string(row, "tensor"), &n_bytes, shape);
        if (!want) continue;
        json_t *json = json_deep_copy(json_object_get(row, "options"));
        json_object_set_new(json, "image_processor_type", json_string(type_of(name)));
        tkr_processor model = model_of(name);
        model.torchvision = true;
        const tkr_processor p = read_or_fail(model, json);
        tkr_image image = golden_image(&pixels, golden_string(row, "file"));
        tkr_patches patches = apply_or_fail(&p, &image, NULL);
        float *planes = p.family == TKR_PROCESSOR_FIXED ? to_planes(&patches, p.patch_size) : NULL;
        const float *got = planes ? planes : patches.rows;
        for (size_t at = 0; at < n_bytes / sizeof(float); at++) {
            float one;
            memcpy(&one, (const char *)want + at * sizeof(float), sizeof one);
            if (!(fabsf(got[at] - one) <= 1e-6f)) {
                fail_msg("%s at %zu: %.9g, not %.9g", golden_string(row, "tensor"), at, (double)got[at], (double)one);
            }
        }
        n++;
        free(planes);
        tkr_patches_free(&patches);
        tkr_image_free(&image);
        json_decref(json);
    }
    assert_int_equal(n, 5);
    json_decref(cases);
    golden_close(&pixels);
    golden_close(&expected);
}

static void test_pixel_values(void **state) {
    (void)state;
    check_rows("golden/images/processors.json", 20);
    check_rows("golden/images/processors_more.json", 12);
}

/* ---- smart_resize ---- */

static void check_smart_resize(char *const field[9], size_t first, bool at_least_factor) {
    const tkr_smart_resize_options options = {.factor = strtoul(field[2], NULL, 10),
                                              .min_pixels = strtoul(field[3], NULL, 10),
                                              .max_pixels = strtoul(field[4], NULL, 10),
                                              .at_least_factor = at_least_factor};
    const size_t height = strtoul(field[0], NULL, 10), width = strtoul(field[1], NULL, 10);
    size_t w = 0, h = 0;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_status status = tkr_smart_resize(&w, &h, width, height, &options, &error);
    if (strcmp(field[first], "error") == 0) {
        assert_int_equal(status, TKR_LIMIT);
        assert_non_null(strstr(error.message, "one side is more than 200 times the other"));
    } else if (status != TKR_OK || h != strtoul(field[first], NULL, 10) || w != strtoul(field[first + 1], NULL, 10)) {
        fail_msg("%zu x %zu: %zu x %zu, not %s x %s", width, height, w, h, field[first + 1], field[first]);
    }
}

static void test_smart_resize(void **state) {
    (void)state;
    tkr_buf text = golden_bytes("golden/images/smart_resize.tsv");
    size_t n = 0;
    char *line = strchr(text.data, '\n') + 1;
    for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1, n++) {
        char *field[9];
        *end = '\0';
        for (size_t i = 0; i < 9; i++) {
            field[i] = strtok(i ? NULL : line, "\t");
            assert_non_null(field[i]);
        }
        check_smart_resize(field, 5, false);
        check_smart_resize(field, 7, true);
    }
    assert_int_equal(n, 500);
    tkr_buf_free(&text);
}

/* Figures of models.md: sentence-transformers' tests, the Ops-MM recipe, Qwen3-VL's fetch_image. */
static void test_known_grids(void **state) {
    (void)state;
    static const struct {
        tkr_processor_family family;
        size_t patch, width, height, max_pixels, grid_w, grid_h;
    } known[] = {
        {TKR_PROCESSOR_QWEN2, 14, 100, 100, 0, 8, 8},
        {TKR_PROCESSOR_QWEN2, 14, 640, 480, 0, 46, 34},
        {TKR_PROCESSOR_QWEN2, 14, 4000, 3000, 0, 82, 60},
        {TKR_PROCESSOR_QWEN2, 14, 13, 2000, 0, 2, 50},
        {TKR_PROCESSOR_QWEN2, 14, 1024, 768, 602112, 64, 48},
        {TKR_PROCESSOR_OPS, 14, 224, 224, 0, 32, 32},
        {TKR_PROCESSOR_OPS, 14, 100, 1000, 0, 12, 102},
        {TKR_PROCESSOR_OPS, 14, 640, 480, 0, 46, 34},
        {TKR_PROCESSOR_QWEN3_VL, 16, 336, 336, 0, 20, 20},
        {TKR_PROCESSOR_QWEN3_VL, 16, 4000, 3000, 0, 96, 72},
        {TKR_PROCESSOR_QWEN3_VL, 16, 32, 32, 0, 4, 4},
        /* a maximum below the family's minimum */
        {TKR_PROCESSOR_OPS, 14, 100, 100, 50176, 8, 8},
        {TKR_PROCESSOR_OPS, 14, 640, 480, 50176, 18, 12},
        /* ratio over 200: refused but by Ops-MM, where 84 x 21504 becomes 56 x 16016, is cut to 56 x 11200 */
        {TKR_PROCESSOR_OPS, 14, 84, 21504, 0, 4, 800},
        /* 28 x 5600 after the cut has too few pixels for the processor behind it */
        {TKR_PROCESSOR_OPS, 14, 28, 7168, 0, 4, 454},
    };
    json_t *json = json_pack("{}");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const tkr_processor p = read_or_fail(
            (tkr_processor){
                .family = known[i].family, .patch_size = known[i].patch, .temporal_patch_size = 2, .merge_size = 2},
            json);
        const tkr_process_options options = {.max_pixels = known[i].max_pixels};
        size_t t = 0, h = 0, w = 0;
        assert_int_equal(tkr_processor_grid(&t, &h, &w, &p, known[i].width, known[i].height, &options, NULL), TKR_OK);
        if (t != 1 || h != known[i].grid_h || w != known[i].grid_w) {
            fail_msg("%zu x %zu: grid %zu x %zu, not %zu x %zu", known[i].width, known[i].height, w, h, known[i].grid_w,
                     known[i].grid_h);
        }
    }
    json_decref(json);
}

/* ---- fields ---- */

typedef struct refusal {
    tkr_processor_family family;
    const char *json;
    tkr_status status;
    const char *message;
} refusal;

#define SIGLIP "\"image_processor_type\": \"SiglipImageProcessor\""
#define CLIP "\"feature_extractor_type\": \"CLIPFeatureExtractor\""
static const refusal refusals[] = {
    {TKR_PROCESSOR_FIXED, "[]", TKR_FORMAT, "file: holds an array, expected an object"},
    {TKR_PROCESSOR_FIXED, "{}", TKR_FORMAT,
     "file: field \"image_processor_type\" is missing, expected SiglipImageProcessor or CLIPImageProcessor"},
    {TKR_PROCESSOR_FIXED, "{\"image_processor_type\": \"ViTImageProcessor\"}", TKR_UNSUPPORTED,
     "file: image_processor_type \"ViTImageProcessor\" is not supported; supported: SiglipImageProcessor, "
     "CLIPImageProcessor, Qwen2VLImageProcessor, each also with Fast at its end"},
    {TKR_PROCESSOR_QWEN2, "{\"image_processor_type\": \"Qwen2VLImageProcessorFaster\"}", TKR_UNSUPPORTED, NULL},
    {TKR_PROCESSOR_QWEN2, "{" SIGLIP "}", TKR_UNSUPPORTED,
     "file: image_processor_type \"SiglipImageProcessor\" does not belong to this architecture"},
    {TKR_PROCESSOR_FIXED, "{\"image_processor_type\": \"Qwen2VLImageProcessor\"}", TKR_UNSUPPORTED, NULL},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP ", \"size\": 32}", TKR_UNSUPPORTED,
     "file: size with shortest_edge without do_center_crop gives pictures of different sizes, the model takes 32 x 32"},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP ", \"do_resize\": false}", TKR_UNSUPPORTED, NULL},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP "}", TKR_FORMAT, "file: size is 224 x 224, but the model's image_size is 32"},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP ", \"size\": {\"height\": 32, \"width\": 48}}", TKR_FORMAT,
     "file: size is 48 x 32, but the model's image_size is 32"},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP ", \"size\": {\"height\": 32}}", TKR_FORMAT,
     "file: field \"size\" must hold height and width, or shortest_edge"},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP ", \"size\": {\"longest_edge\": 32}}", TKR_FORMAT, NULL},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP ", \"size\": {\"height\": 32, \"width\": 32, \"shortest_edge\": 32}}", TKR_FORMAT,
     NULL},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP ", \"size\": {\"max_height\": 32, \"width\": 32}}", TKR_UNSUPPORTED,
     "file: size with \"max_height\" is not supported; supported: height and width, shortest_edge, longest_edge, "
     "min_pixels, max_pixels"},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP ", \"size\": [32, 0]}", TKR_FORMAT,
     "file: field \"size\" must hold two sizes of 1 to 65536"},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP ", \"size\": \"big\"}", TKR_FORMAT, NULL},
    {TKR_PROCESSOR_FIXED, "{" CLIP ", \"size\": 32}", TKR_FORMAT,
     "file: crop_size is 224 x 224, but the model's image_size is 32"},
    {TKR_PROCESSOR_FIXED, "{" CLIP ", \"crop_size\": {\"shortest_edge\": 32}}", TKR_FORMAT,
     "file: field \"crop_size\" must hold height and width"},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP ", \"resample\": 5}", TKR_UNSUPPORTED,
     "file: resample 5 is not supported; supported: 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic, 4 box"},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP ", \"do_convert_rgb\": false}", TKR_UNSUPPORTED,
     "file: do_convert_rgb false is not supported; supported: true"},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP ", \"do_pad\": true}", TKR_UNSUPPORTED, NULL},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP ", \"image_mean\": [0.5, 0.5]}", TKR_FORMAT,
     "file: field \"image_mean\" must hold three numbers"},
    {TKR_PROCESSOR_FIXED, "{" SIGLIP ", \"image_std\": 0}", TKR_FORMAT,
     "file: field \"image_std\" holds 0, expected 1e-06 to 1e6"},
    {TKR_PROCESSOR_QWEN2, "{\"patch_size\": 16}", TKR_FORMAT, "file: patch_size is 16, but the model's is 14"},
    {TKR_PROCESSOR_QWEN2, "{\"merge_size\": 1}", TKR_FORMAT, NULL},
    {TKR_PROCESSOR_QWEN2, "{\"do_resize\": false}", TKR_UNSUPPORTED, NULL},
    {TKR_PROCESSOR_QWEN2, "{\"size\": {\"height\": 28, \"width\": 28}}", TKR_FORMAT,
     "file: field \"size\" must hold shortest_edge and longest_edge (in pixels)"},
    {TKR_PROCESSOR_QWEN2, "{\"min_pixels\": 4000, \"max_pixels\": 3999}", TKR_FORMAT,
     "file: min_pixels 4000 is more than max_pixels 3999"},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const refusal *r = &refusals[i];
        tkr_processor p = {.family = r->family,
                           .patch_size = r->family == TKR_PROCESSOR_FIXED ? 16 : 14,
                           .temporal_patch_size = 2,
                           .merge_size = 2,
                           .image_size = 32};
        json_t *json = NULL;
        tkr_error error = {TKR_OK, NULL, ""};
        assert_int_equal(tkr_json_parse(&json, r->json, strlen(r->json), "test", &error), TKR_OK);
        const tkr_status status = tkr_processor_read(&p, json, "file", &error);
        if (status != r->status) fail_msg("%s: status %d: %s", r->json, (int)status, error.message);
        if (r->message) assert_string_equal(error.message, r->message);
        json_decref(json);
    }
}

/* All spellings of one setting give one processor. */
static void test_spellings(void **state) {
    (void)state;
    static const char *const clips[] = {
        "{" CLIP ", \"size\": 40, \"crop_size\": 32}",
        "{" CLIP ", \"size\": {\"shortest_edge\": 40}, \"crop_size\": [32, 32], \"do_center_crop\": null}",
        "{\"image_processor_type\": \"CLIPImageProcessorFast\", \"size\": {\"shortest_edge\": 40, \"longest_edge\": "
        "null},"
        " \"crop_size\": {\"height\": 32, \"width\": 32}, \"image_std\": [0.26862954, 0.26130258, 0.27577711]}",
    };
    static const char *const qwens[] = {
        "{\"min_pixels\": 3136, \"max_pixels\": 12845056}",
        "{\"size\": {\"min_pixels\": 3136, \"max_pixels\": 12845056}}",
        "{\"size\": {\"shortest_edge\": 3136, \"longest_edge\": 12845056}, \"min_pixels\": null}",
        "{\"size\": {\"shortest_edge\": 100, \"longest_edge\": 200}, \"min_pixels\": 3136, \"max_pixels\": 12845056}",
        "{\"image_processor_type\": \"Qwen2_5_VLImageProcessor\", \"max_pixels\": 12845056, \"patch_size\": 14}",
    };
    for (size_t family = 0; family < 2; family++) {
        tkr_processor first;
        for (size_t i = 0; i < (family ? sizeof qwens / sizeof *qwens : sizeof clips / sizeof *clips); i++) {
            const char *text = family ? qwens[i] : clips[i];
            json_t *json = NULL;
            assert_int_equal(tkr_json_parse(&json, text, strlen(text), "test", NULL), TKR_OK);
            tkr_processor model;
            memset(&model, 0, sizeof model);
            model.family = family ? TKR_PROCESSOR_QWEN2 : TKR_PROCESSOR_FIXED;
            model.patch_size = family ? 14 : 16;
            model.temporal_patch_size = model.merge_size = 2;
            model.image_size = 32;
            const tkr_processor p = read_or_fail(model, json);
            if (i == 0) first = p;
            assert_true(p.min_pixels == first.min_pixels && p.max_pixels == first.max_pixels);
            assert_true(p.shortest == first.shortest && p.longest == first.longest && p.crop == first.crop);
            assert_true(p.width == 0 && p.height == 0 && p.filter == TKR_FILTER_BICUBIC);
            assert_memory_equal(p.table, first.table, sizeof p.table);
            json_decref(json);
        }
        assert_int_equal(family ? first.max_pixels : first.shortest, family ? 12845056 : 40);
    }
}

/* Flags of the arithmetic; a crop of a smaller picture is black around it; no resize. */
static void test_flags(void **state) {
    (void)state;
    static const char text[] = "{" CLIP ", \"do_resize\": false, \"crop_size\": 4, \"do_normalize\": false, "
                               "\"rescale_factor\": 0.5}";
    uint8_t rgb[2 * 7 * 3];
    const tkr_image image = {.width = 7, .height = 2, .rgb = rgb};
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)(i + 1);
    json_t *json = NULL;
    assert_int_equal(tkr_json_parse(&json, text, strlen(text), "test", NULL), TKR_OK);
    tkr_processor model = {
        .family = TKR_PROCESSOR_FIXED, .patch_size = 4, .temporal_patch_size = 1, .merge_size = 1, .image_size = 4};
    tkr_processor p = read_or_fail(model, json);
    tkr_patches patches = apply_or_fail(&p, &image, NULL);
    assert_int_equal(patches.n_cols, 48);
    for (size_t i = 0; i < 48; i++) {
        const size_t c = i / 16, y = i / 4 % 4, x = i % 4;
        const float want = y == 1 || y == 2 ? 0.5f * (float)(((y - 1) * 7 + 1 + x) * 3 + c + 1) : 0;
        assert_true(patches.rows[i] == want);
    }
    tkr_patches_free(&patches);
    json_object_set_new(json, "do_rescale", json_false());
    json_object_set_new(json, "do_normalize", json_true());
    json_object_set_new(json, "image_mean", json_real(1));
    json_object_set_new(json, "image_std", json_real(2));
    p = read_or_fail(model, json);
    patches = apply_or_fail(&p, &image, NULL);
    assert_true(patches.rows[0] == -0.5f && patches.rows[4] == 1.5f && patches.rows[16 + 4] == 2.0f);
    tkr_patches_free(&patches);
    json_decref(json);
}

/* ---- files ---- */

static void write_text(const char *folder, const char *name, const char *text) {
    char *path = tkr_path_join(folder, name);
    assert_int_equal(tkr_file_write_atomic(path, text, strlen(text), NULL), TKR_OK);
    tkr_free(path);
}

static void test_files(void **state) {
    (void)state;
    const char *folder = TKR_BUILD_DIR "/tests/processor-files";
    tkr_processor *p = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_processor_options options = {.folder = folder,
                                           .family = TKR_PROCESSOR_QWEN3_VL,
                                           .patch_size = 16,
                                           .temporal_patch_size = 2,
                                           .merge_size = 2};
    assert_int_equal(tkr_fs_remove_tree(folder, NULL), TKR_OK);
    assert_int_equal(tkr_mkdirs(folder, NULL), TKR_OK);
    assert_int_equal(tkr_processor_load(&p, &options, &error), TKR_NOT_FOUND);
    assert_non_null(strstr(error.message, "preprocessor_config.json: no such file"));
    assert_null(p);
    write_text(folder, "processor_config.json", "{\"processor_class\": \"X\"}");
    assert_int_equal(tkr_processor_load(&p, &options, &error), TKR_NOT_FOUND);
    write_text(folder, "preprocessor_config.json", "{\"patch_size\": 16, \"min_pixels\": 65536}");
    assert_int_equal(tkr_processor_load(&p, &options, &error), TKR_OK);
    assert_int_equal(p->min_pixels, 65536);
    const tkr_process_options hub = {.hub_limits = true};
    assert_int_equal(tkr_processor_alpha(p, NULL), TKR_ALPHA_WHITE);
    assert_int_equal(tkr_processor_alpha(p, &hub), TKR_ALPHA_DROP);
    tkr_processor_free(&p);
    write_text(folder, "processor_config.json", "{\"image_processor\": {\"patch_size\": 14}}");
    assert_int_equal(tkr_processor_load(&p, &options, &error), TKR_FORMAT);
    assert_non_null(strstr(error.message, "processor_config.json: patch_size is 14, but the model's is 16"));
    write_text(folder, "processor_config.json", "{");
    assert_int_equal(tkr_processor_load(&p, &options, &error), TKR_FORMAT);
    assert_null(p);
    tkr_processor_free(&p);
    assert_int_equal(tkr_fs_remove_tree(folder, NULL), TKR_OK);
}

/* ---- bad pictures and options, no memory ---- */

static void check_bad(const tkr_processor *p, size_t width, size_t height, const tkr_process_options *options,
                      tkr_status status, const char *message) {
    tkr_patches patches;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_image image = {.width = width, .height = height, .rgb = NULL};
    assert_int_equal(tkr_processor_apply(&patches, p, &image, options, &error), status);
    assert_string_equal(error.message, message);
    assert_null(patches.rows);
}

static void test_bad_pictures(void **state) {
    (void)state;
    json_t *json = json_pack("{s:s}", "image_processor_type", "SiglipImageProcessor");
    json_object_set_new(json, "size", json_pack("[i,i]", 32, 32));
    tkr_processor fixed = {
        .family = TKR_PROCESSOR_FIXED, .patch_size = 16, .temporal_patch_size = 1, .merge_size = 1, .image_size = 32};
    fixed = read_or_fail(fixed, json);
    json_object_clear(json);
    tkr_processor qwen = {.family = TKR_PROCESSOR_QWEN2, .patch_size = 14, .temporal_patch_size = 2, .merge_size = 2};
    qwen = read_or_fail(qwen, json);
    tkr_processor qwen3 = qwen;
    qwen3.family = TKR_PROCESSOR_QWEN3_VL;
    const tkr_process_options odd = {.interpolate = true, .width = 40}, crossed = {.min_pixels = 9, .max_pixels = 8};
    const tkr_process_options huge = {.min_pixels = (size_t)1 << 40, .max_pixels = (size_t)1 << 41};
    const tkr_process_options small = {.min_pixels = 3136, .max_pixels = 18816};
    check_bad(&fixed, 0, 7, NULL, TKR_LIMIT, "a picture of 0 x 7 pixels: sides must be 1 to 178956970");
    check_bad(&fixed, 5, 7, &odd, TKR_INVALID_ARGUMENT, "a size of 40 x 32 pixels is no multiple of the patch size 16");
    check_bad(&qwen, 1, 201, NULL, TKR_LIMIT, "a picture of 1 x 201 pixels: one side is more than 200 times the other");
    check_bad(&qwen, 5, 7, &crossed, TKR_INVALID_ARGUMENT, "min_pixels 9 is more than max_pixels 8");
    check_bad(&qwen, 5, 7, &huge, TKR_INVALID_ARGUMENT, "a picture may have 178956970 pixels at most");
    check_bad(&qwen3, 999, 5, &small, TKR_LIMIT, "a picture of 999 x 5 pixels does not fit into max_pixels 18816");
    qwen.min_pixels = (size_t)1 << 30;
    qwen.max_pixels = (size_t)1 << 31;
    check_bad(&qwen, 28, 28, NULL, TKR_LIMIT,
              "a picture of 28 x 28 pixels would be resized to 32788 x 32788; at most 178956970 pixels are allowed");
    json_decref(json);
}

static bool fail_at(void *user, char kind) {
    size_t *left = user;
    return kind != 'a' || (*left)-- != 0;
}

static void test_no_memory(void **state) {
    (void)state;
    uint8_t rgb[40 * 30 * 3] = {0};
    const tkr_image image = {.width = 40, .height = 30, .rgb = rgb};
    const char *folder = TKR_BUILD_DIR "/tests/processor-memory";
    const tkr_processor_options options = {.folder = folder,
                                           .family = TKR_PROCESSOR_FIXED,
                                           .patch_size = 16,
                                           .temporal_patch_size = 1,
                                           .merge_size = 1,
                                           .image_size = 32};
    assert_int_equal(tkr_mkdirs(folder, NULL), TKR_OK);
    write_text(folder, "preprocessor_config.json", "{" CLIP ", \"size\": 32, \"crop_size\": 32}");
    size_t failures = 0;
    for (bool done = false; !done; failures++) {
        size_t left = failures;
        tkr_processor *p = NULL;
        tkr_patches patches = {0};
        tkr_error error = {TKR_OK, NULL, ""};
        tkr_seam_set(fail_at, &left);
        tkr_status status = tkr_processor_load(&p, &options, &error);
        if (status == TKR_OK) status = tkr_processor_apply(&patches, p, &image, NULL, &error);
        tkr_seam_set(NULL, NULL);
        done = status == TKR_OK;
        assert_true(done || (status == TKR_NO_MEMORY && strlen(error.message) > 3 && !patches.rows));
        tkr_patches_free(&patches);
        tkr_processor_free(&p);
    }
    assert_true(failures > 12);
    assert_int_equal(tkr_fs_remove_tree(folder, NULL), TKR_OK);
}

/* A pool changes nothing. */
static void test_threads(void **state) {
    (void)state;
    json_t *json = json_pack("{}");
    tkr_processor p = {.family = TKR_PROCESSOR_QWEN2, .patch_size = 14, .temporal_patch_size = 2, .merge_size = 2};
    p = read_or_fail(p, json);
    tkr_image image = {.width = 213, .height = 160, .rgb = tkr_malloc(213 * 160 * 3)};
    for (size_t i = 0; i < 213 * 160 * 3; i++) image.rgb[i] = (uint8_t)(i * i % 253);
    tkr_process_options options = {0};
    tkr_patches alone = apply_or_fail(&p, &image, &options);
    assert_int_equal(tkr_pool_create(&options.pool, 4, NULL), TKR_OK);
    tkr_patches shared = apply_or_fail(&p, &image, &options);
    assert_memory_equal(alone.rows, shared.rows, alone.h * alone.w * alone.n_cols * sizeof(float));
    tkr_pool_free(&options.pool);
    tkr_patches_free(&alone);
    tkr_patches_free(&shared);
    tkr_image_free(&image);
    json_decref(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pixel_values), cmocka_unit_test(test_torchvision), cmocka_unit_test(test_smart_resize),
        cmocka_unit_test(test_known_grids),  cmocka_unit_test(test_refusals),    cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_flags),        cmocka_unit_test(test_files),       cmocka_unit_test(test_bad_pictures),
        cmocka_unit_test(test_no_memory),    cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
