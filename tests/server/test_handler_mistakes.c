/* SPDX-License-Identifier: Apache-2.0 */
/* The APIs of others, without sockets: which input a mistake is about, and statuses that their clients know. */
#include "handling.h"
#include "server/pipeline.h"

/* The input at fault is named, as the API calls it, in its place; and what is no mistake of an input isn't. */
static void the_input_at_fault_is_named(void **state) {
    static const struct {
        const char *path, *body, *param, *message;
        unsigned status;
        const char *reply;
    } cases[] = {
        {"/v1/embeddings", J({"input" : [ {"text" : "a"} ]}), "input[2]", "why", 422, J({"detail" : "input[2]: why"})},
        {"/v1/embeddings", J({"input" : [ {"text" : "a"} ]}), "input[2]", "input[2].image: why", 422,
         J({"detail" : "input[2].image: why"})},
        {"/v1/embeddings", J({"input" : [ {"text" : "a"} ]}), "input", "why", 422, J({"detail" : "why"})},
        {"/v1/multimodalembeddings", J({"inputs" : []}), "inputs[1]", "why", 400, J({"detail" : "inputs[1]: why"})},
        {"/v2/embed", J({"images" : []}), "images[1]", "why", 422, J({"message" : "images[1]: why"})},
        {"/embedding", J({"content" : "a"}), "content[1]", "why", 400,
         LLAMA_ERROR(400, "content[1]: why", "invalid_request_error")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        act a;
        act_open(&a, *state, cases[i].path, cases[i].body);
        tkr_refuse(&a.op, MEDIA, cases[i].param, "%s", cases[i].message);
        a.op.handler->api->error(&a.op);
        act_expect(&a, cases[i].param, cases[i].status, cases[i].reply);
        act_close(&a);
    }
}

/* No advice about a command line, and the place of the picture. */
static void pictures_for_a_model_of_texts(void **state) {
    scene *s = *state;
    s->info.modalities = "text";
#define NO_PICTURE(field) field "[1]: has a picture, but bert reads text only"
    static const transcript cases[] = {
        {"Jina", "/v1/embeddings", J({"input" : [ "a", {"image" : "AAAA"} ]}), 400,
         "{\"detail\":\"" NO_PICTURE("input") "\"}", NULL},
        {"Cohere", "/v2/embed", J({"images" : [ "data:image/png;base64,AAAA", "data:image/png;base64,AAAA" ]}), 400,
         J({"message" : "images[0]: has a picture, but bert reads text only"}), NULL},
        {"Voyage", "/v1/multimodalembeddings", J({
             "inputs" : [
                 {"content" : [ {"type" : "text", "text" : "a"} ]},
                 {"content" : [ {"type" : "image_base64", "image_base64" : "data:image/png;base64,AAAA"} ]}
             ]
         }),
         400, "{\"detail\":\"" NO_PICTURE("inputs") "\"}", NULL},
        {"llama-server", "/embedding",
         J({"content" : [ "a", {"prompt_string" : "<__media__>", "multimodal_data" : ["AAAA"]} ]}), 400,
         LLAMA_ERROR(400, NO_PICTURE("content"), "invalid_request_error"), NULL},
    };
    PLAY(s, cases, 1);
    s->info.modalities = NULL;
}

/* Fields of vLLM and Infinity that would change a vector are not passed over. */
static void what_would_change_a_vector_is_refused(void **state) {
    static const transcript cases[] = {
        {"pictures", "/v1/embeddings", J({"input" : "https://example.org/a.png", "modality" : "image"}), 400,
         OPENAI_ERROR("modality: is \\\"image\\\", expected \\\"text\\\"", "\"modality\""), NULL},
        {"no special tokens", "/v1/embeddings", J({"input" : "a", "add_special_tokens" : false}), 400,
         OPENAI_ERROR("add_special_tokens: false is not done here; give token ids as \\\"input\\\"",
                      "\"add_special_tokens\""),
         NULL},
        {"another type", "/embeddings", J({"input" : "a", "embed_dtype" : "float16"}), 400,
         OPENAI_ERROR("embed_dtype: is \\\"float16\\\", expected \\\"float32\\\"", "\"embed_dtype\""), NULL},
        {"another order of bytes", "/v1/embeddings", J({"input" : "a", "endianness" : "big"}), 400,
         OPENAI_ERROR("endianness: is \\\"big\\\", expected \\\"native\\\" or \\\"little\\\"", "\"endianness\""), NULL},
        {"no tokens", "/v1/embeddings", J({"input" : "a", "truncate_prompt_tokens" : 0}), 400,
         OPENAI_ERROR("truncate_prompt_tokens: is 0, expected -1 (the model's limit) or at least 1",
                      "\"truncate_prompt_tokens\""),
         NULL},
    };
    PLAY(*state, cases, 1);
}

static void inputs_of_nothing(void **state) {
    static const transcript cases[] = {
        {"Voyage, pieces", "/v1/multimodalembeddings",
         J({"inputs" : [ {"content" : [ {"type" : "text", "text" : ""} ]} ]}), 400,
         J({"detail" : "inputs[0]: an empty text has no embedding"}), NULL},
        {"llama-server, a list", "/embedding", J({"content" : []}), 400,
         LLAMA_ERROR(400, "Input content cannot be empty", "invalid_request_error"), NULL},
        {"no object", "/v1/embeddings", "[1]", 400, J({
             "error" : {
                 "message" : "the body: is an array, expected an object",
                 "type" : "invalid_request_error",
                 "param" : null,
                 "code" : null
             },
             "detail" : "the body: is an array, expected an object"
         }),
         NULL},
    };
    PLAY(*state, cases, 1);
}

/* TEI tokenises no text of more than 250 characters a token of the model's limit, however it would be cut. */
static void texts_of_absurd_length(void **state) {
    static const char *const paths[] = {"/embed", "/embed_all", "/tokenize"};
    for (size_t n = 4000; n <= 4001; n++) /* the model takes 16 tokens */
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
            tkr_buf body = {0};
            act a;
            tkr_buf_printf(&body, "{\"inputs\":[\"a\",\"");
            for (size_t k = 0; k < n; k++) tkr_buf_printf(&body, "\u00e9");
            tkr_buf_printf(&body, "\"]}");
            act_open(&a, *state, paths[i], body.data);
            act_run(&a, 1, -1);
            if (n == 4001)
                act_expect(&a, paths[i], 422, J({
                    "error" : "Input validation error: `inputs` must have less than 4000 characters. Given: 4001",
                    "error_type" : "Validation"
                }));
            assert_int_equal(a.response.status, n == 4001 ? 422 : 200);
            act_close(&a);
            tkr_buf_free(&body);
        }
}

