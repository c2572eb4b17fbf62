/* SPDX-License-Identifier: Apache-2.0 */
/* Every BERT golden case through tkr/embed.h: vectors against the reference, in f32 and bf16, from text and from token
 * ids. */
#include <math.h>

#include "golden.h"

static double limit_of(const char *name, tkr_precision precision) {
    if (precision == TKR_PRECISION_BF16) return 5e-4;
    return strcmp(name, "bert-gelu-eps") == 0 ? 1e-6 : 1e-8; /* built to amplify errors */
}

static void check_vectors(const golden *g, const tkr_result *result, double limit, const char *name) {
    double worst = 0;
    for (size_t i = 0; i < g->n; i++) {
        size_t n = 0;
        const float *want = golden_vector(g, i, &n);
        tkr_result_item item = tkr_result_get(result, i);
        assert_int_equal(tkr_result_dimensions(result), n);
        assert_int_equal(item.n_tokens, json_integer_value(json_object_get(golden_input(g, i), "n_tokens")));
        assert_int_equal(item.n_tokens_untruncated,
                         json_integer_value(json_object_get(golden_input(g, i), "n_tokens_untruncated")));
        double distance = 1 - tkr_cosine(item.rows, want, n), norm = 0;
        worst = fmax(worst, distance);
        if (!(distance <= limit)) fail_msg("%s, input %zu: cosine distance %.3g, limit %.3g", name, i, distance, limit);
        for (size_t k = 0; k < n; k++) norm += (double)item.rows[k] * (double)item.rows[k];
        assert_true(fabs(norm - 1) < 1e-5);
    }
    print_message("%s: largest cosine distance %.2e (limit %.0e)\n", name, worst, limit);
}

static void run_case(const char *name, tkr_precision precision, const char *cpu) {
    char relative[64];
    golden g;
    embedder e = {0};
    snprintf(relative, sizeof relative, "bert/%s", name);
    golden_open(&g, relative);
    const embedder_options options = {
        .precision = precision, .quantization = TKR_QUANTIZATION_NONE, .threads = 2, .cpu = cpu};
    embedder_open(&e, g.model, &options);
    tkr_input inputs[64];
    assert_true(g.n <= 64);
    for (size_t i = 0; i < g.n; i++) inputs[i] = golden_text(&g, i);
    tkr_result *result = embed_all(&e, inputs, g.n, NULL);
    check_vectors(&g, result, limit_of(name, precision), name);
    tkr_result_free(&result);
    embedder_close(&e);
    golden_close(&g);
}

static void goldens_f32(void **state) {
    (void)state;
    for (size_t i = 0; i < N_BERT_CASES; i++) run_case(bert_cases[i], TKR_PRECISION_F32, NULL);
}

static void goldens_f32_plain_c(void **state) {
    (void)state;
    for (size_t i = 0; i < N_BERT_CASES; i++) run_case(bert_cases[i], TKR_PRECISION_F32, "generic");
}

static void goldens_bf16(void **state) {
    (void)state;
    for (size_t i = 0; i < N_BERT_CASES; i++) run_case(bert_cases[i], TKR_PRECISION_BF16, NULL);
}

/* Ids given by the caller take the same way; the case has no prompt that pooling leaves out. */
static void goldens_from_ids(void **state) {
    (void)state;
    golden g;
    embedder e = {0};
    int32_t ids[64][64];
    tkr_input inputs[64] = {{0}};
    golden_open(&g, "bert/bert-mean");
    const embedder_options options = {
        .precision = TKR_PRECISION_F32, .quantization = TKR_QUANTIZATION_NONE, .threads = 1};
    embedder_open(&e, g.model, &options);
    for (size_t i = 0; i < g.n; i++) {
        const json_t *list = json_object_get(golden_input(&g, i), "ids");
        for (size_t t = 0; t < json_array_size(list); t++)
            ids[i][t] = (int32_t)json_integer_value(json_array_get(list, t));
        inputs[i] = (tkr_input){.kind = TKR_INPUT_TOKENS, .ids = ids[i], .n_ids = json_array_size(list)};
    }
    tkr_result *result = embed_all(&e, inputs, g.n, NULL);
    for (size_t i = 0; i < g.n; i++) {
        size_t n = 0;
        const float *want = golden_vector(&g, i, &n);
        assert_true(1 - tkr_cosine(tkr_result_get(result, i).rows, want, n) <= 1e-8);
    }
    tkr_result_free(&result);
    embedder_close(&e);
    golden_close(&g);
}

/* The first d values, renormalised, as sentence-transformers gives them with truncate_dim and normalize_embeddings. */
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
        cmocka_unit_test(goldens_f32),
        cmocka_unit_test(goldens_f32_plain_c),
        cmocka_unit_test(goldens_bf16),
        cmocka_unit_test(goldens_from_ids),
        cmocka_unit_test(dimensions_are_cut_and_renormalised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
