/* SPDX-License-Identifier: Apache-2.0 */
/* models/bind: takes each tensor an architecture expects, with its exact shape, and refuses what is left over. */
#include <stdio.h>
#include <string.h>

#include "models/model.h"

#define MAX_PARTS 4
#define NAME_SIZE 256

struct tkr_binder {
    tkr_binder_options options;
    const char *prefix;
    bool *used; /* [count of the set] */
    uint64_t n_parameters;
};

tkr_status tkr_binder_create(tkr_binder **out, const tkr_binder_options *options, tkr_error *error) {
    tkr_binder *binder = tkr_calloc(1, sizeof *binder);
    size_t count = tkr_tensors_count(options->set);
    bool *used = tkr_calloc(count ? count : 1, sizeof *used);
    if (!binder || !used) {
        tkr_free(binder);
        tkr_free(used);
        return TKR_FAIL(error, NO_MEMORY, "no memory to bind the model's tensors");
    }
    binder->options = *options;
    binder->prefix = "";
    binder->used = used;
    *out = binder;
    return TKR_OK;
}

void tkr_binder_free(tkr_binder **binder) {
    if (!binder || !*binder) return;
    tkr_free((*binder)->used);
    tkr_free(*binder);
    *binder = NULL;
}

uint64_t tkr_binder_parameters(const tkr_binder *binder) { return binder->n_parameters; }
const tkr_ops *tkr_binder_ops(const tkr_binder *binder) { return binder->options.ops; }
tkr_backend *tkr_binder_backend(const tkr_binder *binder) { return binder->options.backend; }
tkr_gemm_mode tkr_binder_mode(const tkr_binder *binder) { return binder->options.mode; }

