/* SPDX-License-Identifier: Apache-2.0 */
/* models/blocks: the layers that an architecture's configuration and layout describe: attention, MLP and norms once for
 * all architectures, of texts and pictures. Long inputs go through each layer in chunks of rows, so that only the
 * residual stream and one layer's keys and values exist for all tokens. */
#include <math.h>
#include <string.h>

#include "models/blocks.h"

/* ---- binding ---- */

typedef struct block_binder {
    tkr_binder *binder;
    const tkr_arch_config *c;
    const tkr_layout *layout;
    char prefix[128]; /* of the layer at hand */
    tkr_error *error;
} block_binder;

typedef struct block_name {
    char text[192];
} block_name;

static block_name name_in(const block_binder *b, const char *name) {
    block_name out;
    snprintf(out.text, sizeof out.text, "%s%s", b->prefix, name);
    return out;
}

tkr_status tkr_norm_bind(tkr_norm *norm, tkr_binder *binder, const tkr_arch_config *config, const char *name, size_t n,
                         tkr_error *error) {
    char weight[224], bias[224], gamma[224], beta[224];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(gamma, sizeof gamma, "%s.gamma", name); /* spelling of checkpoints converted from TensorFlow */
    snprintf(bias, sizeof bias, "%s.bias", name);
    snprintf(beta, sizeof beta, "%s.beta", name);
    tkr_status status = tkr_bind_vector(binder, &norm->gain, weight, gamma, n, config->norm_offset, error);
    if (status == TKR_OK && config->norm == TKR_NORM_LAYER && config->norm_bias)
        status = tkr_bind_vector(binder, &norm->shift, bias, beta, n, 0, error);
    return status;
}

void tkr_norm_free(tkr_norm *norm, const tkr_ops *ops) {
    ops->weight_free(&norm->gain);
    ops->weight_free(&norm->shift);
}

static tkr_status bind_norm(const block_binder *b, tkr_norm *norm, const char *name, size_t n) {
    return tkr_norm_bind(norm, b->binder, b->c, name_in(b, name).text, n, b->error);
}

static tkr_status bind_head_gain(const block_binder *b, tkr_weight **gain, const char *name) {
    char weight[224];
    snprintf(weight, sizeof weight, "%s.weight", name_in(b, name).text);
    return tkr_bind_vector(b->binder, gain, weight, NULL, b->c->head_dim, b->c->norm_offset, b->error);
}

/* Queries, keys and values suffer most from 8-bit inputs, and values most from 4-bit weights: docs/numerics.md. */
static tkr_status bind_attention(const block_binder *b, tkr_block *block) {
    const tkr_arch_config *c = b->c;
    const tkr_layout *l = b->layout;
    const size_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim, h = c->hidden_size, all = q + 2 * kv;
    block_name names[3] = {name_in(b, l->qkv ? l->qkv : l->q), name_in(b, l->qkv ? l->qkv : l->k),
                           name_in(b, l->qkv ? l->qkv : l->v)};
    tkr_bind_part parts[3] = {{.name = names[0].text, .total = q, .rows = q},
                              {.name = names[1].text, .total = kv, .rows = kv},
                              {.name = names[2].text, .total = kv, .rows = kv}};
    if (l->qkv) {
        parts[0].total = parts[1].total = parts[2].total = all;
        parts[1].first = q;
        parts[2].first = q + kv;
    }
    tkr_bind_spec spec = {.parts = parts, .n_parts = c->split_qkv ? 1 : 3, .cols = h, .bias = c->qkv_bias};
    spec.sensitivity = TKR_SENSITIVE_INPUT | (c->split_qkv ? 0 : TKR_SENSITIVE_WEIGHT);
    tkr_status status = tkr_bind_linear(b->binder, &block->q, &spec, b->error);
    if (status == TKR_OK && c->split_qkv) {
        spec.parts = parts + 1;
        spec.n_parts = 2;
        spec.sensitivity |= TKR_SENSITIVE_WEIGHT;
        status = tkr_bind_linear(b->binder, &block->kv, &spec, b->error);
    }
    const block_name output = name_in(b, l->output);
    const tkr_bind_part output_part = {.name = output.text, .total = h, .rows = h};
    const tkr_bind_spec output_spec = {.parts = &output_part, .n_parts = 1, .cols = q, .bias = c->output_bias};
    if (status == TKR_OK) status = tkr_bind_linear(b->binder, &block->output, &output_spec, b->error);
    if (status == TKR_OK && l->q_norm) status = bind_head_gain(b, &block->q_gain, l->q_norm);
    if (status == TKR_OK && l->k_norm) status = bind_head_gain(b, &block->k_gain, l->k_norm);
    return status;
}

