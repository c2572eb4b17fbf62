/* SPDX-License-Identifier: Apache-2.0 */
/* tests/server/test_settings: the table, precedence and origins, the YAML file and its mistakes, profiles, what is
 * shown. */
#define _XOPEN_SOURCE 700 /* setenv, mkdtemp */
#include <jansson.h>

#include "../countdown.h"
#include "../mutate.h"
#include "folder.h"
#include "server/config.h"

static const char file[] = "serve.yaml";

static tkr_settings *load(const char *text, const tkr_setting_flag *flags, size_t n_flags) {
    tkr_settings *settings = NULL;
    tkr_error error = {0};
    if (text != NULL) write_file(file, text);
    if (tkr_settings_load(&settings, text != NULL ? file : NULL, flags, n_flags, &error) != TKR_OK) {
        fail_msg("%s", error.message);
    }
    assert_non_null(settings);
    return settings;
}

static void is(const tkr_settings *settings, tkr_setting_id id, const char *text, const char *origin) {
    const tkr_setting_value *value = tkr_setting_of(settings, id);
    if (text == NULL) {
        assert_null(value->text);
    } else {
        assert_string_equal(value->text, text);
    }
    assert_string_equal(value->origin, origin);
    assert_int_equal(value->set, strcmp(origin, "default") != 0);
}

/* ---- the table ---- */

static void test_table(void **state) {
    (void)state;
    for (size_t i = 0; i < TKR_N_SETTINGS; i++) {
        const tkr_setting *a = &tkr_settings_table[i];
        assert_true((a->argument == NULL) == (a->type == TKR_VALUE_FLAG));
        assert_true(strchr(a->key, '.') != NULL || i == TKR_SET_PROFILE);
        if (a->environment != NULL) assert_int_equal(strncmp(a->environment, "TKR_", 4), 0);
        if (a->type == TKR_VALUE_COUNT || a->type == TKR_VALUE_BYTES || a->type == TKR_VALUE_REAL) {
            assert_true(a->min < a->max);
        }
        for (size_t j = i + 1; j < TKR_N_SETTINGS; j++) {
            const tkr_setting *b = &tkr_settings_table[j];
            assert_string_not_equal(a->key, b->key);
            assert_true(a->flag[0] == '\0' || strcmp(a->flag, b->flag) != 0);
            assert_true(a->environment == NULL || b->environment == NULL ||
                        strcmp(a->environment, b->environment) != 0);
            assert_true(a->letter == 0 || a->letter != b->letter);
        }
    }
}

/* Sections are what follows one another: show and the reader rely on it. */
static void test_sections_are_together(void **state) {
    (void)state;
    for (size_t i = 1; i < TKR_N_SETTINGS; i++) {
        const char *key = tkr_settings_table[i].key;
        const size_t n = strcspn(key, ".") + 1;
        if (strncmp(key, tkr_settings_table[i - 1].key, n) == 0) continue;
        for (size_t j = 0; j < i; j++) assert_int_not_equal(strncmp(key, tkr_settings_table[j].key, n), 0);
    }
}

/* ---- precedence ---- */

static void test_defaults(void **state) {
    (void)state;
    tkr_settings *settings = load(NULL, NULL, 0);
    is(settings, TKR_SET_MODEL, "demo", "default");
    is(settings, TKR_SET_PORT, "8000", "default");
    is(settings, TKR_SET_HOST, "127.0.0.1", "default");
    is(settings, TKR_SET_MAX_TEXT_LENGTH, NULL, "default");
    assert_true(tkr_setting_of(settings, TKR_SET_PORT)->number == 8000);
    assert_true(tkr_setting_of(settings, TKR_SET_MAX_BODY)->number == 32u << 20);
    assert_true(tkr_setting_on(settings, TKR_SET_USE_CACHE));
    assert_false(tkr_setting_on(settings, TKR_SET_NO_AUTH));
    assert_string_equal(tkr_setting_choice(settings, TKR_SET_LOG_LEVEL), "info");
    assert_int_equal(settings->n_models, 0);
    tkr_settings_free(&settings);
    assert_null(settings);
}

