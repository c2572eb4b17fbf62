/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint's network without the engine around it: config.json, tensors, binder and backend, for tests that need
 * hidden states or formats of their own. A missing file fails. */
#ifndef TESTS_MODELS_NETWORK_H
#define TESTS_MODELS_NETWORK_H

#include <dirent.h>
#include <math.h>
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
#include "models/pooling.h"
#include "models/vision.h"

enum { MAX_TOKENS = 4096 };

typedef struct network {
    json_t *json, *cases;
    tkr_tensors *tensors, *expected;
    tkr_kernels kernels;
    tkr_pool *pool;
    tkr_backend *backend;
    tkr_run *run;
    const tkr_arch *arch;
    tkr_arch_config config;
    tkr_vision_config vision;
    tkr_arch_spec spec; /* of these */
    tkr_arch_model *model;
} network;

typedef struct network_options {
    const char *cpu;
    tkr_gemm_mode mode;
    size_t group;
} network_options;

static inline tkr_status network_bind(network *n, const network_options *o, const json_t *quantization,
                                      tkr_error *error) {
    tkr_binder *binder = NULL;
    const tkr_binder_options options = {.set = n->tensors,
                                        .ops = &tkr_ops_cpu,
                                        .backend = n->backend,
                                        .mode = o->mode,
                                        .group = o->group ? o->group : 64,
                                        .quantization = quantization};
    tkr_status status = tkr_binder_create(&binder, &options, error);
    if (status == TKR_OK) status = tkr_arch_bind(&n->model, binder, &n->spec, error);
    tkr_binder_free(&binder);
    return status;
}

