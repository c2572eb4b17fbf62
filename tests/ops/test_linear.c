/* SPDX-License-Identifier: Apache-2.0 */
/* Linear layers of every number format, gated and plain, sliced and whole, against double-precision loops over the same
 * weights; same bits alone, shared by workers, and from the packed form; a checkpoint's own 4-bit groups exactly. */
#include "fixture.h"

static const double bounds[TKR_GEMM_MODES] = {2e-6, 6e-3, 1.2e-2, 1.2e-2}; /* per root of the inputs' number */
/* AVX2's q8: both sides have 7.3 bits or so. Of evenly distributed numbers a product of two is then off by 1 % of their
 * root mean square of 1/3, GELU's slope is up to 1.13, and this is 5.3 deviations. */
#define Q8_BLOCKS_BOUND 2e-2

static double activated(double x, tkr_activation activation) {
    if (activation == TKR_ACT_GELU_ERF) return 0.5 * x * (1 + erf(x / sqrt(2.0)));
    if (activation == TKR_ACT_SILU) return x / (1 + exp(-x));
    return x;
}

typedef struct layer {
    size_t rows, cols, out; /* of the input; outputs of the matrix, both halves when gated */
    tkr_gemm_mode mode;
    unsigned sensitivity;
    size_t group;
    bool gated, bias, residual;
    tkr_activation activation;
} layer;

static tkr_weight *make_weight(fixture *f, const layer *l) {
    const size_t first = l->gated ? l->out / 2 : l->out / 3 + 1; /* two stacked parts, of unlike sizes when not gated */
    const tkr_source parts[2] = {plain("w0", f->w, first, l->cols),
                                 plain("w1", f->w + first * l->cols, l->out - first, l->cols)};
    const tkr_source b0 = plain("b0", f->bias, 1, first), b1 = plain("b1", f->bias + first, 1, l->out - first);
    const tkr_source *biases[2] = {&b0, &b1};
    const tkr_linear_spec spec = {
        .parts = parts,
        .biases = l->bias ? biases : NULL,
        .n_parts = 2,
        .shape = {.mode = l->mode, .sensitivity = l->sensitivity, .gated = l->gated, .group = l->group}};
    tkr_weight *weight = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_ops_cpu.linear(&weight, f->backend, &spec, &error) != TKR_OK) fail_msg("%s", error.message);
    return weight;
}

static float *apply_layer(fixture *f, const tkr_weight *weight, const layer *l, bool together, bool into) {
    const size_t width = l->gated ? l->out / 2 : l->out;
    begin(f, together, 0);
    tkr_tensor *x = tensor_of(f, f->a, l->rows, l->cols);
    tkr_tensor *residual = l->residual || into ? tensor_of(f, f->residual, l->rows, width) : NULL;
    const tkr_linear_options options = {l->activation, l->residual ? residual : NULL, into ? residual : NULL};
    tkr_tensor *y = tkr_ops_cpu.apply(f->run, x, weight, &options);
    assert_true(!into || y == residual);
    return values_of(f, y);
}

/* The matrix that the kernel computes with: in 4 bits, the groups as they are made at load. */
static double *reference_matrix(const fixture *f, const layer *l) {
    double *w = malloc(l->out * l->cols * sizeof *w);
    const size_t n_groups = l->group ? (l->cols + l->group - 1) / l->group : 1;
    uint8_t *codes = malloc(l->cols);
    float *scale = malloc(n_groups * sizeof *scale), *bias = malloc(n_groups * sizeof *bias);
    for (size_t j = 0; j < l->out; j++) {
        const float *row = f->w + j * l->cols;
        if (l->mode == TKR_GEMM_Q4) tkr_quantize_affine_row(codes, scale, bias, row, l->cols, 4, l->group);
        for (size_t k = 0; k < l->cols; k++) {
            w[j * l->cols + k] = (double)row[k];
            if (l->mode != TKR_GEMM_Q4) continue;
            const double s = (double)tkr_bf16_to_f32(tkr_f32_to_bf16(scale[k / l->group])),
                         b = (double)tkr_bf16_to_f32(tkr_f32_to_bf16(bias[k / l->group]));
            w[j * l->cols + k] = s * codes[k] + b;
        }
    }
    free(codes);
    free(scale);
    free(bias);
    return w;
}

