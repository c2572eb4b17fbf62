/* SPDX-License-Identifier: Apache-2.0 */
/* Linear layers on MLX's CPU device beside the CPU backend: every number format, activation and stacking; MLX's own
 * groups and GGUF's blocks; what is refused; and what a layer says that it takes. */
#include "mlx_fixture.h"

enum { MAX_PARTS = 3 };

/* A layer whose parts may differ in format; the input and the residual come from the fixture. */
typedef struct layer {
    tkr_matrix parts[MAX_PARTS];
    size_t n_parts, rows; /* of the input */
    tkr_gemm_mode mode;
    size_t group;
    bool gated, bias, residual, into, one_without_bias;
    tkr_activation activation;
} layer;

static float *run_layer(const fixture *f, const side *s, const void *arg, size_t *n) {
    const layer *l = arg;
    tkr_source parts[MAX_PARTS], bias_sources[MAX_PARTS];
    const tkr_source *biases[MAX_PARTS];
    size_t outputs = 0;
    for (size_t i = 0; i < l->n_parts; i++) {
        parts[i] = (tkr_source){"weight", l->parts[i]};
        bias_sources[i] = plain("bias", f->bias + outputs, 1, l->parts[i].rows);
        biases[i] = l->one_without_bias && i == 1 ? NULL : &bias_sources[i];
        outputs += l->parts[i].rows;
    }
    const tkr_linear_spec spec = {.parts = parts,
                                  .biases = l->bias ? biases : NULL,
                                  .n_parts = l->n_parts,
                                  .shape = {.mode = l->mode, .gated = l->gated, .group = l->group}};
    const size_t width = l->gated ? outputs / 2 : outputs;
    tkr_weight *weight = side_linear(s, &spec);
    side_begin(s);
    tkr_tensor *x = s->ops->input(s->run, f->a, l->rows, l->parts[0].cols);
    tkr_tensor *residual = s->ops->input(s->run, f->residual, l->rows, width);
    const tkr_linear_options options = {l->activation, l->residual ? residual : NULL, l->into ? residual : NULL};
    tkr_tensor *y = s->ops->apply(s->run, x, weight, &options);
    assert_true(!l->into || y == residual);
    float *values = side_values(s, y, n);
    s->ops->weight_free(&weight);
    return values;
}

static tkr_matrix plain_matrix(const float *values, size_t rows, size_t cols) {
    return (tkr_matrix){.data = values, .dtype = TKR_DTYPE_F32, .rows = rows, .cols = cols};
}

/* f32; the other three are coarser on both sides, by different means: the CPU backend has inputs of 8 bits where MLX
 * has bf16. */
static const double bounds[TKR_GEMM_MODES] = {2e-6, 6e-3, 2.5e-2, 2.5e-2};

static void plain_layers(void **state) {
    const pair *p = *state;
    static const size_t shapes[][3] = {{1, 32, 96}, {7, 64, 50}, {33, 128, 65}, {3, 96, 131}, {100, 384, 40}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
            const size_t cols = shapes[i][1], first = shapes[i][2] / 3, second = shapes[i][2] - first;
            const layer l = {.parts = {plain_matrix(p->f->w, first, cols), plain_matrix(p->f->w + 7, second, cols)},
                             .n_parts = 2,
                             .rows = shapes[i][0],
                             .mode = (tkr_gemm_mode)mode,
                             .group = (size_t)32 << i % 3,
                             .bias = i % 3 != 0,
                             .one_without_bias = i % 2 == 0,
                             .residual = i % 2 == 1,
                             .into = i % 4 == 3,
                             .activation = i % 2 ? TKR_ACT_NONE : TKR_ACT_GELU_ERF};
            compare(p, run_layer, &l, bounds[mode], "plain layer");
        }
}

static void activations(void **state) {
    const pair *p = *state;
    for (int act = TKR_ACT_NONE; act <= TKR_ACT_QUICK_GELU; act++)
        for (int gated = 0; gated < 2; gated++) {
            const layer l = {.parts = {plain_matrix(p->f->w, 48, 64)},
                             .n_parts = 1,
                             .rows = 20,
                             .gated = gated,
                             .bias = true,
                             .residual = !gated,
                             .activation = (tkr_activation)act};
            compare(p, run_layer, &l, 2e-6, "activation");
        }
}

