/* SPDX-License-Identifier: Apache-2.0 */
/* Models by name: holds, waking by several threads at once, unloading while held, one memory budget for all, failures.
 */
#define _GNU_SOURCE /* mkstemp */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/sync.h"
#include "server/models.h"

#include "../countdown.h"

#define FIRST TKR_TEST_DIR "/golden/bert/bert-mean/model"
#define SECOND TKR_TEST_DIR "/golden/bert/bert-cls/model"

enum { MAX_FLAGS = 8 };

typedef struct house {
    tkr_settings *settings;
    tkr_model_entry entries[2];
    tkr_models *models;
    char last_line[600]; /* of the log */
} house;

static void take_line(void *user, int level, const char *line) {
    house *h = user;
    if (level <= 2) (void)snprintf(h->last_line, sizeof h->last_line, "%s", line);
}

/* Settings with the model FIRST as "one" and some more flags, and with `second` the lazy model SECOND as "two". */
static void house_open(house *h, const tkr_setting_flag *flags, size_t n_flags, bool second) {
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_setting_flag all[MAX_FLAGS] = {{TKR_SET_MODEL, FIRST},
                                       {TKR_SET_MODEL_ALIAS, "one"},
                                       {TKR_SET_WARMUP, "false"},
                                       {TKR_SET_NO_WEIGHT_CACHE, "true"}};
    memset(h, 0, sizeof *h);
    for (size_t i = 0; i < n_flags; i++) all[4 + i] = flags[i];
    if (tkr_settings_load(&h->settings, NULL, all, 4 + n_flags, &error) != TKR_OK) fail_msg("%s", error.message);
    h->entries[0] = (tkr_model_entry){.name = SECOND, .alias = "two", .quantization = "none", .lazy = true};
    if (second) {
        h->settings->models = h->entries;
        h->settings->n_models = 1;
    }
    const tkr_log log = {take_line, h};
    if (tkr_models_create(&h->models, h->settings, &log, &error) != TKR_OK) fail_msg("%s", error.message);
}

static void house_close(house *h) {
    tkr_models_free(&h->models);
    h->settings->models = NULL;
    h->settings->n_models = 0;
    tkr_settings_free(&h->settings);
}

static void load_all(house *h) {
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_models_load_all(h->models, &error) != TKR_OK) fail_msg("%s", error.message);
}

/* Holds, and wakes where that is necessary. */
static tkr_served_model *hold(house *h, const char *name) {
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_served_model *m = NULL;
    tkr_status status = tkr_models_hold(&m, h->models, name, &error);
    if (status == TKR_BUSY) status = tkr_models_wake(h->models, m, &error);
    if (status != TKR_OK) fail_msg("%s", error.message);
    return m;
}

static void expect_works(const tkr_served_model *m) {
    for (size_t i = 0; i < 2; i++) {
        const tkr_input input = {.text = "stone", .n_text = 5};
        tkr_result *result = NULL;
        assert_int_equal(tkr_embed(&result, m->sessions[i], &input, 1, NULL, NULL), TKR_OK);
        assert_int_equal(tkr_result_get(result, 0).status, TKR_OK);
        tkr_result_free(&result);
    }
    assert_non_null(m->tokenizer);
    assert_true(m->info->dimensions > 0);
}

typedef struct view {
    char names[256];
    tkr_model_state states[8];
    size_t n;
} view;

static void look(void *user, const tkr_served_model *m) {
    view *v = user;
    const size_t n = strlen(v->names);
    (void)snprintf(v->names + n, sizeof v->names - n, "%s ", m->name);
    if (v->n < 8) v->states[v->n++] = m->state;
}

static void expect_models(house *h, const char *names) {
    view v = {.n = 0};
    tkr_models_each(h->models, look, &v);
    assert_string_equal(v.names, names);
}

static tkr_model_state state_of(house *h, size_t index) {
    view v = {.n = 0};
    tkr_models_each(h->models, look, &v);
    assert_true(index < v.n);
    return v.states[index];
}

