/* SPDX-License-Identifier: Apache-2.0 */
/* models/bind: takes each tensor an architecture expects, with its exact shape, and refuses what is left over. */
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "formats/adapter.h"
#include "models/model.h"

#define MAX_PARTS 4
#define NAME_SIZE 256

struct tkr_binder {
    tkr_binder_options options;
    const char *prefix;
    bool *used; /* [count of the set] */
    uint64_t n_parameters;
    bool measures; /* packs nothing, leaves weights NULL and counts in n_bytes what they would take */
    uint64_t n_bytes;
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

/* Only linear layers take what an adapter adds. */
static tkr_status refuse_adapted(const tkr_binder *binder, const char *name, tkr_error *error) {
    const tkr_tensor_view *view = tkr_tensors_find(binder->options.set, name);
    if (!view || !view->low_rank) return TKR_OK;
    return TKR_FAIL(error, UNSUPPORTED, "the adapter changes \"%s\", which is a table; supported: linear layers", name);
}

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

static tkr_status wrong_shape(const tkr_tensor_view *view, size_t rows, size_t cols, tkr_error *error) {
    const int64_t expected[2] = {(int64_t)(rows ? rows : cols), (int64_t)cols};
    char want[64], have[128];
    tkr_shape_text(want, sizeof want, expected, rows ? 2 : 1);
    tkr_shape_text(have, sizeof have, view->shape, view->n_dims);
    return TKR_FAIL(error, FORMAT, "%s: tensor \"%s\" has shape %s, config.json asks for %s", view->file, view->name,
                    have, want);
}

static bool has_shape(const tkr_tensor_view *view, size_t rows, size_t cols) {
    if (!rows) return view->n_dims == 1 && view->shape[0] == (int64_t)cols;
    return view->n_dims == 2 && view->shape[0] == (int64_t)rows && view->shape[1] == (int64_t)cols;
}

tkr_status tkr_source_of(tkr_source *source, const tkr_tensor_view *view, size_t rows, size_t cols, tkr_error *error) {
    if (!has_shape(view, rows, cols)) return wrong_shape(view, rows, cols, error);
    if (tkr_dtype_class(view->dtype) == 0)
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: tensor \"%s\" is %s; supported: F32, F16, BF16, and the blocks of GGUF", view->file,
                        view->name, tkr_dtype_name(view->dtype));
    source->name = view->name;
    source->matrix = (tkr_matrix){.data = view->data, .dtype = view->dtype, .rows = rows ? rows : 1, .cols = cols};
    return TKR_OK;
}

/* Whether the first dimensions of the shape make up `rows` and the rest `cols`. */
static bool flattens(const tkr_tensor_view *view, size_t rows, size_t cols) {
    uint64_t n = 1;
    size_t i = 0;
    while (i < view->n_dims && n < rows) n *= (uint64_t)view->shape[i++];
    return n == rows && view->n_elements == (uint64_t)rows * cols;
}

static tkr_status missing(const tkr_binder *binder, const char *name, size_t rows, size_t cols, tkr_error *error) {
    const int64_t expected[2] = {(int64_t)(rows ? rows : cols), (int64_t)cols};
    char want[64];
    tkr_shape_text(want, sizeof want, expected, rows ? 2 : 1);
    return TKR_FAIL(error, FORMAT, "missing tensor \"%s%s\" of shape %s", binder->prefix, name, want);
}

static void mark(tkr_binder *binder, const tkr_tensor_view *view, uint64_t n_parameters) {
    size_t index = view_index(binder, view);
    if (!binder->used[index]) binder->n_parameters += n_parameters;
    binder->used[index] = true;
}

/* Finds `name`, checks it, marks it used and describes it. rows 0: a vector of `cols`. */
static tkr_status take(tkr_binder *binder, tkr_source *source, const char *name, size_t rows, size_t cols,
                       tkr_error *error) {
    const tkr_tensor_view *view = find(binder, name);
    if (!view) return missing(binder, name, rows, cols, error);
    tkr_status status = tkr_source_of(source, view, rows, cols, error);
    if (status == TKR_OK) mark(binder, view, view->n_elements);
    return status;
}

