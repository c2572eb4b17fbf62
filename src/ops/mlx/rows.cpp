/* SPDX-License-Identifier: Apache-2.0 */
/* ops/mlx/rows: what works row by row: embedding sum, norms, copies of rows, rotary positions. */
#include <algorithm>
#include <cmath>

#include "ops/mlx/mlx_ops.hpp"

namespace tkr {
namespace {

tkr_tensor *from_host(tkr_run *run, const float *values, size_t rows, size_t cols) {
    reserve(run->backend, rows * cols * sizeof *values);
    return new_tensor(run, rows, cols, {mx::array(values, {dim(rows), dim(cols)}, mx::float32)});
}

/* void operations: nothing to return, the status tells. */
template <typename F> void change(tkr_run *run, F &&body) noexcept {
    operation(run, [&]() -> tkr_tensor * {
        body();
        return nullptr;
    });
}

/* ---- embedding ---- */

void check_indices(const tkr_weight *table, const int32_t *indices, size_t n) {
    for (size_t t = 0; t < n; t++) {
        if (indices[t] >= 0 && static_cast<size_t>(indices[t]) < table->rows) continue;
        throw failure{TKR_INVALID_ARGUMENT, "index " + std::to_string(indices[t]) + " is outside of \"" +
                                                std::string(table->source.name).substr(0, 100) + "\", which has " +
                                                std::to_string(table->rows) + " rows"};
    }
}

} // namespace

/* On the host: a few rows of a large table in any format. What crosses to the device is as small as the batch, and the
 * table takes none of its memory. */
tkr_tensor *embed(tkr_run *run, const tkr_weight *const *tables, const int32_t *const *indices, size_t n_tables,
                  size_t n_tokens, float scale) noexcept {
    return operation(run, [&] {
        const size_t n = tables[0]->cols;
        for (size_t i = 0; i < n_tables; i++) {
            require(tables[i]->kind == weight_kind::table && tables[i]->cols == n,
                    "embedding tables of different widths");
            check_indices(tables[i], indices[i], n_tokens);
        }
        std::vector<float> sum(n_tokens * n), row(n);
        for (size_t t = 0; t < n_tokens; t++) {
            float *out = sum.data() + t * n;
            for (size_t i = 0; i < n_tables; i++) {
                tkr_matrix_row(i == 0 ? out : row.data(), &tables[i]->source.matrix,
                               static_cast<size_t>(indices[i][t]));
                for (size_t k = 0; i > 0 && k < n; k++) out[k] += row[k];
            }
            for (size_t k = 0; scale != 1.0f && k < n; k++) out[k] *= scale;
        }
        return from_host(run, sum.data(), n_tokens, n);
    });
}

/* ---- norms ---- */

namespace {

void check_norm(const tkr_tensor *x, const tkr_weight *gain, const tkr_weight *shift) {
    require(gain->kind == weight_kind::vector && gain->cols == x->cols && (!shift || shift->cols == x->cols),
            "a norm got an input of another width");
}

} // namespace

tkr_tensor *layer_norm(tkr_run *run, const tkr_tensor *x, const tkr_weight *gain, const tkr_weight *shift, float eps,
                       tkr_tensor *into) noexcept {
    return operation(run, [&] {
        check_norm(x, gain, shift);
        const mx::array normed = mx::fast::layer_norm(value(run, x, mx::float32), gain->values,
                                                      shift ? shift->values : std::nullopt, eps, run->backend->stream);
        return result(run, into, x->rows, x->cols, {normed});
    });
}

tkr_tensor *rms_norm(tkr_run *run, const tkr_tensor *x, const tkr_weight *gain, float eps, tkr_tensor *into) noexcept {
    return operation(run, [&] {
        check_norm(x, gain, nullptr);
        const mx::array normed =
            mx::fast::rms_norm(value(run, x, mx::float32), gain->values, eps, run->backend->stream);
        return result(run, into, x->rows, x->cols, {normed});
    });
}

/* ---- copies and sums ---- */

tkr_tensor *input(tkr_run *run, const float *values, size_t rows, size_t cols) noexcept {
    return operation(run, [&] { return from_host(run, values, rows, cols); });
}

tkr_tensor *gather(tkr_run *run, const tkr_tensor *x, const size_t *rows, size_t n) noexcept {
    return operation(run, [&] {
        std::vector<int32_t> indices(n);
        for (size_t i = 0; i < n; i++) {
            require(rows[i] < x->rows, "a gathered row beyond its tensor");
            indices[i] = dim(rows[i]);
        }
        const mx::array all = columns(run, x, 0, x->cols);
        return new_tensor(run, n, x->cols, {mx::take(all, index_array(indices), 0, run->backend->stream)});
    });
}

/* As a choice for each row of `into`: which row of x it takes, and whether. No order of writes could matter. */
void scatter(tkr_run *run, tkr_tensor *into, const tkr_tensor *x, const size_t *rows, bool add) noexcept {
    change(run, [&] {
        require(into->cols == x->cols, "scattered rows of another width");
        const mx::Stream &s = run->backend->stream;
        std::vector<int32_t> source(into->rows, 0);
        std::vector<uint8_t> chosen(into->rows, 0);
        for (size_t i = 0; i < x->rows; i++) {
            require(rows[i] < into->rows, "a scattered row beyond its tensor");
            source[rows[i]] = dim(i);
            chosen[rows[i]] = 1;
        }
        if (x->rows == 0) return;
        const mx::array taken = mx::take(value(run, x, mx::float32), index_array(source), 0, s);
        const mx::array old = value(run, into, mx::float32);
        const mx::array mask = mx::array(chosen.data(), {dim(into->rows), 1}, mx::bool_);
        replace_columns(run, into, 0, mx::where(mask, add ? mx::add(old, taken, s) : taken, old, s));
    });
}

void add(tkr_run *run, tkr_tensor *x, const tkr_tensor *y) noexcept {
    change(run, [&] {
        require(x != y && x->rows == y->rows && x->cols == y->cols, "a sum of tensors of different shapes");
        replace_columns(run, x, 0,
                        mx::add(value(run, x, mx::float32), value(run, y, mx::float32), run->backend->stream));
    });
}

/* ---- rotary positions ---- */

namespace {

void fill_angles(float *out, const float *inv_freq, size_t half, int32_t position) {
    for (size_t i = 0; i < half; i++) {
        const float angle = static_cast<float>(position) * inv_freq[i];
        out[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
        out[half + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
}

/* Angles of positions 0 to most, a row each. */
std::vector<float> table_of_angles(const tkr_angle_options *o, int32_t most) {
    const size_t width = 2 * o->half;
    std::vector<float> table((static_cast<size_t>(most) + 1) * width);
    for (int32_t p = 0; p <= most; p++)
        fill_angles(table.data() + static_cast<size_t>(p) * width, o->inv_freq, o->half, p);
    return table;
}

size_t axes_of(const tkr_angle_options *o) {
    return o->axis && o->half ? static_cast<size_t>(*std::max_element(o->axis, o->axis + o->half)) + 1 : 1;
}

/* One pair from a table row, or computed where the positions are too far apart for a table. */
void angles_of_token(float *out, const tkr_angle_options *o, size_t token, const std::vector<float> &table) {
    for (size_t i = 0; i < o->half; i++) {
        const int32_t position = o->positions[(o->axis ? o->axis[i] : 0u) * o->n_tokens + token];
        if (table.empty()) {
            float pair[2];
            fill_angles(pair, o->inv_freq + i, 1, position);
            out[i] = pair[0];
            out[o->half + i] = pair[1];
        } else {
            const float *row = table.data() + static_cast<size_t>(position) * 2 * o->half;
            out[i] = row[i];
            out[o->half + i] = row[o->half + i];
        }
    }
}

/* Inputs: x [n, heads, width], cosines and sines [n, 1, half]. */
arrays rotate_pairs(const arrays &in, const mx::Stream &s) {
    const mx::array &a = in[0], &b = in[1], &cosine = in[2], &sine = in[3];
    return {mx::subtract(mx::multiply(a, cosine, s), mx::multiply(b, sine, s), s),
            mx::add(mx::multiply(b, cosine, s), mx::multiply(a, sine, s), s)};
}

mx::array part_of(const mx::array &heads, size_t begin, size_t end, const mx::Stream &s) {
    return mx::slice(heads, {0, 0, dim(begin)}, {heads.shape(0), heads.shape(1), dim(end)}, s);
}

mx::array rotated(tkr_run *run, const mx::array &heads, const tkr_rotate_options *o) {
    const mx::Stream s = run->backend->stream;
    const size_t half = o->angles->cols / 2, n = static_cast<size_t>(heads.shape(0));
    const mx::array rows =
        mx::reshape(rows_of(run, value(run, o->angles, mx::float32), o->first_row, n), {dim(n), 1, dim(2 * half)}, s);
    fused &rotation = run->backend->rotation;
    if (!rotation) rotation = fuse(run->backend, [s](const arrays &in) { return rotate_pairs(in, s); });
    arrays out = rotation({part_of(heads, 0, half, s), part_of(heads, half, 2 * half, s), part_of(rows, 0, half, s),
                           part_of(rows, half, 2 * half, s)});
    if (2 * half < o->head_dim) out.push_back(part_of(heads, 2 * half, o->head_dim, s));
    return mx::concatenate(std::move(out), 2, s);
}

} // namespace

tkr_tensor *angles(tkr_run *run, const tkr_angle_options *o) noexcept {
    return operation(run, [&] {
        const size_t width = 2 * o->half, n_positions = axes_of(o) * o->n_tokens;
        const auto [least, most] = std::minmax_element(o->positions, o->positions + n_positions);
        std::vector<float> table, values(o->n_tokens * width);
        if (n_positions > 0 && *least >= 0 && static_cast<size_t>(*most) < o->n_tokens)
            table = table_of_angles(o, *most);
        for (size_t t = 0; t < o->n_tokens; t++) angles_of_token(values.data() + t * width, o, t, table);
        return from_host(run, values.data(), o->n_tokens, width);
    });
}

void rotate(tkr_run *run, tkr_tensor *x, const tkr_rotate_options *o) noexcept {
    change(run, [&] {
        const size_t width = o->n_heads * o->head_dim;
        require(o->column + width <= x->cols && (!o->gain || o->gain->cols == o->head_dim) &&
                    (!o->angles || (o->angles->cols <= o->head_dim && o->first_row + x->rows <= o->angles->rows)),
                "a rotation beyond the columns or rows of its tensors");
        const mx::Stream &s = run->backend->stream;
        mx::array heads = mx::reshape(mx::astype(columns(run, x, o->column, width), mx::float32, s),
                                      {dim(x->rows), dim(o->n_heads), dim(o->head_dim)}, s);
        if (o->gain) heads = mx::fast::rms_norm(heads, o->gain->values, o->eps, s);
        if (o->angles && o->angles->cols > 0) heads = rotated(run, heads, o);
        replace_columns(run, x, o->column, mx::reshape(heads, {dim(x->rows), dim(width)}, s));
    });
}

} // namespace tkr
