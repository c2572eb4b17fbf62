/* SPDX-License-Identifier: Apache-2.0 */
/* ops/cpu/weights: packs linear layers to the kernel's panels, widens vectors, borrows tables. Refuses non-finite
 * weights. */
#include <stdatomic.h>
#include <string.h>

#include "ops/cpu/cpu_ops.h"

size_t tkr_cpu_k_padded(const tkr_gemm *gemm, size_t k) {
    return (k + gemm->k_align - 1) / gemm->k_align * gemm->k_align;
}

/* Longest row with one scale. On the real all-MiniLM-L6-v2 the int8 weights of the 1536-wide rows with one scale each
 * cost more accuracy than everything else together; slices also give the activations scales of their own. */
#define SLICE_K 384

typedef struct linear_layout {
    size_t n_slices, slice_k, k_padded, n_panels, panel_bytes, columns;
    size_t bias_at, scale_at, sums_at, total;
} linear_layout;

static void layout_of(linear_layout *layout, const tkr_gemm *gemm, size_t rows, size_t cols, bool bias) {
    layout->n_slices = gemm->integer ? (cols + SLICE_K - 1) / SLICE_K : 1;
    layout->slice_k = tkr_align_up((cols + layout->n_slices - 1) / layout->n_slices, 4);
    layout->slice_k = layout->n_slices == 1 ? cols : layout->slice_k;
    layout->k_padded = tkr_cpu_k_padded(gemm, layout->slice_k);
    layout->n_panels = (rows + gemm->nr - 1) / gemm->nr;
    layout->panel_bytes = tkr_align_up((size_t)gemm->nr * layout->k_padded * gemm->weight_bits / 8, 64);
    layout->columns = layout->n_panels * gemm->nr;
    size_t column_bytes = tkr_align_up(layout->columns * sizeof(float), 64);
    size_t scale_bytes = gemm->integer ? tkr_align_up(layout->n_slices * layout->columns * sizeof(float), 64) : 0;
    layout->bias_at = layout->n_slices * layout->n_panels * layout->panel_bytes;
    layout->scale_at = layout->bias_at + (bias ? column_bytes : 0);
    layout->sums_at = layout->scale_at + scale_bytes;
    layout->total = layout->sums_at + scale_bytes;
}

static const tkr_gemm *gemm_of(const tkr_backend *backend, tkr_gemm_mode mode, bool fine) {
    return fine && mode == TKR_GEMM_Q8 ? backend->kernels->q8_fine : backend->kernels->gemm[mode];
}

size_t tkr_cpu_linear_bytes(const tkr_backend *backend, size_t rows, size_t cols, tkr_gemm_mode mode, bool fine) {
    linear_layout layout;
    layout_of(&layout, gemm_of(backend, mode, fine), rows, cols, true);
    return layout.total;
}

typedef struct pack_job {
    tkr_weight *weight;
    const tkr_source *parts;
    char *scratch; /* [workers] nr * cols floats */
    size_t scratch_bytes;
    atomic_size_t next;
    atomic_size_t bad_part; /* 1 + index of a part with a non-finite value, 0: none */
} pack_job;

/* Copies rows [first, first + n) of the stacked parts to out as f32; returns false when one isn't finite. */
static bool gather_rows(pack_job *job, float *out, size_t first, size_t n) {
    size_t part = 0, base = 0, cols = job->weight->cols;
    for (size_t i = 0; i < n; i++) {
        size_t row = first + i;
        while (row - base >= job->parts[part].rows) base += job->parts[part++].rows;
        const tkr_source *source = &job->parts[part];
        const char *data = (const char *)source->data + (row - base) * cols * tkr_dtype_size(source->dtype);
        tkr_widen(out + i * cols, data, source->dtype, cols);
        if (!tkr_all_finite(out + i * cols, cols)) {
            atomic_store(&job->bad_part, part + 1);
            return false;
        }
    }
    return true;
}

static void pack_panels(void *arg, unsigned worker, unsigned n_workers) {
    (void)n_workers;
    pack_job *job = arg;
    tkr_weight *w = job->weight;
    const tkr_gemm *gemm = w->gemm;
    float *rows = (float *)(void *)(job->scratch + worker * job->scratch_bytes);
    for (;;) {
        size_t panel = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (panel >= w->n_panels || atomic_load_explicit(&job->bad_part, memory_order_relaxed) != 0) return;
        size_t first = panel * gemm->nr;
        size_t n = w->rows - first < gemm->nr ? w->rows - first : gemm->nr;
        if (!gather_rows(job, rows, first, n)) return;
        for (size_t s = 0; s < w->n_slices; s++) {
            size_t k = s * w->slice_k, left = w->cols - k, at = s * w->n_panels * gemm->nr + first;
            gemm->pack_panel(w->panels + (s * w->n_panels + panel) * w->panel_bytes, w->scale ? w->scale + at : NULL,
                             w->sums ? w->sums + at : NULL, rows + k, w->cols, n, left < w->slice_k ? left : w->slice_k,
                             w->k_padded);
        }
    }
}

