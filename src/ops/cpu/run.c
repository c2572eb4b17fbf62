/* SPDX-License-Identifier: Apache-2.0 */
/* ops/cpu/run: the scratch of a forward pass (tensors, worker buffers), its sticky status and yield points; the ops
 * table. */
#include "ops/cpu/cpu_ops.h"

#include <stdio.h>
#include <string.h>

tkr_status tkr_backend_cpu_create(tkr_backend **backend, const tkr_kernels *kernels, tkr_pool *pool, tkr_error *error) {
    tkr_backend *b = tkr_calloc(1, sizeof *b);
    if (!b) return TKR_FAIL(error, NO_MEMORY, "no memory for the CPU backend");
    b->kernels = kernels;
    b->pool = pool;
    *backend = b;
    return TKR_OK;
}

void tkr_backend_cpu_free(tkr_backend **backend) {
    if (!backend) return;
    tkr_free(*backend);
    *backend = NULL;
}

/* ---- run ---- */

static void free_scratch(tkr_run *run, tkr_scratch *scratch) {
    run->used_bytes -= scratch->bytes;
    tkr_aligned_free(scratch->data, scratch->bytes);
    scratch->data = NULL;
    scratch->bytes = 0;
}

static void run_free(tkr_run **out) {
    if (!out || !*out) return;
    tkr_run *run = *out;
    for (size_t i = 0; i < TKR_RUN_MAX_TENSORS; i++) tkr_aligned_free(run->tensors[i].data, run->tensors[i].bytes);
    for (size_t i = 0; i < run->n_workers; i++) {
        free_scratch(run, &run->packed[i]);
        free_scratch(run, &run->kernel[i]);
    }
    tkr_free(run->packed);
    tkr_free(run);
    *out = NULL;
}

static tkr_status run_create(tkr_run **out, tkr_backend *backend, tkr_error *error) {
    size_t workers = tkr_pool_size(backend->pool);
    tkr_run *run = tkr_calloc(1, sizeof *run);
    tkr_scratch *scratch = tkr_calloc(2 * workers, sizeof *scratch);
    if (!run || !scratch) {
        tkr_free(run);
        tkr_free(scratch);
        return TKR_FAIL(error, NO_MEMORY, "no memory for a session");
    }
    run->backend = backend;
    run->packed = scratch;
    run->kernel = scratch + workers;
    run->n_workers = workers;
    *out = run;
    return TKR_OK;
}

/* The memory stays with the slot. */
static void run_release(tkr_run *run, tkr_tensor **x) {
    (void)run;
    if (*x) (*x)->in_use = false;
    *x = NULL;
}

static void run_begin(tkr_run *run, const tkr_run_options *options) {
    run->options = *options;
    run->status = TKR_OK;
    for (size_t i = 0; i < TKR_RUN_MAX_TENSORS; i++) run->tensors[i].in_use = false;
    for (size_t i = 0; i < TKR_RUN_MAX_VIEWS; i++) run->views[i].in_use = false;
}

static tkr_status run_status(const tkr_run *run, tkr_error *error) {
    if (run->status != TKR_OK && error) *error = run->error;
    return run->status;
}

void tkr_run_fail(tkr_run *run, tkr_status status, const char *origin, const char *message) {
    if (run->status != TKR_OK) return;
    run->status = tkr_error_set(&run->error, origin, status, "%s", message);
}

bool tkr_run_proceed(tkr_run *run) {
    if (run->status != TKR_OK) return false;
    if (!run->options.check) return true;
    tkr_status status = run->options.check(run->options.check_user);
    if (status != TKR_OK)
        tkr_run_fail(run, status, TKR_HERE, status == TKR_DEADLINE ? "the deadline passed" : "cancelled");
    return status == TKR_OK;
}

