/* SPDX-License-Identifier: Apache-2.0 */
/* What the server uses beside tkr_embed: pictures decoded ahead (bits as from their files), times, the model's own
 * tokenizer, a warm start. */
#include <dirent.h>
#include <pthread.h>

#include "core/base64.h"
#include "engine/tools.h"
#include "vision.h"

#define GOLDEN TKR_TEST_DIR "/golden/"
#define FILES GOLDEN "images/files"
#define OPS GOLDEN "qwen2_vl/qwen2_vl/model"
#define QWEN3 GOLDEN "qwen3_vl/qwen3_vl/model"
#define SIGLIP GOLDEN "siglip/siglip/model"

static void open_model(embedder *e, const char *folder) {
    const tkr_model_options options = vision_options();
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_model_load(&e->model, folder, &options, &error) != TKR_OK ||
        tkr_session_create(&e->session, e->model, &error) != TKR_OK)
        fail_msg("%s: %s", folder, error.message);
}

/* ---- pictures ---- */

static bool check_same(embedder *e, const tkr_part *part, const tkr_part *rgb, const char *what) {
    const tkr_input inputs[2] = {{.kind = TKR_INPUT_PARTS, .parts = part, .n_parts = 1},
                                 {.kind = TKR_INPUT_PARTS, .parts = rgb, .n_parts = 1}};
    tkr_result *result = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_embed(&result, e->session, inputs, 2, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
    const tkr_result_item a = tkr_result_get(result, 0), b = tkr_result_get(result, 1);
    assert_int_equal(a.status, b.status); /* some shapes are too slender for the model */
    if (a.status == TKR_OK && memcmp(a.rows, b.rows, a.dimensions * sizeof *a.rows) != 0)
        fail_msg("%s: other bits as decoded pixels", what);
    if (a.status != TKR_OK && (!strstr(a.message, "pixels") || !strstr(b.message, "pixels")))
        fail_msg("%s: %s; %s", what, a.message, b.message);
    const bool seen = a.status == TKR_OK;
    tkr_result_free(&result);
    return seen;
}

/* Whether the model takes it. */
static bool decode_and_compare(embedder *e, const tkr_part *part, const char *what) {
    tkr_part rgb = {0};
    void *pixels = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_tools_decode_picture(&rgb, &pixels, e->model, part, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_int_equal(rgb.kind, TKR_PART_RGB);
    assert_ptr_equal(rgb.data, pixels);
    assert_int_equal(rgb.n_data, rgb.width * rgb.height * 3);
    const bool seen = check_same(e, part, &rgb, what);
    tkr_tools_free_pixels(&pixels);
    assert_null(pixels);
    return seen;
}

/* Every format, transparent ones, too: Qwen3-VL puts them on white, the others drop it. */
static void decoded_pictures_have_the_bits_of_their_files(void **state) {
    (void)state;
    static const char *const models[] = {SIGLIP, QWEN3, OPS};
    for (size_t m = 0; m < 3; m++) {
        embedder e = {0};
        size_t n = 0;
        open_model(&e, models[m]);
        DIR *dir = opendir(FILES);
        for (const struct dirent *entry = dir ? readdir(dir) : NULL; entry; entry = readdir(dir)) {
            char path[600];
            if (entry->d_name[0] == '.') continue;
            snprintf(path, sizeof path, "%s/%s", FILES, entry->d_name);
            n += decode_and_compare(&e, &(tkr_part){.kind = TKR_PART_FILE, .data = path, .n_data = strlen(path)}, path);
        }
        if (dir) closedir(dir);
        assert_true(n > 40);
        embedder_close(&e);
    }
}

static void bytes_and_data_urls(void **state) {
    (void)state;
    embedder e = {0};
    tkr_buf bytes = {0}, url = {0}, fetched = {0};
    tkr_error error = {TKR_OK, NULL, ""};
    open_model(&e, QWEN3);
    assert_int_equal(tkr_file_read(&bytes, FILES "/png_rgba.png", 1 << 20, &error), TKR_OK);
    assert_true(tkr_buf_printf(&url, "data:image/png;base64,") && tkr_base64_encode(&url, bytes.data, bytes.size));
    const tkr_part image = {.kind = TKR_PART_IMAGE, .data = bytes.data, .n_data = bytes.size},
                   data = {.kind = TKR_PART_URL, .data = url.data, .n_data = url.size};
    assert_true(decode_and_compare(&e, &image, "bytes") && decode_and_compare(&e, &data, "url"));
    assert_true(tkr_buf_append(&url, "", 1));
    assert_int_equal(tkr_tools_fetch_picture(&fetched, e.model, url.data, &error), TKR_OK);
    assert_int_equal(fetched.size, bytes.size);
    assert_memory_equal(fetched.data, bytes.data, bytes.size);
    assert_int_equal(tkr_tools_fetch_picture(&fetched, e.model, "https://example.org/a.png", &error), TKR_DENIED);
    assert_int_equal(tkr_tools_fetch_picture(&fetched, e.model, "file:///etc/passwd", &error), TKR_INVALID_ARGUMENT);
    tkr_buf_free(&bytes);
    tkr_buf_free(&url);
    tkr_buf_free(&fetched);
    embedder_close(&e);
}

static void refused_pictures(void **state) {
    (void)state;
    embedder e = {0}, text = {0};
    tkr_part rgb = {0};
    void *pixels = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    open_model(&e, SIGLIP);
    open_model(&text, GOLDEN "bert/bert-mean/model");
    static const char file[] = FILES "/png_rgb.png", broken[] = "\x89PNG\r\n\x1a\n and then nothing";
    const tkr_part good = {.kind = TKR_PART_FILE, .data = file, .n_data = sizeof file - 1};
    const struct {
        tkr_part part;
        tkr_status status;
        const char *says;
    } cases[] = {
        {{.kind = TKR_PART_TEXT, .data = "words", .n_data = 5}, TKR_INVALID_ARGUMENT, "no picture"},
        {{.kind = TKR_PART_RGB, .data = "abc", .n_data = 3, .width = 1, .height = 1}, TKR_INVALID_ARGUMENT, "kind 4"},
        {{.kind = TKR_PART_IMAGE}, TKR_INVALID_ARGUMENT, "no picture"},
        {{.kind = TKR_PART_IMAGE, .data = broken, .n_data = sizeof broken - 1, .name = "logo"}, TKR_FORMAT, "logo"},
        {{.kind = TKR_PART_FILE, .data = "/nowhere/a.png", .n_data = 14}, TKR_NOT_FOUND, "/nowhere/a.png"},
        {{.kind = TKR_PART_URL, .data = "http://example.org/", .n_data = 19}, TKR_DENIED, "picture 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const tkr_status status = tkr_tools_decode_picture(&rgb, &pixels, e.model, &cases[i].part, NULL, &error);
        if (status != cases[i].status || !strstr(error.message, cases[i].says))
            fail_msg("case %zu: %s: %s", i, tkr_status_text(status), error.message);
        assert_null(pixels);
    }
    assert_int_equal(tkr_tools_decode_picture(&rgb, &pixels, text.model, &good, NULL, &error), TKR_INVALID_ARGUMENT);
    embedder_close(&e);
    embedder_close(&text);
}

/* Several threads decode while the session's thread embeds. */
typedef struct decoder {
    tkr_model *model;
    tkr_part rgb;
    void *pixels;
} decoder;

static void *decode_often(void *user) {
    decoder *d = user;
    static const char file[] = FILES "/jpeg_420.jpg";
    const tkr_part part = {.kind = TKR_PART_FILE, .data = file, .n_data = sizeof file - 1};
    for (size_t i = 0; i < 20; i++) {
        tkr_tools_free_pixels(&d->pixels);
        if (tkr_tools_decode_picture(&d->rgb, &d->pixels, d->model, &part, NULL, NULL) != TKR_OK) return user;
    }
    return NULL;
}

static void decoding_in_threads(void **state) {
    (void)state;
    embedder e = {0};
    decoder decoders[3];
    pthread_t threads[3];
    static const char file[] = FILES "/jpeg_420.jpg";
    const tkr_part part = {.kind = TKR_PART_FILE, .data = file, .n_data = sizeof file - 1};
    open_model(&e, SIGLIP);
    for (size_t i = 0; i < 3; i++) {
        decoders[i] = (decoder){.model = e.model};
        assert_int_equal(pthread_create(&threads[i], NULL, decode_often, &decoders[i]), 0);
    }
    for (size_t i = 0; i < 5; i++) assert_true(check_same(&e, &part, &part, "meanwhile"));
    for (size_t i = 0; i < 3; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
        assert_true(check_same(&e, &part, &decoders[i].rgb, "decoded in a thread"));
        tkr_tools_free_pixels(&decoders[i].pixels);
    }
    embedder_close(&e);
}

/* ---- the rest ---- */

static void the_models_tokenizer(void **state) {
    (void)state;
    static const char *const folders[] = {GOLDEN "xlm_roberta/xlmr-e5/model", QWEN3, SIGLIP};
    for (size_t i = 0; i < 3; i++) {
        embedder e = {0};
        tkr_tokenizer *own = NULL;
        tkr_tokens a = {0}, b = {0};
        tkr_error error = {TKR_OK, NULL, ""};
        const tkr_input input = {.text = "a river bank", .n_text = 12};
        open_model(&e, folders[i]);
        const tkr_model_options options = vision_options();
        assert_int_equal(tkr_tokenizer_load(&own, folders[i], &options, &error), TKR_OK);
        assert_int_equal(tkr_tokenize(&a, tkr_tools_tokenizer(e.model), &input, NULL, &error), TKR_OK);
        assert_int_equal(tkr_tokenize(&b, own, &input, NULL, &error), TKR_OK);
        assert_true(a.n == b.n && a.n > 2);
        assert_memory_equal(a.ids, b.ids, a.n * sizeof *a.ids);
        assert_memory_equal(a.offsets, b.offsets, 2 * a.n * sizeof *a.offsets);
        assert_int_equal(tkr_tokenizer_max_tokens(tkr_tools_tokenizer(e.model)),
                         tkr_model_get_info(e.model)->max_tokens);
        tkr_tokens_free(&a);
        tkr_tokens_free(&b);
        tkr_tokenizer_free(&own);
        embedder_close(&e);
    }
}

static tkr_status wait_a_little(void *user, const tkr_progress *progress) {
    (void)user;
    for (const double end = tkr_now() + (progress->may_block ? 0.3 : 0); tkr_now() < end;) continue;
    return TKR_OK;
}

static void times_of_a_call(void **state) {
    (void)state;
    embedder e = {0};
    tkr_embed_options o;
    tkr_input inputs[20];
    static const char file[] = FILES "/jpeg_420.jpg";
    const tkr_part part = {.kind = TKR_PART_FILE, .data = file, .n_data = sizeof file - 1};
    open_model(&e, SIGLIP);
    for (size_t i = 0; i < 20; i++) inputs[i] = (tkr_input){.text = "a river bank", .n_text = 12};
    inputs[3] = (tkr_input){.kind = TKR_INPUT_PARTS, .parts = &part, .n_parts = 1};
    tkr_embed_options_init(&o);
    for (int waits = 0; waits < 2; waits++) {
        double pictures = -1, tokenize = -1, forward = -1;
        o.check = waits ? wait_a_little : NULL;
        const double begin = tkr_now();
        tkr_result *result = embed_all(&e, inputs, 20, &o);
        const double all = tkr_now() - begin;
        tkr_tools_result_times(result, &pictures, &tokenize, &forward);
        assert_true(pictures > 0 && tokenize > 0 && forward > 0);
        assert_true(pictures + tokenize + forward <= all - (waits ? 0.3 : 0)); /* waiting is none of it */
        assert_true(waits || pictures + tokenize + forward > all / 2);
        tkr_result_free(&result);
    }
    embedder_close(&e);
}

static void warm_up(void **state) {
    (void)state;
    const char *const models[] = {SIGLIP,
                                  QWEN3,
                                  OPS,
                                  GOLDEN "clip/clip/model",
                                  GOLDEN "qwen2_5_vl/colqwen2_5/model",
                                  GOLDEN "bert/bert-mean/model",
                                  minilm_reference()};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        embedder e = {0};
        tkr_error error = {TKR_OK, NULL, ""};
        open_model(&e, models[i]);
        const double begin = tkr_now();
        if (tkr_tools_warm_up(e.session, &error) != TKR_OK) fail_msg("%s: %s", models[i], error.message);
        print_message("%s: warm after %.0f ms\n", models[i], 1e3 * (tkr_now() - begin));
        embedder_close(&e);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoded_pictures_have_the_bits_of_their_files),
        cmocka_unit_test(bytes_and_data_urls),
        cmocka_unit_test(refused_pictures),
        cmocka_unit_test(decoding_in_threads),
        cmocka_unit_test(the_models_tokenizer),
        cmocka_unit_test(times_of_a_call),
        cmocka_unit_test(warm_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