static void gated_layers(void **state) {
    const pair *p = *state;
    for (int mode = 0; mode < TKR_GEMM_MODES; mode++)
        for (size_t n = 1; n <= 2; n++)
            for (int bias = 0; bias < 2; bias++) {
                const tkr_matrix part = plain_matrix(p->f->w, 80 / n, 96), other = plain_matrix(p->f->w + 9, 40, 96);
                const layer l = {.parts = {part, other},
                                 .n_parts = n,
                                 .rows = 19,
                                 .mode = (tkr_gemm_mode)mode,
                                 .group = 32,
                                 .gated = true,
                                 .bias = bias,
                                 .activation = bias ? TKR_ACT_SILU : TKR_ACT_GELU_TANH};
                compare(p, run_layer, &l, 2 * bounds[mode], "gated layer");
            }
}

static void half_precision_weights(void **state) {
    const pair *p = *state;
    enum { ROWS = 48, COLS = 64 };
    static uint16_t f16[ROWS * COLS + 1], bf16[ROWS * COLS];
    for (size_t i = 0; i < ROWS * COLS; i++) {
        f16[i] = tkr_f32_to_f16(p->f->w[i]);
        bf16[i] = tkr_f32_to_bf16(p->f->w[i]);
    }
    for (int mode = TKR_GEMM_F32; mode <= TKR_GEMM_BF16; mode++) {
        const layer l = {.parts = {{.data = f16, .dtype = TKR_DTYPE_F16, .rows = ROWS, .cols = COLS},
                                   {.data = bf16, .dtype = TKR_DTYPE_BF16, .rows = ROWS, .cols = COLS}},
                         .n_parts = 2,
                         .rows = 9,
                         .mode = (tkr_gemm_mode)mode};
        compare(p, run_layer, &l, bounds[mode], "half precision");
    }
    /* Any alignment: the map of a file decides. */
    memmove((char *)f16 + 1, f16, ROWS * COLS * sizeof *f16);
    const layer odd = {.parts = {{.data = (const char *)f16 + 1, .dtype = TKR_DTYPE_F16, .rows = ROWS, .cols = COLS}},
                       .n_parts = 1,
                       .rows = 9};
    compare(p, run_layer, &odd, bounds[TKR_GEMM_F32], "odd address");
}

/* ---- MLX's groups ---- */

enum { G_ROWS = 40, G_COLS = 256 };
static uint8_t codes[G_ROWS * G_COLS + 4], scales[G_ROWS * G_COLS / 16 * 4], group_biases[G_ROWS * G_COLS / 16 * 4];

static void random_bytes(uint8_t *out, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = (uint8_t)random_bits();
}

static void put_scale(uint8_t *out, float value, tkr_dtype dtype) {
    const uint16_t half = dtype == TKR_DTYPE_F16 ? tkr_f32_to_f16(value) : tkr_f32_to_bf16(value);
    memcpy(out, dtype == TKR_DTYPE_F32 ? (const void *)&value : &half, tkr_dtype_size(dtype));
}

static tkr_matrix affine_matrix(unsigned bits, unsigned group, tkr_dtype dtype) {
    const size_t n = (size_t)G_ROWS * G_COLS / group, size = tkr_dtype_size(dtype);
    const float step = 2.0f / (float)((1u << bits) - 1);
    random_bytes(codes, sizeof codes);
    for (size_t i = 0; i < n; i++) {
        put_scale(scales + i * size, step * (1 + noise() / 4), dtype);
        put_scale(group_biases + i * size, -1 + noise() / 4, dtype);
    }
    return (tkr_matrix){.data = codes,
                        .dtype = TKR_DTYPE_U32,
                        .rows = G_ROWS,
                        .cols = G_COLS,
                        .mode = TKR_GROUP_AFFINE,
                        .bits = bits,
                        .group_size = group,
                        .scale_dtype = dtype,
                        .scales = scales,
                        .biases = group_biases};
}

