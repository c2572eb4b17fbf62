/* SPDX-License-Identifier: Apache-2.0 */
/* Videos through tkr/embed.h: the golden vectors of files and of frames, poolings against the frames' own vectors,
 * parts of a video, and what is refused. */
#include "vision.h"

enum { MAX_SIZE = 256, N_FILES = 3 };

static const char *const files[N_FILES] = {"moving_h264.mp4", "moving_vp9.webm", "ntsc_h264.mp4"};

typedef struct clip {
    char path[MAX_PATH];
    tkr_part part;
    tkr_input input;
} clip;

static tkr_input *clip_of(clip *c, const char *folder, const char *name, tkr_video_pooling pooling) {
    snprintf(c->path, sizeof c->path, "%s/golden/video/%s/%s", TKR_TEST_DIR, folder, name);
    c->part = (tkr_part){.kind = TKR_PART_VIDEO_FILE, .data = c->path, .n_data = strlen(c->path)};
    c->input = (tkr_input){.kind = TKR_INPUT_PARTS, .parts = &c->part, .n_parts = 1, .video_pooling = pooling};
    return &c->input;
}

static void open_model(embedder *e, const char *folder) {
    char path[MAX_PATH];
    const tkr_model_options options = vision_options();
    tkr_error error = {TKR_OK, NULL, ""};
    snprintf(path, sizeof path, "%s/golden/%s/model", TKR_TEST_DIR, folder);
    if (tkr_model_load(&e->model, path, &options, &error) != TKR_OK ||
        tkr_session_create(&e->session, e->model, &error) != TKR_OK)
        fail_msg("%s: %s", folder, error.message);
}

/* Embeds one input; the vector goes to `out`. */
static tkr_result_item embed_one(float *out, embedder *e, const tkr_input *input) {
    tkr_result *result = embed_all(e, input, 1, NULL);
    tkr_result_item item = tkr_result_get(result, 0);
    assert_true(item.dimensions <= MAX_SIZE);
    memcpy(out, item.rows, item.dimensions * sizeof *out);
    tkr_result_free(&result);
    return item;
}

/* The message of an input that must fail. */
static void refused(embedder *e, const tkr_input *input, tkr_status status, const char *says) {
    tkr_result *result = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_embed(&result, e->session, input, 1, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
    const tkr_result_item item = tkr_result_get(result, 0);
    if (item.status != status || !strstr(item.message, says))
        fail_msg("status %d, \"%s\"; wanted %d, \"%s\"", (int)item.status, item.message ? item.message : "",
                 (int)status, says);
    tkr_result_free(&result);
}

/* ---- native ---- */

/* Files through Qwen3-VL's own path: decoders of the reference and ours differ in their conversion to RGB. */
static void files_meet_the_reference(void **state) {
    (void)state;
    embedder e = {0};
    tkr_tensors *expected = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    open_model(&e, "qwen3_vl/qwen3_vl");
    assert_int_equal(tkr_tensors_open_file(&expected, TKR_TEST_DIR "/golden/video/embeddings.safetensors", &error),
                     TKR_OK);
    for (size_t i = 0; i < N_FILES; i++) {
        clip c;
        char name[64];
        float vector[MAX_SIZE];
        snprintf(name, sizeof name, "qwen3_vl/%s", files[i]);
        const tkr_tensor_view *want = tkr_tensors_find(expected, name);
        const tkr_result_item item = embed_one(vector, &e, clip_of(&c, "files", files[i], TKR_VIDEO_NATIVE));
        assert_int_equal(item.n_frames, 4);
        assert_int_equal(item.dimensions, want->n_elements);
        const double distance = 1 - tkr_cosine(vector, (const float *)want->data, item.dimensions);
        print_message("%s: %.3g\n", files[i], distance);
        assert_true(distance <= 5e-4);
    }
    tkr_tensors_free(&expected);
    embedder_close(&e);
}

/* Ops-MM reads frames as pictures of one input: the golden case of pictures, given as a video. */
static void ops_reads_frames_as_pictures(void **state) {
    (void)state;
    embedder e = {0};
    golden g;
    vision_input v;
    float vector[MAX_SIZE];
    enum { CASE = 9 };
    open_model(&e, "qwen2_vl/qwen2_vl");
    golden_open(&g, "qwen2_vl/qwen2_vl");
    vision_fill(&v, &g, CASE);
    assert_int_equal(v.input.n_parts, 4);
    const tkr_part video = {.kind = TKR_PART_FRAMES, .frames = v.parts, .n_frames = 4};
    tkr_input input = v.input;
    input.parts = &video;
    input.n_parts = 1;
    input.video_pooling = TKR_VIDEO_NATIVE;
    const tkr_result_item item = embed_one(vector, &e, &input);
    const tkr_tensor_view *want = tkr_tensors_find(g.expected, "9.embedding");
    assert_true(1 - tkr_cosine(vector, (const float *)want->data, item.dimensions) <= 1e-8);
    assert_int_equal(item.n_frames, 4);
    golden_close(&g);
    embedder_close(&e);
}

/* ---- pooling ---- */

static void unit(float *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)v[i] * (double)v[i];
    for (size_t i = 0; i < n; i++) v[i] = (float)((double)v[i] / sqrt(sum));
}

