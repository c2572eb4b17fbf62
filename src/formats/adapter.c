/* SPDX-License-Identifier: Apache-2.0 */
/* formats/adapter: reading LoRA adapters, finding the tensors that they change, and the changed values. */
#include "formats/adapter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "formats/tensors.h"

#define CONFIG_NAME "adapter_config.json"
#define WEIGHTS_NAME "adapter_model.safetensors"
#define MAX_PREFIX 512

typedef struct pair {
    tkr_low_rank values;
    const char *module; /* name of the changed layer, without ".weight"; not NUL-terminated */
    size_t n_module;
} pair;

struct tkr_adapter {
    tkr_tensors *tensors;
    json_t *json;
    tkr_map config; /* so that its file counts among the set's */
    char *folder;
    const char *base; /* or NULL */
    size_t rank;
    float scale;
    pair *pairs; /* [n_pairs] */
    size_t n_pairs;
};

void tkr_adapter_free(tkr_adapter **slot) {
    tkr_adapter *adapter = slot ? *slot : NULL;
    if (!adapter) return;
    tkr_tensors_free(&adapter->tensors);
    json_decref(adapter->json);
    tkr_map_close(&adapter->config);
    tkr_free(adapter->pairs);
    tkr_free(adapter->folder);
    tkr_free(adapter);
    *slot = NULL;
}

bool tkr_adapter_is(const char *folder) {
    char *path = tkr_path_join(folder, CONFIG_NAME);
    const bool there = path && tkr_path_exists(path);
    tkr_free(path);
    return there;
}

const char *tkr_adapter_base(const tkr_adapter *adapter) { return adapter->base; }

/* ---- adapter_config.json ---- */

static bool is_empty(const json_t *value) {
    return !value || json_is_null(value) || json_is_false(value) || (json_is_array(value) && !json_array_size(value)) ||
           (json_is_object(value) && !json_object_size(value));
}

/* Everything that would change what the pairs mean, or add more than pairs. */
static tkr_status refuse_variants(const json_t *json, const char *what, tkr_error *error) {
    static const char *const fields[] = {"use_dora",          "fan_in_fan_out", "lora_bias",
                                         "rank_pattern",      "alpha_pattern",  "modules_to_save",
                                         "layer_replication", "use_qalora",     "trainable_token_indices"};
    static const char *const changing[] = {"pissa", "olora", "corda", "loftq"}; /* they change the base's weights */
    const char *bias = "none", *init = "";
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!is_empty(json_object_get(json, fields[i])))
            return TKR_FAIL(error, UNSUPPORTED, "%s: %s is not supported; supported: plain LoRA without it", what,
                            fields[i]);
    tkr_status status = tkr_json_get_string(&bias, json, "bias", false, what, error);
    if (status == TKR_OK && json_is_string(json_object_get(json, "init_lora_weights")))
        status = tkr_json_get_string(&init, json, "init_lora_weights", false, what, error);
    if (status != TKR_OK) return status;
    if (strcmp(bias, "none") != 0)
        return TKR_FAIL(error, UNSUPPORTED, "%s: bias \"%.40s\" is not supported; supported: \"none\"", what, bias);
    for (size_t i = 0; i < sizeof changing / sizeof *changing; i++)
        if (strncmp(init, changing[i], strlen(changing[i])) == 0)
            return TKR_FAIL(error, UNSUPPORTED,
                            "%s: init_lora_weights \"%.40s\" changes the base model's weights; save the adapter as "
                            "plain LoRA first",
                            what, init);
    return TKR_OK;
}

static tkr_status read_config(tkr_adapter *adapter, const char *what, tkr_error *error) {
    const json_t *json = adapter->json;
    const char *type = NULL;
    int64_t rank = 0;
    double alpha = 0;
    bool by_root = false;
    tkr_status status = tkr_json_get_string(&type, json, "peft_type", true, what, error);
    if (status == TKR_OK && strcmp(type, "LORA") != 0)
        return TKR_FAIL(error, UNSUPPORTED, "%s: peft_type \"%.40s\" is not supported; supported: LORA", what, type);
    if (status == TKR_OK) status = tkr_json_get_int(&rank, json, "r", 1, 1 << 16, true, what, error);
    if (status == TKR_OK) status = tkr_json_get_double(&alpha, json, "lora_alpha", -1e9, 1e9, true, what, error);
    if (status == TKR_OK) status = tkr_json_get_bool(&by_root, json, "use_rslora", false, what, error);
    if (status == TKR_OK)
        status = tkr_json_get_string(&adapter->base, json, "base_model_name_or_path", false, what, error);
    if (status == TKR_OK) status = refuse_variants(json, what, error);
    if (status != TKR_OK) return status;
    adapter->rank = (size_t)rank;
    /* Kalajdzievski 2023 for the root. */
    adapter->scale = (float)(alpha / (by_root ? sqrt((double)rank) : (double)rank));
    return TKR_OK;
}

