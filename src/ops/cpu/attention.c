/* SPDX-License-Identifier: Apache-2.0 */
/* ops/cpu/attention: hands (sequence, head) pairs to the attention kernel, or all query heads of a key head at once,
 * whose keys and values are then packed once. Heads whose width is no multiple of 4, which
 * the kernels don't take, go through zero-padded copies: zeros add nothing to q.k and give columns that are dropped. */
#include <stdatomic.h>
#include <string.h>

#include "ops/cpu/cpu_ops.h"

typedef struct attention_job {
    const tkr_tensor *q, *kv;
    const tkr_batch *batch;
    const tkr_attention_options *options;
    const tkr_attention *kernel;
    tkr_tensor *out;
    tkr_run *run;
    size_t padded_dim, longest;
    size_t first_seq, end_seq; /* that have queries */
    size_t shared;             /* query heads of one call */
} attention_job;

static void copy_head(float *dst, size_t dst_dim, const float *src, size_t stride, size_t n, size_t dim) {
    for (size_t i = 0; i < n; i++) {
        memcpy(dst + i * dst_dim, src + i * stride, dim * sizeof(float));
        memset(dst + i * dst_dim + dim, 0, (dst_dim - dim) * sizeof(float));
    }
}

/* Copies that a padded head needs: q and out of the queries, k and v of all tokens. */
static size_t copies_bytes(size_t n_tokens, size_t head_dim, size_t padded_dim) {
    return head_dim == padded_dim ? 0 : 4 * n_tokens * padded_dim * sizeof(float);
}

static void padded_head(const attention_job *job, float *copies, const tkr_attention_args *head) {
    size_t n = head->n_tokens, nq = head->n_queries, dim = job->padded_dim;
    float *q = copies, *k = q + nq * dim, *v = k + n * dim, *out = v + n * dim;
    copy_head(q, dim, head->q, head->q_stride, nq, head->head_dim);
    copy_head(k, dim, head->k, head->kv_stride, n, head->head_dim);
    copy_head(v, dim, head->v, head->kv_stride, n, head->head_dim);
    tkr_attention_args args = *head;
    args.q = q;
    args.k = k;
    args.v = v;
    args.out = out;
    args.q_stride = args.kv_stride = args.out_stride = args.head_dim = dim;
    job->kernel->head(&args);
    for (size_t i = 0; i < nq; i++)
        memcpy(head->out + i * head->out_stride, out + i * dim, head->head_dim * sizeof(float));
}

/* The head's bias for every distance between n tokens; returns where distance 0 lies. */
static const float *expand_relative(float *out, const tkr_attention_options *o, size_t head, size_t n) {
    const int32_t *buckets = o->buckets + o->n_distances - (n - 1);
    for (size_t i = 0; i < 2 * n - 1; i++) out[i] = o->relative->values[(size_t)buckets[i] * o->n_heads + head];
    return out + n - 1;
}

static void one_head(const attention_job *job, unsigned worker, size_t seq, size_t head) {
    const tkr_attention_options *o = job->options;
    const size_t *cu = job->batch->cu_seqlens;
    size_t n = cu[seq + 1] - cu[seq], end = o->first_row + job->q->rows;
    size_t first = cu[seq] > o->first_row ? cu[seq] : o->first_row, last = cu[seq + 1] < end ? cu[seq + 1] : end;
    size_t kv_head = head * o->n_kv_heads / o->n_heads, q_row = first - o->first_row, first_query = first - cu[seq];
    size_t n_queries = last - first;
    if (o->cu_queries) {
        q_row = o->cu_queries[seq];
        n_queries = o->cu_queries[seq + 1] - q_row;
        first_query = 0;
    }
    if (n_queries == 0) return; /* to the kernel 0 means all */
    const float *kv = job->kv->data + cu[seq] * job->kv->cols + kv_head * o->head_dim;
    float *copies = job->run->packed[worker].data;
    float *relative = copies + copies_bytes(job->longest, o->head_dim, job->padded_dim) / sizeof(float);
    tkr_attention_args args = {
        .q = job->q->data + q_row * job->q->cols + o->q_column + head * o->head_dim,
        .k = kv + o->k_column,
        .v = kv + o->v_column,
        .q_stride = job->q->cols,
        .kv_stride = job->kv->cols,
        .out = job->out->data + q_row * job->out->cols + head * o->head_dim,
        .out_stride = job->out->cols,
        .n_tokens = n,
        .head_dim = o->head_dim,
        .first_query = first_query,
        .n_queries = n_queries,
        .scale = o->scale,
        .window = o->window,
        .causal = o->causal,
        .relative = o->relative ? expand_relative(relative, o, head, n) : NULL,
        .n_heads_shared = job->shared,
        .scratch = job->run->kernel[worker].data,
    };
    if (job->padded_dim == o->head_dim)
        job->kernel->head(&args);
    else
        padded_head(job, copies, &args);
}

