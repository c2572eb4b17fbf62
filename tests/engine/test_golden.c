/* SPDX-License-Identifier: Apache-2.0 */
/* Every golden case of every architecture through tkr/embed.h: vectors against the reference, in f32 and bf16, on the
 * native and the generic kernels, from text and from token ids, alone and in batches. A registered architecture without
 * goldens fails. */
#include <math.h>

#include "golden.h"
#include "models/model.h"

enum { MAX_INPUTS = 64, MAX_IDS = 128 };

typedef struct variant {
    tkr_precision precision;
    const char *cpu;
    bool by_ids;
} variant;

static variant at_hand;

/* Two cases are built to amplify errors: see tests/golden/README.md. */
static double limit_of(const char *folder, tkr_precision precision) {
    if (strstr(folder, "quant/")) return 1e-8; /* against the weights as dequantised */
    if (precision == TKR_PRECISION_BF16) return strstr(folder, "modernbert-cls") ? 5e-3 : 5e-4;
    return strstr(folder, "modernbert-cls") || strstr(folder, "bert-gelu-eps") ? 1e-6 : 1e-8;
}

/* The inputs as texts, or as token ids. ids backs the latter. */
static void make_inputs(tkr_input *inputs, int32_t (*ids)[MAX_IDS], const golden *g) {
    assert_true(g->n <= MAX_INPUTS);
    for (size_t i = 0; i < g->n; i++) {
        inputs[i] = golden_text(g, i);
        /* Ids alone don't say how many of them a prompt left out of the pooling takes. */
        if (!at_hand.by_ids || json_object_get(golden_input(g, i), "prompt_tokens_left_out_of_pooling")) continue;
        const json_t *list = json_object_get(golden_input(g, i), "ids");
        assert_true(json_array_size(list) <= MAX_IDS);
        for (size_t t = 0; t < json_array_size(list); t++)
            ids[i][t] = (int32_t)json_integer_value(json_array_get(list, t));
        inputs[i] = (tkr_input){.kind = TKR_INPUT_TOKENS, .ids = ids[i], .n_ids = json_array_size(list)};
    }
}

static double check_item(const golden *g, const tkr_result *result, size_t i) {
    size_t n = 0;
    const float *want = golden_vector(g, i, &n);
    tkr_result_item item = tkr_result_get(result, i);
    double norm = 0;
    assert_int_equal(tkr_result_dimensions(result), n);
    assert_int_equal(item.n_tokens, json_integer_value(json_object_get(golden_input(g, i), "n_tokens")));
    const json_t *untruncated = json_object_get(golden_input(g, i), "n_tokens_untruncated");
    if (untruncated && !at_hand.by_ids) assert_int_equal(item.n_tokens_untruncated, json_integer_value(untruncated));
    for (size_t k = 0; k < n; k++) norm += (double)item.rows[k] * (double)item.rows[k];
    if (json_is_true(json_object_get(g->cases, "normalize"))) assert_true(fabs(norm - 1) < 1e-5);
    return 1 - tkr_cosine(item.rows, want, n);
}

/* Alone and in reverse order: the bits of the batch. */
static void check_batching(embedder *e, const golden *g, const tkr_input *inputs, const tkr_result *batch) {
    tkr_input reversed[MAX_INPUTS];
    const size_t bytes = tkr_result_dimensions(batch) * sizeof(float);
    for (size_t i = 0; i < g->n; i++) {
        tkr_result *alone = embed_all(e, &inputs[i], 1, NULL);
        assert_memory_equal(tkr_result_get(alone, 0).rows, tkr_result_get(batch, i).rows, bytes);
        tkr_result_free(&alone);
        reversed[g->n - 1 - i] = inputs[i];
    }
    tkr_result *other = embed_all(e, reversed, g->n, NULL);
    for (size_t i = 0; i < g->n; i++)
        assert_memory_equal(tkr_result_get(other, g->n - 1 - i).rows, tkr_result_get(batch, i).rows, bytes);
    tkr_result_free(&other);
}

/* The first d values, renormalised, as sentence-transformers gives them with truncate_dim and normalize_embeddings. */
static void check_dimensions(embedder *e, const golden *g, const tkr_input *inputs, double limit) {
    const json_t *sizes = json_object_get(g->cases, "mrl_dims");
    for (size_t s = 0; s < json_array_size(sizes); s++) {
        const size_t d = (size_t)json_integer_value(json_array_get(sizes, s));
        tkr_embed_options o;
        tkr_embed_options_init(&o);
        o.dimensions = d;
        tkr_result *result = embed_all(e, inputs, g->n, &o);
        assert_int_equal(tkr_result_dimensions(result), d);
        for (size_t i = 0; i < g->n; i++) {
            char name[64];
            snprintf(name, sizeof name, "%zu.embedding.%zu", i, d);
            const tkr_tensor_view *want = tkr_tensors_find(g->expected, name);
            assert_non_null(want);
            assert_int_equal(want->n_elements, d);
            assert_true(1 - tkr_cosine(tkr_result_get(result, i).rows, want->data, d) <= limit);
        }
        tkr_result_free(&result);
    }
}