/* ---- adapter_model.safetensors ---- */

/* Cuts `suffix` from the end of a name of n bytes. */
static bool cut(const char *name, size_t *n, const char *suffix) {
    const size_t length = strlen(suffix);
    if (*n < length || memcmp(name + *n - length, suffix, length) != 0) return false;
    *n -= length;
    return true;
}

/* Splits "base_model.model.<module>.lora_A[.default].weight". Returns 'A' or 'B', 0 for other names. */
static char split_name(const char **module, size_t *n_module, const char *name) {
    static const char start[] = "base_model.model.";
    size_t n = strlen(name);
    if (strncmp(name, start, sizeof start - 1) != 0 || !cut(name, &n, ".weight")) return 0;
    cut(name, &n, ".default");
    const char kind = cut(name, &n, ".lora_A") ? 'A' : cut(name, &n, ".lora_B") ? 'B' : '\0';
    if (!kind || n <= sizeof start - 1) return 0;
    *module = name + sizeof start - 1;
    *n_module = n - (sizeof start - 1);
    return kind;
}

static const tkr_tensor_view *find_partner(const tkr_adapter *adapter, const tkr_tensor_view *a) {
    char name[MAX_PREFIX];
    const int n = snprintf(name, sizeof name, "%s", a->name);
    if (n < 0 || (size_t)n >= sizeof name) return NULL;
    for (size_t i = (size_t)n; i-- > 6;) /* the last one */
        if (strncmp(name + i - 6, "lora_A", 6) == 0) {
            name[i - 1] = 'B';
            break;
        }
    return tkr_tensors_find(adapter->tensors, name);
}

static tkr_status check_pair(const tkr_adapter *adapter, const tkr_tensor_view *a, const tkr_tensor_view *b,
                             tkr_error *error) {
    const tkr_tensor_view *both[2] = {a, b};
    if (!b)
        return TKR_FAIL(error, FORMAT, "%s: tensor \"%.*s\" has no partner lora_B", a->file, TKR_NAME_SHOWN, a->name);
    for (size_t i = 0; i < 2; i++) {
        char shape[128];
        if (both[i]->n_dims == 2 && tkr_dtype_class(both[i]->dtype) == 1 && both[i]->shape[i] == (int64_t)adapter->rank)
            continue;
        tkr_shape_text(shape, sizeof shape, both[i]->shape, both[i]->n_dims);
        return TKR_FAIL(error, FORMAT,
                        "%s: tensor \"%.*s\" is %s of shape %s, expected F32, F16 or BF16 of rank %zu (\"r\" of "
                        "adapter_config.json)",
                        both[i]->file, TKR_NAME_SHOWN, both[i]->name, tkr_dtype_name(both[i]->dtype), shape,
                        adapter->rank);
    }
    return TKR_OK;
}

static tkr_status read_pairs(tkr_adapter *adapter, const char *path, tkr_error *error) {
    const size_t count = tkr_tensors_count(adapter->tensors);
    size_t n_partners = 0;
    adapter->pairs = tkr_calloc(count ? count : 1, sizeof *adapter->pairs);
    if (!adapter->pairs) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory", path);
    for (size_t i = 0; i < count; i++) {
        const tkr_tensor_view *view = tkr_tensors_at(adapter->tensors, i);
        pair *p = &adapter->pairs[adapter->n_pairs];
        const char kind = split_name(&p->module, &p->n_module, view->name);
        if (!kind)
            return TKR_FAIL(error, UNSUPPORTED,
                            "%s: tensor \"%.*s\" is not supported; supported: pairs of linear layers, "
                            "base_model.model.<layer>.lora_A.weight and .lora_B.weight",
                            path, TKR_NAME_SHOWN, view->name);
        if (kind == 'B') {
            n_partners++;
            continue;
        }
        const tkr_tensor_view *partner = find_partner(adapter, view);
        tkr_status status = check_pair(adapter, view, partner, error);
        if (status != TKR_OK) return status;
        p->values = (tkr_low_rank){.a = view, .b = partner, .scale = adapter->scale};
        adapter->n_pairs++;
    }
    if (adapter->n_pairs > 0 && n_partners == adapter->n_pairs) return TKR_OK;
    return TKR_FAIL(error, FORMAT, "%s: %zu lora_A and %zu lora_B tensors; every layer needs one of both", path,
                    adapter->n_pairs, n_partners);
}