static void test_precedence(void **state) {
    static const char yaml[] = "profile: 16gb\n"
                               "server:\n"
                               "  port: 1001\n"
                               "  host: 127.0.0.2\n"
                               "  workers: 3\n"
                               "optimization: {cache_size: 77}\n";
    const tkr_setting_flag flags[] = {{TKR_SET_PORT, "1003"}, {TKR_SET_NO_JAIL, "1"}};
    (void)state;
    setenv("TKR_PORT", "1002", 1);
    setenv("TKR_HOST", "127.0.0.3", 1);
    setenv("TKR_MAX_BATCH_SIZE", "", 1); /* empty is unset */
    tkr_settings *settings = load(yaml, flags, 2);
    is(settings, TKR_SET_PORT, "1003", "--port");
    is(settings, TKR_SET_HOST, "127.0.0.3", "TKR_HOST");
    is(settings, TKR_SET_WORKERS, "3", "serve.yaml:5");
    is(settings, TKR_SET_CACHE_SIZE, "77", "serve.yaml:6");
    is(settings, TKR_SET_PROFILE, "16gb", "serve.yaml:1");
    is(settings, TKR_SET_MAX_BATCH_SIZE, "16", "profile 16gb");
    is(settings, TKR_SET_QUANTIZATION, "q4", "profile 16gb");
    is(settings, TKR_SET_MAX_TEXT_LENGTH, "2048", "profile 16gb");
    assert_true(tkr_setting_on(settings, TKR_SET_NO_JAIL));
    assert_string_equal(settings->file, file);
    tkr_settings_free(&settings);
    setenv("TKR_CONFIG", file, 1);
    settings = NULL;
    assert_int_equal(tkr_settings_load(&settings, NULL, NULL, 0, NULL), TKR_OK);
    is(settings, TKR_SET_PORT, "1002", "TKR_PORT");
    is(settings, TKR_SET_WORKERS, "3", "serve.yaml:5");
    tkr_settings_free(&settings);
    unsetenv("TKR_CONFIG");
    unsetenv("TKR_PORT");
    unsetenv("TKR_HOST");
    unsetenv("TKR_MAX_BATCH_SIZE");
}

/* An empty text takes back what the file says. */
static void test_empty_means_none(void **state) {
    const tkr_setting_flag flags[] = {{TKR_SET_LOG_FILE, ""}, {TKR_SET_CORS, ""}};
    (void)state;
    tkr_settings *settings = load("monitoring:\n  log_file: /x\nserver:\n  cors_origins: ['*']\n", flags, 2);
    is(settings, TKR_SET_LOG_FILE, NULL, "--log-file");
    assert_int_equal(tkr_setting_of(settings, TKR_SET_CORS)->n_list, 0);
    tkr_settings_free(&settings);
}

static void test_profiles(void **state) {
    static const struct {
        const char *name, *quantization, *batch, *cache, *length;
    } rows[] = {{"16gb", "q4", "16", "500", "2048"},
                {"32gb", "q8", "32", "1000", "4096"},
                {"64gb", "none", "64", "2000", "8192"}};
    char origin[32];
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const tkr_setting_flag flag = {TKR_SET_PROFILE, rows[i].name};
        tkr_settings *settings = load(NULL, &flag, 1);
        (void)snprintf(origin, sizeof origin, "profile %s", rows[i].name);
        is(settings, TKR_SET_QUANTIZATION, rows[i].quantization, origin);
        is(settings, TKR_SET_MAX_BATCH_SIZE, rows[i].batch, origin);
        is(settings, TKR_SET_CACHE_SIZE, rows[i].cache, origin);
        is(settings, TKR_SET_MAX_TEXT_LENGTH, rows[i].length, origin);
        tkr_settings_free(&settings);
    }
    const tkr_setting_flag automatic = {TKR_SET_PROFILE, "auto"};
    tkr_settings *settings = load(NULL, &automatic, 1);
    assert_int_equal(strncmp(tkr_setting_of(settings, TKR_SET_CACHE_SIZE)->origin, "profile ", 8), 0);
    tkr_settings_free(&settings);
}

/* ---- the file ---- */

