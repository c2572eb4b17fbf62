/* SPDX-License-Identifier: Apache-2.0 */
/* ops/mlx/pool: pooling of token rows to one row a span, and L2 normalisation. A span's row depends on its own tokens
 * only: NaN in one input is no other input's. */
#include <algorithm>
#include <cmath>

#include "ops/mlx/mlx_ops.hpp"

namespace tkr {
namespace {

struct spans {
    const tkr_span *at;
    size_t n, longest;
};

mx::array rows_at(const mx::array &x, const std::vector<int32_t> &indices, const mx::Stream &s) {
    return mx::take(x, index_array(indices), 0, s);
}

/* [n, longest, cols]: each span's rows, then its first one again. */
mx::array padded(const mx::array &x, const spans &g, const mx::Stream &s) {
    std::vector<int32_t> indices;
    for (size_t i = 0; i < g.n; i++)
        for (size_t t = 0; t < g.longest; t++)
            indices.push_back(dim(g.at[i].start + t < g.at[i].end ? g.at[i].start + t : g.at[i].start));
    return mx::reshape(rows_at(x, indices, s), {dim(g.n), dim(g.longest), x.shape(1)}, s);
}

/* The sum of weight * row over the span, divided as the mode says. */
mx::array weighted_sum(const mx::array &x, const spans &g, tkr_pool_mode mode, const mx::Stream &s) {
    std::vector<float> weights(g.n * g.longest, 0.0f), divisors(g.n);
    for (size_t i = 0; i < g.n; i++) {
        double total = 0;
        for (size_t t = 0; t < g.at[i].end - g.at[i].start; t++) {
            const size_t place = g.at[i].start + t - g.at[i].first + 1;
            const float weight = mode == TKR_POOL_WEIGHTEDMEAN ? static_cast<float>(place) : 1.0f;
            weights[i * g.longest + t] = weight;
            total += static_cast<double>(weight);
        }
        divisors[i] = static_cast<float>(mode == TKR_POOL_MEAN_SQRT_LEN ? std::sqrt(total) : total);
    }
    const mx::array w(weights.data(), {dim(g.n), dim(g.longest), 1}, mx::float32),
        divisor(divisors.data(), {dim(g.n), 1}, mx::float32);
    return mx::divide(mx::sum(mx::multiply(padded(x, g, s), w, s), 1, false, s), divisor, s);
}

mx::array pooled(const mx::array &x, const spans &g, tkr_pool_mode mode, const mx::Stream &s) {
    if (mode == TKR_POOL_CLS || mode == TKR_POOL_LASTTOKEN) {
        std::vector<int32_t> indices;
        for (size_t i = 0; i < g.n; i++) indices.push_back(dim(mode == TKR_POOL_CLS ? g.at[i].start : g.at[i].end - 1));
        return rows_at(x, indices, s);
    }
    if (mode == TKR_POOL_MAX) return mx::max(padded(x, g, s), 1, false, s);
    return weighted_sum(x, g, mode, s);
}

size_t length_of(const tkr_span &span) { return span.end - span.start; }

/* Spans from `begin` on that are padded to one length: no more than half as much again as they hold. */
spans next_group(const tkr_span *all, size_t n, size_t begin) {
    spans g = {all + begin, 0, 0};
    size_t total = 0;
    for (size_t i = begin; i < n; i++) {
        const size_t longest = std::max(g.longest, length_of(all[i])), rows = total + length_of(all[i]);
        if (g.n > 0 && 2 * (g.n + 1) * longest > 3 * rows + 2048) break;
        g.n++;
        g.longest = longest;
        total = rows;
    }
    return g;
}

} // namespace

tkr_tensor *pool(tkr_run *run, const tkr_tensor *x, const tkr_span *all, size_t n_spans, const tkr_pool_mode *modes,
                 size_t n_modes) noexcept {
    return operation(run, [&] {
        for (size_t i = 0; i < n_spans; i++)
            if (all[i].start >= all[i].end || all[i].end > x->rows || all[i].first > all[i].start)
                throw failure{TKR_INVALID_ARGUMENT, "nothing is left to pool over"};
        const mx::Stream &s = run->backend->stream;
        const mx::array rows = value(run, x, mx::float32);
        arrays blocks;
        for (size_t m = 0; m < n_modes; m++) {
            arrays parts;
            for (size_t at = 0; at < n_spans; at += static_cast<size_t>(parts.back().shape(0)))
                parts.push_back(pooled(rows, next_group(all, n_spans, at), modes[m], s));
            blocks.push_back(parts.size() == 1 ? parts[0] : mx::concatenate(std::move(parts), 0, s));
        }
        return new_tensor(run, n_spans, n_modes * x->cols, std::move(blocks));
    });
}

tkr_tensor *normalize(tkr_run *run, const tkr_tensor *x) noexcept {
    return operation(run, [&] {
        const mx::Stream &s = run->backend->stream;
        const mx::array rows = value(run, x, mx::float32);
        const mx::array norm = mx::sqrt(mx::sum(mx::square(rows, s), 1, true, s), s);
        return new_tensor(run, x->rows, x->cols, {mx::divide(rows, mx::maximum(norm, mx::array(1e-12f), s), s)});
    });
}

} // namespace tkr
