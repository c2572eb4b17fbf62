/* SPDX-License-Identifier: Apache-2.0 */
/* Golden cases: inputs and expected vectors of tests/golden/<...>/{cases.json,expected.safetensors}. A missing file
 * fails. */
#ifndef TESTS_ENGINE_GOLDEN_H
#define TESTS_ENGINE_GOLDEN_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/json.h"
#include "formats/safetensors.h"
#include "tkr/embed.h"

typedef struct golden {
    char folder[1300], model[1400];
    json_t *cases;
    tkr_tensors *expected;
    size_t n;
} golden;

static inline void golden_open(golden *g, const char *relative) {
    char path[1400];
    tkr_error error = {TKR_OK, NULL, ""};
    snprintf(g->folder, sizeof g->folder, "%s/golden/%s", TKR_TEST_DIR, relative);
    snprintf(g->model, sizeof g->model, "%s/model", g->folder);
    snprintf(path, sizeof path, "%s/cases.json", g->folder);
    if (tkr_json_file(&g->cases, path, &error) != TKR_OK) fail_msg("%s", error.message);
    snprintf(path, sizeof path, "%s/expected.safetensors", g->folder);
    if (tkr_tensors_open_file(&g->expected, path, &error) != TKR_OK) fail_msg("%s", error.message);
    g->n = json_array_size(json_object_get(g->cases, "inputs"));
    assert_true(g->n > 0);
}

static inline void golden_close(golden *g) {
    json_decref(g->cases);
    tkr_tensors_free(&g->expected);
}

static inline const json_t *golden_input(const golden *g, size_t i) {
    return json_array_get(json_object_get(g->cases, "inputs"), i);
}

/* The input as text, with the prompt that the case used. Borrows from the case. */
static inline tkr_input golden_text(const golden *g, size_t i) {
    const json_t *text = json_object_get(golden_input(g, i), "text");
    const json_t *prompt = json_object_get(golden_input(g, i), "prompt_name");
    return (tkr_input){
        .text = json_string_value(text), .n_text = json_string_length(text), .prompt_name = json_string_value(prompt)};
}

/* Expected vector i; its length goes to *n. */
static inline const float *golden_vector(const golden *g, size_t i, size_t *n) {
    char name[64];
    snprintf(name, sizeof name, "%zu.embedding", i);
    const tkr_tensor_view *view = tkr_tensors_find(g->expected, name);
    if (!view) { /* the real model's vectors are one matrix */
        view = tkr_tensors_find(g->expected, "embeddings");
        assert_non_null(view);
        *n = (size_t)view->shape[1];
        return (const float *)view->data + i * *n;
    }
    *n = view->n_elements;
    return view->data;
}

/* Calls fn for each case folder of an architecture, as "arch/case"; returns how many there are. */
static inline size_t golden_each(const char *arch, void (*fn)(const char *folder)) {
    char path[600], folder[600];
    size_t n = 0;
    snprintf(path, sizeof path, "%s/golden/%s", TKR_TEST_DIR, arch);
    DIR *dir = opendir(path);
    for (const struct dirent *entry = dir ? readdir(dir) : NULL; entry; entry = readdir(dir)) {
        if (entry->d_name[0] == '.') continue;
        snprintf(folder, sizeof folder, "%s/%s", arch, entry->d_name);
        fn(folder);
        n++;
    }
    if (dir) closedir(dir);
    return n;
}

/* The folder of the real all-MiniLM-L6-v2; fails when scripts/get-model has not run. */
static inline const char *minilm_reference(void) {
    const char *path = getenv("TKR_MINILM");
    return path && *path ? path : "sentence-transformers/all-MiniLM-L6-v2";
}

typedef struct embedder {
    tkr_model *model;
    tkr_session *session;
} embedder;

typedef struct embedder_options {
    tkr_precision precision;
    tkr_quantization quantization;
    unsigned threads;
    const char *cpu;
    const char *device;
} embedder_options;

static inline void embedder_open(embedder *e, const char *reference, const embedder_options *options) {
    tkr_model_options o;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_model_options_init(&o);
    o.offline = 1;
    o.precision = options->precision;
    o.quantization = options->quantization;
    o.threads = options->threads;
    o.cpu = options->cpu;
    o.device = options->device;
    if (tkr_model_load(&e->model, reference, &o, &error) != TKR_OK ||
        tkr_session_create(&e->session, e->model, &error) != TKR_OK)
        fail_msg("%s: %s", reference, error.message);
}

static inline void embedder_close(embedder *e) {
    tkr_session_free(&e->session);
    tkr_model_free(&e->model);
}

/* Embeds and fails the test on any error, of the call or of an item. */
static inline tkr_result *embed_all(embedder *e, const tkr_input *inputs, size_t n, const tkr_embed_options *options) {
    tkr_result *result = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_embed(&result, e->session, inputs, n, options, &error) != TKR_OK) fail_msg("%s", error.message);
    for (size_t i = 0; i < n; i++) {
        tkr_result_item item = tkr_result_get(result, i);
        if (item.status != TKR_OK) fail_msg("input %zu: %s", i, item.message);
    }
    return result;
}

#endif