static tkr_matrix float_matrix(tkr_group_mode mode) {
    const bool nvfp4 = mode == TKR_GROUP_NVFP4;
    random_bytes(codes, sizeof codes);
    for (size_t i = 0; i < sizeof codes; i++) codes[i] = (codes[i] & 127) == 127 ? 0 : codes[i]; /* no NaN */
    for (size_t i = 0; i < sizeof scales; i++) scales[i] = (uint8_t)((nvfp4 ? 40 : 120) + random_bits() % 8);
    return (tkr_matrix){.data = codes,
                        .dtype = TKR_DTYPE_U32,
                        .rows = G_ROWS,
                        .cols = G_COLS,
                        .mode = mode,
                        .bits = mode == TKR_GROUP_MXFP8 ? 8 : 4,
                        .group_size = nvfp4 ? 16 : 32,
                        .scale_dtype = TKR_DTYPE_U8,
                        .scales = scales};
}

static void check_groups(const pair *p, const tkr_matrix *m) {
    char what[64];
    for (size_t rows = 1; rows <= 37; rows += 36)
        for (int mode = TKR_GEMM_F32; mode <= TKR_GEMM_BF16; mode++) {
            const layer l = {.parts = {*m}, .n_parts = 1, .rows = rows, .mode = (tkr_gemm_mode)mode, .bias = true};
            snprintf(what, sizeof what, "mode %d, %u bits, group %u, %zu rows", (int)m->mode, m->bits, m->group_size,
                     rows);
            compare(p, run_layer, &l, mode == TKR_GEMM_F32 ? 2e-6 : bounds[TKR_GEMM_BF16], what);
        }
}

static void affine_groups(void **state) {
    static const unsigned bits[] = {2, 3, 4, 5, 6, 8};
    static const tkr_dtype types[] = {TKR_DTYPE_F32, TKR_DTYPE_F16, TKR_DTYPE_BF16};
    for (size_t b = 0; b < 6; b++)
        for (unsigned group = 32; group <= 128; group *= 2) {
            const tkr_matrix m = affine_matrix(bits[b], group, types[(b + group / 32) % 3]);
            check_groups(*state, &m);
        }
}

static void float_groups(void **state) {
    for (int mode = TKR_GROUP_MXFP4; mode <= TKR_GROUP_NVFP4; mode++) {
        const tkr_matrix m = float_matrix((tkr_group_mode)mode);
        check_groups(*state, &m);
    }
}

/* Queries in 4 bits, keys in 8, values left as they were; and a gate in one format with its partner in another. */
static void mixed_parts(void **state) {
    const pair *p = *state;
    const tkr_matrix four = affine_matrix(4, 64, TKR_DTYPE_F16), plain32 = plain_matrix(p->f->w, G_ROWS, G_COLS);
    static uint8_t eight_codes[G_ROWS * G_COLS];
    random_bytes(eight_codes, sizeof eight_codes);
    tkr_matrix eight = four;
    eight.bits = 8;
    eight.data = eight_codes;
    const layer l = {
        .parts = {four, eight, plain32}, .n_parts = 3, .rows = 11, .bias = true, .activation = TKR_ACT_TANH};
    compare(p, run_layer, &l, 2e-6, "mixed parts");
    const layer same = {.parts = {four, four, plain32}, .n_parts = 3, .rows = 11, .residual = true, .bias = true};
    compare(p, run_layer, &same, 2e-6, "two parts of one format");
    const layer gated = {
        .parts = {four, plain32}, .n_parts = 2, .rows = 11, .gated = true, .bias = true, .activation = TKR_ACT_SILU};
    compare(p, run_layer, &gated, 2e-6, "gate and partner");
    const layer across = {.parts =
                              {
                                  four,
                                  plain32,
                                  four,
                              },
                          .n_parts = 3,
                          .rows = 5,
                          .gated = true,
                          .activation = TKR_ACT_RELU};
    compare(p, run_layer, &across, 2e-6, "a gate that ends inside of a part");
}

/* ---- GGUF's blocks ---- */

