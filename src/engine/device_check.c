/* SPDX-License-Identifier: Apache-2.0 */
/* engine/device_check: each operation of a device against the CPU backend on built-in numbers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "engine/device.h"
#include "engine/noise.h"

/* Tokens of three sequences; heads of which two share keys; a vocabulary; groups of 4-bit weights. */
enum { TOKENS = 29, SEQS = 3, HEAD = 32, HEADS = 4, WIDTH = HEADS * HEAD, OUT = 64, VOCAB = 41, GROUP = 32 };
enum { MOST_VALUES = TOKENS * 3 * WIDTH };

static const size_t cu_seqlens[SEQS + 1] = {0, 5, 6, TOKENS};

typedef enum weight_id {
    TABLE,
    POSITIONS,
    GAIN,
    SHIFT,
    LINEAR_F32,
    LINEAR_BF16,
    LINEAR_Q8,
    LINEAR_Q4,
    GATED,
    WEIGHTS
} weight_id;

/* The numbers that both backends get. */
typedef struct data {
    float table[VOCAB * WIDTH], matrix[2 * OUT * WIDTH], gain[WIDTH], shift[WIDTH], bias[2 * OUT];
    float x[TOKENS * WIDTH], qkv[MOST_VALUES];
    float inv_freq[HEAD / 2];
    int32_t ids[TOKENS], positions[TOKENS];
    size_t picked[TOKENS / 2];
    float got[2][MOST_VALUES];
} data;

/* One of the two backends. */
typedef struct side {
    const tkr_ops *ops;
    tkr_backend *backend;
    tkr_run *run;
    tkr_weight *weights[WEIGHTS];
    const data *d;
} side;

static void fill_data(data *d) {
    tkr_noise_fill(d->table, VOCAB * WIDTH, 1);
    tkr_noise_fill(d->gain, WIDTH, 2);
    tkr_noise_fill(d->shift, WIDTH, 3);
    tkr_noise_fill(d->bias, 2 * OUT, 4);
    tkr_noise_fill(d->x, TOKENS * WIDTH, 5);
    tkr_noise_fill(d->qkv, MOST_VALUES, 6);
    /* Multiples of 1/16 that reach from -8/16 to 7/16 in every group: 4 bits hold them exactly. */
    uint32_t state = 7;
    for (size_t i = 0; i < 2 * OUT * WIDTH; i++) {
        const float code = floorf(8.0f * tkr_noise(&state));
        d->matrix[i] = (i % GROUP == 0 ? -8.0f : i % GROUP == 1 ? 7.0f : code) / 16.0f;
    }
    for (size_t i = 0; i < HEAD / 2; i++) d->inv_freq[i] = 1.0f / (1.0f + (float)(i * i));
    for (size_t t = 0; t < TOKENS; t++) {
        d->ids[t] = (int32_t)(t * 7 % VOCAB);
        d->positions[t] = (int32_t)(t < cu_seqlens[1] ? t : t < cu_seqlens[2] ? t - cu_seqlens[1] : t - cu_seqlens[2]);
    }
    for (size_t i = 0; i < TOKENS / 2; i++) d->picked[i] = TOKENS - 1 - 2 * i;
}

/* ---- weights ---- */

static tkr_source source_of(const char *name, const float *values, size_t rows, size_t cols) {
    return (tkr_source){name, {.data = values, .dtype = TKR_DTYPE_F32, .rows = rows, .cols = cols}};
}

static tkr_status make_linear(side *s, weight_id id, tkr_gemm_mode mode, bool gated, tkr_error *error) {
    const size_t rows = gated ? 2 * OUT : OUT;
    const tkr_source part = source_of("matrix", s->d->matrix, rows, WIDTH),
                     bias = source_of("bias", s->d->bias, 1, rows);
    const tkr_source *const biases[] = {&bias};
    const tkr_linear_spec spec = {
        .parts = &part,
        .biases = biases,
        .n_parts = 1,
        .shape = {.rows = rows, .cols = WIDTH, .mode = mode, .gated = gated, .bias = true, .group = GROUP}};
    return s->ops->linear(&s->weights[id], s->backend, &spec, error);
}

static tkr_status make_weights(side *s, bool reference, tkr_error *error) {
    const data *d = s->d;
    static const tkr_gemm_mode modes[] = {TKR_GEMM_F32, TKR_GEMM_BF16, TKR_GEMM_Q8, TKR_GEMM_Q4};
    const tkr_source table = source_of("table", d->table, VOCAB, WIDTH), gain = source_of("gain", d->gain, 1, WIDTH),
                     shift = source_of("shift", d->shift, 1, WIDTH);
    tkr_status status = s->ops->table(&s->weights[TABLE], s->backend, &table, error);
    if (status == TKR_OK) status = s->ops->table(&s->weights[POSITIONS], s->backend, &table, error);
    if (status == TKR_OK) status = s->ops->vector(&s->weights[GAIN], s->backend, &gain, 1.0f, error);
    if (status == TKR_OK) status = s->ops->vector(&s->weights[SHIFT], s->backend, &shift, 0.0f, error);
    for (int i = 0; i < 4 && status == TKR_OK; i++)
        status = make_linear(s, (weight_id)(LINEAR_F32 + i), reference ? TKR_GEMM_F32 : modes[i], false, error);
    if (status == TKR_OK) status = make_linear(s, GATED, TKR_GEMM_F32, true, error);
    return status == TKR_OK ? s->ops->run_create(&s->run, s->backend, error) : status;
}

