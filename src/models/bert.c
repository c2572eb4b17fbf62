/* SPDX-License-Identifier: Apache-2.0 */
/* models/bert: BERT encoders (all-MiniLM, bge, e5-small, gte). Post-norm, learned positions from 0, bidirectional.
 * Reference: transformers BertModel. Refuses relative position embeddings and decoders. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "models/model.h"

typedef struct bert_layer {
    tkr_weight *qkv;                              /* [3 * hidden, hidden] */
    tkr_weight *attention_output;                 /* [hidden, hidden] */
    tkr_weight *attention_gain, *attention_shift; /* [hidden] */
    tkr_weight *up;                               /* [intermediate, hidden] */
    tkr_weight *down;                             /* [hidden, intermediate] */
    tkr_weight *output_gain, *output_shift;       /* [hidden] */
} bert_layer;

struct tkr_arch_model {
    const tkr_ops *ops;
    tkr_arch_config config;
    tkr_gemm_mode mode;
    tkr_weight *words;        /* [vocab, hidden] */
    tkr_weight *positions;    /* [max_positions, hidden] */
    tkr_weight *types;        /* [type_vocab, hidden] */
    tkr_weight *gain, *shift; /* [hidden] */
    bert_layer *layers;       /* [n_layers] */
};

static const char *const model_types[] = {"bert", NULL};

/* Heads that other tasks leave in a checkpoint, and the buffer that older files carry. */
static const char *const ignored[] = {"*pooler.dense.*", "cls.*",        "*embeddings.position_ids",
                                      "classifier.*",    "qa_outputs.*", NULL};

static tkr_status configure(tkr_arch_config *config, const json_t *json, const char *what, tkr_error *error) {
    static const struct {
        const char *field;
        size_t offset;
        int64_t max;
    } fields[] = {
        {"hidden_size", offsetof(tkr_arch_config, hidden_size), 65536},
        {"num_hidden_layers", offsetof(tkr_arch_config, n_layers), 1024},
        {"num_attention_heads", offsetof(tkr_arch_config, n_heads), 1024},
        {"intermediate_size", offsetof(tkr_arch_config, intermediate_size), 1 << 20},
        {"vocab_size", offsetof(tkr_arch_config, vocab_size), 1 << 26},
        {"max_position_embeddings", offsetof(tkr_arch_config, max_positions), 1 << 24},
        {"type_vocab_size", offsetof(tkr_arch_config, type_vocab_size), 4096},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        int64_t value = 0;
        tkr_status status = tkr_json_get_int(&value, json, fields[i].field, 1, fields[i].max, true, what, error);
        if (status != TKR_OK) return status;
        *(size_t *)(void *)((char *)config + fields[i].offset) = (size_t)value;
    }
    double eps = 1e-12;
    const char *activation = "gelu", *positions = "absolute";
    bool decoder = false;
    tkr_status status = tkr_json_get_double(&eps, json, "layer_norm_eps", 0.0, 1.0, false, what, error);
    if (status == TKR_OK) status = tkr_json_get_string(&activation, json, "hidden_act", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_string(&positions, json, "position_embedding_type", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&decoder, json, "is_decoder", false, what, error);
    if (status == TKR_OK) status = tkr_activation_parse(&config->activation, activation, what, error);
    if (status != TKR_OK) return status;
    config->norm_eps = (float)eps;
    if (strcmp(positions, "absolute") != 0)
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: position_embedding_type \"%s\" is not supported; supported: \"absolute\"", what,
                        positions);
    if (decoder)
        return TKR_FAIL(error, UNSUPPORTED, "%s: is_decoder is true; BERT is supported as an encoder only", what);
    if (config->hidden_size % config->n_heads != 0)
        return TKR_FAIL(error, FORMAT, "%s: hidden_size %zu is not a multiple of num_attention_heads %zu", what,
                        config->hidden_size, config->n_heads);
    config->head_dim = config->hidden_size / config->n_heads;
    if (config->head_dim > TKR_MAX_HEAD_DIM)
        return TKR_FAIL(error, UNSUPPORTED, "%s: heads of %zu values; supported: up to %d", what, config->head_dim,
                        TKR_MAX_HEAD_DIM);
    return TKR_OK;
}

