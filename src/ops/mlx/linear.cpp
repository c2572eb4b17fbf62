/* SPDX-License-Identifier: Apache-2.0 */
/* ops/mlx/linear: products with weights and what follows them element by element: bias, activation, gate, residual. */
#include <numbers>

#include "ops/mlx/mlx_ops.hpp"

namespace tkr {
namespace {

mx::array scaled(const mx::array &x, double factor, const mx::Stream &s) {
    return mx::multiply(x, mx::array(static_cast<float>(factor)), s);
}

mx::array plus(const mx::array &x, double term, const mx::Stream &s) {
    return mx::add(x, mx::array(static_cast<float>(term)), s);
}

/* x in f32 */
mx::array activated(const mx::array &x, tkr_activation activation, const mx::Stream &s) {
    switch (activation) {
    case TKR_ACT_NONE: return x;
    case TKR_ACT_GELU_ERF: {
        const mx::array erf = mx::erf(scaled(x, std::numbers::sqrt2 / 2, s), s);
        return mx::multiply(scaled(x, 0.5, s), plus(erf, 1, s), s);
    }
    case TKR_ACT_GELU_TANH: {
        const mx::array cube = mx::multiply(mx::multiply(x, x, s), x, s);
        const mx::array inner = mx::add(x, scaled(cube, 0.044715, s), s);
        const double root = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
        return mx::multiply(scaled(x, 0.5, s), plus(mx::tanh(scaled(inner, root, s), s), 1, s), s);
    }
    case TKR_ACT_RELU: return mx::maximum(x, mx::array(0.0f), s);
    case TKR_ACT_TANH: return mx::tanh(x, s);
    case TKR_ACT_SILU: return mx::multiply(x, mx::sigmoid(x, s), s);
    case TKR_ACT_QUICK_GELU: return mx::multiply(x, mx::sigmoid(scaled(x, 1.702, s), s), s);
    }
    throw failure{TKR_INTERNAL, "an activation that the MLX backend doesn't know"};
}

/* Inputs in this order, those that the kind has: product, its partner when gated, a bias for each, residual. */
arrays run_chain(const arrays &in, const chain_kind &kind, const mx::Stream &s) {
    const size_t n = kind.gated ? 2 : 1;
    arrays x;
    for (size_t i = 0; i < n; i++) {
        x.push_back(mx::astype(in[i], mx::float32, s));
        if (kind.bias) x[i] = mx::add(x[i], in[n + i], s);
    }
    mx::array out = activated(x[0], kind.activation, s);
    if (kind.gated) out = mx::multiply(out, x[1], s);
    if (kind.residual) out = mx::add(out, in.back(), s);
    return {kind.half ? mx::astype(out, mx::bfloat16, s) : out};
}

mx::array chained(tkr_backend *backend, const chain_kind &kind, const arrays &in) {
    for (const auto &[known, chain] : backend->chains)
        if (known == kind) return chain(in)[0];
    const mx::Stream s = backend->stream;
    fused chain = fuse(backend, [kind, s](const arrays &x) { return run_chain(x, kind, s); });
    backend->chains.emplace_back(kind, chain);
    return chain(in)[0];
}

/* Elements [first, first + n) of the layer's bias. */
mx::array bias_of(const tkr_weight *weight, size_t first, size_t n) {
    if (first == 0 && n == weight->rows) return *weight->values;
    return mx::slice(*weight->values, {dim(first)}, {dim(first + n)}, weight->backend->stream);
}

/* The product's columns [column, column + n) from the pieces' blocks. */
mx::array product_columns(const tkr_run *run, const arrays &blocks, size_t column, size_t n) {
    tkr_tensor product;
    product.rows = static_cast<size_t>(blocks[0].shape(0));
    product.cols = column + n;
    product.blocks = blocks;
    return columns(run, &product, column, n);
}

arrays plain_outputs(tkr_run *run, const arrays &products, const tkr_weight *weight, const tkr_linear_options *o,
                     chain_kind kind) {
    arrays out;
    size_t at = 0;
    kind.residual = o->residual != nullptr;
    kind.half = !kind.residual && weight->half;
    for (size_t i = 0; i < products.size(); at += weight->pieces[i++].rows) {
        const size_t n = weight->pieces[i].rows;
        arrays in = {products[i]};
        if (kind.bias) in.push_back(bias_of(weight, at, n));
        if (kind.residual)
            in.push_back(mx::astype(columns(run, o->residual, at, n), mx::float32, run->backend->stream));
        out.push_back(chained(run->backend, kind, in));
    }
    return out;
}

arrays gated_outputs(tkr_run *run, const arrays &products, const tkr_weight *weight, chain_kind kind) {
    const size_t n = weight->outputs;
    arrays in = {product_columns(run, products, 0, n), product_columns(run, products, n, n)};
    if (kind.bias)
        for (size_t i = 0; i < 2; i++) in.push_back(bias_of(weight, i * n, n));
    kind.gated = true;
    kind.half = weight->half;
    return {chained(run->backend, kind, in)};
}

void check_shapes(const tkr_tensor *x, const tkr_weight *weight, const tkr_linear_options *o) {
    const tkr_tensor *residual = o->residual;
    require(weight->kind == weight_kind::linear && x->cols == weight->cols &&
                (!residual || (residual->rows == x->rows && residual->cols == weight->outputs)),
            "a linear layer got an input of another width");
    require(!residual || !weight->gated, "a gated layer with a residual");
    require(!o->into || (o->into->rows == x->rows && o->into->cols == weight->outputs),
            "an operation's destination has another shape");
}

} // namespace

tkr_tensor *apply(tkr_run *run, const tkr_tensor *x, const tkr_weight *weight,
                  const tkr_linear_options *options) noexcept {
    static const tkr_linear_options none = {TKR_ACT_NONE, nullptr, nullptr};
    const tkr_linear_options *o = options ? options : &none;
    return operation(run, [&] {
        check_shapes(x, weight, o);
        arrays products;
        for (const piece &p : weight->pieces) products.push_back(multiply(weight, p, value(run, x, p.format.dtype)));
        const chain_kind kind = {.activation = o->activation, .bias = weight->values.has_value()};
        arrays out =
            weight->gated ? gated_outputs(run, products, weight, kind) : plain_outputs(run, products, weight, o, kind);
        tkr_tensor *to = result(run, o->into, x->rows, weight->outputs, std::move(out));
        account(run, static_cast<double>(x->rows) * static_cast<double>(weight->rows * weight->cols));
        return to;
    });
}

} // namespace tkr