static void free_side(side *s) {
    if (s->run) s->ops->run_free(&s->run);
    for (size_t i = 0; i < WEIGHTS; i++)
        if (s->weights[i]) s->ops->weight_free(&s->weights[i]);
}

/* ---- operations ---- */

static tkr_tensor *input(const side *s) { return s->ops->input(s->run, s->d->x, TOKENS, WIDTH); }
static tkr_tensor *heads(const side *s) { return s->ops->input(s->run, s->d->qkv, TOKENS, 3 * WIDTH); }

static tkr_tensor *op_embed(const side *s) {
    const tkr_weight *tables[] = {s->weights[TABLE], s->weights[POSITIONS]};
    const int32_t *indices[] = {s->d->ids, s->d->positions};
    return s->ops->embed(s->run, tables, indices, 2, TOKENS, 3.0f);
}

static tkr_tensor *apply(const side *s, weight_id id, tkr_activation activation) {
    tkr_tensor *x = input(s);
    const tkr_linear_options options = {.activation = activation};
    tkr_tensor *y = s->ops->apply(s->run, x, s->weights[id], &options);
    s->ops->release(s->run, &x);
    return y;
}

static tkr_tensor *op_linear(const side *s) { return apply(s, LINEAR_F32, TKR_ACT_GELU_ERF); }
static tkr_tensor *op_bf16(const side *s) { return apply(s, LINEAR_BF16, TKR_ACT_NONE); }
static tkr_tensor *op_q8(const side *s) { return apply(s, LINEAR_Q8, TKR_ACT_NONE); }
static tkr_tensor *op_q4(const side *s) { return apply(s, LINEAR_Q4, TKR_ACT_NONE); }
static tkr_tensor *op_gated(const side *s) { return apply(s, GATED, TKR_ACT_SILU); }

static tkr_tensor *op_residual(const side *s) {
    tkr_tensor *x = input(s), *y = apply(s, LINEAR_F32, TKR_ACT_TANH);
    const tkr_linear_options options = {.residual = y, .into = y};
    s->ops->apply(s->run, x, s->weights[LINEAR_F32], &options);
    s->ops->release(s->run, &x);
    return y;
}

static tkr_tensor *op_layer_norm(const side *s) {
    tkr_tensor *x = input(s);
    return s->ops->layer_norm(s->run, x, s->weights[GAIN], s->weights[SHIFT], 1e-12f, x);
}

static tkr_tensor *op_rms_norm(const side *s) {
    tkr_tensor *x = input(s), *y = s->ops->rms_norm(s->run, x, s->weights[GAIN], 1e-6f, NULL);
    s->ops->add(s->run, y, x);
    s->ops->release(s->run, &x);
    return y;
}

static tkr_tensor *op_rotate(const side *s) {
    const tkr_angle_options turn = {
        .positions = s->d->positions, .inv_freq = s->d->inv_freq, .n_tokens = TOKENS, .half = HEAD / 2};
    tkr_tensor *x = heads(s), *angles = s->ops->angles(s->run, &turn);
    const tkr_rotate_options options = {.column = WIDTH, .n_heads = HEADS, .head_dim = HEAD, .angles = angles};
    s->ops->rotate(s->run, x, &options);
    s->ops->release(s->run, &angles);
    return x;
}

static tkr_tensor *attend(const side *s, size_t kv_heads, bool causal, size_t window) {
    tkr_tensor *x = heads(s);
    const tkr_batch batch = {.n_tokens = TOKENS,
                             .n_seqs = SEQS,
                             .ids = s->d->ids,
                             .positions = s->d->positions,
                             .n_position_axes = 1,
                             .cu_seqlens = cu_seqlens};
    const tkr_attention_options options = {.n_heads = HEADS,
                                           .n_kv_heads = kv_heads,
                                           .head_dim = HEAD,
                                           .k_column = WIDTH,
                                           .v_column = 2 * WIDTH,
                                           .scale = 0.3f,
                                           .window = window,
                                           .causal = causal,
                                           .mode = TKR_GEMM_F32};
    tkr_tensor *y = s->ops->attention(s->run, x, x, &batch, &options);
    s->ops->release(s->run, &x);
    return y;
}

static tkr_tensor *op_attention(const side *s) { return attend(s, HEADS, false, 0); }
static tkr_tensor *op_causal(const side *s) { return attend(s, HEADS / 2, true, 0); }
static tkr_tensor *op_window(const side *s) { return attend(s, HEADS, false, 3); }

