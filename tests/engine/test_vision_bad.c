/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures that can't be read among good ones, inputs that a model has no vector for, limits, adapters without their
 * base model; the same picture by other ways in. */
#define _GNU_SOURCE
#include <unistd.h>

#include "core/base64.h"
#include "core/fsops.h"
#include "engine/engine.h"
#include "vision.h"

#define GOLDEN TKR_TEST_DIR "/golden/"
#define DEMO GOLDEN "siglip/siglip/model"
#define OPS GOLDEN "qwen2_vl/qwen2_vl/model"
#define COLQWEN GOLDEN "qwen2_5_vl/colqwen2_5/model"
#define GOOD GOLDEN "siglip/siglip/inputs/a.png"
#define OTHER GOLDEN "siglip/siglip/inputs/b.jpg"

static void open_with(embedder *e, const char *folder, const tkr_model_options *options) {
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_model_load(&e->model, folder, options, &error) != TKR_OK ||
        tkr_session_create(&e->session, e->model, &error) != TKR_OK)
        fail_msg("%s: %s", folder, error.message);
}

static void open_default(embedder *e, const char *folder) {
    const tkr_model_options options = vision_options();
    open_with(e, folder, &options);
}

static tkr_part file_part(const char *path) {
    return (tkr_part){.kind = TKR_PART_FILE, .data = path, .n_data = strlen(path)};
}

static tkr_part text_part(const char *text) {
    return (tkr_part){.kind = TKR_PART_TEXT, .data = text, .n_data = strlen(text)};
}

static tkr_input parts_input(const tkr_part *parts, size_t n) {
    return (tkr_input){.kind = TKR_INPUT_PARTS, .parts = parts, .n_parts = n};
}

