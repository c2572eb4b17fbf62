/* SPDX-License-Identifier: Apache-2.0 */
/* server/openapi: GET /openapi.json. Everything that differs by route comes from the tables. */
#include "server/openapi.h"

#include <stdio.h>
#include <string.h>

#include "server/routes/schema.h"
#include "server/routes/shape.h"

/* ---- tables ---- */

static const struct {
    const char *handler, *example;
} examples[] = {
#define TKR_EXAMPLE(handler, json) {#handler, json},
#include "server/examples.def"
#undef TKR_EXAMPLE
};

const char *tkr_handler_example(const tkr_handler *handler) {
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        if (strcmp(examples[i].handler, handler->name) == 0) {
            return examples[i].example;
        }
    }
    return NULL;
}

/* Names for people, and the shape of each API's errors. */
static const struct {
    const tkr_api *api;
    const char *title, *error;
} apis[] = {
    {&tkr_api_native, "tkr-embed", tkr_schema_error},
    {&tkr_api_openai, "OpenAI", TKR_SCHEMA_OPENAI_ERROR},
    {&tkr_api_tei, "Text Embeddings Inference", TKR_SCHEMA_TEI_ERROR},
    {&tkr_api_cohere, "Cohere", TKR_SCHEMA_MESSAGE_ERROR},
    {&tkr_api_jina, "Jina", TKR_SCHEMA_DETAIL_ERROR},
    {&tkr_api_voyage, "Voyage", TKR_SCHEMA_DETAIL_ERROR},
    {&tkr_api_ollama, "Ollama", TKR_SCHEMA_TEXT_ERROR},
    {&tkr_api_llama, "llama-server", TKR_SCHEMA_OPENAI_ERROR},
    {&tkr_api_plain, "Pages", NULL},
};
enum { N_APIS = sizeof apis / sizeof *apis };

const char *tkr_api_title(const tkr_api *api) {
    for (size_t i = 0; i < N_APIS; i++) {
        if (apis[i].api == api) {
            return apis[i].title;
        }
    }
    return api->name;
}

static const struct {
    const char *path, *test, *keys;
    const tkr_handler *handler;
} dialects[] = {
#define TKR_DIALECT(path, test, keys, handler) {path, #test, keys, &tkr_handler_##handler},
#include "server/dialects.def"
#undef TKR_DIALECT
};

/* Adds what decides in this row: its keys, blank-separated, to a list with commas. */
static void add_when(tkr_meaning *meaning, const char *test, const char *keys) {
    size_t n = strlen(meaning->when);
    while (*keys != '\0' && n < sizeof meaning->when) {
        const size_t size = strcspn(keys, " ");
        const int put = snprintf(meaning->when + n, sizeof meaning->when - n, "%s%s%.*s", n > 0 ? ", " : "",
                                 strcmp(test, "OBJECTS") == 0 ? "objects in "
                                 : strcmp(test, "MIXED") == 0 ? "ids and texts in "
                                                              : "",
                                 (int)size, keys);
        n += put > 0 ? (size_t)put : 0;
        keys += size + (keys[size] == ' ');
    }
}

size_t tkr_route_meanings(tkr_meaning meanings[TKR_MAX_MEANINGS], const tkr_route *route) {
    size_t n = 0;
    meanings[n++] = (tkr_meaning){.handler = route->handler};
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++) {
        size_t k = 0;
        if (strcmp(dialects[i].path, route->path) != 0 || strcmp(route->method, "POST") != 0) {
            continue;
        }
        while (k < n && meanings[k].handler != dialects[i].handler) {
            k++;
        }
        if (k == n && n < TKR_MAX_MEANINGS) {
            meanings[n++] = (tkr_meaning){.handler = dialects[i].handler};
        }
        if (k > 0 && k < n) {
            add_when(&meanings[k], dialects[i].test, dialects[i].keys);
        }
    }
    return n;
}

/* ---- the document ---- */

static const struct {
    const char *status, *text;
} errors[] = {
    {"400", "The request can't be understood, or a value is wrong"},
    {"401", "An API key is needed"},
    {"403", "The API key may not do this"},
    {"404", "No such model"},
    {"408", "The body came too slowly"},
    {"409", "It is there already, or in use"},
    {"413", "The body is larger than server.max_body"},
    {"415", "Not a type of body that this route reads"},
    {"422", "Well-formed, but this model can't do it: too many inputs, too long a text, a broken file"},
    {"424", "The model gave no usable number"},
    {"429", "The queue is full, or a rate limit was reached: Retry-After says when to come back"},
    {"499", "The client has gone"},
    {"500", "A mistake of the server"},
    {"503", "Loading, ending, or not ready within server.timeout: Retry-After says when to come back"},
};