static double product(const fixture *f, const layer *l, const double *w, size_t i, size_t j) {
    double sum = l->bias ? (double)f->bias[j] : 0;
    for (size_t k = 0; k < l->cols; k++) sum += (double)f->a[i * l->cols + k] * w[j * l->cols + k];
    return sum;
}

static void check_values(const fixture *f, const layer *l, const float *got) {
    const size_t width = l->gated ? l->out / 2 : l->out;
    const bool in_blocks = l->mode == TKR_GEMM_Q8 && !f->kernels.gemm[TKR_GEMM_Q8]->integer;
    const double per_root = in_blocks ? Q8_BLOCKS_BOUND : bounds[l->mode];
    double *w = reference_matrix(f, l);
    for (size_t i = 0; i < l->rows; i++)
        for (size_t j = 0; j < width; j++) {
            const double value = activated(product(f, l, w, i, j), l->activation);
            const double partner = l->gated ? product(f, l, w, i, width + j) : 1;
            const double want = value * partner + (l->residual ? (double)f->residual[i * width + j] : 0);
            /* A gated value moves with both of its factors. */
            const double bound = per_root * sqrt((double)l->cols) * (l->gated ? 1 + fabs(value) + fabs(partner) : 1);
            if (!(fabs(want - (double)got[i * width + j]) <= bound))
                fail_msg("%zu x %zu x %zu%s mode %d at %zu, %zu: %g, expected %g +- %g", l->rows, l->cols, l->out,
                         l->gated ? " gated" : "", (int)l->mode, i, j, (double)got[i * width + j], want, bound);
        }
    free(w);
}

/* Values; the same bits shared by workers, into a tensor, one row at a time, and from the packed form. */
static void check_layer(fixture *f, const layer *l) {
    tkr_weight *weight = make_weight(f, l);
    const size_t width = l->gated ? l->out / 2 : l->out, bytes = l->rows * width * sizeof(float);
    float *alone = apply_layer(f, weight, l, false, false);
    check_values(f, l, alone);
    for (int into = 0; into < 2; into++) {
        float *together = apply_layer(f, weight, l, true, into);
        assert_memory_equal(alone, together, bytes);
        free(together);
    }
    layer one = *l;
    one.rows = 1;
    float *row = apply_layer(f, weight, &one, true, false);
    assert_memory_equal(alone, row, width * sizeof(float));
    free(row);

    size_t n_packed = 0;
    const void *packed = tkr_ops_cpu.linear_packed(&n_packed, weight);
    const tkr_linear_shape shape = {.rows = l->out,
                                    .cols = l->cols,
                                    .mode = l->mode,
                                    .sensitivity = l->sensitivity,
                                    .gated = l->gated,
                                    .bias = l->bias,
                                    .group = l->group};
    assert_non_null(packed);
    const tkr_linear_spec only_shape = {.shape = shape};
    assert_int_equal(n_packed, tkr_ops_cpu.linear_bytes(f->backend, &only_shape));
    void *copy = aligned_alloc(64, n_packed);
    assert_non_null(copy);
    memcpy(copy, packed, n_packed);
    tkr_ops_cpu.weight_free(&weight);
    assert_int_equal(tkr_ops_cpu.linear_from_packed(&weight, f->backend, &shape, copy, n_packed - 64, NULL),
                     TKR_FORMAT);
    assert_null(weight);
    assert_int_equal(tkr_ops_cpu.linear_from_packed(&weight, f->backend, &shape, copy, n_packed, NULL), TKR_OK);
    float *again = apply_layer(f, weight, l, true, false);
    assert_memory_equal(alone, again, bytes);
    free(again);
    free(alone);
    tkr_ops_cpu.weight_free(&weight);
    free(copy);
}

