/* SPDX-License-Identifier: Apache-2.0 */
/* A table of damaged model folders: each gives the stated status and a message that names the thing. */
#define _GNU_SOURCE
#include <sys/stat.h>
#include <unistd.h>

#include "golden.h"

static char work[64], source[600];

static void copy_file(const char *name) {
    char from[700], to[400];
    tkr_buf data = {0};
    tkr_error error = {TKR_OK, NULL, ""};
    snprintf(from, sizeof from, "%s/%s", source, name);
    snprintf(to, sizeof to, "%s/%s", work, name);
    if (tkr_file_read(&data, from, 64 << 20, &error) != TKR_OK ||
        tkr_file_write_atomic(to, data.data, data.size, &error) != TKR_OK)
        fail_msg("%s", error.message);
    tkr_buf_free(&data);
}

static void write_text(const char *name, const char *text) {
    char path[400];
    tkr_error error = {TKR_OK, NULL, ""};
    snprintf(path, sizeof path, "%s/%s", work, name);
    if (tkr_file_write_atomic(path, text, strlen(text), &error) != TKR_OK) fail_msg("%s", error.message);
}

static void fresh_folder(void) {
    char command[400];
    snprintf(command, sizeof command, "rm -rf '%s' && mkdir -p '%s/1_Pooling'", work, work);
    assert_int_equal(system(command), 0);
    static const char *const files[] = {"config.json",
                                        "tokenizer.json",
                                        "model.safetensors",
                                        "modules.json",
                                        "sentence_bert_config.json",
                                        "tokenizer_config.json",
                                        "1_Pooling/config.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) copy_file(files[i]);
}

/* Replaces the first `from` in a file of the folder; `to` may be of another length. */
static void edit(const char *name, const char *from, const char *to) {
    char path[400];
    tkr_buf data = {0}, out = {0};
    tkr_error error = {TKR_OK, NULL, ""};
    snprintf(path, sizeof path, "%s/%s", work, name);
    assert_int_equal(tkr_file_read(&data, path, 64 << 20, &error), TKR_OK);
    char *at = memmem(data.data, data.size, from, strlen(from));
    if (!at) fail_msg("%s holds no \"%s\"", name, from);
    tkr_buf_append(&out, data.data, (size_t)(at - data.data));
    tkr_buf_append(&out, to, strlen(to));
    tkr_buf_append(&out, at + strlen(from), data.size - (size_t)(at - data.data) - strlen(from));
    assert_int_equal(tkr_file_write_atomic(path, out.data, out.size, &error), TKR_OK);
    tkr_buf_free(&data);
    tkr_buf_free(&out);
}

static void expect(tkr_status want, const char *mention, const tkr_model_options *options) {
    tkr_model *model = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_model_options o;
    tkr_model_options_init(&o);
    if (options) o = *options;
    o.offline = 1;
    o.threads = 1;
    tkr_status status = tkr_model_load(&model, work, &o, &error);
    if (status != want || !strstr(error.message, mention))
        fail_msg("expected \"%s\" mentioning \"%s\", got \"%s\": %s", tkr_status_text(want), mention,
                 tkr_status_text(status), error.message);
    assert_null(model);
    assert_null(strchr(error.message, '\n'));
}

static void missing_and_empty_folder(void **state) {
    (void)state;
    char command[400];
    snprintf(command, sizeof command, "rm -rf '%s'", work);
    assert_int_equal(system(command), 0);
    expect(TKR_NOT_FOUND, work, NULL);
    assert_int_equal(mkdir(work, 0700), 0);
    expect(TKR_NOT_FOUND, "config.json", NULL);
}

static void config_json(void **state) {
    (void)state;
    fresh_folder();
    edit("config.json", "\"bert\"", "\"gpt5\"");
    expect(TKR_UNSUPPORTED, "gpt5", NULL);
    expect(TKR_UNSUPPORTED, "supported: bert", NULL);
    fresh_folder();
    edit("config.json", "\"hidden_size\": 48", "\"hidden_size\": \"48\"");
    expect(TKR_FORMAT, "hidden_size", NULL);
    fresh_folder();
    edit("config.json", "\"hidden_size\": 48", "\"hidden_size\": 1e40");
    expect(TKR_FORMAT, "hidden_size", NULL);
    fresh_folder();
    edit("config.json", "\"hidden_size\": 48", "\"hidden_size\": 52");
    expect(TKR_FORMAT, "hidden_size is 52", NULL);
    fresh_folder();
    edit("config.json", "\"intermediate_size\": 96", "\"intermediate_size\": 97");
    expect(TKR_FORMAT, "has shape [96, 48], config.json asks for [97, 48]", NULL);
    fresh_folder();
    edit("config.json", "\"gelu\"", "\"mish\"");
    expect(TKR_UNSUPPORTED, "mish", NULL);
    fresh_folder();
    write_text("config.json", "[1, 2");
    expect(TKR_FORMAT, "config.json", NULL);
    fresh_folder();
    char deep[4000];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    write_text("config.json", deep);
    expect(TKR_FORMAT, "config.json", NULL);
}

static void remote_code(void **state) {
    (void)state;
    tkr_model_options options;
    tkr_model_options_init(&options);
    fresh_folder();
    edit("config.json", "\"hidden_size\"", "\"auto_map\": {\"AutoModel\": \"modeling.Evil\"}, \"hidden_size\"");
    expect(TKR_DENIED, "auto_map", NULL);
    options.trust_remote_code = 1;
    expect(TKR_DENIED, "never executes", &options);
}

static void tensors(void **state) {
    (void)state;
    fresh_folder();
    edit("model.safetensors", "encoder.layer.1.output.dense.bias", "encoder.layer.1.output.dense.bixs");
    expect(TKR_FORMAT, "encoder.layer.1.output.dense.bias", NULL);
    fresh_folder();
    edit("model.safetensors", "\"pooler.dense.weight", "\"pxxler.dense.weight");
    expect(TKR_FORMAT, "unexpected tensor \"pxxler.dense.weight\"", NULL);
    fresh_folder();
    char path[400];
    snprintf(path, sizeof path, "%s/model.safetensors", work);
    assert_int_equal(truncate(path, 5000), 0);
    expect(TKR_FORMAT, "model.safetensors", NULL);
    assert_int_equal(truncate(path, 3), 0);
    expect(TKR_FORMAT, "model.safetensors", NULL);
    assert_int_equal(unlink(path), 0);
    expect(TKR_NOT_FOUND, "model.safetensors", NULL);
}

/* Puts a NaN into the middle of a matrix. */
static void nan_in_weights(void **state) {
    (void)state;
    fresh_folder();
    tkr_tensors *set = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    assert_int_equal(tkr_tensors_open_folder(&set, work, &error), TKR_OK);
    const tkr_tensor_view *view = tkr_tensors_find(set, "encoder.layer.0.intermediate.dense.weight");
    assert_non_null(view);
    assert_int_equal(view->dtype, TKR_DTYPE_F32);
    char path[400];
    snprintf(path, sizeof path, "%s/model.safetensors", work);
    tkr_buf data = {0};
    assert_int_equal(tkr_file_read(&data, path, 64 << 20, &error), TKR_OK);
    char *at = memmem(data.data, data.size, view->data, 256);
    assert_non_null(at);
    const uint32_t nan_bits = 0x7fc00000u;
    memcpy(at + 128, &nan_bits, sizeof nan_bits);
    tkr_tensors_free(&set);
    assert_int_equal(tkr_file_write_atomic(path, data.data, data.size, &error), TKR_OK);
    tkr_buf_free(&data);
    expect(TKR_NUMERIC, "encoder.layer.0.intermediate.dense.weight", NULL);
}

static void pooling_and_modules(void **state) {
    (void)state;
    tkr_model_options options;
    tkr_model_options_init(&options);
    fresh_folder();
    edit("1_Pooling/config.json", "pooling_mode_mean_tokens", "pooling_mode_median_tokens");
    expect(TKR_UNSUPPORTED, "median", NULL);
    fresh_folder();
    edit("modules.json", "models.Normalize", "models.WhitenIt");
    expect(TKR_UNSUPPORTED, "WhitenIt", NULL);
    fresh_folder();
    edit("modules.json", "\"1_Pooling\"", "\"../1_Pooling\"");
    expect(TKR_FORMAT, "leaves", NULL);
    fresh_folder();
    options.pooling = "average";
    expect(TKR_INVALID_ARGUMENT, "average", &options);
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s/modules.json' '%s/1_Pooling'", work, work);
    assert_int_equal(system(command), 0);
    expect(TKR_INVALID_ARGUMENT, "--pooling", NULL);
    options.pooling = NULL;
}

static void memory_limit(void **state) {
    (void)state;
    tkr_model_options options;
    tkr_model_options_init(&options);
    fresh_folder();
    options.max_memory = 1000;
    expect(TKR_LIMIT, "--max-memory", &options);
}

static void tokenizer(void **state) {
    (void)state;
    fresh_folder();
    edit("tokenizer.json", "\"BertNormalizer\"", "\"MagicNormalizer\"");
    expect(TKR_UNSUPPORTED, "MagicNormalizer", NULL);
    fresh_folder();
    write_text("tokenizer.json", "{\"model\": 7}");
    expect(TKR_FORMAT, "tokenizer.json", NULL);
    fresh_folder();
    char command[600];
    snprintf(command, sizeof command, "rm '%s/tokenizer.json'", work);
    assert_int_equal(system(command), 0);
    expect(TKR_NOT_FOUND, "tokenizer.json", NULL);
}

/* Errors of single inputs leave the others alone. */
static void bad_inputs_lose_nothing_else(void **state) {
    (void)state;
    embedder e = {0};
    const embedder_options options = {.precision = TKR_PRECISION_F32, .threads = 2};
    embedder_open(&e, source, &options);
    const int32_t huge[2] = {101, 9999999};
    char longer[2000];
    memset(longer, 'x', sizeof longer);
    for (size_t i = 1; i < sizeof longer; i += 2) longer[i] = ' ';
    const tkr_input inputs[] = {
        {.text = "good", .n_text = 4},
        {.kind = TKR_INPUT_TOKENS, .ids = huge, .n_ids = 2},
        {.text = "bad \xff byte", .n_text = 10},
        {.text = "", .n_text = 0},
        {.text = "x", .n_text = 1, .prompt_name = "nobody"},
        {.text = longer, .n_text = sizeof longer},
        {.kind = TKR_INPUT_TOKENS},
        {.text = "good", .n_text = 4},
    };
    enum { N = sizeof inputs / sizeof *inputs };
    tkr_embed_options o;
    tkr_result *result = NULL;
    tkr_embed_options_init(&o);
    o.strict_utf8 = 1;
    o.truncate = TKR_TRUNCATE_ERROR;
    assert_int_equal(tkr_embed(&result, e.session, inputs, N, &o, NULL), TKR_OK);
    static const tkr_status want[N] = {TKR_OK,
                                       TKR_INVALID_ARGUMENT,
                                       TKR_INVALID_ARGUMENT,
                                       TKR_OK,
                                       TKR_INVALID_ARGUMENT,
                                       TKR_LIMIT,
                                       TKR_INVALID_ARGUMENT,
                                       TKR_OK};
    for (size_t i = 0; i < N; i++) {
        tkr_result_item item = tkr_result_get(result, i);
        assert_int_equal(item.status, want[i]);
        assert_true((item.rows != NULL) == (want[i] == TKR_OK));
        assert_true((item.message != NULL) == (want[i] != TKR_OK));
    }
    size_t bytes = tkr_result_dimensions(result) * sizeof(float);
    assert_memory_equal(tkr_result_get(result, 0).rows, tkr_result_get(result, N - 1).rows, bytes);
    tkr_result_free(&result);
    o.dimensions = 4096;
    tkr_error error = {TKR_OK, NULL, ""};
    assert_int_equal(tkr_embed(&result, e.session, inputs, N, &o, &error), TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "48"));
    embedder_close(&e);
}

