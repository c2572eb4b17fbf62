/* SPDX-License-Identifier: Apache-2.0 */
/* routes/docs: GET /docs: the tables of routes as a page to read: one file, no scripts, nothing fetched. */
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>

#include "core/base64.h"
#include "server/openapi.h"
#include "server/routes/docs_text.h"
#include "server/routes/shape.h"

/* ---- text ---- */

static void put(tkr_buf *out, const char *text) { tkr_buf_append(out, text, strlen(text)); }

static void put_html_n(tkr_buf *out, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        switch (text[i]) {
        case '&': put(out, "&amp;"); break;
        case '<': put(out, "&lt;"); break;
        case '>': put(out, "&gt;"); break;
        case '"': put(out, "&quot;"); break;
        default: tkr_buf_putc(out, text[i]); break;
        }
    }
}

static void put_html(tkr_buf *out, const char *text) { put_html_n(out, text, strlen(text)); }

/* "post-embed-text" */
static void put_anchor(tkr_buf *out, const tkr_route *route) {
    put(out, strcmp(route->method, "POST") == 0 ? "post" : "get");
    for (const char *at = route->path; *at != '\0'; at++) {
        tkr_buf_putc(out, (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') ? *at : '-');
    }
}

/* ---- fields of a schema ---- */

static const char *word(const json_t *schema, const char *key) {
    const char *text = json_string_value(json_object_get(schema, key));
    return text != NULL ? text : "";
}

static void put_type(tkr_buf *out, const json_t *schema, unsigned depth);

static void put_each(tkr_buf *out, const json_t *list, unsigned depth) {
    size_t i;
    const json_t *value;
    json_array_foreach(list, i, value) {
        put(out, i > 0 ? " or " : "");
        put_type(out, value, depth + 1);
    }
}

static void put_choices(tkr_buf *out, const json_t *list) {
    size_t i;
    const json_t *value;
    json_array_foreach(list, i, value) {
        put(out, i > 0 ? " | " : "");
        if (json_is_string(value)) {
            put(out, "&quot;");
            put_html(out, json_string_value(value));
            put(out, "&quot;");
        } else {
            put(out, tkr_json_type_name(value));
        }
    }
}

static void put_named_type(tkr_buf *out, const char *type, const json_t *schema, unsigned depth) {
    const json_t *items = json_object_get(schema, "items");
    if (strcmp(type, "array") != 0) {
        put(out, strcmp(type, "boolean") == 0 ? "true | false" : type);
    } else if (items == NULL || depth > 4) {
        put(out, "list");
    } else {
        put(out, "list of ");
        put_type(out, items, depth + 1);
    }
}

/* "string or list of string" */
static void put_type(tkr_buf *out, const json_t *schema, unsigned depth) {
    const json_t *choices = json_object_get(schema, "enum"), *type = json_object_get(schema, "type");
    const json_t *one = json_object_get(schema, "oneOf"), *any = json_object_get(schema, "anyOf");
    if (depth > 6) {
        put(out, "...");
    } else if (choices != NULL) {
        put_choices(out, choices);
    } else if (one != NULL || any != NULL) {
        put_each(out, one != NULL ? one : any, depth);
    } else if (json_is_string(type)) {
        put_named_type(out, json_string_value(type), schema, depth);
    } else if (json_is_array(type)) {
        size_t i;
        const json_t *value;
        json_array_foreach(type, i, value) {
            put(out, i > 0 ? " or " : "");
            put_named_type(out, json_is_string(value) ? json_string_value(value) : "any", schema, depth);
        }
    } else if (json_is_string(json_object_get(schema, "const"))) {
        tkr_buf_printf(out, "&quot;%s&quot;", word(schema, "const"));
    } else {
        put(out, "any");
    }
}

static bool is_required(const json_t *schema, const char *name) {
    size_t i;
    const json_t *value;
    json_array_foreach(json_object_get(schema, "required"), i, value) {
        if (json_is_string(value) && strcmp(json_string_value(value), name) == 0) {
            return true;
        }
    }
    return false;
}

static void put_fields(tkr_buf *out, const json_t *schema) {
    const char *name;
    json_t *field;
    json_t *properties = json_object_get(schema, "properties");
    if (json_object_size(properties) == 0) {
        return;
    }
    put(out, "<div class=wide><table><tbody>");
    json_object_foreach(properties, name, field) {
        put(out, "<tr><th><code>");
        put_html(out, name);
        put(out, is_required(schema, name) ? "</code><b title=required>*</b></th><td class=type>"
                                           : "</code></th><td class=type>");
        put_type(out, field, 0);
        put(out, "</td><td>");
        put_html(out, word(field, "description"));
        const json_t *usual = json_object_get(field, "default");
        if (json_is_string(usual)) {
            put(out, " Usually <code>");
            put_html(out, json_string_value(usual));
            put(out, "</code>.");
        } else if (json_is_boolean(usual)) {
            put(out, json_is_true(usual) ? " Usually <code>true</code>." : " Usually <code>false</code>.");
        }
        put(out, "</td></tr>");
    }
    put(out, "</tbody></table></div>");
}

/* The fields of a schema, of alternatives each; nothing for what is no object. */
static void put_schema(tkr_buf *out, const char *text, const char *title) {
    json_t *schema = NULL;
    if (text == NULL || tkr_json_parse(&schema, text, strlen(text), "schema", NULL) != TKR_OK) {
        return;
    }
    const json_t *one = json_object_get(schema, "oneOf");
    if (json_object_get(schema, "properties") != NULL || one != NULL) {
        tkr_buf_printf(out, "<h4>%s</h4>", title);
    }
    put_fields(out, schema);
    size_t i;
    const json_t *value;
    json_array_foreach(one, i, value) {
        if (i > 0) {
            put(out, "<p class=or>or</p>");
        }
        put_fields(out, value);
    }
    json_decref(schema);
}

/* ---- routes ---- */

/* Where the reader reached this server. */
static void put_origin(tkr_buf *out, const tkr_http_request *request) {
    const char *host = tkr_http_field_of(request, "host");
    put(out, request->tls ? "https://" : "http://");
    put_html(out, host != NULL && strpbrk(host, "'\\") == NULL ? host : "127.0.0.1:8000");
}

/* A file to send in a form. */
static const char *form_example(const tkr_handler *handler) {
    return handler == &tkr_handler_embed_video      ? "file=@clip.mp4 -F max_frames=16"
           : handler == &tkr_handler_embed_document ? "file=@report.pdf -F mode=text"
                                                    : "file=@photo.jpg";
}

static void put_curl(tkr_buf *out, const tkr_http_request *request, const tkr_route *route,
                     const tkr_handler *handler) {
    const char *example = tkr_handler_example(handler);
    if (handler == &tkr_handler_web_socket || (handler->body != TKR_BODY_NONE && example == NULL)) {
        return;
    }
    put(out, "<pre><code>curl ");
    put_origin(out, request);
    put_html(out, route->path);
    if (example != NULL && handler->body != TKR_BODY_NONE) {
        put(out, " \\\n  -H 'Content-Type: application/json' \\\n  -d '");
        put_html(out, example);
        put(out, "'");
    }
    if (handler->body == TKR_BODY_EITHER) {
        put(out, "\n\ncurl ");
        put_origin(out, request);
        put_html(out, route->path);
        tkr_buf_printf(out, " -F %s", form_example(handler));
    }
    put(out, "</code></pre>");
}

static const char *scope_name(tkr_scope scope) {
    switch (scope) {
    case TKR_SCOPE_EMBED: return "embed";
    case TKR_SCOPE_METRICS: return "metrics";
    case TKR_SCOPE_ADMIN: return "admin";
    case TKR_SCOPE_NONE: break;
    }
    return "open";
}

static void put_route(tkr_buf *out, const tkr_http_request *request, const tkr_route *route) {
    tkr_meaning meanings[TKR_MAX_MEANINGS];
    const size_t n = tkr_route_meanings(meanings, route);
    put(out, "<article id=");
    put_anchor(out, route);
    tkr_buf_printf(out, "><h3><span class=\"verb %s\">%s</span> <code>", route->method, route->method);
    put_html(out, route->path);
    tkr_buf_printf(out, "</code><span class=scope title=\"scope that an API key needs\">%s</span></h3><p>",
                   scope_name(route->scope));
    put_html(out, route->summary);
    put(out, "</p>");
    for (size_t i = 0; i < n; i++) {
        const tkr_handler *handler = meanings[i].handler;
        if (meanings[i].when[0] != '\0') {
            put(out, "<h4 class=when>");
            put_html(out, tkr_api_title(handler->api));
            put(out, ", recognised by <code>");
            put_html(out, meanings[i].when);
            put(out, "</code></h4>");
        }
        put_curl(out, request, route, handler);
        put_schema(out, handler->request_schema, "Fields");
        if (i == 0 && handler->response_schema != NULL && handler->body != TKR_BODY_NONE) {
            put(out, "<details><summary>Reply</summary>");
            put_schema(out, handler->response_schema, "Fields of the reply");
            put(out, "</details>");
        }
    }
    put(out, route->handler == &tkr_handler_web_socket ? tkr_docs_web_socket : "");
    put(out, "</article>");
}

/* Routes of one API; of our own, the admin's apart. */
static bool belongs(const tkr_route *route, const tkr_api *api, bool admin) {
    return route->handler->api == api && (route->scope == TKR_SCOPE_ADMIN) == admin;
}

static void put_group(tkr_buf *out, const tkr_http_request *request, const tkr_api *api, bool admin, bool as_list) {
    size_t n = 0;
    for (size_t i = 0; i < tkr_n_routes; i++) {
        const tkr_route *route = &tkr_routes[i];
        if (!belongs(route, api, admin)) {
            continue;
        }
        if (n++ == 0) {
            put(out, as_list ? "<h5>" : "<section><h2>");
            put_html(out, admin ? "Administration" : tkr_api_title(api));
            put(out, as_list ? "</h5><ul>" : "</h2>");
        }
        if (!as_list) {
            put_route(out, request, route);
            continue;
        }
        put(out, "<li><a href=#");
        put_anchor(out, route);
        tkr_buf_printf(out, "><span class=\"dot %s\"></span>", route->method);
        put_html(out, route->path);
        put(out, "</a></li>");
    }
    put(out, n == 0 ? "" : as_list ? "</ul>" : "</section>");
}

static void put_groups(tkr_buf *out, const tkr_http_request *request, bool as_list) {
    static const tkr_api *const apis[] = {
        &tkr_api_native, &tkr_api_openai, &tkr_api_tei,

        &tkr_api_cohere, &tkr_api_jina,   &tkr_api_voyage, &tkr_api_ollama, &tkr_api_llama, &tkr_api_plain, NULL};
    for (int admin = 0; admin < 2; admin++) {
        for (size_t i = 0; apis[i] != NULL; i++) {
            put_group(out, request, apis[i], admin == 1, as_list);
        }
    }
}

/* ---- the page ---- */

/* Allows this page's own style, by its hash, and nothing else. */
static bool add_policy(tkr_http_response *response) {
    uint8_t digest[SHA256_DIGEST_SIZE];
    struct sha256_ctx hash;
    tkr_buf text = {0};
    sha256_init(&hash);
    sha256_update(&hash, strlen(tkr_docs_style), (const uint8_t *)tkr_docs_style);
    sha256_digest(&hash, sizeof digest, digest);
    const bool good = tkr_base64_encode(&text, digest, sizeof digest) &&
                      tkr_http_add_field(response, "Content-Security-Policy",
                                         "default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action "
                                         "'none'; frame-ancestors 'none'",
                                         text.data);
    tkr_buf_free(&text);
    return good;
}

static bool parse(tkr_operation *op) {
    tkr_buf *out = tkr_shape_reply(op, 200);
    op->response->content_type = tkr_handler_docs.content_type;
    put(out, "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport "
             "content=\"width=device-width,initial-scale=1\"><meta name=color-scheme content=\"light dark\">"
             "<title>tkr-embed API</title><style>");
    put(out, tkr_docs_style);
    put(out, "</style></head><body><nav><a class=home href=/>tkr-embed</a>");
    put_groups(out, op->request, true);
    tkr_buf_printf(out, "</nav><main><header><h1>API</h1><p class=version>tkr-embed %s</p>", tkr_version());
    put(out, tkr_docs_intro);
    put(out, "</header>");
    put_groups(out, op->request, false);
    put(out, "</main></body></html>");
    return (add_policy(op->response) && !out->failed) || tkr_refuse(op, INTERNAL, NULL, "no memory for the page");
}

const tkr_handler tkr_handler_docs = {.name = "docs",
                                      .api = &tkr_api_plain,
                                      .body = TKR_BODY_NONE,
                                      .parse = parse,
                                      .content_type = "text/html; charset=utf-8",
                                      .response_schema = "{\"type\":\"string\"}"};