/* Frees tensors and worker buffers that nobody uses, until `bytes` more fit or nothing is left to free. */
static bool make_room(tkr_run *run, size_t bytes) {
    size_t limit = run->options.max_bytes;
    for (size_t i = 0; i < TKR_RUN_MAX_TENSORS && limit && run->used_bytes + bytes > limit; i++) {
        tkr_tensor *t = &run->tensors[i];
        if (t->in_use || !t->data) continue;
        run->used_bytes -= t->bytes;
        tkr_aligned_free(t->data, t->bytes);
        t->data = NULL;
        t->bytes = 0;
    }
    return !limit || run->used_bytes + bytes <= limit;
}

static void fail_room(tkr_run *run, size_t bytes) {
    char message[160];
    snprintf(message, sizeof message, "the forward pass needs %zu bytes more than its limit of %zu; raise --max-memory",
             run->used_bytes + bytes - run->options.max_bytes, run->options.max_bytes);
    tkr_run_fail(run, TKR_LIMIT, TKR_HERE, message);
}

/* The free slot that fits best; else one without memory; else any. A much larger slot doesn't count as fitting: small
 * tensors of this pass would hold what an earlier, longer one left, and the large ones to come would not find the room
 * that they were promised. */
static tkr_tensor *pick_slot(tkr_run *run, size_t bytes) {
    tkr_tensor *fit = NULL, *empty = NULL, *any = NULL;
    const size_t most = tkr_tensor_room(bytes);
    for (size_t i = 0; i < TKR_RUN_MAX_TENSORS; i++) {
        tkr_tensor *t = &run->tensors[i];
        if (t->in_use) continue;
        if (t->bytes >= bytes && t->bytes <= most && (!fit || t->bytes < fit->bytes)) fit = t;
        if (!t->data) empty = t;
        any = t;
    }
    return fit ? fit : empty ? empty : any;
}

tkr_tensor *tkr_run_tensor(tkr_run *run, size_t rows, size_t cols) {
    size_t bytes = 0;
    if (!tkr_mul_size(&bytes, rows, cols) || !tkr_mul_size(&bytes, bytes, sizeof(float)) || bytes > SIZE_MAX / 2) {
        tkr_run_fail(run, TKR_LIMIT, TKR_HERE, "an activation is larger than the address space");
        return NULL;
    }
    bytes = tkr_align_up(bytes + 64, 64); /* a vector load may read behind the last row */
    tkr_tensor *t = pick_slot(run, bytes);
    if (!t) {
        tkr_run_fail(run, TKR_INTERNAL, TKR_HERE, "a model holds too many activations at once");
        return NULL;
    }
    if (t->bytes < bytes || t->bytes > tkr_tensor_room(bytes)) {
        run->used_bytes -= t->bytes;
        tkr_aligned_free(t->data, t->bytes);
        t->data = NULL;
        t->bytes = 0;
        if (!make_room(run, bytes)) {
            fail_room(run, bytes);
            return NULL;
        }
        t->data = tkr_aligned_alloc(bytes);
        if (!t->data) {
            tkr_run_fail(run, TKR_NO_MEMORY, TKR_HERE, "no memory for the forward pass");
            return NULL;
        }
        t->bytes = bytes;
        run->used_bytes += bytes;
    }
    t->rows = rows;
    t->cols = cols;
    t->in_use = true;
    return t;
}

tkr_tensor *tkr_run_target(tkr_run *run, tkr_tensor *into, size_t rows, size_t cols) {
    if (!into) return tkr_run_tensor(run, rows, cols);
    if (into->rows == rows && into->cols == cols) return into;
    tkr_run_fail(run, TKR_INTERNAL, TKR_HERE, "an operation's destination has another shape");
    return NULL;
}

