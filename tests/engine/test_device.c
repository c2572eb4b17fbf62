/* SPDX-License-Identifier: Apache-2.0 */
/* Devices without one: a module that stands in for MLX's (fake_mlx_module.c) gives every answer that the real one may
 * give, good and bad. */
#define _GNU_SOURCE
#include "engine/device.h"
#include "golden.h"

#define N_TEXTS 12

static char fake[600], model_folder[600];

static void use_module(const char *path, const char *words) {
    assert_int_equal(setenv("TKR_MLX_MODULE", path, 1), 0);
    assert_int_equal(setenv("TKR_FAKE_MLX", words, 1), 0);
}

static tkr_status load(tkr_model **model, const char *device, tkr_model_options *options, tkr_error *error) {
    tkr_model_options own;
    if (!options) tkr_model_options_init(options = &own);
    options->offline = 1;
    options->threads = 2;
    options->device = device;
    *error = (tkr_error){TKR_OK, NULL, ""};
    return tkr_model_load(model, model_folder, options, error);
}

static const char *note_of(const tkr_model *model, const char *name) {
    const tkr_model_info *info = tkr_model_get_info(model);
    for (size_t i = 0; i < info->n_notes; i++)
        if (strcmp(info->notes[i].name, name) == 0) return info->notes[i].value;
    return "";
}

static void names(void **state) {
    (void)state;
    static const struct {
        const char *name;
        tkr_device_kind kind;
        unsigned index;
    } good[] = {{NULL, TKR_DEVICE_AUTO, 0},         {"auto", TKR_DEVICE_AUTO, 0},      {"cpu", TKR_DEVICE_CPU, 0},
                {"gpu", TKR_DEVICE_GPU, 0},         {"gpu:0", TKR_DEVICE_GPU, 0},      {"gpu:12", TKR_DEVICE_GPU, 12},
                {"gpu:9999", TKR_DEVICE_GPU, 9999}, {"mlx-cpu", TKR_DEVICE_MLX_CPU, 0}};
    static const char *const bad[] = {"",       "GPU",       "gpu:", "gpu:x", "gpu:-1",
                                      "gpu:1x", "gpu:10000", "gpu0", "cuda",  "cpu "};
    tkr_device_kind kind;
    unsigned index;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(tkr_device_parse(&kind, &index, good[i].name, NULL), TKR_OK);
        assert_int_equal(kind, good[i].kind);
        assert_int_equal(index, good[i].index);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tkr_error error = {TKR_OK, NULL, ""};
        assert_int_equal(tkr_device_parse(&kind, &index, bad[i], &error), TKR_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "auto, cpu, gpu, gpu:N"));
    }
}