/* The set is sorted by name, so a view's index is found by search from its pointer's name. */
static size_t view_index(const tkr_binder *binder, const tkr_tensor_view *view) {
    size_t low = 0, high = tkr_tensors_count(binder->options.set);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(tkr_tensors_at(binder->options.set, middle)->name, view->name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const tkr_tensor_view *find(const tkr_binder *binder, const char *name) {
    char full[NAME_SIZE];
    int n = snprintf(full, sizeof full, "%s%s", binder->prefix, name);
    if (n < 0 || (size_t)n >= sizeof full) return NULL;
    return tkr_tensors_find(binder->options.set, full);
}

tkr_status tkr_bind_prefix(tkr_binder *binder, const char *const *prefixes, const char *probe, tkr_error *error) {
    for (size_t i = 0; prefixes[i]; i++) {
        binder->prefix = prefixes[i];
        if (find(binder, probe)) return TKR_OK;
    }
    binder->prefix = "";
    return TKR_FAIL(error, FORMAT,
                    "the checkpoint has no tensor \"%s\" (also not under the usual prefixes): not a model of this "
                    "architecture, or its weights are incomplete",
                    probe);
}

tkr_status tkr_source_of(tkr_source *source, const tkr_tensor_view *view, size_t rows, size_t cols, tkr_error *error) {
    int64_t expected[2] = {(int64_t)(rows ? rows : cols), (int64_t)cols};
    unsigned n_dims = rows ? 2 : 1;
    char want[64], have[128];
    if (view->n_dims != n_dims || view->shape[0] != expected[0] || (rows && view->shape[1] != expected[1])) {
        tkr_shape_text(want, sizeof want, expected, n_dims);
        tkr_shape_text(have, sizeof have, view->shape, view->n_dims);
        return TKR_FAIL(error, FORMAT, "%s: tensor \"%s\" has shape %s, config.json asks for %s", view->file,
                        view->name, have, want);
    }
    if (view->dtype != TKR_DTYPE_F32 && view->dtype != TKR_DTYPE_F16 && view->dtype != TKR_DTYPE_BF16)
        return TKR_FAIL(error, UNSUPPORTED, "%s: tensor \"%s\" is %s; supported: F32, F16, BF16", view->file,
                        view->name, tkr_dtype_name(view->dtype));
    *source = (tkr_source){view->name, view->data, view->dtype, rows ? rows : 1, cols};
    return TKR_OK;
}

/* Finds `name`, checks it, marks it used and describes it. rows 0: a vector of `cols`. */
static tkr_status take(tkr_binder *binder, tkr_source *source, const char *name, size_t rows, size_t cols,
                       tkr_error *error) {
    const tkr_tensor_view *view = find(binder, name);
    if (!view) {
        int64_t expected[2] = {(int64_t)(rows ? rows : cols), (int64_t)cols};
        char want[64];
        tkr_shape_text(want, sizeof want, expected, rows ? 2 : 1);
        return TKR_FAIL(error, FORMAT, "missing tensor \"%s%s\" of shape %s", binder->prefix, name, want);
    }
    tkr_status status = tkr_source_of(source, view, rows, cols, error);
    if (status != TKR_OK) return status;
    binder->used[view_index(binder, view)] = true;
    binder->n_parameters += view->n_elements;
    return TKR_OK;
}

tkr_status tkr_bind_table(tkr_binder *binder, tkr_weight **out, const char *name, size_t rows, size_t cols,
                          tkr_error *error) {
    tkr_source source;
    tkr_status status = take(binder, &source, name, rows, cols, error);
    return status != TKR_OK ? status : binder->options.ops->table(out, binder->options.backend, &source, error);
}

tkr_status tkr_bind_vector(tkr_binder *binder, tkr_weight **out, const char *name, const char *alt, size_t n,
                           tkr_error *error) {
    tkr_source source;
    if (alt && !find(binder, name) && find(binder, alt)) name = alt;
    tkr_status status = take(binder, &source, name, 0, n, error);
    return status != TKR_OK ? status : binder->options.ops->vector(out, binder->options.backend, &source, error);
}

tkr_status tkr_bind_linear(tkr_binder *binder, tkr_weight **out, const tkr_bind_spec *spec, tkr_error *error) {
    tkr_source parts[MAX_PARTS], biases[MAX_PARTS];
    const tkr_source *bias_list[MAX_PARTS] = {NULL};
    char name[NAME_SIZE];
    if (spec->n_parts > MAX_PARTS)
        return TKR_FAIL(error, INTERNAL, "a linear layer of %zu parts; at most %d", spec->n_parts, MAX_PARTS);
    for (size_t i = 0; i < spec->n_parts; i++) {
        snprintf(name, sizeof name, "%s.weight", spec->names[i]);
        tkr_status status = take(binder, &parts[i], name, spec->rows[i], spec->cols, error);
        if (status != TKR_OK) return status;
        if (!spec->bias) continue;
        snprintf(name, sizeof name, "%s.bias", spec->names[i]);
        if ((status = take(binder, &biases[i], name, 0, spec->rows[i], error)) != TKR_OK) return status;
        bias_list[i] = &biases[i];
    }
    const tkr_linear_spec linear = {.parts = parts,
                                    .biases = spec->bias ? bias_list : NULL,
                                    .n_parts = spec->n_parts,
                                    .mode = binder->options.mode,
                                    .fine = spec->fine};
    return binder->options.ops->linear(out, binder->options.backend, &linear, error);
}

/* '*' matches any run of characters. */
static bool matches(const char *pattern, const char *text) {
    const char *star = NULL, *resume = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            resume = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return *pattern == '\0';
}

tkr_status tkr_bind_finish(tkr_binder *binder, const char *const *ignore, tkr_error *error) {
    size_t count = tkr_tensors_count(binder->options.set);
    for (size_t i = 0; i < count; i++) {
        const tkr_tensor_view *view = tkr_tensors_at(binder->options.set, i);
        bool known = binder->used[i];
        for (size_t p = 0; !known && ignore[p]; p++) known = matches(ignore[p], view->name);
        if (!known) {
            char shape[128];
            tkr_shape_text(shape, sizeof shape, view->shape, view->n_dims);
            return TKR_FAIL(error, FORMAT,
                            "%s: unexpected tensor \"%s\" of shape %s: config.json does not describe this checkpoint",
                            view->file, view->name, shape);
        }
    }
    return TKR_OK;
}
