/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops/mlx: private types of the MLX backend, the only C++ of the project: a thin shim from the operations of ops/ops.h
 * to mlx::core. Operations build a graph that `read` evaluates; nothing that MLX throws leaves an entry point.
 *
 * Every call of MLX names the backend's stream: MLX's own default is one per thread, and models are loaded in one
 * thread and run in others. The backend's mutex makes up for streams that don't lock.
 */
#ifndef TKR_OPS_MLX_MLX_OPS_HPP
#define TKR_OPS_MLX_MLX_OPS_HPP

#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <mlx/mlx.h>

#include "ops/mlx/attention_plan.hpp"

extern "C" {
#include "core/error.h"
#include "ops/mlx/module.h"
}

namespace tkr {

namespace mx = mlx::core;
using arrays = std::vector<mx::array>;
/* A chain of elementwise operations, fused to one kernel where MLX compiles. */
using fused = std::function<arrays(const arrays &)>;

/* An operation's own failure, as opposed to what MLX throws. */
struct failure {
    tkr_status status;
    std::string message;
};

/* How a part of a linear layer is kept. */
struct part_format {
    bool dense = true, packed = false; /* packed: the checkpoint's own codes; neither: quantised here */
    int group = 0, bits = 0;           /* not dense */
    const char *mode = "";             /* as mlx::core::quantize names it */
    mx::Dtype dtype = mx::float32;     /* of dense weights, of affine scales and biases, and of the product's inputs */
    bool operator==(const part_format &) const = default;
};

/* Part of a linear layer: matrices of one format, stacked. */
struct piece {
    size_t rows;
    part_format format;
    mx::array weight;                                  /* dense: [rows, cols]; else words of codes */
    std::optional<mx::array> scales = {}, biases = {}; /* [rows, cols / group]; biases: affine only */
};

enum class weight_kind { linear, vector, table };

/* What a chain of elementwise operations does behind a product. */
struct chain_kind {
    tkr_activation activation = TKR_ACT_NONE;
    bool gated = false, bias = false, residual = false, half = false; /* half: gives bf16 */
    bool operator==(const chain_kind &) const = default;
};

} // namespace tkr

struct tkr_backend {
    tkr::mx::Stream stream;
    bool gpu;
    uint64_t limit; /* bytes */
    mutable std::mutex mutex = {};
    mutable std::vector<std::pair<tkr::part_format, bool>> tried = {}; /* whether MLX multiplies by a format here */
    std::vector<std::pair<tkr::chain_kind, tkr::fused>> chains = {};   /* made so far */
    tkr::fused rotation = {};
};

struct tkr_weight {
    tkr::weight_kind kind;
    tkr_backend *backend;
    size_t rows = 0, cols = 0; /* linear: n rows of the matrix, k inputs; vector: 1, n; table: vocabulary, width */
    /* linear */
    size_t outputs = 0; /* columns that applying gives */
    bool gated = false;
    bool half = false; /* gives bf16 */
    std::vector<tkr::piece> pieces;
    std::optional<tkr::mx::array> values; /* linear: bias [rows] or none; vector: [cols]; f32 */
    /* table */
    tkr_source source = {};
};

/* Columns side by side, each [rows, n], f32 or bf16: what the layers of a stack give and what rotation replaces without
 * copying the rest. A view has none; it reads and writes its parent. */
struct tkr_tensor {
    size_t rows = 0, cols = 0;
    tkr::arrays blocks;
    tkr_tensor *parent = nullptr;
    size_t first = 0;      /* row of the parent */
    bool reshaped = false; /* the parent's values in rows of another width */
    bool in_use = false;
};

struct tkr_run {
    tkr_backend *backend = nullptr;
    tkr_run_options options = {};
    tkr_status status = TKR_OK;
    tkr_error error = {};
    std::list<tkr_tensor> tensors;
    std::list<tkr::attention_plan> plans = {}; /* of this pass */
    size_t used_bytes = 0;                     /* of tensors in use, as f32 */
    size_t largest = 0;                        /* bytes of the largest array since the last evaluation */
    double pending = 0;                        /* multiply-accumulates not evaluated yet */
};