static void test_values(void **state) {
    static const char yaml[] = "%YAML 1.1\n"
                               "---\n"
                               "server:\n"
                               "  cors_origins: [\"https://a.example\", 'http://b.example:81']\n"
                               "  timeout: 2.5\n"
                               "  max_body: 1.5M\n"
                               "  port: null\n"
                               "  socket: ~\n"
                               "  workers:\n"
                               "model:\n"
                               "  allow_url: a.example, b.example\n"
                               "  offline: yes\n"
                               "  quantization: none\n"
                               "optimization:\n"
                               "  use_cache: off\n"
                               "lanes:\n"
                               "auth:\n"
                               "  api_key: 123456\n"
                               "...\n";
    (void)state;
    tkr_settings *settings = load(yaml, NULL, 0);
    const tkr_setting_value *cors = tkr_setting_of(settings, TKR_SET_CORS);
    assert_int_equal(cors->n_list, 2);
    assert_string_equal(cors->list[0], "https://a.example");
    assert_string_equal(cors->list[1], "http://b.example:81");
    const tkr_setting_value *hosts = tkr_setting_of(settings, TKR_SET_ALLOW_URL);
    assert_int_equal(hosts->n_list, 2);
    assert_string_equal(hosts->list[1], "b.example");
    assert_true(tkr_setting_of(settings, TKR_SET_TIMEOUT)->real == 2.5);
    assert_true(tkr_setting_of(settings, TKR_SET_MAX_BODY)->number == 3u << 19);
    is(settings, TKR_SET_PORT, "8000", "default");
    is(settings, TKR_SET_SOCKET, NULL, "default");
    assert_true(tkr_setting_on(settings, TKR_SET_OFFLINE));
    assert_false(tkr_setting_on(settings, TKR_SET_USE_CACHE));
    is(settings, TKR_SET_QUANTIZATION, "none", "serve.yaml:13");
    is(settings, TKR_SET_API_KEY, "123456", "serve.yaml:18");
    tkr_settings_free(&settings);
    settings = load("# nothing yet\n", NULL, 0);
    is(settings, TKR_SET_PORT, "8000", "default");
    tkr_settings_free(&settings);
    settings = load("", NULL, 0);
    tkr_settings_free(&settings);
}

static void test_models(void **state) {
    static const char yaml[] = "model:\n"
                               "  name: minilm\n"
                               "models:\n"
                               "  - name: siglip\n"
                               "    alias: pictures\n"
                               "    quantization: q8\n"
                               "    precision: f32\n"
                               "    device: cpu\n"
                               "    pooling: mean\n"
                               "    max_text_length: 64\n"
                               "    lazy: true\n"
                               "  - {name: qwen3-0.6b}\n";
    (void)state;
    tkr_settings *settings = load(yaml, NULL, 0);
    assert_int_equal(settings->n_models, 2);
    const tkr_model_entry *model = &settings->models[0];
    assert_string_equal(model->name, "siglip");
    assert_string_equal(model->alias, "pictures");
    assert_string_equal(model->quantization, "q8");
    assert_string_equal(model->precision, "f32");
    assert_string_equal(model->device, "cpu");
    assert_string_equal(model->pooling, "mean");
    assert_true(model->max_tokens == 64 && model->lazy);
    assert_string_equal(model->origin, "serve.yaml:4");
    assert_true(settings->models[1].alias == NULL && settings->models[1].quantization == NULL);
    assert_true(settings->models[1].max_tokens == 0 && !settings->models[1].lazy);
    assert_string_equal(tkr_settings_model_name(settings, 0), "minilm");
    assert_string_equal(tkr_settings_model_name(settings, 1), "pictures");
    assert_string_equal(tkr_settings_model_name(settings, 2), "qwen3-0.6b");
    tkr_settings_free(&settings);
}