static void plain_layers(void **state) {
    static const size_t shapes[][3] = {{1, 1, 3},     {1, 36, 108},   {5, 48, 144}, {7, 97, 50},
                                       {100, 64, 65}, {203, 130, 96}, {397, 32, 17}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int mode = TKR_GEMM_F32; mode < TKR_GEMM_MODES; mode++) {
            const layer l = {.rows = shapes[s][0],
                             .cols = shapes[s][1],
                             .out = shapes[s][2],
                             .mode = (tkr_gemm_mode)mode,
                             .sensitivity = s % 2 ? TKR_SENSITIVE_INPUT : 0,
                             .group = (size_t)32 << s % 3,
                             .bias = s % 3 != 0,
                             .residual = true,
                             .activation = TKR_ACT_GELU_ERF};
            check_layer(*state, &l);
        }
}

/* Wider than one slice of the integer kernels. */
static void wide_layers(void **state) {
    for (int mode = TKR_GEMM_F32; mode < TKR_GEMM_MODES; mode++)
        for (int variant = 0; variant < 2; variant++) {
            const layer l = {.rows = variant ? 9 : 101,
                             .cols = variant ? 385 : 900,
                             .out = 70,
                             .mode = (tkr_gemm_mode)mode,
                             .group = 64,
                             .bias = true,
                             .residual = variant == 0,
                             .activation = variant ? TKR_ACT_GELU_ERF : TKR_ACT_NONE};
            check_layer(*state, &l);
        }
}

static void gated_layers(void **state) {
    static const size_t shapes[][3] = {{1, 20, 6},    {3, 48, 192},   {17, 64, 74},   {130, 100, 100},
                                       {1, 900, 130}, {33, 900, 100}, {150, 400, 34}, {5, 2048, 96}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int mode = TKR_GEMM_F32; mode < TKR_GEMM_MODES; mode++) {
            const layer l = {.rows = shapes[s][0],
                             .cols = shapes[s][1],
                             .out = shapes[s][2],
                             .mode = (tkr_gemm_mode)mode,
                             .sensitivity = s % 3 == 2 ? TKR_SENSITIVE_INPUT : 0,
                             .group = (size_t)32 << s % 3,
                             .gated = true,
                             .bias = s % 2 != 0,
                             .activation = s % 2 ? TKR_ACT_SILU : TKR_ACT_GELU_ERF};
            check_layer(*state, &l);
        }
}

static void what_does_not_go_together(void **state) {
    fixture *f = *state;
    const layer gated = {.rows = 3, .cols = 64, .out = 32, .gated = true, .residual = true},
                sliced = {.rows = 3,
                          .cols = 900,
                          .out = 32,
                          .mode = TKR_GEMM_Q8,
                          .residual = true,
                          .activation = TKR_ACT_RELU},
                narrow = {.rows = 3, .cols = 64, .out = 32};
    const layer *const layers[] = {&gated, &sliced};
    const size_t n = f->kernels.gemm[TKR_GEMM_Q8]->integer ? 2 : 1; /* only those cut rows into slices */
    for (size_t i = 0; i < n; i++) {
        tkr_weight *weight = make_weight(f, layers[i]);
        begin(f, false, 0);
        tkr_tensor *x = tensor_of(f, f->a, 3, layers[i]->cols), *residual = tensor_of(f, f->a, 3, i ? 32 : 16);
        const tkr_linear_options options = {layers[i]->activation, residual, NULL};
        assert_null(tkr_ops_cpu.apply(f->run, x, weight, &options));
        assert_int_equal(tkr_ops_cpu.run_status(f->run, NULL), TKR_INTERNAL);
        tkr_ops_cpu.weight_free(&weight);
    }
    tkr_weight *weight = make_weight(f, &narrow);
    begin(f, false, 0);
    assert_null(tkr_ops_cpu.apply(f->run, tensor_of(f, f->a, 3, 63), weight, NULL));
    assert_int_equal(tkr_ops_cpu.run_status(f->run, NULL), TKR_INTERNAL);
    begin(f, false, 0);
    const tkr_linear_options wrong = {TKR_ACT_NONE, NULL, tensor_of(f, f->a, 3, 31)};
    assert_null(tkr_ops_cpu.apply(f->run, tensor_of(f, f->a, 3, 64), weight, &wrong));
    assert_int_equal(tkr_ops_cpu.run_status(f->run, NULL), TKR_INTERNAL);
    tkr_ops_cpu.weight_free(&weight);
}

