/* SPDX-License-Identifier: Apache-2.0 */
/* engine/gguf_model: metadata and tensor names of GGUF files as llama.cpp's converter writes them. One table of roles
 * serves all architectures, since each layout says which tensor plays which role. */
#include "engine/gguf_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"

#define NAME_SIZE 256
#define MAX_BLOCKS TKR_MAX_LAYERS

/* ---- metadata ---- */

void tkr_gguf_arch_name(char *out, size_t size, const tkr_gguf *file) {
    const tkr_gguf_value *value = tkr_gguf_find(file, "general.architecture");
    out[0] = '\0';
    if (value && value->kind == TKR_GGUF_STRING) snprintf(out, size, "%.*s", (int)value->n_text, value->text);
}

const tkr_gguf_value *tkr_gguf_arch_value(const tkr_gguf *file, const char *key) {
    char name[64], full[160];
    tkr_gguf_arch_name(name, sizeof name, file);
    snprintf(full, sizeof full, "%s.%s", name, key);
    return tkr_gguf_find(file, full);
}

tkr_status tkr_gguf_arch(const tkr_arch **arch, const tkr_gguf *file, const char *path, tkr_error *error) {
    char name[64], known[256];
    size_t at = 0;
    tkr_gguf_arch_name(name, sizeof name, file);
    known[0] = '\0';
    for (const tkr_arch *const *a = tkr_archs(); *a; a++) {
        if (!(*a)->gguf) continue;
        if (strcmp((*a)->gguf, name) == 0) {
            *arch = *a;
            return TKR_OK;
        }
        if (at < sizeof known)
            at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", at ? ", " : "", (*a)->gguf);
    }
    if (!name[0]) return TKR_FAIL(error, FORMAT, "%s: has no general.architecture, expected one of %s", path, known);
    return TKR_FAIL(error, UNSUPPORTED, "%s: general.architecture \"%s\" is not supported; supported: %s", path, name,
                    known);
}

/* One value for the whole model: some keys may be lists with an entry a layer, which must then be equal. */
static tkr_status one_number(double *out, bool *there, const tkr_gguf *file, const char *key, const char *path,
                             tkr_error *error) {
    const tkr_gguf_value *value = tkr_gguf_arch_value(file, key);
    *there = value != NULL;
    if (!value) return TKR_OK;
    if (value->kind == TKR_GGUF_INT || value->kind == TKR_GGUF_FLOAT) {
        *out = value->number;
        return TKR_OK;
    }
    if (value->kind != TKR_GGUF_ARRAY || value->n == 0 ||
        (value->element != TKR_GGUF_INT && value->element != TKR_GGUF_FLOAT))
        return TKR_FAIL(error, FORMAT, "%s: %s is no number", path, value->key);
    *out = tkr_gguf_array_number(value, 0);
    for (size_t i = 1; i < value->n; i++)
        if (tkr_gguf_array_number(value, i) > *out || tkr_gguf_array_number(value, i) < *out)
            return TKR_FAIL(error, UNSUPPORTED, "%s: %s differs between layers, which is not supported", path,
                            value->key);
    return TKR_OK;
}

/* A key of the file and the field of config.json that means the same. */
typedef struct key_row {
    const char *key, *field;
    bool whole;
} key_row;

static const key_row keys[] = {
    {"embedding_length", "hidden_size", true},
    {"block_count", "num_hidden_layers", true},
    {"context_length", "max_position_embeddings", true},
    {"feed_forward_length", "intermediate_size", true},
    {"attention.head_count", "num_attention_heads", true},
    {"attention.head_count_kv", "num_key_value_heads", true},
    {"attention.key_length", "head_dim", true},
    {"attention.layer_norm_epsilon", "layer_norm_eps", false},
    {"attention.layer_norm_epsilon", "norm_eps", false},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", false},
    {"attention.key_length", "query_pre_attn_scalar", false},
    {"attention.sliding_window", "sliding_window", true},
    {"attention.sliding_window", "local_attention", true},
    {"rope.freq_base", "rope_theta", false},
    {"rope.freq_base", "global_rope_theta", false},
    {"rope.freq_base_swa", "local_rope_theta", false},
    {"rope.freq_base_swa", "rope_local_base_freq", false},
};

