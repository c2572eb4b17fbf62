/* SPDX-License-Identifier: Apache-2.0 */
/* routes/about: health, info and metrics: what the server says of itself. */
#include <string.h>

#include "core/cpu.h"
#include "server/metrics.h"
#include "server/routes/shape.h"

static void put_field(tkr_buf *out, const char *name, const char *text) {
    tkr_buf_printf(out, "%s\"%s\":", out->size > 0 && out->data[out->size - 1] != '{' ? "," : "", name);
    tkr_put_text(out, text);
}

static void put_count(tkr_buf *out, const char *name, uint64_t value) {
    tkr_buf_printf(out, ",\"%s\":%llu", name, (unsigned long long)value);
}

static void put_bool(tkr_buf *out, const char *name, bool value) {
    tkr_buf_printf(out, ",\"%s\":%s", name, value ? "true" : "false");
}

/* ---- health ---- */

/* The first model is the default one; a model that isn't loaded has no device. */
typedef struct first_model {
    bool seen, loaded;
    char device[160];
} first_model;

static void look_at_model(void *user, const tkr_served_model *model) {
    first_model *first = user;
    if (first->seen) return;
    first->seen = true;
    first->loaded = model->state == TKR_MODEL_READY;
    if (!first->loaded) return;
    const size_t n = strlen(model->info->device), room = sizeof first->device - 1;
    memcpy(first->device, model->info->device, n < room ? n : room);
}

/* A superset of what clients of Text Embeddings Inference and llama-server look at. `why`: NULL, or why the server
 * isn't ready. */
static bool answer_state(tkr_operation *op, const char *why) {
    const bool ready = why == NULL;
    first_model first = {0};
    tkr_models_each(tkr_server_models(op->server), look_at_model, &first);
    tkr_buf *out = tkr_shape_reply(op, ready ? 200 : 503);
    tkr_buf_putc(out, '{');
    put_field(out, "status", ready ? "ok" : "unavailable");
    if (!ready) put_field(out, "reason", why);
    put_bool(out, "model_loaded", first.loaded);
    put_field(out, "framework", "tkr-embed");
    put_field(out, "version", tkr_version());
    put_field(out, "device", first.loaded ? first.device : NULL);
    if (!ready) { /* as llama-server has it while it loads */
        tkr_buf_printf(out, ",\"error\":{\"code\":503,\"type\":\"unavailable_error\",\"message\":");
        tkr_put_text(out, why);
        tkr_buf_putc(out, '}');
        tkr_http_add_field(op->response, "Retry-After", "1");
        tkr_http_add_field(op->response, "retry-after-ms", "1000");
    }
    tkr_buf_append(out, "}\n", 2);
    return true;
}

static bool answer_health(tkr_operation *op) {
    const char *why = NULL;
    return answer_state(op, tkr_server_is_ready(op->server, &why) ? NULL : why);
}

static bool answer_live(tkr_operation *op) { return answer_state(op, NULL); }

/* An empty body when fine, as Text Embeddings Inference answers. */
static bool answer_ping(tkr_operation *op) {
    const char *why = NULL;
    if (!tkr_server_is_ready(op->server, &why)) return tkr_refuse(op, UNAVAILABLE, NULL, "unhealthy");
    tkr_shape_reply(op, 200);
    op->response->content_type = NULL;
    return true;
}

#define HEALTH_SCHEMA                                                                                   \
    "{\"type\":\"object\",\"properties\":{\"status\":{\"type\":\"string\"},\"model_loaded\":{\"type\":" \
    "\"boolean\"},\"framework\":{\"type\":\"string\"},\"device\":{\"type\":[\"string\",\"null\"]}}}"

const tkr_handler tkr_handler_health = {.name = "health",
                                        .api = &tkr_api_native,
                                        .body = TKR_BODY_NONE,
                                        .parse = answer_health,
                                        .response_schema = HEALTH_SCHEMA};
const tkr_handler tkr_handler_health_ready = {.name = "health_ready",
                                              .api = &tkr_api_native,
                                              .body = TKR_BODY_NONE,
                                              .parse = answer_health,
                                              .response_schema = HEALTH_SCHEMA};
const tkr_handler tkr_handler_health_live = {.name = "health_live",
                                             .api = &tkr_api_native,
                                             .body = TKR_BODY_NONE,
                                             .parse = answer_live,
                                             .response_schema = HEALTH_SCHEMA};
const tkr_handler tkr_handler_tei_ping = {
    .name = "tei_ping", .api = &tkr_api_tei, .body = TKR_BODY_NONE, .parse = answer_ping};

/* ---- info ---- */

static void put_pairs(tkr_buf *out, const char *name, const tkr_pair *pairs, size_t n) {
    tkr_buf_printf(out, ",\"%s\":{", name);
    for (size_t i = 0; i < n; i++) put_field(out, pairs[i].name, pairs[i].value);
    tkr_buf_putc(out, '}');
}

/* "text, image, text+image" as a list. */
static void put_modalities(tkr_buf *out, const char *list) {
    tkr_buf_printf(out, ",\"supported_modalities\":[");
    for (bool first = true; *list; first = false) {
        const size_t n = strcspn(list, ",");
        if (!first) tkr_buf_putc(out, ',');
        tkr_json_write_string(out, list, n);
        list += n;
        list += strspn(list, ", ");
    }
    tkr_buf_putc(out, ']');
}