namespace tkr {

/* false after a failure or when the yield point says stop. Asked without the lock: the check may wait. */
bool proceed(tkr_run *run) noexcept;
void fail(tkr_run *run, tkr_status status, const char *message) noexcept;
/* Turns the exception at hand into a status and a line. For catch blocks. */
tkr_status describe_exception(tkr_error *error, const char *what) noexcept;
void fail_by_exception(tkr_run *run) noexcept;

/* Runs `body` under the lock after the yield point; what it throws becomes the sticky status. */
template <typename F> tkr_tensor *operation(tkr_run *run, F &&body) noexcept {
    if (!proceed(run)) return nullptr;
    try {
        const std::lock_guard<std::mutex> lock(run->backend->mutex);
        return body();
    } catch (...) {
        fail_by_exception(run);
        return nullptr;
    }
}

inline mx::ShapeElem dim(size_t n) { return mx::safe_cast(n, "tkr"); }
/* Throws a failure with TKR_NO_MEMORY where the system would not give so many bytes now and MLX would not notice. */
void reserve(const tkr_backend *backend, size_t bytes);
/* Throws a failure with TKR_INTERNAL unless `holds`. */
void require(bool holds, const char *message);

/* A tensor of its own with these column blocks (none: not written yet). */
tkr_tensor *new_tensor(tkr_run *run, size_t rows, size_t cols, arrays blocks);
/* `into` when it is given and has this shape, else a new tensor; receives the blocks. */
tkr_tensor *result(tkr_run *run, tkr_tensor *into, size_t rows, size_t cols, arrays blocks);
/* Columns [column, column + n) as they are stored. */
mx::array columns(const tkr_run *run, const tkr_tensor *x, size_t column, size_t n);
mx::array value(const tkr_run *run, const tkr_tensor *x, mx::Dtype dtype);
void replace_columns(tkr_run *run, tkr_tensor *x, size_t column, const mx::array &block);
mx::array rows_of(const tkr_run *run, const mx::array &x, size_t first, size_t n);
mx::array index_array(const std::vector<int32_t> &indices);
/* x [rows, cols] in the piece's number format times the piece, [rows, rows of the piece] */
mx::array multiply(const tkr_weight *weight, const piece &p, const mx::array &x);
/* Elements of attention scores that may exist at once where no fused kernel does without them. */
size_t most_scores(const tkr_backend *backend);
/* An array of so many bytes is part of the graph, whether or not it is a tensor. */
void note_bytes(tkr_run *run, size_t bytes);
/* Counts multiply-accumulates, and evaluates what is in use once there are enough for a yield point to matter. */
void account(tkr_run *run, double work);

/* `chain` as one kernel where the device compiles. */
fused fuse(const tkr_backend *backend, fused chain);

tkr_status linear(tkr_weight **weight, tkr_backend *backend, const tkr_linear_spec *spec, tkr_error *error) noexcept;
tkr_status vector(tkr_weight **weight, tkr_backend *backend, const tkr_source *source, float offset,
                  tkr_error *error) noexcept;
tkr_status table(tkr_weight **weight, tkr_backend *backend, const tkr_source *source, tkr_error *error) noexcept;
void weight_free(tkr_weight **weight) noexcept;
size_t linear_bytes(const tkr_backend *backend, const tkr_linear_spec *spec) noexcept;
tkr_tensor *apply(tkr_run *run, const tkr_tensor *x, const tkr_weight *weight,
                  const tkr_linear_options *options) noexcept;
tkr_tensor *embed(tkr_run *run, const tkr_weight *const *tables, const int32_t *const *indices, size_t n_tables,
                  size_t n_tokens, float scale) noexcept;
tkr_tensor *layer_norm(tkr_run *run, const tkr_tensor *x, const tkr_weight *gain, const tkr_weight *shift, float eps,
                       tkr_tensor *into) noexcept;
tkr_tensor *rms_norm(tkr_run *run, const tkr_tensor *x, const tkr_weight *gain, float eps, tkr_tensor *into) noexcept;
tkr_tensor *input(tkr_run *run, const float *values, size_t rows, size_t cols) noexcept;
tkr_tensor *gather(tkr_run *run, const tkr_tensor *x, const size_t *rows, size_t n) noexcept;
void scatter(tkr_run *run, tkr_tensor *into, const tkr_tensor *x, const size_t *rows, bool add) noexcept;
void add(tkr_run *run, tkr_tensor *x, const tkr_tensor *y) noexcept;
tkr_tensor *angles(tkr_run *run, const tkr_angle_options *options) noexcept;
void rotate(tkr_run *run, tkr_tensor *x, const tkr_rotate_options *options) noexcept;
tkr_tensor *attention(tkr_run *run, const tkr_tensor *q, const tkr_tensor *kv, const tkr_batch *batch,
                      const tkr_attention_options *options) noexcept;
tkr_tensor *pool(tkr_run *run, const tkr_tensor *x, const tkr_span *spans, size_t n_spans, const tkr_pool_mode *modes,
                 size_t n_modes) noexcept;
tkr_tensor *normalize(tkr_run *run, const tkr_tensor *x) noexcept;

extern const tkr_ops ops_mlx;

} // namespace tkr

#endif