/* What the converter leaves out because llama.cpp's code knows it. */
static const struct {
    const char *arch, *text;
} constants[] = {
    {"bert", "{\"hidden_act\": \"gelu\"}"},
    {"nomic-bert", "{\"hidden_act\": \"silu\"}"},
    {"modern-bert", "{\"hidden_activation\": \"gelu\", \"global_attn_every_n_layers\": 3}"},
    {"eurobert", "{\"hidden_act\": \"silu\"}"},
    {"qwen2", "{\"hidden_act\": \"silu\", \"use_sliding_window\": false}"},
    {"qwen3", "{\"hidden_act\": \"silu\", \"use_sliding_window\": false}"},
    {"gemma-embedding", "{\"hidden_activation\": \"gelu_pytorch_tanh\", \"use_bidirectional_attention\": true, "
                        "\"sliding_window_pattern\": 6}"},
};

static bool set(json_t *config, const char *field, json_t *value) {
    return json_object_set_new(config, field, value) == 0; /* fails on NULL too */
}

/* A field that only tkr_gguf_adjust knows. */
static const char no_types[] = "gguf_has_no_token_types";

static bool keep_all(void *user, char *new_name, size_t size, const char *name) {
    (void)user;
    snprintf(new_name, size, "%s", name);
    return true;
}

/* Sizes that only the tensors tell. */
static tkr_status add_shapes(json_t *config, const tkr_gguf *file, const char *path, tkr_error *error) {
    static const struct {
        const char *tensor, *field;
    } rows[] = {{"token_embd.weight", "vocab_size"},
                {"token_types.weight", "type_vocab_size"},
                {"position_embd.weight", "max_position_embeddings"}};
    static const struct {
        const char *tensor, *field;
    } flags[] = {{"blk.0.attn_q.bias", "attention_bias"},
                 {"blk.0.attn_qkv.bias", "attention_bias"},
                 {"blk.0.ffn_up.bias", "mlp_bias"}};
    tkr_tensors *set_of_all = NULL;
    tkr_status status = tkr_gguf_tensors(&set_of_all, file, keep_all, NULL, error);
    bool ok = true;
    for (size_t i = 0; status == TKR_OK && i < sizeof rows / sizeof *rows; i++) {
        const tkr_tensor_view *view = tkr_tensors_find(set_of_all, rows[i].tensor);
        if (view && view->n_dims == 2) ok = ok && set(config, rows[i].field, json_integer(view->shape[0]));
        if (i == 0 && (!view || view->n_dims != 2))
            status =
                TKR_FAIL(error, FORMAT, "%s: has no matrix \"%s\": not a model, or incomplete", path, rows[i].tensor);
    }
    if (status == TKR_OK && !json_object_get(config, "type_vocab_size"))
        ok = ok && set(config, "type_vocab_size", json_integer(1)) && set(config, no_types, json_true());
    for (size_t i = 0; status == TKR_OK && i < sizeof flags / sizeof *flags; i++)
        if (tkr_tensors_find(set_of_all, flags[i].tensor)) ok = ok && set(config, flags[i].field, json_true());
    tkr_tensors_free(&set_of_all);
    return status == TKR_OK && !ok ? TKR_FAIL(error, NO_MEMORY, "no memory to read %s", path) : status;
}

static tkr_status add_rope(json_t *config, const tkr_gguf *file, const char *path, tkr_error *error) {
    const tkr_gguf_value *type = tkr_gguf_arch_value(file, "rope.scaling.type"),
                         *factor = tkr_gguf_arch_value(file, "rope.scaling.factor"),
                         *width = tkr_gguf_arch_value(file, "rope.dimension_count"),
                         *key = tkr_gguf_arch_value(file, "attention.key_length"),
                         *value = tkr_gguf_arch_value(file, "attention.value_length");
    if (key && value && key->integer != value->integer)
        return TKR_FAIL(error, UNSUPPORTED, "%s: keys of %lld and values of %lld dimensions; supported: equal", path,
                        (long long)key->integer, (long long)value->integer);
    const json_t *hidden = json_object_get(config, "hidden_size"),
                 *heads = json_object_get(config, "num_attention_heads");
    int64_t head = key                             ? key->integer
                   : json_integer_value(heads) > 0 ? json_integer_value(hidden) / json_integer_value(heads)
                                                   : 0;
    if (width && width->kind == TKR_GGUF_INT && width->integer != head)
        return TKR_FAIL(error, UNSUPPORTED, "%s: rope.dimension_count %lld of heads of %lld; supported: the whole head",
                        path, (long long)width->integer, (long long)head);
    if (!type || type->kind != TKR_GGUF_STRING || (type->n_text == 4 && memcmp(type->text, "none", 4) == 0))
        return TKR_OK;
    json_t *scaling = json_pack("{s:o, s:f}", "rope_type", json_stringn(type->text, type->n_text), "factor",
                                factor ? factor->number : 1.0);
    return set(config, "rope_scaling", scaling) ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory to read %s", path);
}

