/* SPDX-License-Identifier: Apache-2.0 */
/* ops/cpu/weights: packs linear layers to the kernel's panels, widens vectors, borrows tables. Refuses non-finite
 * weights. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "ops/cpu/cpu_ops.h"

size_t tkr_cpu_k_padded(const tkr_gemm *gemm, size_t k) {
    return (k + gemm->k_align - 1) / gemm->k_align * gemm->k_align;
}

/* Longest row with one scale, for kernels without scales of their own. On the real all-MiniLM-L6-v2 the int8 weights of
 * the 1536-wide rows with one scale each cost more accuracy than everything else together; slices also give the
 * activations scales of their own. */
#define SLICE_K 384

/* In front of the panels: what the shape does not say. */
typedef struct packed_head {
    uint32_t scale_kind;
    uint32_t group;
} packed_head;
#define HEAD_BYTES 64

typedef struct linear_layout {
    size_t n_slices, slice_k, k_padded, n_panels, panel_bytes, columns;
    size_t bias_at, scale_at, sums_at, total;
} linear_layout;

static const tkr_gemm *gemm_of(const tkr_backend *backend, const tkr_linear_shape *shape) {
    const tkr_kernels *kernels = backend->kernels;
    return shape->mode == TKR_GEMM_Q8 && (shape->sensitivity & TKR_SENSITIVE_INPUT) ? kernels->q8_fine
                                                                                    : kernels->gemm[shape->mode];
}

static void layout_of(linear_layout *layout, const tkr_gemm *gemm, const tkr_linear_shape *shape,
                      const packed_head *head) {
    size_t cols = shape->cols;
    layout->n_slices = gemm->integer && !gemm->pack_codes ? (cols + SLICE_K - 1) / SLICE_K : 1;
    layout->slice_k = tkr_align_up((cols + layout->n_slices - 1) / layout->n_slices, 4);
    layout->slice_k = layout->n_slices == 1 ? cols : layout->slice_k;
    layout->k_padded = tkr_cpu_k_padded(gemm, layout->slice_k);
    /* A gated panel holds as many columns of the gate as of its partner. */
    size_t outputs = shape->gated ? shape->rows / 2 : shape->rows, per_panel = shape->gated ? gemm->nr / 2u : gemm->nr;
    layout->n_panels = (outputs + per_panel - 1) / per_panel;
    layout->panel_bytes = gemm->panel_bytes
                              ? gemm->panel_bytes(layout->k_padded, head->group, (tkr_scale_kind)head->scale_kind)
                              : tkr_align_up((size_t)gemm->nr * layout->k_padded * gemm->weight_bits / 8, 64);
    layout->columns = layout->n_panels * gemm->nr;
    bool scaled = gemm->integer && !gemm->pack_codes;
    size_t column_bytes = tkr_align_up(layout->columns * sizeof(float), 64);
    size_t scale_bytes = scaled ? tkr_align_up(layout->n_slices * layout->columns * sizeof(float), 64) : 0;
    layout->bias_at = HEAD_BYTES + layout->n_slices * layout->n_panels * layout->panel_bytes;
    layout->scale_at = layout->bias_at + (shape->bias ? column_bytes : 0);
    layout->sums_at = layout->scale_at + scale_bytes;
    layout->total = layout->sums_at + scale_bytes;
}

/* Points the weight's parts into its block. */
static void place(tkr_weight *weight, const linear_layout *layout, const tkr_linear_shape *shape,
                  const packed_head *head, char *block) {
    const tkr_gemm *gemm = weight->gemm;
    weight->kind = TKR_WEIGHT_LINEAR;
    weight->rows = shape->rows;
    weight->cols = shape->cols;
    weight->outputs = shape->gated ? shape->rows / 2 : shape->rows;
    weight->gated = shape->gated;
    weight->n_slices = layout->n_slices;
    weight->slice_k = layout->slice_k;
    weight->k_padded = layout->k_padded;
    weight->n_panels = layout->n_panels;
    weight->panel_bytes = layout->panel_bytes;
    weight->packed = block;
    weight->packed_bytes = layout->total;
    weight->panels = block + HEAD_BYTES;
    weight->group = head->group;
    weight->scale_kind = (tkr_scale_kind)head->scale_kind;
    if (gemm->integer && !gemm->pack_codes) {
        weight->scale = (float *)(void *)(block + layout->scale_at);
        weight->sums = (int32_t *)(void *)(block + layout->sums_at);
    }
    if (shape->bias) weight->bias = (float *)(void *)(block + layout->bias_at);
}