/* Everything but the weights. `folder` lies below tests/golden. */
static inline void network_prepare(network *n, const char *folder, const char *cpu) {
    char path[700];
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_cpu_flags flags = 0;
    memset(n, 0, sizeof *n);
    snprintf(path, sizeof path, "%s/golden/%s/model/config.json", TKR_TEST_DIR, folder);
    if (tkr_json_file(&n->json, path, &error) != TKR_OK) fail_msg("%s", error.message);
    n->arch = tkr_arch_find(json_string_value(json_object_get(n->json, "model_type")));
    assert_non_null(n->arch);
    if (n->arch->configure(&n->config, n->json, path, &error) != TKR_OK) fail_msg("%s", error.message);
    n->spec = (tkr_arch_spec){.arch = n->arch, .config = &n->config};
    if (n->arch->vision) {
        n->spec.vision = &n->vision;
        if (n->arch->vision->configure(&n->vision, &n->config, n->json, path, &error) != TKR_OK)
            fail_msg("%s", error.message);
    }
    snprintf(path, sizeof path, "%s/golden/%s/cases.json", TKR_TEST_DIR, folder);
    if (tkr_json_file(&n->cases, path, &error) != TKR_OK) fail_msg("%s", error.message);
    snprintf(path, sizeof path, "%s/golden/%s/expected.safetensors", TKR_TEST_DIR, folder);
    if (tkr_tensors_open_file(&n->expected, path, &error) != TKR_OK) fail_msg("%s", error.message);
    snprintf(path, sizeof path, "%s/golden/%s/model", TKR_TEST_DIR, folder);
    if (tkr_tensors_open_folder(&n->tensors, path, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_int_equal(tkr_cpu_detect(&flags, cpu, NULL), TKR_OK);
    tkr_kernels_init(&n->kernels, flags);
    assert_int_equal(tkr_pool_create(&n->pool, 2, NULL), TKR_OK);
    assert_int_equal(tkr_backend_cpu_create(&n->backend, &n->kernels, n->pool, NULL), TKR_OK);
    assert_int_equal(tkr_ops_cpu.run_create(&n->run, n->backend, NULL), TKR_OK);
}

static inline void network_open(network *n, const char *folder, const network_options *o) {
    tkr_error error = {TKR_OK, NULL, ""};
    network_prepare(n, folder, o->cpu);
    if (network_bind(n, o, json_object_get(n->json, "quantization"), &error) != TKR_OK)
        fail_msg("%s: %s", folder, error.message);
}

static inline void network_close(network *n) {
    tkr_arch_free(&n->model);
    tkr_ops_cpu.run_free(&n->run);
    tkr_backend_cpu_free(&n->backend);
    tkr_pool_free(&n->pool);
    tkr_tensors_free(&n->tensors);
    tkr_tensors_free(&n->expected);
    json_decref(n->json);
    json_decref(n->cases);
}

/* One sequence, with the positions that the reference gives it. */
typedef struct sequence {
    tkr_batch batch;
    int32_t ids[MAX_TOKENS], types[MAX_TOKENS], positions[MAX_TOKENS];
    size_t cu[2];
    tkr_span span;
} sequence;

static inline void sequence_finish(sequence *s, const tkr_arch_config *c, size_t n) {
    size_t seen = 0;
    assert_true(n > 0 && n <= MAX_TOKENS);
    for (size_t t = 0; t < n; t++) {
        const bool pad = c->positions_from_pad && s->ids[t] == c->pad_id;
        seen += pad ? 0 : 1; /* cumsum(ids != pad) * (ids != pad) + pad */
        s->positions[t] = c->positions_from_pad ? (pad ? 0 : (int32_t)seen) + c->pad_id : (int32_t)t;
        s->types[t] = 0;
    }
    s->cu[0] = 0;
    s->cu[1] = n;
    s->span = (tkr_span){0, n, 0};
    s->batch = (tkr_batch){.n_tokens = n,
                           .n_seqs = 1,
                           .ids = s->ids,
                           .type_ids = s->types,
                           .positions = s->positions,
                           .n_position_axes = 1,
                           .cu_seqlens = s->cu,
                           .spans = &s->span,
                           .n_spans = 1};
}

static inline void sequence_of_case(sequence *s, const network *n, size_t index) {
    const json_t *ids = json_object_get(json_array_get(json_object_get(n->cases, "inputs"), index), "ids");
    const size_t count = json_array_size(ids);
    assert_true(count <= MAX_TOKENS);
    for (size_t t = 0; t < count; t++) s->ids[t] = (int32_t)json_integer_value(json_array_get(ids, t));
    sequence_finish(s, &n->config, count);
}

static inline size_t network_inputs(const network *n) { return json_array_size(json_object_get(n->cases, "inputs")); }

/* Last hidden state [n_tokens, hidden_size]; the caller frees it. */
static inline float *network_hidden(network *n, const sequence *s, const tkr_run_options *options) {
    tkr_error error = {TKR_OK, NULL, ""};
    float *out = calloc(s->batch.n_tokens * n->config.hidden_size, sizeof *out);
    assert_non_null(out);
    tkr_ops_cpu.run_begin(n->run, options);
    tkr_tensor *x = tkr_arch_forward(n->model, n->run, &s->batch);
    if (tkr_ops_cpu.read(n->run, out, x) != TKR_OK) {
        tkr_ops_cpu.run_status(n->run, &error);
        fail_msg("%s", error.message);
    }
    tkr_ops_cpu.release(n->run, &x);
    return out;
}

static inline const tkr_tensor_view *network_expected(const network *n, size_t index, const char *what) {
    char name[64];
    snprintf(name, sizeof name, "%zu.%s", index, what);
    return tkr_tensors_find(n->expected, name);
}

static inline double relative_l2(const float *got, const float *want, size_t n) {
    double difference = 0, length = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        length += (double)want[i] * (double)want[i];
    }
    return sqrt(difference / length);
}

/* Calls fn for each case folder of an architecture, as "arch/case"; returns how many there are. */
static inline size_t each_case(const char *arch, void (*fn)(const char *folder)) {
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

/* 1 - cosine. */
static inline double cosine_distance(const float *a, const float *b, size_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return 1 - ab / sqrt(aa * bb);
}

static inline const void *network_keeps_nothing(void *user, const char *key, size_t *bytes) {
    (void)user;
    (void)key;
    *bytes = 0;
    return NULL;
}

static inline void network_count_packed(void *user, const char *key, const void *packed, size_t bytes) {
    (void)key;
    (void)packed;
    *(uint64_t *)user += bytes;
}

/* The bytes that are measured are those that packing then takes. For a network without weights; leaves it so. */
static inline void network_check_measured(network *n, tkr_gemm_mode mode, unsigned spared) {
    uint64_t packed = 0, measured = 0, vectors = 0;
    tkr_binder *binder = NULL;
    const tkr_packed_store store = {&packed, network_keeps_nothing, network_count_packed};
    const tkr_binder_options options = {.set = n->tensors,
                                        .ops = &tkr_ops_cpu,
                                        .backend = n->backend,
                                        .mode = mode,
                                        .group = 32,
                                        .spared = spared,
                                        .quantization = json_object_get(n->json, "quantization"),
                                        .store = &store};
    assert_int_equal(tkr_arch_measure(&measured, &options, &n->spec, NULL), TKR_OK);
    assert_int_equal(packed, 0);
    assert_int_equal(tkr_binder_create(&binder, &options, NULL), TKR_OK);
    assert_int_equal(tkr_arch_bind(&n->model, binder, &n->spec, NULL), TKR_OK);
    tkr_binder_free(&binder);
    tkr_arch_free(&n->model);
    for (size_t i = 0; i < tkr_tensors_count(n->tensors); i++) {
        const tkr_tensor_view *view = tkr_tensors_at(n->tensors, i);
        if (view->n_dims == 1) vectors += view->n_elements * sizeof(float);
    }
    assert_true(packed > 0 && measured >= packed && measured <= packed + vectors + 4096);
}

#endif