static tkr_status cancel_at_once(void *user, const tkr_progress *progress) {
    (void)progress;
    ++*(int *)user;
    return TKR_CANCELLED;
}

static void cancel(void **state) {
    (void)state;
    embedder e = {0};
    const embedder_options options = {.precision = TKR_PRECISION_F32, .threads = 2};
    embedder_open(&e, source, &options);
    const tkr_input input = {.text = "never computed", .n_text = 14};
    tkr_embed_options o;
    tkr_result *result = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    int calls = 0;
    tkr_embed_options_init(&o);
    o.check = cancel_at_once;
    o.check_user = &calls;
    assert_int_equal(tkr_embed(&result, e.session, &input, 1, &o, &error), TKR_CANCELLED);
    assert_null(result);
    assert_int_equal(calls, 1);
    o.check = NULL; /* the session still works */
    result = embed_all(&e, &input, 1, &o);
    tkr_result_free(&result);
    embedder_close(&e);
}

int main(void) {
    snprintf(work, sizeof work, "/tmp/tkr-bad-model-%ld", (long)getpid());
    snprintf(source, sizeof source, "%s/golden/bert/bert-mean/model", TKR_TEST_DIR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_and_empty_folder),
        cmocka_unit_test(config_json),
        cmocka_unit_test(remote_code),
        cmocka_unit_test(tensors),
        cmocka_unit_test(nan_in_weights),
        cmocka_unit_test(pooling_and_modules),
        cmocka_unit_test(memory_limit),
        cmocka_unit_test(tokenizer),
        cmocka_unit_test(bad_inputs_lose_nothing_else),
        cmocka_unit_test(cancel),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", work);
    return system(command) == 0 ? failed : 1;
}