/* ---- packing ---- */

typedef struct pack_job {
    tkr_weight *weight;
    const tkr_source *parts;
    size_t n_parts;
    char *scratch; /* [workers] */
    size_t scratch_bytes, n_groups;
    bool exact; /* the parts' own 4-bit groups are kept */
    atomic_size_t next;
    atomic_size_t bad_part; /* 1 + index of a part with a non-finite value, 0: none */
} pack_job;

/* Row of the stacked parts that column `column` of panel `panel` holds; SIZE_MAX: none. */
static size_t row_of_column(const tkr_weight *w, size_t panel, size_t column) {
    size_t nr = w->gemm->nr, half = nr / 2;
    if (!w->gated) return panel * nr + column < w->rows ? panel * nr + column : SIZE_MAX;
    size_t at = panel * half + column % half;
    return at >= w->outputs ? SIZE_MAX : column < half ? at : w->outputs + at;
}

static const tkr_source *part_of_row(const pack_job *job, size_t *row, size_t *part) {
    *part = 0;
    while (*row >= job->parts[*part].matrix.rows) *row -= job->parts[(*part)++].matrix.rows;
    return &job->parts[*part];
}

/* Decodes the panel's rows to out [nr, cols], missing ones as zeros; false when a value isn't finite. */
static bool gather_rows(pack_job *job, float *out, size_t panel) {
    const tkr_weight *w = job->weight;
    for (size_t j = 0; j < w->gemm->nr; j++) {
        float *to = out + j * w->cols;
        size_t row = row_of_column(w, panel, j), part = 0;
        if (row == SIZE_MAX) {
            memset(to, 0, w->cols * sizeof *to);
            continue;
        }
        const tkr_matrix *matrix = &part_of_row(job, &row, &part)->matrix;
        tkr_matrix_row(to, matrix, row);
        if (!tkr_all_finite(to, w->cols)) {
            atomic_store(&job->bad_part, part + 1);
            return false;
        }
    }
    return true;
}

static size_t valid_columns(const tkr_weight *w, size_t panel) {
    size_t nr = w->gemm->nr;
    return w->gated || w->rows - panel * nr > nr ? nr : w->rows - panel * nr;
}

static bool pack_plain(pack_job *job, char *scratch, size_t panel) {
    tkr_weight *w = job->weight;
    const tkr_gemm *gemm = w->gemm;
    float *rows = (float *)(void *)scratch;
    if (!gather_rows(job, rows, panel)) return false;
    for (size_t s = 0; s < w->n_slices; s++) {
        size_t k = s * w->slice_k, left = w->cols - k, at = (s * w->n_panels + panel) * gemm->nr;
        gemm->pack_panel(w->panels + (s * w->n_panels + panel) * w->panel_bytes, w->scale ? w->scale + at : NULL,
                         w->sums ? w->sums + at : NULL, rows + k, w->cols, valid_columns(w, panel),
                         left < w->slice_k ? left : w->slice_k, w->k_padded);
    }
    return true;
}

static bool all_groups_finite(const float *scale, const float *bias, size_t n) {
    return tkr_all_finite(scale, n) && tkr_all_finite(bias, n);
}

/* One row's 4-bit groups: the checkpoint's own, or made here. */
static bool code_row(pack_job *job, uint8_t *codes, float *scale, float *bias, float *values, size_t row) {
    const tkr_weight *w = job->weight;
    size_t part = 0;
    const tkr_matrix *matrix = &part_of_row(job, &row, &part)->matrix;
    bool good;
    if (job->exact) {
        tkr_matrix_row_group4(codes, scale, bias, matrix, row);
        good = all_groups_finite(scale, bias, job->n_groups);
    } else {
        tkr_matrix_row(values, matrix, row);
        good = tkr_all_finite(values, w->cols);
        if (good) tkr_quantize_affine_row(codes, scale, bias, values, w->cols, 4, w->group);
        for (size_t g = 0; good && g < job->n_groups; g++) {
            scale[g] = tkr_bf16_to_f32(tkr_f32_to_bf16(scale[g]));
            bias[g] = tkr_bf16_to_f32(tkr_f32_to_bf16(bias[g]));
        }
    }
    if (!good) atomic_store(&job->bad_part, part + 1);
    return good;
}