tkr_status tkr_bind_values(tkr_binder *binder, tkr_source *source, const char *name, size_t rows, size_t cols,
                           tkr_error *error) {
    const tkr_tensor_view *view = find(binder, name);
    if (!view) return missing(binder, name, rows, cols, error);
    if (!flattens(view, rows, cols)) return wrong_shape(view, rows, cols, error);
    if (tkr_dtype_class(view->dtype) != 1)
        return TKR_FAIL(error, UNSUPPORTED, "%s: tensor \"%s\" is %s; supported: F32, F16, BF16", view->file,
                        view->name, tkr_dtype_name(view->dtype));
    mark(binder, view, view->n_elements);
    source->name = view->name;
    source->matrix = (tkr_matrix){.data = view->data, .dtype = view->dtype, .rows = rows, .cols = cols};
    return TKR_OK;
}

/* ---- matrices, MLX-quantised ones included ---- */

/* What config.json says of this module: its own entry under its full or its bare name, else the common one. NULL: that
 * it is not quantised. */
static const json_t *group_settings(const tkr_binder *binder, const char *name) {
    const json_t *all = binder->options.quantization;
    char full[NAME_SIZE];
    snprintf(full, sizeof full, "%s%s", binder->prefix, name);
    const json_t *own = json_object_get(all, full);
    if (!own) own = json_object_get(all, name);
    return json_is_false(own) ? NULL : json_is_object(own) ? own : all;
}

static tkr_status read_mode(tkr_matrix *m, const json_t *settings, const char *what, tkr_error *error) {
    static const struct {
        const char *name;
        tkr_group_mode mode;
        unsigned bits, group;
    } modes[] = {{"affine", TKR_GROUP_AFFINE, 0, 0},
                 {"mxfp4", TKR_GROUP_MXFP4, 4, 32},
                 {"mxfp8", TKR_GROUP_MXFP8, 8, 32},
                 {"nvfp4", TKR_GROUP_NVFP4, 4, 16}};
    int64_t bits = 0, group = 0;
    const char *mode = "affine";
    tkr_status status = tkr_json_get_string(&mode, settings, "mode", false, what, error);
    if (status == TKR_OK) status = tkr_json_get_int(&bits, settings, "bits", 2, 8, true, what, error);
    if (status == TKR_OK) status = tkr_json_get_int(&group, settings, "group_size", 16, 128, true, what, error);
    if (status != TKR_OK) return status;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(modes[i].name, mode) != 0) continue;
        bool affine = modes[i].mode == TKR_GROUP_AFFINE;
        bool good = affine ? bits != 7 && (group == 32 || group == 64 || group == 128)
                           : bits == (int64_t)modes[i].bits && group == (int64_t)modes[i].group;
        m->mode = modes[i].mode;
        m->bits = (unsigned)bits;
        m->group_size = (unsigned)group;
        if (good) return TKR_OK;
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: mode %s with %d bits in groups of %d; supported: affine with 2, 3, 4, 5, 6 or 8 bits in "
                        "groups of 32, 64 or 128, mxfp4 (4, 32), mxfp8 (8, 32), nvfp4 (4, 16)",
                        what, mode, (int)bits, (int)group);
    }
    return TKR_FAIL(error, UNSUPPORTED, "%s: mode \"%.40s\"; supported: affine, mxfp4, mxfp8, nvfp4", what, mode);
}

static const tkr_tensor_view *find_beside(const tkr_binder *binder, const char *name, const char *suffix) {
    char text[NAME_SIZE];
    snprintf(text, sizeof text, "%s.%s", name, suffix);
    return find(binder, text);
}

/* The scales or biases of a quantised matrix: right shape and type, marked used. */
static tkr_status take_groups(tkr_binder *binder, const void **data, tkr_dtype *dtype, const tkr_matrix *m,
                              const char *name, const char *suffix, tkr_error *error) {
    const tkr_tensor_view *view = find_beside(binder, name, suffix);
    size_t groups = m->cols / m->group_size;
    char text[NAME_SIZE];
    snprintf(text, sizeof text, "%s.%s", name, suffix);
    if (!view) return missing(binder, text, m->rows, groups, error);
    if (!has_shape(view, m->rows, groups)) return wrong_shape(view, m->rows, groups, error);
    bool affine = m->mode == TKR_GROUP_AFFINE;
    if (affine ? tkr_dtype_class(view->dtype) != 1 : view->dtype != TKR_DTYPE_U8)
        return TKR_FAIL(error, FORMAT, "%s: tensor \"%s\" is %s, expected %s", view->file, view->name,
                        tkr_dtype_name(view->dtype), affine ? "F32, F16 or BF16" : "U8");
    mark(binder, view, 0);
    *data = view->data;
    *dtype = view->dtype;
    return TKR_OK;
}