static bool grow_scratch(tkr_run *run, tkr_scratch *scratch, size_t bytes) {
    if (scratch->bytes >= bytes) return true;
    bytes = tkr_align_up(bytes, 64);
    free_scratch(run, scratch);
    if (!make_room(run, bytes)) {
        fail_room(run, bytes);
        return false;
    }
    scratch->data = tkr_aligned_alloc(bytes);
    if (!scratch->data) {
        tkr_run_fail(run, TKR_NO_MEMORY, TKR_HERE, "no memory for the forward pass");
        return false;
    }
    scratch->bytes = bytes;
    run->used_bytes += bytes;
    return true;
}

bool tkr_run_scratch(tkr_run *run, size_t workers, size_t packed_bytes, size_t kernel_bytes) {
    for (size_t i = 0; i < workers; i++)
        if (!grow_scratch(run, &run->packed[i], packed_bytes) || !grow_scratch(run, &run->kernel[i], kernel_bytes))
            return false;
    return true;
}

size_t tkr_run_workers(const tkr_run *run) { return run->options.pool ? tkr_pool_size(run->options.pool) : 1; }

typedef struct parallel_job {
    const tkr_kernels *kernels;
    tkr_pool_part_fn fn;
    void *arg;
} parallel_job;

static void parallel_entry(void *arg, unsigned worker, size_t part, size_t n_parts) {
    parallel_job *job = arg;
    tkr_kernels_thread_enter(job->kernels);
    job->fn(job->arg, worker, part, n_parts);
}

void tkr_run_parallel(tkr_run *run, size_t n_parts, tkr_pool_part_fn fn, void *arg) {
    parallel_job job = {.kernels = run->backend->kernels, .fn = fn, .arg = arg};
    if (n_parts == 1 || !run->options.pool) {
        parallel_entry(&job, 0, 0, 1);
        return;
    }
    if (tkr_pool_share(run->options.pool, parallel_entry, &job, n_parts) != TKR_OK)
        tkr_run_fail(run, TKR_INTERNAL, TKR_HERE, "worker threads are not available");
}

/* ---- table ---- */

static tkr_status run_read(tkr_run *run, float *out, const tkr_tensor *x) {
    if (run->status == TKR_OK && x) memcpy(out, x->data, x->rows * x->cols * sizeof(float));
    return run->status;
}

static tkr_tensor *run_empty(tkr_run *run, size_t rows, size_t cols) {
    return run->status == TKR_OK ? tkr_run_tensor(run, rows, cols) : NULL;
}

static tkr_tensor *make_view(tkr_run *run, float *data, size_t rows, size_t cols) {
    for (size_t i = 0; i < TKR_RUN_MAX_VIEWS; i++) {
        tkr_tensor *t = &run->views[i];
        if (t->in_use) continue;
        *t = (tkr_tensor){.rows = rows, .cols = cols, .data = data, .in_use = true};
        return t;
    }
    tkr_run_fail(run, TKR_INTERNAL, TKR_HERE, "a model holds too many views at once");
    return NULL;
}

static tkr_tensor *run_view(tkr_run *run, tkr_tensor *x, size_t first, size_t n) {
    if (run->status != TKR_OK) return NULL;
    if (first <= x->rows && n <= x->rows - first) return make_view(run, x->data + first * x->cols, n, x->cols);
    tkr_run_fail(run, TKR_INTERNAL, TKR_HERE, "a view beyond the rows of its tensor");
    return NULL;
}

static tkr_tensor *run_reshape(tkr_run *run, tkr_tensor *x, size_t cols) {
    if (run->status != TKR_OK) return NULL;
    if (cols != 0 && x->rows * x->cols % cols == 0) return make_view(run, x->data, x->rows * x->cols / cols, cols);
    tkr_run_fail(run, TKR_INTERNAL, TKR_HERE, "a tensor can't be reshaped to rows of that width");
    return NULL;
}

/* Rows that one pass through a layer takes: enough for every panel of weights to be read from memory seldom. */
#define CHUNK_ROWS 1024
static size_t chunk_rows(const tkr_run *run) { return run->options.chunk_rows ? run->options.chunk_rows : CHUNK_ROWS; }