/* A pattern is a number (every n-th layer sees all) or a list of which layers have a window. */
static tkr_status add_pattern(json_t *config, const tkr_gguf *file, const char *path, tkr_error *error) {
    const tkr_gguf_value *value = tkr_gguf_arch_value(file, "attention.sliding_window_pattern");
    bool ok = true;
    if (!value) return TKR_OK;
    if (value->kind == TKR_GGUF_INT) {
        ok = set(config, "sliding_window_pattern", json_integer(value->integer)) &&
             set(config, "global_attn_every_n_layers", json_integer(value->integer));
    } else if (value->kind == TKR_GGUF_ARRAY && value->n <= MAX_BLOCKS) {
        json_t *types = json_array();
        for (size_t i = 0; types && ok && i < value->n; i++)
            ok = json_array_append_new(types, json_string(tkr_gguf_array_integer(value, i) ? "sliding_attention"
                                                                                           : "full_attention")) == 0;
        ok = set(config, "layer_types", types) && ok;
    } else {
        return TKR_FAIL(error, FORMAT, "%s: %s is neither a number nor a list of layers", path, value->key);
    }
    return ok ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory to read %s", path);
}

tkr_status tkr_gguf_config(json_t **out, const tkr_gguf *file, const char *path, tkr_error *error) {
    char name[64];
    const tkr_arch *arch = NULL;
    tkr_status status = tkr_gguf_arch(&arch, file, path, error);
    if (status != TKR_OK) return status;
    tkr_gguf_arch_name(name, sizeof name, file);
    const char *text = "{}";
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        if (strcmp(constants[i].arch, name) == 0) text = constants[i].text;
    json_t *config = json_loads(text, 0, NULL);
    bool ok = set(config, "model_type", json_string(arch->model_types[0]));
    for (size_t i = 0; status == TKR_OK && ok && i < sizeof keys / sizeof *keys; i++) {
        double number = 0;
        bool there = false;
        status = one_number(&number, &there, file, keys[i].key, path, error);
        if (status != TKR_OK || !there) continue;
        if (keys[i].whole && !(number >= 0 && number <= 1e9))
            status = TKR_FAIL(error, FORMAT, "%s: %s.%s is %g, expected 0 to 1e9", path, name, keys[i].key, number);
        else
            ok = set(config, keys[i].field, keys[i].whole ? json_integer((json_int_t)number) : json_real(number));
    }
    if (!ok) status = TKR_FAIL(error, NO_MEMORY, "no memory to read %s", path);
    if (status == TKR_OK) status = add_rope(config, file, path, error);
    if (status == TKR_OK) status = add_pattern(config, file, path, error);
    if (status == TKR_OK) status = add_shapes(config, file, path, error);
    if (status != TKR_OK)
        json_decref(config);
    else
        *out = config;
    return status;
}

void tkr_gguf_adjust(tkr_arch_config *config, const json_t *json, const tkr_gguf *file) {
    const tkr_gguf_value *causal = tkr_gguf_arch_value(file, "attention.causal"),
                         *scale = tkr_gguf_arch_value(file, "attention.scale");
    config->norm_offset = 0; /* the converter adds what Gemma's checkpoints leave out */
    if (causal && causal->kind == TKR_GGUF_BOOL) config->causal = causal->integer != 0;
    if (scale && scale->kind == TKR_GGUF_FLOAT && scale->number > 0) config->attention_scale = (float)scale->number;
    if (json_is_true(json_object_get(json, no_types))) config->type_vocab_size = 0; /* DistilBERT as "bert" */
}

tkr_status tkr_gguf_pooling(const char **pooling, const tkr_gguf *file, const char *path, tkr_error *error) {
    static const char *const modes[] = {NULL, "mean", "cls", "lasttoken"};
    const tkr_gguf_value *value = tkr_gguf_arch_value(file, "pooling_type");
    *pooling = NULL;
    if (!value) return TKR_OK;
    if (value->kind != TKR_GGUF_INT || value->integer < 0 || value->integer > 4)
        return TKR_FAIL(error, FORMAT, "%s: %s is unknown; known: 0 (none) to 4 (rank)", path, value->key);
    if (value->integer == 4)
        return TKR_FAIL(error, UNSUPPORTED, "%s: pooling_type 4 (rank): a reranker gives scores, no vectors", path);
    *pooling = modes[value->integer];
    return TKR_OK;
}