static void put(tkr_buf *out, const char *text) { tkr_buf_append(out, text, strlen(text)); }

/* One response of `status` for all APIs that the path may mean. */
static void put_error(tkr_buf *out, const tkr_meaning *meanings, size_t n, const char *status, const char *text) {
    size_t shown = 0;
    const char *before = NULL;
    tkr_buf_printf(out, ",\"%s\":{\"description\":", status);
    tkr_put_text(out, text);
    if (strcmp(status, "429") == 0 || strcmp(status, "503") == 0) {
        put(out, ",\"headers\":{\"Retry-After\":{\"$ref\":\"#/components/headers/RetryAfter\"},\"retry-after-ms\":{"
                 "\"$ref\":\"#/components/headers/RetryAfterMs\"}}");
    }
    put(out, ",\"content\":{\"application/json\":{\"schema\":{\"anyOf\":[");
    for (size_t i = 0; i < n; i++) {
        const char *name = meanings[i].handler->api->name;
        if (before != NULL && strcmp(before, name) == 0) {
            continue;
        }
        before = name;
        tkr_put_comma(out, shown++);
        tkr_buf_printf(out, "{\"$ref\":\"#/components/schemas/%s_error\"}", name);
    }
    put(out, "]}},\"text/plain\":{\"schema\":{\"type\":\"string\"}}}}");
}

/* Replies of our own, which have other forms, too. */
static bool gives_vectors(const tkr_handler *handler) {
    return handler->response_schema == tkr_schema_embeddings || handler->response_schema == tkr_schema_document;
}

static void put_parameters(tkr_buf *out, const tkr_route *route) {
    put(out, ",\"parameters\":[{\"$ref\":\"#/components/parameters/RequestId\"}");
    if (strstr(route->path, "{name}") != NULL) {
        put(out, ",{\"name\":\"name\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}}");
    }
    if (route->handler->wants_model && route->handler->body == TKR_BODY_NONE) {
        put(out, ",{\"name\":\"model\",\"in\":\"query\",\"description\":\"Name or alias; without it the first "
                 "model.\",\"schema\":{\"type\":\"string\"}}");
    }
    if (gives_vectors(route->handler)) {
        put(out, ",{\"name\":\"format\",\"in\":\"query\",\"description\":\"The reply's form; without it by the field "
                 "Accept.\",\"schema\":{\"type\":\"string\",\"enum\":[\"json\",\"bytes\",\"npy\"]}}");
    }
    put(out, "]");
}

static int append_json(const char *text, size_t n, void *out) { return tkr_buf_append(out, text, n) ? 0 : -1; }

/* The files, and beside them the fields of the JSON but for those that hold files themselves. */
static void put_form(tkr_buf *out, const tkr_handler *handler) {
    static const char *const in_json[] = {"images", "videos",    "documents", "parts",
                                          "image",  "image_url", "video",     NULL};
    json_t *schema = NULL;
    put(out, ",\"multipart/form-data\":{\"schema\":{\"type\":\"object\",\"description\":\"Files, and beside them the "
             "same options as in JSON, as text.\",\"required\":[\"file\"],\"properties\":{\"file\":{\"type\":"
             "\"array\",\"minItems\":1,\"items\":{\"type\":\"string\",\"format\":\"binary\"}}");
    const char *text = handler->request_schema != NULL ? handler->request_schema : "{}";
    if (tkr_json_parse(&schema, text, strlen(text), "schema", NULL) == TKR_OK) {
        const json_t *ways = json_object_get(schema, "oneOf"); /* the last: of one item */
        json_t *last = json_array_get(ways, json_array_size(ways) > 0 ? json_array_size(ways) - 1 : 0);
        json_t *fields = json_object_get(last != NULL ? last : schema, "properties"), *field;
        const char *name;
        for (size_t i = 0; in_json[i] != NULL; i++) {
            (void)json_object_del(fields, in_json[i]);
        }
        json_object_foreach(fields, name, field) {
            tkr_buf_printf(out, ",\"%s\":", name);
            (void)json_dump_callback(field, append_json, out, JSON_COMPACT);
        }
    }
    json_decref(schema);
    put(out, "}}}");
}

static void allow_null(json_t *schema);

/* A field may hold null, which means that it is absent. */
static void add_null(json_t *field) {
    json_t *type = json_object_get(field, "type"), *words = json_object_get(field, "enum");
    json_t *ways = json_object_get(field, "oneOf");
    if (json_is_string(type)) {
        (void)json_object_set_new(field, "type", json_pack("[O, s]", type, "null"));
    }
    if (words != NULL) {
        (void)json_array_append_new(words, json_null());
    }
    if (ways != NULL) {
        (void)json_array_append_new(ways, json_pack("{s:s}", "type", "null"));
    }
}

