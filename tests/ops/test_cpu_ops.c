/* SPDX-License-Identifier: Apache-2.0 */
/* Operations of the CPU backend other than linear layers, against double-precision loops; pieces and workers give the
 * bits of the whole; limits and errors. */
#include "fixture.h"

/* ---- attention ---- */

typedef struct heads {
    size_t n_heads, n_kv_heads, dim, window;
    bool causal, relative, split; /* split: queries in a tensor of their own */
} heads;

enum { N_TOKENS = 61, N_BUCKETS = 7 };
static const size_t cu[4] = {0, 9, 10, N_TOKENS}; /* three sequences */

static size_t sequence_of(size_t token) { return token < cu[1] ? 0 : token < cu[2] ? 1 : 2; }

/* Row i of the combined tensor holds queries, keys and values side by side. */
static double bias_of(const fixture *f, const heads *h, size_t head, size_t i, size_t j) {
    return h->relative ? (double)f->bias[(j + 2 * N_TOKENS - i) % N_BUCKETS * h->n_heads + head] : 0;
}

static double expected_value(const fixture *f, const heads *h, size_t i, size_t head, size_t c) {
    const size_t q = h->n_heads * h->dim, kv = h->n_kv_heads * h->dim, cols = q + 2 * kv, d = h->dim;
    const size_t kv_head = head * h->n_kv_heads / h->n_heads, s = sequence_of(i);
    double sum = 0, total = 0;
    for (size_t j = cu[s]; j < cu[s + 1]; j++) {
        const size_t distance = i > j ? i - j : j - i;
        double logit = 0;
        if ((h->causal && j > i) || (h->window && distance > h->window)) continue;
        for (size_t k = 0; k < d; k++)
            logit += (double)f->a[i * cols + head * d + k] * (double)f->a[j * cols + q + kv_head * d + k];
        const double weight = exp(0.5 * logit + bias_of(f, h, head, i, j));
        total += weight;
        sum += weight * (double)f->a[j * cols + q + kv + kv_head * d + c];
    }
    return sum / total;
}

/* Rows [first, first + n) of the result. */
static float *attend(fixture *f, const heads *h, size_t first, size_t n, bool together) {
    const size_t q_cols = h->n_heads * h->dim, kv_cols = h->n_kv_heads * h->dim, cols = q_cols + 2 * kv_cols;
    const tkr_batch batch = {.n_tokens = N_TOKENS, .n_seqs = 3, .cu_seqlens = cu};
    int32_t buckets[2 * N_TOKENS + 1];
    /* Index i stands for the distance i - N_TOKENS. */
    for (size_t i = 0; i < 2 * N_TOKENS + 1; i++) buckets[i] = (int32_t)((i + N_TOKENS) % N_BUCKETS);
    tkr_weight *relative = h->relative ? vector_of(f, f->bias, N_BUCKETS * h->n_heads) : NULL;
    begin(f, together, 0);
    tkr_tensor *all = tensor_of(f, f->a, N_TOKENS, cols), *q = tkr_ops_cpu.view(f->run, all, first, n);
    const tkr_attention_options options = {.n_heads = h->n_heads,
                                           .n_kv_heads = h->n_kv_heads,
                                           .head_dim = h->dim,
                                           .k_column = q_cols,
                                           .v_column = q_cols + kv_cols,
                                           .first_row = first,
                                           .scale = 0.5f,
                                           .window = h->window,
                                           .causal = h->causal,
                                           .mode = TKR_GEMM_F32,
                                           .relative = relative,
                                           .buckets = buckets,
                                           .n_distances = N_TOKENS};
    float *values = values_of(f, tkr_ops_cpu.attention(f->run, q, all, &batch, &options));
    tkr_ops_cpu.release(f->run, &q);
    tkr_ops_cpu.weight_free(&relative);
    return values;
}

