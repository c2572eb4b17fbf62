/* SPDX-License-Identifier: Apache-2.0 */
/* routes/admin: models at run time, the cache, settings that can be read again. Refused without the admin scope, or the
 * admin socket. */
#include <string.h>

#include "core/value.h"
#include "server/cache.h"
#include "server/config.h"
#include "server/routes/shape.h"

enum { MAX_NAME = 200 }; /* bytes of what requests call a model */

/* ---- models ---- */

static const char *const states[] = {"asleep", "loading", "ready", "failed"};

static void put_model(void *user, const tkr_served_model *model) {
    tkr_buf *out = user;
    tkr_buf_printf(out, "%s{\"model\":", out->data[out->size - 1] == '[' ? "" : ",");
    tkr_put_text(out, model->name);
    tkr_buf_printf(out, ",\"reference\":");
    tkr_put_text(out, model->reference);
    tkr_buf_printf(out, ",\"state\":\"%s\"", states[model->state]);
    if (model->state == TKR_MODEL_READY) {
        tkr_buf_printf(
            out, ",\"load_s\":%.3f,\"weights_bytes\":%llu,\"workspace_bytes\":%llu,\"fingerprint\":", model->load_s,
            (unsigned long long)model->info->weights_bytes, (unsigned long long)model->info->workspace_bytes);
        tkr_put_text(out, model->info->fingerprint);
    } else if (model->state == TKR_MODEL_FAILED) {
        tkr_buf_printf(out, ",\"error\":");
        tkr_put_text(out, model->error.message);
    }
    tkr_buf_putc(out, '}');
}

static bool answer_models(tkr_operation *op) {
    tkr_buf *out = tkr_shape_reply(op, 200);
    if (!tkr_buf_append(out, "{\"models\":[", 11)) return tkr_refuse(op, INTERNAL, NULL, "no memory for the reply");
    tkr_models_each(tkr_server_models(op->server), put_model, out);
    tkr_buf_append(out, "]}\n", 3);
    return true;
}

/* A library's status about a model as a fault about the request. */
static bool refuse_model(tkr_operation *op, tkr_status status, const char *param, const tkr_error *error) {
    const tkr_fault_kind kind = status == TKR_NOT_FOUND                     ? TKR_FAULT_NO_MODEL
                                : status == TKR_BUSY || status == TKR_LIMIT ? TKR_FAULT_CONFLICT
                                : status == TKR_NETWORK || status == TKR_DEADLINE || status == TKR_CANCELLED
                                    ? TKR_FAULT_UNAVAILABLE
                                : status == TKR_NO_MEMORY || status == TKR_INTERNAL ? TKR_FAULT_INTERNAL
                                                                                    : TKR_FAULT_VALUE;
    return tkr_refuse_with(op, kind, param, "%s", error->message);
}

static bool read_fields(tkr_operation *op, const char **model, const char **name, const char **quantization) {
    static const char *const with_all[] = {"model", "name", "quantization", NULL}, *const alone[] = {"model", NULL};
    tkr_fields fields;
    if (!tkr_fields_of(&fields, op, op->body, "") || !tkr_fields_only(&fields, name ? with_all : alone) ||
        !tkr_fields_string(model, &fields, "model"))
        return false;
    if (!*model) return tkr_refuse(op, TYPE, "model", "\"model\" is missing, expected a string");
    return !name ||
           (tkr_fields_string(name, &fields, "name") && tkr_fields_string(quantization, &fields, "quantization"));
}

/* A name stands in headers, logs and metrics: what "alias" in the configuration may be, and not without end. */
static bool check_name(tkr_operation *op, const char *name, const char *model) {
    const char *param = name ? "name" : "model"; /* which is the name then */
    const char *text = name ? name : model;
    tkr_error error;
    if (*text == '\0') return tkr_refuse(op, VALUE, param, "%s: is an empty string", param);
    if (name && strlen(name) > MAX_NAME)
        return tkr_refuse(op, VALUE, param, "%s: has %zu bytes, expected at most %d", param, strlen(name),
                          (int)MAX_NAME);
    return tkr_setting_check_text(text, param, &error) == TKR_OK || tkr_refuse(op, VALUE, param, "%s", error.message);
}