tkr_status tkr_adapter_open(tkr_adapter **out, const char *folder, tkr_error *error) {
    tkr_adapter *adapter = tkr_calloc(1, sizeof *adapter);
    if (!adapter) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory", folder);
    char *config = tkr_path_join(folder, CONFIG_NAME), *weights = tkr_path_join(folder, WEIGHTS_NAME);
    tkr_status status = TKR_OK;
    adapter->folder = tkr_strdup(folder);
    if (!adapter->folder || !config || !weights) status = TKR_FAIL(error, NO_MEMORY, "%s: out of memory", folder);
    if (status == TKR_OK) status = tkr_json_file(&adapter->json, config, error);
    if (status == TKR_OK) status = tkr_map_open(&adapter->config, config, error);
    if (status == TKR_OK) status = read_config(adapter, config, error);
    if (status == TKR_OK) status = tkr_tensors_open_file(&adapter->tensors, weights, error);
    if (status == TKR_OK) status = read_pairs(adapter, weights, error);
    tkr_free(config);
    tkr_free(weights);
    if (status != TKR_OK) {
        tkr_adapter_free(&adapter);
        return status;
    }
    *out = adapter;
    return TKR_OK;
}

/* ---- over a base ---- */

/* A name without the prefixes that differ between checkpoints of one model. */
static const char *bare_name(const char *name, size_t *n) {
    static const char *const prefixes[] = {"vlm.", "model.", "language_model."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        const size_t length = strlen(prefixes[i]);
        if (*n <= length || memcmp(name, prefixes[i], length) != 0) continue;
        name += length;
        *n -= length;
        i = SIZE_MAX; /* again from the first */
    }
    return name;
}

typedef struct bare {
    const char *name;
    size_t n;
    tkr_tensor_view *view;
} bare;

static int by_bare_name(const void *left, const void *right) {
    const bare *a = left, *b = right;
    const int order = memcmp(a->name, b->name, a->n < b->n ? a->n : b->n);
    return order ? order : (a->n > b->n) - (a->n < b->n);
}

/* The base's matrices "<name>.weight", sorted by their bare names. Returns an array of *n. */
static bare *index_base(tkr_tensors *base, size_t *n) {
    bare *index = tkr_calloc(base->n_views ? base->n_views : 1, sizeof *index);
    *n = 0;
    for (size_t i = 0; index && i < base->n_views; i++) {
        tkr_tensor_view *view = &base->views[i];
        bare *b = &index[*n];
        b->n = strlen(view->name);
        if (!cut(view->name, &b->n, ".weight")) continue;
        b->name = bare_name(view->name, &b->n);
        b->view = view;
        ++*n;
    }
    if (index) qsort(index, *n, sizeof *index, by_bare_name);
    return index;
}

static tkr_status fit(tkr_tensor_view *view, const pair *p, tkr_error *error) {
    const tkr_tensor_view *a = p->values.a, *b = p->values.b;
    char shape[128];
    if (view->n_dims == 2 && tkr_dtype_class(view->dtype) == 1 && view->shape[0] == b->shape[0] &&
        view->shape[1] == a->shape[1]) {
        view->low_rank = &p->values;
        return TKR_OK;
    }
    tkr_shape_text(shape, sizeof shape, view->shape, view->n_dims);
    return TKR_FAIL(
        error, FORMAT,
        "%s: tensor \"%.*s\" is %s of shape %s, the adapter changes F32, F16 or BF16 of shape [%lld, %lld]: "
        "not the adapter's base model",
        view->file, TKR_NAME_SHOWN, view->name, tkr_dtype_name(view->dtype), shape, (long long)b->shape[0],
        (long long)a->shape[1]);
}

static tkr_status lay_over(const tkr_adapter *adapter, const bare *index, size_t n, tkr_error *error) {
    for (size_t i = 0; i < adapter->n_pairs; i++) {
        const pair *p = &adapter->pairs[i];
        bare key = {.n = p->n_module};
        key.name = bare_name(p->module, &key.n);
        const bare *found = bsearch(&key, index, n, sizeof *index, by_bare_name);
        const bool twice = found && ((found > index && by_bare_name(found - 1, &key) == 0) ||
                                     (found + 1 < index + n && by_bare_name(found + 1, &key) == 0));
        if (!found || twice || found->view->low_rank)
            return TKR_FAIL(error, FORMAT,
                            "%s: the adapter changes \"%.*s\", of which the base checkpoint has %s: not the adapter's "
                            "base model",
                            adapter->folder, p->n_module < TKR_NAME_SHOWN ? (int)p->n_module : TKR_NAME_SHOWN,
                            p->module, !found ? "none" : "more than one");
        tkr_status status = fit(found->view, p, error);
        if (status != TKR_OK) return status;
    }
    return TKR_OK;
}