/* Matrix "name.weight" [rows, cols], plain or quantised. */
static tkr_status take_matrix(tkr_binder *binder, tkr_source *source, const char *name, size_t rows, size_t cols,
                              tkr_error *error) {
    char weight[NAME_SIZE], what[NAME_SIZE + 64];
    snprintf(weight, sizeof weight, "%s.weight", name);
    const tkr_tensor_view *view = find(binder, weight);
    if (!view || view->dtype != TKR_DTYPE_U32) return take(binder, source, weight, rows, cols, error);
    const json_t *settings = group_settings(binder, name);
    if (!settings)
        return TKR_FAIL(error, FORMAT,
                        "%s: tensor \"%s\" is quantised (U32), but config.json has no \"quantization\" for it",
                        view->file, view->name);
    tkr_matrix m = {.data = view->data, .dtype = TKR_DTYPE_U32, .rows = rows, .cols = cols};
    snprintf(what, sizeof what, "config.json: quantization of \"%.200s\"", name);
    tkr_status status = read_mode(&m, settings, what, error);
    if (status != TKR_OK) return status;
    if (cols % m.group_size != 0 || cols * m.bits % 32 != 0)
        return TKR_FAIL(error, FORMAT, "%s: its %zu columns are no multiple of the group of %u", what, cols,
                        m.group_size);
    if (!has_shape(view, rows, cols * m.bits / 32)) return wrong_shape(view, rows, cols * m.bits / 32, error);
    tkr_dtype bias_dtype = TKR_DTYPE_F32;
    status = take_groups(binder, &m.scales, &m.scale_dtype, &m, name, "scales", error);
    if (status == TKR_OK && m.mode == TKR_GROUP_AFFINE)
        status = take_groups(binder, &m.biases, &bias_dtype, &m, name, "biases", error);
    if (status == TKR_OK && m.mode == TKR_GROUP_AFFINE && bias_dtype != m.scale_dtype)
        status = TKR_FAIL(error, FORMAT, "%s: scales are %s, biases %s; both must be of one type", what,
                          tkr_dtype_name(m.scale_dtype), tkr_dtype_name(bias_dtype));
    if (status != TKR_OK) return status;
    mark(binder, view, (uint64_t)rows * cols);
    source->name = view->name;
    source->matrix = m;
    return TKR_OK;
}

/* Narrows a matrix to rows [first, first + n). */
static void cut_rows(tkr_matrix *m, size_t first, size_t n) {
    m->data = (const char *)m->data + first * tkr_matrix_row_bytes(m);
    m->rows = n;
    if (m->mode == TKR_GROUP_NONE) return;
    size_t groups = m->cols / m->group_size * tkr_dtype_size(m->scale_dtype);
    m->scales = (const char *)m->scales + first * groups;
    if (m->biases) m->biases = (const char *)m->biases + first * groups;
}

tkr_status tkr_bind_table(tkr_binder *binder, tkr_weight **out, const char *name, size_t rows, size_t cols,
                          tkr_error *error) {
    tkr_source source = {0};
    tkr_status status = take_matrix(binder, &source, name, rows, cols, error);
    if (status == TKR_OK) status = refuse_adapted(binder, source.name, error);
    if (status != TKR_OK || binder->measures) return status; /* tables stay where they are */
    return binder->options.ops->table(out, binder->options.backend, &source, error);
}

tkr_status tkr_bind_rows(tkr_binder *binder, tkr_weight **out, const char *name, size_t rows, size_t cols,
                         tkr_error *error) {
    tkr_source source = {0};
    tkr_status status = tkr_bind_values(binder, &source, name, rows, cols, error);
    if (status != TKR_OK || binder->measures) return status;
    return binder->options.ops->table(out, binder->options.backend, &source, error);
}

tkr_status tkr_bind_matrix(tkr_binder *binder, tkr_matrix *matrix, const char *name, size_t rows, size_t cols,
                           tkr_error *error) {
    tkr_source source = {0};
    tkr_status status = take_matrix(binder, &source, name, rows, cols, error);
    if (status == TKR_OK) status = refuse_adapted(binder, source.name, error);
    if (status == TKR_OK) *matrix = source.matrix;
    return status;
}

static tkr_status make_vector(tkr_binder *binder, tkr_weight **out, const tkr_source *source, float offset,
                              tkr_error *error) {
    if (!binder->measures) return binder->options.ops->vector(out, binder->options.backend, source, offset, error);
    binder->n_bytes += source->matrix.cols * sizeof(float);
    return TKR_OK;
}

