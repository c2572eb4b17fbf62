/* SPDX-License-Identifier: Apache-2.0 */
/* The APIs of others, without sockets: what each of them says to what it can't answer. */
#include "handling.h"

/* One vector a token: refused where the API has no place for it, else all rows. */
static void several_vectors(void **state) {
    scene *s = *state;
    s->info.multi_vector = 1;
#define NAMED(api)                                                                                                   \
    "the model \\\"m\\\" gives one vector a token, which " api " has no place for; use POST /embed/text, or Jina's " \
    "\\\"return_multivector\\\": true on POST /v1/embeddings"
    static const transcript cases[] = {
        {"OpenAI", "/v1/embeddings", J({"input" : "a"}), 400, OPENAI_ERROR(NAMED("OpenAI's API"), "\"model\""), NULL},
        {"TEI", "/embed", J({"inputs" : "a"}), 424, "{\"error\":\"" NAMED("/embed") "\",\"error_type\":\"Backend\"}",
         NULL},
        {"Cohere", "/v2/embed", J({"texts" : ["a"]}), 422, "{\"message\":\"" NAMED("Cohere's API") "\"}", NULL},
        {"Voyage", "/v1/embeddings", J({"input" : "a", "input_type" : null}), 400,
         "{\"detail\":\"" NAMED("Voyage's API") "\"}", NULL},
        {"Ollama", "/api/embed", J({"input" : "a"}), 400, "{\"error\":\"" NAMED("Ollama's API") "\"}", NULL},
        {"Jina without saying so", "/v1/embeddings", J({"input" : [ {"text" : "a"} ]}), 422,
         J({"detail" : "return_multivector: must be true: the model \"m\" gives one vector a token, not one an input"}),
         NULL},
        {"Jina", "/v1/embeddings", J({"input" : [ {"text" : "a"} ], "return_multivector" : true}), 200, J({
             "object" : "list",
             "data" : [
                 {"object" : "embedding", "index" : 0, "embeddings" : [ [ 1, 0.5, -0.25, 0 ], [ 1, 0.5, -0.25, 0 ] ]}
             ],
             "model" : "m",
             "usage" : {"prompt_tokens" : 3, "total_tokens" : 3}
         }),
         NULL},
        {"llama-server", "/embeddings", J({"content" : "a"}), 200,
         J([ {"index" : 0, "embedding" : [ [ 1, 0.5, -0.25, 0 ], [ 1, 0.5, -0.25, 0 ] ]} ]), NULL},
    };
    PLAY(s, cases, 2);
    s->info.multi_vector = 0;
}

/* A text beyond the limit, not truncated: its tokens are told as each API tells them. */
static void too_long(void **state) {
    static const struct {
        const char *path, *body;
        unsigned status;
        const char *reply;
    } cases[] = {
        {"/v1/embeddings", J({"input" : "I I I I I I I I I I I I I I I I"}), 400,
         OPENAI_ERROR("This model's maximum context length is 16 tokens, however you requested 18 tokens (18 in your "
                      "prompt; 0 for the completion). Please reduce your prompt; or completion length.",
                      "\"input\"")},
        {"/embed", J({"inputs" : "I I I I I I I I I I I I I I I I"}), 422, J({
             "error" : "Input validation error: `inputs` must have less than 16 tokens. Given: 18",
             "error_type" : "Validation"
         })},
        {"/v2/embed", J({"texts" : ["I I I I I I I I I I I I I I I I"], "truncate" : "NONE"}), 400,
         J({"message" : "too many tokens: total number of tokens in the input cannot exceed 16 - received 18"})},
        {"/api/embed", J({"input" : "I I I I I I I I I I I I I I I I"}), 400,
         J({"error" : "the input length exceeds the context length"})},
        {"/embeddings", J({"content" : "I I I I I I I I I I I I I I I I"}), 400, J({
             "error" : {
                 "code" : 400,
                 "message" : "input (18 tokens) is larger than the max context size (16 tokens). skipping",
                 "type" : "exceed_context_size_error",
                 "n_prompt_tokens" : 18,
                 "n_ctx" : 16
             }
         })},
        {"/v1/embeddings", J({"input" : "I", "input_type" : null}), 400, J({"detail" : "18 tokens; the limit is 16"})},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        act a;
        act_open(&a, *state, cases[i].path, cases[i].body);
        assert_true(a.op.handler->parse(&a.op));
        a.op.job.items[0].status = TKR_LIMIT;
        tkr_refuse(&a.op, TOO_LONG, "input", "18 tokens; the limit is 16");
        a.op.handler->api->error(&a.op);
        act_expect(&a, cases[i].path, cases[i].status, cases[i].reply);
        act_close(&a);
    }
}