static void run_case(const char *folder) {
    static int32_t ids[MAX_INPUTS][MAX_IDS];
    golden g;
    embedder e = {0};
    tkr_input inputs[MAX_INPUTS];
    const double limit = limit_of(folder, at_hand.precision);
    double worst = 0;
    golden_open(&g, folder);
    const embedder_options options = {
        .precision = at_hand.precision, .quantization = TKR_QUANTIZATION_NONE, .threads = 2, .cpu = at_hand.cpu};
    embedder_open(&e, g.model, &options);
    make_inputs(inputs, ids, &g);
    tkr_result *result = embed_all(&e, inputs, g.n, NULL);
    for (size_t i = 0; i < g.n; i++) {
        const double distance = check_item(&g, result, i);
        worst = fmax(worst, distance);
        if (!(distance <= limit))
            fail_msg("%s, input %zu: cosine distance %.3g, limit %.3g", folder, i, distance, limit);
    }
    print_message("%s: largest cosine distance %.2e (limit %.0e)\n", folder, worst, limit);
    check_batching(&e, &g, inputs, result);
    check_dimensions(&e, &g, inputs, limit);
    tkr_result_free(&result);
    embedder_close(&e);
    golden_close(&g);
}

static void run_all(tkr_precision precision, const char *cpu, bool by_ids) {
    at_hand = (variant){precision, cpu, by_ids};
    for (const tkr_arch *const *arch = tkr_archs(); *arch; arch++)
        if (!(*arch)->vision && golden_each((*arch)->name, run_case) == 0)
            fail_msg("architecture \"%s\" has no golden case", (*arch)->name);
}

static void ids_f32(void **state) {
    (void)state;
    run_all(TKR_PRECISION_F32, NULL, true);
}

static void ids_bf16_plain_c(void **state) {
    (void)state;
    run_all(TKR_PRECISION_BF16, "generic", true);
}

static void texts_f32(void **state) {
    (void)state;
    run_all(TKR_PRECISION_F32, NULL, false);
}

static void texts_f32_plain_c(void **state) {
    (void)state;
    run_all(TKR_PRECISION_F32, "generic", false);
}

static void texts_bf16(void **state) {
    (void)state;
    run_all(TKR_PRECISION_BF16, NULL, false);
}

static void mlx_checkpoints(void **state) {
    (void)state;
    static const char *const folders[] = {"quant/mlx-bert-mxfp4",  "quant/mlx-bert-q4-g64",  "quant/mlx-bert-q8-g64",
                                          "quant/mlx-qwen3-mixed", "quant/mlx-qwen3-q4-g64", "quant/mlx-qwen3-q8-g64"};
    at_hand = (variant){TKR_PRECISION_F32, NULL, false};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) run_case(folders[i]);
}

/* A model without stated dimensions is cut the same way. */
static void dimensions_are_cut_and_renormalised(void **state) {
    (void)state;
    golden g;
    embedder e = {0};
    golden_open(&g, "bert/bert-mean");
    const embedder_options options = {
        .precision = TKR_PRECISION_F32, .quantization = TKR_QUANTIZATION_NONE, .threads = 1};
    embedder_open(&e, g.model, &options);
    tkr_input input = golden_text(&g, 3);
    tkr_embed_options o;
    tkr_embed_options_init(&o);
    o.dimensions = 10;
    tkr_result *result = embed_all(&e, &input, 1, &o);
    size_t n = 0;
    const float *want = golden_vector(&g, 3, &n);
    double norm = 0;
    for (size_t k = 0; k < 10; k++) norm += (double)want[k] * (double)want[k];
    assert_int_equal(tkr_result_dimensions(result), 10);
    for (size_t k = 0; k < 10; k++)
        assert_true(fabs((double)tkr_result_get(result, 0).rows[k] - (double)want[k] / sqrt(norm)) < 1e-5);
    tkr_result_free(&result);
    embedder_close(&e);
    golden_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_f32),
        cmocka_unit_test(ids_bf16_plain_c),
        cmocka_unit_test(texts_f32),
        cmocka_unit_test(texts_f32_plain_c),
        cmocka_unit_test(texts_bf16),
        cmocka_unit_test(mlx_checkpoints),
        cmocka_unit_test(dimensions_are_cut_and_renormalised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
