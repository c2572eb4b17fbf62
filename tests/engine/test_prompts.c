/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions in the family's own form, prompts by name, shortened vectors, and what is refused before or while
 * embedding. */
#include "golden.h"

static int warnings;
static char last_warning[512];

static void keep_warning(void *user, int level, const char *line) {
    (void)user;
    if (level != 1) return;
    warnings++;
    snprintf(last_warning, sizeof last_warning, "%s", line);
}

static void open_model(embedder *e, const char *relative) {
    char path[600];
    tkr_model_options o;
    tkr_error error = {TKR_OK, NULL, ""};
    snprintf(path, sizeof path, "%s/golden/%s", TKR_TEST_DIR, relative);
    tkr_model_options_init(&o);
    o.offline = 1;
    o.threads = 1;
    o.log = keep_warning;
    warnings = 0;
    if (tkr_model_load(&e->model, path, &o, &error) != TKR_OK ||
        tkr_session_create(&e->session, e->model, &error) != TKR_OK)
        fail_msg("%s: %s", path, error.message);
}

static void same_row(const tkr_result *result, size_t a, size_t b) {
    assert_memory_equal(tkr_result_get(result, a).rows, tkr_result_get(result, b).rows,
                        tkr_result_dimensions(result) * sizeof(float));
}

static void instructions(void **state) {
    (void)state;
    embedder e = {0};
    tkr_embed_options options;
    const char *text = "who wrote Faust?";
    open_model(&e, "qwen3/qwen3-last/model");
    tkr_embed_options_init(&options);
    options.instruction = "Find the answer"; /* of the first input only: the others say otherwise */
    tkr_input inputs[4] = {{.text = text, .n_text = strlen(text)},
                           {.text = text, .n_text = strlen(text), .prompt = "Instruct: Find the answer\nQuery:"},
                           {.text = text, .n_text = strlen(text), .instruction = "Find the answer", .prompt = "unused"},
                           {.text = text, .n_text = strlen(text), .prompt = ""}};
    tkr_result *result = embed_all(&e, inputs, 4, &options);
    same_row(result, 0, 1);
    same_row(result, 0, 2);
    assert_memory_not_equal(tkr_result_get(result, 0).rows, tkr_result_get(result, 3).rows,
                            tkr_result_dimensions(result) * sizeof(float));
    assert_true(tkr_result_get(result, 0).n_tokens > tkr_result_get(result, 3).n_tokens);
    tkr_result_free(&result);
    embedder_close(&e);
}

static void no_form_for_instructions(void **state) {
    (void)state;
    embedder e = {0};
    tkr_embed_options options;
    tkr_result *result = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_input inputs[2] = {{.text = "a", .n_text = 1}, {.text = "b", .n_text = 1, .instruction = "task"}};
    open_model(&e, "bert/bert-mean/model");
    tkr_embed_options_init(&options);
    options.instruction = "task";
    assert_int_equal(tkr_embed(&result, e.session, inputs, 1, &options, &error), TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "bert models have no form for one"));
    options.instruction = NULL;
    assert_int_equal(tkr_embed(&result, e.session, inputs, 2, &options, &error), TKR_OK);
    assert_int_equal(tkr_result_get(result, 0).status, TKR_OK);
    assert_int_equal(tkr_result_get(result, 1).status, TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(tkr_result_get(result, 1).message, "no form for one"));
    tkr_result_free(&result);
    embedder_close(&e);
}

static void unknown_prompt_name(void **state) {
    (void)state;
    embedder e = {0};
    tkr_embed_options options;
    tkr_result *result = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_input input = {.text = "a", .n_text = 1};
    open_model(&e, "qwen3/qwen3-last/model");
    tkr_embed_options_init(&options);
    options.prompt_name = "no-such";
    assert_int_equal(tkr_embed(&result, e.session, &input, 1, &options, &error), TKR_INVALID_ARGUMENT);
    const tkr_model_info *info = tkr_model_get_info(e.model);
    assert_true(info->n_prompts > 0);
    for (size_t i = 0; i < info->n_prompts; i++) assert_non_null(strstr(error.message, info->prompts[i].name));
    embedder_close(&e);
}