static void free_model(tkr_arch_model **out) {
    if (!out || !*out) return;
    tkr_arch_model *model = *out;
    void (*drop)(tkr_weight **) = model->ops->weight_free;
    tkr_weight **own[] = {&model->words, &model->positions, &model->types, &model->gain, &model->shift};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) drop(own[i]);
    for (size_t i = 0; model->layers && i < model->config.n_layers; i++) {
        bert_layer *l = &model->layers[i];
        tkr_weight **weights[] = {&l->qkv,  &l->attention_output, &l->attention_gain, &l->attention_shift, &l->up,
                                  &l->down, &l->output_gain,      &l->output_shift};
        for (size_t w = 0; w < sizeof weights / sizeof *weights; w++) drop(weights[w]);
    }
    tkr_free(model->layers);
    tkr_free(model);
    *out = NULL;
}

static tkr_status bind_norm(tkr_binder *binder, tkr_weight **gain, tkr_weight **shift, const char *name, size_t n,
                            tkr_error *error) {
    char weight[128], gamma[128], bias[128], beta[128];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(gamma, sizeof gamma, "%s.gamma", name); /* spelling of checkpoints converted from TensorFlow */
    snprintf(bias, sizeof bias, "%s.bias", name);
    snprintf(beta, sizeof beta, "%s.beta", name);
    tkr_status status = tkr_bind_vector(binder, gain, weight, gamma, n, error);
    return status != TKR_OK ? status : tkr_bind_vector(binder, shift, bias, beta, n, error);
}

static tkr_status bind_layer(tkr_binder *binder, bert_layer *layer, size_t index, const tkr_arch_config *c,
                             tkr_error *error) {
    char names[6][96];
    static const char *const parts[6] = {"attention.self.query",   "attention.self.key", "attention.self.value",
                                         "attention.output.dense", "intermediate.dense", "output.dense"};
    for (size_t i = 0; i < 6; i++) snprintf(names[i], sizeof names[i], "encoder.layer.%zu.%s", index, parts[i]);
    const char *qkv[3] = {names[0], names[1], names[2]}, *out[1] = {names[3]}, *up[1] = {names[4]},
               *down[1] = {names[5]};
    const size_t h = c->hidden_size, f = c->intermediate_size, rows[3] = {h, h, h};
    /* Queries, keys and values suffer most from 8-bit inputs: docs/numerics.md. */
    const tkr_bind_spec qkv_spec = {qkv, rows, 3, h, true, true}, out_spec = {out, rows, 1, h, true, false},
                        up_spec = {up, &f, 1, h, true, false}, down_spec = {down, rows, 1, f, true, false};
    char norm[96];
    tkr_status status = tkr_bind_linear(binder, &layer->qkv, &qkv_spec, error);
    if (status == TKR_OK) status = tkr_bind_linear(binder, &layer->attention_output, &out_spec, error);
    snprintf(norm, sizeof norm, "encoder.layer.%zu.attention.output.LayerNorm", index);
    if (status == TKR_OK) status = bind_norm(binder, &layer->attention_gain, &layer->attention_shift, norm, h, error);
    if (status == TKR_OK) status = tkr_bind_linear(binder, &layer->up, &up_spec, error);
    if (status == TKR_OK) status = tkr_bind_linear(binder, &layer->down, &down_spec, error);
    snprintf(norm, sizeof norm, "encoder.layer.%zu.output.LayerNorm", index);
    if (status == TKR_OK) status = bind_norm(binder, &layer->output_gain, &layer->output_shift, norm, h, error);
    return status;
}

static tkr_status bind(tkr_arch_model **out, tkr_binder *binder, const tkr_arch_config *config, tkr_error *error) {
    static const char *const prefixes[] = {"", "bert.", "model.", NULL};
    tkr_arch_model *model = tkr_calloc(1, sizeof *model);
    if (!model) return TKR_FAIL(error, NO_MEMORY, "no memory for the model");
    model->ops = tkr_binder_ops(binder);
    model->mode = tkr_binder_mode(binder);
    model->config = *config;
    tkr_status status = TKR_OK;
    model->layers = tkr_calloc(config->n_layers, sizeof *model->layers);
    if (!model->layers) {
        status = TKR_FAIL(error, NO_MEMORY, "no memory for the model");
        goto fail;
    }
    size_t h = config->hidden_size;
    if ((status = tkr_bind_prefix(binder, prefixes, "embeddings.word_embeddings.weight", error)) != TKR_OK) goto fail;
    status = tkr_bind_table(binder, &model->words, "embeddings.word_embeddings.weight", config->vocab_size, h, error);
    if (status == TKR_OK)
        status = tkr_bind_table(binder, &model->positions, "embeddings.position_embeddings.weight",
                                config->max_positions, h, error);
    if (status == TKR_OK)
        status = tkr_bind_table(binder, &model->types, "embeddings.token_type_embeddings.weight",
                                config->type_vocab_size, h, error);
    if (status == TKR_OK) status = bind_norm(binder, &model->gain, &model->shift, "embeddings.LayerNorm", h, error);
    for (size_t i = 0; status == TKR_OK && i < config->n_layers; i++)
        status = bind_layer(binder, &model->layers[i], i, config, error);
    if (status == TKR_OK) status = tkr_bind_finish(binder, ignored, error);
    if (status != TKR_OK) goto fail;
    *out = model;
    return TKR_OK;
fail:
    free_model(&model);
    return status;
}