/* The only input's outcome must be this status, and its message must say this. */
static void refuses(embedder *e, const tkr_input *input, tkr_status status, const char *says) {
    tkr_result *result = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_embed(&result, e->session, input, 1, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
    const tkr_result_item item = tkr_result_get(result, 0);
    if (item.status != status || !strstr(item.message, says))
        fail_msg("expected \"%s\", got %s: %s", says, tkr_status_text(item.status), item.message);
    assert_null(item.rows);
    assert_int_equal(item.n_rows, 0);
    tkr_result_free(&result);
}

/* ---- pictures ---- */

static void broken_among_good(void **state) {
    static const char *const paths[] = {GOOD,
                                        GOLDEN "images/broken/text.jpg",
                                        OTHER,
                                        GOLDEN "images/broken/jpeg_header_only.jpg",
                                        GOLDEN "none.png",
                                        GOLDEN,
                                        GOOD};
    enum { N = sizeof paths / sizeof *paths };
    embedder e;
    tkr_part parts[N];
    tkr_input inputs[N];
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_result *all = NULL;
    (void)state;
    open_default(&e, DEMO);
    for (size_t i = 0; i < N; i++) {
        parts[i] = file_part(paths[i]);
        inputs[i] = parts_input(&parts[i], 1);
    }
    if (tkr_embed(&all, e.session, inputs, N, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
    for (size_t i = 0; i < N; i++) {
        const tkr_result_item item = tkr_result_get(all, i);
        if (i == 0 || i == 2 || i == N - 1) {
            tkr_result *alone = embed_all(&e, &inputs[i], 1, NULL);
            assert_int_equal(item.status, TKR_OK);
            assert_memory_equal(item.rows, tkr_result_get(alone, 0).rows, tkr_result_dimensions(all) * sizeof(float));
            tkr_result_free(&alone);
        } else {
            assert_int_not_equal(item.status, TKR_OK);
            if (!strstr(item.message, paths[i])) fail_msg("the message doesn't name the file: %s", item.message);
        }
    }
    tkr_result_free(&all);
    embedder_close(&e);
}

/* File, bytes, data URL and pixels give the same bits. */
static void other_ways_in(void **state) {
    embedder e;
    tkr_buf bytes = {0}, url = {0};
    tkr_error error = {TKR_OK, NULL, ""};
    (void)state;
    open_default(&e, DEMO);
    assert_int_equal(tkr_file_read(&bytes, GOOD, 1 << 20, &error), TKR_OK);
    assert_true(tkr_buf_printf(&url, "data:image/png;base64,") && tkr_base64_encode(&url, bytes.data, bytes.size));
    tkr_image image = {0};
    assert_int_equal(tkr_jail_image(&image, e.model->jail, "a", bytes.data, bytes.size, TKR_ALPHA_DROP, NULL, &error),
                     TKR_OK);
    const tkr_part parts[] = {file_part(GOOD),
                              {.kind = TKR_PART_IMAGE, .data = bytes.data, .n_data = bytes.size},
                              {.kind = TKR_PART_URL, .data = url.data, .n_data = url.size},
                              {.kind = TKR_PART_RGB,
                               .data = image.rgb,
                               .n_data = image.width * image.height * 3,
                               .width = image.width,
                               .height = image.height}};
    tkr_input inputs[4];
    for (size_t i = 0; i < 4; i++) inputs[i] = parts_input(&parts[i], 1);
    tkr_result *result = embed_all(&e, inputs, 4, NULL);
    for (size_t i = 1; i < 4; i++)
        assert_memory_equal(tkr_result_get(result, i).rows, tkr_result_get(result, 0).rows,
                            tkr_result_dimensions(result) * sizeof(float));
    tkr_result_free(&result);
    tkr_image_free(&image);
    tkr_buf_free(&bytes);
    tkr_buf_free(&url);
    embedder_close(&e);
}

static void bad_sources(void **state) {
    static const unsigned char pixels[12];
    embedder e;
    (void)state;
    open_default(&e, DEMO);
    const struct {
        tkr_part part;
        tkr_status status;
        const char *says;
    } rows[] = {
        {{.kind = TKR_PART_URL, .data = "data:image/png,abc", .n_data = 18}, TKR_FORMAT, "base64"},
        {{.kind = TKR_PART_URL, .data = "data:;base64,!", .n_data = 14}, TKR_FORMAT, "base64"},
        {{.kind = TKR_PART_URL, .data = "file:///etc/passwd", .n_data = 18}, TKR_INVALID_ARGUMENT, "http"},
        {{.kind = TKR_PART_URL, .data = "http://127.0.0.1/", .n_data = 17}, TKR_DENIED, "--allow-url"},
        {{.kind = TKR_PART_RGB, .data = pixels, .n_data = 12, .width = 2, .height = 3}, TKR_INVALID_ARGUMENT, "2 x 3"},
        {{.kind = TKR_PART_RGB, .data = pixels, .n_data = 12, .width = 0, .height = 3}, TKR_INVALID_ARGUMENT, "0 x 3"},
        {{.kind = TKR_PART_IMAGE, .data = "", .n_data = 0}, TKR_FORMAT, "picture 1"},
        {{.kind = TKR_PART_IMAGE, .data = "no", .n_data = 2, .name = "my.png"}, TKR_UNSUPPORTED, "my.png"},
        {{.kind = TKR_PART_FILE, .data = "a\0b", .n_data = 3}, TKR_INVALID_ARGUMENT, "NUL"},
        {{.kind = TKR_PART_FILE, .n_data = 3}, TKR_INVALID_ARGUMENT, "no data"},
        {{.kind = (tkr_part_kind)77, .data = "a", .n_data = 1}, TKR_INVALID_ARGUMENT, "77"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const tkr_input input = parts_input(&rows[i].part, 1);
        refuses(&e, &input, rows[i].status, rows[i].says);
    }
    embedder_close(&e);
}

/* ---- inputs without a vector ---- */

static void what_a_model_cannot_read(void **state) {
    const tkr_part both[] = {text_part("a cat"), file_part(GOOD)}, two[] = {file_part(GOOD), file_part(OTHER)};
    tkr_input input = parts_input(&both[1], 1);
    embedder e;
    (void)state;
    open_default(&e, GOLDEN "bert/bert-mean/model");
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "bert reads text only");
    input = parts_input(both, 1); /* text alone is fine as a part, too */
    tkr_input plain = {.text = "a cat", .n_text = 5};
    tkr_result *a = embed_all(&e, &input, 1, NULL), *b = embed_all(&e, &plain, 1, NULL);
    assert_memory_equal(tkr_result_get(a, 0).rows, tkr_result_get(b, 0).rows, tkr_result_dimensions(a) * sizeof(float));
    tkr_result_free(&a);
    tkr_result_free(&b);
    assert_string_equal(tkr_model_get_info(e.model)->modalities, "text");
    assert_int_equal(tkr_model_get_info(e.model)->max_images, 0);
    embedder_close(&e);

    open_default(&e, DEMO);
    assert_string_equal(tkr_model_get_info(e.model)->modalities, "text, image");
    input = parts_input(both, 2);
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "not for both together");
    input = parts_input(two, 2);
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "takes 1 of an input");
    input = parts_input(two, 0);
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "has none");
    input = (tkr_input){.kind = TKR_INPUT_PAIR, .text = "a", .n_text = 1, .pair = "b", .n_pair = 1};
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "text pair");
    input = parts_input(two, 1);
    input.max_pixels = 1000;
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "64 x 64");
    input.max_pixels = 0;
    input.width = 32;
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "without interpolate");
    input.interpolate = 1;
    input.height = 33;
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "33");
    input = (tkr_input){.text = "a", .n_text = 1, .instruction = "Find it."};
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "instruction");
    embedder_close(&e);

    open_default(&e, COLQWEN);
    assert_string_equal(tkr_model_get_info(e.model)->modalities, "text, image");
    input = parts_input(both, 2);
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "not for both together");
    embedder_close(&e);
}