tkr_status tkr_bind_vector(tkr_binder *binder, tkr_weight **out, const char *name, const char *alt, size_t n,
                           float offset, tkr_error *error) {
    tkr_source source = {0};
    if (alt && !find(binder, name) && find(binder, alt)) name = alt;
    tkr_status status = take(binder, &source, name, 0, n, error);
    return status != TKR_OK ? status : make_vector(binder, out, &source, offset, error);
}

tkr_status tkr_bind_flat(tkr_binder *binder, tkr_weight **out, const char *name, size_t rows, size_t cols,
                         tkr_error *error) {
    tkr_source source = {0};
    char weight[NAME_SIZE];
    snprintf(weight, sizeof weight, "%s.weight", name);
    tkr_status status = take(binder, &source, weight, rows, cols, error);
    if (status == TKR_OK && tkr_dtype_class(source.matrix.dtype) != 1)
        status = TKR_FAIL(error, UNSUPPORTED, "tensor \"%s\" is %s; supported: F32, F16, BF16", source.name,
                          tkr_dtype_name(source.matrix.dtype));
    if (status != TKR_OK) return status;
    source.matrix.rows = 1;
    source.matrix.cols = rows * cols;
    return make_vector(binder, out, &source, 0, error);
}

/* ---- linear layers ---- */

/* A model quantised to 4 bits keeps in 8 bits: sensitive layers; what the checkpoint stores quantised in a way that
 * 4-bit groups can't take over as it is, since rounding it once more would cost far more than its first rounding did;
 * and what a quantised MLX checkpoint left as it was. */
static tkr_gemm_mode mode_of(const tkr_binder *binder, const tkr_bind_spec *spec, const tkr_source *parts) {
    tkr_gemm_mode mode = binder->options.mode;
    if (mode != TKR_GEMM_Q4) return mode;
    if (spec->sensitivity & binder->options.spared) return TKR_GEMM_Q8;
    for (size_t i = 0; i < spec->n_parts; i++) {
        const tkr_matrix *m = &parts[i].matrix;
        bool quantised = m->mode != TKR_GROUP_NONE || tkr_dtype_class(m->dtype) == 2;
        if ((quantised || binder->options.quantization) && tkr_matrix_group4(m) == 0) return TKR_GEMM_Q8;
    }
    return mode;
}

static void release_parts(const tkr_binder *binder, const tkr_source *parts, size_t n) {
    for (size_t i = 0; binder->options.release_source && i < n; i++)
        tkr_map_release(parts[i].matrix.data, parts[i].matrix.rows * tkr_matrix_row_bytes(&parts[i].matrix));
}

/* The parts with what an adapter adds to them, as plain numbers; copies[i] is freed by the caller. */
static tkr_status merge_adapter(const tkr_binder *binder, tkr_source *parts, float *copies[MAX_PARTS],
                                const tkr_bind_spec *spec, tkr_error *error) {
    for (size_t i = 0; i < spec->n_parts; i++) {
        const tkr_tensor_view *view = tkr_tensors_find(binder->options.set, parts[i].name);
        const tkr_matrix *m = &parts[i].matrix;
        size_t n = 0;
        if (!view || !view->low_rank) continue;
        if (tkr_mul_size(&n, m->rows, m->cols) && tkr_mul_size(&n, n, sizeof(float))) copies[i] = tkr_malloc(n);
        if (!copies[i]) return TKR_FAIL(error, NO_MEMORY, "no memory to add the adapter to \"%s\"", parts[i].name);
        tkr_status status =
            tkr_adapter_rows(copies[i], view, spec->parts[i].first, m->rows, binder->options.pool, error);
        if (status != TKR_OK) return status;
        parts[i].matrix = (tkr_matrix){.data = copies[i], .dtype = TKR_DTYPE_F32, .rows = m->rows, .cols = m->cols};
    }
    return TKR_OK;
}

static tkr_status pack_linear(tkr_binder *binder, tkr_weight **out, const tkr_linear_spec *linear,
                              const tkr_bind_spec *spec, tkr_error *error) {
    const tkr_binder_options *o = &binder->options;
    tkr_source parts[MAX_PARTS] = {{0}};
    float *copies[MAX_PARTS] = {NULL};
    tkr_linear_spec merged = *linear;
    memcpy(parts, linear->parts, linear->n_parts * sizeof *parts);
    merged.parts = parts;
    tkr_status status = merge_adapter(binder, parts, copies, spec, error);
    if (status == TKR_OK) status = o->ops->linear(out, o->backend, &merged, error);
    for (size_t i = 0; i < MAX_PARTS; i++) tkr_free(copies[i]);
    if (status == TKR_OK) release_parts(binder, linear->parts, linear->n_parts);
    return status;
}