static void put_model(tkr_buf *out, const tkr_served_model *model) {
    const tkr_model_info *info = model->info;
    put_field(out, "model", model->name);
    put_field(out, "reference", model->reference);
    put_field(out, "framework", "tkr-embed");
    put_field(out, "version", tkr_version());
    put_field(out, "architecture", info->architecture);
    put_field(out, "quantization", info->quantization);
    put_field(out, "precision", info->precision);
    put_field(out, "device", info->device);
    put_field(out, "fingerprint", info->fingerprint);
    put_count(out, "embedding_dim", info->dimensions);
    put_modalities(out, info->modalities);
    put_field(out, "pooling", info->pooling);
    put_bool(out, "normalizes", info->normalizes);
    put_bool(out, "multi_vector", info->multi_vector);
    put_count(out, "max_tokens", info->max_tokens);
    put_count(out, "parameters", info->n_parameters);
    put_count(out, "weights_bytes", info->weights_bytes);
    put_pairs(out, "prompts", info->prompts, info->n_prompts);
    put_field(out, "default_prompt", info->default_prompt);
    put_pairs(out, "kernels", info->kernels, info->n_kernels);
}

static void put_limits(tkr_buf *out, const tkr_operation *op) {
    const tkr_settings *s = tkr_server_settings(op->server);
    tkr_buf_printf(out, ",\"limits\":{\"max_client_batch_size\":%llu",
                   (unsigned long long)tkr_setting_of(s, TKR_SET_MAX_CLIENT_BATCH)->number);
    put_count(out, "max_body_bytes", tkr_setting_of(s, TKR_SET_MAX_BODY)->number);
    put_count(out, "max_batch_size", tkr_setting_of(s, TKR_SET_MAX_BATCH_SIZE)->number);
    put_count(out, "max_image_pixels", tkr_setting_of(s, TKR_SET_MAX_IMAGE_PIXELS)->number);
    tkr_buf_printf(out, ",\"timeout_s\":%.3f", tkr_setting_of(s, TKR_SET_TIMEOUT)->real);
    if (op->model->info->max_images == SIZE_MAX)
        tkr_buf_printf(out, ",\"max_images\":null");
    else
        put_count(out, "max_images", op->model->info->max_images);
    tkr_buf_putc(out, '}');
}

/* The fields of Text Embeddings Inference's Info, so that its clients find them. */
static void put_tei(tkr_buf *out, const tkr_operation *op) {
    const tkr_settings *s = tkr_server_settings(op->server);
    const tkr_model_info *info = op->model->info;
    tkr_machine machine;
    tkr_machine_read(&machine);
    put_field(out, "model_id", op->model->reference);
    put_field(out, "model_sha", NULL);
    put_field(out, "model_dtype", strcmp(info->precision, "bf16") == 0 ? "bfloat16" : "float32");
    put_field(out, "served_model_name", op->model->name);
    tkr_buf_printf(out, ",\"model_type\":{\"embedding\":{\"pooling\":");
    tkr_put_text(out, strcmp(info->pooling, "lasttoken") == 0 ? "last_token" : info->pooling);
    tkr_buf_append(out, "}}", 2);
    put_count(out, "max_concurrent_requests", tkr_setting_of(s, TKR_SET_MAX_CONNECTIONS)->number);
    put_count(out, "max_input_length", info->max_tokens);
    put_count(out, "max_batch_tokens", info->batch_tokens);
    put_count(out, "max_batch_requests", tkr_setting_of(s, TKR_SET_MAX_BATCH_SIZE)->number);
    put_count(out, "max_client_batch_size", tkr_setting_of(s, TKR_SET_MAX_CLIENT_BATCH)->number);
    put_bool(out, "auto_truncate", tkr_setting_on(s, TKR_SET_AUTO_TRUNCATE));
    put_count(out, "tokenization_workers", machine.n_threads);
    put_field(out, "sha", NULL);
    put_field(out, "docker_label", NULL);
}

static bool answer_info(tkr_operation *op) {
    tkr_buf *out = tkr_shape_reply(op, 200);
    tkr_buf_putc(out, '{');
    put_model(out, op->model);
    put_limits(out, op);
    put_tei(out, op);
    tkr_buf_append(out, "}\n", 2);
    return true;
}

const tkr_handler tkr_handler_info = {
    .name = "info",
    .api = &tkr_api_native,
    .body = TKR_BODY_NONE,
    .parse = answer_info,
    .wants_model = true,
    .response_schema =
        "{\"type\":\"object\",\"properties\":{\"model\":{\"type\":\"string\"},\"embedding_dim\":{\"type\":"
        "\"integer\"},\"max_tokens\":{\"type\":\"integer\"},\"pooling\":{\"type\":\"string\"},"
        "\"supported_modalities\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"limits\":{"
        "\"type\":\"object\"},\"kernels\":{\"type\":\"object\"},\"model_id\":{\"type\":\"string\"}}}"};

/* ---- metrics ---- */

static bool answer_metrics(tkr_operation *op) {
    if (!tkr_setting_on(tkr_server_settings(op->server), TKR_SET_METRICS))
        return tkr_refuse(op, NOT_FOUND, NULL, "metrics are switched off (monitoring.enable_metrics)");
    tkr_buf *out = tkr_shape_reply(op, 200);
    op->response->content_type = tkr_handler_metrics.content_type;
    return tkr_metrics_write(out, tkr_server_metrics(op->server), op->server) ||
           tkr_refuse(op, INTERNAL, NULL, "no memory for the metrics");
}

const tkr_handler tkr_handler_metrics = {.name = "metrics",
                                         .api = &tkr_api_native,
                                         .body = TKR_BODY_NONE,
                                         .parse = answer_metrics,
                                         .content_type = "text/plain; version=0.0.4; charset=utf-8",
                                         .response_schema = "{\"type\":\"string\"}"};