size_t tkr_gguf_context_length(const tkr_gguf *file) {
    const tkr_gguf_value *value = tkr_gguf_arch_value(file, "context_length");
    return value && value->kind == TKR_GGUF_INT && value->integer > 0 && value->integer <= 1 << 24
               ? (size_t)value->integer
               : 0;
}

/* ---- tensors ---- */

/* Offsets of names in tkr_layout, tried in order. */
typedef struct role {
    const char *name; /* in the file, without ".weight" */
    size_t field, or_field;
} role;
#define ROLE(name, field) \
    { name, offsetof(tkr_layout, field), offsetof(tkr_layout, field) }
#define ROLE_OR(name, field, other) \
    { name, offsetof(tkr_layout, field), offsetof(tkr_layout, other) }

static const role global_roles[] = {ROLE("token_embd", words), ROLE("position_embd", positions),
                                    ROLE("token_types", types), ROLE("token_embd_norm", embedding_norm),
                                    ROLE("output_norm", final_norm)};
static const role block_roles[] = {
    ROLE("attn_q", q),
    ROLE("attn_k", k),
    ROLE("attn_v", v),
    ROLE("attn_qkv", qkv),
    ROLE("attn_output", output),
    ROLE("attn_q_norm", q_norm),
    ROLE("attn_k_norm", k_norm),
    ROLE("ffn_gate", gate),
    ROLE_OR("ffn_up", up, gate_up),
    ROLE("ffn_down", down),
    ROLE("attn_norm", before_attention),
    ROLE("ffn_norm", before_mlp),
    ROLE("attn_output_norm", after_attention),
    ROLE("post_attention_norm", after_attention),
    ROLE("layer_output_norm", after_mlp),
    ROLE("post_ffw_norm", after_mlp),
};

static const char *role_name(const tkr_layout *layout, const role *roles, size_t n, const char *name, size_t n_name) {
    for (size_t i = 0; i < n; i++) {
        if (strlen(roles[i].name) != n_name || memcmp(roles[i].name, name, n_name) != 0) continue;
        const char *first = *(const char *const *)(const void *)((const char *)layout + roles[i].field);
        return first ? first : *(const char *const *)(const void *)((const char *)layout + roles[i].or_field);
    }
    return NULL;
}

static bool is_dense(const char *name) { return strncmp(name, "dense_", 6) == 0; }

/* Leaves what it can't place under its own name: binding then says that it is unexpected. */
static bool rename_tensor(void *user, char *new_name, size_t size, const char *name) {
    const tkr_layout *layout = user;
    const char *suffix = strrchr(name, '.'), *found = NULL;
    char block[128] = "";
    /* The language model's head and the classifier's: no part of an embedding. */
    if (is_dense(name) || strncmp(name, "output.", 7) == 0 || strncmp(name, "cls.", 4) == 0 ||
        strncmp(name, "cls_", 4) == 0)
        return false;
    snprintf(new_name, size, "%s", name);
    if (!suffix) return true;
    if (strncmp(name, "blk.", 4) == 0) {
        char *end = NULL;
        unsigned long index = strtoul(name + 4, &end, 10);
        if (end == name + 4 || *end != '.' || index >= MAX_BLOCKS || end >= suffix) return true;
        found = role_name(layout, block_roles, sizeof block_roles / sizeof *block_roles, end + 1,
                          (size_t)(suffix - end - 1));
        snprintf(block, sizeof block, layout->layer, (size_t)index); /* a constant of the layout, not input */
    } else {
        found =
            role_name(layout, global_roles, sizeof global_roles / sizeof *global_roles, name, (size_t)(suffix - name));
    }
    if (found) snprintf(new_name, size, "%s%s%s%s", layout->prefixes[0], block, found, suffix);
    return true;
}

static bool keep_dense(void *user, char *new_name, size_t size, const char *name) {
    (void)user;
    snprintf(new_name, size, "%s", name);
    return is_dense(name);
}

tkr_status tkr_gguf_model_tensors(tkr_tensors **network, tkr_tensors **dense, const tkr_gguf *file,
                                  const tkr_layout *layout, tkr_error *error) {
    tkr_layout copy = *layout;
    tkr_status status = tkr_gguf_tensors(network, file, rename_tensor, &copy, error);
    if (status == TKR_OK) status = tkr_gguf_tensors(dense, file, keep_dense, NULL, error);
    if (status == TKR_OK && tkr_tensors_count(*dense) == 0) tkr_tensors_free(dense);
    return status;
}
