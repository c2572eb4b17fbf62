/* SPDX-License-Identifier: Apache-2.0 */
/* Operations of MLX's CPU device other than linear layers beside the CPU backend: embedding, norms, copies, views that
 * write through, rotation, attention, pooling. */
#include "mlx_fixture.h"

static const double f32_bound = 2e-6;

/* Collects what a scenario reads. */
typedef struct log {
    float *values;
    size_t n;
} log_of_values;

static void keep(log_of_values *l, const side *s, const tkr_tensor *x) {
    size_t n = 0;
    float *values = side_values(s, x, &n);
    l->values = realloc(l->values, (l->n + n) * sizeof *values);
    assert_non_null(l->values);
    memcpy(l->values + l->n, values, n * sizeof *values);
    l->n += n;
    free(values);
}

static float *kept(const log_of_values *l, size_t *n) {
    *n = l->n;
    return l->values;
}

/* ---- rows ---- */

enum { N = 70, D = 48 };

static float *run_embed(const fixture *f, const side *s, const void *arg, size_t *n) {
    const float *scale = arg;
    static uint16_t halves[20 * D];
    static uint8_t blocks[9 * 34 * 2];
    int32_t ids[3][N];
    for (size_t i = 0; i < 20 * D; i++) halves[i] = tkr_f32_to_bf16(f->w[i]);
    for (size_t i = 0; i < sizeof blocks; i++) blocks[i] = (uint8_t)(i * 37 % 64);
    for (size_t i = 0; i < N; i++) {
        ids[0][i] = (int32_t)(i * 7 % 30);
        ids[1][i] = (int32_t)(i * 11 % 20);
        ids[2][i] = (int32_t)(i % 9);
    }
    const tkr_source sources[3] = {plain("words", f->a, 30, D),
                                   {"types", {.data = halves, .dtype = TKR_DTYPE_BF16, .rows = 20, .cols = D}},
                                   {"blocks", {.data = blocks, .dtype = TKR_DTYPE_Q8_0, .rows = 9, .cols = 64}}};
    tkr_weight *tables[3];
    const int32_t *lists[3] = {ids[0], ids[1], ids[2]};
    log_of_values l = {0};
    for (size_t i = 0; i < 3; i++) assert_int_equal(s->ops->table(&tables[i], s->backend, &sources[i], NULL), TKR_OK);
    side_begin(s);
    keep(&l, s, s->ops->embed(s->run, (const tkr_weight *const *)tables, lists, 2, N, *scale));
    keep(&l, s, s->ops->embed(s->run, (const tkr_weight *const *)tables + 2, lists + 2, 1, N, 1.0f));
    for (size_t i = 0; i < 3; i++) s->ops->weight_free(&tables[i]);
    return kept(&l, n);
}

static void embedding(void **state) {
    const float scales[] = {1.0f, 8.0f};
    for (size_t i = 0; i < 2; i++) compare(*state, run_embed, &scales[i], 0, "embedding"); /* the same bits */
}

static float *run_norms(const fixture *f, const side *s, const void *arg, size_t *n) {
    (void)arg;
    log_of_values l = {0};
    const tkr_source less_one = plain("gain", f->bias, 1, D);
    tkr_weight *gain = side_vector(s, f->w, D), *shift = side_vector(s, f->bias, D), *offset = NULL;
    assert_int_equal(s->ops->vector(&offset, s->backend, &less_one, 1.0f, NULL), TKR_OK);
    side_begin(s);
    tkr_tensor *x = s->ops->input(s->run, f->a, N, D);
    keep(&l, s, s->ops->layer_norm(s->run, x, gain, shift, 1e-5f, NULL));
    keep(&l, s, s->ops->layer_norm(s->run, x, gain, NULL, 1e-12f, NULL));
    keep(&l, s, s->ops->rms_norm(s->run, x, offset, 1e-6f, NULL));
    assert_ptr_equal(s->ops->rms_norm(s->run, x, gain, 1e-3f, x), x);
    keep(&l, s, x);
    keep(&l, s, s->ops->normalize(s->run, x));
    s->ops->weight_free(&gain);
    s->ops->weight_free(&shift);
    s->ops->weight_free(&offset);
    return kept(&l, n);
}