/* Without model.name the first of the list is the default model, unless a flag names one. */
static void test_first_model(void **state) {
    static const char yaml[] = "models:\n"
                               "  - name: minilm\n"
                               "    alias: small\n"
                               "    quantization: q8\n"
                               "    max_text_length: 99\n"
                               "  - name: siglip\n";
    const tkr_setting_flag flag = {TKR_SET_MODEL, "bge-m3"};
    const tkr_setting_flag both[] = {{TKR_SET_QUANTIZATION, "q4"}, {TKR_SET_PROFILE, "16gb"}};
    (void)state;
    tkr_settings *settings = load(yaml, NULL, 0);
    is(settings, TKR_SET_MODEL, "minilm", "serve.yaml:2");
    is(settings, TKR_SET_MODEL_ALIAS, "small", "serve.yaml:3");
    is(settings, TKR_SET_QUANTIZATION, "q8", "serve.yaml:4");
    is(settings, TKR_SET_MAX_TEXT_LENGTH, "99", "serve.yaml:5");
    assert_int_equal(settings->n_models, 1);
    assert_string_equal(settings->models[0].name, "siglip");
    /* Its fields are its own. */
    assert_string_equal(tkr_setting_of_others(settings, TKR_SET_QUANTIZATION)->text, "auto");
    assert_null(tkr_setting_of_others(settings, TKR_SET_MAX_TEXT_LENGTH)->text);
    assert_string_equal(tkr_setting_of_others(settings, TKR_SET_DEVICE)->text, "auto");
    tkr_settings_free(&settings);
    settings = load(yaml, both, 2);
    is(settings, TKR_SET_MODEL, "minilm", "serve.yaml:2");
    is(settings, TKR_SET_QUANTIZATION, "q4", "--quantization");
    assert_string_equal(tkr_setting_of_others(settings, TKR_SET_QUANTIZATION)->text, "q4");
    is(settings, TKR_SET_MAX_TEXT_LENGTH, "99", "serve.yaml:5");
    assert_int_equal(tkr_setting_of_others(settings, TKR_SET_MAX_TEXT_LENGTH)->number, 2048);
    tkr_settings_free(&settings);
    settings = load(yaml, &flag, 1);
    is(settings, TKR_SET_MODEL, "bge-m3", "--model");
    assert_int_equal(settings->n_models, 2);
    tkr_settings_free(&settings);
}