static void check_attention(fixture *f, const heads *h) {
    static const size_t steps[] = {1, 7, 16, 60};
    const size_t width = h->n_heads * h->dim;
    float *whole = attend(f, h, 0, N_TOKENS, false), *together = attend(f, h, 0, N_TOKENS, true);
    assert_memory_equal(whole, together, N_TOKENS * width * sizeof *whole);
    for (size_t i = 0; i < N_TOKENS; i++)
        for (size_t c = 0; c < width; c++) {
            const double want = expected_value(f, h, i, c / h->dim, c % h->dim);
            if (!(fabs(want - (double)whole[i * width + c]) < 3e-6))
                fail_msg("%zu:%zu heads of %zu at %zu, %zu: %g, expected %g", h->n_heads, h->n_kv_heads, h->dim, i, c,
                         (double)whole[i * width + c], want);
        }
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++)
        for (size_t at = 0; at < N_TOKENS; at += steps[s]) {
            const size_t n = N_TOKENS - at < steps[s] ? N_TOKENS - at : steps[s];
            float *piece = attend(f, h, at, n, s % 2 != 0);
            assert_memory_equal(whole + at * width, piece, n * width * sizeof *piece);
            free(piece);
        }
    free(whole);
    free(together);
}

static void attention(void **state) {
    static const heads cases[] = {
        {.n_heads = 2, .n_kv_heads = 2, .dim = 1},
        {.n_heads = 2, .n_kv_heads = 2, .dim = 9, .window = 3},
        {.n_heads = 3, .n_kv_heads = 3, .dim = 12, .relative = true},
        {.n_heads = 2, .n_kv_heads = 2, .dim = 18, .relative = true},
        {.n_heads = 2, .n_kv_heads = 2, .dim = 32, .causal = true},
        {.n_heads = 6, .n_kv_heads = 2, .dim = 16, .causal = true},
        {.n_heads = 6, .n_kv_heads = 3, .dim = 10, .causal = true},
        {.n_heads = 4, .n_kv_heads = 1, .dim = 64, .causal = true, .window = 5},
        {.n_heads = 3, .n_kv_heads = 1, .dim = 128, .window = 8},
        {.n_heads = 2, .n_kv_heads = 1, .dim = 256},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_attention(*state, &cases[i]);
}

static void attention_that_does_not_fit(void **state) {
    fixture *f = *state;
    const tkr_batch batch = {.n_tokens = N_TOKENS, .n_seqs = 3, .cu_seqlens = cu};
    const tkr_attention_options good = {
        .n_heads = 4, .n_kv_heads = 2, .head_dim = 8, .k_column = 32, .v_column = 48, .scale = 1, .mode = TKR_GEMM_F32};
    tkr_attention_options bad[5] = {good, good, good, good, good};
    bad[0].n_kv_heads = 3;
    bad[1].head_dim = TKR_MAX_HEAD_DIM + 4;
    bad[2].v_column = 49;
    bad[3].first_row = 1;
    bad[4].n_kv_heads = 0;
    begin(f, false, 0);
    tkr_tensor *x = tensor_of(f, f->a, N_TOKENS, 64);
    assert_non_null(tkr_ops_cpu.attention(f->run, x, x, &batch, &good));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin(f, false, 0);
        x = tensor_of(f, f->a, N_TOKENS, 64);
        assert_null(tkr_ops_cpu.attention(f->run, x, x, &batch, &bad[i]));
        assert_int_equal(tkr_ops_cpu.run_status(f->run, NULL), TKR_INTERNAL);
    }
}

/* ---- rows ---- */

