/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of handlers share: transcripts, and replies compared as JSON. */
#ifndef TESTS_SERVER_HANDLING_H
#define TESTS_SERVER_HANDLING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scene.h"

/* JSON as it is written, without quotes around it. */
#define J(...) #__VA_ARGS__

/* The reply but for durations, which must be there and positive. */
static inline void act_expect(act *a, const char *what, unsigned status, const char *reply) {
    tkr_error error = {TKR_OK, NULL, ""};
    json_t *expected = NULL, *got = NULL;
    const char *text = a->response.body.data ? a->response.body.data : "";
    if (a->response.status != status)
        fail_msg("%s: status %u, expected %u: %s", what, a->response.status, status, text);
    if (tkr_json_parse(&expected, reply, strlen(reply), "expected", &error) != TKR_OK ||
        tkr_json_parse(&got, text, a->response.body.size, "reply", &error) != TKR_OK)
        fail_msg("%s: %s: %s", what, error.message, text);
    json_t *duration = json_object_get(got, "total_duration");
    if (duration) {
        assert_true(json_integer_value(duration) > 0);
        json_object_del(got, "total_duration");
    }
    if (!json_equal(expected, got)) fail_msg("%s: %s\nexpected %s", what, text, reply);
    assert_string_equal(a->response.content_type, "application/json");
    json_decref(expected);
    json_decref(got);
}

/* "prompt truncate normalize dimensions max_tokens" of the item. */
static inline const char *act_options(char out[static 128], const act *a, size_t item) {
    static const char *const truncate[] = {"right", "left", "error"}, *const choice[] = {"default", "no", "yes"};
    const tkr_embed_options *o = &a->op.job.items[item].options;
    snprintf(out, 128, "%s %s %s %zu %zu", o->prompt_name ? o->prompt_name : "-", truncate[o->truncate],
             choice[o->normalize], o->dimensions, o->max_tokens);
    return out;
}

typedef struct transcript {
    const char *what, *path, *body;
    unsigned status;
    const char *reply;
    const char *options; /* of the last item; NULL: not looked at */
} transcript;

static inline void play(scene *s, const transcript *cases, size_t n, size_t n_rows) {
    char options[128];
    for (size_t i = 0; i < n; i++) {
        act a;
        act_open(&a, s, cases[i].path, cases[i].body);
        act_run(&a, n_rows, -1);
        act_expect(&a, cases[i].what, cases[i].status, cases[i].reply);
        if (cases[i].options) {
            assert_true(a.op.job.n_items > 0);
            assert_string_equal(act_options(options, &a, a.op.job.n_items - 1), cases[i].options);
        }
        act_close(&a);
    }
}

#define PLAY(s, cases, n_rows) play((s), (cases), sizeof(cases) / sizeof *(cases), (n_rows))

#define LIST_OF_ONE                                                                             \
    J({                                                                                         \
        "object" : "list",                                                                      \
        "data" : [ {"object" : "embedding", "index" : 0, "embedding" : [ 1, 0.5, -0.25, 0 ]} ], \
        "model" : "m",                                                                          \
        "usage" : {"prompt_tokens" : 3, "total_tokens" : 3}                                     \
    })
#define LLAMA_ERROR(code, message, type) \
    "{\"error\":{\"code\":" #code ",\"message\":\"" message "\",\"type\":\"" type "\"}}"
#define OPENAI_ERROR(message, param) \
    "{\"error\":{\"message\":\"" message "\",\"type\":\"invalid_request_error\",\"param\":" param ",\"code\":null}}"

static inline int open_scene(void **state) {
    static scene s;
    scene_open(&s, "true");
    *state = &s;
    return 0;
}

static inline int close_scene(void **state) {
    scene_close(*state);
    return 0;
}

#endif