static void placeholders_in_text(void **state) {
    static const char text[] = "see <|image_pad|> here", video[] = "see <|video_pad|>";
    const int32_t ids[] = {5, 492, 6};
    const tkr_part parts[] = {file_part(GOOD), text_part(text)};
    embedder e;
    (void)state;
    open_default(&e, OPS);
    assert_string_equal(tkr_model_get_info(e.model)->modalities, "text, image, text+image, images");
    tkr_input input = {.text = text, .n_text = sizeof text - 1};
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "<|image_pad|>");
    input = (tkr_input){.text = video, .n_text = sizeof video - 1};
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "<|video_pad|>");
    input = parts_input(parts, 2);
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "<|image_pad|>");
    input = (tkr_input){.kind = TKR_INPUT_TOKENS, .ids = ids, .n_ids = 3};
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "492");
    input = (tkr_input){.text = "a", .n_text = 1, .interpolate = 1};
    input.kind = TKR_INPUT_PARTS;
    input.parts = parts;
    input.n_parts = 1;
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "any size");
    input.interpolate = 0;
    input.hub_limits = 1;
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "qwen3_vl");
    input.hub_limits = 0;
    input.min_pixels = 9000;
    input.max_pixels = 8000;
    refuses(&e, &input, TKR_INVALID_ARGUMENT, "9000");
    embedder_close(&e);
}

/* ---- limits ---- */