/* ---- a checkpoint's own groups of 4 bits ---- */

/* Inputs of one 127 in a row of zeros are exact in 8 bits, so the outputs are 127 times the weights. */
static void check_exact(fixture *f, const tkr_matrix *m, bool gated) {
    const tkr_source part = {"grouped", *m};
    const tkr_linear_spec spec = {
        .parts = &part, .n_parts = 1, .shape = {.mode = TKR_GEMM_Q4, .gated = gated, .group = 64}};
    tkr_weight *weight = NULL;
    tkr_error error = {TKR_OK, NULL, ""};
    if (tkr_ops_cpu.linear(&weight, f->backend, &spec, &error) != TKR_OK) fail_msg("%s", error.message);
    size_t n_packed = 0;
    tkr_ops_cpu.linear_packed(&n_packed, weight);
    assert_int_equal(n_packed, tkr_ops_cpu.linear_bytes(f->backend, &spec));
    float *unit = calloc(m->cols * m->cols, sizeof *unit), *row = malloc(m->cols * sizeof *row);
    for (size_t k = 0; k < m->cols; k++) unit[k * m->cols + k] = 127;
    begin(f, true, 0);
    float *got = values_of(f, tkr_ops_cpu.apply(f->run, tensor_of(f, unit, m->cols, m->cols), weight, NULL));
    const size_t width = gated ? m->rows / 2 : m->rows;
    float *up = malloc(m->cols * sizeof *up);
    for (size_t j = 0; j < width; j++) {
        tkr_matrix_row(row, m, j);
        if (gated) tkr_matrix_row(up, m, width + j);
        double largest = 0;
        for (size_t k = 0; k < m->cols; k++) largest = fmax(largest, fabs((double)row[k]));
        for (size_t k = 0; k < m->cols; k++) {
            const double partner = gated ? 127 * (double)up[k] : 1, want = 127 * (double)row[k] * partner;
            /* Scale and bias, each several times a weight, are summed in f32. */
            const double bound = 127 * 4e-6 * largest * (gated ? 1 + 254 * fabs((double)up[k]) + 127 : 1);
            if (!(fabs(want - (double)got[k * width + j]) <= bound))
                fail_msg("type %s at %zu, %zu: %.9g, expected %.9g", tkr_dtype_name(m->dtype), j, k,
                         (double)got[k * width + j], want);
        }
    }
    free(up);
    free(row);
    free(unit);
    free(got);
    tkr_ops_cpu.weight_free(&weight);
}

static void random_bytes(uint8_t *out, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = (uint8_t)random_bits();
}

static void put_f16(uint8_t *out, float value) {
    const uint16_t h = tkr_f32_to_f16(value);
    memcpy(out, &h, sizeof h);
}