static tkr_tensor *op_pool(const side *s) {
    static const tkr_pool_mode modes[] = {TKR_POOL_CLS,           TKR_POOL_MAX,          TKR_POOL_MEAN,
                                          TKR_POOL_MEAN_SQRT_LEN, TKR_POOL_WEIGHTEDMEAN, TKR_POOL_LASTTOKEN};
    static const tkr_span spans[SEQS] = {{1, 5, 0}, {5, 6, 5}, {8, TOKENS, 6}};
    tkr_tensor *x = input(s), *y = s->ops->pool(s->run, x, spans, SEQS, modes, sizeof modes / sizeof *modes);
    s->ops->release(s->run, &x);
    return y;
}

static tkr_tensor *op_normalize(const side *s) {
    tkr_tensor *x = input(s), *y = s->ops->normalize(s->run, x);
    s->ops->release(s->run, &x);
    return y;
}

static tkr_tensor *op_rows(const side *s) {
    tkr_tensor *x = input(s), *y = input(s), *some = s->ops->gather(s->run, x, s->d->picked + 2, TOKENS / 2 - 2);
    s->ops->scatter(s->run, y, some, s->d->picked, true);
    s->ops->release(s->run, &some);
    s->ops->release(s->run, &x);
    return y;
}

static const struct {
    const char *name;
    tkr_tensor *(*fn)(const side *s);
    double bound;
} operations[] = {{"embedding", op_embed, 1e-5},
                  {"linear f32", op_linear, 1e-4},
                  {"linear bf16", op_bf16, 2e-2},
                  {"linear q8", op_q8, 2e-2},
                  {"linear q4", op_q4, 2e-2},
                  {"gated linear", op_gated, 1e-4},
                  {"residual", op_residual, 1e-4},
                  {"layer norm", op_layer_norm, 1e-4},
                  {"rms norm", op_rms_norm, 1e-4},
                  {"rotary positions", op_rotate, 1e-4},
                  {"attention", op_attention, 1e-4},
                  {"attention, causal, shared keys", op_causal, 1e-4},
                  {"attention, window", op_window, 1e-4},
                  {"pooling", op_pool, 1e-4},
                  {"normalise", op_normalize, 1e-5},
                  {"gather and scatter", op_rows, 1e-5}};

/* ---- comparison ---- */

static tkr_status compute(float *out, size_t *n, const side *s, tkr_tensor *(*fn)(const side *s), tkr_error *error) {
    const tkr_run_options options = {.max_bytes = (size_t)64 << 20};
    s->ops->run_begin(s->run, &options);
    tkr_tensor *x = fn(s);
    *n = s->ops->rows(x) * s->ops->cols(x);
    tkr_status status = s->ops->run_status(s->run, error);
    if (status == TKR_OK && *n > MOST_VALUES)
        status = TKR_FAIL(error, INTERNAL, "a result of %zu values; expected %d at most", *n, (int)MOST_VALUES);
    if (status == TKR_OK && s->ops->read(s->run, out, x) != TKR_OK) status = s->ops->run_status(s->run, error);
    s->ops->release(s->run, &x);
    return status;
}

static double difference(const float *got, const float *want, size_t n) {
    double worst = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(got[i])) return INFINITY;
        worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
        largest = fmax(largest, fabs((double)want[i]));
    }
    return largest > 0 ? worst / largest : INFINITY;
}

static void compare(void (*fn)(void *user, const tkr_device_check *check), void *user, const side *device,
                    const side *cpu, data *d) {
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        tkr_error error = {TKR_OK, NULL, ""};
        tkr_device_check check = {.name = operations[i].name, .error = INFINITY, .bound = operations[i].bound};
        size_t n = 0, n_cpu = 0;
        tkr_status status = compute(d->got[0], &n, device, operations[i].fn, &error);
        if (status == TKR_OK) status = compute(d->got[1], &n_cpu, cpu, operations[i].fn, &error);
        if (status == TKR_OK && n == n_cpu) check.error = difference(d->got[0], d->got[1], n);
        if (status != TKR_OK) check.failure = error.message;
        fn(user, &check);
    }
}

tkr_status tkr_device_selftest(void (*fn)(void *user, const tkr_device_check *check), void *user,
                               const tkr_device *device, const tkr_kernels *kernels, tkr_error *error) {
    tkr_pool *pool = NULL;
    tkr_backend *backend = NULL;
    data *d = tkr_calloc(1, sizeof *d);
    if (!d) return TKR_FAIL(error, NO_MEMORY, "no memory for the self-test");
    side there = {.ops = device->ops, .backend = device->backend, .d = d}, here = {.ops = &tkr_ops_cpu, .d = d};
    tkr_status status = tkr_pool_create(&pool, 1, error);
    if (status == TKR_OK) status = tkr_backend_cpu_create(&backend, kernels, pool, error);
    if (status == TKR_OK) {
        fill_data(d);
        here.backend = backend;
        status = make_weights(&here, true, error);
    }
    if (status == TKR_OK) status = make_weights(&there, false, error);
    if (status == TKR_OK) compare(fn, user, &there, &here, d);
    free_side(&there);
    free_side(&here);
    tkr_backend_cpu_free(&backend);
    tkr_pool_free(&pool);
    tkr_free(d);
    return status;
}