static tkr_status bind_mlp(const block_binder *b, tkr_block *block) {
    const tkr_arch_config *c = b->c;
    const tkr_layout *l = b->layout;
    const size_t h = c->hidden_size, f = c->intermediate_size;
    const block_name gate = name_in(b, l->gate_up ? l->gate_up
                                       : l->gate  ? l->gate
                                                  : l->up),
                     up = name_in(b, l->up ? l->up : l->gate_up), down = name_in(b, l->down);
    const tkr_bind_part whole = {.name = gate.text, .total = 2 * f, .rows = 2 * f},
                        two[2] = {{.name = gate.text, .total = f, .rows = f}, {.name = up.text, .total = f, .rows = f}},
                        down_part = {.name = down.text, .total = h, .rows = h};
    const tkr_bind_spec up_spec = {.parts = l->gate_up ? &whole
                                            : c->gated ? two
                                                       : two + 1,
                                   .n_parts = c->gated && !l->gate_up ? 2 : 1,
                                   .cols = h,
                                   .bias = c->mlp_bias,
                                   .sensitivity = tkr_arch_up_sensitivity(c),
                                   .gated = c->gated},
                        down_spec = {.parts = &down_part,
                                     .n_parts = 1,
                                     .cols = f,
                                     .bias = c->mlp_bias,
                                     .sensitivity = tkr_arch_down_sensitivity(c)};
    tkr_status status = tkr_bind_linear(b->binder, &block->up, &up_spec, b->error);
    return status != TKR_OK ? status : tkr_bind_linear(b->binder, &block->down, &down_spec, b->error);
}

static tkr_status bind_block(block_binder *b, tkr_block *block, size_t index) {
    const tkr_layout *l = b->layout;
    const size_t h = b->c->hidden_size;
    snprintf(b->prefix, sizeof b->prefix, l->layer, index); /* a constant of the layout, not input */
    const bool bare = index == 0 && l->first_layer_has_no_attention_norm;
    const struct {
        const char *name;
        tkr_norm *norm;
    } norms[] = {{bare ? NULL : l->before_attention, &block->before_attention},
                 {l->after_attention, &block->after_attention},
                 {l->before_mlp, &block->before_mlp},
                 {l->after_mlp, &block->after_mlp}};
    tkr_status status = bind_attention(b, block);
    if (status == TKR_OK) status = bind_mlp(b, block);
    for (size_t i = 0; status == TKR_OK && i < sizeof norms / sizeof *norms; i++)
        if (norms[i].name) status = bind_norm(b, norms[i].norm, norms[i].name, h);
    b->prefix[0] = '\0';
    return status;
}

/* Inverse frequencies as the reference computes them: 1 / theta^(2 i / d), in f32. */
static void fill_frequencies(tkr_stack *stack) {
    const tkr_arch_config *c = &stack->config;
    const size_t half = c->rotary_dim / 2, axes = c->rope_own_frequencies ? c->n_position_axes : 1;
    for (size_t kind = 0; kind < 2; kind++)
        for (size_t i = 0; c->rope_theta[kind] > 0 && i < half; i++) {
            const size_t own_dim = c->rotary_dim / axes, own = i % (half / axes);
            const float exponent = (float)(2 * own) / (float)own_dim;
            stack->inv_freq[kind][i] = 1.0f / powf(c->rope_theta[kind], exponent) / c->rope_factor[kind];
        }
}