static void mlx_groups_are_kept(void **state) {
    enum { ROWS = 44, COLS = 256 };
    static uint8_t codes[ROWS * COLS / 2];
    static uint8_t scales[ROWS * COLS / 32 * 4], biases[ROWS * COLS / 32 * 4];
    static const tkr_dtype types[] = {TKR_DTYPE_F32, TKR_DTYPE_F16, TKR_DTYPE_BF16};
    static const unsigned bits[] = {4, 2, 3};
    for (size_t group = 32; group <= 128; group *= 2)
        for (size_t t = 0; t < 3; t++) {
            const size_t n = ROWS * COLS / group, size = tkr_dtype_size(types[t]);
            random_bytes(codes, sizeof codes);
            for (size_t i = 0; i < 2 * n; i++) {
                const float value = i < n ? noise() / 8 : noise();
                const uint16_t half = types[t] == TKR_DTYPE_F16 ? tkr_f32_to_f16(value) : tkr_f32_to_bf16(value);
                memcpy((i < n ? scales : biases) + i % n * size, size == 4 ? (const void *)&value : &half, size);
            }
            for (size_t b = 0; b < 3; b++) {
                const tkr_matrix m = {.data = codes,
                                      .dtype = TKR_DTYPE_U32,
                                      .rows = ROWS,
                                      .cols = COLS,
                                      .mode = TKR_GROUP_AFFINE,
                                      .bits = bits[b],
                                      .group_size = (unsigned)group,
                                      .scale_dtype = types[t],
                                      .scales = scales,
                                      .biases = biases};
                assert_int_equal(tkr_matrix_group4(&m), group);
                check_exact(*state, &m, false);
                if (b == 0) check_exact(*state, &m, true);
            }
        }
}

static void gguf_groups_are_kept(void **state) {
    enum { ROWS = 35, COLS = 512 };
    static uint8_t blocks[ROWS * COLS]; /* more than any of these types takes */
    static const tkr_dtype types[] = {TKR_DTYPE_Q4_0, TKR_DTYPE_Q4_1, TKR_DTYPE_Q4_K};
    for (size_t t = 0; t < 3; t++) {
        const size_t size = tkr_dtype_size(types[t]), n = (size_t)ROWS * COLS / tkr_dtype_block(types[t]);
        random_bytes(blocks, n * size);
        for (size_t i = 0; i < n; i++) {
            put_f16(blocks + i * size, noise() / 8);
            if (types[t] != TKR_DTYPE_Q4_0) put_f16(blocks + i * size + 2, noise() / 8);
        }
        const tkr_matrix m = {.data = blocks, .dtype = types[t], .rows = ROWS, .cols = COLS};
        assert_int_equal(tkr_matrix_group4(&m), 32);
        check_exact(*state, &m, false);
        const tkr_matrix even = {.data = blocks, .dtype = types[t], .rows = ROWS - 1, .cols = COLS};
        check_exact(*state, &even, true);
    }
}

static void weights_must_be_finite(void **state) {
    fixture *f = *state;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_weight *weight = NULL;
    float w[20 * 32];
    memcpy(w, f->a, sizeof w);
    w[337] = INFINITY;
    const tkr_source source = plain("layer.weight", w, 20, 32), vector = plain("norm", w, 1, 640);
    for (int mode = TKR_GEMM_F32; mode < TKR_GEMM_MODES; mode++) {
        const tkr_linear_spec spec = {
            .parts = &source, .n_parts = 1, .shape = {.mode = (tkr_gemm_mode)mode, .group = 32}};
        assert_int_equal(tkr_ops_cpu.linear(&weight, f->backend, &spec, &error), TKR_NUMERIC);
        assert_non_null(strstr(error.message, "layer.weight"));
    }
    assert_int_equal(tkr_ops_cpu.vector(&weight, f->backend, &vector, 0, &error), TKR_NUMERIC);
    assert_null(weight);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_layers),           cmocka_unit_test(wide_layers),
        cmocka_unit_test(gated_layers),           cmocka_unit_test(what_does_not_go_together),
        cmocka_unit_test(mlx_groups_are_kept),    cmocka_unit_test(gguf_groups_are_kept),
        cmocka_unit_test(weights_must_be_finite),
    };
    const int native = cmocka_run_group_tests_name("native", tests, open_native, close_fixture);
    return native + cmocka_run_group_tests_name("generic", tests, open_generic, close_fixture);
}
