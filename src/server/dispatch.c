/* SPDX-License-Identifier: Apache-2.0 */
/* server/dispatch: the tables of routes and dialects, and the search in them. */
#include <stdio.h>
#include <string.h>

#include "server/operation.h"

const tkr_route tkr_routes[] = {
#define TKR_ROUTE(method, path, handler, scope, summary) \
    {method, path, &tkr_handler_##handler, TKR_SCOPE_##scope, summary},
#include "server/routes.def"
#undef TKR_ROUTE
};
const size_t tkr_n_routes = sizeof tkr_routes / sizeof tkr_routes[0];

typedef enum dialect_test { HAS, OBJECTS, MIXED } dialect_test;
static const struct {
    const char *path;
    dialect_test test;
    const char *keys;
    const tkr_handler *handler;
} dialects[] = {
#define TKR_DIALECT(path, test, keys, handler) {path, test, keys, &tkr_handler_##handler},
#include "server/dialects.def"
#undef TKR_DIALECT
};

/* "/v1/models/{name}" fits "/v1/models/x/y" too: names of models hold slashes. */
static bool path_fits(const char *pattern, const char *path) {
    const char *open = strstr(pattern, "{");
    if (!open) return strcmp(pattern, path) == 0;
    const size_t n = (size_t)(open - pattern);
    return strncmp(pattern, path, n) == 0 && path[n] != '\0';
}

static bool method_fits(const char *wanted, const char *method) {
    return strcmp(wanted, method) == 0 || (strcmp(wanted, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

const tkr_route *tkr_route_find(const char *method, const char *path, char allow[64]) {
    allow[0] = '\0';
    for (size_t i = 0; i < tkr_n_routes; i++) {
        const tkr_route *route = &tkr_routes[i];
        if (!path_fits(route->path, path)) continue;
        if (method_fits(route->method, method)) return route;
        const size_t n = strlen(allow);
        if (!strstr(allow, route->method))
            (void)snprintf(allow + n, 64 - n, "%s%s%s", n ? ", " : "", route->method,
                           strcmp(route->method, "GET") == 0 ? ", HEAD" : "");
    }
    return NULL;
}

static bool has(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return value && (!json_is_null(value) || strcmp(key, "input_type") == 0);
}

/* "a.b" */
static bool has_inside(const json_t *body, char *key) {
    char *inner = strchr(key, '.');
    *inner++ = '\0';
    const json_t *outer = json_object_get(body, key), *value;
    size_t i;
    json_array_foreach(outer, i, value) if (has(value, inner)) return true;
    return has(outer, inner);
}

static bool has_any(const json_t *body, const char *keys) {
    char key[64];
    while (*keys) {
        const size_t n = strcspn(keys, " ");
        (void)snprintf(key, sizeof key, "%.*s", (int)n, keys);
        if (strchr(key, '.') ? has_inside(body, key) : has(body, key)) return true;
        keys += n + (keys[n] == ' ');
    }
    return false;
}

static bool has_objects(const json_t *body, const char *key) {
    const json_t *list = json_object_get(body, key), *value;
    size_t i;
    json_array_foreach(list, i, value) if (json_is_object(value)) return true;
    return false;
}

/* Token ids and texts as one prompt. */
static bool is_mixed(const json_t *list) {
    const json_t *value;
    bool numbers = false, texts = false;
    size_t i;
    json_array_foreach(list, i, value) {
        numbers = numbers || json_is_number(value);
        texts = texts || json_is_string(value);
        if (numbers && texts) return true;
    }
    return false;
}

static bool has_mixed(const json_t *body, const char *key) {
    const json_t *list = json_object_get(body, key), *value;
    size_t i;
    if (is_mixed(list)) return true;
    json_array_foreach(list, i, value) if (is_mixed(value)) return true;
    return false;
}

static bool fits(dialect_test test, const json_t *body, const char *keys) {
    return (test == HAS ? has_any : test == OBJECTS ? has_objects : has_mixed)(body, keys);
}

const tkr_handler *tkr_dialect_find(const tkr_route *route, const json_t *body) {
    for (size_t i = 0; json_is_object(body) && i < sizeof dialects / sizeof dialects[0]; i++) {
        if (strcmp(dialects[i].path, route->path) != 0) continue;
        if (fits(dialects[i].test, body, dialects[i].keys)) return dialects[i].handler;
    }
    return route->handler;
}