tkr_status tkr_stack_bind(tkr_stack *stack, tkr_binder *binder, const tkr_arch_config *config, const tkr_layout *layout,
                          tkr_error *error) {
    block_binder b = {.binder = binder, .c = config, .layout = layout, .error = error};
    stack->ops = tkr_binder_ops(binder);
    stack->mode = tkr_binder_mode(binder);
    stack->config = *config;
    stack->blocks = tkr_calloc(config->n_layers, sizeof *stack->blocks);
    if (!stack->blocks) return TKR_FAIL(error, NO_MEMORY, "no memory for the model");
    fill_frequencies(stack);
    tkr_status status = TKR_OK;
    if (layout->final_norm) status = bind_norm(&b, &stack->final_norm, layout->final_norm, config->hidden_size);
    if (status == TKR_OK && layout->relative)
        status = tkr_bind_flat(binder, &stack->relative, layout->relative, config->n_buckets, config->n_heads, error);
    for (size_t i = 0; status == TKR_OK && i < config->n_layers; i++) status = bind_block(&b, &stack->blocks[i], i);
    return status;
}

void tkr_stack_free(tkr_stack *stack) {
    const tkr_ops *ops = stack->ops;
    if (!ops) return;
    ops->weight_free(&stack->relative);
    tkr_norm_free(&stack->final_norm, ops);
    for (size_t i = 0; stack->blocks && i < stack->config.n_layers; i++) {
        tkr_block *b = &stack->blocks[i];
        tkr_weight **weights[] = {&b->q, &b->kv, &b->output, &b->up, &b->down, &b->q_gain, &b->k_gain};
        for (size_t w = 0; w < sizeof weights / sizeof *weights; w++) ops->weight_free(weights[w]);
        tkr_norm_free(&b->before_attention, ops);
        tkr_norm_free(&b->after_attention, ops);
        tkr_norm_free(&b->before_mlp, ops);
        tkr_norm_free(&b->after_mlp, ops);
    }
    tkr_free(stack->blocks);
    stack->blocks = NULL;
}

/* ---- forward ---- */

/* What the layers of one pass share. */
typedef struct block_pass {
    const tkr_stack *stack;
    const tkr_ops *ops;
    tkr_run *run;
    const tkr_batch *batch, *local; /* local: of local layers */
    tkr_tensor *angles[2];          /* of full and of local layers */
    const int32_t *buckets;         /* by distance, mpnet */
    size_t n_distances;
} block_pass;

tkr_tensor *tkr_stack_norm(const tkr_stack *stack, tkr_run *run, const tkr_tensor *x, const tkr_norm *norm,
                           tkr_tensor *into) {
    const tkr_arch_config *c = &stack->config;
    if (c->norm == TKR_NORM_RMS) return stack->ops->rms_norm(run, x, norm->gain, c->norm_eps, into);
    return stack->ops->layer_norm(run, x, norm->gain, norm->shift, c->norm_eps, into);
}

static tkr_tensor *normed(const block_pass *p, const tkr_tensor *x, const tkr_norm *norm, tkr_tensor *into) {
    return tkr_stack_norm(p->stack, p->run, x, norm, into);
}

static void rotate_heads(const block_pass *p, tkr_tensor *x, size_t column, size_t n_heads, const tkr_weight *gain,
                         size_t layer, size_t first_row) {
    const tkr_arch_config *c = &p->stack->config;
    const tkr_rotate_options options = {.column = column,
                                        .n_heads = n_heads,
                                        .head_dim = c->head_dim,
                                        .gain = gain,
                                        .eps = c->norm_eps,
                                        .angles = p->angles[tkr_arch_is_local(c, layer)],
                                        .first_row = first_row};
    if (gain || options.angles) p->ops->rotate(p->run, x, &options);
}

/* What a part of a block reads: x, or the norm before the part where there is one, kept in *own for the caller. */
static const tkr_tensor *part_input(const block_pass *p, const tkr_norm *before, const tkr_tensor *x,
                                    tkr_tensor **own) {
    if (!before->gain) return x;
    return *own = normed(p, x, before, NULL);
}

/* Keys and values (and, unless the model splits them off, queries) of rows [first, first + n), into rows of `to`. */
static void project(const block_pass *p, size_t layer, tkr_tensor *x, tkr_tensor *to, size_t first, size_t n) {
    const tkr_arch_config *c = &p->stack->config;
    const tkr_block *block = &p->stack->blocks[layer];
    const size_t q = c->split_qkv ? 0 : c->n_heads * c->head_dim;
    tkr_tensor *rows = p->ops->view(p->run, x, first, n), *own = NULL, *part = p->ops->view(p->run, to, first, n);
    const tkr_tensor *input = part_input(p, &block->before_attention, rows, &own);
    const tkr_linear_options into = {TKR_ACT_NONE, NULL, part};
    p->ops->apply(p->run, input, block->kv ? block->kv : block->q, &into);
    if (q) rotate_heads(p, part, 0, c->n_heads, block->q_gain, layer, first);
    rotate_heads(p, part, q, c->n_kv_heads, block->k_gain, layer, first);
    p->ops->release(p->run, &own);
    p->ops->release(p->run, &part);
    p->ops->release(p->run, &rows);
}