static void attention_part(void *arg, unsigned worker, size_t part, size_t n_parts) {
    const attention_job *job = arg;
    const size_t per_seq = job->options->n_heads / job->shared;
    const size_t n_items = (job->end_seq - job->first_seq) * per_seq, end = n_items * (part + 1) / n_parts;
    for (size_t item = n_items * part / n_parts; item < end; item++)
        one_head(job, worker, job->first_seq + item / per_seq, item % per_seq * job->shared);
}

/* Query heads that one call takes: all that share keys, where that leaves work for every worker. The bits are the same.
 */
static size_t heads_at_once(const attention_job *job) {
    const tkr_attention_options *o = job->options;
    size_t items = (job->end_seq - job->first_seq) * o->n_kv_heads, workers = tkr_run_workers(job->run);
    if (o->relative || job->padded_dim != o->head_dim) return 1; /* heads with a bias or copies of their own */
    return items % workers == 0 || items >= 4 * workers ? o->n_heads / o->n_kv_heads : 1;
}

/* Queries of their own: not masked, rows of q in ascending order, no more than keys (scratch is made for those). */
static bool own_queries_fit(const attention_job *job) {
    const tkr_attention_options *o = job->options;
    const size_t *cu = job->batch->cu_seqlens, *own = o->cu_queries;
    if (o->causal || o->window || o->relative || o->first_row) return false;
    for (size_t i = 0; i < job->batch->n_seqs; i++)
        if (own[i + 1] < own[i] || own[i + 1] - own[i] > cu[i + 1] - cu[i]) return false;
    return own[job->batch->n_seqs] <= job->q->rows;
}

static bool options_fit(tkr_run *run, const attention_job *job) {
    const tkr_attention_options *o = job->options;
    const char *message = NULL;
    size_t kv_width = o->n_kv_heads * o->head_dim;
    if (o->head_dim == 0 || o->head_dim > TKR_MAX_HEAD_DIM || o->n_kv_heads == 0 || o->n_heads % o->n_kv_heads != 0)
        message = "attention heads that don't divide";
    else if (o->q_column + o->n_heads * o->head_dim > job->q->cols || o->k_column + kv_width > job->kv->cols ||
             o->v_column + kv_width > job->kv->cols || job->kv->rows < job->batch->n_tokens ||
             (!o->cu_queries && o->first_row + job->q->rows > job->batch->n_tokens))
        message = "attention beyond the rows or columns of its tensors";
    else if (o->cu_queries && !own_queries_fit(job))
        message = "queries of their own that are masked, more than keys or beyond the rows of their tensor";
    else if (o->relative && (o->relative->kind != TKR_WEIGHT_VECTOR || o->n_distances + 1 < job->longest))
        message = "an attention bias that does not reach over the longest sequence";
    if (message) tkr_run_fail(run, TKR_INTERNAL, TKR_HERE, message);
    return !message;
}

tkr_tensor *tkr_cpu_attention(tkr_run *run, const tkr_tensor *q, const tkr_tensor *kv, const tkr_batch *batch,
                              const tkr_attention_options *options) {
    if (!tkr_run_proceed(run)) return NULL;
    attention_job job = {.q = q, .kv = kv, .batch = batch, .options = options, .run = run};
    size_t end = options->first_row + q->rows;
    job.first_seq = batch->n_seqs;
    for (size_t i = 0; i < batch->n_seqs; i++) {
        size_t begin = batch->cu_seqlens[i], stop = batch->cu_seqlens[i + 1];
        if (!options->cu_queries && (stop <= options->first_row || begin >= end)) continue;
        job.first_seq = i < job.first_seq ? i : job.first_seq;
        job.end_seq = i + 1;
        job.longest = stop - begin > job.longest ? stop - begin : job.longest;
    }
    if (job.end_seq == 0) job.first_seq = 0;
    if (!options_fit(run, &job)) return NULL;
    job.kernel = run->backend->kernels->attention[options->mode];
    job.padded_dim = tkr_align_up(options->head_dim, 4);
    job.shared = heads_at_once(&job);
    size_t packed = copies_bytes(job.longest, options->head_dim, job.padded_dim) +
                    (options->relative ? 2 * job.longest * sizeof(float) : 0);
    if (!tkr_run_scratch(run, tkr_run_workers(run), packed, job.kernel->scratch_bytes(job.longest, job.padded_dim)))
        return NULL;
    job.out = tkr_run_tensor(run, q->rows, options->n_heads * options->head_dim);
    if (!job.out) return NULL;
    const size_t n_items = (job.end_seq - job.first_seq) * (options->n_heads / job.shared);
    tkr_run_parallel(run, n_items > 0 ? n_items : 1, attention_part, &job);
    return job.out;
}