static void near(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) assert_true(fabs((double)a[i] - (double)b[i]) < 2e-6);
}

/* A list of pictures, pooled, against their vectors one by one. */
static void pooled_frames_are_their_pictures(void **state) {
    (void)state;
    static const char *const folders[] = {"siglip/siglip", "qwen3_vl/qwen3_vl"};
    for (size_t f = 0; f < 2; f++) {
        embedder e = {0};
        golden g;
        vision_input v;
        float each[4][MAX_SIZE], mean[MAX_SIZE] = {0}, most[MAX_SIZE], got[MAX_SIZE];
        open_model(&e, folders[f]);
        golden_open(&g, "qwen3_vl/qwen3_vl");
        vision_fill(&v, &g, 9);
        tkr_part video = v.parts[0];
        assert_int_equal(video.n_frames, 4);
        tkr_input input = {.kind = TKR_INPUT_PARTS, .n_parts = 1};
        size_t n = 0;
        for (size_t i = 0; i < 4; i++) {
            input.parts = &video.frames[i];
            n = embed_one(each[i], &e, &input).dimensions;
        }
        for (size_t k = 0; k < n; k++) {
            most[k] = each[0][k];
            for (size_t i = 0; i < 4; i++) {
                mean[k] += each[i][k] / 4;
                most[k] = each[i][k] > most[k] ? each[i][k] : most[k];
            }
        }
        const bool normal = tkr_model_get_info(e.model)->normalizes != 0;
        if (normal) unit(mean, n);
        if (normal) unit(most, n);
        input.parts = &video;
        input.video_pooling = TKR_VIDEO_MEAN;
        assert_int_equal(embed_one(got, &e, &input).n_frames, 4);
        near(got, mean, n);
        input.video_pooling = TKR_VIDEO_MAX;
        embed_one(got, &e, &input);
        near(got, most, n);
        input.video_pooling = TKR_VIDEO_FIRST;
        assert_int_equal(embed_one(got, &e, &input).n_frames, 1);
        near(got, each[0], n);
        tkr_part some[4]; /* a picture that can't be read costs itself, and is counted */
        memcpy(some, video.frames, sizeof some);
        some[2] = (tkr_part){.kind = TKR_PART_IMAGE, .data = "none", .n_data = 4};
        video.frames = some;
        input.video_pooling = TKR_VIDEO_MAX;
        const tkr_result_item item = embed_one(got, &e, &input);
        assert_int_equal(item.n_frames, 3);
        assert_int_equal(item.n_lost_frames, 1);
        golden_close(&g);
        embedder_close(&e);
    }
}

/* ---- files ---- */

static void parts_of_a_file(void **state) {
    (void)state;
    embedder e = {0};
    clip c;
    float whole[MAX_SIZE], part[MAX_SIZE];
    open_model(&e, "siglip/siglip");
    tkr_input *input = clip_of(&c, "files", files[0], TKR_VIDEO_MEAN);
    tkr_result_item item = embed_one(whole, &e, input);
    assert_int_equal(item.n_frames, 8);
    assert_true(item.start_s == 0 && fabs(item.end_s - 2.5) < 1e-6);
    c.part.max_frames = 3;
    assert_int_equal(embed_one(part, &e, input).n_frames, 3);
    c.part.max_frames = 100;
    c.part.fps = 4;
    assert_int_equal(embed_one(part, &e, input).n_frames, 10);
    c.part.start_s = 1;
    c.part.end_s = 2;
    item = embed_one(part, &e, input);
    assert_int_equal(item.n_frames, 4);
    assert_true(item.start_s == 1 && item.end_s == 2);
    c.part.start_s = 3;
    c.part.end_s = 4;
    refused(&e, input, TKR_LIMIT, "no frame from 3 s on");
    embedder_close(&e);
}

/* A video among texts and pictures, as bytes and as a file: the same bits as alone, in the order of the inputs. */
static void among_others(void **state) {
    (void)state;
    embedder e = {0};
    clip c;
    float alone[MAX_SIZE], text[MAX_SIZE];
    tkr_buf bytes = {0};
    open_model(&e, "siglip/siglip");
    const tkr_input *video = clip_of(&c, "files", files[1], TKR_VIDEO_MEAN);
    const tkr_input words = {.text = "a moving square", .n_text = 15};
    const size_t n = embed_one(alone, &e, video).dimensions;
    embed_one(text, &e, &words);
    assert_int_equal(tkr_file_read(&bytes, c.path, 1 << 20, NULL), TKR_OK);
    const tkr_part part = {.kind = TKR_PART_VIDEO, .data = bytes.data, .n_data = bytes.size};
    const tkr_input encoded = {.kind = TKR_INPUT_PARTS, .parts = &part, .n_parts = 1};
    const tkr_input inputs[] = {words, *video, words, words, encoded};
    tkr_result *result = embed_all(&e, inputs, 5, NULL);
    for (size_t i = 0; i < 5; i++)
        assert_memory_equal(tkr_result_get(result, i).rows, i == 1 || i == 4 ? alone : text, n * sizeof *alone);
    assert_int_equal(tkr_result_get(result, 0).n_frames, 0);
    assert_int_equal(tkr_result_get(result, 4).n_frames, 8);
    tkr_result_free(&result);
    tkr_buf_free(&bytes);
    embedder_close(&e);
}