/* x += weight(input), with the norm that the blocks have behind a part: of the sum, or of what is added. */
static void add_part(const block_pass *p, tkr_tensor *x, const tkr_tensor *input, const tkr_weight *weight,
                     const tkr_norm *after) {
    const tkr_norm_place place = p->stack->config.norm_place;
    if (place == TKR_NORM_SANDWICH) {
        tkr_tensor *out = p->ops->apply(p->run, input, weight, NULL);
        normed(p, out, after, out);
        p->ops->add(p->run, x, out);
        p->ops->release(p->run, &out);
        return;
    }
    const tkr_linear_options sum = {TKR_ACT_NONE, x, x};
    p->ops->apply(p->run, input, weight, &sum);
    if (place == TKR_NORM_POST) normed(p, x, after, x);
}

/* Attention and what it adds, for the rows of `x`, a view from row `first` on. */
static void attend(const block_pass *p, size_t layer, tkr_tensor *x, tkr_tensor *kv, size_t first) {
    const tkr_arch_config *c = &p->stack->config;
    const tkr_block *block = &p->stack->blocks[layer];
    const tkr_ops *ops = p->ops;
    const size_t q_width = c->split_qkv ? 0 : c->n_heads * c->head_dim;
    tkr_tensor *q, *own = NULL;
    if (c->split_qkv) {
        const tkr_tensor *input = part_input(p, &block->before_attention, x, &own);
        q = ops->apply(p->run, input, block->q, NULL);
        ops->release(p->run, &own);
        rotate_heads(p, q, 0, c->n_heads, block->q_gain, layer, first);
    } else {
        q = ops->view(p->run, kv, first, ops->rows(x));
    }
    const tkr_attention_options attention = {.n_heads = c->n_heads,
                                             .n_kv_heads = c->n_kv_heads,
                                             .head_dim = c->head_dim,
                                             .k_column = q_width,
                                             .v_column = q_width + c->n_kv_heads * c->head_dim,
                                             .first_row = first,
                                             .scale = c->attention_scale,
                                             .window = tkr_arch_is_local(c, layer) ? c->window : 0,
                                             .causal = c->causal,
                                             .mode = p->stack->mode,
                                             .relative = p->stack->relative,
                                             .buckets = p->buckets,
                                             .n_distances = p->n_distances};
    const bool segments = p->local && tkr_arch_is_local(c, layer);
    tkr_tensor *heads = ops->attention(p->run, q, kv, segments ? p->local : p->batch, &attention);
    ops->release(p->run, &q);
    add_part(p, x, heads, block->output, &block->after_attention);
    ops->release(p->run, &heads);
}

static void feed_forward(const block_pass *p, const tkr_block *block, tkr_tensor *x) {
    tkr_tensor *own = NULL;
    const tkr_tensor *input = part_input(p, &block->before_mlp, x, &own);
    const tkr_linear_options activate = {p->stack->config.activation, NULL, NULL};
    tkr_tensor *inner = p->ops->apply(p->run, input, block->up, &activate);
    p->ops->release(p->run, &own);
    add_part(p, x, inner, block->down, &block->after_mlp);
    p->ops->release(p->run, &inner);
}

static void forward_block(const block_pass *p, size_t layer, tkr_tensor *x) {
    const tkr_arch_config *c = &p->stack->config;
    const tkr_ops *ops = p->ops;
    const size_t n = p->batch->n_tokens, step = ops->chunk_rows(p->run);
    const size_t kv_width = 2 * c->n_kv_heads * c->head_dim, q_width = c->n_heads * c->head_dim;
    tkr_tensor *kv = ops->empty(p->run, n, c->split_qkv ? kv_width : q_width + kv_width);
    for (size_t at = 0; kv && at < n; at += step) project(p, layer, x, kv, at, n - at < step ? n - at : step);
    for (size_t at = 0; kv && at < n; at += step) {
        tkr_tensor *rows = ops->view(p->run, x, at, n - at < step ? n - at : step);
        if (!rows) break;
        attend(p, layer, rows, kv, at);
        feed_forward(p, &p->stack->blocks[layer], rows);
        ops->release(p->run, &rows);
    }
    ops->release(p->run, &kv);
}