static void limits(void **state) {
    tkr_model_options options = vision_options();
    const tkr_part part = file_part(GOOD);
    tkr_part many[64];
    tkr_input input = parts_input(&part, 1);
    embedder e;
    (void)state;
    options.max_image_bytes = 100;
    open_with(&e, DEMO, &options);
    refuses(&e, &input, TKR_LIMIT, "100");
    embedder_close(&e);
    options.max_image_bytes = 0;
    options.max_image_pixels = 100;
    open_with(&e, DEMO, &options);
    refuses(&e, &input, TKR_LIMIT, "a.png");
    embedder_close(&e);
    options = vision_options();
    options.max_pixels = 20000;
    open_with(&e, OPS, &options);
    const tkr_model_info *info = tkr_model_get_info(e.model);
    assert_true(e.model->plan.group_patches >= 100 && e.model->plan.group_patches < 1000);
    assert_true(info->max_image_patches > 10 * e.model->plan.group_patches); /* of an input in groups */
    input.max_pixels = 2000000;
    input.min_pixels = 1000000;
    refuses(&e, &input, TKR_LIMIT, "memory is planned for");
    for (size_t i = 0; i < 64; i++) many[i] = part;
    input = parts_input(many, 64);
    e.model->plan.max_patches = e.model->plan.group_patches; /* as with less memory */
    refuses(&e, &input, TKR_LIMIT, "pictures have");
    embedder_close(&e);
    options.max_pixels = 0;
    options.max_tokens = 100;
    open_with(&e, OPS, &options);
    input = parts_input(many, 1);
    refuses(&e, &input, TKR_LIMIT, "the limit is 100");
    static const char text[] =
        "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l m n o p q r s t "
        "u v w x y z a b c d e f g h i j k l m n o p q r s t u v w x y z";
    input = (tkr_input){.text = text, .n_text = sizeof text - 1}; /* the template's end must stay */
    refuses(&e, &input, TKR_LIMIT, "can't be cut");
    embedder_close(&e);
}