/* What is wrong, and a part of what is said; the line stands in front. */
static const struct {
    const char *yaml;
    const char *says;
} mistakes[] = {
    {"servr:\n  port: 1\n", "serve.yaml:1: unknown section \"servr\", did you mean \"server\"?"},
    {"zzzzzz: 1\n", "serve.yaml:1: unknown section \"zzzzzz\"; there are models, model, processing, server"},
    {"\nserver:\n  prot: 1\n", "serve.yaml:3: unknown key \"prot\" in section \"server\", did you mean \"port\"?"},
    {"model:\n  port: 1\n",
     "serve.yaml:2: unknown key \"port\" in section \"model\"; it belongs to section \"server\""},
    {"server.port: 1\n", "serve.yaml:1: unknown section \"server.port\""},
    {"server:\n  port: eighty\n", "serve.yaml:2: server.port is \"eighty\", expected a whole number from 0 to 65535"},
    {"server:\n  port: 65536\n", "serve.yaml:2: server.port is \"65536\", expected a whole number from 0 to 65535"},
    {"server:\n  port: -1\n", "serve.yaml:2: server.port is \"-1\""},
    {"server:\n  port: 80.5\n", "serve.yaml:2: server.port is \"80.5\""},
    {"server:\n  port: 0x50\n", "serve.yaml:2: server.port is \"0x50\""},
    {"server:\n  timeout: .inf\n", "serve.yaml:2: server.timeout is \".inf\", expected a number from 0.1 to 86400"},
    {"server:\n  timeout: .nan\n", "serve.yaml:2: server.timeout is \".nan\""},
    {"server:\n  max_body: much\n", "serve.yaml:2: server.max_body is \"much\", expected a size such as 512M"},
    {"server:\n  port: [1]\n", "serve.yaml:2: server.port is a list, expected a whole number"},
    {"server:\n  port: {a: 1}\n", "serve.yaml:2: server.port is a section, expected a whole number"},
    {"server:\n  port: 1\n  port: 2\n", "serve.yaml:3: server.port was given in line 2 already"},
    {"server:\n  port: 1\nmodel:\nserver:\n", "serve.yaml:4: section \"server\" was given in line 1 already"},
    {"profile: 16gb\nprofile: 32gb\n", "serve.yaml:2: profile was given in line 1 already"},
    {"profile: 8gb\n", "serve.yaml:1: profile is \"8gb\", expected one of auto|16gb|32gb|64gb|none"},
    {"server: &a\n  port: 1\n", "serve.yaml:1: &a: anchors aren't read"},
    {"server:\n  host: &h x\n", "serve.yaml:2: &h: anchors aren't read"},
    {"server:\n  host: *h\n", "serve.yaml:2: *h: aliases aren't read"},
    {"server:\n  <<: {port: 1}\n", "serve.yaml:2: unknown key \"<<\""},
    {"server: !x\n  port: 1\n", "serve.yaml:1: !x: tags aren't read"},
    {"server:\n  port: !!int 1\n", "serve.yaml:2: tag:yaml.org,2002:int: tags aren't read"},
    {"server:\n  port: 1\n---\nserver:\n", "serve.yaml:3: a second document begins"},
    {"server: on\n", "serve.yaml:1: section \"server\" is a value, expected keys"},
    {"server: [port]\n", "serve.yaml:1: section \"server\" is a list, expected keys"},
    {"just text\n", "serve.yaml:1: the file is a value, expected sections"},
    {"- a\n", "serve.yaml:1: the file is a list, expected sections"},
    {"[a]: 1\n", "serve.yaml:1: a key is a list, expected a word"},
    {"server:\n  {a: b}: 1\n", "serve.yaml:2: a key is a section, expected a word"},
    {"server:\n\tport: 1\n", "serve.yaml:2: not valid YAML: found character that cannot start any token"},
    {"server:\n  host: \"x\n", "not valid YAML: found unexpected end of stream"},
    {"server:\n  host: \xff\n", "not valid YAML: invalid leading UTF-8 octet"},
    {"server:\n  host: \"a\\0b\"\n", "serve.yaml:2: holds a NUL character"},
    {"server:\n  socket: \"a\\nb\"\n", "serve.yaml:2: server.socket holds a line break"},
    {"server:\n  socket: \"a\\x85\"\n", "serve.yaml:2: server.socket holds a line break"},
    {"models:\n  - name: \"a\\n\"\n", "serve.yaml:2: models: name holds a line break"},
    {"server:\n  host: \"\"\n", "serve.yaml:2: server.host is \"\", expected an address"},
    {"server:\n  host: http://x\n", "serve.yaml:2: server.host is \"http://x\", expected an address"},
    {"server:\n  cors_origins: [a, [b]]\n", "serve.yaml:2: server.cors_origins holds a list, expected texts"},
    {"server:\n  cors_origins: [\"a,b\"]\n",
     "serve.yaml:2: server.cors_origins holds \"a,b\", expected texts without a"},
    {"server:\n  cors_origins: \"*,,\"\n", "serve.yaml:2: server.cors_origins has nothing before or behind a comma"},
    {"server:\n  cors_origins: [example.org]\n",
     "serve.yaml:2: server.cors_origins has \"example.org\", expected \"*\""},
    {"server:\n  tls_key: k.pem\n", "serve.yaml:2: server.tls_key needs server.tls_certificate beside it"},
    {"server:\n  socket: /a\n  admin_socket: /a\n", "serve.yaml:3: server.admin_socket is the same path"},
    {"model:\n  allow_url: [http://x]\n", "serve.yaml:2: model.allow_url has \"http://x\", expected host names"},
    {"model:\n  name: \"\"\n", "serve.yaml:2: model.name is empty"},
    {"model:\n  offline: maybe\n", "serve.yaml:2: model.offline is \"maybe\", expected 1 or 0"},
    {"model:\n  quantization: q5\n", "serve.yaml:2: model.quantization is \"q5\", expected one of auto|none|q8|q4"},
    {"optimization:\n  cache_url: http://u:secret@x\n", "serve.yaml:2: optimization.cache_url is not an address of"},
    {"monitoring:\n  otlp_endpoint: x\n", "serve.yaml:2: monitoring.otlp_endpoint is not an address of the form"},
    {"processing:\n  max_video_frames: 1025\n",
     "serve.yaml:2: processing.max_video_frames is \"1025\", expected a whole"},
    {"processing:\n  video_pooling: median\n", "serve.yaml:2: processing.video_pooling is \"median\", expected one of"},
    {"models: minilm\n", "serve.yaml:1: models is a value, expected a list of models"},
    {"models:\n  - minilm\n", "serve.yaml:2: models holds a value, expected models such as"},
    {"models:\n  - alias: a\n", "serve.yaml:2: models: a model without \"name\""},
    {"models:\n  - name: a\n    name: b\n", "serve.yaml:3: key \"name\" was given in line 2 already"},
    {"models:\n  - name: a\n    quant: q8\n", "serve.yaml:3: unknown key \"quant\" of a model"},
    {"models:\n  - name: a\n    aliass: q8\n",
     "serve.yaml:3: unknown key \"aliass\" of a model in \"models\", did you mean"},
    {"models:\n  - name: a\n    quantization: q5\n", "serve.yaml:3: models: quantization is \"q5\", expected one of"},
    {"models:\n  - name: a\n    max_text_length: 0\n",
     "serve.yaml:3: models: max_text_length is \"0\", expected a whole"},
    {"models:\n  - name: [a]\n", "serve.yaml:2: models: name is a list, expected a text"},
    {"models:\n  - name: a\n    lazy: true\n", "serve.yaml:2: the first model is the default one and can't be lazy"},
    {"models:\n  - name: a\n  - name: b\n    alias: a\n", "serve.yaml:3: two models are called \"a\""},
    {"model: {name: demo, alias: main}\nmodels:\n  - {name: x, alias: demo}\n",
     "serve.yaml:3: a model is called \"demo\", which is what \"main\" is loaded from; give it another alias"},
    {"models:\n  - {name: m, alias: a}\n  - {name: n}\n  - {name: m}\n",
     "serve.yaml:4: a model is called \"m\", which is what \"a\" is loaded from"},
    {"models:\nmodels:\n", "serve.yaml:2: section \"models\" was given in line 1 already"},
};

