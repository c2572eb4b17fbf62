/* SPDX-License-Identifier: Apache-2.0 */
/* The real all-MiniLM-L6-v2 against its golden set, in every number format and on every rung of this CPU. */
#include <math.h>

#include "core/cpu.h"
#include "golden.h"

#define MAX_INPUTS 64

typedef struct format {
    const char *name;
    tkr_precision precision;
    tkr_quantization quantization;
    double limit, mean_limit;
} format;

static const format formats[] = {
    {"f32", TKR_PRECISION_F32, TKR_QUANTIZATION_NONE, 1e-8, 1e-8},
    {"bf16", TKR_PRECISION_BF16, TKR_QUANTIZATION_NONE, 1e-4, 1e-4},
    {"q8", TKR_PRECISION_F32, TKR_QUANTIZATION_Q8, 5e-3, 1.5e-3},
    {"q4", TKR_PRECISION_F32, TKR_QUANTIZATION_Q4, 5e-2, 2.5e-2},
};

static void run_format(const format *f, const char *cpu, unsigned threads) {
    golden g;
    embedder e = {0};
    tkr_input inputs[MAX_INPUTS];
    double worst = 0, sum = 0;
    golden_open(&g, "minilm");
    assert_true(g.n <= MAX_INPUTS);
    const embedder_options options = {
        .precision = f->precision, .quantization = f->quantization, .threads = threads, .cpu = cpu};
    embedder_open(&e, minilm_reference(), &options);
    for (size_t i = 0; i < g.n; i++) inputs[i] = golden_text(&g, i);
    tkr_result *result = embed_all(&e, inputs, g.n, NULL);
    for (size_t i = 0; i < g.n; i++) {
        size_t n = 0;
        const float *want = golden_vector(&g, i, &n);
        double distance = 1 - tkr_cosine(tkr_result_get(result, i).rows, want, n);
        worst = fmax(worst, distance);
        sum += distance;
    }
    print_message("%s on %s: cosine distance at most %.2e, %.2e on average\n", f->name, tkr_result_fingerprint(result),
                  worst, sum / (double)g.n);
    assert_true(worst <= f->limit);
    assert_true(sum / (double)g.n <= f->mean_limit);
    tkr_result_free(&result);
    embedder_close(&e);
    golden_close(&g);
}

static void real_model_on_every_rung(void **state) {
    (void)state;
    static const char *const caps[] = {"generic", "avx2",    "avx512", "vnni",    "amx",
                                       "neon",    "dotprod", "i8mm",   "arm-bf16"};
    for (size_t c = 0; c < sizeof caps / sizeof *caps; c++) {
        tkr_cpu_flags flags = 0;
        if (tkr_cpu_detect(&flags, caps[c], NULL) != TKR_OK) {
            print_message("rung %s: not run, this CPU lacks it\n", caps[c]);
            continue;
        }
        for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) run_format(&formats[i], caps[c], 2);
    }
}

static void similarities_match(void **state) {
    (void)state;
    golden g;
    embedder e = {0};
    tkr_input inputs[MAX_INPUTS];
    golden_open(&g, "minilm");
    const embedder_options options = {
        .precision = TKR_PRECISION_F32, .quantization = TKR_QUANTIZATION_NONE, .threads = 2};
    embedder_open(&e, minilm_reference(), &options);
    for (size_t i = 0; i < g.n; i++) inputs[i] = golden_text(&g, i);
    tkr_result *result = embed_all(&e, inputs, g.n, NULL);
    const json_t *pairs = json_object_get(g.cases, "pair_similarities");
    assert_true(json_array_size(pairs) > 0);
    for (size_t p = 0; p < json_array_size(pairs); p++) {
        const json_t *pair = json_array_get(pairs, p);
        size_t i = (size_t)json_integer_value(json_array_get(pair, 0)),
               j = (size_t)json_integer_value(json_array_get(pair, 1));
        double got = tkr_cosine(tkr_result_get(result, i).rows, tkr_result_get(result, j).rows, 384);
        assert_true(fabs(got - json_number_value(json_array_get(pair, 2))) < 2e-6);
    }
    tkr_result_free(&result);
    embedder_close(&e);
    golden_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(real_model_on_every_rung),
                                       cmocka_unit_test(similarities_match)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