/* x = LN(x + attention(x)); x = LN(x + down(gelu(up(x)))). Takes x, returns the next. */
static tkr_tensor *forward_layer(const tkr_arch_model *model, const bert_layer *layer, tkr_run *run,
                                 const tkr_batch *batch, tkr_tensor *x) {
    const tkr_ops *ops = model->ops;
    const tkr_arch_config *c = &model->config;
    const tkr_attention_options attention = {
        .n_heads = c->n_heads,
        .head_dim = c->head_dim,
        .k_column = c->hidden_size,
        .v_column = 2 * c->hidden_size,
        .scale = (float)(1.0 / sqrt((double)c->head_dim)),
        .mode = model->mode,
    };
    tkr_tensor *qkv = ops->apply(run, x, layer->qkv, NULL);
    tkr_tensor *heads = ops->attention(run, qkv, batch, &attention);
    ops->release(run, &qkv);
    tkr_linear_options add = {TKR_ACT_NONE, x};
    tkr_tensor *sum = ops->apply(run, heads, layer->attention_output, &add);
    ops->release(run, &heads);
    ops->release(run, &x);
    x = ops->layer_norm(run, sum, layer->attention_gain, layer->attention_shift, c->norm_eps);
    ops->release(run, &sum);
    const tkr_linear_options activate = {c->activation, NULL};
    tkr_tensor *inner = ops->apply(run, x, layer->up, &activate);
    add.residual = x;
    sum = ops->apply(run, inner, layer->down, &add);
    ops->release(run, &inner);
    ops->release(run, &x);
    x = ops->layer_norm(run, sum, layer->output_gain, layer->output_shift, c->norm_eps);
    ops->release(run, &sum);
    return x;
}

static tkr_tensor *forward(const tkr_arch_model *model, tkr_run *run, const tkr_batch *batch) {
    const tkr_weight *tables[3] = {model->words, model->types, model->positions};
    const int32_t *indices[3] = {batch->ids, batch->type_ids, batch->positions};
    tkr_tensor *sum = model->ops->embed(run, tables, indices, 3, batch->n_tokens);
    tkr_tensor *x = model->ops->layer_norm(run, sum, model->gain, model->shift, model->config.norm_eps);
    model->ops->release(run, &sum);
    for (size_t i = 0; i < model->config.n_layers; i++) x = forward_layer(model, &model->layers[i], run, batch, x);
    return x;
}

static size_t live_columns(const tkr_arch_config *c) {
    size_t attention = 5 * c->hidden_size, mlp = 2 * c->hidden_size + c->intermediate_size;
    return attention > mlp ? attention + 2 * c->hidden_size : mlp + 5 * c->hidden_size;
}

static double operations(const tkr_arch_config *c, size_t n_tokens) {
    double n = (double)n_tokens, h = (double)c->hidden_size, f = (double)c->intermediate_size;
    return (double)c->n_layers * (2 * n * (4 * h * h + 2 * h * f) + 4 * n * n * h);
}

static size_t weight_bytes(const tkr_arch_config *c, const tkr_ops *ops, const tkr_backend *backend,
                           tkr_gemm_mode mode) {
    size_t h = c->hidden_size, f = c->intermediate_size;
    size_t layer = ops->linear_bytes(backend, 3 * h, h, mode, true) + ops->linear_bytes(backend, h, h, mode, false) +
                   ops->linear_bytes(backend, f, h, mode, false) + ops->linear_bytes(backend, h, f, mode, false);
    return c->n_layers * (layer + 4 * h * sizeof(float));
}

const tkr_arch tkr_arch_bert = {
    .name = "bert",
    .model_types = model_types,
    .pooling = NULL,
    .configure = configure,
    .bind = bind,
    .forward = forward,
    .free = free_model,
    .live_columns = live_columns,
    .operations = operations,
    .weight_bytes = weight_bytes,
};