/* Angles of full and of local layers; one tensor where they agree. */
static void make_angles(block_pass *p) {
    const tkr_arch_config *c = &p->stack->config;
    bool wanted[2] = {false, false};
    for (size_t i = 0; c->rotary_dim > 0 && i < c->n_layers; i++) wanted[tkr_arch_is_local(c, i)] = true;
    const bool same = c->rope_theta[0] == c->rope_theta[1] && c->rope_factor[0] == c->rope_factor[1];
    for (size_t kind = 0; kind < 2; kind++) {
        const tkr_angle_options options = {.positions = p->batch->positions,
                                           .inv_freq = p->stack->inv_freq[kind],
                                           .axis = c->n_position_axes > 1 ? c->rope_axis : NULL,
                                           .n_tokens = p->batch->n_tokens,
                                           .half = c->rotary_dim / 2};
        if (!wanted[kind]) continue;
        p->angles[kind] = kind == 1 && same && wanted[0] ? p->angles[0] : p->ops->angles(p->run, &options);
    }
}

static void release_angles(block_pass *p) {
    if (p->angles[1] == p->angles[0]) p->angles[1] = NULL;
    for (size_t kind = 0; kind < 2; kind++) p->ops->release(p->run, &p->angles[kind]);
}

/* Raffel et al. 2020; transformers MPNetEncoder.relative_position_bucket: half of the buckets for each direction, exact
 * up to a quarter of them, then logarithmic to max_distance. In f32 like the reference; the borders 16, 32 and 64 of 32
 * buckets come out exact, since logf(2^n) is n times logf(2) there. */
int32_t tkr_relative_bucket(long distance, size_t n_buckets, size_t max_distance) {
    const long half = (long)n_buckets / 2, exact = half / 2, n = distance < 0 ? -distance : distance;
    /* The reference's sign: keys to the right of the query use the upper half. */
    const long base = distance > 0 ? half : 0;
    if (n < exact) return (int32_t)(base + n);
    const float ratio = logf((float)n / (float)exact) / (float)log((double)max_distance / (double)exact);
    const long large = exact + (long)(ratio * (float)(half - exact));
    return (int32_t)(base + (large < half ? large : half - 1));
}

static bool make_buckets(block_pass *p, int32_t **out) {
    const tkr_arch_config *c = &p->stack->config;
    size_t longest = 1;
    for (size_t i = 0; i < p->batch->n_seqs; i++) {
        const size_t n = p->batch->cu_seqlens[i + 1] - p->batch->cu_seqlens[i];
        longest = n > longest ? n : longest;
    }
    int32_t *buckets = tkr_calloc(2 * longest + 1, sizeof *buckets);
    if (!buckets) return false;
    for (size_t i = 0; i < 2 * longest + 1; i++)
        buckets[i] = tkr_relative_bucket((long)i - (long)longest, c->n_buckets, c->max_distance);
    p->buckets = *out = buckets;
    p->n_distances = longest;
    return true;
}

void tkr_stack_forward(const tkr_stack *stack, tkr_run *run, tkr_tensor *x, const tkr_stack_input *input) {
    const tkr_ops *ops = stack->ops;
    block_pass p = {.stack = stack, .ops = ops, .run = run, .batch = input->batch, .local = input->local};
    int32_t *buckets = NULL;
    if (stack->relative && !make_buckets(&p, &buckets)) {
        ops->fail(run, TKR_NO_MEMORY, "no memory for the attention bias");
        return;
    }
    make_angles(&p);
    for (size_t i = 0; x && i < stack->config.n_layers && ops->run_status(run, NULL) == TKR_OK; i++) {
        forward_block(&p, i, x);
        if (input->after_layer) input->after_layer(input->user, i, x);
    }
    if (stack->final_norm.gain) normed(&p, x, &stack->final_norm, x);
    release_angles(&p);
    tkr_free(buckets);
}