/* ---- names ---- */

static void one_model_answers_to_every_name(void **state) {
    (void)state;
    house h;
    house_open(&h, NULL, 0, false);
    load_all(&h);
    assert_int_equal(state_of(&h, 0), TKR_MODEL_READY);
    static const char *const names[] = {NULL, "", "one", FIRST, "text-embedding-3-small"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tkr_served_model *m = hold(&h, names[i]);
        assert_string_equal(m->name, "one");
        assert_string_equal(m->reference, FIRST);
        expect_works(m);
        tkr_models_release(h.models, m);
    }
    house_close(&h);
}

static void names_are_told_apart(void **state) {
    (void)state;
    house h;
    tkr_served_model *m = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_setting_flag strict = {TKR_SET_STRICT_MODEL, "true"};
    house_open(&h, &strict, 1, false);
    load_all(&h);
    assert_int_equal(tkr_models_hold(&m, h.models, "two", &error), TKR_NOT_FOUND);
    assert_string_equal(error.message, "there is no model \"two\"; there is \"one\"");
    house_close(&h);
    house_open(&h, NULL, 0, true);
    load_all(&h);
    assert_int_equal(state_of(&h, 0), TKR_MODEL_READY);
    assert_int_equal(state_of(&h, 1), TKR_MODEL_ASLEEP); /* it comes with its first request */
    assert_int_equal(tkr_models_hold(&m, h.models, "three", &error), TKR_NOT_FOUND);
    assert_string_equal(error.message, "there is no model \"three\"; there is \"one\", \"two\"");
    expect_models(&h, "one two ");
    assert_int_equal(state_of(&h, 1), TKR_MODEL_ASLEEP);
    m = hold(&h, SECOND);
    assert_string_equal(m->name, "two");
    expect_works(m);
    tkr_models_release(h.models, m);
    house_close(&h);
}

static void names_may_be_there_once(void **state) {
    (void)state;
    house h;
    tkr_error error = {TKR_OK, NULL, ""};
    house_open(&h, NULL, 0, true);
    assert_int_equal(tkr_models_add(h.models, "two", FIRST, NULL, &error), TKR_BUSY);
    tkr_models *models = NULL;
    h.entries[0].alias = "one";
    assert_int_equal(tkr_models_create(&models, h.settings, NULL, &error), TKR_BUSY);
    h.entries[0] = (tkr_model_entry){.name = SECOND, .quantization = "q5"};
    assert_int_equal(tkr_models_create(&models, h.settings, NULL, &error), TKR_INVALID_ARGUMENT);
    assert_string_equal(error.message, "model.quantization is \"q5\"; known: auto|none|q8|q4");
    house_close(&h);
}

/* ---- waking ---- */

enum { N_WAKERS = 6 };

typedef struct waker {
    house *h;
    tkr_served_model *model;
    tkr_status status;
} waker;

static void wake(void *arg) {
    waker *w = arg;
    w->status = tkr_models_hold(&w->model, w->h->models, "two", NULL);
    if (w->status == TKR_BUSY) w->status = tkr_models_wake(w->h->models, w->model, NULL);
}

/* Several threads wake one model: it is loaded once. */
static void wakers_share_one_load(void **state) {
    (void)state;
    house h;
    waker wakers[N_WAKERS];
    tkr_thread *threads[N_WAKERS];
    house_open(&h, NULL, 0, true);
    for (size_t i = 0; i < N_WAKERS; i++) {
        wakers[i] = (waker){.h = &h};
        assert_int_equal(tkr_thread_start(&threads[i], "waker", wake, &wakers[i], NULL), TKR_OK);
    }
    for (size_t i = 0; i < N_WAKERS; i++) tkr_thread_join(&threads[i]);
    for (size_t i = 0; i < N_WAKERS; i++) {
        assert_int_equal(wakers[i].status, TKR_OK);
        assert_ptr_equal(wakers[i].model->model, wakers[0].model->model);
        tkr_models_release(h.models, wakers[i].model);
    }
    house_close(&h);
}