static bool is_required(const json_t *schema, const char *name) {
    size_t i;
    const json_t *value;
    json_array_foreach(json_object_get(schema, "required"), i, value) {
        if (strcmp(json_string_value(value), name) == 0) {
            return true;
        }
    }
    return false;
}

/* In an object of options. One that has a single member of several is none. */
static void allow_nulls_in_fields(json_t *schema) {
    json_t *fields = json_object_get(schema, "properties"), *field;
    const char *name;
    json_object_foreach(fields, name, field) {
        allow_null(field);
        if (json_object_get(schema, "maxProperties") == NULL && !is_required(schema, name)) {
            add_null(field);
        }
    }
}

static void allow_null(json_t *schema) {
    json_t *way;
    size_t i;
    allow_nulls_in_fields(schema);
    json_array_foreach(json_object_get(schema, "oneOf"), i, way) { allow_null(way); }
    if (json_object_get(schema, "items") != NULL) {
        allow_null(json_object_get(schema, "items"));
    }
}

/* Our own routes read null as absent (tkr_fields_get): their schemas leave that out, as it holds for every field. */
static void put_request(tkr_buf *out, const tkr_handler *handler) {
    const char *text = handler->request_schema;
    json_t *schema = NULL;
    if (handler->api != &tkr_api_native || tkr_json_parse(&schema, text, strlen(text), "schema", NULL) != TKR_OK) {
        put(out, text);
        return;
    }
    allow_null(schema);
    if (json_dump_callback(schema, append_json, out, JSON_COMPACT) != 0) {
        out->failed = true;
    }
    json_decref(schema);
}

static void put_body(tkr_buf *out, const tkr_meaning *meanings, size_t n) {
    const tkr_handler *first = meanings[0].handler;
    size_t n_schemas = 0;
    if (first->body == TKR_BODY_NONE || first->request_schema == NULL) {
        return;
    }
    put(out, ",\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":{\"anyOf\":[");
    for (size_t i = 0; i < n; i++) {
        if (meanings[i].handler->request_schema != NULL) {
            tkr_put_comma(out, n_schemas++);
            put_request(out, meanings[i].handler);
        }
    }
    put(out, "]},\"examples\":{");
    n_schemas = 0;
    for (size_t i = 0; i < n; i++) {
        const char *example = tkr_handler_example(meanings[i].handler);
        if (example != NULL) {
            tkr_put_comma(out, n_schemas++);
            tkr_buf_printf(out, "\"%s\":{\"value\":%s}", meanings[i].handler->name, example);
        }
    }
    put(out, "}}");
    if (first->body == TKR_BODY_EITHER) {
        put_form(out, first);
    }
    put(out, "}}");
}

/* Without parameters. */
static int media_length(const char *type) { return (int)strcspn(type, ";"); }

static void put_success(tkr_buf *out, const tkr_route *route, const tkr_meaning *meanings, size_t n) {
    const char *type = route->handler->content_type != NULL ? route->handler->content_type : "application/json";
    size_t n_schemas = 0;
    if (route->handler == &tkr_handler_web_socket) {
        put(out, "\"101\":{\"description\":\"The connection speaks WebSocket from here on\"},\"426\":{\"description\":"
                 "\"No WebSocket was asked for\",\"content\":{\"application/json\":{\"schema\":{\"$ref\":"
                 "\"#/components/schemas/native_error\"}}}}");
        return;
    }
    put(out, "\"200\":{\"description\":\"Done\",\"headers\":{\"x-request-id\":{\"$ref\":"
             "\"#/components/headers/RequestId\"}}");
    for (size_t i = 0; i < n; i++) {
        if (meanings[i].handler->response_schema != NULL) {
            if (n_schemas == 0) {
                tkr_buf_printf(out, ",\"content\":{\"%.*s\":{\"schema\":{\"anyOf\":[", media_length(type), type);
            } else {
                put(out, ",");
            }
            put(out, meanings[i].handler->response_schema);
            n_schemas++;
        }
    }
    if (n_schemas > 0) {
        put(out, "]}}");
        if (gives_vectors(route->handler)) {
            put(out,
                ",\"application/octet-stream\":{\"schema\":{\"type\":\"string\",\"format\":\"binary\",\"description\":"
                "\"Rows of little-endian values; x-shape and x-dtype say which.\"}},\"application/x-npy\":{"
                "\"schema\":{\"type\":\"string\",\"format\":\"binary\"}}");
        }
        put(out, "}");
    }
    put(out, "}");
}

static void put_operation(tkr_buf *out, const tkr_route *route) {
    tkr_meaning meanings[TKR_MAX_MEANINGS];
    const size_t n = tkr_route_meanings(meanings, route);
    char id[96];
    size_t n_id = 0;
    const bool post = strcmp(route->method, "POST") == 0;
    for (const char *at = route->path; *at != '\0' && n_id + 1 < sizeof id; at++) {
        id[n_id++] = (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') ? *at : '_';
    }
    id[n_id] = '\0';
    tkr_buf_printf(out, "\"%s\":{\"operationId\":\"%s%s\",\"tags\":[", post ? "post" : "get", post ? "post" : "get",
                   id);
    tkr_put_text(out, tkr_api_title(route->handler->api));
    put(out, "],\"summary\":");
    tkr_put_text(out, route->summary);
    put(out, route->scope == TKR_SCOPE_NONE ? ",\"security\":[]" : ",\"security\":[{\"bearer\":[]},{\"key\":[]},{}]");
    put_parameters(out, route);
    put_body(out, meanings, n);
    put(out, ",\"responses\":{");
    put_success(out, route, meanings, n);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        put_error(out, meanings, n, errors[i].status, errors[i].text);
    }
    put(out, "}}");
}

static void put_paths(tkr_buf *out) {
    size_t n_paths = 0;
    for (size_t i = 0; i < tkr_n_routes; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++) {
            seen = strcmp(tkr_routes[k].path, tkr_routes[i].path) == 0;
        }
        if (seen) {
            continue;
        }
        tkr_put_comma(out, n_paths++);
        tkr_put_text(out, tkr_routes[i].path);
        put(out, ":{");
        for (size_t k = i, n = 0; k < tkr_n_routes; k++) {
            if (strcmp(tkr_routes[k].path, tkr_routes[i].path) == 0) {
                tkr_put_comma(out, n++);
                put_operation(out, &tkr_routes[k]);
            }
        }
        put(out, "}");
    }
}