static void test_mistakes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        tkr_settings *settings = NULL;
        tkr_error error = {0};
        write_file(file, mistakes[i].yaml);
        if (tkr_settings_load(&settings, file, NULL, 0, &error) == TKR_OK) {
            fail_msg("accepted: %s", mistakes[i].yaml);
        }
        assert_null(settings);
        if (strstr(error.message, mistakes[i].says) == NULL) {
            fail_msg("%s\ngave:     %s\nexpected: %s", mistakes[i].yaml, error.message, mistakes[i].says);
        }
        assert_null(strchr(error.message, '\n'));
        assert_null(strstr(error.message, "secret"));
    }
}

static void test_big_files(void **state) {
    enum { SIZE = 3 << 19 };
    tkr_settings *settings = NULL;
    tkr_error error = {0};
    (void)state;
    char *text = malloc(SIZE + 1);
    assert_non_null(text);
    memset(text, '#', SIZE);
    text[SIZE] = '\0';
    write_file(file, text);
    assert_int_equal(tkr_settings_load(&settings, file, NULL, 0, &error), TKR_LIMIT);
    memset(text, '[', 1 << 16); /* nesting ends at its first level */
    text[1 << 16] = '\0';
    write_file(file, text);
    assert_int_equal(tkr_settings_load(&settings, file, NULL, 0, &error), TKR_FORMAT);
    assert_int_equal(tkr_settings_load(&settings, "no-such-file", NULL, 0, &error), TKR_NOT_FOUND);
    free(text);
}

static void test_environment_mistakes(void **state) {
    tkr_settings *settings = NULL;
    tkr_error error = {0};
    const tkr_setting_flag flag = {TKR_SET_TIMEOUT, "0"};
    (void)state;
    setenv("TKR_PORT", "x", 1);
    assert_int_equal(tkr_settings_load(&settings, NULL, NULL, 0, &error), TKR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "TKR_PORT is \"x\", expected a whole number from 0 to 65535");
    unsetenv("TKR_PORT");
    assert_int_equal(tkr_settings_load(&settings, NULL, &flag, 1, &error), TKR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "--timeout is \"0\", expected a number from 0.1 to 86400");
}