static void failed_loads_say_why(void **state) {
    (void)state;
    house h;
    tkr_error error = {TKR_OK, NULL, ""}, again = {TKR_OK, NULL, ""};
    tkr_served_model *m = NULL;
    house_open(&h, NULL, 0, true);
    h.settings->n_models = 0;
    tkr_models_free(&h.models);
    h.entries[0] = (tkr_model_entry){.name = TKR_TEST_DIR "/golden/bert", .alias = "none", .lazy = true};
    h.settings->n_models = 1;
    assert_int_equal(tkr_models_create(&h.models, h.settings, NULL, &error), TKR_OK);
    assert_int_equal(tkr_models_hold(&m, h.models, "none", &error), TKR_BUSY);
    const tkr_status status = tkr_models_wake(h.models, m, &error);
    assert_int_not_equal(status, TKR_OK);
    assert_non_null(strstr(error.message, "golden/bert"));
    assert_int_equal(state_of(&h, 1), TKR_MODEL_FAILED);
    assert_int_equal(tkr_models_wake(h.models, m, &again), status); /* without loading again so soon */
    assert_string_equal(again.message, error.message);
    tkr_models_release(h.models, m);
    assert_int_equal(tkr_models_add(h.models, NULL, "/nowhere/model", NULL, &error), TKR_NOT_FOUND);
    expect_models(&h, "one none ");
    house_close(&h);
}

/* ---- unloading ---- */

static void unloading_waits_for_holders(void **state) {
    (void)state;
    house h;
    tkr_error error = {TKR_OK, NULL, ""};
    house_open(&h, NULL, 0, true);
    load_all(&h);
    tkr_served_model *m = hold(&h, "one");
    assert_ptr_equal(hold(&h, "one"), m);
    assert_int_equal(tkr_models_unload(h.models, "one", &error), TKR_OK); /* doesn't wait */
    expect_works(m);
    tkr_models_release(h.models, m);
    expect_works(m);
    assert_int_equal(state_of(&h, 0), TKR_MODEL_READY);
    tkr_models_release(h.models, m);
    assert_int_equal(state_of(&h, 0), TKR_MODEL_ASLEEP);
    tkr_models_tick(h.models);
    m = hold(&h, "one");
    expect_works(m);
    tkr_models_release(h.models, m);
    assert_int_equal(tkr_models_unload(h.models, "three", &error), TKR_NOT_FOUND);
    house_close(&h);
}