static bool pack_grouped(pack_job *job, char *scratch, size_t panel) {
    tkr_weight *w = job->weight;
    const tkr_gemm *gemm = w->gemm;
    size_t nr = gemm->nr;
    float *values = (float *)(void *)scratch, *scale = values + w->cols, *bias = scale + nr * job->n_groups;
    uint8_t *codes = (uint8_t *)(bias + nr * job->n_groups);
    for (size_t j = 0; j < nr; j++) {
        size_t row = row_of_column(w, panel, j);
        if (row == SIZE_MAX) {
            memset(codes + j * w->cols, 0, w->cols);
            memset(scale + j * job->n_groups, 0, job->n_groups * sizeof *scale);
            memset(bias + j * job->n_groups, 0, job->n_groups * sizeof *bias);
        } else if (!code_row(job, codes + j * w->cols, scale + j * job->n_groups, bias + j * job->n_groups, values,
                             row)) {
            return false;
        }
    }
    const tkr_codes args = {.codes = codes,
                            .scale = scale,
                            .bias = bias,
                            .n_cols = valid_columns(w, panel),
                            .k = w->cols,
                            .k_padded = w->k_padded,
                            .group = w->group,
                            .scale_kind = w->scale_kind};
    gemm->pack_codes(w->panels + panel * w->panel_bytes, &args);
    return true;
}

static void pack_panels(void *arg, unsigned worker, unsigned n_workers) {
    (void)n_workers;
    pack_job *job = arg;
    char *scratch = job->scratch + worker * job->scratch_bytes;
    for (;;) {
        size_t panel = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (panel >= job->weight->n_panels || atomic_load_explicit(&job->bad_part, memory_order_relaxed) != 0) return;
        if (!(job->weight->gemm->pack_codes ? pack_grouped : pack_plain)(job, scratch, panel)) return;
    }
}

static tkr_status fill_bias(pack_job *job, const tkr_source *const *biases, tkr_error *error) {
    tkr_weight *w = job->weight;
    size_t rows = 0, at = 0;
    for (size_t i = 0; i < job->n_parts; i++) rows += job->parts[i].matrix.rows;
    float *stacked = tkr_calloc(rows, sizeof *stacked);
    if (!stacked) return TKR_FAIL(error, NO_MEMORY, "no memory for tensor \"%s\"", job->parts[0].name);
    tkr_status status = TKR_OK;
    for (size_t i = 0; status == TKR_OK && i < job->n_parts; at += job->parts[i++].matrix.rows) {
        if (!biases[i]) continue;
        tkr_matrix_row(stacked + at, &biases[i]->matrix, 0);
        if (!tkr_all_finite(stacked + at, job->parts[i].matrix.rows))
            status = TKR_FAIL(error, NUMERIC, "tensor \"%s\" holds NaN or infinity; the checkpoint is damaged",
                              biases[i]->name);
    }
    for (size_t panel = 0; panel < w->n_panels; panel++)
        for (size_t j = 0; j < w->gemm->nr; j++) {
            size_t row = row_of_column(w, panel, j);
            w->bias[panel * w->gemm->nr + j] = row == SIZE_MAX ? 0 : stacked[row];
        }
    tkr_free(stacked);
    return status;
}

static tkr_status run_pack(tkr_backend *backend, pack_job *job, tkr_error *error) {
    const tkr_weight *w = job->weight;
    size_t workers = tkr_pool_size(backend->pool), total = 0, nr = w->gemm->nr;
    job->n_groups = w->group ? (w->cols + w->group - 1) / w->group : 0;
    size_t plain = nr * w->cols * sizeof(float);
    size_t grouped = w->cols * sizeof(float) + 2 * nr * job->n_groups * sizeof(float) + nr * w->cols;
    job->scratch_bytes = tkr_align_up(w->gemm->pack_codes ? grouped : plain, 64);
    if (!tkr_mul_size(&total, job->scratch_bytes, workers) || !(job->scratch = tkr_aligned_alloc(total)))
        return TKR_FAIL(error, NO_MEMORY, "no memory to pack tensor \"%s\"", job->parts[0].name);
    tkr_status status = tkr_pool_run(backend->pool, pack_panels, job);
    tkr_aligned_free(job->scratch, total);
    size_t bad = atomic_load(&job->bad_part);
    if (bad)
        return TKR_FAIL(error, NUMERIC, "tensor \"%s\" holds NaN or infinity; the checkpoint is damaged",
                        job->parts[bad - 1].name);
    if (status != TKR_OK)
        return TKR_FAIL(error, INTERNAL, "packing tensor \"%s\": worker threads are not available", job->parts[0].name);
    return TKR_OK;
}