/* ---- showing ---- */

static const char shown[] = "model:\n"
                            "  name: minilm\n"
                            "models:\n"
                            "  - name: \"sig\\\"lip\"\n"
                            "    lazy: true\n"
                            "    max_text_length: 64\n"
                            "server:\n"
                            "  cors_origins: [https://a.example]\n"
                            "  max_body: 3M\n"
                            "  timeout: 1.5\n"
                            "optimization:\n"
                            "  cache_url: redis://user:secret@host:1/0\n"
                            "auth:\n"
                            "  api_key: secretsecretsecret\n";

/* What is shown is a file that gives the same settings. */
static void test_show(void **state) {
    tkr_buf text = {0};
    (void)state;
    tkr_settings *settings = load(shown, NULL, 0);
    assert_true(tkr_settings_show(&text, settings));
    assert_null(strstr(text.data, "secret"));
    assert_non_null(strstr(text.data, "  api_key: \"***\"  # serve.yaml:14\n"));
    assert_non_null(strstr(text.data, "  cache_url: \"redis://user:***@host:1/0\"  # serve.yaml:12\n"));
    assert_non_null(strstr(text.data, "server:\n  host: \"127.0.0.1\"  # default\n"));
    assert_non_null(strstr(text.data, "models:\n"
                                      "  - name: \"sig\\\"lip\"  # serve.yaml:4\n"
                                      "    max_text_length: 64  # serve.yaml:6\n"
                                      "    lazy: true  # serve.yaml:5\n"));
    tkr_settings_free(&settings);
    settings = load(text.data, NULL, 0);
    is(settings, TKR_SET_MAX_BODY, "3M", tkr_setting_of(settings, TKR_SET_MAX_BODY)->origin);
    assert_true(tkr_setting_of(settings, TKR_SET_TIMEOUT)->real == 1.5);
    assert_int_equal(tkr_setting_of(settings, TKR_SET_CORS)->n_list, 1);
    assert_int_equal(settings->n_models, 1);
    assert_string_equal(settings->models[0].name, "sig\"lip");
    assert_true(settings->models[0].lazy && settings->models[0].max_tokens == 64);
    tkr_settings_free(&settings);
    tkr_buf_free(&text);
}

/* What the first of the list has for itself isn't shown as the others'. */
static void test_show_first_model(void **state) {
    tkr_buf text = {0};
    (void)state;
    tkr_settings *settings = load("models:\n"
                                  "  - {name: m, alias: a, pooling: cls, max_text_length: 8, quantization: q8}\n"
                                  "  - {name: m, alias: b}\n",
                                  NULL, 0);
    assert_true(tkr_settings_show(&text, settings));
    assert_non_null(strstr(text.data, "  pooling: \"cls\"  # serve.yaml:2\n"));
    assert_non_null(strstr(text.data, "models:\n"
                                      "  - name: \"m\"  # serve.yaml:3\n"
                                      "    alias: \"b\"  # serve.yaml:3\n"
                                      "    quantization: \"auto\"  # default\n"
                                      "    pooling: \"\"  # default\n"
                                      "    max_text_length: 1048576  # default\n"));
    tkr_settings_free(&settings);
    settings = load(text.data, NULL, 0);
    assert_string_equal(tkr_setting_of(settings, TKR_SET_POOLING)->text, "cls");
    assert_int_equal(settings->n_models, 1);
    assert_string_equal(settings->models[0].alias, "b");
    assert_string_equal(settings->models[0].pooling, "");
    assert_string_equal(settings->models[0].quantization, "auto");
    assert_int_equal(settings->models[0].max_tokens, 1048576); /* the model's own limit */
    assert_null(settings->models[0].device);
    tkr_settings_free(&settings);
    tkr_buf_free(&text);
}