static void gguf_blocks(void **state) {
    const pair *p = *state;
    static uint8_t blocks[G_ROWS * G_COLS * 2];
    for (int type = 0; type < TKR_DTYPE_COUNT; type++) {
        const tkr_dtype dtype = (tkr_dtype)type;
        if (tkr_dtype_class(dtype) != 2) continue;
        const size_t size = tkr_dtype_size(dtype), n = (size_t)G_ROWS * G_COLS / tkr_dtype_block(dtype);
        tkr_matrix m = {.data = blocks, .dtype = dtype, .rows = G_ROWS, .cols = G_COLS};
        random_bytes(blocks, n * size);
        /* Every 16-bit field below 2: no NaN, wherever the scales are. */
        for (size_t i = 1; i < n * size; i++) blocks[i] &= 0x3f;
        const layer exact = {.parts = {m}, .n_parts = 1, .rows = 7};
        compare(p, run_layer, &exact, 3e-6, tkr_dtype_name(dtype));
        if (tkr_matrix_group4(&m) == 0) continue;
        const layer four = {.parts = {m}, .n_parts = 1, .rows = 7, .mode = TKR_GEMM_Q4, .group = 64};
        compare(p, run_layer, &four, bounds[TKR_GEMM_Q4], tkr_dtype_name(dtype));
    }
}

/* ---- refused, and counted ---- */

static void weights_must_be_finite(void **state) {
    const pair *p = *state;
    const side *s = &p->mlx;
    static float w[20 * 32];
    memcpy(w, p->f->a, sizeof w);
    w[337] = INFINITY;
    const tkr_source bad = plain("layer.weight", w, 20, 32), good = plain("good", p->f->w, 20, 32),
                     vector = plain("norm", w, 1, 640), bias = plain("layer.bias", w + 320, 1, 20);
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_weight *weight = NULL;
    for (int mode = TKR_GEMM_F32; mode < TKR_GEMM_MODES; mode++) {
        const tkr_linear_spec spec = {.parts = &bad, .n_parts = 1, .shape = {.mode = (tkr_gemm_mode)mode, .group = 32}};
        assert_int_equal(s->ops->linear(&weight, s->backend, &spec, &error), TKR_NUMERIC);
        assert_non_null(strstr(error.message, "layer.weight"));
    }
    const tkr_source *biases[] = {&bias};
    const tkr_linear_spec spec = {.parts = &good, .biases = biases, .n_parts = 1};
    assert_int_equal(s->ops->linear(&weight, s->backend, &spec, &error), TKR_NUMERIC);
    assert_non_null(strstr(error.message, "layer.bias"));
    assert_int_equal(s->ops->vector(&weight, s->backend, &vector, 0, &error), TKR_NUMERIC);
    assert_null(weight);
}

static void scales_must_be_finite(void **state) {
    const pair *p = *state;
    const side *s = &p->mlx;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_weight *weight = NULL;
    for (int mode = TKR_GROUP_AFFINE; mode <= TKR_GROUP_NVFP4; mode++)
        for (int in_codes = 0; in_codes < 1 + (mode == TKR_GROUP_MXFP8); in_codes++) {
            const tkr_matrix m =
                mode == TKR_GROUP_AFFINE ? affine_matrix(4, 32, TKR_DTYPE_F16) : float_matrix((tkr_group_mode)mode);
            const tkr_source source = {"layer.weight", m};
            const tkr_linear_spec spec = {.parts = &source, .n_parts = 1};
            if (in_codes)
                codes[99] = 0xff;
            else
                put_scale(scales + 20, NAN, TKR_DTYPE_F16); /* 0xff and 0x7f as bytes hold NaN in each format */
            if (mode != TKR_GROUP_AFFINE && !in_codes) scales[20] = mode == TKR_GROUP_NVFP4 ? 0x7f : 0xff;
            assert_int_equal(s->ops->linear(&weight, s->backend, &spec, &error), TKR_NUMERIC);
            assert_non_null(strstr(error.message, "layer.weight"));
        }
}