/* ---- how 4-bit scales are stored: in 16 bits where that loses nothing, or next to nothing for groups made here ----
 */

/* The group that all parts share, 0: they have none, or the shape's differs. */
static size_t shared_group(const tkr_linear_spec *spec) {
    size_t group = tkr_matrix_group4(&spec->parts[0].matrix);
    for (size_t i = 1; i < spec->n_parts; i++)
        if (tkr_matrix_group4(&spec->parts[i].matrix) != group) return 0;
    return group;
}

static tkr_scale_kind kind_of_parts(const tkr_linear_spec *spec) {
    const tkr_matrix *first = &spec->parts[0].matrix;
    for (size_t i = 0; i < spec->n_parts; i++) {
        const tkr_matrix *m = &spec->parts[i].matrix;
        /* The blocks of GGUF other than Q4_1 derive a scale or bias that needs more bits than the stored one. */
        if (m->mode != TKR_GROUP_AFFINE && m->dtype != TKR_DTYPE_Q4_1) return TKR_SCALE_F32;
        if (m->mode != first->mode || m->scale_dtype != first->scale_dtype) return TKR_SCALE_F32;
    }
    if (first->mode != TKR_GROUP_AFFINE || first->scale_dtype == TKR_DTYPE_F16) return TKR_SCALE_F16;
    return first->scale_dtype == TKR_DTYPE_BF16 ? TKR_SCALE_BF16 : TKR_SCALE_F32;
}

static packed_head choose_head(const tkr_gemm *gemm, const tkr_linear_spec *spec, bool *exact) {
    packed_head head = {TKR_SCALE_F32, 0};
    *exact = false;
    if (!gemm->pack_codes) return head;
    size_t group = spec->n_parts ? shared_group(spec) : 0;
    *exact = group > 0;
    head.group = (uint32_t)(group ? group : spec->shape.group);
    /* Groups made here: half a bit of a 4-bit code is 2^-5 of the range, the rounding of a bf16 scale 2^-9 of it. f16
     * would round finer, but small models hold groups whose scale is below its range. */
    head.scale_kind = *exact ? kind_of_parts(spec) : TKR_SCALE_BF16;
    return head;
}

/* The shape with what the parts say of it. */
static tkr_linear_shape shape_of(const tkr_linear_spec *spec) {
    tkr_linear_shape shape = spec->shape;
    if (spec->n_parts == 0) return shape;
    shape.cols = spec->parts[0].matrix.cols;
    shape.rows = 0;
    for (size_t i = 0; i < spec->n_parts; i++) shape.rows += spec->parts[i].matrix.rows;
    shape.bias = spec->biases != NULL;
    return shape;
}

size_t tkr_cpu_linear_bytes(const tkr_backend *backend, const tkr_linear_spec *spec) {
    bool exact;
    linear_layout layout;
    const tkr_linear_shape shape = shape_of(spec);
    const tkr_gemm *gemm = gemm_of(backend, &shape);
    const packed_head head = choose_head(gemm, spec, &exact);
    layout_of(&layout, gemm, &shape, &head);
    return layout.total;
}

tkr_status tkr_cpu_linear(tkr_weight **out, tkr_backend *backend, const tkr_linear_spec *spec, tkr_error *error) {
    tkr_status status = TKR_OK;
    const tkr_linear_shape shape = shape_of(spec);
    tkr_weight *weight = tkr_calloc(1, sizeof *weight);
    if (!weight) return TKR_FAIL(error, NO_MEMORY, "no memory for tensor \"%s\"", spec->parts[0].name);
    pack_job job = {.weight = weight, .parts = spec->parts, .n_parts = spec->n_parts};
    weight->gemm = gemm_of(backend, &shape);
    const packed_head head = choose_head(weight->gemm, spec, &job.exact);
    linear_layout layout;
    layout_of(&layout, weight->gemm, &shape, &head);
    weight->block_bytes = layout.total;
    weight->block = tkr_aligned_alloc(layout.total);
    if (!weight->block) {
        status =
            TKR_FAIL(error, NO_MEMORY, "no memory for tensor \"%s\": %zu bytes", spec->parts[0].name, layout.total);
        goto fail;
    }
    memset(weight->block, 0, HEAD_BYTES);
    memcpy(weight->block, &head, sizeof head);
    place(weight, &layout, &shape, &head, weight->block);
    if (spec->biases && (status = fill_bias(&job, spec->biases, error)) != TKR_OK) goto fail;
    if ((status = run_pack(backend, &job, error)) != TKR_OK) goto fail;
    *out = weight;
    return TKR_OK;
fail:
    tkr_cpu_weight_free(&weight);
    return status;
}