static void norms(void **state) { compare(*state, run_norms, NULL, f32_bound, "norms"); }

/* Views of views, in rows and in another width, that write through to what they show. */
static float *run_views(const fixture *f, const side *s, const void *arg, size_t *n) {
    (void)arg;
    const tkr_ops *o = s->ops;
    log_of_values l = {0};
    const size_t picked[] = {9, 0, 3, 3}, targets[] = {5, 0, 29, 11};
    tkr_weight *gain = side_vector(s, f->w, 12), *wide = side_vector(s, f->w, 24);
    side_begin(s);
    tkr_tensor *x = o->empty(s->run, 30, 24), *top = o->view(s->run, x, 0, 10), *rest = o->view(s->run, x, 10, 20);
    tkr_tensor *a = o->input(s->run, f->a, 10, 24), *b = o->input(s->run, f->bias, 20, 24);
    o->rms_norm(s->run, a, wide, 1e-5f, top);
    o->rms_norm(s->run, b, wide, 1e-5f, rest);
    keep(&l, s, x);
    tkr_tensor *narrow = o->reshape(s->run, rest, 12), *inner = o->view(s->run, narrow, 3, 30);
    o->layer_norm(s->run, inner, gain, NULL, 1e-5f, inner);
    keep(&l, s, x);
    keep(&l, s, inner);
    tkr_tensor *all = o->view(s->run, x, 0, 30), *doubled = o->reshape(s->run, all, 48);
    o->add(s->run, doubled, o->input(s->run, f->residual, 15, 48));
    keep(&l, s, x);
    tkr_tensor *some = o->gather(s->run, x, picked, 4), *few = o->gather(s->run, narrow, picked, 3);
    keep(&l, s, some);
    keep(&l, s, few);
    o->scatter(s->run, x, some, targets, true);
    keep(&l, s, x);
    o->scatter(s->run, all, some, targets, false);
    keep(&l, s, x);
    assert_int_equal(o->rows(narrow), 40);
    assert_int_equal(o->cols(narrow), 12);
    tkr_tensor *released[] = {some, few, doubled, all, inner, narrow, rest, top};
    for (size_t i = 0; i < sizeof released / sizeof *released; i++) o->release(s->run, &released[i]);
    keep(&l, s, x);
    o->weight_free(&gain);
    o->weight_free(&wide);
    return kept(&l, n);
}

static void views_and_copies(void **state) { compare(*state, run_views, NULL, f32_bound, "views"); }

/* ---- rotation ---- */

typedef struct turn {
    size_t half, first_row;
    bool gain, axes, view, far;
} turn;

static float *run_rotation(const fixture *f, const side *s, const void *arg, size_t *n) {
    enum { HEADS = 3, DIM = 16, COLUMN = 5, COLS = COLUMN + HEADS * DIM + 2 };
    const turn *t = arg;
    static const uint8_t axis[8] = {0, 1, 2, 1, 1, 0, 2, 0};
    float inv_freq[8];
    int32_t positions[3 * N];
    log_of_values l = {0};
    for (size_t i = 0; i < 8; i++) inv_freq[i] = powf(100.0f, -(float)i / 8);
    for (size_t i = 0; i < 3 * N; i++) positions[i] = (int32_t)(t->far ? i * 7 % 331 : i * 7 % N);
    const tkr_angle_options options = {
        .positions = positions, .inv_freq = inv_freq, .axis = t->axes ? axis : NULL, .n_tokens = N, .half = t->half};
    tkr_weight *gain = side_vector(s, f->w, DIM);
    side_begin(s);
    tkr_tensor *x = s->ops->input(s->run, f->a, N, COLS), *angles = s->ops->angles(s->run, &options);
    tkr_tensor *part = t->view ? s->ops->view(s->run, x, t->first_row, 31) : x;
    const tkr_rotate_options first = {.column = COLUMN,
                                      .n_heads = HEADS,
                                      .head_dim = DIM,
                                      .gain = t->gain ? gain : NULL,
                                      .eps = 1e-5f,
                                      .angles = t->half ? angles : NULL,
                                      .first_row = t->first_row};
    tkr_rotate_options second = first;
    second.column = 0;
    second.n_heads = 2;
    s->ops->rotate(s->run, part, &first);
    s->ops->rotate(s->run, part, &second);
    if (t->half) keep(&l, s, angles);
    keep(&l, s, x);
    s->ops->weight_free(&gain);
    return kept(&l, n);
}