static tkr_status make_linear(tkr_binder *binder, tkr_weight **out, const tkr_linear_spec *linear,
                              const tkr_bind_spec *spec, tkr_error *error) {
    const tkr_binder_options *o = &binder->options;
    size_t bytes = 0;
    if (binder->measures) {
        binder->n_bytes += o->ops->linear_bytes(o->backend, linear);
        return TKR_OK;
    }
    char key[NAME_SIZE + 32]; /* one matrix may be cut into several layers */
    snprintf(key, sizeof key, "%s@%zu", linear->parts[0].name, spec->parts[0].first);
    const void *packed = o->store ? o->store->get(o->store->user, key, &bytes) : NULL;
    if (packed) return o->ops->linear_from_packed(out, o->backend, &linear->shape, packed, bytes, error);
    tkr_status status = pack_linear(binder, out, linear, spec, error);
    if (status != TKR_OK) return status;
    packed = o->store ? o->ops->linear_packed(&bytes, *out) : NULL;
    if (packed) o->store->put(o->store->user, key, packed, bytes);
    return TKR_OK;
}

static tkr_status take_part(tkr_binder *binder, tkr_source *source, const tkr_bind_part *part, size_t cols,
                            tkr_error *error) {
    char name[NAME_SIZE];
    if (!part->conv && !part->underscore) return take_matrix(binder, source, part->name, part->total, cols, error);
    snprintf(name, sizeof name, "%s%cweight", part->name, part->underscore ? '_' : '.');
    tkr_status status = tkr_bind_values(binder, source, name, part->total, cols, error);
    const tkr_tensor_view *view = status == TKR_OK && part->conv ? find(binder, name) : NULL;
    if (view && view->n_dims > 3 && view->shape[view->n_dims - 1] != view->shape[view->n_dims - 2])
        return TKR_FAIL(error, UNSUPPORTED,
                        "%s: tensor \"%s\" is a convolution with its channels last, as MLX stores it; supported: "
                        "[outputs, channels, height, width]",
                        view->file, view->name);
    return status;
}

tkr_status tkr_bind_linear(tkr_binder *binder, tkr_weight **out, const tkr_bind_spec *spec, tkr_error *error) {
    tkr_source parts[MAX_PARTS] = {{0}}, biases[MAX_PARTS] = {{0}};
    const tkr_source *bias_list[MAX_PARTS] = {NULL};
    char name[NAME_SIZE];
    size_t rows = 0;
    if (spec->n_parts > MAX_PARTS)
        return TKR_FAIL(error, INTERNAL, "a linear layer of %zu parts; at most %d", spec->n_parts, MAX_PARTS);
    for (size_t i = 0; i < spec->n_parts; i++) {
        const tkr_bind_part *part = &spec->parts[i];
        tkr_status status = take_part(binder, &parts[i], part, spec->cols, error);
        if (status != TKR_OK) return status;
        cut_rows(&parts[i].matrix, part->first, part->rows);
        rows += part->rows;
        if (!spec->bias) continue;
        snprintf(name, sizeof name, "%s%cbias", part->name, part->underscore ? '_' : '.');
        if ((status = take(binder, &biases[i], name, 0, part->total, error)) != TKR_OK) return status;
        biases[i].matrix.data =
            (const char *)biases[i].matrix.data + part->first * tkr_dtype_size(biases[i].matrix.dtype);
        biases[i].matrix.cols = part->rows;
        bias_list[i] = &biases[i];
    }
    const tkr_linear_spec linear = {.parts = parts,
                                    .biases = spec->bias ? bias_list : NULL,
                                    .n_parts = spec->n_parts,
                                    .shape = {.rows = rows,
                                              .cols = spec->cols,
                                              .mode = mode_of(binder, spec, parts),
                                              .sensitivity = spec->sensitivity,
                                              .gated = spec->gated,
                                              .bias = spec->bias,
                                              .group = binder->options.group}};
    return make_linear(binder, out, &linear, spec, error);
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

tkr_status tkr_arch_measure(uint64_t *n_bytes, const tkr_binder_options *options, const tkr_arch_spec *spec,
                            tkr_error *error) {
    tkr_binder *binder = NULL;
    tkr_arch_model *model = NULL;
    tkr_status status = tkr_binder_create(&binder, options, error);
    if (!binder) return status;
    binder->measures = true;
    status = tkr_arch_bind(&model, binder, spec, error);
    *n_bytes = binder->n_bytes;
    tkr_arch_free(&model);
    tkr_binder_free(&binder);
    return status;
}