const void *tkr_cpu_linear_packed(size_t *bytes, const tkr_weight *weight) {
    *bytes = weight->kind == TKR_WEIGHT_LINEAR ? weight->packed_bytes : 0;
    return weight->kind == TKR_WEIGHT_LINEAR ? weight->packed : NULL;
}

tkr_status tkr_cpu_linear_from_packed(tkr_weight **out, tkr_backend *backend, const tkr_linear_shape *shape,
                                      const void *packed, size_t bytes, tkr_error *error) {
    packed_head head;
    linear_layout layout;
    const tkr_gemm *gemm = gemm_of(backend, shape);
    if (bytes < HEAD_BYTES) return TKR_FAIL(error, FORMAT, "a packed layer of %zu bytes is cut off", bytes);
    memcpy(&head, packed, sizeof head);
    bool known = head.scale_kind <= TKR_SCALE_BF16 &&
                 (head.group == 0 || head.group == 32 || head.group == 64 || head.group == 128);
    if (!known || (head.group > 0) != (gemm->pack_codes != NULL))
        return TKR_FAIL(error, FORMAT, "a packed layer has groups of %u values in format %u", (unsigned)head.group,
                        (unsigned)head.scale_kind);
    layout_of(&layout, gemm, shape, &head);
    if (layout.total != bytes)
        return TKR_FAIL(error, FORMAT, "a packed layer has %zu bytes, its shape asks for %zu", bytes, layout.total);
    tkr_weight *weight = tkr_calloc(1, sizeof *weight);
    if (!weight) return TKR_FAIL(error, NO_MEMORY, "no memory for a packed layer");
    weight->gemm = gemm;
    place(weight, &layout, shape, &head, (char *)(uintptr_t)packed); /* never written through */
    *out = weight;
    return TKR_OK;
}

tkr_status tkr_cpu_vector(tkr_weight **out, tkr_backend *backend, const tkr_source *source, float offset,
                          tkr_error *error) {
    (void)backend;
    size_t n = source->matrix.cols;
    tkr_weight *weight = tkr_calloc(1, sizeof *weight);
    if (weight) weight->values = tkr_calloc(n, sizeof(float));
    if (!weight || !weight->values) {
        tkr_free(weight);
        return TKR_FAIL(error, NO_MEMORY, "no memory for tensor \"%s\"", source->name);
    }
    weight->kind = TKR_WEIGHT_VECTOR;
    weight->rows = 1;
    weight->cols = n;
    tkr_matrix_row(weight->values, &source->matrix, 0);
    if (!tkr_all_finite(weight->values, n)) {
        tkr_cpu_weight_free(&weight);
        return TKR_FAIL(error, NUMERIC, "tensor \"%s\" holds NaN or infinity; the checkpoint is damaged", source->name);
    }
    for (size_t i = 0; i < n; i++) weight->values[i] += offset;
    *out = weight;
    return TKR_OK;
}

tkr_status tkr_cpu_table(tkr_weight **out, tkr_backend *backend, const tkr_source *source, tkr_error *error) {
    (void)backend;
    tkr_weight *weight = tkr_calloc(1, sizeof *weight);
    if (!weight) return TKR_FAIL(error, NO_MEMORY, "no memory for tensor \"%s\"", source->name);
    weight->kind = TKR_WEIGHT_TABLE;
    weight->rows = source->matrix.rows;
    weight->cols = source->matrix.cols;
    weight->source = *source;
    *out = weight;
    return TKR_OK;
}

void tkr_cpu_weight_free(tkr_weight **weight) {
    if (!weight || !*weight) return;
    tkr_aligned_free((*weight)->block, (*weight)->block_bytes);
    tkr_free((*weight)->values);
    tkr_free(*weight);
    *weight = NULL;
}
