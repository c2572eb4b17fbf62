/* SPDX-License-Identifier: Apache-2.0 */
/* Fails the N-th allocation and the N-th file operation of load + embed, for every N, of folders and GGUF files: a
 * clean error and no leak each time. */
#include "fault.h"
#include "golden.h"

static char model_folder[600];
static tkr_quantization quantization;
static const char *device;
static char last_message[TKR_ERROR_MESSAGE_SIZE];

/* TKR_OK when everything worked; else the status, whose message must say something. */
static tkr_status load_and_embed(void) {
    tkr_model *model = NULL;
    tkr_session *session = NULL;
    tkr_result *result = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_model_options options;
    const tkr_input inputs[2] = {{.text = "a short text", .n_text = 12, .prompt = "query: "},
                                 {.text = "Zwei W\xc3\xb6rter", .n_text = 12}};
    tkr_model_options_init(&options);
    options.threads = 1;
    options.offline = 1;
    options.quantization = quantization;
    options.device = device;
    tkr_status status = tkr_model_load(&model, model_folder, &options, &error);
    if (status == TKR_OK) status = tkr_session_create(&session, model, &error);
    if (status == TKR_OK) status = tkr_embed(&result, session, inputs, 2, NULL, &error);
    if (status != TKR_OK) {
        assert_true(strlen(error.message) > 3);
        memcpy(last_message, error.message, sizeof last_message);
        assert_int_equal(error.status, status);
        assert_null(result);
    }
    for (size_t i = 0; status == TKR_OK && i < 2; i++) {
        tkr_result_item item = tkr_result_get(result, i);
        if (item.status != TKR_OK) {
            assert_non_null(item.message);
            assert_null(item.rows);
            status = item.status;
        }
    }
    tkr_result_free(&result);
    tkr_session_free(&session);
    tkr_model_free(&model);
    return status;
}

static const struct {
    const char *path;
    tkr_quantization quantization;
    const char *device; /* a GPU is fake_mlx_module.c */
} models[] = {{"bert/bert-dense/model", TKR_QUANTIZATION_AUTO, "cpu"},
              {"bert/bert-mean/model", TKR_QUANTIZATION_AUTO, "gpu"},
              {"quant/gguf-bert-q4_0/model.gguf", TKR_QUANTIZATION_Q4, "cpu"},
              {"quant/gguf-qwen3-k/model.gguf", TKR_QUANTIZATION_NONE, "cpu"},
              {"quant/mlx-qwen3-mixed/model", TKR_QUANTIZATION_Q4, "cpu"}};

static void sweep_all(char kind, size_t least) {
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        snprintf(model_folder, sizeof model_folder, "%s/golden/%s", TKR_TEST_DIR, models[i].path);
        quantization = models[i].quantization;
        device = models[i].device;
        const size_t runs = fault_sweep(&(fault_case){load_and_embed, last_message}, kind);
        print_message("%s: %zu operations of kind '%c' failed in turn\n", models[i].path, runs, kind);
        assert_true(runs > least);
    }
}

static void every_allocation(void **state) {
    (void)state;
    sweep_all('a', 50);
}

static void every_file_operation(void **state) {
    (void)state;
    sweep_all('r', 0);
}

int main(void) {
    if (setenv("TKR_MLX_MODULE", TKR_BUILD_DIR "/tests/fake_mlx_module.so", 1) != 0) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation), cmocka_unit_test(every_file_operation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
