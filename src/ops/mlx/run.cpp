/* SPDX-License-Identifier: Apache-2.0 */
/* ops/mlx/run: the state of a forward pass: sticky status, tensors as column blocks of MLX arrays, views that write
 * through, and the points where the graph is evaluated; the table of operations. */
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

#include "ops/mlx/mlx_ops.hpp"

extern "C" {
#include "core/mem.h"
}

namespace tkr {

/* ---- errors ---- */

namespace {

/* MLX reports every failure as a std::runtime_error; that of memory can be told by its words only. */
bool says_no_memory(const char *text) {
    static const char *const words[] = {
        "[malloc]",          "[metal::malloc]", "malloc_async",        "Unable to allocate",
        "nable to allocate", "out of memory",   "Insufficient Memory", "maximum allowed"};
    return std::any_of(std::begin(words), std::end(words),
                       [text](const char *word) { return std::strstr(text, word); });
}

} // namespace

tkr_status describe_exception(tkr_error *error, const char *what) noexcept {
    try {
        throw;
    } catch (const failure &f) {
        return tkr_error_set(error, TKR_HERE, f.status, "%s", f.message.c_str());
    } catch (const std::bad_alloc &) {
        return TKR_FAIL(error, NO_MEMORY, "%s: out of memory", what);
    } catch (const std::exception &e) {
        if (says_no_memory(e.what())) return TKR_FAIL(error, NO_MEMORY, "%s: out of memory: %s", what, e.what());
        return TKR_FAIL(error, INTERNAL, "%s: MLX says: %s", what, e.what());
    } catch (...) {
        return TKR_FAIL(error, INTERNAL, "%s: MLX failed without a reason", what);
    }
}

void fail(tkr_run *run, tkr_status status, const char *message) noexcept {
    if (run->status != TKR_OK) return;
    run->status = tkr_error_set(&run->error, TKR_HERE, status, "%s", message);
}

void fail_by_exception(tkr_run *run) noexcept {
    tkr_error error;
    const tkr_status status = describe_exception(&error, "the forward pass");
    if (run->status != TKR_OK) return;
    run->status = status;
    run->error = error;
}

/* MLX's CPU device does not look at what malloc returns (0.32). */
void reserve(const tkr_backend *backend, size_t bytes) {
    if (backend->gpu) return;
    void *block = tkr_malloc(bytes);
    tkr_free(block);
    if (!block) throw failure{TKR_NO_MEMORY, "no memory on MLX's CPU device: " + std::to_string(bytes) + " bytes"};
}

void require(bool holds, const char *message) {
    if (!holds) throw failure{TKR_INTERNAL, message};
}

bool proceed(tkr_run *run) noexcept {
    if (run->status != TKR_OK) return false;
    if (!run->options.check) return true;
    const tkr_status status = run->options.check(run->options.check_user);
    if (status != TKR_OK) fail(run, status, status == TKR_DEADLINE ? "the deadline passed" : "cancelled");
    return status == TKR_OK;
}

/* ---- tensors ---- */

namespace {

tkr_tensor *new_slot(tkr_run *run) {
    for (tkr_tensor &t : run->tensors)
        if (!t.in_use) return &(t = tkr_tensor{});
    return &run->tensors.emplace_back();
}

tkr_tensor *new_view(tkr_run *run, tkr_tensor *x, size_t rows, size_t cols) {
    tkr_tensor *t = new_slot(run);
    t->rows = rows;
    t->cols = cols;
    t->parent = x;
    t->in_use = true;
    return t;
}

mx::array joined(const tkr_run *run, const arrays &blocks) {
    if (blocks.size() == 1) return blocks[0];
    mx::Dtype dtype = blocks[0].dtype();
    for (const mx::array &block : blocks) dtype = mx::promote_types(dtype, block.dtype());
    arrays same;
    for (const mx::array &block : blocks) same.push_back(mx::astype(block, dtype, run->backend->stream));
    return mx::concatenate(std::move(same), 1, run->backend->stream);
}

mx::array columns_of(const tkr_run *run, const mx::array &x, size_t column, size_t n) {
    if (column == 0 && n == static_cast<size_t>(x.shape(1))) return x;
    return mx::slice(x, {0, dim(column)}, {x.shape(0), dim(column + n)}, run->backend->stream);
}

mx::array reshaped_to(const tkr_run *run, const mx::array &x, const tkr_tensor *shape) {
    return mx::reshape(x, {dim(shape->rows), dim(shape->cols)}, run->backend->stream);
}

/* The blocks with `part` in the place of the columns from `column` on. */
arrays spliced(const tkr_run *run, const tkr_tensor *x, size_t column, const mx::array &part) {
    const size_t end = column + static_cast<size_t>(part.shape(1));
    arrays out;
    if (column > 0) out.push_back(columns(run, x, 0, column));
    out.push_back(part);
    if (end < x->cols) out.push_back(columns(run, x, end, x->cols - end));
    return out;
}

void assign(tkr_run *run, tkr_tensor *x, arrays blocks);

/* Writes `part` from (row, column) on. */
void write_part(tkr_run *run, tkr_tensor *x, size_t row, size_t column, const mx::array &part) {
    const mx::Stream &s = run->backend->stream;
    const size_t n = static_cast<size_t>(part.shape(0));
    if (x->parent && !x->reshaped) {
        write_part(run, x->parent, x->first + row, column, part);
    } else if (n == x->rows) {
        assign(run, x, spliced(run, x, column, part));
    } else {
        const mx::array old = columns(run, x, 0, x->cols);
        const mx::Dtype dtype =
            !x->parent && x->blocks.empty() ? part.dtype() : mx::promote_types(old.dtype(), part.dtype());
        const mx::Shape begin = {dim(row), dim(column)}, end = {dim(row + n), dim(column) + part.shape(1)};
        assign(run, x, {mx::slice_update(mx::astype(old, dtype, s), mx::astype(part, dtype, s), begin, end, s)});
    }
}

void assign(tkr_run *run, tkr_tensor *x, arrays blocks) {
    if (!x->parent)
        x->blocks = std::move(blocks);
    else if (x->reshaped)
        assign(run, x->parent, {reshaped_to(run, joined(run, blocks), x->parent)});
    else if (x->rows == x->parent->rows)
        assign(run, x->parent, std::move(blocks));
    else
        write_part(run, x->parent, x->first, 0, joined(run, blocks));
}

} // namespace

mx::array rows_of(const tkr_run *run, const mx::array &x, size_t first, size_t n) {
    if (first == 0 && n == static_cast<size_t>(x.shape(0))) return x;
    return mx::slice(x, {dim(first), 0}, {dim(first + n), x.shape(1)}, run->backend->stream);
}

mx::array columns(const tkr_run *run, const tkr_tensor *x, size_t column, size_t n) {
    if (x->parent && x->reshaped)
        return columns_of(run, reshaped_to(run, columns(run, x->parent, 0, x->parent->cols), x), column, n);
    if (x->parent) return rows_of(run, columns(run, x->parent, column, n), x->first, x->rows);
    if (x->blocks.empty()) return mx::zeros({dim(x->rows), dim(n)}, mx::float32, run->backend->stream);
    arrays found;
    size_t at = 0;
    for (const mx::array &block : x->blocks) {
        const size_t width = static_cast<size_t>(block.shape(1));
        const size_t begin = std::max(at, column), end = std::min(at + width, column + n);
        if (begin < end) found.push_back(columns_of(run, block, begin - at, end - begin));
        at += width;
    }
    require(!found.empty(), "columns beyond a tensor");
    return joined(run, found);
}

mx::array value(const tkr_run *run, const tkr_tensor *x, mx::Dtype dtype) {
    return mx::astype(columns(run, x, 0, x->cols), dtype, run->backend->stream);
}

void replace_columns(tkr_run *run, tkr_tensor *x, size_t column, const mx::array &block) {
    write_part(run, x, 0, column, block);
}

tkr_tensor *new_tensor(tkr_run *run, size_t rows, size_t cols, arrays blocks) {
    const size_t bytes = rows * cols * sizeof(float), limit = run->options.max_bytes;
    if (limit && run->used_bytes + bytes > limit) {
        char message[160];
        std::snprintf(message, sizeof message,
                      "the forward pass needs %zu bytes more than its limit of %zu; raise --max-memory",
                      run->used_bytes + bytes - limit, limit);
        throw failure{TKR_LIMIT, message};
    }
    tkr_tensor *t = new_slot(run);
    t->rows = rows;
    t->cols = cols;
    t->blocks = std::move(blocks);
    t->in_use = true;
    run->used_bytes += bytes;
    note_bytes(run, bytes);
    return t;
}

tkr_tensor *result(tkr_run *run, tkr_tensor *into, size_t rows, size_t cols, arrays blocks) {
    if (!into) return new_tensor(run, rows, cols, std::move(blocks));
    require(into->rows == rows && into->cols == cols, "an operation's destination has another shape");
    assign(run, into, std::move(blocks));
    return into;
}

mx::array index_array(const std::vector<int32_t> &indices) {
    return mx::array(indices.begin(), {dim(indices.size())}, mx::int32);
}

/* ---- evaluation ---- */

namespace {

/* About a quarter of a second of work: so late does a deadline or a cancellation take effect, and so much of a graph is
 * held at once. */
constexpr double yield_work_cpu = 2.5e8, yield_work_gpu = 1e12;

void evaluate(tkr_run *run, arrays outputs) {
    /* About what the graph needs at its peak: tensors in use, and an operation's largest array with a copy of it. */
    reserve(run->backend, run->used_bytes + 2 * run->largest);
    run->pending = 0;
    run->largest = 0;
    mx::eval(std::move(outputs));
}

void evaluate_all(tkr_run *run) {
    arrays live;
    for (const tkr_tensor &t : run->tensors)
        if (t.in_use) live.insert(live.end(), t.blocks.begin(), t.blocks.end());
    evaluate(run, std::move(live));
}

} // namespace

void note_bytes(tkr_run *run, size_t bytes) { run->largest = std::max(run->largest, bytes); }

void account(tkr_run *run, double work) {
    run->pending += work;
    if (run->pending > (run->backend->gpu ? yield_work_gpu : yield_work_cpu)) evaluate_all(run);
}

fused fuse(const tkr_backend *backend, fused chain) {
    return backend->gpu ? mx::compile(std::move(chain), true) : chain;
}

/* ---- table ---- */

namespace {

tkr_status run_create(tkr_run **out, tkr_backend *backend, tkr_error *error) noexcept {
    try {
        auto run = std::make_unique<tkr_run>();
        run->backend = backend;
        *out = run.release();
        return TKR_OK;
    } catch (...) {
        return describe_exception(error, "a session");
    }
}

void drop_tensors(tkr_run *run) noexcept {
    const std::lock_guard<std::mutex> lock(run->backend->mutex);
    for (tkr_tensor &t : run->tensors) t = tkr_tensor{}; /* the slots stay: a handle may be released once more */
    run->plans.clear();
    run->used_bytes = 0;
    run->largest = 0;
    run->pending = 0;
}

void run_free(tkr_run **run) noexcept {
    if (!run || !*run) return;
    drop_tensors(*run);
    delete *run;
    *run = nullptr;
}

void run_begin(tkr_run *run, const tkr_run_options *options) noexcept {
    run->options = *options;
    run->status = TKR_OK;
    drop_tensors(run);
}

tkr_status run_status(const tkr_run *run, tkr_error *error) noexcept {
    if (run->status != TKR_OK && error) *error = run->error;
    return run->status;
}

tkr_tensor *empty(tkr_run *run, size_t rows, size_t cols) noexcept {
    return operation(run, [&] { return new_tensor(run, rows, cols, {}); });
}

tkr_tensor *view(tkr_run *run, tkr_tensor *x, size_t first, size_t n) noexcept {
    return operation(run, [&] {
        require(first <= x->rows && n <= x->rows - first, "a view beyond the rows of its tensor");
        tkr_tensor *t = new_view(run, x, n, x->cols);
        t->first = first;
        return t;
    });
}

tkr_tensor *reshape(tkr_run *run, tkr_tensor *x, size_t cols) noexcept {
    return operation(run, [&] {
        require(cols > 0 && x->rows * x->cols % cols == 0, "rows of a width that doesn't divide the tensor");
        tkr_tensor *t = new_view(run, x, x->rows * x->cols / cols, cols);
        t->reshaped = true;
        return t;
    });
}

/* Splitting a batch's rows saves memory on a CPU's caches; here it would only cut products into smaller ones. The bound
 * is for batches whose intermediate tensors would not fit otherwise. */
size_t chunk_rows(const tkr_run *run) noexcept {
    constexpr size_t most = 16384;
    return run->options.chunk_rows ? run->options.chunk_rows : most;
}

void run_fail(tkr_run *run, tkr_status status, const char *message) noexcept { fail(run, status, message); }

tkr_status read_values(tkr_run *run, float *out, const tkr_tensor *x) noexcept {
    if (run->status != TKR_OK || !x) return run->status;
    try {
        const std::lock_guard<std::mutex> lock(run->backend->mutex);
        mx::array values = mx::contiguous(value(run, x, mx::float32), false, run->backend->stream);
        evaluate(run, {values});
        std::memcpy(out, values.data<float>(), x->rows * x->cols * sizeof(float));
    } catch (...) {
        fail_by_exception(run);
    }
    return run->status;
}

void release(tkr_run *run, tkr_tensor **x) noexcept {
    if (!*x) return;
    tkr_tensor *t = *x;
    *x = nullptr;
    if (!t->in_use) return;
    const std::lock_guard<std::mutex> lock(run->backend->mutex);
    if (!t->parent) run->used_bytes -= t->rows * t->cols * sizeof(float);
    *t = tkr_tensor{};
}

size_t tensor_rows(const tkr_tensor *x) noexcept { return x ? x->rows : 0; }
size_t tensor_cols(const tkr_tensor *x) noexcept { return x ? x->cols : 0; }

/* Beside tensors: padded copies of queries, keys, values and outputs, and the attention's scores before and after their
 * softmax. */
size_t scratch_bytes(const tkr_backend *backend, size_t n_tokens, size_t max_seqlen, size_t max_cols,
                     size_t head_dim) noexcept {
    const size_t scores = (max_cols / (head_dim ? head_dim : 1) + 1) * n_tokens * max_seqlen;
    return (4 * n_tokens * max_cols + 2 * std::min(scores, most_scores(backend))) * sizeof(float);
}

const char *kernel_name(const tkr_backend *, tkr_gemm_mode mode, bool is_attention) noexcept {
    static const char *const names[TKR_GEMM_MODES] = {"f32/mlx", "bf16/mlx", "q8/mlx", "q4/mlx"};
    return is_attention && mode != TKR_GEMM_F32 ? names[TKR_GEMM_BF16] : names[mode];
}

const void *linear_packed(size_t *bytes, const tkr_weight *) noexcept {
    *bytes = 0;
    return nullptr;
}

tkr_status linear_from_packed(tkr_weight **, tkr_backend *, const tkr_linear_shape *, const void *, size_t,
                              tkr_error *error) noexcept {
    return TKR_FAIL(error, FORMAT, "MLX keeps weights as the checkpoint has them: it has no packed layers");
}

} // namespace

const tkr_ops ops_mlx = {
    .name = "mlx",
    .linear = linear,
    .vector = vector,
    .table = table,
    .weight_free = weight_free,
    .linear_bytes = linear_bytes,
    .linear_packed = linear_packed,
    .linear_from_packed = linear_from_packed,
    .run_create = run_create,
    .run_free = run_free,
    .run_begin = run_begin,
    .run_status = run_status,
    .embed = embed,
    .apply = apply,
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .input = input,
    .gather = gather,
    .scatter = scatter,
    .reshape = reshape,
    .add = add,
    .angles = angles,
    .rotate = rotate,
    .attention = attention,
    .empty = empty,
    .view = view,
    .chunk_rows = chunk_rows,
    .fail = run_fail,
    .pool = pool,
    .normalize = normalize,
    .read = read_values,
    .release = release,
    .cols = tensor_cols,
    .rows = tensor_rows,
    .scratch_bytes = scratch_bytes,
    .kernel_name = kernel_name,
};

} // namespace tkr