static void rotations(void **state) {
    const turn turns[] = {{.half = 8},
                          {.half = 8, .gain = true, .far = true},
                          {.half = 5, .axes = true, .far = true},
                          {.half = 6, .gain = true, .axes = true, .view = true, .first_row = 13},
                          {.half = 0, .gain = true}};
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++)
        compare(*state, run_rotation, &turns[i], f32_bound, "rotation");
}

/* ---- attention ---- */

typedef struct heads {
    size_t n_heads, n_kv_heads, dim, window, first, n; /* n 0: all rows */
    bool causal, relative, own_queries;
    const size_t *cu;
    size_t n_seqs;
    tkr_gemm_mode mode;
} heads;

enum { N_BUCKETS = 7, MAX_TOKENS = 700 };

static float *run_attention(const fixture *f, const side *s, const void *arg, size_t *n) {
    const heads *h = arg;
    const size_t q = h->n_heads * h->dim, kv = h->n_kv_heads * h->dim, cols = q + 2 * kv, total = h->cu[h->n_seqs];
    const tkr_batch batch = {.n_tokens = total, .n_seqs = h->n_seqs, .cu_seqlens = h->cu};
    static int32_t buckets[2 * MAX_TOKENS + 1];
    size_t cu_queries[16] = {0};
    for (size_t i = 0; i < 2 * MAX_TOKENS + 1; i++) buckets[i] = (int32_t)(i % N_BUCKETS);
    for (size_t i = 0; i < h->n_seqs && i < 15; i++) {
        const size_t n_keys = h->cu[i + 1] - h->cu[i];
        cu_queries[i + 1] = cu_queries[i] + (n_keys < i % 3 ? n_keys : i % 3);
    }
    assert_true(total * cols <= MAX_VALUES);
    tkr_weight *relative = h->relative ? side_vector(s, f->bias, N_BUCKETS * h->n_heads) : NULL;
    side_begin(s);
    tkr_tensor *all = s->ops->input(s->run, f->a, total, cols);
    const size_t n_rows = h->own_queries ? cu_queries[h->n_seqs] : h->n ? h->n : total;
    tkr_tensor *queries =
        h->own_queries ? s->ops->input(s->run, f->w, n_rows, cols) : s->ops->view(s->run, all, h->first, n_rows);
    const tkr_attention_options options = {.n_heads = h->n_heads,
                                           .n_kv_heads = h->n_kv_heads,
                                           .head_dim = h->dim,
                                           .k_column = q,
                                           .v_column = q + kv,
                                           .first_row = h->first,
                                           .scale = 0.4f,
                                           .window = h->window,
                                           .causal = h->causal,
                                           .mode = h->mode,
                                           .relative = relative,
                                           .buckets = buckets,
                                           .n_distances = MAX_TOKENS,
                                           .cu_queries = h->own_queries ? cu_queries : NULL};
    float *values = side_values(s, s->ops->attention(s->run, queries, all, &batch, &options), n);
    /* The next layers of the pass: of the same kind, of another, and the first again. */
    tkr_attention_options other = options;
    other.window = h->own_queries ? 0 : 2;
    tkr_tensor *second = s->ops->attention(s->run, queries, all, &batch, &other);
    assert_non_null(second);
    float *again = side_values(s, s->ops->attention(s->run, queries, all, &batch, &options), n);
    assert_memory_equal(values, again, *n * sizeof *values);
    free(again);
    s->ops->weight_free(&relative);
    return values;
}

/* Lengths that make one rectangle without padding, one with, several of unlike sizes, one that is cut to windows. */
static const size_t equal[] = {0, 20, 40, 60, 80}, unlike[] = {0, 9, 10, 41, 60, 61}, wide[] = {0, 3, 400, 407, 700},
                    single[] = {0, 61}, gaps[] = {0, 0, 12, 12, 30};