static bool check_quantization(tkr_operation *op, const char *word) {
    const tkr_value_rule rule = tkr_setting_rule(TKR_SET_QUANTIZATION);
    uint64_t number = 0;
    double real = 0;
    tkr_error error;
    return tkr_value_read(&number, &real, &rule, word, "quantization", &error) == TKR_OK ||
           tkr_refuse(op, VALUE, "quantization", "%s", error.message);
}

static bool say_models(tkr_operation *op, tkr_status status, const char *param, const tkr_error *error) {
    return status == TKR_OK ? answer_models(op) : refuse_model(op, status, param, error);
}

static bool answer_load(tkr_operation *op) {
    const char *model = NULL, *name = NULL, *quantization = NULL;
    tkr_error error;
    if (!read_fields(op, &model, &name, &quantization) || !check_name(op, name, model) ||
        (quantization && !check_quantization(op, quantization)))
        return false;
    const tkr_status status =
        tkr_models_add(tkr_server_models(op->server), name ? name : model, model, quantization, &error);
    return say_models(op, status, status == TKR_BUSY && name ? "name" : "model", &error); /* busy: taken */
}

static bool answer_unload(tkr_operation *op) {
    const char *model = NULL;
    tkr_error error;
    if (!read_fields(op, &model, NULL, NULL)) return false;
    return say_models(op, tkr_models_unload(tkr_server_models(op->server), model, &error), "model", &error);
}

#define MODELS_SCHEMA \
    "{\"type\":\"object\",\"properties\":{\"models\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}}}}"

const tkr_handler tkr_handler_admin_models = {.name = "admin_models",
                                              .api = &tkr_api_native,
                                              .body = TKR_BODY_NONE,
                                              .parse = answer_models,
                                              .response_schema = MODELS_SCHEMA};
const tkr_handler tkr_handler_admin_load = {
    .name = "admin_load",
    .api = &tkr_api_native,
    .body = TKR_BODY_JSON,
    .parse = answer_load,
    .blocks = true,
    .request_schema = "{\"type\":\"object\",\"required\":[\"model\"],\"properties\":{\"model\":{\"type\":\"string\","
                      "\"description\":\"folder, GGUF file, Hugging Face id or alias\"},\"name\":{\"type\":\"string\","
                      "\"minLength\":1,\"maxLength\":200,\"description\":\"what requests call it; 200 bytes at "
                      "most\"},\"quantization\":{\"type\":\"string\",\"enum\":[\"auto\",\"none\",\"q8\",\"q4\"]}},"
                      "\"additionalProperties\":false}",
    .response_schema = MODELS_SCHEMA};
const tkr_handler tkr_handler_admin_unload = {
    .name = "admin_unload",
    .api = &tkr_api_native,
    .body = TKR_BODY_JSON,
    .parse = answer_unload,
    .blocks = true,
    .request_schema = "{\"type\":\"object\",\"required\":[\"model\"],\"properties\":{\"model\":{\"type\":\"string\"}}}",
    .response_schema = MODELS_SCHEMA};

/* ---- the rest ---- */

static bool answer_done(tkr_operation *op) {
    tkr_buf_printf(tkr_shape_reply(op, 200), "{\"status\":\"ok\"}\n");
    return true;
}

static bool answer_clear(tkr_operation *op) {
    tkr_cache *cache = tkr_server_cache(op->server);
    if (cache) tkr_cache_clear(cache);
    return answer_done(op);
}

static bool answer_reload(tkr_operation *op) {
    tkr_error error;
    if (!tkr_server_reload(op->server, &error)) return tkr_refuse(op, INTERNAL, NULL, "%s", error.message);
    return answer_done(op);
}

const tkr_handler tkr_handler_admin_clear_cache = {.name = "admin_clear_cache",
                                                   .api = &tkr_api_native,
                                                   .body = TKR_BODY_IGNORED,
                                                   .parse = answer_clear,
                                                   .response_schema = "{\"type\":\"object\"}"};
const tkr_handler tkr_handler_admin_reload = {.name = "admin_reload",
                                              .api = &tkr_api_native,
                                              .body = TKR_BODY_IGNORED,
                                              .parse = answer_reload,
                                              .blocks = true,
                                              .response_schema = "{\"type\":\"object\"}"};
