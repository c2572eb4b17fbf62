/* SPDX-License-Identifier: Apache-2.0 */
/* ops/cpu/attention: hands (sequence, head) pairs to the attention kernel. Heads whose width is no multiple of 4, which
 * the kernels don't take, go through zero-padded copies: zeros add nothing to q.k and give columns that are dropped. */
#include <stdatomic.h>
#include <string.h>

#include "ops/cpu/cpu_ops.h"

typedef struct attention_job {
    const tkr_tensor *qkv;
    const tkr_batch *batch;
    const tkr_attention_options *options;
    const tkr_attention *kernel;
    tkr_tensor *out;
    tkr_run *run;
    size_t padded_dim;
    atomic_size_t next;
} attention_job;

static void copy_head(float *dst, size_t dst_dim, const float *src, size_t stride, size_t n, size_t dim) {
    for (size_t i = 0; i < n; i++) {
        memcpy(dst + i * dst_dim, src + i * stride, dim * sizeof(float));
        memset(dst + i * dst_dim + dim, 0, (dst_dim - dim) * sizeof(float));
    }
}

static void padded_head(const attention_job *job, unsigned worker, const tkr_attention_args *head) {
    size_t n = head->n_tokens, dim = job->padded_dim;
    float *q = job->run->packed[worker].data, *k = q + n * dim, *v = k + n * dim, *out = v + n * dim;
    copy_head(q, dim, head->q, head->q_stride, n, head->head_dim);
    copy_head(k, dim, head->k, head->kv_stride, n, head->head_dim);
    copy_head(v, dim, head->v, head->kv_stride, n, head->head_dim);
    tkr_attention_args args = *head;
    args.q = q;
    args.k = k;
    args.v = v;
    args.out = out;
    args.q_stride = args.kv_stride = args.out_stride = args.head_dim = dim;
    job->kernel->head(&args);
    for (size_t i = 0; i < n; i++)
        memcpy(head->out + i * head->out_stride, out + i * dim, head->head_dim * sizeof(float));
}

static void attention_worker(void *arg, unsigned worker, unsigned n_workers) {
    (void)n_workers;
    attention_job *job = arg;
    const tkr_attention_options *o = job->options;
    size_t n_items = job->batch->n_seqs * o->n_heads, width = job->qkv->cols;
    for (;;) {
        size_t item = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (item >= n_items) return;
        size_t seq = item / o->n_heads, head = item % o->n_heads;
        size_t first = job->batch->cu_seqlens[seq], n = job->batch->cu_seqlens[seq + 1] - first;
        const float *row = job->qkv->data + first * width + head * o->head_dim;
        tkr_attention_args args = {
            .q = row + o->q_column,
            .k = row + o->k_column,
            .v = row + o->v_column,
            .q_stride = width,
            .kv_stride = width,
            .out = job->out->data + first * job->out->cols + head * o->head_dim,
            .out_stride = job->out->cols,
            .n_tokens = n,
            .head_dim = o->head_dim,
            .scale = o->scale,
            .window = o->window,
            .causal = o->causal,
            .scratch = job->run->kernel[worker].data,
        };
        if (job->padded_dim == o->head_dim)
            job->kernel->head(&args);
        else
            padded_head(job, worker, &args);
    }
}

tkr_tensor *tkr_cpu_attention(tkr_run *run, const tkr_tensor *qkv, const tkr_batch *batch,
                              const tkr_attention_options *options) {
    if (!tkr_run_proceed(run)) return NULL;
    size_t longest = 0;
    for (size_t i = 0; i < batch->n_seqs; i++) {
        size_t n = batch->cu_seqlens[i + 1] - batch->cu_seqlens[i];
        longest = n > longest ? n : longest;
    }
    attention_job job = {.qkv = qkv, .batch = batch, .options = options, .run = run};
    job.kernel = run->backend->kernels->attention[options->mode];
    job.padded_dim = tkr_align_up(options->head_dim, 4);
    size_t packed = job.padded_dim == options->head_dim ? 0 : 4 * longest * job.padded_dim * sizeof(float);
    if (!tkr_run_scratch(run, tkr_run_workers(run), packed, job.kernel->scratch_bytes(longest, job.padded_dim)))
        return NULL;
    job.out = tkr_run_tensor(run, qkv->rows, options->n_heads * options->head_dim);
    if (!job.out) return NULL;
    tkr_run_parallel(run, batch->n_seqs * options->n_heads > 1, attention_worker, &job);
    return job.out;
}
