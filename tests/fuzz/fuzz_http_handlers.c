/* SPDX-License-Identifier: Apache-2.0 */
/* Any JSON as the body of each API's routes: an answer in JSON, whose status is never the server's own mistake. The
 * first byte chooses the route. */
#include "../server/scene.h"

static const char *const paths[] = {
    "/v1/embeddings",    "/embed",      "/embed_all",  "/similarity",     "/tokenize",
    "/decode",           "/rerank",     "/v2/embed",   "/embedding",      "/v1/multimodalembeddings",
    "/detokenize",       "/api/embed",  "/embeddings", "/api/embeddings", "/embed/text",
    "/embed/multimodal", "/embed/image"};

static void check_reply(const act *a) {
    tkr_error error = {TKR_OK, NULL, ""};
    json_t *reply = NULL;
    if (a->response.status < 200 || a->response.status >= 500) scene_fail("a status of our own mistakes");
    if (tkr_json_parse(&reply, a->response.body.data, a->response.body.size, "reply", &error) != TKR_OK)
        scene_fail(error.message);
    json_decref(reply);
}

static void run_both(scene *s, const char *path, const char *body) {
    for (int multi = 0; multi < 2; multi++) {
        act a;
        s->info.multi_vector = multi;
        act_open(&a, s, path, body);
        (void)act_run(&a, multi ? 2 : 1, -1);
        if (a.response.content_type && strcmp(a.response.content_type, "application/json") == 0) check_reply(&a);
        act_close(&a);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static scene s;
    tkr_error error = {TKR_OK, NULL, ""};
    json_t *body = NULL;
    if (!s.settings) scene_open(&s, "true");
    if (size < 3 || memchr(data, 0, size)) return 0;
    char *text = tkr_strndup((const char *)data + 1, size - 1);
    if (!text) return 0;
    if (tkr_json_parse(&body, text, size - 1, "body", &error) == TKR_OK)
        run_both(&s, paths[*data % (sizeof paths / sizeof *paths)], text);
    json_decref(body);
    tkr_free(text);
    return 0;
}
