/* SPDX-License-Identifier: Apache-2.0 */
/* ops/mlx/weights: weights as MLX arrays: plain numbers in the layer's number format, MLX's own groups as the
 * checkpoint packs them, other formats decoded or quantised. Refuses non-finite weights. */
#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "ops/mlx/mlx_ops.hpp"

extern "C" {
#include "core/mem.h"
}

namespace tkr {
namespace {

/* ---- how a part is kept ---- */

part_format dense_format(const tkr_linear_shape *shape) {
    return {.dtype = shape->mode == TKR_GEMM_F32 ? mx::float32 : mx::bfloat16};
}

/* Products with groups in f32 on MLX's CPU device: in bf16 it would round every partial sum to 8 bits. */
mx::Dtype group_dtype(const tkr_backend *backend, const tkr_linear_shape *shape) {
    return backend->gpu ? dense_format(shape).dtype : mx::float32;
}

/* Groups that MLX knows and that divide the rows; the one asked for first. 0: none divides them. */
int group_for(size_t cols, size_t wanted) {
    for (const size_t group : {wanted, size_t{64}, size_t{32}, size_t{128}})
        if ((group == 32 || group == 64 || group == 128) && cols % group == 0) return static_cast<int>(group);
    return 0;
}

constexpr size_t q8_group = 64;

part_format quantised_format(const tkr_backend *backend, const tkr_linear_shape *shape, size_t cols) {
    const bool q4 = shape->mode == TKR_GEMM_Q4;
    const int group = q4 || shape->mode == TKR_GEMM_Q8 ? group_for(cols, q4 ? shape->group : q8_group) : 0;
    if (group == 0) return dense_format(shape);
    return {.dense = false, .group = group, .bits = q4 ? 4 : 8, .mode = "affine", .dtype = group_dtype(backend, shape)};
}

part_format packed_format(const tkr_backend *backend, const tkr_linear_shape *shape, const tkr_matrix *m) {
    static const char *const modes[] = {"affine", "affine", "mxfp4", "mxfp8", "nvfp4"};
    const bool blocks = m->mode == TKR_GROUP_NONE; /* of a GGUF file, which hold what MLX's groups hold */
    return {.dense = false,
            .packed = true,
            .group = static_cast<int>(blocks ? tkr_matrix_group4(m) : m->group_size),
            .bits = static_cast<int>(blocks ? 4 : m->bits),
            .mode = modes[m->mode],
            .dtype = group_dtype(backend, shape)};
}

bool is_affine(const part_format &format) { return std::strcmp(format.mode, "affine") == 0; }

mx::array multiply_groups(const mx::array &x, const piece &p, const mx::Stream &s) {
    const part_format &f = p.format;
    return mx::quantized_matmul(x, p.weight, *p.scales, p.biases, true, f.group, f.bits, f.mode, s);
}

/* Whether MLX multiplies by this format on this device: asked with a matrix of zeros, few rows and many, since those
 * are different kernels. */
bool try_format(const tkr_backend *backend, const part_format &format) {
    constexpr int n = 64, k = 256;
    const mx::Stream &s = backend->stream;
    const mx::Shape groups = {n, k / format.group};
    const mx::Dtype dtype = format.dtype;
    try {
        piece p = {n, format, mx::zeros({n, k * format.bits / 32}, mx::uint32, s)};
        p.scales = mx::zeros(groups, is_affine(format) ? dtype : mx::uint8, s);
        if (is_affine(format)) p.biases = mx::zeros(groups, dtype, s);
        mx::eval(multiply_groups(mx::zeros({1, k}, dtype, s), p, s),
                 multiply_groups(mx::zeros({48, k}, dtype, s), p, s));
        return true;
    } catch (const std::bad_alloc &) {
        throw;
    } catch (const std::exception &) {
        return false; /* that combination has no kernel here: the weights are decoded */
    }
}

bool multiplies(const tkr_backend *backend, const part_format &format) {
    if (format.dense) return true;
    for (const auto &[known, works] : backend->tried)
        if (known == format) return works;
    const bool works = try_format(backend, format);
    backend->tried.emplace_back(format, works);
    return works;
}

part_format format_of(const tkr_backend *backend, const tkr_matrix *m, const tkr_linear_shape *shape) {
    if (m->mode != TKR_GROUP_NONE || (shape->mode == TKR_GEMM_Q4 && tkr_matrix_group4(m) > 0)) {
        const part_format own = packed_format(backend, shape, m);
        if (multiplies(backend, own)) return own;
    }
    const part_format format = quantised_format(backend, shape, m->cols);
    return multiplies(backend, format) ? format : dense_format(shape);
}

size_t format_bytes(const part_format &format, size_t rows, size_t cols) {
    const size_t number = mx::size_of(format.dtype);
    if (format.dense) return rows * cols * number;
    const size_t groups = rows * (cols / static_cast<size_t>(format.group));
    return rows * cols * static_cast<size_t>(format.bits) / 8 + groups * (is_affine(format) ? 2 * number : 1);
}

/* ---- reading ---- */

failure not_finite(const char *name) {
    return {TKR_NUMERIC, "tensor \"" + std::string(name) + "\" holds NaN or infinity; the checkpoint is damaged"};
}

/* Copies, whatever the alignment. */
template <typename T> mx::array copied(const void *data, mx::Shape shape, mx::Dtype dtype) {
    if (reinterpret_cast<uintptr_t>(data) % alignof(T) == 0)
        return mx::array(static_cast<const T *>(data), std::move(shape), dtype);
    size_t n = 1;
    for (const mx::ShapeElem length : shape) n *= static_cast<size_t>(length);
    std::vector<T> aligned(n);
    std::memcpy(static_cast<void *>(aligned.data()), data, n * sizeof(T));
    return mx::array(aligned.data(), std::move(shape), dtype);
}

mx::array copied_plain(const void *data, mx::Shape shape, tkr_dtype dtype) {
    if (dtype == TKR_DTYPE_F16) return copied<mx::float16_t>(data, std::move(shape), mx::float16);
    if (dtype == TKR_DTYPE_BF16) return copied<mx::bfloat16_t>(data, std::move(shape), mx::bfloat16);
    return copied<float>(data, std::move(shape), mx::float32);
}

std::vector<float> decoded(const tkr_source *source) {
    const tkr_matrix *m = &source->matrix;
    std::vector<float> values(m->rows * m->cols);
    for (size_t row = 0; row < m->rows; row++) tkr_matrix_row(values.data() + row * m->cols, m, row);
    if (!tkr_all_finite(values.data(), values.size())) throw not_finite(source->name);
    return values;
}

void check_plain(const tkr_source *source) {
    std::vector<float> row(source->matrix.cols);
    for (size_t i = 0; i < source->matrix.rows; i++) {
        tkr_matrix_row(row.data(), &source->matrix, i);
        if (!tkr_all_finite(row.data(), row.size())) throw not_finite(source->name);
    }
}

mx::array dense_part(const tkr_backend *backend, const tkr_source *source, mx::Dtype dtype) {
    const tkr_matrix *m = &source->matrix;
    const mx::Shape shape = {dim(m->rows), dim(m->cols)};
    if (m->mode != TKR_GROUP_NONE || tkr_dtype_class(m->dtype) != 1)
        return mx::astype(mx::array(decoded(source).data(), shape, mx::float32), dtype, backend->stream);
    check_plain(source);
    return mx::astype(copied_plain(m->data, shape, m->dtype), dtype, backend->stream);
}

/* Scales and biases of an affine matrix in the product's number format. */
mx::array affine_field(const tkr_backend *backend, const tkr_source *source, const void *field, mx::Dtype dtype) {
    const tkr_matrix *m = &source->matrix;
    const size_t n = m->rows * (m->cols / m->group_size);
    std::vector<float> values(n);
    tkr_widen(values.data(), field, m->scale_dtype, n);
    if (!tkr_all_finite(values.data(), n)) throw not_finite(source->name);
    const mx::Shape shape = {dim(m->rows), dim(m->cols / m->group_size)};
    return mx::astype(copied_plain(field, shape, m->scale_dtype), dtype, backend->stream);
}

/* Scales of 255 in mxfp4 and mxfp8, of 127 below the sign in nvfp4, and the same codes of mxfp8, are NaN. */
void check_floats(const tkr_source *source) {
    const tkr_matrix *m = &source->matrix;
    const auto *scales = static_cast<const uint8_t *>(m->scales);
    const size_t n = m->rows * (m->cols / m->group_size);
    const bool nvfp4 = m->mode == TKR_GROUP_NVFP4;
    bool bad = std::any_of(scales, scales + n, [nvfp4](uint8_t v) { return nvfp4 ? (v & 127) == 127 : v == 255; });
    const auto *codes = static_cast<const uint8_t *>(m->data);
    if (m->mode == TKR_GROUP_MXFP8)
        bad = bad || std::any_of(codes, codes + m->rows * m->cols, [](uint8_t v) { return (v & 127) == 127; });
    if (bad) throw not_finite(source->name);
}

piece packed_part(const tkr_backend *backend, const tkr_source *source, const part_format &format) {
    const tkr_matrix *m = &source->matrix;
    const mx::Shape words = {dim(m->rows), dim(m->cols * m->bits / 32)},
                    groups = {dim(m->rows), dim(m->cols / m->group_size)};
    piece p = {m->rows, format, copied<uint32_t>(m->data, words, mx::uint32)};
    if (is_affine(format)) {
        p.scales = affine_field(backend, source, m->scales, format.dtype);
        p.biases = affine_field(backend, source, m->biases, format.dtype);
    } else {
        check_floats(source);
        p.scales = copied<uint8_t>(m->scales, groups, mx::uint8);
    }
    return p;
}

/* GGUF blocks of 4-bit groups: the same codes in MLX's order. */
piece regrouped_part(const tkr_backend *backend, const tkr_source *source, const part_format &format) {
    const tkr_matrix *m = &source->matrix;
    const size_t n_groups = m->cols / static_cast<size_t>(format.group), words = m->cols / 8;
    std::vector<uint8_t> codes(m->cols);
    std::vector<uint32_t> packed(m->rows * words);
    std::vector<float> scales(m->rows * n_groups), biases(m->rows * n_groups);
    for (size_t row = 0; row < m->rows; row++) {
        tkr_matrix_row_group4(codes.data(), &scales[row * n_groups], &biases[row * n_groups], m, row);
        tkr_pack_codes(reinterpret_cast<uint8_t *>(&packed[row * words]), codes.data(), m->cols, 4);
    }
    if (!tkr_all_finite(scales.data(), scales.size()) || !tkr_all_finite(biases.data(), biases.size()))
        throw not_finite(source->name);
    const mx::Shape groups = {dim(m->rows), dim(n_groups)};
    piece p = {m->rows, format, mx::array(packed.data(), {dim(m->rows), dim(words)}, mx::uint32)};
    p.scales = mx::astype(mx::array(scales.data(), groups, mx::float32), format.dtype, backend->stream);
    p.biases = mx::astype(mx::array(biases.data(), groups, mx::float32), format.dtype, backend->stream);
    return p;
}

/* Codes from f32 scales, which are rounded afterwards, as the CPU backend does it. */
piece quantised_part(const tkr_backend *backend, const tkr_source *source, const part_format &format) {
    const mx::Stream &s = backend->stream;
    const arrays made =
        mx::quantize(dense_part(backend, source, mx::float32), format.group, format.bits, format.mode, {}, s);
    return {source->matrix.rows, format, made[0], mx::astype(made[1], format.dtype, s),
            mx::astype(made[2], format.dtype, s)};
}

piece part_of(const tkr_backend *backend, const tkr_source *source, const part_format &format) {
    if (format.dense) return {source->matrix.rows, format, dense_part(backend, source, format.dtype)};
    if (!format.packed) return quantised_part(backend, source, format);
    if (source->matrix.mode == TKR_GROUP_NONE) return regrouped_part(backend, source, format);
    return packed_part(backend, source, format);
}

/* ---- layers ---- */

mx::array on_top(const mx::array &above, const mx::array &below, const mx::Stream &s) {
    return mx::concatenate({above, below}, 0, s);
}

void stack(piece &above, const piece &below, const mx::Stream &s) {
    above.rows += below.rows;
    above.weight = on_top(above.weight, below.weight, s);
    if (above.scales) above.scales = on_top(*above.scales, *below.scales, s);
    if (above.biases) above.biases = on_top(*above.biases, *below.biases, s);
}

void evaluate(const tkr_weight *weight) {
    arrays all;
    for (const piece &p : weight->pieces) {
        all.push_back(p.weight);
        if (p.scales) all.push_back(*p.scales);
        if (p.biases) all.push_back(*p.biases);
    }
    if (weight->values) all.push_back(*weight->values);
    mx::eval(std::move(all));
}

mx::array stacked_bias(const tkr_linear_spec *spec, size_t rows) {
    std::vector<float> values(rows, 0.0f);
    size_t at = 0;
    for (size_t i = 0; i < spec->n_parts; at += spec->parts[i++].matrix.rows) {
        if (!spec->biases[i]) continue;
        tkr_matrix_row(values.data() + at, &spec->biases[i]->matrix, 0);
        if (!tkr_all_finite(values.data() + at, spec->parts[i].matrix.rows)) throw not_finite(spec->biases[i]->name);
    }
    return mx::array(values.data(), {dim(rows)}, mx::float32);
}

size_t spec_bytes(const tkr_backend *backend, const tkr_linear_spec *spec) {
    const tkr_linear_shape *shape = &spec->shape;
    size_t rows = 0, bytes = 0;
    for (size_t i = 0; i < spec->n_parts; i++) {
        const tkr_matrix *m = &spec->parts[i].matrix;
        bytes += format_bytes(format_of(backend, m, shape), m->rows, m->cols);
        rows += m->rows;
    }
    if (spec->n_parts > 0) return bytes + (spec->biases ? rows * sizeof(float) : 0);
    bytes = format_bytes(quantised_format(backend, shape, shape->cols), shape->rows, shape->cols);
    return bytes + (shape->bias ? shape->rows * sizeof(float) : 0);
}

void check_room(const tkr_backend *backend, const char *name, size_t bytes) {
    const size_t active = mx::get_active_memory();
    /* Twice: as read and in the layer's number format. */
    if (active + bytes <= backend->limit) return reserve(backend, 2 * bytes);
    throw failure{TKR_NO_MEMORY, "tensor \"" + std::string(name) + "\" needs " + std::to_string(bytes) +
                                     " bytes, and " + std::to_string(active) + " of the device's limit of " +
                                     std::to_string(backend->limit) + " are taken"};
}

void fill_linear(tkr_weight *weight, const tkr_linear_spec *spec) {
    const tkr_backend *backend = weight->backend;
    for (size_t i = 0; i < spec->n_parts; i++) {
        const tkr_source *part = &spec->parts[i];
        require(part->matrix.cols == weight->cols, "a layer of parts of different widths");
        const part_format format = format_of(backend, &part->matrix, &spec->shape);
        piece p = part_of(backend, part, format);
        if (!weight->pieces.empty() && weight->pieces.back().format == format)
            stack(weight->pieces.back(), p, backend->stream);
        else
            weight->pieces.push_back(std::move(p));
        weight->rows += part->matrix.rows;
    }
    if (spec->biases) weight->values = stacked_bias(spec, weight->rows);
    weight->gated = spec->shape.gated;
    weight->half = spec->shape.mode != TKR_GEMM_F32;
    weight->outputs = weight->gated ? weight->rows / 2 : weight->rows;
    evaluate(weight);
}

std::unique_ptr<tkr_weight> new_weight(weight_kind kind, tkr_backend *backend, const tkr_matrix *m) {
    auto weight = std::make_unique<tkr_weight>(kind, backend);
    weight->rows = kind == weight_kind::table ? m->rows : kind == weight_kind::vector ? 1 : 0;
    weight->cols = m->cols;
    return weight;
}

/* Runs `body` under the lock; it returns the weight. */
template <typename F>
tkr_status make(tkr_weight **out, tkr_backend *backend, const char *name, tkr_error *error, F &&body) {
    try {
        const std::lock_guard<std::mutex> lock(backend->mutex);
        *out = body().release();
        return TKR_OK;
    } catch (...) {
        return describe_exception(error, name);
    }
}

} // namespace

tkr_status linear(tkr_weight **out, tkr_backend *backend, const tkr_linear_spec *spec, tkr_error *error) noexcept {
    return make(out, backend, spec->parts[0].name, error, [&] {
        auto weight = new_weight(weight_kind::linear, backend, &spec->parts[0].matrix);
        check_room(backend, spec->parts[0].name, spec_bytes(backend, spec));
        fill_linear(weight.get(), spec);
        return weight;
    });
}

tkr_status vector(tkr_weight **out, tkr_backend *backend, const tkr_source *source, float offset,
                  tkr_error *error) noexcept {
    return make(out, backend, source->name, error, [&] {
        auto weight = new_weight(weight_kind::vector, backend, &source->matrix);
        std::vector<float> values(weight->cols);
        tkr_matrix_row(values.data(), &source->matrix, 0);
        if (!tkr_all_finite(values.data(), values.size())) throw not_finite(source->name);
        for (float &v : values) v += offset;
        weight->values = mx::array(values.data(), {dim(weight->cols)}, mx::float32);
        return weight;
    });
}

/* The checkpoint's own bytes: `embed` decodes the rows it needs. */
tkr_status table(tkr_weight **out, tkr_backend *backend, const tkr_source *source, tkr_error *error) noexcept {
    return make(out, backend, source->name, error, [&] {
        auto weight = new_weight(weight_kind::table, backend, &source->matrix);
        weight->source = *source;
        return weight;
    });
}

void weight_free(tkr_weight **weight) noexcept {
    if (!weight || !*weight) return;
    const std::lock_guard<std::mutex> lock((*weight)->backend->mutex);
    delete *weight;
    *weight = nullptr;
}

size_t linear_bytes(const tkr_backend *backend, const tkr_linear_spec *spec) noexcept {
    try {
        const std::lock_guard<std::mutex> lock(backend->mutex);
        return spec_bytes(backend, spec);
    } catch (...) {
        return SIZE_MAX / 4; /* nothing fits where even asking failed; a sum of some layers doesn't overflow */
    }
}

mx::array multiply(const tkr_weight *weight, const piece &p, const mx::array &x) {
    const mx::Stream &s = weight->backend->stream;
    return p.format.dense ? mx::matmul(x, mx::transpose(p.weight, s), s) : multiply_groups(x, p, s);
}

} // namespace tkr
