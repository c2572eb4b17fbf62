/* SPDX-License-Identifier: Apache-2.0 */
/* What run-time quantisation costs the real all-MiniLM-L6-v2: cosines to its f32 self and the same ten nearest
 * neighbours, over the golden sentences and the built-in ones. */
#include <math.h>

#include "engine/accuracy.h"
#include "golden.h"

enum { MAX_TEXTS = 512, NEIGHBOURS = 10 };

typedef struct texts {
    golden g;
    tkr_input inputs[MAX_TEXTS];
    size_t n;
} texts;

static void collect(texts *t) {
    golden_open(&t->g, "minilm");
    t->n = 0;
    for (size_t i = 0; i < t->g.n; i++) t->inputs[t->n++] = golden_text(&t->g, i);
    for (size_t i = 0; i < tkr_accuracy_n_texts; i++)
        t->inputs[t->n++] = (tkr_input){.text = tkr_accuracy_texts[i], .n_text = strlen(tkr_accuracy_texts[i])};
    assert_true(t->n <= MAX_TEXTS);
}

static tkr_result *embed_in(embedder *e, const texts *t, tkr_quantization quantization) {
    const embedder_options options = {.precision = TKR_PRECISION_F32, .quantization = quantization, .threads = 2};
    embedder_open(e, minilm_reference(), &options);
    return embed_all(e, t->inputs, t->n, NULL);
}

/* The ten nearest of text `query`. */
static void nearest(size_t out[NEIGHBOURS], const tkr_result *result, size_t n, size_t query) {
    double best[NEIGHBOURS];
    size_t width = tkr_result_dimensions(result), count = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == query) continue;
        double cosine = tkr_cosine(tkr_result_get(result, query).rows, tkr_result_get(result, i).rows, width);
        size_t at = count < NEIGHBOURS ? count++ : NEIGHBOURS;
        for (; at > 0 && cosine > best[at - 1]; at--) {
            if (at == NEIGHBOURS) continue;
            best[at] = best[at - 1];
            out[at] = out[at - 1];
        }
        if (at == NEIGHBOURS) continue;
        best[at] = cosine;
        out[at] = i;
    }
}

static void check(tkr_quantization quantization, double min_bar, double mean_bar, double top10_bar) {
    texts t;
    embedder exact = {0}, rough = {0};
    collect(&t);
    tkr_result *want = embed_in(&exact, &t, TKR_QUANTIZATION_NONE), *got = embed_in(&rough, &t, quantization);
    double worst = 1, sum = 0;
    size_t agreed = 0, width = tkr_result_dimensions(want);
    for (size_t i = 0; i < t.n; i++) {
        size_t a[NEIGHBOURS], b[NEIGHBOURS];
        double cosine = tkr_cosine(tkr_result_get(want, i).rows, tkr_result_get(got, i).rows, width);
        worst = fmin(worst, cosine);
        sum += cosine;
        nearest(a, want, t.n, i);
        nearest(b, got, t.n, i);
        for (size_t x = 0; x < NEIGHBOURS; x++)
            for (size_t y = 0; y < NEIGHBOURS; y++) agreed += a[x] == b[y];
    }
    double mean = sum / (double)t.n, top10 = (double)agreed / (double)(t.n * NEIGHBOURS);
    print_message("%s, %.2f bits a weight: cosine min %.5f, mean %.5f, top-10 agreement %.4f over %zu texts\n",
                  tkr_result_fingerprint(got), tkr_model_get_info(rough.model)->bits_per_weight, worst, mean, top10,
                  t.n);
    assert_true(worst >= min_bar);
    assert_true(mean >= mean_bar);
    assert_true(top10 >= top10_bar);
    tkr_result_free(&want);
    tkr_result_free(&got);
    embedder_close(&exact);
    embedder_close(&rough);
    golden_close(&t.g);
}

static void q8(void **state) {
    (void)state;
    check(TKR_QUANTIZATION_Q8, 0.995, 0.9985, 0.975);
}

static void q4(void **state) {
    (void)state;
    check(TKR_QUANTIZATION_Q4, 0.95, 0.975, 0.94);
}

/* The same through the tool that `doctor --accuracy` calls. */
static void tool(void **state) {
    (void)state;
    tkr_accuracy a;
    tkr_model_options options;
    tkr_error error = {TKR_OK, NULL, ""};
    tkr_model_options_init(&options);
    options.offline = 1;
    options.quantization = TKR_QUANTIZATION_Q4;
    if (tkr_tools_accuracy(&a, minilm_reference(), &options, &error) != TKR_OK) fail_msg("%s", error.message);
    assert_int_equal(a.n_texts, tkr_accuracy_n_texts);
    assert_string_equal(a.format, "q4");
    assert_string_equal(a.reference_format, "f32");
    assert_true(a.min <= a.first_percentile && a.first_percentile <= a.mean && a.mean < 1);
    assert_true(a.mean >= 0.975 && a.top10 >= 0.94);
    options.quantization = TKR_QUANTIZATION_NONE;
    options.precision = TKR_PRECISION_F32;
    assert_int_equal(tkr_tools_accuracy(&a, minilm_reference(), &options, &error), TKR_OK);
    assert_true(a.min > 1 - 1e-12 && a.top10 >= 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(q8), cmocka_unit_test(q4), cmocka_unit_test(tool)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