static void ping_of_a_server_that_is_not_ready(void **state) {
    scene *s = *state;
    act a;
    act_open(&a, s, "/embed", "");
    a.op.handler = &tkr_handler_tei_ping;
    atomic_store(&s->server.phase, TKR_PHASE_LEAVING);
    act_run(&a, 1, -1);
    act_expect(&a, "ping", 503, J({"error" : "unhealthy", "error_type" : "Unhealthy"}));
    atomic_store(&s->server.phase, TKR_PHASE_READY);
    act_close(&a);
}

static void nothing(tkr_operation *op) { (void)op; }

/* A reply that could not be kept until its client has taken it: server->max_reply. */
static void replies_of_too_many_bytes(void **state) {
    scene *s = *state;
    for (size_t most = 100; most <= 10 << 20; most *= 1 << 16) {
        char allow[64];
        act a;
        act_open(&a, s, "/embed", "");
        a.op.route = tkr_route_find("GET", "/openapi.json", allow);
        a.op.handler = a.op.route->handler;
        s->server.max_reply = most;
        tkr_pipeline_start(&a.op, nothing);
        assert_int_equal(a.response.status, most == 100 ? 413 : 200);
        if (most == 100) assert_non_null(strstr(a.response.body.data, "bytes, at most 100 may wait for a client"));
        act_close(&a);
    }
    s->server.max_reply = 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_input_at_fault_is_named),
        cmocka_unit_test(pictures_for_a_model_of_texts),
        cmocka_unit_test(what_would_change_a_vector_is_refused),
        cmocka_unit_test(inputs_of_nothing),
        cmocka_unit_test(texts_of_absurd_length),
        cmocka_unit_test(replies_of_too_many_bytes),
        cmocka_unit_test(ping_of_a_server_that_is_not_ready),
    };
    return cmocka_run_group_tests(tests, open_scene, close_scene);
}