tkr_status tkr_adapter_apply(tkr_tensors *base, tkr_adapter **slot, tkr_error *error) {
    tkr_adapter *adapter = *slot;
    tkr_tensors *own = adapter->tensors;
    size_t n = 0;
    if (base->adapter) return TKR_FAIL(error, UNSUPPORTED, "%s: an adapter of an adapter", adapter->folder);
    bare *index = index_base(base, &n);
    tkr_map *maps = tkr_realloc(base->maps, (base->n_maps + own->n_maps + 1) * sizeof *maps);
    if (maps) base->maps = maps;
    tkr_status status = index && maps ? lay_over(adapter, index, n, error)
                                      : TKR_FAIL(error, NO_MEMORY, "%s: out of memory", adapter->folder);
    tkr_free(index);
    if (status != TKR_OK) {
        for (size_t i = 0; i < base->n_views; i++) base->views[i].low_rank = NULL;
        return status;
    }
    for (size_t i = 0; i < own->n_maps; i++) base->maps[base->n_maps++] = own->maps[i];
    own->n_maps = 0;
    base->maps[base->n_maps++] = adapter->config;
    memset(&adapter->config, 0, sizeof adapter->config);
    base->adapter = adapter;
    *slot = NULL;
    return TKR_OK;
}

/* ---- values ---- */

typedef struct merge {
    float *out, *a; /* [n, cols], [rank, cols] */
    const tkr_tensor_view *view;
    size_t first, n, rank, cols;
    float *b; /* [workers, rank] */
} merge;

/* out += s0 a0 + s1 a1 + s2 a2 + s3 a3 */
static void add_four(float *restrict out, const float *restrict a, const float *s, size_t n) {
    const float *restrict a1 = a + n, *restrict a2 = a + 2 * n, *restrict a3 = a + 3 * n;
    for (size_t i = 0; i < n; i++) out[i] += s[0] * a[i] + s[1] * a1[i] + s[2] * a2[i] + s[3] * a3[i];
}

static void merge_rows(void *arg, unsigned worker, unsigned n_workers) {
    const merge *m = arg;
    const tkr_tensor_view *view = m->view, *b = view->low_rank->b;
    const size_t row_bytes = m->cols * tkr_dtype_size(view->dtype), b_bytes = m->rank * tkr_dtype_size(b->dtype);
    float *s = m->b + worker * m->rank;
    for (size_t i = worker; i < m->n; i += n_workers) {
        float *out = m->out + i * m->cols;
        size_t k = 0;
        tkr_widen(out, (const char *)view->data + (m->first + i) * row_bytes, view->dtype, m->cols);
        tkr_widen(s, (const char *)b->data + (m->first + i) * b_bytes, b->dtype, m->rank);
        for (size_t r = 0; r < m->rank; r++) s[r] *= view->low_rank->scale;
        for (; k + 4 <= m->rank; k += 4) add_four(out, m->a + k * m->cols, s + k, m->cols);
        for (; k < m->rank; k++)
            for (size_t j = 0; j < m->cols; j++) out[j] += s[k] * m->a[k * m->cols + j];
    }
}

tkr_status tkr_adapter_rows(float *out, const tkr_tensor_view *view, size_t first, size_t n, tkr_pool *pool,
                            tkr_error *error) {
    const tkr_tensor_view *a = view->low_rank->a;
    merge m = {
        .out = out, .view = view, .first = first, .n = n, .rank = (size_t)a->shape[0], .cols = (size_t)a->shape[1]};
    m.a = tkr_malloc(m.rank * m.cols * sizeof *m.a);
    m.b = tkr_malloc((pool ? tkr_pool_size(pool) : 1) * m.rank * sizeof *m.b);
    const bool good = m.a && m.b;
    if (good) {
        tkr_widen(m.a, a->data, a->dtype, a->n_elements);
        if (!pool || tkr_pool_run(pool, merge_rows, &m) != TKR_OK) merge_rows(&m, 0, 1);
    }
    tkr_free(m.a);
    tkr_free(m.b);
    return good ? TKR_OK : TKR_FAIL(error, NO_MEMORY, "no memory to add the adapter to \"%s\"", view->name);
}
