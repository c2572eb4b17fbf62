/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops/mlx/attention_plan: how ragged attention becomes a few rectangular ones. Sequences are cut into tiles (some
 * queries and the keys that they may see), and neighbouring tiles of similar size are padded to one rectangle. A tile
 * of its own size needs no padding: one sequence, or one of the batch that is much longer than the rest. All layers of
 * a pass share the plan, its indices and its masks.
 */
#ifndef TKR_OPS_MLX_ATTENTION_PLAN_HPP
#define TKR_OPS_MLX_ATTENTION_PLAN_HPP

#include <list>
#include <optional>
#include <vector>

#include <mlx/mlx.h>

extern "C" {
#include "ops/ops.h"
}

namespace tkr {

namespace mx = mlx::core;

struct tile {
    size_t q, n_q; /* rows of the queries' tensor */
    size_t k, n_k; /* rows of the keys' tensor */
    size_t ahead;  /* places from the first key to the first query in the sequence */
};

enum class mask_kind { none, causal, array };

struct rectangle {
    std::vector<tile> tiles;
    size_t n_q, n_k; /* of the largest */
    mask_kind kind = mask_kind::none;
    std::optional<mx::array> q_rows = {}, k_rows = {}; /* to gather; none: the tiles lie side by side and are equal */
    std::optional<mx::array> kept = {};                /* rows of the result that are no padding; none: all */
    std::optional<mx::array> mask = {};                /* kept for the layers to come where it is small */
};

/* What a plan depends on. */
struct attention_key {
    std::vector<size_t> cu_seqlens, cu_queries;
    size_t n_rows, first_row, n_heads, window, most_scores;
    bool causal;
    const tkr_weight *relative;
    const int32_t *buckets;
    mx::Dtype dtype;
    bool operator==(const attention_key &) const = default;
};

struct attention_plan {
    attention_key key;
    std::vector<rectangle> parts;
};

/* The plan of these queries' rows, made now or by an earlier layer of the pass. most_scores: of one rectangle; dtype:
 * of the queries. */
attention_plan &plan_attention(std::list<attention_plan> &plans, const tkr_batch *batch, const tkr_attention_options *o,
                               size_t n_rows, size_t most_scores, mx::Dtype dtype);

/* Which keys count, [n, 1, rows, keys], as booleans; with a bias of the logits by distance [heads, 2 * n_distances +
 * 1], as numbers to add, [n, heads, rows, keys]. */
mx::array attention_mask(rectangle &r, const tkr_attention_options *o, const std::optional<mx::array> &relative,
                         mx::Dtype dtype, const mx::Stream &s);

} // namespace tkr

#endif