static void added_models_come_and_go(void **state) {
    (void)state;
    house h;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_served_model *m = NULL;
    const tkr_setting_flag warm = {TKR_SET_WARMUP, "true"};
    house_open(&h, &warm, 1, false);
    load_all(&h);
    if (tkr_models_add(h.models, "new", SECOND, "q8", &error) != TKR_OK) fail_msg("%s", error.message);
    expect_models(&h, "one new ");
    m = hold(&h, "new");
    expect_works(m);
    assert_string_equal(m->info->quantization, "q8");
    assert_true(m->tokens_per_s > 0); /* measured with the warm-up */
    assert_int_equal(tkr_models_unload(h.models, "new", &error), TKR_OK);
    tkr_served_model *late = NULL;
    assert_int_equal(tkr_models_hold(&late, h.models, "new", &error), TKR_NOT_FOUND);
    expect_works(m);
    tkr_models_release(h.models, m);
    expect_models(&h, "one ");
    if (tkr_models_add(h.models, NULL, SECOND, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_int_equal(tkr_models_unload(h.models, SECOND, &error), TKR_OK);
    expect_models(&h, "one ");
    house_close(&h);
}

static void idle_models_sleep(void **state) {
    (void)state;
    house h;
    const tkr_setting_flag idle = {TKR_SET_IDLE_UNLOAD, "0.05"};
    house_open(&h, &idle, 1, false);
    load_all(&h);
    tkr_served_model *m = hold(&h, "one");
    const double until = tkr_now() + 0.1;
    while (tkr_now() < until) tkr_models_tick(h.models);
    assert_int_equal(state_of(&h, 0), TKR_MODEL_READY); /* held */
    tkr_models_release(h.models, m);
    tkr_models_tick(h.models);
    assert_int_equal(state_of(&h, 0), TKR_MODEL_READY); /* just used */
    const double end = tkr_now() + 60;
    while (state_of(&h, 0) == TKR_MODEL_READY && tkr_now() < end) tkr_models_tick(h.models);
    assert_int_equal(state_of(&h, 0), TKR_MODEL_ASLEEP);
    assert_non_null(strstr(h.last_line, "sleep"));
    m = hold(&h, "one");
    expect_works(m);
    tkr_models_release(h.models, m);
    house_close(&h);
}

/* ---- memory ---- */

/* What one model takes, sessions included. */
static uint64_t bytes_of(const tkr_served_model *m) { return m->info->weights_bytes + 2 * m->info->workspace_bytes; }

static void models_share_one_budget(void **state) {
    (void)state;
    house h;
    tkr_error error = {TKR_OK, NULL, ""};
    char limit[32];
    house_open(&h, NULL, 0, false);
    load_all(&h);
    tkr_served_model *m = hold(&h, "one");
    const uint64_t bytes = bytes_of(m);
    tkr_models_release(h.models, m);
    house_close(&h);
    /* Room for one and a bit. */
    (void)snprintf(limit, sizeof limit, "%llu", (unsigned long long)(bytes + bytes / 8));
    const tkr_setting_flag memory = {TKR_SET_MAX_MEMORY, limit};
    house_open(&h, &memory, 1, false);
    load_all(&h);
    assert_int_equal(tkr_models_add(h.models, "new", SECOND, NULL, &error), TKR_LIMIT);
    assert_non_null(strstr(error.message, "MiB for all models"));
    assert_non_null(strstr(error.message, "beside one ("));
    expect_models(&h, "one ");
    assert_int_equal(tkr_models_unload(h.models, "one", &error), TKR_OK);
    if (tkr_models_add(h.models, "new", SECOND, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
    house_close(&h);
    /* Room for the weights and one workspace: both sessions are one. */
    const uint64_t less = bytes - bytes / 16;
    (void)snprintf(limit, sizeof limit, "%llu", (unsigned long long)less);
    house_open(&h, &memory, 1, false);
    load_all(&h);
    m = hold(&h, "one");
    assert_ptr_equal(m->sessions[0], m->sessions[1]);
    expect_works(m);
    tkr_models_release(h.models, m);
    house_close(&h);
}

/* ---- settings ---- */

static void take_options(void *user, const tkr_served_model *m) {
    tkr_buf *out = user;
    const tkr_model_options *o = &m->options;
    tkr_buf_printf(out, "%s:%s:%zu:%d:%d:%s ", m->name, o->pooling ? o->pooling : "-", o->max_tokens,
                   (int)o->quantization, (int)o->precision, o->device);
}

static void expect_options(const char *yaml, const tkr_setting_flag *flags, size_t n_flags, const char *options) {
    char path[] = "/tmp/tkr-models-XXXXXX";
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_settings *settings = NULL;
    tkr_models *models = NULL;
    tkr_buf text = {0};
    const int fd = mkstemp(path);
    assert_true(fd >= 0 && close(fd) == 0);
    assert_int_equal(tkr_file_write_atomic(path, yaml, strlen(yaml), &error), TKR_OK);
    if (tkr_settings_load(&settings, path, flags, n_flags, &error) != TKR_OK) fail_msg("%s", error.message);
    if (tkr_models_create(&models, settings, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
    tkr_models_each(models, take_options, &text);
    assert_string_equal(text.data, options);
    tkr_buf_free(&text);
    tkr_models_free(&models);
    tkr_settings_free(&settings);
    (void)remove(path);
}

/* What the first of the list says is its own; what the settings say holds for all that say nothing. */
static void entries_have_their_own_options(void **state) {
    (void)state;
    static const char listed[] = "models:\n"
                                 "  - {name: m, alias: a, pooling: cls, max_text_length: 8, quantization: q8,"
                                 " precision: f32, device: cpu}\n"
                                 "  - {name: m, alias: b}\n"
                                 "  - {name: m, alias: c, pooling: max}\n";
    static const char settled[] = "model: {name: m, alias: a, pooling: mean}\n"
                                  "models: [{name: m, alias: b}, {name: m, alias: c, pooling: \"\"}]\n";
    const tkr_setting_flag flags[] = {{TKR_SET_POOLING, "mean"}, {TKR_SET_QUANTIZATION, "q4"}};
    expect_options(listed, NULL, 0, "a:cls:8:2:1:cpu b:-:0:0:0:auto c:max:0:0:0:auto ");
    expect_options(listed, flags, 2, "a:mean:8:3:1:cpu b:mean:0:3:0:auto c:max:0:3:0:auto ");
    static const char swapped[] = "models: [{name: m, alias: n}, {name: n, alias: m2}]\n"; /* n is the first one */
    expect_options(swapped, NULL, 0, "n:-:0:0:0:auto m2:-:0:0:0:auto ");
    expect_options(settled, NULL, 0, "a:mean:0:0:0:auto b:mean:0:0:0:auto c:-:0:0:0:auto ");
}

/* ---- without memory ---- */

static tkr_status whole_life(tkr_error *error) {
    const tkr_setting_flag flags[] = {{TKR_SET_MODEL, FIRST}, {TKR_SET_NO_WEIGHT_CACHE, "true"}};
    static tkr_settings *settings; /* made before allocations fail */
    if (!settings) assert_int_equal(tkr_settings_load(&settings, NULL, flags, 2, NULL), TKR_OK);
    tkr_models *models = NULL;
    tkr_status status = tkr_models_create(&models, settings, NULL, error);
    if (status == TKR_OK) status = tkr_models_load_all(models, error);
    if (status == TKR_OK) status = tkr_models_add(models, "new", SECOND, NULL, error);
    if (status == TKR_OK) status = tkr_models_unload(models, "new", error);
    tkr_models_free(&models);
    if (!error) tkr_settings_free(&settings);
    return status;
}

/* Every 7th allocation of a life fails in turn: tests/engine fails each one of a load. */
static void failing_allocations_are_survived(void **state) {
    (void)state;
    tkr_error error = {TKR_OK, NULL, ""};
    assert_int_equal(whole_life(&error), TKR_OK);
    size_t n_failed = 0;
    for (long n = 0;; n += 7) {
        countdown count = {n};
        tkr_seam_set(fail_nth, &count);
        const tkr_status status = whole_life(&error);
        tkr_seam_set(NULL, NULL);
        if (count.left >= 0) {
            assert_int_equal(status, TKR_OK);
            break;
        }
        n_failed += status != TKR_OK;
    }
    assert_true(n_failed > 10);
    assert_int_equal(whole_life(NULL), TKR_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_model_answers_to_every_name),
        cmocka_unit_test(names_are_told_apart),
        cmocka_unit_test(names_may_be_there_once),
        cmocka_unit_test(wakers_share_one_load),
        cmocka_unit_test(failed_loads_say_why),
        cmocka_unit_test(unloading_waits_for_holders),
        cmocka_unit_test(added_models_come_and_go),
        cmocka_unit_test(idle_models_sleep),
        cmocka_unit_test(models_share_one_budget),
        cmocka_unit_test(entries_have_their_own_options),
        cmocka_unit_test(failing_allocations_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