static tkr_status fill_bias(tkr_weight *weight, const tkr_source *parts, const tkr_source *const *biases,
                            size_t n_parts, tkr_error *error) {
    memset(weight->bias, 0, weight->n_panels * weight->gemm->nr * sizeof(float));
    size_t at = 0;
    for (size_t i = 0; i < n_parts; i++) {
        if (biases[i]) {
            tkr_widen(weight->bias + at, biases[i]->data, biases[i]->dtype, parts[i].rows);
            if (!tkr_all_finite(weight->bias + at, parts[i].rows))
                return TKR_FAIL(error, NUMERIC, "tensor \"%s\" holds NaN or infinity; the checkpoint is damaged",
                                biases[i]->name);
        }
        at += parts[i].rows;
    }
    return TKR_OK;
}

static tkr_status run_pack(tkr_backend *backend, tkr_weight *weight, const tkr_source *parts, tkr_error *error) {
    pack_job job = {.weight = weight, .parts = parts};
    job.scratch_bytes = tkr_align_up((size_t)weight->gemm->nr * weight->cols * sizeof(float), 64);
    size_t workers = tkr_pool_size(backend->pool), total = 0;
    if (!tkr_mul_size(&total, job.scratch_bytes, workers) || !(job.scratch = tkr_aligned_alloc(total)))
        return TKR_FAIL(error, NO_MEMORY, "no memory to pack tensor \"%s\"", parts[0].name);
    tkr_status status = tkr_pool_run(backend->pool, pack_panels, &job);
    tkr_aligned_free(job.scratch, total);
    size_t bad = atomic_load(&job.bad_part);
    if (bad)
        return TKR_FAIL(error, NUMERIC, "tensor \"%s\" holds NaN or infinity; the checkpoint is damaged",
                        parts[bad - 1].name);
    if (status != TKR_OK)
        return TKR_FAIL(error, INTERNAL, "packing tensor \"%s\": worker threads are not available", parts[0].name);
    return TKR_OK;
}

tkr_status tkr_cpu_linear(tkr_weight **out, tkr_backend *backend, const tkr_linear_spec *spec, tkr_error *error) {
    const tkr_source *parts = spec->parts;
    size_t n_parts = spec->n_parts;
    tkr_status status = TKR_OK;
    tkr_weight *weight = tkr_calloc(1, sizeof *weight);
    if (!weight) return TKR_FAIL(error, NO_MEMORY, "no memory for tensor \"%s\"", parts[0].name);
    weight->kind = TKR_WEIGHT_LINEAR;
    weight->cols = parts[0].cols;
    for (size_t i = 0; i < n_parts; i++) weight->rows += parts[i].rows;
    weight->gemm = gemm_of(backend, spec->mode, spec->fine);
    linear_layout layout;
    layout_of(&layout, weight->gemm, weight->rows, weight->cols, spec->biases != NULL);
    weight->n_slices = layout.n_slices;
    weight->slice_k = layout.slice_k;
    weight->k_padded = layout.k_padded;
    weight->n_panels = layout.n_panels;
    weight->panel_bytes = layout.panel_bytes;
    weight->block_bytes = layout.total;
    weight->block = tkr_aligned_alloc(layout.total);
    if (!weight->block) {
        status = TKR_FAIL(error, NO_MEMORY, "no memory for tensor \"%s\": %zu bytes", parts[0].name, layout.total);
        goto fail;
    }
    weight->panels = weight->block;
    if (weight->gemm->integer) {
        weight->scale = (float *)(void *)(weight->panels + layout.scale_at);
        weight->sums = (int32_t *)(void *)(weight->panels + layout.sums_at);
    }
    if (spec->biases) {
        weight->bias = (float *)(void *)(weight->panels + layout.bias_at);
        if ((status = fill_bias(weight, parts, spec->biases, n_parts, error)) != TKR_OK) goto fail;
    }
    if ((status = run_pack(backend, weight, parts, error)) != TKR_OK) goto fail;
    *out = weight;
    return TKR_OK;
fail:
    tkr_cpu_weight_free(&weight);
    return status;
}

tkr_status tkr_cpu_vector(tkr_weight **out, tkr_backend *backend, const tkr_source *source, tkr_error *error) {
    (void)backend;
    tkr_weight *weight = tkr_calloc(1, sizeof *weight);
    if (weight) weight->values = tkr_calloc(source->cols, sizeof(float));
    if (!weight || !weight->values) {
        tkr_free(weight);
        return TKR_FAIL(error, NO_MEMORY, "no memory for tensor \"%s\"", source->name);
    }
    weight->kind = TKR_WEIGHT_VECTOR;
    weight->rows = 1;
    weight->cols = source->cols;
    tkr_widen(weight->values, source->data, source->dtype, source->cols);
    if (!tkr_all_finite(weight->values, source->cols)) {
        tkr_cpu_weight_free(&weight);
        return TKR_FAIL(error, NUMERIC, "tensor \"%s\" holds NaN or infinity; the checkpoint is damaged", source->name);
    }
    *out = weight;
    return TKR_OK;
}

tkr_status tkr_cpu_table(tkr_weight **out, tkr_backend *backend, const tkr_source *source, tkr_error *error) {
    (void)backend;
    tkr_weight *weight = tkr_calloc(1, sizeof *weight);
    if (!weight) return TKR_FAIL(error, NO_MEMORY, "no memory for tensor \"%s\"", source->name);
    weight->kind = TKR_WEIGHT_TABLE;
    weight->rows = source->rows;
    weight->cols = source->cols;
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
