/* SPDX-License-Identifier: Apache-2.0 */
/* ops/mlx/attention_plan: cutting to tiles, joining tiles to rectangles, and their masks. */
#include "ops/mlx/attention_plan.hpp"

#include <algorithm>

#include "ops/mlx/mlx_ops.hpp"

namespace tkr {
namespace {

using tiles = std::vector<tile>;

/* ---- cutting ---- */

/* Queries of a tile: all, unless the window is small beside the sequence or the scores would be too many. */
size_t queries_at_once(const attention_key &key, size_t n_q, size_t n_k) {
    constexpr size_t least = 128;
    size_t n = std::max(key.most_scores / (key.n_heads * n_k), size_t{1});
    if (key.window && n_k > 4 * key.window + least) n = std::min(n, std::max(2 * key.window, least));
    return std::min(n, n_q);
}

void cut(tiles &out, const attention_key &key, const tile &whole) {
    const size_t step = queries_at_once(key, whole.n_q, whole.n_k);
    for (size_t at = 0; at < whole.n_q; at += step) {
        const size_t n = std::min(step, whole.n_q - at), first = whole.ahead + at, last = first + n - 1;
        size_t begin = 0, end = whole.n_k;
        if (key.window && first > key.window) begin = first - key.window;
        if (key.window) end = std::min(end, last + key.window + 1);
        if (key.causal) end = std::min(end, last + 1);
        out.push_back({whole.q + at, n, whole.k + begin, end - begin, first - begin});
    }
}

tiles tiles_of(const attention_key &key) {
    tiles out;
    const std::vector<size_t> &cu = key.cu_seqlens, &queries = key.cu_queries;
    const bool own = !queries.empty();
    for (size_t i = 0; i + 1 < cu.size(); i++) {
        const size_t n = cu[i + 1] - cu[i], first = own ? queries[i] : std::max(cu[i], key.first_row);
        const size_t end = own ? queries[i + 1] : std::min(cu[i + 1], key.first_row + key.n_rows);
        if (n == 0 || first >= end) continue;
        cut(out, key, {first - (own ? 0 : key.first_row), end - first, cu[i], n, own ? 0 : first - cu[i]});
    }
    return out;
}

/* ---- joining ---- */

/* Sizes of a rectangle that grows by a tile at a time. */
struct extent {
    size_t n = 0, n_q = 0, n_k = 0, rows = 0, wanted = 0;
};

extent extended(const extent &e, const tile &t) {
    return {e.n + 1, std::max(e.n_q, t.n_q), std::max(e.n_k, t.n_k), e.rows + t.n_q + t.n_k, e.wanted + t.n_q * t.n_k};
}

/* As many scores as one kernel handles in the time that it takes to start some, or little padding. */
bool worth_it(const attention_key &key, const extent &e) {
    constexpr size_t small = size_t{1} << 22;
    const size_t scores = e.n * e.n_q * e.n_k;
    if (scores * key.n_heads > key.most_scores) return false;
    return scores * key.n_heads <= small || (3 * scores <= 4 * e.wanted && 3 * e.n * (e.n_q + e.n_k) <= 4 * e.rows);
}

/* MLX's own causal mask lets the last query see the last key. Padding behind both is then hidden from all queries that
 * count. */
mask_kind kind_of(const attention_key &key, const rectangle &r) {
    bool same_keys = true, aligned = true, windowed = false;
    for (const tile &t : r.tiles) {
        same_keys = same_keys && t.n_k == r.n_k;
        aligned = aligned && t.ahead + r.n_q == r.n_k && t.ahead + t.n_q == t.n_k;
        /* the farthest key before the last query, and behind the first one */
        const size_t before = t.ahead + t.n_q - 1, behind = key.causal ? 0 : t.n_k - 1 - std::min(t.n_k - 1, t.ahead);
        windowed = windowed || (key.window && std::max(before, behind) > key.window);
    }
    if (key.relative || windowed) return mask_kind::array;
    if (key.causal) return aligned ? mask_kind::causal : mask_kind::array;
    return same_keys ? mask_kind::none : mask_kind::array;
}

/* Padding repeats a tile's first row: finite where the tile is. */
mx::array padded_rows(const rectangle &r, bool keys) {
    std::vector<int32_t> indices;
    for (const tile &t : r.tiles) {
        const size_t at = keys ? t.k : t.q, n = keys ? t.n_k : t.n_q;
        for (size_t row = 0; row < (keys ? r.n_k : r.n_q); row++) indices.push_back(dim(row < n ? at + row : at));
    }
    return index_array(indices);
}

void fill_indices(rectangle &r) {
    bool even = true;
    std::vector<int32_t> kept;
    for (size_t i = 0; i < r.tiles.size(); i++) {
        const tile &t = r.tiles[i], &before = r.tiles[i ? i - 1 : 0];
        even = even && t.n_q == r.n_q && t.n_k == r.n_k;
        even = even && (i == 0 || (t.q == before.q + r.n_q && t.k == before.k + r.n_k));
        for (size_t row = 0; row < t.n_q; row++) kept.push_back(dim(i * r.n_q + row));
    }
    if (kept.size() < r.tiles.size() * r.n_q) r.kept = index_array(kept);
    if (even) return;
    r.q_rows = padded_rows(r, false);
    r.k_rows = padded_rows(r, true);
}

std::vector<rectangle> rectangles_of(const attention_key &key) {
    const tiles all = tiles_of(key);
    std::vector<rectangle> out;
    for (size_t begin = 0, end; begin < all.size(); begin = end) {
        extent e = extended({}, all[begin]);
        for (end = begin + 1; end < all.size(); end++) {
            const extent more = extended(e, all[end]);
            if (!worth_it(key, more)) break;
            e = more;
        }
        rectangle &r = out.emplace_back(rectangle{{&all[begin], &all[begin] + (end - begin)}, e.n_q, e.n_k});
        r.kind = kind_of(key, r);
        fill_indices(r);
    }
    return out;
}

mx::array tile_column(const rectangle &r, size_t tile::*field) {
    std::vector<int32_t> values;
    for (const tile &t : r.tiles) values.push_back(dim(t.*field));
    return mx::array(values.begin(), {dim(values.size()), 1, 1, 1}, mx::int32);
}

/* [n, 1, rows, keys]: places from the query to the key. */
mx::array distances(const rectangle &r, const mx::array &place_k, const mx::Stream &s) {
    const mx::array row = mx::reshape(mx::arange(0, dim(r.n_q), s), {1, 1, dim(r.n_q), 1}, s);
    return mx::subtract(place_k, mx::add(row, tile_column(r, &tile::ahead), s), s);
}

mx::array make_mask(const rectangle &r, const tkr_attention_options *o, const std::optional<mx::array> &relative,
                    mx::Dtype dtype, const mx::Stream &s) {
    const mx::array place_k = mx::reshape(mx::arange(0, dim(r.n_k), s), {1, 1, 1, dim(r.n_k)}, s);
    const mx::array distance = distances(r, place_k, s);
    mx::array seen = mx::less(place_k, tile_column(r, &tile::n_k), s);
    if (o->causal) seen = mx::logical_and(seen, mx::less_equal(distance, mx::array(0), s), s);
    if (o->window) {
        const mx::array window = mx::array(dim(o->window));
        seen = mx::logical_and(seen, mx::less_equal(mx::abs(distance, s), window, s), s);
    }
    seen = mx::broadcast_to(seen, {dim(r.tiles.size()), 1, dim(r.n_q), dim(r.n_k)}, s);
    if (!relative) return seen;
    /* Padding reaches farther than any distance that counts. */
    const int32_t most = dim(o->n_distances);
    const mx::array near = mx::clip(distance, mx::array(-most), mx::array(most), s);
    const mx::array bias = mx::take(*relative, mx::add(near, mx::array(most), s), 1, s); /* [heads, n, 1, rows, keys] */
    const mx::array by_tile = mx::transpose(mx::squeeze(bias, 2, s), {1, 0, 2, 3}, s);
    return mx::astype(mx::where(seen, by_tile, mx::array(-1e30f), s), dtype, s);
}

} // namespace

attention_plan &plan_attention(std::list<attention_plan> &plans, const tkr_batch *batch, const tkr_attention_options *o,
                               size_t n_rows, size_t most_scores, mx::Dtype dtype) {
    constexpr size_t most_plans = 8; /* local and global layers, of pictures and of text, in chunks */
    attention_key key = {.cu_seqlens = {batch->cu_seqlens, batch->cu_seqlens + batch->n_seqs + 1},
                         .cu_queries = {},
                         .n_rows = n_rows,
                         .first_row = o->first_row,
                         .n_heads = o->n_heads,
                         .window = o->window,
                         .most_scores = most_scores,
                         .causal = o->causal,
                         .relative = o->relative,
                         .buckets = o->buckets,
                         .dtype = dtype};
    if (o->cu_queries) key.cu_queries = {o->cu_queries, o->cu_queries + batch->n_seqs + 1};
    for (attention_plan &plan : plans)
        if (plan.key == key) return plan;
    if (plans.size() == most_plans) plans.pop_front();
    return plans.emplace_back(attention_plan{key, rectangles_of(key)});
}

mx::array attention_mask(rectangle &r, const tkr_attention_options *o, const std::optional<mx::array> &relative,
                         mx::Dtype dtype, const mx::Stream &s) {
    constexpr size_t small = size_t{32} << 20; /* bytes that may wait for the next layer */
    if (r.mask) return *r.mask;
    const mx::array mask = make_mask(r, o, relative, dtype, s);
    if (mask.nbytes() <= small) r.mask = mask;
    return mask;
}

} // namespace tkr