static const struct {
    const size_t *cu;
    size_t n;
} batches[] = {{equal, 4}, {unlike, 5}, {wide, 4}, {single, 1}, {gaps, 4}};

static void check_heads(const pair *p, heads h) {
    char what[128];
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
        h.cu = batches[b].cu;
        h.n_seqs = batches[b].n;
        const size_t total = h.cu[h.n_seqs];
        if (total * (h.n_heads + 2 * h.n_kv_heads) * h.dim > MAX_VALUES) continue;
        for (int piece = 0; piece < (h.own_queries ? 1 : 3); piece++) {
            h.first = piece == 1 ? total / 3 : piece == 2 ? total - total / 4 : 0;
            h.n = piece == 1 ? total / 2 : piece == 2 ? total / 4 : 0;
            snprintf(what, sizeof what, "%zu:%zu heads of %zu, window %zu%s%s, batch %zu, piece %d, mode %d", h.n_heads,
                     h.n_kv_heads, h.dim, h.window, h.causal ? ", causal" : "", h.relative ? ", relative" : "", b,
                     piece, (int)h.mode);
            compare(p, run_attention, &h, h.mode == TKR_GEMM_F32 ? f32_bound : 8e-3, what);
        }
    }
}

static void attention(void **state) {
    static const heads cases[] = {
        {.n_heads = 2, .n_kv_heads = 2, .dim = 1},
        {.n_heads = 2, .n_kv_heads = 2, .dim = 9, .window = 3},
        {.n_heads = 3, .n_kv_heads = 3, .dim = 12, .relative = true},
        {.n_heads = 2, .n_kv_heads = 2, .dim = 18, .relative = true, .causal = true},
        {.n_heads = 2, .n_kv_heads = 2, .dim = 32, .causal = true},
        {.n_heads = 6, .n_kv_heads = 2, .dim = 16, .causal = true},
        {.n_heads = 6, .n_kv_heads = 3, .dim = 10, .causal = true, .window = 20},
        {.n_heads = 4, .n_kv_heads = 1, .dim = 64, .causal = true, .window = 5},
        {.n_heads = 3, .n_kv_heads = 1, .dim = 64, .window = 8},
        {.n_heads = 2, .n_kv_heads = 1, .dim = 128, .window = 60},
        {.n_heads = 2, .n_kv_heads = 1, .dim = 256},
        {.n_heads = 4, .n_kv_heads = 2, .dim = 16, .own_queries = true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_heads(*state, cases[i]);
}

static void attention_in_bf16(void **state) {
    static const heads cases[] = {
        {.n_heads = 4, .n_kv_heads = 2, .dim = 32, .causal = true, .mode = TKR_GEMM_BF16},
        {.n_heads = 2, .n_kv_heads = 2, .dim = 16, .relative = true, .mode = TKR_GEMM_Q4},
        {.n_heads = 2, .n_kv_heads = 2, .dim = 64, .window = 6, .mode = TKR_GEMM_Q8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_heads(*state, cases[i]);
}

static void attention_that_does_not_fit(void **state) {
    const pair *p = *state;
    const side *s = &p->mlx;
    const tkr_batch batch = {.n_tokens = 61, .n_seqs = 5, .cu_seqlens = unlike};
    static const size_t short_queries[] = {0, 1, 2, 3, 4, 5};
    const tkr_attention_options good = {
        .n_heads = 4, .n_kv_heads = 2, .head_dim = 8, .k_column = 32, .v_column = 48, .scale = 1};
    tkr_attention_options bad[6] = {good, good, good, good, good, good};
    bad[0].n_kv_heads = 3;
    bad[1].head_dim = TKR_MAX_HEAD_DIM + 4;
    bad[2].v_column = 49;
    bad[3].first_row = 1;
    bad[4].n_kv_heads = 0;
    bad[5].cu_queries = short_queries;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        side_begin(s);
        tkr_tensor *x = s->ops->input(s->run, p->f->a, 61, 64);
        assert_non_null(s->ops->attention(s->run, x, x, &batch, &good));
        assert_null(s->ops->attention(s->run, x, x, &batch, &bad[i]));
        assert_int_equal(s->ops->run_status(s->run, NULL), TKR_INTERNAL);
    }
}

/* NaN in one sequence reaches no other, though they share a rectangle. */
static void sequences_do_not_mix(void **state) {
    const pair *p = *state;
    const side *s = &p->mlx;
    enum { HEADS = 2, DIM = 8, COLS = 3 * HEADS * DIM };
    const tkr_batch batch = {.n_tokens = 61, .n_seqs = 5, .cu_seqlens = unlike};
    static float values[61 * COLS];
    for (int causal = 0; causal < 2; causal++) {
        const tkr_attention_options options = {.n_heads = HEADS,
                                               .n_kv_heads = HEADS,
                                               .head_dim = DIM,
                                               .k_column = HEADS * DIM,
                                               .v_column = 2 * HEADS * DIM,
                                               .scale = 1,
                                               .causal = causal};
        tkr_span spans[5];
        const tkr_pool_mode modes[] = {TKR_POOL_MEAN, TKR_POOL_MAX};
        memcpy(values, p->f->a, sizeof values);
        for (size_t i = unlike[2] * COLS; i < unlike[3] * COLS; i++) values[i] = NAN;
        for (size_t i = 0; i < 5; i++) spans[i] = (tkr_span){unlike[i], unlike[i + 1], unlike[i]};
        side_begin(s);
        tkr_tensor *x = s->ops->input(s->run, values, 61, COLS);
        tkr_tensor *out = s->ops->attention(s->run, x, x, &batch, &options);
        size_t n = 0;
        float *got = side_values(s, out, &n), *rows = side_values(s, s->ops->pool(s->run, out, spans, 5, modes, 2), &n);
        for (size_t t = 0; t < 61; t++)
            assert_int_equal(isnan(got[t * HEADS * DIM]) != 0, t >= unlike[2] && t < unlike[3]);
        for (size_t i = 0; i < 5; i++) {
            assert_int_equal(isnan(rows[i * 2 * HEADS * DIM]) != 0, i == 2);
            assert_int_equal(isnan(rows[i * 2 * HEADS * DIM + HEADS * DIM]) != 0, i == 2);
        }
        free(got);
        free(rows);
    }
}

/* ---- pooling ---- */

static float *run_pool(const fixture *f, const side *s, const void *arg, size_t *n) {
    const size_t *n_modes = arg;
    static const tkr_pool_mode modes[] = {TKR_POOL_CLS,           TKR_POOL_MAX,          TKR_POOL_MEAN,
                                          TKR_POOL_MEAN_SQRT_LEN, TKR_POOL_WEIGHTEDMEAN, TKR_POOL_LASTTOKEN};
    static const tkr_span spans[] = {{0, 1, 0},       {1, 9, 1},        {12, 40, 9},
                                     {40, 41, 40},    {41, 700, 41},    {700, 720, 700},
                                     {725, 745, 720}, {745, 3000, 745}, {3000, 3001, 3000}};
    side_begin(s);
    tkr_tensor *x = s->ops->input(s->run, f->a, 3001, D);
    log_of_values l = {0};
    for (size_t m = 0; m + *n_modes <= TKR_POOL_MODES; m++)
        keep(&l, s, s->ops->pool(s->run, x, spans, sizeof spans / sizeof *spans, modes + m, *n_modes));
    return kept(&l, n);
}

static void pooling(void **state) {
    for (size_t n_modes = 1; n_modes <= TKR_POOL_MODES; n_modes += 2)
        compare(*state, run_pool, &n_modes, f32_bound, "pooling");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedding),
        cmocka_unit_test(norms),
        cmocka_unit_test(views_and_copies),
        cmocka_unit_test(rotations),
        cmocka_unit_test(attention),
        cmocka_unit_test(attention_in_bf16),
        cmocka_unit_test(attention_that_does_not_fit),
        cmocka_unit_test(sequences_do_not_mix),
        cmocka_unit_test(pooling),
    };
    return cmocka_run_group_tests(tests, open_pair, close_pair);
}