static void several_vectors(void **state) {
    (void)state;
    embedder e = {0};
    clip c;
    open_model(&e, "qwen2_5_vl/colqwen2_5");
    tkr_input *input = clip_of(&c, "files", files[0], TKR_VIDEO_MEAN);
    c.part.max_frames = 2;
    input->max_pixels = 160 * 120;
    tkr_result *result = embed_all(&e, input, 1, NULL);
    const tkr_result_item item = tkr_result_get(result, 0);
    assert_true(item.n_rows > 1 && item.n_frames == 2);
    for (size_t r = 0; r < item.n_rows; r++) {
        const float *row = item.rows + r * item.dimensions;
        double sum = 0;
        for (size_t i = 0; i < item.dimensions; i++) sum += (double)row[i] * (double)row[i];
        assert_true(fabs(sum - 1) < 1e-5);
    }
    tkr_result_free(&result);
    embedder_close(&e);
}

/* Text with a video: each frame has it, or all frames together. */
static void text_and_video(void **state) {
    (void)state;
    embedder e = {0};
    clip c;
    float mean[MAX_SIZE], native[MAX_SIZE], bare[MAX_SIZE];
    open_model(&e, "qwen3_vl/qwen3_vl");
    tkr_input *input = clip_of(&c, "files", files[0], TKR_VIDEO_MEAN);
    c.part.max_frames = 4;
    input->max_pixels = 160 * 120;
    const size_t n = embed_one(bare, &e, input).dimensions;
    const tkr_part parts[] = {c.part, {.kind = TKR_PART_TEXT, .data = "moving", .n_data = 6}};
    input->parts = parts;
    input->n_parts = 2;
    embed_one(mean, &e, input);
    input->video_pooling = TKR_VIDEO_NATIVE;
    embed_one(native, &e, input);
    assert_true(1 - tkr_cosine(mean, bare, n) > 1e-4);
    assert_true(1 - tkr_cosine(mean, native, n) > 1e-4);
    embedder_close(&e);
}

/* ---- what is refused ---- */

static void refusals(void **state) {
    (void)state;
    embedder e = {0};
    clip c;
    open_model(&e, "siglip/siglip");
    refused(&e, clip_of(&c, "files", files[0], TKR_VIDEO_NATIVE), TKR_INVALID_ARGUMENT, "native pooling");
    refused(&e, clip_of(&c, "files", "missing.mp4", TKR_VIDEO_MEAN), TKR_NOT_FOUND, "missing.mp4");
    refused(&e, clip_of(&c, "broken", "text.mp4", TKR_VIDEO_MEAN), TKR_UNSUPPORTED, "text.mp4: is no video");
    refused(&e, clip_of(&c, "broken", "empty.webm", TKR_VIDEO_MEAN), TKR_FORMAT, "is empty");
    refused(&e, clip_of(&c, "broken", "truncated.mp4", TKR_VIDEO_MEAN), TKR_UNSUPPORTED, "is no video");
    refused(&e, clip_of(&c, "files", files[0], (tkr_video_pooling)7), TKR_INVALID_ARGUMENT, "video_pooling 7");
    tkr_input *input = clip_of(&c, "files", files[0], TKR_VIDEO_MEAN);
    c.part.max_frames = 5000;
    refused(&e, input, TKR_INVALID_ARGUMENT, "max_frames 5000");
    c.part.max_frames = 0;
    const tkr_part parts[] = {c.part, {.kind = TKR_PART_TEXT, .data = "moving", .n_data = 6}};
    input->parts = parts;
    input->n_parts = 2;
    refused(&e, input, TKR_INVALID_ARGUMENT, "not for both together");
    const tkr_part empty[] = {{.kind = TKR_PART_FRAMES, .n_frames = 3},
                              {.kind = TKR_PART_FRAMES, .frames = parts},
                              {.kind = TKR_PART_VIDEO, .n_data = 9}};
    for (size_t i = 0; i < 3; i++) {
        input->parts = &empty[i];
        input->n_parts = 1;
        refused(&e, input, TKR_INVALID_ARGUMENT, i < 2 ? "part 1 has no frames" : "part 1 has no data");
    }
    embedder_close(&e);
    open_model(&e, "bert/bert-mean");
    refused(&e, clip_of(&c, "files", files[0], TKR_VIDEO_MEAN), TKR_INVALID_ARGUMENT, "bert reads text only");
    embedder_close(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(files_meet_the_reference),
                                       cmocka_unit_test(ops_reads_frames_as_pictures),
                                       cmocka_unit_test(pooled_frames_are_their_pictures),
                                       cmocka_unit_test(parts_of_a_file),
                                       cmocka_unit_test(among_others),
                                       cmocka_unit_test(several_vectors),
                                       cmocka_unit_test(text_and_video),
                                       cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
