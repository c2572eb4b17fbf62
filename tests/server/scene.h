/* SPDX-License-Identifier: Apache-2.0 */
/* An operation without a socket: parse, a made-up result, render, as the pipeline does them. */
#ifndef TESTS_SERVER_SCENE_H
#define TESTS_SERVER_SCENE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../countdown.h"
#include "core/file.h"
#include "server/parts.h"

static inline void scene_fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

/* A server of nothing but settings, and a model that computes nothing. */
typedef struct scene {
    tkr_server server;
    tkr_settings *settings;
    tkr_served_model model;
    tkr_model_info info;
    tkr_tokenizer *tokenizer;
} scene;

static inline void scene_open(scene *s, const char *auto_truncate) {
    static const tkr_pair prompts[] = {
        {"query", "q: "}, {"passage", "p: "}, {"classification", "c: "}, {"text-matching", "m: "}};
    const tkr_setting_flag flags[] = {{TKR_SET_AUTO_TRUNCATE, auto_truncate}, {TKR_SET_MAX_CLIENT_BATCH, "4"}};
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_model_options options;
    tkr_model_options_init(&options);
    options.offline = options.no_weight_cache = 1;
    memset(s, 0, sizeof *s);
    if (tkr_settings_load(&s->settings, NULL, flags, 2, &error) != TKR_OK ||
        tkr_tokenizer_load(&s->tokenizer, TKR_TEST_DIR "/golden/bert/bert-mean/model", &options, &error) != TKR_OK)
        scene_fail(error.message);
    s->server.settings = s->settings;
    s->info = (tkr_model_info){.fingerprint = "f",
                               .architecture = "bert",
                               .dimensions = 8,
                               .max_tokens = 16,
                               .vocab_size = 760,
                               .prompts = prompts,
                               .n_prompts = sizeof prompts / sizeof prompts[0]};
    s->model = (tkr_served_model){
        .name = "m", .reference = "r", .state = TKR_MODEL_READY, .info = &s->info, .tokenizer = s->tokenizer};
}

static inline void scene_close(scene *s) {
    tkr_tokenizer_free(&s->tokenizer);
    tkr_settings_free(&s->settings);
}

/* One operation with all that it borrows. */
typedef struct act {
    tkr_operation op;
    tkr_http_request request;
    tkr_http_response response;
    tkr_arena arena;
} act;

static inline void act_open(act *a, scene *s, const char *path, const char *body) {
    char allow[64];
    tkr_error error = {TKR_OK, NULL, ""};
    memset(a, 0, sizeof *a);
    a->request = (tkr_http_request){
        .method = "POST", .path = path, .query = "", .body = body, .n_body = strlen(body), .peer = "unix"};
    a->request.began = tkr_now();
    a->op = (tkr_operation){.server = &s->server, .request = &a->request, .response = &a->response, .arena = &a->arena};
    a->op.model = &s->model;
    a->op.route = tkr_route_find("POST", path, allow);
    if (!a->op.route) scene_fail(path);
    snprintf(a->op.request_id, sizeof a->op.request_id, "id-1");
    if (*body && tkr_json_parse(&a->op.body, body, strlen(body), "body", &error) != TKR_OK) scene_fail(error.message);
    a->op.handler = tkr_dialect_find(a->op.route, a->op.body);
    a->op.model_name = json_string_value(json_object_get(a->op.body, "model"));
}

static inline void act_close(act *a) {
    tkr_job_free_results(&a->op.job);
    json_decref(a->op.body);
    tkr_buf_free(&a->response.body);
    tkr_buf_free(&a->response.fields);
    tkr_arena_free(&a->arena);
}

/* Three tokens and [1, 0.5, -0.25, 0] for each input; with several rows twice. */
static inline void act_compute(act *a, size_t n_rows) {
    static const float row[] = {1, 0.5f, -0.25f, 0};
    for (size_t i = 0; i < a->op.job.n_items; i++) {
        tkr_job_item *item = &a->op.job.items[i];
        item->n_rows = n_rows;
        item->dimensions = 4;
        item->n_tokens = item->n_tokens_untruncated = 3;
        item->rows = tkr_malloc(n_rows * sizeof row);
        if (!item->rows) scene_fail("no memory");
        for (size_t k = 0; k < n_rows; k++) memcpy(item->rows + 4 * k, row, sizeof row);
    }
}

/* As the pipeline does it. Memory fails only in the handler's own code, after `left` allocations; < 0: never. Returns
 * how many were left. */
static inline long act_run(act *a, size_t n_rows, long left) {
    tkr_operation *op = &a->op;
    countdown count = {left};
    tkr_seam_set(fail_nth, &count);
    bool fine = op->handler->parse(op);
    if (fine && a->response.status == 0) {
        tkr_seam_set(NULL, NULL);
        act_compute(a, n_rows);
        tkr_seam_set(fail_nth, &count);
        fine = op->handler->render(op);
    }
    if (fine && a->response.body.failed) fine = tkr_refuse(op, INTERNAL, NULL, "no memory for the reply");
    tkr_seam_set(NULL, NULL);
    a->response.body.failed = false;
    if (!fine) op->handler->api->error(op);
    if (a->response.body.failed) scene_fail("an error has no reply");
    return count.left;
}

#endif