static void norms(void **state) {
    fixture *f = *state;
    enum { N = 300, D = 130 };
    const double eps = 1e-3;
    tkr_weight *gain = vector_of(f, f->w, D), *shift = vector_of(f, f->bias, D);
    for (int together = 0; together < 2; together++) {
        begin(f, together, 0);
        tkr_tensor *x = tensor_of(f, f->a, N, D);
        float *layer = values_of(f, tkr_ops_cpu.layer_norm(f->run, x, gain, shift, (float)eps, NULL));
        float *bare = values_of(f, tkr_ops_cpu.layer_norm(f->run, x, gain, NULL, (float)eps, NULL));
        tkr_tensor *y = tkr_ops_cpu.rms_norm(f->run, x, gain, (float)eps, x);
        assert_ptr_equal(x, y); /* in place */
        float *rms = values_of(f, y);
        for (size_t i = 0; i < N; i++) {
            double mean = 0, square = 0;
            for (size_t d = 0; d < D; d++) {
                mean += (double)f->a[i * D + d] / D;
                square += (double)f->a[i * D + d] * (double)f->a[i * D + d] / D;
            }
            for (size_t d = 0; d < D; d++) {
                const double value = (double)f->a[i * D + d], g = (double)f->w[d];
                const double normed = (value - mean) / sqrt(square - mean * mean + eps) * g;
                assert_true(fabs(normed + (double)f->bias[d] - (double)layer[i * D + d]) < 2e-6);
                assert_true(fabs(normed - (double)bare[i * D + d]) < 2e-6);
                assert_true(fabs(value / sqrt(square + eps) * g - (double)rms[i * D + d]) < 2e-6);
            }
        }
        free(layer);
        free(bare);
        free(rms);
    }
    begin(f, false, 0);
    assert_null(tkr_ops_cpu.rms_norm(f->run, tensor_of(f, f->a, 3, D + 1), gain, 1e-5f, NULL));
    assert_int_equal(tkr_ops_cpu.run_status(f->run, NULL), TKR_INTERNAL);
    tkr_ops_cpu.weight_free(&gain);
    tkr_ops_cpu.weight_free(&shift);
}

/* Gains stored less one. */
static void vectors_with_an_offset(void **state) {
    fixture *f = *state;
    const tkr_source source = plain("gain", f->w, 1, 8);
    tkr_weight *gain = NULL, *same = NULL;
    float sums[8];
    for (size_t i = 0; i < 8; i++) sums[i] = f->w[i] + 1.0f;
    assert_int_equal(tkr_ops_cpu.vector(&gain, f->backend, &source, 1.0f, NULL), TKR_OK);
    same = vector_of(f, sums, 8);
    begin(f, false, 0);
    tkr_tensor *x = tensor_of(f, f->a, 5, 8);
    float *a = values_of(f, tkr_ops_cpu.rms_norm(f->run, x, gain, 1e-6f, NULL)),
          *b = values_of(f, tkr_ops_cpu.rms_norm(f->run, x, same, 1e-6f, NULL));
    assert_memory_equal(a, b, 5 * 8 * sizeof *a);
    free(a);
    free(b);
    tkr_ops_cpu.weight_free(&gain);
    tkr_ops_cpu.weight_free(&same);
}

static void embeddings_and_sums(void **state) {
    fixture *f = *state;
    enum { ROWS = 20, D = 33, N = 1100 };
    uint16_t *halves = malloc(ROWS * D * sizeof *halves);
    assert_non_null(halves);
    for (size_t i = 0; i < ROWS * D; i++) halves[i] = tkr_f32_to_bf16(f->w[i]);
    const tkr_source first = plain("words", f->a, ROWS, D),
                     second = {"types", {.data = halves, .dtype = TKR_DTYPE_BF16, .rows = ROWS, .cols = D}};
    tkr_weight *tables[2] = {NULL, NULL};
    assert_int_equal(tkr_ops_cpu.table(&tables[0], f->backend, &first, NULL), TKR_OK);
    assert_int_equal(tkr_ops_cpu.table(&tables[1], f->backend, &second, NULL), TKR_OK);
    static int32_t ids[2][N];
    for (size_t i = 0; i < N; i++) {
        ids[0][i] = (int32_t)(random_bits() % ROWS);
        ids[1][i] = (int32_t)(random_bits() % ROWS);
    }
    const int32_t *const lists[2] = {ids[0], ids[1]};
    const tkr_weight *const borrowed[2] = {tables[0], tables[1]};
    begin(f, true, 0);
    tkr_tensor *x = tkr_ops_cpu.embed(f->run, borrowed, lists, 2, N, 3.0f);
    tkr_tensor *y = tensor_of(f, f->residual, N, D);
    float *got = values_of(f, x);
    for (size_t i = 0; i < N; i++)
        for (size_t d = 0; d < D; d++) {
            const float want =
                (f->a[(size_t)ids[0][i] * D + d] + tkr_bf16_to_f32(halves[(size_t)ids[1][i] * D + d])) * 3.0f;
            assert_true(want == got[i * D + d]);
        }
    tkr_ops_cpu.add(f->run, x, y);
    float *sum = values_of(f, x);
    for (size_t i = 0; i < N * D; i++) assert_true(sum[i] == got[i] + f->residual[i]);
    tkr_ops_cpu.add(f->run, x, x); /* refused: one of them would change while it is read */
    assert_int_equal(tkr_ops_cpu.run_status(f->run, NULL), TKR_INTERNAL);
    free(sum);
    free(got);
    free(halves);
    tkr_ops_cpu.weight_free(&tables[0]);
    tkr_ops_cpu.weight_free(&tables[1]);
}