static void what_does_not_go_together(void **state) {
    const pair *p = *state;
    const side *s = &p->mlx;
    const tkr_source part = plain("w", p->f->w, 32, 64);
    const tkr_linear_spec gated = {.parts = &part, .n_parts = 1, .shape = {.gated = true}},
                          single = {.parts = &part, .n_parts = 1};
    tkr_weight *g = side_linear(s, &gated), *w = side_linear(s, &single);
    for (int i = 0; i < 4; i++) {
        side_begin(s);
        tkr_tensor *x = s->ops->input(s->run, p->f->a, 3, i == 1 ? 63 : 64);
        const tkr_linear_options options = {TKR_ACT_NONE,
                                            i == 0   ? s->ops->input(s->run, p->f->a, 3, 16)
                                            : i == 3 ? s->ops->input(s->run, p->f->a, 2, 32)
                                                     : NULL,
                                            i == 2 ? s->ops->input(s->run, p->f->a, 3, 31) : NULL};
        assert_null(s->ops->apply(s->run, x, i == 0 ? g : w, &options));
        assert_int_equal(s->ops->run_status(s->run, NULL), TKR_INTERNAL);
    }
    s->ops->weight_free(&g);
    s->ops->weight_free(&w);
}

/* What a layer takes of the device's memory is what it says, beside the few bytes that MLX puts before each array. */
static void bytes_are_honest(void **state) {
    const pair *p = *state;
    side uncached = p->mlx, *s = &uncached;
    const tkr_mlx_options options = {.cache_limit = 1}; /* else a larger buffer may serve again */
    assert_int_equal(p->api->backend_create(&uncached.backend, &options, NULL), TKR_OK);
    const tkr_matrix matrices[] = {plain_matrix(p->f->w, 512, 256), affine_matrix(4, 64, TKR_DTYPE_F16),
                                   float_matrix(TKR_GROUP_NVFP4)};
    for (size_t i = 0; i < 3; i++)
        for (int mode = 0; mode < TKR_GEMM_MODES; mode++) {
            const tkr_source part = {"w", matrices[i]}, bias = plain("b", p->f->bias, 1, matrices[i].rows);
            const tkr_source *biases[] = {&bias};
            const tkr_linear_shape shape = {.rows = matrices[i].rows,
                                            .cols = matrices[i].cols,
                                            .mode = (tkr_gemm_mode)mode,
                                            .bias = true,
                                            .group = 32};
            const tkr_linear_spec spec = {.parts = &part, .biases = biases, .n_parts = 1, .shape = shape},
                                  shape_only = {.shape = shape};
            tkr_mlx_memory before, after;
            const size_t bytes = s->ops->linear_bytes(s->backend, &spec);
            if (i == 0) assert_int_equal(bytes, s->ops->linear_bytes(s->backend, &shape_only));
            p->api->memory(&before, s->backend);
            tkr_weight *weight = side_linear(s, &spec);
            p->api->memory(&after, s->backend);
            assert_in_range(after.active - before.active, bytes, bytes + 128);
            size_t packed = 1;
            assert_null(s->ops->linear_packed(&packed, weight));
            assert_int_equal(packed, 0);
            s->ops->weight_free(&weight);
            p->api->memory(&after, s->backend);
            assert_int_equal(after.active, before.active);
        }
    p->api->backend_free(&uncached.backend);
    s->backend = p->mlx.backend;
    const tkr_linear_shape shape = {.rows = 1, .cols = 1};
    tkr_weight *weight = NULL;
    assert_int_equal(s->ops->linear_from_packed(&weight, s->backend, &shape, codes, 64, NULL), TKR_FORMAT);
    assert_null(weight);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_layers),
        cmocka_unit_test(activations),
        cmocka_unit_test(gated_layers),
        cmocka_unit_test(half_precision_weights),
        cmocka_unit_test(affine_groups),
        cmocka_unit_test(float_groups),
        cmocka_unit_test(mixed_parts),
        cmocka_unit_test(gguf_blocks),
        cmocka_unit_test(weights_must_be_finite),
        cmocka_unit_test(scales_must_be_finite),
        cmocka_unit_test(what_does_not_go_together),
        cmocka_unit_test(bytes_are_honest),
    };
    return cmocka_run_group_tests(tests, open_pair, close_pair);
}
