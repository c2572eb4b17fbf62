/* SPDX-License-Identifier: Apache-2.0 */
/* Fails the N-th allocation and the N-th file operation of embedding videos, for every N: a clean error and no leak
 * each time. */
#include "fault.h"

#include "vision.h"

static embedder e;
static tkr_video_pooling pooling;
static char last_message[TKR_ERROR_MESSAGE_SIZE];

/* A file, pooled or read as a whole, and the same among texts. */
static tkr_status embed_videos(void) {
    static const char path[] = TKR_TEST_DIR "/golden/video/files/moving_vp9.webm";
    tkr_result *result = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_part part = {.kind = TKR_PART_VIDEO_FILE,
                           .data = path,
                           .n_data = sizeof path - 1,
                           .max_frames = 4,
                           .max_pixels = pooling == TKR_VIDEO_NATIVE ? 20000 : 0};
    const tkr_input inputs[] = {{.text = "a moving square", .n_text = 15},
                                {.kind = TKR_INPUT_PARTS, .parts = &part, .n_parts = 1, .video_pooling = pooling}};
    tkr_status status = tkr_session_create(&e.session, e.model, &error);
    if (status == TKR_OK) status = tkr_embed(&result, e.session, inputs, 2, NULL, &error);
    if (status != TKR_OK) {
        assert_true(strlen(error.message) > 3);
        assert_null(result);
        memcpy(last_message, error.message, sizeof last_message);
    }
    for (size_t i = 0; status == TKR_OK && i < 2; i++) {
        const tkr_result_item item = tkr_result_get(result, i);
        if (item.status == TKR_OK) continue;
        assert_non_null(item.message);
        assert_null(item.rows);
        snprintf(last_message, sizeof last_message, "%s", item.message);
        status = item.status;
    }
    tkr_result_free(&result);
    tkr_session_free(&e.session);
    return status;
}

static size_t n_run;

/* A failure may cost the decoder's process; the next call, which nothing hits, has one again. Under the sanitizers,
 * which take four times as long, each model looks at a third of the places, which are the same but for a few. */
static tkr_status embed_and_recover(void) {
    const tkr_status status = embed_videos();
    if (status != TKR_OK && (COUNTS_BLOCKS || n_run++ % 3 == 0)) assert_int_equal(embed_videos(), TKR_OK);
    return status;
}

static const struct {
    const char *folder;
    tkr_video_pooling pooling;
} cases[] = {{"siglip/siglip", TKR_VIDEO_MEAN},
             {"qwen2_vl/qwen2_vl", TKR_VIDEO_NATIVE},
             {"qwen3_vl/qwen3_vl", TKR_VIDEO_NATIVE}};

static void sweep(char kind, size_t least) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[MAX_PATH];
        tkr_model_options options = vision_options();
        options.threads = 1; /* and one decoder, so that blocks can be counted */
        tkr_error error = {TKR_OK, NULL, ""};
        snprintf(path, sizeof path, "%s/golden/%s/model", TKR_TEST_DIR, cases[i].folder);
        pooling = cases[i].pooling;
        n_run = i;
        if (tkr_model_load(&e.model, path, &options, &error) != TKR_OK) fail_msg("%s: %s", path, error.message);
        const size_t runs = fault_sweep(&(fault_case){embed_and_recover, last_message}, kind);
        print_message("%s: %zu operations of kind '%c' failed in turn\n", cases[i].folder, runs, kind);
        assert_true(runs >= least);
        embedder_close(&e);
    }
}

static void every_allocation(void **state) {
    (void)state;
    sweep('a', 20);
}

static void every_file_operation(void **state) {
    (void)state;
    sweep('r', 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation), cmocka_unit_test(every_file_operation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