static void put_components(tkr_buf *out) {
    put(out,
        "\"securitySchemes\":{\"bearer\":{\"type\":\"http\",\"scheme\":\"bearer\"},\"key\":{\"type\":\"apiKey\","
        "\"in\":\"header\",\"name\":\"X-Api-Key\"}},"
        "\"headers\":{\"RetryAfter\":{\"description\":\"Seconds.\",\"schema\":{\"type\":\"integer\"}},"
        "\"RetryAfterMs\":{\"description\":\"Milliseconds.\",\"schema\":{\"type\":\"integer\"}},"
        "\"RequestId\":{\"description\":\"The request's own, or one that was made.\",\"schema\":{\"type\":"
        "\"string\"}}},"
        "\"parameters\":{\"RequestId\":{\"name\":\"x-request-id\",\"in\":\"header\",\"description\":\"Comes back in "
        "the reply and stands in the log; one of more than 63 bytes is replaced.\",\"schema\":{\"type\":\"string\"}}},"
        "\"schemas\":{");
    for (size_t i = 0; i < N_APIS; i++) {
        tkr_put_comma(out, i);
        tkr_buf_printf(out, "\"%s_error\":%s", apis[i].api->name, apis[i].error != NULL ? apis[i].error : "{}");
    }
    put(out, "}");
}

bool tkr_openapi_write(tkr_buf *out) {
    tkr_buf_printf(out,
                   "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"tkr-embed\",\"version\":\"%s\",\"summary\":\"Texts, "
                   "pictures, videos and documents to vectors\",\"description\":\"Routes of its own, and those that "
                   "clients of other servers "
                   "and services speak already. Where a path has several meanings, the body decides.\",\"license\":{"
                   "\"name\":\"Apache-2.0\",\"identifier\":\"Apache-2.0\"}},\"servers\":[{\"url\":\"/\"}],\"paths\":{",
                   tkr_version());
    put_paths(out);
    put(out, "},\"components\":{");
    put_components(out);
    put(out, "}}");
    return !out->failed;
}

static bool parse(tkr_operation *op) {
    return tkr_openapi_write(tkr_shape_reply(op, 200)) ||
           tkr_refuse(op, INTERNAL, NULL, "no memory for the description");
}

const tkr_handler tkr_handler_openapi = {.name = "openapi",
                                         .api = &tkr_api_native,
                                         .body = TKR_BODY_NONE,
                                         .parse = parse,
                                         .response_schema = "{\"type\":\"object\"}"};