static void test_show_json(void **state) {
    tkr_buf text = {0};
    (void)state;
    tkr_settings *settings = load(shown, NULL, 0);
    assert_true(tkr_settings_show_json(&text, settings));
    assert_null(strstr(text.data, "secret"));
    json_t *root = json_loadb(text.data, text.size, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    assert_int_equal(json_object_size(root), TKR_N_SETTINGS + 1);
    const json_t *body = json_object_get(root, "server.max_body");
    assert_int_equal(json_integer_value(json_object_get(body, "value")), 3 << 20);
    assert_string_equal(json_string_value(json_object_get(body, "origin")), "serve.yaml:9");
    assert_true(json_is_null(json_object_get(json_object_get(root, "server.socket"), "value")));
    assert_true(json_is_true(json_object_get(json_object_get(root, "optimization.use_cache"), "value")));
    assert_string_equal(json_string_value(json_object_get(json_object_get(root, "model.quantization"), "value")),
                        "auto");
    const json_t *models = json_object_get(root, "models"),
                 *origin = json_object_get(json_array_get(models, 0), "origin");
    assert_int_equal(json_array_size(models), 1);
    assert_int_equal(json_object_size(origin), 3);
    assert_string_equal(json_string_value(json_object_get(origin, "name")), "serve.yaml:4");
    assert_string_equal(json_string_value(json_object_get(origin, "lazy")), "serve.yaml:5");
    assert_string_equal(json_string_value(json_object_get(origin, "max_text_length")), "serve.yaml:6");
    json_decref(root);
    tkr_settings_free(&settings);
    tkr_buf_free(&text);
}

static void count_warning(void *user, const char *line) {
    tkr_buf *all = user;
    tkr_buf_printf(all, "%s\n", line);
}

static void test_warnings(void **state) {
    tkr_buf all = {0};
    (void)state;
    tkr_settings *settings = load("auth: {api_key: short, insecure_no_auth: true}\n"
                                  "model: {no_jail: true}\n",
                                  NULL, 0);
    tkr_settings_each_warning(settings, count_warning, &all);
    static const char *const words[] = {"short enough to be guessed", "no authentication", "without a jail",
                                        "demo model"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) assert_non_null(strstr(all.data, words[i]));
    tkr_settings_free(&settings);
    tkr_buf_free(&all);
}

/* A damaged file is refused with one line that names it, or is another file that is right. */
static void test_damaged_files(void **state) {
    uint64_t random = 20261126;
    size_t n_refused = 0;
    (void)state;
    for (int i = 0; i < 2000; i++) {
        tkr_settings *settings = NULL;
        tkr_error error = {0};
        tkr_buf text = {0};
        assert_int_equal(tkr_settings_create(&settings, &error), TKR_OK);
        assert_true(tkr_buf_append(&text, shown, sizeof shown - 1));
        for (int changes = 1 + i % 3; changes > 0; changes--) mutate_once(&text, &random);
        if (tkr_config_parse(settings, text.data, text.size, file, &error) != TKR_OK) {
            assert_int_equal(strncmp(error.message, "serve.yaml:", 11), 0);
            assert_null(strchr(error.message, '\n'));
            n_refused++;
        }
        tkr_settings_free(&settings);
        tkr_buf_free(&text);
    }
    assert_true(n_refused > 1000 && n_refused < 2000);
}

/* Every allocation and read fails in turn: an error each time, no leak, no crash. */
static void test_failures(void **state) {
    size_t n_failed = 0;
    (void)state;
    write_file(file, shown);
    for (long n = 0;; n++) {
        tkr_settings *settings = NULL;
        tkr_error error = {0};
        countdown count = {n};
        tkr_seam_set(fail_nth, &count);
        const tkr_status status = tkr_settings_load(&settings, file, NULL, 0, &error);
        tkr_seam_set(NULL, NULL);
        assert_true((status == TKR_OK) == (settings != NULL));
        tkr_settings_free(&settings);
        if (count.left >= 0) break;
        assert_true(status == TKR_NO_MEMORY || status == TKR_IO);
        n_failed++;
    }
    assert_true(n_failed > 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_sections_are_together),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_empty_means_none),
        cmocka_unit_test(test_profiles),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_first_model),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_big_files),
        cmocka_unit_test(test_environment_mistakes),
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_show_first_model),
        cmocka_unit_test(test_show_json),
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