static void run_fail(tkr_run *run, tkr_status status, const char *message) {
    tkr_run_fail(run, status, TKR_HERE, message);
}

static size_t tensor_rows(const tkr_tensor *x) { return x ? x->rows : 0; }
static size_t tensor_cols(const tkr_tensor *x) { return x ? x->cols : 0; }

static void gemm_scratch(size_t *packed, size_t *kernel, const tkr_gemm *gemm, size_t n_tokens, size_t max_cols) {
    size_t k = tkr_cpu_k_padded(gemm, max_cols), block = tkr_cpu_row_block(gemm, k);
    size_t rows = n_tokens < block ? n_tokens + gemm->mr : block;
    /* A gated layer's slices have a stride and scales each, and a tile beside them. */
    size_t bytes =
        rows * (tkr_cpu_row_stride(gemm, k) + k / 2 + sizeof(tkr_row_quant) + gemm->nr * sizeof(float)) + 4096;
    size_t own = gemm->scratch_bytes ? gemm->scratch_bytes(k) : 0;
    *packed = bytes > *packed ? bytes : *packed;
    *kernel = own > *kernel ? own : *kernel;
}

static size_t scratch_bytes(const tkr_backend *backend, size_t n_tokens, size_t max_seqlen, size_t max_cols,
                            size_t head_dim) {
    const tkr_kernels *kernels = backend->kernels;
    size_t packed = 0, kernel = 0, padded = tkr_align_up(head_dim, 4);
    /* What attention.c needs beside the kernel: copies of padded heads, a relative bias. */
    size_t copies = (2 * max_seqlen + (padded == head_dim ? 0 : 4 * max_seqlen * padded)) * sizeof(float);
    gemm_scratch(&packed, &kernel, kernels->q8_fine, n_tokens, max_cols);
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
        size_t attention = kernels->attention[mode]->scratch_bytes(max_seqlen, padded);
        gemm_scratch(&packed, &kernel, kernels->gemm[mode], n_tokens, max_cols);
        kernel = attention > kernel ? attention : kernel;
    }
    return (copies > packed ? copies : packed) + kernel + 256;
}

static const char *kernel_name(const tkr_backend *backend, tkr_gemm_mode mode, bool attention) {
    return attention ? backend->kernels->attention[mode]->name : backend->kernels->gemm[mode]->name;
}

const tkr_ops tkr_ops_cpu = {
    .name = "cpu",
    .linear = tkr_cpu_linear,
    .vector = tkr_cpu_vector,
    .table = tkr_cpu_table,
    .weight_free = tkr_cpu_weight_free,
    .linear_bytes = tkr_cpu_linear_bytes,
    .linear_packed = tkr_cpu_linear_packed,
    .linear_from_packed = tkr_cpu_linear_from_packed,
    .run_create = run_create,
    .run_free = run_free,
    .run_begin = run_begin,
    .run_status = run_status,
    .embed = tkr_cpu_embed,
    .apply = tkr_cpu_apply,
    .layer_norm = tkr_cpu_layer_norm,
    .rms_norm = tkr_cpu_rms_norm,
    .input = tkr_cpu_input,
    .gather = tkr_cpu_gather,
    .scatter = tkr_cpu_scatter,
    .reshape = run_reshape,
    .add = tkr_cpu_add,
    .angles = tkr_cpu_angles,
    .rotate = tkr_cpu_rotate,
    .attention = tkr_cpu_attention,
    .empty = run_empty,
    .view = run_view,
    .chunk_rows = chunk_rows,
    .fail = run_fail,
    .pool = tkr_cpu_pool,
    .normalize = tkr_cpu_normalize,
    .read = run_read,
    .release = run_release,
    .cols = tensor_cols,
    .rows = tensor_rows,
    .scratch_bytes = scratch_bytes,
    .kernel_name = kernel_name,
};