/* One input's vector when its tower reads so many patches at a time. NULL: a picture is larger than that. */
static tkr_result *in_groups(embedder *e, const tkr_input *input, size_t patches) {
    tkr_result *result = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    e->model->plan.group_patches = patches;
    if (tkr_embed(&result, e->session, input, 1, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
    const tkr_result_item item = tkr_result_get(result, 0);
    if (item.status == TKR_OK) return result;
    if (!strstr(item.message, "a picture")) fail_msg("%s", item.message);
    tkr_result_free(&result);
    return NULL;
}

/* Pictures of one input in groups of any size, features for deeper layers included: the same bits. */
static void groups_of_pictures(void **state) {
    enum { N = 8 };
    (void)state;
    static const char *const models[] = {OPS, GOLDEN "qwen3_vl/qwen3_vl/model"};
    static const char *const files[] = {GOOD, OTHER, GOLDEN "images/files/jpeg_420.jpg"};
    for (size_t m = 0; m < 2; m++) {
        embedder e = {0};
        tkr_part parts[N];
        size_t n_compared = 0;
        tkr_model_options options = vision_options();
        options.max_pixels = 8192; /* many fit in a golden's few tokens */
        open_with(&e, models[m], &options);
        for (size_t i = 0; i < N; i++) parts[i] = i == N - 1 ? text_part("what is on these?") : file_part(files[i % 3]);
        const tkr_input input = parts_input(parts, N);
        tkr_result *want = in_groups(&e, &input, 100000);
        assert_non_null(want);
        const tkr_result_item row = tkr_result_get(want, 0);
        for (size_t patches = 4; patches < 500; patches += 12) {
            tkr_result *got = in_groups(&e, &input, patches);
            if (!got) continue;
            assert_memory_equal(tkr_result_get(got, 0).rows, row.rows, row.dimensions * sizeof *row.rows);
            tkr_result_free(&got);
            n_compared++;
        }
        assert_true(n_compared > 20);
        tkr_result_free(&want);
        embedder_close(&e);
    }
}

/* Many more pictures than the tower has room for at a time stay inside of the planned workspace. */
static void a_hundred_pictures(void **state) {
    enum { N = 100 };
    (void)state;
    embedder e = {0};
    tkr_part parts[N];
    tkr_model_options options = vision_options();
    options.max_pixels = 20000;
    open_with(&e, OPS, &options);
    for (size_t i = 0; i < N; i++) parts[i] = file_part(i % 2 ? GOOD : OTHER);
    tkr_input input = parts_input(parts, N);
    input.min_pixels = 15000;
    tkr_result *result = embed_all(&e, &input, 1, NULL);
    assert_true(tkr_result_get(result, 0).n_tokens * 4 > 10 * e.model->plan.group_patches);
    tkr_result_free(&result);
    embedder_close(&e);
}

/* Far more pictures than are held at a time: the bits of each alone. */
static void many_pictures(void **state) {
    enum { N = 120 };
    tkr_model_options options = vision_options();
    const tkr_part parts[2] = {file_part(GOOD), file_part(OTHER)};
    tkr_input inputs[N];
    embedder e;
    (void)state;
    open_with(&e, DEMO, &options);
    e.model->plan.picture_bytes = 3 * 16 * 768 * sizeof(float); /* three pictures' worth */
    for (size_t i = 0; i < N; i++) {
        inputs[i] = parts_input(&parts[i % 2], 1);
        if (i % 7 == 3) inputs[i] = (tkr_input){.text = "a cat", .n_text = 5};
    }
    tkr_result *all = embed_all(&e, inputs, N, NULL);
    const size_t bytes = tkr_result_dimensions(all) * sizeof(float);
    for (size_t k = 0; k < 4; k++) {
        tkr_result *alone = embed_all(&e, &inputs[k], 1, NULL);
        for (size_t i = k; i < N; i++)
            if (i % 7 == 3 ? k == 3 : k < 3 && i % 2 == k % 2 && k < 2)
                assert_memory_equal(tkr_result_get(all, i).rows, tkr_result_get(alone, 0).rows, bytes);
        tkr_result_free(&alone);
    }
    tkr_result_free(&all);
    embedder_close(&e);
}

static tkr_status stop_later(void *user, const tkr_progress *progress) {
    size_t *calls = user;
    (void)progress;
    return ++*calls > 3 ? TKR_CANCELLED : TKR_OK;
}

static void cancelled(void **state) {
    enum { N = 40 };
    const tkr_part part = file_part(GOOD);
    tkr_input inputs[N];
    tkr_embed_options options;
    tkr_result *result = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    size_t calls = 0;
    embedder e;
    (void)state;
    open_default(&e, DEMO);
    for (size_t i = 0; i < N; i++) inputs[i] = parts_input(&part, 1);
    tkr_embed_options_init(&options);
    options.check = stop_later;
    options.check_user = &calls;
    assert_int_equal(tkr_embed(&result, e.session, inputs, N, &options, &error), TKR_CANCELLED);
    assert_null(result);
    result = embed_all(&e, inputs, N, NULL); /* the session is good for another call */
    tkr_result_free(&result);
    embedder_close(&e);
}

/* ---- checkpoints ---- */

static void load_fails(const char *folder, const tkr_model_options *options, tkr_status status, const char *says) {
    tkr_model *model = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_status got = tkr_model_load(&model, folder, options, &error);
    if (got != status || !strstr(error.message, says))
        fail_msg("%s: expected \"%s\", got %s: %s", folder, says, tkr_status_text(got), error.message);
    assert_null(model);
}

/* A copy of a checkpoint's links without one file. */
static void link_without(char *folder, const char *from, const char *without) {
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
                                        "preprocessor_config.json"};
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char target[MAX_PATH], link[MAX_PATH];
        if (strcmp(names[i], without) == 0) continue;
        snprintf(target, sizeof target, "%s/%s", from, names[i]);
        snprintf(link, sizeof link, "%s/%s", folder, names[i]);
        assert_int_equal(symlink(target, link), 0);
    }
}

