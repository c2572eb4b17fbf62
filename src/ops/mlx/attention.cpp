/* SPDX-License-Identifier: Apache-2.0 */
/* ops/mlx/attention: MLX's fast attention on the rectangles of a plan. Refuses heads and rows that don't fit. */
#include <algorithm>

#include "ops/mlx/mlx_ops.hpp"

namespace tkr {
namespace {

struct ragged {
    tkr_run *run;
    const tkr_attention_options *o;
    mx::Stream s;
    mx::Dtype dtype;
    mx::array q, k, v;                 /* columns of all heads, in dtype */
    std::optional<mx::array> relative; /* [heads, 2 * n_distances + 1] */
};

/* [n, heads, rows, dim] of the rows at `first`, or of those listed. */
mx::array heads_of(const ragged &a, const mx::array &x, const std::optional<mx::array> &rows, size_t first, size_t n,
                   size_t n_rows, size_t n_heads) {
    const mx::array part = rows ? mx::take(x, *rows, 0, a.s) : rows_of(a.run, x, first, n * n_rows);
    const mx::Shape shape = {dim(n), dim(n_rows), dim(n_heads), dim(a.o->head_dim)};
    return mx::transpose(mx::reshape(part, shape, a.s), {0, 2, 1, 3}, a.s);
}

/* Rows of the tiles one after another, [rows, heads * dim]. */
mx::array attend(const ragged &a, rectangle &r) {
    const tkr_attention_options *o = a.o;
    const tile &first = r.tiles[0];
    const size_t n = r.tiles.size();
    const mx::array q = heads_of(a, a.q, r.q_rows, first.q, n, r.n_q, o->n_heads),
                    k = heads_of(a, a.k, r.k_rows, first.k, n, r.n_k, o->n_kv_heads),
                    v = heads_of(a, a.v, r.k_rows, first.k, n, r.n_k, o->n_kv_heads);
    std::optional<mx::array> mask;
    if (r.kind == mask_kind::array) mask = attention_mask(r, o, a.relative, a.dtype, a.s);
    const mx::array out = mx::fast::scaled_dot_product_attention(
        q, k, v, o->scale, r.kind == mask_kind::causal ? "causal" : "", mask, {}, false, a.s);
    const mx::Shape shape = {dim(n * r.n_q), dim(o->n_heads * o->head_dim)};
    const mx::array rows = mx::reshape(mx::transpose(out, {0, 2, 1, 3}, a.s), shape, a.s);
    note_bytes(a.run, n * r.n_q * r.n_k * o->n_heads * sizeof(float));
    return r.kept ? mx::take(rows, *r.kept, 0, a.s) : rows;
}

double work_of(const rectangle &r, const tkr_attention_options *o) {
    return 2.0 * static_cast<double>(r.tiles.size() * r.n_q) * static_cast<double>(r.n_k * o->n_heads * o->head_dim);
}

size_t longest_of(const tkr_batch *batch) {
    size_t longest = 0;
    for (size_t i = 0; i < batch->n_seqs; i++)
        longest = std::max(longest, batch->cu_seqlens[i + 1] - batch->cu_seqlens[i]);
    return longest;
}

void check_options(const tkr_tensor *q, const tkr_tensor *kv, const tkr_batch *batch, const tkr_attention_options *o) {
    const size_t width = o->n_kv_heads * o->head_dim;
    require(o->head_dim > 0 && o->head_dim <= TKR_MAX_HEAD_DIM && o->n_kv_heads > 0 && o->n_heads % o->n_kv_heads == 0,
            "attention heads that don't divide");
    require(o->q_column + o->n_heads * o->head_dim <= q->cols && o->k_column + width <= kv->cols &&
                o->v_column + width <= kv->cols && kv->rows >= batch->n_tokens,
            "attention beyond the rows or columns of its tensors");
    if (o->cu_queries)
        require(o->cu_queries[0] == 0 && o->cu_queries[batch->n_seqs] == q->rows && o->first_row == 0 && !o->window &&
                    !o->causal && !o->relative,
                "queries of their own with a mask or beyond the rows of their tensor");
    else
        require(o->first_row + q->rows <= batch->n_tokens, "attention beyond the rows or columns of its tensors");
    require(!o->relative || (o->relative->kind == weight_kind::vector && o->n_distances + 1 >= longest_of(batch)),
            "an attention bias that does not reach over the longest sequence");
}

std::optional<mx::array> relative_of(const tkr_run *run, const tkr_attention_options *o) {
    if (!o->relative) return std::nullopt;
    const mx::Stream &s = run->backend->stream;
    const std::vector<int32_t> buckets(o->buckets, o->buckets + 2 * o->n_distances + 1);
    const mx::array table = mx::reshape(*o->relative->values, {-1, dim(o->n_heads)}, s);
    return mx::transpose(mx::take(table, index_array(buckets), 0, s), s);
}

} // namespace

size_t most_scores(const tkr_backend *backend) { return size_t{1} << (backend->gpu ? 28 : 25); }

tkr_tensor *attention(tkr_run *run, const tkr_tensor *q, const tkr_tensor *kv, const tkr_batch *batch,
                      const tkr_attention_options *o) noexcept {
    return operation(run, [&] {
        check_options(q, kv, batch, o);
        const mx::Stream s = run->backend->stream;
        const mx::Dtype dtype = o->mode == TKR_GEMM_F32 ? mx::float32 : mx::bfloat16;
        const auto block = [&](const tkr_tensor *x, size_t column, size_t n_heads) {
            return mx::astype(columns(run, x, column, n_heads * o->head_dim), dtype, s);
        };
        const ragged a = {run,
                          o,
                          s,
                          dtype,
                          block(q, o->q_column, o->n_heads),
                          block(kv, o->k_column, o->n_kv_heads),
                          block(kv, o->v_column, o->n_kv_heads),
                          relative_of(run, o)};
        attention_plan &plan = plan_attention(run->plans, batch, o, q->rows, most_scores(run->backend), dtype);
        arrays out;
        size_t rows = 0;
        double work = 0;
        for (rectangle &r : plan.parts) {
            out.push_back(attend(a, r));
            rows += static_cast<size_t>(out.back().shape(0));
            work += work_of(r, o);
        }
        require(rows == q->rows, "queries that belong to no sequence");
        if (out.size() > 1) out = {mx::concatenate(std::move(out), 0, s)};
        tkr_tensor *to = new_tensor(run, q->rows, o->n_heads * o->head_dim, std::move(out));
        account(run, work);
        return to;
    });
}

} // namespace tkr