static void rotations(void **state) {
    fixture *f = *state;
    enum { N = 200, HEADS = 3, DIM = 16, COLUMN = 5, COLS = COLUMN + HEADS * DIM + 2, HALF = 6 };
    float inv_freq[HALF];
    int32_t positions[2 * N];
    static const uint8_t axis[HALF] = {0, 1, 0, 1, 1, 0};
    for (size_t i = 0; i < HALF; i++) inv_freq[i] = powf(100.0f, -(float)i / HALF);
    for (size_t i = 0; i < 2 * N; i++) positions[i] = (int32_t)(i * 7 % 331);
    tkr_weight *gain = vector_of(f, f->w, DIM);
    for (int variant = 0; variant < 4; variant++) { /* with and without gains, one or two axes */
        const tkr_angle_options angle_options = {.positions = positions,
                                                 .inv_freq = inv_freq,
                                                 .axis = variant & 1 ? axis : NULL,
                                                 .n_tokens = N,
                                                 .half = HALF};
        begin(f, variant & 2, 0);
        tkr_tensor *angles = tkr_ops_cpu.angles(f->run, &angle_options), *x = tensor_of(f, f->a, N, COLS);
        tkr_rotate_options options = {.column = COLUMN,
                                      .n_heads = HEADS,
                                      .head_dim = DIM,
                                      .gain = variant & 2 ? gain : NULL,
                                      .eps = 1e-3f,
                                      .angles = angles};
        tkr_ops_cpu.rotate(f->run, x, &options);
        float *got = values_of(f, x);
        for (size_t i = 0; i < N; i++)
            for (size_t c = 0; c < COLS; c++) {
                double want = (double)f->a[i * COLS + c];
                if (c >= COLUMN && c < COLUMN + HEADS * DIM) {
                    const size_t head = (c - COLUMN) / DIM, d = (c - COLUMN) % DIM, pair = d % HALF;
                    const float *row = f->a + i * COLS + COLUMN + head * DIM;
                    double square = 0, scale = 1;
                    for (size_t k = 0; k < DIM; k++) square += (double)row[k] * (double)row[k] / DIM;
                    if (variant & 2) scale = 1 / sqrt(square + 1e-3);
                    const double g = variant & 2 ? (double)f->w[d] : 1;
                    want = (double)row[d] * scale * g;
                    if (d < 2 * HALF) {
                        const size_t other = d < HALF ? d + HALF : d - HALF;
                        const double sign = d < HALF ? -1 : 1, h = variant & 2 ? (double)f->w[other] : 1;
                        const size_t a = variant & 1 ? axis[pair] : 0;
                        const double angle = (double)((float)positions[a * N + i] * inv_freq[pair]);
                        want = want * cos(angle) + sign * (double)row[other] * scale * h * sin(angle);
                    }
                }
                assert_true(fabs(want - (double)got[i * COLS + c]) < 3e-6);
            }
        /* A piece, its rows counted from first_row. */
        tkr_tensor *again = tensor_of(f, f->a, N, COLS), *piece = tkr_ops_cpu.view(f->run, again, 50, 60);
        options.first_row = 50;
        tkr_ops_cpu.rotate(f->run, piece, &options);
        float *part = values_of(f, piece);
        assert_memory_equal(got + 50 * COLS, part, 60 * COLS * sizeof *part);
        free(part);
        free(got);
        options.first_row = N - 59;
        tkr_ops_cpu.rotate(f->run, piece, &options);
        assert_int_equal(tkr_ops_cpu.run_status(f->run, NULL), TKR_INTERNAL);
    }
    tkr_ops_cpu.weight_free(&gain);
}

