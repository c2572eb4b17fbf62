/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF files and MLX folders against the vectors of their own dequantised weights: decoded, in q8 and in q4; their
 * tokenizers id for id. */
#include <math.h>

#include "golden.h"

#define MAX_INPUTS 16

typedef struct quantized_case {
    const char *name;
    bool gguf;
    bool four_bits; /* the matrices, all or most: kept as groups in q4 */
} quantized_case;

static const quantized_case cases[] = {
    {"gguf-bert-f32", true, false},   {"gguf-bert-f16", true, false},     {"gguf-bert-q8_0", true, false},
    {"gguf-bert-q4_0", true, true},   {"gguf-qwen3-f16", true, false},    {"gguf-qwen3-q8_0", true, false},
    {"gguf-qwen3-k", true, true},     {"mlx-bert-q8-g64", false, false},  {"mlx-bert-q4-g64", false, true},
    {"mlx-bert-mxfp4", false, false}, {"mlx-qwen3-q8-g64", false, false}, {"mlx-qwen3-q4-g64", false, true},
    {"mlx-qwen3-mixed", false, true},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static void open_case(golden *g, const quantized_case *c) {
    char relative[64];
    snprintf(relative, sizeof relative, "quant/%s", c->name);
    golden_open(g, relative);
    if (c->gguf) snprintf(g->model, sizeof g->model, "%s/model.gguf", g->folder);
    assert_true(g->n <= MAX_INPUTS);
}

static size_t max_tokens_of(const golden *g) {
    return (size_t)json_integer_value(json_object_get(g->cases, "max_seq_length"));
}

/* Worst cosine of a case's vectors to the expected ones. */
static double worst_cosine(const quantized_case *c, const embedder_options *options) {
    golden g;
    embedder e = {0};
    tkr_input inputs[MAX_INPUTS];
    tkr_embed_options embed;
    double worst = 1;
    open_case(&g, c);
    embedder_open(&e, g.model, options);
    tkr_embed_options_init(&embed);
    embed.max_tokens = max_tokens_of(&g);
    for (size_t i = 0; i < g.n; i++) inputs[i] = golden_text(&g, i);
    tkr_result *result = embed_all(&e, inputs, g.n, &embed);
    for (size_t i = 0; i < g.n; i++) {
        size_t n = 0;
        const float *want = golden_vector(&g, i, &n);
        tkr_result_item item = tkr_result_get(result, i);
        assert_int_equal(tkr_result_dimensions(result), n);
        assert_int_equal(item.n_tokens, json_integer_value(json_object_get(golden_input(&g, i), "n_tokens")));
        worst = fmin(worst, tkr_cosine(item.rows, want, n));
    }
    print_message("%s, %s: cosine at least %.7f\n", c->name, strrchr(tkr_result_fingerprint(result), ':') + 1, worst);
    tkr_result_free(&result);
    embedder_close(&e);
    golden_close(&g);
    return worst;
}

static void decoded(void **state) {
    (void)state;
    const embedder_options f32 = {.precision = TKR_PRECISION_F32, .quantization = TKR_QUANTIZATION_NONE, .threads = 2};
    const embedder_options bf16 = {
        .precision = TKR_PRECISION_BF16, .quantization = TKR_QUANTIZATION_NONE, .threads = 2};
    for (size_t i = 0; i < N_CASES; i++) {
        assert_true(worst_cosine(&cases[i], &f32) >= 0.99999);
        assert_true(worst_cosine(&cases[i], &bf16) >= 0.9999);
    }
}

static void in_q8(void **state) {
    (void)state;
    const embedder_options q8 = {.quantization = TKR_QUANTIZATION_Q8, .threads = 2};
    for (size_t i = 0; i < N_CASES; i++) assert_true(worst_cosine(&cases[i], &q8) >= 0.999);
}

/* What is in 4 bits already loses nothing more than the activations' rounding; what is in more stays in 8. */
static void in_q4(void **state) {
    (void)state;
    const embedder_options q4 = {.quantization = TKR_QUANTIZATION_Q4, .threads = 2};
    for (size_t i = 0; i < N_CASES; i++)
        if (cases[i].four_bits) assert_true(worst_cosine(&cases[i], &q4) >= 0.999);
}

static void token_ids(void **state) {
    (void)state;
    for (size_t c = 0; c < N_CASES; c++) {
        golden g;
        tkr_tokenizer *tokenizer = NULL;
        tkr_error error = {TKR_OK, NULL, ""};
        tkr_embed_options options;
        open_case(&g, &cases[c]);
        tkr_embed_options_init(&options);
        options.max_tokens = max_tokens_of(&g);
        if (tkr_tokenizer_load(&tokenizer, g.model, NULL, &error) != TKR_OK) fail_msg("%s", error.message);
        for (size_t i = 0; i < g.n; i++) {
            tkr_tokens tokens;
            tkr_input input = golden_text(&g, i);
            const json_t *ids = json_object_get(golden_input(&g, i), "ids");
            if (tkr_tokenize(&tokens, tokenizer, &input, &options, &error) != TKR_OK) fail_msg("%s", error.message);
            assert_int_equal(tokens.n, json_array_size(ids));
            for (size_t t = 0; t < tokens.n; t++)
                assert_int_equal(tokens.ids[t], json_integer_value(json_array_get(ids, t)));
            tkr_tokens_free(&tokens);
        }
        tkr_tokenizer_free(&tokenizer);
        golden_close(&g);
    }
}

/* A folder that holds one GGUF file is that file. */
static void folder_with_one_file(void **state) {
    (void)state;
    char folder[512];
    embedder e = {0};
    const embedder_options options = {.threads = 1};
    snprintf(folder, sizeof folder, "%s/golden/quant/gguf-bert-q8_0", TKR_TEST_DIR);
    embedder_open(&e, folder, &options);
    const tkr_model_info *info = tkr_model_get_info(e.model);
    assert_non_null(strstr(info->path, "gguf-bert-q8_0/model.gguf"));
    assert_string_equal(info->architecture, "bert");
    assert_string_equal(info->pooling, "mean");
    assert_int_equal(info->max_tokens, 64);
    assert_true(info->bits_per_weight > 8);
    embedder_close(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(decoded), cmocka_unit_test(in_q8), cmocka_unit_test(in_q4),
                                       cmocka_unit_test(token_ids), cmocka_unit_test(folder_with_one_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