static void missing_files(void **state) {
    char first[] = "/tmp/tkr-vision-XXXXXX", second[] = "/tmp/tkr-vision-XXXXXX";
    const tkr_model_options options = vision_options();
    (void)state;
    link_without(first, DEMO, "preprocessor_config.json");
    load_fails(first, &options, TKR_NOT_FOUND, "preprocessor_config.json");
    link_without(second, DEMO, "tokenizer_config.json");
    load_fails(second, &options, TKR_NOT_FOUND, "tokenizer_config.json");
    assert_int_equal(tkr_fs_remove_tree(first, NULL), TKR_OK);
    assert_int_equal(tkr_fs_remove_tree(second, NULL), TKR_OK);
}

static void adapters(void **state) {
    static const char adapter[] = GOLDEN "lora/colqwen2_5_lora/adapter";
    tkr_model_options options = vision_options();
    (void)state;
    load_fails(adapter, &options, TKR_NOT_FOUND, "vidore/colqwen2.5-base");
    options.base = GOLDEN "none";
    load_fails(adapter, &options, TKR_NOT_FOUND, "none");
    options.base = OPS;
    load_fails(adapter, &options, TKR_FORMAT, "custom_text_proj");
    options.base = adapter;
    load_fails(adapter, &options, TKR_UNSUPPORTED, "is an adapter itself");
    options.base = COLQWEN;
    load_fails(DEMO, &options, TKR_INVALID_ARGUMENT, "is no adapter");
    options.base = NULL;
    options.pooling = "mean";
    load_fails(COLQWEN, &options, TKR_INVALID_ARGUMENT, "one vector a token");
    options.pooling = NULL;
    options.max_pixels = 100;
    load_fails(DEMO, &options, TKR_INVALID_ARGUMENT, "64 x 64");
}

/* The merged model isn't taken for its base. */
static void fingerprints(void **state) {
    tkr_model_options options = vision_options();
    embedder base, merged, other_order;
    (void)state;
    open_with(&base, COLQWEN, &options);
    options.base = COLQWEN;
    open_with(&merged, GOLDEN "lora/colqwen2_5_lora/adapter", &options);
    options.base = NULL;
    options.horizontal_first = 1;
    open_with(&other_order, COLQWEN, &options);
    const char *a = tkr_model_get_info(base.model)->fingerprint;
    assert_string_not_equal(a, tkr_model_get_info(merged.model)->fingerprint);
    assert_string_not_equal(a, tkr_model_get_info(other_order.model)->fingerprint);
    embedder_close(&base);
    embedder_close(&merged);
    embedder_close(&other_order);
}

/* Without its decoder a model still reads texts and pixels. */
static void no_decoder(void **state) {
    static const unsigned char pixels[3 * 8 * 8];
    tkr_model_options options = vision_options();
    const tkr_part part = file_part(GOOD),
                   rgb = {.kind = TKR_PART_RGB, .data = pixels, .n_data = sizeof pixels, .width = 8, .height = 8};
    embedder e;
    (void)state;
    options.decoder = GOLDEN "none";
    open_with(&e, DEMO, &options);
    tkr_input input = parts_input(&part, 1);
    refuses(&e, &input, TKR_IO, "golden/none");
    const tkr_input good[] = {parts_input(&rgb, 1), {.text = "a", .n_text = 1}};
    tkr_result *result = embed_all(&e, good, 2, NULL);
    tkr_result_free(&result);
    embedder_close(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_among_good),    cmocka_unit_test(other_ways_in),
        cmocka_unit_test(bad_sources),          cmocka_unit_test(what_a_model_cannot_read),
        cmocka_unit_test(placeholders_in_text), cmocka_unit_test(limits),
        cmocka_unit_test(groups_of_pictures),   cmocka_unit_test(a_hundred_pictures),
        cmocka_unit_test(many_pictures),        cmocka_unit_test(cancelled),
        cmocka_unit_test(missing_files),        cmocka_unit_test(adapters),
        cmocka_unit_test(fingerprints),         cmocka_unit_test(no_decoder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