/* ---- tensors ---- */

static void views_write_through(void **state) {
    fixture *f = *state;
    enum { N = 12, D = 6 };
    begin(f, false, 0);
    tkr_tensor *x = tensor_of(f, f->a, N, D), *y = tensor_of(f, f->w, 4, D);
    tkr_tensor *middle = tkr_ops_cpu.view(f->run, x, 5, 4), *inner = tkr_ops_cpu.view(f->run, middle, 1, 2);
    assert_int_equal(tkr_ops_cpu.rows(middle), 4);
    assert_int_equal(tkr_ops_cpu.cols(middle), D);
    tkr_ops_cpu.add(f->run, middle, y);
    float *got = values_of(f, x), *in = values_of(f, inner);
    for (size_t i = 0; i < N * D; i++) {
        const bool changed = i >= 5 * D && i < 9 * D;
        assert_true(got[i] == (changed ? f->a[i] + f->w[i - 5 * D] : f->a[i]));
    }
    assert_memory_equal(in, got + 6 * D, 2 * D * sizeof *in);
    free(in);
    free(got);
    tkr_ops_cpu.release(f->run, &inner);
    tkr_ops_cpu.release(f->run, &middle);
    assert_null(middle);
    assert_null(tkr_ops_cpu.view(f->run, x, 10, 3));
    assert_int_equal(tkr_ops_cpu.run_status(f->run, NULL), TKR_INTERNAL);
    /* Released views don't free what they looked at, nor keep a slot. */
    begin(f, false, 0);
    x = tkr_ops_cpu.empty(f->run, N, D);
    for (int i = 0; i < 100; i++) {
        tkr_tensor *view = tkr_ops_cpu.view(f->run, x, 0, N);
        assert_non_null(view);
        tkr_ops_cpu.release(f->run, &view);
    }
    assert_int_equal(tkr_ops_cpu.run_status(f->run, NULL), TKR_OK);
}

static void destinations_must_fit(void **state) {
    fixture *f = *state;
    tkr_weight *gain = vector_of(f, f->w, 8);
    begin(f, false, 0);
    tkr_tensor *x = tensor_of(f, f->a, 4, 8), *into = tkr_ops_cpu.empty(f->run, 4, 8),
               *small = tkr_ops_cpu.empty(f->run, 3, 8);
    assert_ptr_equal(tkr_ops_cpu.layer_norm(f->run, x, gain, NULL, 1e-5f, into), into);
    assert_null(tkr_ops_cpu.layer_norm(f->run, x, gain, NULL, 1e-5f, small));
    assert_int_equal(tkr_ops_cpu.run_status(f->run, NULL), TKR_INTERNAL);
    tkr_ops_cpu.weight_free(&gain);
}

static void chunk_rows(void **state) {
    fixture *f = *state;
    tkr_run_options options = {.chunk_rows = 17};
    tkr_ops_cpu.run_begin(f->run, &options);
    assert_int_equal(tkr_ops_cpu.chunk_rows(f->run), 17);
    options.chunk_rows = 0;
    tkr_ops_cpu.run_begin(f->run, &options);
    assert_true(tkr_ops_cpu.chunk_rows(f->run) >= 256);
}