/* What the pipeline refuses: status and shape of each API. */
static void faults_in_each_shape(void **state) {
    static const struct {
        const char *path;
        tkr_fault_kind kind;
        unsigned status;
        const char *reply;
    } cases[] = {
        {"/v1/embeddings", TKR_FAULT_UNAUTHORIZED, 401, J({
             "error" :
                 {"message" : "why", "type" : "invalid_request_error", "param" : null, "code" : "invalid_api_key"},
             "detail" : "why"
         })},
        {"/v1/embeddings", TKR_FAULT_NO_MODEL, 404, J({
             "error" : {"message" : "why", "type" : "invalid_request_error", "param" : null, "code" : "model_not_found"}
         })},
        {"/v1/embeddings", TKR_FAULT_RATE, 429,
         J({"error" : {"message" : "why", "type" : "requests", "param" : null, "code" : "rate_limit_exceeded"}})},
        {"/v1/embeddings", TKR_FAULT_UNAVAILABLE, 503,
         J({"error" : {"message" : "why", "type" : "server_error", "param" : null, "code" : null}})},
        {"/v1/embeddings", TKR_FAULT_MALFORMED, 400, J({
             "error" : {"message" : "why", "type" : "invalid_request_error", "param" : null, "code" : null},
             "detail" : "why"
         })},
        {"/v1/embeddings", TKR_FAULT_NUMERIC, 500,
         J({"error" : {"message" : "why", "type" : "server_error", "param" : null, "code" : null}})},
        {"/embed", TKR_FAULT_MALFORMED, 400, J({"error" : "why", "error_type" : "Validation"})},
        {"/embed", TKR_FAULT_TYPE, 422, J({"error" : "why", "error_type" : "Validation"})},
        {"/embed", TKR_FAULT_MEDIA_TYPE, 415, J({"error" : "why", "error_type" : "Validation"})},
        {"/embed", TKR_FAULT_TOO_LARGE, 413, J({"error" : "why", "error_type" : "Validation"})},
        {"/embed", TKR_FAULT_OVERLOADED, 429, J({"error" : "Model is overloaded", "error_type" : "Overloaded"})},
        {"/embed", TKR_FAULT_NUMERIC, 424, J({"error" : "why", "error_type" : "Backend"})},
        {"/embed", TKR_FAULT_UNAVAILABLE, 503, J({"error" : "why", "error_type" : "Unhealthy"})},
        {"/v2/embed", TKR_FAULT_TYPE, 400, J({"message" : "why"})},
        {"/v2/embed", TKR_FAULT_RATE, 429, J({"message" : "why"})},
        {"/v2/embed", TKR_FAULT_MEDIA, 422, J({"message" : "why"})},
        {"/v1/multimodalembeddings", TKR_FAULT_UNAUTHORIZED, 401, J({"detail" : "why"})},
        {"/v1/multimodalembeddings", TKR_FAULT_MEDIA, 400, J({"detail" : "why"})},
        {"/api/embed", TKR_FAULT_MALFORMED, 400, J({"error" : "missing request body"})},
        {"/api/embed", TKR_FAULT_NO_MODEL, 404, J({"error" : "model 'x' not found"})},
        {"/api/embeddings", TKR_FAULT_NO_MODEL, 404, J({"error" : "model \"x\" not found, try pulling it first"})},
        {"/api/embed", TKR_FAULT_OVERLOADED, 503,
         J({"error" : "server busy, please try again.  maximum pending requests exceeded"})},
        {"/api/embed", TKR_FAULT_CANCELLED, 499, J({"error" : "request canceled"})},
        {"/api/embed", TKR_FAULT_NUMERIC, 400, J({"error" : "embedding contains NaN or Inf values"})},
        {"/embedding", TKR_FAULT_MALFORMED, 400, LLAMA_ERROR(400, "why", "invalid_request_error")},
        {"/embedding", TKR_FAULT_UNAUTHORIZED, 401, LLAMA_ERROR(401, "why", "authentication_error")},
        {"/embedding", TKR_FAULT_UNAVAILABLE, 503, LLAMA_ERROR(503, "why", "unavailable_error")},
        /* Statuses that Voyage's client knows; types of llama-server that go with their own. */
        {"/v1/multimodalembeddings", TKR_FAULT_NO_MODEL, 400, J({"detail" : "why"})},
        {"/v1/multimodalembeddings", TKR_FAULT_TOO_LARGE, 400, J({"detail" : "why"})},
        {"/v1/multimodalembeddings", TKR_FAULT_MEDIA_TYPE, 400, J({"detail" : "why"})},
        {"/v1/multimodalembeddings", TKR_FAULT_RATE, 429, J({"detail" : "why"})},
        {"/embedding", TKR_FAULT_MEDIA, 400, LLAMA_ERROR(400, "why", "invalid_request_error")},
        {"/embedding", TKR_FAULT_UNSUPPORTED, 400, LLAMA_ERROR(400, "why", "invalid_request_error")},
        {"/embedding", TKR_FAULT_NO_MODEL, 404, LLAMA_ERROR(404, "why", "not_found_error")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        act a;
        const bool bodyless = cases[i].kind == TKR_FAULT_MALFORMED || cases[i].kind == TKR_FAULT_UNAUTHORIZED;
        act_open(&a, *state, cases[i].path, bodyless ? "" : "{}");
        a.op.model = NULL; /* most come before there is one */
        a.op.model_name = "x";
        tkr_refuse_with(&a.op, cases[i].kind, NULL, "why");
        a.op.handler->api->error(&a.op);
        act_expect(&a, cases[i].path, cases[i].status, cases[i].reply);
        act_close(&a);
    }
}

/* Where the server's own default is to refuse long texts, and the request doesn't say. */
static void the_servers_default_is_kept(void **state) {
    (void)state;
    scene strict;
    scene_open(&strict, "false");
    static const transcript cases[] = {
        {"OpenAI", "/v1/embeddings", J({"input" : "a"}), 200, LIST_OF_ONE, "- error yes 0 0"},
        {"TEI", "/embed", J({"inputs" : "a", "truncation_direction" : "left"}), 200, J([[ 1, 0.5, -0.25, 0 ]]),
         "- error yes 0 0"},
        {"TEI says so", "/embed", J({"inputs" : "a", "truncate" : true}), 200, J([[ 1, 0.5, -0.25, 0 ]]),
         "- right yes 0 0"},
    };
    PLAY(&strict, cases, 1);
    scene_close(&strict);
}

/* Any allocation may fail: the answer is a 500 in the API's shape, or the whole reply. */
static void without_memory(void **state) {
    static const struct {
        const char *path, *body;
    } cases[] = {
        {"/v1/embeddings", J({"input" : [ "a", [ 5, 6 ] ], "encoding_format" : "base64"})},
        {"/embed", J({"inputs" : [ "a", "b" ]})},
        {"/embed_all", J({"inputs" : "a"})},
        {"/similarity", J({"inputs" : {"source_sentence" : "a", "sentences" : ["b"]}})},
        {"/tokenize", J({"inputs" : [ "I walk", "x" ]})},
        {"/decode", J({"ids" : [ [ 5, 6 ], [7] ]})},
        {"/v2/embed", J({
             "inputs" : [ {
                 "content" : [
                     {"type" : "text", "text" : "a"}, {"type" : "image_url", "image_url" : "data:image/png;base64,AAAA"}
                 ]
             } ],
             "embedding_types" : [ "int8", "float" ]
         })},
        {"/v1/embeddings",
         J({"input" : [ {"text" : "a"}, {"image" : "AAAA"} ], "embedding_type" : [ "float", "base64" ]})},
        {"/v1/multimodalembeddings", J({
             "inputs" : [ {
                 "content" : [
                     {"type" : "text", "text" : "a"},
                     {"type" : "image_base64", "image_base64" : "data:image/png;base64,AAAA"}
                 ]
             } ]
         })},
        {"/api/embed", J({"input" : [ "a", "b" ]})},
        {"/embeddings",
         J({"content" : [ [ 5, "I", 6 ], "a", {"prompt_string" : "a<__media__>", "multimodal_data" : ["AAAA"]} ]})},
        {"/tokenize", J({"content" : "I walk", "with_pieces" : true, "add_special" : true})},
        {"/detokenize", J({"tokens" : [ 5, 6 ]})},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        long left = -1;
        for (long n = 0; left < 0; n++) {
            act a;
            act_open(&a, *state, cases[i].path, cases[i].body);
            left = act_run(&a, 1, n);
            if (a.response.status != (left < 0 ? 500 : 200) && !(left < 0 && a.response.status == 200))
                fail_msg("%s, allocation %ld: status %u: %s", cases[i].path, n, a.response.status,
                         a.response.body.data);
            if (left < 0 && a.response.status == 500) assert_int_equal(a.op.fault.kind, TKR_FAULT_INTERNAL);
            act_close(&a);
            assert_true(n < 1000);
        }
    }
}

/* Every handler's schemas are JSON. */
static void schemas_are_json(void **state) {
    (void)state;
    tkr_error error = {TKR_OK, NULL, ""};
    static const tkr_handler *const handlers[] = {
#define TKR_HANDLER(name) &tkr_handler_##name,
#include "server/handlers.def"
#undef TKR_HANDLER
    };
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        const tkr_handler *handler = handlers[i];
        const char *const schemas[] = {handler->request_schema, handler->response_schema};
        for (size_t k = 0; k < 2; k++) {
            json_t *schema = NULL;
            if (!schemas[k]) continue;
            if (tkr_json_parse(&schema, schemas[k], strlen(schemas[k]), handler->name, &error) != TKR_OK)
                fail_msg("%s", error.message);
            json_decref(schema);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_vectors),      cmocka_unit_test(too_long),
        cmocka_unit_test(faults_in_each_shape), cmocka_unit_test(the_servers_default_is_kept),
        cmocka_unit_test(without_memory),       cmocka_unit_test(schemas_are_json),
    };
    return cmocka_run_group_tests(tests, open_scene, close_scene);
}