static void what_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *module, *words, *device;
        tkr_status status;
        const char *mentions[3];
    } cases[] = {
        {NULL, "", "tpu", TKR_INVALID_ARGUMENT, {"\"tpu\"", "known: auto, cpu, gpu"}},
        {"/nonexistent/libtkr-mlx.so", "", "gpu", TKR_UNSUPPORTED, {"/nonexistent/libtkr-mlx.so", "cannot be loaded"}},
        {"libm.so.6", "", "gpu", TKR_UNSUPPORTED, {"libm.so.6", "not a module of tkr-embed", TKR_MLX_ENTRY}},
        {NULL, "abi=999", "gpu", TKR_UNSUPPORTED, {"version 999", "needs", "build both from one source"}},
        {NULL, "built=0.31.0 ", "gpu", TKR_UNSUPPORTED, {"built against MLX 0.31.0", "MLX 0.32.4"}},
        {NULL, "built=0.31.0 ", "mlx-cpu", TKR_UNSUPPORTED, {"built against MLX 0.31.0", "MLX 0.32.4"}},
        {NULL, "gpus=0", "gpu", TKR_NOT_FOUND, {"MLX 0.32.4 finds no GPU", "driver", "--device cpu"}},
        {NULL, "gpus=2", "gpu:2", TKR_INVALID_ARGUMENT, {"gpu:2", "gpu:0 (Fake GPU (0)), gpu:1 (Fake GPU (1))"}},
        {NULL, "nocreate", "gpu", TKR_NO_MEMORY, {"the fake GPU gives nothing"}},
        {NULL, "memory=300000", "gpu", TKR_LIMIT, {"the limit on gpu:0 Fake GPU (0) (MLX 0.32.4) is", "--device cpu"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tkr_model *model = NULL;
        tkr_error error;
        use_module(cases[i].module ? cases[i].module : fake, cases[i].words);
        const tkr_status status = load(&model, cases[i].device, NULL, &error);
        assert_null(model);
        for (size_t m = 0; m < 3 && cases[i].mentions[m]; m++)
            if (status != cases[i].status || !strstr(error.message, cases[i].mentions[m]))
                fail_msg("case %zu: expected \"%s\" mentioning \"%s\", got \"%s\": %s", i,
                         tkr_status_text(cases[i].status), cases[i].mentions[m], tkr_status_text(status),
                         error.message);
    }
}

/* Where no module lies beside the program, the message says how to get one. */
static void no_module(void **state) {
    (void)state;
    tkr_model *model = NULL;
    tkr_error error;
    assert_int_equal(unsetenv("TKR_MLX_MODULE"), 0);
    assert_int_equal(load(&model, "gpu", NULL, &error), TKR_NOT_FOUND);
    assert_non_null(strstr(error.message, "scripts/deps --mlx"));
    assert_non_null(strstr(error.message, "-DTKR_MLX=ON"));
    assert_int_equal(load(&model, NULL, NULL, &error), TKR_OK);
    assert_string_equal(tkr_model_get_info(model)->device, "cpu");
    assert_non_null(strstr(note_of(model, "device"), "libtkr-mlx.so"));
    tkr_model_free(&model);
}

/* `auto` takes what works, and the CPU without a word otherwise. */
static void what_auto_takes(void **state) {
    (void)state;
    static const struct {
        const char *module, *words, *device, *note;
    } cases[] = {{NULL, "", "gpu:0 Fake GPU (0) (MLX 0.32.4)", "a GPU is there"},
                 {NULL, "gpus=0", "cpu", "finds no GPU"},
                 {NULL, "abi=2000", "cpu", "version 2000"},
                 {"/nonexistent/libtkr-mlx.so", "", "cpu", "cannot be loaded"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tkr_model *model = NULL;
        tkr_error error;
        use_module(cases[i].module ? cases[i].module : fake, cases[i].words);
        if (load(&model, i % 2 ? "auto" : NULL, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
        assert_string_equal(tkr_model_get_info(model)->device, cases[i].device);
        assert_non_null(strstr(note_of(model, "device"), cases[i].note));
        tkr_model_free(&model);
    }
}

static void fill_inputs(tkr_input *inputs) {
    static char texts[N_TEXTS][200];
    for (size_t i = 0; i < N_TEXTS; i++) {
        size_t at = 0;
        for (size_t w = 0; w <= i * 3; w++) {
            const int n = snprintf(texts[i] + at, sizeof texts[i] - at, "%c%zu ", (char)('a' + (int)w % 26), w % 4);
            at += (size_t)n;
        }
        inputs[i] = (tkr_input){.text = texts[i], .n_text = at};
    }
}

/* Through the whole engine: the vectors are the CPU's, the description is the device's. */
static void computes(void **state) {
    (void)state;
    tkr_input inputs[N_TEXTS];
    tkr_result *results[2];
    fill_inputs(inputs);
    use_module(fake, "");
    for (int gpu = 0; gpu < 2; gpu++) {
        embedder e = {0};
        tkr_error error;
        tkr_model_options options;
        tkr_device_memory memory;
        tkr_model_options_init(&options);
        options.precision = TKR_PRECISION_F32;
        options.quantization = TKR_QUANTIZATION_NONE;
        if (load(&e.model, gpu ? "gpu" : "cpu", &options, &error) != TKR_OK) fail_msg("%s", error.message);
        assert_int_equal(tkr_session_create(&e.session, e.model, &error), TKR_OK);
        results[gpu] = embed_all(&e, inputs, N_TEXTS, NULL);
        const tkr_model_info *info = tkr_model_get_info(e.model);
        assert_true((strstr(info->fingerprint, ":mlx-0.32.4/fake-gpu-0") != NULL) == (gpu == 1));
        assert_string_equal(tkr_result_fingerprint(results[gpu]), info->fingerprint);
        assert_string_equal(info->device, gpu ? "gpu:0 Fake GPU (0) (MLX 0.32.4)" : "cpu");
        assert_int_equal(info->threads, 2);
        tkr_model_get_device_memory(&memory, e.model);
        assert_int_equal(memory.total, gpu ? 1ull << 34 : 0);
        assert_int_equal(memory.limit, gpu ? (1ull << 34) / 4 * 3 : 0);
        assert_int_equal(memory.active, gpu ? 1 << 20 : 0);
        if (gpu) assert_int_equal(info->memory_limit, memory.limit);
        if (gpu) assert_string_equal(info->kernels[1].value, "fake matmul");
        embedder_close(&e);
    }
    const size_t bytes = tkr_result_dimensions(results[0]) * sizeof(float);
    for (size_t i = 0; i < N_TEXTS; i++)
        assert_memory_equal(tkr_result_get(results[0], i).rows, tkr_result_get(results[1], i).rows, bytes);
    tkr_result_free(&results[0]);
    tkr_result_free(&results[1]);
}

/* A failure in the middle: the inputs of that batch have it, the other batches and the next call don't. */
static void failure_in_a_batch(void **state) {
    (void)state;
    tkr_input inputs[N_TEXTS];
    embedder e = {0};
    tkr_error error;
    tkr_model_options options;
    tkr_result *result = NULL;
    fill_inputs(inputs);
    use_module(fake, "");
    tkr_model_options_init(&options);
    options.batch_tokens = 64;
    if (load(&e.model, "gpu", &options, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_int_equal(tkr_session_create(&e.session, e.model, &error), TKR_OK);
    tkr_result *good = embed_all(&e, inputs, N_TEXTS, NULL);
    use_module(fake, "fail=2");
    assert_int_equal(tkr_embed(&result, e.session, inputs, N_TEXTS, NULL, &error), TKR_OK);
    const size_t bytes = tkr_result_dimensions(good) * sizeof(float);
    size_t failed = 0;
    for (size_t i = 0; i < N_TEXTS; i++) {
        const tkr_result_item item = tkr_result_get(result, i);
        failed += item.status != TKR_OK;
        if (item.status == TKR_OK) {
            assert_memory_equal(item.rows, tkr_result_get(good, i).rows, bytes);
        } else {
            assert_int_equal(item.status, TKR_NO_MEMORY);
            assert_non_null(strstr(item.message, "the fake GPU is out of memory"));
        }
    }
    assert_true(failed > 0 && failed < N_TEXTS);
    tkr_result_free(&result);
    result = embed_all(&e, inputs, N_TEXTS, NULL); /* the counter is beyond its mark */
    for (size_t i = 0; i < N_TEXTS; i++)
        assert_memory_equal(tkr_result_get(result, i).rows, tkr_result_get(good, i).rows, bytes);
    tkr_result_free(&result);
    tkr_result_free(&good);
    embedder_close(&e);
}

/* 16-bit weights are computed in bf16 there, f32 ones in f32. */
static void precision(void **state) {
    (void)state;
    static const struct {
        const char *folder, *precision;
    } cases[] = {{"bert/bert-f16", "bf16"}, {"bert/bert-bf16", "bf16"}, {"bert/bert-mean", "f32"}};
    char whole[600];
    memcpy(whole, model_folder, sizeof whole);
    use_module(fake, "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tkr_model *model = NULL;
        tkr_error error;
        tkr_model_options options;
        tkr_model_options_init(&options);
        options.quantization = TKR_QUANTIZATION_NONE;
        snprintf(model_folder, sizeof model_folder, "%s/golden/%s/model", TKR_TEST_DIR, cases[i].folder);
        if (load(&model, "gpu", &options, &error) != TKR_OK) fail_msg("%s", error.message);
        assert_string_equal(tkr_model_get_info(model)->precision, cases[i].precision);
        assert_non_null(strstr(note_of(model, "precision"), cases[i].precision));
        tkr_model_free(&model);
    }
    memcpy(model_folder, whole, sizeof whole);
}

/* The rule works with the device's memory: a model that isn't small there is quantised, and what is asked for and
 * doesn't fit is refused with what would. */
static void memory_of_the_device(void **state) {
    (void)state;
    char whole[600];
    tkr_model *model = NULL;
    tkr_error error;
    tkr_model_options options;
    memcpy(whole, model_folder, sizeof whole);
    snprintf(model_folder, sizeof model_folder, "%s", minilm_reference());
    use_module(fake, "memory=50000000");
    tkr_model_options_init(&options);
    options.precision = TKR_PRECISION_F32;
    options.quantization = TKR_QUANTIZATION_NONE;
    assert_int_equal(load(&model, "gpu", &options, &error), TKR_LIMIT);
    assert_non_null(
        strstr(error.message, "the limit on gpu:0 Fake GPU (0) (MLX 0.32.4) is 36 MiB; --precision bf16 fits"));
    options.quantization = TKR_QUANTIZATION_AUTO;
    if (load(&model, "gpu", &options, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_string_equal(tkr_model_get_info(model)->quantization, "q8");
    assert_true(tkr_model_get_info(model)->memory_limit == 37500000);
    tkr_model_free(&model);
    if (load(&model, "cpu", &options, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_string_equal(tkr_model_get_info(model)->quantization, "none");
    tkr_model_free(&model);
    memcpy(model_folder, whole, sizeof whole);
}

typedef struct seen {
    size_t n, beyond;
} seen;

static void count(void *user, const tkr_device_check *check) {
    seen *s = user;
    s->n++;
    s->beyond += !(check->error <= check->bound);
}

/* The self-test passes on good operations and sees wrong ones. */
static void selftest(void **state) {
    (void)state;
    tkr_model_options options;
    tkr_machine machine;
    tkr_kernels kernels;
    tkr_cpu_flags flags = 0;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_model_options_init(&options);
    options.device = "mlx-cpu";
    assert_int_equal(tkr_cpu_detect(&flags, NULL, NULL), TKR_OK);
    tkr_kernels_init(&kernels, flags);
    tkr_machine_read(&machine);
    const tkr_device_request request = {&options, &machine, &kernels, NULL};
    static const char *const words[] = {"", "wrong", "fail=1"};
    for (size_t i = 0; i < 3; i++) {
        tkr_device device = {0};
        seen s = {0};
        use_module(fake, words[i]);
        if (tkr_device_open(&device, &request, &error) != TKR_OK) fail_msg("%s", error.message);
        assert_string_equal(device.id, "mlx-0.32.4/cpu");
        assert_int_equal(tkr_device_selftest(count, &s, &device, &kernels, &error), TKR_OK);
        assert_true(s.n >= 16);
        assert_int_equal(s.beyond, i == 0 ? 0 : i == 1 ? s.n : 1);
        tkr_device_close(&device);
        tkr_device_close(&device);
    }
}

int main(void) {
    snprintf(fake, sizeof fake, "%s/tests/fake_mlx_module.so", TKR_BUILD_DIR);
    snprintf(model_folder, sizeof model_folder, "%s/golden/bert/bert-mean/model", TKR_TEST_DIR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(no_module),
        cmocka_unit_test(what_auto_takes),
        cmocka_unit_test(computes),
        cmocka_unit_test(failure_in_a_batch),
        cmocka_unit_test(memory_of_the_device),
        cmocka_unit_test(precision),
        cmocka_unit_test(selftest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