static void pooling_modes(void **state) {
    fixture *f = *state;
    enum { N = 5, D = 3 };
    static const tkr_pool_mode modes[] = {TKR_POOL_CLS,           TKR_POOL_MAX,          TKR_POOL_MEAN,
                                          TKR_POOL_MEAN_SQRT_LEN, TKR_POOL_WEIGHTEDMEAN, TKR_POOL_LASTTOKEN};
    const tkr_span span = {2, 5, 1}; /* tokens 2, 3, 4 of a sequence that starts at 1 */
    begin(f, false, 0);
    float *got = values_of(f, tkr_ops_cpu.pool(f->run, tensor_of(f, f->a, N, D), &span, 1, modes, 6));
    for (size_t d = 0; d < D; d++) {
        double x[3] = {(double)f->a[2 * D + d], (double)f->a[3 * D + d], (double)f->a[4 * D + d]};
        double want[6] = {x[0],
                          fmax(fmax(x[0], x[1]), x[2]),
                          (x[0] + x[1] + x[2]) / 3,
                          (x[0] + x[1] + x[2]) / sqrt(3.0),
                          (2 * x[0] + 3 * x[1] + 4 * x[2]) / 9,
                          x[2]};
        for (size_t m = 0; m < 6; m++) assert_true(fabs(want[m] - (double)got[m * D + d]) < 1e-6);
    }
    free(got);
}

/* ---- errors ---- */

static void errors_are_sticky(void **state) {
    fixture *f = *state;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_span empty = {3, 3, 0};
    const tkr_pool_mode mode = TKR_POOL_MEAN;
    begin(f, false, 0);
    tkr_tensor *x = tensor_of(f, f->a, 4, 8);
    assert_null(tkr_ops_cpu.pool(f->run, x, &empty, 1, &mode, 1));
    assert_null(tkr_ops_cpu.normalize(f->run, x));
    assert_null(tkr_ops_cpu.empty(f->run, 1, 1));
    assert_null(tkr_ops_cpu.view(f->run, x, 0, 1));
    (tkr_ops_cpu.fail)(f->run, TKR_NO_MEMORY, "a later failure");
    assert_int_equal(tkr_ops_cpu.run_status(f->run, &error), TKR_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "pool"));
    begin(f, false, 100); /* the limit of the workspace */
    assert_null(tensor_of(f, f->a, 300, 300));
    assert_int_equal(tkr_ops_cpu.run_status(f->run, &error), TKR_LIMIT);
    begin(f, false, 0);
    assert_non_null(tensor_of(f, f->a, 4, 8));
    (tkr_ops_cpu.fail)(f->run, TKR_NO_MEMORY, "no memory for something");
    assert_int_equal(tkr_ops_cpu.run_status(f->run, &error), TKR_NO_MEMORY);
    assert_string_equal(error.message, "no memory for something");
}

static void ids_outside_of_a_table(void **state) {
    fixture *f = *state;
    tkr_error error = {TKR_OK, NULL, ""};
    const tkr_source source = plain("words", f->a, 10, 4);
    tkr_weight *table = NULL;
    assert_int_equal(tkr_ops_cpu.table(&table, f->backend, &source, NULL), TKR_OK);
    const tkr_weight *tables[1] = {table};
    static const int32_t bad[2][1] = {{10}, {-1}};
    for (size_t i = 0; i < 2; i++) {
        const int32_t *lists[1] = {bad[i]};
        begin(f, false, 0);
        assert_null(tkr_ops_cpu.embed(f->run, tables, lists, 1, 1, 1.0f));
        assert_int_equal(tkr_ops_cpu.run_status(f->run, &error), TKR_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "words"));
    }
    tkr_ops_cpu.weight_free(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention),
        cmocka_unit_test(attention_that_does_not_fit),
        cmocka_unit_test(norms),
        cmocka_unit_test(vectors_with_an_offset),
        cmocka_unit_test(embeddings_and_sums),
        cmocka_unit_test(rotations),
        cmocka_unit_test(views_write_through),
        cmocka_unit_test(destinations_must_fit),
        cmocka_unit_test(chunk_rows),
        cmocka_unit_test(pooling_modes),
        cmocka_unit_test(errors_are_sticky),
        cmocka_unit_test(ids_outside_of_a_table),
    };
    const int native = cmocka_run_group_tests_name("native", tests, open_native, close_fixture);
    return native + cmocka_run_group_tests_name("generic", tests, open_generic, close_fixture);
}