/* The models of some families are trained for it; for others the log warns, once. */
static void shortened_vectors(void **state) {
    (void)state;
    static const struct {
        const char *model;
        int warnings;
    } rows[] = {{"bert/bert-mean/model", 1}, {"qwen3/qwen3-last/model", 0}, {"quant/gguf-qwen3-f16/model.gguf", 0}};
    for (size_t m = 0; m < sizeof rows / sizeof *rows; m++) {
        embedder e = {0};
        tkr_embed_options options;
        const tkr_input input = {.text = "a", .n_text = 1};
        open_model(&e, rows[m].model);
        tkr_embed_options_init(&options);
        options.dimensions = 16;
        for (int times = 0; times < 2; times++) {
            tkr_result *result = embed_all(&e, &input, 1, &options);
            double norm = 0;
            assert_int_equal(tkr_result_dimensions(result), 16);
            for (size_t i = 0; i < 16; i++)
                norm += (double)tkr_result_get(result, 0).rows[i] * (double)tkr_result_get(result, 0).rows[i];
            assert_true(norm > 1 - 1e-6 && norm < 1 + 1e-6);
            tkr_result_free(&result);
        }
        assert_int_equal(warnings, rows[m].warnings);
        if (warnings) assert_non_null(strstr(last_warning, "not known to be trained for shortened vectors"));
        options.dimensions = tkr_model_get_info(e.model)->dimensions; /* all of them: nothing to warn about */
        tkr_result *result = embed_all(&e, &input, 1, &options);
        tkr_result_free(&result);
        assert_int_equal(warnings, rows[m].warnings);
        embedder_close(&e);
    }
}

/* Says before anything is packed what is needed and what would fit. */
static void larger_than_memory(void **state) {
    (void)state;
    tkr_model *model = NULL;
    tkr_model_options o;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_model_options_init(&o);
    o.offline = 1;
    o.threads = 1;
    o.precision = TKR_PRECISION_F32;
    o.quantization = TKR_QUANTIZATION_NONE;
    if (tkr_model_load(&model, minilm_reference(), &o, &error) != TKR_OK) fail_msg("%s", error.message);
    uint64_t weights = tkr_model_get_info(model)->weights_bytes, workspace = tkr_model_get_info(model)->workspace_bytes;
    tkr_model_free(&model);
    o.max_memory = weights / 3 + workspace;
    assert_int_equal(tkr_model_load(&model, minilm_reference(), &o, &error), TKR_LIMIT);
    assert_non_null(strstr(error.message, "the model in f32 needs "));
    assert_non_null(strstr(error.message, "--quantization q8 fits"));
    assert_null(model);
    o.max_memory = weights * 2 / 3 + workspace;
    assert_int_equal(tkr_model_load(&model, minilm_reference(), &o, &error), TKR_LIMIT);
    assert_non_null(strstr(error.message, "--precision bf16 fits"));
    o.max_memory = workspace / 4;
    assert_int_equal(tkr_model_load(&model, minilm_reference(), &o, &error), TKR_LIMIT);
    assert_non_null(strstr(error.message, "no quantization fits"));
    o.quantization = (tkr_quantization)9;
    assert_int_equal(tkr_model_load(&model, minilm_reference(), &o, &error), TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "known: auto, none, q8, q4"));
}

static void longer_than_the_context(void **state) {
    (void)state;
    embedder e = {0};
    tkr_embed_options options;
    char text[20000];
    for (size_t i = 0; i < sizeof text; i++) text[i] = i % 4 == 3 ? ' ' : 'a';
    const tkr_input input = {.text = text, .n_text = sizeof text};
    open_model(&e, "quant/gguf-bert-q8_0/model.gguf");
    tkr_embed_options_init(&options);
    tkr_result *result = embed_all(&e, &input, 1, &options);
    assert_int_equal(tkr_result_get(result, 0).n_tokens, 64);
    assert_true(tkr_result_get(result, 0).n_tokens_untruncated > 64);
    tkr_result_free(&result);
    options.truncate = TKR_TRUNCATE_ERROR;
    tkr_error error = {TKR_OK, NULL, ""};
    assert_int_equal(tkr_embed(&result, e.session, &input, 1, &options, &error), TKR_OK);
    assert_int_equal(tkr_result_get(result, 0).status, TKR_LIMIT);
    tkr_result_free(&result);
    embedder_close(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instructions),        cmocka_unit_test(no_form_for_instructions),
        cmocka_unit_test(unknown_prompt_name), cmocka_unit_test(shortened_vectors),
        cmocka_unit_test(larger_than_memory),  cmocka_unit_test(longer_than_the_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
