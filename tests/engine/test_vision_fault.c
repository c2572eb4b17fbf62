/* SPDX-License-Identifier: Apache-2.0 */
/* Fails the N-th allocation and the N-th file operation of load + embed, for every N, of models that read pictures: a
 * clean error and no leak each time. */
#include "fault.h"

#include "vision.h"

#define GOLDEN TKR_TEST_DIR "/golden/"

static const char *folder, *base;
static char last_message[TKR_ERROR_MESSAGE_SIZE];

/* TKR_OK when everything worked; else the status, whose message must say something. */
static tkr_status load_and_embed(void) {
    static const unsigned char pixels[3 * 40 * 30];
    static const char file[] = GOLDEN "siglip/siglip/inputs/d_gray.png";
    tkr_model *model = NULL;
    tkr_session *session = NULL;
    tkr_result *result = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_model_options options;
    const tkr_part rgb = {.kind = TKR_PART_RGB, .data = pixels, .n_data = sizeof pixels, .width = 40, .height = 30};
    const tkr_part path = {.kind = TKR_PART_FILE, .data = file, .n_data = sizeof file - 1};
    const tkr_input inputs[3] = {{.kind = TKR_INPUT_PARTS, .parts = &rgb, .n_parts = 1},
                                 {.text = "a cat", .n_text = 5},
                                 {.kind = TKR_INPUT_PARTS, .parts = &path, .n_parts = 1}};
    tkr_model_options_init(&options);
    options.threads = 1;
    options.offline = 1;
    options.no_weight_cache = 1;
    options.device = "cpu";
    options.base = base;
    options.max_pixels = strstr(folder, "siglip") ? 0 : 4000;
    options.decoder = TKR_BUILD_DIR "/tkr-decode";
    tkr_status status = tkr_model_load(&model, folder, &options, &error);
    if (status == TKR_OK) status = tkr_session_create(&session, model, &error);
    if (status == TKR_OK) status = tkr_embed(&result, session, inputs, 3, NULL, &error);
    if (status != TKR_OK) {
        assert_true(strlen(error.message) > 3);
        memcpy(last_message, error.message, sizeof last_message);
        assert_int_equal(error.status, status);
        assert_null(result);
    }
    for (size_t i = 0; status == TKR_OK && i < 3; i++) {
        const tkr_result_item item = tkr_result_get(result, i);
        if (item.status == TKR_OK) continue;
        assert_non_null(item.message);
        assert_null(item.rows);
        memcpy(last_message, item.message, strlen(item.message) + 1);
        status = item.status;
    }
    tkr_result_free(&result);
    tkr_session_free(&session);
    tkr_model_free(&model);
    return status;
}

static const struct {
    const char *folder, *base;
} models[] = {{GOLDEN "siglip/siglip/model", NULL},
              {GOLDEN "qwen2_vl/qwen2_vl/model", NULL},
              {GOLDEN "lora/colqwen2_5_lora/adapter", GOLDEN "qwen2_5_vl/colqwen2_5/model"}};

static void sweep_all(char kind, size_t least) {
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        folder = models[i].folder;
        base = models[i].base;
        const size_t runs = fault_sweep(&(fault_case){load_and_embed, last_message}, kind);
        print_message("%s: %zu operations of kind '%c' failed in turn\n", folder, runs, kind);
        assert_true(runs > least);
    }
}

static void every_allocation(void **state) {
    (void)state;
    sweep_all('a', 100);
}

static void every_file_operation(void **state) {
    (void)state;
    sweep_all('r', 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation), cmocka_unit_test(every_file_operation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
